/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/models/segment_axis.h"

#include <math.h>
#include <stdlib.h>

/* Evenly, the first and the last at the edges; one that is longer than the grid overhangs on both sides. */
static void place_windows(pumit__segment_axis *a)
{
    const int64_t span = a->length - a->window;
    for (int64_t i = 0; i < a->count; i++)
        a->first[i] = a->count == 1
                          ? (int64_t)floor((double)span / 2)
                          : (int64_t)llround((double)i * (double)span / (double)(a->count - 1));
}

/* A bell of an eighth of the window, as in nnU-Net (Isensee et al. 2021): the middle is known best. */
static double bell(const pumit__segment_axis *a, int64_t i, bool gaussian)
{
    const double x = ((double)i - (double)(a->window - 1) / 2) / fmax((double)a->window / 8, 1e-3);
    return gaussian ? exp(-x * x / 2) : 1;
}

/* Windows are a product of the axes' and so are bells: shares can be taken axis by axis, and no sum of weights is kept. */
static void set_weights(pumit__segment_axis *a, double *sum, bool gaussian)
{
    for (int64_t w = 0; w < a->count; w++)
        for (int64_t i = 0; i < a->window; i++) {
            const int64_t at = a->first[w] + i;
            if (at >= 0 && at < a->length) sum[at] += bell(a, i, gaussian);
        }
    for (int64_t w = 0; w < a->count; w++)
        for (int64_t i = 0; i < a->window; i++) {
            const int64_t at = a->first[w] + i;
            a->weight[w * a->window + i] =
                at >= 0 && at < a->length ? (float)(bell(a, i, gaussian) / sum[at]) : 0;
        }
}

/* Linear; beyond the outermost voxels' middles they repeat. */
static void set_shares(pumit__segment_axis *a)
{
    const double last = (double)(a->length - 1);
    for (int64_t i = 0; i < a->source; i++) {
        const double place = ((double)i + 0.5 - a->start) / a->step - 0.5;
        const double inside = fmin(fmax(place, 0), last);
        a->low[i] = (int64_t)inside;
        a->share[i] = (float)(inside - (double)a->low[i]);
    }
}

pumit_status pumit__segment_axis_plan(pumit__segment_axis *a, int64_t source, double step,
                                      int64_t window, double overlap, bool gaussian)
{
    const double length = fmax(round((double)source / step), 1);
    if (!(length <= 0x1p31))
        return pumit__fail(PUMIT_ERROR_LIMIT,
                           "segment: %g voxels along an axis at the model's \"spacing\"", length);
    a->source = source;
    a->length = (int64_t)length;
    a->step = step;
    a->start = ((double)source - length * step) / 2;
    a->window = window;
    const int64_t span = a->length - window;
    const int64_t stride = (int64_t)fmax(floor((double)window * (1 - overlap)), 1);
    a->count = span > 0 ? (span + stride - 1) / stride + 1 : 1;
    a->first = pumit__calloc(a->count, sizeof *a->first);
    a->weight = pumit__calloc(a->count * window, sizeof *a->weight);
    a->low = pumit__calloc(source, sizeof *a->low);
    a->share = pumit__calloc(source, sizeof *a->share);
    double *sum = pumit__calloc(a->length, sizeof *sum);
    const bool got = a->first && a->weight && a->low && a->share && sum;
    if (got) {
        place_windows(a);
        set_weights(a, sum, gaussian);
        set_shares(a);
    }
    free(sum);
    return got ? PUMIT_OK : pumit__fail_memory(a->count * window * 8, "windows");
}

void pumit__segment_axis_free(pumit__segment_axis *axis)
{
    free(axis->first);
    free(axis->weight);
    free(axis->low);
    free(axis->share);
    *axis = (pumit__segment_axis){0};
}

int64_t pumit__segment_axis_last(const pumit__segment_axis *axis, int64_t i)
{
    return axis->low[i] + (axis->share[i] > 0);
}
