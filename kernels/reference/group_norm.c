/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Group normalisation (Wu & He 2018, arXiv 1803.08494), channels last: as layer normalisation, mean and
 * variance being those of all positions and of channels / groups channels of one image.
 *   dx = rstd (g - mean(g) - x^ mean(g x^)), dw += sum of dy x^, db += sum of dy over images, positions.
 */
#include "reference.h"

/* One group of one image: its first element, the channels it spans, its statistics' place. */
typedef struct {
    int64_t first, channel, width, statistic;
} group_span;

static group_span span_of(const pumit_group_norm_args *args, int64_t statistic)
{
    const int64_t width = args->channels / args->groups;
    const int64_t image = statistic / args->groups, group = statistic % args->groups;
    const int64_t first = image * args->spatial * args->channels + group * width;
    return (group_span){first, group * width, width, statistic};
}

static void normalise_group(const pumit_group_norm_args *args, group_span g)
{
    const int64_t S = args->spatial, C = args->channels;
    const real *src = (const real *)args->src + g.first;
    const real *weight = (const real *)args->weight + g.channel;
    const real *bias = (const real *)args->bias + g.channel;
    real *dst = (real *)args->dst + g.first;
    double mean = 0, variance = 0;
    for (int64_t s = 0; s < S; s++) {
        for (int64_t c = 0; c < g.width; c++) mean += src[s * C + c];
    }
    mean /= (double)(S * g.width);
    for (int64_t s = 0; s < S; s++) {
        for (int64_t c = 0; c < g.width; c++) {
            variance += (src[s * C + c] - mean) * (src[s * C + c] - mean);
        }
    }
    const double rstd = 1 / sqrt(variance / (double)(S * g.width) + args->eps);
    for (int64_t s = 0; s < S; s++) {
        for (int64_t c = 0; c < g.width; c++) {
            dst[s * C + c] = (real)((src[s * C + c] - mean) * rstd * weight[c] + bias[c]);
        }
    }
    ((real *)args->mean)[g.statistic] = (real)mean;
    ((real *)args->rstd)[g.statistic] = (real)rstd;
}

static int groups_fit(const pumit_group_norm_args *args)
{
    return args->groups > 0 && args->channels % args->groups == 0;
}

pumit_status NAME(group_norm_forward)(void *device, const pumit_group_norm_args *args)
{
    if (!groups_fit(args)) return PUMIT_ERROR_INVALID_ARGUMENT;
#pragma omp parallel for num_threads(team(device, 3 * args->n * args->spatial * args->channels))
    for (int64_t i = 0; i < args->n * args->groups; i++) normalise_group(args, span_of(args, i));
    return PUMIT_OK;
}

static void differentiate_group(const pumit_group_norm_args *args, group_span g)
{
    const int64_t S = args->spatial, C = args->channels;
    const real *src = (const real *)args->src + g.first;
    const real *weight = (const real *)args->weight + g.channel;
    const real *diff_dst = (const real *)args->diff_dst + g.first;
    real *diff_src = (real *)args->diff_src + g.first;
    const double mean = ((const real *)args->mean)[g.statistic];
    const double rstd = ((const real *)args->rstd)[g.statistic];
    double mean_g = 0, mean_gx = 0;
    for (int64_t s = 0; s < S; s++) {
        for (int64_t c = 0; c < g.width; c++) {
            const double by_normal = (double)diff_dst[s * C + c] * weight[c];
            mean_g += by_normal;
            mean_gx += by_normal * (src[s * C + c] - mean) * rstd;
        }
    }
    mean_g /= (double)(S * g.width);
    mean_gx /= (double)(S * g.width);
    for (int64_t s = 0; s < S; s++) {
        for (int64_t c = 0; c < g.width; c++) {
            const double by_normal = (double)diff_dst[s * C + c] * weight[c];
            const double normal = (src[s * C + c] - mean) * rstd;
            diff_src[s * C + c] = (real)(rstd * (by_normal - mean_g - normal * mean_gx));
        }
    }
}

static void differentiate_channel(const pumit_group_norm_args *args, int64_t c)
{
    const int64_t S = args->spatial, C = args->channels;
    const real *src = args->src, *diff_dst = args->diff_dst;
    double by_weight = 0, by_bias = 0;
    for (int64_t n = 0; n < args->n; n++) {
        const int64_t statistic = n * args->groups + c / (C / args->groups);
        const double mean = ((const real *)args->mean)[statistic];
        const double rstd = ((const real *)args->rstd)[statistic];
        for (int64_t s = n * S; s < (n + 1) * S; s++) {
            by_weight += diff_dst[s * C + c] * (src[s * C + c] - mean) * rstd;
            by_bias += diff_dst[s * C + c];
        }
    }
    real *diff_weight = args->diff_weight, *diff_bias = args->diff_bias;
    if (diff_weight != NULL) diff_weight[c] = (real)(diff_weight[c] + by_weight);
    if (diff_bias != NULL) diff_bias[c] = (real)(diff_bias[c] + by_bias);
}

pumit_status NAME(group_norm_backward)(void *device, const pumit_group_norm_args *args)
{
    const int64_t work = 4 * args->n * args->spatial * args->channels;
    if (!groups_fit(args)) return PUMIT_ERROR_INVALID_ARGUMENT;
    if (args->diff_src != NULL) {
#pragma omp parallel for num_threads(team(device, work))
        for (int64_t i = 0; i < args->n * args->groups; i++) {
            differentiate_group(args, span_of(args, i));
        }
    }
    if (args->diff_weight == NULL && args->diff_bias == NULL) return PUMIT_OK;
#pragma omp parallel for num_threads(team(device, work))
    for (int64_t c = 0; c < args->channels; c++) differentiate_channel(args, c);
    return PUMIT_OK;
}
