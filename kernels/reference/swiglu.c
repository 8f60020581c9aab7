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

/* Where element i of dst lies in gate, value and their gradients. */
static int64_t spread(const pumit_swiglu_args *args, int64_t i)
{
    return args->row ? i / args->channels * args->row + i % args->channels : i;
}

pumit_status NAME(swiglu_forward)(void *device, const pumit_swiglu_args *args)
{
    const real *gate = args->gate, *value = args->value;
    real *dst = args->dst;
#pragma omp parallel for num_threads(team(device, 8 * args->n))
    for (int64_t i = 0; i < args->n; i++) {
        const int64_t at = spread(args, i);
        dst[i] = (real)(gate[at] * sigmoid(gate[at]) * value[at]);
    }
    return PUMIT_OK;
}

pumit_status NAME(swiglu_backward)(void *device, const pumit_swiglu_args *args)
{
    const real *gate = args->gate, *value = args->value, *diff_dst = args->diff_dst;
    real *diff_gate = args->diff_gate, *diff_value = args->diff_value;
#pragma omp parallel for num_threads(team(device, 8 * args->n))
    for (int64_t i = 0; i < args->n; i++) {
        const int64_t at = spread(args, i);
        const double g = gate[at], s = sigmoid(g), not_s = sigmoid(-g);
        diff_gate[at] = (real)((double)diff_dst[i] * value[at] * s * (1 + g * not_s));
        diff_value[at] = (real)(diff_dst[i] * g * s);
    }
    return PUMIT_OK;
}
