/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the machine gives at most, measured where the work that is compared with it was measured: multiplications of large matrices, and
 * copying between arrays that no cache holds.
 */
#ifndef EXAMPLES_BENCH_MACHINE_H
#define EXAMPLES_BENCH_MACHINE_H

#define MACHINE_LIBRARIES 2

/* "openblas", "onednn". Which one is faster depends on the machine, so shares are of the better one. */
extern const char *const machine_libraries[MACHINE_LIBRARIES];

/* Side of the square matrices. */
#define MACHINE_SGEMM 2048

/* Matrices, or arrays, to work on; NULL when out of memory. */
typedef struct machine machine;
machine *machine_create(int threads);
void machine_free(machine *m);

/* One product of square matrices by a library; a = b + 3 c over MACHINE_TRIAD_BYTES. */
void machine_sgemm(machine *m, int library);
void machine_triad(machine *m);

#define MACHINE_SGEMM_FLOP  (2.0 * MACHINE_SGEMM * MACHINE_SGEMM * MACHINE_SGEMM)
#define MACHINE_TRIAD_BYTES (3.0 * 4.0 * 4.0 * MACHINE_SGEMM * MACHINE_SGEMM)

/* The best of a few: FLOP/s of the faster library, bytes/s. 0 when out of memory. */
double machine_sgemm_rate(int threads);
double machine_triad_rate(int threads);

/* The processor's name, "" where the system does not tell. */
void machine_name(char *text, int bytes);

/* Seconds of a clock that never jumps. */
double machine_now(void);

/* Most memory that this process has had since it began or since machine_forget_peak(), MiB; 0 where the system does not tell. */
double machine_peak_mib(void);
void machine_forget_peak(void);

#endif
