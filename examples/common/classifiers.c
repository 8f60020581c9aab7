/* SPDX-License-Identifier: Apache-2.0 */
#include "examples/common/classifiers.h"

#include <string.h>

static pumit_task task_of(const char *name)
{
    if (strcmp(name, "labels") == 0) return PUMIT_TASK_LABELS;
    return strcmp(name, "grades") == 0 ? PUMIT_TASK_GRADES : PUMIT_TASK_CLASSES;
}

/* What a classifier says of its classes; `names` are to be deleted, NULL if there are none. */
static pumit_status describe(pumit_task *task, cJSON **names, pumit_classifier *model)
{
    pumit_config *config;
    const char *name;
    char *json = NULL;
    *names = NULL;
    pumit_status status = pumit_module_config(&config, pumit_classifier_module(model));
    if (status != PUMIT_OK) return status;
    status = pumit_config_get_string(&name, config, "task", "classes");
    if (status == PUMIT_OK) *task = task_of(name);
    if (status == PUMIT_OK) status = pumit_config_to_json(&json, config);
    cJSON *tree = json ? cJSON_Parse(json) : NULL;
    *names = cJSON_DetachItemFromObjectCaseSensitive(tree, "class_names");
    cJSON_Delete(tree);
    pumit_free(json);
    pumit_config_release(config);
    return status;
}

static int add(cli_classifiers *set, const cli *c, const char *path)
{
    pumit_task task = PUMIT_TASK_CLASSES;
    cJSON *names;
    pumit_classifier *model;
    if (pumit_classifier_load(&model, c->ctx, path) != PUMIT_OK) return cli_fail(c);
    set->models[set->count++] = model;
    if (describe(&task, &names, model) != PUMIT_OK) return cli_fail(c);
    const int64_t classes = pumit_classifier_classes(model);
    if (set->count == 1) {
        set->classes = classes;
        set->task = task;
        set->names = names;
        return CLI_DONE;
    }
    const bool same = classes == set->classes && task == set->task &&
                      (!names || !set->names || cJSON_Compare(names, set->names, true));
    cJSON_Delete(names);
    if (same) return CLI_DONE;
    return cli_fail_with(c, "%s: has other classes than %s: they cannot be averaged", path,
                         c->paths[0]);
}

/* Images then number their classes as the models do, even if one does not occur among them. */
static int tell_names(const cli_classifiers *set, cli *c)
{
    if (!set->names) return CLI_DONE;
    char *const text = cJSON_PrintUnformatted(set->names);
    if (!text) return cli_fail_with(c, "out of memory");
    const pumit_status status = pumit_config_set_json(c->config, "class_names", text);
    cJSON_free(text);
    return status == PUMIT_OK ? CLI_DONE : cli_fail(c);
}

int cli_classifiers_open(cli_classifiers *set, cli *c)
{
    memset(set, 0, sizeof *set);
    int status = add(set, c, c->paths[0]);
    for (int i = 0; i < c->given_count && status == CLI_DONE; i++)
        if (strcmp(c->given[i].option->name, "model") == 0) status = add(set, c, c->given[i].value);
    return status == CLI_DONE ? tell_names(set, c) : status;
}

void cli_classifiers_close(cli_classifiers *set)
{
    for (int i = 0; i < set->count; i++) pumit_classifier_release(set->models[i]);
    cJSON_Delete(set->names);
}

const char *cli_class_name(const cli_classifiers *set, int64_t k)
{
    const cJSON *const name = cJSON_GetArrayItem(set->names, (int)k);
    return cJSON_IsString(name) ? name->valuestring : NULL;
}

pumit_status cli_classifiers_predict(double *row, const cli_classifiers *set,
                                     const pumit_volume *image)
{
    const int64_t classes = set->classes;
    double *const one = row + classes;
    memset(row, 0, (size_t)classes * sizeof *row);
    for (int m = 0; m < set->count; m++) {
        pumit_tensor *out;
        pumit_status status = pumit_classifier_predict(&out, set->models[m], image);
        if (status != PUMIT_OK) return status;
        status = pumit_tensor_read(out, PUMIT_F64, one, classes * (int64_t)sizeof *one);
        pumit_tensor_release(out);
        if (status != PUMIT_OK) return status;
        for (int64_t k = 0; k < classes; k++) row[k] += one[k] / set->count;
    }
    return PUMIT_OK;
}
