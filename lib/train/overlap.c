/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/train/overlap.h"

#include <math.h>

void pumit__overlap_count(pumit__overlap *overlaps, int64_t classes, const uint8_t *prediction,
                          const uint8_t *reference, int64_t voxels)
{
    for (int64_t i = 0; i < voxels; i++) {
        const uint8_t p = prediction[i], r = reference[i];
        if (p < classes) overlaps[p].predicted++;
        if (r < classes) overlaps[r].reference++;
        if (p == r && p < classes) overlaps[p].both++;
    }
}

double pumit__overlap_dice(const pumit__overlap *overlap)
{
    const int64_t sum = overlap->predicted + overlap->reference;
    return sum > 0 ? 2 * (double)overlap->both / (double)sum : NAN;
}

double pumit__overlap_mean_dice(const pumit__overlap *overlaps, int64_t classes)
{
    double sum = 0, count = 0;
    for (int64_t c = 1; c < classes; c++) {
        const double dice = pumit__overlap_dice(&overlaps[c]);
        if (isnan(dice)) continue;
        sum += dice;
        count++;
    }
    return count > 0 ? sum / count : NAN;
}
