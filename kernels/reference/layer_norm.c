/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Layer normalisation (Ba, Kiros & Hinton 2016, arXiv 1607.06450) over the channels of each row:
 *   y = (x - mean) rstd w + b, rstd = 1 / sqrt(var + eps), var the biased variance.
 * With x^ = (x - mean) rstd and g = w dy, means taken over the row:
 *   dx = rstd (g - mean(g) - x^ mean(g x^)), dw += sum of dy x^ over rows, db += sum of dy over rows.
 */
#include "reference.h"

static void normalise_row(const pumit_layer_norm_args *args, int64_t r)
{
    const int64_t C = args->channels;
    const real *src = (const real *)args->src + r * C;
    const real *weight = args->weight, *bias = args->bias;
    real *dst = (real *)args->dst + r * C;
    double mean = 0, variance = 0;
    for (int64_t c = 0; c < C; c++) mean += src[c];
    mean /= (double)C;
    for (int64_t c = 0; c < C; c++) variance += (src[c] - mean) * (src[c] - mean);
    const double rstd = 1 / sqrt(variance / (double)C + args->eps);
    for (int64_t c = 0; c < C; c++) {
        dst[c] = (real)((src[c] - mean) * rstd * weight[c] + bias[c]);
    }
    ((real *)args->mean)[r] = (real)mean;
    ((real *)args->rstd)[r] = (real)rstd;
}

pumit_status NAME(layer_norm_forward)(void *device, const pumit_layer_norm_args *args)
{
#pragma omp parallel for num_threads(team(device, 3 * args->rows * args->channels))
    for (int64_t r = 0; r < args->rows; r++) normalise_row(args, r);
    return PUMIT_OK;
}

static void differentiate_row(const pumit_layer_norm_args *args, int64_t r)
{
    const int64_t C = args->channels;
    const real *src = (const real *)args->src + r * C, *weight = args->weight;
    const real *diff_dst = (const real *)args->diff_dst + r * C;
    real *diff_src = (real *)args->diff_src + r * C;
    const double mean = ((const real *)args->mean)[r], rstd = ((const real *)args->rstd)[r];
    double mean_g = 0, mean_gx = 0;
    for (int64_t c = 0; c < C; c++) {
        const double g = (double)diff_dst[c] * weight[c];
        mean_g += g;
        mean_gx += g * (src[c] - mean) * rstd;
    }
    mean_g /= (double)C;
    mean_gx /= (double)C;
    for (int64_t c = 0; c < C; c++) {
        const double g = (double)diff_dst[c] * weight[c];
        diff_src[c] = (real)(rstd * (g - mean_g - (src[c] - mean) * rstd * mean_gx));
    }
}

/* Adds the gradients by weight and bias of the channels c0 .. c0 + count - 1, at most BLOCK of them. */
static void differentiate_parameters(const pumit_layer_norm_args *args, int64_t c0, int64_t count)
{
    const real *mean = args->mean, *rstd = args->rstd;
    double by_weight[BLOCK] = {0}, by_bias[BLOCK] = {0};
    for (int64_t r = 0; r < args->rows; r++) {
        const real *src = (const real *)args->src + r * args->channels + c0;
        const real *diff_dst = (const real *)args->diff_dst + r * args->channels + c0;
        for (int64_t c = 0; c < count; c++) {
            by_weight[c] += diff_dst[c] * ((double)src[c] - mean[r]) * rstd[r];
            by_bias[c] += diff_dst[c];
        }
    }
    real *diff_weight = args->diff_weight, *diff_bias = args->diff_bias;
    for (int64_t c = 0; c < count; c++) {
        if (diff_weight != NULL) diff_weight[c0 + c] = (real)(diff_weight[c0 + c] + by_weight[c]);
        if (diff_bias != NULL) diff_bias[c0 + c] = (real)(diff_bias[c0 + c] + by_bias[c]);
    }
}

pumit_status NAME(layer_norm_backward)(void *device, const pumit_layer_norm_args *args)
{
    const int64_t work = 4 * args->rows * args->channels;
    if (args->diff_src != NULL) {
#pragma omp parallel for num_threads(team(device, work))
        for (int64_t r = 0; r < args->rows; r++) differentiate_row(args, r);
    }
    if (args->diff_weight == NULL && args->diff_bias == NULL) return PUMIT_OK;
#pragma omp parallel for num_threads(team(device, work))
    for (int64_t c = 0; c < args->channels; c += BLOCK) {
        differentiate_parameters(args, c, at_most(args->channels - c, BLOCK));
    }
    return PUMIT_OK;
}
