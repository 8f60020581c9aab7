/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What pumit-bench measures, at work in this process. Weights and images are random; sizes of the networks are those of the configuration's
 * sections "vit", "tokenizer" and "segmenter", by default the paper's.
 */
#ifndef EXAMPLES_BENCH_WORK_H
#define EXAMPLES_BENCH_WORK_H

#include "examples/bench/machine.h"

#include <pumit/pumit.h>

#include <stdbool.h>

/* Images of 500, 500 and 100 tokens, and those of a segmenter. */
typedef struct {
    const char *name;
    int da;
    int64_t size[3], segmented[3];
} work_crop;

#define WORK_CROPS 3
extern const work_crop work_crops[WORK_CROPS];

typedef struct work work;

typedef struct {
    const char *name;
    int batches[2]; /* 0: none; the second one is measured by --full */
    bool plain;     /* no image: one case instead of one for each degree of anisotropy */
    bool once;      /* a process does it a single time */
    bool cold;      /* setup opens the context, because something has to be done before */
    bool pair;      /* two contexts at work in threads of their own */
    pumit_status (*setup)(work *w);
    pumit_status (*before)(work *w); /* each call, outside the time; NULL: nothing */
    pumit_status (*call)(work *w);
} work_kind;

/* Up to one without name. */
extern const work_kind work_kinds[];

struct work {
    const work_kind *kind;
    const work_crop *crop;
    const pumit_config *config;
    int batch, threads; /* of a context */

    pumit_context *ctx;
    pumit_tokenizer *tokenizer;
    pumit_vit *vit;
    pumit_segmenter *segmenter;
    pumit_optimizer *optimizer;
    pumit_tensor *image, *visible, *labels;
    pumit_tensor *packed[WORK_CROPS], *packed_visible[WORK_CROPS]; /* images of a packed step */
    double packed_spacing[3 * WORK_CROPS];
    int packed_count;
    pumit_volume *volume;
    machine *limits;
    double spacing[3];
    char file[64]; /* a model's, to be removed */

    double flop, bytes;           /* of a call, 0: not counted */
    double parameters, gradients; /* elements */
    bool failed;                  /* not by the library, whose last error says nothing of it */
    const char *why;              /* NULL: it was told already */
};

pumit_status work_open(work *w);
void work_close(work *w);

#endif
