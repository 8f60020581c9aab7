/* SPDX-License-Identifier: Apache-2.0 */
/*
 * c = alpha op(a) op(b) + beta c + bias, batched. A tile of c is gathered in doubles while k runs once
 * from 0 to K, so that a strided row of op(b) is read once for all rows of the tile.
 */
#include "reference.h"

#define TILE_ROWS 16

/* `columns` elements of b from element `at` on, `step` apart: exact, whatever b is stored in. */
static void load_row(double row[BLOCK], const pumit_matmul_args *args, const void *b, int64_t at,
                     int64_t step, int64_t columns)
{
    const real *values = b;
    real wide[BLOCK] = {0};
    if (args->b_dtype == 0) {
        for (int64_t j = 0; j < columns; j++) row[j] = values[at + j * step];
        return;
    }
    const pumit_copy_args copy = {.src = (const uint16_t *)b + at,
                                  .dst = wide,
                                  .src_dtype = args->b_dtype,
                                  .dst_dtype = REAL_DTYPE,
                                  .ndim = 1,
                                  .shape = {columns},
                                  .src_stride = {step},
                                  .dst_stride = {1}};
    NAME(copy)(NULL, &copy);
    for (int64_t j = 0; j < columns; j++) row[j] = wide[j];
}

/* sum[i][j] = sum over k of op(a)[row + i][k] op(b)[k][column + j]. */
static void gather_tile(double sum[TILE_ROWS][BLOCK], const pumit_matmul_args *args, const real *a,
                        int64_t b_start, int64_t rows, int64_t columns)
{
    const int64_t a_row = args->trans_a ? 1 : args->lda, a_k = args->trans_a ? args->lda : 1;
    const int64_t b_k = args->trans_b ? 1 : args->ldb, b_column = args->trans_b ? args->ldb : 1;
    double b_row[BLOCK] = {0};
    memset(sum, 0, TILE_ROWS * sizeof sum[0]);
    for (int64_t k = 0; k < args->k; k++) {
        load_row(b_row, args, args->b, b_start + k * b_k, b_column, columns);
        for (int64_t i = 0; i < rows; i++) {
            const double a_ik = a[i * a_row + k * a_k];
            for (int64_t j = 0; j < BLOCK; j++) sum[i][j] += a_ik * b_row[j];
        }
    }
}

static void store_tile(const pumit_matmul_args *args, real *c, const real *bias,
                       double sum[TILE_ROWS][BLOCK], int64_t rows, int64_t columns)
{
    for (int64_t i = 0; i < rows; i++) {
        real *c_row = c + i * args->ldc;
        for (int64_t j = 0; j < columns; j++) {
            double value = args->alpha * sum[i][j];
            if (args->beta != 0) value += args->beta * c_row[j];
            if (bias != NULL) value += bias[j];
            c_row[j] = (real)value;
        }
    }
}

pumit_status NAME(matmul)(void *device, const pumit_matmul_args *args)
{
    const real *a = args->a, *bias = args->bias;
    real *c = args->c;
    const int64_t bands = (args->m + TILE_ROWS - 1) / TILE_ROWS;
#pragma omp parallel for num_threads(team(device, args->batch * args->m * args->n * args->k))
    for (int64_t band = 0; band < args->batch * bands; band++) {
        const int64_t n = band / bands, i = band % bands * TILE_ROWS;
        const int64_t rows = at_most(args->m - i, TILE_ROWS);
        const real *a_band = a + n * args->a_batch_stride + i * (args->trans_a ? 1 : args->lda);
        for (int64_t j = 0; j < args->n; j += BLOCK) {
            const int64_t columns = at_most(args->n - j, BLOCK);
            const int64_t b_tile = n * args->b_batch_stride + j * (args->trans_b ? args->ldb : 1);
            real *c_tile = c + n * args->c_batch_stride + i * args->ldc + j;
            double sum[TILE_ROWS][BLOCK];
            gather_tile(sum, args, a_band, b_tile, rows, columns);
            store_tile(args, c_tile, bias != NULL ? bias + j : NULL, sum, rows, columns);
        }
    }
    return PUMIT_OK;
}
