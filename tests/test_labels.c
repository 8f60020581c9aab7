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
    int differ = 0;
    members(held, counts, dataset, "{\"folds\": 5, \"held_out\": true}");
    members(rest, counts, dataset, "{\"folds\": 5, \"held_out\": true, \"seed\": 1}");
    for (int i = 0; i < IMAGES; i++) differ += held[i] != rest[i];
    ck_assert_int_gt(differ, 8);
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

/* ------------------------------------------------------------------------------------- names, columns */

static void write_dot(const char *name)
{
    const uint8_t level = 9;
    png_write(name, 1, 1, 8, 0, false, &level);
}

static pumit_dataset *open_list(const char *text, const char *json)
{
    write_dot("a.png");
    files_write("list.csv", text, strlen(text));
    return open_with("list.csv", json);
}

static void check_labels(const pumit_dataset *dataset, int count, const int64_t *labels)
{
    ck_assert_int_eq(pumit_dataset_count(dataset), count);
    for (int i = 0; i < count; i++) ck_assert_int_eq(pumit_dataset_label(dataset, i), labels[i]);
}

/* By the alphabet over the whole list, so that each split has the same numbers. */
START_TEST(labels_may_be_names)
{
    static const char LIST[] = "path,label,split\na.png,mild,train\na.png,\"bad, very\",train\n"
                               "a.png,absent,val\na.png,mild,val\n\n";
    static const int64_t TRAIN[] = {2, 1}, VAL[] = {0, 2};
    pumit_dataset *dataset = open_list(LIST, "{\"split\": \"train\"}");
    check_labels(dataset, 2, TRAIN);
    ck_assert_int_eq(pumit_dataset_classes(dataset), 3);
    ck_assert_str_eq(pumit_dataset_class_name(dataset, 1), "bad, very");
    ck_assert_ptr_null(pumit_dataset_class_name(dataset, 3));
    ck_assert_int_eq(pumit_dataset_multilabel(dataset), 0);
    ck_assert(pumit_dataset_has_label(dataset, 0, 2) && !pumit_dataset_has_label(dataset, 0, 1));
    pumit_dataset_release(dataset);
    dataset = open_list(LIST, "{\"split\": \"val\"}");
    check_labels(dataset, 2, VAL);
    pumit_dataset_release(dataset);
}
END_TEST

START_TEST(names_may_be_given)
{
    static const char *const LIST = "path,label\na.png,b\na.png,c\n";
    static const int64_t LABELS[] = {2, 0};
    pumit_dataset *dataset = open_list(LIST, "{\"class_names\": [\"c\", \"a\", \"b\"]}");
    check_labels(dataset, 2, LABELS);
    ck_assert_int_eq(pumit_dataset_classes(dataset), 3);
    pumit_dataset_release(dataset);
    files_folder("set");
    files_folder("set/b");
    files_folder("set/c");
    write_dot("set/b/1.png");
    write_dot("set/c/2.png");
    dataset =
        open_with("set", "{\"folders_are_labels\": true, \"class_names\": [\"c\", \"a\", \"b\"]}");
    check_labels(dataset, 2, LABELS);
    pumit_dataset_release(dataset);
    dataset = open_with("set", "{\"folders_are_labels\": true}");
    ck_assert_str_eq(pumit_dataset_class_name(dataset, 1), "c");
    pumit_dataset_release(dataset);
}
END_TEST

static void check_bits(const pumit_dataset *dataset, int count, const char *const *bits)
{
    ck_assert_int_eq(pumit_dataset_multilabel(dataset), 1);
    ck_assert_int_eq(pumit_dataset_count(dataset), count);
    ck_assert_int_eq(pumit_dataset_classes(dataset), (int64_t)strlen(bits[0]));
    for (int i = 0; i < count; i++) {
        ck_assert_int_eq(pumit_dataset_label(dataset, i), -1);
        for (int64_t c = -1; c <= (int64_t)strlen(bits[0]); c++)
            ck_assert_int_eq(pumit_dataset_has_label(dataset, i, c),
                             c < 0 || !bits[i][c] ? -1 : bits[i][c] == '1');
    }
}

START_TEST(lists_have_columns_of_labels)
{
    static const char *const BITS[] = {"101", "000", "011"};
    static const char LIST[] = "Label.fluid,path,label.mass,LABEL.node\n1,a.png,0,1\n"
                               "0,a.png,0,0\n0,a.png,1,1\n";
    pumit_dataset *dataset = open_list(LIST, "{}"), *part;
    check_bits(dataset, 3, BITS);
    ck_assert_str_eq(pumit_dataset_class_name(dataset, 2), "node");
    CHECK_OK(pumit_dataset_subset(&part, dataset, NULL));
    pumit_dataset_release(dataset);
    check_bits(part, 3, BITS);
    ck_assert_str_eq(pumit_dataset_class_name(part, 0), "fluid");
    pumit_dataset_release(part);
    /* in the order of the given names */
    static const char *const TURNED[] = {"110", "000", "101"};
    dataset = open_list(LIST, "{\"class_names\": [\"node\", \"fluid\", \"mass\"]}");
    check_bits(dataset, 3, TURNED);
    pumit_dataset_release(dataset);
    dataset = open_list("path,label.a,label.b\na.png,,\na.png,0,1\n", "{}");
    ck_assert_int_eq(pumit_dataset_classes(dataset), 0); /* one image is not labelled */
    ck_assert_int_eq(pumit_dataset_has_label(dataset, 0, 1), -1);
    ck_assert_int_eq(pumit_dataset_has_label(dataset, 1, 1), 1);
    pumit_dataset_release(dataset);
}
END_TEST

START_TEST(archives_have_columns_of_labels)
{
    static const char *const BITS[] = {"011", "100"};
    static const uint8_t VOXELS[12] = {1}, LABELS[6] = {0, 1, 1, 1, 0, 0}, WRONG[6] = {0, 2};
    for (int bad = 0; bad < 2; bad++) {
        const npz_member members[] = {
            {"train_images", "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 2, 3), }",
             VOXELS, 12},
            {"train_labels", "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3), }",
             bad ? WRONG : LABELS, 6}};
        npz_write("many.npz", members, 2, false);
        if (bad) break;
        pumit_dataset *dataset = open_with("many.npz", "{}");
        check_bits(dataset, 2, BITS);
        ck_assert_ptr_null(pumit_dataset_class_name(dataset, 0));
        pumit_dataset_release(dataset);
    }
    pumit_dataset *dataset;
    const char *path = files_path("many.npz");
    files_check_failed(pumit_dataset_open(&dataset, files_context, 1, &path, NULL),
                       PUMIT_ERROR_FORMAT, "many.npz", "is 2, not 0 or 1");
}
END_TEST

static const struct {
    const char *text, *json, *part;
} bad_lists[] = {
    {"path,label\na.png,b\na.png,c\n", "{\"class_names\": [\"b\"]}", "line 3"},
    {"path,label\na.png,1\na.png,c\n", "{}", "line 3"},
    {"path,label,label.x\na.png,1,1\n", "{}", "\"label\" alone"},
    {"path,label.x,label.x\na.png,1,1\n", "{}", "twice"},
    {"path,label.x,label.x\na.png,1,1\n", "{\"class_names\": [\"x\", \"y\"]}", "twice"},
    {"path,label.x\na.png,1\n", "{\"class_names\": [\"y\"]}", "none of the classes"},
    {"path,label.x\na.png,1\n", "{\"class_names\": [\"x\", \"y\"]}", "of 2 classes"},
    {"path,label.x\na.png,2\n", "{}", "not 0 or 1"},
    {"path,label.x,label.y\na.png,1,\n", "{}", "1 of 2"},
    {"label.x,path,label.y\n1,a.png\n", "{}", "line 2"}};

START_TEST(bad_label_lists_are_refused)
{
    pumit_config *options;
    pumit_dataset *dataset;
    const char *path = files_path("list.csv");
    write_dot("a.png");
    files_write("list.csv", bad_lists[_i].text, strlen(bad_lists[_i].text));
    CHECK_OK(pumit_config_parse(&options, bad_lists[_i].json));
    files_check_failed(pumit_dataset_open(&dataset, files_context, 1, &path, options),
                       PUMIT_ERROR_FORMAT, "list.csv", bad_lists[_i].part);
    pumit_config_release(options);
}
END_TEST

/* Where a list has more columns than are read, a label among them would be lost. */
START_TEST(no_label_is_cut_off)
{
    char text[2048];
    pumit_dataset *dataset;
    const char *path = files_path("list.csv");
    int n = snprintf(text, sizeof text, "path,label.x");
    for (int i = 0; i < 60; i++) n += snprintf(text + n, sizeof text - (size_t)n, ",c%d", i);
    write_dot("a.png");
    for (int more = 0; more < 2; more++) {
        int end = n;
        for (int i = 0; i < 70 * more; i++)
            end += snprintf(text + end, sizeof text - (size_t)end, ",d%d", i);
        end += snprintf(text + end, sizeof text - (size_t)end, ",label.y\na.png,1");
        for (int i = 0; i < 60 + 70 * more; i++)
            end += snprintf(text + end, sizeof text - (size_t)end, ",");
        end += snprintf(text + end, sizeof text - (size_t)end, ",1\n");
        files_write("list.csv", text, (size_t)end);
        const pumit_status status = pumit_dataset_open(&dataset, files_context, 1, &path, NULL);
        if (more) {
            files_check_failed(status, PUMIT_ERROR_FORMAT, "list.csv", "128 columns");
            return;
        }
        CHECK_OK(status);
        ck_assert_int_eq(pumit_dataset_has_label(dataset, 0, 1), 1);
        pumit_dataset_release(dataset);
    }
}
END_TEST

/* Kinds that do not go together: the later files are skipped and told. */
START_TEST(kinds_are_not_mixed)
{
    pumit_dataset *dataset;
    write_dot("a.png");
    files_write("one.csv", "path,label\na.png,1\n", 19);
    files_write("two.csv", "path,label.x\na.png,1\n", 21);
    const char *const paths[] = {files_path("one.csv"), files_path("two.csv")};
    CHECK_OK(pumit_dataset_open(&dataset, files_context, 2, paths, NULL));
    ck_assert(pumit_dataset_count(dataset) == 1 && pumit_dataset_skipped(dataset) == 1);
    ck_assert_msg(strstr(files_log, "1 columns of labels") != NULL, "%s", files_log);
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
    tcase_add_test(tcase, labels_may_be_names);
    tcase_add_test(tcase, names_may_be_given);
    tcase_add_test(tcase, lists_have_columns_of_labels);
    tcase_add_test(tcase, archives_have_columns_of_labels);
    tcase_add_loop_test(tcase, bad_label_lists_are_refused, 0,
                        (int)(sizeof bad_lists / sizeof *bad_lists));
    tcase_add_test(tcase, kinds_are_not_mixed);
    tcase_add_test(tcase, no_label_is_cut_off);
    suite_add_tcase(suite, tcase);
    return suite;
}
