/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two halves of what surrounds attention in a transformer's block, each as one node that keeps little:
 *   norm_linears: LayerNorm, then linear layers of the same input, side by side; keeps x,
 *   gated_linear: base + W LayerNorm(silu(gate) value) + b (SwiGLU, Shazeer 2020); keeps gate and value.
 * Backward computes the rest again: that is a few passes over rows beside matrix products, for 7.7 of 16.4 k numbers a token in
 * the paper's transformer. The values are those of forward bit for bit, since the kernels are.
 */
#include "lib/tensor/layers.h"
#include "lib/tensor/ops.h"

/* ------------------------------------------------------------------------------------- norm_linears */

enum { MOST_LAYERS = 3 };

/* in: x, norm_weight, norm_bias, weights, biases; saved: x, norm_weight, norm_bias, weights */
static pumit_status norm_linears_backward(pumit__node *node, pumit_tensor *diff_dst)
{
    pumit_tensor *const *s = node->saved, *x = s[0];
    pumit__normed normed;
    PUMIT__TRY(pumit__norm_forward(&normed, x, s[1], s[2], node->real[0]));
    pumit_tensor *diff = pumit__empty_like(x),
                 *diff_src = node->in[0] ? pumit__empty_like(x) : NULL;
    if (!diff || (node->in[0] && !diff_src)) return pumit__last_status();
    for (int64_t i = 0, first = 0; i < node->integer[0]; first += s[3 + i]->shape[0], i++) {
        PUMIT__TRY(pumit__linear_backward_src(diff, i ? 1.0 : 0.0, diff_dst, first, s[3 + i]));
        PUMIT__TRY(pumit__linear_backward_weights(node->in[3 + i], node->in[3 + MOST_LAYERS + i],
                                                  diff_dst, first, normed.y));
    }
    PUMIT__TRY(pumit__norm_backward(diff_src, node->in[1], node->in[2], x, s[1], &normed, diff));
    return pumit__accumulate(node->in[0], diff_src);
}

static pumit_status check_layers(int64_t *columns, const pumit_tensor *x, int32_t count,
                                 pumit_tensor *const *weights, pumit_tensor *const *biases)
{
    *columns = 0;
    PUMIT__REQUIRE(count >= 1 && count <= MOST_LAYERS, "norm_linears: %d layers, not 1..%d", count,
                   MOST_LAYERS);
    for (int32_t i = 0; i < count; i++) {
        PUMIT__TRY(pumit__check_linear("norm_linears", x, weights[i], biases[i]));
        *columns += weights[i]->shape[0];
    }
    return PUMIT_OK;
}

/* y's columns, layer by layer. */
static pumit_status norm_linears_into(pumit_tensor *y, pumit_tensor *const *operands, int32_t count,
                                      double eps)
{
    pumit__normed normed;
    const int64_t mark = pumit__scope_begin(y->ctx);
    pumit_status status = pumit__norm_forward(&normed, operands[0], operands[1], operands[2], eps);
    for (int64_t i = 0, first = 0; i < count && status == PUMIT_OK; i++) {
        const pumit_tensor *weight = operands[3 + i];
        status = pumit__linear_into(y, first, 0.0, normed.y, weight, operands[3 + MOST_LAYERS + i]);
        first += weight->shape[0];
    }
    pumit__scope_end(y->ctx, mark, NULL);
    return status;
}

pumit_tensor *pumit__norm_linears(pumit_tensor *x, pumit_tensor *norm_weight,
                                  pumit_tensor *norm_bias, double eps, int32_t count,
                                  pumit_tensor *const *weights, pumit_tensor *const *biases)
{
    int64_t columns;
    pumit_tensor *operands[3 + 2 * MOST_LAYERS] = {pumit__contiguous(x), norm_weight, norm_bias};
    if (!operands[0] || !norm_weight || !norm_bias ||
        pumit__check_norm("norm_linears", x, norm_weight, norm_bias) != PUMIT_OK ||
        check_layers(&columns, x, count, weights, biases) != PUMIT_OK)
        return NULL;
    for (int32_t i = 0; i < count; i++) {
        if (!(operands[3 + i] = pumit__contiguous(weights[i]))) return NULL;
        operands[3 + MOST_LAYERS + i] = biases[i];
    }
    pumit_tensor *y = pumit__rows_like(x, columns);
    if (!y || norm_linears_into(y, operands, count, eps) != PUMIT_OK) return NULL;
    if (!pumit__any_wants_grad(operands, PUMIT__COUNT(operands))) return y;
    pumit__node *node =
        pumit__record_all(y, norm_linears_backward, operands, PUMIT__COUNT(operands));
    if (!node) return NULL;
    for (int32_t i = 0; i < 3 + count; i++) pumit__save(node, i, operands[i]);
    node->integer[0] = count;
    node->real[0] = eps;
    return y;
}

/* ------------------------------------------------------------------------------------- gated_linear */

/* Gate and value are the halves of x's rows. */
static pumit_swiglu_args swiglu_args(const pumit_tensor *x)
{
    const int64_t columns = x->shape[x->ndim - 1], channels = columns / 2;
    return (pumit_swiglu_args){.gate = pumit__data(x),
                               .value = pumit__at(x, channels),
                               .n = pumit__rows(x) * channels,
                               .channels = channels,
                               .row = columns};
}

/* silu(gate) value */
static pumit_tensor *gated(const pumit_tensor *x)
{
    pumit_tensor *y = pumit__rows_like(x, x->shape[x->ndim - 1] / 2);
    pumit_swiglu_args args = swiglu_args(x);
    if (!y) return NULL;
    args.dst = pumit__data(y);
    return pumit__kernel_swiglu_forward(x->ctx, &args) == PUMIT_OK ? y : NULL;
}

static pumit_tensor *gated_backward(const pumit_tensor *x, const pumit_tensor *diff_dst)
{
    pumit_tensor *diff_src = pumit__empty_like(x);
    pumit_swiglu_args args = swiglu_args(x);
    if (!diff_src) return NULL;
    args.diff_dst = pumit__data(diff_dst);
    args.diff_gate = pumit__data(diff_src);
    args.diff_value = pumit__at(diff_src, args.channels);
    return pumit__kernel_swiglu_backward(x->ctx, &args) == PUMIT_OK ? diff_src : NULL;
}

/* The gradient by silu(gate) value: through the layer, then the norm. */
static pumit_tensor *gated_linear_inner(pumit__node *node, const pumit_tensor *x,
                                        pumit_tensor *diff_dst)
{
    pumit_tensor *const *s = node->saved, *g = gated(x);
    pumit__normed normed;
    if (!g || pumit__norm_forward(&normed, g, s[1], s[2], node->real[0]) != PUMIT_OK ||
        pumit__linear_backward_weights(node->in[3], node->in[4], diff_dst, 0, normed.y) != PUMIT_OK)
        return NULL;
    pumit_tensor *diff = pumit__empty_like(g), *diff_g = normed.y; /* the latter's work is done */
    if (!diff || pumit__linear_backward_src(diff, 0.0, diff_dst, 0, s[3]) != PUMIT_OK) return NULL;
    return pumit__norm_backward(diff_g, node->in[1], node->in[2], g, s[1], &normed, diff) ==
                   PUMIT_OK
               ? diff_g
               : NULL;
}

/* in: x, norm_weight, norm_bias, weight, bias, base; saved: x, norm_weight, norm_bias, weight */
static pumit_status gated_linear_backward(pumit__node *node, pumit_tensor *diff_dst)
{
    pumit_tensor *x = node->saved[0];
    const int64_t mark = pumit__scope_begin(x->ctx);
    pumit_tensor *diff_g = pumit__scope_end(x->ctx, mark, gated_linear_inner(node, x, diff_dst));
    if (!diff_g) return pumit__last_status();
    if (node->in[0]) PUMIT__TRY(pumit__accumulate(node->in[0], gated_backward(x, diff_g)));
    return pumit__accumulate(node->in[5], diff_dst);
}

static pumit_status check_gated(const pumit_tensor *base, const pumit_tensor *x,
                                const pumit_tensor *norm_weight, const pumit_tensor *norm_bias,
                                const pumit_tensor *weight, const pumit_tensor *bias)
{
    const int64_t channels = norm_weight->ndim == 1 ? norm_weight->shape[0] : 0;
    if (channels > 0 && x->ndim >= 1 && x->shape[x->ndim - 1] == 2 * channels &&
        pumit__same_shape(norm_weight, norm_bias) && weight->ndim == 2 &&
        weight->shape[1] == channels && bias->ndim == 1 && bias->shape[0] == weight->shape[0] &&
        base->ndim == x->ndim && pumit__rows(base) == pumit__rows(x) &&
        base->shape[base->ndim - 1] == weight->shape[0])
        return PUMIT_OK;
    return pumit__fail(PUMIT_ERROR_SHAPE, "gated_linear: gate and value %s, weights %s, base %s",
                       pumit__shape_string(x->ndim, x->shape).text,
                       pumit__shape_string(weight->ndim, weight->shape).text,
                       pumit__shape_string(base->ndim, base->shape).text);
}

pumit_tensor *pumit__gated_linear(pumit_tensor *base, pumit_tensor *x, pumit_tensor *norm_weight,
                                  pumit_tensor *norm_bias, double eps, pumit_tensor *weight,
                                  pumit_tensor *bias)
{
    base = pumit__contiguous(base);
    x = pumit__contiguous(x);
    weight = pumit__contiguous(weight);
    if (!base || !x || !weight || !norm_weight || !norm_bias || !bias ||
        check_gated(base, x, norm_weight, norm_bias, weight, bias) != PUMIT_OK)
        return NULL;
    pumit_tensor *const operands[] = {x, norm_weight, norm_bias, weight, bias, base};
    pumit_tensor *y = NULL, *g;
    pumit__normed normed;
    const int64_t mark = pumit__scope_begin(x->ctx);
    if ((g = gated(x)) && pumit__norm_forward(&normed, g, norm_weight, norm_bias, eps) == PUMIT_OK)
        y = pumit__linear_rows(normed.y, weight, bias, base);
    y = pumit__scope_end(x->ctx, mark, y);
    if (!y || !pumit__any_wants_grad(operands, PUMIT__COUNT(operands))) return y;
    pumit__node *node =
        pumit__record_all(y, gated_linear_backward, operands, PUMIT__COUNT(operands));
    if (!node) return NULL;
    for (int32_t i = 0; i < 4; i++) pumit__save(node, i, operands[i]);
    node->real[0] = eps;
    return y;
}
