/* SPDX-License-Identifier: Apache-2.0 */
/* AdamW with decay groups, clipping by the global norm, and the warm-up plus cosine schedule. */
#include "lib/nn/optimizer.h"

#include "lib/base/config.h"
#include "lib/tensor/shared.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define EXP_AVG "exp_avg."

typedef struct {
    pumit_tensor *parameter; /* owned references */
    pumit_tensor *moment[2];
    char *name[2]; /* exp_avg.NAME, exp_avg_sq.NAME */
    bool decays;
    double factor; /* of the learning rate */
} trained;

struct pumit_optimizer {
    pumit_module *module; /* owned reference */
    trained *items;
    int64_t count, steps;
    double beta1, beta2, eps, weight_decay, clip_norm;
};

static pumit_status read_config(pumit_optimizer *o, const char **frozen, const pumit_config *config)
{
    PUMIT__TRY(pumit_config_get_double(&o->beta1, config, "beta1", 0.9));
    PUMIT__TRY(pumit_config_get_double(&o->beta2, config, "beta2", 0.999));
    PUMIT__TRY(pumit_config_get_double(&o->eps, config, "eps", 1e-8));
    PUMIT__TRY(pumit_config_get_double(&o->weight_decay, config, "weight_decay", 0.05));
    PUMIT__TRY(pumit_config_get_double(&o->clip_norm, config, "clip_norm", 0.0));
    PUMIT__TRY(pumit_config_get_string(frozen, config, "frozen", NULL));
    PUMIT__REQUIRE(o->beta1 >= 0 && o->beta1 < 1 && o->beta2 >= 0 && o->beta2 < 1,
                   "optimiser: beta1 and beta2 must be in [0, 1)");
    PUMIT__REQUIRE(o->eps > 0 && o->weight_decay >= 0 && o->clip_norm >= 0,
                   "optimiser: eps must be positive, weight_decay and clip_norm not negative");
    return PUMIT_OK;
}

static pumit_status check_factors(const cJSON *factors)
{
    PUMIT__REQUIRE(!factors || cJSON_IsArray(factors), "optimiser: rate_factors is no list");
    for (const cJSON *rule = factors ? factors->child : NULL; rule; rule = rule->next)
        PUMIT__REQUIRE(cJSON_GetArraySize(rule) == 2 && cJSON_IsString(rule->child) &&
                           cJSON_IsNumber(rule->child->next) && rule->child->next->valuedouble >= 0,
                       "optimiser: rate_factors holds what is no [\"prefix\", factor]");
    return PUMIT_OK;
}

/* Of the first rule whose prefix the name has; 1 if there is none. */
static double factor_of(const cJSON *factors, const char *name)
{
    for (const cJSON *rule = factors ? factors->child : NULL; rule; rule = rule->next) {
        const char *const prefix = rule->child->valuestring;
        if (strncmp(name, prefix, strlen(prefix)) == 0) return rule->child->next->valuedouble;
    }
    return 1;
}

static pumit_status add_item(pumit_optimizer *o, const pumit__parameter *parameter,
                             const cJSON *factors)
{
    trained *item = &o->items[o->count++];
    pumit_tensor *tensor = parameter->tensor;
    item->parameter = pumit_tensor_retain(tensor);
    item->decays = parameter->decays;
    item->factor = factor_of(factors, parameter->name);
    item->name[0] = pumit__format(EXP_AVG "%s", parameter->name);
    item->name[1] = pumit__format("exp_avg_sq.%s", parameter->name);
    if (!item->name[0] || !item->name[1]) return pumit__fail_memory(64, "an optimiser");
    for (int32_t i = 0; i < 2; i++)
        PUMIT__TRY(pumit_tensor_create(&item->moment[i], tensor->ctx, tensor->dtype, tensor->ndim,
                                       tensor->shape));
    return PUMIT_OK;
}

pumit_status pumit_optimizer_create(pumit_optimizer **out, pumit_module *module,
                                    const pumit_config *config)
{
    PUMIT__REQUIRE(out && module, "pumit_optimizer_create: an argument is NULL");
    const char *frozen;
    *out = NULL;
    pumit_optimizer *o = pumit__calloc(1, sizeof *o);
    if (!o) return pumit__fail_memory(sizeof *o, "an optimiser");
    o->module = pumit__module_retain(module);
    o->items = pumit__calloc(module->count, sizeof *o->items);
    const cJSON *const factors =
        cJSON_GetObjectItemCaseSensitive(pumit__config_json(config), "rate_factors");
    pumit_status status = o->items ? read_config(o, &frozen, config)
                                   : pumit__fail_memory(module->count, "an optimiser");
    if (status == PUMIT_OK) status = check_factors(factors);
    for (int64_t i = 0; i < module->count && status == PUMIT_OK; i++) {
        const pumit__parameter *parameter = &module->parameters[i];
        status = pumit__shared_check_alone(parameter->tensor, parameter->name);
        if (status == PUMIT_OK && parameter->tensor->dtype != module->ctx->real)
            status = pumit__fail(PUMIT_ERROR_STATE,
                                 "'%s' is held in 16 bits, for inference; to train, load the %s in "
                                 "a context without 'weight_type'",
                                 parameter->name, module->kind);
        if (status != PUMIT_OK || !parameter->tensor->slot ||
            (frozen && *frozen && strncmp(parameter->name, frozen, strlen(frozen)) == 0))
            continue;
        status = add_item(o, parameter, factors);
    }
    if (status == PUMIT_OK)
        *out = o;
    else
        pumit_optimizer_release(o);
    return status;
}

void pumit_optimizer_release(pumit_optimizer *o)
{
    if (!o) return;
    for (int64_t i = 0; i < o->count; i++) {
        pumit_tensor_release(o->items[i].parameter);
        for (int32_t k = 0; k < 2; k++) {
            pumit_tensor_release(o->items[i].moment[k]);
            free(o->items[i].name[k]);
        }
    }
    free(o->items);
    pumit__module_release(o->module);
    free(o);
}

/* -------------------------------------------------------------------------------------------- steps */

static pumit_tensor *gradient_of(const trained *item)
{
    return item->parameter->slot ? pumit__contiguous(item->parameter->slot->grad) : NULL;
}

static const char *name_of(const trained *item)
{
    return item->name[0] + strlen(EXP_AVG);
}

/* A trained parameter's name begins with this. */
static bool begins_with(const trained *item, const char *prefix)
{
    return strncmp(name_of(item), prefix, strlen(prefix)) == 0;
}

/* Square root of the sum of all squared gradients of parameters whose names begin with `prefix`. */
static pumit_status norm_of(double *norm, const pumit_optimizer *o, const char *prefix)
{
    pumit_context *ctx = o->module->ctx;
    pumit_tensor *total = pumit__zeros(ctx, 0, 0, NULL);
    if (!total) return pumit__last_status();
    double sum = 0.0;
    for (int64_t i = 0; i < o->count; i++) {
        pumit_tensor *grad = begins_with(&o->items[i], prefix) ? gradient_of(&o->items[i]) : NULL;
        if (!grad) continue;
        const pumit_sum_squares_args args = {
            .src = pumit__data(grad), .dst = pumit__data(total), .n = pumit_tensor_count(grad)};
        PUMIT__TRY(pumit__kernel_sum_squares(ctx, &args));
    }
    PUMIT__TRY(pumit_tensor_item(&sum, total));
    *norm = sqrt(sum);
    return PUMIT_OK;
}

static pumit_status update(const pumit_optimizer *o, trained *item, double rate, double grad_scale)
{
    pumit_tensor *grad = gradient_of(item), *p = item->parameter;
    if (!grad) return PUMIT_OK;
    const pumit_adamw_args args = {.param = pumit__data(p),
                                   .exp_avg = pumit__data(item->moment[0]),
                                   .exp_avg_sq = pumit__data(item->moment[1]),
                                   .grad = pumit__data(grad),
                                   .n = pumit_tensor_count(p),
                                   .step = o->steps,
                                   .lr = rate * item->factor,
                                   .beta1 = o->beta1,
                                   .beta2 = o->beta2,
                                   .eps = o->eps,
                                   .weight_decay = item->decays ? o->weight_decay : 0.0,
                                   .grad_scale = grad_scale};
    pumit_tensor_touch(p);
    return pumit__kernel_adamw(p->ctx, &args);
}

static pumit_status step(pumit_optimizer *o, double rate, int32_t accumulated, double *grad_norm)
{
    double norm = 0.0;
    for (int64_t i = 0; i < o->count; i++)
        PUMIT__TRY(pumit__shared_check_alone(o->items[i].parameter, name_of(&o->items[i])));
    PUMIT__TRY(norm_of(&norm, o, ""));
    norm /= accumulated;
    if (grad_norm) *grad_norm = norm;
    if (!isfinite(norm))
        return pumit__fail(PUMIT_ERROR_STATE,
                           "the gradient's norm is not finite: the step was skipped");
    /* The constant is torch.nn.utils.clip_grad_norm_'s. */
    const double clip =
        o->clip_norm > 0.0 && norm > o->clip_norm ? o->clip_norm / (norm + 1e-6) : 1.0;
    o->steps++;
    for (int64_t i = 0; i < o->count; i++)
        PUMIT__TRY(update(o, &o->items[i], rate, clip / accumulated));
    return PUMIT_OK;
}

pumit_status pumit_optimizer_step(pumit_optimizer *o, double learning_rate, int32_t accumulated,
                                  double *grad_norm)
{
    PUMIT__REQUIRE(o, "pumit_optimizer_step: optimizer is NULL");
    PUMIT__REQUIRE(accumulated >= 1 && isfinite(learning_rate),
                   "optimiser: a step needs a finite rate and at least one loss");
    pumit_context *ctx = o->module->ctx;
    const int64_t mark = pumit__scope_begin(ctx);
    const bool recording = ctx->recording;
    const int64_t before = o->steps;
    ctx->recording = false;
    const pumit_status status = step(o, learning_rate, accumulated, grad_norm);
    ctx->recording = recording;
    pumit__scope_end(ctx, mark, NULL);
    /* Where memory was out before anything moved, the step can be taken again. */
    if (status != PUMIT_ERROR_OUT_OF_MEMORY || o->steps != before)
        pumit_module_zero_grad(o->module);
    return status;
}

pumit_status pumit__optimizer_norm(double *norm, const pumit_optimizer *o, const char *prefix)
{
    pumit_context *ctx = o->module->ctx;
    const int64_t mark = pumit__scope_begin(ctx);
    const bool recording = ctx->recording;
    ctx->recording = false;
    const pumit_status status = norm_of(norm, o, prefix);
    ctx->recording = recording;
    pumit__scope_end(ctx, mark, NULL);
    return status;
}

int64_t pumit_optimizer_steps(const pumit_optimizer *o)
{
    return o->steps;
}

double pumit_cosine_rate(int64_t step_number, double base, int64_t max_steps, int64_t warmup,
                         double least)
{
    if (step_number < warmup) return (double)step_number * base / (double)warmup;
    const int64_t t = step_number - warmup;
    if (t >= max_steps) return least;
    return least + 0.5 * (base - least) *
                       (1.0 + cos(3.14159265358979323846 * (double)t / (double)max_steps));
}

/* ------------------------------------------------------------------------------------------ state */

int64_t pumit__optimizer_state_count(const pumit_optimizer *o)
{
    return 2 * o->count;
}

void pumit__optimizer_state(const pumit_optimizer *o, int64_t i, const char **name,
                            pumit_tensor **tensor)
{
    *name = o->items[i / 2].name[i % 2];
    *tensor = o->items[i / 2].moment[i % 2];
}

void pumit__optimizer_set_steps(pumit_optimizer *o, int64_t steps)
{
    o->steps = steps;
}
