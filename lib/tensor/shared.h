/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory of weights, which models in several contexts may read at once. It is no block of a context's arena but one of its own, with
 * an atomic count of the storages on it: the last one frees it, in whatever thread. All else about a tensor stays its context's.
 * Who writes must be alone.
 */
#ifndef PUMIT_LIB_TENSOR_SHARED_H
#define PUMIT_LIB_TENSOR_SHARED_H

#include "lib/tensor/tensor.h"

/* An uninitialised tensor on memory that can be shared, of the innermost scope; dtype 0 is the compute type. */
pumit_tensor *pumit__shared_create(pumit_context *ctx, pumit_dtype dtype, int32_t ndim,
                                   const int64_t *shape);

/* Another tensor on the memory of `tensor`, which pumit__shared_create() gave and whose context may be at work in another thread
 * meanwhile. Of the innermost scope of `ctx`, whose counters of memory do not change. */
pumit_tensor *pumit__shared_join(pumit_context *ctx, const pumit_tensor *tensor);

/* PUMIT_ERROR_STATE with a message that begins with `name` where others read the tensor's memory. */
pumit_status pumit__shared_check_alone(const pumit_tensor *tensor, const char *name);

#endif
