/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SwiGLU (Shazeer 2020, arXiv 2002.05202): y = silu(g) u, silu(g) = g s with s = 1 / (1 + exp(-g)).
 *   dg = dy u s (1 + g (1 - s)), du = dy g s.
 */
#include "reference.h"

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

pumit_status NAME(swiglu_forward)(void *device, const pumit_swiglu_args *args)
{
    const real *gate = args->gate, *value = args->value;
    real *dst = args->dst;
#pragma omp parallel for num_threads(team(device, 8 * args->n))
    for (int64_t i = 0; i < args->n; i++) {
        dst[i] = (real)(gate[i] * sigmoid(gate[i]) * value[i]);
    }
    return PUMIT_OK;
}

pumit_status NAME(swiglu_backward)(void *device, const pumit_swiglu_args *args)
{
    const real *gate = args->gate, *value = args->value, *diff_dst = args->diff_dst;
    real *diff_gate = args->diff_gate, *diff_value = args->diff_value;
#pragma omp parallel for num_threads(team(device, 8 * args->n))
    for (int64_t i = 0; i < args->n; i++) {
        const double g = gate[i], s = sigmoid(g), not_s = sigmoid(-g);
        diff_gate[i] = (real)((double)diff_dst[i] * value[i] * s * (1 + g * not_s));
        diff_value[i] = (real)(diff_dst[i] * g * s);
    }
    return PUMIT_OK;
}
