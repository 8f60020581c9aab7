/* SPDX-License-Identifier: Apache-2.0 */
/* Making and releasing a trainer: config, run directory, model, optimiser, and what a checkpoint holds. */
#include "lib/tensor/context.h"
#include "lib/train/checkpoint.h"
#include "lib/train/copies.h"
#include "lib/train/metrics.h"
#include "lib/train/run_folder.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const pumit__recipe *const RECIPES[] = {&pumit__recipe_tokenizer, &pumit__recipe_vit,
                                               &pumit__recipe_classify, &pumit__recipe_segment};

static pumit_status find_recipe(pumit_trainer *t)
{
    const char *name;
    PUMIT__TRY(pumit_config_get_string(&name, t->config, "recipe", NULL));
    PUMIT__REQUIRE(
        name, "config key 'recipe' is missing: it is 'tokenizer', 'vit', 'classify' or 'segment'");
    for (int64_t i = 0; i < PUMIT__COUNT(RECIPES); i++)
        if (strcmp(RECIPES[i]->name, name) == 0) t->recipe = RECIPES[i];
    PUMIT__REQUIRE(t->recipe,
                   "config key 'recipe' is '%s'; it is 'tokenizer', 'vit', 'classify' or 'segment'",
                   name);
    return PUMIT_OK;
}

/* ------------------------------------------------------------------------------------ run directory */

pumit_status pumit__run_path(char **out, const pumit_trainer *t, const char *name)
{
    *out = pumit__format("%s/%s", t->output, name);
    return *out ? PUMIT_OK : pumit__fail_memory((int64_t)strlen(name), "a path");
}

static pumit_status exists(bool *out, const pumit_trainer *t, const char *name)
{
    char *path;
    PUMIT__TRY(pumit__run_path(&path, t, name));
    *out = access(path, F_OK) == 0;
    free(path);
    return PUMIT_OK;
}

static pumit_status check_empty(const pumit_trainer *t)
{
    static const char *const NAMES[] = {"config.json", "checkpoints", "metrics.jsonl",
                                        "model.safetensors"};
    for (int64_t i = 0; i < PUMIT__COUNT(NAMES); i++) {
        bool there;
        PUMIT__TRY(exists(&there, t, NAMES[i]));
        if (there)
            return pumit__fail(PUMIT_ERROR_STATE,
                               "%s: already holds a run (%s): resume it, or choose another output",
                               t->output, NAMES[i]);
    }
    return PUMIT_OK;
}

/* The config of the run that is there: the checkpoint's, before the first one that of config.json; NULL: there is none yet. */
static pumit_status stored_config(pumit_config **out, const pumit_trainer *t,
                                  const pumit__safetensors *file, const char *path)
{
    char *name;
    bool there;
    *out = NULL;
    if (file) return pumit__checkpoint_config(out, file, path);
    PUMIT__TRY(exists(&there, t, "config.json"));
    if (!there) return PUMIT_OK;
    PUMIT__TRY(pumit__run_path(&name, t, "config.json"));
    const pumit_status status = pumit_config_read(out, name);
    free(name);
    return status;
}

/* What the run was wanted to be, with what the caller now says on top. */
static pumit_status merge_resumed(pumit_trainer *t, const pumit__safetensors *file,
                                  const char *path)
{
    pumit_config *stored;
    PUMIT__TRY(stored_config(&stored, t, file, path));
    if (!stored) return PUMIT_OK;
    const char *before = NULL, *now = NULL;
    pumit_status status = pumit_config_get_string(&before, stored, "recipe", "");
    if (status == PUMIT_OK) status = pumit_config_get_string(&now, t->config, "recipe", before);
    if (status == PUMIT_OK && strcmp(before, now) != 0)
        status = pumit__fail(PUMIT_ERROR_STATE, "%s: holds a run of recipe '%s', not '%s'",
                             t->output, before, now);
    if (status == PUMIT_OK) status = pumit__train_options_raise(t->config, before);
    if (status == PUMIT_OK) status = pumit_config_merge(stored, t->config);
    pumit_config_release(status == PUMIT_OK ? t->config : stored);
    if (status == PUMIT_OK) t->config = stored;
    return status;
}

/* Finds what is in the directory; *file is the checkpoint to go on from, NULL to start anew. */
static pumit_status open_output(pumit_trainer *t, pumit__safetensors **file, char **path)
{
    const char *output;
    int32_t resume;
    PUMIT__TRY(pumit_config_get_string(&output, t->config, "output", NULL));
    PUMIT__TRY(pumit_config_get_bool(&resume, t->config, "resume", 0));
    PUMIT__REQUIRE(output && *output, "config key 'output' is missing: the run's directory");
    t->output = pumit__strdup(output);
    if (!t->output) return pumit__fail_memory((int64_t)strlen(output), "a path");
    PUMIT__TRY(pumit__run_path(&t->model_path, t, "model.safetensors"));
    if (!resume) return check_empty(t);
    if (access(t->output, F_OK) != 0) return PUMIT_OK;
    PUMIT__TRY(pumit__run_lock(t));
    PUMIT__TRY(pumit__run_clean(t));
    PUMIT__TRY(pumit__run_newest(file, path, t->ctx, t->output));
    t->resumed = *file != NULL;
    return merge_resumed(t, *file, *path);
}

/* The configuration stands there as a block of code. */
static pumit_status open_events(pumit_trainer *t, const char *json)
{
    PUMIT__TRY(pumit__events_open(&t->events, t->output, t->step));
    char *const markdown = pumit__format("```json\n%s\n```\n", json);
    if (!markdown) return pumit__fail_memory((int64_t)strlen(json), "events");
    const pumit_status status = pumit__events_text(t->events, t->step, "config", markdown);
    free(markdown);
    return status;
}

/* A new run's directory is made when all else stands. Another may have begun one there meanwhile. */
static pumit_status begin_output(pumit_trainer *t)
{
    if (t->lock >= 0) return PUMIT_OK;
    PUMIT__TRY(pumit__run_lock(t));
    return check_empty(t);
}

/* Called last, so that a run that cannot start leaves nothing behind. */
static pumit_status write_output(pumit_trainer *t)
{
    char *json = NULL, *path = NULL;
    pumit__atomic_file file = {0};
    pumit_status status;
    bool begun = false;
    PUMIT__GO(begin_output(t));
    PUMIT__GO(pumit__run_path(&path, t, "config.json"));
    PUMIT__GO(pumit_config_to_json(&json, t->config));
    PUMIT__GO(pumit__atomic_open(&file, path));
    PUMIT__GO(pumit__atomic_write(&file, json, (int64_t)strlen(json)));
    PUMIT__GO(pumit__atomic_write(&file, "\n", 1));
    free(path);
    PUMIT__GO(pumit__run_path(&path, t, "metrics.jsonl"));
    begun = !t->resumed;
    PUMIT__GO(pumit__metrics_open(&t->metrics, path, t->step));
    if (t->options.events) PUMIT__GO(open_events(t, json));
    status = pumit__atomic_commit(&file); /* last: it is what makes the folder a run */
out:
    if (status != PUMIT_OK && begun) unlink(path);
    pumit__atomic_close(&file);
    free(path);
    free(json);
    return status;
}

/* ------------------------------------------------------------------------------ what recipes share */

pumit_status pumit__model_section(pumit_config **out, const pumit_trainer *t, const char *name)
{
    int64_t seed;
    PUMIT__TRY(pumit_config_get_section(out, t->config, name));
    pumit_status status = pumit_config_get_int(&seed, *out, "seed", t->options.seed);
    if (status == PUMIT_OK) status = pumit_config_set_int(*out, "seed", seed);
    if (status == PUMIT_OK) return PUMIT_OK;
    pumit_config_release(*out);
    *out = NULL;
    return status;
}

pumit_status pumit__keep_section(pumit_trainer *t, const char *name, const pumit_module *module)
{
    pumit_config *config;
    cJSON *copy;
    PUMIT__TRY(pumit_module_config(&config, module));
    pumit_status status = pumit__json_copy(&copy, config->root);
    if (status == PUMIT_OK) status = pumit__json_set(t->config->root, name, copy);
    pumit_config_release(config);
    return status;
}

pumit_status pumit__open_samplers(pumit_trainer *t, int64_t channels, const int64_t patch[3],
                                  bool mixed)
{
    pumit__sampler_options options = {
        .batch = t->options.batch,
        .channels = channels,
        .patch = patch[1],
        .seed = (uint64_t)t->options.seed,
        .mixed = mixed,
        .augment = t->options.augment != 0,
        .balance = t->options.balance,
        .scale_range = {t->options.scale_range[0], t->options.scale_range[1]},
        .scale_probability = t->options.scale_probability,
        .slice_scale_probability = t->options.slice_scale_probability,
        .rotate_probability = t->options.rotate_probability};
    memcpy(options.tokens, t->options.tokens, sizeof options.tokens);
    PUMIT__TRY(pumit__sampler_create(&t->sampler, t->ctx, t->train, &options));
    PUMIT__TRY(
        pumit__loader_create(&t->loader, t->sampler, t->options.workers, t->options.prefetch));
    options.mixed = false;
    options.augment = false;
    options.balance = 1; /* every degree of anisotropy is judged */
    options.seed ^= pumit__random_stream("train.judge");
    return pumit__sampler_create(&t->judge_sampler, t->ctx, t->judge, &options);
}

pumit_status pumit__add_part(pumit_trainer *t, const char *name, pumit_module *module)
{
    pumit_config *config;
    int32_t freeze;
    PUMIT__TRY(pumit_config_get_bool(&freeze, t->config, "freeze_backbone", 0));
    PUMIT__TRY(pumit_config_create(&config));
    pumit_status status;
    PUMIT__GO(pumit_config_set_double(config, "weight_decay", t->options.weight_decay));
    PUMIT__GO(pumit_config_set_double(config, "clip_norm", t->options.clip_norm));
    PUMIT__GO(pumit_config_set_double(config, "beta2", t->options.beta2));
    if (freeze && module == t->model && t->classifier)
        PUMIT__GO(pumit_config_set_string(config, "frozen", "backbone."));
    if (t->options.layer_decay < 1 && module == t->model && t->classifier)
        PUMIT__GO(pumit__layer_decay(config, pumit_vit_module(t->vit), t->options.layer_decay));
    pumit__part *const part = &t->parts[t->part_count];
    *part = (pumit__part){.name = name, .module = module};
    PUMIT__GO(pumit_optimizer_create(&part->optimizer, module, config));
    t->part_count++;
out:
    pumit_config_release(config);
    return status;
}

/* ------------------------------------------------------------------------------------------- public */

static pumit_status set_up(pumit_trainer *t)
{
    pumit__safetensors *file = NULL;
    char *path = NULL;
    pumit_status status;
    PUMIT__GO(open_output(t, &file, &path));
    PUMIT__GO(find_recipe(t));
    PUMIT__GO(pumit__train_options_raise(t->config, t->recipe->name));
    PUMIT__GO(pumit__train_options_read(t));
    PUMIT__GO(t->recipe->create(t));
    PUMIT__GO(t->recipe->open(t));
    if (file) PUMIT__GO(pumit__checkpoint_load(t, file, path));
    if (t->options.ema > 0 && !t->average) PUMIT__GO(pumit__copies_keep(&t->average, t));
    status = write_output(t);
out:
    pumit__safetensors_close(file);
    free(path);
    return status;
}

pumit_status pumit_trainer_create(pumit_trainer **out, pumit_context *context,
                                  const pumit_dataset *train, const pumit_dataset *validation,
                                  const pumit_config *config)
{
    PUMIT__REQUIRE(out, "pumit_trainer_create: out is NULL");
    *out = NULL;
    PUMIT__REQUIRE(context && train, "pumit_trainer_create: context or train is NULL");
    PUMIT__REQUIRE(context->weights == context->real,
                   "the context has a 'weight_type' in 16 bits, which is for inference; train in "
                   "one without");
    pumit_trainer *t = pumit__calloc(1, (int64_t)sizeof *t);
    if (!t) return pumit__fail_memory((int64_t)sizeof *t, "a trainer");
    t->lock = -1;
    t->ctx = pumit__context_retain(context);
    t->train = train;
    t->judge = validation ? validation : train;
    t->has_validation = validation != NULL;
    pumit_status status = pumit_config_create(&t->config);
    if (status == PUMIT_OK) status = pumit_config_merge(t->config, config);
    if (status == PUMIT_OK) status = set_up(t);
    if (status == PUMIT_OK)
        *out = t;
    else
        pumit_trainer_release(t);
    return status;
}

void pumit_trainer_release(pumit_trainer *trainer)
{
    if (!trainer) return;
    if (trainer->metrics) fclose(trainer->metrics);
    pumit__events_close(trainer->events);
    pumit__copies_release(trainer->best, trainer);
    pumit__copies_release(trainer->average, trainer);
    for (int32_t i = 0; i < trainer->part_count; i++)
        pumit_optimizer_release(trainer->parts[i].optimizer);
    pumit__loader_release(trainer->loader);
    pumit__sampler_release(trainer->sampler);
    pumit__sampler_release(trainer->judge_sampler);
    pumit__batches_release(trainer->batches);
    pumit__batches_release(trainer->judge_batches);
    if (trainer->recipe && trainer->recipe->destroy) trainer->recipe->destroy(trainer);
    pumit_lpips_release(trainer->lpips);
    pumit_discriminator_release(trainer->discriminator);
    pumit_classifier_release(trainer->classifier);
    pumit_segmenter_release(trainer->segmenter);
    pumit_vit_release(trainer->vit);
    pumit_tokenizer_release(trainer->tokenizer);
    cJSON_Delete(trainer->validation);
    pumit_config_release(trainer->config);
    free(trainer->losses);
    free(trainer->labels);
    free(trainer->indices);
    free(trainer->output);
    free(trainer->model_path);
    if (trainer->lock >= 0) close(trainer->lock); /* last: nothing more is written */
    pumit_context_release(trainer->ctx);
    free(trainer);
}

void pumit_trainer_set_progress(pumit_trainer *trainer, pumit_progress_fn progress, void *user)
{
    if (!trainer) return;
    trainer->progress = progress;
    trainer->progress_user = user;
}

void pumit_trainer_stop(pumit_trainer *trainer)
{
    if (trainer) atomic_store(&trainer->stop, 1);
}

const char *pumit_trainer_model_path(const pumit_trainer *trainer)
{
    return trainer ? trainer->model_path : NULL;
}
