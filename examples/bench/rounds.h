/* SPDX-License-Identifier: Apache-2.0 */
/* Rounds: every case in a process of its own, peers in turn with it, all of them before the next round begins. */
#ifndef EXAMPLES_BENCH_ROUNDS_H
#define EXAMPLES_BENCH_ROUNDS_H

#include "examples/bench/cases.h"
#include "examples/bench/rows.h"

typedef struct {
    const cli *c;
    char **argv; /* of this program: the processes of its cases get the same options */
    int argc;
    int runs;
    double seconds;
    bool full;
    const char *only; /* part of the names of the cases that are wanted */
    int threads[2];   /* 0: none */
    /* After each case, so that a call that is interrupted leaves what there is; CLI_FAILED ends it. */
    int (*save)(const cli *c, const rows *all);
} rounds;

/* Fills `all`, progress on stderr. CLI_FAILED if a case failed; the others are there. */
int rounds_run(rows *all, const rounds *r);

#endif
