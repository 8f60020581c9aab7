/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Scaled dot-product attention (Vaswani et al. 2017, arXiv 1706.03762) of each head of each sequence:
 *   s_ij = scale <q_i, k_j>, lse_i = ln sum_j exp(s_ij), p_ij = exp(s_ij - lse_i), o_i = sum_j p_ij v_j
 * and with dp_ij = <do_i, v_j>, ds_ij = p_ij (dp_ij - sum_j p_ij dp_ij):
 *   dq_i = scale sum_j ds_ij k_j, dk_j = scale sum_i ds_ij q_i, dv_j = sum_i p_ij do_i.
 * The backward pass reads lse but not dst.
 */
#include "reference.h"

#include <omp.h>
#include <stdlib.h>

/* One head of one sequence. */
typedef struct {
    int64_t length, in, out, lse; /* where its first token lies in q, k, v; in dst; in lse */
    int64_t row, packed;          /* distance between tokens in q, k, v; in dst */
} head;

/* Head number `index` of all n x heads. */
static head head_of(const pumit_attention_args *args, int64_t index)
{
    const int64_t n = index / args->heads, h = index % args->heads;
    const int64_t packed = args->heads * args->head_dim;
    head of = {.length = args->length,
               .row = args->row ? args->row : packed,
               .packed = packed,
               .lse = index * args->length};
    int64_t first = n * args->length;
    if (args->offsets) {
        first = args->offsets[n];
        of.length = args->offsets[n + 1] - first;
        of.lse = h * args->offsets[args->n] + first;
    }
    of.in = first * of.row + h * args->head_dim;
    of.out = first * packed + h * args->head_dim;
    return of;
}

/* dst += factor row, both head_dim long. */
static void add_scaled(double *dst, double factor, const real *row, int64_t head_dim)
{
    for (int64_t c = 0; c < head_dim; c++) dst[c] += factor * row[c];
}

static void store_row(real *dst, double factor, const double *row, int64_t head_dim)
{
    for (int64_t c = 0; c < head_dim; c++) dst[c] = (real)(factor * row[c]);
}

/* Query `i` of a head. scratch: length + head_dim. */
static void attend(const pumit_attention_args *args, head of, int64_t i, double *scratch)
{
    const int64_t L = of.length, E = args->head_dim;
    const real *q = (const real *)args->q + of.in + i * of.row;
    const real *k = (const real *)args->k + of.in, *v = (const real *)args->v + of.in;
    double *score = scratch, *row = scratch + L;
    double max = -INFINITY, sum = 0;
    for (int64_t j = 0; j < L; j++) {
        score[j] = args->scale * dot(q, k + j * of.row, E);
        max = score[j] > max ? score[j] : max;
    }
    memset(row, 0, (size_t)E * sizeof *row);
    for (int64_t j = 0; j < L; j++) {
        const double weight = exp(score[j] - max);
        sum += weight;
        add_scaled(row, weight, v + j * of.row, E);
    }
    store_row((real *)args->dst + of.out + i * of.packed, 1 / sum, row, E);
    ((real *)args->lse)[of.lse + i] = (real)(max + log(sum));
}

pumit_status NAME(attention_forward)(void *device, const pumit_attention_args *args)
{
    const int64_t L = args->length, E = args->head_dim, heads = args->n * args->heads;
    const int threads = team(device, heads * L * L * E);
    const size_t each = (size_t)(L + E);
    double *scratch = malloc((size_t)threads * each * sizeof *scratch);
    if (scratch == NULL) return PUMIT_ERROR_OUT_OF_MEMORY;
#pragma omp parallel for num_threads(threads)
    for (int64_t r = 0; r < heads * L; r++) {
        const head of = head_of(args, r / L);
        if (r % L < of.length) {
            attend(args, of, r % L, scratch + (size_t)omp_get_thread_num() * each);
        }
    }
    free(scratch);
    return PUMIT_OK;
}

/* What one head's backward pass gathers, in doubles. */
typedef struct {
    double *p, *dp, *diff_q, *diff_k, *diff_v; /* L, L, E, L x E, L x E */
} head_gradients;

static size_t head_scratch(int64_t L, int64_t E)
{
    return (size_t)(2 * L + E + 2 * L * E);
}

/* The share of query `i` in all three gradients. */
static void differentiate_query(const pumit_attention_args *args, head_gradients g, head of,
                                int64_t i)
{
    const int64_t L = of.length, E = args->head_dim;
    const double lse = ((const real *)args->lse)[of.lse + i];
    const real *q = (const real *)args->q + of.in + i * of.row;
    const real *diff_dst = (const real *)args->diff_dst + of.out + i * of.packed;
    const real *k = (const real *)args->k + of.in, *v = (const real *)args->v + of.in;
    double mean = 0;
    for (int64_t j = 0; j < L; j++) {
        g.p[j] = exp(args->scale * dot(q, k + j * of.row, E) - lse);
        g.dp[j] = dot(diff_dst, v + j * of.row, E);
        mean += g.p[j] * g.dp[j];
    }
    memset(g.diff_q, 0, (size_t)E * sizeof *g.diff_q);
    for (int64_t j = 0; j < L; j++) {
        const double ds = g.p[j] * (g.dp[j] - mean);
        add_scaled(g.diff_q, ds, k + j * of.row, E);
        add_scaled(g.diff_k + j * E, ds, q, E);
        add_scaled(g.diff_v + j * E, g.p[j], diff_dst, E);
    }
    store_row((real *)args->diff_q + of.in + i * of.row, args->scale, g.diff_q, E);
}

static void differentiate_head(const pumit_attention_args *args, head of, double *scratch)
{
    const int64_t L = of.length, E = args->head_dim;
    const head_gradients g = {.p = scratch,
                              .dp = scratch + L,
                              .diff_q = scratch + 2 * L,
                              .diff_k = scratch + 2 * L + E,
                              .diff_v = scratch + 2 * L + E + L * E};
    memset(g.diff_k, 0, (size_t)(2 * L * E) * sizeof *g.diff_k);
    for (int64_t i = 0; i < L; i++) differentiate_query(args, g, of, i);
    for (int64_t j = 0; j < L; j++) {
        const int64_t at = of.in + j * of.row;
        store_row((real *)args->diff_k + at, args->scale, g.diff_k + j * E, E);
        store_row((real *)args->diff_v + at, 1, g.diff_v + j * E, E);
    }
}

pumit_status NAME(attention_backward)(void *device, const pumit_attention_args *args)
{
    const int64_t L = args->length, E = args->head_dim, heads = args->n * args->heads;
    const int threads = team(device, 4 * heads * L * L * E);
    const size_t each = head_scratch(L, E);
    double *scratch = malloc((size_t)threads * each * sizeof *scratch);
    if (scratch == NULL) return PUMIT_ERROR_OUT_OF_MEMORY;
#pragma omp parallel for num_threads(threads)
    for (int64_t index = 0; index < heads; index++) {
        differentiate_head(args, head_of(args, index),
                           scratch + (size_t)omp_get_thread_num() * each);
    }
    free(scratch);
    return PUMIT_OK;
}
