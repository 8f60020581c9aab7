/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Linear layers and LayerNorm without recording: what operations of one layer and of several are made of. Matrices are the rows
 * of a tensor's last axis; results belong to the innermost scope.
 */
#ifndef PUMIT_LIB_TENSOR_LAYERS_H
#define PUMIT_LIB_TENSOR_LAYERS_H

#include "lib/tensor/tensor.h"

/* All axes but the last. */
int64_t pumit__rows(const pumit_tensor *x);
/* Uninitialised: x's rows with `columns` in each. */
pumit_tensor *pumit__rows_like(const pumit_tensor *x, int64_t columns);
/* weight (out, in) and bias (out) or NULL fit x (..., in), or an error that names `what`. */
pumit_status pumit__check_linear(const char *what, const pumit_tensor *x,
                                 const pumit_tensor *weight, const pumit_tensor *bias);
/* weight and bias (channels) fit x (..., channels). */
pumit_status pumit__check_norm(const char *what, const pumit_tensor *x, const pumit_tensor *weight,
                               const pumit_tensor *bias);

/* Columns first .. first + out of y = x W^T + b + beta times what is there. */
pumit_status pumit__linear_into(pumit_tensor *y, int64_t first, double beta, const pumit_tensor *x,
                                const pumit_tensor *weight, const pumit_tensor *bias);
/* base + x W^T + b, in a tensor of its own; base NULL: 0. */
pumit_tensor *pumit__linear_rows(const pumit_tensor *x, const pumit_tensor *weight,
                                 const pumit_tensor *bias, const pumit_tensor *base);
/* diff_src = dy W + beta diff_src, dy those columns of diff_dst. */
pumit_status pumit__linear_backward_src(pumit_tensor *diff_src, double beta,
                                        const pumit_tensor *diff_dst, int64_t first,
                                        const pumit_tensor *weight);
/* W's gradient += dy^T x, b's += sum of dy; slots may be NULL. */
pumit_status pumit__linear_backward_weights(pumit__slot *weight, pumit__slot *bias,
                                            pumit_tensor *diff_dst, int64_t first,
                                            const pumit_tensor *x);

/* y = (x - mean) rstd weight + bias; mean and rstd: (rows). */
typedef struct {
    pumit_tensor *y, *mean, *rstd;
} pumit__normed;

pumit_status pumit__norm_forward(pumit__normed *out, const pumit_tensor *x,
                                 const pumit_tensor *weight, const pumit_tensor *bias, double eps);
/* diff_src is overwritten, NULL: not wanted; the slots are the weight's and the bias's, or NULL. y is not read. */
pumit_status pumit__norm_backward(pumit_tensor *diff_src, pumit__slot *diff_weight,
                                  pumit__slot *diff_bias, const pumit_tensor *x,
                                  const pumit_tensor *weight, const pumit__normed *normed,
                                  const pumit_tensor *diff_dst);

#endif
