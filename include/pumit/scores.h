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

/**
 * A report on the predictions of n images, as JSON. Arguments as for pumit_classification_scores(), classes 1024 at most; what is not finite is
 * PUMIT_ERROR_INVALID_ARGUMENT. A figure is {"value", "low", "high"} with its confidence interval; a value that is not defined, such as the area
 * where only one class occurs, is null.
 *
 * - "task" ("classes", "labels", "grades"), "count" (n), "classes", and the options "bootstrap", "confidence" and "seed".
 * - "auc", "accuracy": as pumit_classification_scores() has them.
 * - "balanced_accuracy": mean sensitivity of the classes that occur; of labels, mean of (sensitivity + specificity) / 2 of those that have both.
 * - "sensitivity", "specificity" of class 1 of two, or of a single label, at a probability of 0.5.
 * - "quadratic_weighted_kappa", "mean_absolute_error": of grades, by the top class; kappa is undefined while all grades said and true are the same.
 * - "brier": mean square of what probabilities are off, 0..1: half the sum over the classes (of two classes (p - y)^2), mean over labels.
 * - "per_class": for each {"class", "count" (images that have it), "said" (of which it was said), "sensitivity", "specificity", "precision", "f1", "auc"}.
 * - "confusion": (classes, classes) numbers of images, rows the truth, columns the top class; of labels (classes, 2, 2), [truth][said].
 *
 * Intervals are percentiles of plain bootstrap resamples of the images (Efron & Tibshirani 1993), n of n with replacement, whatever their classes; those
 * in which a figure is not defined are left out of its interval. "low" and "high" are absent if there is no resample with the figure, and of one image, for which "bootstrap" is 0.
 * The report is a function of its arguments alone. Keys of `options` (may be NULL):
 * - "bootstrap" (1000): resamples; 0: no intervals.
 * - "confidence" (0.95): between 0 and 1.
 * - "seed" (0): of the resamples.
 * @param json free with pumit_free(). @since 0.1
 */
PUMIT_API pumit_status pumit_classification_report(char **json, pumit_task task, int64_t n,
                                                   int64_t classes, const double *probabilities,
                                                   const int64_t *labels,
                                                   const pumit_config *options);

#ifdef __cplusplus
}
#endif
#endif
