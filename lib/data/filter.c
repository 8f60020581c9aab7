/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/data/filter.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The triangle around `centre`, cut at the image's edges and made to sum to 1. */
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
    *first = from;
}

static void set_range(pumit__filter *f)
{
    f->low = f->first[0];
    f->high = 0;
    for (int64_t i = 0; i < f->count; i++) {
        if (f->first[i] < f->low) f->low = f->first[i];
        if (f->first[i] + f->taps > f->high) f->high = f->first[i] + f->taps;
    }
    for (int64_t i = 0; i < f->count; i++) f->first[i] -= f->low;
}

pumit_status pumit__filter_build(pumit__filter *out, int64_t length, int64_t count, double start,
                                 double step, bool flip)
{
    const double radius = step > 1 ? step : 1;
    const int64_t wide = 2 * (int64_t)ceil(radius) + 1;
    *out = (pumit__filter){.count = count, .taps = wide < length ? wide : length};
    out->first = pumit__calloc(count, sizeof *out->first);
    out->weight = pumit__calloc(count, out->taps * (int64_t)sizeof *out->weight);
    if (!out->first || !out->weight) {
        pumit__filter_free(out);
        return pumit__fail_memory(count * out->taps * (int64_t)sizeof(float), "a filter");
    }
    for (int64_t i = 0; i < count; i++) {
        const double place = start + ((double)(flip ? count - 1 - i : i) + 0.5) * step;
        const double centre = fmin(fmax(place, 0.5), (double)length - 0.5);
        set_weights(out->weight + i * out->taps, &out->first[i], out->taps, centre, radius, length);
    }
    set_range(out);
    return PUMIT_OK;
}

void pumit__filter_free(pumit__filter *filter)
{
    free(filter->first);
    free(filter->weight);
    *filter = (pumit__filter){0};
}

void pumit__filter_apply(float *dst, const float *src, const pumit__filter *f, int64_t outer,
                         int64_t inner)
{
    const int64_t length = f->high - f->low;
    for (int64_t o = 0; o < outer; o++)
        for (int64_t i = 0; i < f->count; i++) {
            float *to = dst + (o * f->count + i) * inner;
            memset(to, 0, (size_t)inner * sizeof *to);
            for (int64_t t = 0; t < f->taps; t++) {
                const float weight = f->weight[i * f->taps + t];
                const float *from = src + (o * length + f->first[i] + t) * inner;
                if (weight == 0) continue;
                for (int64_t k = 0; k < inner; k++) to[k] += weight * from[k];
            }
        }
}
