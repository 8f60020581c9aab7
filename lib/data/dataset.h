/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of a dataset. */
#ifndef PUMIT_LIB_DATA_DATASET_H
#define PUMIT_LIB_DATA_DATASET_H

#include "lib/data/label_map.h"
#include "lib/data/labels.h"

#include <pumit/dataset.h>

typedef struct {
    pumit_volume *volume;
    char *name;
    pumit__label label;
    pumit_label_map *label_map; /* NULL: none */
    double weight;              /* how often the sampler draws it beside others; 1 unless told */
} pumit__dataset_item;

struct pumit_dataset {
    pumit_context *ctx; /* while opening only */
    pumit__dataset_item *items;
    int64_t count, capacity, skipped, classes;
    int64_t lacking;           /* of those skipped: archives that do not have the split */
    int32_t columns;           /* labels that an image may have at once; 0: each has one class */
    pumit__class_names names;  /* of the classes; none: unknown */
    int64_t described;         /* while opening only: classes of a dataset.json; 0: not told */
    int64_t bytes, most_bytes; /* of voxels */
    const char *split;         /* while opening only: "train", "val", "test", or NULL for all */
    const cJSON *weights;      /* while opening only: rules [pattern, factor], or NULL */
    const cJSON *given_names;  /* while opening only: of classes, or NULL */
    bool labelled;             /* an image has a label: `columns` is known */
    bool full;                 /* the byte limit was met: no reason to go on */
    char reason[256];          /* why the last file was skipped */
    pumit_status failed;       /* the same, as a status */
};

/* Takes item's `volume` and `label_map`, on failure too; copies its name. The rules for weights count on top of its weight. */
pumit_status pumit__dataset_push(pumit_dataset *dataset, const pumit__dataset_item *item);

/* A number of the images' names, weights and order: another one, another set of images. */
uint64_t pumit__dataset_digest(const pumit_dataset *dataset);

/* After a file failed: PUMIT_OK if it was skipped, counted and logged, else the status, which stops all. */
pumit_status pumit__dataset_skip(pumit_dataset *dataset, pumit_status status);

/* The images of a prepared folder that are of the dataset's split. `label` stands for missing ones. */
pumit_status pumit__dataset_add_prepared(pumit_dataset *dataset, const char *folder,
                                         pumit__label label, double weight);

#endif
