/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attention, backward. With p = exp(scale q k^T - lse) and delta = <dst, diff_dst> per query:
 * diff_v = p^T diff_dst, ds = p (diff_dst v^T - delta), diff_q = scale ds k, diff_k = scale ds^T q.
 * Each head is one thread's, and p is formed again block by block.
 */
#include "kernels/cpu/isa/attention.h"

#include <omp.h>

/** Working memory of one thread: a whole head's keys and values, and one block of queries. */
typedef struct {
    float *key, *diff_key, *diff_value;   /* (padded, width) */
    float *key_columns, *value_columns;   /* (key_blocks, dim, KEYS) */
    float *query, *diff_dst, *diff_query; /* (QUERIES, width); query is scaled */
    float *weights, *slopes;              /* (QUERIES, KEYS) */
    float lse[QUERIES], delta[QUERIES];
} backward_block;

static int64_t block_floats(const attention_shape *s)
{
    return s->padded * (3 * s->width + 2 * s->dim) + QUERIES * (3 * s->width + 2 * KEYS);
}

static void place_block(backward_block *b, const attention_shape *s, float *memory)
{
    const int64_t tokens = s->padded * s->width, queries = QUERIES * s->width;
    b->key = memory;
    b->diff_key = b->key + tokens;
    b->diff_value = b->diff_key + tokens;
    b->query = b->diff_value + tokens;
    b->diff_dst = b->query + queries;
    b->diff_query = b->diff_dst + queries;
    b->weights = b->diff_query + queries;
    b->slopes = b->weights + QUERIES * KEYS;
    b->key_columns = b->slopes + QUERIES * KEYS;
    b->value_columns = b->key_columns + s->padded * s->dim;
}

static void load_head(const pumit_attention_args *args, const attention_shape *s, backward_block *b,
                      int64_t offset)
{
    const float *k = (const float *)args->k + offset, *v = (const float *)args->v + offset;
    pack_rows(s, k, 0, s->length, 1.0f, b->key);
    for (int64_t block = 0; block < s->key_blocks; block++) {
        pack_transposed(s, k, block, b->key_columns + block * s->dim * KEYS);
        pack_transposed(s, v, block, b->value_columns + block * s->dim * KEYS);
    }
    memset(b->diff_key, 0, (size_t)(s->padded * s->width) * sizeof(float));
    memset(b->diff_value, 0, (size_t)(s->padded * s->width) * sizeof(float));
}

static void load_queries(const pumit_attention_args *args, const attention_shape *s,
                         backward_block *b, int64_t head, int64_t first, int64_t rows)
{
    const int64_t offset = head_offset(args, head);
    pack_rows(s, (const float *)args->q + offset, first, rows, (float)args->scale, b->query);
    pack_rows(s, (const float *)args->diff_dst + offset, first, rows, 1.0f, b->diff_dst);
    memset(b->diff_query, 0, (size_t)(rows * s->width) * sizeof(float));
    for (int64_t r = 0; r < rows; r++) {
        const float *dst = (const float *)args->dst + offset + (first + r) * s->row;
        const float *diff_dst = b->diff_dst + r * s->width;
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t c = 0; c < s->dim; c++) sum += dst[c] * diff_dst[c];
        b->delta[r] = sum;
        b->lse[r] = ((const float *)args->lse)[head * s->length + first + r];
    }
}

/** weights: scores -> p; slopes: diff_dst v^T -> ds. Zeros from `keys` to `used`. */
static void weigh_row(float *restrict weights, float *restrict slopes, int64_t keys, int64_t used,
                      float lse, float delta)
{
#pragma omp simd
    for (int64_t k = 0; k < keys; k++) {
        const float p = fast_exp(weights[k] - lse);
        weights[k] = p;
        slopes[k] = p * (slopes[k] - delta);
    }
    for (int64_t k = keys; k < used; k++) weights[k] = slopes[k] = 0;
}

static void add_keys(const attention_shape *s, backward_block *b, int64_t rows, int64_t block)
{
    const int64_t width = s->width, at = block * KEYS * width, columns = block * s->dim * KEYS;
    const int64_t count = least(KEYS, s->length - block * KEYS);
    const int64_t used = (count + LANES - 1) / LANES * LANES;
    block_product p = {.a = b->query,
                       .b = b->key_columns + columns,
                       .c = b->weights,
                       .m = rows,
                       .n = used,
                       .k = s->dim,
                       .a_row = width,
                       .a_col = 1,
                       .ldb = KEYS,
                       .ldc = KEYS};
    multiply_blocks(&p);
    p.a = b->diff_dst;
    p.b = b->value_columns + columns;
    p.c = b->slopes;
    multiply_blocks(&p);
    for (int64_t r = 0; r < rows; r++)
        weigh_row(b->weights + r * KEYS, b->slopes + r * KEYS, count, used, b->lse[r], b->delta[r]);
    block_product by_key = {.a = b->weights,
                            .b = b->diff_dst,
                            .c = b->diff_value + at,
                            .m = count,
                            .n = width,
                            .k = rows,
                            .a_row = 1,
                            .a_col = KEYS,
                            .ldb = width,
                            .ldc = width,
                            .add = 1};
    multiply_blocks(&by_key);
    by_key.a = b->slopes;
    by_key.b = b->query;
    by_key.c = b->diff_key + at;
    multiply_blocks(&by_key);
    const block_product by_query = {.a = b->slopes,
                                    .b = b->key + at,
                                    .c = b->diff_query,
                                    .m = rows,
                                    .n = width,
                                    .k = count,
                                    .a_row = KEYS,
                                    .a_col = 1,
                                    .ldb = width,
                                    .ldc = width,
                                    .add = 1};
    multiply_blocks(&by_query);
}

/** Tokens first .. first + rows of a head = scale x src (rows, width). */
static void unpack_rows(const attention_shape *s, const float *src, int64_t first, int64_t rows,
                        float scale, float *head)
{
    for (int64_t r = 0; r < rows; r++) {
        float *dst = head + (first + r) * s->row;
#pragma omp simd
        for (int64_t c = 0; c < s->dim; c++) dst[c] = scale * src[r * s->width + c];
    }
}

static void run_head(const pumit_attention_args *args, const attention_shape *s, backward_block *b,
                     int64_t head)
{
    const int64_t offset = head_offset(args, head);
    load_head(args, s, b, offset);
    for (int64_t first = 0; first < s->length; first += QUERIES) {
        const int64_t rows = least(QUERIES, s->length - first);
        load_queries(args, s, b, head, first, rows);
        for (int64_t block = 0; block < s->key_blocks; block++) add_keys(s, b, rows, block);
        unpack_rows(s, b->diff_query, first, rows, (float)args->scale,
                    (float *)args->diff_q + offset);
    }
    unpack_rows(s, b->diff_key, 0, s->length, 1.0f, (float *)args->diff_k + offset);
    unpack_rows(s, b->diff_value, 0, s->length, 1.0f, (float *)args->diff_v + offset);
}

pumit_status PUMIT__CPU_KERNEL(attention_backward)(pumit__cpu_device *device,
                                                   const pumit_attention_args *args)
{
    const attention_shape s = shape_of_attention(args);
    const int64_t heads = args->n * args->heads;
    if (heads <= 0 || s.length <= 0 || s.dim <= 0) return PUMIT_DECLINED;
    float *scratch =
        pumit__cpu_scratch(device, device->threads * block_floats(&s) * (int64_t)sizeof(float));
    if (!scratch) return PUMIT_ERROR_OUT_OF_MEMORY;
#pragma omp parallel if (heads * s.length * s.length * s.dim >= PUMIT__CPU_SERIAL)
    {
        backward_block b;
        place_block(&b, &s, scratch + omp_get_thread_num() * block_floats(&s));
#pragma omp for schedule(dynamic)
        for (int64_t head = 0; head < heads; head++) run_head(args, &s, &b, head);
    }
    return PUMIT_OK;
}
