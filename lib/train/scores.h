/* SPDX-License-Identifier: Apache-2.0 */
/* What scores and reports of classifications share. */
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

/* Whether the predictions can be judged at all; `function` leads the message. */
pumit_status pumit__judged_check(const pumit__judged *judged, const char *function);

/* Whether image i has class c. */
bool pumit__judged_has(const pumit__judged *judged, int64_t i, int64_t c);

/* The class of the highest probability, the first of equal ones. */
int64_t pumit__judged_top(const pumit__judged *judged, int64_t i);

/* Whether class c is said of image i: the top class; of PUMIT_TASK_LABELS: a probability above 0.5. */
bool pumit__judged_says(const pumit__judged *judged, int64_t i, int64_t c);

/* Images in the order of their probability of one class. */
typedef struct {
    double score;
    int64_t image;
    bool positive;
} pumit__ranked;

/* `list` becomes the n images in rising order of their probability of class c. */
void pumit__judged_rank(pumit__ranked *list, const pumit__judged *judged, int64_t c);

/* Area under the ROC curve of class c. weights[i] images stand for image i (NULL: one each). NaN unless
 * there are positives and negatives. */
double pumit__ranked_area(const pumit__ranked *list, int64_t n, const int32_t *weights);

#endif
