/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Gradient of a convolution by its weights: diff_weights (O x taps I) += diff_dst^T (O x rows) columns (rows x taps I),
 * where columns are gathered source values. Three ways to share the work:
 *   patches  whole columns, the product on all threads: kernels that use each value once;
 *   narrow   each thread takes rows, into weights of its own that are then added up: few weights;
 *   wide     each thread takes taps of the kernel, straight into diff_weights: many weights.
 */
#include "kernels/cpu/conv.h"

#include <omp.h>
#include <string.h>

/** Weights that fit a core's second-level cache. */
#define NARROW_FLOATS ((int64_t)1 << 19)
/** Rows of one product. */
#define NARROW_ROWS 256
#define WIDE_ROWS   512
/** Floats gathered at a time by one thread. */
#define GATHER_FLOATS ((int64_t)1 << 18)

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

static pumit_status whole_columns(pumit__cpu_device *device, const pumit_conv_args *args,
                                  const pumit__conv_shape *shape)
{
    int failed = 0;
    float *buffer = pumit__conv_block_buffer(device, shape, &failed);
    pumit_status status = failed ? PUMIT_ERROR_OUT_OF_MEMORY : PUMIT_OK;
    const int64_t step = pumit__conv_block_rows(shape), outs = args->out_channels;
    for (int64_t r = 0; r < shape->rows && status == PUMIT_OK; r += step) {
        const int64_t count = shape->rows - r < step ? shape->rows - r : step;
        const float *columns = pumit__conv_block_columns(args, shape, r, count, buffer);
        status = pumit__cpu_sgemm(1, 0, outs, shape->columns, count, 1,
                                  (const float *)args->diff_dst + r * outs, outs, columns,
                                  shape->columns, 1, args->diff_weights, shape->columns);
    }
    return status;
}

/** weights (O x taps I) += the product over one part of rows, lines and taps. */
static pumit_status add_part(const pumit_conv_args *args, const pumit__conv_shape *shape,
                             const pumit__conv_part *part, float *buffer, float *weights)
{
    const int64_t outs = args->out_channels, channels = args->in_channels;
    const int64_t width = (part->line_end - part->line) * (part->tap_end - part->tap) * channels;
    const int64_t at = (part->line * args->kernel[2] + part->tap) * channels;
    pumit__conv_gather_lines(args, args->src, part, buffer);
    return pumit__cpu_sgemm(1, 0, outs, width, part->row_end - part->row, 1,
                            (const float *)args->diff_dst + part->row * outs, outs, buffer, width,
                            1, weights + at, shape->columns);
}

/** Rows first .. last into `weights`, block by block, as many lines at a time as `lines`. */
static pumit_status narrow_rows(const pumit_conv_args *args, const pumit__conv_shape *shape,
                                int64_t first, int64_t last, int64_t lines, float *buffer,
                                float *weights)
{
    pumit_status status = PUMIT_OK;
    const int64_t all = args->kernel[0] * args->kernel[1];
    memset(weights, 0, (size_t)(args->out_channels * shape->columns) * sizeof *weights);
    for (int64_t r = first; r < last; r += NARROW_ROWS) {
        for (int64_t l = 0; l < all && status == PUMIT_OK; l += lines) {
            const pumit__conv_part part = {.row = r,
                                           .row_end =
                                               r + NARROW_ROWS < last ? r + NARROW_ROWS : last,
                                           .line = l,
                                           .line_end = l + lines < all ? l + lines : all,
                                           .tap_end = args->kernel[2]};
            status = add_part(args, shape, &part, buffer, weights);
        }
    }
    return status;
}

static pumit_status narrow(pumit__cpu_device *device, const pumit_conv_args *args,
                           const pumit__conv_shape *shape)
{
    const int64_t run = args->kernel[2] * args->in_channels,
                  weights = args->out_channels * shape->columns;
    const int64_t fitting = GATHER_FLOATS / (NARROW_ROWS * run),
                  all = args->kernel[0] * args->kernel[1];
    const int64_t lines = fitting < 1 ? 1 : fitting < all ? fitting : all;
    const int64_t blocks = (shape->rows + NARROW_ROWS - 1) / NARROW_ROWS;
    const int64_t threads = blocks < device->threads ? blocks : device->threads;
    const int64_t own = weights + NARROW_ROWS * lines * run,
                  size = (blocks + threads - 1) / threads * NARROW_ROWS;
    float *scratch = pumit__cpu_scratch(device, threads * own * (int64_t)sizeof *scratch);
    if (!scratch) return PUMIT_ERROR_OUT_OF_MEMORY;
    pumit_status status = PUMIT_OK;
    float *diff_weights = args->diff_weights;
#pragma omp parallel for schedule(static, 1) reduction(min : status) if (threads > 1)
    for (int64_t t = 0; t < threads; t++) {
        float *mine = scratch + t * own;
        const int64_t last = (t + 1) * size < shape->rows ? (t + 1) * size : shape->rows;
        status = narrow_rows(args, shape, t * size, last, lines, mine + weights, mine);
    }
    if (status != PUMIT_OK) return status;
#pragma omp parallel for schedule(static) if (threads * weights >= PUMIT__CPU_SERIAL)
    for (int64_t i = 0; i < weights; i++) {
        float sum = 0;
        for (int64_t t = 0; t < threads; t++) sum += scratch[t * own + i];
        diff_weights[i] += sum;
    }
    return PUMIT_OK;
}

/** All rows for one tap. */
static pumit_status wide_tap(const pumit_conv_args *args, const pumit__conv_shape *shape,
                             int64_t tap, float *buffer)
{
    pumit_status status = PUMIT_OK;
    const int64_t line = tap / args->kernel[2], w = tap % args->kernel[2];
    pumit__conv_part part = {.line = line, .line_end = line + 1, .tap = w, .tap_end = w + 1};
    for (int64_t r = 0; r < shape->rows && status == PUMIT_OK; r += WIDE_ROWS) {
        part.row = r;
        part.row_end = r + WIDE_ROWS < shape->rows ? r + WIDE_ROWS : shape->rows;
        status = add_part(args, shape, &part, buffer, args->diff_weights);
    }
    return status;
}

static pumit_status wide(pumit__cpu_device *device, const pumit_conv_args *args,
                         const pumit__conv_shape *shape)
{
    const int64_t own = WIDE_ROWS * args->in_channels;
    float *scratch = pumit__cpu_scratch(device, device->threads * own * (int64_t)sizeof *scratch);
    if (!scratch) return PUMIT_ERROR_OUT_OF_MEMORY;
    pumit_status status = PUMIT_OK;
#pragma omp parallel for schedule(dynamic) reduction(min : status)
    for (int64_t tap = 0; tap < shape->taps; tap++) {
        const pumit_status one = wide_tap(args, shape, tap, scratch + omp_get_thread_num() * own);
        status = one < status ? one : status;
    }
    return status;
}

pumit_status pumit__cpu_conv_backward_weights(pumit__cpu_device *device,
                                              const pumit_conv_args *args)
{
    const pumit__conv_shape shape = pumit__conv_shape_of(args);
    if (pumit__conv_empty(args, &shape)) return PUMIT_DECLINED;
    pumit_status status = pumit__cpu_winograd_backward_weights(device, args);
    const int declined = status == PUMIT_DECLINED;
    if (declined && shape.patches) {
        status = whole_columns(device, args, &shape);
    } else if (declined && args->out_channels * shape.columns <= NARROW_FLOATS) {
        status = narrow(device, args, &shape);
    } else if (declined) {
        status = wide(device, args, &shape);
    }
    if (status == PUMIT_OK && args->diff_bias) status = diff_bias(device, args, shape.rows);
    return status;
}
