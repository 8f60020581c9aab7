/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/data/filter.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The triangle around `centre`, cut at the image's edges and made to sum to 1; its first weight is not 0. */
static void set_weights(float *weight, int64_t *first, int64_t taps, double centre, double radius,
                        int64_t length)
{
    int64_t from = (int64_t)floor(centre - radius + 0.5);
    if (from > length - taps) from = length - taps;
    if (from < 0) from = 0;
    double sum = 0;
    for (int64_t t = 0; t < taps; t++) {
        const double w = 1 - fabs((double)(from + t) + 0.5 - centre) / radius;
        weight[t] = w > 0 ? (float)w : 0;
        sum += weight[t];
    }
    for (int64_t t = 0; t < taps; t++) weight[t] = (float)(weight[t] / sum);
    int64_t zeros = 0;
    while (zeros + 1 < taps && weight[zeros] == 0) zeros++;
    memmove(weight, weight + zeros, (size_t)(taps - zeros) * sizeof *weight);
    memset(weight + taps - zeros, 0, (size_t)zeros * sizeof *weight);
    *first = from + zeros;
}

static int64_t used_taps(const float *weight, int64_t taps)
{
    while (taps > 1 && weight[taps - 1] == 0) taps--;
    return taps;
}

/* Leaves out the taps that nobody uses, so that no voxel is read in vain. */
static void trim(pumit__filter *f)
{
    const int64_t stride = f->taps;
    f->low = f->first[0];
    f->high = f->taps = 0;
    for (int64_t i = 0; i < f->count; i++) {
        const int64_t used = used_taps(f->weight + i * stride, stride);
        if (f->first[i] < f->low) f->low = f->first[i];
        if (f->first[i] + used > f->high) f->high = f->first[i] + used;
        if (used > f->taps) f->taps = used;
    }
    for (int64_t i = 0; i < f->count; i++) {
        float *const to = f->weight + i * f->taps;
        const int64_t over = f->first[i] + f->taps - f->high, shift = over > 0 ? over : 0;
        const int64_t kept = f->taps - shift;
        memmove(to + shift, f->weight + i * stride, (size_t)kept * sizeof *to);
        memset(to, 0, (size_t)shift * sizeof *to);
        f->first[i] -= f->low + shift;
    }
}

pumit_status pumit__filter_build(pumit__filter *f, int64_t length, int64_t count, double start,
                                 double step, bool flip)
{
    const double radius = step > 1 ? step : 1;
    const int64_t wide = 2 * (int64_t)ceil(radius) + 1;
    f->count = count;
    f->taps = wide < length ? wide : length;
    if (!pumit__grow(&f->first, &f->first_capacity, count, sizeof *f->first) ||
        !pumit__grow(&f->weight, &f->weight_capacity, count * f->taps, sizeof *f->weight))
        return pumit__fail_memory(count * f->taps * (int64_t)sizeof *f->weight, "a filter");
    for (int64_t i = 0; i < count; i++) {
        const double place = start + ((double)(flip ? count - 1 - i : i) + 0.5) * step;
        const double centre = fmin(fmax(place, 0.5), (double)length - 0.5);
        set_weights(f->weight + i * f->taps, &f->first[i], f->taps, centre, radius, length);
    }
    trim(f);
    return PUMIT_OK;
}

void pumit__filter_free(pumit__filter *filter)
{
    free(filter->first);
    free(filter->weight);
    *filter = (pumit__filter){0};
}

bool pumit__filter_copies(const pumit__filter *f)
{
    if (f->high - f->low != f->count) return false;
    for (int64_t i = 0; i < f->count; i++) {
        const int64_t tap = i - f->first[i];
        if (tap < 0 || tap >= f->taps || f->weight[i * f->taps + tap] != 1) return false;
    }
    return true;
}

/* Rows of single voxels: a few products each. */
static void apply_to_rows(float *dst, const float *src, const pumit__filter *f, int64_t outer)
{
    const int64_t length = f->high - f->low, taps = f->taps;
    for (int64_t o = 0; o < outer; o++, src += length)
        for (int64_t i = 0; i < f->count; i++) {
            const float *const from = src + f->first[i], *const weight = f->weight + i * taps;
            float sum = 0;
            for (int64_t t = 0; t < taps; t++) sum += weight[t] * from[t];
            *dst++ = sum;
        }
}

static void add_scaled(float *restrict dst, const float *restrict src, float weight, int64_t count)
{
#pragma omp simd
    for (int64_t k = 0; k < count; k++) dst[k] += weight * src[k];
}

static void set_scaled(float *restrict dst, const float *restrict src, float weight, int64_t count)
{
#pragma omp simd
    for (int64_t k = 0; k < count; k++) dst[k] = weight * src[k];
}

void pumit__filter_apply(float *dst, const float *src, const pumit__filter *f, int64_t outer,
                         int64_t inner)
{
    const int64_t length = f->high - f->low;
    if (inner == 1) {
        apply_to_rows(dst, src, f, outer);
        return;
    }
    for (int64_t o = 0; o < outer; o++)
        for (int64_t i = 0; i < f->count; i++) {
            float *const to = dst + (o * f->count + i) * inner;
            const float *const weight = f->weight + i * f->taps;
            const float *const from = src + (o * length + f->first[i]) * inner;
            set_scaled(to, from, weight[0], inner);
            for (int64_t t = 1; t < f->taps; t++)
                if (weight[t] != 0) add_scaled(to, from + t * inner, weight[t], inner);
        }
}
