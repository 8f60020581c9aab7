/* SPDX-License-Identifier: Apache-2.0 */
/* Progress of a training run on stderr: a bar on a terminal, now and then a plain line elsewhere. */
#ifndef EXAMPLES_COMMON_PROGRESS_H
#define EXAMPLES_COMMON_PROGRESS_H

#include "examples/common/cli.h"

typedef struct {
    const cli *c;
    const char *unit;         /* what is counted: "step" unless set after progress_start() */
    int64_t step;             /* the last one */
    double previous, printed; /* seconds: of the last step, of the last output */
    double each;              /* smoothed seconds of a step */
    int64_t skipped;
    bool terminal, open; /* open: a bar without newline stands on the terminal */
} progress;

void progress_start(progress *p, const cli *c);

/* A pumit_progress_fn; `user` is the progress. */
int32_t progress_step(void *user, int64_t step, int64_t max_steps, const char *metrics);

/* Ends the bar's line. */
void progress_end(progress *p);

#endif
