/* SPDX-License-Identifier: Apache-2.0 */
/* MedMNIST-style archives: SPLIT_images (N, H, W), (N, H, W, 3) or (N, D, H, W), and SPLIT_labels (N) or (N, 1), or
 * (N, K) of 0 and 1: which of K labels an image has. */
#include "lib/data/images.h"
#include "lib/data/npy.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const SPLITS[] = {"train", "val", "test"};

struct pumit__archive {
    const pumit_context *ctx;
    const char *path, *wanted; /* wanted: a split, NULL for all */
    int64_t most_bytes;
    int split; /* place in SPLITS of what is open; -1: nothing yet */
    bool any;  /* a split was there */
    pumit__array images, labels;
    bool labelled;
    pumit__image layout; /* of each image */
    int64_t next;        /* in images */
};

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
    const bool matrix = labels->ndim == 2;
    if ((labels->ndim == 1 || matrix) && labels->shape[0] == images &&
        (!matrix || (labels->shape[1] >= 1 && labels->shape[1] <= PUMIT__MOST_LABELS)))
        return PUMIT_OK;
    return pumit__fail(PUMIT_ERROR_UNSUPPORTED,
                       "%s: %s_labels is not of shape (%lld) or (%lld, 1): one label an image; nor "
                       "(%lld, K) with at most %d labels",
                       path, key, (long long)images, (long long)images, (long long)images,
                       PUMIT__MOST_LABELS);
}

static pumit_status label_of(pumit__label *out, const pumit__array *labels, int64_t i,
                             const char *path)
{
    float values[PUMIT__MOST_LABELS];
    const int64_t columns = labels->ndim == 2 ? labels->shape[1] : 1;
    pumit__array_item(values, labels, i);
    if (columns == 1) {
        if (!(values[0] >= 0 && values[0] <= PUMIT__MOST_CLASS) || values[0] != floorf(values[0]))
            return pumit__fail(PUMIT_ERROR_FORMAT, "%s: label %lld is %g, no class number", path,
                               (long long)i, (double)values[0]);
        *out = (pumit__label){(int64_t)values[0], 0};
        return PUMIT_OK;
    }
    *out = (pumit__label){0, (int32_t)columns};
    for (int64_t k = 0; k < columns; k++) {
        if (values[k] != 0 && values[k] != 1)
            return pumit__fail(PUMIT_ERROR_FORMAT, "%s: label %lld of image %lld is %g, not 0 or 1",
                               path, (long long)k, (long long)i, (double)values[k]);
        if (values[k] == 1) out->value |= INT64_C(1) << k;
    }
    return PUMIT_OK;
}

static pumit_status read_image(pumit_volume **out, const pumit__archive *a, int64_t i)
{
    pumit__image image = a->layout;
    const int64_t count = pumit__array_item_count(&a->images);
    image.voxels = pumit__calloc(count, sizeof(float));
    if (!image.voxels) return pumit__fail_memory(count * (int64_t)sizeof(float), a->path);
    pumit__array_item(image.voxels, &a->images, i);
    const pumit_status status = pumit__volume_adopt(out, &image);
    free(image.voxels);
    return status;
}

static void close_split(pumit__archive *a)
{
    pumit__array_free(&a->images);
    pumit__array_free(&a->labels);
    a->images = a->labels = (pumit__array){0};
    a->next = 0;
}

/* A split that is not there has no images. */
static pumit_status open_split(pumit__archive *a, const char *split)
{
    char key[32];
    bool found;
    int64_t voxels;
    close_split(a);
    snprintf(key, sizeof key, "%s_images", split);
    PUMIT__TRY(pumit__npz_read(&a->images, &found, a->ctx, a->path, key, a->most_bytes));
    if (!found) return PUMIT_OK;
    a->any = true;
    snprintf(key, sizeof key, "%s_labels", split);
    PUMIT__TRY(pumit__npz_read(&a->labels, &a->labelled, a->ctx, a->path, key, a->most_bytes));
    PUMIT__TRY(choose_layout(&a->layout, &a->images, a->path, split));
    PUMIT__TRY(pumit__check_voxels(&voxels, a->ctx, a->layout.size, a->layout.channels, a->path));
    return a->labelled ? check_labels(&a->labels, a->images.shape[0], a->path, split) : PUMIT_OK;
}

pumit_status pumit__archive_open(pumit__archive **out, const pumit_context *ctx, const char *path,
                                 const char *split, int64_t most_bytes)
{
    *out = pumit__calloc(1, sizeof **out);
    if (!*out) return pumit__fail_memory(sizeof **out, path);
    **out = (pumit__archive){
        .ctx = ctx, .path = path, .wanted = split, .most_bytes = most_bytes, .split = -1};
    return PUMIT_OK;
}

static pumit_status check_any(const pumit__archive *a)
{
    if (a->any) return PUMIT_OK;
    return pumit__fail(a->wanted ? PUMIT_ERROR_NOT_FOUND : PUMIT_ERROR_FORMAT,
                       "%s: has no \"%s_images\"%s: not an archive of MedMNIST's layout", a->path,
                       a->wanted ? a->wanted : "train",
                       a->wanted ? "" : ", \"val_images\" or \"test_images\"");
}

pumit_status pumit__archive_next(pumit_volume **out, pumit__image_tag *tag, pumit__archive *a)
{
    *out = NULL;
    while (a->split < 0 || a->next == a->images.shape[0]) {
        if (a->split + 1 == PUMIT__COUNT(SPLITS)) return check_any(a);
        const char *split = SPLITS[++a->split];
        if (a->wanted && strcmp(a->wanted, split) != 0)
            close_split(a);
        else
            PUMIT__TRY(open_split(a, split));
    }
    const int64_t i = a->next++;
    *tag = (pumit__image_tag){PUMIT__NO_LABEL, i, SPLITS[a->split]};
    if (a->labelled) PUMIT__TRY(label_of(&tag->label, &a->labels, i, a->path));
    return read_image(out, a, i);
}

void pumit__archive_close(pumit__archive *archive)
{
    if (!archive) return;
    close_split(archive);
    free(archive);
}
