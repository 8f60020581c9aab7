/* SPDX-License-Identifier: Apache-2.0 */
/* Prepared sets: what the images become, against values by hand, and how datasets read them. */
#include "lib/data/half.h"
#include "lib/data/prepared.h"
#include "lib/data/volume.h"
#include "tests/image_files.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <pumit/prepare.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { U8 = 2, I16 = 4, F32 = 16 };

/* Prepares `name` into "set"; `json`: further options. The report; cJSON_Delete() it. */
static cJSON *prepare(const char *name, const char *json)
{
    char *report;
    const char *path = files_path(name);
    pumit_config *options;
    CHECK_OK(pumit_config_parse(&options, json));
    CHECK_OK(pumit_config_set_string(options, "output", files_path("set")));
    CHECK_OK(pumit_prepare(&report, files_context, 1, &path, options, NULL, NULL));
    cJSON *tree = cJSON_Parse(report);
    ck_assert_ptr_nonnull(tree);
    pumit_free(report);
    pumit_config_release(options);
    return tree;
}

static int number(const cJSON *report, const char *name)
{
    return cJSON_GetObjectItemCaseSensitive(report, name)->valueint;
}

static const char *reason(const cJSON *report, int i)
{
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(report, "skipped");
    return cJSON_GetObjectItemCaseSensitive(cJSON_GetArrayItem(list, i), "reason")->valuestring;
}

static void prepare_quietly(const char *name, const char *json, int images)
{
    cJSON *report = prepare(name, json);
    ck_assert_int_eq(number(report, "images"), images);
    cJSON_Delete(report);
}

static pumit_dataset *open_set(const char *json)
{
    pumit_dataset *set;
    pumit_config *options;
    const char *path = files_path("set");
    CHECK_OK(pumit_config_parse(&options, json));
    CHECK_OK(pumit_dataset_open(&set, files_context, 1, &path, options));
    pumit_config_release(options);
    return set;
}

/* Field of the first row whose origin ends with `file`, of image `volume` of it. */
static const char *field(const char *file, int volume, pumit__prepared_column column)
{
    static char text[512];
    pumit__prepared_table table;
    CHECK_OK(pumit__prepared_read(&table, files_path("set")));
    bool found = false;
    for (int64_t i = 0; i < table.count && !found; i++) {
        const pumit__prepared_row *row = &table.rows[i];
        found = pumit__ends_with(row->fields[PUMIT__COLUMN_ORIGIN], file) &&
                strtol(row->fields[PUMIT__COLUMN_VOLUME], NULL, 10) == volume;
        snprintf(text, sizeof text, "%s", row->fields[column]);
    }
    pumit__prepared_free(&table);
    ck_assert_msg(found, "no row for %s", file);
    return text;
}

static double real(const char *file, int volume, pumit__prepared_column column)
{
    return strtod(field(file, volume, column), NULL);
}

static void world_of(double world[3], const double *affine, double a, double b, double c)
{
    for (int r = 0; r < 3; r++)
        world[r] =
            affine[4 * r] * a + affine[4 * r + 1] * b + affine[4 * r + 2] * c + affine[4 * r + 3];
}

/* ---------------------------------------------------------------------------------------- geometry */

/* Each slice axis with each combination of flips: all become the same image. */
START_TEST(axes_and_flips_of_the_file_do_not_matter)
{
    const int slice = _i / 8; /* file axis i, j or k */
    const int64_t n[3] = {3, 4, 5};
    nifti_file file = nifti_plain(F32, 32, n[0], n[1], n[2]);
    double rows[12] = {0};
    file.sform = 1;
    for (int a = 0; a < 3; a++) {
        rows[4 * a + a] = (_i >> a & 1 ? -1 : 1) * (a == slice ? 5 : 1 + 0.25 * a);
        rows[4 * a + 3] = 10 * a - 7;
    }
    memcpy(file.rows, rows, sizeof rows);
    float voxels[60];
    for (int v = 0; v < 60; v++) voxels[v] = (float)(v % 3 + 10 * (v / 3 % 4) + 100 * (v / 12));
    nifti_write("scan.nii", &file, voxels, 60, 4);
    prepare_quietly("scan.nii", "{\"foreground\": false}", 1);
    pumit_dataset *set = open_set("{}");
    const pumit_volume *volume = pumit_dataset_volume(set, 0);
    static const int places[3][3] = {{0, 2, 1}, {1, 2, 0}, {2, 1, 0}}; /* file axes of D, H, W */
    const int *from = places[slice];
    int64_t shape[4];
    double spacing[3], affine[16], low = real("scan.nii", 0, PUMIT__COLUMN_LOW),
                                   high = real("scan.nii", 0, PUMIT__COLUMN_HIGH);
    pumit_volume_shape(volume, shape);
    pumit_volume_spacing(volume, spacing);
    pumit_volume_affine(volume, affine);
    for (int a = 0; a < 3; a++) {
        ck_assert_int_eq(shape[a], n[from[a]]);
        ck_assert_double_eq_tol(spacing[a], fabs(rows[4 * from[a] + from[a]]), 1e-6);
    }
    for (int v = 0; v < 60; v++) {
        const int64_t at[3] = {v % 3, v / 3 % 4, v / 12};
        int64_t to[3];
        for (int a = 0; a < 3; a++)
            to[a] = _i >> from[a] & 1 ? shape[a] - 1 - at[from[a]] : at[from[a]];
        const int64_t d = to[0], h = to[1], w = to[2];
        const double wanted = fmin(fmax((voxels[v] - low) / (high - low), 0), 1);
        const float got = pumit_volume_voxels(volume)[(d * shape[1] + h) * shape[2] + w];
        ck_assert_msg(fabs(got - wanted) <= 0x1p-12 + 1e-6, "voxel %d: %g, not %g", v, got, wanted);
        double world[3];
        world_of(world, affine, (double)d, (double)h, (double)w);
        for (int a = 0; a < 3; a++)
            ck_assert_double_eq_tol(world[a], rows[4 * a + a] * (double)at[a] + rows[4 * a + 3],
                                    1e-4);
    }
    pumit_dataset_release(set);
}
END_TEST

#define SIDE 40
#define DEEP 6

/* A ramp in world coordinates inside a margin of zeros. */
static double ramp(const double world[3])
{
    return 400 + 3 * world[0] - 2 * world[1] + 5 * world[2];
}

START_TEST(cropping_and_reduction_keep_places)
{
    nifti_file file = nifti_plain(F32, 32, SIDE, SIDE - 8, DEEP);
    const double affine[12] = {-0.7, 0, 0.1, 30, 0, 0.7, 0.2, -12, 0.05, 0, 4, 8};
    static float voxels[DEEP * SIDE * SIDE];
    file.sform = 1;
    memcpy(file.rows, affine, sizeof affine);
    int n = 0;
    for (int k = 0; k < DEEP; k++)
        for (int j = 0; j < SIDE - 8; j++)
            for (int i = 0; i < SIDE; i++, n++) {
                double world[3];
                world_of(world, affine, i, j, k);
                const bool margin = i < 3 || j < 5 || k < 1 || i >= SIDE - 4 || j >= SIDE - 14;
                voxels[n] = margin ? 0 : (float)ramp(world);
            }
    nifti_write("scan.nii.gz", &file, voxels, (size_t)n, 4);
    const char *const options[] = {"{\"foreground\": 0}", "{\"foreground\": 0, \"most_side\": 13}",
                                   "{\"most_side\": 11, \"foreground\": 1}"};
    const int64_t sizes[3][3] = {{5, 21, 33}, {5, 8, 13}, {5, 7, 11}};
    prepare_quietly("scan.nii.gz", options[_i], 1);
    pumit_dataset *set = open_set("{}");
    const pumit_volume *volume = pumit_dataset_volume(set, 0);
    int64_t s[4];
    double map[16], spacing[3], low = real("scan.nii.gz", 0, PUMIT__COLUMN_LOW),
                                high = real("scan.nii.gz", 0, PUMIT__COLUMN_HIGH);
    pumit_volume_shape(volume, s);
    pumit_volume_affine(volume, map);
    pumit_volume_spacing(volume, spacing);
    for (int a = 0; a < 3; a++) {
        ck_assert_int_eq(s[a], sizes[_i][a]);
        const double column =
            sqrt(map[a] * map[a] + map[4 + a] * map[4 + a] + map[8 + a] * map[8 + a]);
        ck_assert_double_eq_tol(column, spacing[a], 1e-6);
    }
    ck_assert_double_eq_tol(spacing[1] / spacing[2], 0.7 / hypot(0.7, 0.05), 1e-6); /* one factor */
    const double bound = 0.02 * 3 * spacing[2] / (high - low) + 0x1p-11;
    for (int64_t d = 0; d < s[0]; d++)
        for (int64_t h = 2; h + 2 < s[1]; h++)
            for (int64_t w = 2; w + 2 < s[2]; w++) {
                double world[3];
                world_of(world, map, (double)d, (double)h, (double)w);
                const double wanted = fmin(fmax((ramp(world) - low) / (high - low), 0), 1);
                const float got = pumit_volume_voxels(volume)[(d * s[1] + h) * s[2] + w];
                ck_assert_msg(fabs(got - wanted) <= bound, "(%d, %d, %d): %g, not %g", (int)d,
                              (int)h, (int)w, got, wanted);
            }
    ck_assert_str_eq(field("scan.nii.gz", 0, PUMIT__COLUMN_ORIGIN_SHAPE), "6x32x40");
    pumit_dataset_release(set);
}
END_TEST

/* ------------------------------------------------------------------------------------- intensities */

/* Every half in [0, 1] is itself; between neighbours the nearer wins, in the middle the even one. */
START_TEST(halves_are_rounded_to_nearest_even)
{
    for (uint16_t bits = 0; bits < 0x3c00; bits++) {
        const float value = pumit__half_value(pumit__half_stored(bits));
        const float next = pumit__half_value(pumit__half_stored((uint16_t)(bits + 1)));
        const float middle = value + (next - value) / 2;
        ck_assert(next > value);
        ck_assert_uint_eq(pumit__half_of(value), bits);
        ck_assert_uint_eq(pumit__half_of(middle), bits & 1 ? bits + 1 : bits);
        ck_assert_uint_eq(pumit__half_of(nextafterf(middle, 0)), bits);
        ck_assert_uint_eq(pumit__half_of(nextafterf(middle, 1)), bits + 1);
    }
    ck_assert_uint_eq(pumit__half_of(0), 0);
    ck_assert_uint_eq(pumit__half_of(1), 0x3c00);
    ck_assert(pumit__half_value(pumit__half_stored(1)) == 0x1p-24f);
    ck_assert(pumit__half_value(pumit__half_stored(0x3c00)) == 1);
    ck_assert(pumit__half_value(pumit__half_stored(0x4400)) == 1); /* above 1: clamped */
}
END_TEST

START_TEST(pictures_keep_their_scale)
{
    uint8_t pixels[8 * 6 * 3];
    for (int i = 0; i < 8 * 6 * 3; i++) pixels[i] = (uint8_t)(5 + i);
    png_write("a.png", 8, 6, 8, 2, false, pixels);
    prepare_quietly("a.png", "{\"foreground\": false}", 1);
    pumit_dataset *set = open_set("{}");
    const pumit_volume *volume = pumit_dataset_volume(set, 0);
    ck_assert_int_eq(pumit_volume_anisotropy(volume), 5);
    for (int i = 0; i < 8 * 6 * 3; i++)
        ck_assert(fabs(pumit_volume_voxels(volume)[i] - pixels[i] / 255.0) <= 0x1p-12);
    ck_assert_str_eq(field("a.png", 0, PUMIT__COLUMN_SPACE_0), "inf");
    ck_assert_str_eq(field("a.png", 0, PUMIT__COLUMN_CHANNELS), "3");
    ck_assert_str_eq(field("a.png", 0, PUMIT__COLUMN_MIN), "5");
    ck_assert_str_eq(field("a.png", 0, PUMIT__COLUMN_HIGH), "255");
    ck_assert_double_eq_tol(real("a.png", 0, PUMIT__COLUMN_MEAN), 5 + 143 / 2.0, 1e-6);
    ck_assert_double_eq_tol(real("a.png", 0, PUMIT__COLUMN_STD), sqrt((144.0 * 144 - 1) / 12),
                            1e-5);
    /* The same image through both ways: luma, and a box of it. */
    float direct[4 * 3], stored[4 * 3];
    const int64_t low[3] = {0, 2, 3}, high[3] = {1, 6, 6};
    const pumit__window by_type = {0, 1.0 / 255}, whole = {0, 1};
    pumit_volume *source;
    CHECK_OK(pumit_volume_read(&source, files_context, files_path("a.png"), 0));
    CHECK_OK(pumit__volume_box(direct, source, &by_type, low, high, 1));
    CHECK_OK(pumit__volume_box(stored, volume, &whole, low, high, 1));
    for (int i = 0; i < 12; i++) ck_assert(fabsf(direct[i] - stored[i]) <= 0x1p-11f);
    pumit_volume_release(source);
    pumit_dataset_release(set);
}
END_TEST

/* -------------------------------------------------------------------------------------------- rows */

START_TEST(volumes_share_a_weight)
{
    int16_t voxels[3 * 24];
    nifti_file file = nifti_plain(I16, 16, 2, 3, 4);
    for (int i = 0; i < 72; i++) voxels[i] = (int16_t)(i % 24);
    file.dim[0] = 4, file.dim[4] = 3;
    nifti_write("four.nii", &file, voxels, 72, 2);
    const char list[] = "path,weight,modality,split,label\nfour.nii,1.5,MR,test,7\n";
    files_write("list.csv", list, sizeof list - 1);
    prepare_quietly("list.csv", "{\"modality\": \"CT\"}", 3);
    for (int v = 0; v < 3; v++) {
        ck_assert_double_eq_tol(real("four.nii", v, PUMIT__COLUMN_WEIGHT), 1.5 * 5 / 9, 1e-12);
        ck_assert_str_eq(field("four.nii", v, PUMIT__COLUMN_MODALITY), "MR");
        ck_assert_str_eq(field("four.nii", v, PUMIT__COLUMN_COLLECTION), "list.csv");
    }
    pumit_dataset *set = open_set("{\"split\": \"test\"}");
    ck_assert_int_eq(pumit_dataset_count(set), 3);
    ck_assert_int_eq(pumit_dataset_label(set, 2), 7);
    ck_assert_str_eq(pumit_volume_modality(pumit_dataset_volume(set, 0)), "MR");
    ck_assert(strstr(pumit_dataset_name(set, 0), "four.nii[0]"));
    pumit_dataset_release(set);
}
END_TEST

START_TEST(archives_keep_splits_and_labels)
{
    uint8_t bytes[3 * 4] = {0, 9, 8, 7, 5, 5, 5, 5, 1, 2, 3, 4}, labels[3] = {4, 5, 6};
    const npz_member members[] = {
        {"train_images", "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 2, 2), }", bytes,
         8},
        {"train_labels", "{'descr': '|u1', 'fortran_order': False, 'shape': (2,), }", labels, 2},
        {"val_images", "{'descr': '|u1', 'fortran_order': False, 'shape': (1, 2, 2), }", bytes + 8,
         4}};
    npz_write("a.npz", members, 3, false);
    cJSON *report = prepare("a.npz", "{\"foreground\": false, \"hold_out\": 1}");
    ck_assert_int_eq(number(report, "images"), 2);
    ck_assert(strstr(reason(report, 0), "all voxels are 5"));
    cJSON_Delete(report);
    ck_assert_str_eq(field("a.npz", 0, PUMIT__COLUMN_LABEL), "4");
    ck_assert_str_eq(field("a.npz", 0, PUMIT__COLUMN_SPLIT), "train");
    ck_assert_str_eq(field("a.npz", 2, PUMIT__COLUMN_LABEL), "");
    ck_assert_str_eq(field("a.npz", 2, PUMIT__COLUMN_SPLIT), "val");
    ck_assert_str_eq(field("a.npz", 2, PUMIT__COLUMN_WEIGHT), "1");
    ck_assert(strstr(field("a.npz", 2, PUMIT__COLUMN_KEY), "-val-0000"));
    report = prepare(
        "a.npz",
        "{\"foreground\": false}"); /* what was skipped inside is no reason to do it again */
    ck_assert_int_eq(number(report, "already_there"), 1);
    cJSON_Delete(report);
}
END_TEST

START_TEST(rules_name_modalities_and_shares_are_held_out)
{
    uint8_t pixels[4] = {0, 1, 2, 3};
    files_folder("in");
    for (int i = 0; i < 60; i++) {
        char name[32];
        snprintf(name, sizeof name, "in/%s%d.png", i % 2 ? "ct" : "mr", i);
        png_write(name, 2, 2, 8, 0, false, pixels);
    }
    prepare_quietly(
        "in", "{\"modality\": [[\"*/ct*\", \"CT\"], [\"*\", \"MR\"]], \"hold_out\": 0.3}", 60);
    ck_assert_str_eq(field("ct1.png", 0, PUMIT__COLUMN_MODALITY), "CT");
    ck_assert_str_eq(field("mr2.png", 0, PUMIT__COLUMN_MODALITY), "MR");
    ck_assert_str_eq(field("mr2.png", 0, PUMIT__COLUMN_COLLECTION), "in");
    pumit_dataset *held = open_set("{\"split\": \"val\"}"),
                  *rest = open_set("{\"split\": \"train\"}");
    const int64_t count = pumit_dataset_count(held);
    ck_assert_msg(count > 6 && count < 32, "%d of 60 held out", (int)count);
    ck_assert_int_eq(count + pumit_dataset_count(rest), 60);
    pumit_dataset_release(held);
    pumit_dataset_release(rest);
}
END_TEST

START_TEST(splits_of_lists_are_kept_as_they_are)
{
    uint8_t pixels[4] = {0, 1, 2, 3};
    png_write("a.png", 2, 2, 8, 0, false, pixels);
    png_write("b.png", 2, 2, 8, 0, false, pixels);
    const char list[] = "path,split\na.png,\"x,\"\"y\"\nb.png,Train\n";
    files_write("list.csv", list, sizeof list - 1);
    prepare_quietly("list.csv", "{}", 2);
    ck_assert_str_eq(field("a.png", 0, PUMIT__COLUMN_SPLIT), "x,\"y");
    pumit_dataset *set =
        open_set("{\"split\": \"train\"}"); /* in any case, as of the list itself */
    ck_assert_int_eq(pumit_dataset_count(set), 1);
    pumit_dataset_release(set);
}
END_TEST

/* ----------------------------------------------------------------------------------------- reading */

/* One good image, and others that differ from it in one field. */
static const struct {
    const char *column, *value;
} bad_fields[] = {{"key", "../data/a"},
                  {"key", ""},
                  {"key", "folder"},
                  {"shape-0", "0"},
                  {"shape-1", "-4"},
                  {"shape-1", "4611686018427387904"},
                  {"shape-2", "9223372036854775808"},
                  {"shape-2", "5"},
                  {"channels", "0"},
                  {"space-0", "nan"},
                  {"space-0", "-inf"},
                  {"space-1", "inf"},
                  {"space-1", "1e300"},
                  {"space-2", "1e-300"},
                  {"weight", "nan"},
                  {"weight", "-1"},
                  {"label", "-1"},
                  {"label", "9223372036854775807"},
                  {"affine", "0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 1"},
                  {"affine", "0 0 1 0 0 1 0 0 1 0 0 nan 0 0 0 1"},
                  {"affine", "0 0 1 0 0 1 0 0 1 0 0 0 0 0 0 2"},
                  {"affine", "1 0 0"}};
static const char *const row_names[] = {"key",     "shape-0", "shape-1", "shape-2",
                                        "space-0", "space-1", "space-2", "channels",
                                        "weight",  "label",   "affine"};
static const char *const good_row[] = {
    "a", "1", "4", "4", "inf", "1", "1", "1", "1", "3", "0 0 1 0 0 1 0 0 1 0 0 0 0 0 0 1"};

/* Line i of a table: -2: the names of columns, -1: the good row. */
static void put_line(pumit__csv_text *out, int i)
{
    for (int c = 0; c < (int)(sizeof row_names / sizeof *row_names); c++) {
        const bool changed = i >= 0 && strcmp(bad_fields[i].column, row_names[c]) == 0;
        const char *value = changed ? bad_fields[i].value : i == -2 ? row_names[c] : good_row[c];
        pumit__csv_print(out, "%s%s", c ? "," : "", value);
        /* Keys differ, or the last row of a key would replace those before it. */
        if (i >= 0 && c == 0 && !changed) pumit__csv_print(out, "%d", i);
    }
    pumit__csv_print(out, "\n");
}

START_TEST(rows_that_make_no_sense_are_skipped)
{
    const int count = sizeof bad_fields / sizeof *bad_fields;
    pumit__csv_text text = {0};
    for (int i = -2; i < count; i++) put_line(&text, i);
    uint8_t voxels[128 + 32] = {0};
    files_folder("set");
    files_folder("set/data");
    files_folder("set/data/folder.npy");
    files_write("set/images-meta.csv", text.text, (size_t)text.length);
    files_write("set/data/a.npy", voxels, sizeof voxels);
    for (int i = 0; i < count; i++) {
        char name[64];
        snprintf(name, sizeof name, "set/data/a%d.npy", i);
        files_write(name, voxels, sizeof voxels);
    }
    free(text.text);
    pumit_dataset *set = open_set("{}");
    ck_assert_int_eq(pumit_dataset_count(set), 1);
    ck_assert_int_eq(pumit_dataset_skipped(set), count);
    ck_assert_int_eq(pumit_dataset_classes(set), 4);
    pumit_dataset_release(set);
}
END_TEST

START_TEST(missing_and_short_files_are_skipped)
{
    uint8_t pixels[64];
    char path[1024];
    for (int i = 0; i < 64; i++) pixels[i] = (uint8_t)i;
    files_folder("in");
    png_write("in/a.png", 8, 8, 8, 0, false, pixels);
    png_write("in/b.png", 8, 8, 8, 0, false, pixels);
    png_write("in/c.png", 8, 8, 8, 0, false, pixels);
    prepare_quietly("in", "{\"foreground\": false}", 3);
    snprintf(path, sizeof path, "%s/data/%s.npy", files_path("set"),
             field("b.png", 0, PUMIT__COLUMN_KEY));
    ck_assert_int_eq(truncate(path, 200), 0);
    snprintf(path, sizeof path, "%s/data/%s.npy", files_path("set"),
             field("c.png", 0, PUMIT__COLUMN_KEY));
    ck_assert_int_eq(unlink(path), 0);
    pumit_dataset *set = open_set("{}");
    ck_assert_int_eq(pumit_dataset_count(set), 1);
    ck_assert_int_eq(pumit_dataset_skipped(set), 2);
    /* A file that is cut after it was opened is an error, not the end. */
    const pumit_volume *volume = pumit_dataset_volume(set, 0);
    pumit_tensor *tensor;
    snprintf(path, sizeof path, "%s/data/%s.npy", files_path("set"),
             field("a.png", 0, PUMIT__COLUMN_KEY));
    ck_assert_int_eq(truncate(path, 200), 0);
    ck_assert_ptr_null(pumit_volume_voxels(volume));
    ck_assert_int_eq(pumit_volume_to_tensor(&tensor, volume, files_context, 1), PUMIT_ERROR_FORMAT);
    ck_assert(strstr(pumit_last_error(), "truncated"));
    pumit_dataset_release(set);
    /* Preparing again mends the set. */
    cJSON *report = prepare("in", "{\"foreground\": false}");
    ck_assert_int_eq(number(report, "done"), 3);
    cJSON_Delete(report);
    set = open_set("{\"limits\": {\"bytes\": 1}}");
    ck_assert_int_eq(pumit_dataset_count(set), 3);
    ck_assert(pumit_volume_voxels(pumit_dataset_volume(set, 2))[63] > 0.2f);
    pumit_dataset_release(set);
}
END_TEST

/* Its header is not looked at, so that a damaged one is no other error. */
START_TEST(huge_arrays_are_refused_unread)
{
    static uint8_t bytes[65536 + 8 * 11] = "\x93NUMPY\1";
    pumit_config *options;
    pumit_context *context;
    pumit_volume *volume;
    CHECK_OK(pumit_config_parse(&options, "{\"limits\": {\"voxels\": 10}}"));
    CHECK_OK(pumit_context_create(&context, options));
    files_write("a.npy", bytes, sizeof bytes);
    files_check_failed(pumit_volume_read(&volume, context, files_path("a.npy"), 0),
                       PUMIT_ERROR_LIMIT, "a.npy", "limits.voxels");
    files_write("a.npy", bytes, sizeof bytes - 8);
    files_check_failed(pumit_volume_read(&volume, context, files_path("a.npy"), 0),
                       PUMIT_ERROR_FORMAT, "a.npy", "header");
    pumit_context_release(context);
    pumit_config_release(options);
}
END_TEST

START_TEST(patterns_are_paths)
{
    uint8_t pixels[4] = {0, 1, 2, 3};
    files_folder("in");
    png_write("in/a1.png", 2, 2, 8, 0, false, pixels);
    png_write("in/a2.png", 2, 2, 8, 0, false, pixels);
    png_write("in/b1.png", 2, 2, 8, 0, false, pixels);
    prepare_quietly("in/a?.png", "{}", 2);
    ck_assert_str_eq(field("a1.png", 0, PUMIT__COLUMN_COLLECTION), "in");
    pumit_dataset *set;
    const char *path = files_path("in/*[13].png");
    CHECK_OK(pumit_dataset_open(&set, files_context, 1, &path, NULL));
    ck_assert_int_eq(pumit_dataset_count(set), 2);
    pumit_dataset_release(set);
    path = files_path("in/c*");
    files_check_failed(pumit_dataset_open(&set, files_context, 1, &path, NULL),
                       PUMIT_ERROR_NOT_FOUND, "in/c*", "matches no file");
}
END_TEST

START_TEST(bad_options_are_refused)
{
    static const char *const cases[][2] = {{"{\"most_side\": 0}", "most_side"},
                                           {"{\"hold_out\": 1.5}", "hold_out"},
                                           {"{\"foreground\": \"all\"}", "foreground"},
                                           {"{\"threads\": 0}", "threads"},
                                           {"{\"modality\": [[\"*\"]]}", "modality"},
                                           {"{\"modality\": \"much too long a name\"}", "letters"},
                                           {"{\"limits\": {\"bytes\": 0}}", "limits.bytes"}};
    char *report;
    const char *path = files_path(".");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pumit_config *options;
        CHECK_OK(pumit_config_parse(&options, cases[i][0]));
        CHECK_OK(pumit_config_set_string(options, "output", files_path("set")));
        files_check_failed(pumit_prepare(&report, files_context, 1, &path, options, NULL, NULL),
                           PUMIT_ERROR_INVALID_ARGUMENT, "", cases[i][1]);
        pumit_config_release(options);
    }
    ck_assert_int_ne(access(files_path("set"), F_OK), 0);
}
END_TEST

/* A set is of one kind: what would mix two is refused by name, what is the same goes on, and so does a set that keeps no settings. */
START_TEST(settings_stay)
{
    static const char *const others[][2] = {
        {"{\"most_side\": 16}", "\"most_side\" 512, not 16"},
        {"{\"foreground\": 3.5}", "\"foreground\" null, not 3.5"},
        {"{\"foreground\": false}", "\"foreground\" null, not false"},
        {"{\"allow_nan\": true}", "\"allow_nan\" false, not true"}};
    char *report;
    uint8_t rows[400];
    for (int i = 0; i < 400; i++) rows[i] = (uint8_t)i;
    files_folder("in");
    png_write("in/a.png", 20, 20, 8, 0, false, rows);
    prepare_quietly("in", "{}", 1);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        const char *path = files_path("in");
        pumit_config *options;
        CHECK_OK(pumit_config_parse(&options, others[i][0]));
        CHECK_OK(pumit_config_set_string(options, "output", files_path("set")));
        files_check_failed(pumit_prepare(&report, files_context, 1, &path, options, NULL, NULL),
                           PUMIT_ERROR_STATE, "set/settings.json", others[i][1]);
        pumit_config_release(options);
    }
    prepare_quietly("in", "{\"hold_out\": 1}", 1);
    CHECK_OK(unlink(files_path("set/settings.json")));
    prepare_quietly("in", "{\"most_side\": 16}", 1);
    ck_assert_int_eq(access(files_path("set/settings.json"), F_OK), 0);
    files_write("set/settings.json.tmp-7", "{", 1); /* as a kill leaves it */
    prepare_quietly("in", "{\"most_side\": 16}", 1);
    ck_assert_int_ne(access(files_path("set/settings.json.tmp-7"), F_OK), 0);
}
END_TEST

Suite *suite_prepare(void);
Suite *suite_prepare(void)
{
    Suite *suite = suite_create("prepare");
    TCase *tcase = tcase_create("prepare");
    tcase_add_checked_fixture(tcase, files_setup, files_teardown);
    tcase_add_loop_test(tcase, axes_and_flips_of_the_file_do_not_matter, 0, 24);
    tcase_add_loop_test(tcase, cropping_and_reduction_keep_places, 0, 3);
    tcase_add_test(tcase, halves_are_rounded_to_nearest_even);
    tcase_add_test(tcase, pictures_keep_their_scale);
    tcase_add_test(tcase, volumes_share_a_weight);
    tcase_add_test(tcase, archives_keep_splits_and_labels);
    tcase_add_test(tcase, rules_name_modalities_and_shares_are_held_out);
    tcase_add_test(tcase, splits_of_lists_are_kept_as_they_are);
    tcase_add_test(tcase, rows_that_make_no_sense_are_skipped);
    tcase_add_test(tcase, missing_and_short_files_are_skipped);
    tcase_add_test(tcase, huge_arrays_are_refused_unread);
    tcase_add_test(tcase, patterns_are_paths);
    tcase_add_test(tcase, settings_stay);
    tcase_add_test(tcase, bad_options_are_refused);
    suite_add_tcase(suite, tcase);
    return suite;
}
