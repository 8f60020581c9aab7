/* SPDX-License-Identifier: Apache-2.0 */
/* Linear resampling of one axis: which source voxels a destination voxel is made of. */
#ifndef PUMIT_LIB_DATA_FILTER_H
#define PUMIT_LIB_DATA_FILTER_H

#include "lib/base/base.h"

typedef struct {
    int64_t count, taps; /* destination voxels; source voxels for each */
    int64_t low, high;   /* the source voxels used at all: low <= i < high */
    int64_t *first;      /* (count): first source voxel, relative to low */
    float *weight;       /* (count, taps): they sum to 1 */
    int64_t first_capacity, weight_capacity;
} pumit__filter;

/*
 * Destination voxel i covers [start + i * step, start + (i + 1) * step) in source voxels, whose number is `length`. Where the
 * step is above 1 a triangle of that half-width keeps fine detail from aliasing; else it is plain linear interpolation. Edges
 * repeat. `flip` turns the order round. `filter` starts as {0} and may be built again, in the memory it has.
 */
pumit_status pumit__filter_build(pumit__filter *filter, int64_t length, int64_t count, double start,
                                 double step, bool flip);
void pumit__filter_free(pumit__filter *filter);

/* True if the destination is the source from `low` on, voxel for voxel. */
bool pumit__filter_copies(const pumit__filter *filter);

/* src (outer, high - low, inner) to dst (outer, count, inner). */
void pumit__filter_apply(float *dst, const float *src, const pumit__filter *filter, int64_t outer,
                         int64_t inner);

#endif
