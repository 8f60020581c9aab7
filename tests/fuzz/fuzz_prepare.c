/* SPDX-License-Identifier: Apache-2.0 */
/* An image of any format on its way into a prepared set, which is read then. */
#include "tests/fuzz/fuzz.h"

#include "lib/base/config.h"

#include <stdlib.h>

static void read_set(const char *folder)
{
    pumit_dataset *set;
    fuzz_require(pumit_dataset_open(&set, fuzz_context(), 1, &folder, NULL) == PUMIT_OK,
                 "a set that was prepared can be opened");
    for (int64_t i = 0; i < pumit_dataset_count(set); i++) {
        const pumit_volume *volume = pumit_dataset_volume(set, i);
        int64_t shape[4];
        const float *voxels = pumit_volume_voxels(volume);
        fuzz_require(voxels != NULL, "its images can be read");
        pumit_volume_shape(volume, shape);
        for (int64_t k = 0; k < shape[0] * shape[1] * shape[2] * shape[3]; k++)
            fuzz_require(voxels[k] >= 0 && voxels[k] <= 1, "their intensities are 0 to 1");
    }
    pumit_dataset_release(set);
}

static void prepare(const char *path, const char *json)
{
    char *report;
    const char *folder = fuzz_path("set");
    pumit_config *options = fuzz_config(json), *said;
    fuzz_require(pumit_config_set_string(options, "output", folder) == PUMIT_OK, "an option");
    if (fuzz_took(pumit_prepare(&report, fuzz_context(), 1, &path, options, NULL, NULL))) {
        int64_t images;
        said = fuzz_config(report);
        fuzz_require(pumit_config_get_int(&images, said, "images", 0) == PUMIT_OK, "a report");
        if (images > 0) read_set(folder);
        pumit_config_release(said);
        pumit_free(report);
    }
    pumit_config_release(options);
    fuzz_remove(folder);
}

int fuzz_prepare(const uint8_t *data, size_t bytes)
{
    const char *path = fuzz_file("scan", data, bytes);
    prepare(path, "{\"threads\":1}");
    prepare(path, "{\"threads\":1,\"foreground\":false,\"allow_nan\":true,\"most_side\":8}");
    return 0;
}

FUZZ_TARGET(fuzz_prepare)
