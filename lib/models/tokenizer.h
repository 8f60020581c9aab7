/* SPDX-License-Identifier: Apache-2.0 */
/* The simple tokenizer inside other models. Images here are in [-1, 1]. */
#ifndef PUMIT_LIB_MODELS_TOKENIZER_H
#define PUMIT_LIB_MODELS_TOKENIZER_H

#include "lib/nn/sac_conv.h"

#include <pumit/tokenizer.h>

/* Down-sampling stages, then two 3x3x3 convolutions: features (N, d, h, w, code_dim). x: (N, D, H, W, C). */
pumit__feature pumit__tokenizer_features(pumit_tokenizer *tokenizer, pumit_tensor *x, int32_t da);
/* Logits over the codebook, (N, d, h, w, codes). */
pumit_tensor *pumit__tokenizer_logits(pumit_tokenizer *tokenizer, pumit_tensor *features);
/* What the decoder reads: probabilities (N, d, h, w, codes) times the codebook. */
pumit_tensor *pumit__tokenizer_codes_of(pumit_tokenizer *tokenizer, pumit_tensor *probabilities);
/* Back to an image; f holds the codes and where they stand. */
pumit_tensor *pumit__tokenizer_image(pumit_tokenizer *tokenizer, pumit__feature f);

/* Terms of the extended prior regularisation: sum m ln m of the mean distribution; mean entropy. Scalars. */
pumit_tensor *pumit__prior_term(pumit_tensor *probabilities);
pumit_tensor *pumit__entropy_term(pumit_tensor *logits);

/* The training loss of x in [-1, 1], with its PUMIT_TERM_* if `terms` is not NULL. */
pumit_tensor *pumit__tokenizer_loss(double *terms, pumit_tokenizer *tokenizer, pumit_tensor *x,
                                    int32_t da, double quant_weight, double entropy_weight);

/* In-plane halvings of its encoder: 4 for patches of 16. */
int32_t pumit__tokenizer_halvings(const pumit_tokenizer *tokenizer);

#endif
