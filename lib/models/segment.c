/* SPDX-License-Identifier: Apache-2.0 */
/* Bands, layers of windows, the slab that they are blended into, and the way from it to the image's voxels. */
#include "lib/models/segment.h"

#include "lib/models/segment_axis.h"
#include "lib/tensor/context.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

#define BOX_BYTES (INT64_C(8) << 20) /* of logits handed on at a time */

/* Numbers that are worth waking threads for. */
#define MANY 65536

typedef struct {
    const pumit__segmentation *job;
    pumit__segment_axis axis[3];
    pumit__segment_eye *eye;
    const float
        *seen; /* logits of the very first window, which tells what the network needs; then NULL */
    int64_t bands, band_rows;  /* rows of the network's grid in the largest band */
    int64_t depth, base, next; /* of the slab; its first slice; the image's next slice to be made */
    int64_t row_values;        /* of a row of the grid: voxels along W times classes */
    float *slab;               /* (depth, rows of the band, row_values) */
    float *box;                /* (image voxels, classes) */
    int64_t box_rows;          /* of the image, that fit in it */
    float *lines;              /* (threads, row_values) */
    int64_t done, total;       /* windows */
} state;

/* Rows [low, high) of the image, and those of the grid that they are made from. */
typedef struct {
    int64_t low, high, grid_low, grid_high;
} band;

static band band_of(const state *s, int64_t i, int64_t bands)
{
    const pumit__segment_axis *h = &s->axis[1];
    band b = {.low = h->source * i / bands, .high = h->source * (i + 1) / bands};
    b.grid_low = h->low[b.low];
    b.grid_high = pumit__segment_axis_last(h, b.high - 1) + 1;
    return b;
}

static bool touches(const state *s, const band *b, int64_t h)
{
    const int64_t first = s->axis[1].first[h];
    return first < b->grid_high && first + s->axis[1].window > b->grid_low;
}

/* ---------------------------------------------------------------------------------------- windows */

/* The part of a window that lies in the band is added, each voxel by its share. */
static void blend(state *s, const band *b, const float *logits, const int64_t at[3])
{
    const pumit__segment_axis *d = &s->axis[0], *h = &s->axis[1], *w = &s->axis[2];
    const int64_t classes = s->job->classes, rows = b->grid_high - b->grid_low;
    const int64_t first[3] = {d->first[at[0]], h->first[at[1]], w->first[at[2]]};
    const int32_t threads = s->job->ctx->threads;
    const int64_t lines = d->window * h->window;
#pragma omp parallel for num_threads(threads) if (lines * w->window * classes > MANY)
    for (int64_t i = 0; i < lines; i++) {
        const int64_t di = i / h->window, hi = i % h->window;
        const int64_t slice = first[0] + di, row = first[1] + hi;
        if (slice < 0 || slice >= d->length || row < b->grid_low || row >= b->grid_high) continue;
        const float plane = d->weight[at[0] * d->window + di] * h->weight[at[1] * h->window + hi];
        float *to = s->slab + ((slice - s->base) * rows + row - b->grid_low) * s->row_values;
        const float *from = logits + i * w->window * classes;
        for (int64_t wi = 0; wi < w->window; wi++) {
            const int64_t column = first[2] + wi;
            if (column < 0 || column >= w->length) continue;
            const float share = plane * w->weight[at[2] * w->window + wi];
            float *const dst = to + column * classes;
            const float *const src = from + wi * classes;
            for (int64_t c = 0; c < classes; c++) dst[c] += share * src[c];
        }
    }
}

static pumit_status look(const float **logits, state *s, const int64_t at[3])
{
    if (s->seen) { /* the first of all: at[] is 0 */
        *logits = s->seen;
        s->seen = NULL;
        return PUMIT_OK;
    }
    int64_t first[3], length[3];
    double start[3];
    for (int i = 0; i < 3; i++) {
        first[i] = s->axis[i].first[at[i]];
        length[i] = s->axis[i].length;
        start[i] = s->axis[i].start;
    }
    return pumit__segment_look(logits, s->eye, first, length, start);
}

static pumit_status tell(state *s)
{
    const pumit__segmentation *job = s->job;
    s->done++;
    if (job->progress && job->progress(job->progress_user, s->done, s->total) != 0)
        return pumit__fail(PUMIT_ERROR_CANCELLED, "segment: stopped after %lld of %lld windows",
                           (long long)s->done, (long long)s->total);
    return PUMIT_OK;
}

static pumit_status add_layer(state *s, const band *b, int64_t d)
{
    for (int64_t h = 0; h < s->axis[1].count; h++) {
        if (!touches(s, b, h)) continue;
        for (int64_t w = 0; w < s->axis[2].count; w++) {
            const int64_t at[3] = {d, h, w};
            const float *logits;
            PUMIT__TRY(look(&logits, s, at));
            blend(s, b, logits, at);
            PUMIT__TRY(tell(s));
        }
    }
    return PUMIT_OK;
}

/* -------------------------------------------------------------------------------- to the image's voxels */

static void add_line(float *dst, const float *src, float share, int64_t count)
{
    if (share == 0) return;
    for (int64_t i = 0; i < count; i++) dst[i] += share * src[i];
}

/* One row of the image: the four rows of the slab around it, then pairs of voxels along the row. */
static void make_row(float *dst, const state *s, const band *b, float *line, int64_t d, int64_t h)
{
    const pumit__segment_axis *const a = s->axis;
    const int64_t classes = s->job->classes, values = s->row_values;
    const int64_t rows = b->grid_high - b->grid_low;
    const float sd = a[0].share[d], sh = a[1].share[h];
    const float *from =
        s->slab + ((a[0].low[d] - s->base) * rows + a[1].low[h] - b->grid_low) * values;
    memset(line, 0, (size_t)values * sizeof *line);
    add_line(line, from, (1 - sd) * (1 - sh), values);
    if (sh > 0) add_line(line, from + values, (1 - sd) * sh, values);
    if (sd > 0) add_line(line, from + rows * values, sd * (1 - sh), values);
    if (sd > 0 && sh > 0) add_line(line, from + (rows + 1) * values, sd * sh, values);
    for (int64_t w = 0; w < a[2].source; w++, dst += classes) {
        const float *const left = line + a[2].low[w] * classes, sw = a[2].share[w];
        const float *const right = sw > 0 ? left + classes : left;
        for (int64_t c = 0; c < classes; c++) dst[c] = left[c] + sw * (right[c] - left[c]);
    }
}

static pumit_status hand_on(state *s, const int64_t low[3], const int64_t high[3], const band *b)
{
    const int64_t height = high[1] - low[1], count = (high[0] - low[0]) * height;
    const int64_t values = s->axis[2].source * s->job->classes;
    const int32_t threads = s->job->ctx->threads;
#pragma omp parallel num_threads(threads) if (count * values > MANY)
    {
        float *const line = s->lines + omp_get_thread_num() * s->row_values;
#pragma omp for
        for (int64_t i = 0; i < count; i++)
            make_row(s->box + i * values, s, b, line, low[0] + i / height, low[1] + i % height);
    }
    return s->job->take(s->job->take_user, low, high, s->box);
}

/* The image's slices from s->next to `end`, in boxes that fit. */
static pumit_status make_slices(state *s, const band *b, int64_t end)
{
    const int64_t deep = end - s->next < s->box_rows ? end - s->next : s->box_rows;
    const int64_t high = deep > 0 ? s->box_rows / deep : 1;
    for (int64_t d = s->next; d < end; d += deep)
        for (int64_t h = b->low; h < b->high; h += high) {
            const int64_t low[3] = {d, h, 0};
            const int64_t top[3] = {d + deep < end ? d + deep : end,
                                    h + high < b->high ? h + high : b->high, s->axis[2].source};
            PUMIT__TRY(hand_on(s, low, top, b));
        }
    s->next = end;
    return PUMIT_OK;
}

/* Slices before `complete` are final: what the image has between them is made, and the slab goes on behind them. */
static pumit_status finish(state *s, const band *b, int64_t complete)
{
    const pumit__segment_axis *d = &s->axis[0];
    int64_t end = s->next;
    while (end < d->source && pumit__segment_axis_last(d, end) < complete) end++;
    PUMIT__TRY(make_slices(s, b, end));
    int64_t base = complete;
    if (end < d->source && d->low[end] < base) base = d->low[end];
    const int64_t slice = (b->grid_high - b->grid_low) * s->row_values;
    const int64_t kept = s->depth - (base - s->base);
    if (kept > 0)
        memmove(s->slab, s->slab + (base - s->base) * slice,
                (size_t)(kept * slice) * sizeof *s->slab);
    const int64_t from = kept > 0 ? kept : 0;
    memset(s->slab + from * slice, 0, (size_t)((s->depth - from) * slice) * sizeof *s->slab);
    s->base = base;
    return PUMIT_OK;
}

static pumit_status run_band(state *s, const band *b)
{
    const pumit__segment_axis *d = &s->axis[0];
    memset(s->slab, 0,
           (size_t)(s->depth * (b->grid_high - b->grid_low) * s->row_values) * sizeof *s->slab);
    s->base = s->next = 0;
    for (int64_t i = 0; i < d->count; i++) {
        PUMIT__TRY(add_layer(s, b, i));
        PUMIT__TRY(finish(s, b, i + 1 < d->count ? d->first[i + 1] : d->length));
    }
    return PUMIT_OK;
}

/* -------------------------------------------------------------------------------------------- memory */

static int64_t rows_of(const state *s, int64_t bands)
{
    int64_t most = 0;
    for (int64_t i = 0; i < bands; i++) {
        const band b = band_of(s, i, bands);
        if (b.grid_high - b.grid_low > most) most = b.grid_high - b.grid_low;
    }
    return most;
}

/* False if it overflows. */
static bool slab_bytes(int64_t *bytes, const state *s, int64_t rows)
{
    *bytes = (int64_t)sizeof(float);
    return pumit__multiply(bytes, *bytes, s->depth) && pumit__multiply(bytes, *bytes, rows) &&
           pumit__multiply(bytes, *bytes, s->row_values);
}

/* As few bands as fit; none lower than a window, as all their windows are computed for each. */
static pumit_status choose_bands(state *s)
{
    const pumit__segment_axis *h = &s->axis[1];
    const int64_t most = h->length > h->window ? (h->length + h->window - 1) / h->window : 1;
    const int64_t other =
        pumit__segment_eye_bytes(s->eye) +
        (s->box_rows * s->axis[2].source * s->job->classes + s->job->ctx->threads * s->row_values) *
            (int64_t)sizeof(float);
    int64_t bytes = INT64_MAX - other;
    for (s->bands = 1; s->bands <= most && s->bands <= h->source; s->bands++) {
        s->band_rows = rows_of(s, s->bands);
        if (!slab_bytes(&bytes, s, s->band_rows)) bytes = INT64_MAX - other;
        if (bytes <= s->job->memory - other) return PUMIT_OK;
    }
    return pumit__fail(PUMIT_ERROR_LIMIT,
                       "segment: an image of %lld x %lld x %lld voxels at the model's spacing and "
                       "%lld classes needs %lld MiB beside model and image: raise \"memory\"",
                       (long long)s->axis[0].length, (long long)h->length,
                       (long long)s->axis[2].length, (long long)s->job->classes,
                       (long long)((bytes + other + (1 << 20) - 1) >> 20));
}

static void count_windows(state *s)
{
    for (int64_t i = 0; i < s->bands; i++) {
        const band b = band_of(s, i, s->bands);
        for (int64_t h = 0; h < s->axis[1].count; h++)
            if (touches(s, &b, h)) s->total += s->axis[0].count * s->axis[2].count;
    }
}

static pumit_status plan(state *s, const pumit_volume *volume)
{
    const pumit__segmentation *job = s->job;
    const int64_t none[3] = {0, 0, 0};
    for (int i = 0; i < 3; i++)
        PUMIT__TRY(pumit__segment_axis_plan(&s->axis[i], volume->shape[i], job->step[i],
                                            job->window[i], job->overlap, job->gaussian));
    const pumit__segment_axis *d = &s->axis[0];
    /* One slice beyond a layer: of the pair that a slice of the image may lie between, the first can be of the layer before. */
    s->depth = d->length < d->window + 1 ? d->length : d->window + 1;
    int64_t row;
    if (!pumit__multiply(&s->row_values, s->axis[2].length, job->classes) ||
        !pumit__multiply(&row, s->axis[2].source, job->classes * (int64_t)sizeof(float)))
        return pumit__fail(PUMIT_ERROR_LIMIT, "segment: %lld classes are too many for this image",
                           (long long)job->classes);
    s->box_rows = BOX_BYTES / row > 0 ? BOX_BYTES / row : 1;
    const int64_t rows = volume->shape[0] * volume->shape[1];
    if (s->box_rows > rows) s->box_rows = rows;
    PUMIT__TRY(look(&s->seen, s, none));
    PUMIT__TRY(choose_bands(s));
    count_windows(s);
    return PUMIT_OK;
}

static pumit_status allocate(state *s)
{
    int64_t bytes;
    const int64_t box = s->box_rows * s->axis[2].source * s->job->classes;
    if (!slab_bytes(&bytes, s, s->band_rows)) bytes = INT64_MAX;
    s->slab = pumit__calloc(bytes, 1);
    s->box = pumit__calloc(box, sizeof *s->box);
    s->lines = pumit__calloc(s->job->ctx->threads * s->row_values, sizeof *s->lines);
    return s->slab && s->box && s->lines ? PUMIT_OK : pumit__fail_memory(bytes, "a slab of logits");
}

pumit_status pumit__segment(const pumit__segmentation *job, const pumit_volume *volume)
{
    state s = {.job = job};
    pumit_status status;
    PUMIT__GO(pumit__segment_eye_create(&s.eye, job, volume));
    PUMIT__GO(plan(&s, volume));
    PUMIT__GO(allocate(&s));
    for (int64_t i = 0; i < s.bands; i++) {
        const band b = band_of(&s, i, s.bands);
        PUMIT__GO(run_band(&s, &b));
    }
out:
    free(s.slab);
    free(s.box);
    free(s.lines);
    for (int i = 0; i < 3; i++) pumit__segment_axis_free(&s.axis[i]);
    pumit__segment_eye_free(s.eye);
    return status;
}
