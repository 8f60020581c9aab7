/* SPDX-License-Identifier: Apache-2.0 */
/* How each kind of golden file is run. */
#include "lib/models/tokenizer.h"
#include "lib/models/vit.h"
#include "lib/nn/sac_conv.h"
#include "lib/tensor/ops.h"
#include "tests/golden.h"

#include <pumit/optimizer.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

static pumit_tensor *slot_gradient(pumit_tensor *tensor)
{
    return tensor && tensor->slot ? tensor->slot->grad : NULL;
}

/* --------------------------------------------------------------------------------------------- SAC */

typedef struct {
    const char *name;
    int64_t stride, padding;
    bool transposed;
} sac_case;

/* One layer: result, and the gradients of sum(out * grad_out). */
static pumit_status check_sac_case(golden *g, const sac_case *c, int32_t da, int32_t down)
{
    char q[64];
    snprintf(q, sizeof q, "%s.da%d.down%d", c->name, da, down);
    if (!golden_has(g, "%s.in", q)) return PUMIT_OK;
    pumit_tensor *in = golden_tensor(g, "%s.in", q);
    pumit__sac sac = {.weight = golden_tensor(g, "%s.weight", q),
                      .bias = golden_tensor(g, "%s.bias", q),
                      .stride = c->stride,
                      .padding = c->padding,
                      .transposed = c->transposed};
    PUMIT__TRY(pumit_tensor_set_requires_grad(in, 1));
    PUMIT__TRY(pumit_tensor_set_requires_grad(sac.weight, 1));
    PUMIT__TRY(pumit_tensor_set_requires_grad(sac.bias, 1));
    pumit_context_set_recording(g->ctx, 1);
    pumit_tensor *out = pumit__sac_forward(&sac, (pumit__feature){in, da, down}).x;
    pumit_tensor *loss = pumit__mul(out, golden_tensor(g, "%s.grad_out", q));
    loss = loss ? pumit__sum(loss, (UINT32_C(1) << loss->ndim) - 1, 1.0) : NULL;
    pumit_context_set_recording(g->ctx, 0);
    const pumit_status status = loss ? pumit_tensor_backward(loss) : pumit__last_status();
    golden_compare(g, out, golden_tensor(g, "%s.out", q), GOLDEN_FORWARD, "%s.out", q);
    golden_compare(g, slot_gradient(in), golden_tensor(g, "%s.grad_in", q), GOLDEN_GRADIENT,
                   "%s.grad_in", q);
    golden_compare(g, slot_gradient(sac.weight), golden_tensor(g, "%s.grad_weight", q),
                   GOLDEN_GRADIENT, "%s.grad_weight", q);
    golden_compare(g, slot_gradient(sac.bias), golden_tensor(g, "%s.grad_bias", q), GOLDEN_GRADIENT,
                   "%s.grad_bias", q);
    pumit__sac_destroy(&sac);
    return status;
}

pumit_status golden_sac(golden *g)
{
    static const sac_case cases[] = {{"down4", 4, 0, false},   {"down2", 2, 0, false},
                                     {"down16", 16, 0, false}, {"conv3", 1, 1, false},
                                     {"conv3s2", 2, 1, false}, {"up2", 2, 0, true},
                                     {"up4", 4, 0, true}};
    for (int64_t i = 0; i < PUMIT__COUNT(cases); i++)
        for (int32_t da = 0; da <= PUMIT__MOST_ANISOTROPY; da++)
            for (int32_t down = 0; down <= 4; down++) {
                const int64_t mark = pumit__scope_begin(g->ctx);
                const pumit_status status = check_sac_case(g, &cases[i], da, down);
                pumit__scope_end(g->ctx, mark, NULL);
                if (status != PUMIT_OK) return status;
            }
    return PUMIT_OK;
}

/* ---------------------------------------------------------------------------------------- gradients */

static double norm_of(golden *g, const char *name)
{
    pumit_tensor *tensor = golden_tensor(g, "%s", name);
    pumit_tensor *squares = tensor ? pumit__mul(tensor, tensor) : NULL;
    double sum = 0.0;
    if (squares)
        pumit_tensor_item(&sum, pumit__sum(squares, (UINT32_C(1) << squares->ndim) - 1, 1.0));
    return sqrt(sum);
}

/*
 * All gradients under "PREFIX.NAME" in the published layout, which golden_tensor() turns. Some are zero in exact arithmetic
 * (a bias before a norm with one channel a group): what the file has for those is noise, 1e-7 of the whole gradient.
 */
static void compare_gradients(golden *g, pumit_module *module, const char *prefix)
{
    char key[192];
    double sum = 0.0;
    for (int64_t i = 0; i < pumit_module_parameter_count(module); i++) {
        snprintf(key, sizeof key, "%s.%s", prefix, pumit_module_parameter_name(module, i));
        sum += pow(norm_of(g, key), 2.0);
    }
    g->noise = 1e-7 * sqrt(sum);
    for (int64_t i = 0; i < pumit_module_parameter_count(module); i++) {
        const char *name = pumit_module_parameter_name(module, i);
        if (golden_has(g, "%s.%s", prefix, name))
            golden_compare(g, slot_gradient(pumit_module_parameter(module, i)),
                           golden_tensor(g, "%s.%s", prefix, name), GOLDEN_GRADIENT, "%s.%s",
                           prefix, name);
    }
    g->noise = 0.0;
    pumit_module_zero_grad(module);
}

static double item(const pumit_tensor *scalar)
{
    double value = NAN;
    return scalar && pumit_tensor_item(&value, scalar) == PUMIT_OK ? value : NAN;
}

static void compare_scalar(golden *g, double got, const char *name)
{
    golden_compare_value(g, got, item(golden_tensor(g, "%s", name)), GOLDEN_FORWARD, "%s", name);
}

/* --------------------------------------------------------------------------------------- tokenizer */

static pumit_status file_config(pumit_config **out, const golden *g)
{
    const char *text = pumit__safetensors_metadata(g->file, "pumit.config");
    return text ? pumit_config_parse(out, text)
                : pumit__fail(PUMIT_ERROR_FORMAT, "%s: no pumit.config", g->path);
}

static pumit_status check_tokenizer_da(golden *g, pumit_tokenizer *t, int32_t da)
{
    char key[64], prefix[32];
    double terms[PUMIT_TERM_COUNT];
    pumit_tensor *x = golden_tensor(g, "in.da%d.x", da);
    pumit__feature f = pumit__tokenizer_features(t, x, da);
    pumit_tensor *logits = pumit__tokenizer_logits(t, f.x);
    f.x = pumit__tokenizer_codes_of(t, pumit__softmax(logits));
    golden_compare(g, logits, golden_plain(g, "out.da%d.logits", da), GOLDEN_FORWARD,
                   "out.da%d.logits", da);
    golden_compare(g, f.x ? pumit__tokenizer_image(t, f) : NULL,
                   golden_tensor(g, "out.da%d.rec", da), GOLDEN_FORWARD, "out.da%d.rec", da);
    pumit_context_set_recording(g->ctx, 1);
    pumit_tensor *loss = pumit__tokenizer_loss(terms, t, x, da, 1.0, 0.2);
    pumit_context_set_recording(g->ctx, 0);
    if (!loss) return pumit__last_status();
    const struct {
        const char *name;
        double value;
    } scalars[] = {{"loss", item(loss)},
                   {"prior_loss", terms[PUMIT_TERM_PRIOR]},
                   {"entropy", terms[PUMIT_TERM_ENTROPY]}};
    for (int64_t i = 0; i < PUMIT__COUNT(scalars); i++) {
        snprintf(key, sizeof key, "out.da%d.%s", da, scalars[i].name);
        compare_scalar(g, scalars[i].value, key);
    }
    PUMIT__TRY(pumit_tensor_backward(loss));
    snprintf(prefix, sizeof prefix, "grad.da%d", da);
    compare_gradients(g, pumit_tokenizer_module(t), prefix);
    return PUMIT_OK;
}

pumit_status golden_tokenizer(golden *g)
{
    pumit_config *config = NULL;
    pumit_tokenizer *t = NULL;
    pumit_status status = file_config(&config, g);
    if (status == PUMIT_OK) status = pumit_tokenizer_create(&t, g->ctx, config);
    if (status == PUMIT_OK)
        status = pumit_module_load_weights(pumit_tokenizer_module(t), g->path, "w.", 1, NULL);
    for (int32_t da = 0; da <= PUMIT__MOST_ANISOTROPY && status == PUMIT_OK; da++)
        if (golden_has(g, "in.da%d.x", da)) status = check_tokenizer_da(g, t, da);
    pumit_tokenizer_release(t);
    pumit_config_release(config);
    return status;
}

/* The tokenizer that a transformer's file carries under "tokenizer.": its sizes are those of its arrays. */
static pumit_status carried_tokenizer(pumit_tokenizer **out, golden *g)
{
    char channels[128] = "[";
    size_t used = 1;
    int64_t start = 0;
    for (int32_t i = 0; used < sizeof channels - 24; i += 3) {
        char name[64];
        snprintf(name, sizeof name, "tokenizer.encoder.%d.weight", i);
        const pumit__safetensors_entry *e = pumit__safetensors_find(g->file, name);
        if (!e || e->ndim != 5 || e->shape[2] == 3)
            break; /* the 3x3x3 convolutions follow the stages */
        if (i == 0) start = e->shape[2];
        used += (size_t)snprintf(channels + used, sizeof channels - used, "%s%lld", i ? "," : "",
                                 (long long)e->shape[0]);
    }
    snprintf(channels + used, sizeof channels - used, "]");
    const pumit__safetensors_entry *book =
        pumit__safetensors_find(g->file, "tokenizer.quantize.embedding.weight");
    if (!book || book->ndim != 2)
        return pumit__fail(PUMIT_ERROR_FORMAT, "%s: carries no tokenizer", g->path);
    pumit_config *config;
    PUMIT__TRY(pumit_config_create(&config));
    pumit_status status = pumit_config_set_json(config, "channels", channels);
    if (status == PUMIT_OK) status = pumit_config_set_int(config, "start_stride", start);
    if (status == PUMIT_OK) status = pumit_config_set_int(config, "codes", book->shape[0]);
    if (status == PUMIT_OK) status = pumit_config_set_int(config, "code_dim", book->shape[1]);
    if (status == PUMIT_OK) status = pumit_tokenizer_create(out, g->ctx, config);
    if (status == PUMIT_OK)
        status =
            pumit_module_load_weights(pumit_tokenizer_module(*out), g->path, "tokenizer.", 1, NULL);
    pumit_config_release(config);
    return status;
}

/* --------------------------------------------------------------------------------------------- ViT */

static pumit_status vit_of(pumit_vit **out, golden *g, const char *mask_layers)
{
    pumit_config *config;
    PUMIT__TRY(file_config(&config, g));
    pumit_status status =
        mask_layers ? pumit_config_set_json(config, "mask_layers", mask_layers) : PUMIT_OK;
    if (status == PUMIT_OK) status = pumit_vit_create(out, g->ctx, config);
    if (status == PUMIT_OK)
        status = pumit_module_load_weights(pumit_vit_module(*out), g->path, "w.", 1, NULL);
    pumit_config_release(config);
    return status;
}

static pumit_status check_mim(golden *g, pumit_vit *vit, pumit_tokenizer *t, int32_t da,
                              const char *out, const char *grad)
{
    char key[96];
    const double spacing[3] = {ldexp(1.0, da), 1.0, 1.0};
    pumit_tensor *loss;
    PUMIT__TRY(pumit_vit_mim_loss(&loss, vit, t, golden_tensor(g, "in.da%d.x", da), spacing,
                                  golden_plain(g, "in.da%d.visible", da)));
    snprintf(key, sizeof key, "out.da%d.%s", da, out);
    compare_scalar(g, item(loss), key);
    const pumit_status status = pumit_tensor_backward(loss);
    pumit_tensor_release(loss);
    snprintf(key, sizeof key, "%s.da%d", grad, da);
    compare_gradients(g, pumit_vit_module(vit), key);
    return status;
}

static pumit_status check_vit_da(golden *g, pumit_vit *all, pumit_vit *some, pumit_tokenizer *t,
                                 int32_t da)
{
    golden_compare(g, pumit__vit_hidden(all, golden_tensor(g, "in.da%d.x", da), da),
                   golden_tensor(g, "out.da%d.hidden", da), GOLDEN_FORWARD, "out.da%d.hidden", da);
    PUMIT__TRY(check_mim(g, all, t, da, "mim_loss", "grad"));
    return check_mim(g, some, t, da, "mim_loss_masked_layers_1_2", "grad_masked_layers_1_2");
}

pumit_status golden_vit(golden *g)
{
    pumit_vit *all = NULL, *some = NULL;
    pumit_tokenizer *t = NULL;
    pumit_status status = vit_of(&all, g, NULL);
    if (status == PUMIT_OK) status = vit_of(&some, g, "[1, 2]");
    if (status == PUMIT_OK) status = carried_tokenizer(&t, g);
    for (int32_t da = 0; da <= PUMIT__MOST_ANISOTROPY && status == PUMIT_OK; da++)
        if (golden_has(g, "in.da%d.x", da)) status = check_vit_da(g, all, some, t, da);
    pumit_vit_release(all);
    pumit_vit_release(some);
    pumit_tokenizer_release(t);
    return status;
}

/* ------------------------------------------------------------------------------------------- curve */

#define CURVE 1e-3

/* The file's run decayed every "*.weight", those of norms too, which pumit_optimizer_create() does not. */
static void decay_as_the_file(pumit_module *module)
{
    for (int64_t i = 0; i < module->count; i++)
        module->parameters[i].decays = strstr(module->parameters[i].name, ".weight") != NULL;
}

static pumit_status curve_step(golden *g, pumit_vit *vit, pumit_tokenizer *t,
                               pumit_optimizer *optimizer, int32_t step, const double *losses,
                               const double *norms)
{
    static const int32_t cycle[4] = {0, 2, 5, 1};
    const double spacing[3] = {ldexp(1.0, cycle[step % 4]), 1.0, 1.0};
    double norm;
    pumit_tensor *loss;
    PUMIT__TRY(pumit_vit_mim_loss(&loss, vit, t, golden_tensor(g, "in.step%d.x", step), spacing,
                                  golden_plain(g, "in.step%d.visible", step)));
    golden_compare_value(g, item(loss), losses[step], CURVE, "loss of step %d", step);
    pumit_status status = pumit_tensor_backward(loss);
    pumit_tensor_release(loss);
    if (status == PUMIT_OK)
        status =
            pumit_optimizer_step(optimizer, pumit_cosine_rate(step, 1e-3, 100, 10, 1e-6), 1, &norm);
    if (status == PUMIT_OK)
        golden_compare_value(g, norm, norms[step], CURVE, "gradient norm of step %d", step);
    return status;
}

static pumit_status run_curve(golden *g, pumit_vit *vit, pumit_tokenizer *t,
                              pumit_optimizer *optimizer)
{
    pumit_tensor *loss = golden_tensor(g, "out.loss"), *norm = golden_tensor(g, "out.grad_norm");
    double losses[256], norms[256];
    const int64_t steps = loss ? pumit_tensor_count(loss) : 0,
                  bytes = steps * (int64_t)sizeof *losses;
    if (steps < 1 || steps > PUMIT__COUNT(losses))
        return pumit__fail(PUMIT_ERROR_FORMAT, "%s: no usable out.loss", g->path);
    PUMIT__TRY(pumit_tensor_read(loss, PUMIT_F64, losses, bytes));
    PUMIT__TRY(pumit_tensor_read(norm, PUMIT_F64, norms, bytes));
    for (int32_t step = 0; step < steps; step++)
        PUMIT__TRY(curve_step(g, vit, t, optimizer, step, losses, norms));
    pumit_module *module = pumit_vit_module(vit);
    for (int64_t i = 0; i < pumit_module_parameter_count(module); i++) {
        const char *name = pumit_module_parameter_name(module, i);
        golden_compare(g, pumit_module_parameter(module, i), golden_tensor(g, "out.final.%s", name),
                       CURVE, "out.final.%s", name);
    }
    return PUMIT_OK;
}

pumit_status golden_curve(golden *g)
{
    pumit_vit *vit = NULL;
    pumit_tokenizer *t = NULL;
    pumit_optimizer *optimizer = NULL;
    pumit_config *config = NULL;
    pumit_status status = vit_of(&vit, g, NULL);
    if (status == PUMIT_OK) status = carried_tokenizer(&t, g);
    if (status == PUMIT_OK) decay_as_the_file(pumit_vit_module(vit));
    if (status == PUMIT_OK)
        status = pumit_config_parse(&config, "{\"clip_norm\": 0.5, \"weight_decay\": 0.05}");
    if (status == PUMIT_OK)
        status = pumit_optimizer_create(&optimizer, pumit_vit_module(vit), config);
    if (status == PUMIT_OK) status = run_curve(g, vit, t, optimizer);
    pumit_optimizer_release(optimizer);
    pumit_config_release(config);
    pumit_tokenizer_release(t);
    pumit_vit_release(vit);
    return status;
}
