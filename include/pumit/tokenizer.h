/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file tokenizer.h
 * The universal visual tokenizer: an image of any spacing becomes soft tokens, distributions over a codebook, and back (paper section 3.2).
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
 * Makes a tokenizer with random weights. Keys: "in_channels" (3), "start_stride" (4), "channels" ([128,256,512]), "codes"
 * (1024), "code_dim" (512), "seed" (0). @since 0.1
 */
PUMIT_API pumit_status pumit_tokenizer_create(pumit_tokenizer **out, pumit_context *context,
                                              const pumit_config *config);

/** Loads a tokenizer from a safetensors file. @since 0.1 */
PUMIT_API pumit_status pumit_tokenizer_load(pumit_tokenizer **out, pumit_context *context,
                                            const char *path);

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

/** Soft tokens of an image: probabilities (N, d, h, w, codes). @since 0.1 */
PUMIT_API pumit_status pumit_tokenizer_encode(pumit_tensor **out, pumit_tokenizer *tokenizer,
                                              pumit_tensor *image, const double spacing[3]);

/** The image of soft tokens, (N, D, H, W, C), clamped to [0, 1]. @since 0.1 */
PUMIT_API pumit_status pumit_tokenizer_decode(pumit_tensor **out, pumit_tokenizer *tokenizer,
                                              pumit_tensor *tokens, const double spacing[3]);

/** decode(encode(image)). @since 0.1 */
PUMIT_API pumit_status pumit_tokenizer_reconstruct(pumit_tensor **out, pumit_tokenizer *tokenizer,
                                                   pumit_tensor *image, const double spacing[3]);

/** Indices of `terms` of pumit_tokenizer_loss(). */
#define PUMIT_TERM_L1      0 /**< mean absolute error, images in [-1, 1] */
#define PUMIT_TERM_PRIOR   1 /**< sum m ln m of the mean token distribution m */
#define PUMIT_TERM_ENTROPY 2 /**< mean entropy of the token distributions, nats */
#define PUMIT_TERM_MSE     3 /**< mean squared error, images in [0, 1] */
#define PUMIT_TERM_COUNT   4

/**
 * The training loss, a scalar, recorded: L1 + quant_weight prior + entropy_weight entropy (paper eq. of the extended prior
 * regularisation). @param terms receives PUMIT_TERM_COUNT values; may be NULL. @since 0.1
 */
PUMIT_API pumit_status pumit_tokenizer_loss(pumit_tensor **out, double *terms,
                                            pumit_tokenizer *tokenizer, pumit_tensor *image,
                                            const double spacing[3], double quant_weight,
                                            double entropy_weight);

#ifdef __cplusplus
}
#endif
#endif
