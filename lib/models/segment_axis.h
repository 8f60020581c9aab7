/* SPDX-License-Identifier: Apache-2.0 */
/* One axis of segmentation by windows: the network's grid, the windows on it, and the way back to the image's voxels. */
#ifndef PUMIT_LIB_MODELS_SEGMENT_AXIS_H
#define PUMIT_LIB_MODELS_SEGMENT_AXIS_H

#include "lib/base/base.h"

typedef struct {
    int64_t source;        /* voxels of the image */
    int64_t length;        /* of the network's grid, whose middle is the image's */
    double start, step;    /* of that grid, in voxels of the image */
    int64_t window, count; /* voxels of a window; windows */
    int64_t *first;        /* (count) where each begins; negative where one overhangs */
    float *
        weight; /* (count, window): share in its voxels; those of all windows at a voxel sum to 1 */
    int64_t *low; /* (source) a voxel of the image lies between `low` and the next of the grid */
    float *share; /* (source) of the next */
} pumit__segment_axis;

/* `overlap`: share of a window that the next one covers too. Starts as {0}; free it on failure too. */
pumit_status pumit__segment_axis_plan(pumit__segment_axis *axis, int64_t source, double step,
                                      int64_t window, double overlap, bool gaussian);
void pumit__segment_axis_free(pumit__segment_axis *axis);

/* The last voxel of the grid that voxel `i` of the image needs. */
int64_t pumit__segment_axis_last(const pumit__segment_axis *axis, int64_t i);

#endif
