/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The universal visual tokenizer (paper section 3.2), whatever its kind: encoder, quantiser, decoder; what the public calls
 * give. tokenizer_loss.c trains it.
 */
#include "lib/models/tokenizer_internal.h"

#include <string.h>

/* ----------------------------------------------------------------------------------------- building */

pumit_status pumit__tokenizer_read_channels(int64_t channels[PUMIT__TOKENIZER_LEVELS],
                                            int32_t *levels, const pumit_tokenizer *t,
                                            const int64_t *usual, int32_t count, int64_t groups)
{
    PUMIT__TRY(pumit_config_get_ints(channels, PUMIT__TOKENIZER_LEVELS, levels, t->module.config,
                                     "channels"));
    if (*levels == 0) {
        memcpy(channels, usual, (size_t)count * sizeof *usual);
        *levels = count;
    }
    for (int32_t i = 0; i < *levels; i++)
        PUMIT__REQUIRE(channels[i] >= groups && channels[i] % groups == 0 && channels[i] <= 1 << 16,
                       "tokenizer: channels[%d] = %lld is no multiple of %lld", i,
                       (long long)channels[i], (long long)groups);
    return PUMIT_OK;
}

pumit_status pumit__tokenizer_set_halvings(pumit_tokenizer *t, int32_t halvings)
{
    PUMIT__REQUIRE(halvings <= 5, "tokenizer: a token of %lld voxels is more than 32",
                   1LL << halvings);
    for (int32_t i = 0; i < 3; i++) t->patch[i] = INT64_C(1) << halvings;
    t->halvings = halvings;
    return PUMIT_OK;
}

static pumit_status read_config(pumit_tokenizer *t)
{
    const pumit_config *config = t->module.config;
    PUMIT__TRY(pumit_config_get_int(&t->in_channels, config, "in_channels", 3));
    PUMIT__REQUIRE(t->in_channels >= 1 && t->in_channels <= 4096,
                   "tokenizer: in_channels %lld is not in 1..4096", (long long)t->in_channels);
    PUMIT__TRY(pumit__quantizer_read(&t->quantizer, config, t->kind->mode));
    return t->kind->read_config(t);
}

static pumit_status build(pumit_module **out, pumit_context *ctx, const pumit_config *config,
                          pumit__values values, const pumit__tokenizer_kind *kind)
{
    pumit_tokenizer *t =
        pumit__module_create(kind->size, ctx, kind->name, config, values, kind->destroy);
    if (!t) return pumit__last_status();
    t->kind = kind;
    t->module.status = read_config(t);
    if (t->module.status == PUMIT_OK) kind->add_layers(t);
    const pumit_status status = pumit__module_finish(&t->module);
    if (status != PUMIT_OK) {
        pumit__module_release(&t->module);
        return status;
    }
    *out = &t->module;
    return PUMIT_OK;
}

static pumit_status build_simple(pumit_module **out, pumit_context *ctx, const pumit_config *config,
                                 pumit__values values)
{
    return build(out, ctx, config, values, &pumit__tokenizer_simple);
}

static pumit_status build_vqvae(pumit_module **out, pumit_context *ctx, const pumit_config *config,
                                pumit__values values)
{
    return build(out, ctx, config, values, &pumit__tokenizer_vqvae);
}

pumit_status pumit_tokenizer_create(pumit_tokenizer **out, pumit_context *context,
                                    const pumit_config *config)
{
    PUMIT__REQUIRE(out && context, "pumit_tokenizer_create: an argument is NULL");
    pumit_module *module = NULL;
    const char *model;
    *out = NULL;
    PUMIT__TRY(pumit_config_get_string(&model, config, "model", pumit__tokenizer_simple.model));
    const bool vqvae = strcmp(model, pumit__tokenizer_vqvae.model) == 0;
    PUMIT__REQUIRE(vqvae || strcmp(model, pumit__tokenizer_simple.model) == 0,
                   "tokenizer: model '%s' is not 'simple' or 'vqvae'", model);
    const pumit_status status =
        (vqvae ? build_vqvae : build_simple)(&module, context, config, PUMIT__DRAWN);
    *out = (pumit_tokenizer *)module;
    return status;
}

/* True for a file of the second kind; what is of neither is refused when it is loaded. */
static pumit_status is_vqvae(bool *out, const char *path)
{
    pumit_config *info;
    const char *name;
    PUMIT__TRY(pumit_model_file_info(&info, path));
    const pumit_status status = pumit_config_get_string(&name, info, "pumit.model", "");
    *out = status == PUMIT_OK && strcmp(name, pumit__tokenizer_vqvae.name) == 0;
    pumit_config_release(info);
    return status;
}

pumit_status pumit_tokenizer_load(pumit_tokenizer **out, pumit_context *context, const char *path)
{
    PUMIT__REQUIRE(out && context && path, "pumit_tokenizer_load: an argument is NULL");
    pumit_module *module = NULL;
    bool vqvae;
    *out = NULL;
    PUMIT__TRY(is_vqvae(&vqvae, path));
    const pumit_status status =
        vqvae ? pumit__module_load(&module, context, path, pumit__tokenizer_vqvae.name, build_vqvae)
              : pumit__module_load(&module, context, path, pumit__tokenizer_simple.name,
                                   build_simple);
    *out = (pumit_tokenizer *)module;
    return status;
}

pumit_status pumit_tokenizer_share(pumit_tokenizer **out, pumit_context *context,
                                   const pumit_tokenizer *t)
{
    PUMIT__REQUIRE(out && context && t, "pumit_tokenizer_share: an argument is NULL");
    pumit_module *module = NULL;
    const pumit_status status =
        pumit__module_join(&module, context, &t->module,
                           t->kind == &pumit__tokenizer_vqvae ? build_vqvae : build_simple);
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
    return t->quantizer.codes;
}

int64_t pumit_tokenizer_channels(const pumit_tokenizer *t)
{
    return t->in_channels;
}

const int64_t *pumit_tokenizer_patch(const pumit_tokenizer *t)
{
    return t->patch;
}

pumit_status pumit_tokenizer_set_step(pumit_tokenizer *t, int64_t step, int64_t max_steps)
{
    PUMIT__REQUIRE(t, "pumit_tokenizer_set_step: tokenizer is NULL");
    PUMIT__REQUIRE(step >= 0 && max_steps >= 1, "tokenizer: step %lld of %lld is none",
                   (long long)step, (long long)max_steps);
    t->quantizer.step = step;
    t->quantizer.max_steps = max_steps;
    t->quantizer.draws = 0;
    return PUMIT_OK;
}

double pumit_tokenizer_temperature(const pumit_tokenizer *t)
{
    return pumit__quantizer_temperature(&t->quantizer);
}

/* ------------------------------------------------------------------------------------------- parts */

pumit__feature pumit__tokenizer_features(pumit_tokenizer *t, pumit_tensor *x, int32_t da)
{
    return t->kind->features(t, (pumit__feature){x, da, 0});
}

pumit_tensor *pumit__tokenizer_logits(pumit_tokenizer *t, pumit_tensor *features)
{
    return pumit__quantizer_logits(&t->quantizer, features);
}

pumit_tensor *pumit__tokenizer_tokens(pumit_tokenizer *t, pumit_tensor *features)
{
    return pumit__quantizer_tokens(&t->quantizer, features);
}

pumit_tensor *pumit__tokenizer_target(pumit_tokenizer *t, pumit_tensor *features)
{
    return pumit__quantizer_target(&t->quantizer, features);
}

pumit_tensor *pumit__tokenizer_codes_of(pumit_tokenizer *t, pumit_tensor *tokens)
{
    return pumit__quantizer_codes_of(&t->quantizer, tokens);
}

pumit_tensor *pumit__tokenizer_image(pumit_tokenizer *t, pumit__feature f)
{
    return f.x ? t->kind->image(t, f) : NULL;
}

/* ----------------------------------------------------------------------------------- public calls */

pumit_tensor *pumit__tokenizer_input(const pumit_tokenizer *t, pumit_tensor *image, int32_t da)
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
    return pumit__affine(pumit__as_real(t->module.ctx, image), 2.0, -1.0);
}

pumit_status pumit_tokenizer_encode(pumit_tensor **out, pumit_tokenizer *t, pumit_tensor *image,
                                    const double spacing[3])
{
    int32_t da;
    PUMIT__REQUIRE(out && t && image, "pumit_tokenizer_encode: an argument is NULL");
    *out = NULL;
    PUMIT__TRY(pumit_degree_of_anisotropy(&da, spacing));
    const int64_t mark = pumit__scope_begin(t->module.ctx);
    const pumit__feature f = pumit__tokenizer_features(t, pumit__tokenizer_input(t, image, da), da);
    return pumit__scope_return(out, t->module.ctx, mark, pumit__tokenizer_tokens(t, f.x));
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
    const pumit__feature f = {pumit__tokenizer_codes_of(t, tokens), da, t->halvings};
    return f.x ? display_image(pumit__tokenizer_image(t, f)) : NULL;
}

pumit_status pumit_tokenizer_decode(pumit_tensor **out, pumit_tokenizer *t, pumit_tensor *tokens,
                                    const double spacing[3])
{
    int32_t da;
    PUMIT__REQUIRE(out && t && tokens, "pumit_tokenizer_decode: an argument is NULL");
    *out = NULL;
    PUMIT__TRY(pumit_degree_of_anisotropy(&da, spacing));
    if (tokens->ndim != 5 || tokens->shape[4] != t->quantizer.codes)
        return pumit__fail(PUMIT_ERROR_SHAPE, "tokenizer: tokens %s are not (N, d, h, w, %lld)",
                           pumit__shape_string(tokens->ndim, tokens->shape).text,
                           (long long)t->quantizer.codes);
    const int64_t mark = pumit__scope_begin(t->module.ctx);
    return pumit__scope_return(out, t->module.ctx, mark,
                               decoded(t, pumit__as_real(t->module.ctx, tokens), da));
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
