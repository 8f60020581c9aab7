/* SPDX-License-Identifier: Apache-2.0 */
/* A file as it is; what begins with a brace is a header, to which the rest is made. */
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>

int fuzz_safetensors(const uint8_t *data, size_t bytes)
{
    size_t made_bytes;
    fuzz_weights(fuzz_file("weights.safetensors", data, bytes));
    uint8_t *made = bytes && data[0] == '{' ? fuzz_from_header(&made_bytes, data, bytes) : NULL;
    if (made) fuzz_weights(fuzz_file("weights.safetensors", made, made_bytes));
    free(made);
    return 0;
}

FUZZ_TARGET(fuzz_safetensors)
