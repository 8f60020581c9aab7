/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SAC (paper section 3.1). With a = max(DA - down, 0), the anisotropy of the feature map in front of the layer:
 *   down-sampling, stride s:    depth stride max(s >> a, 1); if a > 0 the kernel's depth is summed down to it, depth padding 0;
 *                               kernels are s x s x s, 3x3x3 with padding 1, or 2x3x3 with padding 0, 1, 1 and s = 2;
 *   3x3x3, stride 1:            if a > 0 the kernel's depth is summed to 1, depth padding 0;
 *   up-sampling, stride s:      depth stride min(2^max(down - DA, 0), s), the kernel's depth summed down to it.
 */
#include "lib/nn/sac_conv.h"

#include <pumit/sac.h>
#include <pumit/volume.h>

#include <math.h>
#include <string.h>

static int32_t log2_of(int64_t power)
{
    int32_t log = 0;
    while (power > 1) {
        power >>= 1;
        log++;
    }
    return log;
}

pumit__sac pumit__sac_create(pumit_module *module, const pumit__sac_shape *s, const char *name)
{
    const int64_t depth = s->kernel_depth ? s->kernel_depth : s->kernel;
    pumit__sac sac = {.stride = s->stride,
                      .padding = {depth == s->kernel ? s->padding : 0, s->padding, s->padding},
                      .transposed = s->transposed};
    const int64_t shape[5] = {s->transposed ? s->in : s->out, depth, s->kernel, s->kernel,
                              s->transposed ? s->out : s->in};
    const double taps = s->transposed ? 1.0 : (double)(depth * s->kernel * s->kernel);
    const double deviation = 1.0 / sqrt((double)s->in * taps);
    sac.weight = pumit__module_add(module, 5, shape, true, PUMIT__NORMAL(deviation), "%s%sweight",
                                   name, *name ? "." : "");
    if (s->bias)
        sac.bias = pumit__module_add(module, 1, &s->out, false, PUMIT__CONSTANT(0.0), "%s%sbias",
                                     name, *name ? "." : "");
    return sac;
}

void pumit__sac_destroy(pumit__sac *sac)
{
    for (int32_t i = 0; i < PUMIT__MOST_ANISOTROPY; i++) {
        pumit_tensor_release(sac->pooled[i].value);
        sac->pooled[i].value = NULL;
    }
}

/* The weights summed to `depth`, computed once for each version of them: the value only, without its place on the tape. */
static pumit_tensor *pooled_value(pumit__sac *sac, int64_t depth)
{
    const int32_t i = log2_of(depth); /* depths are powers of two below 16 */
    if (i >= PUMIT__MOST_ANISOTROPY) return NULL;
    if (sac->pooled[i].value && sac->pooled[i].version == sac->weight->version &&
        sac->pooled[i].depth == depth)
        return sac->pooled[i].value;
    pumit_context *ctx = sac->weight->ctx;
    const bool recording = ctx->recording;
    ctx->recording = false;
    pumit_tensor *value = pumit__pool_depth(sac->weight, 1, depth, NULL);
    ctx->recording = recording;
    if (!value) return NULL;
    pumit_tensor_release(sac->pooled[i].value);
    sac->pooled[i].value = pumit_tensor_retain(value);
    sac->pooled[i].depth = depth;
    sac->pooled[i].version = sac->weight->version;
    return value;
}

static pumit_tensor *weight_of_depth(pumit__sac *sac, int64_t depth)
{
    if (depth >= sac->weight->shape[1]) return sac->weight;
    pumit_tensor *value = pooled_value(sac, depth);
    return value ? pumit__pool_depth(sac->weight, 1, depth, value) : NULL;
}

static pumit__feature convolve(pumit__sac *sac, pumit__feature f)
{
    const int32_t anisotropy = f.da > f.down ? f.da - f.down : 0;
    const int64_t shrunk = sac->stride >> anisotropy, depth_stride = shrunk > 1 ? shrunk : 1;
    const int64_t stride[3] = {depth_stride, sac->stride, sac->stride};
    const int64_t padding[3] = {anisotropy > 0 ? 0 : sac->padding[0], sac->padding[1],
                                sac->padding[2]};
    pumit_tensor *weight = anisotropy > 0 ? weight_of_depth(sac, depth_stride) : sac->weight;
    return (pumit__feature){pumit__conv(f.x, weight, sac->bias, stride, padding), f.da,
                            f.down + log2_of(sac->stride)};
}

static pumit__feature convolve_transposed(pumit__sac *sac, pumit__feature f)
{
    const int32_t halvings = f.down > f.da ? f.down - f.da : 0; /* that depth has to regain */
    const int64_t depth = halvings >= log2_of(sac->stride) ? sac->stride : INT64_C(1) << halvings;
    pumit_tensor *weight = weight_of_depth(sac, depth);
    return (pumit__feature){pumit__conv_transpose(f.x, weight, sac->bias), f.da,
                            f.down - log2_of(sac->stride)};
}

pumit__feature pumit__sac_forward(pumit__sac *sac, pumit__feature f)
{
    if (!f.x) return f;
    return sac->transposed ? convolve_transposed(sac, f) : convolve(sac, f);
}

/* ---------------------------------------------------------------------------------- the public layer */

struct pumit_sac_conv {
    pumit_module module;
    pumit__sac sac;
    int64_t in_channels;
};

static void destroy(pumit_module *module)
{
    pumit__sac_destroy(&((pumit_sac_conv *)module)->sac);
}

static pumit_status read_shape(pumit__sac_shape *shape, const pumit_config *config)
{
    int32_t transposed, bias;
    PUMIT__TRY(pumit_config_get_int(&shape->in, config, "in_channels", 0));
    PUMIT__TRY(pumit_config_get_int(&shape->out, config, "out_channels", 0));
    PUMIT__TRY(pumit_config_get_int(&shape->kernel, config, "kernel", 3));
    PUMIT__TRY(pumit_config_get_int(&shape->stride, config, "stride", 1));
    PUMIT__TRY(pumit_config_get_int(&shape->padding, config, "padding", 0));
    PUMIT__TRY(pumit_config_get_bool(&transposed, config, "transposed", 0));
    PUMIT__TRY(pumit_config_get_bool(&bias, config, "bias", 1));
    shape->transposed = transposed;
    shape->bias = bias;
    PUMIT__REQUIRE(shape->in > 0 && shape->out > 0,
                   "sac_conv: in_channels and out_channels must be positive");
    PUMIT__REQUIRE(shape->stride >= 1 && shape->stride <= 16 &&
                       (shape->stride & (shape->stride - 1)) == 0,
                   "sac_conv: stride %lld is not 1, 2, 4, 8 or 16", (long long)shape->stride);
    const int64_t k = shape->kernel, s = shape->stride;
    const bool patch = k == s && shape->padding == 0;
    const bool usual = !transposed && k == 3 && s <= 2 && shape->padding == 1;
    PUMIT__REQUIRE(patch || usual,
                   "sac_conv: kernel %lld, stride %lld, padding %lld: it must be kernel == stride "
                   "without padding, "
                   "or 3 with stride 1 or 2 and padding 1",
                   (long long)k, (long long)s, (long long)shape->padding);
    return PUMIT_OK;
}

pumit_status pumit_sac_conv_create(pumit_sac_conv **out, pumit_context *context,
                                   const pumit_config *config)
{
    PUMIT__REQUIRE(out && context, "pumit_sac_conv_create: an argument is NULL");
    *out = NULL;
    pumit__sac_shape shape = {0};
    PUMIT__TRY(read_shape(&shape, config));
    pumit_sac_conv *conv =
        pumit__module_create(sizeof *conv, context, "sac_conv", config, PUMIT__DRAWN, destroy);
    if (!conv) return pumit__last_status();
    conv->in_channels = shape.in;
    conv->sac = pumit__sac_create(&conv->module, &shape, "");
    const pumit_status status = pumit__module_finish(&conv->module);
    if (status == PUMIT_OK)
        *out = conv;
    else
        pumit_sac_conv_release(conv);
    return status;
}

void pumit_sac_conv_release(pumit_sac_conv *conv)
{
    if (conv) pumit__module_release(&conv->module);
}

pumit_module *pumit_sac_conv_module(pumit_sac_conv *conv)
{
    return conv ? &conv->module : NULL;
}

pumit_status pumit_sac_conv_forward_da(pumit_tensor **out, int32_t *out_down, pumit_sac_conv *conv,
                                       pumit_tensor *src, int32_t da, int32_t down)
{
    PUMIT__REQUIRE(out && conv && src, "pumit_sac_conv_forward: an argument is NULL");
    PUMIT__REQUIRE(da >= 0 && da <= PUMIT__MOST_ANISOTROPY,
                   "degree of anisotropy %d is not in 0..5", da);
    PUMIT__REQUIRE(down >= -32 && down <= 32, "%d in-plane halvings are not in -32..32", down);
    *out = NULL;
    const int64_t mark = pumit__scope_begin(src->ctx);
    const pumit__feature f = pumit__sac_forward(
        &conv->sac, (pumit__feature){pumit__as_real(conv->module.ctx, src), da, down});
    if (out_down) *out_down = f.down;
    return pumit__scope_return(out, src->ctx, mark, f.x);
}

pumit_status pumit_sac_conv_forward(pumit_tensor **out, double out_spacing[3], int32_t *out_down,
                                    pumit_sac_conv *conv, pumit_tensor *src,
                                    const double image_spacing[3], int32_t down)
{
    int32_t da, after;
    PUMIT__REQUIRE(out && conv && src, "pumit_sac_conv_forward: an argument is NULL");
    PUMIT__TRY(pumit_degree_of_anisotropy(&da, image_spacing));
    PUMIT__TRY(pumit_sac_conv_forward_da(out, &after, conv, src, da, down));
    if (out_down) *out_down = after;
    if (!out_spacing) return PUMIT_OK;
    out_spacing[0] = ldexp(image_spacing[0], after > da ? after - da : 0);
    out_spacing[1] = ldexp(image_spacing[1], after);
    out_spacing[2] = ldexp(image_spacing[2], after);
    return PUMIT_OK;
}
