/* SPDX-License-Identifier: Apache-2.0 */
/* How well a tokenizer does: sums over all tokens and voxels of a step, or of a validation. */
#ifndef PUMIT_LIB_TRAIN_TALLY_H
#define PUMIT_LIB_TRAIN_TALLY_H

#include <pumit/tensor.h>

#include "lib/base/base.h"

typedef struct {
    int64_t codes;
    double *usage; /* by code: sum of the tokens' probabilities */
    bool *chosen;  /* by code: the likeliest one of some token */
    double tokens, entropy;
    double voxels, squares, absolute; /* of errors, images in [0, 1] */
    double slices, similarity;
} pumit__tally;

pumit_status pumit__tally_create(pumit__tally *tally, int64_t codes);
void pumit__tally_free(pumit__tally *tally);
/* As it was when made. */
void pumit__tally_clear(pumit__tally *tally);

/* Tokens (N, d, h, w, codes). `entropy`: sums theirs too, which costs a logarithm a probability. */
pumit_status pumit__tally_tokens(pumit__tally *tally, pumit_tensor *tokens, bool entropy);
/* Images (N, D, H, W, C) as they are, and as they came back; both are cut to [0, 1]. */
pumit_status pumit__tally_images(pumit__tally *tally, pumit_tensor *image, pumit_tensor *decoded);

/* exp of the entropy of the mean token: as many codes as if used alike. */
double pumit__tally_perplexity(const pumit__tally *tally);
/* Codes that are the likeliest one of some token. */
double pumit__tally_used(const pumit__tally *tally);
/* Mean structural similarity of the slices; NaN where they are too small for it. */
double pumit__tally_ssim(const pumit__tally *tally);

/* dB, of a mean squared error of images in [0, 1]; 120 at most. */
double pumit__psnr(double mse);

#endif
