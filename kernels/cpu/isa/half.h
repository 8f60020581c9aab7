/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of f16 and bf16 to and from f32, rounding to nearest even. */
#ifndef PUMIT_KERNELS_CPU_ISA_HALF_H
#define PUMIT_KERNELS_CPU_ISA_HALF_H

#include "kernels/cpu/isa/math.h"

#ifdef __F16C__
#include <immintrin.h>
#endif

static inline float f16_value(uint16_t half)
{
    const uint32_t sign = (uint32_t)(half & 0x8000u) << 16, rest = half & 0x7fffu;
    /* Shifted into place the exponent is 112 too small; a product with 2^112 also mends subnormals. */
    const float scaled = bits_float(rest << 13) * 0x1p112f;
    const uint32_t bits = rest >= 0x7c00u ? (rest << 13) | 0x7f800000u : float_bits(scaled);
    return bits_float(bits | sign);
}

static inline uint16_t f16_bits(float x)
{
    const uint32_t all = float_bits(x), sign = (all >> 16) & 0x8000u, bits = all & 0x7fffffffu;
    const uint32_t odd = (bits >> 13) & 1u;
    const uint32_t normal = (bits - 0x38000000u + 0xfffu + odd) >> 13;
    /* Below 2^-14 the sum with 1/2 leaves the rounded mantissa in the low bits. */
    const uint32_t small = float_bits(bits_float(bits) + 0.5f) - 0x3f000000u;
    uint32_t half = bits < 0x38800000u ? small : normal;
    half = bits >= 0x477ff000u ? 0x7c00u : half;
    half = bits > 0x7f800000u ? 0x7e00u | (bits >> 13 & 0x3ffu) : half;
    return (uint16_t)(half | sign);
}

static inline uint16_t bf16_bits(float x)
{
    const uint32_t bits = float_bits(x);
    const uint32_t rounded = (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
    return (uint16_t)((bits & 0x7fffffffu) > 0x7f800000u ? bits >> 16 | 0x40u : rounded);
}

static void f16_to_f32(const void *src, void *dst, int64_t n)
{
    const uint16_t *from = src;
    float *to = dst;
    int64_t i = 0;
#ifdef __F16C__
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(to + i, _mm256_cvtph_ps(_mm_loadu_si128((const void *)(from + i))));
#endif
    for (; i < n; i++) to[i] = f16_value(from[i]);
}

static void f32_to_f16(const void *src, void *dst, int64_t n)
{
    const float *from = src;
    uint16_t *to = dst;
    int64_t i = 0;
#ifdef __F16C__
    for (; i + 8 <= n; i += 8)
        _mm_storeu_si128((void *)(to + i),
                         _mm256_cvtps_ph(_mm256_loadu_ps(from + i), _MM_FROUND_TO_NEAREST_INT));
#endif
    for (; i < n; i++) to[i] = f16_bits(from[i]);
}

static void bf16_to_f32(const void *src, void *dst, int64_t n)
{
    const uint16_t *from = src;
    float *to = dst;
#pragma omp simd
    for (int64_t i = 0; i < n; i++) to[i] = bits_float((uint32_t)from[i] << 16);
}

static void f32_to_bf16(const void *src, void *dst, int64_t n)
{
    const float *from = src;
    uint16_t *to = dst;
#pragma omp simd
    for (int64_t i = 0; i < n; i++) to[i] = bf16_bits(from[i]);
}

#endif
