/* SPDX-License-Identifier: Apache-2.0 */
/* The table of a prepared set, whose image "a" is there: (1, 2, 3, 2) of float16. */
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <sys/stat.h>

static void write_image(void)
{
    static const uint8_t ones[24] = {0, 0x3c, 0, 0x3c, 0, 0x3c, 0, 0x3c, 0, 0x3c, 0, 0x3c,
                                     0, 0x3c, 0, 0x3c, 0, 0x3c, 0, 0x3c, 0, 0x3c, 0, 0x3c};
    size_t bytes;
    uint8_t *array = fuzz_array(&bytes, "<f2", "(1, 2, 3, 2)", ones, sizeof ones);
    mkdir(fuzz_path("data"), 0700);
    fuzz_file("data/a.npy", array, bytes);
    free(array);
}

int fuzz_table(const uint8_t *data, size_t bytes)
{
    static pumit_config *options;
    pumit_dataset *dataset;
    char *text = fuzz_text(data, bytes);
    if (!options) options = fuzz_config("{\"weights\":[[\"*a*\",2]]}");
    write_image();
    const char *path = fuzz_file("images-meta.csv", text, bytes);
    free(text);
    if (!fuzz_took(pumit_dataset_open(&dataset, fuzz_context(), 1, &path, options))) return 0;
    for (int64_t i = 0; i < pumit_dataset_count(dataset); i++) {
        const pumit_volume *volume = pumit_dataset_volume(dataset, i);
        fuzz_took(pumit_volume_voxels(volume) ? PUMIT_OK : PUMIT_ERROR_FORMAT);
    }
    pumit_dataset_release(dataset);
    return 0;
}

FUZZ_TARGET(fuzz_table)
