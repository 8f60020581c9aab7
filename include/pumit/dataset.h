/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file dataset.h
 * A list of images, with labels where there are any, to train on or to go through.
 *
 * Threads: a dataset belongs to its context's thread.
 */
#ifndef PUMIT_DATASET_H
#define PUMIT_DATASET_H

#include <pumit/label_map.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Opens images. Each path is an image file (every volume of a 4D file becomes one image), a folder (searched through
 * all its levels, in the order of names), a text list (.txt: a path a line; .csv: header with a column "path" and optionally
 * "label", or columns "label.NAME", "split" and "weight"; relative to the list), a pattern (* ? [ ]) of such paths, a MedMNIST-style .npz, or a prepared
 * set (prepare.h: the folder or its images-meta.csv).
 * Keys of `options` (may be NULL):
 * - "split": "train", "val" or "test" of npz, csv and prepared sets (whose images without a split are "train"); default: everything.
 * - "weights": rules [pattern, factor], the first whose pattern (* ? [ ]) matches an image's name (pumit_dataset_name(), for a prepared set the
 *   source's path) multiplies how often training draws the image, on top of a list's or prepared set's weights: ["/archive/ct/?*", 2] doubles a folder.
 * - "folders_are_labels": true: a path is a folder of one folder per class (sorted by name: 0, 1, ...).
 * - "label_maps": true: images with label maps, to segment. A path is then a folder with dataset.json (Medical Segmentation Decathlon, nnU-Net),
 *   or with imagesTr and labelsTr (or images and labels), whose files have the same names in any format, the image's with "_0000" behind it if you like; a
 *   dataset.json itself; or a .csv with a column "label_map" beside "path". An image whose label map is missing, broken, or on
 *   another grid is skipped as one that cannot be read.
 * - "class_names": what the classes 0, 1, ... are called; default: the names of the first folder of classes or list. Other names are an error.
 * - "limits.bytes": most memory for the decoded images; default 4 GiB.
 * Labels: "label" has class numbers, or names (where the first is no number), numbered in alphabetic order over the whole list, whatever
 * the split. Images that may have any number of labels have columns "label.NAME" of 0 and 1, or labels (N, K) of 0 and 1 in an archive, up to 62;
 * prepared sets keep no such labels.
 * Images are decoded once and kept in memory; those of a prepared set stay in their files, and what is needed of them is read when it is
 * needed. What cannot be read is skipped, counted (pumit_dataset_skipped()) and
 * reported through the context's log; where nothing at all could be read, the status is that of the last failure (PUMIT_ERROR_IO for a file that
 * is not there). No image, or none of the split, is PUMIT_ERROR_NOT_FOUND. A path that does not exist is an error.
 * @since 0.1
 */
PUMIT_API pumit_status pumit_dataset_open(pumit_dataset **out, pumit_context *context,
                                          int32_t count, const char *const *paths,
                                          const pumit_config *options);

/**
 * A part of a dataset's images, in their order; the same seed gives the same part. It shares the images, and outlives the whole.
 * Class numbers, and how many classes there are, stay the whole's. Keys of `options`, defaults in brackets:
 * - "folds" (0: none), "fold" (0): K and 0..K-1: the images but those of fold "fold" of K folds of nearly the same size, which all have
 *   the labels in nearly the same shares.
 * - "held_out" (false): true: the images of the fold instead.
 * - "labels" (1): a share, above 0 and up to 1, of the images that are left and not held out; each label has its share, and at least one image
 *   where there is room. Of one seed the smaller share lies within the larger one.
 * - "seed" (0).
 * @since 0.1
 */
PUMIT_API pumit_status pumit_dataset_subset(pumit_dataset **out, const pumit_dataset *dataset,
                                            const pumit_config *options);

/**
 * The image files that pumit_dataset_open() would read, for work on one after the other: nothing is decoded. Paths as there; of its keys "split" and
 * "label_maps" count. @param out JSON, to be freed with pumit_free(): a list of {"path", "label_map" where there is one, "reason" where it is
 * known already that the file cannot be read}. @since 0.1
 */
PUMIT_API pumit_status pumit_dataset_files(char **out, int32_t count, const char *const *paths,
                                           const pumit_config *options);

/** Releases a dataset; NULL is fine. @since 0.1 */
PUMIT_API void pumit_dataset_release(pumit_dataset *dataset);

/** Number of images. @since 0.1 */
PUMIT_API int64_t pumit_dataset_count(const pumit_dataset *dataset);

/** Number of files that could not be read. @since 0.1 */
PUMIT_API int64_t pumit_dataset_skipped(const pumit_dataset *dataset);

/** Number of classes: as many as there are columns of labels, or 1 + the largest label, at least as many as a list or folders name, or 1 + the
 * largest one in a label map; 0 if an image has none of these. @since 0.1 */
PUMIT_API int64_t pumit_dataset_classes(const pumit_dataset *dataset);

/** Image i: borrowed from the dataset. NULL if out of range. @since 0.1 */
PUMIT_API const pumit_volume *pumit_dataset_volume(const pumit_dataset *dataset, int64_t i);

/** Where image i came from: "file.nii.gz", "file.npz[train 17]". Borrowed. @since 0.1 */
PUMIT_API const char *pumit_dataset_name(const pumit_dataset *dataset, int64_t i);

/** Label of image i, -1 if it has none or may have several. @since 0.1 */
PUMIT_API int64_t pumit_dataset_label(const pumit_dataset *dataset, int64_t i);

/** Label map of image i: borrowed from the dataset, NULL if it has none. @since 0.1 */
PUMIT_API const pumit_label_map *pumit_dataset_label_map(const pumit_dataset *dataset, int64_t i);

/** 1 if an image may have several labels at once (PUMIT_TASK_LABELS), 0 if it has one class. @since 0.1 */
PUMIT_API int32_t pumit_dataset_multilabel(const pumit_dataset *dataset);

/** 1 if image i has this label, or is of this class; 0 if not; -1 if it is not labelled, or not with this one. @since 0.1 */
PUMIT_API int32_t pumit_dataset_has_label(const pumit_dataset *dataset, int64_t i, int64_t label);

/** What a class is called, as folders, lists or dataset.json tell; NULL if that is not known. Borrowed. @since 0.1 */
PUMIT_API const char *pumit_dataset_class_name(const pumit_dataset *dataset, int64_t label);

#ifdef __cplusplus
}
#endif
#endif
