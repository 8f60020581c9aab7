/* SPDX-License-Identifier: Apache-2.0 */
/* Crops: which voxels they are made of, along the axes and turned, and what becomes of intensities. */
#include "lib/data/crop.h"
#include "tests/box_hook.h"
#include "tests/image_files.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---------------------------------------------------------------------------------------- resampling */

static void apply(float *dst, const float *src, int64_t length, int64_t count, double start,
                  double step, bool flip)
{
    pumit__filter filter = {0};
    CHECK_OK(pumit__filter_build(&filter, length, count, start, step, flip));
    for (int64_t i = 0; i < count; i++) {
        double sum = 0;
        for (int64_t t = 0; t < filter.taps; t++) sum += filter.weight[i * filter.taps + t];
        ck_assert_double_eq_tol(sum, 1, 1e-6);
    }
    ck_assert(filter.low >= 0 && filter.high <= length);
    pumit__filter_apply(dst, src + filter.low, &filter, 1, 1);
    pumit__filter_free(&filter);
}

START_TEST(filters_interpolate_and_average)
{
    const float ramp[8] = {0, 1, 2, 3, 4, 5, 6, 7}, stripes[8] = {0, 1, 0, 1, 0, 1, 0, 1};
    float dst[16];
    apply(dst, ramp, 8, 4, 2, 1, false);
    for (int i = 0; i < 4; i++) ck_assert_float_eq(dst[i], (float)(2 + i));
    apply(dst, ramp, 8, 4, 2, 1, true);
    for (int i = 0; i < 4; i++) ck_assert_float_eq(dst[i], (float)(5 - i));
    apply(dst, ramp, 8, 16, 0, 0.5, false); /* (i + 1/2) / 2 - 1/2, held at the edges */
    for (int i = 0; i < 16; i++)
        ck_assert_float_eq_tol(dst[i], fmin(fmax(i * 0.5 - 0.25, 0), 7), 1e-6);
    apply(dst, stripes, 8, 4, 0, 2, false); /* too fine to be kept: gray, not stripes */
    for (int i = 1; i < 3; i++) ck_assert_float_eq_tol(dst[i], 0.5, 0.01);
    apply(dst, stripes, 8, 2, 0, 3, false); /* voxel 4, of 0, with its neighbours of 1 */
    ck_assert_float_eq_tol(dst[1], 4.0 / 9, 1e-6);
    apply(dst, ramp, 1, 3, 0, 1.0 / 3, false);
    for (int i = 0; i < 3; i++) ck_assert_float_eq(dst[i], 0);
}
END_TEST

/* A linear image stays linear on any grid, mirrored or not, along all three axes. */
START_TEST(crops_sample_where_they_say)
{
    float data[6 * 7 * 8], dst[3 * 4 * 5];
    for (int n = 0; n < 336; n++) data[n] = (float)(n / 56 * 3 + n / 8 % 7 * 5 + n % 8 * 2);
    const double affine[16] = {0, 0, 1, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1};
    const int64_t size[3] = {6, 7, 8};
    const pumit__window window = {0, 1.0 / 64};
    pumit__crop_scratch scratch = {0};
    pumit_volume *volume;
    CHECK_OK(pumit_volume_create(&volume, files_context, PUMIT_F32, size, 1, data, affine));
    pumit__crop crop = {.size = {3, 4, 5},
                        .start = {1, 0.75, 1.5},
                        .step = {1, 1.25, 0.8},
                        .gain = 1,
                        .contrast = 1,
                        .gamma = 1,
                        .inverse_gamma = 1};
    for (int flips = 0; flips < 4; flips++) {
        crop.flip[1] = flips & 1;
        crop.flip[2] = flips & 2;
        CHECK_OK(pumit__crop_render(dst, volume, &window, &crop, 1, &scratch));
        for (int n = 0; n < 60; n++) {
            const int h = crop.flip[1] ? 3 - n / 5 % 4 : n / 5 % 4,
                      w = crop.flip[2] ? 4 - n % 5 : n % 5;
            const double y = 0.75 + (h + 0.5) * 1.25 - 0.5, x = 1.5 + (w + 0.5) * 0.8 - 0.5;
            const double value = ((1 + n / 20) * 3 + y * 5 + x * 2) / 64;
            ck_assert_msg(fabs(dst[n] - value) <= 2e-2, "voxel %d: %g, not %g", n, dst[n], value);
        }
    }
    pumit_volume_release(volume);
    pumit__crop_scratch_free(&scratch);
}
END_TEST

/* ------------------------------------------------------------------------------------------ turned */

static const pumit__window as_is = {0, 1};

/* (size[0], size[1], size[2]) of values that `value` gives from the place in voxels; axes along the world's. */
static pumit_volume *make_volume(const int64_t size[3], const double spacing[3],
                                 double (*value)(const double at[3]))
{
    float *data = malloc((size_t)(size[0] * size[1] * size[2]) * sizeof *data);
    pumit_volume *volume;
    for (int64_t n = 0; n < size[0] * size[1] * size[2]; n++) {
        const double at[3] = {(double)(n / (size[1] * size[2])) + 0.5,
                              (double)(n / size[2] % size[1]) + 0.5, (double)(n % size[2]) + 0.5};
        data[n] = (float)value(at);
    }
    const double affine[16] = {0,          0, spacing[2], 0, 0, spacing[1], 0, 0,
                               spacing[0], 0, 0,          0, 0, 0,          0, 1};
    CHECK_OK(pumit_volume_create(&volume, files_context, PUMIT_F32, size, 1, data, affine));
    ck_assert(volume->shape[0] == size[0] && volume->shape[1] == size[1]);
    free(data);
    return volume;
}

static double noise(const double at[3])
{
    const uint64_t n = (uint64_t)(at[0] * 10000 + at[1] * 100 + at[2]);
    return pumit__random_uniform(1, 2, n);
}

/* Above 0 and below 1 in the volumes here. */
static double ramp(const double at[3])
{
    return 0.1 + at[0] * 0.02 + at[1] * 0.013 + at[2] * 0.008;
}

static pumit__crop plain_crop(int64_t d, int64_t h, int64_t w)
{
    return (pumit__crop){.size = {d, h, w},
                         .step = {1, 1, 1},
                         .turn = {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}},
                         .gain = 1,
                         .contrast = 1,
                         .gamma = 1,
                         .inverse_gamma = 1};
}

static void render(float *dst, const pumit_volume *volume, const pumit__crop *crop)
{
    static pumit__crop_scratch scratch;
    CHECK_OK(pumit__crop_render(dst, volume, &as_is, crop, 1, &scratch));
    pumit__crop_scratch_free(&scratch);
}

/* Turned by nothing it is the crop along the axes, also where both reach the image's edge. */
START_TEST(no_turn_changes_nothing)
{
    const int64_t size[3] = {7, 20, 18};
    const double spacing[3] = {2.5, 1, 1.1};
    pumit_volume *volume = make_volume(size, spacing, noise);
    static float straight[6 * 10 * 12], turned[6 * 10 * 12];
    for (int i = 0; i < 32; i++) {
        pumit__crop crop = plain_crop(6, 10, 12);
        for (int k = 0; k < 3; k++) {
            const double free_steps = i < 16 ? 1 : 0.7 + 0.1 * k;
            crop.step[k] = free_steps;
            crop.flip[k] = i >> k & 1;
            crop.start[k] = i & 8 ? 0 : ((double)size[k] - (double)crop.size[k] * free_steps) * 0.4;
        }
        crop.turned = false;
        render(straight, volume, &crop);
        crop.turned = true;
        render(turned, volume, &crop);
        for (int n = 0; n < 720; n++)
            ck_assert_msg(fabsf(straight[n] - turned[n]) <= 1e-6f, "crop %d, voxel %d: %g, %g", i,
                          n, straight[n], turned[n]);
    }
    pumit_volume_release(volume);
}
END_TEST

/* A quarter turn in the plane: rows become columns. */
START_TEST(a_quarter_turn_transposes)
{
    const int64_t size[3] = {3, 12, 12};
    const double spacing[3] = {4, 1, 1};
    pumit_volume *volume = make_volume(size, spacing, noise);
    float straight[3 * 8 * 8], turned[3 * 8 * 8];
    pumit__crop crop = plain_crop(3, 8, 8);
    crop.start[1] = 3, crop.start[2] = 1;
    render(straight, volume, &crop);
    crop.turned = true;
    const double quarter[3][3] = {{1, 0, 0}, {0, 0, -1}, {0, 1, 0}};
    memcpy(crop.turn, quarter, sizeof quarter);
    render(turned, volume, &crop);
    for (int n = 0; n < 192; n++) {
        const int d = n / 64, h = n / 8 % 8,
                  w = n % 8; /* of the crop: source row 7 - w, column h */
        ck_assert_float_eq_tol(turned[n], straight[d * 64 + (7 - w) * 8 + h], 1e-6);
    }
    pumit_volume_release(volume);
}
END_TEST

/* The matrix turned by angles about all three axes. */
static void turn_by(double r[3][3], double a, double b, double c)
{
    const double x[3][3] = {{cos(a), -sin(a), 0}, {sin(a), cos(a), 0}, {0, 0, 1}},
                 y[3][3] = {{cos(b), 0, -sin(b)}, {0, 1, 0}, {sin(b), 0, cos(b)}},
                 z[3][3] = {{1, 0, 0}, {0, cos(c), -sin(c)}, {0, sin(c), cos(c)}};
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++) {
            r[i][j] = 0;
            for (int k = 0; k < 9; k++) r[i][j] += x[i][k / 3] * y[k / 3][k % 3] * z[k % 3][j];
        }
}

/* Trilinear interpolation keeps a ramp: so each voxel tells its place, in mm from the crop's middle, to 1e-5. */
START_TEST(turned_crops_sample_where_they_say)
{
    const int64_t size[3] = {12, 24, 20};
    const double spacing[3] = {1.7, 0.9, 1.2};
    pumit_volume *volume = make_volume(size, spacing, ramp);
    for (int i = 0; i < 12; i++) {
        static float dst[4 * 6 * 5];
        int inside = 0;
        pumit__crop crop = plain_crop(4, 6, 5);
        crop.turned = true;
        crop.flip[i % 3] = i & 1;
        turn_by(crop.turn, 0.3 * i, 0.5 - 0.1 * i, 0.7 * i);
        double middle[3];
        for (int k = 0; k < 3; k++) {
            crop.step[k] = 0.8 + 0.1 * k + 0.02 * i;
            middle[k] = (double)size[k] * (0.3 + 0.03 * i);
            crop.start[k] = middle[k] - crop.step[k] * (double)crop.size[k] / 2;
        }
        render(dst, volume, &crop);
        for (int n = 0; n < 120; n++) {
            const double voxel[3] = {n / 30, n / 5 % 6, n % 5};
            double at[3];
            bool within = true, near_edge = false;
            for (int k = 0; k < 3; k++) {
                at[k] = middle[k];
                for (int j = 0; j < 3; j++) {
                    const double off = (voxel[j] + 0.5 - (double)crop.size[j] / 2) * crop.step[j];
                    at[k] +=
                        crop.turn[k][j] * spacing[j] / spacing[k] * (crop.flip[j] ? -off : off);
                }
                within = within && at[k] >= 0.5 && at[k] <= (double)size[k] - 0.5;
                near_edge = near_edge || (at[k] >= -0.01 && at[k] <= 0.5) ||
                            fabs(at[k] - (double)size[k] + 0.25) <= 0.26;
            }
            const double value = within ? ramp(at) : 0;
            inside += within;
            if (near_edge) continue;
            ck_assert_msg(fabs(dst[n] - value) <= 1e-5, "crop %d, voxel %d: %g, not %g", i, n,
                          dst[n], value);
        }
        ck_assert_int_gt(inside, 60);
    }
    pumit_volume_release(volume);
}
END_TEST

/* Outside of the image there is nothing; a flat image has one slice however it is turned. */
START_TEST(outside_is_zero)
{
    const float data[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    const int64_t size[3] = {1, 4, 4};
    pumit_volume *volume;
    float dst[64];
    CHECK_OK(pumit_volume_create(&volume, files_context, PUMIT_F32, size, 1, data, NULL));
    ck_assert(isinf(volume->spacing[0]));
    pumit__crop crop = plain_crop(1, 8, 8);
    crop.start[1] = crop.start[2] = -2;
    crop.turned = true;
    turn_by(crop.turn, 0, 0, 0.7853981633974483);
    render(dst, volume, &crop);
    for (int n = 0; n < 64; n++) {
        const double h = n / 8 - 3.5, w = n % 8 - 3.5;
        const bool inside = fabs(h + w) <= 2 * sqrt(2) && fabs(h - w) <= 2 * sqrt(2);
        ck_assert_float_eq_tol(dst[n], inside, 1e-6);
    }
    pumit_volume_release(volume);
}
END_TEST

/* No voxel is read but those between whose middles the crop lies. */
START_TEST(only_what_is_needed_is_read)
{
    const int64_t size[3] = {30, 40, 50};
    const double spacing[3] = {1, 1, 1};
    pumit_volume *volume = make_volume(size, spacing, noise);
    static float dst[6 * 10 * 10];
    pumit__crop crop = plain_crop(6, 10, 10);
    crop.start[0] = 5, crop.start[1] = 7, crop.start[2] = 11.25;
    render(dst, volume, &crop);
    ck_assert(box_low[0] == 5 && box_high[0] == 11);
    ck_assert(box_low[1] == 7 && box_high[1] == 17);
    ck_assert(box_low[2] == 11 && box_high[2] == 22);
    crop.turned = true;
    turn_by(crop.turn, 0, 0, 0.5);
    render(dst, volume, &crop);
    ck_assert_int_ge(box_low[0], 4);
    ck_assert_int_le(box_high[0], 12);
    for (int i = 1; i < 3; i++) {
        const double middle = crop.start[i] + 5, reach = 4.5 * (cos(0.5) + sin(0.5));
        ck_assert_int_ge(box_low[i], (int64_t)floor(middle - reach - 0.51));
        ck_assert_int_le(box_high[i], (int64_t)ceil(middle + reach + 0.51));
    }
    pumit_volume_release(volume);
}
END_TEST

/* ------------------------------------------------------------------------------------- intensities */

START_TEST(intensities_follow_the_formulas)
{
    const int64_t size[3] = {2, 10, 10};
    const double spacing[3] = {1, 1, 1};
    pumit_volume *volume = make_volume(size, spacing, noise);
    float before[200], after[200];
    pumit__crop crop = plain_crop(2, 10, 10);
    render(before, volume, &crop);
    crop.gain = 1.1f, crop.contrast = 1.3f, crop.gamma = 1.4f, crop.inverse_gamma = 0.8f;
    render(after, volume, &crop);
    double mean = 0;
    for (int n = 0; n < 200; n++) mean += 1.1 * before[n] / 200;
    for (int n = 0; n < 200; n++) {
        double v = fmin(fmax(mean + 1.3 * (1.1 * before[n] - mean), 0), 1);
        v = pow(v, 1.4);
        v = 1 - pow(1 - v, 0.8);
        /* The powers stand at 4096 points: exact to 1e-5 but where one of them is steep. */
        ck_assert_msg(fabs(after[n] - v) <= (v < 0.99 ? 1e-5 : 1e-3), "%g: %g, not %g", before[n],
                      after[n], v);
    }
    crop = plain_crop(2, 10, 10);
    crop.gain = NAN;
    render(after, volume, &crop);
    for (int n = 0; n < 200; n++) ck_assert_float_eq(after[n], 0);
    pumit_volume_release(volume);
}
END_TEST

Suite *suite_crop(void);
Suite *suite_crop(void)
{
    Suite *suite = suite_create("crop");
    TCase *tcase = tcase_create("crop");
    tcase_add_checked_fixture(tcase, files_setup, files_teardown);
    tcase_add_test(tcase, filters_interpolate_and_average);
    tcase_add_test(tcase, crops_sample_where_they_say);
    tcase_add_test(tcase, no_turn_changes_nothing);
    tcase_add_test(tcase, a_quarter_turn_transposes);
    tcase_add_test(tcase, turned_crops_sample_where_they_say);
    tcase_add_test(tcase, outside_is_zero);
    tcase_add_test(tcase, only_what_is_needed_is_read);
    tcase_add_test(tcase, intensities_follow_the_formulas);
    suite_add_tcase(suite, tcase);
    return suite;
}
