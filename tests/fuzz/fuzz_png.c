/* SPDX-License-Identifier: Apache-2.0 */
/* PNG as it is, and with the checksums of its chunks put right, as libpng looks at nothing behind a wrong one. */
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define AROUND 12 /* bytes of length, type and checksum */

static uint32_t read_32(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static void mend(uint8_t *png, size_t bytes)
{
    for (size_t at = 8; bytes >= at + AROUND;) {
        const size_t length = read_32(png + at);
        if (length > bytes - at - AROUND) return;
        const uint32_t crc = (uint32_t)crc32(0, png + at + 4, (uInt)length + 4);
        for (int i = 0; i < 4; i++)
            png[at + 8 + length + (size_t)i] = (uint8_t)(crc >> (24 - 8 * i));
        at += AROUND + length;
    }
}

int fuzz_png(const uint8_t *data, size_t bytes)
{
    fuzz_image(fuzz_file("picture.png", data, bytes));
    uint8_t *mended = malloc(bytes + 1);
    fuzz_require(mended != NULL, "memory");
    memcpy(mended, data, bytes);
    mend(mended, bytes);
    if (memcmp(mended, data, bytes) != 0) fuzz_image(fuzz_file("picture.png", mended, bytes));
    free(mended);
    return 0;
}

FUZZ_TARGET(fuzz_png)
