/* SPDX-License-Identifier: Apache-2.0 */
/* Where what is made of images goes: one file, or a folder with a file for each, never two onto one. */
#ifndef EXAMPLES_COMMON_OUTPUT_NAMES_H
#define EXAMPLES_COMMON_OUTPUT_NAMES_H

#include "examples/common/cli.h"

typedef struct {
    const char *output; /* of --output */
    const char *beside; /* ending of a second file for each image; NULL: there is none */
    bool folder, overwrite;
    char **taken; /* names so far */
    int count, capacity;
} output_names;

/* For `images` images; makes the folder. CLI_DONE, or what the program ends with, after a message. */
int output_start(output_names *names, const cli *c, int images, const char *beside);
void output_end(output_names *names);

/* The file for an image: NAME.nii.gz, for pictures NAME.png. Borrowed. NULL, with the reason in `refusal`, if it would take the place of another
 * one of this call, of a file that is there (without --overwrite), or of the image itself. */
const char *output_name(output_names *names, const char *image, char *refusal, size_t bytes);

/* A file beside another one: its name without the ending, then `ending`. NULL when out of memory. */
char *output_beside(const char *path, const char *ending);

#endif
