/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/tensor/safetensors.h"

#include "lib/base/config.h"
#include "lib/tensor/mapped.h"

#include <stdlib.h>
#include <string.h>

#define PREFIX        8         /* bytes of the header's length */
#define HEADER_LIMIT  100000000 /* bytes; the format's own limit */
#define METADATA      "__metadata__"
#define MOST_METADATA 4096 /* members, which are looked for one by one */

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "array data is little-endian");

struct pumit__safetensors {
    const char *path; /* the caller's, for messages; NULL once open */
    pumit__mapped map;
    int64_t header_bytes;
    cJSON *header; /* owns the names and the metadata */
    const cJSON *metadata;
    pumit__safetensors_entry *entries;      /* in the order of their data */
    const pumit__safetensors_entry **names; /* in the order of their names */
    int64_t count;
};

static const struct {
    const char *name;
    pumit_dtype dtype;
    int64_t size;
} types[] = {{"F32", PUMIT_F32, 4},   {"F64", PUMIT_F64, 8}, {"F16", PUMIT_F16, 2},
             {"BF16", PUMIT_BF16, 2}, {"U8", PUMIT_U8, 1},   {"I16", PUMIT_I16, 2},
             {"I32", PUMIT_I32, 4},   {"I64", PUMIT_I64, 8}};

/* Bytes of a packed array; false if the type is unknown, a size is negative or the product overflows. */
static bool array_bytes(int64_t *out, pumit_dtype dtype, int32_t ndim, const int64_t *shape)
{
    int64_t bytes = 0;
    for (int64_t i = 0; i < PUMIT__COUNT(types); i++)
        if (types[i].dtype == dtype) bytes = types[i].size;
    bool fits = bytes > 0 && ndim >= 0 && ndim <= PUMIT_MAX_DIMS;
    for (int32_t d = 0; fits && d < ndim; d++) fits = pumit__multiply(&bytes, bytes, shape[d]);
    *out = bytes;
    return fits;
}

static int compare_text(const void *a, const void *b)
{
    const char *const *x = a, *const *y = b;
    return strcmp(*x, *y);
}

/* Fails with `failure` if two members of `object` have one name; JSON itself allows it. */
static pumit_status check_names(const cJSON *object, const char *path, pumit_status failure)
{
    const int64_t count = cJSON_GetArraySize(object);
    const char **names = pumit__calloc(count, sizeof *names);
    if (!names) return pumit__fail_memory(count * (int64_t)sizeof *names, "names");
    int64_t n = 0;
    for (const cJSON *child = object->child; child; child = child->next) names[n++] = child->string;
    qsort(names, (size_t)n, sizeof *names, compare_text);
    pumit_status status = PUMIT_OK;
    for (int64_t i = 1; i < n && status == PUMIT_OK; i++)
        if (strcmp(names[i - 1], names[i]) == 0)
            status = pumit__fail(failure, "%s: the name '%s' occurs twice", path, names[i]);
    free(names);
    return status;
}

/* ------------------------------------------------------------------------------------------ reading */

static pumit_status parse_header(pumit__safetensors *file)
{
    uint64_t bytes = 0;
    if (file->map.bytes < PREFIX)
        return pumit__fail(PUMIT_ERROR_FORMAT, "%s: too short for a safetensors file", file->path);
    for (int i = PREFIX - 1; i >= 0; i--) bytes = bytes << 8 | file->map.data[i];
    if (bytes > HEADER_LIMIT || (int64_t)bytes > file->map.bytes - PREFIX || bytes < 2 ||
        file->map.data[PREFIX] != '{')
        return pumit__fail(PUMIT_ERROR_FORMAT,
                           "%s: no safetensors file, or cut short (header of %llu bytes)",
                           file->path, (unsigned long long)bytes);
    file->header_bytes = (int64_t)bytes;
    PUMIT__TRY(pumit__json_parse(&file->header, (const char *)file->map.data + PREFIX,
                                 file->header_bytes, file->path));
    PUMIT__TRY(check_names(file->header, file->path, PUMIT_ERROR_FORMAT));
    file->metadata = cJSON_GetObjectItemCaseSensitive(file->header, METADATA);
    if (!file->metadata) return PUMIT_OK;
    if (!cJSON_IsObject(file->metadata))
        return pumit__fail(PUMIT_ERROR_FORMAT, "%s: the metadata is no object", file->path);
    if (cJSON_GetArraySize(file->metadata) > MOST_METADATA)
        return pumit__fail(PUMIT_ERROR_LIMIT, "%s: has more than %d pieces of metadata", file->path,
                           MOST_METADATA);
    for (const cJSON *item = file->metadata->child; item; item = item->next)
        if (!cJSON_IsString(item))
            return pumit__fail(PUMIT_ERROR_FORMAT, "%s: metadata '%s' is no string", file->path,
                               item->string);
    return check_names(file->metadata, file->path, PUMIT_ERROR_FORMAT);
}

static pumit_status fail_entry(const pumit__safetensors *file, const cJSON *item, const char *what)
{
    return pumit__fail(PUMIT_ERROR_FORMAT, "%s: array '%s': %s", file->path, item->string, what);
}

/* Reads an array of at most `most` integers >= 0; their number, or -1 if it is anything else. */
static int32_t read_sizes(int64_t *values, int32_t most, const cJSON *array)
{
    int32_t n = 0;
    if (!cJSON_IsArray(array)) return -1;
    for (const cJSON *item = array->child; item; item = item->next, n++)
        if (n == most || !pumit__json_int(&values[n], item) || values[n] < 0) return -1;
    return n;
}

static pumit_status read_dtype(pumit_dtype *out, const pumit__safetensors *file, const cJSON *item)
{
    const cJSON *dtype = cJSON_GetObjectItemCaseSensitive(item, "dtype");
    if (!cJSON_IsString(dtype)) return fail_entry(file, item, "has no type");
    for (int64_t i = 0; i < PUMIT__COUNT(types); i++)
        if (strcmp(types[i].name, dtype->valuestring) == 0) {
            *out = types[i].dtype;
            return PUMIT_OK;
        }
    return pumit__fail(PUMIT_ERROR_UNSUPPORTED, "%s: array '%s' is of type %.20s", file->path,
                       item->string, dtype->valuestring);
}

static pumit_status read_entry(pumit__safetensors_entry *entry, const pumit__safetensors *file,
                               const cJSON *item)
{
    const int64_t room = file->map.bytes - PREFIX - file->header_bytes;
    int64_t place[2], bytes;
    if (!cJSON_IsObject(item) || cJSON_GetArraySize(item) != 3)
        return fail_entry(file, item, "must have dtype, shape and data_offsets alone");
    PUMIT__TRY(read_dtype(&entry->dtype, file, item));
    const cJSON *shape = cJSON_GetObjectItemCaseSensitive(item, "shape");
    entry->ndim = read_sizes(entry->shape, PUMIT_MAX_DIMS, shape);
    if (entry->ndim < 0)
        return fail_entry(file, item, "its shape is not up to 8 sizes of at least 0");
    if (read_sizes(place, 2, cJSON_GetObjectItemCaseSensitive(item, "data_offsets")) != 2)
        return fail_entry(file, item, "its data_offsets are not two numbers");
    if (!array_bytes(&bytes, entry->dtype, entry->ndim, entry->shape))
        return fail_entry(file, item, "its size overflows");
    if (place[0] > place[1] || place[1] > room)
        return fail_entry(file, item, "lies outside the file");
    if (place[1] - place[0] != bytes)
        return fail_entry(file, item, "its data do not have the size of its shape and type");
    entry->name = item->string;
    entry->data = file->map.data + PREFIX + file->header_bytes + place[0];
    entry->bytes = bytes;
    return PUMIT_OK;
}

/* By place; an empty array comes before the one that begins where it does. */
static int compare_places(const void *a, const void *b)
{
    const pumit__safetensors_entry *x = a, *y = b;
    const uintptr_t p = (uintptr_t)x->data, q = (uintptr_t)y->data;
    return p != q ? (p > q) - (p < q) : (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

static int compare_names(const void *a, const void *b)
{
    const pumit__safetensors_entry *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

/* The format wants the arrays one behind the other and nothing else: so none overlap either. */
static pumit_status check_places(const pumit__safetensors *file)
{
    const unsigned char *at = file->map.data + PREFIX + file->header_bytes;
    for (int64_t i = 0; i < file->count; i++) {
        if (file->entries[i].data != at)
            return pumit__fail(PUMIT_ERROR_FORMAT,
                               "%s: array '%s' overlaps another or leaves a gap", file->path,
                               file->entries[i].name);
        at += file->entries[i].bytes;
    }
    if (at == file->map.data + file->map.bytes) return PUMIT_OK;
    return pumit__fail(PUMIT_ERROR_FORMAT, "%s: %lld bytes belong to no array", file->path,
                       (long long)(file->map.data + file->map.bytes - at));
}

static pumit_status read_entries(pumit__safetensors *file)
{
    const int64_t members = cJSON_GetArraySize(file->header);
    file->entries = pumit__calloc(members, sizeof *file->entries);
    file->names = pumit__calloc(members, sizeof *file->names);
    if (!file->entries || !file->names)
        return pumit__fail_memory(members * (int64_t)sizeof *file->entries, file->path);
    for (const cJSON *item = file->header->child; item; item = item->next)
        if (item != file->metadata)
            PUMIT__TRY(read_entry(&file->entries[file->count++], file, item));
    qsort(file->entries, (size_t)file->count, sizeof *file->entries, compare_places);
    PUMIT__TRY(check_places(file));
    for (int64_t i = 0; i < file->count; i++) file->names[i] = &file->entries[i];
    qsort(file->names, (size_t)file->count, sizeof *file->names, compare_names);
    return PUMIT_OK;
}

pumit_status pumit__safetensors_open(pumit__safetensors **out, const char *path)
{
    *out = NULL;
    PUMIT__REQUIRE(path, "the path of a model file is NULL");
    pumit__safetensors *file = pumit__calloc(1, sizeof *file);
    if (!file) return pumit__fail_memory((int64_t)sizeof *file, path);
    pumit_status status;
    file->path = path;
    PUMIT__GO(pumit__mapped_open(&file->map, path));
    PUMIT__GO(parse_header(file));
    PUMIT__GO(read_entries(file));
out:
    file->path = NULL;
    if (status == PUMIT_OK)
        *out = file;
    else
        pumit__safetensors_close(file);
    return status;
}

void pumit__safetensors_close(pumit__safetensors *file)
{
    if (!file) return;
    pumit__mapped_close(&file->map);
    cJSON_Delete(file->header);
    free(file->entries);
    free(file->names);
    free(file);
}

int64_t pumit__safetensors_count(const pumit__safetensors *file)
{
    return file->count;
}

const pumit__safetensors_entry *pumit__safetensors_entry_at(const pumit__safetensors *file,
                                                            int64_t i)
{
    return i >= 0 && i < file->count ? &file->entries[i] : NULL;
}

const pumit__safetensors_entry *pumit__safetensors_find(const pumit__safetensors *file,
                                                        const char *name)
{
    const pumit__safetensors_entry wanted = {.name = name}, *key = &wanted;
    const pumit__safetensors_entry **found =
        bsearch(&key, file->names, (size_t)file->count, sizeof *file->names, compare_names);
    return found ? *found : NULL;
}

void pumit__safetensors_forget(const pumit__safetensors *file,
                               const pumit__safetensors_entry *entry)
{
    pumit__mapped_forget(&file->map, entry->data, entry->bytes);
}

const cJSON *pumit__safetensors_all_metadata(const pumit__safetensors *file)
{
    return file->metadata;
}

const char *pumit__safetensors_metadata(const pumit__safetensors *file, const char *key)
{
    return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(file->metadata, key));
}

/* ------------------------------------------------------------------------------------------ writing */

static const char *type_text(pumit_dtype dtype)
{
    for (int64_t i = 0; i < PUMIT__COUNT(types); i++)
        if (types[i].dtype == dtype) return types[i].name;
    return NULL;
}

static pumit_status check_entry(const pumit__safetensors_entry *entry)
{
    int64_t bytes;
    PUMIT__REQUIRE(entry->name, "an array to be written has no name");
    PUMIT__REQUIRE(strcmp(entry->name, METADATA) != 0, "an array cannot be called '%s'", METADATA);
    PUMIT__REQUIRE(array_bytes(&bytes, entry->dtype, entry->ndim, entry->shape) &&
                       bytes == entry->bytes && (entry->data || bytes == 0),
                   "array '%s': type, shape and bytes do not fit together", entry->name);
    return PUMIT_OK;
}

/* Adds a number to an array, or a member to an object if `name` is given; takes `item`. */
static bool add(cJSON *to, const char *name, cJSON *item)
{
    const bool added =
        item && (name ? cJSON_AddItemToObject(to, name, item) : cJSON_AddItemToArray(to, item));
    if (!added) cJSON_Delete(item);
    return added;
}

/* NULL when out of memory. */
static cJSON *describe(const pumit__safetensors_entry *entry, int64_t begin, int64_t end)
{
    cJSON *item = cJSON_CreateObject();
    cJSON *shape = NULL, *place = NULL;
    bool made = item && cJSON_AddStringToObject(item, "dtype", type_text(entry->dtype)) &&
                (shape = cJSON_AddArrayToObject(item, "shape")) &&
                (place = cJSON_AddArrayToObject(item, "data_offsets"));
    for (int32_t d = 0; made && d < entry->ndim; d++)
        made = add(shape, NULL, cJSON_CreateNumber((double)entry->shape[d]));
    made = made && add(place, NULL, cJSON_CreateNumber((double)begin)) &&
           add(place, NULL, cJSON_CreateNumber((double)end));
    if (made) return item;
    cJSON_Delete(item);
    return NULL;
}

static pumit_status add_metadata(cJSON *header, const cJSON *metadata)
{
    PUMIT__REQUIRE(cJSON_IsObject(metadata), "the metadata of a model file must be an object");
    for (const cJSON *item = metadata->child; item; item = item->next)
        PUMIT__REQUIRE(cJSON_IsString(item), "metadata '%s' must be a string", item->string);
    cJSON *copy;
    PUMIT__TRY(pumit__json_copy(&copy, metadata));
    if (add(header, METADATA, copy)) return PUMIT_OK;
    return pumit__fail_memory((int64_t)sizeof *copy, "metadata");
}

static pumit_status fill_header(cJSON *header, const pumit__safetensors_entry *entries,
                                int64_t count, const cJSON *metadata)
{
    int64_t at = 0;
    if (metadata) PUMIT__TRY(add_metadata(header, metadata));
    for (int64_t i = 0; i < count; i++) {
        const int64_t begin = at;
        PUMIT__TRY(check_entry(&entries[i]));
        PUMIT__REQUIRE(pumit__add_sizes(&at, at, entries[i].bytes), "the arrays are too large");
        if (!add(header, entries[i].name, describe(&entries[i], begin, at)))
            return pumit__fail_memory((int64_t)sizeof *header, "the header of a model file");
    }
    return check_names(header, "model file", PUMIT_ERROR_INVALID_ARGUMENT);
}

static pumit_status header_text(char **out, const pumit__safetensors_entry *entries, int64_t count,
                                const cJSON *metadata)
{
    *out = NULL;
    cJSON *header = cJSON_CreateObject();
    if (!header) return pumit__fail_memory((int64_t)sizeof *header, "the header of a model file");
    pumit_status status = fill_header(header, entries, count, metadata);
    if (status == PUMIT_OK) status = pumit__json_print(out, header, false);
    cJSON_Delete(header);
    if (status == PUMIT_OK && strlen(*out) > HEADER_LIMIT - PREFIX) {
        status = pumit__fail(PUMIT_ERROR_LIMIT, "the header of a model file would exceed %d bytes",
                             HEADER_LIMIT);
        free(*out);
        *out = NULL;
    }
    return status;
}

static pumit_status write_header(pumit__atomic_file *file, const char *text)
{
    const int64_t length = (int64_t)strlen(text), padding = -length & 7; /* data begin aligned */
    unsigned char prefix[PREFIX];
    for (int i = 0; i < PREFIX; i++)
        prefix[i] = (unsigned char)((uint64_t)(length + padding) >> 8 * i);
    PUMIT__TRY(pumit__atomic_write(file, prefix, PREFIX));
    PUMIT__TRY(pumit__atomic_write(file, text, length));
    return pumit__atomic_write(file, "       ", padding);
}

pumit_status pumit__safetensors_write(const char *path, const pumit__safetensors_entry *entries,
                                      int64_t count, const cJSON *metadata)
{
    PUMIT__REQUIRE(path && count >= 0 && (entries || count == 0),
                   "a model file to be written needs a path and entries");
    char *text;
    PUMIT__TRY(header_text(&text, entries, count, metadata));
    pumit__atomic_file file;
    pumit_status status;
    PUMIT__GO(pumit__atomic_open(&file, path));
    PUMIT__GO(write_header(&file, text));
    for (int64_t i = 0; i < count; i++)
        if (entries[i].bytes > 0)
            PUMIT__GO(pumit__atomic_write(&file, entries[i].data, entries[i].bytes));
    PUMIT__GO(pumit__atomic_commit(&file));
out:
    pumit__atomic_close(&file);
    free(text);
    return status;
}
