/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file tokenizer.h
 * The universal visual tokenizer: an image of any spacing becomes soft tokens, distributions over a codebook, and back (paper section 3.2).
 *
 * There are two networks, "simple" and the VQGAN-shaped "vqvae", and three ways to get from features z to tokens:
 * - "soft": probabilities, softmax(proj z).
 * - "gumbel": the same, but in training the decoder sees samples, softmax((proj z + g) / t) with g from the standard Gumbel distribution and a
 *   temperature t that falls (pumit_tokenizer_set_step()). With "hard" a sample is one code, its gradient that of the soft one, and
 *   tokens are the likeliest code alone.
 * - "nearest": the code nearest to z alone; gradients pass as if it were z (VQ-VAE).
 * Tokens of a single code have a 1 for it and 0 for all others.
 *
 * Images are (N, D, H, W, C) with values in [0, 1]; `spacing` is {slice, row, column} in mm, slice infinite for 2D. H and W are
 * multiples of 16, D of max(16 >> DA, 1): pumit_volume_to_patches() makes such images. Tokens are (N, d, h, w, codes).
 */
#ifndef PUMIT_TOKENIZER_H
#define PUMIT_TOKENIZER_H

#include <pumit/module.h>
#include <pumit/volume.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Makes a tokenizer with random weights. Keys:
 * - "model": "simple" (default) or "vqvae". "mode": "soft" (default of simple), "gumbel" or "nearest" (default of vqvae).
 * - "in_channels" (3), "codes" (1024), "code_dim" (512), "seed" (0).
 * - simple: "start_stride" (4), "channels" ([128,256,512]); multiples of 8, "code_dim" too.
 * - vqvae: "channels" ([128,128,256,512]; multiples of 32), "res_blocks" (2, of a level), "z_channels" (256), "interpolate" (true: one
 *   halving more at full size, without parameters).
 * - gumbel: "hard" (false), "temperature_max" (0.9), "temperature_min" (1e-6). nearest: "beta" (0.25).
 * @since 0.1
 */
PUMIT_API pumit_status pumit_tokenizer_create(pumit_tokenizer **out, pumit_context *context,
                                              const pumit_config *config);

/** Loads a tokenizer of either kind from a safetensors file. @since 0.1 */
PUMIT_API pumit_status pumit_tokenizer_load(pumit_tokenizer **out, pumit_context *context,
                                            const char *path);

/** The same tokenizer in another context, on the same weights: see pumit_vit_share(). @since 0.1 */
PUMIT_API pumit_status pumit_tokenizer_share(pumit_tokenizer **out, pumit_context *context,
                                             const pumit_tokenizer *tokenizer);

/** NULL is fine. @since 0.1 */
PUMIT_API void pumit_tokenizer_release(pumit_tokenizer *tokenizer);

/** Its parameters; borrowed. @since 0.1 */
PUMIT_API pumit_module *pumit_tokenizer_module(pumit_tokenizer *tokenizer);

/** Size of the codebook. @since 0.1 */
PUMIT_API int64_t pumit_tokenizer_codes(const pumit_tokenizer *tokenizer);

/** Channels of the images it takes. @since 0.1 */
PUMIT_API int64_t pumit_tokenizer_channels(const pumit_tokenizer *tokenizer);

/** Voxels of one token along D, H, W for an isotropic image; borrowed. @since 0.1 */
PUMIT_API const int64_t *pumit_tokenizer_patch(const pumit_tokenizer *tokenizer);

/** Tokens of an image, (N, d, h, w, codes): probabilities, or a single code each, as the mode says. @since 0.1 */
PUMIT_API pumit_status pumit_tokenizer_encode(pumit_tensor **out, pumit_tokenizer *tokenizer,
                                              pumit_tensor *image, const double spacing[3]);

/** The image of tokens, (N, D, H, W, C), clamped to [0, 1]. @since 0.1 */
PUMIT_API pumit_status pumit_tokenizer_decode(pumit_tensor **out, pumit_tokenizer *tokenizer,
                                              pumit_tensor *tokens, const double spacing[3]);

/** decode(encode(image)). @since 0.1 */
PUMIT_API pumit_status pumit_tokenizer_reconstruct(pumit_tensor **out, pumit_tokenizer *tokenizer,
                                                   pumit_tensor *image, const double spacing[3]);

/** Indices of `terms` of pumit_tokenizer_loss(). */
#define PUMIT_TERM_L1      0 /**< mean absolute error, images in [-1, 1] */
#define PUMIT_TERM_PRIOR   1 /**< sum m ln m of the mean token m; nearest: codebook, commitment */
#define PUMIT_TERM_ENTROPY 2 /**< mean entropy of the token distributions, nats; nearest: 0 */
#define PUMIT_TERM_MSE     3 /**< mean squared error, images in [0, 1] */
#define PUMIT_TERM_COUNT   4

/**
 * Says that the losses to come are of step 0, 1, ... of `max_steps`. In mode gumbel the temperature follows, min + (max - min) (1 +
 * cos(pi min(step / max_steps, 1))) / 2, and the noise: the k-th loss after this call draws by (seed, step, k) alone, so a resumed run
 * repeats. Until the first call it is step 0. Other modes do not depend on it. @since 0.1
 */
PUMIT_API pumit_status pumit_tokenizer_set_step(pumit_tokenizer *tokenizer, int64_t step,
                                                int64_t max_steps);

/** Temperature of mode gumbel at the step that was set. @since 0.1 */
PUMIT_API double pumit_tokenizer_temperature(const pumit_tokenizer *tokenizer);

/**
 * The training loss, a scalar, recorded: L1 + quant_weight prior + entropy_weight entropy (paper eq. of the extended prior
 * regularisation). In mode nearest the prior's place is taken by mean (z_q - z)^2 weighted 1 + beta: 1 for its gradient by the
 * features z, beta for that by the codes z_q; there is no entropy. @param terms receives PUMIT_TERM_COUNT values; may be NULL. @since 0.1
 */
PUMIT_API pumit_status pumit_tokenizer_loss(pumit_tensor **out, double *terms,
                                            pumit_tokenizer *tokenizer, pumit_tensor *image,
                                            const double spacing[3], double quant_weight,
                                            double entropy_weight);

#ifdef __cplusplus
}
#endif
#endif
