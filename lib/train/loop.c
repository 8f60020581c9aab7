/* SPDX-License-Identifier: Apache-2.0 */
/* The one loop: step, judge, log, save; and what is told of it afterwards. */
#include "lib/tensor/context.h"
#include "lib/train/copies.h"
#include "lib/train/metrics.h"
#include "lib/train/run_folder.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* ------------------------------------------------------------------------------------------ one step */

static void zero_grad(const pumit_trainer *t)
{
    for (int32_t i = 0; i < t->part_count; i++) pumit_module_zero_grad(t->parts[i].module);
}

/* Gathers gradients of the step's micro-batches; *loss is not finite if one of them is not. */
static pumit_status gather(double *loss, pumit__figures *terms, pumit_trainer *t)
{
    const int64_t count = t->options.accumulate;
    *loss = 0;
    zero_grad(t); /* of a step that failed half-way */
    for (int64_t i = 0; i < count && isfinite(*loss); i++) {
        pumit_tensor *tensor = NULL;
        double value = NAN;
        pumit_status status = t->recipe->loss(&tensor, terms, t, t->step * count + i);
        if (status == PUMIT_OK) status = pumit_tensor_item(&value, tensor);
        if (status == PUMIT_OK && isfinite(value)) status = pumit_tensor_backward(tensor);
        pumit_tensor_release(tensor);
        PUMIT__TRY(status);
        *loss += value / (double)count;
    }
    return PUMIT_OK;
}

/* Moves the weights, unless loss or gradient are not finite: then the step is skipped. */
static pumit_status update(bool *skipped, double *grad_norm, pumit__figures *terms,
                           pumit_trainer *t, double rate, double loss)
{
    *skipped = !isfinite(loss);
    *grad_norm = NAN;
    if (!*skipped) {
        if (t->recipe->measure) PUMIT__TRY(t->recipe->measure(terms, t));
        const pumit_status status = pumit_optimizer_step(t->parts[0].optimizer, rate,
                                                         (int32_t)t->options.accumulate, grad_norm);
        *skipped = status == PUMIT_ERROR_STATE && !isfinite(*grad_norm);
        if (!*skipped) PUMIT__TRY(status);
    }
    if (*skipped) zero_grad(t);
    if (!*skipped) PUMIT__TRY(pumit__average_update(t));
    t->skipped += *skipped;
    t->skipped_in_row = *skipped ? t->skipped_in_row + 1 : 0;
    return PUMIT_OK;
}

static pumit_status keep_loss(pumit_trainer *t, double loss)
{
    if (!pumit__grow(&t->losses, &t->loss_capacity, t->step + 1, (int64_t)sizeof *t->losses))
        return pumit__fail_memory((t->step + 1) * (int64_t)sizeof *t->losses, "losses");
    t->losses[t->step++] = loss;
    return PUMIT_OK;
}

/* Milestones: the step that has one's number is the first with the lower rate. */
static double rate_of(const pumit__train_options *o, int64_t step)
{
    double rate = o->learning_rate;
    if (o->milestones.count == 0)
        return pumit_cosine_rate(step, rate, o->steps > o->warmup ? o->steps - o->warmup : 1,
                                 o->warmup, fmin(o->least_rate, rate));
    if (step < o->warmup) rate *= (double)step / (double)o->warmup;
    for (int32_t i = 0; i < o->milestones.count; i++)
        if (step >= o->milestones.steps[i]) rate *= o->milestone_factor;
    return rate;
}

static pumit_status one_step(pumit__figures *figures, pumit_trainer *t)
{
    const pumit__train_options *const o = &t->options;
    pumit__figures terms = {0};
    double loss, grad_norm;
    bool skipped;
    const double started = now();
    const double rate = rate_of(o, t->step + 1);
    PUMIT__TRY(gather(&loss, &terms, t));
    PUMIT__TRY(update(&skipped, &grad_norm, &terms, t, rate, loss));
    if (t->recipe->step) PUMIT__TRY(t->recipe->step(&terms, t, rate, skipped));
    PUMIT__TRY(keep_loss(t, skipped ? NAN : loss));
    const double seconds = now() - started;
    t->seconds += seconds;
    pumit__figures_add(figures, "step", (double)t->step);
    pumit__figures_add(figures, "loss", loss);
    pumit__figures_append(figures, &terms);
    pumit__figures_add(figures, "grad_norm", grad_norm);
    pumit__figures_add(figures, "learning_rate", rate);
    pumit__figures_add(figures, "seconds", seconds);
    pumit__figures_add(figures, "images_per_s", (double)(o->batch * o->accumulate) / seconds);
    const double tokens = pumit__figures_get(&terms, "tokens");
    if (isfinite(tokens)) pumit__figures_add(figures, "tokens_per_s", tokens / seconds);
    if (skipped) pumit__figures_add(figures, "skipped", 1);
    return PUMIT_OK;
}

/* ------------------------------------------------------------------------------------------- judging */

/* Calls `look` with the weights that the run is for, nothing being recorded. */
static pumit_status with_result(pumit_trainer *t, pumit_status (*look)(pumit_trainer *t))
{
    PUMIT__TRY(pumit__copies_swap(t->average, t));
    const int32_t recording = pumit_context_set_recording(t->ctx, 0);
    const pumit_status status = look(t);
    pumit_context_set_recording(t->ctx, recording);
    const pumit_status back = pumit__copies_swap(t->average, t);
    return status == PUMIT_OK ? back : status;
}

static pumit_status judge(pumit_trainer *t)
{
    pumit__figures figures = {0};
    cJSON *object;
    PUMIT__TRY(t->recipe->validate(&figures, t));
    PUMIT__TRY(pumit__figures_json(&object, &figures));
    cJSON_Delete(t->validation);
    t->validation = object;
    if (!t->recipe->best || !t->has_validation) return PUMIT_OK;
    const double value = pumit__figures_get(&figures, t->recipe->best);
    if (!isfinite(value) || (t->best_step > 0 && value < t->best_value)) return PUMIT_OK;
    PUMIT__TRY(pumit__copies_keep(&t->best, t));
    if (t->best_step == 0 || value > t->best_value) t->improved_step = t->step;
    t->best_value = value;
    t->best_step = t->step;
    return PUMIT_OK;
}

/* Validations after the one that improved, which with the step and the options is all that early stopping needs. */
static bool out_of_patience(const pumit_trainer *t)
{
    const pumit__train_options *const o = &t->options;
    if (o->patience == 0 || o->validate_every == 0 || t->improved_step == 0) return false;
    return t->step / o->validate_every - t->improved_step / o->validate_every >= o->patience;
}

static bool is_over(const pumit_trainer *t)
{
    return t->step >= t->options.steps || out_of_patience(t);
}

static bool due(const pumit_trainer *t, int64_t every)
{
    return is_over(t) || (every > 0 && t->step % every == 0);
}

/* The line of metrics.jsonl; release with free(). */
static pumit_status line_of(char **line, const pumit__figures *figures, const pumit_trainer *t,
                            bool validated)
{
    cJSON *object, *copy;
    PUMIT__TRY(pumit__figures_json(&object, figures));
    pumit_status status = PUMIT_OK;
    if (validated && t->validation) {
        status = pumit__json_copy(&copy, t->validation);
        if (status == PUMIT_OK) status = pumit__json_set(object, "validation", copy);
    }
    if (status == PUMIT_OK) status = pumit__json_print(line, object, false);
    cJSON_Delete(object);
    return status;
}

/* A step and all that is due after it. The checkpoint comes after the line of its step. */
static pumit_status advance(pumit_trainer *t)
{
    pumit__figures figures = {0};
    char *line;
    PUMIT__TRY(one_step(&figures, t));
    const bool validated = due(t, t->options.validate_every);
    if (validated) PUMIT__TRY(with_result(t, judge));
    PUMIT__TRY(line_of(&line, &figures, t, validated));
    pumit_status status = pumit__metrics_write(t->metrics, t->output, line);
    if (status == PUMIT_OK) status = pumit__events_figures(t->events, t->step, line);
    if (status == PUMIT_OK && t->skipped_in_row > 0) status = pumit__tell_skipped(t);
    if (status == PUMIT_OK && t->recipe->sheet && due(t, t->options.sheet_every))
        status = with_result(t, t->recipe->sheet);
    if (status == PUMIT_OK && due(t, t->options.checkpoint_every)) status = pumit__run_save(t);
    if (status == PUMIT_OK && t->progress &&
        t->progress(t->progress_user, t->step, t->options.steps, line) != 0)
        atomic_store(&t->stop, 1);
    free(line);
    return status;
}

/* ------------------------------------------------------------------------------------------- the end */

static pumit_status set_text(pumit_config *config, const char *key, const char *text)
{
    return text && *text ? pumit_config_set_string(config, key, text) : PUMIT_OK;
}

/* "data" of the config (a string or an array of them) as one string. Free with free(). */
static pumit_status data_text(char **out, const pumit_trainer *t)
{
    const cJSON *data = cJSON_GetObjectItemCaseSensitive(t->config->root, "data");
    const cJSON *item = cJSON_IsArray(data) ? data->child : NULL;
    *out = pumit__strdup(cJSON_IsString(data) ? data->valuestring : "");
    for (; item && *out; item = item->next) {
        char *const before = *out;
        if (!cJSON_IsString(item)) continue;
        *out = pumit__format("%s%s%s", before, *before ? ", " : "", item->valuestring);
        free(before);
    }
    return *out ? PUMIT_OK : pumit__fail_memory(1, "provenance");
}

static pumit_status provenance_of(pumit_config *config, const pumit_trainer *t)
{
    char *data, steps[32], seed[32], images[32];
    const char *init;
    int32_t scratch;
    snprintf(steps, sizeof steps, "%lld", (long long)(t->best_step > 0 ? t->best_step : t->step));
    snprintf(seed, sizeof seed, "%lld", (long long)t->options.seed);
    snprintf(images, sizeof images, "%lld", (long long)pumit_dataset_count(t->train));
    PUMIT__TRY(data_text(&data, t));
    pumit_status status = set_text(config, "data", data);
    free(data);
    PUMIT__TRY(status);
    PUMIT__TRY(pumit_config_get_string(&init, t->config, "init", ""));
    PUMIT__TRY(set_text(config, "recipe", t->recipe->name));
    PUMIT__TRY(pumit_config_get_bool(&scratch, t->config, "from_scratch", 0));
    PUMIT__TRY(set_text(config, "init", scratch ? "" : init));
    PUMIT__TRY(set_text(config, "images", images));
    PUMIT__TRY(set_text(config, "steps", steps));
    PUMIT__TRY(set_text(config, "seed", seed));
    return set_text(config, "version", pumit_version());
}

/* The weights judged best, else the averaged ones, else the latest. */
static pumit_status write_model(pumit_trainer *t)
{
    pumit_tensor **const result = t->best_step > 0 ? t->best : t->average;
    pumit_config *provenance;
    PUMIT__TRY(pumit_config_create(&provenance));
    pumit_status status = provenance_of(provenance, t);
    if (status == PUMIT_OK) status = pumit__copies_swap(result, t);
    if (status == PUMIT_OK) {
        status = pumit_module_save(t->model, t->model_path, provenance);
        const pumit_status back = pumit__copies_swap(result, t);
        if (status == PUMIT_OK) status = back;
    }
    pumit_config_release(provenance);
    return status;
}

/* What stops a run that could go on: a full disk, a folder that went. */
static pumit_status tell_remedy(const pumit_trainer *t, pumit_status status)
{
    char from[64] = "which begins it anew: there is no checkpoint yet";
    if (status != PUMIT_ERROR_IO && status != PUMIT_ERROR_NOT_FOUND) return status;
    if (t->saved_step > 0)
        snprintf(from, sizeof from, "from the checkpoint of step %lld", (long long)t->saved_step);
    return pumit__fail(status,
                       "%s; the run stops at step %lld: make room or mend what is named, "
                       "then resume it, %s",
                       pumit_last_error(), (long long)t->step, from);
}

static pumit_status run(pumit_trainer *t)
{
    while (!is_over(t) && !atomic_load(&t->stop)) PUMIT__TRY(advance(t));
    if (is_over(t) && t->step < t->options.steps)
        pumit__log(t->ctx, PUMIT_LOG_INFO,
                   "the run ends at step %lld: %s has not risen since step %lld (train.patience)",
                   (long long)t->step, t->recipe->best, (long long)t->improved_step);
    if (is_over(t)) return write_model(t);
    return t->saved_step == t->step ? PUMIT_OK : pumit__run_save(t);
}

pumit_status pumit_trainer_run(pumit_trainer *trainer)
{
    PUMIT__REQUIRE(trainer, "pumit_trainer_run: trainer is NULL");
    pumit_trainer *const t = trainer;
    if (t->failed)
        return pumit__fail(PUMIT_ERROR_STATE,
                           "%s: the run has failed: release the trainer, and make one that resumes",
                           t->output);
    PUMIT__TRY(pumit__context_check_process(t->ctx)); /* its files are the parent's */
    t->ended = false;
    const pumit_status status = run(t);
    t->failed = status != PUMIT_OK;
    if (t->failed) return tell_remedy(t, status);
    t->ended = true;
    if (is_over(t)) return PUMIT_OK;
    atomic_store(&t->stop, 0);
    return pumit__fail(PUMIT_ERROR_CANCELLED, "%s: stopped after step %lld of %lld", t->output,
                       (long long)t->step, (long long)t->options.steps);
}

/* ------------------------------------------------------------------------------------------- summary */

/* Mean of the finite ones of losses[start .. start + count); NaN if there is none. */
static double mean_loss(const pumit_trainer *t, int64_t start, int64_t count)
{
    double sum = 0, finite = 0;
    for (int64_t i = start; i < start + count; i++) {
        if (!isfinite(t->losses[i])) continue;
        sum += t->losses[i];
        finite++;
    }
    return finite > 0 ? sum / finite : NAN;
}

static pumit_status summary_json(cJSON *object, const pumit_trainer *t)
{
    PUMIT__TRY(pumit__json_set(object, "recipe", cJSON_CreateString(t->recipe->name)));
    PUMIT__TRY(pumit__json_set(object, "output", cJSON_CreateString(t->output)));
    if (is_over(t)) PUMIT__TRY(pumit__json_set(object, "model", cJSON_CreateString(t->model_path)));
    if (t->best_step > 0) {
        char name[32];
        snprintf(name, sizeof name, "best_%s", t->recipe->best);
        PUMIT__TRY(pumit__json_set(object, "best_step", cJSON_CreateNumber((double)t->best_step)));
        PUMIT__TRY(pumit__json_set(object, name, cJSON_CreateNumber(t->best_value)));
    }
    if (!t->validation) return PUMIT_OK;
    cJSON *copy;
    PUMIT__TRY(pumit__json_copy(&copy, t->validation));
    return pumit__json_set(object, "validation", copy);
}

pumit_status pumit_trainer_summary(char **out, const pumit_trainer *trainer)
{
    PUMIT__REQUIRE(out, "pumit_trainer_summary: out is NULL");
    *out = NULL;
    PUMIT__REQUIRE(trainer, "pumit_trainer_summary: trainer is NULL");
    if (!trainer->ended)
        return pumit__fail(PUMIT_ERROR_STATE, "%s: the run has not ended", trainer->output);
    const int64_t n = trainer->step;
    const int64_t tenth = n < 20 ? (n > 0) : n / 10 > 50 ? 50 : n / 10;
    pumit__figures figures = {0};
    pumit__figures_add(&figures, "steps", (double)n);
    pumit__figures_add(&figures, "first_loss", mean_loss(trainer, 0, n > 0));
    pumit__figures_add(&figures, "last_loss", mean_loss(trainer, n > 0 ? n - 1 : 0, n > 0));
    pumit__figures_add(&figures, "mean_first_loss", mean_loss(trainer, 0, tenth));
    pumit__figures_add(&figures, "mean_last_loss", mean_loss(trainer, n - tenth, tenth));
    pumit__figures_add(&figures, "skipped", (double)trainer->skipped);
    pumit__figures_add(&figures, "seconds", trainer->seconds);
    cJSON *object;
    PUMIT__TRY(pumit__figures_json(&object, &figures));
    pumit_status status = summary_json(object, trainer);
    if (status == PUMIT_OK) status = pumit__json_print(out, object, true);
    cJSON_Delete(object);
    return status;
}
