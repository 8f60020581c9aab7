/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Accuracy, and the area under the ROC curve: the share of pairs of a positive and a negative in which the positive has the higher
 * score, ties counting half (Mann & Whitney 1947). In rising order of scores, a group of ties adds p (N + n / 2) for its p positives,
 * its n negatives and the N negatives before it.
 */
#include "lib/train/scores.h"

#include <math.h>
#include <stdlib.h>

bool pumit__judged_has(const pumit__judged *judged, int64_t i, int64_t c)
{
    if (judged->task == PUMIT_TASK_LABELS) return judged->labels[i * judged->classes + c] == 1;
    return judged->labels[i] == c;
}

int64_t pumit__judged_top(const pumit__judged *judged, int64_t i)
{
    const double *const row = judged->probabilities + i * judged->classes;
    int64_t top = 0;
    for (int64_t c = 1; c < judged->classes; c++)
        if (row[c] > row[top]) top = c;
    return top;
}

bool pumit__judged_says(const pumit__judged *judged, int64_t i, int64_t c)
{
    if (judged->task == PUMIT_TASK_LABELS)
        return judged->probabilities[i * judged->classes + c] > 0.5;
    return pumit__judged_top(judged, i) == c;
}

/* ---------------------------------------------------------------------------------------------- area */

/* Ties in the order of images, so that the list depends on no sort's whim. */
static int by_score(const void *a, const void *b)
{
    const pumit__ranked *const x = a, *const y = b;
    if (x->score != y->score) return x->score > y->score ? 1 : -1;
    return (x->image > y->image) - (x->image < y->image);
}

void pumit__judged_rank(pumit__ranked *list, const pumit__judged *judged, int64_t c)
{
    for (int64_t i = 0; i < judged->n; i++)
        list[i] = (pumit__ranked){judged->probabilities[i * judged->classes + c], i,
                                  pumit__judged_has(judged, i, c)};
    qsort(list, (size_t)judged->n, sizeof *list, by_score);
}

double pumit__ranked_area(const pumit__ranked *list, int64_t n, const int32_t *weights)
{
    double won = 0, positives = 0, negatives = 0;
    for (int64_t i = 0; i < n;) {
        const double score = list[i].score;
        double with = 0, without = 0;
        for (; i < n && list[i].score == score; i++) {
            const double weight = weights ? weights[list[i].image] : 1;
            *(list[i].positive ? &with : &without) += weight;
        }
        won += with * (negatives + without / 2);
        positives += with;
        negatives += without;
    }
    return positives > 0 && negatives > 0 ? won / (positives * negatives) : NAN;
}

static double mean_area(pumit__ranked *list, const pumit__judged *judged)
{
    /* of two classes one says it all */
    const int64_t first = judged->classes == 2 && judged->task != PUMIT_TASK_LABELS;
    double sum = 0, count = 0;
    for (int64_t c = first; c < judged->classes; c++) {
        pumit__judged_rank(list, judged, c);
        const double area = pumit__ranked_area(list, judged->n, NULL);
        if (isnan(area)) continue;
        sum += area;
        count++;
    }
    return count > 0 ? sum / count : NAN;
}

/* -------------------------------------------------------------------------------------------- scores */

static double share_correct(const pumit__judged *judged)
{
    int64_t correct = 0, of = judged->n;
    if (judged->task == PUMIT_TASK_LABELS) {
        of *= judged->classes;
        for (int64_t i = 0; i < of; i++)
            correct += (judged->probabilities[i] > 0.5) == (judged->labels[i] == 1);
    } else {
        for (int64_t i = 0; i < judged->n; i++)
            correct += pumit__judged_top(judged, i) == judged->labels[i];
    }
    return (double)correct / (double)of;
}

pumit_status pumit__judged_check(const pumit__judged *judged, const char *function)
{
    const int64_t n = judged->n, classes = judged->classes;
    const bool several = judged->task == PUMIT_TASK_LABELS;
    int64_t cells;
    PUMIT__REQUIRE(judged->probabilities && judged->labels, "%s: probabilities or labels are NULL",
                   function);
    PUMIT__REQUIRE(judged->task >= PUMIT_TASK_CLASSES && judged->task <= PUMIT_TASK_GRADES,
                   "%s: %d is none of the tasks PUMIT_TASK_...", function, judged->task);
    PUMIT__REQUIRE(n > 0 && classes > !several && pumit__multiply(&cells, n, classes),
                   "%s: %lld images of %lld classes cannot be judged", function, (long long)n,
                   (long long)classes);
    for (int64_t i = 0; i < cells; i++)
        PUMIT__REQUIRE(isfinite(judged->probabilities[i]),
                       "%s: a probability of image %lld is not finite", function,
                       (long long)(i / classes));
    const int64_t each = several ? classes : 1, most = several ? 2 : classes;
    for (int64_t i = 0; i < n * each; i++)
        PUMIT__REQUIRE(judged->labels[i] >= 0 && judged->labels[i] < most,
                       "%s: label %lld of image %lld is not below %lld", function,
                       (long long)judged->labels[i], (long long)(i / each), (long long)most);
    return PUMIT_OK;
}

pumit_status pumit_classification_scores(double *accuracy, double *auc, pumit_task task, int64_t n,
                                         int64_t classes, const double *probabilities,
                                         const int64_t *labels)
{
    const pumit__judged judged = {task, n, classes, probabilities, labels};
    PUMIT__TRY(pumit__judged_check(&judged, "pumit_classification_scores"));
    if (accuracy) *accuracy = share_correct(&judged);
    if (!auc) return PUMIT_OK;
    pumit__ranked *list = pumit__calloc(n, (int64_t)sizeof *list);
    if (!list) return pumit__fail_memory(n * (int64_t)sizeof *list, "scores");
    *auc = mean_area(list, &judged);
    free(list);
    return PUMIT_OK;
}
