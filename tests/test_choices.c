/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels and operations that choose: the largest of equals and of NaN, one-hot vectors, what they refuse. */
#include "kernels/backends.h"
#include "lib/nn/sac_conv.h"
#include "lib/tensor/ops.h"

#include <check.h>
#include <math.h>

Suite *suite_choices(void);

static const pumit_backend *const backends[] = {&pumit__reference, &pumit__cpu};

/* The first of equals, whatever a row holds; a NaN beats all. The cpu backend cuts rows into lanes. */
START_TEST(largest_is_the_first)
{
    float row[200];
    int64_t place = -1;
    void *device;
    ck_assert_int_eq(backends[_i]->open(&device, 0, 1), PUMIT_OK);
    for (int64_t n = 1; n <= 200; n++) {
        const pumit_argmax_args args = {.src = row, .dst = &place, .rows = 1, .channels = n};
        for (int64_t first = 0; first < n; first++) {
            for (int64_t i = 0; i < n; i++) row[i] = i == first || (i > first && i % 3) ? 2 : 1;
            ck_assert_int_eq(backends[_i]->argmax(device, &args), PUMIT_OK);
            ck_assert_int_eq(place, first);
            for (int64_t i = first; i < n; i += 5) row[i] = NAN;
            ck_assert_int_eq(backends[_i]->argmax(device, &args), PUMIT_OK);
            ck_assert_int_eq(place, first);
        }
    }
    backends[_i]->close(device);
}
END_TEST

START_TEST(largest_of_a_window_is_the_first)
{
    const float src[6] = {3, 3, 1, NAN, 7, 9}, diff_dst[2] = {5, 6};
    float dst[2], diff_src[6];
    const float expected[6] = {5, 0, 0, 6, 0, 0};
    const pumit_max_pool_args args = {.src = src,
                                      .dst = dst,
                                      .diff_dst = diff_dst,
                                      .diff_src = diff_src,
                                      .n = 1,
                                      .channels = 1,
                                      .src_size = {1, 1, 6},
                                      .dst_size = {1, 1, 2},
                                      .window = {1, 1, 3}};
    void *device;
    ck_assert_int_eq(backends[_i]->open(&device, 0, 1), PUMIT_OK);
    ck_assert_int_eq(backends[_i]->max_pool_forward(device, &args), PUMIT_OK);
    ck_assert(dst[0] == 3 && isnan(dst[1]));
    ck_assert_int_eq(backends[_i]->max_pool_backward(device, &args), PUMIT_OK);
    for (int i = 0; i < 6; i++) ck_assert(diff_src[i] == expected[i]);
    backends[_i]->close(device);
}
END_TEST

START_TEST(root_has_no_slope_at_zero)
{
    const float src[3] = {0, 4, 0.25f}, diff_dst[3] = {1, 1, 1};
    float diff_src[3];
    const pumit_unary_args args = {
        .src = src, .diff_dst = diff_dst, .diff_src = diff_src, .n = 3, .kind = PUMIT_UNARY_SQRT};
    void *device;
    ck_assert_int_eq(backends[_i]->open(&device, 0, 1), PUMIT_OK);
    ck_assert_int_eq(backends[_i]->unary_backward(device, &args), PUMIT_OK);
    ck_assert(diff_src[0] == 0 && diff_src[1] == 0.25f && diff_src[2] == 1);
    backends[_i]->close(device);
}
END_TEST

/* ------------------------------------------------------------------------------------ operations */

static pumit_context *ctx; /* of the running test */

static void open_context(void)
{
    ck_assert_int_eq(pumit_context_create(&ctx, NULL), PUMIT_OK);
}

static void close_context(void)
{
    pumit_context_release(ctx);
}

START_TEST(choice_becomes_a_vector)
{
    const double logits[6] = {1, 3, 3, -1, -5, -2}, expected[6] = {0, 1, 0, 1, 0, 0};
    double got[6];
    int64_t places[2];
    const int64_t mark = pumit__scope_begin(ctx);
    pumit_tensor *x = pumit__from_host(ctx, PUMIT_F64, logits, 0, 3, (const int64_t[]){1, 2, 3});
    pumit_tensor *index = pumit__argmax(x), *y = pumit__one_hot(index, 3);
    ck_assert(index && index->dtype == PUMIT_I64 && index->ndim == 2 && index->shape[1] == 2);
    ck_assert_int_eq(pumit_tensor_read(index, PUMIT_I64, places, sizeof places), PUMIT_OK);
    ck_assert(places[0] == 1 && places[1] == 0);
    ck_assert(y && y->ndim == 3 && y->shape[1] == 2 && y->shape[2] == 3);
    ck_assert_int_eq(pumit_tensor_read(y, PUMIT_F64, got, sizeof got), PUMIT_OK);
    for (int i = 0; i < 6; i++) ck_assert(got[i] == expected[i]);
    pumit__scope_end(ctx, mark, NULL);
}
END_TEST

START_TEST(choice_of_a_vector_is_a_scalar)
{
    const double logits[3] = {1, 3, 7};
    int64_t place = -1;
    const int64_t mark = pumit__scope_begin(ctx);
    pumit_tensor *x = pumit__from_host(ctx, PUMIT_F64, logits, 0, 1, (const int64_t[]){3});
    pumit_tensor *index = pumit__argmax(x);
    ck_assert(index && index->ndim == 0);
    ck_assert_int_eq(pumit_tensor_read(index, PUMIT_I64, &place, sizeof place), PUMIT_OK);
    ck_assert_int_eq(place, 2);
    ck_assert_int_eq(pumit_tensor_count(pumit__one_hot(index, 5)), 5);
    pumit__scope_end(ctx, mark, NULL);
}
END_TEST

START_TEST(misfits_are_refused)
{
    const int64_t wrong[2] = {0, 3}, negative[2] = {0, -1}, zeros[2] = {0};
    const int64_t mark = pumit__scope_begin(ctx);
#define INDEX(values) pumit__from_host(ctx, PUMIT_I64, values, PUMIT_I64, 1, (const int64_t[]){2})
#define REFUSED(status, call)                                                                      \
    do {                                                                                           \
        ck_assert_ptr_null(call);                                                                  \
        ck_assert_int_eq(pumit__last_status(), status);                                            \
    } while (0)
    pumit_tensor *row = pumit__zeros(ctx, 0, 1, (const int64_t[]){2});
    pumit_tensor *image = pumit__zeros(ctx, 0, 5, (const int64_t[]){1, 2, 3, 4, 1});
    REFUSED(PUMIT_ERROR_INVALID_ARGUMENT, pumit__one_hot(INDEX(wrong), 3));
    REFUSED(PUMIT_ERROR_INVALID_ARGUMENT, pumit__one_hot(INDEX(negative), 3));
    REFUSED(PUMIT_ERROR_SHAPE, pumit__one_hot(row, 3));
    REFUSED(PUMIT_ERROR_SHAPE, pumit__argmax(INDEX(zeros)));
    REFUSED(PUMIT_ERROR_SHAPE, pumit__argmax(pumit__zeros(ctx, 0, 0, NULL)));
    REFUSED(PUMIT_ERROR_SHAPE, pumit__max_pool(row, (const int64_t[]){1, 1, 1}));
    REFUSED(PUMIT_ERROR_SHAPE, pumit__max_pool(image, (const int64_t[]){3, 1, 1}));
    REFUSED(PUMIT_ERROR_SHAPE, pumit__max_pool(image, (const int64_t[]){1, 0, 1}));
    REFUSED(PUMIT_ERROR_SHAPE, pumit__straight_through(row, image));
    REFUSED(PUMIT_ERROR_SHAPE,
            pumit__resample(image, (const int64_t[]){3, 3, 4}, PUMIT_RESAMPLE_BICUBIC));
    REFUSED(PUMIT_ERROR_SHAPE, pumit__div(image, pumit__zeros(ctx, 0, 2, (const int64_t[]){3, 1})));
    ck_assert_ptr_null(pumit__straight_through(NULL, row));
    ck_assert_ptr_null(pumit__one_hot(NULL, 3));
    pumit__scope_end(ctx, mark, NULL);
}
END_TEST

/* A kernel that is flatter in depth is not padded there, so a slice or two become one. */
START_TEST(sac_layers_may_be_flat)
{
    const pumit__sac_shape shape = {
        .in = 2, .out = 3, .kernel = 3, .kernel_depth = 2, .stride = 2, .padding = 1, .bias = true};
    const int64_t mark = pumit__scope_begin(ctx);
    pumit_module *module =
        pumit__module_create(sizeof *module, ctx, "none", NULL, PUMIT__DRAWN, NULL);
    ck_assert_ptr_nonnull(module);
    pumit__sac sac = pumit__sac_create(module, &shape, "halve");
    const int64_t expected[5] = {3, 2, 3, 3, 2};
    for (int i = 0; i < 5; i++) ck_assert_int_eq(sac.weight->shape[i], expected[i]);
    for (int32_t da = 0; da < 3; da++) {
        pumit_tensor *x = pumit__zeros(ctx, 0, 5, (const int64_t[]){1, 4, 6, 8, 2});
        const pumit__feature f = pumit__sac_forward(&sac, (pumit__feature){x, da, 1});
        ck_assert_msg(f.x != NULL, "DA %d: %s", (int)da, pumit_last_error());
        ck_assert_int_eq(f.down, 2);
        ck_assert_int_eq(f.x->shape[1], da > 1 ? 4 : 2);
        ck_assert(f.x->shape[2] == 3 && f.x->shape[3] == 4 && f.x->shape[4] == 3);
    }
    pumit__sac_destroy(&sac);
    pumit__module_release(module);
    pumit__scope_end(ctx, mark, NULL);
}
END_TEST

Suite *suite_choices(void)
{
    Suite *suite = suite_create("choices");
    TCase *kernels = tcase_create("kernels"), *operations = tcase_create("operations");
    tcase_add_loop_test(kernels, largest_is_the_first, 0, (int)PUMIT__COUNT(backends));
    tcase_add_loop_test(kernels, largest_of_a_window_is_the_first, 0, (int)PUMIT__COUNT(backends));
    tcase_add_loop_test(kernels, root_has_no_slope_at_zero, 0, (int)PUMIT__COUNT(backends));
    tcase_add_checked_fixture(operations, open_context, close_context);
    tcase_add_test(operations, choice_becomes_a_vector);
    tcase_add_test(operations, choice_of_a_vector_is_a_scalar);
    tcase_add_test(operations, misfits_are_refused);
    tcase_add_test(operations, sac_layers_may_be_flat);
    suite_add_tcase(suite, kernels);
    suite_add_tcase(suite, operations);
    return suite;
}
