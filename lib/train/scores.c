/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Figures of merit of a classification, of images that count more than once or not at all.
 *
 * The area under the ROC curve is the share of pairs of a positive and a negative in which the positive has the higher score, ties counting
 * half (Mann & Whitney 1947). In rising order of scores, a group of ties with p positives and q negatives, after Q negatives, wins p (Q + q / 2).
 *
 * Quadratic weighted kappa (Cohen 1968): 1 - sum (s - t)^2 / E over grades said s and true t, with E what the sum would be if s were drawn
 * without regard to t: n sum s^2 + n sum t^2 - 2 sum s sum t, divided by n.
 */
#include "lib/train/scores.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* An image in an order: its number, whether it has the class, and whether the next one has a higher score. */
#define PACK(image, has, last) ((uint32_t)(image) << 2 | (uint32_t)(has) << 1 | (uint32_t)(last))
#define MOST_IMAGES            (INT64_C(1) << 30)

int64_t pumit__judged_positive(const pumit__judged *judged)
{
    const int64_t outcomes = judged->classes + (judged->task == PUMIT_TASK_LABELS);
    return outcomes == 2 ? judged->classes - 1 : -1;
}

static bool has(const pumit__judged *judged, int64_t i, int64_t c)
{
    if (judged->task == PUMIT_TASK_LABELS) return judged->labels[i * judged->classes + c] == 1;
    return judged->labels[i] == c;
}

static int64_t top(const double *row, int64_t classes)
{
    int64_t best = 0;
    for (int64_t c = 1; c < classes; c++)
        if (row[c] > row[best]) best = c;
    return best;
}

/* ------------------------------------------------------------------------------------------- opening */

static pumit_status check(const pumit__judged *judged, const char *function)
{
    const int64_t n = judged->n, classes = judged->classes;
    const bool several = judged->task == PUMIT_TASK_LABELS;
    int64_t cells;
    PUMIT__REQUIRE(judged->probabilities && judged->labels, "%s: probabilities or labels are NULL",
                   function);
    PUMIT__REQUIRE(judged->task >= PUMIT_TASK_CLASSES && judged->task <= PUMIT_TASK_GRADES,
                   "%s: %d is none of the tasks PUMIT_TASK_...", function, judged->task);
    PUMIT__REQUIRE(n > 0 && n < MOST_IMAGES && classes > !several && classes <= INT32_MAX &&
                       pumit__multiply(&cells, n, classes),
                   "%s: %lld images of %lld classes cannot be judged", function, (long long)n,
                   (long long)classes);
    for (int64_t i = 0; i < cells; i++)
        PUMIT__REQUIRE(isfinite(judged->probabilities[i]),
                       "%s: a probability of image %lld is not finite", function,
                       (long long)(i / classes));
    const int64_t each = several ? classes : 1, most = several ? 2 : classes;
    for (int64_t i = 0; i < n * each; i++)
        PUMIT__REQUIRE(judged->labels[i] >= 0 && judged->labels[i] < most,
                       "%s: label %lld of image %lld is not in 0..%lld", function,
                       (long long)judged->labels[i], (long long)(i / each), (long long)most - 1);
    return PUMIT_OK;
}

typedef struct {
    double score;
    int64_t image;
} scored;

/* Ties in the order of images, so that nothing depends on the sort. */
static int by_score(const void *a, const void *b)
{
    const scored *const x = a, *const y = b;
    if (x->score != y->score) return x->score > y->score ? 1 : -1;
    return (x->image > y->image) - (x->image < y->image);
}

static void rank(uint32_t *order, scored *list, const pumit__judged *judged, int64_t c)
{
    const int64_t n = judged->n;
    for (int64_t i = 0; i < n; i++)
        list[i] = (scored){judged->probabilities[i * judged->classes + c], i};
    qsort(list, (size_t)n, sizeof *list, by_score);
    for (int64_t i = 0; i < n; i++)
        order[i] = PACK(list[i].image, has(judged, list[i].image, c),
                        i == n - 1 || list[i + 1].score != list[i].score);
}

/* Half the squares of a distribution's errors, which of two classes is (p - y)^2; of labels their mean. */
static double brier(const pumit__judged *judged, int64_t i)
{
    const double parts = judged->task == PUMIT_TASK_LABELS ? (double)judged->classes : 2;
    double sum = 0;
    for (int64_t c = 0; c < judged->classes; c++) {
        const double off = judged->probabilities[i * judged->classes + c] - has(judged, i, c);
        sum += off * off;
    }
    return sum / parts;
}

static void fill(pumit__counter *counter, scored *list)
{
    const pumit__judged *const judged = &counter->judged;
    const int64_t n = judged->n, classes = judged->classes;
    for (int64_t i = 0; i < n; i++) {
        const double *const row = judged->probabilities + i * classes;
        counter->weights[i] = 1;
        counter->error[i] = brier(judged, i);
        if (judged->task != PUMIT_TASK_LABELS)
            counter->said[i] = (int32_t)top(row, classes);
        else
            for (int64_t c = 0; c < classes; c++) counter->said[i * classes + c] = row[c] > 0.5;
    }
    for (int64_t c = 0; c < classes; c++) rank(counter->order + c * n, list, judged, c);
}

pumit_status pumit__counter_open(pumit__counter *counter, const pumit__judged *judged,
                                 const char *function)
{
    *counter = (pumit__counter){.judged = *judged};
    PUMIT__TRY(check(judged, function));
    const int64_t n = judged->n, classes = judged->classes;
    const int64_t each = judged->task == PUMIT_TASK_LABELS ? classes : 1;
    counter->weights = pumit__calloc(n, (int64_t)sizeof *counter->weights);
    counter->said = pumit__calloc(n * each, (int64_t)sizeof *counter->said);
    counter->order = pumit__calloc(n * classes, (int64_t)sizeof *counter->order);
    counter->error = pumit__calloc(n, (int64_t)sizeof *counter->error);
    counter->tables = pumit__calloc(classes, (int64_t)sizeof *counter->tables);
    counter->areas = pumit__calloc(classes, (int64_t)sizeof *counter->areas);
    scored *list = pumit__calloc(n, (int64_t)sizeof *list);
    const bool there = counter->weights && counter->said && counter->order && counter->error &&
                       counter->tables && counter->areas && list;
    if (there) fill(counter, list);
    free(list);
    return there ? PUMIT_OK : pumit__fail_memory(n * classes * 4, "scores");
}

void pumit__counter_close(pumit__counter *counter)
{
    free(counter->weights);
    free(counter->said);
    free(counter->order);
    free(counter->error);
    free(counter->tables);
    free(counter->areas);
}

/* ------------------------------------------------------------------------------------------ counting */

static void count_labels(pumit__counter *counter)
{
    const int64_t classes = counter->judged.classes;
    for (int64_t i = 0; i < counter->judged.n; i++)
        for (int64_t c = 0; c < classes; c++) {
            const int64_t cell = i * classes + c;
            counter->tables[c].images[2 * counter->judged.labels[cell] + counter->said[cell]] +=
                counter->weights[i];
        }
}

static void count_classes(pumit__counter *counter)
{
    const pumit__judged *const judged = &counter->judged;
    for (int64_t i = 0; i < judged->n; i++) {
        const int64_t truth = judged->labels[i], said = counter->said[i];
        const double off = (double)(said - truth), weight = counter->weights[i];
        counter->tables[said].images[1 + 2 * (said == truth)] += counter->weights[i];
        if (said != truth) counter->tables[truth].images[2] += counter->weights[i];
        counter->distance += weight * fabs(off);
        counter->square += weight * off * off;
    }
    for (int64_t c = 0; c < judged->classes; c++) {
        int64_t *const images = counter->tables[c].images;
        images[0] = (int64_t)counter->weight - images[1] - images[2] - images[3];
    }
}

static double area(const uint32_t *order, int64_t n, const int32_t *weights)
{
    double won = 0, before = 0, positives = 0, group[2] = {0, 0}; /* group: without, with */
    for (int64_t i = 0; i < n; i++) {
        group[order[i] >> 1 & 1] += weights[order[i] >> 2];
        if (!(order[i] & 1)) continue;
        won += group[1] * (before + group[0] / 2);
        before += group[0];
        positives += group[1];
        group[0] = group[1] = 0;
    }
    return positives > 0 && before > 0 ? won / (positives * before) : NAN;
}

void pumit__counter_count(pumit__counter *counter)
{
    const pumit__judged *const judged = &counter->judged;
    memset(counter->tables, 0, (size_t)judged->classes * sizeof *counter->tables);
    counter->weight = counter->brier = counter->distance = counter->square = 0;
    for (int64_t i = 0; i < judged->n; i++) {
        counter->weight += counter->weights[i];
        counter->brier += counter->weights[i] * counter->error[i];
    }
    if (judged->task == PUMIT_TASK_LABELS)
        count_labels(counter);
    else
        count_classes(counter);
    for (int64_t c = 0; c < judged->classes; c++)
        counter->areas[c] = area(counter->order + c * judged->n, judged->n, counter->weights);
}

/* ------------------------------------------------------------------------------------------- figures */

static double share(int64_t part, int64_t rest)
{
    return part + rest > 0 ? (double)part / (double)(part + rest) : NAN;
}

double pumit__table_sensitivity(const pumit__class_table *table)
{
    return share(table->images[3], table->images[2]);
}

double pumit__table_specificity(const pumit__class_table *table)
{
    return share(table->images[0], table->images[1]);
}

/* Over those classes from the first that have one. */
static double mean_over_classes(const pumit__counter *counter, int64_t first,
                                double (*of)(const pumit__counter *counter, int64_t c))
{
    double sum = 0, count = 0;
    for (int64_t c = first; c < counter->judged.classes; c++) {
        const double one = of(counter, c);
        if (isnan(one)) continue;
        sum += one;
        count++;
    }
    return count > 0 ? sum / count : NAN;
}

static double area_of(const pumit__counter *counter, int64_t c)
{
    return counter->areas[c];
}

/* Sensitivity; of a label the mean of sensitivity and specificity. */
static double balance_of(const pumit__counter *counter, int64_t c)
{
    const pumit__class_table *const table = &counter->tables[c];
    const double found = pumit__table_sensitivity(table);
    if (counter->judged.task != PUMIT_TASK_LABELS) return found;
    return (found + pumit__table_specificity(table)) / 2;
}

static double accuracy(const pumit__counter *counter)
{
    const bool several = counter->judged.task == PUMIT_TASK_LABELS;
    double right = 0, of = several ? (double)counter->judged.classes : 1;
    for (int64_t c = 0; c < counter->judged.classes; c++)
        right +=
            (double)(counter->tables[c].images[3] + (several ? counter->tables[c].images[0] : 0));
    return right / (of * counter->weight);
}

static double kappa(const pumit__counter *counter)
{
    double said = 0, said_squares = 0, truth = 0, truth_squares = 0;
    for (int64_t c = 0; c < counter->judged.classes; c++) {
        const int64_t *const images = counter->tables[c].images;
        const double s = (double)(images[3] + images[1]), t = (double)(images[3] + images[2]);
        const double grade = (double)c;
        said += s * grade;
        said_squares += s * grade * grade;
        truth += t * grade;
        truth_squares += t * grade * grade;
    }
    const double chance = said_squares + truth_squares - 2 * said * truth / counter->weight;
    return chance > 0 ? 1 - counter->square / chance : NAN;
}

double pumit__counter_merit(const pumit__counter *counter, pumit__merit merit)
{
    const int64_t positive = pumit__judged_positive(&counter->judged);
    const pumit__class_table *const table = positive < 0 ? NULL : &counter->tables[positive];
    switch (merit) {
    case PUMIT__AUC:
        return mean_over_classes(counter, positive < 0 ? 0 : positive, area_of);
    case PUMIT__ACCURACY:
        return accuracy(counter);
    case PUMIT__BALANCED_ACCURACY:
        return mean_over_classes(counter, 0, balance_of);
    case PUMIT__SENSITIVITY:
        return table ? pumit__table_sensitivity(table) : NAN;
    case PUMIT__SPECIFICITY:
        return table ? pumit__table_specificity(table) : NAN;
    case PUMIT__KAPPA:
        return kappa(counter);
    case PUMIT__GRADE_ERROR:
        return counter->distance / counter->weight;
    case PUMIT__BRIER:
        return counter->brier / counter->weight;
    default:
        return NAN;
    }
}

pumit_status pumit_classification_scores(double *out_accuracy, double *auc, pumit_task task,
                                         int64_t n, int64_t classes, const double *probabilities,
                                         const int64_t *labels)
{
    const pumit__judged judged = {task, n, classes, probabilities, labels};
    pumit__counter counter;
    const pumit_status status =
        pumit__counter_open(&counter, &judged, "pumit_classification_scores");
    if (status == PUMIT_OK) {
        pumit__counter_count(&counter);
        if (out_accuracy) *out_accuracy = pumit__counter_merit(&counter, PUMIT__ACCURACY);
        if (auc) *auc = pumit__counter_merit(&counter, PUMIT__AUC);
    }
    pumit__counter_close(&counter);
    return status;
}
