/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A checkpoint is the whole state of a run in one safetensors file, replaced atomically: of each part its weights as they lie in memory
 * ("PART.NAME") and its optimiser's moments ("PART.exp_avg.NAME", "PART.exp_avg_sq.NAME"), the best weights so far ("best.NAME"), the
 * losses, the recipe's own numbers, and as metadata the counters and the config. Data, masks and augmentation are functions of (seed, step), so nothing else is needed to go on bit for bit.
 */
#ifndef PUMIT_LIB_TRAIN_CHECKPOINT_H
#define PUMIT_LIB_TRAIN_CHECKPOINT_H

#include "lib/tensor/safetensors.h"
#include "lib/train/trainer.h"

pumit_status pumit__checkpoint_write(const pumit_trainer *t, const char *path);

/* The config of the run that wrote the checkpoint. */
pumit_status pumit__checkpoint_config(pumit_config **out, const pumit__safetensors *file,
                                      const char *path);

/* Takes over the state; the trainer's model and optimiser exist. */
pumit_status pumit__checkpoint_load(pumit_trainer *t, const pumit__safetensors *file,
                                    const char *path);

/* Copies the model's parameters into t->best, made on first use. */
pumit_status pumit__best_keep(pumit_trainer *t);
/* Exchanges t->best, if there is one, with the model's parameters. */
pumit_status pumit__best_swap(pumit_trainer *t);

#endif
