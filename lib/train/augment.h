/* SPDX-License-Identifier: Apache-2.0 */
/* Changed whole images for classification; a function of (seed, key). */
#ifndef PUMIT_LIB_TRAIN_AUGMENT_H
#define PUMIT_LIB_TRAIN_AUGMENT_H

#include "lib/base/base.h"

typedef struct {
    double strength; /* of all changes but flips: 1 usual, 0 none */
    bool flip[3];    /* half of the images along D, H, W */
} pumit__augment;

/*
 * image: (D, H, W, C) in [0, 1], changed in place: flipped, rotated, scaled, shifted with its edges repeated, contrast and brightness
 * changed, noise added. Out of the plane it is turned where voxels are nearly cubes by `spacing`.
 */
pumit_status pumit__augment_image(float *image, const int64_t size[3], int64_t channels,
                                  const double spacing[3], const pumit__augment *how, uint64_t seed,
                                  uint64_t key);

/* A number in 0..1 of the Beta(alpha, alpha) distribution, 0 < alpha <= 4: mixup's share of an image (Zhang et al. 2018). */
double pumit__augment_share(double alpha, uint64_t seed, uint64_t key);

#endif
