/* SPDX-License-Identifier: Apache-2.0 */
/* Images of different shapes and degrees of anisotropy in one run of the transformer: their sequences lie end to end, each attends to
 * itself alone, nothing is padded (NaViT, Dehghani et al. 2023). */
#include "lib/models/vit_internal.h"

#include <stdlib.h>

/* All parts along an axis one after the other, by halves, so that a row is copied log2(count) times. */
static pumit_tensor *join(pumit_tensor *const *parts, int64_t count, int32_t axis)
{
    if (count == 1 || !parts[0]) return parts[0];
    pumit_context *const ctx = parts[0]->ctx;
    const int64_t half = count / 2, mark = pumit__scope_begin(ctx);
    pumit_tensor *first = join(parts, half, axis), *second = join(parts + half, count - half, axis);
    return pumit__scope_end(ctx, mark, pumit__concat(first, second, axis));
}

/* The angles of n sequences of one grid, each with a row in front whose every number is `still`: (n (1 + L), head_dim / 2). */
static pumit_tensor *angles_of(pumit_tensor *table, double still, int64_t n)
{
    const int64_t half = table->shape[1], length = 1 + table->shape[0];
    const int64_t one[2] = {1, half}, all[3] = {n, length, half}, flat[2] = {n * length, half};
    pumit_tensor *class_row = pumit__affine(pumit__zeros(table->ctx, 0, 2, one), 1.0, still);
    return pumit__reshape(pumit__expand(pumit__concat(class_row, table, 0), 3, all), 2, flat);
}

/* The sequences of one group of images: rows, cosine, sine; and the length of each. */
static pumit_status lay_group(pumit_tensor *parts[3], int64_t *length, pumit_vit *vit,
                              const pumit__vit_images *images)
{
    int64_t grid[3];
    const int64_t mark = pumit__scope_begin(vit->module.ctx);
    pumit_tensor *t = pumit__vit_image_tokens(vit, images->image, images->da, grid);
    t = pumit__scope_end(vit->module.ctx, mark, pumit__vit_with_class(vit, t));
    const pumit__vit_angles *angles = t ? pumit__vit_angles_of(vit, grid) : NULL;
    if (!angles) return pumit__last_status();
    const int64_t n = t->shape[0], flat[3] = {1, n * t->shape[1], vit->dim};
    *length = t->shape[1];
    parts[0] = pumit__reshape(t, 3, flat);
    parts[1] = angles_of(angles->cosine, 1.0, n);
    parts[2] = angles_of(angles->sine, 0.0, n);
    return parts[0] && parts[1] && parts[2] ? PUMIT_OK : pumit__last_status();
}

/* parts: (3, count), of rows, cosines, sines; lengths: (count). */
static pumit_status lay_end_to_end(pumit__vit_pack *out, pumit_vit *vit,
                                   const pumit__vit_images *images, int64_t count,
                                   pumit_tensor **parts, int64_t *lengths)
{
    int64_t sequences = 0;
    for (int64_t i = 0; i < count; i++) {
        pumit_tensor *made[3];
        PUMIT__TRY(lay_group(made, &lengths[i], vit, &images[i]));
        for (int64_t k = 0; k < 3; k++) parts[k * count + i] = made[k];
        sequences += images[i].image->shape[0];
    }
    const int64_t ends = sequences + 1;
    out->rows = join(parts, count, 1);
    out->cosine = join(parts + count, count, 0);
    out->sine = join(parts + 2 * count, count, 0);
    out->offsets = pumit__empty(vit->module.ctx, PUMIT_I64, 1, &ends);
    if (!out->rows || !out->cosine || !out->sine || !out->offsets) return pumit__last_status();
    int64_t *offset = pumit__data(out->offsets), at = 0;
    for (int64_t i = 0; i < count; i++)
        for (int64_t n = 0; n < images[i].image->shape[0]; n++, at += lengths[i]) *offset++ = at;
    *offset = at;
    return PUMIT_OK;
}

pumit_status pumit__vit_pack_images(pumit__vit_pack *out, pumit_vit *vit,
                                    const pumit__vit_images *images, int64_t count)
{
    pumit_tensor **parts = pumit__calloc(3 * count, (int64_t)sizeof *parts);
    int64_t *lengths = pumit__calloc(count, (int64_t)sizeof *lengths);
    const pumit_status status = parts && lengths
                                    ? lay_end_to_end(out, vit, images, count, parts, lengths)
                                    : pumit__fail_memory(32 * count, "a batch");
    free(parts);
    free(lengths);
    return status;
}

pumit_tensor *pumit__vit_pack_hidden(pumit_vit *vit, const pumit__vit_pack *pack)
{
    pumit_context *const ctx = vit->module.ctx;
    const int64_t mark = pumit__scope_begin(ctx); /* what comes out of a block goes after its use */
    pumit_tensor *x = pack->rows;
    for (int64_t i = 0; i < vit->depth; i++) {
        x = pumit__vit_block_forward(vit, i, x, pack->cosine, pack->sine, NULL, pack->offsets);
        x = pumit__scope_end(ctx, mark, x);
    }
    return pumit__vit_final_norm(vit, x);
}

pumit_tensor *pumit__vit_pack_pooled(const pumit_vit *vit, const pumit__vit_pack *pack,
                                     pumit_tensor *hidden)
{
    if (!hidden) return NULL;
    const int64_t count = pack->offsets->shape[0] - 1, *offsets = pumit__data(pack->offsets);
    pumit_tensor **vectors = pumit__calloc(count, (int64_t)sizeof *vectors), *out = NULL;
    if (!vectors) {
        pumit__fail_memory(count * (int64_t)sizeof *vectors, "a batch");
        return NULL;
    }
    int64_t made = 0;
    for (; made < count; made++) {
        pumit_tensor *own =
            pumit__slice(hidden, 1, offsets[made], offsets[made + 1] - offsets[made]);
        vectors[made] = pumit__vit_pooled(vit, own);
        if (!vectors[made]) break;
    }
    if (made == count) out = join(vectors, count, 0);
    free(vectors);
    return out;
}

/* ----------------------------------------------------------------------------------------- embedding */

/* A volume's image: new reference. */
static pumit_status take_volume(pumit__vit_images *out, const pumit_vit *vit,
                                const pumit_volume *volume)
{
    double spacing[3];
    PUMIT__TRY(pumit__vit_prepare(&out->image, spacing, vit, volume));
    return pumit_degree_of_anisotropy(&out->da, spacing);
}

/* The images go as soon as they are tokens. */
static pumit_status take_volumes(pumit__vit_pack *pack, pumit_vit *vit, int64_t count,
                                 const pumit_volume *const *volumes)
{
    pumit__vit_images *images = pumit__calloc(count, (int64_t)sizeof *images);
    if (!images) return pumit__fail_memory(count * (int64_t)sizeof *images, "a batch");
    pumit_status status = PUMIT_OK;
    for (int64_t i = 0; i < count && status == PUMIT_OK; i++) {
        status = take_volume(&images[i], vit, volumes[i]);
        if (count > 1) status = pumit__fail_in(status, "volume %lld", (long long)i);
    }
    if (status == PUMIT_OK) status = pumit__vit_pack_images(pack, vit, images, count);
    for (int64_t i = 0; i < count; i++) pumit_tensor_release(images[i].image);
    free(images);
    return status;
}

pumit_status pumit_vit_embed_packed(pumit_tensor **out, pumit_vit *vit, int64_t count,
                                    const pumit_volume *const *volumes)
{
    PUMIT__REQUIRE(out && vit && volumes, "pumit_vit_embed_packed: an argument is NULL");
    *out = NULL;
    PUMIT__REQUIRE(count >= 1, "pumit_vit_embed_packed: %lld volumes", (long long)count);
    for (int64_t i = 0; i < count; i++)
        PUMIT__REQUIRE(volumes[i], "pumit_vit_embed_packed: volume %lld is NULL", (long long)i);
    pumit__vit_pack pack;
    pumit_context *const ctx = vit->module.ctx;
    const int64_t mark = pumit__scope_begin(ctx);
    pumit_tensor *vectors = NULL;
    if (take_volumes(&pack, vit, count, volumes) == PUMIT_OK)
        vectors = pumit__vit_pack_pooled(vit, &pack, pumit__vit_pack_hidden(vit, &pack));
    return pumit__scope_return(out, ctx, mark, vectors);
}

pumit_status pumit_vit_embed(pumit_tensor **out, pumit_vit *vit, const pumit_volume *volume)
{
    PUMIT__REQUIRE(out && vit && volume, "pumit_vit_embed: an argument is NULL");
    return pumit_vit_embed_packed(out, vit, 1, &volume);
}
