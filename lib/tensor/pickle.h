/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A restricted reader of Python pickles (protocols 2 to 5), as torch.save writes them. Nothing is executed: it builds
 * numbers, strings, containers and tensors, and for every other object a placeholder without content. What calls a function
 * instead of making an object (os.system, eval) is an error.
 *
 * What a pickle says is not trusted. Values are shared as in Python and never contain themselves: a container that grows
 * after something holds it becomes a placeholder. So every walk ends, and is at most PUMIT__PICKLE_MOST_DEPTH deep.
 */
#ifndef PUMIT_LIB_PICKLE_H
#define PUMIT_LIB_PICKLE_H

#include "lib/base/base.h"

#include <pumit/tensor.h>

#define PUMIT__PICKLE_MOST_BYTES (INT64_C(1) << 28) /* of a pickle, and again of what it builds */
#define PUMIT__PICKLE_MOST_DEPTH 200
#define PUMIT__PICKLE_MOST_VALUES                                                                  \
    (INT64_C(1) << 26) /* shared ones counted as often as they are held */

typedef enum {
    PUMIT__PICKLE_NONE,
    PUMIT__PICKLE_BOOL,  /* integer */
    PUMIT__PICKLE_INT,   /* integer */
    PUMIT__PICKLE_FLOAT, /* real */
    PUMIT__PICKLE_TEXT,  /* text, `count` bytes and a NUL */
    PUMIT__PICKLE_BYTES, /* text, `count` bytes inside the pickle, no NUL */
    PUMIT__PICKLE_TUPLE, /* items, `count` of them */
    PUMIT__PICKLE_LIST,  /* the same */
    PUMIT__PICKLE_DICT,  /* items: key, value, key, value; `count` of them */
    PUMIT__PICKLE_NAME,  /* text: "module.name" of a class or function; `count` bytes of module */
    PUMIT__PICKLE_STORAGE,
    PUMIT__PICKLE_TENSOR,
    PUMIT__PICKLE_SKIPPED /* an object of any other class */
} pumit__pickle_kind;

/* An array of a file beside the pickle. */
typedef struct {
    const char *key;
    pumit_dtype dtype; /* 0: of a type that is not read */
    int64_t count;     /* elements */
} pumit__pickle_storage;

/* A view of a storage, inside it; strides and offset in elements, all >= 0. */
typedef struct {
    const pumit__pickle_storage *storage;
    int64_t offset, extent; /* elements from the first to behind the last; 0 if it has none */
    int32_t ndim;
    int64_t shape[PUMIT_MAX_DIMS], stride[PUMIT_MAX_DIMS];
} pumit__pickle_tensor;

typedef struct pumit__pickle_value {
    pumit__pickle_kind kind;
    int32_t depth;  /* containers inside one another, this one counted */
    int64_t values; /* itself and all that it holds */
    bool held;      /* by a container or object */
    int64_t count, capacity;
    union {
        int64_t integer;
        double real;
        const char *text;
        struct pumit__pickle_value **items;
        const pumit__pickle_storage *storage;
        const pumit__pickle_tensor *tensor;
    };
} pumit__pickle_value;

typedef struct pumit__pickle pumit__pickle;

/* `data` is to stay until pumit__pickle_free(); `name` leads messages. */
pumit_status pumit__pickle_parse(pumit__pickle **out, const void *data, int64_t bytes,
                                 const char *name);
void pumit__pickle_free(pumit__pickle *pickle);

/* What the pickle is of; borrowed. */
const pumit__pickle_value *pumit__pickle_root(const pumit__pickle *pickle);

/* A dict's value under `key`, the last one; NULL if it has none, or if `dict` is none. */
const pumit__pickle_value *pumit__pickle_get(const pumit__pickle_value *dict, const char *key);

#endif
