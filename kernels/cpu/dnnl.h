/* SPDX-License-Identifier: Apache-2.0 */
/* What convolutions and products through oneDNN, 2.6 or 3.x, share: primitives that are kept per shape, the least
 * recently used goes. They are made for a thread count: the device's, or 1 where OpenMP allows no team. */
#ifndef PUMIT_KERNELS_CPU_DNNL_H
#define PUMIT_KERNELS_CPU_DNNL_H

#include "kernels/cpu/cpu.h"

#include <dnnl.h>
#include <stddef.h>

#if DNNL_VERSION_MAJOR >= 3
typedef const_dnnl_memory_desc_t pumit__dnnl_view; /* a borrowed memory descriptor */
#else
typedef const dnnl_memory_desc_t *pumit__dnnl_view;
#endif

#define PUMIT__DNNL_MEMORIES 6
#define PUMIT__DNNL_KEY      160 /* bytes of the longest key */

typedef struct pumit__dnnl_entry pumit__dnnl_entry;

/** Fills an entry, which is clear, for `key`; what it leaves on failure is freed. */
typedef dnnl_status_t (*pumit__dnnl_make)(pumit__dnnl_entry *entry, const pumit__cpu_dnnl *dnnl,
                                          const void *key);

/** Keys are compared as bytes, so clear them before they are filled. */
struct pumit__dnnl_entry {
    char key[PUMIT__DNNL_KEY];
    pumit__dnnl_make make;
    int threads;
    uint64_t last_use;                   /* 0: free */
    dnnl_primitive_t primitive, reorder; /* reorder NULL: none is needed */
    dnnl_memory_t memory[PUMIT__DNNL_MEMORIES];
    size_t weights_bytes, scratch_bytes;
};

struct pumit__cpu_dnnl {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    dnnl_primitive_attr_t attributes; /* the caller provides the working memory */
    uint64_t clock;
    pumit__dnnl_entry entries[128];
};

/** The entry for `key`, made if it is new; declined when oneDNN cannot. Not so where memory is out: another kernel's results differ. */
pumit_status pumit__dnnl_find(pumit__dnnl_entry **out, pumit__cpu_device *device,
                              pumit__dnnl_make make, const void *key, size_t bytes);

pumit_status pumit__dnnl_status(dnnl_status_t status);

/** One product on the device's team, where the machine has an implementation better than sgemm; else declines. */
pumit_status pumit__dnnl_matmul(pumit__cpu_device *device, const pumit_matmul_args *args);

/** oneDNN takes no const; it only reads what is passed through here. */
static inline void *pumit__dnnl_input(const void *data)
{
    union {
        const void *in;
        void *out;
    } both = {.in = data};
    return both.out;
}

static inline size_t pumit__dnnl_padded(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

static inline pumit__dnnl_view pumit__dnnl_view_of(const dnnl_memory_desc_t *desc)
{
#if DNNL_VERSION_MAJOR >= 3
    return *desc;
#else
    return desc;
#endif
}

#endif
