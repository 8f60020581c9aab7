/* SPDX-License-Identifier: Apache-2.0 */
/* y = (x - mean) rstd weight + bias: LayerNorm over the last axis (Ba et al. 2016), GroupNorm over channel groups of
 * each image (Wu & He 2018). */
#include "lib/tensor/ops.h"

static pumit_status check_affine(const char *what, const pumit_tensor *x,
                                 const pumit_tensor *weight, const pumit_tensor *bias)
{
    const int64_t channels = x->ndim ? x->shape[x->ndim - 1] : 0;
    if (channels > 0 && weight->ndim == 1 && weight->shape[0] == channels &&
        pumit__same_shape(weight, bias))
        return PUMIT_OK;
    return pumit__fail(PUMIT_ERROR_SHAPE, "%s: input %s does not fit weights %s", what,
                       pumit__shape_string(x->ndim, x->shape).text,
                       pumit__shape_string(weight->ndim, weight->shape).text);
}

/* Pointers of the gradients that are wanted; 0 where one could not be made. */
static bool gradient_targets(pumit__node *node, pumit_tensor *x, pumit_tensor **diff_src,
                             void **diff_src_data, void **diff_weight, void **diff_bias)
{
    pumit_tensor *const w = node->in[1] ? pumit__grad_buffer(node->in[1]) : NULL;
    pumit_tensor *const b = node->in[2] ? pumit__grad_buffer(node->in[2]) : NULL;
    *diff_src = node->in[0] ? pumit__empty_like(x) : NULL;
    *diff_src_data = *diff_src ? pumit__data(*diff_src) : NULL;
    *diff_weight = w ? pumit__data(w) : NULL;
    *diff_bias = b ? pumit__data(b) : NULL;
    return !(node->in[0] && !*diff_src) && !(node->in[1] && !w) && !(node->in[2] && !b);
}

/* ---------------------------------------------------------------------------------------- LayerNorm */

/* saved: x, weight, mean, rstd */
static pumit_status layer_norm_backward(pumit__node *node, pumit_tensor *diff_dst)
{
    pumit_tensor *x = node->saved[0], *diff_src;
    pumit_layer_norm_args args = {.src = pumit__data(x),
                                  .weight = pumit__data(node->saved[1]),
                                  .mean = pumit__data(node->saved[2]),
                                  .rstd = pumit__data(node->saved[3]),
                                  .diff_dst = pumit__data(diff_dst),
                                  .rows = node->integer[0],
                                  .channels = node->integer[1],
                                  .eps = node->real[0]};
    if (!gradient_targets(node, x, &diff_src, &args.diff_src, &args.diff_weight, &args.diff_bias))
        return pumit__last_status();
    PUMIT__TRY(pumit__kernel_layer_norm_backward(x->ctx, &args));
    return pumit__accumulate(node->in[0], diff_src);
}

pumit_tensor *pumit__layer_norm(pumit_tensor *x, pumit_tensor *weight, pumit_tensor *bias,
                                double eps)
{
    x = pumit__contiguous(x);
    if (!x || !weight || !bias || check_affine("layer_norm", x, weight, bias) != PUMIT_OK)
        return NULL;
    const int64_t channels = x->shape[x->ndim - 1], rows = pumit_tensor_count(x) / channels;
    pumit_tensor *y = pumit__empty_like(x);
    pumit_tensor *mean = pumit__empty(x->ctx, 0, 1, &rows),
                 *rstd = pumit__empty(x->ctx, 0, 1, &rows);
    if (!y || !mean || !rstd) return NULL;
    const pumit_layer_norm_args args = {.src = pumit__data(x),
                                        .weight = pumit__data(weight),
                                        .bias = pumit__data(bias),
                                        .dst = pumit__data(y),
                                        .mean = pumit__data(mean),
                                        .rstd = pumit__data(rstd),
                                        .rows = rows,
                                        .channels = channels,
                                        .eps = eps};
    if (pumit__kernel_layer_norm_forward(x->ctx, &args) != PUMIT_OK) return NULL;
    if (!pumit__wants_grad(x, weight, bias)) return y;
    pumit__node *node = pumit__record(y, layer_norm_backward, x, weight, bias);
    if (!node) return NULL;
    pumit__save(node, 0, x);
    pumit__save(node, 1, weight);
    pumit__save(node, 2, mean);
    pumit__save(node, 3, rstd);
    node->integer[0] = rows;
    node->integer[1] = channels;
    node->real[0] = eps;
    return y;
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
    pumit_tensor *x = node->saved[0], *diff_src;
    pumit_group_norm_args args = {.src = pumit__data(x),
                                  .weight = pumit__data(node->saved[1]),
                                  .mean = pumit__data(node->saved[2]),
                                  .rstd = pumit__data(node->saved[3]),
                                  .diff_dst = pumit__data(diff_dst)};
    group_sizes(&args, x, node->integer[0], node->real[0]);
    if (!gradient_targets(node, x, &diff_src, &args.diff_src, &args.diff_weight, &args.diff_bias))
        return pumit__last_status();
    PUMIT__TRY(pumit__kernel_group_norm_backward(x->ctx, &args));
    return pumit__accumulate(node->in[0], diff_src);
}

pumit_tensor *pumit__group_norm(pumit_tensor *x, pumit_tensor *weight, pumit_tensor *bias,
                                int64_t groups, double eps)
{
    x = pumit__contiguous(x);
    if (!x || !weight || !bias || check_affine("group_norm", x, weight, bias) != PUMIT_OK)
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
