/* SPDX-License-Identifier: Apache-2.0 */
/* The discriminator's public calls: scores, both losses and where their gradients go, files, the generator's gate. */
#include "lib/models/discriminator.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

Suite *suite_discriminator(void);

#define CHECK_OK(call) ck_assert_msg((call) == PUMIT_OK, "%s", pumit_last_error())
#define CHECK_FAILS(status, call)                                                                  \
    ck_assert_str_eq(pumit_status_name(call), pumit_status_name(status))
#define CHECK_NEAR(got, expected, bound)                                                           \
    ck_assert_msg(fabs((got) - (expected)) <= (bound), #got " is %.12g, not %.12g", (double)(got), \
                  (double)(expected))

static const double spacing[3] = {2, 1, 1};

/* A discriminator with a real and a fake image, as each test begins. */
static pumit_context *ctx;
static pumit_discriminator *d;
static pumit_tensor *real, *fake;

static pumit_tensor *image(uint64_t stream)
{
    static const int64_t shape[5] = {2, 3, 8, 12, 1};
    double values[2 * 3 * 8 * 12];
    pumit_tensor *x;
    CHECK_OK(pumit_tensor_create(&x, ctx, PUMIT_F32, 5, shape));
    for (int64_t i = 0; i < PUMIT__COUNT(values); i++)
        values[i] = pumit__random_uniform(5, stream, (uint64_t)i);
    CHECK_OK(pumit_tensor_write(x, PUMIT_F64, values, sizeof values));
    return x;
}

static void make(const char *json)
{
    pumit_config *config;
    CHECK_OK(pumit_config_parse(&config, json));
    CHECK_OK(pumit_discriminator_create(&d, ctx, config));
    pumit_config_release(config);
}

static void setup(void)
{
    pumit_config *options;
    CHECK_OK(pumit_config_parse(&options, "{\"device\": \"cpu\", \"threads\": 1}"));
    CHECK_OK(pumit_context_create(&ctx, options));
    pumit_config_release(options);
    make("{\"in_channels\": 1, \"channels\": [16, 32], \"post_convs\": 2, \"seed\": 3}");
    real = image(1);
    fake = image(2);
}

static void teardown(void)
{
    pumit_tensor_release(real);
    pumit_tensor_release(fake);
    pumit_discriminator_release(d);
    pumit_context_release(ctx);
}

static double item(const pumit_tensor *scalar)
{
    double value;
    CHECK_OK(pumit_tensor_item(&value, scalar));
    return value;
}

/* The mean of f over the scores of an image. */
static double mean_score(pumit_tensor *x, double (*f)(double))
{
    pumit_tensor *scores;
    double values[2 * 2 * 2 * 3], sum = 0;
    static const int64_t shape[5] = {2, 2, 2, 3, 1};
    CHECK_OK(pumit_discriminator_forward(&scores, d, x, spacing));
    ck_assert_int_eq(pumit_tensor_ndim(scores), 5);
    ck_assert_mem_eq(pumit_tensor_shape(scores), shape, sizeof shape);
    CHECK_OK(pumit_tensor_read(scores, PUMIT_F64, values, sizeof values));
    for (int64_t i = 0; i < PUMIT__COUNT(values); i++) sum += f(values[i]);
    pumit_tensor_release(scores);
    return sum / (double)PUMIT__COUNT(values);
}

static double of_real(double score)
{
    return fmax(0, 1 - score);
}

static double of_fake(double score)
{
    return fmax(0, 1 + score);
}

static double as_it_is(double score)
{
    return score;
}

/* Half the hinge loss of both; every parameter gathers a gradient, no image does. */
START_TEST(loss_of_the_discriminator)
{
    pumit_tensor *loss, *grad;
    pumit_module *module = pumit_discriminator_module(d);
    CHECK_OK(pumit_tensor_set_requires_grad(fake, 1));
    CHECK_OK(pumit_discriminator_loss(&loss, d, real, fake, spacing));
    CHECK_NEAR(item(loss), 0.5 * (mean_score(real, of_real) + mean_score(fake, of_fake)), 1e-5);
    CHECK_OK(pumit_tensor_backward(loss));
    CHECK_FAILS(PUMIT_ERROR_NOT_FOUND, pumit_tensor_grad(&grad, fake));
    for (int64_t i = 0; i < pumit_module_parameter_count(module); i++) {
        CHECK_OK(pumit_tensor_grad(&grad, pumit_module_parameter(module, i)));
        pumit_tensor_release(grad);
    }
    pumit_tensor_release(loss);
}
END_TEST

START_TEST(loss_of_the_generator)
{
    pumit_tensor *loss, *grad;
    double values[2 * 3 * 8 * 12], sum = 0;
    CHECK_OK(pumit_tensor_set_requires_grad(fake, 1));
    CHECK_OK(pumit_discriminator_generator_loss(&loss, d, fake, spacing));
    CHECK_NEAR(item(loss), -mean_score(fake, as_it_is), 1e-5);
    CHECK_OK(pumit_tensor_backward(loss));
    CHECK_OK(pumit_tensor_grad(&grad, fake));
    CHECK_OK(pumit_tensor_read(grad, PUMIT_F64, values, sizeof values));
    for (int64_t i = 0; i < PUMIT__COUNT(values); i++) sum += fabs(values[i]);
    ck_assert(sum > 1e-4 && isfinite(sum));
    pumit_tensor_release(grad);
    pumit_tensor_release(loss);
}
END_TEST

START_TEST(saved_and_loaded)
{
    char path[] = "/tmp/pumit-discriminator-XXXXXX";
    close(mkstemp(path));
    const double before = mean_score(real, as_it_is);
    ck_assert_str_eq(pumit_module_kind(pumit_discriminator_module(d)), "discriminator");
    CHECK_OK(pumit_module_save(pumit_discriminator_module(d), path, NULL));
    pumit_discriminator_release(d);
    CHECK_OK(pumit_discriminator_load(&d, ctx, path));
    ck_assert(mean_score(real, as_it_is) == before);
    unlink(path);
}
END_TEST

START_TEST(what_is_refused)
{
    static const char *const wrong[] = {"{\"in_channels\": 0}", "{\"channels\": [16, 24]}",
                                        "{\"post_convs\": -1}", "{\"post_convs\": 9}"};
    static const int64_t flat[4] = {1, 8, 8, 1}, colour[5] = {1, 4, 8, 8, 3};
    pumit_tensor *out, *x;
    for (int64_t i = 0; i < PUMIT__COUNT(wrong); i++) {
        pumit_config *config;
        pumit_discriminator *none;
        CHECK_OK(pumit_config_parse(&config, wrong[i]));
        CHECK_FAILS(PUMIT_ERROR_INVALID_ARGUMENT, pumit_discriminator_create(&none, ctx, config));
        ck_assert_ptr_null(none);
        pumit_config_release(config);
    }
    CHECK_OK(pumit_tensor_create(&x, ctx, PUMIT_F32, 4, flat));
    CHECK_FAILS(PUMIT_ERROR_SHAPE, pumit_discriminator_forward(&out, d, x, spacing));
    pumit_tensor_release(x);
    CHECK_OK(pumit_tensor_create(&x, ctx, PUMIT_F32, 5, colour));
    CHECK_FAILS(PUMIT_ERROR_SHAPE, pumit_discriminator_loss(&out, d, real, x, spacing));
    ck_assert_ptr_null(out);
    pumit_tensor_release(x);
}
END_TEST

/* Open only while both the last loss and their average are low. */
START_TEST(gate_of_the_generator)
{
    pumit__gan_gate gate = pumit__gan_gate_create();
    gate.threshold = 0.5;
    ck_assert(!pumit__gan_gate_is_open(&gate));
    pumit__gan_gate_update(&gate, 0.5);
    CHECK_NEAR(gate.average, 0.1 * 0.9 + 0.5 * 0.1, 1e-15);
    ck_assert(pumit__gan_gate_is_open(&gate));
    pumit__gan_gate_update(&gate, 0.6);
    ck_assert(!pumit__gan_gate_is_open(&gate));
    pumit__gan_gate_update(&gate, 9);
    pumit__gan_gate_update(&gate, 0.1);
    ck_assert(gate.last <= gate.threshold && !pumit__gan_gate_is_open(&gate));
    pumit__gan_gate_update(&gate, NAN);
    ck_assert(!pumit__gan_gate_is_open(&gate));
    gate.last = 0; /* an average that is lost does not open it */
    ck_assert(!pumit__gan_gate_is_open(&gate));
}
END_TEST

/*
 * As the paper has it: with losses of 0.02 the average is 0.02 + 0.08 * 0.9^n after n of them, below 0.025 from the 27th on
 * (0.9^26 = 0.0646, 0.9^27 = 0.0581). One of 0.03 closes the gate, though the average stays below.
 */
START_TEST(gate_opens_late)
{
    pumit__gan_gate gate = pumit__gan_gate_create();
    for (int n = 1; n <= 40; n++) {
        pumit__gan_gate_update(&gate, 0.02);
        CHECK_NEAR(gate.average, 0.02 + 0.08 * pow(0.9, n), 1e-15);
        ck_assert(pumit__gan_gate_is_open(&gate) == (n >= 27));
    }
    pumit__gan_gate_update(&gate, 0.03);
    ck_assert(gate.average < 0.025 && !pumit__gan_gate_is_open(&gate));
    pumit__gan_gate_update(&gate, 0.02);
    ck_assert(pumit__gan_gate_is_open(&gate));
}
END_TEST

Suite *suite_discriminator(void)
{
    Suite *suite = suite_create("discriminator");
    TCase *tcase = tcase_create("discriminator");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, loss_of_the_discriminator);
    tcase_add_test(tcase, loss_of_the_generator);
    tcase_add_test(tcase, saved_and_loaded);
    tcase_add_test(tcase, what_is_refused);
    tcase_add_test(tcase, gate_of_the_generator);
    tcase_add_test(tcase, gate_opens_late);
    suite_add_tcase(suite, tcase);
    return suite;
}
