/* SPDX-License-Identifier: Apache-2.0 */
/* Where images come from: files, folders, lists and patterns become one list of files. Nothing is decoded. */
#ifndef PUMIT_LIB_DATA_SOURCE_H
#define PUMIT_LIB_DATA_SOURCE_H

#include "lib/data/labels.h"

#define PUMIT__MOST_FILES  (1 << 22) /* of a dataset: some 200 bytes each are kept */
#define PUMIT__SOURCE_WORD 16        /* bytes of a split's or modality's name */

typedef struct {
    char *path; /* of a file, or of the folder of a prepared set */
    char *
        collection; /* what it belongs to: name of the folder, list or archive that was asked for */
    char *label_map; /* path of the image's label map, NULL: none */
    char split[PUMIT__SOURCE_WORD], modality[PUMIT__SOURCE_WORD]; /* "": not told */
    pumit__label label;
    double weight; /* 1 unless told */
    bool prepared;
    pumit_status status; /* not PUMIT_OK: there is nothing to read here, `reason` tells why */
    char *reason;
} pumit__source;

typedef struct {
    pumit__source *items;
    int64_t count, capacity;
    const char *split; /* lists are read for this split alone; NULL: for all */
    void (*ignored)(void *user,
                    const char *path); /* of a file that no class's folder holds; may be NULL */
    void *user;
    pumit__class_names classes; /* given, or those of the first folder or list that has names */
    const char *collection;     /* of what is being added */
} pumit__sources;

/* A file, folder, list (.txt, .csv), pattern (* ? [) or prepared set. What cannot be read inside a folder or list becomes a source with a
 * reason; fails for what concerns the whole. */
pumit_status pumit__sources_add(pumit__sources *sources, const char *path);
/* Images with label maps: a folder in one of the usual layouts, a dataset.json, or a list. *description: the tree of dataset.json, NULL if
 * there is none; release with cJSON_Delete(). */
pumit_status pumit__sources_add_pairs(pumit__sources *sources, cJSON **description,
                                      const char *path);
/* A folder of one folder per class. Names of classes, where there are none yet, become those of the folders. */
pumit_status pumit__sources_add_classes(pumit__sources *sources, const char *path);
void pumit__sources_free(pumit__sources *sources);

/* ---------------------------------------------------------------------------------- inside the list */

/* What a list says of the files of one line. */
typedef struct {
    pumit__label label;
    double weight;
    const char *split, *modality, *label_map; /* label_map: a path, NULL for none */
} pumit__source_tags;
#define PUMIT__NO_TAGS ((pumit__source_tags){PUMIT__NO_LABEL, 1, "", "", NULL})

/* A path that a list or description holds: itself if it is absolute, else beside the file. NULL when out of memory. Free with free(). */
char *pumit__source_beside(const char *list, const char *entry);

/* One more source; `status` and pumit_last_error() tell why it cannot be read, PUMIT_OK: it is still to be tried. */
pumit_status pumit__sources_push(pumit__sources *sources, const char *path,
                                 const pumit__source_tags *tags, pumit_status status);
pumit_status pumit__sources_add_folder(pumit__sources *sources, const char *path,
                                       const pumit__source_tags *tags);
pumit_status pumit__sources_add_list(pumit__sources *sources, const char *path);

#endif
