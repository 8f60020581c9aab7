/* SPDX-License-Identifier: Apache-2.0 */
/* y = f(x), y = a op b with broadcasting, and sums over axes. */
#include "lib/tensor/ops.h"

#include <string.h>

/* -------------------------------------------------------------------------------------------- unary */

static pumit_status unary_backward(pumit__node *node, pumit_tensor *diff_dst)
{
    if (!node->in[0]) return PUMIT_OK;
    pumit_tensor *diff_src = pumit__empty_like(diff_dst);
    if (!diff_src) return pumit__last_status();
    const pumit_unary_args args = {.src = node->saved[0] ? pumit__data(node->saved[0])
                                                         : pumit__data(diff_dst),
                                   .diff_dst = pumit__data(diff_dst),
                                   .diff_src = pumit__data(diff_src),
                                   .n = pumit_tensor_count(diff_dst),
                                   .kind = (int32_t)node->integer[0],
                                   .alpha = node->real[0],
                                   .beta = node->real[1]};
    PUMIT__TRY(pumit__kernel_unary_backward(diff_dst->ctx, &args));
    return pumit__accumulate(node->in[0], diff_src);
}

static pumit_tensor *unary(pumit_tensor *x, int32_t kind, double alpha, double beta)
{
    x = pumit__contiguous(x);
    pumit_tensor *y = pumit__empty_like(x);
    if (!y) return NULL;
    const pumit_unary_args args = {.src = pumit__data(x),
                                   .dst = pumit__data(y),
                                   .n = pumit_tensor_count(x),
                                   .kind = kind,
                                   .alpha = alpha,
                                   .beta = beta};
    if (pumit__kernel_unary_forward(x->ctx, &args) != PUMIT_OK) return NULL;
    if (!pumit__wants_grad(x, NULL, NULL)) return y;
    pumit__node *node = pumit__record(y, unary_backward, x, NULL, NULL);
    if (!node) return NULL;
    if (kind != PUMIT_UNARY_AFFINE)
        pumit__save(node, 0, x); /* its derivative is alpha everywhere */
    node->integer[0] = kind;
    node->real[0] = alpha;
    node->real[1] = beta;
    return y;
}

pumit_tensor *pumit__affine(pumit_tensor *x, double alpha, double beta)
{
    return unary(x, PUMIT_UNARY_AFFINE, alpha, beta);
}

pumit_tensor *pumit__gelu(pumit_tensor *x)
{
    return unary(x, PUMIT_UNARY_GELU, 0, 0);
}

pumit_tensor *pumit__leaky_relu(pumit_tensor *x, double slope)
{
    return unary(x, PUMIT_UNARY_LEAKY_RELU, slope, 0);
}

pumit_tensor *pumit__absolute(pumit_tensor *x)
{
    return unary(x, PUMIT_UNARY_ABS, 0, 0);
}

pumit_tensor *pumit__xlogx(pumit_tensor *x)
{
    return unary(x, PUMIT_UNARY_XLOGX, 0, 0);
}

pumit_tensor *pumit__silu(pumit_tensor *x)
{
    return unary(x, PUMIT_UNARY_SILU, 0, 0);
}

pumit_tensor *pumit__square_root(pumit_tensor *x)
{
    return unary(x, PUMIT_UNARY_SQRT, 0, 0);
}

/* ------------------------------------------------------------------------------------------- binary */

/* Shape of a op b, aligned right; false if they do not go together. */
static bool broadcast_shape(int32_t *ndim, int64_t *shape, const pumit_tensor *a,
                            const pumit_tensor *b)
{
    *ndim = a->ndim > b->ndim ? a->ndim : b->ndim;
    for (int32_t i = 0; i < *ndim; i++) {
        const int32_t ia = i - (*ndim - a->ndim), ib = i - (*ndim - b->ndim);
        const int64_t sa = ia < 0 ? 1 : a->shape[ia], sb = ib < 0 ? 1 : b->shape[ib];
        if (sa != sb && sa != 1 && sb != 1) return false;
        shape[i] = sa == 1 ? sb : sa;
    }
    return true;
}

static void broadcast_strides(int64_t *stride, const pumit_tensor *x, int32_t ndim)
{
    for (int32_t i = 0; i < ndim; i++) {
        const int32_t ix = i - (ndim - x->ndim);
        stride[i] = ix < 0 || x->shape[ix] == 1 ? 0 : x->stride[ix];
    }
}

static pumit_tensor *binary_value(pumit_tensor *a, pumit_tensor *b, int32_t kind)
{
    if (!a || !b) return NULL;
    pumit_binary_args args = {.kind = kind};
    if (!broadcast_shape(&args.ndim, args.shape, a, b) || a->dtype != b->dtype) {
        pumit__fail(PUMIT_ERROR_SHAPE, "shapes %s and %s do not go together",
                    pumit__shape_string(a->ndim, a->shape).text,
                    pumit__shape_string(b->ndim, b->shape).text);
        return NULL;
    }
    pumit_tensor *y = pumit__empty(a->ctx, a->dtype, args.ndim, args.shape);
    if (!y) return NULL;
    broadcast_strides(args.a_stride, a, args.ndim);
    broadcast_strides(args.b_stride, b, args.ndim);
    args.a = pumit__data(a);
    args.b = pumit__data(b);
    args.dst = pumit__data(y);
    return pumit__kernel_binary(a->ctx, &args) == PUMIT_OK ? y : NULL;
}

pumit_tensor *pumit__reduce_to(pumit_tensor *grad, const pumit__slot *slot)
{
    if (!grad) return NULL;
    uint32_t axes = 0;
    const int32_t lead = grad->ndim - slot->ndim;
    for (int32_t i = 0; i < grad->ndim; i++)
        if (i < lead || (slot->shape[i - lead] == 1 && grad->shape[i] != 1))
            axes |= UINT32_C(1) << i;
    return pumit__reshape(axes ? pumit__sum(grad, axes, 1.0) : grad, slot->ndim, slot->shape);
}

static pumit_status add_backward(pumit__node *node, pumit_tensor *diff_dst)
{
    for (int32_t i = 0; i < 2; i++)
        if (node->in[i])
            PUMIT__TRY(pumit__accumulate(node->in[i], pumit__reduce_to(diff_dst, node->in[i])));
    return PUMIT_OK;
}

pumit_tensor *pumit__add(pumit_tensor *a, pumit_tensor *b)
{
    pumit_tensor *y = binary_value(a, b, PUMIT_BINARY_ADD);
    if (y && pumit__wants_grad(a, b, NULL) && !pumit__record(y, add_backward, a, b, NULL))
        return NULL;
    return y;
}

static pumit_status sub_backward(pumit__node *node, pumit_tensor *diff_dst)
{
    if (node->in[0])
        PUMIT__TRY(pumit__accumulate(node->in[0], pumit__reduce_to(diff_dst, node->in[0])));
    if (!node->in[1]) return PUMIT_OK;
    return pumit__accumulate(node->in[1],
                             pumit__reduce_to(pumit__affine(diff_dst, -1.0, 0.0), node->in[1]));
}

pumit_tensor *pumit__sub(pumit_tensor *a, pumit_tensor *b)
{
    pumit_tensor *y = binary_value(a, b, PUMIT_BINARY_SUB);
    if (y && pumit__wants_grad(a, b, NULL) && !pumit__record(y, sub_backward, a, b, NULL))
        return NULL;
    return y;
}

static pumit_status mul_backward(pumit__node *node, pumit_tensor *diff_dst)
{
    for (int32_t i = 0; i < 2; i++) {
        if (!node->in[i]) continue;
        pumit_tensor *grad = binary_value(diff_dst, node->saved[1 - i], PUMIT_BINARY_MUL);
        PUMIT__TRY(pumit__accumulate(node->in[i], pumit__reduce_to(grad, node->in[i])));
    }
    return PUMIT_OK;
}

pumit_tensor *pumit__mul(pumit_tensor *a, pumit_tensor *b)
{
    pumit_tensor *y = binary_value(a, b, PUMIT_BINARY_MUL);
    if (!y || !pumit__wants_grad(a, b, NULL)) return y;
    pumit__node *node = pumit__record(y, mul_backward, a, b, NULL);
    if (!node) return NULL;
    pumit__save(node, 0, a);
    pumit__save(node, 1, b);
    return y;
}

/* With y = a / b: da = dy / b, db = -y dy / b. saved: b, y */
static pumit_status div_backward(pumit__node *node, pumit_tensor *diff_dst)
{
    pumit_tensor *share = binary_value(diff_dst, node->saved[0], PUMIT_BINARY_DIV);
    if (node->in[0])
        PUMIT__TRY(pumit__accumulate(node->in[0], pumit__reduce_to(share, node->in[0])));
    if (!node->in[1]) return PUMIT_OK;
    pumit_tensor *grad =
        pumit__affine(binary_value(share, node->saved[1], PUMIT_BINARY_MUL), -1.0, 0.0);
    return pumit__accumulate(node->in[1], pumit__reduce_to(grad, node->in[1]));
}

pumit_tensor *pumit__div(pumit_tensor *a, pumit_tensor *b)
{
    pumit_tensor *y = binary_value(a, b, PUMIT_BINARY_DIV);
    if (!y || !pumit__wants_grad(a, b, NULL)) return y;
    pumit__node *node = pumit__record(y, div_backward, a, b, NULL);
    if (!node) return NULL;
    pumit__save(node, 0, b);
    pumit__save(node, 1, y);
    return y;
}

/* ---------------------------------------------------------------------------------------------- sum */

static pumit_status sum_backward(pumit__node *node, pumit_tensor *diff_dst)
{
    const pumit__slot *slot = node->in[0];
    int64_t kept[PUMIT_MAX_DIMS];
    for (int32_t i = 0; i < slot->ndim; i++)
        kept[i] = node->integer[0] >> i & 1 ? 1 : slot->shape[i];
    pumit_tensor *scaled =
        node->real[0] == 1.0 ? diff_dst : pumit__affine(diff_dst, node->real[0], 0.0);
    return pumit__accumulate(node->in[0], pumit__expand(pumit__reshape(scaled, slot->ndim, kept),
                                                        slot->ndim, slot->shape));
}

pumit_tensor *pumit__sum(pumit_tensor *x, uint32_t axes, double alpha)
{
    if (!x) return NULL;
    int64_t shape[PUMIT_MAX_DIMS];
    int32_t ndim = 0;
    for (int32_t i = 0; i < x->ndim; i++)
        if (!(axes >> i & 1)) shape[ndim++] = x->shape[i];
    pumit_tensor *y = pumit__empty(x->ctx, x->dtype, ndim, shape);
    if (!y) return NULL;
    pumit_reduce_args args = {
        .src = pumit__data(x), .dst = pumit__data(y), .alpha = alpha, .ndim = x->ndim};
    for (int32_t i = 0, o = 0; i < x->ndim; i++) {
        args.shape[i] = x->shape[i];
        args.src_stride[i] = x->stride[i];
        args.dst_stride[i] = axes >> i & 1 ? 0 : y->stride[o++];
    }
    if (pumit__kernel_reduce_sum(x->ctx, &args) != PUMIT_OK) return NULL;
    if (!pumit__wants_grad(x, NULL, NULL)) return y;
    pumit__node *node = pumit__record(y, sum_backward, x, NULL, NULL);
    if (!node) return NULL;
    node->integer[0] = axes;
    node->real[0] = alpha;
    return y;
}

pumit_tensor *pumit__mean(pumit_tensor *x)
{
    if (!x) return NULL;
    return pumit__sum(x, (UINT32_C(1) << x->ndim) - 1, 1.0 / (double)pumit_tensor_count(x));
}
