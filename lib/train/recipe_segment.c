/* SPDX-License-Identifier: Apache-2.0 */
/* Fine-tuning for segmentation: patches of images with label maps, a decoder on a transformer, new or pre-trained. */
#include "lib/data/dataset.h"
#include "lib/data/patches.h"
#include "lib/data/regrid.h"
#include "lib/models/segmenter.h"
#include "lib/tensor/context.h"
#include "lib/train/init.h"
#include "lib/train/overlap.h"

#include <pumit/segment.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    pumit__patches *patches;
    int64_t size[PUMIT__MOST_ANISOTROPY + 1][3]; /* of a patch */
} segment;

static void defaults(pumit__train_options *options)
{
    options->steps = 2000;
    options->batch = 2;
    options->learning_rate = 1e-3;
    options->weight_decay = 0.01;
    options->checkpoint_every = 250;
    options->validate_every = 250;
    options->foreground = 0.5;
    options->scale_range[0] = 0.7;
    options->scale_range[1] = 1.4;
    options->scale_probability = 0.3;
    options->rotate_probability = 0.3;
    options->flips[0] = options->flips[1] = 1;
    options->noise_probability = 0.15;
    options->blur_probability = 0.15;
    options->low_resolution_probability = 0.2;
    options->tone_probability = 0.3;
}

/* ------------------------------------------------------------------------------------------- the model */

static pumit_status check_label_maps(const pumit_dataset *dataset, int64_t classes)
{
    for (int64_t i = 0; i < dataset->count; i++)
        PUMIT__REQUIRE(dataset->items[i].label_map,
                       "%s: has no label map: every image to segment needs one",
                       dataset->items[i].name);
    PUMIT__REQUIRE(dataset->classes <= classes,
                   "the validation set has class %lld, which no training image has",
                   (long long)dataset->classes - 1);
    return PUMIT_OK;
}

/* Of the image on the network's voxels. */
static pumit_status grid_of(int64_t size[3], int32_t *da, const pumit_volume *volume,
                            const double spacing[3])
{
    double step[3], own[3];
    pumit__regrid_plan(size, step, volume, spacing);
    for (int32_t i = 0; i < 3; i++) own[i] = volume->spacing[i] * step[i];
    return pumit_degree_of_anisotropy(da, own);
}

/* The degree of anisotropy of most images: what a segmenter is made for that does not adapt. */
static pumit_status usual_anisotropy(int32_t *out, const pumit_trainer *t)
{
    int64_t counts[PUMIT__MOST_ANISOTROPY + 1] = {0}, size[3];
    *out = 0;
    for (int64_t i = 0; i < t->train->count; i++) {
        int32_t da;
        PUMIT__TRY(grid_of(size, &da, t->train->items[i].volume, t->options.spacing));
        if (++counts[da] > counts[*out]) *out = da;
    }
    return PUMIT_OK;
}

/* A patch as shallow as those images ask for, where nothing says how the network is to adapt; never deeper than the transformer's. */
static pumit_status fix_patch(pumit_config *config, const pumit_trainer *t)
{
    int32_t da;
    char patch[80];
    const int64_t *const p = pumit_vit_patch(t->vit);
    PUMIT__TRY(usual_anisotropy(&da, t));
    const int64_t wanted = p[1] >> da > 1 ? p[1] >> da : 1;
    snprintf(patch, sizeof patch, "[%lld, %lld, %lld]", (long long)(wanted < p[0] ? wanted : p[0]),
             (long long)p[1], (long long)p[2]);
    return pumit_config_set_json(config, "patch", patch);
}

static pumit_status set_class_names(pumit_config *config, const pumit_trainer *t, int64_t classes)
{
    bool named = false, whole = true;
    cJSON *names = cJSON_CreateArray();
    for (int64_t c = 0; c < classes; c++) {
        const char *const name = pumit_dataset_class_name(t->train, c);
        char number[32];
        snprintf(number, sizeof number, c == 0 ? "background" : "class %lld", (long long)c);
        named = named || name;
        whole = whole && cJSON_AddItemToArray(names, cJSON_CreateString(name ? name : number));
    }
    if (named && whole) return pumit__json_set(config->root, "class_names", names);
    cJSON_Delete(names);
    return whole ? PUMIT_OK : pumit__fail_memory(classes, "names of classes");
}

static pumit_status set_grid(pumit_config *config, const pumit_trainer *t)
{
    const double *const s = t->options.spacing;
    const int64_t *const w = t->options.tokens;
    char text[96];
    snprintf(text, sizeof text, "[%.17g, %.17g, %.17g]", s[0], s[1], s[2]);
    PUMIT__TRY(pumit_config_set_json(config, "spacing", text));
    snprintf(text, sizeof text, "[%lld, %lld, %lld]", (long long)w[0], (long long)w[1],
             (long long)w[2]);
    return pumit_config_set_json(config, "window", text);
}

/* The transformer's keys, then what "segmenter" of the config says, then what follows from the data. */
static pumit_status complete(pumit_config *config, const pumit_trainer *t, int64_t classes)
{
    int32_t adaptive;
    int64_t seed;
    PUMIT__TRY(pumit_config_get_bool(&adaptive, t->config, "segmenter.adaptive", 1));
    PUMIT__TRY(pumit_config_get_int(&seed, t->config, "segmenter.seed", t->options.seed));
    PUMIT__TRY(pumit_config_set_bool(config, "adaptive", adaptive));
    PUMIT__TRY(pumit_config_set_bool(config, "normalize", 1));
    if (!adaptive) PUMIT__TRY(fix_patch(config, t));
    pumit_config *own;
    PUMIT__TRY(pumit_config_get_section(&own, t->config, "segmenter"));
    pumit_status status = pumit_config_merge(config, own);
    pumit_config_release(own);
    if (status == PUMIT_OK) status = pumit_config_set_int(config, "classes", classes);
    if (status == PUMIT_OK) status = pumit_config_set_int(config, "seed", seed);
    if (status == PUMIT_OK) status = set_grid(config, t);
    return status == PUMIT_OK ? set_class_names(config, t, classes) : status;
}

static pumit_status make_segmenter(pumit_trainer *t, int64_t classes)
{
    pumit_config *config;
    PUMIT__TRY(pumit_module_config(&config, pumit_vit_module(t->vit)));
    pumit_status status = complete(config, t, classes);
    if (status == PUMIT_OK) status = pumit_segmenter_create(&t->segmenter, t->ctx, config);
    pumit_config_release(config);
    if (status == PUMIT_OK) status = pumit__segmenter_take_vit(t->segmenter, t->vit);
    if (status != PUMIT_OK) return status;
    const int64_t all = pumit_module_parameter_count(pumit_segmenter_module(t->segmenter));
    const int64_t taken =
        pumit_module_parameter_count(pumit_vit_module(pumit_segmenter_vit(t->segmenter)));
    if (!t->resumed)
        pumit__log(t->ctx, PUMIT_LOG_INFO,
                   "init: new: %lld tensors of pyramid, decoder and heads for %lld classes; %lld "
                   "are the transformer's",
                   (long long)(all - taken), (long long)classes, (long long)taken);
    return PUMIT_OK;
}

static pumit_status create(pumit_trainer *t)
{
    const int64_t classes = pumit_dataset_classes(t->train);
    PUMIT__TRY(check_label_maps(t->train, classes));
    PUMIT__TRY(check_label_maps(t->judge, classes));
    PUMIT__REQUIRE(classes >= 2, "the training images' label maps hold nothing but background");
    PUMIT__TRY(pumit__init_vit(t, NULL));
    PUMIT__TRY(pumit__keep_section(t, "vit", pumit_vit_module(t->vit)));
    PUMIT__TRY(make_segmenter(t, classes));
    pumit_vit_release(t->vit); /* the segmenter has one of its own */
    t->vit = NULL;
    t->model = pumit_segmenter_module(t->segmenter);
    return pumit__add_part(t, "model", t->model);
}

/* -------------------------------------------------------------------------------------------- the data */

static void grow(int64_t longest[3], const int64_t size[3])
{
    for (int32_t k = 0; k < 3; k++)
        if (size[k] > longest[k]) longest[k] = size[k];
}

/* As many tokens as are wanted, fewer where no image is that large, and whole steps of the network, which are the same for all images where
 * it does not adapt. */
static pumit_status plan_sizes(segment *own, const pumit_trainer *t)
{
    const int64_t *const patch = pumit_vit_patch(pumit_segmenter_vit(t->segmenter));
    const bool adaptive = pumit_segmenter_adaptive(t->segmenter) != 0;
    int64_t longest[PUMIT__MOST_ANISOTROPY + 1][3] = {{0}};
    int32_t fixed = 0;
    if (!adaptive) PUMIT__TRY(pumit__segmenter_da(&fixed, t->segmenter, NULL));
    for (int64_t i = 0; i < t->train->count; i++) {
        int64_t size[3];
        int32_t da;
        PUMIT__TRY(grid_of(size, &da, t->train->items[i].volume, t->options.spacing));
        grow(longest[da], size);
        for (int32_t k = 1; k <= PUMIT__THICKER && t->options.thick > 0; k++) {
            double thicker[3];
            if (!pumit__regrid_thicker(thicker, size, t->train->items[i].volume, t->options.spacing,
                                       k))
                break;
            PUMIT__TRY(pumit_degree_of_anisotropy(&da, thicker));
            grow(longest[da], size);
        }
    }
    for (int32_t da = 0; da <= PUMIT__MOST_ANISOTROPY; da++) {
        int64_t stride[3];
        pumit__segmenter_stride(stride, t->segmenter, adaptive ? da : fixed);
        for (int32_t k = 0; k < 3; k++) {
            const int64_t shrunk = k == 0 && adaptive ? patch[0] >> da : patch[k];
            const int64_t wanted = t->options.tokens[k] * (shrunk > 1 ? shrunk : 1);
            const int64_t size = wanted < longest[da][k] ? wanted : longest[da][k];
            own->size[da][k] = (size + stride[k] - 1) / stride[k] * stride[k];
        }
    }
    return PUMIT_OK;
}

static void set_changes(pumit__patch_changes *changes, const pumit__train_options *o)
{
    if (!o->augment) return;
    *changes = (pumit__patch_changes){.rotate = o->rotate_probability,
                                      .scale = o->scale_probability,
                                      .scale_range = {o->scale_range[0], o->scale_range[1]},
                                      .noise = o->noise_probability,
                                      .blur = o->blur_probability,
                                      .low_resolution = o->low_resolution_probability,
                                      .tone = o->tone_probability};
    for (int32_t i = 0; i < 3; i++) changes->flip[i] = o->flips[i] ? 0.5 : 0;
}

static pumit_status open_data(pumit_trainer *t)
{
    segment *const own = t->own = pumit__calloc(1, (int64_t)sizeof *own);
    if (!own) return pumit__fail_memory((int64_t)sizeof *own, "a run");
    PUMIT__TRY(plan_sizes(own, t));
    pumit__patches_options options = {
        .batch = t->options.batch,
        .channels = pumit_vit_channels(pumit_segmenter_vit(t->segmenter)),
        .foreground = t->options.foreground,
        .thick =
            t->options.augment && pumit_segmenter_adaptive(t->segmenter) ? t->options.thick : 0,
        .seed = (uint64_t)t->options.seed};
    memcpy(options.size, own->size, sizeof options.size);
    memcpy(options.spacing, t->options.spacing, sizeof options.spacing);
    set_changes(&options.changes, &t->options);
    return pumit__patches_create(&own->patches, t->ctx, t->train, &options);
}

static void destroy(pumit_trainer *t)
{
    segment *const own = t->own;
    if (own) pumit__patches_release(own->patches);
    free(own);
}

static pumit_status loss(pumit_tensor **out, pumit__figures *terms, pumit_trainer *t, int64_t draw)
{
    const segment *const own = t->own;
    pumit_tensor *image, *labels;
    double spacing[3];
    int32_t da;
    PUMIT__TRY(pumit__patches_take(&image, &labels, spacing, own->patches, draw));
    pumit_status status = pumit_segmenter_loss(out, t->segmenter, image, spacing, labels);
    pumit_tensor_release(image);
    pumit_tensor_release(labels);
    PUMIT__TRY(status);
    PUMIT__TRY(pumit_degree_of_anisotropy(&da, spacing));
    pumit__figures_add(terms, "da", da / (double)t->options.accumulate);
    return PUMIT_OK;
}

/* ------------------------------------------------------------------------------------------ validation */
/* Mean Dice of the classes, as a user would get them: on the image's own voxels, by sliding windows. */
static pumit_status judge(double *dice, pumit_trainer *t, const pumit__dataset_item *item)
{
    pumit__overlap overlaps[PUMIT__MOST_CLASSES] = {{0}};
    const int64_t *const shape = item->volume->shape;
    const int64_t classes = pumit_segmenter_classes(t->segmenter);
    pumit_label_map *found;
    PUMIT__TRY(pumit_segmenter_segment(&found, t->segmenter, item->volume, NULL, NULL, NULL));
    pumit__overlap_count(overlaps, classes, found->labels, item->label_map->labels,
                         shape[0] * shape[1] * shape[2]);
    *dice = pumit__overlap_mean_dice(overlaps, classes);
    pumit_label_map_release(found);
    return PUMIT_OK;
}

static pumit_status validate(pumit__figures *figures, pumit_trainer *t)
{
    if (!t->has_validation) return PUMIT_OK;
    double sum = 0, count = 0;
    for (int64_t i = 0; i < t->judge->count; i++) {
        double dice;
        PUMIT__TRY(judge(&dice, t, &t->judge->items[i]));
        if (isnan(dice)) continue;
        sum += dice;
        count++;
    }
    if (count > 0) pumit__figures_add(figures, "dice", sum / count);
    return PUMIT_OK;
}

const pumit__recipe pumit__recipe_segment = {.name = "segment",
                                             .defaults = defaults,
                                             .create = create,
                                             .open = open_data,
                                             .loss = loss,
                                             .validate = validate,
                                             .destroy = destroy,
                                             .best = "dice"};
