/* SPDX-License-Identifier: Apache-2.0 */
/* Patches of a transformer that do not adapt: a plain convolution, whatever the spacing. */
#include "lib/base/base.h"

#include <pumit/vit.h>

#include <check.h>
#include <math.h>
#include <stdlib.h>

Suite *suite_patch(void);

#define CHECK_OK(call) ck_assert_msg((call) == PUMIT_OK, "%s", pumit_last_error())

static pumit_context *ctx;

static void open_context(void)
{
    pumit_config *options;
    CHECK_OK(pumit_config_parse(&options, "{\"device\": \"cpu\", \"threads\": 2}"));
    CHECK_OK(pumit_context_create(&ctx, options));
    pumit_config_release(options);
}

static void close_context(void)
{
    pumit_context_release(ctx);
}

static float noise(int64_t i)
{
    return (float)(i * 7919 % 1009) / 1009.0f;
}

static pumit_vit *make_vit(const char *patch)
{
    pumit_vit *vit;
    pumit_config *config;
    CHECK_OK(pumit_config_parse(
        &config, "{\"in_channels\": 1, \"dim\": 8, \"depth\": 2, \"heads\": 2, \"hidden\": 12, "
                 "\"pos_embed_shape\": [2, 2, 3], \"seed\": 3}"));
    CHECK_OK(pumit_config_set_json(config, "patch", patch));
    CHECK_OK(pumit_vit_create(&vit, ctx, config));
    pumit_config_release(config);
    return vit;
}

static float *read_all(const pumit_tensor *tensor)
{
    const int64_t bytes = pumit_tensor_count(tensor) * (int64_t)sizeof(float);
    float *values = malloc((size_t)bytes);
    ck_assert_ptr_nonnull(values);
    CHECK_OK(pumit_tensor_read(tensor, PUMIT_F32, values, bytes));
    return values;
}

/* Sums pairs of neighbours along depth: weight (O, 16, 16, 16, 1) to (O, 8, 16, 16, 1). */
static void halve_patch(pumit_vit *to, pumit_vit *from)
{
    pumit_tensor *src, *dst;
    CHECK_OK(pumit_module_find(&src, pumit_vit_module(from), "patch_embed.proj.weight"));
    CHECK_OK(pumit_module_find(&dst, pumit_vit_module(to), "patch_embed.proj.weight"));
    float *w = read_all(src);
    const int64_t rows = pumit_tensor_count(dst) / 256;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t k = 0; k < 256; k++)
            w[i * 256 + k] = w[2 * i * 256 + k] + w[(2 * i + 1) * 256 + k];
    CHECK_OK(pumit_tensor_write(dst, PUMIT_F32, w, rows * 256 * (int64_t)sizeof *w));
    free(w);
}

/* An adaptive patch halves its depth for DA 1: a plain one of that depth must do the same at any spacing. */
START_TEST(plain_patch_is_a_fixed_one)
{
    pumit_vit *cube = make_vit("[16, 16, 16]"), *plain = make_vit("[8, 16, 16]");
    static float voxels[16 * 32 * 48];
    static const int64_t shape[5] = {1, 16, 32, 48, 1};
    pumit_tensor *image, *a, *b;
    static const double thick[3] = {2, 1, 1}, other[3] = {5, 1, 1};
    const int64_t size[3] = {16, 32, 48};
    int64_t grid[3];
    for (int64_t i = 0; i < 16 * 32 * 48; i++) voxels[i] = noise(i);
    CHECK_OK(pumit_tensor_from_data(&image, ctx, PUMIT_F32, 5, shape, voxels));
    halve_patch(plain, cube); /* same seed: all the other weights are the same */
    CHECK_OK(pumit_vit_forward(&a, cube, image, thick));
    CHECK_OK(pumit_vit_forward(&b, plain, image, other));
    ck_assert_int_eq(pumit_tensor_shape(b)[1], 1 + 2 * 2 * 3);
    float *x = read_all(a), *y = read_all(b);
    for (int64_t i = 0; i < pumit_tensor_count(a); i++)
        ck_assert_msg(fabs((double)x[i] - y[i]) <= 1e-4, "%g and %g", x[i], y[i]);
    free(x);
    free(y);
    pumit_tensor_release(a);
    pumit_tensor_release(b);
    CHECK_OK(pumit_vit_grid(grid, plain, size, other));
    ck_assert_int_eq(grid[0], 2);
    pumit_tensor_release(image);
    pumit_vit_release(cube);
    pumit_vit_release(plain);
}
END_TEST

START_TEST(plain_patch_embeds_any_volume)
{
    static const double affine[16] = {1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 4, 0, 0, 0, 0, 1};
    const int64_t size[3] = {40, 40, 6};
    pumit_vit *plain = make_vit("[4, 16, 16]");
    pumit_volume *volume;
    pumit_tensor *vector;
    static float voxels[40 * 40 * 6];
    for (int64_t i = 0; i < 40 * 40 * 6; i++) voxels[i] = noise(i);
    CHECK_OK(pumit_volume_create(&volume, ctx, PUMIT_F32, size, 1, voxels, affine));
    CHECK_OK(pumit_vit_embed(&vector, plain, volume));
    ck_assert_int_eq(pumit_tensor_count(vector), 8);
    float *values = read_all(vector);
    for (int64_t i = 0; i < 8; i++) ck_assert(isfinite(values[i]));
    free(values);
    pumit_tensor_release(vector);
    pumit_volume_release(volume);
    pumit_vit_release(plain);
}
END_TEST

Suite *suite_patch(void)
{
    Suite *suite = suite_create("patch");
    TCase *tcase = tcase_create("plain");
    tcase_add_checked_fixture(tcase, open_context, close_context);
    tcase_add_test(tcase, plain_patch_is_a_fixed_one);
    tcase_add_test(tcase, plain_patch_embeds_any_volume);
    suite_add_tcase(suite, tcase);
    return suite;
}
