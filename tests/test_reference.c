/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The oracle itself: its gradients against central differences of its forward kernels, all in double,
 * its linear kernels against their adjoints, conversions against known bit patterns, and what it refuses.
 */
#include "kernel_cases.h"

#include "kernels/backends.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------------- gradients */

/* A forward kernel, its backward kernel, and which input's gradient lands where. */
typedef struct {
    int forward, backward;
    size_t out, diff_out;
    size_t inputs[3], gradients[3]; /* pairs; 0, 0 ends them after the first */
} gradient_pair;

#define PAIR(family, forward, backward, out, diff_out, ...)                                        \
    {                                                                                              \
        KERNEL_##forward, KERNEL_##backward, AT(family, out), AT(family, diff_out), __VA_ARGS__    \
    }

static const gradient_pair pairs[] = {
    PAIR(unary, unary_forward, unary_backward, dst, diff_dst, {AT(unary, src)},
         {AT(unary, diff_src)}),
    PAIR(layer_norm, layer_norm_forward, layer_norm_backward, dst, diff_dst,
         {AT(layer_norm, src), AT(layer_norm, weight), AT(layer_norm, bias)},
         {AT(layer_norm, diff_src), AT(layer_norm, diff_weight), AT(layer_norm, diff_bias)}),
    PAIR(group_norm, group_norm_forward, group_norm_backward, dst, diff_dst,
         {AT(group_norm, src), AT(group_norm, weight), AT(group_norm, bias)},
         {AT(group_norm, diff_src), AT(group_norm, diff_weight), AT(group_norm, diff_bias)}),
    PAIR(softmax, softmax_forward, softmax_backward, dst, diff_dst, {AT(softmax, src)},
         {AT(softmax, diff_src)}),
    PAIR(entropy, entropy_forward, entropy_backward, dst, diff_dst, {AT(entropy, src)},
         {AT(entropy, diff_src)}),
    PAIR(cross_entropy, cross_entropy_forward, cross_entropy_backward, dst, diff_dst,
         {AT(cross_entropy, src)}, {AT(cross_entropy, diff_src)}),
    PAIR(attention, attention_forward, attention_backward, dst, diff_dst,
         {AT(attention, q), AT(attention, k), AT(attention, v)},
         {AT(attention, diff_q), AT(attention, diff_k), AT(attention, diff_v)}),
    PAIR(swiglu, swiglu_forward, swiglu_backward, dst, diff_dst,
         {AT(swiglu, gate), AT(swiglu, value)}, {AT(swiglu, diff_gate), AT(swiglu, diff_value)}),
    PAIR(conv, conv_forward, conv_backward_data, dst, diff_dst, {AT(conv, src)},
         {AT(conv, diff_src)}),
    PAIR(conv, conv_forward, conv_backward_weights, dst, diff_dst,
         {AT(conv, weights), AT(conv, bias)}, {AT(conv, diff_weights), AT(conv, diff_bias)}),
    PAIR(max_pool, max_pool_forward, max_pool_backward, dst, diff_dst, {AT(max_pool, src)},
         {AT(max_pool, diff_src)}),
    PAIR(resample, resample_forward, resample_backward, dst, diff_dst, {AT(resample, src)},
         {AT(resample, diff_src)}),
};

#define PAIR_COUNT ((int)(sizeof pairs / sizeof pairs[0]))

static kernel_array *array_at(kernel_case *c, size_t slot)
{
    for (int i = 0; i < c->count; i++) {
        for (int s = 0; s < c->arrays[i].slot_count; s++) {
            if (c->arrays[i].slots[s] == slot) return &c->arrays[i];
        }
    }
    return NULL;
}

static pumit_status run_on(kernel_case *c, int kernel, void *device)
{
    kernel_args args = c->args;
    for (int i = 0; i < c->count; i++) {
        set_pointer(&args, &c->arrays[i],
                    c->arrays[i].dtype ? c->arrays[i].bytes : c->arrays[i].values);
    }
    return kernel_entries[kernel].call(&pumit__reference64, device, &args);
}

static pumit_status run(kernel_case *c, int kernel)
{
    return run_on(c, kernel, NULL);
}

/* <dst, R> with R the gradient that the backward kernel is given. */
static double loss(kernel_case *c, const gradient_pair *p)
{
    ck_assert_int_eq(run(c, p->forward), PUMIT_OK);
    const kernel_array *out = array_at(c, p->out), *weights = array_at(c, p->diff_out);
    double sum = 0;
    for (int64_t i = 0; i < out->count; i++) sum += out->values[i] * weights->values[i];
    return sum;
}

static void check_gradient(kernel_case *c, const gradient_pair *p, size_t input, size_t gradient)
{
    const double step = 1e-4;
    kernel_array *x = array_at(c, input);
    const kernel_array *diff = array_at(c, gradient);
    double most = 1e-3;
    if (x == NULL) return; /* an absent bias */
    for (int64_t i = 0; i < diff->count; i++) most = fmax(most, fabs(diff->values[i]));
    for (int sample = 0; sample < 12; sample++) {
        const int64_t i = random_below(c, x->count);
        const double kept = x->values[i];
        x->values[i] = kept + step;
        const double up = loss(c, p);
        x->values[i] = kept - step;
        const double down = loss(c, p);
        x->values[i] = kept;
        const double numeric = (up - down) / (2 * step), error = fabs(numeric - diff->values[i]);
        ck_assert_msg(
            error <= 1e-6 * most,
            "%s case %d (%s): element %lld of input at %zu: %.12g, differences give %.12g",
            kernel_entries[p->backward].name, c->index, c->shape, (long long)i, input,
            diff->values[i], numeric);
    }
}

/* Functions with a kink or a pole at 0 are kept away from it; in place, nothing could be moved. */
static void prepare(kernel_case *c, const gradient_pair *p)
{
    kernel_array *x = array_at(c, p->inputs[0]);
    if (array_at(c, p->out) == x) {
        x->slot_count = 1;
        add_array(c, p->out, ROLE_DST, x->count, FILL_ZERO);
    }
    const int positive = /* the gradient of x ln x below 0 is a device */
        c->args.unary.kind == PUMIT_UNARY_XLOGX || c->args.unary.kind == PUMIT_UNARY_SQRT;
    for (int64_t i = 0; p->forward == KERNEL_unary_forward && i < x->count; i++) {
        x->values[i] += copysign(0.1, x->values[i]);
        if (positive) x->values[i] = fabs(x->values[i]);
    }
    add_array(c, p->diff_out, ROLE_SRC, array_at(c, p->out)->count, FILL_NORMAL);
    for (int k = 0; k < 3; k++) {
        const kernel_array *input = k == 0 || p->inputs[k] ? array_at(c, p->inputs[k]) : NULL;
        if (input != NULL) add_array(c, p->gradients[k], ROLE_ADD, input->count, FILL_ZERO);
    }
}

START_TEST(gradients_match_differences)
{
    const gradient_pair *p = &pairs[_i];
    for (int index = 0; index < 7 * 10; index += 7) { /* fill 0, normal */
        kernel_case c;
        kernel_case_make(&c, p->forward, index, 5, 0);
        prepare(&c, p);
        loss(&c, p);
        ck_assert_int_eq(run(&c, p->backward), PUMIT_OK);
        for (int k = 0; k < 3; k++) {
            if (k == 0 || p->inputs[k]) check_gradient(&c, p, p->inputs[k], p->gradients[k]);
        }
        kernel_case_free(&c);
    }
}
END_TEST

/* ------------------------------------------------------------------------- linear kernels */

static double inner(const double *a, const double *b, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

/* Turning back undoes turning, in place too. */
START_TEST(rope_inverse_undoes_rope)
{
    for (int index = 0; index < 70; index++) {
        kernel_case c;
        kernel_case_make(&c, KERNEL_rope, index, 11, 0);
        kernel_array *src = array_at(&c, AT(rope, src));
        double *kept = allocate_zeros((size_t)src->count * sizeof *kept);
        memcpy(kept, src->values, (size_t)src->count * sizeof *kept);
        kernel_array *dst = array_at(&c, AT(rope, dst));
        ck_assert_int_eq(run(&c, KERNEL_rope), PUMIT_OK);
        memcpy(src->values, dst->values, (size_t)src->count * sizeof *kept);
        c.args.rope.inverse = !c.args.rope.inverse;
        ck_assert_int_eq(run(&c, KERNEL_rope), PUMIT_OK);
        for (int64_t i = 0; i < src->count; i++) {
            if (isnan(kept[i]) && isnan(dst->values[i])) continue; /* a gap between rows */
            ck_assert(fabs(dst->values[i] - kept[i]) <= 1e-6 * (fabs(kept[i]) + largest(src)));
        }
        free(kept);
        kernel_case_free(&c);
    }
}
END_TEST

/* <gather x, y> = <x, scatter y>. */
START_TEST(scatter_is_adjoint_of_gather)
{
    for (int index = 0; index < 70; index += 7) {
        kernel_case c;
        kernel_case_make(&c, KERNEL_gather_rows, index, 13, 0);
        ck_assert_int_eq(run(&c, KERNEL_gather_rows), PUMIT_OK);
        const kernel_array x = *array_at(&c, AT(rows, src)), gx = *array_at(&c, AT(rows, dst));
        double *y = allocate_zeros((size_t)gx.count * sizeof *y);
        double *sy = allocate_zeros((size_t)x.count * sizeof *sy);
        for (int64_t i = 0; i < gx.count; i++) y[i] = random_normal(&c);
        pumit_rows_args args = c.args.rows;
        args.src = y;
        args.dst = sy;
        args.index = array_at(&c, AT(rows, index))->bytes;
        ck_assert_int_eq(pumit__reference64.scatter_rows(NULL, &args), PUMIT_OK);
        const double left = inner(gx.values, y, gx.count), right = inner(x.values, sy, x.count);
        ck_assert(fabs(left - right) <= 1e-9 * (1 + fabs(left)));
        free(y);
        free(sy);
        kernel_case_free(&c);
    }
}
END_TEST

/* ------------------------------------------------------------------------- threads */

/* Large enough that a second thread is really used. */
START_TEST(threads_change_no_bit)
{
    static const int kernels[] = {KERNEL_reduce_sum,          KERNEL_matmul,
                                  KERNEL_layer_norm_backward, KERNEL_group_norm_backward,
                                  KERNEL_softmax_forward,     KERNEL_attention_forward,
                                  KERNEL_attention_backward,  KERNEL_resample_backward,
                                  KERNEL_scatter_rows,        KERNEL_sum_squares};
    kernel_case c[2];
    for (int t = 0; t < 2; t++) {
        void *device;
        ck_assert_int_eq(pumit__reference64.open(&device, 0, t == 0 ? 1 : 3), PUMIT_OK);
        kernel_case_make(&c[t], kernels[_i], 0, 17, 1);
        ck_assert_int_eq(run_on(&c[t], kernels[_i], device), PUMIT_OK);
        pumit__reference64.close(device);
    }
    for (int i = 0; i < c[0].count; i++) {
        const kernel_array *a = &c[0].arrays[i], *b = &c[1].arrays[i];
        if (a->dtype) continue;
        ck_assert(memcmp(a->values, b->values, (size_t)a->count * sizeof *a->values) == 0);
    }
    kernel_case_free(&c[0]);
    kernel_case_free(&c[1]);
}
END_TEST

/* ------------------------------------------------------------------------- conversions */

/* Converts `n` packed elements; `dst` has room for 8 bytes each. */
static void convert(void *dst, int32_t dst_dtype, const void *src, int32_t src_dtype, int64_t n)
{
    const pumit_copy_args args = {.src = src,
                                  .dst = dst,
                                  .src_dtype = src_dtype,
                                  .dst_dtype = dst_dtype,
                                  .ndim = 1,
                                  .shape = {n},
                                  .src_stride = {1},
                                  .dst_stride = {1}};
    ck_assert_int_eq(pumit__reference.copy(NULL, &args), PUMIT_OK);
}

START_TEST(sixteen_bit_floats_survive_a_round_trip)
{
    static const int32_t dtypes[] = {PUMIT_F16, PUMIT_BF16};
    static uint16_t bits[65536], back[65536];
    static float wide[65536];
    for (int i = 0; i < 65536; i++) bits[i] = (uint16_t)i;
    convert(wide, PUMIT_F32, bits, dtypes[_i], 65536);
    convert(back, dtypes[_i], wide, PUMIT_F32, 65536);
    for (int i = 0; i < 65536; i++) {
        if (!isnan(wide[i]))
            ck_assert_int_eq(back[i], i);
        else
            ck_assert_int_gt(back[i] & 0x7fff, dtypes[_i] == PUMIT_F16 ? 0x7c00 : 0x7f80);
    }
}
END_TEST

START_TEST(floats_round_to_nearest_even_once)
{
    static const struct {
        double value;
        uint16_t half, bfloat;
    } known[] = {
        {1, 0x3c00, 0x3f80},
        {-2, 0xc000, 0xc000},
        {65504, 0x7bff, 0x4780},
        {65519.99, 0x7bff, 0x4780},
        {65520, 0x7c00, 0x4780},
        {1 + 0x1p-11, 0x3c00, 0x3f80},           /* a tie, to even */
        {1 + 0x1p-11 + 0x1p-40, 0x3c01, 0x3f80}, /* a tie only after a first rounding to f32 */
        {1 + 3 * 0x1p-11, 0x3c02, 0x3f80},
        {1 + 0x1p-8, 0x3c04, 0x3f80},
        {1 + 3 * 0x1p-8, 0x3c0c, 0x3f82},
        {1 + 0x1p-8 + 0x1p-40, 0x3c04, 0x3f81},
        {0x1p-24, 0x0001, 0x3380},
        {0x1p-25, 0x0000, 0x3300},
        {0x1.8p-25, 0x0001, 0x3340},
        {-0x1p-26, 0x8000, 0xb280},
        {1e300, 0x7c00, 0x7f80},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        uint16_t half, bfloat;
        convert(&half, PUMIT_F16, &known[i].value, PUMIT_F64, 1);
        convert(&bfloat, PUMIT_BF16, &known[i].value, PUMIT_F64, 1);
        ck_assert_msg(half == known[i].half, "%a gave f16 0x%04x", known[i].value, half);
        ck_assert_msg(bfloat == known[i].bfloat, "%a gave bf16 0x%04x", known[i].value, bfloat);
    }
}
END_TEST

START_TEST(integers_saturate)
{
    const double reals[] = {0.5, 1.5, 254.5, 255.5, -0.5, -1, 1e30, -1e30, NAN, 40000.2, -40000};
    const uint8_t bytes[] = {0, 2, 254, 255, 0, 0, 255, 0, 0, 255, 0};
    const int16_t words[] = {0, 2, 254, 256, 0, -1, 32767, -32768, 0, 32767, -32768};
    const int64_t longs[] = {0, 2, 254, 256, 0, -1, INT64_MAX, INT64_MIN, 0, 40000, -40000};
    const int64_t integers[] = {INT64_MAX, INT64_MIN, -1, 2147483648};
    const int32_t ints[] = {INT32_MAX, INT32_MIN, -1, INT32_MAX};
    uint8_t u8[11];
    int16_t i16[11];
    int64_t i64[11];
    int32_t i32[4];
    convert(u8, PUMIT_U8, reals, PUMIT_F64, 11);
    convert(i16, PUMIT_I16, reals, PUMIT_F64, 11);
    convert(i64, PUMIT_I64, reals, PUMIT_F64, 11);
    convert(i32, PUMIT_I32, integers, PUMIT_I64, 4);
    ck_assert_mem_eq(u8, bytes, sizeof bytes);
    ck_assert_mem_eq(i16, words, sizeof words);
    ck_assert_mem_eq(i64, longs, sizeof longs);
    ck_assert_mem_eq(i32, ints, sizeof ints);
}
END_TEST

/* ------------------------------------------------------------------------- extremes, refusals */

START_TEST(cross_entropy_ignores_absent_targets)
{
    const double src[] = {1e308, -1e308, 0}, target[] = {1, 0, 0}, one = 1;
    double dst = NAN, diff[3];
    pumit_cross_entropy_args args = {.src = src,
                                     .target = target,
                                     .dst = &dst,
                                     .diff_dst = &one,
                                     .diff_src = diff,
                                     .rows = 1,
                                     .channels = 3};
    ck_assert_int_eq(pumit__reference64.cross_entropy_forward(NULL, &args), PUMIT_OK);
    ck_assert_int_eq(pumit__reference64.cross_entropy_backward(NULL, &args), PUMIT_OK);
    ck_assert(dst == 0);
    for (int i = 0; i < 3; i++) ck_assert(diff[i] == 0);
}
END_TEST

START_TEST(impossible_arguments_are_refused)
{
    float x[4] = {0};
    const pumit_backend *b = &pumit__reference;
    const pumit_copy_args copy = {.src = x, .dst = x, .src_dtype = 99, .dst_dtype = PUMIT_F32};
    const pumit_unary_args unary = {.src = x, .dst = x, .diff_src = x, .diff_dst = x, .n = 4};
    const pumit_binary_args binary = {.a = x, .b = x, .dst = x, .kind = 9};
    const pumit_resample_args resample = {.src = x,
                                          .dst = x,
                                          .n = 1,
                                          .channels = 1,
                                          .kind = 7,
                                          .src_size = {1, 1, 1},
                                          .dst_size = {1, 1, 1}};
    const pumit_resample_args bicubic = {.src = x,
                                         .dst = x,
                                         .n = 1,
                                         .channels = 1,
                                         .kind = PUMIT_RESAMPLE_BICUBIC,
                                         .src_size = {1, 1, 1},
                                         .dst_size = {2, 1, 1}};
    const pumit_max_pool_args max_pool = {.src = x,
                                          .dst = x,
                                          .n = 1,
                                          .channels = 1,
                                          .src_size = {1, 1, 4},
                                          .dst_size = {1, 1, 2},
                                          .window = {1, 1, 3}};
    int64_t place;
    const pumit_argmax_args argmax = {.src = x, .dst = &place, .rows = 1};
    const int64_t index = 4;
    const pumit_rows_args rows = {
        .src = x, .index = &index, .dst = x, .n = 1, .length = 4, .count = 1, .channels = 1};
    const pumit_conv_args conv = {.src = x,
                                  .weights = x,
                                  .dst = x,
                                  .n = 1,
                                  .in_channels = 1,
                                  .out_channels = 1,
                                  .src_size = {1, 1, 1},
                                  .dst_size = {2, 1, 1},
                                  .kernel = {1, 1, 1},
                                  .stride = {1, 1, 1}};
    const pumit_adamw_args adamw = {.param = x, .exp_avg = x, .exp_avg_sq = x, .grad = x, .n = 4};
    void *device;
    ck_assert_int_eq(b->copy(NULL, &copy), PUMIT_ERROR_INVALID_ARGUMENT);
    ck_assert_int_eq(b->unary_forward(NULL, &unary), PUMIT_ERROR_INVALID_ARGUMENT);
    ck_assert_int_eq(b->unary_backward(NULL, &unary), PUMIT_ERROR_INVALID_ARGUMENT);
    ck_assert_int_eq(b->binary(NULL, &binary), PUMIT_ERROR_INVALID_ARGUMENT);
    ck_assert_int_eq(b->resample_forward(NULL, &resample), PUMIT_ERROR_INVALID_ARGUMENT);
    ck_assert_int_eq(b->resample_forward(NULL, &bicubic), PUMIT_ERROR_INVALID_ARGUMENT);
    ck_assert_int_eq(b->max_pool_forward(NULL, &max_pool), PUMIT_ERROR_INVALID_ARGUMENT);
    ck_assert_int_eq(b->argmax(NULL, &argmax), PUMIT_ERROR_INVALID_ARGUMENT);
    ck_assert_int_eq(b->gather_rows(NULL, &rows), PUMIT_ERROR_INVALID_ARGUMENT);
    ck_assert_int_eq(b->scatter_rows(NULL, &rows), PUMIT_ERROR_INVALID_ARGUMENT);
    ck_assert_int_eq(b->conv_forward(NULL, &conv), PUMIT_ERROR_INVALID_ARGUMENT);
    ck_assert_int_eq(b->adamw(NULL, &adamw), PUMIT_ERROR_INVALID_ARGUMENT);
    ck_assert_int_eq(b->open(&device, 1, 1), PUMIT_ERROR_NOT_FOUND);
}
END_TEST

Suite *suite_reference(void);
Suite *suite_reference(void)
{
    Suite *suite = suite_create("reference");
    TCase *gradients = tcase_create("gradients");
    tcase_set_timeout(gradients, 120);
    tcase_add_loop_test(gradients, gradients_match_differences, 0, PAIR_COUNT);
    tcase_add_test(gradients, rope_inverse_undoes_rope);
    tcase_add_test(gradients, scatter_is_adjoint_of_gather);
    suite_add_tcase(suite, gradients);
    TCase *threads = tcase_create("threads");
    tcase_set_timeout(threads, 120);
    tcase_add_loop_test(threads, threads_change_no_bit, 0, 10);
    suite_add_tcase(suite, threads);
    TCase *values = tcase_create("values");
    tcase_add_loop_test(values, sixteen_bit_floats_survive_a_round_trip, 0, 2);
    tcase_add_test(values, floats_round_to_nearest_even_once);
    tcase_add_test(values, integers_saturate);
    tcase_add_test(values, cross_entropy_ignores_absent_targets);
    tcase_add_test(values, impossible_arguments_are_refused);
    suite_add_tcase(suite, values);
    return suite;
}
