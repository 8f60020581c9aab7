/* SPDX-License-Identifier: Apache-2.0 */
/* Label maps lie on their images, however both are stored; data sets that have them come in several layouts. */
#include "lib/data/label_map.h"
#include "tests/image_files.h"

#include <pumit/config.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { I8 = 2, I16 = 4, F32 = 16 }; /* NIfTI's numbers */

/* 3 x 4 x 5 voxels of 1 x 1.25 x 2 mm, axis a turned round where bit a of `turned` is set; voxel v of the unturned file has value v. */
static void write_turned(const char *name, int turned, double away)
{
    nifti_file file = nifti_plain(I16, 16, 3, 4, 5);
    const int64_t n[3] = {3, 4, 5};
    int16_t voxels[60];
    file.sform = 1;
    for (int a = 0; a < 3; a++) {
        const bool round = turned >> a & 1;
        const double step = 1 + 0.25 * a * (a + 1) / (a == 2 ? 1.5 : 2);
        file.rows[4 * a + a] = round ? -step : step;
        file.rows[4 * a + 3] = 10 * a + (round ? step * (double)(n[a] - 1) : 0) + away;
    }
    for (int v = 0; v < 60; v++) {
        int at[3] = {v % 3, v / 3 % 4, v / 12};
        for (int a = 0; a < 3; a++)
            if (turned >> a & 1) at[a] = (int)n[a] - 1 - at[a];
        voxels[v] = (int16_t)(at[0] + 3 * at[1] + 12 * at[2]);
    }
    nifti_write(name, &file, voxels, 60, 2);
}

START_TEST(any_direction_lies_on_the_image)
{
    pumit_volume *image;
    pumit_label_map *map;
    write_turned("image.nii", _i / 8, 0);
    write_turned("labels.nii", _i % 8, 0.04);
    CHECK_OK(pumit_volume_read(&image, files_context, files_path("image.nii"), 0));
    CHECK_OK(pumit_label_map_read(&map, files_context, files_path("labels.nii"), image));
    int64_t shape[3];
    pumit_label_map_shape(map, shape);
    ck_assert_int_eq(shape[0], 5);
    ck_assert_int_eq(shape[1], 4);
    ck_assert_int_eq(shape[2], 3);
    for (int v = 0; v < 60; v++) {
        ck_assert_int_eq(pumit_label_map_labels(map)[v], v);
        ck_assert(pumit_volume_voxels(image)[v] == (float)v);
    }
    ck_assert(memcmp(map->affine, image->affine, sizeof map->affine) == 0);
    pumit_label_map_release(map);
    pumit_volume_release(image);
}
END_TEST

START_TEST(what_is_no_label_map_is_refused)
{
    pumit_volume *image;
    pumit_label_map *map = (pumit_label_map *)&image;
    write_turned("image.nii", 0, 0);
    CHECK_OK(pumit_volume_read(&image, files_context, files_path("image.nii"), 0));
    write_turned("away.nii", 0, 0.5);
    files_check_failed(pumit_label_map_read(&map, files_context, files_path("away.nii"), image),
                       PUMIT_ERROR_SHAPE, "away.nii", "0.5 voxels away");
    ck_assert_ptr_null(map);
    nifti_file file = nifti_plain(F32, 32, 3, 4, 5);
    float voxels[60] = {0};
    voxels[7] = 1.5f;
    nifti_write("half.nii", &file, voxels, 60, 4);
    files_check_failed(pumit_label_map_read(&map, files_context, files_path("half.nii"), NULL),
                       PUMIT_ERROR_FORMAT, "half.nii", "1.5");
    voxels[7] = 256;
    nifti_write("many.nii", &file, voxels, 60, 4);
    files_check_failed(pumit_label_map_read(&map, files_context, files_path("many.nii"), NULL),
                       PUMIT_ERROR_FORMAT, "many.nii", "256");
    voxels[7] = 255;
    nifti_write("most.nii", &file, voxels, 60, 4);
    CHECK_OK(pumit_label_map_read(&map, files_context, files_path("most.nii"), NULL));
    ck_assert_int_eq(pumit_label_map_labels(map)[7], 255);
    pumit_label_map_release(map);
    files_check_failed(pumit_label_map_read(&map, files_context, files_path("most.nii"), image),
                       PUMIT_ERROR_SHAPE, "most.nii", "away");
    file = nifti_plain(I8, 8, 2, 2, 2);
    nifti_write("small.nii", &file, voxels, 8, 1);
    files_check_failed(pumit_label_map_read(&map, files_context, files_path("small.nii"), image),
                       PUMIT_ERROR_SHAPE, "small.nii", "2 x 2 x 2");
    file.dim[0] = 4;
    file.dim[4] = 3;
    nifti_write("series.nii", &file, voxels, 24, 1);
    files_check_failed(pumit_label_map_read(&map, files_context, files_path("series.nii"), NULL),
                       PUMIT_ERROR_SHAPE, "series.nii", "3 volumes");
    pumit_volume_release(image);
}
END_TEST

START_TEST(writing_fails_in_a_sentence)
{
    pumit_volume *image;
    pumit_label_map *map;
    pumit_config *options;
    write_turned("image.nii", 0, 0);
    CHECK_OK(pumit_volume_read(&image, files_context, files_path("image.nii"), 0));
    CHECK_OK(pumit_label_map_create(&map, files_context, image, NULL));
    files_check_failed(pumit_label_map_write(map, files_path("map.jpg"), NULL),
                       PUMIT_ERROR_INVALID_ARGUMENT, "map.jpg", ".nii.gz");
    files_check_failed(pumit_label_map_write(map, files_path("map.png"), NULL),
                       PUMIT_ERROR_INVALID_ARGUMENT, "map.png", "picture");
    files_check_failed(pumit_label_map_write(map, files_path("none/map.nii.gz"), NULL),
                       PUMIT_ERROR_NOT_FOUND, "none/map.nii.gz", "No such");
    files_check_failed(pumit_label_map_write(map, files_path("image.nii/map.nii"), NULL),
                       PUMIT_ERROR_IO, "image.nii/map.nii", "Not a directory");
    static const char *const wrong[] = {"{\"class_names\": \"a\"}", "{\"class_names\": [1]}"};
    for (int i = 0; i < 2; i++) {
        CHECK_OK(pumit_config_parse(&options, wrong[i]));
        ck_assert_int_eq(pumit_label_map_write(map, files_path("map.nii"), options),
                         PUMIT_ERROR_INVALID_ARGUMENT);
        ck_assert_ptr_nonnull(strstr(pumit_last_error(), "class_names"));
        pumit_config_release(options);
    }
    ck_assert_int_ne(access(files_path("map.nii"), F_OK), 0);
    pumit_label_map_release(map);
    pumit_volume_release(image);
}
END_TEST

/* What is written can be read again, whatever the version, compression and byte order of the image. */
START_TEST(written_maps_are_read)
{
    pumit_volume *image;
    pumit_label_map *map, *again;
    uint8_t labels[60];
    float voxels[60] = {0};
    nifti_file file = nifti_plain(F32, 32, 3, 4, 5);
    file.version = 1 + (_i & 1);
    file.big_endian = _i & 2;
    file.gzip = _i & 4;
    file.pixdim[3] = 3.7;
    file.units = 3; /* um */
    for (int i = 0; i < 60; i++) labels[i] = (uint8_t)(255 - i);
    nifti_write("image.nii.gz", &file, voxels, 60, 4);
    CHECK_OK(pumit_volume_read(&image, files_context, files_path("image.nii.gz"), 0));
    CHECK_OK(pumit_label_map_create(&map, files_context, image, labels));
    CHECK_OK(pumit_label_map_write(map, files_path("map.nii.gz"), NULL));
    CHECK_OK(pumit_label_map_read(&again, files_context, files_path("map.nii.gz"), NULL));
    ck_assert(memcmp(pumit_label_map_labels(again), labels, 60) == 0);
    ck_assert(memcmp(again->affine, map->affine, sizeof map->affine) == 0);
    ck_assert_int_eq(again->source.version, 1 + (_i & 1));
    ck_assert_int_eq(again->source.units, 3);
    pumit_label_map_release(again);
    pumit_label_map_release(map);
    pumit_volume_release(image);
}
END_TEST

/* NIfTI-1 counts to 32767 along an axis. */
START_TEST(long_axes_need_the_second_version)
{
    pumit_volume *image;
    pumit_label_map *map, *again;
    const int64_t size[3] = {1, 1, 32768};
    uint8_t *labels = calloc(32768, 1);
    ck_assert_ptr_nonnull(labels);
    labels[32767] = 9;
    CHECK_OK(pumit_volume_create(&image, files_context, PUMIT_U8, size, 1, labels, NULL));
    CHECK_OK(pumit_label_map_create(&map, files_context, image, labels));
    CHECK_OK(pumit_label_map_write(map, files_path("map.nii"), NULL));
    CHECK_OK(pumit_label_map_read(&again, files_context, files_path("map.nii"), NULL));
    ck_assert_int_eq(again->source.version, 2);
    ck_assert_int_eq(pumit_label_map_labels(again)[32767], 9);
    pumit_label_map_release(again);
    pumit_label_map_release(map);
    pumit_volume_release(image);
    free(labels);
}
END_TEST

/* ------------------------------------------------------------------------------------------- data sets */

static pumit_dataset *open_pairs(const char *name)
{
    pumit_dataset *dataset = NULL;
    pumit_config *options;
    const char *path = files_path(name);
    CHECK_OK(pumit_config_parse(&options, "{\"label_maps\": true}"));
    CHECK_OK(pumit_dataset_open(&dataset, files_context, 1, &path, options));
    pumit_config_release(options);
    return dataset;
}

/* A byte volume of 2 x 2 x 2 that holds `value` once. */
static void write_cube(const char *name, uint8_t value)
{
    const uint8_t voxels[8] = {0, value};
    const nifti_file file = nifti_plain(I8, 8, 2, 2, 2);
    nifti_write(name, &file, voxels, 8, 1);
}

static void check_pair(const pumit_dataset *dataset, int64_t i, const char *name, uint8_t value)
{
    const pumit_label_map *map = pumit_dataset_label_map(dataset, i);
    ck_assert_str_eq(pumit_dataset_name(dataset, i), files_path(name));
    ck_assert_ptr_nonnull(map);
    ck_assert_int_eq(pumit_label_map_labels(map)[1], value);
}

START_TEST(folders_pair_by_name)
{
    const char *images = _i ? "set/images" : "set/imagesTr",
               *labels = _i ? "set/labels" : "set/labelsTr";
    char name[64];
    files_folder("set");
    files_folder(images);
    files_folder(labels);
    static const char *const IMAGES[] = {"a.nii", "b_0000.nii", "d_0000.nii", "d_0001.nii",
                                         "x.nii"};
    for (int i = 0; i < 5; i++) {
        snprintf(name, sizeof name, "%s/%s", images, IMAGES[i]);
        write_cube(name, 9);
    }
    static const char *const LABELS[] = {"a.nii", "b.nii", "c.nii", "d.nii"};
    for (int i = 0; i < 4; i++) {
        snprintf(name, sizeof name, "%s/%s", labels, LABELS[i]);
        write_cube(name, (uint8_t)(i + 1));
    }
    pumit_dataset *dataset = open_pairs("set");
    ck_assert_int_eq(pumit_dataset_count(dataset), 2);
    /* No image; two channels; no label map, which the second channel's file is not told for. */
    ck_assert_int_eq(pumit_dataset_skipped(dataset), 3);
    ck_assert(strstr(files_log, "x.nii: its label map is not in"));
    snprintf(name, sizeof name, "%s/a.nii", images);
    check_pair(dataset, 0, name, 1);
    snprintf(name, sizeof name, "%s/b_0000.nii", images);
    check_pair(dataset, 1, name, 2);
    ck_assert_int_eq(pumit_dataset_classes(dataset), 3);
    ck_assert_ptr_null(pumit_dataset_class_name(dataset, 1));
    pumit_dataset_release(dataset);
}
END_TEST

/* Photographs are JPEG, their label maps PNG; the label map's own format comes first. */
START_TEST(formats_may_differ)
{
    files_folder("set");
    files_folder("set/images");
    files_folder("set/labels");
    write_cube("set/images/a_0000.nii.gz", 9);
    write_cube("set/images/b.nii.gz", 9);
    write_cube("set/images/b.nii", 9);
    write_cube("set/labels/a.nii", 1);
    write_cube("set/labels/b.nii", 2);
    files_write("set/images/c.jpg", "no image", 8);
    files_write("set/labels/c.png", "no label map", 12);
    pumit_dataset *dataset = open_pairs("set");
    ck_assert_int_eq(pumit_dataset_count(dataset), 2);
    check_pair(dataset, 0, "set/images/a_0000.nii.gz", 1);
    check_pair(dataset, 1, "set/images/b.nii", 2);
    ck_assert_ptr_nonnull(strstr(files_log, "images/c.jpg: "));
    pumit_dataset_release(dataset);
}
END_TEST

START_TEST(descriptions_list_and_name)
{
    static const char *const TEXTS[] = {
        "{\"labels\": {\"0\": \"background\", \"2\": \"Posterior\"}, \"training\": "
        "[{\"image\": \"./in/q.nii\", \"label\": \"out/q.nii\"}, {\"image\": \"in/none.nii\", "
        "\"label\": \"out/q.nii\"}]}",
        "{\"labels\": {\"background\": 0, \"Posterior\": 2, \"both\": [1, 2]}, \"numTraining\": "
        "1}"};
    files_folder("set");
    files_folder("set/in");
    files_folder("set/out");
    files_folder("set/imagesTr");
    files_folder("set/labelsTr");
    write_cube("set/in/q.nii", 7);
    write_cube("set/out/q.nii", 2);
    write_cube("set/imagesTr/q_0000.nii", 7);
    write_cube("set/labelsTr/q.nii", 2);
    files_write("set/dataset.json", TEXTS[_i % 2], strlen(TEXTS[_i % 2]));
    pumit_dataset *dataset = open_pairs(_i < 2 ? "set" : "set/dataset.json");
    ck_assert_int_eq(pumit_dataset_count(dataset), 1);
    ck_assert_int_eq(pumit_dataset_skipped(dataset), _i % 2 ? 0 : 1);
    ck_assert_int_eq(pumit_label_map_labels(pumit_dataset_label_map(dataset, 0))[1], 2);
    ck_assert_str_eq(pumit_dataset_class_name(dataset, 0), "background");
    ck_assert_ptr_null(pumit_dataset_class_name(dataset, 1));
    ck_assert_str_eq(pumit_dataset_class_name(dataset, 2), "Posterior");
    ck_assert_ptr_null(pumit_dataset_class_name(dataset, 3));
    pumit_dataset_release(dataset);
}
END_TEST

/* A stray voxel makes no class. Regions are not numbers, so nothing is known then. */
START_TEST(descriptions_end_the_classes)
{
    static const char *const TEXTS[] = {"{\"labels\": {\"0\": \"background\", \"1\": \"one\"}}",
                                        "{\"labels\": {\"background\": 0, \"all\": [1, 2]}}",
                                        "{\"name\": \"no labels\"}"};
    files_folder("set");
    files_folder("set/images");
    files_folder("set/labels");
    for (int i = 1; i <= 2; i++) {
        char name[64];
        snprintf(name, sizeof name, "set/images/c%d.nii", i);
        write_cube(name, 7);
        snprintf(name, sizeof name, "set/labels/c%d.nii", i);
        write_cube(name, (uint8_t)i);
    }
    files_write("set/dataset.json", TEXTS[_i], strlen(TEXTS[_i]));
    pumit_dataset *dataset = open_pairs("set");
    ck_assert_int_eq(pumit_dataset_count(dataset), _i == 0 ? 1 : 2);
    ck_assert_int_eq(pumit_dataset_classes(dataset), _i == 0 ? 2 : 3);
    ck_assert_int_eq(_i == 0, strstr(files_log, "labels/c2.nii: has class 2") != NULL);
    pumit_dataset_release(dataset);
}
END_TEST

START_TEST(lists_have_a_column)
{
    static const char TEXT[] = "path,label_map\nq.nii,l.nii\nq.nii,\nq.nii,gone.nii\n";
    files_folder("set");
    write_cube("set/q.nii", 7);
    write_cube("set/l.nii", 4);
    files_write("set/list.csv", TEXT, strlen(TEXT));
    pumit_dataset *dataset = open_pairs("set/list.csv");
    ck_assert_int_eq(pumit_dataset_count(dataset), 2);
    ck_assert_int_eq(pumit_dataset_skipped(dataset), 1);
    check_pair(dataset, 0, "set/q.nii", 4);
    ck_assert_ptr_null(pumit_dataset_label_map(dataset, 1));
    ck_assert(strstr(files_log, "gone.nii"));
    pumit_dataset_release(dataset);
}
END_TEST

static pumit_status fail_pairs(const char *name)
{
    pumit_dataset *dataset = NULL;
    pumit_config *options;
    const char *path = files_path(name);
    CHECK_OK(pumit_config_parse(&options, "{\"label_maps\": true}"));
    const pumit_status status = pumit_dataset_open(&dataset, files_context, 1, &path, options);
    pumit_config_release(options);
    ck_assert_ptr_null(dataset);
    return status;
}

START_TEST(other_layouts_are_told)
{
    files_folder("set");
    write_cube("set/q.nii", 7);
    files_check_failed(fail_pairs("set"), PUMIT_ERROR_NOT_FOUND, "set", "labelsTr");
    files_check_failed(fail_pairs("set/q.nii"), PUMIT_ERROR_INVALID_ARGUMENT, "q.nii",
                       "dataset.json");
    files_check_failed(fail_pairs("gone"), PUMIT_ERROR_NOT_FOUND, "gone", "cannot read");
    files_write("set/dataset.json", "{\"training\": [3]}", 17);
    files_check_failed(fail_pairs("set"), PUMIT_ERROR_FORMAT, "dataset.json", "training");
    files_write("set/dataset.json", "{\"labels\": [\"a\"], \"training\": []}", 33);
    files_check_failed(fail_pairs("set"), PUMIT_ERROR_FORMAT, "set", "labels");
    files_write("set/dataset.json", "{\"training\": [", 14);
    files_check_failed(fail_pairs("set"), PUMIT_ERROR_FORMAT, "dataset.json", "line");
}
END_TEST

Suite *suite_label_map(void);
Suite *suite_label_map(void)
{
    Suite *suite = suite_create("label_map");
    TCase *tcase = tcase_create("label_map");
    tcase_add_checked_fixture(tcase, files_setup, files_teardown);
    tcase_add_loop_test(tcase, any_direction_lies_on_the_image, 0, 64);
    tcase_add_test(tcase, what_is_no_label_map_is_refused);
    tcase_add_test(tcase, writing_fails_in_a_sentence);
    tcase_add_loop_test(tcase, written_maps_are_read, 0, 8);
    tcase_add_test(tcase, long_axes_need_the_second_version);
    tcase_add_loop_test(tcase, folders_pair_by_name, 0, 2);
    tcase_add_test(tcase, formats_may_differ);
    tcase_add_loop_test(tcase, descriptions_list_and_name, 0, 4);
    tcase_add_loop_test(tcase, descriptions_end_the_classes, 0, 3);
    tcase_add_test(tcase, lists_have_a_column);
    tcase_add_test(tcase, other_layouts_are_told);
    suite_add_tcase(suite, tcase);
    return suite;
}
