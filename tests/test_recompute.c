/* SPDX-License-Identifier: Apache-2.0 */
/* Stretches of a network that backward computes again: the same gradients, inside each other, without one by x, and out of memory. */
#include "kernels/backends.h"
#include "lib/tensor/recompute.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

Suite *suite_recompute(void);

#define CHECK_OK(call) ck_assert_msg((call) == PUMIT_OK, "%s", pumit_last_error())

#define ROWS  6
#define WIDTH 16

/* Weight, bias, and x; how many references stretches hold, and how often one ran. */
typedef struct {
    pumit_context *ctx;
    pumit_tensor *tensors[3];
    int held, runs;
} scene;

static scene open_scene(const char *device)
{
    scene s = {0};
    pumit_config *options;
    CHECK_OK(pumit_config_create(&options));
    CHECK_OK(pumit_config_set_string(options, "device", device));
    CHECK_OK(pumit_config_set_int(options, "threads", 1));
    CHECK_OK(pumit_context_create(&s.ctx, options));
    pumit_config_release(options);
    const int64_t rows[3] = {WIDTH, WIDTH, ROWS}, ndim[3] = {2, 1, 2};
    for (int i = 0; i < 3; i++) {
        const int64_t shape[2] = {rows[i], WIDTH};
        void *data;
        CHECK_OK(pumit_tensor_create(&s.tensors[i], s.ctx, s.ctx->real, (int32_t)ndim[i], shape));
        CHECK_OK(pumit_tensor_data(&data, s.tensors[i]));
        for (int64_t k = 0; k < pumit_tensor_count(s.tensors[i]); k++) {
            const double value = 0.3 * pumit__random_normal(3, (uint64_t)i, (uint64_t)k);
            if (s.ctx->real == PUMIT_F32)
                ((float *)data)[k] = (float)value;
            else
                ((double *)data)[k] = value;
        }
        CHECK_OK(pumit_tensor_set_requires_grad(s.tensors[i], 1));
    }
    pumit_context_set_recording(s.ctx, 1);
    return s;
}

static void close_scene(scene *s)
{
    int64_t in_use;
    for (int i = 0; i < 3; i++) pumit_tensor_release(s->tensors[i]);
    CHECK_OK(pumit_context_memory(s->ctx, &in_use, NULL, NULL));
    ck_assert_int_eq(in_use, 0);
    ck_assert_int_eq(s->held, 0);
    pumit_context_release(s->ctx);
}

static void give_back(void *model)
{
    ((scene *)model)->held--;
}

typedef pumit_tensor *(*run_fn)(const pumit__stretch *stretch, pumit_tensor *x);

/* run() on x: at once, or again in backward. */
static pumit_tensor *call(scene *s, run_fn run, pumit_tensor *x, int64_t number, bool again)
{
    pumit__stretch stretch = {.run = run, .model = s, .number = number};
    if (!again) return run(&stretch, x);
    stretch.release = give_back;
    s->held++;
    return pumit__recompute(&stretch, x);
}

/* x + number gelu(linear(x)) */
static pumit_tensor *layer(const pumit__stretch *stretch, pumit_tensor *x)
{
    scene *s = stretch->model;
    s->runs++;
    pumit_tensor *y = pumit__gelu(pumit__linear(x, s->tensors[0], s->tensors[1]));
    return pumit__add(x, pumit__affine(y, (double)stretch->number, 0.0));
}

static pumit_tensor *two_layers(const pumit__stretch *stretch, pumit_tensor *x)
{
    scene *s = stretch->model;
    const bool again = stretch->release != NULL;
    return call(s, layer, call(s, layer, x, 2, again), stretch->number, again);
}

static pumit_tensor *itself(const pumit__stretch *stretch, pumit_tensor *x)
{
    (void)stretch;
    return x;
}

static pumit_tensor *bias_alone(const pumit__stretch *stretch, pumit_tensor *x)
{
    (void)x;
    return ((scene *)stretch->model)->tensors[1];
}

static pumit_status pass(scene *s, run_fn run, bool again)
{
    const int64_t mark = pumit__scope_begin(s->ctx);
    pumit_tensor *x = call(s, run, pumit__affine(s->tensors[2], 2.0, 0.1), 1, again);
    x = call(s, run, x, 3, again);
    pumit_tensor *loss = x ? pumit__mean(pumit__mul(x, x)) : NULL;
    const pumit_status status = loss ? pumit_tensor_backward(loss) : pumit__last_status();
    pumit__scope_end(s->ctx, mark, NULL);
    return status;
}

/* Values of a gradient, or zeros where there is none. */
static void read_gradient(double *values, const scene *s, int i)
{
    pumit_tensor *grad;
    const int64_t count = pumit_tensor_count(s->tensors[i]);
    memset(values, 0, (size_t)count * sizeof *values);
    if (pumit_tensor_grad(&grad, s->tensors[i]) != PUMIT_OK) return;
    CHECK_OK(pumit_tensor_read(grad, PUMIT_F64, values, count * (int64_t)sizeof *values));
    pumit_tensor_release(grad);
}

static void check_same(const char *device, run_fn run, bool by_x)
{
    double gradient[2][3][WIDTH * WIDTH], sum = 0;
    for (int again = 0; again < 2; again++) {
        scene s = open_scene(device);
        if (!by_x) CHECK_OK(pumit_tensor_set_requires_grad(s.tensors[2], 0));
        for (int i = 0; i < 2; i++) CHECK_OK(pass(&s, run, again == 1)); /* gradients gather */
        for (int i = 0; i < 3; i++) read_gradient(gradient[again][i], &s, i);
        close_scene(&s);
    }
    const int count[3] = {WIDTH * WIDTH, WIDTH, ROWS * WIDTH};
    for (int i = 0; i < 3; i++)
        for (int k = 0; k < count[i]; k++) {
            ck_assert_double_eq(gradient[0][i][k], gradient[1][i][k]);
            sum += gradient[0][i][k] * gradient[0][i][k];
        }
    ck_assert(sum > 1e-6);
}

static const char *const DEVICES[] = {"cpu", "reference64"};

START_TEST(gradients_are_the_same)
{
    check_same(DEVICES[_i], layer, true);
    check_same(DEVICES[_i], layer, false); /* of the parameters alone */
}
END_TEST

START_TEST(stretches_may_hold_others)
{
    check_same(DEVICES[_i], two_layers, true);
    check_same(DEVICES[_i], two_layers, false);
}
END_TEST

START_TEST(stretches_may_do_nothing)
{
    check_same(DEVICES[_i], itself, true);
    check_same(DEVICES[_i], bias_alone, true);
}
END_TEST

/* Twice where it is recorded, and once where not. */
START_TEST(backward_runs_it_once_more)
{
    scene s = open_scene("cpu");
    CHECK_OK(pass(&s, layer, true));
    ck_assert_int_eq(s.runs, 4);
    CHECK_OK(pass(&s, layer, false));
    ck_assert_int_eq(s.runs, 6);
    pumit_context_set_recording(s.ctx, 0);
    const int64_t mark = pumit__scope_begin(s.ctx);
    pumit_tensor *y = call(&s, layer, s.tensors[2], 1, true);
    ck_assert_ptr_nonnull(y);
    ck_assert_ptr_null(y->slot);
    ck_assert_int_eq(s.held, 0);
    pumit__scope_end(s.ctx, mark, NULL);
    ck_assert_int_eq(s.runs, 7);
    close_scene(&s);
}
END_TEST

START_TEST(steady_steps_ask_the_system_for_nothing)
{
    scene s = open_scene("cpu");
    int64_t before, after, peak, peak_before;
    for (int i = 0; i < 2; i++) CHECK_OK(pass(&s, two_layers, true));
    CHECK_OK(pumit_context_memory(s.ctx, NULL, &peak_before, &before));
    for (int i = 0; i < 5; i++) CHECK_OK(pass(&s, two_layers, true));
    CHECK_OK(pumit_context_memory(s.ctx, NULL, &peak, &after));
    ck_assert_int_eq(before, after);
    ck_assert_int_eq(peak_before, peak);
    close_scene(&s);
}
END_TEST

/* A backend whose kernels run out of memory after `calls_left` more calls. */
static int calls_left;

#define PUMIT_KERNEL(kernel, family, summary)                                                      \
    static pumit_status scarce_##kernel(void *device, const pumit_##family##_args *args)           \
    {                                                                                              \
        if (calls_left-- <= 0) return PUMIT_ERROR_OUT_OF_MEMORY;                                   \
        return pumit__reference.kernel(device, args);                                              \
    }
#include <pumit/oplist.inc>
#undef PUMIT_KERNEL

static pumit_backend scarce_backend(void)
{
    pumit_backend backend = pumit__reference;
#define PUMIT_KERNEL(kernel, family, summary) backend.kernel = scarce_##kernel;
#include <pumit/oplist.inc>
#undef PUMIT_KERNEL
    return backend;
}

START_TEST(every_failure_inside_is_told_and_leaves_nothing)
{
    const pumit_backend scarce = scarce_backend();
    int failures = 0;
    for (;; failures++) {
        scene s = open_scene("reference");
        int64_t before, after;
        CHECK_OK(pumit_context_memory(s.ctx, &before, NULL, NULL));
        s.ctx->backends[0] = &scarce;
        calls_left = failures;
        const pumit_status status = pass(&s, two_layers, true);
        calls_left = 1 << 20;
        ck_assert_int_eq(s.held, 0);
        ck_assert_int_eq(s.ctx->recording, 1);
        ck_assert_int_eq(s.ctx->work_count, 0);
        ck_assert_int_eq(s.ctx->scope_count, 0);
        for (int i = 0; i < 3; i++) { /* forgets the gradient */
            CHECK_OK(pumit_tensor_set_requires_grad(s.tensors[i], 0));
            CHECK_OK(pumit_tensor_set_requires_grad(s.tensors[i], 1));
        }
        CHECK_OK(pumit_context_memory(s.ctx, &after, NULL, NULL));
        ck_assert_int_eq(before, after);
        if (status != PUMIT_OK) CHECK_OK(pass(&s, two_layers, true)); /* the context is sound */
        close_scene(&s);
        if (status == PUMIT_OK) break;
        ck_assert_int_eq(status, PUMIT_ERROR_OUT_OF_MEMORY);
    }
    ck_assert_int_gt(failures, 50);
}
END_TEST

Suite *suite_recompute(void)
{
    Suite *suite = suite_create("recompute");
    TCase *tcase = tcase_create("recompute");
    tcase_add_loop_test(tcase, gradients_are_the_same, 0, 2);
    tcase_add_loop_test(tcase, stretches_may_hold_others, 0, 2);
    tcase_add_loop_test(tcase, stretches_may_do_nothing, 0, 2);
    tcase_add_test(tcase, backward_runs_it_once_more);
    tcase_add_test(tcase, steady_steps_ask_the_system_for_nothing);
    tcase_add_test(tcase, every_failure_inside_is_told_and_leaves_nothing);
    suite_add_tcase(suite, tcase);
    return suite;
}
