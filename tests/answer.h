/* SPDX-License-Identifier: Apache-2.0 */
/* What the built programs answer. */
#ifndef PUMIT_TESTS_ANSWER_H
#define PUMIT_TESTS_ANSWER_H

#include <cjson/cJSON.h>
#include <stddef.h>

typedef struct {
    int status; /* of exit */
    char out[65536], err[8192];
} answer;

/* As much of a file in the test's folder as fits. */
void read_text(char *text, size_t bytes, const char *name);

/* One static answer; `line`: the program's name and its arguments, split at blanks. */
const answer *run(const char *line);
const answer *runf(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Fails unless: exit status `status`, nothing on stdout, one line on stderr that begins with the program's name and holds `part`. */
void check_line(const answer *a, int status, const char *program, const char *part);
/* Fails unless the exit status is 0. */
void check_done(const answer *a);

/* The tree that a program which is done has printed; to be deleted. */
cJSON *parsed(const answer *a);
/* Fails unless there is a number of that name. */
double number(const cJSON *tree, const char *key);

#endif
