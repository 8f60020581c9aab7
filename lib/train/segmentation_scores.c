/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/train/segmentation_scores.h"

#include "lib/train/statistics.h"
#include "lib/train/surface.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Spacings come from 32-bit headers: a distance that misses the tolerance by less is within it. */
#define TOLERANCE_SLACK 1e-5

/* The box around each class in both maps; low > high where it is in neither. */
static void find_extents(pumit__extent *extents, const pumit_label_map *map)
{
    const uint8_t *label = map->labels;
    int64_t at[3];
    for (at[0] = 0; at[0] < map->shape[0]; at[0]++)
        for (at[1] = 0; at[1] < map->shape[1]; at[1]++)
            for (at[2] = 0; at[2] < map->shape[2]; at[2]++) {
                pumit__extent *const e = &extents[*label++];
                if (e == extents) continue; /* most of a map is background */
                for (int i = 0; i < 3; i++) {
                    if (at[i] < e->low[i]) e->low[i] = at[i];
                    if (at[i] >= e->high[i]) e->high[i] = at[i] + 1;
                }
            }
}

/* Distances from the two surfaces, sorted each; the second ones follow the first. */
static pumit_status sorted_distances(double **out, const pumit__surfaces *surfaces)
{
    const int64_t count = surfaces->count[0] + surfaces->count[1];
    double *const distances = pumit__calloc(count, sizeof *distances);
    pumit_status status;
    if (!distances) return pumit__fail_memory(count * 8, "distances between surfaces");
    PUMIT__GO(pumit__surfaces_distances(distances, surfaces, 0));
    PUMIT__GO(pumit__surfaces_distances(distances + surfaces->count[0], surfaces, 1));
    pumit__sort(distances, surfaces->count[0]);
    pumit__sort(distances + surfaces->count[0], surfaces->count[1]);
    *out = distances;
    return PUMIT_OK;
out:
    free(distances);
    return status;
}

static pumit_status judge_surfaces(pumit__class_score *score, const pumit__surfaces *surfaces,
                                   double tolerance_mm)
{
    double *distances = NULL;
    const int64_t *const count = surfaces->count, total = count[0] + count[1];
    PUMIT__TRY(sorted_distances(&distances, surfaces));
    score->hausdorff95 = fmax(pumit__quantile(distances, count[0], 0.95),
                              pumit__quantile(distances + count[0], count[1], 0.95));
    int64_t near = 0;
    for (int64_t i = 0; i < total; i++)
        near += distances[i] <= tolerance_mm * (1 + TOLERANCE_SLACK);
    score->surface_dice = (double)near / (double)total;
    free(distances);
    return PUMIT_OK;
}

static pumit_status judge_class(pumit__class_score *score, const pumit_label_map *prediction,
                                const pumit_label_map *reference, int class,
                                const pumit__extent *extent, double tolerance_mm)
{
    const uint8_t *const labels[] = {prediction->labels, reference->labels};
    const int64_t predicted = score->overlap.predicted, expected = score->overlap.reference;
    pumit__surfaces surfaces;
    if (predicted == 0 && expected == 0) return PUMIT_OK;
    if (predicted == 0 || expected == 0) {
        score->hausdorff95 = INFINITY;
        score->surface_dice = 0;
        return PUMIT_OK;
    }
    pumit_status status = pumit__surfaces_open(&surfaces, labels, reference->shape,
                                               reference->spacing, (uint8_t) class, extent);
    if (status == PUMIT_OK) status = judge_surfaces(score, &surfaces, tolerance_mm);
    pumit__surfaces_close(&surfaces);
    return status;
}

static pumit_status check_maps(const pumit_label_map *prediction, const pumit_label_map *reference,
                               double tolerance_mm, const char *function)
{
    PUMIT__REQUIRE(prediction && reference, "%s: a label map is NULL", function);
    PUMIT__REQUIRE(tolerance_mm >= 0 && isfinite(tolerance_mm),
                   "%s: a tolerance of %g mm: 0 or more is wanted", function, tolerance_mm);
    const int64_t *const p = prediction->shape, *const r = reference->shape;
    if (memcmp(p, r, sizeof prediction->shape) == 0) return PUMIT_OK;
    return pumit__fail(PUMIT_ERROR_SHAPE,
                       "%s: the prediction has %lld x %lld x %lld voxels, the reference %lld x "
                       "%lld x %lld: both lie on the same image's voxels",
                       function, (long long)p[0], (long long)p[1], (long long)p[2], (long long)r[0],
                       (long long)r[1], (long long)r[2]);
}

pumit_status pumit__segmentation_judge(pumit__class_score *scores,
                                       const pumit_label_map *prediction,
                                       const pumit_label_map *reference, double tolerance_mm,
                                       const char *function)
{
    pumit__overlap overlaps[PUMIT__MOST_CLASSES] = {{0}};
    pumit__extent extents[PUMIT__MOST_CLASSES];
    PUMIT__TRY(check_maps(prediction, reference, tolerance_mm, function));
    const int64_t voxels = reference->shape[0] * reference->shape[1] * reference->shape[2];
    for (int c = 0; c < PUMIT__MOST_CLASSES; c++)
        extents[c] = (pumit__extent){{INT64_MAX, INT64_MAX, INT64_MAX}, {0}};
    find_extents(extents, prediction);
    find_extents(extents, reference);
    pumit__overlap_count(overlaps, PUMIT__MOST_CLASSES, prediction->labels, reference->labels,
                         voxels);
    for (int c = 0; c < PUMIT__MOST_CLASSES; c++) {
        scores[c] = (pumit__class_score){overlaps[c], pumit__overlap_dice(&overlaps[c]), NAN, NAN};
        if (c > 0)
            PUMIT__TRY(
                judge_class(&scores[c], prediction, reference, c, &extents[c], tolerance_mm));
    }
    return PUMIT_OK;
}

pumit_status pumit_segmentation_scores(double *dice, double *hausdorff95, double *surface_dice,
                                       int64_t classes, const pumit_label_map *prediction,
                                       const pumit_label_map *reference, double tolerance_mm)
{
    static const char NAME[] = "pumit_segmentation_scores";
    pumit__class_score scores[PUMIT__MOST_CLASSES];
    PUMIT__REQUIRE(classes >= 2 && classes <= PUMIT__MOST_CLASSES,
                   "%s: %lld classes: 2..%d are wanted, with the background", NAME,
                   (long long)classes, PUMIT__MOST_CLASSES);
    PUMIT__TRY(pumit__segmentation_judge(scores, prediction, reference, tolerance_mm, NAME));
    for (int64_t c = classes; c < PUMIT__MOST_CLASSES; c++)
        PUMIT__REQUIRE(isnan(scores[c].dice), "%s: a label map has class %lld, with %lld classes",
                       NAME, (long long)c, (long long)classes);
    for (int64_t c = 0; c < classes; c++) {
        if (dice) dice[c] = scores[c].dice;
        if (hausdorff95) hausdorff95[c] = scores[c].hausdorff95;
        if (surface_dice) surface_dice[c] = scores[c].surface_dice;
    }
    return PUMIT_OK;
}
