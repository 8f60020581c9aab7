/* SPDX-License-Identifier: Apache-2.0 */
/* What segmenters learn from: images and label maps on other voxels, and patches of both. */
#include "lib/data/dataset.h"
#include "lib/data/patches.h"
#include "lib/data/regrid.h"
#include "lib/tensor/tensor.h"
#include "tests/image_files.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

Suite *suite_patches(void);

/* -------------------------------------------------------------------------------------------- images */

static pumit_dataset set; /* of the running test */

static void setup(void)
{
    files_setup();
    set = (pumit_dataset){0};
    set.items = calloc(8, sizeof *set.items);
    ck_assert_ptr_nonnull(set.items);
}

static void teardown(void)
{
    for (int64_t i = 0; i < set.count; i++) {
        pumit_volume_release(set.items[i].volume);
        pumit_label_map_release(set.items[i].label_map);
        free(set.items[i].name);
    }
    free(set.items);
    files_teardown();
}

/* Intensities are taken as they are. `spacing` NULL: a 2D image. */
static pumit_volume *make_volume(const int64_t size[3], const double *spacing, int64_t channels,
                                 const float *values)
{
    pumit_volume *volume;
    double affine[16] = {0};
    if (spacing) {
        affine[8] = spacing[0];
        affine[5] = spacing[1];
        affine[2] = spacing[2];
        affine[3] = -7;
        affine[7] = 5;
        affine[11] = 3;
        affine[15] = 1;
    }
    CHECK_OK(pumit_volume_create(&volume, files_context, PUMIT_F32, size, channels, values,
                                 spacing ? affine : NULL));
    ck_assert_int_eq(memcmp(volume->shape, size, 3 * sizeof *size), 0);
    volume->normalised = true;
    return volume;
}

/* The set takes the volume; `labels` NULL: it has no label map. */
static void put(pumit_volume *volume, const uint8_t *labels, double weight)
{
    pumit__dataset_item *const item = &set.items[set.count];
    char name[32];
    snprintf(name, sizeof name, "image %lld", (long long)set.count);
    *item = (pumit__dataset_item){.volume = volume, .name = strdup(name), .weight = weight};
    ck_assert_ptr_nonnull(item->name);
    if (labels) CHECK_OK(pumit_label_map_create(&item->label_map, files_context, volume, labels));
    set.count++;
}

/* An image of one value, and labels of one class. */
static void put_even(const int64_t size[3], const double *spacing, float value, uint8_t label,
                     double weight)
{
    const int64_t count = size[0] * size[1] * size[2];
    float *values = malloc((size_t)count * sizeof *values);
    uint8_t *labels = malloc((size_t)count);
    ck_assert(values && labels);
    for (int64_t i = 0; i < count; i++) values[i] = value;
    memset(labels, label, (size_t)count);
    put(make_volume(size, spacing, 1, values), labels, weight);
    free(values);
    free(labels);
}

/* ---------------------------------------------------------------------------------------- other voxels */

static const struct grid {
    int64_t size[3];
    double own[3], wanted[3];
    bool flat; /* 2D: own[0] is not its own */
    int64_t expected[3];
} GRIDS[] = {
    {{8, 12, 10}, {2, 1, 1.25}, {0, 0, 0}, false, {8, 12, 10}},
    {{8, 12, 10}, {2, 1, 1.25}, {1, 0.5, 0.52}, false, {16, 24, 24}},
    {{8, 12, 10}, {2, 1, 1.25}, {4, 2, 2.5}, false, {4, 6, 5}},
    {{9, 13, 11}, {2, 1, 1.25}, {0, 0.7, 0}, false, {9, 19, 11}},
    {{9, 13, 11}, {2, 1, 1.25}, {3, 0, 0}, false, {6, 13, 11}},
    {{9, 12, 10}, {2, 1, 1.25}, {1000, 1, 1.25}, false, {1, 12, 10}},
    {{1, 12, 10}, {0, 1, 1}, {3, 0.5, 0.5}, true, {1, 24, 20}},
    {{1, 12, 10}, {0, 1, 1}, {0.1, 2, 2}, true, {1, 6, 5}},
};

static void world_of(double world[3], const pumit_volume *volume, int64_t voxel)
{
    const int64_t *const s = volume->shape;
    const double at[3] = {(double)(voxel / (s[1] * s[2])), (double)(voxel / s[2] % s[1]),
                          (double)(voxel % s[2])};
    for (int row = 0; row < 3; row++) {
        world[row] = volume->affine[4 * row + 3];
        for (int i = 0; i < 3; i++) world[row] += volume->affine[4 * row + i] * at[i];
    }
}

static float ramp_at(const double world[3])
{
    return (float)(0.3 + 0.01 * world[0] + 0.012 * world[1] + 0.008 * world[2]);
}

/* The voxel's place among those of `volume`, whose axes are those of the world. */
static void place_in(double place[3], const pumit_volume *volume, const double world[3])
{
    for (int i = 0; i < 3; i++)
        place[i] =
            (world[2 - i] - volume->affine[4 * (2 - i) + 3]) / volume->affine[4 * (2 - i) + i];
}

/* Far enough from the edges, which repeat. */
static bool is_inner(const double place[3], const pumit_volume *volume, const pumit_volume *target)
{
    for (int i = 0; i < 3; i++) {
        if (volume->shape[i] == target->shape[i]) continue;
        const double reach = fmax(1, volume->shape[i] / (double)target->shape[i]);
        if (place[i] < reach || place[i] > (double)volume->shape[i] - 1 - reach) return false;
    }
    return true;
}

static pumit_volume *make_ramp(const struct grid *g)
{
    const int64_t count = g->size[0] * g->size[1] * g->size[2];
    float *values = calloc((size_t)count, sizeof *values);
    ck_assert_ptr_nonnull(values);
    pumit_volume *const volume = make_volume(g->size, g->flat ? NULL : g->own, 1, values);
    for (int64_t i = 0; i < count; i++) {
        double world[3];
        world_of(world, volume, i);
        volume->voxels[i] = ramp_at(world);
    }
    free(values);
    return volume;
}

/* An image that is linear in world coordinates is the same on any voxels; coarse ones may be a little off their middle. */
START_TEST(ramps_stay_in_their_place)
{
    const struct grid *const g = &GRIDS[_i];
    pumit_volume *const volume = make_ramp(g), *target;
    CHECK_OK(pumit__regrid_volume(&target, files_context, volume, g->wanted));
    int64_t inner = 0, size[3];
    double step[3];
    pumit__regrid_plan(size, step, volume, g->wanted);
    for (int i = 0; i < 3; i++) {
        const bool own = g->wanted[i] == 0 || (g->flat && i == 0);
        ck_assert_int_eq(target->shape[i], g->expected[i]);
        ck_assert_int_eq(size[i], g->expected[i]);
        const double spacing = own ? volume->spacing[i] : g->wanted[i];
        ck_assert(isinf(spacing) ? isinf(target->spacing[i])
                                 : fabs(target->spacing[i] - spacing) <= 1e-9);
    }
    for (int64_t i = 0; i < size[0] * size[1] * size[2]; i++) {
        double world[3], place[3];
        world_of(world, target, i);
        place_in(place, volume, world);
        if (!is_inner(place, volume, target)) continue;
        inner++;
        double bound = 1e-5;
        for (int k = 0; k < 3; k++)
            if (step[k] > 1) bound += 0.1 * 0.012 * volume->spacing[k];
        ck_assert_msg(fabsf(target->voxels[i] - ramp_at(world)) <= bound, "voxel %lld: %g, not %g",
                      (long long)i, target->voxels[i], ramp_at(world));
    }
    ck_assert(inner > 0 || g->expected[0] == 1);
    int32_t da;
    CHECK_OK(pumit_degree_of_anisotropy(&da, target->spacing));
    ck_assert_int_eq(target->anisotropy, da);
    pumit_volume_release(target);
    pumit_volume_release(volume);
}
END_TEST

/* Of voxels that are equally near, the further one. */
START_TEST(labels_are_those_of_the_nearest_voxels)
{
    const struct grid *const g = &GRIDS[_i];
    pumit_volume *const volume = make_ramp(g), *target;
    uint8_t source[2000];
    pumit_label_map *map, *found;
    for (int i = 0; i < 2000; i++) source[i] = (uint8_t)(i * 7919 % 251);
    CHECK_OK(pumit_label_map_create(&map, files_context, volume, source));
    CHECK_OK(pumit__regrid_volume(&target, files_context, volume, g->wanted));
    CHECK_OK(pumit__regrid_labels(&found, files_context, map, volume, target));
    const int64_t *const s = target->shape;
    for (int64_t i = 0; i < s[0] * s[1] * s[2]; i++) {
        double world[3], place[3];
        world_of(world, target, i);
        place_in(place, volume, world);
        int64_t voxel = 0;
        for (int k = 0; k < 3; k++) {
            const int64_t at = (int64_t)floor(place[k] + 0.5 + 1e-9);
            ck_assert(at >= 0 && at < volume->shape[k]);
            voxel = voxel * volume->shape[k] + at;
        }
        ck_assert_int_eq(found->labels[i], source[voxel]);
    }
    pumit_label_map_release(found);
    pumit_label_map_release(map);
    pumit_volume_release(target);
    pumit_volume_release(volume);
}
END_TEST

/* -------------------------------------------------------------------------------------------- patches */

static pumit__patches_options options_of(int64_t d, int64_t h, int64_t w)
{
    pumit__patches_options options = {.batch = 1, .channels = 1, .seed = 5};
    for (int da = 0; da <= PUMIT__MOST_ANISOTROPY; da++)
        memcpy(options.size[da], (const int64_t[3]){d, h, w}, sizeof options.size[da]);
    options.changes.scale_range[0] = options.changes.scale_range[1] = 1;
    return options;
}

static pumit__patches *make(const pumit__patches_options *options)
{
    pumit__patches *patches;
    CHECK_OK(pumit__patches_create(&patches, files_context, &set, options));
    return patches;
}

typedef struct {
    pumit_tensor *image, *labels;
    double spacing[3];
    int64_t count; /* of voxels in all */
    const float *values;
    const uint8_t *classes;
} batch;

static batch take(pumit__patches *patches, int64_t draw)
{
    batch b;
    void *values, *classes;
    CHECK_OK(pumit__patches_take(&b.image, &b.labels, b.spacing, patches, draw));
    CHECK_OK(pumit_tensor_data(&values, b.image));
    CHECK_OK(pumit_tensor_data(&classes, b.labels));
    b.values = values;
    b.classes = classes;
    b.count = pumit_tensor_count(b.labels);
    ck_assert_int_eq(b.image->ndim, 5);
    ck_assert_int_eq(b.labels->ndim, 4);
    ck_assert_int_eq(memcmp(b.image->shape, b.labels->shape, 4 * sizeof *b.image->shape), 0);
    return b;
}

static void let_go(batch *b)
{
    pumit_tensor_release(b->image);
    pumit_tensor_release(b->labels);
}

static int64_t count_class(const batch *b, uint8_t label)
{
    int64_t count = 0;
    for (int64_t i = 0; i < b->count; i++) count += b->classes[i] == label;
    return count;
}

/* A ball of class 1 and value 0.9 in darkness, nearer to the first corner. */
static void put_ball(const int64_t size[3], const double spacing[3], double radius)
{
    const int64_t count = size[0] * size[1] * size[2];
    float *values = calloc((size_t)count, sizeof *values);
    uint8_t *labels = calloc((size_t)count, 1);
    ck_assert(values && labels);
    for (int64_t i = 0; i < count; i++) {
        const double at[3] = {(double)(i / (size[1] * size[2])), (double)(i / size[2] % size[1]),
                              (double)(i % size[2])};
        double away = 0;
        for (int k = 0; k < 3; k++) {
            const double d = spacing[k] * (at[k] - 0.4 * (double)size[k]);
            away += d * d;
        }
        labels[i] = away <= radius * radius;
        values[i] = labels[i] ? 0.9f : 0;
    }
    put(make_volume(size, spacing, 1, values), labels, 1);
    free(values);
    free(labels);
}

/* Share of the voxels at which the image and the labels, mirrored along W or not, say the same. */
static double agreement(const batch *b, bool mirrored)
{
    const int64_t width = b->labels->shape[3];
    int64_t same = 0;
    for (int64_t i = 0; i < b->count; i++) {
        const int64_t w = i % width, at = mirrored ? i - w + width - 1 - w : i;
        same += (b->values[i] > 0.45f) == (b->classes[at] == 1);
    }
    return (double)same / (double)b->count;
}

static const struct {
    pumit__patch_changes changes;
    double spacing[3];
} MOVES[] = {
    {{0}, {1, 1, 1}},
    {{.rotate = 1}, {1, 1, 1}},
    {{.rotate = 1}, {1.2, 1, 0.9}},
    {{.rotate = 1}, {3, 1, 1}},
    {{.scale = 1, .scale_range = {0.7, 1.4}}, {1, 1, 1}},
    {{.flip = {1, 0, 0}}, {1, 1, 1}},
    {{.flip = {0, 1, 0}}, {1, 1, 1}},
    {{.flip = {0, 0, 1}}, {1, 1, 1}},
    {{.rotate = 1, .scale = 1, .scale_range = {0.7, 1.4}, .flip = {1, 1, 1}}, {2, 1, 1}},
    {{.rotate = 1, .scale = 1, .scale_range = {0.7, 1.4}, .flip = {0.5, 0.5, 0.5}}, {1, 1, 1}},
};

START_TEST(images_and_labels_move_as_one)
{
    const double *const spacing = MOVES[_i].spacing;
    const int64_t size[3] = {(int64_t)(36 / spacing[0]), 36, 40};
    pumit__patches_options options = options_of((int64_t)(24 / spacing[0]), 24, 24);
    options.changes = MOVES[_i].changes;
    options.foreground = 1;
    put_ball(size, spacing, 9);
    pumit__patches *const patches = make(&options);
    double worst = 1, mirrored = 0;
    for (int64_t draw = 0; draw < 12; draw++) {
        batch b = take(patches, draw);
        worst = fmin(worst, agreement(&b, false));
        mirrored += agreement(&b, true) / 12;
        ck_assert_int_gt(count_class(&b, 1), b.count / 50);
        let_go(&b);
    }
    ck_assert_msg(worst > 0.98, "%g", worst);
    ck_assert_msg(mirrored < 0.95, "%g if one alone were mirrored", mirrored);
    pumit__patches_release(patches);
}
END_TEST

/* Which voxel comes first tells how the patch lies. */
START_TEST(flips_flip)
{
    const int64_t size[3] = {4, 4, 4};
    float values[64];
    uint8_t labels[64];
    for (int i = 0; i < 64; i++) {
        labels[i] = (uint8_t)i;
        values[i] = (float)i / 64;
    }
    put(make_volume(size, (const double[3]){1, 1, 1}, 1, values), labels, 1);
    static const uint8_t FIRST[] = {48, 12, 3};
    for (int axis = 0; axis < 3; axis++) {
        pumit__patches_options options = options_of(4, 4, 4);
        options.changes.flip[axis] = 1;
        pumit__patches *const patches = make(&options);
        batch b = take(patches, 0);
        ck_assert_int_eq(b.classes[0], FIRST[axis]);
        for (int i = 0; i < 64; i++)
            ck_assert_float_eq_tol(b.values[i], (float)b.classes[i] / 64, 1e-6);
        let_go(&b);
        pumit__patches_release(patches);
    }
}
END_TEST

static pumit__patches_options all_changes(void)
{
    pumit__patches_options options = options_of(8, 16, 16);
    options.batch = 3;
    options.foreground = 0.5;
    options.changes = (pumit__patch_changes){.rotate = 0.5,
                                             .scale = 0.5,
                                             .scale_range = {0.7, 1.4},
                                             .flip = {0.5, 0.5, 0.5},
                                             .noise = 0.5,
                                             .blur = 0.5,
                                             .low_resolution = 0.5,
                                             .tone = 0.5};
    return options;
}

START_TEST(draws_depend_on_seed_and_number_alone)
{
    pumit__patches_options options = all_changes();
    put_ball((const int64_t[3]){20, 24, 22}, (const double[3]){1, 1, 1}, 6);
    put_ball((const int64_t[3]){6, 24, 22}, (const double[3]){4, 1, 1}, 8);
    pumit__patches *const first = make(&options), *const second = make(&options);
    options.seed++;
    pumit__patches *const other = make(&options);
    batch forward[8];
    int same = 0;
    for (int draw = 0; draw < 8; draw++) forward[draw] = take(first, draw);
    for (int draw = 7; draw >= 0; draw--) {
        batch *const a = &forward[draw], b = take(second, draw), c = take(other, draw);
        const size_t bytes = (size_t)a->count * sizeof *a->values;
        ck_assert_int_eq(memcmp(a->values, b.values, bytes), 0);
        ck_assert_int_eq(memcmp(a->classes, b.classes, (size_t)a->count), 0);
        ck_assert_int_eq(memcmp(a->spacing, b.spacing, sizeof b.spacing), 0);
        same += c.count == a->count && memcmp(a->values, c.values, bytes) == 0;
        for (int64_t i = 0; i < a->count; i++)
            ck_assert(a->values[i] >= 0 && a->values[i] <= 1 && a->classes[i] <= 1);
        let_go(a);
        let_go(&b);
        let_go((batch *)&c);
    }
    ck_assert_int_eq(same, 0);
    pumit__patches_release(first);
    pumit__patches_release(second);
    pumit__patches_release(other);
}
END_TEST

/* Shares of 300 patches that hold the classes 1 to 3, one voxel, another one, and a block, of a large image. */
static void shares_at(double share[4], double foreground)
{
    pumit__patches_options options = options_of(8, 8, 8);
    options.foreground = foreground;
    pumit__patches *const patches = make(&options);
    for (int c = 0; c < 4; c++) share[c] = 0;
    for (int64_t draw = 0; draw < 300; draw++) {
        batch b = take(patches, draw);
        for (uint8_t c = 1; c < 4; c++) share[c] += count_class(&b, c) > 0 ? 1.0 / 300 : 0;
        share[0] += count_class(&b, 0) == b.count ? 1.0 / 300 : 0;
        let_go(&b);
    }
    pumit__patches_release(patches);
}

START_TEST(classes_are_shown_alike)
{
    static float values[40 * 40 * 40];
    static uint8_t labels[40 * 40 * 40];
    double share[4];
    labels[0] = 1;
    labels[40 * 40 * 40 - 1] = 2;
    for (int i = 0; i < 12 * 12 * 12; i++)
        labels[(20 + i / 144) * 1600 + (4 + i / 12 % 12) * 40 + 20 + i % 12] = 3;
    put(make_volume((const int64_t[3]){40, 40, 40}, (const double[3]){1, 1, 1}, 1, values), labels,
        1);
    shares_at(share, 1);
    ck_assert(share[0] == 0);
    for (int c = 1; c < 4; c++) ck_assert_msg(fabs(share[c] - 1.0 / 3) <= 0.09, "%g", share[c]);
    shares_at(share, 0);
    ck_assert(share[1] <= 0.05 && share[2] <= 0.05 && share[0] > 0.5);
    shares_at(share, 0.5);
    ck_assert_double_eq_tol(share[1], 1.0 / 6, 0.07);
}
END_TEST

/* Of more voxels than are kept some of everywhere are. */
START_TEST(large_classes_are_shown_everywhere)
{
    enum { D = 60, H = 24, W = 24 };
    static float values[D * H * W];
    static uint8_t labels[D * H * W];
    for (int i = 0; i < D * H * W; i++) values[i] = (float)(i / (H * W)) / D;
    memset(labels, 2, sizeof labels);
    put(make_volume((const int64_t[3]){D, H, W}, (const double[3]){1, 1, 1}, 1, values), labels, 1);
    pumit__patches_options options = options_of(4, 4, 4);
    options.foreground = 1;
    pumit__patches *const patches = make(&options);
    int thirds[3] = {0};
    for (int64_t draw = 0; draw < 300; draw++) {
        batch b = take(patches, draw);
        thirds[(int)(b.values[0] * 3)]++;
        let_go(&b);
    }
    for (int i = 0; i < 3; i++) ck_assert_int_ge(thirds[i], 70);
    pumit__patches_release(patches);
}
END_TEST

START_TEST(nothing_lies_around_small_images)
{
    const int64_t size[3] = {5, 6, 7};
    pumit__patches_options options = options_of(8, 8, 8);
    put_even(size, (const double[3]){1, 1, 1}, 0.75f, 1, 1);
    for (int about = 0; about < 2; about++) {
        options.foreground = about;
        pumit__patches *const patches = make(&options);
        for (int64_t draw = 0; draw < 20; draw++) {
            batch b = take(patches, draw);
            ck_assert_int_eq(count_class(&b, 1), 5 * 6 * 7);
            for (int64_t i = 0; i < b.count; i++)
                ck_assert(b.values[i] == (b.classes[i] ? 0.75f : 0));
            let_go(&b);
        }
        pumit__patches_release(patches);
    }
}
END_TEST

/* Degrees 0, 2 and 5 by weight; within them by weight as well. */
START_TEST(batches_are_of_one_anisotropy)
{
    static const double WEIGHTS[] = {1, 3, 5, 0, 3}, ROUND[3] = {1, 1, 1}, THICK[3] = {4, 1, 1};
    const int64_t cube[3] = {20, 20, 20}, thick[3] = {6, 20, 20}, flat[3] = {1, 20, 20};
    for (int i = 0; i < 5; i++)
        put_even(i < 2   ? cube
                 : i < 4 ? thick
                         : flat,
                 i < 2   ? ROUND
                 : i < 4 ? THICK
                         : NULL,
                 (float)(i + 1) / 8, (uint8_t)(i + 1), WEIGHTS[i]);
    pumit__patches_options options = options_of(8, 8, 8);
    options.batch = 2;
    options.size[2][0] = 4;
    memcpy(options.size[5], (const int64_t[3]){1, 12, 16}, sizeof options.size[5]);
    pumit__patches *const patches = make(&options);
    double seen[6] = {0};
    for (int64_t draw = 0; draw < 600; draw++) {
        batch b = take(patches, draw);
        int32_t da, patch_da;
        CHECK_OK(pumit_degree_of_anisotropy(&da, b.spacing));
        ck_assert_int_eq(b.labels->shape[0], 2);
        ck_assert_int_eq(memcmp(b.labels->shape + 1, options.size[da], 3 * sizeof(int64_t)), 0);
        for (int64_t n = 0; n < 2; n++) {
            const int64_t middle = n * b.count / 2 + b.count / 4;
            const int i = b.classes[middle] - 1;
            ck_assert(i >= 0 && i < 5 && b.values[middle] == (float)(i + 1) / 8);
            patch_da = set.items[i].volume->anisotropy;
            ck_assert_int_eq(patch_da, da);
            seen[i] += 1.0 / 1200;
        }
        let_go(&b);
    }
    for (int i = 0; i < 5; i++)
        ck_assert_msg(fabs(seen[i] - WEIGHTS[i] / 12) <= 0.05, "image %d: %g", i, seen[i]);
    ck_assert(seen[3] == 0);
    pumit__patches_release(patches);
}
END_TEST

/* A half of what is shown of cubes is in slices 2 and 4 times as thick; thick slices and short images have none thicker. */
START_TEST(slices_may_be_thickened)
{
    static const double ROUND[3] = {1, 1, 1}, THICK[3] = {4, 1, 1};
    pumit__patches_options options = options_of(16, 24, 24);
    options.size[1][0] = 8;
    options.size[2][0] = 4;
    options.thick = 0.5;
    put_ball((const int64_t[3]){36, 36, 40}, ROUND, 9);
    for (int short_ones = 0; short_ones < 2; short_ones++) {
        pumit__patches *const patches = make(&options);
        double seen[6] = {0};
        for (int64_t draw = 0; draw < 200; draw++) {
            batch b = take(patches, draw);
            int32_t da;
            CHECK_OK(pumit_degree_of_anisotropy(&da, b.spacing));
            seen[da] += 1.0 / 200;
            ck_assert_int_eq(b.labels->shape[1], options.size[da][0]);
            if (!short_ones) ck_assert(agreement(&b, false) > 0.97);
            let_go(&b);
        }
        ck_assert_double_eq_tol(seen[0], short_ones ? 0.75 : 0.5, 0.1);
        ck_assert_double_eq_tol(seen[1], short_ones ? 0 : 0.25, 0.1);
        ck_assert_double_eq_tol(seen[2], 0.25, 0.1);
        pumit__patches_release(patches);
        set.items[0].weight = 0;
        put_even((const int64_t[3]){15, 30, 30}, ROUND, 0.5f, 1, 3);
        put_even((const int64_t[3]){30, 30, 30}, THICK, 0.5f, 1, 1);
    }
}
END_TEST

/* The images are brought to these voxels: 2 mm, a quarter of the pixels. */
START_TEST(spacings_can_be_chosen)
{
    const int64_t size[3] = {10, 20, 20};
    pumit__patches_options options = options_of(10, 10, 10);
    options.spacing[1] = options.spacing[2] = 2;
    put_even(size, (const double[3]){2, 1, 1}, 0.5f, 1, 1);
    pumit__patches *const patches = make(&options);
    batch b = take(patches, 0);
    for (int i = 0; i < 3; i++) ck_assert_double_eq_tol(b.spacing[i], 2, 1e-9);
    ck_assert_int_eq(count_class(&b, 1), 1000);
    let_go(&b);
    pumit__patches_release(patches);
}
END_TEST

START_TEST(channels_become_those_wanted)
{
    static const float LUMA = 0.299f * 0.1f + 0.587f * 0.5f + 0.114f * 0.9f;
    const int64_t size[3] = {1, 16, 16};
    static float rgb[3 * 256];
    static uint8_t labels[256];
    for (int i = 0; i < 768; i++) rgb[i] = 0.1f + 0.4f * (float)(i % 3);
    put(make_volume(size, NULL, 3, rgb), labels, 1);
    put_even(size, NULL, 0.25f, 1, 1);
    for (int64_t channels = 1; channels <= 3; channels += 2) {
        pumit__patches_options options = options_of(1, 8, 8);
        options.channels = channels;
        options.batch = 6;
        options.changes.noise = channels == 3;
        pumit__patches *const patches = make(&options);
        batch b = take(patches, 1);
        ck_assert_int_eq(b.image->shape[4], channels);
        ck_assert(count_class(&b, 1) > 0 && count_class(&b, 0) > 0);
        for (int64_t i = 0; i < b.count; i++) {
            const float *const at = b.values + i * channels;
            if (channels == 1)
                ck_assert_float_eq_tol(at[0], b.classes[i] ? 0.25f : LUMA, 1e-5);
            else if (b.classes[i])
                ck_assert(at[0] == at[1] && at[1] == at[2]);
            else
                ck_assert(at[1] - at[0] > 0 && at[2] - at[0] > 0.2f);
        }
        let_go(&b);
        pumit__patches_release(patches);
    }
    pumit__patches_options options = options_of(1, 8, 8);
    options.channels = 2;
    pumit__patches *patches;
    files_check_failed(pumit__patches_create(&patches, files_context, &set, &options),
                       PUMIT_ERROR_SHAPE, "image 0", "3 channels");
}
END_TEST

/* What is not finite is dark, here as everywhere. */
START_TEST(what_is_no_number_is_zero)
{
    const int64_t size[3] = {8, 8, 8};
    static float values[512];
    static uint8_t labels[512];
    for (int i = 0; i < 512; i++) values[i] = i % 5 ? (float)i : i % 2 ? NAN : INFINITY;
    pumit_volume *const volume = make_volume(size, (const double[3]){1, 1, 1}, 1, values);
    volume->normalised = false;
    put(volume, labels, 1);
    for (int other = 0; other < 2; other++) {
        pumit__patches_options options = all_changes();
        options.spacing[1] = other ? 0.8 : 0;
        pumit__patches *const patches = make(&options);
        double most = 0;
        for (int64_t draw = 0; draw < 5; draw++) {
            batch b = take(patches, draw);
            for (int64_t i = 0; i < b.count; i++) {
                ck_assert(b.values[i] >= 0 && b.values[i] <= 1);
                most = fmax(most, b.values[i]);
            }
            let_go(&b);
        }
        ck_assert(most > 0.5);
        pumit__patches_release(patches);
    }
}
END_TEST

static void check_refused(const char *name, const char *part)
{
    pumit__patches *patches = (pumit__patches *)&set;
    const pumit__patches_options options = options_of(8, 8, 8);
    files_check_failed(pumit__patches_create(&patches, files_context, &set, &options),
                       PUMIT_ERROR_INVALID_ARGUMENT, name, part);
    ck_assert_ptr_null(patches);
}

START_TEST(what_cannot_be_learnt_from_is_told)
{
    const int64_t size[3] = {8, 8, 8};
    static float values[512];
    const double spacing[3] = {1, 1, 1};
    put_even(size, spacing, 0, 1, 0);
    check_refused("weights", "sum to 0");
    put_even(size, spacing, 0, 1, NAN);
    check_refused("image 1", "weight");
    set.items[1].weight = 1;
    put(make_volume(size, spacing, 1, values), NULL, 1);
    check_refused("image 2", "no label map");
}
END_TEST

Suite *suite_patches(void)
{
    Suite *suite = suite_create("patches");
    TCase *tests = tcase_create("patches");
    const int grids = (int)PUMIT__COUNT(GRIDS), moves = (int)PUMIT__COUNT(MOVES);
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, ramps_stay_in_their_place, 0, grids);
    tcase_add_loop_test(tests, labels_are_those_of_the_nearest_voxels, 0, grids);
    tcase_add_loop_test(tests, images_and_labels_move_as_one, 0, moves);
    tcase_add_test(tests, flips_flip);
    tcase_add_test(tests, draws_depend_on_seed_and_number_alone);
    tcase_add_test(tests, classes_are_shown_alike);
    tcase_add_test(tests, large_classes_are_shown_everywhere);
    tcase_add_test(tests, nothing_lies_around_small_images);
    tcase_add_test(tests, batches_are_of_one_anisotropy);
    tcase_add_test(tests, slices_may_be_thickened);
    tcase_add_test(tests, spacings_can_be_chosen);
    tcase_add_test(tests, channels_become_those_wanted);
    tcase_add_test(tests, what_is_no_number_is_zero);
    tcase_add_test(tests, what_cannot_be_learnt_from_is_told);
    suite_add_tcase(suite, tests);
    return suite;
}
