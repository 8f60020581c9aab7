/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file scores.h
 * How well predictions agree with the truth.
 *
 * Threads: these functions keep nothing and may run anywhere.
 */
#ifndef PUMIT_SCORES_H
#define PUMIT_SCORES_H

#include <pumit/classifier.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Accuracy and area under the ROC curve of n images, as MedMNIST has them.
 * @param accuracy share of images whose class of the highest probability is right, the first of equal ones; of PUMIT_TASK_LABELS the share of all
 *   labels that are right, where a label is said to be present above 0.5. May be NULL.
 * @param auc mean of the areas of each class against the others; of two classes that of class 1, unless they are labels. Equal probabilities count
 *   half; a class that no image or every image has is left out, and with none left the area is NaN. May be NULL.
 * @param probabilities (n, classes), classes >= 2 (of labels >= 1), all finite.
 * @param labels n class numbers; for PUMIT_TASK_LABELS n x classes of 0 or 1. @since 0.1
 */
PUMIT_API pumit_status pumit_classification_scores(double *accuracy, double *auc, pumit_task task,
                                                   int64_t n, int64_t classes,
                                                   const double *probabilities,
                                                   const int64_t *labels);

#ifdef __cplusplus
}
#endif
#endif
