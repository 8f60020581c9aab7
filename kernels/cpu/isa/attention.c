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

/** One block of keys: scores, weights, and their sum of values. */
static void add_keys(const attention_shape *s, forward_block *b, int64_t rows, int64_t block,
                     const float *keys, const float *values)
{
    const int64_t count = least(KEYS, s->length - block * KEYS);
    const int64_t used = (count + LANES - 1) / LANES * LANES;
    const block_product scores = {.a = b->query,
                                  .b = keys + block * s->dim * KEYS,
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
                               .b = values + block * KEYS * s->width,
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
                        forward_block *b, int64_t head, int64_t first, const float *keys,
                        const float *values)
{
    const int64_t rows = least(QUERIES, s->length - first), offset = head_offset(args, head);
    pack_rows(s, (const float *)args->q + offset, first, rows, (float)args->scale, b->query);
    memset(b->sums, 0, (size_t)(rows * s->width) * sizeof(float));
    for (int64_t r = 0; r < rows; r++) {
        b->most[r] = -INFINITY;
        b->total[r] = (lanes){0};
    }
    for (int64_t block = 0; block < s->key_blocks; block++)
        add_keys(s, b, rows, block, keys, values);
    float *lse = (float *)args->lse + head * s->length + first;
    for (int64_t r = 0; r < rows; r++) {
        float *dst = (float *)args->dst + offset + (first + r) * s->row;
        const float *sums = b->sums + r * s->width, total = lanes_sum(b->total[r]);
        const float factor = 1.0f / total;
#pragma omp simd
        for (int64_t c = 0; c < s->dim; c++) dst[c] = factor * sums[c];
        lse[r] = b->most[r] + logf(total);
    }
}

pumit_status PUMIT__CPU_KERNEL(attention_forward)(pumit__cpu_device *device,
                                                  const pumit_attention_args *args)
{
    const attention_shape s = shape_of_attention(args);
    const int64_t heads = args->n * args->heads;
    if (heads <= 0 || s.length <= 0 || s.dim <= 0) return PUMIT_DECLINED;
    const int64_t key_floats = s.dim * s.padded, value_floats = s.width * s.padded;
    const int64_t own_floats = QUERIES * (2 * s.width + KEYS);
    float *scratch = pumit__cpu_scratch(
        device, (heads * (key_floats + value_floats) + device->threads * own_floats) *
                    (int64_t)sizeof(float));
    if (!scratch) return PUMIT_ERROR_OUT_OF_MEMORY;
    float *values = scratch, *keys = values + heads * value_floats;
#pragma omp parallel if (heads * s.length * s.length * s.dim >= PUMIT__CPU_SERIAL)
    {
        forward_block b;
        b.query = keys + heads * key_floats + omp_get_thread_num() * own_floats;
        b.sums = b.query + QUERIES * s.width;
        b.scores = b.sums + QUERIES * s.width;
#pragma omp for schedule(static)
        for (int64_t i = 0; i < heads * s.key_blocks; i++) {
            const int64_t head = i / s.key_blocks, block = i % s.key_blocks;
            const int64_t offset = head_offset(args, head);
            pack_transposed(&s, (const float *)args->k + offset, block,
                            keys + head * key_floats + block * s.dim * KEYS);
            pack_rows(&s, (const float *)args->v + offset, block * KEYS,
                      least(KEYS, s.length - block * KEYS), 1.0f,
                      values + head * value_floats + block * KEYS * s.width);
        }
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < heads * s.query_blocks; i++) {
            const int64_t head = i / s.query_blocks;
            run_queries(args, &s, &b, head, i % s.query_blocks * QUERIES, keys + head * key_floats,
                        values + head * value_floats);
        }
    }
    return PUMIT_OK;
}
