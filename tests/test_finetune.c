/* SPDX-License-Identifier: Apache-2.0 */
/* Fine-tuning of classifiers: kinds of labels, what weighs and mixes them, schedules, early stopping, where weights come from. */
#include "lib/base/config.h"
#include "lib/tensor/safetensors.h"
#include "lib/train/trainer.h"
#include "tests/image_files.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STEPS  8
#define IMAGES 12

/* ------------------------------------------------------------------------------------------- data */

/* Archives of 2D images whose brightness tells the class, with one label in 0..2, or three labels. */
static void write_archives(void)
{
    static uint8_t images[IMAGES * 64], single[IMAGES], many[IMAGES * 3];
    static const char SHAPE[] = "{'descr': '|u1', 'fortran_order': False, 'shape': (12, 8, 8), }",
                      ONE[] = "{'descr': '|u1', 'fortran_order': False, 'shape': (12, 1), }",
                      THREE[] = "{'descr': '|u1', 'fortran_order': False, 'shape': (12, 3), }";
    for (int n = 0; n < IMAGES; n++) {
        single[n] = (uint8_t)(n % 5 == 0 ? 2 : n % 2);
        for (int k = 0; k < 3; k++) many[3 * n + k] = (uint8_t)(n >> k & 1);
        for (int i = 0; i < 64; i++)
            images[64 * n + i] = (uint8_t)((i * 7 + n * 31) % 90 + 60 * single[n]);
    }
    for (int i = 0; i < 2; i++) {
        const void *const labels = i ? many : single;
        const size_t bytes = i ? sizeof many : sizeof single;
        const char *const shape = i ? THREE : ONE;
        const npz_member members[] = {{"train_images", SHAPE, images, sizeof images},
                                      {"train_labels", shape, labels, bytes},
                                      {"val_images", SHAPE, images, sizeof images},
                                      {"val_labels", shape, labels, bytes}};
        npz_write(i ? "many.npz" : "single.npz", members, 4, false);
    }
}

static void setup(void)
{
    files_setup();
    write_archives();
}

/* ------------------------------------------------------------------------------------------- runs */

typedef struct {
    pumit_context *ctx;
    pumit_dataset *train, *validation;
    pumit_config *config;
    pumit_trainer *trainer;
    char log[2048];
} run;

static pumit_dataset *open_data(pumit_context *ctx, const char *name, const char *split)
{
    pumit_config *options;
    pumit_dataset *dataset;
    const char *path = files_path(name);
    CHECK_OK(pumit_config_create(&options));
    CHECK_OK(pumit_config_set_string(options, "split", split));
    CHECK_OK(pumit_dataset_open(&dataset, ctx, 1, &path, options));
    pumit_config_release(options);
    return dataset;
}

static void gather_log(void *user, int32_t level, const char *message)
{
    char *const log = user;
    (void)level;
    const size_t used = strlen(log);
    snprintf(log + used, 2048 - used, "%s\n", message);
}

static const char BASE[] =
    "{\"recipe\": \"classify\","
    " \"vit\": {\"in_channels\": 1, \"patch\": [4, 4, 4], \"dim\": 16, \"depth\": 2, \"heads\": 2,"
    "           \"hidden\": 24, \"pos_embed_shape\": [1, 2, 2]},"
    " \"train\": {\"steps\": 8, \"batch\": 4, \"warmup\": 0, \"seed\": 3, \"validate_every\": 2,"
    "             \"checkpoint_every\": 3, \"events\": false}}";

/* `more`: settings on top. */
static run *run_open(const char *data, const char *output, const char *more)
{
    pumit_config *options;
    run *r = calloc(1, sizeof *r);
    CHECK_OK(pumit_config_parse(&options, "{\"threads\": 1}"));
    CHECK_OK(pumit_context_create(&r->ctx, options));
    pumit_config_release(options);
    pumit_context_set_log(r->ctx, gather_log, r->log);
    r->train = open_data(r->ctx, data, "train");
    r->validation = open_data(r->ctx, data, "val");
    CHECK_OK(pumit_config_parse(&r->config, BASE));
    CHECK_OK(pumit_config_parse(&options, more));
    CHECK_OK(pumit_config_merge(r->config, options));
    CHECK_OK(pumit_config_set_string(r->config, "output", files_path(output)));
    pumit_config_release(options);
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
    free(r);
}

static int32_t stop_at(void *user, int64_t step, int64_t max_steps, const char *metrics)
{
    (void)max_steps;
    (void)metrics;
    return step == *(const int64_t *)user;
}

/* Runs to the end, or to `stop` if positive; gives the step it came to. */
static int64_t run_whole(const char *data, const char *output, const char *more, int64_t stop,
                         bool resume)
{
    run *r = run_open(data, output, more);
    CHECK_OK(pumit_config_set_bool(r->config, "resume", resume));
    CHECK_OK(run_create(r));
    pumit_trainer_set_progress(r->trainer, stop_at, &stop);
    const pumit_status status = pumit_trainer_run(r->trainer);
    ck_assert_msg(status == (stop > 0 ? PUMIT_ERROR_CANCELLED : PUMIT_OK), "%s",
                  pumit_last_error());
    const int64_t step = r->trainer->step;
    run_close(r);
    return step;
}

/* A figure of the lines of metrics.jsonl, NaN where a line lacks it. */
static int figures_of(double values[STEPS], const char *output, const char *key)
{
    char name[64];
    size_t bytes;
    int count = 0;
    snprintf(name, sizeof name, "%s/metrics.jsonl", output);
    char *text = (char *)files_read(name, &bytes), *rest = NULL;
    text[bytes] = '\0'; /* there is room for it */
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        cJSON *object = cJSON_Parse(line);
        ck_assert_int_lt(count, STEPS);
        values[count++] = cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(object, key));
        cJSON_Delete(object);
    }
    free(text);
    return count;
}

static void check_same_files(const char *a, const char *b)
{
    size_t bytes[2];
    uint8_t *first = files_read(a, &bytes[0]), *second = files_read(b, &bytes[1]);
    ck_assert_uint_eq(bytes[0], bytes[1]);
    ck_assert_int_eq(memcmp(first, second, bytes[0]), 0);
    free(first);
    free(second);
}

/* ----------------------------------------------------------------------------------------- resuming */

static const struct {
    const char *data, *settings;
} KINDS[] = {
    {"single.npz",
     "{\"train\": {\"mixup\": 0.4, \"milestones\": [4, 6], \"class_weights\": \"balanced\","
     "             \"layer_decay\": 0.7, \"patience\": 50, \"flips\": [0, 1, 1]}}"},
    {"many.npz", "{\"train\": {\"mixup\": 0.4, \"class_weights\": \"balanced\"}}"},
    {"single.npz", "{\"train\": {\"task\": \"grades\", \"mixup\": 1}, \"freeze_backbone\": true}"}};

/* Each kind of labels, with all that draws numbers. */
START_TEST(runs_resume_exactly)
{
    double losses[2][STEPS];
    const char *const data = KINDS[_i].data, *const settings = KINDS[_i].settings;
    run_whole(data, "whole", settings, 0, false);
    run_whole(data, "broken", settings, 5, false);
    run_whole(data, "broken", settings, 0, true);
    ck_assert_int_eq(figures_of(losses[0], "whole", "loss"), STEPS);
    ck_assert_int_eq(figures_of(losses[1], "broken", "loss"), STEPS);
    for (int i = 0; i < STEPS; i++)
        ck_assert_msg(isfinite(losses[0][i]) && losses[0][i] == losses[1][i], "step %d", i + 1);
    ck_assert(losses[0][0] != losses[0][STEPS - 1]);
    check_same_files("whole/model.safetensors", "broken/model.safetensors");
}
END_TEST

/* --------------------------------------------------------------------------------------- kinds of labels */

START_TEST(results_know_their_task)
{
    static const pumit_task TASKS[] = {PUMIT_TASK_CLASSES, PUMIT_TASK_LABELS, PUMIT_TASK_GRADES};
    run *r = run_open(KINDS[_i].data, "run", KINDS[_i].settings);
    pumit_classifier *model;
    pumit_tensor *row;
    double p[3], sum = 0;
    char *summary;
    CHECK_OK(run_create(r));
    CHECK_OK(pumit_trainer_run(r->trainer));
    CHECK_OK(pumit_trainer_summary(&summary, r->trainer));
    ck_assert_msg(strstr(summary, "best_auc") && strstr(summary, "accuracy"), "%s", summary);
    pumit_free(summary);
    CHECK_OK(pumit_classifier_load(&model, r->ctx, files_path("run/model.safetensors")));
    ck_assert_int_eq(pumit_classifier_task(model), TASKS[_i]);
    ck_assert_int_eq(pumit_classifier_classes(model), 3);
    CHECK_OK(pumit_classifier_predict(&row, model, pumit_dataset_volume(r->train, 3)));
    ck_assert(pumit_tensor_ndim(row) == 2 && pumit_tensor_shape(row)[1] == 3);
    CHECK_OK(pumit_tensor_read(row, PUMIT_F64, p, sizeof p));
    for (int c = 0; c < 3; c++) sum += p[c];
    ck_assert(TASKS[_i] == PUMIT_TASK_LABELS ? fabs(sum - 1) > 1e-3 : fabs(sum - 1) < 1e-6);
    pumit_tensor_release(row);
    pumit_classifier_release(model);
    run_close(r);
}
END_TEST

static const struct {
    const char *data, *settings, *part;
} BAD[] = {
    {"many.npz", "{\"train\": {\"task\": \"classes\"}}", "several labels each"},
    {"single.npz", "{\"train\": {\"task\": \"labels\"}}", "one class each"},
    {"single.npz", "{\"train\": {\"task\": \"names\"}}", "'grades'"},
    {"single.npz", "{\"train\": {\"class_weights\": [1, 2]}}", "3 numbers"},
    {"single.npz", "{\"train\": {\"class_weights\": [1, 2, -1]}}", "weight 2"},
    {"single.npz", "{\"train\": {\"class_weights\": \"fair\"}}", "balanced"},
    {"single.npz", "{\"train\": {\"milestones\": [4, 4]}}", "steps rise"},
    {"single.npz", "{\"train\": {\"schedule\": \"milestones\"}}", "train.milestones"},
    {"single.npz", "{\"train\": {\"schedule\": \"cosine\", \"milestones\": [4]}}",
     "train.schedule"},
    {"single.npz", "{\"train\": {\"patience\": 2, \"validate_every\": 0}}", "train.patience"},
    {"single.npz", "{\"train\": {\"mixup\": 5}}", "train.mixup"},
    {"single.npz", "{\"train\": {\"layer_decay\": 1.5}}", "train.layer_decay"},
    {"single.npz", "{\"train\": {\"flips\": [0, 1]}}", "train.flips"}};

START_TEST(bad_settings_are_refused)
{
    run *r = run_open(BAD[_i].data, "run", BAD[_i].settings);
    files_check_failed(run_create(r), PUMIT_ERROR_INVALID_ARGUMENT, "", BAD[_i].part);
    run_close(r);
}
END_TEST

static pumit_dataset *open_list(pumit_context *ctx, const char *text)
{
    const uint8_t pixels[64] = {0};
    pumit_dataset *dataset;
    const char *path = files_path("list.csv");
    png_write("a.png", 8, 8, 8, 0, false, pixels);
    files_write("list.csv", text, strlen(text));
    CHECK_OK(pumit_dataset_open(&dataset, ctx, 1, &path, NULL));
    return dataset;
}

/* Names go into the model; other names for the same numbers are refused. */
START_TEST(names_are_kept_and_compared)
{
    run *r = run_open("single.npz", "run", "{}");
    pumit_dataset_release(r->train);
    pumit_dataset_release(r->validation);
    r->train = open_list(r->ctx, "path,label\na.png,no\na.png,yes\n");
    r->validation = open_list(r->ctx, "path,label\na.png,no\na.png,perhaps\n");
    files_check_failed(run_create(r), PUMIT_ERROR_INVALID_ARGUMENT, "'yes'", "'perhaps'");
    pumit_dataset_release(r->validation);
    r->validation = open_list(r->ctx, "path,label\na.png,yes\na.png,no\n");
    CHECK_OK(run_create(r));
    ck_assert_str_eq(pumit_classifier_class_name(r->trainer->classifier, 1), "yes");
    run_close(r);
}
END_TEST

/* One image without a label among many is named. */
START_TEST(images_without_a_label_are_named)
{
    run *r = run_open("single.npz", "run", "{}");
    pumit_dataset_release(r->validation);
    r->validation = open_list(r->ctx, "path,label\na.png,0\na.png,\n");
    files_check_failed(run_create(r), PUMIT_ERROR_INVALID_ARGUMENT, "a.png", "has no label");
    pumit_dataset_release(r->validation);
    r->validation = open_list(r->ctx, "path,label.x\na.png,1\n");
    files_check_failed(run_create(r), PUMIT_ERROR_INVALID_ARGUMENT, "one class each", "");
    pumit_dataset_release(r->train);
    r->train = open_list(r->ctx, "path,label\na.png,7\na.png,7\n");
    files_check_failed(run_create(r), PUMIT_ERROR_INVALID_ARGUMENT, "all the same label", "");
    pumit_dataset_release(r->train);
    r->train = open_list(r->ctx, "path,label.x,label.y\na.png,1,0\n");
    files_check_failed(run_create(r), PUMIT_ERROR_INVALID_ARGUMENT, "2 columns", "1");
    run_close(r);
}
END_TEST

START_TEST(a_validation_without_auc_is_told)
{
    run *r = run_open("single.npz", "run", "{}");
    pumit_dataset_release(r->validation);
    r->validation = open_list(r->ctx, "path,label\na.png,1\na.png,1\n");
    CHECK_OK(run_create(r));
    ck_assert_msg(strstr(r->log, "no AUC") != NULL, "%s", r->log);
    run_close(r);
    r = run_open("single.npz", "other", "{}");
    CHECK_OK(run_create(r));
    ck_assert_msg(strstr(r->log, "no AUC") == NULL, "%s", r->log);
    run_close(r);
}
END_TEST

/* ------------------------------------------------------------------------------------ weights and mixup */

#define WHOLE_SET "\"batch\": 12, \"steps\": 1, \"augment\": false, \"validate_every\": 0"

static double first_loss(const char *settings, const char *output)
{
    double losses[STEPS];
    run_whole("single.npz", output, settings, 0, false);
    ck_assert_int_eq(figures_of(losses, output, "loss"), 1);
    return losses[0];
}

/* A new head says ln 3 of every image: of 12 images 4, 5 and 3 are of the classes. */
START_TEST(classes_are_weighed)
{
    const double plain = first_loss("{\"train\": {" WHOLE_SET "}}", "plain");
    ck_assert_double_eq_tol(plain, log(3), 1e-5);
    const double listed =
        first_loss("{\"train\": {" WHOLE_SET ", \"class_weights\": [2, 0.5, 1]}}", "listed");
    ck_assert_double_eq_tol(listed, log(3) * (4 * 2 + 5 * 0.5 + 3) / 12, 1e-5);
    run *r =
        run_open("many.npz", "many", "{\"train\": {" WHOLE_SET ", \"class_weights\": [3, 1, 1]}}");
    CHECK_OK(run_create(r));
    CHECK_OK(pumit_trainer_run(r->trainer));
    /* of label 0 six images are present and count 3 ln 2, all else ln 2 */
    ck_assert_double_eq_tol(r->trainer->losses[0], log(2) * (6 * 3 + 30) / 36, 1e-5);
    run_close(r);
}
END_TEST

/* Grades of a new head: ln 2 for each step that an image takes. Balanced: 12 / (3 x 4, 5, 3). */
START_TEST(balanced_weights_are_as_said)
{
    const double loss = first_loss("{\"train\": {" WHOLE_SET ", \"task\": \"grades\","
                                   " \"class_weights\": \"balanced\"}}",
                                   "run");
    /* each class weighs four images in all; grade 0 takes one step, grades 1 and 2 two */
    ck_assert_double_eq_tol(loss, log(2) * (4 * 1 + 4 * 2 + 4 * 2) / 12, 1e-5);
}
END_TEST

/* Labels are mixed as the images are, in the order of the batch. */
START_TEST(labels_are_mixed)
{
    static const double WEIGHTS[] = {2, 0.5, 1};
    run *r = run_open("single.npz", "run",
                      "{\"train\": {" WHOLE_SET ", \"mixup\": 1, \"class_weights\": [2, 0.5, 1]}}");
    CHECK_OK(run_create(r));
    pumit_tensor *image;
    double spacing[3], wanted = 0;
    int64_t indices[12], count;
    CHECK_OK(pumit__batches_take(&image, spacing, indices, &count, r->trainer->batches, 0));
    pumit_tensor_release(image);
    ck_assert_int_eq(count, 12);
    for (int i = 0; i < 12; i++) {
        const double share = pumit__batches_share(r->trainer->batches, 0, i);
        const int64_t own = pumit_dataset_label(r->train, indices[i]),
                      next = pumit_dataset_label(r->train, indices[(i + 1) % 12]);
        wanted += log(3) * (share * WEIGHTS[own] + (1 - share) * WEIGHTS[next]) / 12;
    }
    CHECK_OK(pumit_trainer_run(r->trainer));
    ck_assert_double_eq_tol(r->trainer->losses[0], wanted, 1e-5);
    run_close(r);
}
END_TEST

static pumit__batches *make_batches(const pumit_dataset *dataset, double mixup)
{
    pumit__batches *batches;
    const pumit__batches_options options = {.batch = 5,
                                            .channels = 1,
                                            .patch = {4, 4, 4},
                                            .max_tokens = 64,
                                            .seed = 4,
                                            .shuffle = true,
                                            .mixup = mixup};
    CHECK_OK(pumit__batches_create(&batches, files_context, dataset, &options));
    return batches;
}

START_TEST(images_are_mixed)
{
    enum { EACH = 256 }; /* grown to 4 patches */
    pumit_dataset *dataset = open_data(files_context, "single.npz", "train");
    pumit__batches *mixed = make_batches(dataset, 0.7), *plain = make_batches(dataset, 0);
    pumit_tensor *images[2];
    float values[2][5 * EACH];
    double spacing[3], lowest = 1;
    int64_t indices[5], count;
    CHECK_OK(pumit__batches_take(&images[0], spacing, indices, &count, mixed, 7));
    CHECK_OK(pumit__batches_take(&images[1], spacing, indices, &count, plain, 7));
    for (int k = 0; k < 2; k++) {
        ck_assert_int_eq(pumit_tensor_count(images[k]), 5 * EACH);
        CHECK_OK(pumit_tensor_read(images[k], PUMIT_F32, values[k], sizeof values[k]));
        pumit_tensor_release(images[k]);
    }
    for (int i = 0; i < 5; i++) {
        const double share = pumit__batches_share(mixed, 7, i);
        ck_assert(pumit__batches_share(plain, 7, i) == 1 && share >= 0 && share <= 1);
        lowest = fmin(lowest, share);
        for (int v = 0; v < EACH; v++) {
            const double wanted =
                share * values[1][i * EACH + v] + (1 - share) * values[1][(i + 1) % 5 * EACH + v];
            ck_assert_double_eq_tol(values[0][i * EACH + v], wanted, 1e-6);
        }
    }
    ck_assert_double_lt(lowest, 0.9);
    pumit__batches_release(mixed);
    pumit__batches_release(plain);
    pumit_dataset_release(dataset);
}
END_TEST

/* Beta(a, a) has mean 1/2 and variance 1 / (4 (2 a + 1)). */
START_TEST(shares_are_beta)
{
    static const double ALPHAS[] = {0.2, 1, 4};
    for (int k = 0; k < 3; k++) {
        double sum = 0, squares = 0;
        for (uint64_t i = 0; i < 4000; i++) {
            const double x = pumit__augment_share(ALPHAS[k], 5, i);
            sum += x;
            squares += (x - 0.5) * (x - 0.5);
        }
        ck_assert_double_eq_tol(sum / 4000, 0.5, 0.02);
        ck_assert_double_eq_tol(squares / 4000, 1 / (4 * (2 * ALPHAS[k] + 1)), 0.008);
    }
}
END_TEST

/* --------------------------------------------------------------------------------- schedule and its end */

START_TEST(milestones_lower_the_rate)
{
    static const double WANTED[STEPS] = {0.25, 0.5, 0.75, 1, 0.5, 0.5, 0.25, 0.25};
    double rates[STEPS];
    run_whole("single.npz", "run",
              "{\"train\": {\"learning_rate\": 1e-3, \"warmup\": 4, \"milestones\": [5, 7],"
              " \"milestone_factor\": 0.5}}",
              0, false);
    ck_assert_int_eq(figures_of(rates, "run", "learning_rate"), STEPS);
    for (int i = 0; i < STEPS; i++) ck_assert_double_eq_tol(rates[i], 1e-3 * WANTED[i], 1e-12);
}
END_TEST

/* Nothing is learnt: the area of the first validation is never beaten. Stopped or killed on the way, the run ends at the same step. */
START_TEST(runs_end_early)
{
    static const char SETTINGS[] = "{\"train\": {\"learning_rate\": 0, \"patience\": 2}}";
    double losses[STEPS];
    ck_assert_int_eq(run_whole("single.npz", "run", SETTINGS, 0, false), 6);
    ck_assert_int_eq(figures_of(losses, "run", "loss"), 6);
    ck_assert_int_eq(access(files_path("run/model.safetensors"), F_OK), 0);
    ck_assert_int_eq(access(files_path("run/checkpoints/step-000000006.safetensors"), F_OK), 0);
    ck_assert_int_eq(run_whole("single.npz", "run", SETTINGS, 0, true), 6);
    ck_assert_int_eq(run_whole("single.npz", "broken", SETTINGS, 5, false), 5);
    ck_assert_int_eq(run_whole("single.npz", "broken", SETTINGS, 0, true), 6);
    check_same_files("run/model.safetensors", "broken/model.safetensors");
    /* with more patience it goes on */
    ck_assert_int_eq(run_whole("single.npz", "run", "{\"train\": {\"patience\": 0}}", 0, true), 8);
    run *r = run_open("single.npz", "again", SETTINGS);
    CHECK_OK(run_create(r));
    CHECK_OK(pumit_trainer_run(r->trainer));
    ck_assert_msg(strstr(r->log, "ends at step 6") != NULL, "%s", r->log);
    ck_assert_int_eq(r->trainer->best_step, 6); /* of equals the last */
    ck_assert_int_eq(r->trainer->improved_step, 2);
    run_close(r);
}
END_TEST

/* ------------------------------------------------------------------------------------------- weights */

static void read_weights(float *dst, int64_t most, const pumit_module *module, const char *name)
{
    pumit_tensor *tensor;
    CHECK_OK(pumit_module_find(&tensor, module, name));
    const int64_t n = pumit_tensor_count(tensor);
    ck_assert_int_le(n, most);
    CHECK_OK(pumit_tensor_read(tensor, PUMIT_F32, dst, n * 4));
}

/* The network of the file with the run's own first weights; `vit` of the config does not count. */
START_TEST(the_baseline_has_the_same_network)
{
    float weights[3][1024];
    static const char NAME[] = "blocks.1.mlp.w1.weight";
    run_whole("single.npz", "first", "{\"vit\": {\"depth\": 3}}", 0, false);
    char settings[2][512];
    snprintf(settings[0], sizeof *settings, "{\"init\": \"%s\", \"from_scratch\": false}",
             files_path("first"));
    snprintf(settings[1], sizeof *settings, "{\"init\": \"%s\", \"from_scratch\": true}",
             files_path("first/model.safetensors"));
    for (int i = 0; i < 3; i++) {
        run *r = run_open("single.npz",
                          i == 0   ? "a"
                          : i == 1 ? "b"
                                   : "c",
                          i < 2 ? settings[i] : "{\"vit\": {\"depth\": 3}}");
        CHECK_OK(run_create(r));
        const pumit_module *const vit = pumit_vit_module(r->trainer->vit);
        memset(weights[i], 0, sizeof weights[i]);
        read_weights(weights[i], 1024, vit, NAME);
        ck_assert_msg(strstr(r->log, "init: new: head.weight") != NULL, "%s", r->log);
        if (i == 0) ck_assert_msg(strstr(r->log, "tensors were taken") != NULL, "%s", r->log);
        if (i == 1) ck_assert_msg(strstr(r->log, "from_scratch") != NULL, "%s", r->log);
        read_weights(weights[i], 1024, vit, "blocks.2.norm1.weight"); /* it is there */
        read_weights(weights[i], 1024, vit, NAME);
        run_close(r);
    }
    ck_assert_int_ne(memcmp(weights[0], weights[1], sizeof *weights), 0);
    ck_assert_int_eq(memcmp(weights[1], weights[2], sizeof *weights), 0);
}
END_TEST

START_TEST(a_frozen_transformer_stays)
{
    float before[64], after[64], head[64];
    run *r = run_open("single.npz", "run", "{\"freeze_backbone\": true}");
    CHECK_OK(run_create(r));
    const pumit_module *const model = r->trainer->model;
    read_weights(before, 64, model, "backbone.blocks.0.norm1.weight");
    CHECK_OK(pumit_trainer_run(r->trainer));
    read_weights(after, 64, model, "backbone.blocks.0.norm1.weight");
    read_weights(head, 64, model, "head.bias");
    ck_assert_int_eq(memcmp(before, after, 16 * sizeof *before), 0);
    ck_assert(head[0] != 0);
    run_close(r);
}
END_TEST

Suite *suite_finetune(void);
Suite *suite_finetune(void)
{
    Suite *suite = suite_create("finetune");
    TCase *tcase = tcase_create("finetune");
    tcase_add_checked_fixture(tcase, setup, files_teardown);
    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, runs_resume_exactly, 0, 3);
    tcase_add_loop_test(tcase, results_know_their_task, 0, 3);
    tcase_add_loop_test(tcase, bad_settings_are_refused, 0, (int)(sizeof BAD / sizeof *BAD));
    tcase_add_test(tcase, names_are_kept_and_compared);
    tcase_add_test(tcase, images_without_a_label_are_named);
    tcase_add_test(tcase, a_validation_without_auc_is_told);
    tcase_add_test(tcase, classes_are_weighed);
    tcase_add_test(tcase, balanced_weights_are_as_said);
    tcase_add_test(tcase, labels_are_mixed);
    tcase_add_test(tcase, images_are_mixed);
    tcase_add_test(tcase, shares_are_beta);
    tcase_add_test(tcase, milestones_lower_the_rate);
    tcase_add_test(tcase, runs_end_early);
    tcase_add_test(tcase, the_baseline_has_the_same_network);
    tcase_add_test(tcase, a_frozen_transformer_stays);
    suite_add_tcase(suite, tcase);
    return suite;
}
