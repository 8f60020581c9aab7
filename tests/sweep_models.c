/* SPDX-License-Identifier: Apache-2.0 */
/* Networks: made, loaded, saved, run, and their steps. */
#include "tests/sweep.h"

#include <stdio.h>
#include <string.h>

static const char TOKENIZER[] = "{\"in_channels\": 1, \"start_stride\": 2, \"channels\": [8, 8],"
                                " \"codes\": 8, \"code_dim\": 8}";
static const char VQVAE[] = "{\"model\": \"vqvae\", \"in_channels\": 1, \"channels\": [32, 32],"
                            " \"res_blocks\": 1, \"z_channels\": 8, \"codes\": 8, \"code_dim\": 8}";
static const char VIT[] = "{\"in_channels\": 1, \"patch\": [4, 4, 4], \"dim\": 16, \"depth\": 2,"
                          " \"heads\": 2, \"hidden\": 24, \"pos_embed_shape\": [2, 2, 2],"
                          " \"codes\": 8, \"max_tokens\": 20}";
static const char CLASSIFIER[] = "{\"classes\": 2, \"class_names\": [\"no\", \"yes\"]}";
static const char SEGMENTER[] =
    "{\"in_channels\": 1, \"patch\": [4, 4, 4], \"dim\": 16, \"depth\": 2, \"heads\": 2,"
    " \"hidden\": 24, \"pos_embed_shape\": [2, 2, 2], \"adaptive\": true,"
    " \"channels\": [8, 8, 8, 8], \"full_res_channels\": [8], \"classes\": 2,"
    " \"window\": [2, 2, 2]}";
static const char DISCRIMINATOR[] = "{\"in_channels\": 1, \"channels\": [16, 16]}";
static const char LPIPS[] = "{\"channels\": [4, 4, 4, 4, 4]}";
static const char SAC[] =
    "{\"in_channels\": 1, \"out_channels\": 8, \"kernel\": 3, \"padding\": 1}";

static const char *const NAMES[] = {"tokenizer", "vit",           "classifier",
                                    "segmenter", "discriminator", "lpips"};

/* --------------------------------------------------------------------------------------------- made */

#define MAKE(name, json)                                                                           \
    static void configure_##name(sweep_scene *s)                                                   \
    {                                                                                              \
        sweep_context(s);                                                                          \
        s->in.config = sweep_config(json);                                                         \
    }                                                                                              \
    SWEEP_CALL(create_##name, pumit_##name##_create(&s->out.name, s->in.ctx, s->in.config))        \
    SWEEP_CALL(load_##name,                                                                        \
               pumit_##name##_load(&s->out.name, s->in.ctx, files_path(#name ".safetensors")))     \
    static void open_##name(sweep_scene *s)                                                        \
    {                                                                                              \
        configure_##name(s);                                                                       \
        CHECK_OK(pumit_##name##_create(&s->in.name, s->in.ctx, s->in.config));                     \
        s->in.image = sweep_image(s, 8, 16, 16, 1);                                                \
    }
MAKE(tokenizer, TOKENIZER)
MAKE(vit, VIT)
MAKE(segmenter, SEGMENTER)
MAKE(discriminator, DISCRIMINATOR)
MAKE(lpips, LPIPS)

static void configure_vqvae(sweep_scene *s)
{
    sweep_context(s);
    s->in.config = sweep_config(VQVAE);
}

static void configure_sac(sweep_scene *s)
{
    sweep_context(s);
    s->in.config = sweep_config(SAC);
}

static void open_sac(sweep_scene *s)
{
    configure_sac(s);
    CHECK_OK(pumit_sac_conv_create(&s->in.sac, s->in.ctx, s->in.config));
    s->in.image = sweep_image(s, 4, 8, 8, 1);
}

static void configure_classifier(sweep_scene *s)
{
    open_vit(s);
    pumit_config_release(s->in.config);
    s->in.config = sweep_config(CLASSIFIER);
}

static void open_classifier(sweep_scene *s)
{
    configure_classifier(s);
    CHECK_OK(pumit_classifier_create(&s->in.classifier, s->in.vit, s->in.config));
    s->in.volume = sweep_volume(s);
}

SWEEP_CALL(create_vqvae, pumit_tokenizer_create(&s->out.tokenizer, s->in.ctx, s->in.config))
SWEEP_CALL(create_sac, pumit_sac_conv_create(&s->out.sac, s->in.ctx, s->in.config))
SWEEP_CALL(create_classifier, pumit_classifier_create(&s->out.classifier, s->in.vit, s->in.config))
SWEEP_CALL(load_classifier, pumit_classifier_load(&s->out.classifier, s->in.ctx,
                                                  files_path("classifier.safetensors")))

SWEEP_CALL(share_tokenizer, pumit_tokenizer_share(&s->out.tokenizer, s->in.ctx, s->in.tokenizer))
SWEEP_CALL(share_vit, pumit_vit_share(&s->out.vit, s->in.ctx, s->in.vit))
SWEEP_CALL(share_classifier,
           pumit_classifier_share(&s->out.classifier, s->in.ctx, s->in.classifier))
SWEEP_CALL(share_segmenter, pumit_segmenter_share(&s->out.segmenter, s->in.ctx, s->in.segmenter))

static void save(const pumit_module *module, int name)
{
    char file[64];
    snprintf(file, sizeof file, "%s.safetensors", NAMES[name]);
    CHECK_OK(pumit_module_save(module, files_path(file), NULL));
}

static void drop(sweep_scene *s)
{
    pumit_tokenizer_release(s->in.tokenizer);
    pumit_classifier_release(s->in.classifier);
    pumit_vit_release(s->in.vit);
    pumit_segmenter_release(s->in.segmenter);
    pumit_discriminator_release(s->in.discriminator);
    pumit_lpips_release(s->in.lpips);
    pumit_volume_release(s->in.volume);
    pumit_tensor_release(s->in.image);
    pumit_config_release(s->in.config);
    pumit_context_release(s->in.ctx);
    memset(s, 0, sizeof *s);
}

void sweep_models_files(void)
{
    sweep_scene s = {0};
    open_tokenizer(&s);
    save(pumit_tokenizer_module(s.in.tokenizer), 0);
    drop(&s);
    open_classifier(&s);
    save(pumit_vit_module(s.in.vit), 1);
    save(pumit_classifier_module(s.in.classifier), 2);
    drop(&s);
    open_segmenter(&s);
    save(pumit_segmenter_module(s.in.segmenter), 3);
    drop(&s);
    open_discriminator(&s);
    save(pumit_discriminator_module(s.in.discriminator), 4);
    drop(&s);
    open_lpips(&s);
    save(pumit_lpips_module(s.in.lpips), 5);
    drop(&s);
}

/* ------------------------------------------------------------------------------------------- modules */

static pumit_module *module_of(sweep_scene *s)
{
    return pumit_vit_module(s->in.vit);
}

static double saved(sweep_scene *s)
{
    (void)s;
    return sweep_file("out/model.safetensors");
}

/* Weights of the file, over others. */
static void open_other(sweep_scene *s)
{
    open_vit(s);
    pumit_config_release(s->in.config);
    s->in.config = sweep_config("{\"partial\": true}");
    void *data;
    CHECK_OK(pumit_tensor_data(&data, pumit_module_parameter(module_of(s), 0)));
    *(float *)data = 17;
}

static double first_weights(sweep_scene *s)
{
    double sum = 0;
    for (int64_t i = 0; i < 8; i++) {
        void *data;
        CHECK_OK(pumit_tensor_data(&data, pumit_module_parameter(module_of(s), i)));
        sum = sum * 2 + *(float *)data;
    }
    return sum;
}

static pumit_status find(sweep_scene *s)
{
    pumit_tensor *found;
    const pumit_status status = pumit_module_find(&found, module_of(s), "cls_token");
    if (status == PUMIT_OK) s->number[0] = (double)pumit_tensor_count(found);
    return status;
}

static pumit_status load_weights(sweep_scene *s)
{
    int64_t loaded = 0;
    const pumit_status status =
        pumit_module_load_weights(module_of(s), files_path("vit.safetensors"), NULL, 1, &loaded);
    s->number[0] = status == PUMIT_OK ? (double)loaded : 0;
    return status;
}

SWEEP_CALL(module_config, pumit_module_config(&s->out.config, module_of(s)))
SWEEP_CALL(module_save,
           pumit_module_save(module_of(s), files_path("out/model.safetensors"), s->in.config))
SWEEP_CALL(module_import,
           pumit_module_import(module_of(s), files_path("vit.safetensors"), s->in.config))
SWEEP_CALL(file_info, pumit_model_file_info(&s->out.config, files_path("tokenizer.safetensors")))
SWEEP_CALL(file_digest,
           pumit_model_file_digest(&s->out.config, files_path("tokenizer.safetensors")))

/* ----------------------------------------------------------------------------------------------- run */

#define RUN(name, call) SWEEP_CALL(name, pumit_##call)
RUN(encode, tokenizer_encode(&s->out.image, s->in.tokenizer, s->in.image, SWEEP_SPACING))
RUN(decode, tokenizer_decode(&s->out.image, s->in.tokenizer, s->in.image2, SWEEP_SPACING))
RUN(reconstruct, tokenizer_reconstruct(&s->out.image, s->in.tokenizer, s->in.image, SWEEP_SPACING))
RUN(set_step, tokenizer_set_step(s->in.tokenizer, 3, 7))
RUN(tokenizer_loss,
    tokenizer_loss(&s->out.image, s->number, s->in.tokenizer, s->in.image, SWEEP_SPACING, 0.1, 0.1))
RUN(vit_forward, vit_forward(&s->out.image, s->in.vit, s->in.image, SWEEP_SPACING))
RUN(vit_embed, vit_embed(&s->out.image, s->in.vit, s->in.volume))
RUN(vit_embed_packed, vit_embed_packed(&s->out.image, s->in.vit, 2,
                                       (const pumit_volume *const[2]){s->in.volume, s->in.volume}))
RUN(mim_loss_packed, vit_mim_loss_packed(&s->out.image, s->in.vit, s->in.tokenizer, 2,
                                         (pumit_tensor *const[2]){s->in.image, s->in.image},
                                         (const double[6]){1, 1, 1, 1, 1, 1},
                                         (pumit_tensor *const[2]){s->in.visible, s->in.visible}))
RUN(visible, vit_random_visible(&s->out.visible, s->in.ctx, 1, 32, 0.5, 3))
RUN(mim_loss, vit_mim_loss(&s->out.image, s->in.vit, s->in.tokenizer, s->in.image, SWEEP_SPACING,
                           s->in.visible))
RUN(vit_predict, vit_predict(&s->out.image, s->in.vit, s->in.image, SWEEP_SPACING, s->in.visible))
RUN(classify, classifier_forward(&s->out.image, s->in.classifier, s->in.image, SWEEP_SPACING))
RUN(class_loss, classifier_loss(&s->out.image, s->in.classifier, s->in.image, SWEEP_SPACING,
                                (const int64_t[1]){1}))
RUN(class_predict, classifier_predict(&s->out.image, s->in.classifier, s->in.volume))
RUN(discriminate,
    discriminator_forward(&s->out.image, s->in.discriminator, s->in.image, SWEEP_SPACING))
RUN(discriminator_loss, discriminator_loss(&s->out.image, s->in.discriminator, s->in.image,
                                           s->in.image2, SWEEP_SPACING))
RUN(generator_loss,
    discriminator_generator_loss(&s->out.image, s->in.discriminator, s->in.image, SWEEP_SPACING))
RUN(lpips_distance, lpips_distance(&s->out.image, s->in.lpips, s->in.image, s->in.image2))
RUN(sac_forward, sac_conv_forward(&s->out.image, NULL, NULL, s->in.sac, s->in.image,
                                  (const double[3]){4, 1, 1}, 0))
RUN(sac_forward_da, sac_conv_forward_da(&s->out.image, NULL, s->in.sac, s->in.image, 1, 0))
RUN(segment_forward, segmenter_forward(&s->out.image, s->in.segmenter, s->in.image, SWEEP_SPACING))
RUN(segment_loss,
    segmenter_loss(&s->out.image, s->in.segmenter, s->in.image, SWEEP_SPACING, s->in.visible))
RUN(segment, segmenter_segment(&s->out.map, s->in.segmenter, s->in.volume, s->in.over, NULL, NULL))

static pumit_status stride(sweep_scene *s)
{
    int64_t steps[3] = {0};
    const pumit_status status = pumit_segmenter_stride(steps, s->in.segmenter, SWEEP_SPACING);
    s->number[0] = (double)steps[0];
    return status;
}

static pumit_status grid(sweep_scene *s)
{
    int64_t tokens[3] = {0};
    const pumit_status status =
        pumit_vit_grid(tokens, s->in.vit, (const int64_t[3]){8, 16, 16}, SWEEP_SPACING);
    s->number[0] = (double)(tokens[0] * tokens[1] * tokens[2]);
    return status;
}

static double temperature(sweep_scene *s)
{
    return pumit_tokenizer_temperature(s->in.tokenizer);
}

static void open_tokens(sweep_scene *s)
{
    open_tokenizer(s);
    CHECK_OK(pumit_tokenizer_encode(&s->in.image2, s->in.tokenizer, s->in.image, SWEEP_SPACING));
}

static void open_embed(sweep_scene *s)
{
    open_vit(s);
    s->in.volume = sweep_volume(s);
}

static void open_mim(sweep_scene *s)
{
    open_vit(s);
    pumit_config *config = sweep_config(TOKENIZER);
    CHECK_OK(pumit_tokenizer_create(&s->in.tokenizer, s->in.ctx, config));
    pumit_config_release(config);
    CHECK_OK(pumit_vit_random_visible(&s->in.visible, s->in.ctx, 1, 32, 0.5, 3));
}

static void open_two(sweep_scene *s)
{
    open_discriminator(s);
    s->in.image2 = sweep_image(s, 8, 16, 16, 1);
}

static void open_pair(sweep_scene *s)
{
    open_lpips(s);
    pumit_tensor_release(s->in.image);
    s->in.image = sweep_image(s, 1, 16, 16, 3);
    s->in.image2 = sweep_image(s, 1, 16, 16, 3);
    void *data;
    CHECK_OK(pumit_tensor_data(&data, s->in.image2));
    for (int i = 0; i < 100; i++) ((float *)data)[i] = 0;
}

static void open_labels(sweep_scene *s)
{
    open_segmenter(s);
    pumit_tensor_release(s->in.image);
    s->in.image = sweep_image(s, 16, 16, 16, 1);
    const int64_t shape[4] = {1, 16, 16, 16};
    CHECK_OK(pumit_tensor_create(&s->in.visible, s->in.ctx, PUMIT_U8, 4, shape));
}

static void open_segment(sweep_scene *s)
{
    open_segmenter(s);
    s->in.volume = sweep_volume(s);
    char options[400];
    snprintf(options, sizeof options, "{\"probabilities\": \"%s\", \"window\": [4, 4, 4]}",
             files_path("out/p.nii"));
    s->in.over = sweep_config(options);
}

static double probabilities(sweep_scene *s)
{
    (void)s;
    return sweep_file("out/p.nii");
}

/* -------------------------------------------------------------------------------------- a loss's way */

static void open_vit_loss(sweep_scene *s)
{
    open_mim(s);
    CHECK_OK(pumit_vit_mim_loss(&s->in.image2, s->in.vit, s->in.tokenizer, s->in.image,
                                SWEEP_SPACING, s->in.visible));
}

static void configure_optimizer(sweep_scene *s)
{
    open_vit_loss(s);
    CHECK_OK(pumit_tensor_backward(s->in.image2));
    s->in.over = sweep_config(
        "{\"clip_norm\": 1, \"frozen\": \"pos\", \"rate_factors\": [[\"blocks.0\", 0.5]]}");
}

static void open_optimizer(sweep_scene *s)
{
    configure_optimizer(s);
    CHECK_OK(pumit_optimizer_create(&s->in.optimizer, module_of(s), s->in.over));
}

static pumit_status optimizer_step(sweep_scene *s)
{
    return pumit_optimizer_step(s->in.optimizer, 0.01, 1, s->number);
}

RUN(vit_backward, tensor_backward(s->in.image2))
RUN(optimizer_create, optimizer_create(&s->out.optimizer, module_of(s), s->in.over))

const sweep_entry sweep_models[] = {
    SWEEP(pumit_tokenizer_create, configure_tokenizer, create_tokenizer),
    SWEEP_OF(pumit_tokenizer_create, " of vqvae", configure_vqvae, create_vqvae),
    SWEEP(pumit_vit_create, configure_vit, create_vit),
    SWEEP(pumit_classifier_create, configure_classifier, create_classifier),
    SWEEP(pumit_segmenter_create, configure_segmenter, create_segmenter),
    SWEEP(pumit_discriminator_create, configure_discriminator, create_discriminator),
    SWEEP(pumit_lpips_create, configure_lpips, create_lpips),
    SWEEP(pumit_sac_conv_create, configure_sac, create_sac),
    SWEEP(pumit_tokenizer_load, sweep_context, load_tokenizer),
    SWEEP(pumit_vit_load, sweep_context, load_vit),
    SWEEP(pumit_classifier_load, sweep_context, load_classifier),
    SWEEP(pumit_segmenter_load, sweep_context, load_segmenter),
    SWEEP(pumit_discriminator_load, sweep_context, load_discriminator),
    SWEEP(pumit_lpips_load, sweep_context, load_lpips),
    SWEEP(pumit_tokenizer_share, open_tokenizer, share_tokenizer),
    SWEEP(pumit_vit_share, open_vit, share_vit),
    SWEEP(pumit_classifier_share, open_classifier, share_classifier),
    SWEEP(pumit_segmenter_share, open_segmenter, share_segmenter),
    SWEEP(pumit_module_config, open_vit, module_config),
    SWEEP(pumit_module_find, open_vit, find),
    SWEEP(pumit_module_save, open_vit, module_save, .result = saved),
    SWEEP(pumit_module_load_weights, open_other, load_weights, .result = first_weights),
    SWEEP(pumit_module_import, open_other, module_import, .result = first_weights),
    SWEEP(pumit_model_file_info, NULL, file_info),
    SWEEP(pumit_model_file_digest, NULL, file_digest),
    SWEEP(pumit_tokenizer_encode, open_tokenizer, encode),
    SWEEP(pumit_tokenizer_decode, open_tokens, decode),
    SWEEP(pumit_tokenizer_reconstruct, open_tokenizer, reconstruct),
    SWEEP(pumit_tokenizer_set_step, open_tokenizer, set_step, .result = temperature),
    SWEEP(pumit_tokenizer_loss, open_tokenizer, tokenizer_loss),
    SWEEP(pumit_vit_grid, open_vit, grid),
    SWEEP(pumit_vit_forward, open_vit, vit_forward),
    SWEEP(pumit_vit_embed, open_embed, vit_embed),
    SWEEP(pumit_vit_embed_packed, open_embed, vit_embed_packed),
    SWEEP(pumit_vit_mim_loss_packed, open_mim, mim_loss_packed),
    SWEEP(pumit_vit_random_visible, sweep_context, visible),
    SWEEP(pumit_vit_mim_loss, open_mim, mim_loss),
    SWEEP(pumit_vit_predict, open_mim, vit_predict),
    SWEEP(pumit_classifier_forward, open_classifier, classify),
    SWEEP(pumit_classifier_loss, open_classifier, class_loss),
    SWEEP(pumit_classifier_predict, open_classifier, class_predict),
    SWEEP(pumit_discriminator_forward, open_discriminator, discriminate),
    SWEEP(pumit_discriminator_loss, open_two, discriminator_loss),
    SWEEP(pumit_discriminator_generator_loss, open_discriminator, generator_loss),
    SWEEP(pumit_lpips_distance, open_pair, lpips_distance),
    SWEEP(pumit_sac_conv_forward, open_sac, sac_forward),
    SWEEP(pumit_sac_conv_forward_da, open_sac, sac_forward_da),
    SWEEP(pumit_segmenter_stride, open_segmenter, stride),
    SWEEP(pumit_segmenter_forward, open_labels, segment_forward),
    SWEEP(pumit_segmenter_loss, open_labels, segment_loss),
    SWEEP(pumit_segmenter_segment, open_segment, segment, .result = probabilities),
    SWEEP_OF(pumit_tensor_backward, " of a transformer", open_vit_loss, vit_backward,
             .spends = true),
    SWEEP(pumit_optimizer_create, configure_optimizer, optimizer_create),
    SWEEP(pumit_optimizer_step, open_optimizer, optimizer_step, .result = first_weights),
};
const int sweep_models_count = sizeof sweep_models / sizeof *sweep_models;
