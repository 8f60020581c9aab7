/* SPDX-License-Identifier: Apache-2.0 */
/* Gradient checks of silu, square roots, quotients, and gradients past choices. */
#include "op_check.h"

/* ----------------------------------------------------------------------------------------- silu */

static pumit_tensor *silu_packed(op_graph *g)
{
    return pumit__silu(op_normal(g, SHAPE(5, 7)));
}

static pumit_tensor *silu_strided(op_graph *g)
{
    return pumit__silu(op_strided(g, SHAPE(3, 4, 3)));
}

static pumit_tensor *silu_scalar(op_graph *g)
{
    return pumit__silu(op_normal(g, 0, NULL));
}

OP_CHECK(silu, OP_VARIANT(silu_packed), OP_VARIANT(silu_strided), OP_VARIANT(silu_scalar))

/* ---------------------------------------------------------------------------------- square_root */

static pumit_tensor *root_packed(op_graph *g)
{
    return pumit__square_root(op_positive(g, SHAPE(5, 7)));
}

static pumit_tensor *root_strided(op_graph *g)
{
    return pumit__square_root(pumit__permute(op_positive(g, SHAPE(3, 4, 3)), (int32_t[]){2, 0, 1}));
}

static pumit_tensor *root_of_squares(op_graph *g)
{
    pumit_tensor *x = op_normal(g, SHAPE(3, 4));
    return pumit__square_root(pumit__sum(pumit__mul(x, x), 2, 1.0));
}

OP_CHECK(square_root, OP_VARIANT(root_packed), OP_VARIANT(root_strided),
         OP_VARIANT(root_of_squares))

/* ------------------------------------------------------------------------------------------ div */

static pumit_tensor *div_same(op_graph *g)
{
    return pumit__div(op_normal(g, SHAPE(3, 4)), op_positive(g, SHAPE(3, 4)));
}

static pumit_tensor *div_leading(op_graph *g)
{
    return pumit__div(op_normal(g, SHAPE(2, 3, 4)), op_positive(g, SHAPE(4)));
}

static pumit_tensor *div_leading_left(op_graph *g)
{
    return pumit__div(op_normal(g, SHAPE(4)), op_positive(g, SHAPE(2, 3, 4)));
}

static pumit_tensor *div_inner(op_graph *g)
{
    return pumit__div(op_normal(g, SHAPE(2, 1, 4)), op_positive(g, SHAPE(2, 3, 1)));
}

static pumit_tensor *div_scalar(op_graph *g)
{
    return pumit__div(op_normal(g, 0, NULL), op_positive(g, SHAPE(3, 2)));
}

static pumit_tensor *div_by_scalar(op_graph *g)
{
    return pumit__div(op_strided(g, SHAPE(3, 4)), op_positive(g, 0, NULL));
}

static pumit_tensor *div_by_negative(op_graph *g)
{
    return pumit__div(op_strided(g, SHAPE(3, 4)),
                      pumit__affine(op_positive(g, SHAPE(3, 4)), -1.0, -0.5));
}

/* Rows of length one, as features are compared. */
static pumit_tensor *div_by_own_norm(op_graph *g)
{
    pumit_tensor *x = op_normal(g, SHAPE(3, 4));
    pumit_tensor *norm = pumit__square_root(pumit__sum(pumit__mul(x, x), 2, 1.0));
    return pumit__div(x, pumit__reshape(pumit__affine(norm, 1.0, 1e-10), SHAPE(3, 1)));
}

OP_CHECK(div, OP_VARIANT(div_same), OP_VARIANT(div_leading), OP_VARIANT(div_leading_left),
         OP_VARIANT(div_inner), OP_VARIANT(div_scalar), OP_VARIANT(div_by_scalar),
         OP_VARIANT(div_by_negative), OP_VARIANT(div_by_own_norm))

/* ----------------------------------------------------------------------------- straight_through */

/* Values that move as x does, so that differences see what the gradient says. */
static pumit_tensor *through_detached(op_graph *g)
{
    pumit_tensor *x = op_normal(g, SHAPE(3, 4));
    return pumit__straight_through(pumit__affine(pumit__detach(x), 1.0, 2.0), x);
}

/* Were the value's gradient followed too, it would be twice as large. */
static pumit_tensor *through_recorded(op_graph *g)
{
    pumit_tensor *x = op_normal(g, SHAPE(3, 4));
    return pumit__straight_through(pumit__affine(x, 1.0, 2.0), x);
}

static pumit_tensor *through_function(op_graph *g)
{
    pumit_tensor *x = op_strided(g, SHAPE(3, 4, 2));
    return pumit__gelu(pumit__straight_through(pumit__gelu(pumit__detach(x)), pumit__gelu(x)));
}

/* Which row is chosen does not move with the logits; the chosen rows do. */
static pumit_tensor *through_choice(op_graph *g)
{
    pumit_tensor *chosen = pumit__one_hot(pumit__argmax(op_constant(g, SHAPE(2, 5, 3))), 3);
    pumit_tensor *trained = pumit__matmul(chosen, op_normal(g, SHAPE(3, 4)));
    pumit_tensor *fixed = pumit__matmul(chosen, op_constant(g, SHAPE(3, 4)));
    pumit_tensor *x = op_normal(g, SHAPE(2, 5, 4));
    pumit_tensor *moved = pumit__add(pumit__detach(x), fixed);
    return pumit__mul(pumit__straight_through(moved, x), trained);
}

OP_CHECK(straight_through, OP_VARIANT(through_detached), OP_VARIANT(through_recorded),
         OP_VARIANT(through_function), OP_VARIANT(through_choice))
