/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/tensor/zip_blocks.h"

#include "lib/tensor/mapped.h"

#include <stdlib.h>
#include <string.h>
#include <zip.h>

#define MOST_RATIO INT64_C(1100) /* deflate makes at most 1032 bytes of one */
/* PyTorch does not compress, and weights give way by little: more than this is a bomb, once it is this large. */
#define PLAIN_RATIO 200
#define ANY_RATIO   (INT64_C(1) << 30)

/* Where libzip reads: the mapped archive. It also tells at which byte libzip last read. */
typedef struct {
    pumit__mapped map;
    int64_t at, last;
    zip_error_t error;
} reader;

typedef struct {
    const unsigned char *data; /* NULL: not asked for yet */
    unsigned char *inflated;   /* owned; NULL: data are the archive's own */
} block;

struct pumit__zip {
    char *path;
    reader reader;
    zip_t *archive;
    int64_t count;
    block *blocks;
};

static zip_int64_t read_on(reader *r, void *data, zip_uint64_t bytes)
{
    const int64_t left = r->map.bytes - r->at;
    const int64_t got = bytes < (zip_uint64_t)left ? (int64_t)bytes : left;
    memcpy(data, r->map.data + r->at, (size_t)got);
    r->last = r->at;
    r->at += got;
    return got;
}

static zip_int64_t serve(void *user, void *data, zip_uint64_t bytes, zip_source_cmd_t command)
{
    reader *r = user;
    switch (command) {
    case ZIP_SOURCE_SUPPORTS:
        return zip_source_make_command_bitmap(ZIP_SOURCE_OPEN, ZIP_SOURCE_READ, ZIP_SOURCE_CLOSE,
                                              ZIP_SOURCE_STAT, ZIP_SOURCE_ERROR, ZIP_SOURCE_FREE,
                                              ZIP_SOURCE_SEEK, ZIP_SOURCE_TELL, -1);
    case ZIP_SOURCE_OPEN:
        r->at = 0;
        return 0;
    case ZIP_SOURCE_READ:
        return read_on(r, data, bytes);
    case ZIP_SOURCE_SEEK: {
        const zip_int64_t at = zip_source_seek_compute_offset(
            (zip_uint64_t)r->at, (zip_uint64_t)r->map.bytes, data, bytes, &r->error);
        if (at >= 0) r->at = at;
        return at < 0 ? -1 : 0;
    }
    case ZIP_SOURCE_TELL:
        return r->at;
    case ZIP_SOURCE_STAT: {
        zip_stat_t *info = data;
        zip_stat_init(info);
        info->size = (zip_uint64_t)r->map.bytes;
        info->valid |= ZIP_STAT_SIZE;
        return (zip_int64_t)sizeof *info;
    }
    case ZIP_SOURCE_ERROR:
        return zip_error_to_data(&r->error, data, bytes);
    case ZIP_SOURCE_CLOSE:
    case ZIP_SOURCE_FREE:
        return 0;
    default:
        zip_error_set(&r->error, ZIP_ER_OPNOTSUPP, 0);
        return -1;
    }
}

static pumit_status fail_zip(zip_error_t *error, const char *path)
{
    return pumit__fail(PUMIT_ERROR_FORMAT, "%s: is a damaged or truncated zip archive (%s)", path,
                       zip_error_strerror(error));
}

static pumit_status open_archive(pumit__zip *zip)
{
    zip_error_t error;
    pumit_status status = PUMIT_OK;
    zip_error_init(&error);
    zip_source_t *source = zip_source_function_create(serve, &zip->reader, &error);
    zip->archive = source ? zip_open_from_source(source, ZIP_RDONLY, &error) : NULL;
    if (!zip->archive) {
        status = fail_zip(&error, zip->path);
        zip_source_free(source);
    }
    zip_error_fini(&error);
    return status;
}

pumit_status pumit__zip_open(pumit__zip **out, const char *path)
{
    *out = NULL;
    pumit__zip *zip = pumit__calloc(1, sizeof *zip);
    if (!zip) return pumit__fail_memory((int64_t)sizeof *zip, path);
    zip_error_init(&zip->reader.error);
    pumit_status status = pumit__mapped_open(&zip->reader.map, path);
    zip->path = pumit__strdup(path);
    if (status == PUMIT_OK && !zip->path) status = pumit__fail_memory(64, path);
    if (status == PUMIT_OK) status = open_archive(zip);
    if (status == PUMIT_OK) {
        zip->count = zip_get_num_entries(zip->archive, 0);
        zip->blocks = pumit__calloc(zip->count, sizeof *zip->blocks);
        if (!zip->blocks) status = pumit__fail_memory(zip->count * (int64_t)sizeof(block), path);
    }
    if (status == PUMIT_OK)
        *out = zip;
    else
        pumit__zip_close(zip);
    return status;
}

void pumit__zip_close(pumit__zip *zip)
{
    if (!zip) return;
    if (zip->archive) zip_discard(zip->archive);
    for (int64_t i = 0; zip->blocks && i < zip->count; i++) free(zip->blocks[i].inflated);
    free(zip->blocks);
    zip_error_fini(&zip->reader.error);
    pumit__mapped_close(&zip->reader.map);
    free(zip->path);
    free(zip);
}

int64_t pumit__zip_count(const pumit__zip *zip)
{
    return zip->count;
}

const char *pumit__zip_name(const pumit__zip *zip, int64_t i)
{
    return zip_get_name(zip->archive, (zip_uint64_t)i, 0);
}

int64_t pumit__zip_find(const pumit__zip *zip, const char *name)
{
    return zip_name_locate(zip->archive, name, 0);
}

int64_t pumit__zip_bytes(const pumit__zip *zip, int64_t i)
{
    zip_stat_t info;
    if (zip_stat_index(zip->archive, (zip_uint64_t)i, 0, &info) != 0 ||
        !(info.valid & ZIP_STAT_SIZE) || info.size > INT64_MAX / 2)
        return -1;
    return (int64_t)info.size;
}

/* A stored file lies at the byte that libzip goes to for the first of its bytes. NULL if that does not fit. */
static const unsigned char *find_stored(pumit__zip *zip, int64_t i, int64_t bytes)
{
    unsigned char first;
    reader *const r = &zip->reader;
    zip_file_t *file = zip_fopen_index(zip->archive, (zip_uint64_t)i, ZIP_FL_COMPRESSED);
    if (!file) return NULL;
    const bool found = zip_fread(file, &first, 1) == 1 && r->last <= r->map.bytes - bytes &&
                       r->map.data[r->last] == first;
    zip_fclose(file);
    return found ? r->map.data + r->last : NULL;
}

static pumit_status read_whole(unsigned char *dst, zip_file_t *file, int64_t bytes,
                               const char *path)
{
    unsigned char beyond;
    for (int64_t done = 0; done < bytes;) {
        const int64_t left = bytes - done, most = INT64_C(1) << 26;
        const zip_int64_t got =
            zip_fread(file, dst + done, (zip_uint64_t)(left < most ? left : most));
        if (got < 0) return fail_zip(zip_file_get_error(file), path);
        if (got == 0) return pumit__fail(PUMIT_ERROR_FORMAT, "%s: is truncated", path);
        done += got;
    }
    /* Reading on behind the last byte makes libzip compare the checksum. */
    if (zip_fread(file, &beyond, 1) == 0) return PUMIT_OK;
    return pumit__fail(PUMIT_ERROR_FORMAT, "%s: a file inside is damaged", path);
}

static pumit_status inflate(pumit__zip *zip, int64_t i, const zip_stat_t *info)
{
    const int64_t bytes = (int64_t)info->size, packed = (int64_t)info->comp_size;
    const int64_t ratio = info->comp_method == ZIP_CM_STORE ? 1 : MOST_RATIO;
    if (packed < 0 || packed > zip->reader.map.bytes || bytes / ratio > packed + 1)
        return pumit__fail(PUMIT_ERROR_FORMAT, "%s: its zip directory gives impossible sizes",
                           zip->path);
    if (bytes > ANY_RATIO && bytes / PLAIN_RATIO > packed)
        return pumit__fail(PUMIT_ERROR_LIMIT,
                           "%s: %lld bytes inside would become %lld: save it again without "
                           "compression",
                           zip->path, (long long)packed, (long long)bytes);
    if (info->comp_method != ZIP_CM_STORE && info->comp_method != ZIP_CM_DEFLATE)
        return pumit__fail(PUMIT_ERROR_UNSUPPORTED, "%s: is compressed by method %d, not deflate",
                           zip->path, info->comp_method);
    zip_file_t *file = zip_fopen_index(zip->archive, (zip_uint64_t)i, 0);
    if (!file) return fail_zip(zip_get_error(zip->archive), zip->path);
    unsigned char *data = pumit__calloc(bytes, 1);
    pumit_status status = data ? read_whole(data, file, bytes, zip->path)
                               : pumit__fail_memory(bytes, "a compressed checkpoint");
    zip_fclose(file);
    if (status == PUMIT_OK)
        zip->blocks[i].data = zip->blocks[i].inflated = data;
    else
        free(data);
    return status;
}

pumit_status pumit__zip_block(const unsigned char **out, pumit__zip *zip, int64_t i)
{
    static const unsigned char nothing;
    block *const b = &zip->blocks[i];
    zip_stat_t info;
    *out = b->data;
    if (b->data) return PUMIT_OK;
    const int64_t bytes = pumit__zip_bytes(zip, i);
    if (bytes < 0 || zip_stat_index(zip->archive, (zip_uint64_t)i, 0, &info) != 0)
        return pumit__fail(PUMIT_ERROR_FORMAT, "%s: its zip directory is damaged", zip->path);
    if (bytes == 0)
        b->data = &nothing;
    else if (info.comp_method == ZIP_CM_STORE && info.encryption_method == ZIP_EM_NONE)
        b->data = find_stored(zip, i, bytes);
    if (!b->data) PUMIT__TRY(inflate(zip, i, &info));
    *out = b->data;
    return PUMIT_OK;
}

void pumit__zip_forget(const pumit__zip *zip, int64_t i, int64_t offset, int64_t bytes)
{
    const block *const b = &zip->blocks[i];
    if (b->data && !b->inflated && bytes > 0)
        pumit__mapped_forget(&zip->reader.map, b->data + offset, bytes);
}
