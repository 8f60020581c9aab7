/* SPDX-License-Identifier: Apache-2.0 */
/* NIfTI files on the grid of an image's source: same axes, directions and transforms. */
#ifndef PUMIT_LIB_DATA_NIFTI_WRITE_H
#define PUMIT_LIB_DATA_NIFTI_WRITE_H

#include "lib/base/config.h"
#include "lib/data/label_map.h"

/* How a grid lies in a file: indices i, j, k, the fastest first. */
typedef struct {
    int64_t size[3];      /* along i, j, k */
    int64_t low[3];       /* of i, j, k = 0: its index along D, H or W */
    int32_t axis[3];      /* which of D, H, W it is */
    int32_t direction[3]; /* 1 or -1: how that index goes */
} pumit__stored_grid;

pumit__stored_grid pumit__stored_grid_of(const pumit_label_map *map);

/*
 * Everything before the first voxel, to be freed with free(): a label map of bytes, or, where `classes` is not 0, that many volumes of float32.
 * Of "class_names" in `options` (may be NULL) becomes a header extension: JSON {"labels": {"0": NAME, ...}}. It is in the file and not
 * beside it, so that renaming and copying keep it; programs that do not know of it pass over it.
 */
pumit_status pumit__nifti_head(uint8_t **out, int64_t *bytes, const pumit_label_map *map,
                               int64_t classes, const pumit_config *options);

/* A float32 file of `classes` volumes, .nii, filled box by box in any order; whole or not at all. */
typedef struct {
    pumit__atomic_file file;
    pumit__stored_grid grid;
    int64_t head, classes;
    float *run; /* values that lie together in the file */
    int64_t capacity;
} pumit__probability_file;

pumit_status pumit__probability_open(pumit__probability_file *file, const char *path,
                                     const pumit_label_map *map, int64_t classes,
                                     const pumit_config *options);
/* values: (high - low, classes) of the voxels low <= (d, h, w) < high. */
pumit_status pumit__probability_write(pumit__probability_file *file, const int64_t low[3],
                                      const int64_t high[3], const float *values);
pumit_status pumit__probability_commit(pumit__probability_file *file);
/* Always to be called; removes what was not committed. */
void pumit__probability_close(pumit__probability_file *file);

#endif
