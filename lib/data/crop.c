/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/data/crop.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Rounding may put a voxel this far outside of the image; in voxels. */
#define EDGE 1e-6

/* ------------------------------------------------------------------------------------------- memory */

enum { SOURCE, WIDE, FLAT };

static pumit_status reserve(pumit__crop_scratch *scratch, int which, int64_t values)
{
    if (pumit__grow(&scratch->buffer[which].data, &scratch->buffer[which].capacity, values,
                    sizeof(float)))
        return PUMIT_OK;
    return pumit__fail_memory(values * (int64_t)sizeof(float), "a crop");
}

void pumit__crop_scratch_free(pumit__crop_scratch *scratch)
{
    for (int i = 0; i < 3; i++) {
        pumit__filter_free(&scratch->filter[i]);
        free(scratch->buffer[i].data);
    }
    *scratch = (pumit__crop_scratch){0};
}

int64_t pumit__crop_channels(const pumit_volume *volume, int64_t channels)
{
    return volume->shape[3] == 1 ? 1 : channels;
}

void pumit__repeat_gray(float *dst, const float *src, int64_t count, int64_t channels)
{
    if (channels == 3)
        for (int64_t i = 0; i < count; i++) dst[3 * i] = dst[3 * i + 1] = dst[3 * i + 2] = src[i];
    else
        for (int64_t i = 0; i < count; i++)
            for (int64_t c = 0; c < channels; c++) dst[i * channels + c] = src[i];
}

/* ----------------------------------------------------------------------------- crops along the axes */

static pumit_status build_filters(pumit__filter filter[3], const pumit_volume *volume,
                                  const pumit__crop *crop)
{
    for (int i = 0; i < 3; i++)
        PUMIT__TRY(pumit__filter_build(&filter[i], volume->shape[i], crop->size[i], crop->start[i],
                                       crop->step[i], crop->flip[i]));
    return PUMIT_OK;
}

/* W, then H, then D, from one buffer to another; what an axis leaves alone is not copied. */
static pumit_status resample(float *dst, const pumit_volume *volume, const pumit__window *window,
                             const pumit__crop *crop, int64_t channels,
                             pumit__crop_scratch *scratch)
{
    const pumit__filter *const f = scratch->filter;
    PUMIT__TRY(build_filters(scratch->filter, volume, crop));
    const int64_t depth = f[0].high - f[0].low, height = f[1].high - f[1].low,
                  width = f[2].high - f[2].low;
    const int64_t rows = depth * height * channels, plane = f[2].count * channels;
    const int64_t low[3] = {f[0].low, f[1].low, f[2].low},
                  high[3] = {f[0].high, f[1].high, f[2].high};
    PUMIT__TRY(reserve(scratch, SOURCE, rows * width));
    PUMIT__TRY(reserve(scratch, WIDE, rows * f[2].count));
    PUMIT__TRY(reserve(scratch, FLAT, depth * f[1].count * plane));
    float *from = scratch->buffer[SOURCE].data;
    PUMIT__TRY(pumit__volume_box(from, volume, window, low, high, channels));
    if (!pumit__filter_copies(&f[2])) {
        pumit__filter_apply(scratch->buffer[WIDE].data, from, &f[2], depth * height, channels);
        from = scratch->buffer[WIDE].data;
    }
    if (!pumit__filter_copies(&f[1])) {
        pumit__filter_apply(scratch->buffer[FLAT].data, from, &f[1], depth, plane);
        from = scratch->buffer[FLAT].data;
    }
    if (pumit__filter_copies(&f[0]))
        memcpy(dst, from, (size_t)(depth * f[1].count * plane) * sizeof *dst);
    else
        pumit__filter_apply(dst, from, &f[0], 1, f[1].count * plane);
    return PUMIT_OK;
}

/* ------------------------------------------------------------------------------------ turned crops */

/* Source voxels for a step along each axis of the crop (columns): turned in mm, so that nothing shears. */
static void crop_matrix(double m[3][3], const double spacing[3], const pumit__crop *crop)
{
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++) {
            const double turn = crop->turned ? crop->turn[i][j] : i == j;
            /* A flat image's infinite slice spacing takes no part. */
            const double ratio = i == j || turn == 0 ? 1 : spacing[j] / spacing[i];
            m[i][j] = turn * ratio * (crop->flip[j] ? -crop->step[j] : crop->step[j]);
        }
}

void pumit__crop_reach(double reach[3], const pumit_volume *volume, const pumit__crop *crop)
{
    double m[3][3];
    crop_matrix(m, volume->spacing, crop);
    for (int i = 0; i < 3; i++) {
        reach[i] = 0;
        for (int j = 0; j < 3; j++) reach[i] += fabs(m[i][j]) * (double)crop->size[j] / 2;
    }
}

/* The voxels that a turned crop needs, and how to find one's place among them. */
typedef struct {
    double m[3][3],
        corner[3]; /* corner: of voxel (0, 0, 0) of the crop, its middle, in source voxels */
    int64_t low[3], high[3], stride[3], length[3], channels;
    const float *voxels;
} box;

static double clamp(double x, double least, double most)
{
    return !(x > least) ? least : x < most ? x : most;
}

static box plan_box(const pumit_volume *volume, const pumit__crop *crop, int64_t channels)
{
    box b = {.channels = channels};
    crop_matrix(b.m, volume->spacing, crop);
    for (int i = 0; i < 3; i++) {
        double middle = crop->start[i] + crop->step[i] * (double)crop->size[i] / 2, reach = 0;
        b.corner[i] = middle;
        for (int j = 0; j < 3; j++) {
            const double half = (double)(crop->size[j] - 1) / 2 * b.m[i][j];
            b.corner[i] -= half;
            reach += fabs(half);
        }
        const double last = (double)(volume->shape[i] - 1);
        b.length[i] = volume->shape[i];
        b.low[i] = (int64_t)clamp(middle - reach - 0.5 - EDGE, 0, last);
        b.high[i] = (int64_t)clamp(middle + reach - 0.5 + EDGE, 0, last) + 2;
        if (b.high[i] > b.length[i]) b.high[i] = b.length[i];
    }
    b.stride[2] = channels;
    b.stride[1] = (b.high[2] - b.low[2]) * channels;
    b.stride[0] = (b.high[1] - b.low[1]) * b.stride[1];
    return b;
}

/* Between which two voxels of an axis a place lies: the steps to them, and the second one's share. */
typedef struct {
    int64_t first, next;
    float share;
} neighbours;

/* False outside of the image, whose edges reach half a voxel beyond the outermost voxels' middles. */
static bool find(neighbours *n, const box *b, int axis, double place)
{
    const double length = (double)b->length[axis];
    if (!(place >= -EDGE && place <= length + EDGE)) return false;
    const double from = clamp(place - 0.5, 0, length - 1);
    const int64_t whole = (int64_t)from;
    n->first = (whole - b->low[axis]) * b->stride[axis];
    n->share = (float)(from - (double)whole);
    n->next = n->share > 0 && whole + 1 < b->high[axis] ? b->stride[axis] : 0;
    return true;
}

static float bilinear(const float *p, const neighbours *h, const neighbours *w)
{
    const float upper = p[0] + w->share * (p[w->next] - p[0]);
    const float lower = p[h->next] + w->share * (p[h->next + w->next] - p[h->next]);
    return upper + h->share * (lower - upper);
}

static void sample(float *dst, const box *b, const double place[3])
{
    neighbours n[3];
    if (!find(&n[0], b, 0, place[0]) || !find(&n[1], b, 1, place[1]) ||
        !find(&n[2], b, 2, place[2])) {
        for (int64_t c = 0; c < b->channels; c++) dst[c] = 0;
        return;
    }
    const float *from = b->voxels + n[0].first + n[1].first + n[2].first;
    for (int64_t c = 0; c < b->channels; c++) {
        dst[c] = bilinear(from + c, &n[1], &n[2]);
        if (n[0].share > 0)
            dst[c] += n[0].share * (bilinear(from + c + n[0].next, &n[1], &n[2]) - dst[c]);
    }
}

static pumit_status turn(float *dst, const pumit_volume *volume, const pumit__window *window,
                         const pumit__crop *crop, int64_t channels, pumit__crop_scratch *scratch)
{
    box b = plan_box(volume, crop, channels);
    PUMIT__TRY(reserve(scratch, SOURCE, (b.high[0] - b.low[0]) * b.stride[0]));
    float *voxels = scratch->buffer[SOURCE].data;
    PUMIT__TRY(pumit__volume_box(voxels, volume, window, b.low, b.high, channels));
    b.voxels = voxels;
    const double(*m)[3] = (const double(*)[3])b.m;
    for (int64_t row = 0; row < crop->size[0] * crop->size[1]; row++) {
        const double d = (double)(row / crop->size[1]), h = (double)(row % crop->size[1]);
        double first[3];
        for (int i = 0; i < 3; i++) first[i] = b.corner[i] + m[i][0] * d + m[i][1] * h;
        for (int64_t w = 0; w < crop->size[2]; w++, dst += channels) {
            const double x = (double)w;
            const double place[3] = {first[0] + m[0][2] * x, first[1] + m[1][2] * x,
                                     first[2] + m[2][2] * x};
            sample(dst, &b, place);
        }
    }
    return PUMIT_OK;
}

/* The voxel that a place lies in; -1 outside of the image. */
static int64_t voxel_at(const box *b, const double place[3])
{
    int64_t voxel = 0;
    for (int i = 0; i < 3; i++) {
        if (!(place[i] >= 0 && place[i] < (double)b->length[i])) return -1;
        voxel = voxel * b->length[i] + (int64_t)place[i];
    }
    return voxel;
}

void pumit__crop_labels(uint8_t *dst, const uint8_t *labels, const pumit_volume *volume,
                        const pumit__crop *crop)
{
    const box b = plan_box(volume, crop, 1);
    for (int64_t d = 0; d < crop->size[0]; d++)
        for (int64_t h = 0; h < crop->size[1]; h++)
            for (int64_t w = 0; w < crop->size[2]; w++) {
                double place[3];
                for (int i = 0; i < 3; i++)
                    place[i] = b.corner[i] + b.m[i][0] * (double)d + b.m[i][1] * (double)h +
                               b.m[i][2] * (double)w;
                const int64_t voxel = voxel_at(&b, place);
                *dst++ = voxel < 0 ? 0 : labels[voxel];
            }
}

/* ------------------------------------------------------------------------------------- intensities */

/* What is not a number becomes 0. */
static float within(float v)
{
    const float positive = v > 0 ? v : 0;
    return positive < 1 ? positive : 1;
}

static void scale_values(float *values, int64_t count, float scale, float offset)
{
#pragma omp simd
    for (int64_t i = 0; i < count; i++) values[i] = within(scale * values[i] + offset);
}

static float mean_of(const float *values, int64_t count)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++) sum += within(values[i]);
    return (float)(sum / (double)count);
}

static void set_curve(float *curve, const pumit__crop *crop)
{
    for (int64_t i = 0; i <= PUMIT__CURVE; i++) {
        float v = (float)i / PUMIT__CURVE;
        if (crop->gamma != 1) v = powf(v, crop->gamma);
        if (crop->inverse_gamma != 1) v = 1 - powf(1 - v, crop->inverse_gamma);
        curve[i] = v;
    }
    curve[PUMIT__CURVE + 1] = curve[PUMIT__CURVE]; /* right of 1, with share 0 */
}

static void apply_curve(float *values, int64_t count, const float *curve)
{
    for (int64_t i = 0; i < count; i++) {
        const float place = values[i] * PUMIT__CURVE;
        const int32_t left = (int32_t)place;
        values[i] = curve[left] + (place - (float)left) * (curve[left + 1] - curve[left]);
    }
}

static void change_intensities(float *values, int64_t count, const pumit__crop *crop, float *curve)
{
    const float scale = crop->gain * crop->contrast;
    float offset = 0;
    if (crop->contrast != 1) offset = (1 - crop->contrast) * crop->gain * mean_of(values, count);
    scale_values(values, count, scale, offset);
    if (crop->gamma == 1 && crop->inverse_gamma == 1) return;
    set_curve(curve, crop);
    apply_curve(values, count, curve);
}

pumit_status pumit__crop_render(float *dst, const pumit_volume *volume, const pumit__window *window,
                                const pumit__crop *crop, int64_t channels,
                                pumit__crop_scratch *scratch)
{
    const int64_t computed = pumit__crop_channels(volume, channels);
    PUMIT__TRY((crop->turned ? turn : resample)(dst, volume, window, crop, computed, scratch));
    change_intensities(dst, crop->size[0] * crop->size[1] * crop->size[2] * computed, crop,
                       scratch->curve);
    return PUMIT_OK;
}
