/* SPDX-License-Identifier: Apache-2.0 */
/* Both kinds of tokenizer through the public calls: files, losses, steps, what is refused. */
#include "lib/models/tokenizer.h"

#include <pumit/vit.h>

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

Suite *suite_tokenizer(void);

#define CHECK_OK(call) ck_assert_msg((call) == PUMIT_OK, "%s", pumit_last_error())
#define CHECK_FAILS(status, call)                                                                  \
    ck_assert_str_eq(pumit_status_name(call), pumit_status_name(status))
#define CHECK_NEAR(got, expected, bound)                                                           \
    ck_assert_msg(fabs((got) - (expected)) <= (bound), #got " is %.12g, not %.12g", (double)(got), \
                  (double)(expected))

static pumit_context *open_context(void)
{
    pumit_context *ctx;
    pumit_config *options;
    CHECK_OK(pumit_config_parse(&options, "{\"device\": \"cpu\", \"threads\": 1}"));
    CHECK_OK(pumit_context_create(&ctx, options));
    pumit_config_release(options);
    return ctx;
}

static const char *const tokenizers[] = {
    "{\"channels\": [8, 8], \"codes\": 12, \"code_dim\": 8, \"start_stride\": 2, "
    "\"mode\": \"gumbel\", \"seed\": 3}",
    "{\"model\": \"vqvae\", \"channels\": [32, 64], \"codes\": 12, \"code_dim\": 6, "
    "\"z_channels\": 5, \"res_blocks\": 1, \"seed\": 3}",
    "{\"model\": \"vqvae\", \"channels\": [32, 32, 32], \"codes\": 12, \"code_dim\": 6, "
    "\"z_channels\": 5, \"res_blocks\": 1, \"interpolate\": false, \"mode\": \"soft\"}"};
static const char *const kinds[] = {"tokenizer.simple", "tokenizer.vqvae", "tokenizer.vqvae"};
static const double spacing[3] = {2, 1, 1};

static pumit_tokenizer *make_tokenizer(pumit_context *ctx, const char *json)
{
    pumit_tokenizer *t;
    pumit_config *config;
    CHECK_OK(pumit_config_parse(&config, json));
    CHECK_OK(pumit_tokenizer_create(&t, ctx, config));
    pumit_config_release(config);
    return t;
}

static pumit_tensor *image(pumit_context *ctx)
{
    static const int64_t shape[5] = {2, 4, 8, 12, 3};
    static float values[2 * 4 * 8 * 12 * 3];
    pumit_tensor *x;
    for (int64_t i = 0; i < PUMIT__COUNT(values); i++)
        values[i] = (float)pumit__random_uniform(5, 6, (uint64_t)i);
    CHECK_OK(pumit_tensor_from_data(&x, ctx, PUMIT_F32, 5, shape, values));
    return x;
}

static void check_same(const pumit_tensor *a, const pumit_tensor *b)
{
    const int64_t count = pumit_tensor_count(a), bytes = count * (int64_t)sizeof(float);
    float *x = malloc((size_t)bytes), *y = malloc((size_t)bytes);
    CHECK_OK(pumit_tensor_read(a, PUMIT_F32, x, bytes));
    CHECK_OK(pumit_tensor_read(b, PUMIT_F32, y, bytes));
    ck_assert_mem_eq(x, y, (size_t)bytes);
    free(x);
    free(y);
}

/* Either kind comes back from its file by the same call. */
START_TEST(both_kinds_save_and_load)
{
    static const int64_t expected[5] = {2, 2, 2, 3, 12};
    char path[] = "/tmp/pumit-tokenizer-XXXXXX";
    close(mkstemp(path));
    pumit_context *ctx = open_context();
    pumit_tokenizer *t = make_tokenizer(ctx, tokenizers[_i]), *again;
    pumit_tensor *x = image(ctx), *tokens, *same, *decoded;
    ck_assert_str_eq(pumit_module_kind(pumit_tokenizer_module(t)), kinds[_i]);
    ck_assert_int_eq(pumit_tokenizer_patch(t)[0], 4);
    CHECK_OK(pumit_module_save(pumit_tokenizer_module(t), path, NULL));
    CHECK_OK(pumit_tokenizer_load(&again, ctx, path));
    ck_assert_str_eq(pumit_module_kind(pumit_tokenizer_module(again)), kinds[_i]);
    CHECK_OK(pumit_tokenizer_encode(&tokens, t, x, spacing));
    CHECK_OK(pumit_tokenizer_encode(&same, again, x, spacing));
    ck_assert_int_eq(pumit_tensor_ndim(tokens), 5);
    ck_assert_mem_eq(pumit_tensor_shape(tokens), expected, sizeof expected);
    check_same(tokens, same);
    CHECK_OK(pumit_tokenizer_decode(&decoded, again, tokens, spacing));
    ck_assert_mem_eq(pumit_tensor_shape(decoded), pumit_tensor_shape(x), 5 * sizeof(int64_t));
    pumit_tensor_release(same);
    CHECK_OK(pumit_tokenizer_reconstruct(&same, t, x, spacing));
    check_same(decoded, same);
    pumit_tensor_release(same);
    pumit_tensor_release(decoded);
    pumit_tensor_release(tokens);
    pumit_tensor_release(x);
    pumit_tokenizer_release(again);
    pumit_tokenizer_release(t);
    pumit_context_release(ctx);
    unlink(path);
}
END_TEST

static double loss_of(pumit_tokenizer *t, pumit_tensor *x, double *terms)
{
    pumit_tensor *loss;
    CHECK_OK(pumit_tokenizer_loss(&loss, terms, t, x, spacing, 0.5, 0.25));
    double value;
    CHECK_OK(pumit_tensor_item(&value, loss));
    CHECK_OK(pumit_tensor_backward(loss));
    pumit_tensor_release(loss);
    return value;
}

/* The loss is the sum of its terms, every parameter gathers a gradient, and steps repeat. */
START_TEST(losses_of_both_kinds)
{
    double terms[PUMIT_TERM_COUNT];
    pumit_context *ctx = open_context();
    pumit_tokenizer *t = make_tokenizer(ctx, tokenizers[_i]);
    pumit_module *module = pumit_tokenizer_module(t);
    pumit_tensor *x = image(ctx), *grad;
    CHECK_OK(pumit_tokenizer_set_step(t, 7, 100));
    const double first = loss_of(t, x, terms), second = loss_of(t, x, NULL);
    CHECK_NEAR(terms[PUMIT_TERM_L1] + 0.5 * terms[PUMIT_TERM_PRIOR] +
                   0.25 * terms[PUMIT_TERM_ENTROPY],
               first, 1e-5);
    ck_assert((terms[PUMIT_TERM_ENTROPY] > 0) == (_i != 1));
    ck_assert((terms[PUMIT_TERM_PRIOR] < 0) == (_i != 1));
    ck_assert((first == second) == (_i != 0)); /* another draw of the same step */
    CHECK_OK(pumit_tokenizer_set_step(t, 7, 100));
    ck_assert(loss_of(t, x, NULL) == first);
    for (int64_t i = 0; i < pumit_module_parameter_count(module); i++) {
        CHECK_OK(pumit_tensor_grad(&grad, pumit_module_parameter(module, i)));
        pumit_tensor_release(grad);
    }
    CHECK_NEAR(pumit_tokenizer_temperature(t), 1e-6 + 0.5 * (0.9 - 1e-6) * (1 + cos(0.07 * M_PI)),
               1e-12);
    CHECK_FAILS(PUMIT_ERROR_INVALID_ARGUMENT, pumit_tokenizer_set_step(t, -1, 100));
    CHECK_FAILS(PUMIT_ERROR_INVALID_ARGUMENT, pumit_tokenizer_set_step(t, 0, 0));
    pumit_tensor_release(x);
    pumit_tokenizer_release(t);
    pumit_context_release(ctx);
}
END_TEST

static const char *const wrong[] = {"{\"model\": \"vqgan\"}",
                                    "{\"mode\": \"hard\"}",
                                    "{\"mode\": 3}",
                                    "{\"codes\": 1}",
                                    "{\"code_dim\": 12}",
                                    "{\"channels\": [8, 12]}",
                                    "{\"channels\": [8, 8, 8, 8, 8, 8]}",
                                    "{\"mode\": \"nearest\", \"beta\": -1}",
                                    "{\"mode\": \"gumbel\", \"temperature_min\": 0}",
                                    "{\"mode\": \"gumbel\", \"temperature_min\": 1}",
                                    "{\"model\": \"vqvae\", \"channels\": [32, 48]}",
                                    "{\"model\": \"vqvae\", \"res_blocks\": 0}",
                                    "{\"model\": \"vqvae\", \"res_blocks\": 8}",
                                    "{\"model\": \"vqvae\", \"z_channels\": 0}",
                                    "{\"model\": \"vqvae\", \"code_dim\": 0}"};

START_TEST(wrong_configurations)
{
    pumit_context *ctx = open_context();
    pumit_tokenizer *t;
    pumit_config *config;
    CHECK_OK(pumit_config_parse(&config, wrong[_i]));
    CHECK_FAILS(PUMIT_ERROR_INVALID_ARGUMENT, pumit_tokenizer_create(&t, ctx, config));
    ck_assert_ptr_null(t);
    pumit_config_release(config);
    pumit_context_release(ctx);
}
END_TEST

/* A file of another network is refused by name. */
START_TEST(other_files_are_refused)
{
    char path[] = "/tmp/pumit-tokenizer-XXXXXX";
    close(mkstemp(path));
    pumit_context *ctx = open_context();
    pumit_tokenizer *t;
    pumit_config *config;
    pumit_vit *vit;
    CHECK_OK(
        pumit_config_parse(&config, "{\"dim\": 8, \"depth\": 1, \"heads\": 1, \"hidden\": 8}"));
    CHECK_OK(pumit_vit_create(&vit, ctx, config));
    CHECK_OK(pumit_module_save(pumit_vit_module(vit), path, NULL));
    CHECK_FAILS(PUMIT_ERROR_FORMAT, pumit_tokenizer_load(&t, ctx, path));
    ck_assert_ptr_null(t);
    ck_assert_ptr_nonnull(strstr(pumit_last_error(), "is a 'vit', not a 'tokenizer"));
    CHECK_FAILS(PUMIT_ERROR_NOT_FOUND, pumit_tokenizer_load(&t, ctx, "/nowhere/at.all"));
    ck_assert_ptr_null(t);
    pumit_config_release(config);
    pumit_vit_release(vit);
    pumit_context_release(ctx);
    unlink(path);
}
END_TEST

Suite *suite_tokenizer(void)
{
    Suite *suite = suite_create("tokenizer");
    TCase *whole = tcase_create("tokenizers");
    tcase_add_loop_test(whole, both_kinds_save_and_load, 0, (int)PUMIT__COUNT(tokenizers));
    tcase_add_loop_test(whole, losses_of_both_kinds, 0, (int)PUMIT__COUNT(tokenizers));
    tcase_add_loop_test(whole, wrong_configurations, 0, (int)PUMIT__COUNT(wrong));
    tcase_add_test(whole, other_files_are_refused);
    suite_add_tcase(suite, whole);
    return suite;
}
