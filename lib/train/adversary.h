/* SPDX-License-Identifier: Apache-2.0 */
/* The discriminator that learns beside a tokenizer, and the gate of the generator's term. Its state is t->numbers. */
#ifndef PUMIT_LIB_TRAIN_ADVERSARY_H
#define PUMIT_LIB_TRAIN_ADVERSARY_H

#include "lib/models/tokenizer_loss.h"
#include "lib/train/trainer.h"

/* Makes t->discriminator for images of `channels`, a part of its own, where "train.gan_weight" asks for it. */
pumit_status pumit__adversary_create(pumit_trainer *t, int64_t channels);

/* True if this step's loss has the generator's term. */
bool pumit__adversary_is_open(const pumit_trainer *t);

/* One step on `count` pairs of images and reconstructions in [-1, 1], then the gate; `rate` is the tokenizer's. */
typedef struct {
    pumit_tensor *real, *fake; /* (N, D, H, W, C), without gradient */
    int32_t da;
} pumit__adversary_pair;
pumit_status pumit__adversary_step(pumit__figures *figures, pumit_trainer *t, double rate,
                                   const pumit__adversary_pair *pairs, int64_t count);

#endif
