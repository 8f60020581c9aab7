/* SPDX-License-Identifier: Apache-2.0 */
/* Real files with bits turned, bytes changed, cut, repeated or mixed with another file of their kind. */
#ifndef PUMIT_TESTS_MUTATE_H
#define PUMIT_TESTS_MUTATE_H

#include "tests/fuzz/fuzz.h"

typedef struct {
    const char *target; /* name of the target */
    fuzz_target run;
    char *name; /* of the file, owned */
    uint8_t *data;
    size_t bytes;
} seed;

typedef struct {
    seed *items;
    int count;
} seeds;

/* Adds the files of tests/fuzz/corpus, or, of a folder with real files, each that a target's endings fit. */
void seeds_add_corpus(seeds *list, const char *source);
void seeds_add_folder(seeds *list, const char *folder);
void seeds_free(seeds *list);

/* Mutant `n`, the same whenever it is asked for; every target has the same share. free() it. */
uint8_t *mutant(size_t *bytes, const seeds *list, int64_t n);
/* The file that it was. */
const seed *mutant_of(const seeds *list, int64_t n);

#endif
