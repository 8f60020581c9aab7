/* SPDX-License-Identifier: Apache-2.0 */
/* Classifiers of classes, labels and grades: losses and probabilities by hand, gradients by finite differences, what a file keeps. */
#include "lib/models/classifier.h"
#include "lib/train/trainer.h"
#include "tests/image_files.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static pumit_context *exact; /* computes in double */

static void setup(void)
{
    pumit_config *config;
    files_setup();
    CHECK_OK(pumit_config_parse(&config, "{\"device\": \"reference64\", \"threads\": 1}"));
    CHECK_OK(pumit_context_create(&exact, config));
    pumit_config_release(config);
}

static void teardown(void)
{
    int64_t in_use;
    CHECK_OK(pumit_context_memory(exact, &in_use, NULL, NULL));
    ck_assert_int_eq(in_use, 0);
    pumit_context_release(exact);
    files_teardown();
}

static double log_logistic(double x)
{
    return -log(1 + exp(-x));
}

/* The loss of logits (2, outputs). */
static double loss_of(pumit_task task, int64_t classes, const double *logits, const double *targets,
                      const double *weights)
{
    const int64_t shape[2] = {2, pumit__class_outputs(task, classes)};
    const int64_t mark = pumit__scope_begin(exact);
    double value;
    pumit_tensor *x = pumit__from_host(exact, PUMIT_F64, logits, 0, 2, shape);
    pumit_tensor *loss = pumit__class_loss(x, task, classes, targets, weights);
    ck_assert_msg(loss != NULL, "%s", pumit_last_error());
    CHECK_OK(pumit_tensor_item(&value, loss));
    pumit__scope_end(exact, mark, NULL);
    return value;
}

static void check_close(double value, double wanted, double bound)
{
    ck_assert_msg(fabs(value - wanted) <= bound, "%.17g, not %.17g", value, wanted);
}

/* ------------------------------------------------------------------------------------------- losses */

START_TEST(classes_by_hand)
{
    const double logits[] = {1, 2, 0.5, -1, 0, 3}, q[] = {0, 1, 0, 0.25, 0, 0.75};
    const double w[] = {2, 3, 0.5};
    const double sums[] = {log(exp(1) + exp(2) + exp(0.5)), log(exp(-1) + exp(0) + exp(3))};
    check_close(loss_of(PUMIT_TASK_CLASSES, 3, logits, q, NULL),
                (sums[0] - 2 + 0.25 * (sums[1] + 1) + 0.75 * (sums[1] - 3)) / 2, 1e-12);
    check_close(loss_of(PUMIT_TASK_CLASSES, 3, logits, q, w),
                (3 * (sums[0] - 2) + 2 * 0.25 * (sums[1] + 1) + 0.5 * 0.75 * (sums[1] - 3)) / 2,
                1e-12);
}
END_TEST

START_TEST(labels_by_hand)
{
    const double logits[] = {1, -2, 0.5, 40, 0, -3}, q[] = {1, 1, 0, 1, 0, 0.5}, w[] = {2, 3, 0.5};
    double plain = 0, weighted = 0;
    for (int i = 0; i < 6; i++) {
        plain -= q[i] * log_logistic(logits[i]) + (1 - q[i]) * log_logistic(-logits[i]);
        weighted -=
            w[i % 3] * q[i] * log_logistic(logits[i]) + (1 - q[i]) * log_logistic(-logits[i]);
    }
    check_close(loss_of(PUMIT_TASK_LABELS, 3, logits, q, NULL), plain / 6, 1e-12);
    check_close(loss_of(PUMIT_TASK_LABELS, 3, logits, q, w), weighted / 6, 1e-12);
}
END_TEST

/* Four grades: that image 0 is of grade 2 takes two steps up and a stop; image 1 is half of grade 0 and half of 3. */
START_TEST(grades_by_hand)
{
    const double logits[] = {1, -2, 0.5, 0.3, 0, -3};
    const double q[] = {0, 0, 1, 0, 0.5, 0, 0, 0.5}, w[] = {2, 3, 0.5, 4};
    const double of_two = -(log_logistic(1) + log_logistic(-2) + log_logistic(-0.5));
    const double of_none = -log_logistic(-0.3),
                 of_most = -(log_logistic(0.3) + log_logistic(0) + log_logistic(-3));
    check_close(loss_of(PUMIT_TASK_GRADES, 4, logits, q, NULL),
                (of_two + 0.5 * of_none + 0.5 * of_most) / 2, 1e-12);
    check_close(loss_of(PUMIT_TASK_GRADES, 4, logits, q, w),
                (0.5 * of_two + 2 * 0.5 * of_none + 4 * 0.5 * of_most) / 2, 1e-12);
}
END_TEST

static const pumit_task TASKS[] = {PUMIT_TASK_CLASSES, PUMIT_TASK_LABELS, PUMIT_TASK_GRADES};

/* The loss is -ln of the probability that is told; probabilities of classes and grades sum to one. */
START_TEST(losses_fit_probabilities)
{
    const pumit_task task = TASKS[_i];
    const double logits[] = {1, -2, 0.5, -30, 0.3, 0, -3, 2};
    const int64_t classes = 4, numbers[] = {2, 1}, present[] = {1, 0, 0, 1, 0, 1, 1, 0};
    const bool many = task == PUMIT_TASK_LABELS;
    double p[8], targets[8], wanted = 0;
    CHECK_OK(pumit__class_targets(targets, task, 2, classes, many ? present : numbers));
    pumit__class_probabilities(p, task, 2, classes, logits);
    for (int i = 0; i < 2; i++) {
        double sum = 0;
        for (int c = 0; c < 4; c++) {
            const double q = p[4 * i + c];
            ck_assert(q > 0 && q < 1);
            sum += q;
            if (many) wanted -= log(present[4 * i + c] ? q : 1 - q) / 8;
            if (!many && numbers[i] == c) wanted -= log(q) / 2;
        }
        if (!many) check_close(sum, 1, 1e-12);
    }
    check_close(loss_of(task, classes, logits, targets, NULL), wanted, 1e-9);
}
END_TEST

static pumit_classifier *make(pumit_context *ctx, const char *task, int64_t classes)
{
    pumit_config *config;
    pumit_vit *vit;
    pumit_classifier *classifier;
    CHECK_OK(pumit_config_parse(
        &config, "{\"in_channels\": 1, \"patch\": [4, 4, 4], \"dim\": 8, \"depth\": 2, \"heads\": "
                 "2, \"hidden\": 12, \"pos_embed_shape\": [2, 2, 2], \"seed\": 3}"));
    CHECK_OK(pumit_config_set_int(config, "classes", classes));
    CHECK_OK(pumit_config_set_string(config, "task", task));
    CHECK_OK(pumit_vit_create(&vit, ctx, config));
    CHECK_OK(pumit_classifier_create(&classifier, vit, config));
    pumit_vit_release(vit);
    pumit_config_release(config);
    return classifier;
}

static pumit_tensor *make_images(pumit_context *ctx)
{
    const int64_t shape[] = {2, 8, 8, 8, 1};
    float values[1024];
    pumit_tensor *image;
    for (int i = 0; i < 1024; i++) values[i] = (float)(i * 37 % 101) / 101;
    CHECK_OK(pumit_tensor_from_data(&image, ctx, PUMIT_F32, 5, shape, values));
    return image;
}

static const double CUBES[3] = {1, 1, 1};

/* Gives the head weights, so that gradients pass through it. */
static pumit_tensor *stir_head(pumit_classifier *classifier)
{
    pumit_tensor *weight;
    double values[64];
    CHECK_OK(pumit_module_find(&weight, pumit_classifier_module(classifier), "head.weight"));
    const int64_t n = pumit_tensor_count(weight);
    for (int64_t i = 0; i < n; i++) values[i] = sin(1.7 * (double)i) / 2;
    CHECK_OK(pumit_tensor_write(weight, PUMIT_F64, values, n * 8));
    pumit_tensor_touch(weight);
    return weight;
}

static double loss_at(pumit_classifier *classifier, pumit_tensor *image, pumit_tensor *parameter,
                      int64_t i, double value, const double *targets, const double *weights)
{
    double values[64], out;
    pumit_tensor *loss;
    const int64_t bytes = pumit_tensor_count(parameter) * 8;
    CHECK_OK(pumit_tensor_read(parameter, PUMIT_F64, values, bytes));
    const double before = values[i];
    values[i] = value;
    CHECK_OK(pumit_tensor_write(parameter, PUMIT_F64, values, bytes));
    pumit_tensor_touch(parameter);
    CHECK_OK(pumit__classifier_loss(&loss, classifier, image, CUBES, targets, weights));
    CHECK_OK(pumit_tensor_item(&out, loss));
    pumit_tensor_release(loss);
    values[i] = before;
    CHECK_OK(pumit_tensor_write(parameter, PUMIT_F64, values, bytes));
    pumit_tensor_touch(parameter);
    return out;
}

static void check_gradient(pumit_classifier *classifier, pumit_tensor *image, const char *name,
                           const double *targets, const double *weights)
{
    pumit_tensor *parameter, *gradient, *loss;
    double values[64], slopes[64], largest = 0;
    CHECK_OK(pumit_module_find(&parameter, pumit_classifier_module(classifier), name));
    const int64_t n = pumit_tensor_count(parameter);
    CHECK_OK(pumit_tensor_read(parameter, PUMIT_F64, values, n * 8));
    CHECK_OK(pumit__classifier_loss(&loss, classifier, image, CUBES, targets, weights));
    CHECK_OK(pumit_tensor_backward(loss));
    pumit_tensor_release(loss);
    CHECK_OK(pumit_tensor_grad(&gradient, parameter));
    CHECK_OK(pumit_tensor_read(gradient, PUMIT_F64, slopes, n * 8));
    pumit_tensor_release(gradient);
    for (int64_t i = 0; i < n; i++) {
        const double h = 1e-5, above = values[i] + h, below = values[i] - h;
        const double slope = (loss_at(classifier, image, parameter, i, above, targets, weights) -
                              loss_at(classifier, image, parameter, i, below, targets, weights)) /
                             (2 * h);
        ck_assert_msg(fabs(slope - slopes[i]) <= 1e-8 + 1e-6 * fabs(slope), "%s[%d]: %g, not %g",
                      name, (int)i, slopes[i], slope);
        largest = fmax(largest, fabs(slope));
    }
    ck_assert_msg(largest > 1e-4, "%s: no gradient", name);
    pumit_module_zero_grad(pumit_classifier_module(classifier));
}

START_TEST(gradients_are_slopes)
{
    const char *const task = pumit__task_name(TASKS[_i]);
    pumit_classifier *classifier = make(exact, task, 4);
    pumit_tensor *image = make_images(exact);
    const double targets[] = {0.7, 0, 0.3, 0, 0, 0.1, 0, 0.9}, weights[] = {1, 0.5, 2, 3};
    stir_head(classifier);
    ck_assert_int_eq(pumit_classifier_task(classifier), TASKS[_i]);
    check_gradient(classifier, image, "head.weight", targets, weights);
    check_gradient(classifier, image, "head.bias", targets, NULL);
    check_gradient(classifier, image, "backbone.norm.weight", targets, weights);
    pumit_tensor_release(image);
    pumit_classifier_release(classifier);
}
END_TEST

/* The head learns as before, the transformer gets nothing, and less memory is kept. */
START_TEST(frozen_ones_keep_no_tape)
{
    const int64_t labels[] = {1, 2};
    pumit_classifier *classifier = make(exact, "classes", 4);
    pumit_tensor *image = make_images(exact), *head = stir_head(classifier), *norm, *loss;
    double slopes[2][32];
    int64_t kept[2];
    CHECK_OK(pumit_module_find(&norm, pumit_classifier_module(classifier), "backbone.norm.weight"));
    for (int i = 0; i < 2; i++) {
        pumit_tensor *gradient;
        if (i == 1) pumit__classifier_freeze(classifier);
        CHECK_OK(pumit_classifier_loss(&loss, classifier, image, CUBES, labels));
        CHECK_OK(pumit_context_memory(exact, &kept[i], NULL, NULL));
        CHECK_OK(pumit_tensor_backward(loss));
        pumit_tensor_release(loss);
        CHECK_OK(pumit_tensor_grad(&gradient, head));
        CHECK_OK(pumit_tensor_read(gradient, PUMIT_F64, slopes[i], sizeof slopes[i]));
        pumit_tensor_release(gradient);
        ck_assert_int_eq(pumit_tensor_grad(&gradient, norm), i ? PUMIT_ERROR_NOT_FOUND : PUMIT_OK);
        if (i == 0) pumit_tensor_release(gradient);
        pumit_module_zero_grad(pumit_classifier_module(classifier));
    }
    ck_assert_int_eq(memcmp(slopes[0], slopes[1], sizeof *slopes), 0);
    ck_assert_int_lt(kept[1], kept[0]);
    pumit_tensor_release(image);
    pumit_classifier_release(classifier);
}
END_TEST

/* How far the first step of AdamW moves a parameter: by the rate, but for decay. */
static double first_move(const pumit_module *module, const char *name, const double *before)
{
    pumit_tensor *tensor;
    double after[512], most = 0;
    CHECK_OK(pumit_module_find(&tensor, module, name));
    const int64_t n = pumit_tensor_count(tensor);
    ck_assert_int_le(n, 512);
    CHECK_OK(pumit_tensor_read(tensor, PUMIT_F64, after, n * 8));
    for (int64_t i = 0; i < n; i++) most = fmax(most, fabs(after[i] - before[i]));
    return most;
}

/* Two blocks: the last one learns at d, the first at d^2, what comes before at d^3, the norm and the head at 1. */
static const struct {
    const char *name;
    double factor;
} PARTS[] = {{"backbone.cls_token", 0.125},
             {"backbone.patch_embed.proj.bias", 0.125},
             {"backbone.blocks.0.norm1.weight", 0.25},
             {"backbone.blocks.1.norm1.weight", 0.5},
             {"backbone.norm.weight", 1},
             {"head.bias", 1}};
enum { MOST_PARTS = sizeof PARTS / sizeof *PARTS };

START_TEST(layers_learn_at_their_rates)
{
    static double before[MOST_PARTS][512];
    const int64_t labels[] = {1, 2};
    pumit_classifier *classifier = make(exact, "classes", 4);
    pumit_module *const module = pumit_classifier_module(classifier);
    pumit_tensor *image = make_images(exact), *loss;
    pumit_optimizer *optimizer;
    pumit_config *config;
    stir_head(classifier);
    CHECK_OK(pumit_config_parse(&config, "{\"weight_decay\": 0}"));
    CHECK_OK(pumit__layer_decay(config, pumit_vit_module(pumit_classifier_vit(classifier)), 0.5));
    CHECK_OK(pumit_optimizer_create(&optimizer, module, config));
    for (int i = 0; i < MOST_PARTS; i++) {
        pumit_tensor *tensor;
        CHECK_OK(pumit_module_find(&tensor, module, PARTS[i].name));
        CHECK_OK(pumit_tensor_read(tensor, PUMIT_F64, before[i], pumit_tensor_count(tensor) * 8));
    }
    CHECK_OK(pumit_classifier_loss(&loss, classifier, image, CUBES, labels));
    CHECK_OK(pumit_tensor_backward(loss));
    CHECK_OK(pumit_optimizer_step(optimizer, 1e-3, 1, NULL));
    for (int i = 0; i < MOST_PARTS; i++) {
        const double moved = first_move(module, PARTS[i].name, before[i]);
        ck_assert_msg(fabs(moved - 1e-3 * PARTS[i].factor) <= 2e-5 * PARTS[i].factor, "%s: %g",
                      PARTS[i].name, moved);
    }
    pumit_tensor_release(loss);
    pumit_tensor_release(image);
    pumit_optimizer_release(optimizer);
    pumit_config_release(config);
    pumit_classifier_release(classifier);
}
END_TEST

/* ------------------------------------------------------------------------------------------- models */

START_TEST(files_keep_task_and_names)
{
    pumit_config *config;
    pumit_vit *vit;
    pumit_classifier *classifier, *loaded;
    CHECK_OK(pumit_config_parse(&config, "{\"in_channels\": 1, \"patch\": [4, 4, 4], \"dim\": 8, "
                                         "\"depth\": 1, \"heads\": 2, \"hidden\": 12, \"classes\": "
                                         "3, \"task\": \"grades\", \"class_names\": [\"none\", "
                                         "\"mild, \\\"early\\\"\", \"late\"]}"));
    CHECK_OK(pumit_vit_create(&vit, exact, config));
    CHECK_OK(pumit_classifier_create(&classifier, vit, config));
    CHECK_OK(pumit_module_save(pumit_classifier_module(classifier), files_path("model"), NULL));
    CHECK_OK(pumit_classifier_load(&loaded, exact, files_path("model")));
    ck_assert_int_eq(pumit_classifier_task(loaded), PUMIT_TASK_GRADES);
    ck_assert_int_eq(pumit_classifier_classes(loaded), 3);
    ck_assert_str_eq(pumit_classifier_class_name(loaded, 1), "mild, \"early\"");
    ck_assert_ptr_null(pumit_classifier_class_name(loaded, 3));
    pumit_classifier_release(loaded);
    pumit_classifier_release(classifier);
    pumit_vit_release(vit);
    pumit_config_release(config);
}
END_TEST

static const struct {
    const char *settings, *part;
} BAD[] = {{"{\"classes\": 1}", "2..2^20"},
           {"{\"classes\": 0, \"task\": \"labels\"}", "1..2^20"},
           {"{\"classes\": 3, \"task\": \"regression\"}", "'grades'"},
           {"{\"classes\": 3, \"class_names\": [\"a\", \"b\"]}", "2 names"},
           {"{\"classes\": 2, \"class_names\": [\"a\", \"a\"]}", "twice"},
           {"{\"classes\": 2, \"class_names\": \"ab\"}", "class_names"}};

START_TEST(bad_settings_are_refused)
{
    pumit_classifier *good = make(exact, "labels", 1), *bad = good;
    pumit_config *config;
    CHECK_OK(pumit_config_parse(&config, BAD[_i].settings));
    files_check_failed(pumit_classifier_create(&bad, pumit_classifier_vit(good), config),
                       PUMIT_ERROR_INVALID_ARGUMENT, "classifier", BAD[_i].part);
    ck_assert_ptr_null(bad);
    pumit_config_release(config);
    pumit_classifier_release(good);
}
END_TEST

START_TEST(bad_labels_are_refused)
{
    static const int64_t high[] = {4, 0}, low[] = {0, -1}, twos[] = {0, 1, 0, 2, 0, 0, 0, 0};
    const int64_t *const labels[] = {high, twos, low};
    pumit_classifier *classifier = make(exact, pumit__task_name(TASKS[_i]), 4);
    pumit_tensor *image = make_images(exact), *loss = image;
    files_check_failed(pumit_classifier_loss(&loss, classifier, image, CUBES, labels[_i]),
                       PUMIT_ERROR_INVALID_ARGUMENT, "label", "is not in 0..");
    ck_assert_ptr_null(loss);
    pumit_tensor_release(image);
    pumit_classifier_release(classifier);
}
END_TEST

Suite *suite_classifier(void);
Suite *suite_classifier(void)
{
    Suite *suite = suite_create("classifier");
    TCase *tcase = tcase_create("classifier");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, classes_by_hand);
    tcase_add_test(tcase, labels_by_hand);
    tcase_add_test(tcase, grades_by_hand);
    tcase_add_loop_test(tcase, losses_fit_probabilities, 0, 3);
    tcase_add_loop_test(tcase, gradients_are_slopes, 0, 3);
    tcase_add_test(tcase, frozen_ones_keep_no_tape);
    tcase_add_test(tcase, layers_learn_at_their_rates);
    tcase_add_test(tcase, files_keep_task_and_names);
    tcase_add_loop_test(tcase, bad_settings_are_refused, 0, (int)(sizeof BAD / sizeof *BAD));
    tcase_add_loop_test(tcase, bad_labels_are_refused, 0, 3);
    suite_add_tcase(suite, tcase);
    return suite;
}
