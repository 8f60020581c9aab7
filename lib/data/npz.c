/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/data/npy.h"
#include "lib/data/volume.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <zip.h>

#define MOST_HEAD 65536

static pumit_status fail_zip(zip_error_t *error, const char *path)
{
    if (zip_error_code_zip(error) == ZIP_ER_MEMORY)
        return pumit__fail(PUMIT_ERROR_OUT_OF_MEMORY, "%s: out of memory", path);
    return pumit__fail(PUMIT_ERROR_FORMAT,
                       "%s: is a damaged or truncated zip archive (%s); copy it "
                       "again",
                       path, zip_error_strerror(error));
}

static pumit_status open_archive(zip_t **out, const char *path)
{
    int code;
    *out = zip_open(path, ZIP_RDONLY, &code);
    if (*out) return PUMIT_OK;
    zip_error_t error;
    zip_error_init_with_code(&error, code);
    const pumit_status status = fail_zip(&error, path);
    zip_error_fini(&error);
    return status;
}

static pumit_status read_bytes(zip_file_t *entry, uint8_t *dst, int64_t bytes, const char *name)
{
    for (int64_t done = 0; done < bytes;) {
        const int64_t left = bytes - done, most = INT64_C(1) << 26;
        const zip_int64_t got =
            zip_fread(entry, dst + done, (zip_uint64_t)(left < most ? left : most));
        if (got < 0) return fail_zip(zip_file_get_error(entry), name);
        if (got == 0)
            return pumit__fail(PUMIT_ERROR_FORMAT, "%s: is truncated; copy it again", name);
        done += got;
    }
    return PUMIT_OK;
}

/* Reading on after the last byte makes libzip compare the checksum. */
static pumit_status check_end(zip_file_t *entry, const char *name)
{
    uint8_t byte;
    const zip_int64_t got = zip_fread(entry, &byte, 1);
    if (got < 0) return fail_zip(zip_file_get_error(entry), name);
    return got == 0
               ? PUMIT_OK
               : pumit__fail(PUMIT_ERROR_FORMAT, "%s: is longer than its directory says", name);
}

static pumit_status read_array(pumit__array *out, zip_file_t *entry, int64_t bytes,
                               const char *name)
{
    uint8_t *head = malloc(MOST_HEAD);
    if (!head) return pumit__fail_memory(MOST_HEAD, name);
    pumit_status status = read_bytes(entry, head, PUMIT__NPY_PREFIX, name);
    const int64_t head_bytes = status == PUMIT_OK ? pumit__npy_head_bytes(head) : 0;
    if (status == PUMIT_OK &&
        !(head_bytes > PUMIT__NPY_PREFIX && head_bytes <= MOST_HEAD && head_bytes <= bytes))
        status = pumit__fail(PUMIT_ERROR_FORMAT, "%s: has no numpy header", name);
    if (status == PUMIT_OK)
        status = read_bytes(entry, head + PUMIT__NPY_PREFIX, head_bytes - PUMIT__NPY_PREFIX, name);
    if (status == PUMIT_OK) status = pumit__npy_parse(out, head, head_bytes, name);
    free(head);
    PUMIT__TRY(status);
    int64_t needed;
    if (!pumit__multiply(&needed, out->count, pumit__element_size(out->kind)) ||
        needed != bytes - head_bytes)
        return pumit__fail(PUMIT_ERROR_FORMAT, "%s: its shape does not fit its %lld bytes", name,
                           (long long)bytes);
    out->bytes = pumit__calloc(needed, 1);
    if (!out->bytes) return pumit__fail_memory(needed, name);
    PUMIT__TRY(read_bytes(entry, out->bytes, needed, name));
    return check_end(entry, name);
}

static pumit_status check_size(const pumit_context *ctx, const zip_stat_t *info, const char *path,
                               const char *name, int64_t most_bytes)
{
    struct stat file;
    if (!(info->valid & ZIP_STAT_SIZE) || info->size > (zip_uint64_t)most_bytes)
        return pumit__fail(PUMIT_ERROR_LIMIT,
                           "%s: is larger than the %lld bytes allowed; raise \"limits.bytes\"",
                           name, (long long)most_bytes);
    if (stat(path, &file) != 0)
        return pumit__fail(PUMIT_ERROR_IO, "%s: cannot read: %s", path, strerror(errno));
    return pumit__check_ratio((int64_t)info->size / (int64_t)sizeof(float), ctx, file.st_size,
                              name);
}

static pumit_status read_entry(pumit__array *out, zip_t *archive, const zip_stat_t *info,
                               const char *name)
{
    zip_file_t *entry = zip_fopen_index(archive, info->index, 0);
    if (!entry) return fail_zip(zip_get_error(archive), name);
    const pumit_status status = read_array(out, entry, (int64_t)info->size, name);
    zip_fclose(entry);
    if (status != PUMIT_OK) pumit__array_free(out);
    return status;
}

pumit_status pumit__npz_read(pumit__array *out, bool *found, const pumit_context *ctx,
                             const char *path, const char *key, int64_t most_bytes)
{
    *out = (pumit__array){0};
    *found = false;
    zip_t *archive;
    PUMIT__TRY(open_archive(&archive, path));
    pumit_status status = PUMIT_OK;
    char *member = pumit__format("%s.npy", key), *name = pumit__format("%s[%s]", path, key);
    if (!member || !name) {
        status = pumit__fail_memory(0, path);
        goto out;
    }
    zip_stat_t info;
    if (zip_stat(archive, member, 0, &info) == 0) {
        *found = true;
        PUMIT__GO(check_size(ctx, &info, path, name, most_bytes));
        PUMIT__GO(read_entry(out, archive, &info, name));
    }
out:
    zip_discard(archive);
    free(member);
    free(name);
    return status;
}
