/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file optimizer.h
 * AdamW (Loshchilov & Hutter 2019) with the decay groups of the specification: weights of linear and convolution layers decay; biases,
 * norms, embeddings, class and mask tokens and position embeddings do not.
 */
#ifndef PUMIT_OPTIMIZER_H
#define PUMIT_OPTIMIZER_H

#include <pumit/module.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Makes an optimiser for a module's parameters, which it keeps alive. Keys: "beta1" (0.9), "beta2" (0.999), "eps" (1e-8), "weight_decay"
 * (0.05), "clip_norm" (0: off; most global norm of all gradients), "frozen" (a prefix of names that stay as they are), "rate_factors" (a list of
 * ["prefix", factor]: the first whose prefix a name has multiplies that parameter's learning rate). @since 0.1
 */
PUMIT_API pumit_status pumit_optimizer_create(pumit_optimizer **out, pumit_module *module,
                                              const pumit_config *config);

/** NULL is fine. @since 0.1 */
PUMIT_API void pumit_optimizer_release(pumit_optimizer *optimizer);

/**
 * One step with the gathered gradients, which are then forgotten. Parameters without gradient stay.
 * @param accumulated number of losses whose gradients were gathered; the step uses their mean
 * @param grad_norm receives the global norm before clipping; may be NULL
 * A norm that is not finite is PUMIT_ERROR_STATE and changes nothing but the gradients. PUMIT_ERROR_OUT_OF_MEMORY before anything moved
 * leaves them, too, so that the step can be taken again. @since 0.1
 */
PUMIT_API pumit_status pumit_optimizer_step(pumit_optimizer *optimizer, double learning_rate,
                                            int32_t accumulated, double *grad_norm);

/** Steps done so far. @since 0.1 */
PUMIT_API int64_t pumit_optimizer_steps(const pumit_optimizer *optimizer);

/** Linear warm-up from 0 to `base` over `warmup` steps, then one cosine period of `max_steps` down to `least`. @since 0.1 */
PUMIT_API double pumit_cosine_rate(int64_t step, double base, int64_t max_steps, int64_t warmup,
                                   double least);

#ifdef __cplusplus
}
#endif
#endif
