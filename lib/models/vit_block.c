/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The transformer block (EVA-02, Fang et al. 2023) and its rotary angles in 3D.
 *   x += proj(attention(rope(q h), rope(k h), v h)),  h = LayerNorm(x)
 *   x += w3(LayerNorm(silu(w1 h) * w2 h)),            h = LayerNorm(x)
 * Angles: with f = head_dim / 2 frequencies, half of them serve H, half W; depth adds its own angle to both halves:
 *   angle_i = d base_d^-(o/f) + (i < f/2 ? h base_h^-(e/f) : w base_w^-(e/f)), e = 2 (i mod f/2), o = e + 1.
 */
#include "lib/models/vit_internal.h"
#include "lib/tensor/recompute.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------------------------------- angles */

static void fill_angles(double *cosine, double *sine, const pumit_vit *vit, const int64_t grid[3])
{
    const int64_t f = vit->dim / vit->heads / 2;
    for (int64_t d = 0, at = 0; d < grid[0]; d++)
        for (int64_t h = 0; h < grid[1]; h++)
            for (int64_t w = 0; w < grid[2]; w++)
                for (int64_t i = 0; i < f; i++, at++) {
                    const bool row = i < f / 2;
                    const double even = (double)(2 * (i % (f / 2))) / (double)f;
                    const double odd = even + 1.0 / (double)f;
                    const double angle =
                        (double)d * pow(vit->rope_base[0], -odd) +
                        (double)(row ? h : w) * pow(vit->rope_base[row ? 1 : 2], -even);
                    cosine[at] = cos(angle);
                    sine[at] = sin(angle);
                }
}

/* Owned tensors outside any scope. */
static pumit_status make_angles(pumit__vit_angles *angles, const pumit_vit *vit,
                                const int64_t grid[3])
{
    pumit_context *ctx = vit->module.ctx;
    const int64_t shape[2] = {grid[0] * grid[1] * grid[2], vit->dim / vit->heads / 2},
                  count = shape[0] * shape[1];
    double *values = pumit__calloc(2 * count, sizeof *values);
    if (!values) return pumit__fail_memory(2 * count * (int64_t)sizeof *values, "rotary angles");
    fill_angles(values, values + count, vit, grid);
    pumit__vit_angles made = {.grid = {grid[0], grid[1], grid[2]}};
    const int64_t bytes = count * (int64_t)sizeof *values;
    pumit_status status = pumit_tensor_create(&made.cosine, ctx, ctx->real, 2, shape);
    if (status == PUMIT_OK) status = pumit_tensor_create(&made.sine, ctx, ctx->real, 2, shape);
    if (status == PUMIT_OK) status = pumit_tensor_write(made.cosine, PUMIT_F64, values, bytes);
    if (status == PUMIT_OK)
        status = pumit_tensor_write(made.sine, PUMIT_F64, values + count, bytes);
    free(values);
    if (status != PUMIT_OK) {
        pumit_tensor_release(made.cosine);
        pumit_tensor_release(made.sine);
        return status;
    }
    *angles = made;
    return PUMIT_OK;
}

const pumit__vit_angles *pumit__vit_angles_of(pumit_vit *vit, const int64_t grid[3])
{
    for (int32_t i = 0; i < PUMIT__VIT_ANGLE_TABLES; i++)
        if (vit->angles[i].cosine &&
            memcmp(vit->angles[i].grid, grid, sizeof vit->angles[i].grid) == 0)
            return &vit->angles[i];
    pumit__vit_angles made, *slot = &vit->angles[vit->next_angles];
    if (make_angles(&made, vit, grid) != PUMIT_OK) return NULL;
    pumit_tensor_release(slot->cosine);
    pumit_tensor_release(slot->sine);
    *slot = made;
    vit->next_angles = (vit->next_angles + 1) % PUMIT__VIT_ANGLE_TABLES;
    return slot;
}

void pumit__vit_angles_destroy(pumit_vit *vit)
{
    for (int32_t i = 0; i < PUMIT__VIT_ANGLE_TABLES; i++) {
        pumit_tensor_release(vit->angles[i].cosine);
        pumit_tensor_release(vit->angles[i].sine);
    }
}

/* -------------------------------------------------------------------------------------------- block */

static pumit_tensor *norm(pumit_tensor *x, const pumit__layer *layer)
{
    return pumit__layer_norm(x, layer->weight, layer->bias, PUMIT__VIT_EPS);
}

static pumit_tensor *linear(pumit_tensor *x, const pumit__layer *layer)
{
    return pumit__linear(x, layer->weight, layer->bias);
}

static pumit_tensor *attend(const pumit_vit *vit, const pumit__vit_block *b, pumit_tensor *x,
                            pumit_tensor *cosine, pumit_tensor *sine)
{
    const int64_t head_dim = vit->dim / vit->heads;
    const int64_t split[4] = {x->shape[0], x->shape[1], vit->heads, head_dim};
    pumit_tensor *h = norm(x, &b->norm1);
    pumit_tensor *q = pumit__rope(pumit__reshape(linear(h, &b->q), 4, split), cosine, sine, 1);
    pumit_tensor *k = pumit__rope(pumit__reshape(linear(h, &b->k), 4, split), cosine, sine, 1);
    pumit_tensor *v = pumit__reshape(linear(h, &b->v), 4, split);
    pumit_tensor *mixed = pumit__attention(q, k, v, 1.0 / sqrt((double)head_dim));
    return linear(pumit__reshape(mixed, 3, x->shape), &b->proj);
}

static pumit_tensor *feed_forward(const pumit__vit_block *b, pumit_tensor *x)
{
    pumit_tensor *h = norm(x, &b->norm2);
    pumit_tensor *g = pumit__swiglu(linear(h, &b->w1), linear(h, &b->w2));
    return linear(norm(g, &b->ffn_norm), &b->w3);
}

static pumit_tensor *whole_block(const pumit_vit *vit, const pumit__vit_block *b, pumit_tensor *x,
                                 pumit_tensor *cosine, pumit_tensor *sine)
{
    if (!x) return NULL;
    x = pumit__add(x, attend(vit, b, x, cosine, sine));
    return x ? pumit__add(x, feed_forward(b, x)) : NULL;
}

enum { COSINE, SINE, SHOWN };

static pumit_tensor *run_block(const pumit__stretch *stretch, pumit_tensor *x)
{
    const pumit_vit *vit = stretch->model;
    const pumit__vit_block *b = &vit->blocks[stretch->number];
    pumit_tensor *const *given = stretch->given, *shown = given[SHOWN];
    if (!shown) return whole_block(vit, b, x, given[COSINE], given[SINE]);
    pumit_tensor *rows = pumit__gather_rows(x, shown);
    return pumit__scatter_rows(x, shown, whole_block(vit, b, rows, given[COSINE], given[SINE]));
}

static void release_model(void *model)
{
    pumit__module_release(model);
}

pumit_tensor *pumit__vit_block_forward(pumit_vit *vit, int64_t i, pumit_tensor *x,
                                       pumit_tensor *cosine, pumit_tensor *sine,
                                       pumit_tensor *shown)
{
    if (!x || !cosine || !sine) return NULL;
    pumit__stretch stretch = {
        .run = run_block, .model = vit, .number = i, .given = {cosine, sine, shown}};
    if (vit->recompute) {
        stretch.model = pumit__module_retain(&vit->module);
        stretch.release = release_model;
        return pumit__recompute(&stretch, x);
    }
    const int64_t mark = pumit__scope_begin(x->ctx);
    return pumit__scope_end(x->ctx, mark, run_block(&stretch, x));
}
