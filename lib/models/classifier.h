/* SPDX-License-Identifier: Apache-2.0 */
/* Classifiers inside the library: losses against any distribution of classes, and probabilities from logits. */
#ifndef PUMIT_LIB_MODELS_CLASSIFIER_H
#define PUMIT_LIB_MODELS_CLASSIFIER_H

#include "lib/tensor/tensor.h"

#include <pumit/classifier.h>

/* The transformer is taken as it is: no gradient goes into it, and nothing is kept for one. */
void pumit__classifier_freeze(pumit_classifier *classifier);

/*
 * pumit_classifier_loss() against `targets` (n, classes): the share of each class in an image (rows sum to one), or, of PUMIT_TASK_LABELS,
 * how much of each label. `weights` (classes, may be NULL): of each class; of PUMIT_TASK_LABELS, of each label where it is present.
 */
pumit_status pumit__classifier_loss(pumit_tensor **out, pumit_classifier *classifier,
                                    pumit_tensor *image, const double spacing[3],
                                    const double *targets, const double *weights);

/* Rows of targets from labels as pumit_classifier_loss() takes them. */
pumit_status pumit__class_targets(double *targets, pumit_task task, int64_t n, int64_t classes,
                                  const int64_t *labels);

/* How many logits a row has. */
int64_t pumit__class_outputs(pumit_task task, int64_t classes);

/* Probabilities (n, classes) from logits (n, outputs). */
void pumit__class_probabilities(double *dst, pumit_task task, int64_t n, int64_t classes,
                                const double *logits);

/* "classes", "labels" or "grades". */
pumit_status pumit__task_from_name(pumit_task *out, const char *name);
const char *pumit__task_name(pumit_task task);

/* The loss of logits (n, outputs), a scalar, in the scope; targets and weights as above. */
pumit_tensor *pumit__class_loss(pumit_tensor *logits, pumit_task task, int64_t classes,
                                const double *targets, const double *weights);

#endif
