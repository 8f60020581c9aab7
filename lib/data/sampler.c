/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/data/sampler.h"

#include "lib/data/chance.h"
#include "lib/data/dataset.h"
#include "lib/tensor/context.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define LEAST_SLICE_SCALE 0.8
#define MOST_SLICE_SCALE  1.25
#define MOST_PLANE_ANGLE  90 /* degrees */
#define MOST_SLICE_ANGLE  30

typedef struct {
    pumit_volume *volume;
    pumit__window window;
    double weights; /* of the images up to this one, it included */
} entry;

struct pumit__sampler {
    pumit_context *ctx;
    pumit__sampler_options options;
    entry *entries; /* in the dataset's order */
    int64_t count;
    uint64_t stream;
};

/* An image on a grid. */
typedef struct {
    int64_t image;
    double step[3];    /* source voxels per voxel of the grid */
    bool scaled[3];    /* by chance, so that the grid's corner may lie anywhere */
    double spacing[3]; /* of the grid */
    int32_t da;        /* of that spacing */
    int64_t depth_tokens;
} candidate;

/* -------------------------------------------------------------------------------------------- grids */

static int64_t token_depth(const pumit__sampler_options *o, int32_t da)
{
    const int64_t depth = o->patch >> da;
    return depth < 1 ? 1 : depth;
}

/* How many crops an image is wide or high, whichever is less. */
static double plane_room(const pumit_volume *v, const pumit__sampler_options *o)
{
    double room = INFINITY;
    for (int i = 1; i < 3; i++)
        room = fmin(room, (double)v->shape[i] / (double)(o->tokens[i] * o->patch));
    return room;
}

/*
 * The plane grows until a crop fits, the slice axis alike where voxels are nearly cubes; then both are scaled. What is less
 * than a token deep becomes one.
 */
static pumit_status plan_grid(candidate *c, const pumit_volume *v, const pumit__sampler_options *o,
                              double plane_scale, double slice_scale)
{
    const double fit = fmin(plane_room(v, o), 1);
    c->step[0] = (pumit__nearly_cubes(v->spacing) ? fit : 1) * slice_scale;
    c->step[1] = c->step[2] = fit * plane_scale;
    for (int i = 0; i < 3; i++) c->spacing[i] = v->spacing[i] * c->step[i];
    PUMIT__TRY(pumit_degree_of_anisotropy(&c->da, c->spacing));
    const double depth = (double)v->shape[0], token = (double)token_depth(o, c->da);
    const double tokens = floor(depth / c->step[0] / token + 1e-6);
    c->depth_tokens = tokens < (double)o->tokens[0] ? (int64_t)fmax(tokens, 1) : o->tokens[0];
    if (tokens < 1) c->step[0] = depth / token;
    return PUMIT_OK;
}

/* ------------------------------------------------------------------------------------------- making */

static pumit_status check_range(const pumit__sampler_options *o)
{
    const double chances[] = {o->balance, o->scale_probability, o->slice_scale_probability,
                              o->rotate_probability};
    static const char *const NAMES[] = {"balance", "scale_probability", "slice_scale_probability",
                                        "rotate_probability"};
    for (int i = 0; i < 4; i++)
        PUMIT__REQUIRE(chances[i] >= 0 && chances[i] <= 1, "%s: %g is not in 0..1", NAMES[i],
                       chances[i]);
    PUMIT__REQUIRE(o->scale_probability == 0 ||
                       (o->scale_range[0] > 0 && o->scale_range[0] <= o->scale_range[1] &&
                        isfinite(o->scale_range[1])),
                   "scale_range: [%g, %g] is not a range of positive numbers", o->scale_range[0],
                   o->scale_range[1]);
    return PUMIT_OK;
}

static pumit_status check_options(const pumit__sampler_options *o)
{
    PUMIT__REQUIRE(o->batch >= 1, "a batch of %lld images", (long long)o->batch);
    PUMIT__REQUIRE(o->channels >= 1, "crops of %lld channels", (long long)o->channels);
    PUMIT__REQUIRE(o->patch >= 1, "patches of %lld voxels", (long long)o->patch);
    int64_t values = (int64_t)sizeof(float);
    bool fits =
        pumit__multiply(&values, values, o->batch) && pumit__multiply(&values, values, o->channels);
    for (int i = 0; i < 3; i++) {
        PUMIT__REQUIRE(o->tokens[i] >= 1, "crops of %lld tokens along axis %d",
                       (long long)o->tokens[i], i);
        fits = fits && pumit__multiply(&values, values, o->tokens[i]) &&
               pumit__multiply(&values, values, o->patch);
    }
    PUMIT__REQUIRE(fits, "a batch of %lld crops of %lld x %lld x %lld tokens is too large",
                   (long long)o->batch, (long long)o->tokens[0], (long long)o->tokens[1],
                   (long long)o->tokens[2]);
    return check_range(o);
}

static pumit_status fill_entries(pumit__sampler *s, const pumit_dataset *dataset)
{
    for (int64_t i = 0; i < dataset->count; i++) {
        const pumit__dataset_item *item = &dataset->items[i];
        entry *e = &s->entries[i];
        candidate unscaled;
        *e = (entry){.volume = pumit__volume_retain(item->volume), .weights = item->weight};
        s->count = i + 1;
        PUMIT__REQUIRE(item->weight >= 0 && isfinite(item->weight),
                       "%s: its weight is %g; it must be finite and not negative", item->name,
                       item->weight);
        pumit_status status = pumit__check_channels(e->volume, s->options.channels);
        if (status == PUMIT_OK) status = pumit__window_of(&e->window, e->volume);
        if (status == PUMIT_OK) status = plan_grid(&unscaled, e->volume, &s->options, 1, 1);
        if (status != PUMIT_OK) return pumit__fail_in(status, "%s", item->name);
    }
    return PUMIT_OK;
}

/* From weights to balanced, cumulative ones. */
static pumit_status sum_weights(pumit__sampler *s)
{
    double of_da[PUMIT__MOST_ANISOTROPY + 1] = {0}, sum = 0;
    for (int64_t i = 0; i < s->count; i++)
        of_da[s->entries[i].volume->anisotropy] += s->entries[i].weights;
    for (int64_t i = 0; i < s->count; i++) {
        entry *e = &s->entries[i];
        if (e->weights > 0)
            sum += e->weights * pow(of_da[e->volume->anisotropy], -s->options.balance);
        e->weights = sum;
    }
    PUMIT__REQUIRE(sum > 0 && isfinite(sum),
                   "the weights of all images sum to %g: some must be above 0, and none extreme",
                   sum);
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
    s->stream = pumit__random_stream("sampler");
    s->entries = pumit__calloc(dataset->count, sizeof *s->entries);
    pumit_status status =
        s->entries ? fill_entries(s, dataset)
                   : pumit__fail_memory(dataset->count * (int64_t)sizeof *s->entries, "a sampler");
    if (status == PUMIT_OK) status = sum_weights(s);
    if (status == PUMIT_OK)
        *out = s;
    else
        pumit__sampler_release(s);
    return status;
}

void pumit__sampler_release(pumit__sampler *s)
{
    if (!s) return;
    for (int64_t i = 0; i < s->count; i++) pumit_volume_release(s->entries[i].volume);
    free(s->entries);
    pumit_context_release(s->ctx);
    free(s);
}

/* ------------------------------------------------------------------------------------------ drawing */

/* The random numbers of a candidate. */
enum {
    IMAGE,
    MEMBER,
    PLANE_SCALED,
    PLANE_SCALE,
    SLICE_SCALED,
    SLICE_SCALE,
    PLACE,
    FLIP = PLACE + 3,
    TURNED = FLIP + 3,
    ANGLE,
    TONE = ANGLE + 3 /* two for each change of intensities */
};

static pumit__dice dice_of(const pumit__sampler *s, int64_t step, int64_t k)
{
    return (pumit__dice){pumit__random(s->options.seed, s->stream, (uint64_t)step), (uint64_t)k};
}

/* The image on whose share of all weights `u` falls. */
static int64_t find_image(const pumit__sampler *s, double u)
{
    const double place = u * s->entries[s->count - 1].weights;
    int64_t low = 0, high = s->count - 1;
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        if (s->entries[middle].weights > place)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* Candidate k of a step. */
static pumit_status draw_candidate(candidate *c, const pumit__sampler *s, int64_t step, int64_t k)
{
    const pumit__sampler_options *o = &s->options;
    const pumit__dice d = dice_of(s, step, k);
    double plane_scale = 1, slice_scale = 1;
    *c = (candidate){.image = find_image(s, pumit__roll(&d, IMAGE))};
    const pumit_volume *v = s->entries[c->image].volume;
    if (o->augment && pumit__roll(&d, PLANE_SCALED) < o->scale_probability) {
        const double most = fmax(plane_room(v, o), 1); /* then the crop is the whole image */
        plane_scale =
            pumit__log_uniform(fmin(o->scale_range[0], most), fmin(o->scale_range[1], most),
                               pumit__roll(&d, PLANE_SCALE));
        c->scaled[1] = c->scaled[2] = true;
    }
    if (o->augment && pumit__nearly_cubes(v->spacing) &&
        pumit__roll(&d, SLICE_SCALED) < o->slice_scale_probability) {
        slice_scale =
            pumit__log_uniform(LEAST_SLICE_SCALE, MOST_SLICE_SCALE, pumit__roll(&d, SLICE_SCALE));
        c->scaled[0] = true;
    }
    return plan_grid(c, v, o, plane_scale, slice_scale);
}

static void draw_turn(pumit__crop *crop, const pumit__dice *d, bool cubes)
{
    crop->turned = true;
    for (int i = 0; i < 3; i++) crop->turn[i][i] = 1;
    if (cubes) {
        pumit__turn_further(crop->turn, 0, 1,
                            MOST_SLICE_ANGLE * (2 * pumit__roll(d, ANGLE + 1) - 1));
        pumit__turn_further(crop->turn, 0, 2,
                            MOST_SLICE_ANGLE * (2 * pumit__roll(d, ANGLE + 2) - 1));
    }
    pumit__turn_further(crop->turn, 1, 2, MOST_PLANE_ANGLE * (2 * pumit__roll(d, ANGLE) - 1));
}

static void augment(pumit__crop *crop, const pumit__sampler_options *o, const pumit__dice *d,
                    bool cubes)
{
    for (int i = cubes ? 0 : 1; i < 3; i++) crop->flip[i] = pumit__roll(d, FLIP + i) < 0.5;
    if (pumit__roll(d, TURNED) < o->rotate_probability) draw_turn(crop, d, cubes);
    crop->gain = pumit__draw_factor(d, TONE + 2 * 0, 0.5, 0.85, 1.15);
    crop->contrast = pumit__draw_factor(d, TONE + 2 * 1, 0.5, 0.8, 1.2);
    crop->gamma = pumit__draw_factor(d, TONE + 2 * 2, 0.3, 0.7, 1.5);
    crop->inverse_gamma = pumit__draw_factor(d, TONE + 2 * 3, 0.3, 0.7, 1.5);
}

/* On the voxels of an axis's own grid: so what is not scaled is not blurred either. */
static double draw_whole(double u, int64_t length, double step, int64_t size)
{
    const int64_t room = (int64_t)floor((double)length / step - (double)size + 1e-6);
    return room > 0 ? (double)(int64_t)(u * (double)(room + 1)) * step : 0;
}

/* Within the image if it is large enough, else about its middle. */
static double draw_anywhere(double u, int64_t length, double reach)
{
    const double room = (double)length - 2 * reach;
    return room > 0 ? reach + u * room : (double)length / 2;
}

static pumit__crop draw_crop(const pumit__sampler *s, const candidate *c, const pumit__dice *d)
{
    const pumit__sampler_options *o = &s->options;
    const pumit_volume *v = s->entries[c->image].volume;
    pumit__crop crop = {.size = {c->depth_tokens * token_depth(o, c->da), o->tokens[1] * o->patch,
                                 o->tokens[2] * o->patch},
                        .gain = 1,
                        .contrast = 1,
                        .gamma = 1,
                        .inverse_gamma = 1};
    double reach[3];
    memcpy(crop.step, c->step, sizeof crop.step);
    if (o->augment) augment(&crop, o, d, pumit__nearly_cubes(v->spacing));
    pumit__crop_reach(reach, v, &crop);
    for (int i = 0; i < 3; i++) {
        const double u = pumit__roll(d, PLACE + i);
        if (crop.turned || c->scaled[i])
            crop.start[i] =
                draw_anywhere(u, v->shape[i], reach[i]) - (double)crop.size[i] * crop.step[i] / 2;
        else
            crop.start[i] = draw_whole(u, v->shape[i], crop.step[i], crop.size[i]);
    }
    return crop;
}

/* ------------------------------------------------------------------------------------------ batches */

void pumit__crops_free(pumit__crops *crops)
{
    free(crops->drawn);
    free(crops->values);
    *crops = (pumit__crops){0};
}

static int64_t voxels_of(const pumit__drawn *drawn)
{
    return drawn->size[0] * drawn->size[1] * drawn->size[2];
}

static bool contains(const pumit__drawn *drawn, int64_t count, int64_t image)
{
    for (int64_t i = 0; i < count; i++)
        if (drawn[i].image == image) return true;
    return false;
}

/* Room for crop number `b` behind those before it. */
static pumit_status reserve(pumit__crops *crops, int64_t b, const pumit__sampler *s,
                            const candidate *c)
{
    const pumit__sampler_options *o = &s->options;
    if (!pumit__grow(&crops->drawn, &crops->drawn_capacity, o->batch, sizeof *crops->drawn))
        return pumit__fail_memory(o->batch * (int64_t)sizeof *crops->drawn, "a batch");
    pumit__drawn *const drawn = &crops->drawn[b];
    *drawn = (pumit__drawn){.image = c->image,
                            .size = {c->depth_tokens * token_depth(o, c->da),
                                     o->tokens[1] * o->patch, o->tokens[2] * o->patch},
                            .da = c->da,
                            .depth_tokens = c->depth_tokens};
    memcpy(drawn->spacing, c->spacing, sizeof drawn->spacing);
    const int64_t values = voxels_of(drawn) * o->channels;
    if (b > 0) drawn->at = drawn[-1].at + voxels_of(drawn - 1) * o->channels;
    /* All of a batch of one kind at once: growing step by step would copy. */
    const int64_t needed = drawn->at + values * (o->mixed ? 1 : o->batch - b);
    if (pumit__grow(&crops->values, &crops->values_capacity, needed, sizeof *crops->values))
        return PUMIT_OK;
    return pumit__fail_memory(needed * (int64_t)sizeof *crops->values, "a batch");
}

/* A crop of the candidate as number `b` of the batch. */
static pumit_status render_crop(pumit__crops *crops, int64_t b, pumit__crop_scratch *scratch,
                                const pumit__sampler *s, const candidate *c, const pumit__dice *d)
{
    const int64_t channels = s->options.channels;
    const entry *e = &s->entries[c->image];
    const pumit__crop crop = draw_crop(s, c, d);
    PUMIT__TRY(reserve(crops, b, s, c));
    crops->drawn[b].gray = pumit__crop_channels(e->volume, channels) < channels;
    return pumit__crop_render(crops->values + crops->drawn[b].at, e->volume, &e->window, &crop,
                              channels, scratch);
}

/* An image that cannot be read is left out, with a note; what concerns all is not. */
static pumit_status leave_out(pumit__crops *crops, pumit_status status)
{
    if (status == PUMIT_ERROR_OUT_OF_MEMORY) return status;
    crops->failed++;
    snprintf(crops->reason, sizeof crops->reason, "%s", pumit_last_error());
    return PUMIT_OK;
}

/*
 * After `most` candidates (half of them without an image twice) the bucket is taken for a small one, and its crops so far are
 * drawn again, at other places.
 */
static pumit_status next_candidate(candidate *c, int64_t *draw, bool *fits,
                                   const pumit__crops *crops, int64_t count, int64_t most,
                                   const pumit__sampler *s, int64_t step, int64_t k)
{
    const pumit__dice d = dice_of(s, step, k);
    const pumit__drawn *const drawn = crops->drawn;
    *draw = k < most ? k : drawn[(int64_t)(pumit__roll(&d, MEMBER) * (double)count)].draw;
    PUMIT__TRY(draw_candidate(c, s, step, *draw));
    *fits = count == 0 || s->options.mixed ||
            (c->da == drawn->da && c->depth_tokens == drawn->depth_tokens);
    if (k < most / 2 && contains(drawn, count, c->image)) *fits = false;
    return PUMIT_OK;
}

pumit_status pumit__sampler_render(pumit__crops *crops, pumit__crop_scratch *scratch,
                                   const pumit__sampler *s, int64_t step)
{
    const int64_t batch = s->options.batch, most = 64 * batch + 1000;
    int64_t count = 0, draw;
    pumit_status status = PUMIT_OK;
    crops->failed = 0;
    for (int64_t k = 0; count < batch && k < (count > 0 ? 2 : 1) * most; k++) {
        candidate c;
        bool fits;
        PUMIT__TRY(next_candidate(&c, &draw, &fits, crops, count, most, s, step, k));
        if (!fits) continue;
        const pumit__dice d = dice_of(s, step, k);
        status = render_crop(crops, count, scratch, s, &c, &d);
        if (status != PUMIT_OK)
            PUMIT__TRY(leave_out(crops, status));
        else
            crops->drawn[count++].draw = draw;
    }
    if (count == batch) return PUMIT_OK;
    return pumit__fail(status,
                       "%lld of the images drawn for a batch could not be read; the last: %s",
                       (long long)crops->failed, crops->reason);
}

int64_t pumit__sampler_tensors(const pumit__sampler *s)
{
    return s->options.mixed ? s->options.batch : 1;
}

/* `n` crops of one size. */
static pumit_status make_tensor(pumit_tensor **out, const pumit__sampler *s,
                                const pumit__crops *crops, const pumit__drawn *drawn, int64_t n)
{
    const int64_t *const size = drawn->size, channels = s->options.channels;
    const int64_t shape[5] = {n, size[0], size[1], size[2], channels}, voxels = voxels_of(drawn);
    void *data;
    PUMIT__TRY(pumit_tensor_create(out, s->ctx, PUMIT_F32, 5, shape));
    PUMIT__TRY(pumit_tensor_data(&data, *out));
    for (int64_t b = 0; b < n; b++) {
        float *dst = (float *)data + b * voxels * channels;
        const float *src = crops->values + drawn[b].at;
        if (drawn[b].gray)
            pumit__repeat_gray(dst, src, voxels, channels);
        else
            memcpy(dst, src, (size_t)(voxels * channels) * sizeof *dst);
    }
    return PUMIT_OK;
}

pumit_status pumit__sampler_hand_over(pumit_tensor **out, double *spacing, int64_t *indices,
                                      const pumit__sampler *s, const pumit__crops *crops)
{
    const int64_t batch = s->options.batch, tensors = pumit__sampler_tensors(s),
                  n = batch / tensors;
    pumit_status status = PUMIT_OK;
    memset(out, 0, (size_t)tensors * sizeof *out);
    if (crops->failed > 0)
        pumit__log(s->ctx, PUMIT_LOG_WARNING, "%lld images left out of a batch; the last: %s",
                   (long long)crops->failed, crops->reason);
    for (int64_t i = 0; i < tensors && status == PUMIT_OK; i++) {
        const pumit__drawn *const drawn = &crops->drawn[i * n];
        status = make_tensor(&out[i], s, crops, drawn, n);
        memcpy(spacing + 3 * i, drawn->spacing, sizeof drawn->spacing);
    }
    for (int64_t i = 0; i < tensors && status != PUMIT_OK; i++) {
        pumit_tensor_release(out[i]);
        out[i] = NULL;
    }
    for (int64_t b = 0; b < batch && indices; b++) indices[b] = crops->drawn[b].image;
    return status;
}

pumit_status pumit__sampler_batch(pumit_tensor **out, double *spacing, int64_t *indices,
                                  const pumit__sampler *sampler, int64_t step)
{
    pumit__crop_scratch scratch = {0};
    pumit__crops crops = {0};
    memset(out, 0, (size_t)pumit__sampler_tensors(sampler) * sizeof *out);
    pumit_status status = pumit__sampler_render(&crops, &scratch, sampler, step);
    if (status == PUMIT_OK)
        status = pumit__sampler_hand_over(out, spacing, indices, sampler, &crops);
    pumit__crops_free(&crops);
    pumit__crop_scratch_free(&scratch);
    return status;
}
