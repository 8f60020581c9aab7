/* SPDX-License-Identifier: Apache-2.0 */
/* Gradient checks of what moves values without changing them, and of sums of neighbours. */
#include "op_check.h"

/* -------------------------------------------------------------------------------------- reshape */

static pumit_tensor *reshape_packed(op_graph *g)
{
    return pumit__reshape(op_normal(g, SHAPE(2, 3, 4)), SHAPE(6, 4));
}

static pumit_tensor *reshape_strided(op_graph *g)
{
    return pumit__reshape(op_strided(g, SHAPE(2, 3, 4)), SHAPE(4, 1, 6));
}

static pumit_tensor *reshape_to_scalar(op_graph *g)
{
    return pumit__reshape(op_normal(g, SHAPE(1, 1)), 0, NULL);
}

static pumit_tensor *reshape_to_eight(op_graph *g)
{
    return pumit__reshape(op_normal(g, SHAPE(8, 3)), SHAPE(1, 2, 1, 2, 3, 1, 2, 1));
}

OP_CHECK(reshape, OP_VARIANT(reshape_packed), OP_VARIANT(reshape_strided),
         OP_VARIANT(reshape_to_scalar), OP_VARIANT(reshape_to_eight))

/* -------------------------------------------------------------------------------------- permute */

static pumit_tensor *permute_three(op_graph *g)
{
    return pumit__permute(op_normal(g, SHAPE(2, 3, 4)), (int32_t[]){2, 0, 1});
}

static pumit_tensor *permute_twice(op_graph *g)
{
    return pumit__permute(pumit__permute(op_normal(g, SHAPE(2, 3, 4)), (int32_t[]){1, 2, 0}),
                          (int32_t[]){1, 0, 2});
}

static pumit_tensor *permute_strided(op_graph *g)
{
    return pumit__permute(op_strided(g, SHAPE(2, 3, 4, 2)), (int32_t[]){3, 1, 0, 2});
}

OP_CHECK(permute, OP_VARIANT(permute_three), OP_VARIANT(permute_twice), OP_VARIANT(permute_strided))

/* ---------------------------------------------------------------------------------------- slice */

static pumit_tensor *slice_inner(op_graph *g)
{
    return pumit__slice(op_normal(g, SHAPE(3, 4, 2)), 1, 1, 3);
}

static pumit_tensor *slice_all(op_graph *g)
{
    return pumit__slice(op_normal(g, SHAPE(3, 4)), 0, 0, 3);
}

static pumit_tensor *slice_of_slice(op_graph *g)
{
    return pumit__slice(pumit__slice(pumit__slice(op_normal(g, SHAPE(4, 5, 3)), 1, 1, 4), 0, 0, 3),
                        1, 1, 3);
}

static pumit_tensor *slice_strided(op_graph *g)
{
    return pumit__gelu(pumit__slice(op_strided(g, SHAPE(3, 4, 2)), 1, 0, 3));
}

static pumit_tensor *slices_that_overlap(op_graph *g)
{
    pumit_tensor *x = op_normal(g, SHAPE(3, 6));
    return pumit__mul(pumit__slice(x, 1, 0, 4), pumit__slice(x, 1, 2, 4));
}

static pumit_tensor *slice_and_whole(op_graph *g)
{
    pumit_tensor *x = op_normal(g, SHAPE(4, 3));
    return pumit__add(pumit__mul(x, x), pumit__slice(x, 0, 2, 1));
}

OP_CHECK(slice, OP_VARIANT(slice_inner), OP_VARIANT(slice_all), OP_VARIANT(slice_of_slice),
         OP_VARIANT(slice_strided), OP_VARIANT(slices_that_overlap), OP_VARIANT(slice_and_whole))

/* --------------------------------------------------------------------------------------- expand */

static pumit_tensor *expand_leading(op_graph *g)
{
    return pumit__expand(op_normal(g, SHAPE(3, 2)), SHAPE(4, 3, 2));
}

static pumit_tensor *expand_inner(op_graph *g)
{
    return pumit__expand(op_normal(g, SHAPE(3, 1, 2)), SHAPE(3, 4, 2));
}

static pumit_tensor *expand_both(op_graph *g)
{
    return pumit__expand(op_normal(g, SHAPE(3, 1)), SHAPE(2, 3, 4));
}

static pumit_tensor *expand_scalar(op_graph *g)
{
    return pumit__expand(op_normal(g, 0, NULL), SHAPE(2, 3));
}

static pumit_tensor *expand_nothing(op_graph *g)
{
    return pumit__expand(op_normal(g, SHAPE(2, 3)), SHAPE(2, 3));
}

static pumit_tensor *expand_strided(op_graph *g)
{
    return pumit__gelu(pumit__expand(op_strided(g, SHAPE(3, 1, 2)), SHAPE(2, 3, 3, 2)));
}

OP_CHECK(expand, OP_VARIANT(expand_leading), OP_VARIANT(expand_inner), OP_VARIANT(expand_both),
         OP_VARIANT(expand_scalar), OP_VARIANT(expand_nothing), OP_VARIANT(expand_strided))

/* ----------------------------------------------------------------------------------- contiguous */

static pumit_tensor *contiguous_packed(op_graph *g)
{
    return pumit__contiguous(op_normal(g, SHAPE(2, 3)));
}

static pumit_tensor *contiguous_strided(op_graph *g)
{
    return pumit__contiguous(op_strided(g, SHAPE(2, 3, 4)));
}

static pumit_tensor *contiguous_expanded(op_graph *g)
{
    return pumit__contiguous(pumit__expand(op_normal(g, SHAPE(3, 1)), SHAPE(2, 3, 4)));
}

OP_CHECK(contiguous, OP_VARIANT(contiguous_packed), OP_VARIANT(contiguous_strided),
         OP_VARIANT(contiguous_expanded))

/* --------------------------------------------------------------------------------------- concat */

static pumit_tensor *concat_first(op_graph *g)
{
    return pumit__concat(op_normal(g, SHAPE(1, 3)), op_normal(g, SHAPE(2, 3)), 0);
}

static pumit_tensor *concat_middle(op_graph *g)
{
    return pumit__concat(op_normal(g, SHAPE(2, 1, 3)), op_normal(g, SHAPE(2, 4, 3)), 1);
}

static pumit_tensor *concat_last(op_graph *g)
{
    return pumit__concat(op_normal(g, SHAPE(2, 3)), op_normal(g, SHAPE(2, 2)), 1);
}

static pumit_tensor *concat_strided(op_graph *g)
{
    return pumit__concat(op_strided(g, SHAPE(2, 3, 2)), op_strided(g, SHAPE(2, 2, 2)), 1);
}

static pumit_tensor *concat_with_itself(op_graph *g)
{
    pumit_tensor *x = op_normal(g, SHAPE(2, 3));
    return pumit__concat(x, x, 0);
}

OP_CHECK(concat, OP_VARIANT(concat_first), OP_VARIANT(concat_middle), OP_VARIANT(concat_last),
         OP_VARIANT(concat_strided), OP_VARIANT(concat_with_itself))

/* ----------------------------------------------------------------------------------- pool_depth */

static pumit_tensor *pool_to_one(op_graph *g)
{
    return pumit__pool_depth(op_normal(g, SHAPE(2, 4, 2, 2, 3)), 1, 1, NULL);
}

static pumit_tensor *pool_to_two(op_graph *g)
{
    return pumit__pool_depth(op_normal(g, SHAPE(2, 4, 2, 2, 3)), 1, 2, NULL);
}

static pumit_tensor *pool_nothing(op_graph *g)
{
    return pumit__pool_depth(op_normal(g, SHAPE(2, 4, 3)), 1, 4, NULL);
}

static pumit_tensor *pool_strided(op_graph *g)
{
    return pumit__pool_depth(op_strided(g, SHAPE(2, 6, 3)), 1, 2, NULL);
}

static pumit_tensor *pool_cached(op_graph *g)
{
    pumit_tensor *x = op_normal(g, SHAPE(2, 4, 3));
    pumit_tensor *cached = pumit__detach(pumit__pool_depth(x, 1, 2, NULL));
    return pumit__pool_depth(x, 1, 2, cached);
}

static pumit_tensor *pool_twice(op_graph *g)
{
    /* the gradient of the second is added to that of the first */
    pumit_tensor *x = op_normal(g, SHAPE(2, 4, 3));
    return pumit__mul(pumit__pool_depth(x, 1, 2, NULL), pumit__pool_depth(x, 1, 1, NULL));
}

OP_CHECK(pool_depth, OP_VARIANT(pool_to_one), OP_VARIANT(pool_to_two), OP_VARIANT(pool_nothing),
         OP_VARIANT(pool_strided), OP_VARIANT(pool_cached), OP_VARIANT(pool_twice))

/* ---------------------------------------------------------------------------------- gather_rows */

static pumit_tensor *gather_some(op_graph *g)
{
    return pumit__gather_rows(op_normal(g, SHAPE(2, 5, 3)), op_index(g, 2, 3, 5));
}

static pumit_tensor *gather_all(op_graph *g)
{
    return pumit__gather_rows(op_normal(g, SHAPE(2, 4, 3)), op_index(g, 2, 4, 4));
}

static pumit_tensor *gather_strided(op_graph *g)
{
    return pumit__gather_rows(op_strided(g, SHAPE(2, 5, 3)), op_index(g, 2, 4, 5));
}

static pumit_tensor *gather_twice(op_graph *g)
{
    /* the slice is younger: the gathered rows are added to its gradient */
    pumit_tensor *x = op_normal(g, SHAPE(2, 4, 3));
    pumit_tensor *rows = pumit__gather_rows(x, op_index(g, 2, 3, 4));
    return pumit__mul(rows, pumit__slice(x, 1, 0, 3));
}

OP_CHECK(gather_rows, OP_VARIANT(gather_some), OP_VARIANT(gather_all), OP_VARIANT(gather_strided),
         OP_VARIANT(gather_twice))

/* --------------------------------------------------------------------------------- scatter_rows */

static pumit_tensor *scatter_some(op_graph *g)
{
    return pumit__scatter_rows(op_normal(g, SHAPE(2, 5, 3)), op_index(g, 2, 2, 5),
                               op_normal(g, SHAPE(2, 2, 3)));
}

static pumit_tensor *scatter_strided(op_graph *g)
{
    return pumit__scatter_rows(op_strided(g, SHAPE(2, 5, 3)), op_index(g, 2, 2, 5),
                               op_strided(g, SHAPE(2, 2, 3)));
}

static pumit_tensor *scatter_on_expanded(op_graph *g)
{
    pumit_tensor *base = pumit__expand(op_normal(g, SHAPE(1, 1, 3)), SHAPE(2, 5, 3));
    return pumit__scatter_rows(base, op_index(g, 2, 2, 5), op_normal(g, SHAPE(2, 2, 3)));
}

static pumit_tensor *scatter_gathered(op_graph *g)
{
    pumit_tensor *x = op_normal(g, SHAPE(2, 4, 3));
    return pumit__mul(pumit__scatter_rows(x, op_index(g, 2, 2, 4), pumit__slice(x, 1, 1, 2)), x);
}

OP_CHECK(scatter_rows, OP_VARIANT(scatter_some), OP_VARIANT(scatter_strided),
         OP_VARIANT(scatter_on_expanded), OP_VARIANT(scatter_gathered))
