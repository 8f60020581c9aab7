/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cpu/walk.h"

#include <string.h>

/** Whether axis d continues the walk's last axis in every operand. */
static int continues(const pumit__walk *walk, int64_t size, const int64_t *const *strides,
                     int32_t d)
{
    const int32_t last = walk->ndim - 1;
    if (last < 0) return 0;
    for (int32_t o = 0; o < walk->operands; o++)
        if (walk->stride[o][last] != strides[o][d] * size) return 0;
    return 1;
}

void pumit__walk_init(pumit__walk *walk, int32_t ndim, const int64_t *shape, int32_t operands,
                      const int64_t *const *strides)
{
    memset(walk, 0, sizeof *walk);
    walk->operands = operands;
    for (int32_t d = 0; d < ndim; d++) {
        if (shape[d] == 1) continue;
        const int merges = continues(walk, shape[d], strides, d);
        const int32_t at = merges ? walk->ndim - 1 : walk->ndim++;
        walk->shape[at] = merges ? walk->shape[at] * shape[d] : shape[d];
        for (int32_t o = 0; o < operands; o++) walk->stride[o][at] = strides[o][d];
    }
    if (walk->ndim > 0) return;
    walk->ndim = 1;
    walk->shape[0] = 1;
    for (int32_t o = 0; o < operands; o++) walk->stride[o][0] = 1;
}

int64_t pumit__walk_rows(const pumit__walk *walk)
{
    int64_t rows = 1;
    for (int32_t d = 0; d < walk->ndim - 1; d++) rows *= walk->shape[d];
    return rows;
}

int64_t pumit__walk_count(const pumit__walk *walk)
{
    return pumit__walk_rows(walk) * walk->shape[walk->ndim - 1];
}

void pumit__walk_seek(const pumit__walk *walk, int64_t row, pumit__walk_place *place)
{
    memset(place, 0, sizeof *place);
    for (int32_t d = walk->ndim - 2; d >= 0; d--) {
        place->index[d] = row % walk->shape[d];
        row /= walk->shape[d];
        for (int32_t o = 0; o < walk->operands; o++)
            place->offset[o] += place->index[d] * walk->stride[o][d];
    }
}
