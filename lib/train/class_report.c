/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The report of a classification. Intervals are percentiles of plain bootstrap resamples of the images (Efron & Tibshirani 1993, chapters
 * 6 and 13): a test set is a sample in which the number of images of a class is left to chance too, so it is not held fixed.
 */
#include "lib/base/config.h"
#include "lib/models/classifier.h"
#include "lib/train/scores.h"
#include "lib/train/statistics.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MOST_CLASSES   1024 /* a confusion matrix of more is of no use to anyone */
#define MOST_RESAMPLES 1000000

typedef struct {
    int64_t resamples, seed;
    double confidence;
    double *samples; /* (merits, resamples) */
} bootstrap;

static const char *const MERITS[PUMIT__MERITS] = {"auc",
                                                  "accuracy",
                                                  "balanced_accuracy",
                                                  "sensitivity",
                                                  "specificity",
                                                  "quadratic_weighted_kappa",
                                                  "mean_absolute_error",
                                                  "brier"};

static bool belongs(const pumit__judged *judged, pumit__merit merit)
{
    if (merit == PUMIT__SENSITIVITY || merit == PUMIT__SPECIFICITY)
        return pumit__judged_positive(judged) >= 0;
    if (merit == PUMIT__KAPPA || merit == PUMIT__GRADE_ERROR)
        return judged->task == PUMIT_TASK_GRADES;
    return true;
}

/* ---------------------------------------------------------------------------------------- resampling */

static pumit_status read_options(bootstrap *b, const pumit_config *options)
{
    PUMIT__TRY(pumit_config_get_int(&b->resamples, options, "bootstrap", 1000));
    PUMIT__REQUIRE(b->resamples >= 0 && b->resamples <= MOST_RESAMPLES,
                   "bootstrap: %lld resamples are not in 0..%d", (long long)b->resamples,
                   MOST_RESAMPLES);
    PUMIT__TRY(pumit_config_get_double(&b->confidence, options, "confidence", 0.95));
    PUMIT__REQUIRE(b->confidence > 0 && b->confidence < 1, "confidence: %g is not between 0 and 1",
                   b->confidence);
    return pumit_config_get_int(&b->seed, options, "seed", 0);
}

static void draw_weights(int32_t *weights, int64_t n, uint64_t seed, int64_t resample)
{
    const uint64_t stream = pumit__random_stream("bootstrap");
    memset(weights, 0, (size_t)n * sizeof *weights);
    for (int64_t i = 0; i < n; i++)
        weights[pumit__random_below(seed, stream, (uint64_t)(resample * n + i), n)]++;
}

/* A single image says nothing of how others would do: it gets no intervals. */
static pumit_status resample(bootstrap *b, pumit__counter *counter)
{
    const int64_t n = counter->judged.n;
    if (n < 2) b->resamples = 0;
    b->samples = pumit__calloc(PUMIT__MERITS * b->resamples, (int64_t)sizeof *b->samples);
    if (!b->samples) return pumit__fail_memory(PUMIT__MERITS * b->resamples * 8, "resamples");
    for (int64_t k = 0; k < b->resamples; k++) {
        draw_weights(counter->weights, n, (uint64_t)b->seed, k);
        pumit__counter_count(counter);
        for (int m = 0; m < PUMIT__MERITS; m++)
            b->samples[m * b->resamples + k] = pumit__counter_merit(counter, (pumit__merit)m);
    }
    for (int64_t i = 0; i < n; i++) counter->weights[i] = 1;
    pumit__counter_count(counter);
    return PUMIT_OK;
}

/* Resamples in which the figure is not defined are left out; false if it is in none. */
static bool interval(double *low, double *high, bootstrap *b, pumit__merit merit)
{
    double *const values = b->samples + merit * b->resamples;
    int64_t count = 0;
    for (int64_t k = 0; k < b->resamples; k++)
        if (!isnan(values[k])) values[count++] = values[k];
    if (count == 0) return false;
    pumit__sort(values, count);
    *low = pumit__quantile(values, count, (1 - b->confidence) / 2);
    *high = pumit__quantile(values, count, (1 + b->confidence) / 2);
    return true;
}

/* --------------------------------------------------------------------------------------------- JSON */

/* null where the number is not defined. */
static pumit_status put_merits(cJSON *report, const pumit__counter *counter, bootstrap *b)
{
    for (int m = 0; m < PUMIT__MERITS; m++) {
        double low, high;
        if (!belongs(&counter->judged, (pumit__merit)m)) continue;
        PUMIT__TRY(pumit__json_set(report, MERITS[m], cJSON_CreateObject()));
        cJSON *const item = cJSON_GetObjectItemCaseSensitive(report, MERITS[m]);
        PUMIT__TRY(pumit__json_set(
            item, "value", pumit__json_number(pumit__counter_merit(counter, (pumit__merit)m))));
        if (!interval(&low, &high, b, (pumit__merit)m)) continue;
        PUMIT__TRY(pumit__json_set(item, "low", pumit__json_number(low)));
        PUMIT__TRY(pumit__json_set(item, "high", pumit__json_number(high)));
    }
    return PUMIT_OK;
}

static double ratio(double part, double whole)
{
    return whole > 0 ? part / whole : NAN;
}

static pumit_status put_class(cJSON *item, const pumit__counter *counter, int64_t c)
{
    const pumit__class_table *const table = &counter->tables[c];
    const double wrong = (double)table->images[1], missed = (double)table->images[2],
                 right = (double)table->images[3];
    PUMIT__TRY(pumit__json_set(item, "class", pumit__json_number((double)c)));
    PUMIT__TRY(pumit__json_set(item, "count", pumit__json_number(right + missed)));
    PUMIT__TRY(pumit__json_set(item, "said", pumit__json_number(right + wrong)));
    PUMIT__TRY(
        pumit__json_set(item, "sensitivity", pumit__json_number(pumit__table_sensitivity(table))));
    PUMIT__TRY(
        pumit__json_set(item, "specificity", pumit__json_number(pumit__table_specificity(table))));
    PUMIT__TRY(pumit__json_set(item, "precision", pumit__json_number(ratio(right, right + wrong))));
    PUMIT__TRY(pumit__json_set(item, "f1",
                               pumit__json_number(ratio(2 * right, 2 * right + wrong + missed))));
    return pumit__json_set(item, "auc", pumit__json_number(counter->areas[c]));
}

/* Takes `item`, also on failure. */
static pumit_status put_classes(cJSON *report, const pumit__counter *counter)
{
    PUMIT__TRY(pumit__json_set(report, "per_class", cJSON_CreateArray()));
    cJSON *const list = cJSON_GetObjectItemCaseSensitive(report, "per_class"), *item;
    for (int64_t c = 0; c < counter->judged.classes; c++) {
        PUMIT__TRY(pumit__json_append(&item, list, cJSON_CreateObject()));
        PUMIT__TRY(put_class(item, counter, c));
    }
    return PUMIT_OK;
}

static pumit_status put_rows(cJSON *matrix, const double *cells, int64_t rows, int64_t columns)
{
    cJSON *row;
    for (int64_t r = 0; r < rows; r++)
        PUMIT__TRY(pumit__json_append(&row, matrix,
                                      cJSON_CreateDoubleArray(cells + r * columns, (int)columns)));
    return PUMIT_OK;
}

/* Labels are not exclusive: each has a matrix of absent and present. */
static pumit_status put_label_matrices(cJSON *list, const pumit__counter *counter)
{
    for (int64_t c = 0; c < counter->judged.classes; c++) {
        double cells[4];
        cJSON *matrix;
        for (int k = 0; k < 4; k++) cells[k] = (double)counter->tables[c].images[k];
        PUMIT__TRY(pumit__json_append(&matrix, list, cJSON_CreateArray()));
        PUMIT__TRY(put_rows(matrix, cells, 2, 2));
    }
    return PUMIT_OK;
}

static pumit_status put_confusion(cJSON *report, const pumit__counter *counter)
{
    const pumit__judged *const judged = &counter->judged;
    const int64_t classes = judged->classes;
    PUMIT__TRY(pumit__json_set(report, "confusion", cJSON_CreateArray()));
    cJSON *const matrix = cJSON_GetObjectItemCaseSensitive(report, "confusion");
    if (judged->task == PUMIT_TASK_LABELS) return put_label_matrices(matrix, counter);
    double *cells = pumit__calloc(classes * classes, (int64_t)sizeof *cells);
    if (!cells) return pumit__fail_memory(classes * classes * 8, "a confusion matrix");
    for (int64_t i = 0; i < judged->n; i++) cells[judged->labels[i] * classes + counter->said[i]]++;
    const pumit_status status = put_rows(matrix, cells, classes, classes);
    free(cells);
    return status;
}

static pumit_status put_all(cJSON *report, const pumit__counter *counter, bootstrap *b)
{
    const pumit__judged *const judged = &counter->judged;
    PUMIT__TRY(pumit__json_set(report, "task", cJSON_CreateString(pumit__task_name(judged->task))));
    PUMIT__TRY(pumit__json_set(report, "count", pumit__json_number((double)judged->n)));
    PUMIT__TRY(pumit__json_set(report, "classes", pumit__json_number((double)judged->classes)));
    PUMIT__TRY(pumit__json_set(report, "bootstrap", pumit__json_number((double)b->resamples)));
    PUMIT__TRY(pumit__json_set(report, "confidence", pumit__json_number(b->confidence)));
    PUMIT__TRY(pumit__json_set(report, "seed", pumit__json_number((double)b->seed)));
    PUMIT__TRY(put_merits(report, counter, b));
    PUMIT__TRY(put_classes(report, counter));
    return put_confusion(report, counter);
}

pumit_status pumit_classification_report(char **json, pumit_task task, int64_t n, int64_t classes,
                                         const double *probabilities, const int64_t *labels,
                                         const pumit_config *options)
{
    static const char NAME[] = "pumit_classification_report";
    PUMIT__REQUIRE(json, "%s: json is NULL", NAME);
    *json = NULL;
    PUMIT__REQUIRE(classes <= MOST_CLASSES, "%s: %lld classes are more than %d", NAME,
                   (long long)classes, MOST_CLASSES);
    const pumit__judged judged = {task, n, classes, probabilities, labels};
    bootstrap b = {0};
    PUMIT__TRY(read_options(&b, options));
    pumit__counter counter;
    cJSON *report = NULL;
    pumit_status status;
    PUMIT__GO(pumit__counter_open(&counter, &judged, NAME));
    PUMIT__GO(resample(&b, &counter));
    report = cJSON_CreateObject();
    if (!report) PUMIT__GO(pumit__fail_memory((int64_t)sizeof *report, "a report"));
    PUMIT__GO(put_all(report, &counter, &b));
    status = pumit__json_print(json, report, true);
out:
    cJSON_Delete(report);
    free(b.samples);
    pumit__counter_close(&counter);
    return status;
}
