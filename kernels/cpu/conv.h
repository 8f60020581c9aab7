/* SPDX-License-Identifier: Apache-2.0 */
/* What the convolution sources share. */
#ifndef PUMIT_KERNELS_CPU_CONV_H
#define PUMIT_KERNELS_CPU_CONV_H

#include "kernels/cpu/cpu.h"

/** Sizes that follow from the arguments. */
typedef struct {
    int64_t taps;    /* kernel positions */
    int64_t columns; /* taps x in_channels: a row of the weights */
    int64_t rows;    /* dst positions of all images */
    int pointwise;   /* 1x1x1, stride 1, no padding: src is the column matrix */
    int patches;     /* kernel == stride, no padding: every src position is used at most once */
} pumit__conv_shape;

pumit__conv_shape pumit__conv_shape_of(const pumit_conv_args *args);

/** Part of the column matrix: dst rows, lines (kernel depth x height) and taps along the width. */
typedef struct {
    int64_t row, row_end, line, line_end, tap, tap_end;
} pumit__conv_part;

/** columns (rows, lines, taps, in_channels) of a part; zeros outside src. On the calling thread. */
void pumit__conv_gather_lines(const pumit_conv_args *args, const float *src,
                              const pumit__conv_part *part, float *columns);

/** columns (count, taps, in_channels) of the dst rows first .. first + count; zeros outside src. */
void pumit__conv_gather(const pumit_conv_args *args, const float *src, int64_t first, int64_t count,
                        float *columns);

/** The reverse for patches: rows of `columns` to their places in diff_src. */
void pumit__conv_scatter(const pumit_conv_args *args, const float *columns, int64_t first,
                         int64_t count, float *diff_src);

/** Nothing to compute in some sense that is best left to the reference. */
int pumit__conv_empty(const pumit_conv_args *args, const pumit__conv_shape *shape);

/** How many rows are gathered at a time when all columns are. */
int64_t pumit__conv_block_rows(const pumit__conv_shape *shape);

/** Scratch for these, or NULL with *failed set; pointwise kernels need none. */
float *pumit__conv_block_buffer(pumit__cpu_device *device, const pumit__conv_shape *shape,
                                int *failed);

/** Columns of one block: src itself for pointwise kernels, else gathered into `buffer`. */
const float *pumit__conv_block_columns(const pumit_conv_args *args, const pumit__conv_shape *shape,
                                       int64_t first, int64_t count, float *buffer);

/** The two through oneDNN, for kernels that overlap. */
pumit_status pumit__cpu_dnnl_forward(pumit__cpu_device *device, const pumit_conv_args *args);
pumit_status pumit__cpu_dnnl_backward_data(pumit__cpu_device *device, const pumit_conv_args *args);

/** The three by Winograd's filtering; PUMIT_DECLINED where another way is faster. */
pumit_status pumit__cpu_winograd_forward(pumit__cpu_device *device, const pumit_conv_args *args);
pumit_status pumit__cpu_winograd_backward_data(pumit__cpu_device *device,
                                               const pumit_conv_args *args);
pumit_status pumit__cpu_winograd_backward_weights(pumit__cpu_device *device,
                                                  const pumit_conv_args *args);

#endif
