/* SPDX-License-Identifier: Apache-2.0 */
/* NIfTI as it is, the same compressed (so that no checksum hides what is inside), and cut into a pair. */
#include "tests/fuzz/fuzz.h"

#include <string.h>

/* Bytes of the header if it is one of a pair, else 0. */
static size_t pair_header(const uint8_t *data, size_t bytes)
{
    if (bytes > 348 && memcmp(data + 344, "ni1", 4) == 0) return 348;
    return bytes > 540 && memcmp(data + 4, "ni2", 4) == 0 ? 540 : 0;
}

int fuzz_nifti(const uint8_t *data, size_t bytes)
{
    const size_t header = pair_header(data, bytes);
    fuzz_image(fuzz_file("scan.nii", data, bytes));
    if (bytes < 2 || (data[0] == 0x1f && data[1] == 0x8b)) return 0;
    fuzz_volumes(fuzz_file_gzip("scan.nii.gz", data, bytes));
    if (header == 0) return 0;
    fuzz_file("pair.img", data + header, bytes - header);
    fuzz_volumes(fuzz_file("pair.hdr", data, header));
    return 0;
}

FUZZ_TARGET(fuzz_nifti)
