/* SPDX-License-Identifier: Apache-2.0 */
/* Vectors of the instruction set's width, for what loops do not express well: products in registers, transposes. */
#ifndef PUMIT_KERNELS_CPU_ISA_LANES_H
#define PUMIT_KERNELS_CPU_ISA_LANES_H

#include <stddef.h>
#include <stdint.h>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX2__)
#define LANES 8
#else
#define LANES 4
#endif

/** A vector from f(lane, step). */
#if LANES == 16
#define EACH_LANE(f, s)                                                                            \
    {                                                                                              \
        f(0, s), f(1, s), f(2, s), f(3, s), f(4, s), f(5, s), f(6, s), f(7, s), f(8, s), f(9, s),  \
            f(10, s), f(11, s), f(12, s), f(13, s), f(14, s), f(15, s)                             \
    }
#elif LANES == 8
#define EACH_LANE(f, s)                                                                            \
    {                                                                                              \
        f(0, s), f(1, s), f(2, s), f(3, s), f(4, s), f(5, s), f(6, s), f(7, s)                     \
    }
#else
#define EACH_LANE(f, s)                                                                            \
    {                                                                                              \
        f(0, s), f(1, s), f(2, s), f(3, s)                                                         \
    }
#endif

typedef float lanes __attribute__((vector_size(4 * LANES)));
typedef int32_t lane_index __attribute__((vector_size(4 * LANES)));
typedef float loose_lanes __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

static inline lanes load_lanes(const float *from)
{
    return (lanes) * (const loose_lanes *)from;
}

/** The first `count` lanes, zeros beyond. */
static inline lanes load_first(const float *from, int64_t count)
{
    lanes x = {0};
    if (count >= LANES) return load_lanes(from);
    __builtin_memcpy(&x, from, (size_t)count * sizeof *from);
    return x;
}

static inline void store_lanes(float *to, lanes x)
{
    *(loose_lanes *)to = (loose_lanes)x;
}

/** The first `count` lanes; what lies beyond stays. */
static inline void store_first(float *to, lanes x, int64_t count)
{
    if (count >= LANES) {
        store_lanes(to, x);
    } else {
        __builtin_memcpy(to, &x, (size_t)count * sizeof *to);
    }
}

static inline lanes lanes_multiply_add(lanes a, lanes b, lanes c)
{
#if defined(__AVX512F__)
    return (lanes)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__FMA__)
    return (lanes)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#else
    return a * b + c;
#endif
}

static inline lanes lanes_max(lanes a, lanes b)
{
#if defined(__AVX512F__)
    return (lanes)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__)
    return (lanes)_mm256_max_ps((__m256)a, (__m256)b);
#else
    const lane_index larger = a > b;
    return (lanes)(((lane_index)a & larger) | ((lane_index)b & ~larger));
#endif
}

/** Lane i of the result is lane from[i] of a, b taken as one. Constant `from`: one or two instructions. */
static inline __attribute__((always_inline)) lanes pick_lanes(lanes a, lanes b, lane_index from)
{
#ifdef __clang__
    lanes result;
    for (int i = 0; i < LANES; i++)
        result[i] = from[i] < LANES ? a[from[i] % LANES] : b[from[i] % LANES];
    return result;
#else
    return __builtin_shuffle(a, b, from);
#endif
}

#define LOW(lane, step)  ((lane) & (step) ? LANES + (lane) - (step) : (lane))
#define HIGH(lane, step) ((lane) & (step) ? LANES + (lane) : (lane) + (step))

/** Exchanges the off-diagonal halves of all 2 x 2 blocks of size `step`. */
static inline __attribute__((always_inline)) void transpose_step(lanes row[LANES], const int step)
{
    const lane_index low = EACH_LANE(LOW, step), high = EACH_LANE(HIGH, step);
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++) {
        if (i & step) continue;
        const lanes a = row[i], b = row[i + step];
        row[i] = pick_lanes(a, b, low);
        row[i + step] = pick_lanes(a, b, high);
    }
}

/** row[i][j] <-> row[j][i] */
static inline __attribute__((always_inline)) void transpose_lanes(lanes row[LANES])
{
#pragma GCC unroll 4
    for (int step = 1; step < LANES; step *= 2) transpose_step(row, step);
}

#endif
