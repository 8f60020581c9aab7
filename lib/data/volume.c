/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/data/volume.h"

#include "lib/tensor/context.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Values of an image that may come from however few bytes: label maps are often empty but for one organ. */
#define ANY_RATIO (INT64_C(1) << 28)

pumit_status pumit__check_voxels(int64_t *count, const pumit_context *ctx, const int64_t size[3],
                                 int64_t channels, const char *name)
{
    const int64_t limit = pumit__context_voxel_limit(ctx);
    int64_t product = channels;
    bool fits = channels >= 1;
    for (int i = 0; i < 3; i++)
        fits = fits && size[i] >= 1 && pumit__multiply(&product, product, size[i]);
    if (!fits || product > limit)
        return pumit__fail(PUMIT_ERROR_LIMIT,
                           "%s: %lld x %lld x %lld voxels of %lld channels are more than the %lld "
                           "allowed; raise \"limits.voxels\" to read it",
                           name, (long long)size[0], (long long)size[1], (long long)size[2],
                           (long long)channels, (long long)limit);
    *count = product;
    return PUMIT_OK;
}

pumit_status pumit__check_ratio(int64_t count, const pumit_context *ctx, int64_t file_bytes,
                                const char *name)
{
    const int64_t limit = pumit__context_ratio_limit(ctx);
    if (count <= ANY_RATIO || count / limit <= file_bytes / (int64_t)sizeof(float)) return PUMIT_OK;
    return pumit__fail(PUMIT_ERROR_LIMIT,
                       "%s: its %lld bytes would become more than %lld times as many; raise "
                       "\"limits.ratio\" to read it",
                       name, (long long)file_bytes, (long long)limit);
}

/* Turned by an involution: each voxel and the one it trades places with. */
static void flip_in_place(float *voxels, const pumit_volume *v)
{
    const int64_t *n = v->shape, channels = n[3];
    for (int64_t d = 0; d < n[0]; d++)
        for (int64_t h = 0; h < n[1]; h++)
            for (int64_t w = 0; w < n[2]; w++) {
                const int64_t to[3] = {v->flips[0] ? n[0] - 1 - d : d,
                                       v->flips[1] ? n[1] - 1 - h : h,
                                       v->flips[2] ? n[2] - 1 - w : w};
                float *const a = voxels + ((d * n[1] + h) * n[2] + w) * channels;
                float *const b = voxels + ((to[0] * n[1] + to[1]) * n[2] + to[2]) * channels;
                for (int64_t c = 0; c < channels && b > a; c++) {
                    const float value = a[c];
                    a[c] = b[c];
                    b[c] = value;
                }
            }
}

/* (size..., C) in the order of the source to that of the volume. */
static void reorder(float *dst, const float *src, const pumit_volume *v, const int64_t size[3],
                    const int32_t order[3])
{
    const int64_t channels = v->shape[3];
    const int64_t stride[3] = {size[1] * size[2] * channels, size[2] * channels, channels};
    int64_t step[3];
    for (int i = 0; i < 3; i++) {
        step[i] = v->flips[i] ? -stride[order[i]] : stride[order[i]];
        if (v->flips[i]) src += stride[order[i]] * (v->shape[i] - 1);
    }
    for (int64_t d = 0; d < v->shape[0]; d++)
        for (int64_t h = 0; h < v->shape[1]; h++) {
            const float *from = src + d * step[0] + h * step[1];
            for (int64_t w = 0; w < v->shape[2]; w++, from += step[2])
                for (int64_t c = 0; c < channels; c++) *dst++ = from[c];
        }
}

/* Takes the image's voxels, turned. */
static pumit_status take_voxels(pumit_volume *v, pumit__image *image, const int32_t order[3])
{
    if (order[0] != 0 || order[1] != 1) {
        const int64_t count = v->shape[0] * v->shape[1] * v->shape[2] * v->shape[3];
        v->voxels = malloc((size_t)count * sizeof *v->voxels);
        if (!v->voxels) return pumit__fail_memory(count * (int64_t)sizeof *v->voxels, "voxels");
        reorder(v->voxels, image->voxels, v, image->size, order);
        free(image->voxels);
    } else {
        v->voxels = image->voxels;
        if (v->flips[0] || v->flips[1] || v->flips[2]) flip_in_place(v->voxels, v);
    }
    image->voxels = NULL;
    return PUMIT_OK;
}

static void set_flat_geometry(pumit_volume *volume)
{
    /* d, h, w step along z, y, x: a picture knows no more. */
    static const double flat[16] = {0, 0, 1, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1};
    memcpy(volume->affine, flat, sizeof flat);
    volume->spacing[0] = INFINITY;
    volume->spacing[1] = volume->spacing[2] = 1;
}

static void set_geometry(pumit_volume *volume, const pumit__image *image, const int32_t order[3])
{
    if (image->flat) {
        set_flat_geometry(volume);
        return;
    }
    pumit__affine_reorder(volume->affine, image->affine, order);
    for (int i = 0; i < 3; i++)
        if (volume->flips[i]) pumit__affine_flip(volume->affine, i, volume->shape[i]);
    pumit__affine_spacing(volume->spacing, volume->affine);
    if (volume->shape[0] == 1) volume->spacing[0] = INFINITY;
}

pumit_status pumit__volume_adopt(pumit_volume **out, pumit__image *image)
{
    pumit_volume *volume = pumit__calloc(1, sizeof *volume);
    if (!volume) return pumit__fail_memory(sizeof *volume, "a volume");
    atomic_init(&volume->refs, 1);
    int32_t order[3] = {0, 1, 2};
    if (!image->flat) pumit__body_axes(order, volume->flips, image->affine, image->size);
    for (int i = 0; i < 3; i++) {
        volume->shape[i] = image->size[order[i]];
        volume->axes[i] = image->axes[order[i]];
    }
    volume->shape[3] = image->channels;
    volume->eight_bit = image->eight_bit;
    volume->guessed = image->guessed;
    volume->source = image->source;
    set_geometry(volume, image, order);
    pumit_status status = pumit_degree_of_anisotropy(&volume->anisotropy, volume->spacing);
    if (status == PUMIT_OK) status = take_voxels(volume, image, order);
    if (status != PUMIT_OK) {
        pumit_volume_release(volume);
        return status;
    }
    *out = volume;
    return PUMIT_OK;
}

pumit_status pumit_volume_create(pumit_volume **out, pumit_context *context, pumit_dtype dtype,
                                 const int64_t size[3], int64_t channels, const void *data,
                                 const double *affine)
{
    PUMIT__REQUIRE(out && context && size && data, "pumit_volume_create: an argument is NULL");
    *out = NULL;
    const pumit__element kind = pumit__element_of_dtype(dtype);
    PUMIT__REQUIRE(kind != PUMIT__ELEMENT_NONE, "pumit_volume_create: unknown type %d", (int)dtype);
    for (int i = 0; i < 3; i++)
        PUMIT__REQUIRE(size[i] >= 1, "pumit_volume_create: size %lld along axis %d is not positive",
                       (long long)size[i], i);
    PUMIT__REQUIRE(channels >= 1, "pumit_volume_create: %lld channels", (long long)channels);
    PUMIT__REQUIRE(affine || size[0] == 1,
                   "pumit_volume_create: without an affine the image is 2D and size[0] must be 1, "
                   "not %lld",
                   (long long)size[0]);
    if (affine)
        PUMIT__REQUIRE(affine[12] == 0 && affine[13] == 0 && affine[14] == 0 && affine[15] == 1 &&
                           pumit__affine_is_good(affine),
                       "pumit_volume_create: the affine is singular or not finite, or its last row "
                       "is not 0 0 0 1");
    int64_t count;
    PUMIT__TRY(pumit__check_voxels(&count, context, size, channels, "pumit_volume_create"));
    pumit__image image = {.size = {size[0], size[1], size[2]},
                          .channels = channels,
                          .axes = {0, 1, 2},
                          .flat = !affine,
                          .eight_bit = dtype == PUMIT_U8};
    if (affine) memcpy(image.affine, affine, sizeof image.affine);
    image.voxels = pumit__calloc(count, sizeof(float));
    if (!image.voxels) return pumit__fail_memory(count * (int64_t)sizeof(float), "voxels");
    pumit__elements_to_float(image.voxels, data, count, kind, false, 1, 0);
    const pumit_status status = pumit__volume_adopt(out, &image);
    free(image.voxels);
    return status;
}

pumit_volume *pumit__volume_retain(pumit_volume *volume)
{
    atomic_fetch_add_explicit(&volume->refs, 1, memory_order_relaxed);
    return volume;
}

void pumit_volume_release(pumit_volume *volume)
{
    if (!volume || atomic_fetch_sub_explicit(&volume->refs, 1, memory_order_acq_rel) != 1) return;
    free(volume->voxels);
    free(volume->file);
    free(atomic_load(&volume->decoded));
    free(volume);
}

void pumit_volume_shape(const pumit_volume *volume, int64_t shape[4])
{
    memcpy(shape, volume->shape, sizeof volume->shape);
}

void pumit_volume_spacing(const pumit_volume *volume, double spacing[3])
{
    memcpy(spacing, volume->spacing, sizeof volume->spacing);
}

int32_t pumit_volume_anisotropy(const pumit_volume *volume)
{
    return volume->anisotropy;
}

void pumit_volume_affine(const pumit_volume *volume, double affine[16])
{
    memcpy(affine, volume->affine, sizeof volume->affine);
}

void pumit_volume_source_axes(const pumit_volume *volume, int32_t axes[3])
{
    memcpy(axes, volume->axes, sizeof volume->axes);
}

const char *pumit_volume_modality(const pumit_volume *volume)
{
    return volume->modality;
}

/* Two threads may decode at once; the first to end is kept. */
static const float *decode(const pumit_volume *volume)
{
    static const int64_t start[3] = {0, 0, 0};
    static const pumit__window whole = {0, 1};
    const int64_t *s = volume->shape;
    float *voxels = pumit__calloc(s[0] * s[1] * s[2], s[3] * (int64_t)sizeof *voxels),
          *other = NULL;
    if (!voxels) {
        pumit__fail_memory(s[0] * s[1] * s[2] * s[3] * (int64_t)sizeof *voxels, volume->file);
        return NULL;
    }
    if (pumit__volume_box(voxels, volume, &whole, start, s, s[3]) != PUMIT_OK) {
        free(voxels);
        return NULL;
    }
    /* The place is a cache: filling it does not change the volume. */
    _Atomic(float *) *place = (_Atomic(float *) *)(uintptr_t)&volume->decoded;
    if (atomic_compare_exchange_strong(place, &other, voxels)) return voxels;
    free(voxels);
    return other;
}

const float *pumit_volume_voxels(const pumit_volume *volume)
{
    if (volume->voxels) return volume->voxels;
    const float *decoded = atomic_load(&volume->decoded);
    return decoded ? decoded : decode(volume);
}
