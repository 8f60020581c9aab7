/* SPDX-License-Identifier: Apache-2.0 */
/* Recording and backward: when it is refused, what gathers, what stays behind, how long it may get. */
#include "lib/tensor/ops.h"

#include <check.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>

Suite *suite_tape(void);

#define CHECK_OK(call)            ck_assert_msg((call) == PUMIT_OK, "%s", pumit_last_error())
#define CHECK_FAILS(status, call) ck_assert_str_eq(pumit_status_name(call), #status)

static pumit_context *open_context(const char *device)
{
    pumit_config *options;
    pumit_context *ctx;
    CHECK_OK(pumit_config_create(&options));
    CHECK_OK(pumit_config_set_string(options, "device", device));
    CHECK_OK(pumit_config_set_int(options, "threads", 1));
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

static pumit_tensor *parameter(pumit_context *ctx, int32_t ndim, const int64_t *shape, double value)
{
    pumit_tensor *t;
    CHECK_OK(pumit_tensor_create(&t, ctx, PUMIT_F32, ndim, shape));
    float *data;
    CHECK_OK(pumit_tensor_data((void **)&data, t));
    for (int64_t i = 0; i < pumit_tensor_count(t); i++)
        data[i] = (float)(value + 0.1 * pumit__random_normal(1, 2, (uint64_t)i));
    CHECK_OK(pumit_tensor_set_requires_grad(t, 1));
    return t;
}

static double gradient(const pumit_tensor *t)
{
    pumit_tensor *grad;
    double value;
    CHECK_OK(pumit_tensor_grad(&grad, t));
    CHECK_OK(pumit_tensor_item(&value, grad));
    pumit_tensor_release(grad);
    return value;
}

/* --------------------------------------------------------------------------------- what is recorded */

START_TEST(only_asked_for_operations_are_recorded)
{
    pumit_context *ctx = open_context("reference");
    pumit_tensor *x = parameter(ctx, 0, NULL, 2.0), *other, *grad;
    CHECK_OK(pumit_tensor_create(&other, ctx, PUMIT_F32, 0, NULL));
    ck_assert_int_eq(pumit_context_set_recording(ctx, 0), 0); /* off from the start */
    const int64_t mark = pumit__scope_begin(ctx);
    CHECK_FAILS(PUMIT_ERROR_STATE, pumit_tensor_backward(pumit__mul(x, x)));
    ck_assert_int_eq(pumit_context_set_recording(ctx, 1), 0);
    CHECK_FAILS(PUMIT_ERROR_STATE, pumit_tensor_backward(pumit__mul(other, other)));
    CHECK_FAILS(PUMIT_ERROR_STATE, pumit_tensor_backward(x));
    pumit_tensor *y = pumit__mul(x, other);
    ck_assert_int_eq(pumit_context_set_recording(ctx, 0), 1);
    pumit_tensor *unrecorded = pumit__affine(y, 2.0, 0.0);
    CHECK_FAILS(PUMIT_ERROR_STATE, pumit_tensor_backward(unrecorded));
    CHECK_FAILS(PUMIT_ERROR_NOT_FOUND, pumit_tensor_grad(&grad, x));
    ck_assert_ptr_null(grad);
    CHECK_OK(pumit_tensor_backward(y)); /* recorded when it was made */
    ck_assert(gradient(x) == 0.0);
    CHECK_FAILS(PUMIT_ERROR_NOT_FOUND, pumit_tensor_grad(&grad, other));
    ck_assert_int_eq(pumit_context_set_recording(ctx, 0), 0); /* backward left it as it was */
    pumit__scope_end(ctx, mark, NULL);
    pumit_tensor_release(other);
    pumit_tensor_release(x);
    ck_assert_int_eq(in_use(ctx), 0);
    pumit_context_release(ctx);
}
END_TEST

START_TEST(backward_is_refused_where_it_makes_no_sense)
{
    pumit_context *ctx = open_context("reference");
    pumit_tensor *x = parameter(ctx, 1, (int64_t[]){3}, 2.0), *counts, *grad;
    CHECK_OK(pumit_tensor_create(&counts, ctx, PUMIT_I64, 1, (int64_t[]){3}));
    pumit_context_set_recording(ctx, 1);
    const int64_t mark = pumit__scope_begin(ctx);
    pumit_tensor *y = pumit__mul(x, x), *loss = pumit__mean(y);
    CHECK_FAILS(PUMIT_ERROR_SHAPE, pumit_tensor_backward(y));
    CHECK_FAILS(PUMIT_ERROR_INVALID_ARGUMENT, pumit_tensor_backward(NULL));
    CHECK_FAILS(PUMIT_ERROR_STATE, pumit_tensor_set_requires_grad(y, 1));
    CHECK_FAILS(PUMIT_ERROR_SHAPE, pumit_tensor_set_requires_grad(counts, 1));
    CHECK_FAILS(PUMIT_ERROR_INVALID_ARGUMENT, pumit_tensor_set_requires_grad(NULL, 1));
    CHECK_FAILS(PUMIT_ERROR_INVALID_ARGUMENT, pumit_tensor_grad(NULL, x));
    CHECK_OK(pumit_tensor_backward(loss));
    CHECK_FAILS(PUMIT_ERROR_STATE, pumit_tensor_backward(loss));
    CHECK_OK(pumit_tensor_grad(&grad, x));
    pumit_tensor_release(grad);
    CHECK_OK(pumit_tensor_set_requires_grad(x, 0));
    CHECK_FAILS(PUMIT_ERROR_NOT_FOUND, pumit_tensor_grad(&grad, x));
    pumit__scope_end(ctx, mark, NULL);
    pumit_tensor_release(counts);
    pumit_tensor_release(x);
    ck_assert_int_eq(in_use(ctx), 0);
    pumit_context_release(ctx);
}
END_TEST

/* -------------------------------------------------------------------------------------- what gathers */

static void backward_of_square(pumit_tensor *x, double factor)
{
    pumit_context *ctx = x->ctx;
    const int64_t mark = pumit__scope_begin(ctx);
    pumit_context_set_recording(ctx, 1);
    CHECK_OK(pumit_tensor_backward(pumit__affine(pumit__mul(x, x), factor, 1.0)));
    pumit_context_set_recording(ctx, 0);
    pumit__scope_end(ctx, mark, NULL);
}

START_TEST(gradients_of_losses_add_up)
{
    pumit_context *ctx = open_context("reference");
    pumit_tensor *x, *first;
    double kept;
    CHECK_OK(pumit_tensor_from_data(&x, ctx, PUMIT_F32, 0, NULL, &(float){1.5f}));
    CHECK_OK(pumit_tensor_set_requires_grad(x, 1));
    CHECK_OK(pumit_tensor_set_requires_grad(x, 1)); /* again is fine */
    backward_of_square(x, 1.0);
    ck_assert(gradient(x) == 3.0);
    CHECK_OK(pumit_tensor_grad(&first, x));
    backward_of_square(x, 10.0);
    ck_assert(gradient(x) == 33.0);
    CHECK_OK(pumit_tensor_item(&kept, first));
    ck_assert(kept == 3.0); /* the caller's is not written into */
    pumit_tensor_release(first);
    backward_of_square(x, 1.0);
    ck_assert(gradient(x) == 36.0);
    pumit_tensor_release(x);
    ck_assert_int_eq(in_use(ctx), 0);
    pumit_context_release(ctx);
}
END_TEST

/* What two losses share is gone after the first backward: the second must not give half a gradient. */
START_TEST(a_tape_serves_one_loss)
{
    pumit_context *ctx = open_context("reference");
    pumit_tensor *x;
    CHECK_OK(pumit_tensor_from_data(&x, ctx, PUMIT_F32, 0, NULL, &(float){1.5f}));
    CHECK_OK(pumit_tensor_set_requires_grad(x, 1));
    pumit_context_set_recording(ctx, 1);
    const int64_t mark = pumit__scope_begin(ctx);
    pumit_tensor *shared = pumit__mul(x, x), *first = pumit__affine(shared, 2.0, 0.0);
    pumit_tensor *second = pumit__mul(shared, x);
    CHECK_OK(pumit_tensor_backward(first));
    CHECK_FAILS(PUMIT_ERROR_STATE, pumit_tensor_backward(second));
    CHECK_FAILS(PUMIT_ERROR_STATE, pumit_tensor_backward(pumit__affine(shared, 1.0, 0.0)));
    ck_assert(gradient(x) == 6.0);
    CHECK_OK(pumit_tensor_backward(pumit__mul(pumit__detach(shared), x)));
    ck_assert(gradient(x) == 8.25);
    pumit__scope_end(ctx, mark, NULL);
    pumit_tensor_release(x);
    ck_assert_int_eq(in_use(ctx), 0);
    pumit_context_release(ctx);
}
END_TEST

/* --------------------------------------------------------------------------------- what stays behind */

/* mean |layer_norm(gelu(x W^T + b))|: recorded. */
static pumit_tensor *network(pumit_tensor *x, pumit_tensor *const *p)
{
    pumit_tensor *y = pumit__gelu(pumit__linear(x, p[0], p[1]));
    return pumit__mean(pumit__absolute(pumit__layer_norm(y, p[2], p[3], 1e-5)));
}

typedef struct {
    pumit_context *ctx;
    pumit_tensor *x, *parameters[4];
} small_network;

static small_network make_network(const char *device)
{
    small_network n = {.ctx = open_context(device)};
    n.parameters[0] = parameter(n.ctx, 2, (int64_t[]){9, 5}, 0.0);
    n.parameters[1] = parameter(n.ctx, 1, (int64_t[]){9}, 0.0);
    n.parameters[2] = parameter(n.ctx, 1, (int64_t[]){9}, 1.0);
    n.parameters[3] = parameter(n.ctx, 1, (int64_t[]){9}, 0.0);
    n.x = parameter(n.ctx, 2, (int64_t[]){4, 5}, 0.0);
    CHECK_OK(pumit_tensor_set_requires_grad(n.x, 0));
    pumit_context_set_recording(n.ctx, 1);
    return n;
}

static void free_network(small_network *n)
{
    for (int i = 0; i < 4; i++) pumit_tensor_release(n->parameters[i]);
    pumit_tensor_release(n->x);
    ck_assert_int_eq(in_use(n->ctx), 0);
    pumit_context_release(n->ctx);
}

START_TEST(abandoned_recordings_leave_nothing)
{
    small_network n = make_network("cpu");
    pumit_tensor *loss, *wrong;
    const int64_t before = in_use(n.ctx), mark = pumit__scope_begin(n.ctx);
    CHECK_OK(pumit__scope_return(&loss, n.ctx, mark, network(n.x, n.parameters)));
    ck_assert_int_gt(in_use(n.ctx), before); /* the loss holds what backward needs */
    pumit_tensor_release(loss);
    ck_assert_int_eq(in_use(n.ctx), before);
    pumit_tensor *part = pumit__linear(n.x, n.parameters[0], n.parameters[1]);
    wrong = pumit__gelu(pumit__mul(part, n.x)); /* fails in the middle of a chain */
    CHECK_FAILS(PUMIT_ERROR_SHAPE, pumit__scope_return(&loss, n.ctx, mark, wrong));
    ck_assert_ptr_null(loss);
    ck_assert_int_eq(in_use(n.ctx), before);
    free_network(&n);
}
END_TEST

/* One step of gradient descent; gives the loss. */
static double train(small_network *n, double rate)
{
    const int64_t mark = pumit__scope_begin(n->ctx);
    pumit_tensor *loss = network(n->x, n->parameters);
    double value;
    CHECK_OK(pumit_tensor_item(&value, loss));
    CHECK_OK(pumit_tensor_backward(loss));
    for (int i = 0; i < 4; i++) {
        pumit_tensor *p = n->parameters[i], *grad;
        float *x, *g;
        CHECK_OK(pumit_tensor_grad(&grad, p));
        CHECK_OK(pumit_tensor_data((void **)&x, p));
        CHECK_OK(pumit_tensor_data((void **)&g, grad));
        for (int64_t k = 0; k < pumit_tensor_count(p); k++) x[k] -= (float)(rate * g[k]);
        pumit_tensor_touch(p);
        pumit_tensor_release(grad);
        CHECK_OK(pumit_tensor_set_requires_grad(p, 0)); /* forgets the gradient */
        CHECK_OK(pumit_tensor_set_requires_grad(p, 1));
    }
    pumit__scope_end(n->ctx, mark, NULL);
    return value;
}

START_TEST(steady_steps_ask_the_system_for_nothing)
{
    static const char *const devices[] = {"reference", "cpu"};
    small_network n = make_network(devices[_i]);
    int64_t before, after, peak_before, peak;
    const double first = train(&n, 0.05);
    train(&n, 0.05);
    const int64_t bytes = in_use(n.ctx);
    CHECK_OK(pumit_context_memory(n.ctx, NULL, &peak_before, &before));
    double last = INFINITY;
    for (int i = 0; i < 20; i++) last = train(&n, 0.05);
    CHECK_OK(pumit_context_memory(n.ctx, NULL, &peak, &after));
    ck_assert_int_eq(after, before);
    ck_assert_int_eq(peak, peak_before);
    ck_assert_int_eq(in_use(n.ctx), bytes);
    ck_assert_msg(last < 0.9 * first, "the loss went from %g to %g", first, last);
    free_network(&n);
}
END_TEST

/* ------------------------------------------------------------------------------------ how long it gets */

#define CHAIN 20000
#define STACK (256 << 10) /* recursion over the chain would need more */

/* x + x + x + ...: a new reference to the last sum, which alone holds the earlier ones. */
static pumit_tensor *chain(pumit_tensor *x)
{
    pumit_tensor *y = pumit_tensor_retain(x);
    for (int i = 0; i < CHAIN; i++) {
        pumit_tensor *next;
        const int64_t mark = pumit__scope_begin(x->ctx);
        CHECK_OK(pumit__scope_return(&next, x->ctx, mark, pumit__add(y, x)));
        pumit_tensor_release(y);
        y = next;
    }
    return y;
}

static void *release_and_backward(void *unused)
{
    (void)unused;
    pumit_context *ctx = open_context("reference");
    pumit_tensor *x = parameter(ctx, 0, NULL, 1.0);
    pumit_context_set_recording(ctx, 1);
    const int64_t before = in_use(ctx);
    pumit_tensor_release(chain(x)); /* the whole recording goes */
    ck_assert_int_eq(in_use(ctx), before);
    pumit_tensor *y = chain(x);
    CHECK_OK(pumit_tensor_backward(y));
    ck_assert(gradient(x) == CHAIN + 1.0);
    pumit_tensor_release(y);
    pumit_tensor_release(x);
    ck_assert_int_eq(in_use(ctx), 0);
    pumit_context_release(ctx);
    return NULL;
}

START_TEST(long_recordings_need_no_stack)
{
    pthread_attr_t attributes;
    pthread_t thread;
    ck_assert_int_eq(pthread_attr_init(&attributes), 0);
    ck_assert_int_eq(pthread_attr_setstacksize(&attributes, STACK), 0);
    ck_assert_int_eq(pthread_create(&thread, &attributes, release_and_backward, NULL), 0);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    pthread_attr_destroy(&attributes);
}
END_TEST

/* ---------------------------------------------------------------------------------- what does not fit */

START_TEST(operands_that_do_not_fit_are_refused)
{
    pumit_context *ctx = open_context("cpu");
    const int64_t mark = pumit__scope_begin(ctx);
    pumit_tensor *a = pumit__zeros(ctx, 0, 2, (int64_t[]){3, 4});
    pumit_tensor *b = pumit__zeros(ctx, 0, 2, (int64_t[]){4, 3});
    pumit_tensor *v = pumit__zeros(ctx, 0, 1, (int64_t[]){3});
    pumit_tensor *s = pumit__zeros(ctx, 0, 3, (int64_t[]){2, 5, 4});
    pumit_tensor *one = pumit__zeros(ctx, 0, 3, (int64_t[]){1, 2, 4});
    pumit_tensor *image = pumit__zeros(ctx, 0, 5, (int64_t[]){1, 2, 2, 2, 3});
    pumit_tensor *weight = pumit__zeros(ctx, 0, 5, (int64_t[]){2, 3, 3, 3, 3});
    pumit_tensor *other = pumit__zeros(ctx, 0, 5, (int64_t[]){2, 1, 1, 1, 4});
    pumit_tensor *index = pumit__zeros(ctx, PUMIT_I64, 2, (int64_t[]){2, 2});
    const int64_t step[3] = {1, 1, 1}, none[3] = {0, 0, 0};
#define REFUSED(status, call)                                                                      \
    do {                                                                                           \
        ck_assert_msg((call) == NULL, "%s was not refused", #call);                                \
        ck_assert_str_eq(pumit_status_name(pumit__last_status()), #status);                        \
    } while (0)
    REFUSED(PUMIT_ERROR_SHAPE, pumit__add(a, b));
    REFUSED(PUMIT_ERROR_SHAPE, pumit__mul(pumit__zeros(ctx, PUMIT_I64, 2, a->shape), a));
    REFUSED(PUMIT_ERROR_SHAPE, pumit__reshape(a, 1, (int64_t[]){11}));
    REFUSED(PUMIT_ERROR_SHAPE, pumit__slice(a, 1, 2, 3));
    REFUSED(PUMIT_ERROR_SHAPE, pumit__slice(a, 1, -1, 2));
    REFUSED(PUMIT_ERROR_SHAPE, pumit__slice(a, 2, 0, 1));
    REFUSED(PUMIT_ERROR_SHAPE, pumit__slice(a, 0, INT64_MAX, 2));
    REFUSED(PUMIT_ERROR_SHAPE, pumit__expand(a, 2, (int64_t[]){3, 8}));
    REFUSED(PUMIT_ERROR_SHAPE, pumit__expand(a, 1, (int64_t[]){4}));
    REFUSED(PUMIT_ERROR_SHAPE, pumit__concat(a, b, 0));
    REFUSED(PUMIT_ERROR_SHAPE, pumit__concat(a, v, 0));
    REFUSED(PUMIT_ERROR_SHAPE, pumit__pool_depth(a, 1, 3, NULL));
    REFUSED(PUMIT_ERROR_SHAPE, pumit__pool_depth(a, 1, 0, NULL));
    REFUSED(PUMIT_ERROR_SHAPE, pumit__linear(a, b, NULL));
    REFUSED(PUMIT_ERROR_SHAPE, pumit__linear(a, a, a));
    REFUSED(PUMIT_ERROR_SHAPE, pumit__linear(b, b, v));
    REFUSED(PUMIT_ERROR_SHAPE, pumit__matmul(a, a));
    REFUSED(PUMIT_ERROR_SHAPE, pumit__layer_norm(a, v, v, 1e-5));
    REFUSED(PUMIT_ERROR_SHAPE, pumit__group_norm(b, v, v, 2, 1e-5));
    REFUSED(PUMIT_ERROR_SHAPE, pumit__cross_entropy(a, b));
    REFUSED(PUMIT_ERROR_SHAPE, pumit__add_linear(a, a, b, NULL));
    REFUSED(PUMIT_ERROR_SHAPE, pumit__conv(image, weight, NULL, step, none));
    REFUSED(PUMIT_ERROR_SHAPE, pumit__conv(image, other, NULL, step, none));
    REFUSED(PUMIT_ERROR_SHAPE, pumit__conv(image, weight, v, step, step));
    REFUSED(PUMIT_ERROR_SHAPE, pumit__conv(a, weight, NULL, step, step));
    REFUSED(PUMIT_ERROR_SHAPE, pumit__conv_transpose(image, weight, NULL));
    REFUSED(PUMIT_ERROR_SHAPE, pumit__conv_transpose(image, a, NULL));
    REFUSED(PUMIT_ERROR_SHAPE, pumit__resample(image, none, PUMIT_RESAMPLE_AREA));
    REFUSED(PUMIT_ERROR_SHAPE, pumit__resample(a, step, PUMIT_RESAMPLE_AREA));
    REFUSED(PUMIT_ERROR_SHAPE, pumit__gather_rows(a, index));
    REFUSED(PUMIT_ERROR_SHAPE, pumit__gather_rows(s, a));
    REFUSED(PUMIT_ERROR_SHAPE, pumit__scatter_rows(s, index, one));
    CHECK_OK(pumit_tensor_write(index, PUMIT_I64, (int64_t[]){0, 1, 2, 5}, 32));
    REFUSED(PUMIT_ERROR_INVALID_ARGUMENT, pumit__gather_rows(s, index));
    CHECK_OK(pumit_tensor_write(index, PUMIT_I64, (int64_t[]){0, 1, -1, 2}, 32));
    REFUSED(PUMIT_ERROR_INVALID_ARGUMENT, pumit__gather_rows(s, index));
    ck_assert_ptr_null(pumit__gelu(pumit__linear(NULL, a, v))); /* a NULL goes through a chain */
    pumit__scope_end(ctx, mark, NULL);
    ck_assert_int_eq(in_use(ctx), 0);
    pumit_context_release(ctx);
}
END_TEST

Suite *suite_tape(void)
{
    Suite *suite = suite_create("tape");
    TCase *tcase = tcase_create("tape");
    tcase_set_timeout(tcase, 30);
    tcase_add_test(tcase, only_asked_for_operations_are_recorded);
    tcase_add_test(tcase, backward_is_refused_where_it_makes_no_sense);
    tcase_add_test(tcase, gradients_of_losses_add_up);
    tcase_add_test(tcase, a_tape_serves_one_loss);
    tcase_add_test(tcase, abandoned_recordings_leave_nothing);
    tcase_add_loop_test(tcase, steady_steps_ask_the_system_for_nothing, 0, 2);
    tcase_add_test(tcase, long_recordings_need_no_stack);
    tcase_add_test(tcase, operands_that_do_not_fit_are_refused);
    suite_add_tcase(suite, tcase);
    return suite;
}
