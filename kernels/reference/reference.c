/* SPDX-License-Identifier: Apache-2.0 */
/* The table of the reference backend. It works on host memory and declines nothing. */
#include "reference.h"

#include "kernels/backends.h"

#include <stdlib.h>

static pumit_status open_device(void **device, int32_t index, int32_t threads)
{
    if (index != 0) return PUMIT_ERROR_NOT_FOUND;
    reference_device *d = malloc(sizeof *d);
    if (d == NULL) return PUMIT_ERROR_OUT_OF_MEMORY;
    d->threads = threads;
    *device = d;
    return PUMIT_OK;
}

static void close_device(void *device)
{
    free(device);
}

#if REAL_IS_FLOAT
const pumit_backend pumit__reference = {
    .name = "reference",
#else
const pumit_backend pumit__reference64 = {
    .name = "reference64",
#endif
    .struct_size = sizeof(pumit_backend),
    .abi_version = PUMIT_ABI_VERSION,
    .real_dtype = REAL_DTYPE,
    .host_memory = 1,
    .open = open_device,
    .close = close_device,
#define PUMIT_KERNEL(kernel, family, summary) .kernel = NAME(kernel),
#include <pumit/oplist.inc>
#undef PUMIT_KERNEL
};
