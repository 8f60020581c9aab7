/* SPDX-License-Identifier: Apache-2.0 */
/* Results: a row is a case at a number of threads by one program, gathered over rounds; written as JSON and read again; told as a table. */
#ifndef EXAMPLES_BENCH_ROWS_H
#define EXAMPLES_BENCH_ROWS_H

#include "examples/common/cli.h"

#define ROWS_MOST_RUNS 101

typedef struct {
    char name[128], by[48]; /* "libpumit", or what a peer calls itself */
    int threads, batch, runs;
    double seconds[ROWS_MOST_RUNS]; /* the median of each run */
    double sgemm[ROWS_MOST_RUNS];   /* GFLOP/s in the run's process; 0: not measured */
    double triad[ROWS_MOST_RUNS];   /* GB/s likewise */
    double best, peak;              /* seconds, MiB, of all runs */
    double weights, gradients;      /* MiB */
    double gflop, gbyte;            /* of a call; 0: not counted */
} row;

#define ROWS_MOST 1000

typedef struct {
    char machine[96]; /* its processor */
    row *row;
    int count;
} rows;

/* Joins a run, a line as bench_case_run() and bench/kernels print it; false if it is none. */
bool rows_add(rows *all, const char *line);
void rows_free(rows *all);

/* A number of a row: the median over the runs. */
double row_seconds(const row *r);
double row_sgemm(const row *r);
/* Of the machine's limit: the least time that its products take at the sgemm rate, or its bytes at the triad's if that is longer,
 * by the time it took; 0 if neither is counted. */
double row_share(const row *r);

/* The row of the same case and threads, NULL if there is none. */
const row *rows_find(const rows *all, const row *like, const char *by);

/* NULL when out of memory. */
cJSON *rows_json(const rows *all);

/* Reads a file that holds such JSON, or lines as above. CLI_FAILED after a message. */
int rows_read(rows *out, const cli *c, const char *path);

/* All rows of libpumit, those of peers beside them, and how long they took in `before`, if that is not NULL. */
void rows_print(const rows *all, const rows *before);
/* The same for a document; of a peer how many times longer it takes and its memory. */
void rows_print_markdown(const rows *all);

#endif
