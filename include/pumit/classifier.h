/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file classifier.h
 * A transformer with a linear classification head.
 */
#ifndef PUMIT_CLASSIFIER_H
#define PUMIT_CLASSIFIER_H

#include <pumit/vit.h>

#ifdef __cplusplus
extern "C" {
#endif

/** What a classifier tells of an image; the values never change. */
typedef int32_t pumit_task;
#define PUMIT_TASK_CLASSES 1 /**< one of several classes: their probabilities sum to one */
#define PUMIT_TASK_LABELS  2 /**< each class by itself, present or not */
#define PUMIT_TASK_GRADES  3 /**< one of several classes in an order: probabilities sum to one */

/**
 * Puts a new head (zero weights) on a transformer. The classifier shares `vit` and keeps it alive. Keys:
 * "classes" (required: their number), "task" ("classes"; or "labels", "grades": a PUMIT_TASK_ by its name), "class_names" (a list of as
 * many names), "image_tokens" ([d,h,w]: the token grid that images are resampled to; default: as for embedding), "seed".
 * Parameters: "backbone.*" and "head.weight", "head.bias". All of this is kept in the model's file. @since 0.1
 */
PUMIT_API pumit_status pumit_classifier_create(pumit_classifier **out, pumit_vit *vit,
                                               const pumit_config *config);

/** Loads a classifier from a safetensors file. @since 0.1 */
PUMIT_API pumit_status pumit_classifier_load(pumit_classifier **out, pumit_context *context,
                                             const char *path);

/** The same classifier in another context, on the same weights: see pumit_vit_share(). @since 0.1 */
PUMIT_API pumit_status pumit_classifier_share(pumit_classifier **out, pumit_context *context,
                                              const pumit_classifier *classifier);

/** NULL is fine. @since 0.1 */
PUMIT_API void pumit_classifier_release(pumit_classifier *classifier);

/** Its parameters; borrowed. @since 0.1 */
PUMIT_API pumit_module *pumit_classifier_module(pumit_classifier *classifier);

/** The transformer; borrowed. @since 0.1 */
PUMIT_API pumit_vit *pumit_classifier_vit(pumit_classifier *classifier);

/** Number of classes. @since 0.1 */
PUMIT_API int64_t pumit_classifier_classes(const pumit_classifier *classifier);

/** Which of PUMIT_TASK_. @since 0.1 */
PUMIT_API pumit_task pumit_classifier_task(const pumit_classifier *classifier);

/** What a class is called; NULL if that is not known. Borrowed. @since 0.1 */
PUMIT_API const char *pumit_classifier_class_name(const pumit_classifier *classifier, int64_t c);

/**
 * Logits (N, classes) of images (N, D, H, W, C) in [0, 1]; of PUMIT_TASK_GRADES (N, classes - 1): the log-odds that an image
 * which has reached grade k is above it (continuation-ratio model). @since 0.1
 */
PUMIT_API pumit_status pumit_classifier_forward(pumit_tensor **out, pumit_classifier *classifier,
                                                pumit_tensor *image, const double spacing[3]);

/**
 * Mean over images of -ln p(label), a scalar, recorded; of PUMIT_TASK_LABELS the mean binary cross-entropy over images and labels.
 * @param labels N class numbers; of PUMIT_TASK_LABELS (N, classes) of 0 and 1. @since 0.1
 */
PUMIT_API pumit_status pumit_classifier_loss(pumit_tensor **out, pumit_classifier *classifier,
                                             pumit_tensor *image, const double spacing[3],
                                             const int64_t *labels);

/** Class probabilities (1, classes) of a volume of any size and spacing; they sum to one but for PUMIT_TASK_LABELS. @since 0.1 */
PUMIT_API pumit_status pumit_classifier_predict(pumit_tensor **out, pumit_classifier *classifier,
                                                const pumit_volume *volume);

#ifdef __cplusplus
}
#endif
#endif
