/* SPDX-License-Identifier: Apache-2.0 */
/* SwiGLU (Shazeer 2020): dst = gate sigmoid(gate) value. */
#include "kernels/cpu/isa/isa.h"
#include "kernels/cpu/isa/math.h"

#define COST 8

/** How the elements are cut for the threads: each row into `cuts` pieces. A packed array is one row. */
typedef struct {
    int64_t rows, channels, row, cuts;
} swiglu_pieces;

static swiglu_pieces cut(const pumit_swiglu_args *args)
{
    swiglu_pieces p = {.rows = 1, .channels = args->n};
    if (args->row) {
        p.rows = args->channels > 0 ? args->n / args->channels : 0;
        p.channels = args->channels;
        p.row = args->row;
    }
    p.cuts = (p.channels + PUMIT__CPU_PIECE - 1) / PUMIT__CPU_PIECE;
    return p;
}

/** Where piece i begins in dst, in gate and value, and its size. */
typedef struct {
    int64_t dst, src, n;
} swiglu_piece;

static swiglu_piece piece_of(const swiglu_pieces *p, int64_t i)
{
    const int64_t r = i / p->cuts, first = i % p->cuts * PUMIT__CPU_PIECE;
    return (swiglu_piece){.dst = r * p->channels + first,
                          .src = r * p->row + first,
                          .n = least(PUMIT__CPU_PIECE, p->channels - first)};
}

static void forward_piece(const float *gate, const float *value, float *dst, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) dst[i] = gate[i] * fast_sigmoid(gate[i]) * value[i];
}

pumit_status PUMIT__CPU_KERNEL(swiglu_forward)(pumit__cpu_device *device,
                                               const pumit_swiglu_args *args)
{
    (void)device;
    const swiglu_pieces pieces = cut(args);
    const float *gate = args->gate, *value = args->value;
    float *dst = args->dst;
#pragma omp parallel for schedule(static) if (args->n * COST >= PUMIT__CPU_SERIAL)
    for (int64_t i = 0; i < pieces.rows * pieces.cuts; i++) {
        const swiglu_piece p = piece_of(&pieces, i);
        forward_piece(gate + p.src, value + p.src, dst + p.dst, p.n);
    }
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
    const swiglu_pieces pieces = cut(args);
    const float *gate = args->gate, *value = args->value, *diff_dst = args->diff_dst;
    float *diff_gate = args->diff_gate, *diff_value = args->diff_value;
#pragma omp parallel for schedule(static) if (args->n * COST >= PUMIT__CPU_SERIAL)
    for (int64_t i = 0; i < pieces.rows * pieces.cuts; i++) {
        const swiglu_piece p = piece_of(&pieces, i);
        backward_piece(gate + p.src, value + p.src, diff_dst + p.dst, diff_gate + p.src,
                       diff_value + p.src, p.n);
    }
    return PUMIT_OK;
}
