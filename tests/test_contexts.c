/* SPDX-License-Identifier: Apache-2.0 */
/* A model refuses tensors of another context, whose element type its kernels would misread. */
#include <pumit/pumit.h>

#include <check.h>
#include <string.h>

Suite *suite_contexts(void);

#define CHECK_OK(call) ck_assert_msg((call) == PUMIT_OK, "%s", pumit_last_error())

static pumit_context *own, *other;
static pumit_tensor *image, *foreign, *visible, *foreign_visible;
static const double spacing[3] = {1, 1, 1};

static pumit_context *open_context(const char *device)
{
    pumit_config *options;
    pumit_context *ctx;
    CHECK_OK(pumit_config_create(&options));
    CHECK_OK(pumit_config_set_string(options, "device", device));
    CHECK_OK(pumit_context_create(&ctx, options));
    pumit_config_release(options);
    return ctx;
}

static void setup(void)
{
    const int64_t shape[5] = {1, 32, 32, 32, 3};
    own = open_context("cpu");
    other = open_context("reference64");
    CHECK_OK(pumit_tensor_create(&image, own, PUMIT_F32, 5, shape));
    CHECK_OK(pumit_tensor_create(&foreign, other, PUMIT_F64, 5, shape));
    CHECK_OK(pumit_vit_random_visible(&visible, own, 1, 8, 0.5, 1));
    CHECK_OK(pumit_vit_random_visible(&foreign_visible, other, 1, 8, 0.5, 1));
}

static void teardown(void)
{
    pumit_tensor_release(image);
    pumit_tensor_release(foreign);
    pumit_tensor_release(visible);
    pumit_tensor_release(foreign_visible);
    pumit_context_release(own);
    pumit_context_release(other);
}

static void check_refused(pumit_status status, const pumit_tensor *out)
{
    ck_assert_int_eq(status, PUMIT_ERROR_INVALID_ARGUMENT);
    ck_assert_ptr_null(out);
    ck_assert_ptr_nonnull(strstr(pumit_last_error(), "another context"));
}

START_TEST(models_refuse_foreign_tensors)
{
    pumit_config *config;
    pumit_tokenizer *tokenizer;
    pumit_vit *vit;
    pumit_tensor *out = NULL, *loss;
    CHECK_OK(pumit_config_parse(
        &config, "{\"channels\": [8, 8, 16], \"code_dim\": 16, \"codes\": 12, \"dim\": 24, "
                 "\"heads\": 2, \"depth\": 2, \"hidden\": 24}"));
    CHECK_OK(pumit_tokenizer_create(&tokenizer, own, config));
    CHECK_OK(pumit_vit_create(&vit, own, config));
    check_refused(pumit_tokenizer_encode(&out, tokenizer, foreign, spacing), out);
    check_refused(pumit_tokenizer_loss(&out, NULL, tokenizer, foreign, spacing, 1, 0.2), out);
    check_refused(pumit_vit_forward(&out, vit, foreign, spacing), out);
    check_refused(pumit_vit_mim_loss(&out, vit, tokenizer, image, spacing, foreign_visible), out);
    check_refused(pumit_vit_predict(&out, vit, foreign, spacing, visible), out);
    CHECK_OK(pumit_vit_mim_loss(&loss, vit, tokenizer, image, spacing, visible));
    pumit_tensor_release(loss);
    pumit_vit_release(vit);
    pumit_tokenizer_release(tokenizer);
    pumit_config_release(config);
}
END_TEST

Suite *suite_contexts(void)
{
    Suite *suite = suite_create("contexts");
    TCase *tcase = tcase_create("contexts");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, models_refuse_foreign_tensors);
    suite_add_tcase(suite, tcase);
    return suite;
}
