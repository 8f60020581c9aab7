/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/tensor/shared.h"

#include <stdatomic.h>
#include <stdlib.h>

#define ALIGNMENT 64

/* In front of the values. */
typedef struct {
    _Alignas(ALIGNMENT) atomic_int_fast64_t refs;
} block;

static block *allocate(pumit_context *ctx, int64_t bytes)
{
    int64_t whole;
    if (!pumit__add_sizes(&whole, bytes, (int64_t)sizeof(block) + ALIGNMENT - 1)) return NULL;
    const size_t size = (size_t)(whole / ALIGNMENT * ALIGNMENT);
    block *made = aligned_alloc(ALIGNMENT, size);
    if (!made) { /* what is cached may be what is missing */
        pumit__arena_trim(ctx);
        made = aligned_alloc(ALIGNMENT, size);
    }
    if (made) atomic_init(&made->refs, 1);
    return made;
}

/* What the others did with the values comes before they are freed. */
static void release(void *user)
{
    block *const held = user;
    if (atomic_fetch_sub_explicit(&held->refs, 1, memory_order_acq_rel) == 1) free(held);
}

pumit_tensor *pumit__shared_create(pumit_context *ctx, pumit_dtype dtype, int32_t ndim,
                                   const int64_t *shape)
{
    int64_t bytes = pumit_dtype_size(dtype ? dtype : ctx->real);
    bool fits = true;
    for (int32_t i = 0; i < ndim && fits; i++) fits = pumit__multiply(&bytes, bytes, shape[i]);
    block *made = fits ? allocate(ctx, bytes) : NULL;
    if (!made) {
        pumit__fail_memory(fits ? bytes : INT64_MAX, "weights");
        return NULL;
    }
    pumit_tensor *tensor =
        pumit__wrap_foreign(ctx, made + 1, dtype ? dtype : ctx->real, ndim, shape, release, made);
    if (!tensor) {
        free(made);
        return NULL;
    }
    pumit__storage_count(ctx, tensor->storage, bytes);
    return pumit__scope_adopt(ctx, tensor);
}

static block *block_of(const pumit_tensor *tensor)
{
    const pumit__storage *storage = tensor->storage;
    return storage->foreign_release == release ? storage->foreign_user : NULL;
}

pumit_tensor *pumit__shared_join(pumit_context *ctx, const pumit_tensor *tensor)
{
    block *const held = block_of(tensor);
    if (!held) {
        pumit__fail(PUMIT_ERROR_INTERNAL, "weights that cannot be shared");
        return NULL;
    }
    pumit_tensor *joined = pumit__wrap_foreign(ctx, pumit__data(tensor), tensor->dtype,
                                               tensor->ndim, tensor->shape, release, held);
    if (!joined) return NULL;
    atomic_fetch_add_explicit(&held->refs, 1, memory_order_relaxed);
    return pumit__scope_adopt(ctx, joined);
}

pumit_status pumit__shared_check_alone(const pumit_tensor *tensor, const char *name)
{
    block *const held = block_of(tensor);
    if (!held || atomic_load_explicit(&held->refs, memory_order_acquire) == 1) return PUMIT_OK;
    return pumit__fail(PUMIT_ERROR_STATE,
                       "%s: other models read these weights (pumit_vit_share() and the like): "
                       "release them before the weights change",
                       name);
}
