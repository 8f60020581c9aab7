/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/tensor/context.h"

#include "lib/base/thread.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_VOXEL_LIMIT     (INT64_C(1) << 31)
#define DEFAULT_RATIO_LIMIT     200
#define DEFAULT_PARAMETER_LIMIT (INT64_C(1) << 31)

static pumit_status open_backends(pumit_context *ctx, const char *device)
{
    const pumit_backend *order[PUMIT__MOST_BACKENDS];
    int32_t count;
    PUMIT__TRY(pumit__registry_find(order, &count, device));
    for (int32_t i = 0; i < count; i++) {
        PUMIT__TRY(order[i]->open(&ctx->devices[i], 0, ctx->threads));
        ctx->backends[i] = order[i];
        ctx->backend_count = i + 1;
    }
    ctx->real = ctx->backends[0]->real_dtype;
    return PUMIT_OK;
}

/* After the backends are open. */
static pumit_status read_weight_type(pumit_context *ctx, const pumit_config *options)
{
    const char *name;
    PUMIT__TRY(pumit_config_get_string(&name, options, "weight_type", "f32"));
    ctx->weights = strcmp(name, "bf16") == 0  ? PUMIT_BF16
                   : strcmp(name, "f16") == 0 ? PUMIT_F16
                                              : ctx->real;
    PUMIT__REQUIRE(ctx->weights != ctx->real || strcmp(name, "f32") == 0,
                   "weight_type is '%s', not 'f32', 'bf16' or 'f16'", name);
    return PUMIT_OK;
}

static pumit_status read_limit(int64_t *out, const pumit_config *options, const char *key,
                               int64_t fallback)
{
    PUMIT__TRY(pumit_config_get_int(out, options, key, fallback));
    PUMIT__REQUIRE(*out > 0, "%s must be positive", key);
    return PUMIT_OK;
}

/* In a child of fork(), OpenMP would wait for the threads that it had in the parent. */
static pumit_status read_threads(pumit_context *ctx, const pumit_config *options)
{
    const int64_t cores = ctx->generation > 0 ? 1 : sysconf(_SC_NPROCESSORS_ONLN);
    int64_t threads;
    PUMIT__TRY(pumit_config_get_int(&threads, options, "threads", cores > 0 ? cores : 1));
    PUMIT__REQUIRE(threads >= 1 && threads <= 4096, "threads is %lld, it must be 1 to 4096",
                   (long long)threads);
    if (threads > 1 && ctx->generation > 0)
        return pumit__fail(PUMIT_ERROR_STATE,
                           "threads is %lld, but this process was forked from one that had "
                           "contexts, and its threads stayed there: set it to 1, or start the "
                           "process anew",
                           (long long)threads);
    ctx->threads = (int32_t)threads;
    return PUMIT_OK;
}

static pumit_status configure(pumit_context *ctx, const pumit_config *options)
{
    const char *device = getenv("PUMIT_DEVICE");
    PUMIT__TRY(pumit__watch_forks());
    ctx->generation = pumit__generation();
    PUMIT__TRY(
        pumit_config_get_string(&device, options, "device", device && *device ? device : "cpu"));
    PUMIT__TRY(read_threads(ctx, options));
    PUMIT__TRY(read_limit(&ctx->voxel_limit, options, "limits.voxels", DEFAULT_VOXEL_LIMIT));
    PUMIT__TRY(read_limit(&ctx->ratio_limit, options, "limits.ratio", DEFAULT_RATIO_LIMIT));
    PUMIT__TRY(
        read_limit(&ctx->parameter_limit, options, "limits.parameters", DEFAULT_PARAMETER_LIMIT));
    PUMIT__TRY(open_backends(ctx, device));
    return read_weight_type(ctx, options);
}

pumit_status pumit_context_create(pumit_context **out, const pumit_config *options)
{
    PUMIT__REQUIRE(out, "pumit_context_create: out is NULL");
    *out = NULL;
    pumit_context *ctx = pumit__calloc(1, sizeof *ctx);
    if (!ctx) return pumit__fail_memory(sizeof *ctx, "a context");
    ctx->refs = 1;
    const pumit_status status = configure(ctx, options);
    if (status != PUMIT_OK) {
        pumit_context_release(ctx);
        return status;
    }
    *out = ctx;
    return PUMIT_OK;
}

pumit_context *pumit__context_retain(pumit_context *ctx)
{
    ctx->refs++;
    return ctx;
}

pumit_status pumit__context_check_process(const pumit_context *ctx)
{
    if (ctx->generation == pumit__generation()) return PUMIT_OK;
    return pumit__fail(PUMIT_ERROR_STATE,
                       "the process was forked after this context was made, and its threads stayed "
                       "in the parent: make a new context here, with one thread");
}

static void free_pool(pumit__pooled *pool)
{
    while (pool) {
        pumit__pooled *next = pool->next;
        free(pool);
        pool = next;
    }
}

void pumit_context_release(pumit_context *ctx)
{
    if (!ctx || --ctx->refs > 0) return;
    if (ctx->backend_count > 0) pumit__arena_trim(ctx);
    for (int32_t i = 0; i < ctx->backend_count; i++) ctx->backends[i]->close(ctx->devices[i]);
    free_pool(ctx->free_tensors);
    free_pool(ctx->free_slots);
    free_pool(ctx->free_nodes);
    free_pool(ctx->free_storages);
    free(ctx->scope);
    free(ctx->work);
    free(ctx);
}

const char *pumit_context_device(const pumit_context *ctx)
{
    return ctx->backends[0]->name;
}

int32_t pumit_context_threads(const pumit_context *ctx)
{
    return ctx->threads;
}

int64_t pumit__context_voxel_limit(const pumit_context *ctx)
{
    return ctx->voxel_limit;
}

int64_t pumit__context_ratio_limit(const pumit_context *ctx)
{
    return ctx->ratio_limit;
}

void pumit_context_set_log(pumit_context *ctx, pumit_log_fn log, void *user)
{
    ctx->log = log;
    ctx->log_user = user;
}

void pumit__log(const pumit_context *ctx, int32_t level, const char *format, ...)
{
    if (!ctx->log) return;
    char message[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    ctx->log(ctx->log_user, level, message);
}

int32_t pumit_context_set_recording(pumit_context *ctx, int32_t on)
{
    const int32_t before = ctx->recording;
    ctx->recording = on != 0;
    return before;
}

pumit_status pumit_context_memory(const pumit_context *ctx, int64_t *in_use, int64_t *peak,
                                  int64_t *system_allocations)
{
    PUMIT__REQUIRE(ctx, "pumit_context_memory: context is NULL");
    if (in_use) *in_use = ctx->arena.in_use;
    if (peak) *peak = ctx->arena.peak;
    if (system_allocations) *system_allocations = ctx->arena.system_allocations;
    return PUMIT_OK;
}

void pumit_context_trim(pumit_context *ctx)
{
    pumit__arena_trim(ctx);
}
