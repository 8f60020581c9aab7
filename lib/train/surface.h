/* SPDX-License-Identifier: Apache-2.0 */
/* The surfaces of a structure in two label maps, and how far they lie apart. */
#ifndef PUMIT_LIB_TRAIN_SURFACE_H
#define PUMIT_LIB_TRAIN_SURFACE_H

#include "lib/base/base.h"

/* Voxels low <= i < high (D, H, W). */
typedef struct {
    int64_t low[3], high[3];
} pumit__extent;

/* A surface is the voxels of a class that have a side in common with a voxel of another, or with the outside of the map; in a single slice
 * only sides in its plane count. */
typedef struct {
    int64_t shape[3]; /* of a box that holds both structures */
    double spacing[3];
    uint8_t *marks;   /* (D, H, W): bit m is set on the surface in map m */
    int64_t count[2]; /* voxels of the two surfaces */
} pumit__surfaces;

/* Of `class` in the maps labels[0] and labels[1] of `shape`; `extent` must hold all its voxels in both. Always to be closed. */
pumit_status pumit__surfaces_open(pumit__surfaces *surfaces, const uint8_t *const labels[2],
                                  const int64_t shape[3], const double spacing[3], uint8_t class,
                                  const pumit__extent *extent);
void pumit__surfaces_close(pumit__surfaces *surfaces);

/* From each voxel of the surface in map `from` the distance to the nearest of the other, in mm between centres and in no order: count[from]
 * values. Both surfaces must have voxels. */
pumit_status pumit__surfaces_distances(double *distances, const pumit__surfaces *surfaces,
                                       int from);

#endif
