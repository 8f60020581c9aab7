/* SPDX-License-Identifier: Apache-2.0 */
/* How far label maps overlap: counts of voxels by class, and the Dice of Dice 1945 and Sorensen 1948 from them. */
#ifndef PUMIT_LIB_TRAIN_OVERLAP_H
#define PUMIT_LIB_TRAIN_OVERLAP_H

#include "lib/base/base.h"

/* Voxels of one class. */
typedef struct {
    int64_t predicted, reference, both;
} pumit__overlap;

/* Adds `voxels` voxels to the counts of `classes` classes, background first; labels that are no such class count nowhere. */
void pumit__overlap_count(pumit__overlap *overlaps, int64_t classes, const uint8_t *prediction,
                          const uint8_t *reference, int64_t voxels);

/* 2 |P and R| / (|P| + |R|); NaN where both are empty. */
double pumit__overlap_dice(const pumit__overlap *overlap);

/* Mean Dice of the classes but the background, those left out that are in neither map; NaN where that are all. */
double pumit__overlap_mean_dice(const pumit__overlap *overlaps, int64_t classes);

#endif
