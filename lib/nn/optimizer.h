/* SPDX-License-Identifier: Apache-2.0 */
/* What checkpoints and recipes need of an optimiser. */
#ifndef PUMIT_LIB_NN_OPTIMIZER_H
#define PUMIT_LIB_NN_OPTIMIZER_H

#include "lib/nn/module.h"

#include <pumit/optimizer.h>

/* The moments: "exp_avg.NAME" and "exp_avg_sq.NAME" for each trained parameter; tensors are borrowed. */
int64_t pumit__optimizer_state_count(const pumit_optimizer *optimizer);
void pumit__optimizer_state(const pumit_optimizer *optimizer, int64_t i, const char **name,
                            pumit_tensor **tensor);
/* L2 norm of the gathered gradients of the trained parameters whose names begin with `prefix`. */
pumit_status pumit__optimizer_norm(double *norm, const pumit_optimizer *optimizer,
                                   const char *prefix);
void pumit__optimizer_set_steps(pumit_optimizer *optimizer, int64_t steps);

#endif
