/* SPDX-License-Identifier: Apache-2.0 */
/* pumit-segment with a segmenter that was never trained: where its results go, and what it does with images of all kinds. */
#include "tests/answer.h"
#include "tests/image_files.h"

#include <pumit/pumit.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

Suite *suite_segment_program(void);

enum { F32 = 16, RGB = 128 };

static void model(void)
{
    pumit_config *config;
    pumit_segmenter *segmenter;
    CHECK_OK(pumit_config_parse(
        &config,
        "{\"in_channels\": 1, \"dim\": 16, \"depth\": 4, \"heads\": 2, \"hidden\": 16, "
        "\"patch\": [4,4,4], \"adaptive\": true, \"classes\": 3, \"channels\": [8,8,8,8], "
        "\"full_res_channels\": [8], \"window\": [2,4,4], \"class_names\": [\"none\", \"a\"]}"));
    CHECK_OK(pumit_segmenter_create(&segmenter, files_context, config));
    CHECK_OK(pumit_module_save(pumit_segmenter_module(segmenter), files_path("m"), NULL));
    pumit_segmenter_release(segmenter);
    pumit_config_release(config);
}

static void scan(const char *name, int64_t ni, int64_t nj, int64_t nk, int64_t volumes)
{
    static float voxels[20 * 16 * 12];
    for (int i = 0; i < 20 * 16 * 12; i++) voxels[i] = (float)(i * 7919 % 101);
    nifti_file file = nifti_plain(F32, 32, ni, nj, nk);
    file.dim[0] = volumes > 1 ? 4 : 3;
    file.dim[4] = volumes;
    file.pixdim[3] = 2.5;
    nifti_write(name, &file, voxels, (size_t)(ni * nj * nk * volumes), 4);
}

static void picture(const char *name, int colour_type)
{
    uint8_t rows[3 * 18 * 14];
    for (int i = 0; i < 3 * 18 * 14; i++) rows[i] = (uint8_t)(i * i);
    png_write(name, 18, 14, 8, colour_type, false, rows);
}

static void check_map(const char *name, const char *image)
{
    pumit_volume *volume;
    pumit_label_map *map;
    CHECK_OK(pumit_volume_read(&volume, files_context, files_path(image), 0));
    CHECK_OK(pumit_label_map_read(&map, files_context, files_path(name), volume));
    int64_t shape[3];
    pumit_label_map_shape(map, shape);
    for (int64_t i = 0; i < shape[0] * shape[1] * shape[2]; i++)
        ck_assert_int_lt(pumit_label_map_labels(map)[i], 3);
    pumit_label_map_release(map);
    pumit_volume_release(volume);
}

/* Each is segmented or told, and the rest goes on. */
START_TEST(images_of_all_kinds)
{
    model();
    files_folder("in");
    scan("in/plain.nii.gz", 20, 16, 6, 1);
    scan("in/series.nii", 8, 8, 4, 3);
    scan("in/slice.nii", 20, 16, 1, 1);
    scan("in/tiny.nii", 2, 3, 2, 1);
    picture("in/gray.png", 0);
    picture("in/colour.png", 2);
    uint8_t rgb[8 * 8 * 4 * 3];
    for (int i = 0; i < 8 * 8 * 4 * 3; i++) rgb[i] = (uint8_t)(i * 31);
    const nifti_file file = nifti_plain(RGB, 24, 8, 8, 4);
    nifti_write("in/rgb.nii", &file, rgb, sizeof rgb, 1);
    files_write("in/broken.nii", "\x5c\x01\0\0", 4);
    const answer *a =
        runf("pumit-segment -q -o %s %s %s", files_path("out"), files_path("m"), files_path("in"));
    ck_assert_int_eq(a->status, 1);
    ck_assert_ptr_nonnull(strstr(a->err, "series.nii: holds 3 volumes: choose one with --volume"));
    ck_assert_ptr_nonnull(strstr(a->err, "in/broken.nii: "));
    ck_assert_ptr_null(strstr(a->err, "plain"));
    check_map("out/plain.nii.gz", "in/plain.nii.gz");
    check_map("out/slice.nii.gz", "in/slice.nii");
    check_map("out/tiny.nii.gz", "in/tiny.nii");
    check_map("out/rgb.nii.gz", "in/rgb.nii");
    check_map("out/gray.png", "in/gray.png");
    check_map("out/colour.png", "in/colour.png");
    ck_assert_int_ne(access(files_path("out/series.nii.gz"), F_OK), 0);
}
END_TEST

START_TEST(nothing_is_overwritten_by_chance)
{
    model();
    files_folder("in");
    files_folder("in/b");
    scan("in/a.nii", 8, 8, 4, 1);
    scan("in/b/a.nii.gz", 8, 8, 6, 1);
    const answer *a = runf("pumit-segment --json -q -o %s %s %s", files_path("out"),
                           files_path("m"), files_path("in"));
    ck_assert_int_eq(a->status, 1);
    ck_assert_ptr_nonnull(strstr(a->err, "another image of this call goes there"));
    cJSON *tree = cJSON_Parse(a->out);
    ck_assert_int_eq(cJSON_GetArraySize(cJSON_GetObjectItem(tree, "images")), 1);
    const cJSON *const counts =
        cJSON_GetObjectItem(cJSON_GetObjectItem(tree, "images")->child, "voxels");
    double all = 0;
    for (const cJSON *item = counts->child; item; item = item->next) all += item->valuedouble;
    ck_assert(all == 8 * 8 * 4);
    cJSON_Delete(tree);
    check_line(runf("pumit-segment -q -o %s %s %s", files_path("out"), files_path("m"),
                    files_path("in/a.nii")),
               1, "pumit-segment", "--overwrite");
    check_done(runf("pumit-segment -q --overwrite -o %s %s %s", files_path("out"), files_path("m"),
                    files_path("in/a.nii")));
    check_line(runf("pumit-segment -q --overwrite -o %s %s %s", files_path("in/a.nii"),
                    files_path("m"), files_path("in/a.nii")),
               1, "pumit-segment", "the image itself");
    check_line(runf("pumit-segment -q -o %s %s %s", files_path("no/a.nii"), files_path("m"),
                    files_path("in/a.nii")),
               1, "pumit-segment", "No such file");
    check_line(runf("pumit-segment -q -o %s %s %s", files_path("a.png"), files_path("m"),
                    files_path("in/a.nii")),
               1, "pumit-segment", "name it .nii.gz");
}
END_TEST

START_TEST(one_image_with_options)
{
    int64_t volumes;
    size_t bytes;
    model();
    scan("scan.nii", 12, 10, 5, 2);
    const answer *a = runf("pumit-segment -o %s --volume 1 --probabilities --flips --overlap 0.2 "
                           "--memory 0.25G %s %s",
                           files_path("map.nii"), files_path("m"), files_path("scan.nii"));
    check_done(a);
    ck_assert_ptr_nonnull(strstr(a->out, "map.nii, "));
    check_map("map.nii", "scan.nii");
    uint8_t *map = files_read("map.nii", &bytes);
    ck_assert_ptr_nonnull(memmem(map, bytes, "{\"labels\":{\"0\":\"none\",\"1\":\"a\"}}", 32));
    free(map);
    CHECK_OK(pumit_volume_file_count(&volumes, files_context, files_path("map_probabilities.nii")));
    ck_assert_int_eq(volumes, 3);
    ck_assert_int_eq(unlink(files_path("map.nii")), 0);
    check_line(runf("pumit-segment -q -o %s --volume 1 --probabilities %s %s",
                    files_path("map.nii"), files_path("m"), files_path("scan.nii")),
               1, "pumit-segment", "second file");
    check_line(runf("pumit-segment -q -o %s --volume 2 %s %s", files_path("x.nii"), files_path("m"),
                    files_path("scan.nii")),
               1, "pumit-segment", "no number 2");
    check_line(runf("pumit-segment -q -o %s --volume 1 --memory 10K %s %s", files_path("x.nii"),
                    files_path("m"), files_path("scan.nii")),
               1, "pumit-segment", "raise \"memory\"");
    check_line(runf("pumit-segment -q -o %s --memory 10Q %s %s", files_path("x.nii"),
                    files_path("m"), files_path("scan.nii")),
               2, "pumit-segment", "10Q");
    check_line(runf("pumit-segment -q -o %s %s %s %s", files_path("x.nii"), files_path("m"),
                    files_path("scan.nii"), files_path("scan.nii")),
               2, "pumit-segment", "folder");
    check_line(runf("pumit-segment -q -o %s %s %s", files_path("x.nii"), files_path("scan.nii"),
                    files_path("scan.nii")),
               1, "pumit-segment", "scan.nii");
    check_line(runf("pumit-segment -q -o %s %s %s", files_path("x.nii"), files_path("m"),
                    files_path("none.nii")),
               1, "pumit-segment", "none.nii");
    check_line(runf("pumit-segment -q -o %s %s %s", files_path("x.jpg"), files_path("m"),
                    files_path("scan.nii")),
               2, "pumit-segment",
               "x.jpg: a label map's file ends in .nii.gz"); /* not a folder of this name */
    check_line(runf("pumit-segment -q --overwrite -o %s %s %s", files_path("m"), files_path("m"),
                    files_path("scan.nii")),
               2, "pumit-segment", "ends in .nii.gz"); /* before the work, not after it */
    check_line(run("pumit-segment x y"), 2, "pumit-segment", "--output");
}
END_TEST

START_TEST(results_are_judged)
{
    model();
    files_folder("set");
    files_folder("set/imagesTr");
    files_folder("set/labelsTr");
    uint8_t labels[8 * 8 * 4] = {0, 1, 2, 1};
    for (int i = 0; i < 2; i++) {
        char name[64];
        const nifti_file file = nifti_plain(2, 8, 8, 8, 4);
        nifti_file on_image = file;
        on_image.pixdim[3] = 2.5;
        snprintf(name, sizeof name, "set/imagesTr/c%d.nii", i);
        scan(name, 8, 8, 4, 1);
        snprintf(name, sizeof name, "set/labelsTr/c%d.nii", i);
        nifti_write(name, i == 0 ? &on_image : &file, labels, sizeof labels, 1);
    }
    const answer *a = runf("pumit-segment -q --labels --report %s --contours %s -o %s %s %s",
                           files_path("r.json"), files_path("pictures"), files_path("out"),
                           files_path("m"), files_path("set"));
    ck_assert_int_eq(a->status, 1); /* the second label map lies elsewhere */
    ck_assert_ptr_nonnull(strstr(a->err, "labelsTr/c1.nii"));
    ck_assert_ptr_nonnull(strstr(a->out, "surface Dice"));
    ck_assert_int_eq(access(files_path("pictures/c0.png"), F_OK), 0);
    char text[8192];
    read_text(text, sizeof text, "r.json");
    cJSON *tree = cJSON_Parse(text);
    ck_assert_double_eq(number(tree, "count"), 1);
    cJSON_Delete(tree);
    check_line(runf("pumit-segment --report r -o %s %s %s", files_path("o"), files_path("m"),
                    files_path("set")),
               2, "pumit-segment", "--labels");
}
END_TEST

Suite *suite_segment_program(void)
{
    Suite *suite = suite_create("segment_program");
    TCase *tcase = tcase_create("segment_program");
    tcase_add_checked_fixture(tcase, files_setup, files_teardown);
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, images_of_all_kinds);
    tcase_add_test(tcase, nothing_is_overwritten_by_chance);
    tcase_add_test(tcase, one_image_with_options);
    tcase_add_test(tcase, results_are_judged);
    suite_add_tcase(suite, tcase);
    return suite;
}
