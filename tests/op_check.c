/* SPDX-License-Identifier: Apache-2.0 */
#include "op_check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define DIFFERENCE_BOUND 1e-6 /* against central differences in double */
#define VALUE_BOUND      1e-5 /* of 32-bit devices against reference64 */
#define GRADIENT_BOUND   1e-4

/* -------------------------------------------------------------------------------------------- inputs */

static double normal_value(uint64_t seed, uint64_t i)
{
    const double x = pumit__random_normal(seed, 1, i);
    return (float)(fabs(x) < 0.05 ? copysign(0.05, x) + x : x);
}

static double positive_value(uint64_t seed, uint64_t i)
{
    return (float)(0.1 + 1.9 * pumit__random_uniform(seed, 2, i));
}

static pumit_status draw(op_input *input, uint64_t seed, int32_t ndim, const int64_t *shape,
                         double (*value)(uint64_t, uint64_t))
{
    input->ndim = ndim;
    input->count = 1;
    for (int32_t i = 0; i < ndim; i++) input->count *= input->shape[i] = shape[i];
    input->values = pumit__calloc(input->count, sizeof *input->values);
    if (!input->values) return pumit__fail_memory(input->count, "an input");
    for (int64_t i = 0; i < input->count; i++) input->values[i] = value(seed, (uint64_t)i);
    return PUMIT_OK;
}

static pumit_tensor *leaf(op_graph *g, int32_t ndim, const int64_t *shape,
                          double (*value)(uint64_t, uint64_t))
{
    if (g->made == OP_MOST_INPUTS) {
        pumit__fail(PUMIT_ERROR_INTERNAL, "a graph has too many inputs");
        return NULL;
    }
    const int k = g->made++;
    op_input *input = &g->inputs[k];
    if (!input->values &&
        draw(input, pumit__random(g->seed, 0, (uint64_t)k), ndim, shape, value) != PUMIT_OK)
        return NULL;
    input->tensor = pumit__from_host(g->ctx, PUMIT_F64, input->values, 0, ndim, shape);
    if (!input->tensor) return NULL;
    const int32_t wanted = g->only < 0 || g->only == k;
    return pumit_tensor_set_requires_grad(input->tensor, wanted) == PUMIT_OK ? input->tensor : NULL;
}

pumit_tensor *op_normal(op_graph *g, int32_t ndim, const int64_t *shape)
{
    return leaf(g, ndim, shape, normal_value);
}

pumit_tensor *op_positive(op_graph *g, int32_t ndim, const int64_t *shape)
{
    return leaf(g, ndim, shape, positive_value);
}

pumit_tensor *op_strided(op_graph *g, int32_t ndim, const int64_t *shape)
{
    int64_t larger[PUMIT_MAX_DIMS];
    int32_t reversed[PUMIT_MAX_DIMS];
    for (int32_t i = 0; i < ndim; i++) {
        larger[i] = shape[ndim - 1 - i] + (i == 0);
        reversed[i] = ndim - 1 - i;
    }
    return pumit__permute(pumit__slice(op_normal(g, ndim, larger), 0, 1, larger[0] - 1), reversed);
}

pumit_tensor *op_constant(op_graph *g, int32_t ndim, const int64_t *shape)
{
    op_input drawn = {0};
    const uint64_t seed = pumit__random(g->seed, 3, (uint64_t)g->constants++);
    if (draw(&drawn, seed, ndim, shape, normal_value) != PUMIT_OK) return NULL;
    pumit_tensor *tensor = pumit__from_host(g->ctx, PUMIT_F64, drawn.values, 0, ndim, shape);
    free(drawn.values);
    return tensor;
}

pumit_tensor *op_index(op_graph *g, int64_t n, int64_t count, int64_t length)
{
    int64_t *index = pumit__calloc(n * count + length, sizeof *index);
    if (!index) return NULL;
    int64_t *order = index + n * count;
    for (int64_t i = 0; i < n; i++) {
        pumit__random_permutation(order, length, g->seed, 4 + (uint64_t)i);
        memcpy(index + i * count, order, (size_t)count * sizeof *index);
    }
    pumit_tensor *tensor =
        pumit__from_host(g->ctx, PUMIT_I64, index, PUMIT_I64, 2, (int64_t[]){n, count});
    free(index);
    return tensor;
}

/* ------------------------------------------------------------------------------------------- running */

/* A graph's value and gradients, in double; gradients that are not there stay NULL. */
typedef struct {
    int64_t count;
    double *value, *gradient[OP_MOST_INPUTS];
} op_result;

static void free_result(op_result *r)
{
    free(r->value);
    for (int k = 0; k < OP_MOST_INPUTS; k++) free(r->gradient[k]);
    *r = (op_result){0};
}

static void free_inputs(op_graph *g)
{
    for (int k = 0; k < OP_MOST_INPUTS; k++) free(g->inputs[k].values);
}

/* Element i of the random weights that make one number of a graph's value. */
static double weight_of(const op_graph *g, int64_t i)
{
    return normal_value(g->seed ^ 0x5eed, (uint64_t)i);
}

static pumit_status read_all(double **out, const pumit_tensor *tensor)
{
    const int64_t bytes = pumit_tensor_count(tensor) * (int64_t)sizeof(double);
    *out = pumit__calloc(bytes, 1);
    if (!*out) return pumit__fail_memory(bytes, "values");
    return pumit_tensor_read(tensor, PUMIT_F64, *out, bytes);
}

static double weighted_sum(const op_graph *g, const double *value, int64_t count)
{
    double sum = 0.0;
    for (int64_t i = 0; i < count; i++) sum += weight_of(g, i) * value[i];
    return sum;
}

/* sum(y * weights) by the library's own operations. */
static pumit_tensor *loss_of(const op_graph *g, pumit_tensor *y)
{
    const int64_t count = pumit_tensor_count(y);
    double *weights = pumit__calloc(count, sizeof *weights);
    if (!weights) return NULL;
    for (int64_t i = 0; i < count; i++) weights[i] = weight_of(g, i);
    pumit_tensor *w = pumit__from_host(g->ctx, PUMIT_F64, weights, 0, y->ndim, y->shape);
    free(weights);
    return pumit__sum(pumit__mul(y, w), (UINT32_C(1) << y->ndim) - 1, 1.0);
}

static pumit_status differentiate(op_result *r, op_graph *g, pumit_tensor *y)
{
    pumit_tensor *loss = loss_of(g, y);
    double value;
    if (!loss) return pumit__last_status();
    PUMIT__TRY(pumit_tensor_item(&value, loss));
    const double expected = weighted_sum(g, r->value, r->count);
    if (!(fabs(value - expected) <= 1e-5 * (fabs(expected) + sqrt((double)r->count))))
        return pumit__fail(PUMIT_ERROR_INTERNAL, "the loss is %.9g, not %.9g", value, expected);
    PUMIT__TRY(pumit_tensor_backward(loss));
    for (int k = 0; k < g->made; k++) {
        pumit_tensor *grad;
        if (g->only >= 0 && g->only != k) {
            if (pumit_tensor_grad(&grad, g->inputs[k].tensor) == PUMIT_ERROR_NOT_FOUND) continue;
            return pumit__fail(PUMIT_ERROR_INTERNAL, "input %d has an unwanted gradient", k);
        }
        PUMIT__TRY(pumit_tensor_grad(&grad, g->inputs[k].tensor));
        const pumit_status status = read_all(&r->gradient[k], grad);
        pumit_tensor_release(grad);
        PUMIT__TRY(status);
    }
    return PUMIT_OK;
}

/* How far a graph is taken: its value, a recording that is abandoned, or backward. */
typedef enum { VALUE, RECORD, BACKWARD } op_mode;

static pumit_status build_and_run(op_result *r, op_graph *g, const op_variant *v, op_mode mode)
{
    g->made = g->constants = 0;
    pumit_tensor *y = v->build(g);
    if (!y) return pumit__last_status();
    r->count = pumit_tensor_count(y);
    PUMIT__TRY(read_all(&r->value, y));
    return mode == BACKWARD ? differentiate(r, g, y) : PUMIT_OK;
}

/* Builds the graph and lets go of it: no memory may stay behind. */
static pumit_status run(op_result *r, op_graph *g, const op_variant *v, op_mode mode)
{
    int64_t before, after;
    pumit_context_memory(g->ctx, &before, NULL, NULL);
    const int64_t mark = pumit__scope_begin(g->ctx);
    pumit_context_set_recording(g->ctx, mode != VALUE);
    const pumit_status status = build_and_run(r, g, v, mode);
    pumit_context_set_recording(g->ctx, 0);
    pumit__scope_end(g->ctx, mark, NULL);
    pumit_context_memory(g->ctx, &after, NULL, NULL);
    if (status == PUMIT_OK && after != before)
        return pumit__fail(PUMIT_ERROR_INTERNAL, "%lld bytes were left behind",
                           (long long)(after - before));
    return status;
}

/* ----------------------------------------------------------------------------------------- comparing */

/* |got - expected| <= bound |expected|, norms over the array; an expectation of mostly zeros proves nothing. */
static pumit_status compare(const char *what, int k, const double *got, const double *expected,
                            int64_t count, double bound)
{
    double difference = 0.0, norm = 0.0;
    int64_t zeros = 0;
    for (int64_t i = 0; i < count; i++) {
        difference += (got[i] - expected[i]) * (got[i] - expected[i]);
        norm += expected[i] * expected[i];
        zeros += fabs(expected[i]) < 1e-9;
    }
    if (4 * zeros > 3 * count)
        return pumit__fail(PUMIT_ERROR_INTERNAL, "%s %d: %lld of %lld values are 0", what, k,
                           (long long)zeros, (long long)count);
    const double error = sqrt(difference / norm);
    if (!(error <= bound))
        return pumit__fail(PUMIT_ERROR_INTERNAL, "%s %d is off by %.3g, %.0e is allowed", what, k,
                           error, bound);
    return PUMIT_OK;
}

static pumit_status value_at(double *sum, op_graph *g, const op_variant *v, double *x, double at)
{
    op_result r = {0};
    const double kept = *x;
    *x = at;
    const pumit_status status = run(&r, g, v, VALUE);
    *x = kept;
    if (status == PUMIT_OK) *sum = weighted_sum(g, r.value, r.count);
    free_result(&r);
    return status;
}

static pumit_status compare_with_differences(op_graph *g, const op_variant *v, int k,
                                             const double *gradient)
{
    op_input *input = &g->inputs[k];
    double *expected = pumit__calloc(input->count, sizeof *expected);
    pumit_status status = expected ? PUMIT_OK : pumit__fail_memory(input->count, "differences");
    for (int64_t i = 0; i < input->count && status == PUMIT_OK; i++) {
        double *x = &input->values[i], above = 0.0, below = 0.0;
        const double h = 1e-5 * fmax(1.0, fabs(*x));
        status = value_at(&above, g, v, x, *x + h);
        if (status == PUMIT_OK) status = value_at(&below, g, v, x, *x - h);
        expected[i] = (above - below) / (2.0 * h);
    }
    if (status == PUMIT_OK)
        status = compare("gradient", k, gradient, expected, input->count, DIFFERENCE_BOUND);
    free(expected);
    return status;
}

/* The gradient by one input is the same when no other is wanted. */
static pumit_status compare_alone(op_graph *g, const op_variant *v, int k, const double *gradient,
                                  double bound)
{
    op_result alone = {0};
    g->only = k;
    pumit_status status = run(&alone, g, v, BACKWARD);
    g->only = -1;
    if (status == PUMIT_OK)
        status =
            compare("lone gradient", k, alone.gradient[k], gradient, g->inputs[k].count, bound);
    free_result(&alone);
    return status;
}

static pumit_status check_abandoned(op_graph *g, const op_variant *v)
{
    op_result r = {0};
    const pumit_status status = run(&r, g, v, RECORD);
    free_result(&r);
    return status;
}

static pumit_status check_differences(op_graph *g, const op_variant *v, const op_result *r)
{
    PUMIT__TRY(check_abandoned(g, v));
    for (int k = 0; k < g->made; k++) {
        PUMIT__TRY(compare_with_differences(g, v, k, r->gradient[k]));
        PUMIT__TRY(compare_alone(g, v, k, r->gradient[k], 1e-12));
    }
    return PUMIT_OK;
}

static pumit_status check_device(op_graph *g, const op_variant *v, const op_result *expected)
{
    op_result r = {0};
    pumit_status status = run(&r, g, v, BACKWARD);
    if (status == PUMIT_OK && r.count != expected->count)
        status = pumit__fail(PUMIT_ERROR_INTERNAL, "the result has another size");
    if (status == PUMIT_OK)
        status = compare("value", 0, r.value, expected->value, r.count, VALUE_BOUND);
    for (int k = 0; k < g->made && status == PUMIT_OK; k++) {
        status = compare("gradient", k, r.gradient[k], expected->gradient[k], g->inputs[k].count,
                         GRADIENT_BOUND);
        if (status == PUMIT_OK) status = compare_alone(g, v, k, r.gradient[k], VALUE_BOUND);
    }
    free_result(&r);
    return status;
}

static pumit_status check_variant(const op_variant *v, pumit_context *oracle, pumit_context *other)
{
    const uint64_t seed = pumit__random_stream(v->name);
    op_graph g = {.ctx = oracle, .seed = seed, .only = -1};
    op_graph h = {.ctx = other, .seed = seed, .only = -1};
    op_result r = {0};
    pumit_status status = run(&r, &g, v, BACKWARD);
    if (status == PUMIT_OK && g.made == 0)
        status = pumit__fail(PUMIT_ERROR_INTERNAL, "the graph has no input");
    if (status == PUMIT_OK) status = other ? check_device(&h, v, &r) : check_differences(&g, v, &r);
    free_result(&r);
    free_inputs(&g);
    free_inputs(&h);
    return status;
}

pumit_context *op_open_device(const char *device)
{
    pumit_config *options;
    pumit_context *ctx = NULL;
    if (pumit_config_create(&options) != PUMIT_OK) return NULL;
    pumit_status status = pumit_config_set_string(options, "device", device);
    if (status == PUMIT_OK) status = pumit_config_set_int(options, "threads", 2);
    if (status == PUMIT_OK) status = pumit_context_create(&ctx, options);
    pumit_config_release(options);
    return status == PUMIT_OK ? ctx : NULL;
}

pumit_status op_check(const char *device, const char *op, const op_variant *variants, int64_t count)
{
    const bool oracle_alone = strcmp(device, "reference64") == 0;
    pumit_context *oracle = op_open_device("reference64");
    pumit_context *other = oracle_alone ? NULL : op_open_device(device);
    pumit_status status = oracle && (oracle_alone || other) ? PUMIT_OK : pumit__last_status();
    for (int64_t i = 0; i < count && status == PUMIT_OK; i++)
        status = pumit__fail_in(check_variant(&variants[i], oracle, other), "%s, %s, %s", device,
                                op, variants[i].name);
    pumit_context_release(other);
    pumit_context_release(oracle);
    return status;
}
