/* SPDX-License-Identifier: Apache-2.0 */
/*
 * U-shaped decoder over the adapter's pyramid, then stages up to full resolution that are fed by the image itself: S = t - 2 of them
 * for patches of 2^t voxels in the plane, so that the finest is at stride 1.
 *
 * What joins the maps of step i (adapter.h) up-samples by that step, and its kernels are 3 deep where i > DA, else 1: the
 * full-resolution stages belong to steps 1..S, the inner layers 0, 1, 2 to steps S + 1, S + 2, S + 3. The image's way down follows
 * sac_conv.h: a kernel is 3 deep where the map that it reads is isotropic.
 */
#ifndef PUMIT_LIB_MODELS_DECODER_H
#define PUMIT_LIB_MODELS_DECODER_H

#include "lib/models/adapter.h"

#define PUMIT__MOST_STAGES   2 /* patches of 16 */
#define PUMIT__INNER_STAGES  (PUMIT__PYRAMID_MAPS - 1)
#define PUMIT__MOST_FEATURES (PUMIT__MOST_STAGES + PUMIT__INNER_STAGES)

typedef struct {
    int32_t stages;                     /* of full resolution, S */
    int64_t image, lateral;             /* of the image, of the pyramid's maps */
    int64_t inner[PUMIT__PYRAMID_MAPS]; /* finest first */
    int64_t full[PUMIT__MOST_STAGES];   /* S, finest first; what comes up from below has inner[0] */
} pumit__decoder_channels;

/* Two units; the first may stride. */
typedef struct {
    pumit__conv_unit first, second;
} pumit__conv_pair;

/* A map grown by a step, beside the finer one. */
typedef struct {
    pumit__sac upsample;
    pumit__conv_pair conv;
} pumit__merge;

typedef struct {
    int32_t stages;
    pumit__conv_unit laterals[PUMIT__PYRAMID_MAPS];
    pumit__merge inner[PUMIT__INNER_STAGES];
    pumit__conv_pair encode[PUMIT__MOST_STAGES];
    pumit__merge decode[PUMIT__MOST_STAGES];
} pumit__decoder;

/* Parameters "decoder.*", for images of DA `da` or more. */
void pumit__decoder_build(pumit__decoder *decoder, pumit_module *module,
                          const pumit__decoder_channels *channels, int32_t da);
void pumit__decoder_destroy(pumit__decoder *decoder);

/* Channels of feature i, at in-plane stride 2^i; there are S + 3. */
int64_t pumit__decoder_feature_channels(const pumit__decoder_channels *channels, int32_t i);

/* maps and image: (N, D, H, W, C), the image's sizes multiples of the coarsest map's stride. features: finest first. */
pumit_status pumit__decoder_forward(pumit_tensor *features[PUMIT__MOST_FEATURES],
                                    pumit__decoder *decoder, const pumit__feature *maps,
                                    pumit_tensor *image);

#endif
