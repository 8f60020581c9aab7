/* SPDX-License-Identifier: Apache-2.0 */
/* What scores and reports of segmentations share. */
#ifndef PUMIT_LIB_TRAIN_SEGMENTATION_SCORES_H
#define PUMIT_LIB_TRAIN_SEGMENTATION_SCORES_H

#include "lib/data/label_map.h"
#include "lib/train/overlap.h"

#include <pumit/segmentation_scores.h>

/* Of one class in one case. */
typedef struct {
    pumit__overlap overlap;
    double dice, hausdorff95, surface_dice; /* NaN where the class is in neither map */
} pumit__class_score;

/* Scores of all PUMIT__MOST_CLASSES classes, the background's distances left out. `function` leads the messages. */
pumit_status pumit__segmentation_judge(pumit__class_score *scores,
                                       const pumit_label_map *prediction,
                                       const pumit_label_map *reference, double tolerance_mm,
                                       const char *function);

#endif
