/* SPDX-License-Identifier: Apache-2.0 */
/* LPIPS inside losses. Images here are in [-1, 1]. */
#ifndef PUMIT_LIB_MODELS_LPIPS_H
#define PUMIT_LIB_MODELS_LPIPS_H

#include "lib/nn/module.h"

#include <pumit/lpips.h>

/* As pumit_lpips_load(), of names under `prefix`. */
pumit_status pumit__lpips_load(pumit_lpips **out, pumit_context *ctx, const char *path,
                               const char *prefix);

/* The distance of a and b (N, D, H, W, C), a scalar. */
pumit_tensor *pumit__lpips_distance(const pumit_lpips *lpips, pumit_tensor *a, pumit_tensor *b);

/* The same of at most `most` of their slices, a random choice that follows from (seed, stream): what training can afford. */
pumit_tensor *pumit__lpips_distance_some(const pumit_lpips *lpips, pumit_tensor *a, pumit_tensor *b,
                                         int64_t most, uint64_t seed, uint64_t stream);

#endif
