/* SPDX-License-Identifier: Apache-2.0 */
/*
 * LPIPS (Zhang et al. 2018). VGG-16 (Simonyan & Zisserman 2015) has five stages of convolutions 3x3 with ReLU, behind a 2x2 maximum each
 * but the first. With f_i the features after stage i, u(f) = f / (|f| + 1e-10) over channels and w_i >= 0 learnt:
 *   d(a, b) = 2 sum_i mean <w_i, (u(f_i(a)) - u(f_i(b)))^2>.
 */
#include "lib/models/lpips.h"

#include "lib/nn/weights.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STAGES     5
#define MOST_CONVS 3
#define UNIT_EPS   1e-10

struct pumit_lpips {
    pumit_module module;
    int64_t channels[STAGES];
    pumit__layer conv[STAGES][MOST_CONVS]; /* (O, 3, 3, I), (O) */
    pumit_tensor *mix[STAGES];             /* (1, 1, 1, C) */
};

/* Number of a convolution as torchvision counts layers; -1 where a stage has none. */
static const int32_t layer_numbers[STAGES][MOST_CONVS] = {
    {0, 2, -1}, {5, 7, -1}, {10, 12, 14}, {17, 19, 21}, {24, 26, 28}};

/* ----------------------------------------------------------------------------------------- building */

static pumit__layer add_conv(pumit_module *module, int64_t in, int64_t out, int32_t number)
{
    const int64_t shape[4] = {out, 3, 3, in};
    pumit__layer layer;
    layer.weight =
        pumit__module_add(module, 4, shape, true, PUMIT__NORMAL(sqrt(2.0 / (9.0 * (double)in))),
                          "features.%d.weight", number);
    layer.bias =
        pumit__module_add(module, 1, &out, false, PUMIT__CONSTANT(0.0), "features.%d.bias", number);
    return layer;
}

static void add_layers(pumit_lpips *l)
{
    pumit_module *module = &l->module;
    int64_t last = 3;
    for (int32_t i = 0; i < STAGES; i++) {
        const int64_t c = l->channels[i], mix[4] = {1, 1, 1, c};
        for (int32_t j = 0; j < MOST_CONVS && layer_numbers[i][j] >= 0; j++, last = c)
            l->conv[i][j] = add_conv(module, last, c, layer_numbers[i][j]);
        l->mix[i] = pumit__module_add(module, 4, mix, false, PUMIT__CONSTANT(1.0 / (double)c),
                                      "lin%d.weight", i);
    }
    for (int64_t i = 0; i < module->count && module->status == PUMIT_OK; i++)
        module->status = pumit_tensor_set_requires_grad(module->parameters[i].tensor, 0);
}

static pumit_status read_config(pumit_lpips *l)
{
    static const int64_t usual[STAGES] = {64, 128, 256, 512, 512};
    int32_t count;
    PUMIT__TRY(pumit_config_get_ints(l->channels, STAGES, &count, l->module.config, "channels"));
    if (count == 0) memcpy(l->channels, usual, sizeof usual);
    PUMIT__REQUIRE(count == 0 || count == STAGES, "lpips: channels are %d, not %d", count, STAGES);
    for (int32_t i = 0; i < STAGES; i++)
        PUMIT__REQUIRE(l->channels[i] >= 1 && l->channels[i] <= 1 << 16,
                       "lpips: channels[%d] = %lld is not in 1..2^16", i,
                       (long long)l->channels[i]);
    return PUMIT_OK;
}

static pumit_status build(pumit_lpips **out, pumit_context *ctx, const pumit_config *config,
                          pumit__values values)
{
    pumit_lpips *l = pumit__module_create(sizeof *l, ctx, "lpips", config, values, NULL);
    if (!l) return pumit__last_status();
    l->module.status = read_config(l);
    if (l->module.status == PUMIT_OK) add_layers(l);
    const pumit_status status = pumit__module_finish(&l->module);
    if (status == PUMIT_OK)
        *out = l;
    else
        pumit__module_release(&l->module);
    return status;
}

pumit_status pumit_lpips_create(pumit_lpips **out, pumit_context *context,
                                const pumit_config *config)
{
    PUMIT__REQUIRE(out && context, "pumit_lpips_create: an argument is NULL");
    *out = NULL;
    return build(out, context, config, PUMIT__DRAWN);
}

/* "channels" as a configuration, from the shapes of each stage's first weight. */
static pumit_status config_of_file(pumit_config **out, const char *path, const char *prefix)
{
    char list[160] = "[";
    size_t used = 1;
    pumit__weights_file *file;
    PUMIT__TRY(pumit__weights_file_open(&file, path));
    pumit_status status = PUMIT_OK;
    for (int32_t i = 0; i < STAGES && status == PUMIT_OK; i++) {
        char name[160];
        snprintf(name, sizeof name, "%sfeatures.%d.weight", prefix, layer_numbers[i][0]);
        const pumit__weights_entry *entry = pumit__weights_file_find(file, name);
        if (!entry || entry->ndim != 4)
            status = pumit__fail(PUMIT_ERROR_FORMAT,
                                 "%s: has no '%s' of a 2D convolution, which an lpips needs", path,
                                 name);
        else
            used += (size_t)snprintf(list + used, sizeof list - used, "%s%lld%s", i ? "," : "",
                                     (long long)entry->shape[0], i == STAGES - 1 ? "]" : "");
    }
    pumit__weights_file_close(file);
    if (status != PUMIT_OK) return status;
    PUMIT__TRY(pumit_config_create(out));
    status = pumit_config_set_json(*out, "channels", list);
    if (status != PUMIT_OK) pumit_config_release(*out);
    return status;
}

pumit_status pumit__lpips_load(pumit_lpips **out, pumit_context *ctx, const char *path,
                               const char *prefix)
{
    pumit_config *config;
    *out = NULL;
    PUMIT__TRY(config_of_file(&config, path, prefix));
    pumit_status status = pumit__fail_in(build(out, ctx, config, PUMIT__FROM_FILE), "%s", path);
    pumit_config_release(config);
    if (status == PUMIT_OK)
        status = pumit_module_load_weights(&(*out)->module, path, prefix, 1, NULL);
    if (status == PUMIT_OK) return PUMIT_OK;
    pumit_lpips_release(*out);
    *out = NULL;
    return status;
}

pumit_status pumit_lpips_load(pumit_lpips **out, pumit_context *context, const char *path)
{
    PUMIT__REQUIRE(out && context && path, "pumit_lpips_load: an argument is NULL");
    return pumit__lpips_load(out, context, path, "");
}

void pumit_lpips_release(pumit_lpips *l)
{
    if (l) pumit__module_release(&l->module);
}

pumit_module *pumit_lpips_module(pumit_lpips *l)
{
    return l ? &l->module : NULL;
}

/* ------------------------------------------------------------------------------------------ forward */

static pumit_tensor *of_three(pumit_context *ctx, const double values[3])
{
    const int64_t three = 3;
    return pumit__from_host(ctx, PUMIT_F64, values, 0, 1, &three);
}

/* [-1, 1] to what VGG was trained on: ((x + 1) / 2 - mean) / deviation, ImageNet's. One channel becomes three. */
static pumit_tensor *normalized(pumit_context *ctx, pumit_tensor *x)
{
    static const double mean[3] = {0.485, 0.456, 0.406}, deviation[3] = {0.229, 0.224, 0.225};
    double scale[3], shift[3];
    for (int32_t i = 0; i < 3; i++) {
        scale[i] = 0.5 / deviation[i];
        shift[i] = (0.5 - mean[i]) / deviation[i];
    }
    return pumit__add(pumit__mul(x, of_three(ctx, scale)), of_three(ctx, shift));
}

static pumit_tensor *conv_relu(const pumit__layer *layer, pumit_tensor *x)
{
    static const int64_t stride[3] = {1, 1, 1}, padding[3] = {0, 1, 1};
    const int64_t *s = layer->weight->shape, shape[5] = {s[0], 1, s[1], s[2], s[3]};
    pumit_tensor *weight = pumit__reshape(layer->weight, 5, shape);
    return pumit__leaky_relu(pumit__conv(x, weight, layer->bias, stride, padding), 0.0);
}

static pumit_tensor *apply_stage(const pumit_lpips *l, int32_t i, pumit_tensor *x)
{
    static const int64_t window[3] = {1, 2, 2};
    if (i > 0) x = pumit__max_pool(x, window);
    for (int32_t j = 0; j < MOST_CONVS && l->conv[i][j].weight; j++)
        x = conv_relu(&l->conv[i][j], x);
    return x;
}

/* Scaled to unit length over channels. */
static pumit_tensor *unit(pumit_tensor *x)
{
    if (!x) return NULL;
    const int64_t *s = x->shape, shape[5] = {s[0], s[1], s[2], s[3], 1};
    pumit_tensor *squares = pumit__sum(pumit__mul(x, x), UINT32_C(1) << 4, 1.0);
    pumit_tensor *length = pumit__reshape(pumit__square_root(squares), 5, shape);
    return pumit__div(x, pumit__affine(length, 1.0, UNIT_EPS));
}

static pumit_tensor *stage_distance(const pumit_lpips *l, int32_t i, pumit_tensor *a,
                                    pumit_tensor *b)
{
    const int64_t shape[2] = {1, l->channels[i]};
    pumit_tensor *difference = pumit__sub(unit(a), unit(b));
    pumit_tensor *squares = pumit__mul(difference, difference);
    return pumit__mean(pumit__linear(squares, pumit__reshape(l->mix[i], 2, shape), NULL));
}

pumit_tensor *pumit__lpips_distance(const pumit_lpips *l, pumit_tensor *a, pumit_tensor *b)
{
    pumit_tensor *total = NULL;
    a = normalized(l->module.ctx, a);
    b = normalized(l->module.ctx, b);
    for (int32_t i = 0; i < STAGES; i++) {
        a = apply_stage(l, i, a);
        b = apply_stage(l, i, b);
        pumit_tensor *part = stage_distance(l, i, a, b);
        total = i == 0 ? part : pumit__add(total, part);
    }
    return pumit__affine(total, 2.0, 0.0);
}

/* The slices `order` (count of them) of x, as (1, count, H, W, C). */
static pumit_tensor *slices(pumit_tensor *x, pumit_tensor *order)
{
    if (!x || !order) return NULL;
    const int64_t *s = x->shape, rows[3] = {1, s[0] * s[1], s[2] * s[3] * s[4]},
                  shape[5] = {1, order->shape[1], s[2], s[3], s[4]};
    return pumit__reshape(pumit__gather_rows(pumit__reshape(x, 3, rows), order), 5, shape);
}

pumit_tensor *pumit__lpips_distance_some(const pumit_lpips *l, pumit_tensor *a, pumit_tensor *b,
                                         int64_t most, uint64_t seed, uint64_t stream)
{
    if (!a || !b) return NULL;
    const int64_t all = a->shape[0] * a->shape[1], shape[2] = {1, most};
    if (all <= most) return pumit__lpips_distance(l, a, b);
    int64_t *order = pumit__calloc(all, sizeof *order);
    if (!order) {
        pumit__fail_memory(all * (int64_t)sizeof *order, "a choice of slices");
        return NULL;
    }
    pumit__random_permutation(order, all, seed, stream);
    pumit_tensor *index = pumit__from_host(a->ctx, PUMIT_I64, order, PUMIT_I64, 2, shape);
    free(order);
    return pumit__lpips_distance(l, slices(a, index), slices(b, index));
}

/* ------------------------------------------------------------------------------------- public calls */

static pumit_status check_pair(const pumit_tensor *a, const pumit_tensor *b)
{
    const int64_t *s = a->shape;
    if (a->ndim == 5 && pumit__same_shape(a, b) && (s[4] == 3 || s[4] == 1) && s[0] > 0 &&
        s[1] > 0 && s[2] >= 16 && s[3] >= 16)
        return PUMIT_OK;
    return pumit__fail(PUMIT_ERROR_SHAPE,
                       "lpips: images %s and %s are not both (N, D, H, W, 3 or 1), H and W 16 at "
                       "least",
                       pumit__shape_string(a->ndim, a->shape).text,
                       pumit__shape_string(b->ndim, b->shape).text);
}

pumit_status pumit_lpips_distance(pumit_tensor **out, pumit_lpips *l, pumit_tensor *a,
                                  pumit_tensor *b)
{
    PUMIT__REQUIRE(out && l && a && b, "pumit_lpips_distance: an argument is NULL");
    *out = NULL;
    PUMIT__TRY(check_pair(a, b));
    pumit_context *ctx = l->module.ctx;
    const int64_t mark = pumit__scope_begin(ctx);
    const bool recording = ctx->recording;
    ctx->recording = true; /* of the images, if at all: the network is frozen */
    a = pumit__affine(pumit__as_real(ctx, a), 2.0, -1.0);
    b = pumit__affine(pumit__as_real(ctx, b), 2.0, -1.0);
    pumit_tensor *distance = pumit__lpips_distance(l, a, b);
    ctx->recording = recording;
    return pumit__scope_return(out, ctx, mark, distance);
}
