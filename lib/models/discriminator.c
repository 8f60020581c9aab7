/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The patch discriminator: for each of "channels" SAC 3x3x3 of stride 2, then "post_convs" of stride 1, each with GroupNorm(16)
 * and LeakyReLU(0.01); at last SAC 3x3x3 to one channel. Its loss is the hinge loss (Lim & Ye 2017), halved.
 */
#include "lib/models/discriminator.h"

#include <pumit/volume.h>

#include <math.h>
#include <string.h>

#define MOST_STAGES 16
#define NORM_EPS    1e-5
#define NORM_GROUPS 16
#define SLOPE       0.01

typedef struct {
    pumit__sac conv;
    pumit__layer norm;
} stage;

struct pumit_discriminator {
    pumit_module module;
    int64_t in_channels, channels[MOST_STAGES]; /* of each stage */
    int32_t halvings, stages;                   /* the first ones halve */
    stage stage[MOST_STAGES];
    pumit__sac last;
};

/* ----------------------------------------------------------------------------------------- building */

static pumit_status read_config(pumit_discriminator *d)
{
    const pumit_config *config = d->module.config;
    int64_t post;
    PUMIT__TRY(pumit_config_get_int(&d->in_channels, config, "in_channels", 3));
    PUMIT__TRY(pumit_config_get_int(&post, config, "post_convs", 1));
    PUMIT__TRY(
        pumit_config_get_ints(d->channels, MOST_STAGES / 2, &d->halvings, config, "channels"));
    if (d->halvings == 0) {
        memcpy(d->channels, (const int64_t[3]){64, 128, 256}, 3 * sizeof *d->channels);
        d->halvings = 3;
    }
    PUMIT__REQUIRE(d->in_channels >= 1 && d->in_channels <= 4096,
                   "discriminator: in_channels %lld is not in 1..4096", (long long)d->in_channels);
    PUMIT__REQUIRE(post >= 0 && post <= MOST_STAGES / 2,
                   "discriminator: post_convs %lld is not in 0..%d", (long long)post,
                   MOST_STAGES / 2);
    for (int32_t i = 0; i < d->halvings; i++)
        PUMIT__REQUIRE(d->channels[i] >= NORM_GROUPS && d->channels[i] % NORM_GROUPS == 0 &&
                           d->channels[i] <= 1 << 16,
                       "discriminator: channels[%d] = %lld is no multiple of %d", i,
                       (long long)d->channels[i], NORM_GROUPS);
    d->stages = d->halvings + (int32_t)post;
    for (int32_t i = d->halvings; i < d->stages; i++) d->channels[i] = d->channels[i - 1];
    return PUMIT_OK;
}

static pumit__sac add_conv(pumit_discriminator *d, int64_t in, int64_t out, int64_t stride,
                           int32_t number)
{
    char name[16];
    snprintf(name, sizeof name, "%d", number);
    const pumit__sac_shape shape = {
        .in = in, .out = out, .kernel = 3, .stride = stride, .padding = 1, .bias = true};
    return pumit__sac_create(&d->module, &shape, name);
}

static void add_layers(pumit_discriminator *d)
{
    int64_t last = d->in_channels;
    for (int32_t i = 0; i < d->stages; i++) {
        char name[16];
        snprintf(name, sizeof name, "%d", 3 * i + 1);
        d->stage[i].conv = add_conv(d, last, d->channels[i], i < d->halvings ? 2 : 1, 3 * i);
        d->stage[i].norm = pumit__module_norm(&d->module, d->channels[i], name);
        last = d->channels[i];
    }
    d->last = add_conv(d, last, 1, 1, 3 * d->stages);
}

static void destroy(pumit_module *module)
{
    pumit_discriminator *d = (pumit_discriminator *)module;
    for (int32_t i = 0; i < MOST_STAGES; i++) pumit__sac_destroy(&d->stage[i].conv);
    pumit__sac_destroy(&d->last);
}

static pumit_status build(pumit_module **out, pumit_context *ctx, const pumit_config *config,
                          pumit__values values)
{
    pumit_discriminator *d =
        pumit__module_create(sizeof *d, ctx, "discriminator", config, values, destroy);
    if (!d) return pumit__last_status();
    d->module.status = read_config(d);
    if (d->module.status == PUMIT_OK) add_layers(d);
    const pumit_status status = pumit__module_finish(&d->module);
    if (status == PUMIT_OK)
        *out = &d->module;
    else
        pumit__module_release(&d->module);
    return status;
}

pumit_status pumit_discriminator_create(pumit_discriminator **out, pumit_context *context,
                                        const pumit_config *config)
{
    PUMIT__REQUIRE(out && context, "pumit_discriminator_create: an argument is NULL");
    pumit_module *module = NULL;
    const pumit_status status = build(&module, context, config, PUMIT__DRAWN);
    *out = (pumit_discriminator *)module;
    return status;
}

pumit_status pumit_discriminator_load(pumit_discriminator **out, pumit_context *context,
                                      const char *path)
{
    PUMIT__REQUIRE(out && context && path, "pumit_discriminator_load: an argument is NULL");
    pumit_module *module = NULL;
    const pumit_status status = pumit__module_load(&module, context, path, "discriminator", build);
    *out = (pumit_discriminator *)module;
    return status;
}

void pumit_discriminator_release(pumit_discriminator *d)
{
    if (d) pumit__module_release(&d->module);
}

pumit_module *pumit_discriminator_module(pumit_discriminator *d)
{
    return d ? &d->module : NULL;
}

/* ------------------------------------------------------------------------------------------ forward */

pumit_tensor *pumit__discriminator_scores(pumit_discriminator *d, pumit_tensor *x, int32_t da)
{
    pumit__feature f = {x, da, 0};
    for (int32_t i = 0; i < d->stages; i++) {
        const pumit__layer *norm = &d->stage[i].norm;
        f = pumit__sac_forward(&d->stage[i].conv, f);
        f.x = pumit__leaky_relu(
            pumit__group_norm(f.x, norm->weight, norm->bias, NORM_GROUPS, NORM_EPS), SLOPE);
    }
    return pumit__sac_forward(&d->last, f).x;
}

pumit_tensor *pumit__hinge_loss(pumit_tensor *real, pumit_tensor *fake)
{
    return pumit__add(pumit__mean(pumit__leaky_relu(pumit__affine(real, -1.0, 1.0), 0.0)),
                      pumit__mean(pumit__leaky_relu(pumit__affine(fake, 1.0, 1.0), 0.0)));
}

pumit_tensor *pumit__discriminator_loss(pumit_discriminator *d, pumit_tensor *real,
                                        pumit_tensor *fake, int32_t da)
{
    pumit_context *ctx = d->module.ctx;
    const bool recording = ctx->recording;
    ctx->recording = true;
    pumit_tensor *loss = pumit__affine(pumit__hinge_loss(pumit__discriminator_scores(d, real, da),
                                                         pumit__discriminator_scores(d, fake, da)),
                                       0.5, 0.0);
    ctx->recording = recording;
    return loss;
}

int64_t pumit__discriminator_least_side(const pumit_discriminator *d)
{
    return INT64_C(2) << d->halvings;
}

int64_t pumit__discriminator_channels(const pumit_discriminator *d)
{
    return d->in_channels;
}

pumit__gan_gate pumit__gan_gate_create(void)
{
    return (pumit__gan_gate){.threshold = 0.025, .momentum = 0.9, .average = 0.1, .last = INFINITY};
}

bool pumit__gan_gate_is_open(const pumit__gan_gate *gate)
{
    return gate->average <= gate->threshold && gate->last <= gate->threshold;
}

void pumit__gan_gate_update(pumit__gan_gate *gate, double loss)
{
    gate->last = loss;
    gate->average = gate->average * gate->momentum + loss * (1.0 - gate->momentum);
}

/* ------------------------------------------------------------------------------------- public calls */

/* An image in [0, 1] as the network takes it; NULL with an error that says what does not fit. */
static pumit_tensor *network_image(const pumit_discriminator *d, pumit_tensor *image)
{
    if (image->ndim != 5 || image->shape[4] != d->in_channels || pumit_tensor_count(image) == 0) {
        pumit__fail(PUMIT_ERROR_SHAPE, "discriminator: image %s is not (N, D, H, W, %lld)",
                    pumit__shape_string(image->ndim, image->shape).text, (long long)d->in_channels);
        return NULL;
    }
    return pumit__affine(pumit__as_real(d->module.ctx, image), 2.0, -1.0);
}

static pumit_tensor *scores(pumit_discriminator *d, pumit_tensor *image, int32_t da)
{
    return pumit__discriminator_scores(d, network_image(d, image), da);
}

pumit_status pumit_discriminator_forward(pumit_tensor **out, pumit_discriminator *d,
                                         pumit_tensor *image, const double spacing[3])
{
    int32_t da;
    PUMIT__REQUIRE(out && d && image, "pumit_discriminator_forward: an argument is NULL");
    PUMIT__TRY(pumit_degree_of_anisotropy(&da, spacing));
    const int64_t mark = pumit__scope_begin(d->module.ctx);
    return pumit__scope_return(out, d->module.ctx, mark, scores(d, image, da));
}

pumit_status pumit_discriminator_loss(pumit_tensor **out, pumit_discriminator *d,
                                      pumit_tensor *real, pumit_tensor *fake,
                                      const double spacing[3])
{
    int32_t da;
    PUMIT__REQUIRE(out && d && real && fake, "pumit_discriminator_loss: an argument is NULL");
    PUMIT__TRY(pumit_degree_of_anisotropy(&da, spacing));
    pumit_context *ctx = d->module.ctx;
    const int64_t mark = pumit__scope_begin(ctx);
    real = network_image(d, real);
    fake = network_image(d, fake);
    pumit_tensor *loss =
        real && fake ? pumit__discriminator_loss(d, pumit__detach(real), pumit__detach(fake), da)
                     : NULL;
    return pumit__scope_return(out, ctx, mark, loss);
}

pumit_status pumit_discriminator_generator_loss(pumit_tensor **out, pumit_discriminator *d,
                                                pumit_tensor *fake, const double spacing[3])
{
    int32_t da;
    PUMIT__REQUIRE(out && d && fake, "pumit_discriminator_generator_loss: an argument is NULL");
    PUMIT__TRY(pumit_degree_of_anisotropy(&da, spacing));
    pumit_context *ctx = d->module.ctx;
    const int64_t mark = pumit__scope_begin(ctx);
    const bool recording = ctx->recording;
    ctx->recording = true;
    pumit_tensor *loss = pumit__affine(pumit__mean(scores(d, fake, da)), -1.0, 0.0);
    ctx->recording = recording;
    return pumit__scope_return(out, ctx, mark, loss);
}
