/* SPDX-License-Identifier: Apache-2.0 */
/* Images in words and numbers. */
#ifndef EXAMPLES_COMMON_DESCRIBE_H
#define EXAMPLES_COMMON_DESCRIBE_H

#include "examples/common/cli.h"

#include <stdio.h>

/* Tokens that `model` (NULL: patches of 16 voxels) sees of an image; `grid` {d, h, w} may be NULL. */
pumit_status cli_tokens(int64_t *count, int64_t grid[3], cli *c, const pumit_volume *image,
                        pumit_vit *model);

/* [d, h, w] in mm; null where infinite. */
cJSON *cli_spacing_json(const double spacing[3]);

/* A field of a CSV line, quoted where it must be. */
void cli_print_field(FILE *out, const char *text);

#endif
