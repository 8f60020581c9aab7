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
                      const attention_head *head)
{
    const float *k = (const float *)args->k + head->in, *v = (const float *)args->v + head->in;
    const size_t sums = (size_t)(head->length * s->width) * sizeof(float);
    pack_rows(s, k, s->row, head->length, 1.0f, b->key);
    pack_transposed(s, k, head->length, b->key_columns);
    pack_transposed(s, v, head->length, b->value_columns);
    memset(b->diff_key, 0, sums);
    memset(b->diff_value, 0, sums);
}

static void load_queries(const pumit_attention_args *args, const attention_shape *s,
                         backward_block *b, const attention_head *head, int64_t first, int64_t rows)
{
    const float *q = (const float *)args->q + head->in + first * s->row;
    const int64_t out = head->out + first * s->packed;
    pack_rows(s, q, s->row, rows, (float)args->scale, b->query);
    pack_rows(s, (const float *)args->diff_dst + out, s->packed, rows, 1.0f, b->diff_dst);
    memset(b->diff_query, 0, (size_t)(rows * s->width) * sizeof(float));
    for (int64_t r = 0; r < rows; r++) {
        const float *dst = (const float *)args->dst + out + r * s->packed;
        const float *diff_dst = b->diff_dst + r * s->width;
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t c = 0; c < s->dim; c++) sum += dst[c] * diff_dst[c];
        b->delta[r] = sum;
        b->lse[r] = ((const float *)args->lse)[head->lse + first + r];
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

/** What one block of `count` keys gives to its own gradients and to that of the queries. */
static void add_keys(const attention_shape *s, backward_block *b, int64_t rows, int64_t block,
                     int64_t count)
{
    const int64_t width = s->width, at = block * KEYS * width, columns = block * s->dim * KEYS;
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

/** Tokens from `dst` on = scale x src (rows, width). */
static void unpack_rows(const attention_shape *s, const float *src, int64_t rows, float scale,
                        float *dst)
{
    for (int64_t r = 0; r < rows; r++, src += s->width, dst += s->row) {
#pragma omp simd
        for (int64_t c = 0; c < s->dim; c++) dst[c] = scale * src[c];
    }
}

static void run_head(const pumit_attention_args *args, const attention_shape *s, backward_block *b,
                     const attention_head *head)
{
    float *diff_q = (float *)args->diff_q + head->in;
    load_head(args, s, b, head);
    for (int64_t first = 0; first < head->length; first += QUERIES) {
        const int64_t rows = least(QUERIES, head->length - first);
        load_queries(args, s, b, head, first, rows);
        for (int64_t block = 0; block < head->key_blocks; block++)
            add_keys(s, b, rows, block, least(KEYS, head->length - block * KEYS));
        unpack_rows(s, b->diff_query, rows, (float)args->scale, diff_q + first * s->row);
    }
    unpack_rows(s, b->diff_key, head->length, 1.0f, (float *)args->diff_k + head->in);
    unpack_rows(s, b->diff_value, head->length, 1.0f, (float *)args->diff_v + head->in);
}

pumit_status PUMIT__CPU_KERNEL(attention_backward)(pumit__cpu_device *device,
                                                   const pumit_attention_args *args)
{
    attention_shape s = shape_of_attention(args);
    const int64_t heads = args->n * args->heads;
    if (heads <= 0 || s.longest <= 0 || s.dim <= 0) return PUMIT_DECLINED;
    char *scratch = pumit__cpu_scratch(
        device, order_bytes(args) + device->threads * block_floats(&s) * (int64_t)sizeof(float));
    if (!scratch) return PUMIT_ERROR_OUT_OF_MEMORY;
    order_sequences(args, &s, (attention_sequence *)(void *)scratch);
    float *blocks = (float *)(void *)(scratch + order_bytes(args));
#pragma omp parallel if (s.work * (double)s.dim >= PUMIT__CPU_SERIAL)
    {
        backward_block b;
        place_block(&b, &s, blocks + omp_get_thread_num() * block_floats(&s));
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < heads; i++) {
            const attention_head head = head_of(args, &s, i);
            run_head(args, &s, &b, &head);
        }
    }
    return PUMIT_OK;
}
