/* SPDX-License-Identifier: Apache-2.0 */
/* y = x W^T + b, and y = a b, over the last axis. dx = dy W, dW += dy^T x, db += sum dy; da = dy b^T, db += a^T dy. */
#include "lib/tensor/layers.h"
#include "lib/tensor/ops.h"

#include <string.h>

int64_t pumit__rows(const pumit_tensor *x)
{
    int64_t rows = 1;
    for (int32_t i = 0; i + 1 < x->ndim; i++) rows *= x->shape[i];
    return rows;
}

pumit_tensor *pumit__rows_like(const pumit_tensor *x, int64_t columns)
{
    int64_t shape[PUMIT_MAX_DIMS];
    memcpy(shape, x->shape, sizeof shape);
    shape[x->ndim - 1] = columns;
    return pumit__empty(x->ctx, x->dtype, x->ndim, shape);
}

static pumit_status mismatch(const char *what, const pumit_tensor *x, const pumit_tensor *weight)
{
    return pumit__fail(PUMIT_ERROR_SHAPE, "%s: input %s does not fit weights %s", what,
                       pumit__shape_string(x->ndim, x->shape).text,
                       pumit__shape_string(weight->ndim, weight->shape).text);
}

/* One product; what is not set here, the caller sets. The tensors are packed. */
static pumit_matmul_args product(const pumit_tensor *a, const pumit_tensor *b,
                                 const pumit_tensor *c)
{
    return (pumit_matmul_args){.a = pumit__data(a),
                               .b = pumit__data(b),
                               .c = pumit__data(c),
                               .batch = 1,
                               .lda = a->shape[a->ndim - 1],
                               .ldb = b->shape[b->ndim - 1],
                               .ldc = c->shape[c->ndim - 1],
                               .alpha = 1.0,
                               .b_dtype = b->dtype == b->ctx->real ? 0 : (int32_t)b->dtype};
}

/* ------------------------------------------------------------------------------------------- linear */

pumit_status pumit__check_linear(const char *what, const pumit_tensor *x,
                                 const pumit_tensor *weight, const pumit_tensor *bias)
{
    if (x->ndim < 1 || weight->ndim != 2 || x->shape[x->ndim - 1] != weight->shape[1])
        return mismatch(what, x, weight);
    if (bias && (bias->ndim != 1 || bias->shape[0] != weight->shape[0]))
        return mismatch(what, bias, weight);
    return PUMIT_OK;
}

pumit_status pumit__linear_into(pumit_tensor *y, int64_t first, double beta, const pumit_tensor *x,
                                const pumit_tensor *weight, const pumit_tensor *bias)
{
    pumit_matmul_args args = product(x, weight, y);
    args.c = pumit__at(y, first);
    args.bias = bias ? pumit__data(bias) : NULL;
    args.m = pumit__rows(x);
    args.n = weight->shape[0];
    args.k = weight->shape[1];
    args.beta = beta;
    args.trans_b = 1;
    return pumit__kernel_matmul(y->ctx, &args);
}

static pumit_status copy_into(pumit_tensor *dst, const pumit_tensor *src)
{
    const pumit_copy_args args = {.src = pumit__data(src),
                                  .dst = pumit__data(dst),
                                  .src_dtype = src->dtype,
                                  .dst_dtype = dst->dtype,
                                  .ndim = 1,
                                  .shape = {pumit_tensor_count(src)},
                                  .src_stride = {1},
                                  .dst_stride = {1}};
    return pumit__kernel_copy(dst->ctx, &args);
}

pumit_tensor *pumit__linear_rows(const pumit_tensor *x, const pumit_tensor *weight,
                                 const pumit_tensor *bias, const pumit_tensor *base)
{
    pumit_tensor *y = pumit__rows_like(x, weight->shape[0]);
    if (!y || (base && copy_into(y, base) != PUMIT_OK)) return NULL;
    return pumit__linear_into(y, 0, base ? 1.0 : 0.0, x, weight, bias) == PUMIT_OK ? y : NULL;
}

pumit_status pumit__linear_backward_src(pumit_tensor *diff_src, double beta,
                                        const pumit_tensor *diff_dst, int64_t first,
                                        const pumit_tensor *weight)
{
    pumit_matmul_args args = product(diff_dst, weight, diff_src);
    args.a = pumit__at(diff_dst, first);
    args.m = pumit__rows(diff_dst);
    args.n = weight->shape[1];
    args.k = weight->shape[0];
    args.beta = beta;
    return pumit__kernel_matmul(diff_src->ctx, &args);
}

pumit_status pumit__linear_backward_weights(pumit__slot *weight, pumit__slot *bias,
                                            pumit_tensor *diff_dst, int64_t first,
                                            const pumit_tensor *x)
{
    const int64_t rows = pumit__rows(x);
    if (weight) {
        double beta;
        pumit_tensor *diff_weight = pumit__grad_target(weight, &beta);
        if (!diff_weight) return pumit__last_status();
        pumit_matmul_args args = product(diff_dst, x, diff_weight);
        args.a = pumit__at(diff_dst, first);
        args.m = weight->shape[0];
        args.n = weight->shape[1];
        args.k = rows;
        args.beta = beta;
        args.trans_a = 1;
        PUMIT__TRY(pumit__kernel_matmul(x->ctx, &args));
    }
    if (!bias) return PUMIT_OK;
    const int64_t shape[2] = {rows, bias->shape[0]},
                  stride[2] = {diff_dst->shape[diff_dst->ndim - 1], 1};
    pumit_tensor *columns = pumit__view(diff_dst, 2, shape, stride, first);
    return pumit__accumulate(bias, pumit__sum(columns, 1, 1.0));
}

/* saved: x (rows, in), weight (out, in) */
static pumit_status linear_backward(pumit__node *node, pumit_tensor *diff_dst)
{
    pumit_tensor *x = node->saved[0], *weight = node->saved[1];
    if (node->in[0]) {
        pumit_tensor *diff_src = pumit__empty_like(x);
        if (!diff_src) return pumit__last_status();
        PUMIT__TRY(pumit__linear_backward_src(diff_src, 0.0, diff_dst, 0, weight));
        PUMIT__TRY(pumit__accumulate(node->in[0], diff_src));
    }
    PUMIT__TRY(pumit__linear_backward_weights(node->in[1], node->in[2], diff_dst, 0, x));
    return pumit__accumulate(node->in[3], diff_dst);
}

/* base + x W^T + b; base NULL: 0 */
static pumit_tensor *linear(const char *what, pumit_tensor *base, pumit_tensor *x,
                            pumit_tensor *weight, pumit_tensor *bias)
{
    x = pumit__contiguous(x);
    weight = pumit__contiguous(weight);
    if (!x || !weight || pumit__check_linear(what, x, weight, bias) != PUMIT_OK) return NULL;
    pumit_tensor *y = pumit__linear_rows(x, weight, bias, base);
    pumit_tensor *const operands[] = {x, weight, bias, base};
    if (!y || !pumit__any_wants_grad(operands, 4)) return y;
    pumit__node *node = pumit__record_all(y, linear_backward, operands, 4);
    if (!node) return NULL;
    pumit__save(node, 0, x);
    pumit__save(node, 1, weight);
    return y;
}

pumit_tensor *pumit__linear(pumit_tensor *x, pumit_tensor *weight, pumit_tensor *bias)
{
    return linear("linear", NULL, x, weight, bias);
}

pumit_tensor *pumit__add_linear(pumit_tensor *base, pumit_tensor *x, pumit_tensor *weight,
                                pumit_tensor *bias)
{
    base = pumit__contiguous(base);
    if (!base || !x || !weight) return NULL;
    if (base->ndim != x->ndim || pumit__rows(base) != pumit__rows(x) || weight->ndim != 2 ||
        base->shape[base->ndim - 1] != weight->shape[0]) {
        mismatch("add_linear", base, weight);
        return NULL;
    }
    return linear("add_linear", base, x, weight, bias);
}

/* ------------------------------------------------------------------------------------------- matmul */

/* saved: a (rows, k), b (k, n) */
static pumit_status matmul_backward(pumit__node *node, pumit_tensor *diff_dst)
{
    pumit_tensor *a = node->saved[0], *b = node->saved[1];
    const int64_t k = b->shape[0], n = b->shape[1], rows = pumit__rows(diff_dst);
    if (node->in[0]) {
        pumit_tensor *diff_a = pumit__empty_like(a); /* diff_dst b^T: b is as a linear layer's W */
        if (!diff_a) return pumit__last_status();
        PUMIT__TRY(pumit__linear_into(diff_a, 0, 0.0, diff_dst, b, NULL));
        PUMIT__TRY(pumit__accumulate(node->in[0], diff_a));
    }
    if (!node->in[1]) return PUMIT_OK;
    double beta;
    pumit_tensor *diff_b = pumit__grad_target(node->in[1], &beta);
    if (!diff_b) return pumit__last_status();
    pumit_matmul_args args = product(a, diff_dst, diff_b);
    args.m = k;
    args.n = n;
    args.k = rows;
    args.beta = beta;
    args.trans_a = 1;
    return pumit__kernel_matmul(a->ctx, &args);
}

pumit_tensor *pumit__matmul(pumit_tensor *a, pumit_tensor *b)
{
    a = pumit__contiguous(a);
    b = pumit__contiguous(b);
    if (!a || !b) return NULL;
    if (a->ndim < 1 || b->ndim != 2 || a->shape[a->ndim - 1] != b->shape[0]) {
        mismatch("matmul", a, b);
        return NULL;
    }
    pumit_tensor *y = pumit__rows_like(a, b->shape[1]);
    if (!y || pumit__linear_backward_src(y, 0.0, a, 0, b) != PUMIT_OK) return NULL;
    if (!pumit__wants_grad(a, b, NULL)) return y;
    pumit__node *node = pumit__record(y, matmul_backward, a, b, NULL);
    if (!node) return NULL;
    pumit__save(node, 0, a);
    pumit__save(node, 1, b);
    return y;
}
