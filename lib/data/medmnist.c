/* SPDX-License-Identifier: Apache-2.0 */
/* MedMNIST-style archives: SPLIT_images (N, H, W), (N, H, W, 3) or (N, D, H, W), and SPLIT_labels (N) or (N, 1). */
#include "lib/data/dataset.h"
#include "lib/data/npy.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static pumit_status fail_shape(const char *path, const char *key)
{
    return pumit__fail(PUMIT_ERROR_FORMAT,
                       "%s: %s is not of shape (N, H, W), (N, H, W, 3) or (N, D, H, W)", path, key);
}

/* The layout of one image; its voxels are still to come. */
static pumit_status choose_layout(pumit__image *out, const pumit__array *a, const char *path,
                                  const char *key)
{
    if (a->ndim != 3 && a->ndim != 4) return fail_shape(path, key);
    for (int64_t i = 0; i < a->ndim; i++)
        if (a->shape[i] < 1) return fail_shape(path, key);
    const bool colour = a->ndim == 4 && a->shape[3] == 3, solid = a->ndim == 4 && !colour;
    *out = (pumit__image){.size = {solid ? a->shape[1] : 1, a->shape[a->ndim - (colour ? 3 : 2)],
                                   a->shape[a->ndim - (colour ? 2 : 1)]},
                          .channels = colour ? 3 : 1,
                          .axes = {0, 1, 2},
                          .flat = !solid,
                          .eight_bit = a->kind == PUMIT__ELEMENT_U8};
    /* 1 mm along z, y, x, so that the first axis stays the slice axis. */
    out->affine[2] = out->affine[5] = out->affine[8] = out->affine[15] = 1;
    return PUMIT_OK;
}

static pumit_status check_labels(const pumit__array *labels, int64_t images, const char *path,
                                 const char *key)
{
    if ((labels->ndim == 1 || (labels->ndim == 2 && labels->shape[1] == 1)) &&
        labels->shape[0] == images)
        return PUMIT_OK;
    return pumit__fail(PUMIT_ERROR_UNSUPPORTED,
                       "%s: %s is not of shape (%lld) or (%lld, 1): one label an image", path, key,
                       (long long)images, (long long)images);
}

static pumit_status label_of(int64_t *out, const pumit__array *labels, int64_t i, const char *path)
{
    float value;
    pumit__array_item(&value, labels, i);
    if (!(value >= 0 && value < 1e6f) || value != floorf(value))
        return pumit__fail(PUMIT_ERROR_FORMAT, "%s: label %lld is %g, no class number", path,
                           (long long)i, (double)value);
    *out = (int64_t)value;
    return PUMIT_OK;
}

static pumit_status add_image(pumit_dataset *dataset, const pumit__image *layout,
                              const pumit__array *images, int64_t i, const char *path,
                              const char *split, int64_t label)
{
    pumit__image image = *layout;
    pumit_volume *volume;
    char *name = pumit__format("%s[%s %lld]", path, split, (long long)i);
    image.voxels = pumit__calloc(pumit__array_item_count(images), sizeof(float));
    pumit_status status = PUMIT_OK;
    if (!name || !image.voxels) {
        status = pumit__fail_memory(pumit__array_item_count(images) * 4, path);
        goto out;
    }
    pumit__array_item(image.voxels, images, i);
    PUMIT__GO(pumit__volume_adopt(&volume, &image));
    PUMIT__GO(pumit__dataset_push(dataset, volume, name, label));
out:
    free(image.voxels);
    free(name);
    return status;
}

static pumit_status add_images(pumit_dataset *dataset, const pumit__array *images,
                               const pumit__array *labels, const char *path, const char *split,
                               int64_t fallback)
{
    pumit__image layout;
    int64_t voxels;
    PUMIT__TRY(choose_layout(&layout, images, path, split));
    PUMIT__TRY(pumit__check_voxels(&voxels, dataset->ctx, layout.size, layout.channels, path));
    if (labels) PUMIT__TRY(check_labels(labels, images->shape[0], path, split));
    for (int64_t i = 0; i < images->shape[0]; i++) {
        int64_t label = fallback;
        if (labels) PUMIT__TRY(label_of(&label, labels, i, path));
        PUMIT__TRY(add_image(dataset, &layout, images, i, path, split, label));
    }
    return PUMIT_OK;
}

static pumit_status add_split(pumit_dataset *dataset, bool *found, const char *path,
                              const char *split, int64_t fallback)
{
    char key[32];
    bool labelled = false;
    pumit__array images = {0}, labels = {0};
    pumit_status status;
    snprintf(key, sizeof key, "%s_images", split);
    PUMIT__GO(pumit__npz_read(&images, found, path, key, dataset->most_bytes));
    if (!*found) goto out;
    snprintf(key, sizeof key, "%s_labels", split);
    PUMIT__GO(pumit__npz_read(&labels, &labelled, path, key, dataset->most_bytes));
    PUMIT__GO(add_images(dataset, &images, labelled ? &labels : NULL, path, split, fallback));
out:
    pumit__array_free(&images);
    pumit__array_free(&labels);
    return status;
}

pumit_status pumit__dataset_add_npz(pumit_dataset *dataset, const char *path, int64_t label)
{
    static const char *const splits[] = {"train", "val", "test"};
    bool any = false;
    for (int64_t i = 0; i < PUMIT__COUNT(splits); i++) {
        bool found = false;
        if (dataset->split && strcmp(dataset->split, splits[i]) != 0) continue;
        PUMIT__TRY(add_split(dataset, &found, path, splits[i], label));
        any = any || found;
    }
    if (any) return PUMIT_OK;
    return pumit__fail(PUMIT_ERROR_FORMAT,
                       "%s: has no \"%s_images\"%s: not an archive of MedMNIST's layout", path,
                       dataset->split ? dataset->split : "train",
                       dataset->split ? "" : ", \"val_images\" or \"test_images\"");
}
