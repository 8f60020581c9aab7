/* SPDX-License-Identifier: Apache-2.0 */
/* Structural similarity of pictures. */
#ifndef PUMIT_LIB_TRAIN_SSIM_H
#define PUMIT_LIB_TRAIN_SSIM_H

#include "lib/base/base.h"

/*
 * Mean structural similarity of the pictures a and b (H, W, C) with values in [0, 1], their channels averaged first; 1: they are equal.
 * NaN where H or W is below 7, the window's side, or where a value is not finite.
 */
pumit_status pumit__ssim(double *out, const float *a, const float *b, int64_t H, int64_t W,
                         int64_t C);

#endif
