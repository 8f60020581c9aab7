/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Strided copies, filling. f32 to f32 in three ways: rows that both sides hold without gaps, transposes in
 * tiles where the source runs along another axis, single elements otherwise. f16 and bf16 to and from f32
 * row by row.
 */
#include "kernels/cpu/isa/half.h"
#include "kernels/cpu/isa/isa.h"
#include "kernels/cpu/isa/lanes.h"
#include "kernels/cpu/walk.h"

#include <string.h>

/** Rows of a transpose that go together: two cache lines of each source row. */
#define STRIP 32

static void copy_row(float *dst, const float *src, int64_t n, int accumulate)
{
    if (!accumulate) {
        memcpy(dst, src, (size_t)n * sizeof *dst);
        return;
    }
#pragma omp simd
    for (int64_t i = 0; i < n; i++) dst[i] += src[i];
}

static void copy_strided(float *dst, int64_t dst_stride, const float *src, int64_t src_stride,
                         int64_t n, int accumulate)
{
    if (accumulate) {
        for (int64_t i = 0; i < n; i++) dst[i * dst_stride] += src[i * src_stride];
    } else {
        for (int64_t i = 0; i < n; i++) dst[i * dst_stride] = src[i * src_stride];
    }
}

/** dst[r * dst_stride + c] (+)= src[c * src_stride + r] for a full tile. */
static void transpose_tile(float *dst, int64_t dst_stride, const float *src, int64_t src_stride,
                           int accumulate)
{
    lanes row[LANES];
    for (int c = 0; c < LANES; c++) row[c] = load_lanes(src + c * src_stride);
    transpose_lanes(row);
    for (int r = 0; r < LANES; r++) {
        float *to = dst + r * dst_stride;
        store_lanes(to, accumulate ? load_lanes(to) + row[r] : row[r]);
    }
}

/** dst (rows x cols, rows dst_stride apart) (+)= the transpose of src (cols x rows). */
static void transpose(float *dst, int64_t dst_stride, const float *src, int64_t src_stride,
                      int64_t rows, int64_t cols, int accumulate)
{
    for (int64_t c = 0; c < cols; c += LANES) {
        for (int64_t r = 0; r < rows; r += LANES) {
            const int64_t height = least(LANES, rows - r);
            if (height == LANES && cols - c >= LANES) {
                transpose_tile(dst + r * dst_stride + c, dst_stride, src + c * src_stride + r,
                               src_stride, accumulate);
                continue;
            }
            for (int64_t i = r; i < r + height; i++)
                copy_strided(dst + i * dst_stride + c, 1, src + c * src_stride + i, src_stride,
                             least(LANES, cols - c), accumulate);
        }
    }
}

/** The axis other than the last along which src lies without gaps, or -1. */
static int32_t transposed_axis(const pumit__walk *walk)
{
    const int32_t last = walk->ndim - 1;
    if (walk->stride[1][last] != 1 || walk->shape[last] < 4) return -1;
    for (int32_t d = last - 1; d >= 0; d--)
        if (walk->stride[0][d] == 1 && walk->shape[d] >= 4) return d;
    return -1;
}

/** The walk over all axes but `axis` and the last: one transpose for each of its places. */
static void transpose_all(const pumit__walk *walk, int32_t axis, const float *src, float *dst,
                          int accumulate)
{
    const int32_t last = walk->ndim - 1;
    pumit__walk outer = {.ndim = 1, .operands = 2};
    for (int32_t d = 0; d < last; d++) {
        if (d == axis) continue;
        outer.shape[outer.ndim - 1] = walk->shape[d];
        outer.stride[0][outer.ndim - 1] = walk->stride[0][d];
        outer.stride[1][outer.ndim - 1] = walk->stride[1][d];
        outer.ndim++;
    }
    const int64_t places = pumit__walk_rows(&outer), rows = walk->shape[axis];
    const int64_t dst_stride = walk->stride[1][axis], src_stride = walk->stride[0][last];
    const int64_t strips = (rows + STRIP - 1) / STRIP, cols = walk->shape[last];
#pragma omp parallel for schedule(static) if (places * rows * cols >= PUMIT__CPU_SERIAL)
    for (int64_t i = 0; i < places * strips; i++) {
        pumit__walk_place place;
        pumit__walk_seek(&outer, i / strips, &place);
        const int64_t r = i % strips * STRIP;
        transpose(dst + place.offset[1] + r * dst_stride, dst_stride, src + place.offset[0] + r,
                  src_stride, least(STRIP, rows - r), cols, accumulate);
    }
}

/** Rows along the last axis. A single long row is cut into pieces first. */
static void copy_rows(pumit__walk *walk, const float *src, float *dst, int accumulate)
{
    const int32_t last = walk->ndim - 1;
    const int64_t ss = walk->stride[0][last], ds = walk->stride[1][last];
    const int64_t inner = walk->shape[last], rows = pumit__walk_rows(walk);
    const int64_t size = least(inner, PUMIT__CPU_PIECE), pieces = (inner + size - 1) / size;
    const int64_t step = size < PUMIT__CPU_PIECE ? PUMIT__CPU_PIECE / size : 1;
#pragma omp parallel for schedule(static) if (rows * inner >= PUMIT__CPU_SERIAL)
    for (int64_t first = 0; first < rows * pieces; first += step) {
        pumit__walk_place place;
        pumit__walk_seek(walk, first / pieces, &place);
        for (int64_t i = first; i < least(rows * pieces, first + step); i++) {
            const int64_t at = i % pieces * size, n = least(size, inner - at);
            const float *from = src + place.offset[0] + at * ss;
            float *to = dst + place.offset[1] + at * ds;
            if (ss == 1 && ds == 1) {
                copy_row(to, from, n, accumulate);
            } else {
                copy_strided(to, ds, from, ss, n, accumulate);
            }
            if ((i + 1) % pieces == 0) pumit__walk_next(walk, &place);
        }
    }
}

typedef void (*convert_fn)(const void *src, void *dst, int64_t n);

static convert_fn conversion(int32_t from, int32_t to)
{
    if (from == PUMIT_F16 && to == PUMIT_F32) return f16_to_f32;
    if (from == PUMIT_BF16 && to == PUMIT_F32) return bf16_to_f32;
    if (from == PUMIT_F32 && to == PUMIT_F16) return f32_to_f16;
    if (from == PUMIT_F32 && to == PUMIT_BF16) return f32_to_bf16;
    return NULL;
}

/** Packed on both sides and nothing added: the only conversions that come often. */
static pumit_status convert(const pumit_copy_args *args, const pumit__walk *walk)
{
    const convert_fn run = conversion(args->src_dtype, args->dst_dtype);
    const int64_t n = walk->shape[0];
    if (!run || args->accumulate || walk->ndim != 1 || walk->stride[0][0] != 1 ||
        walk->stride[1][0] != 1)
        return PUMIT_DECLINED;
    const int64_t from = args->src_dtype == PUMIT_F32 ? 4 : 2;
    const int64_t to = args->dst_dtype == PUMIT_F32 ? 4 : 2;
    const char *src = args->src;
    char *dst = args->dst;
#pragma omp parallel for schedule(static) if (n >= PUMIT__CPU_SERIAL)
    for (int64_t i = 0; i < n; i += PUMIT__CPU_PIECE)
        run(src + i * from, dst + i * to, least(PUMIT__CPU_PIECE, n - i));
    return PUMIT_OK;
}

pumit_status PUMIT__CPU_KERNEL(copy)(pumit__cpu_device *device, const pumit_copy_args *args)
{
    (void)device;
    const int64_t *strides[] = {args->src_stride, args->dst_stride};
    pumit__walk walk;
    pumit__walk_init(&walk, args->ndim, args->shape, 2, strides);
    if (pumit__walk_count(&walk) <= 0) return PUMIT_OK;
    if (args->src_dtype != PUMIT_F32 || args->dst_dtype != PUMIT_F32) return convert(args, &walk);
    const int32_t axis = transposed_axis(&walk);
    if (axis >= 0) {
        transpose_all(&walk, axis, args->src, args->dst, args->accumulate);
    } else {
        copy_rows(&walk, args->src, args->dst, args->accumulate);
    }
    return PUMIT_OK;
}

pumit_status PUMIT__CPU_KERNEL(fill)(pumit__cpu_device *device, const pumit_fill_args *args)
{
    (void)device;
    float *dst = args->dst;
    const int64_t n = args->n;
    const float value = (float)args->value;
#pragma omp parallel for simd schedule(static) if (n >= PUMIT__CPU_SERIAL)
    for (int64_t i = 0; i < n; i++) dst[i] = value;
    return PUMIT_OK;
}
