/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Walking several strided arrays of one shape together: axes of size 1 are dropped and neighbours
 * that lie without gaps in all arrays are merged, so that most calls become one or two loops.
 */
#ifndef PUMIT_KERNELS_CPU_WALK_H
#define PUMIT_KERNELS_CPU_WALK_H

#include <pumit/tensor.h>

#define PUMIT__WALK_OPERANDS 3

typedef struct {
    int32_t ndim, operands; /* ndim >= 1; the last axis is the inner loop */
    int64_t shape[PUMIT_MAX_DIMS];
    int64_t stride[PUMIT__WALK_OPERANDS][PUMIT_MAX_DIMS];
} pumit__walk;

/** A place in the outer loops (all axes but the last): the index, and each operand's offset. */
typedef struct {
    int64_t index[PUMIT_MAX_DIMS], offset[PUMIT__WALK_OPERANDS];
} pumit__walk_place;

/** `strides[o]` are operand o's, `ndim` of them. */
void pumit__walk_init(pumit__walk *walk, int32_t ndim, const int64_t *shape, int32_t operands,
                      const int64_t *const *strides);

/** Number of elements, and of rows (elements / inner size); 0 when any axis is empty. */
int64_t pumit__walk_count(const pumit__walk *walk);
int64_t pumit__walk_rows(const pumit__walk *walk);

/** Place of row number `row`. */
void pumit__walk_seek(const pumit__walk *walk, int64_t row, pumit__walk_place *place);

/** The next row; past the last one it starts again at the first. */
static inline void pumit__walk_next(const pumit__walk *walk, pumit__walk_place *place)
{
    for (int32_t d = walk->ndim - 2; d >= 0; d--) {
        const int64_t back = ++place->index[d] < walk->shape[d] ? 0 : walk->shape[d];
        for (int32_t o = 0; o < walk->operands; o++)
            place->offset[o] += walk->stride[o][d] * (1 - back);
        if (!back) return;
        place->index[d] = 0;
    }
}

#endif
