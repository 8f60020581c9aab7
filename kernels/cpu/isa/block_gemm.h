/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Matrix products of blocks that fit a core's cache, for kernels that work block by block and cannot
 * afford a library call for each. Register tiles of TILE_ROWS x 2 vectors.
 */
#ifndef PUMIT_KERNELS_CPU_ISA_BLOCK_GEMM_H
#define PUMIT_KERNELS_CPU_ISA_BLOCK_GEMM_H

#include "kernels/cpu/isa/lanes.h"

#if defined(__AVX512F__)
#define TILE_ROWS 12
#else
#define TILE_ROWS 6
#endif

/** The operands of c (m x n) (+)= a (m x k) b (k x n): element (i, p) of a stands at i a_row + p a_col. */
typedef struct {
    const float *a, *b;
    float *c;
    int64_t m, n, k; /* n: a multiple of LANES */
    int64_t a_row, a_col, ldb, ldc;
    int add; /* 0: c is overwritten */
} block_product;

/** `rows` x `vectors` of c, kept in registers: both are constants where this is inlined. */
static inline __attribute__((always_inline)) void
product_tile(const block_product *p, int64_t i, int64_t j, const int rows, const int vectors)
{
    lanes sum[TILE_ROWS][2];
    const float *a = p->a + i * p->a_row, *b = p->b + j;
    float *c = p->c + i * p->ldc + j;
    const int64_t a_row = p->a_row, a_col = p->a_col, ldb = p->ldb;
#pragma GCC unroll 16
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++)
            sum[r][v] = p->add ? load_lanes(c + r * p->ldc + v * LANES) : (lanes){0};
    for (int64_t q = 0; q < p->k; q++) {
        lanes right[2];
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) right[v] = load_lanes(b + q * ldb + v * LANES);
#pragma GCC unroll 16
        for (int r = 0; r < rows; r++) {
            const lanes left = a[r * a_row + q * a_col] - (lanes){0};
#pragma GCC unroll 2
            for (int v = 0; v < vectors; v++)
                sum[r][v] = lanes_multiply_add(left, right[v], sum[r][v]);
        }
    }
#pragma GCC unroll 16
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) store_lanes(c + r * p->ldc + v * LANES, sum[r][v]);
}

#define REST(count)                                                                                \
    if (rest == (count)) product_tile(p, i, j, count, vectors)

/** A tile takes the time of its rows, from 4 on, so rows that are left over make one of their own. */
static inline __attribute__((always_inline)) void product_columns(const block_product *p, int64_t j,
                                                                  const int vectors)
{
    int64_t i = 0;
    for (; i + TILE_ROWS <= p->m; i += TILE_ROWS) product_tile(p, i, j, TILE_ROWS, vectors);
    const int64_t rest = p->m - i;
#if TILE_ROWS > 6
    REST(11);
    REST(10);
    REST(9);
    REST(8);
    REST(7);
    REST(6);
#endif
    REST(5);
    REST(4);
    REST(3);
    REST(2);
    REST(1);
}

static void multiply_blocks(const block_product *p)
{
    int64_t j = 0;
    for (; j + 2 * LANES <= p->n; j += 2 * LANES) product_columns(p, j, 2);
    if (j < p->n) product_columns(p, j, 1);
}

#endif
