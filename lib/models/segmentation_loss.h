/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PUMIT_LIB_MODELS_SEGMENTATION_LOSS_H
#define PUMIT_LIB_MODELS_SEGMENTATION_LOSS_H

#include "lib/tensor/ops.h"

/* Labels (N, D, H, W) of any integer type as rows of ones and zeros, (N, D, H, W, classes). */
pumit_tensor *pumit__label_target(pumit_tensor *labels, int64_t classes);

/* Soft Dice loss and cross-entropy, summed: a scalar. logits, target: (N, D, H, W, classes). */
pumit_tensor *pumit__dice_ce_loss(pumit_tensor *logits, pumit_tensor *target);

/* The same for logits of several resolutions, finest first, grown to the target's: a weighted mean. */
pumit_tensor *pumit__deep_supervision_loss(pumit_tensor *const *logits, int32_t count,
                                           pumit_tensor *target);

#endif
