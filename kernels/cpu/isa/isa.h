/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For the kernels that are compiled once per instruction set (-DISA=generic|avx2|avx512): names and
 * small helpers. Loops are plain C marked `omp simd`; flat arrays are cut into pieces of
 * PUMIT__CPU_PIECE elements for the threads.
 */
#ifndef PUMIT_KERNELS_CPU_ISA_H
#define PUMIT_KERNELS_CPU_ISA_H

#include "kernels/cpu/cpu.h"

#define PUMIT__PASTE3(a, b, c)    a##b##_##c
#define PUMIT__SUFFIXED(a, b, c)  PUMIT__PASTE3(a, b, c)
#define PUMIT__CPU_KERNEL(kernel) PUMIT__SUFFIXED(pumit__cpu_, kernel, ISA)

#define PUMIT_KERNEL(kernel, family, summary)                                                      \
    pumit_status PUMIT__CPU_KERNEL(kernel)(pumit__cpu_device * device,                             \
                                           const pumit_##family##_args *args);
#include <pumit/oplist.inc>
#undef PUMIT_KERNEL

static inline int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

#endif
