/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Elementwise functions of one and two arrays.
 *
 * GELU (Hendrycks & Gimpel 2016, arXiv 1606.08415), exact: x Phi(x), with derivative Phi(x) + x phi(x),
 * Phi and phi the distribution and density of the standard normal. Phi(x) = erfc(-x / sqrt 2) / 2 keeps
 * its digits in the left tail.
 */
#include "reference.h"

#include <float.h>

static double normal_distribution(double x)
{
    return 0.5 * erfc(-x * M_SQRT1_2);
}

static double normal_density(double x)
{
    return exp(-0.5 * x * x) * (0.5 * M_2_SQRTPI * M_SQRT1_2);
}

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

static double value_of(const pumit_unary_args *args, double x)
{
    switch (args->kind) {
    case PUMIT_UNARY_AFFINE:
        return args->alpha * x + args->beta;
    case PUMIT_UNARY_GELU:
        return x * normal_distribution(x);
    case PUMIT_UNARY_LEAKY_RELU:
        return x > 0 ? x : args->alpha * x;
    case PUMIT_UNARY_ABS:
        return fabs(x);
    case PUMIT_UNARY_SILU:
        return x * sigmoid(x);
    case PUMIT_UNARY_SQRT:
        return sqrt(x);
    default:
        return x > 0 ? x * log(x) : 0;
    }
}

static double derivative_of(const pumit_unary_args *args, double x)
{
    switch (args->kind) {
    case PUMIT_UNARY_AFFINE:
        return args->alpha;
    case PUMIT_UNARY_GELU:
        return normal_distribution(x) + x * normal_density(x);
    case PUMIT_UNARY_LEAKY_RELU:
        return x > 0 ? 1 : args->alpha;
    case PUMIT_UNARY_ABS:
        return (x > 0) - (x < 0);
    case PUMIT_UNARY_SILU:
        return sigmoid(x) * (1 + x * sigmoid(-x));
    case PUMIT_UNARY_SQRT:
        return x == 0 ? 0 : 0.5 / sqrt(x);
    default:
        return log(x > FLT_MIN ? x : FLT_MIN) + 1;
    }
}

static int known_unary(int32_t kind)
{
    return kind >= PUMIT_UNARY_AFFINE && kind <= PUMIT_UNARY_SQRT;
}

pumit_status NAME(unary_forward)(void *device, const pumit_unary_args *args)
{
    const real *src = args->src;
    real *dst = args->dst;
    if (!known_unary(args->kind)) return PUMIT_ERROR_INVALID_ARGUMENT;
#pragma omp parallel for num_threads(team(device, 8 * args->n))
    for (int64_t i = 0; i < args->n; i++) dst[i] = (real)value_of(args, src[i]);
    return PUMIT_OK;
}

pumit_status NAME(unary_backward)(void *device, const pumit_unary_args *args)
{
    const real *src = args->src, *diff_dst = args->diff_dst;
    real *diff_src = args->diff_src;
    if (!known_unary(args->kind)) return PUMIT_ERROR_INVALID_ARGUMENT;
#pragma omp parallel for num_threads(team(device, 8 * args->n))
    for (int64_t i = 0; i < args->n; i++) {
        diff_src[i] = (real)(diff_dst[i] * derivative_of(args, src[i]));
    }
    return PUMIT_OK;
}

static double combine(int32_t kind, double a, double b)
{
    switch (kind) {
    case PUMIT_BINARY_ADD:
        return a + b;
    case PUMIT_BINARY_SUB:
        return a - b;
    case PUMIT_BINARY_DIV:
        return a / b;
    default:
        return a * b;
    }
}

pumit_status NAME(binary)(void *device, const pumit_binary_args *args)
{
    const real *a = args->a, *b = args->b;
    real *dst = args->dst;
    const int32_t ndim = args->ndim;
    if (args->kind < PUMIT_BINARY_ADD || args->kind > PUMIT_BINARY_DIV || ndim < 0 ||
        ndim > PUMIT_MAX_DIMS)
        return PUMIT_ERROR_INVALID_ARGUMENT;
    const int64_t row = ndim > 0 ? args->shape[ndim - 1] : 1;
    const int64_t rows = count_of(ndim - 1, args->shape), count = rows * row;
    const int64_t a_step = ndim > 0 ? args->a_stride[ndim - 1] : 0;
    const int64_t b_step = ndim > 0 ? args->b_stride[ndim - 1] : 0;
#pragma omp parallel for num_threads(team(device, count))
    for (int64_t r = 0; r < rows; r++) {
        const real *a_row = a + offset_of(r, ndim - 1, args->shape, args->a_stride);
        const real *b_row = b + offset_of(r, ndim - 1, args->shape, args->b_stride);
        for (int64_t i = 0; i < row; i++) {
            dst[r * row + i] = (real)combine(args->kind, a_row[i * a_step], b_row[i * b_step]);
        }
    }
    return PUMIT_OK;
}
