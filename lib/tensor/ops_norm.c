/* SPDX-License-Identifier: Apache-2.0 */
/* y = (x - mean) rstd weight + bias: LayerNorm over the last axis (Ba et al. 2016), GroupNorm over channel groups of
 * each image (Wu & He 2018). */
#include "lib/tensor/layers.h"
#include "lib/tensor/ops.h"

pumit_status pumit__check_norm(const char *what, const pumit_tensor *x, const pumit_tensor *weight,
                               const pumit_tensor *bias)
{
    const int64_t channels = x->ndim ? x->shape[x->ndim - 1] : 0;
    if (channels > 0 && weight->ndim == 1 && weight->shape[0] == channels &&
        pumit__same_shape(weight, bias))
        return PUMIT_OK;
    return pumit__fail(PUMIT_ERROR_SHAPE, "%s: input %s does not fit weights %s", what,
                       pumit__shape_string(x->ndim, x->shape).text,
                       pumit__shape_string(weight->ndim, weight->shape).text);
}

/* Address of the gradient to add to, NULL for a NULL slot; false where it could not be made. */
static bool gradient_of(void **address, pumit__slot *slot)
{
    pumit_tensor *const grad = slot ? pumit__grad_buffer(slot) : NULL;
    *address = grad ? pumit__data(grad) : NULL;
    return grad || !slot;
}

/* ---------------------------------------------------------------------------------------- LayerNorm */

pumit_status pumit__norm_forward(pumit__normed *out, const pumit_tensor *x,
                                 const pumit_tensor *weight, const pumit_tensor *bias, double eps)
{
    const int64_t rows = pumit__rows(x);
    *out = (pumit__normed){.y = pumit__empty_like(x),
                           .mean = pumit__empty(x->ctx, 0, 1, &rows),
                           .rstd = pumit__empty(x->ctx, 0, 1, &rows)};
    if (!out->y || !out->mean || !out->rstd) return pumit__last_status();
    const pumit_layer_norm_args args = {.src = pumit__data(x),
                                        .weight = pumit__data(weight),
                                        .bias = pumit__data(bias),
                                        .dst = pumit__data(out->y),
                                        .mean = pumit__data(out->mean),
                                        .rstd = pumit__data(out->rstd),
                                        .rows = rows,
                                        .channels = x->shape[x->ndim - 1],
                                        .eps = eps};
    return pumit__kernel_layer_norm_forward(x->ctx, &args);
}

pumit_status pumit__norm_backward(pumit_tensor *diff_src, pumit__slot *diff_weight,
                                  pumit__slot *diff_bias, const pumit_tensor *x,
                                  const pumit_tensor *weight, const pumit__normed *normed,
                                  const pumit_tensor *diff_dst)
{
    pumit_layer_norm_args args = {.src = pumit__data(x),
                                  .weight = pumit__data(weight),
                                  .mean = pumit__data(normed->mean),
                                  .rstd = pumit__data(normed->rstd),
                                  .diff_dst = pumit__data(diff_dst),
                                  .diff_src = diff_src ? pumit__data(diff_src) : NULL,
                                  .rows = pumit__rows(x),
                                  .channels = x->shape[x->ndim - 1]};
    if (!gradient_of(&args.diff_weight, diff_weight) || !gradient_of(&args.diff_bias, diff_bias))
        return pumit__last_status();
    return pumit__kernel_layer_norm_backward(x->ctx, &args);
}

/* saved: x, weight, mean, rstd */
static pumit_status layer_norm_backward(pumit__node *node, pumit_tensor *diff_dst)
{
    pumit_tensor *const *s = node->saved, *diff_src = NULL;
    const pumit__normed normed = {.mean = s[2], .rstd = s[3]};
    if (node->in[0] && !(diff_src = pumit__empty_like(s[0]))) return pumit__last_status();
    PUMIT__TRY(
        pumit__norm_backward(diff_src, node->in[1], node->in[2], s[0], s[1], &normed, diff_dst));
    return pumit__accumulate(node->in[0], diff_src);
}

pumit_tensor *pumit__layer_norm(pumit_tensor *x, pumit_tensor *weight, pumit_tensor *bias,
                                double eps)
{
    pumit__normed normed;
    x = pumit__contiguous(x);
    if (!x || !weight || !bias || pumit__check_norm("layer_norm", x, weight, bias) != PUMIT_OK ||
        pumit__norm_forward(&normed, x, weight, bias, eps) != PUMIT_OK)
        return NULL;
    if (!pumit__wants_grad(x, weight, bias)) return normed.y;
    pumit__node *node = pumit__record(normed.y, layer_norm_backward, x, weight, bias);
    if (!node) return NULL;
    pumit__save(node, 0, x);
    pumit__save(node, 1, weight);
    pumit__save(node, 2, normed.mean);
    pumit__save(node, 3, normed.rstd);
    return normed.y;
}

/* ---------------------------------------------------------------------------------------- GroupNorm */

static void group_sizes(pumit_group_norm_args *args, const pumit_tensor *x, int64_t groups,
                        double eps)
{
    args->n = x->shape[0];
    args->channels = x->shape[x->ndim - 1];
    args->spatial = 1;
    for (int32_t i = 1; i + 1 < x->ndim; i++) args->spatial *= x->shape[i];
    args->groups = groups;
    args->eps = eps;
}

/* saved: x, weight, mean, rstd */
static pumit_status group_norm_backward(pumit__node *node, pumit_tensor *diff_dst)
{
    pumit_tensor *x = node->saved[0], *diff_src = NULL;
    pumit_group_norm_args args = {.src = pumit__data(x),
                                  .weight = pumit__data(node->saved[1]),
                                  .mean = pumit__data(node->saved[2]),
                                  .rstd = pumit__data(node->saved[3]),
                                  .diff_dst = pumit__data(diff_dst)};
    group_sizes(&args, x, node->integer[0], node->real[0]);
    if (node->in[0] && !(diff_src = pumit__empty_like(x))) return pumit__last_status();
    if (!gradient_of(&args.diff_weight, node->in[1]) || !gradient_of(&args.diff_bias, node->in[2]))
        return pumit__last_status();
    args.diff_src = diff_src ? pumit__data(diff_src) : NULL;
    PUMIT__TRY(pumit__kernel_group_norm_backward(x->ctx, &args));
    return pumit__accumulate(node->in[0], diff_src);
}

pumit_tensor *pumit__group_norm(pumit_tensor *x, pumit_tensor *weight, pumit_tensor *bias,
                                int64_t groups, double eps)
{
    x = pumit__contiguous(x);
    if (!x || !weight || !bias || pumit__check_norm("group_norm", x, weight, bias) != PUMIT_OK)
        return NULL;
    if (x->ndim < 2 || groups < 1 || x->shape[x->ndim - 1] % groups) {
        pumit__fail(PUMIT_ERROR_SHAPE, "group_norm: %s cannot be cut into %lld groups",
                    pumit__shape_string(x->ndim, x->shape).text, (long long)groups);
        return NULL;
    }
    const int64_t stat[2] = {x->shape[0], groups};
    pumit_tensor *y = pumit__empty_like(x);
    pumit_tensor *mean = pumit__empty(x->ctx, 0, 2, stat), *rstd = pumit__empty(x->ctx, 0, 2, stat);
    if (!y || !mean || !rstd) return NULL;
    pumit_group_norm_args args = {.src = pumit__data(x),
                                  .weight = pumit__data(weight),
                                  .bias = pumit__data(bias),
                                  .dst = pumit__data(y),
                                  .mean = pumit__data(mean),
                                  .rstd = pumit__data(rstd)};
    group_sizes(&args, x, groups, eps);
    if (pumit__kernel_group_norm_forward(x->ctx, &args) != PUMIT_OK) return NULL;
    if (!pumit__wants_grad(x, weight, bias)) return y;
    pumit__node *node = pumit__record(y, group_norm_backward, x, weight, bias);
    if (!node) return NULL;
    pumit__save(node, 0, x);
    pumit__save(node, 1, weight);
    pumit__save(node, 2, mean);
    pumit__save(node, 3, rstd);
    node->integer[0] = groups;
    node->real[0] = eps;
    return y;
}
