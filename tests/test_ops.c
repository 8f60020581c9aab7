/* SPDX-License-Identifier: Apache-2.0 */
/* Every operation of oplist.inc: gradients against central differences, and the same graphs on every device. */
#include "op_check.h"

#include <check.h>

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

Suite *suite_ops(void)
{
    const int count = (int)PUMIT__COUNT(ops);
    Suite *suite = suite_create("ops");
    TCase *gradients = tcase_create("gradients"), *devices = tcase_create("devices");
    tcase_set_timeout(gradients, 60);
    tcase_set_timeout(devices, 60);
    tcase_add_loop_test(gradients, gradient_is_the_derivative, 0, count);
    tcase_add_loop_test(devices, reference_agrees, 0, count);
    tcase_add_loop_test(devices, cpu_agrees, 0, count);
    suite_add_tcase(suite, gradients);
    suite_add_tcase(suite, devices);
    return suite;
}
