/* SPDX-License-Identifier: Apache-2.0 */
/* DLPack exchange (https://dmlc.github.io/dlpack/latest/c_api.html, the unversioned DLManagedTensor). */
#include "lib/tensor/tensor.h"

#include <stdlib.h>

typedef struct {
    int32_t device_type, device_id; /* type 1: host memory */
} dl_device;

typedef struct {
    uint8_t code; /* 0 int, 1 uint, 2 float, 4 bfloat */
    uint8_t bits;
    uint16_t lanes;
} dl_type;

typedef struct {
    void *data;
    dl_device device;
    int32_t ndim;
    dl_type dtype;
    int64_t *shape, *strides; /* strides in elements; NULL: packed */
    uint64_t byte_offset;
} dl_tensor;

typedef struct dl_managed {
    dl_tensor tensor;
    void *manager;
    void (*deleter)(struct dl_managed *self);
} dl_managed;

static const struct {
    pumit_dtype dtype;
    uint8_t code, bits;
} types[] = {{PUMIT_F32, 2, 32}, {PUMIT_F64, 2, 64}, {PUMIT_F16, 2, 16}, {PUMIT_BF16, 4, 16},
             {PUMIT_U8, 1, 8},   {PUMIT_I16, 0, 16}, {PUMIT_I32, 0, 32}, {PUMIT_I64, 0, 64}};

static void delete_exported(dl_managed *self)
{
    pumit_tensor_release(self->manager);
    free(self);
}

pumit_status pumit_tensor_to_dlpack(void **out, pumit_tensor *tensor)
{
    PUMIT__REQUIRE(out && tensor, "pumit_tensor_to_dlpack: an argument is NULL");
    *out = NULL;
    dl_managed *managed = pumit__calloc(1, sizeof *managed);
    if (!managed) return pumit__fail_memory(sizeof *managed, "a DLPack tensor");
    managed->tensor = (dl_tensor){.data = pumit__data(tensor),
                                  .device = {1, 0},
                                  .ndim = tensor->ndim,
                                  .shape = tensor->shape,
                                  .strides = tensor->stride};
    for (int64_t i = 0; i < PUMIT__COUNT(types); i++)
        if (types[i].dtype == tensor->dtype)
            managed->tensor.dtype = (dl_type){types[i].code, types[i].bits, 1};
    managed->manager = pumit_tensor_retain(tensor);
    managed->deleter = delete_exported;
    *out = managed;
    return PUMIT_OK;
}

static pumit_dtype dtype_of(dl_type type)
{
    for (int64_t i = 0; i < PUMIT__COUNT(types); i++)
        if (types[i].code == type.code && types[i].bits == type.bits && type.lanes == 1)
            return types[i].dtype;
    return 0;
}

static void release_imported(void *user)
{
    dl_managed *managed = user;
    if (managed->deleter) managed->deleter(managed);
}

pumit_status pumit_tensor_from_dlpack(pumit_tensor **out, pumit_context *context, void *from)
{
    PUMIT__REQUIRE(out && context && from, "pumit_tensor_from_dlpack: an argument is NULL");
    dl_managed *managed = from;
    const dl_tensor *t = &managed->tensor;
    *out = NULL;
    const pumit_dtype dtype = dtype_of(t->dtype);
    if (t->device.device_type != 1 || !dtype || t->ndim < 0 || t->ndim > PUMIT_MAX_DIMS)
        return pumit__fail(
            PUMIT_ERROR_UNSUPPORTED,
            "a DLPack tensor of device %d, type %d x %d bits, %d dimensions cannot be taken",
            t->device.device_type, t->dtype.code, t->dtype.bits, t->ndim);
    PUMIT__REQUIRE(t->ndim == 0 || t->shape, "a DLPack tensor without a shape cannot be taken");
    for (int32_t i = 0; i < t->ndim; i++)
        PUMIT__REQUIRE(t->shape[i] >= 0 && (!t->strides || t->strides[i] >= 0),
                       "a DLPack tensor with negative sizes or strides cannot be taken");
    pumit_tensor *tensor = pumit__wrap_foreign(context, (char *)t->data + t->byte_offset, dtype,
                                               t->ndim, t->shape, release_imported, managed);
    if (!tensor) return pumit__last_status();
    for (int32_t i = 0; i < t->ndim && t->strides; i++) tensor->stride[i] = t->strides[i];
    *out = tensor;
    return PUMIT_OK;
}
