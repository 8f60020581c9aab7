/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/tensor/safetensors.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHECK_OK(call) ck_assert_msg((call) == PUMIT_OK, "%s", pumit_last_error())

typedef pumit__safetensors_entry entry;

static char folder[64], path[96];

static void make_path(void)
{
    snprintf(folder, sizeof folder, "/tmp/pumit-test-safetensors-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
}

/* Fails if a temporary file was left behind. */
static void remove_path(void)
{
    unlink(path);
    ck_assert_int_eq(rmdir(folder), 0);
}

/* A file of the given header and `data_bytes` bytes 0, 1, 2, ...; `claimed` < 0: the header's own length. */
static void write_raw(int64_t claimed, const char *header, int64_t header_bytes, int64_t data_bytes)
{
    FILE *f = fopen(path, "wb");
    ck_assert_ptr_nonnull(f);
    const uint64_t length = (uint64_t)(claimed < 0 ? header_bytes : claimed);
    ck_assert(fwrite(&length, 8, 1, f) == 1);
    ck_assert_int_eq(fwrite(header, 1, (size_t)header_bytes, f), header_bytes);
    for (int64_t i = 0; i < data_bytes; i++) fputc((int)(i & 255), f);
    ck_assert_int_eq(fclose(f), 0);
}

static const float floats[6] = {1, 2, 3, 4, 5, -6.5f};
static const uint8_t bytes3[3] = {7, 8, 9};
static const int64_t wide[2] = {-1, INT64_C(1) << 60};
static const entry sample[] = {
    {.name = "blocks.10.w", .dtype = PUMIT_F32, .ndim = 2, .shape = {2, 3}, floats, 24},
    {.name = "z", .dtype = PUMIT_U8, .ndim = 1, .shape = {3}, bytes3, 3},
    {.name = "empty", .dtype = PUMIT_BF16, .ndim = 2, .shape = {0, 5}, NULL, 0},
    {.name = "a \"quoted\" \xc3\xa9", .dtype = PUMIT_I64, .ndim = 1, .shape = {2}, wide, 16},
    {.name = "scalar", .dtype = PUMIT_F16, .ndim = 0, .shape = {0}, bytes3, 2},
};
#define SAMPLES ((int64_t)(sizeof sample / sizeof *sample))

static void check_same(const entry *got, const entry *wanted)
{
    ck_assert_ptr_nonnull(got);
    ck_assert_str_eq(got->name, wanted->name);
    ck_assert_int_eq(got->dtype, wanted->dtype);
    ck_assert_int_eq(got->ndim, wanted->ndim);
    for (int32_t d = 0; d < wanted->ndim; d++) ck_assert_int_eq(got->shape[d], wanted->shape[d]);
    ck_assert_int_eq(got->bytes, wanted->bytes);
    if (wanted->bytes) ck_assert_mem_eq(got->data, wanted->data, (size_t)wanted->bytes);
}

START_TEST(what_is_written_is_read)
{
    pumit__safetensors *file;
    cJSON *metadata = cJSON_CreateObject();
    cJSON_AddStringToObject(metadata, "pumit.model", "vit");
    cJSON_AddStringToObject(metadata, "pumit.config", "{\"dim\": 24}");
    CHECK_OK(pumit__safetensors_write(path, sample, SAMPLES, metadata));
    CHECK_OK(pumit__safetensors_open(&file, path));
    ck_assert_int_eq(pumit__safetensors_count(file), SAMPLES);
    for (int64_t i = 0; i < SAMPLES; i++) {
        check_same(pumit__safetensors_find(file, sample[i].name), &sample[i]);
        const entry *at = pumit__safetensors_entry_at(file, i); /* "empty" shares its place with */
        if (i < 2 || i > 3) check_same(at, &sample[i]);         /* the one behind it */
    }
    ck_assert_ptr_null(pumit__safetensors_find(file, "blocks.10"));
    ck_assert_ptr_null(pumit__safetensors_find(file, "__metadata__"));
    ck_assert_ptr_null(pumit__safetensors_entry_at(file, SAMPLES));
    ck_assert_str_eq(pumit__safetensors_metadata(file, "pumit.config"), "{\"dim\": 24}");
    ck_assert_ptr_null(pumit__safetensors_metadata(file, "pumit"));
    ck_assert(cJSON_Compare(pumit__safetensors_all_metadata(file), metadata, 1));
    pumit__safetensors_close(file);
    cJSON_Delete(metadata);
}
END_TEST

START_TEST(many_names_are_found)
{
    enum { N = 3000 };
    static char names[N][16];
    static entry entries[N];
    pumit__safetensors *file;
    for (int i = 0; i < N; i++) {
        snprintf(names[i], sizeof names[i], "w.%d", i * 7 % N);
        entries[i] = (entry){names[i], PUMIT_U8, 1, {1}, names[i] + 2, 1};
    }
    CHECK_OK(pumit__safetensors_write(path, entries, N, NULL));
    CHECK_OK(pumit__safetensors_open(&file, path));
    for (int i = 0; i < N; i++) {
        check_same(pumit__safetensors_find(file, names[i]), &entries[i]);
        check_same(pumit__safetensors_entry_at(file, i), &entries[i]);
    }
    ck_assert_ptr_null(pumit__safetensors_all_metadata(file));
    ck_assert_ptr_null(pumit__safetensors_metadata(file, "x"));
    pumit__safetensors_close(file);
}
END_TEST

START_TEST(layout_is_the_formats)
{
    static const entry one = {.name = "w", .dtype = PUMIT_F32, .ndim = 1, .shape = {1}, floats, 4};
    static const char header[] =
        "{\"w\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}} ";
    unsigned char got[128];
    CHECK_OK(pumit__safetensors_write(path, &one, 1, NULL));
    FILE *f = fopen(path, "rb");
    const size_t length = fread(got, 1, sizeof got, f);
    fclose(f);
    const size_t padded = (sizeof header - 1 + 7) / 8 * 8;
    ck_assert_uint_eq(length, 8 + padded + 4);
    ck_assert_uint_eq(got[0], padded);
    for (int i = 1; i < 8; i++) ck_assert_uint_eq(got[i], 0);
    ck_assert_mem_eq(got + 8, header, sizeof header - 1);
    for (size_t i = 8 + sizeof header - 1; i < 8 + padded; i++) ck_assert_uint_eq(got[i], ' ');
    ck_assert_mem_eq(got + 8 + padded, floats, 4);
}
END_TEST

#define F32(name, shape, at)                                                                       \
    "\"" name "\":{\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":" at "}"

static const struct {
    const char *header, *words; /* of the message */
    int32_t data_bytes;
    pumit_status status;
} hostile[] = {
    {"", "cut short", 0, PUMIT_ERROR_FORMAT},
    {"[]", "no safetensors", 0, PUMIT_ERROR_FORMAT},
    {" {}", "no safetensors", 0, PUMIT_ERROR_FORMAT},
    {"{ ", "line 1: broken", 0, PUMIT_ERROR_FORMAT},
    {"{}x", "line 1: broken", 0, PUMIT_ERROR_FORMAT},
    {"{}", "belong to no array", 4, PUMIT_ERROR_FORMAT},
    {"{\"a\":1}", "must have", 0, PUMIT_ERROR_FORMAT},
    {"{\"a\":[1,2,3]}", "must have", 0, PUMIT_ERROR_FORMAT},
    {"{\"a\":{}}", "must have", 0, PUMIT_ERROR_FORMAT},
    {"{\"a\":{\"shape\":[1],\"data_offsets\":[0,4],\"x\":1}}", "no type", 4, PUMIT_ERROR_FORMAT},
    {"{\"a\":{\"dtype\":5,\"shape\":[1],\"data_offsets\":[0,4]}}", "no type", 4,
     PUMIT_ERROR_FORMAT},
    {"{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
     "must have", 4, PUMIT_ERROR_FORMAT},
    {"{\"a\":{\"dtype\":\"F8_E4M3\",\"shape\":[4],\"data_offsets\":[0,4]}}", "F8_E4M3", 4,
     PUMIT_ERROR_UNSUPPORTED},
    {"{" F32("a", "1", "[0,4]") "}", "shape", 4, PUMIT_ERROR_FORMAT},
    {"{" F32("a", "[-1]", "[0,4]") "}", "shape", 4, PUMIT_ERROR_FORMAT},
    {"{" F32("a", "[1.5]", "[0,6]") "}", "shape", 6, PUMIT_ERROR_FORMAT},
    {"{" F32("a", "[\"1\"]", "[0,4]") "}", "shape", 4, PUMIT_ERROR_FORMAT},
    {"{" F32("a", "[1e300]", "[0,4]") "}", "shape", 4, PUMIT_ERROR_FORMAT},
    {"{" F32("a", "[1,1,1,1,1,1,1,1,1]", "[0,4]") "}", "up to 8", 4, PUMIT_ERROR_FORMAT},
    {"{" F32("a", "[4294967296,4294967296]", "[0,4]") "}", "overflows", 4, PUMIT_ERROR_FORMAT},
    {"{" F32("a", "[4611686018427387904,0]", "[0,0]") "}", "shape", 0, PUMIT_ERROR_FORMAT},
    {"{" F32("a", "[1]", "[0]") "}", "two numbers", 4, PUMIT_ERROR_FORMAT},
    {"{" F32("a", "[1]", "[0,4,8]") "}", "two numbers", 4, PUMIT_ERROR_FORMAT},
    {"{" F32("a", "[1]", "[-4,0]") "}", "two numbers", 4, PUMIT_ERROR_FORMAT},
    {"{" F32("a", "[1]", "[0,1e400]") "}", "too large", 4, PUMIT_ERROR_FORMAT},
    {"{" F32("a", "[1]", "[4,0]") "}", "outside", 4, PUMIT_ERROR_FORMAT},
    {"{" F32("a", "[2]", "[0,8]") "}", "outside", 7, PUMIT_ERROR_FORMAT},
    {"{" F32("a", "[1]", "[9007199254740988,9007199254740992]") "}", "outside", 4,
     PUMIT_ERROR_FORMAT},
    {"{" F32("a", "[2]", "[0,4]") "}", "size of its shape", 4, PUMIT_ERROR_FORMAT},
    {"{" F32("a", "[1]", "[0,4]") "}", "belong to no array", 5, PUMIT_ERROR_FORMAT},
    {"{" F32("a", "[1]", "[4,8]") "}", "gap", 8, PUMIT_ERROR_FORMAT},
    {"{" F32("a", "[1]", "[0,4]") "," F32("b", "[1]", "[8,12]") "}", "gap", 12, PUMIT_ERROR_FORMAT},
    {"{" F32("a", "[2]", "[0,8]") "," F32("b", "[1]", "[4,8]") "}", "overlaps", 8,
     PUMIT_ERROR_FORMAT},
    {"{" F32("a", "[1]", "[0,4]") "," F32("b", "[1]", "[0,4]") "}", "overlaps", 4,
     PUMIT_ERROR_FORMAT},
    {"{" F32("a", "[1]", "[0,4]") "," F32("a", "[1]", "[4,8]") "}", "twice", 8, PUMIT_ERROR_FORMAT},
    {"{\"__metadata__\":{},\"__metadata__\":{}}", "twice", 0, PUMIT_ERROR_FORMAT},
    {"{\"__metadata__\":{\"a\":\"1\",\"a\":\"2\"}}", "twice", 0, PUMIT_ERROR_FORMAT},
    {"{\"__metadata__\":[]}", "metadata", 0, PUMIT_ERROR_FORMAT},
    {"{\"__metadata__\":{\"a\":1}}", "metadata 'a'", 0, PUMIT_ERROR_FORMAT},
};

START_TEST(hostile_headers_are_refused)
{
    pumit__safetensors *file = (pumit__safetensors *)path;
    const char *header = hostile[_i].header;
    write_raw(-1, header, (int64_t)strlen(header), hostile[_i].data_bytes);
    const pumit_status status = pumit__safetensors_open(&file, path);
    ck_assert_msg(status == hostile[_i].status, "%s: %s", header, pumit_status_name(status));
    ck_assert_ptr_null(file);
    ck_assert_msg(strstr(pumit_last_error(), hostile[_i].words), "%s: %s", header,
                  pumit_last_error());
    ck_assert_msg(strstr(pumit_last_error(), path), "%s", pumit_last_error());
}
END_TEST

START_TEST(hostile_lengths_are_refused)
{
    static const int64_t lengths[] = {0, 1, 3, 1000, 100000001, INT64_MAX, INT64_MAX - 7};
    pumit__safetensors *file;
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        write_raw(lengths[i], "{}", 2, 0);
        ck_assert_int_eq(pumit__safetensors_open(&file, path), PUMIT_ERROR_FORMAT);
        ck_assert_ptr_nonnull(strstr(pumit_last_error(), "cut short"));
    }
    write_raw(-1, "{}", 2, 0);
    CHECK_OK(pumit__safetensors_open(&file, path));
    ck_assert_int_eq(pumit__safetensors_count(file), 0);
    ck_assert_ptr_null(pumit__safetensors_find(file, "a"));
    pumit__safetensors_close(file);
    for (int64_t bytes = 0; bytes < 10; bytes++) {
        ck_assert_int_eq(truncate(path, 9 - bytes), 0);
        ck_assert_int_eq(pumit__safetensors_open(&file, path), PUMIT_ERROR_FORMAT);
    }
}
END_TEST

START_TEST(deep_and_binary_headers_are_refused)
{
    static char text[4000];
    pumit__safetensors *file;
    memset(text, '[', sizeof text);
    memcpy(text, "{\"a\":", 5);
    write_raw(-1, text, sizeof text, 0);
    ck_assert_int_eq(pumit__safetensors_open(&file, path), PUMIT_ERROR_FORMAT);
    memset(text + 500, ']', 495), memset(text + 995, '}', 1);
    write_raw(-1, text, 996, 0);
    ck_assert_int_eq(pumit__safetensors_open(&file, path), PUMIT_ERROR_LIMIT);
    write_raw(-1, "{}\0\0", 4, 0);
    ck_assert_int_eq(pumit__safetensors_open(&file, path), PUMIT_ERROR_FORMAT);
    write_raw(-1, "{\"\\u0000x\":{},\"\\u0000y\":{}}", 27, 0);
    ck_assert_int_eq(pumit__safetensors_open(&file, path), PUMIT_ERROR_FORMAT);
}
END_TEST

/* Every cut and every changed byte of a good file is an error or a file that can be walked. */
START_TEST(damaged_files_do_no_harm)
{
    static unsigned char good[1024];
    pumit__safetensors *file;
    CHECK_OK(pumit__safetensors_write(path, sample, SAMPLES, NULL));
    FILE *f = fopen(path, "rb");
    const int64_t length = (int64_t)fread(good, 1, sizeof good, f);
    fclose(f);
    for (int64_t i = 0; i < length; i++) {
        const unsigned char kept = good[i];
        good[i] ^= (unsigned char)(1 << i % 7);
        f = fopen(path, "wb");
        ck_assert_int_eq(fwrite(good, 1, (size_t)length, f), length);
        fclose(f);
        good[i] = kept;
        if (pumit__safetensors_open(&file, path) != PUMIT_OK) continue;
        unsigned sum = 0;
        for (int64_t k = 0; k < pumit__safetensors_count(file); k++) {
            const entry *e = pumit__safetensors_entry_at(file, k);
            for (int64_t b = 0; b < e->bytes; b++) sum += ((const unsigned char *)e->data)[b];
        }
        ck_assert_uint_gt(sum, 0);
        pumit__safetensors_close(file);
    }
    for (int64_t cut = length - 1; cut >= 0; cut--) {
        ck_assert_int_eq(truncate(path, cut), 0);
        ck_assert_int_eq(pumit__safetensors_open(&file, path), PUMIT_ERROR_FORMAT);
    }
}
END_TEST

START_TEST(what_is_no_file_is_refused)
{
    pumit__safetensors *file;
    ck_assert_int_eq(pumit__safetensors_open(&file, path), PUMIT_ERROR_NOT_FOUND);
    ck_assert_int_eq(pumit__safetensors_open(&file, folder), PUMIT_ERROR_FORMAT);
    ck_assert_int_eq(pumit__safetensors_open(&file, NULL), PUMIT_ERROR_INVALID_ARGUMENT);
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    ck_assert_int_eq(pumit__safetensors_open(&file, path), PUMIT_ERROR_FORMAT);
}
END_TEST

START_TEST(bad_writes_leave_the_old_file)
{
    entry twice[2] = {sample[0], sample[0]};
    cJSON *metadata = cJSON_CreateObject();
    pumit__safetensors *file;
    CHECK_OK(pumit__safetensors_write(path, sample, SAMPLES, NULL));
#define REFUSED(entries, count, meta)                                                              \
    ck_assert_int_eq(pumit__safetensors_write(path, entries, count, meta),                         \
                     PUMIT_ERROR_INVALID_ARGUMENT)
    REFUSED(twice, 2, NULL);
    twice[0].bytes = 20;
    REFUSED(twice, 1, NULL);
    twice[0] = sample[0], twice[0].dtype = 99;
    REFUSED(twice, 1, NULL);
    twice[0] = sample[0], twice[0].name = "__metadata__";
    REFUSED(twice, 1, NULL);
    twice[0] = sample[0], twice[0].data = NULL;
    REFUSED(twice, 1, NULL);
    twice[0] = sample[0], twice[0].shape[0] = -2;
    REFUSED(twice, 1, NULL);
    twice[0] = sample[0], twice[0].ndim = 9;
    REFUSED(twice, 1, NULL);
    cJSON_AddNumberToObject(metadata, "n", 1);
    REFUSED(sample, SAMPLES, metadata);
    cJSON_Delete(metadata);
    CHECK_OK(pumit__safetensors_open(&file, path));
    ck_assert_int_eq(pumit__safetensors_count(file), SAMPLES);
    pumit__safetensors_close(file);
    ck_assert_int_eq(pumit__safetensors_write("/nonexistent/x", sample, SAMPLES, NULL),
                     PUMIT_ERROR_NOT_FOUND);
}
END_TEST

static int allocations_left;

static void *scarce_malloc(size_t bytes)
{
    if (allocations_left-- > 0) return malloc(bytes);
    errno = ENOMEM;
    return NULL;
}

START_TEST(every_failed_allocation_is_out_of_memory)
{
    cJSON_Hooks scarce = {scarce_malloc, free};
    cJSON *metadata = cJSON_CreateObject();
    cJSON_AddStringToObject(metadata, "k", "v");
    int failures = 0;
    for (int room = 0;; room++) {
        pumit__safetensors *file = NULL;
        cJSON_InitHooks(&scarce);
        allocations_left = room;
        pumit_status status = pumit__safetensors_write(path, sample, 2, metadata);
        if (status == PUMIT_OK) status = pumit__safetensors_open(&file, path);
        cJSON_InitHooks(NULL);
        pumit__safetensors_close(file);
        if (status == PUMIT_OK) break;
        ck_assert_msg(status == PUMIT_ERROR_OUT_OF_MEMORY, "room for %d: %s", room,
                      pumit_last_error());
        failures++;
    }
    ck_assert_int_gt(failures, 60);
    cJSON_Delete(metadata);
}
END_TEST

Suite *suite_safetensors(void);
Suite *suite_safetensors(void)
{
    Suite *suite = suite_create("safetensors");
    TCase *tcase = tcase_create("safetensors");
    tcase_add_checked_fixture(tcase, make_path, remove_path);
    tcase_add_test(tcase, what_is_written_is_read);
    tcase_add_test(tcase, many_names_are_found);
    tcase_add_test(tcase, layout_is_the_formats);
    tcase_add_loop_test(tcase, hostile_headers_are_refused, 0,
                        (int)(sizeof hostile / sizeof *hostile));
    tcase_add_test(tcase, hostile_lengths_are_refused);
    tcase_add_test(tcase, deep_and_binary_headers_are_refused);
    tcase_add_test(tcase, damaged_files_do_no_harm);
    tcase_add_test(tcase, what_is_no_file_is_refused);
    tcase_add_test(tcase, bad_writes_leave_the_old_file);
    tcase_add_test(tcase, every_failed_allocation_is_out_of_memory);
    suite_add_tcase(suite, tcase);
    return suite;
}
