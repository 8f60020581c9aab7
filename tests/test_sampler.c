/* SPDX-License-Identifier: Apache-2.0 */
/* Batches of crops: which images, which grid, which places; the same for the same seed and step. */
#include "lib/data/dataset.h"
#include "lib/data/sampler.h"
#include "tests/image_files.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const pumit__sampler_options plain = {
    .batch = 4, .channels = 1, .tokens = {3, 2, 2}, .patch = 8, .seed = 5};

/* All that augmentation can do, often. */
static const pumit__sampler_options changed = {.batch = 4,
                                               .channels = 1,
                                               .tokens = {3, 2, 2},
                                               .patch = 8,
                                               .seed = 5,
                                               .augment = true,
                                               .scale_range = {0.7, 1.6},
                                               .scale_probability = 0.7,
                                               .slice_scale_probability = 0.5,
                                               .rotate_probability = 0.4};

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

/* By image of that set: voxels of depth, degree of anisotropy. */
static const int DEPTHS[6] = {16, 16, 6, 3, 8, 1}, DAS[6] = {0, 0, 2, 3, 0, 5};

START_TEST(batches_have_one_bucket_each)
{
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
            ck_assert_int_eq(shape[1], DEPTHS[images[b]]);
            ck_assert_int_eq(got, DAS[images[b]]);
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

/* Each crop has its own image's size, and every image comes as often as its weight says, whatever the others are. */
START_TEST(mixed_batches_have_all_kinds)
{
    int seen[6] = {0}, several = 0;
    write_mixed_set();
    pumit__sampler_options options = plain;
    options.channels = 3;
    options.mixed = true;
    pumit__sampler *sampler = make_sampler(&options);
    ck_assert_int_eq(pumit__sampler_tensors(sampler), 4);
    for (int64_t step = 0; step < 300; step++) {
        pumit_tensor *batch[4];
        double spacing[4][3];
        int64_t images[4];
        int32_t got;
        CHECK_OK(pumit__sampler_batch(batch, spacing[0], images, sampler, step));
        for (int b = 0; b < 4; b++) {
            const int64_t *shape = pumit_tensor_shape(batch[b]);
            ck_assert(shape[0] == 1 && shape[2] == 16 && shape[3] == 16 && shape[4] == 3);
            ck_assert_int_eq(shape[1], DEPTHS[images[b]]);
            CHECK_OK(pumit_degree_of_anisotropy(&got, spacing[b]));
            ck_assert_int_eq(got, DAS[images[b]]);
            for (int other = 0; other < b; other++) ck_assert_int_ne(images[b], images[other]);
            seen[images[b]]++;
            pumit_tensor_release(batch[b]);
        }
        several += DAS[images[0]] != DAS[images[1]] || DAS[images[0]] != DAS[images[2]] ||
                   DAS[images[0]] != DAS[images[3]];
    }
    ck_assert_int_eq(several, 300); /* three have DA 0, so four are never alike */
    for (int i = 0; i < 6; i++)     /* 200 each, give or take six deviations */
        ck_assert_msg(seen[i] > 150 && seen[i] < 250, "image %d: %d times", i, seen[i]);
    pumit__sampler_release(sampler);
}
END_TEST

START_TEST(a_mixed_step_is_a_pure_function)
{
    write_mixed_set();
    pumit__sampler_options options = changed;
    options.mixed = true;
    pumit__sampler *first = make_sampler(&options), *second = make_sampler(&options);
    for (int64_t step = 0; step < 20; step++) {
        pumit_tensor *a[4], *b[4];
        double spacing[2][4 * 3];
        CHECK_OK(pumit__sampler_batch(b, spacing[1], NULL, second, step));
        for (int i = 0; i < 4; i++) pumit_tensor_release(b[i]);
        CHECK_OK(pumit__sampler_batch(a, spacing[0], NULL, first, 19 - step));
        CHECK_OK(pumit__sampler_batch(b, spacing[1], NULL, second, 19 - step));
        ck_assert(memcmp(spacing[0], spacing[1], sizeof spacing[0]) == 0);
        for (int i = 0; i < 4; i++) {
            ck_assert_int_eq(pumit_tensor_count(a[i]), pumit_tensor_count(b[i]));
            ck_assert(memcmp(values_of(a[i]), values_of(b[i]),
                             (size_t)pumit_tensor_count(a[i]) * 4) == 0);
            pumit_tensor_release(a[i]);
            pumit_tensor_release(b[i]);
        }
    }
    pumit__sampler_release(first);
    pumit__sampler_release(second);
}
END_TEST

START_TEST(a_step_is_a_pure_function)
{
    write_mixed_set();
    pumit__sampler_options options = changed;
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
    for (int i = 0; i < 8; i++) {
        pumit__sampler_options options = changed;
        if (i == 0) options.batch = 0;
        if (i == 1) options.channels = 0;
        if (i == 2) options.patch = 0;
        if (i == 3) options.tokens[2] = 0;
        if (i == 4) options.balance = 1.5;
        if (i == 5) options.rotate_probability = NAN;
        if (i == 6) options.scale_range[0] = 2;
        if (i == 7) options.tokens[0] = options.patch = INT64_C(1) << 30;
        ck_assert_int_eq(pumit__sampler_create(&sampler, files_context, dataset, &options),
                         PUMIT_ERROR_INVALID_ARGUMENT);
        ck_assert_ptr_null(sampler);
    }
    pumit_dataset_release(dataset);
}
END_TEST

/* Weights 0, 1, 2, .. 5 of one bucket: chi square with four degrees of freedom, below its 99.9th percentile. */
START_TEST(draws_follow_the_weights)
{
    const uint8_t pixels[256] = {0};
    int counts[6] = {0};
    files_folder("set");
    for (int i = 0; i < 6; i++) {
        char name[32];
        snprintf(name, sizeof name, "set/%d.png", i);
        png_write(name, 16, 16, 8, 0, false, pixels);
    }
    pumit__sampler *sampler;
    pumit_dataset *dataset = open_set();
    for (int i = 0; i < 6; i++) dataset->items[i].weight = i;
    pumit__sampler_options options = changed;
    options.batch = 1;
    options.balance = 0.5;
    CHECK_OK(pumit__sampler_create(&sampler, files_context, dataset, &options));
    for (int64_t step = 0; step < 3000; step++) {
        pumit_tensor *batch;
        double spacing[3];
        int64_t image;
        CHECK_OK(pumit__sampler_batch(&batch, spacing, &image, sampler, step));
        counts[image]++;
        pumit_tensor_release(batch);
    }
    double distance = 0;
    for (int i = 1; i < 6; i++) distance += pow(counts[i] - 200.0 * i, 2) / (200.0 * i);
    ck_assert_int_eq(counts[0], 0);
    ck_assert_msg(distance <= 18.5, "chi square %g", distance);
    pumit__sampler_release(sampler);
    for (int i = 0; i < 6; i++) dataset->items[i].weight = i == 4 ? -1 : 0;
    ck_assert_int_eq(pumit__sampler_create(&sampler, files_context, dataset, &options),
                     PUMIT_ERROR_INVALID_ARGUMENT);
    dataset->items[4].weight = 0;
    ck_assert_int_eq(pumit__sampler_create(&sampler, files_context, dataset, &options),
                     PUMIT_ERROR_INVALID_ARGUMENT);
    pumit_dataset_release(dataset);
}
END_TEST

/* The degree of anisotropy as the reference has it: floor(log2(ratio)), the ratio limited to 1..32. */
START_TEST(scaled_grids_have_the_degree_of_their_ratio)
{
    static const double thickness[4] = {1, 1.9, 3, 7};
    bool seen[6] = {false};
    double least = 9, most = 0;
    files_folder("set");
    for (int i = 0; i < 4; i++) {
        char name[32];
        snprintf(name, sizeof name, "set/%d.nii", i);
        write_ramp(name, 22, 24, 20, 1, thickness[i]);
    }
    pumit__sampler_options options = changed;
    options.batch = 2;
    pumit__sampler *sampler = make_sampler(&options);
    for (int64_t step = 0; step < 400; step++) {
        pumit_tensor *batch;
        double spacing[3];
        int64_t images[2];
        CHECK_OK(pumit__sampler_batch(&batch, spacing, images, sampler, step));
        const double ratio = spacing[0] / spacing[1];
        const int da = (int)floor(log2(fmin(fmax(ratio * (1 + 1e-4), 1), 32)));
        const int64_t token = 8 >> da > 1 ? 8 >> da : 1, depth = pumit_tensor_shape(batch)[1];
        const double slices = thickness[images[0]] / spacing[0] * 20;
        ck_assert_double_eq(spacing[1], spacing[2]);
        ck_assert_int_eq(depth, token * (int64_t)fmin(fmax(floor(slices / (double)token), 1), 3));
        /* 22 voxels have room for 16 of 1.375. */
        ck_assert_msg(spacing[1] >= 0.7 && spacing[1] <= 1.375, "spacing %g", spacing[1]);
        if (thickness[images[0]] > 2) ck_assert_double_eq(spacing[0], thickness[images[0]]);
        const double slice = spacing[0] / thickness[images[0]];
        ck_assert(slice >= 0.8 && slice <= 1.25);
        least = fmin(least, spacing[1]);
        most = fmax(most, spacing[1]);
        seen[da] = true;
        pumit_tensor_release(batch);
    }
    ck_assert(seen[0] && seen[1] && seen[2] && seen[3]);
    ck_assert(least < 0.75 && most > 1.3);
    pumit__sampler_release(sampler);
}
END_TEST

Suite *suite_sampler(void);
Suite *suite_sampler(void)
{
    Suite *suite = suite_create("sampler");
    TCase *tcase = tcase_create("sampler");
    tcase_add_checked_fixture(tcase, files_setup, files_teardown);
    tcase_add_loop_test(tcase, batches_have_one_bucket_each, 0, 2);
    tcase_add_test(tcase, mixed_batches_have_all_kinds);
    tcase_add_test(tcase, a_mixed_step_is_a_pure_function);
    tcase_add_test(tcase, a_step_is_a_pure_function);
    tcase_add_test(tcase, plain_crops_are_pieces_of_the_image);
    tcase_add_test(tcase, images_of_a_batch_differ);
    tcase_add_test(tcase, thin_images_grow_in_depth);
    tcase_add_test(tcase, balance_evens_buckets_out);
    tcase_add_test(tcase, bad_options_are_refused);
    tcase_add_test(tcase, draws_follow_the_weights);
    tcase_add_test(tcase, scaled_grids_have_the_degree_of_their_ratio);
    suite_add_tcase(suite, tcase);
    return suite;
}
