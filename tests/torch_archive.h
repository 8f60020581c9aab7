/* SPDX-License-Identifier: Apache-2.0 */
/* Zip archives as checkpoints are, of any content. */
#ifndef PUMIT_TESTS_TORCH_ARCHIVE_H
#define PUMIT_TESTS_TORCH_ARCHIVE_H

#include <stdbool.h>
#include <stddef.h>

typedef struct {
    const char *name; /* NULL ends a list */
    const void *data;
    size_t bytes;
    bool deflated;
} archive_member;

void archive_write(const char *path, const archive_member *members);
void archive_write_raw(const char *path, const void *data, size_t bytes);

#endif
