/* SPDX-License-Identifier: Apache-2.0 */
/* What worse scanners do to an image: noise, blur, fewer voxels. values: (size[0], size[1], size[2], channels) in [0, 1], changed in place. */
#ifndef PUMIT_LIB_DATA_DEGRADE_H
#define PUMIT_LIB_DATA_DEGRADE_H

#include "lib/base/base.h"

/* Adds normal noise, a function of (seed, stream), and clamps to [0, 1]. */
void pumit__add_noise(float *values, const int64_t size[3], int64_t channels, double deviation,
                      uint64_t seed, uint64_t stream);

/* A Gaussian of this deviation in voxels along the axes that are `chosen`; edges repeat. `scratch`: as many values. */
void pumit__blur(float *values, float *scratch, const int64_t size[3], int64_t channels,
                 double deviation, const bool chosen[3]);

/* As if it had been scanned with voxels `factor` times as long along the axes that are `chosen`, and brought back linearly. */
void pumit__lower_resolution(float *values, float *scratch, const int64_t size[3], int64_t channels,
                             double factor, const bool chosen[3]);

#endif
