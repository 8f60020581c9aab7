/* SPDX-License-Identifier: Apache-2.0 */
/* A file as read-only memory. It must not shrink while it is open. */
#ifndef PUMIT_LIB_MAPPED_H
#define PUMIT_LIB_MAPPED_H

#include "lib/base/base.h"

typedef struct {
    const unsigned char *data; /* NULL: none is open */
    int64_t bytes;             /* at least 1 */
} pumit__mapped;

/* Refuses what is no regular file, and an empty one. */
pumit_status pumit__mapped_open(pumit__mapped *out, const char *path);
void pumit__mapped_close(pumit__mapped *file);

/* A part that was read will not be read soon: its pages may leave this process, and come back when read again. */
void pumit__mapped_forget(const pumit__mapped *file, const void *part, int64_t bytes);

#endif
