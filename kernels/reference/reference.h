/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The `reference` backend: every kernel in plain C, the oracle of all others. Each source is compiled
 * twice, with REAL float (`reference`) and double (`reference64`). Sums are gathered in double in both,
 * in an order that does not depend on the number of threads, and rounded once when they are stored.
 */
#ifndef PUMIT_KERNELS_REFERENCE_H
#define PUMIT_KERNELS_REFERENCE_H

#include <pumit/backend.h>

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if REAL_IS_FLOAT
#define NAME(x)    pumit__reference_##x##_f32
#define REAL_DTYPE PUMIT_F32
#else
#define NAME(x)    pumit__reference_##x##_f64
#define REAL_DTYPE PUMIT_F64
#endif

typedef REAL real;

#define PUMIT_KERNEL(kernel, family, summary)                                                      \
    pumit_status NAME(kernel)(void *device, const pumit_##family##_args *args);
#include <pumit/oplist.inc>
#undef PUMIT_KERNEL

/* What open() makes. */
typedef struct {
    int32_t threads;
} reference_device;

/* Accumulators of this many channels stand on the stack, so that no kernel but attention allocates. */
#define BLOCK 64

/* Threads for `work` elementary operations: waking a second one does not pay below some 100 us. */
static inline int team(const void *device, int64_t work)
{
    const reference_device *d = device;
    return d != NULL && work >= 100000 && d->threads > 1 ? d->threads : 1;
}

static inline int64_t at_most(int64_t value, int64_t limit)
{
    return value < limit ? value : limit;
}

static inline int64_t at_least(int64_t value, int64_t limit)
{
    return value > limit ? value : limit;
}

/* Product of the `ndim` sizes of `shape`. */
static inline int64_t count_of(int32_t ndim, const int64_t *shape)
{
    int64_t count = 1;
    for (int32_t i = 0; i < ndim; i++) count *= shape[i];
    return count;
}

/* Where the element of row-major number `linear` lies in a strided array. */
static inline int64_t offset_of(int64_t linear, int32_t ndim, const int64_t *shape,
                                const int64_t *stride)
{
    int64_t offset = 0;
    for (int32_t i = ndim - 1; i >= 0; i--) {
        offset += linear % shape[i] * stride[i];
        linear /= shape[i];
    }
    return offset;
}

/* <a, b>, in eight interleaved partial sums that the compiler can keep in vectors. */
static inline double dot(const real *a, const real *b, int64_t n)
{
    double sum[8] = {0};
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) {
        for (int j = 0; j < 8; j++) sum[j] += (double)a[i + j] * b[i + j];
    }
    for (; i < n; i++) sum[0] += (double)a[i] * b[i];
    return ((sum[0] + sum[4]) + (sum[1] + sum[5])) + ((sum[2] + sum[6]) + (sum[3] + sum[7]));
}

#endif
