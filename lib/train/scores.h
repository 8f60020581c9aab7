/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What scores and reports of classifications share: predictions are sorted once, then counted as often as there are resamples, each
 * time with other weights of the images.
 */
#ifndef PUMIT_LIB_TRAIN_SCORES_H
#define PUMIT_LIB_TRAIN_SCORES_H

#include "lib/base/base.h"

#include <pumit/scores.h>

/* Predictions and the truth, borrowed. */
typedef struct {
    pumit_task task;
    int64_t n, classes;
    const double *probabilities; /* (n, classes) */
    const int64_t *labels;       /* n class numbers; of PUMIT_TASK_LABELS (n, classes) of 0 or 1 */
} pumit__judged;

/* Images of a class and what was said of them, by 2 * has + says: true negatives, false positives, false negatives, true positives. */
typedef struct {
    int64_t images[4];
} pumit__class_table;

typedef struct {
    pumit__judged judged;
    int32_t *weights; /* n: how many images stand for image i; the caller's to change, 1 at first */
    int32_t *
        said; /* n: the top class, the first of equal ones; of PUMIT_TASK_LABELS (n, classes) of 0 or 1 */
    uint32_t
        *order;    /* (classes, n): images in rising order of probability, packed as in scores.c */
    double *error; /* n: Brier score of each image */

    /* What pumit__counter_count() finds. */
    pumit__class_table *tables; /* classes */
    double *areas;              /* classes: under the ROC curve, NaN without both kinds of images */
    double weight, brier;       /* sums */
    double distance, square;    /* sums of |said - true| and its square */
} pumit__counter;

/* `function` leads the messages. Always to be closed. */
pumit_status pumit__counter_open(pumit__counter *counter, const pumit__judged *judged,
                                 const char *function);
void pumit__counter_close(pumit__counter *counter);

void pumit__counter_count(pumit__counter *counter);

/* The class that a task of two outcomes asks for; -1 of other tasks. */
int64_t pumit__judged_positive(const pumit__judged *judged);

/* Figures of merit of all classes together. */
typedef enum {
    PUMIT__AUC,
    PUMIT__ACCURACY,
    PUMIT__BALANCED_ACCURACY,
    PUMIT__SENSITIVITY,
    PUMIT__SPECIFICITY,
    PUMIT__KAPPA,
    PUMIT__GRADE_ERROR,
    PUMIT__BRIER,
    PUMIT__MERITS
} pumit__merit;

/* NaN where a figure is not defined. Of the last count. */
double pumit__counter_merit(const pumit__counter *counter, pumit__merit merit);

/* Of one class. NaN where 0 is divided by 0. */
double pumit__table_sensitivity(const pumit__class_table *table);
double pumit__table_specificity(const pumit__class_table *table);

#endif
