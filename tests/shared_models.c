/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/shared_models.h"

#include <stdlib.h>

static const char *const configs[KINDS] = {
    [KIND_VIT] = "{\"in_channels\": 1, \"dim\": 24, \"heads\": 2, \"depth\": 2, \"hidden\": 32, "
                 "\"pos_embed_shape\": [2, 2, 2], \"codes\": 12, \"seed\": 3}",
    [KIND_SIMPLE] = "{\"in_channels\": 1, \"channels\": [8, 8, 8], \"code_dim\": 16, "
                    "\"codes\": 12, \"seed\": 3}",
    [KIND_VQVAE] = "{\"model\": \"vqvae\", \"in_channels\": 1, \"channels\": [32, 32], "
                   "\"blocks\": 1, \"code_dim\": 8, \"codes\": 12, \"seed\": 3}",
    [KIND_CLASSIFIER] = "{\"classes\": 3, \"image_tokens\": [2, 2, 2]}",
    [KIND_SEGMENTER] = "{\"in_channels\": 1, \"dim\": 24, \"heads\": 2, \"depth\": 4, "
                       "\"hidden\": 32, \"patch\": [16, 16, 16], \"pos_embed_shape\": [1, 2, 2], "
                       "\"classes\": 3, \"adaptive\": true, \"channels\": [8, 8, 8, 8], "
                       "\"full_res_channels\": [8, 8, 8], \"seed\": 3}"};

pumit_context *shared_context(int threads)
{
    pumit_config *options = NULL;
    pumit_context *ctx = NULL;
    if (pumit_config_parse(&options, "{\"device\": \"cpu\"}") == PUMIT_OK &&
        pumit_config_set_int(options, "threads", threads) == PUMIT_OK)
        pumit_context_create(&ctx, options);
    pumit_config_release(options);
    return ctx;
}

/* A head of zeros would say nothing about the transformer. */
static bool fill_head(pumit_module *module)
{
    pumit_tensor *weight;
    void *values;
    if (pumit_module_find(&weight, module, "head.weight") != PUMIT_OK ||
        pumit_tensor_data(&values, weight) != PUMIT_OK)
        return false;
    for (int64_t i = 0; i < pumit_tensor_count(weight); i++)
        ((float *)values)[i] = (float)(i % 7) * 0.25f - 0.5f;
    pumit_tensor_touch(weight);
    return true;
}

static pumit_status create_classifier(pumit_classifier **out, pumit_context *ctx,
                                      const pumit_config *config)
{
    pumit_config *inner = NULL;
    pumit_vit *vit = NULL;
    pumit_status status = pumit_config_parse(&inner, configs[KIND_VIT]);
    if (status == PUMIT_OK) status = pumit_vit_create(&vit, ctx, inner);
    if (status == PUMIT_OK) status = pumit_classifier_create(out, vit, config);
    if (status == PUMIT_OK && !fill_head(pumit_classifier_module(*out)))
        status = PUMIT_ERROR_INTERNAL;
    pumit_vit_release(vit);
    pumit_config_release(inner);
    return status;
}

bool shared_create(shared_model *model, pumit_context *ctx, int kind)
{
    pumit_config *config;
    union {
        void *handle;
        pumit_vit *vit;
        pumit_tokenizer *tokenizer;
        pumit_classifier *classifier;
        pumit_segmenter *segmenter;
    } out = {NULL};
    if (pumit_config_parse(&config, configs[kind]) != PUMIT_OK) return false;
    if (kind == KIND_VIT)
        pumit_vit_create(&out.vit, ctx, config);
    else if (kind == KIND_CLASSIFIER)
        create_classifier(&out.classifier, ctx, config);
    else if (kind == KIND_SEGMENTER)
        pumit_segmenter_create(&out.segmenter, ctx, config);
    else
        pumit_tokenizer_create(&out.tokenizer, ctx, config);
    pumit_config_release(config);
    *model = (shared_model){kind, out.handle};
    return out.handle != NULL;
}

bool shared_load(shared_model *model, pumit_context *ctx, int kind, const char *path)
{
    pumit_vit *vit = NULL;
    pumit_tokenizer *tokenizer = NULL;
    pumit_classifier *classifier = NULL;
    pumit_segmenter *segmenter = NULL;
    model->kind = kind;
    if (kind == KIND_VIT)
        model->handle = pumit_vit_load(&vit, ctx, path) == PUMIT_OK ? vit : NULL;
    else if (kind == KIND_CLASSIFIER)
        model->handle =
            pumit_classifier_load(&classifier, ctx, path) == PUMIT_OK ? classifier : NULL;
    else if (kind == KIND_SEGMENTER)
        model->handle = pumit_segmenter_load(&segmenter, ctx, path) == PUMIT_OK ? segmenter : NULL;
    else
        model->handle = pumit_tokenizer_load(&tokenizer, ctx, path) == PUMIT_OK ? tokenizer : NULL;
    return model->handle != NULL;
}

bool shared_join(shared_model *model, pumit_context *ctx, const shared_model *of)
{
    pumit_vit *vit = NULL;
    pumit_tokenizer *tokenizer = NULL;
    pumit_classifier *classifier = NULL;
    pumit_segmenter *segmenter = NULL;
    model->kind = of->kind;
    if (of->kind == KIND_VIT)
        model->handle = pumit_vit_share(&vit, ctx, of->handle) == PUMIT_OK ? vit : NULL;
    else if (of->kind == KIND_CLASSIFIER)
        model->handle =
            pumit_classifier_share(&classifier, ctx, of->handle) == PUMIT_OK ? classifier : NULL;
    else if (of->kind == KIND_SEGMENTER)
        model->handle =
            pumit_segmenter_share(&segmenter, ctx, of->handle) == PUMIT_OK ? segmenter : NULL;
    else
        model->handle =
            pumit_tokenizer_share(&tokenizer, ctx, of->handle) == PUMIT_OK ? tokenizer : NULL;
    return model->handle != NULL;
}

pumit_module *shared_module(const shared_model *model)
{
    if (model->kind == KIND_VIT) return pumit_vit_module(model->handle);
    if (model->kind == KIND_CLASSIFIER) return pumit_classifier_module(model->handle);
    if (model->kind == KIND_SEGMENTER) return pumit_segmenter_module(model->handle);
    return pumit_tokenizer_module(model->handle);
}

void shared_release(shared_model *model)
{
    if (model->kind == KIND_VIT)
        pumit_vit_release(model->handle);
    else if (model->kind == KIND_CLASSIFIER)
        pumit_classifier_release(model->handle);
    else if (model->kind == KIND_SEGMENTER)
        pumit_segmenter_release(model->handle);
    else
        pumit_tokenizer_release(model->handle);
    model->handle = NULL;
}

/* Thick slices, so that kernels are summed over depth. */
static pumit_status forward(pumit_tensor **out, const shared_model *model, pumit_tensor *image)
{
    static const double spacing[3] = {4, 1, 1};
    if (model->kind == KIND_VIT) return pumit_vit_forward(out, model->handle, image, spacing);
    if (model->kind == KIND_CLASSIFIER)
        return pumit_classifier_forward(out, model->handle, image, spacing);
    if (model->kind == KIND_SEGMENTER)
        return pumit_segmenter_forward(out, model->handle, image, spacing);
    return pumit_tokenizer_reconstruct(out, model->handle, image, spacing);
}

static uint64_t digest(const pumit_tensor *tensor)
{
    const int64_t count = pumit_tensor_count(tensor), bytes = count * (int64_t)sizeof(uint32_t);
    uint32_t *bits = malloc((size_t)bytes);
    uint64_t sum = 0;
    if (bits && pumit_tensor_read(tensor, PUMIT_F32, bits, bytes) == PUMIT_OK)
        for (int64_t i = 0; i < count; i++) sum = (sum ^ bits[i]) * UINT64_C(0x100000001b3) + 1;
    free(bits);
    return sum;
}

uint64_t shared_digest(const pumit_module *module)
{
    uint64_t sum = 0;
    for (int64_t i = 0; i < pumit_module_parameter_count(module); i++)
        sum = (sum + digest(pumit_module_parameter(module, i))) * 31;
    return sum;
}

uint64_t shared_result(const shared_model *model, pumit_context *ctx)
{
    const int64_t shape[5] = {1, 8, 32, 32, 1};
    static const size_t count = (size_t)8 * 32 * 32;
    pumit_tensor *image = NULL, *out = NULL;
    uint64_t sum = 0;
    float *values = malloc(count * sizeof *values);
    for (size_t i = 0; values && i < count; i++)
        values[i] = (float)((i * 2654435761u) % 1021) / 1021.0f;
    if (values && pumit_tensor_from_data(&image, ctx, PUMIT_F32, 5, shape, values) == PUMIT_OK &&
        forward(&out, model, image) == PUMIT_OK)
        sum = digest(out);
    pumit_tensor_release(out);
    pumit_tensor_release(image);
    free(values);
    return sum;
}
