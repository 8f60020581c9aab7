/* SPDX-License-Identifier: Apache-2.0 */
/* The cases of pumit-bench: kinds of work, each with its images and batch sizes; and one of them measured by this process. */
#ifndef EXAMPLES_BENCH_CASES_H
#define EXAMPLES_BENCH_CASES_H

#include "examples/bench/work.h"
#include "examples/common/cli.h"

typedef struct {
    char name[64]; /* "mim-step-vit-b-da0-batch4" */
    const work_kind *kind;
    const work_crop *crop;
    int batch;
    bool full; /* of --full alone */
} bench_case;

/* Case i = 0, 1, ...; false after the last one. */
bool bench_case_at(bench_case *out, int i);
bool bench_case_find(bench_case *out, const char *name);

/*
 * Does the case in this process, `budget` seconds long but at least once, after a call that does not count, and prints what was found as a
 * line of JSON: "case", "threads", "batch", "seconds" (of a call, the median) and "best", "peak_mib", "weights_mib", "gradients_mib", where counted
 * "gflop" and "gbyte", and of the same process "sgemm_gflops" and "triad_gbs". Gives the exit status.
 */
int bench_case_run(const cli *c, const bench_case *of, int threads, double budget);

#endif
