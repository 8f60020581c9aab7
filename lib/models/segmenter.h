/* SPDX-License-Identifier: Apache-2.0 */
/* The segmenter inside other code. */
#ifndef PUMIT_LIB_MODELS_SEGMENTER_H
#define PUMIT_LIB_MODELS_SEGMENTER_H

#include "lib/models/decoder.h"
#include "lib/models/vit.h"

#include <pumit/segmenter.h>

#define PUMIT__SEGMENTATION_HEADS 4

/* What it computes on the way, finest first; (N, D, H, W, C) of the innermost scope. */
typedef struct {
    pumit_tensor *pyramid[PUMIT__PYRAMID_MAPS];
    pumit_tensor *features[PUMIT__FEATURES];
} pumit__segmenter_maps;

pumit_status pumit__segmenter_maps_of(pumit__segmenter_maps *out, pumit_segmenter *segmenter,
                                      pumit_tensor *image);

/* Logits of head i, 0 being full resolution. */
pumit_tensor *pumit__segmenter_head(const pumit_segmenter *segmenter, int32_t i,
                                    pumit_tensor *feature);

#endif
