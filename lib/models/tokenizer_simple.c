/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simple tokenizer (paper section 3.2):
 *   encoder   for each level SAC down-sampling, LayerNorm over channels, GELU; then twice SAC 3x3x3, GroupNorm(8), LeakyReLU(0.01)
 *   decoder   twice SAC 3x3x3, GroupNorm, LeakyReLU; for each level but the last SAC up-sampling, SAC 3x3x3, GroupNorm,
 *             LeakyReLU; at last SAC up-sampling by the first stride
 */
#include "lib/models/tokenizer_internal.h"

#include <stdio.h>

#define NORM_EPS    1e-5
#define NORM_GROUPS 8
#define SLOPE       0.01

typedef struct {
    pumit__sac conv;
    pumit__layer norm;
} conv_norm;

typedef struct {
    pumit__sac up;
    conv_norm conv;
} up_stage;

typedef struct {
    pumit_tokenizer base;
    int64_t start_stride, channels[PUMIT__TOKENIZER_LEVELS];
    int32_t levels;
    conv_norm down[PUMIT__TOKENIZER_LEVELS];
    conv_norm encoder[2], decoder[2];
    up_stage up[PUMIT__TOKENIZER_LEVELS];
    pumit__sac last;
} simple;

static simple *simple_of(pumit_tokenizer *t)
{
    return (simple *)t;
}

/* ----------------------------------------------------------------------------------------- building */

static conv_norm add_conv_norm(pumit_module *module, int64_t in, int64_t out, const char *conv_name,
                               const char *norm_name)
{
    conv_norm layer;
    const pumit__sac_shape shape = {
        .in = in, .out = out, .kernel = 3, .stride = 1, .padding = 1, .bias = true};
    layer.conv = pumit__sac_create(module, &shape, conv_name);
    layer.norm = pumit__module_norm(module, out, norm_name);
    return layer;
}

/* "prefix.N" into a buffer that holds every name here. */
typedef struct {
    char text[64];
} layer_name;

static layer_name name_of(const char *prefix, int32_t i, const char *suffix)
{
    layer_name name;
    snprintf(name.text, sizeof name.text, "%s.%d%s", prefix, i, suffix);
    return name;
}

static void add_encoder(simple *t)
{
    pumit_module *module = &t->base.module;
    const int64_t top = t->channels[t->levels - 1];
    int32_t i = 0;
    for (int32_t level = 0; level < t->levels; level++, i += 3) {
        const int64_t stride = level == 0 ? t->start_stride : 2;
        const pumit__sac_shape shape = {.in = level == 0 ? t->base.in_channels
                                                         : t->channels[level - 1],
                                        .out = t->channels[level],
                                        .kernel = stride,
                                        .stride = stride,
                                        .bias = true};
        t->down[level].conv = pumit__sac_create(module, &shape, name_of("encoder", i, "").text);
        t->down[level].norm =
            pumit__module_norm(module, t->channels[level], name_of("encoder", i + 1, ".1").text);
    }
    for (int32_t k = 0; k < 2; k++, i += 3)
        t->encoder[k] =
            add_conv_norm(module, top, k == 0 ? top : t->base.quantizer.dim,
                          name_of("encoder", i, "").text, name_of("encoder", i + 1, "").text);
}

static void add_decoder(simple *t)
{
    pumit_module *module = &t->base.module;
    const int64_t top = t->channels[t->levels - 1];
    int32_t i = 0;
    for (int32_t k = 0; k < 2; k++, i += 3)
        t->decoder[k] =
            add_conv_norm(module, k == 0 ? t->base.quantizer.dim : top, top,
                          name_of("decoder", i, "").text, name_of("decoder", i + 1, "").text);
    for (int32_t level = t->levels - 2; level >= 0; level--, i++) {
        const pumit__sac_shape shape = {.in = t->channels[level + 1],
                                        .out = t->channels[level],
                                        .kernel = 2,
                                        .stride = 2,
                                        .transposed = true,
                                        .bias = true};
        t->up[level].up =
            pumit__sac_create(module, &shape, name_of("decoder", i, ".transposed_conv").text);
        t->up[level].conv = add_conv_norm(module, t->channels[level], t->channels[level],
                                          name_of("decoder", i, ".conv.0").text,
                                          name_of("decoder", i, ".conv.1").text);
    }
    const pumit__sac_shape shape = {.in = t->channels[0],
                                    .out = t->base.in_channels,
                                    .kernel = t->start_stride,
                                    .stride = t->start_stride,
                                    .transposed = true,
                                    .bias = true};
    t->last = pumit__sac_create(module, &shape, name_of("decoder", i, "").text);
}

static void add_layers(pumit_tokenizer *t)
{
    add_encoder(simple_of(t));
    pumit__quantizer_create(&t->quantizer, &t->module);
    add_decoder(simple_of(t));
}

static pumit_status read_config(pumit_tokenizer *base)
{
    static const int64_t usual[] = {128, 256, 512};
    simple *t = simple_of(base);
    PUMIT__TRY(pumit_config_get_int(&t->start_stride, base->module.config, "start_stride", 4));
    PUMIT__REQUIRE(t->start_stride == 2 || t->start_stride == 4 || t->start_stride == 8,
                   "tokenizer: start_stride %lld is not 2, 4 or 8", (long long)t->start_stride);
    PUMIT__REQUIRE(base->quantizer.dim % NORM_GROUPS == 0,
                   "tokenizer: code_dim %lld is no multiple of %d", (long long)base->quantizer.dim,
                   NORM_GROUPS);
    PUMIT__TRY(pumit__tokenizer_read_channels(t->channels, &t->levels, base, usual,
                                              (int32_t)PUMIT__COUNT(usual), NORM_GROUPS));
    const int32_t first = t->start_stride == 2 ? 1 : t->start_stride == 4 ? 2 : 3;
    return pumit__tokenizer_set_halvings(base, first + t->levels - 1);
}

static void destroy(pumit_module *module)
{
    simple *t = simple_of((pumit_tokenizer *)module);
    for (int32_t i = 0; i < t->levels; i++) {
        pumit__sac_destroy(&t->down[i].conv);
        pumit__sac_destroy(&t->up[i].up);
        pumit__sac_destroy(&t->up[i].conv.conv);
    }
    for (int32_t i = 0; i < 2; i++) {
        pumit__sac_destroy(&t->encoder[i].conv);
        pumit__sac_destroy(&t->decoder[i].conv);
    }
    pumit__sac_destroy(&t->last);
}

/* ------------------------------------------------------------------------------------------ forward */

static pumit__feature apply_conv_norm(conv_norm *layer, pumit__feature f)
{
    f = pumit__sac_forward(&layer->conv, f);
    f.x = pumit__leaky_relu(
        pumit__group_norm(f.x, layer->norm.weight, layer->norm.bias, NORM_GROUPS, NORM_EPS), SLOPE);
    return f;
}

static pumit__feature shrink(conv_norm *layer, pumit__feature f)
{
    f = pumit__sac_forward(&layer->conv, f);
    f.x = pumit__gelu(pumit__layer_norm(f.x, layer->norm.weight, layer->norm.bias, NORM_EPS));
    return f;
}

/* What was computed since `mark` goes, but for f. */
static pumit__feature leave_last(pumit_context *ctx, int64_t mark, pumit__feature f)
{
    f.x = pumit__scope_end(ctx, mark, f.x);
    return f;
}

static pumit__feature encode(pumit_tokenizer *base, pumit__feature f)
{
    simple *t = simple_of(base);
    pumit_context *ctx = base->module.ctx;
    const int64_t mark = pumit__scope_begin(ctx);
    for (int32_t i = 0; i < t->levels; i++) f = leave_last(ctx, mark, shrink(&t->down[i], f));
    for (int32_t i = 0; i < 2; i++) f = leave_last(ctx, mark, apply_conv_norm(&t->encoder[i], f));
    return f;
}

static pumit_tensor *decode(pumit_tokenizer *base, pumit__feature f)
{
    simple *t = simple_of(base);
    pumit_context *ctx = base->module.ctx;
    const int64_t mark = pumit__scope_begin(ctx);
    for (int32_t i = 0; i < 2; i++) f = leave_last(ctx, mark, apply_conv_norm(&t->decoder[i], f));
    for (int32_t i = t->levels - 2; i >= 0; i--) {
        f = pumit__sac_forward(&t->up[i].up, f);
        f = leave_last(ctx, mark, apply_conv_norm(&t->up[i].conv, f));
    }
    return pumit__sac_forward(&t->last, f).x;
}

const pumit__tokenizer_kind pumit__tokenizer_simple = {.model = "simple",
                                                       .name = "tokenizer.simple",
                                                       .mode = "soft",
                                                       .size = sizeof(simple),
                                                       .read_config = read_config,
                                                       .add_layers = add_layers,
                                                       .features = encode,
                                                       .image = decode,
                                                       .destroy = destroy};
