/* SPDX-License-Identifier: Apache-2.0 */
/* AdamW (Loshchilov & Hutter 2019), and the squared norm that gradient clipping needs. */
#include "kernels/cpu/isa/isa.h"
#include "kernels/cpu/isa/math.h"

#include <math.h>

typedef struct {
    float decay, beta1, beta2, rest1, rest2, rate, root, eps, grad_scale;
} adamw_factors;

static void adamw_piece(float *restrict param, const float *restrict grad, float *restrict exp_avg,
                        float *restrict exp_avg_sq, int64_t n, const adamw_factors *f)
{
    const float decay = f->decay, beta1 = f->beta1, beta2 = f->beta2, rest1 = f->rest1;
    const float rest2 = f->rest2, rate = f->rate, root = f->root, eps = f->eps;
    const float grad_scale = f->grad_scale;
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        const float g = grad_scale * grad[i];
        const float m = multiply_add(beta1, exp_avg[i], rest1 * g);
        const float v = multiply_add(beta2, exp_avg_sq[i], rest2 * g * g);
        exp_avg[i] = m;
        exp_avg_sq[i] = v;
        param[i] -= decay * param[i] + rate * m / multiply_add(sqrtf(v), root, eps);
    }
}

pumit_status PUMIT__CPU_KERNEL(adamw)(pumit__cpu_device *device, const pumit_adamw_args *args)
{
    (void)device;
    const double step = (double)args->step;
    const adamw_factors f = {.decay = (float)(args->lr * args->weight_decay),
                             .beta1 = (float)args->beta1,
                             .beta2 = (float)args->beta2,
                             .rest1 = (float)(1 - args->beta1),
                             .rest2 = (float)(1 - args->beta2),
                             .rate = (float)(args->lr / (1 - pow(args->beta1, step))),
                             .root = (float)(1 / sqrt(1 - pow(args->beta2, step))),
                             .eps = (float)args->eps,
                             .grad_scale = (float)args->grad_scale};
    const int64_t n = args->n;
    float *param = args->param, *exp_avg = args->exp_avg, *exp_avg_sq = args->exp_avg_sq;
    const float *grad = args->grad;
#pragma omp parallel for schedule(static) if (n * 4 >= PUMIT__CPU_SERIAL)
    for (int64_t i = 0; i < n; i += PUMIT__CPU_PIECE)
        adamw_piece(param + i, grad + i, exp_avg + i, exp_avg_sq + i,
                    least(PUMIT__CPU_PIECE, n - i), &f);
    return PUMIT_OK;
}

static double squares(const float *src, int64_t n)
{
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++) sum += (double)src[i] * (double)src[i];
    return sum;
}

pumit_status PUMIT__CPU_KERNEL(sum_squares)(pumit__cpu_device *device,
                                            const pumit_sum_squares_args *args)
{
    (void)device;
    const int64_t n = args->n;
    const float *src = args->src;
    double parts[PUMIT__CPU_PARTS] = {0}, sum = 0;
    const int64_t size = n / PUMIT__CPU_PARTS + 1;
#pragma omp parallel for schedule(static) if (n >= PUMIT__CPU_SERIAL)
    for (int64_t p = 0; p < PUMIT__CPU_PARTS; p++)
        if (p * size < n) parts[p] = squares(src + p * size, least(size, n - p * size));
    for (int64_t p = 0; p < PUMIT__CPU_PARTS; p++) sum += parts[p];
    float *dst = args->dst;
    dst[0] = (float)((double)dst[0] + sum);
    return PUMIT_OK;
}
