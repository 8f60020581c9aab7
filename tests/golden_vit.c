/* SPDX-License-Identifier: Apache-2.0 */
/* Golden files of the transformer: hidden states, masked modelling, a whole training run. */
#include "lib/models/vit.h"
#include "tests/golden.h"

#include <pumit/optimizer.h>

#include <math.h>
#include <string.h>

/* --------------------------------------------------------------------------------------------- ViT */

static pumit_status vit_of(pumit_vit **out, golden *g, const char *mask_layers)
{
    pumit_config *config;
    PUMIT__TRY(golden_config(&config, g));
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
    golden_compare_scalar(g, golden_item(loss), key);
    const pumit_status status = pumit_tensor_backward(loss);
    pumit_tensor_release(loss);
    snprintf(key, sizeof key, "%s.da%d", grad, da);
    golden_compare_gradients(g, pumit_vit_module(vit), key);
    return status;
}

static pumit_status check_vit_da(golden *g, pumit_vit *all, pumit_vit *some, pumit_tokenizer *t,
                                 int32_t da)
{
    int64_t grid[3];
    pumit_tensor *tokens =
        pumit__vit_patch_tokens(all, golden_tensor(g, "in.da%d.x", da), da, grid);
    golden_compare(g, pumit__vit_hidden(all, tokens, grid), golden_tensor(g, "out.da%d.hidden", da),
                   GOLDEN_FORWARD, "out.da%d.hidden", da);
    PUMIT__TRY(check_mim(g, all, t, da, "mim_loss", "grad"));
    return check_mim(g, some, t, da, "mim_loss_masked_layers_1_2", "grad_masked_layers_1_2");
}

pumit_status golden_vit(golden *g)
{
    pumit_vit *all = NULL, *some = NULL;
    pumit_tokenizer *t = NULL;
    pumit_status status = vit_of(&all, g, NULL);
    if (status == PUMIT_OK) status = vit_of(&some, g, "[1, 2]");
    if (status == PUMIT_OK) status = golden_carried_tokenizer(&t, g);
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
    golden_compare_value(g, golden_item(loss), losses[step], CURVE, "loss of step %d", step);
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
    if (status == PUMIT_OK) status = golden_carried_tokenizer(&t, g);
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
