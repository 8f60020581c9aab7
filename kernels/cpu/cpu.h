/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the `cpu` backend share: the device, its scratch memory, the table of kernels. */
#ifndef PUMIT_KERNELS_CPU_CPU_H
#define PUMIT_KERNELS_CPU_CPU_H

#include "kernels/cpu/winograd.h"

#include <pumit/backend.h>

/** Work below this many element operations stays on the calling thread: starting a team costs more. */
#define PUMIT__CPU_SERIAL 16384
/** Elements that one thread handles at a time: an L1 cache's worth of two or three operands. */
#define PUMIT__CPU_PIECE 2048
/** Reductions over rows are cut into at most this many parts, whatever the thread count, so that the
 * same sums are formed on every machine. */
#define PUMIT__CPU_PARTS 64

typedef struct pumit__cpu_dnnl pumit__cpu_dnnl;

/** Scratch memory: what a kernel works on, what a product inside of it needs, its b widened to f32. */
enum {
    PUMIT__CPU_KERNEL_BLOCK,
    PUMIT__CPU_PRODUCT_BLOCK,
    PUMIT__CPU_WIDE_BLOCK,
    PUMIT__CPU_BLOCKS
};

/** One opened device: belongs to one context, so to one thread at a time. */
typedef struct {
    int32_t threads;
    int64_t scratch_bytes[PUMIT__CPU_BLOCKS];
    void *scratch[PUMIT__CPU_BLOCKS]; /* 64-byte aligned, grow only */
    pumit__cpu_dnnl *dnnl; /* oneDNN's engine, stream and primitives; NULL until the first use */
} pumit__cpu_device;

/** `bytes` of scratch memory, valid until the next call; NULL when there is no memory. */
void *pumit__cpu_scratch(pumit__cpu_device *device, int64_t bytes);
void *pumit__cpu_scratch_block(pumit__cpu_device *device, int block, int64_t bytes);

/** Kernels of this backend; NULL where there is none. A later table of the ladder overrides. */
typedef struct {
#define PUMIT_KERNEL(kernel, family, summary)                                                      \
    pumit_status (*kernel)(pumit__cpu_device * device, const pumit_##family##_args *args);
#include <pumit/oplist.inc>
#undef PUMIT_KERNEL
    const pumit__winograd_kernels *winograd; /* parts of convolutions, kernels/cpu/winograd.h */
} pumit__cpu_kernels;

extern const pumit__cpu_kernels pumit__cpu_isa_generic, pumit__cpu_isa_avx2, pumit__cpu_isa_avx512;

pumit_status pumit__cpu_matmul(pumit__cpu_device *device, const pumit_matmul_args *args);
pumit_status pumit__cpu_conv_forward(pumit__cpu_device *device, const pumit_conv_args *args);
pumit_status pumit__cpu_conv_backward_data(pumit__cpu_device *device, const pumit_conv_args *args);
pumit_status pumit__cpu_conv_backward_weights(pumit__cpu_device *device,
                                              const pumit_conv_args *args);

/** c (m x n) = op(a) (m x k) op(b) (k x n) + beta c, row-major; m, n, k > 0. Single-threaded when called
 * inside a parallel region, else on the calling thread's team. */
pumit_status pumit__cpu_sgemm(int32_t trans_a, int32_t trans_b, int64_t m, int64_t n, int64_t k,
                              float alpha, const float *a, int64_t lda, const float *b, int64_t ldb,
                              float beta, float *c, int64_t ldc);

/** The kernels of this machine, once a device is open. */
const pumit__cpu_kernels *pumit__cpu_chosen(void);

/** Frees what dnnl.c keeps. */
void pumit__cpu_dnnl_close(pumit__cpu_dnnl *dnnl);

#endif
