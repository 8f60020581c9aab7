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
    bool adaptive;  /* serves images of any DA */
    bool normalize; /* images come in [0, 1] */
    int32_t da;     /* of its images; 0 where adaptive */
    int32_t down;   /* in-plane halvings up to the tokens */
    pumit__decoder_channels channels;
    pumit__adapter adapter;
    pumit__decoder decoder;
    int32_t head_count;
    pumit__layer heads[PUMIT__SEGMENTATION_HEADS];
};

/* ----------------------------------------------------------------------------------------- building */

static void destroy(pumit_module *module)
{
    pumit_segmenter *s = (pumit_segmenter *)module;
    pumit__adapter_destroy(&s->adapter);
    pumit__decoder_destroy(&s->decoder);
    pumit_vit_release(s->vit);
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
    int64_t all[PUMIT__MOST_STAGES + 1];
    c->stages = s->down - 2;
    PUMIT__TRY(read_numbers(c->inner, config, "channels", PUMIT__PYRAMID_MAPS, inner, 1, 1 << 16));
    PUMIT__TRY(read_numbers(all, config, "full_res_channels", c->stages + 1,
                            full + PUMIT__MOST_STAGES - c->stages, 1, 1 << 16));
    memcpy(c->full, all, sizeof c->full);
    PUMIT__REQUIRE(all[c->stages] == c->inner[0],
                   "segmenter: the last of 'full_res_channels' is %lld, the first of 'channels' "
                   "%lld: they must be the same",
                   (long long)all[c->stages], (long long)c->inner[0]);
    c->image = pumit_vit_channels(s->vit);
    c->lateral = pumit_vit_dim(s->vit);
    return PUMIT_OK;
}

static pumit_status read_patch(pumit_segmenter *s)
{
    const int64_t *patch = pumit_vit_patch(s->vit);
    int32_t adaptive;
    PUMIT__TRY(pumit_config_get_bool(&adaptive, s->module.config, "adaptive", 0));
    s->adaptive = adaptive;
    PUMIT__REQUIRE(patch[1] >= 4 && patch[0] <= patch[1],
                   "segmenter: a patch of %lldx%lldx%lld: it must be at least 4 in the plane, and "
                   "not deeper than that",
                   (long long)patch[0], (long long)patch[1], (long long)patch[2]);
    PUMIT__REQUIRE(!s->adaptive || patch[0] == patch[1],
                   "segmenter: a patch of %lldx%lldx%lld is of one spacing: with 'adaptive' it "
                   "must be a cube",
                   (long long)patch[0], (long long)patch[1], (long long)patch[2]);
    for (int64_t depth = patch[0]; depth < patch[1]; depth *= 2) s->da++;
    for (int64_t side = 1; side < patch[1]; side *= 2) s->down++;
    return PUMIT_OK;
}

/* A third, half, two thirds and the whole of the transformer's depth. */
static pumit_status read_out_indexes(pumit_segmenter *s)
{
    int64_t depth;
    PUMIT__TRY(pumit_config_get_int(&depth, s->module.config, "depth", 12));
    int64_t usual[PUMIT__PYRAMID_MAPS] = {depth / 3, depth / 2, depth * 2 / 3, depth};
    for (int32_t i = 0; i < PUMIT__PYRAMID_MAPS; i++) usual[i] -= usual[i] > 0;
    return read_numbers(s->out_indexes, s->module.config, "out_indexes", PUMIT__PYRAMID_MAPS, usual,
                        0, depth - 1);
}

static pumit_status read_config(pumit_segmenter *s)
{
    const pumit_config *config = s->module.config;
    int32_t normalize;
    PUMIT__TRY(pumit_config_get_int(&s->classes, config, "classes", 0));
    PUMIT__REQUIRE(s->classes >= 2 && s->classes <= 1 << 16,
                   "segmenter: classes is %lld, it must be in 2..2^16", (long long)s->classes);
    PUMIT__TRY(pumit_config_get_bool(&normalize, config, "normalize", 0));
    s->normalize = normalize;
    PUMIT__TRY(read_out_indexes(s));
    PUMIT__TRY(read_patch(s));
    return read_channels(s);
}

static void add_parameters(pumit_segmenter *s)
{
    pumit_module *module = &s->module;
    const int32_t features = s->channels.stages + PUMIT__INNER_STAGES;
    pumit__module_share(module, pumit_vit_module(s->vit), "backbone.");
    pumit__adapter_build(&s->adapter, module, pumit_vit_dim(s->vit), s->down, s->da);
    pumit__decoder_build(&s->decoder, module, &s->channels, s->da);
    s->head_count = features < PUMIT__SEGMENTATION_HEADS ? features : PUMIT__SEGMENTATION_HEADS;
    for (int32_t i = 0; i < s->head_count; i++) {
        const pumit__sac_shape shape = {.in = pumit__decoder_feature_channels(&s->channels, i),
                                        .out = s->classes,
                                        .kernel = 1,
                                        .stride = 1,
                                        .bias = true};
        char name[32];
        snprintf(name, sizeof name, "seg_heads.%d", i);
        const pumit__sac head = pumit__sac_create(module, &shape, name);
        s->heads[i] = (pumit__layer){head.weight, head.bias};
    }
}

/* The transformer of a segmenter's configuration, without a masked-modelling head. */
static pumit_status build_vit(pumit_vit **out, pumit_context *ctx, const pumit_config *config,
                              pumit__values values)
{
    pumit_config *own;
    pumit_module *module = NULL;
    PUMIT__TRY(pumit_config_create(&own));
    pumit_status status = config ? pumit_config_merge(own, config) : PUMIT_OK;
    if (status == PUMIT_OK) status = pumit_config_set_int(own, "codes", 0);
    if (status == PUMIT_OK) status = pumit__vit_build(&module, ctx, own, values);
    pumit_config_release(own);
    *out = (pumit_vit *)module;
    return status;
}

static pumit_status build(pumit_module **out, pumit_context *ctx, const pumit_config *config,
                          pumit__values values)
{
    pumit_segmenter *s = pumit__module_create(sizeof *s, ctx, "segmenter", config, values, destroy);
    if (!s) return pumit__last_status();
    pumit_status status = build_vit(&s->vit, ctx, config, values);
    if (status == PUMIT_OK) status = read_config(s);
    if (status == PUMIT_OK) add_parameters(s);
    if (status == PUMIT_OK) status = pumit__module_finish(&s->module);
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
    const pumit_status status = build(&module, context, config, PUMIT__DRAWN);
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

pumit_status pumit_segmenter_share(pumit_segmenter **out, pumit_context *context,
                                   const pumit_segmenter *segmenter)
{
    PUMIT__REQUIRE(out && context && segmenter, "pumit_segmenter_share: an argument is NULL");
    pumit_module *module = NULL;
    const pumit_status status = pumit__module_join(&module, context, &segmenter->module, build);
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

int32_t pumit_segmenter_adaptive(const pumit_segmenter *segmenter)
{
    return segmenter->adaptive;
}

/* ------------------------------------------------------------------------------------------- images */

pumit_status pumit__segmenter_da(int32_t *da, const pumit_segmenter *s, const double spacing[3])
{
    *da = s->da;
    if (!s->adaptive) return PUMIT_OK;
    PUMIT__REQUIRE(spacing, "segmenter: an adaptive one needs the spacing of its images");
    return pumit_degree_of_anisotropy(da, spacing);
}

void pumit__segmenter_stride(int64_t stride[3], const pumit_segmenter *s, int32_t da)
{
    const int64_t plane = INT64_C(2) << s->down; /* of the coarsest map */
    const int64_t depth = plane >> da;
    memcpy(stride, (const int64_t[3]){depth > 1 ? depth : 1, plane, plane}, 3 * sizeof *stride);
}

pumit_status pumit_segmenter_stride(int64_t stride[3], const pumit_segmenter *segmenter,
                                    const double spacing[3])
{
    int32_t da;
    PUMIT__REQUIRE(stride && segmenter, "pumit_segmenter_stride: an argument is NULL");
    PUMIT__TRY(pumit__segmenter_da(&da, segmenter, spacing));
    pumit__segmenter_stride(stride, segmenter, da);
    return PUMIT_OK;
}

static pumit_status check_image(const pumit_segmenter *s, const pumit_tensor *image, int32_t da)
{
    const int64_t *shape = image->shape;
    int64_t step[3];
    pumit__segmenter_stride(step, s, da);
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

/* ------------------------------------------------------------------------------------------ forward */

pumit_status pumit__segmenter_maps_of(pumit__segmenter_maps *out, pumit_segmenter *s,
                                      pumit_tensor *image, int32_t da)
{
    int64_t grid[3];
    pumit_tensor *states[PUMIT__PYRAMID_MAPS];
    /* The patch of a segmenter for one DA is as shallow as that already: the transformer sees nothing to adapt to. */
    const int32_t vit_da = s->adaptive ? da : 0;
    PUMIT__TRY(check_image(s, image, da));
    pumit_tensor *x = s->normalize ? pumit__vit_normalize(s->vit, image, vit_da)
                                   : pumit__as_real(s->module.ctx, image);
    if (!x) return pumit__last_status();
    pumit_tensor *tokens = pumit__vit_patch_tokens(s->vit, x, vit_da, grid);
    if (!tokens) return pumit__last_status();
    PUMIT__TRY(
        pumit__vit_states(states, s->vit, tokens, grid, s->out_indexes, PUMIT__PYRAMID_MAPS));
    PUMIT__TRY(pumit__adapter_forward(out->pyramid, &s->adapter, states, grid, da));
    out->count = s->channels.stages + PUMIT__INNER_STAGES;
    return pumit__decoder_forward(out->features, &s->decoder, out->pyramid, x);
}

/* Head i, 0 being full resolution. */
static pumit_tensor *head(const pumit_segmenter *s, int32_t i, pumit_tensor *feature)
{
    const int64_t stride[3] = {1, 1, 1}, padding[3] = {0, 0, 0};
    return pumit__conv(feature, s->heads[i].weight, s->heads[i].bias, stride, padding);
}

pumit_tensor *pumit__segmenter_logits(pumit_segmenter *s, pumit_tensor *image, int32_t da)
{
    pumit__segmenter_maps maps;
    if (pumit__segmenter_maps_of(&maps, s, image, da) != PUMIT_OK) return NULL;
    return head(s, 0, maps.features[0]);
}

pumit_status pumit_segmenter_forward(pumit_tensor **out, pumit_segmenter *segmenter,
                                     pumit_tensor *image, const double spacing[3])
{
    int32_t da;
    PUMIT__REQUIRE(out && segmenter && image, "pumit_segmenter_forward: an argument is NULL");
    *out = NULL;
    PUMIT__TRY(pumit__segmenter_da(&da, segmenter, spacing));
    pumit_context *ctx = segmenter->module.ctx;
    const int64_t mark = pumit__scope_begin(ctx);
    return pumit__scope_return(out, ctx, mark, pumit__segmenter_logits(segmenter, image, da));
}

static pumit_tensor *loss_of(pumit_segmenter *s, pumit_tensor *image, int32_t da,
                             pumit_tensor *labels)
{
    pumit__segmenter_maps maps;
    pumit_tensor *logits[PUMIT__SEGMENTATION_HEADS];
    if (check_image(s, image, da) != PUMIT_OK) return NULL;
    pumit_tensor *target =
        pumit__label_target(pumit__of_context(s->module.ctx, labels), s->classes);
    if (!target) return NULL;
    if (memcmp(labels->shape, image->shape, 4 * sizeof *labels->shape) != 0) {
        pumit__fail(PUMIT_ERROR_SHAPE, "segmenter: labels %s do not fit image %s",
                    pumit__shape_string(4, labels->shape).text,
                    pumit__shape_string(5, image->shape).text);
        return NULL;
    }
    if (pumit__segmenter_maps_of(&maps, s, image, da) != PUMIT_OK) return NULL;
    for (int32_t i = 0; i < s->head_count; i++) logits[i] = head(s, i, maps.features[i]);
    return pumit__deep_supervision_loss(logits, s->head_count, target);
}

pumit_status pumit_segmenter_loss(pumit_tensor **out, pumit_segmenter *segmenter,
                                  pumit_tensor *image, const double spacing[3],
                                  pumit_tensor *labels)
{
    int32_t da;
    PUMIT__REQUIRE(out && segmenter && image && labels,
                   "pumit_segmenter_loss: an argument is NULL");
    *out = NULL;
    PUMIT__TRY(pumit__segmenter_da(&da, segmenter, spacing));
    pumit_context *ctx = segmenter->module.ctx;
    const int64_t mark = pumit__scope_begin(ctx);
    const bool recording = ctx->recording;
    ctx->recording = true;
    pumit_tensor *loss = loss_of(segmenter, image, da, labels);
    ctx->recording = recording;
    return pumit__scope_return(out, ctx, mark, loss);
}

/* ------------------------------------------------------------------------------- a pre-trained start */

static bool same_shape(const pumit_tensor *a, const pumit_tensor *b)
{
    return a->ndim == b->ndim &&
           memcmp(a->shape, b->shape, (size_t)a->ndim * sizeof *a->shape) == 0;
}

static pumit_status copy_values(pumit_tensor *dst, pumit_tensor *src)
{
    const int64_t bytes = pumit_tensor_count(src) * pumit_dtype_size(dst->dtype);
    void *values = pumit__calloc(bytes, 1);
    if (!values) return pumit__fail_memory(bytes, "weights");
    pumit_status status = pumit_tensor_read(src, dst->dtype, values, bytes);
    if (status == PUMIT_OK) status = pumit_tensor_write(dst, dst->dtype, values, bytes);
    if (status == PUMIT_OK) pumit_tensor_touch(dst);
    free(values);
    return status;
}

static pumit_status take_tensor(pumit_tensor *dst, pumit_tensor *src, const char *name)
{
    const int64_t mark = pumit__scope_begin(src->ctx);
    const int32_t recording = pumit_context_set_recording(src->ctx, 0);
    pumit_tensor *from = src;
    /* Position embeddings have a depth, too, but are no kernels to sum. */
    if (strcmp(name, "patch_embed.proj.weight") == 0 && dst->shape[1] < src->shape[1])
        from = pumit__pool_depth(src, 1, dst->shape[1], NULL);
    pumit_status status = from ? PUMIT_OK : pumit__last_status();
    if (from && !same_shape(dst, from))
        status = pumit__fail(PUMIT_ERROR_SHAPE, "%s: %s of the transformer does not fit %s", name,
                             pumit__shape_string(src->ndim, src->shape).text,
                             pumit__shape_string(dst->ndim, dst->shape).text);
    if (status == PUMIT_OK) status = copy_values(dst, from);
    pumit_context_set_recording(src->ctx, recording);
    pumit__scope_end(src->ctx, mark, NULL);
    return status;
}

pumit_status pumit__segmenter_take_vit(pumit_segmenter *segmenter, pumit_vit *vit)
{
    pumit_module *const to = pumit_vit_module(segmenter->vit), *const from = pumit_vit_module(vit);
    for (int64_t i = 0; i < pumit_module_parameter_count(to); i++) {
        const char *const name = pumit_module_parameter_name(to, i);
        pumit_tensor *src;
        PUMIT__TRY(pumit_module_find(&src, from, name));
        PUMIT__TRY(take_tensor(pumit_module_parameter(to, i), src, name));
    }
    return PUMIT_OK;
}
