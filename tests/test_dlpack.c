/* SPDX-License-Identifier: Apache-2.0 */
/* DLPack exchange: layouts, ownership, and what is refused. */
#include "lib/tensor/ops.h"

#include <check.h>
#include <string.h>

Suite *suite_dlpack(void);

#define CHECK_OK(call) ck_assert_msg((call) == PUMIT_OK, "%s", pumit_last_error())

/* As published: https://dmlc.github.io/dlpack/latest/c_api.html */
typedef struct dl_managed {
    void *data;
    int32_t device_type, device_id, ndim;
    uint8_t code, bits;
    uint16_t lanes;
    int64_t *shape, *strides;
    uint64_t byte_offset;
    void *manager;
    void (*deleter)(struct dl_managed *self);
} dl_managed;

static int deleted;

static void count_deletion(dl_managed *self)
{
    (void)self;
    deleted++;
}

static pumit_context *open_context(void)
{
    pumit_context *ctx;
    CHECK_OK(pumit_context_create(&ctx, NULL));
    return ctx;
}

START_TEST(export_outlives_tensor_and_context)
{
    pumit_context *ctx = open_context();
    pumit_tensor *t, *part;
    void *exported;
    const float values[6] = {1, 2, 3, 4, 5, 6};
    CHECK_OK(pumit_tensor_from_data(&t, ctx, PUMIT_F32, 2, (int64_t[]){2, 3}, values));
    const int64_t mark = pumit__scope_begin(ctx);
    pumit_tensor *turned = pumit__permute(pumit__slice(t, 1, 1, 2), (int32_t[]){1, 0});
    CHECK_OK(pumit__scope_return(&part, ctx, mark, turned));
    CHECK_OK(pumit_tensor_to_dlpack(&exported, part));
    pumit_tensor_release(part);
    pumit_tensor_release(t);
    pumit_context_release(ctx);
    dl_managed *m = exported;
    const float *first = (const float *)((const char *)m->data + m->byte_offset);
    ck_assert(m->device_type == 1 && m->ndim == 2 && m->code == 2 && m->bits == 32);
    ck_assert_int_eq(m->lanes, 1);
    ck_assert(m->shape[0] == 2 && m->shape[1] == 2);
    ck_assert(m->strides[0] == 1 && m->strides[1] == 3);
    ck_assert(first[0] == 2 && first[1] == 3 && first[3] == 5 && first[4] == 6);
    m->deleter(m);
}
END_TEST

START_TEST(every_type_makes_the_round_trip)
{
    static const pumit_dtype dtypes[] = {PUMIT_F32, PUMIT_F64, PUMIT_F16, PUMIT_BF16,
                                         PUMIT_U8,  PUMIT_I16, PUMIT_I32, PUMIT_I64};
    static const struct {
        uint8_t code, bits;
    } codes[] = {{2, 32}, {2, 64}, {2, 16}, {4, 16}, {1, 8}, {0, 16}, {0, 32}, {0, 64}};
    pumit_context *from = open_context(), *to = open_context();
    pumit_tensor *t, *u;
    void *exported, *mine, *theirs;
    int64_t bytes;
    CHECK_OK(pumit_tensor_create(&t, from, dtypes[_i], 2, (int64_t[]){3, 5}));
    CHECK_OK(pumit_tensor_data(&mine, t));
    CHECK_OK(pumit_tensor_to_dlpack(&exported, t));
    const dl_managed *m = exported;
    ck_assert(m->code == codes[_i].code && m->bits == codes[_i].bits);
    CHECK_OK(pumit_tensor_from_dlpack(&u, to, exported));
    ck_assert_int_eq(pumit_tensor_dtype(u), dtypes[_i]);
    CHECK_OK(pumit_tensor_data(&theirs, u));
    ck_assert_ptr_eq(mine, theirs);
    pumit_tensor_release(t);
    CHECK_OK(pumit_context_memory(from, &bytes, NULL, NULL));
    ck_assert_int_gt(bytes, 0); /* the import still holds it */
    pumit_tensor_release(u);
    CHECK_OK(pumit_context_memory(from, &bytes, NULL, NULL));
    ck_assert_int_eq(bytes, 0);
    pumit_context_release(to);
    pumit_context_release(from);
}
END_TEST

START_TEST(import_takes_strides_and_offset)
{
    pumit_context *ctx = open_context();
    float memory[8] = {-1, -1, 1, 2, 3, 4, 5, 6}, read[6];
    dl_managed m = {.data = memory,
                    .device_type = 1,
                    .ndim = 2,
                    .code = 2,
                    .bits = 32,
                    .lanes = 1,
                    .shape = (int64_t[]){2, 3},
                    .strides = (int64_t[]){1, 2},
                    .byte_offset = 8,
                    .deleter = count_deletion};
    pumit_tensor *t, *view;
    void *data;
    deleted = 0;
    CHECK_OK(pumit_tensor_from_dlpack(&t, ctx, &m));
    ck_assert_int_eq(pumit_tensor_data(&data, t), PUMIT_ERROR_UNSUPPORTED);
    CHECK_OK(pumit_tensor_read(t, PUMIT_F32, read, sizeof read));
    ck_assert_mem_eq(read, ((float[]){1, 3, 5, 2, 4, 6}), sizeof read);
    memory[2] = 10; /* no copy */
    CHECK_OK(pumit_tensor_read(t, PUMIT_F32, read, sizeof read));
    ck_assert(read[0] == 10);
    const int64_t mark = pumit__scope_begin(ctx);
    pumit_tensor *row = pumit__slice(t, 0, 1, 1);
    CHECK_OK(pumit__scope_return(&view, ctx, mark, pumit__gelu(pumit__affine(row, 0.0, 1.0))));
    pumit_tensor_release(view);
    CHECK_OK(pumit__scope_return(&view, ctx, mark, pumit__slice(t, 0, 1, 1)));
    pumit_context_release(ctx);
    pumit_tensor_release(t);
    ck_assert_int_eq(deleted, 0); /* the view holds the memory */
    CHECK_OK(pumit_tensor_read(view, PUMIT_F32, read, 12));
    ck_assert_mem_eq(read, ((float[]){2, 4, 6}), 12);
    pumit_tensor_release(view);
    ck_assert_int_eq(deleted, 1);
}
END_TEST

START_TEST(import_of_plain_memory)
{
    pumit_context *ctx = open_context();
    int64_t memory[3] = {7, 8, 9}, read[3];
    dl_managed m = {.data = memory,
                    .device_type = 1,
                    .ndim = 1,
                    .bits = 64,
                    .lanes = 1,
                    .shape = (int64_t[]){3}}; /* packed, and nobody to tell */
    pumit_tensor *t;
    void *data;
    CHECK_OK(pumit_tensor_from_dlpack(&t, ctx, &m));
    CHECK_OK(pumit_tensor_data(&data, t));
    ck_assert_ptr_eq(data, memory);
    CHECK_OK(pumit_tensor_read(t, PUMIT_I64, read, sizeof read));
    ck_assert_mem_eq(read, memory, sizeof read);
    pumit_tensor_release(t);
    pumit_context_release(ctx);
}
END_TEST

static const dl_managed sound = {.device_type = 1, .ndim = 2, .code = 2, .bits = 32, .lanes = 1};

static void refuses(dl_managed m, pumit_status expected, const char *why)
{
    static float memory[4];
    static char other;
    pumit_context *ctx = open_context();
    pumit_tensor *t = (void *)&other;
    m.data = memory;
    m.deleter = count_deletion;
    deleted = 0;
    const pumit_status status = pumit_tensor_from_dlpack(&t, ctx, &m);
    ck_assert_msg(status == expected, "%s: %s", why, pumit_status_name(status));
    ck_assert_ptr_null(t);
    ck_assert_int_eq(deleted, 0); /* what was not taken is still the caller's */
    pumit_context_release(ctx);
}

START_TEST(import_refuses_what_it_cannot_take)
{
    int64_t shape[9] = {2, 2, 1, 1, 1, 1, 1, 1, 1}, negative[2] = {2, -2};
    int64_t large[2] = {INT64_C(1) << 40, INT64_C(1) << 40};
    dl_managed m = sound;
    m.shape = shape;
#define REFUSES(change, status)                                                                    \
    do {                                                                                           \
        dl_managed changed = m;                                                                    \
        changed.change;                                                                            \
        refuses(changed, status, #change);                                                         \
    } while (0)
    REFUSES(device_type = 2, PUMIT_ERROR_UNSUPPORTED);
    REFUSES(code = 5, PUMIT_ERROR_UNSUPPORTED);
    REFUSES(bits = 8, PUMIT_ERROR_UNSUPPORTED);
    REFUSES(lanes = 4, PUMIT_ERROR_UNSUPPORTED);
    REFUSES(ndim = 9, PUMIT_ERROR_UNSUPPORTED);
    REFUSES(ndim = -1, PUMIT_ERROR_UNSUPPORTED);
    REFUSES(shape = NULL, PUMIT_ERROR_INVALID_ARGUMENT);
    REFUSES(shape = negative, PUMIT_ERROR_INVALID_ARGUMENT);
    REFUSES(strides = negative, PUMIT_ERROR_INVALID_ARGUMENT);
    REFUSES(shape = large, PUMIT_ERROR_SHAPE);
    pumit_context *ctx = open_context();
    pumit_tensor *t;
    void *exported;
    ck_assert_int_eq(pumit_tensor_from_dlpack(&t, ctx, NULL), PUMIT_ERROR_INVALID_ARGUMENT);
    ck_assert_int_eq(pumit_tensor_to_dlpack(&exported, NULL), PUMIT_ERROR_INVALID_ARGUMENT);
    pumit_context_release(ctx);
}
END_TEST

Suite *suite_dlpack(void)
{
    Suite *suite = suite_create("dlpack");
    TCase *tcase = tcase_create("dlpack");
    tcase_add_test(tcase, export_outlives_tensor_and_context);
    tcase_add_loop_test(tcase, every_type_makes_the_round_trip, 0, 8);
    tcase_add_test(tcase, import_takes_strides_and_offset);
    tcase_add_test(tcase, import_of_plain_memory);
    tcase_add_test(tcase, import_refuses_what_it_cannot_take);
    suite_add_tcase(suite, tcase);
    return suite;
}
