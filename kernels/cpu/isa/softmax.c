/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Row-wise softmax, its entropy, and the cross-entropy against a target distribution. Of rows of few channels, such as the voxels of a
 * segmentation, LANES are worked on side by side.
 */
#include "kernels/cpu/isa/isa.h"
#include "kernels/cpu/isa/lanes.h"
#include "kernels/cpu/isa/math.h"

#include <math.h>

#define COST 8
/** Most channels of rows that are worked on side by side. */
#define NARROW 16

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

/** LANES rows, each channel's values side by side. */
typedef float columns[NARROW][LANES];

static inline void load_columns(columns x, const float *rows, int64_t channels)
{
    for (int64_t c = 0; c < channels; c++)
#pragma omp simd
        for (int64_t i = 0; i < LANES; i++) x[c][i] = rows[i * channels + c];
}

static inline void store_columns(float *rows, columns x, int64_t channels)
{
    for (int64_t c = 0; c < channels; c++)
#pragma omp simd
        for (int64_t i = 0; i < LANES; i++) rows[i * channels + c] = x[c][i];
}

static inline void subtract_max(columns x, int64_t channels)
{
    float most[LANES];
    for (int64_t i = 0; i < LANES; i++) most[i] = -INFINITY;
    for (int64_t c = 0; c < channels; c++)
#pragma omp simd
        for (int64_t i = 0; i < LANES; i++) most[i] = x[c][i] > most[i] ? x[c][i] : most[i];
    for (int64_t c = 0; c < channels; c++)
#pragma omp simd
        for (int64_t i = 0; i < LANES; i++) x[c][i] -= most[i];
}

/** Each x becomes its exponential; their sums over the channels. */
static inline void columns_exp(columns x, int64_t channels, float sum[LANES])
{
    for (int64_t i = 0; i < LANES; i++) sum[i] = 0;
    for (int64_t c = 0; c < channels; c++)
#pragma omp simd
        for (int64_t i = 0; i < LANES; i++) {
            x[c][i] = fast_exp(x[c][i]);
            sum[i] += x[c][i];
        }
}

static inline void columns_scale(columns x, int64_t channels, const float scale[LANES])
{
    for (int64_t c = 0; c < channels; c++)
#pragma omp simd
        for (int64_t i = 0; i < LANES; i++) x[c][i] *= scale[i];
}

/** How many rows a turn of a kernel's loop takes. */
static inline int64_t rows_at_once(int64_t channels)
{
    return channels <= NARROW ? LANES : 1;
}

static void softmax_columns(const float *src, float *dst, int64_t channels)
{
    columns x;
    float scale[LANES];
    load_columns(x, src, channels);
    subtract_max(x, channels);
    columns_exp(x, channels, scale);
    for (int64_t i = 0; i < LANES; i++) scale[i] = 1.0f / scale[i];
    columns_scale(x, channels, scale);
    store_columns(dst, x, channels);
}

static void softmax_row(const float *src, float *dst, int64_t channels)
{
    const float scale = 1.0f / row_exp(src, dst, channels, row_max(src, channels));
#pragma omp simd
    for (int64_t c = 0; c < channels; c++) dst[c] *= scale;
}

pumit_status PUMIT__CPU_KERNEL(softmax_forward)(pumit__cpu_device *device,
                                                const pumit_softmax_args *args)
{
    (void)device;
    const int64_t rows = args->rows, channels = args->channels, step = rows_at_once(channels);
    const float *src = args->src;
    float *dst = args->dst;
#pragma omp parallel for schedule(static) if (rows * channels * COST >= PUMIT__CPU_SERIAL)
    for (int64_t r = 0; r < rows; r += step) {
        if (step > 1 && rows - r >= step) {
            softmax_columns(src + r * channels, dst + r * channels, channels);
            continue;
        }
        for (int64_t i = r; i < least(r + step, rows); i++)
            softmax_row(src + i * channels, dst + i * channels, channels);
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

/** dst = mass ln sum e^y - sum t y, y = x - max. */
static void cross_entropy_columns(const float *src, const float *target, float *dst,
                                  int64_t channels)
{
    columns x, t;
    float sum[LANES], loss[LANES] = {0}, mass[LANES] = {0};
    load_columns(x, src, channels);
    load_columns(t, target, channels);
    subtract_max(x, channels);
    for (int64_t c = 0; c < channels; c++)
#pragma omp simd
        for (int64_t i = 0; i < LANES; i++) {
            loss[i] += t[c][i] == 0 ? 0.0f : t[c][i] * x[c][i];
            mass[i] += t[c][i];
        }
    columns_exp(x, channels, sum);
#pragma omp simd
    for (int64_t i = 0; i < LANES; i++) dst[i] = mass[i] * fast_log(sum[i]) - loss[i];
}

static void cross_entropy_row(const float *src, const float *target, float *dst, int64_t channels)
{
    const float most = row_max(src, channels);
    float sum = 0, loss = 0, mass = 0;
#pragma omp simd reduction(+ : sum, loss, mass)
    for (int64_t c = 0; c < channels; c++) {
        const float y = src[c] - most, t = target[c];
        sum += fast_exp(y);
        loss += t == 0 ? 0.0f : t * y;
        mass += t;
    }
    *dst = mass * logf(sum) - loss;
}

pumit_status PUMIT__CPU_KERNEL(cross_entropy_forward)(pumit__cpu_device *device,
                                                      const pumit_cross_entropy_args *args)
{
    (void)device;
    const int64_t rows = args->rows, channels = args->channels, step = rows_at_once(channels);
    const float *src = args->src, *target = args->target;
    float *dst = args->dst;
#pragma omp parallel for schedule(static) if (rows * channels * COST >= PUMIT__CPU_SERIAL)
    for (int64_t r = 0; r < rows; r += step) {
        if (step > 1 && rows - r >= step) {
            cross_entropy_columns(src + r * channels, target + r * channels, dst + r, channels);
            continue;
        }
        for (int64_t i = r; i < least(r + step, rows); i++)
            cross_entropy_row(src + i * channels, target + i * channels, dst + i, channels);
    }
    return PUMIT_OK;
}

static void cross_entropy_backward_columns(const float *src, const float *target,
                                           const float *diff_dst, float *diff_src, int64_t channels)
{
    columns x, t;
    float sum[LANES], mass[LANES] = {0};
    load_columns(x, src, channels);
    load_columns(t, target, channels);
    subtract_max(x, channels);
    columns_exp(x, channels, sum);
    for (int64_t c = 0; c < channels; c++)
#pragma omp simd
        for (int64_t i = 0; i < LANES; i++) mass[i] += t[c][i];
#pragma omp simd
    for (int64_t i = 0; i < LANES; i++) mass[i] /= sum[i];
    for (int64_t c = 0; c < channels; c++)
#pragma omp simd
        for (int64_t i = 0; i < LANES; i++) x[c][i] = diff_dst[i] * (x[c][i] * mass[i] - t[c][i]);
    store_columns(diff_src, x, channels);
}

static void cross_entropy_backward_row(const float *src, const float *target, float diff_dst,
                                       float *diff_src, int64_t channels)
{
    const float sum = row_exp(src, diff_src, channels, row_max(src, channels));
    float mass = 0;
#pragma omp simd reduction(+ : mass)
    for (int64_t c = 0; c < channels; c++) mass += target[c];
    const float scale = mass / sum;
#pragma omp simd
    for (int64_t c = 0; c < channels; c++)
        diff_src[c] = diff_dst * (diff_src[c] * scale - target[c]);
}

pumit_status PUMIT__CPU_KERNEL(cross_entropy_backward)(pumit__cpu_device *device,
                                                       const pumit_cross_entropy_args *args)
{
    (void)device;
    const int64_t rows = args->rows, channels = args->channels, step = rows_at_once(channels);
    const float *src = args->src, *target = args->target, *diff_dst = args->diff_dst;
    float *diff_src = args->diff_src;
#pragma omp parallel for schedule(static) if (rows * channels * COST >= PUMIT__CPU_SERIAL)
    for (int64_t r = 0; r < rows; r += step) {
        const int64_t at = r * channels;
        if (step > 1 && rows - r >= step) {
            cross_entropy_backward_columns(src + at, target + at, diff_dst + r, diff_src + at,
                                           channels);
            continue;
        }
        for (int64_t i = r; i < least(r + step, rows); i++)
            cross_entropy_backward_row(src + i * channels, target + i * channels, diff_dst[i],
                                       diff_src + i * channels, channels);
    }
    return PUMIT_OK;
}
