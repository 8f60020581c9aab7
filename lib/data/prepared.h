/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A prepared set: a folder with images-meta.csv, a row an image, and data/KEY.npy, float16 (C, D, H, W) in [0, 1]. The table is the only state
 * that counts: what no row names is not there.
 */
#ifndef PUMIT_LIB_DATA_PREPARED_H
#define PUMIT_LIB_DATA_PREPARED_H

#include "lib/data/csv.h"

#define PUMIT__PREPARED_TABLE "images-meta.csv"
#define PUMIT__PREPARED_DATA  "data"

/* Columns in the order in which they are written; read in any. */
#define PUMIT__PREPARED_COLUMNS(X)                                                                 \
    X(KEY, "key")                                                                                  \
    X(MODALITY, "modality")                                                                        \
    X(SHAPE_0, "shape-0")                                                                          \
    X(SHAPE_1, "shape-1")                                                                          \
    X(SHAPE_2, "shape-2")                                                                          \
    X(SPACE_0, "space-0")                                                                          \
    X(SPACE_1, "space-1")                                                                          \
    X(SPACE_2, "space-2")                                                                          \
    X(CHANNELS, "channels")                                                                        \
    X(WEIGHT, "weight")                                                                            \
    X(COLLECTION, "collection")                                                                    \
    X(SPLIT, "split")                                                                              \
    X(LABEL, "label")                                                                              \
    X(MIN, "min")                                                                                  \
    X(MAX, "max")                                                                                  \
    X(MEAN, "mean")                                                                                \
    X(STD, "std")                                                                                  \
    X(LOW, "low")                                                                                  \
    X(HIGH, "high")                                                                                \
    X(ORIGIN, "origin")                                                                            \
    X(VOLUME, "volume")                                                                            \
    X(VOLUMES, "volumes")                                                                          \
    X(BYTES, "bytes")                                                                              \
    X(MTIME, "mtime")                                                                              \
    X(ORIGIN_SHAPE, "origin-shape")                                                                \
    X(ORIGIN_AFFINE, "origin-affine")                                                              \
    X(AFFINE, "affine")

#define X(name, text) PUMIT__COLUMN_##name,
typedef enum { PUMIT__PREPARED_COLUMNS(X) PUMIT__COLUMN_COUNT } pumit__prepared_column;
#undef X

typedef struct {
    const char *fields[PUMIT__COLUMN_COUNT]; /* "" where the table lacks the column */
} pumit__prepared_row;

typedef struct {
    char *text; /* what the fields point into */
    pumit__prepared_row *rows;
    int64_t count, capacity;
} pumit__prepared_table;

/* True if `path` is a set: a folder with a table, or the table itself. */
bool pumit__prepared_is(const char *path);
/* The folder of such a path; NULL when out of memory. Free with free(). */
char *pumit__prepared_folder(const char *path);

/* All rows that were written to their end. Of rows with the same key the last counts. Rows keep the file's order. */
pumit_status pumit__prepared_read(pumit__prepared_table *out, const char *folder);
void pumit__prepared_free(pumit__prepared_table *table);

/* The line of column names, without line break. */
void pumit__prepared_header(pumit__csv_text *out);

/* Path of a row's voxels, and how many bytes lie before the first one; fails if the file is missing or shorter than its row says. */
pumit_status pumit__prepared_file(char **path, int64_t *offset, const char *folder,
                                  const pumit__prepared_row *row);

#endif
