/* SPDX-License-Identifier: Apache-2.0 */
/* One image on its way into a prepared set: statistics, window, foreground, reduction, float16. */
#include "lib/data/filter.h"
#include "lib/data/half.h"
#include "lib/data/prepare.h"

#include <math.h>
#include <stdlib.h>

#define HEAD_BYTES 128 /* of a .npy: numpy reads heads of a multiple of 64 */

/* What of the volume is kept, and the steps to the new grid, in voxels of the volume. */
typedef struct {
    int64_t low[3], high[3];
    int64_t size[3];
    double start[3], step[3]; /* relative to `low` */
} grid;

static int64_t count_of(const pumit_volume *v)
{
    return v->shape[0] * v->shape[1] * v->shape[2] * v->shape[3];
}

/* -------------------------------------------------------------------------------------- statistics */

static pumit_status measure(pumit__prepared_image *out, const pumit_volume *v, bool allow_nan)
{
    const int64_t count = count_of(v);
    int64_t finite = 0;
    double sum = 0, squares = 0, least = INFINITY, most = -INFINITY;
    for (int64_t i = 0; i < count; i++) {
        const double x = v->voxels[i];
        if (!isfinite(x)) continue;
        finite++;
        sum += x;
        least = fmin(least, x);
        most = fmax(most, x);
    }
    if (finite < count && !allow_nan)
        return pumit__fail(PUMIT_ERROR_FORMAT,
                           "%lld of %lld voxels are NaN or infinite; \"allow_nan\" takes it anyway",
                           (long long)(count - finite), (long long)count);
    if (!(most > least))
        return pumit__fail(PUMIT_ERROR_FORMAT, "all voxels are %g: there is nothing to learn",
                           finite ? least : NAN);
    out->mean = sum / (double)finite;
    for (int64_t i = 0; i < count; i++) {
        const double x = v->voxels[i] - out->mean;
        if (isfinite(x)) squares += x * x;
    }
    out->least = least;
    out->most = most;
    out->deviation = sqrt(squares / (double)finite);
    return PUMIT_OK;
}

/* ------------------------------------------------------------------------------------------ grid */

static bool is_foreground(const float *voxel, int64_t channels, double threshold)
{
    for (int64_t c = 0; c < channels; c++)
        if (isfinite(voxel[c]) && voxel[c] > threshold) return true;
    return false;
}

static pumit_status find_foreground(grid *g, const pumit_volume *v, double threshold)
{
    const int64_t *s = v->shape;
    const float *voxel = v->voxels;
    for (int i = 0; i < 3; i++) {
        g->low[i] = s[i];
        g->high[i] = 0;
    }
    for (int64_t d = 0; d < s[0]; d++)
        for (int64_t h = 0; h < s[1]; h++)
            for (int64_t w = 0; w < s[2]; w++, voxel += s[3]) {
                if (!is_foreground(voxel, s[3], threshold)) continue;
                const int64_t place[3] = {d, h, w};
                for (int i = 0; i < 3; i++) {
                    if (place[i] < g->low[i]) g->low[i] = place[i];
                    if (place[i] >= g->high[i]) g->high[i] = place[i] + 1;
                }
            }
    if (g->high[0] > 0) return PUMIT_OK;
    return pumit__fail(PUMIT_ERROR_FORMAT, "no voxel is above %g: there is no foreground",
                       threshold);
}

static void keep_all(grid *g, const pumit_volume *v)
{
    for (int i = 0; i < 3; i++) {
        g->low[i] = 0;
        g->high[i] = v->shape[i];
    }
}

/* Both sides of the plane by one factor; what rounding leaves over is shared by the two edges. */
static void reduce_plane(grid *g, int64_t most_side)
{
    int64_t side = 0;
    for (int i = 0; i < 3; i++) {
        g->size[i] = g->high[i] - g->low[i];
        g->start[i] = 0;
        g->step[i] = 1;
        if (i > 0 && g->size[i] > side) side = g->size[i];
    }
    if (side <= most_side) return;
    const double step = (double)side / (double)most_side;
    for (int i = 1; i < 3; i++) {
        const double length = (double)g->size[i];
        g->size[i] = (int64_t)fmax(1, floor(length / step + 0.5));
        g->step[i] = step;
        g->start[i] = (length - (double)g->size[i] * step) / 2;
    }
}

/* The centre of the new voxel 0 lies (step - 1) / 2 behind the start of what it covers. */
static void move_affine(pumit__prepared_image *out, const pumit_volume *v, const grid *g)
{
    for (int row = 0; row < 3; row++) {
        const double *from = v->affine + 4 * row;
        double *to = out->affine + 4 * row;
        to[3] = from[3];
        for (int i = 0; i < 3; i++) {
            to[i] = from[i] * g->step[i];
            to[3] += from[i] * ((double)g->low[i] + g->start[i] + (g->step[i] - 1) / 2);
        }
    }
    out->affine[12] = out->affine[13] = out->affine[14] = 0;
    out->affine[15] = 1;
    for (int i = 0; i < 3; i++) out->spacing[i] = v->spacing[i] * g->step[i];
    if (g->size[0] == 1) out->spacing[0] = INFINITY;
}

/* ---------------------------------------------------------------------------------------- voxels */

typedef struct {
    pumit__filter filters[2]; /* of H and W */
    float *source, *wide, *small;
} plane;

static void plane_free(plane *p)
{
    for (int i = 0; i < 2; i++) pumit__filter_free(&p->filters[i]);
    free(p->source);
    free(p->wide);
    free(p->small);
}

static pumit_status plane_build(plane *p, const grid *g, int64_t channels)
{
    for (int i = 0; i < 2; i++)
        PUMIT__TRY(pumit__filter_build(&p->filters[i], g->high[i + 1] - g->low[i + 1],
                                       g->size[i + 1], g->start[i + 1], g->step[i + 1], false));
    const int64_t height = p->filters[0].high - p->filters[0].low,
                  width = p->filters[1].high - p->filters[1].low;
    p->source = pumit__calloc(height * width, channels * (int64_t)sizeof(float));
    p->wide = pumit__calloc(height * g->size[2], channels * (int64_t)sizeof(float));
    p->small = pumit__calloc(g->size[1] * g->size[2], channels * (int64_t)sizeof(float));
    if (p->source && p->wide && p->small) return PUMIT_OK;
    return pumit__fail_memory(3 * height * width * channels * (int64_t)sizeof(float), "a slice");
}

/* Slice d of the new grid, as (H, W, C) in p->small. */
static pumit_status render_slice(plane *p, const pumit_volume *v, const pumit__window *window,
                                 const grid *g, int64_t d)
{
    const pumit__filter *f = p->filters;
    const int64_t channels = v->shape[3], height = f[0].high - f[0].low;
    const int64_t low[3] = {g->low[0] + d, g->low[1] + f[0].low, g->low[2] + f[1].low};
    const int64_t high[3] = {low[0] + 1, g->low[1] + f[0].high, g->low[2] + f[1].high};
    if (g->step[1] == 1) return pumit__volume_box(p->small, v, window, low, high, channels);
    PUMIT__TRY(pumit__volume_box(p->source, v, window, low, high, channels));
    pumit__filter_apply(p->wide, p->source, &f[1], height, channels);
    pumit__filter_apply(p->small, p->wide, &f[0], 1, g->size[2] * channels);
    return PUMIT_OK;
}

/* (H, W, C) to plane d of (C, D, H, W); interpolation may pass 1 by a rounding. */
static void store_slice(uint16_t *voxels, const float *slice, const grid *g, int64_t d,
                        int64_t channels)
{
    const int64_t pixels = g->size[1] * g->size[2];
    for (int64_t c = 0; c < channels; c++) {
        uint16_t *to = voxels + (c * g->size[0] + d) * pixels;
        for (int64_t i = 0; i < pixels; i++) {
            const float value = slice[i * channels + c];
            to[i] = pumit__half_stored(pumit__half_of(value < 1 ? value : 1));
        }
    }
}

static pumit_status render(pumit__prepared_image *out, const pumit_volume *v,
                           const pumit__window *window, const grid *g)
{
    const int64_t channels = v->shape[3];
    const int64_t count = g->size[0] * g->size[1] * g->size[2];
    plane p = {0};
    pumit_status status;
    out->voxels = pumit__calloc(count, channels * (int64_t)sizeof *out->voxels);
    if (!out->voxels) return pumit__fail_memory(count * channels * 2, "an image");
    PUMIT__GO(plane_build(&p, g, channels));
    for (int64_t d = 0; d < g->size[0]; d++) {
        PUMIT__GO(render_slice(&p, v, window, g, d));
        store_slice(out->voxels, p.small, g, d, channels);
    }
out:
    plane_free(&p);
    return status;
}

pumit_status pumit__prepare_image(pumit__prepared_image *out, const pumit_volume *volume,
                                  const pumit__prepare_options *options)
{
    pumit__window stretch, window;
    grid g;
    *out = (pumit__prepared_image){0};
    if (volume->guessed)
        return pumit__fail(
            PUMIT_ERROR_FORMAT,
            "its spacing or affine is zero, singular or not finite; mend its header");
    PUMIT__TRY(measure(out, volume, options->allow_nan));
    PUMIT__TRY(pumit__stretch_of(&stretch, volume));
    window = pumit__window_is_fixed(volume) ? (pumit__window){0, 1.0 / 255} : stretch;
    keep_all(&g, volume);
    if (options->crop)
        PUMIT__TRY(find_foreground(&g, volume,
                                   isnan(options->threshold) ? stretch.low : options->threshold));
    reduce_plane(&g, options->most_side);
    for (int i = 0; i < 3; i++) {
        out->shape[i] = g.size[i];
        out->origin_shape[i] = volume->shape[i];
    }
    out->shape[3] = volume->shape[3];
    out->low = window.low;
    out->high = window.low + 1 / window.scale;
    memcpy(out->origin_affine, volume->affine, sizeof out->origin_affine);
    move_affine(out, volume, &g);
    return render(out, volume, &window, &g);
}

pumit_status pumit__prepare_write(const pumit__prepared_image *image, const char *path)
{
    char head[HEAD_BYTES], dictionary[HEAD_BYTES];
    const int64_t *s = image->shape;
    memset(head, ' ', sizeof head);
    memcpy(head, "\x93NUMPY\1\0\x76\0", 10); /* 118 bytes follow */
    const int length =
        snprintf(dictionary, sizeof dictionary,
                 "{'descr': '<f2', 'fortran_order': False, 'shape': (%lld, %lld, %lld, %lld), }",
                 (long long)s[3], (long long)s[0], (long long)s[1], (long long)s[2]);
    if (length > HEAD_BYTES - 11)
        return pumit__fail(PUMIT_ERROR_LIMIT, "%s: its shape has too many digits", path);
    memcpy(head + 10, dictionary, (size_t)length);
    head[HEAD_BYTES - 1] = '\n';
    pumit__atomic_file file;
    pumit_status status = pumit__atomic_open(&file, path);
    if (status == PUMIT_OK) status = pumit__atomic_write(&file, head, sizeof head);
    if (status == PUMIT_OK)
        status = pumit__atomic_write(&file, image->voxels, 2 * s[0] * s[1] * s[2] * s[3]);
    if (status == PUMIT_OK) status = pumit__atomic_commit(&file);
    pumit__atomic_close(&file);
    return status;
}
