/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/models/decoder.h"

/* ----------------------------------------------------------------------------------------- building */

/* 3x3x3 units of step `step`: the second reads the map that step begins with, the first one `stride` finer. */
static pumit__conv_pair add_pair(pumit_module *module, int64_t in, int64_t out, int64_t stride,
                                 int32_t da, int32_t step, const char *name)
{
    const int64_t depth = step > da ? 3 : 1, finer = step - (stride - 1) > da ? 3 : 1;
    char part[64];
    pumit__conv_pair pair;
    snprintf(part, sizeof part, "%s.conv1", name);
    pair.first = pumit__conv_unit_create(
        module, &(pumit__conv_shape){in, out, .kernel = 3, .depth = finer, .stride = stride}, part);
    snprintf(part, sizeof part, "%s.conv2", name);
    pair.second = pumit__conv_unit_create(
        module, &(pumit__conv_shape){out, out, .kernel = 3, .depth = depth, .stride = 1}, part);
    return pair;
}

static pumit__merge add_merge(pumit_module *module, int64_t in, int64_t out, int32_t da,
                              int32_t step, const char *name)
{
    char part[64];
    pumit__merge merge;
    snprintf(part, sizeof part, "%s.upsample", name);
    merge.upsample = pumit__grow_layer(module, in, out, da, step, part);
    snprintf(part, sizeof part, "%s.conv", name);
    merge.conv = add_pair(module, 2 * out, out, 1, da, step, part);
    return merge;
}

static void build_inner(pumit__decoder *decoder, pumit_module *module,
                        const pumit__decoder_channels *c, int32_t da)
{
    char name[48];
    for (int32_t i = 0; i < PUMIT__PYRAMID_MAPS; i++) {
        const pumit__conv_shape shape = {c->lateral, c->inner[i], .kernel = 1, .depth = 1,
                                         .stride = 1};
        snprintf(name, sizeof name, "decoder.inner.laterals.%d", i);
        decoder->laterals[i] = pumit__conv_unit_create(module, &shape, name);
    }
    for (int32_t i = 0; i < PUMIT__INNER_STAGES; i++) {
        snprintf(name, sizeof name, "decoder.inner.layers.%d", i);
        decoder->inner[i] =
            add_merge(module, c->inner[i + 1], c->inner[i], da, c->stages + 1 + i, name);
    }
}

void pumit__decoder_build(pumit__decoder *decoder, pumit_module *module,
                          const pumit__decoder_channels *c, int32_t da)
{
    char name[48];
    decoder->stages = c->stages;
    build_inner(decoder, module, c, da);
    for (int32_t i = 0; i < c->stages; i++) {
        snprintf(name, sizeof name, "decoder.encode_layers.%d.blocks.0", i);
        const int64_t in = i == 0 ? c->image : c->full[i - 1];
        decoder->encode[i] = add_pair(module, in, c->full[i], i == 0 ? 1 : 2, da, i + 1, name);
        snprintf(name, sizeof name, "decoder.decode_layers.%d", i);
        decoder->decode[i] = add_merge(module, pumit__decoder_feature_channels(c, i + 1),
                                       c->full[i], da, i + 1, name);
    }
}

static void destroy_pair(pumit__conv_pair *pair)
{
    pumit__conv_unit_destroy(&pair->first);
    pumit__conv_unit_destroy(&pair->second);
}

static void destroy_merge(pumit__merge *merge)
{
    pumit__sac_destroy(&merge->upsample);
    destroy_pair(&merge->conv);
}

void pumit__decoder_destroy(pumit__decoder *decoder)
{
    for (int32_t i = 0; i < PUMIT__PYRAMID_MAPS; i++)
        pumit__conv_unit_destroy(&decoder->laterals[i]);
    for (int32_t i = 0; i < PUMIT__INNER_STAGES; i++) destroy_merge(&decoder->inner[i]);
    for (int32_t i = 0; i < decoder->stages; i++) {
        destroy_pair(&decoder->encode[i]);
        destroy_merge(&decoder->decode[i]);
    }
}

int64_t pumit__decoder_feature_channels(const pumit__decoder_channels *channels, int32_t i)
{
    return i < channels->stages ? channels->full[i] : channels->inner[i - channels->stages];
}

/* ------------------------------------------------------------------------------------------ forward */

static pumit__feature pair_forward(pumit__conv_pair *pair, pumit__feature f)
{
    if (!f.x) return f;
    pumit_context *ctx = f.x->ctx;
    const int64_t mark = pumit__scope_begin(ctx);
    f = pumit__conv_unit_forward(&pair->first, f);
    f = pumit__conv_unit_forward(&pair->second, f);
    f.x = pumit__scope_end(ctx, mark, f.x);
    return f;
}

static pumit__feature merge_forward(pumit__merge *merge, pumit__feature coarse, pumit__feature fine)
{
    if (!coarse.x || !fine.x) return (pumit__feature){0};
    pumit_context *ctx = fine.x->ctx;
    const int64_t mark = pumit__scope_begin(ctx);
    pumit__feature f = pumit__sac_forward(&merge->upsample, coarse);
    f.x = pumit__concat(f.x, fine.x, 4);
    f = pair_forward(&merge->conv, f);
    f.x = pumit__scope_end(ctx, mark, f.x);
    return f;
}

pumit_status pumit__decoder_forward(pumit_tensor *features[PUMIT__MOST_FEATURES],
                                    pumit__decoder *decoder, const pumit__feature *maps,
                                    pumit_tensor *image)
{
    const int32_t stages = decoder->stages;
    pumit__feature lateral[PUMIT__PYRAMID_MAPS], skips[PUMIT__MOST_STAGES];
    pumit__feature f = {image, maps[0].da, 0};
    for (int32_t i = 0; i < PUMIT__PYRAMID_MAPS; i++)
        lateral[i] = pumit__conv_unit_forward(&decoder->laterals[i], maps[i]);
    for (int32_t i = 0; i < stages; i++) f = skips[i] = pair_forward(&decoder->encode[i], f);
    f = lateral[PUMIT__PYRAMID_MAPS - 1];
    for (int32_t i = PUMIT__INNER_STAGES - 1; i >= 0; i--) {
        f = merge_forward(&decoder->inner[i], f, lateral[i]);
        features[stages + i] = f.x;
    }
    for (int32_t i = stages - 1; i >= 0; i--) {
        f = merge_forward(&decoder->decode[i], f, skips[i]);
        features[i] = f.x;
    }
    return f.x ? PUMIT_OK : pumit__last_status();
}
