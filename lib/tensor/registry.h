/* SPDX-License-Identifier: Apache-2.0 */
/* Which backends there are, and in which order a device's kernels are looked for. */
#ifndef PUMIT_LIB_TENSOR_REGISTRY_H
#define PUMIT_LIB_TENSOR_REGISTRY_H

#include "lib/base/base.h"

#include <pumit/backend.h>

#define PUMIT__MOST_BACKENDS 4 /* of one device */

/* Adds a backend, which must live as long as the process, after checking that its table can be used: the same ABI, a
 * name of its own, at least the slots before the kernels. Any thread. */
pumit_status pumit__registry_add(const pumit_backend *backend);

/* The backends of device `name` in the order they are asked: itself, then those on the same memory and compute type that
 * were built in after it. *count of them. PUMIT_ERROR_NOT_FOUND lists what there is. */
pumit_status pumit__registry_find(const pumit_backend *order[PUMIT__MOST_BACKENDS], int32_t *count,
                                  const char *name);

#endif
