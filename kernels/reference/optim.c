/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101), decay decoupled, bias-corrected:
 *   p -= lr decay p; m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2
 *   p -= lr m / (1 - b1^step) / (sqrt(v / (1 - b2^step)) + eps)
 */
#include "reference.h"

pumit_status NAME(adamw)(void *device, const pumit_adamw_args *args)
{
    real *param = args->param, *exp_avg = args->exp_avg, *exp_avg_sq = args->exp_avg_sq;
    const real *grad = args->grad;
    if (args->step < 1) return PUMIT_ERROR_INVALID_ARGUMENT;
    const double correction1 = 1 - pow(args->beta1, (double)args->step);
    const double correction2 = 1 - pow(args->beta2, (double)args->step);
#pragma omp parallel for num_threads(team(device, 8 * args->n))
    for (int64_t i = 0; i < args->n; i++) {
        const double g = args->grad_scale * grad[i];
        const double m = args->beta1 * exp_avg[i] + (1 - args->beta1) * g;
        const double v = args->beta2 * exp_avg_sq[i] + (1 - args->beta2) * g * g;
        const double step = m / correction1 / (sqrt(v / correction2) + args->eps);
        param[i] = (real)(param[i] * (1 - args->lr * args->weight_decay) - args->lr * step);
        exp_avg[i] = (real)m;
        exp_avg_sq[i] = (real)v;
    }
    return PUMIT_OK;
}
