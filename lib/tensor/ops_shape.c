/* SPDX-License-Identifier: Apache-2.0 */
/* Views (reshape, permute, slice, expand) and copies (contiguous, concat). A view's backward is its adjoint on the gradient. */
#include "lib/tensor/ops.h"

#include <string.h>

static pumit_tensor *fail_shape(const char *what, const pumit_tensor *x, int32_t ndim,
                                const int64_t *shape)
{
    pumit__fail(PUMIT_ERROR_SHAPE, "%s: %s does not go with %s", what,
                pumit__shape_string(x->ndim, x->shape).text, pumit__shape_string(ndim, shape).text);
    return NULL;
}

/* ------------------------------------------------------------------------------------------ reshape */

static pumit_status reshape_backward(pumit__node *node, pumit_tensor *diff_dst)
{
    return pumit__accumulate(node->in[0],
                             pumit__reshape(diff_dst, node->in[0]->ndim, node->in[0]->shape));
}

pumit_tensor *pumit__reshape(pumit_tensor *x, int32_t ndim, const int64_t *shape)
{
    if (!x) return NULL;
    int64_t count = 1, stride[PUMIT_MAX_DIMS];
    for (int32_t i = 0; i < ndim; i++) count *= shape[i];
    if (count != pumit_tensor_count(x)) return fail_shape("reshape", x, ndim, shape);
    if (!pumit__is_packed(x)) x = pumit__contiguous(x);
    pumit__packed_strides(stride, ndim, shape);
    pumit_tensor *y = pumit__view(x, ndim, shape, stride, 0);
    if (y && pumit__wants_grad(x, NULL, NULL) && !pumit__record(y, reshape_backward, x, NULL, NULL))
        return NULL;
    return y;
}

/* ------------------------------------------------------------------------------------------ permute */

static pumit_status permute_backward(pumit__node *node, pumit_tensor *diff_dst)
{
    int32_t inverse[PUMIT_MAX_DIMS];
    for (int32_t i = 0; i < diff_dst->ndim; i++) inverse[node->integer[i]] = i;
    return pumit__accumulate(node->in[0], pumit__permute(diff_dst, inverse));
}

pumit_tensor *pumit__permute(pumit_tensor *x, const int32_t *axes)
{
    if (!x) return NULL;
    int64_t shape[PUMIT_MAX_DIMS], stride[PUMIT_MAX_DIMS];
    for (int32_t i = 0; i < x->ndim; i++) {
        shape[i] = x->shape[axes[i]];
        stride[i] = x->stride[axes[i]];
    }
    pumit_tensor *y = pumit__view(x, x->ndim, shape, stride, 0);
    if (!y || !pumit__wants_grad(x, NULL, NULL)) return y;
    pumit__node *node = pumit__record(y, permute_backward, x, NULL, NULL);
    if (!node) return NULL;
    for (int32_t i = 0; i < x->ndim; i++) node->integer[i] = axes[i];
    return y;
}

/* -------------------------------------------------------------------------------------------- slice */

/* The part [start, start + length) of `axis`, without recording. */
static pumit_tensor *part_of(pumit_tensor *x, int32_t axis, int64_t start, int64_t length)
{
    if (!x) return NULL;
    int64_t shape[PUMIT_MAX_DIMS];
    memcpy(shape, x->shape, sizeof shape);
    shape[axis] = length;
    return pumit__view(x, x->ndim, shape, x->stride, start * x->stride[axis]);
}

static pumit_status copy_into(pumit_tensor *dst, const pumit_tensor *src, bool accumulate)
{
    if (!dst || !src) return pumit__last_status();
    pumit_copy_args args = {.src = pumit__data(src),
                            .dst = pumit__data(dst),
                            .src_dtype = src->dtype,
                            .dst_dtype = dst->dtype,
                            .ndim = dst->ndim,
                            .accumulate = accumulate};
    memcpy(args.shape, dst->shape, sizeof args.shape);
    memcpy(args.src_stride, src->stride, sizeof args.src_stride);
    memcpy(args.dst_stride, dst->stride, sizeof args.dst_stride);
    return pumit__kernel_copy(dst->ctx, &args);
}

/* The gradient is added to its part of the operand's: no zero-filled whole for each slice. */
static pumit_status slice_backward(pumit__node *node, pumit_tensor *diff_dst)
{
    if (!node->in[0]) return PUMIT_OK;
    pumit_tensor *whole = pumit__grad_buffer(node->in[0]);
    if (!whole) return pumit__last_status();
    const int32_t axis = (int32_t)node->integer[0];
    return copy_into(part_of(whole, axis, node->integer[1], diff_dst->shape[axis]), diff_dst, true);
}

pumit_tensor *pumit__slice(pumit_tensor *x, int32_t axis, int64_t start, int64_t length)
{
    if (!x) return NULL;
    if (axis < 0 || axis >= x->ndim || start < 0 || length < 0 || start > x->shape[axis] - length) {
        pumit__fail(PUMIT_ERROR_SHAPE, "slice: %lld from %lld on along axis %d are not in %s",
                    (long long)length, (long long)start, axis,
                    pumit__shape_string(x->ndim, x->shape).text);
        return NULL;
    }
    pumit_tensor *y = part_of(x, axis, start, length);
    if (!y || !pumit__wants_grad(x, NULL, NULL)) return y;
    pumit__node *node = pumit__record(y, slice_backward, x, NULL, NULL);
    if (!node) return NULL;
    node->integer[0] = axis;
    node->integer[1] = start;
    return y;
}

/* ------------------------------------------------------------------------------------------- expand */

static pumit_status expand_backward(pumit__node *node, pumit_tensor *diff_dst)
{
    return pumit__accumulate(node->in[0], pumit__reduce_to(diff_dst, node->in[0]));
}

pumit_tensor *pumit__expand(pumit_tensor *x, int32_t ndim, const int64_t *shape)
{
    if (!x) return NULL;
    int64_t stride[PUMIT_MAX_DIMS];
    const int32_t lead = ndim - x->ndim;
    if (lead < 0) return fail_shape("expand", x, ndim, shape);
    for (int32_t i = 0; i < ndim; i++) {
        const int64_t size = i < lead ? 1 : x->shape[i - lead];
        if (size != shape[i] && size != 1) return fail_shape("expand", x, ndim, shape);
        stride[i] = i < lead || size == 1 ? 0 : x->stride[i - lead];
    }
    pumit_tensor *y = pumit__view(x, ndim, shape, stride, 0);
    if (y && pumit__wants_grad(x, NULL, NULL) && !pumit__record(y, expand_backward, x, NULL, NULL))
        return NULL;
    return y;
}

/* --------------------------------------------------------------------------------------- contiguous */

static pumit_status contiguous_backward(pumit__node *node, pumit_tensor *diff_dst)
{
    return pumit__accumulate(node->in[0], diff_dst);
}

pumit_tensor *pumit__contiguous(pumit_tensor *x)
{
    if (!x || pumit__is_packed(x)) return x;
    pumit_tensor *y = pumit__empty_like(x);
    if (!y || copy_into(y, x, false) != PUMIT_OK) return NULL;
    if (pumit__wants_grad(x, NULL, NULL) && !pumit__record(y, contiguous_backward, x, NULL, NULL))
        return NULL;
    return y;
}

/* ------------------------------------------------------------------------------------------- concat */

static pumit_status concat_backward(pumit__node *node, pumit_tensor *diff_dst)
{
    const int32_t axis = (int32_t)node->integer[0];
    const int64_t first = node->integer[1];
    PUMIT__TRY(pumit__accumulate(node->in[0], part_of(diff_dst, axis, 0, first)));
    return pumit__accumulate(node->in[1],
                             part_of(diff_dst, axis, first, diff_dst->shape[axis] - first));
}

pumit_tensor *pumit__concat(pumit_tensor *a, pumit_tensor *b, int32_t axis)
{
    if (!a || !b) return NULL;
    if (a->ndim != b->ndim) return fail_shape("concat", a, b->ndim, b->shape);
    int64_t shape[PUMIT_MAX_DIMS];
    for (int32_t i = 0; i < a->ndim; i++) {
        if (i != axis && a->shape[i] != b->shape[i])
            return fail_shape("concat", a, b->ndim, b->shape);
        shape[i] = a->shape[i] + (i == axis ? b->shape[i] : 0);
    }
    pumit_tensor *y = pumit__empty(a->ctx, a->dtype, a->ndim, shape);
    if (!y || copy_into(part_of(y, axis, 0, a->shape[axis]), a, false) != PUMIT_OK ||
        copy_into(part_of(y, axis, a->shape[axis], b->shape[axis]), b, false) != PUMIT_OK)
        return NULL;
    if (!pumit__wants_grad(a, b, NULL)) return y;
    pumit__node *node = pumit__record(y, concat_backward, a, b, NULL);
    if (!node) return NULL;
    node->integer[0] = axis;
    node->integer[1] = a->shape[axis];
    return y;
}

/* --------------------------------------------------------------------------------------- pool_depth */

/* The shape with `axis` split into (depth, run). */
static void split_shape(int64_t *shape, const pumit_tensor *x, int32_t axis, int64_t depth)
{
    for (int32_t i = 0; i <= x->ndim; i++)
        shape[i] = i < axis        ? x->shape[i]
                   : i == axis     ? depth
                   : i == axis + 1 ? x->shape[axis] / depth
                                   : x->shape[i - 1];
}

/* The sum's adjoint: each element of a run gets the run's gradient. */
static pumit_status pool_depth_backward(pumit__node *node, pumit_tensor *diff_dst)
{
    if (!node->in[0]) return PUMIT_OK;
    pumit_tensor *whole = pumit__grad_buffer(node->in[0]);
    if (!whole) return pumit__last_status();
    const int32_t axis = (int32_t)node->integer[0];
    int64_t shape[PUMIT_MAX_DIMS], one_run[PUMIT_MAX_DIMS];
    split_shape(shape, whole, axis, diff_dst->shape[axis]);
    memcpy(one_run, shape, sizeof shape);
    one_run[axis + 1] = 1;
    return copy_into(
        pumit__reshape(whole, whole->ndim + 1, shape),
        pumit__expand(pumit__reshape(diff_dst, whole->ndim + 1, one_run), whole->ndim + 1, shape),
        true);
}

static pumit_tensor *sum_runs(pumit_tensor *x, int32_t axis, int64_t depth)
{
    int64_t shape[PUMIT_MAX_DIMS];
    split_shape(shape, x, axis, depth);
    return pumit__sum(pumit__reshape(pumit__detach(x), x->ndim + 1, shape),
                      UINT32_C(1) << (axis + 1), 1.0);
}

pumit_tensor *pumit__pool_depth(pumit_tensor *x, int32_t axis, int64_t depth, pumit_tensor *cached)
{
    if (!x || depth == x->shape[axis]) return x;
    if (depth < 1 || x->shape[axis] % depth) {
        pumit__fail(PUMIT_ERROR_SHAPE, "pool_depth: %lld is no multiple of %lld",
                    (long long)x->shape[axis], (long long)depth);
        return NULL;
    }
    pumit_tensor *y = cached ? pumit__detach(cached) : sum_runs(x, axis, depth);
    if (!y || !pumit__wants_grad(x, NULL, NULL)) return y;
    pumit__node *node = pumit__record(y, pool_depth_backward, x, NULL, NULL);
    if (!node) return NULL;
    node->integer[0] = axis;
    return y;
}
