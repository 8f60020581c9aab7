/* SPDX-License-Identifier: Apache-2.0 */
/* Volumes from memory: their geometry, intensities and patches. */
#include "tests/image_files.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check_sizes(const int64_t *got, int64_t a, int64_t b, int64_t c, int64_t d)
{
    ck_assert_msg(got[0] == a && got[1] == b && got[2] == c && got[3] == d,
                  "(%ld, %ld, %ld, %ld), not (%ld, %ld, %ld, %ld)", (long)got[0], (long)got[1],
                  (long)got[2], (long)got[3], (long)a, (long)b, (long)c, (long)d);
}

static void check_voxels(const pumit_volume *volume, int64_t count, const float *wanted)
{
    for (int64_t i = 0; i < count; i++)
        ck_assert_msg(pumit_volume_voxels(volume)[i] == wanted[i], "voxel %d: %g, not %g", (int)i,
                      pumit_volume_voxels(volume)[i], wanted[i]);
}

/* Diagonal spacings along three axes; the given one runs along superior-inferior. */
static pumit_volume *make_volume(pumit_dtype dtype, const int64_t size[3], int64_t channels,
                                 const void *data, double s0, double s1, double s2)
{
    const double affine[16] = {0, 0, s2, 0, 0, s1, 0, 0, s0, 0, 0, 0, 0, 0, 0, 1};
    pumit_volume *volume;
    CHECK_OK(pumit_volume_create(&volume, files_context, dtype, size, channels, data, affine));
    return volume;
}

/* ---------------------------------------------------------------------------------------- geometry */

START_TEST(anisotropy_is_the_papers)
{
    static const struct {
        double spacing[3];
        int da;
    } cases[] = {
        {{1, 1, 1}, 0},      {{1.99, 1, 1}, 0},    {{2, 1, 1}, 1},          {{0.1, 1, 1}, 0},
        {{3.99, 1, 1}, 1},   {{4, 1, 1}, 2},       {{7.5, 0.5, 0.5}, 3},    {{17, 0.84, 0.84}, 4},
        {{33, 1, 1}, 5},     {{1e6, 1, 1}, 5},     {{INFINITY, 1, 1}, 5},   {{4, 0.5, 2}, 2},
        {{1.9997, 1, 1}, 0}, {{1.99995, 1, 1}, 1}, {{4.8f, 0.6f, 0.6f}, 3},
    };
    int32_t da;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        CHECK_OK(pumit_degree_of_anisotropy(&da, cases[i].spacing));
        ck_assert_msg(da == cases[i].da, "case %d: %d, not %d", (int)i, da, cases[i].da);
    }
    static const double bad[][3] = {{0, 1, 1},   {1, -1, 1},       {NAN, 1, 1},
                                    {1, 1, NAN}, {1, INFINITY, 1}, {-INFINITY, 1, 1}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_assert_int_eq(pumit_degree_of_anisotropy(&da, bad[i]), PUMIT_ERROR_INVALID_ARGUMENT);
    ck_assert_int_eq(pumit_degree_of_anisotropy(NULL, bad[0]), PUMIT_ERROR_INVALID_ARGUMENT);
}
END_TEST

START_TEST(an_image_without_affine_is_flat)
{
    const uint8_t data[6] = {0, 1, 2, 3, 4, 255};
    const int64_t size[3] = {1, 2, 3}, deep[3] = {2, 3, 1};
    pumit_volume *volume;
    int64_t shape[4];
    double spacing[3];
    CHECK_OK(pumit_volume_create(&volume, files_context, PUMIT_U8, size, 1, data, NULL));
    pumit_volume_shape(volume, shape);
    pumit_volume_spacing(volume, spacing);
    check_sizes(shape, 1, 2, 3, 1);
    ck_assert(isinf(spacing[0]) && spacing[1] == 1 && spacing[2] == 1);
    ck_assert_int_eq(pumit_volume_anisotropy(volume), 5);
    ck_assert_str_eq(pumit_volume_modality(volume), "");
    pumit_volume_release(volume);
    ck_assert_int_eq(pumit_volume_create(&volume, files_context, PUMIT_U8, deep, 1, data, NULL),
                     PUMIT_ERROR_INVALID_ARGUMENT);
    ck_assert_ptr_null(volume);
    pumit_volume_release(NULL);
}
END_TEST

START_TEST(bad_arguments_are_refused)
{
    const uint8_t data[8] = {0};
    const int64_t size[3] = {2, 2, 2}, empty[3] = {2, 0, 2};
    const double good[16] = {1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1};
    pumit_volume *v;
    double bad[16];
    ck_assert_int_eq(pumit_volume_create(&v, files_context, 99, size, 1, data, good),
                     PUMIT_ERROR_INVALID_ARGUMENT);
    ck_assert_int_eq(pumit_volume_create(&v, files_context, PUMIT_U8, empty, 1, data, good),
                     PUMIT_ERROR_INVALID_ARGUMENT);
    ck_assert_int_eq(pumit_volume_create(&v, files_context, PUMIT_U8, size, 0, data, good),
                     PUMIT_ERROR_INVALID_ARGUMENT);
    ck_assert_int_eq(pumit_volume_create(&v, files_context, PUMIT_U8, size, 1, NULL, good),
                     PUMIT_ERROR_INVALID_ARGUMENT);
    static const struct {
        int at;
        double value;
    } spoil[] = {{0, 0}, {5, NAN}, {3, INFINITY}, {12, 1}, {15, 2}, {10, 1e-20}};
    for (size_t i = 0; i < sizeof spoil / sizeof *spoil; i++) {
        memcpy(bad, good, sizeof bad);
        bad[spoil[i].at] = spoil[i].value;
        ck_assert_int_eq(pumit_volume_create(&v, files_context, PUMIT_U8, size, 1, data, bad),
                         PUMIT_ERROR_INVALID_ARGUMENT);
    }
    const int64_t huge[3] = {INT64_C(1) << 40, INT64_C(1) << 40, 2};
    ck_assert_int_eq(pumit_volume_create(&v, files_context, PUMIT_U8, huge, 1, data, good),
                     PUMIT_ERROR_LIMIT);
}
END_TEST

/* The slice axis of nearly equal spacings is the one along superior-inferior; of unequal ones the thick one, or the thin. */
START_TEST(slice_axis_follows_spacing_then_direction)
{
    static const struct {
        double spacing[3];
        int up, axis; /* which axis is superior-inferior; which becomes D */
    } cases[] = {{{1, 1, 1}, 0, 0},      {{1, 1, 1}, 1, 1},   {{1, 1, 1}, 2, 2},
                 {{1, 1.0004, 1}, 2, 2}, {{5, 1, 1}, 2, 0},   {{1, 5, 1}, 0, 1},
                 {{1, 1, 5}, 0, 2},      {{1, 0.2, 1}, 0, 1}, {{1, 1.1, 1.4}, 1, 2},
                 {{1, 2, 4}, 0, 0},      {{1, 2, 4}, 2, 2}};
    const uint8_t data[24] = {0};
    const int64_t size[3] = {2, 3, 4};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        double affine[16] = {0};
        affine[15] = 1;
        for (int axis = 0; axis < 3; axis++)
            affine[4 * ((axis - cases[i].up + 5) % 3) + axis] = cases[i].spacing[axis];
        pumit_volume *volume;
        int32_t axes[3];
        CHECK_OK(pumit_volume_create(&volume, files_context, PUMIT_U8, size, 1, data, affine));
        pumit_volume_source_axes(volume, axes);
        ck_assert_msg(axes[0] == cases[i].axis && axes[1] != axes[2], "case %d: axes %d %d %d",
                      (int)i, axes[0], axes[1], axes[2]);
        pumit_volume_release(volume);
    }
}
END_TEST

/* Which way the rows of a plane run: S or A down the rows, R or A along them; one axis turned round each time. */
START_TEST(planes_lie_as_the_body_does)
{
    static const struct {
        int world[3];  /* of the array's axes: 0 right, 1 anterior, 2 superior */
        int thick;     /* the array's axis that becomes D */
        int wanted[3]; /* world axes of D, H, W */
    } cases[] = {{{2, 1, 0}, 0, {2, 1, 0}}, {{0, 1, 2}, 2, {2, 1, 0}}, {{1, 0, 2}, 2, {2, 1, 0}},
                 {{0, 1, 2}, 1, {1, 2, 0}}, {{2, 0, 1}, 2, {1, 2, 0}}, {{0, 1, 2}, 0, {0, 2, 1}},
                 {{1, 2, 0}, 2, {0, 2, 1}}};
    uint8_t data[24];
    const int64_t size[3] = {2, 3, 4}, strides[3] = {12, 4, 1};
    for (int i = 0; i < 24; i++) data[i] = (uint8_t)i;
    for (size_t i = 0; i < 3 * sizeof cases / sizeof *cases; i++) {
        const int *world = cases[i / 3].world, *wanted = cases[i / 3].wanted, turned = (int)(i % 3);
        double affine[16] = {0}, got[16];
        affine[15] = 1;
        for (int axis = 0; axis < 3; axis++)
            affine[4 * world[axis] + axis] =
                (axis == cases[i / 3].thick ? 4 : 1) * (axis == turned ? -1 : 1);
        pumit_volume *volume;
        CHECK_OK(pumit_volume_create(&volume, files_context, PUMIT_U8, size, 1, data, affine));
        pumit_volume_affine(volume, got);
        int axis_of[3];
        for (int axis = 0; axis < 3; axis++) axis_of[world[axis]] = axis;
        int64_t place = 0;
        for (int a = 0; a < 3; a++) {
            ck_assert_double_gt(got[4 * wanted[a] + a], 0.5);
            const int axis = axis_of[wanted[a]];
            if (axis == turned) place += (size[axis] - 1) * strides[axis];
        }
        ck_assert_int_eq((int64_t)pumit_volume_voxels(volume)[0], place);
        pumit_volume_release(volume);
    }
}
END_TEST

START_TEST(every_type_converts)
{
    static const float f32[4] = {1, -2.5f, 0.125f, 70000};
    static const double f64[4] = {1, -2.5, 0.125, 70000};
    static const uint16_t f16[8] = {0x3c00, 0xc100, 0x3000, 0x7bff, 0x0001, 0x8000, 0x7c00, 0x03ff};
    static const uint16_t bf16[4] = {0x3f80, 0xc020, 0x3e00, 0x4789};
    static const int16_t i16[4] = {1, -2, 32767, -32768};
    static const int32_t i32[4] = {1, -2, 1 << 20, -(1 << 24)};
    static const int64_t i64[4] = {1, -2, INT64_C(1) << 40, 5};
    static const struct {
        pumit_dtype dtype;
        const void *data;
        float wanted[4];
    } cases[] = {{PUMIT_F32, f32, {1, -2.5f, 0.125f, 70000}},
                 {PUMIT_F64, f64, {1, -2.5f, 0.125f, 70000}},
                 {PUMIT_F16, f16, {1, -2.5f, 0.125f, 65504}},
                 {PUMIT_F16, f16 + 4, {0x1p-24f, 0, INFINITY, 1023 * 0x1p-24f}},
                 {PUMIT_BF16, bf16, {1, -2.5f, 0.125f, 70144}},
                 {PUMIT_I16, i16, {1, -2, 32767, -32768}},
                 {PUMIT_I32, i32, {1, -2, 1 << 20, -(1 << 24)}},
                 {PUMIT_I64, i64, {1, -2, 0x1p40f, 5}}};
    const int64_t size[3] = {1, 2, 2};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pumit_volume *volume = make_volume(cases[i].dtype, size, 1, cases[i].data, 1, 1, 1);
        check_voxels(volume, 4, cases[i].wanted);
        pumit_volume_release(volume);
    }
}
END_TEST

/* ------------------------------------------------------------------------------------- intensities */

static float *tensor_values(pumit_tensor *tensor)
{
    void *data;
    CHECK_OK(pumit_tensor_data(&data, tensor));
    return data;
}

static int compare_floats(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return x < y ? -1 : x > y;
}

static double sorted_percentile(const float *sorted, int count, double fraction)
{
    const double place = fraction * (count - 1);
    const int below = (int)place;
    const double next = below + 1 < count ? sorted[below + 1] : sorted[below];
    return sorted[below] + (place - below) * (next - sorted[below]);
}

START_TEST(percentiles_are_exact)
{
    static float data[7 * 30 * 31], kept[7 * 30 * 31];
    const int64_t size[3] = {7, 30, 31};
    const int n = 7 * 30 * 31;
    int count = 0;
    for (int i = 0; i < n; i++) {
        const double x = sin(i * 12.9898) * 43758.5453, u = x - floor(x);
        data[i] = i % 5 == 0 ? -300 : (float)(exp(6 * u) - 200);
        if (data[i] > -300) kept[count++] = data[i];
    }
    data[17] = NAN, data[18] = INFINITY,
    data[19] = -INFINITY; /* three that counted: 20 % are gone */
    count = 0;
    for (int i = 0; i < n; i++)
        if (isfinite(data[i]) && data[i] > -300) kept[count++] = data[i];
    qsort(kept, (size_t)count, sizeof *kept, compare_floats);
    const double low = sorted_percentile(kept, count, 0.005);
    const double high = sorted_percentile(kept, count, 0.995);
    pumit_volume *volume = make_volume(PUMIT_F32, size, 1, data, 1, 1, 1);
    pumit_tensor *tensor;
    CHECK_OK(pumit_volume_to_tensor(&tensor, volume, files_context, 1));
    check_sizes(pumit_tensor_shape(tensor) + 1, 7, 30, 31, 1);
    for (int i = 0; i < n; i++) {
        const double x = isfinite(data[i]) ? (data[i] - low) / (high - low) : 0;
        ck_assert_msg(fabs(tensor_values(tensor)[i] - fmin(fmax(x, 0), 1)) <= 1e-6, "voxel %d", i);
    }
    pumit_tensor_release(tensor);
    pumit_volume_release(volume);
}
END_TEST

START_TEST(special_images_become_sensible)
{
    const float constant[4] = {7, 7, 7, 7}, nothing[4] = {NAN, NAN, INFINITY, -INFINITY};
    const float mask[4] = {0, 1, 1, 0}, zeros[4] = {0};
    const uint8_t bytes[4] = {0, 51, 102, 255};
    const float fractions[4] = {0, 0.2f, 0.4f, 1};
    const struct {
        pumit_dtype dtype;
        const void *data;
        const float *wanted;
    } cases[] = {{PUMIT_F32, constant, zeros},
                 {PUMIT_F32, nothing, zeros},
                 {PUMIT_F32, mask, mask},
                 {PUMIT_U8, bytes, fractions}};
    const int64_t size[3] = {1, 2, 2};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pumit_tensor *tensor;
        pumit_volume *volume = make_volume(cases[i].dtype, size, 1, cases[i].data, 1, 1, 1);
        CHECK_OK(pumit_volume_to_tensor(&tensor, volume, files_context, 1));
        for (int k = 0; k < 4; k++)
            ck_assert_msg(fabsf(tensor_values(tensor)[k] - cases[i].wanted[k]) <= 1e-6f,
                          "case %d, voxel %d: %g", (int)i, k, tensor_values(tensor)[k]);
        pumit_tensor_release(tensor);
        pumit_volume_release(volume);
    }
}
END_TEST

/* A scan of 8 bits that uses a part of the range is stretched like any other scan; a picture is not. */
START_TEST(scans_of_8_bits_are_stretched)
{
    const uint8_t data[8] = {0, 26, 52, 78, 104, 130, 26, 78};
    const int64_t deep[3] = {2, 2, 2}, flat[3] = {1, 2, 4};
    pumit_tensor *scan, *picture;
    pumit_volume *v = make_volume(PUMIT_U8, deep, 1, data, 1, 1, 1),
                 *p = make_volume(PUMIT_U8, flat, 1, data, 1, 1, 1);
    CHECK_OK(pumit_volume_to_tensor(&scan, v, files_context, 1));
    CHECK_OK(pumit_volume_to_tensor(&picture, p, files_context, 1));
    ck_assert_float_eq_tol(tensor_values(scan)[5], 1.0, 1e-6);
    ck_assert_float_eq_tol(tensor_values(picture)[5], 130.0 / 255, 1e-6);
    pumit_tensor_release(scan);
    pumit_tensor_release(picture);
    pumit_volume_release(v);
    pumit_volume_release(p);
}
END_TEST

START_TEST(channels_convert)
{
    const uint8_t gray[2] = {51, 255}, colour[6] = {255, 0, 51, 10, 20, 30};
    const int64_t size[3] = {1, 1, 2};
    pumit_tensor *tensor;
    pumit_volume *g = make_volume(PUMIT_U8, size, 1, gray, 1, 1, 1);
    pumit_volume *c = make_volume(PUMIT_U8, size, 3, colour, 1, 1, 1);
    CHECK_OK(pumit_volume_to_tensor(&tensor, g, files_context, 3));
    for (int i = 0; i < 6; i++)
        ck_assert_float_eq_tol(tensor_values(tensor)[i], (float)gray[i / 3] / 255, 1e-6);
    pumit_tensor_release(tensor);
    CHECK_OK(pumit_volume_to_tensor(&tensor, c, files_context, 1));
    ck_assert_float_eq_tol(tensor_values(tensor)[0], 0.299 + 0.114 * 0.2, 1e-6);
    ck_assert_float_eq_tol(tensor_values(tensor)[1], (2.99 + 11.74 + 3.42) / 255, 1e-6);
    pumit_tensor_release(tensor);
    CHECK_OK(pumit_volume_to_tensor(&tensor, c, files_context, 3));
    ck_assert_float_eq_tol(tensor_values(tensor)[2], 0.2, 1e-6);
    pumit_tensor_release(tensor);
    ck_assert_int_eq(pumit_volume_to_tensor(&tensor, c, files_context, 2), PUMIT_ERROR_SHAPE);
    ck_assert_ptr_null(tensor);
    pumit_volume_release(g);
    pumit_volume_release(c);
}
END_TEST

/* ----------------------------------------------------------------------------------------- patches */

START_TEST(patches_are_whole_and_few_enough)
{
    static const struct {
        int64_t size[3];
        double spacing[3];
        int64_t max_tokens, wanted[3];
    } cases[] = {
        {{40, 40, 25}, {1, 1, 1}, 0, {48, 48, 32}},      /* 2.5 tokens become 3 */
        {{9, 54, 49}, {7.5, 0.5, 0.5}, 0, {10, 48, 48}}, /* DA 3: tokens 2 deep */
        {{5, 40, 40}, {17, 0.84, 0.84}, 0, {5, 48, 48}}, {{3, 7, 9}, {1, 1, 1}, 0, {16, 16, 16}},
        {{5, 38, 38}, {8.2, 1, 1}, 0, {6, 32, 32}},  /* DA 3, though 6.8 over 1.2 mm is 2 */
        {{11, 40, 40}, {3.9, 1, 1}, 0, {8, 48, 48}}, /* DA 1, though 5.4 over 0.8 mm is 2 */
        {{64, 64, 64}, {1, 1, 1}, 27, {48, 48, 48}},     {{64, 64, 64}, {1, 1, 1}, 1, {16, 16, 16}},
        {{1, 200, 100}, {1, 1, 1}, 18, {1, 96, 48}}};
    static const int64_t patch[3] = {16, 16, 16};
    static const float data[64 * 64 * 64];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const double *s = cases[i].spacing;
        pumit_volume *v = make_volume(PUMIT_F32, cases[i].size, 1, data, s[0], s[1], s[2]);
        double spacing[3];
        int32_t da;
        pumit_tensor *t;
        CHECK_OK(
            pumit_volume_to_patches(&t, spacing, v, files_context, 3, patch, cases[i].max_tokens));
        const int64_t *w = cases[i].wanted;
        check_sizes(pumit_tensor_shape(t) + 1, w[0], w[1], w[2], 3);
        CHECK_OK(pumit_degree_of_anisotropy(&da, spacing));
        ck_assert_int_eq(da, pumit_volume_anisotropy(v));
        pumit_tensor_release(t);
        pumit_volume_release(v);
    }
}
END_TEST

/* Halving averages pairs; doubling interpolates between centres. */
START_TEST(patches_are_resampled)
{
    const uint8_t data[12] = {0, 255, 51, 153, 255, 255, 0, 255, 51, 153, 255, 255};
    const int64_t size[3] = {1, 2, 6}, patch[3] = {16, 4, 3};
    const double row[3] = {0.5, 0.4, 1};
    double spacing[3];
    pumit_tensor *t;
    pumit_volume *v = make_volume(PUMIT_U8, size, 1, data, 1, 1, 1);
    CHECK_OK(pumit_volume_to_patches(&t, spacing, v, files_context, 1, patch, 1));
    check_sizes(pumit_tensor_shape(t) + 1, 1, 4, 3, 1);
    for (int i = 0; i < 12; i++) ck_assert_float_eq_tol(tensor_values(t)[i], row[i % 3], 1e-5);
    ck_assert(isinf(spacing[0]) && spacing[1] == 0.5 && spacing[2] == 2);
    pumit_tensor_release(t);
    const int64_t bad[3] = {16, 0, 3};
    ck_assert_int_eq(pumit_volume_to_patches(&t, spacing, v, files_context, 1, bad, 1),
                     PUMIT_ERROR_INVALID_ARGUMENT);
    pumit_volume_release(v);
}
END_TEST

Suite *suite_volume(void);
Suite *suite_volume(void)
{
    Suite *suite = suite_create("volume");
    TCase *tcase = tcase_create("volume");
    tcase_add_checked_fixture(tcase, files_setup, files_teardown);
    tcase_add_test(tcase, anisotropy_is_the_papers);
    tcase_add_test(tcase, an_image_without_affine_is_flat);
    tcase_add_test(tcase, bad_arguments_are_refused);
    tcase_add_test(tcase, slice_axis_follows_spacing_then_direction);
    tcase_add_test(tcase, planes_lie_as_the_body_does);
    tcase_add_test(tcase, every_type_converts);
    tcase_add_test(tcase, percentiles_are_exact);
    tcase_add_test(tcase, special_images_become_sensible);
    tcase_add_test(tcase, scans_of_8_bits_are_stretched);
    tcase_add_test(tcase, channels_convert);
    tcase_add_test(tcase, patches_are_whole_and_few_enough);
    tcase_add_test(tcase, patches_are_resampled);
    suite_add_tcase(suite, tcase);
    return suite;
}
