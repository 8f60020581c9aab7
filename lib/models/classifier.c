/* SPDX-License-Identifier: Apache-2.0 */
/* A linear head on what a transformer's tokens say on average: logits = head(pooled hidden states). */
#include "lib/models/classifier.h"
#include "lib/data/fit.h"
#include "lib/data/labels.h"
#include "lib/models/vit.h"

#include <pumit/classifier.h>

#include <stdlib.h>
#include <string.h>

struct pumit_classifier {
    pumit_module module;
    pumit_vit *vit; /* owned reference */
    pumit_task task;
    int64_t classes;
    bool frozen;
    pumit__class_names names;
    pumit__layer head;
};

static void destroy(pumit_module *module)
{
    pumit_classifier *const classifier = (pumit_classifier *)module;
    pumit__class_free(&classifier->names);
    pumit_vit_release(classifier->vit);
}

/* The configuration that goes into the file: the head's, and the transformer's under "vit". */
static pumit_status keep_config(pumit_classifier *classifier)
{
    pumit_config *vit;
    char *json = NULL;
    PUMIT__TRY(pumit_module_config(&vit, pumit_vit_module(classifier->vit)));
    pumit_status status = pumit_config_to_json(&json, vit);
    if (status == PUMIT_OK) status = pumit_config_set_json(classifier->module.config, "vit", json);
    pumit_free(json);
    pumit_config_release(vit);
    return status;
}

static pumit_status read_config(pumit_classifier *classifier, const pumit_config *config)
{
    const char *task;
    pumit__class_names *const names = &classifier->names;
    PUMIT__TRY(pumit_config_get_string(&task, config, "task", "classes"));
    PUMIT__TRY(pumit__fail_in(pumit__task_from_name(&classifier->task, task), "classifier"));
    PUMIT__TRY(pumit_config_get_int(&classifier->classes, config, "classes", 0));
    const int64_t least = classifier->task == PUMIT_TASK_LABELS ? 1 : 2;
    PUMIT__REQUIRE(classifier->classes >= least && classifier->classes <= 1 << 20,
                   "classifier: classes is %lld, it must be in %lld..2^20",
                   (long long)classifier->classes, (long long)least);
    PUMIT__TRY(
        pumit__fail_in(pumit__class_read(names, cJSON_GetObjectItemCaseSensitive(
                                                    pumit__config_json(config), "class_names")),
                       "classifier"));
    PUMIT__REQUIRE(names->count == 0 || names->count == classifier->classes,
                   "classifier: class_names holds %lld names, there are %lld classes",
                   (long long)names->count, (long long)classifier->classes);
    return PUMIT_OK;
}

/* Takes the reference to `vit`, also on failure. */
static pumit_status build_on(pumit_module **out, pumit_vit *vit, const pumit_config *config,
                             pumit__values values)
{
    pumit_module *backbone = pumit_vit_module(vit);
    pumit_classifier *classifier = pumit__module_create(sizeof *classifier, backbone->ctx,
                                                        "classifier", config, values, destroy);
    if (!classifier) {
        pumit_vit_release(vit);
        return pumit__last_status();
    }
    pumit_module *module = &classifier->module;
    classifier->vit = vit;
    pumit_status status = read_config(classifier, config);
    if (status == PUMIT_OK) status = keep_config(classifier);
    if (status == PUMIT_OK) {
        pumit__module_share(module, backbone, "backbone.");
        classifier->head = pumit__module_linear(
            module, pumit_vit_dim(vit), pumit__class_outputs(classifier->task, classifier->classes),
            true, 0.0, "head");
        status = pumit__module_finish(module);
    }
    if (status == PUMIT_OK)
        *out = module;
    else
        pumit__module_release(module);
    return status;
}

static pumit_status build(pumit_module **out, pumit_context *ctx, const pumit_config *config,
                          pumit__values values)
{
    pumit_config *section;
    pumit_module *vit = NULL;
    PUMIT__TRY(pumit_config_get_section(&section, config, "vit"));
    pumit_status status = pumit__vit_build(&vit, ctx, section, values);
    pumit_config_release(section);
    return status == PUMIT_OK ? build_on(out, (pumit_vit *)vit, config, values) : status;
}

pumit_status pumit_classifier_create(pumit_classifier **out, pumit_vit *vit,
                                     const pumit_config *config)
{
    PUMIT__REQUIRE(out && vit, "pumit_classifier_create: an argument is NULL");
    pumit_module *module = NULL;
    pumit__module_retain(pumit_vit_module(vit));
    const pumit_status status = build_on(&module, vit, config, PUMIT__DRAWN);
    *out = (pumit_classifier *)module;
    return status;
}

pumit_status pumit_classifier_load(pumit_classifier **out, pumit_context *context, const char *path)
{
    PUMIT__REQUIRE(out && context && path, "pumit_classifier_load: an argument is NULL");
    pumit_module *module = NULL;
    const pumit_status status = pumit__module_load(&module, context, path, "classifier", build);
    *out = (pumit_classifier *)module;
    return status;
}

pumit_status pumit_classifier_share(pumit_classifier **out, pumit_context *context,
                                    const pumit_classifier *classifier)
{
    PUMIT__REQUIRE(out && context && classifier, "pumit_classifier_share: an argument is NULL");
    pumit_module *module = NULL;
    const pumit_status status = pumit__module_join(&module, context, &classifier->module, build);
    *out = (pumit_classifier *)module;
    return status;
}

void pumit_classifier_release(pumit_classifier *classifier)
{
    if (classifier) pumit__module_release(&classifier->module);
}

pumit_module *pumit_classifier_module(pumit_classifier *classifier)
{
    return classifier ? &classifier->module : NULL;
}

pumit_vit *pumit_classifier_vit(pumit_classifier *classifier)
{
    return classifier ? classifier->vit : NULL;
}

int64_t pumit_classifier_classes(const pumit_classifier *classifier)
{
    return classifier->classes;
}

pumit_task pumit_classifier_task(const pumit_classifier *classifier)
{
    return classifier->task;
}

const char *pumit_classifier_class_name(const pumit_classifier *classifier, int64_t c)
{
    return c >= 0 && c < classifier->names.count ? classifier->names.names[c] : NULL;
}

void pumit__classifier_freeze(pumit_classifier *classifier)
{
    classifier->frozen = true;
}

/* ------------------------------------------------------------------------------------------ forward */

static pumit_tensor *features_of(pumit_classifier *classifier, pumit_tensor *image, int32_t da)
{
    int64_t grid[3];
    pumit_tensor *tokens = pumit__vit_image_tokens(classifier->vit, image, da, grid);
    return pumit__vit_pooled(classifier->vit, pumit__vit_hidden(classifier->vit, tokens, grid));
}

static pumit_tensor *logits_of(pumit_classifier *classifier, pumit_tensor *image, int32_t da)
{
    pumit_context *ctx = classifier->module.ctx;
    const bool recording = ctx->recording;
    if (classifier->frozen) ctx->recording = false;
    pumit_tensor *features = features_of(classifier, image, da);
    ctx->recording = recording;
    return pumit__linear(features, classifier->head.weight, classifier->head.bias);
}

pumit_status pumit_classifier_forward(pumit_tensor **out, pumit_classifier *classifier,
                                      pumit_tensor *image, const double spacing[3])
{
    int32_t da;
    PUMIT__REQUIRE(out && classifier && image, "pumit_classifier_forward: an argument is NULL");
    *out = NULL;
    PUMIT__TRY(pumit_degree_of_anisotropy(&da, spacing));
    pumit_context *ctx = classifier->module.ctx;
    const int64_t mark = pumit__scope_begin(ctx);
    return pumit__scope_return(out, ctx, mark, logits_of(classifier, image, da));
}

pumit_status pumit__classifier_loss(pumit_tensor **out, pumit_classifier *classifier,
                                    pumit_tensor *image, const double spacing[3],
                                    const double *targets, const double *weights)
{
    int32_t da;
    *out = NULL;
    PUMIT__TRY(pumit_degree_of_anisotropy(&da, spacing));
    pumit_context *ctx = classifier->module.ctx;
    const int64_t mark = pumit__scope_begin(ctx);
    const bool recording = ctx->recording;
    ctx->recording = true;
    pumit_tensor *loss = pumit__class_loss(logits_of(classifier, image, da), classifier->task,
                                           classifier->classes, targets, weights);
    ctx->recording = recording;
    return pumit__scope_return(out, ctx, mark, loss);
}

pumit_status pumit_classifier_loss(pumit_tensor **out, pumit_classifier *classifier,
                                   pumit_tensor *image, const double spacing[3],
                                   const int64_t *labels)
{
    PUMIT__REQUIRE(out && classifier && image && labels,
                   "pumit_classifier_loss: an argument is NULL");
    *out = NULL;
    /* The images say how many labels there are. */
    if (image->ndim != 5)
        return pumit__fail(PUMIT_ERROR_SHAPE, "classifier: images %s are not (N, D, H, W, C)",
                           pumit__shape_string(image->ndim, image->shape).text);
    const int64_t n = image->shape[0], classes = classifier->classes;
    double *targets = pumit__calloc(n * classes, (int64_t)sizeof *targets);
    if (!targets) return pumit__fail_memory(n * classes * (int64_t)sizeof *targets, "labels");
    pumit_status status = pumit__class_targets(targets, classifier->task, n, classes, labels);
    if (status == PUMIT_OK)
        status = pumit__classifier_loss(out, classifier, image, spacing, targets, NULL);
    free(targets);
    return status;
}

/* The same grid of patches as in training. */
static pumit_status prepare(pumit_tensor **out, double spacing[3],
                            const pumit_classifier *classifier, const pumit_volume *volume)
{
    int64_t tokens[3] = {0}, size[3], most;
    int32_t count;
    const pumit_config *config = classifier->module.config;
    PUMIT__TRY(pumit_config_get_ints(tokens, 3, &count, config, "image_tokens"));
    PUMIT__TRY(pumit_config_get_int(&most, config, "vit.max_tokens", 2048));
    pumit__fit_size(size, volume, pumit_vit_patch(classifier->vit), tokens, most);
    return pumit__fit_volume(out, spacing, volume, classifier->module.ctx,
                             pumit_vit_channels(classifier->vit), size);
}

/* Probabilities (n, classes) of logits (n, outputs); NULL on failure. */
static pumit_tensor *probabilities_of(const pumit_classifier *classifier, pumit_tensor *logits)
{
    if (!logits) return NULL;
    const int64_t n = logits->shape[0], outputs = logits->shape[1];
    const int64_t shape[2] = {n, classifier->classes};
    const int64_t bytes = n * outputs * (int64_t)sizeof(double);
    double *values = pumit__calloc(n * (outputs + shape[1]), (int64_t)sizeof *values);
    if (!values) {
        pumit__fail_memory(2 * bytes, "probabilities");
        return NULL;
    }
    double *const made = values + n * outputs;
    pumit_tensor *out = NULL;
    if (pumit_tensor_read(logits, PUMIT_F64, values, bytes) == PUMIT_OK) {
        pumit__class_probabilities(made, classifier->task, n, shape[1], values);
        out = pumit__from_host(logits->ctx, PUMIT_F64, made, 0, 2, shape);
    }
    free(values);
    return out;
}

pumit_status pumit_classifier_predict(pumit_tensor **out, pumit_classifier *classifier,
                                      const pumit_volume *volume)
{
    PUMIT__REQUIRE(out && classifier && volume, "pumit_classifier_predict: an argument is NULL");
    pumit_tensor *image;
    double spacing[3];
    int32_t da;
    *out = NULL;
    PUMIT__TRY(prepare(&image, spacing, classifier, volume));
    pumit_context *ctx = classifier->module.ctx;
    const int64_t mark = pumit__scope_begin(ctx);
    pumit_status status = pumit_degree_of_anisotropy(&da, spacing);
    if (status == PUMIT_OK)
        status = pumit__scope_return(
            out, ctx, mark, probabilities_of(classifier, logits_of(classifier, image, da)));
    pumit_tensor_release(image);
    return status;
}
