/* SPDX-License-Identifier: Apache-2.0 */
/* Intensities in [0, 1] as little-endian float16. */
#ifndef PUMIT_LIB_DATA_HALF_H
#define PUMIT_LIB_DATA_HALF_H

#include <stdint.h>
#include <string.h>

/* Bits of the float16 nearest to `value`, which must lie in [0, 1]; ties go to the even one. */
static inline uint16_t pumit__half_of(float value)
{
    uint32_t bits;
    if (!(value >= 0x1p-14f)) { /* subnormal: steps of 2^-24, as floats in [0.5, 1) have them */
        const float shifted = value + 0.5f;
        memcpy(&bits, &shifted, sizeof bits);
        return (uint16_t)(bits - 0x3f000000u);
    }
    memcpy(&bits, &value, sizeof bits);
    bits += 0xfffu + (bits >> 13 & 1u);
    return (uint16_t)((bits - (112u << 23)) >> 13);
}

/* In the file's byte order. */
static inline uint16_t pumit__half_stored(uint16_t bits)
{
    return __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? bits : __builtin_bswap16(bits);
}

/* The value of what is stored, clamped to [0, 1]. Without branches, so that loops over it become vector code; the
 * difference of two normal numbers makes subnormal halves. */
static inline float pumit__half_value(uint16_t stored)
{
    const uint16_t half = pumit__half_stored(stored);
    const uint32_t rest = (uint32_t)(half & 0x7fffu) << 13;
    const uint32_t normal = rest + (112u << 23), odd = rest + (113u << 23);
    float large, small;
    memcpy(&large, &normal, sizeof large);
    memcpy(&small, &odd, sizeof small);
    small -= 0x1p-14f;
    const float size = rest < (1u << 23) ? small : large;
    const float value = half & 0x8000u ? 0.0f : size;
    return value < 1 ? value : 1;
}

#endif
