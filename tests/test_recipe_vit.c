/* SPDX-License-Identifier: Apache-2.0 */
/* Training of the transformer: blocks computed again in backward, what a loss tells beside its value, norms by block, starts from others. */
#include "lib/models/vit.h"
#include "lib/nn/optimizer.h"
#include "lib/tensor/safetensors.h"
#include "lib/train/trainer.h"
#include "tests/image_files.h"

#include <pumit/vit.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CODES 8

/* Slices four times as far apart as pixels: tokens are one slice deep. */
static const double SPACING[3] = {4, 1, 1};

typedef struct {
    pumit_context *ctx;
    pumit_tokenizer *tokenizer;
    pumit_vit *vit;
    pumit_module *module;
    pumit_tensor *image, *visible;
} scene;

static pumit_config *config_from(const char *json)
{
    pumit_config *config;
    CHECK_OK(pumit_config_parse(&config, json));
    return config;
}

static pumit_tensor *make_image(pumit_context *ctx, int64_t n, int64_t side)
{
    const int64_t shape[5] = {n, 3, side, side, 1};
    pumit_tensor *image;
    CHECK_OK(pumit_tensor_create(&image, ctx, PUMIT_F32, 5, shape));
    void *data;
    CHECK_OK(pumit_tensor_data(&data, image));
    for (int64_t i = 0; i < pumit_tensor_count(image); i++)
        ((float *)data)[i] = (float)pumit__random_uniform(7, 1, (uint64_t)i);
    return image;
}

static scene open_scene(const char *device, const char *layers, int64_t side)
{
    scene s;
    char text[256];
    snprintf(text, sizeof text, "{\"threads\": 1, \"device\": \"%s\"}", device);
    pumit_config *options = config_from(text);
    CHECK_OK(pumit_context_create(&s.ctx, options));
    pumit_config_release(options);
    options =
        config_from("{\"in_channels\": 1, \"start_stride\": 2, \"channels\": [8, 8], \"codes\": 8,"
                    " \"code_dim\": 8}");
    CHECK_OK(pumit_tokenizer_create(&s.tokenizer, s.ctx, options));
    pumit_config_release(options);
    snprintf(text, sizeof text,
             "{\"in_channels\": 1, \"patch\": [4, 4, 4], \"dim\": 16, \"depth\": 6, \"heads\": 2, "
             "\"hidden\": 24, \"pos_embed_shape\": [2, 2, 2], \"codes\": 8, \"mask_layers\": %s}",
             layers);
    options = config_from(text);
    CHECK_OK(pumit_vit_create(&s.vit, s.ctx, options));
    pumit_config_release(options);
    s.module = pumit_vit_module(s.vit);
    s.image = make_image(s.ctx, 2, side);
    const int64_t length = 3 * side / 4 * side / 4;
    CHECK_OK(pumit_vit_random_visible(&s.visible, s.ctx, 2, length, 0.5, 3));
    return s;
}

static void close_scene(scene *s)
{
    pumit_tensor_release(s->visible);
    pumit_tensor_release(s->image);
    pumit_vit_release(s->vit);
    pumit_tokenizer_release(s->tokenizer);
    pumit_context_release(s->ctx);
}

/* Loss of one backward pass; gradients gather. */
static double backward(scene *s, pumit__mim_terms *terms)
{
    pumit_tensor *loss;
    double value;
    CHECK_OK(pumit__vit_mim_loss_terms(&loss, terms, s->vit, s->tokenizer, 1, &s->image, SPACING,
                                       &s->visible));
    CHECK_OK(pumit_tensor_item(&value, loss));
    CHECK_OK(pumit_tensor_backward(loss));
    pumit_tensor_release(loss);
    return value;
}

/* ------------------------------------------------------------------------------------ computing again */

/* All gradients one behind the other; free() them. */
static float *all_gradients(const scene *s, int64_t *count)
{
    *count = pumit_module_element_count(s->module);
    float *all = calloc((size_t)*count, sizeof *all);
    ck_assert_ptr_nonnull(all);
    int64_t at = 0;
    for (int64_t i = 0; i < pumit_module_parameter_count(s->module); i++) {
        pumit_tensor *grad, *const parameter = pumit_module_parameter(s->module, i);
        const int64_t n = pumit_tensor_count(parameter);
        ck_assert_msg(pumit_tensor_grad(&grad, parameter) == PUMIT_OK, "%s: %s",
                      pumit_module_parameter_name(s->module, i), pumit_last_error());
        CHECK_OK(pumit_tensor_read(grad, PUMIT_F32, all + at, n * (int64_t)sizeof *all));
        pumit_tensor_release(grad);
        at += n;
    }
    return all;
}

static void check_recompute(const char *device, const char *layers)
{
    float *gradients[2];
    double losses[2][2];
    int64_t count = 0;
    for (int on = 0; on < 2; on++) {
        scene s = open_scene(device, layers, 8);
        pumit_vit_set_recompute(s.vit, on == 1);
        for (int i = 0; i < 2; i++) losses[on][i] = backward(&s, NULL); /* gradients gather */
        gradients[on] = all_gradients(&s, &count);
        close_scene(&s);
    }
    for (int i = 0; i < 2; i++) ck_assert_double_eq(losses[0][i], losses[1][i]);
    double norm = 0;
    for (int64_t i = 0; i < count; i++) {
        norm += (double)gradients[0][i] * gradients[0][i];
        ck_assert_msg(gradients[0][i] == gradients[1][i], "gradient %lld: %.9g and %.9g",
                      (long long)i, (double)gradients[0][i], (double)gradients[1][i]);
    }
    ck_assert(norm > 1e-4);
    free(gradients[0]);
    free(gradients[1]);
}

START_TEST(recomputing_changes_nothing)
{
    check_recompute("cpu", "[0, 1, 2, 3, 4, 5]");
    check_recompute("cpu", "[1, 4]");
    check_recompute("reference64", "[1, 4]");
}
END_TEST

static double loss_alone(const scene *s)
{
    pumit_tensor *loss;
    double value;
    CHECK_OK(pumit_vit_mim_loss(&loss, s->vit, s->tokenizer, s->image, SPACING, s->visible));
    CHECK_OK(pumit_tensor_item(&value, loss));
    pumit_tensor_release(loss);
    return value;
}

/* One element of each parameter against the loss a little to both sides. */
static void check_differences(const scene *s)
{
    static const double STEP = 1e-5;
    for (int64_t i = 0; i < pumit_module_parameter_count(s->module); i++) {
        pumit_tensor *grad, *const parameter = pumit_module_parameter(s->module, i);
        const int64_t k = (i * 7 + 3) % pumit_tensor_count(parameter);
        double *values, *gradients, loss[2];
        CHECK_OK(pumit_tensor_data((void **)&values, parameter));
        CHECK_OK(pumit_tensor_grad(&grad, parameter));
        CHECK_OK(pumit_tensor_data((void **)&gradients, grad));
        const double kept = values[k], got = gradients[k];
        for (int side = 0; side < 2; side++) {
            values[k] = kept + (side ? STEP : -STEP);
            pumit_tensor_touch(parameter);
            loss[side] = loss_alone(s);
        }
        values[k] = kept;
        pumit_tensor_touch(parameter);
        pumit_tensor_release(grad);
        const double wanted = (loss[1] - loss[0]) / (2 * STEP);
        ck_assert_msg(fabs(got - wanted) <= 1e-8 + 1e-5 * fabs(wanted), "%s: %.9g, not %.9g",
                      pumit_module_parameter_name(s->module, i), got, wanted);
    }
}

/* Some blocks with mask tokens, computed again or not. */
START_TEST(gradients_are_the_slopes_of_the_loss)
{
    scene s = open_scene("reference64", "[1, 4]", 8);
    pumit_vit_set_recompute(s.vit, _i == 1);
    backward(&s, NULL);
    check_differences(&s);
    close_scene(&s);
}
END_TEST

START_TEST(recomputing_takes_less_memory)
{
    int64_t peak[2], in_use, calls;
    for (int on = 0; on < 2; on++) {
        scene s = open_scene("cpu", "[0, 1, 2, 3, 4, 5]", 48);
        pumit_vit_set_recompute(s.vit, on == 1);
        backward(&s, NULL);
        CHECK_OK(pumit_context_memory(s.ctx, &in_use, &peak[on], &calls));
        close_scene(&s);
    }
    ck_assert_msg(peak[1] < peak[0] / 2, "%lld bytes, and %lld without", (long long)peak[1],
                  (long long)peak[0]);
}
END_TEST

/* A loss that is let go of without backward gives its blocks' inputs and the model back. */
START_TEST(an_unused_recording_goes)
{
    int64_t before, after, peak, calls;
    scene s = open_scene("cpu", "[1, 4]", 8);
    pumit_vit_set_recompute(s.vit, true);
    for (int i = 0; i < 2; i++) {
        pumit_tensor *loss;
        CHECK_OK(pumit_context_memory(s.ctx, &before, &peak, &calls));
        CHECK_OK(pumit_vit_mim_loss(&loss, s.vit, s.tokenizer, s.image, SPACING, s.visible));
        pumit_tensor_release(loss);
        CHECK_OK(pumit_context_memory(s.ctx, &after, &peak, &calls));
    }
    ck_assert_int_eq(before, after);
    close_scene(&s);
}
END_TEST

/* Whatever its images are like, once each kind was seen. */
START_TEST(steady_steps_ask_the_system_for_nothing)
{
    scene s = open_scene("cpu", "[1, 4]", 48);
    pumit_tensor *const images[] = {s.image, make_image(s.ctx, 2, 32), make_image(s.ctx, 3, 64)};
    pumit_optimizer *optimizer;
    int64_t in_use[2], peak[2], calls[2];
    CHECK_OK(pumit_optimizer_create(&optimizer, s.module, NULL));
    for (int i = 0; i < 24; i++) {
        pumit_tensor *const image = images[i % 3], *visible, *loss;
        const int64_t *const shape = pumit_tensor_shape(image);
        int64_t grid[3];
        CHECK_OK(pumit_vit_grid(grid, s.vit, shape + 1, SPACING));
        CHECK_OK(pumit_vit_random_visible(&visible, s.ctx, shape[0], grid[0] * grid[1] * grid[2],
                                          0.5, 1));
        CHECK_OK(pumit_vit_mim_loss(&loss, s.vit, s.tokenizer, image, SPACING, visible));
        CHECK_OK(pumit_tensor_backward(loss));
        pumit_tensor_release(loss);
        pumit_tensor_release(visible);
        CHECK_OK(pumit_optimizer_step(optimizer, 1e-3, 1, NULL));
        const int half = i > 11;
        if (i % 12 == 11)
            CHECK_OK(pumit_context_memory(s.ctx, &in_use[half], &peak[half], &calls[half]));
    }
    ck_assert_int_eq(calls[1], calls[0]);
    ck_assert_int_eq(peak[1], peak[0]);
    ck_assert_int_eq(in_use[1], in_use[0]);
    pumit_optimizer_release(optimizer);
    for (int i = 1; i < 3; i++) pumit_tensor_release(images[i]);
    close_scene(&s);
}
END_TEST

/* ---------------------------------------------------------------------------------------------- figures */

static float *read_all(pumit_tensor *tensor)
{
    const int64_t bytes = pumit_tensor_count(tensor) * (int64_t)sizeof(float);
    float *values = malloc((size_t)bytes);
    ck_assert_ptr_nonnull(values);
    CHECK_OK(pumit_tensor_read(tensor, PUMIT_F32, values, bytes));
    pumit_tensor_release(tensor);
    return values;
}

static int top_of(const float *p)
{
    int top = 0;
    for (int v = 1; v < CODES; v++)
        if (p[v] > p[top]) top = v;
    return top;
}

START_TEST(terms_by_hand)
{
    scene s = open_scene("cpu", "[0, 1, 2, 3, 4, 5]", 8);
    pumit__mim_terms terms;
    pumit_tensor *tokens, *predicted;
    int64_t visible[2 * 6];
    const double loss = backward(&s, &terms);
    CHECK_OK(pumit_tokenizer_encode(&tokens, s.tokenizer, s.image, SPACING));
    CHECK_OK(pumit_vit_predict(&predicted, s.vit, s.image, SPACING, s.visible));
    CHECK_OK(pumit_tensor_read(s.visible, PUMIT_I64, visible, (int64_t)sizeof visible));
    float *const target = read_all(tokens), *const guess = read_all(predicted);
    double entropy = 0, cross = 0, right = 0, masked = 0;
    for (int i = 0; i < 2 * 12; i++) {
        bool shown = false;
        for (int k = 0; k < 6; k++) shown = shown || visible[i / 12 * 6 + k] == i % 12;
        if (shown) continue;
        const float *const p = target + i * CODES, *const q = guess + i * CODES;
        for (int v = 0; v < CODES; v++) {
            entropy -= (double)p[v] * log((double)p[v]);
            cross -= (double)p[v] * log((double)q[v]);
        }
        right += top_of(p) == top_of(q);
        masked++;
    }
    ck_assert_double_eq(masked, 12);
    ck_assert_int_eq(terms.masked, 12);
    ck_assert_int_eq(terms.tokens, 24);
    ck_assert_double_eq_tol(loss, cross / masked, 1e-5);
    ck_assert_double_eq_tol(terms.entropy, entropy / masked, 1e-5);
    ck_assert_double_eq_tol(terms.accuracy, right / masked, 1e-12);
    ck_assert(loss - terms.entropy > 0);
    free(target);
    free(guess);
    close_scene(&s);
}
END_TEST

static double norm_by_hand(const scene *s, const char *prefix)
{
    double sum = 0;
    for (int64_t i = 0; i < pumit_module_parameter_count(s->module); i++) {
        pumit_tensor *grad, *const parameter = pumit_module_parameter(s->module, i);
        if (strncmp(pumit_module_parameter_name(s->module, i), prefix, strlen(prefix)) != 0)
            continue;
        const int64_t n = pumit_tensor_count(parameter);
        CHECK_OK(pumit_tensor_grad(&grad, parameter));
        float *const values = read_all(grad);
        for (int64_t k = 0; k < n; k++) sum += (double)values[k] * values[k];
        free(values);
    }
    return sqrt(sum);
}

START_TEST(norms_by_block)
{
    static const char *const PREFIXES[] = {"", "blocks.0.", "blocks.5.", "none"};
    scene s = open_scene("cpu", "[0, 1, 2, 3, 4, 5]", 8);
    pumit_optimizer *optimizer;
    CHECK_OK(pumit_optimizer_create(&optimizer, s.module, NULL));
    backward(&s, NULL);
    for (int i = 0; i < 4; i++) {
        double norm;
        const double wanted = norm_by_hand(&s, PREFIXES[i]);
        CHECK_OK(pumit__optimizer_norm(&norm, optimizer, PREFIXES[i]));
        ck_assert(fabs(norm - wanted) <= 1e-5 * wanted);
        ck_assert((wanted > 0) == (i < 3));
    }
    pumit_optimizer_release(optimizer);
    close_scene(&s);
}
END_TEST

/* ------------------------------------------------------------------------------------------------ runs */

static const char RUN[] =
    "{\"tokenizer\": {\"start_stride\": 2, \"channels\": [8, 8], \"codes\": 8, \"code_dim\": 8},"
    " \"vit\": {\"patch\": [4, 4, 4], \"dim\": 16, \"depth\": 2, \"heads\": 2, \"hidden\": 24,"
    "           \"pos_embed_shape\": [2, 2, 2]},"
    " \"train\": {\"steps\": 4, \"batch\": 2, \"tokens\": [1, 3, 3], \"warmup\": 1, "
    "\"norms_every\": 2,"
    "             \"validate_batches\": 1, \"checkpoint_every\": 2, \"accumulate\": 2}}";

static void write_images(void)
{
    uint8_t rows[20 * 20];
    files_folder("set");
    for (int n = 0; n < 3; n++) {
        char name[32];
        for (int i = 0; i < 400; i++) rows[i] = (uint8_t)((i % 20 * (n + 2) + i / 20 * 7) % 256);
        snprintf(name, sizeof name, "set/%d.png", n);
        png_write(name, 20, 20, 8, 0, false, rows);
    }
}

typedef struct {
    pumit_dataset *images;
    pumit_trainer *trainer;
    char lines[4][2048];
    int count;
} run;

static int32_t keep_line(void *user, int64_t step, int64_t max_steps, const char *metrics)
{
    run *const r = user;
    (void)step;
    (void)max_steps;
    snprintf(r->lines[r->count++ % 4], sizeof *r->lines, "%s", metrics);
    return 0;
}

static int32_t stop_at(void *user, int64_t step, int64_t max_steps, const char *metrics)
{
    (void)max_steps;
    (void)metrics;
    return step == *(const int64_t *)user;
}

static void open_run(run *r, const char *recipe, const char *output, const char *init)
{
    const char *path = files_path("set");
    pumit_config *config = config_from(RUN);
    CHECK_OK(pumit_config_set_string(config, "recipe", recipe));
    CHECK_OK(pumit_config_set_string(config, "output", files_path(output)));
    if (init) CHECK_OK(pumit_config_set_string(config, "init", files_path(init)));
    if (strcmp(recipe, "vit") == 0)
        CHECK_OK(pumit_config_set_string(config, "tokenizer.file",
                                         files_path("tokenizer/model.safetensors")));
    r->count = 0;
    CHECK_OK(pumit_dataset_open(&r->images, files_context, 1, &path, NULL));
    CHECK_OK(pumit_trainer_create(&r->trainer, files_context, r->images, NULL, config));
    pumit_trainer_set_progress(r->trainer, keep_line, r);
    pumit_config_release(config);
}

static void close_run(run *r)
{
    pumit_trainer_release(r->trainer);
    pumit_dataset_release(r->images);
}

static double number(const cJSON *object, const char *key)
{
    return cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(object, key));
}

static void check_line(const char *text, bool normed)
{
    cJSON *const line = cJSON_Parse(text);
    const cJSON *const norms = cJSON_GetObjectItemCaseSensitive(line, "block_norms");
    double sum = 0;
    ck_assert(number(line, "kl") >= 0);
    ck_assert_double_eq_tol(number(line, "kl"),
                            number(line, "loss") - number(line, "target_entropy"), 1e-9);
    ck_assert(number(line, "accuracy") >= 0 && number(line, "accuracy") <= 1);
    ck_assert_double_eq(number(line, "tokens"), 2 * 2 * 9);
    ck_assert_double_eq_tol(number(line, "mask_ratio"), 5.0 / 9, 1e-12);
    ck_assert(number(line, "tokens_per_s") > 0);
    ck_assert_int_eq(cJSON_GetArraySize(norms), normed ? 2 : 0);
    for (const cJSON *item = norms ? norms->child : NULL; item; item = item->next)
        sum += item->valuedouble * item->valuedouble;
    ck_assert(sum <= pow(number(line, "grad_norm"), 2) * (1 + 1e-6) && (sum > 0) == normed);
    cJSON_Delete(line);
}

static void check_same_weights(const run *a, const run *b, bool same)
{
    bool equal = true;
    for (int64_t i = 0; i < pumit_module_parameter_count(a->trainer->model); i++) {
        void *x, *y;
        pumit_tensor *const of = pumit_module_parameter(a->trainer->model, i);
        CHECK_OK(pumit_tensor_data(&x, of));
        CHECK_OK(pumit_tensor_data(&y, pumit_module_parameter(b->trainer->model, i)));
        equal = equal && memcmp(x, y, (size_t)pumit_tensor_count(of) * sizeof(float)) == 0;
    }
    ck_assert_int_eq(equal, same);
}

/* A run's folder, its model file and its last checkpoint all hold the weights that the run ended with. */
static void check_starts(const char *recipe)
{
    char name[3][96];
    run first, again;
    snprintf(name[0], sizeof *name, "%s", recipe);
    snprintf(name[1], sizeof *name, "%s/model.safetensors", recipe);
    snprintf(name[2], sizeof *name, "%s/checkpoints/step-000000004.safetensors", recipe);
    open_run(&first, recipe, recipe, NULL);
    CHECK_OK(pumit_trainer_run(first.trainer));
    for (int i = 0; i < 4; i++) {
        char output[96];
        snprintf(output, sizeof output, "%s-again-%d", recipe, i);
        open_run(&again, recipe, output, i < 3 ? name[i] : NULL);
        check_same_weights(&first, &again, i < 3);
        close_run(&again);
    }
    if (strcmp(recipe, "vit") == 0)
        for (int i = 0; i < 4; i++) check_line(first.lines[i], i % 2 == 1);
    close_run(&first);
}

START_TEST(runs_start_from_runs)
{
    write_images();
    check_starts("tokenizer");
    check_starts("vit");
}
END_TEST

/* Runs of 4 steps with 2 threads, two micro-batches a step, mask tokens in one block; "stop" 0: to the end, -1: until it fails. `train`: options of
 * "train" beside those. */
static void run_with(const char *output, const char *train, bool resume, int64_t stop)
{
    const char *path = files_path("set");
    run r = {0};
    pumit_context *ctx;
    pumit_config *config = config_from("{\"threads\": 2}");
    CHECK_OK(pumit_context_create(&ctx, config));
    pumit_config_release(config);
    config = config_from(RUN);
    CHECK_OK(pumit_config_set_string(config, "recipe", "vit"));
    CHECK_OK(pumit_config_set_string(config, "output", files_path(output)));
    CHECK_OK(pumit_config_set_string(config, "tokenizer.file",
                                     files_path("tokenizer/model.safetensors")));
    CHECK_OK(pumit_config_set_json(config, "vit.mask_layers", "[1]"));
    CHECK_OK(pumit_config_set_bool(config, "resume", resume));
    pumit_config *more = config_from(train);
    CHECK_OK(pumit_config_merge(config, more));
    pumit_config_release(more);
    CHECK_OK(pumit_dataset_open(&r.images, ctx, 1, &path, NULL));
    CHECK_OK(pumit_trainer_create(&r.trainer, ctx, r.images, NULL, config));
    pumit_config_release(config);
    pumit_trainer_set_progress(r.trainer, stop_at, &stop);
    ck_assert_int_eq(pumit_trainer_run(r.trainer), stop > 0   ? PUMIT_ERROR_CANCELLED
                                                   : stop < 0 ? PUMIT_ERROR_STATE
                                                              : PUMIT_OK);
    close_run(&r);
    pumit_context_release(ctx);
}

/* The losses of all steps and the weights in the end; the checkpoint's metadata tell seconds and settings. */
static void check_same_end(const char *a, const char *b)
{
    pumit__safetensors *files[2];
    const char *const outputs[2] = {a, b};
    for (int i = 0; i < 2; i++) {
        char name[96];
        snprintf(name, sizeof name, "%s/checkpoints/step-000000004.safetensors", outputs[i]);
        CHECK_OK(pumit__safetensors_open(&files[i], files_path(name)));
    }
    const int64_t count = pumit__safetensors_count(files[0]);
    ck_assert_int_eq(count, pumit__safetensors_count(files[1]));
    ck_assert_ptr_nonnull(pumit__safetensors_find(files[0], "losses"));
    for (int64_t i = 0; i < count; i++) {
        const pumit__safetensors_entry *const x = pumit__safetensors_entry_at(files[0], i),
                                              *const y = pumit__safetensors_find(files[1], x->name);
        ck_assert_msg(y && x->bytes == y->bytes && memcmp(x->data, y->data, (size_t)x->bytes) == 0,
                      "%s of %s and %s", x->name, a, b);
    }
    for (int i = 0; i < 2; i++) pumit__safetensors_close(files[i]);
}

#define RECOMPUTE "{\"train\": {\"recompute\": true}}"

START_TEST(runs_are_the_same_bit_for_bit)
{
    run tokenizer;
    write_images();
    open_run(&tokenizer, "tokenizer", "tokenizer", NULL);
    CHECK_OK(pumit_trainer_run(tokenizer.trainer));
    close_run(&tokenizer);
    run_with("kept", "{}", false, 0);
    run_with("again", RECOMPUTE, false, 0);
    run_with("twice", RECOMPUTE, false, 0);
    run_with("broken", RECOMPUTE, false, 3);
    run_with("broken", RECOMPUTE, true, 0);
    check_same_end("kept", "again");
    check_same_end("again", "twice");
    check_same_end("again", "broken");
}
END_TEST

/* Beside the pictures of one kind, a volume of cubes and one of thick slices, of different sizes. */
static void write_mixed_images(void)
{
    static float data[12 * 12 * 12];
    write_images();
    for (int i = 0; i < 12 * 12 * 12; i++)
        data[i] = (float)pumit__random_uniform(3, 1, (uint64_t)i);
    for (int n = 0; n < 2; n++) {
        nifti_file file = nifti_plain(16, 32, 12, 12, n ? 6 : 12);
        file.pixdim[3] = n ? 4 : 1;
        nifti_write(n ? "set/thick.nii" : "set/cube.nii", &file, data, 12 * 12 * (n ? 6 : 12), 4);
    }
}

static double first_figure(const char *output, const char *key)
{
    char name[64];
    size_t bytes;
    snprintf(name, sizeof name, "%s/metrics.jsonl", output);
    uint8_t *const text = files_read(name, &bytes);
    cJSON *const line = cJSON_ParseWithLength((const char *)text, bytes);
    const double value = number(line, key);
    cJSON_Delete(line);
    free(text);
    return value;
}

#define PACKED(workers)                                                                            \
    "{\"train\": {\"packing\": true, \"batch\": 4, \"tokens\": [2, 2, 2], \"workers\": " workers   \
    "}}"

/* Batches of images of different kinds: the same losses with any number of workers, and after a break. */
START_TEST(packed_runs_go_on_as_they_were)
{
    run tokenizer;
    write_mixed_images();
    open_run(&tokenizer, "tokenizer", "tokenizer", NULL);
    CHECK_OK(pumit_trainer_run(tokenizer.trainer));
    close_run(&tokenizer);
    run_with("packed", PACKED("0"), false, 0);
    run_with("ahead", PACKED("3"), false, 0);
    run_with("broken", PACKED("1"), false, 3);
    run_with("broken", PACKED("2"), true, 0);
    check_same_end("packed", "ahead");
    check_same_end("packed", "broken");
    /* Two batches of four images: one of 4 or 8 tokens each, and not all of a kind. */
    const double tokens = first_figure("packed", "tokens"), da = first_figure("packed", "da");
    ck_assert(tokens > 8 * 4 && tokens < 8 * 8);
    ck_assert(da > 0 && da < 5);
}
END_TEST

/* Of a step that was skipped each crop is kept, micro-batch by micro-batch. */
START_TEST(packed_batches_that_fail_are_kept)
{
    run tokenizer;
    pumit__safetensors *file;
    char name[64];
    bool flat = false, deep = false;
    write_mixed_images();
    open_run(&tokenizer, "tokenizer", "tokenizer", NULL);
    CHECK_OK(pumit_trainer_run(tokenizer.trainer));
    close_run(&tokenizer);
    run_with("diverged",
             "{\"train\": {\"packing\": true, \"batch\": 4, \"tokens\": [2, 2, 2], \"warmup\": 0,"
             " \"steps\": 20, \"most_skipped\": 2, \"learning_rate\": 1e30}}",
             false, -1);
    int step = 1;
    do snprintf(name, sizeof name, "diverged/bad-batch-step-%09d.safetensors", step++);
    while (step < 20 && access(files_path(name), F_OK) != 0);
    CHECK_OK(pumit__safetensors_open(&file, files_path(name)));
    ck_assert_int_eq(pumit__safetensors_count(file), 2 * 4);
    for (int i = 0; i < 2 * 4; i++) {
        snprintf(name, sizeof name, "image.%d", i);
        const pumit__safetensors_entry *const entry = pumit__safetensors_find(file, name);
        ck_assert(entry && entry->ndim == 5 && entry->shape[0] == 1);
        flat = flat || entry->shape[1] == 1;
        deep = deep || entry->shape[1] > 1;
        snprintf(name, sizeof name, "images.%d", i);
        cJSON *const names = cJSON_Parse(pumit__safetensors_metadata(file, name));
        ck_assert_int_eq(cJSON_GetArraySize(names), 1);
        cJSON_Delete(names);
    }
    ck_assert(flat && deep);
    pumit__safetensors_close(file);
}
END_TEST

START_TEST(starts_that_are_refused)
{
    run r = {0};
    write_images();
    pumit_config *config = config_from(RUN);
    const char *path = files_path("set");
    files_folder("empty");
    CHECK_OK(pumit_config_set_string(config, "recipe", "tokenizer"));
    CHECK_OK(pumit_config_set_string(config, "output", files_path("out")));
    CHECK_OK(pumit_config_set_string(config, "init", files_path("empty")));
    CHECK_OK(pumit_dataset_open(&r.images, files_context, 1, &path, NULL));
    ck_assert_int_eq(pumit_trainer_create(&r.trainer, files_context, r.images, NULL, config),
                     PUMIT_ERROR_NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(pumit_last_error(), "'init'"));
    ck_assert_ptr_nonnull(strstr(pumit_last_error(), "empty"));
    pumit_dataset_release(r.images);
    pumit_config_release(config);
}
END_TEST

Suite *suite_recipe_vit(void);
Suite *suite_recipe_vit(void)
{
    Suite *suite = suite_create("recipe_vit");
    TCase *tests = tcase_create("recipe_vit");
    tcase_add_checked_fixture(tests, files_setup, files_teardown);
    tcase_add_test(tests, recomputing_changes_nothing);
    tcase_add_loop_test(tests, gradients_are_the_slopes_of_the_loss, 0, 2);
    tcase_add_test(tests, recomputing_takes_less_memory);
    tcase_add_test(tests, an_unused_recording_goes);
    tcase_add_test(tests, steady_steps_ask_the_system_for_nothing);
    tcase_add_test(tests, terms_by_hand);
    tcase_add_test(tests, norms_by_block);
    tcase_add_test(tests, runs_start_from_runs);
    tcase_add_test(tests, runs_are_the_same_bit_for_bit);
    tcase_add_test(tests, packed_runs_go_on_as_they_were);
    tcase_add_test(tests, packed_batches_that_fail_are_kept);
    tcase_add_test(tests, starts_that_are_refused);
    suite_add_tcase(suite, tests);
    return suite;
}
