/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Batches of whole images for classification. All images of a batch have one size and one degree of anisotropy; every epoch
 * shows each image, in an order that depends on (seed, epoch) alone.
 */
#ifndef PUMIT_LIB_TRAIN_BATCHES_H
#define PUMIT_LIB_TRAIN_BATCHES_H

#include "lib/train/augment.h"

#include <pumit/dataset.h>

typedef struct pumit__batches pumit__batches;

typedef struct {
    int64_t batch, channels, max_tokens;
    int64_t patch[3], image_tokens[3]; /* as pumit__fit_size() takes them */
    uint64_t seed;
    bool shuffle; /* else: the order of the dataset, and the last batch may be smaller */
    pumit__augment augment;
    double mixup; /* alpha; 0: images are not mixed */
} pumit__batches_options;

pumit_status pumit__batches_create(pumit__batches **out, pumit_context *ctx,
                                   const pumit_dataset *dataset,
                                   const pumit__batches_options *options);
void pumit__batches_release(pumit__batches *batches);

/* Batches of an epoch. */
int64_t pumit__batches_count(const pumit__batches *batches);

/* Batch `draw`, counted over all epochs: images (count, D, H, W, C) in [0, 1] and their numbers, `count` of them. With mixup, image i has
 * pumit__batches_share() of itself and the rest of the next one, the last of the first. */
pumit_status pumit__batches_take(pumit_tensor **out, double spacing[3], int64_t *indices,
                                 int64_t *count, pumit__batches *batches, int64_t draw);
double pumit__batches_share(const pumit__batches *batches, int64_t draw, int64_t i);

#endif
