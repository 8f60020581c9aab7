/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rotary position embedding (Su et al. 2021, arXiv 2104.09864): the neighbours (2i, 2i + 1) of a head
 * turn by angle i of their token. The inverse, turning back, is also the gradient.
 */
#include "reference.h"

static void rotate_token(const pumit_rope_args *args, int64_t row, int64_t n, int64_t t)
{
    const int64_t half = args->head_dim / 2, token = (n * args->length + t) * row;
    const int64_t angles = n * args->angle_batch_stride + (t - args->skip) * half;
    const real *src = (const real *)args->src + token;
    const real *cosine = (const real *)args->cosine + angles;
    const real *sine = (const real *)args->sine + angles;
    real *dst = (real *)args->dst + token;
    for (int64_t h = 0; h < args->heads; h++) {
        for (int64_t i = 0; i < half; i++) {
            const int64_t at = h * args->head_dim + 2 * i;
            const double a = src[at], b = src[at + 1];
            const double c = cosine[i], s = args->inverse ? -sine[i] : sine[i];
            dst[at] = (real)(a * c - b * s);
            dst[at + 1] = (real)(b * c + a * s);
        }
    }
}

pumit_status NAME(rope)(void *device, const pumit_rope_args *args)
{
    const int64_t L = args->length, width = args->heads * args->head_dim, tokens = args->n * L;
    const int64_t row = args->row ? args->row : width;
    const real *src = args->src;
    real *dst = args->dst;
    if (args->head_dim % 2 != 0 || args->skip < 0) return PUMIT_ERROR_INVALID_ARGUMENT;
#pragma omp parallel for num_threads(team(device, tokens *width))
    for (int64_t i = 0; i < tokens; i++) {
        if (i % L >= args->skip) {
            rotate_token(args, row, i / L, i % L);
        } else if (src != dst) {
            memcpy(dst + i * row, src + i * row, (size_t)width * sizeof *dst);
        }
    }
    return PUMIT_OK;
}
