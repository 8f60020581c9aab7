/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/data/labels.h"

#include <stdlib.h>
#include <string.h>

#define MOST_NAMES 4096

int64_t pumit__class_find(const pumit__class_names *classes, const char *name)
{
    for (int64_t i = 0; i < classes->count; i++)
        if (classes->names[i] && strcmp(classes->names[i], name) == 0) return i;
    return -1;
}

pumit_status pumit__class_put(pumit__class_names *classes, int64_t i, const char *name)
{
    char *const copy = pumit__strdup(name);
    if (!copy ||
        !pumit__grow(&classes->names, &classes->capacity, i + 1, (int64_t)sizeof *classes->names)) {
        free(copy);
        return pumit__fail_memory((int64_t)strlen(name), "names of classes");
    }
    while (classes->count <= i) classes->names[classes->count++] = NULL;
    free(classes->names[i]);
    classes->names[i] = copy;
    return PUMIT_OK;
}

pumit_status pumit__class_add(pumit__class_names *classes, const char *name)
{
    if (pumit__class_find(classes, name) >= 0) return PUMIT_OK;
    if (classes->count == MOST_NAMES)
        return pumit__fail(PUMIT_ERROR_LIMIT,
                           "more than %d different labels such as \"%s\": they are no classes",
                           MOST_NAMES, name);
    return pumit__class_put(classes, classes->count, name);
}

static int compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

void pumit__class_sort(pumit__class_names *classes)
{
    if (classes->count > 0)
        qsort(classes->names, (size_t)classes->count, sizeof *classes->names, compare);
}

pumit_status pumit__class_read(pumit__class_names *classes, const cJSON *from)
{
    PUMIT__REQUIRE(!from || cJSON_IsArray(from), "class_names: is no list of names");
    for (const cJSON *item = from ? from->child : NULL; item; item = item->next) {
        PUMIT__REQUIRE(cJSON_IsString(item), "class_names: holds what is no name");
        PUMIT__REQUIRE(pumit__class_find(classes, item->valuestring) < 0,
                       "class_names: \"%s\" stands there twice", item->valuestring);
        PUMIT__TRY(pumit__class_add(classes, item->valuestring));
    }
    return PUMIT_OK;
}

pumit_status pumit__class_copy(pumit__class_names *dst, const pumit__class_names *src)
{
    for (int64_t i = 0; i < src->count; i++)
        if (src->names[i]) PUMIT__TRY(pumit__class_put(dst, i, src->names[i]));
    return PUMIT_OK;
}

void pumit__class_free(pumit__class_names *classes)
{
    for (int64_t i = 0; i < classes->count; i++) free(classes->names[i]);
    free(classes->names);
    *classes = (pumit__class_names){0};
}
