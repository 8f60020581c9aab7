/* SPDX-License-Identifier: Apache-2.0 */
/* What the sources of Winograd's filtering share. */
#ifndef PUMIT_KERNELS_CPU_ISA_WINOGRAD_H
#define PUMIT_KERNELS_CPU_ISA_WINOGRAD_H

#include "kernels/cpu/isa/isa.h"
#include "kernels/cpu/isa/lanes.h"
#include "kernels/cpu/winograd.h"

#define POINTS PUMIT__WINOGRAD_POINTS

#define PUMIT__WINOGRAD(name) PUMIT__SUFFIXED(pumit__winograd_, name, ISA)

extern const pumit__winograd_kernels PUMIT__WINOGRAD(kernels);

void PUMIT__WINOGRAD(spread_patches)(const pumit__winograd_tiles *tiles, const float *image,
                                     int64_t channels, int64_t first, int64_t last,
                                     const pumit__winograd_points *points);
void PUMIT__WINOGRAD(spread_tiles)(const pumit__winograd_tiles *tiles, const float *image,
                                   int64_t channels, int64_t first, int64_t last,
                                   const pumit__winograd_points *points);
void PUMIT__WINOGRAD(convolve)(const pumit__winograd_convolution *p);
void PUMIT__WINOGRAD(weights_gradient)(const pumit__winograd_gradient *p);

/** Tiles of rows first .. last from points (whose row 0 is `first`), for `count` <= BLOCK channels from `out`. */
void PUMIT__WINOGRAD(gather_tiles)(const pumit__winograd_convolution *p, int64_t count);

#endif
