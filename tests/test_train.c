/* SPDX-License-Identifier: Apache-2.0 */
/* Training runs: resuming bit for bit, what stops a run and what it leaves behind. */
#include "lib/base/config.h"
#include "lib/data/sampler.h"
#include "lib/tensor/safetensors.h"
#include "lib/train/trainer.h"
#include "tests/image_files.h"

#include <pumit/train.h>

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define STEPS 7

/* ------------------------------------------------------------------------------------------- data */

static void write_thick(const char *name, int seed)
{
    float data[24 * 24 * 6];
    for (int i = 0; i < 24 * 24 * 6; i++) data[i] = (float)(i * (seed + 3) % 251) + (float)(i % 24);
    nifti_file file = nifti_plain(16, 32, 24, 24, 6);
    file.pixdim[3] = 4.5;
    nifti_write(name, &file, data, 24 * 24 * 6, 4);
}

/* Crops of DA 5 and DA 2. */
static void write_images(void)
{
    uint8_t rows[20 * 20];
    files_folder("set");
    for (int n = 0; n < 5; n++) {
        char name[32];
        for (int i = 0; i < 400; i++) rows[i] = (uint8_t)((i % 20 * (n + 2) + i / 20 * 7) % 256);
        snprintf(name, sizeof name, "set/%d.png", n);
        png_write(name, 20, 20, 8, 0, false, rows);
    }
    write_thick("set/thick-a.nii", 1);
    write_thick("set/thick-b.nii", 5);
}

/* Class 1 is brighter above; the last tenth lies. */
static void fill_labelled(uint8_t *images, uint8_t *labels, int count, int seed)
{
    for (int n = 0; n < count; n++) {
        labels[n] = (uint8_t)((n + seed) % 2);
        for (int i = 0; i < 144; i++)
            images[n * 144 + i] = (uint8_t)((i * 7 + n * 31 + seed) % 120 +
                                            ((i / 12 < 6) == (labels[n] == 1) ? 90 : 0));
        if (n % 10 == 9) labels[n] ^= 1;
    }
}

static void write_archive(void)
{
    enum { TRAIN = 22, VAL = 12 };
    static uint8_t images[2][TRAIN * 144], labels[2][TRAIN];
    char shapes[4][96];
    const int counts[] = {TRAIN, VAL};
    for (int s = 0; s < 2; s++) {
        fill_labelled(images[s], labels[s], counts[s], s + 1);
        snprintf(shapes[s], sizeof *shapes,
                 "{'descr': '|u1', 'fortran_order': False, 'shape': (%d, 12, 12), }", counts[s]);
        snprintf(shapes[2 + s], sizeof *shapes,
                 "{'descr': '|u1', 'fortran_order': False, 'shape': (%d,), }", counts[s]);
    }
    const npz_member members[] = {{"train_images", shapes[0], images[0], TRAIN * 144},
                                  {"train_labels", shapes[2], labels[0], TRAIN},
                                  {"val_images", shapes[1], images[1], VAL * 144},
                                  {"val_labels", shapes[3], labels[1], VAL}};
    npz_write("labelled.npz", members, 4, false);
}

static pumit_dataset *open_data(pumit_context *ctx, const char *name, const char *split)
{
    pumit_config *options;
    pumit_dataset *dataset;
    const char *path = files_path(name);
    CHECK_OK(pumit_config_create(&options));
    if (split) CHECK_OK(pumit_config_set_string(options, "split", split));
    CHECK_OK(pumit_dataset_open(&dataset, ctx, 1, &path, options));
    pumit_config_release(options);
    return dataset;
}

/* ------------------------------------------------------------------------------------------- runs */

static const char BASE[] =
    "{\"tokenizer\": {\"channels\": [8, 8, 16], \"codes\": 8, \"code_dim\": 8},"
    " \"vit\": {\"dim\": 16, \"depth\": 2, \"heads\": 2, \"hidden\": 24, \"pos_embed_shape\": [2, "
    "2, 2]},"
    " \"train\": {\"steps\": 7, \"batch\": 2, \"tokens\": [2, 2, 2], \"warmup\": 2, \"seed\": 3,"
    "             \"validate_every\": 3, \"validate_batches\": 2, \"checkpoint_every\": 2,"
    "             \"classify\": {\"batch\": 5}}}";

static pumit_config *config_of(const char *recipe, const char *output)
{
    pumit_config *config;
    CHECK_OK(pumit_config_parse(&config, BASE));
    CHECK_OK(pumit_config_set_string(config, "recipe", recipe));
    CHECK_OK(pumit_config_set_string(config, "output", files_path(output)));
    if (strcmp(recipe, "vit") == 0)
        CHECK_OK(pumit_config_set_string(config, "tokenizer.file",
                                         files_path("tokenizer/model.safetensors")));
    return config;
}

typedef struct {
    pumit_context *ctx;
    pumit_dataset *train, *validation;
    pumit_config *config;
    pumit_trainer *trainer;
} run;

static run run_open(const char *recipe, const char *output)
{
    pumit_config *options;
    run r = {0};
    CHECK_OK(pumit_config_parse(&options, "{\"threads\": 1}"));
    CHECK_OK(pumit_context_create(&r.ctx, options));
    pumit_config_release(options);
    const bool labelled = strcmp(recipe, "classify") == 0;
    r.train = open_data(r.ctx, labelled ? "labelled.npz" : "set", labelled ? "train" : NULL);
    r.validation = labelled ? open_data(r.ctx, "labelled.npz", "val") : NULL;
    r.config = config_of(recipe, output);
    return r;
}

static pumit_status run_create(run *r)
{
    return pumit_trainer_create(&r->trainer, r->ctx, r->train, r->validation, r->config);
}

static void run_close(run *r)
{
    pumit_trainer_release(r->trainer);
    pumit_config_release(r->config);
    pumit_dataset_release(r->train);
    pumit_dataset_release(r->validation);
    pumit_context_release(r->ctx);
}

static int32_t stop_at(void *user, int64_t step, int64_t max_steps, const char *metrics)
{
    ck_assert_int_eq(max_steps, STEPS);
    ck_assert_ptr_nonnull(strstr(metrics, "\"loss\":"));
    return step == *(const int64_t *)user;
}

/* Runs to the end, or to `stop` if positive. `key`: one more JSON setting, or NULL. */
static void run_whole(const char *recipe, const char *output, int64_t stop, bool resume,
                      const char *key, const char *value)
{
    run r = run_open(recipe, output);
    CHECK_OK(pumit_config_set_bool(r.config, "resume", resume));
    if (key) CHECK_OK(pumit_config_set_json(r.config, key, value));
    CHECK_OK(run_create(&r));
    pumit_trainer_set_progress(r.trainer, stop_at, &stop);
    ck_assert_msg(pumit_trainer_run(r.trainer) == (stop > 0 ? PUMIT_ERROR_CANCELLED : PUMIT_OK),
                  "%s", pumit_last_error());
    run_close(&r);
}

/* The losses of metrics.jsonl, which must be of steps 1, 2, ... */
static int losses_of(double losses[STEPS], const char *output)
{
    char name[64];
    snprintf(name, sizeof name, "%s/metrics.jsonl", output);
    size_t bytes;
    char *text = (char *)files_read(name, &bytes), *rest = NULL;
    text[bytes] = '\0'; /* there is room for it */
    int count = 0;
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        cJSON *object = cJSON_Parse(line);
        ck_assert_int_lt(count, STEPS);
        ck_assert_double_eq(cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(object, "step")),
                            count + 1);
        losses[count++] = cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(object, "loss"));
        cJSON_Delete(object);
    }
    free(text);
    return count;
}

static void check_same_run(const char *a, const char *b)
{
    double losses[2][STEPS] = {{0}};
    char names[2][64];
    size_t bytes[2];
    ck_assert_int_eq(losses_of(losses[0], a), STEPS);
    ck_assert_int_eq(losses_of(losses[1], b), STEPS);
    for (int i = 0; i < STEPS; i++)
        ck_assert_msg(isfinite(losses[0][i]) && losses[0][i] == losses[1][i],
                      "loss of step %d: %.17g and %.17g", i + 1, losses[0][i], losses[1][i]);
    ck_assert(losses[0][0] != losses[0][STEPS - 1]);
    snprintf(names[0], sizeof *names, "%s/model.safetensors", a);
    snprintf(names[1], sizeof *names, "%s/model.safetensors", b);
    uint8_t *first = files_read(names[0], &bytes[0]), *second = files_read(names[1], &bytes[1]);
    ck_assert_uint_eq(bytes[0], bytes[1]);
    ck_assert_int_eq(memcmp(first, second, bytes[0]), 0);
    free(first);
    free(second);
}

static bool exists(const char *name)
{
    return access(files_path(name), F_OK) == 0;
}

static void setup(void)
{
    files_setup();
    write_images();
    write_archive();
}

/* ----------------------------------------------------------------------------------------- resuming */

static void check_resume(const char *recipe, int64_t stop, const char *key, const char *value)
{
    run_whole(recipe, "whole", 0, false, key, value);
    run_whole(recipe, "broken", stop, false, key, value);
    ck_assert(!exists("broken/model.safetensors"));
    run_whole(recipe, "broken", 0, true, key, value);
    check_same_run("whole", "broken");
}

START_TEST(tokenizer_resumes_exactly)
{
    check_resume("tokenizer", 3, NULL, NULL);
}
END_TEST

START_TEST(accumulation_resumes_exactly)
{
    check_resume("tokenizer", 4, "train.accumulate", "3");
}
END_TEST

START_TEST(vit_resumes_exactly)
{
    run_whole("tokenizer", "tokenizer", 0, false, NULL, NULL);
    check_resume("vit", 3, NULL, NULL);
    ck_assert(exists("whole/sheets/da2-step-000007.png"));
    ck_assert(exists("whole/sheets/da5-step-000007.png"));
}
END_TEST

/* The best weights so far belong to the state: step 3 is judged before the run is broken off. */
START_TEST(classifier_resumes_exactly)
{
    check_resume("classify", 5, NULL, NULL);
}
END_TEST

/* Lines beyond the checkpoint, whole or torn, are of steps that will come again. */
START_TEST(later_metrics_are_dropped)
{
    run_whole("tokenizer", "whole", 0, false, NULL, NULL);
    run_whole("tokenizer", "broken", 3, false, NULL, NULL);
    FILE *file = fopen(files_path("broken/metrics.jsonl"), "a");
    fputs("{\"step\":4,\"loss\":77}\n{\"step\":5,\"lo", file);
    fclose(file);
    run_whole("tokenizer", "broken", 0, true, NULL, NULL);
    check_same_run("whole", "broken");
}
END_TEST

/* A run that is stopped before its first step goes on. */
START_TEST(stopped_at_once)
{
    run_whole("tokenizer", "whole", 0, false, NULL, NULL);
    run r = run_open("tokenizer", "broken");
    CHECK_OK(run_create(&r));
    pumit_trainer_stop(r.trainer);
    ck_assert_int_eq(pumit_trainer_run(r.trainer), PUMIT_ERROR_CANCELLED);
    char *summary;
    CHECK_OK(pumit_trainer_summary(&summary, r.trainer));
    pumit_free(summary);
    run_close(&r);
    run_whole("tokenizer", "broken", 0, true, NULL, NULL);
    check_same_run("whole", "broken");
}
END_TEST

/* Resuming needs neither the recipe's options nor `init` again; a finished run stays as it is. */
START_TEST(resuming_remembers)
{
    run_whole("tokenizer", "whole", 0, false, NULL, NULL);
    run_whole("tokenizer", "broken", 3, false, NULL, NULL);
    run r = run_open("tokenizer", "broken");
    pumit_config_release(r.config);
    CHECK_OK(pumit_config_create(&r.config));
    CHECK_OK(pumit_config_set_string(r.config, "output", files_path("broken")));
    CHECK_OK(pumit_config_set_bool(r.config, "resume", 1));
    CHECK_OK(run_create(&r));
    CHECK_OK(pumit_trainer_run(r.trainer));
    check_same_run("whole", "broken");
    CHECK_OK(pumit_trainer_run(r.trainer));
    check_same_run("whole", "broken");
    run_close(&r);
    r = run_open("classify", "broken");
    CHECK_OK(pumit_config_set_bool(r.config, "resume", 1));
    files_check_failed(run_create(&r), PUMIT_ERROR_STATE, "broken", "recipe 'tokenizer'");
    run_close(&r);
}
END_TEST

/* The same before the first checkpoint: config.json tells what was wanted. */
START_TEST(beginnings_are_remembered)
{
    run_whole("tokenizer", "whole", 0, false, NULL, NULL);
    run r = run_open("tokenizer", "begun");
    CHECK_OK(run_create(&r));
    run_close(&r);
    r = run_open("tokenizer", "begun");
    pumit_config_release(r.config);
    CHECK_OK(pumit_config_create(&r.config));
    CHECK_OK(pumit_config_set_string(r.config, "output", files_path("begun")));
    CHECK_OK(pumit_config_set_bool(r.config, "resume", 1));
    CHECK_OK(run_create(&r));
    CHECK_OK(pumit_trainer_run(r.trainer));
    check_same_run("whole", "begun");
    run_close(&r);
}
END_TEST

/* A run that is killed, whenever that is, leaves a whole checkpoint, and goes on from it. */
START_TEST(killed_runs_resume)
{
    run_whole("tokenizer", "whole", 0, false, NULL, NULL);
    for (int i = 0; i < 6; i++) {
        const pid_t child = fork();
        if (child == 0) {
            run_whole("tokenizer", "killed", 0, true, "train.checkpoint_every", "1");
            _exit(0);
        }
        usleep((useconds_t)(15000 + 9000 * i));
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        /* what a kill in the middle of writing leaves */
        if (exists("killed/checkpoints"))
            files_write("killed/checkpoints/step-000000003.safetensors.tmp-1", "half", 4);
    }
    run_whole("tokenizer", "killed", 0, true, "train.checkpoint_every", "1");
    check_same_run("whole", "killed");
    ck_assert(!exists("killed/checkpoints/step-000000003.safetensors.tmp-1"));
}
END_TEST

/* Flips a bit in the middle: the file's length and header stay right. */
static void spoil(const char *name)
{
    size_t bytes;
    uint8_t *data = files_read(name, &bytes);
    data[bytes / 2] ^= 1;
    files_write(name, data, bytes);
    free(data);
}

static void gather_log(void *user, int32_t level, const char *message)
{
    char *const log = user;
    if (level >= PUMIT_LOG_WARNING) snprintf(log, 1024, "%s", message);
}

/* A broken checkpoint is told, and the one before it taken; without any the run is given up. */
START_TEST(broken_checkpoints_are_told)
{
    char log[1024] = "";
    run_whole("tokenizer", "whole", 0, false, NULL, NULL);
    run_whole("tokenizer", "broken", 5, false, NULL, NULL);
    spoil("broken/checkpoints/step-000000005.safetensors");
    run r = run_open("tokenizer", "broken");
    pumit_context_set_log(r.ctx, gather_log, log);
    CHECK_OK(pumit_config_set_bool(r.config, "resume", 1));
    CHECK_OK(run_create(&r));
    ck_assert_msg(strstr(log, "checkpoints/step-000000005.safetensors") &&
                      strstr(log, "the one before it"),
                  "%s", log);
    double losses[STEPS];
    ck_assert_int_eq(losses_of(losses, "broken"), 4);
    CHECK_OK(pumit_trainer_run(r.trainer));
    run_close(&r);
    check_same_run("whole", "broken");
    spoil("broken/checkpoints/step-000000006.safetensors");
    CHECK_OK(truncate(files_path("broken/checkpoints/step-000000007.safetensors"), 2000));
    r = run_open("tokenizer", "broken");
    CHECK_OK(pumit_config_set_bool(r.config, "resume", 1));
    files_check_failed(run_create(&r), PUMIT_ERROR_FORMAT,
                       "broken/checkpoints/step-000000006.safetensors", "none of the run's 2");
    run_close(&r);
}
END_TEST

/* A run that goes on with the same images says nothing, with one more it says so. */
START_TEST(other_images_are_told)
{
    run_whole("tokenizer", "grown", 3, false, NULL, NULL);
    for (int more = 0; more < 2; more++) {
        char log[1024] = "";
        if (more) write_thick("set/thick-c.nii", 7);
        run r = run_open("tokenizer", "grown");
        pumit_context_set_log(r.ctx, gather_log, log);
        CHECK_OK(pumit_config_set_bool(r.config, "resume", 1));
        CHECK_OK(run_create(&r));
        ck_assert_msg((strstr(log, "the images are not those") != NULL) == (more == 1), "%s", log);
        run_close(&r);
    }
}
END_TEST

/* A classifier's transformer that starts from `init` has the weights "PART.NAME" of a checkpoint. */
static void check_start(const char *init, const char *checkpoint, const char *part)
{
    pumit__safetensors *file;
    run r = run_open("classify", "start");
    CHECK_OK(pumit_config_set_string(r.config, "init", files_path(init)));
    CHECK_OK(run_create(&r));
    CHECK_OK(pumit__safetensors_open(&file, files_path(checkpoint)));
    const pumit_module *const vit = pumit_vit_module(r.trainer->vit);
    for (int64_t i = 0; i < pumit_module_parameter_count(vit); i++) {
        char name[128];
        void *weights;
        CHECK_OK(pumit_tensor_data(&weights, pumit_module_parameter(vit, i)));
        snprintf(name, sizeof name, "%s.%s", part, pumit_module_parameter_name(vit, i));
        const pumit__safetensors_entry *const entry = pumit__safetensors_find(file, name);
        ck_assert_msg(entry && memcmp(entry->data, weights, (size_t)entry->bytes) == 0, "%s", name);
    }
    pumit__safetensors_close(file);
    run_close(&r);
    for (int i = 0; i < 3; i++) {
        static const char *const NAMES[] = {"start/config.json", "start/metrics.jsonl",
                                            "start/lock"};
        CHECK_OK(unlink(files_path(NAMES[i])));
    }
}

/* From a run's newest checkpoint that is whole, of a transformer or of another classifier. */
START_TEST(classifiers_start_from_runs)
{
    run_whole("tokenizer", "tokenizer", 0, false, NULL, NULL);
    run_whole("vit", "vit", 5, false, NULL, NULL);
    check_start("vit", "vit/checkpoints/step-000000005.safetensors", "model");
    spoil("vit/checkpoints/step-000000005.safetensors");
    check_start("vit", "vit/checkpoints/step-000000004.safetensors", "model");
    run_whole("classify", "tuned", 3, false, NULL, NULL);
    check_start("tuned", "tuned/checkpoints/step-000000003.safetensors", "model.backbone");
    run r = run_open("classify", "other");
    CHECK_OK(pumit_config_set_string(
        r.config, "init", files_path("tokenizer/checkpoints/step-000000006.safetensors")));
    files_check_failed(run_create(&r), PUMIT_ERROR_INVALID_ARGUMENT, "'init'",
                       "of recipe 'tokenizer'");
    run_close(&r);
}
END_TEST

static bool has_checkpoint(int step)
{
    char name[64];
    snprintf(name, sizeof name, "run/checkpoints/step-%09d.safetensors", step);
    return exists(name);
}

START_TEST(old_checkpoints_go)
{
    run_whole("tokenizer", "run", 0, false, "train",
              "{\"steps\": 7, \"batch\": 2, \"tokens\": [2, 2, 2], \"validate_batches\": 1,"
              " \"checkpoint_every\": 1, \"keep_last\": 2, \"keep_every\": 3}");
    static const bool KEPT[STEPS + 1] = {0, 0, 0, 1, 0, 0, 1, 1};
    for (int i = 0; i <= STEPS; i++) ck_assert_msg(has_checkpoint(i) == KEPT[i], "step %d", i);
}
END_TEST

/* Two processes in one directory would spoil each other's files. */
START_TEST(directories_are_locked)
{
    run r = run_open("tokenizer", "run"), second = run_open("tokenizer", "run");
    CHECK_OK(run_create(&r));
    CHECK_OK(pumit_config_set_bool(second.config, "resume", 1));
    files_check_failed(run_create(&second), PUMIT_ERROR_STATE, "run", "another process");
    run_close(&second);
    CHECK_OK(pumit_trainer_run(r.trainer));
    run_close(&r);
    run_whole("tokenizer", "run", 0, true, NULL, NULL);
}
END_TEST

/* ------------------------------------------------------------------------------------ what stops runs */

START_TEST(outputs_are_guarded)
{
    run_whole("tokenizer", "one", 0, false, NULL, NULL);
    run r = run_open("tokenizer", "one");
    files_check_failed(run_create(&r), PUMIT_ERROR_STATE, "one", "already holds a run");
    run_close(&r);
    files_write("file", "x", 1);
    r = run_open("tokenizer", "file/run");
    files_check_failed(run_create(&r), PUMIT_ERROR_IO, "file/run", "");
    ck_assert_ptr_null(r.trainer);
    run_close(&r);
}
END_TEST

START_TEST(options_are_checked)
{
    static const struct {
        const char *key, *value, *part;
    } CASES[] = {{"train.stepz", "3", "train.stepz"},
                 {"train.steps", "0", "train.steps"},
                 {"train.steps", "\"many\"", "train.steps"},
                 {"train.mask_ratio", "1.5", "train.mask_ratio"},
                 {"train.tokens", "[4, 4]", "train.tokens"},
                 {"train.scale_range", "[0.9]", "train.scale_range"},
                 {"train.scale_range", "[0.9, \"1\"]", "train.scale_range"},
                 {"train.scale_range", "[0.9, 1e3]", "train.scale_range"},
                 {"train.scale_range", "[1.2, 0.9]", "train.scale_range"},
                 {"train.classify.stepz", "3", NULL},
                 {"train.tokenizer.stepz", "3", "train.stepz"},
                 {"recipe", "\"cook\"", "recipe"},
                 {"output", "\"\"", "output"}};
    for (int64_t i = 0; i < PUMIT__COUNT(CASES); i++) {
        run r = run_open("tokenizer", "run");
        CHECK_OK(pumit_config_set_json(r.config, CASES[i].key, CASES[i].value));
        const pumit_status status = run_create(&r);
        ck_assert_msg(status == (CASES[i].part ? PUMIT_ERROR_INVALID_ARGUMENT : PUMIT_OK), "%s: %s",
                      CASES[i].key, pumit_last_error());
        if (CASES[i].part) ck_assert_ptr_nonnull(strstr(pumit_last_error(), CASES[i].part));
        run_close(&r);
        remove(files_path("run/config.json"));
        remove(files_path("run/metrics.jsonl"));
    }
}
END_TEST

/* "train.RECIPE.KEY" counts for its recipe where "train.KEY" says nothing. */
START_TEST(parts_serve_their_recipe)
{
    run r = run_open("tokenizer", "run");
    CHECK_OK(
        pumit_config_set_json(r.config, "train.tokenizer", "{\"clip_norm\": 0.25, \"steps\": 99}"));
    CHECK_OK(pumit_config_set_json(r.config, "train.vit", "{\"clip_norm\": 0.75}"));
    CHECK_OK(run_create(&r));
    pumit_config *config;
    double clip_norm;
    int64_t steps;
    CHECK_OK(pumit_config_read(&config, files_path("run/config.json")));
    CHECK_OK(pumit_config_get_double(&clip_norm, config, "train.clip_norm", 0));
    CHECK_OK(pumit_config_get_int(&steps, config, "train.steps", 0));
    ck_assert_double_eq(clip_norm, 0.25);
    ck_assert_int_eq(steps, STEPS);
    pumit_config_release(config);
    run_close(&r);
}
END_TEST

START_TEST(codebooks_must_agree)
{
    run_whole("tokenizer", "tokenizer", 0, false, NULL, NULL);
    run r = run_open("vit", "run");
    CHECK_OK(pumit_config_set_int(r.config, "vit.codes", 16));
    ck_assert_int_eq(run_create(&r), PUMIT_ERROR_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(pumit_last_error(), "the tokenizer has 8 codes"));
    run_close(&r);
}
END_TEST

/* The batch of a skipped step is the one that it drew. */
static void check_bad_batch(const run *r, int step)
{
    char name[64];
    pumit__safetensors *file;
    pumit_tensor *image;
    double spacing[3];
    snprintf(name, sizeof name, "run/bad-batch-step-%09d.safetensors", step);
    CHECK_OK(pumit__safetensors_open(&file, files_path(name)));
    const pumit__safetensors_entry *entry = pumit__safetensors_find(file, "image.0");
    ck_assert_ptr_nonnull(entry);
    CHECK_OK(pumit__sampler_batch(&image, spacing, NULL, r->trainer->sampler, step - 1));
    float *expected = malloc((size_t)entry->bytes);
    CHECK_OK(pumit_tensor_read(image, PUMIT_F32, expected, entry->bytes));
    ck_assert_int_eq(memcmp(expected, entry->data, (size_t)entry->bytes), 0);
    ck_assert_ptr_nonnull(strstr(pumit__safetensors_metadata(file, "images.0"), "set/"));
    free(expected);
    pumit_tensor_release(image);
    pumit__safetensors_close(file);
}

/* Steps that are not finite change nothing; ten of them in a row end the run. Of the first three and the last the images are kept. */
START_TEST(divergence_ends_the_run)
{
    run r = run_open("tokenizer", "run");
    CHECK_OK(pumit_config_set_double(r.config, "train.learning_rate", 1e30));
    CHECK_OK(pumit_config_set_int(r.config, "train.steps", 60));
    CHECK_OK(pumit_config_set_int(r.config, "train.warmup", 0));
    CHECK_OK(pumit_config_set_int(r.config, "train.checkpoint_every", 1000));
    CHECK_OK(run_create(&r));
    ck_assert_int_eq(pumit_trainer_run(r.trainer), PUMIT_ERROR_STATE);
    const int last = (int)r.trainer->step;
    char name[64];
    snprintf(name, sizeof name, "run/bad-batch-step-%09d.safetensors", last);
    ck_assert_ptr_nonnull(strstr(pumit_last_error(), "lower learning rate"));
    ck_assert_msg(strstr(pumit_last_error(), name) != NULL, "%s", pumit_last_error());
    for (int step = 1; step <= last; step++) {
        snprintf(name, sizeof name, "run/bad-batch-step-%09d.safetensors", step);
        const bool kept = step == last || (step > last - 10 && step <= last - 10 + 3);
        ck_assert_msg(exists(name) == kept, "step %d", step);
        if (kept) check_bad_batch(&r, step);
    }
    char *text;
    ck_assert_int_eq(pumit_trainer_summary(&text, r.trainer), PUMIT_ERROR_STATE);
    files_check_failed(pumit_trainer_run(r.trainer), PUMIT_ERROR_STATE, "run", "has failed");
    ck_assert(!exists("run/checkpoints") && !exists("run/model.safetensors"));
    size_t bytes;
    char *metrics = (char *)files_read("run/metrics.jsonl", &bytes);
    metrics[bytes] = '\0';
    int skipped = 0;
    for (const char *at = metrics; (at = strstr(at, "\"skipped\":1")); at++) skipped++;
    ck_assert_int_eq(skipped, 10);
    free(metrics);
    run_close(&r);
}
END_TEST

/* ------------------------------------------------------------------------------------------- results */

static double number(const cJSON *tree, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(tree, key);
    ck_assert_msg(cJSON_IsNumber(item), "the summary lacks %s", key);
    return item->valuedouble;
}

static cJSON *summary_of(const run *r)
{
    char *text;
    CHECK_OK(pumit_trainer_summary(&text, r->trainer));
    cJSON *tree = cJSON_Parse(text);
    ck_assert_ptr_nonnull(tree);
    pumit_free(text);
    return tree;
}

START_TEST(summaries_tell_the_run)
{
    double losses[STEPS];
    run r = run_open("tokenizer", "run");
    CHECK_OK(run_create(&r));
    CHECK_OK(pumit_trainer_run(r.trainer));
    ck_assert_str_eq(pumit_trainer_model_path(r.trainer), files_path("run/model.safetensors"));
    losses_of(losses, "run");
    cJSON *summary = summary_of(&r);
    ck_assert_double_eq(number(summary, "steps"), STEPS);
    ck_assert_double_eq(number(summary, "first_loss"), losses[0]);
    ck_assert_double_eq(number(summary, "last_loss"), losses[STEPS - 1]);
    const cJSON *judged = cJSON_GetObjectItemCaseSensitive(summary, "validation");
    const double perplexity = number(judged, "perplexity"), used = number(judged, "codes_used");
    ck_assert(number(judged, "psnr") > 0 && number(judged, "psnr") < 60);
    ck_assert(perplexity >= 1 && perplexity <= 8.001 && used >= 1 && used <= 8);
    cJSON_Delete(summary);
    run_close(&r);
}
END_TEST

static double auc_of_model(pumit_context *ctx, const pumit_dataset *images)
{
    pumit_classifier *model;
    double probabilities[64], auc;
    int64_t labels[32];
    const int64_t n = pumit_dataset_count(images);
    CHECK_OK(pumit_classifier_load(&model, ctx, files_path("run/model.safetensors")));
    for (int64_t i = 0; i < n; i++) {
        pumit_tensor *row;
        CHECK_OK(pumit_classifier_predict(&row, model, pumit_dataset_volume(images, i)));
        CHECK_OK(pumit_tensor_read(row, PUMIT_F64, probabilities + 2 * i, 16));
        labels[i] = pumit_dataset_label(images, i);
        pumit_tensor_release(row);
    }
    CHECK_OK(
        pumit_classification_scores(NULL, &auc, PUMIT_TASK_CLASSES, n, 2, probabilities, labels));
    pumit_classifier_release(model);
    return auc;
}

/* Whether the model file's head is the tensor of that name in the checkpoint. */
static void check_saved_head(const char *name, bool same)
{
    pumit__safetensors *model, *checkpoint;
    CHECK_OK(pumit__safetensors_open(&model, files_path("run/model.safetensors")));
    CHECK_OK(pumit__safetensors_open(&checkpoint,
                                     files_path("run/checkpoints/step-000000100.safetensors")));
    const pumit__safetensors_entry *a = pumit__safetensors_find(model, "head.weight"),
                                   *b = pumit__safetensors_find(checkpoint, name);
    ck_assert(a && b && a->bytes == b->bytes);
    ck_assert_msg((memcmp(a->data, b->data, (size_t)a->bytes) == 0) == same, "%s", name);
    pumit__safetensors_close(model);
    pumit__safetensors_close(checkpoint);
}

/* The saved weights are those of the best validation, and a prediction prepares images as training does. */
START_TEST(best_weights_are_kept)
{
    run r = run_open("classify", "run");
    CHECK_OK(pumit_config_set_int(r.config, "train.steps", 100));
    CHECK_OK(pumit_config_set_int(r.config, "train.validate_every", 1));
    CHECK_OK(pumit_config_set_double(r.config, "train.learning_rate", 1e-2));
    CHECK_OK(run_create(&r));
    CHECK_OK(pumit_trainer_run(r.trainer));
    cJSON *summary = summary_of(&r);
    const double best = number(summary, "best_auc");
    ck_assert_double_eq_tol(auc_of_model(r.ctx, r.validation), best, 1e-9);
    ck_assert(best >= number(cJSON_GetObjectItemCaseSensitive(summary, "validation"), "auc"));
    check_saved_head("best.head.weight", true);
    check_saved_head("model.head.weight", number(summary, "best_step") == 100);
    ck_assert_double_gt(best, 0.6);
    cJSON_Delete(summary);
    run_close(&r);
}
END_TEST

/* ---------------------------------------------------------------------------------- moving average */

static const float *floats_of(const pumit__safetensors *file, const char *part, const char *name,
                              int64_t *count)
{
    char full[160];
    snprintf(full, sizeof full, "%s%s", part, name);
    const pumit__safetensors_entry *const entry = pumit__safetensors_find(file, full);
    ck_assert_msg(entry && entry->dtype == PUMIT_F32, "%s", full);
    *count = entry->bytes / (int64_t)sizeof(float);
    return entry->data;
}

/* The average is kept in float, so an update is one rounded step. */
static void check_average(const float *before, const pumit__safetensors *file, const char *name,
                          double decay)
{
    int64_t n, m;
    const float *const after = floats_of(file, "ema.", name, &n);
    const float *const weights = floats_of(file, "model.", name, &m);
    ck_assert_int_eq(n, m);
    double moved = 0;
    for (int64_t i = 0; i < n; i++) {
        const double expected = decay * before[i] + (1 - decay) * weights[i];
        ck_assert_msg(fabs(after[i] - expected) <= 1e-6 * fabs(expected) + 1e-7,
                      "%s[%lld]: %.9g, not %.9g", name, (long long)i, after[i], expected);
        moved += fabs(after[i] - weights[i]);
    }
    ck_assert(moved > 0);
}

/* From the initial weights on, by what each checkpoint holds: 0.1, then 2 / 11, then the decay itself. */
START_TEST(averages_are_as_defined)
{
    static const double DECAY[STEPS] = {1. / 10, 2. / 11, 0.2, 0.2, 0.2, 0.2, 0.2};
    run r = run_open("tokenizer", "run");
    CHECK_OK(pumit_config_set_double(r.config, "train.ema", 0.2));
    CHECK_OK(pumit_config_set_int(r.config, "train.checkpoint_every", 1));
    CHECK_OK(pumit_config_set_int(r.config, "train.keep_last", STEPS));
    CHECK_OK(run_create(&r));
    pumit_module *const module = pumit_tokenizer_module(r.trainer->tokenizer);
    const int64_t which = pumit_module_parameter_count(module) / 2;
    const char *const name = pumit_module_parameter_name(module, which);
    pumit_tensor *const weights = pumit_module_parameter(module, which);
    const int64_t n = pumit_tensor_count(weights);
    float *before = malloc((size_t)n * sizeof *before);
    CHECK_OK(pumit_tensor_read(weights, PUMIT_F32, before, n * (int64_t)sizeof *before));
    CHECK_OK(pumit_trainer_run(r.trainer));
    for (int step = 1; step <= STEPS; step++) {
        char path[64];
        int64_t count;
        pumit__safetensors *file;
        snprintf(path, sizeof path, "run/checkpoints/step-%09d.safetensors", step);
        CHECK_OK(pumit__safetensors_open(&file, files_path(path)));
        check_average(before, file, name, DECAY[step - 1]);
        memcpy(before, floats_of(file, "ema.", name, &count), (size_t)n * sizeof *before);
        pumit__safetensors_close(file);
    }
    pumit__safetensors *model;
    int64_t count;
    CHECK_OK(pumit__safetensors_open(&model, files_path("run/model.safetensors")));
    ck_assert_int_eq(memcmp(floats_of(model, "", name, &count), before, (size_t)n * sizeof *before),
                     0);
    pumit__safetensors_close(model);
    free(before);
    run_close(&r);
}
END_TEST

static double last_psnr(const run *r)
{
    cJSON *summary = summary_of(r);
    const double value = number(cJSON_GetObjectItemCaseSensitive(summary, "validation"), "psnr");
    cJSON_Delete(summary);
    return value;
}

/* The saved average, taken up by a run that learns nothing, is judged as it was. */
START_TEST(averages_are_judged)
{
    double psnr[2];
    for (int i = 0; i < 2; i++) {
        run r = run_open("tokenizer", i ? "again" : "run");
        CHECK_OK(pumit_config_set_double(r.config, "train.ema", i ? 0 : 0.9));
        CHECK_OK(pumit_config_set_double(r.config, "train.learning_rate", i ? 0 : 1e-2));
        if (i)
            CHECK_OK(
                pumit_config_set_string(r.config, "init", files_path("run/model.safetensors")));
        CHECK_OK(run_create(&r));
        CHECK_OK(pumit_trainer_run(r.trainer));
        psnr[i] = last_psnr(&r);
        run_close(&r);
    }
    ck_assert_double_eq(psnr[0], psnr[1]);
}
END_TEST

START_TEST(averages_resume_exactly)
{
    check_resume("tokenizer", 3, "train.ema", "0.7");
}
END_TEST

/* ------------------------------------------------------------------------------------------- batches */

static int64_t take_epoch(int seen[32], pumit__batches *batches, int64_t epoch)
{
    const int64_t count = pumit__batches_count(batches);
    int64_t first = -1;
    for (int64_t i = 0; i < count; i++) {
        pumit_tensor *images;
        double spacing[3];
        int64_t indices[5], got;
        CHECK_OK(pumit__batches_take(&images, spacing, indices, &got, batches, epoch * count + i));
        ck_assert_int_eq(pumit_tensor_shape(images)[0], got);
        ck_assert_int_eq(pumit_tensor_shape(images)[2], 64); /* grown to 4 patches */
        ck_assert(isinf(spacing[0]));
        for (int64_t k = 0; k < got; k++) seen[indices[k]]++;
        if (i == 0) first = indices[0];
        pumit_tensor_release(images);
    }
    return first;
}

START_TEST(epochs_show_every_image)
{
    pumit_dataset *dataset = open_data(files_context, "labelled.npz", "train");
    pumit__batches *batches;
    pumit__batches_options options = {.batch = 5,
                                      .channels = 1,
                                      .patch = {16, 16, 16},
                                      .seed = 4,
                                      .shuffle = true,
                                      .augment = {.strength = 1, .flip = {0, 0, 1}}};
    CHECK_OK(pumit__batches_create(&batches, files_context, dataset, &options));
    int64_t firsts[3];
    for (int64_t epoch = 0; epoch < 3; epoch++) {
        int seen[32] = {0}, sum = 0;
        firsts[epoch] = take_epoch(seen, batches, epoch);
        for (int i = 0; i < 22; i++) {
            ck_assert(seen[i] == 1 || seen[i] == 2); /* the last batch is filled up */
            sum += seen[i];
        }
        ck_assert_int_eq(sum, 25);
    }
    int again[32] = {0};
    ck_assert_int_eq(take_epoch(again, batches, 0), firsts[0]);
    ck_assert(firsts[0] != firsts[1] || firsts[1] != firsts[2]);
    pumit__batches_release(batches);
    options.shuffle = false;
    options.augment = (pumit__augment){0};
    CHECK_OK(pumit__batches_create(&batches, files_context, dataset, &options));
    int once[32] = {0};
    ck_assert_int_eq(take_epoch(once, batches, 0), 0);
    for (int i = 0; i < 22; i++) ck_assert_int_eq(once[i], 1);
    pumit__batches_release(batches);
    pumit_dataset_release(dataset);
}
END_TEST

/* Five flat images against two thick ones: 5 : 2, sqrt(5) : sqrt(2), 1 : 1. */
START_TEST(buckets_can_be_balanced)
{
    static const double BALANCE[] = {0, 0.5, 1}, SHARE[] = {5.0 / 7, 0.6126, 0.5};
    pumit_dataset *dataset = open_data(files_context, "set", NULL);
    for (int i = 0; i < 3; i++) {
        pumit__sampler *sampler;
        const pumit__sampler_options options = {
            .batch = 1, .channels = 1, .tokens = {1, 1, 1}, .patch = 16, .balance = BALANCE[i]};
        CHECK_OK(pumit__sampler_create(&sampler, files_context, dataset, &options));
        int flat = 0;
        for (int64_t step = 0; step < 2000; step++) {
            pumit_tensor *image;
            double spacing[3];
            CHECK_OK(pumit__sampler_batch(&image, spacing, NULL, sampler, step));
            flat += isinf(spacing[0]);
            pumit_tensor_release(image);
        }
        ck_assert_double_eq_tol(flat / 2000.0, SHARE[i], 0.035);
        pumit__sampler_release(sampler);
    }
    pumit_dataset_release(dataset);
}
END_TEST

Suite *suite_train(void);
Suite *suite_train(void)
{
    Suite *suite = suite_create("train");
    TCase *runs = tcase_create("runs");
    tcase_add_checked_fixture(runs, setup, files_teardown);
    tcase_set_timeout(runs, 120);
    tcase_add_test(runs, tokenizer_resumes_exactly);
    tcase_add_test(runs, accumulation_resumes_exactly);
    tcase_add_test(runs, vit_resumes_exactly);
    tcase_add_test(runs, classifier_resumes_exactly);
    tcase_add_test(runs, later_metrics_are_dropped);
    tcase_add_test(runs, stopped_at_once);
    tcase_add_test(runs, resuming_remembers);
    tcase_add_test(runs, beginnings_are_remembered);
    tcase_add_test(runs, killed_runs_resume);
    tcase_add_test(runs, broken_checkpoints_are_told);
    tcase_add_test(runs, other_images_are_told);
    tcase_add_test(runs, classifiers_start_from_runs);
    tcase_add_test(runs, old_checkpoints_go);
    tcase_add_test(runs, directories_are_locked);
    tcase_add_test(runs, outputs_are_guarded);
    tcase_add_test(runs, options_are_checked);
    tcase_add_test(runs, parts_serve_their_recipe);
    tcase_add_test(runs, codebooks_must_agree);
    tcase_add_test(runs, divergence_ends_the_run);
    tcase_add_test(runs, summaries_tell_the_run);
    tcase_add_test(runs, best_weights_are_kept);
    tcase_add_test(runs, averages_are_as_defined);
    tcase_add_test(runs, averages_are_judged);
    tcase_add_test(runs, averages_resume_exactly);
    tcase_add_test(runs, epochs_show_every_image);
    tcase_add_test(runs, buckets_can_be_balanced);
    suite_add_tcase(suite, runs);
    return suite;
}
