/* SPDX-License-Identifier: Apache-2.0 */
/* A box of a volume, resampled and normalised: computed straight from the voxels it covers. */
#ifndef PUMIT_LIB_DATA_CROP_H
#define PUMIT_LIB_DATA_CROP_H

#include "lib/data/volume.h"

typedef struct {
    int64_t size[3]; /* of the crop */
    double start[3]; /* corner, in source voxels */
    double step[3];  /* source voxels per voxel of the crop */
    bool flip[3];
    float gain, gamma; /* v becomes clamp(gain * v^gamma, 0, 1); 1 and 1 for none */
} pumit__crop;

/* dst: (size..., channels). */
pumit_status pumit__crop_render(float *dst, const pumit_volume *volume, const pumit__window *window,
                                const pumit__crop *crop, int64_t channels);

#endif
