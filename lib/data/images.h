/* SPDX-License-Identifier: Apache-2.0 */
/* The images of a file one after the other: volumes of a 4D file, members of an archive, or the one that there is. */
#ifndef PUMIT_LIB_DATA_IMAGES_H
#define PUMIT_LIB_DATA_IMAGES_H

#include "lib/data/labels.h"
#include "lib/data/volume.h"

typedef struct pumit__archive pumit__archive;

typedef struct {
    const pumit_context *ctx;
    pumit__sniffed file;
    pumit__nifti *nifti;
    pumit__archive *archive;
    int64_t next, count; /* volumes of a file; unused for an archive */
} pumit__images;

/* What the file says of an image. */
typedef struct {
    pumit__label label;
    int64_t index;     /* in the file, or in the archive's split */
    const char *split; /* of an archive, else "" */
} pumit__image_tag;

/* `split`: of archives, NULL for all. `most_bytes`: of an array in one. Close it on failure too. */
pumit_status pumit__images_open(pumit__images *out, const pumit_context *ctx, const char *path,
                                const char *split, int64_t most_bytes);
/* *out is NULL after the last. PUMIT_ERROR_NOT_FOUND: an archive has no such split. */
pumit_status pumit__images_next(pumit_volume **out, pumit__image_tag *tag, pumit__images *images);
void pumit__images_close(pumit__images *images);

/* MedMNIST-style archives; the same again. `path` is borrowed. */
pumit_status pumit__archive_open(pumit__archive **out, const pumit_context *ctx, const char *path,
                                 const char *split, int64_t most_bytes);
pumit_status pumit__archive_next(pumit_volume **out, pumit__image_tag *tag,
                                 pumit__archive *archive);
void pumit__archive_close(pumit__archive *archive);

#endif
