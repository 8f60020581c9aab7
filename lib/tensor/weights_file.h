/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files of named arrays, whoever wrote them: safetensors, or a zip checkpoint of PyTorch. The content decides, not the
 * name. What a file holds is not trusted; it must not shrink while it is open.
 */
#ifndef PUMIT_LIB_WEIGHTS_FILE_H
#define PUMIT_LIB_WEIGHTS_FILE_H

#include "lib/base/base.h"

#include <pumit/tensor.h>

#include <cjson/cJSON.h>

typedef struct pumit__weights_file pumit__weights_file;

typedef struct {
    const char *name;
    pumit_dtype dtype; /* 0: of a type that is not read */
    int32_t ndim;
    int64_t shape[PUMIT_MAX_DIMS], stride[PUMIT_MAX_DIMS]; /* elements; strides are >= 0 */
    int64_t block;                                         /* of the file that it lies in */
    int64_t offset, bytes; /* inside the block: its first element; up to behind its last one */
} pumit__weights_entry;

pumit_status pumit__weights_file_open(pumit__weights_file **out, const char *path);
/* NULL is fine. */
void pumit__weights_file_close(pumit__weights_file *file);

/* Entries; borrowed. */
int64_t pumit__weights_file_count(const pumit__weights_file *file);
const pumit__weights_entry *pumit__weights_file_entry(const pumit__weights_file *file, int64_t i);
/* NULL if absent; takes the logarithm of the count. */
const pumit__weights_entry *pumit__weights_file_find(const pumit__weights_file *file,
                                                     const char *name);

/* The entry's first element: borrowed, read only now, maybe unaligned. */
pumit_status pumit__weights_file_data(const void **out, pumit__weights_file *file,
                                      const pumit__weights_entry *entry);

/* The entry was read and will not be soon: its pages may leave this process. */
void pumit__weights_file_forget(const pumit__weights_file *file, const pumit__weights_entry *entry);

/* A string of the metadata, borrowed; NULL if absent. */
const char *pumit__weights_file_metadata(const pumit__weights_file *file, const char *key);
/* The metadata, an object of strings, borrowed; NULL if the file has none. */
const cJSON *pumit__weights_file_all_metadata(const pumit__weights_file *file);

#endif
