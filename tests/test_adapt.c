/* SPDX-License-Identifier: Apache-2.0 */
/* Weights of other shapes and names, against what PyTorch makes of them (tests/data/torch). */
#include "lib/models/vit_internal.h"
#include "lib/nn/adapt.h"
#include "lib/nn/weights.h"

#include <pumit/classifier.h>
#include <pumit/tokenizer.h>

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

Suite *suite_adapt(void);

#define CHECK_OK(call) ck_assert_msg((call) == PUMIT_OK, "%s", pumit_last_error())

static pumit_context *ctx;
static char folder[64], path[96], gathered[8192];

static void gather(void *user, int32_t level, const char *message)
{
    (void)user;
    const size_t used = strlen(gathered);
    snprintf(gathered + used, sizeof gathered - used, "%d %s\n", level, message);
}

static void setup(void)
{
    snprintf(folder, sizeof folder, "/tmp/pumit-test-adapt-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    CHECK_OK(pumit_context_create(&ctx, NULL));
    gathered[0] = '\0';
    pumit_context_set_log(ctx, gather, NULL);
}

static void teardown(void)
{
    pumit_context_release(ctx);
    unlink(path);
    ck_assert_int_eq(rmdir(folder), 0);
}

static const char *committed(const char *name)
{
    static char text[1024];
    const char *source = getenv("PUMIT_SOURCE");
    snprintf(text, sizeof text, "%s/tests/data/torch/%s", source ? source : ".", name);
    return text;
}

static pumit_config *config_of(const char *json)
{
    pumit_config *config;
    CHECK_OK(pumit_config_parse(&config, json));
    return config;
}

/* -------------------------------------------------------------------------------------- single arrays */

static const struct {
    const char *name, *parameter;
    bool center;
    const char *words; /* of the description */
} cases[] = {
    {"average", "encoder.3.weight", false, "inflated (average): D 1 to 3"},
    {"center3", "encoder.3.weight", true, "inflated (center): D 1 to 3"},
    {"center4", "encoder.3.weight", true, "inflated (center): D 1 to 4"},
    {"channels", "encoder.0.weight", false, "input channels summed and repeated: I 3 to 2"},
    {"channels3d", "encoder.conv_in.weight", false, "I 3 to 1"},
    {"repeat", "0.weight", false, "I 1 to 3"},
    {"gray", "decoder.conv_out.weight", false, "RGB to gray: O 3 to 1"},
    {"gray_bias", "decoder.conv_out.bias", false, "RGB to gray"},
    {"gray_bias", "decoder.8.bias", false, "RGB to gray"},
    {"gray_transposed", "decoder.8.weight", false, "RGB to gray: I 3 to 1"},
    {"pool", "patch_embed.proj.weight", false, "depth summed: D 16 to 4"},
    {"patch", "patch_embed.proj.weight", false, "bicubic: H 14 to 16, bicubic: W 14 to 16, infl"},
    {"patch", "backbone.patch_embed.proj.weight", true, "inflated (average): D 1 to 2"},
    {"patch_smaller", "patch_embed.proj.weight", false, "bicubic: H 14 to 8"},
    {"grid", "pos_embed", false, "area: D 4 to 3, area: H 5 to 2, trilinear: W 6 to 9"},
    {"sequence", "pos_embed", false, "class position to the class token, repeated over depth"},
    {"sequence_smaller", "pos_embed", false, "area: H 4 to 3"},
};

static const pumit__weights_entry *find(const pumit__weights_file *file, const char *name,
                                        const char *ending)
{
    char text[64];
    snprintf(text, sizeof text, "%s.%s", name, ending);
    const pumit__weights_entry *entry = pumit__weights_file_find(file, text);
    ck_assert_msg(entry, "no %s", text);
    return entry;
}

static double *read_all(pumit__weights_file *file, const pumit__weights_entry *entry,
                        int64_t *count)
{
    int64_t packed[PUMIT_MAX_DIMS];
    const void *data;
    *count = 1;
    for (int32_t i = 0; i < entry->ndim; i++) *count *= entry->shape[i];
    double *values = calloc((size_t)*count, sizeof *values);
    pumit__packed_strides(packed, entry->ndim, entry->shape);
    CHECK_OK(pumit__weights_file_data(&data, file, entry));
    CHECK_OK(pumit__weights_copy(ctx, entry, data, values, PUMIT_F64, packed));
    return values;
}

START_TEST(arrays_become_what_pytorch_makes_of_them)
{
    pumit__weights_file *file;
    pumit__adaptation adaptation;
    int64_t count;
    CHECK_OK(pumit__weights_file_open(&file, committed("adaptations.pt")));
    const pumit__weights_entry *in = find(file, cases[_i].name, "in");
    const pumit__weights_entry *out = find(file, cases[_i].name, "out");
    ck_assert(pumit__adapt_plan(&adaptation, in, cases[_i].parameter, out->ndim, out->shape,
                                cases[_i].center));
    double *got = pumit__adapt_apply(&adaptation, read_all(file, in, &count));
    double *expected = read_all(file, out, &count), largest = 0;
    for (int64_t i = 0; i < count; i++) {
        ck_assert_msg(fabs(got[i] - expected[i]) <= 1e-6 * (1 + fabs(expected[i])),
                      "%s[%lld]: %.9g, PyTorch %.9g", cases[_i].name, (long long)i, got[i],
                      expected[i]);
        largest = fmax(largest, fabs(expected[i]));
    }
    ck_assert(largest > 1e-3);
    const pumit__adapt_text text = pumit__adapt_describe(&adaptation);
    ck_assert_msg(strstr(text.text, cases[_i].words), "%s", text.text);
    free(got);
    free(expected);
    pumit__weights_file_close(file);
}
END_TEST

START_TEST(other_shapes_have_no_way)
{
    static const struct {
        const char *name;
        int32_t from_ndim, to_ndim;
        int64_t from[5], to[5];
    } refused[] = {
        {"encoder.3.weight", 5, 5, {8, 16, 3, 3, 3}, {8, 24, 3, 3, 3}}, /* features, not images */
        {"encoder.3.weight", 5, 5, {8, 16, 3, 3, 3}, {4, 16, 3, 3, 3}},
        {"encoder.0.weight", 4, 5, {8, 3, 3, 3}, {8, 3, 4, 4, 4}}, /* no patch embedding */
        {"encoder.0.weight", 5, 5, {8, 3, 4, 4, 4}, {8, 3, 2, 4, 4}},
        {"patch_embed.proj.weight", 5, 5, {8, 3, 16, 16, 16}, {8, 3, 6, 16, 16}},
        {"patch_embed.proj.weight", 5, 5, {8, 3, 2, 16, 16}, {8, 3, 4, 16, 16}},
        {"patch_embed.proj.weight", 5, 5, {8, 3, 4, 14, 14}, {8, 3, 4, 16, 16}},
        {"patch_embed.proj.weight", 4, 5, {8, 3, 0, 14}, {8, 3, 4, 16, 16}},
        {"pos_embed", 3, 5, {1, 16, 8}, {1, 8, 2, 4, 4}}, /* no class position */
        {"pos_embed", 3, 5, {1, 13, 8}, {1, 8, 2, 4, 3}}, /* no square */
        {"pos_embed", 3, 5, {1, 17, 8}, {1, 6, 2, 4, 4}},
        {"pos_embed", 5, 5, {1, 8, 2, 3, 3}, {1, 6, 2, 3, 3}},
        {"blocks.0.mlp.w1.weight", 2, 2, {16, 8}, {12, 8}},
        {"head.weight", 2, 2, {3, 8}, {1, 8}},
        {"encoder.1.bias", 1, 1, {3}, {1}},
        {"decoder.2.bias", 1, 1, {4}, {1}},
        {"decoder.4.conv.0.weight", 5, 5, {3, 8, 3, 3, 3}, {1, 8, 3, 3, 3}},
        {"patch_embed.proj.weight", 4, 5, {1 << 20, 4, 16, 16}, {1 << 20, 4, 4, 16, 16}},
    };
    for (int64_t i = 0; i < PUMIT__COUNT(refused); i++) {
        pumit__adaptation adaptation;
        pumit__weights_entry entry = {.dtype = PUMIT_F32, .ndim = refused[i].from_ndim};
        memcpy(entry.shape, refused[i].from, sizeof refused[i].from);
        ck_assert_msg(!pumit__adapt_plan(&adaptation, &entry, refused[i].name, refused[i].to_ndim,
                                         refused[i].to, false),
                      "case %lld, %s", (long long)i, refused[i].name);
    }
}
END_TEST

/* ---------------------------------------------------------------------------------------- whole models */

#define EVA                                                                                        \
    "\"patch\":[4,4,4],\"dim\":8,\"depth\":1,\"heads\":2,\"hidden\":12,\"pos_embed_shape\":"       \
    "[2,3,3]"

static pumit_vit *create(const char *json)
{
    pumit_vit *vit;
    pumit_config *config = config_of(json);
    CHECK_OK(pumit_vit_create(&vit, ctx, config));
    pumit_config_release(config);
    return vit;
}

static pumit_status import_into(pumit_vit *vit, const char *from, const char *json)
{
    pumit_config *options = config_of(json);
    const pumit_status status = pumit_module_import(pumit_vit_module(vit), from, options);
    pumit_config_release(options);
    return status;
}

static void check_refused(pumit_vit *vit, const char *from, const char *json, pumit_status status,
                          const char *words)
{
    const pumit_status got = import_into(vit, from, json);
    ck_assert_msg(got == status, "%s instead of %s for '%s'", pumit_status_name(got),
                  pumit_status_name(status), words);
    ck_assert_msg(strstr(pumit_last_error(), words), "'%s' lacks '%s'", pumit_last_error(), words);
}

static void check_log(const char *words)
{
    ck_assert_msg(strstr(gathered, words), "'%s' is not in\n%s", words, gathered);
}

/* A named array of a file against a tensor's elements from `skip` on. */
static void check_close(pumit__weights_file *file, const char *name, const pumit_tensor *tensor)
{
    int64_t count;
    double *expected = read_all(file, pumit__weights_file_find(file, name), &count);
    double *got = calloc((size_t)count, sizeof *got);
    ck_assert_int_eq(pumit_tensor_count(tensor), count);
    CHECK_OK(pumit_tensor_read(tensor, PUMIT_F64, got, count * (int64_t)sizeof *got));
    for (int64_t i = 0; i < count; i++)
        ck_assert_msg(fabs(got[i] - expected[i]) <= 1e-5 * (1 + fabs(expected[i])),
                      "%s[%lld]: %.9g, PyTorch %.9g", name, (long long)i, got[i], expected[i]);
    free(got);
    free(expected);
}

/* A 2D image's tokens are those of the 2D network with its kernel and positions resized. */
START_TEST(a_2d_network_starts_a_3d_one)
{
    pumit_vit *vit = create("{" EVA "}");
    pumit__weights_file *expected;
    pumit_tensor *class_token;
    int64_t grid[3], count;
    CHECK_OK(import_into(vit, committed("eva.pt"), "{\"partial\":true}"));
    CHECK_OK(pumit__weights_file_open(&expected, committed("eva_expected.pt")));
    CHECK_OK(pumit_module_find(&class_token, pumit_vit_module(vit), "cls_token"));
    check_close(expected, "cls_token", class_token);
    double *image = read_all(expected, pumit__weights_file_find(expected, "image"), &count);
    const int64_t mark = pumit__scope_begin(ctx);
    static const int32_t channels_last[5] = {0, 2, 3, 4, 1};
    pumit_tensor *x = pumit__permute(
        pumit__from_host(ctx, PUMIT_F64, image, 0, 5, (const int64_t[5]){1, 3, 1, 12, 20}),
        channels_last);
    pumit_tensor *tokens = pumit__vit_patch_tokens(vit, x, 5, grid);
    ck_assert_ptr_nonnull(tokens);
    check_close(expected, "tokens", tokens);
    pumit__scope_end(ctx, mark, NULL);
    free(image);
    pumit__weights_file_close(expected);
    pumit_vit_release(vit);
    check_log("0 "); /* all at the level of information */
    ck_assert_ptr_null(strstr(gathered, "1 /"));
    check_log("patch_embed.proj.weight: bicubic: H 3 to 4, bicubic: W 3 to 4, inflated (average)");
    check_log("pos_embed: class position to the class token, repeated over depth: D 1 to 2");
    check_log("cls_token: the class position was added");
    check_log("rope.freqs_cos: dropped");
    check_log("head.weight: not used");
    check_log("25 of 25 parameters taken, 3 adapted");
}
END_TEST

START_TEST(names_are_strict_unless_asked)
{
    static float before[8], after[8];
    pumit_vit *vit = create("{" EVA "}"), *coded = create("{" EVA ",\"codes\":5}");
    pumit_tensor *norm;
    CHECK_OK(pumit_module_find(&norm, pumit_vit_module(vit), "norm.weight"));
    CHECK_OK(pumit_tensor_read(norm, PUMIT_F32, before, sizeof before));
    check_refused(vit, committed("eva.pt"), "{}", PUMIT_ERROR_NOT_FOUND,
                  "2 unexpected (head.bias, head.weight)");
    CHECK_OK(pumit_tensor_read(norm, PUMIT_F32, after, sizeof after));
    ck_assert_mem_eq(before, after, sizeof before);
    check_refused(coded, committed("eva.pt"), "{}", PUMIT_ERROR_NOT_FOUND,
                  "5 missing (mask_token, mim_head.0.weight, mim_head.0.bias, mim_head.2.weight, "
                  "mim_head.2.bias); 2 unexpected");
    check_log("1 "); /* and as warnings */
    check_log("mim_head.2.bias: is missing");
    CHECK_OK(import_into(coded, committed("eva.pt"), "{\"partial\":true}"));
    check_log("mask_token: is not in the file, left as it is");
    check_refused(vit, committed("eva.pt"), "{\"prefix\":\"model.\"}", PUMIT_ERROR_NOT_FOUND,
                  "25 missing (patch_embed.proj.weight");
    ck_assert_ptr_nonnull(strstr(pumit_last_error(), " more)"));
    check_refused(vit, committed("eva.pt"), "{\"inflation\":\"both\"}",
                  PUMIT_ERROR_INVALID_ARGUMENT, "'both'");
    check_refused(vit, committed("plain.pt"), "{\"partial\":true}", PUMIT_ERROR_NOT_FOUND,
                  "25 missing");
    pumit_vit_release(vit);
    pumit_vit_release(coded);
}
END_TEST

#define SMALL "\"patch\":[4,4,4],\"dim\":8,\"heads\":2,\"pos_embed_shape\":[2,3,3],"

START_TEST(backbones_must_be_whole)
{
    pumit_vit *one = create("{" SMALL "\"depth\":1,\"hidden\":12}");
    pumit_vit *two = create("{" SMALL "\"depth\":2,\"hidden\":12}");
    pumit_vit *wide = create("{" SMALL "\"depth\":1,\"hidden\":16}");
    CHECK_OK(pumit_module_save(pumit_vit_module(one), path, NULL));
    check_refused(two, path, "{\"partial\":true}", PUMIT_ERROR_NOT_FOUND,
                  "19 missing (blocks.1.norm1.weight");
    check_refused(wide, path, "{\"partial\":true}", PUMIT_ERROR_SHAPE,
                  "7 of another shape (blocks.0.mlp.w1.weight (12, 8) for (16, 8)");
    CHECK_OK(pumit_module_save(pumit_vit_module(two), path, NULL));
    check_refused(one, path, "{\"partial\":true}", PUMIT_ERROR_NOT_FOUND, "19 unexpected");
    pumit_vit_release(one);
    pumit_vit_release(two);
    pumit_vit_release(wide);
}
END_TEST

START_TEST(tokenizers_have_no_head_to_miss)
{
    pumit_tokenizer *tokenizer;
    pumit_config *config = config_of("{\"channels\":[8],\"codes\":2,\"code_dim\":8}");
    pumit_config *options = config_of("{\"partial\":true}");
    CHECK_OK(pumit_tokenizer_create(&tokenizer, ctx, config));
    ck_assert_int_eq(
        pumit_module_import(pumit_tokenizer_module(tokenizer), committed("plain.pt"), options),
        PUMIT_ERROR_NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(pumit_last_error(), "missing (encoder.0.weight"));
    ck_assert_ptr_null(strstr(pumit_last_error(), "unexpected"));
    pumit_tokenizer_release(tokenizer);
    pumit_config_release(config);
    pumit_config_release(options);
}
END_TEST

START_TEST(prefixes_are_stripped)
{
    pumit_vit *from = create("{" EVA ",\"seed\":1}"), *to = create("{" EVA ",\"seed\":2}");
    pumit_classifier *classifier;
    pumit_config *classes = config_of("{\"classes\":2}");
    CHECK_OK(pumit_classifier_create(&classifier, from, classes));
    CHECK_OK(pumit_module_save(pumit_classifier_module(classifier), path, NULL));
    CHECK_OK(import_into(to, path, "{\"prefix\":\"backbone.\"}"));
    check_log("2 tensors outside the prefix 'backbone.' left alone");
    check_log("25 of 25 parameters taken, 0 adapted");
    const pumit_module *a = pumit_vit_module(from), *b = pumit_vit_module(to);
    for (int64_t i = 0; i < pumit_module_parameter_count(a); i++) {
        static char x[4096 * 4], y[4096 * 4];
        const pumit_tensor *p = pumit_module_parameter(a, i);
        const int64_t bytes = pumit_tensor_count(p) * 4;
        CHECK_OK(pumit_tensor_read(p, PUMIT_F32, x, bytes));
        CHECK_OK(pumit_tensor_read(pumit_module_parameter(b, i), PUMIT_F32, y, bytes));
        ck_assert_mem_eq(x, y, (size_t)bytes);
    }
    pumit_config_release(classes);
    pumit_classifier_release(classifier);
    pumit_vit_release(from);
    pumit_vit_release(to);
}
END_TEST

START_TEST(checkpoints_are_no_models)
{
    pumit_vit *vit;
    pumit_config *info;
    int64_t tensors, elements;
    ck_assert_int_eq(pumit_vit_load(&vit, ctx, committed("eva.pt")), PUMIT_ERROR_FORMAT);
    ck_assert_ptr_null(vit);
    ck_assert_ptr_nonnull(strstr(pumit_last_error(), "--convert"));
    CHECK_OK(pumit_model_file_info(&info, committed("plain.pt")));
    CHECK_OK(pumit_config_get_int(&tensors, info, "tensors", 0));
    CHECK_OK(pumit_config_get_int(&elements, info, "elements", 0));
    ck_assert_int_eq(tensors, 17);
    ck_assert_int_eq(elements, 12 * 6 + 1 + 0 + 48 + 2 + 2);
    pumit_config_release(info);
    vit = create("{" EVA "}");
    int64_t loaded;
    ck_assert_int_eq(
        pumit_module_load_weights(pumit_vit_module(vit), committed("eva.pt"), NULL, 0, &loaded),
        PUMIT_ERROR_SHAPE);
    ck_assert_ptr_nonnull(strstr(pumit_last_error(), "patch_embed.proj.weight"));
    pumit_vit_release(vit);
}
END_TEST

Suite *suite_adapt(void)
{
    Suite *suite = suite_create("adapt");
    TCase *core = tcase_create("core");
    tcase_add_checked_fixture(core, setup, teardown);
    tcase_add_loop_test(core, arrays_become_what_pytorch_makes_of_them, 0,
                        (int)PUMIT__COUNT(cases));
    tcase_add_test(core, other_shapes_have_no_way);
    tcase_add_test(core, a_2d_network_starts_a_3d_one);
    tcase_add_test(core, names_are_strict_unless_asked);
    tcase_add_test(core, backbones_must_be_whole);
    tcase_add_test(core, tokenizers_have_no_head_to_miss);
    tcase_add_test(core, prefixes_are_stripped);
    tcase_add_test(core, checkpoints_are_no_models);
    suite_add_tcase(suite, core);
    return suite;
}
