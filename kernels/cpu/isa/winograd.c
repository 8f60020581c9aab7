/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Products of points and of transformed weights, and the weights' transform and its reverse:
 *   G = 1    0   0
 *       1/2  1/2 1/2
 *       1/2 -1/2 1/2
 *       0    0   1
 */
#include "kernels/cpu/isa/winograd.h"
#include "kernels/cpu/isa/block_gemm.h"

#define BLOCK  PUMIT__WINOGRAD_BLOCK
#define DEPTH  PUMIT__WINOGRAD_DEPTH
#define FILTER PUMIT__WINOGRAD_FILTER
#define PANEL  (2 * LANES) /* columns of a product */

const pumit__winograd_kernels PUMIT__WINOGRAD(kernels) = {
    .spread_patches = PUMIT__WINOGRAD(spread_patches),
    .spread_tiles = PUMIT__WINOGRAD(spread_tiles),
    .convolve = PUMIT__WINOGRAD(convolve),
    .weights_gradient = PUMIT__WINOGRAD(weights_gradient),
};

/* -------------------------------------------------------------------------- transformed weights */

/** G x, 3 values to 4. */
static inline __attribute__((always_inline)) void filter_points(lanes a, lanes b, lanes c,
                                                                lanes *out, const int step)
{
    const lanes even = (a + c) * 0.5f, odd = b * 0.5f;
    out[0] = a;
    out[step] = even + odd;
    out[2 * step] = even - odd;
    out[3 * step] = c;
}

/** G g G^T of one vector: 9 taps a distance `step` apart, to 16 points FILTER floats apart. */
static inline __attribute__((always_inline)) void filter_vector(const lanes *g, const int step,
                                                                float *to)
{
    lanes half[12], out[POINTS];
#pragma GCC unroll 3
    for (int j = 0; j < 3; j++)
        filter_points(g[j * step], g[(3 + j) * step], g[(6 + j) * step], half + j, 3);
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
        filter_points(half[3 * i], half[3 * i + 1], half[3 * i + 2], out + 4 * i, 1);
#pragma GCC unroll 16
    for (int i = 0; i < POINTS; i++) store_lanes(to + i * FILTER, out[i]);
}

/** Place of channel k of a block and column j in the panels of a point. */
static inline int64_t panel_place(int64_t k, int64_t j)
{
    return (j / PANEL * DEPTH + k) * PANEL + j % PANEL;
}

/** One tap: LANES channels from `in` + k for `lanes` result channels from `out` + j; zeros past the last. */
static void filter_square(const pumit__winograd_weights *w, int64_t tap, int64_t in, int64_t out,
                          int64_t k, int64_t j, float *to)
{
    lanes g[9][LANES];
    const int64_t ins = least(LANES, w->ins - in - k), outs = w->outs - out - j;
    for (int i = 0; i < 9; i++) {
        const float *from = w->data + (((out + j) * w->taps + tap) * 9 + i) * w->ins + in + k;
        for (int l = 0; l < LANES; l++)
            g[i][l] = l < outs ? load_first(from + l * w->taps * 9 * w->ins, ins) : (lanes){0};
        transpose_lanes(g[i]);
    }
    for (int l = 0; l < ins; l++) filter_vector(&g[0][l], LANES, to + panel_place(k + l, j));
}

/** The same for flipped weights, whose result channels are neighbours: one channel `in` + k. */
static void filter_row(const pumit__winograd_weights *w, int64_t tap, int64_t in, int64_t out,
                       int64_t k, int64_t j, float *to)
{
    lanes g[9];
    const float *from =
        w->data + (((in + k) * w->taps + w->taps - 1 - tap) * 9 + 8) * w->outs + out + j;
    for (int i = 0; i < 9; i++) g[i] = load_first(from - i * w->outs, w->outs - out - j);
    filter_vector(g, 1, to + panel_place(k, j));
}

/** Points of one tap for channels in .. in + depth and the block of result channels. */
static void transform_filters(const pumit__winograd_convolution *p, int64_t tap, int64_t in,
                              int64_t depth, int64_t columns, float *to)
{
    const pumit__winograd_weights *w = p->weights;
    for (int64_t j = 0; j < columns; j += LANES) {
        if (w->flipped) {
            for (int64_t k = 0; k < depth; k++) filter_row(w, tap, in, p->out, k, j, to);
        } else {
            for (int64_t k = 0; k < depth; k += LANES) filter_square(w, tap, in, p->out, k, j, to);
        }
    }
}

/* ------------------------------------------------------------------------------------ products */

/** Taps in the order in which they are summed: the middle one, which has a partner everywhere, comes first. */
static int64_t tap_at(int64_t taps, int64_t i)
{
    return i == 0 ? taps / 2 : i <= taps / 2 ? i - 1 : i;
}

/** Rows whose partner at tap `tap` is in the image, and how many rows further that is. */
typedef struct {
    int64_t first, last, shift;
} tap_rows;

static tap_rows rows_of(const pumit__winograd_tiles *t, int64_t taps, int64_t tap, int64_t first,
                        int64_t last)
{
    const int64_t shift = (tap - taps / 2) * t->count, rows = t->depth * t->count;
    return (tap_rows){.first = first + shift < 0 ? -shift : first,
                      .last = least(last, rows - shift),
                      .shift = shift};
}

/** sums (+)= points times the transformed weights of `depth` channels from `in`. */
static void multiply_filters(const pumit__winograd_convolution *p, int64_t in, int64_t depth,
                             int64_t columns)
{
    const int64_t taps = p->weights->taps;
    for (int point = 0; point < POINTS; point++) {
        for (int64_t i = 0; i < taps; i++) {
            const int64_t tap = tap_at(taps, i);
            const tap_rows rows = rows_of(p->tiles, taps, tap, p->first, p->last);
            block_product product = {.m = rows.last - rows.first,
                                     .k = depth,
                                     .a_row = p->src.row,
                                     .a_col = 1,
                                     .ldb = PANEL,
                                     .ldc = p->sums.row,
                                     .add = in > 0 || i > 0};
            product.a =
                p->src.data + point * p->src.point + (rows.first + rows.shift) * p->src.row + in;
            for (int64_t j = 0; j < columns && product.m > 0; j += PANEL) {
                product.n = least(PANEL, columns - j);
                product.b = p->filters + (tap * POINTS + point) * FILTER + panel_place(0, j);
                product.c = p->sums.data + point * p->sums.point +
                            (rows.first - p->first) * p->sums.row + j;
                multiply_blocks(&product);
            }
        }
    }
}

void PUMIT__WINOGRAD(convolve)(const pumit__winograd_convolution *p)
{
    const pumit__winograd_weights *w = p->weights;
    const int64_t outs = least(BLOCK, w->outs - p->out),
                  columns = (outs + LANES - 1) / LANES * LANES;
    for (int64_t in = 0; in < w->ins; in += DEPTH) {
        const int64_t depth = least(DEPTH, w->ins - in);
        for (int64_t tap = 0; tap < w->taps; tap++) {
            const tap_rows rows = rows_of(p->tiles, w->taps, tap, p->first, p->last);
            if (rows.first < rows.last)
                transform_filters(p, tap, in, depth, columns, p->filters + tap * POINTS * FILTER);
        }
        multiply_filters(p, in, depth, columns);
    }
    PUMIT__WINOGRAD(gather_tiles)(p, outs);
}

/* ------------------------------------------------------------------------- gradient by weights */

/** G^T x, 4 values to 3. */
static inline __attribute__((always_inline)) void filter_taps(lanes a, lanes b, lanes c, lanes d,
                                                              lanes *out, const int step)
{
    const lanes even = (b + c) * 0.5f;
    out[0] = a + even;
    out[step] = (b - c) * 0.5f;
    out[2 * step] = even + d;
}

/** diff_weights += G^T x G of one vector of channels. */
static inline __attribute__((always_inline)) void add_filter(const float *from, int64_t point,
                                                             float *to, int64_t tap, int64_t count)
{
    lanes half[12], g[9];
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++)
        filter_taps(load_lanes(from + j * point), load_lanes(from + (4 + j) * point),
                    load_lanes(from + (8 + j) * point), load_lanes(from + (12 + j) * point),
                    half + j, 4);
#pragma GCC unroll 3
    for (int i = 0; i < 3; i++) {
        const lanes *h = half + 4 * i;
        filter_taps(h[0], h[1], h[2], h[3], g + 3 * i, 1);
    }
#pragma GCC unroll 9
    for (int i = 0; i < 9; i++)
        store_first(to + i * tap, load_first(to + i * tap, count) + g[i], count);
}

static void add_filters(const pumit__winograd_gradient *p, int64_t tap)
{
    const int64_t rows = p->out_end - p->out, columns = least(BLOCK, p->ins - p->in);
    for (int64_t o = 0; o < rows; o++) {
        const float *from = p->sums.data + (tap * rows + o) * p->sums.row;
        float *to = p->diff_weights + ((p->out + o) * p->taps + tap) * 9 * p->ins + p->in;
        for (int64_t c = 0; c < columns; c += LANES)
            add_filter(from + c, p->sums.point, to + c, p->ins, least(LANES, columns - c));
    }
}

/** sums of one tap and point = diff^T src */
static void multiply_rows(const pumit__winograd_gradient *p, int64_t point, int64_t tap,
                          const tap_rows *rows)
{
    const int64_t columns = (least(BLOCK, p->ins - p->in) + LANES - 1) / LANES * LANES;
    block_product product = {.m = p->out_end - p->out,
                             .k = rows->last - rows->first,
                             .a_row = 1,
                             .a_col = p->diff.row,
                             .ldb = p->src.row,
                             .ldc = p->sums.row};
    product.a = p->diff.data + point * p->diff.point + rows->first * p->diff.row + p->out;
    for (int64_t j = 0; j < columns; j += PANEL) {
        product.n = least(PANEL, columns - j);
        product.b = p->src.data + point * p->src.point + (rows->first + rows->shift) * p->src.row +
                    p->in + j;
        product.c = p->sums.data + point * p->sums.point + tap * product.m * p->sums.row + j;
        multiply_blocks(&product);
    }
}

void PUMIT__WINOGRAD(weights_gradient)(const pumit__winograd_gradient *p)
{
    const int64_t all = p->tiles->depth * p->tiles->count;
    for (int64_t point = 0; point < POINTS; point++) {
        for (int64_t tap = 0; tap < p->taps; tap++) {
            const tap_rows rows = rows_of(p->tiles, p->taps, tap, 0, all);
            if (rows.first < rows.last) multiply_rows(p, point, tap, &rows);
        }
    }
    for (int64_t tap = 0; tap < p->taps; tap++) {
        const tap_rows rows = rows_of(p->tiles, p->taps, tap, 0, all);
        if (rows.first < rows.last) add_filters(p, tap);
    }
}
