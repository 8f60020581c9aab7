/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Gradient checkpointing (Chen et al. 2016): of a stretch of a network the tape keeps the input alone, and backward computes
 * the stretch again before it goes through it. Losses and gradients are the same bit for bit, since the kernels are.
 */
#ifndef PUMIT_LIB_TENSOR_RECOMPUTE_H
#define PUMIT_LIB_TENSOR_RECOMPUTE_H

#include "lib/tensor/ops.h"

/*
 * stretch->run(stretch, x), recorded as one node where the context records. run() must give the same values each time; the gradients
 * of parameters that it reads gather as usual. Takes over the reference to stretch->model, which is released with the node, also when this fails.
 */
pumit_tensor *pumit__recompute(const pumit__stretch *stretch, pumit_tensor *x);

#endif
