/* SPDX-License-Identifier: Apache-2.0 */
/* What programs tell of segmentations that have a reference: a table, a report, pictures. */
#ifndef EXAMPLES_COMMON_SEGMENTATION_H
#define EXAMPLES_COMMON_SEGMENTATION_H

#include "examples/common/cli.h"

/* Options of every program that judges. */
#define SEGMENTATION_OPTIONS                                                                       \
    {"report", 0, 's', "FILE", NULL, "write the scores of all cases there, as JSON"},              \
        {"contours", 0, 's', "DIR", NULL, "write outlines over slices there, a PNG a case"},       \
        {"slices", 0, 'i', "N", NULL, "slices of a picture; 12"},                                  \
        {"tolerance", 0, 'n', "MM", "tolerance_mm", "of the surface Dice; 1"},                     \
        {"bootstrap", 0, 'i', "N", "bootstrap", "resamples for intervals; 1000; 0: no intervals"}, \
        {"confidence", 0, 'n', "X", "confidence", "of the intervals; 0.95"},                       \
    {                                                                                              \
        "seed", 0, 'i', "N", "seed", "of the resamples; 0"                                         \
    }

typedef struct {
    cli *c;
    pumit_segmentation_report *report;
    int slices;
} judging;

/*
 * Begins, with `classes` class names (NULL, or some of them: none), the background's first; the program's configuration has the other options of
 * pumit_segmentation_report_create(). Gives the exit status; judging_close() is always to be called.
 */
int judging_open(judging *j, cli *c, int64_t classes, const char *const *class_names);
void judging_close(judging *j);

/* Judges a case, and draws it if --contours is given; `image` may be NULL where it is not. `name`: of its file. */
int judging_add(judging *j, const char *name, const pumit_volume *image,
                const pumit_label_map *prediction, const pumit_label_map *reference);

/* Prints the table, or with --json the report, and writes the file of --report. */
int judging_finish(judging *j);

#endif
