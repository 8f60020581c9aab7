/* SPDX-License-Identifier: Apache-2.0 */
/* Curves of one or several runs as an SVG drawing: a panel a figure, a colour a run. */
#ifndef EXAMPLES_COMMON_PLOT_H
#define EXAMPLES_COMMON_PLOT_H

#include "examples/common/run.h"

/* Writes the drawing whole or not at all; CLI_FAILED after a message. */
int plot_write(const cli *c, const char *path, const run_log *runs, int count);

#endif
