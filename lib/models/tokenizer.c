/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simple universal visual tokenizer (paper section 3.2):
 *   encoder   for each level SAC down-sampling, LayerNorm over channels, GELU; then twice SAC 3x3x3, GroupNorm(8), LeakyReLU(0.01)
 *   quantiser p = softmax(proj z), z_q = p codebook
 *   decoder   twice SAC 3x3x3, GroupNorm, LeakyReLU; for each level but the last SAC up-sampling, SAC 3x3x3, GroupNorm,
 *             LeakyReLU; at last SAC up-sampling by the first stride
 */
#include "lib/models/tokenizer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MOST_LEVELS 6
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

struct pumit_tokenizer {
    pumit_module module;
    int64_t in_channels, start_stride, codes, code_dim;
    int64_t channels[MOST_LEVELS];
    int64_t patch[3];
    int32_t levels;
    conv_norm down[MOST_LEVELS];
    conv_norm encoder[2], decoder[2];
    pumit__layer projection;
    pumit_tensor *codebook; /* (codes, code_dim) */
    up_stage up[MOST_LEVELS];
    pumit__sac last;
};

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

static void add_encoder(pumit_tokenizer *t)
{
    pumit_module *module = &t->module;
    const int64_t top = t->channels[t->levels - 1];
    int32_t i = 0;
    for (int32_t level = 0; level < t->levels; level++, i += 3) {
        const int64_t stride = level == 0 ? t->start_stride : 2;
        const pumit__sac_shape shape = {.in = level == 0 ? t->in_channels : t->channels[level - 1],
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
            add_conv_norm(module, top, k == 0 ? top : t->code_dim, name_of("encoder", i, "").text,
                          name_of("encoder", i + 1, "").text);
}

static void add_quantiser(pumit_tokenizer *t)
{
    const int64_t shape[2] = {t->codes, t->code_dim};
    t->projection = pumit__module_linear(&t->module, t->code_dim, t->codes, true,
                                         1.0 / sqrt((double)t->code_dim), "quantize.proj");
    t->codebook = pumit__module_add(&t->module, 2, shape, false, PUMIT__NORMAL(1.0),
                                    "quantize.embedding.weight");
}

static void add_decoder(pumit_tokenizer *t)
{
    pumit_module *module = &t->module;
    const int64_t top = t->channels[t->levels - 1];
    int32_t i = 0;
    for (int32_t k = 0; k < 2; k++, i += 3)
        t->decoder[k] =
            add_conv_norm(module, k == 0 ? t->code_dim : top, top, name_of("decoder", i, "").text,
                          name_of("decoder", i + 1, "").text);
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
                                    .out = t->in_channels,
                                    .kernel = t->start_stride,
                                    .stride = t->start_stride,
                                    .transposed = true,
                                    .bias = true};
    t->last = pumit__sac_create(module, &shape, name_of("decoder", i, "").text);
}

static pumit_status read_config(pumit_tokenizer *t)
{
    const pumit_config *config = t->module.config;
    PUMIT__TRY(pumit_config_get_int(&t->in_channels, config, "in_channels", 3));
    PUMIT__TRY(pumit_config_get_int(&t->start_stride, config, "start_stride", 4));
    PUMIT__TRY(pumit_config_get_int(&t->codes, config, "codes", 1024));
    PUMIT__TRY(pumit_config_get_int(&t->code_dim, config, "code_dim", 512));
    PUMIT__TRY(pumit_config_get_ints(t->channels, MOST_LEVELS, &t->levels, config, "channels"));
    if (t->levels == 0) {
        memcpy(t->channels, (const int64_t[3]){128, 256, 512}, 3 * sizeof *t->channels);
        t->levels = 3;
    }
    PUMIT__REQUIRE(t->in_channels >= 1 && t->in_channels <= 4096,
                   "tokenizer: in_channels %lld is not in 1..4096", (long long)t->in_channels);
    PUMIT__REQUIRE(t->start_stride == 2 || t->start_stride == 4 || t->start_stride == 8,
                   "tokenizer: start_stride %lld is not 2, 4 or 8", (long long)t->start_stride);
    PUMIT__REQUIRE(t->codes >= 2 && t->codes <= 1 << 20, "tokenizer: codes %lld is not in 2..2^20",
                   (long long)t->codes);
    PUMIT__REQUIRE(
        t->code_dim >= NORM_GROUPS && t->code_dim % NORM_GROUPS == 0 && t->code_dim <= 1 << 16,
        "tokenizer: code_dim %lld is no multiple of %d", (long long)t->code_dim, NORM_GROUPS);
    for (int32_t i = 0; i < t->levels; i++)
        PUMIT__REQUIRE(t->channels[i] >= NORM_GROUPS && t->channels[i] % NORM_GROUPS == 0 &&
                           t->channels[i] <= 1 << 16,
                       "tokenizer: channels[%d] = %lld is no multiple of %d", i,
                       (long long)t->channels[i], NORM_GROUPS);
    for (int32_t i = 0; i < 3; i++) t->patch[i] = t->start_stride << (t->levels - 1);
    PUMIT__REQUIRE(t->patch[0] <= 32, "tokenizer: a token of %lld voxels is more than 32",
                   (long long)t->patch[0]);
    return PUMIT_OK;
}

static void destroy(pumit_module *module)
{
    pumit_tokenizer *t = (pumit_tokenizer *)module;
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

static pumit_status build(pumit_module **out, pumit_context *ctx, const pumit_config *config,
                          bool random)
{
    pumit_tokenizer *t =
        pumit__module_create(sizeof *t, ctx, "tokenizer.simple", config, random, destroy);
    if (!t) return pumit__last_status();
    t->module.status = read_config(t);
    if (t->module.status == PUMIT_OK) {
        add_encoder(t);
        add_quantiser(t);
        add_decoder(t);
    }
    const pumit_status status = t->module.status;
    if (status != PUMIT_OK) {
        pumit__module_release(&t->module);
        return status;
    }
    *out = &t->module;
    return PUMIT_OK;
}

pumit_status pumit_tokenizer_create(pumit_tokenizer **out, pumit_context *context,
                                    const pumit_config *config)
{
    PUMIT__REQUIRE(out && context, "pumit_tokenizer_create: an argument is NULL");
    pumit_module *module = NULL;
    const pumit_status status = build(&module, context, config, true);
    *out = (pumit_tokenizer *)module;
    return status;
}

pumit_status pumit_tokenizer_load(pumit_tokenizer **out, pumit_context *context, const char *path)
{
    PUMIT__REQUIRE(out && context && path, "pumit_tokenizer_load: an argument is NULL");
    pumit_module *module = NULL;
    const pumit_status status =
        pumit__module_load(&module, context, path, "tokenizer.simple", build);
    *out = (pumit_tokenizer *)module;
    return status;
}

void pumit_tokenizer_release(pumit_tokenizer *t)
{
    if (t) pumit__module_release(&t->module);
}

pumit_module *pumit_tokenizer_module(pumit_tokenizer *t)
{
    return t ? &t->module : NULL;
}

int64_t pumit_tokenizer_codes(const pumit_tokenizer *t)
{
    return t->codes;
}

int64_t pumit_tokenizer_channels(const pumit_tokenizer *t)
{
    return t->in_channels;
}

const int64_t *pumit_tokenizer_patch(const pumit_tokenizer *t)
{
    return t->patch;
}

int32_t pumit__tokenizer_halvings(const pumit_tokenizer *t)
{
    int32_t halvings = t->levels - 1;
    for (int64_t s = t->start_stride; s > 1; s /= 2) halvings++;
    return halvings;
}

/* ------------------------------------------------------------------------------------------ forward */

static pumit__feature apply_conv_norm(conv_norm *layer, pumit__feature f)
{
    f = pumit__sac_forward(&layer->conv, f);
    f.x = pumit__leaky_relu(
        pumit__group_norm(f.x, layer->norm.weight, layer->norm.bias, NORM_GROUPS, NORM_EPS), SLOPE);
    return f;
}

pumit__feature pumit__tokenizer_features(pumit_tokenizer *t, pumit_tensor *x, int32_t da)
{
    pumit__feature f = {x, da, 0};
    for (int32_t i = 0; i < t->levels; i++) {
        f = pumit__sac_forward(&t->down[i].conv, f);
        f.x = pumit__gelu(
            pumit__layer_norm(f.x, t->down[i].norm.weight, t->down[i].norm.bias, NORM_EPS));
    }
    for (int32_t i = 0; i < 2; i++) f = apply_conv_norm(&t->encoder[i], f);
    return f;
}

pumit_tensor *pumit__tokenizer_logits(pumit_tokenizer *t, pumit_tensor *features)
{
    return pumit__linear(features, t->projection.weight, t->projection.bias);
}

pumit_tensor *pumit__tokenizer_codes_of(pumit_tokenizer *t, pumit_tensor *probabilities)
{
    return pumit__matmul(probabilities, t->codebook);
}

pumit_tensor *pumit__tokenizer_image(pumit_tokenizer *t, pumit__feature f)
{
    for (int32_t i = 0; i < 2; i++) f = apply_conv_norm(&t->decoder[i], f);
    for (int32_t i = t->levels - 2; i >= 0; i--) {
        f = pumit__sac_forward(&t->up[i].up, f);
        f = apply_conv_norm(&t->up[i].conv, f);
    }
    return pumit__sac_forward(&t->last, f).x;
}

pumit_tensor *pumit__prior_term(pumit_tensor *probabilities)
{
    if (!probabilities) return NULL;
    const int32_t last = probabilities->ndim - 1;
    const double tokens = (double)(pumit_tensor_count(probabilities) / probabilities->shape[last]);
    return pumit__sum(
        pumit__xlogx(pumit__sum(probabilities, (UINT32_C(1) << last) - 1, 1.0 / tokens)), 1, 1.0);
}

pumit_tensor *pumit__entropy_term(pumit_tensor *logits)
{
    return pumit__mean(pumit__entropy(logits));
}

/* ----------------------------------------------------------------------------------- public calls */

/* The image as networks take it, [-1, 1]; NULL with an error that says what does not fit. */
static pumit_tensor *network_image(const pumit_tokenizer *t, pumit_tensor *image, int32_t da)
{
    const int64_t depth = t->patch[0] >> da > 1 ? t->patch[0] >> da : 1;
    const int64_t *s = image->shape;
    if (image->ndim != 5 || s[4] != t->in_channels || s[1] % depth || s[2] % t->patch[1] ||
        s[3] % t->patch[2] || !s[0] || !s[1] || !s[2] || !s[3]) {
        pumit__fail(PUMIT_ERROR_SHAPE,
                    "tokenizer: image %s; for DA %d it must be (N, D, H, W, %lld) with D a "
                    "multiple of %lld, H and W of %lld",
                    pumit__shape_string(image->ndim, image->shape).text, da,
                    (long long)t->in_channels, (long long)depth, (long long)t->patch[1]);
        return NULL;
    }
    return pumit__affine(pumit__as_real(image), 2.0, -1.0);
}

pumit_status pumit_tokenizer_encode(pumit_tensor **out, pumit_tokenizer *t, pumit_tensor *image,
                                    const double spacing[3])
{
    int32_t da;
    PUMIT__REQUIRE(out && t && image, "pumit_tokenizer_encode: an argument is NULL");
    PUMIT__TRY(pumit_degree_of_anisotropy(&da, spacing));
    const int64_t mark = pumit__scope_begin(t->module.ctx);
    const pumit__feature f = pumit__tokenizer_features(t, network_image(t, image, da), da);
    return pumit__scope_return(out, t->module.ctx, mark,
                               pumit__softmax(pumit__tokenizer_logits(t, f.x)));
}

/* [-1, 1] -> [0, 1], clamped. Host memory: the last step before a caller reads it. */
static pumit_tensor *display_image(pumit_tensor *x)
{
    pumit_tensor *image = pumit__affine(x, 0.5, 0.5);
    if (!image) return NULL;
    const int64_t count = pumit_tensor_count(image);
    float *f32 = image->dtype == PUMIT_F32 ? pumit__data(image) : NULL;
    double *f64 = image->dtype == PUMIT_F64 ? pumit__data(image) : NULL;
    for (int64_t i = 0; f32 && i < count; i++)
        f32[i] = f32[i] < 0.0f ? 0.0f : f32[i] > 1.0f ? 1.0f : f32[i];
    for (int64_t i = 0; f64 && i < count; i++)
        f64[i] = f64[i] < 0.0 ? 0.0 : f64[i] > 1.0 ? 1.0 : f64[i];
    return image;
}

static pumit_tensor *decoded(pumit_tokenizer *t, pumit_tensor *tokens, int32_t da)
{
    const pumit__feature f = {pumit__tokenizer_codes_of(t, tokens), da,
                              pumit__tokenizer_halvings(t)};
    return f.x ? display_image(pumit__tokenizer_image(t, f)) : NULL;
}

pumit_status pumit_tokenizer_decode(pumit_tensor **out, pumit_tokenizer *t, pumit_tensor *tokens,
                                    const double spacing[3])
{
    int32_t da;
    PUMIT__REQUIRE(out && t && tokens, "pumit_tokenizer_decode: an argument is NULL");
    PUMIT__TRY(pumit_degree_of_anisotropy(&da, spacing));
    if (tokens->ndim != 5 || tokens->shape[4] != t->codes)
        return pumit__fail(PUMIT_ERROR_SHAPE, "tokenizer: tokens %s are not (N, d, h, w, %lld)",
                           pumit__shape_string(tokens->ndim, tokens->shape).text,
                           (long long)t->codes);
    const int64_t mark = pumit__scope_begin(t->module.ctx);
    return pumit__scope_return(out, t->module.ctx, mark, decoded(t, pumit__as_real(tokens), da));
}

pumit_status pumit_tokenizer_reconstruct(pumit_tensor **out, pumit_tokenizer *t,
                                         pumit_tensor *image, const double spacing[3])
{
    pumit_tensor *tokens;
    PUMIT__REQUIRE(out && t && image, "pumit_tokenizer_reconstruct: an argument is NULL");
    *out = NULL;
    PUMIT__TRY(pumit_tokenizer_encode(&tokens, t, image, spacing));
    const pumit_status status = pumit_tokenizer_decode(out, t, tokens, spacing);
    pumit_tensor_release(tokens);
    return status;
}

static double mean_square(const pumit_tensor *difference)
{
    const int64_t count = pumit_tensor_count(difference);
    double sum = 0.0;
    for (int64_t i = 0; i < count; i++) {
        const double d = difference->dtype == PUMIT_F32
                             ? (double)((const float *)pumit__data(difference))[i]
                             : ((const double *)pumit__data(difference))[i];
        sum += d * d;
    }
    return sum / (double)count;
}

pumit_tensor *pumit__tokenizer_loss(double *terms, pumit_tokenizer *t, pumit_tensor *x, int32_t da,
                                    double quant_weight, double entropy_weight)
{
    pumit__feature f = pumit__tokenizer_features(t, x, da);
    pumit_tensor *logits = pumit__tokenizer_logits(t, f.x), *probabilities = pumit__softmax(logits);
    f.x = pumit__tokenizer_codes_of(t, probabilities);
    pumit_tensor *difference = pumit__sub(f.x ? pumit__tokenizer_image(t, f) : NULL, x);
    pumit_tensor *l1 = pumit__mean(pumit__absolute(difference));
    pumit_tensor *prior = pumit__prior_term(probabilities), *entropy = pumit__entropy_term(logits);
    pumit_tensor *regular = pumit__add(pumit__affine(prior, quant_weight, 0.0),
                                       pumit__affine(entropy, entropy_weight, 0.0));
    pumit_tensor *loss = pumit__add(l1, regular);
    if (!loss || !terms) return loss;
    if (pumit_tensor_item(&terms[PUMIT_TERM_L1], l1) != PUMIT_OK ||
        pumit_tensor_item(&terms[PUMIT_TERM_PRIOR], prior) != PUMIT_OK ||
        pumit_tensor_item(&terms[PUMIT_TERM_ENTROPY], entropy) != PUMIT_OK)
        return NULL;
    terms[PUMIT_TERM_MSE] = mean_square(difference) / 4.0; /* of images in [0, 1] */
    return loss;
}

pumit_status pumit_tokenizer_loss(pumit_tensor **out, double *terms, pumit_tokenizer *t,
                                  pumit_tensor *image, const double spacing[3], double quant_weight,
                                  double entropy_weight)
{
    int32_t da;
    PUMIT__REQUIRE(out && t && image, "pumit_tokenizer_loss: an argument is NULL");
    PUMIT__TRY(pumit_degree_of_anisotropy(&da, spacing));
    pumit_context *ctx = t->module.ctx;
    const int64_t mark = pumit__scope_begin(ctx);
    pumit_tensor *x = network_image(t, image, da);
    const bool recording = ctx->recording;
    ctx->recording = true;
    pumit_tensor *loss = pumit__tokenizer_loss(terms, t, x, da, quant_weight, entropy_weight);
    ctx->recording = recording;
    return pumit__scope_return(out, ctx, mark, loss);
}
