/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Golden files: inputs, weights, results and gradients of the executable specification (tests/golden/README.md). What network a file is
 * of and how large is read from the file, so one of another seed or size needs no code.
 */
#ifndef PUMIT_TESTS_GOLDEN_H
#define PUMIT_TESTS_GOLDEN_H

#include "lib/tensor/safetensors.h"
#include "lib/tensor/tensor.h"

#include <pumit/tokenizer.h>

typedef struct {
    pumit_context *ctx;
    const pumit__safetensors *file;
    const char *path;
    int64_t compared; /* arrays */
    int64_t failed;
    double worst; /* relative error by its bound, of the worst array */
    double
        noise; /* norm below which an array counts as zero: rounding of 32-bit sums that cancel */
    char worst_name[160], message[512]; /* the first failure */
} golden;

/* Compares everything in a file on a device; PUMIT_OK if the file could be run, whatever g->failed says. */
pumit_status golden_check(golden *g, const char *path, const char *device);

/* For the checks of each kind of file: */
#define GOLDEN_FORWARD  1e-5
#define GOLDEN_GRADIENT 1e-4

/* Array `name` as a tensor of the scope, five dimensions channels last; NULL if the file lacks it. */
pumit_tensor *golden_tensor(golden *g, const char *name, ...) PUMIT__PRINTF(2, 3);
/* The same without moving any axis. */
pumit_tensor *golden_plain(golden *g, const char *name, ...) PUMIT__PRINTF(2, 3);
bool golden_has(const golden *g, const char *name, ...) PUMIT__PRINTF(2, 3);
/* |got - expected| <= bound |expected|, norms over the array. A NULL counts as a failure. */
void golden_compare(golden *g, const pumit_tensor *got, const pumit_tensor *expected, double bound,
                    const char *name, ...) PUMIT__PRINTF(5, 6);
void golden_compare_value(golden *g, double got, double expected, double bound, const char *name,
                          ...) PUMIT__PRINTF(5, 6);

double golden_item(const pumit_tensor *scalar); /* NAN where there is none */
/* Against the scalar `name` of the file. */
void golden_compare_scalar(golden *g, double got, const char *name);
pumit_tensor *golden_gradient(pumit_tensor *tensor); /* borrowed; NULL: none */
/*
 * All gradients under "PREFIX.NAME", then forgets them. Some are zero in exact arithmetic (a bias before a norm with one
 * channel a group): what the file has for those is noise, 1e-7 of the whole gradient.
 */
void golden_compare_gradients(golden *g, pumit_module *module, const char *prefix);
/* Sum of these gradients' squared relative errors, and the largest error; nothing is judged. */
double golden_gradient_distance(golden *g, pumit_module *module, const char *prefix, double *worst);
/* The configuration in the file's metadata. */
pumit_status golden_config(pumit_config **out, const golden *g);
/* The tokenizer that a transformer's file carries under "tokenizer.": its sizes are those of its arrays. */
pumit_status golden_carried_tokenizer(pumit_tokenizer **out, golden *g);

pumit_status golden_sac(golden *g);
pumit_status golden_tokenizer(golden *g);
pumit_status golden_vit(golden *g);
pumit_status golden_curve(golden *g);
pumit_status golden_segmenter(golden *g);
pumit_status golden_resample(golden *g);
pumit_status golden_discriminator(golden *g);
pumit_status golden_lpips(golden *g);

#endif
