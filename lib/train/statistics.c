/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/train/statistics.h"

#include <stdlib.h>

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void pumit__sort(double *values, int64_t count)
{
    qsort(values, (size_t)count, sizeof *values, by_value);
}

double pumit__quantile(const double *sorted, int64_t count, double share)
{
    const double at = share * (double)(count - 1);
    const int64_t below = (int64_t)at;
    if (below + 1 >= count) return sorted[count - 1];
    return sorted[below] + (at - (double)below) * (sorted[below + 1] - sorted[below]);
}
