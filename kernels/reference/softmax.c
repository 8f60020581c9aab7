/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Softmax of rows and what is measured on it. With m the largest logit and Z = sum of exp(x - m):
 *   p = exp(x - m) / Z, ln p = x - m - ln Z, H = ln Z - sum of p (x - m)   [nats]
 *   softmax        dx = p (dp - <dp, p>)
 *   entropy        dx = -dH p (ln p + H)
 *   cross entropy  y = -sum of t ln p, dx = dy (p sum(t) - t); a target of 0 adds 0 whatever ln p is.
 */
#include "reference.h"

/* m and ln Z of one row. */
typedef struct {
    double max, log_sum;
} row_scale;

static row_scale scale_of(const real *src, int64_t channels)
{
    double max = src[0], sum = 0;
    for (int64_t c = 1; c < channels; c++) max = src[c] > max ? src[c] : max;
    for (int64_t c = 0; c < channels; c++) sum += exp(src[c] - max);
    return (row_scale){max, log(sum)};
}

static double log_probability(real x, row_scale s)
{
    return x - s.max - s.log_sum;
}

pumit_status NAME(softmax_forward)(void *device, const pumit_softmax_args *args)
{
    const int64_t C = args->channels;
    if (C < 1) return PUMIT_ERROR_INVALID_ARGUMENT;
#pragma omp parallel for num_threads(team(device, 8 * args->rows * C))
    for (int64_t r = 0; r < args->rows; r++) {
        const real *src = (const real *)args->src + r * C;
        real *dst = (real *)args->dst + r * C;
        const row_scale s = scale_of(src, C);
        for (int64_t c = 0; c < C; c++) dst[c] = (real)exp(log_probability(src[c], s));
    }
    return PUMIT_OK;
}

pumit_status NAME(softmax_backward)(void *device, const pumit_softmax_args *args)
{
    const int64_t C = args->channels;
#pragma omp parallel for num_threads(team(device, 2 * args->rows * C))
    for (int64_t r = 0; r < args->rows; r++) {
        const real *dst = (const real *)args->dst + r * C;
        const real *diff_dst = (const real *)args->diff_dst + r * C;
        real *diff_src = (real *)args->diff_src + r * C;
        const double mean = dot(diff_dst, dst, C);
        for (int64_t c = 0; c < C; c++) diff_src[c] = (real)(dst[c] * (diff_dst[c] - mean));
    }
    return PUMIT_OK;
}

static double entropy_of(const real *src, int64_t channels, row_scale s)
{
    double sum = 0;
    for (int64_t c = 0; c < channels; c++) {
        const double log_p = log_probability(src[c], s), p = exp(log_p);
        if (p > 0) sum -= p * log_p;
    }
    return sum;
}

pumit_status NAME(entropy_forward)(void *device, const pumit_entropy_args *args)
{
    const int64_t C = args->channels;
    real *dst = args->dst;
    if (C < 1) return PUMIT_ERROR_INVALID_ARGUMENT;
#pragma omp parallel for num_threads(team(device, 16 * args->rows * C))
    for (int64_t r = 0; r < args->rows; r++) {
        const real *src = (const real *)args->src + r * C;
        dst[r] = (real)entropy_of(src, C, scale_of(src, C));
    }
    return PUMIT_OK;
}

pumit_status NAME(entropy_backward)(void *device, const pumit_entropy_args *args)
{
    const int64_t C = args->channels;
    const real *diff_dst = args->diff_dst;
    if (C < 1) return PUMIT_ERROR_INVALID_ARGUMENT;
#pragma omp parallel for num_threads(team(device, 16 * args->rows * C))
    for (int64_t r = 0; r < args->rows; r++) {
        const real *src = (const real *)args->src + r * C;
        real *diff_src = (real *)args->diff_src + r * C;
        const row_scale s = scale_of(src, C);
        const double entropy = entropy_of(src, C, s);
        for (int64_t c = 0; c < C; c++) {
            const double log_p = log_probability(src[c], s), p = exp(log_p);
            diff_src[c] = (real)(p > 0 ? -diff_dst[r] * p * (log_p + entropy) : 0);
        }
    }
    return PUMIT_OK;
}

pumit_status NAME(cross_entropy_forward)(void *device, const pumit_cross_entropy_args *args)
{
    const int64_t C = args->channels;
    real *dst = args->dst;
    if (C < 1) return PUMIT_ERROR_INVALID_ARGUMENT;
#pragma omp parallel for num_threads(team(device, 8 * args->rows * C))
    for (int64_t r = 0; r < args->rows; r++) {
        const real *src = (const real *)args->src + r * C;
        const real *target = (const real *)args->target + r * C;
        const row_scale s = scale_of(src, C);
        double sum = 0;
        for (int64_t c = 0; c < C; c++) {
            if (target[c] != 0) sum -= target[c] * log_probability(src[c], s);
        }
        dst[r] = (real)sum;
    }
    return PUMIT_OK;
}

pumit_status NAME(cross_entropy_backward)(void *device, const pumit_cross_entropy_args *args)
{
    const int64_t C = args->channels;
    const real *diff_dst = args->diff_dst;
    if (C < 1) return PUMIT_ERROR_INVALID_ARGUMENT;
#pragma omp parallel for num_threads(team(device, 16 * args->rows * C))
    for (int64_t r = 0; r < args->rows; r++) {
        const real *src = (const real *)args->src + r * C;
        const real *target = (const real *)args->target + r * C;
        real *diff_src = (real *)args->diff_src + r * C;
        const row_scale s = scale_of(src, C);
        double total = 0;
        for (int64_t c = 0; c < C; c++) total += target[c];
        for (int64_t c = 0; c < C; c++) {
            const double p = exp(log_probability(src[c], s));
            diff_src[c] = (real)(diff_dst[r] * (p * total - target[c]));
        }
    }
    return PUMIT_OK;
}
