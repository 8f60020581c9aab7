/* SPDX-License-Identifier: Apache-2.0 */
/* Models whose matrices are loaded in 16 bits: results, memory, files, and that they do not train. */
#include "lib/nn/module.h"

#include <pumit/classifier.h>
#include <pumit/optimizer.h>

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

Suite *suite_weight_type(void);

#define CHECK_OK(call) ck_assert_msg((call) == PUMIT_OK, "%s", pumit_last_error())
#define CHECK_FAILS(status, call)                                                                  \
    ck_assert_str_eq(pumit_status_name(call), pumit_status_name(status))

#define DIM  64
#define SIDE 16
#define MODEL                                                                                      \
    "{\"dim\": 64, \"depth\": 3, \"heads\": 4, \"hidden\": 160, \"patch\": [4, 4, 4], "            \
    "\"pos_embed_shape\": [2, 2, 2], \"in_channels\": 1, \"seed\": 5}"

static char folder[64], path[96], other_path[96];

static void make_folder(void)
{
    snprintf(folder, sizeof folder, "/tmp/pumit-test-weights-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    snprintf(other_path, sizeof other_path, "%s/other.safetensors", folder);
}

static void remove_folder(void)
{
    unlink(path);
    unlink(other_path);
    ck_assert_int_eq(rmdir(folder), 0);
}

static pumit_context *open_context(const char *device, const char *type)
{
    pumit_context *ctx;
    pumit_config *options;
    CHECK_OK(pumit_config_parse(&options, "{\"threads\": 2}"));
    CHECK_OK(pumit_config_set_string(options, "device", device));
    CHECK_OK(pumit_config_set_string(options, "weight_type", type));
    CHECK_OK(pumit_context_create(&ctx, options));
    pumit_config_release(options);
    return ctx;
}

static int64_t in_use(const pumit_context *ctx)
{
    int64_t bytes;
    CHECK_OK(pumit_context_memory(ctx, &bytes, NULL, NULL));
    return bytes;
}

/* Writes a transformer with weights large enough for its blocks to count. */
static void write_model(void)
{
    pumit_context *ctx = open_context("cpu", "f32");
    pumit_config *config;
    pumit_vit *vit;
    CHECK_OK(pumit_config_parse(&config, MODEL));
    CHECK_OK(pumit_vit_create(&vit, ctx, config));
    pumit_module *module = pumit_vit_module(vit);
    for (int64_t i = 0; i < module->count; i++) {
        pumit_tensor *t = module->parameters[i].tensor;
        float *values = pumit__data(t);
        for (int64_t k = 0; t->ndim == 2 && k < pumit_tensor_count(t); k++) values[k] *= 5;
    }
    CHECK_OK(pumit_module_save(module, path, NULL));
    pumit_vit_release(vit);
    pumit_config_release(config);
    pumit_context_release(ctx);
}

/* Hidden states (257, DIM) of one image. */
static float *hidden_of(pumit_vit *vit, pumit_context *ctx, int64_t *count)
{
    static float image[SIDE * SIDE * SIDE];
    const int64_t shape[5] = {1, SIDE, SIDE, SIDE, 1};
    pumit_tensor *x, *y;
    uint32_t state = 1;
    for (size_t i = 0; i < sizeof image / sizeof *image; i++) {
        state = state * 1664525u + 1013904223u;
        image[i] = (float)(state >> 8) * 0x1p-24f;
    }
    CHECK_OK(pumit_tensor_create(&x, ctx, PUMIT_F32, 5, shape));
    CHECK_OK(pumit_tensor_write(x, PUMIT_F32, image, sizeof image));
    CHECK_OK(pumit_vit_forward(&y, vit, x, (double[3]){1, 1, 1}));
    *count = pumit_tensor_count(y);
    float *values = malloc((size_t)*count * sizeof *values);
    ck_assert_ptr_nonnull(values);
    CHECK_OK(pumit_tensor_read(y, PUMIT_F32, values, *count * (int64_t)sizeof *values));
    pumit_tensor_release(x);
    pumit_tensor_release(y);
    return values;
}

static float *hidden_of_file(const char *device, const char *type, const char *file, int64_t *count)
{
    pumit_context *ctx = open_context(device, type);
    pumit_vit *vit;
    CHECK_OK(pumit_vit_load(&vit, ctx, file));
    float *values = hidden_of(vit, ctx, count);
    pumit_vit_release(vit);
    ck_assert_int_eq(in_use(ctx), 0);
    pumit_context_release(ctx);
    return values;
}

static double relative_difference(const float *a, const float *b, int64_t count)
{
    double difference = 0, size = 0;
    for (int64_t i = 0; i < count; i++) {
        difference += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        size += (double)b[i] * b[i];
    }
    return sqrt(difference / size);
}

START_TEST(results_are_close)
{
    static const struct {
        const char *device, *type;
        double bound;
    } cases[] = {{"cpu", "bf16", 2e-2},
                 {"cpu", "f16", 5e-3},
                 {"reference", "bf16", 2e-2},
                 {"reference64", "f16", 5e-3}};
    int64_t count, same;
    write_model();
    float *exact = hidden_of_file("cpu", "f32", path, &count);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        float *near = hidden_of_file(cases[i].device, cases[i].type, path, &same);
        ck_assert_int_eq(same, count);
        const double by = relative_difference(near, exact, count);
        ck_assert_msg(by > cases[i].bound / 200 && by < cases[i].bound, "%s %s differs by %g",
                      cases[i].device, cases[i].type, by);
        free(near);
    }
    free(exact);
}
END_TEST

START_TEST(memory_halves)
{
    pumit_context *wide = open_context("cpu", "f32"), *narrow = open_context("cpu", "bf16");
    pumit_vit *a, *b;
    pumit_tensor *t;
    write_model();
    CHECK_OK(pumit_vit_load(&a, wide, path));
    CHECK_OK(pumit_vit_load(&b, narrow, path));
    int64_t matrices = 0;
    const pumit_module *module = pumit_vit_module(a);
    for (int64_t i = 0; i < module->count; i++)
        if (module->parameters[i].tensor->ndim == 2)
            matrices += pumit_tensor_count(module->parameters[i].tensor);
    ck_assert_int_eq(matrices, 3 * (4 * DIM * DIM + 3 * DIM * 160));
    /* Blocks are rounded up to their size class. */
    ck_assert_int_ge(in_use(wide) - in_use(narrow), matrices * 18 / 10);
    CHECK_OK(pumit_module_find(&t, pumit_vit_module(b), "blocks.1.mlp.w1.weight"));
    ck_assert_int_eq(t->dtype, PUMIT_BF16);
    CHECK_OK(pumit_module_find(&t, pumit_vit_module(b), "norm.weight"));
    ck_assert_int_eq(t->dtype, PUMIT_F32);
    pumit_vit_release(a);
    pumit_vit_release(b);
    pumit_context_release(wide);
    pumit_context_release(narrow);
}
END_TEST

START_TEST(files_in_16_bits_load)
{
    pumit_context *ctx = open_context("cpu", _i ? "f16" : "bf16");
    pumit_vit *vit;
    int64_t count;
    write_model();
    CHECK_OK(pumit_vit_load(&vit, ctx, path));
    float *before = hidden_of(vit, ctx, &count);
    CHECK_OK(pumit_module_save(pumit_vit_module(vit), other_path, NULL));
    float *again = hidden_of_file("cpu", _i ? "f16" : "bf16", other_path, &count);
    float *wide = hidden_of_file("cpu", "f32", other_path, &count);
    ck_assert_mem_eq(before, again, (size_t)count * sizeof *before);
    ck_assert(relative_difference(wide, before, count) < 2e-2);
    free(before);
    free(again);
    free(wide);
    pumit_vit_release(vit);
    pumit_context_release(ctx);
}
END_TEST

START_TEST(classifiers_hold_their_transformer_so)
{
    pumit_context *ctx = open_context("cpu", "f32"), *narrow = open_context("cpu", "f16");
    pumit_config *config;
    pumit_vit *vit;
    pumit_classifier *model;
    pumit_tensor *t;
    write_model();
    CHECK_OK(pumit_config_parse(&config, "{\"classes\": 3}"));
    CHECK_OK(pumit_vit_load(&vit, ctx, path));
    CHECK_OK(pumit_classifier_create(&model, vit, config));
    pumit_vit_release(vit);
    CHECK_OK(pumit_module_save(pumit_classifier_module(model), path, NULL));
    pumit_classifier_release(model);
    CHECK_OK(pumit_classifier_load(&model, narrow, path));
    pumit_module *module = pumit_classifier_module(model);
    CHECK_OK(pumit_module_find(&t, module, "backbone.blocks.0.attn.q_proj.weight"));
    ck_assert_int_eq(t->dtype, PUMIT_F16);
    CHECK_OK(pumit_module_find(&t, module, "head.weight"));
    ck_assert_int_eq(t->dtype, PUMIT_F32);
    pumit_classifier_release(model);
    pumit_config_release(config);
    pumit_context_release(ctx);
    pumit_context_release(narrow);
}
END_TEST

START_TEST(training_is_refused)
{
    pumit_context *ctx = open_context("cpu", "bf16");
    pumit_config *options;
    pumit_vit *vit;
    pumit_tensor *t;
    pumit_optimizer *optimizer;
    write_model();
    CHECK_OK(pumit_vit_load(&vit, ctx, path));
    pumit_module *module = pumit_vit_module(vit);
    for (int64_t i = 0; i < module->count; i++)
        ck_assert_ptr_null(module->parameters[i].tensor->slot); /* nothing wants a gradient */
    CHECK_FAILS(PUMIT_ERROR_STATE, pumit_optimizer_create(&optimizer, module, NULL));
    ck_assert_ptr_nonnull(strstr(pumit_last_error(), "weight_type"));
    CHECK_OK(pumit_module_find(&t, module, "blocks.0.attn.v_proj.weight"));
    CHECK_FAILS(PUMIT_ERROR_SHAPE, pumit_tensor_set_requires_grad(t, 1));
    ck_assert_ptr_nonnull(strstr(pumit_last_error(), "weight_type"));
    pumit_vit_release(vit);
    pumit_context_release(ctx);
    CHECK_OK(pumit_config_parse(&options, "{\"weight_type\": \"int8\"}"));
    CHECK_FAILS(PUMIT_ERROR_INVALID_ARGUMENT, pumit_context_create(&ctx, options));
    ck_assert_ptr_nonnull(strstr(pumit_last_error(), "int8"));
    pumit_config_release(options);
}
END_TEST

Suite *suite_weight_type(void)
{
    Suite *suite = suite_create("weight_type");
    TCase *all = tcase_create("all");
    tcase_add_checked_fixture(all, make_folder, remove_folder);
    tcase_add_test(all, results_are_close);
    tcase_add_test(all, memory_halves);
    tcase_add_loop_test(all, files_in_16_bits_load, 0, 2);
    tcase_add_test(all, classifiers_hold_their_transformer_so);
    tcase_add_test(all, training_is_refused);
    suite_add_tcase(suite, all);
    return suite;
}
