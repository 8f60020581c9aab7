/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random patches of images with their label maps, to learn segmentation from.
 *
 * A batch has one degree of anisotropy: its first image, drawn by weight, decides which, and the others are drawn among those alike. A
 * share of the patches lies about a voxel of a class that is not background. Everything follows from (seed, draw).
 */
#ifndef PUMIT_LIB_DATA_PATCHES_H
#define PUMIT_LIB_DATA_PATCHES_H

#include "lib/data/volume.h"

#include <pumit/dataset.h>

typedef struct pumit__patches pumit__patches;

/* What is done to patches beside moving them about: each with its probability. */
typedef struct {
    double rotate; /* in the plane up to 30 degrees, out of it where voxels are nearly cubes */
    double scale, scale_range[2];             /* source voxels per voxel, all axes alike */
    double flip[3];                           /* along D, H, W */
    double noise, blur, low_resolution, tone; /* see degrade.h; tone: brightness, contrast, gamma */
} pumit__patch_changes;

typedef struct {
    int64_t batch, channels;
    int64_t size[PUMIT__MOST_ANISOTROPY + 1][3]; /* voxels of a patch, by degree of anisotropy */
    double spacing[3]; /* mm along D, H, W that images are brought to; 0: their own */
    double foreground; /* share of patches about a class */
    double
        thick; /* share of the weight of images of nearly cubic voxels that goes to versions of slices 2 and 4 times as thick */
    pumit__patch_changes changes; /* all 0: none */
    uint64_t seed;
} pumit__patches_options;

/* Brings the images of the dataset, all with label maps, to the network's voxels, in memory; those that are on them already are shared with
 * the dataset, which may go. */
pumit_status pumit__patches_create(pumit__patches **out, pumit_context *ctx,
                                   const pumit_dataset *dataset,
                                   const pumit__patches_options *options);
void pumit__patches_release(pumit__patches *patches);

/* Batch `draw`: images (batch, D, H, W, channels) in [0, 1], classes (batch, D, H, W) U8, and the spacing to pass on. */
pumit_status pumit__patches_take(pumit_tensor **image, pumit_tensor **labels, double spacing[3],
                                 pumit__patches *patches, int64_t draw);

#endif
