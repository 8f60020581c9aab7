/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reduce_sum of a source whose axes, after merging, read (batch) x (summed) x (kept) x (summed), any of them of size 1, packed
 * but for a gap that may follow each row of (kept). Rows are added in parts that do not depend on the thread count; parts are added in double.
 */
#include "kernels/cpu/isa/isa.h"
#include "kernels/cpu/walk.h"

#include <string.h>

#define STRIP 64

typedef struct {
    int64_t batch, rows, kept, tail;
    int64_t pitch; /* distance between rows of (kept) x (tail) */
} sum_shape;

static float sum_row(const float *src, int64_t n)
{
    double total = 0;
    for (int64_t i = 0; i < n; i += PUMIT__CPU_PIECE) {
        const int64_t size = least(PUMIT__CPU_PIECE, n - i);
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t j = 0; j < size; j++) sum += src[i + j];
        total += (double)sum;
    }
    return (float)total;
}

/** The axes by falling distance in src: sums do not care for their order. */
static void sort_axes(const pumit_reduce_args *args, pumit_reduce_args *sorted)
{
    *sorted = *args;
    for (int32_t i = 1; i < args->ndim; i++) {
        for (int32_t d = i; d > 0 && sorted->src_stride[d - 1] < sorted->src_stride[d]; d--) {
            const int64_t shape = sorted->shape[d], src = sorted->src_stride[d];
            const int64_t dst = sorted->dst_stride[d];
            sorted->shape[d] = sorted->shape[d - 1];
            sorted->src_stride[d] = sorted->src_stride[d - 1];
            sorted->dst_stride[d] = sorted->dst_stride[d - 1];
            sorted->shape[d - 1] = shape;
            sorted->src_stride[d - 1] = src;
            sorted->dst_stride[d - 1] = dst;
        }
    }
}

/** The merged axes as a sum_shape; 0 when they are more, or an array has gaps. */
static int describe(const pumit_reduce_args *args, sum_shape *out)
{
    pumit_reduce_args sorted;
    sort_axes(args, &sorted);
    const int64_t *strides[] = {sorted.src_stride, sorted.dst_stride};
    pumit__walk walk;
    pumit__walk_init(&walk, sorted.ndim, sorted.shape, 2, strides);
    int64_t src_stride = 1, dst_stride = 1;
    int32_t d = walk.ndim - 1;
    *out = (sum_shape){1, 1, 1, 1, 0};
    int64_t *const sizes[] = {&out->tail, &out->kept, &out->rows, &out->batch};
    for (int32_t s = 0; s < 4 && d >= 0; s++) {
        const int summed = s % 2 == 0;
        if ((walk.stride[1][d] == 0) != summed) continue;
        const int gap = s == 2 && out->kept > 1 && out->tail == 1;
        if (gap && walk.stride[0][d] > src_stride) src_stride = walk.stride[0][d];
        if (s == 2) out->pitch = src_stride;
        if (walk.stride[0][d] != src_stride || (!summed && walk.stride[1][d] != dst_stride))
            return 0;
        *sizes[s] = walk.shape[d];
        src_stride *= walk.shape[d];
        if (!summed) dst_stride *= walk.shape[d];
        d--;
    }
    if (out->rows == 1) out->pitch = out->kept * out->tail;
    return d < 0;
}

static inline void put(float *dst, double value, const pumit_reduce_args *args)
{
    *dst = (float)(args->alpha * value + (args->accumulate ? (double)*dst : 0));
}

/** Kept axes before a summed tail: one row each. With rows > 1 the rows' sums are added here. */
static void sum_tails(const pumit_reduce_args *args, const sum_shape *s)
{
    const int64_t places = s->batch * s->kept;
    const float *src = args->src;
    float *dst = args->dst;
#pragma omp parallel for schedule(static) if (places * s->rows * s->tail >= PUMIT__CPU_SERIAL)
    for (int64_t i = 0; i < places; i++) {
        const int64_t b = i / s->kept, k = i % s->kept;
        double sum = 0;
        for (int64_t r = 0; r < s->rows; r++)
            sum += (double)sum_row(src + ((b * s->rows + r) * s->kept + k) * s->tail, s->tail);
        put(dst + i, sum, args);
    }
}

/** A single long row, cut into parts for the threads. */
static void sum_all(const pumit_reduce_args *args, int64_t n)
{
    const float *src = args->src;
    const int64_t size = n / PUMIT__CPU_PARTS + 1;
    double parts[PUMIT__CPU_PARTS] = {0}, sum = 0;
#pragma omp parallel for schedule(static) if (n >= PUMIT__CPU_SERIAL)
    for (int64_t p = 0; p < PUMIT__CPU_PARTS; p++)
        if (p * size < n) parts[p] = (double)sum_row(src + p * size, least(size, n - p * size));
    for (int64_t p = 0; p < PUMIT__CPU_PARTS; p++) sum += parts[p];
    put(args->dst, sum, args);
}

/** sums (width) += the sum of up to STRIP rows, which are kept apart. */
static inline __attribute__((always_inline)) void
add_strip(const float *src, int64_t rows, int64_t pitch, int64_t width, double *sums)
{
    float strip[STRIP] = {0};
    for (int64_t r = 0; r < rows; r++) {
#pragma omp simd
        for (int64_t k = 0; k < width; k++) strip[k] += src[r * pitch + k];
    }
    for (int64_t k = 0; k < width; k++) sums[k] += (double)strip[k];
}

/** sums (kept) = the sum of `rows` rows. */
static void add_rows(const float *src, int64_t rows, int64_t pitch, int64_t kept, double *sums)
{
    memset(sums, 0, (size_t)kept * sizeof *sums);
    for (int64_t r = 0; r < rows; r += STRIP) {
        const int64_t height = least(STRIP, rows - r);
        int64_t k = 0;
        for (; k + STRIP <= kept; k += STRIP)
            add_strip(src + r * pitch + k, height, pitch, STRIP, sums + k);
        if (k < kept) add_strip(src + r * pitch + k, height, pitch, kept - k, sums + k);
    }
}

/** Summed rows of kept columns: parts of rows into scratch, then the parts. */
static pumit_status sum_rows(pumit__cpu_device *device, const pumit_reduce_args *args,
                             const sum_shape *s)
{
    /* Where the batch keeps the threads busy its sums are not cut. */
    const int64_t kept = s->kept, most = PUMIT__CPU_PARTS / least(s->batch, PUMIT__CPU_PARTS);
    const int64_t size = s->rows / most + 1;
    const int64_t parts = (s->rows + size - 1) / size, all = s->batch * parts;
    const float *src = args->src;
    float *dst = args->dst;
    double *sums = pumit__cpu_scratch(device, all * kept * (int64_t)sizeof *sums);
    if (!sums) return PUMIT_ERROR_OUT_OF_MEMORY;
#pragma omp parallel for schedule(static) if (s->batch * s->rows * kept >= PUMIT__CPU_SERIAL)
    for (int64_t i = 0; i < all; i++) {
        const int64_t b = i / parts, first = i % parts * size;
        add_rows(src + (b * s->rows + first) * s->pitch, least(size, s->rows - first), s->pitch,
                 kept, sums + i * kept);
    }
#pragma omp parallel for schedule(static) if (all * kept >= PUMIT__CPU_SERIAL)
    for (int64_t i = 0; i < s->batch * kept; i++) {
        double sum = 0;
        for (int64_t p = 0; p < parts; p++) sum += sums[(i / kept * parts + p) * kept + i % kept];
        put(dst + i, sum, args);
    }
    return PUMIT_OK;
}

pumit_status PUMIT__CPU_KERNEL(reduce_sum)(pumit__cpu_device *device, const pumit_reduce_args *args)
{
    sum_shape s;
    if (!describe(args, &s)) return PUMIT_DECLINED;
    if (s.batch * s.rows * s.kept * s.tail <= 0) return PUMIT_DECLINED;
    if (s.rows == 1 && s.batch * s.kept == 1) {
        sum_all(args, s.tail);
    } else if (s.tail > 1) {
        sum_tails(args, &s);
    } else {
        return sum_rows(device, args, &s);
    }
    return PUMIT_OK;
}
