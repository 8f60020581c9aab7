/* SPDX-License-Identifier: Apache-2.0 */
/* Resampling of D H W, and gathering and scattering rows of sequences. */
#include "lib/tensor/ops.h"

#include <string.h>

/* ----------------------------------------------------------------------------------------- resample */

static pumit_resample_args resample_args(int64_t n, int64_t channels, const int64_t *src_size,
                                         const int64_t *dst_size, int32_t kind)
{
    pumit_resample_args args = {.n = n, .channels = channels, .kind = kind};
    memcpy(args.src_size, src_size, sizeof args.src_size);
    memcpy(args.dst_size, dst_size, sizeof args.dst_size);
    return args;
}

static pumit_status resample_backward(pumit__node *node, pumit_tensor *diff_dst)
{
    const pumit__slot *slot = node->in[0];
    pumit_tensor *diff_src = pumit__empty(diff_dst->ctx, 0, slot->ndim, slot->shape);
    if (!diff_src) return pumit__last_status();
    pumit_resample_args args = resample_args(slot->shape[0], slot->shape[4], slot->shape + 1,
                                             diff_dst->shape + 1, (int32_t)node->integer[0]);
    args.diff_dst = pumit__data(diff_dst);
    args.diff_src = pumit__data(diff_src);
    PUMIT__TRY(pumit__kernel_resample_backward(diff_dst->ctx, &args));
    return pumit__accumulate(node->in[0], diff_src);
}

pumit_tensor *pumit__resample(pumit_tensor *x, const int64_t size[3], int32_t kind)
{
    x = pumit__contiguous(x);
    if (!x) return NULL;
    const bool flat = kind == PUMIT_RESAMPLE_BICUBIC; /* leaves D alone */
    if (x->ndim != 5 || size[0] < 1 || size[1] < 1 || size[2] < 1 ||
        (flat && size[0] != x->shape[1])) {
        pumit__fail(PUMIT_ERROR_SHAPE, "resample: image %s to %s",
                    pumit__shape_string(x->ndim, x->shape).text, pumit__shape_string(3, size).text);
        return NULL;
    }
    const int64_t shape[5] = {x->shape[0], size[0], size[1], size[2], x->shape[4]};
    pumit_tensor *y = pumit__empty(x->ctx, 0, 5, shape);
    if (!y) return NULL;
    pumit_resample_args args = resample_args(x->shape[0], x->shape[4], x->shape + 1, size, kind);
    args.src = pumit__data(x);
    args.dst = pumit__data(y);
    if (pumit__kernel_resample_forward(x->ctx, &args) != PUMIT_OK) return NULL;
    if (!pumit__wants_grad(x, NULL, NULL)) return y;
    pumit__node *node = pumit__record(y, resample_backward, x, NULL, NULL);
    if (!node) return NULL;
    node->integer[0] = kind;
    return y;
}

pumit_tensor *pumit__resample_to(pumit_tensor *x, const int64_t size[3])
{
    if (!x) return NULL;
    int64_t small[3];
    for (int32_t i = 0; i < 3; i++)
        small[i] = x->shape[1 + i] < size[i] ? x->shape[1 + i] : size[i];
    if (memcmp(small, x->shape + 1, sizeof small) != 0)
        x = pumit__resample(x, small, PUMIT_RESAMPLE_AREA);
    if (x && memcmp(size, x->shape + 1, sizeof small) != 0)
        x = pumit__resample(x, size, PUMIT_RESAMPLE_TRILINEAR);
    return x;
}

/* --------------------------------------------------------------------------------------------- rows */

static pumit_rows_args rows_args(const pumit_tensor *src, const pumit_tensor *index,
                                 const pumit_tensor *dst, int64_t length, bool accumulate)
{
    return (pumit_rows_args){.src = pumit__data(src),
                             .index = pumit__data(index),
                             .dst = pumit__data(dst),
                             .n = index->shape[0],
                             .length = length,
                             .count = index->shape[1],
                             .channels = src->shape[2],
                             .accumulate = accumulate};
}

/* Indices come from callers: a wrong one must not reach a kernel. */
static pumit_status check_index(const pumit_tensor *x, const pumit_tensor *index)
{
    if (x->ndim != 3 || index->ndim != 2 || index->dtype != PUMIT_I64 ||
        index->shape[0] != x->shape[0])
        return pumit__fail(PUMIT_ERROR_SHAPE,
                           "rows: sequences %s, index %s (must be I64, one row a sequence)",
                           pumit__shape_string(x->ndim, x->shape).text,
                           pumit__shape_string(index->ndim, index->shape).text);
    const int64_t *values = pumit__data(index);
    for (int64_t i = 0; i < pumit_tensor_count(index); i++)
        if (values[i] < 0 || values[i] >= x->shape[1])
            return pumit__fail(PUMIT_ERROR_INVALID_ARGUMENT, "rows: index %lld is not in 0..%lld",
                               (long long)values[i], (long long)x->shape[1] - 1);
    return PUMIT_OK;
}

/* saved: index */
static pumit_status gather_rows_backward(pumit__node *node, pumit_tensor *diff_dst)
{
    pumit_tensor *diff_src = pumit__grad_buffer(node->in[0]);
    if (!diff_src) return pumit__last_status();
    const pumit_rows_args args =
        rows_args(diff_dst, node->saved[0], diff_src, diff_src->shape[1], true);
    return pumit__kernel_scatter_rows(diff_dst->ctx, &args);
}

static pumit_tensor *gathered(pumit_tensor *x, pumit_tensor *index)
{
    const int64_t shape[3] = {x->shape[0], index->shape[1], x->shape[2]};
    pumit_tensor *y = pumit__empty(x->ctx, 0, 3, shape);
    if (!y) return NULL;
    const pumit_rows_args args = rows_args(x, index, y, x->shape[1], false);
    return pumit__kernel_gather_rows(x->ctx, &args) == PUMIT_OK ? y : NULL;
}

pumit_tensor *pumit__gather_rows(pumit_tensor *x, pumit_tensor *index)
{
    x = pumit__contiguous(x);
    index = pumit__contiguous(index);
    if (!x || !index || check_index(x, index) != PUMIT_OK) return NULL;
    pumit_tensor *y = gathered(x, index);
    if (!y || !pumit__wants_grad(x, NULL, NULL)) return y;
    pumit__node *node = pumit__record(y, gather_rows_backward, x, NULL, NULL);
    if (!node) return NULL;
    pumit__save(node, 0, index);
    return y;
}

static pumit_tensor *copy_of(pumit_tensor *x)
{
    pumit_tensor *copy = pumit__empty_like(x);
    if (!copy) return NULL;
    pumit_copy_args args = {.src = pumit__data(x),
                            .dst = pumit__data(copy),
                            .src_dtype = x->dtype,
                            .dst_dtype = x->dtype,
                            .ndim = x->ndim};
    memcpy(args.shape, x->shape, sizeof args.shape);
    memcpy(args.src_stride, x->stride, sizeof args.src_stride);
    memcpy(args.dst_stride, copy->stride, sizeof args.dst_stride);
    return pumit__kernel_copy(x->ctx, &args) == PUMIT_OK ? copy : NULL;
}

/* The replaced rows' gradient goes to `rows`, the others' to `base`. saved: index */
static pumit_status scatter_rows_backward(pumit__node *node, pumit_tensor *diff_dst)
{
    pumit_tensor *index = node->saved[0];
    if (node->in[1]) PUMIT__TRY(pumit__accumulate(node->in[1], gathered(diff_dst, index)));
    if (!node->in[0]) return PUMIT_OK;
    const int64_t shape[3] = {index->shape[0], index->shape[1], diff_dst->shape[2]};
    pumit_tensor *diff_base = copy_of(diff_dst), *zeros = pumit__zeros(diff_dst->ctx, 0, 3, shape);
    if (!diff_base || !zeros) return pumit__last_status();
    const pumit_rows_args args = rows_args(zeros, index, diff_base, diff_base->shape[1], false);
    PUMIT__TRY(pumit__kernel_scatter_rows(diff_dst->ctx, &args));
    return pumit__accumulate(node->in[0], diff_base);
}

pumit_tensor *pumit__scatter_rows(pumit_tensor *base, pumit_tensor *index, pumit_tensor *rows)
{
    rows = pumit__contiguous(rows);
    index = pumit__contiguous(index);
    if (!base || !rows || !index || check_index(base, index) != PUMIT_OK) return NULL;
    if (rows->ndim != 3 || rows->shape[0] != index->shape[0] || rows->shape[1] != index->shape[1] ||
        rows->shape[2] != base->shape[2]) {
        pumit__fail(PUMIT_ERROR_SHAPE, "scatter_rows: rows %s do not fit index %s",
                    pumit__shape_string(rows->ndim, rows->shape).text,
                    pumit__shape_string(index->ndim, index->shape).text);
        return NULL;
    }
    pumit_tensor *y = copy_of(base);
    if (!y) return NULL;
    const pumit_rows_args args = rows_args(rows, index, y, y->shape[1], false);
    if (pumit__kernel_scatter_rows(y->ctx, &args) != PUMIT_OK) return NULL;
    if (!pumit__wants_grad(base, rows, NULL)) return y;
    pumit__node *node = pumit__record(y, scatter_rows_backward, base, rows, NULL);
    if (!node) return NULL;
    pumit__save(node, 0, index);
    return y;
}
