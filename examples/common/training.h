/* SPDX-License-Identifier: Apache-2.0 */
/* The training programs' common body: data, trainer, progress, signals, summary. */
#ifndef EXAMPLES_COMMON_TRAINING_H
#define EXAMPLES_COMMON_TRAINING_H

#include "examples/common/cli.h"

/* Options of every training program; `batch` and the like are config keys of train.h. */
#define TRAINING_OPTIONS                                                                           \
    {"output", 'o', 's', "DIR", "output", "the run's folder; required"},                           \
        {"resume", 0, 'b', NULL, "resume", "go on with the run in --output"},                      \
        {"split", 0,    's',                                                                       \
         "NAME",  NULL, "which split of .npz and .csv data: train (default), val, test, all"},     \
        {"validation", 0, 's', "PATH", NULL, "images to judge by; may be repeated"},               \
        {"weight", 0, 's', "PATTERN=X", NULL, "draw images of matching names X times as often"},   \
        {"steps", 'n', 'i', "N", "train.steps", "steps to train"},                                 \
        {"batch", 'b', 'i', "N", "train.batch", "images a step"},                                  \
        {"accumulate", 0, 'i', "N", "train.accumulate", "batches a step, gradients averaged"},     \
        {"learning-rate", 'l', 'n', "X", "train.learning_rate", "highest learning rate"},          \
        {"warmup", 0, 'i', "N", "train.warmup", "steps of rising learning rate"},                  \
        {"weight-decay", 0, 'n', "X", "train.weight_decay", "decoupled weight decay"},             \
        {"checkpoint-every", 0, 'i', "N", "train.checkpoint_every", "steps between checkpoints"},  \
        {"validate-every", 0, 'i', "N", "train.validate_every", "steps between validations"},      \
    {                                                                                              \
        "seed", 0, 'i', "N", "train.seed", "of weights, data and masks"                            \
    }

/* Parts of what there is to learn from, as pumit_dataset_subset() makes them. */
#define SUBSET_OPTIONS                                                                             \
    {"labels", 0, 'n', "X", "subset.labels", "learn from this share of the images, such as 0.1"},  \
        {"folds", 0, 'i', "K", "subset.folds", "judge by one of K folds, learn from the others"},  \
        {"fold", 0, 'i', "I", "subset.fold", "that fold: 0 (default) to K - 1"},                   \
    {                                                                                              \
        "subset-seed", 0, 'i', "N", "subset.seed", "of --labels and --folds (default: --seed)"     \
    }

/* Trains by the recipe; the exit status. Before it is called, c->config may be completed. */
int training_run(cli *c, const char *recipe);

#endif
