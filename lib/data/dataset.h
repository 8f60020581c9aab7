/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of a dataset. */
#ifndef PUMIT_LIB_DATA_DATASET_H
#define PUMIT_LIB_DATA_DATASET_H

#include "lib/base/config.h"
#include "lib/data/volume.h"

#include <pumit/dataset.h>

typedef struct {
    pumit_volume *volume;
    char *name;
    int64_t label; /* -1: none */
    double weight; /* how often the sampler draws it beside others; 1 unless told */
} pumit__dataset_item;

struct pumit_dataset {
    pumit_context *ctx; /* while opening only */
    pumit__dataset_item *items;
    int64_t count, capacity, skipped, classes;
    int64_t bytes, most_bytes; /* of voxels */
    const char *split;         /* while opening only: "train", "val", "test", or NULL for all */
    const cJSON *weights;      /* while opening only: rules [pattern, factor], or NULL */
    bool full;                 /* the byte limit was met: no reason to go on */
    char reason[256];          /* why the last file was skipped */
};

/* Takes `volume`, on failure too; copies `name`. The rules for weights count on top of `weight`. */
pumit_status pumit__dataset_push(pumit_dataset *dataset, pumit_volume *volume, const char *name,
                                 int64_t label, double weight);

/* A number of the images' names, weights and order: another one, another set of images. */
uint64_t pumit__dataset_digest(const pumit_dataset *dataset);

/* After a file failed: PUMIT_OK if it was skipped, counted and logged, else the status, which stops all. */
pumit_status pumit__dataset_skip(pumit_dataset *dataset, pumit_status status);

/* The images of a prepared folder that are of the dataset's split. `label` stands for missing ones. */
pumit_status pumit__dataset_add_prepared(pumit_dataset *dataset, const char *folder, int64_t label,
                                         double weight);

#endif
