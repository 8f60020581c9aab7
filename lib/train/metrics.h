/* SPDX-License-Identifier: Apache-2.0 */
/* metrics.jsonl: one JSON object a step, each line on its way to the file when the step ends. */
#ifndef PUMIT_LIB_TRAIN_METRICS_H
#define PUMIT_LIB_TRAIN_METRICS_H

#include "lib/base/base.h"

/* Opens for appending, without the lines of steps after `step`: a stopped run repeats those. Creates the file if absent. */
pumit_status pumit__metrics_open(FILE **out, const char *path, int64_t step);

/* Appends `line` and a newline, flushed; a failure names `folder`. */
pumit_status pumit__metrics_write(FILE *file, const char *folder, const char *line);

#endif
