/* SPDX-License-Identifier: Apache-2.0 */
/* The built programs, run from tests. */
#ifndef PUMIT_TESTS_PROGRAM_H
#define PUMIT_TESTS_PROGRAM_H

#include <sys/types.h>

/* In $PUMIT_BIN, or in "bin" beside the folder that the runner lies in. A static buffer. */
const char *program_path(const char *program);

/* Starts words[0], a program's name, with the other words up to NULL; what it prints goes to the files "stdout" and "stderr". */
pid_t program_start(char **words);

#endif
