/* SPDX-License-Identifier: Apache-2.0 */
/* A lone .npy as an image: a picture, or a volume of 1 mm cubes. */
#include "lib/data/npy.h"
#include "lib/data/volume.h"

#include "lib/tensor/context.h"

#include <stdlib.h>
#include <string.h>

#define MOST_HEAD 65536 /* bytes; larger ones are no images' */

static pumit_status choose_layout(pumit__image *out, const pumit__array *a, const char *path)
{
    const int64_t *s = a->shape;
    const bool picture =
        a->ndim == 2 || (a->ndim == 3 && s[2] == 3 && a->kind == PUMIT__ELEMENT_U8);
    const bool solid = a->ndim == 3 || (a->ndim == 4 && (s[3] == 1 || s[3] == 3));
    *out = (pumit__image){.channels = 1, .axes = {0, 1, 2}, .flat = picture};
    out->eight_bit = a->kind == PUMIT__ELEMENT_U8;
    if (!picture && !solid)
        return pumit__fail(PUMIT_ERROR_FORMAT,
                           "%s: is not of shape (H, W), (H, W, 3) of bytes, (D, H, W) or "
                           "(D, H, W, 1 or 3)",
                           path);
    for (int i = 0; i < 3; i++) out->size[i] = picture ? (i == 0 ? 1 : s[i - 1]) : s[i];
    if (picture && a->ndim == 3) out->channels = 3;
    if (a->ndim == 4) out->channels = s[3];
    out->affine[2] = out->affine[5] = out->affine[8] = out->affine[15] = 1;
    return PUMIT_OK;
}

/* Shape and type, if the file has just the bytes that they need. */
static pumit_status parse(pumit__array *out, const uint8_t *bytes, int64_t count, const char *path)
{
    int64_t needed;
    const int64_t head = count >= PUMIT__NPY_PREFIX ? pumit__npy_head_bytes(bytes) : 0;
    if (head <= PUMIT__NPY_PREFIX || head > count)
        return pumit__fail(PUMIT_ERROR_FORMAT, "%s: its numpy header is damaged or truncated",
                           path);
    PUMIT__TRY(pumit__npy_parse(out, bytes, head, path));
    if (!pumit__multiply(&needed, out->count, pumit__element_size(out->kind)) ||
        needed != count - head)
        return pumit__fail(PUMIT_ERROR_FORMAT,
                           "%s: its shape does not fit its %lld bytes; copy it again", path,
                           (long long)count);
    out->bytes = (uint8_t *)(uintptr_t)bytes + head;
    return PUMIT_OK;
}

static pumit_status make_volume(pumit_volume **out, const pumit_context *ctx, const pumit__array *a,
                                const char *path)
{
    pumit__image image;
    int64_t count;
    PUMIT__TRY(choose_layout(&image, a, path));
    PUMIT__TRY(pumit__check_voxels(&count, ctx, image.size, image.channels, path));
    image.voxels = pumit__calloc(count, sizeof(float));
    if (!image.voxels) return pumit__fail_memory(count * (int64_t)sizeof(float), path);
    for (int64_t i = 0; i < a->shape[0]; i++)
        pumit__array_item(image.voxels + i * pumit__array_item_count(a), a, i);
    const pumit_status status = pumit__volume_adopt(out, &image);
    free(image.voxels);
    return status;
}

pumit_status pumit__npy_read(pumit_volume **out, const pumit_context *ctx,
                             const pumit__sniffed *file)
{
    char *bytes;
    int64_t count;
    pumit__array a;
    /* No type is wider than 8 bytes: refused before its bytes fill the memory. */
    if ((file->file_bytes - MOST_HEAD) / 8 > pumit__context_voxel_limit(ctx))
        return pumit__fail(PUMIT_ERROR_LIMIT,
                           "%s: its %lld bytes are of more voxels than the %lld allowed; raise "
                           "\"limits.voxels\" to read it",
                           file->path, (long long)file->file_bytes,
                           (long long)pumit__context_voxel_limit(ctx));
    PUMIT__TRY(pumit__read_file(&bytes, &count, file->path, INT64_MAX / 2));
    pumit_status status = parse(&a, (const uint8_t *)bytes, count, file->path);
    if (status == PUMIT_OK) status = make_volume(out, ctx, &a, file->path);
    free(bytes);
    return status;
}
