/* SPDX-License-Identifier: Apache-2.0 */
/* Named parameters of every model: initial values, decay groups, files and their layout, what a broken file does. */
#include "lib/nn/module.h"
#include "lib/tensor/safetensors.h"

#include <pumit/classifier.h>
#include <pumit/sac.h>
#include <pumit/tokenizer.h>

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

Suite *suite_module(void);

#define CHECK_OK(call) ck_assert_msg((call) == PUMIT_OK, "%s", pumit_last_error())
#define CHECK_FAILS(status, call)                                                                  \
    ck_assert_str_eq(pumit_status_name(call), pumit_status_name(status))

static char folder[64], path[96], other_path[96];

static void make_folder(void)
{
    snprintf(folder, sizeof folder, "/tmp/pumit-test-module-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    snprintf(other_path, sizeof other_path, "%s/other.safetensors", folder);
}

static void remove_folder(void)
{
    unlink(path);
    unlink(other_path);
    ck_assert_int_eq(rmdir(folder), 0); /* no temporary file stayed */
}

static pumit_context *open_context(const char *device)
{
    pumit_context *ctx;
    pumit_config *options;
    CHECK_OK(pumit_config_parse(&options, "{\"threads\": 1}"));
    CHECK_OK(pumit_config_set_string(options, "device", device));
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

static void close_context(pumit_context *ctx)
{
    ck_assert_int_eq(in_use(ctx), 0);
    pumit_context_release(ctx);
}

/* -------------------------------------------------------------------------------- one of each model */

typedef struct {
    pumit_vit *vit;
    pumit_tokenizer *tokenizer;
    pumit_classifier *classifier;
    pumit_sac_conv *conv, *transposed;
    pumit_module *modules[5];
} models;

static const char settings[] =
    "{\"in_channels\": 1, \"patch\": [4, 4, 4], \"dim\": 8, \"depth\": 2, \"heads\": 2, "
    "\"hidden\": 12, \"pos_embed_shape\": [2, 3, 4], \"codes\": 5, \"classes\": 3, "
    "\"start_stride\": 4, \"channels\": [32, 32], \"code_dim\": 32, "
    "\"out_channels\": 3, \"kernel\": 2, \"stride\": 2}";

static models make_models(pumit_context *ctx, int64_t seed)
{
    models m;
    pumit_config *config;
    CHECK_OK(pumit_config_parse(&config, settings));
    CHECK_OK(pumit_config_set_int(config, "seed", seed));
    CHECK_OK(pumit_vit_create(&m.vit, ctx, config));
    CHECK_OK(pumit_classifier_create(&m.classifier, m.vit, config));
    CHECK_OK(pumit_tokenizer_create(&m.tokenizer, ctx, config));
    CHECK_OK(pumit_config_set_int(config, "in_channels", 2));
    CHECK_OK(pumit_sac_conv_create(&m.conv, ctx, config));
    CHECK_OK(pumit_config_set_bool(config, "transposed", 1));
    CHECK_OK(pumit_sac_conv_create(&m.transposed, ctx, config));
    pumit_config_release(config);
    m.modules[0] = pumit_vit_module(m.vit);
    m.modules[1] = pumit_classifier_module(m.classifier);
    m.modules[2] = pumit_tokenizer_module(m.tokenizer);
    m.modules[3] = pumit_sac_conv_module(m.conv);
    m.modules[4] = pumit_sac_conv_module(m.transposed);
    return m;
}

static void free_models(models *m)
{
    pumit_vit_release(m->vit); /* the classifier keeps it */
    pumit_classifier_release(m->classifier);
    pumit_tokenizer_release(m->tokenizer);
    pumit_sac_conv_release(m->conv);
    pumit_sac_conv_release(m->transposed);
}

static float *values_of(const pumit_tensor *tensor)
{
    const int64_t count = pumit_tensor_count(tensor);
    float *values = calloc((size_t)count, sizeof *values);
    ck_assert_ptr_nonnull(values);
    CHECK_OK(pumit_tensor_read(tensor, PUMIT_F32, values, 4 * count));
    return values;
}

/* Number of parameters whose values differ; names and shapes must be the same. */
static int64_t differing(const pumit_module *a, const pumit_module *b)
{
    int64_t different = 0;
    ck_assert_int_eq(pumit_module_parameter_count(a), pumit_module_parameter_count(b));
    for (int64_t i = 0; i < pumit_module_parameter_count(a); i++) {
        const pumit_tensor *s = pumit_module_parameter(a, i), *t = pumit_module_parameter(b, i);
        ck_assert_str_eq(pumit_module_parameter_name(a, i), pumit_module_parameter_name(b, i));
        ck_assert(pumit__same_shape(s, t));
        float *x = values_of(s), *y = values_of(t);
        different += memcmp(x, y, (size_t)pumit_tensor_count(s) * 4) != 0;
        free(x);
        free(y);
    }
    return different;
}

/* ------------------------------------------------------------------------------------ initial values */

START_TEST(seeds_decide_the_weights)
{
    pumit_context *ctx = open_context("cpu"), *reference = open_context("reference");
    models a = make_models(ctx, 3), b = make_models(reference, 3), c = make_models(ctx, 4);
    for (int i = 0; i < 5; i++) {
        ck_assert_int_eq(differing(a.modules[i], b.modules[i]), 0);
        ck_assert_int_gt(differing(a.modules[i], c.modules[i]), 0);
    }
    free_models(&a);
    free_models(&b);
    free_models(&c);
    close_context(ctx);
    close_context(reference);
}
END_TEST

START_TEST(initial_values_are_cut_normal)
{
    pumit_context *ctx = open_context("cpu");
    pumit_config *config;
    pumit_sac_conv *conv;
    CHECK_OK(pumit_config_parse(&config, "{\"in_channels\": 16, \"out_channels\": 16, "
                                         "\"kernel\": 4, \"stride\": 4}"));
    CHECK_OK(pumit_sac_conv_create(&conv, ctx, config));
    float *weight = values_of(pumit_module_parameter(pumit_sac_conv_module(conv), 0));
    float *bias = values_of(pumit_module_parameter(pumit_sac_conv_module(conv), 1));
    const int64_t count = 16 * 16 * 64;
    const double deviation = 1.0 / sqrt(16.0 * 64.0);
    double sum = 0.0, squares = 0.0, most = 0.0;
    for (int64_t i = 0; i < count; i++) {
        sum += weight[i];
        squares += (double)weight[i] * weight[i];
        most = fmax(most, fabs((double)weight[i]));
    }
    for (int i = 0; i < 16; i++) ck_assert(bias[i] == 0.0f);
    ck_assert(fabs(sum / (double)count) < 0.03 * deviation);
    ck_assert(fabs(sqrt(squares / (double)count) / deviation - 0.96) < 0.03); /* cut at two */
    ck_assert(most > 1.99 * deviation && most < 2.0001 * deviation);
    free(weight);
    free(bias);
    pumit_config_release(config);
    pumit_sac_conv_release(conv);
    close_context(ctx);
}
END_TEST

/* Only weights of linear and convolution layers decay; embeddings are neither. */
START_TEST(decay_groups_follow_the_names)
{
    pumit_context *ctx = open_context("cpu");
    models m = make_models(ctx, 0);
    for (int k = 0; k < 5; k++) {
        int64_t decaying = 0;
        for (int64_t i = 0; i < m.modules[k]->count; i++) {
            const pumit__parameter *p = &m.modules[k]->parameters[i];
            const bool matrix = pumit_tensor_ndim(p->tensor) >= 2;
            const bool expected = matrix && pumit__ends_with(p->name, "weight") &&
                                  !pumit__ends_with(p->name, "embedding.weight");
            ck_assert_msg(p->decays == expected, "%s", p->name);
            decaying += p->decays;
        }
        ck_assert_int_gt(decaying, 0);
    }
    free_models(&m);
    close_context(ctx);
}
END_TEST

START_TEST(parameters_are_found_by_name)
{
    pumit_context *ctx = open_context("cpu");
    models m = make_models(ctx, 0);
    pumit_module *module = m.modules[1];
    int64_t elements = 0;
    pumit_tensor *t, *grad;
    ck_assert_str_eq(pumit_module_kind(module), "classifier");
    for (int64_t i = 0; i < pumit_module_parameter_count(module); i++) {
        CHECK_OK(pumit_module_find(&t, module, pumit_module_parameter_name(module, i)));
        ck_assert_ptr_eq(t, pumit_module_parameter(module, i));
        elements += pumit_tensor_count(t);
    }
    ck_assert_int_eq(elements, pumit_module_element_count(module));
    CHECK_FAILS(PUMIT_ERROR_NOT_FOUND, pumit_module_find(&t, module, "no.such"));
    ck_assert_ptr_null(t);
    ck_assert_ptr_null(pumit_module_parameter_name(module, -1));
    ck_assert_ptr_null(pumit_module_parameter(module, pumit_module_parameter_count(module)));
    CHECK_OK(pumit_module_find(&t, module, "head.bias"));
    const int64_t mark = pumit__scope_begin(ctx);
    pumit_context_set_recording(ctx, 1);
    CHECK_OK(pumit_tensor_backward(pumit__mean(t)));
    pumit__scope_end(ctx, mark, NULL);
    CHECK_OK(pumit_tensor_grad(&grad, t));
    pumit_tensor_release(grad);
    pumit_module_zero_grad(module);
    CHECK_FAILS(PUMIT_ERROR_NOT_FOUND, pumit_tensor_grad(&grad, t));
    free_models(&m);
    close_context(ctx);
}
END_TEST

/* --------------------------------------------------------------------------------------------- files */

/* (O, k, k, k, I) in memory is (O, I, k, k, k) in the file: the last axis is its second. */
START_TEST(files_hold_the_published_layout)
{
    pumit_context *ctx = open_context("cpu");
    models m = make_models(ctx, 5);
    pumit_module *module = m.modules[3 + _i];
    const int64_t first = _i ? 2 : 3, last = _i ? 3 : 2; /* transposed ones are (I, k, k, k, O) */
    pumit__safetensors *file;
    CHECK_OK(pumit_module_save(module, path, NULL));
    CHECK_OK(pumit__safetensors_open(&file, path));
    const pumit__safetensors_entry *entry = pumit__safetensors_find(file, "weight");
    ck_assert_ptr_nonnull(entry);
    ck_assert(entry->dtype == PUMIT_F32 && entry->ndim == 5);
    ck_assert_mem_eq(entry->shape, ((int64_t[]){first, last, 2, 2, 2}), 40);
    float *weight = values_of(pumit_module_parameter(module, 0)), *stored = calloc(48, 4);
    memcpy(stored, entry->data, 48 * 4);
    for (int64_t a = 0; a < first; a++)
        for (int64_t b = 0; b < last; b++)
            for (int64_t k = 0; k < 8; k++)
                ck_assert(stored[(a * last + b) * 8 + k] == weight[(a * 8 + k) * last + b]);
    free(weight);
    free(stored);
    pumit__safetensors_close(file);
    free_models(&m);
    close_context(ctx);
}
END_TEST

static void check_file(const pumit_module *module, const char *model)
{
    pumit_config *info;
    const char *text;
    int64_t number;
    CHECK_OK(pumit_model_file_info(&info, path));
    CHECK_OK(pumit_config_get_string(&text, info, "pumit.model", ""));
    ck_assert_str_eq(text, model);
    CHECK_OK(pumit_config_get_string(&text, info, "licence", ""));
    ck_assert_str_eq(text, "CC-BY-4.0");
    CHECK_OK(pumit_config_get_int(&number, info, "tensors", 0));
    ck_assert_int_eq(number, pumit_module_parameter_count(module));
    CHECK_OK(pumit_config_get_int(&number, info, "elements", 0));
    ck_assert_int_eq(number, pumit_module_element_count(module));
    pumit_config_release(info);
}

static void save(const pumit_module *module)
{
    pumit_config *provenance;
    CHECK_OK(pumit_config_parse(&provenance, "{\"licence\": \"CC-BY-4.0\"}"));
    CHECK_OK(pumit_module_save(module, path, provenance));
    pumit_config_release(provenance);
}

START_TEST(models_come_back_from_files)
{
    pumit_context *ctx = open_context("cpu"), *reference = open_context("reference");
    models m = make_models(ctx, 9);
    pumit_vit *vit;
    pumit_classifier *classifier;
    pumit_tokenizer *tokenizer;
    pumit_tensor *head;
    CHECK_OK(pumit_module_find(&head, m.modules[1], "head.bias"));
    CHECK_OK(pumit_tensor_write(head, PUMIT_F32, (float[]){1, -2, 3}, 12));
    save(m.modules[0]);
    check_file(m.modules[0], "vit");
    CHECK_OK(pumit_vit_load(&vit, reference, path));
    ck_assert_int_eq(differing(m.modules[0], pumit_vit_module(vit)), 0);
    ck_assert_int_eq(pumit_vit_dim(vit), 8);
    pumit_vit_release(vit);
    save(m.modules[1]);
    check_file(m.modules[1], "classifier");
    CHECK_OK(pumit_classifier_load(&classifier, reference, path));
    ck_assert_int_eq(differing(m.modules[1], pumit_classifier_module(classifier)), 0);
    pumit_classifier_release(classifier);
    CHECK_OK(pumit_vit_load(&vit, reference, path)); /* a classifier's backbone */
    ck_assert_int_eq(differing(m.modules[0], pumit_vit_module(vit)), 0);
    pumit_vit_release(vit);
    save(m.modules[2]);
    check_file(m.modules[2], "tokenizer.simple");
    CHECK_OK(pumit_tokenizer_load(&tokenizer, reference, path));
    ck_assert_int_eq(differing(m.modules[2], pumit_tokenizer_module(tokenizer)), 0);
    pumit_tokenizer_release(tokenizer);
    free_models(&m);
    close_context(reference);
    close_context(ctx);
}
END_TEST

START_TEST(weights_load_by_name_and_prefix)
{
    pumit_context *ctx = open_context("cpu");
    models a = make_models(ctx, 1), b = make_models(ctx, 2);
    int64_t loaded;
    save(a.modules[1]);
    CHECK_OK(pumit_module_load_weights(b.modules[0], path, "backbone.", 1, &loaded));
    ck_assert_int_eq(loaded, pumit_module_parameter_count(b.modules[0]));
    ck_assert_int_eq(differing(a.modules[0], b.modules[0]), 0);
    free_models(&b);
    b = make_models(ctx, 2);
    CHECK_OK(pumit_module_load_weights(b.modules[0], path, NULL, 0, &loaded));
    ck_assert_int_eq(loaded, 0); /* nothing has these names without the prefix */
    CHECK_FAILS(PUMIT_ERROR_NOT_FOUND,
                pumit_module_load_weights(b.modules[0], path, NULL, 1, &loaded));
    ck_assert_ptr_nonnull(strstr(pumit_last_error(), "patch_embed.proj.weight"));
    free_models(&a);
    free_models(&b);
    close_context(ctx);
}
END_TEST

/* Writes path's file to other_path with one array dropped, turned or flat, or another metadata entry. */
static void rewrite(const char *drop, const char *turned, const char *flat, const char *key,
                    const char *value)
{
    pumit__safetensors *file;
    CHECK_OK(pumit__safetensors_open(&file, path));
    pumit__safetensors_entry entries[64];
    int64_t count = 0;
    for (int64_t i = 0; i < pumit__safetensors_count(file); i++) {
        pumit__safetensors_entry entry = *pumit__safetensors_entry_at(file, i);
        if (turned && strcmp(entry.name, turned) == 0) {
            const int64_t first = entry.shape[0];
            entry.shape[0] = entry.shape[1];
            entry.shape[1] = first;
        }
        if (flat && strcmp(entry.name, flat) == 0) {
            entry.shape[0] = entry.bytes / 4;
            entry.ndim = 1;
        }
        ck_assert_int_lt(count, 64);
        if (!drop || strcmp(entry.name, drop) != 0) entries[count++] = entry;
    }
    cJSON *metadata = cJSON_Duplicate(pumit__safetensors_all_metadata(file), 1);
    if (key) cJSON_DeleteItemFromObjectCaseSensitive(metadata, key);
    if (value) cJSON_AddStringToObject(metadata, key, value);
    CHECK_OK(pumit__safetensors_write(other_path, entries, count, metadata));
    cJSON_Delete(metadata);
    pumit__safetensors_close(file);
}

static void refuses(pumit_context *ctx, pumit_status expected, const char *reason)
{
    static char other;
    pumit_vit *vit = (void *)&other;
    const int64_t before = in_use(ctx);
    const pumit_status status = pumit_vit_load(&vit, ctx, other_path);
    ck_assert_msg(status == expected, "%s: %s (%s)", reason, pumit_status_name(status),
                  pumit_last_error());
    ck_assert_ptr_null(vit);
    ck_assert_msg(strstr(pumit_last_error(), reason), "'%s' is not in: %s", reason,
                  pumit_last_error());
    ck_assert_ptr_nonnull(strstr(pumit_last_error(), other_path));
    ck_assert_int_eq(in_use(ctx), before);
}

START_TEST(broken_model_files_are_refused)
{
    pumit_context *ctx = open_context("cpu");
    models m = make_models(ctx, 1);
    refuses(ctx, PUMIT_ERROR_NOT_FOUND, "No such file");
    save(m.modules[0]);
    rewrite("blocks.1.mlp.w3.bias", NULL, NULL, NULL, NULL);
    refuses(ctx, PUMIT_ERROR_NOT_FOUND, "blocks.1.mlp.w3.bias");
    rewrite(NULL, "blocks.0.mlp.w1.weight", NULL, NULL, NULL);
    refuses(ctx, PUMIT_ERROR_SHAPE, "blocks.0.mlp.w1.weight");
    rewrite(NULL, NULL, "patch_embed.proj.weight", NULL, NULL);
    refuses(ctx, PUMIT_ERROR_SHAPE, "patch_embed.proj.weight");
    rewrite(NULL, NULL, NULL, "pumit.model", "tokenizer.simple");
    refuses(ctx, PUMIT_ERROR_FORMAT, "tokenizer.simple");
    rewrite(NULL, NULL, NULL, "pumit.model", NULL);
    refuses(ctx, PUMIT_ERROR_FORMAT, "'vit'");
    rewrite(NULL, NULL, NULL, "pumit.config", NULL);
    refuses(ctx, PUMIT_ERROR_FORMAT, "pumit.config");
    rewrite(NULL, NULL, NULL, "pumit.config", "{\"dim\": 8");
    refuses(ctx, PUMIT_ERROR_FORMAT, "JSON");
    rewrite(NULL, NULL, NULL, "pumit.config", "{\"dim\": 7, \"heads\": 2}");
    refuses(ctx, PUMIT_ERROR_INVALID_ARGUMENT, "dim");
    rewrite(NULL, NULL, NULL, "pumit.config", "{\"dim\": \"wide\"}");
    refuses(ctx, PUMIT_ERROR_INVALID_ARGUMENT, "dim");
    free_models(&m);
    close_context(ctx);
}
END_TEST

START_TEST(wrong_calls_are_refused)
{
    pumit_context *ctx = open_context("cpu");
    models m = make_models(ctx, 1);
    pumit_config *config;
    char nowhere[128];
    snprintf(nowhere, sizeof nowhere, "%s/no/such/folder/x.safetensors", folder);
    const int64_t before = in_use(ctx);
    const pumit_status status = pumit_module_save(m.modules[0], nowhere, NULL);
    ck_assert_msg(status == PUMIT_ERROR_IO || status == PUMIT_ERROR_NOT_FOUND, "%s",
                  pumit_status_name(status));
    CHECK_FAILS(PUMIT_ERROR_INVALID_ARGUMENT, pumit_module_save(NULL, path, NULL));
    CHECK_FAILS(PUMIT_ERROR_INVALID_ARGUMENT, pumit_module_save(m.modules[0], NULL, NULL));
    CHECK_FAILS(PUMIT_ERROR_INVALID_ARGUMENT, pumit_module_load_weights(NULL, path, NULL, 1, NULL));
    CHECK_FAILS(PUMIT_ERROR_INVALID_ARGUMENT, pumit_module_config(&config, NULL));
    CHECK_FAILS(PUMIT_ERROR_INVALID_ARGUMENT, pumit_model_file_info(NULL, path));
    CHECK_FAILS(PUMIT_ERROR_NOT_FOUND, pumit_model_file_info(&config, path));
    ck_assert_ptr_null(config);
    CHECK_OK(pumit_module_config(&config, m.modules[2]));
    int64_t codes;
    CHECK_OK(pumit_config_get_int(&codes, config, "codes", 0));
    ck_assert_int_eq(codes, 5);
    pumit_config_release(config);
    ck_assert_int_eq(in_use(ctx), before);
    free_models(&m);
    close_context(ctx);
}
END_TEST

Suite *suite_module(void)
{
    Suite *suite = suite_create("module");
    TCase *values = tcase_create("values"), *files = tcase_create("files");
    tcase_add_test(values, seeds_decide_the_weights);
    tcase_add_test(values, initial_values_are_cut_normal);
    tcase_add_test(values, decay_groups_follow_the_names);
    tcase_add_test(values, parameters_are_found_by_name);
    tcase_add_checked_fixture(files, make_folder, remove_folder);
    tcase_add_loop_test(files, files_hold_the_published_layout, 0, 2);
    tcase_add_test(files, models_come_back_from_files);
    tcase_add_test(files, weights_load_by_name_and_prefix);
    tcase_add_test(files, broken_model_files_are_refused);
    tcase_add_test(files, wrong_calls_are_refused);
    suite_add_tcase(suite, values);
    suite_add_tcase(suite, files);
    return suite;
}
