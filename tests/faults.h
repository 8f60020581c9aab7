/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls that fail on order. The linker puts these before what allocates: malloc and its kin in the library's objects and, by the
 * memory functions that they take, in cJSON and libpng; and the calls by which other libraries and threads come to be.
 */
#ifndef PUMIT_TESTS_FAULTS_H
#define PUMIT_TESTS_FAULTS_H

#include <stdbool.h>
#include <stdint.h>

/* From here on blocks are known, so that those that nobody freed can be counted. */
void faults_watch(void);

/* The n-th allocation from now fails, and with `all` those after it; 0: none does. Any thread's count. */
void faults_arm(int64_t n, bool all);
/* Allocations since they were armed. */
int64_t faults_disarm(void);

/* Blocks that were taken since faults_watch() and not freed. */
int64_t faults_live(void);
/* Number and size of the oldest such block numbered `after` or above, counted since faults_watch(); -1: none. */
int64_t faults_oldest(int64_t after, uint64_t *bytes);
/* The number that the next block gets. */
int64_t faults_next(void);
/* Calls of the system that fail, tests/faults_io.c: the library's own and those of zlib, libtiff and libzip. */
typedef enum {
    FAULT_SHORT,  /* half of the bytes, of read and write */
    FAULT_EINTR,  /* interrupted: open, read, write, fsync */
    FAULT_EIO,    /* anything */
    FAULT_ENOSPC, /* all that writes */
    FAULT_KINDS
} faults_kind;

/* The n-th call from now that this can happen to; 0: none. */
void faults_io_arm(faults_kind kind, int64_t n);
/* Such calls since. */
int64_t faults_io_disarm(void);
/* What failed last: "write". */
const char *faults_io_last(void);

/* Between the two files. */
bool faults_fails(void);
bool faults_watched(void);

/* For a debugger: stops where an allocation fails. */
void faults_here(void);

#endif
