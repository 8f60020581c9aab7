/* SPDX-License-Identifier: Apache-2.0 */
/* A model refuses what it would misread: tensors of another context, tokens of another grid, images of another rank. */
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

/* Tokens of another grid, and an image without the axis that counts the labels. */
START_TEST(models_refuse_what_does_not_go_together)
{
    pumit_config *config;
    pumit_tokenizer *tokenizer;
    pumit_vit *vit;
    pumit_classifier *classifier;
    pumit_tensor *out = NULL, *flat;
    const int64_t shape[4] = {64, 32, 32, 3}, label = 1;
    CHECK_OK(pumit_config_parse(
        &config,
        "{\"channels\": [8, 8], \"start_stride\": 4, \"code_dim\": 16, \"codes\": 12, \"dim\": 24, "
        "\"heads\": 2, \"depth\": 1, \"hidden\": 24, \"patch\": [8, 16, 16], \"classes\": 2}"));
    CHECK_OK(pumit_tokenizer_create(&tokenizer, own, config));
    CHECK_OK(pumit_vit_create(&vit, own, config));
    CHECK_OK(pumit_classifier_create(&classifier, vit, config));
    CHECK_OK(pumit_tensor_create(&flat, own, PUMIT_F32, 4, shape));
    ck_assert_int_eq(pumit_vit_mim_loss(&out, vit, tokenizer, image, spacing, visible),
                     PUMIT_ERROR_SHAPE);
    ck_assert_ptr_null(out);
    ck_assert_int_eq(pumit_classifier_loss(&out, classifier, flat, spacing, &label),
                     PUMIT_ERROR_SHAPE);
    ck_assert_ptr_null(out);
    pumit_tensor_release(flat);
    pumit_classifier_release(classifier);
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
    tcase_add_test(tcase, models_refuse_what_does_not_go_together);
    suite_add_tcase(suite, tcase);
    return suite;
}
