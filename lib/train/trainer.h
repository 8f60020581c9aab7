/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of a trainer: what the loop and the recipes share. */
#ifndef PUMIT_LIB_TRAIN_TRAINER_H
#define PUMIT_LIB_TRAIN_TRAINER_H

#include "lib/base/config.h"
#include "lib/data/loader.h"
#include "lib/train/batches.h"
#include "lib/train/events.h"

#include <pumit/discriminator.h>
#include <pumit/lpips.h>
#include <pumit/segmenter.h>
#include <pumit/train.h>

#include <stdatomic.h>

/* Named numbers of a step or a validation, in the order in which they came. Names are string literals. */
#define PUMIT__MOST_FIGURES 48
#define PUMIT__MOST_LISTED  64 /* numbers in all lists together */
typedef struct {
    int32_t count;
    const char *name[PUMIT__MOST_FIGURES];
    double value[PUMIT__MOST_FIGURES];
    int32_t length[PUMIT__MOST_FIGURES]; /* of a list; 0: a single number */
    int32_t start[PUMIT__MOST_FIGURES];  /* of a list, in `listed` */
    int32_t listed_count;
    double listed[PUMIT__MOST_LISTED];
} pumit__figures;

/* Adds to the figure of that name, which starts at 0. */
void pumit__figures_add(pumit__figures *figures, const char *name, double value);
/* Adds to the list of that name, number by number; it starts at 0 and keeps its first length. What has no room is left out. */
void pumit__figures_list(pumit__figures *figures, const char *name, const double *values,
                         int32_t count);
/* Adds all figures of `src`. */
void pumit__figures_append(pumit__figures *dst, const pumit__figures *src);
/* The figure of that name, NaN if there is none. */
double pumit__figures_get(const pumit__figures *figures, const char *name);

/* As a JSON object; lists become arrays, what is not finite null. Release with cJSON_Delete(). */
pumit_status pumit__figures_json(cJSON **out, const pumit__figures *figures);

#define PUMIT__MOST_MILESTONES 16
typedef struct {
    int32_t count;
    int64_t steps[PUMIT__MOST_MILESTONES];
} pumit__milestones;

/* What "train.*" says; each key stands in options.c with its default by recipe. */
typedef struct {
    int64_t steps, batch, accumulate, warmup, seed;
    int64_t checkpoint_every, sheet_every, validate_every,
        validate_batches; /* 0: at the end only */
    int64_t tokens[3], image_tokens[3];
    double learning_rate, least_rate, weight_decay, clip_norm, beta2;
    double mask_ratio, quant_weight, entropy_weight, balance;
    double perceptual_weight, gan_weight, gan_threshold, discriminator_learning_rate;
    int64_t perceptual_slices, gan_start;
    int64_t workers, prefetch;
    double scale_range[2], scale_probability, slice_scale_probability, rotate_probability;
    int64_t keep_last, keep_every; /* checkpoints */
    int64_t most_skipped;          /* steps in a row */
    double ema;                    /* decay of the weights' moving average; 0: none is kept */
    int64_t norms_every;           /* 0: never */
    double spacing[3], foreground, thick;
    double noise_probability, blur_probability, low_resolution_probability, tone_probability;
    int64_t flips[3]; /* 1: along that axis */
    int32_t augment, events, recompute, packing;
    const char *lpips;    /* a path, NULL: none; borrowed from the config, as are other texts */
    const char *task;     /* NULL: what the labels are */
    const char *schedule; /* NULL: cosine */
    pumit__milestones milestones;
    double milestone_factor, layer_decay, mixup, augment_strength;
    int64_t patience; /* validations; 0: off */
} pumit__train_options;

/* A network that learns, with its optimiser: the recipe's model, and what helps it. */
typedef struct {
    const char *name;     /* "model", "discriminator": leads its weights' names in a checkpoint */
    pumit_module *module; /* borrowed from the trainer's handles */
    pumit_optimizer *optimizer;
} pumit__part;

#define PUMIT__MOST_PARTS     2
#define PUMIT__RECIPE_NUMBERS 4

typedef struct pumit__recipe {
    const char *name;
    void (*defaults)(pumit__train_options *options);
    /* Makes t->model and what it needs, and completes t->config, so that a resumed run needs no `init`. */
    pumit_status (*create)(pumit_trainer *t);
    /* Opens the data: after create(). */
    pumit_status (*open)(pumit_trainer *t);
    /* The recorded loss of draw number `draw` (counts micro-batches); adds terms scaled by 1/accumulate.
     * The caller releases *out, NULL at first, also when this fails. */
    pumit_status (*loss)(pumit_tensor **out, pumit__figures *terms, pumit_trainer *t, int64_t draw);
    /* Before the model's step, its gradients gathered: figures of them. NULL: none. */
    pumit_status (*measure)(pumit__figures *figures, pumit_trainer *t);
    /* After the model's step: moves the other parts. NULL: there are none. `skipped`: the model's step was. */
    pumit_status (*step)(pumit__figures *figures, pumit_trainer *t, double rate, bool skipped);
    pumit_status (*validate)(pumit__figures *figures, pumit_trainer *t);
    /* Writes contact sheets, NULL: none. */
    pumit_status (*sheet)(pumit_trainer *t);
    /* Frees t->own, of which create() may have made a part; NULL: there is none. */
    void (*destroy)(pumit_trainer *t);
    const char
        *best; /* the validation figure whose highest value chooses the result; NULL: the last */
} pumit__recipe;

extern const pumit__recipe pumit__recipe_tokenizer, pumit__recipe_vit, pumit__recipe_classify,
    pumit__recipe_segment;

struct pumit_trainer {
    pumit_context *ctx;
    const pumit_dataset *train,
        *judge; /* judge: the validation set, or train where there is none */
    bool has_validation;
    pumit_config *config; /* with every default filled in */
    const pumit__recipe *recipe;
    pumit__train_options options;
    char *output, *model_path;
    bool resumed; /* a checkpoint was loaded */
    int lock;     /* descriptor that holds the run directory's lock, -1: none */

    pumit_tokenizer *tokenizer;
    pumit_vit *vit;
    pumit_classifier *classifier;
    pumit_segmenter *segmenter;
    pumit_lpips *lpips;                   /* tokenizer: NULL where the perceptual term is off */
    pumit_discriminator *discriminator;   /* tokenizer: NULL where it learns without one */
    void *own;                            /* the recipe's own: its destroy() frees it */
    pumit_module *model;                  /* the one that the run is for; borrowed from the above */
    pumit__part parts[PUMIT__MOST_PARTS]; /* all that learns; parts[0] is the model */
    int32_t part_count;
    pumit__sampler *sampler, *judge_sampler; /* crops: tokenizer, vit */
    pumit__loader *loader;                   /* the sampler's batches, made ahead */
    pumit__batches *batches, *judge_batches; /* whole images: classify */
    int64_t *indices, *labels;               /* of one batch */
    FILE *metrics;
    pumit__events *events; /* NULL: none are kept */

    /* The state that a checkpoint holds beside weights and moments. */
    int64_t step, skipped, skipped_in_row, saved_step;
    double numbers[PUMIT__RECIPE_NUMBERS]; /* the recipe's own */
    double *losses;                        /* of each step done; NaN where skipped */
    int64_t loss_capacity;
    double seconds;
    cJSON *validation; /* the latest figures, NULL: none yet */
    double best_value;
    int64_t best_step;      /* 0: none yet */
    int64_t improved_step;  /* the first with best_value; of equals the last one is the best */
    pumit_tensor **best;    /* the model's parameters at best_step, or NULL */
    int64_t averaged;       /* updates of `average` */
    pumit_tensor **average; /* moving average of the model's parameters; NULL: none is kept */

    atomic_int stop;
    bool ended, failed; /* failed: half-way through a step, so that its state is worth nothing */
    pumit_progress_fn progress;
    void *progress_user;
};

/* options.c: "train.RECIPE.KEY" becomes "train.KEY" where that is not set, and the parts go, so that one file serves all recipes. */
pumit_status pumit__train_options_raise(pumit_config *config, const char *recipe);
/* Reads "train.KEY", else the default, into t->options, and puts it back into t->config. */
pumit_status pumit__train_options_read(pumit_trainer *t);

/* layer_decay.c: the learning rates of a transformer's layers, as "rate_factors" for the optimiser of a model that has it as "backbone". */
pumit_status pumit__layer_decay(pumit_config *optimizer, const pumit_module *vit, double decay);

/* create.c: samplers of crops over the training images, and without augmentation over the judged ones. `mixed`: of those to learn
 * from; batches to judge by have one degree of anisotropy each, so that runs of both kinds are judged alike. */
pumit_status pumit__open_samplers(pumit_trainer *t, int64_t channels, const int64_t patch[3],
                                  bool mixed);
/* Another part for the recipe's create(); its optimiser is made with the run's settings. */
pumit_status pumit__add_part(pumit_trainer *t, const char *name, pumit_module *module);
/* A model's section of the config; its "seed" is train.seed unless set. */
pumit_status pumit__model_section(pumit_config **out, const pumit_trainer *t, const char *name);
/* Puts the model's full configuration into t->config, so that a resumed run makes the same one. */
pumit_status pumit__keep_section(pumit_trainer *t, const char *name, const pumit_module *module);
/* OUTPUT/name. Free with free(). */
pumit_status pumit__run_path(char **out, const pumit_trainer *t, const char *name);

/* sheet.c: calls `draw` with the first judged batch of each degree of anisotropy and the path of its sheet. */
pumit_status pumit__sheet_each(pumit_trainer *t,
                               pumit_status (*draw)(pumit_trainer *t, pumit_tensor *image,
                                                    const double spacing[3], const char *path));
/* Writes rows of pictures: of volumes evenly spaced slices, image by image, else the images. row[i]: (N, D, H, W, C), all of one shape. */
pumit_status pumit__sheet_write(const char *path, int32_t rows, pumit_tensor *const *row);

/* bad_batch.c: after a step that was skipped. Writes its images to bad-batch-step-N.safetensors the first times: "image.I" (N, D, H, W, C) of
 * each micro-batch, their spacing and names as metadata. PUMIT_ERROR_STATE, naming the file, after train.most_skipped in a row. */
pumit_status pumit__tell_skipped(const pumit_trainer *t);

#endif
