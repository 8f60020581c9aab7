/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/fuzz.h"

int fuzz_jpeg(const uint8_t *data, size_t bytes)
{
    fuzz_image(fuzz_file("picture.jpg", data, bytes));
    return 0;
}

FUZZ_TARGET(fuzz_jpeg)
