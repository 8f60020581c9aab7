/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The `cpu` backend: f32 on host memory. oneDNN for convolutions and matrix products, our own kernels,
 * compiled once per instruction set, for the rest.
 */
#include "kernels/cpu/cpu.h"
#include "kernels/backends.h"

#include <omp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static const pumit__cpu_kernels common = {
    .matmul = pumit__cpu_matmul,
    .conv_forward = pumit__cpu_conv_forward,
    .conv_backward_data = pumit__cpu_conv_backward_data,
    .conv_backward_weights = pumit__cpu_conv_backward_weights,
};

static pumit__cpu_kernels chosen; /* written once, by choose() */
static pthread_once_t chosen_once = PTHREAD_ONCE_INIT;

/** Overrides with what `table` has. */
static void climb(const pumit__cpu_kernels *table)
{
#define PUMIT_KERNEL(kernel, family, summary)                                                      \
    if (table->kernel) chosen.kernel = table->kernel;
#include <pumit/oplist.inc>
#undef PUMIT_KERNEL
    if (table->winograd) chosen.winograd = table->winograd;
}

static int have_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

static int have_avx512(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

/** PUMIT_CPU_ISA=generic|avx2|avx512 limits the ladder; for tests. */
static void choose(void)
{
    const char *limit = getenv("PUMIT_CPU_ISA");
    int rungs = 2;
    if (limit && strcmp(limit, "generic") == 0) rungs = 0;
    if (limit && strcmp(limit, "avx2") == 0) rungs = 1;
    __builtin_cpu_init();
    climb(&common);
    climb(&pumit__cpu_isa_generic);
    if (rungs < 1 || !have_avx2()) return;
    climb(&pumit__cpu_isa_avx2);
    if (rungs < 2 || !have_avx512()) return;
    climb(&pumit__cpu_isa_avx512);
}

const pumit__cpu_kernels *pumit__cpu_chosen(void)
{
    return &chosen;
}

static pumit_status cpu_open(void **out, int32_t index, int32_t threads)
{
    if (index != 0) return PUMIT_ERROR_NOT_FOUND;
    pumit__cpu_device *device = calloc(1, sizeof *device);
    if (!device) return PUMIT_ERROR_OUT_OF_MEMORY;
    device->threads = threads > 0 ? threads : omp_get_num_procs();
    /* OMP_THREAD_LIMIT makes teams smaller than asked for, and oneDNN's primitives then leave out what the missing threads had to do. */
    if (device->threads > omp_get_thread_limit()) device->threads = omp_get_thread_limit();
    pthread_once(&chosen_once, choose);
    *out = device;
    return PUMIT_OK;
}

static void cpu_close(void *opened)
{
    pumit__cpu_device *device = opened;
    if (!device) return;
    pumit__cpu_dnnl_close(device->dnnl);
    for (int i = 0; i < PUMIT__CPU_BLOCKS; i++) free(device->scratch[i]);
    free(device);
}

void *pumit__cpu_scratch_block(pumit__cpu_device *device, int block, int64_t bytes)
{
    if (bytes <= device->scratch_bytes[block]) return device->scratch[block];
    void *larger = NULL;
    if (posix_memalign(&larger, 64, (size_t)bytes)) return NULL;
    free(device->scratch[block]);
    device->scratch[block] = larger;
    device->scratch_bytes[block] = bytes;
    return larger;
}

void *pumit__cpu_scratch(pumit__cpu_device *device, int64_t bytes)
{
    return pumit__cpu_scratch_block(device, PUMIT__CPU_KERNEL_BLOCK, bytes);
}

static void *cpu_allocate(void *device, int64_t bytes)
{
    (void)device;
    void *memory = NULL;
    return bytes < 0 || posix_memalign(&memory, 64, (size_t)bytes + 1) ? NULL : memory;
}

static void cpu_deallocate(void *device, void *memory)
{
    (void)device;
    free(memory);
}

static pumit_status cpu_transfer(void *device, void *dst, const void *src, int64_t bytes)
{
    (void)device;
    if (bytes > 0) memcpy(dst, src, (size_t)bytes);
    return PUMIT_OK;
}

static pumit_status cpu_synchronize(void *device)
{
    (void)device;
    return PUMIT_OK;
}

/** Threads that a team really gets here: one where OpenMP allows no further parallel region within the caller's. */
static int team_of(const pumit__cpu_device *device)
{
    return omp_get_active_level() < omp_get_max_active_levels() ? device->threads : 1;
}

/* Each kernel runs with its device's thread count, and no team is smaller than was asked for, since oneDNN's primitives
 * then leave out what the missing threads had to do; the caller's own settings are put back after. */
#define PUMIT_KERNEL(kernel, family, summary)                                                      \
    static pumit_status run_##kernel(void *opened, const pumit_##family##_args *args)              \
    {                                                                                              \
        pumit__cpu_device *device = opened;                                                        \
        if (!chosen.kernel) return PUMIT_DECLINED;                                                 \
        const int threads = omp_get_max_threads(), dynamic = omp_get_dynamic();                    \
        omp_set_num_threads(team_of(device));                                                      \
        omp_set_dynamic(0);                                                                        \
        const pumit_status status = chosen.kernel(device, args);                                   \
        omp_set_dynamic(dynamic);                                                                  \
        omp_set_num_threads(threads);                                                              \
        return status;                                                                             \
    }
#include <pumit/oplist.inc>
#undef PUMIT_KERNEL

const pumit_backend pumit__cpu = {
    .struct_size = sizeof(pumit_backend),
    .abi_version = PUMIT_ABI_VERSION,
    .name = "cpu",
    .real_dtype = PUMIT_F32,
    .host_memory = 1,
    .open = cpu_open,
    .close = cpu_close,
    .allocate = cpu_allocate,
    .deallocate = cpu_deallocate,
    .upload = cpu_transfer,
    .download = cpu_transfer,
    .synchronize = cpu_synchronize,
#define PUMIT_KERNEL(kernel, family, summary) .kernel = run_##kernel,
#include <pumit/oplist.inc>
#undef PUMIT_KERNEL
};
