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

/* What a block is given beside x. */
enum { COSINE, SINE, SHOWN, OFFSETS, READ };

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

typedef pumit__vit_block block;

/* x + proj(attention), of the rows that are read. */
static pumit_tensor *attend(const pumit_vit *vit, const block *b, pumit_tensor *x,
                            pumit_tensor *const *given)
{
    pumit_tensor *const weights[] = {b->q.weight, b->k.weight, b->v.weight};
    pumit_tensor *const biases[] = {b->q.bias, b->k.bias, b->v.bias};
    const double scale = 1.0 / sqrt((double)(vit->dim / vit->heads));
    const int64_t skip = given[OFFSETS] ? 0 : 1; /* class tokens end to end have angles */
    pumit_tensor *qkv =
        pumit__norm_linears(x, b->norm1.weight, b->norm1.bias, PUMIT__VIT_EPS, 3, weights, biases);
    pumit_tensor *mixed = pumit__rope_attention(qkv, given[COSINE], given[SINE], skip, vit->heads,
                                                scale, given[OFFSETS]);
    if (given[READ]) {
        x = pumit__gather_rows(x, given[READ]);
        mixed = pumit__gather_rows(mixed, given[READ]);
    }
    return pumit__add_linear(x, mixed, b->proj.weight, b->proj.bias);
}

/* x + feed-forward */
static pumit_tensor *feed_forward(const block *b, pumit_tensor *x)
{
    pumit_tensor *const weights[] = {b->w1.weight, b->w2.weight};
    pumit_tensor *const biases[] = {b->w1.bias, b->w2.bias};
    pumit_tensor *h =
        pumit__norm_linears(x, b->norm2.weight, b->norm2.bias, PUMIT__VIT_EPS, 2, weights, biases);
    return pumit__gated_linear(x, h, b->ffn_norm.weight, b->ffn_norm.bias, PUMIT__VIT_EPS,
                               b->w3.weight, b->w3.bias);
}

static pumit_tensor *run_block(const pumit__stretch *stretch, pumit_tensor *x)
{
    const pumit_vit *vit = stretch->model;
    const block *b = &vit->blocks[stretch->number];
    pumit_tensor *const *given = stretch->given, *shown = given[SHOWN];
    pumit_tensor *rows = shown ? pumit__gather_rows(x, shown) : x;
    rows = feed_forward(b, attend(vit, b, rows, given));
    return shown ? pumit__scatter_rows(x, shown, rows) : rows;
}

static void release_model(void *model)
{
    pumit__module_release(model);
}

static pumit_tensor *forward(pumit_vit *vit, pumit__stretch stretch, pumit_tensor *x)
{
    if (!x || !stretch.given[COSINE] || !stretch.given[SINE]) return NULL;
    if (vit->recompute) {
        stretch.model = pumit__module_retain(&vit->module);
        stretch.release = release_model;
        return pumit__recompute(&stretch, x);
    }
    const int64_t mark = pumit__scope_begin(x->ctx);
    return pumit__scope_end(x->ctx, mark, run_block(&stretch, x));
}

pumit_tensor *pumit__vit_block_forward(pumit_vit *vit, int64_t i, pumit_tensor *x,
                                       pumit_tensor *cosine, pumit_tensor *sine,
                                       pumit_tensor *shown, pumit_tensor *offsets)
{
    const pumit__stretch stretch = {
        .run = run_block, .model = vit, .number = i, .given = {cosine, sine, shown, offsets}};
    return forward(vit, stretch, x);
}

pumit_tensor *pumit__vit_block_rows(pumit_vit *vit, int64_t i, pumit_tensor *x,
                                    pumit_tensor *cosine, pumit_tensor *sine, pumit_tensor *offsets,
                                    pumit_tensor *read)
{
    const pumit__stretch stretch = {
        .run = run_block, .model = vit, .number = i, .given = {cosine, sine, NULL, offsets, read}};
    return forward(vit, stretch, x);
}
