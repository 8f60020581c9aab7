/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a transformer with patches of p = 2^t voxels in the plane to a pyramid of feature maps at in-plane strides p/4, p/2, p, 2p.
 *
 * Step i lies between the maps of in-plane strides 2^(i-1) and 2^i. Depth joins it where i > DA, the images' degree of anisotropy:
 * the laws of sac_conv.h. A segmenter for one DA has kernels that are as shallow as these laws would make them.
 */
#ifndef PUMIT_LIB_MODELS_ADAPTER_H
#define PUMIT_LIB_MODELS_ADAPTER_H

#include "lib/models/conv_layer.h"

#define PUMIT__PYRAMID_MAPS 4

typedef struct {
    int32_t down; /* of the tokens: t */
    pumit__layer norms[PUMIT__PYRAMID_MAPS];
    pumit__sac finest_first, finest_second, fine; /* stride p to p/2, to p/4; p to p/2 */
    pumit__layer finest_norm;
} pumit__adapter;

/* The layer that grows a map by `step`, for images of DA `da` or more: a transposed convolution, kernel and stride 2. */
pumit__sac pumit__grow_layer(pumit_module *module, int64_t in, int64_t out, int32_t da,
                             int32_t step, const char *name);

/* Parameters "backbone.norms.*" and "backbone.fpn.*", for images of DA `da` or more. */
void pumit__adapter_build(pumit__adapter *adapter, pumit_module *module, int64_t dim, int32_t down,
                          int32_t da);
void pumit__adapter_destroy(pumit__adapter *adapter);

/* states: (N, 1 + L, dim), one for each map, finest first; the first token is dropped. maps: (N, D, H, W, dim). */
pumit_status pumit__adapter_forward(pumit__feature maps[PUMIT__PYRAMID_MAPS],
                                    pumit__adapter *adapter, pumit_tensor *const *states,
                                    const int64_t grid[3], int32_t da);

#endif
