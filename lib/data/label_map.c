/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/data/label_map.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Headers are 32 bits, and programs round: voxels this far apart are meant to be the same. */
#define MOST_APART 0.1 /* voxels */

static int64_t count_of(const pumit_label_map *map)
{
    return map->shape[0] * map->shape[1] * map->shape[2];
}

pumit_status pumit_label_map_create(pumit_label_map **out, pumit_context *context,
                                    const pumit_volume *grid, const uint8_t *labels)
{
    PUMIT__REQUIRE(out && context && grid, "pumit_label_map_create: an argument is NULL");
    *out = NULL;
    pumit_label_map *map = pumit__calloc(1, sizeof *map);
    if (!map) return pumit__fail_memory(sizeof *map, "a label map");
    atomic_init(&map->refs, 1);
    memcpy(map->shape, grid->shape, sizeof map->shape);
    memcpy(map->spacing, grid->spacing, sizeof map->spacing);
    memcpy(map->affine, grid->affine, sizeof map->affine);
    memcpy(map->axes, grid->axes, sizeof map->axes);
    memcpy(map->flips, grid->flips, sizeof map->flips);
    map->source = grid->source;
    map->labels = pumit__calloc(count_of(map), 1);
    if (!map->labels) {
        const int64_t bytes = count_of(map);
        pumit_label_map_release(map);
        return pumit__fail_memory(bytes, "a label map");
    }
    if (labels) memcpy(map->labels, labels, (size_t)count_of(map));
    *out = map;
    return PUMIT_OK;
}

pumit_label_map *pumit__label_map_retain(pumit_label_map *map)
{
    atomic_fetch_add_explicit(&map->refs, 1, memory_order_relaxed);
    return map;
}

void pumit_label_map_release(pumit_label_map *map)
{
    if (!map || atomic_fetch_sub_explicit(&map->refs, 1, memory_order_acq_rel) != 1) return;
    free(map->labels);
    free(map);
}

/* ------------------------------------------------------------------------------------------- reading */

/* How far a corner of the one grid lies from that of the other, in voxels of `grid`; at most. */
static double apart(const pumit_volume *grid, const pumit_volume *other)
{
    double most = 0, shortest = fmin(grid->spacing[1], grid->spacing[2]);
    for (int corner = 0; corner < 8; corner++)
        for (int row = 0; row < 3; row++) {
            double away = grid->affine[4 * row + 3] - other->affine[4 * row + 3];
            for (int i = 0; i < 3; i++)
                if (corner >> i & 1)
                    away += (grid->affine[4 * row + i] - other->affine[4 * row + i]) *
                            (double)(grid->shape[i] - 1);
            most = fmax(most, fabs(away));
        }
    return most / fmin(shortest, grid->spacing[0]);
}

static pumit_status check_grid(const pumit_volume *grid, const pumit_volume *found,
                               const char *path)
{
    const int64_t *a = found->shape, *b = grid->shape;
    if (memcmp(a, b, 3 * sizeof *a) != 0)
        return pumit__fail(PUMIT_ERROR_SHAPE,
                           "%s: has %lld x %lld x %lld voxels, its image %lld x %lld x %lld: a "
                           "label map lies on the image's voxels",
                           path, (long long)a[0], (long long)a[1], (long long)a[2], (long long)b[0],
                           (long long)b[1], (long long)b[2]);
    const double distance = apart(grid, found);
    if (distance <= MOST_APART) return PUMIT_OK;
    return pumit__fail(PUMIT_ERROR_SHAPE,
                       "%s: lies %.3g voxels away from its image: resample it onto the image, or "
                       "copy the image's header if it is only that which is wrong",
                       path, distance);
}

static pumit_status take_labels(pumit_label_map *map, const pumit_volume *volume, const char *path)
{
    const float *voxels = pumit_volume_voxels(volume);
    if (!voxels) return pumit__last_status();
    for (int64_t i = 0; i < count_of(map); i++) {
        const float value = voxels[i];
        if (!(value >= 0 && value <= PUMIT__MOST_CLASSES - 1 && value == floorf(value)))
            return pumit__fail(PUMIT_ERROR_FORMAT,
                               "%s: holds the value %g: a label map has class numbers 0..%d", path,
                               value, PUMIT__MOST_CLASSES - 1);
        map->labels[i] = (uint8_t)value;
    }
    return PUMIT_OK;
}

static pumit_status check_kind(pumit_context *context, const pumit_volume *volume, const char *path)
{
    int64_t volumes;
    if (volume->shape[3] != 1)
        return pumit__fail(PUMIT_ERROR_SHAPE, "%s: has %lld channels: a label map has one", path,
                           (long long)volume->shape[3]);
    PUMIT__TRY(pumit_volume_file_count(&volumes, context, path));
    if (volumes == 1) return PUMIT_OK;
    return pumit__fail(PUMIT_ERROR_SHAPE, "%s: holds %lld volumes: a label map is one", path,
                       (long long)volumes);
}

pumit_status pumit_label_map_read(pumit_label_map **out, pumit_context *context, const char *path,
                                  const pumit_volume *grid)
{
    PUMIT__REQUIRE(out && context && path, "pumit_label_map_read: an argument is NULL");
    *out = NULL;
    pumit_volume *volume;
    pumit_label_map *map = NULL;
    pumit_status status;
    PUMIT__TRY(pumit_volume_read(&volume, context, path, 0));
    PUMIT__GO(check_kind(context, volume, path));
    if (grid) PUMIT__GO(check_grid(grid, volume, path));
    PUMIT__GO(pumit_label_map_create(&map, context, grid ? grid : volume, NULL));
    PUMIT__GO(take_labels(map, volume, path));
    *out = map;
    map = NULL;
out:
    pumit_label_map_release(map);
    pumit_volume_release(volume);
    return status;
}

/* ------------------------------------------------------------------------------------------- looking */

void pumit_label_map_shape(const pumit_label_map *map, int64_t shape[3])
{
    memcpy(shape, map->shape, sizeof map->shape);
}

void pumit_label_map_spacing(const pumit_label_map *map, double spacing[3])
{
    memcpy(spacing, map->spacing, sizeof map->spacing);
}

const uint8_t *pumit_label_map_labels(const pumit_label_map *map)
{
    return map->labels;
}
