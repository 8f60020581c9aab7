/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The run directory: who works in it, and its checkpoints, checkpoints/step-NNNNNNNNN.safetensors.
 *
 * The latest "train.keep_last" of them stay, and those at multiples of "train.keep_every". A new one is whole on disk before an older
 * one goes, so there is always one to go on from.
 */
#ifndef PUMIT_LIB_TRAIN_RUN_FOLDER_H
#define PUMIT_LIB_TRAIN_RUN_FOLDER_H

#include "lib/tensor/safetensors.h"
#include "lib/train/trainer.h"

/* Makes the directory and takes its lock, which t->lock holds until the trainer goes; PUMIT_ERROR_STATE while another process has it. */
pumit_status pumit__run_lock(pumit_trainer *t);

/* Removes what a killed process left half-written. Only under the lock. */
pumit_status pumit__run_clean(const pumit_trainer *t);

/* Opens the newest checkpoint of a run directory that is whole; broken ones are told. *file and *path stay NULL if there never was one;
 * PUMIT_ERROR_FORMAT if all are broken. */
pumit_status pumit__run_newest(pumit__safetensors **file, char **path, pumit_context *ctx,
                               const char *run);

/* Writes the state of t->step, then removes what need not be kept. */
pumit_status pumit__run_save(pumit_trainer *t);

#endif
