/* SPDX-License-Identifier: Apache-2.0 */
/* What transformers are made of: rotary positions (Su et al. 2021), scaled dot-product attention, SwiGLU (Shazeer 2020). */
#include "lib/tensor/ops.h"

/* --------------------------------------------------------------------------------------------- rope */

static pumit_status rotate(pumit_tensor *dst, const pumit_tensor *src, const pumit_tensor *cosine,
                           const pumit_tensor *sine, int64_t skip, bool inverse)
{
    const pumit_rope_args args = {.src = pumit__data(src),
                                  .cosine = pumit__data(cosine),
                                  .sine = pumit__data(sine),
                                  .dst = pumit__data(dst),
                                  .n = src->shape[0],
                                  .length = src->shape[1],
                                  .heads = src->shape[2],
                                  .head_dim = src->shape[3],
                                  .skip = skip,
                                  .angle_batch_stride = cosine->ndim == 3 ? cosine->stride[0] : 0,
                                  .inverse = inverse};
    return pumit__kernel_rope(src->ctx, &args);
}

/* A rotation's adjoint is its inverse. saved: cosine, sine */
static pumit_status rope_backward(pumit__node *node, pumit_tensor *diff_dst)
{
    pumit_tensor *diff_src = pumit__empty_like(diff_dst);
    if (!diff_src) return pumit__last_status();
    PUMIT__TRY(rotate(diff_src, diff_dst, node->saved[0], node->saved[1], node->integer[0], true));
    return pumit__accumulate(node->in[0], diff_src);
}

pumit_tensor *pumit__rope(pumit_tensor *x, pumit_tensor *cosine, pumit_tensor *sine, int64_t skip)
{
    x = pumit__contiguous(x);
    cosine = pumit__contiguous(cosine);
    sine = pumit__contiguous(sine);
    if (!x || !cosine || !sine) return NULL;
    const int32_t lead = cosine->ndim - 2;
    if (x->ndim != 4 || lead < 0 || lead > 1 || !pumit__same_shape(cosine, sine) ||
        cosine->shape[lead] != x->shape[1] - skip || 2 * cosine->shape[lead + 1] != x->shape[3] ||
        (lead && cosine->shape[0] != x->shape[0])) {
        pumit__fail(PUMIT_ERROR_SHAPE, "rope: tokens %s do not fit angles %s",
                    pumit__shape_string(x->ndim, x->shape).text,
                    pumit__shape_string(cosine->ndim, cosine->shape).text);
        return NULL;
    }
    pumit_tensor *y = pumit__empty_like(x);
    if (!y || rotate(y, x, cosine, sine, skip, false) != PUMIT_OK) return NULL;
    if (!pumit__wants_grad(x, NULL, NULL)) return y;
    pumit__node *node = pumit__record(y, rope_backward, x, NULL, NULL);
    if (!node) return NULL;
    pumit__save(node, 0, cosine);
    pumit__save(node, 1, sine);
    node->integer[0] = skip;
    return y;
}

/* ---------------------------------------------------------------------------------------- attention */

static pumit_attention_args attention_args(const pumit_tensor *q, const pumit_tensor *k,
                                           const pumit_tensor *v, const pumit_tensor *y,
                                           const pumit_tensor *lse, double scale)
{
    return (pumit_attention_args){.q = pumit__data(q),
                                  .k = pumit__data(k),
                                  .v = pumit__data(v),
                                  .dst = pumit__data(y),
                                  .lse = pumit__data(lse),
                                  .n = q->shape[0],
                                  .length = q->shape[1],
                                  .heads = q->shape[2],
                                  .head_dim = q->shape[3],
                                  .scale = scale};
}

/* saved: q, k, v, y, lse */
static pumit_status attention_backward(pumit__node *node, pumit_tensor *diff_dst)
{
    pumit_tensor *const *s = node->saved;
    pumit_tensor *diff[3];
    pumit_attention_args args = attention_args(s[0], s[1], s[2], s[3], s[4], node->real[0]);
    for (int32_t i = 0; i < 3; i++)
        if (!(diff[i] = pumit__empty_like(s[i]))) return pumit__last_status();
    args.diff_dst = pumit__data(diff_dst);
    args.diff_q = pumit__data(diff[0]);
    args.diff_k = pumit__data(diff[1]);
    args.diff_v = pumit__data(diff[2]);
    PUMIT__TRY(pumit__kernel_attention_backward(diff_dst->ctx, &args));
    for (int32_t i = 0; i < 3; i++) PUMIT__TRY(pumit__accumulate(node->in[i], diff[i]));
    return PUMIT_OK;
}

pumit_tensor *pumit__attention(pumit_tensor *q, pumit_tensor *k, pumit_tensor *v, double scale)
{
    q = pumit__contiguous(q);
    k = pumit__contiguous(k);
    v = pumit__contiguous(v);
    if (!q || !k || !v) return NULL;
    if (q->ndim != 4 || !pumit__same_shape(q, k) || !pumit__same_shape(q, v)) {
        pumit__fail(PUMIT_ERROR_SHAPE, "attention: queries %s, keys %s",
                    pumit__shape_string(q->ndim, q->shape).text,
                    pumit__shape_string(k->ndim, k->shape).text);
        return NULL;
    }
    const int64_t lse_shape[3] = {q->shape[0], q->shape[2], q->shape[1]};
    pumit_tensor *y = pumit__empty_like(q), *lse = pumit__empty(q->ctx, 0, 3, lse_shape);
    if (!y || !lse) return NULL;
    const pumit_attention_args args = attention_args(q, k, v, y, lse, scale);
    if (pumit__kernel_attention_forward(q->ctx, &args) != PUMIT_OK) return NULL;
    if (!pumit__wants_grad(q, k, v)) return y;
    pumit__node *node = pumit__record(y, attention_backward, q, k, v);
    if (!node) return NULL;
    pumit_tensor *const kept[] = {q, k, v, y, lse};
    for (int32_t i = 0; i < 5; i++) pumit__save(node, i, kept[i]);
    node->real[0] = scale;
    return y;
}

/* ------------------------------------------------------------------------------------------- swiglu */

/* saved: gate, value */
static pumit_status swiglu_backward(pumit__node *node, pumit_tensor *diff_dst)
{
    pumit_tensor *gate = node->saved[0], *value = node->saved[1];
    pumit_tensor *diff_gate = pumit__empty_like(gate), *diff_value = pumit__empty_like(value);
    if (!diff_gate || !diff_value) return pumit__last_status();
    const pumit_swiglu_args args = {.gate = pumit__data(gate),
                                    .value = pumit__data(value),
                                    .diff_dst = pumit__data(diff_dst),
                                    .diff_gate = pumit__data(diff_gate),
                                    .diff_value = pumit__data(diff_value),
                                    .n = pumit_tensor_count(gate)};
    PUMIT__TRY(pumit__kernel_swiglu_backward(gate->ctx, &args));
    PUMIT__TRY(pumit__accumulate(node->in[0], diff_gate));
    return pumit__accumulate(node->in[1], diff_value);
}

pumit_tensor *pumit__swiglu(pumit_tensor *gate, pumit_tensor *value)
{
    gate = pumit__contiguous(gate);
    value = pumit__contiguous(value);
    if (!gate || !value) return NULL;
    if (!pumit__same_shape(gate, value)) {
        pumit__fail(PUMIT_ERROR_SHAPE, "swiglu: gate %s, value %s",
                    pumit__shape_string(gate->ndim, gate->shape).text,
                    pumit__shape_string(value->ndim, value->shape).text);
        return NULL;
    }
    pumit_tensor *y = pumit__empty_like(gate);
    if (!y) return NULL;
    const pumit_swiglu_args args = {.gate = pumit__data(gate),
                                    .value = pumit__data(value),
                                    .dst = pumit__data(y),
                                    .n = pumit_tensor_count(gate)};
    if (pumit__kernel_swiglu_forward(gate->ctx, &args) != PUMIT_OK) return NULL;
    if (!pumit__wants_grad(gate, value, NULL)) return y;
    pumit__node *node = pumit__record(y, swiglu_backward, gate, value, NULL);
    if (!node) return NULL;
    pumit__save(node, 0, gate);
    pumit__save(node, 1, value);
    return y;
}
