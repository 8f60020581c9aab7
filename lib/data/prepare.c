/* SPDX-License-Identifier: Apache-2.0 */
/* Preparing images: what is to be done, the threads that do it, the report. */
#include "lib/data/prepare.h"

#include "lib/base/config.h"
#include "lib/base/thread.h"
#include "lib/tensor/context.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MOST_THREADS 1024

typedef enum { WANTED, ALREADY_THERE, LEFT_OUT } fate;

typedef struct {
    char *origin; /* absolute path, folders' links followed */
    fate fate;
} task;

typedef struct {
    int64_t task; /* which one it belongs to; the order of the report */
    char *path, *reason;
} skip;

typedef struct {
    pumit_context *ctx;   /* the caller's, touched by its thread alone */
    pumit_context limits; /* what readers ask a context for; messages go to the list below */
    pumit__prepare_options options;
    pumit__sources sources;
    task *tasks; /* (sources.count) */
    int64_t total, already, images;
    int table; /* images-meta.csv, to be appended to */

    pthread_mutex_t mutex; /* of everything below */
    pthread_cond_t changed;
    int64_t next, finished, done, running;
    int64_t last; /* task that was finished last */
    bool stop;
    pumit_status status; /* of what stopped the work, with its message */
    char message[1024];
    skip *skips;
    int64_t skip_count, skip_capacity;
    char **messages; /* for the log */
    int64_t message_count, message_capacity;
} job;

/* ----------------------------------------------------------------------------------------- options */

static pumit_status read_foreground(pumit__prepare_options *o, const cJSON *tree)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(tree, "foreground");
    o->crop = !cJSON_IsFalse(item);
    o->threshold = cJSON_IsNumber(item) ? item->valuedouble : NAN;
    PUMIT__REQUIRE(!item || cJSON_IsBool(item) || cJSON_IsNumber(item),
                   "foreground: is neither a number nor false");
    return PUMIT_OK;
}

static bool is_rule(const cJSON *rule)
{
    return cJSON_IsArray(rule) && cJSON_GetArraySize(rule) == 2 && cJSON_IsString(rule->child) &&
           cJSON_IsString(rule->child->next);
}

static pumit_status check_name(const char *name)
{
    PUMIT__REQUIRE(strlen(name) < PUMIT__SOURCE_WORD, "modality: \"%s\" has more than %d letters",
                   name, PUMIT__SOURCE_WORD - 1);
    return PUMIT_OK;
}

static pumit_status read_modality(pumit__prepare_options *o, const cJSON *tree)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(tree, "modality"), *rule;
    o->modality = item;
    if (!item) return PUMIT_OK;
    if (cJSON_IsString(item)) return check_name(item->valuestring);
    PUMIT__REQUIRE(cJSON_IsArray(item), "modality: is neither a name nor a list of rules");
    for (rule = item->child; rule; rule = rule->next) {
        PUMIT__REQUIRE(is_rule(rule), "modality: a rule is not [\"pattern\", \"name\"]");
        PUMIT__TRY(check_name(rule->child->next->valuestring));
    }
    return PUMIT_OK;
}

static pumit_status read_options(job *j, const pumit_config *options)
{
    pumit__prepare_options *o = &j->options;
    int32_t allow_nan;
    PUMIT__TRY(pumit_config_get_string(&o->output, options, "output", NULL));
    PUMIT__REQUIRE(o->output && *o->output, "output: no folder is given");
    PUMIT__TRY(
        pumit_config_get_int(&o->threads, options, "threads", pumit_context_threads(j->ctx)));
    PUMIT__REQUIRE(o->threads >= 1 && o->threads <= MOST_THREADS, "threads: %lld is not in 1..%d",
                   (long long)o->threads, MOST_THREADS);
    PUMIT__TRY(pumit_config_get_int(&o->most_side, options, "most_side", 512));
    PUMIT__REQUIRE(o->most_side >= 1, "most_side: %lld is not positive", (long long)o->most_side);
    PUMIT__TRY(pumit_config_get_bool(&allow_nan, options, "allow_nan", 0));
    o->allow_nan = allow_nan != 0;
    PUMIT__TRY(pumit_config_get_double(&o->hold_out, options, "hold_out", 0));
    PUMIT__REQUIRE(o->hold_out >= 0 && o->hold_out <= 1, "hold_out: %g is not in 0..1",
                   o->hold_out);
    PUMIT__TRY(pumit_config_get_int(&o->most_bytes, options, "limits.bytes", INT64_C(4) << 30));
    PUMIT__REQUIRE(o->most_bytes > 0, "limits.bytes: %lld is not positive",
                   (long long)o->most_bytes);
    const cJSON *tree = pumit__config_json(options);
    PUMIT__TRY(read_foreground(o, tree));
    return read_modality(o, tree);
}

/* ------------------------------------------------------------------------------------------- tasks */

static pumit_status push_skip(job *j, int64_t number, const char *path, const char *reason)
{
    skip s = {number, pumit__strdup(path), pumit__strdup(reason)};
    if (s.path && s.reason &&
        pumit__grow(&j->skips, &j->skip_capacity, j->skip_count + 1, sizeof s)) {
        j->skips[j->skip_count++] = s;
        return PUMIT_OK;
    }
    free(s.path);
    free(s.reason);
    return pumit__fail_memory((int64_t)sizeof s, "a list of files");
}

/* Links in folders are followed, so that a file has one name; the file itself keeps its own. */
static pumit_status find_origin(char **out, const char *path)
{
    char *file = pumit__header_path(path);
    const char *slash = file ? strrchr(file, '/') : NULL;
    char *folder =
        file && slash ? pumit__format("%.*s", (int)(slash - file) + 1, file) : pumit__strdup(".");
    char *whole = file && folder ? realpath(folder, NULL) : NULL;
    const char *name = slash ? slash + 1 : file;
    if (whole)
        *out = pumit__format("%s/%s", strcmp(whole, "/") == 0 ? "" : whole, name);
    else if (file && folder) /* as it came: reading it will tell why */
        *out = pumit__strdup(file);
    free(whole);
    free(folder);
    free(file);
    return *out ? PUMIT_OK : pumit__fail_memory(0, path);
}

static bool same_folder(const char *a, const char *b)
{
    char *x = realpath(a, NULL), *y = realpath(b, NULL);
    const bool same = x && y && strcmp(x, y) == 0;
    free(x);
    free(y);
    return same;
}

static pumit_status plan_task(job *j, int64_t i)
{
    const pumit__source *s = &j->sources.items[i];
    task *t = &j->tasks[i];
    PUMIT__TRY(find_origin(&t->origin, s->path));
    if (s->status == PUMIT_OK && !s->prepared) return PUMIT_OK;
    t->fate = LEFT_OUT;
    if (s->prepared && same_folder(s->path, j->options.output)) return PUMIT_OK;
    j->total++;
    j->finished++;
    return push_skip(j, i, t->origin, s->prepared ? "is a prepared set already" : s->reason);
}

static int by_origin(const void *a, const void *b)
{
    const task *x = *(task *const *)a, *y = *(task *const *)b;
    const int order = strcmp(x->origin, y->origin);
    return order ? order : (x > y) - (x < y);
}

/* Every file once, where it comes first. `order`: the tasks by origin. */
static void drop_repeated(job *j, task **order)
{
    const task *kept = NULL;
    for (int64_t i = 0; i < j->sources.count; i++) {
        if (order[i]->fate == LEFT_OUT) continue;
        if (kept && strcmp(kept->origin, order[i]->origin) == 0)
            order[i]->fate = LEFT_OUT;
        else
            kept = order[i];
        j->total += kept == order[i];
    }
}

static task *find_task(task **order, int64_t count, const char *origin)
{
    int64_t low = 0;
    while (low < count) {
        const int64_t middle = low + (count - low) / 2;
        if (strcmp(order[middle]->origin, origin) < 0)
            low = middle + 1;
        else
            count = middle;
    }
    return order[low];
}

/* Whether the source of a row is still what it was. */
static bool is_current(const pumit__prepared_row *row, const char *origin)
{
    char bytes[24];
    pumit__fingerprint print;
    if (pumit__fingerprint_of(&print, origin) != PUMIT_OK) return false;
    snprintf(bytes, sizeof bytes, "%lld", (long long)print.bytes);
    return strcmp(bytes, row->fields[PUMIT__COLUMN_BYTES]) == 0 &&
           strcmp(print.time, row->fields[PUMIT__COLUMN_MTIME]) == 0;
}

/* Rows of sources that changed go; the sources of the others are done. Rows of sources not asked for today stay. */
static void compare_rows(job *j, pumit__prepared_table *table, task **order)
{
    for (int64_t i = 0; i < table->count && j->sources.count > 0; i++) {
        pumit__prepared_row *row = &table->rows[i];
        const char *origin = row->fields[PUMIT__COLUMN_ORIGIN];
        const task *last = order[j->sources.count - 1];
        if (strcmp(origin, last->origin) > 0) continue;
        task *t = find_task(order, j->sources.count, origin);
        if (strcmp(t->origin, origin) != 0 || t->fate == LEFT_OUT) continue;
        if (t->fate == ALREADY_THERE) continue;
        if (!is_current(row, origin)) {
            row->fields[PUMIT__COLUMN_KEY] = "";
            continue;
        }
        t->fate = ALREADY_THERE;
        j->already++;
        j->finished++;
    }
}

static pumit_status plan_tasks(job *j)
{
    const int64_t count = j->sources.count;
    j->tasks = pumit__calloc(count, sizeof *j->tasks);
    task **order = pumit__calloc(count, sizeof *order);
    pumit__prepared_table table = {0};
    pumit_status status =
        j->tasks && order ? PUMIT_OK : pumit__fail_memory(count * 24, "a list of files");
    for (int64_t i = 0; status == PUMIT_OK && i < count; i++) {
        status = plan_task(j, i);
        order[i] = &j->tasks[i];
    }
    if (status != PUMIT_OK) goto out;
    if (count > 0) qsort(order, (size_t)count, sizeof *order, by_origin);
    drop_repeated(j, order);
    PUMIT__GO(pumit__set_read(&table, j->options.output));
    compare_rows(j, &table, order);
    PUMIT__GO(pumit__set_write(&table, j->options.output));
    status = pumit__set_clean(j->options.output, NULL);
out:
    pumit__prepared_free(&table);
    free(order);
    return status;
}

/* ----------------------------------------------------------------------------------------- threads */

/* A reader's message, in any thread. */
static void keep_message(void *user, int32_t level, const char *message)
{
    job *j = user;
    (void)level;
    char *copy = pumit__strdup(message);
    pthread_mutex_lock(&j->mutex);
    if (copy && pumit__grow(&j->messages, &j->message_capacity, j->message_count + 1,
                            sizeof *j->messages)) {
        j->messages[j->message_count++] = copy;
        copy = NULL;
    }
    pthread_mutex_unlock(&j->mutex);
    free(copy);
}

/* The first thing that stops the work is the one to tell. The mutex is held. */
static void stop_work(job *j, pumit_status status)
{
    j->stop = true;
    if (j->status != PUMIT_OK) return;
    j->status = status;
    snprintf(j->message, sizeof j->message, "%s", pumit_last_error());
}

static int64_t take_task(job *j)
{
    pthread_mutex_lock(&j->mutex);
    while (j->next < j->sources.count && j->tasks[j->next].fate != WANTED) j->next++;
    const int64_t taken = j->stop || j->next == j->sources.count ? -1 : j->next++;
    if (taken < 0) {
        j->running--;
        pthread_cond_signal(&j->changed);
    }
    pthread_mutex_unlock(&j->mutex);
    return taken;
}

static pumit_status keep_result(job *j, int64_t i, const pumit__prepared_source *result)
{
    for (const char *at = result->skipped.text;
         at && at < result->skipped.text + result->skipped.length;) {
        const char *reason = at + strlen(at) + 1;
        PUMIT__TRY(push_skip(j, i, at, reason));
        at = reason + strlen(reason) + 1;
    }
    PUMIT__TRY(pumit__set_append(j->table, &result->rows, j->options.output));
    j->images += result->images;
    j->done += result->images > 0;
    return PUMIT_OK;
}

static void end_task(job *j, int64_t i, const pumit__prepared_source *result, bool fatal,
                     pumit_status status)
{
    pthread_mutex_lock(&j->mutex);
    if (status == PUMIT_OK) {
        status = keep_result(j, i, result);
        fatal = status != PUMIT_OK;
    } else if (!fatal) {
        status = push_skip(j, i, j->tasks[i].origin, pumit_last_error());
        fatal = status != PUMIT_OK;
    }
    if (fatal) stop_work(j, status);
    j->finished++;
    j->last = i;
    pthread_cond_signal(&j->changed);
    pthread_mutex_unlock(&j->mutex);
}

static void *work(void *user)
{
    job *j = user;
    for (int64_t i; (i = take_task(j)) >= 0;) {
        bool fatal;
        pumit__prepared_source result;
        const pumit_status status = pumit__prepare_source(
            &result, &fatal, &j->limits, &j->sources.items[i], j->tasks[i].origin, &j->options);
        end_task(j, i, &result, fatal, status);
        pumit__prepared_source_free(&result);
    }
    return NULL;
}

/* With the mutex held; it is let go while the caller's functions run. */
static void tell_caller(job *j, pumit_prepare_fn progress, void *user, int64_t *told)
{
    const int64_t finished = j->finished, last = j->last, count = j->message_count;
    const bool wanted = progress && !j->stop;
    char **messages = j->messages;
    j->messages = NULL;
    j->message_count = j->message_capacity = 0;
    pthread_mutex_unlock(&j->mutex);
    for (int64_t i = 0; i < count; i++) {
        pumit__log(j->ctx, PUMIT_LOG_WARNING, "%s", messages[i]);
        free(messages[i]);
    }
    free(messages);
    const bool news = wanted && finished != *told && last >= 0;
    *told = finished;
    const bool cancelled = news && progress(user, finished, j->total, j->tasks[last].origin) != 0;
    if (cancelled)
        pumit__fail(PUMIT_ERROR_CANCELLED,
                    "%s: stopped after %lld of %lld files; prepare again to go on",
                    j->options.output, (long long)finished, (long long)j->total);
    pthread_mutex_lock(&j->mutex);
    if (cancelled) stop_work(j, PUMIT_ERROR_CANCELLED);
}

/* `told`: how many were finished before the threads began. */
static void watch(job *j, pumit_prepare_fn progress, void *user, int64_t told)
{
    pthread_mutex_lock(&j->mutex);
    while (j->running > 0 || j->finished != told || j->message_count > 0) {
        if (j->finished == told && j->message_count == 0)
            pthread_cond_wait(&j->changed, &j->mutex);
        else
            tell_caller(j, progress, user, &told);
    }
    pthread_mutex_unlock(&j->mutex);
}

static pumit_status run_threads(job *j, pumit_prepare_fn progress, void *user)
{
    const int64_t before = j->finished, todo = j->total - before;
    const int64_t wanted = todo < j->options.threads ? todo : j->options.threads;
    pthread_t *threads = pumit__calloc(wanted, sizeof *threads);
    if (!threads) return pumit__fail_memory(wanted * (int64_t)sizeof *threads, "threads");
    int64_t count = 0;
    pthread_mutex_lock(&j->mutex); /* a thread that ends must find itself counted */
    while (count < wanted && pumit__thread_create(&threads[count], work, j) == 0) count++;
    j->running = count;
    pthread_mutex_unlock(&j->mutex);
    watch(j, progress, user, before);
    for (int64_t i = 0; i < count; i++) pthread_join(threads[i], NULL);
    free(threads);
    if (count == 0 && wanted > 0)
        return pumit__fail(PUMIT_ERROR_OUT_OF_MEMORY, "no thread could be started");
    if (j->status == PUMIT_ERROR_CANCELLED) return pumit__fail(j->status, "%s", j->message);
    if (j->status != PUMIT_OK)
        return pumit__fail(j->status, "%s; what was done stays: prepare again to go on",
                           j->message);
    return PUMIT_OK;
}

/* ------------------------------------------------------------------------------------------ report */

static int by_task(const void *a, const void *b)
{
    const skip *x = a, *y = b;
    if (x->task != y->task) return x->task < y->task ? -1 : 1;
    return strcmp(x->path, y->path);
}

static pumit_status write_skipped(job *j)
{
    pumit__csv_text text = {0};
    if (j->skip_count > 0) qsort(j->skips, (size_t)j->skip_count, sizeof *j->skips, by_task);
    pumit__csv_print(&text, "path,reason\n");
    for (int64_t i = 0; i < j->skip_count; i++) {
        pumit__csv_string(&text, j->skips[i].path);
        pumit__csv_bytes(&text, ",", 1);
        pumit__csv_string(&text, j->skips[i].reason);
        pumit__csv_bytes(&text, "\n", 1);
    }
    const pumit_status status =
        pumit__set_write_text(j->options.output, PUMIT__SKIPPED_TABLE, &text);
    free(text.text);
    return status;
}

static int32_t anisotropy_of(const pumit__prepared_row *row)
{
    double spacing[3];
    int32_t da;
    for (int i = 0; i < 3; i++) spacing[i] = strtod(row->fields[PUMIT__COLUMN_SPACE_0 + i], NULL);
    return pumit_degree_of_anisotropy(&da, spacing) == PUMIT_OK ? da : PUMIT__MOST_ANISOTROPY;
}

static pumit_status add_anisotropy(cJSON *tree, const pumit__prepared_table *table)
{
    pumit__csv_locale locale;
    PUMIT__TRY(pumit__csv_locale_begin(&locale));
    int64_t counts[PUMIT__MOST_ANISOTROPY + 1] = {0};
    cJSON *object = cJSON_AddObjectToObject(tree, "anisotropy");
    bool whole = object != NULL;
    for (int64_t i = 0; i < table->count; i++) counts[anisotropy_of(&table->rows[i])]++;
    pumit__csv_locale_end(&locale);
    for (int i = 0; i <= PUMIT__MOST_ANISOTROPY; i++) {
        const char name[] = {(char)('0' + i), '\0'};
        if (counts[i]) whole = whole && cJSON_AddNumberToObject(object, name, (double)counts[i]);
    }
    return whole ? PUMIT_OK : pumit__fail_memory(0, "a report");
}

static bool add_skipped(cJSON *tree, const job *j)
{
    cJSON *list = cJSON_AddArrayToObject(tree, "skipped");
    bool whole = list != NULL;
    for (int64_t i = 0; whole && i < j->skip_count; i++) {
        cJSON *item = cJSON_CreateObject();
        whole = cJSON_AddItemToArray(list, item) &&
                cJSON_AddStringToObject(item, "path", j->skips[i].path) &&
                cJSON_AddStringToObject(item, "reason", j->skips[i].reason);
    }
    return whole;
}

static pumit_status make_report(char **out, const job *j, const pumit__prepared_table *table,
                                double seconds)
{
    cJSON *tree = cJSON_CreateObject();
    const double rate = seconds > 0 ? (double)j->images / seconds : (double)j->images;
    const bool whole = cJSON_AddNumberToObject(tree, "images", (double)table->count) &&
                       cJSON_AddNumberToObject(tree, "sources", (double)j->total) &&
                       cJSON_AddNumberToObject(tree, "done", (double)j->done) &&
                       cJSON_AddNumberToObject(tree, "already_there", (double)j->already) &&
                       add_skipped(tree, j) && cJSON_AddNumberToObject(tree, "seconds", seconds) &&
                       cJSON_AddNumberToObject(tree, "images_per_s", rate) &&
                       cJSON_AddStringToObject(tree, "output", j->options.output);
    pumit_status status = whole ? add_anisotropy(tree, table) : pumit__fail_memory(0, "a report");
    if (status == PUMIT_OK) status = pumit__json_print(out, tree, true);
    cJSON_Delete(tree);
    return status;
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static pumit_status finish(char **report, job *j, double started)
{
    pumit__prepared_table table;
    PUMIT__TRY(pumit__set_read(&table, j->options.output));
    pumit_status status;
    PUMIT__GO(pumit__set_write(&table, j->options.output));
    PUMIT__GO(pumit__set_clean(j->options.output, &table));
    PUMIT__GO(write_skipped(j));
    status = make_report(report, j, &table, now() - started);
out:
    pumit__prepared_free(&table);
    return status;
}

/* ---------------------------------------------------------------------------------------- the whole */

static pumit_status open_table(job *j)
{
    char *path = pumit__format("%s/%s", j->options.output, PUMIT__PREPARED_TABLE);
    if (!path) return pumit__fail_memory(0, j->options.output);
    j->table = TEMP_FAILURE_RETRY(open(path, O_WRONLY | O_APPEND | O_CLOEXEC));
    const pumit_status status =
        j->table >= 0 ? PUMIT_OK
                      : pumit__fail(PUMIT_ERROR_IO, "%s: cannot write: %s", path, strerror(errno));
    free(path);
    return status;
}

static pumit_status prepare_all(char **report, job *j, int32_t count, const char *const *paths,
                                pumit_prepare_fn progress, void *user)
{
    const double started = now();
    for (int32_t i = 0; i < count; i++) PUMIT__TRY(pumit__sources_add(&j->sources, paths[i]));
    PUMIT__TRY(plan_tasks(j));
    PUMIT__TRY(open_table(j));
    PUMIT__TRY(run_threads(j, progress, user));
    return finish(report, j, started);
}

static void free_job(job *j)
{
    for (int64_t i = 0; j->tasks && i < j->sources.count; i++) free(j->tasks[i].origin);
    for (int64_t i = 0; i < j->skip_count; i++) {
        free(j->skips[i].path);
        free(j->skips[i].reason);
    }
    for (int64_t i = 0; i < j->message_count; i++) free(j->messages[i]);
    free(j->messages);
    free(j->skips);
    free(j->tasks);
    pumit__sources_free(&j->sources);
    if (j->table >= 0) close(j->table);
    pthread_mutex_destroy(&j->mutex);
    pthread_cond_destroy(&j->changed);
}

pumit_status pumit_prepare(char **report, pumit_context *context, int32_t count,
                           const char *const *paths, const pumit_config *options,
                           pumit_prepare_fn progress, void *user)
{
    PUMIT__REQUIRE(report && context && paths && options && count > 0,
                   "pumit_prepare: an argument is NULL, or there is no path");
    *report = NULL;
    int lock = -1;
    job j = {.ctx = context,
             .limits = {.voxel_limit = context->voxel_limit,
                        .ratio_limit = context->ratio_limit,
                        .log = keep_message},
             .table = -1,
             .last = -1};
    j.limits.log_user = &j;
    pthread_mutex_init(&j.mutex, NULL);
    pthread_cond_init(&j.changed, NULL);
    pumit_status status = read_options(&j, options);
    if (status == PUMIT_OK) status = pumit__set_open(&lock, j.options.output);
    if (status == PUMIT_OK) status = pumit__set_settings(&j.options);
    if (status == PUMIT_OK) status = prepare_all(report, &j, count, paths, progress, user);
    free_job(&j);
    if (lock >= 0) close(lock);
    return status;
}
