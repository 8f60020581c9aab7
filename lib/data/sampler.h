/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random crops of a dataset's images for training.
 *
 * Each image has a working grid: grown in the plane until a crop fits, the slice axis alike where the voxels are nearly cubes; its degree of
 * anisotropy follows. Images of equal degree and equal depth in tokens form a bucket. A step draws a bucket (by `balance`),
 * then images in it, then where to crop; only the crop is computed. Thread-compatible: batches may be drawn in any order.
 */
#ifndef PUMIT_LIB_DATA_SAMPLER_H
#define PUMIT_LIB_DATA_SAMPLER_H

#include "lib/base/base.h"

#include <pumit/dataset.h>

typedef struct pumit__sampler pumit__sampler;

typedef struct {
    int64_t batch, channels;
    int64_t tokens[3]; /* most tokens of a crop along D, H, W */
    int64_t patch;     /* in-plane voxels of a token; its depth is max(patch >> da, 1) voxels */
    uint64_t seed;
    bool augment; /* flips in the plane, intensity scale and gamma, mild in-plane scale */
    double
        balance; /* 0: buckets come as often as they have images; 1: all alike; between: images^(1 - balance) */
} pumit__sampler_options;

/* The sampler keeps the images it needs; the dataset may go. */
pumit_status pumit__sampler_create(pumit__sampler **out, pumit_context *ctx,
                                   const pumit_dataset *dataset,
                                   const pumit__sampler_options *options);
void pumit__sampler_release(pumit__sampler *sampler);

/*
 * The batch of a step, a pure function of (options.seed, step): new tensor (batch, D, H, W, channels) in [0, 1], the spacing to
 * pass on. `indices` (batch) receives the images' numbers in the dataset, may be NULL.
 */
pumit_status pumit__sampler_batch(pumit_tensor **out, double spacing[3], int64_t *indices,
                                  const pumit__sampler *sampler, int64_t step);

typedef struct {
    int32_t da;
    int64_t depth_tokens, images;
} pumit__sampler_bucket;

/* The first `most` buckets, by degree of anisotropy, then depth; gives the number of all. */
int64_t pumit__sampler_buckets(pumit__sampler_bucket *out, int64_t most,
                               const pumit__sampler *sampler);

#endif
