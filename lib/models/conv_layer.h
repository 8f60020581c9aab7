/* SPDX-License-Identifier: Apache-2.0 */
/* Layers of the segmentation networks: convolutions whose kernels do not adapt, and instance norm. Images (N, D, H, W, C). */
#ifndef PUMIT_LIB_MODELS_CONV_LAYER_H
#define PUMIT_LIB_MODELS_CONV_LAYER_H

#include "lib/nn/module.h"

typedef struct {
    int64_t in, out, kernel[3];
    bool transposed, bias;
} pumit__conv_shape;

/* Adds "name.weight", (out, kernel, in) or, transposed, (in, kernel, out), and "name.bias" where wanted. */
pumit__layer pumit__conv_layer(pumit_module *module, const pumit__conv_shape *shape,
                               const char *name);

/* Over the positions of each image and channel. */
pumit_tensor *pumit__instance_norm(pumit_tensor *x, const pumit__layer *layer);

/* Convolution without bias, instance norm, LeakyReLU. */
typedef struct {
    pumit__layer conv, norm;
} pumit__conv_unit;

/* Parameters "name.conv.weight", "name.adn.N.weight", "name.adn.N.bias". */
pumit__conv_unit pumit__conv_unit_create(pumit_module *module, int64_t in, int64_t out,
                                         const int64_t kernel[3], const char *name);
/* Padded so that stride 1 keeps the size. */
pumit_tensor *pumit__conv_unit_forward(const pumit__conv_unit *unit, pumit_tensor *x,
                                       const int64_t stride[3]);

#endif
