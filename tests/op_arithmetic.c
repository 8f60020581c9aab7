/* SPDX-License-Identifier: Apache-2.0 */
/* Gradient checks element by element, of sums, and of distributions over the last axis. */
#include "op_check.h"

/* ------------------------------------------------------------------------------------------ add */

static pumit_tensor *add_same(op_graph *g)
{
    return pumit__add(op_normal(g, SHAPE(3, 4)), op_normal(g, SHAPE(3, 4)));
}

static pumit_tensor *add_leading(op_graph *g)
{
    return pumit__add(op_normal(g, SHAPE(2, 3, 4)), op_normal(g, SHAPE(4)));
}

static pumit_tensor *add_leading_left(op_graph *g)
{
    return pumit__add(op_normal(g, SHAPE(4)), op_normal(g, SHAPE(2, 3, 4)));
}

static pumit_tensor *add_inner(op_graph *g)
{
    return pumit__add(op_normal(g, SHAPE(2, 1, 4)), op_normal(g, SHAPE(2, 3, 1)));
}

static pumit_tensor *add_scalar(op_graph *g)
{
    return pumit__add(op_normal(g, 0, NULL), op_normal(g, SHAPE(3, 2)));
}

static pumit_tensor *add_ones(op_graph *g)
{
    return pumit__add(op_normal(g, SHAPE(1, 1, 3)), op_normal(g, SHAPE(2, 3)));
}

static pumit_tensor *add_strided(op_graph *g)
{
    return pumit__add(op_strided(g, SHAPE(3, 4)), op_strided(g, SHAPE(2, 3, 4)));
}

static pumit_tensor *add_itself(op_graph *g)
{
    pumit_tensor *x = op_normal(g, SHAPE(3, 4));
    return pumit__add(x, x);
}

static pumit_tensor *add_many_times(op_graph *g)
{
    pumit_tensor *x = op_normal(g, SHAPE(3, 4)), *y = pumit__add(x, x);
    return pumit__add(pumit__add(y, x), pumit__add(x, y));
}

OP_CHECK(add, OP_VARIANT(add_same), OP_VARIANT(add_leading), OP_VARIANT(add_leading_left),
         OP_VARIANT(add_inner), OP_VARIANT(add_scalar), OP_VARIANT(add_ones),
         OP_VARIANT(add_strided), OP_VARIANT(add_itself), OP_VARIANT(add_many_times))

/* ------------------------------------------------------------------------------------------ sub */

static pumit_tensor *sub_same(op_graph *g)
{
    return pumit__sub(op_normal(g, SHAPE(3, 4)), op_normal(g, SHAPE(3, 4)));
}

static pumit_tensor *sub_leading(op_graph *g)
{
    return pumit__sub(op_normal(g, SHAPE(2, 3, 4)), op_normal(g, SHAPE(4)));
}

static pumit_tensor *sub_leading_left(op_graph *g)
{
    return pumit__sub(op_normal(g, SHAPE(4)), op_normal(g, SHAPE(2, 3, 4)));
}

static pumit_tensor *sub_inner(op_graph *g)
{
    return pumit__sub(op_normal(g, SHAPE(2, 1, 4)), op_normal(g, SHAPE(2, 3, 1)));
}

static pumit_tensor *sub_scalar(op_graph *g)
{
    return pumit__sub(op_normal(g, 0, NULL), op_normal(g, SHAPE(3, 2)));
}

static pumit_tensor *sub_ones(op_graph *g)
{
    return pumit__sub(op_normal(g, SHAPE(1, 1, 3)), op_normal(g, SHAPE(2, 3)));
}

static pumit_tensor *sub_strided(op_graph *g)
{
    return pumit__sub(op_strided(g, SHAPE(3, 4)), op_strided(g, SHAPE(2, 3, 4)));
}

static pumit_tensor *sub_itself(op_graph *g)
{
    pumit_tensor *x = op_normal(g, SHAPE(3, 4));
    return pumit__sub(pumit__affine(x, 3.0, 0.0), x);
}

OP_CHECK(sub, OP_VARIANT(sub_same), OP_VARIANT(sub_leading), OP_VARIANT(sub_leading_left),
         OP_VARIANT(sub_inner), OP_VARIANT(sub_scalar), OP_VARIANT(sub_ones),
         OP_VARIANT(sub_strided), OP_VARIANT(sub_itself))

/* ------------------------------------------------------------------------------------------ mul */

static pumit_tensor *mul_same(op_graph *g)
{
    return pumit__mul(op_normal(g, SHAPE(3, 4)), op_normal(g, SHAPE(3, 4)));
}

static pumit_tensor *mul_leading(op_graph *g)
{
    return pumit__mul(op_normal(g, SHAPE(2, 3, 4)), op_normal(g, SHAPE(4)));
}

static pumit_tensor *mul_leading_left(op_graph *g)
{
    return pumit__mul(op_normal(g, SHAPE(4)), op_normal(g, SHAPE(2, 3, 4)));
}

static pumit_tensor *mul_inner(op_graph *g)
{
    return pumit__mul(op_normal(g, SHAPE(2, 1, 4)), op_normal(g, SHAPE(2, 3, 1)));
}

static pumit_tensor *mul_scalar(op_graph *g)
{
    return pumit__mul(op_normal(g, 0, NULL), op_normal(g, SHAPE(3, 2)));
}

static pumit_tensor *mul_ones(op_graph *g)
{
    return pumit__mul(op_normal(g, SHAPE(1, 1, 3)), op_normal(g, SHAPE(2, 3)));
}

static pumit_tensor *mul_strided(op_graph *g)
{
    return pumit__mul(op_strided(g, SHAPE(3, 4)), op_strided(g, SHAPE(2, 3, 4)));
}

static pumit_tensor *mul_itself(op_graph *g)
{
    pumit_tensor *x = op_normal(g, SHAPE(3, 4));
    return pumit__mul(x, x);
}

static pumit_tensor *mul_by_own_transpose(op_graph *g)
{
    pumit_tensor *x = op_normal(g, SHAPE(4, 4));
    return pumit__mul(x, pumit__permute(x, (int32_t[]){1, 0}));
}

static pumit_tensor *mul_by_own_row(op_graph *g)
{
    pumit_tensor *x = op_normal(g, SHAPE(3, 4));
    return pumit__mul(x, pumit__slice(x, 0, 1, 1));
}

static pumit_tensor *mul_cube(op_graph *g)
{
    pumit_tensor *x = op_normal(g, SHAPE(3, 4));
    return pumit__mul(pumit__mul(x, x), x);
}

OP_CHECK(mul, OP_VARIANT(mul_same), OP_VARIANT(mul_leading), OP_VARIANT(mul_leading_left),
         OP_VARIANT(mul_inner), OP_VARIANT(mul_scalar), OP_VARIANT(mul_ones),
         OP_VARIANT(mul_strided), OP_VARIANT(mul_itself), OP_VARIANT(mul_by_own_transpose),
         OP_VARIANT(mul_by_own_row), OP_VARIANT(mul_cube))

/* --------------------------------------------------------------------------------------- affine */

static pumit_tensor *affine_packed(op_graph *g)
{
    return pumit__affine(op_normal(g, SHAPE(5, 7)), -1.5, 0.25);
}

static pumit_tensor *affine_strided(op_graph *g)
{
    return pumit__affine(op_strided(g, SHAPE(3, 4, 3)), -1.5, 0.25);
}

static pumit_tensor *affine_scalar(op_graph *g)
{
    return pumit__affine(op_normal(g, 0, NULL), -1.5, 0.25);
}

OP_CHECK(affine, OP_VARIANT(affine_packed), OP_VARIANT(affine_strided), OP_VARIANT(affine_scalar))

/* ----------------------------------------------------------------------------------------- gelu */

static pumit_tensor *gelu_packed(op_graph *g)
{
    return pumit__gelu(op_normal(g, SHAPE(5, 7)));
}

static pumit_tensor *gelu_strided(op_graph *g)
{
    return pumit__gelu(op_strided(g, SHAPE(3, 4, 3)));
}

static pumit_tensor *gelu_scalar(op_graph *g)
{
    return pumit__gelu(op_normal(g, 0, NULL));
}

OP_CHECK(gelu, OP_VARIANT(gelu_packed), OP_VARIANT(gelu_strided), OP_VARIANT(gelu_scalar))

/* ----------------------------------------------------------------------------------- leaky_relu */

static pumit_tensor *leaky_relu_packed(op_graph *g)
{
    return pumit__leaky_relu(op_normal(g, SHAPE(5, 7)), 0.2);
}

static pumit_tensor *leaky_relu_strided(op_graph *g)
{
    return pumit__leaky_relu(op_strided(g, SHAPE(3, 4, 3)), 0.2);
}

static pumit_tensor *leaky_relu_scalar(op_graph *g)
{
    return pumit__leaky_relu(op_normal(g, 0, NULL), 0.2);
}

OP_CHECK(leaky_relu, OP_VARIANT(leaky_relu_packed), OP_VARIANT(leaky_relu_strided),
         OP_VARIANT(leaky_relu_scalar))

/* ------------------------------------------------------------------------------------- absolute */

static pumit_tensor *absolute_packed(op_graph *g)
{
    return pumit__absolute(op_normal(g, SHAPE(5, 7)));
}

static pumit_tensor *absolute_strided(op_graph *g)
{
    return pumit__absolute(op_strided(g, SHAPE(3, 4, 3)));
}

static pumit_tensor *absolute_scalar(op_graph *g)
{
    return pumit__absolute(op_normal(g, 0, NULL));
}

OP_CHECK(absolute, OP_VARIANT(absolute_packed), OP_VARIANT(absolute_strided),
         OP_VARIANT(absolute_scalar))

/* ---------------------------------------------------------------------------------------- xlogx */

static pumit_tensor *xlogx_packed(op_graph *g)
{
    return pumit__xlogx(op_positive(g, SHAPE(5, 7)));
}

static pumit_tensor *xlogx_strided(op_graph *g)
{
    return pumit__xlogx(pumit__permute(op_positive(g, SHAPE(4, 3)), (int32_t[]){1, 0}));
}

static pumit_tensor *xlogx_scalar(op_graph *g)
{
    return pumit__xlogx(op_positive(g, 0, NULL));
}

OP_CHECK(xlogx, OP_VARIANT(xlogx_packed), OP_VARIANT(xlogx_strided), OP_VARIANT(xlogx_scalar))

/* ------------------------------------------------------------------------------------------ sum */

static pumit_tensor *sum_all(op_graph *g)
{
    return pumit__sum(op_normal(g, SHAPE(3, 4, 2)), 7, 1.0);
}

static pumit_tensor *sum_first(op_graph *g)
{
    return pumit__sum(op_normal(g, SHAPE(3, 4, 2)), 1, 0.5);
}

static pumit_tensor *sum_last(op_graph *g)
{
    return pumit__sum(op_normal(g, SHAPE(3, 4, 2)), 4, 1.0);
}

static pumit_tensor *sum_outer(op_graph *g)
{
    return pumit__sum(op_normal(g, SHAPE(3, 4, 2)), 5, -2.0);
}

static pumit_tensor *sum_nothing(op_graph *g)
{
    return pumit__sum(op_normal(g, SHAPE(3, 4)), 0, 2.0);
}

static pumit_tensor *sum_strided(op_graph *g)
{
    return pumit__sum(op_strided(g, SHAPE(3, 4, 2)), 2, 1.0);
}

static pumit_tensor *sum_expanded(op_graph *g)
{
    return pumit__sum(pumit__expand(op_normal(g, SHAPE(3, 1)), SHAPE(2, 3, 4)), 1, 1.0);
}

static pumit_tensor *sum_used_twice(op_graph *g)
{
    pumit_tensor *x = op_normal(g, SHAPE(3, 4));
    return pumit__mul(x, pumit__sum(x, 1, 0.25));
}

static pumit_tensor *sum_mean(op_graph *g)
{
    return pumit__mul(pumit__mean(op_normal(g, SHAPE(3, 4))), op_normal(g, SHAPE(2)));
}

OP_CHECK(sum, OP_VARIANT(sum_all), OP_VARIANT(sum_first), OP_VARIANT(sum_last),
         OP_VARIANT(sum_outer), OP_VARIANT(sum_nothing), OP_VARIANT(sum_strided),
         OP_VARIANT(sum_expanded), OP_VARIANT(sum_used_twice), OP_VARIANT(sum_mean))

/* -------------------------------------------------------------------------------------- softmax */

static pumit_tensor *softmax_matrix(op_graph *g)
{
    return pumit__softmax(op_normal(g, SHAPE(3, 5)));
}

static pumit_tensor *softmax_vector(op_graph *g)
{
    return pumit__softmax(op_normal(g, SHAPE(7)));
}

static pumit_tensor *softmax_volume(op_graph *g)
{
    return pumit__softmax(op_normal(g, SHAPE(2, 2, 3, 4)));
}

static pumit_tensor *softmax_wide(op_graph *g)
{
    return pumit__softmax(op_normal(g, SHAPE(2, 67)));
}

static pumit_tensor *softmax_strided(op_graph *g)
{
    return pumit__softmax(op_strided(g, SHAPE(3, 2, 4)));
}

OP_CHECK(softmax, OP_VARIANT(softmax_matrix), OP_VARIANT(softmax_vector),
         OP_VARIANT(softmax_volume), OP_VARIANT(softmax_wide), OP_VARIANT(softmax_strided))

/* -------------------------------------------------------------------------------------- entropy */

static pumit_tensor *entropy_matrix(op_graph *g)
{
    return pumit__entropy(op_normal(g, SHAPE(3, 5)));
}

static pumit_tensor *entropy_vector(op_graph *g)
{
    return pumit__entropy(op_normal(g, SHAPE(6)));
}

static pumit_tensor *entropy_wide(op_graph *g)
{
    return pumit__entropy(op_normal(g, SHAPE(2, 67)));
}

static pumit_tensor *entropy_strided(op_graph *g)
{
    return pumit__entropy(op_strided(g, SHAPE(3, 2, 4)));
}

OP_CHECK(entropy, OP_VARIANT(entropy_matrix), OP_VARIANT(entropy_vector), OP_VARIANT(entropy_wide),
         OP_VARIANT(entropy_strided))

/* -------------------------------------------------------------------------------- cross_entropy */

static pumit_tensor *cross_entropy_matrix(op_graph *g)
{
    return pumit__cross_entropy(op_normal(g, SHAPE(3, 5)),
                                pumit__softmax(op_constant(g, SHAPE(3, 5))));
}

static pumit_tensor *cross_entropy_any_target(op_graph *g)
{
    return pumit__cross_entropy(op_normal(g, SHAPE(2, 2, 4)), op_constant(g, SHAPE(2, 2, 4)));
}

static pumit_tensor *cross_entropy_wide(op_graph *g)
{
    return pumit__cross_entropy(op_normal(g, SHAPE(2, 67)),
                                pumit__softmax(op_constant(g, SHAPE(2, 67))));
}

static pumit_tensor *cross_entropy_strided(op_graph *g)
{
    pumit_tensor *target = pumit__permute(op_constant(g, SHAPE(4, 2, 3)), (int32_t[]){2, 1, 0});
    return pumit__cross_entropy(op_strided(g, SHAPE(3, 2, 4)), target);
}

OP_CHECK(cross_entropy, OP_VARIANT(cross_entropy_matrix), OP_VARIANT(cross_entropy_any_target),
         OP_VARIANT(cross_entropy_wide), OP_VARIANT(cross_entropy_strided))
