/* SPDX-License-Identifier: Apache-2.0 */
/* y = x W^T + b, and y = a b, over the last axis. dx = dy W, dW += dy^T x, db += sum dy; da = dy b^T, db += a^T dy. */
#include "lib/tensor/ops.h"

#include <string.h>

/* Rows of a tensor seen as a matrix over its last axis. */
static int64_t rows_of(const pumit_tensor *x)
{
    int64_t rows = 1;
    for (int32_t i = 0; i + 1 < x->ndim; i++) rows *= x->shape[i];
    return rows;
}

/* c = op(a) op(b) + beta c + bias on packed matrices as stored. */
static pumit_status multiply(pumit_tensor *c, int64_t m, int64_t n, int64_t k,
                             const pumit_tensor *a, bool trans_a, const pumit_tensor *b,
                             bool trans_b, const pumit_tensor *bias, double beta)
{
    const pumit_matmul_args args = {.a = pumit__data(a),
                                    .b = pumit__data(b),
                                    .bias = bias ? pumit__data(bias) : NULL,
                                    .c = pumit__data(c),
                                    .batch = 1,
                                    .m = m,
                                    .n = n,
                                    .k = k,
                                    .lda = trans_a ? m : k,
                                    .ldb = trans_b ? k : n,
                                    .ldc = n,
                                    .alpha = 1.0,
                                    .beta = beta,
                                    .trans_a = trans_a,
                                    .trans_b = trans_b};
    return pumit__kernel_matmul(c->ctx, &args);
}

static pumit_tensor *result_of(pumit_tensor *x, int64_t columns)
{
    int64_t shape[PUMIT_MAX_DIMS];
    memcpy(shape, x->shape, sizeof shape);
    shape[x->ndim - 1] = columns;
    return pumit__empty(x->ctx, x->dtype, x->ndim, shape);
}

static pumit_tensor *mismatch(const char *what, const pumit_tensor *x, const pumit_tensor *weight)
{
    pumit__fail(PUMIT_ERROR_SHAPE, "%s: input %s does not fit weights %s", what,
                pumit__shape_string(x->ndim, x->shape).text,
                pumit__shape_string(weight->ndim, weight->shape).text);
    return NULL;
}

/* ------------------------------------------------------------------------------------------- linear */

/* saved: x (rows, in), weight (out, in) */
static pumit_status linear_backward(pumit__node *node, pumit_tensor *diff_dst)
{
    pumit_tensor *x = node->saved[0], *weight = node->saved[1];
    const int64_t out = weight->shape[0], in = weight->shape[1], rows = rows_of(diff_dst);
    if (node->in[0]) {
        pumit_tensor *diff_src = pumit__empty_like(x);
        if (!diff_src) return pumit__last_status();
        PUMIT__TRY(multiply(diff_src, rows, in, out, diff_dst, false, weight, false, NULL, 0.0));
        PUMIT__TRY(pumit__accumulate(node->in[0], diff_src));
    }
    if (node->in[1]) {
        pumit_tensor *diff_weight = pumit__grad_buffer(node->in[1]);
        if (!diff_weight) return pumit__last_status();
        PUMIT__TRY(multiply(diff_weight, out, in, rows, diff_dst, true, x, false, NULL, 1.0));
    }
    if (node->in[2])
        return pumit__accumulate(
            node->in[2], pumit__sum(diff_dst, (UINT32_C(1) << (diff_dst->ndim - 1)) - 1, 1.0));
    return PUMIT_OK;
}

pumit_tensor *pumit__linear(pumit_tensor *x, pumit_tensor *weight, pumit_tensor *bias)
{
    x = pumit__contiguous(x);
    weight = pumit__contiguous(weight);
    if (!x || !weight) return NULL;
    if (x->ndim < 1 || weight->ndim != 2 || x->shape[x->ndim - 1] != weight->shape[1])
        return mismatch("linear", x, weight);
    const int64_t out = weight->shape[0], in = weight->shape[1];
    if (bias && (bias->ndim != 1 || bias->shape[0] != out)) return mismatch("linear", bias, weight);
    pumit_tensor *y = result_of(x, out);
    if (!y || multiply(y, rows_of(x), out, in, x, false, weight, true, bias, 0.0) != PUMIT_OK)
        return NULL;
    if (!pumit__wants_grad(x, weight, bias)) return y;
    pumit__node *node = pumit__record(y, linear_backward, x, weight, bias);
    if (!node) return NULL;
    pumit__save(node, 0, x);
    pumit__save(node, 1, weight);
    return y;
}

/* ------------------------------------------------------------------------------------------- matmul */

/* saved: a (rows, k), b (k, n) */
static pumit_status matmul_backward(pumit__node *node, pumit_tensor *diff_dst)
{
    pumit_tensor *a = node->saved[0], *b = node->saved[1];
    const int64_t k = b->shape[0], n = b->shape[1], rows = rows_of(diff_dst);
    if (node->in[0]) {
        pumit_tensor *diff_a = pumit__empty_like(a);
        if (!diff_a) return pumit__last_status();
        PUMIT__TRY(multiply(diff_a, rows, k, n, diff_dst, false, b, true, NULL, 0.0));
        PUMIT__TRY(pumit__accumulate(node->in[0], diff_a));
    }
    if (!node->in[1]) return PUMIT_OK;
    pumit_tensor *diff_b = pumit__grad_buffer(node->in[1]);
    if (!diff_b) return pumit__last_status();
    return multiply(diff_b, k, n, rows, a, true, diff_dst, false, NULL, 1.0);
}

pumit_tensor *pumit__matmul(pumit_tensor *a, pumit_tensor *b)
{
    a = pumit__contiguous(a);
    b = pumit__contiguous(b);
    if (!a || !b) return NULL;
    if (a->ndim < 1 || b->ndim != 2 || a->shape[a->ndim - 1] != b->shape[0])
        return mismatch("matmul", a, b);
    pumit_tensor *y = result_of(a, b->shape[1]);
    if (!y || multiply(y, rows_of(a), b->shape[1], b->shape[0], a, false, b, false, NULL, 0.0) !=
                  PUMIT_OK)
        return NULL;
    if (!pumit__wants_grad(a, b, NULL)) return y;
    pumit__node *node = pumit__record(y, matmul_backward, a, b, NULL);
    if (!node) return NULL;
    pumit__save(node, 0, a);
    pumit__save(node, 1, b);
    return y;
}
