/* SPDX-License-Identifier: Apache-2.0 */
/* The backends that are built into the library. */
#ifndef PUMIT_KERNELS_BACKENDS_H
#define PUMIT_KERNELS_BACKENDS_H

#include <pumit/backend.h>

extern const pumit_backend
    pumit__reference; /* plain C on float, double accumulation; declines nothing */
extern const pumit_backend pumit__reference64; /* the same sources on double */
extern const pumit_backend pumit__cpu; /* oneDNN, OpenBLAS, vectorised kernels; declines the rest */

#endif
