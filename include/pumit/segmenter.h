/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file segmenter.h
 * Segmentation: a transformer, a feature pyramid on it, and a U-shaped decoder up to full resolution.
 *
 * One segmenter serves images of one degree of anisotropy, DA = log2(16 / depth of its patches): what its steps do to depth follows from
 * it. Images are (N, D, H, W, C), in the scale that the network was trained on; nothing is normalised inside.
 */
#ifndef PUMIT_SEGMENTER_H
#define PUMIT_SEGMENTER_H

#include <pumit/vit.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Makes a segmenter with random weights. Keys: those of pumit_vit_create() for its transformer, with "patch" [d,16,16] where d is 1, 2, 4,
 * 8 or 16; "out_indexes" ([3,5,7,11]: blocks that the four maps of the pyramid are made from, finest first), "channels"
 * ([128,256,512,512]: of the decoder at in-plane strides 4, 8, 16, 32), "full_res_channels" ([32,64,128]: at strides 1 and 2; the third is
 * the first of "channels"), "classes" (required, background included), "seed" (0). Parameters: "backbone.*", "decoder.*",
 * "seg_heads.*". @since 0.1
 */
PUMIT_API pumit_status pumit_segmenter_create(pumit_segmenter **out, pumit_context *context,
                                              const pumit_config *config);

/** Loads a segmenter from a safetensors file. @since 0.1 */
PUMIT_API pumit_status pumit_segmenter_load(pumit_segmenter **out, pumit_context *context,
                                            const char *path);

/** NULL is fine. @since 0.1 */
PUMIT_API void pumit_segmenter_release(pumit_segmenter *segmenter);

/** Its parameters; borrowed. @since 0.1 */
PUMIT_API pumit_module *pumit_segmenter_module(pumit_segmenter *segmenter);

/** The transformer, so that pre-trained weights can be loaded into its module; borrowed. @since 0.1 */
PUMIT_API pumit_vit *pumit_segmenter_vit(pumit_segmenter *segmenter);

/** Number of classes. @since 0.1 */
PUMIT_API int64_t pumit_segmenter_classes(const pumit_segmenter *segmenter);

/** Voxels along D, H, W that sizes of images must be multiples of; borrowed. @since 0.1 */
PUMIT_API const int64_t *pumit_segmenter_stride(const pumit_segmenter *segmenter);

/** Logits (N, D, H, W, classes) of images (N, D, H, W, C). PUMIT_ERROR_SHAPE for sizes that do not fit. @since 0.1 */
PUMIT_API pumit_status pumit_segmenter_forward(pumit_tensor **out, pumit_segmenter *segmenter,
                                               pumit_tensor *image);

/**
 * The training loss, a scalar, recorded: soft Dice of every image and class plus cross-entropy, at four resolutions with weights
 * 1, 1/2, 1/4, 1/8 of their sum. @param labels (N, D, H, W) class numbers, U8 or another integer type. @since 0.1
 */
PUMIT_API pumit_status pumit_segmenter_loss(pumit_tensor **out, pumit_segmenter *segmenter,
                                            pumit_tensor *image, pumit_tensor *labels);

#ifdef __cplusplus
}
#endif
#endif
