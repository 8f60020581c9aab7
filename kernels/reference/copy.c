/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Strided copy with conversion between all element types, and fill.
 *
 * Rounding is to nearest, ties to even, once: from double to f16 without a stop at f32. Integers
 * saturate; from a float they round to nearest even first, and NaN becomes 0. f16 is IEEE 754
 * binary16, bf16 the upper half of binary32; both overflow to infinity. Integer to integer never
 * passes through a float.
 */
#include "reference.h"

static int64_t size_of(int32_t dtype)
{
    switch (dtype) {
    case PUMIT_F32:
    case PUMIT_I32:
        return 4;
    case PUMIT_F64:
    case PUMIT_I64:
        return 8;
    case PUMIT_F16:
    case PUMIT_BF16:
    case PUMIT_I16:
        return 2;
    case PUMIT_U8:
        return 1;
    default:
        return 0;
    }
}

static int is_integer(int32_t dtype)
{
    return dtype == PUMIT_U8 || dtype == PUMIT_I16 || dtype == PUMIT_I32 || dtype == PUMIT_I64;
}

static double half_to_double(uint16_t bits)
{
    const int exponent = bits >> 10 & 31;
    const int fraction = bits & 1023;
    double value;
    if (exponent == 31) {
        value = fraction ? (double)NAN : (double)INFINITY;
    } else if (exponent == 0) {
        value = ldexp(fraction, -24);
    } else {
        value = ldexp(1024 + fraction, exponent - 25);
    }
    return bits & 0x8000 ? -value : value;
}

/* To the nearest number of `digits` binary digits whose last digit is worth at least 2^lowest. */
static double round_to_digits(double value, int digits, int lowest)
{
    int exponent;
    if (!isfinite(value) || value == 0) return value;
    frexp(value, &exponent);
    const int unit = exponent - digits > lowest ? exponent - digits : lowest;
    return ldexp(nearbyint(ldexp(value, -unit)), unit);
}

static uint16_t double_to_half(double value)
{
    const uint16_t sign = signbit(value) ? 0x8000 : 0;
    const double magnitude = fabs(round_to_digits(value, 11, -24));
    if (isnan(magnitude)) return sign | 0x7e00;
    if (magnitude > 65504) return sign | 0x7c00;
    if (magnitude < 0x1p-14) return sign | (uint16_t)ldexp(magnitude, 24);
    int exponent;
    const double fraction = frexp(magnitude, &exponent); /* in [0.5, 1) */
    return sign | (uint16_t)((exponent + 14) << 10) | (uint16_t)(ldexp(fraction, 11) - 1024);
}

static double bfloat_to_double(uint16_t bits)
{
    const uint32_t word = (uint32_t)bits << 16;
    float value;
    memcpy(&value, &word, sizeof value);
    return value;
}

static uint16_t double_to_bfloat(double value)
{
    if (isnan(value)) return signbit(value) ? 0xffc0 : 0x7fc0;
    const float rounded = (float)round_to_digits(value, 8, -133);
    uint32_t word;
    memcpy(&word, &rounded, sizeof word);
    return (uint16_t)(word >> 16);
}

static double load_float(const void *array, int32_t dtype, int64_t i)
{
    switch (dtype) {
    case PUMIT_F32:
        return ((const float *)array)[i];
    case PUMIT_F64:
        return ((const double *)array)[i];
    case PUMIT_F16:
        return half_to_double(((const uint16_t *)array)[i]);
    default:
        return bfloat_to_double(((const uint16_t *)array)[i]);
    }
}

static int64_t load_integer(const void *array, int32_t dtype, int64_t i)
{
    switch (dtype) {
    case PUMIT_U8:
        return ((const uint8_t *)array)[i];
    case PUMIT_I16:
        return ((const int16_t *)array)[i];
    case PUMIT_I32:
        return ((const int32_t *)array)[i];
    default:
        return ((const int64_t *)array)[i];
    }
}

static int64_t clamp(int64_t value, int64_t low, int64_t high)
{
    return value < low ? low : value > high ? high : value;
}

static void store_integer(void *array, int32_t dtype, int64_t i, int64_t value)
{
    switch (dtype) {
    case PUMIT_U8:
        ((uint8_t *)array)[i] = (uint8_t)clamp(value, 0, UINT8_MAX);
        break;
    case PUMIT_I16:
        ((int16_t *)array)[i] = (int16_t)clamp(value, INT16_MIN, INT16_MAX);
        break;
    case PUMIT_I32:
        ((int32_t *)array)[i] = (int32_t)clamp(value, INT32_MIN, INT32_MAX);
        break;
    case PUMIT_I64:
        ((int64_t *)array)[i] = value;
        break;
    case PUMIT_F32:
        ((float *)array)[i] = (float)value;
        break;
    case PUMIT_F64:
        ((double *)array)[i] = (double)value;
        break;
    case PUMIT_F16:
        ((uint16_t *)array)[i] = double_to_half((double)value);
        break;
    default:
        ((uint16_t *)array)[i] = double_to_bfloat((double)value);
        break;
    }
}

static int64_t double_to_integer(double value)
{
    if (isnan(value)) return 0;
    if (value >= 0x1p63) return INT64_MAX;
    if (value < -0x1p63) return INT64_MIN;
    return (int64_t)nearbyint(value);
}

static void store_float(void *array, int32_t dtype, int64_t i, double value)
{
    switch (dtype) {
    case PUMIT_F32:
        ((float *)array)[i] = (float)value;
        break;
    case PUMIT_F64:
        ((double *)array)[i] = value;
        break;
    case PUMIT_F16:
        ((uint16_t *)array)[i] = double_to_half(value);
        break;
    case PUMIT_BF16:
        ((uint16_t *)array)[i] = double_to_bfloat(value);
        break;
    default:
        store_integer(array, dtype, i, double_to_integer(value));
        break;
    }
}

static int64_t add_saturated(int64_t a, int64_t b)
{
    if (b > 0 && a > INT64_MAX - b) return INT64_MAX;
    if (b < 0 && a < INT64_MIN - b) return INT64_MIN;
    return a + b;
}

static void copy_element(const pumit_copy_args *args, int64_t from, int64_t to)
{
    if (is_integer(args->src_dtype)) {
        int64_t value = load_integer(args->src, args->src_dtype, from);
        if (args->accumulate && is_integer(args->dst_dtype)) {
            value = add_saturated(value, load_integer(args->dst, args->dst_dtype, to));
        } else if (args->accumulate) {
            store_float(args->dst, args->dst_dtype, to,
                        load_float(args->dst, args->dst_dtype, to) + (double)value);
            return;
        }
        store_integer(args->dst, args->dst_dtype, to, value);
        return;
    }
    double value = load_float(args->src, args->src_dtype, from);
    if (args->accumulate) {
        value += is_integer(args->dst_dtype) ? (double)load_integer(args->dst, args->dst_dtype, to)
                                             : load_float(args->dst, args->dst_dtype, to);
    }
    store_float(args->dst, args->dst_dtype, to, value);
}

pumit_status NAME(copy)(void *device, const pumit_copy_args *args)
{
    const int32_t ndim = args->ndim;
    const int64_t size = size_of(args->src_dtype);
    if (size == 0 || size_of(args->dst_dtype) == 0) return PUMIT_ERROR_INVALID_ARGUMENT;
    if (ndim < 0 || ndim > PUMIT_MAX_DIMS) return PUMIT_ERROR_INVALID_ARGUMENT;
    const int same = args->src_dtype == args->dst_dtype && !args->accumulate;
    const int64_t row = ndim > 0 ? args->shape[ndim - 1] : 1;
    const int64_t rows = count_of(ndim - 1, args->shape), count = rows * row;
    const int64_t src_step = ndim > 0 ? args->src_stride[ndim - 1] : 1;
    const int64_t dst_step = ndim > 0 ? args->dst_stride[ndim - 1] : 1;
#pragma omp parallel for num_threads(team(device, count))
    for (int64_t r = 0; r < rows; r++) {
        const int64_t from = offset_of(r, ndim - 1, args->shape, args->src_stride);
        const int64_t to = offset_of(r, ndim - 1, args->shape, args->dst_stride);
        for (int64_t i = 0; i < row; i++) {
            const int64_t s = from + i * src_step, d = to + i * dst_step;
            if (same) { /* bit for bit, NaN payloads included */
                memcpy((char *)args->dst + d * size, (const char *)args->src + s * size,
                       (size_t)size);
            } else {
                copy_element(args, s, d);
            }
        }
    }
    return PUMIT_OK;
}

pumit_status NAME(fill)(void *device, const pumit_fill_args *args)
{
    (void)device;
    real *dst = args->dst;
    for (int64_t i = 0; i < args->n; i++) dst[i] = (real)args->value;
    return PUMIT_OK;
}
