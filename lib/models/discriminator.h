/* SPDX-License-Identifier: Apache-2.0 */
/* The discriminator beside a tokenizer in training. Images here are in [-1, 1]. */
#ifndef PUMIT_LIB_MODELS_DISCRIMINATOR_H
#define PUMIT_LIB_MODELS_DISCRIMINATOR_H

#include "lib/nn/sac_conv.h"

#include <pumit/discriminator.h>

/* Scores (N, d, h, w, 1) of x (N, D, H, W, C). */
pumit_tensor *pumit__discriminator_scores(pumit_discriminator *discriminator, pumit_tensor *x,
                                          int32_t da);

/* In-plane voxels of the smallest image that leaves two scores each way. */
int64_t pumit__discriminator_least_side(const pumit_discriminator *discriminator);
int64_t pumit__discriminator_channels(const pumit_discriminator *discriminator);

/* mean max(0, 1 - real) + mean max(0, 1 + fake), of scores: a scalar. */
pumit_tensor *pumit__hinge_loss(pumit_tensor *real, pumit_tensor *fake);

/* Half of that, of the scores of images, recorded. */
pumit_tensor *pumit__discriminator_loss(pumit_discriminator *discriminator, pumit_tensor *real,
                                        pumit_tensor *fake, int32_t da);

/*
 * The generator's term joins only while the discriminator is good: max(average, last) <= threshold, where after each of the
 * discriminator's losses average = momentum average + (1 - momentum) loss, last = loss. Part of a checkpoint.
 */
typedef struct {
    double threshold, momentum, average, last;
} pumit__gan_gate;

/* Closed until the first loss, whatever the threshold: (0.025, 0.9, 0.1, infinity). */
pumit__gan_gate pumit__gan_gate_create(void);
bool pumit__gan_gate_is_open(const pumit__gan_gate *gate);
void pumit__gan_gate_update(pumit__gan_gate *gate, double loss);

#endif
