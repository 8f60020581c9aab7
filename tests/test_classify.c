/* SPDX-License-Identifier: Apache-2.0 */
/* pumit-classify with classifiers that were never trained: what it prints, where, and what it does with images that it cannot use. */
#include "tests/answer.h"
#include "tests/image_files.h"

#include "lib/base/base.h"

#include <pumit/pumit.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

Suite *suite_classify(void);

static void fill(pumit_classifier *model, const char *name, double scale, const char *stream)
{
    pumit_tensor *tensor;
    double values[256];
    CHECK_OK(pumit_module_find(&tensor, pumit_classifier_module(model), name));
    const int64_t n = pumit_tensor_count(tensor);
    ck_assert_int_le(n, 256);
    for (int64_t i = 0; i < n; i++)
        values[i] = scale * pumit__random_normal(1, pumit__random_stream(stream), (uint64_t)i);
    CHECK_OK(pumit_tensor_write(tensor, PUMIT_F64, values, n * (int64_t)sizeof *values));
}

/* A model file with a random head, other ones for other names. */
static void model(const char *name, const char *json, double scale)
{
    pumit_config *config;
    pumit_vit *vit;
    pumit_classifier *classifier;
    CHECK_OK(pumit_config_parse(&config, "{\"dim\": 16, \"depth\": 1, \"heads\": 2, \"hidden\": 16,"
                                         " \"pos_embed_shape\": [2, 2, 2], \"codes\": 8}"));
    CHECK_OK(pumit_vit_create(&vit, files_context, config));
    pumit_config_release(config);
    CHECK_OK(pumit_config_parse(&config, json));
    CHECK_OK(pumit_classifier_create(&classifier, vit, config));
    pumit_config_release(config);
    fill(classifier, "head.weight", scale, name);
    fill(classifier, "head.bias", scale, name);
    CHECK_OK(pumit_module_save(pumit_classifier_module(classifier), files_path(name), NULL));
    pumit_classifier_release(classifier);
    pumit_vit_release(vit);
}

#define TWO   "{\"classes\": 2}"
#define NAMED "{\"classes\": 2, \"class_names\": [\"bad, very\", \"good\"]}"

static void picture(const char *name, int seed)
{
    uint8_t rows[16 * 16];
    for (int i = 0; i < 256; i++) rows[i] = (uint8_t)((i * (7 + seed) + i / 16 * seed * 5) % 256);
    png_write(name, 16, 16, 8, 0, false, rows);
}

/* A folder a class, with so many pictures each. */
static void folders(int each)
{
    static const char *const NAMES[] = {"in/bad, very", "in/good"};
    char name[64];
    files_folder("in");
    for (int f = 0; f < 2; f++) {
        files_folder(NAMES[f]);
        for (int i = 0; i < each; i++) {
            snprintf(name, sizeof name, "%s/%d.png", NAMES[f], i);
            picture(name, each * f + i);
        }
    }
}

static const cJSON *merit(const cJSON *report, const char *name)
{
    const cJSON *const item = cJSON_GetObjectItemCaseSensitive(report, name);
    ck_assert_msg(item != NULL, "%s is missing", name);
    return item;
}

START_TEST(classes_have_names)
{
    model("m", NAMED, 1);
    folders(2);
    const answer *a =
        runf("pumit-classify --folders-are-labels %s %s", files_path("m"), files_path("in"));
    check_done(a);
    static const char HEADING[] = "image,label,\"p.bad, very\",p.good\n";
    ck_assert_msg(strncmp(a->out, HEADING, strlen(HEADING)) == 0, "%s", a->out);
    ck_assert_ptr_nonnull(strstr(a->out, "in/bad, very/0.png\",\"bad, very\",0."));
    ck_assert_ptr_nonnull(strstr(a->err, "  1 good "));
    cJSON *tree = parsed(runf("pumit-classify --json --folders-are-labels %s %s", files_path("m"),
                              files_path("in")));
    const cJSON *const last = cJSON_GetArrayItem(merit(merit(tree, "report"), "per_class"), 1);
    ck_assert_str_eq(merit(last, "name")->valuestring, "good");
    ck_assert_double_eq(number(last, "count"), 2);
    cJSON_Delete(tree);
}
END_TEST

/* On stderr beside a CSV on stdout, silent on wish; on stdout beside a file; JSON where it is wanted. */
START_TEST(reports_have_their_place)
{
    size_t bytes;
    model("m", TWO, 1);
    folders(5);
    const answer *a =
        runf("pumit-classify --folders-are-labels %s %s", files_path("m"), files_path("in"));
    check_done(a);
    ck_assert(strstr(a->err, "95% interval") && !strstr(a->out, "AUC"));
    a = runf("pumit-classify -q --folders-are-labels %s %s", files_path("m"), files_path("in"));
    ck_assert_str_eq(a->err, "");
    a = runf("pumit-classify --folders-are-labels --bootstrap 0 -o %s --report %s %s %s",
             files_path("p.csv"), files_path("r.json"), files_path("m"), files_path("in"));
    check_done(a);
    ck_assert_str_eq(a->err, "");
    ck_assert(strstr(a->out, "10 images, 2 classes") && !strstr(a->out, "interval"));
    ck_assert_ptr_nonnull(strstr(a->out, "truth \\ said"));
    uint8_t *const text = files_read("r.json", &bytes);
    cJSON *const report = cJSON_ParseWithLength((const char *)text, bytes);
    ck_assert_ptr_nonnull(report);
    cJSON *tree = parsed(runf("pumit-classify --json --seed 4 --confidence 0.5 "
                              "--folders-are-labels %s %s",
                              files_path("m"), files_path("in")));
    ck_assert_double_eq(number(tree, "auc"), number(merit(report, "auc"), "value"));
    ck_assert_double_eq(number(merit(tree, "report"), "seed"), 4);
    ck_assert_double_eq(number(merit(tree, "report"), "confidence"), 0.5);
    cJSON_Delete(tree);
    cJSON_Delete(report);
    free(text);
    /* what cannot be judged is printed all the same */
    a = runf("pumit-classify --folders-are-labels --confidence 95 %s %s", files_path("m"),
             files_path("in"));
    ck_assert_int_eq(a->status, 1);
    ck_assert(strstr(a->out, "good/4.png,1,0.") &&
              strstr(a->err, "pumit-classify: confidence: 95"));
    a = runf("pumit-classify --report %s %s %s/good", files_path("r.json"), files_path("m"),
             files_path("in"));
    ck_assert_int_eq(a->status, 1);
    ck_assert_ptr_nonnull(strstr(a->err, "no image has a label"));
}
END_TEST

static void read_probabilities(double rows[8], cJSON *tree)
{
    int i = 0;
    const cJSON *item;
    cJSON_ArrayForEach(item, merit(tree, "images"))
    {
        const cJSON *const row = merit(item, "probabilities");
        ck_assert_int_eq(cJSON_GetArraySize(row), 2);
        rows[i++] = row->child->valuedouble;
        rows[i++] = row->child->next->valuedouble;
    }
    ck_assert_int_eq(i, 8);
    cJSON_Delete(tree);
}

START_TEST(models_are_averaged)
{
    double a[8], b[8], mean[8];
    model("one", TWO, 1);
    model("two", TWO, 1);
    model("three", "{\"classes\": 3}", 1);
    folders(2);
    read_probabilities(
        a, parsed(runf("pumit-classify --json %s %s", files_path("one"), files_path("in"))));
    read_probabilities(
        b, parsed(runf("pumit-classify --json %s %s", files_path("two"), files_path("in"))));
    read_probabilities(mean, parsed(runf("pumit-classify --json --model %s %s %s",
                                         files_path("two"), files_path("one"), files_path("in"))));
    ck_assert(fabs(a[0] - b[0]) > 1e-3);
    for (int i = 0; i < 8; i++) ck_assert_double_eq_tol(mean[i], (a[i] + b[i]) / 2, 1e-12);
    check_line(runf("pumit-classify --model %s %s %s", files_path("three"), files_path("one"),
                    files_path("in")),
               1, "pumit-classify", "other classes");
    check_line(runf("pumit-classify --model %s %s %s", files_path("in"), files_path("one"),
                    files_path("in")),
               1, "pumit-classify", "/in");
}
END_TEST

/* The others are classified; the exit status tells that some were not. */
START_TEST(images_that_fail_are_told)
{
    model("m", TWO, 1);
    files_folder("mixed");
    picture("mixed/a.png", 1);
    files_write("mixed/b.png", "x", 1);
    picture("mixed/c.png", 2);
    const answer *a = runf("pumit-classify %s %s", files_path("m"), files_path("mixed"));
    ck_assert_int_eq(a->status, 1);
    ck_assert(strstr(a->out, "a.png,,0.") && strstr(a->out, "c.png,,0."));
    ck_assert(strstr(a->err, "mixed/b.png") && !strstr(a->out, "b.png"));
    model("m", TWO, NAN);
    a = runf("pumit-classify %s %s", files_path("m"), files_path("mixed/a.png"));
    ck_assert_int_eq(a->status, 1);
    ck_assert_str_eq(a->out, "image,label,p0,p1\n");
    ck_assert_ptr_nonnull(strstr(a->err, "mixed/a.png: cannot be classified: "));
}
END_TEST

/* Scans and pictures, with labels and without, of classes that the model knows and one that it does not. */
START_TEST(lists_may_lack_labels)
{
    static float voxels[20 * 20 * 6];
    for (int i = 0; i < 2400; i++) voxels[i] = (float)(i % 97);
    const nifti_file file = nifti_plain(16, 32, 20, 20, 6);
    nifti_write("scan.nii.gz", &file, voxels, 2400, 4);
    picture("a.png", 1);
    picture("b.png", 2);
    static const char LIST[] = "path,label\nscan.nii.gz,1\na.png,0\nb.png,\na.png,7\n";
    files_write("list.csv", LIST, strlen(LIST));
    model("m", TWO, 1);
    const answer *a = runf("pumit-classify %s %s", files_path("m"), files_path("list.csv"));
    check_done(a);
    ck_assert_ptr_nonnull(strstr(a->out, "scan.nii.gz,1,0."));
    ck_assert_ptr_nonnull(strstr(a->err, "2 of 4 images have no label that the model knows"));
    ck_assert_ptr_nonnull(strstr(a->err, "2 images, 2 classes"));
}
END_TEST

/* Archives and lists with several labels to an image, by a model of such and by one of classes. */
START_TEST(images_may_have_several_labels)
{
    static const char LIST[] = "path,label.a,label.b\na.png,1,0\nb.png,1,1\nc.png,0,0\nd.png,0,1\n";
    char name[8];
    for (int i = 0; i < 4; i++) {
        snprintf(name, sizeof name, "%c.png", 'a' + i);
        picture(name, i);
    }
    files_write("list.csv", LIST, strlen(LIST));
    model("m", "{\"classes\": 2, \"task\": \"labels\", \"class_names\": [\"a\", \"b\"]}", 1);
    const answer *a = runf("pumit-classify %s %s", files_path("m"), files_path("list.csv"));
    check_done(a);
    ck_assert_ptr_eq(strstr(a->out, "image,label.a,label.b,p.a,p.b\n"), a->out);
    ck_assert_ptr_nonnull(strstr(a->out, "b.png,1,1,0."));
    ck_assert_ptr_nonnull(strstr(a->out, "c.png,0,0,0."));
    ck_assert_ptr_nonnull(strstr(a->err, "4 images, 2 labels"));
    cJSON *tree =
        parsed(runf("pumit-classify --json %s %s", files_path("m"), files_path("list.csv")));
    const cJSON *const second = cJSON_GetArrayItem(merit(tree, "images"), 1);
    ck_assert_int_eq(cJSON_GetArraySize(merit(second, "labels")), 2);
    ck_assert_str_eq(merit(merit(tree, "report"), "task")->valuestring, "labels");
    ck_assert_double_eq(number(merit(merit(tree, "report"), "per_class")->child, "count"), 2);
    cJSON_Delete(tree);
    model("m", TWO, 1);
    a = runf("pumit-classify %s %s", files_path("m"), files_path("list.csv"));
    check_done(a);
    ck_assert_ptr_nonnull(strstr(a->err, "4 of 4 images have no label that the model knows"));
    ck_assert_ptr_null(strstr(a->err, "AUC"));
}
END_TEST

Suite *suite_classify(void)
{
    Suite *suite = suite_create("classify");
    TCase *tests = tcase_create("classify");
    tcase_add_checked_fixture(tests, files_setup, files_teardown);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, classes_have_names);
    tcase_add_test(tests, reports_have_their_place);
    tcase_add_test(tests, models_are_averaged);
    tcase_add_test(tests, images_that_fail_are_told);
    tcase_add_test(tests, lists_may_lack_labels);
    tcase_add_test(tests, images_may_have_several_labels);
    suite_add_tcase(suite, tests);
    return suite;
}
