/* SPDX-License-Identifier: Apache-2.0 */
/* A volume as classifiers see it: stretched onto a fixed grid of patches, the same in training and in use. */
#ifndef PUMIT_LIB_DATA_FIT_H
#define PUMIT_LIB_DATA_FIT_H

#include "lib/base/base.h"

#include <pumit/volume.h>

/*
 * Voxels D, H, W of the grid. `tokens` {d, h, w} fixes it (d is 1 for a 2D image); where it is NULL or 0 it follows from the volume:
 * grown on all axes alike until the plane has 4 patches each way, each axis to the nearest whole patch, and shrunk
 * until there are at most `max_tokens` (0: no limit).
 */
void pumit__fit_size(int64_t size[3], const pumit_volume *volume, const int64_t patch[3],
                     const int64_t tokens[3], int64_t max_tokens);

/* New tensor (1, size..., channels) in [0, 1], and a spacing of the volume's degree of anisotropy. */
pumit_status pumit__fit_volume(pumit_tensor **out, double spacing[3], const pumit_volume *volume,
                               pumit_context *ctx, int64_t channels, const int64_t size[3]);

#endif
