/* SPDX-License-Identifier: Apache-2.0 */
/* dst = a op b with broadcasting: rows of a merged shape, each with a, b, both or neither advancing. */
#include "kernels/cpu/isa/isa.h"
#include "kernels/cpu/walk.h"

typedef void (*row_fn)(const float *a, const float *b, float *dst, int64_t n, int64_t a_stride,
                       int64_t b_stride);

/** dst may be a or b: each element is read before it is written. */
#define ROWS(name, op)                                                                             \
    static void name(const float *a, const float *b, float *dst, int64_t n, int64_t a_stride,      \
                     int64_t b_stride)                                                             \
    {                                                                                              \
        if (a_stride == 1 && b_stride == 1) {                                                      \
            _Pragma("omp simd") for (int64_t i = 0; i < n; i++) dst[i] = a[i] op b[i];             \
        } else if (a_stride == 1 && b_stride == 0) {                                               \
            const float y = *b;                                                                    \
            _Pragma("omp simd") for (int64_t i = 0; i < n; i++) dst[i] = a[i] op y;                \
        } else if (a_stride == 0 && b_stride == 1) {                                               \
            const float x = *a;                                                                    \
            _Pragma("omp simd") for (int64_t i = 0; i < n; i++) dst[i] = x op b[i];                \
        } else {                                                                                   \
            for (int64_t i = 0; i < n; i++) dst[i] = a[i * a_stride] op b[i * b_stride];           \
        }                                                                                          \
    }

ROWS(add_rows, +)
ROWS(sub_rows, -)
ROWS(mul_rows, *)
ROWS(div_rows, /)

static const row_fn kinds[] = {[PUMIT_BINARY_ADD] = add_rows,
                               [PUMIT_BINARY_SUB] = sub_rows,
                               [PUMIT_BINARY_MUL] = mul_rows,
                               [PUMIT_BINARY_DIV] = div_rows};

#define KINDS ((int32_t)(sizeof kinds / sizeof *kinds))

/** One long row (the last axis after merging), cut for the threads. */
static void long_row(row_fn run, const float *a, const float *b, float *dst, int64_t n, int64_t sa,
                     int64_t sb)
{
#pragma omp parallel for schedule(static) if (n >= PUMIT__CPU_SERIAL)
    for (int64_t i = 0; i < n; i += PUMIT__CPU_PIECE)
        run(a + i * sa, b + i * sb, dst + i, least(PUMIT__CPU_PIECE, n - i), sa, sb);
}

pumit_status PUMIT__CPU_KERNEL(binary)(pumit__cpu_device *device, const pumit_binary_args *args)
{
    (void)device;
    if (args->kind < 1 || args->kind >= KINDS) return PUMIT_DECLINED;
    const row_fn run = kinds[args->kind];
    const int64_t *strides[] = {args->a_stride, args->b_stride};
    pumit__walk walk;
    pumit__walk_init(&walk, args->ndim, args->shape, 2, strides);
    const int64_t rows = pumit__walk_rows(&walk), inner = walk.shape[walk.ndim - 1];
    const int64_t sa = walk.stride[0][walk.ndim - 1], sb = walk.stride[1][walk.ndim - 1];
    const float *a = args->a, *b = args->b;
    float *dst = args->dst;
    if (rows <= 0 || inner <= 0) return PUMIT_OK;
    if (rows == 1) {
        long_row(run, a, b, dst, inner, sa, sb);
        return PUMIT_OK;
    }
    const int64_t step = inner < PUMIT__CPU_PIECE ? PUMIT__CPU_PIECE / inner : 1;
#pragma omp parallel for schedule(static) if (rows * inner >= PUMIT__CPU_SERIAL)
    for (int64_t first = 0; first < rows; first += step) {
        pumit__walk_place place;
        pumit__walk_seek(&walk, first, &place);
        for (int64_t row = first; row < least(rows, first + step); row++) {
            run(a + place.offset[0], b + place.offset[1], dst + row * inner, inner, sa, sb);
            pumit__walk_next(&walk, &place);
        }
    }
    return PUMIT_OK;
}
