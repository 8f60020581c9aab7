/* SPDX-License-Identifier: Apache-2.0 */
/* An image and its label map on the voxels that a segmentation network works on. */
#ifndef PUMIT_LIB_DATA_REGRID_H
#define PUMIT_LIB_DATA_REGRID_H

#include "lib/data/label_map.h"

/* Sizes and spacings on voxels of `spacing` mm along D, H, W; where it is 0 the image's own stay. A single slice stays one. */
void pumit__regrid_plan(int64_t size[3], double step[3], const pumit_volume *volume,
                        const double spacing[3]);

/* The image's grid as a scanner would have it whose slices are 2^k times as thick, k up to PUMIT__THICKER. False where that is of no use: voxels
 * are no cubes, or too few slices would be left. */
#define PUMIT__THICKER 2
bool pumit__regrid_thicker(double thicker[3], int64_t size[3], const pumit_volume *volume,
                           const double spacing[3], int32_t k);

/* True where those are the image's own voxels. */
bool pumit__regrid_keeps(const pumit_volume *volume, const double spacing[3]);

/* A new volume of these voxels, which cover the same place; intensities as networks take them. PUMIT_ERROR_LIMIT: more than the context's
 * limit. */
pumit_status pumit__regrid_volume(pumit_volume **out, const pumit_context *ctx,
                                  const pumit_volume *volume, const double spacing[3]);

/* A new label map: that of `source` on the voxels of `target`, by the nearest. */
pumit_status pumit__regrid_labels(pumit_label_map **out, pumit_context *ctx,
                                  const pumit_label_map *map, const pumit_volume *source,
                                  const pumit_volume *target);

#endif
