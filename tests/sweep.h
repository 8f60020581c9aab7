/* SPDX-License-Identifier: Apache-2.0 */
/* Every public call that can fail, to be made again and again with one allocation after the other failing. */
#ifndef PUMIT_TESTS_SWEEP_H
#define PUMIT_TESTS_SWEEP_H

#include "tests/image_files.h"

#include <pumit/pumit.h>

/* What a call is made on, and what it gave. All of it is released afterwards. */
typedef struct {
    pumit_context *ctx;
    pumit_config *config, *over;
    pumit_tensor *image, *image2, *visible;
    pumit_volume *volume;
    pumit_label_map *map;
    pumit_dataset *dataset, *validation;
    pumit_tokenizer *tokenizer;
    pumit_vit *vit;
    pumit_classifier *classifier;
    pumit_segmenter *segmenter;
    pumit_discriminator *discriminator;
    pumit_lpips *lpips;
    pumit_sac_conv *sac;
    pumit_optimizer *optimizer;
    pumit_segmentation_report *report;
    pumit_trainer *trainer;
    void *managed; /* a DLManagedTensor */
} sweep_things;

typedef struct {
    sweep_things in, out;
    char *text;       /* what the call gave */
    double number[8]; /* likewise */
} sweep_scene;

typedef struct {
    const char *name, *variant;
    void (*open)(sweep_scene *s);         /* NULL: nothing is needed */
    pumit_status (*call)(sweep_scene *s); /* outputs are NULL before */
    /* What else tells that a call did what it should, as one number; NULL: nothing. */
    double (*result)(sweep_scene *s);
    bool
        spends; /* a failure may leave what it was called on good for nothing but PUMIT_ERROR_STATE */
    bool restart; /* writes into the folder "out", from which a call goes on */
    bool skips;   /* a file that cannot be read is left out and told */
    int coarse;   /* only every so many allocations, of a call that takes long; 0: each */
} sweep_entry;

#define SWEEP_TABLES(_) _(base) _(data) _(models) _(train)
#define SWEEP_TABLE(name)                                                                          \
    extern const sweep_entry sweep_##name[];                                                       \
    extern const int sweep_##name##_count;                                                         \
    void sweep_##name##_files(void); /* what its calls read */
SWEEP_TABLES(SWEEP_TABLE)
#undef SWEEP_TABLE

/* ------------------------------------------------------------------------------- for the tables */

pumit_config *sweep_config(const char *json);
void sweep_context(sweep_scene *s); /* one thread of `cpu` */
/* (1, D, H, W, 1) of 8 x 16 x 16 by default, in [0, 1]. */
pumit_tensor *sweep_image(sweep_scene *s, int64_t d, int64_t h, int64_t w, int64_t channels);
pumit_volume *sweep_volume(sweep_scene *s);
/* A file as one number; 0 if there is none. */
double sweep_file(const char *name);

void sweep_drop_managed(void *managed);

/* One call as a table has it. */
#define SWEEP_CALL(name, ...)                                                                      \
    static pumit_status name(sweep_scene *s)                                                       \
    {                                                                                              \
        return __VA_ARGS__;                                                                        \
    }

#define SWEEP_SPACING ((const double[3]){1, 1, 1})

#define SWEEP_OF(function, of, needs, does, ...)                                                   \
    {                                                                                              \
        .name = #function, .variant = of, .open = needs, .call = does, __VA_ARGS__                 \
    }
#define SWEEP(function, needs, does, ...) SWEEP_OF(function, "", needs, does, __VA_ARGS__)

#endif
