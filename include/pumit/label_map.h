/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file label_map.h
 * A label map: a class number 0..255 for each voxel of an image, 0 being the background, with the image's geometry.
 *
 * Axes are D, H, W, those of the volume that it belongs to. Threads: as volumes, one may be read from several.
 */
#ifndef PUMIT_LABEL_MAP_H
#define PUMIT_LABEL_MAP_H

#include <pumit/volume.h>

#ifdef __cplusplus
extern "C" {
#endif

/** A label map on the grid of `grid`, whose geometry is copied. `labels`: (D, H, W), copied; NULL: background everywhere. @since 0.1 */
PUMIT_API pumit_status pumit_label_map_create(pumit_label_map **out, pumit_context *context,
                                              const pumit_volume *grid, const uint8_t *labels);

/**
 * Reads a label map from an image file with one channel of whole numbers 0..255, as pumit_volume_read() takes them. It must have the voxels
 * of `grid`, in any order of axes and directions; NULL: it stands by itself. PUMIT_ERROR_FORMAT for other values,
 * PUMIT_ERROR_SHAPE for another grid, and the errors of pumit_volume_read(), each naming the file. @since 0.1
 */
PUMIT_API pumit_status pumit_label_map_read(pumit_label_map **out, pumit_context *context,
                                            const char *path, const pumit_volume *grid);

/**
 * Writes a label map to `path`: .nii or .nii.gz, bytes, on the grid of the file that its image was read from: the same order of axes and directions,
 * sform and qform number by number (NIfTI-2 where the source is, or an axis is too long for NIfTI-1). An image without such a header
 * has an sform from its affine. Or .png, for a picture: gray levels are class numbers. Key of `options` (may be NULL, or a model's configuration):
 * "class_names" (list of texts, the background's first), which NIfTI keeps in a header extension, a comment: {"labels": {"0": NAME, ...}}.
 * The file appears whole or not at all. PUMIT_ERROR_INVALID_ARGUMENT for another ending, PUMIT_ERROR_IO. @since 0.1
 */
PUMIT_API pumit_status pumit_label_map_write(const pumit_label_map *map, const char *path,
                                             const pumit_config *options);

/** Gives up a reference; NULL is fine. @since 0.1 */
PUMIT_API void pumit_label_map_release(pumit_label_map *map);

/** Sizes D, H, W. @since 0.1 */
PUMIT_API void pumit_label_map_shape(const pumit_label_map *map, int64_t shape[3]);

/** Spacing along D, H, W in mm; the first is INFINITY for 2D. @since 0.1 */
PUMIT_API void pumit_label_map_spacing(const pumit_label_map *map, double spacing[3]);

/** The class numbers: (D, H, W), borrowed. @since 0.1 */
PUMIT_API const uint8_t *pumit_label_map_labels(const pumit_label_map *map);

#ifdef __cplusplus
}
#endif
#endif
