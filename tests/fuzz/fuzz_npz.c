/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/fuzz.h"

int fuzz_npz(const uint8_t *data, size_t bytes)
{
    fuzz_image(fuzz_file("archive.npz", data, bytes));
    return 0;
}

FUZZ_TARGET(fuzz_npz)
