/* SPDX-License-Identifier: Apache-2.0 */
/* What images are labelled with, and what the classes are called. */
#ifndef PUMIT_LIB_DATA_LABELS_H
#define PUMIT_LIB_DATA_LABELS_H

#include "lib/base/config.h"

#define PUMIT__MOST_LABELS 62      /* of one image: bits of a number that is not negative */
#define PUMIT__MOST_CLASS  1000000 /* largest class number */

/* A class number; or, where there are columns, bit k set: the image has label k. value -1: no label. */
typedef struct {
    int64_t value;
    int32_t columns;
} pumit__label;
#define PUMIT__NO_LABEL ((pumit__label){-1, 0})

typedef struct {
    char **names;
    int64_t count, capacity;
} pumit__class_names;

/* The class of that name, -1 if there is none. */
int64_t pumit__class_find(const pumit__class_names *classes, const char *name);
/* Adds a name unless it is there. */
pumit_status pumit__class_add(pumit__class_names *classes, const char *name);
/* Gives a class its name in place of another; classes between have none (NULL). */
pumit_status pumit__class_put(pumit__class_names *classes, int64_t i, const char *name);
void pumit__class_sort(pumit__class_names *classes);
/* `from`: a JSON array of names, or NULL. */
pumit_status pumit__class_read(pumit__class_names *classes, const cJSON *from);
pumit_status pumit__class_copy(pumit__class_names *dst, const pumit__class_names *src);
void pumit__class_free(pumit__class_names *classes);

#endif
