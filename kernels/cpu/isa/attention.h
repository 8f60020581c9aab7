/* SPDX-License-Identifier: Apache-2.0 */
/* What forward and backward of attention share: sizes, and packing of heads into padded blocks. */
#ifndef PUMIT_KERNELS_CPU_ISA_ATTENTION_H
#define PUMIT_KERNELS_CPU_ISA_ATTENTION_H

#include "kernels/cpu/isa/block_gemm.h"
#include "kernels/cpu/isa/isa.h"
#include "kernels/cpu/isa/math.h"

#include <stdlib.h>
#include <string.h>

/* Scores of a block stand with their queries side by side, so that what is done per query is done lane by lane. */
#define QUERIES 64 /* of a block: whole vectors; with KEYS, the scores fit the L1 cache */
#define KEYS    96

typedef struct {
    int64_t length, index;
} attention_sequence;

/** Sizes of a call. */
typedef struct {
    int64_t dim, width;  /* head_dim, and padded to whole vectors */
    int64_t row, packed; /* distance between tokens in q, k, v and their gradients; in dst */
    int64_t longest;     /* tokens of the longest sequence */
    double work;         /* products of a query with a key, over all heads */
    const attention_sequence *order; /* longest first; NULL: all alike */
} attention_shape;

/** One head of one sequence. */
typedef struct {
    int64_t length;
    int64_t in, out, lse; /* where its first token lies in q, k, v; in dst; in lse */
} attention_head;

static inline int64_t blocks_of(int64_t length, int64_t size)
{
    return (length + size - 1) / size;
}

static inline int64_t whole_lanes(int64_t n)
{
    return (n + LANES - 1) / LANES * LANES;
}

/** As fast_exp(). */
static inline lanes lanes_exp(lanes x)
{
    float e[LANES];
    store_lanes(e, x);
#pragma omp simd
    for (int i = 0; i < LANES; i++) e[i] = fast_exp(e[i]);
    return load_lanes(e);
}

/** Longest first, so that what is left for the last of the threads is little. */
static int compare_sequences(const void *a, const void *b)
{
    const attention_sequence *x = a, *y = b;
    if (x->length != y->length) return x->length < y->length ? 1 : -1;
    return x->index < y->index ? -1 : 1;
}

/** Bytes of the order of sequences, which is kept at the start of the scratch memory. */
static inline int64_t order_bytes(const pumit_attention_args *args)
{
    const int64_t bytes = args->offsets ? args->n * (int64_t)sizeof(attention_sequence) : 0;
    return (bytes + 63) / 64 * 64;
}

static inline int64_t longest_of(const pumit_attention_args *args)
{
    int64_t longest = args->offsets ? 0 : args->length;
    for (int64_t i = 0; args->offsets && i < args->n; i++) {
        const int64_t length = args->offsets[i + 1] - args->offsets[i];
        longest = length > longest ? length : longest;
    }
    return longest;
}

static inline attention_shape shape_of_attention(const pumit_attention_args *args)
{
    attention_shape s = {.dim = args->head_dim, .longest = longest_of(args)};
    s.width = whole_lanes(s.dim);
    s.packed = args->heads * s.dim;
    s.row = args->row ? args->row : s.packed;
    s.work = (double)args->n * (double)args->heads * (double)s.longest * (double)s.longest;
    return s;
}

/** Fills `order`, of order_bytes(). */
static inline void order_sequences(const pumit_attention_args *args, attention_shape *s,
                                   attention_sequence *order)
{
    if (!args->offsets) return;
    s->work = 0;
    for (int64_t i = 0; i < args->n; i++) {
        const int64_t length = args->offsets[i + 1] - args->offsets[i];
        order[i] = (attention_sequence){length, i};
        s->work += (double)args->heads * (double)length * (double)length;
    }
    qsort(order, (size_t)args->n, sizeof *order, compare_sequences);
    s->order = order;
}

/** Head number `index` of all n x heads, in the order of sequences. */
static inline attention_head head_of(const pumit_attention_args *args, const attention_shape *s,
                                     int64_t index)
{
    const int64_t h = index % args->heads;
    int64_t n = index / args->heads, first = n * args->length;
    attention_head head = {.length = args->length, .lse = index * args->length};
    if (s->order) {
        head.length = s->order[n].length;
        n = s->order[n].index;
        first = args->offsets[n];
        head.lse = h * args->offsets[args->n] + first;
    }
    head.in = first * s->row + h * s->dim;
    head.out = first * s->packed + h * s->dim;
    return head;
}

#define AHEAD 8 /* rows fetched beforehand: they lie too far apart for the hardware to guess */

/** dst (rows, width) = scale x tokens from `src` on, `row` apart, zeros beyond dim. */
static inline void pack_rows(const attention_shape *s, const float *src, int64_t row, int64_t rows,
                             float scale, float *restrict dst)
{
    for (int64_t r = 0; r < rows; r++, src += row, dst += s->width) {
        const float *ahead = src + least(AHEAD, rows - 1 - r) * row;
        for (int64_t c = 0; c < s->dim; c += 16) __builtin_prefetch(ahead + c);
        int64_t c = 0;
        for (; c + LANES <= s->dim; c += LANES) store_lanes(dst + c, scale * load_lanes(src + c));
        if (c < s->dim) store_lanes(dst + c, scale * load_first(src + c, s->dim - c));
    }
}

/** dst (count, QUERIES) = scale x the transpose of `rows` x `count` numbers, both at most LANES; zeros beyond. */
static inline __attribute__((always_inline)) void pack_square(const float *src, int64_t row,
                                                              const int64_t rows,
                                                              const int64_t count, float scale,
                                                              float *restrict dst)
{
    lanes strip[LANES];
#pragma GCC unroll 16
    for (int64_t i = 0; i < LANES; i++)
        strip[i] = i < rows ? scale * load_first(src + i * row, count) : (lanes){0};
    transpose_lanes(strip);
#pragma GCC unroll 16
    for (int64_t j = 0; j < LANES; j++)
        if (j < count) store_lanes(dst + j * QUERIES, strip[j]);
}

/** dst (dim, QUERIES) = scale x the transpose of `rows` tokens from `src` on, zeros up to whole vectors. */
static inline void pack_columns(const attention_shape *s, const float *src, int64_t row,
                                int64_t rows, float scale, float *restrict dst)
{
    for (int64_t r = 0; r < rows; r += LANES) {
        for (int64_t c = 0; c < s->dim; c += LANES) {
            const int64_t count = least(LANES, rows - r), cols = least(LANES, s->dim - c);
            const float *from = src + r * row + c;
            float *to = dst + c * QUERIES + r;
            if (count == LANES && cols == LANES) {
                pack_square(from, row, LANES, LANES, scale, to);
            } else {
                pack_square(from, row, count, cols, scale, to);
            }
        }
    }
}

#endif
