/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/base/base.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

bool pumit__multiply(int64_t *out, int64_t a, int64_t b)
{
    return a >= 0 && b >= 0 && !__builtin_mul_overflow(a, b, out);
}

bool pumit__add_sizes(int64_t *out, int64_t a, int64_t b)
{
    return a >= 0 && b >= 0 && !__builtin_add_overflow(a, b, out);
}

void *pumit__calloc(int64_t count, int64_t size)
{
    int64_t bytes;
    if (!pumit__multiply(&bytes, count, size)) return NULL;
    return calloc(bytes ? (size_t)bytes : 1, 1); /* NULL must mean out of memory */
}

bool pumit__grow(void *block, int64_t *capacity, int64_t needed, int64_t size)
{
    if (needed <= *capacity) return true;
    int64_t bytes, larger = *capacity < 8 ? 8 : *capacity;
    while (larger < needed)
        if (!pumit__multiply(&larger, larger, 2)) return false;
    if (!pumit__multiply(&bytes, larger, size)) return false;
    void *old;
    memcpy(&old, block, sizeof old); /* block is the address of a pointer of any type */
    void *moved = realloc(old, (size_t)bytes);
    if (!moved) return false;
    memcpy(block, &moved, sizeof moved);
    *capacity = larger;
    return true;
}

char *pumit__strdup(const char *text)
{
    const size_t bytes = strlen(text) + 1;
    char *copy = malloc(bytes);
    if (copy) memcpy(copy, text, bytes);
    return copy;
}

char *pumit__format(const char *format, ...)
{
    char *text = NULL;
    va_list args;
    va_start(args, format);
    const int length = vasprintf(&text, format, args);
    va_end(args);
    return length < 0 ? NULL : text;
}
