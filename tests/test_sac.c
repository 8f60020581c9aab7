/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The public SAC layer against loops written from the paper's section 3.1: every variant, degree of anisotropy and place in the
 * network; what is refused; the cache of pooled weights.
 */
#include "lib/nn/module.h"

#include <pumit/optimizer.h>
#include <pumit/sac.h>

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

Suite *suite_sac(void);

#define CHECK_OK(call) ck_assert_msg((call) == PUMIT_OK, "%s", pumit_last_error())
#define CHECK_FAILS(status, call)                                                                  \
    ck_assert_str_eq(pumit_status_name(call), pumit_status_name(status))

#define IN  2
#define OUT 3

typedef struct {
    int64_t kernel, stride, padding;
    int32_t log2_stride, transposed;
} variant;

static const variant variants[] = {
    {1, 1, 0, 0, 0}, {3, 1, 1, 0, 0}, {3, 2, 1, 1, 0}, {2, 2, 0, 1, 0}, {4, 4, 0, 2, 0},
    {8, 8, 0, 3, 0}, {2, 2, 0, 1, 1}, {4, 4, 0, 2, 1}, {8, 8, 0, 3, 1}, {16, 16, 0, 4, 0},
};

static pumit_context *open_context(void)
{
    pumit_context *ctx;
    pumit_config *options;
    CHECK_OK(pumit_config_parse(&options, "{\"device\": \"cpu\", \"threads\": 2}"));
    CHECK_OK(pumit_context_create(&ctx, options));
    pumit_config_release(options);
    return ctx;
}

static pumit_sac_conv *make_layer(pumit_context *ctx, const variant *v)
{
    pumit_sac_conv *conv;
    pumit_config *config;
    CHECK_OK(pumit_config_parse(&config, "{\"in_channels\": 2, \"out_channels\": 3, \"seed\": 7}"));
    CHECK_OK(pumit_config_set_int(config, "kernel", v->kernel));
    CHECK_OK(pumit_config_set_int(config, "stride", v->stride));
    CHECK_OK(pumit_config_set_int(config, "padding", v->padding));
    CHECK_OK(pumit_config_set_bool(config, "transposed", v->transposed));
    CHECK_OK(pumit_sac_conv_create(&conv, ctx, config));
    pumit_config_release(config);
    return conv;
}

static pumit_tensor *image(pumit_context *ctx, int64_t depth, int64_t height, int64_t width)
{
    const int64_t shape[5] = {2, depth, height, width, IN};
    pumit_tensor *t;
    float *data;
    CHECK_OK(pumit_tensor_create(&t, ctx, PUMIT_F32, 5, shape));
    CHECK_OK(pumit_tensor_data((void **)&data, t));
    for (int64_t i = 0; i < pumit_tensor_count(t); i++)
        data[i] = (float)pumit__random_normal(3, 4, (uint64_t)i);
    return t;
}

static float *data_of(pumit_tensor *t)
{
    void *data;
    CHECK_OK(pumit_tensor_data(&data, t));
    return data;
}

static pumit_tensor *parameter(pumit_sac_conv *conv, const char *name)
{
    pumit_tensor *t;
    CHECK_OK(pumit_module_find(&t, pumit_sac_conv_module(conv), name));
    return t;
}

/* ----------------------------------------------------------------------------------- the plain loops */

typedef struct {
    int64_t kernel[3], stride[3], padding[3]; /* the pooled kernel */
    int64_t run;                              /* neighbours in depth that are summed into one */
} geometry;

static int64_t most(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static geometry geometry_of(const variant *v, int32_t da, int32_t down)
{
    const int64_t anisotropy = most(da - down, 0), halvings = most(down - da, 0);
    geometry g = {.kernel = {v->kernel, v->kernel, v->kernel},
                  .stride = {v->stride, v->stride, v->stride},
                  .padding = {v->padding, v->padding, v->padding}};
    if (v->transposed) {
        const int64_t regained = INT64_C(1) << halvings;
        g.stride[0] = g.kernel[0] = regained < v->stride ? regained : v->stride;
    } else if (anisotropy > 0) {
        g.stride[0] = g.kernel[0] = most(v->stride >> anisotropy, 1);
        g.padding[0] = 0;
    }
    g.run = v->kernel / g.kernel[0];
    return g;
}

/* Element (o, d, h, w, i) of the pooled weights, (i, d, h, w, o) of transposed ones. */
static double pooled(const float *weight, const variant *v, const geometry *g, int64_t o, int64_t d,
                     int64_t h, int64_t w, int64_t i)
{
    const int64_t k = v->kernel, inner = v->transposed ? OUT : IN;
    const int64_t first = v->transposed ? i : o, last = v->transposed ? o : i;
    double sum = 0.0;
    for (int64_t r = d * g->run; r < (d + 1) * g->run; r++)
        sum += weight[(((first * k + r) * k + h) * k + w) * inner + last];
    return sum;
}

/* Adds what source voxel `s` gives to result voxel `p` through kernel tap `t`. */
static void tap(double *dst, const float *src, const float *weight, const variant *v,
                const geometry *g, const int64_t t[3])
{
    for (int64_t o = 0; o < OUT; o++)
        for (int64_t i = 0; i < IN; i++)
            dst[o] += src[i] * pooled(weight, v, g, o, t[0], t[1], t[2], i);
}

static const int64_t *size_of(const pumit_tensor *t)
{
    return pumit_tensor_shape(t) + 1;
}

static int64_t place(const int64_t size[3], int64_t n, const int64_t at[3])
{
    return ((n * size[0] + at[0]) * size[1] + at[1]) * size[2] + at[2];
}

/* The convolution in double, on results of `size`; visits each pair of a result voxel and a tap. */
static void plain_layer(double *dst, const int64_t size[3], pumit_sac_conv *conv, const variant *v,
                        const geometry *g, pumit_tensor *src)
{
    const float *weight = data_of(parameter(conv, "weight")), *x = data_of(src);
    const float *bias = data_of(parameter(conv, "bias"));
    const int64_t taps = g->kernel[0] * g->kernel[1] * g->kernel[2];
    const int64_t voxels = size[0] * size[1] * size[2];
    for (int64_t p = 0; p < 2 * voxels; p++) {
        const int64_t at[3] = {p % voxels / (size[1] * size[2]), p / size[2] % size[1],
                               p % size[2]};
        for (int64_t o = 0; o < OUT; o++) dst[p * OUT + o] = bias[o];
        for (int64_t k = 0; k < taps; k++) {
            const int64_t t[3] = {k / (g->kernel[1] * g->kernel[2]),
                                  k / g->kernel[2] % g->kernel[1], k % g->kernel[2]};
            int64_t s[3];
            int inside = 1;
            for (int a = 0; a < 3; a++) {
                s[a] = v->transposed ? at[a] / g->stride[a]
                                     : at[a] * g->stride[a] - g->padding[a] + t[a];
                inside = inside && s[a] >= 0 && s[a] < size_of(src)[a];
                if (v->transposed) inside = inside && at[a] % g->stride[a] == t[a];
            }
            if (inside)
                tap(dst + p * OUT, x + place(size_of(src), p / voxels, s) * IN, weight, v, g, t);
        }
    }
}

static double distance(const double *expected, const float *got, int64_t count)
{
    double difference = 0.0, norm = 0.0;
    for (int64_t i = 0; i < count; i++) {
        difference += (got[i] - expected[i]) * (got[i] - expected[i]);
        norm += expected[i] * expected[i];
    }
    return sqrt(difference / norm);
}

/* Compares a layer's result with the loops'. */
static void check_result(pumit_sac_conv *conv, const variant *v, const geometry *g,
                         pumit_tensor *src, pumit_tensor *dst, int32_t da, int32_t down)
{
    int64_t size[3];
    for (int a = 0; a < 3; a++) {
        size[a] = v->transposed
                      ? size_of(src)[a] * g->stride[a]
                      : (size_of(src)[a] + 2 * g->padding[a] - g->kernel[a]) / g->stride[a] + 1;
        ck_assert_msg(size_of(dst)[a] == size[a], "kernel %d, DA %d, down %d: axis %d is %d",
                      (int)v->kernel, da, down, a, (int)size_of(dst)[a]);
    }
    const int64_t count = pumit_tensor_count(dst);
    ck_assert_int_eq(count, 2 * size[0] * size[1] * size[2] * OUT);
    double *expected = calloc((size_t)count, sizeof *expected);
    ck_assert_ptr_nonnull(expected);
    plain_layer(expected, size, conv, v, g, src);
    const double error = distance(expected, data_of(dst), count);
    ck_assert_msg(error <= 1e-5, "kernel %d, stride %d, DA %d, down %d: off by %g", (int)v->kernel,
                  (int)v->stride, da, down, error);
    free(expected);
}

/* --------------------------------------------------------------------------------------------- tests */

static void check_place(pumit_context *ctx, pumit_sac_conv *conv, const variant *v, int32_t da,
                        int32_t down)
{
    const geometry g = geometry_of(v, da, down);
    const int64_t step = v->transposed ? 1 : v->stride;
    pumit_tensor *src = image(ctx, v->transposed ? 2 : most(2 * g.stride[0], 2), 2 * step,
                              2 * step + 1),
                 *dst;
    const double image_spacing[3] = {da == 5 ? INFINITY : 0.7 * (1 << da), 0.7, 0.7};
    double spacing[3];
    int32_t after, again;
    CHECK_OK(pumit_sac_conv_forward(&dst, spacing, &after, conv, src, image_spacing, down));
    check_result(conv, v, &g, src, dst, da, down);
    ck_assert_int_eq(after, v->transposed ? down - v->log2_stride : down + v->log2_stride);
    /* a voxel of the result is as large as the stride makes it */
    const double before[3] = {image_spacing[0] * (1 << most(down - da, 0)), 0.7 * (1 << down),
                              0.7 * (1 << down)};
    for (int a = 0; a < 3; a++) {
        const double stride = (double)g.stride[a];
        const double expected = v->transposed ? before[a] / stride : before[a] * stride;
        ck_assert_msg(spacing[a] == expected || fabs(spacing[a] - expected) < 1e-12 * expected,
                      "kernel %d, DA %d, down %d: spacing %d is %g, not %g", (int)v->kernel, da,
                      down, a, spacing[a], expected);
    }
    pumit_tensor *same;
    CHECK_OK(pumit_sac_conv_forward_da(&same, &again, conv, src, da, down));
    ck_assert_int_eq(again, after);
    ck_assert_mem_eq(data_of(same), data_of(dst), (size_t)pumit_tensor_count(dst) * 4);
    pumit_tensor_release(same);
    pumit_tensor_release(dst);
    pumit_tensor_release(src);
}

START_TEST(layer_follows_the_paper)
{
    const variant *v = &variants[_i];
    pumit_context *ctx = open_context();
    pumit_sac_conv *conv = make_layer(ctx, v);
    float *bias = data_of(parameter(conv, "bias"));
    for (int o = 0; o < OUT; o++) bias[o] = 0.5f - (float)o;
    for (int32_t da = 0; da <= 5; da++)
        for (int32_t down = 0; down <= 5; down++) check_place(ctx, conv, v, da, down);
    pumit_sac_conv_release(conv);
    int64_t bytes;
    CHECK_OK(pumit_context_memory(ctx, &bytes, NULL, NULL));
    ck_assert_int_eq(bytes, 0);
    pumit_context_release(ctx);
}
END_TEST

static void refuses_config(pumit_context *ctx, const char *json, pumit_status expected)
{
    static char other;
    pumit_config *config;
    pumit_sac_conv *conv = (void *)&other;
    CHECK_OK(pumit_config_parse(&config, json));
    const pumit_status status = pumit_sac_conv_create(&conv, ctx, config);
    ck_assert_msg(status == expected, "%s: %s", json, pumit_status_name(status));
    ck_assert_ptr_null(conv);
    pumit_config_release(config);
}

START_TEST(impossible_layers_are_refused)
{
    static const char *const broken[] = {
        "{}",
        "{\"in_channels\": 2}",
        "{\"in_channels\": -2, \"out_channels\": 3, \"kernel\": 1}",
        "{\"in_channels\": 2, \"out_channels\": 0, \"kernel\": 1}",
        "{\"in_channels\": 2, \"out_channels\": 3, \"kernel\": 3, \"stride\": 3}",
        "{\"in_channels\": 2, \"out_channels\": 3, \"kernel\": 3}",
        "{\"in_channels\": 2, \"out_channels\": 3, \"kernel\": 5, \"padding\": 2}",
        "{\"in_channels\": 2, \"out_channels\": 3, \"kernel\": 3, \"stride\": 4, \"padding\": 1}",
        "{\"in_channels\": 2, \"out_channels\": 3, \"kernel\": 2, \"stride\": 2, \"padding\": 1}",
        "{\"in_channels\": 2, \"out_channels\": 3, \"kernel\": 32, \"stride\": 32}",
        "{\"in_channels\": 2, \"out_channels\": 3, \"kernel\": 0, \"stride\": 0}",
        "{\"in_channels\": 2, \"out_channels\": 3, \"padding\": 1, \"transposed\": true}",
        "{\"in_channels\": \"two\", \"out_channels\": 3, \"kernel\": 1}",
        "{\"in_channels\": 2, \"out_channels\": 3, \"kernel\": 1, \"seed\": \"none\"}",
    };
    pumit_context *ctx = open_context();
    for (int64_t i = 0; i < PUMIT__COUNT(broken); i++)
        refuses_config(ctx, broken[i], PUMIT_ERROR_INVALID_ARGUMENT);
    refuses_config(ctx,
                   "{\"in_channels\": 1099511627776, \"out_channels\": 1099511627776, "
                   "\"kernel\": 1}",
                   PUMIT_ERROR_LIMIT);
    CHECK_FAILS(PUMIT_ERROR_INVALID_ARGUMENT, pumit_sac_conv_create(NULL, ctx, NULL));
    ck_assert_ptr_null(pumit_sac_conv_module(NULL));
    pumit_sac_conv_release(NULL);
    pumit_context_release(ctx);
}
END_TEST

START_TEST(unfit_images_are_refused)
{
    pumit_context *ctx = open_context();
    pumit_sac_conv *conv = make_layer(ctx, &variants[4]); /* kernel and stride 4 */
    pumit_tensor *src = image(ctx, 4, 4, 4), *small = image(ctx, 4, 3, 4), *flat, *gray, *dst;
    const double spacing[3] = {1, 1, 1}, bad[3] = {1, 0, 1}, broken[3] = {NAN, 1, 1};
    CHECK_OK(pumit_tensor_create(&flat, ctx, PUMIT_F32, 4, (int64_t[]){4, 4, 4, IN}));
    CHECK_OK(pumit_tensor_create(&gray, ctx, PUMIT_F32, 5, (int64_t[]){1, 4, 4, 4, 1}));
#define REFUSED(status, s, where, down)                                                            \
    do {                                                                                           \
        static char other;                                                                         \
        dst = (void *)&other;                                                                      \
        CHECK_FAILS(status, pumit_sac_conv_forward(&dst, NULL, NULL, conv, s, where, down));       \
    } while (0)
    REFUSED(PUMIT_ERROR_SHAPE, small, spacing, 0);
    REFUSED(PUMIT_ERROR_SHAPE, flat, spacing, 0);
    REFUSED(PUMIT_ERROR_SHAPE, gray, spacing, 0);
    REFUSED(PUMIT_ERROR_INVALID_ARGUMENT, src, bad, 0);
    REFUSED(PUMIT_ERROR_INVALID_ARGUMENT, src, broken, 0);
    REFUSED(PUMIT_ERROR_INVALID_ARGUMENT, src, NULL, 0);
    REFUSED(PUMIT_ERROR_INVALID_ARGUMENT, NULL, spacing, 0);
    REFUSED(PUMIT_ERROR_INVALID_ARGUMENT, src, spacing, INT32_MAX);
    REFUSED(PUMIT_ERROR_INVALID_ARGUMENT, src, spacing, INT32_MIN);
    int32_t down;
    CHECK_FAILS(PUMIT_ERROR_INVALID_ARGUMENT,
                pumit_sac_conv_forward_da(&dst, &down, conv, src, -1, 0));
    CHECK_FAILS(PUMIT_ERROR_INVALID_ARGUMENT,
                pumit_sac_conv_forward_da(&dst, &down, conv, src, 6, 0));
    CHECK_OK(pumit_sac_conv_forward(&dst, NULL, NULL, conv, src, spacing, 0));
    pumit_tensor_release(dst);
    pumit_tensor_release(gray);
    pumit_tensor_release(flat);
    pumit_tensor_release(small);
    pumit_tensor_release(src);
    pumit_sac_conv_release(conv);
    pumit_context_release(ctx);
}
END_TEST

START_TEST(other_types_are_converted)
{
    pumit_context *ctx = open_context();
    pumit_sac_conv *conv = make_layer(ctx, &variants[1]);
    const geometry g = geometry_of(&variants[1], 1, 0);
    pumit_tensor *bytes, *floats = image(ctx, 2, 3, 3), *dst;
    float *values = data_of(floats);
    const int64_t count = pumit_tensor_count(floats);
    for (int64_t i = 0; i < count; i++) values[i] = (float)(i * 37 % 256);
    CHECK_OK(pumit_tensor_create(&bytes, ctx, PUMIT_U8, 5, pumit_tensor_shape(floats)));
    CHECK_OK(pumit_tensor_write(bytes, PUMIT_F32, values, 4 * count));
    CHECK_OK(pumit_sac_conv_forward_da(&dst, NULL, conv, bytes, 1, 0));
    check_result(conv, &variants[1], &g, floats, dst, 1, 0);
    pumit_tensor_release(dst);
    pumit_tensor_release(bytes);
    pumit_tensor_release(floats);
    pumit_sac_conv_release(conv);
    pumit_context_release(ctx);
}
END_TEST

/* -------------------------------------------------------------------------------- the cached weights */

static void check_fresh(pumit_sac_conv *conv, const variant *v, pumit_tensor *src, int32_t da)
{
    const geometry g = geometry_of(v, da, 0);
    pumit_tensor *dst;
    CHECK_OK(pumit_sac_conv_forward_da(&dst, NULL, conv, src, da, 0));
    check_result(conv, v, &g, src, dst, da, 0);
    pumit_tensor_release(dst);
}

/* A step of training whose loss is the mean of the result. */
static void train(pumit_context *ctx, pumit_optimizer *optimizer, pumit_sac_conv *conv,
                  pumit_tensor *src, int32_t da)
{
    pumit_tensor *dst;
    pumit_context_set_recording(ctx, 1);
    CHECK_OK(pumit_sac_conv_forward_da(&dst, NULL, conv, src, da, 0));
    const int64_t mark = pumit__scope_begin(ctx);
    CHECK_OK(pumit_tensor_backward(pumit__mean(pumit__mul(dst, dst))));
    pumit__scope_end(ctx, mark, NULL);
    pumit_context_set_recording(ctx, 0);
    pumit_tensor_release(dst);
    CHECK_OK(pumit_optimizer_step(optimizer, 0.1, 1, NULL));
}

START_TEST(pooled_weights_follow_the_weights)
{
    const variant *v = &variants[4];
    pumit_context *ctx = open_context();
    pumit_sac_conv *conv = make_layer(ctx, v);
    pumit_optimizer *optimizer;
    pumit_tensor *src = image(ctx, 4, 4, 4), *weight = parameter(conv, "weight");
    const int64_t count = pumit_tensor_count(weight);
    CHECK_OK(pumit_optimizer_create(&optimizer, pumit_sac_conv_module(conv), NULL));
    for (int32_t da = 0; da <= 5; da++) check_fresh(conv, v, src, da);
    float *w = data_of(weight);
    for (int64_t i = 0; i < count; i++) w[i] = -2.0f * w[i] + 0.01f;
    pumit_tensor_touch(weight);
    for (int32_t da = 0; da <= 5; da++) check_fresh(conv, v, src, da);
    float *turned = calloc((size_t)count, sizeof *turned);
    for (int64_t i = 0; i < count; i++) turned[i] = w[count - 1 - i];
    CHECK_OK(pumit_tensor_write(weight, PUMIT_F32, turned, 4 * count));
    free(turned);
    for (int32_t da = 0; da <= 5; da++) check_fresh(conv, v, src, da);
    for (int32_t da = 0; da <= 5; da++) {
        train(ctx, optimizer, conv, src, da);
        for (int32_t each = 0; each <= 5; each++) check_fresh(conv, v, src, each);
    }
    pumit_optimizer_release(optimizer);
    pumit_tensor_release(src);
    pumit_sac_conv_release(conv);
    pumit_context_release(ctx);
}
END_TEST

/* Each slice of a run that was summed gets the sum's gradient. */
START_TEST(pooled_weights_share_their_gradient)
{
    const variant *v = &variants[4];
    pumit_context *ctx = open_context();
    pumit_sac_conv *conv = make_layer(ctx, v);
    pumit_tensor *src = image(ctx, 4, 4, 4), *dst, *grad;
    pumit_context_set_recording(ctx, 1);
    CHECK_OK(pumit_sac_conv_forward_da(&dst, NULL, conv, src, 1, 0)); /* depth 4 becomes 2 */
    const int64_t mark = pumit__scope_begin(ctx);
    CHECK_OK(pumit_tensor_backward(pumit__mean(pumit__mul(dst, dst))));
    pumit__scope_end(ctx, mark, NULL);
    CHECK_OK(pumit_tensor_grad(&grad, parameter(conv, "weight")));
    const float *g = data_of(grad);
    const int64_t slice = 4 * 4 * IN; /* of one depth */
    for (int64_t o = 0; o < OUT; o++) {
        const float *run = g + o * 4 * slice;
        ck_assert_mem_eq(run, run + slice, (size_t)slice * 4);
        ck_assert_mem_eq(run + 2 * slice, run + 3 * slice, (size_t)slice * 4);
        ck_assert_int_ne(memcmp(run, run + 2 * slice, (size_t)slice * 4), 0);
    }
    pumit_tensor_release(grad);
    pumit_tensor_release(dst);
    pumit_tensor_release(src);
    pumit_sac_conv_release(conv);
    pumit_context_release(ctx);
}
END_TEST

Suite *suite_sac(void)
{
    Suite *suite = suite_create("sac");
    TCase *tcase = tcase_create("sac");
    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, layer_follows_the_paper, 0, (int)PUMIT__COUNT(variants));
    tcase_add_test(tcase, impossible_layers_are_refused);
    tcase_add_test(tcase, unfit_images_are_refused);
    tcase_add_test(tcase, other_types_are_converted);
    tcase_add_test(tcase, pooled_weights_follow_the_weights);
    tcase_add_test(tcase, pooled_weights_share_their_gradient);
    suite_add_tcase(suite, tcase);
    return suite;
}
