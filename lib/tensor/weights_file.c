/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/tensor/weights_file.h"

#include "lib/tensor/mapped.h"
#include "lib/tensor/safetensors.h"
#include "lib/tensor/tensor.h"
#include "lib/tensor/torch_file.h"

#include <stdlib.h>
#include <string.h>

struct pumit__weights_file {
    pumit__safetensors *safetensors; /* this, */
    pumit__torch_file *torch;        /* or this */
    pumit__weights_entry *converted; /* owned: safetensors' entries in the order of their names */
    const pumit__weights_entry *entries;
    int64_t count;
};

static int compare_names(const void *a, const void *b)
{
    const pumit__weights_entry *x = a, *y = b;
    return strcmp(x->name, y->name);
}

static pumit_status open_safetensors(pumit__weights_file *file, const char *path)
{
    PUMIT__TRY(pumit__safetensors_open(&file->safetensors, path));
    file->count = pumit__safetensors_count(file->safetensors);
    file->entries = file->converted = pumit__calloc(file->count, sizeof *file->converted);
    if (!file->converted)
        return pumit__fail_memory(file->count * (int64_t)sizeof *file->converted, path);
    for (int64_t i = 0; i < file->count; i++) {
        const pumit__safetensors_entry *from = pumit__safetensors_entry_at(file->safetensors, i);
        pumit__weights_entry *const to = &file->converted[i];
        *to = (pumit__weights_entry){.name = from->name,
                                     .dtype = from->dtype,
                                     .ndim = from->ndim,
                                     .block = i,
                                     .bytes = from->bytes};
        memcpy(to->shape, from->shape, sizeof to->shape);
        if (to->bytes > 0) pumit__packed_strides(to->stride, to->ndim, to->shape);
    }
    qsort(file->converted, (size_t)file->count, sizeof *file->converted, compare_names);
    return PUMIT_OK;
}

static pumit_status open_torch(pumit__weights_file *file, const char *path)
{
    PUMIT__TRY(pumit__torch_file_open(&file->torch, path));
    file->entries = pumit__torch_file_entries(file->torch, &file->count);
    return PUMIT_OK;
}

pumit_status pumit__weights_file_open(pumit__weights_file **out, const char *path)
{
    pumit__mapped map;
    *out = NULL;
    PUMIT__TRY(pumit__mapped_open(&map, path));
    const bool torch = pumit__torch_file_is(map.data, map.bytes);
    pumit__mapped_close(&map);
    pumit__weights_file *file = pumit__calloc(1, sizeof *file);
    if (!file) return pumit__fail_memory((int64_t)sizeof *file, path);
    const pumit_status status = torch ? open_torch(file, path) : open_safetensors(file, path);
    if (status == PUMIT_OK)
        *out = file;
    else
        pumit__weights_file_close(file);
    return status;
}

void pumit__weights_file_close(pumit__weights_file *file)
{
    if (!file) return;
    pumit__safetensors_close(file->safetensors);
    pumit__torch_file_close(file->torch);
    free(file->converted);
    free(file);
}

int64_t pumit__weights_file_count(const pumit__weights_file *file)
{
    return file->count;
}

const pumit__weights_entry *pumit__weights_file_entry(const pumit__weights_file *file, int64_t i)
{
    return i >= 0 && i < file->count ? &file->entries[i] : NULL;
}

const pumit__weights_entry *pumit__weights_file_find(const pumit__weights_file *file,
                                                     const char *name)
{
    const pumit__weights_entry key = {.name = name};
    return bsearch(&key, file->entries, (size_t)file->count, sizeof key, compare_names);
}

pumit_status pumit__weights_file_data(const void **out, pumit__weights_file *file,
                                      const pumit__weights_entry *entry)
{
    if (file->safetensors) {
        *out = pumit__safetensors_entry_at(file->safetensors, entry->block)->data;
        return PUMIT_OK;
    }
    const unsigned char *block;
    *out = NULL;
    PUMIT__TRY(pumit__torch_file_block(&block, file->torch, entry->block));
    *out = block + entry->offset;
    return PUMIT_OK;
}

void pumit__weights_file_forget(const pumit__weights_file *file, const pumit__weights_entry *entry)
{
    if (entry->bytes == 0) return;
    if (file->torch)
        pumit__torch_file_forget(file->torch, entry);
    else
        pumit__safetensors_forget(file->safetensors,
                                  pumit__safetensors_entry_at(file->safetensors, entry->block));
}

const char *pumit__weights_file_metadata(const pumit__weights_file *file, const char *key)
{
    return file->safetensors ? pumit__safetensors_metadata(file->safetensors, key) : NULL;
}

const cJSON *pumit__weights_file_all_metadata(const pumit__weights_file *file)
{
    return file->safetensors ? pumit__safetensors_all_metadata(file->safetensors) : NULL;
}
