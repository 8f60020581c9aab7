/* SPDX-License-Identifier: Apache-2.0 */
/* A NIfTI header of either version and byte order, checked. */
#ifndef PUMIT_LIB_DATA_NIFTI_HEADER_H
#define PUMIT_LIB_DATA_NIFTI_HEADER_H

#include "lib/data/volume.h"

typedef struct {
    int64_t size[3];        /* along i, j, k */
    int64_t volumes;        /* product of the fourth and higher dimensions */
    int64_t voxels;         /* of one volume */
    pumit__element kind;    /* of one stored number */
    int64_t stored;         /* numbers per voxel in the file: 1, 3 (RGB), 4 (RGBA) */
    int64_t channels;       /* those that are kept: 1 or 3 */
    int64_t volume_bytes;   /* of one volume in the file */
    int64_t offset;         /* of the first volume in the data file */
    double slope, inter;    /* 1 and 0 where the file asks for none */
    double affine[16];      /* (i, j, k, 1) to RAS mm */
    bool swap;              /* not this machine's byte order */
    bool pair;              /* voxels are in a file of their own */
    bool eight_bit;         /* 0..255 by type */
    pumit__nifti_grid grid; /* as it stands in the header */
    bool guessed; /* a spacing or the orientation is made up, as the file's cannot be used */
} pumit__nifti_header;

/* Refuses whatever contradicts itself, the limit of `ctx`, or the standard; oddities of the geometry are logged and mended. */
pumit_status pumit__nifti_header_parse(pumit__nifti_header *out, const pumit_context *ctx,
                                       const pumit__sniffed *file);

#endif
