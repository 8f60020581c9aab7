/* SPDX-License-Identifier: Apache-2.0 */
/* What a new model starts from, "init" of the config: a model file, a checkpoint, a run directory, or weights of others. */
#ifndef PUMIT_LIB_TRAIN_INIT_H
#define PUMIT_LIB_TRAIN_INIT_H

#include "lib/tensor/safetensors.h"
#include "lib/train/trainer.h"

typedef enum {
    PUMIT__INIT_NONE,       /* random weights */
    PUMIT__INIT_MODEL,      /* a file of pumit_module_save() */
    PUMIT__INIT_CHECKPOINT, /* of a run */
    PUMIT__INIT_FOREIGN     /* as pumit_module_import() takes, without a configuration */
} pumit__init_kind;

typedef struct {
    pumit__init_kind kind;
    char *path;               /* of the file */
    pumit__safetensors *file; /* of a checkpoint; NULL: another kind */
    pumit_config *section;    /* its model's configuration */
    const char *part;         /* leads its model's weights' names: PART.NAME */
} pumit__init;

/* Finds out what "init" names: a run directory stands for its model.safetensors, else for its newest checkpoint. `name`: the section
 * of a checkpoint's config that the model is made of. A run that is resumed has no init. Release with pumit__init_close(). */
pumit_status pumit__init_open(pumit__init *out, const pumit_trainer *t, const char *name);
void pumit__init_close(pumit__init *init);

/* Gives a model that was just made its weights, from a checkpoint or from others, and logs what was taken. Of
 * PUMIT__INIT_NONE and _MODEL, which need none, it does nothing. */
pumit_status pumit__init_fill(const pumit__init *init, pumit_trainer *t, pumit_module *module);

/* Makes t->vit so; with "from_scratch" of the configuration alone. `complete` (may be NULL) adds to the section of a new one. */
pumit_status pumit__init_vit(pumit_trainer *t,
                             pumit_status (*complete)(pumit_config *section, pumit_trainer *t));

#endif
