/* SPDX-License-Identifier: Apache-2.0 */
/* Scores of segmentations against counting by hand, brute force, and shapes whose distances are known. */
#include "lib/train/overlap.h"
#include "tests/image_files.h"

#include <math.h>

/* ------------------------------------------------------------------------------------------- overlap */

START_TEST(dice_counts_voxels)
{
    static const uint8_t P[10] = {0, 1, 1, 1, 2, 2, 0, 0, 4, 9},
                         R[10] = {0, 1, 1, 0, 2, 1, 0, 0, 0, 9};
    pumit__overlap overlaps[6] = {{0}};
    pumit__overlap_count(overlaps, 6, P, R, 5);
    pumit__overlap_count(overlaps, 6, P + 5, R + 5, 5);
    ck_assert(pumit__overlap_dice(&overlaps[0]) == 2 * 3 / 8.0);
    ck_assert(pumit__overlap_dice(&overlaps[1]) == 2 * 2 / 6.0);
    ck_assert(pumit__overlap_dice(&overlaps[2]) == 2 * 1 / 3.0);
    ck_assert(isnan(pumit__overlap_dice(&overlaps[3])));
    ck_assert(pumit__overlap_dice(&overlaps[4]) == 0);
    const double mean = (2 / 3.0 + 2 / 3.0 + 0) / 3;
    ck_assert(fabs(pumit__overlap_mean_dice(overlaps, 6) - mean) <= 1e-15);
    ck_assert(isnan(pumit__overlap_mean_dice(overlaps, 1)));
}
END_TEST

Suite *suite_segmentation_scores(void);
Suite *suite_segmentation_scores(void)
{
    Suite *suite = suite_create("segmentation_scores");
    TCase *tcase = tcase_create("segmentation_scores");
    tcase_add_checked_fixture(tcase, files_setup, files_teardown);
    tcase_add_test(tcase, dice_counts_voxels);
    suite_add_tcase(suite, tcase);
    return suite;
}
