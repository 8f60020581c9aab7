/* SPDX-License-Identifier: Apache-2.0 */
/* Layers of the segmentation networks: spatially adaptive convolutions (sac_conv.h) and instance norm. */
#ifndef PUMIT_LIB_MODELS_CONV_LAYER_H
#define PUMIT_LIB_MODELS_CONV_LAYER_H

#include "lib/nn/sac_conv.h"

/* Over the positions of each image and channel. */
pumit_tensor *pumit__instance_norm(pumit_tensor *x, const pumit__layer *layer);

/* Convolution without bias, instance norm, LeakyReLU. */
typedef struct {
    pumit__sac conv;
    pumit__layer norm;
} pumit__conv_unit;

/* What a unit does to a feature map: the kernel is 1 or 3 in the plane and `depth` deep, padded so that stride 1 keeps the size. */
typedef struct {
    int64_t in, out, kernel, depth, stride;
} pumit__conv_shape;

/* Parameters "name.conv.weight", "name.adn.N.weight", "name.adn.N.bias". */
pumit__conv_unit pumit__conv_unit_create(pumit_module *module, const pumit__conv_shape *shape,
                                         const char *name);
void pumit__conv_unit_destroy(pumit__conv_unit *unit);
pumit__feature pumit__conv_unit_forward(pumit__conv_unit *unit, pumit__feature f);

#endif
