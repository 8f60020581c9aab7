/* SPDX-License-Identifier: Apache-2.0 */
/* Augmentation of whole images: a function of its seed and key that keeps what it should. */
#include "lib/train/augment.h"

#include <check.h>
#include <math.h>
#include <string.h>

enum { D = 6, H = 16, W = 16, COUNT = D * H * W };

static const double CUBES[3] = {1, 1, 1}, THICK[3] = {4, 1, 1}, FLAT[3] = {INFINITY, 1, 1};
static const int64_t SOLID[3] = {D, H, W}, PLANE[3] = {1, H, W};
static const pumit__augment USUAL = {.strength = 1, .flip = {false, false, true}};

static void fill(float *image, int64_t count)
{
    for (int64_t i = 0; i < count; i++) image[i] = (float)(i * 37 % 101) / 101;
}

static void change(float *image, const int64_t size[3], const double spacing[3],
                   const pumit__augment *how, uint64_t seed, uint64_t key)
{
    ck_assert_int_eq(pumit__augment_image(image, size, 1, spacing, how, seed, key), PUMIT_OK);
}

START_TEST(the_same_key_gives_the_same)
{
    float first[COUNT], again[COUNT], other[COUNT];
    for (int k = 0; k < 2; k++) {
        fill(first, COUNT);
        fill(again, COUNT);
        fill(other, COUNT);
        change(first, SOLID, CUBES, &USUAL, 3, 11);
        change(again, SOLID, CUBES, &USUAL, 3, 11);
        change(other, SOLID, CUBES, &USUAL, k ? 3 : 4, k ? 12 : 11);
        ck_assert_int_eq(memcmp(first, again, sizeof first), 0);
        ck_assert_int_ne(memcmp(first, other, sizeof first), 0);
        for (int i = 0; i < COUNT; i++) ck_assert(first[i] >= 0 && first[i] <= 1);
    }
}
END_TEST

START_TEST(nothing_wanted_nothing_changed)
{
    const pumit__augment none = {0};
    float image[COUNT], before[COUNT];
    fill(image, COUNT);
    fill(before, COUNT);
    change(image, SOLID, CUBES, &none, 3, 11);
    ck_assert_int_eq(memcmp(image, before, sizeof image), 0);
}
END_TEST

/* Without strength an image is as it was or exactly flipped, about half of the times along each axis that may be. */
START_TEST(flips_are_exact)
{
    const pumit__augment how = {.flip = {true, false, true}};
    int counts[2][2] = {{0}};
    for (uint64_t key = 0; key < 200; key++) {
        float image[COUNT], before[COUNT];
        fill(before, COUNT);
        memcpy(image, before, sizeof image);
        change(image, SOLID, CUBES, &how, 5, key);
        const bool d =
            image[0] == before[(D - 1) * H * W] || image[0] == before[COUNT - H * W + W - 1];
        const bool w = image[0] == before[W - 1] || image[0] == before[COUNT - H * W + W - 1];
        counts[d][w]++;
        for (int i = 0; i < COUNT; i++) {
            const int z = i / (H * W), y = i / W % H, x = i % W;
            ck_assert_float_eq(image[i],
                               before[((d ? D - 1 - z : z) * H + y) * W + (w ? W - 1 - x : x)]);
        }
    }
    for (int i = 0; i < 4; i++) ck_assert_int_gt(counts[i / 2][i % 2], 25);
}
END_TEST

/* How much an image that rises along H and W does so down and across its middle, once it is changed. */
static void rise(double slopes[2], float along_h, float along_w, uint64_t key)
{
    const pumit__augment how = {.strength = 1};
    float image[H * W];
    for (int i = 0; i < H * W; i++)
        image[i] = 0.3f + along_h * (float)(i / W) + along_w * (float)(i % W);
    change(image, PLANE, FLAT, &how, 7, key);
    slopes[0] = slopes[1] = 0;
    for (int i = 4; i < 12; i++) {
        slopes[0] += (image[11 * W + i] - image[4 * W + i]) / 56;
        slopes[1] += (image[i * W + 11] - image[i * W + 4]) / 56;
    }
}

/* The same without the noise, which depends on the key alone. */
static void slopes_of(double slopes[2], int axis, uint64_t key)
{
    double noise[2];
    rise(noise, 0, 0, key);
    rise(slopes, axis ? 0 : 0.025f, axis ? 0.025f : 0, key);
    for (int i = 0; i < 2; i++) slopes[i] -= noise[i];
}

/* Up to 15 degrees either way, and no shear: what one axis takes of the other, that takes of it the other way round. */
START_TEST(planes_are_turned)
{
    double most = 0, least = 0, mean = 0;
    for (uint64_t key = 0; key < 200; key++) {
        double h[2], w[2];
        slopes_of(h, 0, key);
        slopes_of(w, 1, key);
        const double angle = atan2(w[0], w[1]);
        most = fmax(most, angle);
        least = fmin(least, angle);
        mean += w[1] / 200;
        ck_assert_double_eq_tol(h[0], w[1], 1e-5);
        ck_assert_double_eq_tol(h[1], -w[0], 1e-5);
    }
    ck_assert_msg(most > 0.2 && most < 0.27 && least < -0.2 && least > -0.27, "%g..%g", least,
                  most);
    ck_assert_double_eq_tol(mean, 0.025, 0.002);
}
END_TEST

/* Values by slice stay so where voxels are thick, and do not where they are cubes. */
static double most_spread(const double spacing[3])
{
    const pumit__augment how = {.strength = 1};
    double most = 0;
    for (uint64_t key = 0; key < 20; key++) {
        float image[COUNT];
        for (int i = 0; i < COUNT; i++) image[i] = 0.2f + 0.1f * (float)(i / (H * W));
        change(image, SOLID, spacing, &how, 9, key);
        double near = 0, far = 0;
        for (int i = 0; i < W; i++) {
            near += image[3 * H * W + i] / W;
            far += image[3 * H * W + (H - 1) * W + i] / W;
        }
        most = fmax(most, fabs(near - far));
    }
    return most;
}

START_TEST(thick_slices_are_turned_in_the_plane)
{
    ck_assert_double_lt(most_spread(THICK), 0.05); /* noise alone */
    ck_assert_double_gt(most_spread(CUBES), 0.15);
}
END_TEST

Suite *suite_augment(void);
Suite *suite_augment(void)
{
    Suite *suite = suite_create("augment");
    TCase *tcase = tcase_create("augment");
    tcase_add_test(tcase, the_same_key_gives_the_same);
    tcase_add_test(tcase, nothing_wanted_nothing_changed);
    tcase_add_test(tcase, flips_are_exact);
    tcase_add_test(tcase, planes_are_turned);
    tcase_add_test(tcase, thick_slices_are_turned_in_the_plane);
    suite_add_tcase(suite, tcase);
    return suite;
}
