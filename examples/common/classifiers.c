/* SPDX-License-Identifier: Apache-2.0 */
#include "examples/common/classifiers.h"

#include <string.h>

static bool same_classes(pumit_classifier *a, pumit_classifier *b)
{
    const int64_t classes = pumit_classifier_classes(a);
    if (classes != pumit_classifier_classes(b)) return false;
    if (pumit_classifier_task(a) != pumit_classifier_task(b)) return false;
    for (int64_t k = 0; k < classes; k++) {
        const char *const one = pumit_classifier_class_name(a, k), *const other =
                                                                       pumit_classifier_class_name(
                                                                           b, k);
        if (one && other && strcmp(one, other) != 0) return false;
    }
    return true;
}

static int add(cli_classifiers *set, const cli *c, const char *path)
{
    pumit_classifier *model;
    if (pumit_classifier_load(&model, c->ctx, path) != PUMIT_OK) return cli_fail(c);
    set->models[set->count++] = model;
    if (same_classes(set->models[0], model)) return CLI_DONE;
    return cli_fail_with(c, "%s: has other classes than %s: they cannot be averaged", path,
                         c->paths[0]);
}

static int tell_names(const cli_classifiers *set, cli *c)
{
    cJSON *names = cli_class_names(set);
    if (!names) return CLI_DONE;
    char *const text = cJSON_PrintUnformatted(names);
    cJSON_Delete(names);
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
    if (status != CLI_DONE) return status;
    set->classes = pumit_classifier_classes(set->models[0]);
    set->task = pumit_classifier_task(set->models[0]);
    return tell_names(set, c);
}

void cli_classifiers_close(cli_classifiers *set)
{
    for (int i = 0; i < set->count; i++) pumit_classifier_release(set->models[i]);
}

const char *cli_class_name(const cli_classifiers *set, int64_t k)
{
    return pumit_classifier_class_name(set->models[0], k);
}

cJSON *cli_class_names(const cli_classifiers *set)
{
    if (!cli_class_name(set, 0)) return NULL;
    cJSON *names = cJSON_CreateArray();
    for (int64_t k = 0; k < set->classes; k++)
        cJSON_AddItemToArray(names, cJSON_CreateString(cli_class_name(set, k)));
    return names;
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
