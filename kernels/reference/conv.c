/* SPDX-License-Identifier: Apache-2.0 */
/*
 * 3D convolution (cross-correlation), channels last, zero padding; t runs over the kernel's taps:
 *   dst[x][o]    = bias[o] + sum over t, i of weights[o][t][i] src[x stride + t - padding][i]
 *   diff_src     = the transposed map of diff_dst
 *   diff_weights += sum over n, x of diff_dst[x][o] src[x stride + t - padding][i]
 */
#include "reference.h"

#define TILE_ROWS 16

/* Place of a point given by its triple of coordinates in an image of `size`. */
static int64_t place(int64_t n, const int64_t *at, const int64_t *size)
{
    return ((n * size[0] + at[0]) * size[1] + at[1]) * size[2] + at[2];
}

static int64_t volume(const int64_t *size)
{
    return size[0] * size[1] * size[2];
}

static void unravel(int64_t *at, int64_t linear, const int64_t *size)
{
    at[2] = linear % size[2];
    at[1] = linear / size[2] % size[1];
    at[0] = linear / size[2] / size[1] % size[0];
}

static int sizes_fit(const pumit_conv_args *args)
{
    for (int i = 0; i < 3; i++) {
        const int64_t reach = args->src_size[i] + 2 * args->padding[i] - args->kernel[i];
        if (args->kernel[i] < 1 || args->stride[i] < 1 || args->padding[i] < 0 || reach < 0 ||
            args->dst_size[i] != reach / args->stride[i] + 1)
            return 0;
    }
    return 1;
}

static int64_t multiplications(const pumit_conv_args *args)
{
    return args->n * volume(args->dst_size) * volume(args->kernel) * args->in_channels *
           args->out_channels;
}

/* The source point that `tap` of destination point `dst` sees; 0 if it lies in the padding. */
static int source_of(int64_t *src, const pumit_conv_args *args, const int64_t *dst,
                     const int64_t *tap)
{
    for (int i = 0; i < 3; i++) {
        src[i] = dst[i] * args->stride[i] + tap[i] - args->padding[i];
        if (src[i] < 0 || src[i] >= args->src_size[i]) return 0;
    }
    return 1;
}

static void convolve_point(const pumit_conv_args *args, int64_t point)
{
    const int64_t taps = volume(args->kernel), I = args->in_channels, O = args->out_channels;
    const int64_t n = point / volume(args->dst_size);
    const real *src = args->src, *weights = args->weights, *bias = args->bias;
    real *dst = (real *)args->dst + point * O;
    int64_t at[3], tap[3], from[3];
    unravel(at, point, args->dst_size);
    for (int64_t o0 = 0; o0 < O; o0 += BLOCK) {
        const int64_t count = at_most(O - o0, BLOCK);
        double sum[BLOCK];
        for (int64_t o = 0; o < count; o++) sum[o] = bias != NULL ? bias[o0 + o] : 0;
        for (int64_t t = 0; t < taps; t++) {
            unravel(tap, t, args->kernel);
            if (!source_of(from, args, at, tap)) continue;
            const real *row = src + place(n, from, args->src_size) * I;
            for (int64_t o = 0; o < count; o++) {
                sum[o] += dot(row, weights + ((o0 + o) * taps + t) * I, I);
            }
        }
        for (int64_t o = 0; o < count; o++) dst[o0 + o] = (real)sum[o];
    }
}

pumit_status NAME(conv_forward)(void *device, const pumit_conv_args *args)
{
    if (!sizes_fit(args)) return PUMIT_ERROR_INVALID_ARGUMENT;
    const int64_t points = args->n * volume(args->dst_size);
#pragma omp parallel for num_threads(team(device, multiplications(args)))
    for (int64_t i = 0; i < points; i++) convolve_point(args, i);
    return PUMIT_OK;
}

/* The taps of a kernel through which some destination points see one source point. */
typedef struct {
    int64_t first[3], count[3]; /* on each axis, in steps of the stride */
} seeing_taps;

static seeing_taps taps_seeing(const pumit_conv_args *args, const int64_t *src)
{
    seeing_taps s;
    for (int i = 0; i < 3; i++) {
        const int64_t stride = args->stride[i];
        s.first[i] = (src[i] + args->padding[i]) % stride;
        s.count[i] = at_least(args->kernel[i] - s.first[i] + stride - 1, 0) / stride;
    }
    return s;
}

/* Number `t` of these taps, and the destination point beyond it; 0 if that lies outside. */
static int destination_of(int64_t *tap, int64_t *dst, const pumit_conv_args *args,
                          const seeing_taps *s, const int64_t *src, int64_t t)
{
    unravel(tap, t, s->count);
    for (int i = 0; i < 3; i++) {
        tap[i] = s->first[i] + tap[i] * args->stride[i];
        const int64_t start = src[i] + args->padding[i] - tap[i];
        dst[i] = start / args->stride[i];
        if (start < 0 || dst[i] >= args->dst_size[i]) return 0;
    }
    return 1;
}

static void transpose_point(const pumit_conv_args *args, int64_t point)
{
    const int64_t taps = volume(args->kernel), I = args->in_channels, O = args->out_channels;
    const int64_t n = point / volume(args->src_size);
    const real *diff_dst = args->diff_dst, *weights = args->weights;
    real *diff_src = (real *)args->diff_src + point * I;
    int64_t at[3], tap[3], to[3];
    unravel(at, point, args->src_size);
    const seeing_taps seeing = taps_seeing(args, at);
    for (int64_t i0 = 0; i0 < I; i0 += BLOCK) {
        const int64_t count = at_most(I - i0, BLOCK);
        double sum[BLOCK] = {0};
        for (int64_t t = 0; t < volume(seeing.count); t++) {
            if (!destination_of(tap, to, args, &seeing, at, t)) continue;
            const real *diff = diff_dst + place(n, to, args->dst_size) * O;
            const real *first = weights + place(0, tap, args->kernel) * I + i0;
            for (int64_t o = 0; o < O; o++) {
                const real *row = first + o * taps * I;
                for (int64_t i = 0; i < count; i++) sum[i] += (double)diff[o] * row[i];
            }
        }
        for (int64_t i = 0; i < count; i++) diff_src[i0 + i] = (real)sum[i];
    }
}

pumit_status NAME(conv_backward_data)(void *device, const pumit_conv_args *args)
{
    if (!sizes_fit(args)) return PUMIT_ERROR_INVALID_ARGUMENT;
    const int64_t points = args->n * volume(args->src_size);
#pragma omp parallel for num_threads(team(device, multiplications(args)))
    for (int64_t i = 0; i < points; i++) transpose_point(args, i);
    return PUMIT_OK;
}

/* Tap `t` of TILE_ROWS output and BLOCK input channels at a time, summed over all points. */
static void correlate_tile(const pumit_conv_args *args, int64_t t, int64_t o0, int64_t i0)
{
    const int64_t taps = volume(args->kernel), I = args->in_channels, O = args->out_channels;
    const int64_t rows = at_most(O - o0, TILE_ROWS), columns = at_most(I - i0, BLOCK);
    const int64_t points = args->n * volume(args->dst_size);
    const real *src = args->src, *diff_dst = args->diff_dst;
    real *diff_weights = args->diff_weights;
    double sum[TILE_ROWS][BLOCK] = {{0}};
    int64_t at[3], tap[3], from[3];
    unravel(tap, t, args->kernel);
    for (int64_t x = 0; x < points; x++) {
        unravel(at, x, args->dst_size);
        if (!source_of(from, args, at, tap)) continue;
        const real *row = src + place(x / volume(args->dst_size), from, args->src_size) * I + i0;
        const real *diff = diff_dst + x * O + o0;
        for (int64_t o = 0; o < rows; o++) {
            for (int64_t i = 0; i < columns; i++) sum[o][i] += (double)diff[o] * row[i];
        }
    }
    for (int64_t o = 0; o < rows; o++) {
        real *to = diff_weights + ((o0 + o) * taps + t) * I + i0;
        for (int64_t i = 0; i < columns; i++) to[i] = (real)(to[i] + sum[o][i]);
    }
}

static void sum_bias(const pumit_conv_args *args)
{
    const int64_t points = args->n * volume(args->dst_size), O = args->out_channels;
    const real *diff_dst = args->diff_dst;
    real *diff_bias = args->diff_bias;
    for (int64_t o = 0; o < O; o++) {
        double sum = diff_bias[o];
        for (int64_t x = 0; x < points; x++) sum += diff_dst[x * O + o];
        diff_bias[o] = (real)sum;
    }
}

pumit_status NAME(conv_backward_weights)(void *device, const pumit_conv_args *args)
{
    if (!sizes_fit(args)) return PUMIT_ERROR_INVALID_ARGUMENT;
    const int64_t taps = volume(args->kernel);
    const int64_t o_tiles = (args->out_channels + TILE_ROWS - 1) / TILE_ROWS;
    const int64_t i_tiles = (args->in_channels + BLOCK - 1) / BLOCK;
#pragma omp parallel for num_threads(team(device, multiplications(args)))
    for (int64_t k = 0; k < taps * o_tiles * i_tiles; k++) {
        correlate_tile(args, k / i_tiles / o_tiles, k / i_tiles % o_tiles * TILE_ROWS,
                       k % i_tiles * BLOCK);
    }
    if (args->diff_bias != NULL) sum_bias(args);
    return PUMIT_OK;
}
