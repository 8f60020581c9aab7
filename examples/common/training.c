/* SPDX-License-Identifier: Apache-2.0 */
#include "examples/common/training.h"
#include "examples/common/progress.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define MOST_PATHS 4096

/* ----------------------------------------------------------------------------------------- signals */

static pumit_trainer *volatile running;

static const int SIGNALS[] = {SIGINT, SIGTERM};

/* The first signal asks for an orderly end; a second one, with the default action back, ends at once. */
static void on_signal(int number)
{
    (void)number;
    pumit_trainer_stop(running);
    for (int i = 0; i < 2; i++) signal(SIGNALS[i], SIG_DFL);
}

static void watch_signals(pumit_trainer *trainer)
{
    struct sigaction action = {.sa_handler = trainer ? on_signal : SIG_DFL, .sa_flags = SA_RESTART};
    running = trainer;
    sigemptyset(&action.sa_mask); /* the second one waits until the first is done with */
    for (int i = 0; i < 2; i++) sigaddset(&action.sa_mask, SIGNALS[i]);
    for (int i = 0; i < 2; i++) sigaction(SIGNALS[i], &action, NULL);
}

/* -------------------------------------------------------------------------------------------- data */

typedef struct {
    const char *paths[MOST_PATHS];
    int count;
    bool full;   /* there were more */
    cJSON *tree; /* what the paths were read from, or NULL */
} path_list;

static void add_path(path_list *list, const char *path)
{
    list->full = list->count == MOST_PATHS;
    if (!list->full) list->paths[list->count++] = path;
}

/* A string or an array of strings under `key` of the tree. */
static void paths_of_tree(path_list *list, const cJSON *tree, const char *key)
{
    const cJSON *const item = cJSON_GetObjectItemCaseSensitive(tree, key);
    if (cJSON_IsString(item)) add_path(list, item->valuestring);
    for (const cJSON *child = cJSON_IsArray(item) ? item->child : NULL; child; child = child->next)
        if (cJSON_IsString(child)) add_path(list, child->valuestring);
}

static pumit_status config_tree(cJSON **out, const pumit_config *config)
{
    char *text;
    const pumit_status status = pumit_config_to_json(&text, config);
    *out = status == PUMIT_OK ? cJSON_Parse(text) : NULL;
    if (status == PUMIT_OK) pumit_free(text);
    return status;
}

/* Keeps the paths under `key`, so that the run's config.json tells where its images came from. */
static pumit_status keep_paths(cli *c, const char *key, const path_list *list)
{
    cJSON *array = cJSON_CreateStringArray(list->paths, list->count);
    char *text = array ? cJSON_PrintUnformatted(array) : NULL;
    const pumit_status status =
        text ? pumit_config_set_json(c->config, key, text) : PUMIT_ERROR_OUT_OF_MEMORY;
    cJSON_Delete(array);
    free(text);
    return status;
}

/* What `from` says under `key`, unless `to` says something itself. */
static pumit_status copy_key(pumit_config *to, const pumit_config *from, const char *key)
{
    cJSON *there = NULL, *here = NULL;
    pumit_status status = config_tree(&there, from);
    if (status == PUMIT_OK) status = config_tree(&here, to);
    const cJSON *const item = cJSON_GetObjectItemCaseSensitive(there, key);
    if (status == PUMIT_OK && item && !cJSON_GetObjectItemCaseSensitive(here, key)) {
        char *text = cJSON_PrintUnformatted(item);
        status = text ? pumit_config_set_json(to, key, text) : PUMIT_ERROR_OUT_OF_MEMORY;
        free(text);
    }
    cJSON_Delete(there);
    cJSON_Delete(here);
    return status;
}

/* A run that is resumed knows its own data. */
static pumit_status take_stored(cli *c, const char *output)
{
    static const char *const KEYS[] = {"data",        "validation_data",    "split", "weights",
                                       "class_names", "folders_are_labels", "subset"};
    char path[4096];
    pumit_config *stored;
    snprintf(path, sizeof path, "%s/config.json", output);
    if (!cli_given(c, "resume") || access(path, F_OK) != 0) return PUMIT_OK;
    pumit_status status = pumit_config_read(&stored, path);
    if (status != PUMIT_OK) return status;
    for (size_t i = 0; i < sizeof KEYS / sizeof *KEYS && status == PUMIT_OK; i++)
        status = copy_key(c->config, stored, KEYS[i]);
    pumit_config_release(stored);
    return status;
}

/* From the command line, else from the config. */
static pumit_status list_data(path_list *list, cli *c)
{
    for (int i = 0; i < c->path_count; i++) add_path(list, c->paths[i]);
    if (list->count > 0) return keep_paths(c, "data", list);
    const pumit_status status = config_tree(&list->tree, c->config);
    if (status == PUMIT_OK) paths_of_tree(list, list->tree, "data");
    return status;
}

static pumit_status list_validation(path_list *list, cli *c)
{
    for (int i = 0; i < c->given_count; i++)
        if (strcmp(c->given[i].option->name, "validation") == 0) add_path(list, c->given[i].value);
    if (list->count > 0) return keep_paths(c, "validation_data", list);
    const pumit_status status = config_tree(&list->tree, c->config);
    if (status == PUMIT_OK) paths_of_tree(list, list->tree, "validation_data");
    return status;
}

/* --weight PATTERN=FACTOR, in place of what the config file says. */
static int set_weights(cli *c)
{
    cJSON *rules = cJSON_CreateArray();
    for (int i = 0; i < c->given_count; i++) {
        const char *const value = c->given[i].value, *const equals = strrchr(value, '=');
        char pattern[1024];
        char *end = NULL;
        if (strcmp(c->given[i].option->name, "weight") != 0) continue;
        const double factor = equals ? strtod(equals + 1, &end) : -1;
        if (!equals || end == equals + 1 || *end || !(factor >= 0)) {
            cJSON_Delete(rules);
            return cli_wrong_usage(c, "--weight wants PATTERN=FACTOR, not '%s'", value);
        }
        snprintf(pattern, sizeof pattern, "%.*s", (int)(equals - value), value);
        cJSON *const rule = cJSON_CreateArray();
        cJSON_AddItemToArray(rule, cJSON_CreateString(pattern));
        cJSON_AddItemToArray(rule, cJSON_CreateNumber(factor));
        cJSON_AddItemToArray(rules, rule);
    }
    char *text = cJSON_GetArraySize(rules) > 0 ? cJSON_PrintUnformatted(rules) : NULL;
    const pumit_status status = text ? pumit_config_set_json(c->config, "weights", text) : PUMIT_OK;
    free(text);
    cJSON_Delete(rules);
    return status == PUMIT_OK ? CLI_DONE : cli_fail(c);
}

/* Classes of the same names get the same numbers. */
static pumit_status copy_names(pumit_config *options, const pumit_dataset *from)
{
    const int64_t classes = from ? pumit_dataset_classes(from) : 0;
    cJSON *names = cJSON_CreateArray();
    bool all = classes > 0;
    for (int64_t i = 0; i < classes && all; i++) {
        const char *const name = pumit_dataset_class_name(from, i);
        all = name && cJSON_AddItemToArray(names, cJSON_CreateString(name));
    }
    char *text = all ? cJSON_PrintUnformatted(names) : NULL;
    const pumit_status status =
        text ? pumit_config_set_json(options, "class_names", text) : PUMIT_OK;
    free(text);
    cJSON_Delete(names);
    return status;
}

/* `split` NULL: everything. `like`: the images whose classes these have, or NULL. */
static pumit_status open_paths(pumit_dataset **out, const cli *c, const path_list *list,
                               const char *split, const pumit_dataset *like)
{
    pumit_config *options;
    *out = NULL;
    pumit_status status = pumit_config_create(&options);
    if (status != PUMIT_OK) return status;
    if (split) status = pumit_config_set_string(options, "split", split);
    if (status == PUMIT_OK) status = copy_key(options, c->config, "folders_are_labels");
    if (status == PUMIT_OK) status = copy_key(options, c->config, "label_maps");
    if (status == PUMIT_OK) status = copy_key(options, c->config, "weights");
    if (status == PUMIT_OK) status = copy_key(options, c->config, "class_names");
    if (status == PUMIT_OK) status = copy_names(options, like);
    if (status == PUMIT_OK)
        status = pumit_dataset_open(out, c->ctx, list->count, list->paths, options);
    pumit_config_release(options);
    return status;
}

static bool ends_with(const char *text, const char *ending)
{
    const size_t n = strlen(text), e = strlen(ending);
    return n >= e && strcasecmp(text + n - e, ending) == 0;
}

/* A folder with a table of prepared images, which has a column of splits. */
static bool is_prepared(const char *path)
{
    char table[4096];
    snprintf(table, sizeof table, "%s/images-meta.csv", path);
    return access(table, R_OK) == 0;
}

/* A list without a column of splits. Whatever else is wrong with one is told when it is opened. */
static bool lacks_splits(const char *path)
{
    pumit_config *options;
    char *files = NULL;
    if (!ends_with(path, ".csv") || pumit_config_create(&options) != PUMIT_OK) return false;
    pumit_status status = pumit_config_set_string(options, "split", "train");
    if (status == PUMIT_OK) status = pumit_dataset_files(&files, 1, &path, options);
    pumit_config_release(options);
    pumit_free(files);
    return status == PUMIT_ERROR_FORMAT;
}

/* How many of the paths know splits, which are archives, lists and prepared sets; other images would come again in each. */
static int count_with_splits(const path_list *list)
{
    int count = 0;
    for (int i = 0; i < list->count; i++) {
        const char *const path = list->paths[i];
        count += ends_with(path, ".npz") || is_prepared(path) ||
                 (ends_with(path, ".csv") && !lacks_splits(path));
    }
    return count;
}

/* Nothing but lists without a column of splits: one beside what knows splits is an error instead, as test images could be taken with it. */
static bool all_lack_splits(const path_list *list)
{
    for (int i = 0; i < list->count; i++)
        if (!lacks_splits(list->paths[i])) return false;
    return list->count > 0;
}

/* What to learn from. Without --split the training part alone, so that nothing is learnt from test images. */
static pumit_status open_training(pumit_dataset **out, cli *c, const path_list *data)
{
    const char *split;
    if (cli_given(c, "split")) {
        const pumit_status set = pumit_config_set_string(c->config, "split", cli_value(c, "split"));
        if (set != PUMIT_OK) return set;
    }
    const pumit_status status = pumit_config_get_string(&split, c->config, "split", NULL);
    if (status != PUMIT_OK) return status;
    if (split) return open_paths(out, c, data, strcmp(split, "all") == 0 ? NULL : split, NULL);
    return open_paths(out, c, data, all_lack_splits(data) ? NULL : "train", NULL);
}

/* The split "val" of what is learnt from. That there is none is no error, but one that cannot be read is. */
static pumit_status open_own_validation(pumit_dataset **out, const cli *c, const path_list *data,
                                        const pumit_dataset *train)
{
    const char *split;
    const pumit_status status = pumit_config_get_string(&split, c->config, "split", "train");
    if (status != PUMIT_OK || strcmp(split, "train") != 0) return status;
    if (data->count == 0 || count_with_splits(data) < data->count) return PUMIT_OK;
    const pumit_status opened = open_paths(out, c, data, "val", train);
    return opened == PUMIT_ERROR_NOT_FOUND ? PUMIT_OK : opened;
}

/* What to judge by: --validation, else the archive's own split "val", else nothing. */
static pumit_status open_validation(pumit_dataset **out, cli *c, const path_list *data,
                                    const pumit_dataset *train)
{
    path_list list = {0};
    *out = NULL;
    pumit_status status = list_validation(&list, c);
    if (status == PUMIT_OK && list.count > 0)
        status = open_paths(out, c, &list, count_with_splits(&list) > 0 ? "val" : NULL, train);
    else if (status == PUMIT_OK)
        status = open_own_validation(out, c, data, train);
    cJSON_Delete(list.tree);
    return status;
}

/* ------------------------------------------------------------------------------------------ subset */

/* Keeps the seed that is meant, so that a resumed run has the same images. `wanted`: there is a part to choose. */
static pumit_status complete_subset(bool *wanted, pumit_config *config)
{
    double labels = 1;
    int64_t folds = 0, fold = 0, seed = 0;
    pumit_status status = pumit_config_get_double(&labels, config, "subset.labels", 1);
    if (status == PUMIT_OK) status = pumit_config_get_int(&folds, config, "subset.folds", 0);
    if (status == PUMIT_OK) status = pumit_config_get_int(&fold, config, "subset.fold", 0);
    if (status == PUMIT_OK) status = pumit_config_get_int(&seed, config, "train.seed", 0);
    if (status == PUMIT_OK) status = pumit_config_get_int(&seed, config, "subset.seed", seed);
    *wanted = status == PUMIT_OK && (labels != 1 || folds != 0 || fold != 0);
    return *wanted ? pumit_config_set_int(config, "subset.seed", seed) : status;
}

/* *dataset becomes a part of itself. */
static pumit_status reduce(pumit_dataset **dataset, const pumit_config *options)
{
    pumit_dataset *part;
    const pumit_status status = pumit_dataset_subset(&part, *dataset, options);
    if (status != PUMIT_OK) return status;
    pumit_dataset_release(*dataset);
    *dataset = part;
    return PUMIT_OK;
}

/* The fold takes the place of what there was to judge by. */
static pumit_status hold_out(pumit_dataset **validation, const pumit_dataset *data,
                             pumit_config *options)
{
    int64_t folds;
    pumit_status status = pumit_config_get_int(&folds, options, "folds", 0);
    if (status != PUMIT_OK || folds == 0) return status;
    pumit_dataset_release(*validation);
    *validation = NULL;
    status = pumit_config_set_bool(options, "held_out", 1);
    if (status == PUMIT_OK) status = pumit_dataset_subset(validation, data, options);
    return status == PUMIT_OK ? pumit_config_set_bool(options, "held_out", 0) : status;
}

/* --folds and --labels, or "subset" of the config. */
static pumit_status choose_subset(pumit_dataset **data, pumit_dataset **validation, cli *c)
{
    pumit_config *options;
    bool wanted;
    pumit_status status = complete_subset(&wanted, c->config);
    if (!wanted) return status;
    status = pumit_config_get_section(&options, c->config, "subset");
    if (status != PUMIT_OK) return status;
    status = hold_out(validation, *data, options);
    if (status == PUMIT_OK) status = reduce(data, options);
    pumit_config_release(options);
    return status;
}

/* --------------------------------------------------------------------------------------------- run */

static void print_text(const cJSON *summary)
{
    for (const cJSON *item = summary->child; item; item = item->next) {
        if (cJSON_IsNumber(item)) printf("%-16s %.6g\n", item->string, item->valuedouble);
        if (cJSON_IsString(item)) printf("%-16s %s\n", item->string, item->valuestring);
        for (const cJSON *part = cJSON_IsObject(item) ? item->child : NULL; part; part = part->next)
            if (cJSON_IsNumber(part))
                printf("%s.%-*s %.6g\n", item->string, 15 - (int)strlen(item->string), part->string,
                       part->valuedouble);
    }
}

static int print_summary(const cli *c, const pumit_trainer *trainer, bool stopped)
{
    char *text;
    if (pumit_trainer_summary(&text, trainer) != PUMIT_OK) return cli_fail(c);
    cJSON *summary = cJSON_Parse(text);
    pumit_free(text);
    if (!summary) return cli_fail_with(c, "out of memory");
    if (stopped) cJSON_AddBoolToObject(summary, "stopped", 1);
    if (c->json) return cli_print_json(c, summary);
    print_text(summary);
    cJSON_Delete(summary);
    return CLI_DONE;
}

static int run_trainer(cli *c, pumit_trainer *trainer)
{
    progress p;
    progress_start(&p, c);
    pumit_trainer_set_progress(trainer, progress_step, &p);
    watch_signals(trainer);
    const pumit_status status = pumit_trainer_run(trainer);
    watch_signals(NULL);
    progress_end(&p);
    if (status != PUMIT_OK && status != PUMIT_ERROR_CANCELLED) return cli_fail(c);
    cli_tell_warnings(c);
    if (status == PUMIT_ERROR_CANCELLED)
        cli_say(c, "%s; --resume goes on from there", pumit_last_error());
    return print_summary(c, trainer, status == PUMIT_ERROR_CANCELLED);
}

static int train(cli *c, const pumit_dataset *data, const pumit_dataset *validation)
{
    pumit_trainer *trainer;
    if (pumit_trainer_create(&trainer, c->ctx, data, validation, c->config) != PUMIT_OK)
        return cli_fail(c);
    cli_tell_warnings(c);
    if (c->quiet && pumit_dataset_skipped(data) > 0)
        cli_say(c, "%lld images could not be read: without --quiet each is told",
                (long long)pumit_dataset_skipped(data));
    if (!c->quiet)
        cli_say(c, "%lld images to learn from, %lld to judge by, on %s with %d threads",
                (long long)pumit_dataset_count(data),
                (long long)(validation ? pumit_dataset_count(validation) : 0),
                pumit_context_device(c->ctx), (int)pumit_context_threads(c->ctx));
    const int result = run_trainer(c, trainer);
    pumit_trainer_release(trainer);
    return result;
}

static int open_and_train(cli *c, const path_list *list)
{
    pumit_dataset *data = NULL, *validation = NULL;
    pumit_status status = cli_open_context(c);
    if (status == PUMIT_OK) status = open_training(&data, c, list);
    if (status == PUMIT_OK) status = open_validation(&validation, c, list, data);
    if (status == PUMIT_OK) status = choose_subset(&data, &validation, c);
    const int result = status == PUMIT_OK ? train(c, data, validation) : cli_fail(c);
    pumit_dataset_release(validation);
    pumit_dataset_release(data);
    return result;
}

int training_run(cli *c, const char *recipe)
{
    const char *output;
    if (pumit_config_get_string(&output, c->config, "output", NULL) != PUMIT_OK) return cli_fail(c);
    if (!output) return cli_wrong_usage(c, "--output DIR is missing");
    if (cli_given(c, "folds") && cli_given(c, "validation"))
        return cli_wrong_usage(c, "--folds judges by a fold: leave it or --validation out");
    const int weights = set_weights(c);
    if (weights != CLI_DONE) return weights;
    path_list list = {0};
    pumit_status status = take_stored(c, output);
    if (status == PUMIT_OK) status = pumit_config_set_string(c->config, "recipe", recipe);
    if (status == PUMIT_OK) status = list_data(&list, c);
    int result;
    if (status != PUMIT_OK)
        result = cli_fail(c);
    else if (list.count == 0)
        result = cli_wrong_usage(c, "what to learn from is missing");
    else if (list.full)
        result = cli_wrong_usage(c, "more than %d paths: name a folder, a pattern or a list",
                                 MOST_PATHS);
    else
        result = open_and_train(c, &list);
    cJSON_Delete(list.tree);
    return result;
}
