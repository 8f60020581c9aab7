/* SPDX-License-Identifier: Apache-2.0 */
/* SwiGLU (Shazeer 2020): dst = gate sigmoid(gate) value. */
#include "kernels/cpu/isa/isa.h"
#include "kernels/cpu/isa/math.h"

#define COST 8

static void forward_piece(const float *gate, const float *value, float *dst, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) dst[i] = gate[i] * fast_sigmoid(gate[i]) * value[i];
}

pumit_status PUMIT__CPU_KERNEL(swiglu_forward)(pumit__cpu_device *device,
                                               const pumit_swiglu_args *args)
{
    (void)device;
    const int64_t n = args->n;
    const float *gate = args->gate, *value = args->value;
    float *dst = args->dst;
#pragma omp parallel for schedule(static) if (n * COST >= PUMIT__CPU_SERIAL)
    for (int64_t i = 0; i < n; i += PUMIT__CPU_PIECE)
        forward_piece(gate + i, value + i, dst + i, least(PUMIT__CPU_PIECE, n - i));
    return PUMIT_OK;
}

/** d silu(g) / dg = s (1 + g (1 - s)) with s = sigmoid(g). */
static void backward_piece(const float *restrict gate, const float *restrict value,
                           const float *restrict diff_dst, float *restrict diff_gate,
                           float *restrict diff_value, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        const float g = gate[i], s = fast_sigmoid(g), d = diff_dst[i];
        diff_gate[i] = d * value[i] * s * multiply_add(g, 1.0f - s, 1.0f);
        diff_value[i] = d * g * s;
    }
}

pumit_status PUMIT__CPU_KERNEL(swiglu_backward)(pumit__cpu_device *device,
                                                const pumit_swiglu_args *args)
{
    (void)device;
    const int64_t n = args->n;
    const float *gate = args->gate, *value = args->value, *diff_dst = args->diff_dst;
    float *diff_gate = args->diff_gate, *diff_value = args->diff_value;
#pragma omp parallel for schedule(static) if (n * COST >= PUMIT__CPU_SERIAL)
    for (int64_t i = 0; i < n; i += PUMIT__CPU_PIECE)
        backward_piece(gate + i, value + i, diff_dst + i, diff_gate + i, diff_value + i,
                       least(PUMIT__CPU_PIECE, n - i));
    return PUMIT_OK;
}
