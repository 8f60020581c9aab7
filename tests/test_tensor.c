/* SPDX-License-Identifier: Apache-2.0 */
/* Contexts, tensors in and out of host memory, views, reference counts, DLPack. */
#include "lib/tensor/ops.h"

#include "kernels/backends.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

Suite *suite_tensor(void);

#define CHECK_OK(call) ck_assert_msg((call) == PUMIT_OK, "%s", pumit_last_error())
#define CHECK_FAILS(status, call)                                                                  \
    do {                                                                                           \
        ck_assert_str_eq(pumit_status_name(call), #status);                                        \
        ck_assert(pumit_last_error()[0] != '\0');                                                  \
    } while (0)

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

/* ------------------------------------------------------------------------------------------ contexts */

START_TEST(context_takes_options)
{
    pumit_config *options;
    pumit_context *ctx;
    setenv("PUMIT_DEVICE", "reference", 1);
    CHECK_OK(pumit_context_create(&ctx, NULL));
    ck_assert_str_eq(pumit_context_device(ctx), "reference");
    ck_assert_int_ge(pumit_context_threads(ctx), 1);
    pumit_context_release(ctx);
    CHECK_OK(pumit_config_create(&options));
    CHECK_OK(pumit_config_set_string(options, "device", "reference64")); /* beats the environment */
    CHECK_OK(pumit_config_set_int(options, "threads", 3));
    CHECK_OK(pumit_context_create(&ctx, options));
    ck_assert_str_eq(pumit_context_device(ctx), "reference64");
    ck_assert_int_eq(pumit_context_threads(ctx), 3);
    pumit_context_release(ctx);
    pumit_config_release(options);
    setenv("PUMIT_DEVICE", "", 1);
    CHECK_OK(pumit_context_create(&ctx, NULL));
    ck_assert_str_eq(pumit_context_device(ctx), "cpu");
    pumit_context_release(ctx);
    pumit_context_release(NULL);
    unsetenv("PUMIT_DEVICE");
}
END_TEST

static void refuses(const char *key, const char *json, pumit_status expected)
{
    pumit_config *options;
    static char other;
    pumit_context *ctx = (void *)&other;
    CHECK_OK(pumit_config_create(&options));
    CHECK_OK(pumit_config_set_json(options, key, json));
    const pumit_status status = pumit_context_create(&ctx, options);
    ck_assert_msg(status == expected, "%s = %s gives %s", key, json, pumit_status_name(status));
    ck_assert_ptr_null(ctx);
    pumit_config_release(options);
}

START_TEST(context_refuses_options)
{
    refuses("device", "\"abacus\"", PUMIT_ERROR_NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(pumit_last_error(), "abacus"));
    refuses("threads", "0", PUMIT_ERROR_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(pumit_last_error(), "threads"));
    refuses("threads", "-1", PUMIT_ERROR_INVALID_ARGUMENT);
    refuses("threads", "100000", PUMIT_ERROR_INVALID_ARGUMENT);
    refuses("threads", "\"many\"", PUMIT_ERROR_INVALID_ARGUMENT);
    refuses("limits.voxels", "0", PUMIT_ERROR_INVALID_ARGUMENT);
    CHECK_FAILS(PUMIT_ERROR_INVALID_ARGUMENT, pumit_context_create(NULL, NULL));
    setenv("PUMIT_DEVICE", "abacus", 1);
    pumit_context *ctx;
    CHECK_FAILS(PUMIT_ERROR_NOT_FOUND, pumit_context_create(&ctx, NULL));
    unsetenv("PUMIT_DEVICE");
}
END_TEST

static void remember(void *user, int32_t level, const char *message)
{
    snprintf(user, 64, "%d %s", level, message);
}

START_TEST(context_logs_where_asked)
{
    char kept[64] = "";
    pumit_context *ctx = open_context("reference");
    pumit__log(ctx, PUMIT_LOG_INFO, "nobody listens");
    pumit_context_set_log(ctx, remember, kept);
    pumit__log(ctx, PUMIT_LOG_WARNING, "skipped %d", 7);
    ck_assert_str_eq(kept, "1 skipped 7");
    pumit_context_set_log(ctx, NULL, NULL);
    pumit__log(ctx, PUMIT_LOG_WARNING, "not heard");
    ck_assert_str_eq(kept, "1 skipped 7");
    pumit_context_release(ctx);
}
END_TEST

START_TEST(trim_gives_memory_back)
{
    pumit_context *ctx = open_context("reference");
    pumit_tensor *t;
    int64_t first, cached, trimmed, peak, bytes;
    CHECK_OK(pumit_tensor_create(&t, ctx, PUMIT_F32, 1, (int64_t[]){1000}));
    ck_assert_int_ge(in_use(ctx), 4000);
    CHECK_OK(pumit_context_memory(ctx, &bytes, &peak, &first));
    ck_assert_int_eq(peak, bytes);
    pumit_tensor_release(t);
    ck_assert_int_eq(in_use(ctx), 0);
    CHECK_OK(pumit_tensor_create(&t, ctx, PUMIT_F32, 1, (int64_t[]){1001}));
    CHECK_OK(pumit_context_memory(ctx, NULL, &peak, &cached));
    ck_assert_int_eq(cached, first); /* the same block again */
    ck_assert_int_eq(peak, bytes);
    pumit_tensor_release(t);
    pumit_context_trim(ctx);
    CHECK_OK(pumit_tensor_create(&t, ctx, PUMIT_F32, 1, (int64_t[]){1001}));
    CHECK_OK(pumit_context_memory(ctx, NULL, NULL, &trimmed));
    ck_assert_int_eq(trimmed, first + 1);
    pumit_tensor_release(t);
    pumit_context_release(ctx);
    CHECK_FAILS(PUMIT_ERROR_INVALID_ARGUMENT, pumit_context_memory(NULL, NULL, NULL, NULL));
}
END_TEST

#define MIB (INT64_C(1) << 20)

static int64_t system_calls(const pumit_context *ctx)
{
    int64_t count;
    CHECK_OK(pumit_context_memory(ctx, NULL, NULL, &count));
    return count;
}

/* What two blocks leave serves one of both their sizes, beside them or, where they were segments, instead of them. */
START_TEST(what_blocks_leave_serves_larger_ones)
{
    static const struct {
        int64_t bytes, count, asks;
    } cases[] = {{MIB, 20, 0}, {20 * MIB, 2, 1}, {MIB / 10, 30, 0}};
    const int64_t bytes = cases[_i].bytes, count = cases[_i].count;
    pumit_context *ctx = open_context("reference");
    pumit__storage *blocks[30], *one;
    for (int64_t i = 0; i < count; i++)
        ck_assert_ptr_nonnull(blocks[i] = pumit__storage_create(ctx, bytes));
    const int64_t before = system_calls(ctx);
    for (int64_t i = 0; i < count; i += 2) pumit__storage_release(ctx, blocks[i]);
    for (int64_t i = 1; i < count; i += 2) pumit__storage_release(ctx, blocks[i]);
    ck_assert_int_eq(in_use(ctx), 0);
    ck_assert_ptr_nonnull(one = pumit__storage_create(ctx, bytes * count));
    ck_assert_int_eq(system_calls(ctx), before + cases[_i].asks);
    pumit__storage_release(ctx, one);
    for (int64_t i = 0; i < count; i++) /* with 20 MiB each there is now a segment for both */
        ck_assert_ptr_nonnull(blocks[i] = pumit__storage_create(ctx, bytes));
    ck_assert_int_eq(system_calls(ctx), before + cases[_i].asks);
    for (int64_t i = 0; i < count; i++) pumit__storage_release(ctx, blocks[i]);
    pumit_context_trim(ctx);
    ck_assert_ptr_nonnull(one = pumit__storage_create(ctx, bytes));
    ck_assert_int_eq(system_calls(ctx), before + cases[_i].asks + 1);
    pumit__storage_release(ctx, one);
    pumit_context_release(ctx);
}
END_TEST

/* No block touches another, whatever comes and goes. */
START_TEST(blocks_do_not_overlap)
{
    enum { BLOCKS = 48, ROUNDS = 4000 };
    pumit_context *ctx = open_context("cpu");
    pumit__storage *blocks[BLOCKS] = {NULL};
    int64_t sizes[BLOCKS], most = 0;
    for (int64_t round = 0; round < ROUNDS; round++) {
        const int64_t i = (int64_t)(pumit__random(1, 2, (uint64_t)round) % BLOCKS);
        if (blocks[i]) {
            const unsigned char *memory = blocks[i]->memory;
            ck_assert_int_eq(memory[0], i);
            ck_assert_int_eq(memory[sizes[i] - 1], i);
            pumit__storage_release(ctx, blocks[i]);
            blocks[i] = NULL;
            continue;
        }
        sizes[i] = 1 + (int64_t)(pumit__random(1, 3, (uint64_t)round) % (uint64_t)(2 * MIB));
        if (round % 3 == 0) sizes[i] = sizes[i] / 64 + 1;
        ck_assert_ptr_nonnull(blocks[i] = pumit__storage_create(ctx, sizes[i]));
        ck_assert_int_eq((uintptr_t)blocks[i]->memory % 64, 0);
        unsigned char *memory = blocks[i]->memory;
        memory[0] = memory[sizes[i] - 1] = (unsigned char)i;
        most = in_use(ctx) > most ? in_use(ctx) : most;
    }
    for (int64_t i = 0; i < BLOCKS; i++) pumit__storage_release(ctx, blocks[i]);
    ck_assert_int_eq(in_use(ctx), 0);
    ck_assert_ptr_null(pumit__storage_create(ctx, INT64_MAX));
    ck_assert_int_gt(most, 10 * MIB);
    pumit_context_release(ctx);
}
END_TEST

/* -------------------------------------------------------------------------------------- in and out */

static const struct {
    pumit_dtype dtype;
    int64_t size;
    double written[4], read[4]; /* what comes back of values that may not fit */
} dtypes[] = {
    {PUMIT_F32, 4, {0.1, -2.0, 3e9, 1.0 + 0x1p-24}, {(double)0.1f, -2.0, 3e9, 1.0}},
    {PUMIT_F64, 8, {0.1, -2.0, 3e9, 1.0 + 0x1p-50}, {0.1, -2.0, 3e9, 1.0 + 0x1p-50}},
    {PUMIT_F16, 2, {0.1, -2.0, 65504.0, 2049.0}, {0x1.998p-4, -2.0, 65504.0, 2048.0}},
    {PUMIT_BF16, 2, {0.1, -2.0, 3e38, 257.0}, {0x1.9ap-4, -2.0, 0x1.c4p+127, 256.0}},
    {PUMIT_U8, 1, {0.0, -2.0, 255.0, 300.0}, {0.0, 0.0, 255.0, 255.0}},
    {PUMIT_I16, 2, {5.0, -2.0, 32767.0, -4e4}, {5.0, -2.0, 32767.0, -32768.0}},
    {PUMIT_I32, 4, {5.0, -2.0, 2147483647.0, -4e9}, {5.0, -2.0, 2147483647.0, -2147483648.0}},
    {PUMIT_I64, 8, {5.0, -2.0, 0x1p53, -1e19}, {5.0, -2.0, 0x1p53, -0x1p63}},
};

START_TEST(values_come_back)
{
    static const char *const devices[] = {"reference", "reference64", "cpu"};
    pumit_context *ctx = open_context(devices[_i]);
    for (int64_t i = 0; i < PUMIT__COUNT(dtypes); i++) {
        const pumit_dtype dtype = dtypes[i].dtype;
        const int64_t size = dtypes[i].size, shape[2] = {2, 2};
        double values[4] = {1, 1, 1, 1};
        char raw[32] = "", again[32] = "";
        pumit_tensor *t, *u;
        ck_assert_int_eq(pumit_dtype_size(dtype), size);
        CHECK_OK(pumit_tensor_create(&t, ctx, dtype, 2, shape));
        ck_assert_int_eq(pumit_tensor_dtype(t), dtype);
        ck_assert_int_eq(pumit_tensor_ndim(t), 2);
        ck_assert_int_eq(pumit_tensor_count(t), 4);
        ck_assert_mem_eq(pumit_tensor_shape(t), shape, sizeof shape);
        CHECK_OK(pumit_tensor_read(t, PUMIT_F64, values, sizeof values));
        for (int k = 0; k < 4; k++) ck_assert(values[k] == 0.0);
        CHECK_OK(pumit_tensor_write(t, PUMIT_F64, dtypes[i].written, sizeof values));
        CHECK_OK(pumit_tensor_read(t, PUMIT_F64, values, sizeof values));
        for (int k = 0; k < 4; k++)
            ck_assert_msg(values[k] == dtypes[i].read[k], "type %d: %.17g came back as %.17g",
                          dtype, dtypes[i].written[k], values[k]);
        CHECK_OK(pumit_tensor_read(t, dtype, raw, 4 * size));
        CHECK_OK(pumit_tensor_from_data(&u, ctx, dtype, 2, shape, raw));
        CHECK_OK(pumit_tensor_read(u, dtype, again, 4 * size));
        ck_assert_mem_eq(raw, again, (size_t)(4 * size));
        pumit_tensor_release(u);
        pumit_tensor_release(t);
    }
    ck_assert_int_eq(in_use(ctx), 0);
    pumit_context_release(ctx);
}
END_TEST

START_TEST(item_needs_one_element)
{
    pumit_context *ctx = open_context("cpu");
    pumit_tensor *scalar, *one, *two;
    const float values[2] = {1.5f, 2.5f};
    double item = 0.0;
    CHECK_OK(pumit_tensor_from_data(&scalar, ctx, PUMIT_F32, 0, NULL, values));
    CHECK_OK(pumit_tensor_from_data(&one, ctx, PUMIT_F32, 3, (int64_t[]){1, 1, 1}, values + 1));
    CHECK_OK(pumit_tensor_from_data(&two, ctx, PUMIT_F32, 1, (int64_t[]){2}, values));
    CHECK_OK(pumit_tensor_item(&item, scalar));
    ck_assert(item == 1.5);
    CHECK_OK(pumit_tensor_item(&item, one));
    ck_assert(item == 2.5);
    CHECK_FAILS(PUMIT_ERROR_SHAPE, pumit_tensor_item(&item, two));
    CHECK_FAILS(PUMIT_ERROR_INVALID_ARGUMENT, pumit_tensor_item(NULL, one));
    CHECK_FAILS(PUMIT_ERROR_INVALID_ARGUMENT, pumit_tensor_item(&item, NULL));
    pumit_tensor_release(scalar);
    pumit_tensor_release(one);
    pumit_tensor_release(two);
    pumit_context_release(ctx);
}
END_TEST

#define HUGE_SIZE (INT64_C(1) << 40)

static const struct {
    pumit_dtype dtype;
    int32_t ndim;
    int64_t shape[9];
    pumit_status status;
} bad_shapes[] = {
    {0, 1, {1}, PUMIT_ERROR_INVALID_ARGUMENT},
    {9, 1, {1}, PUMIT_ERROR_INVALID_ARGUMENT},
    {-1, 1, {1}, PUMIT_ERROR_INVALID_ARGUMENT},
    {PUMIT_F32, -1, {1}, PUMIT_ERROR_INVALID_ARGUMENT},
    {PUMIT_F32, 9, {1, 1, 1, 1, 1, 1, 1, 1, 1}, PUMIT_ERROR_INVALID_ARGUMENT},
    {PUMIT_F32, 1, {-1}, PUMIT_ERROR_SHAPE},
    {PUMIT_F32, 2, {-2, -3}, PUMIT_ERROR_SHAPE},
    {PUMIT_F32, 2, {HUGE_SIZE, HUGE_SIZE}, PUMIT_ERROR_SHAPE},
    {PUMIT_F32, 3, {HUGE_SIZE, HUGE_SIZE, 0}, PUMIT_ERROR_SHAPE},
    {PUMIT_F32, 3, {0, HUGE_SIZE, HUGE_SIZE}, PUMIT_ERROR_SHAPE},
    {PUMIT_F64, 1, {INT64_MAX}, PUMIT_ERROR_OUT_OF_MEMORY},
    {PUMIT_U8, 1, {INT64_MAX}, PUMIT_ERROR_OUT_OF_MEMORY},
};

START_TEST(impossible_tensors_are_refused)
{
    pumit_context *ctx = open_context("reference");
    pumit_tensor *t = NULL;
    for (int64_t i = 0; i < PUMIT__COUNT(bad_shapes); i++) {
        const pumit_status status = pumit_tensor_create(&t, ctx, bad_shapes[i].dtype,
                                                        bad_shapes[i].ndim, bad_shapes[i].shape);
        ck_assert_msg(status == bad_shapes[i].status, "case %d gives %s", (int)i,
                      pumit_status_name(status));
        ck_assert_ptr_null(t);
    }
    CHECK_FAILS(PUMIT_ERROR_INVALID_ARGUMENT, pumit_tensor_create(&t, ctx, PUMIT_F32, 1, NULL));
    CHECK_FAILS(PUMIT_ERROR_INVALID_ARGUMENT, pumit_tensor_create(&t, NULL, PUMIT_F32, 0, NULL));
    CHECK_FAILS(PUMIT_ERROR_INVALID_ARGUMENT,
                pumit_tensor_from_data(&t, ctx, PUMIT_F32, 0, NULL, NULL));
    ck_assert_int_eq(pumit_dtype_size(0) + pumit_dtype_size(9) + pumit_dtype_size(-5), 0);
    ck_assert_int_eq(in_use(ctx), 0);
    pumit_context_release(ctx);
}
END_TEST

START_TEST(blocks_must_have_the_right_size)
{
    pumit_context *ctx = open_context("reference");
    pumit_tensor *t, *none;
    float values[6] = {1, 2, 3, 4, 5, 6};
    void *data;
    CHECK_OK(pumit_tensor_from_data(&t, ctx, PUMIT_F32, 2, (int64_t[]){2, 3}, values));
    CHECK_FAILS(PUMIT_ERROR_INVALID_ARGUMENT, pumit_tensor_read(t, PUMIT_F32, values, 20));
    CHECK_FAILS(PUMIT_ERROR_INVALID_ARGUMENT, pumit_tensor_read(t, PUMIT_F64, values, 24));
    CHECK_FAILS(PUMIT_ERROR_INVALID_ARGUMENT, pumit_tensor_read(t, 77, values, 0));
    CHECK_FAILS(PUMIT_ERROR_INVALID_ARGUMENT, pumit_tensor_read(t, PUMIT_F32, NULL, 24));
    CHECK_FAILS(PUMIT_ERROR_INVALID_ARGUMENT, pumit_tensor_write(t, PUMIT_F32, values, 28));
    CHECK_FAILS(PUMIT_ERROR_INVALID_ARGUMENT, pumit_tensor_write(NULL, PUMIT_F32, values, 24));
    CHECK_OK(pumit_tensor_data(&data, t));
    ck_assert_mem_eq(data, values, sizeof values);
    CHECK_OK(pumit_tensor_create(&none, ctx, PUMIT_F32, 2, (int64_t[]){0, 3}));
    ck_assert_int_eq(pumit_tensor_count(none), 0);
    CHECK_OK(pumit_tensor_read(none, PUMIT_F32, values, 0));
    pumit_tensor_release(none);
    pumit_tensor_release(t);
    pumit_context_release(ctx);
}
END_TEST

/* ------------------------------------------------------------------------------- views and lifetime */

START_TEST(views_read_and_write_their_storage)
{
    pumit_context *ctx = open_context("cpu");
    const float values[6] = {1, 2, 3, 4, 5, 6};
    static const float turned[6] = {1, 4, 2, 5, 3, 6}, changed[6] = {1, 2, 30, 4, 5, 60};
    float read[6];
    void *data;
    pumit_tensor *t;
    CHECK_OK(pumit_tensor_from_data(&t, ctx, PUMIT_F32, 2, (int64_t[]){2, 3}, values));
    const int64_t mark = pumit__scope_begin(ctx);
    pumit_tensor *view = pumit__permute(t, (int32_t[]){1, 0});
    CHECK_FAILS(PUMIT_ERROR_UNSUPPORTED, pumit_tensor_data(&data, view));
    CHECK_OK(pumit_tensor_read(view, PUMIT_F32, read, sizeof read));
    ck_assert_mem_eq(read, turned, sizeof read);
    pumit_tensor *column = pumit__slice(t, 1, 2, 1); /* two elements, three apart */
    CHECK_OK(pumit_tensor_write(column, PUMIT_F32, (float[]){30, 60}, 8));
    CHECK_OK(pumit_tensor_read(t, PUMIT_F32, read, sizeof read));
    ck_assert_mem_eq(read, changed, sizeof read);
    pumit__scope_end(ctx, mark, NULL);
    pumit_tensor_release(t);
    ck_assert_int_eq(in_use(ctx), 0);
    pumit_context_release(ctx);
}
END_TEST

/* Every order of letting go of a context, a tensor, a view of it and a copy of its reference. */
START_TEST(anything_may_be_released_first)
{
    pumit_context *ctx = open_context("cpu");
    pumit_tensor *t, *view;
    const float values[2] = {1, 2};
    float read[2];
    CHECK_OK(pumit_tensor_from_data(&t, ctx, PUMIT_F32, 1, (int64_t[]){2}, values));
    const int64_t mark = pumit__scope_begin(ctx);
    CHECK_OK(pumit__scope_return(&view, ctx, mark, pumit__slice(t, 0, 1, 1)));
    ck_assert_ptr_eq(pumit_tensor_retain(t), t);
    int order[4] = {0, 1, 2, 3};
    for (int i = 0, code = _i; i < 3; code /= 4 - i++) { /* permutation number _i */
        const int k = i + code % (4 - i), taken = order[k];
        order[k] = order[i];
        order[i] = taken;
    }
    for (int i = 0; i < 4; i++) {
        if (order[i] == 0) pumit_context_release(ctx);
        if (order[i] == 1) pumit_tensor_release(view);
        if (order[i] > 1) pumit_tensor_release(t);
        int32_t left = 0; /* references to the tensor */
        for (int k = i + 1; k < 4; k++) left += order[k] > 1;
        if (left == 0) continue;
        CHECK_OK(pumit_tensor_read(t, PUMIT_F32, read, sizeof read));
        ck_assert_mem_eq(read, values, sizeof read);
    }
    pumit_tensor_release(NULL);
    ck_assert_ptr_null(pumit_tensor_retain(NULL));
}
END_TEST

/* ------------------------------------------------------------------------------------------- kernels */

static int asked, closed;
static pumit_status answer;

static pumit_status fake_unary(void *device, const pumit_unary_args *args)
{
    (void)device;
    asked++;
    if (answer == PUMIT_OK) *(float *)args->dst = 42.0f;
    return answer;
}

static void fake_close(void *device)
{
    (void)device;
    closed++;
}

/* A context whose first backend is `fake`, before the reference. */
static pumit_context *open_with(const pumit_backend *fake)
{
    pumit_context *ctx = open_context("reference");
    ctx->backends[1] = ctx->backends[0];
    ctx->devices[1] = ctx->devices[0];
    ctx->backends[0] = fake;
    ctx->devices[0] = NULL;
    ctx->backend_count = 2;
    return ctx;
}

static pumit_status doubled(double *out, pumit_context *ctx)
{
    const int64_t mark = pumit__scope_begin(ctx);
    pumit_tensor *x = pumit__from_host(ctx, PUMIT_F64, &(double){1.5}, 0, 0, NULL);
    pumit_tensor *y = pumit__affine(x, 2.0, 0.0);
    const pumit_status status = y ? pumit_tensor_item(out, y) : pumit__last_status();
    pumit__scope_end(ctx, mark, NULL);
    return status;
}

START_TEST(declined_calls_go_to_the_next_backend)
{
    pumit_backend fake = {.struct_size = sizeof fake,
                          .name = "fake",
                          .host_memory = 1,
                          .close = fake_close,
                          .unary_forward = fake_unary};
    pumit_context *ctx = open_with(&fake);
    double y = 0.0;
    asked = closed = 0;
    answer = PUMIT_OK;
    CHECK_OK(doubled(&y, ctx));
    ck_assert_msg(y == 42.0 && asked == 1, "the first backend was not asked");
    answer = PUMIT_DECLINED;
    CHECK_OK(doubled(&y, ctx));
    ck_assert_msg(y == 3.0 && asked == 2, "the second backend was not asked");
    answer = PUMIT_ERROR_BACKEND; /* a failure is not passed on to others */
    CHECK_FAILS(PUMIT_ERROR_BACKEND, doubled(&y, ctx));
    ck_assert_ptr_nonnull(strstr(pumit_last_error(), "unary_forward"));
    fake.struct_size = offsetof(pumit_backend, unary_forward); /* an older table: not to be read */
    CHECK_OK(doubled(&y, ctx));
    ck_assert_int_eq(asked, 3);
    fake.struct_size = sizeof fake;
    answer = PUMIT_DECLINED;
    ctx->backend_count = 1; /* the copy kernel is gone too */
    CHECK_FAILS(PUMIT_ERROR_UNSUPPORTED, doubled(&y, ctx));
    ctx->backend_count = 2;
    ck_assert_int_eq(in_use(ctx), 0);
    pumit_context_release(ctx);
    ck_assert_int_eq(closed, 1);
}
END_TEST

Suite *suite_tensor(void)
{
    Suite *suite = suite_create("tensor");
    TCase *contexts = tcase_create("contexts"), *tensors = tcase_create("tensors");
    tcase_add_test(contexts, context_takes_options);
    tcase_add_test(contexts, context_refuses_options);
    tcase_add_test(contexts, context_logs_where_asked);
    tcase_add_test(contexts, trim_gives_memory_back);
    tcase_add_loop_test(contexts, what_blocks_leave_serves_larger_ones, 0, 3);
    tcase_add_test(contexts, blocks_do_not_overlap);
    tcase_add_test(contexts, declined_calls_go_to_the_next_backend);
    tcase_add_loop_test(tensors, values_come_back, 0, 3);
    tcase_add_test(tensors, item_needs_one_element);
    tcase_add_test(tensors, impossible_tensors_are_refused);
    tcase_add_test(tensors, blocks_must_have_the_right_size);
    tcase_add_test(tensors, views_read_and_write_their_storage);
    tcase_add_loop_test(tensors, anything_may_be_released_first, 0, 24);
    suite_add_tcase(suite, contexts);
    suite_add_tcase(suite, tensors);
    return suite;
}
