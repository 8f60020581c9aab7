/* SPDX-License-Identifier: Apache-2.0 */
/* Crops: which images, which grid, which voxels; the same for the same seed and step. */
#include "lib/data/crop.h"
#include "lib/data/filter.h"
#include "lib/data/sampler.h"
#include "tests/image_files.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const pumit__sampler_options plain = {
    .batch = 4, .channels = 1, .tokens = {3, 2, 2}, .patch = 8, .seed = 5};

/* A float NIfTI whose voxel (i, j, k) is i + 100 j + 10000 k, so that each tells where it is from. */
static void write_ramp(const char *name, int ni, int nj, int nk, double spacing, double thickness)
{
    float *data = malloc((size_t)(ni * nj * nk) * sizeof *data);
    for (int n = 0; n < ni * nj * nk; n++)
        data[n] = (float)(n % ni + n / ni % nj * 100 + n / (ni * nj) * 10000);
    nifti_file file = nifti_plain(16, 32, ni, nj, nk);
    file.pixdim[1] = file.pixdim[2] = spacing;
    file.pixdim[3] = thickness;
    nifti_write(name, &file, data, (size_t)(ni * nj * nk), 4);
    free(data);
}

static pumit_dataset *open_set(void)
{
    pumit_dataset *dataset;
    const char *path = files_path("set");
    CHECK_OK(pumit_dataset_open(&dataset, files_context, 1, &path, NULL));
    return dataset;
}

static pumit__sampler *make_sampler(const pumit__sampler_options *options)
{
    pumit__sampler *sampler;
    pumit_dataset *dataset = open_set();
    CHECK_OK(pumit__sampler_create(&sampler, files_context, dataset, options));
    pumit_dataset_release(dataset); /* the sampler keeps what it needs */
    return sampler;
}

static float *values_of(pumit_tensor *tensor)
{
    void *data;
    CHECK_OK(pumit_tensor_data(&data, tensor));
    return data;
}

static void write_mixed_set(void)
{
    files_folder("set");
    write_ramp("set/a-cube.nii", 20, 20, 20, 1, 1);    /* 16 fit: DA 0, two tokens of 8 */
    write_ramp("set/b-cube.nii", 8, 10, 9, 1, 1);      /* grown by 2: 18 voxels, two tokens */
    write_ramp("set/c-thick.nii", 20, 20, 20, 1, 4.5); /* DA 2: tokens of 2; ten, three allowed */
    write_ramp("set/d-thick.nii", 8, 8, 5, 1, 4.5); /* grown by 2 in the plane: DA 3, five tokens */
    write_ramp("set/e-thin.nii", 20, 20, 2, 1, 1);  /* one token */
    const uint8_t pixels[36] = {0};
    png_write("set/f-flat.png", 6, 6, 8, 0, false, pixels); /* DA 5, one token of one voxel */
}

START_TEST(buckets_follow_the_grids)
{
    static const pumit__sampler_bucket wanted[] = {
        {0, 1, 1}, {0, 2, 2}, {2, 3, 1}, {3, 3, 1}, {5, 1, 1}};
    write_mixed_set();
    pumit__sampler *sampler = make_sampler(&plain);
    pumit__sampler_bucket buckets[8];
    ck_assert_int_eq(pumit__sampler_buckets(buckets, 8, sampler), 5);
    for (int i = 0; i < 5; i++)
        ck_assert_msg(buckets[i].da == wanted[i].da &&
                          buckets[i].depth_tokens == wanted[i].depth_tokens &&
                          buckets[i].images == wanted[i].images,
                      "bucket %d: DA %d, %d tokens, %d images", i, buckets[i].da,
                      (int)buckets[i].depth_tokens, (int)buckets[i].images);
    ck_assert_int_eq(pumit__sampler_buckets(NULL, 0, sampler), 5);
    pumit__sampler_release(sampler);
    pumit__sampler_release(NULL);
}
END_TEST

START_TEST(batches_have_one_bucket_each)
{
    /* By image: voxels of depth, degree of anisotropy. */
    static const int depth[6] = {16, 16, 6, 3, 8, 1}, da[6] = {0, 0, 2, 3, 0, 5};
    int seen[6] = {0};
    write_mixed_set();
    pumit__sampler_options options = plain;
    options.augment = _i;
    options.channels = 3;
    pumit__sampler *sampler = make_sampler(&options);
    for (int64_t step = 0; step < 300; step++) {
        pumit_tensor *batch;
        double spacing[3];
        int64_t images[4];
        int32_t got;
        CHECK_OK(pumit__sampler_batch(&batch, spacing, images, sampler, step));
        const int64_t *shape = pumit_tensor_shape(batch);
        ck_assert(shape[0] == 4 && shape[2] == 16 && shape[3] == 16 && shape[4] == 3);
        CHECK_OK(pumit_degree_of_anisotropy(&got, spacing));
        for (int b = 0; b < 4; b++) {
            ck_assert_int_eq(shape[1], depth[images[b]]);
            ck_assert_int_eq(got, da[images[b]]);
            seen[images[b]]++;
        }
        const float *values = values_of(batch);
        for (int64_t i = 0; i < pumit_tensor_count(batch); i++)
            if (!(values[i] >= 0 && values[i] <= 1)) ck_abort_msg("value %g", values[i]);
        pumit_tensor_release(batch);
    }
    for (int i = 0; i < 6; i++) /* 200 each, give or take five deviations */
        ck_assert_msg(seen[i] > 90 && seen[i] < 320, "image %d: %d times", i, seen[i]);
    pumit__sampler_release(sampler);
}
END_TEST

START_TEST(a_step_is_a_pure_function)
{
    write_mixed_set();
    pumit__sampler_options options = plain;
    options.augment = true;
    pumit__sampler *first = make_sampler(&options), *second = make_sampler(&options);
    options.seed = 6;
    pumit__sampler *other = make_sampler(&options);
    int differing_steps = 0, differing_seeds = 0;
    for (int64_t step = 0; step < 20; step++) {
        pumit_tensor *a, *b, *c;
        double spacing[2][3];
        CHECK_OK(pumit__sampler_batch(&a, spacing[0], NULL, first, 19 - step));
        CHECK_OK(pumit__sampler_batch(&b, spacing[1], NULL, second, step));
        pumit_tensor_release(b);
        CHECK_OK(pumit__sampler_batch(&b, spacing[1], NULL, second, 19 - step));
        ck_assert_int_eq(pumit_tensor_count(a), pumit_tensor_count(b));
        ck_assert(memcmp(values_of(a), values_of(b), (size_t)pumit_tensor_count(a) * 4) == 0);
        ck_assert(memcmp(spacing[0], spacing[1], sizeof spacing[0]) == 0);
        pumit_tensor_release(b);
        CHECK_OK(pumit__sampler_batch(&b, spacing[1], NULL, first, 20 + step));
        CHECK_OK(pumit__sampler_batch(&c, spacing[1], NULL, other, 19 - step));
        differing_steps +=
            pumit_tensor_count(a) != pumit_tensor_count(b) ||
            memcmp(values_of(a), values_of(b), (size_t)pumit_tensor_count(a) * 4) != 0;
        differing_seeds +=
            pumit_tensor_count(a) != pumit_tensor_count(c) ||
            memcmp(values_of(a), values_of(c), (size_t)pumit_tensor_count(a) * 4) != 0;
        pumit_tensor_release(a);
        pumit_tensor_release(b);
        pumit_tensor_release(c);
    }
    /* A black picture is black however it is cropped: those batches may agree. */
    ck_assert_int_ge(differing_steps, 15);
    ck_assert_int_ge(differing_seeds, 15);
    pumit__sampler_release(first);
    pumit__sampler_release(second);
    pumit__sampler_release(other);
}
END_TEST

/* Without augmentation and growth a crop is a piece of the image, voxel for voxel, and every place occurs. */
START_TEST(plain_crops_are_pieces_of_the_image)
{
    bool seen[3][5] = {{false}};
    files_folder("set");
    write_ramp("set/a.nii", 20, 20, 20, 1, 1);
    pumit__sampler *sampler = make_sampler(&plain);
    pumit_dataset *dataset = open_set();
    pumit_tensor *whole;
    CHECK_OK(pumit_volume_to_tensor(&whole, pumit_dataset_volume(dataset, 0), files_context, 1));
    for (int64_t step = 0; step < 40; step++) {
        pumit_tensor *batch;
        double spacing[3];
        CHECK_OK(pumit__sampler_batch(&batch, spacing, NULL, sampler, step));
        ck_assert(spacing[0] == 1 && spacing[1] == 1 && spacing[2] == 1);
        for (int b = 0; b < 4; b++) {
            const float *crop = values_of(batch) + b * 4096, *all = values_of(whole);
            int found = -1;
            for (int place = 0; place < 125 && found < 0; place++) {
                bool equal = true;
                for (int n = 0; n < 4096 && equal; n++)
                    equal = crop[n] ==
                            all[((n / 256 + place / 25) * 20 + n / 16 % 16 + place / 5 % 5) * 20 +
                                n % 16 + place % 5];
                if (equal) found = place;
            }
            ck_assert_int_ge(found, 0);
            seen[0][found / 25] = seen[1][found / 5 % 5] = seen[2][found % 5] = true;
        }
        pumit_tensor_release(batch);
    }
    for (int i = 0; i < 15; i++)
        ck_assert_msg(seen[i / 5][i % 5], "axis %d, place %d", i / 5, i % 5);
    pumit_tensor_release(whole);
    pumit_dataset_release(dataset);
    pumit__sampler_release(sampler);
}
END_TEST

/* A batch as large as its bucket holds every image once. */
START_TEST(images_of_a_batch_differ)
{
    files_folder("set");
    for (int i = 0; i < 5; i++) {
        char name[32];
        snprintf(name, sizeof name, "set/%d.nii", i);
        write_ramp(name, 16, 16, 8, 1, 1);
    }
    int counts[5] = {0};
    pumit__sampler *sampler = make_sampler(&plain);
    for (int64_t step = 0; step < 200; step++) {
        pumit_tensor *batch;
        double spacing[3];
        int64_t images[4];
        int times[5] = {0};
        CHECK_OK(pumit__sampler_batch(&batch, spacing, images, sampler, step));
        for (int b = 0; b < 4; b++) {
            ck_assert_int_eq(times[images[b]], 0);
            times[images[b]]++;
            counts[images[b]]++;
        }
        pumit_tensor_release(batch);
    }
    for (int i = 0; i < 5; i++) ck_assert_msg(counts[i] > 130 && counts[i] < 190, "%d", counts[i]);
    pumit__sampler_release(sampler);
}
END_TEST

/* Two slices become the eight voxels that one token needs, evenly. */
START_TEST(thin_images_grow_in_depth)
{
    files_folder("set");
    write_ramp("set/a.nii", 16, 16, 2, 1, 1);
    pumit__sampler *sampler = make_sampler(&plain);
    pumit_tensor *batch;
    double spacing[3];
    CHECK_OK(pumit__sampler_batch(&batch, spacing, NULL, sampler, 0));
    ck_assert_int_eq(pumit_tensor_shape(batch)[1], 8);
    const float *v = values_of(batch);
    const float low = v[0], high = v[7 * 256];
    ck_assert_float_gt(high, low + 0.5f);
    for (int d = 0; d < 8; d++)
        ck_assert_float_eq_tol((v[d * 256] - low) / (high - low),
                               fmin(fmax((d + 0.5) / 4 - 0.5, 0), 1), 1e-5);
    pumit_tensor_release(batch);
    pumit__sampler_release(sampler);
}
END_TEST

/* Nine images of one bucket and one of another: nine to one, or by full balance one to one. */
START_TEST(balance_evens_buckets_out)
{
    const uint8_t pixels[36] = {0};
    files_folder("set");
    write_ramp("set/a.nii", 20, 20, 20, 1, 1);
    for (int i = 0; i < 9; i++) {
        char name[32];
        snprintf(name, sizeof name, "set/%d.png", i);
        png_write(name, 6, 6, 8, 0, false, pixels);
    }
    for (int balance = 0; balance < 2; balance++) {
        pumit__sampler_options options = plain;
        options.batch = 1;
        options.balance = balance;
        pumit__sampler *sampler = make_sampler(&options);
        int solid = 0;
        for (int64_t step = 0; step < 400; step++) {
            pumit_tensor *batch;
            double spacing[3];
            CHECK_OK(pumit__sampler_batch(&batch, spacing, NULL, sampler, step));
            solid += pumit_tensor_shape(batch)[1] > 1;
            pumit_tensor_release(batch);
        }
        ck_assert_msg(abs(solid - (balance ? 200 : 40)) <= (balance ? 50 : 30), "%d", solid);
        pumit__sampler_release(sampler);
    }
}
END_TEST

START_TEST(bad_options_are_refused)
{
    files_folder("set");
    write_ramp("set/a.nii", 4, 4, 4, 1, 1);
    pumit_dataset *dataset = open_set();
    pumit__sampler *sampler;
    for (int i = 0; i < 4; i++) {
        pumit__sampler_options options = plain;
        if (i == 0) options.batch = 0;
        if (i == 1) options.channels = 0;
        if (i == 2) options.patch = 0;
        if (i == 3) options.tokens[2] = 0;
        ck_assert_int_eq(pumit__sampler_create(&sampler, files_context, dataset, &options),
                         PUMIT_ERROR_INVALID_ARGUMENT);
        ck_assert_ptr_null(sampler);
    }
    pumit_dataset_release(dataset);
}
END_TEST

/* ---------------------------------------------------------------------------------------- resampling */

static void apply(float *dst, const float *src, int64_t length, int64_t count, double start,
                  double step, bool flip)
{
    pumit__filter filter;
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
    pumit_volume *volume;
    CHECK_OK(pumit_volume_create(&volume, files_context, PUMIT_F32, size, 1, data, affine));
    pumit__crop crop = {
        .size = {3, 4, 5}, .start = {1, 0.75, 1.5}, .step = {1, 1.25, 0.8}, .gain = 1, .gamma = 1};
    for (int flips = 0; flips < 4; flips++) {
        crop.flip[1] = flips & 1;
        crop.flip[2] = flips & 2;
        CHECK_OK(pumit__crop_render(dst, volume, &window, &crop, 1));
        for (int n = 0; n < 60; n++) {
            const int h = crop.flip[1] ? 3 - n / 5 % 4 : n / 5 % 4,
                      w = crop.flip[2] ? 4 - n % 5 : n % 5;
            const double y = 0.75 + (h + 0.5) * 1.25 - 0.5, x = 1.5 + (w + 0.5) * 0.8 - 0.5;
            const double value = ((1 + n / 20) * 3 + y * 5 + x * 2) / 64;
            ck_assert_msg(fabs(dst[n] - value) <= 2e-2, "voxel %d: %g, not %g", n, dst[n], value);
        }
    }
    crop.gain = 0.5f, crop.gamma = 2;
    float before = dst[59];
    CHECK_OK(pumit__crop_render(dst, volume, &window, &crop, 1));
    ck_assert_float_eq_tol(dst[59], 0.5 * before * before, 1e-6);
    pumit_volume_release(volume);
}
END_TEST

Suite *suite_sampler(void);
Suite *suite_sampler(void)
{
    Suite *suite = suite_create("sampler");
    TCase *tcase = tcase_create("sampler");
    tcase_add_checked_fixture(tcase, files_setup, files_teardown);
    tcase_add_test(tcase, buckets_follow_the_grids);
    tcase_add_loop_test(tcase, batches_have_one_bucket_each, 0, 2);
    tcase_add_test(tcase, a_step_is_a_pure_function);
    tcase_add_test(tcase, plain_crops_are_pieces_of_the_image);
    tcase_add_test(tcase, images_of_a_batch_differ);
    tcase_add_test(tcase, thin_images_grow_in_depth);
    tcase_add_test(tcase, balance_evens_buckets_out);
    tcase_add_test(tcase, bad_options_are_refused);
    tcase_add_test(tcase, filters_interpolate_and_average);
    tcase_add_test(tcase, crops_sample_where_they_say);
    suite_add_tcase(suite, tcase);
    return suite;
}
