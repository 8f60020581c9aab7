/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The caching arena. Sizes are rounded up to four classes an octave (at most 25 % more than asked); a block that
 * nobody uses waits in its class's list, so a steady step asks the system for nothing.
 */
#include "lib/tensor/context.h"

#include <stdlib.h>
#include <string.h>

#define ALIGNMENT 64
#define SMALLEST  256

/* Smallest class whose size is at least `bytes`: size = SMALLEST * 2^(class / 4) * (1 + (class % 4) / 4). */
static int32_t size_class_of(int64_t bytes, int64_t *rounded)
{
    int64_t octave = SMALLEST;
    for (int32_t c = 0; c + 4 <= PUMIT__SIZE_CLASSES && octave <= INT64_MAX / 4;
         c += 4, octave *= 2)
        for (int32_t quarter = 0; quarter < 4; quarter++) {
            *rounded = octave + octave / 4 * quarter;
            if (bytes <= *rounded) return c + quarter;
        }
    return -1;
}

static void *device_allocate(pumit_context *ctx, int64_t bytes)
{
    const pumit_backend *backend = ctx->backends[0];
    if (!backend->host_memory) return backend->allocate(ctx->devices[0], bytes);
    return aligned_alloc(ALIGNMENT, (size_t)((bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT));
}

static void device_free(pumit_context *ctx, void *memory)
{
    const pumit_backend *backend = ctx->backends[0];
    if (backend->host_memory)
        free(memory);
    else
        backend->deallocate(ctx->devices[0], memory);
}

static pumit__storage *storage_from_system(pumit_context *ctx, int64_t bytes, int32_t size_class)
{
    pumit__storage *storage = pumit__calloc(1, sizeof *storage);
    void *memory = storage ? device_allocate(ctx, bytes) : NULL;
    if (!memory && storage) { /* what is cached may be what is missing */
        pumit__arena_trim(ctx);
        memory = device_allocate(ctx, bytes);
    }
    if (!memory) {
        free(storage);
        pumit__fail_memory(bytes, "a tensor");
        return NULL;
    }
    storage->memory = memory;
    storage->bytes = bytes;
    storage->size_class = size_class;
    ctx->arena.system_allocations++;
    return storage;
}

pumit__storage *pumit__storage_create(pumit_context *ctx, int64_t bytes)
{
    int64_t rounded;
    const int32_t size_class = size_class_of(bytes, &rounded);
    if (size_class < 0) {
        pumit__fail_memory(bytes, "a tensor");
        return NULL;
    }
    pumit__arena *arena = &ctx->arena;
    pumit__storage *storage = arena->cached[size_class];
    if (storage)
        arena->cached[size_class] = storage->next;
    else if (!(storage = storage_from_system(ctx, rounded, size_class)))
        return NULL;
    storage->refs = 1;
    storage->next = NULL;
    arena->in_use += rounded;
    if (arena->in_use > arena->peak) arena->peak = arena->in_use;
    return storage;
}

pumit__storage *pumit__storage_foreign(pumit_context *ctx, void *memory, void (*release)(void *),
                                       void *user)
{
    (void)ctx;
    pumit__storage *storage = pumit__calloc(1, sizeof *storage);
    if (!storage) {
        pumit__fail_memory(sizeof *storage, "a tensor");
        return NULL;
    }
    *storage = (pumit__storage){.refs = 1,
                                .memory = memory,
                                .size_class = -1,
                                .foreign_release = release,
                                .foreign_user = user};
    return storage;
}

void pumit__storage_release(pumit_context *ctx, pumit__storage *storage)
{
    if (!storage || --storage->refs > 0) return;
    if (storage->size_class < 0) {
        storage->foreign_release(storage->foreign_user);
        free(storage);
        return;
    }
    ctx->arena.in_use -= storage->bytes;
    storage->next = ctx->arena.cached[storage->size_class];
    ctx->arena.cached[storage->size_class] = storage;
}

void pumit__arena_trim(pumit_context *ctx)
{
    for (int32_t c = 0; c < PUMIT__SIZE_CLASSES; c++)
        while (ctx->arena.cached[c]) {
            pumit__storage *storage = ctx->arena.cached[c];
            ctx->arena.cached[c] = storage->next;
            device_free(ctx, storage->memory);
            free(storage);
        }
}

void *pumit__pool_take(pumit_context *ctx, pumit__pooled **pool, int64_t size)
{
    pumit__pooled *object = *pool;
    if (object) {
        *pool = object->next;
        memset(object, 0, (size_t)size);
        return object;
    }
    object = pumit__calloc(1, size);
    if (object)
        ctx->arena.system_allocations++;
    else
        pumit__fail_memory(size, "a tensor");
    return object;
}

void pumit__pool_give(pumit__pooled **pool, void *object)
{
    pumit__pooled *pooled = object;
    pooled->next = *pool;
    *pool = pooled;
}
