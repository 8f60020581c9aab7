/* SPDX-License-Identifier: Apache-2.0 */
/* An array by itself, and as the images or labels of an archive whose checksums are right. */
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>

int fuzz_npy(const uint8_t *data, size_t bytes)
{
    fuzz_image(fuzz_file("array.npy", data, bytes));
    const fuzz_member alone = {"val_images.npy", data, bytes};
    fuzz_image(fuzz_zip("array.npz", &alone, 1));
    size_t image_bytes;
    uint8_t *images = fuzz_array(&image_bytes, "|u1", "(2, 2, 2)", "01234567", 8);
    const fuzz_member labelled[] = {{"test_images.npy", images, image_bytes},
                                    {"test_labels.npy", data, bytes}};
    fuzz_image(fuzz_zip("array.npz", labelled, 2));
    free(images);
    return 0;
}

FUZZ_TARGET(fuzz_npy)
