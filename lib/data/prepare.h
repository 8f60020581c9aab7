/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of preparing images: one image, one source, the folder. */
#ifndef PUMIT_LIB_DATA_PREPARE_H
#define PUMIT_LIB_DATA_PREPARE_H

#include "lib/data/prepared.h"
#include "lib/data/source.h"
#include "lib/data/volume.h"

#include <pumit/prepare.h>

#include <cjson/cJSON.h>

typedef struct {
    const char *output;
    const cJSON *modality; /* string, list of [pattern, name], or NULL */
    int64_t threads, most_side, most_bytes;
    double hold_out;
    double threshold; /* of the foreground; NAN: to be found */
    bool crop, allow_nan;
} pumit__prepare_options;

/* ----------------------------------------------------------------------------------------- one image */

typedef struct {
    uint16_t *voxels; /* (C, D, H, W), as stored; free() it */
    int64_t shape[4], origin_shape[3];
    double spacing[3], affine[16], origin_affine[16];
    double least, most, mean, deviation; /* of the source */
    double low, high;                    /* what became 0 and 1 */
} pumit__prepared_image;

pumit_status pumit__prepare_image(pumit__prepared_image *out, const pumit_volume *volume,
                                  const pumit__prepare_options *options);
/* Writes its .npy, whole or not at all. */
pumit_status pumit__prepare_write(const pumit__prepared_image *image, const char *path);

/* ---------------------------------------------------------------------------------------- one source */

/* Size and time of a file, of both for a .hdr/.img pair. */
typedef struct {
    int64_t bytes;
    char time[40];
} pumit__fingerprint;
pumit_status pumit__fingerprint_of(pumit__fingerprint *out, const char *path);

/* What came of a source. */
typedef struct {
    pumit__csv_text rows;    /* whole lines */
    pumit__csv_text skipped; /* path, NUL, reason, NUL, ... of images that were left out */
    int64_t images;
} pumit__prepared_source;
void pumit__prepared_source_free(pumit__prepared_source *result);

/* Reads all images and writes their .npy. *fatal: it is not the source's fault. A source that fails leaves no rows. */
pumit_status pumit__prepare_source(pumit__prepared_source *out, bool *fatal,
                                   const pumit_context *limits, const pumit__source *source,
                                   const char *origin, const pumit__prepare_options *options);

/* ---------------------------------------------------------------------------------------- the folder */

#define PUMIT__SKIPPED_TABLE "skipped.csv"
#define PUMIT__SET_SETTINGS  "settings.json"

/* Makes the folder where it is not, and locks it. PUMIT_ERROR_STATE if it is in use, or not a set that pumit_prepare() made. */
pumit_status pumit__set_open(int *lock, const char *folder);

/* Keeps what images are made with in PUMIT__SET_SETTINGS, or compares it with what is kept: PUMIT_ERROR_STATE if it differs. */
pumit_status pumit__set_settings(const pumit__prepare_options *options);

/* The rows of sources that are complete, by key. */
pumit_status pumit__set_read(pumit__prepared_table *out, const char *folder);
/* Replaces the table by these rows; those without a key are left out. */
pumit_status pumit__set_write(const pumit__prepared_table *table, const char *folder);
/* A file in the folder, whole or not at all. */
pumit_status pumit__set_write_text(const char *folder, const char *name,
                                   const pumit__csv_text *text);
/* Removes temporary files; with a `table` also .npy files that it does not name. */
pumit_status pumit__set_clean(const char *folder, const pumit__prepared_table *table);
/* Adds lines at the end, durably; all or none. */
pumit_status pumit__set_append(int fd, const pumit__csv_text *rows, const char *folder);

#endif
