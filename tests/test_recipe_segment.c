/* SPDX-License-Identifier: Apache-2.0 */
/* Training of segmenters: that they learn, resume, start from transformers, serve images of several spacings, and what is refused. */
#include "lib/base/config.h"
#include "lib/train/trainer.h"
#include "tests/answer.h"
#include "tests/image_files.h"

#include <pumit/segment.h>

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

Suite *suite_recipe_segment(void);

/* -------------------------------------------------------------------------------------------- images */

#define MOST_VOXELS (24 * 24 * 24)

/* Noise of 90..149; a bright ball of class 1 and a dark one of class 2 somewhere within, of so many voxels in the plane. */
static void fill_balls(uint8_t *image, uint8_t *labels, const int64_t size[3], double thickness,
                       double radius, uint64_t seed)
{
    double middle[2][3];
    const double length[3] = {(double)size[0] * thickness, (double)size[1], (double)size[2]};
    for (int b = 0; b < 2; b++)
        for (int k = 0; k < 3; k++) { /* the one left, the other right */
            const double u = pumit__random_uniform(seed, 1, (uint64_t)(3 * b + k));
            const double range = k == 2 ? length[2] / 2 : length[k];
            middle[b][k] = radius + u * fmax(range - 2 * radius, 0) + (k == 2 ? b * range : 0);
            if (length[k] < 2 * radius) middle[b][k] = length[k] / 2;
        }
    for (int64_t i = 0; i < size[0] * size[1] * size[2]; i++) {
        const double at[3] = {((double)(i / (size[1] * size[2])) + 0.5) * thickness,
                              (double)(i / size[2] % size[1]) + 0.5, (double)(i % size[2]) + 0.5};
        labels[i] = 0;
        image[i] = (uint8_t)(90 + 60 * pumit__random_uniform(seed, 2, (uint64_t)i));
        for (int b = 0; b < 2; b++) {
            double away = 0;
            for (int k = 0; k < 3; k++) away += (at[k] - middle[b][k]) * (at[k] - middle[b][k]);
            if (away > radius * radius) continue;
            labels[i] = (uint8_t)(b + 1);
            image[i] = (uint8_t)(b == 0 ? image[i] + 80 : image[i] - 80);
        }
    }
}

/* `format` with %s: an image and its label map, of (D, H, W) voxels of thickness x 1 x 1 mm; one slice: pictures. */
static void write_case(const char *folder, const char *name, const int64_t size[3],
                       double thickness, uint64_t seed)
{
    static uint8_t voxels[2][MOST_VOXELS];
    const size_t count = (size_t)(size[0] * size[1] * size[2]);
    ck_assert_uint_le(count, MOST_VOXELS);
    fill_balls(voxels[0], voxels[1], size, thickness, size[0] * thickness < 12 ? 4 : 5, seed);
    for (int map = 0; map < 2; map++) {
        char path[128];
        snprintf(path, sizeof path, "%s/%s/%s", folder, map ? "labelsTr" : "imagesTr", name);
        nifti_file file = nifti_plain(2, 8, size[2], size[1], size[0]);
        file.pixdim[3] = thickness;
        if (size[0] == 1)
            png_write(path, (int)size[2], (int)size[1], 8, 0, false, voxels[map]);
        else
            nifti_write(path, &file, voxels[map], count, 1);
    }
}

static void make_folder(const char *folder)
{
    char path[128];
    files_folder(folder);
    for (int map = 0; map < 2; map++) {
        snprintf(path, sizeof path, "%s/%s", folder, map ? "labelsTr" : "imagesTr");
        files_folder(path);
    }
}

static const int64_t CUBE[3] = {20, 20, 24}, THICK[3] = {6, 20, 24}, FLAT[3] = {1, 20, 24};

/* Cubes of 1 mm, slices of 4 mm, pictures. */
static void write_set(const char *folder, int cubes, int thick, int flat, uint64_t seed)
{
    char name[32];
    make_folder(folder);
    for (int i = 0; i < cubes + thick + flat; i++) {
        const bool picture = i >= cubes + thick;
        snprintf(name, sizeof name, "case%02d.%s", i, picture ? "png" : "nii");
        write_case(folder, name,
                   i < cubes ? CUBE
                   : picture ? FLAT
                             : THICK,
                   i < cubes ? 1 : 4, seed + (uint64_t)i);
    }
}

/* ---------------------------------------------------------------------------------------------- runs */

static const char CONFIG[] =
    "{\"recipe\": \"segment\","
    " \"vit\": {\"in_channels\": 1, \"patch\": [4, 4, 4], \"dim\": 16, \"depth\": 2, \"heads\": 2,"
    "           \"hidden\": 24, \"pos_embed_shape\": [2, 2, 2]},"
    " \"segmenter\": {\"channels\": [8, 8, 8, 8], \"full_res_channels\": [8]},"
    " \"train\": {\"steps\": 7, \"batch\": 2, \"tokens\": [4, 4, 4], \"warmup\": 2, \"seed\": 3,"
    "             \"validate_every\": 3, \"checkpoint_every\": 2, \"norms_every\": 0}}";

typedef struct {
    pumit_context *ctx;
    pumit_dataset *train, *validation;
    pumit_config *config;
    pumit_trainer *trainer;
    char log[4096]; /* all messages, each in a line */
} trial;

static void gather(void *user, int32_t level, const char *message)
{
    trial *const r = user;
    const size_t used = strlen(r->log);
    (void)level;
    snprintf(r->log + used, sizeof r->log - used, "%s\n", message);
}

static pumit_dataset *open_pairs(pumit_context *ctx, const char *name)
{
    pumit_config *options;
    pumit_dataset *dataset;
    const char *path = files_path(name);
    CHECK_OK(pumit_config_parse(&options, "{\"label_maps\": true}"));
    CHECK_OK(pumit_dataset_open(&dataset, ctx, 1, &path, options));
    pumit_config_release(options);
    return dataset;
}

static void open_run(trial *r, const char *train, const char *validation, const char *output)
{
    pumit_config *options;
    *r = (trial){0};
    CHECK_OK(pumit_config_parse(&options, "{\"threads\": 1}"));
    CHECK_OK(pumit_context_create(&r->ctx, options));
    pumit_config_release(options);
    pumit_context_set_log(r->ctx, gather, r);
    r->train = open_pairs(r->ctx, train);
    r->validation = validation ? open_pairs(r->ctx, validation) : NULL;
    CHECK_OK(pumit_config_parse(&r->config, CONFIG));
    CHECK_OK(pumit_config_set_string(r->config, "output", files_path(output)));
}

static void set(trial *r, const char *key, const char *json)
{
    CHECK_OK(pumit_config_set_json(r->config, key, json));
}

static pumit_status create(trial *r)
{
    return pumit_trainer_create(&r->trainer, r->ctx, r->train, r->validation, r->config);
}

static void close_run(trial *r)
{
    pumit_trainer_release(r->trainer);
    pumit_config_release(r->config);
    pumit_dataset_release(r->train);
    pumit_dataset_release(r->validation);
    pumit_context_release(r->ctx);
}

static void check_log(const trial *r, const char *part)
{
    ck_assert_msg(strstr(r->log, part) != NULL, "\"%s\" is not in: %s", part, r->log);
}

static cJSON *summary_of(const trial *r)
{
    char *text;
    CHECK_OK(pumit_trainer_summary(&text, r->trainer));
    cJSON *const tree = cJSON_Parse(text);
    pumit_free(text);
    ck_assert_ptr_nonnull(tree);
    return tree;
}

/* What metrics.jsonl says under `key`, step by step. */
static int figures_of(double *values, int most, const char *output, const char *key)
{
    char name[64];
    size_t bytes;
    snprintf(name, sizeof name, "%s/metrics.jsonl", output);
    char *const text = (char *)files_read(name, &bytes), *rest = NULL;
    int count = 0;
    text[bytes] = '\0'; /* there is room for it */
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        cJSON *const tree = cJSON_Parse(line);
        ck_assert_int_lt(count, most);
        values[count++] = number(tree, key);
        cJSON_Delete(tree);
    }
    free(text);
    return count;
}

/* ------------------------------------------------------------------------------------------- learning */

static double best_dice(const trial *r)
{
    cJSON *const summary = summary_of(r);
    const double dice = number(summary, "best_dice");
    cJSON_Delete(summary);
    return dice;
}

/* Mean Dice of both classes of a saved model for one image. */
static double dice_of(const trial *r, const char *path, int64_t image)
{
    pumit_segmenter *model;
    pumit_label_map *found;
    const pumit_volume *const volume = pumit_dataset_volume(r->validation, image);
    int64_t shape[4], both[3] = {0}, all[3] = {0};
    CHECK_OK(pumit_segmenter_load(&model, r->ctx, files_path(path)));
    CHECK_OK(pumit_segmenter_segment(&found, model, volume, NULL, NULL, NULL));
    const uint8_t *const a = pumit_label_map_labels(found);
    const uint8_t *const b = pumit_label_map_labels(pumit_dataset_label_map(r->validation, image));
    pumit_volume_shape(volume, shape);
    for (int64_t i = 0; i < shape[0] * shape[1] * shape[2]; i++) {
        all[a[i]]++;
        all[b[i]]++;
        both[a[i]] += a[i] == b[i];
    }
    pumit_label_map_release(found);
    pumit_segmenter_release(model);
    return ((double)both[1] / (double)all[1] + (double)both[2] / (double)all[2]);
}

START_TEST(segmenters_learn)
{
    trial r;
    write_set("train", 6, 0, 0, 1);
    write_set("val", 2, 0, 0, 100);
    for (int trained = 0; trained < 2; trained++) {
        open_run(&r, "train", "val", trained ? "run" : "none");
        set(&r, "train.steps", trained ? "40" : "1");
        set(&r, "train.learning_rate", trained ? "1e-2" : "0");
        set(&r, "train.validate_every", "0");
        CHECK_OK(create(&r));
        check_log(&r, "heads for 3 classes");
        CHECK_OK(pumit_trainer_run(r.trainer));
        const double dice = best_dice(&r);
        ck_assert_msg(trained ? dice > 0.7 : dice < 0.3, "Dice %g", dice);
        if (trained) {
            cJSON *const summary = summary_of(&r);
            ck_assert(number(summary, "mean_last_loss") < number(summary, "mean_first_loss") - 0.4);
            cJSON_Delete(summary);
            ck_assert_double_eq_tol((dice_of(&r, "run/model.safetensors", 0) +
                                     dice_of(&r, "run/model.safetensors", 1)) /
                                        2,
                                    dice, 1e-9);
        }
        close_run(&r);
    }
}
END_TEST

/* ------------------------------------------------------------------------------------------- resuming */

#define STEPS 7

static int32_t stop_at(void *user, int64_t step, int64_t max_steps, const char *metrics)
{
    ck_assert_int_eq(max_steps, STEPS);
    ck_assert_ptr_nonnull(strstr(metrics, "\"da\":"));
    return step == *(const int64_t *)user;
}

static void run_whole(const char *output, int64_t stop, bool resume)
{
    trial r;
    open_run(&r, "mixed", "val", output);
    CHECK_OK(pumit_config_set_bool(r.config, "resume", resume));
    set(&r, "train.accumulate", "2");
    CHECK_OK(create(&r));
    pumit_trainer_set_progress(r.trainer, stop_at, &stop);
    ck_assert_msg(pumit_trainer_run(r.trainer) == (stop > 0 ? PUMIT_ERROR_CANCELLED : PUMIT_OK),
                  "%s", pumit_last_error());
    close_run(&r);
}

/* The best weights so far are part of the state: step 3 is judged before the run is broken off. */
START_TEST(runs_resume_exactly)
{
    double losses[2][STEPS];
    size_t bytes[2];
    write_set("mixed", 2, 2, 1, 1);
    write_set("val", 1, 0, 0, 50);
    run_whole("whole", 0, false);
    run_whole("broken", 5, false);
    run_whole("broken", 0, true);
    ck_assert_int_eq(figures_of(losses[0], STEPS, "whole", "loss"), STEPS);
    ck_assert_int_eq(figures_of(losses[1], STEPS, "broken", "loss"), STEPS);
    for (int i = 0; i < STEPS; i++)
        ck_assert_msg(isfinite(losses[0][i]) && losses[0][i] == losses[1][i],
                      "loss of step %d: %.17g and %.17g", i + 1, losses[0][i], losses[1][i]);
    ck_assert(losses[0][0] != losses[0][STEPS - 1]);
    uint8_t *const a = files_read("whole/model.safetensors", &bytes[0]);
    uint8_t *const b = files_read("broken/model.safetensors", &bytes[1]);
    ck_assert(bytes[0] == bytes[1] && memcmp(a, b, bytes[0]) == 0);
    free(a);
    free(b);
}
END_TEST

/* --------------------------------------------------------------------------------------- transformers */

/* A transformer of other sizes than CONFIG's, with a head for masked modelling, as pre-training leaves it. */
static void save_vit(const char *name, const char *patch)
{
    pumit_config *config;
    pumit_vit *vit;
    CHECK_OK(pumit_config_parse(&config, "{\"in_channels\": 1, \"dim\": 24, \"depth\": 3, "
                                         "\"heads\": 2, \"hidden\": 20, \"codes\": 8, \"seed\": 77,"
                                         " \"pos_embed_shape\": [2, 3, 2]}"));
    CHECK_OK(pumit_config_set_json(config, "patch", patch));
    CHECK_OK(pumit_vit_create(&vit, files_context, config));
    CHECK_OK(pumit_module_save(pumit_vit_module(vit), files_path(name), NULL));
    pumit_vit_release(vit);
    pumit_config_release(config);
}

static double *read_all(pumit_tensor *tensor, int64_t *count)
{
    *count = pumit_tensor_count(tensor);
    double *const values = malloc((size_t)*count * sizeof *values);
    ck_assert_ptr_nonnull(values);
    CHECK_OK(pumit_tensor_read(tensor, PUMIT_F64, values, *count * (int64_t)sizeof *values));
    return values;
}

/* Tensors of the transformer in the run's segmenter that are those of the file; `left`: of the others, all of them. */
static int64_t count_taken(const trial *r, const char *name, int64_t *left)
{
    pumit_vit *vit;
    pumit_module *const own = pumit_vit_module(pumit_segmenter_vit(r->trainer->segmenter));
    int64_t taken = 0;
    CHECK_OK(pumit_vit_load(&vit, r->ctx, files_path(name)));
    *left = 0;
    for (int64_t i = 0; i < pumit_module_parameter_count(own); i++) {
        pumit_tensor *from;
        int64_t n, m;
        CHECK_OK(
            pumit_module_find(&from, pumit_vit_module(vit), pumit_module_parameter_name(own, i)));
        double *const a = read_all(pumit_module_parameter(own, i), &n), *const b =
                                                                            read_all(from, &m);
        const bool same = n == m && memcmp(a, b, (size_t)n * sizeof *a) == 0;
        taken += same;
        *left += !same;
        free(a);
        free(b);
    }
    pumit_vit_release(vit);
    return taken;
}

START_TEST(transformers_are_taken_or_not)
{
    write_set("train", 2, 0, 0, 1);
    save_vit("vit.safetensors", "[4, 4, 4]");
    for (int scratch = 0; scratch < 2; scratch++) {
        trial r;
        int64_t left;
        open_run(&r, "train", NULL, scratch ? "scratch" : "tuned");
        CHECK_OK(pumit_config_set_string(r.config, "init", files_path("vit.safetensors")));
        CHECK_OK(pumit_config_set_bool(r.config, "from_scratch", scratch));
        CHECK_OK(create(&r));
        ck_assert_int_eq(pumit_vit_dim(pumit_segmenter_vit(r.trainer->segmenter)), 24);
        const int64_t taken = count_taken(&r, "vit.safetensors", &left);
        if (scratch) {
            ck_assert_int_eq(left, 24); /* all matrices; biases and norms begin alike */
            check_log(&r, "its weights are left alone");
        } else {
            char line[64];
            ck_assert_int_eq(left, 0);
            check_log(&r, "vit.safetensors: all ");
            snprintf(line, sizeof line, "%lld are the transformer's", (long long)taken);
            check_log(&r, line);
            CHECK_OK(pumit_trainer_run(r.trainer));
            count_taken(&r, "vit.safetensors", &left);
            ck_assert_int_gt(left, 0); /* it is trained as well */
        }
        close_run(&r);
    }
}
END_TEST

/* Patch kernels (dim, D, H, W, channels) of the run's transformer and of the file, summed over D. */
static void check_summed(const trial *r, const char *name, int64_t depth)
{
    static const char WEIGHT[] = "patch_embed.proj.weight";
    pumit_vit *vit;
    pumit_tensor *own, *given;
    CHECK_OK(pumit_vit_load(&vit, r->ctx, files_path(name)));
    CHECK_OK(pumit_module_find(&own, pumit_vit_module(pumit_segmenter_vit(r->trainer->segmenter)),
                               WEIGHT));
    CHECK_OK(pumit_module_find(&given, pumit_vit_module(vit), WEIGHT));
    ck_assert_int_eq(pumit_tensor_shape(own)[1], depth);
    int64_t n, m;
    double *const a = read_all(own, &n), *const b = read_all(given, &m);
    const int64_t run_length = m / n, plane = 16, all = n / depth / plane;
    for (int64_t o = 0; o < all; o++)
        for (int64_t d = 0; d < depth; d++)
            for (int64_t i = 0; i < plane; i++) {
                double sum = 0;
                for (int64_t k = 0; k < run_length; k++)
                    sum += b[((o * depth + d) * run_length + k) * plane + i];
                ck_assert_double_eq_tol(a[(o * depth + d) * plane + i], sum, 1e-6);
            }
    free(a);
    free(b);
    pumit_vit_release(vit);
}

/* That of most images: degree 2 of 4 mm, degree 0 of 1 mm. Images of the others are no obstacle. */
START_TEST(fixed_segmenters_are_of_one_anisotropy)
{
    static const int CUBES[] = {1, 3}, THICKS[] = {3, 1};
    static const int64_t DEPTH[] = {1, 4};
    char folder[16];
    save_vit("vit.safetensors", "[4, 4, 4]");
    for (int i = 0; i < 2; i++) {
        trial r;
        double da[STEPS];
        snprintf(folder, sizeof folder, "set%d", i);
        write_set(folder, CUBES[i], THICKS[i], 0, 1);
        open_run(&r, folder, folder, i ? "cubes" : "thick");
        CHECK_OK(pumit_config_set_string(r.config, "init", files_path("vit.safetensors")));
        set(&r, "segmenter.adaptive", "false");
        CHECK_OK(create(&r));
        ck_assert(!pumit_segmenter_adaptive(r.trainer->segmenter));
        check_summed(&r, "vit.safetensors", DEPTH[i]);
        CHECK_OK(pumit_trainer_run(r.trainer));
        ck_assert_int_eq(figures_of(da, STEPS, i ? "cubes" : "thick", "da"), STEPS);
        double sum = 0;
        for (int k = 0; k < STEPS; k++) sum += da[k];
        ck_assert(sum > 0 && sum < 2 * STEPS); /* both kinds were shown */
        close_run(&r);
    }
}
END_TEST

/* A transformer whose patch is shallow already, for slices of any thickness. */
START_TEST(shallow_patches_stay)
{
    trial r;
    static const double THICKNESS[] = {1, 2, 4};
    static const int64_t DEPTH[] = {2, 2, 1};
    save_vit("vit.safetensors", "[2, 4, 4]");
    for (int i = 0; i < 3; i++) {
        char folder[16], name[16];
        snprintf(folder, sizeof folder, "set%d", i);
        snprintf(name, sizeof name, "run%d", i);
        make_folder(folder);
        write_case(folder, "a.nii", (const int64_t[3]){8, 20, 24}, THICKNESS[i], 1);
        open_run(&r, folder, NULL, name);
        CHECK_OK(pumit_config_set_string(r.config, "init", files_path("vit.safetensors")));
        files_check_failed(create(&r), PUMIT_ERROR_INVALID_ARGUMENT, "adaptive", "cube");
        set(&r, "segmenter.adaptive", "false");
        CHECK_OK(create(&r));
        check_summed(&r, "vit.safetensors", DEPTH[i]);
        close_run(&r);
    }
}
END_TEST

START_TEST(one_run_has_all_spacings)
{
    trial r;
    double da[24];
    int seen[6] = {0};
    write_set("mixed", 2, 2, 2, 1);
    open_run(&r, "mixed", "mixed", "run");
    set(&r, "train.steps", "24");
    CHECK_OK(create(&r));
    ck_assert(pumit_segmenter_adaptive(r.trainer->segmenter));
    CHECK_OK(pumit_trainer_run(r.trainer));
    ck_assert_int_eq(figures_of(da, 24, "run", "da"), 24);
    for (int i = 0; i < 24; i++) seen[(int)da[i]]++;
    ck_assert(seen[0] > 2 && seen[2] > 2 && seen[5] > 2);
    ck_assert_int_eq(seen[0] + seen[2] + seen[5], 24);
    ck_assert(isfinite(best_dice(&r)));
    close_run(&r);
}
END_TEST

/* ---------------------------------------------------------------------------------------------- files */

static void check_model(const char *path, const char *names, const char *spacing)
{
    pumit_config *info;
    char *text;
    CHECK_OK(pumit_model_file_info(&info, files_path(path)));
    CHECK_OK(pumit_config_to_json(&text, info));
    cJSON *const tree = cJSON_Parse(text);
    const cJSON *const config =
        cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(tree, "pumit"), "config");
    ck_assert_msg(config != NULL, "%s", text);
    char *const got[] = {
        cJSON_PrintUnformatted(cJSON_GetObjectItemCaseSensitive(config, "class_names")),
        cJSON_PrintUnformatted(cJSON_GetObjectItemCaseSensitive(config, "spacing")),
        cJSON_PrintUnformatted(cJSON_GetObjectItemCaseSensitive(config, "window"))};
    ck_assert_str_eq(got[0], names);
    ck_assert_str_eq(got[1], spacing);
    ck_assert_str_eq(got[2], "[4,4,4]");
    for (int i = 0; i < 3; i++) free(got[i]);
    cJSON_Delete(tree);
    pumit_free(text);
    pumit_config_release(info);
}

/* Names of a dataset.json, class 3 of which no image has; one class has no name. */
START_TEST(models_know_their_classes_and_voxels)
{
    static const char TEXT[] =
        "{\"labels\": {\"0\": \"nothing\", \"2\": \"dark\", \"3\": \"rare\"},"
        " \"training\": [{\"image\": \"imagesTr/case00.nii\", \"label\": "
        "\"labelsTr/case00.nii\"}]}";
    trial r;
    write_set("train", 1, 0, 0, 1);
    files_write("train/dataset.json", TEXT, strlen(TEXT));
    open_run(&r, "train", NULL, "run");
    set(&r, "train.steps", "1");
    set(&r, "train.spacing", "[2, 1.5, 0]");
    CHECK_OK(create(&r));
    CHECK_OK(pumit_trainer_run(r.trainer));
    close_run(&r);
    check_model("run/model.safetensors", "[\"nothing\",\"class 1\",\"dark\"]", "[2,1.5,0]");
}
END_TEST

static void check_create_fails(trial *r, pumit_status status, const char *name, const char *part)
{
    files_check_failed(create(r), status, name, part);
    ck_assert_ptr_null(r->trainer);
    close_run(r);
}

START_TEST(what_cannot_be_learnt_is_refused)
{
    static const struct {
        const char *key, *json, *part;
    } WRONG[] = {{"train.spacing", "[1, 1]", "three numbers"},
                 {"train.spacing", "[1, -1, 1]", "must lie between"},
                 {"train.spacing", "[1, \"a\", 1]", "three numbers"},
                 {"train.flips", "[1, 1]", "three are wanted"},
                 {"train.flips", "[2, 1, 1]", "must lie between"},
                 {"train.scale_range", "[2, 1]", "the least comes first"},
                 {"train.foreground", "1.5", "must lie between"},
                 {"train.foregroud", "1", "unknown"}};
    trial r;
    write_set("train", 1, 0, 0, 1);
    for (int64_t i = 0; i < PUMIT__COUNT(WRONG); i++) {
        open_run(&r, "train", NULL, "run");
        set(&r, WRONG[i].key, WRONG[i].json);
        check_create_fails(&r, PUMIT_ERROR_INVALID_ARGUMENT, WRONG[i].key, WRONG[i].part);
    }
    open_run(&r, "train", NULL, "run");
    set(&r, "segmenter.channels", "[8, 8]");
    check_create_fails(&r, PUMIT_ERROR_INVALID_ARGUMENT, "channels", "needs 4 numbers");
    open_run(&r, "train", NULL, "run");
    set(&r, "segmenter.pos_embed_shape", "[1, 2, 2]"); /* of the transformer, which comes first */
    check_create_fails(&r, PUMIT_ERROR_SHAPE, "pos_embed", "does not fit");
    open_run(&r, "train", NULL, "run");
    set(&r, "train.spacing", "[1e-300, 1, 1]"); /* more voxels than there are numbers */
    check_create_fails(&r, PUMIT_ERROR_LIMIT, "case00.nii", "voxels");
    open_run(&r, "train", NULL, "run");
    set(&r, "train.spacing", "[0.001, 0.001, 0.001]");
    check_create_fails(&r, PUMIT_ERROR_LIMIT, "case00.nii", "voxels");
}
END_TEST

/* All with label maps, and classes that can be learnt. */
START_TEST(sets_that_do_not_fit_are_refused)
{
    static const uint8_t nothing[8], other[8] = {0, 7};
    static const char LIST[] =
        "path,label_map\ntrain/imagesTr/case00.nii,train/labelsTr/case00.nii\n"
        "train/imagesTr/case00.nii,\n";
    const nifti_file file = nifti_plain(2, 8, 2, 2, 2);
    trial r;
    write_set("train", 1, 0, 0, 1);
    make_folder("empty");
    nifti_write("empty/imagesTr/a.nii", &file, nothing, 8, 1);
    nifti_write("empty/labelsTr/a.nii", &file, nothing, 8, 1);
    make_folder("other");
    nifti_write("other/imagesTr/a.nii", &file, other, 8, 1);
    nifti_write("other/labelsTr/a.nii", &file, other, 8, 1);
    files_write("list.csv", LIST, strlen(LIST));
    open_run(&r, "empty", NULL, "run");
    check_create_fails(&r, PUMIT_ERROR_INVALID_ARGUMENT, "label maps", "nothing but background");
    open_run(&r, "train", "other", "run");
    check_create_fails(&r, PUMIT_ERROR_INVALID_ARGUMENT, "validation", "class 7");
    open_run(&r, "list.csv", NULL, "run");
    check_create_fails(&r, PUMIT_ERROR_INVALID_ARGUMENT, "case00.nii", "no label map");
    open_run(&r, "train", "list.csv", "run");
    check_create_fails(&r, PUMIT_ERROR_INVALID_ARGUMENT, "case00.nii", "no label map");
}
END_TEST

/* ------------------------------------------------------------------------------------------- programs */

static void check_config(const char *output, const char *section, const char *key, bool wanted)
{
    char name[64];
    size_t bytes;
    snprintf(name, sizeof name, "%s/config.json", output);
    uint8_t *const text = files_read(name, &bytes);
    cJSON *const tree = cJSON_ParseWithLength((const char *)text, bytes);
    const cJSON *const item =
        cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(tree, section), key);
    ck_assert(cJSON_IsBool(item) && cJSON_IsTrue(item) == wanted);
    cJSON_Delete(tree);
    free(text);
}

/* A fold is held out, and after a stop it is the same one; the result segments. */
START_TEST(programs_train_and_go_on)
{
    write_set("set", 4, 0, 0, 1);
    files_write("c.json", CONFIG, strlen(CONFIG));
    cJSON *summary = parsed(
        runf("pumit-finetune-segment -t 1 --json -q --fixed --config %s --folds 4 --fold 1 -n 2 "
             "-o %s %s",
             files_path("c.json"), files_path("run"), files_path("set")));
    ck_assert_double_eq(number(summary, "steps"), 2);
    ck_assert(number(summary, "best_dice") >= 0);
    cJSON_Delete(summary);
    check_config("run", "segmenter", "adaptive", false);
    const answer *a = runf("pumit-finetune-segment -t 1 --resume -n 4 -o %s",
                           files_path("run")); /* all is known */
    check_done(a);
    ck_assert_ptr_nonnull(strstr(a->err, "3 images to learn from, 1 to judge by"));
    ck_assert_ptr_nonnull(strstr(a->out, "best_dice"));
    double losses[4];
    ck_assert_int_eq(figures_of(losses, 4, "run", "loss"), 4);
    check_done(runf("pumit-segment -t 1 -q -o %s %s %s", files_path("map.nii"),
                    files_path("run/model.safetensors"), files_path("set/imagesTr/case00.nii")));
}
END_TEST

/* A list says what is for learning and what for judging. */
START_TEST(programs_take_lists_with_splits)
{
    static const char LIST[] = "path,label_map,split\n"
                               "set/imagesTr/case00.nii,set/labelsTr/case00.nii,train\n"
                               "set/imagesTr/case01.nii,set/labelsTr/case01.nii,val\n"
                               "set/imagesTr/case02.nii,set/labelsTr/case02.nii,test\n";
    write_set("set", 3, 0, 0, 1);
    files_write("c.json", CONFIG, strlen(CONFIG));
    files_write("list.csv", LIST, strlen(LIST));
    const answer *a =
        runf("pumit-finetune-segment -t 1 --config %s -n 1 --spacing [0,1.5,1.5] --window "
             "[3,3,3] -o %s %s",
             files_path("c.json"), files_path("run"), files_path("list.csv"));
    check_done(a);
    ck_assert_ptr_nonnull(strstr(a->err, "1 images to learn from, 1 to judge by"));
    ck_assert_ptr_nonnull(strstr(a->out, "best_dice"));
}
END_TEST

START_TEST(programs_tell_what_is_wrong)
{
    static const char PROGRAM[] = "pumit-finetune-segment";
    write_set("set", 2, 0, 0, 1);
    files_write("c.json", CONFIG, strlen(CONFIG));
    files_folder("empty");
    check_line(runf("%s -q -o %s %s", PROGRAM, files_path("run"), files_path("empty")), 1, PROGRAM,
               "labelsTr");
    check_line(runf("%s -q -o %s %s", PROGRAM, files_path("run"), files_path("gone")), 1, PROGRAM,
               "gone");
    check_line(
        runf("%s -q -o %s %s", PROGRAM, files_path("run"), files_path("set/imagesTr/case00.nii")),
        1, PROGRAM, "dataset.json");
    check_line(runf("%s -q --config %s --spacing [1,1] -o %s %s", PROGRAM, files_path("c.json"),
                    files_path("run"), files_path("set")),
               1, PROGRAM, "train.spacing");
    check_line(runf("%s -q --config %s --init %s -o %s %s", PROGRAM, files_path("c.json"),
                    files_path("gone.safetensors"), files_path("run"), files_path("set")),
               1, PROGRAM, "gone.safetensors");
    check_line(runf("%s -q --config %s --folds 5 --fold 4 -o %s %s", PROGRAM, files_path("c.json"),
                    files_path("run"), files_path("set")),
               1, PROGRAM, "folds");
    /* What cannot be read is told and left out; the rest is learnt from. */
    files_write("set/labelsTr/case01.nii", "x", 1);
    const answer *a = runf("%s -t 1 --config %s -n 1 -o %s %s", PROGRAM, files_path("c.json"),
                           files_path("run"), files_path("set"));
    check_done(a);
    ck_assert_ptr_nonnull(strstr(a->err, "1 images to learn from"));
    ck_assert_ptr_nonnull(strstr(a->err, "labelsTr/case01.nii"));
}
END_TEST

Suite *suite_recipe_segment(void)
{
    Suite *suite = suite_create("recipe_segment");
    TCase *tests = tcase_create("recipe_segment");
    tcase_add_checked_fixture(tests, files_setup, files_teardown);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, segmenters_learn);
    tcase_add_test(tests, runs_resume_exactly);
    tcase_add_test(tests, transformers_are_taken_or_not);
    tcase_add_test(tests, fixed_segmenters_are_of_one_anisotropy);
    tcase_add_test(tests, shallow_patches_stay);
    tcase_add_test(tests, one_run_has_all_spacings);
    tcase_add_test(tests, models_know_their_classes_and_voxels);
    tcase_add_test(tests, what_cannot_be_learnt_is_refused);
    tcase_add_test(tests, sets_that_do_not_fit_are_refused);
    tcase_add_test(tests, programs_train_and_go_on);
    tcase_add_test(tests, programs_take_lists_with_splits);
    tcase_add_test(tests, programs_tell_what_is_wrong);
    suite_add_tcase(suite, tests);
    return suite;
}
