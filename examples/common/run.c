/* SPDX-License-Identifier: Apache-2.0 */
#include "examples/common/run.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MEAN_OF 50 /* last values that a summary takes the mean of */

static void path_in(char path[4096], const char *run, const char *name)
{
    snprintf(path, 4096, "%s/%s", run, name);
}

bool run_is(const char *path)
{
    char metrics[4096];
    path_in(metrics, path, "metrics.jsonl");
    return access(metrics, F_OK) == 0;
}

/* ------------------------------------------------------------------------------------------- reading */

static run_curve *curve_of(run_log *log, const char *name, bool validation)
{
    for (int i = 0; i < log->count; i++)
        if (log->curves[i].validation == validation &&
            strncmp(log->curves[i].name, name, sizeof log->curves[i].name - 1) == 0)
            return &log->curves[i];
    if (log->count == RUN_MOST_CURVES) return NULL;
    run_curve *const made = &log->curves[log->count++];
    snprintf(made->name, sizeof made->name, "%s", name);
    made->validation = validation;
    return made;
}

static bool add_point(run_curve *curve, double step, double value)
{
    if (curve->count == curve->capacity) {
        const int64_t capacity = curve->capacity > 0 ? 2 * curve->capacity : 256;
        double *const steps = realloc(curve->step, (size_t)capacity * sizeof *steps);
        if (steps) curve->step = steps;
        double *const values = realloc(curve->value, (size_t)capacity * sizeof *values);
        if (values) curve->value = values;
        if (!steps || !values) return false;
        curve->capacity = capacity;
    }
    curve->step[curve->count] = step;
    curve->value[curve->count++] = value;
    return true;
}

/* A number; null stands for what was not finite. */
static bool add_number_of(run_log *log, const char *name, const cJSON *item, double step,
                          bool validation)
{
    if (!cJSON_IsNumber(item) && !cJSON_IsNull(item)) return true;
    run_curve *const curve = curve_of(log, name, validation);
    const double value = cJSON_IsNumber(item) ? item->valuedouble : (double)NAN;
    return !curve || add_point(curve, step, value);
}

/* The numbers of one object, and those of its lists. */
static bool add_figures(run_log *log, const cJSON *object, double step, bool validation)
{
    bool added = true;
    for (const cJSON *item = object->child; item && added; item = item->next) {
        char name[sizeof((run_curve *)0)->name];
        int index = 0;
        if (strcmp(item->string, "step") == 0) continue;
        added = add_number_of(log, item->string, item, step, validation);
        for (const cJSON *of = cJSON_IsArray(item) ? item->child : NULL; of && added;
             of = of->next) {
            snprintf(name, sizeof name, "%.48s/%d", item->string, index++);
            added = add_number_of(log, name, of, step, validation);
        }
    }
    return added;
}

static bool add_line(run_log *log, const char *line, size_t bytes)
{
    cJSON *const object = cJSON_ParseWithLength(line, bytes);
    const cJSON *const step = cJSON_GetObjectItemCaseSensitive(object, "step");
    const cJSON *const validation = cJSON_GetObjectItemCaseSensitive(object, "validation");
    bool added = true;
    if (cJSON_IsNumber(step)) {
        log->lines++;
        added =
            add_figures(log, object, step->valuedouble, false) &&
            (!cJSON_IsObject(validation) || add_figures(log, validation, step->valuedouble, true));
    }
    cJSON_Delete(object);
    return added;
}

int run_read(run_log *out, const cli *c, const char *path)
{
    char name[4096];
    char *line = NULL;
    size_t capacity = 0;
    ssize_t got;
    bool added = true;
    *out = (run_log){.path = path};
    path_in(name, path, "metrics.jsonl");
    FILE *file = fopen(name, "re");
    if (!file) return cli_fail_with(c, "%s: cannot read: %s", name, strerror(errno));
    while (added && (got = getline(&line, &capacity, file)) > 0)
        if (line[got - 1] == '\n') added = add_line(out, line, (size_t)got);
    const bool failed = ferror(file) != 0;
    fclose(file);
    free(line);
    if (!added) return cli_fail_with(c, "%s: out of memory", name);
    if (failed) return cli_fail_with(c, "%s: cannot read", name);
    if (out->lines == 0) return cli_fail_with(c, "%s: holds no step yet", name);
    return CLI_DONE;
}

void run_free(run_log *log)
{
    for (int i = 0; i < log->count; i++) {
        free(log->curves[i].step);
        free(log->curves[i].value);
    }
    log->count = 0;
}

const run_curve *run_find(const run_log *log, const char *name, bool validation)
{
    for (int i = 0; i < log->count; i++)
        if (log->curves[i].validation == validation && strcmp(log->curves[i].name, name) == 0)
            return &log->curves[i];
    return NULL;
}

/* ------------------------------------------------------------------------------------------- summary */

static double mean_of_last(const run_curve *curve)
{
    double sum = 0, finite = 0;
    for (int64_t i = curve->count > MEAN_OF ? curve->count - MEAN_OF : 0; i < curve->count; i++) {
        if (!isfinite(curve->value[i])) continue;
        sum += curve->value[i];
        finite++;
    }
    return sum / finite; /* NaN if there is none */
}

static void add_number(cJSON *object, const char *name, double value)
{
    if (isfinite(value)) cJSON_AddNumberToObject(object, name, value);
}

/* What config.json says of the run. */
static void add_config(cJSON *summary, const char *path)
{
    char name[4096];
    const char *recipe;
    int64_t steps;
    pumit_config *config;
    path_in(name, path, "config.json");
    if (pumit_config_read(&config, name) != PUMIT_OK) return;
    if (pumit_config_get_string(&recipe, config, "recipe", NULL) == PUMIT_OK && recipe)
        cJSON_AddStringToObject(summary, "recipe", recipe);
    if (pumit_config_get_int(&steps, config, "train.steps", 0) == PUMIT_OK)
        cJSON_AddNumberToObject(summary, "of_steps", (double)steps);
    pumit_config_release(config);
}

static void add_validation(cJSON *summary, const run_log *log)
{
    cJSON *const latest = cJSON_CreateObject();
    for (int i = 0; i < log->count; i++) {
        const run_curve *const curve = &log->curves[i];
        if (!curve->validation || strchr(curve->name, '/')) continue;
        if (!latest->child) add_number(latest, "step", curve->step[curve->count - 1]);
        add_number(latest, curve->name, curve->value[curve->count - 1]);
    }
    if (latest && latest->child)
        cJSON_AddItemToObject(summary, "validation", latest);
    else
        cJSON_Delete(latest);
}

cJSON *run_summary(const run_log *log)
{
    static const char *const RECENT[] = {"loss", "l1", "psnr", "kl", "accuracy", "images_per_s"};
    cJSON *const summary = cJSON_CreateObject();
    if (!summary) return NULL;
    cJSON_AddStringToObject(summary, "file", log->path);
    cJSON_AddStringToObject(summary, "kind", "run");
    add_config(summary, log->path);
    const run_curve *const loss = run_find(log, "loss", false);
    const run_curve *const skipped = run_find(log, "skipped", false);
    if (loss) cJSON_AddNumberToObject(summary, "step", loss->step[loss->count - 1]);
    cJSON_AddNumberToObject(summary, "skipped", skipped ? (double)skipped->count : 0);
    cJSON *const recent = cJSON_AddObjectToObject(summary, "recent");
    for (size_t i = 0; i < sizeof RECENT / sizeof *RECENT; i++) {
        const run_curve *const curve = run_find(log, RECENT[i], false);
        if (curve) add_number(recent, RECENT[i], mean_of_last(curve));
    }
    add_validation(summary, log);
    return summary;
}
