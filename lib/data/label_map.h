/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of a label map. */
#ifndef PUMIT_LIB_DATA_LABEL_MAP_H
#define PUMIT_LIB_DATA_LABEL_MAP_H

#include "lib/data/volume.h"

#include <pumit/label_map.h>

#define PUMIT__MOST_CLASSES 256 /* a class is a byte */

struct pumit_label_map {
    _Atomic int64_t refs;
    int64_t shape[3];  /* D H W */
    double spacing[3]; /* mm; the first is INFINITY for 2D */
    double affine[16]; /* (d, h, w, 1) to world RAS mm */
    int32_t axes[3];   /* as in a volume */
    bool flips[3];
    pumit__nifti_grid source;
    uint8_t *labels; /* (D, H, W) */
};

pumit_label_map *pumit__label_map_retain(pumit_label_map *map);

#endif
