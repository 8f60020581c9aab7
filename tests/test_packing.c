/* SPDX-License-Identifier: Apache-2.0 */
/* Images of different shapes and degrees of anisotropy in one batch give what they give one by one. */
#include "lib/models/vit_internal.h"
#include "tests/image_files.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define IMAGES 4
#define DIM    16

/* Patches of 8 voxels in the plane, 8, 2 and 1 deep: 6, 8, 8 and 9 tokens. The second and third may be one tensor. */
static const struct {
    int64_t size[3];
    double spacing[3];
    int64_t count, visible[5];
} SHOWN[IMAGES] = {
    {{8, 16, 24}, {1, 1, 1}, 2, {1, 4}},
    {{4, 16, 16}, {4, 1, 1}, 5, {0, 2, 3, 6, 7}},
    {{4, 16, 16}, {4, 1, 1}, 5, {1, 2, 4, 5, 7}},
    {{1, 24, 24}, {INFINITY, 1, 1}, 3, {0, 5, 8}},
};

typedef struct {
    pumit_context *ctx;
    pumit_tokenizer *tokenizer;
    pumit_vit *vit;
    pumit_module *module;
} scene;

typedef struct {
    int64_t count;
    pumit_tensor *images[IMAGES], *visible[IMAGES];
    double spacing[IMAGES][3];
    int64_t n[IMAGES];
} batch;

static pumit_config *config_from(const char *json)
{
    pumit_config *config;
    CHECK_OK(pumit_config_parse(&config, json));
    return config;
}

static scene open_scene(const char *device, const char *layers, const char *pool)
{
    scene s;
    char text[320];
    snprintf(text, sizeof text, "{\"threads\": 2, \"device\": \"%s\"}", device);
    pumit_config *options = config_from(text);
    CHECK_OK(pumit_context_create(&s.ctx, options));
    pumit_config_release(options);
    options = config_from("{\"in_channels\": 1, \"start_stride\": 2, \"channels\": [8, 8, 8],"
                          " \"codes\": 8, \"code_dim\": 8}");
    CHECK_OK(pumit_tokenizer_create(&s.tokenizer, s.ctx, options));
    pumit_config_release(options);
    snprintf(text, sizeof text,
             "{\"in_channels\": 1, \"patch\": [8, 8, 8], \"dim\": 16, \"depth\": 4, \"heads\": 2, "
             "\"hidden\": 24, \"pos_embed_shape\": [2, 2, 2], \"codes\": 8, \"max_tokens\": 64, "
             "\"mask_layers\": %s, \"pool\": \"%s\"}",
             layers, pool);
    options = config_from(text);
    CHECK_OK(pumit_vit_create(&s.vit, s.ctx, options));
    pumit_config_release(options);
    s.module = pumit_vit_module(s.vit);
    return s;
}

static void close_scene(scene *s)
{
    pumit_vit_release(s->vit);
    pumit_tokenizer_release(s->tokenizer);
    pumit_context_release(s->ctx);
}

/* Images first .. first + n, all of one shape, as one tensor of the batch. */
static void add(batch *b, const scene *s, int64_t first, int64_t n)
{
    const int64_t *const size = SHOWN[first].size, K = SHOWN[first].count, i = b->count++;
    const int64_t each = size[0] * size[1] * size[2], shape[5] = {n, size[0], size[1], size[2], 1};
    float *const values = malloc((size_t)(n * each) * sizeof *values);
    int64_t visible[IMAGES * 5];
    ck_assert_ptr_nonnull(values);
    for (int64_t k = 0; k < n; k++) {
        for (int64_t v = 0; v < each; v++)
            values[k * each + v] =
                (float)pumit__random_uniform(7, (uint64_t)(first + k), (uint64_t)v);
        memcpy(visible + k * K, SHOWN[first + k].visible, (size_t)K * sizeof *visible);
    }
    CHECK_OK(pumit_tensor_from_data(&b->images[i], s->ctx, PUMIT_F32, 5, shape, values));
    CHECK_OK(pumit_tensor_from_data(&b->visible[i], s->ctx, PUMIT_I64, 2, (const int64_t[2]){n, K},
                                    visible));
    memcpy(b->spacing[i], SHOWN[first].spacing, sizeof b->spacing[i]);
    b->n[i] = n;
    free(values);
}

static void release(batch *b)
{
    for (int64_t i = 0; i < b->count; i++) {
        pumit_tensor_release(b->images[i]);
        pumit_tensor_release(b->visible[i]);
    }
    *b = (batch){0};
}

/* ------------------------------------------------------------------------------------------------ loss */

/* Gathers gradients of `share` of the loss. */
static double backward(const scene *s, const batch *b, double share, pumit__mim_terms *terms)
{
    pumit_tensor *loss;
    double value;
    CHECK_OK(pumit__vit_mim_loss_terms(&loss, terms, s->vit, s->tokenizer, b->count, b->images,
                                       b->spacing[0], b->visible));
    CHECK_OK(pumit_tensor_item(&value, loss));
    pumit_context_set_recording(s->ctx, 1);
    const int64_t mark = pumit__scope_begin(s->ctx);
    CHECK_OK(pumit_tensor_backward(pumit__affine(loss, share, 0)));
    pumit__scope_end(s->ctx, mark, NULL);
    pumit_context_set_recording(s->ctx, 0);
    pumit_tensor_release(loss);
    return value;
}

/* Of a parameter; free() it. The gradient is cleared. */
static double *take_gradient(const scene *s, int64_t i, int64_t *count)
{
    pumit_tensor *grad, *const parameter = pumit_module_parameter(s->module, i);
    *count = pumit_tensor_count(parameter);
    double *const values = malloc((size_t)*count * sizeof *values);
    ck_assert_ptr_nonnull(values);
    CHECK_OK(pumit_tensor_grad(&grad, parameter));
    CHECK_OK(pumit_tensor_read(grad, PUMIT_F64, values, *count * (int64_t)sizeof *values));
    pumit_tensor_release(grad);
    return values;
}

static void take_gradients(double **all, int64_t *counts, const scene *s)
{
    for (int64_t i = 0; i < pumit_module_parameter_count(s->module); i++)
        all[i] = take_gradient(s, i, &counts[i]);
    pumit_module_zero_grad(s->module);
}

/* The distance of each parameter's gradients, by their length. */
static void check_gradients(const scene *s, double **got, double **wanted, const int64_t *counts,
                            double bound)
{
    for (int64_t i = 0; i < pumit_module_parameter_count(s->module); i++) {
        double apart = 0, length = 0;
        for (int64_t k = 0; k < counts[i]; k++) {
            apart += pow(got[i][k] - wanted[i][k], 2);
            length += pow(wanted[i][k], 2);
        }
        ck_assert_msg(length > 0 && sqrt(apart) <= bound * sqrt(length), "%s: %g apart, of %g",
                      pumit_module_parameter_name(s->module, i), sqrt(apart), sqrt(length));
        free(got[i]);
        free(wanted[i]);
    }
}

/* The mean of images one by one, their gradients gathered, against the same packed in every way. */
static void check_loss(const char *device, const char *layers, bool recompute, double bound)
{
    enum { MOST = 128 };
    double *wanted[MOST], *got[MOST];
    int64_t counts[MOST];
    scene s = open_scene(device, layers, "mean");
    batch one = {0}, packed = {0};
    pumit__mim_terms terms, own;
    double mean = 0, entropy = 0, accuracy = 0;
    pumit_vit_set_recompute(s.vit, recompute);
    ck_assert(pumit_module_parameter_count(s.module) <= MOST);
    for (int64_t i = 0; i < IMAGES; i++) {
        add(&one, &s, i, 1);
        mean += backward(&s, &one, 1.0 / IMAGES, &own) / IMAGES;
        entropy += own.entropy / IMAGES;
        accuracy += own.accuracy / IMAGES;
        release(&one);
    }
    take_gradients(wanted, counts, &s);
    add(&packed, &s, 3, 1);
    add(&packed, &s, 0, 1);
    add(&packed, &s, 1, 2);
    const double value = backward(&s, &packed, 1, &terms);
    ck_assert_msg(fabs(value - mean) <= bound * mean, "%.9g, one by one %.9g", value, mean);
    ck_assert(fabs(terms.entropy - entropy) <= bound * entropy);
    ck_assert(fabs(terms.accuracy - accuracy) <= 1e-12);
    ck_assert_int_eq(terms.tokens, 6 + 8 + 8 + 9);
    ck_assert_int_eq(terms.masked, 4 + 3 + 3 + 6);
    take_gradients(got, counts, &s);
    check_gradients(&s, got, wanted, counts, bound);
    release(&packed);
    close_scene(&s);
}

START_TEST(loss_and_gradients_are_those_of_each_image)
{
    const bool recompute = _i == 1;
    check_loss("cpu", "[0, 1, 2, 3]", recompute, 1e-5);
    check_loss("cpu", "[1, 3]", recompute, 1e-5);
    check_loss("reference64", "[0, 3]", recompute, 1e-12);
}
END_TEST

START_TEST(batches_that_are_refused)
{
    pumit_tensor *loss;
    scene s = open_scene("cpu", "[1]", "mean");
    batch b = {0};
    add(&b, &s, 0, 1);
    add(&b, &s, 1, 2);
    pumit_tensor *const right = b.visible[1];
    ck_assert_int_eq(
        pumit_vit_mim_loss_packed(&loss, s.vit, s.tokenizer, 0, b.images, b.spacing[0], b.visible),
        PUMIT_ERROR_INVALID_ARGUMENT);
    b.visible[1] = b.visible[0]; /* of one image, not two */
    ck_assert_int_eq(
        pumit_vit_mim_loss_packed(&loss, s.vit, s.tokenizer, 2, b.images, b.spacing[0], b.visible),
        PUMIT_ERROR_SHAPE);
    ck_assert_ptr_nonnull(strstr(pumit_last_error(), "images 1"));
    ck_assert_ptr_null(loss);
    b.visible[1] = NULL;
    ck_assert_int_eq(
        pumit_vit_mim_loss_packed(&loss, s.vit, s.tokenizer, 2, b.images, b.spacing[0], b.visible),
        PUMIT_ERROR_INVALID_ARGUMENT);
    b.visible[1] = right;
    b.spacing[1][1] = -1;
    ck_assert_int_eq(
        pumit_vit_mim_loss_packed(&loss, s.vit, s.tokenizer, 2, b.images, b.spacing[0], b.visible),
        PUMIT_ERROR_INVALID_ARGUMENT);
    release(&b);
    close_scene(&s);
}
END_TEST

START_TEST(contexts_are_not_mixed)
{
    pumit_tensor *loss;
    scene s = open_scene("cpu", "[1]", "mean"), other = open_scene("cpu", "[1]", "mean");
    batch b = {0}, foreign = {0};
    add(&b, &s, 0, 1);
    add(&foreign, &other, 0, 1);
    ck_assert_int_eq(pumit_vit_mim_loss(&loss, s.vit, other.tokenizer, foreign.images[0],
                                        foreign.spacing[0], b.visible[0]),
                     PUMIT_ERROR_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(pumit_last_error(), "context"));
    ck_assert_int_eq(pumit_vit_mim_loss(&loss, s.vit, s.tokenizer, foreign.images[0], b.spacing[0],
                                        b.visible[0]),
                     PUMIT_ERROR_INVALID_ARGUMENT);
    ck_assert_int_eq(s.ctx->scope_count, 0);
    ck_assert_int_eq(other.ctx->scope_count, 0);
    release(&b);
    release(&foreign);
    close_scene(&s);
    close_scene(&other);
}
END_TEST

/* --------------------------------------------------------------------------------------- hidden states */

static void check_rows(const pumit_tensor *all, int64_t first, const pumit_tensor *own)
{
    const int64_t count = pumit_tensor_count(own), from = first * DIM;
    double *const a = malloc((size_t)pumit_tensor_count(all) * sizeof *a), *const b = malloc(
                                                                               (size_t)count *
                                                                               sizeof *b);
    ck_assert(a && b);
    CHECK_OK(pumit_tensor_read(all, PUMIT_F64, a, pumit_tensor_count(all) * (int64_t)sizeof *a));
    CHECK_OK(pumit_tensor_read(own, PUMIT_F64, b, count * (int64_t)sizeof *b));
    for (int64_t i = 0; i < count; i++)
        ck_assert_msg(fabs(a[from + i] - b[i]) <= 2e-6 * (1 + fabs(b[i])), "%lld: %.9g, not %.9g",
                      (long long)i, a[from + i], b[i]);
    free(a);
    free(b);
}

/* Sequences end to end, of which two are of one tensor, against each tensor's own. */
START_TEST(hidden_states_are_those_of_each_image)
{
    scene s = open_scene("cpu", "[1]", "mean");
    batch b = {0};
    pumit__vit_images images[3];
    pumit__vit_pack pack;
    int64_t row = 0;
    add(&b, &s, 3, 1);
    add(&b, &s, 1, 2);
    add(&b, &s, 0, 1);
    const int64_t mark = pumit__scope_begin(s.ctx);
    for (int64_t i = 0; i < 3; i++) {
        CHECK_OK(pumit_degree_of_anisotropy(&images[i].da, b.spacing[i]));
        images[i].image = b.images[i];
    }
    CHECK_OK(pumit__vit_pack_images(&pack, s.vit, images, 3));
    pumit_tensor *const hidden = pumit__vit_pack_hidden(s.vit, &pack);
    ck_assert_ptr_nonnull(hidden);
    for (int64_t i = 0; i < 3; i++) {
        pumit_tensor *own;
        CHECK_OK(pumit_vit_forward(&own, s.vit, b.images[i], b.spacing[i]));
        check_rows(hidden, row, own);
        row += pumit_tensor_count(own) / DIM;
        pumit_tensor_release(own);
    }
    ck_assert_int_eq(row, pumit_tensor_shape(hidden)[1]);
    pumit__scope_end(s.ctx, mark, NULL);
    release(&b);
    close_scene(&s);
}
END_TEST

/* ------------------------------------------------------------------------------------------- embeddings */

/* `side` voxels wide, `depth` slices `thick` voxels apart. */
static pumit_volume *volume_of(const scene *s, int64_t side, int64_t depth, double thick)
{
    const double affine[16] = {1, 0, 0, 0, 0, 1, 0, 0, 0, 0, thick, 0, 0, 0, 0, 1};
    const int64_t size[3] = {side, side, depth}, count = side * side * depth;
    pumit_volume *volume;
    float *const voxels = malloc((size_t)count * sizeof *voxels);
    ck_assert_ptr_nonnull(voxels);
    for (int64_t i = 0; i < count; i++)
        voxels[i] = (float)pumit__random_uniform(9, (uint64_t)side, (uint64_t)i);
    CHECK_OK(pumit_volume_create(&volume, s->ctx, PUMIT_F32, size, 1, voxels, affine));
    free(voxels);
    return volume;
}

static void check_embedding(const char *pool)
{
    scene s = open_scene("cpu", "[1]", pool);
    pumit_volume *const volumes[] = {volume_of(&s, 40, 1, 1), volume_of(&s, 24, 17, 1),
                                     volume_of(&s, 17, 9, 5), volume_of(&s, 70, 3, 2)};
    const pumit_volume *given[4];
    pumit_tensor *all, *own;
    for (int i = 0; i < 4; i++) given[i] = volumes[i];
    CHECK_OK(pumit_vit_embed_packed(&all, s.vit, 4, given));
    ck_assert_int_eq(pumit_tensor_shape(all)[0], 4);
    ck_assert_int_eq(pumit_tensor_shape(all)[1], DIM);
    for (int i = 0; i < 4; i++) {
        CHECK_OK(pumit_vit_embed(&own, s.vit, volumes[i]));
        check_rows(all, i, own);
        pumit_tensor_release(own);
    }
    pumit_tensor_release(all);
    given[2] = NULL;
    ck_assert_int_eq(pumit_vit_embed_packed(&all, s.vit, 4, given), PUMIT_ERROR_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(pumit_last_error(), "volume 2"));
    ck_assert_int_eq(pumit_vit_embed_packed(&all, s.vit, 0, given), PUMIT_ERROR_INVALID_ARGUMENT);
    for (int i = 0; i < 4; i++) pumit_volume_release(volumes[i]);
    close_scene(&s);
}

START_TEST(embeddings_are_those_of_each_volume)
{
    check_embedding("mean");
    check_embedding("cls");
}
END_TEST

Suite *suite_packing(void);
Suite *suite_packing(void)
{
    Suite *suite = suite_create("packing");
    TCase *model = tcase_create("model");
    tcase_add_loop_test(model, loss_and_gradients_are_those_of_each_image, 0, 2);
    tcase_add_test(model, batches_that_are_refused);
    tcase_add_test(model, contexts_are_not_mixed);
    tcase_add_test(model, hidden_states_are_those_of_each_image);
    tcase_add_test(model, embeddings_are_those_of_each_volume);
    suite_add_tcase(suite, model);
    return suite;
}
