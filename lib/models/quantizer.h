/* SPDX-License-Identifier: Apache-2.0 */
/* Between a tokenizer's encoder and decoder: features to tokens, tokens to what the decoder reads. */
#ifndef PUMIT_LIB_MODELS_QUANTIZER_H
#define PUMIT_LIB_MODELS_QUANTIZER_H

#include "lib/nn/module.h"

#define PUMIT__QUANTIZE_SOFT    0
#define PUMIT__QUANTIZE_GUMBEL  1
#define PUMIT__QUANTIZE_NEAREST 2

typedef struct {
    int32_t mode;
    bool hard; /* gumbel: one code a token */
    int64_t codes, dim;
    double beta;                             /* nearest: weight of the codebook's term */
    double temperature_min, temperature_max; /* gumbel: last, first */
    uint64_t seed;
    int64_t step, max_steps, draws; /* gumbel: place in the schedule; samples drawn in this step */
    pumit__layer projection;        /* (codes, dim), (codes); none in mode nearest */
    pumit_tensor *codebook;         /* (codes, dim) */
} pumit__quantizer;

/* Reads "codes", "code_dim", "mode" and what belongs to the mode. */
pumit_status pumit__quantizer_read(pumit__quantizer *q, const pumit_config *config,
                                   const char *default_mode);
/* Adds "quantize.proj.*" and "quantize.embedding.weight" to the module. */
void pumit__quantizer_create(pumit__quantizer *q, pumit_module *module);

/* Features are (N, d, h, w, dim), tokens and logits (N, d, h, w, codes). */
pumit_tensor *pumit__quantizer_logits(const pumit__quantizer *q, pumit_tensor *features);
/* What an image is, for its decoder: probabilities (soft; gumbel), one code a token (gumbel with "hard"; nearest). */
pumit_tensor *pumit__quantizer_tokens(const pumit__quantizer *q, pumit_tensor *features);
/* What a transformer should predict: probabilities, in mode nearest one code a token. */
pumit_tensor *pumit__quantizer_target(const pumit__quantizer *q, pumit_tensor *features);
/* What the decoder reads: tokens times the codebook, (N, d, h, w, dim). */
pumit_tensor *pumit__quantizer_codes_of(const pumit__quantizer *q, pumit_tensor *tokens);

/* Training. */
typedef struct {
    pumit_tensor *codes; /* (N, d, h, w, dim) */
    pumit_tensor *
        prior; /* scalar: sum m ln m of the mean distribution m; nearest: codebook and commitment */
    pumit_tensor *entropy; /* scalar: mean entropy of the distributions; none in mode nearest */
    pumit_tensor *tokens;  /* probabilities, whatever was sampled; nearest: one code a token */
} pumit__quantized;

/*
 * `log_mean` (codes): NULL, or if these features are part i of a larger batch whose mean token is m, w ln m with part i's weight w. Then
 * prior = <w ln m, m_i>, m_i the mean of these tokens: over the parts, with sum w_i m_i = m, value and gradient add up to those of
 * sum m ln m, since sum_v m_iv = 1. No use in mode nearest.
 */
pumit__quantized pumit__quantizer_train(pumit__quantizer *q, pumit_tensor *features,
                                        pumit_tensor *log_mean);

/* min + (max - min) (1 + cos(pi min(step / max_steps, 1))) / 2 */
double pumit__quantizer_temperature(const pumit__quantizer *q);

#endif
