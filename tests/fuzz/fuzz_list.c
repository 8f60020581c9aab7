/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of images: "a.npy" and "b.npy" are there. */
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>

static void open_list(const char *path, const char *json)
{
    pumit_config *options = fuzz_config(json);
    pumit_dataset *dataset;
    char *files;
    if (fuzz_took(pumit_dataset_open(&dataset, fuzz_context(), 1, &path, options))) {
        fuzz_require(pumit_dataset_count(dataset) >= 1, "a dataset has images");
        pumit_dataset_release(dataset);
    }
    if (fuzz_answered(pumit_dataset_files(&files, 1, &path, options))) pumit_free(files);
    pumit_config_release(options);
}

int fuzz_list(const uint8_t *data, size_t bytes)
{
    char *text = fuzz_text(data, bytes);
    fuzz_picture("a.npy");
    fuzz_picture("b.npy");
    const char *list = fuzz_file("list.csv", text, bytes);
    open_list(list, "{}");
    open_list(list, "{\"split\":\"val\"}");
    open_list(list, "{\"label_maps\":true,\"class_names\":[\"x\",\"y\"]}");
    open_list(fuzz_file("list.txt", text, bytes), "{}");
    free(text);
    return 0;
}

FUZZ_TARGET(fuzz_list)
