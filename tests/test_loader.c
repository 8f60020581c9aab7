/* SPDX-License-Identifier: Apache-2.0 */
/* Batches made ahead: the sampler's, with any number of threads, in any order, whatever breaks. */
#include "lib/data/dataset.h"
#include "lib/data/loader.h"
#include "tests/box_hook.h"
#include "tests/image_files.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const pumit__sampler_options options = {.batch = 3,
                                               .channels = 3,
                                               .tokens = {2, 2, 2},
                                               .patch = 8,
                                               .seed = 5,
                                               .augment = true,
                                               .scale_range = {0.7, 1.6},
                                               .scale_probability = 0.7,
                                               .slice_scale_probability = 0.5,
                                               .rotate_probability = 0.4};

static pumit_dataset *dataset;
static pumit__sampler *sampler,
    *mixed; /* mixed: the same with crops of different kinds in a batch */

/* Six volumes of noise, every second one thick, and two RGB pictures among flat gray ones. */
static void setup(void)
{
    static float data[24 * 24 * 20];
    static uint8_t pixels[20 * 20 * 3];
    char name[32];
    files_setup();
    files_folder("set");
    for (int i = 0; i < 6; i++) {
        nifti_file file = nifti_plain(16, 32, 24, 24, 20);
        file.pixdim[3] = i & 1 ? 3 : 1;
        for (int n = 0; n < 24 * 24 * 20; n++)
            data[n] = (float)pumit__random_uniform(3, (uint64_t)i, (uint64_t)n);
        snprintf(name, sizeof name, "set/%d.nii", i);
        nifti_write(name, &file, data, 24 * 24 * 20, 4);
    }
    for (int i = 0; i < 4; i++) {
        for (int n = 0; n < 1200; n++)
            pixels[n] = (uint8_t)pumit__random(4, (uint64_t)i, (uint64_t)n);
        snprintf(name, sizeof name, "set/picture-%d.png", i);
        png_write(name, 20, 20, 8, i & 1 ? 2 : 0, false, pixels);
    }
    const char *path = files_path("set");
    CHECK_OK(pumit_dataset_open(&dataset, files_context, 1, &path, NULL));
    CHECK_OK(pumit__sampler_create(&sampler, files_context, dataset, &options));
    pumit__sampler_options other = options;
    other.mixed = true;
    CHECK_OK(pumit__sampler_create(&mixed, files_context, dataset, &other));
}

static void teardown(void)
{
    box_breaks = NULL;
    pumit__sampler_release(sampler);
    pumit__sampler_release(mixed);
    pumit_dataset_release(dataset);
    files_teardown();
}

/* The loader's batch of a step, compared with what its sampler gives. */
static void check_step_of(pumit__loader *loader, const pumit__sampler *from, int64_t step)
{
    pumit_tensor *got[3], *wanted[3];
    double spacing[2][3 * 3];
    int64_t indices[2][3];
    void *a, *b;
    CHECK_OK(pumit__loader_take(got, spacing[0], indices[0], loader, step));
    CHECK_OK(pumit__sampler_batch(wanted, spacing[1], indices[1], from, step));
    for (int64_t i = 0; i < pumit__sampler_tensors(from); i++) {
        CHECK_OK(pumit_tensor_data(&a, got[i]));
        CHECK_OK(pumit_tensor_data(&b, wanted[i]));
        ck_assert_int_eq(pumit_tensor_count(got[i]), pumit_tensor_count(wanted[i]));
        ck_assert(memcmp(a, b, (size_t)pumit_tensor_count(got[i]) * 4) == 0);
        ck_assert(memcmp(spacing[0] + 3 * i, spacing[1] + 3 * i, 3 * sizeof(double)) == 0);
        pumit_tensor_release(got[i]);
        pumit_tensor_release(wanted[i]);
    }
    ck_assert(memcmp(indices[0], indices[1], sizeof indices[0]) == 0);
}

static void check_step(pumit__loader *loader, int64_t step)
{
    check_step_of(loader, sampler, step);
}

static const struct {
    int64_t workers, ahead;
} cases[] = {{0, 4}, {1, 1}, {1, 4}, {3, 1}, {3, 2}, {3, 5}, {8, 3}};

START_TEST(batches_are_the_samplers)
{
    pumit__loader *loader;
    CHECK_OK(pumit__loader_create(&loader, sampler, cases[_i].workers, cases[_i].ahead));
    for (int64_t step = 0; step < 40; step++) check_step(loader, step);
    ck_assert_int_eq(pumit__loader_failed(loader), 0);
    pumit__loader_release(loader);
    CHECK_OK(pumit__loader_create(&loader, mixed, cases[_i].workers, cases[_i].ahead));
    for (int64_t step = 0; step < 40; step++) check_step_of(loader, mixed, step);
    check_step_of(loader, mixed, 7);
    pumit__loader_release(loader);
}
END_TEST

/* As after a resume, or where a step is asked for again. */
START_TEST(any_step_may_be_asked_for)
{
    static const int64_t steps[] = {7, 8, 8, 100, 101, 3, 4, 5, 4, 103, 102, 0, 1, 1000000000000};
    pumit__loader *loader;
    CHECK_OK(pumit__loader_create(&loader, sampler, cases[_i].workers, cases[_i].ahead));
    for (int i = 0; i < 14; i++) check_step(loader, steps[i]);
    pumit_tensor *none;
    double spacing[3];
    ck_assert_int_eq(pumit__loader_take(&none, spacing, NULL, loader, -1),
                     PUMIT_ERROR_INVALID_ARGUMENT);
    ck_assert_ptr_null(none);
    pumit__loader_release(loader);
}
END_TEST

/* At any moment: before the first batch, in the middle, when all is ready. */
START_TEST(release_never_waits_for_ever)
{
    for (int i = 0; i < 40; i++) {
        pumit__loader *loader;
        CHECK_OK(pumit__loader_create(&loader, sampler, cases[i % 7].workers, cases[i % 7].ahead));
        for (int64_t step = 0; step < i % 5; step++) {
            pumit_tensor *batch;
            double spacing[3];
            CHECK_OK(pumit__loader_take(&batch, spacing, NULL, loader, step));
            pumit_tensor_release(batch);
        }
        pumit__loader_release(loader);
    }
    pumit__loader_release(NULL);
    pumit__loader *none;
    ck_assert_int_eq(pumit__loader_create(&none, sampler, 1, 0), PUMIT_ERROR_INVALID_ARGUMENT);
    ck_assert_ptr_null(none);
}
END_TEST

static bool second_breaks(const pumit_volume *volume)
{
    return volume == dataset->items[1].volume;
}

static bool all_break(const pumit_volume *volume)
{
    (void)volume;
    return true;
}

/* One image that cannot be read is left out, counted and told of; the others still come. */
START_TEST(a_broken_image_is_left_out)
{
    pumit__loader *loader;
    box_breaks = second_breaks;
    CHECK_OK(pumit__loader_create(&loader, sampler, cases[_i].workers, cases[_i].ahead));
    for (int64_t step = 0; step < 30; step++) {
        pumit_tensor *batch;
        double spacing[3];
        int64_t indices[3];
        CHECK_OK(pumit__loader_take(&batch, spacing, indices, loader, step));
        for (int b = 0; b < 3; b++) ck_assert_int_ne(indices[b], 1);
        pumit_tensor_release(batch);
    }
    for (int64_t step = 30; step < 40; step++) check_step(loader, step);
    ck_assert_int_gt(pumit__loader_failed(loader), 3);
    ck_assert_ptr_nonnull(strstr(files_log, "broken.npy"));
    pumit__loader_release(loader);
}
END_TEST

/* The worker's message arrives, and what can be read again is. */
START_TEST(nothing_readable_is_an_error)
{
    pumit__loader *loader;
    pumit_tensor *none;
    double spacing[3];
    box_breaks = all_break;
    pumit_tensor *nothing[3];
    double spacings[3 * 3];
    CHECK_OK(pumit__loader_create(&loader, mixed, cases[_i].workers, 1));
    ck_assert_int_eq(pumit__loader_take(nothing, spacings, NULL, loader, 0), PUMIT_ERROR_IO);
    for (int i = 0; i < 3; i++) ck_assert_ptr_null(nothing[i]);
    pumit__loader_release(loader);
    CHECK_OK(pumit__loader_create(&loader, sampler, cases[_i].workers, 1));
    for (int64_t step = 0; step < 2; step++) {
        pumit__fail(PUMIT_ERROR_STATE, "something else");
        ck_assert_int_eq(pumit__loader_take(&none, spacing, NULL, loader, step), PUMIT_ERROR_IO);
        ck_assert_ptr_null(none);
        ck_assert_ptr_nonnull(strstr(pumit_last_error(), "broken.npy"));
    }
    pumit__loader_release(loader);
    box_breaks = NULL;
    CHECK_OK(pumit__loader_create(&loader, sampler, cases[_i].workers, 1));
    check_step(loader, 1);
    pumit__loader_release(loader);
}
END_TEST

/* Threads of this process that block SIGTERM. */
static int deaf_threads(void)
{
    int count = 0;
    DIR *tasks = opendir("/proc/self/task");
    ck_assert_ptr_nonnull(tasks);
    for (struct dirent *entry; (entry = readdir(tasks)) != NULL;) {
        char path[300], line[256];
        unsigned long long blocked = 0;
        snprintf(path, sizeof path, "/proc/self/task/%s/status", entry->d_name);
        FILE *file = fopen(path, "r");
        while (file && fgets(line, sizeof line, file))
            if (strncmp(line, "SigBlk:", 7) == 0) blocked = strtoull(line + 7, NULL, 16);
        if (file) fclose(file);
        count += blocked >> (SIGTERM - 1) & 1;
    }
    closedir(tasks);
    return count;
}

/* A signal that shall stop the run must find the thread that runs it. */
START_TEST(workers_leave_signals_alone)
{
    pumit__loader *loader;
    CHECK_OK(
        pumit__loader_create(&loader, sampler, 1, 1)); /* a sanitizer may start a thread with it */
    pumit__loader_release(loader);
    const int before = deaf_threads();
    CHECK_OK(pumit__loader_create(&loader, sampler, 3, 2));
    check_step(loader, 0);
    ck_assert_int_eq(deaf_threads(), before + 3);
    pumit__loader_release(loader);
    ck_assert_int_eq(deaf_threads(), before);
}
END_TEST

Suite *suite_loader(void);
Suite *suite_loader(void)
{
    Suite *suite = suite_create("loader");
    TCase *tcase = tcase_create("loader");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, batches_are_the_samplers, 0, 7);
    tcase_add_loop_test(tcase, any_step_may_be_asked_for, 0, 7);
    tcase_add_test(tcase, release_never_waits_for_ever);
    tcase_add_loop_test(tcase, a_broken_image_is_left_out, 0, 3);
    tcase_add_loop_test(tcase, nothing_readable_is_an_error, 0, 3);
    tcase_add_test(tcase, workers_leave_signals_alone);
    suite_add_tcase(suite, tcase);
    return suite;
}
