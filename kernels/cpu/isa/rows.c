/* SPDX-License-Identifier: Apache-2.0 */
/* Gathering and scattering of token rows. */
#include "kernels/cpu/isa/isa.h"

#include <string.h>

pumit_status PUMIT__CPU_KERNEL(gather_rows)(pumit__cpu_device *device, const pumit_rows_args *args)
{
    (void)device;
    const int64_t count = args->count, channels = args->channels, rows = args->n * count;
    const float *src = args->src;
    float *dst = args->dst;
#pragma omp parallel for schedule(static) if (rows * channels >= PUMIT__CPU_SERIAL)
    for (int64_t r = 0; r < rows; r++) {
        const int64_t from = r / count * args->length + args->index[r];
        memcpy(dst + r * channels, src + from * channels, (size_t)channels * sizeof *dst);
    }
    return PUMIT_OK;
}

pumit_status PUMIT__CPU_KERNEL(scatter_rows)(pumit__cpu_device *device, const pumit_rows_args *args)
{
    (void)device;
    const int64_t count = args->count, channels = args->channels, rows = args->n * count;
    const float *src = args->src;
    float *dst = args->dst;
#pragma omp parallel for schedule(static) if (rows * channels >= PUMIT__CPU_SERIAL)
    for (int64_t r = 0; r < rows; r++) {
        const float *from = src + r * channels;
        float *to = dst + (r / count * args->length + args->index[r]) * channels;
        if (!args->accumulate) {
            memcpy(to, from, (size_t)channels * sizeof *to);
            continue;
        }
#pragma omp simd
        for (int64_t c = 0; c < channels; c++) to[c] += from[c];
    }
    return PUMIT_OK;
}
