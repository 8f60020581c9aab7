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

pumit__conv_shape pumit__cpu_conv_shape(const pumit_conv_args *args);

/** columns (count, taps, in_channels) of the dst rows first .. first + count; zeros outside src. */
void pumit__cpu_conv_gather(const pumit_conv_args *args, const float *src, int64_t first,
                            int64_t count, float *columns);

/** The reverse for patches: rows of `columns` to their places in diff_src. */
void pumit__cpu_conv_scatter(const pumit_conv_args *args, const float *columns, int64_t first,
                             int64_t count, float *diff_src);

/** The two through oneDNN, for kernels that overlap. */
pumit_status pumit__cpu_dnnl_forward(pumit__cpu_device *device, const pumit_conv_args *args);
pumit_status pumit__cpu_dnnl_backward_data(pumit__cpu_device *device, const pumit_conv_args *args);

#endif
