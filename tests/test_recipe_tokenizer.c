/* SPDX-License-Identifier: Apache-2.0 */
/* Training of tokenizers with every term: the loss by finite differences, the prior of a divided batch, the discriminator behind its gate. */
#include "lib/base/config.h"
#include "lib/train/adversary.h"
#include "lib/train/ssim.h"
#include "lib/train/tally.h"
#include "tests/image_files.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

Suite *suite_recipe_tokenizer(void);

#define CHECK_NEAR(got, expected, bound)                                                           \
    ck_assert_msg(fabs((got) - (expected)) <= (bound), #got " is %.12g, not %.12g", (double)(got), \
                  (double)(expected))

/* ------------------------------------------------------------------------------------------- data */

/* Four pictures, one of them alone, and one volume that is cut into more tokens than a picture. */
static void setup(void)
{
    uint8_t rows[20 * 20];
    float voxels[24 * 24 * 12];
    files_setup();
    files_folder("flat");
    files_folder("mixed");
    for (int n = 0; n < 4; n++) {
        char name[32];
        for (int i = 0; i < 400; i++)
            rows[i] = (uint8_t)((i % 20 * (3 * n + 2) + i / 20 * 7) % 200);
        snprintf(name, sizeof name, "flat/%d.png", n);
        png_write(name, 20, 20, 8, 0, false, rows);
        if (n < 2) {
            snprintf(name, sizeof name, "mixed/%d.png", n);
            png_write(name, 20, 20, 8, 0, false, rows);
        }
    }
    png_write("exact.png", 16, 16, 8, 0, false, rows); /* a crop is all of it */
    for (int i = 0; i < 24 * 24 * 12; i++) voxels[i] = (float)(i * 5 % 251) + (float)(i % 24);
    nifti_file file = nifti_plain(16, 32, 24, 24, 12);
    file.pixdim[3] = 2.5;
    nifti_write("mixed/thick.nii", &file, voxels, 24 * 24 * 12, 4);
}

static void write_lpips(void)
{
    pumit_config *config;
    pumit_lpips *lpips;
    CHECK_OK(pumit_config_parse(&config, "{\"channels\": [2, 3, 3, 2, 2], \"seed\": 4}"));
    CHECK_OK(pumit_lpips_create(&lpips, files_context, config));
    CHECK_OK(pumit_module_save(pumit_lpips_module(lpips), files_path("lpips.safetensors"), NULL));
    pumit_lpips_release(lpips);
    pumit_config_release(config);
}

/* ------------------------------------------------------------------------------------------- runs */

static const char BASE[] =
    "{\"recipe\": \"tokenizer\", \"train\": {\"steps\": 6, \"batch\": 2, \"tokens\": [2, 2, 2],"
    " \"warmup\": 1, \"seed\": 3, \"validate_every\": 3, \"validate_batches\": 2, \"augment\": "
    "false,"
    " \"events\": false},"
    " \"tokenizer\": {\"channels\": [8, 8], \"codes\": 8, \"code_dim\": 8},"
    " \"discriminator\": {\"channels\": [16], \"post_convs\": 0}}";

/* Every term; the gate opens after the first loss. */
static const char FULL[] =
    "{\"train\": {\"gan_weight\": 0.01, \"gan_threshold\": 9, \"perceptual_slices\": 3,"
    " \"accumulate\": 2}}";

typedef struct {
    pumit_context *ctx;
    pumit_dataset *data;
    pumit_config *config;
    pumit_trainer *t;
} run;

static void merge(pumit_config *config, const char *json)
{
    pumit_config *more;
    CHECK_OK(pumit_config_parse(&more, json));
    CHECK_OK(pumit_config_merge(config, more));
    pumit_config_release(more);
}

static run run_open(const char *device, const char *set, const char *output, const char *json)
{
    run r = {0};
    const char *path = files_path(set);
    pumit_config *options;
    CHECK_OK(pumit_config_parse(&options, "{\"threads\": 1}"));
    CHECK_OK(pumit_config_set_string(options, "device", device));
    CHECK_OK(pumit_context_create(&r.ctx, options));
    pumit_config_release(options);
    CHECK_OK(pumit_dataset_open(&r.data, r.ctx, 1, &path, NULL));
    CHECK_OK(pumit_config_parse(&r.config, BASE));
    CHECK_OK(pumit_config_set_string(r.config, "output", files_path(output)));
    if (json) merge(r.config, json);
    return r;
}

static void add_full(run *r)
{
    write_lpips();
    merge(r->config, FULL);
    CHECK_OK(pumit_config_set_string(r->config, "train.lpips", files_path("lpips.safetensors")));
}

static pumit_status run_create(run *r)
{
    return pumit_trainer_create(&r->t, r->ctx, r->data, NULL, r->config);
}

static void run_close(run *r)
{
    pumit_trainer_release(r->t);
    pumit_config_release(r->config);
    pumit_dataset_release(r->data);
    pumit_context_release(r->ctx);
}

static double figure_of(const cJSON *line, const char *name)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(line, name);
    return cJSON_IsNumber(item) ? item->valuedouble : NAN;
}

/* The lines of a run's metrics.jsonl as an array. */
static cJSON *metrics_of(const char *output)
{
    char name[64];
    size_t bytes;
    snprintf(name, sizeof name, "%s/metrics.jsonl", output);
    char *text = (char *)files_read(name, &bytes), *rest = NULL;
    text[bytes] = '\0'; /* there is room for it */
    cJSON *lines = cJSON_CreateArray();
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
        cJSON_AddItemToArray(lines, cJSON_Parse(line));
    free(text);
    return lines;
}

static void check_finite(const cJSON *line, const char *const *names)
{
    for (; *names; names++)
        ck_assert_msg(isfinite(figure_of(line, *names)), "%s is missing", *names);
}

/* ---------------------------------------------------------------------------- every mode, both models */

static const char *const MODELS[] = {"{\"tokenizer\": {\"model\": \"simple\"}}",
                                     "{\"tokenizer\": {\"model\": \"vqvae\", \"channels\": [32, "
                                     "32], \"res_blocks\": 1, \"z_channels\": 4},"
                                     " \"train\": {\"tokens\": [4, 4, 4]}}"};
static const char *const MODES[] = {"soft", "gumbel", "nearest"};

static void check_combination(const char *model, const char *mode)
{
    static const char *const STEP[] = {"loss",
                                       "l1",
                                       "prior",
                                       "entropy",
                                       "perceptual",
                                       "discriminator",
                                       "gate",
                                       "gate_ema",
                                       "psnr",
                                       "ssim",
                                       "perplexity",
                                       "codes_used",
                                       "da",
                                       "grad_norm",
                                       "learning_rate",
                                       "grad_norm_discriminator",
                                       "learning_rate_discriminator",
                                       NULL};
    static const char *const JUDGED[] = {"psnr",       "ssim",  "l1",      "perplexity",
                                         "codes_used", "codes", "entropy", NULL};
    run r = run_open("cpu", "mixed", "run", model);
    add_full(&r);
    CHECK_OK(pumit_config_set_string(r.config, "tokenizer.mode", mode));
    CHECK_OK(run_create(&r));
    CHECK_OK(pumit_trainer_run(r.t));
    run_close(&r);
    cJSON *lines = metrics_of("run");
    ck_assert_int_eq(cJSON_GetArraySize(lines), 6);
    for (int i = 0; i < 6; i++) {
        const cJSON *line = cJSON_GetArrayItem(lines, i);
        check_finite(line, STEP);
        ck_assert(isfinite(figure_of(line, "temperature")) == (strcmp(mode, "gumbel") == 0));
        ck_assert(figure_of(line, "gate") == (i > 0));
        ck_assert(isfinite(figure_of(line, "generator")) == (i > 0));
        const double perplexity = figure_of(line, "perplexity"),
                     used = figure_of(line, "codes_used");
        ck_assert(perplexity >= 1 && perplexity <= 8.001 && used >= 1 && used <= 8);
        /* The loss is the sum of its terms; the prior is that of the whole step. */
        const double generator = i > 0 ? 0.01 * figure_of(line, "generator") : 0;
        CHECK_NEAR(figure_of(line, "loss"),
                   figure_of(line, "l1") + figure_of(line, "prior") +
                       0.2 * figure_of(line, "entropy") + figure_of(line, "perceptual") + generator,
                   1e-5);
        if (strcmp(mode, "nearest") != 0)
            CHECK_NEAR(perplexity, exp(-figure_of(line, "prior")), 1e-4);
    }
    check_finite(cJSON_GetObjectItemCaseSensitive(cJSON_GetArrayItem(lines, 5), "validation"),
                 JUDGED);
    cJSON_Delete(lines);
}

START_TEST(every_mode_and_model)
{
    check_combination(MODELS[_i / 3], MODES[_i % 3]);
}
END_TEST

/* The same crops again and again: all terms together still let the error fall. */
START_TEST(one_batch_is_learnt)
{
    run r = run_open("cpu", "flat/0.png", "run", MODELS[_i / 3]);
    add_full(&r);
    CHECK_OK(pumit_config_set_string(r.config, "tokenizer.mode", MODES[_i % 3]));
    CHECK_OK(pumit_config_set_int(r.config, "train.steps", 40));
    CHECK_OK(pumit_config_set_int(r.config, "train.accumulate", 1));
    CHECK_OK(pumit_config_set_double(r.config, "train.learning_rate", 3e-3));
    CHECK_OK(run_create(&r));
    CHECK_OK(pumit_trainer_run(r.t));
    run_close(&r);
    cJSON *lines = metrics_of("run");
    const double first = figure_of(cJSON_GetArrayItem(lines, 0), "l1"),
                 last = figure_of(cJSON_GetArrayItem(lines, 39), "l1");
    ck_assert_msg(last < 0.7 * first, "l1 %g to %g", first, last);
    cJSON_Delete(lines);
}
END_TEST

/* ----------------------------------------------------------------------------------------- resuming */

static int32_t stop_at(void *user, int64_t step, int64_t max_steps, const char *metrics)
{
    (void)max_steps;
    (void)metrics;
    return step == *(const int64_t *)user;
}

static void run_part(const char *output, int64_t stop, bool resume)
{
    run r = run_open("cpu", "mixed", output, "{\"tokenizer\": {\"mode\": \"gumbel\"}}");
    add_full(&r);
    CHECK_OK(pumit_config_set_bool(r.config, "resume", resume));
    CHECK_OK(run_create(&r));
    pumit_trainer_set_progress(r.t, stop_at, &stop);
    ck_assert_msg(pumit_trainer_run(r.t) == (stop > 0 ? PUMIT_ERROR_CANCELLED : PUMIT_OK), "%s",
                  pumit_last_error());
    run_close(&r);
}

/* The gate is closed in step 1 and open after it: its state, and the discriminator's, come back. */
START_TEST(resumes_exactly)
{
    static const char *const FIGURES[] = {"loss",     "generator",  "discriminator", "gate",
                                          "gate_ema", "perceptual", "perplexity",    "ssim"};
    run_part("whole", 0, false);
    run_part("broken", _i, false);
    run_part("broken", 0, true);
    cJSON *a = metrics_of("whole"), *b = metrics_of("broken");
    ck_assert_int_eq(cJSON_GetArraySize(a), 6);
    ck_assert_int_eq(cJSON_GetArraySize(b), 6);
    for (int i = 0; i < 6; i++)
        for (int64_t f = 0; f < PUMIT__COUNT(FIGURES); f++) {
            const double x = figure_of(cJSON_GetArrayItem(a, i), FIGURES[f]),
                         y = figure_of(cJSON_GetArrayItem(b, i), FIGURES[f]);
            ck_assert_msg(x == y || (isnan(x) && isnan(y)), "%s of step %d: %.17g and %.17g",
                          FIGURES[f], i + 1, x, y);
        }
    cJSON_Delete(a);
    cJSON_Delete(b);
}
END_TEST

/* A run that began without a discriminator goes on without one; one that had one may do without. */
START_TEST(discriminators_do_not_join)
{
    for (int i = 0; i < 2; i++) {
        run r = run_open("cpu", "flat", i ? "with" : "without", i ? FULL : NULL);
        CHECK_OK(run_create(&r));
        CHECK_OK(pumit_trainer_run(r.t));
        pumit_trainer_release(r.t);
        CHECK_OK(pumit_config_set_bool(r.config, "resume", 1));
        CHECK_OK(pumit_config_set_double(r.config, "train.gan_weight", i ? 0 : 0.01));
        if (i)
            CHECK_OK(run_create(&r));
        else
            files_check_failed(run_create(&r), PUMIT_ERROR_STATE, "without/checkpoints",
                               "no discriminator");
        run_close(&r);
    }
}
END_TEST

/* ------------------------------------------------------------------------------------------- the gate */

START_TEST(gate_and_start)
{
    run r = run_open("cpu", "flat", "run", NULL);
    add_full(&r);
    CHECK_OK(pumit_config_set_int(r.config, "train.gan_start", 2));
    CHECK_OK(pumit_config_set_double(r.config, "train.discriminator_learning_rate", 4e-3));
    CHECK_OK(run_create(&r));
    CHECK_OK(pumit_trainer_run(r.t));
    run_close(&r);
    cJSON *lines = metrics_of("run");
    double average = 0.1;
    for (int i = 0; i < 6; i++) {
        const cJSON *line = cJSON_GetArrayItem(lines, i);
        const double loss = figure_of(line, "discriminator");
        ck_assert(isfinite(loss) == (i >= 2));
        ck_assert(figure_of(line, "gate") == (i >= 3));
        if (i >= 2) {
            average = average * 0.9 + loss * 0.1;
            CHECK_NEAR(figure_of(line, "learning_rate_discriminator"),
                       4 * figure_of(line, "learning_rate"), 1e-12);
        }
        CHECK_NEAR(figure_of(line, "gate_ema"), average, 1e-12);
    }
    cJSON_Delete(lines);
}
END_TEST

/* What the generator's term leaves in the discriminator is no part of its own gradient: nothing moves, so all norms are alike. */
START_TEST(gradients_of_the_generator_are_forgotten)
{
    run r = run_open("cpu", "exact.png", "run", NULL);
    add_full(&r);
    CHECK_OK(pumit_config_set_double(r.config, "train.learning_rate", 0));
    CHECK_OK(pumit_config_set_double(r.config, "train.gan_weight", 100));
    CHECK_OK(run_create(&r));
    CHECK_OK(pumit_trainer_run(r.t));
    run_close(&r);
    cJSON *lines = metrics_of("run");
    const cJSON *shut = cJSON_GetArrayItem(lines, 0), *open = cJSON_GetArrayItem(lines, 1);
    const double norm = figure_of(shut, "grad_norm_discriminator");
    ck_assert(figure_of(shut, "gate") == 0 && figure_of(open, "gate") == 1 && norm > 0);
    ck_assert(figure_of(open, "grad_norm_discriminator") == norm);
    ck_assert(figure_of(open, "grad_norm") != figure_of(shut, "grad_norm"));
    cJSON_Delete(lines);
}
END_TEST

/* A discriminator that is not finite does not move, closes the gate, and ends the run when it stays so. */
START_TEST(broken_discriminators_are_told)
{
    run r = run_open("cpu", "flat", "run", NULL);
    pumit_tensor *weight;
    add_full(&r);
    CHECK_OK(pumit_config_set_int(r.config, "train.steps", 30));
    CHECK_OK(run_create(&r));
    weight = pumit_module_parameter(pumit_discriminator_module(r.t->discriminator), 0);
    double *values = calloc((size_t)pumit_tensor_count(weight), sizeof *values);
    values[0] = NAN;
    CHECK_OK(pumit_tensor_write(weight, PUMIT_F64, values, pumit_tensor_count(weight) * 8));
    free(values);
    ck_assert_int_eq(pumit_trainer_run(r.t), PUMIT_ERROR_STATE);
    ck_assert_ptr_nonnull(strstr(pumit_last_error(), "discriminator_learning_rate"));
    ck_assert(isinf(r.t->numbers[1]) && !pumit__adversary_is_open(r.t));
    run_close(&r);
}
END_TEST

/* -------------------------------------------------------------------------- the prior of a divided batch */

static double *gradients_of(const pumit_module *module, int64_t *count)
{
    int64_t n = 0, at = 0;
    for (int64_t i = 0; i < pumit_module_parameter_count(module); i++)
        n += pumit_tensor_count(pumit_module_parameter(module, i));
    double *all = calloc((size_t)n, sizeof *all);
    for (int64_t i = 0; i < pumit_module_parameter_count(module); i++) {
        pumit_tensor *const p = pumit_module_parameter(module, i), *grad;
        if (pumit_tensor_grad(&grad, p) == PUMIT_OK) {
            CHECK_OK(pumit_tensor_read(grad, PUMIT_F64, all + at, pumit_tensor_count(p) * 8));
            pumit_tensor_release(grad);
        }
        at += pumit_tensor_count(p);
    }
    *count = n;
    return all;
}

/* Takes both. Relative to the longest element of the expected ones. */
static void check_gradients(double *got, double *expected, int64_t count, double bound)
{
    double most = 0, worst = 0;
    for (int64_t i = 0; i < count; i++) {
        most = fmax(most, fabs(expected[i]));
        worst = fmax(worst, fabs(got[i] - expected[i]));
    }
    ck_assert_msg(most > 0 && worst <= bound * most, "off by %g of %g", worst, most);
    free(got);
    free(expected);
}

/* Loss and gradients of a step as the recipe gathers them, divided by the number of micro-batches. */
static double *recipe_gradients(double *loss, pumit__figures *terms, int64_t *count, run *r)
{
    const int64_t parts = r->t->options.accumulate;
    *loss = 0;
    for (int64_t i = 0; i < parts; i++) {
        pumit_tensor *tensor;
        double value;
        CHECK_OK(pumit__recipe_tokenizer.loss(&tensor, terms, r->t, i));
        CHECK_OK(pumit_tensor_item(&value, tensor));
        CHECK_OK(pumit_tensor_backward(tensor));
        pumit_tensor_release(tensor);
        *loss += value / (double)parts;
    }
    double *all = gradients_of(r->t->model, count);
    for (int64_t i = 0; i < *count; i++) all[i] /= (double)parts;
    pumit_module_zero_grad(r->t->model);
    return all;
}

static pumit_tensor *crops_of(run *r, int64_t draw, int32_t *da)
{
    pumit_tensor *crops;
    double spacing[3];
    CHECK_OK(pumit__sampler_batch(&crops, spacing, NULL, r->t->sampler, draw));
    CHECK_OK(pumit_degree_of_anisotropy(da, spacing));
    return pumit__scope_adopt(r->ctx, crops);
}

/* (n, codes) */
static pumit_tensor *flat_tokens(run *r, pumit_tensor *crops, int32_t da)
{
    pumit_tokenizer *const t = r->t->tokenizer;
    const int64_t codes = pumit_tokenizer_codes(t);
    pumit_tensor *tokens = pumit__softmax(pumit__tokenizer_logits(
        t, pumit__tokenizer_features(t, pumit__tokenizer_input(t, crops, da), da).x));
    ck_assert_ptr_nonnull(tokens);
    const int64_t shape[2] = {pumit_tensor_count(tokens) / codes, codes};
    return pumit__reshape(tokens, 2, shape);
}

/* The loss written out: means over micro-batches of L1 and entropy, and sum m ln m of the mean m of all tokens; the scope's. */
static pumit_tensor *whole_loss(run *r, bool *differ)
{
    const int64_t parts = r->t->options.accumulate;
    const pumit__tokenizer_goal goal = {.entropy_weight = 0.2};
    pumit_tensor *sum = NULL, *tokens = NULL;
    int64_t first = 0;
    for (int64_t i = 0; i < parts; i++) {
        int32_t da;
        pumit_tensor *crops = crops_of(r, i, &da);
        pumit_tensor *loss = pumit__tokenizer_loss(
            NULL, r->t->tokenizer, pumit__tokenizer_input(r->t->tokenizer, crops, da), da, &goal);
        pumit_tensor *flat = flat_tokens(r, crops, da);
        loss = pumit__affine(loss, 1.0 / (double)parts, 0);
        sum = sum ? pumit__add(sum, loss) : loss;
        tokens = tokens ? pumit__concat(tokens, flat, 0) : flat;
        if (i == 0) first = flat->shape[0];
        *differ = *differ || flat->shape[0] != first;
    }
    pumit_tensor *mean = pumit__sum(tokens, 1, 1.0 / (double)tokens->shape[0]);
    return pumit__add(sum, pumit__sum(pumit__xlogx(mean), 1, 1));
}

static const struct {
    const char *device;
    double bound;
} DEVICES[] = {{"cpu", 1e-5}, {"reference64", 1e-12}};

/* Micro-batches of different numbers of tokens: the prior counts tokens, not micro-batches. */
START_TEST(prior_of_all_tokens)
{
    double loss, expected;
    int64_t count;
    bool differ = false;
    pumit__figures terms = {0};
    run r = run_open(DEVICES[_i].device, "mixed", "run",
                     "{\"train\": {\"accumulate\": 5, \"balance\": 1}}");
    CHECK_OK(run_create(&r));
    double *got = recipe_gradients(&loss, &terms, &count, &r);
    const int64_t mark = pumit__scope_begin(r.ctx);
    pumit_context_set_recording(r.ctx, 1);
    pumit_tensor *whole = whole_loss(&r, &differ);
    CHECK_OK(pumit_tensor_item(&expected, whole));
    CHECK_OK(pumit_tensor_backward(whole));
    pumit_context_set_recording(r.ctx, 0);
    pumit__scope_end(r.ctx, mark, NULL);
    ck_assert(differ);
    CHECK_NEAR(loss, expected, DEVICES[_i].bound * fabs(expected));
    check_gradients(got, gradients_of(r.t->model, &count), count, DEVICES[_i].bound);
    run_close(&r);
}
END_TEST

/* Two micro-batches of two images are one batch of four. */
START_TEST(divided_batches_are_whole)
{
    double loss, expected, term[PUMIT_TERM_COUNT];
    int64_t count;
    int32_t da;
    pumit__figures terms = {0};
    pumit_tensor *whole;
    run r = run_open(DEVICES[_i].device, "flat", "run", "{\"train\": {\"accumulate\": 2}}");
    CHECK_OK(run_create(&r));
    double *got = recipe_gradients(&loss, &terms, &count, &r);
    const int64_t mark = pumit__scope_begin(r.ctx);
    pumit_tensor *crops = pumit__concat(crops_of(&r, 0, &da), crops_of(&r, 1, &da), 0);
    CHECK_OK(pumit_tokenizer_loss(&whole, term, r.t->tokenizer, crops,
                                  (const double[3]){INFINITY, 1, 1}, 1, 0.2));
    pumit__scope_end(r.ctx, mark, NULL);
    CHECK_OK(pumit_tensor_item(&expected, whole));
    CHECK_OK(pumit_tensor_backward(whole));
    pumit_tensor_release(whole);
    CHECK_NEAR(loss, expected, DEVICES[_i].bound * fabs(expected));
    CHECK_NEAR(pumit__figures_get(&terms, "prior"), term[PUMIT_TERM_PRIOR],
               DEVICES[_i].bound * fabs(term[PUMIT_TERM_PRIOR]));
    CHECK_NEAR(pumit__figures_get(&terms, "l1"), term[PUMIT_TERM_L1],
               DEVICES[_i].bound * term[PUMIT_TERM_L1]);
    check_gradients(got, gradients_of(r.t->model, &count), count, DEVICES[_i].bound);
    run_close(&r);
}
END_TEST

/* Looking ahead for the mean token draws nothing: samples are those of losses taken one by one. */
START_TEST(looking_ahead_draws_nothing)
{
    double l1 = 0;
    pumit__figures terms = {0};
    run r = run_open("cpu", "flat", "run",
                     "{\"train\": {\"accumulate\": 2}, \"tokenizer\": {\"mode\": \"gumbel\"}}");
    CHECK_OK(run_create(&r));
    for (int64_t i = 0; i < 2; i++) {
        pumit_tensor *tensor;
        CHECK_OK(pumit__recipe_tokenizer.loss(&tensor, &terms, r.t, i));
        pumit_tensor_release(tensor);
    }
    CHECK_OK(pumit_tokenizer_set_step(r.t->tokenizer, 0, 6));
    for (int64_t i = 0; i < 2; i++) {
        pumit_tensor *tensor, *crops;
        double spacing[3], term[PUMIT_TERM_COUNT];
        CHECK_OK(pumit__sampler_batch(&crops, spacing, NULL, r.t->sampler, i));
        CHECK_OK(pumit_tokenizer_loss(&tensor, term, r.t->tokenizer, crops, spacing, 1, 0.2));
        l1 += term[PUMIT_TERM_L1] / 2;
        pumit_tensor_release(tensor);
        pumit_tensor_release(crops);
    }
    ck_assert(pumit__figures_get(&terms, "l1") == l1);
    run_close(&r);
}
END_TEST

/* ------------------------------------------------------------------------------ the loss as a function */

typedef struct {
    pumit_context *ctx;
    pumit_tokenizer *tokenizer;
    pumit_lpips *lpips;
    pumit_discriminator *discriminator;
    pumit_tensor *image, *log_mean;
} bench;

static pumit_config *parse(const char *json)
{
    pumit_config *config;
    CHECK_OK(pumit_config_parse(&config, json));
    return config;
}

static pumit_tensor *random_tensor(pumit_context *ctx, int32_t ndim, const int64_t *shape,
                                   double shift)
{
    pumit_tensor *x;
    CHECK_OK(pumit_tensor_create(&x, ctx, PUMIT_F64, ndim, shape));
    const int64_t n = pumit_tensor_count(x);
    double *values = calloc((size_t)n, sizeof *values);
    for (int64_t i = 0; i < n; i++)
        values[i] = pumit__random_uniform(7, (uint64_t)ndim, (uint64_t)i) + shift;
    CHECK_OK(pumit_tensor_write(x, PUMIT_F64, values, n * 8));
    free(values);
    return x;
}

static bench bench_open(const char *tokenizer)
{
    static const int64_t shape[5] = {2, 3, 16, 16, 3}, codes = 8;
    bench b;
    pumit_config *config = parse("{\"device\": \"reference64\", \"threads\": 1}");
    CHECK_OK(pumit_context_create(&b.ctx, config));
    pumit_config_release(config);
    config = parse(tokenizer);
    CHECK_OK(pumit_tokenizer_create(&b.tokenizer, b.ctx, config));
    pumit_config_release(config);
    config = parse("{\"channels\": [2, 3, 3, 2, 2], \"seed\": 4}");
    CHECK_OK(pumit_lpips_create(&b.lpips, b.ctx, config));
    pumit_config_release(config);
    config = parse("{\"channels\": [16], \"seed\": 5}");
    CHECK_OK(pumit_discriminator_create(&b.discriminator, b.ctx, config));
    pumit_config_release(config);
    b.image = random_tensor(b.ctx, 5, shape, 0);
    b.log_mean = random_tensor(b.ctx, 1, &codes, -3);
    return b;
}

static void bench_close(bench *b)
{
    pumit_tensor_release(b->image);
    pumit_tensor_release(b->log_mean);
    pumit_lpips_release(b->lpips);
    pumit_discriminator_release(b->discriminator);
    pumit_tokenizer_release(b->tokenizer);
    pumit_context_release(b->ctx);
}

static pumit_tensor *loss_of(bench *b)
{
    const pumit__tokenizer_goal goal = {.quant_weight = 0.7,
                                        .entropy_weight = 0.3,
                                        .log_mean = b->log_mean,
                                        .lpips = b->lpips,
                                        .perceptual_weight = 0.9,
                                        .perceptual_slices = 4,
                                        .seed = 1,
                                        .stream = 2,
                                        .discriminator = b->discriminator,
                                        .gan_weight = 0.5};
    pumit__tokenizer_outcome outcome;
    pumit_tensor *loss;
    double value;
    CHECK_OK(pumit_tokenizer_set_step(b->tokenizer, 3, 10));
    CHECK_OK(pumit__tokenizer_train(&loss, &outcome, b->tokenizer, b->image, 2, &goal));
    CHECK_OK(pumit_tensor_item(&value, loss));
    CHECK_NEAR(value,
               outcome.term[PUMIT_TERM_L1] + 0.7 * outcome.term[PUMIT_TERM_PRIOR] +
                   0.3 * outcome.term[PUMIT_TERM_ENTROPY] + 0.9 * outcome.perceptual +
                   0.5 * outcome.generator,
               1e-12);
    ck_assert(outcome.perceptual > 0 && outcome.generator != 0);
    pumit__tokenizer_outcome_release(&outcome);
    return loss;
}

/* Moves all parameters along a fixed random direction; gives the direction's product with `gradient`, which may be NULL. */
static double move(pumit_module *module, double by, const double *gradient)
{
    double product = 0;
    int64_t at = 0;
    for (int64_t i = 0; i < pumit_module_parameter_count(module); i++) {
        pumit_tensor *const p = pumit_module_parameter(module, i);
        const int64_t n = pumit_tensor_count(p);
        double *values = calloc((size_t)n, sizeof *values);
        CHECK_OK(pumit_tensor_read(p, PUMIT_F64, values, n * 8));
        for (int64_t k = 0; k < n; k++, at++) {
            const double direction = pumit__random_normal(11, 12, (uint64_t)at);
            values[k] += by * direction;
            if (gradient) product += direction * gradient[at];
        }
        CHECK_OK(pumit_tensor_write(p, PUMIT_F64, values, n * 8));
        pumit_tensor_touch(p);
        free(values);
    }
    return product;
}

/* The slope of all terms together along a random direction, by central differences. */
START_TEST(gradient_of_every_term)
{
    static const char *const TOKENIZERS[] = {
        "{\"channels\": [8, 8], \"codes\": 8, \"code_dim\": 8, \"start_stride\": 2, \"seed\": 3}",
        "{\"model\": \"vqvae\", \"mode\": \"gumbel\", \"channels\": [32, 32], \"codes\": 8, "
        "\"code_dim\": 8, \"res_blocks\": 1, \"z_channels\": 4, \"seed\": 3}"};
    const double h = 1e-8; /* the direction is long, and kinks lie close */
    double around[2];
    int64_t count;
    bench b = bench_open(TOKENIZERS[_i]);
    pumit_module *const module = pumit_tokenizer_module(b.tokenizer);
    pumit_tensor *loss = loss_of(&b);
    CHECK_OK(pumit_tensor_backward(loss));
    pumit_tensor_release(loss);
    double *gradient = gradients_of(module, &count);
    const double slope = move(module, h, gradient);
    for (int side = 0; side < 2; side++) {
        loss = loss_of(&b);
        CHECK_OK(pumit_tensor_item(&around[side], loss));
        pumit_tensor_release(loss);
        move(module, -2 * h, NULL);
    }
    CHECK_NEAR((around[0] - around[1]) / (2 * h), slope, 1e-4 * fabs(slope));
    ck_assert(fabs(slope) > 1e-3);
    free(gradient);
    bench_close(&b);
}
END_TEST

/* -------------------------------------------------------------------------------------------- figures */

/* As skimage.metrics.structural_similarity(a, b, data_range=1) of the channels' mean gives. */
START_TEST(similarity_of_pictures)
{
    static const struct {
        int64_t H, W, C;
        double expected;
    } CASES[] = {{7, 7, 1, 0.8964278412720236},
                 {9, 11, 1, 0.8732275603996325},
                 {16, 13, 3, 0.8499169976362712},
                 {6, 20, 1, NAN}};
    for (int64_t k = 0; k < PUMIT__COUNT(CASES); k++) {
        float a[16 * 13 * 3], b[16 * 13 * 3];
        const int64_t H = CASES[k].H, W = CASES[k].W, C = CASES[k].C;
        double got;
        for (int64_t i = 0; i < H * W * C; i++) {
            const int64_t h = i / C / W, w = i / C % W, c = i % C;
            const double x = (double)((h * 37 + w * 91 + c * 53) % 101) / 100;
            a[i] = (float)x;
            b[i] = (float)(0.7 * x + 0.3 * (double)((h * 17 + w * 29 + c * 11) % 97) / 96);
        }
        CHECK_OK(pumit__ssim(&got, a, b, H, W, C));
        if (isnan(CASES[k].expected)) {
            ck_assert(isnan(got));
            continue;
        }
        CHECK_NEAR(got, CASES[k].expected, 1e-9);
        CHECK_OK(pumit__ssim(&got, a, a, H, W, C));
        CHECK_NEAR(got, 1, 1e-12);
    }
}
END_TEST

/* Three tokens over four codes, by hand. */
START_TEST(figures_of_tokens)
{
    static const double values[3][4] = {{0.5, 0.5, 0, 0}, {0.25, 0.75, 0, 0}, {0, 1, 0, 0}};
    static const int64_t shape[5] = {1, 1, 1, 3, 4};
    pumit_tensor *tokens;
    pumit__tally tally;
    CHECK_OK(pumit_tensor_create(&tokens, files_context, PUMIT_F32, 5, shape));
    CHECK_OK(pumit_tensor_write(tokens, PUMIT_F64, values, sizeof values));
    CHECK_OK(pumit__tally_create(&tally, 4));
    for (int i = 0; i < 2; i++) { /* cleared, it counts anew */
        CHECK_OK(pumit__tally_tokens(&tally, tokens, true));
        CHECK_NEAR(pumit__tally_perplexity(&tally), exp(-0.25 * log(0.25) - 0.75 * log(0.75)),
                   1e-7);
        ck_assert(pumit__tally_used(&tally) == 2);
        CHECK_NEAR(tally.entropy, log(2) - 0.25 * log(0.25) - 0.75 * log(0.75), 1e-7);
        pumit__tally_clear(&tally);
    }
    pumit__tally_free(&tally);
    pumit_tensor_release(tokens);
}
END_TEST

/* ------------------------------------------------------------------------------------- what is refused */

START_TEST(what_does_not_fit_is_told)
{
    static const struct {
        const char *json, *part, *remedy;
        bool lpips;
    } CASES[] = {
        {"{\"train\": {\"tokens\": [1, 1, 2]}}", "perceptual term needs 16", "train.lpips", true},
        {"{\"train\": {\"tokens\": [1, 2, 2], \"gan_weight\": 1}, \"discriminator\": "
         "{\"channels\": "
         "[16, 16, 16, 16]}}",
         "discriminator needs 32", "train.gan_weight", false},
        {"{\"train\": {\"gan_weight\": 1}, \"discriminator\": {\"in_channels\": 7}}",
         "discriminator.in_channels", "leave", false},
        {"{\"tokenizer\": {\"in_channels\": 2}}", "train.lpips", "leave", true},
        {"{\"train\": {\"gan_weight\": -1}}", "train.gan_weight", "between", false},
        {"{\"train\": {\"lpips\": 3}}", "train.lpips", "", false},
        {"{\"train\": {\"lpips\": \"/nowhere/at.all\"}}", "train.lpips", "/nowhere/at.all", false}};
    write_lpips();
    for (int64_t i = 0; i < PUMIT__COUNT(CASES); i++) {
        run r = run_open("cpu", "flat", "run", CASES[i].json);
        if (CASES[i].lpips)
            CHECK_OK(
                pumit_config_set_string(r.config, "train.lpips", files_path("lpips.safetensors")));
        ck_assert_int_ne(run_create(&r), PUMIT_OK);
        ck_assert_msg(strstr(pumit_last_error(), CASES[i].part) &&
                          strstr(pumit_last_error(), CASES[i].remedy),
                      "%s", pumit_last_error());
        run_close(&r);
    }
}
END_TEST

static int told;

static void count_told(void *user, int32_t level, const char *message)
{
    (void)user;
    (void)level;
    told += strstr(message, "train.lpips") != NULL;
}

START_TEST(an_absent_term_is_told_once)
{
    run r = run_open("cpu", "flat", "run", NULL);
    told = 0;
    pumit_context_set_log(r.ctx, count_told, NULL);
    CHECK_OK(run_create(&r));
    CHECK_OK(pumit_trainer_run(r.t));
    ck_assert_int_eq(told, 1);
    run_close(&r);
}
END_TEST

Suite *suite_recipe_tokenizer(void)
{
    Suite *suite = suite_create("recipe_tokenizer");
    TCase *tcase = tcase_create("recipe_tokenizer");
    tcase_add_checked_fixture(tcase, setup, files_teardown);
    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, every_mode_and_model, 0, 6);
    tcase_add_loop_test(tcase, one_batch_is_learnt, 0, 6);
    tcase_add_loop_test(tcase, resumes_exactly, 1, 3);
    tcase_add_test(tcase, discriminators_do_not_join);
    tcase_add_test(tcase, gate_and_start);
    tcase_add_test(tcase, gradients_of_the_generator_are_forgotten);
    tcase_add_test(tcase, broken_discriminators_are_told);
    tcase_add_loop_test(tcase, prior_of_all_tokens, 0, (int)PUMIT__COUNT(DEVICES));
    tcase_add_loop_test(tcase, divided_batches_are_whole, 0, (int)PUMIT__COUNT(DEVICES));
    tcase_add_test(tcase, looking_ahead_draws_nothing);
    tcase_add_loop_test(tcase, gradient_of_every_term, 0, 2);
    tcase_add_test(tcase, similarity_of_pictures);
    tcase_add_test(tcase, figures_of_tokens);
    tcase_add_test(tcase, what_does_not_fit_is_told);
    tcase_add_test(tcase, an_absent_term_is_told_once);
    suite_add_tcase(suite, tcase);
    return suite;
}
