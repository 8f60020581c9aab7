/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file lpips.h
 * LPIPS (Zhang et al. 2018), a perceptual distance of images: differences of VGG-16 features, mixed by learnt weights.
 *
 * The network is frozen: its parameters gather no gradients, images do.
 */
#ifndef PUMIT_LPIPS_H
#define PUMIT_LPIPS_H

#include <pumit/module.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Makes the network with random weights. Keys: "channels" ([64,128,256,512,512]: of the five stages), "seed" (0). Parameters:
 * "features.K.weight" and "features.K.bias" as torchvision numbers VGG-16, "lin0.weight" to "lin4.weight". @since 0.1
 */
PUMIT_API pumit_status pumit_lpips_create(pumit_lpips **out, pumit_context *context,
                                          const pumit_config *config);

/** Loads the weights under these names, whoever wrote the file; the numbers of channels are those of its arrays. @since 0.1 */
PUMIT_API pumit_status pumit_lpips_load(pumit_lpips **out, pumit_context *context,
                                        const char *path);

/** NULL is fine. @since 0.1 */
PUMIT_API void pumit_lpips_release(pumit_lpips *lpips);

/** Its parameters; borrowed. @since 0.1 */
PUMIT_API pumit_module *pumit_lpips_module(pumit_lpips *lpips);

/**
 * The distance of two batches (N, D, H, W, C) of the same shape with values in [0, 1], a scalar, recorded: the mean over all N D
 * slices, each a 2D image of at least 16x16. C is 3, or 1, which is repeated. @since 0.1
 */
PUMIT_API pumit_status pumit_lpips_distance(pumit_tensor **out, pumit_lpips *lpips, pumit_tensor *a,
                                            pumit_tensor *b);

#ifdef __cplusplus
}
#endif
#endif
