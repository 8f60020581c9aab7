/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/data/regrid.h"

#include "lib/data/crop.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* More voxels along an axis than any limit allows; a number that a double and an int64_t both hold. */
#define MOST_LENGTH (INT64_C(1) << 62)

/* Steps this near to 1 are 1: spacings come from 32-bit headers, and equal grids should stay voxel for voxel. */
#define SAME_STEP 1e-4

void pumit__regrid_plan(int64_t size[3], double step[3], const pumit_volume *volume,
                        const double spacing[3])
{
    for (int i = 0; i < 3; i++) {
        const double length = (double)volume->shape[i];
        const bool none = !(spacing[i] > 0) || (i == 0 && isinf(volume->spacing[0]));
        const bool own = none || fabs(spacing[i] / volume->spacing[i] - 1) < SAME_STEP;
        const double wanted = own ? length : length * volume->spacing[i] / spacing[i];
        size[i] = wanted < 1.5                   ? 1
                  : wanted < (double)MOST_LENGTH ? (int64_t)(wanted + 0.5)
                                                 : MOST_LENGTH;
        step[i] = own ? 1 : spacing[i] / volume->spacing[i];
    }
}

#define LEAST_SLICES 4 /* of the thickest */

bool pumit__regrid_thicker(double thicker[3], int64_t size[3], const pumit_volume *volume,
                           const double spacing[3], int32_t k)
{
    double step[3];
    pumit__regrid_plan(size, step, volume, spacing);
    for (int i = 0; i < 3; i++) thicker[i] = volume->spacing[i] * step[i];
    if (!pumit__nearly_cubes(thicker) || size[0] >> PUMIT__THICKER < LEAST_SLICES) return false;
    thicker[0] = ldexp(thicker[0], k);
    pumit__regrid_plan(size, step, volume, thicker);
    return true;
}

bool pumit__regrid_keeps(const pumit_volume *volume, const double spacing[3])
{
    int64_t size[3];
    double step[3];
    pumit__regrid_plan(size, step, volume, spacing);
    return step[0] == 1 && step[1] == 1 && step[2] == 1;
}

/* Both grids have the same middle, so that what rounding takes or gives is shared by both ends. */
static pumit__crop plan_crop(const pumit_volume *volume, const double spacing[3])
{
    pumit__crop crop = {.gain = 1, .contrast = 1, .gamma = 1, .inverse_gamma = 1};
    pumit__regrid_plan(crop.size, crop.step, volume, spacing);
    for (int i = 0; i < 3; i++)
        crop.start[i] = ((double)volume->shape[i] - (double)crop.size[i] * crop.step[i]) / 2;
    return crop;
}

/* The geometry of the crop's voxels: their middles are at start + (i + 1/2) step in source voxels, which are counted from 1/2. */
static void set_geometry(pumit_volume *dst, const pumit_volume *src, const pumit__crop *crop)
{
    memcpy(dst->affine, src->affine, sizeof dst->affine);
    for (int row = 0; row < 3; row++)
        for (int i = 0; i < 3; i++) {
            const double first = crop->start[i] + crop->step[i] / 2 - 0.5;
            dst->affine[4 * row + 3] += src->affine[4 * row + i] * first;
            dst->affine[4 * row + i] *= crop->step[i];
        }
    for (int i = 0; i < 3; i++) {
        dst->shape[i] = crop->size[i];
        dst->spacing[i] = src->spacing[i] * crop->step[i];
    }
}

/* The volume without its voxels. */
static pumit_status make_volume(pumit_volume **out, const pumit_volume *src,
                                const pumit__crop *crop)
{
    pumit_volume *const made = pumit__calloc(1, sizeof *made);
    if (!made) return pumit__fail_memory(sizeof *made, "a volume");
    atomic_init(&made->refs, 1);
    set_geometry(made, src, crop);
    made->shape[3] = src->shape[3];
    made->normalised = true;
    *out = made;
    return pumit_degree_of_anisotropy(&made->anisotropy, made->spacing);
}

pumit_status pumit__regrid_volume(pumit_volume **out, const pumit_context *ctx,
                                  const pumit_volume *volume, const double spacing[3])
{
    const pumit__crop crop = plan_crop(volume, spacing);
    const int64_t channels = volume->shape[3];
    pumit__crop_scratch scratch = {0};
    pumit__window window;
    pumit_volume *made = NULL;
    int64_t values;
    char name[80];
    pumit_status status;
    *out = NULL;
    snprintf(name, sizeof name, "at a spacing of %g x %g x %g mm", spacing[0], spacing[1],
             spacing[2]);
    PUMIT__TRY(pumit__check_voxels(&values, ctx, crop.size, channels, name));
    PUMIT__TRY(pumit__window_of(&window, volume));
    PUMIT__GO(make_volume(&made, volume, &crop));
    made->voxels = pumit__calloc(values, sizeof *made->voxels);
    if (!made->voxels)
        PUMIT__GO(pumit__fail_memory(values * (int64_t)sizeof *made->voxels, "a volume"));
    PUMIT__GO(pumit__crop_render(made->voxels, volume, &window, &crop, channels, &scratch));
    *out = made;
    made = NULL;
out:
    pumit__crop_scratch_free(&scratch);
    pumit_volume_release(made);
    return status;
}

pumit_status pumit__regrid_labels(pumit_label_map **out, pumit_context *ctx,
                                  const pumit_label_map *map, const pumit_volume *source,
                                  const pumit_volume *target)
{
    pumit__crop crop = {0};
    PUMIT__TRY(pumit_label_map_create(out, ctx, target, NULL));
    for (int i = 0; i < 3; i++) {
        crop.size[i] = target->shape[i];
        crop.step[i] = isinf(source->spacing[i]) ? 1 : target->spacing[i] / source->spacing[i];
        crop.start[i] = ((double)source->shape[i] - (double)crop.size[i] * crop.step[i]) / 2;
    }
    pumit__crop_labels((*out)->labels, map->labels, source, &crop);
    return PUMIT_OK;
}
