/* SPDX-License-Identifier: Apache-2.0 */
/* The largest: of rows, and of windows that lie side by side. The first of equals; a NaN counts as the largest. */
#include "reference.h"

/* Whether `x` takes the place of `best`, which came before it. */
static int is_larger(real x, real best)
{
    return x > best || (x != x && best == best);
}

static int64_t place_of_largest(const real *row, int64_t channels)
{
    int64_t best = 0;
    for (int64_t c = 1; c < channels; c++) {
        if (is_larger(row[c], row[best])) best = c;
    }
    return best;
}

pumit_status NAME(argmax)(void *device, const pumit_argmax_args *args)
{
    const int64_t C = args->channels;
    const real *src = args->src;
    if (C < 1) return PUMIT_ERROR_INVALID_ARGUMENT;
#pragma omp parallel for num_threads(team(device, args->rows *C))
    for (int64_t r = 0; r < args->rows; r++) args->dst[r] = place_of_largest(src + r * C, C);
    return PUMIT_OK;
}

static int64_t volume(const int64_t *size)
{
    return size[0] * size[1] * size[2];
}

static int sizes_fit(const pumit_max_pool_args *args)
{
    for (int i = 0; i < 3; i++) {
        if (args->window[i] < 1 || args->dst_size[i] != args->src_size[i] / args->window[i])
            return 0;
    }
    return 1;
}

/* Where the largest of channel `c` in window number `point` lies in src. */
static int64_t largest_of_window(const pumit_max_pool_args *args, int64_t point, int64_t c)
{
    const int64_t *S = args->src_size, *T = args->dst_size, *W = args->window;
    const int64_t w0 = point % T[2] * W[2], h0 = point / T[2] % T[1] * W[1];
    const int64_t d0 = point / T[2] / T[1] % T[0] * W[0], n = point / volume(T);
    const real *src = args->src;
    int64_t best = -1;
    for (int64_t i = 0; i < volume(W); i++) {
        const int64_t d = d0 + i / W[2] / W[1], h = h0 + i / W[2] % W[1], w = w0 + i % W[2];
        const int64_t at = (((n * S[0] + d) * S[1] + h) * S[2] + w) * args->channels + c;
        if (best < 0 || is_larger(src[at], src[best])) best = at;
    }
    return best;
}

pumit_status NAME(max_pool_forward)(void *device, const pumit_max_pool_args *args)
{
    const int64_t C = args->channels, points = args->n * volume(args->dst_size);
    const real *src = args->src;
    real *dst = args->dst;
    if (!sizes_fit(args)) return PUMIT_ERROR_INVALID_ARGUMENT;
#pragma omp parallel for num_threads(team(device, points *C *volume(args->window)))
    for (int64_t i = 0; i < points; i++) {
        for (int64_t c = 0; c < C; c++) dst[i * C + c] = src[largest_of_window(args, i, c)];
    }
    return PUMIT_OK;
}

pumit_status NAME(max_pool_backward)(void *device, const pumit_max_pool_args *args)
{
    const int64_t C = args->channels, points = args->n * volume(args->dst_size);
    const real *diff_dst = args->diff_dst;
    real *diff_src = args->diff_src;
    if (!sizes_fit(args)) return PUMIT_ERROR_INVALID_ARGUMENT;
    memset(diff_src, 0, (size_t)(args->n * volume(args->src_size) * C) * sizeof *diff_src);
#pragma omp parallel for num_threads(team(device, points *C *volume(args->window)))
    for (int64_t i = 0; i < points; i++) {
        for (int64_t c = 0; c < C; c++)
            diff_src[largest_of_window(args, i, c)] = diff_dst[i * C + c];
    }
    return PUMIT_OK;
}
