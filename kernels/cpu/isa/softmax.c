/* SPDX-License-Identifier: Apache-2.0 */
/* Row-wise softmax, its entropy, and the cross-entropy against a target distribution. */
#include "kernels/cpu/isa/isa.h"
#include "kernels/cpu/isa/math.h"

#include <math.h>

#define COST 8

static inline float row_max(const float *x, int64_t n)
{
    float most = -INFINITY;
#pragma omp simd reduction(max : most)
    for (int64_t i = 0; i < n; i++) most = x[i] > most ? x[i] : most;
    return most;
}

/** dst = exp(x - most); gives the sum. */
static inline float row_exp(const float *x, float *dst, int64_t n, float most)
{
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++) {
        const float e = fast_exp(x[i] - most);
        dst[i] = e;
        sum += e;
    }
    return sum;
}

static inline float row_dot(const float *a, const float *b, int64_t n)
{
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

pumit_status PUMIT__CPU_KERNEL(softmax_forward)(pumit__cpu_device *device,
                                                const pumit_softmax_args *args)
{
    (void)device;
    const int64_t rows = args->rows, channels = args->channels;
#pragma omp parallel for schedule(static) if (rows * channels * COST >= PUMIT__CPU_SERIAL)
    for (int64_t r = 0; r < rows; r++) {
        const float *src = (const float *)args->src + r * channels;
        float *dst = (float *)args->dst + r * channels;
        const float scale = 1.0f / row_exp(src, dst, channels, row_max(src, channels));
#pragma omp simd
        for (int64_t c = 0; c < channels; c++) dst[c] *= scale;
    }
    return PUMIT_OK;
}

pumit_status PUMIT__CPU_KERNEL(softmax_backward)(pumit__cpu_device *device,
                                                 const pumit_softmax_args *args)
{
    (void)device;
    const int64_t rows = args->rows, channels = args->channels;
#pragma omp parallel for schedule(static) if (rows * channels >= PUMIT__CPU_SERIAL)
    for (int64_t r = 0; r < rows; r++) {
        const float *p = (const float *)args->dst + r * channels;
        const float *diff_dst = (const float *)args->diff_dst + r * channels;
        float *diff_src = (float *)args->diff_src + r * channels;
        const float dot = row_dot(p, diff_dst, channels);
#pragma omp simd
        for (int64_t c = 0; c < channels; c++) diff_src[c] = p[c] * (diff_dst[c] - dot);
    }
    return PUMIT_OK;
}

/** With y = x - max, e = exp(y): sum of e and of y e. 0 where e underflows, so that -inf is harmless. */
static inline float row_moments(const float *x, int64_t n, float most, float *sum_ye)
{
    float sum = 0, weighted = 0;
#pragma omp simd reduction(+ : sum, weighted)
    for (int64_t i = 0; i < n; i++) {
        const float y = x[i] - most, e = fast_exp(y);
        sum += e;
        weighted += e > 0 ? y * e : 0.0f;
    }
    *sum_ye = weighted;
    return sum;
}

pumit_status PUMIT__CPU_KERNEL(entropy_forward)(pumit__cpu_device *device,
                                                const pumit_entropy_args *args)
{
    (void)device;
    const int64_t rows = args->rows, channels = args->channels;
    float *dst = args->dst;
#pragma omp parallel for schedule(static) if (rows * channels * COST >= PUMIT__CPU_SERIAL)
    for (int64_t r = 0; r < rows; r++) {
        const float *src = (const float *)args->src + r * channels;
        float sum_ye;
        const float sum = row_moments(src, channels, row_max(src, channels), &sum_ye);
        dst[r] = logf(sum) - sum_ye / sum;
    }
    return PUMIT_OK;
}

pumit_status PUMIT__CPU_KERNEL(entropy_backward)(pumit__cpu_device *device,
                                                 const pumit_entropy_args *args)
{
    (void)device;
    const int64_t rows = args->rows, channels = args->channels;
#pragma omp parallel for schedule(static) if (rows * channels * COST >= PUMIT__CPU_SERIAL)
    for (int64_t r = 0; r < rows; r++) {
        const float *src = (const float *)args->src + r * channels;
        const float diff_dst = ((const float *)args->diff_dst)[r];
        float *diff_src = (float *)args->diff_src + r * channels;
        const float most = row_max(src, channels);
        float sum_ye;
        const float sum = row_moments(src, channels, most, &sum_ye);
        /* ln p + H = y - sum_ye / sum: the logarithm of the denominator cancels. */
        const float mean_y = sum_ye / sum, scale = -diff_dst / sum;
#pragma omp simd
        for (int64_t c = 0; c < channels; c++) {
            const float y = src[c] - most, e = fast_exp(y);
            diff_src[c] = e > 0 ? scale * e * (y - mean_y) : 0.0f;
        }
    }
    return PUMIT_OK;
}

pumit_status PUMIT__CPU_KERNEL(cross_entropy_forward)(pumit__cpu_device *device,
                                                      const pumit_cross_entropy_args *args)
{
    (void)device;
    const int64_t rows = args->rows, channels = args->channels;
    float *dst = args->dst;
#pragma omp parallel for schedule(static) if (rows * channels * COST >= PUMIT__CPU_SERIAL)
    for (int64_t r = 0; r < rows; r++) {
        const float *src = (const float *)args->src + r * channels;
        const float *target = (const float *)args->target + r * channels;
        const float most = row_max(src, channels);
        float sum = 0, loss = 0, mass = 0;
#pragma omp simd reduction(+ : sum, loss, mass)
        for (int64_t c = 0; c < channels; c++) {
            const float y = src[c] - most, t = target[c];
            sum += fast_exp(y);
            loss += t == 0 ? 0.0f : t * y;
            mass += t;
        }
        dst[r] = mass * logf(sum) - loss;
    }
    return PUMIT_OK;
}

pumit_status PUMIT__CPU_KERNEL(cross_entropy_backward)(pumit__cpu_device *device,
                                                       const pumit_cross_entropy_args *args)
{
    (void)device;
    const int64_t rows = args->rows, channels = args->channels;
#pragma omp parallel for schedule(static) if (rows * channels * COST >= PUMIT__CPU_SERIAL)
    for (int64_t r = 0; r < rows; r++) {
        const float *src = (const float *)args->src + r * channels;
        const float *target = (const float *)args->target + r * channels;
        const float diff_dst = ((const float *)args->diff_dst)[r];
        float *diff_src = (float *)args->diff_src + r * channels;
        const float sum = row_exp(src, diff_src, channels, row_max(src, channels));
        float mass = 0;
#pragma omp simd reduction(+ : mass)
        for (int64_t c = 0; c < channels; c++) mass += target[c];
        const float scale = mass / sum;
#pragma omp simd
        for (int64_t c = 0; c < channels; c++)
            diff_src[c] = diff_dst * (diff_src[c] * scale - target[c]);
    }
    return PUMIT_OK;
}
