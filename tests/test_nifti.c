/* SPDX-License-Identifier: Apache-2.0 */
/* NIfTI files of every kind against what was written into them. */
#include "lib/data/volume.h"
#include "tests/image_files.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { U8 = 2, I16 = 4, I32 = 8, F32 = 16, F64 = 64, RGB = 128, I8 = 256, U16 = 512 };
enum { U32 = 768, I64 = 1024, U64 = 1280, RGBA = 2304 };

static pumit_volume *read_volume(const char *name, int64_t index)
{
    pumit_volume *volume;
    CHECK_OK(pumit_volume_read(&volume, files_context, files_path(name), index));
    return volume;
}

static void check_shape(const pumit_volume *volume, int64_t d, int64_t h, int64_t w, int64_t c)
{
    int64_t shape[4];
    pumit_volume_shape(volume, shape);
    ck_assert_msg(shape[0] == d && shape[1] == h && shape[2] == w && shape[3] == c,
                  "(%ld, %ld, %ld, %ld)", (long)shape[0], (long)shape[1], (long)shape[2],
                  (long)shape[3]);
}

static void check_spacing(const pumit_volume *volume, double d, double h, double w)
{
    double s[3];
    pumit_volume_spacing(volume, s);
    ck_assert_msg((isinf(d) ? s[0] == d : fabs(s[0] - d) <= 1e-5 * d) &&
                      fabs(s[1] - h) <= 1e-5 * h && fabs(s[2] - w) <= 1e-5 * w,
                  "%g x %g x %g, not %g x %g x %g", s[0], s[1], s[2], d, h, w);
}

/* 2 x 3 x 4 voxels, i fastest: what each type holds of -3, -1, 1, ... */
#define COUNT 24
static double sample(int type, int i)
{
    const bool is_signed = type != U8 && type != U16 && type != U32 && type != U64;
    const double value = is_signed ? 2 * i - 3 : 2 * i + 3;
    return type == F32 || type == F64 ? value * 0.37 : type == U16 ? value + 60000 : value;
}

typedef struct {
    int type, bits;
} kind;
static const kind kinds[] = {{U8, 8},   {I8, 8},   {U16, 16}, {I16, 16}, {U32, 32},
                             {I32, 32}, {U64, 64}, {I64, 64}, {F32, 32}, {F64, 64}};
#define KINDS ((int)(sizeof kinds / sizeof *kinds))

#define FILL(type)                                                                                 \
    for (int i = 0; i < COUNT; i++) {                                                              \
        const type element = (type)sample(which, i);                                               \
        memcpy(data + i * (int)sizeof element, &element, sizeof element);                          \
    }                                                                                              \
    break;

static void fill(uint8_t *data, int which)
{
    switch (which) {
    case U8:
        FILL(uint8_t)
    case I8:
        FILL(int8_t)
    case U16:
        FILL(uint16_t)
    case I16:
        FILL(int16_t)
    case U32:
        FILL(uint32_t)
    case I32:
        FILL(int32_t)
    case U64:
        FILL(uint64_t)
    case I64:
        FILL(int64_t)
    case F32:
        FILL(float)
    case F64:
        FILL(double)
    }
}

/* Bits of _i: version, byte order, gzip, pair; above them the type. */
START_TEST(every_layout_reads_the_same)
{
    uint8_t data[8 * COUNT];
    const kind k = kinds[_i >> 4];
    nifti_file file = nifti_plain(k.type, k.bits, 2, 3, 4);
    file.version = 1 + (_i & 1);
    file.big_endian = _i & 2;
    file.gzip = _i & 4;
    file.pair = _i & 8;
    fill(data, k.type);
    /* The name says nothing of the content except for a pair. */
    nifti_write("scan", &file, data, COUNT, (size_t)k.bits / 8);
    const char *name = !file.pair ? "scan" : file.gzip ? "scan.hdr.gz" : "scan.hdr";
    pumit_volume *volume = read_volume(name, 0);
    check_shape(volume, 4, 3, 2, 1);
    for (int i = 0; i < COUNT; i++)
        ck_assert_msg(pumit_volume_voxels(volume)[i] == (float)sample(k.type, i), "voxel %d", i);
    pumit_volume_release(volume);
    ck_assert_int_eq(files_logged, 0);
}
END_TEST

START_TEST(either_half_of_a_pair_opens_it)
{
    const int16_t data[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    nifti_file file = nifti_plain(I16, 16, 2, 2, 2);
    file.pair = true;
    nifti_write("scan", &file, data, 8, 2);
    pumit_volume *volume = read_volume("scan.img", 0);
    ck_assert_float_eq(pumit_volume_voxels(volume)[7], 8);
    pumit_volume_release(volume);
    unlink(files_path("scan.img"));
    files_check_failed(pumit_volume_read(&volume, files_context, files_path("scan.hdr"), 0),
                       PUMIT_ERROR_NOT_FOUND, "scan.hdr", "scan.img");
}
END_TEST

START_TEST(slope_and_intercept_apply)
{
    static const struct {
        double slope, inter, first, second;
    } cases[] = {{2, -10, 190, 40},  {0, 5, 100, 25},        {1, 0, 100, 25}, {NAN, NAN, 100, 25},
                 {0.5, 0, 50, 12.5}, {INFINITY, 0, 100, 25}, {1, 7, 107, 32}};
    const uint8_t data[8] = {100, 25, 0, 0, 0, 0, 0, 255};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        nifti_file file = nifti_plain(U8, 8, 2, 2, 2);
        file.slope = cases[i].slope;
        file.inter = cases[i].inter;
        nifti_write("scan.nii", &file, data, 8, 1);
        pumit_volume *volume = read_volume("scan.nii", 0);
        ck_assert_double_eq(pumit_volume_voxels(volume)[0], cases[i].first);
        ck_assert_double_eq(pumit_volume_voxels(volume)[1], cases[i].second);
        pumit_volume_release(volume);
    }
}
END_TEST

START_TEST(colours_become_three_channels)
{
    uint8_t data[4 * 12];
    for (int i = 0; i < 48; i++) data[i] = (uint8_t)(i * 5);
    for (int stored = 3; stored <= 4; stored++) {
        nifti_file file = nifti_plain(stored == 3 ? RGB : RGBA, 8 * stored, 3, 2, 2);
        file.slope = 3; /* means nothing for colours */
        nifti_write("scan.nii", &file, data, (size_t)(12 * stored), 1);
        pumit_volume *volume = read_volume("scan.nii", 0);
        check_shape(volume, 2, 2, 3, 3);
        for (int i = 0; i < 36; i++)
            ck_assert_float_eq(pumit_volume_voxels(volume)[i], (float)data[i / 3 * stored + i % 3]);
        pumit_volume_release(volume);
    }
}
END_TEST

START_TEST(volumes_of_4d_files_are_chosen)
{
    int16_t data[8 * 6];
    int64_t count;
    pumit_volume *volume;
    for (int i = 0; i < 48; i++) data[i] = (int16_t)i;
    for (int gzip = 0; gzip < 2; gzip++) {
        nifti_file file = nifti_plain(I16, 16, 2, 2, 2);
        file.dim[0] = 5, file.dim[4] = 3, file.dim[5] = 2;
        file.gzip = gzip;
        nifti_write("scan.nii", &file, data, 48, 2);
        CHECK_OK(pumit_volume_file_count(&count, files_context, files_path("scan.nii")));
        ck_assert_int_eq(count, 6);
        for (int k = 5; k >= 0; k--) {
            volume = read_volume("scan.nii", k);
            ck_assert_float_eq(pumit_volume_voxels(volume)[0], (float)(8 * k));
            pumit_volume_release(volume);
        }
        for (int64_t k = -1; k <= 6; k += 7)
            files_check_failed(pumit_volume_read(&volume, files_context, files_path("scan.nii"), k),
                               PUMIT_ERROR_INVALID_ARGUMENT, "scan.nii", "6 volumes");
    }
}
END_TEST

/* ---------------------------------------------------------------------------------------- geometry */

/* World point of (d, h, w). */
static void world_of(double world[3], const pumit_volume *volume, int64_t d, int64_t h, int64_t w)
{
    double a[16];
    pumit_volume_affine(volume, a);
    for (int r = 0; r < 3; r++)
        world[r] = a[4 * r] * (double)d + a[4 * r + 1] * (double)h + a[4 * r + 2] * (double)w +
                   a[4 * r + 3];
}

/* Orientation _i of 48: axis order and signs of a tilted grid of 0.5 x 0.6 x 4 mm. Each voxel holds a linear function of its
 * world point, so a wrong order of voxels or columns shows. */
START_TEST(any_orientation_keeps_world_points)
{
    static const int orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
                                     {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    static const double tilt[3][3] = {{0.9, -0.3, 0.1}, {0.3, 0.9, -0.2}, {-0.05, 0.2, 0.95}};
    static const double step[3] = {0.5, 0.6, 4};
    const int *order = orders[_i >> 3];
    nifti_file file = nifti_plain(F32, 32, 4, 5, 6);
    file.sform = 1;
    for (int axis = 0; axis < 3; axis++)
        for (int r = 0; r < 3; r++)
            file.rows[4 * r + axis] =
                tilt[r][order[axis]] * step[order[axis]] * ((_i >> axis & 1) ? -1 : 1);
    for (int r = 0; r < 3; r++) file.rows[4 * r + 3] = 10 * r - 7;
    float data[120];
    for (int n = 0; n < 120; n++) {
        const int index[3] = {n % 4, n / 4 % 5, n / 20};
        double value = 0;
        for (int r = 0; r < 3; r++)
            value += (r + 1) * (file.rows[4 * r] * index[0] + file.rows[4 * r + 1] * index[1] +
                                file.rows[4 * r + 2] * index[2] + file.rows[4 * r + 3]);
        data[n] = (float)value;
    }
    nifti_write("scan.nii", &file, data, 120, 4);
    pumit_volume *volume = read_volume("scan.nii", 0);
    int32_t axes[3];
    int64_t shape[4];
    double spacing[3];
    pumit_volume_source_axes(volume, axes);
    pumit_volume_shape(volume, shape);
    pumit_volume_spacing(volume, spacing);
    double affine[16];
    pumit_volume_affine(volume, affine);
    for (int i = 0; i < 3;
         i++) { /* D is the thick axis, H anterior, W right, however they are stored */
        ck_assert_int_eq(order[axes[i]], 2 - i);
        ck_assert_double_gt(affine[4 * (2 - i) + i], 0);
    }
    ck_assert_int_eq(pumit_volume_anisotropy(volume),
                     2); /* 4 mm over sqrt(0.5 * 0.6) mm, about 7 */
    ck_assert_double_gt(spacing[0], 3);
    const float *voxels = pumit_volume_voxels(volume);
    for (int64_t n = 0; n < 120; n++) {
        double world[3];
        world_of(world, volume, n / (shape[1] * shape[2]), n / shape[2] % shape[1], n % shape[2]);
        const double value = world[0] + 2 * world[1] + 3 * world[2];
        ck_assert_msg(fabs(value - voxels[n]) <= 1e-4, "voxel %d: %g at a point of %g", (int)n,
                      voxels[n], value);
    }
    pumit_volume_release(volume);
}
END_TEST

static nifti_file geometry_file(int version)
{
    nifti_file file = nifti_plain(U8, 8, 2, 3, 4);
    file.version = version;
    file.pixdim[1] = 1, file.pixdim[2] = 1.5, file.pixdim[3] = 8;
    return file;
}

static void check_geometry(const nifti_file *file, double d, double h, double w,
                           const double *origin)
{
    const uint8_t data[24] = {0};
    double world[3];
    nifti_write("scan.nii", file, data, 24, 1);
    pumit_volume *volume = read_volume("scan.nii", 0);
    check_spacing(volume, d, h, w);
    int64_t first[3]; /* where the file's first voxel is now */
    for (int i = 0; i < 3; i++) first[i] = volume->flips[i] ? volume->shape[i] - 1 : 0;
    world_of(world, volume, first[0], first[1], first[2]);
    for (int i = 0; i < 3; i++) ck_assert_double_eq_tol(world[i], origin[i], 1e-5);
    pumit_volume_release(volume);
}

/* sform before qform before spacing; a transform that cannot be is passed over with a warning. */
START_TEST(the_best_transform_is_used)
{
    static const double none[3] = {0}, q[3] = {5, 6, 7}, s[3] = {1, 2, 3};
    nifti_file file = geometry_file(1 + _i);
    check_geometry(&file, 8, 1.5, 1, none);
    file.qform = 1;
    file.pixdim[0] = -1;
    file.quatern[0] = 1; /* half a turn about x, then k mirrored */
    memcpy(file.origin, q, sizeof q);
    check_geometry(&file, 8, 1.5, 1, q);
    file.sform = 2;
    const double rows[12] = {3, 0, 0, 1, 0, 3.3, 0, 2, 0, 0, 9, 3};
    memcpy(file.rows, rows, sizeof rows);
    check_geometry(&file, 9, 3.3, 3, s);
    ck_assert_int_eq(files_logged, 0);
    file.rows[0] = 0;
    check_geometry(&file, 8, 1.5, 1, q);
    ck_assert_int_eq(files_logged, 0);
    file.quatern[1] = NAN;
    check_geometry(&file, 8, 1.5, 1, none);
    ck_assert_int_eq(files_logged, 1);
    ck_assert(strstr(files_log, "scan.nii"));
}
END_TEST

/* The published formula: a = 1/2, b = c = d = 1/2 turns x to y to z to x. */
START_TEST(quaternions_turn_as_the_standard_says)
{
    const uint8_t data[24] = {0};
    nifti_file file = geometry_file(1);
    file.qform = 1;
    for (int i = 0; i < 3; i++) file.quatern[i] = 0.5, file.origin[i] = 0;
    nifti_write("scan.nii", &file, data, 24, 1);
    pumit_volume *volume = read_volume("scan.nii", 0);
    double world[3];
    world_of(world, volume, 0, 0, 1); /* i, 1 mm, along y */
    ck_assert(fabs(world[0]) < 1e-6 && fabs(world[1] - 1) < 1e-6 && fabs(world[2]) < 1e-6);
    world_of(world, volume, 1, 0, 0); /* k, 8 mm, along x */
    ck_assert(fabs(world[0] - 8) < 1e-6 && fabs(world[1]) < 1e-6 && fabs(world[2]) < 1e-6);
    pumit_volume_release(volume);
    file.pixdim[0] = -1; /* mirrors k */
    nifti_write("scan.nii", &file, data, 24, 1);
    volume = read_volume("scan.nii", 0);
    world_of(world, volume, 0, 0, 0); /* the file's last slice: D runs towards right again */
    ck_assert_double_eq_tol(world[0], -24, 1e-6);
    world_of(world, volume, 3, 0, 0);
    ck_assert(fabs(world[0]) < 1e-6);
    pumit_volume_release(volume);
}
END_TEST

START_TEST(odd_spacings_are_mended)
{
    static const double none[3] = {0};
    nifti_file file = geometry_file(1);
    file.pixdim[3] = -8;
    check_geometry(&file, 8, 1.5, 1, none);
    ck_assert_int_eq(files_logged, 1);
    file.pixdim[1] = file.pixdim[2] = file.pixdim[3] = 0;
    check_geometry(&file, 1, 1, 1, none);
    ck_assert_int_eq(files_logged, 4);
}
END_TEST

START_TEST(units_become_mm)
{
    static const double none[3] = {0};
    nifti_file file = geometry_file(1);
    file.units = 3; /* micrometres */
    check_geometry(&file, 0.008, 0.0015, 0.001, none);
    file.units = 1 | 8; /* metres, seconds */
    check_geometry(&file, 8000, 1500, 1000, none);
    file.version = 2;
    file.qform = 1;
    file.origin[0] = 1e307; /* so many metres are no number of mm */
    check_geometry(&file, 8000, 1500, 1000, none);
    ck_assert_int_eq(files_logged, 1);
}
END_TEST

/* One slice is a 2D image, whatever the step to a next one. */
START_TEST(single_slices_are_flat)
{
    const uint8_t data[6] = {1, 2, 3, 4, 5, 6};
    nifti_file file = nifti_plain(U8, 8, 2, 3, 1);
    file.pixdim[2] = 2;
    for (int i = 0; i < 3; i++) {
        file.dim[0] = i == 0 ? 2 : 3;
        file.sform = i == 2;
        file.rows[0] = 1, file.rows[5] = 2; /* the third column is zero */
        nifti_write("scan.nii", &file, data, 6, 1);
        pumit_volume *volume = read_volume("scan.nii", 0);
        check_shape(volume, 1, 3, 2, 1);
        check_spacing(volume, INFINITY, 2, 1);
        ck_assert_int_eq(pumit_volume_anisotropy(volume), 5);
        pumit_volume_release(volume);
    }
    ck_assert_int_eq(files_logged, 0);
}
END_TEST

Suite *suite_nifti(void);
Suite *suite_nifti(void)
{
    Suite *suite = suite_create("nifti");
    TCase *tcase = tcase_create("nifti");
    tcase_add_checked_fixture(tcase, files_setup, files_teardown);
    tcase_add_loop_test(tcase, every_layout_reads_the_same, 0, 16 * KINDS);
    tcase_add_test(tcase, either_half_of_a_pair_opens_it);
    tcase_add_test(tcase, slope_and_intercept_apply);
    tcase_add_test(tcase, colours_become_three_channels);
    tcase_add_test(tcase, volumes_of_4d_files_are_chosen);
    tcase_add_loop_test(tcase, any_orientation_keeps_world_points, 0, 48);
    tcase_add_loop_test(tcase, the_best_transform_is_used, 0, 2);
    tcase_add_test(tcase, quaternions_turn_as_the_standard_says);
    tcase_add_test(tcase, odd_spacings_are_mended);
    tcase_add_test(tcase, units_become_mm);
    tcase_add_test(tcase, single_slices_are_flat);
    suite_add_tcase(suite, tcase);
    return suite;
}
