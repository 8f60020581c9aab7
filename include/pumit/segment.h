/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file segment.h
 * From an image of any size to a label map on its voxels.
 */
#ifndef PUMIT_SEGMENT_H
#define PUMIT_SEGMENT_H

#include <pumit/label_map.h>
#include <pumit/segmenter.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Called from the calling thread as windows are done. A non-zero result stops the work. */
typedef int32_t (*pumit_segment_fn)(void *user, int64_t done, int64_t total);

/**
 * Segments an image: windows that overlap go through the network, their logits are blended, resampled linearly to the image's voxels, and each
 * voxel gets the class of the largest. This is done slab by slab along D, so that memory does not grow with the number of slices.
 * Of the model's configuration: "spacing" ([slice, row, column] in mm that images are resampled to; 0 or absent: the image's own), "window"
 * ([d,h,w] tokens; default: 6 a side), "class_names". Beyond the image there are zeros. Keys of `options` (may be NULL):
 * - "spacing", "window": instead of the model's.
 * - "overlap" (0.5, at most 0.9): share of a window that the next one covers too. "gaussian" (true): the middle of a window counts more.
 * - "flips" (false; true: the mean over all mirrorings, 8 times the work, 4 times for windows of one slice).
 * - "memory" (1 GiB): bytes beside the model, the image and the label map. The network's share is measured by its first window.
 * - "probabilities": a file, .nii, that receives the classes' probabilities on the grid of the image's source: float32, one volume a class.
 * `progress` may be NULL. Release the label map with pumit_label_map_release().
 * PUMIT_ERROR_LIMIT: "memory" is too little, the message tells what is needed. PUMIT_ERROR_SHAPE: the image's channels do not fit.
 * PUMIT_ERROR_INVALID_ARGUMENT: an option is wrong, or the weights give no finite logits. PUMIT_ERROR_CANCELLED: stopped by `progress`.
 * @since 0.1
 */
PUMIT_API pumit_status pumit_segmenter_segment(pumit_label_map **out, pumit_segmenter *segmenter,
                                               const pumit_volume *volume,
                                               const pumit_config *options,
                                               pumit_segment_fn progress, void *user);

#ifdef __cplusplus
}
#endif
#endif
