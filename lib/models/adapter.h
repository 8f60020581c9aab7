/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a transformer with patches of 16 in the plane to a pyramid of feature maps at in-plane strides 4, 8, 16, 32.
 *
 * Step i lies between the maps of in-plane strides 2^(i-1) and 2^i. Depth joins it where i > DA, the images' degree of anisotropy,
 * which patches of p voxels in depth fix at log2(16 / p).
 */
#ifndef PUMIT_LIB_MODELS_ADAPTER_H
#define PUMIT_LIB_MODELS_ADAPTER_H

#include "lib/models/conv_layer.h"

#define PUMIT__PYRAMID_MAPS 4

/* {1 or 2, 2, 2}: what step i does to the sizes. */
typedef struct {
    int64_t size[3];
} pumit__step;
pumit__step pumit__step_of(int32_t da, int32_t i);

typedef struct {
    int32_t da;
    pumit__layer norms[PUMIT__PYRAMID_MAPS];
    pumit__layer finest_first, finest_norm, finest_second; /* stride 16 to 8, to 4 */
    pumit__layer fine;                                     /* 16 to 8 */
} pumit__adapter;

/* Parameters "backbone.norms.*" and "backbone.fpn.*". */
void pumit__adapter_build(pumit__adapter *adapter, pumit_module *module, int64_t dim, int32_t da);

/* states: (N, 1 + L, dim), one for each map, finest first; the first token is dropped. maps: (N, D, H, W, dim). */
pumit_status pumit__adapter_forward(pumit_tensor *maps[PUMIT__PYRAMID_MAPS],
                                    const pumit__adapter *adapter, pumit_tensor *const *states,
                                    const int64_t grid[3]);

#endif
