/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Wang et al. 2004, with uniform windows of 7 x 7 inside the picture and sample (co)variances s, which divide by 48:
 *   SSIM = (2 ma mb + C1) (2 sab + C2) / ((ma^2 + mb^2 + C1) (saa + sbb + C2)),  C1 = 0.01^2, C2 = 0.03^2,
 * averaged over all windows.
 */
#include "lib/train/ssim.h"

#include <math.h>
#include <stdlib.h>

#define SIDE 7

/* Sums over a window, or a column of it: a, b, a a, b b, a b. */
typedef struct {
    double sum[5];
} moments;

static void add(moments *m, double a, double b, double sign)
{
    m->sum[0] += sign * a;
    m->sum[1] += sign * b;
    m->sum[2] += sign * a * a;
    m->sum[3] += sign * b * b;
    m->sum[4] += sign * a * b;
}

static double similarity(const moments *m)
{
    const double n = SIDE * SIDE, c1 = 0.01 * 0.01, c2 = 0.03 * 0.03;
    const double ma = m->sum[0] / n, mb = m->sum[1] / n;
    const double saa = (m->sum[2] - n * ma * ma) / (n - 1),
                 sbb = (m->sum[3] - n * mb * mb) / (n - 1),
                 sab = (m->sum[4] - n * ma * mb) / (n - 1);
    return (2 * ma * mb + c1) * (2 * sab + c2) / ((ma * ma + mb * mb + c1) * (saa + sbb + c2));
}

static double mean_of(const float *pixel, int64_t C)
{
    double sum = 0;
    for (int64_t c = 0; c < C; c++) sum += pixel[c];
    return sum / (double)C;
}

/* The sum of similarities of all windows of a row of them, given the sums of each column. */
static double along_row(const moments *column, int64_t W)
{
    double total = 0;
    for (int64_t left = 0; left + SIDE <= W; left++) {
        moments window = {{0}};
        for (int64_t w = left; w < left + SIDE; w++)
            for (int i = 0; i < 5; i++) window.sum[i] += column[w].sum[i];
        total += similarity(&window);
    }
    return total;
}

pumit_status pumit__ssim(double *out, const float *a, const float *b, int64_t H, int64_t W,
                         int64_t C)
{
    *out = NAN;
    if (H < SIDE || W < SIDE) return PUMIT_OK;
    moments *column = pumit__calloc(W, (int64_t)sizeof *column);
    if (!column) return pumit__fail_memory(W * (int64_t)sizeof *column, "similarity");
    double total = 0;
    for (int64_t h = 0; h < H; h++) {
        for (int64_t w = 0; w < W; w++) {
            const int64_t in = (h * W + w) * C, gone = in - SIDE * W * C;
            add(&column[w], mean_of(a + in, C), mean_of(b + in, C), 1);
            if (h >= SIDE) add(&column[w], mean_of(a + gone, C), mean_of(b + gone, C), -1);
        }
        if (h >= SIDE - 1) total += along_row(column, W);
    }
    *out = total / (double)((H - SIDE + 1) * (W - SIDE + 1));
    free(column);
    return PUMIT_OK;
}
