/* SPDX-License-Identifier: Apache-2.0 */
/* The universal vision transformer (paper section 3.3): construction, patch tokens, forward pass, embedding. */
#include "lib/models/vit_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define DEVIATION 0.02

/* ----------------------------------------------------------------------------------------- building */

static pumit_status read_triple(int64_t out[3], const pumit_config *config, const char *key,
                                int64_t a, int64_t b, int64_t c)
{
    int32_t count;
    PUMIT__TRY(pumit_config_get_ints(out, 3, &count, config, key));
    PUMIT__REQUIRE(count == 0 || count == 3, "vit: '%s' needs three numbers", key);
    if (count == 0) memcpy(out, (const int64_t[3]){a, b, c}, 3 * sizeof *out);
    for (int32_t i = 0; i < 3; i++)
        PUMIT__REQUIRE(out[i] >= 1 && out[i] <= 1 << 20,
                       "vit: '%s' holds %lld, which is not in 1..2^20", key, (long long)out[i]);
    return PUMIT_OK;
}

static pumit_status read_mask_layers(pumit_vit *vit)
{
    int64_t layers[PUMIT__VIT_MOST_DEPTH];
    int32_t count;
    PUMIT__TRY(pumit_config_get_ints(layers, PUMIT__VIT_MOST_DEPTH, &count, vit->module.config,
                                     "mask_layers"));
    for (int64_t i = 0; i < vit->depth; i++) vit->masked_layer[i] = count == 0;
    for (int32_t i = 0; i < count; i++) {
        PUMIT__REQUIRE(layers[i] >= 0 && layers[i] < vit->depth,
                       "vit: mask_layers holds %lld, blocks are 0..%lld", (long long)layers[i],
                       (long long)vit->depth - 1);
        vit->masked_layer[layers[i]] = true;
    }
    return PUMIT_OK;
}

static pumit_status read_pooling(pumit_vit *vit)
{
    const char *pool;
    PUMIT__TRY(pumit_config_get_string(&pool, vit->module.config, "pool", "mean"));
    PUMIT__REQUIRE(strcmp(pool, "mean") == 0 || strcmp(pool, "cls") == 0,
                   "vit: pool is '%s', not 'mean' or 'cls'", pool);
    vit->pool_class_token = strcmp(pool, "cls") == 0;
    return PUMIT_OK;
}

static pumit_status read_sizes(pumit_vit *vit)
{
    const struct {
        const char *key;
        int64_t *value, fallback, least, most;
    } sizes[] = {
        {"in_channels", &vit->in_channels, 3, 1, 4096},
        {"dim", &vit->dim, 768, 4, 1 << 16},
        {"depth", &vit->depth, 12, 1, PUMIT__VIT_MOST_DEPTH},
        {"heads", &vit->heads, 12, 1, 1 << 10},
        {"hidden", &vit->hidden, 2048, 1, 1 << 18},
        {"codes", &vit->codes, 0, 0, 1 << 20},
        {"max_tokens", &vit->max_tokens, 2048, 1, 1 << 24},
    };
    for (int64_t i = 0; i < PUMIT__COUNT(sizes); i++) {
        PUMIT__TRY(pumit_config_get_int(sizes[i].value, vit->module.config, sizes[i].key,
                                        sizes[i].fallback));
        PUMIT__REQUIRE(*sizes[i].value >= sizes[i].least && *sizes[i].value <= sizes[i].most,
                       "vit: '%s' is %lld, it must be in %lld..%lld", sizes[i].key,
                       (long long)*sizes[i].value, (long long)sizes[i].least,
                       (long long)sizes[i].most);
    }
    PUMIT__REQUIRE(vit->dim % vit->heads == 0 && vit->dim / vit->heads % 4 == 0,
                   "vit: dim %lld by heads %lld must be a multiple of 4 (rotary positions)",
                   (long long)vit->dim, (long long)vit->heads);
    return PUMIT_OK;
}

static bool power_up_to_16(int64_t size)
{
    return size >= 1 && size <= 16 && (size & (size - 1)) == 0;
}

/* A cube adapts to the image's anisotropy; any other patch is a plain convolution, for images of one spacing. */
static pumit_status read_patch(pumit_vit *vit)
{
    const int64_t *p = vit->patch;
    PUMIT__TRY(read_triple(vit->patch, vit->module.config, "patch", 16, 16, 16));
    PUMIT__REQUIRE(power_up_to_16(p[0]) && power_up_to_16(p[1]) && p[1] == p[2] && p[1] >= 2,
                   "vit: a patch of %lldx%lldx%lld: powers of two up to 16, the last two the same "
                   "and at least 2",
                   (long long)p[0], (long long)p[1], (long long)p[2]);
    vit->adaptive = p[0] == p[1];
    return PUMIT_OK;
}

static pumit_status read_config(pumit_vit *vit)
{
    const pumit_config *config = vit->module.config;
    int64_t base[3];
    PUMIT__TRY(read_sizes(vit));
    PUMIT__TRY(read_triple(vit->position_grid, config, "pos_embed_shape", 5, 10, 10));
    PUMIT__TRY(read_triple(base, config, "rope_base", 2333, 10000, 10000));
    for (int32_t i = 0; i < 3; i++) vit->rope_base[i] = (double)base[i];
    PUMIT__TRY(read_patch(vit));
    PUMIT__TRY(read_pooling(vit));
    return read_mask_layers(vit);
}

/* "blocks.I.part" into a buffer that holds every name here. */
typedef struct {
    char text[64];
} block_name;

static block_name name_of(int64_t i, const char *part)
{
    block_name name;
    snprintf(name.text, sizeof name.text, "blocks.%lld.%s", (long long)i, part);
    return name;
}

static void add_block(pumit_vit *vit, int64_t i)
{
    pumit_module *m = &vit->module;
    pumit__vit_block *b = &vit->blocks[i];
    const int64_t dim = vit->dim, hidden = vit->hidden;
    b->norm1 = pumit__module_norm(m, dim, name_of(i, "norm1").text);
    b->norm2 = pumit__module_norm(m, dim, name_of(i, "norm2").text);
    b->q = pumit__module_linear(m, dim, dim, false, DEVIATION, name_of(i, "attn.q_proj").text);
    b->k = pumit__module_linear(m, dim, dim, false, DEVIATION, name_of(i, "attn.k_proj").text);
    b->v = pumit__module_linear(m, dim, dim, false, DEVIATION, name_of(i, "attn.v_proj").text);
    b->q.bias = pumit__module_add(m, 1, &dim, false, PUMIT__CONSTANT(0.0),
                                  "blocks.%lld.attn.q_bias", (long long)i);
    b->v.bias = pumit__module_add(m, 1, &dim, false, PUMIT__CONSTANT(0.0),
                                  "blocks.%lld.attn.v_bias", (long long)i);
    /* Layers that write to the residual stream start smaller the deeper they are (Bao et al. 2022, BEiT). */
    const double residual = DEVIATION / sqrt(2.0 * (double)(i + 1));
    b->proj = pumit__module_linear(m, dim, dim, true, residual, name_of(i, "attn.proj").text);
    b->w1 = pumit__module_linear(m, dim, hidden, true, DEVIATION, name_of(i, "mlp.w1").text);
    b->w2 = pumit__module_linear(m, dim, hidden, true, DEVIATION, name_of(i, "mlp.w2").text);
    b->w3 = pumit__module_linear(m, hidden, dim, true, residual, name_of(i, "mlp.w3").text);
    b->ffn_norm = pumit__module_norm(m, hidden, name_of(i, "mlp.ffn_ln").text);
}

static void add_patch_embed(pumit_vit *vit)
{
    pumit_module *m = &vit->module;
    const int64_t *p = vit->patch, in = vit->in_channels;
    const char *name = "patch_embed.proj";
    if (vit->adaptive) {
        const pumit__sac_shape shape = {
            .in = in, .out = vit->dim, .kernel = p[0], .stride = p[0], .bias = true};
        vit->patch_embed = pumit__sac_create(m, &shape, name);
        return;
    }
    const int64_t shape[5] = {vit->dim, p[0], p[1], p[2], in};
    const double deviation = 1.0 / sqrt((double)(p[0] * p[1] * p[2] * in));
    vit->patch_embed.weight =
        pumit__module_add(m, 5, shape, true, PUMIT__NORMAL(deviation), "%s.weight", name);
    vit->patch_embed.bias =
        pumit__module_add(m, 1, shape, false, PUMIT__CONSTANT(0.0), "%s.bias", name);
}

static void add_parameters(pumit_vit *vit)
{
    pumit_module *m = &vit->module;
    const int64_t token[3] = {1, 1, vit->dim};
    const int64_t position[5] = {1, vit->position_grid[0], vit->position_grid[1],
                                 vit->position_grid[2], vit->dim};
    add_patch_embed(vit);
    vit->class_token = pumit__module_add(m, 3, token, false, PUMIT__NORMAL(DEVIATION), "cls_token");
    vit->position = pumit__module_add(m, 5, position, false, PUMIT__NORMAL(DEVIATION), "pos_embed");
    for (int64_t i = 0; i < vit->depth; i++) add_block(vit, i);
    vit->norm = pumit__module_norm(m, vit->dim, "norm");
    if (vit->codes == 0) return;
    vit->mask_token = pumit__module_add(m, 3, token, false, PUMIT__NORMAL(DEVIATION), "mask_token");
    vit->head0 = pumit__module_linear(m, vit->dim, vit->dim, true, DEVIATION, "mim_head.0");
    vit->head2 = pumit__module_linear(m, vit->dim, vit->codes, true, DEVIATION, "mim_head.2");
}

static void destroy(pumit_module *module)
{
    pumit_vit *vit = (pumit_vit *)module;
    pumit__sac_destroy(&vit->patch_embed);
    pumit__vit_angles_destroy(vit);
}

pumit_status pumit__vit_build(pumit_module **out, pumit_context *ctx, const pumit_config *config,
                              pumit__values values)
{
    pumit_vit *vit = pumit__module_create(sizeof *vit, ctx, "vit", config, values, destroy);
    if (!vit) return pumit__last_status();
    if (!values.drawn) vit->module.matrices = ctx->weights;
    vit->module.status = read_config(vit);
    if (vit->module.status == PUMIT_OK) add_parameters(vit);
    const pumit_status status = pumit__module_finish(&vit->module);
    if (status != PUMIT_OK) {
        pumit__module_release(&vit->module);
        return status;
    }
    *out = &vit->module;
    return PUMIT_OK;
}

pumit_status pumit_vit_create(pumit_vit **out, pumit_context *context, const pumit_config *config)
{
    PUMIT__REQUIRE(out && context, "pumit_vit_create: an argument is NULL");
    pumit_module *module = NULL;
    const pumit_status status = pumit__vit_build(&module, context, config, PUMIT__DRAWN);
    *out = (pumit_vit *)module;
    return status;
}

void pumit_vit_release(pumit_vit *vit)
{
    if (vit) pumit__module_release(&vit->module);
}

pumit_module *pumit_vit_module(pumit_vit *vit)
{
    return vit ? &vit->module : NULL;
}

int64_t pumit_vit_dim(const pumit_vit *vit)
{
    return vit->dim;
}

int64_t pumit_vit_channels(const pumit_vit *vit)
{
    return vit->in_channels;
}

const int64_t *pumit_vit_patch(const pumit_vit *vit)
{
    return vit->patch;
}

void pumit_vit_set_recompute(pumit_vit *vit, int32_t on)
{
    vit->recompute = on != 0;
}

/* ------------------------------------------------------------------------------------------- images */

static int64_t patch_depth(const pumit_vit *vit, int32_t da)
{
    const int64_t depth = vit->adaptive ? vit->patch[0] >> da : vit->patch[0];
    return depth > 1 ? depth : 1;
}

pumit_status pumit_vit_grid(int64_t grid[3], const pumit_vit *vit, const int64_t size[3],
                            const double spacing[3])
{
    int32_t da;
    PUMIT__REQUIRE(grid && vit && size, "pumit_vit_grid: an argument is NULL");
    PUMIT__TRY(pumit_degree_of_anisotropy(&da, spacing));
    for (int32_t i = 0; i < 3; i++) {
        grid[i] = size[i] / (i == 0 ? patch_depth(vit, da) : vit->patch[i]);
        if (grid[i] < 1)
            return pumit__fail(PUMIT_ERROR_SHAPE, "an image of %s voxels is smaller than a patch",
                               pumit__shape_string(3, size).text);
    }
    return PUMIT_OK;
}

/* ImageNet's statistics, as the pre-trained transformer expects; other channel counts use their means. */
pumit_tensor *pumit__vit_normalize(const pumit_vit *vit, pumit_tensor *image, int32_t da)
{
    static const double mean[3] = {0.485, 0.456, 0.406}, deviation[3] = {0.229, 0.224, 0.225};
    const int64_t *s = image->shape;
    if (image->ndim != 5 || s[4] != vit->in_channels || s[0] < 1 || s[1] < patch_depth(vit, da) ||
        s[2] < vit->patch[1] || s[3] < vit->patch[2]) {
        pumit__fail(PUMIT_ERROR_SHAPE,
                    "vit: image %s; it must be (N, D, H, W, %lld) of at least %lldx%lldx%lld "
                    "voxels for DA %d",
                    pumit__shape_string(image->ndim, s).text, (long long)vit->in_channels,
                    (long long)patch_depth(vit, da), (long long)vit->patch[1],
                    (long long)vit->patch[2], da);
        return NULL;
    }
    pumit_tensor *x = pumit__as_real(vit->module.ctx, image);
    if (vit->in_channels != 3) return pumit__affine(x, 1.0 / 0.226, -0.449 / 0.226);
    double scale[3], shift[3];
    for (int32_t i = 0; i < 3; i++) {
        scale[i] = 1.0 / deviation[i];
        shift[i] = -mean[i] / deviation[i];
    }
    const int64_t three = 3;
    pumit_context *ctx = vit->module.ctx;
    const int64_t mark = pumit__scope_begin(ctx);
    x = pumit__mul(x, pumit__from_host(ctx, PUMIT_F64, scale, 0, 1, &three));
    x = pumit__add(x, pumit__from_host(ctx, PUMIT_F64, shift, 0, 1, &three));
    return pumit__scope_end(ctx, mark, x);
}

/* ------------------------------------------------------------------------------------------ forward */

static pumit_tensor *embed_patches(pumit_vit *vit, pumit_tensor *x, int32_t da)
{
    pumit__sac *embed = &vit->patch_embed;
    if (vit->adaptive) return pumit__sac_forward(embed, (pumit__feature){x, da, 0}).x;
    return pumit__conv(x, embed->weight, embed->bias, vit->patch, (const int64_t[3]){0, 0, 0});
}

pumit_tensor *pumit__vit_patch_tokens(pumit_vit *vit, pumit_tensor *x, int32_t da, int64_t grid[3])
{
    const int64_t mark = pumit__scope_begin(vit->module.ctx); /* the rows of patches go at once */
    pumit_tensor *y = embed_patches(vit, x, da);
    if (!y) return NULL;
    for (int32_t i = 0; i < 3; i++) grid[i] = y->shape[1 + i];
    const int64_t shape[3] = {y->shape[0], grid[0] * grid[1] * grid[2], vit->dim};
    y = pumit__reshape(pumit__add(y, pumit__resample_to(vit->position, grid)), 3, shape);
    return pumit__scope_end(vit->module.ctx, mark, y);
}

pumit_tensor *pumit__vit_image_tokens(pumit_vit *vit, pumit_tensor *image, int32_t da,
                                      int64_t grid[3])
{
    const int64_t mark = pumit__scope_begin(vit->module.ctx);
    pumit_tensor *x = pumit__vit_normalize(vit, image, da);
    pumit_tensor *tokens = x ? pumit__vit_patch_tokens(vit, x, da, grid) : NULL;
    return pumit__scope_end(vit->module.ctx, mark, tokens);
}

pumit_tensor *pumit__vit_with_class(const pumit_vit *vit, pumit_tensor *tokens)
{
    if (!tokens) return NULL;
    const int64_t shape[3] = {tokens->shape[0], 1, vit->dim};
    return pumit__concat(pumit__expand(vit->class_token, 3, shape), tokens, 1);
}

pumit_tensor *pumit__vit_final_norm(const pumit_vit *vit, pumit_tensor *x)
{
    return pumit__layer_norm(x, vit->norm.weight, vit->norm.bias, PUMIT__VIT_EPS);
}

pumit_status pumit__vit_states(pumit_tensor **states, pumit_vit *vit, pumit_tensor *tokens,
                               const int64_t grid[3], const int64_t *blocks, int32_t count)
{
    pumit_context *ctx = vit->module.ctx;
    int64_t last = -1;
    for (int32_t k = 0; k < count; k++) last = blocks[k] > last ? blocks[k] : last;
    pumit_tensor *t = pumit__vit_with_class(vit, tokens);
    const pumit__vit_angles *angles = t ? pumit__vit_angles_of(vit, grid) : NULL;
    if (!angles) return pumit__last_status();
    int64_t mark = pumit__scope_begin(ctx); /* a state that nobody wants goes after its use */
    for (int64_t i = 0; i <= last; i++) {
        t = pumit__vit_block_forward(vit, i, t, angles->cosine, angles->sine, NULL, NULL);
        t = pumit__scope_end(ctx, mark, t);
        for (int32_t k = 0; k < count; k++) {
            if (blocks[k] != i) continue;
            states[k] = t;
            mark = pumit__scope_begin(ctx);
        }
    }
    return t ? PUMIT_OK : pumit__last_status();
}

pumit_tensor *pumit__vit_hidden(pumit_vit *vit, pumit_tensor *tokens, const int64_t grid[3])
{
    const int64_t last = vit->depth - 1;
    pumit_tensor *t = NULL;
    if (!tokens || pumit__vit_states(&t, vit, tokens, grid, &last, 1) != PUMIT_OK) return NULL;
    return pumit__vit_final_norm(vit, t);
}

pumit_tensor *pumit__vit_pooled(const pumit_vit *vit, pumit_tensor *hidden)
{
    if (!hidden) return NULL;
    const int64_t tokens = hidden->shape[1] - 1, shape[2] = {hidden->shape[0], vit->dim};
    if (vit->pool_class_token) return pumit__reshape(pumit__slice(hidden, 1, 0, 1), 2, shape);
    return pumit__sum(pumit__slice(hidden, 1, 1, tokens), UINT32_C(1) << 1, 1.0 / (double)tokens);
}

/* ------------------------------------------------------------------------------------- public calls */

/* The transformer inside a classifier's file: its section of the configuration, its weights under "backbone.". */
static pumit_status load_backbone(pumit_module **out, pumit_context *ctx, const pumit_config *info,
                                  const char *path)
{
    pumit_config *config;
    PUMIT__TRY(pumit_config_get_section(&config, info, "pumit.config.vit"));
    pumit_status status =
        pumit__fail_in(pumit__vit_build(out, ctx, config, PUMIT__FROM_FILE), "%s", path);
    if (status == PUMIT_OK) status = pumit_module_load_weights(*out, path, "backbone.", 1, NULL);
    pumit_config_release(config);
    return status;
}

pumit_status pumit_vit_load(pumit_vit **out, pumit_context *context, const char *path)
{
    PUMIT__REQUIRE(out && context && path, "pumit_vit_load: an argument is NULL");
    pumit_config *info;
    pumit_module *module = NULL;
    const char *kind;
    *out = NULL;
    PUMIT__TRY(pumit_model_file_info(&info, path));
    pumit_status status = pumit_config_get_string(&kind, info, "pumit.model", "");
    if (status == PUMIT_OK && strcmp(kind, "classifier") == 0)
        status = load_backbone(&module, context, info, path);
    else if (status == PUMIT_OK)
        status = pumit__module_load(&module, context, path, "vit", pumit__vit_build);
    pumit_config_release(info);
    if (status != PUMIT_OK) {
        pumit__module_release(module);
        module = NULL;
    }
    *out = (pumit_vit *)module;
    return status;
}

pumit_status pumit_vit_share(pumit_vit **out, pumit_context *context, const pumit_vit *vit)
{
    PUMIT__REQUIRE(out && context && vit, "pumit_vit_share: an argument is NULL");
    pumit_module *module = NULL;
    const pumit_status status =
        pumit__module_join(&module, context, &vit->module, pumit__vit_build);
    *out = (pumit_vit *)module;
    return status;
}

pumit_status pumit_vit_forward(pumit_tensor **out, pumit_vit *vit, pumit_tensor *image,
                               const double spacing[3])
{
    int32_t da;
    PUMIT__REQUIRE(out && vit && image, "pumit_vit_forward: an argument is NULL");
    *out = NULL;
    PUMIT__TRY(pumit_degree_of_anisotropy(&da, spacing));
    int64_t grid[3];
    const int64_t mark = pumit__scope_begin(vit->module.ctx);
    pumit_tensor *tokens = pumit__vit_image_tokens(vit, image, da, grid);
    return pumit__scope_return(out, vit->module.ctx, mark, pumit__vit_hidden(vit, tokens, grid));
}

pumit_status pumit__vit_prepare(pumit_tensor **out, double spacing[3], const pumit_vit *vit,
                                const pumit_volume *volume)
{
    /* That call shrinks a patch with the volume's DA, which a plain one must not. */
    const int32_t kept = vit->adaptive ? 0 : pumit_volume_anisotropy(volume);
    const int64_t patch[3] = {vit->patch[0] << kept, vit->patch[1], vit->patch[2]};
    return pumit_volume_to_patches(out, spacing, volume, vit->module.ctx, vit->in_channels, patch,
                                   vit->max_tokens);
}
