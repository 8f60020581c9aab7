/* SPDX-License-Identifier: Apache-2.0 */
/* The segmenter inside other code. */
#ifndef PUMIT_LIB_MODELS_SEGMENTER_H
#define PUMIT_LIB_MODELS_SEGMENTER_H

#include "lib/models/decoder.h"
#include "lib/models/vit.h"

#include <pumit/segmenter.h>

#define PUMIT__SEGMENTATION_HEADS 4 /* at most, the finest features */

/* What it computes on the way, finest first; (N, D, H, W, C) of the innermost scope. */
typedef struct {
    pumit__feature pyramid[PUMIT__PYRAMID_MAPS];
    pumit_tensor
        *features[PUMIT__MOST_FEATURES]; /* `count` of them, at in-plane strides 1, 2, 4 ... */
    int32_t count;
} pumit__segmenter_maps;

/* The DA that images of a spacing are segmented with. `spacing` may be NULL for a segmenter of one DA. */
pumit_status pumit__segmenter_da(int32_t *da, const pumit_segmenter *segmenter,
                                 const double spacing[3]);

/* Copies a transformer's weights into the segmenter's own, whose patch may be shallower: kernels are then summed over depth. */
pumit_status pumit__segmenter_take_vit(pumit_segmenter *segmenter, pumit_vit *vit);

/* Voxels along D, H, W that sizes of images of that DA are multiples of. */
void pumit__segmenter_stride(int64_t stride[3], const pumit_segmenter *segmenter, int32_t da);

pumit_status pumit__segmenter_maps_of(pumit__segmenter_maps *out, pumit_segmenter *segmenter,
                                      pumit_tensor *image, int32_t da);

/* Logits at full resolution, (N, D, H, W, classes), of the innermost scope; `da` as pumit__segmenter_da() tells. */
pumit_tensor *pumit__segmenter_logits(pumit_segmenter *segmenter, pumit_tensor *image, int32_t da);

#endif
