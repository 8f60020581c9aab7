/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/data/crop.h"

#include "lib/data/filter.h"

#include <math.h>
#include <stdlib.h>

static pumit_status build_filters(pumit__filter filters[3], const pumit_volume *volume,
                                  const pumit__crop *crop)
{
    for (int i = 0; i < 3; i++)
        PUMIT__TRY(pumit__filter_build(&filters[i], volume->shape[i], crop->size[i], crop->start[i],
                                       crop->step[i], crop->flip[i]));
    return PUMIT_OK;
}

/* W, then H, then D, from one buffer to another. */
static pumit_status resample(float *dst, const pumit_volume *volume, const pumit__window *window,
                             const pumit__filter f[3], int64_t channels)
{
    const int64_t depth = f[0].high - f[0].low, height = f[1].high - f[1].low,
                  width = f[2].high - f[2].low;
    const int64_t rows = depth * height * channels, plane = f[2].count * channels;
    float *source = malloc((size_t)(rows * width) * sizeof *source);
    float *wide = malloc((size_t)(rows * f[2].count) * sizeof *wide);
    float *flat = malloc((size_t)(depth * f[1].count * plane) * sizeof *flat);
    const int64_t low[3] = {f[0].low, f[1].low, f[2].low},
                  high[3] = {f[0].high, f[1].high, f[2].high};
    pumit_status status =
        source && wide && flat ? PUMIT_OK : pumit__fail_memory(rows * width * 4, "a crop");
    if (status == PUMIT_OK) status = pumit__volume_box(source, volume, window, low, high, channels);
    if (status == PUMIT_OK) {
        pumit__filter_apply(wide, source, &f[2], depth * height, channels);
        pumit__filter_apply(flat, wide, &f[1], depth, plane);
        pumit__filter_apply(dst, flat, &f[0], 1, f[1].count * plane);
    }
    free(source);
    free(wide);
    free(flat);
    return status;
}

static void change_intensities(float *values, int64_t count, const pumit__crop *crop)
{
    for (int64_t i = 0; i < count; i++) {
        const float v = crop->gain * powf(fmaxf(values[i], 0), crop->gamma);
        values[i] = v < 1 ? v : 1;
    }
}

/* Interpolation may pass 1 by a rounding. */
static void clamp(float *values, int64_t count)
{
    for (int64_t i = 0; i < count; i++) values[i] = values[i] < 1 ? values[i] : 1;
}

/* Gray to `channels` equal ones, in place, from the end. */
static void repeat_gray(float *values, int64_t count, int64_t channels)
{
    for (int64_t i = count - 1; i >= 0; i--) {
        const float value = values[i];
        for (int64_t c = 0; c < channels; c++) values[i * channels + c] = value;
    }
}

pumit_status pumit__crop_render(float *dst, const pumit_volume *volume, const pumit__window *window,
                                const pumit__crop *crop, int64_t channels)
{
    const int64_t computed = volume->shape[3] == 1 ? 1 : channels;
    const int64_t voxels = crop->size[0] * crop->size[1] * crop->size[2];
    pumit__filter filters[3] = {{0}};
    pumit_status status = build_filters(filters, volume, crop);
    if (status == PUMIT_OK) status = resample(dst, volume, window, filters, computed);
    for (int i = 0; i < 3; i++) pumit__filter_free(&filters[i]);
    if (status != PUMIT_OK) return status;
    if (crop->gain != 1 || crop->gamma != 1)
        change_intensities(dst, voxels * computed, crop);
    else
        clamp(dst, voxels * computed);
    if (computed != channels) repeat_gray(dst, voxels, channels);
    return PUMIT_OK;
}
