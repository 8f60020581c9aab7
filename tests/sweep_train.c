/* SPDX-License-Identifier: Apache-2.0 */
/* Trainers of every recipe: made, resumed, run for a few steps. */
#include "tests/sweep.h"

#include <stdio.h>
#include <string.h>

static const char CONFIG[] =
    "{\"recipe\": \"%s\", \"output\": \"%s\", \"resume\": %s,"
    " \"tokenizer\": {\"in_channels\": 1, \"start_stride\": 2, \"channels\": [8, 8], \"codes\": 8,"
    "                 \"code_dim\": 8%s},"
    " \"vit\": {\"in_channels\": 1, \"patch\": [4, 4, 4], \"dim\": 16, \"depth\": 2, \"heads\": 2,"
    "           \"hidden\": 24, \"pos_embed_shape\": [2, 2, 2]},"
    " \"segmenter\": {\"channels\": [8, 8, 8, 8], \"full_res_channels\": [8]},"
    " \"train\": {\"steps\": 2, \"batch\": 1, \"tokens\": [2, 2, 2], \"warmup\": 1,"
    "             \"validate_every\": 2, \"validate_batches\": 1, \"checkpoint_every\": 1,"
    "             \"workers\": %d}}";

static pumit_config *config_of(const char *recipe, const char *output, bool resume)
{
    char text[2048], file[300] = "";
    if (strcmp(recipe, "vit") == 0)
        snprintf(file, sizeof file, ", \"file\": \"%s\"", files_path("tokenizer.safetensors"));
    snprintf(text, sizeof text, CONFIG, recipe, files_path(output), resume ? "true" : "false", file,
             1);
    return sweep_config(text);
}

static void write_pair(const char *name, int seed)
{
    uint8_t labels[512];
    float voxels[512];
    char path[64];
    for (int i = 0; i < 512; i++) {
        labels[i] = (uint8_t)(i % 8 > 3);
        voxels[i] = (float)(100 * labels[i] + (i * 7 + seed) % 31);
    }
    const nifti_file image = nifti_plain(16, 32, 8, 8, 8), map = nifti_plain(2, 8, 8, 8, 8);
    snprintf(path, sizeof path, "pairs/imagesTr/%s.nii", name);
    nifti_write(path, &image, voxels, 512, 4);
    snprintf(path, sizeof path, "pairs/labelsTr/%s.nii", name);
    nifti_write(path, &map, labels, 512, 1);
}

static pumit_dataset *data_of(sweep_scene *s, const char *recipe, bool validation)
{
    const bool pairs = strcmp(recipe, "segment") == 0, labels = strcmp(recipe, "classify") == 0;
    const char *path = files_path(pairs ? "pairs" : labels ? "labelled.npz" : "pairs/imagesTr");
    pumit_config *options = sweep_config(pairs ? "{\"label_maps\": true}" : "{}");
    if (labels) CHECK_OK(pumit_config_set_string(options, "split", validation ? "val" : "train"));
    pumit_dataset *dataset;
    CHECK_OK(pumit_dataset_open(&dataset, s->in.ctx, 1, &path, options));
    pumit_config_release(options);
    return dataset;
}

static void open_recipe(sweep_scene *s, const char *recipe, const char *output, bool resume)
{
    sweep_context(s);
    s->in.config = config_of(recipe, output, resume);
    s->in.dataset = data_of(s, recipe, false);
    s->in.validation = data_of(s, recipe, true);
}

static pumit_status make(pumit_trainer **out, sweep_scene *s)
{
    return pumit_trainer_create(out, s->in.ctx, s->in.dataset, s->in.validation, s->in.config);
}

SWEEP_CALL(create, make(&s->out.trainer, s))
SWEEP_CALL(run, pumit_trainer_run(s->in.trainer))
SWEEP_CALL(summary, pumit_trainer_summary(&s->text, s->in.trainer))

static double model(sweep_scene *s)
{
    (void)s;
    const double sum = sweep_file("out/model.safetensors");
    ck_assert(sum > 0);
    return sum;
}

static int32_t stop(void *user, int64_t step, int64_t max_steps, const char *metrics)
{
    (void)user;
    (void)max_steps;
    (void)metrics;
    return step == 1;
}

/* A run that has stopped after its first step, to go on. */
static void open_stopped(sweep_scene *s, const char *recipe)
{
    pumit_trainer *trainer;
    open_recipe(s, recipe, "out", true);
    CHECK_OK(make(&trainer, s));
    pumit_trainer_set_progress(trainer, stop, NULL);
    ck_assert_int_eq(pumit_trainer_run(trainer), PUMIT_ERROR_CANCELLED);
    pumit_trainer_release(trainer);
}

#define RECIPE(name)                                                                               \
    static void configure_##name(sweep_scene *s)                                                   \
    {                                                                                              \
        open_recipe(s, #name, "out", false);                                                       \
    }                                                                                              \
    static void open_##name(sweep_scene *s)                                                        \
    {                                                                                              \
        configure_##name(s);                                                                       \
        CHECK_OK(make(&s->in.trainer, s));                                                         \
    }                                                                                              \
    static void resume_##name(sweep_scene *s)                                                      \
    {                                                                                              \
        open_stopped(s, #name);                                                                    \
    }
RECIPE(tokenizer)
RECIPE(vit)
RECIPE(classify)
RECIPE(segment)

static void open_done(sweep_scene *s)
{
    open_tokenizer(s);
    CHECK_OK(pumit_trainer_run(s->in.trainer));
}

/* Seconds are told, too: the words have to be there. */
static pumit_status count_summary(sweep_scene *s)
{
    const pumit_status status = summary(s);
    if (status != PUMIT_OK) return status;
    for (const char *c = s->text; *c; c++) s->number[0] += *c == '"';
    pumit_free(s->text);
    s->text = NULL;
    return status;
}

void sweep_train_files(void)
{
    files_folder("pairs");
    files_folder("pairs/imagesTr");
    files_folder("pairs/labelsTr");
    write_pair("a", 1);
    write_pair("b", 2);
    static uint8_t images[6 * 144];
    for (int i = 0; i < 6 * 144; i++) images[i] = (uint8_t)(i * 7 % 251);
    const uint8_t labels[6] = {0, 1, 0, 1, 0, 1};
    const char shape[] = "{'descr': '|u1', 'fortran_order': False, 'shape': (6, 12, 12), }";
    const char count[] = "{'descr': '|u1', 'fortran_order': False, 'shape': (6,), }";
    const npz_member members[] = {{"train_images", shape, images, sizeof images},
                                  {"train_labels", count, labels, 6},
                                  {"val_images", shape, images, sizeof images},
                                  {"val_labels", count, labels, 6}};
    npz_write("labelled.npz", members, 4, false);
    sweep_scene s = {0};
    sweep_context(&s);
    pumit_config *config = sweep_config("{\"in_channels\": 1, \"start_stride\": 2, \"channels\":"
                                        " [8, 8], \"codes\": 8, \"code_dim\": 8}");
    CHECK_OK(pumit_tokenizer_create(&s.in.tokenizer, s.in.ctx, config));
    CHECK_OK(pumit_module_save(pumit_tokenizer_module(s.in.tokenizer),
                               files_path("tokenizer.safetensors"), NULL));
    pumit_config_release(config);
    pumit_tokenizer_release(s.in.tokenizer);
    pumit_context_release(s.in.ctx);
}

#define ENTRIES(name)                                                                              \
    SWEEP_OF(pumit_trainer_create, " of " #name, configure_##name, create, .restart = true,        \
             .coarse = 5),                                                                         \
        SWEEP_OF(pumit_trainer_create, " of a " #name " run that goes on", resume_##name, create,  \
                 .restart = true, .coarse = 5),                                                    \
        SWEEP_OF(pumit_trainer_run, " of " #name, open_##name, run, .restart = true,               \
                 .result = model, .spends = true, .coarse = 61)

const sweep_entry sweep_train[] = {
    ENTRIES(tokenizer),
    ENTRIES(vit),
    ENTRIES(classify),
    ENTRIES(segment),
    SWEEP(pumit_trainer_summary, open_done, count_summary, .restart = true),
};
const int sweep_train_count = sizeof sweep_train / sizeof *sweep_train;
