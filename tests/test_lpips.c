/* SPDX-License-Identifier: Apache-2.0 */
/* LPIPS through its public calls: what a distance is, whose gradient it has, files of others, what is refused. */
#include "lib/models/lpips.h"
#include "lib/nn/weights.h"
#include "lib/tensor/safetensors.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

Suite *suite_lpips(void);

#define CHECK_OK(call) ck_assert_msg((call) == PUMIT_OK, "%s", pumit_last_error())
#define CHECK_FAILS(status, call)                                                                  \
    ck_assert_str_eq(pumit_status_name(call), pumit_status_name(status))
#define CHECK_NEAR(got, expected, bound)                                                           \
    ck_assert_msg(fabs((got) - (expected)) <= (bound), #got " is %.12g, not %.12g", (double)(got), \
                  (double)(expected))

#define SLICES 4
#define PIXELS (16 * 18)

static pumit_context *ctx;
static pumit_lpips *lpips;

static void setup(void)
{
    pumit_config *options;
    CHECK_OK(pumit_config_parse(&options, "{\"device\": \"reference64\", \"threads\": 1}"));
    CHECK_OK(pumit_context_create(&ctx, options));
    pumit_config_release(options);
    CHECK_OK(pumit_config_parse(&options, "{\"channels\": [4, 5, 6, 7, 8], \"seed\": 2}"));
    CHECK_OK(pumit_lpips_create(&lpips, ctx, options));
    pumit_config_release(options);
}

static void teardown(void)
{
    pumit_lpips_release(lpips);
    pumit_context_release(ctx);
}

/* Slices `first` to `first + n * depth` of an endless random stack, gray ones in all channels. */
static pumit_tensor *images(uint64_t stream, int64_t first, int64_t n, int64_t depth,
                            int64_t channels, bool gray)
{
    const int64_t shape[5] = {n, depth, 16, 18, channels}, count = n * depth * PIXELS * channels;
    double values[SLICES * PIXELS * 3];
    pumit_tensor *x;
    ck_assert_int_le(count, PUMIT__COUNT(values));
    for (int64_t i = 0; i < count; i++) {
        const int64_t at = first * PIXELS * channels + i;
        values[i] = pumit__random_uniform(9, stream, (uint64_t)(gray ? at / channels : at));
    }
    CHECK_OK(pumit_tensor_create(&x, ctx, PUMIT_F64, 5, shape));
    CHECK_OK(pumit_tensor_write(x, PUMIT_F64, values, count * (int64_t)sizeof *values));
    return x;
}

/* Takes both. */
static double distance(pumit_tensor *a, pumit_tensor *b)
{
    pumit_tensor *out;
    double value;
    CHECK_OK(pumit_lpips_distance(&out, lpips, a, b));
    CHECK_OK(pumit_tensor_item(&value, out));
    pumit_tensor_release(out);
    pumit_tensor_release(a);
    pumit_tensor_release(b);
    return value;
}

START_TEST(distances)
{
    ck_assert(distance(images(1, 0, 1, 1, 3, false), images(1, 0, 1, 1, 3, false)) == 0);
    const double d = distance(images(1, 0, 1, 1, 3, false), images(2, 0, 1, 1, 3, false));
    ck_assert(d > 1e-3);
    CHECK_NEAR(distance(images(2, 0, 1, 1, 3, false), images(1, 0, 1, 1, 3, false)), d, 1e-14);
    CHECK_NEAR(distance(images(1, 0, 1, 1, 1, true), images(2, 0, 1, 1, 1, true)),
               distance(images(1, 0, 1, 1, 3, true), images(2, 0, 1, 1, 3, true)), 1e-14);
}
END_TEST

/* The mean over slices, wherever they stand. */
START_TEST(slices_count_alike)
{
    double mean = 0;
    for (int64_t i = 0; i < SLICES; i++)
        mean += distance(images(1, i, 1, 1, 3, false), images(2, i, 1, 1, 3, false)) / SLICES;
    CHECK_NEAR(distance(images(1, 0, 2, 2, 3, false), images(2, 0, 2, 2, 3, false)), mean, 1e-14);
    CHECK_NEAR(distance(images(1, 0, 1, 4, 3, false), images(2, 0, 1, 4, 3, false)), mean, 1e-14);
}
END_TEST

/* A choice of slices is the mean over some of them, the same ones of both stacks, and follows from the key. */
START_TEST(some_slices)
{
    double single[SLICES], got[8];
    int hits[SLICES] = {0};
    for (int64_t i = 0; i < SLICES; i++)
        single[i] = distance(images(1, i, 1, 1, 3, false), images(2, i, 1, 1, 3, false));
    pumit_tensor *a = images(1, 0, 2, 2, 3, false), *b = images(2, 0, 2, 2, 3, false);
    const int64_t mark = pumit__scope_begin(ctx);
    pumit_tensor *x = pumit__affine(a, 2, -1), *y = pumit__affine(b, 2, -1);
    for (uint64_t k = 0; k < 8; k++) {
        CHECK_OK(pumit_tensor_item(&got[k], pumit__lpips_distance_some(lpips, x, y, 1, 5, k)));
        int same = 0;
        for (int i = 0; i < SLICES; i++)
            if (fabs(got[k] - single[i]) < 1e-12) {
                hits[i]++;
                same++;
            }
        ck_assert_int_eq(same, 1);
    }
    for (int i = 0; i < SLICES; i++) ck_assert_int_lt(hits[i], 8);
    CHECK_OK(pumit_tensor_item(&got[1], pumit__lpips_distance_some(lpips, x, y, 1, 5, 0)));
    ck_assert(got[0] == got[1]);
    CHECK_OK(pumit_tensor_item(&got[0], pumit__lpips_distance_some(lpips, x, y, 24, 5, 0)));
    CHECK_NEAR(got[0], (single[0] + single[1] + single[2] + single[3]) / SLICES, 1e-14);
    pumit__scope_end(ctx, mark, NULL);
    pumit_tensor_release(a);
    pumit_tensor_release(b);
}
END_TEST

/* By central differences of some pixels; the network itself gathers none. */
START_TEST(gradient_by_the_first_image)
{
    pumit_tensor *a = images(1, 0, 1, 1, 3, false), *b = images(2, 0, 1, 1, 3, false), *out, *grad;
    double values[PIXELS * 3], slope[PIXELS * 3];
    const double step = 1e-5;
    CHECK_OK(pumit_tensor_set_requires_grad(a, 1));
    CHECK_OK(pumit_lpips_distance(&out, lpips, a, b));
    CHECK_OK(pumit_tensor_backward(out));
    CHECK_OK(pumit_tensor_grad(&grad, a));
    CHECK_OK(pumit_tensor_read(grad, PUMIT_F64, slope, sizeof slope));
    CHECK_OK(pumit_tensor_read(a, PUMIT_F64, values, sizeof values));
    pumit_tensor_release(out);
    for (int64_t i = 5; i < PUMIT__COUNT(values); i += 97) {
        double around[2];
        for (int side = 0; side < 2; side++) {
            pumit_tensor *moved = images(1, 0, 1, 1, 3, false);
            values[i] += side ? -2 * step : step;
            CHECK_OK(pumit_tensor_write(moved, PUMIT_F64, values, sizeof values));
            around[side] = distance(moved, pumit_tensor_retain(b));
        }
        values[i] += step;
        CHECK_NEAR(slope[i], (around[0] - around[1]) / (2 * step), 1e-4 * fabs(slope[i]) + 1e-7);
    }
    for (int64_t i = 0; i < pumit_module_parameter_count(pumit_lpips_module(lpips)); i++)
        CHECK_FAILS(PUMIT_ERROR_NOT_FOUND,
                    pumit_tensor_grad(&out, pumit_module_parameter(pumit_lpips_module(lpips), i)));
    pumit_tensor_release(grad);
    pumit_tensor_release(a);
    pumit_tensor_release(b);
}
END_TEST

/* Weights are O I H W in files; a file with the names alone is enough. */
START_TEST(files)
{
    char path[] = "/tmp/pumit-lpips-XXXXXX";
    static const int64_t shape[4] = {5, 4, 3, 3}, mix[4] = {1, 8, 1, 1};
    pumit__safetensors *file;
    close(mkstemp(path));
    CHECK_OK(pumit_module_save(pumit_lpips_module(lpips), path, NULL));
    CHECK_OK(pumit__safetensors_open(&file, path));
    const pumit__safetensors_entry *entry = pumit__safetensors_find(file, "features.5.weight");
    ck_assert(entry && entry->ndim == 4);
    ck_assert_mem_eq(entry->shape, shape, sizeof shape);
    entry = pumit__safetensors_find(file, "lin4.weight");
    ck_assert(entry && entry->ndim == 4);
    ck_assert_mem_eq(entry->shape, mix, sizeof mix);
    /* The same arrays without metadata, as others write them. */
    const int64_t count = pumit__safetensors_count(file);
    pumit__safetensors_entry *entries = calloc((size_t)count, sizeof *entries);
    for (int64_t i = 0; i < count; i++) entries[i] = *pumit__safetensors_entry_at(file, i);
    char plain[] = "/tmp/pumit-lpips-XXXXXX";
    close(mkstemp(plain));
    CHECK_OK(pumit__safetensors_write(plain, entries, count, NULL));
    const double d = distance(images(1, 0, 1, 1, 3, false), images(2, 0, 1, 1, 3, false));
    pumit_lpips_release(lpips);
    CHECK_OK(pumit_lpips_load(&lpips, ctx, plain));
    CHECK_NEAR(distance(images(1, 0, 1, 1, 3, false), images(2, 0, 1, 1, 3, false)), d, 1e-6 * d);
    pumit_lpips *none;
    CHECK_OK(pumit__safetensors_write(plain, entries, 3, NULL));
    CHECK_FAILS(PUMIT_ERROR_FORMAT, pumit_lpips_load(&none, ctx, plain));
    ck_assert_ptr_null(none);
    free(entries);
    pumit__safetensors_close(file);
    unlink(path);
    unlink(plain);
}
END_TEST

START_TEST(what_is_refused)
{
    static const int64_t small[5] = {1, 1, 15, 16, 3}, two[5] = {1, 1, 16, 16, 2},
                         flat[4] = {1, 16, 16, 3}, wide[5] = {1, 1, 16, 17, 3};
    pumit_tensor *x, *y, *out;
    const struct {
        int32_t ndim;
        const int64_t *shape;
    } shapes[] = {{5, small}, {5, two}, {4, flat}};
    for (int64_t i = 0; i < PUMIT__COUNT(shapes); i++) {
        CHECK_OK(pumit_tensor_create(&x, ctx, PUMIT_F32, shapes[i].ndim, shapes[i].shape));
        CHECK_FAILS(PUMIT_ERROR_SHAPE, pumit_lpips_distance(&out, lpips, x, x));
        ck_assert_ptr_null(out);
        pumit_tensor_release(x);
    }
    x = images(1, 0, 1, 1, 3, false);
    CHECK_OK(pumit_tensor_create(&y, ctx, PUMIT_F32, 5, wide));
    CHECK_FAILS(PUMIT_ERROR_SHAPE, pumit_lpips_distance(&out, lpips, x, y));
    pumit_tensor_release(x);
    pumit_tensor_release(y);
}
END_TEST

Suite *suite_lpips(void)
{
    Suite *suite = suite_create("lpips");
    TCase *tcase = tcase_create("lpips");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, distances);
    tcase_add_test(tcase, slices_count_alike);
    tcase_add_test(tcase, some_slices);
    tcase_add_test(tcase, gradient_by_the_first_image);
    tcase_add_test(tcase, files);
    tcase_add_test(tcase, what_is_refused);
    suite_add_tcase(suite, tcase);
    return suite;
}
