/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A checkpoint is the whole state of a run in one safetensors file, written atomically: of each part its weights as they lie in memory
 * ("PART.NAME") and its optimiser's moments ("PART.exp_avg.NAME", "PART.exp_avg_sq.NAME"), the best weights so far ("best.NAME"), their
 * moving average ("ema.NAME"), the losses, the recipe's own numbers, and as metadata the counters, the config and a checksum of the values. Data, masks and augmentation are functions of (seed, step), so nothing else is needed to go on bit for bit.
 */
#ifndef PUMIT_LIB_TRAIN_CHECKPOINT_H
#define PUMIT_LIB_TRAIN_CHECKPOINT_H

#include "lib/tensor/safetensors.h"
#include "lib/train/trainer.h"

pumit_status pumit__checkpoint_write(const pumit_trainer *t, const char *path);

/* Opens a file that is a checkpoint and still holds what was written. */
pumit_status pumit__checkpoint_open(pumit__safetensors **out, const char *path);

/* The config of the run that wrote the checkpoint. */
pumit_status pumit__checkpoint_config(pumit_config **out, const pumit__safetensors *file,
                                      const char *path);

/* The weights of a part, for a module of the same configuration. */
pumit_status pumit__checkpoint_weights(pumit_module *module, const char *part,
                                       const pumit__safetensors *file, const char *path);

/* Takes over the state; the trainer's model and optimiser exist. */
pumit_status pumit__checkpoint_load(pumit_trainer *t, const pumit__safetensors *file,
                                    const char *path);

#endif
