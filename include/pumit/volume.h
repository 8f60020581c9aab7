/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file volume.h
 * A volume is an image with its geometry: voxels, a voxel-to-world affine (RAS, mm), a modality.
 *
 * Axes are D, H, W, C: D is the slice axis, the one whose other two spacings lie closest together (ties: the axis nearest to
 * superior-inferior). H is the other one that is nearest to superior-inferior, or to anterior-posterior where D is nearest to that; W is
 * the third. All three run towards superior, anterior or right, so that a scan looks the same to a network however its file
 * is turned. A 2D image has D = 1 and an infinite slice spacing; a picture keeps its rows and columns. Volumes are immutable once made;
 * one may be read from several threads.
 */
#ifndef PUMIT_VOLUME_H
#define PUMIT_VOLUME_H

#include <pumit/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Degree of anisotropy of a spacing {slice, row, column} in mm: max(0, floor(log2(slice / in-plane))), at most
 * 5; in-plane is the geometric mean of the two. A slice spacing of INFINITY (2D) gives 5. Ratios that miss a power
 * of two by less than 0.01 % count as reaching it, since spacings come from 32-bit headers.
 * Paper section 3.1. PUMIT_ERROR_INVALID_ARGUMENT unless all are positive. @since 0.1
 */
PUMIT_API pumit_status pumit_degree_of_anisotropy(int32_t *out, const double spacing[3]);

/**
 * Reads an image file: NIfTI-1 and -2 (.nii, .nii.gz, .hdr/.img pairs), PNG, JPEG, TIFF (pages of one size are slices of 1 mm cubes), .npy of
 * shape (H, W), (H, W, 3) of bytes, (D, H, W) or (D, H, W, 1 or 3) (1 mm cubes). The content decides; a picture under a NIfTI name is
 * PUMIT_ERROR_FORMAT. `index` chooses one volume of a 4D file, 0 otherwise.
 * PUMIT_ERROR_IO, _FORMAT (broken, truncated, not an image), _LIMIT (larger than the context's "limits.voxels"), each naming the
 * file and the reason. @since 0.1
 */
PUMIT_API pumit_status pumit_volume_read(pumit_volume **out, pumit_context *context,
                                         const char *path, int64_t index);

/** Number of volumes in a file (the 4th and higher NIfTI dimensions; 1 for other images); reads the header only. @since 0.1 */
PUMIT_API pumit_status pumit_volume_file_count(int64_t *out, pumit_context *context,
                                               const char *path);

/**
 * A volume from packed memory, copied: `data` is (size[0], size[1], size[2], channels) of `dtype`, its first three axes in any
 * order; `affine` (row-major 4x4) maps the indices along those three axes to world RAS mm. A NULL affine means a 2D
 * image: size[0] must be 1, the spacing is {INFINITY, 1, 1}. @since 0.1
 */
PUMIT_API pumit_status pumit_volume_create(pumit_volume **out, pumit_context *context,
                                           pumit_dtype dtype, const int64_t size[3],
                                           int64_t channels, const void *data,
                                           const double *affine);

/** Gives up a reference; NULL is fine. @since 0.1 */
PUMIT_API void pumit_volume_release(pumit_volume *volume);

/** Sizes D, H, W, C. @since 0.1 */
PUMIT_API void pumit_volume_shape(const pumit_volume *volume, int64_t shape[4]);

/** Spacing along D, H, W in mm; the first is INFINITY for 2D. @since 0.1 */
PUMIT_API void pumit_volume_spacing(const pumit_volume *volume, double spacing[3]);

/** Degree of anisotropy of pumit_volume_spacing(). @since 0.1 */
PUMIT_API int32_t pumit_volume_anisotropy(const pumit_volume *volume);

/** Row-major 4x4 matrix from (d, h, w, 1) to world RAS mm. @since 0.1 */
PUMIT_API void pumit_volume_affine(const pumit_volume *volume, double affine[16]);

/** The source's axis (0, 1, 2 as stored in the file, fastest first for NIfTI i, j, k) that D, H and W came from; the affine tells
 * which way they now run. @since 0.1 */
PUMIT_API void pumit_volume_source_axes(const pumit_volume *volume, int32_t axes[3]);

/** "MR", "CT", "US", ... as far as known from the file or what the caller said, else "". Borrowed. @since 0.1 */
PUMIT_API const char *pumit_volume_modality(const pumit_volume *volume);

/**
 * The voxels as stored, scaled by the file's slope and intercept: packed float (D, H, W, C), borrowed. An image of a prepared set is
 * read when they are first asked for: NULL, with the reason kept, if its file cannot be. @since 0.1
 */
PUMIT_API const float *pumit_volume_voxels(const pumit_volume *volume);

/**
 * The image as networks take it: new tensor (1, D, H, W, channels), intensities in [0, 1]. 8-bit pictures (2D or RGB)
 * are divided by 255; others are mapped linearly so that the 0.5th and 99.5th percentiles of the voxels above the
 * minimum become 0 and 1, and clamped; NaN and infinities become 0. Gray is repeated to `channels`; RGB becomes luma
 * (0.299, 0.587, 0.114) for one channel. @since 0.1
 */
PUMIT_API pumit_status pumit_volume_to_tensor(pumit_tensor **out, const pumit_volume *volume,
                                              pumit_context *context, int64_t channels);

/**
 * As pumit_volume_to_tensor(), resampled to whole patches of a network: for a patch of patch[0] >> DA (at least 1) x patch[1] x
 * patch[2] voxels, each axis to the nearest whole number of patches, after shrinking all axes alike where there would be
 * more than `max_tokens` (0: no limit). `spacing` receives the spacing to pass on with the tensor: its DA is the volume's.
 * @since 0.1
 */
PUMIT_API pumit_status pumit_volume_to_patches(pumit_tensor **out, double spacing[3],
                                               const pumit_volume *volume, pumit_context *context,
                                               int64_t channels, const int64_t patch[3],
                                               int64_t max_tokens);

/** Writes a (D, H, W, C) or (N, H, W, C) tensor with values in [0, 1], C 1 or 3, as PNG sheet: the leading axis as tiles, `columns`
 * of them in a row (0: near a square). The file appears whole or not at all. @since 0.1 */
PUMIT_API pumit_status pumit_write_png_sheet(const char *path, const pumit_tensor *images,
                                             int32_t columns);

#ifdef __cplusplus
}
#endif
#endif
