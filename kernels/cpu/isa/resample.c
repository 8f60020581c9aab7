/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Resampling, separable: out[i] = product over axes of sums of weight(i, j) in[j]. Each axis has a
 * table of the run of inputs that an output reads. Backward is the same walk with transposed tables.
 */
#include "kernels/cpu/isa/isa.h"
#include "kernels/cpu/isa/math.h"

#include <omp.h>
#include <string.h>

/** For output i of one axis: inputs start[i] .. + count[i], weights from weight[i * most]. */
typedef struct {
    int64_t *start, *count, most;
    float *weight;
} axis_table;

/** The inputs of destination index t among S, and their weights; those beyond the fourth weigh as much as it. */
typedef struct {
    int64_t start, count;
    double weight[4];
} axis_run;

/** Keys' cubic kernel, A = -0.75. */
static double cubic(double x)
{
    if (x < 0) x = -x;
    if (x <= 1) return (1.25 * x - 2.25) * x * x + 1;
    return x < 2 ? ((-0.75 * x + 3.75) * x - 6) * x + 3 : 0;
}

/** What the kernel reads beyond an edge counts for the edge. */
static axis_run cubic_run(double at, int64_t S)
{
    const int64_t first = (int64_t)(at + 1) - 2; /* at > -1: the integer below it, less one */
    const int64_t start = first > 0 ? first : 0, last = least(first + 3, S - 1);
    axis_run run = {start, last - start + 1, {0}};
    for (int64_t j = first; j < first + 4; j++)
        run.weight[(j < start ? start : least(j, last)) - start] += cubic(at - (double)j);
    return run;
}

static axis_run run_of(int32_t kind, int64_t t, int64_t S, int64_t T)
{
    if (kind == PUMIT_RESAMPLE_AREA) {
        const int64_t start = t * S / T, end = ((t + 1) * S + T - 1) / T;
        const double share = 1 / (double)(end - start);
        return (axis_run){start, end - start, {share, share, share, share}};
    }
    if (kind == PUMIT_RESAMPLE_NEAREST_EXACT) return (axis_run){(2 * t + 1) * S / (2 * T), 1, {1}};
    const double at = ((double)t + 0.5) * (double)S / (double)T - 0.5, inside = at > 0 ? at : 0;
    if (kind == PUMIT_RESAMPLE_BICUBIC) return cubic_run(at, S);
    const int64_t start = least((int64_t)inside, S - 1);
    if (start == S - 1) return (axis_run){start, 1, {1}};
    return (axis_run){start, 2, {1 - (inside - (double)start), inside - (double)start}};
}

/** Most inputs of an output when `in` are read by `out` outputs, either way round. */
static int64_t most_inputs(int64_t in, int64_t out)
{
    return least(4 * in / out + 6, in);
}

static int64_t table_bytes(int64_t in, int64_t out)
{
    return out * (2 * (int64_t)sizeof(int64_t) + most_inputs(in, out) * (int64_t)sizeof(float)) +
           64;
}

/** Lays a table out in `memory`, which advances; all counts are 0. */
static axis_table place_table(char **memory, int64_t in, int64_t out)
{
    axis_table table = {.most = most_inputs(in, out)};
    table.start = (int64_t *)(void *)*memory;
    table.count = table.start + out;
    table.weight = (float *)(void *)(table.count + out);
    memset(table.count, 0, (size_t)out * sizeof *table.count);
    *memory += table_bytes(in, out) / 64 * 64;
    return table;
}

static void add_input(axis_table *table, int64_t out, int64_t in, double weight)
{
    if (table->count[out] == 0) table->start[out] = in;
    table->weight[out * table->most + table->count[out]++] = (float)weight;
}

/** Tables by destination index (forward) or by source index (backward). */
static void fill_table(axis_table *table, int32_t kind, int64_t S, int64_t T, int backward)
{
    for (int64_t t = 0; t < T; t++) {
        const axis_run run = run_of(kind, t, S, T);
        for (int64_t i = 0; i < run.count; i++) {
            const double weight = run.weight[least(i, 3)];
            if (backward) {
                add_input(table, run.start + i, t, weight);
            } else {
                add_input(table, t, run.start + i, weight);
            }
        }
    }
}

/** The input lines that output line (d, h) reads, by their weights, in `sum`; one alone is given as it is. Each has `width` floats. */
static const float *blend_lines(const axis_table table[3], int64_t in_height, const float *in,
                                int64_t d, int64_t h, int64_t width, float *restrict sum)
{
    const int64_t planes = table[0].count[d], lines = table[1].count[h];
    const float *outer = table[0].weight + d * table[0].most,
                *inner = table[1].weight + h * table[1].most;
    in += (table[0].start[d] * in_height + table[1].start[h]) * width;
    if (planes == 1 && lines == 1 && outer[0] * inner[0] == 1) return in;
    memset(sum, 0, (size_t)width * sizeof *sum);
    for (int64_t i = 0; i < planes; i++, in += in_height * width)
        for (int64_t j = 0; j < lines; j++) {
            const float weight = outer[i] * inner[j], *from = in + j * width;
#pragma omp simd
            for (int64_t k = 0; k < width; k++) sum[k] = multiply_add(weight, from[k], sum[k]);
        }
    return sum;
}

/** Output line `out` from a blended line. */
static void blend_points(const axis_table *table, const float *line, int64_t count,
                         int64_t channels, float *restrict out)
{
    for (int64_t w = 0; w < count; w++, out += channels) {
        const float *from = line + table->start[w] * channels,
                    *weight = table->weight + w * table->most;
        memset(out, 0, (size_t)channels * sizeof *out);
        for (int64_t k = 0; k < table->count[w]; k++, from += channels)
#pragma omp simd
            for (int64_t c = 0; c < channels; c++)
                out[c] = multiply_add(weight[k], from[c], out[c]);
    }
}

/** `sums`: a line for each thread. */
static void resample(const axis_table table[3], const int64_t in_size[3], const int64_t out_size[3],
                     const float *in, float *out, int64_t n, int64_t channels, float *sums)
{
    const int64_t lines = n * out_size[0] * out_size[1], width = in_size[2] * channels;
    const int64_t image = in_size[0] * in_size[1] * width;
#pragma omp parallel for schedule(static) if (lines * out_size[2] * channels >= PUMIT__CPU_SERIAL)
    for (int64_t line = 0; line < lines; line++) {
        const int64_t h = line % out_size[1], d = line / out_size[1] % out_size[0];
        const float *from = in + line / out_size[1] / out_size[0] * image;
        from =
            blend_lines(table, in_size[1], from, d, h, width, sums + omp_get_thread_num() * width);
        blend_points(&table[2], from, out_size[2], channels, out + line * out_size[2] * channels);
    }
}

static pumit_status run(pumit__cpu_device *device, const pumit_resample_args *args, int backward)
{
    const int64_t *S = args->src_size, *T = args->dst_size;
    const int64_t *in = backward ? T : S, *out = backward ? S : T;
    axis_table table[3];
    int64_t bytes = 0;
    for (int i = 0; i < 3; i++) {
        if (S[i] <= 0 || T[i] <= 0) return PUMIT_DECLINED;
        bytes += table_bytes(in[i], out[i]) + 64;
    }
    if (args->kind < PUMIT_RESAMPLE_AREA || args->kind > PUMIT_RESAMPLE_BICUBIC ||
        (args->kind == PUMIT_RESAMPLE_BICUBIC && S[0] != T[0]))
        return PUMIT_DECLINED;
    const int64_t line = in[2] * args->channels;
    bytes += device->threads * line * (int64_t)sizeof(float);
    char *memory = pumit__cpu_scratch(device, bytes);
    if (!memory) return PUMIT_ERROR_OUT_OF_MEMORY;
    for (int i = 0; i < 3; i++) {
        table[i] = place_table(&memory, in[i], out[i]);
        fill_table(&table[i], args->kind, S[i], T[i], backward);
    }
    resample(table, in, out, backward ? args->diff_dst : args->src,
             backward ? args->diff_src : args->dst, args->n, args->channels,
             (float *)(void *)memory);
    return PUMIT_OK;
}

pumit_status PUMIT__CPU_KERNEL(resample_forward)(pumit__cpu_device *device,
                                                 const pumit_resample_args *args)
{
    return run(device, args, 0);
}

pumit_status PUMIT__CPU_KERNEL(resample_backward)(pumit__cpu_device *device,
                                                  const pumit_resample_args *args)
{
    return run(device, args, 1);
}
