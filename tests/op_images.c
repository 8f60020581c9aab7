/* SPDX-License-Identifier: Apache-2.0 */
/* Gradient checks of convolutions, resampling and pooling. */
#include "op_check.h"

/* ----------------------------------------------------------------------------------------- conv */

static pumit_tensor *conv_usual(op_graph *g)
{
    return pumit__conv(op_normal(g, SHAPE(1, 3, 3, 4, 2)), op_normal(g, SHAPE(3, 3, 3, 3, 2)),
                       op_normal(g, SHAPE(3)), (int64_t[]){1, 1, 1}, (int64_t[]){1, 1, 1});
}

static pumit_tensor *conv_strided_twice(op_graph *g)
{
    return pumit__conv(op_normal(g, SHAPE(1, 4, 5, 6, 2)), op_normal(g, SHAPE(2, 3, 3, 3, 2)),
                       op_normal(g, SHAPE(2)), (int64_t[]){2, 2, 2}, (int64_t[]){1, 1, 1});
}

static pumit_tensor *conv_without_bias(op_graph *g)
{
    return pumit__conv(op_normal(g, SHAPE(2, 2, 3, 3, 2)), op_normal(g, SHAPE(2, 3, 3, 3, 2)), NULL,
                       (int64_t[]){1, 1, 1}, (int64_t[]){1, 1, 1});
}

static pumit_tensor *conv_flat(op_graph *g)
{
    return pumit__conv(op_normal(g, SHAPE(1, 3, 5, 5, 2)), op_normal(g, SHAPE(2, 1, 3, 3, 2)),
                       op_normal(g, SHAPE(2)), (int64_t[]){1, 2, 2}, (int64_t[]){0, 1, 1});
}

static pumit_tensor *conv_points(op_graph *g)
{
    return pumit__conv(op_normal(g, SHAPE(2, 2, 3, 2, 3)), op_normal(g, SHAPE(4, 1, 1, 1, 3)),
                       op_normal(g, SHAPE(4)), (int64_t[]){1, 1, 1}, (int64_t[]){0, 0, 0});
}

static pumit_tensor *conv_no_padding(op_graph *g)
{
    return pumit__conv(op_normal(g, SHAPE(1, 3, 4, 4, 2)), op_normal(g, SHAPE(2, 2, 3, 2, 2)),
                       op_normal(g, SHAPE(2)), (int64_t[]){1, 1, 1}, (int64_t[]){0, 0, 0});
}

static pumit_tensor *conv_uneven(op_graph *g)
{
    return pumit__conv(op_normal(g, SHAPE(1, 4, 5, 7, 1)), op_normal(g, SHAPE(2, 3, 2, 3, 1)),
                       op_normal(g, SHAPE(2)), (int64_t[]){2, 1, 3}, (int64_t[]){1, 0, 2});
}

static pumit_tensor *conv_patches(op_graph *g)
{
    return pumit__conv(op_normal(g, SHAPE(1, 4, 4, 2, 2)), op_normal(g, SHAPE(3, 2, 2, 2, 2)),
                       op_normal(g, SHAPE(3)), (int64_t[]){2, 2, 2}, (int64_t[]){0, 0, 0});
}

static pumit_tensor *conv_patches_with_remainder(op_graph *g)
{
    return pumit__conv(op_normal(g, SHAPE(2, 2, 5, 7, 1)), op_normal(g, SHAPE(3, 2, 2, 2, 1)),
                       op_normal(g, SHAPE(3)), (int64_t[]){2, 2, 2}, (int64_t[]){0, 0, 0});
}

static pumit_tensor *conv_flat_patches(op_graph *g)
{
    return pumit__conv(op_normal(g, SHAPE(1, 2, 4, 5, 2)), op_normal(g, SHAPE(3, 1, 2, 2, 2)), NULL,
                       (int64_t[]){1, 2, 2}, (int64_t[]){0, 0, 0});
}

static pumit_tensor *conv_strided(op_graph *g)
{
    return pumit__conv(op_strided(g, SHAPE(2, 3, 3, 3, 2)), op_strided(g, SHAPE(2, 3, 3, 3, 2)),
                       op_strided(g, SHAPE(2)), (int64_t[]){1, 1, 1}, (int64_t[]){1, 1, 1});
}

static pumit_tensor *conv_strided_patches(op_graph *g)
{
    return pumit__conv(op_strided(g, SHAPE(1, 2, 4, 4, 2)), op_strided(g, SHAPE(3, 2, 2, 2, 2)),
                       op_strided(g, SHAPE(3)), (int64_t[]){2, 2, 2}, (int64_t[]){0, 0, 0});
}

static pumit_tensor *conv_pooled_weights(op_graph *g)
{
    pumit_tensor *weight = pumit__pool_depth(op_normal(g, SHAPE(2, 3, 3, 3, 2)), 1, 1, NULL);
    return pumit__conv(op_normal(g, SHAPE(1, 2, 4, 4, 2)), weight, op_normal(g, SHAPE(2)),
                       (int64_t[]){1, 1, 1}, (int64_t[]){0, 1, 1});
}

static pumit_tensor *conv_pooled_patches(op_graph *g)
{
    pumit_tensor *weight = pumit__pool_depth(op_normal(g, SHAPE(2, 4, 2, 2, 2)), 1, 2, NULL);
    return pumit__conv(op_normal(g, SHAPE(1, 4, 4, 4, 2)), weight, op_normal(g, SHAPE(2)),
                       (int64_t[]){2, 2, 2}, (int64_t[]){0, 0, 0});
}

static pumit_tensor *conv_many_channels(op_graph *g)
{
    return pumit__conv(op_normal(g, SHAPE(1, 2, 3, 3, 16)), op_normal(g, SHAPE(16, 3, 3, 3, 16)),
                       op_normal(g, SHAPE(16)), (int64_t[]){1, 1, 1}, (int64_t[]){1, 1, 1});
}

/* Halves all axes without looking beyond the edges in depth. */
static pumit_tensor *conv_down(op_graph *g)
{
    return pumit__conv(op_normal(g, SHAPE(1, 4, 3, 4, 2)), op_normal(g, SHAPE(2, 2, 3, 3, 2)),
                       op_normal(g, SHAPE(2)), (int64_t[]){2, 2, 2}, (int64_t[]){0, 1, 1});
}

static pumit_tensor *conv_down_pooled(op_graph *g)
{
    pumit_tensor *weight = pumit__pool_depth(op_normal(g, SHAPE(2, 2, 3, 3, 2)), 1, 1, NULL);
    return pumit__conv(op_normal(g, SHAPE(1, 3, 4, 5, 2)), weight, op_normal(g, SHAPE(2)),
                       (int64_t[]){1, 2, 2}, (int64_t[]){0, 1, 1});
}

OP_CHECK(conv, OP_VARIANT(conv_down), OP_VARIANT(conv_down_pooled), OP_VARIANT(conv_usual),
         OP_VARIANT(conv_strided_twice), OP_VARIANT(conv_without_bias), OP_VARIANT(conv_flat),
         OP_VARIANT(conv_points), OP_VARIANT(conv_no_padding), OP_VARIANT(conv_uneven),
         OP_VARIANT(conv_patches), OP_VARIANT(conv_patches_with_remainder),
         OP_VARIANT(conv_flat_patches), OP_VARIANT(conv_strided), OP_VARIANT(conv_strided_patches),
         OP_VARIANT(conv_pooled_weights), OP_VARIANT(conv_pooled_patches),
         OP_VARIANT(conv_many_channels))

/* ------------------------------------------------------------------------------- conv_transpose */

static pumit_tensor *transpose_by_two(op_graph *g)
{
    return pumit__conv_transpose(op_normal(g, SHAPE(1, 2, 3, 2, 3)),
                                 op_normal(g, SHAPE(3, 2, 2, 2, 2)), op_normal(g, SHAPE(2)));
}

static pumit_tensor *transpose_flat(op_graph *g)
{
    return pumit__conv_transpose(op_normal(g, SHAPE(2, 2, 2, 3, 2)),
                                 op_normal(g, SHAPE(2, 1, 2, 2, 3)), op_normal(g, SHAPE(3)));
}

static pumit_tensor *transpose_points(op_graph *g)
{
    return pumit__conv_transpose(op_normal(g, SHAPE(1, 2, 2, 2, 3)),
                                 op_normal(g, SHAPE(3, 1, 1, 1, 2)), op_normal(g, SHAPE(2)));
}

static pumit_tensor *transpose_without_bias(op_graph *g)
{
    return pumit__conv_transpose(op_normal(g, SHAPE(1, 1, 2, 2, 2)),
                                 op_normal(g, SHAPE(2, 2, 4, 4, 1)), NULL);
}

static pumit_tensor *transpose_strided(op_graph *g)
{
    return pumit__conv_transpose(op_strided(g, SHAPE(1, 2, 2, 2, 3)),
                                 op_strided(g, SHAPE(3, 2, 2, 2, 2)), op_strided(g, SHAPE(2)));
}

static pumit_tensor *transpose_pooled(op_graph *g)
{
    pumit_tensor *weight = pumit__pool_depth(op_normal(g, SHAPE(2, 4, 2, 2, 2)), 1, 2, NULL);
    return pumit__conv_transpose(op_normal(g, SHAPE(1, 2, 2, 2, 2)), weight,
                                 op_normal(g, SHAPE(2)));
}

OP_CHECK(conv_transpose, OP_VARIANT(transpose_by_two), OP_VARIANT(transpose_flat),
         OP_VARIANT(transpose_points), OP_VARIANT(transpose_without_bias),
         OP_VARIANT(transpose_strided), OP_VARIANT(transpose_pooled))

/* ------------------------------------------------------------------------------------- resample */

static pumit_tensor *area_down(op_graph *g)
{
    return pumit__resample(op_normal(g, SHAPE(1, 4, 6, 4, 2)), (int64_t[]){2, 3, 2},
                           PUMIT_RESAMPLE_AREA);
}

static pumit_tensor *area_uneven(op_graph *g)
{
    return pumit__resample(op_normal(g, SHAPE(2, 3, 5, 7, 1)), (int64_t[]){2, 3, 4},
                           PUMIT_RESAMPLE_AREA);
}

static pumit_tensor *area_up(op_graph *g)
{
    return pumit__resample(op_normal(g, SHAPE(1, 2, 3, 2, 2)), (int64_t[]){3, 5, 4},
                           PUMIT_RESAMPLE_AREA);
}

static pumit_tensor *trilinear_up(op_graph *g)
{
    return pumit__resample(op_normal(g, SHAPE(1, 2, 3, 2, 2)), (int64_t[]){4, 6, 4},
                           PUMIT_RESAMPLE_TRILINEAR);
}

static pumit_tensor *trilinear_uneven(op_graph *g)
{
    return pumit__resample(op_normal(g, SHAPE(2, 2, 3, 4, 1)), (int64_t[]){3, 7, 5},
                           PUMIT_RESAMPLE_TRILINEAR);
}

static pumit_tensor *trilinear_down(op_graph *g)
{
    return pumit__resample(op_normal(g, SHAPE(1, 3, 4, 5, 2)), (int64_t[]){2, 3, 4},
                           PUMIT_RESAMPLE_TRILINEAR);
}

static pumit_tensor *trilinear_from_one(op_graph *g)
{
    return pumit__resample(op_normal(g, SHAPE(1, 1, 1, 2, 2)), (int64_t[]){3, 4, 4},
                           PUMIT_RESAMPLE_TRILINEAR);
}

static pumit_tensor *resample_same(op_graph *g)
{
    return pumit__resample(op_normal(g, SHAPE(1, 2, 3, 2, 1)), (int64_t[]){2, 3, 2},
                           PUMIT_RESAMPLE_TRILINEAR);
}

static pumit_tensor *resample_strided(op_graph *g)
{
    return pumit__resample(op_strided(g, SHAPE(1, 3, 4, 2, 2)), (int64_t[]){2, 6, 2},
                           PUMIT_RESAMPLE_TRILINEAR);
}

static pumit_tensor *nearest_up(op_graph *g)
{
    return pumit__resample(op_normal(g, SHAPE(1, 2, 3, 2, 2)), (int64_t[]){4, 6, 4},
                           PUMIT_RESAMPLE_NEAREST_EXACT);
}

static pumit_tensor *nearest_uneven(op_graph *g)
{
    return pumit__resample(op_normal(g, SHAPE(2, 3, 4, 3, 1)), (int64_t[]){2, 7, 3},
                           PUMIT_RESAMPLE_NEAREST_EXACT);
}

static pumit_tensor *bicubic_up(op_graph *g)
{
    return pumit__resample(op_normal(g, SHAPE(2, 2, 5, 4, 1)), (int64_t[]){2, 7, 8},
                           PUMIT_RESAMPLE_BICUBIC);
}

static pumit_tensor *bicubic_far_up(op_graph *g)
{
    return pumit__resample(op_normal(g, SHAPE(1, 1, 6, 2, 2)), (int64_t[]){1, 25, 13},
                           PUMIT_RESAMPLE_BICUBIC);
}

static pumit_tensor *bicubic_down(op_graph *g)
{
    return pumit__resample(op_normal(g, SHAPE(1, 1, 6, 7, 2)), (int64_t[]){1, 5, 4},
                           PUMIT_RESAMPLE_BICUBIC);
}

static pumit_tensor *bicubic_of_one(op_graph *g)
{
    return pumit__resample(op_normal(g, SHAPE(1, 2, 1, 3, 2)), (int64_t[]){2, 3, 3},
                           PUMIT_RESAMPLE_BICUBIC);
}

static pumit_tensor *resample_down_and_up(op_graph *g)
{
    return pumit__resample_to(op_normal(g, SHAPE(1, 4, 2, 5, 2)), (int64_t[]){3, 5, 5});
}

OP_CHECK(resample, OP_VARIANT(area_down), OP_VARIANT(area_uneven), OP_VARIANT(area_up),
         OP_VARIANT(trilinear_up), OP_VARIANT(trilinear_uneven), OP_VARIANT(trilinear_down),
         OP_VARIANT(trilinear_from_one), OP_VARIANT(resample_same), OP_VARIANT(resample_strided),
         OP_VARIANT(resample_down_and_up), OP_VARIANT(nearest_up), OP_VARIANT(nearest_uneven),
         OP_VARIANT(bicubic_up), OP_VARIANT(bicubic_far_up), OP_VARIANT(bicubic_down),
         OP_VARIANT(bicubic_of_one))

/* ------------------------------------------------------------------------------------- max_pool */

static pumit_tensor *max_pool_flat(op_graph *g)
{
    return pumit__max_pool(op_normal(g, SHAPE(2, 2, 2, 4, 3)), (int64_t[]){1, 1, 2});
}

static pumit_tensor *max_pool_with_remainder(op_graph *g)
{
    return pumit__max_pool(op_normal(g, SHAPE(1, 3, 2, 3, 2)), (int64_t[]){2, 1, 1});
}

static pumit_tensor *max_pool_points(op_graph *g)
{
    return pumit__max_pool(op_normal(g, SHAPE(1, 2, 2, 3, 2)), (int64_t[]){1, 1, 1});
}

static pumit_tensor *max_pool_strided(op_graph *g)
{
    return pumit__max_pool(op_strided(g, SHAPE(1, 2, 4, 3, 2)), (int64_t[]){1, 2, 1});
}

/* Seven of eight gradients of the pooled value alone would be 0. */
static pumit_tensor *max_pool_everywhere(op_graph *g)
{
    pumit_tensor *x = op_normal(g, SHAPE(2, 2, 4, 6, 3));
    pumit_tensor *y = pumit__max_pool(x, (int64_t[]){2, 2, 2});
    y = pumit__resample(y, (int64_t[]){2, 4, 6}, PUMIT_RESAMPLE_NEAREST_EXACT);
    return pumit__mul(x, y);
}

OP_CHECK(max_pool, OP_VARIANT(max_pool_flat), OP_VARIANT(max_pool_with_remainder),
         OP_VARIANT(max_pool_points), OP_VARIANT(max_pool_strided), OP_VARIANT(max_pool_everywhere))
