/* SPDX-License-Identifier: Apache-2.0 */
/* Outlines of label maps over slices of their image, as a PNG sheet. */
#ifndef EXAMPLES_COMMON_CONTOURS_H
#define EXAMPLES_COMMON_CONTOURS_H

#include "examples/common/cli.h"

#define CONTOURS_SLICES 12

/*
 * Writes at most `slices` slices of those that hold a structure, evenly spaced, from the lowest up: the image in gray, the prediction's outlines
 * in a colour per class, the reference's over them in white dashes. Either map may be NULL; both lie on the image's voxels. Pixels are square in
 * mm, and slices of a scan lie as radiologists see them: anterior or superior up, the patient's right (or anterior) at the left. Gives the
 * program's exit status, after a message where it failed.
 */
int contours_write(const cli *c, const char *path, const pumit_volume *image,
                   const pumit_label_map *prediction, const pumit_label_map *reference, int slices);

#endif
