/* SPDX-License-Identifier: Apache-2.0 */
/* Fine-tuning for classification: whole images on a grid of patches, a linear head on a transformer, new or pre-trained. */
#include "lib/tensor/context.h"
#include "lib/train/init.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void defaults(pumit__train_options *options)
{
    options->steps = 500;
    options->batch = 32;
    options->learning_rate = 5e-4;
    options->weight_decay = 0.05;
    options->checkpoint_every = 100;
    options->validate_every = 25;
}

static pumit_status check_labels(const pumit_trainer *t, int64_t *classes)
{
    *classes = pumit_dataset_classes(t->train);
    PUMIT__REQUIRE(*classes >= 2, "the training images have no labels, or all the same one: "
                                  "classification needs at least two classes");
    const int64_t judged = pumit_dataset_classes(t->judge);
    PUMIT__REQUIRE(judged >= 1, "an image of the validation set has no label");
    PUMIT__REQUIRE(judged <= *classes,
                   "the validation set has label %lld, which no training image has",
                   (long long)(judged - 1));
    return PUMIT_OK;
}

static pumit_status create(pumit_trainer *t)
{
    int64_t classes;
    PUMIT__TRY(check_labels(t, &classes));
    PUMIT__TRY(pumit__init_vit(t, NULL));
    PUMIT__TRY(pumit__keep_section(t, "vit", pumit_vit_module(t->vit)));
    pumit_config *config;
    char grid[80];
    const int64_t *const tokens = t->options.image_tokens;
    PUMIT__TRY(pumit_config_create(&config));
    pumit_status status = pumit_config_set_int(config, "classes", classes);
    if (status == PUMIT_OK) status = pumit_config_set_int(config, "seed", t->options.seed);
    if (status == PUMIT_OK && tokens[0] > 0) {
        snprintf(grid, sizeof grid, "[%lld, %lld, %lld]", (long long)tokens[0],
                 (long long)tokens[1], (long long)tokens[2]);
        status = pumit_config_set_json(config, "image_tokens", grid);
    }
    if (status == PUMIT_OK) status = pumit_classifier_create(&t->classifier, t->vit, config);
    pumit_config_release(config);
    if (status == PUMIT_OK) {
        t->model = pumit_classifier_module(t->classifier);
        if (!t->resumed)
            pumit__log(t->ctx, PUMIT_LOG_INFO, "init: new: head.weight, head.bias of %lld classes",
                       (long long)classes);
        status = pumit__add_part(t, "model", t->model);
    }
    return status;
}

static pumit_status max_tokens(int64_t *out, const pumit_module *module)
{
    pumit_config *config;
    PUMIT__TRY(pumit_module_config(&config, module));
    const pumit_status status = pumit_config_get_int(out, config, "max_tokens", 2048);
    pumit_config_release(config);
    return status;
}

static pumit_status open_data(pumit_trainer *t)
{
    pumit__batches_options options = {.batch = t->options.batch,
                                      .channels = pumit_vit_channels(t->vit),
                                      .seed = (uint64_t)t->options.seed,
                                      .shuffle = true,
                                      .augment = t->options.augment != 0};
    memcpy(options.patch, pumit_vit_patch(t->vit), sizeof options.patch);
    memcpy(options.image_tokens, t->options.image_tokens, sizeof options.image_tokens);
    PUMIT__TRY(max_tokens(&options.max_tokens, pumit_vit_module(t->vit)));
    PUMIT__TRY(pumit__batches_create(&t->batches, t->ctx, t->train, &options));
    options.shuffle = options.augment = false;
    PUMIT__TRY(pumit__batches_create(&t->judge_batches, t->ctx, t->judge, &options));
    t->indices = pumit__calloc(options.batch, (int64_t)sizeof *t->indices);
    t->labels = pumit__calloc(options.batch, (int64_t)sizeof *t->labels);
    return t->indices && t->labels ? PUMIT_OK : pumit__fail_memory(16 * options.batch, "a batch");
}

/* A batch with its labels in t->labels. */
static pumit_status take(pumit_tensor **image, double spacing[3], int64_t *count, pumit_trainer *t,
                         pumit__batches *batches, const pumit_dataset *dataset, int64_t draw)
{
    PUMIT__TRY(pumit__batches_take(image, spacing, t->indices, count, batches, draw));
    for (int64_t i = 0; i < *count; i++) t->labels[i] = pumit_dataset_label(dataset, t->indices[i]);
    return PUMIT_OK;
}

static pumit_status loss(pumit_tensor **out, pumit__figures *terms, pumit_trainer *t, int64_t draw)
{
    pumit_tensor *image;
    double spacing[3];
    int64_t count;
    int32_t da;
    PUMIT__TRY(take(&image, spacing, &count, t, t->batches, t->train, draw));
    pumit_status status = pumit_classifier_loss(out, t->classifier, image, spacing, t->labels);
    pumit_tensor_release(image);
    PUMIT__TRY(status);
    status = pumit_degree_of_anisotropy(&da, spacing);
    pumit__figures_add(terms, "da", da / (double)t->options.accumulate);
    return status;
}

/* --------------------------------------------------------------------------------------- validation */

static void softmax_row(double *dst, const double *logits, int64_t classes)
{
    double most = logits[0], sum = 0;
    for (int64_t c = 1; c < classes; c++) most = fmax(most, logits[c]);
    for (int64_t c = 0; c < classes; c++) sum += dst[c] = exp(logits[c] - most);
    for (int64_t c = 0; c < classes; c++) dst[c] /= sum;
}

/* Appends a batch's probabilities and labels at *done. */
static pumit_status judge(double *probs, int64_t *labels, int64_t *done, pumit_trainer *t,
                          int64_t draw)
{
    const int64_t classes = pumit_classifier_classes(t->classifier);
    pumit_tensor *image, *logits = NULL;
    double spacing[3];
    int64_t count;
    PUMIT__TRY(take(&image, spacing, &count, t, t->judge_batches, t->judge, draw));
    double *const at = probs + *done * classes;
    pumit_status status = pumit_classifier_forward(&logits, t->classifier, image, spacing);
    if (status == PUMIT_OK)
        status = pumit_tensor_read(logits, PUMIT_F64, at, count * classes * (int64_t)sizeof *probs);
    for (int64_t i = 0; i < count && status == PUMIT_OK; i++) {
        softmax_row(at + i * classes, at + i * classes, classes);
        labels[*done + i] = t->labels[i];
    }
    *done += count;
    pumit_tensor_release(logits);
    pumit_tensor_release(image);
    return status;
}

static double cross_entropy(const double *probs, const int64_t *labels, int64_t n, int64_t classes)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum -= log(fmax(probs[i * classes + labels[i]], 1e-300));
    return sum / (double)n;
}

/* Weights that a diverging run has spoilt are the loop's business, not a broken argument of the scores. */
static bool all_finite(const double *values, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(values[i])) return false;
    return true;
}

static pumit_status validate(pumit__figures *figures, pumit_trainer *t)
{
    if (!t->has_validation) return PUMIT_OK;
    const int64_t n = pumit_dataset_count(t->judge);
    const int64_t classes = pumit_classifier_classes(t->classifier);
    double *probs = pumit__calloc(n * classes, (int64_t)sizeof *probs), accuracy = 0, auc = 0;
    int64_t *labels = pumit__calloc(n, (int64_t)sizeof *labels), done = 0;
    pumit_status status =
        probs && labels ? PUMIT_OK : pumit__fail_memory(n * (classes + 1) * 8, "validation");
    for (int64_t i = 0; status == PUMIT_OK && i < pumit__batches_count(t->judge_batches); i++)
        status = judge(probs, labels, &done, t, i);
    const bool finite = status == PUMIT_OK && all_finite(probs, done * classes);
    if (finite)
        status = pumit_classification_scores(&accuracy, &auc, PUMIT_TASK_CLASSES, done, classes,
                                             probs, labels);
    if (finite && status == PUMIT_OK) {
        pumit__figures_add(figures, "auc", auc);
        pumit__figures_add(figures, "accuracy", accuracy);
        pumit__figures_add(figures, "loss", cross_entropy(probs, labels, done, classes));
    }
    free(probs);
    free(labels);
    return status;
}

const pumit__recipe pumit__recipe_classify = {.name = "classify",
                                              .defaults = defaults,
                                              .create = create,
                                              .open = open_data,
                                              .loss = loss,
                                              .validate = validate,
                                              .best = "auc"};
