/* SPDX-License-Identifier: Apache-2.0 */
/* Generators of convolution, resampling, pooling and rows by index. */
#include "kernel_cases.h"

#include <math.h>
#include <string.h>

#define LL(x) ((long long)(x))

/* --------------------------------------------------------------------------------- convolution */

static int64_t volume(const int64_t *size)
{
    return size[0] * size[1] * size[2];
}

/* 3 x 3 taps in the plane, 1 or 3 in depth, that keep the size, and more than a few channels; some are so
 * deep that a backend may cut the image into pieces. */
static void keep_size(kernel_case *c)
{
    pumit_conv_args *args = &c->args.conv;
    const int deep = random_below(c, 4) == 0;
    args->in_channels = 16 + random_below(c, deep ? 4 : maybe(c) ? 25 : 150);
    args->out_channels = 16 + random_below(c, deep ? 4 : maybe(c) ? 25 : 150);
    for (int i = 0; i < 3; i++) {
        args->kernel[i] = i == 0 && maybe(c) ? 1 : 3;
        args->stride[i] = 1;
        args->padding[i] = args->kernel[i] / 2;
        args->src_size[i] = args->dst_size[i] = 1 + random_below(c, i == 0 ? 5 : 9);
    }
    if (deep) args->src_size[0] = args->dst_size[0] = 40 + random_below(c, 20);
    c->sparse |= volume(args->src_size) < volume(args->kernel); /* taps that reach nothing */
}

/* A source without points, all of whose outputs lie in the padding. */
static void empty_source(kernel_case *c)
{
    pumit_conv_args *args = &c->args.conv;
    const int64_t axis = random_below(c, 3);
    for (int i = 0; i < 3; i++) {
        args->kernel[i] = 3;
        args->stride[i] = 1;
        args->padding[i] = 2;
        args->src_size[i] = i == axis ? 0 : 1 + random_below(c, 3);
        args->dst_size[i] = args->src_size[i] + 2;
    }
    c->sparse = 1;
}

static void pick_conv(kernel_case *c)
{
    static const int64_t sizes[KERNEL_LARGE][3] = {{5, 10, 10}, {16, 96, 96}, {80, 160, 160}};
    pumit_conv_args *args = &c->args.conv;
    args->n = c->large ? 1 : 1 + random_below(c, 2);
    args->in_channels = pick(c, 40, 512, 32, 3);
    args->out_channels = pick(c, 70, 512, 32, 768);
    const int patches = c->large ? c->large == 3 : random_below(c, 3) == 0; /* kernel == stride */
    const int square = maybe(c);
    for (int i = 0; i < 3; i++) {
        args->kernel[i] = c->large ? (patches ? 16 : 3) : 1 + random_below(c, square ? 3 : 4);
        if (square && i > 0) args->kernel[i] = args->kernel[0];
        args->stride[i] = patches                ? args->kernel[i]
                          : c->large || maybe(c) ? 1
                                                 : 1 + random_below(c, 3);
        args->padding[i] = patches ? 0 : c->large ? 1 : random_below(c, args->kernel[i] / 2 + 1);
        args->src_size[i] = c->large ? sizes[c->large - 1][i]
                                     : args->kernel[i] - 1 + random_size(c, i == 0 ? 5 : 9);
        args->dst_size[i] =
            (args->src_size[i] + 2 * args->padding[i] - args->kernel[i]) / args->stride[i] + 1;
        c->sparse |= args->stride[i] > args->kernel[i];
    }
    if (!c->large && c->index % 3 == 0) keep_size(c);
    if (!c->large && c->index % 32 == 31) empty_source(c);
    c->flops = 2.0 * (double)(args->n * volume(args->dst_size) * volume(args->kernel)) *
               (double)(args->in_channels * args->out_channels);
    describe(c,
             "n %lld channels %lld -> %lld, size %lldx%lldx%lld -> %lldx%lldx%lld, "
             "kernel %lldx%lldx%lld stride %lldx%lldx%lld padding %lldx%lldx%lld",
             LL(args->n), LL(args->in_channels), LL(args->out_channels), LL(args->src_size[0]),
             LL(args->src_size[1]), LL(args->src_size[2]), LL(args->dst_size[0]),
             LL(args->dst_size[1]), LL(args->dst_size[2]), LL(args->kernel[0]), LL(args->kernel[1]),
             LL(args->kernel[2]), LL(args->stride[0]), LL(args->stride[1]), LL(args->stride[2]),
             LL(args->padding[0]), LL(args->padding[1]), LL(args->padding[2]));
}

static int64_t conv_src_count(const pumit_conv_args *args)
{
    return args->n * volume(args->src_size) * args->in_channels;
}

static int64_t conv_dst_count(const pumit_conv_args *args)
{
    return args->n * volume(args->dst_size) * args->out_channels;
}

static int64_t conv_weight_count(const pumit_conv_args *args)
{
    return args->out_channels * volume(args->kernel) * args->in_channels;
}

void case_conv_forward(kernel_case *c)
{
    pick_conv(c);
    const pumit_conv_args *args = &c->args.conv;
    add_array(c, AT(conv, src), SRC, conv_src_count(args), c->fill);
    add_array(c, AT(conv, weights), SRC, conv_weight_count(args), FILL_NORMAL);
    if (!maybe(c)) add_array(c, AT(conv, bias), SRC, args->out_channels, FILL_NORMAL);
    add_array(c, AT(conv, dst), DST, conv_dst_count(args), c->fill);
    c->terms = (double)(volume(args->kernel) * args->in_channels);
}

void case_conv_backward_data(kernel_case *c)
{
    pick_conv(c);
    const pumit_conv_args *args = &c->args.conv;
    add_array(c, AT(conv, diff_dst), SRC, conv_dst_count(args), c->fill);
    add_array(c, AT(conv, weights), SRC, conv_weight_count(args), FILL_NORMAL);
    add_array(c, AT(conv, diff_src), DST, conv_src_count(args), c->fill);
    c->terms = (double)(volume(args->kernel) * args->out_channels);
}

void case_conv_backward_weights(kernel_case *c)
{
    pick_conv(c);
    const pumit_conv_args *args = &c->args.conv;
    add_array(c, AT(conv, src), SRC, conv_src_count(args), c->fill);
    add_array(c, AT(conv, diff_dst), SRC, conv_dst_count(args), FILL_NORMAL);
    add_array(c, AT(conv, diff_weights), ADD, conv_weight_count(args), FILL_NORMAL);
    if (!maybe(c)) add_array(c, AT(conv, diff_bias), ADD, args->out_channels, FILL_NORMAL);
    c->terms = (double)(args->n * volume(args->dst_size));
    c->sparse |= c->fill == FILL_MIXED; /* one point that is 0 */
}

/* ---------------------------------------------------------------------------- resampling, rows */

static void pick_resample(kernel_case *c)
{
    pumit_resample_args *args = &c->args.resample;
    static const int64_t from[KERNEL_LARGE][3] = {{32, 96, 96}, {10, 10, 10}, {20, 40, 40}};
    static const int64_t to[KERNEL_LARGE][3] = {{32, 48, 48}, {5, 10, 10}, {40, 80, 80}};
    args->n = c->large ? 1 : 1 + random_below(c, 3);
    args->channels = pick(c, 130, 64, 768, 32);
    args->kind = c->large ? (c->large == 3 ? PUMIT_RESAMPLE_TRILINEAR : PUMIT_RESAMPLE_AREA)
                          : 1 + (int32_t)random_below(c, 4);
    for (int i = 0; i < 3; i++) {
        args->src_size[i] = c->large ? from[c->large - 1][i] : random_size(c, 9);
        args->dst_size[i] = c->large ? to[c->large - 1][i] : random_size(c, 9);
        if ((maybe(c) && maybe(c)) || (i == 0 && args->kind == PUMIT_RESAMPLE_BICUBIC))
            args->dst_size[i] = args->src_size[i];
    }
    c->flops =
        2 * (double)args->channels *
        (double)(volume(args->src_size) > volume(args->dst_size) ? volume(args->src_size)
                                                                 : 8 * volume(args->dst_size));
    c->terms = 9;
    describe(c, "kind %d n %lld channels %lld, size %lldx%lldx%lld -> %lldx%lldx%lld", args->kind,
             LL(args->n), LL(args->channels), LL(args->src_size[0]), LL(args->src_size[1]),
             LL(args->src_size[2]), LL(args->dst_size[0]), LL(args->dst_size[1]),
             LL(args->dst_size[2]));
}

/* Kinds whose weights depend on where between two elements a sample lies. */
static int interpolates(const pumit_resample_args *args)
{
    return args->kind == PUMIT_RESAMPLE_TRILINEAR || args->kind == PUMIT_RESAMPLE_BICUBIC;
}

/* Coordinates in floats are off by eps times the axis. */
void case_resample_forward(kernel_case *c)
{
    pick_resample(c);
    const pumit_resample_args *args = &c->args.resample;
    const kernel_array *src = add_array(c, AT(resample, src), SRC,
                                        args->n * volume(args->src_size) * args->channels, c->fill);
    add_array(c, AT(resample, dst), DST, args->n * volume(args->dst_size) * args->channels,
              c->fill);
    c->floor = interpolates(args) ? 32 * largest(src) : 0;
}

void case_resample_backward(kernel_case *c)
{
    pick_resample(c);
    const pumit_resample_args *args = &c->args.resample;
    const kernel_array *diff = add_array(
        c, AT(resample, diff_dst), SRC, args->n * volume(args->dst_size) * args->channels, c->fill);
    add_array(c, AT(resample, diff_src), DST, args->n * volume(args->src_size) * args->channels,
              c->fill);
    c->floor = interpolates(args) ? 64 * largest(diff) : 0;
    c->sparse |= args->kind != PUMIT_RESAMPLE_AREA; /* shrinking skips most points */
}

static void pick_max_pool(kernel_case *c)
{
    static const int64_t sizes[KERNEL_LARGE][3] = {{10, 10, 10}, {16, 96, 96}, {1, 224, 224}};
    pumit_max_pool_args *args = &c->args.max_pool;
    args->n = c->large ? 1 : 1 + random_below(c, 3);
    args->channels = pick(c, 130, 768, 32, 64);
    for (int i = 0; i < 3; i++) {
        args->src_size[i] = c->large ? sizes[c->large - 1][i] : random_size(c, 9);
        args->window[i] = 1 + random_below(c, args->src_size[i] < 4 ? args->src_size[i] : 4);
        if (c->large) args->window[i] = args->src_size[i] == 1 ? 1 : 2;
        args->dst_size[i] = args->src_size[i] / args->window[i];
    }
    c->flops = (double)(args->n * volume(args->src_size) * args->channels);
    describe(c, "n %lld channels %lld, size %lldx%lldx%lld, window %lldx%lldx%lld", LL(args->n),
             LL(args->channels), LL(args->src_size[0]), LL(args->src_size[1]),
             LL(args->src_size[2]), LL(args->window[0]), LL(args->window[1]), LL(args->window[2]));
    add_array(c, AT(max_pool, src), SRC, args->n * volume(args->src_size) * args->channels,
              c->fill);
}

void case_max_pool_forward(kernel_case *c)
{
    pick_max_pool(c);
    const pumit_max_pool_args *args = &c->args.max_pool;
    add_array(c, AT(max_pool, dst), DST, args->n * volume(args->dst_size) * args->channels,
              c->fill);
    c->sparse |= c->fill == FILL_MIXED;
}

void case_max_pool_backward(kernel_case *c)
{
    pick_max_pool(c);
    const pumit_max_pool_args *args = &c->args.max_pool;
    add_array(c, AT(max_pool, diff_dst), SRC, args->n * volume(args->dst_size) * args->channels,
              FILL_NORMAL);
    add_array(c, AT(max_pool, diff_src), DST, args->n * volume(args->src_size) * args->channels,
              c->fill);
    c->sparse = 1;
}

/* Whole numbers in half of the cases, so that the largest is often there more than once. */
void case_argmax(kernel_case *c)
{
    pumit_argmax_args *args = &c->args.argmax;
    args->rows = pick(c, 40, 4000, 1000, 100000);
    args->channels = pick(c, 1025, 1024, 24000, 14);
    kernel_array *src = add_array(c, AT(argmax, src), SRC, args->rows * args->channels, c->fill);
    const int whole = maybe(c);
    for (int64_t i = 0; whole && i < src->count; i++) src->values[i] = round(src->values[i]);
    kernel_array *dst = add_typed(c, AT(argmax, dst), DST, PUMIT_I64, args->rows);
    memset(dst->bytes, 0xff, (size_t)args->rows * sizeof(int64_t));
    c->flops = (double)src->count;
    describe(c, "rows %lld channels %lld whole %d", LL(args->rows), LL(args->channels), whole);
}

/* A random choice of distinct rows per sequence. */
static void add_index(kernel_case *c)
{
    const pumit_rows_args *args = &c->args.rows;
    int64_t order[2048];
    kernel_array *a = add_typed(c, AT(rows, index), SRC, PUMIT_I64, args->n * args->count);
    for (int64_t n = 0; n < args->n; n++) {
        for (int64_t i = 0; i < args->length; i++) order[i] = i;
        for (int64_t i = 0; i < args->count; i++) {
            const int64_t j = i + random_below(c, args->length - i), chosen = order[j];
            order[j] = order[i];
            order[i] = chosen;
            ((int64_t *)a->bytes)[n * args->count + i] = chosen;
        }
    }
}

static void pick_rows(kernel_case *c)
{
    pumit_rows_args *args = &c->args.rows;
    args->n = c->large ? c->large : 1 + random_below(c, 3);
    args->length = pick(c, 100, 501, 501, 2001);
    args->channels = pick(c, 257, 768, 768, 768);
    args->count = c->large ? args->length / 4 : 1 + random_below(c, args->length);
    describe(c, "n %lld length %lld count %lld channels %lld", LL(args->n), LL(args->length),
             LL(args->count), LL(args->channels));
    add_index(c);
}

void case_gather_rows(kernel_case *c)
{
    pick_rows(c);
    const pumit_rows_args *args = &c->args.rows;
    add_array(c, AT(rows, src), SRC, args->n * args->length * args->channels, c->fill);
    add_array(c, AT(rows, dst), DST, args->n * args->count * args->channels, c->fill);
    c->unread = args->n * (args->length - args->count) * args->channels;
    c->local = 1;
}

void case_scatter_rows(kernel_case *c)
{
    pick_rows(c);
    pumit_rows_args *args = &c->args.rows;
    args->accumulate = maybe(c);
    add_array(c, AT(rows, src), SRC, args->n * args->count * args->channels, c->fill);
    add_array(c, AT(rows, dst), ADD, args->n * args->length * args->channels, FILL_NORMAL);
    c->unread = 2 * args->n * (args->length - args->count) * args->channels;
    c->local = 1;
    c->sparse |= 2 * args->count < args->length || (args->accumulate && c->fill == FILL_SMALL);
}
