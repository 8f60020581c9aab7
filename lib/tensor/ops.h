/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Differentiable operations on tensors. Each checks shapes, allocates, calls one kernel (or is made of others), and records itself.
 * Results belong to the innermost scope (tensor.h). A NULL operand gives NULL. Those that record themselves are in oplist.inc.
 */
#ifndef PUMIT_LIB_TENSOR_OPS_H
#define PUMIT_LIB_TENSOR_OPS_H

#include "lib/tensor/tensor.h"

/* --- shape ------------------------------------------------------------------------------------- */
pumit_tensor *pumit__reshape(pumit_tensor *x, int32_t ndim, const int64_t *shape);
pumit_tensor *pumit__permute(pumit_tensor *x,
                             const int32_t *axes); /* view; result axis i is x's axes[i] */
pumit_tensor *pumit__slice(pumit_tensor *x, int32_t axis, int64_t start, int64_t length); /* view */
pumit_tensor *pumit__expand(pumit_tensor *x, int32_t ndim,
                            const int64_t *shape); /* view; broadcasts, aligned right */
pumit_tensor *pumit__contiguous(pumit_tensor *x);
pumit_tensor *pumit__concat(pumit_tensor *a, pumit_tensor *b, int32_t axis);
/* Runs of neighbours along `axis` summed until `depth` are left; `cached` is that sum, or NULL to compute it. */
pumit_tensor *pumit__pool_depth(pumit_tensor *x, int32_t axis, int64_t depth, pumit_tensor *cached);

/* --- element by element, with broadcasting ----------------------------------------------------------- */
pumit_tensor *pumit__add(pumit_tensor *a, pumit_tensor *b);
pumit_tensor *pumit__sub(pumit_tensor *a, pumit_tensor *b);
pumit_tensor *pumit__mul(pumit_tensor *a, pumit_tensor *b);
pumit_tensor *pumit__div(pumit_tensor *a, pumit_tensor *b);
pumit_tensor *pumit__affine(pumit_tensor *x, double alpha, double beta); /* alpha x + beta */
pumit_tensor *pumit__gelu(pumit_tensor *x);
pumit_tensor *pumit__leaky_relu(pumit_tensor *x, double slope);
pumit_tensor *pumit__absolute(pumit_tensor *x);
pumit_tensor *pumit__xlogx(pumit_tensor *x);
pumit_tensor *pumit__silu(pumit_tensor *x);
pumit_tensor *pumit__square_root(pumit_tensor *x); /* derivative 0 at 0 */
/* alpha times the sum over the axes whose bits are set in `axes`; these axes go. */
pumit_tensor *pumit__sum(pumit_tensor *x, uint32_t axes, double alpha);
/* Mean of everything: a scalar. */
pumit_tensor *pumit__mean(pumit_tensor *x);

/* --- matrix products ----------------------------------------------------------------------------- */
pumit_tensor *pumit__linear(pumit_tensor *x, pumit_tensor *weight,
                            pumit_tensor *bias); /* (..., I), (O, I), (O) or NULL */
pumit_tensor *pumit__add_linear(pumit_tensor *base, pumit_tensor *x, pumit_tensor *weight,
                                pumit_tensor *bias);           /* base (..., O) + linear */
pumit_tensor *pumit__matmul(pumit_tensor *a, pumit_tensor *b); /* (..., K), (K, N) */

/* --- norms: over the last axis; over groups of it per leading index ------------------------------------ */
pumit_tensor *pumit__layer_norm(pumit_tensor *x, pumit_tensor *weight, pumit_tensor *bias,
                                double eps);
pumit_tensor *pumit__group_norm(pumit_tensor *x, pumit_tensor *weight, pumit_tensor *bias,
                                int64_t groups, double eps);

/* --- distributions over the last axis ------------------------------------------------------------------ */
pumit_tensor *pumit__softmax(pumit_tensor *x);
pumit_tensor *pumit__entropy(pumit_tensor *logits); /* (..., V) -> (...) */
pumit_tensor *pumit__cross_entropy(pumit_tensor *logits,
                                   pumit_tensor *target); /* target: probabilities */

/* --- choices: without gradient but for straight_through ------------------------------------------------- */
pumit_tensor *pumit__argmax(pumit_tensor *x); /* (..., V) -> (...) of I64, the first of equals */
pumit_tensor *pumit__one_hot(pumit_tensor *index, int64_t classes); /* (...) of I64 -> (..., V) */
/* The value of `value`, with the gradient going to x as if it were x; same shape. */
pumit_tensor *pumit__straight_through(pumit_tensor *value, pumit_tensor *x);

/* --- transformers: what a block is made of, each keeping little for backward --------------------------------- */
/* Linear layers (1 to 3, each bias or NULL) of LayerNorm(x), their results side by side: (..., sum of outputs). Keeps x. */
pumit_tensor *pumit__norm_linears(pumit_tensor *x, pumit_tensor *norm_weight,
                                  pumit_tensor *norm_bias, double eps, int32_t count,
                                  pumit_tensor *const *weights, pumit_tensor *const *biases);
/*
 * Attention of q | k | v (N, L, 3 dim), q and k turned by their positions, to (N, L, dim). **x is turned in place**: it must be
 * the result of an operation that does not need it in backward, and nobody may hold or read it afterwards.
 * cosine, sine: (L - skip, head_dim/2), or (N, L - skip, head_dim/2), without gradient; the first `skip` tokens of a sequence are not
 * turned. offsets: NULL, or (n + 1) of I64, with N = 1: the borders of n sequences that lie end to end and do not see each other.
 */
pumit_tensor *pumit__rope_attention(pumit_tensor *x, pumit_tensor *cosine, pumit_tensor *sine,
                                    int64_t skip, int64_t heads, double scale,
                                    pumit_tensor *offsets);
/* base (..., O) + linear(LayerNorm(silu(gate) value)); x (..., 2 I): gate | value. Keeps x. */
pumit_tensor *pumit__gated_linear(pumit_tensor *base, pumit_tensor *x, pumit_tensor *norm_weight,
                                  pumit_tensor *norm_bias, double eps, pumit_tensor *weight,
                                  pumit_tensor *bias);

/* --- images: x (N, D, H, W, I) ----------------------------------------------------------------------------- */
pumit_tensor *pumit__conv(pumit_tensor *x, pumit_tensor *weight /* (O, k, k, k, I) */,
                          pumit_tensor *bias, const int64_t stride[3], const int64_t padding[3]);
/* Kernel == stride: weight (I, k, k, k, O). */
pumit_tensor *pumit__conv_transpose(pumit_tensor *x, pumit_tensor *weight, pumit_tensor *bias);
/* Largest of windows side by side; sizes are divided by the window's and rounded down. */
pumit_tensor *pumit__max_pool(pumit_tensor *x, const int64_t window[3]);
pumit_tensor *pumit__resample(pumit_tensor *x, const int64_t size[3], int32_t kind);
/* Shrinking axes by area first, then growing ones trilinearly (resample_to of the specification). */
pumit_tensor *pumit__resample_to(pumit_tensor *x, const int64_t size[3]);

/* --- rows of sequences: index (N, K) of I64 --------------------------------------------------------------- */
pumit_tensor *pumit__gather_rows(pumit_tensor *x, pumit_tensor *index); /* (N, L, C) -> (N, K, C) */
/* `base` (N, L, C) with the indexed rows replaced by `rows` (N, K, C). */
pumit_tensor *pumit__scatter_rows(pumit_tensor *base, pumit_tensor *index, pumit_tensor *rows);

#endif
