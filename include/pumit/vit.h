/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file vit.h
 * The universal vision transformer: SAC patch embedding, resampled position embedding, rotary positions in 3D, SwiGLU blocks with
 * sub-LayerNorm (paper section 3.3); pre-trained by masked image modelling against a tokenizer's soft tokens.
 *
 * Images as in tokenizer.h: (N, D, H, W, C) in [0, 1] with a spacing; normalisation happens inside.
 */
#ifndef PUMIT_VIT_H
#define PUMIT_VIT_H

#include <pumit/tokenizer.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Makes a transformer with random weights. Keys: "in_channels" (3), "patch" ([16,16,16]; a cube adapts to the
 * spacing, another depth is a plain patch for images of one spacing), "dim" (768), "depth" (12),
 * "heads" (12), "hidden" (2048: of SwiGLU), "pos_embed_shape" ([5,10,10]), "rope_base" ([2333,10000,10000]), "codes" (0; > 0 adds
 * the masked-modelling head), "mask_layers" (blocks that see mask tokens; default all), "pool" ("mean" over the image's tokens, or
 * "cls": what embeddings and classifiers read), "max_tokens" (2048: larger volumes are shrunk for embedding), "seed" (0). @since 0.1
 */
PUMIT_API pumit_status pumit_vit_create(pumit_vit **out, pumit_context *context,
                                        const pumit_config *config);

/** Loads a transformer from a safetensors file; from a classifier's file its backbone. @since 0.1 */
PUMIT_API pumit_status pumit_vit_load(pumit_vit **out, pumit_context *context, const char *path);

/**
 * The same transformer in another context, for inference, on the memory of the first one's weights: what it computes it keeps to itself.
 * So threads, each with a context of its own, serve one model that is in memory once. The calling thread has `context`; the
 * thread that has `vit` may compute meanwhile, but neither change nor release it. After the call each of the two is
 * released on its own, in any order and thread. Parameters of the new one have no gradient, and as long as several models read
 * them, what would change weights is PUMIT_ERROR_STATE: pumit_tensor_write(), loading, optimisers. PUMIT_ERROR_UNSUPPORTED where one of
 * the contexts is of device "reference64". @since 0.1
 */
PUMIT_API pumit_status pumit_vit_share(pumit_vit **out, pumit_context *context,
                                       const pumit_vit *vit);

/** Gives up a reference; NULL is fine. @since 0.1 */
PUMIT_API void pumit_vit_release(pumit_vit *vit);

/** Its parameters; borrowed. @since 0.1 */
PUMIT_API pumit_module *pumit_vit_module(pumit_vit *vit);

/** Width of its tokens; channels of its images; voxels of a patch along D, H, W (borrowed). @since 0.1 */
PUMIT_API int64_t pumit_vit_dim(const pumit_vit *vit);
/** @copydoc pumit_vit_dim */
PUMIT_API int64_t pumit_vit_channels(const pumit_vit *vit);
/** @copydoc pumit_vit_dim */
PUMIT_API const int64_t *pumit_vit_patch(const pumit_vit *vit);

/**
 * Training keeps what goes into each block alone (1) or also what happens inside (0, the default). What is not kept backward computes
 * again: the same losses and gradients, about a third more time, a fifth of what a loss holds (ViT-B, 500 tokens: 47 MiB
 * an image for 230). It holds for losses made from now on, and is not saved. @since 0.1
 */
PUMIT_API void pumit_vit_set_recompute(pumit_vit *vit, int32_t on);

/** The token grid d, h, w of an image of `size` voxels D, H, W. PUMIT_ERROR_SHAPE if smaller than a patch. @since 0.1 */
PUMIT_API pumit_status pumit_vit_grid(int64_t grid[3], const pumit_vit *vit, const int64_t size[3],
                                      const double spacing[3]);

/** Hidden states after the last norm, (N, 1 + d h w, dim); row 0 is the class token. @since 0.1 */
PUMIT_API pumit_status pumit_vit_forward(pumit_tensor **out, pumit_vit *vit, pumit_tensor *image,
                                         const double spacing[3]);

/** One vector (1, dim) for a volume of any size and spacing. @since 0.1 */
PUMIT_API pumit_status pumit_vit_embed(pumit_tensor **out, pumit_vit *vit,
                                       const pumit_volume *volume);

/** The vectors (count, dim) of `count` volumes of any sizes and spacings in one go, each as pumit_vit_embed() gives it but for rounding: their
 * tokens lie end to end, a volume attends to itself alone, nothing is padded. Memory grows with the tokens of all. @since 0.1 */
PUMIT_API pumit_status pumit_vit_embed_packed(pumit_tensor **out, pumit_vit *vit, int64_t count,
                                              const pumit_volume *const *volumes);

/** A random choice of visible tokens for masked modelling: I64 (n, K) sorted, K = max(1, floor((1 - mask_ratio) length)), less than
 * `length`; a function of `seed` alone. @since 0.1 */
PUMIT_API pumit_status pumit_vit_random_visible(pumit_tensor **out, pumit_context *context,
                                                int64_t n, int64_t length, double mask_ratio,
                                                uint64_t seed);

/**
 * The masked-modelling loss, a scalar, recorded: cross-entropy between the tokenizer's soft tokens and the prediction, mean over
 * the masked tokens. @param visible (N, K) sorted token numbers. @since 0.1
 */
PUMIT_API pumit_status pumit_vit_mim_loss(pumit_tensor **out, pumit_vit *vit,
                                          pumit_tokenizer *tokenizer, pumit_tensor *image,
                                          const double spacing[3], pumit_tensor *visible);

/**
 * pumit_vit_mim_loss() of images of different shapes and spacings, packed as in pumit_vit_embed_packed(): the mean over all images of each one's
 * mean over its masked tokens, so gradients are those of the images one by one, averaged.
 * @param images `count` tensors (N, D, H, W, C), each of images of one shape; N may differ. @param spacing (count, 3).
 * @param visible `count` tensors (N, K); K may differ. @since 0.1
 */
PUMIT_API pumit_status pumit_vit_mim_loss_packed(pumit_tensor **out, pumit_vit *vit,
                                                 pumit_tokenizer *tokenizer, int64_t count,
                                                 pumit_tensor *const *images, const double *spacing,
                                                 pumit_tensor *const *visible);

/** What the transformer believes the tokens are when only `visible` ones are shown: probabilities (N, d, h, w, codes), which
 * pumit_tokenizer_decode() turns into an image. @since 0.1 */
PUMIT_API pumit_status pumit_vit_predict(pumit_tensor **out, pumit_vit *vit, pumit_tensor *image,
                                         const double spacing[3], pumit_tensor *visible);

#ifdef __cplusplus
}
#endif
#endif
