/* SPDX-License-Identifier: Apache-2.0 */
/* What images are labelled with, and parts of a dataset: folds and shares of the labels. */
#include "lib/data/dataset.h"
#include "tests/image_files.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static pumit_dataset *open_with(const char *name, const char *json)
{
    pumit_dataset *dataset;
    pumit_config *options;
    const char *path = files_path(name);
    CHECK_OK(pumit_config_parse(&options, json));
    CHECK_OK(pumit_dataset_open(&dataset, files_context, 1, &path, options));
    pumit_config_release(options);
    return dataset;
}

/* ------------------------------------------------------------------------------------------ subsets */

#define IMAGES 60

/* Of 60 images 40 are of class 0, 15 of class 1, 5 of class 2, mixed. */
static int64_t label_at(int i)
{
    return i % 12 == 7 ? 2 : i % 4 == 1 ? 1 : 0;
}

static pumit_dataset *open_sixty(void)
{
    const uint8_t level = 7;
    char list[2048];
    int n = snprintf(list, sizeof list, "path,label\n");
    png_write("a.png", 1, 1, 8, 0, false, &level);
    for (int i = 0; i < IMAGES; i++)
        n += snprintf(list + n, sizeof list - (size_t)n, "a.png,%d\n", (int)label_at(i));
    files_write("list.csv", list, (size_t)n);
    return open_with("list.csv", "{}");
}

/* The part, with member[i] telling whether image i is of it; counts[c]: of class c. */
static int64_t members(bool member[IMAGES], int64_t counts[3], const pumit_dataset *dataset,
                       const char *json)
{
    pumit_config *options;
    pumit_dataset *part;
    CHECK_OK(pumit_config_parse(&options, json));
    CHECK_OK(pumit_dataset_subset(&part, dataset, options));
    pumit_config_release(options);
    const int64_t n = pumit_dataset_count(part);
    memset(member, 0, IMAGES * sizeof *member);
    memset(counts, 0, 3 * sizeof *counts);
    int64_t last = -1;
    for (int64_t i = 0; i < n; i++) {
        int64_t at =
            0; /* images share nothing but the part and the whole: volumes tell them apart */
        while (pumit_dataset_volume(dataset, at) != pumit_dataset_volume(part, i)) at++;
        ck_assert_int_gt(at, last);
        ck_assert_int_eq(pumit_dataset_label(part, i), label_at((int)at));
        ck_assert_str_eq(pumit_dataset_name(part, i), pumit_dataset_name(dataset, at));
        member[last = at] = true;
        counts[label_at((int)at)]++;
    }
    ck_assert_int_eq(pumit_dataset_classes(part), 3);
    pumit_dataset_release(part);
    return n;
}

START_TEST(shares_are_stratified_and_nested)
{
    pumit_dataset *dataset = open_sixty();
    bool a[IMAGES], b[IMAGES], other[IMAGES];
    int64_t counts[3], differ = 0;
    ck_assert_int_eq(members(a, counts, dataset, "{\"labels\": 0.2, \"seed\": 5}"), 12);
    ck_assert(counts[0] == 8 && counts[1] == 3 && counts[2] == 1);
    ck_assert_int_eq(members(b, counts, dataset, "{\"labels\": 0.4, \"seed\": 5}"), 24);
    ck_assert(counts[0] == 16 && counts[1] == 6 && counts[2] == 2);
    for (int i = 0; i < IMAGES; i++) ck_assert(!a[i] || b[i]);
    ck_assert_int_eq(members(other, counts, dataset, "{\"labels\": 0.2, \"seed\": 6}"), 12);
    for (int i = 0; i < IMAGES; i++) differ += a[i] != other[i];
    ck_assert_int_gt(differ, 4);
    ck_assert_int_eq(members(other, counts, dataset, "{\"labels\": 0.2, \"seed\": 5}"), 12);
    ck_assert_int_eq(memcmp(a, other, sizeof a), 0);
    ck_assert_int_eq(members(a, counts, dataset, "{\"labels\": 0.05}"), 3); /* each class has one */
    ck_assert(counts[0] == 1 && counts[1] == 1 && counts[2] == 1);
    ck_assert_int_eq(members(a, counts, dataset, "{}"), IMAGES);
    pumit_dataset_release(dataset);
}
END_TEST

START_TEST(folds_are_stratified_and_share_nothing)
{
    pumit_dataset *dataset = open_sixty();
    bool held[IMAGES], rest[IMAGES], part[IMAGES];
    int64_t counts[3], judged[IMAGES] = {0};
    for (int f = 0; f < 5; f++) {
        char json[96];
        snprintf(json, sizeof json, "{\"folds\": 5, \"fold\": %d, \"held_out\": true}", f);
        ck_assert_int_eq(members(held, counts, dataset, json), 12);
        ck_assert(counts[0] == 8 && counts[1] == 3 && counts[2] == 1);
        snprintf(json, sizeof json, "{\"folds\": 5, \"fold\": %d}", f);
        ck_assert_int_eq(members(rest, counts, dataset, json), 48);
        /* The share is of what is learnt from, and leaves the fold as it is. */
        snprintf(json, sizeof json, "{\"folds\": 5, \"fold\": %d, \"labels\": 0.25}", f);
        ck_assert_int_eq(members(part, counts, dataset, json), 12);
        for (int i = 0; i < IMAGES; i++) {
            ck_assert(held[i] != rest[i]);
            ck_assert(!part[i] || rest[i]);
            judged[i] += held[i];
        }
        snprintf(json, sizeof json,
                 "{\"folds\": 5, \"fold\": %d, \"labels\": 0.25, \"held_out\": true}", f);
        ck_assert_int_eq(members(part, counts, dataset, json), 12);
        ck_assert_int_eq(memcmp(part, held, sizeof part), 0);
    }
    for (int i = 0; i < IMAGES; i++) ck_assert_int_eq(judged[i], 1);
    pumit_dataset_release(dataset);
}
END_TEST

START_TEST(a_part_outlives_the_whole)
{
    pumit_dataset *dataset = open_sixty(), *part;
    CHECK_OK(pumit_dataset_subset(&part, dataset, NULL));
    pumit_dataset_release(dataset);
    ck_assert_int_eq(pumit_dataset_count(part), IMAGES);
    ck_assert_float_eq(pumit_volume_voxels(pumit_dataset_volume(part, IMAGES - 1))[0], 7);
    pumit_dataset_release(part);
}
END_TEST

static const struct {
    const char *json, *word;
} bad_parts[] = {{"{\"labels\": 0}", "labels"},
                 {"{\"labels\": 1.5}", "labels"},
                 {"{\"labels\": 0.001}", "none is left"},
                 {"{\"folds\": 1}", "folds"},
                 {"{\"folds\": -2}", "folds"},
                 {"{\"folds\": 5, \"fold\": 5}", "fold"},
                 {"{\"fold\": 1}", "fold"},
                 {"{\"held_out\": true}", "held_out"}};

START_TEST(bad_parts_are_refused)
{
    pumit_dataset *dataset = open_sixty(), *part = dataset;
    pumit_config *options;
    CHECK_OK(pumit_config_parse(&options, bad_parts[_i].json));
    const pumit_status status = pumit_dataset_subset(&part, dataset, options);
    files_check_failed(status, PUMIT_ERROR_INVALID_ARGUMENT, bad_parts[_i].word, "");
    ck_assert_ptr_null(part);
    pumit_config_release(options);
    pumit_dataset_release(dataset);
}
END_TEST

Suite *suite_labels(void);
Suite *suite_labels(void)
{
    Suite *suite = suite_create("labels");
    TCase *tcase = tcase_create("labels");
    tcase_add_checked_fixture(tcase, files_setup, files_teardown);
    tcase_add_test(tcase, shares_are_stratified_and_nested);
    tcase_add_test(tcase, folds_are_stratified_and_share_nothing);
    tcase_add_test(tcase, a_part_outlives_the_whole);
    tcase_add_loop_test(tcase, bad_parts_are_refused, 0,
                        (int)(sizeof bad_parts / sizeof *bad_parts));
    suite_add_tcase(suite, tcase);
    return suite;
}
