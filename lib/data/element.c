/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/data/element.h"

#include <string.h>

int64_t pumit__element_size(pumit__element kind)
{
    switch (kind) {
    case PUMIT__ELEMENT_U8:
    case PUMIT__ELEMENT_I8:
        return 1;
    case PUMIT__ELEMENT_U16:
    case PUMIT__ELEMENT_I16:
    case PUMIT__ELEMENT_F16:
    case PUMIT__ELEMENT_BF16:
        return 2;
    case PUMIT__ELEMENT_U32:
    case PUMIT__ELEMENT_I32:
    case PUMIT__ELEMENT_F32:
        return 4;
    case PUMIT__ELEMENT_U64:
    case PUMIT__ELEMENT_I64:
    case PUMIT__ELEMENT_F64:
        return 8;
    case PUMIT__ELEMENT_NONE:
        break;
    }
    return 0;
}

pumit__element pumit__element_of_dtype(pumit_dtype dtype)
{
    switch (dtype) {
    case PUMIT_F32:
        return PUMIT__ELEMENT_F32;
    case PUMIT_F64:
        return PUMIT__ELEMENT_F64;
    case PUMIT_F16:
        return PUMIT__ELEMENT_F16;
    case PUMIT_BF16:
        return PUMIT__ELEMENT_BF16;
    case PUMIT_U8:
        return PUMIT__ELEMENT_U8;
    case PUMIT_I16:
        return PUMIT__ELEMENT_I16;
    case PUMIT_I32:
        return PUMIT__ELEMENT_I32;
    case PUMIT_I64:
        return PUMIT__ELEMENT_I64;
    default:
        return PUMIT__ELEMENT_NONE;
    }
}

static uint8_t load8(const uint8_t *p, bool swap)
{
    (void)swap;
    return *p;
}

static uint16_t load16(const uint8_t *p, bool swap)
{
    uint16_t bits;
    memcpy(&bits, p, sizeof bits);
    return swap ? __builtin_bswap16(bits) : bits;
}

static uint32_t load32(const uint8_t *p, bool swap)
{
    uint32_t bits;
    memcpy(&bits, p, sizeof bits);
    return swap ? __builtin_bswap32(bits) : bits;
}

static uint64_t load64(const uint8_t *p, bool swap)
{
    uint64_t bits;
    memcpy(&bits, p, sizeof bits);
    return swap ? __builtin_bswap64(bits) : bits;
}

static float float_of_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static double double_of_bits(uint64_t bits)
{
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* IEEE binary16: subnormals are m * 2^-24, the largest exponent is infinity or NaN. */
static float float_of_half(uint16_t bits)
{
    const uint32_t sign = (uint32_t)(bits & 0x8000u) << 16;
    const uint32_t exponent = (bits >> 10) & 31u, mantissa = bits & 1023u;
    if (exponent == 0) return (sign ? -1.0f : 1.0f) * (float)mantissa * 0x1p-24f;
    if (exponent == 31) return float_of_bits(sign | 0x7f800000u | mantissa << 13);
    return float_of_bits(sign | (exponent + 112) << 23 | mantissa << 13);
}

static float float_of_bfloat(uint16_t bits)
{
    return float_of_bits((uint32_t)bits << 16);
}

#define CONVERT(kind, width, value)                                                                \
    case PUMIT__ELEMENT_##kind:                                                                    \
        for (int64_t i = 0; i < count; i++) {                                                      \
            const uint##width##_t bits = load##width(p + i * (width / 8), swap);                   \
            dst[i] = (float)(slope * (double)(value) + intercept);                                 \
        }                                                                                          \
        break;

void pumit__elements_to_float(float *dst, const void *src, int64_t count, pumit__element kind,
                              bool swap, double slope, double intercept)
{
    const uint8_t *p = src;
    switch (kind) {
        CONVERT(U8, 8, bits)
        CONVERT(I8, 8, (int8_t)bits)
        CONVERT(U16, 16, bits)
        CONVERT(I16, 16, (int16_t)bits)
        CONVERT(U32, 32, bits)
        CONVERT(I32, 32, (int32_t)bits)
        CONVERT(U64, 64, bits)
        CONVERT(I64, 64, (int64_t)bits)
        CONVERT(F16, 16, float_of_half(bits))
        CONVERT(BF16, 16, float_of_bfloat(bits))
        CONVERT(F32, 32, float_of_bits(bits))
        CONVERT(F64, 64, double_of_bits(bits))
    case PUMIT__ELEMENT_NONE:
        break;
    }
}
