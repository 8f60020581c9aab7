/* SPDX-License-Identifier: Apache-2.0 */
/* Rotary position embedding (Su et al. 2021): neighbours (2i, 2i+1) of each head turn by angle i. */
#include "kernels/cpu/isa/isa.h"

#include <string.h>

/** Rotates all heads of one token; `sign` is -1 for the inverse. src may be dst. */
static void rotate(const float *src, const float *cosine, const float *sine, float *dst,
                   int64_t heads, int64_t head_dim, float sign)
{
    for (int64_t h = 0; h < heads; h++) {
        const float *from = src + h * head_dim;
        float *to = dst + h * head_dim;
#pragma omp simd
        for (int64_t i = 0; i < head_dim / 2; i++) {
            const float a = from[2 * i], b = from[2 * i + 1];
            const float c = cosine[i], s = sign * sine[i];
            to[2 * i] = a * c - b * s;
            to[2 * i + 1] = b * c + a * s;
        }
    }
}

pumit_status PUMIT__CPU_KERNEL(rope)(pumit__cpu_device *device, const pumit_rope_args *args)
{
    (void)device;
    if (args->head_dim % 2) return PUMIT_DECLINED;
    const int64_t length = args->length, width = args->heads * args->head_dim, skip = args->skip;
    const int64_t row = args->row ? args->row : width;
    const int64_t tokens = args->n * length, half = args->head_dim / 2;
    const float *src = args->src, *cosine = args->cosine, *sine = args->sine;
    const float sign = args->inverse ? -1.0f : 1.0f;
    float *dst = args->dst;
#pragma omp parallel for schedule(static) if (tokens * width >= PUMIT__CPU_SERIAL)
    for (int64_t t = 0; t < tokens; t++) {
        const int64_t n = t / length, l = t % length;
        if (l >= skip) {
            const int64_t at = n * args->angle_batch_stride + (l - skip) * half;
            rotate(src + t * row, cosine + at, sine + at, dst + t * row, args->heads,
                   args->head_dim, sign);
        } else if (src != dst) {
            memcpy(dst + t * row, src + t * row, (size_t)width * sizeof *dst);
        }
    }
    return PUMIT_OK;
}
