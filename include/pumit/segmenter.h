/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file segmenter.h
 * Segmentation: a transformer, a feature pyramid on it, and a U-shaped decoder up to full resolution.
 *
 * A segmenter serves images of one degree of anisotropy, DA = log2(in-plane size / depth of its patches), or, adaptive, of every one: the
 * spacing then says at which steps depth is halved and how deep kernels are (sac.h). Images are (N, D, H, W, C).
 */
#ifndef PUMIT_SEGMENTER_H
#define PUMIT_SEGMENTER_H

#include <pumit/vit.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Makes a segmenter with random weights. Keys: those of pumit_vit_create() for its transformer, with "patch" [d,p,p] where p is 4, 8 or 16 and
 * d a power of two up to p; "adaptive" (false; true: one set of weights for images of any spacing, "patch" a cube); "normalize" (false:
 * images are in the scale that the network was trained on; true: they are in [0, 1] and normalised as pre-training of transformers
 * does); "out_indexes" (blocks that the four maps of the pyramid are made from, finest first; those at a third, half, two thirds and the whole
 * of the depth, for a depth of 12 [3,5,7,11]); "channels" ([128,256,512,512]: of the decoder at in-plane strides p/4, p/2, p, 2p);
 * "full_res_channels" ([32,64,128]: at strides 1, 2, 4 and so on up to p/4, hence 3 numbers for p = 16, 2 for 8, 1 for 4, by default the
 * last ones; the last is the first of "channels"); "classes" (required, background included); "seed" (0). Parameters: "backbone.*",
 * "decoder.*", "seg_heads.*". @since 0.1
 */
PUMIT_API pumit_status pumit_segmenter_create(pumit_segmenter **out, pumit_context *context,
                                              const pumit_config *config);

/** Loads a segmenter from a safetensors file. @since 0.1 */
PUMIT_API pumit_status pumit_segmenter_load(pumit_segmenter **out, pumit_context *context,
                                            const char *path);

/** The same segmenter in another context, on the same weights: see pumit_vit_share(). @since 0.1 */
PUMIT_API pumit_status pumit_segmenter_share(pumit_segmenter **out, pumit_context *context,
                                             const pumit_segmenter *segmenter);

/** NULL is fine. @since 0.1 */
PUMIT_API void pumit_segmenter_release(pumit_segmenter *segmenter);

/** Its parameters; borrowed. @since 0.1 */
PUMIT_API pumit_module *pumit_segmenter_module(pumit_segmenter *segmenter);

/**
 * The transformer, so that pre-trained weights can be taken into its module by pumit_module_import() with "partial": kernels of a patch
 * that is shallower than the file's are summed over depth, the position grid is resampled; borrowed. @since 0.1
 */
PUMIT_API pumit_vit *pumit_segmenter_vit(pumit_segmenter *segmenter);

/** Number of classes. @since 0.1 */
PUMIT_API int64_t pumit_segmenter_classes(const pumit_segmenter *segmenter);

/** 1 if it serves images of any spacing, 0 if of one degree of anisotropy. @since 0.1 */
PUMIT_API int32_t pumit_segmenter_adaptive(const pumit_segmenter *segmenter);

/**
 * Voxels along D, H, W that sizes of images must be multiples of. @param spacing of the voxels, as for pumit_degree_of_anisotropy(); a segmenter
 * that is not adaptive does not look at it, and NULL is fine. @since 0.1
 */
PUMIT_API pumit_status pumit_segmenter_stride(int64_t stride[3], const pumit_segmenter *segmenter,
                                              const double spacing[3]);

/** Logits (N, D, H, W, classes) of images (N, D, H, W, C), spacing as above. PUMIT_ERROR_SHAPE for sizes that do not fit. @since 0.1 */
PUMIT_API pumit_status pumit_segmenter_forward(pumit_tensor **out, pumit_segmenter *segmenter,
                                               pumit_tensor *image, const double spacing[3]);

/**
 * The training loss, a scalar, recorded: soft Dice of every image and class plus cross-entropy, at the four finest resolutions (three for
 * patches of 4) with weights 1, 1/2, 1/4, 1/8 of their sum. @param labels (N, D, H, W) class numbers, U8 or another integer type. @since 0.1
 */
PUMIT_API pumit_status pumit_segmenter_loss(pumit_tensor **out, pumit_segmenter *segmenter,
                                            pumit_tensor *image, const double spacing[3],
                                            pumit_tensor *labels);

#ifdef __cplusplus
}
#endif
#endif
