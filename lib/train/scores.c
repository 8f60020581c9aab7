/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Accuracy, and the area under the ROC curve by ranks (Mann & Whitney 1947): with R the sum of the positives' mid-ranks,
 * AUC = (R - P (P + 1) / 2) / (P N).
 */
#include "lib/base/base.h"

#include <pumit/train.h>

#include <math.h>
#include <stdlib.h>

typedef struct {
    double score;
    bool positive;
} scored;

static int by_score(const void *a, const void *b)
{
    const double x = ((const scored *)a)->score, y = ((const scored *)b)->score;
    return (x > y) - (x < y);
}

/* NaN unless there are positives and negatives. Sorts `list`. */
static double area(scored *list, int64_t n)
{
    qsort(list, (size_t)n, sizeof *list, by_score);
    double rank_sum = 0, positives = 0;
    for (int64_t start = 0, end; start < n; start = end) {
        for (end = start; end < n && list[end].score == list[start].score;) end++;
        const double rank = (double)(start + 1 + end) / 2; /* of ties: their mean, from 1 */
        for (int64_t i = start; i < end; i++) {
            positives += list[i].positive;
            rank_sum += list[i].positive ? rank : 0;
        }
    }
    const double negatives = (double)n - positives;
    if (positives == 0 || negatives == 0) return NAN;
    return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives);
}

static double area_of_class(scored *list, int64_t n, int64_t classes, const double *probabilities,
                            const int64_t *labels, int64_t c)
{
    for (int64_t i = 0; i < n; i++)
        list[i] = (scored){probabilities[i * classes + c], labels[i] == c};
    return area(list, n);
}

static double mean_area(scored *list, int64_t n, int64_t classes, const double *probabilities,
                        const int64_t *labels)
{
    if (classes == 2) return area_of_class(list, n, classes, probabilities, labels, 1);
    double sum = 0, count = 0;
    for (int64_t c = 0; c < classes; c++) {
        const double one = area_of_class(list, n, classes, probabilities, labels, c);
        if (isnan(one)) continue;
        sum += one;
        count++;
    }
    return count > 0 ? sum / count : NAN;
}

static double share_correct(int64_t n, int64_t classes, const double *probabilities,
                            const int64_t *labels)
{
    int64_t correct = 0;
    for (int64_t i = 0; i < n; i++) {
        int64_t top = 0;
        for (int64_t c = 1; c < classes; c++)
            if (probabilities[i * classes + c] > probabilities[i * classes + top]) top = c;
        correct += top == labels[i];
    }
    return (double)correct / (double)n;
}

pumit_status pumit_classification_scores(double *accuracy, double *auc, int64_t n, int64_t classes,
                                         const double *probabilities, const int64_t *labels)
{
    PUMIT__REQUIRE(probabilities && labels,
                   "pumit_classification_scores: probabilities or labels are NULL");
    PUMIT__REQUIRE(n > 0 && classes > 1,
                   "pumit_classification_scores: %lld images of %lld classes cannot be judged",
                   (long long)n, (long long)classes);
    for (int64_t i = 0; i < n; i++) {
        PUMIT__REQUIRE(labels[i] >= 0 && labels[i] < classes,
                       "pumit_classification_scores: label %lld of image %lld is not below %lld",
                       (long long)labels[i], (long long)i, (long long)classes);
        for (int64_t c = 0; c < classes; c++)
            PUMIT__REQUIRE(isfinite(probabilities[i * classes + c]),
                           "pumit_classification_scores: a probability of image %lld is not finite",
                           (long long)i);
    }
    if (accuracy) *accuracy = share_correct(n, classes, probabilities, labels);
    if (!auc) return PUMIT_OK;
    scored *list = pumit__calloc(n, (int64_t)sizeof *list);
    if (!list) return pumit__fail_memory(n * (int64_t)sizeof *list, "scores");
    *auc = mean_area(list, n, classes, probabilities, labels);
    free(list);
    return PUMIT_OK;
}
