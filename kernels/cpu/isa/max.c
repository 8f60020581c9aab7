/* SPDX-License-Identifier: Apache-2.0 */
/* The largest of rows and of windows: the first of equals; a NaN counts as the largest. */
#include "kernels/cpu/isa/isa.h"

#include <string.h>

/** Channels whose largest are kept at a time, in registers. */
#define TILE 64

/** Whether x takes the place of best, which came before it. */
static inline int is_larger(float x, float best)
{
    return (x > best) | ((x != x) & (best == best));
}

/** `channels` is a multiple of TILE. Each of the TILE lanes keeps the first of its largest; between equal lanes the
 * lowest place decides. */
static int64_t place_among_whole(const float *row, int64_t channels)
{
    float best[TILE];
    int32_t place[TILE] = {0};
    memcpy(best, row, sizeof best);
    for (int64_t c = TILE; c < channels; c += TILE) {
#pragma omp simd
        for (int i = 0; i < TILE; i++) {
            const int larger = is_larger(row[c + i], best[i]);
            best[i] = larger ? row[c + i] : best[i];
            place[i] = larger ? (int32_t)c : place[i];
        }
    }
    int64_t at = place[0];
    for (int i = 1; i < TILE; i++) {
        const int64_t other = place[i] + i;
        const float x = row[other], y = row[at];
        const int equal = x == y || (x != x && y != y);
        if (is_larger(x, y) || (equal && other < at)) at = other;
    }
    return at;
}

static int64_t place_of_largest(const float *row, int64_t channels)
{
    const int64_t whole = channels / TILE * TILE;
    int64_t at = whole > 0 ? place_among_whole(row, whole) : 0;
    for (int64_t c = whole; c < channels; c++)
        if (is_larger(row[c], row[at])) at = c;
    return at;
}

pumit_status PUMIT__CPU_KERNEL(argmax)(pumit__cpu_device *device, const pumit_argmax_args *args)
{
    (void)device;
    const int64_t rows = args->rows, channels = args->channels;
    const float *src = args->src;
    if (channels < 1 || channels > INT32_MAX) return PUMIT_DECLINED;
#pragma omp parallel for schedule(static) if (rows * channels >= PUMIT__CPU_SERIAL)
    for (int64_t r = 0; r < rows; r++)
        args->dst[r] = place_of_largest(src + r * channels, channels);
    return PUMIT_OK;
}

static int64_t volume(const int64_t *size)
{
    return size[0] * size[1] * size[2];
}

/** Where element i of window number `point` begins in src. */
static inline int64_t element_of(const pumit_max_pool_args *args, int64_t point, int64_t i)
{
    const int64_t *S = args->src_size, *T = args->dst_size, *W = args->window;
    const int64_t w = point % T[2] * W[2] + i % W[2];
    const int64_t h = point / T[2] % T[1] * W[1] + i / W[2] % W[1];
    const int64_t d = point / T[2] / T[1] % T[0] * W[0] + i / W[2] / W[1];
    return (((point / volume(T) * S[0] + d) * S[1] + h) * S[2] + w) * args->channels;
}

/** The largest of `count` channels from c0 on of one window, and which of its elements they are. */
static void largest_of_window(const pumit_max_pool_args *args, int64_t point, int64_t c0,
                              int64_t count, float *restrict best, int32_t *restrict which)
{
    const float *src = args->src;
    const int32_t elements = (int32_t)volume(args->window);
    memcpy(best, src + element_of(args, point, 0) + c0, (size_t)count * sizeof *best);
    memset(which, 0, (size_t)count * sizeof *which);
    for (int32_t i = 1; i < elements; i++) {
        const float *from = src + element_of(args, point, i) + c0;
#pragma omp simd
        for (int64_t c = 0; c < count; c++) {
            const int larger = is_larger(from[c], best[c]);
            best[c] = larger ? from[c] : best[c];
            which[c] = larger ? i : which[c];
        }
    }
}

static int sizes_fit(const pumit_max_pool_args *args)
{
    for (int i = 0; i < 3; i++)
        if (args->window[i] < 1 || args->window[i] > 1024 ||
            args->dst_size[i] != args->src_size[i] / args->window[i])
            return 0;
    return 1;
}

pumit_status PUMIT__CPU_KERNEL(max_pool_forward)(pumit__cpu_device *device,
                                                 const pumit_max_pool_args *args)
{
    (void)device;
    if (!sizes_fit(args)) return PUMIT_DECLINED;
    const int64_t channels = args->channels, points = args->n * volume(args->dst_size);
    const int64_t work = points * channels * volume(args->window);
    float *dst = args->dst;
#pragma omp parallel for schedule(static) if (work >= PUMIT__CPU_SERIAL)
    for (int64_t point = 0; point < points; point++) {
        float best[TILE];
        int32_t which[TILE];
        for (int64_t c = 0; c < channels; c += TILE) {
            const int64_t count = least(TILE, channels - c);
            largest_of_window(args, point, c, count, best, which);
            memcpy(dst + point * channels + c, best, (size_t)count * sizeof *best);
        }
    }
    return PUMIT_OK;
}

pumit_status PUMIT__CPU_KERNEL(max_pool_backward)(pumit__cpu_device *device,
                                                  const pumit_max_pool_args *args)
{
    (void)device;
    if (!sizes_fit(args)) return PUMIT_DECLINED;
    const int64_t channels = args->channels, points = args->n * volume(args->dst_size);
    const int64_t work = points * channels * volume(args->window);
    const int32_t elements = (int32_t)volume(args->window);
    const float *diff_dst = args->diff_dst;
    float *diff_src = args->diff_src;
    memset(diff_src, 0, (size_t)(args->n * volume(args->src_size) * channels) * sizeof *diff_src);
#pragma omp parallel for schedule(static) if (work >= PUMIT__CPU_SERIAL)
    for (int64_t point = 0; point < points; point++) {
        float best[TILE];
        int32_t which[TILE];
        for (int64_t c0 = 0; c0 < channels; c0 += TILE) {
            const int64_t count = least(TILE, channels - c0);
            const float *from = diff_dst + point * channels + c0;
            largest_of_window(args, point, c0, count, best, which);
            for (int32_t i = 0; i < elements; i++) {
                float *to = diff_src + element_of(args, point, i) + c0;
#pragma omp simd
                for (int64_t c = 0; c < count; c++) to[c] = which[c] == i ? from[c] : 0.0f;
            }
        }
    }
    return PUMIT_OK;
}
