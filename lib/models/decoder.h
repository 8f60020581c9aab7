/* SPDX-License-Identifier: Apache-2.0 */
/*
 * U-shaped decoder over the adapter's pyramid, then two full-resolution stages fed by the image itself.
 *
 * What joins the maps of step i (adapter.h) up-samples by that step, and its kernels are 3 deep where i > DA, else 1: the inner
 * layers 0, 1, 2 belong to steps 3, 4, 5, the full-resolution stages 0, 1 to steps 1, 2.
 */
#ifndef PUMIT_LIB_MODELS_DECODER_H
#define PUMIT_LIB_MODELS_DECODER_H

#include "lib/models/adapter.h"

#define PUMIT__FULL_STAGES  2
#define PUMIT__INNER_STAGES (PUMIT__PYRAMID_MAPS - 1)
#define PUMIT__FEATURES     (PUMIT__FULL_STAGES + PUMIT__INNER_STAGES)

typedef struct {
    int64_t image, lateral;             /* of the image, of the pyramid's maps */
    int64_t inner[PUMIT__PYRAMID_MAPS]; /* finest first */
    int64_t full[PUMIT__FULL_STAGES];   /* finest first; what comes up from below has inner[0] */
} pumit__decoder_channels;

/* Two units; the first may stride. */
typedef struct {
    pumit__conv_unit first, second;
} pumit__conv_pair;

/* A map grown by a step, beside the finer one. */
typedef struct {
    pumit__layer upsample;
    pumit__conv_pair conv;
} pumit__merge;

typedef struct {
    int32_t da;
    pumit__conv_unit laterals[PUMIT__PYRAMID_MAPS];
    pumit__merge inner[PUMIT__INNER_STAGES];
    pumit__conv_pair encode[PUMIT__FULL_STAGES];
    pumit__merge decode[PUMIT__FULL_STAGES];
} pumit__decoder;

/* Parameters "decoder.*". */
void pumit__decoder_build(pumit__decoder *decoder, pumit_module *module,
                          const pumit__decoder_channels *channels, int32_t da);

/* Channels of feature i, at in-plane stride 2^i. */
int64_t pumit__decoder_feature_channels(const pumit__decoder_channels *channels, int32_t i);

/* maps and image: (N, D, H, W, C), the image's sizes multiples of the coarsest map's stride. features: finest first. */
pumit_status pumit__decoder_forward(pumit_tensor *features[PUMIT__FEATURES],
                                    const pumit__decoder *decoder, pumit_tensor *const *maps,
                                    pumit_tensor *image);

#endif
