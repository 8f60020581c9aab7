/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Resampling of D H W, separable: dst[t] = product over axes of sums of weight(t, s) src[s].
 *   area       weight 1 / (end - start) for start = floor(t S / T) <= s < end = ceil((t + 1) S / T),
 *              the windows of adaptive average pooling
 *   trilinear  x = max((t + 0.5) S / T - 0.5, 0) between its neighbours, the upper one at most S - 1
 *   nearest    the one s = floor((t + 0.5) S / T)
 *   bicubic    the four neighbours of x = (t + 0.5) S / T - 0.5 by Keys' kernel (1981), those outside moved to the edge
 * The backward pass is the adjoint: diff_src[s] = sum over t of weight(t, s) diff_dst[t].
 */
#include "reference.h"

/* The run of source indices that one destination index reads on one axis. */
typedef struct {
    int64_t start, count;
    double weight[4]; /* of the first ones; those beyond weigh as much as the last of these */
} axis_taps;

/* Keys' cubic convolution kernel with A = -0.75 at distance `x`. */
static double cubic(double x)
{
    const double A = -0.75;
    x = fabs(x);
    if (x <= 1) return ((A + 2) * x - (A + 3)) * x * x + 1;
    return x < 2 ? ((A * x - 5 * A) * x + 8 * A) * x - 4 * A : 0;
}

static axis_taps cubic_taps(int64_t t, int64_t S, int64_t T)
{
    const double x = ((double)t + 0.5) * (double)S / (double)T - 0.5;
    const int64_t below = (int64_t)floor(x), start = at_least(below - 1, 0);
    axis_taps taps = {.start = start, .count = at_most(below + 2, S - 1) - start + 1};
    for (int64_t s = below - 1; s <= below + 2; s++) {
        const int64_t inside = at_most(at_least(s, 0), S - 1);
        taps.weight[inside - start] += cubic(x - (double)s);
    }
    return taps;
}

static axis_taps taps_of(int32_t kind, int64_t t, int64_t S, int64_t T)
{
    if (kind == PUMIT_RESAMPLE_AREA) {
        const int64_t start = t * S / T, end = ((t + 1) * S + T - 1) / T;
        const double weight = 1 / (double)(end - start);
        return (axis_taps){start, end - start, {weight, weight, weight, weight}};
    }
    if (kind == PUMIT_RESAMPLE_NEAREST_EXACT) return (axis_taps){(2 * t + 1) * S / (2 * T), 1, {1}};
    if (kind == PUMIT_RESAMPLE_BICUBIC) return cubic_taps(t, S, T);
    const double x = ((double)t + 0.5) * (double)S / (double)T - 0.5;
    const double inside = x > 0 ? x : 0;
    const int64_t start = at_most((int64_t)inside, S - 1);
    if (start == S - 1) return (axis_taps){start, 1, {1}};
    const double upper = inside - (double)start;
    return (axis_taps){start, 2, {1 - upper, upper}};
}

static double weight_at(axis_taps taps, int64_t s)
{
    if (s < taps.start || s >= taps.start + taps.count) return 0;
    return taps.weight[at_most(s - taps.start, 3)];
}

static int64_t volume(const int64_t *size)
{
    return size[0] * size[1] * size[2];
}

static void add_scaled(double *sum, double weight, const real *row, int64_t count)
{
    for (int64_t c = 0; c < count; c++) sum[c] += weight * row[c];
}

/* sum = the resampled value at destination point `at` of `count` channels from `src` on. */
static void sample(double *sum, const pumit_resample_args *args, const real *src, const int64_t *at,
                   int64_t count)
{
    axis_taps taps[3];
    for (int i = 0; i < 3; i++) {
        taps[i] = taps_of(args->kind, at[i], args->src_size[i], args->dst_size[i]);
    }
    for (int64_t d = taps[0].start; d < taps[0].start + taps[0].count; d++) {
        for (int64_t h = taps[1].start; h < taps[1].start + taps[1].count; h++) {
            for (int64_t w = taps[2].start; w < taps[2].start + taps[2].count; w++) {
                const double weight =
                    weight_at(taps[0], d) * weight_at(taps[1], h) * weight_at(taps[2], w);
                const int64_t point = (d * args->src_size[1] + h) * args->src_size[2] + w;
                add_scaled(sum, weight, src + point * args->channels, count);
            }
        }
    }
}

/* The destination indices that can read source index `s`, with a margin: [low, high). */
static void readers_of(int64_t *low, int64_t *high, int64_t s, int64_t S, int64_t T)
{
    *low = at_least((s - 2) * T / S - 2, 0);
    *high = at_most((s + 3) * T / S + 2, T);
}

/* sum = the adjoint at source point `at` of `count` channels from `diff_dst` on. */
static void gather(double *sum, const pumit_resample_args *args, const real *diff_dst,
                   const int64_t *at, int64_t count)
{
    const int64_t *S = args->src_size, *T = args->dst_size;
    int64_t low[3], high[3];
    for (int i = 0; i < 3; i++) readers_of(&low[i], &high[i], at[i], S[i], T[i]);
    for (int64_t d = low[0]; d < high[0]; d++) {
        const double by_d = weight_at(taps_of(args->kind, d, S[0], T[0]), at[0]);
        if (by_d == 0) continue;
        for (int64_t h = low[1]; h < high[1]; h++) {
            const double by_h = by_d * weight_at(taps_of(args->kind, h, S[1], T[1]), at[1]);
            if (by_h == 0) continue;
            for (int64_t w = low[2]; w < high[2]; w++) {
                const double weight = by_h * weight_at(taps_of(args->kind, w, S[2], T[2]), at[2]);
                if (weight == 0) continue;
                const int64_t point = (d * T[1] + h) * T[2] + w;
                add_scaled(sum, weight, diff_dst + point * args->channels, count);
            }
        }
    }
}

/* Runs `sample` or `gather` at point number `point` of an array of `size`, in blocks of channels. */
static void resample_point(const pumit_resample_args *args, int backward, int64_t point)
{
    const int64_t *size = backward ? args->src_size : args->dst_size;
    const int64_t other = volume(backward ? args->dst_size : args->src_size), C = args->channels;
    const real *from = backward ? args->diff_dst : args->src;
    real *to = backward ? args->diff_src : args->dst;
    const int64_t at[3] = {point / size[2] / size[1] % size[0], point / size[2] % size[1],
                           point % size[2]};
    from += point / volume(size) * other * C;
    for (int64_t c0 = 0; c0 < C; c0 += BLOCK) {
        const int64_t count = at_most(C - c0, BLOCK);
        double sum[BLOCK] = {0};
        (backward ? gather : sample)(sum, args, from + c0, at, count);
        for (int64_t c = 0; c < count; c++) to[point * C + c0 + c] = (real)sum[c];
    }
}

static int valid(const pumit_resample_args *args)
{
    for (int i = 0; i < 3; i++) {
        if (args->src_size[i] < 1 || args->dst_size[i] < 1) return 0;
    }
    if (args->kind == PUMIT_RESAMPLE_BICUBIC && args->src_size[0] != args->dst_size[0]) return 0;
    return args->kind >= PUMIT_RESAMPLE_AREA && args->kind <= PUMIT_RESAMPLE_BICUBIC;
}

pumit_status NAME(resample_forward)(void *device, const pumit_resample_args *args)
{
    if (!valid(args)) return PUMIT_ERROR_INVALID_ARGUMENT;
    const int64_t points = args->n * volume(args->dst_size);
#pragma omp parallel for num_threads(team(device, 16 * points * args->channels))
    for (int64_t i = 0; i < points; i++) resample_point(args, 0, i);
    return PUMIT_OK;
}

pumit_status NAME(resample_backward)(void *device, const pumit_resample_args *args)
{
    if (!valid(args)) return PUMIT_ERROR_INVALID_ARGUMENT;
    const int64_t points = args->n * volume(args->src_size);
#pragma omp parallel for num_threads(team(device, 16 * points * args->channels))
    for (int64_t i = 0; i < points; i++) resample_point(args, 1, i);
    return PUMIT_OK;
}
