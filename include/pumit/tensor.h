/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file tensor.h
 * Tensors: reference-counted arrays of up to eight dimensions, channels last.
 *
 * Images and features are N D H W C (D is the slice axis), token sequences N L C. A tensor belongs to
 * its context's thread.
 */
#ifndef PUMIT_TENSOR_H
#define PUMIT_TENSOR_H

#include <pumit/context.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PUMIT_MAX_DIMS 8

/** Element types; the values never change. Networks compute in F32. */
typedef int32_t pumit_dtype;
#define PUMIT_F32  1
#define PUMIT_F64  2
#define PUMIT_F16  3
#define PUMIT_BF16 4
#define PUMIT_U8   5
#define PUMIT_I16  6
#define PUMIT_I32  7
#define PUMIT_I64  8

/** Bytes of one element, 0 for an unknown type. @since 0.1 */
PUMIT_API int64_t pumit_dtype_size(pumit_dtype dtype);

/** A new tensor of zeros; `shape` has `ndim` sizes (0 dimensions: a scalar). New reference. @since 0.1 */
PUMIT_API pumit_status pumit_tensor_create(pumit_tensor **out, pumit_context *context,
                                           pumit_dtype dtype, int32_t ndim, const int64_t *shape);

/** As pumit_tensor_create(), filled with a copy of the packed row-major array `data`. @since 0.1 */
PUMIT_API pumit_status pumit_tensor_from_data(pumit_tensor **out, pumit_context *context,
                                              pumit_dtype dtype, int32_t ndim, const int64_t *shape,
                                              const void *data);

/** One more reference; gives `tensor` back. @since 0.1 */
PUMIT_API pumit_tensor *pumit_tensor_retain(pumit_tensor *tensor);

/** One reference less; NULL is fine. @since 0.1 */
PUMIT_API void pumit_tensor_release(pumit_tensor *tensor);

/** Element type, number of dimensions, sizes (borrowed, `ndim` of them), number of elements. @since 0.1 */
PUMIT_API pumit_dtype pumit_tensor_dtype(const pumit_tensor *tensor);
/** @copydoc pumit_tensor_dtype */
PUMIT_API int32_t pumit_tensor_ndim(const pumit_tensor *tensor);
/** @copydoc pumit_tensor_dtype */
PUMIT_API const int64_t *pumit_tensor_shape(const pumit_tensor *tensor);
/** @copydoc pumit_tensor_dtype */
PUMIT_API int64_t pumit_tensor_count(const pumit_tensor *tensor);

/**
 * The elements in place, packed and row-major; borrowed, valid as long as the tensor. Writing is
 * allowed between library calls; call pumit_tensor_touch() after writing to a parameter.
 * PUMIT_ERROR_UNSUPPORTED for a tensor that is a strided view or not in host memory: read those with
 * pumit_tensor_read(). @since 0.1
 */
PUMIT_API pumit_status pumit_tensor_data(void **out, pumit_tensor *tensor);

/** Says that the elements were written from outside, so that what was computed from them is stale. @since 0.1 */
PUMIT_API void pumit_tensor_touch(pumit_tensor *tensor);

/** Copies all elements, packed and row-major, converted to `dtype`, into `data` of `bytes` bytes. @since 0.1 */
PUMIT_API pumit_status pumit_tensor_read(const pumit_tensor *tensor, pumit_dtype dtype, void *data,
                                         int64_t bytes);

/** Overwrites all elements from the packed row-major array `data` of type `dtype`, `bytes` long. @since 0.1 */
PUMIT_API pumit_status pumit_tensor_write(pumit_tensor *tensor, pumit_dtype dtype, const void *data,
                                          int64_t bytes);

/** The value of a one-element tensor. @since 0.1 */
PUMIT_API pumit_status pumit_tensor_item(double *out, const pumit_tensor *tensor);

/** Marks a tensor (not the result of an operation) as one whose gradient is wanted. @since 0.1 */
PUMIT_API pumit_status pumit_tensor_set_requires_grad(pumit_tensor *tensor, int32_t on);

/**
 * Walks the tape from the scalar `loss` back and adds to the gradients of all parameters it depends
 * on; frees the tape, also when it fails. Parameters must hold the values that they had for the loss: an optimizer steps after all losses went
 * back. PUMIT_ERROR_STATE if the loss was not recorded, or shares results with one whose tape was used. @since 0.1
 */
PUMIT_API pumit_status pumit_tensor_backward(pumit_tensor *loss);

/** The gathered gradient: new reference, same shape; PUMIT_ERROR_NOT_FOUND if there is none. @since 0.1 */
PUMIT_API pumit_status pumit_tensor_grad(pumit_tensor **out, const pumit_tensor *tensor);

/** Shares the tensor as a DLPack `DLManagedTensor *` (version 0, strided), which holds a reference until
 * its deleter is called. Host memory only. @since 0.1 */
PUMIT_API pumit_status pumit_tensor_to_dlpack(void **out, pumit_tensor *tensor);

/** A tensor on the memory of a DLPack `DLManagedTensor *`, without a copy; takes it on success and calls its
 * deleter when the tensor goes. Host memory only. @since 0.1 */
PUMIT_API pumit_status pumit_tensor_from_dlpack(pumit_tensor **out, pumit_context *context,
                                                void *managed);

#ifdef __cplusplus
}
#endif
#endif
