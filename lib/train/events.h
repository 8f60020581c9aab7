/* SPDX-License-Identifier: Apache-2.0 */
/* TensorBoard's event files. Every function takes NULL for a run that keeps none, and then does nothing. */
#ifndef PUMIT_LIB_TRAIN_EVENTS_H
#define PUMIT_LIB_TRAIN_EVENTS_H

#include "lib/base/base.h"

typedef struct pumit__events pumit__events;

/* A new file in `folder`, which TensorBoard reads after those that lie there; what they hold of steps after `step` is void. */
pumit_status pumit__events_open(pumit__events **out, const char *folder, int64_t step);
void pumit__events_close(pumit__events *events);

/* Each appends one record, flushed; a failure names the file. */
pumit_status pumit__events_text(pumit__events *events, int64_t step, const char *tag,
                                const char *markdown);
/* The figures of a line of metrics.jsonl: "train/NAME", "train/NAME/INDEX" of an array, "validation/NAME". */
pumit_status pumit__events_figures(pumit__events *events, int64_t step, const char *line);
/* The bytes of the PNG file `path`. */
pumit_status pumit__events_picture(pumit__events *events, int64_t step, const char *tag,
                                   const char *path);

/* CRC-32C (RFC 3720, B.4). */
uint32_t pumit__crc32c(const void *data, int64_t bytes);

#endif
