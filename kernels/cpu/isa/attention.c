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
    float *keys, *values;         /* of one head: (key_blocks, dim, KEYS), (padded, width) */
    int64_t packed;               /* which one */
    float *query, *sums, *scores; /* (QUERIES, width) scaled, (QUERIES, width), (QUERIES, KEYS) */
    float most[QUERIES];
    lanes total[QUERIES]; /* the denominator, to be summed over lanes */
} forward_block;

/**
 * Turns one row of scores into weights relative to its new maximum, which goes to *most; gives what to
 * scale the earlier sums by. Scores from `keys` to `used`, whole vectors, count as -infinity.
 */
static inline float weigh_row(float *scores, int64_t keys, int64_t used, float *most, lanes *total)
{
    for (int64_t k = keys; k < used; k++) scores[k] = -INFINITY;
    lanes peaks = load_lanes(scores), sum = {0};
    for (int64_t k = LANES; k < used; k += LANES) peaks = lanes_max(peaks, load_lanes(scores + k));
    const float highest = lanes_largest(peaks), peak = highest > *most ? highest : *most;
    for (int64_t k = 0; k < used; k += LANES) {
#pragma omp simd
        for (int64_t i = k; i < k + LANES; i++) scores[i] = fast_exp(scores[i] - peak);
        sum += load_lanes(scores + k);
    }
    const float before = fast_exp(*most - peak);
    *most = peak;
    *total = *total * before + sum;
    return before;
}

/** One block of `count` keys: scores, weights, and their sum of values. */
static void add_keys(const attention_shape *s, forward_block *b, int64_t rows, int64_t block,
                     int64_t count)
{
    const int64_t used = (count + LANES - 1) / LANES * LANES;
    const block_product scores = {.a = b->query,
                                  .b = b->keys + block * s->dim * KEYS,
                                  .c = b->scores,
                                  .m = rows,
                                  .n = used,
                                  .k = s->dim,
                                  .a_row = s->width,
                                  .a_col = 1,
                                  .ldb = KEYS,
                                  .ldc = KEYS};
    multiply_blocks(&scores);
    for (int64_t r = 0; r < rows; r++) {
        float *sums = b->sums + r * s->width;
        const float before =
            weigh_row(b->scores + r * KEYS, count, used, &b->most[r], &b->total[r]);
        if (before == 1) continue;
#pragma omp simd
        for (int64_t c = 0; c < s->width; c++) sums[c] *= before;
    }
    const block_product mix = {.a = b->scores,
                               .b = b->values + block * KEYS * s->width,
                               .c = b->sums,
                               .m = rows,
                               .n = s->width,
                               .k = count,
                               .a_row = KEYS,
                               .a_col = 1,
                               .ldb = s->width,
                               .ldc = s->width,
                               .add = 1};
    multiply_blocks(&mix);
}

/** All keys for queries first .. of one head. */
static void run_queries(const pumit_attention_args *args, const attention_shape *s,
                        forward_block *b, const attention_head *head, int64_t first)
{
    const int64_t rows = least(QUERIES, head->length - first);
    const float *q = (const float *)args->q + head->in + first * s->row;
    pack_rows(s, q, s->row, rows, (float)args->scale, b->query);
    memset(b->sums, 0, (size_t)(rows * s->width) * sizeof(float));
    for (int64_t r = 0; r < rows; r++) {
        b->most[r] = -INFINITY;
        b->total[r] = (lanes){0};
    }
    for (int64_t block = 0; block < head->key_blocks; block++)
        add_keys(s, b, rows, block, least(KEYS, head->length - block * KEYS));
    float *lse = (float *)args->lse + head->lse + first;
    for (int64_t r = 0; r < rows; r++) {
        float *dst = (float *)args->dst + head->out + (first + r) * s->packed;
        const float *sums = b->sums + r * s->width, total = lanes_sum(b->total[r]);
        const float factor = 1.0f / total;
#pragma omp simd
        for (int64_t c = 0; c < s->dim; c++) dst[c] = factor * sums[c];
        lse[r] = b->most[r] + logf(total);
    }
}

static int64_t block_floats(const attention_shape *s)
{
    return s->padded * (s->dim + s->width) + QUERIES * (2 * s->width + KEYS);
}

static void place_block(forward_block *b, const attention_shape *s, float *memory)
{
    b->values = memory;
    b->query = b->values + s->padded * s->width;
    b->sums = b->query + QUERIES * s->width;
    b->scores = b->sums + QUERIES * s->width;
    b->keys = b->scores + QUERIES * KEYS;
    b->packed = -1;
}

/** Queries first .. end of head number `index`. A head's keys are packed by each thread that meets it. */
static void run_part(const pumit_attention_args *args, const attention_shape *s, forward_block *b,
                     int64_t index, int64_t first, int64_t count)
{
    const attention_head head = head_of(args, s, index);
    const int64_t end = least(first + count, head.length);
    if (first < end && b->packed != index) {
        pack_transposed(s, (const float *)args->k + head.in, head.length, b->keys);
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
    return QUERIES * (blocks < 4 ? 4 : least(blocks, 16));
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
