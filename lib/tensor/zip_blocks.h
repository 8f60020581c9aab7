/* SPDX-License-Identifier: Apache-2.0 */
/* The files of a zip archive as blocks of memory: where the archive is mapped if they are stored, inflated if compressed. */
#ifndef PUMIT_LIB_ZIP_BLOCKS_H
#define PUMIT_LIB_ZIP_BLOCKS_H

#include "lib/base/base.h"

typedef struct pumit__zip pumit__zip;

pumit_status pumit__zip_open(pumit__zip **out, const char *path);
/* Also takes the blocks away. NULL is fine. */
void pumit__zip_close(pumit__zip *zip);

int64_t pumit__zip_count(const pumit__zip *zip);
/* NULL if it has none that can be read. */
const char *pumit__zip_name(const pumit__zip *zip, int64_t i);
/* The number of the file of that name, -1 if absent. */
int64_t pumit__zip_find(const pumit__zip *zip, const char *name);
/* As the archive's directory says; -1 if it does not. */
int64_t pumit__zip_bytes(const pumit__zip *zip, int64_t i);

/* The content of file i, pumit__zip_bytes() long; borrowed. */
pumit_status pumit__zip_block(const unsigned char **out, pumit__zip *zip, int64_t i);

/* A part of a block was read and will not be soon: the archive's pages may leave this process. */
void pumit__zip_forget(const pumit__zip *zip, int64_t i, int64_t offset, int64_t bytes);

#endif
