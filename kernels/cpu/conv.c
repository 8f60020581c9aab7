/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Convolutions as matrix products. With channels last a row of the weights (taps x in_channels) times a row of
 * gathered source values is one output, and what is gathered comes in runs of kernel width x channels.
 * Used where kernel == stride (pointwise, patches, and the transposed convolutions made of them), and for the
 * gradient by weights; overlapping kernels go through oneDNN.
 */
#include "kernels/cpu/conv.h"

#include <string.h>

/** Floats of gathered columns at a time. */
#define BLOCK_FLOATS ((int64_t)1 << 24)

pumit__conv_shape pumit__cpu_conv_shape(const pumit_conv_args *args)
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

/** Offset in src of the run at kernel depth kd, height kh; -1 when it lies outside. */
static int64_t run_offset(const pumit_conv_args *p, const origin *o, int64_t kd, int64_t kh)
{
    const int64_t d = o->at[0] + kd, h = o->at[1] + kh;
    if (d < 0 || d >= p->src_size[0] || h < 0 || h >= p->src_size[1]) return -1;
    return ((o->n * p->src_size[0] + d) * p->src_size[1] + h) * p->src_size[2] * p->in_channels;
}

static void gather_row(const pumit_conv_args *p, const float *src, int64_t row, float *columns)
{
    const origin o = row_origin(p, row);
    const int64_t channels = p->in_channels, width = p->kernel[2], run = width * channels;
    const int64_t left = o.at[2] < 0 ? -o.at[2] : 0; /* taps outside on the left */
    const int64_t end = p->src_size[2] - o.at[2] < width ? p->src_size[2] - o.at[2] : width;
    for (int64_t kd = 0; kd < p->kernel[0]; kd++) {
        for (int64_t kh = 0; kh < p->kernel[1]; kh++, columns += run) {
            const int64_t at = run_offset(p, &o, kd, kh);
            const int64_t begin = at < 0 || left > end ? end : left;
            if (at < 0 || begin >= end) {
                memset(columns, 0, (size_t)run * sizeof *columns);
                continue;
            }
            memset(columns, 0, (size_t)(begin * channels) * sizeof *columns);
            memcpy(columns + begin * channels, src + at + (o.at[2] + begin) * channels,
                   (size_t)((end - begin) * channels) * sizeof *columns);
            memset(columns + end * channels, 0,
                   (size_t)((width - end) * channels) * sizeof *columns);
        }
    }
}

void pumit__cpu_conv_gather(const pumit_conv_args *args, const float *src, int64_t first,
                            int64_t count, float *columns)
{
    const int64_t width = pumit__cpu_conv_shape(args).columns;
#pragma omp parallel for schedule(static) if (count * width >= PUMIT__CPU_SERIAL)
    for (int64_t r = 0; r < count; r++) gather_row(args, src, first + r, columns + r * width);
}

void pumit__cpu_conv_scatter(const pumit_conv_args *args, const float *columns, int64_t first,
                             int64_t count, float *diff_src)
{
    const int64_t width = pumit__cpu_conv_shape(args).columns;
    const int64_t run = args->kernel[2] * args->in_channels;
#pragma omp parallel for schedule(static) if (count * width >= PUMIT__CPU_SERIAL)
    for (int64_t r = 0; r < count; r++) {
        const origin o = row_origin(args, first + r);
        const float *from = columns + r * width;
        for (int64_t kd = 0; kd < args->kernel[0]; kd++)
            for (int64_t kh = 0; kh < args->kernel[1]; kh++, from += run)
                memcpy(diff_src + run_offset(args, &o, kd, kh) + o.at[2] * args->in_channels, from,
                       (size_t)run * sizeof *from);
    }
}

static int64_t block_rows(const pumit__conv_shape *shape)
{
    const int64_t rows = BLOCK_FLOATS / shape->columns;
    return rows < 1 ? 1 : rows < shape->rows ? rows : shape->rows;
}

/** Columns of one block: src itself for pointwise kernels, else gathered into `buffer`. */
static const float *block_columns(const pumit_conv_args *args, const pumit__conv_shape *shape,
                                  int64_t first, int64_t count, float *buffer)
{
    if (shape->pointwise) return (const float *)args->src + first * args->in_channels;
    pumit__cpu_conv_gather(args, args->src, first, count, buffer);
    return buffer;
}

static int empty(const pumit_conv_args *args, const pumit__conv_shape *shape)
{
    return shape->rows <= 0 || shape->columns <= 0 || args->out_channels <= 0;
}

/** A block's buffer, or NULL with *failed set; pointwise kernels need none. */
static float *block_buffer(pumit__cpu_device *device, const pumit__conv_shape *shape, int *failed)
{
    if (shape->pointwise) return NULL;
    float *buffer =
        pumit__cpu_scratch(device, block_rows(shape) * shape->columns * (int64_t)sizeof *buffer);
    *failed = !buffer;
    return buffer;
}

pumit_status pumit__cpu_conv_forward(pumit__cpu_device *device, const pumit_conv_args *args)
{
    const pumit__conv_shape shape = pumit__cpu_conv_shape(args);
    if (empty(args, &shape)) return PUMIT_DECLINED;
    if (!shape.patches) return pumit__cpu_dnnl_forward(device, args);
    int failed = 0;
    float *buffer = block_buffer(device, &shape, &failed);
    pumit_status status = failed ? PUMIT_ERROR_OUT_OF_MEMORY : PUMIT_OK;
    const int64_t step = block_rows(&shape), outs = args->out_channels;
    for (int64_t r = 0; r < shape.rows && status == PUMIT_OK; r += step) {
        const int64_t count = shape.rows - r < step ? shape.rows - r : step;
        const pumit_matmul_args product = {.a = block_columns(args, &shape, r, count, buffer),
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
    const pumit__conv_shape shape = pumit__cpu_conv_shape(args);
    if (empty(args, &shape)) return PUMIT_DECLINED;
    if (!shape.patches) return pumit__cpu_dnnl_backward_data(device, args);
    int failed = 0;
    float *buffer = block_buffer(device, &shape, &failed);
    if (failed) return PUMIT_ERROR_OUT_OF_MEMORY;
    pumit_status status = PUMIT_OK;
    const int64_t step = block_rows(&shape), outs = args->out_channels;
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
            pumit__cpu_conv_scatter(args, columns, r, count, args->diff_src);
    }
    return status;
}

static pumit_status diff_bias(pumit__cpu_device *device, const pumit_conv_args *args, int64_t rows)
{
    const pumit_reduce_args sum = {.src = args->diff_dst,
                                   .dst = args->diff_bias,
                                   .alpha = 1,
                                   .ndim = 2,
                                   .accumulate = 1,
                                   .shape = {rows, args->out_channels},
                                   .src_stride = {args->out_channels, 1},
                                   .dst_stride = {0, 1}};
    return pumit__cpu_chosen()->reduce_sum(device, &sum);
}

pumit_status pumit__cpu_conv_backward_weights(pumit__cpu_device *device,
                                              const pumit_conv_args *args)
{
    const pumit__conv_shape shape = pumit__cpu_conv_shape(args);
    if (empty(args, &shape)) return PUMIT_DECLINED;
    int failed = 0;
    float *buffer = block_buffer(device, &shape, &failed);
    pumit_status status = failed ? PUMIT_ERROR_OUT_OF_MEMORY : PUMIT_OK;
    const int64_t step = block_rows(&shape), outs = args->out_channels;
    for (int64_t r = 0; r < shape.rows && status == PUMIT_OK; r += step) {
        const int64_t count = shape.rows - r < step ? shape.rows - r : step;
        const float *columns = block_columns(args, &shape, r, count, buffer);
        status = pumit__cpu_sgemm(1, 0, outs, shape.columns, count, 1,
                                  (const float *)args->diff_dst + r * outs, outs, columns,
                                  shape.columns, 1, args->diff_weights, shape.columns);
    }
    if (status == PUMIT_OK && args->diff_bias) status = diff_bias(device, args, shape.rows);
    return status;
}
