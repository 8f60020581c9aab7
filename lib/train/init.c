/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/train/init.h"

#include "lib/tensor/context.h"
#include "lib/train/checkpoint.h"
#include "lib/train/run_folder.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ----------------------------------------------------------------------------------------------- kinds */

/* A run directory stands for its result, else for its newest whole checkpoint, which is then open. */
static pumit_status resolve(pumit__init *init, pumit_context *ctx, const char *given)
{
    struct stat info;
    const bool folder = stat(given, &info) == 0 && S_ISDIR(info.st_mode);
    init->path = folder ? pumit__format("%s/model.safetensors", given) : pumit__strdup(given);
    if (!init->path) return pumit__fail_memory((int64_t)strlen(given), "a path");
    if (!folder || access(init->path, F_OK) == 0) return PUMIT_OK;
    free(init->path);
    PUMIT__TRY(pumit__run_newest(&init->file, &init->path, ctx, given));
    if (init->file) return PUMIT_OK;
    return pumit__fail(PUMIT_ERROR_NOT_FOUND,
                       "%s: is a folder without model.safetensors and checkpoints", given);
}

static pumit_status find_kind(pumit__init *init)
{
    pumit_config *info;
    const char *model;
    init->kind = PUMIT__INIT_CHECKPOINT;
    if (init->file) return PUMIT_OK;
    PUMIT__TRY(pumit_model_file_info(&info, init->path));
    pumit_status status = pumit_config_get_string(&model, info, "pumit.model", "");
    if (status == PUMIT_OK && !*model) init->kind = PUMIT__INIT_FOREIGN;
    if (status == PUMIT_OK && *model && strcmp(model, "checkpoint") != 0)
        init->kind = PUMIT__INIT_MODEL;
    pumit_config_release(info);
    return status == PUMIT_OK && init->kind == PUMIT__INIT_CHECKPOINT
               ? pumit__checkpoint_open(&init->file, init->path)
               : status;
}

/* The model that a checkpoint's recipe trains, or its part of the name, lead its weights' names there. */
static pumit_status read_section(pumit__init *init, const char *name)
{
    pumit_config *config;
    const char *recipe;
    PUMIT__TRY(pumit__checkpoint_config(&config, init->file, init->path));
    pumit_status status = pumit_config_get_string(&recipe, config, "recipe", "");
    const bool tuned = status == PUMIT_OK && strcmp(recipe, "classify") == 0;
    init->part = tuned ? "model.backbone" : "model";
    if (status == PUMIT_OK && strcmp(tuned ? "vit" : recipe, name) != 0)
        status =
            pumit__fail(PUMIT_ERROR_INVALID_ARGUMENT,
                        "%s: is of recipe '%s', whose model is no '%s'", init->path, recipe, name);
    if (status == PUMIT_OK) status = pumit_config_get_section(&init->section, config, name);
    pumit_config_release(config);
    return status;
}

pumit_status pumit__init_open(pumit__init *out, const pumit_trainer *t, const char *name)
{
    const char *given;
    *out = (pumit__init){0};
    PUMIT__TRY(pumit_config_get_string(&given, t->config, "init", NULL));
    if (t->resumed || !given || !*given) return PUMIT_OK;
    pumit_status status = resolve(out, t->ctx, given);
    if (status == PUMIT_OK) status = find_kind(out);
    if (status == PUMIT_OK && out->file) status = read_section(out, name);
    if (status == PUMIT_OK) return PUMIT_OK;
    pumit__init_close(out);
    return pumit__fail_in(status, "config key 'init'");
}

void pumit__init_close(pumit__init *init)
{
    free(init->path);
    pumit_config_release(init->section);
    pumit__safetensors_close(init->file);
    *init = (pumit__init){0};
}

/* --------------------------------------------------------------------------------------------- weights */

static pumit_status fill_from_checkpoint(const pumit__init *init, const pumit_trainer *t,
                                         pumit_module *module)
{
    PUMIT__TRY(pumit__checkpoint_weights(module, init->part, init->file, init->path));
    pumit__log(t->ctx, PUMIT_LOG_INFO, "init: %s: all %lld tensors were taken", init->path,
               (long long)pumit_module_parameter_count(module));
    return PUMIT_OK;
}

/* What does not fit is adapted, what is missing stays random; the import's own messages tell which. */
static pumit_status fill_from_others(const pumit__init *init, pumit_module *module)
{
    pumit_config *options;
    PUMIT__TRY(pumit_config_create(&options));
    pumit_status status = pumit_config_set_bool(options, "partial", 1);
    if (status == PUMIT_OK) status = pumit_module_import(module, init->path, options);
    pumit_config_release(options);
    return status;
}

pumit_status pumit__init_fill(const pumit__init *init, pumit_trainer *t, pumit_module *module)
{
    switch (init->kind) {
    case PUMIT__INIT_CHECKPOINT:
        return fill_from_checkpoint(init, t, module);
    case PUMIT__INIT_FOREIGN:
        return fill_from_others(init, module);
    case PUMIT__INIT_NONE:
    case PUMIT__INIT_MODEL:
    default:
        return PUMIT_OK;
    }
}

/* What a model file says of its transformer. */
static pumit_status section_of_model(pumit__init *init)
{
    pumit_config *info;
    const char *kind;
    PUMIT__TRY(pumit_model_file_info(&info, init->path));
    pumit_status status = pumit_config_get_string(&kind, info, "pumit.model", "");
    if (status == PUMIT_OK && strcmp(kind, "vit") != 0 && strcmp(kind, "classifier") != 0)
        status =
            pumit__fail(PUMIT_ERROR_FORMAT, "%s: holds a %s, not a transformer", init->path, kind);
    if (status == PUMIT_OK)
        status = pumit_config_get_section(&init->section, info,
                                          strcmp(kind, "classifier") == 0 ? "pumit.config.vit"
                                                                          : "pumit.config");
    pumit_config_release(info);
    return status;
}

/* The network that "init" names, and nothing of its weights: what the same run would be without them. */
static pumit_status forget_weights(pumit__init *init, pumit_trainer *t)
{
    if (init->kind == PUMIT__INIT_NONE) return PUMIT_OK;
    if (init->kind == PUMIT__INIT_MODEL) PUMIT__TRY(section_of_model(init));
    if (init->section) PUMIT__TRY(pumit_config_set_int(init->section, "seed", t->options.seed));
    init->kind = PUMIT__INIT_NONE;
    pumit__log(t->ctx, PUMIT_LOG_INFO,
               "init: %s: its weights are left alone, all are new (from_scratch)", init->path);
    return PUMIT_OK;
}

static pumit_status load_vit(pumit_trainer *t, const pumit__init *init)
{
    PUMIT__TRY(pumit_vit_load(&t->vit, t->ctx, init->path));
    pumit__log(t->ctx, PUMIT_LOG_INFO, "init: %s: all %lld tensors were taken", init->path,
               (long long)pumit_module_parameter_count(pumit_vit_module(t->vit)));
    return PUMIT_OK;
}

pumit_status pumit__init_vit(pumit_trainer *t,
                             pumit_status (*complete)(pumit_config *section, pumit_trainer *t))
{
    pumit__init init;
    pumit_config *section = NULL;
    int32_t scratch;
    PUMIT__TRY(pumit_config_get_bool(&scratch, t->config, "from_scratch", 0));
    PUMIT__TRY(pumit__init_open(&init, t, "vit"));
    pumit_status status = PUMIT_OK;
    if (scratch) PUMIT__GO(forget_weights(&init, t));
    if (init.kind == PUMIT__INIT_MODEL) {
        PUMIT__GO(load_vit(t, &init));
        goto out;
    }
    if (!init.section) {
        PUMIT__GO(pumit__model_section(&section, t, "vit"));
        if (complete) PUMIT__GO(complete(section, t));
    }
    PUMIT__GO(pumit_vit_create(&t->vit, t->ctx, init.section ? init.section : section));
    PUMIT__GO(pumit__init_fill(&init, t, pumit_vit_module(t->vit)));
out:
    pumit_config_release(section);
    pumit__init_close(&init);
    return status;
}
