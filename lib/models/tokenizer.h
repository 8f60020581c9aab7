/* SPDX-License-Identifier: Apache-2.0 */
/* Tokenizers inside other models. Images here are in [-1, 1]. */
#ifndef PUMIT_LIB_MODELS_TOKENIZER_H
#define PUMIT_LIB_MODELS_TOKENIZER_H

#include "lib/nn/sac_conv.h"

#include <pumit/tokenizer.h>

/* The image (N, D, H, W, C) in [0, 1] as networks take it; NULL with an error that says what does not fit. */
pumit_tensor *pumit__tokenizer_input(const pumit_tokenizer *tokenizer, pumit_tensor *image,
                                     int32_t da);
/* The encoder: features (N, d, h, w, code_dim) of x (N, D, H, W, C). */
pumit__feature pumit__tokenizer_features(pumit_tokenizer *tokenizer, pumit_tensor *x, int32_t da);
/* Logits over the codebook, (N, d, h, w, codes); not in mode nearest. */
pumit_tensor *pumit__tokenizer_logits(pumit_tokenizer *tokenizer, pumit_tensor *features);
/* What encoding gives, and what a transformer should predict: both (N, d, h, w, codes), see quantizer.h. */
pumit_tensor *pumit__tokenizer_tokens(pumit_tokenizer *tokenizer, pumit_tensor *features);
pumit_tensor *pumit__tokenizer_target(pumit_tokenizer *tokenizer, pumit_tensor *features);
/* What the decoder reads: tokens times the codebook. */
pumit_tensor *pumit__tokenizer_codes_of(pumit_tokenizer *tokenizer, pumit_tensor *tokens);
/* The decoder: back to an image; f holds the codes and where they stand. */
pumit_tensor *pumit__tokenizer_image(pumit_tokenizer *tokenizer, pumit__feature f);

#endif
