/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/train/copies.h"

#include <math.h>
#include <stdlib.h>

static int64_t count_of(const pumit_trainer *t)
{
    return pumit_module_parameter_count(t->model);
}

static pumit_status make(pumit_tensor **copies, const pumit_trainer *t)
{
    for (int64_t i = 0; i < count_of(t); i++) {
        pumit_tensor *const like = pumit_module_parameter(t->model, i);
        PUMIT__TRY(pumit_tensor_create(&copies[i], t->ctx, pumit_tensor_dtype(like),
                                       pumit_tensor_ndim(like), pumit_tensor_shape(like)));
    }
    return PUMIT_OK;
}

void pumit__copies_release(pumit_tensor **copies, const pumit_trainer *t)
{
    for (int64_t i = 0; copies && i < count_of(t); i++) pumit_tensor_release(copies[i]);
    free(copies);
}

static pumit_status copy_tensor(pumit_tensor *dst, pumit_tensor *src)
{
    const pumit_dtype dtype = pumit_tensor_dtype(src);
    const int64_t bytes = pumit_tensor_count(src) * pumit_dtype_size(dtype);
    void *data = pumit__calloc(bytes, 1);
    if (!data) return pumit__fail_memory(bytes, "weights");
    pumit_status status = pumit_tensor_read(src, dtype, data, bytes);
    if (status == PUMIT_OK) status = pumit_tensor_write(dst, dtype, data, bytes);
    if (status == PUMIT_OK) pumit_tensor_touch(dst);
    free(data);
    return status;
}

pumit_status pumit__copies_keep(pumit_tensor ***copies, const pumit_trainer *t)
{
    if (!*copies) {
        pumit_tensor **made = pumit__calloc(count_of(t), (int64_t)sizeof *made);
        if (!made) return pumit__fail_memory(count_of(t) * (int64_t)sizeof *made, "weights");
        const pumit_status status = make(made, t);
        if (status != PUMIT_OK) {
            pumit__copies_release(made, t);
            return status;
        }
        *copies = made;
    }
    for (int64_t i = 0; i < count_of(t); i++)
        PUMIT__TRY(copy_tensor((*copies)[i], pumit_module_parameter(t->model, i)));
    return PUMIT_OK;
}

static pumit_status swap(pumit_tensor *a, pumit_tensor *b)
{
    const pumit_dtype dtype = pumit_tensor_dtype(a);
    const int64_t bytes = pumit_tensor_count(a) * pumit_dtype_size(dtype);
    void *data = pumit__calloc(bytes, 1);
    if (!data) return pumit__fail_memory(bytes, "weights");
    pumit_status status = pumit_tensor_read(a, dtype, data, bytes);
    if (status == PUMIT_OK) status = copy_tensor(a, b);
    if (status == PUMIT_OK) status = pumit_tensor_write(b, dtype, data, bytes);
    if (status == PUMIT_OK) pumit_tensor_touch(b);
    free(data);
    return status;
}

pumit_status pumit__copies_swap(pumit_tensor **copies, const pumit_trainer *t)
{
    for (int64_t i = 0; copies && i < count_of(t); i++)
        PUMIT__TRY(swap(pumit_module_parameter(t->model, i), copies[i]));
    return PUMIT_OK;
}

/* ------------------------------------------------------------------------------------ moving average */

/* In this form weights that stand still are averaged to themselves. Bound by memory: threads share one pass. */
static void average_f32(float *restrict average, const float *restrict weights, int64_t n,
                        double decay, int32_t threads)
{
    const float share = (float)(1 - decay);
#pragma omp parallel for simd num_threads(threads) schedule(static) if (n > 65536)
    for (int64_t i = 0; i < n; i++) average[i] += share * (weights[i] - average[i]);
}

static void average_f64(double *restrict average, const double *restrict weights, int64_t n,
                        double decay)
{
    for (int64_t i = 0; i < n; i++) average[i] += (1 - decay) * (weights[i] - average[i]);
}

static pumit_status average_tensor(pumit_tensor *average, pumit_tensor *weights, double decay,
                                   int32_t threads)
{
    void *dst, *src;
    PUMIT__TRY(pumit_tensor_data(&dst, average));
    PUMIT__TRY(pumit_tensor_data(&src, weights));
    const int64_t n = pumit_tensor_count(average);
    if (pumit_tensor_dtype(average) == PUMIT_F32)
        average_f32(dst, src, n, decay, threads);
    else
        average_f64(dst, src, n, decay);
    pumit_tensor_touch(average);
    return PUMIT_OK;
}

pumit_status pumit__average_update(pumit_trainer *t)
{
    if (!t->average) return PUMIT_OK;
    const double n = (double)t->averaged;
    const double decay = fmin(t->options.ema, (1 + n) / (10 + n));
    for (int64_t i = 0; i < count_of(t); i++)
        PUMIT__TRY(average_tensor(t->average[i], pumit_module_parameter(t->model, i), decay,
                                  pumit_context_threads(t->ctx)));
    t->averaged++;
    return PUMIT_OK;
}
