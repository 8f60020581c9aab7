/* SPDX-License-Identifier: Apache-2.0 */
/* Short training runs of every recipe on small images, for the tests of training. */
#ifndef PUMIT_TESTS_RUNS_H
#define PUMIT_TESTS_RUNS_H

#include "lib/train/trainer.h"
#include "tests/image_files.h"

#define STEPS 7 /* of a run */

typedef struct {
    pumit_context *ctx;
    pumit_dataset *train, *validation;
    pumit_config *config;
    pumit_trainer *trainer;
} run;

/* Fixture: "set", images of two degrees of anisotropy, and "labelled.npz" with splits train and val. */
void runs_setup(void);

/* An image of thick slices. */
void runs_write_thick(const char *name, int seed);

pumit_dataset *runs_data(pumit_context *ctx, const char *name, const char *split);
pumit_config *runs_config(const char *recipe, const char *output);
/* Data and configuration; the trainer comes with runs_create(). */
run runs_open(const char *recipe, const char *output);
pumit_status runs_create(run *r);
void runs_close(run *r);

/* A progress function that stops at step *user. */
int32_t runs_stop_at(void *user, int64_t step, int64_t max_steps, const char *metrics);
/* Runs to the end, or to `stop` if positive. `key`: one more JSON setting, or NULL. */
void runs_whole(const char *recipe, const char *output, int64_t stop, bool resume, const char *key,
                const char *value);

/* The losses of metrics.jsonl, which must be of steps 1, 2, ... */
int runs_losses(double losses[STEPS], const char *output);
void runs_check_same(const char *a, const char *b);
bool runs_exists(const char *name);
/* A run that is stopped and resumed ends as one that was not. */
void runs_check_resume(const char *recipe, int64_t stop, const char *key, const char *value);

#endif
