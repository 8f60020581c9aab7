/* SPDX-License-Identifier: Apache-2.0 */
/* Scores of segmentations against counting by hand, brute force, and shapes whose distances are known. */
#include "lib/base/base.h"
#include "lib/train/overlap.h"
#include "lib/train/surface.h"
#include "tests/image_files.h"

#include <pumit/segmentation_scores.h>

#include <cjson/cJSON.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------------------------------- overlap */

START_TEST(dice_counts_voxels)
{
    static const uint8_t P[10] = {0, 1, 1, 1, 2, 2, 0, 0, 4, 9},
                         R[10] = {0, 1, 1, 0, 2, 1, 0, 0, 0, 9};
    pumit__overlap overlaps[6] = {{0}};
    pumit__overlap_count(overlaps, 6, P, R, 5);
    pumit__overlap_count(overlaps, 6, P + 5, R + 5, 5);
    ck_assert(pumit__overlap_dice(&overlaps[0]) == 2 * 3 / 8.0);
    ck_assert(pumit__overlap_dice(&overlaps[1]) == 2 * 2 / 6.0);
    ck_assert(pumit__overlap_dice(&overlaps[2]) == 2 * 1 / 3.0);
    ck_assert(isnan(pumit__overlap_dice(&overlaps[3])));
    ck_assert(pumit__overlap_dice(&overlaps[4]) == 0);
    const double mean = (2 / 3.0 + 2 / 3.0 + 0) / 3;
    ck_assert(fabs(pumit__overlap_mean_dice(overlaps, 6) - mean) <= 1e-15);
    ck_assert(isnan(pumit__overlap_mean_dice(overlaps, 1)));
}
END_TEST

/* ---------------------------------------------------------------------------------------- brute force */

typedef struct {
    int64_t
        shape[3]; /* D H W; the longest spacing lies along D, so that a volume keeps these axes */
    double spacing[3];
} grid;

static int64_t voxels_of(const grid *g)
{
    return g->shape[0] * g->shape[1] * g->shape[2];
}

/* The voxel's label; -1 outside. */
static int label_at(const grid *g, const uint8_t *labels, int64_t d, int64_t h, int64_t w)
{
    if (d < 0 || h < 0 || w < 0 || d >= g->shape[0] || h >= g->shape[1] || w >= g->shape[2])
        return -1;
    return labels[(d * g->shape[1] + h) * g->shape[2] + w];
}

static bool brute_is_surface(const grid *g, const uint8_t *labels, int64_t i, int class)
{
    static const int SIDES[6][3] = {{0, 0, 1},  {0, 0, -1}, {0, 1, 0},
                                    {0, -1, 0}, {1, 0, 0},  {-1, 0, 0}};
    const int64_t w = i % g->shape[2], h = i / g->shape[2] % g->shape[1],
                  d = i / (g->shape[1] * g->shape[2]);
    if (labels[i] != class) return false;
    for (int k = 0; k < (g->shape[0] == 1 ? 4 : 6); k++)
        if (label_at(g, labels, d + SIDES[k][0], h + SIDES[k][1], w + SIDES[k][2]) != class)
            return true;
    return false;
}

static double brute_distance(const grid *g, int64_t i, int64_t k)
{
    const int64_t row = g->shape[2], slice = g->shape[1] * row;
    const double d = i / slice == k / slice ? 0 : g->spacing[0] * (double)(i / slice - k / slice);
    const double h = g->spacing[1] * (double)(i / row % g->shape[1] - k / row % g->shape[1]);
    const double w = g->spacing[2] * (double)(i % row - k % row);
    return sqrt(d * d + h * h + w * w);
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Sorted distances from the surface in `a` to that in `b`; their number. */
static int64_t brute_distances(double *out, const grid *g, const uint8_t *a, const uint8_t *b,
                               int class)
{
    int64_t count = 0;
    for (int64_t i = 0; i < voxels_of(g); i++) {
        if (!brute_is_surface(g, a, i, class)) continue;
        double least = INFINITY;
        for (int64_t k = 0; k < voxels_of(g); k++)
            if (brute_is_surface(g, b, k, class)) least = fmin(least, brute_distance(g, i, k));
        out[count++] = least;
    }
    qsort(out, (size_t)count, sizeof *out, by_value);
    return count;
}

/* As numpy.percentile(values, 95). */
static double percentile95(const double *sorted, int64_t count)
{
    const double at = 0.95 * (double)(count - 1), part = at - floor(at);
    const int64_t below = (int64_t)floor(at), above = (int64_t)ceil(at);
    return sorted[below] * (1 - part) + sorted[above] * part;
}

/* Blobs of a few classes: a random label per block, with noise. */
static void draw_labels(uint8_t *labels, const grid *g, int classes, uint64_t seed)
{
    for (int64_t i = 0; i < voxels_of(g); i++) {
        const int64_t w = i % g->shape[2] / 4, h = i / g->shape[2] % g->shape[1] / 4,
                      d = i / (g->shape[1] * g->shape[2]) / 3;
        const uint64_t block = (uint64_t)((d * 100 + h) * 100 + w);
        labels[i] = (uint8_t)pumit__random_below(seed, 1, block, classes);
        if (pumit__random_below(seed, 2, (uint64_t)i, 12) == 0)
            labels[i] = (uint8_t)pumit__random_below(seed, 3, (uint64_t)i, classes);
    }
}

static pumit_label_map *map_of(const grid *g, const uint8_t *labels)
{
    pumit_volume *volume;
    pumit_label_map *map;
    float *voxels = calloc((size_t)voxels_of(g), sizeof *voxels);
    /* the rows of the matrix are R, A, S; its columns D, H, W */
    const double affine[16] = {
        0, 0, g->spacing[2], 0, 0, g->spacing[1], 0, 0, g->spacing[0], 0, 0, 0, 0, 0, 0, 1};
    CHECK_OK(pumit_volume_create(&volume, files_context, PUMIT_F32, g->shape, 1, voxels,
                                 isinf(g->spacing[0]) ? NULL : affine));
    CHECK_OK(pumit_label_map_create(&map, files_context, volume, labels));
    int64_t shape[3];
    pumit_label_map_shape(map, shape);
    ck_assert(memcmp(shape, g->shape, sizeof shape) == 0);
    pumit_volume_release(volume);
    free(voxels);
    return map;
}

static const grid GRIDS[] = {{{7, 12, 11}, {2.5, 0.7, 1.1}}, {{9, 10, 13}, {1, 1, 1}},
                             {{3, 17, 9}, {6, 0.5, 0.75}},   {{1, 14, 19}, {INFINITY, 1, 1}},
                             {{1, 16, 15}, {4, 0.8, 0.6}},   {{2, 2, 2}, {3, 1, 1}}};

static void check_surfaces(const grid *g, const uint8_t *p, const uint8_t *r, int class)
{
    const uint8_t *const labels[] = {p, r};
    const pumit__extent extent = {{0}, {g->shape[0], g->shape[1], g->shape[2]}};
    pumit__surfaces surfaces;
    CHECK_OK(
        pumit__surfaces_open(&surfaces, labels, g->shape, g->spacing, (uint8_t) class, &extent));
    for (int from = 0; from < 2; from++) {
        double want[4096], got[4096];
        const int64_t count = brute_distances(want, g, labels[from], labels[1 - from], class);
        ck_assert_int_eq(surfaces.count[from], count);
        CHECK_OK(pumit__surfaces_distances(got, &surfaces, from));
        qsort(got, (size_t)count, sizeof *got, by_value);
        for (int64_t i = 0; i < count; i++)
            ck_assert_msg(fabs(got[i] - want[i]) <= 1e-12 * (1 + want[i]),
                          "grid %lld x %lld x %lld, class %d: %.17g, not %.17g",
                          (long long)g->shape[0], (long long)g->shape[1], (long long)g->shape[2],
                          class, got[i], want[i]);
    }
    pumit__surfaces_close(&surfaces);
}

START_TEST(distances_are_those_of_brute_force)
{
    const grid *const g = &GRIDS[_i];
    uint8_t p[4096], r[4096];
    for (uint64_t seed = 0; seed < 4; seed++) {
        draw_labels(p, g, 3, 2 * seed);
        draw_labels(r, g, 3, 2 * seed + 1);
        p[0] = r[voxels_of(g) - 1] = 1; /* never empty */
        check_surfaces(g, p, r, 1);
    }
    memset(r, 0, sizeof r);
    r[voxels_of(g) / 2] = 1; /* one voxel far from most */
    check_surfaces(g, p, r, 1);
}
END_TEST

START_TEST(scores_are_those_of_brute_force)
{
    const grid *const g = &GRIDS[_i];
    uint8_t p[4096], r[4096];
    double dice[4], hausdorff[4], surface[4], to[4096], back[4096];
    draw_labels(p, g, 3, 7);
    draw_labels(r, g, 3, 8);
    p[0] = r[1] = 1;
    p[2] = r[3] = 2;
    pumit_label_map *prediction = map_of(g, p), *reference = map_of(g, r);
    CHECK_OK(pumit_segmentation_scores(dice, hausdorff, surface, 4, prediction, reference, 1.1));
    for (int c = 1; c < 3; c++) {
        const int64_t m = brute_distances(to, g, p, r, c), n = brute_distances(back, g, r, p, c);
        const double far = fmax(percentile95(to, m), percentile95(back, n));
        int64_t near = 0, both = 0, sum = 0;
        for (int64_t i = 0; i < m; i++) near += to[i] < 1.1 + 1e-6;
        for (int64_t i = 0; i < n; i++) near += back[i] < 1.1 + 1e-6;
        for (int64_t i = 0; i < voxels_of(g); i++) {
            both += p[i] == c && r[i] == c;
            sum += (p[i] == c) + (r[i] == c);
        }
        ck_assert(fabs(hausdorff[c] - far) <= 1e-12 * (1 + far));
        ck_assert(fabs(surface[c] - (double)near / (double)(m + n)) <= 1e-12);
        ck_assert(fabs(dice[c] - 2 * (double)both / (double)sum) <= 1e-12);
    }
    ck_assert(dice[0] >= 0 && isnan(hausdorff[0]) && isnan(surface[0]));
    ck_assert(isnan(dice[3]) && isnan(hausdorff[3]) && isnan(surface[3]));
    CHECK_OK(pumit_segmentation_scores(dice, hausdorff, surface, 3, reference, reference, 0));
    for (int c = 1; c < 3; c++) ck_assert(dice[c] == 1 && hausdorff[c] == 0 && surface[c] == 1);
    pumit_label_map_release(prediction);
    pumit_label_map_release(reference);
}
END_TEST

/* ------------------------------------------------------------------------------------- known distances */

static void put_ball(uint8_t *labels, const grid *g, const double centre[3], double radius,
                     uint8_t class)
{
    for (int64_t i = 0; i < voxels_of(g); i++) {
        const double d = (double)(i / (g->shape[1] * g->shape[2])) * g->spacing[0] - centre[0],
                     h = (double)(i / g->shape[2] % g->shape[1]) * g->spacing[1] - centre[1],
                     w = (double)(i % g->shape[2]) * g->spacing[2] - centre[2];
        if (d * d + h * h + w * w <= radius * radius) labels[i] = class;
    }
}

START_TEST(balls_lie_as_far_apart_as_they_were_moved)
{
    static const grid GRID = {{40, 80, 80}, {1, 0.5, 0.5}};
    static const double MOVES[3][3] = {{3, 0, 0}, {0, 3, 0}, {0, 0, 3}};
    const double centre[3] = {19, 19, 19};
    double moved[3], dice[2], hausdorff[2], surface[2], none[2];
    for (int i = 0; i < 3; i++) moved[i] = centre[i] + MOVES[_i][i];
    uint8_t *p = calloc((size_t)voxels_of(&GRID), 1), *r = calloc((size_t)voxels_of(&GRID), 1);
    put_ball(p, &GRID, moved, 12, 1);
    put_ball(r, &GRID, centre, 12, 1);
    pumit_label_map *prediction = map_of(&GRID, p), *reference = map_of(&GRID, r);
    CHECK_OK(pumit_segmentation_scores(dice, hausdorff, surface, 2, prediction, reference, 3));
    CHECK_OK(pumit_segmentation_scores(NULL, NULL, none, 2, prediction, reference, 0));
    /* two balls of radius R, s apart: 1 - 3 s / (4 R) + s^3 / (16 R^3) */
    const double overlap = 1 - 9 / 48.0 + 27 / (16 * 1728.0);
    ck_assert_msg(fabs(dice[1] - overlap) <= 0.005, "Dice %g", dice[1]);
    ck_assert_msg(hausdorff[1] >= 2.6 && hausdorff[1] <= 3, "hausdorff95 %g", hausdorff[1]);
    ck_assert(surface[1] == 1);
    ck_assert_msg(none[1] > 0 && none[1] < 0.3, "surface Dice %g", none[1]);
    pumit_label_map_release(prediction);
    pumit_label_map_release(reference);
    free(p);
    free(r);
}
END_TEST

START_TEST(what_is_missing_is_infinitely_far)
{
    static const grid GRID = {{2, 3, 4}, {4, 1, 1}}, OTHER = {{2, 4, 3}, {4, 1, 1}};
    const uint8_t p[24] = {[0] = 1, [1] = 2, [23] = 5}, r[24] = {[15] = 1, [3] = 3};
    pumit_label_map *prediction = map_of(&GRID, p), *reference = map_of(&GRID, r),
                    *turned = map_of(&OTHER, r);
    double dice[6], hausdorff[6], surface[6];
    CHECK_OK(pumit_segmentation_scores(dice, hausdorff, surface, 6, prediction, reference, 5));
    ck_assert(dice[1] == 0 && hausdorff[1] == 5 && surface[1] == 1); /* 4 mm up, 3 mm aside */
    for (int c = 2; c < 4; c++) ck_assert(dice[c] == 0 && isinf(hausdorff[c]) && surface[c] == 0);
    ck_assert(isnan(dice[4]) && isnan(hausdorff[4]) && isnan(surface[4]));
    ck_assert_int_eq(pumit_segmentation_scores(dice, NULL, NULL, 6, prediction, turned, 1),
                     PUMIT_ERROR_SHAPE);
    ck_assert(strstr(pumit_last_error(), "2 x 4 x 3"));
    ck_assert_int_eq(pumit_segmentation_scores(dice, NULL, NULL, 5, prediction, reference, 1),
                     PUMIT_ERROR_INVALID_ARGUMENT);
    ck_assert(strstr(pumit_last_error(), "class 5"));
    ck_assert_int_eq(pumit_segmentation_scores(dice, NULL, NULL, 6, prediction, reference, -1),
                     PUMIT_ERROR_INVALID_ARGUMENT);
    ck_assert_int_eq(pumit_segmentation_scores(dice, NULL, NULL, 6, prediction, reference, NAN),
                     PUMIT_ERROR_INVALID_ARGUMENT);
    ck_assert_int_eq(pumit_segmentation_scores(dice, NULL, NULL, 257, prediction, reference, 1),
                     PUMIT_ERROR_INVALID_ARGUMENT);
    ck_assert_int_eq(pumit_segmentation_scores(dice, NULL, NULL, 6, NULL, reference, 1),
                     PUMIT_ERROR_INVALID_ARGUMENT);
    pumit_label_map_release(prediction);
    pumit_label_map_release(reference);
    pumit_label_map_release(turned);
}
END_TEST

/* -------------------------------------------------------------------------------------------- reports */

static const grid FLAT = {{1, 1, 8}, {INFINITY, 1, 1}}, DEEP = {{2, 2, 8}, {5, 2, 1}};

static void add(pumit_segmentation_report *report, const grid *g, const char *name,
                const uint8_t *p, const uint8_t *r)
{
    pumit_label_map *prediction = map_of(g, p), *reference = map_of(g, r);
    CHECK_OK(pumit_segmentation_report_add(report, name, prediction, reference));
    pumit_label_map_release(prediction);
    pumit_label_map_release(reference);
}

static pumit_segmentation_report *report_of(const char *options)
{
    pumit_segmentation_report *report;
    pumit_config *config;
    CHECK_OK(pumit_config_parse(&config, options));
    CHECK_OK(pumit_segmentation_report_create(&report, config));
    pumit_config_release(config);
    return report;
}

static cJSON *json_of(const pumit_segmentation_report *report)
{
    char *text;
    CHECK_OK(pumit_segmentation_report_to_json(&text, report));
    cJSON *tree = cJSON_Parse(text);
    ck_assert_ptr_nonnull(tree);
    pumit_free(text);
    return tree;
}

/* Goes down names and, of digits, indices: "classes/0/dice". */
static const cJSON *at(const cJSON *item, const char *path)
{
    char copy[128], *rest = NULL;
    snprintf(copy, sizeof copy, "%s", path);
    for (char *part = strtok_r(copy, "/", &rest); part; part = strtok_r(NULL, "/", &rest))
        item = *part >= '0' && *part <= '9' ? cJSON_GetArrayItem(item, *part - '0')
                                            : cJSON_GetObjectItemCaseSensitive(item, part);
    return item;
}

static double number(const cJSON *tree, const char *path)
{
    const cJSON *const item = at(tree, path);
    ck_assert_msg(cJSON_IsNumber(item), "%s is no number", path);
    return item->valuedouble;
}

#define CHECK_NEAR(tree, path, value)                                                              \
    ck_assert_msg(fabs(number(tree, path) - (value)) <= 1e-12, "%s: %.17g", path,                  \
                  number(tree, path))

START_TEST(reports_sum_up_cases)
{
    pumit_segmentation_report *report =
        report_of("{\"class_names\": [\"background\", \"Anterior\"], \"tolerance_mm\": 2}");
    /* Dice of class 1: 1, 2/3, 0 (missed); of class 3: none, 1, 1 */
    add(report, &FLAT, "a", (uint8_t[8]){1, 1}, (uint8_t[8]){1, 1});
    add(report, &FLAT, "b", (uint8_t[8]){1, 0, 0, 0, 3}, (uint8_t[8]){1, 1, 0, 0, 3});
    add(report, &DEEP, "c", (uint8_t[32]){3, 0}, (uint8_t[32]){3, 1});
    cJSON *tree = json_of(report);
    CHECK_NEAR(tree, "count", 3);
    CHECK_NEAR(tree, "tolerance_mm", 2);
    ck_assert_int_eq(cJSON_GetArraySize(at(tree, "classes")), 2);
    CHECK_NEAR(tree, "classes/0/class", 1);
    ck_assert_str_eq(at(tree, "classes/0/name")->valuestring, "Anterior");
    CHECK_NEAR(tree, "classes/0/dice/mean", 5 / 9.0);
    CHECK_NEAR(tree, "classes/0/dice/sd", sqrt((16 + 1 + 25) / 81.0 / 2));
    CHECK_NEAR(tree, "classes/0/dice/count", 3);
    CHECK_NEAR(tree, "classes/0/hausdorff95/mean", 0.475); /* 0 and, of {0, 1}, 0.95 */
    CHECK_NEAR(tree, "classes/0/hausdorff95/count", 2);
    CHECK_NEAR(tree, "classes/0/hausdorff95/infinite", 1);
    CHECK_NEAR(tree, "classes/0/surface_dice/mean", 2 / 3.0);
    CHECK_NEAR(tree, "classes/1/class", 3);
    ck_assert_ptr_null(at(tree, "classes/1/name"));
    CHECK_NEAR(tree, "classes/1/dice/count", 2);
    CHECK_NEAR(tree, "mean/dice/mean", (1 + 5 / 6.0 + 0.5) / 3);
    CHECK_NEAR(tree, "mean/hausdorff95/count", 3);
    ck_assert_str_eq(at(tree, "cases/2/name")->valuestring, "c");
    CHECK_NEAR(tree, "cases/2/classes/0/class", 1);
    ck_assert(cJSON_IsNull(at(tree, "cases/2/classes/0/hausdorff95")));
    CHECK_NEAR(tree, "cases/2/classes/0/predicted_ml", 0);
    CHECK_NEAR(tree, "cases/2/classes/0/reference_ml", 0.01);
    ck_assert(cJSON_IsNull(at(tree, "cases/0/classes/0/reference_ml")));
    cJSON_Delete(tree);
    pumit_segmentation_report_release(report);
}
END_TEST

/* Dice 2 k / (k + 8) for k of 8 voxels found; one case per k in 1..8, `times` times. */
static cJSON *report_many(const char *options, int times)
{
    static const uint8_t FULL[8] = {1, 1, 1, 1, 1, 1, 1, 1};
    pumit_segmentation_report *report = report_of(options);
    for (int i = 0; i < 8 * times; i++) {
        uint8_t p[8] = {0};
        for (int k = 0; k <= i % 8; k++) p[k] = 1;
        add(report, &FLAT, "case", p, FULL);
    }
    cJSON *tree = json_of(report);
    pumit_segmentation_report_release(report);
    return tree;
}

START_TEST(intervals_are_those_of_the_mean)
{
    cJSON *few = report_many("{}", 1), *again = report_many("{}", 1),
          *many = report_many("{\"seed\": 3}", 16),
          *half = report_many("{\"confidence\": 0.5}", 16),
          *none = report_many("{\"bootstrap\": 0}", 1);
    const cJSON *const trees[] = {few, many, half};
    const double reach[] = {1.96, 1.96, 0.6745}, cases[] = {8, 128, 128};
    ck_assert(cJSON_Compare(few, again, true));
    for (int i = 0; i < 3; i++) {
        const double mean = number(trees[i], "mean/dice/mean"),
                     sd = number(trees[i], "mean/dice/sd");
        const double low = number(trees[i], "mean/dice/low"),
                     high = number(trees[i], "mean/dice/high");
        /* normal theory with the bootstrap's sd, sqrt((n - 1) / n) of the sample's */
        const double want = reach[i] * sd * sqrt((cases[i] - 1) / cases[i] / cases[i]);
        ck_assert_msg(fabs(mean - low - want) <= 0.15 * want, "%d: %g below, not %g", i, mean - low,
                      want);
        ck_assert_msg(fabs(high - mean - want) <= 0.15 * want, "%d: %g above, not %g", i,
                      high - mean, want);
    }
    ck_assert_ptr_nonnull(at(none, "mean/dice/sd"));
    ck_assert_ptr_null(at(none, "mean/dice/low"));
    cJSON_Delete(few);
    cJSON_Delete(again);
    cJSON_Delete(many);
    cJSON_Delete(half);
    cJSON_Delete(none);
}
END_TEST

START_TEST(reports_of_little_are_honest)
{
    static const char *const WRONG[] = {"{\"class_names\": \"a\"}", "{\"class_names\": [1]}",
                                        "{\"tolerance_mm\": -1}", "{\"confidence\": 1}",
                                        "{\"bootstrap\": -1}"};
    pumit_segmentation_report *report;
    CHECK_OK(pumit_segmentation_report_create(&report, NULL));
    cJSON *tree = json_of(report);
    ck_assert(cJSON_IsNull(at(tree, "mean/dice/mean")));
    cJSON_Delete(tree);
    add(report, &FLAT, "empty", (uint8_t[8]){0}, (uint8_t[8]){0});
    add(report, &FLAT, "one", (uint8_t[8]){1}, (uint8_t[8]){1});
    tree = json_of(report);
    CHECK_NEAR(tree, "mean/dice/mean", 1);
    CHECK_NEAR(tree, "mean/dice/count", 1);
    ck_assert_ptr_null(at(tree, "mean/dice/sd"));
    ck_assert_ptr_null(at(tree, "mean/dice/low"));
    ck_assert_int_eq(cJSON_GetArraySize(at(tree, "cases/0/classes")), 0);
    cJSON_Delete(tree);
    pumit_segmentation_report_release(report);
    for (size_t i = 0; i < sizeof WRONG / sizeof *WRONG; i++) {
        pumit_config *options;
        CHECK_OK(pumit_config_parse(&options, WRONG[i]));
        ck_assert_int_eq(pumit_segmentation_report_create(&report, options),
                         PUMIT_ERROR_INVALID_ARGUMENT);
        ck_assert_ptr_null(report);
        pumit_config_release(options);
    }
    pumit_segmentation_report_release(NULL);
}
END_TEST

Suite *suite_segmentation_scores(void);
Suite *suite_segmentation_scores(void)
{
    Suite *suite = suite_create("segmentation_scores");
    TCase *tcase = tcase_create("segmentation_scores");
    const int grids = (int)(sizeof GRIDS / sizeof *GRIDS);
    tcase_add_checked_fixture(tcase, files_setup, files_teardown);
    tcase_add_test(tcase, dice_counts_voxels);
    tcase_add_loop_test(tcase, distances_are_those_of_brute_force, 0, grids);
    tcase_add_loop_test(tcase, scores_are_those_of_brute_force, 0, grids);
    tcase_add_loop_test(tcase, balls_lie_as_far_apart_as_they_were_moved, 0, 3);
    tcase_add_test(tcase, what_is_missing_is_infinitely_far);
    tcase_add_test(tcase, reports_sum_up_cases);
    tcase_add_test(tcase, intervals_are_those_of_the_mean);
    tcase_add_test(tcase, reports_of_little_are_honest);
    suite_add_tcase(suite, tcase);
    return suite;
}
