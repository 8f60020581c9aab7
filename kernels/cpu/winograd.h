/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Winograd's minimal filtering F(2x2, 3x3) (Winograd 1980; Lavin & Gray 2016): what the driver (conv_winograd.c) and the
 * vector code (isa/winograd*.c) share. A tile of 2 x 2 outputs comes from a patch of 4 x 4 inputs by
 * 16 products for each pair of channels, where the plain sum takes 36:
 *
 *     tile = A^T [ (G g G^T) . (B^T patch B) ] A
 *
 * The 16 products ("points") are matrix products over channels. Taps of the kernel along depth are summed up as
 * they are: a slice's points meet those of its neighbours.
 */
#ifndef PUMIT_KERNELS_CPU_WINOGRAD_H
#define PUMIT_KERNELS_CPU_WINOGRAD_H

#include <stdint.h>

#define PUMIT__WINOGRAD_POINTS 16
/** Result channels, or columns of the weights' gradient, that are worked on together. */
#define PUMIT__WINOGRAD_BLOCK 32
/** Channels summed over between two visits to the sums: the transformed weights of a block stay in a second-level cache. */
#define PUMIT__WINOGRAD_DEPTH 128
/** Floats of a point of one tap's transformed weights: a line more, so that points do not meet in a cache's sets. */
#define PUMIT__WINOGRAD_FILTER  (PUMIT__WINOGRAD_DEPTH * PUMIT__WINOGRAD_BLOCK + 16)
#define PUMIT__WINOGRAD_FILTERS (PUMIT__WINOGRAD_POINTS * PUMIT__WINOGRAD_FILTER)

/**
 * Some tiles of all slices. Row r of what follows is slice r / count, tile first + r % count, out of
 * n x down x across, so that the same tile of the next slice is `count` rows further.
 */
typedef struct {
    int64_t n, depth, height, width; /* of the images */
    int64_t down, across;            /* tiles along height and width */
    int64_t first, count;
    const float *zeros; /* as many as channels: what lies outside an image */
} pumit__winograd_tiles;

/** A matrix (rows, channels) for each point; `row` and `point` are the steps in floats. */
typedef struct {
    float *data;
    int64_t row, point;
} pumit__winograd_points;

/** Weights (outs, taps, 3, 3, ins), or where `flipped` (ins, taps, 3, 3, outs) with all taps in reverse. */
typedef struct {
    const float *data;
    int64_t ins, outs, taps;
    int flipped;
} pumit__winograd_weights;

/** Rows first .. last of the points `src`, and `block` result channels from `out`. */
typedef struct {
    const pumit__winograd_tiles *tiles;
    const pumit__winograd_weights *weights;
    pumit__winograd_points src;
    int64_t first, last, out;
    const float *bias;           /* (outs) or NULL */
    float *dst;                  /* (n, depth, height, width, outs) */
    float *filters;              /* scratch: taps x FILTERS */
    pumit__winograd_points sums; /* scratch: rows last - first, BLOCK channels */
} pumit__winograd_convolution;

/** Rows of the weights' gradient out .. out_end, columns in .. in + BLOCK. */
typedef struct {
    const pumit__winograd_tiles *tiles;
    pumit__winograd_points src, diff;
    int64_t ins, outs, taps, in, out, out_end;
    float *diff_weights;         /* (outs, taps, 3, 3, ins), added to */
    pumit__winograd_points sums; /* scratch: taps x (out_end - out) rows, BLOCK channels */
} pumit__winograd_gradient;

typedef struct {
    /** points of rows first .. last from the patches of image (n, depth, height, width, channels) */
    void (*spread_patches)(const pumit__winograd_tiles *tiles, const float *image, int64_t channels,
                           int64_t first, int64_t last, const pumit__winograd_points *points);
    /** the same from the tiles: points = A tile A^T */
    void (*spread_tiles)(const pumit__winograd_tiles *tiles, const float *image, int64_t channels,
                         int64_t first, int64_t last, const pumit__winograd_points *points);
    void (*convolve)(const pumit__winograd_convolution *p);
    void (*weights_gradient)(const pumit__winograd_gradient *p);
} pumit__winograd_kernels;

#endif
