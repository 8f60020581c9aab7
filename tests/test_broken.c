/* SPDX-License-Identifier: Apache-2.0 */
/* NIfTI files that contradict themselves, are cut or damaged, or are none: one message each, never a volume. */
#include "tests/image_files.h"

#include <math.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { U8 = 2, I16 = 4, F32 = 16, C64 = 32, F64 = 64, F128 = 1536 };

static void check_broken(const nifti_file *file, pumit_status status, const char *part)
{
    const uint8_t data[192] = {0};
    pumit_volume *volume = (pumit_volume *)&status;
    nifti_write("scan.nii", file, data, 24,
                (size_t)file->bitpix / 8 < 9 ? (size_t)file->bitpix / 8 : 8);
    files_check_failed(pumit_volume_read(&volume, files_context, files_path("scan.nii"), 0), status,
                       "scan.nii", part);
    ck_assert_ptr_null(volume);
}

START_TEST(contradictions_are_refused)
{
    const nifti_file good = nifti_plain(I16, 16, 2, 3, 4);
    nifti_file file = good;
    file.version = 1 + _i;
    file.dim[0] = 0;
    check_broken(&file, PUMIT_ERROR_FORMAT, "0 dimensions");
    file.dim[0] = 8;
    check_broken(&file, PUMIT_ERROR_FORMAT, "8 dimensions");
    file = good, file.version = 1 + _i, file.dim[2] = 0;
    check_broken(&file, PUMIT_ERROR_FORMAT, "size 0");
    file.dim[2] = -3;
    check_broken(&file, PUMIT_ERROR_FORMAT, "size -3");
    file.dim[2] = file.dim[1] = file.dim[3] = 32767;
    check_broken(&file, PUMIT_ERROR_LIMIT, "limits.voxels");
    file = good, file.version = 1 + _i;
    file.dim[0] = 7, file.dim[4] = file.dim[5] = file.dim[6] = file.dim[7] = 32767;
    check_broken(&file, PUMIT_ERROR_FORMAT, "volumes");
    file = good, file.version = 1 + _i, file.dim[3] = 5;
    check_broken(&file, PUMIT_ERROR_FORMAT, "truncated");
    file = good, file.version = 1 + _i, file.bitpix = 8;
    check_broken(&file, PUMIT_ERROR_FORMAT, "8 bits");
    file = good, file.version = 1 + _i, file.datatype = 77;
    check_broken(&file, PUMIT_ERROR_FORMAT, "data type 77");
    file.datatype = C64, file.bitpix = 64;
    check_broken(&file, PUMIT_ERROR_UNSUPPORTED, "complex");
    file.datatype = F128, file.bitpix = 128;
    check_broken(&file, PUMIT_ERROR_UNSUPPORTED, "data type 1536");
    file = good, file.version = 1 + _i, file.offset = 100;
    check_broken(&file, PUMIT_ERROR_FORMAT, "byte 100");
    file.offset = 4e9;
    check_broken(&file, PUMIT_ERROR_FORMAT, "truncated");
    file = good, file.version = 1 + _i, file.no_magic = true;
    check_broken(&file, _i ? PUMIT_ERROR_FORMAT : PUMIT_ERROR_UNSUPPORTED,
                 _i ? "signature" : "ANALYZE");
}
END_TEST

START_TEST(a_huge_nifti_2_is_refused)
{
    nifti_file file = nifti_plain(F64, 64, INT64_C(1) << 40, INT64_C(1) << 40, INT64_C(1) << 40);
    file.version = 2;
    check_broken(&file, PUMIT_ERROR_LIMIT, "limits.voxels");
    file = nifti_plain(U8, 8, 1 << 10, 1 << 10, 1 << 10); /* allowed, but not there */
    file.gzip = true;
    check_broken(&file, PUMIT_ERROR_FORMAT, "truncated");
}
END_TEST

START_TEST(the_limit_is_the_contexts)
{
    const uint8_t data[24] = {0};
    pumit_config *options;
    pumit_context *small;
    pumit_volume *volume;
    const nifti_file file = nifti_plain(U8, 8, 2, 3, 4);
    CHECK_OK(pumit_config_create(&options));
    CHECK_OK(pumit_config_set_int(options, "limits.voxels", 23));
    CHECK_OK(pumit_context_create(&small, options));
    nifti_write("scan.nii", &file, data, 24, 1);
    files_check_failed(pumit_volume_read(&volume, small, files_path("scan.nii"), 0),
                       PUMIT_ERROR_LIMIT, "scan.nii", "limits.voxels");
    pumit_context_release(small);
    pumit_config_release(options);
}
END_TEST

/* Cut anywhere, plain or gzip, version 1 or 2: one message, never a volume. */
START_TEST(truncated_files_are_refused)
{
    float data[60];
    size_t bytes;
    for (int i = 0; i < 60; i++) data[i] = sinf((float)(i * i));
    nifti_file file = nifti_plain(F32, 32, 3, 4, 5);
    file.version = 1 + (_i & 1);
    file.gzip = _i & 2;
    nifti_write("scan.nii.gz", &file, data, 60, 4);
    uint8_t *content = files_read("scan.nii.gz", &bytes);
    for (size_t n = 0; n < bytes; n++) {
        pumit_volume *volume;
        files_write("cut.nii.gz", content, n);
        const pumit_status status =
            pumit_volume_read(&volume, files_context, files_path("cut.nii.gz"), 0);
        files_check_failed(status, PUMIT_ERROR_FORMAT, "cut.nii.gz", "");
    }
    free(content);
}
END_TEST

START_TEST(damaged_gzip_is_refused)
{
    float data[60];
    size_t bytes;
    for (int i = 0; i < 60; i++) data[i] = sinf((float)(i * i));
    nifti_file file = nifti_plain(F32, 32, 3, 4, 5);
    file.gzip = true;
    nifti_write("scan.nii.gz", &file, data, 60, 4);
    uint8_t *content = files_read("scan.nii.gz", &bytes);
    content[bytes - 100] ^= 0x10; /* within the voxels: only the checksum tells */
    files_write("bad.nii.gz", content, bytes);
    pumit_volume *volume;
    files_check_failed(pumit_volume_read(&volume, files_context, files_path("bad.nii.gz"), 0),
                       PUMIT_ERROR_FORMAT, "bad.nii.gz", "damaged");
    free(content);
}
END_TEST

START_TEST(what_is_no_image_file_is_refused)
{
    pumit_volume *volume;
    int64_t count;
    files_folder("folder.nii.gz");
    files_write("empty.nii", "", 0);
    files_write("text.nii", "These are not voxels.", 21);
    files_write("pair.nii", "\x5c\x01\0\0", 4);
    ck_assert_int_eq(mkfifo(files_path("pipe.nii"), 0600), 0);
    static const struct {
        const char *name;
        pumit_status status;
        const char *part;
    } cases[] = {{"absent.nii", PUMIT_ERROR_NOT_FOUND, "No such file"},
                 {"folder.nii.gz", PUMIT_ERROR_IO, "folder"},
                 {"pipe.nii", PUMIT_ERROR_IO, "regular"},
                 {"empty.nii", PUMIT_ERROR_FORMAT, "empty"},
                 {"text.nii", PUMIT_ERROR_FORMAT, "not a NIfTI"},
                 {"pair.nii", PUMIT_ERROR_FORMAT, "truncated"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *path = files_path(cases[i].name);
        files_check_failed(pumit_volume_read(&volume, files_context, path, 0), cases[i].status,
                           cases[i].name, cases[i].part);
        files_check_failed(pumit_volume_file_count(&count, files_context, path), cases[i].status,
                           cases[i].name, cases[i].part);
    }
}
END_TEST

Suite *suite_broken(void);
Suite *suite_broken(void)
{
    Suite *suite = suite_create("broken");
    TCase *tcase = tcase_create("broken");
    tcase_add_checked_fixture(tcase, files_setup, files_teardown);
    tcase_add_loop_test(tcase, contradictions_are_refused, 0, 2);
    tcase_add_test(tcase, a_huge_nifti_2_is_refused);
    tcase_add_test(tcase, the_limit_is_the_contexts);
    tcase_add_loop_test(tcase, truncated_files_are_refused, 0, 4);
    tcase_add_test(tcase, damaged_gzip_is_refused);
    tcase_add_test(tcase, what_is_no_image_file_is_refused);
    suite_add_tcase(suite, tcase);
    return suite;
}
