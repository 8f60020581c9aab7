/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/tensor/shared.h"

#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    int64_t size;
} dtypes[] = {
    [PUMIT_F32] = {"f32", 4},   [PUMIT_F64] = {"f64", 8}, [PUMIT_F16] = {"f16", 2},
    [PUMIT_BF16] = {"bf16", 2}, [PUMIT_U8] = {"u8", 1},   [PUMIT_I16] = {"i16", 2},
    [PUMIT_I32] = {"i32", 4},   [PUMIT_I64] = {"i64", 8},
};

int64_t pumit_dtype_size(pumit_dtype dtype)
{
    return dtype >= 1 && dtype < PUMIT__COUNT(dtypes) ? dtypes[dtype].size : 0;
}

/* ------------------------------------------------------------------------------------------- shapes */

void pumit__packed_strides(int64_t *stride, int32_t ndim, const int64_t *shape)
{
    int64_t step = 1;
    for (int32_t i = ndim - 1; i >= 0; i--) {
        stride[i] = step;
        step *= shape[i];
    }
}

bool pumit__is_packed(const pumit_tensor *tensor)
{
    int64_t step = 1;
    for (int32_t i = tensor->ndim - 1; i >= 0; i--) {
        if (tensor->shape[i] != 1 && tensor->stride[i] != step) return false;
        step *= tensor->shape[i];
    }
    return true;
}

bool pumit__same_shape(const pumit_tensor *a, const pumit_tensor *b)
{
    return a->ndim == b->ndim &&
           memcmp(a->shape, b->shape, (size_t)a->ndim * sizeof *a->shape) == 0;
}

pumit__shape_text pumit__shape_string(int32_t ndim, const int64_t *shape)
{
    pumit__shape_text out = {"("};
    size_t used = 1;
    for (int32_t i = 0; i < ndim && used < sizeof out.text - 24; i++)
        used += (size_t)snprintf(out.text + used, sizeof out.text - used, "%s%lld", i ? ", " : "",
                                 (long long)shape[i]);
    snprintf(out.text + used, sizeof out.text - used, ")");
    return out;
}

static pumit_status count_elements(int64_t *count, int32_t ndim, const int64_t *shape)
{
    PUMIT__REQUIRE(ndim >= 0 && ndim <= PUMIT_MAX_DIMS, "a tensor has 0 to %d dimensions, not %d",
                   PUMIT_MAX_DIMS, ndim);
    PUMIT__REQUIRE(shape || ndim == 0, "the shape is NULL");
    int64_t extent = 1; /* without the sizes of 0: strides must not overflow either */
    *count = 1;
    for (int32_t i = 0; i < ndim; i++) {
        if (!pumit__multiply(&extent, extent, shape[i] == 0 ? 1 : shape[i]))
            return pumit__fail(PUMIT_ERROR_SHAPE, "no tensor can have the shape %s",
                               pumit__shape_string(ndim, shape).text);
        *count *= shape[i];
    }
    return PUMIT_OK;
}

/* --------------------------------------------------------------------------------- life of a tensor */

/* Fills in a packed tensor on `storage`, whose reference it takes. */
static pumit_tensor *dress(pumit_tensor *tensor, pumit_context *ctx, pumit__storage *storage,
                           pumit_dtype dtype, int32_t ndim, const int64_t *shape)
{
    tensor->refs = 1;
    tensor->ctx = pumit__context_retain(ctx);
    tensor->storage = storage;
    tensor->dtype = dtype;
    tensor->ndim = ndim;
    for (int32_t i = 0; i < ndim; i++) tensor->shape[i] = shape[i];
    pumit__packed_strides(tensor->stride, ndim, shape);
    return tensor;
}

/* A tensor on `storage`, whose reference it takes even when it fails. */
static pumit_tensor *wrap(pumit_context *ctx, pumit__storage *storage, pumit_dtype dtype,
                          int32_t ndim, const int64_t *shape)
{
    pumit_tensor *tensor =
        storage ? pumit__pool_take(ctx, &ctx->free_tensors, sizeof *tensor) : NULL;
    if (tensor) return dress(tensor, ctx, storage, dtype, ndim, shape);
    pumit__storage_release(ctx, storage);
    return NULL;
}

static pumit_tensor *allocate(pumit_context *ctx, pumit_dtype dtype, int32_t ndim,
                              const int64_t *shape)
{
    int64_t count, bytes;
    if (dtype == 0) dtype = ctx->real;
    if (pumit_dtype_size(dtype) == 0) {
        pumit__fail(PUMIT_ERROR_INVALID_ARGUMENT, "%d is no element type", dtype);
        return NULL;
    }
    if (count_elements(&count, ndim, shape) != PUMIT_OK) return NULL;
    if (!pumit__multiply(&bytes, count, pumit_dtype_size(dtype))) {
        pumit__fail_memory(INT64_MAX, "a tensor");
        return NULL;
    }
    return wrap(ctx, pumit__storage_create(ctx, bytes), dtype, ndim, shape);
}

pumit_tensor *pumit__wrap_foreign(pumit_context *ctx, void *memory, pumit_dtype dtype, int32_t ndim,
                                  const int64_t *shape, void (*release)(void *), void *user)
{
    int64_t count;
    if (count_elements(&count, ndim, shape) != PUMIT_OK) return NULL;
    pumit__storage *storage = pumit__storage_foreign(ctx, memory, release, user);
    pumit_tensor *tensor =
        storage ? pumit__pool_take(ctx, &ctx->free_tensors, sizeof *tensor) : NULL;
    if (!tensor) { /* the caller still owns the memory */
        if (storage) pumit__pool_give(&ctx->free_storages, storage);
        return NULL;
    }
    return dress(tensor, ctx, storage, dtype, ndim, shape);
}

pumit_tensor *pumit_tensor_retain(pumit_tensor *tensor)
{
    if (tensor) tensor->refs++;
    return tensor;
}

void pumit_tensor_release(pumit_tensor *tensor)
{
    if (!tensor || --tensor->refs > 0) return;
    pumit_context *ctx = tensor->ctx;
    pumit__slot_release(tensor->slot);
    pumit__storage_release(ctx, tensor->storage);
    pumit__pool_give(&ctx->free_tensors, tensor);
    pumit_context_release(ctx);
}

static void zero(pumit_tensor *tensor)
{
    memset(tensor->storage->memory, 0,
           (size_t)(pumit_tensor_count(tensor) * pumit_dtype_size(tensor->dtype)));
}

pumit_status pumit_tensor_create(pumit_tensor **out, pumit_context *ctx, pumit_dtype dtype,
                                 int32_t ndim, const int64_t *shape)
{
    PUMIT__REQUIRE(out && ctx, "pumit_tensor_create: an argument is NULL");
    *out = NULL;
    PUMIT__REQUIRE(pumit_dtype_size(dtype) > 0, "%d is no element type", dtype);
    *out = allocate(ctx, dtype, ndim, shape);
    if (!*out) return pumit__last_status();
    zero(*out);
    return PUMIT_OK;
}

pumit_status pumit_tensor_from_data(pumit_tensor **out, pumit_context *ctx, pumit_dtype dtype,
                                    int32_t ndim, const int64_t *shape, const void *data)
{
    PUMIT__REQUIRE(data, "pumit_tensor_from_data: data is NULL");
    PUMIT__TRY(pumit_tensor_create(out, ctx, dtype, ndim, shape));
    memcpy((*out)->storage->memory, data,
           (size_t)(pumit_tensor_count(*out) * pumit_dtype_size(dtype)));
    return PUMIT_OK;
}

pumit_tensor *pumit__empty(pumit_context *ctx, pumit_dtype dtype, int32_t ndim,
                           const int64_t *shape)
{
    return pumit__scope_adopt(ctx, allocate(ctx, dtype, ndim, shape));
}

pumit_tensor *pumit__zeros(pumit_context *ctx, pumit_dtype dtype, int32_t ndim,
                           const int64_t *shape)
{
    pumit_tensor *tensor = pumit__empty(ctx, dtype, ndim, shape);
    if (tensor) zero(tensor);
    return tensor;
}

pumit_tensor *pumit__empty_like(const pumit_tensor *tensor)
{
    return tensor ? pumit__empty(tensor->ctx, tensor->dtype, tensor->ndim, tensor->shape) : NULL;
}

pumit_tensor *pumit__view(pumit_tensor *base, int32_t ndim, const int64_t *shape,
                          const int64_t *stride, int64_t offset)
{
    if (!base) return NULL;
    base->storage->refs++;
    pumit_tensor *view = wrap(base->ctx, base->storage, base->dtype, ndim, shape);
    if (!view) return NULL;
    for (int32_t i = 0; i < ndim; i++) view->stride[i] = stride[i];
    view->offset = base->offset + offset;
    return pumit__scope_adopt(base->ctx, view);
}

pumit_tensor *pumit__detach(pumit_tensor *tensor)
{
    return tensor ? pumit__view(tensor, tensor->ndim, tensor->shape, tensor->stride, 0) : NULL;
}

/* ------------------------------------------------------------------------------------------- scopes */

int64_t pumit__scope_begin(const pumit_context *ctx)
{
    return ctx->scope_count;
}

pumit_tensor *pumit__scope_adopt(pumit_context *ctx, pumit_tensor *tensor)
{
    if (!tensor) return NULL;
    if (!pumit__grow(&ctx->scope, &ctx->scope_capacity, ctx->scope_count + 1, sizeof *ctx->scope)) {
        pumit_tensor_release(tensor);
        pumit__fail_memory(ctx->scope_count, "a scope");
        return NULL;
    }
    ctx->scope[ctx->scope_count++] = tensor;
    return tensor;
}

static void release_down_to(pumit_context *ctx, int64_t mark)
{
    while (ctx->scope_count > mark) pumit_tensor_release(ctx->scope[--ctx->scope_count]);
}

pumit_tensor *pumit__scope_end(pumit_context *ctx, int64_t mark, pumit_tensor *keep)
{
    pumit_tensor_retain(keep);
    release_down_to(ctx, mark);
    return pumit__scope_adopt(ctx, keep);
}

pumit_status pumit__scope_return(pumit_tensor **out, pumit_context *ctx, int64_t mark,
                                 pumit_tensor *result)
{
    pumit_tensor_retain(result);
    release_down_to(ctx, mark);
    *out = result;
    return result ? PUMIT_OK : pumit__last_status();
}

/* ------------------------------------------------------------------------------------ host and back */

pumit_dtype pumit_tensor_dtype(const pumit_tensor *tensor)
{
    return tensor->dtype;
}

int32_t pumit_tensor_ndim(const pumit_tensor *tensor)
{
    return tensor->ndim;
}

const int64_t *pumit_tensor_shape(const pumit_tensor *tensor)
{
    return tensor->shape;
}

int64_t pumit_tensor_count(const pumit_tensor *tensor)
{
    int64_t count = 1;
    for (int32_t i = 0; i < tensor->ndim; i++) count *= tensor->shape[i];
    return count;
}

void *pumit__data(const pumit_tensor *tensor)
{
    return (char *)tensor->storage->memory + tensor->offset * pumit_dtype_size(tensor->dtype);
}

void *pumit__at(const pumit_tensor *tensor, int64_t elements)
{
    return (char *)pumit__data(tensor) + elements * pumit_dtype_size(tensor->dtype);
}

pumit_status pumit_tensor_data(void **out, pumit_tensor *tensor)
{
    PUMIT__REQUIRE(out && tensor, "pumit_tensor_data: an argument is NULL");
    if (!pumit__is_packed(tensor))
        return pumit__fail(PUMIT_ERROR_UNSUPPORTED,
                           "the tensor is a strided view: use pumit_tensor_read()");
    *out = pumit__data(tensor);
    return PUMIT_OK;
}

void pumit_tensor_touch(pumit_tensor *tensor)
{
    if (tensor) tensor->version++;
}

static pumit_status copy_between(const pumit_tensor *tensor, const void *src, pumit_dtype src_dtype,
                                 const int64_t *src_stride, void *dst, pumit_dtype dst_dtype,
                                 const int64_t *dst_stride)
{
    pumit_copy_args args = {.src = src,
                            .dst = dst,
                            .src_dtype = src_dtype,
                            .dst_dtype = dst_dtype,
                            .ndim = tensor->ndim};
    for (int32_t i = 0; i < tensor->ndim; i++) {
        args.shape[i] = tensor->shape[i];
        args.src_stride[i] = src_stride[i];
        args.dst_stride[i] = dst_stride[i];
    }
    return pumit__kernel_copy(tensor->ctx, &args);
}

static pumit_status check_block(const pumit_tensor *tensor, pumit_dtype dtype, const void *data,
                                int64_t bytes)
{
    PUMIT__REQUIRE(tensor && data, "an argument is NULL");
    const int64_t size = pumit_dtype_size(dtype), needed = pumit_tensor_count(tensor) * size;
    PUMIT__REQUIRE(size > 0, "%d is no element type", dtype);
    PUMIT__REQUIRE(bytes == needed, "the block has %lld bytes, the tensor %s needs %lld",
                   (long long)bytes, pumit__shape_string(tensor->ndim, tensor->shape).text,
                   (long long)needed);
    return PUMIT_OK;
}

pumit_status pumit_tensor_read(const pumit_tensor *tensor, pumit_dtype dtype, void *data,
                               int64_t bytes)
{
    PUMIT__TRY(check_block(tensor, dtype, data, bytes));
    int64_t packed[PUMIT_MAX_DIMS];
    pumit__packed_strides(packed, tensor->ndim, tensor->shape);
    return copy_between(tensor, pumit__data(tensor), tensor->dtype, tensor->stride, data, dtype,
                        packed);
}

pumit_status pumit_tensor_write(pumit_tensor *tensor, pumit_dtype dtype, const void *data,
                                int64_t bytes)
{
    PUMIT__TRY(check_block(tensor, dtype, data, bytes));
    PUMIT__TRY(pumit__shared_check_alone(tensor, "pumit_tensor_write"));
    int64_t packed[PUMIT_MAX_DIMS];
    pumit__packed_strides(packed, tensor->ndim, tensor->shape);
    tensor->version++;
    return copy_between(tensor, data, dtype, packed, pumit__data(tensor), tensor->dtype,
                        tensor->stride);
}

pumit_status pumit_tensor_item(double *out, const pumit_tensor *tensor)
{
    PUMIT__REQUIRE(out && tensor, "pumit_tensor_item: an argument is NULL");
    if (pumit_tensor_count(tensor) != 1)
        return pumit__fail(PUMIT_ERROR_SHAPE, "a tensor of shape %s is not one number",
                           pumit__shape_string(tensor->ndim, tensor->shape).text);
    return pumit_tensor_read(tensor, PUMIT_F64, out, sizeof *out);
}

pumit_tensor *pumit__from_host(pumit_context *ctx, pumit_dtype src_dtype, const void *data,
                               pumit_dtype dtype, int32_t ndim, const int64_t *shape)
{
    pumit_tensor *tensor = pumit__empty(ctx, dtype, ndim, shape);
    if (!tensor) return NULL;
    const int64_t bytes = pumit_tensor_count(tensor) * pumit_dtype_size(src_dtype);
    return pumit_tensor_write(tensor, src_dtype, data, bytes) == PUMIT_OK ? tensor : NULL;
}

pumit_tensor *pumit__of_context(const pumit_context *ctx, pumit_tensor *tensor)
{
    if (!tensor || tensor->ctx == ctx) return tensor;
    pumit__fail(PUMIT_ERROR_INVALID_ARGUMENT,
                "a tensor of another context: copy its values with pumit_tensor_read() first");
    return NULL;
}

pumit_tensor *pumit__as_real(const pumit_context *ctx, pumit_tensor *tensor)
{
    tensor = pumit__of_context(ctx, tensor);
    if (!tensor || tensor->dtype == tensor->ctx->real) return tensor;
    pumit_tensor *real = pumit__empty(tensor->ctx, 0, tensor->ndim, tensor->shape);
    if (!real) return NULL;
    const pumit_status status =
        copy_between(tensor, pumit__data(tensor), tensor->dtype, tensor->stride, pumit__data(real),
                     real->dtype, real->stride);
    return status == PUMIT_OK ? real : NULL;
}
