/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/runs.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ------------------------------------------------------------------------------------------- data */

void runs_write_thick(const char *name, int seed)
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
    runs_write_thick("set/thick-a.nii", 1);
    runs_write_thick("set/thick-b.nii", 5);
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

pumit_dataset *runs_data(pumit_context *ctx, const char *name, const char *split)
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

pumit_config *runs_config(const char *recipe, const char *output)
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

run runs_open(const char *recipe, const char *output)
{
    pumit_config *options;
    run r = {0};
    CHECK_OK(pumit_config_parse(&options, "{\"threads\": 1}"));
    CHECK_OK(pumit_context_create(&r.ctx, options));
    pumit_config_release(options);
    const bool labelled = strcmp(recipe, "classify") == 0;
    r.train = runs_data(r.ctx, labelled ? "labelled.npz" : "set", labelled ? "train" : NULL);
    r.validation = labelled ? runs_data(r.ctx, "labelled.npz", "val") : NULL;
    r.config = runs_config(recipe, output);
    return r;
}

pumit_status runs_create(run *r)
{
    return pumit_trainer_create(&r->trainer, r->ctx, r->train, r->validation, r->config);
}

void runs_close(run *r)
{
    pumit_trainer_release(r->trainer);
    pumit_config_release(r->config);
    pumit_dataset_release(r->train);
    pumit_dataset_release(r->validation);
    pumit_context_release(r->ctx);
}

int32_t runs_stop_at(void *user, int64_t step, int64_t max_steps, const char *metrics)
{
    ck_assert_int_eq(max_steps, STEPS);
    ck_assert_ptr_nonnull(strstr(metrics, "\"loss\":"));
    return step == *(const int64_t *)user;
}

/* Runs to the end, or to `stop` if positive. `key`: one more JSON setting, or NULL. */
void runs_whole(const char *recipe, const char *output, int64_t stop, bool resume, const char *key,
                const char *value)
{
    run r = runs_open(recipe, output);
    CHECK_OK(pumit_config_set_bool(r.config, "resume", resume));
    if (key) CHECK_OK(pumit_config_set_json(r.config, key, value));
    CHECK_OK(runs_create(&r));
    pumit_trainer_set_progress(r.trainer, runs_stop_at, &stop);
    ck_assert_msg(pumit_trainer_run(r.trainer) == (stop > 0 ? PUMIT_ERROR_CANCELLED : PUMIT_OK),
                  "%s", pumit_last_error());
    runs_close(&r);
}

/* The losses of metrics.jsonl, which must be of steps 1, 2, ... */
int runs_losses(double losses[STEPS], const char *output)
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

void runs_check_same(const char *a, const char *b)
{
    double losses[2][STEPS] = {{0}};
    char names[2][64];
    size_t bytes[2];
    ck_assert_int_eq(runs_losses(losses[0], a), STEPS);
    ck_assert_int_eq(runs_losses(losses[1], b), STEPS);
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

bool runs_exists(const char *name)
{
    return access(files_path(name), F_OK) == 0;
}

void runs_setup(void)
{
    files_setup();
    write_images();
    write_archive();
}

void runs_check_resume(const char *recipe, int64_t stop, const char *key, const char *value)
{
    runs_whole(recipe, "whole", 0, false, key, value);
    runs_whole(recipe, "broken", stop, false, key, value);
    ck_assert(!runs_exists("broken/model.safetensors"));
    runs_whole(recipe, "broken", 0, true, key, value);
    runs_check_same("whole", "broken");
}
