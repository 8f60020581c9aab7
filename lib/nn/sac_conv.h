/* SPDX-License-Identifier: Apache-2.0 */
/* The spatially adaptive convolution inside networks. */
#ifndef PUMIT_LIB_NN_SAC_CONV_H
#define PUMIT_LIB_NN_SAC_CONV_H

#include "lib/nn/module.h"

/* A feature map (N, D, H, W, C) and its place in the network: the image's degree of anisotropy, in-plane halvings so far. */
typedef struct {
    pumit_tensor *x;
    int32_t da, down;
} pumit__feature;

#define PUMIT__MOST_ANISOTROPY 5

/* A layer. Weights pooled to a depth are kept until the weights change. */
typedef struct {
    pumit_tensor *weight,
        *bias; /* (O, kernel..., I) or, transposed, (I, kernel..., O); borrowed from the module */
    int64_t stride, padding[3];
    bool transposed;
    struct {
        pumit_tensor *value; /* owned */
        int64_t depth;
        uint64_t version;
    } pooled[PUMIT__MOST_ANISOTROPY];
} pumit__sac;

/* Sizes on all axes; a kernel that is another size along D has no padding there. */
typedef struct {
    int64_t in, out, kernel, stride, padding;
    int64_t kernel_depth; /* 0: as `kernel` */
    bool transposed, bias;
} pumit__sac_shape;

/* Adds "name.weight" and "name.bias" to the module. */
pumit__sac pumit__sac_create(pumit_module *module, const pumit__sac_shape *shape, const char *name);
/* Frees the cache. */
void pumit__sac_destroy(pumit__sac *sac);

/* x is NULL in the result if something failed. */
pumit__feature pumit__sac_forward(pumit__sac *sac, pumit__feature f);

#endif
