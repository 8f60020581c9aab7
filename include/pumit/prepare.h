/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file prepare.h
 * Images of any kind become a prepared set: a folder that training reads from without decoding anything.
 *
 * A prepared set holds images-meta.csv, a row an image, and data/KEY.npy: C D H W, float16, intensities in [0, 1]. Columns: key; modality; shape-0,
 * shape-1, shape-2 (D H W); space-0, space-1, space-2 (mm; the first is inf for 2D); channels; weight; collection (name of the folder, list or
 * archive); split; label; min, max, mean, std of the source's voxels; low, high (what became 0 and 1); origin (absolute path); volume (number in the
 * source); volumes (rows of that source); bytes, mtime (of the source); origin-shape (DxHxW before cropping); origin-affine, affine (4x4, row by row:
 * (d, h, w, 1) to world RAS mm, before and after).
 *
 * Threads: a call belongs to its context's thread; it starts threads of its own.
 */
#ifndef PUMIT_PREPARE_H
#define PUMIT_PREPARE_H

#include <pumit/dataset.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Called from the calling thread as sources are done; `path` is the last one. A non-zero result stops the work after the images at hand. */
typedef int32_t (*pumit_prepare_fn)(void *user, int64_t done, int64_t total, const char *path);

/**
 * Prepares images. `paths` as for pumit_dataset_open(). Of each image, in this order: the volumes of a 4D file become images of weight (2n - 1) / n^2
 * each; the slice axis moves to D; intensities are mapped as in pumit_volume_to_tensor(); the image is cropped to the bounding box of its
 * foreground; a longer in-plane side above "most_side" becomes that, with anti-aliasing, the other one in proportion. Keys of `options`:
 * - "output": folder of the set; made if absent.
 * - "threads": images worked on at a time; default the context's.
 * - "foreground": a number: voxels above it are foreground; false: no cropping; default: voxels above the 0.5th percentile of those above the minimum.
 * - "most_side": default 512. "allow_nan": true takes images with NaN or infinite voxels, which become 0; default: they are skipped.
 * - "hold_out": share 0..1 of the files without a split that become split "val"; the choice depends on the file's path alone.
 * - "modality": a name for all images, or a list of [pattern, name]: the first pattern (* ? [ ]) that the absolute path matches counts. What a
 *   list's column "modality" says goes first.
 * - "limits.bytes": most memory for an array of an .npz; default 4 GiB.
 * What cannot be read, images of one value alone, those whose spacing or affine is unusable, and those that there is no memory for, are skipped and
 * reported; a later call tries them again. Memory: at most 8 bytes a voxel and channel of the largest image per
 * thread; a .npy takes its size and an .npz that of its largest array besides.
 *
 * Work that was stopped, by a signal too, goes on when the call is repeated: images-meta.csv tells what is done. Sources with the same path, size
 * and time are not done again, new and changed ones are, with the "foreground", "most_side" and "allow_nan" that the set was begun
 * with (settings.json; others are PUMIT_ERROR_STATE). The folder's files do not depend on the number of threads or on interruptions.
 * `progress` may be NULL. `report` receives JSON, to be freed with pumit_free(): images (in the set), sources, done and already_there (sources), skipped
 * (list of path and reason, in skipped.csv too), seconds, images_per_s, anisotropy (images by degree), output.
 * PUMIT_ERROR_STATE: another process prepares into the folder. PUMIT_ERROR_IO: it cannot be written, or the disk is full; what was done stays.
 * PUMIT_ERROR_CANCELLED: stopped by `progress`. @since 0.1
 */
PUMIT_API pumit_status pumit_prepare(char **report, pumit_context *context, int32_t count,
                                     const char *const *paths, const pumit_config *options,
                                     pumit_prepare_fn progress, void *user);

#ifdef __cplusplus
}
#endif
#endif
