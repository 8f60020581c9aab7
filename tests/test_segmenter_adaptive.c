/* SPDX-License-Identifier: Apache-2.0 */
/* One segmenter for every spacing: at each degree of anisotropy it is the segmenter of that DA with its weights summed over depth. */
#include "lib/tensor/tensor.h"
#include "tests/image_files.h"

#include <pumit/segmenter.h>

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

Suite *suite_segmenter_adaptive(void);

/* Of patches of 4, 8, 16. */
static const char *const full_res[] = {"[6]", "[4, 6]", "[3, 4, 6]"};

/* ------------------------------------------------------------------------------------------- helpers */

static pumit_config *config_of(int64_t depth, int64_t side, bool adaptive)
{
    char patch[48];
    pumit_config *config;
    snprintf(patch, sizeof patch, "[%lld, %lld, %lld]", (long long)depth, (long long)side,
             (long long)side);
    CHECK_OK(pumit_config_parse(
        &config, "{\"in_channels\": 1, \"dim\": 8, \"depth\": 2, \"heads\": 2, \"hidden\": 12, "
                 "\"pos_embed_shape\": [2, 2, 3], \"channels\": [6, 5, 4, 4], \"classes\": 2, "
                 "\"seed\": 3}"));
    CHECK_OK(pumit_config_set_json(config, "patch", patch));
    CHECK_OK(pumit_config_set_bool(config, "adaptive", adaptive));
    CHECK_OK(pumit_config_set_json(config, "full_res_channels",
                                   full_res[side == 4   ? 0
                                            : side == 8 ? 1
                                                        : 2]));
    return config;
}

/* Takes the configuration. */
static pumit_segmenter *make(pumit_config *config)
{
    pumit_segmenter *segmenter;
    CHECK_OK(pumit_segmenter_create(&segmenter, files_context, config));
    pumit_config_release(config);
    return segmenter;
}

static float noise(int64_t i)
{
    return (float)(i * 7919 % 1009) / 1009.0f;
}

/* Values of i * 7919 mod 1009, `scale` x + `shift`. */
static pumit_tensor *make_image(const int64_t size[3], float scale, float shift)
{
    const int64_t shape[5] = {2, size[0], size[1], size[2], 1};
    pumit_tensor *image;
    CHECK_OK(pumit_tensor_create(&image, files_context, PUMIT_F32, 5, shape));
    void *data;
    CHECK_OK(pumit_tensor_data(&data, image));
    for (int64_t i = 0; i < pumit_tensor_count(image); i++)
        ((float *)data)[i] = scale * noise(i) + shift;
    return image;
}

static pumit_tensor *make_labels(const int64_t size[3])
{
    const int64_t shape[4] = {2, size[0], size[1], size[2]};
    pumit_tensor *labels;
    void *data;
    CHECK_OK(pumit_tensor_create(&labels, files_context, PUMIT_U8, 4, shape));
    CHECK_OK(pumit_tensor_data(&data, labels));
    for (int64_t i = 0; i < pumit_tensor_count(labels); i++) ((uint8_t *)data)[i] = i % 4 == 0;
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

static void expect_same(const pumit_tensor *a, const pumit_tensor *b, double bound)
{
    float *x = read_all(a), *y = read_all(b), most = 0;
    ck_assert_int_eq(pumit_tensor_count(a), pumit_tensor_count(b));
    for (int64_t i = 0; i < pumit_tensor_count(a); i++) {
        ck_assert_msg(fabs((double)x[i] - y[i]) <= bound, "value %lld: %g and %g", (long long)i,
                      x[i], y[i]);
        most = fmaxf(most, fabsf(x[i] - x[0]));
    }
    ck_assert(most > 1e-3f);
    free(x);
    free(y);
}

static void shake(pumit_tensor *tensor)
{
    float *values = read_all(tensor);
    for (int64_t i = 0; i < pumit_tensor_count(tensor); i++) values[i] += 0.3f * noise(i + 1);
    CHECK_OK(pumit_tensor_write(tensor, PUMIT_F32, values,
                                pumit_tensor_count(tensor) * (int64_t)sizeof *values));
    free(values);
}

/* The weights of `deep` in `shallow`, (O, D, H, W, I), runs of its depth summed. */
static void sum_depth(pumit_tensor *shallow, const pumit_tensor *deep)
{
    const int64_t *to = pumit_tensor_shape(shallow), *from = pumit_tensor_shape(deep);
    const int64_t slice = to[2] * to[3] * to[4];
    float *src = read_all(deep), *dst = read_all(shallow);
    ck_assert_int_eq(from[1] % to[1], 0);
    for (int64_t i = 0; i < pumit_tensor_count(shallow); i++) {
        const int64_t o = i / slice / to[1], d = i / slice % to[1], run = from[1] / to[1];
        dst[i] = 0;
        for (int64_t r = 0; r < run; r++)
            dst[i] += src[(o * from[1] + d * run + r) * slice + i % slice];
    }
    CHECK_OK(pumit_tensor_write(shallow, PUMIT_F32, dst,
                                pumit_tensor_count(shallow) * (int64_t)sizeof *dst));
    free(src);
    free(dst);
}

/* Gives `to` the weights of the adaptive `from`; the number of those that are summed. */
static int give_weights(pumit_segmenter *to, pumit_segmenter *from)
{
    pumit_module *module = pumit_segmenter_module(to), *source = pumit_segmenter_module(from);
    int summed = 0;
    ck_assert_int_eq(pumit_module_parameter_count(module), pumit_module_parameter_count(source));
    for (int64_t i = 0; i < pumit_module_parameter_count(module); i++) {
        pumit_tensor *dst = pumit_module_parameter(module, i), *src;
        CHECK_OK(pumit_module_find(&src, source, pumit_module_parameter_name(module, i)));
        if (pumit_tensor_count(src) == pumit_tensor_count(dst)) {
            float *values = read_all(src);
            CHECK_OK(pumit_tensor_write(dst, PUMIT_F32, values,
                                        pumit_tensor_count(src) * (int64_t)sizeof *values));
            free(values);
        } else {
            sum_depth(dst, src);
            summed++;
        }
    }
    return summed;
}

static double loss_value(pumit_segmenter *segmenter, const double *spacing, pumit_tensor *image,
                         pumit_tensor *labels)
{
    double value;
    pumit_tensor *loss;
    CHECK_OK(pumit_segmenter_loss(&loss, segmenter, image, spacing, labels));
    CHECK_OK(pumit_tensor_item(&value, loss));
    pumit_tensor_release(loss);
    return value;
}

/* ---------------------------------------------------------------------------------------- every spacing */

/* Logits and loss of one DA, from both; images of 2 x 1 x 2 times the stride. */
static void compare(pumit_segmenter *adaptive, pumit_segmenter *fixed, int32_t da)
{
    const double spacing[3] = {ldexp(1.5, da), 1.5, 1.5};
    int64_t size[3], same[3];
    pumit_tensor *a, *b;
    CHECK_OK(pumit_segmenter_stride(size, adaptive, spacing));
    CHECK_OK(pumit_segmenter_stride(same, fixed, NULL));
    ck_assert_mem_eq(size, same, sizeof size);
    size[0] *= 2;
    size[2] *= 2;
    pumit_tensor *image = make_image(size, 1, 0), *labels = make_labels(size);
    CHECK_OK(pumit_segmenter_forward(&a, adaptive, image, spacing));
    CHECK_OK(pumit_segmenter_forward(&b, fixed, image, NULL));
    expect_same(a, b, 2e-4);
    const double x = loss_value(adaptive, spacing, image, labels),
                 y = loss_value(fixed, spacing, image, labels);
    ck_assert_msg(fabs(x - y) <= 1e-5, "DA %d: losses %g and %g", da, x, y);
    pumit_tensor_release(a);
    pumit_tensor_release(b);
    pumit_tensor_release(image);
    pumit_tensor_release(labels);
}

START_TEST(adapts_like_the_fixed_ones)
{
    const int64_t side = INT64_C(4) << _i;
    pumit_segmenter *adaptive = make(config_of(side, side, true));
    pumit_module *module = pumit_segmenter_module(adaptive);
    for (int64_t i = 0; i < pumit_module_parameter_count(module); i++)
        if (pumit_tensor_ndim(pumit_module_parameter(module, i)) == 1)
            shake(pumit_module_parameter(module, i));
    ck_assert_int_eq(pumit_segmenter_adaptive(adaptive), 1);
    for (int32_t da = 0; side >> da >= 1; da++) {
        pumit_segmenter *fixed = make(config_of(side >> da, side, false));
        ck_assert_int_eq(pumit_segmenter_adaptive(fixed), 0);
        const int summed = give_weights(fixed, adaptive);
        ck_assert_msg((summed > 0) == (da > 0), "DA %d: %d weights are summed", da, summed);
        compare(adaptive, fixed, da);
        pumit_segmenter_release(fixed);
    }
    pumit_segmenter_release(adaptive);
}
END_TEST

/* The coarsest map's depth stride, 2p >> DA, down to single slices, also of a picture. */
START_TEST(strides_follow_the_spacing)
{
    const int64_t side = INT64_C(4) << _i;
    pumit_segmenter *segmenter = make(config_of(side, side, true));
    for (int32_t da = 0; da <= 5; da++) {
        const double spacing[3] = {da == 5 ? (double)INFINITY : ldexp(0.7, da), 0.7, 0.7};
        const int64_t depth = 2 * side >> da > 1 ? 2 * side >> da : 1;
        int64_t stride[3];
        pumit_tensor *logits;
        CHECK_OK(pumit_segmenter_stride(stride, segmenter, spacing));
        ck_assert_int_eq(stride[0], depth);
        ck_assert_int_eq(stride[1], 2 * side);
        ck_assert_int_eq(stride[2], 2 * side);
        pumit_tensor *image = make_image(stride, 1, 0);
        CHECK_OK(pumit_segmenter_forward(&logits, segmenter, image, spacing));
        ck_assert_mem_eq(pumit_tensor_shape(logits), pumit_tensor_shape(image),
                         4 * sizeof(int64_t));
        expect_same(logits, logits, 0); /* finite */
        pumit_tensor_release(logits);
        pumit_tensor_release(image);
    }
    pumit_segmenter_release(segmenter);
}
END_TEST

START_TEST(spacing_is_needed)
{
    static const int64_t size[3] = {16, 16, 16};
    static const double none[3] = {0, 1, 1};
    pumit_segmenter *segmenter = make(config_of(8, 8, true));
    pumit_tensor *image = make_image(size, 1, 0), *labels = make_labels(size), *out;
    int64_t stride[3];
    const pumit_status got[] = {
        pumit_segmenter_stride(stride, segmenter, NULL),
        pumit_segmenter_forward(&out, segmenter, image, NULL),
        pumit_segmenter_loss(&out, segmenter, image, NULL, labels),
        pumit_segmenter_forward(&out, segmenter, image, none),
    };
    for (int64_t i = 0; i < PUMIT__COUNT(got); i++)
        ck_assert_int_eq(got[i], PUMIT_ERROR_INVALID_ARGUMENT);
    pumit_tensor_release(image);
    pumit_tensor_release(labels);
    pumit_segmenter_release(segmenter);
}
END_TEST

/* ----------------------------------------------------------------------------------------------- keys */

/* Logits of an image by a segmenter of a configuration, which it takes; DA 1. */
static pumit_tensor *logits_of(pumit_config *config, float scale, float shift)
{
    static const double spacing[3] = {2, 1, 1};
    pumit_segmenter *segmenter = make(config);
    int64_t size[3];
    pumit_tensor *out;
    CHECK_OK(pumit_segmenter_stride(size, segmenter, spacing));
    pumit_tensor *image = make_image(size, scale, shift);
    CHECK_OK(pumit_segmenter_forward(&out, segmenter, image, spacing));
    pumit_tensor_release(image);
    pumit_segmenter_release(segmenter);
    return out;
}

/* Of one channel the mean of ImageNet's three. */
START_TEST(images_are_normalised)
{
    for (int adaptive = 0; adaptive < 2; adaptive++) {
        pumit_config *config = config_of(adaptive ? 8 : 4, 8, adaptive);
        CHECK_OK(pumit_config_set_bool(config, "normalize", 1));
        pumit_tensor *a = logits_of(config, 1, 0),
                     *b = logits_of(config_of(adaptive ? 8 : 4, 8, adaptive), 1.0f / 0.226f,
                                    -0.449f / 0.226f);
        expect_same(a, b, 1e-4);
        pumit_tensor_release(a);
        pumit_tensor_release(b);
    }
}
END_TEST

START_TEST(usual_blocks)
{
    static const struct {
        int64_t depth;
        const char *indexes;
    } rows[] = {
        {1, "[0, 0, 0, 0]"}, {2, "[0, 0, 0, 1]"}, {6, "[1, 2, 3, 5]"}, {12, "[3, 5, 7, 11]"}};
    for (int64_t i = 0; i < PUMIT__COUNT(rows); i++) {
        pumit_config *config = config_of(4, 4, true), *told = config_of(4, 4, true);
        CHECK_OK(pumit_config_set_int(config, "depth", rows[i].depth));
        CHECK_OK(pumit_config_set_int(told, "depth", rows[i].depth));
        CHECK_OK(pumit_config_set_json(told, "out_indexes", rows[i].indexes));
        pumit_tensor *a = logits_of(config, 1, 0), *b = logits_of(told, 1, 0);
        expect_same(a, b, 0);
        pumit_tensor_release(a);
        pumit_tensor_release(b);
    }
}
END_TEST

/* --------------------------------------------------------------------------------------- pre-training */

/* Of one that was pre-trained with a masked-modelling head, on cubic patches and a larger position grid. */
static const char *write_transformer(pumit_tensor **patch)
{
    pumit_vit *vit;
    pumit_tensor *weight;
    pumit_config *config = config_of(8, 8, true);
    const char *path = files_path("vit.safetensors");
    CHECK_OK(pumit_config_set_int(config, "codes", 9));
    CHECK_OK(pumit_config_set_int(config, "seed", 17));
    CHECK_OK(pumit_config_set_json(config, "pos_embed_shape", "[4, 2, 3]"));
    CHECK_OK(pumit_vit_create(&vit, files_context, config));
    CHECK_OK(pumit_module_save(pumit_vit_module(vit), path, NULL));
    CHECK_OK(pumit_module_find(&weight, pumit_vit_module(vit), "patch_embed.proj.weight"));
    *patch = pumit_tensor_retain(weight);
    pumit_vit_release(vit);
    pumit_config_release(config);
    return path;
}

START_TEST(a_transformer_fills_every_patch_depth)
{
    const int64_t depth = INT64_C(8) >> _i;
    char told[80];
    pumit_tensor *patch, *ours, *expected;
    pumit_config *options;
    const char *path = write_transformer(&patch);
    pumit_segmenter *segmenter = make(config_of(depth, 8, depth == 8));
    pumit_module *vit = pumit_vit_module(pumit_segmenter_vit(segmenter));
    CHECK_OK(pumit_config_parse(&options, "{\"partial\": true}"));
    CHECK_OK(pumit_module_import(vit, path, options));
    pumit_config_release(options);
    snprintf(told, sizeof told, "%d of %d parameters taken, %d adapted",
             (int)pumit_module_parameter_count(vit), (int)pumit_module_parameter_count(vit),
             depth == 8 ? 1 : 2);
    ck_assert_msg(strstr(files_log, told), "%s, not: %s", files_log, told);
    CHECK_OK(pumit_module_find(&ours, vit, "patch_embed.proj.weight"));
    CHECK_OK(pumit_tensor_create(&expected, files_context, PUMIT_F32, 5, pumit_tensor_shape(ours)));
    sum_depth(expected, patch);
    expect_same(ours, expected, 1e-6);
    pumit_tensor_release(expected);
    pumit_tensor_release(patch);
    pumit_segmenter_release(segmenter);
}
END_TEST

/* Patches of another size in the plane are another network. */
START_TEST(transformers_that_do_not_fit)
{
    pumit_tensor *patch;
    pumit_config *options;
    const char *path = write_transformer(&patch);
    pumit_segmenter *segmenter = make(config_of(4, 4, true));
    CHECK_OK(pumit_config_parse(&options, "{\"partial\": true}"));
    files_check_failed(
        pumit_module_import(pumit_vit_module(pumit_segmenter_vit(segmenter)), path, options),
        PUMIT_ERROR_SHAPE, "vit.safetensors", "patch_embed.proj.weight");
    pumit_config_release(options);
    pumit_tensor_release(patch);
    pumit_segmenter_release(segmenter);
}
END_TEST

Suite *suite_segmenter_adaptive(void)
{
    Suite *suite = suite_create("segmenter_adaptive");
    TCase *tcase = tcase_create("segmenter_adaptive");
    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, files_setup, files_teardown);
    tcase_add_loop_test(tcase, adapts_like_the_fixed_ones, 0, 3);
    tcase_add_loop_test(tcase, strides_follow_the_spacing, 0, 3);
    tcase_add_test(tcase, spacing_is_needed);
    tcase_add_test(tcase, images_are_normalised);
    tcase_add_test(tcase, usual_blocks);
    tcase_add_loop_test(tcase, a_transformer_fills_every_patch_depth, 0, 4);
    tcase_add_test(tcase, transformers_that_do_not_fit);
    suite_add_tcase(suite, tcase);
    return suite;
}
