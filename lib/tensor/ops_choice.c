/* SPDX-License-Identifier: Apache-2.0 */
/* The largest of rows and windows, choices as vectors, and a gradient past a choice. */
#include "lib/tensor/ops.h"

#include <string.h>

/* ----------------------------------------------------------------------------------------- max_pool */

static pumit_max_pool_args max_pool_args(const pumit_tensor *x, const pumit_tensor *y,
                                         const int64_t *window)
{
    pumit_max_pool_args args = {.src = pumit__data(x), .n = x->shape[0], .channels = x->shape[4]};
    memcpy(args.src_size, x->shape + 1, sizeof args.src_size);
    memcpy(args.dst_size, y->shape + 1, sizeof args.dst_size);
    memcpy(args.window, window, sizeof args.window);
    return args;
}

/* saved: x */
static pumit_status max_pool_backward(pumit__node *node, pumit_tensor *diff_dst)
{
    pumit_tensor *diff_src = pumit__empty_like(node->saved[0]);
    if (!diff_src) return pumit__last_status();
    pumit_max_pool_args args = max_pool_args(node->saved[0], diff_dst, node->integer);
    args.diff_dst = pumit__data(diff_dst);
    args.diff_src = pumit__data(diff_src);
    PUMIT__TRY(pumit__kernel_max_pool_backward(diff_dst->ctx, &args));
    return pumit__accumulate(node->in[0], diff_src);
}

pumit_tensor *pumit__max_pool(pumit_tensor *x, const int64_t window[3])
{
    x = pumit__contiguous(x);
    if (!x) return NULL;
    int64_t shape[5] = {x->shape[0], 0, 0, 0, x->ndim == 5 ? x->shape[4] : 0};
    bool fits = x->ndim == 5;
    for (int32_t i = 0; i < 3 && fits; i++) {
        fits = window[i] >= 1 && window[i] <= x->shape[1 + i];
        if (fits) shape[1 + i] = x->shape[1 + i] / window[i];
    }
    if (!fits) {
        pumit__fail(PUMIT_ERROR_SHAPE, "max_pool: image %s, window %s",
                    pumit__shape_string(x->ndim, x->shape).text,
                    pumit__shape_string(3, window).text);
        return NULL;
    }
    pumit_tensor *y = pumit__empty(x->ctx, 0, 5, shape);
    if (!y) return NULL;
    pumit_max_pool_args args = max_pool_args(x, y, window);
    args.dst = pumit__data(y);
    if (pumit__kernel_max_pool_forward(x->ctx, &args) != PUMIT_OK) return NULL;
    if (!pumit__wants_grad(x, NULL, NULL)) return y;
    pumit__node *node = pumit__record(y, max_pool_backward, x, NULL, NULL);
    if (!node) return NULL;
    pumit__save(node, 0, x);
    memcpy(node->integer, window, 3 * sizeof *window);
    return y;
}

/* ------------------------------------------------------------------------------------------ choices */

pumit_tensor *pumit__argmax(pumit_tensor *x)
{
    x = pumit__contiguous(x);
    if (!x) return NULL;
    if (x->ndim < 1 || x->dtype != x->ctx->real) {
        pumit__fail(PUMIT_ERROR_SHAPE, "argmax: rows of the compute type, not %s",
                    pumit__shape_string(x->ndim, x->shape).text);
        return NULL;
    }
    pumit_tensor *y = pumit__empty(x->ctx, PUMIT_I64, x->ndim - 1, x->shape);
    if (!y) return NULL;
    const pumit_argmax_args args = {.src = pumit__data(x),
                                    .dst = pumit__data(y),
                                    .rows = pumit_tensor_count(y),
                                    .channels = x->shape[x->ndim - 1]};
    return pumit__kernel_argmax(x->ctx, &args) == PUMIT_OK ? y : NULL;
}

/* Indices come from callers: a wrong one must not reach a kernel. */
static pumit_status check_classes(const pumit_tensor *index, int64_t classes)
{
    if (index->dtype != PUMIT_I64 || index->ndim >= PUMIT_MAX_DIMS)
        return pumit__fail(PUMIT_ERROR_SHAPE, "one_hot: index %s must be I64, of less than %d axes",
                           pumit__shape_string(index->ndim, index->shape).text, PUMIT_MAX_DIMS);
    const int64_t *values = pumit__data(index);
    for (int64_t i = 0; i < pumit_tensor_count(index); i++)
        if (values[i] < 0 || values[i] >= classes)
            return pumit__fail(PUMIT_ERROR_INVALID_ARGUMENT,
                               "one_hot: index %lld is not in 0..%lld", (long long)values[i],
                               (long long)classes - 1);
    return PUMIT_OK;
}

/* A row of `classes` scalars for each index, of which one is set. */
pumit_tensor *pumit__one_hot(pumit_tensor *index, int64_t classes)
{
    index = pumit__contiguous(index);
    if (!index || check_classes(index, classes) != PUMIT_OK) return NULL;
    const int64_t count = pumit_tensor_count(index);
    int64_t shape[PUMIT_MAX_DIMS];
    memcpy(shape, index->shape, sizeof shape);
    shape[index->ndim] = classes;
    pumit_tensor *y = pumit__zeros(index->ctx, 0, index->ndim + 1, shape);
    pumit_tensor *ones = pumit__empty(index->ctx, 0, 1, &count);
    if (!y || !ones) return NULL;
    const pumit_fill_args fill = {pumit__data(ones), count, 1.0};
    if (pumit__kernel_fill(index->ctx, &fill) != PUMIT_OK) return NULL;
    const pumit_rows_args args = {.src = pumit__data(ones),
                                  .index = pumit__data(index),
                                  .dst = pumit__data(y),
                                  .n = count,
                                  .length = classes,
                                  .count = 1,
                                  .channels = 1};
    return pumit__kernel_scatter_rows(index->ctx, &args) == PUMIT_OK ? y : NULL;
}

/* --------------------------------------------------------------------------------- straight_through */

static pumit_status straight_through_backward(pumit__node *node, pumit_tensor *diff_dst)
{
    return pumit__accumulate(node->in[0], diff_dst);
}

pumit_tensor *pumit__straight_through(pumit_tensor *value, pumit_tensor *x)
{
    if (!value || !x) return NULL;
    if (!pumit__same_shape(value, x) || value->dtype != x->dtype) {
        pumit__fail(PUMIT_ERROR_SHAPE, "straight_through: %s in place of %s",
                    pumit__shape_string(value->ndim, value->shape).text,
                    pumit__shape_string(x->ndim, x->shape).text);
        return NULL;
    }
    pumit_tensor *y = pumit__detach(value);
    if (y && pumit__wants_grad(x, NULL, NULL) &&
        !pumit__record(y, straight_through_backward, x, NULL, NULL))
        return NULL;
    return y;
}
