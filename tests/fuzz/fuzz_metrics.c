/* SPDX-License-Identifier: Apache-2.0 */
/* The lines of metrics.jsonl, which a run that goes on cuts behind its checkpoint. */
#include "tests/fuzz/fuzz.h"

#include "lib/train/metrics.h"

#include <stdio.h>

int fuzz_metrics(const uint8_t *data, size_t bytes)
{
    FILE *file;
    if (!fuzz_took(pumit__metrics_open(&file, fuzz_file("metrics.jsonl", data, bytes), 3)))
        return 0;
    const long at = ftell(file);
    fuzz_require(at >= 0 && at <= (long)bytes, "lines are cut off, none is added");
    fclose(file);
    return 0;
}

FUZZ_TARGET(fuzz_metrics)
