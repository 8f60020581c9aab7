/* SPDX-License-Identifier: Apache-2.0 */
/* What a run directory tells: metrics.jsonl as curves, and a summary. */
#ifndef EXAMPLES_COMMON_RUN_H
#define EXAMPLES_COMMON_RUN_H

#include "examples/common/cli.h"

/* One figure over the steps; values that are not finite are NaN. */
typedef struct {
    char name[64]; /* "loss"; of a list "block_norms/3" */
    bool validation;
    double *step, *value;
    int64_t count, capacity;
} run_curve;

#define RUN_MOST_CURVES 200

typedef struct {
    const char *path; /* borrowed */
    run_curve curves[RUN_MOST_CURVES];
    int count;
    int64_t lines; /* steps that metrics.jsonl holds */
} run_log;

/* True for a directory with a metrics.jsonl. */
bool run_is(const char *path);

/* Reads metrics.jsonl; a last line that is not whole is left out. CLI_FAILED after a message. */
int run_read(run_log *out, const cli *c, const char *path);
void run_free(run_log *log);

/* The curve, NULL if the run has none of that name. */
const run_curve *run_find(const run_log *log, const char *name, bool validation);

/* Recipe, steps, losses, latest validation, skipped steps, images a second; NULL when out of memory. */
cJSON *run_summary(const run_log *log);

#endif
