/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The caching arena: a steady step asks the system for nothing.
 *
 * Small blocks come in size classes, four an octave; one that nobody uses waits in its class's list. Large blocks are
 * cut from segments, each the smallest free one that is large enough, and grow together with free neighbours when
 * they are given back, so that what one part of a step leaves serves the next, whatever its sizes. Where no
 * free block is large enough, segments that are free as a whole go back for a new one of at least their size:
 * their number falls or their sum grows, so that this comes to rest.
 */
#include "lib/tensor/context.h"

#include <stdlib.h>
#include <string.h>

#define ALIGNMENT     64
#define SMALLEST      256
#define SMALL_MOST    ((int64_t)64 << 10) /* the last size class */
#define GRAIN         ((int64_t)4 << 10)  /* large blocks are a multiple of this */
#define SEGMENT_LEAST ((int64_t)32 << 20) /* address space: the system gives what is written to */

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#define GUARD             64 /* bytes behind a large block that nobody may touch */
#define FORBID(at, bytes) ASAN_POISON_MEMORY_REGION(at, (size_t)(bytes))
#define PERMIT(at, bytes) ASAN_UNPOISON_MEMORY_REGION(at, (size_t)(bytes))
#else
#define GUARD             0
#define FORBID(at, bytes) ((void)0)
#define PERMIT(at, bytes) ((void)0)
#endif

static int64_t round_up(int64_t bytes, int64_t unit)
{
    return (bytes + unit - 1) / unit * unit;
}

/* ------------------------------------------------------------------------------------------- system */

static void *device_allocate(pumit_context *ctx, int64_t bytes)
{
    const pumit_backend *backend = ctx->backends[0];
    if (!backend->host_memory) return backend->allocate(ctx->devices[0], bytes);
    return aligned_alloc(ALIGNMENT, (size_t)round_up(bytes, ALIGNMENT));
}

static void device_free(pumit_context *ctx, void *memory)
{
    const pumit_backend *backend = ctx->backends[0];
    if (backend->host_memory)
        free(memory);
    else
        backend->deallocate(ctx->devices[0], memory);
}

static pumit__storage *take_storage(pumit_context *ctx)
{
    return pumit__pool_take(ctx, &ctx->free_storages, sizeof(pumit__storage));
}

/* A block of `bytes` or, where there are fewer, of `least`. */
static pumit__storage *storage_from_system(pumit_context *ctx, int64_t bytes, int64_t least,
                                           int32_t size_class)
{
    pumit__storage *storage = take_storage(ctx);
    if (!storage) return NULL;
    void *memory = device_allocate(ctx, bytes);
    if (!memory) { /* what is cached may be what is missing */
        pumit__arena_trim(ctx);
        memory = device_allocate(ctx, bytes = least);
    }
    if (!memory) {
        pumit__pool_give(&ctx->free_storages, storage);
        pumit__fail_memory(bytes, "a tensor");
        return NULL;
    }
    storage->memory = memory;
    storage->bytes = bytes;
    storage->size_class = size_class;
    ctx->arena.system_allocations++;
    return storage;
}

static void storage_to_system(pumit_context *ctx, pumit__storage *storage)
{
    if (storage->size_class == PUMIT__LARGE_BLOCK) PERMIT(storage->memory, storage->bytes);
    device_free(ctx, storage->memory);
    pumit__pool_give(&ctx->free_storages, storage);
}

/* ------------------------------------------------------------------------------------- large blocks */

static void add_free(pumit__arena *arena, pumit__storage *block)
{
    block->refs = 0;
    block->previous = NULL;
    block->next = arena->free;
    if (arena->free) arena->free->previous = block;
    arena->free = block;
}

static void remove_free(pumit__arena *arena, pumit__storage *block)
{
    if (block->previous)
        block->previous->next = block->next;
    else
        arena->free = block->next;
    if (block->next) block->next->previous = block->previous;
    block->next = block->previous = NULL;
}

static bool is_segment(const pumit__storage *block)
{
    return !block->before && !block->after;
}

/* The smallest that fits, and of those the first in memory, so that a segment fills up from its beginning. */
static pumit__storage *best_free(const pumit__arena *arena, int64_t bytes)
{
    pumit__storage *best = NULL;
    for (pumit__storage *block = arena->free; block; block = block->next)
        if (block->bytes >= bytes &&
            (!best || block->bytes < best->bytes ||
             (block->bytes == best->bytes && (uintptr_t)block->memory < (uintptr_t)best->memory)))
            best = block;
    return best;
}

/* Gives whole segments back until they had `wanted` bytes; how many they had. */
static int64_t release_segments(pumit_context *ctx, int64_t wanted)
{
    int64_t released = 0;
    for (pumit__storage *block = ctx->arena.free, *next; block && released < wanted; block = next) {
        next = block->next;
        if (!is_segment(block)) continue;
        released += block->bytes;
        remove_free(&ctx->arena, block);
        storage_to_system(ctx, block);
    }
    return released;
}

static pumit__storage *new_segment(pumit_context *ctx, int64_t bytes)
{
    int64_t size = release_segments(ctx, bytes);
    if (size < bytes) size = bytes;
    if (size < SEGMENT_LEAST) size = SEGMENT_LEAST;
    pumit__storage *segment = storage_from_system(ctx, size, bytes, PUMIT__LARGE_BLOCK);
    if (segment) FORBID(segment->memory, segment->bytes);
    return segment;
}

/* Leaves `bytes` to the block; what is behind them becomes a free block if there is a descriptor for it. */
static void cut(pumit_context *ctx, pumit__storage *block, int64_t bytes)
{
    if (block->bytes == bytes) return;
    pumit__storage *rest = take_storage(ctx);
    if (!rest) return;
    rest->memory = (char *)block->memory + bytes;
    rest->bytes = block->bytes - bytes;
    rest->size_class = PUMIT__LARGE_BLOCK;
    rest->before = block;
    rest->after = block->after;
    if (rest->after) rest->after->before = rest;
    block->after = rest;
    block->bytes = bytes;
    add_free(&ctx->arena, rest);
}

static pumit__storage *take_large(pumit_context *ctx, int64_t bytes)
{
    if (bytes > INT64_MAX / 2) {
        pumit__fail_memory(bytes, "a tensor");
        return NULL;
    }
    const int64_t size = round_up(bytes + GUARD, GRAIN);
    pumit__storage *block = best_free(&ctx->arena, size);
    if (block)
        remove_free(&ctx->arena, block);
    else if (!(block = new_segment(ctx, size)))
        return NULL;
    cut(ctx, block, size);
    PERMIT(block->memory, bytes);
    return block;
}

/* `block` takes in its free neighbour behind. */
static void join(pumit_context *ctx, pumit__storage *block)
{
    pumit__storage *behind = block->after;
    remove_free(&ctx->arena, behind);
    block->bytes += behind->bytes;
    block->after = behind->after;
    if (block->after) block->after->before = block;
    pumit__pool_give(&ctx->free_storages, behind);
}

static void give_large(pumit_context *ctx, pumit__storage *block)
{
    FORBID(block->memory, block->bytes);
    add_free(&ctx->arena, block);
    if (block->after && block->after->refs == 0) join(ctx, block);
    if (block->before && block->before->refs == 0) join(ctx, block->before);
}

/* ------------------------------------------------------------------------------------- small blocks */

/* Smallest class of at least `bytes`: size = SMALLEST * 2^(class / 4) * (1 + (class % 4) / 4). */
static int32_t size_class_of(int64_t bytes, int64_t *rounded)
{
    int32_t c = 0;
    for (int64_t octave = SMALLEST;; octave *= 2)
        for (int32_t quarter = 0; quarter < 4; quarter++, c++) {
            *rounded = octave + octave / 4 * quarter;
            if (bytes <= *rounded) return c;
        }
}

static pumit__storage *take_small(pumit_context *ctx, int64_t bytes)
{
    int64_t rounded;
    const int32_t size_class = size_class_of(bytes, &rounded);
    pumit__storage *storage = ctx->arena.cached[size_class];
    if (!storage) return storage_from_system(ctx, rounded, rounded, size_class);
    ctx->arena.cached[size_class] = storage->next;
    storage->next = NULL;
    return storage;
}

/* ---------------------------------------------------------------------------------------- the arena */

static void count_use(pumit__arena *arena, int64_t bytes)
{
    arena->in_use += bytes;
    if (arena->in_use > arena->peak) arena->peak = arena->in_use;
}

pumit__storage *pumit__storage_create(pumit_context *ctx, int64_t bytes)
{
    pumit__arena *arena = &ctx->arena;
    pumit__storage *storage = bytes <= SMALL_MOST ? take_small(ctx, bytes) : take_large(ctx, bytes);
    if (!storage) return NULL;
    storage->refs = 1;
    count_use(arena, storage->bytes);
    return storage;
}

pumit__storage *pumit__storage_foreign(pumit_context *ctx, void *memory, void (*release)(void *),
                                       void *user)
{
    pumit__storage *storage = take_storage(ctx);
    if (!storage) return NULL;
    storage->refs = 1;
    storage->memory = memory;
    storage->size_class = PUMIT__FOREIGN_BLOCK;
    storage->foreign_release = release;
    storage->foreign_user = user;
    return storage;
}

void pumit__storage_count(pumit_context *ctx, pumit__storage *storage, int64_t bytes)
{
    storage->bytes = bytes;
    count_use(&ctx->arena, bytes);
    ctx->arena.system_allocations++;
}

void pumit__storage_release(pumit_context *ctx, pumit__storage *storage)
{
    if (!storage || --storage->refs > 0) return;
    pumit__arena *arena = &ctx->arena;
    arena->in_use -= storage->bytes;
    if (storage->size_class == PUMIT__FOREIGN_BLOCK) {
        storage->foreign_release(storage->foreign_user);
        pumit__pool_give(&ctx->free_storages, storage);
        return;
    }
    if (storage->size_class == PUMIT__LARGE_BLOCK) {
        give_large(ctx, storage);
        return;
    }
    storage->next = arena->cached[storage->size_class];
    arena->cached[storage->size_class] = storage;
}

void pumit__arena_trim(pumit_context *ctx)
{
    release_segments(ctx, INT64_MAX);
    for (int32_t c = 0; c < PUMIT__SIZE_CLASSES; c++)
        while (ctx->arena.cached[c]) {
            pumit__storage *storage = ctx->arena.cached[c];
            ctx->arena.cached[c] = storage->next;
            storage_to_system(ctx, storage);
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
