/* SPDX-License-Identifier: Apache-2.0 */
/* A dataset.json: images with their label maps. */
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>

int fuzz_pairs(const uint8_t *data, size_t bytes)
{
    static pumit_config *options;
    pumit_dataset *dataset;
    char *text = fuzz_text(data, bytes), *files;
    if (!options) options = fuzz_config("{\"label_maps\":true}");
    fuzz_picture("a.npy");
    const char *path = fuzz_file("dataset.json", text, bytes);
    free(text);
    if (fuzz_took(pumit_dataset_open(&dataset, fuzz_context(), 1, &path, options)))
        pumit_dataset_release(dataset);
    if (fuzz_answered(pumit_dataset_files(&files, 1, &path, options))) pumit_free(files);
    return 0;
}

FUZZ_TARGET(fuzz_pairs)
