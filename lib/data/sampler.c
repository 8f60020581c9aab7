/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/data/sampler.h"

#include "lib/data/crop.h"
#include "lib/data/dataset.h"
#include "lib/tensor/context.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define LEAST_ZOOM 0.85
#define MOST_ZOOM  1.18
#define DRAWS      16 /* random numbers of a sample */

typedef struct {
    pumit_volume *volume;
    pumit__window window;
    int64_t index;     /* in the dataset */
    double scale[3];   /* voxels of the working grid per voxel */
    double spacing[3]; /* of the working grid */
    int32_t da;        /* of that spacing */
    int64_t depth_tokens;
} entry;

struct pumit__sampler {
    pumit_context *ctx;
    pumit__sampler_options options;
    entry *entries; /* those of a bucket stand together */
    int64_t count;
    uint64_t bucket_stream, image_stream, crop_stream;
};

/* ----------------------------------------------------------------------------------- working grids */

static int64_t token_depth(const pumit__sampler_options *o, int32_t da)
{
    const int64_t depth = o->patch >> da;
    return depth < 1 ? 1 : depth;
}

/* How much the plane must grow so that a crop fits. */
static double plane_scale(const int64_t shape[4], const pumit__sampler_options *o)
{
    double scale = 1;
    for (int i = 1; i < 3; i++)
        scale = fmax(scale, (double)(o->tokens[i] * o->patch) / (double)shape[i]);
    return scale;
}

static pumit_status plan_grid(entry *e, const pumit__sampler_options *o)
{
    const pumit_volume *v = e->volume;
    const double grow = plane_scale(v->shape, o);
    const bool nearly_cubes = v->spacing[0] < 2 * sqrt(v->spacing[1]) * sqrt(v->spacing[2]);
    e->scale[0] = nearly_cubes ? grow : 1;
    e->scale[1] = e->scale[2] = grow;
    for (int i = 0; i < 3; i++) e->spacing[i] = v->spacing[i] / e->scale[i];
    PUMIT__TRY(pumit_degree_of_anisotropy(&e->da, e->spacing));
    const double depth = (double)v->shape[0] * e->scale[0];
    const int64_t token = token_depth(o, e->da);
    const int64_t tokens = (int64_t)floor(depth / (double)token + 1e-6);
    e->depth_tokens = tokens < 1 ? 1 : tokens > o->tokens[0] ? o->tokens[0] : tokens;
    if (tokens < 1) e->scale[0] = (double)token / (double)v->shape[0];
    return PUMIT_OK;
}

static int compare_entries(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    if (x->da != y->da) return x->da < y->da ? -1 : 1;
    if (x->depth_tokens != y->depth_tokens) return x->depth_tokens < y->depth_tokens ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

static bool same_bucket(const entry *a, const entry *b)
{
    return a->da == b->da && a->depth_tokens == b->depth_tokens;
}

static pumit_status fill_entries(pumit__sampler *s, const pumit_dataset *dataset)
{
    for (int64_t i = 0; i < dataset->count; i++) {
        entry *e = &s->entries[i];
        *e = (entry){.volume = pumit__volume_retain(dataset->items[i].volume), .index = i};
        s->count = i + 1;
        const pumit_status status = pumit__check_channels(e->volume, s->options.channels);
        if (status != PUMIT_OK) return pumit__fail_in(status, "%s", dataset->items[i].name);
        PUMIT__TRY(pumit__window_of(&e->window, e->volume));
        PUMIT__TRY(plan_grid(e, &s->options));
    }
    qsort(s->entries, (size_t)s->count, sizeof *s->entries, compare_entries);
    return PUMIT_OK;
}

static pumit_status check_options(const pumit__sampler_options *o)
{
    PUMIT__REQUIRE(o->batch >= 1, "a batch of %lld images", (long long)o->batch);
    PUMIT__REQUIRE(o->channels >= 1, "crops of %lld channels", (long long)o->channels);
    PUMIT__REQUIRE(o->patch >= 1, "patches of %lld voxels", (long long)o->patch);
    PUMIT__REQUIRE(o->balance >= 0 && o->balance <= 1, "a balance of %g is not in 0..1",
                   o->balance);
    for (int i = 0; i < 3; i++)
        PUMIT__REQUIRE(o->tokens[i] >= 1, "crops of %lld tokens along axis %d",
                       (long long)o->tokens[i], i);
    return PUMIT_OK;
}

pumit_status pumit__sampler_create(pumit__sampler **out, pumit_context *ctx,
                                   const pumit_dataset *dataset,
                                   const pumit__sampler_options *options)
{
    *out = NULL;
    PUMIT__TRY(check_options(options));
    PUMIT__REQUIRE(dataset->count > 0, "a dataset without images");
    pumit__sampler *s = pumit__calloc(1, sizeof *s);
    if (!s) return pumit__fail_memory(sizeof *s, "a sampler");
    s->ctx = pumit__context_retain(ctx);
    s->options = *options;
    s->bucket_stream = pumit__random_stream("sampler.bucket");
    s->image_stream = pumit__random_stream("sampler.image");
    s->crop_stream = pumit__random_stream("sampler.crop");
    s->entries = pumit__calloc(dataset->count, sizeof *s->entries);
    const pumit_status status =
        s->entries ? fill_entries(s, dataset)
                   : pumit__fail_memory(dataset->count * (int64_t)sizeof *s->entries, "a sampler");
    if (status != PUMIT_OK) {
        pumit__sampler_release(s);
        return status;
    }
    *out = s;
    return PUMIT_OK;
}

void pumit__sampler_release(pumit__sampler *s)
{
    if (!s) return;
    for (int64_t i = 0; i < s->count; i++) pumit_volume_release(s->entries[i].volume);
    free(s->entries);
    pumit_context_release(s->ctx);
    free(s);
}

int64_t pumit__sampler_buckets(pumit__sampler_bucket *out, int64_t most, const pumit__sampler *s)
{
    int64_t count = 0;
    for (int64_t i = 0; i < s->count; i++) {
        const entry *e = &s->entries[i];
        if (i == 0 || !same_bucket(e - 1, e)) {
            count++;
            if (count <= most) out[count - 1] = (pumit__sampler_bucket){e->da, e->depth_tokens, 0};
        }
        if (count <= most) out[count - 1].images++;
    }
    return count;
}

/* ------------------------------------------------------------------------------------------ drawing */

static int64_t bucket_end(const pumit__sampler *s, int64_t first)
{
    int64_t end = first + 1;
    while (end < s->count && same_bucket(&s->entries[end], &s->entries[first])) end++;
    return end;
}

static double weight(const pumit__sampler *s, int64_t images)
{
    return pow((double)images, 1 - s->options.balance);
}

static void draw_bucket(int64_t *first, int64_t *count, const pumit__sampler *s, int64_t step)
{
    double total = 0;
    for (int64_t i = 0; i < s->count; i += *count) {
        *count = bucket_end(s, i) - i;
        total += weight(s, *count);
    }
    double left = total * pumit__random_uniform(s->options.seed, s->bucket_stream, (uint64_t)step);
    for (*first = 0;; *first += *count) {
        *count = bucket_end(s, *first) - *first;
        left -= weight(s, *count);
        if (left < 0 || *first + *count == s->count) return;
    }
}

static bool contains(const int64_t *values, int64_t count, int64_t value)
{
    for (int64_t i = 0; i < count; i++)
        if (values[i] == value) return true;
    return false;
}

/* `batch` of n places: all different as long as they last (Floyd's method), then with repetition. */
static void draw_images(int64_t *places, int64_t n, const pumit__sampler *s, int64_t step)
{
    const int64_t batch = s->options.batch;
    for (int64_t b = 0; b < batch; b++) {
        const uint64_t counter = (uint64_t)step * (uint64_t)batch + (uint64_t)b;
        const int64_t top = n >= batch ? n - batch + b : n - 1;
        const int64_t drawn =
            pumit__random_below(s->options.seed, s->image_stream, counter, top + 1);
        places[b] = n >= batch && contains(places, b, drawn) ? top : drawn;
    }
}

/* Uniform draws of one sample. */
typedef struct {
    uint64_t seed, stream, counter;
} dice;

static double roll(const dice *d, uint64_t number)
{
    return pumit__random_uniform(d->seed, d->stream, d->counter * DRAWS + number);
}

/* A corner on the working grid. */
static double draw_corner(const dice *d, uint64_t number, int64_t length, double scale,
                          int64_t size)
{
    const int64_t free_voxels = (int64_t)floor((double)length * scale - (double)size + 1e-6);
    if (free_voxels <= 0) return 0;
    return (double)(int64_t)(roll(d, number) * (double)(free_voxels + 1)) / scale;
}

/* Anywhere in the plane at a random scale, mild, and never so small that the crop would leave the image. */
static void zoom_plane(pumit__crop *crop, const entry *e, const dice *d)
{
    double least = LEAST_ZOOM;
    for (int i = 1; i < 3; i++)
        least = fmax(least, (double)crop->size[i] / ((double)e->volume->shape[i] * e->scale[i]));
    const double zoom = least * pow(MOST_ZOOM / least, roll(d, 4));
    for (int i = 1; i < 3; i++) {
        crop->step[i] = 1 / (e->scale[i] * zoom);
        const double room = (double)e->volume->shape[i] - (double)crop->size[i] * crop->step[i];
        crop->start[i] = room > 0 ? room * roll(d, (uint64_t)i) : 0;
    }
}

/* Half of the crops keep the grid, so that unblurred images are seen too. */
static void augment(pumit__crop *crop, const entry *e, const dice *d)
{
    if (roll(d, 3) < 0.5) zoom_plane(crop, e, d);
    crop->flip[1] = roll(d, 5) < 0.5;
    crop->flip[2] = roll(d, 6) < 0.5;
    crop->gain = (float)(0.85 + 0.3 * roll(d, 7));
    crop->gamma = (float)exp(0.5 * roll(d, 8) - 0.25);
}

static pumit__crop draw_crop(const pumit__sampler *s, const entry *e, int64_t step, int64_t b)
{
    const pumit__sampler_options *o = &s->options;
    const dice d = {o->seed, s->crop_stream, (uint64_t)step * (uint64_t)o->batch + (uint64_t)b};
    pumit__crop crop = {.size = {e->depth_tokens * token_depth(o, e->da), o->tokens[1] * o->patch,
                                 o->tokens[2] * o->patch},
                        .gain = 1,
                        .gamma = 1};
    for (int i = 0; i < 3; i++) {
        crop.step[i] = 1 / e->scale[i];
        crop.start[i] =
            draw_corner(&d, (uint64_t)i, e->volume->shape[i], e->scale[i], crop.size[i]);
    }
    if (o->augment) augment(&crop, e, &d);
    return crop;
}

static pumit_status render_all(float *dst, const int64_t *places, const pumit__sampler *s,
                               const entry *entries, int64_t step, int64_t voxels)
{
    const int64_t batch = s->options.batch, channels = s->options.channels;
    const int threads = pumit_context_threads(s->ctx);
    bool failed = false;
#pragma omp parallel for num_threads(threads) schedule(dynamic) reduction(|| : failed)
    for (int64_t b = 0; b < batch; b++) {
        const entry *e = &entries[places[b]];
        const pumit__crop crop = draw_crop(s, e, step, b);
        failed = pumit__crop_render(dst + b * voxels * channels, e->volume, &e->window, &crop,
                                    channels) != PUMIT_OK ||
                 failed;
    }
    return failed ? pumit__fail_memory(voxels * channels * 4, "a crop") : PUMIT_OK;
}

static pumit_status fill_batch(pumit_tensor *tensor, int64_t *places, const pumit__sampler *s,
                               const entry *entries, int64_t step)
{
    void *data;
    PUMIT__TRY(pumit_tensor_data(&data, tensor));
    const int64_t *shape = pumit_tensor_shape(tensor);
    return render_all(data, places, s, entries, step, shape[1] * shape[2] * shape[3]);
}

pumit_status pumit__sampler_batch(pumit_tensor **out, double spacing[3], int64_t *indices,
                                  const pumit__sampler *s, int64_t step)
{
    const pumit__sampler_options *o = &s->options;
    int64_t first, count;
    *out = NULL;
    draw_bucket(&first, &count, s, step);
    const entry *entries = s->entries + first;
    int64_t *places = pumit__calloc(o->batch, sizeof *places);
    if (!places) return pumit__fail_memory(o->batch * (int64_t)sizeof *places, "a batch");
    draw_images(places, count, s, step);
    for (int64_t b = 0; indices && b < o->batch; b++) indices[b] = entries[places[b]].index;
    memcpy(spacing, entries[places[0]].spacing, sizeof entries->spacing);
    const int64_t shape[5] = {o->batch, entries->depth_tokens * token_depth(o, entries->da),
                              o->tokens[1] * o->patch, o->tokens[2] * o->patch, o->channels};
    pumit_tensor *tensor = NULL;
    pumit_status status = pumit_tensor_create(&tensor, s->ctx, PUMIT_F32, 5, shape);
    if (status == PUMIT_OK) status = fill_batch(tensor, places, s, entries, step);
    free(places);
    if (status != PUMIT_OK) {
        pumit_tensor_release(tensor);
        return status;
    }
    *out = tensor;
    return PUMIT_OK;
}
