/* SPDX-License-Identifier: Apache-2.0 */
/* Gradient checks of matrix products and norms. */
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

/* ----------------------------------------------------------------------------------- add_linear */

static pumit_tensor *add_linear_matrix(op_graph *g)
{
    return pumit__add_linear(op_normal(g, SHAPE(4, 5)), op_normal(g, SHAPE(4, 3)),
                             op_normal(g, SHAPE(5, 3)), op_normal(g, SHAPE(5)));
}

static pumit_tensor *add_linear_strided(op_graph *g)
{
    return pumit__add_linear(op_strided(g, SHAPE(2, 4, 5)), op_strided(g, SHAPE(2, 4, 3)),
                             op_strided(g, SHAPE(5, 3)), NULL);
}

static pumit_tensor *add_linear_to_itself(op_graph *g)
{
    pumit_tensor *x = op_normal(g, SHAPE(2, 3, 4));
    return pumit__add_linear(x, x, op_normal(g, SHAPE(4, 4)), op_normal(g, SHAPE(4)));
}

OP_CHECK(add_linear, OP_VARIANT(add_linear_matrix), OP_VARIANT(add_linear_strided),
         OP_VARIANT(add_linear_to_itself))

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
