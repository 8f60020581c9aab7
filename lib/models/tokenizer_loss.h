/* SPDX-License-Identifier: Apache-2.0 */
/* What a tokenizer learns from. Images here are in [-1, 1] unless said otherwise. */
#ifndef PUMIT_LIB_MODELS_TOKENIZER_LOSS_H
#define PUMIT_LIB_MODELS_TOKENIZER_LOSS_H

#include "lib/models/discriminator.h"
#include "lib/models/lpips.h"
#include "lib/models/tokenizer.h"

/* The terms and their weights; each network may be NULL, and its term is off. */
typedef struct {
    double quant_weight, entropy_weight;
    pumit_tensor *log_mean; /* (codes), of a larger batch: see pumit__quantizer_train(); or NULL */

    const pumit_lpips *lpips;
    double perceptual_weight;
    int64_t perceptual_slices; /* most slices that the perceptual term looks at */
    uint64_t seed, stream;     /* which ones */

    pumit_discriminator *discriminator; /* gathers gradients that it has to forget */
    double gan_weight;
} pumit__tokenizer_goal;

/* What came of one loss. The tensors have no gradient. */
typedef struct {
    double term[PUMIT_TERM_COUNT], perceptual, generator;
    pumit_tensor *image, *reconstruction; /* (N, D, H, W, C) */
    pumit_tensor *tokens;                 /* (N, d, h, w, codes) */
} pumit__tokenizer_outcome;

/* The loss of x; `outcome` may be NULL, its tensors are the scope's. */
pumit_tensor *pumit__tokenizer_loss(pumit__tokenizer_outcome *outcome, pumit_tokenizer *tokenizer,
                                    pumit_tensor *x, int32_t da, const pumit__tokenizer_goal *goal);

/* The same of an image in [0, 1], recorded, as a public call: new references, which belong to the caller. */
pumit_status pumit__tokenizer_train(pumit_tensor **out, pumit__tokenizer_outcome *outcome,
                                    pumit_tokenizer *tokenizer, pumit_tensor *image, int32_t da,
                                    const pumit__tokenizer_goal *goal);
void pumit__tokenizer_outcome_release(pumit__tokenizer_outcome *outcome);

/* True if the tokens are distributions with a prior over them, not chosen codes. */
bool pumit__tokenizer_spreads(const pumit_tokenizer *tokenizer);
/* True in mode gumbel. */
bool pumit__tokenizer_samples(const pumit_tokenizer *tokenizer);

/* Adds the tokens of an image in [0, 1] to sums[codes], without recording or drawing anything; *count is the number of tokens. */
pumit_status pumit__tokenizer_add_tokens(double *sums, int64_t *count, pumit_tokenizer *tokenizer,
                                         pumit_tensor *image, int32_t da);

#endif
