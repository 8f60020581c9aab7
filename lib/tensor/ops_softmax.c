/* SPDX-License-Identifier: Apache-2.0 */
/* Distributions over the last axis: softmax, its entropy, cross-entropy with soft targets. Natural logarithms. */
#include "lib/tensor/ops.h"

static void matrix_of(const pumit_tensor *x, int64_t *rows, int64_t *channels)
{
    *channels = x->shape[x->ndim - 1];
    *rows = *channels ? pumit_tensor_count(x) / *channels : 0;
}

static pumit_tensor *row_results(pumit_tensor *x)
{
    return pumit__empty(x->ctx, 0, x->ndim - 1, x->shape);
}

/* ------------------------------------------------------------------------------------------ softmax */

/* saved: y */
static pumit_status softmax_backward(pumit__node *node, pumit_tensor *diff_dst)
{
    if (!node->in[0]) return PUMIT_OK;
    pumit_tensor *diff_src = pumit__empty_like(diff_dst);
    if (!diff_src) return pumit__last_status();
    pumit_softmax_args args = {.diff_dst = pumit__data(diff_dst),
                               .dst = pumit__data(node->saved[0]),
                               .diff_src = pumit__data(diff_src)};
    matrix_of(diff_dst, &args.rows, &args.channels);
    PUMIT__TRY(pumit__kernel_softmax_backward(diff_dst->ctx, &args));
    return pumit__accumulate(node->in[0], diff_src);
}

pumit_tensor *pumit__softmax(pumit_tensor *x)
{
    x = pumit__contiguous(x);
    pumit_tensor *y = pumit__empty_like(x);
    if (!y) return NULL;
    pumit_softmax_args args = {.src = pumit__data(x), .dst = pumit__data(y)};
    matrix_of(x, &args.rows, &args.channels);
    if (pumit__kernel_softmax_forward(x->ctx, &args) != PUMIT_OK) return NULL;
    if (!pumit__wants_grad(x, NULL, NULL)) return y;
    pumit__node *node = pumit__record(y, softmax_backward, x, NULL, NULL);
    if (!node) return NULL;
    pumit__save(node, 0, y);
    return y;
}

/* ------------------------------------------------------------------------------------------ entropy */

/* saved: logits */
static pumit_status entropy_backward(pumit__node *node, pumit_tensor *diff_dst)
{
    if (!node->in[0]) return PUMIT_OK;
    pumit_tensor *logits = node->saved[0], *diff_src = pumit__empty_like(logits);
    if (!diff_src) return pumit__last_status();
    pumit_entropy_args args = {.src = pumit__data(logits),
                               .diff_dst = pumit__data(diff_dst),
                               .diff_src = pumit__data(diff_src)};
    matrix_of(logits, &args.rows, &args.channels);
    PUMIT__TRY(pumit__kernel_entropy_backward(logits->ctx, &args));
    return pumit__accumulate(node->in[0], diff_src);
}

pumit_tensor *pumit__entropy(pumit_tensor *logits)
{
    logits = pumit__contiguous(logits);
    pumit_tensor *y = logits ? row_results(logits) : NULL;
    if (!y) return NULL;
    pumit_entropy_args args = {.src = pumit__data(logits), .dst = pumit__data(y)};
    matrix_of(logits, &args.rows, &args.channels);
    if (pumit__kernel_entropy_forward(logits->ctx, &args) != PUMIT_OK) return NULL;
    if (!pumit__wants_grad(logits, NULL, NULL)) return y;
    pumit__node *node = pumit__record(y, entropy_backward, logits, NULL, NULL);
    if (!node) return NULL;
    pumit__save(node, 0, logits);
    return y;
}

/* ------------------------------------------------------------------------------------ cross-entropy */

/* saved: logits, target */
static pumit_status cross_entropy_backward(pumit__node *node, pumit_tensor *diff_dst)
{
    if (!node->in[0]) return PUMIT_OK;
    pumit_tensor *logits = node->saved[0], *diff_src = pumit__empty_like(logits);
    if (!diff_src) return pumit__last_status();
    pumit_cross_entropy_args args = {.src = pumit__data(logits),
                                     .target = pumit__data(node->saved[1]),
                                     .diff_dst = pumit__data(diff_dst),
                                     .diff_src = pumit__data(diff_src)};
    matrix_of(logits, &args.rows, &args.channels);
    PUMIT__TRY(pumit__kernel_cross_entropy_backward(logits->ctx, &args));
    return pumit__accumulate(node->in[0], diff_src);
}

pumit_tensor *pumit__cross_entropy(pumit_tensor *logits, pumit_tensor *target)
{
    logits = pumit__contiguous(logits);
    target = pumit__contiguous(target);
    if (!logits || !target) return NULL;
    if (!pumit__same_shape(logits, target)) {
        pumit__fail(PUMIT_ERROR_SHAPE, "cross_entropy: logits %s, target %s",
                    pumit__shape_string(logits->ndim, logits->shape).text,
                    pumit__shape_string(target->ndim, target->shape).text);
        return NULL;
    }
    pumit_tensor *y = row_results(logits);
    if (!y) return NULL;
    pumit_cross_entropy_args args = {
        .src = pumit__data(logits), .target = pumit__data(target), .dst = pumit__data(y)};
    matrix_of(logits, &args.rows, &args.channels);
    if (pumit__kernel_cross_entropy_forward(logits->ctx, &args) != PUMIT_OK) return NULL;
    if (!pumit__wants_grad(logits, NULL, NULL)) return y;
    pumit__node *node = pumit__record(y, cross_entropy_backward, logits, NULL, NULL);
    if (!node) return NULL;
    pumit__save(node, 0, logits);
    pumit__save(node, 1, target);
    return y;
}
