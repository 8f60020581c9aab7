/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of a context: backends in order, caching arena, scopes, recording. */
#ifndef PUMIT_LIB_TENSOR_CONTEXT_H
#define PUMIT_LIB_TENSOR_CONTEXT_H

#include "lib/tensor/registry.h"

#define PUMIT__SIZE_CLASSES 33

/* A block of device memory with its reference count; it waits in the arena when nobody uses it. */
typedef struct pumit__storage {
    int64_t refs; /* 0: waiting */
    void *memory;
    int64_t bytes;                          /* that count as in use */
    int32_t size_class;                     /* of a small block, or one of those below */
    struct pumit__storage *next, *previous; /* of those that wait */
    struct pumit__storage *after, *before;  /* large: what lies beside it in its segment */
    void (*foreign_release)(void *user);
    void *foreign_user;
} pumit__storage;

enum { PUMIT__LARGE_BLOCK = -1, PUMIT__FOREIGN_BLOCK = -2 };

typedef struct {
    pumit__storage *cached[PUMIT__SIZE_CLASSES]; /* small blocks that wait */
    pumit__storage *free;                        /* large ones, in no order */
    int64_t in_use, peak, system_allocations;
} pumit__arena;

/* Recycled small objects of one size: no call to the system in a steady step. */
typedef struct pumit__pooled {
    struct pumit__pooled *next;
} pumit__pooled;

struct pumit_context {
    int64_t refs;
    uint32_t generation; /* of the process that made it: pumit__generation() */
    int32_t backend_count, threads;
    const pumit_backend *backends[PUMIT__MOST_BACKENDS]; /* asked in this order */
    void *devices[PUMIT__MOST_BACKENDS];
    pumit_dtype real;    /* compute type: F32, or F64 on reference64 */
    pumit_dtype weights; /* of loaded matrices of linear layers: `real`, or 16 bits for inference */
    bool recording;
    int64_t voxel_limit, ratio_limit, parameter_limit; /* "limits.*" */
    uint64_t sequence;                                 /* of the next tape node */
    pumit__arena arena;
    pumit__pooled *free_tensors, *free_slots, *free_nodes, *free_storages;
    pumit_tensor **scope; /* tensors that the current public call made and will release */
    int64_t scope_count, scope_capacity;
    void **
        work; /* nodes that backward has yet to visit; a backward inside another one adds its own */
    int64_t work_count, work_capacity;
    pumit_log_fn log;
    void *log_user;
};

pumit_context *pumit__context_retain(pumit_context *ctx);
/* PUMIT_ERROR_STATE in a child of the process that made the context. */
pumit_status pumit__context_check_process(const pumit_context *ctx);
int64_t pumit__context_voxel_limit(const pumit_context *ctx);
int64_t pumit__context_ratio_limit(const pumit_context *ctx);
void pumit__log(const pumit_context *ctx, int32_t level, const char *format, ...)
    PUMIT__PRINTF(3, 4);

/* Uninitialised memory from the arena, one reference; NULL (with the error kept) when there is none. */
pumit__storage *pumit__storage_create(pumit_context *ctx, int64_t bytes);
pumit__storage *pumit__storage_foreign(pumit_context *ctx, void *memory, void (*release)(void *),
                                       void *user);
/* Counts memory of others, which is there for this context alone, as in use; until the storage is released. */
void pumit__storage_count(pumit_context *ctx, pumit__storage *storage, int64_t bytes);
void pumit__storage_release(pumit_context *ctx, pumit__storage *storage);
void pumit__arena_trim(pumit_context *ctx);

/* A zeroed object from a pool of objects of this size. */
void *pumit__pool_take(pumit_context *ctx, pumit__pooled **pool, int64_t size);
void pumit__pool_give(pumit__pooled **pool, void *object);

/* Asks the backends in order; an error status is kept with the kernel's name. */
#define PUMIT_KERNEL(kernel, family, summary)                                                      \
    pumit_status pumit__kernel_##kernel(pumit_context *ctx, const pumit_##family##_args *args);
#include <pumit/oplist.inc>
#undef PUMIT_KERNEL

#endif
