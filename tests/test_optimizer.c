/* SPDX-License-Identifier: Apache-2.0 */
/* AdamW against numbers worked out apart from the library, its groups, clipping, accumulation; the schedule. */
#include "lib/nn/optimizer.h"

#include <pumit/sac.h>

#include <check.h>
#include <math.h>
#include <string.h>

Suite *suite_optimizer(void);

#define CHECK_OK(call) ck_assert_msg((call) == PUMIT_OK, "%s", pumit_last_error())
#define CHECK_FAILS(status, call)                                                                  \
    ck_assert_str_eq(pumit_status_name(call), pumit_status_name(status))

/* A layer of one weight, which decays, and one bias, which does not: y = weight x + bias. */
typedef struct {
    pumit_context *ctx;
    pumit_sac_conv *conv;
    pumit_module *module;
    pumit_optimizer *optimizer;
    double tolerance;
} setup;

static void set(pumit_module *module, const char *name, double value)
{
    pumit_tensor *t;
    CHECK_OK(pumit_module_find(&t, module, name));
    CHECK_OK(pumit_tensor_write(t, PUMIT_F64, &value, sizeof value));
}

static double get(const pumit_module *module, const char *name)
{
    pumit_tensor *t;
    double value;
    CHECK_OK(pumit_module_find(&t, module, name));
    CHECK_OK(pumit_tensor_item(&value, t));
    return value;
}

static setup make(const char *device, const char *options)
{
    setup s;
    pumit_config *config;
    CHECK_OK(pumit_config_parse(&config, "{\"in_channels\": 1, \"out_channels\": 1, \"kernel\": 1, "
                                         "\"threads\": 1}"));
    CHECK_OK(pumit_config_set_string(config, "device", device));
    CHECK_OK(pumit_context_create(&s.ctx, config));
    CHECK_OK(pumit_sac_conv_create(&s.conv, s.ctx, config));
    pumit_config_release(config);
    s.module = pumit_sac_conv_module(s.conv);
    set(s.module, "weight", 1.0);
    set(s.module, "bias", 1.0);
    CHECK_OK(pumit_config_parse(&config, options));
    CHECK_OK(pumit_optimizer_create(&s.optimizer, s.module, config));
    pumit_config_release(config);
    s.tolerance = strcmp(device, "reference64") == 0 ? 1e-13 : 3e-7;
    return s;
}

static void finish(setup *s)
{
    int64_t bytes;
    pumit_sac_conv_release(s->conv);
    pumit_optimizer_release(s->optimizer); /* kept the module alive */
    CHECK_OK(pumit_context_memory(s->ctx, &bytes, NULL, NULL));
    ck_assert_int_eq(bytes, 0);
    pumit_context_release(s->ctx);
}

/* Adds `gradient` to the gradient of a parameter; by backward, as a loss would. */
static void give_gradient(const setup *s, const char *name, double gradient)
{
    pumit_tensor *t;
    CHECK_OK(pumit_module_find(&t, s->module, name));
    const int64_t mark = pumit__scope_begin(s->ctx);
    pumit_context_set_recording(s->ctx, 1);
    CHECK_OK(pumit_tensor_backward(pumit__mean(pumit__affine(t, gradient, 3.0))));
    pumit_context_set_recording(s->ctx, 0);
    pumit__scope_end(s->ctx, mark, NULL);
}

static void is_near(double got, double expected, double tolerance, const char *what)
{
    ck_assert_msg(fabs(got - expected) <= tolerance * fabs(expected), "%s is %.17g, not %.17g",
                  what, got, expected);
}

static int has_gradient(const setup *s, const char *name)
{
    pumit_tensor *t, *grad;
    CHECK_OK(pumit_module_find(&t, s->module, name));
    const pumit_status status = pumit_tensor_grad(&grad, t);
    pumit_tensor_release(grad);
    return status == PUMIT_OK;
}

/* -------------------------------------------------------------------------------------------- steps */

static const char *const devices[] = {"reference64", "reference", "cpu"};
static const double gradients[3] = {0.5, -0.25, 0.75};

/* The rule of torch.optim.AdamW worked out for these gradients, from 1 at a rate of 0.1; decay 0.05 or none. */
static const double plain[3] = {0.900000002, 0.8733662987078463, 0.8098342815496502};
static const double decayed[3] = {0.895000002, 0.8638912986978463, 0.796039825046161};
static const double first_moment[3] = {0.05, 0.02, 0.093};
static const double second_moment[3] = {0.00025, 0.00031225, 0.00087443775};

START_TEST(three_steps_match_the_formula)
{
    setup s = make(devices[_i], "{\"weight_decay\": 0.05}");
    ck_assert_int_eq(pumit__optimizer_state_count(s.optimizer), 4);
    for (int step = 0; step < 3; step++) {
        double norm, moment;
        const char *name;
        pumit_tensor *tensor;
        give_gradient(&s, "weight", gradients[step]);
        give_gradient(&s, "bias", gradients[step]);
        CHECK_OK(pumit_optimizer_step(s.optimizer, 0.1, 1, &norm));
        ck_assert_int_eq(pumit_optimizer_steps(s.optimizer), step + 1);
        is_near(norm, sqrt(2.0) * fabs(gradients[step]), s.tolerance, "the norm");
        is_near(get(s.module, "weight"), decayed[step], s.tolerance, "the weight");
        is_near(get(s.module, "bias"), plain[step], s.tolerance, "the bias");
        pumit__optimizer_state(s.optimizer, 0, &name, &tensor);
        ck_assert_str_eq(name, "exp_avg.weight");
        CHECK_OK(pumit_tensor_item(&moment, tensor));
        is_near(moment, first_moment[step], s.tolerance, name);
        pumit__optimizer_state(s.optimizer, 3, &name, &tensor);
        ck_assert_str_eq(name, "exp_avg_sq.bias");
        CHECK_OK(pumit_tensor_item(&moment, tensor));
        is_near(moment, second_moment[step], s.tolerance, name);
        ck_assert(!has_gradient(&s, "weight") && !has_gradient(&s, "bias"));
    }
    finish(&s);
}
END_TEST

/* The first rule whose prefix fits; the decay of weights shrinks with the rate. */
START_TEST(rates_have_factors)
{
    setup s = make("reference64", "{\"weight_decay\": 0.05, \"rate_factors\": [[\"weight\", 0.5], "
                                  "[\"w\", 7], [\"b\", 0], [\"\", 3]]}");
    for (int step = 0; step < 3; step++) {
        give_gradient(&s, "weight", gradients[step]);
        give_gradient(&s, "bias", gradients[step]);
        CHECK_OK(pumit_optimizer_step(s.optimizer, 0.2, 1, NULL));
        is_near(get(s.module, "weight"), decayed[step], s.tolerance, "the weight");
        is_near(get(s.module, "bias"), 1, 0, "the bias");
    }
    pumit_config *config;
    pumit_optimizer *optimizer;
    CHECK_OK(pumit_config_parse(&config, "{\"rate_factors\": [[\"weight\", -1]]}"));
    CHECK_FAILS(PUMIT_ERROR_INVALID_ARGUMENT, pumit_optimizer_create(&optimizer, s.module, config));
    pumit_config_release(config);
    finish(&s);
}
END_TEST

START_TEST(settings_are_used)
{
    setup s =
        make("reference64", "{\"weight_decay\": 0, \"beta1\": 0, \"beta2\": 0.5, \"eps\": 0.25}");
    double expected = 1.0, v = 0.0;
    for (int step = 1; step <= 3; step++) {
        const double g = gradients[step - 1];
        v = 0.5 * v + 0.5 * g * g;
        expected -= 0.2 * g / (sqrt(v / (1.0 - pow(0.5, step))) + 0.25);
        give_gradient(&s, "weight", g);
        CHECK_OK(pumit_optimizer_step(s.optimizer, 0.2, 1, NULL));
        is_near(get(s.module, "weight"), expected, 1e-13, "the weight");
    }
    finish(&s);
}
END_TEST

START_TEST(large_gradients_are_clipped)
{
    setup s = make(devices[_i], "{\"clip_norm\": 1, \"weight_decay\": 0}");
    const char *name;
    pumit_tensor *moment;
    double norm, value;
    give_gradient(&s, "weight", 3.0);
    give_gradient(&s, "bias", -4.0);
    CHECK_OK(pumit_optimizer_step(s.optimizer, 0.1, 1, &norm));
    is_near(norm, 5.0, s.tolerance, "the norm before clipping");
    pumit__optimizer_state(s.optimizer, 0, &name, &moment);
    CHECK_OK(pumit_tensor_item(&value, moment));
    is_near(value, 0.1 * 3.0 / (5.0 + 1e-6), s.tolerance, "the moment");
    give_gradient(&s, "weight", 0.5);
    CHECK_OK(pumit_optimizer_step(s.optimizer, 0.1, 1, NULL)); /* below the limit: as it is */
    CHECK_OK(pumit_tensor_item(&value, moment));
    is_near(value, 0.9 * 0.1 * 3.0 / (5.0 + 1e-6) + 0.1 * 0.5, s.tolerance, "the moment");
    finish(&s);
}
END_TEST

START_TEST(gathered_losses_are_averaged)
{
    setup s = make(devices[_i], "{\"weight_decay\": 0, \"clip_norm\": 10}");
    double norm;
    give_gradient(&s, "bias", 0.75);
    give_gradient(&s, "bias", 0.25);
    CHECK_OK(pumit_optimizer_step(s.optimizer, 0.1, 2, &norm)); /* as one gradient of 0.5 */
    is_near(norm, 0.5, s.tolerance, "the norm");
    is_near(get(s.module, "bias"), plain[0], s.tolerance, "the bias");
    for (int i = 0; i < 4; i++) give_gradient(&s, "bias", -0.25);
    CHECK_OK(pumit_optimizer_step(s.optimizer, 0.1, 4, NULL));
    is_near(get(s.module, "bias"), plain[1], s.tolerance, "the bias");
    finish(&s);
}
END_TEST

START_TEST(parameters_without_gradient_stay)
{
    setup s = make("cpu", "{\"weight_decay\": 0.5}");
    give_gradient(&s, "bias", 0.5);
    CHECK_OK(pumit_optimizer_step(s.optimizer, 0.1, 1, NULL));
    ck_assert(get(s.module, "weight") == 1.0); /* not even decayed */
    is_near(get(s.module, "bias"), plain[0], s.tolerance, "the bias");
    finish(&s);
}
END_TEST

START_TEST(frozen_parameters_stay)
{
    setup s = make("cpu", "{\"weight_decay\": 0.5, \"frozen\": \"wei\"}");
    double norm;
    ck_assert_int_eq(pumit__optimizer_state_count(s.optimizer), 2);
    give_gradient(&s, "weight", 3.0);
    give_gradient(&s, "bias", 0.5);
    CHECK_OK(pumit_optimizer_step(s.optimizer, 0.1, 1, &norm));
    ck_assert(get(s.module, "weight") == 1.0);
    is_near(get(s.module, "bias"), plain[0], s.tolerance, "the bias");
    is_near(norm, 0.5, s.tolerance, "the norm of what is trained");
    ck_assert(!has_gradient(&s, "weight"));
    finish(&s);
    s = make("cpu", "{\"frozen\": \"\"}"); /* no name begins with nothing */
    ck_assert_int_eq(pumit__optimizer_state_count(s.optimizer), 4);
    finish(&s);
}
END_TEST

START_TEST(broken_gradients_change_nothing)
{
    static const double broken[] = {INFINITY, -INFINITY, NAN};
    setup s = make(devices[_i], "{\"weight_decay\": 0.05, \"clip_norm\": 1}");
    give_gradient(&s, "bias", gradients[0]);
    CHECK_OK(pumit_optimizer_step(s.optimizer, 0.1, 1, NULL));
    for (int64_t i = 0; i < PUMIT__COUNT(broken); i++) {
        double norm = 0.0;
        give_gradient(&s, "weight", broken[i]);
        give_gradient(&s, "bias", 1.0);
        CHECK_FAILS(PUMIT_ERROR_STATE, pumit_optimizer_step(s.optimizer, 0.1, 1, &norm));
        ck_assert(!isfinite(norm));
        ck_assert(get(s.module, "weight") == 1.0);
        is_near(get(s.module, "bias"), plain[0], s.tolerance, "the bias");
        ck_assert_int_eq(pumit_optimizer_steps(s.optimizer), 1);
        ck_assert(!has_gradient(&s, "weight") && !has_gradient(&s, "bias"));
    }
    give_gradient(&s, "bias", gradients[1]); /* and the next step is as if nothing had been */
    CHECK_OK(pumit_optimizer_step(s.optimizer, 0.1, 1, NULL));
    is_near(get(s.module, "bias"), plain[1], s.tolerance, "the bias");
    finish(&s);
}
END_TEST

START_TEST(nonsense_is_refused)
{
    static const char *const broken[] = {
        "{\"beta1\": 1}",        "{\"beta1\": -0.1}",     "{\"beta2\": 1.5}",
        "{\"eps\": 0}",          "{\"clip_norm\": -1}",   "{\"weight_decay\": -0.1}",
        "{\"beta1\": \"high\"}", "{\"frozen\": [\"a\"]}",
    };
    setup s = make("cpu", "{}");
    for (int64_t i = 0; i < PUMIT__COUNT(broken); i++) {
        static char other;
        pumit_config *config;
        pumit_optimizer *o = (void *)&other;
        CHECK_OK(pumit_config_parse(&config, broken[i]));
        const pumit_status status = pumit_optimizer_create(&o, s.module, config);
        ck_assert_msg(status == PUMIT_ERROR_INVALID_ARGUMENT, "%s: %s", broken[i],
                      pumit_status_name(status));
        ck_assert_ptr_null(o);
        pumit_config_release(config);
    }
    CHECK_FAILS(PUMIT_ERROR_INVALID_ARGUMENT, pumit_optimizer_create(NULL, s.module, NULL));
    CHECK_FAILS(PUMIT_ERROR_INVALID_ARGUMENT, pumit_optimizer_step(s.optimizer, 0.1, 0, NULL));
    CHECK_FAILS(PUMIT_ERROR_INVALID_ARGUMENT, pumit_optimizer_step(s.optimizer, NAN, 1, NULL));
    CHECK_FAILS(PUMIT_ERROR_INVALID_ARGUMENT, pumit_optimizer_step(NULL, 0.1, 1, NULL));
    pumit_optimizer_release(NULL);
    finish(&s);
}
END_TEST

/* ----------------------------------------------------------------------------------------- schedule */

START_TEST(rate_warms_up_and_falls)
{
    static const struct {
        int64_t step;
        double base;
        int64_t most, warmup;
        double least, rate;
    } points[] = {
        {0, 0.001, 100, 10, 1e-06, 0.0},
        {5, 0.001, 100, 10, 1e-06, 0.0005},
        {10, 0.001, 100, 10, 1e-06, 0.001},
        {35, 0.001, 100, 10, 1e-06, 0.00085369983720268053},
        {60, 0.001, 100, 10, 1e-06, 0.00050050000000000008},
        {109, 0.001, 100, 10, 1e-06, 1.2464730973170658e-06},
        {110, 0.001, 100, 10, 1e-06, 1e-06},
        {1000000000, 0.001, 100, 10, 1e-06, 1e-06},
        {0, 0.5, 4, 0, 0.1, 0.5}, /* no warm-up */
        {1, 0.5, 4, 0, 0.1, 0.44142135623730949},
        {3, 0.5, 4, 0, 0.1, 0.15857864376269051},
        {7, 0.0003, 0, 5, 0.0, 0.0}, /* nothing after the warm-up */
    };
    for (int64_t i = 0; i < PUMIT__COUNT(points); i++) {
        const double rate = pumit_cosine_rate(points[i].step, points[i].base, points[i].most,
                                              points[i].warmup, points[i].least);
        ck_assert_msg(fabs(rate - points[i].rate) <= 1e-14 * points[i].base,
                      "the rate of step %d is %.17g, not %.17g", (int)points[i].step, rate,
                      points[i].rate);
    }
}
END_TEST

Suite *suite_optimizer(void)
{
    const int count = (int)PUMIT__COUNT(devices);
    Suite *suite = suite_create("optimizer");
    TCase *tcase = tcase_create("optimizer");
    tcase_add_loop_test(tcase, three_steps_match_the_formula, 0, count);
    tcase_add_test(tcase, settings_are_used);
    tcase_add_test(tcase, rates_have_factors);
    tcase_add_loop_test(tcase, large_gradients_are_clipped, 0, count);
    tcase_add_loop_test(tcase, gathered_losses_are_averaged, 0, count);
    tcase_add_test(tcase, parameters_without_gradient_stay);
    tcase_add_test(tcase, frozen_parameters_stay);
    tcase_add_loop_test(tcase, broken_gradients_change_nothing, 0, count);
    tcase_add_test(tcase, nonsense_is_refused);
    tcase_add_test(tcase, rate_warms_up_and_falls);
    suite_add_tcase(suite, tcase);
    return suite;
}
