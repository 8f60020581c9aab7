/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copies of the model's parameters that a run keeps beside them: the best so far, and the moving average
 *   average = d average + (1 - d) weights,  d = min(train.ema, (1 + n) / (10 + n)) at update n = 0, 1, ...
 * so that an average over few steps follows them.
 */
#ifndef PUMIT_LIB_TRAIN_COPIES_H
#define PUMIT_LIB_TRAIN_COPIES_H

#include "lib/train/trainer.h"

/* Copies the parameters into *copies, made on first use: all of them, or *copies stays NULL. */
pumit_status pumit__copies_keep(pumit_tensor ***copies, const pumit_trainer *t);
/* Exchanges copies with the parameters; NULL: does nothing. */
pumit_status pumit__copies_swap(pumit_tensor **copies, const pumit_trainer *t);
void pumit__copies_release(pumit_tensor **copies, const pumit_trainer *t);

/* After a step that moved the weights: moves t->average, if there is one, and counts. */
pumit_status pumit__average_update(pumit_trainer *t);

#endif
