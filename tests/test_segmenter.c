/* SPDX-License-Identifier: Apache-2.0 */
/* Segmenters of every patch depth: shapes, the loss by hand, what is refused, files, learning. */
#include "lib/tensor/tensor.h"
#include "tests/image_files.h"

#include <pumit/optimizer.h>
#include <pumit/segmenter.h>

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

Suite *suite_segmenter(void);

#define CHECK_FAILS(status, call)                                                                  \
    ck_assert_str_eq(pumit_status_name(call), pumit_status_name(status))

static const char small[] =
    "{\"in_channels\": 1, \"dim\": 8, \"depth\": 2, \"heads\": 2, \"hidden\": 12, "
    "\"pos_embed_shape\": [2, 2, 3], \"out_indexes\": [0, 1, 1, 1], \"channels\": [6, 5, 4, 4], "
    "\"full_res_channels\": [3, 4, 6], \"classes\": 2, \"seed\": 3}";

/* ------------------------------------------------------------------------------------------- helpers */

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
    int64_t in_use, peak, allocations;
    CHECK_OK(pumit_context_memory(ctx, &in_use, &peak, &allocations));
    ck_assert_int_eq(in_use, 0); /* nothing was left behind */
    pumit_context_release(ctx);
}

/* The small configuration with one value changed. */
static pumit_config *config_with(const char *key, const char *json)
{
    pumit_config *config;
    CHECK_OK(pumit_config_parse(&config, small));
    CHECK_OK(pumit_config_set_json(config, "patch", "[4, 16, 16]"));
    if (key) CHECK_OK(pumit_config_set_json(config, key, json));
    return config;
}

static pumit_segmenter *make_with(const char *key, const char *json)
{
    pumit_segmenter *segmenter;
    pumit_config *config = config_with(key, json);
    CHECK_OK(pumit_segmenter_create(&segmenter, ctx, config));
    pumit_config_release(config);
    return segmenter;
}

static pumit_segmenter *make_of_depth(int64_t depth)
{
    char patch[32];
    snprintf(patch, sizeof patch, "[%lld, 16, 16]", (long long)depth);
    return make_with("patch", patch);
}

static float noise(int64_t i)
{
    return (float)(i * 7919 % 1009) / 1009.0f;
}

static pumit_tensor *make_image(int64_t n, int64_t d, int64_t h, int64_t w, int64_t channels)
{
    const int64_t shape[5] = {n, d, h, w, channels}, count = n * d * h * w * channels;
    float *values = malloc((size_t)count * sizeof *values);
    pumit_tensor *image;
    ck_assert_ptr_nonnull(values);
    for (int64_t i = 0; i < count; i++) values[i] = noise(i);
    CHECK_OK(pumit_tensor_from_data(&image, ctx, PUMIT_F32, 5, shape, values));
    free(values);
    return image;
}

/* Class 1 in every fourth voxel. */
static pumit_tensor *make_labels(pumit_dtype dtype, int64_t n, int64_t d, int64_t h, int64_t w)
{
    const int64_t shape[4] = {n, d, h, w}, count = n * d * h * w;
    int64_t *values = malloc((size_t)count * sizeof *values);
    pumit_tensor *labels;
    ck_assert_ptr_nonnull(values);
    for (int64_t i = 0; i < count; i++) values[i] = i % 4 == 0;
    CHECK_OK(pumit_tensor_create(&labels, ctx, dtype, 4, shape));
    CHECK_OK(pumit_tensor_write(labels, PUMIT_I64, values, count * (int64_t)sizeof *values));
    free(values);
    return labels;
}

static float *read_all(const pumit_tensor *tensor)
{
    const int64_t bytes = pumit_tensor_count(tensor) * (int64_t)sizeof(float);
    float *values = malloc((size_t)bytes);
    ck_assert_ptr_nonnull(values);
    CHECK_OK(pumit_tensor_read(tensor, PUMIT_F32, values, bytes));
    return values;
}

/* Both are released; the largest difference must stay below `bound`, and the values must not all be the same. */
static void expect_same(pumit_tensor *a, pumit_tensor *b, int64_t count, double bound)
{
    float *x = read_all(a), *y = read_all(b);
    bool varied = false;
    for (int64_t i = 0; i < count; i++) {
        ck_assert_msg(fabs((double)x[i] - y[i]) <= bound, "value %lld: %g and %g", (long long)i,
                      x[i], y[i]);
        varied = varied || fabsf(x[i] - x[0]) > 1e-3f;
    }
    ck_assert(varied);
    free(x);
    free(y);
    pumit_tensor_release(a);
    pumit_tensor_release(b);
}

static void fill_parameter(pumit_segmenter *segmenter, const char *name, float value)
{
    pumit_tensor *tensor;
    CHECK_OK(pumit_module_find(&tensor, pumit_segmenter_module(segmenter), name));
    float *values = read_all(tensor);
    for (int64_t i = 0; i < pumit_tensor_count(tensor); i++) values[i] = value;
    CHECK_OK(pumit_tensor_write(tensor, PUMIT_F32, values,
                                pumit_tensor_count(tensor) * (int64_t)sizeof *values));
    free(values);
}

static double loss_value(pumit_segmenter *segmenter, pumit_tensor *image, pumit_tensor *labels)
{
    double value;
    pumit_tensor *loss;
    CHECK_OK(pumit_segmenter_loss(&loss, segmenter, image, NULL, labels));
    CHECK_OK(pumit_tensor_item(&value, loss));
    pumit_tensor_release(loss);
    return value;
}

/* -------------------------------------------------------------------------------------------- shapes */

static const int64_t depths[] = {16, 8, 4, 2, 1};

START_TEST(logits_cover_the_image)
{
    static const int64_t factors[][4] = {{1, 1, 1, 1}, {2, 1, 2, 1}, {1, 3, 1, 2}};
    pumit_segmenter *segmenter = make_of_depth(depths[_i]);
    int64_t step[3];
    CHECK_OK(pumit_segmenter_stride(step, segmenter, NULL));
    ck_assert_int_eq(step[0], 2 * depths[_i]);
    ck_assert_int_eq(step[1], 32);
    ck_assert_int_eq(step[2], 32);
    for (int64_t i = 0; i < PUMIT__COUNT(factors); i++) {
        const int64_t *f = factors[i];
        const int64_t size[5] = {f[0], f[1] * step[0], f[2] * step[1], f[3] * step[2], 2};
        pumit_tensor *image = make_image(size[0], size[1], size[2], size[3], 1), *logits;
        CHECK_OK(pumit_segmenter_forward(&logits, segmenter, image, NULL));
        ck_assert_int_eq(pumit_tensor_ndim(logits), 5);
        ck_assert_mem_eq(pumit_tensor_shape(logits), size, sizeof size);
        float *values = read_all(logits);
        for (int64_t k = 0; k < pumit_tensor_count(logits); k++) ck_assert(isfinite(values[k]));
        free(values);
        pumit_tensor_release(logits);
        pumit_tensor_release(image);
    }
    pumit_segmenter_release(segmenter);
}
END_TEST

static int64_t depth_of(pumit_segmenter *segmenter, const char *name)
{
    pumit_tensor *tensor;
    CHECK_OK(pumit_module_find(&tensor, pumit_segmenter_module(segmenter), name));
    ck_assert_int_eq(pumit_tensor_ndim(tensor), 5);
    return pumit_tensor_shape(tensor)[1];
}

/* Depths of kernels for patches of 16, 8, 4, 2, 1: isotropic steps halve depth and look at three slices. */
START_TEST(kernels_follow_the_patch)
{
    static const struct {
        const char *name, *depths;
    } rows[] = {
        {"backbone.fpn.0.0.weight", "22221"},
        {"backbone.fpn.0.3.weight", "22211"},
        {"backbone.fpn.1.weight", "22221"},
        {"decoder.inner.laterals.0.conv.weight", "11111"},
        {"decoder.inner.layers.0.upsample.weight", "22211"},
        {"decoder.inner.layers.0.conv.conv1.conv.weight", "33311"},
        {"decoder.inner.layers.1.upsample.weight", "22221"},
        {"decoder.inner.layers.1.conv.conv2.conv.weight", "33331"},
        {"decoder.inner.layers.2.upsample.weight", "22222"},
        {"decoder.inner.layers.2.conv.conv1.conv.weight", "33333"},
        {"decoder.encode_layers.0.blocks.0.conv1.conv.weight", "31111"},
        {"decoder.encode_layers.1.blocks.0.conv1.conv.weight", "31111"},
        {"decoder.decode_layers.0.upsample.weight", "21111"},
        {"decoder.decode_layers.0.conv.conv1.conv.weight", "31111"},
        {"decoder.decode_layers.1.upsample.weight", "22111"},
        {"decoder.decode_layers.1.conv.conv2.conv.weight", "33111"},
        {"seg_heads.3.weight", "11111"},
    };
    pumit_segmenter *segmenter = make_of_depth(depths[_i]);
    for (int64_t i = 0; i < PUMIT__COUNT(rows); i++)
        ck_assert_msg(depth_of(segmenter, rows[i].name) == rows[i].depths[_i] - '0', "%s: %lld",
                      rows[i].name, (long long)depth_of(segmenter, rows[i].name));
    pumit_segmenter_release(segmenter);
}
END_TEST

START_TEST(images_of_a_batch_do_not_mix)
{
    pumit_segmenter *segmenter = make_with(NULL, NULL);
    pumit_tensor *two = make_image(2, 8, 32, 64, 1), *one = make_image(1, 8, 32, 64, 1), *a, *b;
    CHECK_OK(pumit_segmenter_forward(&a, segmenter, two, NULL));
    CHECK_OK(pumit_segmenter_forward(&b, segmenter, one, NULL));
    expect_same(a, b, pumit_tensor_count(b), 1e-4);
    pumit_tensor_release(two);
    pumit_tensor_release(one);
    pumit_segmenter_release(segmenter);
}
END_TEST

/* ---------------------------------------------------------------------------------------------- loss */

/* With all logits zero p is 1/2 everywhere: V voxels, n of the class, dice = 1 - 2 (n/2) / (V/2 + n), entropy ln 2. */
START_TEST(loss_of_no_opinion)
{
    pumit_segmenter *segmenter = make_with(NULL, NULL);
    for (int i = 0; i < 4; i++) {
        char name[32];
        snprintf(name, sizeof name, "seg_heads.%d.weight", i);
        fill_parameter(segmenter, name, 0);
    }
    pumit_tensor *image = make_image(2, 8, 32, 32, 1);
    const double v = 8 * 32 * 32, foreground = 1 - v / 4 / (v / 2 + v / 4),
                 background = 1 - v * 3 / 4 / (v / 2 + v * 3 / 4);
    static const pumit_dtype types[] = {PUMIT_U8, PUMIT_I16, PUMIT_I32, PUMIT_I64};
    for (int64_t i = 0; i < PUMIT__COUNT(types); i++) {
        pumit_tensor *labels = make_labels(types[i], 2, 8, 32, 32);
        const double loss = loss_value(segmenter, image, labels),
                     expected = (foreground + background) / 2 + log(2.0);
        ck_assert_msg(fabs(loss - expected) <= 1e-5, "%g, not %g", loss, expected);
        pumit_tensor_release(labels);
    }
    pumit_tensor_release(image);
    pumit_segmenter_release(segmenter);
}
END_TEST

/* Head i alone says "class 0": a loss above the neutral one by its weight, 8/15, 4/15, 2/15, 1/15. */
START_TEST(coarse_heads_count_less)
{
    pumit_segmenter *segmenter = make_with(NULL, NULL);
    pumit_tensor *image = make_image(1, 8, 32, 32, 1),
                 *labels = make_labels(PUMIT_U8, 1, 8, 32, 32), *bias;
    char name[32];
    double excess[4];
    for (int i = 0; i < 4; i++) {
        snprintf(name, sizeof name, "seg_heads.%d.weight", i);
        fill_parameter(segmenter, name, 0);
    }
    const double neutral = loss_value(segmenter, image, labels);
    for (int i = 0; i < 4; i++) {
        static const float certain[2] = {8, 0}, open[2] = {0, 0};
        snprintf(name, sizeof name, "seg_heads.%d.bias", i);
        CHECK_OK(pumit_module_find(&bias, pumit_segmenter_module(segmenter), name));
        CHECK_OK(pumit_tensor_write(bias, PUMIT_F32, certain, sizeof certain));
        excess[i] = loss_value(segmenter, image, labels) - neutral;
        CHECK_OK(pumit_tensor_write(bias, PUMIT_F32, open, sizeof open));
    }
    ck_assert(excess[0] > 0.1);
    for (int i = 0; i < 4; i++)
        ck_assert_msg(fabs(excess[i] - excess[0] * ldexp(1.0, -i)) <= 1e-5, "head %d: %g of %g", i,
                      excess[i], excess[0]);
    pumit_tensor_release(labels);
    pumit_tensor_release(image);
    pumit_segmenter_release(segmenter);
}
END_TEST

/* A bright box in a dark volume. */
static void paint_box(pumit_tensor *image, pumit_tensor *labels)
{
    float *values = read_all(image), *classes = read_all(labels);
    const int64_t count = pumit_tensor_count(image);
    for (int64_t i = 0; i < count; i++) {
        const int64_t w = i % 32, h = i / 32 % 32, d = i / 1024;
        const bool inside = w >= 8 && w < 20 && h >= 10 && h < 26 && d >= 2 && d < 6;
        classes[i] = inside;
        values[i] = 0.3f * noise(i) + (inside ? 0.6f : 0.0f);
    }
    const int64_t bytes = count * (int64_t)sizeof *values;
    CHECK_OK(pumit_tensor_write(image, PUMIT_F32, values, bytes));
    CHECK_OK(pumit_tensor_write(labels, PUMIT_F32, classes, bytes));
    free(values);
    free(classes);
}

static double right_voxels(pumit_segmenter *segmenter, pumit_tensor *image, pumit_tensor *labels)
{
    pumit_tensor *logits;
    CHECK_OK(pumit_segmenter_forward(&logits, segmenter, image, NULL));
    float *values = read_all(logits), *classes = read_all(labels);
    const int64_t count = pumit_tensor_count(labels);
    int64_t right = 0;
    for (int64_t i = 0; i < count; i++)
        right += (values[2 * i + 1] > values[2 * i]) == (classes[i] > 0);
    free(values);
    free(classes);
    pumit_tensor_release(logits);
    return (double)right / (double)count;
}

START_TEST(a_box_is_learnt)
{
    pumit_segmenter *segmenter = make_with(NULL, NULL);
    pumit_optimizer *optimizer;
    pumit_tensor *image = make_image(1, 8, 32, 32, 1),
                 *labels = make_labels(PUMIT_U8, 1, 8, 32, 32), *loss;
    double first = 0, last = 0;
    paint_box(image, labels);
    CHECK_OK(pumit_optimizer_create(&optimizer, pumit_segmenter_module(segmenter), NULL));
    for (int step = 0; step < 25; step++) {
        CHECK_OK(pumit_segmenter_loss(&loss, segmenter, image, NULL, labels));
        CHECK_OK(pumit_tensor_item(&last, loss));
        if (step == 0) first = last;
        CHECK_OK(pumit_tensor_backward(loss));
        pumit_tensor_release(loss);
        CHECK_OK(pumit_optimizer_step(optimizer, 1e-2, 1, NULL));
    }
    ck_assert_msg(last < 0.5 * first, "loss %g, at first %g", last, first);
    ck_assert_msg(right_voxels(segmenter, image, labels) > 0.98, "%g of the voxels are right",
                  right_voxels(segmenter, image, labels));
    pumit_optimizer_release(optimizer);
    pumit_tensor_release(labels);
    pumit_tensor_release(image);
    pumit_segmenter_release(segmenter);
}
END_TEST

/* ----------------------------------------------------------------------------------- what is refused */

START_TEST(images_that_do_not_fit)
{
    static const int64_t sizes[][5] = {{1, 4, 32, 32, 1},
                                       {1, 12, 32, 32, 1},
                                       {1, 8, 48, 32, 1},
                                       {1, 8, 32, 16, 1},
                                       {1, 8, 32, 32, 2}};
    pumit_segmenter *segmenter = make_with(NULL, NULL);
    for (int64_t i = 0; i < PUMIT__COUNT(sizes); i++) {
        const int64_t *s = sizes[i];
        pumit_tensor *image = make_image(s[0], s[1], s[2], s[3], s[4]), *out;
        CHECK_FAILS(PUMIT_ERROR_SHAPE, pumit_segmenter_forward(&out, segmenter, image, NULL));
        ck_assert_ptr_nonnull(strstr(pumit_last_error(), "multiples of 8, 32, 32"));
        pumit_tensor_release(image);
    }
    pumit_segmenter_release(segmenter);
}
END_TEST

START_TEST(labels_that_do_not_fit)
{
    pumit_segmenter *segmenter = make_with(NULL, NULL);
    pumit_tensor *image = make_image(1, 8, 32, 32, 1), *out;
    pumit_tensor *large = make_labels(PUMIT_U8, 1, 8, 32, 64),
                 *real = make_labels(PUMIT_F32, 1, 8, 32, 32),
                 *wrong = make_labels(PUMIT_I16, 1, 8, 32, 32);
    CHECK_FAILS(PUMIT_ERROR_SHAPE, pumit_segmenter_loss(&out, segmenter, image, NULL, large));
    CHECK_FAILS(PUMIT_ERROR_SHAPE, pumit_segmenter_loss(&out, segmenter, image, NULL, real));
    CHECK_FAILS(PUMIT_ERROR_SHAPE, pumit_segmenter_loss(&out, segmenter, image, NULL, image));
    static const int16_t bad[] = {2, -1};
    for (int64_t i = 0; i < PUMIT__COUNT(bad); i++) {
        void *data;
        CHECK_OK(pumit_tensor_data(&data, wrong));
        ((int16_t *)data)[777] = bad[i];
        CHECK_FAILS(PUMIT_ERROR_INVALID_ARGUMENT,
                    pumit_segmenter_loss(&out, segmenter, image, NULL, wrong));
        ck_assert_ptr_nonnull(strstr(pumit_last_error(), "label"));
    }
    pumit_tensor_release(large);
    pumit_tensor_release(real);
    pumit_tensor_release(wrong);
    pumit_tensor_release(image);
    pumit_segmenter_release(segmenter);
}
END_TEST

START_TEST(configurations_that_make_no_sense)
{
    static const char *const bad[][3] = {
        {"classes", "1", "classes"},
        {"patch", "[2, 2, 2]", "at least 4 in the plane"},
        {"patch", "[16, 8, 8]", "not deeper"},
        {"adaptive", "true", "a cube"},
        {"full_res_channels", "[4, 6]", "3 numbers"},
        {"patch", "[3, 16, 16]", "powers of two"},
        {"patch", "[4, 16, 8]", "the last two the same"},
        {"patch", "[32, 16, 16]", "powers of two"},
        {"out_indexes", "[0, 1, 1]", "4 numbers"},
        {"out_indexes", "[0, 1, 1, 2]", "out_indexes"},
        {"channels", "[6, 5, 4, 0]", "channels"},
        {"full_res_channels", "[3, 4, 5]", "the same"},
        {"heads", "3", "heads"},
    };
    for (int64_t i = 0; i < PUMIT__COUNT(bad); i++) {
        pumit_segmenter *segmenter;
        pumit_config *config = config_with(bad[i][0], bad[i][1]);
        CHECK_FAILS(PUMIT_ERROR_INVALID_ARGUMENT, pumit_segmenter_create(&segmenter, ctx, config));
        ck_assert_msg(strstr(pumit_last_error(), bad[i][2]), "%s", pumit_last_error());
        ck_assert_ptr_null(segmenter);
        pumit_config_release(config);
    }
    CHECK_FAILS(PUMIT_ERROR_INVALID_ARGUMENT, pumit_segmenter_create(NULL, ctx, NULL));
}
END_TEST

/* --------------------------------------------------------------------------------------------- files */

START_TEST(files_bring_everything_back)
{
    pumit_segmenter *segmenter = make_with("seed", "11"), *again;
    pumit_tensor *image = make_image(1, 8, 64, 32, 1), *a, *b;
    const char *path = files_path("segmenter.safetensors");
    CHECK_OK(pumit_module_save(pumit_segmenter_module(segmenter), path, NULL));
    CHECK_OK(pumit_segmenter_load(&again, ctx, path));
    ck_assert_str_eq(pumit_module_kind(pumit_segmenter_module(again)), "segmenter");
    ck_assert_int_eq(pumit_segmenter_classes(again), 2);
    CHECK_OK(pumit_segmenter_forward(&a, segmenter, image, NULL));
    CHECK_OK(pumit_segmenter_forward(&b, again, image, NULL));
    expect_same(a, b, pumit_tensor_count(a), 0);
    pumit_tensor_release(image);
    pumit_segmenter_release(segmenter);
    pumit_segmenter_release(again);
}
END_TEST

START_TEST(a_transformer_lends_its_weights)
{
    pumit_vit *vit;
    pumit_segmenter *segmenter = make_with("seed", "5"), *none;
    pumit_tensor *ours, *theirs;
    pumit_config *config = config_with("codes", "9");
    const char *path = files_path("vit.safetensors");
    CHECK_OK(pumit_vit_create(&vit, ctx, config));
    CHECK_OK(pumit_module_save(pumit_vit_module(vit), path, NULL));
    CHECK_OK(pumit_module_load_weights(pumit_vit_module(pumit_segmenter_vit(segmenter)), path, NULL,
                                       1, NULL));
    CHECK_OK(pumit_module_find(&ours, pumit_segmenter_module(segmenter),
                               "backbone.patch_embed.proj.weight"));
    CHECK_OK(pumit_module_find(&theirs, pumit_vit_module(vit), "patch_embed.proj.weight"));
    expect_same(pumit_tensor_retain(ours), pumit_tensor_retain(theirs), pumit_tensor_count(ours),
                0);
    CHECK_FAILS(PUMIT_ERROR_FORMAT, pumit_segmenter_load(&none, ctx, path));
    pumit_config_release(config);
    pumit_vit_release(vit);
    pumit_segmenter_release(segmenter);
}
END_TEST

Suite *suite_segmenter(void)
{
    Suite *suite = suite_create("segmenter");
    TCase *tcase = tcase_create("segmenter");
    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, files_setup, files_teardown);
    tcase_add_checked_fixture(tcase, open_context, close_context);
    tcase_add_loop_test(tcase, logits_cover_the_image, 0, (int)PUMIT__COUNT(depths));
    tcase_add_loop_test(tcase, kernels_follow_the_patch, 0, (int)PUMIT__COUNT(depths));
    tcase_add_test(tcase, images_of_a_batch_do_not_mix);
    tcase_add_test(tcase, loss_of_no_opinion);
    tcase_add_test(tcase, coarse_heads_count_less);
    tcase_add_test(tcase, a_box_is_learnt);
    tcase_add_test(tcase, images_that_do_not_fit);
    tcase_add_test(tcase, labels_that_do_not_fit);
    tcase_add_test(tcase, configurations_that_make_no_sense);
    tcase_add_test(tcase, files_bring_everything_back);
    tcase_add_test(tcase, a_transformer_lends_its_weights);
    suite_add_tcase(suite, tcase);
    return suite;
}
