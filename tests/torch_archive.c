/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/torch_archive.h"

#include <check.h>
#include <stdio.h>
#include <unistd.h>
#include <zip.h>

void archive_write(const char *path, const archive_member *members)
{
    int code;
    zip_t *archive = zip_open(path, ZIP_CREATE | ZIP_TRUNCATE, &code);
    ck_assert_ptr_nonnull(archive);
    for (; members->name; members++) {
        zip_source_t *source = zip_source_buffer(archive, members->data, members->bytes, 0);
        const zip_int64_t i = zip_file_add(archive, members->name, source, ZIP_FL_ENC_UTF_8);
        ck_assert_int_ge(i, 0);
        ck_assert_int_eq(zip_set_file_compression(archive, (zip_uint64_t)i,
                                                  members->deflated ? ZIP_CM_DEFLATE : ZIP_CM_STORE,
                                                  0),
                         0);
    }
    ck_assert_int_eq(zip_close(archive), 0);
}

void archive_write_raw(const char *path, const void *data, size_t bytes)
{
    unlink(path); /* file systems write a file back when it is cut to nothing and written anew */
    FILE *file = fopen(path, "wb");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(data, 1, bytes, file), bytes);
    ck_assert_int_eq(fclose(file), 0);
}
