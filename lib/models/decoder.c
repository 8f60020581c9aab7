/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/models/decoder.h"

static const int64_t unit_stride[3] = {1, 1, 1};

/* ----------------------------------------------------------------------------------------- building */

static pumit__conv_pair add_pair(pumit_module *module, int64_t in, int64_t out, int32_t da,
                                 int32_t step, const char *name)
{
    const int64_t kernel[3] = {step > da ? 3 : 1, 3, 3};
    char part[64];
    pumit__conv_pair pair;
    snprintf(part, sizeof part, "%s.conv1", name);
    pair.first = pumit__conv_unit_create(module, in, out, kernel, part);
    snprintf(part, sizeof part, "%s.conv2", name);
    pair.second = pumit__conv_unit_create(module, out, out, kernel, part);
    return pair;
}

static pumit__merge add_merge(pumit_module *module, int64_t in, int64_t out, int32_t da,
                              int32_t step, const char *name)
{
    const pumit__step up = pumit__step_of(da, step);
    const pumit__conv_shape shape = {.in = in,
                                     .out = out,
                                     .kernel = {up.size[0], up.size[1], up.size[2]},
                                     .transposed = true,
                                     .bias = true};
    char part[64];
    pumit__merge merge;
    snprintf(part, sizeof part, "%s.upsample", name);
    merge.upsample = pumit__conv_layer(module, &shape, part);
    snprintf(part, sizeof part, "%s.conv", name);
    merge.conv = add_pair(module, 2 * out, out, da, step, part);
    return merge;
}

static void build_inner(pumit__decoder *decoder, pumit_module *module,
                        const pumit__decoder_channels *c)
{
    static const int64_t point[3] = {1, 1, 1};
    char name[48];
    for (int32_t i = 0; i < PUMIT__PYRAMID_MAPS; i++) {
        snprintf(name, sizeof name, "decoder.inner.laterals.%d", i);
        decoder->laterals[i] =
            pumit__conv_unit_create(module, c->lateral, c->inner[i], point, name);
    }
    for (int32_t i = 0; i < PUMIT__INNER_STAGES; i++) {
        snprintf(name, sizeof name, "decoder.inner.layers.%d", i);
        decoder->inner[i] = add_merge(module, c->inner[i + 1], c->inner[i], decoder->da,
                                      PUMIT__FULL_STAGES + 1 + i, name);
    }
}

void pumit__decoder_build(pumit__decoder *decoder, pumit_module *module,
                          const pumit__decoder_channels *c, int32_t da)
{
    char name[48];
    decoder->da = da;
    build_inner(decoder, module, c);
    for (int32_t i = 0; i < PUMIT__FULL_STAGES; i++) {
        snprintf(name, sizeof name, "decoder.encode_layers.%d.blocks.0", i);
        const int64_t in = i == 0 ? c->image : c->full[i - 1];
        decoder->encode[i] = add_pair(module, in, c->full[i], da, i + 1, name);
        snprintf(name, sizeof name, "decoder.decode_layers.%d", i);
        decoder->decode[i] = add_merge(module, pumit__decoder_feature_channels(c, i + 1),
                                       c->full[i], da, i + 1, name);
    }
}

int64_t pumit__decoder_feature_channels(const pumit__decoder_channels *channels, int32_t i)
{
    return i < PUMIT__FULL_STAGES ? channels->full[i] : channels->inner[i - PUMIT__FULL_STAGES];
}

/* ------------------------------------------------------------------------------------------ forward */

static pumit_tensor *pair_forward(const pumit__conv_pair *pair, pumit_tensor *x,
                                  const int64_t stride[3])
{
    if (!x) return NULL;
    pumit_context *ctx = x->ctx;
    const int64_t mark = pumit__scope_begin(ctx);
    x = pumit__conv_unit_forward(&pair->first, x, stride);
    return pumit__scope_end(ctx, mark, pumit__conv_unit_forward(&pair->second, x, unit_stride));
}

static pumit_tensor *merge_forward(const pumit__merge *merge, pumit_tensor *coarse,
                                   pumit_tensor *fine)
{
    if (!coarse || !fine) return NULL;
    pumit_context *ctx = fine->ctx;
    const int64_t mark = pumit__scope_begin(ctx);
    coarse = pumit__conv_transpose(coarse, merge->upsample.weight, merge->upsample.bias);
    pumit_tensor *both = pumit__concat(coarse, fine, 4);
    return pumit__scope_end(ctx, mark, pair_forward(&merge->conv, both, unit_stride));
}

pumit_status pumit__decoder_forward(pumit_tensor *features[PUMIT__FEATURES],
                                    const pumit__decoder *decoder, pumit_tensor *const *maps,
                                    pumit_tensor *image)
{
    pumit_tensor *lateral[PUMIT__PYRAMID_MAPS], *skips[PUMIT__FULL_STAGES], *x = image;
    for (int32_t i = 0; i < PUMIT__PYRAMID_MAPS; i++)
        lateral[i] = pumit__conv_unit_forward(&decoder->laterals[i], maps[i], unit_stride);
    for (int32_t i = 0; i < PUMIT__FULL_STAGES; i++) {
        const pumit__step down = pumit__step_of(decoder->da, i);
        x = skips[i] = pair_forward(&decoder->encode[i], x, i == 0 ? unit_stride : down.size);
    }
    x = lateral[PUMIT__PYRAMID_MAPS - 1];
    for (int32_t i = PUMIT__INNER_STAGES - 1; i >= 0; i--)
        x = features[PUMIT__FULL_STAGES + i] = merge_forward(&decoder->inner[i], x, lateral[i]);
    for (int32_t i = PUMIT__FULL_STAGES - 1; i >= 0; i--)
        x = features[i] = merge_forward(&decoder->decode[i], x, skips[i]);
    return x ? PUMIT_OK : pumit__last_status();
}
