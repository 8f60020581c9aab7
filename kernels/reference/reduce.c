/* SPDX-License-Identifier: Apache-2.0 */
/* Sums: over the axes of a strided array, and of squares. */
#include "reference.h"

/* The axes of src, split into those that dst keeps and those that are summed. */
typedef struct {
    int32_t kept, summed;
    int64_t kept_shape[PUMIT_MAX_DIMS], kept_src[PUMIT_MAX_DIMS], kept_dst[PUMIT_MAX_DIMS];
    int64_t summed_shape[PUMIT_MAX_DIMS], summed_src[PUMIT_MAX_DIMS];
} split_axes;

static split_axes split(const pumit_reduce_args *args)
{
    split_axes s = {0};
    for (int32_t i = 0; i < args->ndim; i++) {
        if (args->dst_stride[i] != 0) {
            s.kept_shape[s.kept] = args->shape[i];
            s.kept_src[s.kept] = args->src_stride[i];
            s.kept_dst[s.kept++] = args->dst_stride[i];
        } else {
            s.summed_shape[s.summed] = args->shape[i];
            s.summed_src[s.summed++] = args->src_stride[i];
        }
    }
    return s;
}

static double sum_strided(const real *src, int32_t ndim, const int64_t *shape,
                          const int64_t *stride)
{
    if (ndim == 0) return src[0];
    const int64_t rows = count_of(ndim - 1, shape);
    const int64_t row = shape[ndim - 1], step = stride[ndim - 1];
    double sum = 0;
    for (int64_t r = 0; r < rows; r++) {
        const real *first = src + offset_of(r, ndim - 1, shape, stride);
        for (int64_t i = 0; i < row; i++) sum += first[i * step];
    }
    return sum;
}

pumit_status NAME(reduce_sum)(void *device, const pumit_reduce_args *args)
{
    const real *src = args->src;
    real *dst = args->dst;
    if (args->ndim < 0 || args->ndim > PUMIT_MAX_DIMS) return PUMIT_ERROR_INVALID_ARGUMENT;
    const split_axes s = split(args);
    const int64_t count = count_of(s.kept, s.kept_shape);
#pragma omp parallel for num_threads(team(device, count_of(args->ndim, args->shape)))
    for (int64_t k = 0; k < count; k++) {
        const real *first = src + offset_of(k, s.kept, s.kept_shape, s.kept_src);
        real *to = dst + offset_of(k, s.kept, s.kept_shape, s.kept_dst);
        const double sum = args->alpha * sum_strided(first, s.summed, s.summed_shape, s.summed_src);
        *to = (real)(args->accumulate ? *to + sum : sum);
    }
    return PUMIT_OK;
}

pumit_status NAME(sum_squares)(void *device, const pumit_sum_squares_args *args)
{
    (void)device;
    real *dst = args->dst;
    dst[0] = (real)(dst[0] + dot(args->src, args->src, args->n));
    return PUMIT_OK;
}
