/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The VQGAN-shaped tokenizer (Esser et al. 2021), every convolution spatially adaptive, every norm GroupNorm(32):
 *   residual  y = shortcut(x) + conv(swish(norm(conv(swish(norm x))))), the shortcut 1x1x1 where channels change
 *   encoder   3x3x3; a halving by area; for each level residuals, then but for the last a convolution 2x3x3 of stride 2; two
 *             residuals; norm, swish, 3x3x3; 1x1x1 to the codes' width
 *   decoder   the same backwards, growing by nearest-exact and 3x3x3 between levels, trilinearly at last
 * The halving and the last growing are left out with "interpolate" false.
 */
#include "lib/models/tokenizer_internal.h"

#include <stdarg.h>

#define NORM_EPS    1e-6
#define NORM_GROUPS 32
#define MOST_BLOCKS 8

typedef struct {
    pumit__layer norm[2];
    pumit__sac conv[2], shortcut; /* shortcut.weight NULL: none */
} residual;

typedef struct {
    residual blocks[MOST_BLOCKS];
    pumit__sac conv; /* down-sampling; behind up-sampling; none where weight is NULL */
} stage;

/* The encoder or the decoder. */
typedef struct {
    pumit__sac in, out;
    stage stages[PUMIT__TOKENIZER_LEVELS];
    residual middle[2];
    pumit__layer norm;
    int64_t blocks; /* of a stage */
} tower;

typedef struct {
    pumit_tokenizer base;
    int64_t z_channels, channels[PUMIT__TOKENIZER_LEVELS];
    int32_t levels, interpolate;
    tower encoder, decoder;
    pumit__sac to_codes, from_codes;
} vqvae;

static vqvae *vqvae_of(pumit_tokenizer *t)
{
    return (vqvae *)t;
}

/* ----------------------------------------------------------------------------------------- building */

/* A formatted name, in a buffer that holds every one here. */
typedef struct {
    char text[80];
} layer_name;

static layer_name PUMIT__PRINTF(1, 2) name_of(const char *format, ...)
{
    layer_name name;
    va_list args;
    va_start(args, format);
    vsnprintf(name.text, sizeof name.text, format, args);
    va_end(args);
    return name;
}

/* Kernel 1 or 3 on all axes, the size kept. */
static pumit__sac add_conv(pumit_module *module, int64_t in, int64_t out, int64_t kernel,
                           const char *name)
{
    const pumit__sac_shape shape = {
        .in = in, .out = out, .kernel = kernel, .stride = 1, .padding = kernel / 2, .bias = true};
    return pumit__sac_create(module, &shape, name);
}

/* 2x3x3 of stride 2. */
static pumit__sac add_halving(pumit_module *module, int64_t channels, const char *name)
{
    const pumit__sac_shape shape = {.in = channels,
                                    .out = channels,
                                    .kernel = 3,
                                    .kernel_depth = 2,
                                    .stride = 2,
                                    .padding = 1,
                                    .bias = true};
    return pumit__sac_create(module, &shape, name);
}

static residual add_residual(pumit_module *module, int64_t in, int64_t out, const char *name)
{
    residual r = {0};
    for (int32_t i = 0; i < 2; i++) {
        const int64_t from = i == 0 ? in : out;
        r.norm[i] = pumit__module_norm(module, from, name_of("%s.norm%d", name, i + 1).text);
        r.conv[i] = add_conv(module, from, out, 3, name_of("%s.conv%d", name, i + 1).text);
    }
    if (in != out) r.shortcut = add_conv(module, in, out, 1, name_of("%s.nin_shortcut", name).text);
    return r;
}

static void add_middle(tower *side, pumit_module *module, int64_t channels, const char *name)
{
    for (int32_t i = 0; i < 2; i++)
        side->middle[i] =
            add_residual(module, channels, channels, name_of("%s.mid.block_%d", name, i + 1).text);
}

static void add_encoder(vqvae *t)
{
    pumit_module *module = &t->base.module;
    tower *side = &t->encoder;
    const int64_t top = t->channels[t->levels - 1];
    int64_t last = t->channels[0];
    side->in = add_conv(module, t->base.in_channels, last, 3, "encoder.conv_in");
    for (int32_t i = 0; i < t->levels; i++) {
        for (int32_t j = 0; j < side->blocks; j++, last = t->channels[i])
            side->stages[i].blocks[j] = add_residual(
                module, last, t->channels[i], name_of("encoder.down.%d.block.%d", i, j).text);
        if (i < t->levels - 1)
            side->stages[i].conv =
                add_halving(module, last, name_of("encoder.down.%d.downsample.conv", i).text);
    }
    add_middle(side, module, top, "encoder");
    side->norm = pumit__module_norm(module, top, "encoder.norm_out");
    side->out = add_conv(module, top, t->z_channels, 3, "encoder.conv_out");
}

static void add_decoder(vqvae *t)
{
    pumit_module *module = &t->base.module;
    tower *side = &t->decoder;
    int64_t last = t->channels[t->levels - 1];
    side->in = add_conv(module, t->z_channels, last, 3, "decoder.conv_in");
    add_middle(side, module, last, "decoder");
    for (int32_t i = t->levels - 1; i >= 0; i--) {
        for (int32_t j = 0; j < side->blocks; j++, last = t->channels[i])
            side->stages[i].blocks[j] = add_residual(module, last, t->channels[i],
                                                     name_of("decoder.up.%d.block.%d", i, j).text);
        if (i > 0)
            side->stages[i].conv =
                add_conv(module, last, last, 3, name_of("decoder.up.%d.upsample.conv", i).text);
    }
    side->norm = pumit__module_norm(module, last, "decoder.norm_out");
    side->out = add_conv(module, last, t->base.in_channels, 3, "decoder.conv_out");
}

static void add_layers(pumit_tokenizer *base)
{
    vqvae *t = vqvae_of(base);
    const int64_t dim = base->quantizer.dim;
    add_encoder(t);
    t->to_codes = add_conv(&base->module, t->z_channels, dim, 1, "quant_conv");
    pumit__quantizer_create(&base->quantizer, &base->module);
    t->from_codes = add_conv(&base->module, dim, t->z_channels, 1, "post_quant_conv");
    add_decoder(t);
}

static pumit_status read_config(pumit_tokenizer *base)
{
    static const int64_t usual[] = {128, 128, 256, 512};
    vqvae *t = vqvae_of(base);
    const pumit_config *config = base->module.config;
    int64_t blocks;
    PUMIT__TRY(pumit_config_get_int(&t->z_channels, config, "z_channels", 256));
    PUMIT__TRY(pumit_config_get_int(&blocks, config, "res_blocks", 2));
    PUMIT__TRY(pumit_config_get_bool(&t->interpolate, config, "interpolate", 1));
    PUMIT__REQUIRE(t->z_channels >= 1 && t->z_channels <= 1 << 16,
                   "tokenizer: z_channels %lld is not in 1..2^16", (long long)t->z_channels);
    PUMIT__REQUIRE(blocks >= 1 && blocks < MOST_BLOCKS,
                   "tokenizer: res_blocks %lld is not in 1..%d", (long long)blocks,
                   MOST_BLOCKS - 1);
    PUMIT__TRY(pumit__tokenizer_read_channels(t->channels, &t->levels, base, usual,
                                              (int32_t)PUMIT__COUNT(usual), NORM_GROUPS));
    t->encoder.blocks = blocks;
    t->decoder.blocks = blocks + 1;
    return pumit__tokenizer_set_halvings(base, t->levels - 1 + (t->interpolate ? 1 : 0));
}

static void destroy_residual(residual *r)
{
    for (int32_t i = 0; i < 2; i++) pumit__sac_destroy(&r->conv[i]);
    pumit__sac_destroy(&r->shortcut);
}

static void destroy_tower(tower *side)
{
    for (int32_t i = 0; i < PUMIT__TOKENIZER_LEVELS; i++) {
        for (int32_t j = 0; j < MOST_BLOCKS; j++) destroy_residual(&side->stages[i].blocks[j]);
        pumit__sac_destroy(&side->stages[i].conv);
    }
    for (int32_t i = 0; i < 2; i++) destroy_residual(&side->middle[i]);
    pumit__sac_destroy(&side->in);
    pumit__sac_destroy(&side->out);
}

static void destroy(pumit_module *module)
{
    vqvae *t = vqvae_of((pumit_tokenizer *)module);
    destroy_tower(&t->encoder);
    destroy_tower(&t->decoder);
    pumit__sac_destroy(&t->to_codes);
    pumit__sac_destroy(&t->from_codes);
}

/* ------------------------------------------------------------------------------------------ forward */

static pumit_tensor *norm_swish(const pumit__layer *norm, pumit_tensor *x)
{
    return pumit__silu(pumit__group_norm(x, norm->weight, norm->bias, NORM_GROUPS, NORM_EPS));
}

static pumit__feature conv(pumit__sac *layer, pumit__feature f)
{
    return pumit__sac_forward(layer, f);
}

static pumit__feature apply_residual(residual *r, pumit__feature f)
{
    if (!f.x) return f;
    pumit_context *ctx = f.x->ctx;
    const int64_t mark = pumit__scope_begin(ctx);
    pumit__feature h = f;
    for (int32_t i = 0; i < 2; i++) {
        h.x = norm_swish(&r->norm[i], h.x);
        h = conv(&r->conv[i], h);
    }
    if (r->shortcut.weight) f = conv(&r->shortcut, f);
    f.x = pumit__scope_end(ctx, mark, pumit__add(f.x, h.x));
    return f;
}

static pumit__feature apply_blocks(residual *blocks, int64_t count, pumit__feature f)
{
    for (int64_t i = 0; i < count; i++) f = apply_residual(&blocks[i], f);
    return f;
}

static pumit__feature apply_out(tower *side, pumit__feature f)
{
    f.x = norm_swish(&side->norm, f.x);
    return conv(&side->out, f);
}

/* Without parameters, as SAC would: depth is halved once the map is isotropic. */
static pumit__feature shrink(pumit__feature f)
{
    if (!f.x) return f;
    const int64_t *s = f.x->shape;
    const int64_t size[3] = {f.da > f.down ? s[1] : s[1] / 2, s[2] / 2, s[3] / 2};
    return (pumit__feature){pumit__resample(f.x, size, PUMIT_RESAMPLE_AREA), f.da, f.down + 1};
}

/* And back: depth grows while it has halvings to regain. */
static pumit__feature grow(pumit__feature f, int32_t kind)
{
    if (!f.x) return f;
    const int64_t *s = f.x->shape;
    const int64_t size[3] = {f.down > f.da ? 2 * s[1] : s[1], 2 * s[2], 2 * s[3]};
    return (pumit__feature){pumit__resample(f.x, size, kind), f.da, f.down - 1};
}

static pumit__feature encode(pumit_tokenizer *base, pumit__feature f)
{
    vqvae *t = vqvae_of(base);
    tower *side = &t->encoder;
    f = conv(&side->in, f);
    if (t->interpolate) f = shrink(f);
    for (int32_t i = 0; i < t->levels; i++) {
        f = apply_blocks(side->stages[i].blocks, side->blocks, f);
        if (i < t->levels - 1) f = conv(&side->stages[i].conv, f);
    }
    f = apply_blocks(side->middle, 2, f);
    return conv(&t->to_codes, apply_out(side, f));
}

static pumit_tensor *decode(pumit_tokenizer *base, pumit__feature f)
{
    vqvae *t = vqvae_of(base);
    tower *side = &t->decoder;
    f = conv(&side->in, conv(&t->from_codes, f));
    f = apply_blocks(side->middle, 2, f);
    for (int32_t i = t->levels - 1; i >= 0; i--) {
        f = apply_blocks(side->stages[i].blocks, side->blocks, f);
        if (i > 0) f = conv(&side->stages[i].conv, grow(f, PUMIT_RESAMPLE_NEAREST_EXACT));
    }
    if (t->interpolate) f = grow(f, PUMIT_RESAMPLE_TRILINEAR);
    return apply_out(side, f).x;
}

const pumit__tokenizer_kind pumit__tokenizer_vqvae = {.model = "vqvae",
                                                      .name = "tokenizer.vqvae",
                                                      .mode = "nearest",
                                                      .size = sizeof(vqvae),
                                                      .read_config = read_config,
                                                      .add_layers = add_layers,
                                                      .features = encode,
                                                      .image = decode,
                                                      .destroy = destroy};
