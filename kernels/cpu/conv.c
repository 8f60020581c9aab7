/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Convolutions as matrix products. With channels last a row of the weights (taps x in_channels) times a row of
 * gathered source values is one output, and what is gathered comes in runs of kernel width x channels.
 * Used where kernel == stride (pointwise, patches, and the transposed convolutions made of them). Overlapping kernels
 * go by Winograd's filtering (conv_winograd.c) where it is faster, else through oneDNN (dnnl_conv.c), and for the
 * gradient by weights conv_weights.c.
 */
#include "kernels/cpu/conv.h"

#include <string.h>

/** Floats of gathered columns at a time: large, because each block reads all weights. */
#define BLOCK_FLOATS ((int64_t)1 << 24)

pumit__conv_shape pumit__conv_shape_of(const pumit_conv_args *args)
{
    pumit__conv_shape shape = {.taps = 1, .rows = args->n, .patches = 1};
    for (int d = 0; d < 3; d++) {
        shape.taps *= args->kernel[d];
        shape.rows *= args->dst_size[d];
        if (args->kernel[d] != args->stride[d] || args->padding[d] != 0) shape.patches = 0;
    }
    shape.pointwise = shape.patches && shape.taps == 1;
    shape.columns = shape.taps * args->in_channels;
    return shape;
}

/** Where dst row `row` begins in src: image n, and the first position on each axis, which may be < 0. */
typedef struct {
    int64_t n, at[3];
} origin;

static origin row_origin(const pumit_conv_args *p, int64_t row)
{
    origin o;
    for (int d = 2; d >= 0; d--) {
        o.at[d] = row % p->dst_size[d] * p->stride[d] - p->padding[d];
        row /= p->dst_size[d];
    }
    o.n = row;
    return o;
}

/** Offset in src of the line at kernel depth kd, height kh; -1 when it lies outside. */
static int64_t line_offset(const pumit_conv_args *p, const origin *o, int64_t kd, int64_t kh)
{
    const int64_t d = o->at[0] + kd, h = o->at[1] + kh;
    if (d < 0 || d >= p->src_size[0] || h < 0 || h >= p->src_size[1]) return -1;
    return ((o->n * p->src_size[0] + d) * p->src_size[1] + h) * p->src_size[2] * p->in_channels;
}

static int64_t clamp(int64_t x, int64_t low, int64_t high)
{
    return x < low ? low : x > high ? high : x;
}

/** One run: taps w0 .. w1 of the kernel's line (kd, kh). */
static void gather_run(const pumit_conv_args *p, const float *src, const origin *o, int64_t kd,
                       int64_t kh, int64_t w0, int64_t w1, float *run)
{
    const int64_t channels = p->in_channels, line = line_offset(p, o, kd, kh);
    const int64_t begin = line < 0 ? w1 : clamp(-o->at[2], w0, w1);
    const int64_t end = line < 0 ? w1 : clamp(p->src_size[2] - o->at[2], begin, w1);
    if (begin > w0) memset(run, 0, (size_t)((begin - w0) * channels) * sizeof *run);
    if (end > begin)
        memcpy(run + (begin - w0) * channels, src + line + (o->at[2] + begin) * channels,
               (size_t)((end - begin) * channels) * sizeof *run);
    if (w1 > end)
        memset(run + (end - w0) * channels, 0, (size_t)((w1 - end) * channels) * sizeof *run);
}

void pumit__conv_gather_lines(const pumit_conv_args *args, const float *src,
                              const pumit__conv_part *part, float *columns)
{
    const int64_t run = (part->tap_end - part->tap) * args->in_channels;
    for (int64_t r = part->row; r < part->row_end; r++) {
        const origin o = row_origin(args, r);
        for (int64_t l = part->line; l < part->line_end; l++, columns += run)
            gather_run(args, src, &o, l / args->kernel[1], l % args->kernel[1], part->tap,
                       part->tap_end, columns);
    }
}

void pumit__conv_gather(const pumit_conv_args *args, const float *src, int64_t first, int64_t count,
                        float *columns)
{
    const int64_t width = pumit__conv_shape_of(args).columns;
#pragma omp parallel for schedule(static) if (count * width >= PUMIT__CPU_SERIAL)
    for (int64_t r = 0; r < count; r++) {
        const pumit__conv_part part = {.row = first + r,
                                       .row_end = first + r + 1,
                                       .line_end = args->kernel[0] * args->kernel[1],
                                       .tap_end = args->kernel[2]};
        pumit__conv_gather_lines(args, src, &part, columns + r * width);
    }
}

void pumit__conv_scatter(const pumit_conv_args *args, const float *columns, int64_t first,
                         int64_t count, float *diff_src)
{
    const int64_t width = pumit__conv_shape_of(args).columns;
    const int64_t run = args->kernel[2] * args->in_channels;
#pragma omp parallel for schedule(static) if (count * width >= PUMIT__CPU_SERIAL)
    for (int64_t r = 0; r < count; r++) {
        const origin o = row_origin(args, first + r);
        const float *from = columns + r * width;
        for (int64_t kd = 0; kd < args->kernel[0]; kd++)
            for (int64_t kh = 0; kh < args->kernel[1]; kh++, from += run)
                memcpy(diff_src + line_offset(args, &o, kd, kh) + o.at[2] * args->in_channels, from,
                       (size_t)run * sizeof *from);
    }
}

int64_t pumit__conv_block_rows(const pumit__conv_shape *shape)
{
    const int64_t rows = BLOCK_FLOATS / shape->columns;
    return rows < 1 ? 1 : rows < shape->rows ? rows : shape->rows;
}

const float *pumit__conv_block_columns(const pumit_conv_args *args, const pumit__conv_shape *shape,
                                       int64_t first, int64_t count, float *buffer)
{
    if (shape->pointwise) return (const float *)args->src + first * args->in_channels;
    pumit__conv_gather(args, args->src, first, count, buffer);
    return buffer;
}

int pumit__conv_empty(const pumit_conv_args *args, const pumit__conv_shape *shape)
{
    const int64_t *size = args->src_size; /* without points: outputs may still lie in the padding */
    return shape->rows <= 0 || shape->columns <= 0 || args->out_channels <= 0 || size[0] <= 0 ||
           size[1] <= 0 || size[2] <= 0;
}

float *pumit__conv_block_buffer(pumit__cpu_device *device, const pumit__conv_shape *shape,
                                int *failed)
{
    if (shape->pointwise) return NULL;
    float *buffer = pumit__cpu_scratch(device, pumit__conv_block_rows(shape) * shape->columns *
                                                   (int64_t)sizeof *buffer);
    *failed = !buffer;
    return buffer;
}

pumit_status pumit__cpu_conv_forward(pumit__cpu_device *device, const pumit_conv_args *args)
{
    const pumit__conv_shape shape = pumit__conv_shape_of(args);
    if (pumit__conv_empty(args, &shape)) return PUMIT_DECLINED;
    int failed = 0;
    if (!shape.patches) {
        const pumit_status status = pumit__cpu_winograd_forward(device, args);
        return status == PUMIT_DECLINED ? pumit__cpu_dnnl_forward(device, args) : status;
    }
    float *buffer = pumit__conv_block_buffer(device, &shape, &failed);
    pumit_status status = failed ? PUMIT_ERROR_OUT_OF_MEMORY : PUMIT_OK;
    const int64_t step = pumit__conv_block_rows(&shape), outs = args->out_channels;
    for (int64_t r = 0; r < shape.rows && status == PUMIT_OK; r += step) {
        const int64_t count = shape.rows - r < step ? shape.rows - r : step;
        const pumit_matmul_args product = {
            .a = pumit__conv_block_columns(args, &shape, r, count, buffer),
            .b = args->weights,
            .bias = args->bias,
            .c = (float *)args->dst + r * outs,
            .batch = 1,
            .m = count,
            .n = outs,
            .k = shape.columns,
            .lda = shape.columns,
            .ldb = shape.columns,
            .ldc = outs,
            .alpha = 1,
            .trans_b = 1};
        status = pumit__cpu_matmul(device, &product);
    }
    return status;
}

pumit_status pumit__cpu_conv_backward_data(pumit__cpu_device *device, const pumit_conv_args *args)
{
    const pumit__conv_shape shape = pumit__conv_shape_of(args);
    if (pumit__conv_empty(args, &shape)) return PUMIT_DECLINED;
    int failed = 0;
    if (!shape.patches) {
        const pumit_status status = pumit__cpu_winograd_backward_data(device, args);
        return status == PUMIT_DECLINED ? pumit__cpu_dnnl_backward_data(device, args) : status;
    }
    float *buffer = pumit__conv_block_buffer(device, &shape, &failed);
    if (failed) return PUMIT_ERROR_OUT_OF_MEMORY;
    pumit_status status = PUMIT_OK;
    const int64_t step = pumit__conv_block_rows(&shape), outs = args->out_channels;
    const int64_t sources =
        args->n * args->src_size[0] * args->src_size[1] * args->src_size[2] * args->in_channels;
    if (sources != shape.rows * shape.columns) /* positions that no kernel reaches */
        memset(args->diff_src, 0, (size_t)sources * sizeof(float));
    for (int64_t r = 0; r < shape.rows && status == PUMIT_OK; r += step) {
        const int64_t count = shape.rows - r < step ? shape.rows - r : step;
        float *columns = buffer ? buffer : (float *)args->diff_src + r * args->in_channels;
        status = pumit__cpu_sgemm(0, 0, count, shape.columns, outs, 1,
                                  (const float *)args->diff_dst + r * outs, outs, args->weights,
                                  shape.columns, 0, columns, shape.columns);
        if (buffer && status == PUMIT_OK)
            pumit__conv_scatter(args, columns, r, count, args->diff_src);
    }
    return status;
}
