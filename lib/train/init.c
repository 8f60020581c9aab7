/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/train/init.h"

#include "lib/tensor/context.h"
#include "lib/train/checkpoint.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ------------------------------------------------------------------------------------ run directories */

/* The last name in a folder of checkpoints; their steps are padded with zeros. *out stays NULL if there is none. */
static pumit_status last_checkpoint(char **out, const char *folder)
{
    char newest[256] = "";
    DIR *const listing = opendir(folder);
    *out = NULL;
    if (!listing) return PUMIT_OK;
    for (const struct dirent *entry; (entry = readdir(listing)) != NULL;)
        if (strncmp(entry->d_name, "step-", 5) == 0 &&
            pumit__ends_with(entry->d_name, ".safetensors") && strcmp(entry->d_name, newest) > 0)
            snprintf(newest, sizeof newest, "%s", entry->d_name);
    closedir(listing);
    if (!*newest) return PUMIT_OK;
    *out = pumit__format("%s/%s", folder, newest);
    return *out ? PUMIT_OK : pumit__fail_memory((int64_t)strlen(newest), "a path");
}

/* The file that a run directory stands for. */
static pumit_status file_of_run(char **out, const char *run)
{
    char *folder = NULL;
    *out = pumit__format("%s/model.safetensors", run);
    pumit_status status = *out ? PUMIT_OK : pumit__fail_memory((int64_t)strlen(run), "a path");
    if (status != PUMIT_OK || access(*out, F_OK) == 0) return status;
    free(*out);
    *out = NULL;
    folder = pumit__format("%s/checkpoints", run);
    status =
        folder ? last_checkpoint(out, folder) : pumit__fail_memory((int64_t)strlen(run), "a path");
    free(folder);
    if (status == PUMIT_OK && !*out)
        status = pumit__fail(PUMIT_ERROR_NOT_FOUND,
                             "%s: is a folder without model.safetensors and checkpoints", run);
    return status;
}

static pumit_status resolve(char **out, const char *given)
{
    struct stat info;
    if (stat(given, &info) == 0 && S_ISDIR(info.st_mode)) return file_of_run(out, given);
    *out = pumit__strdup(given);
    return *out ? PUMIT_OK : pumit__fail_memory((int64_t)strlen(given), "a path");
}

/* ----------------------------------------------------------------------------------------------- kinds */

static pumit_status section_of(pumit__init *init, const char *name)
{
    pumit__safetensors *file;
    pumit_config *config = NULL;
    PUMIT__TRY(pumit__safetensors_open(&file, init->path));
    pumit_status status = pumit__checkpoint_config(&config, file, init->path);
    pumit__safetensors_close(file);
    if (status == PUMIT_OK) status = pumit_config_get_section(&init->section, config, name);
    pumit_config_release(config);
    return status;
}

static pumit_status find_kind(pumit__init *init, const char *name)
{
    pumit_config *info;
    const char *model;
    PUMIT__TRY(pumit_model_file_info(&info, init->path));
    pumit_status status = pumit_config_get_string(&model, info, "pumit.model", "");
    if (status == PUMIT_OK)
        init->kind = !*model                            ? PUMIT__INIT_FOREIGN
                     : strcmp(model, "checkpoint") == 0 ? PUMIT__INIT_CHECKPOINT
                                                        : PUMIT__INIT_MODEL;
    pumit_config_release(info);
    if (status == PUMIT_OK && init->kind == PUMIT__INIT_CHECKPOINT) status = section_of(init, name);
    return status;
}

pumit_status pumit__init_open(pumit__init *out, const pumit_trainer *t, const char *name)
{
    const char *given;
    *out = (pumit__init){0};
    PUMIT__TRY(pumit_config_get_string(&given, t->config, "init", NULL));
    if (t->resumed || !given || !*given) return PUMIT_OK;
    pumit_status status = resolve(&out->path, given);
    if (status == PUMIT_OK) status = find_kind(out, name);
    if (status == PUMIT_OK) return PUMIT_OK;
    pumit__init_close(out);
    return pumit__fail_in(status, "config key 'init'");
}

void pumit__init_close(pumit__init *init)
{
    free(init->path);
    pumit_config_release(init->section);
    *init = (pumit__init){0};
}

/* --------------------------------------------------------------------------------------------- weights */

static pumit_status fill_from_checkpoint(const pumit__init *init, const pumit_trainer *t,
                                         pumit_module *module)
{
    pumit__safetensors *file;
    PUMIT__TRY(pumit__safetensors_open(&file, init->path));
    const pumit_status status = pumit__checkpoint_weights(module, "model", file, init->path);
    pumit__safetensors_close(file);
    if (status == PUMIT_OK)
        pumit__log(t->ctx, PUMIT_LOG_INFO, "init: %s: all %lld tensors were taken", init->path,
                   (long long)pumit_module_parameter_count(module));
    return status;
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
