/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kernels of 3x3x3 and 1x3x3 that step one by one through padded images, by Winograd's filtering in the plane
 * (winograd.h): 2.25 times fewer multiplications. A piece is some tiles of all slices: its source points are made on all
 * threads, then each thread takes blocks of result channels, whose weights it transforms on the way.
 */
#include "kernels/cpu/conv.h"

#include <omp.h>
#include <string.h>

#define LINE ((int64_t)16) /* floats of a cache line */
/** Floats of a piece's points, and rows of a piece, at most: caches of the second and third level. */
#define PIECE_FLOATS ((int64_t)9 << 18)
#define PIECE_ROWS   ((int64_t)400)
/** Rows of the weights' gradient that are worked on together, at most. */
#define GRADIENT_ROWS ((int64_t)128)
/** So few rows of points and so many weights: the sums' way back costs more than it spares. */
#define FEW_ROWS     16
#define MANY_FILTERS ((int64_t)1 << 16)

static int64_t divide_up(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/** Floats in an odd number of lines: rows that far apart use all sets of a cache. */
static int64_t spread(int64_t floats)
{
    return (divide_up(floats, LINE) | 1) * LINE;
}

static pumit__winograd_points points_of(int64_t rows, int64_t channels)
{
    const int64_t row = spread(channels);
    return (pumit__winograd_points){.row = row, .point = spread(rows * row)};
}

static int64_t floats_of(const pumit__winograd_points *points)
{
    return PUMIT__WINOGRAD_POINTS * points->point;
}

/** The tiles of all images; `count` is how many a piece has when none exceeds the limits. channels: of all its points. */
static pumit__winograd_tiles tiles_of(const pumit_conv_args *args, int64_t channels)
{
    pumit__winograd_tiles tiles = {.n = args->n,
                                   .depth = args->src_size[0],
                                   .height = args->src_size[1],
                                   .width = args->src_size[2],
                                   .down = divide_up(args->src_size[1], 2),
                                   .across = divide_up(args->src_size[2], 2)};
    const int64_t all = tiles.n * tiles.down * tiles.across;
    const int64_t rows =
        smaller(PIECE_FLOATS / (PUMIT__WINOGRAD_POINTS * spread(channels)), PIECE_ROWS);
    const int64_t most = rows / tiles.depth > 1 ? rows / tiles.depth : 1;
    tiles.count = divide_up(all, divide_up(all, most));
    return tiles;
}

/** Makes the points of a piece on all threads. */
typedef void spread_function(const pumit__winograd_tiles *, const float *, int64_t, int64_t,
                             int64_t, const pumit__winograd_points *);

static void spread_rows(const pumit__cpu_device *device, spread_function *function,
                        const pumit__winograd_tiles *tiles, const float *image, int64_t channels,
                        const pumit__winograd_points *points)
{
    const int64_t rows = tiles->depth * tiles->count, parts = device->threads;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < parts; i++)
        function(tiles, image, channels, rows * i / parts, rows * (i + 1) / parts, points);
}

/* ------------------------------------------------------------------------------ forward, by source */

/** How a piece is shared: parts of its rows times blocks of result channels. */
typedef struct {
    int64_t parts, blocks;
} sharing;

/** As few parts as give every thread the same number of items. */
static sharing share(const pumit__cpu_device *device, int64_t outs)
{
    sharing s = {.parts = 1, .blocks = divide_up(outs, PUMIT__WINOGRAD_BLOCK)};
    while (s.parts < device->threads && s.parts * s.blocks % device->threads != 0) s.parts++;
    return s;
}

/** All items of a piece; `own` are a thread's filters and sums, `size` floats for each thread. */
static void convolve_piece(const pumit__winograd_convolution *piece, const sharing *s, float *own,
                           int64_t size)
{
    const pumit__winograd_kernels *kernels = pumit__cpu_chosen()->winograd;
    const int64_t items = s->parts * s->blocks, rows = piece->tiles->depth * piece->tiles->count;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < items; i++) {
        pumit__winograd_convolution item = *piece;
        item.first = rows * (i / s->blocks) / s->parts;
        item.last = rows * (i / s->blocks + 1) / s->parts;
        item.out = i % s->blocks * PUMIT__WINOGRAD_BLOCK;
        item.sums.data = own + omp_get_thread_num() * size;
        item.filters = item.sums.data + floats_of(&item.sums);
        if (item.first < item.last) kernels->convolve(&item);
    }
}

static pumit_status convolve(pumit__cpu_device *device, const pumit_conv_args *args,
                             const float *src, const pumit__winograd_weights *weights, float *dst)
{
    pumit__winograd_tiles tiles = tiles_of(args, weights->ins);
    const int64_t all = tiles.n * tiles.down * tiles.across, most = tiles.count;
    const sharing s = share(device, weights->outs);
    pumit__winograd_convolution piece = {
        .tiles = &tiles,
        .weights = weights,
        .src = points_of(tiles.depth * most, weights->ins),
        .sums = points_of(divide_up(tiles.depth * most, s.parts), PUMIT__WINOGRAD_BLOCK),
        .bias = weights->flipped ? NULL : args->bias,
        .dst = dst,
    };
    const int64_t own = floats_of(&piece.sums) + weights->taps * PUMIT__WINOGRAD_FILTERS;
    const int64_t zeros = spread(weights->ins), points = floats_of(&piece.src);
    float *scratch = pumit__cpu_scratch(device, (zeros + points + device->threads * own) *
                                                    (int64_t)sizeof *scratch);
    if (!scratch) return PUMIT_ERROR_OUT_OF_MEMORY;
    memset(scratch, 0, (size_t)zeros * sizeof *scratch);
    tiles.zeros = scratch;
    piece.src.data = scratch + zeros;
    for (tiles.first = 0; tiles.first < all; tiles.first += most) {
        tiles.count = smaller(most, all - tiles.first);
        spread_rows(device, pumit__cpu_chosen()->winograd->spread_patches, &tiles, src,
                    weights->ins, &piece.src);
        convolve_piece(&piece, &s, piece.src.data + points, own);
    }
    return PUMIT_OK;
}

/** Whether there are 3 x 3 taps in the plane, and 1 or 3 in depth, that keep the size. */
static int fits(const pumit_conv_args *args)
{
    for (int d = 0; d < 3; d++) {
        const int flat = d == 0 && args->kernel[0] == 1 && args->padding[0] == 0;
        if (args->stride[d] != 1 || args->dst_size[d] != args->src_size[d]) return 0;
        if (!flat && (args->kernel[d] != 3 || args->padding[d] != 1)) return 0;
    }
    return 1;
}

/** Fewer channels than a vector's: the plain way is up to twice as fast; 16: at worst the same. */
static int pays(const pumit_conv_args *args)
{
    return fits(args) && args->in_channels >= 16 && args->out_channels >= 16;
}

pumit_status pumit__cpu_winograd_forward(pumit__cpu_device *device, const pumit_conv_args *args)
{
    if (!pays(args)) return PUMIT_DECLINED;
    const pumit__winograd_weights weights = {.data = args->weights,
                                             .ins = args->in_channels,
                                             .outs = args->out_channels,
                                             .taps = args->kernel[0]};
    return convolve(device, args, args->src, &weights, args->dst);
}

/** The gradient is the convolution of diff_dst with the flipped weights. */
pumit_status pumit__cpu_winograd_backward_data(pumit__cpu_device *device,
                                               const pumit_conv_args *args)
{
    if (!pays(args)) return PUMIT_DECLINED;
    const pumit__winograd_weights weights = {.data = args->weights,
                                             .ins = args->out_channels,
                                             .outs = args->in_channels,
                                             .taps = args->kernel[0],
                                             .flipped = 1};
    return convolve(device, args, args->diff_dst, &weights, args->diff_src);
}

/* ----------------------------------------------------------------------------------- by weights */

/** All blocks of the weights' gradient of a piece, `rows` x BLOCK each; `size` floats for each thread. */
static void gradient_piece(const pumit__winograd_gradient *piece, int64_t rows, float *own,
                           int64_t size)
{
    const pumit__winograd_kernels *kernels = pumit__cpu_chosen()->winograd;
    const int64_t across = divide_up(piece->ins, PUMIT__WINOGRAD_BLOCK);
    const int64_t items = across * divide_up(piece->outs, rows);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < items; i++) {
        pumit__winograd_gradient item = *piece;
        item.in = i % across * PUMIT__WINOGRAD_BLOCK;
        item.out = i / across * rows;
        item.out_end = smaller(item.out + rows, piece->outs);
        item.sums.data = own + omp_get_thread_num() * size;
        kernels->weights_gradient(&item);
    }
}

/** Rows of a block: the most that give every thread the same number of blocks. */
static int64_t gradient_rows(const pumit__cpu_device *device, const pumit_conv_args *args)
{
    const int64_t across = divide_up(args->in_channels, PUMIT__WINOGRAD_BLOCK);
    int64_t blocks = divide_up(args->out_channels, GRADIENT_ROWS);
    while (blocks * across % device->threads != 0 && blocks * LINE < args->out_channels) blocks++;
    return divide_up(args->out_channels, blocks);
}

pumit_status pumit__cpu_winograd_backward_weights(pumit__cpu_device *device,
                                                  const pumit_conv_args *args)
{
    const int64_t ins = args->in_channels, outs = args->out_channels, taps = args->kernel[0];
    pumit__winograd_tiles tiles = tiles_of(args, spread(ins) + spread(outs));
    const int64_t all = tiles.n * tiles.down * tiles.across, most = tiles.count;
    if (!pays(args) || (all * tiles.depth < FEW_ROWS && taps * ins * outs > MANY_FILTERS))
        return PUMIT_DECLINED;
    const int64_t rows = gradient_rows(device, args), zeros = spread(ins > outs ? ins : outs);
    pumit__winograd_gradient piece = {
        .tiles = &tiles,
        .src = points_of(tiles.depth * most, ins),
        .diff = points_of(tiles.depth * most, outs),
        .ins = ins,
        .outs = outs,
        .taps = taps,
        .diff_weights = args->diff_weights,
        .sums = points_of(taps * rows, PUMIT__WINOGRAD_BLOCK),
    };
    const int64_t src = floats_of(&piece.src), diff = floats_of(&piece.diff),
                  own = floats_of(&piece.sums);
    float *scratch = pumit__cpu_scratch(device, (zeros + src + diff + device->threads * own) *
                                                    (int64_t)sizeof *scratch);
    if (!scratch) return PUMIT_ERROR_OUT_OF_MEMORY;
    memset(scratch, 0, (size_t)zeros * sizeof *scratch);
    tiles.zeros = scratch;
    piece.src.data = scratch + zeros;
    piece.diff.data = piece.src.data + src;
    const pumit__winograd_kernels *kernels = pumit__cpu_chosen()->winograd;
    for (tiles.first = 0; tiles.first < all; tiles.first += most) {
        tiles.count = smaller(most, all - tiles.first);
        spread_rows(device, kernels->spread_patches, &tiles, args->src, ins, &piece.src);
        spread_rows(device, kernels->spread_tiles, &tiles, args->diff_dst, outs, &piece.diff);
        gradient_piece(&piece, rows, piece.diff.data + diff, own);
    }
    return PUMIT_OK;
}
