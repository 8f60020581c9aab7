/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/data/degrade.h"

#include <math.h>
#include <string.h>

#define MOST_REACH 8 /* voxels on either side of a Gaussian */

void pumit__add_noise(float *values, const int64_t size[3], int64_t channels, double deviation,
                      uint64_t seed, uint64_t stream)
{
    const int64_t count = size[0] * size[1] * size[2] * channels;
    for (int64_t i = 0; i < count; i++) {
        const double noise = pumit__random_normal(seed, stream, (uint64_t)i);
        values[i] = fminf(fmaxf(values[i] + (float)(deviation * noise), 0), 1);
    }
}

/* An axis as (outer, length, inner). */
typedef struct {
    int64_t outer, length, inner;
} lines;

static lines lines_of(const int64_t size[3], int64_t channels, int axis)
{
    lines l = {1, size[axis], channels};
    for (int i = 0; i < axis; i++) l.outer *= size[i];
    for (int i = axis + 1; i < 3; i++) l.inner *= size[i];
    return l;
}

static int64_t within(int64_t i, int64_t length)
{
    return i < 0 ? 0 : i < length ? i : length - 1;
}

static void filter_axis(float *dst, const float *src, const lines *l, const float *weight,
                        int64_t reach)
{
    for (int64_t o = 0; o < l->outer; o++)
        for (int64_t i = 0; i < l->length; i++) {
            float *const to = dst + (o * l->length + i) * l->inner;
            memset(to, 0, (size_t)l->inner * sizeof *to);
            for (int64_t r = -reach; r <= reach; r++) {
                const float *const from =
                    src + (o * l->length + within(i + r, l->length)) * l->inner;
                const float w = weight[r + reach];
                for (int64_t k = 0; k < l->inner; k++) to[k] += w * from[k];
            }
        }
}

void pumit__blur(float *values, float *scratch, const int64_t size[3], int64_t channels,
                 double deviation, const bool chosen[3])
{
    float weight[2 * MOST_REACH + 1];
    const int64_t reach = (int64_t)fmin(ceil(3 * deviation), MOST_REACH);
    double sum = 0;
    for (int64_t r = -reach; r <= reach; r++)
        sum += exp(-(double)(r * r) / (2 * deviation * deviation));
    for (int64_t r = -reach; r <= reach; r++)
        weight[r + reach] = (float)(exp(-(double)(r * r) / (2 * deviation * deviation)) / sum);
    const size_t bytes = (size_t)(size[0] * size[1] * size[2] * channels) * sizeof *values;
    for (int axis = 0; axis < 3; axis++) {
        if (!chosen[axis] || size[axis] == 1) continue;
        const lines l = lines_of(size, channels, axis);
        memcpy(scratch, values, bytes);
        filter_axis(values, scratch, &l, weight, reach);
    }
}

/* Voxel i lies at (i + 1/2) / factor - 1/2 of coarse voxels, whose values are those of the voxels nearest to their middles. */
static void coarsen_axis(float *dst, const float *src, const lines *l, double factor)
{
    for (int64_t i = 0; i < l->length; i++) {
        const double place = ((double)i + 0.5) / factor - 0.5, left = floor(place);
        const float share = (float)(place - left);
        const int64_t a = within((int64_t)floor((left + 0.5) * factor), l->length);
        const int64_t b = within((int64_t)floor((left + 1.5) * factor), l->length);
        for (int64_t o = 0; o < l->outer; o++) {
            const float *const first = src + (o * l->length + a) * l->inner;
            const float *const second = src + (o * l->length + b) * l->inner;
            float *const to = dst + (o * l->length + i) * l->inner;
            for (int64_t k = 0; k < l->inner; k++)
                to[k] = first[k] + share * (second[k] - first[k]);
        }
    }
}

void pumit__lower_resolution(float *values, float *scratch, const int64_t size[3], int64_t channels,
                             double factor, const bool chosen[3])
{
    const size_t bytes = (size_t)(size[0] * size[1] * size[2] * channels) * sizeof *values;
    for (int axis = 0; axis < 3; axis++) {
        if (!chosen[axis] || size[axis] == 1) continue;
        const lines l = lines_of(size, channels, axis);
        memcpy(scratch, values, bytes);
        coarsen_axis(values, scratch, &l, factor);
    }
}
