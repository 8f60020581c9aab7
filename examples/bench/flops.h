/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Multiplications and additions of the networks on one image, layer by layer as the specification computes them: products of matrices,
 * attention and convolutions, each convolution counted as its defining sum whatever algorithm runs. What costs no products (norms, activations,
 * softmax, resampling) counts nothing.
 */
#ifndef EXAMPLES_BENCH_FLOPS_H
#define EXAMPLES_BENCH_FLOPS_H

#include <pumit/pumit.h>

typedef struct {
    double all;   /* of a forward pass */
    double first; /* of them, in layers that read the image itself */
} flop_count;

/* A training step: the layers again for the gradient of their weights, and again for that of their input, which images do not want. */
double flops_of_step(flop_count forward);

/* Sizes come from sections of `config`, "vit" and "tokenizer"; `size`: voxels D, H, W of degree of anisotropy `da`. */
flop_count flops_of_vit(const pumit_config *config, const int64_t size[3], int da);
flop_count flops_of_encode(const pumit_config *config, const int64_t size[3], int da);
/* Encoder, quantiser and decoder. */
flop_count flops_of_tokenizer(const pumit_config *config, const int64_t size[3], int da);
/* A masked-modelling step, the tokenizer's forward pass included; `visible` of the tokens are shown. */
double flops_of_mim_step(const pumit_config *config, const int64_t size[3], int da,
                         int64_t visible);
/* A segmenter of "patch" [p,p,p]; `heads`: all that the loss has, or the finest one. `config`: the segmenter's own. */
flop_count flops_of_segmenter(const pumit_config *config, const int64_t size[3], int da, int heads);

#endif
