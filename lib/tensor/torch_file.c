/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/tensor/torch_file.h"

#include "lib/tensor/mapped.h"
#include "lib/tensor/pickle.h"
#include "lib/tensor/zip_blocks.h"

#include <stdlib.h>
#include <string.h>

#define MOST_WRAPPERS 8 /* dicts around the state dict */

struct pumit__torch_file {
    const char *path; /* the caller's, for messages; NULL once open */
    pumit__zip *zip;
    char *folder; /* of the archive, with its slash */
    pumit__pickle *pickle;
    pumit__weights_entry *entries;
    int64_t count;
};

/* -------------------------------------------------------------------------------------- what it is */

static bool is_zip(const unsigned char *data, int64_t bytes)
{
    return bytes >= 4 && memcmp(data, "PK\3\4", 4) == 0;
}

/* Before PyTorch 1.6: a bare pickle; before 0.1.10: a tar archive. */
static bool is_legacy(const unsigned char *data, int64_t bytes)
{
    /* A safetensors file of 0x80 and so on would have a header of such a length and then a brace. */
    if (bytes >= 3 && data[0] == 0x80 && data[1] >= 2 && data[1] <= 5)
        return bytes < 9 || data[8] != '{';
    return bytes >= 262 && memcmp(data + 257, "ustar", 5) == 0;
}

bool pumit__torch_file_is(const unsigned char *data, int64_t bytes)
{
    return is_zip(data, bytes) || is_legacy(data, bytes);
}

static pumit_status check_kind(const char *path)
{
    pumit__mapped map;
    PUMIT__TRY(pumit__mapped_open(&map, path));
    pumit_status status = PUMIT_OK;
    if (is_legacy(map.data, map.bytes))
        status = pumit__fail(PUMIT_ERROR_UNSUPPORTED,
                             "%s: is of the format that PyTorch wrote before 1.6; save it again: "
                             "torch.save(torch.load(\"FILE\", map_location=\"cpu\"), \"NEW\")",
                             path);
    else if (!is_zip(map.data, map.bytes))
        status = pumit__fail(PUMIT_ERROR_FORMAT, "%s: is no checkpoint of PyTorch", path);
    pumit__mapped_close(&map);
    return status;
}

/* ---------------------------------------------------------------------------------------- the pickle */

/* Finds NAME/data.pkl, one folder deep; keeps "NAME/". */
static pumit_status find_pickle(pumit__torch_file *file, int64_t *at)
{
    for (int64_t i = 0; i < pumit__zip_count(file->zip); i++) {
        const char *name = pumit__zip_name(file->zip, i);
        const char *slash = name ? strchr(name, '/') : NULL;
        if (!slash || strcmp(slash, "/data.pkl") != 0) continue;
        file->folder = pumit__format("%.*s", (int)(slash + 1 - name), name);
        *at = i;
        return file->folder ? PUMIT_OK : pumit__fail_memory(64, name);
    }
    return pumit__fail(PUMIT_ERROR_FORMAT,
                       "%s: a zip archive without data.pkl is no checkpoint of PyTorch",
                       file->path);
}

/* A file of the archive's folder; -1 if absent. */
static int64_t find_member(const pumit__torch_file *file, const char *name)
{
    char *full = pumit__format("%s%s", file->folder, name);
    const int64_t i = full ? pumit__zip_find(file->zip, full) : -1;
    free(full);
    return i;
}

static pumit_status check_byte_order(pumit__torch_file *file)
{
    const int64_t at = find_member(file, "byteorder");
    const unsigned char *text;
    if (at < 0) return PUMIT_OK; /* before PyTorch 2.1 */
    const int64_t bytes = pumit__zip_bytes(file->zip, at);
    if (bytes < 0 || bytes > 64)
        return pumit__fail(PUMIT_ERROR_FORMAT, "%s: has a broken byte order", file->path);
    PUMIT__TRY(pumit__zip_block(&text, file->zip, at));
    if (bytes == 6 && memcmp(text, "little", 6) == 0) return PUMIT_OK;
    return pumit__fail(PUMIT_ERROR_UNSUPPORTED, "%s: its numbers are not little-endian",
                       file->path);
}

static pumit_status read_pickle(pumit__torch_file *file)
{
    int64_t at = 0;
    const unsigned char *data;
    PUMIT__TRY(find_pickle(file, &at));
    PUMIT__TRY(check_byte_order(file));
    const int64_t bytes = pumit__zip_bytes(file->zip, at);
    if (bytes > PUMIT__PICKLE_MOST_BYTES)
        return pumit__fail(PUMIT_ERROR_LIMIT, "%s: its data.pkl has %lld bytes", file->path,
                           (long long)bytes);
    PUMIT__TRY(pumit__zip_block(&data, file->zip, at));
    return pumit__pickle_parse(&file->pickle, data, bytes, file->path);
}

/* -------------------------------------------------------------------------------------- state dict */

static bool has_tensors(const pumit__pickle_value *dict)
{
    for (int64_t i = 0; dict->kind == PUMIT__PICKLE_DICT && i < dict->count; i += 2)
        if (dict->items[i]->kind == PUMIT__PICKLE_TEXT &&
            dict->items[i + 1]->kind == PUMIT__PICKLE_TENSOR)
            return true;
    return false;
}

/* The dict that a checkpoint wraps in others; NULL if there is none. */
static const pumit__pickle_value *find_state(const pumit__pickle_value *root)
{
    static const char *const keys[] = {"state_dict", "model", "module"};
    for (int32_t level = 0; level < MOST_WRAPPERS; level++) {
        const pumit__pickle_value *inner = NULL;
        for (int64_t i = 0; i < PUMIT__COUNT(keys) && !inner; i++) {
            inner = pumit__pickle_get(root, keys[i]);
            if (inner && inner->kind != PUMIT__PICKLE_DICT) inner = NULL;
        }
        if (!inner) return has_tensors(root) ? root : NULL;
        root = inner;
    }
    return NULL;
}

static pumit_status fail_tensor(const pumit__torch_file *file, const char *name, const char *what)
{
    return pumit__fail(PUMIT_ERROR_FORMAT, "%s: tensor '%s' %s", file->path, name, what);
}

static pumit_status read_tensor(pumit__weights_entry *entry, const pumit__torch_file *file,
                                const char *name, const pumit__pickle_tensor *t)
{
    const int64_t size = pumit_dtype_size(t->storage->dtype);
    *entry = (pumit__weights_entry){.name = name, .dtype = t->storage->dtype, .ndim = t->ndim};
    memcpy(entry->shape, t->shape, sizeof entry->shape);
    memcpy(entry->stride, t->stride, sizeof entry->stride);
    if (size == 0) return PUMIT_OK;
    char *member = pumit__format("data/%s", t->storage->key);
    if (!member) return pumit__fail_memory(64, name);
    entry->block = find_member(file, member);
    free(member);
    if (entry->block < 0) return fail_tensor(file, name, "has no data in the archive");
    int64_t bytes;
    if (!pumit__multiply(&bytes, t->storage->count, size) ||
        bytes > pumit__zip_bytes(file->zip, entry->block))
        return fail_tensor(file, name, "has a storage that is cut short");
    if (t->extent == 0) return PUMIT_OK;
    entry->offset = t->offset * size; /* inside the storage: see pickle_objects.c */
    entry->bytes = t->extent * size;
    return PUMIT_OK;
}

static int compare_names(const void *a, const void *b)
{
    const pumit__weights_entry *x = a, *y = b;
    return strcmp(x->name, y->name);
}

static pumit_status read_entries(pumit__torch_file *file)
{
    const pumit__pickle_value *dict = find_state(pumit__pickle_root(file->pickle));
    if (!dict)
        return pumit__fail(PUMIT_ERROR_FORMAT,
                           "%s: holds no state dict, neither itself nor under \"state_dict\", "
                           "\"model\" or \"module\"; save model.state_dict()",
                           file->path);
    file->entries = pumit__calloc(dict->count / 2, sizeof *file->entries);
    if (!file->entries) return pumit__fail_memory(dict->count, "names of tensors");
    for (int64_t i = 0; i < dict->count; i += 2) {
        const pumit__pickle_value *key = dict->items[i], *item = dict->items[i + 1];
        if (key->kind != PUMIT__PICKLE_TEXT || item->kind != PUMIT__PICKLE_TENSOR) continue;
        PUMIT__TRY(read_tensor(&file->entries[file->count++], file, key->text, item->tensor));
    }
    qsort(file->entries, (size_t)file->count, sizeof *file->entries, compare_names);
    for (int64_t i = 1; i < file->count; i++)
        if (strcmp(file->entries[i - 1].name, file->entries[i].name) == 0)
            return fail_tensor(file, file->entries[i].name, "occurs twice");
    return PUMIT_OK;
}

/* ------------------------------------------------------------------------------------------ the file */

pumit_status pumit__torch_file_open(pumit__torch_file **out, const char *path)
{
    *out = NULL;
    PUMIT__TRY(check_kind(path));
    pumit__torch_file *file = pumit__calloc(1, sizeof *file);
    if (!file) return pumit__fail_memory((int64_t)sizeof *file, path);
    pumit_status status;
    file->path = path;
    PUMIT__GO(pumit__zip_open(&file->zip, path));
    PUMIT__GO(read_pickle(file));
    PUMIT__GO(read_entries(file));
out:
    file->path = NULL;
    if (status == PUMIT_OK)
        *out = file;
    else
        pumit__torch_file_close(file);
    return status;
}

void pumit__torch_file_close(pumit__torch_file *file)
{
    if (!file) return;
    pumit__pickle_free(file->pickle);
    pumit__zip_close(file->zip);
    free(file->entries);
    free(file->folder);
    free(file);
}

const pumit__weights_entry *pumit__torch_file_entries(const pumit__torch_file *file, int64_t *count)
{
    *count = file->count;
    return file->entries;
}

pumit_status pumit__torch_file_block(const unsigned char **out, pumit__torch_file *file, int64_t i)
{
    return pumit__zip_block(out, file->zip, i);
}

void pumit__torch_file_forget(const pumit__torch_file *file, const pumit__weights_entry *entry)
{
    pumit__zip_forget(file->zip, entry->block, entry->offset, entry->bytes);
}
