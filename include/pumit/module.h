/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file module.h
 * What every network has in common: a kind, a configuration, and parameters under their published names.
 *
 * A module is a view of a model handle (pumit_vit_module() and so on), borrowed from it. In memory,
 * convolution weights are channels last: (O, kD, kH, kW, I), transposed ones (I, kD, kH, kW, O); files hold the published
 * order (O, I, kD, kH, kW) and (I, O, kD, kH, kW).
 */
#ifndef PUMIT_MODULE_H
#define PUMIT_MODULE_H

#include <pumit/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

/** "tokenizer.simple", "tokenizer.vqvae", "vit", "classifier", "discriminator", "lpips", "segmenter" or "sac_conv". Static. @since 0.1 */
PUMIT_API const char *pumit_module_kind(const pumit_module *module);

/** The configuration, as a config of its own. @since 0.1 */
PUMIT_API pumit_status pumit_module_config(pumit_config **out, const pumit_module *module);

/** Number of parameters (tensors), and of their elements. @since 0.1 */
PUMIT_API int64_t pumit_module_parameter_count(const pumit_module *module);
/** @copydoc pumit_module_parameter_count */
PUMIT_API int64_t pumit_module_element_count(const pumit_module *module);

/** Published name of parameter i, "blocks.0.attn.q_proj.weight"; borrowed, NULL if out of range. @since 0.1 */
PUMIT_API const char *pumit_module_parameter_name(const pumit_module *module, int64_t i);

/** Parameter i: borrowed, NULL if out of range. @since 0.1 */
PUMIT_API pumit_tensor *pumit_module_parameter(const pumit_module *module, int64_t i);

/** The parameter of that name: borrowed. PUMIT_ERROR_NOT_FOUND. @since 0.1 */
PUMIT_API pumit_status pumit_module_find(pumit_tensor **out, const pumit_module *module,
                                         const char *name);

/** Forgets all gathered gradients. @since 0.1 */
PUMIT_API void pumit_module_zero_grad(pumit_module *module);

/**
 * Writes a safetensors file: weights under their published names, and as metadata the kind, the configuration, and `provenance`
 * (a config of strings such as "data" and "licence"; NULL: none). Whole or not at all. @since 0.1
 */
PUMIT_API pumit_status pumit_module_save(const pumit_module *module, const char *path,
                                         const pumit_config *provenance);

/**
 * Copies weights from a file whose kind need not match, safetensors or a PyTorch checkpoint (see pumit_module_import()):
 * names that both have, under `prefix` in the file (NULL: ""). Shapes must agree. `loaded` receives the number of tensors taken
 * (may be NULL). With `strict`, a parameter that the file lacks is PUMIT_ERROR_NOT_FOUND naming it. @since 0.1
 */
PUMIT_API pumit_status pumit_module_load_weights(pumit_module *module, const char *path,
                                                 const char *prefix, int32_t strict,
                                                 int64_t *loaded);

/**
 * Takes weights of others: safetensors, or a zip checkpoint of PyTorch 1.6 or later (`torch.save`: the state dict itself, or under
 * "state_dict", "model" or "module"; no code in it is run). What the model needs in another shape is adapted, and each
 * adaptation told through the context's log: 2D convolutions are inflated; image channels, patch embeddings and position
 * embeddings are made to fit; "rope.freqs_*" is dropped. Names that are missing or unexpected, and shapes beyond that, are
 * PUMIT_ERROR_NOT_FOUND or PUMIT_ERROR_SHAPE with a list, and leave the model as it was. `options` (may be NULL):
 * - "prefix": names in the file begin with it; other names are left alone. Default "".
 * - "partial": true lets a backbone come without its head, and a head go unused. Default false.
 * - "inflation": "average" (a 2D kernel by its depth, at every depth; the default) or "center" (in the middle); patch embeddings
 *   are always averaged.
 * @since 0.1
 */
PUMIT_API pumit_status pumit_module_import(pumit_module *module, const char *path,
                                           const pumit_config *options);

/** Reads a model file's metadata into a config: "pumit.model", "pumit.config" (an object), the provenance, "tensors" and
 * "elements" (their numbers). @since 0.1 */
PUMIT_API pumit_status pumit_model_file_info(pumit_config **out, const char *path);

/** Reads a model file's weights through and sums them up: "checksum" ("crc32:..." of names and values in the file's order), and for a
 * tokenizer "codebook": "codes", "dim", the codes' lengths ("mean_length", "least_length", "most_length") and their distances to
 * the nearest other one ("mean_nearest", "least_nearest"; 0: two are the same). @since 0.1 */
PUMIT_API pumit_status pumit_model_file_digest(pumit_config **out, const char *path);

#ifdef __cplusplus
}
#endif
#endif
