/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Convolutions over N D H W C. Where the kernel equals the stride, patches do not overlap and the convolution is a matrix
 * product over rows of patches; so is every transposed convolution here. The others go to the conv kernels.
 */
#include "lib/tensor/ops.h"

#include <string.h>

static pumit_tensor *fail_fit(const char *what, const pumit_tensor *x, const pumit_tensor *weight)
{
    pumit__fail(PUMIT_ERROR_SHAPE, "%s: %s does not fit weights %s", what,
                pumit__shape_string(x->ndim, x->shape).text,
                pumit__shape_string(weight->ndim, weight->shape).text);
    return NULL;
}

/* ------------------------------------------------------------------------------------------ patches */

/* (N, D, H, W, C) -> (N, d, h, w, kd kh kw C): the rows that a patch convolution multiplies. */
static pumit_tensor *patch_rows(pumit_tensor *x, const int64_t kernel[3])
{
    int64_t grid[3], split[PUMIT_MAX_DIMS] = {x->shape[0]}, rows[5] = {x->shape[0]};
    for (int32_t i = 0; i < 3; i++) {
        grid[i] = x->shape[1 + i] / kernel[i];
        if (grid[i] * kernel[i] != x->shape[1 + i])
            x = pumit__slice(x, 1 + i, 0, grid[i] * kernel[i]);
        if (!x) return NULL;
        split[1 + 2 * i] = rows[1 + i] = grid[i];
        split[2 + 2 * i] = kernel[i];
    }
    const int64_t channels = x->shape[4];
    split[7] = channels;
    rows[4] = kernel[0] * kernel[1] * kernel[2] * channels;
    static const int32_t order[PUMIT_MAX_DIMS] = {0, 1, 3, 5, 2, 4, 6, 7};
    return pumit__reshape(pumit__permute(pumit__reshape(x, 8, split), order), 5, rows);
}

static pumit_tensor *patch_conv(pumit_tensor *x, pumit_tensor *weight, pumit_tensor *bias)
{
    const int64_t matrix[2] = {weight->shape[0], pumit_tensor_count(weight) / weight->shape[0]};
    return pumit__linear(patch_rows(x, weight->shape + 1), pumit__reshape(weight, 2, matrix), bias);
}

/* ---------------------------------------------------------------------------------- overlapping conv */

static void fill_sizes(pumit_conv_args *args, const pumit_tensor *x, const pumit_tensor *weight,
                       const pumit_tensor *y, const int64_t stride[3], const int64_t padding[3])
{
    args->n = x->shape[0];
    args->in_channels = x->shape[4];
    args->out_channels = weight->shape[0];
    for (int32_t i = 0; i < 3; i++) {
        args->src_size[i] = x->shape[1 + i];
        args->dst_size[i] = y->shape[1 + i];
        args->kernel[i] = weight->shape[1 + i];
        args->stride[i] = stride[i];
        args->padding[i] = padding[i];
    }
}

/* saved: x, weight */
static pumit_status conv_backward(pumit__node *node, pumit_tensor *diff_dst)
{
    pumit_tensor *x = node->saved[0], *weight = node->saved[1];
    pumit_conv_args args = {
        .src = pumit__data(x), .weights = pumit__data(weight), .diff_dst = pumit__data(diff_dst)};
    fill_sizes(&args, x, weight, diff_dst, node->integer, node->integer + 3);
    if (node->in[0]) {
        pumit_tensor *diff_src = pumit__empty_like(x);
        if (!diff_src) return pumit__last_status();
        args.diff_src = pumit__data(diff_src);
        PUMIT__TRY(pumit__kernel_conv_backward_data(x->ctx, &args));
        PUMIT__TRY(pumit__accumulate(node->in[0], diff_src));
    }
    if (!node->in[1]) /* all axes but the channels */
        return node->in[2] ? pumit__accumulate(node->in[2], pumit__sum(diff_dst, 15, 1.0))
                           : PUMIT_OK;
    pumit_tensor *diff_weights = pumit__grad_buffer(node->in[1]);
    pumit_tensor *diff_bias = node->in[2] ? pumit__grad_buffer(node->in[2]) : NULL;
    if (!diff_weights || (node->in[2] && !diff_bias)) return pumit__last_status();
    args.diff_weights = pumit__data(diff_weights);
    args.diff_bias = diff_bias ? pumit__data(diff_bias) : NULL;
    return pumit__kernel_conv_backward_weights(x->ctx, &args);
}

static pumit_tensor *overlapping_conv(pumit_tensor *x, pumit_tensor *weight, pumit_tensor *bias,
                                      const int64_t stride[3], const int64_t padding[3])
{
    x = pumit__contiguous(x);
    weight = pumit__contiguous(weight);
    if (!x || !weight) return NULL;
    int64_t shape[5] = {x->shape[0], 0, 0, 0, weight->shape[0]};
    for (int32_t i = 0; i < 3; i++)
        shape[1 + i] = (x->shape[1 + i] + 2 * padding[i] - weight->shape[1 + i]) / stride[i] + 1;
    pumit_tensor *y = pumit__empty(x->ctx, 0, 5, shape);
    if (!y) return NULL;
    pumit_conv_args args = {.src = pumit__data(x),
                            .weights = pumit__data(weight),
                            .bias = bias ? pumit__data(bias) : NULL,
                            .dst = pumit__data(y)};
    fill_sizes(&args, x, weight, y, stride, padding);
    if (pumit__kernel_conv_forward(x->ctx, &args) != PUMIT_OK) return NULL;
    if (!pumit__wants_grad(x, weight, bias)) return y;
    pumit__node *node = pumit__record(y, conv_backward, x, weight, bias);
    if (!node) return NULL;
    pumit__save(node, 0, x);
    pumit__save(node, 1, weight);
    memcpy(node->integer, stride, 3 * sizeof *stride);
    memcpy(node->integer + 3, padding, 3 * sizeof *padding);
    return y;
}

pumit_tensor *pumit__conv(pumit_tensor *x, pumit_tensor *weight, pumit_tensor *bias,
                          const int64_t stride[3], const int64_t padding[3])
{
    if (!x || !weight) return NULL;
    if (x->ndim != 5 || weight->ndim != 5 || x->shape[4] != weight->shape[4])
        return fail_fit("conv", x, weight);
    if (bias && (bias->ndim != 1 || bias->shape[0] != weight->shape[0]))
        return fail_fit("conv's bias", bias, weight);
    bool patches = true;
    for (int32_t i = 0; i < 3; i++) {
        patches = patches && weight->shape[1 + i] == stride[i] && padding[i] == 0;
        if (x->shape[1 + i] + 2 * padding[i] < weight->shape[1 + i])
            return fail_fit("conv", x, weight);
    }
    return patches ? patch_conv(x, weight, bias)
                   : overlapping_conv(x, weight, bias, stride, padding);
}

/* --------------------------------------------------------------------------------------- transposed */

pumit_tensor *pumit__conv_transpose(pumit_tensor *x, pumit_tensor *weight, pumit_tensor *bias)
{
    if (!x || !weight) return NULL;
    if (x->ndim != 5 || weight->ndim != 5 || x->shape[4] != weight->shape[0])
        return fail_fit("conv_transpose", x, weight);
    const int64_t in = weight->shape[0], out = weight->shape[4];
    const int64_t matrix[2] = {in, pumit_tensor_count(weight) / in};
    int64_t split[PUMIT_MAX_DIMS] = {x->shape[0]}, shape[5] = {x->shape[0], 0, 0, 0, out};
    for (int32_t i = 0; i < 3; i++) {
        split[1 + i] = x->shape[1 + i];
        split[4 + i] = weight->shape[1 + i];
        shape[1 + i] = x->shape[1 + i] * weight->shape[1 + i];
    }
    split[7] = out;
    static const int32_t order[PUMIT_MAX_DIMS] = {0, 1, 4, 2, 5, 3, 6, 7};
    pumit_tensor *y = pumit__matmul(x, pumit__reshape(weight, 2, matrix));
    y = pumit__reshape(pumit__permute(pumit__reshape(y, 8, split), order), 5, shape);
    return bias ? pumit__add(y, bias) : y;
}
