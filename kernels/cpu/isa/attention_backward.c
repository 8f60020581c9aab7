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
    float *key, *value, *diff_key, *diff_value; /* (longest, width) */
    float *query, *diff_dst, *diff_query;       /* (QUERIES, width); query is scaled */
    float *query_columns, *diff_dst_columns;    /* (dim, QUERIES) */
    float *weights, *slopes;                    /* (KEYS, QUERIES) */
    float lse[QUERIES], delta[QUERIES];
} backward_block;

static int64_t block_floats(const attention_shape *s)
{
    return 4 * s->longest * s->width + QUERIES * (3 * s->width + 2 * s->dim + 2 * KEYS);
}

static void place_block(backward_block *b, const attention_shape *s, float *memory)
{
    const int64_t tokens = s->longest * s->width, queries = QUERIES * s->width;
    b->key = memory;
    b->value = b->key + tokens;
    b->diff_key = b->value + tokens;
    b->diff_value = b->diff_key + tokens;
    b->query = b->diff_value + tokens;
    b->diff_dst = b->query + queries;
    b->diff_query = b->diff_dst + queries;
    b->weights = b->diff_query + queries;
    b->slopes = b->weights + QUERIES * KEYS;
    b->query_columns = b->slopes + QUERIES * KEYS;
    b->diff_dst_columns = b->query_columns + QUERIES * s->dim;
    memset(b->lse, 0, sizeof b->lse); /* lanes beyond the last query are computed, too */
    memset(b->delta, 0, sizeof b->delta);
}

static void load_queries(const pumit_attention_args *args, const attention_shape *s,
                         backward_block *b, const attention_head *head, int64_t first, int64_t rows)
{
    const float *q = (const float *)args->q + head->in + first * s->row;
    const float *diff_dst = (const float *)args->diff_dst + head->out + first * s->packed;
    const float *dst = (const float *)args->dst + head->out + first * s->packed;
    pack_rows(s, q, s->row, rows, (float)args->scale, b->query);
    pack_rows(s, diff_dst, s->packed, rows, 1.0f, b->diff_dst);
    pack_columns(s, b->query, s->width, rows, 1.0f, b->query_columns);
    pack_columns(s, b->diff_dst, s->width, rows, 1.0f, b->diff_dst_columns);
    for (int64_t r = 0; r < rows; r++, dst += s->packed, diff_dst += s->packed) {
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t c = 0; c < s->dim; c++) sum += dst[c] * diff_dst[c];
        b->delta[r] = sum;
        b->lse[r] = ((const float *)args->lse)[head->lse + first + r];
    }
}

/** weights: scores -> p; slopes: diff_dst v^T -> ds. */
static inline void weigh_row(float *restrict weights, float *restrict slopes, int64_t queries,
                             const float *restrict lse, const float *restrict delta)
{
    for (int64_t q = 0; q < queries; q += LANES) {
        const lanes p = lanes_exp(load_lanes(weights + q) - load_lanes(lse + q));
        store_lanes(weights + q, p);
        store_lanes(slopes + q, p * (load_lanes(slopes + q) - load_lanes(delta + q)));
    }
}

/** p and ds of keys first .. first + count. */
static void find_slopes(const attention_shape *s, backward_block *b, int64_t rows, int64_t first,
                        int64_t count)
{
    const int64_t used = whole_lanes(rows);
    block_product p = {.a = b->key + first * s->width,
                       .b = b->query_columns,
                       .c = b->weights,
                       .m = count,
                       .n = used,
                       .k = s->dim,
                       .a_row = s->width,
                       .a_col = 1,
                       .ldb = QUERIES,
                       .ldc = QUERIES};
    multiply_blocks(&p);
    p.a = b->value + first * s->width;
    p.b = b->diff_dst_columns;
    p.c = b->slopes;
    multiply_blocks(&p);
    for (int64_t k = 0; k < count; k++)
        weigh_row(b->weights + k * QUERIES, b->slopes + k * QUERIES, used, b->lse, b->delta);
}

/** What keys first .. first + count give to their own gradients and to that of the queries. */
static void add_keys(const attention_shape *s, backward_block *b, int64_t rows, int64_t first,
                     int64_t count, int first_queries)
{
    const int64_t width = s->width, at = first * width;
    find_slopes(s, b, rows, first, count);
    block_product by_key = {.a = b->weights,
                            .b = b->diff_dst,
                            .c = b->diff_value + at,
                            .m = count,
                            .n = width,
                            .k = rows,
                            .a_row = QUERIES,
                            .a_col = 1,
                            .ldb = width,
                            .ldc = width,
                            .add = !first_queries};
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
                                    .a_row = 1,
                                    .a_col = QUERIES,
                                    .ldb = width,
                                    .ldc = width,
                                    .add = first > 0};
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
    pack_rows(s, (const float *)args->k + head->in, s->row, head->length, 1.0f, b->key);
    pack_rows(s, (const float *)args->v + head->in, s->row, head->length, 1.0f, b->value);
    for (int64_t first = 0; first < head->length; first += QUERIES) {
        const int64_t rows = least(QUERIES, head->length - first);
        load_queries(args, s, b, head, first, rows);
        for (int64_t key = 0; key < head->length; key += KEYS)
            add_keys(s, b, rows, key, least(KEYS, head->length - key), first == 0);
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
