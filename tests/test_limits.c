/* SPDX-License-Identifier: Apache-2.0 */
/* Files of a few bytes that ask for much: an error that names the limit, before there is memory for it. */
#include "tests/image_files.h"

#include "lib/base/config.h"
#include "lib/data/source.h"
#include "lib/data/volume.h"
#include "lib/tensor/safetensors.h"

#include <pumit/vit.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include <zlib.h>

/* Of memory that a test may have taken: a bomb would take gigabytes. AddressSanitizer marks a byte for each 8 of a block. */
#ifdef __SANITIZE_ADDRESS__
#define MOST_KIB (1 << 20)
#else
#define MOST_KIB (1 << 18)
#endif

static void setup(void)
{
    files_setup();
}

static void teardown(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    ck_assert_msg(usage.ru_maxrss < MOST_KIB, "%ld KiB of memory were taken", usage.ru_maxrss);
    files_teardown();
}

static void check_refused(pumit_context *ctx, const char *name, pumit_status status,
                          const char *part)
{
    pumit_volume *volume;
    files_check_failed(pumit_volume_read(&volume, ctx, files_path(name), 0), status, name, part);
    ck_assert_ptr_null(volume);
}

static pumit_context *context_with(const char *json)
{
    pumit_config *options;
    pumit_context *ctx;
    CHECK_OK(pumit_config_parse(&options, json));
    CHECK_OK(pumit_context_create(&ctx, options));
    pumit_config_release(options);
    return ctx;
}

/* ---------------------------------------------------------------------------------------------- gzip */

/* Zeros, compressed: a gzip file may have any number of such members, and is what they are together. */
static uint8_t *zeros(size_t *packed, size_t bytes)
{
    uint8_t *plain = calloc(bytes, 1);
    ck_assert_ptr_nonnull(plain);
    files_write_gzip("zeros.gz", plain, bytes);
    free(plain);
    return files_read("zeros.gz", packed);
}

/* The file as it is, and behind it 10 GB of zeros in 10 MB. */
static void add_bomb(const char *name)
{
    enum { EACH = 1 << 20, TIMES = 10000 };
    size_t packed;
    uint8_t *member = zeros(&packed, EACH);
    FILE *file = fopen(files_path(name), "ab");
    ck_assert_ptr_nonnull(file);
    for (int i = 0; i < TIMES; i++) ck_assert_uint_eq(fwrite(member, 1, packed, file), packed);
    fclose(file);
    free(member);
}

static void write_bomb(nifti_file file)
{
    const uint8_t data[64] = {0};
    file.gzip = true;
    nifti_write("bomb.nii.gz", &file, data, 64, 1);
    add_bomb("bomb.nii.gz");
}

START_TEST(gzip_bombs_are_refused)
{
    nifti_file file = nifti_plain(2, 8, 2500, 2000, 2000); /* 10^10 bytes */
    file.version = 2;
    write_bomb(file);
    check_refused(files_context, "bomb.nii.gz", PUMIT_ERROR_LIMIT, "limits.voxels");
    file = nifti_plain(64, 64, 1250, 1000, 1000); /* as many, but of 1.25 10^9 voxels */
    write_bomb(file);
    check_refused(files_context, "bomb.nii.gz", PUMIT_ERROR_LIMIT, "limits.ratio");
    file = nifti_plain(2, 8, 100, 100, 100);
    file.dim[0] = 4, file.dim[4] = 9000;
    write_bomb(file);
    check_refused(files_context, "bomb.nii.gz", PUMIT_ERROR_LIMIT, "limits.ratio");
    file = nifti_plain(2, 8, 4, 4, 4);
    file.offset = 9e9;
    write_bomb(file);
    check_refused(files_context, "bomb.nii.gz", PUMIT_ERROR_LIMIT, "limits.ratio");
}
END_TEST

/* What lies behind the voxels is not looked at. */
START_TEST(a_small_image_before_a_bomb_is_read)
{
    pumit_volume *volume;
    write_bomb(nifti_plain(2, 8, 4, 4, 4));
    CHECK_OK(pumit_volume_read(&volume, files_context, files_path("bomb.nii.gz"), 0));
    pumit_volume_release(volume);
}
END_TEST

START_TEST(the_ratio_can_be_set)
{
    const int64_t large = (INT64_C(1) << 28) + 1, file = (INT64_C(1) << 30) / 100;
    pumit_context *strict = context_with("{\"limits\":{\"ratio\":50}}");
    CHECK_OK(pumit__check_ratio(large, files_context, file, "scan.nii.gz"));
    CHECK_OK(pumit__check_ratio(large - 1, strict, 1, "mask.nii.gz"));
    files_check_failed(pumit__check_ratio(large, strict, file, "scan.nii.gz"), PUMIT_ERROR_LIMIT,
                       "scan.nii.gz", "limits.ratio");
    pumit_context_release(strict);
    pumit_config *options;
    CHECK_OK(pumit_config_parse(&options, "{\"limits\":{\"ratio\":0}}"));
    ck_assert_int_eq(pumit_context_create(&strict, options), PUMIT_ERROR_INVALID_ARGUMENT);
    pumit_config_release(options);
}
END_TEST

/* --------------------------------------------------------------------------------------- zip, pictures */

/* Its directory says 3 GB, which are less than the 4 GiB that a dataset may hold. */
START_TEST(zip_bombs_are_refused)
{
    static const uint8_t pixels[4 * 64];
    const npz_member member = {"train_images",
                               "{'descr': '|u1', 'fortran_order': False, 'shape': (4, 8, 8), }",
                               pixels, sizeof pixels};
    npz_write("bomb.npz", &member, 1, false);
    size_t bytes;
    uint8_t *data = files_read("bomb.npz", &bytes);
    const uint32_t claimed = 3000000000u;
    for (size_t i = 0; i + 46 < bytes; i++)
        if (memcmp(data + i, "PK\1\2", 4) == 0) memcpy(data + i + 24, &claimed, 4);
    files_write("bomb.npz", data, bytes);
    free(data);
    pumit_dataset *dataset;
    const char *path = files_path("bomb.npz");
    files_check_failed(pumit_dataset_open(&dataset, files_context, 1, &path, NULL),
                       PUMIT_ERROR_LIMIT, "bomb.npz", "limits.ratio");
}
END_TEST

static void put_32(uint8_t *at, uint32_t value)
{
    for (int i = 0; i < 4; i++) at[i] = (uint8_t)(value >> (24 - 8 * i));
}

START_TEST(huge_pictures_are_refused)
{
    static const uint8_t row[4];
    size_t bytes;
    png_write("huge.png", 4, 1, 8, 0, false, row);
    uint8_t *data = files_read("huge.png", &bytes);
    put_32(data + 16, 100000);
    put_32(data + 20, 100000);
    put_32(data + 29, (uint32_t)crc32(0, data + 12, 17));
    files_write("huge.png", data, bytes);
    check_refused(files_context, "huge.png", PUMIT_ERROR_LIMIT, "limits.voxels");
    put_32(data + 20, 10000); /* 10^9 pixels are allowed, but not there */
    put_32(data + 29, (uint32_t)crc32(0, data + 12, 17));
    files_write("huge.png", data, bytes);
    check_refused(files_context, "huge.png", PUMIT_ERROR_FORMAT, "truncated");
    free(data);
}
END_TEST

/* ---------------------------------------------------------------------------------------------- texts */

static char *repeated(const char *text, int64_t times)
{
    const size_t n = strlen(text);
    char *out = malloc(n * (size_t)times + 1);
    ck_assert_ptr_nonnull(out);
    for (int64_t i = 0; i < times; i++) memcpy(out + n * (size_t)i, text, n);
    out[n * (size_t)times] = '\0';
    return out;
}

static void check_json(const char *part, int64_t times, pumit_status status, const char *reason)
{
    pumit_config *config;
    char *text = repeated(part, times);
    files_write("config.json", text, strlen(text));
    files_check_failed(pumit_config_read(&config, files_path("config.json")), status, "config.json",
                       reason);
    free(text);
}

START_TEST(deep_and_wide_json_is_refused)
{
    check_json("[", 1000000, PUMIT_ERROR_FORMAT, "broken JSON");
    check_json("{\"a\":", 1000000, PUMIT_ERROR_FORMAT, "broken JSON");
    check_json("[],", 5000000, PUMIT_ERROR_LIMIT, "values");
    check_json(" ", (16 << 20) + 1, PUMIT_ERROR_LIMIT, "larger than");
    pumit_config *config;
    char *members = repeated("\"a\":1,", 1024), *text;
    ck_assert_int_gt(asprintf(&text, "{\"x\":{%s\"b\":1}}", members), 0);
    files_write("config.json", text, strlen(text));
    files_check_failed(pumit_config_read(&config, files_path("config.json")), PUMIT_ERROR_LIMIT,
                       "config.json", "1025 members");
    CHECK_OK(pumit_config_create(&config));
    ck_assert_int_eq(pumit_config_set_json(config, "y", text), PUMIT_ERROR_LIMIT);
    pumit_config_release(config);
    free(members);
    free(text);
}
END_TEST

/* A file of a gigabyte that takes no room on the disk. */
static void write_sparse(const char *name)
{
    files_write(name, "path\n", 5);
    ck_assert_int_eq(truncate(files_path(name), 1 << 30), 0);
}

START_TEST(lists_of_a_gigabyte_are_refused)
{
    pumit_dataset *dataset;
    const char *path = files_path("list.csv");
    write_sparse("list.csv");
    files_check_failed(pumit_dataset_open(&dataset, files_context, 1, &path, NULL),
                       PUMIT_ERROR_LIMIT, "list.csv", "larger than");
    pumit__sources full = {.count = PUMIT__MOST_FILES};
    const pumit__source_tags none = PUMIT__NO_TAGS;
    files_check_failed(pumit__sources_push(&full, "a.png", &none, PUMIT_OK), PUMIT_ERROR_LIMIT,
                       "a.png", "one file more");
}
END_TEST

/* --------------------------------------------------------------------------------------------- models */

#define HUGE_MODEL "{\"dim\":65536,\"depth\":64,\"heads\":64,\"hidden\":262144}"

static void write_model(const char *name, const char *config)
{
    const float value = 0;
    const pumit__safetensors_entry entry = {.name = "norm.bias",
                                            .dtype = PUMIT_F32,
                                            .ndim = 1,
                                            .shape = {1},
                                            .data = &value,
                                            .bytes = 4};
    cJSON *metadata = cJSON_CreateObject();
    ck_assert_ptr_nonnull(cJSON_AddStringToObject(metadata, "pumit.model", "vit"));
    ck_assert_ptr_nonnull(cJSON_AddStringToObject(metadata, "pumit.config", config));
    CHECK_OK(pumit__safetensors_write(files_path(name), &entry, 1, metadata));
    cJSON_Delete(metadata);
}

START_TEST(huge_models_are_refused)
{
    pumit_config *config;
    pumit_vit *vit;
    CHECK_OK(pumit_config_parse(&config, HUGE_MODEL));
    files_check_failed(pumit_vit_create(&vit, files_context, config), PUMIT_ERROR_LIMIT, "vit",
                       "limits.parameters");
    pumit_config_release(config);
    write_model("huge.safetensors", HUGE_MODEL);
    files_check_failed(pumit_vit_load(&vit, files_context, files_path("huge.safetensors")),
                       PUMIT_ERROR_LIMIT, "huge.safetensors", "limits.parameters");
}
END_TEST

START_TEST(the_parameters_can_be_set)
{
    static const char small[] = "{\"patch\":[2,2,2],\"dim\":4,\"depth\":1,\"heads\":1,\"hidden\":4,"
                                "\"pos_embed_shape\":[1,2,2]}";
    pumit_config *config;
    pumit_vit *vit;
    char json[80];
    CHECK_OK(pumit_config_parse(&config, small));
    CHECK_OK(pumit_vit_create(&vit, files_context, config));
    const int64_t count = pumit_module_element_count(pumit_vit_module(vit));
    pumit_vit_release(vit);
    for (int less = 0; less < 2; less++) {
        snprintf(json, sizeof json, "{\"limits\":{\"parameters\":%lld}}", (long long)count - less);
        pumit_context *ctx = context_with(json);
        ck_assert_int_eq(pumit_vit_create(&vit, ctx, config), less ? PUMIT_ERROR_LIMIT : PUMIT_OK);
        pumit_vit_release(vit);
        pumit_context_release(ctx);
    }
    pumit_config_release(config);
}
END_TEST

START_TEST(much_metadata_is_refused)
{
    pumit__safetensors *file;
    char *members = repeated("\"a\":\"\",", 4096), *text;
    const int length = asprintf(&text, "00000000{\"__metadata__\":{%s\"b\":\"\"}}", members);
    ck_assert_int_gt(length, 8);
    for (int i = 0; i < 8; i++) text[i] = (char)((uint64_t)(length - 8) >> (8 * i));
    files_write("much.safetensors", text, (size_t)length);
    files_check_failed(pumit__safetensors_open(&file, files_path("much.safetensors")),
                       PUMIT_ERROR_LIMIT, "much.safetensors", "metadata");
    free(members);
    free(text);
}
END_TEST

Suite *suite_limits(void);
Suite *suite_limits(void)
{
    Suite *suite = suite_create("limits");
    TCase *core = tcase_create("core");
    tcase_add_checked_fixture(core, setup, teardown);
    tcase_add_test(core, gzip_bombs_are_refused);
    tcase_add_test(core, a_small_image_before_a_bomb_is_read);
    tcase_add_test(core, the_ratio_can_be_set);
    tcase_add_test(core, zip_bombs_are_refused);
    tcase_add_test(core, huge_pictures_are_refused);
    tcase_add_test(core, deep_and_wide_json_is_refused);
    tcase_add_test(core, lists_of_a_gigabyte_are_refused);
    tcase_add_test(core, huge_models_are_refused);
    tcase_add_test(core, the_parameters_can_be_set);
    tcase_add_test(core, much_metadata_is_refused);
    suite_add_tcase(suite, core);
    return suite;
}
