/* SPDX-License-Identifier: Apache-2.0 */
/* The vision transformer inside other models. x is an image that was normalised (pumit__vit_normalize). */
#ifndef PUMIT_LIB_MODELS_VIT_H
#define PUMIT_LIB_MODELS_VIT_H

#include "lib/nn/sac_conv.h"

#include <pumit/vit.h>

#define PUMIT__VIT_MOST_DEPTH 64

/* Patch embedding plus resampled absolute position, (N, L, dim), and the token grid. */
pumit_tensor *pumit__vit_patch_tokens(pumit_vit *vit, pumit_tensor *x, int32_t da, int64_t grid[3]);

/* The patch tokens of an image in [0, 1]; what lies between does not outlive the call. */
pumit_tensor *pumit__vit_image_tokens(pumit_vit *vit, pumit_tensor *image, int32_t da,
                                      int64_t grid[3]);

/* Hidden states (N, 1 + L, dim) after the last norm, of patch tokens. */
pumit_tensor *pumit__vit_hidden(pumit_vit *vit, pumit_tensor *tokens, const int64_t grid[3]);

/* What comes out of `count` chosen blocks (0-based), without the last norm: states[k] (N, 1 + L, dim), in the scope.
 * Later blocks are not run. */
pumit_status pumit__vit_states(pumit_tensor **states, pumit_vit *vit, pumit_tensor *tokens,
                               const int64_t grid[3], const int64_t *blocks, int32_t count);

/* What a masked-modelling loss tells beside its value: means like the loss's. */
typedef struct {
    double entropy;  /* of the target, in nats; the loss minus it is KL(target || prediction) */
    double accuracy; /* share whose most likely code is the target's */
    int64_t tokens, masked; /* of the batch, class tokens left out */
} pumit__mim_terms;

/* pumit_vit_mim_loss_packed() with its terms (may be NULL). */
pumit_status pumit__vit_mim_loss_terms(pumit_tensor **out, pumit__mim_terms *terms, pumit_vit *vit,
                                       pumit_tokenizer *tokenizer, int64_t count,
                                       pumit_tensor *const *image, const double *spacing,
                                       pumit_tensor *const *visible);

/* What embeddings and classifiers read: (N, dim). */
pumit_tensor *pumit__vit_pooled(const pumit_vit *vit, pumit_tensor *hidden);

/* An image in [0, 1], checked, minus ImageNet's mean, by its deviation. */
pumit_tensor *pumit__vit_normalize(const pumit_vit *vit, pumit_tensor *image, int32_t da);

/* (1, D, H, W, C) and its spacing, as embedding and classification want a volume. New reference. */
pumit_status pumit__vit_prepare(pumit_tensor **out, double spacing[3], const pumit_vit *vit,
                                const pumit_volume *volume);

/* For models that hold a transformer: built from its configuration. */
pumit_status pumit__vit_build(pumit_module **out, pumit_context *ctx, const pumit_config *config,
                              pumit__values values);

#endif
