/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Model files: safetensors. Eight bytes of header length (little-endian), a JSON header that gives every
 * array's type, shape and place, then the arrays one behind the other, without holes.
 *
 * A file is mapped, never copied: it must not shrink while it is open. What it holds is not trusted.
 */
#ifndef PUMIT_LIB_SAFETENSORS_H
#define PUMIT_LIB_SAFETENSORS_H

#include "lib/base/base.h"

#include <pumit/tensor.h>

#include <cjson/cJSON.h>

typedef struct pumit__safetensors pumit__safetensors;

typedef struct {
    const char *name;
    pumit_dtype dtype;
    int32_t ndim;
    int64_t shape[PUMIT_MAX_DIMS];
    const void *data; /* packed, row-major; may be unaligned: read it by memcpy */
    int64_t bytes;
} pumit__safetensors_entry;

pumit_status pumit__safetensors_open(pumit__safetensors **out, const char *path);

/* Also unmaps what the entries point to. NULL is fine. */
void pumit__safetensors_close(pumit__safetensors *file);

/* Entries in the order of their data; borrowed. */
int64_t pumit__safetensors_count(const pumit__safetensors *file);
const pumit__safetensors_entry *pumit__safetensors_entry_at(const pumit__safetensors *file,
                                                            int64_t i);
/* NULL if absent; takes the logarithm of the count. */
const pumit__safetensors_entry *pumit__safetensors_find(const pumit__safetensors *file,
                                                        const char *name);

/* The entry was read and will not be soon: its pages may leave this process. */
void pumit__safetensors_forget(const pumit__safetensors *file,
                               const pumit__safetensors_entry *entry);

/* A string of the metadata, borrowed; NULL if absent. */
const char *pumit__safetensors_metadata(const pumit__safetensors *file, const char *key);
/* The metadata, an object of strings, borrowed; NULL if the file has none. */
const cJSON *pumit__safetensors_all_metadata(const pumit__safetensors *file);

/* Writes `entries` in their order and `metadata`, an object of strings (may be NULL): whole or not at all. */
pumit_status pumit__safetensors_write(const char *path, const pumit__safetensors_entry *entries,
                                      int64_t count, const cJSON *metadata);

#endif
