/* SPDX-License-Identifier: Apache-2.0 */
/* Tables of backends that were built with other headers: shorter, longer, with slots missing, of another interface. */
#include "kernels/backends.h"
#include "lib/tensor/context.h"
#include "lib/tensor/ops.h"

#include <pumit/pumit.h>

#include <check.h>
#include <stdlib.h>
#include <string.h>

Suite *suite_plugin(void);

#define CHECK_OK(call) ck_assert_msg((call) == PUMIT_OK, "%s", pumit_last_error())

#define BEFORE_KERNELS offsetof(pumit_backend, copy)

static pumit_context *open_context(const char *device)
{
    pumit_config *options;
    pumit_context *ctx;
    CHECK_OK(pumit_config_create(&options));
    CHECK_OK(pumit_config_set_string(options, "device", device));
    CHECK_OK(pumit_context_create(&ctx, options));
    pumit_config_release(options);
    return ctx;
}

/* A table in exactly `size` bytes, so that sanitizers see what is read behind its end; filled there with what is no
 * pointer. The registry keeps a table for good. */
static pumit_backend *make_table(const char *name, size_t size)
{
    pumit_backend *table = malloc(size);
    ck_assert_ptr_nonnull(table);
    memset(table, 0x5a, size);
    memcpy(table, &pumit__reference, size < sizeof *table ? size : sizeof *table);
    table->struct_size = (uint32_t)size;
    table->name = name;
    return table;
}

/* A linear layer's values, whoever computes them. */
static void check_computes(const char *device)
{
    const float x[4] = {1, 2, 3, 4}, w[4] = {1, 0, 1, 1};
    const float expected[4] = {1, 3, 3, 7};
    float got[4];
    pumit_context *ctx = open_context(device);
    const int64_t mark = pumit__scope_begin(ctx), shape[2] = {2, 2};
    ck_assert_str_eq(pumit_context_device(ctx), device);
    pumit_tensor *y = pumit__linear(pumit__from_host(ctx, PUMIT_F32, x, 0, 2, shape),
                                    pumit__from_host(ctx, PUMIT_F32, w, 0, 2, shape), NULL);
    ck_assert_msg(y != NULL, "%s", pumit_last_error());
    CHECK_OK(pumit_tensor_read(y, PUMIT_F32, got, sizeof got));
    for (int i = 0; i < 4; i++) ck_assert(got[i] == expected[i]);
    pumit__scope_end(ctx, mark, NULL);
    pumit_context_release(ctx);
}

/* ----------------------------------------------------------------------------------- the registry */

START_TEST(added_ones_come_before_those_built_in)
{
    const pumit_backend *order[PUMIT__MOST_BACKENDS], *added = make_table("added", sizeof *added);
    int32_t count;
    CHECK_OK(pumit__registry_add(added));
    CHECK_OK(pumit__registry_find(order, &count, "added"));
    ck_assert_int_eq(count, 3);
    ck_assert(order[0] == added && order[1] == &pumit__cpu && order[2] == &pumit__reference);
    CHECK_OK(pumit__registry_find(order, &count, "reference"));
    ck_assert_int_eq(count, 1);
    check_computes("added");
}
END_TEST

static void check_refused(pumit_backend *table, pumit_status status, const char *why)
{
    const pumit_backend *order[PUMIT__MOST_BACKENDS];
    int32_t count;
    ck_assert_int_eq(pumit__registry_add(table), status);
    ck_assert_msg(strstr(pumit_last_error(), why) != NULL, "'%s' lacks '%s'", pumit_last_error(),
                  why);
    ck_assert_int_eq(pumit__registry_find(order, &count, "bad"), PUMIT_ERROR_NOT_FOUND);
    free(table);
}

START_TEST(tables_are_checked_when_added)
{
    pumit_backend *table = make_table("bad", BEFORE_KERNELS - 1);
    check_refused(NULL, PUMIT_ERROR_INVALID_ARGUMENT, "too short");
    check_refused(table, PUMIT_ERROR_INVALID_ARGUMENT, "too short");
#define BAD(member, value, status, why)                                                            \
    do {                                                                                           \
        table = make_table("bad", sizeof *table);                                                  \
        table->member = value;                                                                     \
        check_refused(table, status, why);                                                         \
    } while (0)
    BAD(struct_size, 0, PUMIT_ERROR_INVALID_ARGUMENT, "too short");
    BAD(name, NULL, PUMIT_ERROR_INVALID_ARGUMENT, "lacks name");
    BAD(open, NULL, PUMIT_ERROR_INVALID_ARGUMENT, "lacks name, open");
    BAD(close, NULL, PUMIT_ERROR_INVALID_ARGUMENT, "lacks name, open or close");
    BAD(host_memory, 0, PUMIT_ERROR_UNSUPPORTED, "backend 'bad': memory of its own");
    BAD(name, "reference", PUMIT_ERROR_STATE, "one of that name already");
}
END_TEST

/* Of a table of another interface nothing but its size and number is looked at. */
START_TEST(other_interfaces_are_refused)
{
    for (int32_t step = -1; step <= 1; step += 2) {
        pumit_backend *table = malloc(sizeof *table);
        ck_assert_ptr_nonnull(table);
        memset(table, 0x5a, sizeof *table);
        table->struct_size = sizeof *table;
        table->abi_version = PUMIT_ABI_VERSION + step;
        check_refused(table, PUMIT_ERROR_UNSUPPORTED, "build it anew");
    }
}
END_TEST

START_TEST(there_is_room_for_sixteen)
{
    static char names[17][16];
    for (int i = 0; i < 17; i++) {
        snprintf(names[i], sizeof names[i], "b%d", i);
        pumit_backend *table = make_table(i < 16 ? names[i] : "bad", sizeof *table);
        if (i < 16)
            CHECK_OK(pumit__registry_add(table));
        else
            check_refused(table, PUMIT_ERROR_LIMIT, "there are 16 already");
    }
}
END_TEST

/* -------------------------------------------------------------------------- older and newer tables */

START_TEST(tables_may_end_anywhere_behind_what_is_needed)
{
    static char names[7][16];
    const size_t sizes[] = {BEFORE_KERNELS,
                            BEFORE_KERNELS + 1, /* within a slot */
                            offsetof(pumit_backend, matmul) + 4,
                            offsetof(pumit_backend, matmul) + sizeof pumit__cpu.matmul,
                            sizeof(pumit_backend) - 1,
                            sizeof(pumit_backend) + 1, /* of a later release: more at the end */
                            sizeof(pumit_backend) + 64};
    const size_t size = sizes[_i];
    snprintf(names[_i], sizeof names[_i], "of%zu", size);
    CHECK_OK(pumit__registry_add(make_table(names[_i], size)));
    check_computes(names[_i]);
}
END_TEST

START_TEST(every_kernel_may_be_missing)
{
    pumit_backend *table = make_table("hollow", sizeof *table);
    memset((char *)table + BEFORE_KERNELS, 0, sizeof *table - BEFORE_KERNELS);
    CHECK_OK(pumit__registry_add(table));
    check_computes("hollow");
}
END_TEST

/* Each slot by itself: who comes first is asked where its table reaches beyond the slot, and the slot is filled. */
static int asked_first, asked_last;

#define PUMIT_KERNEL(kernel, family, summary)                                                      \
    static pumit_status first_##kernel(void *device, const pumit_##family##_args *args)            \
    {                                                                                              \
        (void)device, (void)args;                                                                  \
        asked_first++;                                                                             \
        return PUMIT_OK;                                                                           \
    }                                                                                              \
    static pumit_status last_##kernel(void *device, const pumit_##family##_args *args)             \
    {                                                                                              \
        (void)device, (void)args;                                                                  \
        asked_last++;                                                                              \
        return PUMIT_OK;                                                                           \
    }
#include <pumit/oplist.inc>
#undef PUMIT_KERNEL

static void no_close(void *device)
{
    (void)device;
}

static void check_asked(pumit_status status, const char *kernel, bool first)
{
    ck_assert_int_eq(status, PUMIT_OK);
    ck_assert_msg(asked_first == first && asked_last == !first, "%s went to the wrong backend",
                  kernel);
    asked_first = asked_last = 0;
}

START_TEST(each_slot_is_looked_at_by_itself)
{
    pumit_backend first = {.struct_size = sizeof first, .name = "first", .close = no_close};
    pumit_backend last = {.struct_size = sizeof last, .name = "last", .close = no_close};
    pumit_context *ctx = open_context("reference");
    ctx->backends[0]->close(ctx->devices[0]);
    ctx->backends[0] = &first;
    ctx->backends[1] = &last;
    ctx->devices[0] = ctx->devices[1] = NULL;
    ctx->backend_count = 2;
#define PUMIT_KERNEL(kernel, family, summary)                                                      \
    last.kernel = last_##kernel;                                                                   \
    check_asked(pumit__kernel_##kernel(ctx, NULL), #kernel, false);                                \
    first.kernel = first_##kernel;                                                                 \
    check_asked(pumit__kernel_##kernel(ctx, NULL), #kernel, true);                                 \
    first.struct_size = offsetof(pumit_backend, kernel) + sizeof first.kernel;                     \
    check_asked(pumit__kernel_##kernel(ctx, NULL), #kernel, true);                                 \
    first.struct_size--;                                                                           \
    check_asked(pumit__kernel_##kernel(ctx, NULL), #kernel, false);                                \
    first.struct_size = sizeof first;
#include <pumit/oplist.inc>
#undef PUMIT_KERNEL
    pumit_context_release(ctx);
}
END_TEST

Suite *suite_plugin(void)
{
    Suite *suite = suite_create("plugin");
    TCase *registry = tcase_create("registry"), *tables = tcase_create("tables");
    tcase_add_test(registry, added_ones_come_before_those_built_in);
    tcase_add_test(registry, tables_are_checked_when_added);
    tcase_add_test(registry, other_interfaces_are_refused);
    tcase_add_test(registry, there_is_room_for_sixteen);
    tcase_add_loop_test(tables, tables_may_end_anywhere_behind_what_is_needed, 0, 7);
    tcase_add_test(tables, every_kernel_may_be_missing);
    tcase_add_test(tables, each_slot_is_looked_at_by_itself);
    suite_add_tcase(suite, registry);
    suite_add_tcase(suite, tables);
    return suite;
}
