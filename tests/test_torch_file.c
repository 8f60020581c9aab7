/* SPDX-License-Identifier: Apache-2.0 */
/* Checkpoints of PyTorch (tests/data/torch), and such as nobody should have written. */
#include "lib/nn/weights.h"
#include "tests/torch_archive.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

Suite *suite_torch_file(void);

#define CHECK_OK(call) ck_assert_msg((call) == PUMIT_OK, "%s", pumit_last_error())

static char folder[64], path[96];

static void make_folder(void)
{
    snprintf(folder, sizeof folder, "/tmp/pumit-test-torch-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/checkpoint.pt", folder);
}

static void remove_folder(void)
{
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

/* ------------------------------------------------------------------------------------- good ones */

/* Element (row, column) of a 2 x 3 array is base + by_row * row + by_column * column. */
static const struct {
    const char *name;
    pumit_dtype dtype;
    double base, by_row, by_column;
} matrices[] = {
    {"f32", PUMIT_F32, 0, 0.75, 0.25},   {"f16", PUMIT_F16, 0, 0.75, 0.25},
    {"bf16", PUMIT_BF16, 0, 0.75, 0.25}, {"f64", PUMIT_F64, 0, 0.75, 0.25},
    {"i64", PUMIT_I64, 0, 3, 1},         {"i32", PUMIT_I32, 0, 3, 1},
    {"i16", PUMIT_I16, 0, 3, 1},         {"u8", PUMIT_U8, 0, 3, 1},
    {"rows", PUMIT_F32, 4, 2, 0.25},     {"columns", PUMIT_F32, 0.25, 0.25, 4},
    {"expanded", PUMIT_F32, 0, 0, 0.25}, {"parameter", PUMIT_F32, 0, 0.75, 0.25},
};

static void check_matrix(pumit__weights_file *file, const char *name, pumit_dtype dtype,
                         double base, double by_row, double by_column)
{
    pumit_context *ctx;
    const void *data;
    double values[2][3];
    const int64_t packed[PUMIT_MAX_DIMS] = {3, 1};
    const pumit__weights_entry *entry = pumit__weights_file_find(file, name);
    ck_assert_msg(entry, "no '%s'", name);
    ck_assert_int_eq(entry->dtype, dtype);
    ck_assert_int_eq(entry->ndim, 2);
    ck_assert_int_eq(entry->shape[0], 2);
    ck_assert_int_eq(entry->shape[1], 3);
    CHECK_OK(pumit_context_create(&ctx, NULL));
    CHECK_OK(pumit__weights_file_data(&data, file, entry));
    CHECK_OK(pumit__weights_copy(ctx, entry, data, values, PUMIT_F64, packed));
    for (int r = 0; r < 2; r++)
        for (int c = 0; c < 3; c++)
            ck_assert_msg(values[r][c] == base + by_row * r + by_column * c, "%s[%d][%d] is %g",
                          name, r, c, values[r][c]);
    pumit_context_release(ctx);
}

START_TEST(every_type_and_view_is_read)
{
    static const char *const files[] = {"plain.pt", "compressed.pt"};
    pumit__weights_file *file;
    CHECK_OK(pumit__weights_file_open(&file, committed(files[_i])));
    ck_assert_int_eq(pumit__weights_file_count(file), 17);
    for (int64_t i = 0; i < PUMIT__COUNT(matrices); i++)
        check_matrix(file, matrices[i].name, matrices[i].dtype, matrices[i].base,
                     matrices[i].by_row, matrices[i].by_column);
    const pumit__weights_entry *scalar = pumit__weights_file_find(file, "scalar");
    const void *data;
    CHECK_OK(pumit__weights_file_data(&data, file, scalar));
    ck_assert_int_eq(scalar->ndim, 0);
    ck_assert(*(const float *)data == 2.5f);
    ck_assert_int_eq(pumit__weights_file_find(file, "empty")->shape[0], 0);
    ck_assert_int_eq(pumit__weights_file_find(file, "empty")->bytes, 0);
    ck_assert_int_eq(pumit__weights_file_find(file, "whole")->block,
                     pumit__weights_file_find(file, "rows")->block);
    ck_assert_int_eq(pumit__weights_file_find(file, "complex")->dtype, 0);
    ck_assert_ptr_null(pumit__weights_file_find(file, "float"));
    ck_assert_ptr_null(pumit__weights_file_metadata(file, "pumit.model"));
    pumit__weights_file_close(file);
}
END_TEST

START_TEST(state_dicts_are_found)
{
    static const struct {
        const char *name, *weight;
        int64_t count;
    } files[] = {{"lightning.ckpt", "model.weight", 2},
                 {"protocol3.ckpt", "model.weight", 2},
                 {"protocol4.ckpt", "model.weight", 2},
                 {"protocol5.ckpt", "model.weight", 2},
                 {"model.pt", "weight", 1},
                 {"module.pt", "weight", 1}};
    for (int64_t i = 0; i < PUMIT__COUNT(files); i++) {
        pumit__weights_file *file;
        CHECK_OK(pumit__weights_file_open(&file, committed(files[i].name)));
        ck_assert_int_eq(pumit__weights_file_count(file), files[i].count);
        check_matrix(file, files[i].weight, PUMIT_F32, 0, 0.75, 0.25);
        pumit__weights_file_close(file);
    }
}
END_TEST

START_TEST(what_is_no_state_dict_is_refused)
{
    static const struct {
        const char *name, *words;
        pumit_status status;
    } files[] = {{"list.pt", "no state dict", PUMIT_ERROR_FORMAT},
                 {"pickled_module.pt", "state_dict()", PUMIT_ERROR_FORMAT},
                 {"legacy.pt", "save it again", PUMIT_ERROR_UNSUPPORTED},
                 {"absent.pt", "cannot read", PUMIT_ERROR_NOT_FOUND},
                 {"README.md", "no safetensors", PUMIT_ERROR_FORMAT}};
    for (int64_t i = 0; i < PUMIT__COUNT(files); i++) {
        pumit__weights_file *file;
        ck_assert_int_eq(pumit__weights_file_open(&file, committed(files[i].name)),
                         files[i].status);
        ck_assert_ptr_null(file);
        ck_assert_msg(strstr(pumit_last_error(), files[i].words), "%s", pumit_last_error());
        ck_assert_ptr_nonnull(strstr(pumit_last_error(), files[i].name));
    }
}
END_TEST

/* ----------------------------------------------------------------------------------- malicious ones */

/* Pickles and pieces of them. C ends an escape before a letter only, so some strings are cut in two. */
#define P2        "\x80\2"
#define P4        "\x80\4"
#define NUMBER(n) "K" n
#define LONG(n)   "\x8a\x08" n
#define TEXT1(t)  "X\1\0\0\0" t
#define TENSOR(key, count, offset, sizes, strides)                                                 \
    "ctorch._utils\n_rebuild_tensor_v2\n((X\7\0\0\0storagectorch\nFloatStorage\n" TEXT1(           \
        key) "X\3\0\0\0cpu" count "tQ" offset sizes strides "\x89NtR"
#define GOOD         TENSOR("0", NUMBER("\6"), NUMBER("\0"), "K\2K\3\x86", "K\3K\1\x86")
#define MINUS        "J\xff\xff\xff\xff"
#define HUGE_NUMBER  LONG("\xff\xff\xff\xff\xff\xff\xff\x7f")
#define STATE(value) P2 "}" TEXT1("w") value "s."
#define ONE(pickle, status, words)                                                                 \
    {                                                                                              \
        pickle, sizeof(pickle) - 1, status, words                                                  \
    }

static const struct {
    const char *pickle;
    size_t bytes;
    pumit_status status;
    const char *words;
} pickles[] = {
    ONE(STATE(GOOD), PUMIT_OK, ""),
    /* calls */
    ONE(P2 "cos\nsystem\nX\4\0\0\0true\x85R.", PUMIT_ERROR_FORMAT, "os.system"),
    ONE(P4 "\x8c\5posix\x8c\6system\x93\x8c\4true\x85R.", PUMIT_ERROR_FORMAT, "posix.system"),
    ONE(P2 "c__builtin__\neval\nX\1\0\0\0"
           "1\x85R.",
        PUMIT_ERROR_FORMAT, "eval"),
    ONE(P2 "cbuiltins\nexec\nX\1\0\0\0"
           "1\x85R.",
        PUMIT_ERROR_FORMAT, "exec"),
    ONE(P2 "csubprocess\nPopen\nX\4\0\0\0true\x85R.", PUMIT_ERROR_FORMAT, "subprocess.Popen"),
    ONE(P2 "cos\nsystem\nX\4\0\0\0true\x85\x81.", PUMIT_ERROR_FORMAT, "os.system"),
    ONE(P2 "ctorch.hub\nload\n)R.", PUMIT_ERROR_FORMAT, "torch.hub.load"),
    ONE(P2 "cbuiltins\ngetattr\ncos\nSystem\nX\4\0\0\0true\x86R.", PUMIT_ERROR_FORMAT, "getattr"),
    ONE(P2 "cfunctools\npartial\ncos\nsystem\n\x85R)R.", PUMIT_ERROR_FORMAT, "an object is called"),
    ONE(P2 "}(" TEXT1("w") GOOD TEXT1("x") "cos\nsystem\n)Ru.", PUMIT_ERROR_FORMAT, "os.system"),
    ONE(P2 "}(" TEXT1("w") GOOD TEXT1("x") "cos\nsystem\nu.", PUMIT_OK, ""), /* named, not called */
    ONE(P2 "}(" TEXT1("w") GOOD TEXT1("x") "cmine\nThing\n)R}bu.", PUMIT_OK, ""),
    /* tensors */
    ONE(STATE(TENSOR("0", NUMBER("\6"), NUMBER("\1"), "K\2K\3\x86", "K\3K\1\x86")),
        PUMIT_ERROR_FORMAT, "outside its storage"),
    ONE(STATE(TENSOR("0", NUMBER("\6"), MINUS, "K\2K\3\x86", "K\3K\1\x86")), PUMIT_ERROR_FORMAT,
        "below 0"),
    ONE(STATE(TENSOR("0", NUMBER("\6"), NUMBER("\5"), "K\2K\3\x86", MINUS "K\1\x86")),
        PUMIT_ERROR_FORMAT, "below 0"),
    ONE(STATE(TENSOR("0", NUMBER("\6"), NUMBER("\0"), MINUS "K\3\x86", "K\3K\1\x86")),
        PUMIT_ERROR_FORMAT, "below 0"),
    ONE(STATE(TENSOR("0", MINUS, NUMBER("\0"), "K\2K\3\x86", "K\3K\1\x86")), PUMIT_ERROR_FORMAT,
        "no storage"),
    ONE(STATE(
            TENSOR("0", NUMBER("\6"), NUMBER("\0"), HUGE_NUMBER HUGE_NUMBER "\x86", "K\0K\0\x86")),
        PUMIT_ERROR_FORMAT, "outside its storage"),
    ONE(STATE(TENSOR("0", NUMBER("\6"), NUMBER("\0"), "K\2K\3\x86", HUGE_NUMBER "K\1\x86")),
        PUMIT_ERROR_FORMAT, "outside its storage"),
    ONE(STATE(TENSOR("0", HUGE_NUMBER, HUGE_NUMBER, "K\2K\3\x86", "K\3K\1\x86")),
        PUMIT_ERROR_FORMAT, "outside its storage"),
    ONE(STATE(TENSOR("0", HUGE_NUMBER, NUMBER("\0"), "K\2K\3\x86", "K\3K\1\x86")),
        PUMIT_ERROR_FORMAT, "cut short"),
    ONE(STATE(TENSOR("0", NUMBER("\7"), NUMBER("\0"), "K\2K\3\x86", "K\3K\1\x86")),
        PUMIT_ERROR_FORMAT, "cut short"),
    ONE(STATE(TENSOR("9", NUMBER("\6"), NUMBER("\0"), "K\2K\3\x86", "K\3K\1\x86")),
        PUMIT_ERROR_FORMAT, "no data"),
    ONE(STATE(TENSOR("0", NUMBER("\6"), NUMBER("\0"), "K\2K\3\x86", "K\3\x85")), PUMIT_ERROR_FORMAT,
        "not built of"),
    ONE(STATE(TENSOR("0", NUMBER("\6"), NUMBER("\0"), "(K\1K\1K\1K\1K\1K\1K\1K\1K\1t",
                     "(K\1K\1K\1K\1K\1K\1K\1K\1K\1t")),
        PUMIT_ERROR_FORMAT, "no state dict"),
    ONE(P2 "}(" TEXT1("w") GOOD TEXT1("w") GOOD "u.", PUMIT_ERROR_FORMAT, "twice"),
    ONE(P2 "ctorch._utils\n_rebuild_tensor_v2\n)R.", PUMIT_ERROR_FORMAT, "not built of"),
    ONE(P2 "K\1Q.", PUMIT_ERROR_FORMAT, "no storage"),
    /* the machine */
    ONE("\x80\1N.", PUMIT_ERROR_UNSUPPORTED, "protocol 1"),
    ONE("\x80\6N.", PUMIT_ERROR_UNSUPPORTED, "protocol 6"),
    ONE("N.", PUMIT_ERROR_FORMAT, "begin"),
    ONE("", PUMIT_ERROR_FORMAT, "begin"),
    ONE(P2 ".", PUMIT_ERROR_FORMAT, "missing"),
    ONE(P2 "(.", PUMIT_ERROR_FORMAT, "mark was left"),
    ONE(P2 "N", PUMIT_ERROR_FORMAT, "cut short"),
    ONE(P2 "0.", PUMIT_ERROR_FORMAT, "missing"),
    ONE(P2 "1.", PUMIT_ERROR_FORMAT, "mark"),
    ONE(P2 "t.", PUMIT_ERROR_FORMAT, "mark"),
    ONE(P2 "u.", PUMIT_ERROR_FORMAT, "mark"),
    ONE(P2 "(u.", PUMIT_ERROR_FORMAT, "missing"),
    ONE(P2 "}(Nu.", PUMIT_ERROR_FORMAT, "without a value"),
    ONE(P2 "](NNs.", PUMIT_ERROR_FORMAT, "missing"),
    ONE(P2 "]NNs.", PUMIT_ERROR_FORMAT, "no container"),
    ONE(P2 "N(a.", PUMIT_ERROR_FORMAT, "missing"),
    ONE(P2 "\x87.", PUMIT_ERROR_FORMAT, "missing"),
    ONE(P2 "NR.", PUMIT_ERROR_FORMAT, "missing"),
    ONE(P2 "NNR.", PUMIT_ERROR_FORMAT, "an object is called"),
    ONE(P2 "cmine\nThing\nNR.", PUMIT_ERROR_FORMAT, "no tuple"),
    ONE(P2 "NN\x93.", PUMIT_ERROR_FORMAT, "no text"),
    ONE(P2 "cmine\nThing", PUMIT_ERROR_FORMAT, "cut short"),
    ONE(P2 "h\0.", PUMIT_ERROR_FORMAT, "remembered"),
    ONE(P2 "Nq\5h\1.", PUMIT_ERROR_FORMAT, "remembered"),
    ONE(P2 "Nr\xff\xff\xff\xff.", PUMIT_ERROR_LIMIT, "remember"),
    ONE(P2 "X\xff\xff\xff\xff.", PUMIT_ERROR_FORMAT, "cut short"),
    ONE(P4 "\x8d\xff\xff\xff\xff\xff\xff\xff\xff.", PUMIT_ERROR_FORMAT, "too large"),
    ONE(P4 "\x8d\xff\xff\xff\xff\xff\xff\xff\x7f.", PUMIT_ERROR_FORMAT, "cut short"),
    ONE(P2 "\x82\1.", PUMIT_ERROR_FORMAT, "opcode"),
    ONE(P2 "I1\n.", PUMIT_ERROR_FORMAT, "opcode"),
    ONE(P2 "]q\0h\0a.", PUMIT_ERROR_FORMAT, "no state dict"),
    ONE(P2 "]2a.", PUMIT_ERROR_FORMAT, "no state dict"),
    ONE(P2 "}q\0X\5\0\0\0modelh\0s.", PUMIT_ERROR_FORMAT, "no state dict"),
    ONE(P2 "]q\0]q\1h\0ah\0h\1a.", PUMIT_ERROR_FORMAT, "no state dict"),
};

static pumit_status open_pickle(const char *pickle, size_t bytes, pumit__weights_file **file)
{
    static const float data[6] = {1, 2, 3, 4, 5, 6};
    const archive_member members[] = {{"archive/data.pkl", pickle, bytes, false},
                                      {"archive/data/0", data, sizeof data, false},
                                      {NULL, NULL, 0, false}};
    archive_write(path, members);
    return pumit__weights_file_open(file, path);
}

START_TEST(malicious_pickles_are_refused)
{
    pumit__weights_file *file = (pumit__weights_file *)path;
    const pumit_status status = open_pickle(pickles[_i].pickle, pickles[_i].bytes, &file);
    ck_assert_msg(status == pickles[_i].status, "pickle %d: %s, %s", _i, pumit_status_name(status),
                  status ? pumit_last_error() : "");
    if (status == PUMIT_OK) {
        ck_assert_int_eq(pumit__weights_file_count(file), 1);
        check_matrix(file, "w", PUMIT_F32, 1, 3, 1);
        pumit__weights_file_close(file);
        return;
    }
    ck_assert_ptr_null(file);
    ck_assert_msg(strstr(pumit_last_error(), pickles[_i].words), "pickle %d: %s", _i,
                  pumit_last_error());
    ck_assert_ptr_nonnull(strstr(pumit_last_error(), path));
}
END_TEST

typedef struct {
    const char *text;
    size_t bytes, times;
} piece;

#define PIECE(text, times)                                                                         \
    {                                                                                              \
        text, sizeof(text) - 1, times                                                              \
    }
#define LAST                                                                                       \
    {                                                                                              \
        NULL, 0, 0                                                                                 \
    }

/* Each takes far less time than Check allows for one. */
static const struct {
    const char *words;
    piece pieces[6];
} bombs[] = {
    {"nesting", {PIECE(P2, 1), PIECE("]", 100000), PIECE("a", 99999), PIECE(".", 1), LAST}},
    {"nesting", {PIECE(P2, 1), PIECE(")", 1), PIECE("\x85", 100000), PIECE(".", 1), LAST}},
    {"nesting", {PIECE(P2, 1), PIECE("}N", 100000), PIECE("}", 1), PIECE("s", 100000), LAST}},
    {"nesting",
     {PIECE(P2, 1), PIECE("cmine\nT\n", 100000), PIECE("N", 1), PIECE("\x85R", 100000), LAST}},
    {"nesting", {PIECE(P2, 1), PIECE("cmine\nT\n)R", 100000), PIECE("b", 99999), LAST}},
    {"than 67108864 values", {PIECE(P2 ")", 1), PIECE("2\x86", 100), PIECE(".", 1), LAST}},
    {"than 67108864 values", {PIECE(P2 "]", 1), PIECE("q\0(h\0h\0l", 100), PIECE(".", 1), LAST}},
    {"than 67108864 values",
     {PIECE(P2 "]", 1), PIECE("q\0cmine\nT\n(h\0h\0tR", 100), PIECE(".", 1), LAST}},
    {"bytes of values", {PIECE(P2, 1), PIECE("N0", 6000000), PIECE(".", 1), LAST}},
    {"values in hand", {PIECE(P2 "N", 1), PIECE("2", 5000000), PIECE(".", 1), LAST}},
    {"marks", {PIECE(P2, 1), PIECE("(", 5000000), PIECE(".", 1), LAST}},
};

START_TEST(bombs_are_refused)
{
    const piece *const pieces = bombs[_i].pieces;
    pumit__weights_file *file;
    size_t bytes = 0, at = 0;
    for (int i = 0; pieces[i].text; i++) bytes += pieces[i].bytes * pieces[i].times;
    char *pickle = malloc(bytes);
    for (int i = 0; pieces[i].text; i++)
        for (size_t k = 0; k < pieces[i].times; k++, at += pieces[i].bytes)
            memcpy(pickle + at, pieces[i].text, pieces[i].bytes);
    ck_assert_int_eq(open_pickle(pickle, bytes, &file), PUMIT_ERROR_LIMIT);
    ck_assert_msg(strstr(pumit_last_error(), bombs[_i].words), "bomb %d: %s", _i,
                  pumit_last_error());
    free(pickle);
}
END_TEST

START_TEST(every_cut_of_a_pickle_is_refused)
{
    pumit__weights_file *file;
    for (size_t bytes = 0; bytes + 1 < pickles[0].bytes; bytes++) {
        ck_assert_int_eq(open_pickle(pickles[0].pickle, bytes, &file), PUMIT_ERROR_FORMAT);
        ck_assert_ptr_null(file);
    }
}
END_TEST

START_TEST(byte_order_and_layout_of_the_archive)
{
    static const float data[6] = {1, 2, 3, 4, 5, 6};
    archive_member members[] = {{"x/data.pkl", pickles[0].pickle, pickles[0].bytes, true},
                                {"x/byteorder", "little", 6, false},
                                {"x/data/0", data, sizeof data, true},
                                {NULL, NULL, 0, false}};
    pumit__weights_file *file;
    archive_write(path, members);
    CHECK_OK(pumit__weights_file_open(&file, path));
    check_matrix(file, "w", PUMIT_F32, 1, 3, 1);
    pumit__weights_file_close(file);
    members[1].data = "bigger";
    archive_write(path, members);
    ck_assert_int_eq(pumit__weights_file_open(&file, path), PUMIT_ERROR_UNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(pumit_last_error(), "little-endian"));
    members[0].name = "data.pkl";
    archive_write(path, members);
    ck_assert_int_eq(pumit__weights_file_open(&file, path), PUMIT_ERROR_FORMAT);
    ck_assert_ptr_nonnull(strstr(pumit_last_error(), "without data.pkl"));
}
END_TEST

START_TEST(damaged_archives_do_no_harm)
{
    static unsigned char good[2048];
    FILE *f = fopen(committed("model.pt"), "rb");
    const size_t length = fread(good, 1, sizeof good, f);
    fclose(f);
    for (size_t i = 0; i < 2 * length; i++) {
        const size_t at = i / 2;
        const unsigned char kept = good[at];
        pumit__weights_file *file;
        good[at] ^= (unsigned char)(i % 2 ? 0xff : 1 << at % 8);
        archive_write_raw(path, good, length);
        good[at] = kept;
        if (pumit__weights_file_open(&file, path) != PUMIT_OK) continue;
        for (int64_t k = 0; k < pumit__weights_file_count(file); k++) {
            const pumit__weights_entry *entry = pumit__weights_file_entry(file, k);
            const void *data;
            unsigned sum = 0;
            if (pumit__weights_file_data(&data, file, entry) != PUMIT_OK) continue;
            for (int64_t b = 0; b < entry->bytes; b++) sum += ((const unsigned char *)data)[b];
            ck_assert_uint_le(sum, 255 * 24);
        }
        pumit__weights_file_close(file);
    }
    for (size_t cut = 0; cut < length; cut++) {
        pumit__weights_file *file;
        archive_write_raw(path, good, cut);
        ck_assert_int_eq(pumit__weights_file_open(&file, path), PUMIT_ERROR_FORMAT);
    }
}
END_TEST

Suite *suite_torch_file(void)
{
    Suite *suite = suite_create("torch_file");
    TCase *good = tcase_create("good"), *bad = tcase_create("bad");
    tcase_add_checked_fixture(bad, make_folder, remove_folder);
    tcase_add_loop_test(good, every_type_and_view_is_read, 0, 2);
    tcase_add_test(good, state_dicts_are_found);
    tcase_add_test(good, what_is_no_state_dict_is_refused);
    tcase_add_loop_test(bad, malicious_pickles_are_refused, 0, (int)PUMIT__COUNT(pickles));
    tcase_add_loop_test(bad, bombs_are_refused, 0, (int)PUMIT__COUNT(bombs));
    tcase_add_test(bad, every_cut_of_a_pickle_is_refused);
    tcase_add_test(bad, byte_order_and_layout_of_the_archive);
    tcase_add_test(bad, damaged_archives_do_no_harm);
    suite_add_tcase(suite, good);
    suite_add_tcase(suite, bad);
    return suite;
}
