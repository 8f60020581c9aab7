/* SPDX-License-Identifier: Apache-2.0 */
/* What is particular to the `cpu` backend: its ladder of instruction sets, sizes that reach all threads, the ways
 * of convolution, the primitive cache, and devices that work side by side. */
#include "kernel_cases.h"

#include "kernels/backends.h"

#include <check.h>
#include <math.h>
#include <omp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SEED 20231204u

static void *open_device(int32_t threads)
{
    void *device = NULL;
    ck_assert_int_eq(pumit__cpu.open(&device, 0, threads), PUMIT_OK);
    return device;
}

static void compare_case(void *device, int kernel, int index, int large)
{
    char message[1024] = "";
    kernel_case c;
    kernel_case_make(&c, kernel, index, SEED, large);
    const int result = kernel_case_compare(&c, &pumit__cpu, device, message, sizeof message);
    kernel_case_free(&c);
    ck_assert_msg(result != CASE_FAILED, "%s", message);
}

/* Each test runs in a process of its own, so the ladder is climbed anew. */
START_TEST(lower_instruction_sets_match_oracle)
{
    static const char *const names[] = {"generic", "avx2"};
    setenv("PUMIT_CPU_ISA", names[_i / KERNEL_COUNT], 1);
    void *device = open_device(2);
    for (int index = 0; index < 21; index++) compare_case(device, _i % KERNEL_COUNT, index, 0);
    pumit__cpu.close(device);
}
END_TEST

START_TEST(sizes_for_many_threads_match_oracle)
{
    const char *name = kernel_entries[_i].name;
    if (strstr(name, "conv") || strstr(name, "matmul")) return; /* below, against reference */
    void *device = open_device(3);
    compare_case(device, _i, 0, 1);
    pumit__cpu.close(device);
}
END_TEST

/* ---------------------------------------------------------------------------------- convolution */

static float noise(int64_t i)
{
    uint64_t x = ((uint64_t)i + 1) * 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    x ^= x >> 31;
    return (float)((double)(x >> 40) / (double)(1 << 23) - 1);
}

static float *noisy(int64_t count, int64_t salt)
{
    float *x = allocate_zeros((size_t)count * sizeof *x);
    for (int64_t i = 0; i < count; i++) x[i] = noise(i + salt * 1000003);
    return x;
}

typedef struct {
    int64_t n, in_channels, out_channels, size[3], kernel[3], stride[3], padding[3];
} conv_shape;

typedef struct {
    pumit_conv_args args;
    int64_t src_count, dst_count, weight_count;
} conv_problem;

static conv_problem make_problem(const conv_shape *s)
{
    conv_problem p = {
        .args = {.n = s->n, .in_channels = s->in_channels, .out_channels = s->out_channels}};
    p.src_count = s->n * s->in_channels;
    p.dst_count = s->n * s->out_channels;
    p.weight_count = s->in_channels * s->out_channels;
    for (int d = 0; d < 3; d++) {
        p.args.src_size[d] = s->size[d];
        p.args.kernel[d] = s->kernel[d];
        p.args.stride[d] = s->stride[d];
        p.args.padding[d] = s->padding[d];
        p.args.dst_size[d] = (s->size[d] + 2 * s->padding[d] - s->kernel[d]) / s->stride[d] + 1;
        p.src_count *= s->size[d];
        p.dst_count *= p.args.dst_size[d];
        p.weight_count *= s->kernel[d];
    }
    p.args.src = noisy(p.src_count, 1);
    p.args.weights = noisy(p.weight_count, 2);
    p.args.bias = noisy(s->out_channels, 3);
    p.args.diff_dst = noisy(p.dst_count, 4);
    return p;
}

static void free_problem(conv_problem *p)
{
    const void *const inputs[] = {p->args.src, p->args.weights, p->args.bias, p->args.diff_dst};
    for (int i = 0; i < 4; i++) free((void *)(uintptr_t)inputs[i]);
}

/* dst, diff_src, diff_weights, diff_bias behind each other. */
static float *run_problem(const pumit_backend *backend, void *device, const conv_problem *p,
                          int64_t *count)
{
    pumit_conv_args args = p->args;
    *count = p->dst_count + p->src_count + p->weight_count + args.out_channels;
    float *all = noisy(*count, 5);
    args.dst = all;
    args.diff_src = all + p->dst_count;
    args.diff_weights = all + p->dst_count + p->src_count;
    args.diff_bias = all + p->dst_count + p->src_count + p->weight_count;
    ck_assert_int_eq(backend->conv_forward(device, &args), PUMIT_OK);
    ck_assert_int_eq(backend->conv_backward_data(device, &args), PUMIT_OK);
    ck_assert_int_eq(backend->conv_backward_weights(device, &args), PUMIT_OK);
    return all;
}

static void check_close(const float *got, const float *ref, int64_t count, const char *what)
{
    double error = 0, norm = 0;
    for (int64_t i = 0; i < count; i++) {
        const double by = (double)got[i] - (double)ref[i];
        error += by * by;
        norm += (double)ref[i] * (double)ref[i];
    }
    ck_assert_msg(norm > 0, "%s: the reference is all zeros", what);
    ck_assert_msg(sqrt(error / norm) <= 2e-6, "%s: relative error %g", what, sqrt(error / norm));
}

static void compare_conv(void *device, const conv_shape *shape)
{
    conv_problem p = make_problem(shape);
    int64_t count;
    float *got = run_problem(&pumit__cpu, device, &p, &count);
    float *ref = run_problem(&pumit__reference, NULL, &p, &count);
    const int64_t src = p.dst_count, weights = src + p.src_count, bias = weights + p.weight_count;
    check_close(got, ref, p.dst_count, "dst");
    check_close(got + src, ref + src, p.src_count, "diff_src");
    check_close(got + weights, ref + weights, p.weight_count, "diff_weights");
    check_close(got + bias, ref + bias, shape->out_channels, "diff_bias");
    free(got);
    free(ref);
    free_problem(&p);
}

static const conv_shape shapes[] = {
    /* many weights: threads share the taps; two blocks of rows */
    {1, 256, 256, {1, 24, 24}, {1, 3, 3}, {1, 1, 1}, {0, 1, 1}},
    {1, 160, 160, {3, 3, 4}, {3, 3, 3}, {1, 1, 1}, {1, 1, 1}},
    /* few weights: threads share the rows; several blocks, odd sizes */
    {2, 7, 5, {9, 11, 13}, {3, 3, 3}, {1, 1, 1}, {1, 1, 1}},
    {1, 40, 24, {8, 16, 18}, {3, 3, 3}, {2, 2, 2}, {1, 1, 1}},
    {3, 4, 6, {5, 9, 9}, {2, 3, 3}, {2, 2, 2}, {0, 1, 1}},
    /* depth folded into the batch; padding as wide as the kernel, so backward is not a forward */
    {2, 8, 8, {6, 10, 10}, {1, 3, 3}, {1, 2, 2}, {0, 1, 1}},
    {1, 3, 8, {4, 6, 6}, {1, 2, 2}, {1, 1, 1}, {1, 2, 2}},
    /* patches, with positions that no kernel reaches */
    {2, 3, 16, {9, 17, 19}, {4, 4, 4}, {4, 4, 4}, {0, 0, 0}},
    {2, 48, 32, {3, 20, 20}, {1, 1, 1}, {1, 1, 1}, {0, 0, 0}},
};

START_TEST(every_way_of_convolution_matches_reference)
{
    void *device = open_device(2);
    compare_conv(device, &shapes[_i]);
    pumit__cpu.close(device);
}
END_TEST

/* More shapes than the cache holds, twice. */
START_TEST(primitives_are_made_again_after_they_left_the_cache)
{
    void *device = open_device(1);
    for (int64_t i = 0; i < 140; i++) {
        const int64_t width = 3 + i % 70;
        const conv_shape shape = {1, 2, 3, {1, 3, width}, {1, 3, 3}, {1, 1, 1}, {0, 1, 1}};
        compare_conv(device, &shape);
    }
    pumit__cpu.close(device);
}
END_TEST

/* --------------------------------------------------------------------------------- side by side */

#define FLOATS ((int64_t)1 << 17)
#define ROUNDS 30

typedef struct {
    int32_t threads, bound_threads;
    float *out; /* FLOATS */
    int same;
} worker;

/* A little of everything, on one device. */
static void work(void *device, float *out)
{
    float *src = noisy(FLOATS, 7), *middle = noisy(FLOATS, 8);
    const pumit_matmul_args product = {.a = src,
                                       .b = src,
                                       .c = middle,
                                       .batch = 1,
                                       .m = 256,
                                       .n = 256,
                                       .k = 256,
                                       .lda = 256,
                                       .ldb = 256,
                                       .ldc = 256,
                                       .alpha = 1};
    const pumit_softmax_args softmax = {.src = middle, .dst = src, .rows = 128, .channels = 1024};
    const pumit_attention_args attention = {.q = src,
                                            .k = middle,
                                            .v = src,
                                            .dst = out,
                                            .lse = middle,
                                            .n = 1,
                                            .length = 512,
                                            .heads = 4,
                                            .head_dim = 64,
                                            .scale = 0.125};
    ck_assert_int_eq(pumit__cpu.matmul(device, &product), PUMIT_OK);
    ck_assert_int_eq(pumit__cpu.softmax_forward(device, &softmax), PUMIT_OK);
    float *lse = noisy(4 * 512, 9);
    pumit_attention_args args = attention;
    args.lse = lse;
    ck_assert_int_eq(pumit__cpu.attention_forward(device, &args), PUMIT_OK);
    free(lse);
    free(src);
    free(middle);
}

static void *run_worker(void *argument)
{
    worker *w = argument;
    void *device = NULL;
    if (pumit__cpu.open(&device, 0, w->threads) != PUMIT_OK) return NULL;
    float *first = allocate_zeros((size_t)FLOATS * sizeof *first);
    omp_set_num_threads(w->bound_threads);
    work(device, first);
    w->same = omp_get_max_threads() == w->bound_threads;
    for (int i = 0; i < ROUNDS; i++) {
        work(device, w->out);
        w->same = w->same && memcmp(first, w->out, (size_t)FLOATS * sizeof *first) == 0;
    }
    free(first);
    pumit__cpu.close(device);
    return NULL;
}

/* Each result is the same bit for bit, alone or beside another device, and the caller's own thread count
 * survives. */
START_TEST(devices_work_side_by_side)
{
    worker workers[4] = {{1, 5, NULL, 0}, {2, 6, NULL, 0}, {1, 5, NULL, 0}, {2, 6, NULL, 0}};
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) workers[i].out = allocate_zeros((size_t)FLOATS * sizeof(float));
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, run_worker, &workers[i]), 0);
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    for (int i = 2; i < 4; i++) {
        ck_assert_int_eq(pthread_create(&threads[i], NULL, run_worker, &workers[i]), 0);
        pthread_join(threads[i], NULL);
    }
    for (int i = 0; i < 4; i++) ck_assert_msg(workers[i].same, "worker %d: results differ", i);
    for (int i = 0; i < 2; i++)
        ck_assert_msg(memcmp(workers[i].out, workers[i + 2].out, FLOATS * sizeof(float)) == 0,
                      "worker %d: other results beside another device", i);
    for (int i = 0; i < 4; i++) free(workers[i].out);
}
END_TEST

/* ------------------------------------------------------------------------------ the caller's OpenMP */

/* A linear layer's product and a convolution, both by oneDNN's primitives; whether they are right. */
static int layers_are_right(void *device)
{
    static const conv_shape shape = {2, 8, 24, {3, 16, 18}, {3, 3, 3}, {2, 2, 2}, {1, 1, 1}};
    enum { ROWS = 50, SIZE = 300 };
    float *a = noisy(ROWS * SIZE, 1), *b = noisy(SIZE * SIZE, 2);
    float *c = noisy(ROWS * SIZE, 3), *ref = noisy(ROWS * SIZE, 4);
    pumit_matmul_args args = {.a = a, .b = b, .c = c, .batch = 1, .m = ROWS, .n = SIZE, .k = SIZE};
    args.lda = args.ldb = args.ldc = SIZE;
    args.alpha = args.trans_b = 1;
    int right = pumit__cpu.matmul(device, &args) == PUMIT_OK;
    args.c = ref;
    right = right && pumit__reference.matmul(NULL, &args) == PUMIT_OK;
    for (int i = 0; i < ROWS * SIZE; i++) right = right && fabsf(c[i] - ref[i]) <= 1e-4f;
    conv_problem p = make_problem(&shape);
    int64_t count;
    float *got = run_problem(&pumit__cpu, device, &p, &count);
    float *expected = run_problem(&pumit__reference, NULL, &p, &count);
    for (int64_t i = 0; i < count; i++)
        right = right && fabsf(got[i] - expected[i]) <= 1e-4f * (1 + fabsf(expected[i]));
    free_problem(&p);
    float *const all[] = {a, b, c, ref, got, expected};
    for (int i = 0; i < 6; i++) free(all[i]);
    return right;
}

/* OpenMP may give teams of one there, although more are asked for; primitives made before are for more. */
START_TEST(results_are_right_in_a_parallel_region)
{
    void *devices[2] = {open_device(3), open_device(3)};
    int right = layers_are_right(devices[0]);
#pragma omp parallel for num_threads(2) reduction(& : right)
    for (int i = 0; i < 2; i++) right &= layers_are_right(devices[i]);
    right &= layers_are_right(devices[1]);
    for (int i = 0; i < 2; i++) pumit__cpu.close(devices[i]);
    ck_assert(right);
}
END_TEST

/* So does OMP_DYNAMIC where the machine has fewer cores, and OMP_MAX_ACTIVE_LEVELS=0. */
START_TEST(results_are_right_whatever_OpenMP_is_told)
{
    void *device = open_device(omp_get_num_procs() + 3);
    omp_set_dynamic(1);
    ck_assert_msg(layers_are_right(device), "dynamic");
    ck_assert_int_eq(omp_get_dynamic(), 1);
    omp_set_dynamic(0);
    omp_set_max_active_levels(0);
    ck_assert_msg(layers_are_right(device), "no parallel regions");
    pumit__cpu.close(device);
}
END_TEST

/* ------------------------------------------------------------------------------------ attention */

#define TOKENS 1237
#define WIDTH  60 /* 3 heads of 20 */
#define ROW    (3 * WIDTH)

/* Both passes over sequences of very different lengths, q, k and v in one buffer; results end to end in `out`. */
static void attend(int32_t threads, const float *qkv, const float *diff_dst, float *out)
{
    static const int64_t offsets[] = {0, 1, 31, 31, 1231, TOKENS};
    float *diff_qkv = out + TOKENS * (WIDTH + 3);
    const pumit_attention_args args = {.q = qkv,
                                       .k = qkv + WIDTH,
                                       .v = qkv + 2 * WIDTH,
                                       .dst = out,
                                       .lse = out + TOKENS * WIDTH,
                                       .diff_dst = diff_dst,
                                       .diff_q = diff_qkv,
                                       .diff_k = diff_qkv + WIDTH,
                                       .diff_v = diff_qkv + 2 * WIDTH,
                                       .n = 5,
                                       .length = 1200,
                                       .heads = 3,
                                       .head_dim = WIDTH / 3,
                                       .scale = 0.2,
                                       .offsets = offsets,
                                       .row = ROW};
    void *device = open_device(threads);
    ck_assert_int_eq(pumit__cpu.attention_forward(device, &args), PUMIT_OK);
    ck_assert_int_eq(pumit__cpu.attention_backward(device, &args), PUMIT_OK);
    pumit__cpu.close(device);
}

/* Who takes which part is left to chance, but no sum depends on it. */
START_TEST(attention_is_the_same_for_any_threads)
{
    const int64_t count = TOKENS * (WIDTH + 3 + ROW);
    float *qkv = noisy(TOKENS * ROW, 1), *diff_dst = noisy(TOKENS * WIDTH, 2);
    float *first = allocate_zeros((size_t)count * sizeof *first);
    float *again = allocate_zeros((size_t)count * sizeof *again);
    attend(1, qkv, diff_dst, first);
    for (int run = 0; run < 6; run++) {
        memset(again, 0xff, (size_t)count * sizeof *again);
        attend(1 + run, qkv, diff_dst, again);
        ck_assert_msg(memcmp(first, again, (size_t)count * sizeof *first) == 0,
                      "%d threads: other results than one", 1 + run);
    }
    free(qkv);
    free(diff_dst);
    free(first);
    free(again);
}
END_TEST

Suite *suite_cpu(void);
Suite *suite_cpu(void)
{
    Suite *suite = suite_create("cpu");
    TCase *oracle = tcase_create("oracle");
    tcase_set_timeout(oracle, 120);
    tcase_add_loop_test(oracle, lower_instruction_sets_match_oracle, 0, 2 * KERNEL_COUNT);
    tcase_add_loop_test(oracle, sizes_for_many_threads_match_oracle, 0, KERNEL_COUNT);
    suite_add_tcase(suite, oracle);
    TCase *conv = tcase_create("conv");
    tcase_set_timeout(conv, 120);
    tcase_add_loop_test(conv, every_way_of_convolution_matches_reference, 0,
                        (int)(sizeof shapes / sizeof *shapes));
    tcase_add_test(conv, primitives_are_made_again_after_they_left_the_cache);
    suite_add_tcase(suite, conv);
    TCase *threads = tcase_create("threads");
    tcase_set_timeout(threads, 120);
    tcase_add_test(threads, devices_work_side_by_side);
    tcase_add_test(threads, results_are_right_in_a_parallel_region);
    tcase_add_test(threads, results_are_right_whatever_OpenMP_is_told);
    tcase_add_test(threads, attention_is_the_same_for_any_threads);
    suite_add_tcase(suite, threads);
    return suite;
}
