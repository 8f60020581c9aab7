/* SPDX-License-Identifier: Apache-2.0 */
/* A segmentation network: construction, and the way from an image to logits and loss. */
#include "lib/models/segmenter.h"

#include "lib/models/segmentation_loss.h"

#include <stdlib.h>
#include <string.h>

struct pumit_segmenter {
    pumit_module module;
    pumit_vit *vit; /* owned reference */
    int64_t classes;
    int64_t out_indexes[PUMIT__PYRAMID_MAPS];
    int64_t stride[3]; /* of the coarsest map, in voxels */
    int32_t da;
    pumit__decoder_channels channels;
    pumit__adapter adapter;
    pumit__decoder decoder;
    pumit__layer heads[PUMIT__SEGMENTATION_HEADS];
};

/* ----------------------------------------------------------------------------------------- building */

static void destroy(pumit_module *module)
{
    pumit_vit_release(((pumit_segmenter *)module)->vit);
}

/* Exactly `count` numbers in least..most; `fallback` where the key is absent. */
static pumit_status read_numbers(int64_t *out, const pumit_config *config, const char *key,
                                 int32_t count, const int64_t *fallback, int64_t least,
                                 int64_t most)
{
    int32_t found;
    PUMIT__TRY(pumit_config_get_ints(out, count, &found, config, key));
    PUMIT__REQUIRE(found == 0 || found == count, "segmenter: '%s' needs %d numbers", key, count);
    if (found == 0) memcpy(out, fallback, (size_t)count * sizeof *out);
    for (int32_t i = 0; i < count; i++)
        PUMIT__REQUIRE(out[i] >= least && out[i] <= most,
                       "segmenter: '%s' holds %lld, which is not in %lld..%lld", key,
                       (long long)out[i], (long long)least, (long long)most);
    return PUMIT_OK;
}

static pumit_status read_channels(pumit_segmenter *s)
{
    static const int64_t inner[] = {128, 256, 512, 512}, full[] = {32, 64, 128};
    const pumit_config *config = s->module.config;
    pumit__decoder_channels *c = &s->channels;
    int64_t all[PUMIT__FULL_STAGES + 1];
    PUMIT__TRY(read_numbers(c->inner, config, "channels", PUMIT__PYRAMID_MAPS, inner, 1, 1 << 16));
    PUMIT__TRY(
        read_numbers(all, config, "full_res_channels", PUMIT__FULL_STAGES + 1, full, 1, 1 << 16));
    memcpy(c->full, all, sizeof c->full);
    PUMIT__REQUIRE(all[PUMIT__FULL_STAGES] == c->inner[0],
                   "segmenter: the last of 'full_res_channels' is %lld, the first of 'channels' "
                   "%lld: they must be the same",
                   (long long)all[PUMIT__FULL_STAGES], (long long)c->inner[0]);
    c->image = pumit_vit_channels(s->vit);
    c->lateral = pumit_vit_dim(s->vit);
    return PUMIT_OK;
}

static pumit_status read_patch(pumit_segmenter *s)
{
    const int64_t *patch = pumit_vit_patch(s->vit);
    PUMIT__REQUIRE(patch[1] == 16,
                   "segmenter: a patch of %lldx%lldx%lld: it must be 16 in the plane",
                   (long long)patch[0], (long long)patch[1], (long long)patch[2]);
    for (int64_t depth = patch[0]; depth < 16; depth *= 2) s->da++;
    /* The coarsest map is one step below the tokens; DA is 4 at most, so depth joins that step. */
    for (int32_t i = 0; i < 3; i++) s->stride[i] = 2 * patch[i];
    return PUMIT_OK;
}

static pumit_status read_config(pumit_segmenter *s)
{
    static const int64_t indexes[] = {3, 5, 7, 11};
    const pumit_config *config = s->module.config;
    int64_t depth;
    PUMIT__TRY(pumit_config_get_int(&s->classes, config, "classes", 0));
    PUMIT__REQUIRE(s->classes >= 2 && s->classes <= 1 << 16,
                   "segmenter: classes is %lld, it must be in 2..2^16", (long long)s->classes);
    PUMIT__TRY(pumit_config_get_int(&depth, config, "depth", 12));
    PUMIT__TRY(read_numbers(s->out_indexes, config, "out_indexes", PUMIT__PYRAMID_MAPS, indexes, 0,
                            depth - 1));
    PUMIT__TRY(read_patch(s));
    return read_channels(s);
}

static void add_parameters(pumit_segmenter *s)
{
    pumit_module *module = &s->module;
    pumit__module_share(module, pumit_vit_module(s->vit), "backbone.");
    pumit__adapter_build(&s->adapter, module, pumit_vit_dim(s->vit), s->da);
    pumit__decoder_build(&s->decoder, module, &s->channels, s->da);
    for (int32_t i = 0; i < PUMIT__SEGMENTATION_HEADS; i++) {
        const pumit__conv_shape shape = {.in = pumit__decoder_feature_channels(&s->channels, i),
                                         .out = s->classes,
                                         .kernel = {1, 1, 1},
                                         .bias = true};
        char name[32];
        snprintf(name, sizeof name, "seg_heads.%d", i);
        s->heads[i] = pumit__conv_layer(module, &shape, name);
    }
}

/* The transformer of a segmenter's configuration, without a masked-modelling head. */
static pumit_status build_vit(pumit_vit **out, pumit_context *ctx, const pumit_config *config,
                              bool random)
{
    pumit_config *own;
    pumit_module *module = NULL;
    PUMIT__TRY(pumit_config_create(&own));
    pumit_status status = config ? pumit_config_merge(own, config) : PUMIT_OK;
    if (status == PUMIT_OK) status = pumit_config_set_int(own, "codes", 0);
    if (status == PUMIT_OK) status = pumit__vit_build(&module, ctx, own, random);
    pumit_config_release(own);
    *out = (pumit_vit *)module;
    return status;
}

static pumit_status build(pumit_module **out, pumit_context *ctx, const pumit_config *config,
                          bool random)
{
    pumit_segmenter *s = pumit__module_create(sizeof *s, ctx, "segmenter", config, random, destroy);
    if (!s) return pumit__last_status();
    pumit_status status = build_vit(&s->vit, ctx, config, random);
    if (status == PUMIT_OK) status = read_config(s);
    if (status == PUMIT_OK) add_parameters(s);
    if (status == PUMIT_OK) status = s->module.status;
    if (status == PUMIT_OK)
        *out = &s->module;
    else
        pumit__module_release(&s->module);
    return status;
}

pumit_status pumit_segmenter_create(pumit_segmenter **out, pumit_context *context,
                                    const pumit_config *config)
{
    PUMIT__REQUIRE(out && context, "pumit_segmenter_create: an argument is NULL");
    pumit_module *module = NULL;
    const pumit_status status = build(&module, context, config, true);
    *out = (pumit_segmenter *)module;
    return status;
}

pumit_status pumit_segmenter_load(pumit_segmenter **out, pumit_context *context, const char *path)
{
    PUMIT__REQUIRE(out && context && path, "pumit_segmenter_load: an argument is NULL");
    pumit_module *module = NULL;
    const pumit_status status = pumit__module_load(&module, context, path, "segmenter", build);
    *out = (pumit_segmenter *)module;
    return status;
}

void pumit_segmenter_release(pumit_segmenter *segmenter)
{
    if (segmenter) pumit__module_release(&segmenter->module);
}

pumit_module *pumit_segmenter_module(pumit_segmenter *segmenter)
{
    return segmenter ? &segmenter->module : NULL;
}

pumit_vit *pumit_segmenter_vit(pumit_segmenter *segmenter)
{
    return segmenter ? segmenter->vit : NULL;
}

int64_t pumit_segmenter_classes(const pumit_segmenter *segmenter)
{
    return segmenter->classes;
}

const int64_t *pumit_segmenter_stride(const pumit_segmenter *segmenter)
{
    return segmenter->stride;
}

/* ------------------------------------------------------------------------------------------ forward */

static pumit_status check_image(const pumit_segmenter *s, const pumit_tensor *image)
{
    const int64_t *shape = image->shape, *step = s->stride;
    bool fits = image->ndim == 5 && shape[0] >= 1 && shape[4] == s->channels.image;
    for (int32_t i = 0; i < 3 && fits; i++)
        fits = shape[1 + i] >= step[i] && shape[1 + i] % step[i] == 0;
    if (fits) return PUMIT_OK;
    return pumit__fail(PUMIT_ERROR_SHAPE,
                       "segmenter: image %s; it must be (N, D, H, W, %lld), D, H, W multiples of "
                       "%lld, %lld, %lld: pad it",
                       pumit__shape_string(image->ndim, shape).text, (long long)s->channels.image,
                       (long long)step[0], (long long)step[1], (long long)step[2]);
}

pumit_status pumit__segmenter_maps_of(pumit__segmenter_maps *out, pumit_segmenter *s,
                                      pumit_tensor *image)
{
    int64_t grid[3];
    pumit_tensor *states[PUMIT__PYRAMID_MAPS];
    PUMIT__TRY(check_image(s, image));
    pumit_tensor *x = pumit__as_real(s->module.ctx, image);
    if (!x) return pumit__last_status();
    /* The patch is one of images of this DA already: what the transformer adapts to is none. */
    PUMIT__TRY(pumit__vit_states(states, grid, s->vit, x, 0, s->out_indexes, PUMIT__PYRAMID_MAPS));
    PUMIT__TRY(pumit__adapter_forward(out->pyramid, &s->adapter, states, grid));
    return pumit__decoder_forward(out->features, &s->decoder, out->pyramid, x);
}

pumit_tensor *pumit__segmenter_head(const pumit_segmenter *s, int32_t i, pumit_tensor *feature)
{
    const int64_t stride[3] = {1, 1, 1}, padding[3] = {0, 0, 0};
    return pumit__conv(feature, s->heads[i].weight, s->heads[i].bias, stride, padding);
}

pumit_status pumit_segmenter_forward(pumit_tensor **out, pumit_segmenter *segmenter,
                                     pumit_tensor *image)
{
    PUMIT__REQUIRE(out && segmenter && image, "pumit_segmenter_forward: an argument is NULL");
    pumit_context *ctx = segmenter->module.ctx;
    const int64_t mark = pumit__scope_begin(ctx);
    pumit__segmenter_maps maps;
    pumit_tensor *logits = NULL;
    if (pumit__segmenter_maps_of(&maps, segmenter, image) == PUMIT_OK)
        logits = pumit__segmenter_head(segmenter, 0, maps.features[0]);
    return pumit__scope_return(out, ctx, mark, logits);
}

static pumit_tensor *loss_of(pumit_segmenter *s, pumit_tensor *image, pumit_tensor *labels)
{
    pumit__segmenter_maps maps;
    pumit_tensor *logits[PUMIT__SEGMENTATION_HEADS];
    if (check_image(s, image) != PUMIT_OK) return NULL;
    pumit_tensor *target =
        pumit__label_target(pumit__of_context(s->module.ctx, labels), s->classes);
    if (!target) return NULL;
    if (memcmp(labels->shape, image->shape, 4 * sizeof *labels->shape) != 0) {
        pumit__fail(PUMIT_ERROR_SHAPE, "segmenter: labels %s do not fit image %s",
                    pumit__shape_string(4, labels->shape).text,
                    pumit__shape_string(5, image->shape).text);
        return NULL;
    }
    if (pumit__segmenter_maps_of(&maps, s, image) != PUMIT_OK) return NULL;
    for (int32_t i = 0; i < PUMIT__SEGMENTATION_HEADS; i++)
        logits[i] = pumit__segmenter_head(s, i, maps.features[i]);
    return pumit__deep_supervision_loss(logits, PUMIT__SEGMENTATION_HEADS, target);
}

pumit_status pumit_segmenter_loss(pumit_tensor **out, pumit_segmenter *segmenter,
                                  pumit_tensor *image, pumit_tensor *labels)
{
    PUMIT__REQUIRE(out && segmenter && image && labels,
                   "pumit_segmenter_loss: an argument is NULL");
    pumit_context *ctx = segmenter->module.ctx;
    const int64_t mark = pumit__scope_begin(ctx);
    const bool recording = ctx->recording;
    ctx->recording = true;
    pumit_tensor *loss = loss_of(segmenter, image, labels);
    ctx->recording = recording;
    return pumit__scope_return(out, ctx, mark, loss);
}
