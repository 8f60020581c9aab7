/* SPDX-License-Identifier: Apache-2.0 */
/* Gradient checks of matrix products, norms, and of what transformers are made of. */
#include "op_check.h"

/* --------------------------------------------------------------------------------------- linear */

static pumit_tensor *linear_matrix(op_graph *g)
{
    return pumit__linear(op_normal(g, SHAPE(4, 3)), op_normal(g, SHAPE(5, 3)),
                         op_normal(g, SHAPE(5)));
}

static pumit_tensor *linear_without_bias(op_graph *g)
{
    return pumit__linear(op_normal(g, SHAPE(4, 3)), op_normal(g, SHAPE(5, 3)), NULL);
}

static pumit_tensor *linear_vector(op_graph *g)
{
    return pumit__linear(op_normal(g, SHAPE(3)), op_normal(g, SHAPE(2, 3)), op_normal(g, SHAPE(2)));
}

static pumit_tensor *linear_tokens(op_graph *g)
{
    return pumit__linear(op_normal(g, SHAPE(2, 9, 8)), op_normal(g, SHAPE(11, 8)),
                         op_normal(g, SHAPE(11)));
}

static pumit_tensor *linear_strided(op_graph *g)
{
    return pumit__linear(op_strided(g, SHAPE(2, 4, 3)), op_strided(g, SHAPE(5, 3)),
                         op_strided(g, SHAPE(5)));
}

static pumit_tensor *linear_bias_of_matrix(op_graph *g)
{
    pumit_tensor *bias = pumit__slice(op_normal(g, SHAPE(5, 2)), 1, 1, 1);
    return pumit__linear(op_normal(g, SHAPE(4, 3)), op_normal(g, SHAPE(5, 3)),
                         pumit__reshape(bias, SHAPE(5)));
}

static pumit_tensor *linear_twice(op_graph *g)
{
    pumit_tensor *w = op_normal(g, SHAPE(4, 4)), *b = op_normal(g, SHAPE(4));
    return pumit__linear(pumit__gelu(pumit__linear(op_normal(g, SHAPE(3, 4)), w, b)), w, b);
}

OP_CHECK(linear, OP_VARIANT(linear_matrix), OP_VARIANT(linear_without_bias),
         OP_VARIANT(linear_vector), OP_VARIANT(linear_tokens), OP_VARIANT(linear_strided),
         OP_VARIANT(linear_bias_of_matrix), OP_VARIANT(linear_twice))

/* --------------------------------------------------------------------------------------- matmul */

static pumit_tensor *matmul_matrices(op_graph *g)
{
    return pumit__matmul(op_normal(g, SHAPE(4, 3)), op_normal(g, SHAPE(3, 5)));
}

static pumit_tensor *matmul_vector(op_graph *g)
{
    return pumit__matmul(op_normal(g, SHAPE(3)), op_normal(g, SHAPE(3, 5)));
}

static pumit_tensor *matmul_tokens(op_graph *g)
{
    return pumit__matmul(op_normal(g, SHAPE(2, 9, 8)), op_normal(g, SHAPE(8, 7)));
}

static pumit_tensor *matmul_strided(op_graph *g)
{
    return pumit__matmul(op_strided(g, SHAPE(2, 4, 3)), op_strided(g, SHAPE(3, 5)));
}

static pumit_tensor *matmul_square(op_graph *g)
{
    pumit_tensor *x = op_normal(g, SHAPE(4, 4));
    return pumit__matmul(x, x);
}

static pumit_tensor *matmul_by_own_transpose(op_graph *g)
{
    pumit_tensor *x = op_normal(g, SHAPE(4, 3));
    return pumit__matmul(x, pumit__permute(x, (int32_t[]){1, 0}));
}

OP_CHECK(matmul, OP_VARIANT(matmul_matrices), OP_VARIANT(matmul_vector), OP_VARIANT(matmul_tokens),
         OP_VARIANT(matmul_strided), OP_VARIANT(matmul_square), OP_VARIANT(matmul_by_own_transpose))

/* ----------------------------------------------------------------------------------- layer_norm */

static pumit_tensor *layer_norm_matrix(op_graph *g)
{
    return pumit__layer_norm(op_normal(g, SHAPE(4, 7)), op_normal(g, SHAPE(7)),
                             op_normal(g, SHAPE(7)), 1e-5);
}

static pumit_tensor *layer_norm_volume(op_graph *g)
{
    return pumit__layer_norm(op_normal(g, SHAPE(2, 2, 3, 5)), op_normal(g, SHAPE(5)),
                             op_normal(g, SHAPE(5)), 1e-5);
}

static pumit_tensor *layer_norm_wide(op_graph *g)
{
    return pumit__layer_norm(op_normal(g, SHAPE(3, 35)), op_normal(g, SHAPE(35)),
                             op_normal(g, SHAPE(35)), 1e-3);
}

static pumit_tensor *layer_norm_vector(op_graph *g)
{
    return pumit__layer_norm(op_normal(g, SHAPE(6)), op_normal(g, SHAPE(6)), op_normal(g, SHAPE(6)),
                             0.1);
}

static pumit_tensor *layer_norm_strided(op_graph *g)
{
    return pumit__layer_norm(op_strided(g, SHAPE(2, 3, 5)), op_strided(g, SHAPE(5)),
                             op_strided(g, SHAPE(5)), 1e-5);
}

static pumit_tensor *layer_norm_weight_of_matrix(op_graph *g)
{
    pumit_tensor *w =
        pumit__slice(pumit__permute(op_normal(g, SHAPE(5, 2)), (int32_t[]){1, 0}), 0, 1, 1);
    return pumit__layer_norm(op_normal(g, SHAPE(3, 5)), pumit__reshape(w, SHAPE(5)),
                             op_normal(g, SHAPE(5)), 1e-5);
}

OP_CHECK(layer_norm, OP_VARIANT(layer_norm_matrix), OP_VARIANT(layer_norm_volume),
         OP_VARIANT(layer_norm_wide), OP_VARIANT(layer_norm_vector), OP_VARIANT(layer_norm_strided),
         OP_VARIANT(layer_norm_weight_of_matrix))

/* ----------------------------------------------------------------------------------- group_norm */

static pumit_tensor *group_norm_volume(op_graph *g)
{
    return pumit__group_norm(op_normal(g, SHAPE(2, 2, 1, 3, 6)), op_normal(g, SHAPE(6)),
                             op_normal(g, SHAPE(6)), 3, 1e-5);
}

static pumit_tensor *group_norm_one_group(op_graph *g)
{
    return pumit__group_norm(op_normal(g, SHAPE(2, 1, 2, 2, 5)), op_normal(g, SHAPE(5)),
                             op_normal(g, SHAPE(5)), 1, 1e-5);
}

static pumit_tensor *group_norm_instance(op_graph *g)
{
    return pumit__group_norm(op_normal(g, SHAPE(2, 2, 2, 2, 3)), op_normal(g, SHAPE(3)),
                             op_normal(g, SHAPE(3)), 3, 1e-5);
}

static pumit_tensor *group_norm_matrix(op_graph *g)
{
    return pumit__group_norm(op_normal(g, SHAPE(3, 8)), op_normal(g, SHAPE(8)),
                             op_normal(g, SHAPE(8)), 2, 1e-5);
}

static pumit_tensor *group_norm_strided(op_graph *g)
{
    return pumit__group_norm(op_strided(g, SHAPE(2, 3, 2, 4)), op_strided(g, SHAPE(4)),
                             op_strided(g, SHAPE(4)), 2, 1e-5);
}

OP_CHECK(group_norm, OP_VARIANT(group_norm_volume), OP_VARIANT(group_norm_one_group),
         OP_VARIANT(group_norm_instance), OP_VARIANT(group_norm_matrix),
         OP_VARIANT(group_norm_strided))

/* ----------------------------------------------------------------------------------------- rope */

static pumit_tensor *rope_shared(op_graph *g)
{
    return pumit__rope(op_normal(g, SHAPE(2, 4, 2, 6)), op_constant(g, SHAPE(4, 3)),
                       op_constant(g, SHAPE(4, 3)), 0);
}

static pumit_tensor *rope_shared_skip(op_graph *g)
{
    return pumit__rope(op_normal(g, SHAPE(2, 4, 2, 6)), op_constant(g, SHAPE(3, 3)),
                       op_constant(g, SHAPE(3, 3)), 1);
}

static pumit_tensor *rope_per_sample(op_graph *g)
{
    return pumit__rope(op_normal(g, SHAPE(2, 4, 2, 4)), op_constant(g, SHAPE(2, 4, 2)),
                       op_constant(g, SHAPE(2, 4, 2)), 0);
}

static pumit_tensor *rope_per_sample_skip(op_graph *g)
{
    return pumit__rope(op_normal(g, SHAPE(3, 5, 1, 4)), op_constant(g, SHAPE(3, 3, 2)),
                       op_constant(g, SHAPE(3, 3, 2)), 2);
}

static pumit_tensor *rope_strided(op_graph *g)
{
    return pumit__rope(op_strided(g, SHAPE(2, 3, 2, 4)), op_constant(g, SHAPE(2, 2)),
                       op_constant(g, SHAPE(2, 2)), 1);
}

OP_CHECK(rope, OP_VARIANT(rope_shared), OP_VARIANT(rope_shared_skip), OP_VARIANT(rope_per_sample),
         OP_VARIANT(rope_per_sample_skip), OP_VARIANT(rope_strided))

/* ------------------------------------------------------------------------------------ attention */

static pumit_tensor *attention_apart(op_graph *g)
{
    return pumit__attention(op_normal(g, SHAPE(2, 5, 2, 4)), op_normal(g, SHAPE(2, 5, 2, 4)),
                            op_normal(g, SHAPE(2, 5, 2, 4)), 0.5);
}

static pumit_tensor *attention_same(op_graph *g)
{
    pumit_tensor *x = op_normal(g, SHAPE(1, 4, 2, 3));
    return pumit__attention(x, x, x, 0.7);
}

static pumit_tensor *attention_of_slices(op_graph *g)
{
    const int64_t split[4] = {2, 4, 2, 4};
    pumit_tensor *x = op_normal(g, SHAPE(2, 4, 24));
    pumit_tensor *q = pumit__reshape(pumit__slice(x, 2, 0, 8), 4, split);
    pumit_tensor *k = pumit__reshape(pumit__slice(x, 2, 8, 8), 4, split);
    pumit_tensor *v = pumit__reshape(pumit__slice(x, 2, 16, 8), 4, split);
    return pumit__attention(q, k, v, 0.5);
}

static pumit_tensor *attention_strided(op_graph *g)
{
    return pumit__attention(op_strided(g, SHAPE(1, 3, 2, 4)), op_strided(g, SHAPE(1, 3, 2, 4)),
                            op_strided(g, SHAPE(1, 3, 2, 4)), 0.5);
}

static pumit_tensor *attention_long(op_graph *g)
{
    return pumit__attention(op_normal(g, SHAPE(1, 19, 1, 8)), op_normal(g, SHAPE(1, 19, 1, 8)),
                            op_normal(g, SHAPE(1, 19, 1, 8)), 0.35);
}

OP_CHECK(attention, OP_VARIANT(attention_apart), OP_VARIANT(attention_same),
         OP_VARIANT(attention_of_slices), OP_VARIANT(attention_strided), OP_VARIANT(attention_long))

/* --------------------------------------------------------------------------------------- swiglu */

static pumit_tensor *swiglu_apart(op_graph *g)
{
    return pumit__swiglu(op_normal(g, SHAPE(3, 5)), op_normal(g, SHAPE(3, 5)));
}

static pumit_tensor *swiglu_same(op_graph *g)
{
    pumit_tensor *x = op_normal(g, SHAPE(3, 5));
    return pumit__swiglu(x, x);
}

static pumit_tensor *swiglu_of_slices(op_graph *g)
{
    pumit_tensor *x = op_normal(g, SHAPE(2, 3, 8));
    return pumit__swiglu(pumit__slice(x, 2, 0, 4), pumit__slice(x, 2, 4, 4));
}

static pumit_tensor *swiglu_strided(op_graph *g)
{
    return pumit__swiglu(op_strided(g, SHAPE(3, 5)), op_strided(g, SHAPE(3, 5)));
}

OP_CHECK(swiglu, OP_VARIANT(swiglu_apart), OP_VARIANT(swiglu_same), OP_VARIANT(swiglu_of_slices),
         OP_VARIANT(swiglu_strided))
