/* SPDX-License-Identifier: Apache-2.0 */
/*
 * matmul: c = alpha op(a) op(b) + beta c + bias, batched.
 *
 * Where the machine has AVX-512, products with b transposed, as in the forward pass of a linear layer, go through
 * oneDNN's matmul primitives (dnnl_matmul.c). All others go through its sgemm where that has vector
 * code (x86), else through OpenBLAS. Measured with AVX-512 on one and on two cores, GFLOP/s, weights out of memory
 * (m n k): primitive : oneDNN 2.6's sgemm : OpenBLAS 0.3.21
 *   NT 101 768 768    220 420 : 195 320 : 114 139        NT 501 768 768   244 476 : 242 400 : 130 250
 *   NN 101 768 2048   228 394 : 241 478 : 111 192        TN 768 768 501   252 491 : 254 506 : 131 254
 * oneDNN's thread count is per caller too, while concurrent OpenBLAS calls wait for each other.
 */
#include "kernels/cpu/dnnl.h"

#include <cblas.h>
#include <dnnl.h>
#include <limits.h>
#include <omp.h>
#include <string.h>

/** Products with this many multiplications are worth a primitive of their own. */
#define PRIMITIVE_PRODUCT ((int64_t)1 << 16)

/** b in 16 bits is widened to f32 in blocks of about this size, which stay in a core's cache. */
#define WIDE_BYTES ((int64_t)1 << 20)

/** Products below this many multiplications run one per thread when there are many of them. */
#define SMALL_PRODUCT ((int64_t)1 << 22)

static int onednn_is_best(void)
{
#if defined(__x86_64__)
    return __builtin_cpu_supports("avx2");
#else
    return 0;
#endif
}

pumit_status pumit__cpu_sgemm(int32_t trans_a, int32_t trans_b, int64_t m, int64_t n, int64_t k,
                              float alpha, const float *a, int64_t lda, const float *b, int64_t ldb,
                              float beta, float *c, int64_t ldc)
{
    if (onednn_is_best())
        return dnnl_sgemm(trans_a ? 'T' : 'N', trans_b ? 'T' : 'N', m, n, k, alpha, a, lda, b, ldb,
                          beta, c, ldc) == dnnl_success
                   ? PUMIT_OK
                   : PUMIT_ERROR_BACKEND;
    cblas_sgemm(CblasRowMajor, trans_a ? CblasTrans : CblasNoTrans,
                trans_b ? CblasTrans : CblasNoTrans, (blasint)m, (blasint)n, (blasint)k, alpha, a,
                (blasint)lda, b, (blasint)ldb, beta, c, (blasint)ldc);
    return PUMIT_OK;
}

/** c (rows x n) = beta c + bias, what the product is then added to. beta 0: c is not read. */
static void prepare(float *c, int64_t rows, int64_t n, int64_t ldc, float beta, const float *bias)
{
#pragma omp parallel for schedule(static) if (rows * n >= PUMIT__CPU_SERIAL)
    for (int64_t i = 0; i < rows; i++) {
        float *row = c + i * ldc;
        if (beta == 0 && bias) {
            memcpy(row, bias, (size_t)n * sizeof *row);
        } else if (beta == 0) {
            memset(row, 0, (size_t)n * sizeof *row);
        } else {
            for (int64_t j = 0; j < n; j++) row[j] = beta * row[j] + (bias ? bias[j] : 0);
        }
    }
}

static pumit_status by_sgemm(const pumit_matmul_args *p)
{
    float beta = (float)p->beta;
    if (p->bias || p->k == 0) {
        prepare(p->c, p->m, p->n, p->ldc, beta, p->bias);
        beta = 1;
    }
    if (p->k == 0) return PUMIT_OK;
    return pumit__cpu_sgemm(p->trans_a, p->trans_b, p->m, p->n, p->k, (float)p->alpha, p->a, p->lda,
                            p->b, p->ldb, beta, p->c, p->ldc);
}

/** Product `index` of the batch. A single row or column may come with any distance to a next one that does
 * not exist. */
static pumit_matmul_args item(const pumit_matmul_args *p, int64_t index)
{
    const int64_t a_width = p->trans_a ? p->m : p->k, b_width = p->trans_b ? p->k : p->n;
    const int64_t b_bytes = p->b_dtype ? sizeof(uint16_t) : sizeof(float);
    pumit_matmul_args one = *p;
    one.batch = 1;
    one.a = (const float *)p->a + index * p->a_batch_stride;
    one.b = (const char *)p->b + index * p->b_batch_stride * b_bytes;
    one.c = (float *)p->c + index * p->c_batch_stride;
    one.lda = p->lda < a_width ? a_width : p->lda;
    one.ldb = p->ldb < b_width ? b_width : p->ldb;
    one.ldc = p->ldc < p->n ? p->n : p->ldc;
    return one;
}

/** One product on the device's team. */
static pumit_status product(pumit__cpu_device *device, const pumit_matmul_args *p)
{
    const int suits = p->trans_b && p->m * p->n * p->k >= PRIMITIVE_PRODUCT;
    const pumit_status status = suits ? pumit__dnnl_matmul(device, p) : PUMIT_DECLINED;
    return status == PUMIT_DECLINED ? by_sgemm(p) : status;
}

/** The sgemm interfaces take 32-bit sizes, and rows that do not overlap (but a single row may). */
static int fits(const pumit_matmul_args *p)
{
    const int64_t a_rows = p->trans_a ? p->k : p->m, a_width = p->trans_a ? p->m : p->k;
    const int64_t b_rows = p->trans_b ? p->n : p->k, b_width = p->trans_b ? p->k : p->n;
    return p->m <= INT_MAX && p->n <= INT_MAX && p->k <= INT_MAX && p->lda <= INT_MAX &&
           p->ldb <= INT_MAX && p->ldc <= INT_MAX && (a_rows <= 1 || p->lda >= a_width) &&
           (b_rows <= 1 || p->ldb >= b_width) && (p->m <= 1 || p->ldc >= p->n);
}

/** Rows `first` .. `first` + `count` of b as stored, in f32 and packed. */
static pumit_status widen(pumit__cpu_device *device, const pumit_matmul_args *p, int64_t first,
                          int64_t count, float *wide)
{
    const int64_t width = p->trans_b ? p->k : p->n;
    const int64_t together = p->ldb == width ? count : 1; /* rows without gaps are one */
    const uint16_t *from = (const uint16_t *)p->b + first * p->ldb;
    pumit_status status = PUMIT_OK;
    for (int64_t i = 0; i < count && status == PUMIT_OK; i += together) {
        const pumit_copy_args copy = {.src = from + i * p->ldb,
                                      .dst = wide + i * width,
                                      .src_dtype = p->b_dtype,
                                      .dst_dtype = PUMIT_F32,
                                      .ndim = 1,
                                      .shape = {together * width},
                                      .src_stride = {1},
                                      .dst_stride = {1}};
        status = pumit__cpu_chosen()->copy(device, &copy);
    }
    return status;
}

/** b in 16 bits, a block of its stored rows at a time: these are columns of c, or a part of the sum over k. */
static pumit_status widened(pumit__cpu_device *device, const pumit_matmul_args *p)
{
    const int64_t rows = p->trans_b ? p->n : p->k, width = p->trans_b ? p->k : p->n;
    const int64_t fit = WIDE_BYTES / (width > 0 ? width : 1) / (int64_t)sizeof(float);
    const int64_t step = fit < 64 ? 64 : fit / 64 * 64, most = rows < step ? rows : step;
    float *wide = pumit__cpu_scratch_block(device, PUMIT__CPU_WIDE_BLOCK,
                                           most * width * (int64_t)sizeof(float));
    if (!wide && most * width > 0) return PUMIT_ERROR_OUT_OF_MEMORY;
    pumit_matmul_args part = *p;
    part.b_dtype = 0;
    part.b = wide;
    part.ldb = width;
    if (rows == 0) return product(device, &part);
    pumit_status status = PUMIT_OK;
    for (int64_t i = 0; i < rows && status == PUMIT_OK; i += step) {
        const int64_t count = rows - i < step ? rows - i : step;
        if (p->trans_b) {
            part.n = count;
            part.c = (float *)p->c + i;
            part.bias = p->bias ? (const float *)p->bias + i : NULL;
        } else {
            part.k = count;
            part.a = (const float *)p->a + i * (p->trans_a ? p->lda : 1);
            part.beta = i ? 1 : p->beta;
            part.bias = i ? NULL : p->bias;
        }
        status = widen(device, p, i, count, wide);
        if (status == PUMIT_OK) status = product(device, &part);
    }
    return status;
}

/** One product on the device's team, b in any type. */
static pumit_status any_product(pumit__cpu_device *device, const pumit_matmul_args *p)
{
    if (p->b_dtype == 0) return product(device, p);
    const pumit_status status = pumit__dnnl_matmul(device, p);
    return status == PUMIT_DECLINED ? widened(device, p) : status;
}

pumit_status pumit__cpu_matmul(pumit__cpu_device *device, const pumit_matmul_args *args)
{
    if (!fits(args)) return PUMIT_DECLINED;
    if (args->batch <= 0 || args->m <= 0 || args->n <= 0) return PUMIT_OK;
    pumit_status status = PUMIT_OK;
    const int64_t work = args->m * args->n * (args->k > 0 ? args->k : 1);
    if (args->batch >= device->threads && args->batch > 1 && work < SMALL_PRODUCT &&
        !args->b_dtype) {
#pragma omp parallel for schedule(static)                                                          \
    reduction(min                                                                                  \
              : status) if (work * args->batch >= PUMIT__CPU_SERIAL)
        for (int64_t i = 0; i < args->batch; i++) {
            const pumit_matmul_args one = item(args, i);
            const pumit_status result = by_sgemm(&one);
            status = result < status ? result : status;
        }
        return status;
    }
    for (int64_t i = 0; i < args->batch && status == PUMIT_OK; i++) {
        const pumit_matmul_args one = item(args, i);
        status = any_product(device, &one);
    }
    return status;
}
