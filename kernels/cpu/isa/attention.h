/* SPDX-License-Identifier: Apache-2.0 */
/* What forward and backward of attention share: sizes, and packing of heads into padded blocks. */
#ifndef PUMIT_KERNELS_CPU_ISA_ATTENTION_H
#define PUMIT_KERNELS_CPU_ISA_ATTENTION_H

#include "kernels/cpu/isa/block_gemm.h"
#include "kernels/cpu/isa/isa.h"
#include "kernels/cpu/isa/math.h"

#include <string.h>

#define QUERIES 48 /* rows of a block: a multiple of TILE_ROWS */
#define KEYS    128

typedef struct {
    int64_t dim, width;     /* head_dim, and padded to whole vectors */
    int64_t length, padded; /* tokens, and padded to whole key blocks */
    int64_t row;            /* distance between tokens in q, k, v */
    int64_t key_blocks, query_blocks;
} attention_shape;

static inline attention_shape shape_of_attention(const pumit_attention_args *args)
{
    attention_shape s = {.dim = args->head_dim, .length = args->length};
    s.width = (s.dim + LANES - 1) / LANES * LANES;
    s.key_blocks = (s.length + KEYS - 1) / KEYS;
    s.query_blocks = (s.length + QUERIES - 1) / QUERIES;
    s.padded = s.key_blocks * KEYS;
    s.row = args->heads * s.dim;
    return s;
}

/** Where head number `head` of all n x heads begins in q, k, v, dst and their gradients. */
static inline int64_t head_offset(const pumit_attention_args *args, int64_t head)
{
    const int64_t n = head / args->heads, h = head % args->heads;
    return (n * args->length * args->heads + h) * args->head_dim;
}

/** dst (rows, width) = scale x tokens first .. first + rows of a head, zeros beyond dim. */
static inline void pack_rows(const attention_shape *s, const float *head, int64_t first,
                             int64_t rows, float scale, float *restrict dst)
{
    for (int64_t r = 0; r < rows; r++, dst += s->width) {
        const float *src = head + (first + r) * s->row;
#pragma omp simd
        for (int64_t c = 0; c < s->dim; c++) dst[c] = scale * src[c];
        for (int64_t c = s->dim; c < s->width; c++) dst[c] = 0;
    }
}

/** dst (dim, KEYS) = the transpose of the tokens of one key block, zeros up to whole vectors. */
static inline void pack_transposed(const attention_shape *s, const float *head, int64_t block,
                                   float *restrict dst)
{
    const int64_t first = block * KEYS, count = least(KEYS, s->length - first);
    for (int64_t k = 0; k < count; k += LANES) {
        for (int64_t c = 0; c < s->dim; c += LANES) {
            const int64_t rows = least(LANES, count - k), cols = least(LANES, s->dim - c);
            const float *src = head + (first + k) * s->row + c;
            lanes strip[LANES] = {{0}};
            for (int64_t i = 0; i < rows; i++) strip[i] = load_first(src + i * s->row, cols);
            transpose_lanes(strip);
            for (int64_t j = 0; j < cols; j++) store_lanes(dst + (c + j) * KEYS + k, strip[j]);
        }
    }
}

#endif
