/* SPDX-License-Identifier: Apache-2.0 */
/* Training runs: resuming bit for bit, and what stops a run. */
#include "lib/base/config.h"
#include "lib/tensor/safetensors.h"
#include "lib/train/trainer.h"
#include "tests/runs.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* ----------------------------------------------------------------------------------------- resuming */

START_TEST(tokenizer_resumes_exactly)
{
    runs_check_resume("tokenizer", 3, NULL, NULL);
}
END_TEST

START_TEST(accumulation_resumes_exactly)
{
    runs_check_resume("tokenizer", 4, "train.accumulate", "3");
}
END_TEST

START_TEST(vit_resumes_exactly)
{
    runs_whole("tokenizer", "tokenizer", 0, false, NULL, NULL);
    runs_check_resume("vit", 3, NULL, NULL);
    ck_assert(runs_exists("whole/sheets/da2-step-000007.png"));
    ck_assert(runs_exists("whole/sheets/da5-step-000007.png"));
}
END_TEST

/* The best weights so far belong to the state: step 3 is judged before the run is broken off. */
START_TEST(classifier_resumes_exactly)
{
    runs_check_resume("classify", 5, NULL, NULL);
}
END_TEST

/* Lines beyond the checkpoint, whole or torn, are of steps that will come again. */
START_TEST(later_metrics_are_dropped)
{
    runs_whole("tokenizer", "whole", 0, false, NULL, NULL);
    runs_whole("tokenizer", "broken", 3, false, NULL, NULL);
    FILE *file = fopen(files_path("broken/metrics.jsonl"), "a");
    fputs("{\"step\":4,\"loss\":77}\n{\"step\":5,\"lo", file);
    fclose(file);
    runs_whole("tokenizer", "broken", 0, true, NULL, NULL);
    runs_check_same("whole", "broken");
}
END_TEST

/* A run that is stopped before its first step goes on. */
START_TEST(stopped_at_once)
{
    runs_whole("tokenizer", "whole", 0, false, NULL, NULL);
    run r = runs_open("tokenizer", "broken");
    CHECK_OK(runs_create(&r));
    pumit_trainer_stop(r.trainer);
    ck_assert_int_eq(pumit_trainer_run(r.trainer), PUMIT_ERROR_CANCELLED);
    char *summary;
    CHECK_OK(pumit_trainer_summary(&summary, r.trainer));
    pumit_free(summary);
    runs_close(&r);
    runs_whole("tokenizer", "broken", 0, true, NULL, NULL);
    runs_check_same("whole", "broken");
}
END_TEST

/* Resuming needs neither the recipe's options nor `init` again; a finished run stays as it is. */
START_TEST(resuming_remembers)
{
    runs_whole("tokenizer", "whole", 0, false, NULL, NULL);
    runs_whole("tokenizer", "broken", 3, false, NULL, NULL);
    run r = runs_open("tokenizer", "broken");
    pumit_config_release(r.config);
    CHECK_OK(pumit_config_create(&r.config));
    CHECK_OK(pumit_config_set_string(r.config, "output", files_path("broken")));
    CHECK_OK(pumit_config_set_bool(r.config, "resume", 1));
    CHECK_OK(runs_create(&r));
    CHECK_OK(pumit_trainer_run(r.trainer));
    runs_check_same("whole", "broken");
    CHECK_OK(pumit_trainer_run(r.trainer));
    runs_check_same("whole", "broken");
    runs_close(&r);
    r = runs_open("classify", "broken");
    CHECK_OK(pumit_config_set_bool(r.config, "resume", 1));
    files_check_failed(runs_create(&r), PUMIT_ERROR_STATE, "broken", "recipe 'tokenizer'");
    runs_close(&r);
}
END_TEST

/* The same before the first checkpoint: config.json tells what was wanted. */
START_TEST(beginnings_are_remembered)
{
    runs_whole("tokenizer", "whole", 0, false, NULL, NULL);
    run r = runs_open("tokenizer", "begun");
    CHECK_OK(runs_create(&r));
    runs_close(&r);
    r = runs_open("tokenizer", "begun");
    pumit_config_release(r.config);
    CHECK_OK(pumit_config_create(&r.config));
    CHECK_OK(pumit_config_set_string(r.config, "output", files_path("begun")));
    CHECK_OK(pumit_config_set_bool(r.config, "resume", 1));
    CHECK_OK(runs_create(&r));
    CHECK_OK(pumit_trainer_run(r.trainer));
    runs_check_same("whole", "begun");
    runs_close(&r);
}
END_TEST

/* A run that is killed, whenever that is, leaves a whole checkpoint, and goes on from it. */
START_TEST(killed_runs_resume)
{
    runs_whole("tokenizer", "whole", 0, false, NULL, NULL);
    for (int i = 0; i < 6; i++) {
        const pid_t child = fork();
        if (child == 0) {
            runs_whole("tokenizer", "killed", 0, true, "train.checkpoint_every", "1");
            _exit(0);
        }
        usleep((useconds_t)(15000 + 9000 * i));
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        /* what a kill in the middle of writing leaves */
        if (runs_exists("killed/checkpoints"))
            files_write("killed/checkpoints/step-000000003.safetensors.tmp-1", "half", 4);
    }
    runs_whole("tokenizer", "killed", 0, true, "train.checkpoint_every", "1");
    runs_check_same("whole", "killed");
    ck_assert(!runs_exists("killed/checkpoints/step-000000003.safetensors.tmp-1"));
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
    runs_whole("tokenizer", "whole", 0, false, NULL, NULL);
    runs_whole("tokenizer", "broken", 5, false, NULL, NULL);
    spoil("broken/checkpoints/step-000000005.safetensors");
    run r = runs_open("tokenizer", "broken");
    pumit_context_set_log(r.ctx, gather_log, log);
    CHECK_OK(pumit_config_set_bool(r.config, "resume", 1));
    CHECK_OK(runs_create(&r));
    ck_assert_msg(strstr(log, "checkpoints/step-000000005.safetensors") &&
                      strstr(log, "the one before it"),
                  "%s", log);
    double losses[STEPS];
    ck_assert_int_eq(runs_losses(losses, "broken"), 4);
    CHECK_OK(pumit_trainer_run(r.trainer));
    runs_close(&r);
    runs_check_same("whole", "broken");
    spoil("broken/checkpoints/step-000000006.safetensors");
    CHECK_OK(truncate(files_path("broken/checkpoints/step-000000007.safetensors"), 2000));
    r = runs_open("tokenizer", "broken");
    CHECK_OK(pumit_config_set_bool(r.config, "resume", 1));
    files_check_failed(runs_create(&r), PUMIT_ERROR_FORMAT,
                       "broken/checkpoints/step-000000006.safetensors", "none of the run's 2");
    runs_close(&r);
}
END_TEST

/* A run that goes on with the same images says nothing, with one more it says so. */
START_TEST(other_images_are_told)
{
    runs_whole("tokenizer", "grown", 3, false, NULL, NULL);
    for (int more = 0; more < 2; more++) {
        char log[1024] = "";
        if (more) runs_write_thick("set/thick-c.nii", 7);
        run r = runs_open("tokenizer", "grown");
        pumit_context_set_log(r.ctx, gather_log, log);
        CHECK_OK(pumit_config_set_bool(r.config, "resume", 1));
        CHECK_OK(runs_create(&r));
        ck_assert_msg((strstr(log, "the images are not those") != NULL) == (more == 1), "%s", log);
        runs_close(&r);
    }
}
END_TEST

/* A classifier's transformer that starts from `init` has the weights "PART.NAME" of a checkpoint. */
static void check_start(const char *init, const char *checkpoint, const char *part)
{
    pumit__safetensors *file;
    run r = runs_open("classify", "start");
    CHECK_OK(pumit_config_set_string(r.config, "init", files_path(init)));
    CHECK_OK(runs_create(&r));
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
    runs_close(&r);
    for (int i = 0; i < 3; i++) {
        static const char *const NAMES[] = {"start/config.json", "start/metrics.jsonl",
                                            "start/lock"};
        CHECK_OK(unlink(files_path(NAMES[i])));
    }
}

/* From a run's newest checkpoint that is whole, of a transformer or of another classifier. */
START_TEST(classifiers_start_from_runs)
{
    runs_whole("tokenizer", "tokenizer", 0, false, NULL, NULL);
    runs_whole("vit", "vit", 5, false, NULL, NULL);
    check_start("vit", "vit/checkpoints/step-000000005.safetensors", "model");
    spoil("vit/checkpoints/step-000000005.safetensors");
    check_start("vit", "vit/checkpoints/step-000000004.safetensors", "model");
    runs_whole("classify", "tuned", 3, false, NULL, NULL);
    check_start("tuned", "tuned/checkpoints/step-000000003.safetensors", "model.backbone");
    run r = runs_open("classify", "other");
    CHECK_OK(pumit_config_set_string(
        r.config, "init", files_path("tokenizer/checkpoints/step-000000006.safetensors")));
    files_check_failed(runs_create(&r), PUMIT_ERROR_INVALID_ARGUMENT, "'init'",
                       "of recipe 'tokenizer'");
    runs_close(&r);
}
END_TEST

static bool has_checkpoint(int step)
{
    char name[64];
    snprintf(name, sizeof name, "run/checkpoints/step-%09d.safetensors", step);
    return runs_exists(name);
}

START_TEST(old_checkpoints_go)
{
    runs_whole("tokenizer", "run", 0, false, "train",
               "{\"steps\": 7, \"batch\": 2, \"tokens\": [2, 2, 2], \"validate_batches\": 1,"
               " \"checkpoint_every\": 1, \"keep_last\": 2, \"keep_every\": 3}");
    static const bool KEPT[STEPS + 1] = {0, 0, 0, 1, 0, 0, 1, 1};
    for (int i = 0; i <= STEPS; i++) ck_assert_msg(has_checkpoint(i) == KEPT[i], "step %d", i);
}
END_TEST

/* Two processes in one directory would spoil each other's files. */
START_TEST(directories_are_locked)
{
    run r = runs_open("tokenizer", "run"), second = runs_open("tokenizer", "run");
    CHECK_OK(runs_create(&r));
    CHECK_OK(pumit_config_set_bool(second.config, "resume", 1));
    files_check_failed(runs_create(&second), PUMIT_ERROR_STATE, "run", "another process");
    runs_close(&second);
    CHECK_OK(pumit_trainer_run(r.trainer));
    runs_close(&r);
    runs_whole("tokenizer", "run", 0, true, NULL, NULL);
}
END_TEST

/* ------------------------------------------------------------------------------------ what stops runs */

START_TEST(outputs_are_guarded)
{
    runs_whole("tokenizer", "one", 0, false, NULL, NULL);
    run r = runs_open("tokenizer", "one");
    files_check_failed(runs_create(&r), PUMIT_ERROR_STATE, "one", "already holds a run");
    runs_close(&r);
    files_write("file", "x", 1);
    r = runs_open("tokenizer", "file/run");
    files_check_failed(runs_create(&r), PUMIT_ERROR_IO, "file/run", "");
    ck_assert_ptr_null(r.trainer);
    runs_close(&r);
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
        run r = runs_open("tokenizer", "run");
        CHECK_OK(pumit_config_set_json(r.config, CASES[i].key, CASES[i].value));
        const pumit_status status = runs_create(&r);
        ck_assert_msg(status == (CASES[i].part ? PUMIT_ERROR_INVALID_ARGUMENT : PUMIT_OK), "%s: %s",
                      CASES[i].key, pumit_last_error());
        if (CASES[i].part) ck_assert_ptr_nonnull(strstr(pumit_last_error(), CASES[i].part));
        runs_close(&r);
        remove(files_path("run/config.json"));
        remove(files_path("run/metrics.jsonl"));
    }
}
END_TEST

/* "train.RECIPE.KEY" counts for its recipe where "train.KEY" says nothing. */
START_TEST(parts_serve_their_recipe)
{
    run r = runs_open("tokenizer", "run");
    CHECK_OK(
        pumit_config_set_json(r.config, "train.tokenizer", "{\"clip_norm\": 0.25, \"steps\": 99}"));
    CHECK_OK(pumit_config_set_json(r.config, "train.vit", "{\"clip_norm\": 0.75}"));
    CHECK_OK(runs_create(&r));
    pumit_config *config;
    double clip_norm;
    int64_t steps;
    CHECK_OK(pumit_config_read(&config, files_path("run/config.json")));
    CHECK_OK(pumit_config_get_double(&clip_norm, config, "train.clip_norm", 0));
    CHECK_OK(pumit_config_get_int(&steps, config, "train.steps", 0));
    ck_assert_double_eq(clip_norm, 0.25);
    ck_assert_int_eq(steps, STEPS);
    pumit_config_release(config);
    runs_close(&r);
}
END_TEST

START_TEST(codebooks_must_agree)
{
    runs_whole("tokenizer", "tokenizer", 0, false, NULL, NULL);
    run r = runs_open("vit", "run");
    CHECK_OK(pumit_config_set_int(r.config, "vit.codes", 16));
    ck_assert_int_eq(runs_create(&r), PUMIT_ERROR_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(pumit_last_error(), "the tokenizer has 8 codes"));
    runs_close(&r);
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
    run r = runs_open("tokenizer", "run");
    CHECK_OK(pumit_config_set_double(r.config, "train.learning_rate", 1e30));
    CHECK_OK(pumit_config_set_int(r.config, "train.steps", 60));
    CHECK_OK(pumit_config_set_int(r.config, "train.warmup", 0));
    CHECK_OK(pumit_config_set_int(r.config, "train.checkpoint_every", 1000));
    CHECK_OK(runs_create(&r));
    ck_assert_int_eq(pumit_trainer_run(r.trainer), PUMIT_ERROR_STATE);
    const int last = (int)r.trainer->step;
    char name[64];
    snprintf(name, sizeof name, "run/bad-batch-step-%09d.safetensors", last);
    ck_assert_ptr_nonnull(strstr(pumit_last_error(), "lower learning rate"));
    ck_assert_msg(strstr(pumit_last_error(), name) != NULL, "%s", pumit_last_error());
    for (int step = 1; step <= last; step++) {
        snprintf(name, sizeof name, "run/bad-batch-step-%09d.safetensors", step);
        const bool kept = step == last || (step > last - 10 && step <= last - 10 + 3);
        ck_assert_msg(runs_exists(name) == kept, "step %d", step);
        if (kept) check_bad_batch(&r, step);
    }
    char *text;
    ck_assert_int_eq(pumit_trainer_summary(&text, r.trainer), PUMIT_ERROR_STATE);
    files_check_failed(pumit_trainer_run(r.trainer), PUMIT_ERROR_STATE, "run", "has failed");
    ck_assert(!runs_exists("run/checkpoints") && !runs_exists("run/model.safetensors"));
    size_t bytes;
    char *metrics = (char *)files_read("run/metrics.jsonl", &bytes);
    metrics[bytes] = '\0';
    int skipped = 0;
    for (const char *at = metrics; (at = strstr(at, "\"skipped\":1")); at++) skipped++;
    ck_assert_int_eq(skipped, 10);
    free(metrics);
    runs_close(&r);
}
END_TEST

Suite *suite_train(void);
Suite *suite_train(void)
{
    Suite *suite = suite_create("train");
    TCase *runs = tcase_create("runs");
    tcase_add_checked_fixture(runs, runs_setup, files_teardown);
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
    suite_add_tcase(suite, runs);
    return suite;
}
