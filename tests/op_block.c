/* SPDX-License-Identifier: Apache-2.0 */
/* Gradient checks of what a transformer's block is made of. */
#include "op_check.h"

/* --------------------------------------------------------------------------------- norm_linears */

#define LAYERS(...)                                                                                \
    PUMIT__COUNT(((pumit_tensor *[]){__VA_ARGS__})), (pumit_tensor *const[])                       \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }

static pumit_tensor *norm_linears_three(op_graph *g)
{
    pumit_tensor *x = op_normal(g, SHAPE(2, 3, 5)), *norm = op_normal(g, SHAPE(5));
    pumit_tensor *a = op_normal(g, SHAPE(4, 5)), *b = op_normal(g, SHAPE(3, 5)),
                 *c = op_normal(g, SHAPE(2, 5));
    pumit_tensor *biases[3] = {op_normal(g, SHAPE(4)), NULL, op_normal(g, SHAPE(2))};
    return pumit__norm_linears(x, norm, op_normal(g, SHAPE(5)), 1e-5, LAYERS(a, b, c), biases);
}

static pumit_tensor *norm_linears_same(op_graph *g)
{
    pumit_tensor *w = op_normal(g, SHAPE(4, 5)), *b = op_normal(g, SHAPE(4));
    pumit_tensor *biases[2] = {b, b}, *norm = op_normal(g, SHAPE(5));
    return pumit__norm_linears(op_normal(g, SHAPE(6, 5)), norm, op_normal(g, SHAPE(5)), 0.1,
                               LAYERS(w, w), biases);
}

static pumit_tensor *norm_linears_one(op_graph *g)
{
    pumit_tensor *x = op_normal(g, SHAPE(9, 17)), *biases[1] = {NULL};
    return pumit__norm_linears(x, op_normal(g, SHAPE(17)), op_normal(g, SHAPE(17)), 1e-5,
                               LAYERS(op_normal(g, SHAPE(8, 17))), biases);
}

static pumit_tensor *norm_linears_strided(op_graph *g)
{
    pumit_tensor *x = op_strided(g, SHAPE(2, 3, 5)), *biases[2] = {NULL, NULL};
    pumit_tensor *a = op_strided(g, SHAPE(2, 5)), *b = op_strided(g, SHAPE(4, 5));
    return pumit__norm_linears(x, op_strided(g, SHAPE(5)), op_strided(g, SHAPE(5)), 1e-5,
                               LAYERS(a, b), biases);
}

OP_CHECK(norm_linears, OP_VARIANT(norm_linears_three), OP_VARIANT(norm_linears_same),
         OP_VARIANT(norm_linears_one), OP_VARIANT(norm_linears_strided))

/* ------------------------------------------------------------------------------- rope_attention */

/* An operand that the operation may overwrite: the result of another. */
static pumit_tensor *operand(op_graph *g, int64_t n, int64_t length, int64_t width)
{
    return pumit__affine(op_normal(g, SHAPE(n, length, width)), 1.0, 0.0);
}

static pumit_tensor *rope_attention_shared(op_graph *g)
{
    return pumit__rope_attention(operand(g, 2, 5, 24), op_constant(g, SHAPE(5, 2)),
                                 op_constant(g, SHAPE(5, 2)), 0, 2, 0.5, NULL);
}

static pumit_tensor *rope_attention_skip(op_graph *g)
{
    return pumit__rope_attention(operand(g, 2, 4, 18), op_constant(g, SHAPE(3, 3)),
                                 op_constant(g, SHAPE(3, 3)), 1, 1, 0.7, NULL);
}

static pumit_tensor *rope_attention_per_sample(op_graph *g)
{
    return pumit__rope_attention(operand(g, 3, 5, 24), op_constant(g, SHAPE(3, 3, 2)),
                                 op_constant(g, SHAPE(3, 3, 2)), 2, 2, 0.5, NULL);
}

static pumit_tensor *rope_attention_strided(op_graph *g)
{
    return pumit__rope_attention(op_strided(g, SHAPE(1, 3, 24)), op_constant(g, SHAPE(2, 2)),
                                 op_constant(g, SHAPE(2, 2)), 1, 2, 0.5, NULL);
}

static pumit_tensor *rope_attention_long(op_graph *g)
{
    return pumit__rope_attention(operand(g, 1, 19, 24), op_constant(g, SHAPE(19, 4)),
                                 op_constant(g, SHAPE(19, 4)), 0, 1, 0.35, NULL);
}

static pumit_tensor *rope_attention_end_to_end(op_graph *g)
{
    pumit_tensor *borders =
        pumit__from_host(g->ctx, PUMIT_I64, (int64_t[]){0, 3, 3, 4, 9}, PUMIT_I64, SHAPE(5));
    return pumit__rope_attention(operand(g, 1, 9, 24), op_constant(g, SHAPE(9, 2)),
                                 op_constant(g, SHAPE(9, 2)), 0, 2, 0.5, borders);
}

OP_CHECK(rope_attention, OP_VARIANT(rope_attention_shared), OP_VARIANT(rope_attention_skip),
         OP_VARIANT(rope_attention_per_sample), OP_VARIANT(rope_attention_strided),
         OP_VARIANT(rope_attention_long), OP_VARIANT(rope_attention_end_to_end))

/* --------------------------------------------------------------------------------- gated_linear */

static pumit_tensor *gated_linear_tokens(op_graph *g)
{
    pumit_tensor *base = op_normal(g, SHAPE(2, 3, 4)), *x = op_normal(g, SHAPE(2, 3, 10));
    pumit_tensor *norm = op_normal(g, SHAPE(5)), *shift = op_normal(g, SHAPE(5));
    pumit_tensor *weight = op_normal(g, SHAPE(4, 5));
    return pumit__gated_linear(base, x, norm, shift, 1e-3, weight, op_normal(g, SHAPE(4)));
}

static pumit_tensor *gated_linear_strided(op_graph *g)
{
    pumit_tensor *base = op_strided(g, SHAPE(6, 3)), *x = op_strided(g, SHAPE(6, 34));
    pumit_tensor *norm = op_strided(g, SHAPE(17)), *weight = op_strided(g, SHAPE(3, 17));
    return pumit__gated_linear(base, x, norm, op_strided(g, SHAPE(17)), 1e-3, weight,
                               op_strided(g, SHAPE(3)));
}

static pumit_tensor *gated_linear_to_itself(op_graph *g)
{
    pumit_tensor *x = op_normal(g, SHAPE(5, 8)), *norm = op_normal(g, SHAPE(4));
    return pumit__gated_linear(x, x, norm, op_normal(g, SHAPE(4)), 0.1, op_normal(g, SHAPE(8, 4)),
                               op_normal(g, SHAPE(8)));
}

OP_CHECK(gated_linear, OP_VARIANT(gated_linear_tokens), OP_VARIANT(gated_linear_strided),
         OP_VARIANT(gated_linear_to_itself))
