/* SPDX-License-Identifier: Apache-2.0 */
/* What training runs leave behind: summaries, the best weights, averaged ones; and the batches that they learn from. */
#include "lib/base/config.h"
#include "lib/data/sampler.h"
#include "lib/tensor/safetensors.h"
#include "lib/train/trainer.h"
#include "tests/runs.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
    run r = runs_open("tokenizer", "run");
    CHECK_OK(runs_create(&r));
    CHECK_OK(pumit_trainer_run(r.trainer));
    ck_assert_str_eq(pumit_trainer_model_path(r.trainer), files_path("run/model.safetensors"));
    runs_losses(losses, "run");
    cJSON *summary = summary_of(&r);
    ck_assert_double_eq(number(summary, "steps"), STEPS);
    ck_assert_double_eq(number(summary, "first_loss"), losses[0]);
    ck_assert_double_eq(number(summary, "last_loss"), losses[STEPS - 1]);
    const cJSON *judged = cJSON_GetObjectItemCaseSensitive(summary, "validation");
    const double perplexity = number(judged, "perplexity"), used = number(judged, "codes_used");
    ck_assert(number(judged, "psnr") > 0 && number(judged, "psnr") < 60);
    ck_assert(perplexity >= 1 && perplexity <= 8.001 && used >= 1 && used <= 8);
    cJSON_Delete(summary);
    runs_close(&r);
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
    run r = runs_open("classify", "run");
    CHECK_OK(pumit_config_set_int(r.config, "train.steps", 100));
    CHECK_OK(pumit_config_set_int(r.config, "train.validate_every", 1));
    CHECK_OK(pumit_config_set_double(r.config, "train.learning_rate", 1e-2));
    CHECK_OK(runs_create(&r));
    CHECK_OK(pumit_trainer_run(r.trainer));
    cJSON *summary = summary_of(&r);
    const double best = number(summary, "best_auc");
    ck_assert_double_eq_tol(auc_of_model(r.ctx, r.validation), best, 1e-9);
    ck_assert(best >= number(cJSON_GetObjectItemCaseSensitive(summary, "validation"), "auc"));
    check_saved_head("best.head.weight", true);
    check_saved_head("model.head.weight", number(summary, "best_step") == 100);
    ck_assert_double_gt(best, 0.6);
    cJSON_Delete(summary);
    runs_close(&r);
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
    run r = runs_open("tokenizer", "run");
    CHECK_OK(pumit_config_set_double(r.config, "train.ema", 0.2));
    CHECK_OK(pumit_config_set_int(r.config, "train.checkpoint_every", 1));
    CHECK_OK(pumit_config_set_int(r.config, "train.keep_last", STEPS));
    CHECK_OK(runs_create(&r));
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
    runs_close(&r);
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
        run r = runs_open("tokenizer", i ? "again" : "run");
        CHECK_OK(pumit_config_set_double(r.config, "train.ema", i ? 0 : 0.9));
        CHECK_OK(pumit_config_set_double(r.config, "train.learning_rate", i ? 0 : 1e-2));
        if (i)
            CHECK_OK(
                pumit_config_set_string(r.config, "init", files_path("run/model.safetensors")));
        CHECK_OK(runs_create(&r));
        CHECK_OK(pumit_trainer_run(r.trainer));
        psnr[i] = last_psnr(&r);
        runs_close(&r);
    }
    ck_assert_double_eq(psnr[0], psnr[1]);
}
END_TEST

START_TEST(averages_resume_exactly)
{
    runs_check_resume("tokenizer", 3, "train.ema", "0.7");
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
    pumit_dataset *dataset = runs_data(files_context, "labelled.npz", "train");
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
    pumit_dataset *dataset = runs_data(files_context, "set", NULL);
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

Suite *suite_train_results(void);
Suite *suite_train_results(void)
{
    Suite *suite = suite_create("train_results");
    TCase *runs = tcase_create("results");
    tcase_add_checked_fixture(runs, runs_setup, files_teardown);
    tcase_set_timeout(runs, 120);
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
