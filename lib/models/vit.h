/* SPDX-License-Identifier: Apache-2.0 */
/* The vision transformer inside other models. Images here are normalised (pumit__vit_normalize). */
#ifndef PUMIT_LIB_MODELS_VIT_H
#define PUMIT_LIB_MODELS_VIT_H

#include "lib/nn/sac_conv.h"

#include <pumit/vit.h>

#define PUMIT__VIT_MOST_DEPTH 64

/* Hidden states (N, 1 + L, dim) after the last norm. x: (N, D, H, W, C). */
pumit_tensor *pumit__vit_hidden(pumit_vit *vit, pumit_tensor *x, int32_t da);

/* What comes out of `count` chosen blocks (0-based), without the last norm: states[k] (N, 1 + L, dim), in the scope; and the
 * token grid. Later blocks are not run. */
pumit_status pumit__vit_states(pumit_tensor **states, int64_t grid[3], pumit_vit *vit,
                               pumit_tensor *x, int32_t da, const int64_t *blocks, int32_t count);

/* Masked-modelling loss against target probabilities (N, L, codes): a scalar. */
pumit_tensor *pumit__vit_mim_loss(pumit_vit *vit, pumit_tensor *x, int32_t da,
                                  pumit_tensor *visible, pumit_tensor *target);

/* What embeddings and classifiers read: (N, dim). */
pumit_tensor *pumit__vit_pooled(const pumit_vit *vit, pumit_tensor *hidden);

/* An image in [0, 1], checked, minus ImageNet's mean, by its deviation. */
pumit_tensor *pumit__vit_normalize(const pumit_vit *vit, pumit_tensor *image, int32_t da);

/* (1, D, H, W, C) and its spacing, as embedding and classification want a volume. New reference. */
pumit_status pumit__vit_prepare(pumit_tensor **out, double spacing[3], const pumit_vit *vit,
                                const pumit_volume *volume);

/* For models that hold a transformer: built from its configuration. */
pumit_status pumit__vit_build(pumit_module **out, pumit_context *ctx, const pumit_config *config,
                              bool random);

#endif
