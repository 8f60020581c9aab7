/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between images and points:
 *   B^T = 1  0 -1  0     A^T = 1  1  1  0
 *         0  1  1  0           0  1 -1 -1
 *         0 -1  1  0
 *         0  1  0 -1
 */
#include "kernels/cpu/isa/winograd.h"

/** Where a row's tile begins. */
typedef struct {
    int64_t image, slice, y, x;
} place;

static place place_of(const pumit__winograd_tiles *t, int64_t row)
{
    const int64_t tile = t->first + row % t->count, plane = t->down * t->across;
    return (place){.image = tile / plane,
                   .slice = row / t->count,
                   .y = 2 * (tile % plane / t->across),
                   .x = 2 * (tile % t->across)};
}

/** The place of the next row. */
static void step(const pumit__winograd_tiles *t, place *at, int64_t row)
{
    if ((row + 1) % t->count == 0) {
        *at = place_of(t, row + 1);
    } else if ((at->x += 2) >= t->width) {
        at->x = 0;
        if ((at->y += 2) >= t->height) at->y = 0, at->image++;
    }
}

/** Offset in the image of position (dy, dx) from the tile's first. */
static int64_t offset(const pumit__winograd_tiles *t, const place *at, int64_t channels, int64_t dy,
                      int64_t dx)
{
    const int64_t line = (at->image * t->depth + at->slice) * t->height + at->y + dy;
    return (line * t->width + at->x + dx) * channels;
}

static int inside(const pumit__winograd_tiles *t, int64_t y, int64_t x)
{
    return y >= 0 && y < t->height && x >= 0 && x < t->width;
}

/** The channels at positions (from + i, from + j) from the tile's first, i and j < size. */
static inline __attribute__((always_inline)) void look_up(const pumit__winograd_tiles *t,
                                                          const float *image, int64_t channels,
                                                          const place *tile, const int from,
                                                          const int size, const float **at)
{
    const int64_t y = tile->y + from, x = tile->x + from;
    const int64_t begin = offset(t, tile, channels, from, from), line = t->width * channels;
    const int whole = inside(t, y, x) && inside(t, y + size - 1, x + size - 1);
#pragma GCC unroll 4
    for (int i = 0; i < size; i++)
#pragma GCC unroll 4
        for (int j = 0; j < size; j++)
            at[i * size + j] = whole || inside(t, y + i, x + j)
                                   ? image + begin + i * line + j * channels
                                   : t->zeros;
}

/** B^T x, 4 values a distance `step` apart, in place. */
static inline __attribute__((always_inline)) void patch_points(lanes *x, const int step)
{
    const lanes b = x[step], c = x[2 * step];
    x[0] -= c;
    x[step] = b + c;
    x[2 * step] = c - b;
    x[3 * step] = b - x[3 * step];
}

static inline __attribute__((always_inline)) void
patch_vector(const float *const *at, int64_t c, int64_t count, float *to, int64_t point)
{
    lanes x[POINTS];
#pragma GCC unroll 16
    for (int i = 0; i < POINTS; i++)
        x[i] = count >= LANES ? load_lanes(at[i] + c) : load_first(at[i] + c, count);
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) patch_points(x + i, 4);
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) patch_points(x + 4 * i, 1);
#pragma GCC unroll 16
    for (int i = 0; i < POINTS; i++) store_lanes(to + i * point + c, x[i]);
}

void PUMIT__WINOGRAD(spread_patches)(const pumit__winograd_tiles *tiles, const float *image,
                                     int64_t channels, int64_t first, int64_t last,
                                     const pumit__winograd_points *points)
{
    const float *at[POINTS];
    place tile = place_of(tiles, first);
    for (int64_t r = first; r < last; step(tiles, &tile, r++)) {
        float *to = points->data + r * points->row;
        int64_t c = 0;
        look_up(tiles, image, channels, &tile, -1, 4, at);
        for (; c + LANES <= channels; c += LANES) patch_vector(at, c, LANES, to, points->point);
        if (c < channels) patch_vector(at, c, channels - c, to, points->point);
    }
}

/** A x, 2 values to 4. */
static inline __attribute__((always_inline)) void tile_points(lanes a, lanes b, lanes *out,
                                                              const int step)
{
    out[0] = a;
    out[step] = a + b;
    out[2 * step] = a - b;
    out[3 * step] = -b;
}

static inline __attribute__((always_inline)) void
tile_vector(const float *const *at, int64_t c, int64_t count, float *to, int64_t point)
{
    lanes x[4], half[8], out[POINTS];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
        x[i] = count >= LANES ? load_lanes(at[i] + c) : load_first(at[i] + c, count);
    tile_points(x[0], x[2], half, 2);
    tile_points(x[1], x[3], half + 1, 2);
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) tile_points(half[2 * i], half[2 * i + 1], out + 4 * i, 1);
#pragma GCC unroll 16
    for (int i = 0; i < POINTS; i++) store_lanes(to + i * point + c, out[i]);
}

void PUMIT__WINOGRAD(spread_tiles)(const pumit__winograd_tiles *tiles, const float *image,
                                   int64_t channels, int64_t first, int64_t last,
                                   const pumit__winograd_points *points)
{
    const float *at[4];
    place tile = place_of(tiles, first);
    for (int64_t r = first; r < last; step(tiles, &tile, r++)) {
        float *to = points->data + r * points->row;
        int64_t c = 0;
        look_up(tiles, image, channels, &tile, 0, 2, at);
        for (; c + LANES <= channels; c += LANES) tile_vector(at, c, LANES, to, points->point);
        if (c < channels) tile_vector(at, c, channels - c, to, points->point);
    }
}

/** A^T x A of one vector of channels: tile[2 i + j] is position (i, j). */
static inline __attribute__((always_inline)) void gather_vector(const float *from, int64_t point,
                                                                lanes tile[4])
{
    lanes half[8];
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        const lanes b = load_lanes(from + (4 + j) * point), c = load_lanes(from + (8 + j) * point);
        half[j] = load_lanes(from + j * point) + b + c;
        half[4 + j] = b - c - load_lanes(from + (12 + j) * point);
    }
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++) {
        const lanes *h = half + 4 * i;
        tile[2 * i] = h[0] + h[1] + h[2];
        tile[2 * i + 1] = h[1] - h[2] - h[3];
    }
}

void PUMIT__WINOGRAD(gather_tiles)(const pumit__winograd_convolution *p, int64_t count)
{
    const int64_t outs = p->weights->outs;
    place at = place_of(p->tiles, p->first);
    for (int64_t r = p->first; r < p->last; step(p->tiles, &at, r++)) {
        float *to = p->dst + offset(p->tiles, &at, outs, 0, 0) + p->out;
        const float *from = p->sums.data + (r - p->first) * p->sums.row;
        for (int64_t c = 0; c < count; c += LANES) {
            const int64_t valid = least(LANES, count - c);
            const lanes bias = p->bias ? load_first(p->bias + p->out + c, valid) : (lanes){0};
            lanes tile[4];
            gather_vector(from + c, p->sums.point, tile);
            for (int i = 0; i < 2; i++)
                for (int j = 0; j < 2; j++)
                    if (inside(p->tiles, at.y + i, at.x + j))
                        store_first(to + (i * p->tiles->width + j) * outs + c,
                                    tile[2 * i + j] + bias, valid);
        }
    }
}
