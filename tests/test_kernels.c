/* SPDX-License-Identifier: Apache-2.0 */
/* Every kernel of every backend against the oracle, and the harness against kernels that are wrong. */
#include "kernel_cases.h"

#include "kernels/backends.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CASES 70 /* of each kernel and backend: a multiple of the fills */

static const pumit_backend *const backends[] = {&pumit__reference, &pumit__cpu};

#define BACKEND_COUNT ((int)(sizeof backends / sizeof backends[0]))

/* PUMIT_KERNEL_SEED repeats what a failure reported; PUMIT_KERNEL_CASES asks for more cases. */
static uint64_t seed_of_run(void)
{
    const char *text = getenv("PUMIT_KERNEL_SEED");
    return text != NULL ? strtoull(text, NULL, 10) : 20231204;
}

static int cases_of_run(void)
{
    const char *text = getenv("PUMIT_KERNEL_CASES");
    return text != NULL ? (int)strtol(text, NULL, 10) : CASES;
}

START_TEST(kernel_matches_oracle)
{
    const int kernel = _i % KERNEL_COUNT;
    const pumit_backend *backend = backends[_i / KERNEL_COUNT];
    void *device;
    char message[1024];
    int declined = 0, failed = 0;
    const int cases = cases_of_run();
    ck_assert_int_eq(backend->open(&device, 0, 2), PUMIT_OK);
    for (int index = 0; index < cases && !failed; index++) {
        kernel_case c;
        kernel_case_make(&c, kernel, index, seed_of_run(), 0);
        const int result = kernel_case_compare(&c, backend, device, message, sizeof message);
        declined += result == CASE_DECLINED;
        failed = result == CASE_FAILED;
        kernel_case_free(&c);
    }
    backend->close(device);
    if (failed) ck_abort_msg("%s", message);
    if (declined > 0) {
        printf("kernels: %s/%s compared %d, declined %d\n", backend->name,
               kernel_entries[kernel].name, cases - declined, declined);
    }
    ck_assert_msg(backend != &pumit__reference || declined == 0, "the reference declined %s",
                  kernel_entries[kernel].name);
}
END_TEST

/* ---------------------------------------------------------- kernels that the harness must refuse */

static pumit_status forgets_to_add(void *device, const pumit_layer_norm_args *args)
{
    if (args->diff_bias != NULL) {
        memset(args->diff_bias, 0, (size_t)args->channels * sizeof(float));
    }
    return pumit__reference.layer_norm_backward(device, args);
}

static pumit_status writes_beyond(void *device, const pumit_softmax_args *args)
{
    ((float *)args->dst)[args->rows * args->channels] = 0;
    return pumit__reference.softmax_forward(device, args);
}

static pumit_status slightly_off(void *device, const pumit_matmul_args *args)
{
    pumit_matmul_args wrong = *args;
    wrong.alpha *= 1.001;
    return pumit__reference.matmul(device, &wrong);
}

static pumit_status gives_nan(void *device, const pumit_swiglu_args *args)
{
    const pumit_status status = pumit__reference.swiglu_forward(device, args);
    if (args->n > 1) memset((float *)args->dst + args->n / 2, 0xff, sizeof(float));
    return status;
}

static pumit_status leaves_last_row(void *device, const pumit_entropy_args *args)
{
    pumit_entropy_args wrong = *args;
    wrong.rows--;
    return pumit__reference.entropy_forward(device, &wrong);
}

static pumit_status changes_input(void *device, const pumit_sum_squares_args *args)
{
    const pumit_status status = pumit__reference.sum_squares(device, args);
    ((float *)(uintptr_t)args->src)[0] += 1;
    return status;
}

static pumit_status writes_then_declines(void *device, const pumit_fill_args *args)
{
    pumit__reference.fill(device, args);
    return PUMIT_DECLINED;
}

static pumit_status flips_a_bit(void *device, const pumit_copy_args *args)
{
    const pumit_status status = pumit__reference.copy(device, args);
    ((unsigned char *)args->dst)[0] ^= 1;
    return status;
}

static pumit_status forgets_target_sum(void *device, const pumit_cross_entropy_args *args)
{
    (void)device;
    const pumit_softmax_args softmax = {
        .src = args->src, .dst = args->diff_src, .rows = args->rows, .channels = args->channels};
    pumit__reference.softmax_forward(NULL, &softmax);
    for (int64_t i = 0; i < args->rows * args->channels; i++) {
        float *diff = (float *)args->diff_src + i;
        *diff = (*diff - ((const float *)args->target)[i]) *
                ((const float *)args->diff_dst)[i / args->channels];
    }
    return PUMIT_OK;
}

/* The first verdict other than "compared" among the cases of `kernel`. */
static int verdict(const pumit_backend *backend, int kernel)
{
    int result = CASE_COMPARED;
    char message[1024];
    for (int index = 0; index < CASES && result == CASE_COMPARED; index++) {
        kernel_case c;
        kernel_case_make(&c, kernel, index, 1, 0);
        result = kernel_case_compare(&c, backend, NULL, message, sizeof message);
        kernel_case_free(&c);
    }
    return result;
}

START_TEST(harness_refuses_wrong_kernels)
{
    pumit_backend wrong = pumit__reference;
    wrong.name = "wrong";
    wrong.layer_norm_backward = forgets_to_add;
    wrong.softmax_forward = writes_beyond;
    wrong.matmul = slightly_off;
    wrong.swiglu_forward = gives_nan;
    wrong.entropy_forward = leaves_last_row;
    wrong.sum_squares = changes_input;
    wrong.fill = writes_then_declines;
    wrong.copy = flips_a_bit;
    wrong.cross_entropy_backward = forgets_target_sum;
    wrong.adamw = NULL;
    ck_assert_int_eq(verdict(&wrong, KERNEL_layer_norm_backward), CASE_FAILED);
    ck_assert_int_eq(verdict(&wrong, KERNEL_softmax_forward), CASE_FAILED);
    ck_assert_int_eq(verdict(&wrong, KERNEL_matmul), CASE_FAILED);
    ck_assert_int_eq(verdict(&wrong, KERNEL_swiglu_forward), CASE_FAILED);
    ck_assert_int_eq(verdict(&wrong, KERNEL_entropy_forward), CASE_FAILED);
    ck_assert_int_eq(verdict(&wrong, KERNEL_sum_squares), CASE_FAILED);
    ck_assert_int_eq(verdict(&wrong, KERNEL_fill), CASE_FAILED);
    ck_assert_int_eq(verdict(&wrong, KERNEL_copy), CASE_FAILED);
    ck_assert_int_eq(verdict(&wrong, KERNEL_cross_entropy_backward), CASE_FAILED);
    ck_assert_int_eq(verdict(&wrong, KERNEL_adamw), CASE_DECLINED);
    ck_assert_int_eq(verdict(&wrong, KERNEL_rope), CASE_COMPARED);
}
END_TEST

Suite *suite_kernels(void);
Suite *suite_kernels(void)
{
    Suite *suite = suite_create("kernels");
    TCase *compare = tcase_create("compare");
    tcase_set_timeout(compare, 120);
    tcase_add_loop_test(compare, kernel_matches_oracle, 0, KERNEL_COUNT * BACKEND_COUNT);
    suite_add_tcase(suite, compare);
    TCase *harness = tcase_create("harness");
    tcase_set_timeout(harness, 120);
    tcase_add_test(harness, harness_refuses_wrong_kernels);
    suite_add_tcase(suite, harness);
    return suite;
}
