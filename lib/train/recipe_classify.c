/* SPDX-License-Identifier: Apache-2.0 */
/* Fine-tuning for classification: whole images on a grid of patches, a linear head on a transformer, new or pre-trained. */
#include "lib/models/classifier.h"
#include "lib/tensor/context.h"
#include "lib/train/init.h"

#include <pumit/scores.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The recipe's own: what one batch is compared with. */
typedef struct {
    double *targets; /* (batch, classes) */
    double *weights; /* of classes; NULL: all alike */
} classify;

static void destroy(pumit_trainer *t)
{
    classify *const own = t->own;
    if (own) {
        free(own->targets);
        free(own->weights);
    }
    free(own);
    t->own = NULL;
}

static void defaults(pumit__train_options *options)
{
    options->steps = 500;
    options->batch = 32;
    options->learning_rate = 5e-4;
    options->weight_decay = 0.05;
    options->flips[2] = 1;
    options->checkpoint_every = 100;
    options->validate_every = 25;
}

/* ------------------------------------------------------------------------------------------- classes */

static pumit_status find_task(pumit_task *task, const pumit_trainer *t)
{
    const bool many = pumit_dataset_multilabel(t->train);
    const char *const said = t->options.task;
    *task = many ? PUMIT_TASK_LABELS : PUMIT_TASK_CLASSES;
    if (said) PUMIT__TRY(pumit__fail_in(pumit__task_from_name(task, said), "train"));
    PUMIT__REQUIRE(many == (*task == PUMIT_TASK_LABELS),
                   "config key 'train.task' is '%s', but the training images have %s", said,
                   many ? "several labels each" : "one class each");
    return PUMIT_OK;
}

/* That a number means the same class in both sets. */
static pumit_status compare_names(const pumit_trainer *t, int64_t classes)
{
    for (int64_t c = 0; c < classes; c++) {
        const char *const a = pumit_dataset_class_name(t->train, c);
        const char *const b = pumit_dataset_class_name(t->judge, c);
        PUMIT__REQUIRE(!a || !b || strcmp(a, b) == 0,
                       "class %lld is '%s' of the training images and '%s' of the validation set: "
                       "open both with the same \"class_names\"",
                       (long long)c, a, b);
    }
    return PUMIT_OK;
}

static pumit_status check_labelled(const pumit_dataset *dataset)
{
    for (int64_t i = 0; i < pumit_dataset_count(dataset); i++)
        PUMIT__REQUIRE(pumit_dataset_has_label(dataset, i, 0) >= 0,
                       "%s: has no label: classification needs one of each image, so label it or "
                       "leave it out",
                       pumit_dataset_name(dataset, i));
    return PUMIT_OK;
}

/* Whether some class is there in one image and not in another, without which there is nothing to tell apart. */
static bool differs(const pumit_dataset *dataset)
{
    const int64_t n = pumit_dataset_count(dataset);
    for (int64_t c = 0; c < pumit_dataset_classes(dataset); c++)
        for (int64_t i = 1; i < n; i++)
            if (pumit_dataset_has_label(dataset, i, c) != pumit_dataset_has_label(dataset, 0, c))
                return true;
    return false;
}

static pumit_status check_labels(const pumit_trainer *t, pumit_task task, int64_t *classes)
{
    const bool many = task == PUMIT_TASK_LABELS;
    PUMIT__TRY(check_labelled(t->train));
    PUMIT__TRY(check_labelled(t->judge));
    *classes = pumit_dataset_classes(t->train);
    PUMIT__REQUIRE(many || differs(t->train),
                   "the training images have all the same label: classification needs at least "
                   "two classes");
    const int64_t judged = pumit_dataset_classes(t->judge);
    PUMIT__REQUIRE(many == (pumit_dataset_multilabel(t->judge) != 0),
                   "the training images have %s, those of the validation set have not",
                   many ? "columns of labels" : "one class each");
    PUMIT__REQUIRE(!many || judged == *classes,
                   "the training images have %lld columns of labels, those of the validation set "
                   "%lld: open both with the same ones",
                   (long long)*classes, (long long)judged);
    PUMIT__REQUIRE(judged <= *classes,
                   "the validation set has label %lld, which no training image has",
                   (long long)(judged - 1));
    return compare_names(t, *classes);
}

static void warn_of_one_class(const pumit_trainer *t)
{
    if (t->has_validation && !differs(t->judge))
        pumit__log(t->ctx, PUMIT_LOG_WARNING,
                   "all images of the validation set have the same labels, so there is no AUC to "
                   "choose weights by: the result is the last ones, and train.patience never ends "
                   "the run");
}

/* Names for the classifier's file, where every class has one. */
static pumit_status set_names(pumit_config *config, const pumit_dataset *dataset, int64_t classes)
{
    cJSON *names = cJSON_CreateArray();
    char *text = NULL;
    bool all = names != NULL;
    for (int64_t c = 0; c < classes && all; c++) {
        const char *const name = pumit_dataset_class_name(dataset, c);
        all = name != NULL;
        if (all && !cJSON_AddItemToArray(names, cJSON_CreateString(name))) all = false;
    }
    pumit_status status = PUMIT_OK;
    if (all) status = pumit__json_print(&text, names, false);
    if (all && status == PUMIT_OK) status = pumit_config_set_json(config, "class_names", text);
    free(text);
    cJSON_Delete(names);
    return status;
}

static pumit_status describe(pumit_config **out, const pumit_trainer *t)
{
    char grid[80];
    pumit_task task;
    int64_t classes;
    const int64_t *const tokens = t->options.image_tokens;
    PUMIT__TRY(find_task(&task, t));
    PUMIT__TRY(check_labels(t, task, &classes));
    warn_of_one_class(t);
    PUMIT__TRY(pumit_config_create(out));
    PUMIT__TRY(pumit_config_set_int(*out, "classes", classes));
    PUMIT__TRY(pumit_config_set_string(*out, "task", pumit__task_name(task)));
    PUMIT__TRY(set_names(*out, t->train, classes));
    PUMIT__TRY(pumit_config_set_int(*out, "seed", t->options.seed));
    if (tokens[0] == 0) return PUMIT_OK;
    snprintf(grid, sizeof grid, "[%lld, %lld, %lld]", (long long)tokens[0], (long long)tokens[1],
             (long long)tokens[2]);
    return pumit_config_set_json(*out, "image_tokens", grid);
}

static pumit_status create(pumit_trainer *t)
{
    pumit_config *config = NULL;
    int32_t freeze;
    pumit_status status;
    PUMIT__GO(describe(&config, t));
    PUMIT__GO(pumit_config_get_bool(&freeze, t->config, "freeze_backbone", 0));
    PUMIT__GO(pumit__init_vit(t, NULL));
    PUMIT__GO(pumit__keep_section(t, "vit", pumit_vit_module(t->vit)));
    PUMIT__GO(pumit_classifier_create(&t->classifier, t->vit, config));
    if (freeze) pumit__classifier_freeze(t->classifier);
    t->model = pumit_classifier_module(t->classifier);
    if (!t->resumed)
        pumit__log(t->ctx, PUMIT_LOG_INFO, "init: new: head.weight, head.bias of %lld classes",
                   (long long)pumit_classifier_classes(t->classifier));
    PUMIT__GO(pumit__add_part(t, "model", t->model));
out:
    pumit_config_release(config);
    return status;
}

/* ------------------------------------------------------------------------------------------- weights */

/*
 * So that all classes weigh the same: n / (classes x images of it), which is 1 in the mean over the images; of labels, where each one is
 * present or absent, absent / present. A class that no image has keeps 1.
 */
static void balance(double *weights, const pumit_trainer *t, int64_t classes)
{
    const double n = (double)pumit_dataset_count(t->train);
    const bool many = pumit_dataset_multilabel(t->train);
    for (int64_t c = 0; c < classes; c++) {
        double count = 0;
        for (int64_t i = 0; i < (int64_t)n; i++)
            count += pumit_dataset_has_label(t->train, i, c) == 1;
        weights[c] = count == 0 ? 1 : many ? (n - count) / count : n / ((double)classes * count);
    }
}

static pumit_status read_weights(double *weights, const cJSON *from, int64_t classes)
{
    PUMIT__REQUIRE(cJSON_IsArray(from) && cJSON_GetArraySize(from) == classes,
                   "config key 'train.class_weights' is neither \"balanced\" nor a list of %lld "
                   "numbers, one a class",
                   (long long)classes);
    for (int64_t c = 0; c < classes; c++) {
        const cJSON *const item = cJSON_GetArrayItem(from, (int)c);
        PUMIT__REQUIRE(cJSON_IsNumber(item) && item->valuedouble >= 0 &&
                           isfinite(item->valuedouble),
                       "config key 'train.class_weights': weight %lld is no number of 0 or more",
                       (long long)c);
        weights[c] = item->valuedouble;
    }
    return PUMIT_OK;
}

static pumit_status make_weights(classify *own, const pumit_trainer *t)
{
    const cJSON *const train = cJSON_GetObjectItemCaseSensitive(t->config->root, "train");
    const cJSON *const from = cJSON_GetObjectItemCaseSensitive(train, "class_weights");
    const int64_t classes = pumit_classifier_classes(t->classifier);
    if (!from) return PUMIT_OK;
    own->weights = pumit__calloc(classes, (int64_t)sizeof *own->weights);
    if (!own->weights) return pumit__fail_memory(classes * 8, "weights of classes");
    const char *const word = cJSON_GetStringValue(from);
    if (!word || strcmp(word, "balanced") != 0) return read_weights(own->weights, from, classes);
    balance(own->weights, t, classes);
    return PUMIT_OK;
}

/* --------------------------------------------------------------------------------------------- data */

static pumit_status max_tokens(int64_t *out, const pumit_module *module)
{
    pumit_config *config;
    PUMIT__TRY(pumit_module_config(&config, module));
    const pumit_status status = pumit_config_get_int(out, config, "max_tokens", 2048);
    pumit_config_release(config);
    return status;
}

/* Labels of an image (one class number, or 0 and 1 for each of `classes`) for one batch; more come behind. */
static int64_t labels_each(const pumit_trainer *t)
{
    return pumit_classifier_task(t->classifier) == PUMIT_TASK_LABELS
               ? pumit_classifier_classes(t->classifier)
               : 1;
}

static pumit_status make_room(pumit_trainer *t)
{
    const int64_t n = t->options.batch, classes = pumit_classifier_classes(t->classifier);
    classify *const own = t->own = pumit__calloc(1, (int64_t)sizeof *own);
    if (!own) return pumit__fail_memory((int64_t)sizeof *own, "a batch");
    t->indices = pumit__calloc(n, (int64_t)sizeof *t->indices);
    t->labels = pumit__calloc(n * labels_each(t), (int64_t)sizeof *t->labels);
    own->targets = pumit__calloc(n * classes, (int64_t)sizeof *own->targets);
    if (!t->indices || !t->labels || !own->targets)
        return pumit__fail_memory(8 * n * (classes + 2), "a batch");
    return make_weights(own, t);
}

static pumit_status open_data(pumit_trainer *t)
{
    const pumit__train_options *const o = &t->options;
    pumit__batches_options options = {.batch = o->batch,
                                      .channels = pumit_vit_channels(t->vit),
                                      .seed = (uint64_t)o->seed,
                                      .shuffle = true,
                                      .mixup = o->mixup};
    memcpy(options.patch, pumit_vit_patch(t->vit), sizeof options.patch);
    memcpy(options.image_tokens, o->image_tokens, sizeof options.image_tokens);
    if (o->augment) options.augment.strength = o->augment_strength;
    for (int32_t i = 0; i < 3; i++) options.augment.flip[i] = o->augment && o->flips[i];
    PUMIT__TRY(max_tokens(&options.max_tokens, pumit_vit_module(t->vit)));
    PUMIT__TRY(pumit__batches_create(&t->batches, t->ctx, t->train, &options));
    options.shuffle = false;
    options.augment = (pumit__augment){0};
    options.mixup = 0;
    PUMIT__TRY(pumit__batches_create(&t->judge_batches, t->ctx, t->judge, &options));
    return make_room(t);
}

/* A batch with its labels in t->labels, `each` an image. */
static pumit_status take(pumit_tensor **image, double spacing[3], int64_t *count, pumit_trainer *t,
                         pumit__batches *batches, const pumit_dataset *dataset, int64_t draw)
{
    const int64_t each = labels_each(t);
    PUMIT__TRY(pumit__batches_take(image, spacing, t->indices, count, batches, draw));
    for (int64_t i = 0; i < *count; i++) {
        int64_t *const at = t->labels + i * each;
        if (each == 1) *at = pumit_dataset_label(dataset, t->indices[i]);
        for (int64_t c = 0; c < each && pumit_dataset_multilabel(dataset); c++)
            at[c] = pumit_dataset_has_label(dataset, t->indices[i], c);
    }
    return PUMIT_OK;
}

/* As the images of the batch were. */
static pumit_status mix_targets(double *targets, int64_t n, int64_t classes,
                                const pumit__batches *batches, int64_t draw)
{
    double *const first = pumit__calloc(classes, (int64_t)sizeof *first);
    if (!first) return pumit__fail_memory(classes * (int64_t)sizeof *first, "labels");
    memcpy(first, targets, (size_t)classes * sizeof *first);
    for (int64_t i = 0; i < n; i++) {
        double *const row = targets + i * classes;
        const double *const next = i + 1 < n ? row + classes : first;
        const double share = pumit__batches_share(batches, draw, i);
        for (int64_t c = 0; c < classes; c++) row[c] = share * row[c] + (1 - share) * next[c];
    }
    free(first);
    return PUMIT_OK;
}

static pumit_status loss(pumit_tensor **out, pumit__figures *terms, pumit_trainer *t, int64_t draw)
{
    const classify *const own = t->own;
    const int64_t classes = pumit_classifier_classes(t->classifier);
    pumit_tensor *image = NULL;
    double spacing[3];
    int64_t count;
    int32_t da;
    pumit_status status;
    PUMIT__GO(take(&image, spacing, &count, t, t->batches, t->train, draw));
    PUMIT__GO(pumit__class_targets(own->targets, pumit_classifier_task(t->classifier), count,
                                   classes, t->labels));
    if (t->options.mixup > 0)
        PUMIT__GO(mix_targets(own->targets, count, classes, t->batches, draw));
    PUMIT__GO(
        pumit__classifier_loss(out, t->classifier, image, spacing, own->targets, own->weights));
    PUMIT__GO(pumit_degree_of_anisotropy(&da, spacing));
    pumit__figures_add(terms, "da", da / (double)t->options.accumulate);
out:
    pumit_tensor_release(image);
    return status;
}

/* --------------------------------------------------------------------------------------- validation */

typedef struct {
    double *probabilities; /* (images, classes) */
    int64_t *labels;       /* (images, each) */
    int64_t done;          /* images */
} judged;

/* Appends a batch. */
static pumit_status judge(judged *all, pumit_trainer *t, int64_t draw)
{
    const pumit_task task = pumit_classifier_task(t->classifier);
    const int64_t classes = pumit_classifier_classes(t->classifier), each = labels_each(t);
    const int64_t outputs = pumit__class_outputs(task, classes);
    pumit_tensor *image = NULL, *logits = NULL;
    double spacing[3], *values = NULL;
    int64_t count;
    pumit_status status;
    PUMIT__GO(take(&image, spacing, &count, t, t->judge_batches, t->judge, draw));
    PUMIT__GO(pumit_classifier_forward(&logits, t->classifier, image, spacing));
    const int64_t bytes = count * outputs * (int64_t)sizeof *values;
    values = pumit__calloc(bytes, 1);
    if (!values) PUMIT__GO(pumit__fail_memory(bytes, "validation"));
    PUMIT__GO(pumit_tensor_read(logits, PUMIT_F64, values, bytes));
    pumit__class_probabilities(all->probabilities + all->done * classes, task, count, classes,
                               values);
    memcpy(all->labels + all->done * each, t->labels, (size_t)(count * each) * sizeof *t->labels);
    all->done += count;
out:
    free(values);
    pumit_tensor_release(logits);
    pumit_tensor_release(image);
    return status;
}

static double log_of(double probability)
{
    return log(fmax(probability, 1e-300));
}

/* pumit_classifier_loss() of these probabilities. */
static double loss_of(const judged *all, pumit_task task, int64_t classes)
{
    const bool many = task == PUMIT_TASK_LABELS;
    const int64_t n = many ? all->done * classes : all->done;
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        const double p =
            many ? all->probabilities[i] : all->probabilities[i * classes + all->labels[i]];
        sum -= log_of(many && !all->labels[i] ? 1 - p : p);
    }
    return sum / (double)n;
}

/* Weights that a diverging run has spoilt are the loop's business, not a broken argument of the scores. */
static bool all_finite(const double *values, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(values[i])) return false;
    return true;
}

static pumit_status score(pumit__figures *figures, const pumit_trainer *t, const judged *all)
{
    const pumit_task task = pumit_classifier_task(t->classifier);
    const int64_t classes = pumit_classifier_classes(t->classifier);
    double accuracy = 0, auc = 0;
    if (!all_finite(all->probabilities, all->done * classes)) return PUMIT_OK;
    PUMIT__TRY(pumit_classification_scores(&accuracy, &auc, task, all->done, classes,
                                           all->probabilities, all->labels));
    pumit__figures_add(figures, "auc", auc);
    pumit__figures_add(figures, "accuracy", accuracy);
    pumit__figures_add(figures, "loss", loss_of(all, task, classes));
    return PUMIT_OK;
}

static pumit_status validate(pumit__figures *figures, pumit_trainer *t)
{
    if (!t->has_validation) return PUMIT_OK;
    const int64_t n = pumit_dataset_count(t->judge), each = labels_each(t);
    const int64_t classes = pumit_classifier_classes(t->classifier);
    judged all = {.probabilities = pumit__calloc(n * classes, (int64_t)sizeof *all.probabilities),
                  .labels = pumit__calloc(n * each, (int64_t)sizeof *all.labels)};
    pumit_status status = all.probabilities && all.labels
                              ? PUMIT_OK
                              : pumit__fail_memory(n * (classes + each) * 8, "validation");
    for (int64_t i = 0; status == PUMIT_OK && i < pumit__batches_count(t->judge_batches); i++)
        status = judge(&all, t, i);
    if (status == PUMIT_OK) status = score(figures, t, &all);
    free(all.probabilities);
    free(all.labels);
    return status;
}

const pumit__recipe pumit__recipe_classify = {.name = "classify",
                                              .defaults = defaults,
                                              .create = create,
                                              .open = open_data,
                                              .loss = loss,
                                              .validate = validate,
                                              .destroy = destroy,
                                              .best = "auc"};
