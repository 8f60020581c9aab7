/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Scaled dot-product attention on rows of q | k | v, which get rotary positions (Su et al. 2021) first. The rotation is done in
 * place: the layers that gave q, k and v need not know what they gave, so the tape keeps the rotated rows alone.
 */
#include "lib/tensor/ops.h"

/* Of q | k | v (N, L, 3 dim). */
typedef struct {
    int64_t dim, heads, skip;
    double scale;
    const pumit_tensor *cosine, *sine, *offsets; /* offsets: NULL, or the sequences' borders in L */
} layout;

/* q and k are neighbours, so to the kernel they are twice as many heads. A rotation's adjoint is its inverse. */
static pumit_status rotate(pumit_tensor *x, const layout *l, bool inverse)
{
    const pumit_rope_args args = {.src = pumit__data(x),
                                  .cosine = pumit__data(l->cosine),
                                  .sine = pumit__data(l->sine),
                                  .dst = pumit__data(x),
                                  .n = x->shape[0],
                                  .length = x->shape[1],
                                  .heads = 2 * l->heads,
                                  .head_dim = l->dim / l->heads,
                                  .skip = l->skip,
                                  .angle_batch_stride =
                                      l->cosine->ndim == 3 ? l->cosine->stride[0] : 0,
                                  .inverse = inverse,
                                  .row = 3 * l->dim};
    return pumit__kernel_rope(x->ctx, &args);
}

static pumit_attention_args attention_args(const pumit_tensor *x, const layout *l,
                                           const pumit_tensor *y, const pumit_tensor *lse)
{
    pumit_attention_args args = {.q = pumit__data(x),
                                 .k = pumit__at(x, l->dim),
                                 .v = pumit__at(x, 2 * l->dim),
                                 .dst = pumit__data(y),
                                 .lse = pumit__data(lse),
                                 .n = x->shape[0],
                                 .length = x->shape[1],
                                 .heads = l->heads,
                                 .head_dim = l->dim / l->heads,
                                 .scale = l->scale,
                                 .row = 3 * l->dim};
    if (!l->offsets) return args;
    args.offsets = pumit__data(l->offsets);
    args.n = l->offsets->shape[0] - 1;
    args.length = 0;
    for (int64_t i = 0; i < args.n; i++) {
        const int64_t length = args.offsets[i + 1] - args.offsets[i];
        args.length = length > args.length ? length : args.length;
    }
    return args;
}

/* saved: x rotated, y, lse, cosine, sine, offsets */
static pumit_status rope_attention_backward(pumit__node *node, pumit_tensor *diff_dst)
{
    pumit_tensor *const *s = node->saved, *x = s[0], *diff_src = pumit__empty_like(x);
    const layout l = {.dim = diff_dst->shape[2],
                      .heads = node->integer[0],
                      .skip = node->integer[1],
                      .scale = node->real[0],
                      .cosine = s[3],
                      .sine = s[4],
                      .offsets = s[5]};
    if (!diff_src) return pumit__last_status();
    pumit_attention_args args = attention_args(x, &l, s[1], s[2]);
    args.diff_dst = pumit__data(diff_dst);
    args.diff_q = pumit__data(diff_src);
    args.diff_k = pumit__at(diff_src, l.dim);
    args.diff_v = pumit__at(diff_src, 2 * l.dim);
    PUMIT__TRY(pumit__kernel_attention_backward(x->ctx, &args));
    PUMIT__TRY(rotate(diff_src, &l, true));
    return pumit__accumulate(node->in[0], diff_src);
}

static pumit_status check_shapes(const pumit_tensor *x, const layout *l)
{
    const pumit_tensor *c = l->cosine;
    const int32_t lead = c->ndim - 2;
    if (x->ndim == 3 && l->heads > 0 && x->shape[2] % (6 * l->heads) == 0 && lead >= 0 &&
        lead <= 1 && pumit__same_shape(c, l->sine) && c->shape[lead] == x->shape[1] - l->skip &&
        2 * c->shape[lead + 1] * l->heads == l->dim && (!lead || c->shape[0] == x->shape[0]))
        return PUMIT_OK;
    return pumit__fail(PUMIT_ERROR_SHAPE, "rope_attention: %s of %lld heads do not fit angles %s",
                       pumit__shape_string(x->ndim, x->shape).text, (long long)l->heads,
                       pumit__shape_string(c->ndim, c->shape).text);
}

static pumit_status check_offsets(const pumit_tensor *x, const pumit_tensor *offsets)
{
    if (!offsets) return PUMIT_OK;
    const int64_t n = offsets->ndim == 1 ? offsets->shape[0] - 1 : 0;
    const int64_t *at = pumit__data(offsets);
    bool fits = n >= 1 && offsets->dtype == PUMIT_I64 && x->shape[0] == 1 && at[0] == 0 &&
                at[n] == x->shape[1];
    for (int64_t i = 0; i < n && fits; i++) fits = at[i] <= at[i + 1];
    if (fits) return PUMIT_OK;
    return pumit__fail(
        PUMIT_ERROR_SHAPE,
        "rope_attention: the borders %s are not I64, rising from 0 to the rows of %s",
        pumit__shape_string(offsets->ndim, offsets->shape).text,
        pumit__shape_string(x->ndim, x->shape).text);
}

/* Whoever else holds x would find it rotated. */
static pumit_status check_ours(const pumit_tensor *x)
{
    if (x->refs == 1 && x->storage->refs == 1 && (!x->slot || x->slot->node)) return PUMIT_OK;
    return pumit__fail(PUMIT_ERROR_STATE, "rope_attention: its operand is somebody else's, too");
}

pumit_tensor *pumit__rope_attention(pumit_tensor *x, pumit_tensor *cosine, pumit_tensor *sine,
                                    int64_t skip, int64_t heads, double scale,
                                    pumit_tensor *offsets)
{
    x = pumit__contiguous(x);
    cosine = pumit__contiguous(cosine);
    sine = pumit__contiguous(sine);
    if (!x || !cosine || !sine) return NULL;
    const layout l = {.dim = x->shape[x->ndim - 1] / 3,
                      .heads = heads,
                      .skip = skip,
                      .scale = scale,
                      .cosine = cosine,
                      .sine = sine,
                      .offsets = offsets};
    if (check_shapes(x, &l) != PUMIT_OK || check_offsets(x, offsets) != PUMIT_OK ||
        check_ours(x) != PUMIT_OK)
        return NULL;
    const int64_t y_shape[3] = {x->shape[0], x->shape[1], l.dim};
    const int64_t lse_shape[3] = {x->shape[0], heads, x->shape[1]}; /* offsets: one of `heads` */
    pumit_tensor *y = pumit__empty(x->ctx, 0, 3, y_shape),
                 *lse = pumit__empty(x->ctx, 0, 3, lse_shape);
    if (!y || !lse || rotate(x, &l, false) != PUMIT_OK) return NULL;
    const pumit_attention_args args = attention_args(x, &l, y, lse);
    if (pumit__kernel_attention_forward(x->ctx, &args) != PUMIT_OK) return NULL;
    if (!pumit__wants_grad(x, NULL, NULL)) return y;
    pumit__node *node = pumit__record(y, rope_attention_backward, x, NULL, NULL);
    if (!node) return NULL;
    pumit_tensor *const kept[] = {x, y, lse, cosine, sine, offsets};
    for (int32_t i = 0; i < PUMIT__COUNT(kept); i++) pumit__save(node, i, kept[i]);
    node->integer[0] = heads;
    node->integer[1] = skip;
    node->real[0] = scale;
    return y;
}
