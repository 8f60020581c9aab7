/* SPDX-License-Identifier: Apache-2.0 */
/* Modules: named parameters with their initial values, weights in and out. Every model begins with a pumit_module. */
#ifndef PUMIT_LIB_NN_MODULE_H
#define PUMIT_LIB_NN_MODULE_H

#include "lib/tensor/ops.h"

#include <pumit/module.h>

/* Initial values: every element, or a normal distribution of this standard deviation, cut at two of them. */
typedef struct {
    double constant, deviation;
} pumit__initial;

/* Where the values of a model's parameters come from; neither: from a file, later. */
typedef struct {
    bool drawn; /* at random, as each parameter's initial values say */
    const pumit_module
        *shared; /* its memory: one built of the same configuration, in any context */
} pumit__values;

#define PUMIT__DRAWN     ((pumit__values){.drawn = true})
#define PUMIT__FROM_FILE ((pumit__values){.drawn = false})

typedef struct {
    char *name;
    pumit_tensor *tensor;
    bool decays; /* weight decay applies: weights of linear and convolution layers */
    bool shared; /* of another module, which gives the values */
    pumit__initial initial;
} pumit__parameter;

struct pumit_module {
    int64_t refs;
    pumit_context *ctx;
    const char *kind;
    pumit_config *config;
    pumit__parameter *parameters;
    int64_t count, capacity;
    int64_t elements; /* of the parameters added, not of those shared */
    uint64_t seed;
    pumit_dtype
        matrices; /* type of the matrices of linear layers; not the compute type: no gradients */
    pumit__values values;                  /* while building */
    pumit_status status;                   /* the first failure while building */
    void (*destroy)(pumit_module *module); /* frees what the model owns besides its parameters */
};

#define PUMIT__CONSTANT(value)   ((pumit__initial){(value), 0.0})
#define PUMIT__NORMAL(deviation) ((pumit__initial){0.0, (deviation)})

/* A weight and a bias (NULL: none) of a linear layer or a norm; borrowed from the module. */
typedef struct {
    pumit_tensor *weight, *bias;
} pumit__layer;

/* A model of `size` bytes that begins with its module (one reference). `config` is copied. NULL on failure. */
void *pumit__module_create(int64_t size, pumit_context *ctx, const char *kind,
                           const pumit_config *config, pumit__values values,
                           void (*destroy)(pumit_module *));
void pumit__module_release(pumit_module *module);
pumit_module *pumit__module_retain(pumit_module *module);

/* Adds a parameter, whose values come with pumit__module_finish(); borrowed; NULL after a failure, which module->status keeps. */
pumit_tensor *pumit__module_add(pumit_module *module, int32_t ndim, const int64_t *shape,
                                bool decays, pumit__initial initial, const char *format, ...)
    PUMIT__PRINTF(6, 7);
/* Adds another module's parameters under "prefix"; they are shared. */
void pumit__module_share(pumit_module *module, const pumit_module *other, const char *prefix);

/* "name.weight" (out, in) and "name.bias" (out), the latter where `bias`. */
pumit__layer pumit__module_linear(pumit_module *module, int64_t in, int64_t out, bool bias,
                                  double deviation, const char *name);
/* "name.weight" of ones and "name.bias" of zeros. */
pumit__layer pumit__module_norm(pumit_module *module, int64_t channels, const char *name);

/* Draws the initial values, once all parameters are there and their number is known to be allowed; gives module->status. */
pumit_status pumit__module_finish(pumit_module *module);

/* Creates with `build(out, ctx, config, values)` from a file's configuration and loads its weights, all of them. */
typedef pumit_status (*pumit__build_fn)(pumit_module **out, pumit_context *ctx,
                                        const pumit_config *config, pumit__values values);
pumit_status pumit__module_load(pumit_module **out, pumit_context *ctx, const char *path,
                                const char *kind, pumit__build_fn build);

/* The same model in another context, on the same weights and without gradients. The thread that calls has `ctx`; the context of
 * `source` may be at work in another one, as long as it does not write weights. */
pumit_status pumit__module_join(pumit_module **out, pumit_context *ctx, const pumit_module *source,
                                pumit__build_fn build);

#endif
