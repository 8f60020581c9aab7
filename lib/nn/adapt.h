/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arrays of a file made to fit a parameter of another shape, in the order that files have (O I D H W). Every step is linear along
 * one axis, dst[t] = sum over s of weight(t, s) src[s], with S sources and T results:
 *   gray      RGB to gray in a tokenizer's output: 0.299, 0.587, 0.114
 *   channels  another number of input channels: the sum over all S by T, so that equal channels give the same result
 *   bicubic   a patch embedding's kernel in plane (a = -0.75, corners not aligned)
 *   average   a 2D kernel at every of T depths, by T
 *   centre    a 2D kernel at the middle depth, or half of it at each of the two middle ones
 *   pool      a patch embedding's depth: runs of S / T neighbours summed
 *   area      position grid, S > T: mean over floor(t S / T) .. ceil((t + 1) S / T)
 *   linear    position grid, S < T: at (t + 0.5) S / T - 0.5, not below 0
 *   repeat    a 2D position grid at every depth
 */
#ifndef PUMIT_LIB_NN_ADAPT_H
#define PUMIT_LIB_NN_ADAPT_H

#include "lib/tensor/weights_file.h"

#define PUMIT__ADAPT_MOST_STEPS 8
#define PUMIT__ADAPT_MOST       (INT64_C(1) << 26) /* elements of an array that is adapted */

typedef enum {
    PUMIT__ADAPT_GRAY,
    PUMIT__ADAPT_CHANNELS,
    PUMIT__ADAPT_BICUBIC,
    PUMIT__ADAPT_AVERAGE,
    PUMIT__ADAPT_CENTER,
    PUMIT__ADAPT_POOL,
    PUMIT__ADAPT_AREA,
    PUMIT__ADAPT_LINEAR,
    PUMIT__ADAPT_REPEAT
} pumit__adapt_kind;

typedef struct {
    pumit__adapt_kind kind;
    int32_t axis;
    int64_t from, to;
} pumit__adapt_step;

typedef struct {
    bool
        sequence; /* first: (1, 1 + h h, C) becomes (1, C, 1, h, h); row 0 belongs to the class token */
    bool flat; /* after that: a 2D kernel gets a depth of 1 */
    int32_t count, ndim;
    int64_t shape[PUMIT_MAX_DIMS]; /* before the steps */
    pumit__adapt_step steps[PUMIT__ADAPT_MOST_STEPS];
} pumit__adaptation;

/* How an array of `entry`'s shape becomes the parameter `name` of `shape`; false if there is no way. */
bool pumit__adapt_plan(pumit__adaptation *out, const pumit__weights_entry *entry, const char *name,
                       int32_t ndim, const int64_t *shape, bool center);

/* True for (1, 1 + h h, C), a 2D position embedding with a class position. */
bool pumit__adapt_is_sequence(const pumit__weights_entry *entry);

/* The adapted array, packed, and takes `src`, the packed array of the entry; NULL when out of memory. free() it. */
double *pumit__adapt_apply(const pumit__adaptation *adaptation, double *src);

/* "bicubic to 16x16, ..." for messages. */
typedef struct {
    char text[200];
} pumit__adapt_text;
pumit__adapt_text pumit__adapt_describe(const pumit__adaptation *adaptation);

#endif
