/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/data/patches.h"

#include "lib/data/chance.h"
#include "lib/data/crop.h"
#include "lib/data/dataset.h"
#include "lib/data/degrade.h"
#include "lib/data/regrid.h"
#include "lib/tensor/context.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define KEPT_VOXELS    1024 /* of each class of an image, to put patches about */
#define MOST_ANGLE     30   /* degrees */
#define MOST_DEVIATION 0.08 /* of noise */
#define BLUR_LEAST     0.5  /* voxels */
#define BLUR_MOST      1.0
#define MOST_COARSER   2.0

/* Voxels of one class of an image, evenly taken among all. */
typedef struct {
    int64_t seen, count, most;
    double step, next; /* of those seen, which is kept next */
    int64_t voxels[];  /* (most) */
} places;

typedef struct {
    pumit_volume *volume; /* on the network's voxels */
    pumit__window window; /* of its intensities */
    pumit_label_map *map; /* on the same voxels */
    places **classes;     /* of the classes that occur, background left out */
    int64_t class_count;
    double weight; /* of the images of its degree of anisotropy up to this one, it included */
} entry;

struct pumit__patches {
    pumit_context *ctx;
    pumit__patches_options options;
    entry *entries;
    int64_t count;
    double weights[PUMIT__MOST_ANISOTROPY + 1]; /* of the images of each degree of anisotropy */
    uint64_t stream;
    pumit__crop_scratch scratch;
    float *spare; /* one patch */
    int64_t spare_capacity;
};

/* ------------------------------------------------------------------------------------------- making */

static pumit_status add_class(places **out, entry *e, int64_t count)
{
    const int64_t most = count < KEPT_VOXELS ? count : KEPT_VOXELS;
    const int64_t bytes = (int64_t)sizeof(places) + most * (int64_t)sizeof *(*out)->voxels;
    places *const found = pumit__calloc(bytes, 1);
    if (!found) return pumit__fail_memory(bytes, "places of classes");
    found->most = most;
    found->step = (double)count / (double)most;
    *out = e->classes[e->class_count++] = found;
    return PUMIT_OK;
}

static void add_place(places *found, int64_t voxel)
{
    if ((double)found->seen++ < found->next || found->count == found->most) return;
    found->voxels[found->count++] = voxel;
    found->next += found->step;
}

/* Two walks over the voxels, however many classes there are. */
static pumit_status find_classes(entry *e)
{
    const uint8_t *const labels = e->map->labels;
    const int64_t *const s = e->map->shape, voxels = s[0] * s[1] * s[2];
    int64_t counts[PUMIT__MOST_CLASSES] = {0};
    places *of[PUMIT__MOST_CLASSES] = {NULL};
    e->classes = pumit__calloc(PUMIT__MOST_CLASSES, (int64_t)sizeof *e->classes);
    if (!e->classes) return pumit__fail_memory(8 * PUMIT__MOST_CLASSES, "places of classes");
    for (int64_t i = 0; i < voxels; i++) counts[labels[i]]++;
    for (int64_t label = 1; label < PUMIT__MOST_CLASSES; label++)
        if (counts[label] > 0) PUMIT__TRY(add_class(&of[label], e, counts[label]));
    for (int64_t i = 0; i < voxels; i++)
        if (of[labels[i]]) add_place(of[labels[i]], i);
    return PUMIT_OK;
}

/* The item on voxels of this spacing; where they are its own, it is not copied. */
static pumit_status add_entry(pumit__patches *p, const pumit__dataset_item *item,
                              const double spacing[3], double weight)
{
    entry *const e = &p->entries[p->count++];
    if (pumit__regrid_keeps(item->volume, spacing)) {
        e->volume = pumit__volume_retain(item->volume);
        e->map = pumit__label_map_retain(item->label_map);
    } else {
        PUMIT__TRY(pumit__regrid_volume(&e->volume, p->ctx, item->volume, spacing));
        PUMIT__TRY(pumit__regrid_labels(&e->map, p->ctx, item->label_map, item->volume, e->volume));
    }
    PUMIT__TRY(pumit__window_of(&e->window, e->volume));
    p->weights[e->volume->anisotropy] += weight;
    e->weight = p->weights[e->volume->anisotropy];
    return find_classes(e);
}

/* The image, and if wanted what a scanner with thicker slices would have made of it. */
static pumit_status add_item(pumit__patches *p, const pumit__dataset_item *item)
{
    if (!item->label_map)
        return pumit__fail(PUMIT_ERROR_INVALID_ARGUMENT,
                           "has no label map: every image to learn segmentation from needs one");
    PUMIT__TRY(pumit__check_channels(item->volume, p->options.channels));
    PUMIT__REQUIRE(item->weight >= 0 && isfinite(item->weight),
                   "its weight is %g; it must be finite and not negative", item->weight);
    const double *const own = p->options.spacing, share = p->options.thick;
    double thicker[3];
    int64_t size[3];
    const bool thick = share > 0 && pumit__regrid_thicker(thicker, size, item->volume, own, 1);
    PUMIT__TRY(add_entry(p, item, own, thick ? item->weight * (1 - share) : item->weight));
    for (int32_t k = 1; k <= PUMIT__THICKER && thick; k++) {
        pumit__regrid_thicker(thicker, size, item->volume, own, k);
        PUMIT__TRY(add_entry(p, item, thicker, item->weight * share / PUMIT__THICKER));
    }
    return PUMIT_OK;
}

static pumit_status fill_entries(pumit__patches *p, const pumit_dataset *dataset)
{
    double sum = 0;
    for (int64_t i = 0; i < dataset->count; i++) {
        const pumit__dataset_item *const item = &dataset->items[i];
        const pumit_status status = add_item(p, item);
        sum += item->weight;
        if (status != PUMIT_OK) return pumit__fail_in(status, "%s", item->name);
    }
    PUMIT__REQUIRE(sum > 0 && isfinite(sum), "the weights of all images sum to %g", sum);
    return PUMIT_OK;
}

pumit_status pumit__patches_create(pumit__patches **out, pumit_context *ctx,
                                   const pumit_dataset *dataset,
                                   const pumit__patches_options *options)
{
    *out = NULL;
    pumit__patches *p = pumit__calloc(1, (int64_t)sizeof *p);
    if (!p) return pumit__fail_memory((int64_t)sizeof *p, "patches");
    p->ctx = pumit__context_retain(ctx);
    p->options = *options;
    p->stream = pumit__random_stream("patches");
    p->entries = pumit__calloc(dataset->count, (1 + PUMIT__THICKER) * (int64_t)sizeof *p->entries);
    const pumit_status status =
        p->entries ? fill_entries(p, dataset)
                   : pumit__fail_memory(dataset->count * (int64_t)sizeof *p->entries, "patches");
    if (status == PUMIT_OK)
        *out = p;
    else
        pumit__patches_release(p);
    return status;
}

void pumit__patches_release(pumit__patches *p)
{
    if (!p) return;
    for (int64_t i = 0; i < p->count; i++) {
        entry *const e = &p->entries[i];
        for (int64_t c = 0; c < e->class_count; c++) free(e->classes[c]);
        free(e->classes);
        pumit_label_map_release(e->map);
        pumit_volume_release(e->volume);
    }
    free(p->entries);
    free(p->spare);
    pumit__crop_scratch_free(&p->scratch);
    pumit_context_release(p->ctx);
    free(p);
}

/* ------------------------------------------------------------------------------------------ drawing */

/* The random numbers of a patch. */
enum {
    IMAGE,
    ABOUT, /* a class? */
    CLASS,
    VOXEL,
    PLACE, /* three */
    FLIP = PLACE + 3,
    ROTATED = FLIP + 3,
    ANGLE, /* three */
    SCALED = ANGLE + 3,
    SCALE,
    NOISY,
    NOISE,
    BLURRED,
    BLUR,
    LOWERED,
    LOWER,
    TONE /* two for each of four */
};

/* The image of this degree of anisotropy on whose share of the weights `u` falls. */
static const entry *find_entry(const pumit__patches *p, int32_t da, double u)
{
    const entry *last = NULL;
    for (int64_t i = 0; i < p->count; i++) {
        if (p->entries[i].volume->anisotropy != da) continue;
        last = &p->entries[i];
        if (last->weight > u * p->weights[da]) return last;
    }
    return last;
}

static int32_t draw_anisotropy(const pumit__patches *p, double u)
{
    double sum = 0, all = 0;
    for (int32_t da = 0; da <= PUMIT__MOST_ANISOTROPY; da++) all += p->weights[da];
    int32_t last = 0;
    for (int32_t da = 0; da <= PUMIT__MOST_ANISOTROPY; da++) {
        if (p->weights[da] == 0) continue;
        last = da;
        sum += p->weights[da];
        if (sum > u * all) break;
    }
    return last;
}

static void draw_turn(pumit__crop *crop, const pumit__dice *d, const pumit_volume *v)
{
    const bool cubes = pumit__nearly_cubes(v->spacing);
    for (int k = 0; k < 3; k++) {
        const double degrees = MOST_ANGLE * (2 * pumit__roll(d, ANGLE + k) - 1);
        if (k == 0)
            pumit__turn_further(crop->turn, 1, 2, degrees);
        else if (cubes)
            pumit__turn_further(crop->turn, 0, k, degrees);
    }
}

/* Where the patch's middle goes: about a voxel of a class, within the image where it is large enough; else anywhere there. */
static void draw_place(pumit__crop *crop, const pumit__dice *d, const entry *e, double foreground)
{
    const int64_t *const shape = e->volume->shape;
    double middle[3], reach[3];
    const bool about = e->class_count > 0 && pumit__roll(d, ABOUT) < foreground;
    if (about) {
        const places *const of =
            e->classes[(int64_t)(pumit__roll(d, CLASS) * (double)e->class_count)];
        const int64_t voxel = of->voxels[(int64_t)(pumit__roll(d, VOXEL) * (double)of->count)];
        middle[0] = (double)(voxel / (shape[1] * shape[2]));
        middle[1] = (double)(voxel / shape[2] % shape[1]);
        middle[2] = (double)(voxel % shape[2]);
    }
    pumit__crop_reach(reach, e->volume, crop);
    for (int i = 0; i < 3; i++) {
        const double length = (double)shape[i];
        const double a = fmin(reach[i], length - reach[i]), b = fmax(reach[i], length - reach[i]);
        const double u = pumit__roll(d, PLACE + i);
        double at = about ? fmin(fmax(middle[i] + u, a), b) : a + u * (b - a);
        /* Half a voxel away from the grid everything would be blurred for nothing. */
        if (crop->step[i] == 1 && crop->turn[i][i] == 1)
            at = round(at - (double)crop->size[i] / 2) + (double)crop->size[i] / 2;
        crop->start[i] = at - (double)crop->size[i] * crop->step[i] / 2;
    }
}

static pumit__crop draw_crop(const pumit__patches *p, const entry *e, const pumit__dice *d)
{
    const pumit__patch_changes *const c = &p->options.changes;
    pumit__crop crop = {
        .step = {1, 1, 1}, .turned = true, .turn = {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}};
    memcpy(crop.size, p->options.size[e->volume->anisotropy], sizeof crop.size);
    if (pumit__roll(d, SCALED) < c->scale)
        for (int i = 0; i < 3; i++)
            crop.step[i] =
                pumit__log_uniform(c->scale_range[0], c->scale_range[1], pumit__roll(d, SCALE));
    if (pumit__roll(d, ROTATED) < c->rotate) draw_turn(&crop, d, e->volume);
    for (int i = 0; i < 3; i++) crop.flip[i] = pumit__roll(d, FLIP + i) < c->flip[i];
    crop.gain = pumit__draw_factor(d, TONE + 2 * 0, c->tone, 0.75, 1.25);
    crop.contrast = pumit__draw_factor(d, TONE + 2 * 1, c->tone, 0.75, 1.25);
    crop.gamma = pumit__draw_factor(d, TONE + 2 * 2, c->tone, 0.7, 1.5);
    crop.inverse_gamma = pumit__draw_factor(d, TONE + 2 * 3, c->tone, 0.7, 1.5);
    if (e->volume->shape[0] == 1) crop.step[0] = 1;
    draw_place(&crop, d, e, p->options.foreground);
    return crop;
}

/* ------------------------------------------------------------------------------------------ batches */

/* A thick slice is not made thicker yet. */
static pumit_status degrade(float *values, pumit__patches *p, const pumit__crop *crop,
                            const pumit_volume *v, int64_t channels, const pumit__dice *d)
{
    const pumit__patch_changes *const c = &p->options.changes;
    const int64_t count = crop->size[0] * crop->size[1] * crop->size[2] * channels;
    const bool chosen[3] = {v->anisotropy == 0, true, true};
    if (!pumit__grow(&p->spare, &p->spare_capacity, count, (int64_t)sizeof *p->spare))
        return pumit__fail_memory(count * (int64_t)sizeof *p->spare, "a patch");
    if (pumit__roll(d, BLURRED) < c->blur)
        pumit__blur(values, p->spare, crop->size, channels,
                    pumit__log_uniform(BLUR_LEAST, BLUR_MOST, pumit__roll(d, BLUR)), chosen);
    if (pumit__roll(d, LOWERED) < c->low_resolution)
        pumit__lower_resolution(values, p->spare, crop->size, channels,
                                1 + (MOST_COARSER - 1) * pumit__roll(d, LOWER), chosen);
    if (pumit__roll(d, NOISY) < c->noise)
        pumit__add_noise(values, crop->size, channels, MOST_DEVIATION * pumit__roll(d, NOISE),
                         d->seed, d->stream ^ pumit__random_stream("patches.noise"));
    return PUMIT_OK;
}

/* One patch into its place of the batch. */
static pumit_status render(float *image, uint8_t *labels, pumit__patches *p, const entry *e,
                           const pumit__dice *d)
{
    const int64_t channels = p->options.channels;
    const int64_t computed = pumit__crop_channels(e->volume, channels);
    const pumit__crop crop = draw_crop(p, e, d);
    const int64_t count = crop.size[0] * crop.size[1] * crop.size[2];
    /* A gray patch is computed at the end of its place, from where it is repeated. */
    float *const at = image + count * (channels - computed);
    pumit__crop_labels(labels, e->map->labels, e->volume, &crop);
    PUMIT__TRY(pumit__crop_render(at, e->volume, &e->window, &crop, channels, &p->scratch));
    PUMIT__TRY(degrade(at, p, &crop, e->volume, computed, d));
    if (computed < channels) pumit__repeat_gray(image, at, count, channels);
    return PUMIT_OK;
}

static pumit_status fill(pumit_tensor *image, pumit_tensor *labels, double spacing[3],
                         pumit__patches *p, int32_t da, uint64_t seed)
{
    void *values, *classes;
    PUMIT__TRY(pumit_tensor_data(&values, image));
    PUMIT__TRY(pumit_tensor_data(&classes, labels));
    const int64_t *const size = p->options.size[da], count = size[0] * size[1] * size[2];
    for (int64_t b = 0; b < p->options.batch; b++) {
        const pumit__dice d = {seed, (uint64_t)b};
        const entry *const e = find_entry(p, da, pumit__roll(&d, IMAGE));
        if (b == 0) pumit_volume_spacing(e->volume, spacing);
        PUMIT__TRY(render((float *)values + b * count * p->options.channels,
                          (uint8_t *)classes + b * count, p, e, &d));
    }
    return PUMIT_OK;
}

pumit_status pumit__patches_take(pumit_tensor **image, pumit_tensor **labels, double spacing[3],
                                 pumit__patches *p, int64_t draw)
{
    const uint64_t seed = pumit__random(p->options.seed, p->stream, (uint64_t)draw);
    const int32_t da = draw_anisotropy(p, pumit__random_uniform(seed, p->stream, 0));
    const int64_t *const size = p->options.size[da];
    const int64_t shape[5] = {p->options.batch, size[0], size[1], size[2], p->options.channels};
    *image = *labels = NULL;
    pumit_status status = pumit_tensor_create(image, p->ctx, PUMIT_F32, 5, shape);
    if (status == PUMIT_OK) status = pumit_tensor_create(labels, p->ctx, PUMIT_U8, 4, shape);
    if (status == PUMIT_OK) status = fill(*image, *labels, spacing, p, da, seed);
    if (status == PUMIT_OK) return PUMIT_OK;
    pumit_tensor_release(*image);
    pumit_tensor_release(*labels);
    *image = *labels = NULL;
    return status;
}
