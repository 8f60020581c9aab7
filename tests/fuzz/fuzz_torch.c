/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/fuzz.h"

int fuzz_torch(const uint8_t *data, size_t bytes)
{
    fuzz_weights(fuzz_file("weights.pt", data, bytes));
    return 0;
}

FUZZ_TARGET(fuzz_torch)
