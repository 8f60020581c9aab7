/* SPDX-License-Identifier: Apache-2.0 */
/* Masked image modelling (paper section 3.3): cross-entropy between the tokenizer's soft tokens and the prediction, on masked
 * tokens only. */
#include "lib/models/tokenizer.h"
#include "lib/models/vit_internal.h"

#include <stdlib.h>
#include <string.h>

/* Visible and masked token numbers of each sequence as index tensors; the former also shifted by the class token. */
typedef struct {
    pumit_tensor *visible; /* (N, K) */
    pumit_tensor *shown;   /* (N, 1 + K): 0, visible + 1 */
    pumit_tensor *masked;  /* (N, L - K) */
} mask;

static pumit_status mark_visible(bool *seen, const int64_t *row, int64_t count, int64_t length)
{
    memset(seen, 0, (size_t)length * sizeof *seen);
    for (int64_t i = 0; i < count; i++) {
        PUMIT__REQUIRE(row[i] >= 0 && row[i] < length && !seen[row[i]],
                       "visible token %lld is out of 0..%lld or named twice", (long long)row[i],
                       (long long)length - 1);
        seen[row[i]] = true;
    }
    return PUMIT_OK;
}

static pumit_status fill_mask(int64_t *shown, int64_t *masked, const int64_t *visible, int64_t n,
                              int64_t count, int64_t length)
{
    bool *seen = pumit__calloc(length, sizeof *seen);
    if (!seen) return pumit__fail_memory(length, "a mask");
    pumit_status status = PUMIT_OK;
    for (int64_t b = 0; b < n && status == PUMIT_OK; b++) {
        status = mark_visible(seen, visible + b * count, count, length);
        if (status != PUMIT_OK) break;
        *shown++ = 0;
        for (int64_t i = 0; i < count; i++) *shown++ = visible[b * count + i] + 1;
        for (int64_t i = 0; i < length; i++)
            if (!seen[i]) *masked++ = i;
    }
    free(seen);
    return status;
}

static pumit_status make_mask(mask *out, pumit_tensor *visible, int64_t n, int64_t length)
{
    visible = pumit__contiguous(visible);
    if (!visible) return pumit__last_status();
    if (visible->ndim != 2 || visible->dtype != PUMIT_I64 || visible->shape[0] != n ||
        visible->shape[1] >= length)
        return pumit__fail(PUMIT_ERROR_SHAPE,
                           "visible must be I64 of (%lld, fewer than %lld), it is %s", (long long)n,
                           (long long)length,
                           pumit__shape_string(visible->ndim, visible->shape).text);
    const int64_t count = visible->shape[1], shown[2] = {n, 1 + count},
                  masked[2] = {n, length - count};
    out->visible = visible;
    out->shown = pumit__empty(visible->ctx, PUMIT_I64, 2, shown);
    out->masked = pumit__empty(visible->ctx, PUMIT_I64, 2, masked);
    if (!out->shown || !out->masked) return pumit__last_status();
    return fill_mask(pumit__data(out->shown), pumit__data(out->masked), pumit__data(visible), n,
                     count, length);
}

/* The angles of the visible tokens of each sequence: (N, K, head_dim / 2). */
static pumit_tensor *angles_of(pumit_tensor *table, pumit_tensor *visible)
{
    const int64_t shape[3] = {visible->shape[0], table->shape[0], table->shape[1]};
    return pumit__gather_rows(pumit__expand(table, 3, shape), visible);
}

/* The blocks, with mask tokens in some and only visible tokens in the others. */
static pumit_tensor *masked_blocks(pumit_vit *vit, pumit_tensor *t, const mask *m,
                                   const pumit__vit_angles *angles)
{
    pumit_tensor *cosine = angles_of(angles->cosine, m->visible),
                 *sine = angles_of(angles->sine, m->visible);
    for (int64_t i = 0; i < vit->depth; i++) {
        if (vit->masked_layer[i])
            t = pumit__vit_block_forward(vit, i, t, angles->cosine, angles->sine, NULL, NULL);
        else
            t = pumit__vit_block_forward(vit, i, t, cosine, sine, m->shown, NULL);
    }
    return pumit__vit_final_norm(vit, t);
}

/* Hidden states with all patches hidden but `visible`: blocks in "mask_layers" see mask tokens in the others' places, the
 * other blocks see the visible tokens only. Fills `m`. */
static pumit_tensor *masked_hidden(pumit_vit *vit, pumit_tensor *image, int32_t da,
                                   pumit_tensor *visible, mask *m)
{
    int64_t grid[3];
    if (!vit->mask_token) {
        pumit__fail(PUMIT_ERROR_STATE,
                    "this transformer has no masked-modelling head: create it with 'codes'");
        return NULL;
    }
    pumit_tensor *tokens = pumit__vit_image_tokens(vit, image, da, grid);
    const pumit__vit_angles *angles = tokens ? pumit__vit_angles_of(vit, grid) : NULL;
    if (!angles || make_mask(m, pumit__of_context(vit->module.ctx, visible), tokens->shape[0],
                             tokens->shape[1]) != PUMIT_OK)
        return NULL;
    pumit_tensor *full = pumit__vit_with_class(vit, tokens);
    pumit_tensor *blank =
        pumit__vit_with_class(vit, pumit__expand(vit->mask_token, 3, tokens->shape));
    pumit_tensor *t = pumit__scatter_rows(blank, m->shown, pumit__gather_rows(full, m->shown));
    return masked_blocks(vit, t, m, angles);
}

/* Logits over the codes of tokens (N, M, dim). */
static pumit_tensor *head(const pumit_vit *vit, pumit_tensor *tokens)
{
    tokens = pumit__gelu(pumit__linear(tokens, vit->head0.weight, vit->head0.bias));
    return pumit__linear(tokens, vit->head2.weight, vit->head2.bias);
}

static pumit_tensor *patch_part(pumit_tensor *hidden)
{
    return hidden ? pumit__slice(hidden, 1, 1, hidden->shape[1] - 1) : NULL;
}

/* How many rows of (N, M, codes) have their largest value at the same code. */
static pumit_status count_equal(int64_t *equal, pumit_tensor *a, pumit_tensor *b)
{
    a = pumit__argmax(a);
    b = pumit__argmax(b);
    if (!a || !b) return pumit__last_status();
    const int64_t count = pumit_tensor_count(a), bytes = count * (int64_t)sizeof(int64_t);
    int64_t *codes = pumit__calloc(2 * count, (int64_t)sizeof *codes);
    if (!codes) return pumit__fail_memory(2 * bytes, "codes");
    pumit_status status = pumit_tensor_read(a, PUMIT_I64, codes, bytes);
    if (status == PUMIT_OK) status = pumit_tensor_read(b, PUMIT_I64, codes + count, bytes);
    *equal = 0;
    for (int64_t i = 0; i < count; i++) *equal += codes[i] == codes[count + i];
    free(codes);
    return status;
}

/* logits, target: (N, M, codes), of the masked tokens. */
static pumit_status measure(pumit__mim_terms *terms, pumit_tensor *logits, pumit_tensor *target)
{
    pumit_context *ctx = logits->ctx;
    const bool recording = ctx->recording;
    const int64_t mark = pumit__scope_begin(ctx), masked = logits->shape[0] * logits->shape[1];
    int64_t equal = 0;
    double entropy = 0;
    ctx->recording = false;
    pumit_tensor *sum = pumit__sum(pumit__xlogx(target), 7, -1.0 / (double)masked);
    pumit_status status = sum ? pumit_tensor_item(&entropy, sum) : pumit__last_status();
    if (status == PUMIT_OK) status = count_equal(&equal, logits, target);
    ctx->recording = recording;
    pumit__scope_end(ctx, mark, NULL);
    terms->entropy = entropy;
    terms->accuracy = (double)equal / (double)masked;
    terms->masked = masked;
    return status;
}

pumit_tensor *pumit__vit_mim_loss(pumit__mim_terms *terms, pumit_vit *vit, pumit_tensor *image,
                                  int32_t da, pumit_tensor *visible, pumit_tensor *target)
{
    mask m;
    pumit_tensor *hidden = patch_part(masked_hidden(vit, image, da, visible, &m));
    if (!hidden || !target) return NULL;
    if (target->shape[0] != hidden->shape[0] || target->shape[1] != hidden->shape[1]) {
        pumit__fail(PUMIT_ERROR_SHAPE,
                    "tokenizer and transformer cut this image into %lld and %lld tokens",
                    (long long)target->shape[1], (long long)hidden->shape[1]);
        return NULL;
    }
    pumit_tensor *logits = head(vit, pumit__gather_rows(hidden, m.masked));
    target = pumit__gather_rows(target, m.masked);
    if (!logits || !target) return NULL;
    if (terms) {
        if (measure(terms, logits, target) != PUMIT_OK) return NULL;
        terms->tokens = hidden->shape[0] * hidden->shape[1];
    }
    return pumit__mean(pumit__cross_entropy(logits, target));
}

/* ------------------------------------------------------------------------------------- public calls */

static int later(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

pumit_status pumit_vit_random_visible(pumit_tensor **out, pumit_context *context, int64_t n,
                                      int64_t length, double mask_ratio, uint64_t seed)
{
    PUMIT__REQUIRE(out && context, "pumit_vit_random_visible: an argument is NULL");
    *out = NULL;
    PUMIT__REQUIRE(n >= 1 && length >= 1 && length <= 1 << 24,
                   "a mask needs n and length from 1 on");
    PUMIT__REQUIRE(mask_ratio > 0.0 && mask_ratio <= 1.0, "mask_ratio %g is not in (0, 1]",
                   mask_ratio);
    int64_t count = (int64_t)((1.0 - mask_ratio) * (double)length + 1e-9);
    if (count < 1) count = 1;
    if (count >= length) count = length - 1; /* a single token is masked */
    const int64_t shape[2] = {n, count};
    PUMIT__TRY(pumit_tensor_create(out, context, PUMIT_I64, 2, shape));
    int64_t *order = pumit__calloc(length, sizeof *order), *rows = pumit__data(*out);
    if (!order) {
        pumit_tensor_release(*out);
        *out = NULL;
        return pumit__fail_memory(length * (int64_t)sizeof *order, "a mask");
    }
    for (int64_t b = 0; b < n; b++) {
        pumit__random_permutation(order, length, seed, pumit__random((uint64_t)b, 1, 0));
        memcpy(rows + b * count, order, (size_t)count * sizeof *order);
        qsort(rows + b * count, (size_t)count, sizeof *rows, later);
    }
    free(order);
    return PUMIT_OK;
}

static pumit_tensor *target_tokens(pumit_tokenizer *tokenizer, pumit_tensor *image, int32_t da)
{
    pumit_tensor *x =
        pumit__affine(pumit__as_real(pumit_tokenizer_module(tokenizer)->ctx, image), 2.0, -1.0);
    const pumit__feature f = pumit__tokenizer_features(tokenizer, x, da);
    pumit_tensor *p = pumit__tokenizer_target(tokenizer, f.x);
    if (!p) return NULL;
    const int64_t shape[3] = {p->shape[0], p->shape[1] * p->shape[2] * p->shape[3], p->shape[4]};
    return pumit__reshape(p, 3, shape);
}

static pumit_status check_pair(const pumit_vit *vit, const pumit_tokenizer *tokenizer)
{
    const int64_t *patch = pumit_tokenizer_patch(tokenizer);
    if (vit->codes != pumit_tokenizer_codes(tokenizer) || vit->patch[0] != patch[0] ||
        vit->patch[1] != patch[1] || vit->in_channels != pumit_tokenizer_channels(tokenizer))
        return pumit__fail(PUMIT_ERROR_SHAPE,
                           "transformer (%lld codes, patch %lld, %lld channels) and tokenizer "
                           "(%lld codes, patch %lld, %lld channels) do not belong together",
                           (long long)vit->codes, (long long)vit->patch[0],
                           (long long)vit->in_channels, (long long)pumit_tokenizer_codes(tokenizer),
                           (long long)patch[0], (long long)pumit_tokenizer_channels(tokenizer));
    return PUMIT_OK;
}

pumit_status pumit__vit_mim_loss_terms(pumit_tensor **out, pumit__mim_terms *terms, pumit_vit *vit,
                                       pumit_tokenizer *tokenizer, pumit_tensor *image,
                                       const double spacing[3], pumit_tensor *visible)
{
    int32_t da;
    PUMIT__REQUIRE(out && vit && tokenizer && image && visible,
                   "pumit_vit_mim_loss: an argument is NULL");
    *out = NULL;
    PUMIT__TRY(pumit_degree_of_anisotropy(&da, spacing));
    PUMIT__TRY(check_pair(vit, tokenizer));
    pumit_context *ctx = vit->module.ctx;
    const int64_t mark = pumit__scope_begin(ctx);
    const bool recording = ctx->recording;
    ctx->recording = false;
    const int64_t inner = pumit__scope_begin(ctx); /* the tokenizer's features go at once */
    pumit_tensor *target = target_tokens(tokenizer, image, da);
    target = pumit__scope_end(ctx, inner, target);
    ctx->recording = true;
    pumit_tensor *loss = pumit__vit_mim_loss(terms, vit, image, da, visible, target);
    ctx->recording = recording;
    return pumit__scope_return(out, ctx, mark, loss);
}

pumit_status pumit_vit_mim_loss(pumit_tensor **out, pumit_vit *vit, pumit_tokenizer *tokenizer,
                                pumit_tensor *image, const double spacing[3], pumit_tensor *visible)
{
    return pumit__vit_mim_loss_terms(out, NULL, vit, tokenizer, image, spacing, visible);
}

pumit_status pumit_vit_predict(pumit_tensor **out, pumit_vit *vit, pumit_tensor *image,
                               const double spacing[3], pumit_tensor *visible)
{
    int32_t da;
    int64_t grid[3];
    PUMIT__REQUIRE(out && vit && image && visible, "pumit_vit_predict: an argument is NULL");
    PUMIT__TRY(pumit_degree_of_anisotropy(&da, spacing));
    *out = NULL;
    pumit_context *ctx = vit->module.ctx;
    const int64_t mark = pumit__scope_begin(ctx);
    mask m;
    pumit_tensor *hidden = masked_hidden(vit, image, da, visible, &m);
    pumit_tensor *p = pumit__softmax(head(vit, patch_part(hidden)));
    if (p && pumit_vit_grid(grid, vit, image->shape + 1, spacing) == PUMIT_OK) {
        const int64_t shape[5] = {p->shape[0], grid[0], grid[1], grid[2], vit->codes};
        p = pumit__reshape(p, 5, shape);
    }
    return pumit__scope_return(out, ctx, mark, p);
}
