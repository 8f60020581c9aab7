/* SPDX-License-Identifier: Apache-2.0 */
/* Rows by index: gather, and its adjoint scatter. All indices are checked before anything is written. */
#include "reference.h"

static int indices_fit(const pumit_rows_args *args)
{
    for (int64_t i = 0; i < args->n * args->count; i++) {
        if (args->index[i] < 0 || args->index[i] >= args->length) return 0;
    }
    return 1;
}

static void put_row(const pumit_rows_args *args, const real *src, real *dst)
{
    for (int64_t c = 0; c < args->channels; c++) {
        dst[c] = (real)(args->accumulate ? (double)dst[c] + src[c] : src[c]);
    }
}

pumit_status NAME(gather_rows)(void *device, const pumit_rows_args *args)
{
    const int64_t C = args->channels, rows = args->n * args->count;
    const real *src = args->src;
    real *dst = args->dst;
    if (!indices_fit(args)) return PUMIT_ERROR_INVALID_ARGUMENT;
#pragma omp parallel for num_threads(team(device, rows *C))
    for (int64_t i = 0; i < rows; i++) {
        const int64_t from = i / args->count * args->length + args->index[i];
        memcpy(dst + i * C, src + from * C, (size_t)C * sizeof *dst);
    }
    return PUMIT_OK;
}

pumit_status NAME(scatter_rows)(void *device, const pumit_rows_args *args)
{
    const int64_t C = args->channels, rows = args->n * args->count;
    const real *src = args->src;
    real *dst = args->dst;
    if (!indices_fit(args)) return PUMIT_ERROR_INVALID_ARGUMENT;
        /* indices are distinct within a sequence, so no two rows meet */
#pragma omp parallel for num_threads(team(device, rows *C))
    for (int64_t i = 0; i < rows; i++) {
        const int64_t to = i / args->count * args->length + args->index[i];
        put_row(args, src + i * C, dst + to * C);
    }
    return PUMIT_OK;
}
