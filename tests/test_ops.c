/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every operation of oplist.inc: gradients against central differences, and the same graphs on every device. What operations
 * hand to their kernels, axes and strides above all, is checked by values told in advance.
 */
#include "op_check.h"

#include <check.h>
#include <math.h>

Suite *suite_ops(void);

static const struct {
    const char *name;
    pumit_status (*check)(const char *device);
} ops[] = {
#define PUMIT_OP(name) {#name, check_op_##name},
#include <pumit/oplist.inc>
#undef PUMIT_OP
};

static void check_all(const char *device, int i)
{
    const pumit_status status = ops[i].check(device);
    ck_assert_msg(status == PUMIT_OK, "%s", pumit_last_error());
}

START_TEST(gradient_is_the_derivative)
{
    check_all("reference64", _i);
}
END_TEST

START_TEST(reference_agrees)
{
    check_all("reference", _i);
}
END_TEST

START_TEST(cpu_agrees)
{
    check_all("cpu", _i);
}
END_TEST

/* -------------------------------------------------------------------------------------------- values */

/* A tensor of 0, 1, 2, ... */
static pumit_tensor *counting(pumit_context *ctx, int32_t ndim, const int64_t *shape)
{
    double values[256];
    for (int i = 0; i < 256; i++) values[i] = i;
    return pumit__from_host(ctx, PUMIT_F64, values, 0, ndim, shape);
}

static void holds(const pumit_tensor *y, int64_t count, const double *expected)
{
    double values[256];
    ck_assert_msg(y != NULL, "%s", pumit_last_error());
    ck_assert_int_eq(pumit_tensor_count(y), count);
    ck_assert_int_eq(pumit_tensor_read(y, PUMIT_F64, values, 8 * count), PUMIT_OK);
    for (int64_t i = 0; i < count; i++)
        ck_assert_msg(fabs(values[i] - expected[i]) < 1e-9, "element %d is %g, not %g", (int)i,
                      values[i], expected[i]);
}

#define HOLDS(y, ...)                                                                              \
    holds(y, PUMIT__COUNT(((double[]){__VA_ARGS__})), (const double[]){__VA_ARGS__})

static void check_shapes(pumit_context *ctx)
{
    pumit_tensor *x = counting(ctx, SHAPE(2, 3)), *block = counting(ctx, SHAPE(2, 2, 3));
    pumit_tensor *turned = pumit__permute(x, (int32_t[]){1, 0});
    HOLDS(turned, 0, 3, 1, 4, 2, 5);
    HOLDS(pumit__reshape(turned, SHAPE(2, 3)), 0, 3, 1, 4, 2, 5);
    HOLDS(pumit__permute(block, (int32_t[]){2, 0, 1}), 0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11);
    HOLDS(pumit__slice(block, 1, 1, 1), 3, 4, 5, 9, 10, 11);
    HOLDS(pumit__slice(pumit__slice(turned, 0, 1, 2), 1, 1, 1), 4, 5);
    HOLDS(pumit__expand(pumit__slice(x, 1, 2, 1), SHAPE(2, 2, 2)), 2, 2, 5, 5, 2, 2, 5, 5);
    HOLDS(pumit__concat(x, pumit__slice(x, 1, 0, 1), 1), 0, 1, 2, 0, 3, 4, 5, 3);
    HOLDS(pumit__concat(turned, turned, 0), 0, 3, 1, 4, 2, 5, 0, 3, 1, 4, 2, 5);
    HOLDS(pumit__pool_depth(counting(ctx, SHAPE(1, 4, 2)), 1, 2, NULL), 2, 4, 10, 12);
    HOLDS(pumit__sum(block, 5, 0.5), 12, 21);
}

static void check_products(pumit_context *ctx)
{
    pumit_tensor *x = counting(ctx, SHAPE(2, 3)), *row = counting(ctx, SHAPE(3));
    pumit_tensor *turned = pumit__permute(x, (int32_t[]){1, 0});
    HOLDS(pumit__sub(x, row), 0, 0, 0, 3, 3, 3);
    HOLDS(pumit__mul(turned, counting(ctx, SHAPE(2))), 0, 3, 0, 4, 0, 5);
    HOLDS(pumit__matmul(x, turned), 5, 14, 14, 50);
    HOLDS(pumit__linear(x, x, counting(ctx, SHAPE(2))), 5, 15, 14, 51);
}

static void check_rows(pumit_context *ctx)
{
    pumit_tensor *x = counting(ctx, SHAPE(2, 3, 2));
    pumit_tensor *index =
        pumit__from_host(ctx, PUMIT_I64, (int64_t[]){2, 0, 1, 2}, PUMIT_I64, SHAPE(2, 2));
    HOLDS(pumit__gather_rows(x, index), 4, 5, 0, 1, 8, 9, 10, 11);
    HOLDS(pumit__scatter_rows(x, index, counting(ctx, SHAPE(2, 2, 2))), 2, 3, 2, 3, 0, 1, 6, 7, 4,
          5, 6, 7);
}

START_TEST(values_are_as_told)
{
    static const char *const devices[] = {"reference64", "reference", "cpu"};
    pumit_context *ctx = op_open_device(devices[_i]);
    const int64_t mark = pumit__scope_begin(ctx);
    check_shapes(ctx);
    check_products(ctx);
    check_rows(ctx);
    pumit__scope_end(ctx, mark, NULL);
    pumit_context_release(ctx);
}
END_TEST

Suite *suite_ops(void)
{
    const int count = (int)PUMIT__COUNT(ops);
    Suite *suite = suite_create("ops");
    TCase *gradients = tcase_create("gradients"), *devices = tcase_create("devices");
    TCase *values = tcase_create("values");
    tcase_add_loop_test(values, values_are_as_told, 0, 3);
    tcase_set_timeout(gradients, 60);
    tcase_set_timeout(devices, 60);
    tcase_add_loop_test(gradients, gradient_is_the_derivative, 0, count);
    tcase_add_loop_test(devices, reference_agrees, 0, count);
    tcase_add_loop_test(devices, cpu_agrees, 0, count);
    suite_add_tcase(suite, values);
    suite_add_tcase(suite, gradients);
    suite_add_tcase(suite, devices);
    return suite;
}
