/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PUMIT_LIB_TRAIN_STATISTICS_H
#define PUMIT_LIB_TRAIN_STATISTICS_H

#include "lib/base/base.h"

/* Rising order; no value may be NaN. */
void pumit__sort(double *values, int64_t count);

/* The value that a share 0..1 of `count` > 0 sorted values lies below, between the two at its sides. */
double pumit__quantile(const double *sorted, int64_t count, double share);

#endif
