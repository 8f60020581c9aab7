/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Scores and reports of classifications: areas against pairs counted, figures by hand, intervals against resamples written out and against
 * the binomial distribution.
 */
#include "lib/base/base.h"

#include <pumit/scores.h>

#include <check.h>
#include <cjson/cJSON.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

Suite *suite_class_scores(void);

#define CHECK_OK(call) ck_assert_msg((call) == PUMIT_OK, "%s", pumit_last_error())
#define CHECK_NEAR(got, expected, bound)                                                           \
    ck_assert_msg(fabs((got) - (expected)) <= (bound), #got " is %.12g, not %.12g", (double)(got), \
                  (double)(expected))

static double uniform(const char *stream, int64_t i)
{
    return pumit__random_uniform(5, pumit__random_stream(stream), (uint64_t)i);
}

/* -------------------------------------------------------------------------------------------- scores */

/* Two classes: probabilities {1 - p, p}. */
static void check_binary(int n, const double *p, const int64_t *labels, double accuracy, double auc)
{
    double rows[32], got_accuracy, got_auc;
    for (int i = 0; i < n; i++) rows[2 * i] = 1 - p[i], rows[2 * i + 1] = p[i];
    CHECK_OK(pumit_classification_scores(&got_accuracy, &got_auc, PUMIT_TASK_CLASSES, n, 2, rows,
                                         labels));
    ck_assert_double_eq_tol(got_accuracy, accuracy, 1e-12);
    if (isnan(auc))
        ck_assert(isnan(got_auc));
    else
        ck_assert_double_eq_tol(got_auc, auc, 1e-12);
}

START_TEST(scores_of_two_classes)
{
    const double plain[] = {0.1, 0.4, 0.35, 0.8}, ties[] = {0.5, 0.5, 0.5, 0.9},
                 same[] = {0.3, 0.3, 0.3};
    const int64_t plain_labels[] = {0, 0, 1, 1}, ties_labels[] = {0, 1, 0, 1},
                  same_labels[] = {1, 0, 1}, one_class[] = {0, 0, 0};
    /* pairs won: 0.35 beats 0.1 alone, 0.8 beats both */
    check_binary(4, plain, plain_labels, 0.75, 0.75);
    /* 0.5 ties with both, 0.9 beats both: (0.5 + 0.5 + 1 + 1) / 4; a tied row counts as class 0 */
    check_binary(4, ties, ties_labels, 0.75, 0.75);
    check_binary(3, same, same_labels, 1.0 / 3, 0.5);
    check_binary(3, same, one_class, 1, NAN);
}
END_TEST

START_TEST(scores_of_three_classes)
{
    const double rows[] = {0.6, 0.3, 0.1, 0.2, 0.5, 0.3, 0.3, 0.4, 0.3, 0.1, 0.2, 0.7};
    const int64_t labels[] = {0, 1, 2, 2}, two[] = {0, 1, 1, 0};
    double accuracy, auc;
    CHECK_OK(pumit_classification_scores(&accuracy, &auc, PUMIT_TASK_CLASSES, 4, 3, rows, labels));
    ck_assert_double_eq_tol(accuracy, 0.75, 1e-12);
    /* class 0: 1; class 1: 1; class 2: 0.3 ties with 0.3 and beats 0.1, 0.7 beats both: 3.5 / 4 */
    ck_assert_double_eq_tol(auc, (1 + 1 + 0.875) / 3, 1e-12);
    /* class 2 does not occur: class 0 has 0.6 and 0.1 against 0.2 and 0.3; class 1 the mirror image */
    CHECK_OK(pumit_classification_scores(NULL, &auc, PUMIT_TASK_CLASSES, 4, 3, rows, two));
    ck_assert_double_eq_tol(auc, (0.5 + 1) / 2, 1e-12);
}
END_TEST

START_TEST(scores_refuse_nonsense)
{
    const double rows[] = {0.5, 0.5, NAN, 0.5};
    const int64_t labels[] = {0, 1}, high[] = {0, 2};
    double auc;
    ck_assert_int_ne(
        pumit_classification_scores(NULL, &auc, PUMIT_TASK_CLASSES, 2, 2, rows, labels), PUMIT_OK);
    ck_assert_int_ne(pumit_classification_scores(NULL, &auc, PUMIT_TASK_CLASSES, 2, 2, rows, high),
                     PUMIT_OK);
    ck_assert_int_ne(
        pumit_classification_scores(NULL, &auc, PUMIT_TASK_CLASSES, 0, 2, rows, labels), PUMIT_OK);
    ck_assert_int_ne(
        pumit_classification_scores(NULL, &auc, PUMIT_TASK_CLASSES, 1, 2, NULL, labels), PUMIT_OK);
}
END_TEST

/* Share of pairs in which the positive has more, ties half. */
static double pairs_won(int64_t n, int64_t classes, const double *rows, const bool *has, int64_t c)
{
    double won = 0, pairs = 0;
    for (int64_t i = 0; i < n; i++) {
        for (int64_t k = 0; k < n && has[i]; k++) {
            if (has[k]) continue;
            const double a = rows[i * classes + c], b = rows[k * classes + c];
            won += a > b ? 1 : a == b ? 0.5 : 0;
            pairs++;
        }
    }
    return won / pairs;
}

/* Scores of 21 values, so that most are tied. */
START_TEST(areas_are_pairs_counted)
{
    enum { N = 300, CLASSES = 4 };
    double rows[N * CLASSES], auc, mean = 0;
    int64_t labels[N], several[N * CLASSES];
    bool has[N];
    for (int i = 0; i < N; i++) labels[i] = (int64_t)(uniform("label", i) * CLASSES);
    for (int i = 0; i < N * CLASSES; i++) {
        several[i] = labels[i / CLASSES] == i % CLASSES || uniform("other", i) < 0.2;
        rows[i] = round(20 * (0.3 * (double)several[i] + 0.7 * uniform("score", i))) / 20;
    }
    for (int task = PUMIT_TASK_CLASSES; task <= PUMIT_TASK_GRADES; task++, mean = 0) {
        const bool many = task == PUMIT_TASK_LABELS;
        for (int c = 0; c < CLASSES; c++) {
            for (int i = 0; i < N; i++) has[i] = many ? several[i * CLASSES + c] : labels[i] == c;
            mean += pairs_won(N, CLASSES, rows, has, c) / CLASSES;
        }
        CHECK_OK(pumit_classification_scores(NULL, &auc, task, N, CLASSES, rows,
                                             many ? several : labels));
        ck_assert(mean > 0.6 && mean < 0.9);
        CHECK_NEAR(auc, mean, 1e-12);
    }
}
END_TEST

START_TEST(scores_of_labels)
{
    const double rows[] = {0.9, 0.5, 0.1, 0.6, 0.7, 0.2, 0.2, 0.1, 0.3};
    const int64_t labels[] = {1, 1, 0, 0, 1, 0, 1, 0, 0}, high[] = {1, 2}, one[] = {1, 0, 1};
    double accuracy, auc;
    /* wrong: 0.5 is not above 0.5, 0.6 of an absent one, 0.2 of a present one */
    CHECK_OK(pumit_classification_scores(&accuracy, &auc, PUMIT_TASK_LABELS, 3, 3, rows, labels));
    CHECK_NEAR(accuracy, 6.0 / 9, 1e-12);
    /* 0.9 wins against 0.6, 0.2 loses; 0.5 and 0.7 win against 0.1; the third label never occurs */
    CHECK_NEAR(auc, (0.5 + 1) / 2, 1e-12);
    CHECK_OK(pumit_classification_scores(NULL, &auc, PUMIT_TASK_LABELS, 3, 1, rows, one));
    CHECK_NEAR(auc, 0.5, 1e-12);
    ck_assert_int_ne(pumit_classification_scores(NULL, &auc, PUMIT_TASK_LABELS, 1, 2, rows, high),
                     PUMIT_OK);
    ck_assert_int_ne(pumit_classification_scores(NULL, &auc, 0, 3, 3, rows, one), PUMIT_OK);
    ck_assert_int_ne(pumit_classification_scores(NULL, &auc, PUMIT_TASK_GRADES, 3, 1, rows, one),
                     PUMIT_OK);
}
END_TEST

/* ------------------------------------------------------------------------------------------- reports */

static cJSON *report(pumit_task task, int64_t n, int64_t classes, const double *rows,
                     const int64_t *labels, const char *options)
{
    pumit_config *config;
    char *json;
    CHECK_OK(pumit_config_parse(&config, options));
    CHECK_OK(pumit_classification_report(&json, task, n, classes, rows, labels, config));
    cJSON *tree = cJSON_Parse(json);
    ck_assert_ptr_nonnull(tree);
    pumit_free(json);
    pumit_config_release(config);
    return tree;
}

static double number(const cJSON *object, const char *key)
{
    const cJSON *const item = cJSON_GetObjectItemCaseSensitive(object, key);
    ck_assert_msg(item != NULL, "%s is missing", key);
    return cJSON_IsNull(item) ? NAN : item->valuedouble;
}

static double value(const cJSON *tree, const char *figure)
{
    return number(cJSON_GetObjectItemCaseSensitive(tree, figure), "value");
}

static bool has_key(const cJSON *object, const char *key)
{
    return cJSON_GetObjectItemCaseSensitive(object, key) != NULL;
}

static double cell(const cJSON *tree, int row, int column)
{
    const cJSON *const matrix = cJSON_GetObjectItemCaseSensitive(tree, "confusion");
    return cJSON_GetArrayItem(cJSON_GetArrayItem(matrix, row), column)->valuedouble;
}

/* Said 0 1 2, truth by rows: {2 1 0} {0 1 1} {1 0 3}. */
static const int64_t TRUTH[9] = {0, 0, 0, 1, 1, 2, 2, 2, 2}, SAID[9] = {0, 0, 1, 1, 2, 0, 2, 2, 2};

static void rows_saying(double *rows, const int64_t *said, int n)
{
    for (int i = 0; i < 3 * n; i++) rows[i] = i % 3 == said[i / 3] ? 0.5 : 0.25;
}

START_TEST(figures_of_three_classes)
{
    static const double MATRIX[3][3] = {{2, 1, 0}, {0, 1, 1}, {1, 0, 3}};
    double rows[27];
    rows_saying(rows, SAID, 9);
    cJSON *tree = report(PUMIT_TASK_CLASSES, 9, 3, rows, TRUTH, "{\"bootstrap\": 0}");
    for (int t = 0; t < 3; t++)
        for (int s = 0; s < 3; s++) ck_assert_double_eq(cell(tree, t, s), MATRIX[t][s]);
    CHECK_NEAR(value(tree, "accuracy"), 6.0 / 9, 1e-12);
    CHECK_NEAR(value(tree, "balanced_accuracy"), (2.0 / 3 + 1.0 / 2 + 3.0 / 4) / 3, 1e-12);
    /* right: (0.5^2 + 2 * 0.25^2) / 2, wrong: (0.75^2 + 0.5^2 + 0.25^2) / 2 */
    CHECK_NEAR(value(tree, "brier"), (6 * 0.1875 + 3 * 0.4375) / 9, 1e-12);
    ck_assert(!has_key(tree, "quadratic_weighted_kappa") && !has_key(tree, "sensitivity"));
    ck_assert(!has_key(cJSON_GetObjectItem(tree, "accuracy"), "low"));
    const cJSON *const last =
        cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(tree, "per_class"), 2);
    ck_assert_double_eq(number(last, "count"), 4);
    ck_assert_double_eq(number(last, "said"), 4);
    CHECK_NEAR(number(last, "sensitivity"), 0.75, 1e-12);
    CHECK_NEAR(number(last, "specificity"), 0.8, 1e-12);
    CHECK_NEAR(number(last, "precision"), 0.75, 1e-12);
    CHECK_NEAR(number(last, "f1"), 0.75, 1e-12);
    /* 3 of 4 positives and 1 of 5 negatives have the higher of two scores */
    CHECK_NEAR(number(last, "auc"), (3 * 4 + 3 * 0.5 + 4 * 0.5) / 20, 1e-12);
    cJSON_Delete(tree);
}
END_TEST

/* Kappa by its definition, sum by sum. */
static double kappa_written_out(const int64_t *truth, const int64_t *said, int n)
{
    double observed = 0, expected = 0;
    for (int i = 0; i < n; i++) {
        observed += (double)((said[i] - truth[i]) * (said[i] - truth[i])) / n;
        for (int k = 0; k < n; k++)
            expected += (double)((said[i] - truth[k]) * (said[i] - truth[k])) / (n * n);
    }
    return 1 - observed / expected;
}

START_TEST(figures_of_grades)
{
    double rows[27];
    rows_saying(rows, SAID, 9);
    cJSON *tree = report(PUMIT_TASK_GRADES, 9, 3, rows, TRUTH, "{\"bootstrap\": 0}");
    CHECK_NEAR(value(tree, "mean_absolute_error"), (1 + 1 + 2) / 9.0, 1e-12);
    CHECK_NEAR(value(tree, "quadratic_weighted_kappa"), kappa_written_out(TRUTH, SAID, 9), 1e-12);
    cJSON_Delete(tree);
    const int64_t same[4] = {1, 1, 1, 1};
    rows_saying(rows, same, 4);
    tree = report(PUMIT_TASK_GRADES, 4, 3, rows, same, "{}");
    ck_assert(isnan(value(tree, "quadratic_weighted_kappa")));
    ck_assert(isnan(value(tree, "auc")));
    ck_assert(!has_key(cJSON_GetObjectItem(tree, "auc"), "low"));
    ck_assert_double_eq(value(tree, "accuracy"), 1);
    cJSON_Delete(tree);
}
END_TEST

START_TEST(figures_of_two_classes)
{
    const double rows[] = {0.9, 0.1, 0.5, 0.5, 0.3, 0.7, 0.2, 0.8, 0.6, 0.4};
    const int64_t labels[] = {0, 0, 0, 1, 1};
    cJSON *tree = report(PUMIT_TASK_CLASSES, 5, 2, rows, labels, "{}");
    CHECK_NEAR(value(tree, "sensitivity"), 0.5, 1e-12);
    CHECK_NEAR(value(tree, "specificity"), 2.0 / 3, 1e-12);
    CHECK_NEAR(value(tree, "balanced_accuracy"), (0.5 + 2.0 / 3) / 2, 1e-12);
    CHECK_NEAR(value(tree, "brier"), (0.01 + 0.25 + 0.49 + 0.04 + 0.36) / 5, 1e-12);
    CHECK_NEAR(value(tree, "auc"), 4.0 / 6, 1e-12);
    cJSON_Delete(tree);
}
END_TEST

START_TEST(figures_of_labels)
{
    const double rows[] = {0.9, 0.5, 0.1, 0.6, 0.7, 0.2, 0.2, 0.1, 0.3};
    const int64_t labels[] = {1, 1, 0, 0, 1, 0, 1, 0, 0};
    cJSON *tree = report(PUMIT_TASK_LABELS, 3, 3, rows, labels, "{\"bootstrap\": 0}");
    CHECK_NEAR(value(tree, "accuracy"), 6.0 / 9, 1e-12);
    CHECK_NEAR(value(tree, "balanced_accuracy"), ((0.5 + 0) / 2 + (0.5 + 1) / 2) / 2, 1e-12);
    CHECK_NEAR(value(tree, "brier"),
               (0.01 + 0.25 + 0.01 + 0.36 + 0.09 + 0.04 + 0.64 + 0.01 + 0.09) / 9, 1e-12);
    const cJSON *const first =
        cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(tree, "confusion"), 0);
    static const double MATRIX[2][2] = {{0, 1}, {1, 1}};
    for (int t = 0; t < 2; t++)
        for (int s = 0; s < 2; s++)
            ck_assert_double_eq(cJSON_GetArrayItem(cJSON_GetArrayItem(first, t), s)->valuedouble,
                                MATRIX[t][s]);
    cJSON_Delete(tree);
}
END_TEST

/* ----------------------------------------------------------------------------------------- intervals */

#define IMAGES    60
#define RESAMPLES 200

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Percentile p of sorted values, between those beside it. */
static double percentile(const double *sorted, int n, double p)
{
    const double at = p * (n - 1);
    const int below = (int)at;
    return sorted[below] + (at - below) * (sorted[below + 1] - sorted[below]);
}

/* Every resample written out as images of its own. */
START_TEST(intervals_are_percentiles_of_resamples)
{
    double rows[2 * IMAGES], drawn[2 * IMAGES], accuracy[RESAMPLES], auc[RESAMPLES];
    int64_t labels[IMAGES], drawn_labels[IMAGES];
    for (int i = 0; i < IMAGES; i++) {
        labels[i] = i % 3 == 0;
        rows[2 * i + 1] = round(10 * (0.3 * (double)labels[i] + 0.6 * uniform("image", i))) / 10;
        rows[2 * i] = 1 - rows[2 * i + 1];
    }
    const uint64_t stream = pumit__random_stream("bootstrap");
    for (int k = 0; k < RESAMPLES; k++) {
        for (int i = 0; i < IMAGES; i++) {
            const int64_t from = pumit__random_below(3, stream, (uint64_t)(k * IMAGES + i), IMAGES);
            memcpy(drawn + 2 * i, rows + 2 * from, 2 * sizeof *rows);
            drawn_labels[i] = labels[from];
        }
        CHECK_OK(pumit_classification_scores(&accuracy[k], &auc[k], PUMIT_TASK_CLASSES, IMAGES, 2,
                                             drawn, drawn_labels));
    }
    qsort(accuracy, RESAMPLES, sizeof *accuracy, by_value);
    qsort(auc, RESAMPLES, sizeof *auc, by_value);
    cJSON *tree = report(PUMIT_TASK_CLASSES, IMAGES, 2, rows, labels,
                         "{\"bootstrap\": 200, \"confidence\": 0.9, \"seed\": 3}");
    const cJSON *const a = cJSON_GetObjectItem(tree, "accuracy"), *const b = cJSON_GetObjectItem(
                                                                      tree, "auc");
    CHECK_NEAR(number(a, "low"), percentile(accuracy, RESAMPLES, 0.05), 1e-12);
    CHECK_NEAR(number(a, "high"), percentile(accuracy, RESAMPLES, 0.95), 1e-12);
    CHECK_NEAR(number(b, "low"), percentile(auc, RESAMPLES, 0.05), 1e-12);
    CHECK_NEAR(number(b, "high"), percentile(auc, RESAMPLES, 0.95), 1e-12);
    ck_assert(number(b, "low") < number(b, "value") && number(b, "value") < number(b, "high"));
    cJSON_Delete(tree);
}
END_TEST

/* n images of two classes, each classified rightly with that probability. */
static cJSON *report_of_coins(int64_t n, double probability, int draw, const char *options)
{
    double *rows = calloc((size_t)(2 * n), sizeof *rows);
    int64_t *labels = calloc((size_t)n, sizeof *labels);
    ck_assert(rows && labels);
    for (int64_t i = 0; i < n; i++) {
        labels[i] = i % 2;
        const bool right = uniform("coin", draw * n + i) < probability;
        rows[2 * i + (right ? labels[i] : 1 - labels[i])] = 1;
    }
    cJSON *tree = report(PUMIT_TASK_CLASSES, n, 2, rows, labels, options);
    free(rows);
    free(labels);
    return tree;
}

START_TEST(interval_of_accuracy_is_the_normal_one)
{
    cJSON *tree = report_of_coins(1000, 0.8, 0, "{\"bootstrap\": 4000}");
    const cJSON *const item = cJSON_GetObjectItem(tree, "accuracy");
    const double p = number(item, "value"), half = 1.959964 * sqrt(p * (1 - p) / 1000);
    CHECK_NEAR(p, 0.8, 0.05);
    CHECK_NEAR(number(item, "low"), p - half, 0.003);
    CHECK_NEAR(number(item, "high"), p + half, 0.003);
    cJSON_Delete(tree);
}
END_TEST

/* 95 of 100 intervals hold the truth, give or take what chance does to 300 trials. */
START_TEST(intervals_hold_the_truth)
{
    int held = 0;
    for (int draw = 0; draw < 300; draw++) {
        cJSON *tree = report_of_coins(150, 0.8, draw, "{\"bootstrap\": 300}");
        const cJSON *const item = cJSON_GetObjectItem(tree, "accuracy");
        held += number(item, "low") <= 0.8 && number(item, "high") >= 0.8;
        cJSON_Delete(tree);
    }
    ck_assert_msg(held >= 272 && held <= 297, "%d of 300", held);
}
END_TEST

static char *printed(int64_t n, const char *options)
{
    cJSON *tree = report_of_coins(n, 0.7, 1, options);
    char *text = cJSON_Print(tree);
    cJSON_Delete(tree);
    return text;
}

START_TEST(reports_depend_on_their_arguments_alone)
{
    char *const one = printed(50, "{\"seed\": 1, \"bootstrap\": 50}"),
                *const again = printed(50, "{\"seed\": 1, \"bootstrap\": 50}"),
                *const other = printed(50, "{\"seed\": 2, \"bootstrap\": 50}");
    ck_assert_str_eq(one, again);
    ck_assert_str_ne(strstr(one, "\"auc\""), strstr(other, "\"auc\""));
    free(one);
    free(again);
    free(other);
}
END_TEST

START_TEST(one_image_has_no_interval)
{
    cJSON *tree = report_of_coins(1, 1, 0, "{}");
    ck_assert_double_eq(value(tree, "accuracy"), 1);
    ck_assert(isnan(value(tree, "auc")) && isnan(value(tree, "sensitivity")));
    ck_assert(!has_key(cJSON_GetObjectItem(tree, "accuracy"), "low"));
    cJSON_Delete(tree);
}
END_TEST

START_TEST(reports_refuse_nonsense)
{
    static const char *const WRONG[] = {"{\"bootstrap\": -1}", "{\"bootstrap\": 1e7}",
                                        "{\"confidence\": 1}", "{\"confidence\": 95}",
                                        "{\"seed\": 0.5}"};
    const double rows[] = {0.5, 0.5, 0.5, 0.5}, broken[] = {NAN, 0.5, 0.5, 0.5};
    const int64_t labels[] = {0, 1};
    char *json = NULL;
    for (int i = 0; i < 5; i++) {
        pumit_config *config;
        CHECK_OK(pumit_config_parse(&config, WRONG[i]));
        ck_assert_int_ne(
            pumit_classification_report(&json, PUMIT_TASK_CLASSES, 2, 2, rows, labels, config),
            PUMIT_OK);
        pumit_config_release(config);
    }
    ck_assert_int_eq(
        pumit_classification_report(&json, PUMIT_TASK_CLASSES, 2, 2, broken, labels, NULL),
        PUMIT_ERROR_INVALID_ARGUMENT);
    ck_assert_int_eq(
        pumit_classification_report(&json, PUMIT_TASK_CLASSES, 1, 2000, rows, labels, NULL),
        PUMIT_ERROR_INVALID_ARGUMENT);
    ck_assert_ptr_null(json);
}
END_TEST

Suite *suite_class_scores(void)
{
    Suite *suite = suite_create("class_scores");
    TCase *tests = tcase_create("class_scores");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, scores_of_two_classes);
    tcase_add_test(tests, scores_of_three_classes);
    tcase_add_test(tests, scores_refuse_nonsense);
    tcase_add_test(tests, areas_are_pairs_counted);
    tcase_add_test(tests, scores_of_labels);
    tcase_add_test(tests, figures_of_three_classes);
    tcase_add_test(tests, figures_of_grades);
    tcase_add_test(tests, figures_of_two_classes);
    tcase_add_test(tests, figures_of_labels);
    tcase_add_test(tests, intervals_are_percentiles_of_resamples);
    tcase_add_test(tests, interval_of_accuracy_is_the_normal_one);
    tcase_add_test(tests, intervals_hold_the_truth);
    tcase_add_test(tests, reports_depend_on_their_arguments_alone);
    tcase_add_test(tests, one_image_has_no_interval);
    tcase_add_test(tests, reports_refuse_nonsense);
    suite_add_tcase(suite, tests);
    return suite;
}
