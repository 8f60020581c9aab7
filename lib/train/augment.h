/* SPDX-License-Identifier: Apache-2.0 */
/* Light augmentation of a whole image for classification; a function of (seed, key). */
#ifndef PUMIT_LIB_TRAIN_AUGMENT_H
#define PUMIT_LIB_TRAIN_AUGMENT_H

#include "lib/base/base.h"

/* image: (D, H, W, C) in [0, 1], changed in place: mirrored along W, shifted, contrast and brightness changed. */
pumit_status pumit__augment_image(float *image, const int64_t size[3], int64_t channels,
                                  uint64_t seed, uint64_t key);

#endif
