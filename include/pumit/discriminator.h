/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file discriminator.h
 * The patch discriminator that a tokenizer's reconstructions can be trained against: SAC 3x3x3 convolutions, one score a patch.
 *
 * Images as in tokenizer.h, (N, D, H, W, C) in [0, 1] with a spacing, of any size. Scores are (N, d, h, w, 1), high for real images.
 */
#ifndef PUMIT_DISCRIMINATOR_H
#define PUMIT_DISCRIMINATOR_H

#include <pumit/module.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Makes a discriminator with random weights. Keys: "in_channels" (3), "channels" ([64,128,256]: multiples of 16, each halves the plane,
 * and depth once it is isotropic), "post_convs" (1: convolutions behind them that keep the size), "seed" (0). @since 0.1
 */
PUMIT_API pumit_status pumit_discriminator_create(pumit_discriminator **out, pumit_context *context,
                                                  const pumit_config *config);

/** Loads a discriminator from a safetensors file. @since 0.1 */
PUMIT_API pumit_status pumit_discriminator_load(pumit_discriminator **out, pumit_context *context,
                                                const char *path);

/** NULL is fine. @since 0.1 */
PUMIT_API void pumit_discriminator_release(pumit_discriminator *discriminator);

/** Its parameters; borrowed. @since 0.1 */
PUMIT_API pumit_module *pumit_discriminator_module(pumit_discriminator *discriminator);

/** Scores of an image, (N, d, h, w, 1). @since 0.1 */
PUMIT_API pumit_status pumit_discriminator_forward(pumit_tensor **out,
                                                   pumit_discriminator *discriminator,
                                                   pumit_tensor *image, const double spacing[3]);

/**
 * Half the hinge loss, a scalar, recorded: (mean max(0, 1 - score(real)) + mean max(0, 1 + score(fake))) / 2. Nothing flows
 * back to what made the images. @since 0.1
 */
PUMIT_API pumit_status pumit_discriminator_loss(pumit_tensor **out,
                                                pumit_discriminator *discriminator,
                                                pumit_tensor *real, pumit_tensor *fake,
                                                const double spacing[3]);

/**
 * The generator's term, -mean score(fake), a scalar, recorded: its gradient reaches what made `fake`, if that was recorded. The
 * discriminator's own parameters gather gradients on the way, which pumit_module_zero_grad() forgets. @since 0.1
 */
PUMIT_API pumit_status pumit_discriminator_generator_loss(pumit_tensor **out,
                                                          pumit_discriminator *discriminator,
                                                          pumit_tensor *fake,
                                                          const double spacing[3]);

#ifdef __cplusplus
}
#endif
#endif
