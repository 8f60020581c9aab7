/* SPDX-License-Identifier: Apache-2.0 */
/* What the targets of all image formats do with a file. */
#include "tests/fuzz/fuzz.h"

#include <math.h>
#include <string.h>

#define MOST_VOLUMES 3 /* read of one file */

static void check_geometry(const pumit_volume *volume)
{
    int64_t shape[4];
    double spacing[3], affine[16];
    pumit_volume_shape(volume, shape);
    pumit_volume_spacing(volume, spacing);
    pumit_volume_affine(volume, affine);
    for (int i = 0; i < 4; i++) fuzz_require(shape[i] >= 1, "sizes are positive");
    for (int i = 0; i < 3; i++)
        fuzz_require(spacing[i] > 0 && (i == 0 || isfinite(spacing[i])), "spacings are positive");
    for (int i = 0; i < 16; i++) fuzz_require(isfinite(affine[i]), "the affine is finite");
    const int32_t da = pumit_volume_anisotropy(volume);
    fuzz_require(da >= 0 && da <= 5, "a degree of anisotropy is 0 to 5");
}

static void check_voxels(const pumit_volume *volume)
{
    int64_t shape[4];
    pumit_volume_shape(volume, shape);
    const float *voxels = pumit_volume_voxels(volume);
    fuzz_require(voxels != NULL, "there are voxels");
    volatile float sum = 0;
    for (int64_t i = 0; i < shape[0] * shape[1] * shape[2] * shape[3]; i++) sum = sum + voxels[i];
}

/* Of one in four: it costs more than all else. */
static void make_patches(const pumit_volume *volume)
{
    int64_t shape[4];
    const int64_t patch[3] = {4, 4, 4};
    double spacing[3];
    pumit_tensor *tensor;
    pumit_volume_shape(volume, shape);
    if (shape[2] % 4 != 0) return;
    if (!fuzz_answered(
            pumit_volume_to_patches(&tensor, spacing, volume, fuzz_context(), 1, patch, 64)))
        return;
    pumit_tensor_release(tensor);
}

/* What is a label map comes back from a file on the image's grid. */
static void read_labels(const char *path, const pumit_volume *volume)
{
    pumit_label_map *map, *again;
    int64_t shape[3];
    const char *copy = fuzz_path("copy.nii");
    if (!fuzz_answered(pumit_label_map_read(&map, fuzz_context(), path, volume))) return;
    pumit_label_map_shape(map, shape);
    if (fuzz_answered(pumit_label_map_write(map, copy, NULL))) {
        fuzz_require(pumit_label_map_read(&again, fuzz_context(), copy, NULL) == PUMIT_OK,
                     "a label map that was written can be read");
        fuzz_require(memcmp(pumit_label_map_labels(map), pumit_label_map_labels(again),
                            (size_t)(shape[0] * shape[1] * shape[2])) == 0,
                     "a label map comes back as it was written");
        pumit_label_map_release(again);
    }
    pumit_label_map_release(map);
}

static void read_dataset(const char *path)
{
    static pumit_config *options;
    pumit_dataset *dataset;
    if (!options) options = fuzz_config("{\"limits\":{\"bytes\":67108864}}");
    if (!fuzz_took(pumit_dataset_open(&dataset, fuzz_context(), 1, &path, options))) return;
    fuzz_require(pumit_dataset_count(dataset) >= 1, "a dataset has images");
    pumit_dataset_release(dataset);
}

void fuzz_volumes(const char *path)
{
    int64_t count = 0;
    if (fuzz_answered(pumit_volume_file_count(&count, fuzz_context(), path)))
        fuzz_require(count >= 1, "a file has an image");
    for (int64_t i = 0; i < count && i < MOST_VOLUMES; i++) {
        pumit_volume *volume;
        if (!fuzz_took(pumit_volume_read(&volume, fuzz_context(), path, i))) break;
        check_geometry(volume);
        check_voxels(volume);
        pumit_volume_release(volume);
    }
}

void fuzz_image(const char *path)
{
    pumit_volume *volume;
    fuzz_volumes(path);
    if (fuzz_answered(pumit_volume_read(&volume, fuzz_context(), path, 0))) {
        make_patches(volume);
        read_labels(path, volume);
        pumit_volume_release(volume);
    }
    read_dataset(path);
}
