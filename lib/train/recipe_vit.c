/* SPDX-License-Identifier: Apache-2.0 */
/* Pre-training of the transformer: masked modelling of a finished tokenizer's soft tokens. */
#include "lib/models/vit.h"
#include "lib/nn/optimizer.h"
#include "lib/tensor/context.h"
#include "lib/train/init.h"

#include <stdlib.h>
#include <string.h>

static void defaults(pumit__train_options *options)
{
    options->learning_rate = 1.5e-3;
    options->beta2 = 0.98;
    options->clip_norm = 3;
}

static pumit_status load_tokenizer(pumit_trainer *t)
{
    const char *path;
    PUMIT__TRY(pumit_config_get_string(&path, t->config, "tokenizer.file", NULL));
    PUMIT__REQUIRE(path,
                   "config key 'tokenizer.file' is missing: the trained tokenizer's model file");
    return pumit_tokenizer_load(&t->tokenizer, t->ctx, path);
}

/* Completes the section of a new transformer: head and channels follow the tokenizer. */
static pumit_status complete(pumit_config *section, pumit_trainer *t)
{
    const int64_t codes = pumit_tokenizer_codes(t->tokenizer);
    int64_t value;
    PUMIT__TRY(pumit_config_get_int(&value, section, "codes", codes));
    PUMIT__REQUIRE(value == codes || value == 0,
                   "config key 'vit.codes' is %lld, but the tokenizer has %lld codes",
                   (long long)value, (long long)codes);
    PUMIT__TRY(pumit_config_set_int(section, "codes", codes));
    PUMIT__TRY(pumit_config_get_int(&value, section, "in_channels",
                                    pumit_tokenizer_channels(t->tokenizer)));
    return pumit_config_set_int(section, "in_channels", value);
}

static pumit_status create(pumit_trainer *t)
{
    PUMIT__TRY(load_tokenizer(t));
    PUMIT__TRY(pumit__init_vit(t, complete));
    pumit_vit_set_recompute(t->vit, t->options.recompute != 0);
    t->model = pumit_vit_module(t->vit);
    PUMIT__TRY(pumit__add_part(t, "model", t->model));
    return pumit__keep_section(t, "vit", t->model);
}

static pumit_status open_data(pumit_trainer *t)
{
    return pumit__open_samplers(t, pumit_vit_channels(t->vit), pumit_vit_patch(t->vit),
                                t->options.packing != 0);
}

/* Visible tokens of draw number `draw` for images (N, D, H, W, C). */
static pumit_status choose_visible(pumit_tensor **out, pumit_trainer *t, pumit_tensor *image,
                                   const double spacing[3], const char *stream, int64_t draw)
{
    const int64_t *const shape = pumit_tensor_shape(image);
    int64_t grid[3];
    PUMIT__TRY(pumit_vit_grid(grid, t->vit, shape + 1, spacing));
    const uint64_t seed =
        pumit__random((uint64_t)t->options.seed, pumit__random_stream(stream), (uint64_t)draw);
    return pumit_vit_random_visible(out, t->ctx, shape[0], grid[0] * grid[1] * grid[2],
                                    t->options.mask_ratio, seed);
}

/* A batch: `count` tensors of images, each with its spacing and its visible tokens. */
typedef struct {
    int64_t count;
    pumit_tensor **images, **visible;
    double *spacing; /* (count, 3) */
} packed;

static pumit_status make_room(packed *p, int64_t count)
{
    *p = (packed){.count = count};
    p->images = pumit__calloc(count, (int64_t)sizeof(pumit_tensor *));
    p->visible = pumit__calloc(count, (int64_t)sizeof(pumit_tensor *));
    p->spacing = pumit__calloc(3 * count, (int64_t)sizeof *p->spacing);
    if (p->images && p->visible && p->spacing) return PUMIT_OK;
    return pumit__fail_memory(40 * count, "a batch");
}

static void free_packed(packed *p)
{
    for (int64_t i = 0; i < p->count; i++) {
        if (p->images) pumit_tensor_release(p->images[i]);
        if (p->visible) pumit_tensor_release(p->visible[i]);
    }
    free(p->images);
    free(p->visible);
    free(p->spacing);
}

/* The loss of batch `draw`, its images there already. */
static pumit_status mim_loss(pumit_tensor **out, pumit__mim_terms *terms, pumit_trainer *t,
                             const packed *p, const char *stream, int64_t draw)
{
    for (int64_t i = 0; i < p->count; i++)
        PUMIT__TRY(choose_visible(&p->visible[i], t, p->images[i], p->spacing + 3 * i, stream,
                                  draw * p->count + i));
    return pumit__vit_mim_loss_terms(out, terms, t->vit, t->tokenizer, p->count, p->images,
                                     p->spacing, p->visible);
}

/* Adds a share of what a loss told. */
static void add_terms(pumit__figures *figures, const pumit__mim_terms *terms, double loss,
                      double share)
{
    pumit__figures_add(figures, "kl", share * (loss - terms->entropy));
    pumit__figures_add(figures, "accuracy", share * terms->accuracy);
    pumit__figures_add(figures, "target_entropy", share * terms->entropy);
}

static pumit_status mean_da(double *out, const packed *p)
{
    *out = 0;
    for (int64_t i = 0; i < p->count; i++) {
        int32_t da;
        PUMIT__TRY(pumit_degree_of_anisotropy(&da, p->spacing + 3 * i));
        *out += da / (double)p->count;
    }
    return PUMIT_OK;
}

static pumit_status loss(pumit_tensor **out, pumit__figures *figures, pumit_trainer *t,
                         int64_t draw)
{
    const double share = 1 / (double)t->options.accumulate;
    pumit__mim_terms terms;
    pumit_status status;
    packed p;
    double value, da;
    *out = NULL;
    PUMIT__GO(make_room(&p, pumit__sampler_tensors(t->sampler)));
    PUMIT__GO(pumit__loader_take(p.images, p.spacing, NULL, t->loader, draw));
    PUMIT__GO(mim_loss(out, &terms, t, &p, "train.mask", draw));
    PUMIT__GO(mean_da(&da, &p));
    PUMIT__GO(pumit_tensor_item(&value, *out));
    add_terms(figures, &terms, value, share);
    pumit__figures_add(figures, "tokens", (double)terms.tokens);
    pumit__figures_add(figures, "mask_ratio", share * (double)terms.masked / (double)terms.tokens);
    pumit__figures_add(figures, "da", share * da);
out:
    free_packed(&p);
    return status;
}

/* Norms of the gradients by block, as grad_norm is of all of them. */
static pumit_status measure(pumit__figures *figures, pumit_trainer *t)
{
    double norms[PUMIT__VIT_MOST_DEPTH];
    int64_t depth;
    const int64_t every = t->options.norms_every;
    if (every == 0 || (t->step + 1) % every != 0) return PUMIT_OK;
    PUMIT__TRY(pumit_config_get_int(&depth, t->config, "vit.depth", 12));
    for (int64_t i = 0; i < depth; i++) {
        char prefix[32];
        snprintf(prefix, sizeof prefix, "blocks.%lld.", (long long)i);
        PUMIT__TRY(pumit__optimizer_norm(&norms[i], t->parts[0].optimizer, prefix));
        norms[i] /= (double)t->options.accumulate;
    }
    pumit__figures_list(figures, "block_norms", norms, (int32_t)depth);
    return PUMIT_OK;
}

static pumit_status judge(double *value, pumit__mim_terms *terms, pumit_trainer *t, int64_t i)
{
    pumit_tensor *tensor = NULL;
    pumit_status status;
    packed p;
    PUMIT__GO(make_room(&p, pumit__sampler_tensors(t->judge_sampler)));
    PUMIT__GO(pumit__sampler_batch(p.images, p.spacing, NULL, t->judge_sampler, i));
    PUMIT__GO(mim_loss(&tensor, terms, t, &p, "judge.mask", i));
    PUMIT__GO(pumit_tensor_item(value, tensor));
out:
    pumit_tensor_release(tensor);
    free_packed(&p);
    return status;
}

static pumit_status validate(pumit__figures *figures, pumit_trainer *t)
{
    for (int64_t i = 0; i < t->options.validate_batches; i++) {
        const double share = 1 / (double)t->options.validate_batches;
        pumit__mim_terms terms;
        double value;
        PUMIT__TRY(judge(&value, &terms, t, i));
        pumit__figures_add(figures, "loss", share * value);
        add_terms(figures, &terms, value, share);
    }
    return PUMIT_OK;
}

/* -------------------------------------------------------------------------------------------- sheets */

/* Copies the visible tokens' distributions of `seen` over those of `dst`: (N, L, codes). */
static void take_visible(float *dst, const float *seen, const int64_t *visible, int64_t n,
                         int64_t length, int64_t count, int64_t codes)
{
    for (int64_t i = 0; i < n * count; i++) {
        const int64_t row = (i / count * length + visible[i]) * codes;
        memcpy(dst + row, seen + row, (size_t)codes * sizeof *dst);
    }
}

static pumit_status fill_in(pumit_tensor *predicted, pumit_tensor *tokens, pumit_tensor *visible)
{
    const int64_t *const shape = pumit_tensor_shape(tokens);
    const int64_t total = pumit_tensor_count(tokens), bytes = total * (int64_t)sizeof(float);
    const int64_t shown = pumit_tensor_count(visible) * (int64_t)sizeof(int64_t);
    float *dst = pumit__calloc(bytes, 1), *seen = pumit__calloc(bytes, 1);
    int64_t *index = pumit__calloc(shown, 1);
    pumit_status status =
        dst && seen && index ? PUMIT_OK : pumit__fail_memory(2 * bytes + shown, "a sheet");
    if (status == PUMIT_OK) status = pumit_tensor_read(predicted, PUMIT_F32, dst, bytes);
    if (status == PUMIT_OK) status = pumit_tensor_read(tokens, PUMIT_F32, seen, bytes);
    if (status == PUMIT_OK) status = pumit_tensor_read(visible, PUMIT_I64, index, shown);
    if (status == PUMIT_OK) {
        take_visible(dst, seen, index, shape[0], shape[1] * shape[2] * shape[3],
                     pumit_tensor_shape(visible)[1], shape[4]);
        status = pumit_tensor_write(predicted, PUMIT_F32, dst, bytes);
    }
    free(dst);
    free(seen);
    free(index);
    return status;
}

/* Grays the voxels of image n (D, H, W, C) that no visible token covers. */
static void gray_out(float *image, const int64_t size[4], const int64_t grid[3], const bool *shown)
{
    const int64_t D = size[0], H = size[1], W = size[2], C = size[3];
    for (int64_t i = 0; i < D * H * W; i++) {
        const int64_t d = i / (H * W) * grid[0] / D, h = i / W % H * grid[1] / H,
                      w = i % W * grid[2] / W;
        if (shown[(d * grid[1] + h) * grid[2] + w]) continue;
        for (int64_t c = 0; c < C; c++) image[i * C + c] = 0.5f;
    }
}

static pumit_status mask_images(pumit_tensor **out, pumit_trainer *t, pumit_tensor *image,
                                const int64_t grid[3], pumit_tensor *visible)
{
    const int64_t *const shape = pumit_tensor_shape(image);
    const int64_t length = grid[0] * grid[1] * grid[2], count = pumit_tensor_shape(visible)[1];
    const int64_t total = pumit_tensor_count(image), bytes = total * (int64_t)sizeof(float);
    const int64_t each = total / shape[0],
                  shown_bytes = shape[0] * count * (int64_t)sizeof(int64_t);
    float *data = pumit__calloc(bytes, 1);
    int64_t *index = pumit__calloc(shown_bytes, 1);
    bool *shown = pumit__calloc(length, (int64_t)sizeof *shown);
    pumit_status status =
        data && index && shown ? PUMIT_OK : pumit__fail_memory(bytes + shown_bytes, "a sheet");
    if (status == PUMIT_OK) status = pumit_tensor_read(image, PUMIT_F32, data, bytes);
    if (status == PUMIT_OK) status = pumit_tensor_read(visible, PUMIT_I64, index, shown_bytes);
    for (int64_t n = 0; n < shape[0] && status == PUMIT_OK; n++) {
        memset(shown, 0, (size_t)length * sizeof *shown);
        for (int64_t k = 0; k < count; k++) shown[index[n * count + k]] = true;
        gray_out(data + n * each, shape + 1, grid, shown);
    }
    if (status == PUMIT_OK) status = pumit_tensor_from_data(out, t->ctx, PUMIT_F32, 5, shape, data);
    free(data);
    free(index);
    free(shown);
    return status;
}

static pumit_status draw_sheet(pumit_trainer *t, pumit_tensor *image, const double spacing[3],
                               const char *path)
{
    enum { SEEN, PREDICTED, VISIBLE, DECODED, MASKED, FILLED, COUNT };
    pumit_tensor *made[COUNT] = {0};
    pumit_status status;
    PUMIT__GO(pumit_tokenizer_encode(&made[SEEN], t->tokenizer, image, spacing));
    PUMIT__GO(choose_visible(&made[VISIBLE], t, image, spacing, "sheet.mask", 0));
    PUMIT__GO(pumit_vit_predict(&made[PREDICTED], t->vit, image, spacing, made[VISIBLE]));
    PUMIT__GO(fill_in(made[PREDICTED], made[SEEN], made[VISIBLE]));
    PUMIT__GO(pumit_tokenizer_decode(&made[DECODED], t->tokenizer, made[SEEN], spacing));
    PUMIT__GO(pumit_tokenizer_decode(&made[FILLED], t->tokenizer, made[PREDICTED], spacing));
    PUMIT__GO(
        mask_images(&made[MASKED], t, image, pumit_tensor_shape(made[SEEN]) + 1, made[VISIBLE]));
    pumit_tensor *const rows[] = {image, made[DECODED], made[MASKED], made[FILLED]};
    status = pumit__sheet_write(path, 4, rows);
out:
    for (int32_t i = 0; i < COUNT; i++) pumit_tensor_release(made[i]);
    return status;
}

static pumit_status sheet(pumit_trainer *t)
{
    return pumit__sheet_each(t, draw_sheet);
}

const pumit__recipe pumit__recipe_vit = {.name = "vit",
                                         .defaults = defaults,
                                         .create = create,
                                         .open = open_data,
                                         .loss = loss,
                                         .measure = measure,
                                         .validate = validate,
                                         .sheet = sheet};
