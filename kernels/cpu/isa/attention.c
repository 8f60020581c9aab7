/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attention, forward: dst = softmax(scale q k^T) v without the length x length matrix. Blocks of queries run over
 * blocks of keys with a running maximum and denominator (Milakov & Gimelshein 2018, Dao et al. 2022).
 */
#include "kernels/cpu/isa/attention.h"

#include <math.h>
#include <omp.h>

/** Working memory of one thread. */
typedef struct {
    float *keys, *values;         /* of one head: (longest, width) */
    int64_t packed;               /* which one */
    float *query, *scores, *sums; /* (dim, QUERIES) scaled, (KEYS, QUERIES), (QUERIES, width) */
    float most[QUERIES], total[QUERIES]; /* running maximum and denominator of each query */
    float before[QUERIES];               /* what to scale its earlier sums by */
} forward_block;

/** Turns the scores of LANES queries with `keys` keys into weights relative to their new maximum. */
static inline void weigh_lanes(float *scores, int64_t keys, float *most, float *total,
                               float *before)
{
    lanes peak = load_lanes(most), sum = {0};
    for (int64_t k = 0; k < keys; k++) peak = lanes_max(peak, load_lanes(scores + k * QUERIES));
    for (int64_t k = 0; k < keys; k++) {
        float *row = scores + k * QUERIES;
        const lanes weight = lanes_exp(load_lanes(row) - peak);
        store_lanes(row, weight);
        sum += weight;
    }
    const lanes factor = lanes_exp(load_lanes(most) - peak);
    store_lanes(before, factor);
    store_lanes(most, peak);
    store_lanes(total, load_lanes(total) * factor + sum);
}

static void scale_sums(const attention_shape *s, forward_block *b, int64_t rows)
{
    for (int64_t r = 0; r < rows; r++) {
        float *sums = b->sums + r * s->width;
        const float before = b->before[r];
        if (before == 1) continue;
#pragma omp simd
        for (int64_t c = 0; c < s->width; c++) sums[c] *= before;
    }
}

/** Keys first .. first + count: scores, weights, and their sum of values. */
static void add_keys(const attention_shape *s, forward_block *b, int64_t rows, int64_t first,
                     int64_t count)
{
    const int64_t used = whole_lanes(rows);
    const block_product scores = {.a = b->keys + first * s->width,
                                  .b = b->query,
                                  .c = b->scores,
                                  .m = count,
                                  .n = used,
                                  .k = s->dim,
                                  .a_row = s->width,
                                  .a_col = 1,
                                  .ldb = QUERIES,
                                  .ldc = QUERIES};
    multiply_blocks(&scores);
    for (int64_t r = 0; r < used; r += LANES)
        weigh_lanes(b->scores + r, count, b->most + r, b->total + r, b->before + r);
    if (first > 0) scale_sums(s, b, rows);
    const block_product mix = {.a = b->scores,
                               .b = b->values + first * s->width,
                               .c = b->sums,
                               .m = rows,
                               .n = s->width,
                               .k = count,
                               .a_row = 1,
                               .a_col = QUERIES,
                               .ldb = s->width,
                               .ldc = s->width,
                               .add = first > 0};
    multiply_blocks(&mix);
}

/** All keys for queries first .. of one head. */
static void run_queries(const pumit_attention_args *args, const attention_shape *s,
                        forward_block *b, const attention_head *head, int64_t first)
{
    const int64_t rows = least(QUERIES, head->length - first);
    const float *q = (const float *)args->q + head->in + first * s->row;
    pack_columns(s, q, s->row, rows, (float)args->scale, b->query);
    for (int64_t r = 0; r < QUERIES; r++) {
        b->most[r] = -INFINITY;
        b->total[r] = 0;
    }
    for (int64_t key = 0; key < head->length; key += KEYS)
        add_keys(s, b, rows, key, least(KEYS, head->length - key));
    float *lse = (float *)args->lse + head->lse + first;
    for (int64_t r = 0; r < rows; r++) {
        float *dst = (float *)args->dst + head->out + (first + r) * s->packed;
        const float *sums = b->sums + r * s->width, factor = 1.0f / b->total[r];
#pragma omp simd
        for (int64_t c = 0; c < s->dim; c++) dst[c] = factor * sums[c];
        lse[r] = b->most[r] + logf(b->total[r]);
    }
}

static int64_t block_floats(const attention_shape *s)
{
    return 2 * s->longest * s->width + QUERIES * (s->width + s->dim + KEYS);
}

static void place_block(forward_block *b, const attention_shape *s, float *memory)
{
    b->keys = memory;
    b->values = b->keys + s->longest * s->width;
    b->sums = b->values + s->longest * s->width;
    b->scores = b->sums + QUERIES * s->width;
    b->query = b->scores + QUERIES * KEYS;
    b->packed = -1;
}

/** Queries first .. end of head number `index`. A head's keys are packed by each thread that meets it. */
static void run_part(const pumit_attention_args *args, const attention_shape *s, forward_block *b,
                     int64_t index, int64_t first, int64_t count)
{
    const attention_head head = head_of(args, s, index);
    const int64_t end = least(first + count, head.length);
    if (first < end && b->packed != index) {
        pack_rows(s, (const float *)args->k + head.in, s->row, head.length, 1.0f, b->keys);
        pack_rows(s, (const float *)args->v + head.in, s->row, head.length, 1.0f, b->values);
        b->packed = index;
    }
    for (int64_t q = first; q < end; q += QUERIES) run_queries(args, s, b, &head, q);
}

/** Queries that a thread takes at a time: a whole head, or less where there are few heads for the threads. */
static int64_t part_of(const attention_shape *s, int32_t threads)
{
    const double share = s->work / (4.0 * threads * (double)s->longest);
    const int64_t blocks = (int64_t)(share / QUERIES);
    return QUERIES * (blocks < 2 ? 2 : least(blocks, 16));
}

pumit_status PUMIT__CPU_KERNEL(attention_forward)(pumit__cpu_device *device,
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
    const int64_t count = part_of(&s, device->threads), parts = blocks_of(s.longest, count);
#pragma omp parallel if (s.work * (double)s.dim >= PUMIT__CPU_SERIAL)
    {
        forward_block b;
        place_block(&b, &s, blocks + omp_get_thread_num() * block_floats(&s));
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < heads * parts; i++)
            run_part(args, &s, &b, i / parts, i % parts * count, count);
    }
    return PUMIT_OK;
}
