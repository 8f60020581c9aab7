/* SPDX-License-Identifier: Apache-2.0 */
/* What worse scanners do to an image: blur, noise, fewer voxels. */
#include "lib/data/degrade.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

Suite *suite_degrade(void);

static const bool ALL[3] = {true, true, true}, NONE[3] = {false, false, false},
                  ROWS[3] = {false, false, true};

/* Sum of 1, no shift, the deviation that was asked for, but for what is cut off beyond three of it. */
START_TEST(blurs_are_gaussians)
{
    enum { N = 15, COUNT = N * N * N };
    static float values[COUNT], scratch[COUNT];
    const int64_t size[3] = {N, N, N};
    memset(values, 0, sizeof values);
    values[COUNT / 2] = 1;
    pumit__blur(values, scratch, size, 1, 1.2, ALL);
    double sum = 0, mean[3] = {0}, variance[3] = {0};
    for (int i = 0; i < COUNT; i++) {
        const int at[3] = {i / (N * N), i / N % N, i % N};
        sum += values[i];
        for (int k = 0; k < 3; k++) {
            mean[k] += values[i] * at[k];
            variance[k] += values[i] * (at[k] - 7) * (at[k] - 7);
        }
    }
    ck_assert_double_eq_tol(sum, 1, 1e-5);
    for (int k = 0; k < 3; k++) {
        ck_assert_double_eq_tol(mean[k], 7, 1e-5);
        ck_assert_double_eq_tol(variance[k], 1.44, 0.03);
    }
    ck_assert_float_eq_tol(values[COUNT / 2 + 1] / values[COUNT / 2], exp(-1 / 2.88), 1e-5);
    for (int i = 0; i < COUNT; i++) values[i] = 0.3f;
    pumit__blur(values, scratch, size, 1, 8, ALL); /* longer than the image: its edges repeat */
    for (int i = 0; i < COUNT; i++) ck_assert_float_eq_tol(values[i], 0.3f, 1e-5);
}
END_TEST

/* Along rows alone, channel by channel. */
START_TEST(axes_that_are_not_chosen_stay)
{
    enum { H = 4, W = 9, COUNT = 2 * H * W };
    const int64_t size[3] = {1, H, W};
    float values[COUNT] = {0}, scratch[COUNT], before[COUNT];
    values[2 * (W + 4)] = values[2 * (2 * W + 4) + 1] = 1; /* row 1, channel 0; row 2, channel 1 */
    memcpy(before, values, sizeof before);
    pumit__blur(values, scratch, size, 2, 1, NONE);
    pumit__lower_resolution(values, scratch, size, 2, 1.7, NONE);
    ck_assert_int_eq(memcmp(values, before, sizeof before), 0);
    pumit__blur(values, scratch, size, 2, 1, ROWS);
    for (int i = 0; i < COUNT; i++) {
        const int row = i / 2 / W, channel = i % 2, away = i / 2 % W - 4;
        const bool touched = row == 1 + channel && row < 3 && abs(away) <= 3;
        ck_assert_msg((values[i] > 0) == touched, "row %d, channel %d, %d", row, channel, away);
    }
    for (int i = 0; i < COUNT; i++) values[i] = (float)(i / 2 / W); /* rows differ */
    memcpy(before, values, sizeof before);
    pumit__lower_resolution(values, scratch, size, 2, 1.7, ROWS);
    ck_assert_int_eq(memcmp(values, before, sizeof before), 0);
}
END_TEST

START_TEST(noise_has_its_deviation)
{
    enum { COUNT = 24 * 24 * 24 };
    static float values[COUNT], again[COUNT], other[COUNT];
    const int64_t size[3] = {24, 24, 24};
    for (int i = 0; i < COUNT; i++) values[i] = again[i] = other[i] = 0.5f;
    pumit__add_noise(values, size, 1, 0.05, 3, 4);
    pumit__add_noise(again, size, 1, 0.05, 3, 4);
    pumit__add_noise(other, size, 1, 0.05, 3, 5);
    double sum = 0, squares = 0, product = 0;
    for (int i = 0; i < COUNT; i++) {
        const double a = values[i] - 0.5, b = other[i] - 0.5;
        sum += a;
        squares += a * a;
        product += a * b;
    }
    ck_assert_double_eq_tol(sum / COUNT, 0, 0.002);
    ck_assert_double_eq_tol(sqrt(squares / COUNT), 0.05, 0.0015);
    ck_assert_double_eq_tol(product / squares, 0, 0.04);
    ck_assert_int_eq(memcmp(values, again, sizeof values), 0);
    pumit__add_noise(values, size, 1, 3, 3, 6);
    int edges = 0;
    for (int i = 0; i < COUNT; i++) {
        ck_assert(values[i] >= 0 && values[i] <= 1);
        edges += values[i] == 0 || values[i] == 1;
    }
    ck_assert_int_gt(edges, COUNT / 2);
}
END_TEST

/* A slope stays within a coarse voxel's reach, and as a whole where it is; what is finer than a coarse voxel goes. */
START_TEST(coarse_voxels_keep_slopes_alone)
{
    enum { N = 64 };
    static const double FACTORS[] = {1.1, 1.5, 1.9};
    const int64_t size[3] = {1, 1, N};
    float values[N], scratch[N];
    for (int f = 0; f < 3; f++) {
        double shift = 0;
        for (int i = 0; i < N; i++) values[i] = (float)i;
        pumit__lower_resolution(values, scratch, size, 1, FACTORS[f], ALL);
        for (int i = 2; i < N - 2; i++) {
            ck_assert(fabs(values[i] - (double)i) <= 0.5 + 1e-4);
            ck_assert(values[i] >= values[i - 1]);
            shift += (values[i] - (double)i) / (N - 4);
        }
        ck_assert_msg(fabs(shift) <= 0.2, "%g", shift);
    }
    for (int i = 0; i < N; i++) values[i] = (float)(i % 2);
    pumit__lower_resolution(values, scratch, size, 1, 2, ALL);
    for (int i = 2; i < N - 1; i++) ck_assert(values[i] == values[1]);
    for (int i = 0; i < N; i++) values[i] = (float)(i % 2);
    pumit__lower_resolution(values, scratch, size, 1, 1, ALL);
    for (int i = 0; i < N; i++) ck_assert(values[i] == (float)(i % 2));
}
END_TEST

Suite *suite_degrade(void)
{
    Suite *suite = suite_create("degrade");
    TCase *tests = tcase_create("degrade");
    tcase_add_test(tests, blurs_are_gaussians);
    tcase_add_test(tests, axes_that_are_not_chosen_stay);
    tcase_add_test(tests, noise_has_its_deviation);
    tcase_add_test(tests, coarse_voxels_keep_slopes_alone);
    suite_add_tcase(suite, tests);
    return suite;
}
