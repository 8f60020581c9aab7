/* SPDX-License-Identifier: Apache-2.0 */
/* Arrays of numpy: the .npy format, alone or inside an .npz. */
#ifndef PUMIT_LIB_DATA_NPY_H
#define PUMIT_LIB_DATA_NPY_H

#include "lib/data/element.h"

#define PUMIT__NPY_DIMS 5

typedef struct {
    int64_t ndim, shape[PUMIT__NPY_DIMS];
    int64_t count; /* of elements */
    pumit__element kind;
    bool swap, fortran;
    uint8_t *bytes; /* packed elements, in the file's order; owned */
} pumit__array;

/* Bytes of the head that tell how long it is. */
#define PUMIT__NPY_PREFIX 12

/* Length of the whole head (magic, version, dictionary) from its first PUMIT__NPY_PREFIX bytes; 0 if it is none. */
int64_t pumit__npy_head_bytes(const uint8_t *prefix);

/* Shape and type from a whole head. Messages begin with `name`. */
pumit_status pumit__npy_parse(pumit__array *out, const uint8_t *head, int64_t bytes,
                              const char *name);

/* Entry i of the first axis as floats, its other axes slowest first. */
void pumit__array_item(float *dst, const pumit__array *array, int64_t i);

/* Elements of one such entry. */
int64_t pumit__array_item_count(const pumit__array *array);

void pumit__array_free(pumit__array *array);

/* The array "key.npy" of an .npz, of at most `most_bytes`. No such entry: PUMIT_OK and *found false. */
pumit_status pumit__npz_read(pumit__array *out, bool *found, const pumit_context *ctx,
                             const char *path, const char *key, int64_t most_bytes);

#endif
