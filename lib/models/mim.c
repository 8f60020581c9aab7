/* SPDX-License-Identifier: Apache-2.0 */
/* Masked image modelling (paper section 3.3): cross-entropy between the tokenizer's soft tokens and the prediction, on masked
 * tokens only. */
#include "lib/models/tokenizer.h"
#include "lib/models/vit_internal.h"

#include <stdlib.h>
#include <string.h>

/* Images of one shape, which of their tokens are shown, and what the others are to be guessed as. */
typedef struct {
    int64_t n, length;              /* images, tokens of each */
    pumit_tensor *visible, *masked; /* (n, K), (n, length - K) of I64: token numbers */
    pumit_tensor *target;           /* (1, n (length - K), codes) */
} part;

/* The same of all sequences of a pack, as numbers of its rows. */
typedef struct {
    pumit_tensor *shown;   /* (1, S): class tokens and visible tokens */
    pumit_tensor *offsets; /* (sequences + 1) of I64: which of `shown` are of one sequence */
    pumit_tensor *masked;  /* (1, M) */
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

static pumit_status fill_masked(int64_t *masked, const part *p)
{
    const int64_t count = p->visible->shape[1], *visible = pumit__data(p->visible);
    bool *seen = pumit__calloc(p->length, sizeof *seen);
    if (!seen) return pumit__fail_memory(p->length, "a mask");
    pumit_status status = PUMIT_OK;
    for (int64_t b = 0; b < p->n && status == PUMIT_OK; b++) {
        status = mark_visible(seen, visible + b * count, count, p->length);
        for (int64_t i = 0; i < p->length && status == PUMIT_OK; i++)
            if (!seen[i]) *masked++ = i;
    }
    free(seen);
    return status;
}

/* Of images (n, D, H, W, C). */
static pumit_status make_part(part *out, const pumit_vit *vit, const pumit_tensor *image,
                              const double spacing[3], pumit_tensor *visible)
{
    int64_t grid[3];
    if (image->ndim != 5)
        return pumit__fail(PUMIT_ERROR_SHAPE, "vit: images %s are not (N, D, H, W, C)",
                           pumit__shape_string(image->ndim, image->shape).text);
    PUMIT__TRY(pumit_vit_grid(grid, vit, image->shape + 1, spacing));
    const int64_t n = image->shape[0], length = grid[0] * grid[1] * grid[2];
    visible = pumit__contiguous(pumit__of_context(vit->module.ctx, visible));
    if (!visible) return pumit__last_status();
    if (visible->ndim != 2 || visible->dtype != PUMIT_I64 || visible->shape[0] != n ||
        visible->shape[1] >= length)
        return pumit__fail(PUMIT_ERROR_SHAPE,
                           "visible must be I64 of (%lld, fewer than %lld), it is %s", (long long)n,
                           (long long)length,
                           pumit__shape_string(visible->ndim, visible->shape).text);
    const int64_t shape[2] = {n, length - visible->shape[1]};
    *out = (part){.n = n, .length = length, .visible = visible};
    out->masked = pumit__empty(visible->ctx, PUMIT_I64, 2, shape);
    if (!out->masked) return pumit__last_status();
    return fill_masked(pumit__data(out->masked), out);
}

/* first + the numbers of (n, K), row b, at dst; gives the place behind them. */
static int64_t *put_numbers(int64_t *dst, const pumit_tensor *numbers, int64_t b, int64_t first)
{
    const int64_t count = numbers->shape[1], *src = (int64_t *)pumit__data(numbers) + b * count;
    for (int64_t i = 0; i < count; i++) *dst++ = first + src[i];
    return dst;
}

/* Row numbers in the pack of the same images in the same order. */
static pumit_status make_mask(mask *out, pumit_context *ctx, const part *parts, int64_t count)
{
    int64_t shown[2] = {1, 0}, masked[2] = {1, 0}, ends = 1, row = 0;
    for (int64_t i = 0; i < count; i++) {
        ends += parts[i].n;
        shown[1] += parts[i].n * (1 + parts[i].visible->shape[1]);
        masked[1] += pumit_tensor_count(parts[i].masked);
    }
    out->shown = pumit__empty(ctx, PUMIT_I64, 2, shown);
    out->offsets = pumit__empty(ctx, PUMIT_I64, 1, &ends);
    out->masked = pumit__empty(ctx, PUMIT_I64, 2, masked);
    if (!out->shown || !out->offsets || !out->masked) return pumit__last_status();
    int64_t *const first = pumit__data(out->shown), *s = first, *m = pumit__data(out->masked),
                   *offset = pumit__data(out->offsets);
    for (int64_t i = 0; i < count; i++)
        for (int64_t b = 0; b < parts[i].n; b++, row += 1 + parts[i].length) {
            *offset++ = s - first;
            *s++ = row;
            s = put_numbers(s, parts[i].visible, b, row + 1);
            m = put_numbers(m, parts[i].masked, b, row + 1);
        }
    *offset = s - first;
    return PUMIT_OK;
}

/* The angles (1, S, head_dim / 2) of the rows that are shown. */
static pumit_tensor *angles_of(pumit_tensor *table, const mask *m)
{
    const int64_t shape[3] = {1, table->shape[0], table->shape[1]};
    return pumit__gather_rows(pumit__reshape(table, 3, shape), m->shown);
}

/* Hidden states with all patches hidden but the visible ones: blocks in "mask_layers" see mask tokens in the others' places, the
 * other blocks see the visible tokens only. Of the rows `read` (1, K) alone, or, NULL, of all: (1, R, dim). */
static pumit_tensor *masked_hidden(pumit_vit *vit, const pumit__vit_pack *pack, const mask *m,
                                   pumit_tensor *read)
{
    pumit_tensor *blank = pumit__expand(vit->mask_token, 3, pack->rows->shape);
    pumit_tensor *t =
        pumit__scatter_rows(blank, m->shown, pumit__gather_rows(pack->rows, m->shown));
    pumit_tensor *cosine = angles_of(pack->cosine, m), *sine = angles_of(pack->sine, m);
    for (int64_t i = 0; i < vit->depth; i++) {
        if (!vit->masked_layer[i]) {
            t = pumit__vit_block_forward(vit, i, t, cosine, sine, m->shown, m->offsets);
        } else if (read && i == vit->depth - 1) { /* nobody needs the other rows any more */
            t = pumit__vit_block_rows(vit, i, t, pack->cosine, pack->sine, pack->offsets, read);
            read = NULL;
        } else {
            t = pumit__vit_block_forward(vit, i, t, pack->cosine, pack->sine, NULL, pack->offsets);
        }
    }
    return pumit__vit_final_norm(vit, read ? pumit__gather_rows(t, read) : t);
}

static pumit_status check_head(const pumit_vit *vit)
{
    if (vit->mask_token) return PUMIT_OK;
    return pumit__fail(PUMIT_ERROR_STATE,
                       "this transformer has no masked-modelling head: create it with 'codes'");
}

/* Logits over the codes of tokens (N, M, dim). */
static pumit_tensor *head(const pumit_vit *vit, pumit_tensor *tokens)
{
    tokens = pumit__gelu(pumit__linear(tokens, vit->head0.weight, vit->head0.bias));
    return pumit__linear(tokens, vit->head2.weight, vit->head2.bias);
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

/* Adds a share of what a part's logits (1, M, codes) tell. */
static pumit_status measure(pumit__mim_terms *terms, pumit_tensor *logits, const part *p,
                            double share)
{
    pumit_context *ctx = logits->ctx;
    const bool recording = ctx->recording;
    const int64_t mark = pumit__scope_begin(ctx), masked = logits->shape[1];
    int64_t equal = 0;
    double entropy = 0;
    ctx->recording = false;
    pumit_tensor *sum = pumit__sum(pumit__xlogx(p->target), 7, -1.0 / (double)masked);
    pumit_status status = sum ? pumit_tensor_item(&entropy, sum) : pumit__last_status();
    if (status == PUMIT_OK) status = count_equal(&equal, logits, p->target);
    ctx->recording = recording;
    pumit__scope_end(ctx, mark, NULL);
    terms->entropy += share * entropy;
    terms->accuracy += share * (double)equal / (double)masked;
    terms->masked += masked;
    terms->tokens += p->n * p->length;
    return status;
}

/* Cross-entropy of logits (1, M, codes), the mean over images of each one's mean over its masked tokens. */
static pumit_tensor *loss_of(pumit__mim_terms *terms, pumit_tensor *logits, const part *parts,
                             int64_t count)
{
    int64_t images = 0, at = 0;
    pumit_tensor *loss = NULL;
    for (int64_t i = 0; i < count; i++) images += parts[i].n;
    for (int64_t i = 0; i < count && logits; i++) {
        const part *const p = &parts[i];
        const double share = (double)p->n / (double)images;
        const int64_t rows = p->n * p->masked->shape[1];
        pumit_tensor *own = count > 1 ? pumit__slice(logits, 1, at, rows) : logits;
        if (!own || (terms && measure(terms, own, p, share) != PUMIT_OK)) return NULL;
        pumit_tensor *mean =
            pumit__affine(pumit__mean(pumit__cross_entropy(own, p->target)), share, 0);
        loss = i > 0 ? pumit__add(loss, mean) : mean;
        at += rows;
    }
    return loss;
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

/* Soft tokens (n, length, codes). The tokenizer's features go at once. */
static pumit_tensor *all_targets(pumit_tokenizer *tokenizer, pumit_tensor *image, int32_t da)
{
    pumit_context *ctx = pumit_tokenizer_module(tokenizer)->ctx;
    const int64_t mark = pumit__scope_begin(ctx);
    pumit_tensor *x = pumit__affine(pumit__as_real(ctx, image), 2.0, -1.0);
    const pumit__feature f = pumit__tokenizer_features(tokenizer, x, da);
    pumit_tensor *t = pumit__tokenizer_target(tokenizer, f.x);
    if (t) {
        const int64_t shape[3] = {t->shape[0], t->shape[1] * t->shape[2] * t->shape[3],
                                  t->shape[4]};
        t = pumit__reshape(t, 3, shape);
    }
    return pumit__scope_end(ctx, mark, t);
}

/* What is masked is to be guessed as the tokenizer's soft tokens. */
static pumit_status guess(part *p, pumit_tokenizer *tokenizer, pumit_tensor *image, int32_t da)
{
    pumit_context *ctx = image->ctx;
    const int64_t mark = pumit__scope_begin(ctx);
    pumit_tensor *t = all_targets(tokenizer, image, da);
    if (t && t->shape[1] != p->length) {
        pumit__fail(PUMIT_ERROR_SHAPE,
                    "tokenizer and transformer cut this image into %lld and %lld tokens",
                    (long long)t->shape[1], (long long)p->length);
        t = NULL;
    }
    t = pumit__gather_rows(t, p->masked);
    if (t) {
        const int64_t shape[3] = {1, t->shape[0] * t->shape[1], t->shape[2]};
        t = pumit__reshape(t, 3, shape);
    }
    p->target = pumit__scope_end(ctx, mark, t);
    return p->target ? PUMIT_OK : pumit__last_status();
}

static pumit_status check_pair(const pumit_vit *vit, pumit_tokenizer *tokenizer)
{
    const int64_t *patch = pumit_tokenizer_patch(tokenizer);
    /* Else what the tokenizer makes would belong to scopes that nobody here ends. */
    PUMIT__REQUIRE(pumit_tokenizer_module(tokenizer)->ctx == vit->module.ctx,
                   "transformer and tokenizer are of different contexts: load both in one");
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

/* One group of images: what goes into the transformer, and what is to come out. */
static pumit_status take_images(pumit__vit_images *images, part *p, pumit_vit *vit,
                                pumit_tokenizer *tokenizer, pumit_tensor *image,
                                const double spacing[3], pumit_tensor *visible)
{
    PUMIT__TRY(pumit_degree_of_anisotropy(&images->da, spacing));
    images->image = image;
    PUMIT__TRY(make_part(p, vit, image, spacing, visible));
    return tokenizer ? guess(p, tokenizer, image, images->da) : PUMIT_OK;
}

/* images, parts: room for `count`. */
static pumit_status run_loss(pumit_tensor **loss, pumit__mim_terms *terms, pumit_vit *vit,
                             pumit_tokenizer *tokenizer, int64_t count, pumit_tensor *const *image,
                             const double *spacing, pumit_tensor *const *visible,
                             pumit__vit_images *images, part *parts)
{
    pumit_context *ctx = vit->module.ctx;
    pumit__vit_pack pack;
    mask m;
    ctx->recording = false;
    for (int64_t i = 0; i < count; i++) {
        pumit_status status = take_images(&images[i], &parts[i], vit, tokenizer, image[i],
                                          spacing + 3 * i, visible[i]);
        if (count > 1) status = pumit__fail_in(status, "images %lld", (long long)i);
        PUMIT__TRY(status);
    }
    ctx->recording = true;
    PUMIT__TRY(make_mask(&m, ctx, parts, count));
    PUMIT__TRY(pumit__vit_pack_images(&pack, vit, images, count));
    pumit_tensor *guessed = masked_hidden(vit, &pack, &m, m.masked);
    if (terms) *terms = (pumit__mim_terms){0};
    *loss = loss_of(terms, head(vit, guessed), parts, count);
    return *loss ? PUMIT_OK : pumit__last_status();
}

static pumit_status check_arguments(const pumit_vit *vit, pumit_tokenizer *tokenizer, int64_t count,
                                    pumit_tensor *const *image, const double *spacing,
                                    pumit_tensor *const *visible)
{
    PUMIT__REQUIRE(vit && tokenizer && image && spacing && visible,
                   "pumit_vit_mim_loss: an argument is NULL");
    PUMIT__REQUIRE(count >= 1 && count <= 1 << 24, "pumit_vit_mim_loss: %lld groups of images",
                   (long long)count);
    for (int64_t i = 0; i < count; i++)
        PUMIT__REQUIRE(image[i] && visible[i], "pumit_vit_mim_loss: an argument is NULL");
    PUMIT__TRY(check_head(vit));
    return check_pair(vit, tokenizer);
}

pumit_status pumit__vit_mim_loss_terms(pumit_tensor **out, pumit__mim_terms *terms, pumit_vit *vit,
                                       pumit_tokenizer *tokenizer, int64_t count,
                                       pumit_tensor *const *image, const double *spacing,
                                       pumit_tensor *const *visible)
{
    PUMIT__REQUIRE(out, "pumit_vit_mim_loss: an argument is NULL");
    *out = NULL;
    PUMIT__TRY(check_arguments(vit, tokenizer, count, image, spacing, visible));
    pumit__vit_images *images = pumit__calloc(count, (int64_t)sizeof *images);
    part *parts = pumit__calloc(count, (int64_t)sizeof *parts);
    pumit_tensor *loss = NULL;
    pumit_context *ctx = vit->module.ctx;
    const int64_t mark = pumit__scope_begin(ctx);
    const bool recording = ctx->recording;
    pumit_status status =
        images && parts
            ? run_loss(&loss, terms, vit, tokenizer, count, image, spacing, visible, images, parts)
            : pumit__fail_memory(count * (int64_t)(sizeof *images + sizeof *parts), "a batch");
    ctx->recording = recording;
    status = pumit__scope_return(out, ctx, mark, status == PUMIT_OK ? loss : NULL);
    free(images);
    free(parts);
    return status;
}

pumit_status pumit_vit_mim_loss_packed(pumit_tensor **out, pumit_vit *vit,
                                       pumit_tokenizer *tokenizer, int64_t count,
                                       pumit_tensor *const *images, const double *spacing,
                                       pumit_tensor *const *visible)
{
    return pumit__vit_mim_loss_terms(out, NULL, vit, tokenizer, count, images, spacing, visible);
}

pumit_status pumit_vit_mim_loss(pumit_tensor **out, pumit_vit *vit, pumit_tokenizer *tokenizer,
                                pumit_tensor *image, const double spacing[3], pumit_tensor *visible)
{
    return pumit_vit_mim_loss_packed(out, vit, tokenizer, 1, &image, spacing, &visible);
}

/* Probabilities of all tokens of all images (N, d, h, w, codes). */
static pumit_tensor *predict(pumit_vit *vit, pumit_tensor *image, const double spacing[3],
                             pumit_tensor *visible)
{
    pumit__vit_images images;
    pumit__vit_pack pack;
    part p;
    mask m;
    int64_t grid[3];
    if (take_images(&images, &p, vit, NULL, image, spacing, visible) != PUMIT_OK ||
        make_mask(&m, vit->module.ctx, &p, 1) != PUMIT_OK ||
        pumit_vit_grid(grid, vit, image->shape + 1, spacing) != PUMIT_OK ||
        pumit__vit_pack_images(&pack, vit, &images, 1) != PUMIT_OK)
        return NULL;
    const int64_t sequences[3] = {p.n, 1 + p.length, vit->dim},
                  shape[5] = {p.n, grid[0], grid[1], grid[2], vit->codes};
    pumit_tensor *hidden = pumit__reshape(masked_hidden(vit, &pack, &m, NULL), 3, sequences);
    hidden = pumit__slice(hidden, 1, 1, p.length);
    return pumit__reshape(pumit__softmax(head(vit, hidden)), 5, shape);
}

pumit_status pumit_vit_predict(pumit_tensor **out, pumit_vit *vit, pumit_tensor *image,
                               const double spacing[3], pumit_tensor *visible)
{
    PUMIT__REQUIRE(out && vit && image && visible, "pumit_vit_predict: an argument is NULL");
    *out = NULL;
    PUMIT__TRY(check_head(vit));
    pumit_context *ctx = vit->module.ctx;
    const int64_t mark = pumit__scope_begin(ctx);
    return pumit__scope_return(out, ctx, mark, predict(vit, image, spacing, visible));
}
