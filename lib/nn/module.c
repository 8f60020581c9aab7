/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/nn/module.h"

#include "lib/tensor/shared.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

void *pumit__module_create(int64_t size, pumit_context *ctx, const char *kind,
                           const pumit_config *config, pumit__values values,
                           void (*destroy)(pumit_module *))
{
    pumit_module *module = pumit__calloc(1, size);
    if (!module) {
        pumit__fail_memory(size, "a model");
        return NULL;
    }
    module->refs = 1;
    module->ctx = pumit__context_retain(ctx);
    module->kind = kind;
    module->values = values;
    module->matrices = ctx->real;
    module->destroy = destroy;
    int64_t seed = 0;
    module->status = pumit_config_create(&module->config);
    if (module->status == PUMIT_OK && config)
        module->status = pumit_config_merge(module->config, config);
    if (module->status == PUMIT_OK) module->status = pumit_config_get_int(&seed, config, "seed", 0);
    module->seed = (uint64_t)seed;
    if (module->status == PUMIT_OK) return module;
    pumit__module_release(module);
    return NULL;
}

pumit_module *pumit__module_retain(pumit_module *module)
{
    module->refs++;
    return module;
}

void pumit__module_release(pumit_module *module)
{
    if (!module || --module->refs > 0) return;
    if (module->destroy) module->destroy(module);
    for (int64_t i = 0; i < module->count; i++) {
        free(module->parameters[i].name);
        pumit_tensor_release(module->parameters[i].tensor);
    }
    free(module->parameters);
    pumit_config_release(module->config);
    pumit_context_release(module->ctx);
    free(module);
}

/* ------------------------------------------------------------------------------------- building */

/* Takes the name; retains the tensor. */
static bool append(pumit_module *module, char *name, const pumit__parameter *given)
{
    if (!name || !pumit__grow(&module->parameters, &module->capacity, module->count + 1,
                              sizeof *module->parameters)) {
        free(name);
        module->status = pumit__fail_memory(64, "a parameter");
        return false;
    }
    pumit__parameter *const parameter = &module->parameters[module->count++];
    *parameter = *given;
    parameter->name = name;
    pumit_tensor_retain(given->tensor);
    return true;
}

static double cut_normal(uint64_t seed, uint64_t stream, uint64_t counter)
{
    const double x = pumit__random_normal(seed, stream, counter);
    return x < -2.0 ? -2.0 : x > 2.0 ? 2.0 : x;
}

static pumit_status fill(pumit_tensor *tensor, const char *name, uint64_t seed,
                         pumit__initial initial)
{
    const int64_t count = pumit_tensor_count(tensor);
    if (initial.deviation == 0.0) {
        const pumit_fill_args args = {pumit__data(tensor), count, initial.constant};
        return pumit__kernel_fill(tensor->ctx, &args);
    }
    float *values = pumit__calloc(count, sizeof *values);
    if (!values) return pumit__fail_memory(count * (int64_t)sizeof *values, name);
    const uint64_t stream = pumit__random_stream(name);
    for (int64_t i = 0; i < count; i++)
        values[i] = (float)(initial.deviation * cut_normal(seed, stream, (uint64_t)i));
    const pumit_status status =
        pumit_tensor_write(tensor, PUMIT_F32, values, count * (int64_t)sizeof *values);
    free(values);
    return status;
}

/* Before there is memory for it: a configuration of a few bytes can ask for terabytes. */
static pumit_status count_elements(pumit_module *module, int32_t ndim, const int64_t *shape)
{
    const int64_t limit = module->ctx->parameter_limit;
    int64_t count = 1;
    bool fits = true;
    for (int32_t i = 0; i < ndim && fits; i++) fits = pumit__multiply(&count, count, shape[i]);
    if (!fits || !pumit__add_sizes(&module->elements, module->elements, count) ||
        module->elements > limit)
        return pumit__fail(PUMIT_ERROR_LIMIT,
                           "a %s of more than the %lld parameters allowed; raise "
                           "\"limits.parameters\" of the context if it is meant",
                           module->kind, (long long)limit);
    return PUMIT_OK;
}

/* The parameter of the other module that has this one's place. */
static pumit_tensor *shared_parameter(const pumit_module *module, int32_t ndim,
                                      const int64_t *shape)
{
    const pumit_module *from = module->values.shared;
    const pumit_tensor *tensor =
        module->count < from->count ? from->parameters[module->count].tensor : NULL;
    if (tensor && tensor->ndim == ndim &&
        memcmp(tensor->shape, shape, (size_t)ndim * sizeof *shape) == 0)
        return pumit__shared_join(module->ctx, tensor);
    pumit__fail(PUMIT_ERROR_INTERNAL, "two %s of one configuration differ", module->kind);
    return NULL;
}

pumit_tensor *pumit__module_add(pumit_module *module, int32_t ndim, const int64_t *shape,
                                bool decays, pumit__initial initial, const char *format, ...)
{
    if (module->status == PUMIT_OK) module->status = count_elements(module, ndim, shape);
    if (module->status != PUMIT_OK) return NULL;
    char *name = NULL;
    va_list args;
    va_start(args, format);
    if (vasprintf(&name, format, args) < 0) name = NULL;
    va_end(args);
    const bool matrix = decays && ndim == 2; /* of a linear layer */
    const int64_t mark = pumit__scope_begin(module->ctx);
    pumit_tensor *tensor =
        module->values.shared
            ? shared_parameter(module, ndim, shape)
            : pumit__shared_create(module->ctx, matrix ? module->matrices : 0, ndim, shape);
    if (!tensor) {
        module->status = pumit__last_status();
        free(name);
        return NULL;
    }
    const pumit__parameter parameter = {.tensor = tensor, .decays = decays, .initial = initial};
    const bool held = append(module, name, &parameter);
    pumit__scope_end(module->ctx, mark, NULL);
    if (!held) return NULL;
    if (module->matrices == module->ctx->real && !module->values.shared)
        module->status = pumit_tensor_set_requires_grad(tensor, 1);
    return tensor;
}

void pumit__module_share(pumit_module *module, const pumit_module *other, const char *prefix)
{
    for (int64_t i = 0; i < other->count && module->status == PUMIT_OK; i++) {
        pumit__parameter parameter = other->parameters[i];
        parameter.shared = true;
        append(module, pumit__format("%s%s", prefix, other->parameters[i].name), &parameter);
    }
}

pumit_status pumit__module_finish(pumit_module *module)
{
    for (int64_t i = 0; module->values.drawn && i < module->count && module->status == PUMIT_OK;
         i++) {
        const pumit__parameter *p = &module->parameters[i];
        if (!p->shared) module->status = fill(p->tensor, p->name, module->seed, p->initial);
    }
    return module->status;
}

pumit_status pumit__module_join(pumit_module **out, pumit_context *ctx, const pumit_module *source,
                                pumit__build_fn build)
{
    *out = NULL;
    if (ctx->real != source->ctx->real)
        return pumit__fail(PUMIT_ERROR_UNSUPPORTED,
                           "a %s of device '%s' cannot be shared with device '%s', which computes "
                           "in another type: load it there",
                           source->kind, pumit_context_device(source->ctx),
                           pumit_context_device(ctx));
    return build(out, ctx, source->config, (pumit__values){.shared = source});
}

pumit__layer pumit__module_linear(pumit_module *module, int64_t in, int64_t out, bool bias,
                                  double deviation, const char *name)
{
    const int64_t shape[2] = {out, in};
    pumit__layer layer = {0};
    layer.weight =
        pumit__module_add(module, 2, shape, true, PUMIT__NORMAL(deviation), "%s.weight", name);
    if (bias)
        layer.bias =
            pumit__module_add(module, 1, shape, false, PUMIT__CONSTANT(0.0), "%s.bias", name);
    return layer;
}

pumit__layer pumit__module_norm(pumit_module *module, int64_t channels, const char *name)
{
    pumit__layer layer;
    layer.weight =
        pumit__module_add(module, 1, &channels, false, PUMIT__CONSTANT(1.0), "%s.weight", name);
    layer.bias =
        pumit__module_add(module, 1, &channels, false, PUMIT__CONSTANT(0.0), "%s.bias", name);
    return layer;
}

/* ---------------------------------------------------------------------------------- public views */

const char *pumit_module_kind(const pumit_module *module)
{
    return module->kind;
}

pumit_status pumit_module_config(pumit_config **out, const pumit_module *module)
{
    PUMIT__REQUIRE(out && module, "pumit_module_config: an argument is NULL");
    PUMIT__TRY(pumit_config_create(out));
    const pumit_status status = pumit_config_merge(*out, module->config);
    if (status == PUMIT_OK) return PUMIT_OK;
    pumit_config_release(*out);
    *out = NULL;
    return status;
}

int64_t pumit_module_parameter_count(const pumit_module *module)
{
    return module->count;
}

int64_t pumit_module_element_count(const pumit_module *module)
{
    int64_t count = 0;
    for (int64_t i = 0; i < module->count; i++)
        count += pumit_tensor_count(module->parameters[i].tensor);
    return count;
}

const char *pumit_module_parameter_name(const pumit_module *module, int64_t i)
{
    return i >= 0 && i < module->count ? module->parameters[i].name : NULL;
}

pumit_tensor *pumit_module_parameter(const pumit_module *module, int64_t i)
{
    return i >= 0 && i < module->count ? module->parameters[i].tensor : NULL;
}

pumit_status pumit_module_find(pumit_tensor **out, const pumit_module *module, const char *name)
{
    PUMIT__REQUIRE(out && module && name, "pumit_module_find: an argument is NULL");
    *out = NULL;
    for (int64_t i = 0; i < module->count && !*out; i++)
        if (strcmp(module->parameters[i].name, name) == 0) *out = module->parameters[i].tensor;
    return *out ? PUMIT_OK
                : pumit__fail(PUMIT_ERROR_NOT_FOUND, "the %s has no parameter '%s'", module->kind,
                              name);
}

void pumit_module_zero_grad(pumit_module *module)
{
    for (int64_t i = 0; i < module->count; i++) {
        pumit__slot *slot = module->parameters[i].tensor->slot;
        if (!slot) continue;
        pumit_tensor_release(slot->grad);
        slot->grad = NULL;
    }
}
