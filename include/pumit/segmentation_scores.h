/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file segmentation_scores.h
 * How well label maps agree with the truth: of one case, and as a report on many.
 *
 * Both maps of a case lie on the same voxels. Per class, the background aside:
 *
 * - Dice (Dice 1945, Sorensen 1948): 2 |P and R| / (|P| + |R|) of the voxels P of the prediction and R of the reference.
 * - Surfaces are voxels of the class that have a side in common with a voxel of another class, or lie at the map's border (in a single slice: a
 *   side in its plane). From each the distance to the nearest of the other map's is taken, in mm between the voxels' centres.
 * - hausdorff95, in mm: the larger of the 95th percentiles of the distances from P to R and from R to P, each interpolated between its
 *   neighbours; as Maier-Hein et al. (Metrics reloaded, 2024) and MONAI have it. Some programs pool both lists first, which gives a smaller value.
 * - surface_dice (Nikolov et al. 2021, on voxels instead of surface elements, as in MONAI): the share of both surfaces' voxels that lie within
 *   a tolerance of the other.
 *
 * A class in neither map has no scores (NaN). One that is in one of them alone has Dice 0, surface Dice 0 and an infinite hausdorff95.
 *
 * Threads: the functions keep nothing; a report belongs to one thread at a time.
 */
#ifndef PUMIT_SEGMENTATION_SCORES_H
#define PUMIT_SEGMENTATION_SCORES_H

#include <pumit/config.h>
#include <pumit/label_map.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Scores of one case into arrays of `classes` (2..256, the background counted), each of which may be NULL. Entry 0 is of the background, which has a
 * Dice but no distances (NaN). PUMIT_ERROR_SHAPE for maps of different sizes; PUMIT_ERROR_INVALID_ARGUMENT for a label that is no such class, or a
 * tolerance below 0. @since 0.1
 */
PUMIT_API pumit_status pumit_segmentation_scores(double *dice, double *hausdorff95,
                                                 double *surface_dice, int64_t classes,
                                                 const pumit_label_map *prediction,
                                                 const pumit_label_map *reference,
                                                 double tolerance_mm);

/**
 * An empty report. Keys of `options` (may be NULL):
 * - "tolerance_mm" (1): of the surface Dice.
 * - "class_names": an array of strings, the background's first; more or fewer than there are classes are fine.
 * - "bootstrap" (1000): resamples; 0: no intervals.
 * - "confidence" (0.95): between 0 and 1.
 * - "seed" (0): of the resamples. @since 0.1
 */
PUMIT_API pumit_status pumit_segmentation_report_create(pumit_segmentation_report **out,
                                                        const pumit_config *options);

/** Releases a report; NULL is fine. @since 0.1 */
PUMIT_API void pumit_segmentation_report_release(pumit_segmentation_report *report);

/** Judges a case and adds it; `name` is copied, the maps are not kept. Errors as of pumit_segmentation_scores(). @since 0.1 */
PUMIT_API pumit_status pumit_segmentation_report_add(pumit_segmentation_report *report,
                                                     const char *name,
                                                     const pumit_label_map *prediction,
                                                     const pumit_label_map *reference);

/**
 * The report so far as JSON:
 * - "count" (cases) and the options "tolerance_mm", "bootstrap", "confidence" and "seed".
 * - "classes": for each class that is in a map of some case {"class", "name" if it has one, "dice", "hausdorff95", "surface_dice"}.
 * - "mean": {"dice", "hausdorff95", "surface_dice"} of the means over the classes of each case, infinite ones left out.
 * - "cases": in their order {"name", "classes": [{"class", "dice", "hausdorff95", "surface_dice", "predicted_ml", "reference_ml"}]}, of the classes that
 *   are in one of the maps. hausdorff95 is null where it is infinite, volumes are where there is no third dimension.
 *
 * A figure is {"mean", "sd", "low", "high", "count"}: mean and sample standard deviation over the `count` cases that have a finite value, and the
 * confidence interval of the mean: percentiles of plain bootstrap resamples of these cases (Efron & Tibshirani 1993). One case: "sd", "low" and
 * "high" are absent; none: "mean" is null. "infinite" is how many were left out as infinite, so a mean hausdorff95 is to be read beside it.
 * @param json free with pumit_free(). @since 0.1
 */
PUMIT_API pumit_status pumit_segmentation_report_to_json(char **json,
                                                         const pumit_segmentation_report *report);

#ifdef __cplusplus
}
#endif
#endif
