/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random crops of a dataset's images for training.
 *
 * A step draws candidates: an image by weight, a scale, and with them the grid, its degree of anisotropy and its depth in
 * tokens. The first candidate decides these two for the whole batch, of the others those are taken that agree; in a mixed batch
 * each has its own. Only what a crop covers is read. Everything follows from (seed, step), so batches may be drawn in any order and by any thread; a sampler is
 * never changed, and several threads may use it at once.
 */
#ifndef PUMIT_LIB_DATA_SAMPLER_H
#define PUMIT_LIB_DATA_SAMPLER_H

#include "lib/data/crop.h"

#include <pumit/dataset.h>

typedef struct pumit__sampler pumit__sampler;

typedef struct {
    int64_t batch, channels;
    int64_t tokens[3]; /* most tokens of a crop along D, H, W */
    int64_t patch;     /* in-plane voxels of a token; its depth is max(patch >> da, 1) voxels */
    uint64_t seed;
    double
        balance; /* the images of a degree of anisotropy weigh (their sum)^-balance times their weight */
    bool
        mixed; /* crops of a batch differ in depth and degree of anisotropy: each is a tensor of its own */
    bool augment; /* false: pieces of the images as they are, and the rest counts for nothing */
    double
        scale_range[2]; /* source voxels per voxel of the crop in the plane, where it is scaled */
    double scale_probability;
    double slice_scale_probability; /* of 0.8..1.25, where voxels are nearly cubes */
    double
        rotate_probability; /* up to 90 degrees in the plane, 30 out of it where voxels are nearly cubes */
} pumit__sampler_options;

/* The sampler keeps the images it needs; the dataset may go. */
pumit_status pumit__sampler_create(pumit__sampler **out, pumit_context *ctx,
                                   const pumit_dataset *dataset,
                                   const pumit__sampler_options *options);
void pumit__sampler_release(pumit__sampler *sampler);

/* Tensors that a batch consists of: 1, or as many as crops where they are mixed. */
int64_t pumit__sampler_tensors(const pumit__sampler *sampler);

/*
 * The batch of a step, a pure function of (options.seed, step) and of what can be read: new tensors (n, D, H, W, channels) in
 * [0, 1], the spacing of each to pass on: (tensors), (tensors, 3). `indices` (batch) receives the images' numbers in the dataset, may be
 * NULL. An image that cannot be read is replaced by the next candidate; it is an error only if a batch cannot be filled so.
 */
pumit_status pumit__sampler_batch(pumit_tensor **out, double *spacing, int64_t *indices,
                                  const pumit__sampler *sampler, int64_t step);

typedef struct {
    int64_t image;   /* its number in the dataset */
    int64_t draw;    /* the candidate that its grid is of */
    int64_t size[3]; /* D, H, W */
    double spacing[3];
    int32_t da; /* of the spacing */
    int64_t depth_tokens;
    bool gray;  /* it stands as one channel at the head of its place */
    int64_t at; /* its place among all values */
} pumit__drawn;

/* A batch in plain memory, which serves again and again. Starts as {0}. */
typedef struct {
    pumit__drawn *drawn; /* (batch) */
    float *values;
    int64_t drawn_capacity, values_capacity;
    int64_t failed;   /* candidates that could not be read */
    char reason[256]; /* of the last one */
} pumit__crops;

void pumit__crops_free(pumit__crops *crops);

/* pumit__sampler_batch() in two halves: the first for any thread, the second for the context's. */
pumit_status pumit__sampler_render(pumit__crops *crops, pumit__crop_scratch *scratch,
                                   const pumit__sampler *sampler, int64_t step);
pumit_status pumit__sampler_hand_over(pumit_tensor **out, double *spacing, int64_t *indices,
                                      const pumit__sampler *sampler, const pumit__crops *crops);

#endif
