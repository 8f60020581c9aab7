/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Group normalisation (Wu & He 2018), channels last. Each pass goes over the image in parts of rows (spatial
 * positions) that fit a core's cache and do not depend on the thread count. Forward: mean and squared deviation
 * per part and group, joined in double (Chan et al. 1979), then dst.
 */
#include "kernels/cpu/isa/isa.h"
#include "kernels/cpu/isa/math.h"

#include <math.h>
#include <omp.h>
#include <string.h>

/** Floats of one part, half of a usual second-level cache. */
#define PART_FLOATS 32768
/** Rows of one part at most: f32 sums of more lose digits. */
#define NEARLY_EQUAL 1e-6 /* variance by squared mean */
#define PART_ROWS    512

/** How the rows of the images are cut: part p covers rows of image p / parts. */
typedef struct {
    int64_t rows, parts;
} cut;

static cut cut_rows(const pumit_group_norm_args *args)
{
    cut result;
    const int64_t rows = PART_FLOATS / args->channels;
    result.rows = rows > PART_ROWS ? PART_ROWS : rows > 1 ? rows : 1;
    result.parts = (args->spatial + result.rows - 1) / result.rows;
    return result;
}

/** sums (channels) = column sums of `rows` rows. */
static void column_sums(const float *src, int64_t rows, int64_t channels, float *restrict sums)
{
    memset(sums, 0, (size_t)channels * sizeof *sums);
    for (int64_t r = 0; r < rows; r++) {
        const float *row = src + r * channels;
#pragma omp simd
        for (int64_t c = 0; c < channels; c++) sums[c] += row[c];
    }
}

/** sums (channels) = column sums of (src - mean)^2. */
static void column_squares(const float *src, int64_t rows, int64_t channels,
                           const float *restrict mean, float *restrict sums)
{
    memset(sums, 0, (size_t)channels * sizeof *sums);
    for (int64_t r = 0; r < rows; r++) {
        const float *row = src + r * channels;
#pragma omp simd
        for (int64_t c = 0; c < channels; c++) {
            const float x = row[c] - mean[c];
            sums[c] += x * x;
        }
    }
}

static double sum_floats(const float *x, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)x[i];
    return sum;
}

/** The same moments of `width` channels from `src` on, in double: for values so nearly equal that the rounding of
 * their mean would count. */
static void exact_moments(const float *src, int64_t rows, int64_t channels, int64_t width,
                          double *moments)
{
    double sum = 0, squares = 0;
    for (int64_t r = 0; r < rows; r++) sum += sum_floats(src + r * channels, width);
    const double mean = sum / (double)(rows * width);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < width; c++) {
            const double x = (double)src[r * channels + c] - mean;
            squares += x * x;
        }
    moments[0] = mean;
    moments[1] = squares;
}

/** moments (groups x 2) = mean and summed squared deviation of each group in these rows. */
static void part_moments(const float *src, int64_t rows, int64_t channels, int64_t groups,
                         float *sums, float *mean, double *moments)
{
    const int64_t width = channels / groups;
    column_sums(src, rows, channels, sums);
    for (int64_t g = 0; g < groups; g++) {
        moments[2 * g] = sum_floats(sums + g * width, width) / (double)(rows * width);
        const float rounded = (float)moments[2 * g];
        for (int64_t c = 0; c < width; c++) mean[g * width + c] = rounded;
        moments[2 * g] = (double)rounded;
    }
    column_squares(src, rows, channels, mean, sums);
    for (int64_t g = 0; g < groups; g++) {
        double *const own = moments + 2 * g;
        own[1] = sum_floats(sums + g * width, width);
        if (own[1] < NEARLY_EQUAL * own[0] * own[0] * (double)(rows * width))
            exact_moments(src + g * width, rows, channels, width, own);
    }
}

/** Joins the parts of image n, group g into mean and rstd. */
static void join_moments(const pumit_group_norm_args *args, const cut *by, const double *moments,
                         int64_t n, int64_t g)
{
    const double width = (double)(args->channels / args->groups);
    double count = 0, mean = 0, squares = 0;
    for (int64_t p = 0; p < by->parts; p++) {
        const double *part = moments + ((n * by->parts + p) * args->groups + g) * 2;
        const double more = width * (double)least(by->rows, args->spatial - p * by->rows);
        const double shift = part[0] - mean;
        mean += shift * more / (count + more);
        squares += part[1] + shift * shift * count * more / (count + more);
        count += more;
    }
    ((float *)args->mean)[n * args->groups + g] = (float)mean;
    ((float *)args->rstd)[n * args->groups + g] = (float)(1 / sqrt(squares / count + args->eps));
}

/** dst of some rows of image n. The mean is taken off first, so that nothing cancels. */
static void apply_rows(const pumit_group_norm_args *args, int64_t n, int64_t first, int64_t rows,
                       float *restrict mean, float *restrict factor)
{
    const int64_t channels = args->channels, width = channels / args->groups;
    const float *weight = args->weight, *restrict bias = args->bias;
    for (int64_t c = 0; c < channels; c++) {
        mean[c] = ((const float *)args->mean)[n * args->groups + c / width];
        factor[c] = ((const float *)args->rstd)[n * args->groups + c / width] * weight[c];
    }
    for (int64_t r = first; r < first + rows; r++) {
        const float *restrict src = (const float *)args->src + (n * args->spatial + r) * channels;
        float *restrict dst = (float *)args->dst + (n * args->spatial + r) * channels;
#pragma omp simd
        for (int64_t c = 0; c < channels; c++)
            dst[c] = multiply_add(src[c] - mean[c], factor[c], bias[c]);
    }
}

pumit_status PUMIT__CPU_KERNEL(group_norm_forward)(pumit__cpu_device *device,
                                                   const pumit_group_norm_args *args)
{
    const int64_t channels = args->channels, spatial = args->spatial, groups = args->groups;
    if (args->n <= 0 || spatial <= 0 || channels <= 0) return PUMIT_OK;
    const cut by = cut_rows(args);
    const int64_t all = args->n * by.parts, row_bytes = 2 * channels * (int64_t)sizeof(float);
    double *moments = pumit__cpu_scratch(device, all * groups * 2 * (int64_t)sizeof(double) +
                                                     device->threads * row_bytes);
    if (!moments) return PUMIT_ERROR_OUT_OF_MEMORY;
    float *rows = (float *)(moments + all * groups * 2);
#pragma omp parallel if (all * by.rows * channels >= PUMIT__CPU_SERIAL)
    {
        float *own = rows + omp_get_thread_num() * 2 * channels;
#pragma omp for schedule(static)
        for (int64_t i = 0; i < all; i++) {
            const int64_t first = i % by.parts * by.rows, at = i / by.parts * spatial + first;
            part_moments((const float *)args->src + at * channels, least(by.rows, spatial - first),
                         channels, groups, own, own + channels, moments + i * groups * 2);
        }
#pragma omp for schedule(static)
        for (int64_t i = 0; i < args->n * groups; i++)
            join_moments(args, &by, moments, i / groups, i % groups);
#pragma omp for schedule(static)
        for (int64_t i = 0; i < all; i++) {
            const int64_t first = i % by.parts * by.rows;
            apply_rows(args, i / by.parts, first, least(by.rows, spatial - first), own,
                       own + channels);
        }
    }
    return PUMIT_OK;
}

/** sums (2 x channels) = column sums of diff_dst and of diff_dst (src - mean). */
static void part_sums(const pumit_group_norm_args *args, int64_t n, int64_t first, int64_t rows,
                      float *restrict mean, float *restrict sums)
{
    const int64_t channels = args->channels, width = channels / args->groups;
    float *restrict products = sums + channels;
    for (int64_t c = 0; c < channels; c++)
        mean[c] = ((const float *)args->mean)[n * args->groups + c / width];
    memset(sums, 0, (size_t)(2 * channels) * sizeof *sums);
    for (int64_t r = first; r < first + rows; r++) {
        const int64_t at = (n * args->spatial + r) * channels;
        const float *restrict src = (const float *)args->src + at;
        const float *restrict diff_dst = (const float *)args->diff_dst + at;
#pragma omp simd
        for (int64_t c = 0; c < channels; c++) {
            sums[c] += diff_dst[c];
            products[c] += diff_dst[c] * (src[c] - mean[c]);
        }
    }
}

/** Adds image n's parts: totals (2 x channels), first the sums of diff_dst, then with (src - mean). */
static void join_sums(const cut *by, const float *sums, int64_t channels, int64_t n, double *totals)
{
    for (int64_t c = 0; c < 2 * channels; c++) {
        double sum = 0;
        for (int64_t p = 0; p < by->parts; p++)
            sum += (double)sums[(n * by->parts + p) * 2 * channels + c];
        totals[n * 2 * channels + c] = sum;
    }
}

static void diff_parameters(const pumit_group_norm_args *args, const double *totals)
{
    const int64_t channels = args->channels, width = channels / args->groups;
    float *diff_weight = args->diff_weight, *diff_bias = args->diff_bias;
    for (int64_t c = 0; c < channels; c++) {
        double bias = 0, weight = 0;
        for (int64_t n = 0; n < args->n; n++) {
            const float rstd = ((const float *)args->rstd)[n * args->groups + c / width];
            bias += totals[n * 2 * channels + c];
            weight += totals[(n * 2 + 1) * channels + c] * (double)rstd;
        }
        if (diff_weight) diff_weight[c] = (float)((double)diff_weight[c] + weight);
        if (diff_bias) diff_bias[c] = (float)((double)diff_bias[c] + bias);
    }
}

/** diff_src of some rows; own: (4, channels) of scratch.
 * diff_src = factor diff_dst - base - slope (src - mean) with per-channel factors. */
static void diff_rows(const pumit_group_norm_args *args, int64_t n, int64_t first, int64_t rows,
                      const double *totals, float *own)
{
    const int64_t channels = args->channels, width = channels / args->groups;
    const float *weight = args->weight;
    float *restrict mean = own, *restrict factor = own + channels;
    float *restrict base = own + 2 * channels, *restrict slope = own + 3 * channels;
    const double count = (double)(args->spatial * width);
    for (int64_t c = 0; c < channels; c++) {
        const int64_t group = n * args->groups + c / width, start = c / width * width;
        const float rstd = ((const float *)args->rstd)[group];
        if (c == start) {
            double sum = 0, product = 0;
            for (int64_t i = start; i < start + width; i++) {
                sum += (double)weight[i] * totals[n * 2 * channels + i];
                product += (double)weight[i] * totals[(n * 2 + 1) * channels + i];
            }
            base[c] = (float)(sum / count * (double)rstd);
            slope[c] = (float)(product / count * (double)rstd * (double)rstd * (double)rstd);
        }
        base[c] = base[start];
        slope[c] = slope[start];
        mean[c] = ((const float *)args->mean)[group];
        factor[c] = weight[c] * rstd;
    }
    for (int64_t r = first; r < first + rows; r++) {
        const int64_t at = (n * args->spatial + r) * channels;
        const float *restrict src = (const float *)args->src + at;
        const float *restrict diff_dst = (const float *)args->diff_dst + at;
        float *restrict diff_src = (float *)args->diff_src + at;
#pragma omp simd
        for (int64_t c = 0; c < channels; c++)
            diff_src[c] = factor[c] * diff_dst[c] - base[c] - slope[c] * (src[c] - mean[c]);
    }
}

pumit_status PUMIT__CPU_KERNEL(group_norm_backward)(pumit__cpu_device *device,
                                                    const pumit_group_norm_args *args)
{
    const int64_t channels = args->channels, spatial = args->spatial;
    if (args->n <= 0 || spatial <= 0 || channels <= 0) return PUMIT_OK;
    const cut by = cut_rows(args);
    const int64_t all = args->n * by.parts;
    const int64_t floats = all * 2 * channels + device->threads * 4 * channels;
    double *totals = pumit__cpu_scratch(device, args->n * 2 * channels * (int64_t)sizeof(double) +
                                                    floats * (int64_t)sizeof(float));
    if (!totals) return PUMIT_ERROR_OUT_OF_MEMORY;
    float *sums = (float *)(totals + args->n * 2 * channels);
#pragma omp parallel if (all * by.rows * channels >= PUMIT__CPU_SERIAL)
    {
        float *own = sums + all * 2 * channels + omp_get_thread_num() * 4 * channels;
#pragma omp for schedule(static)
        for (int64_t i = 0; i < all; i++) {
            const int64_t first = i % by.parts * by.rows;
            part_sums(args, i / by.parts, first, least(by.rows, spatial - first), own,
                      sums + i * 2 * channels);
        }
#pragma omp for schedule(static)
        for (int64_t n = 0; n < args->n; n++) join_sums(&by, sums, channels, n, totals);
#pragma omp for schedule(static)
        for (int64_t i = 0; i < (args->diff_src ? all : 0); i++) {
            const int64_t first = i % by.parts * by.rows;
            diff_rows(args, i / by.parts, first, least(by.rows, spatial - first), totals, own);
        }
    }
    if (args->diff_weight || args->diff_bias) diff_parameters(args, totals);
    return PUMIT_OK;
}
