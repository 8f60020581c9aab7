/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A sampler's batches, made ahead of time by threads of its own. They touch neither tensors nor the context: those are the
 * caller's thread's, as the loader is. Batches are the sampler's, bit for bit, with any number of workers.
 */
#ifndef PUMIT_LIB_DATA_LOADER_H
#define PUMIT_LIB_DATA_LOADER_H

#include "lib/data/sampler.h"

typedef struct pumit__loader pumit__loader;

/*
 * `sampler` is borrowed. `workers` threads keep the next `ahead` batches ready, which is how many are held in memory; 0 workers:
 * each batch is made when it is taken. Signals are left to the other threads of the process.
 */
pumit_status pumit__loader_create(pumit__loader **out, const pumit__sampler *sampler,
                                  int64_t workers, int64_t ahead);
/* Waits for batches in the making. NULL is fine. */
void pumit__loader_release(pumit__loader *loader);

/* As pumit__sampler_batch(). Steps one after the other come ready-made; after any other one the workers go on from there. */
pumit_status pumit__loader_take(pumit_tensor **out, double *spacing, int64_t *indices,
                                pumit__loader *loader, int64_t step);

/* Images that could not be read and were replaced, in all batches taken. */
int64_t pumit__loader_failed(const pumit__loader *loader);

#endif
