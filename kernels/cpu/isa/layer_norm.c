/* SPDX-License-Identifier: Apache-2.0 */
/* Layer normalisation of rows (Ba et al. 2016): dst = (src - mean) rstd weight + bias. */
#include "kernels/cpu/isa/isa.h"
#include "kernels/cpu/isa/math.h"

#include <math.h>
#include <string.h>

static void normalise_row(const pumit_layer_norm_args *p, int64_t row)
{
    const int64_t channels = p->channels;
    const float *src = (const float *)p->src + row * channels;
    const float *weight = p->weight, *bias = p->bias;
    float *dst = (float *)p->dst + row * channels, sum = 0, squares = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t c = 0; c < channels; c++) sum += src[c];
    const float rough = sum / (float)channels;
    /* What rounding left of the mean matters where all values are nearly equal: the deviations' own mean corrects it. */
    float rest = 0;
#pragma omp simd reduction(+ : squares, rest)
    for (int64_t c = 0; c < channels; c++) {
        const float x = src[c] - rough;
        rest += x;
        squares += x * x;
    }
    const double off = (double)rest / (double)channels;
    const float mean = (float)(rough + off);
    const double variance = fmax((double)squares / (double)channels - off * off, 0);
    const float rstd = (float)(1 / sqrt(variance + p->eps));
#pragma omp simd
    for (int64_t c = 0; c < channels; c++) {
        const float x = (src[c] - mean) * rstd;
        dst[c] = multiply_add(x, weight[c], bias[c]);
    }
    ((float *)p->mean)[row] = mean;
    ((float *)p->rstd)[row] = rstd;
}

pumit_status PUMIT__CPU_KERNEL(layer_norm_forward)(pumit__cpu_device *device,
                                                   const pumit_layer_norm_args *args)
{
    (void)device;
#pragma omp parallel for schedule(static) if (args->rows * args->channels >= PUMIT__CPU_SERIAL)
    for (int64_t row = 0; row < args->rows; row++) normalise_row(args, row);
    return PUMIT_OK;
}

/** diff_src = rstd (g - mean(g) - x mean(g x)) with g = diff_dst weight and x the normalised source. */
static void diff_row(const pumit_layer_norm_args *p, int64_t row)
{
    const int64_t channels = p->channels;
    const float *restrict src = (const float *)p->src + row * channels;
    const float *restrict diff_dst = (const float *)p->diff_dst + row * channels;
    const float *restrict weight = p->weight;
    float *restrict diff_src = (float *)p->diff_src + row * channels;
    const float mean = ((const float *)p->mean)[row], rstd = ((const float *)p->rstd)[row];
    float sum = 0, product = 0;
#pragma omp simd reduction(+ : sum, product)
    for (int64_t c = 0; c < channels; c++) {
        const float g = diff_dst[c] * weight[c];
        sum += g;
        product += g * (src[c] - mean);
    }
    const float mean_g = sum / (float)channels;
    const float slope = product * rstd * rstd / (float)channels;
#pragma omp simd
    for (int64_t c = 0; c < channels; c++) {
        const float g = diff_dst[c] * weight[c] - mean_g;
        diff_src[c] = rstd * (g - slope * (src[c] - mean));
    }
}

/** Adds one row to a part's sums of diff_dst x and of diff_dst. */
static void add_row(const pumit_layer_norm_args *p, int64_t row, float *restrict diff_weight,
                    float *restrict diff_bias)
{
    const int64_t channels = p->channels;
    const float *restrict src = (const float *)p->src + row * channels;
    const float *restrict diff_dst = (const float *)p->diff_dst + row * channels;
    const float mean = ((const float *)p->mean)[row], rstd = ((const float *)p->rstd)[row];
#pragma omp simd
    for (int64_t c = 0; c < channels; c++) {
        diff_weight[c] += diff_dst[c] * ((src[c] - mean) * rstd);
        diff_bias[c] += diff_dst[c];
    }
}

/** dst (channels) += the parts' sums, which stand `stride` apart. */
static void add_parts(float *dst, const float *sums, int64_t parts, int64_t stride,
                      int64_t channels)
{
    for (int64_t c = 0; dst && c < channels; c++) {
        double sum = 0;
        for (int64_t p = 0; p < parts; p++) sum += (double)sums[p * stride + c];
        dst[c] = (float)((double)dst[c] + sum);
    }
}

pumit_status PUMIT__CPU_KERNEL(layer_norm_backward)(pumit__cpu_device *device,
                                                    const pumit_layer_norm_args *args)
{
    const int64_t rows = args->rows, channels = args->channels;
    if (rows <= 0 || channels <= 0) return PUMIT_OK;
    const int64_t size = (rows + PUMIT__CPU_PARTS - 1) / PUMIT__CPU_PARTS;
    const int64_t parts = (rows + size - 1) / size, sums_bytes = channels * (int64_t)sizeof(float);
    float *sums = pumit__cpu_scratch(device, 2 * parts * sums_bytes);
    if (!sums) return PUMIT_ERROR_OUT_OF_MEMORY;
    const int wanted = args->diff_weight || args->diff_bias;
#pragma omp parallel for schedule(static) if (rows * channels >= PUMIT__CPU_SERIAL)
    for (int64_t p = 0; p < parts; p++) {
        float *diff_weight = sums + 2 * p * channels, *diff_bias = diff_weight + channels;
        memset(diff_weight, 0, (size_t)(2 * sums_bytes));
        for (int64_t row = p * size; row < least(rows, (p + 1) * size); row++) {
            if (wanted) add_row(args, row, diff_weight, diff_bias);
            if (args->diff_src) diff_row(args, row);
        }
    }
    add_parts(args->diff_weight, sums, parts, 2 * channels, channels);
    add_parts(args->diff_bias, sums + channels, parts, 2 * channels, channels);
    return PUMIT_OK;
}
