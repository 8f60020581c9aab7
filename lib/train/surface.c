/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Distances are those of the exact Euclidean distance transform, one axis after the other, by the lower envelope of parabolas
 * (Felzenszwalb & Huttenlocher, Distance transforms of sampled functions, Theory of Computing 2012), in time linear in the box's voxels.
 * Along D the nearest mark of a column is found by two pointers, so that a slice is done by itself: the box costs a byte a voxel.
 */
#include "lib/train/surface.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --------------------------------------------------------------------------------------------- marks */

/* The map that a structure lies in. */
typedef struct {
    const uint8_t *labels; /* (D, H, W) */
    const int64_t *shape;
    uint8_t class;
} structure;

static bool is_inside(const structure *s, const int64_t at[3], int axis, int64_t stride)
{
    const int64_t i = (at[0] * s->shape[1] + at[1]) * s->shape[2] + at[2];
    if (at[axis] == 0 || at[axis] == s->shape[axis] - 1) return false;
    return s->labels[i - stride] == s->class && s->labels[i + stride] == s->class;
}

static bool is_surface(const structure *s, const int64_t at[3])
{
    const int64_t row = s->shape[2], slice = s->shape[1] * row;
    if (s->labels[at[0] * slice + at[1] * row + at[2]] != s->class) return false;
    return !(is_inside(s, at, 2, 1) && is_inside(s, at, 1, row) &&
             (s->shape[0] == 1 || is_inside(s, at, 0, slice)));
}

static void mark(pumit__surfaces *surfaces, const structure *s, const pumit__extent *extent,
                 int map)
{
    int64_t at[3];
    uint8_t *dst = surfaces->marks;
    for (at[0] = extent->low[0]; at[0] < extent->high[0]; at[0]++)
        for (at[1] = extent->low[1]; at[1] < extent->high[1]; at[1]++)
            for (at[2] = extent->low[2]; at[2] < extent->high[2]; at[2]++, dst++) {
                if (!is_surface(s, at)) continue;
                *dst |= (uint8_t)(1 << map);
                surfaces->count[map]++;
            }
}

pumit_status pumit__surfaces_open(pumit__surfaces *surfaces, const uint8_t *const labels[2],
                                  const int64_t shape[3], const double spacing[3], uint8_t class,
                                  const pumit__extent *extent)
{
    *surfaces = (pumit__surfaces){0};
    int64_t voxels = 1;
    for (int i = 0; i < 3; i++) {
        surfaces->shape[i] = extent->high[i] - extent->low[i];
        surfaces->spacing[i] = shape[i] > 1 ? spacing[i] : 1; /* a picture's is infinite */
        voxels *= surfaces->shape[i];                         /* no more than the map has */
    }
    surfaces->marks = pumit__calloc(voxels, 1);
    if (!surfaces->marks) return pumit__fail_memory(voxels, "the surfaces of label maps");
    for (int map = 0; map < 2; map++)
        mark(surfaces, &(structure){labels[map], shape, class}, extent, map);
    return PUMIT_OK;
}

void pumit__surfaces_close(pumit__surfaces *surfaces)
{
    free(surfaces->marks);
    surfaces->marks = NULL;
}

/* ------------------------------------------------------------------------------------------ distances */

/* The lower envelope of the parabolas height[i] + (step (x - at[i]))^2, of which number i is the lowest from start[i] on. */
typedef struct {
    int64_t *at, count;
    double *height, *start, square; /* square: of the step */
} envelope;

/* Of the values f[i * stride], those that are infinite having no parabola. */
static void envelop(envelope *e, const double *f, int64_t stride, int64_t n, double step)
{
    e->count = 0;
    e->square = step * step;
    for (int64_t i = 0; i < n; i++) {
        double start = -INFINITY;
        const double height = f[i * stride];
        if (isinf(height)) continue;
        for (; e->count > 0; e->count--) {
            const int64_t last = e->at[e->count - 1];
            const double rise = (height - e->height[e->count - 1]) / e->square;
            start = (rise / (double)(i - last) + (double)(i + last)) / 2;
            if (start > e->start[e->count - 1]) break;
            start = -INFINITY;
        }
        e->at[e->count] = i, e->height[e->count] = height, e->start[e->count++] = start;
    }
}

/* At x; *k starts at 0 and goes on with rising x. */
static double lowest(const envelope *e, int64_t *k, int64_t x)
{
    if (e->count == 0) return INFINITY;
    while (*k + 1 < e->count && e->start[*k + 1] <= (double)x) ++*k;
    const double away = (double)(x - e->at[*k]);
    return e->height[*k] + e->square * away * away;
}

typedef struct {
    const pumit__surfaces *surfaces;
    uint8_t from, to; /* bits of the marks */
    int64_t *before,
        *behind; /* (H, W): the nearest marks `to` of a column at or before a slice, and at or behind it */
    double *squares; /* (H, W): squared distances along D, then within rows too */
    envelope lower;
    double *distances; /* where the next goes */
} sweep;

static void sweep_free(sweep *s)
{
    free(s->before);
    free(s->behind);
    free(s->squares);
    free(s->lower.at);
    free(s->lower.height);
    free(s->lower.start);
}

static pumit_status sweep_make(sweep *s)
{
    const int64_t *const shape = s->surfaces->shape, area = shape[1] * shape[2];
    const int64_t longest = shape[1] > shape[2] ? shape[1] : shape[2];
    s->before = pumit__calloc(area, sizeof *s->before);
    s->behind = pumit__calloc(area, sizeof *s->behind);
    s->squares = pumit__calloc(area, sizeof *s->squares);
    s->lower.at = pumit__calloc(longest, sizeof *s->lower.at);
    s->lower.height = pumit__calloc(longest, sizeof *s->lower.height);
    s->lower.start = pumit__calloc(longest, sizeof *s->lower.start);
    if (!s->before || !s->behind || !s->squares || !s->lower.at || !s->lower.height ||
        !s->lower.start)
        return pumit__fail_memory(area * 24, "distances between surfaces");
    for (int64_t i = 0; i < area; i++) s->before[i] = s->behind[i] = -1;
    return PUMIT_OK;
}

/* Squared distance along D from slice d to the nearest mark of column i. */
static double along_column(sweep *s, int64_t d, int64_t i)
{
    const int64_t depth = s->surfaces->shape[0],
                  area = s->surfaces->shape[1] * s->surfaces->shape[2];
    if (s->behind[i] < d) {
        int64_t next = d;
        while (next < depth && !(s->surfaces->marks[next * area + i] & s->to)) next++;
        s->behind[i] = next;
    }
    if (s->behind[i] == d) s->before[i] = d;
    const double ahead = s->behind[i] < depth ? (double)(s->behind[i] - d) : INFINITY;
    const double back = s->before[i] >= 0 ? (double)(d - s->before[i]) : INFINITY;
    const double away = fmin(ahead, back) * s->surfaces->spacing[0];
    return away * away;
}

static void do_row(sweep *s, int64_t d, int64_t h)
{
    const int64_t width = s->surfaces->shape[2];
    double *const row = s->squares + h * width;
    int64_t k = 0;
    for (int64_t w = 0; w < width; w++) row[w] = along_column(s, d, h * width + w);
    envelop(&s->lower, row, 1, width, s->surfaces->spacing[2]);
    for (int64_t w = 0; w < width; w++) row[w] = lowest(&s->lower, &k, w);
}

static void do_column(sweep *s, const uint8_t *marks, int64_t w)
{
    const int64_t height = s->surfaces->shape[1], width = s->surfaces->shape[2];
    int64_t k = 0, h = 0;
    while (h < height && !(marks[h * width + w] & s->from)) h++;
    if (h == height) return;
    envelop(&s->lower, s->squares + w, width, height, s->surfaces->spacing[1]);
    for (; h < height; h++)
        if (marks[h * width + w] & s->from) *s->distances++ = sqrt(lowest(&s->lower, &k, h));
}

pumit_status pumit__surfaces_distances(double *distances, const pumit__surfaces *surfaces, int from)
{
    const int64_t *const shape = surfaces->shape;
    sweep s = {.surfaces = surfaces,
               .from = (uint8_t)(1 << from),
               .to = (uint8_t)(2 >> from),
               .distances = distances};
    const pumit_status status = sweep_make(&s);
    for (int64_t d = 0; d < shape[0] && status == PUMIT_OK; d++) {
        for (int64_t h = 0; h < shape[1]; h++) do_row(&s, d, h);
        for (int64_t w = 0; w < shape[2]; w++)
            do_column(&s, surfaces->marks + d * shape[1] * shape[2], w);
    }
    sweep_free(&s);
    return status;
}
