/* SPDX-License-Identifier: Apache-2.0 */
/* Datasets from files, folders, lists and archives; what cannot be read is skipped and counted. */
#include "lib/data/dataset.h"
#include "tests/image_files.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static pumit_dataset *open_with(const char *name, const char *json)
{
    pumit_dataset *dataset;
    pumit_config *options;
    const char *path = files_path(name);
    CHECK_OK(pumit_config_parse(&options, json));
    CHECK_OK(pumit_dataset_open(&dataset, files_context, 1, &path, options));
    pumit_config_release(options);
    return dataset;
}

static pumit_status fail_with(const char *name, const char *json)
{
    pumit_dataset *dataset = (pumit_dataset *)&json;
    pumit_config *options;
    const char *path = files_path(name);
    CHECK_OK(pumit_config_parse(&options, json));
    const pumit_status status = pumit_dataset_open(&dataset, files_context, 1, &path, options);
    pumit_config_release(options);
    ck_assert_ptr_null(dataset);
    return status;
}

static void check_names(const pumit_dataset *dataset, int count, const char *const *names)
{
    ck_assert_int_eq(pumit_dataset_count(dataset), count);
    for (int i = 0; i < count; i++)
        ck_assert_str_eq(pumit_dataset_name(dataset, i), files_path(names[i]));
}

/* A PNG of one pixel of this level. */
static void write_dot(const char *name, uint8_t level)
{
    png_write(name, 1, 1, 8, 0, false, &level);
}

static float first_voxel(const pumit_dataset *dataset, int64_t i)
{
    return pumit_volume_voxels(pumit_dataset_volume(dataset, i))[0];
}

/* ----------------------------------------------------------------------------------------- folders */

START_TEST(folders_are_searched_in_order)
{
    const int16_t voxels[24] = {0};
    nifti_file file = nifti_plain(4, 16, 2, 2, 2);
    files_folder("set");
    files_folder("set/b");
    files_folder("set/b/deep");
    files_folder("set/.hidden");
    write_dot("set/z.png", 1);
    write_dot("set/b/two.PNG", 2);
    write_dot("set/b/deep/one.png", 3);
    write_dot("set/.hidden/x.png", 4);
    write_dot("set/._z.png", 5);
    file.pair = true;
    nifti_write("set/c", &file, voxels, 8, 2);
    file.pair = false;
    file.dim[0] = 4, file.dim[4] = 3;
    nifti_write("set/d.nii", &file, voxels, 24, 2);
    files_write("set/README.txt", "x", 1);
    files_write("set/broken.nii.gz", "x", 1);
    ck_assert_int_eq(symlink("..", files_path("set/b/up")), 0); /* a loop */
    pumit_dataset *dataset = open_with("set", "{}");
    static const char *const names[] = {"set/b/deep/one.png", "set/b/two.PNG", "set/c.hdr",
                                        "set/d.nii[0]",       "set/d.nii[1]",  "set/d.nii[2]",
                                        "set/z.png"};
    check_names(dataset, 7, names);
    ck_assert_int_eq(pumit_dataset_skipped(dataset), 1);
    ck_assert_int_eq(files_logged, 1);
    ck_assert(strstr(files_log, "broken.nii.gz"));
    ck_assert_int_eq(pumit_dataset_classes(dataset), 0);
    ck_assert_int_eq(pumit_dataset_label(dataset, 0), -1);
    ck_assert_ptr_null(pumit_dataset_volume(dataset, 7));
    ck_assert_ptr_null(pumit_dataset_name(dataset, -1));
    ck_assert_int_eq(pumit_dataset_label(dataset, 7), -1);
    pumit_dataset_release(dataset);
    pumit_dataset_release(NULL);
}
END_TEST

START_TEST(folders_can_be_labels)
{
    files_folder("set");
    files_folder("set/cat");
    files_folder("set/dog");
    files_folder("set/empty");
    files_folder("set/fox");
    write_dot("set/dog/a.png", 1);
    write_dot("set/cat/b.png", 2);
    write_dot("set/fox/c.png", 3);
    write_dot("set/stray.png", 4);
    pumit_dataset *dataset = open_with("set", "{\"folders_are_labels\": true}");
    static const char *const names[] = {"set/cat/b.png", "set/dog/a.png", "set/fox/c.png"};
    check_names(dataset, 3, names);
    ck_assert_int_eq(pumit_dataset_label(dataset, 0), 0);
    ck_assert_int_eq(pumit_dataset_label(dataset, 1), 1);
    ck_assert_int_eq(pumit_dataset_label(dataset, 2), 3);
    ck_assert_int_eq(pumit_dataset_classes(dataset), 4);
    ck_assert(files_logged == 1 && strstr(files_log, "stray.png"));
    pumit_dataset_release(dataset);
    files_check_failed(fail_with("set/stray.png", "{\"folders_are_labels\": true}"),
                       PUMIT_ERROR_INVALID_ARGUMENT, "stray.png", "folder");
}
END_TEST

START_TEST(nothing_to_read_is_one_message)
{
    files_folder("set");
    files_check_failed(fail_with("set", "{}"), PUMIT_ERROR_NOT_FOUND, "set", "no image");
    files_check_failed(fail_with("absent", "{}"), PUMIT_ERROR_NOT_FOUND, "absent", "No such file");
    files_write("set/broken.png", "x", 1);
    files_check_failed(fail_with("set", "{}"), PUMIT_ERROR_FORMAT, "set", "broken.png");
    files_check_failed(fail_with("set/broken.png", "{}"), PUMIT_ERROR_FORMAT, "broken.png",
                       "not a NIfTI");
    files_write("gone.csv", "path,split\nno.png,val\n", 22);
    files_check_failed(fail_with("gone.csv", "{\"split\": \"val\"}"), PUMIT_ERROR_IO, "gone.csv",
                       "no.png");
    files_check_failed(fail_with("set", "{\"split\": \"all\"}"), PUMIT_ERROR_INVALID_ARGUMENT,
                       "split", "all");
    pumit_dataset *dataset;
    ck_assert_int_eq(pumit_dataset_open(&dataset, files_context, 0, NULL, NULL),
                     PUMIT_ERROR_INVALID_ARGUMENT);
}
END_TEST

START_TEST(memory_is_limited)
{
    static const uint8_t pixels[64 * 64]; /* 16 KiB each as float, and a little more */
    files_folder("set");
    png_write("set/a.png", 64, 64, 8, 0, false, pixels);
    png_write("set/b.png", 64, 64, 8, 0, false, pixels);
    files_check_failed(fail_with("set", "{\"limits\": {\"bytes\": 32768}}"), PUMIT_ERROR_LIMIT,
                       "b.png", "limits.bytes");
    pumit_dataset *dataset = open_with("set", "{\"limits\": {\"bytes\": 40000}}");
    ck_assert_int_eq(pumit_dataset_count(dataset), 2);
    pumit_dataset_release(dataset);
}
END_TEST

/* What there is beside its voxels counts as well. */
START_TEST(many_small_images_are_limited)
{
    static const uint8_t pixels[1000];
    const npz_member member = {"train_images",
                               "{'descr': '|u1', 'fortran_order': False, 'shape': (1000, 1, 1), }",
                               pixels, sizeof pixels};
    npz_write("many.npz", &member, 1, false);
    files_check_failed(fail_with("many.npz", "{\"limits\": {\"bytes\": 100000}}"),
                       PUMIT_ERROR_LIMIT, "many.npz", "limits.bytes");
}
END_TEST

/* ------------------------------------------------------------------------------------------- lists */

START_TEST(text_lists_are_read)
{
    files_folder("set");
    files_folder("set/more");
    write_dot("set/a.png", 1);
    write_dot("set/with blank.png", 2);
    write_dot("set/more/c.png", 3);
    const char list[] = "\xef\xbb\xbf"
                        "a.png\r\n\n# a remark\n  with blank.png  \nabsent.png\nmore\n";
    files_write("set/list.txt", list, sizeof list - 1);
    pumit_dataset *dataset = open_with("set/list.txt", "{}");
    static const char *const names[] = {"set/a.png", "set/with blank.png", "set/more/c.png"};
    check_names(dataset, 3, names);
    ck_assert_int_eq(pumit_dataset_skipped(dataset), 1);
    ck_assert(strstr(files_log, "absent.png"));
    pumit_dataset_release(dataset);
}
END_TEST

START_TEST(csv_lists_have_labels_and_splits)
{
    write_dot("a.png", 10);
    write_dot("b, \"c\".png", 20);
    write_dot("d.png", 30);
    char list[512];
    const int n = snprintf(list, sizeof list,
                           "Label,note,path,split\n2,x,a.png,train\n"
                           "0,\"y, z\",\"b, \"\"c\"\".png\",test\n1,,%s,train\n",
                           files_path("d.png"));
    files_write("list.csv", list, (size_t)n);
    pumit_dataset *dataset = open_with("list.csv", "{}");
    static const char *const names[] = {"a.png", "b, \"c\".png", "d.png"};
    check_names(dataset, 3, names);
    ck_assert_int_eq(pumit_dataset_label(dataset, 0), 2);
    ck_assert_int_eq(pumit_dataset_label(dataset, 1), 0);
    ck_assert_int_eq(pumit_dataset_classes(dataset), 3);
    pumit_dataset_release(dataset);
    dataset = open_with("list.csv", "{\"split\": \"train\"}");
    ck_assert_int_eq(pumit_dataset_count(dataset), 2);
    ck_assert_float_eq(first_voxel(dataset, 1), 30);
    pumit_dataset_release(dataset);
    dataset = open_with("list.csv", "{\"split\": \"test\"}");
    ck_assert_int_eq(pumit_dataset_classes(dataset), 1);
    pumit_dataset_release(dataset);
    files_check_failed(fail_with("list.csv", "{\"split\": \"val\"}"), PUMIT_ERROR_NOT_FOUND,
                       "list.csv", "val");
}
END_TEST

/* The first rule that matches, times what the list says. */
START_TEST(weights_follow_rules)
{
    static const char LIST[] = "path,weight\na.png,3\nb.png,\nsub/a.png,0.5\n";
    static const double wanted[] = {6, 1, 2};
    files_folder("sub");
    write_dot("a.png", 1);
    write_dot("b.png", 2);
    write_dot("sub/a.png", 3);
    files_write("w.csv", LIST, strlen(LIST));
    pumit_dataset *dataset =
        open_with("w.csv", "{\"weights\": [[\"*/sub/*\", 4], [\"*/a.p?g\", 2]]}");
    ck_assert_int_eq(dataset->count, 3);
    for (int i = 0; i < 3; i++) ck_assert_double_eq(dataset->items[i].weight, wanted[i]);
    pumit_dataset_release(dataset);
    ck_assert_int_eq(fail_with("w.csv", "{\"weights\": [[\"*\", -1]]}"),
                     PUMIT_ERROR_INVALID_ARGUMENT);
    ck_assert_int_eq(fail_with("w.csv", "{\"weights\": [[\"*\"]]}"), PUMIT_ERROR_INVALID_ARGUMENT);
    ck_assert_int_eq(fail_with("w.csv", "{\"weights\": 2}"), PUMIT_ERROR_INVALID_ARGUMENT);
}
END_TEST

START_TEST(bad_csv_lists_name_the_line)
{
    static const struct {
        const char *text, *part;
    } cases[] = {{"file,label\na.png,1\n", "path"},
                 {"path,label\na.png,1\na.png,x\n", "line 3"},
                 {"path,label\na.png,-1\n", "line 2"},
                 {"label,path\n1\n", "line 2"}};
    write_dot("a.png", 1);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        files_write("list.csv", cases[i].text, strlen(cases[i].text));
        files_check_failed(fail_with("list.csv", "{}"), PUMIT_ERROR_FORMAT, "list.csv",
                           cases[i].part);
    }
    files_write("list.csv", "path\na.png\n", 11);
    files_check_failed(fail_with("list.csv", "{\"split\": \"test\"}"), PUMIT_ERROR_FORMAT,
                       "list.csv", "split");
}
END_TEST

/* ---------------------------------------------------------------------------------------- archives */

static uint8_t bytes[2 * 27];
static const uint8_t labels[2] = {1, 0};

static npz_member member(const char *key, const char *dictionary, const void *data, size_t size)
{
    return (npz_member){key, dictionary, data, size};
}

static void check_shape(const pumit_dataset *dataset, int64_t i, int64_t d, int64_t h, int64_t w,
                        int64_t c)
{
    int64_t shape[4];
    pumit_volume_shape(pumit_dataset_volume(dataset, i), shape);
    ck_assert_msg(shape[0] == d && shape[1] == h && shape[2] == w && shape[3] == c,
                  "image %ld: (%ld, %ld, %ld, %ld)", (long)i, (long)shape[0], (long)shape[1],
                  (long)shape[2], (long)shape[3]);
}

START_TEST(archives_have_splits_and_labels)
{
    for (int i = 0; i < 54; i++) bytes[i] = (uint8_t)i;
    const npz_member members[] = {
        member("train_images", "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 2, 3), }",
               bytes, 12),
        member("train_labels", "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 1), }",
               labels, 2),
        member("val_images", "{'descr': '|u1', 'fortran_order': False, 'shape': (1, 2, 4, 3), }",
               bytes, 24),
        member("val_labels", "{'shape': (1,), 'fortran_order': True, 'descr': '|u1'}", labels, 1),
        member("test_images", "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3, 3, 3), }",
               bytes, 54),
        member("other", "{}", bytes, 3)};
    npz_write("a.npz", members, 6, false);
    pumit_dataset *dataset = open_with("a.npz", "{}");
    static const char *const names[] = {"a.npz[train 0]", "a.npz[train 1]", "a.npz[val 0]",
                                        "a.npz[test 0]", "a.npz[test 1]"};
    check_names(dataset, 5, names);
    check_shape(dataset, 1, 1, 2, 3, 1);
    check_shape(dataset, 2, 1, 2, 4, 3);
    check_shape(dataset, 3, 1, 3, 3, 3);
    ck_assert_float_eq(first_voxel(dataset, 1), 6);
    ck_assert_int_eq(pumit_dataset_label(dataset, 0), 1);
    ck_assert_int_eq(pumit_dataset_label(dataset, 1), 0);
    ck_assert_int_eq(pumit_dataset_label(dataset, 4), -1);
    ck_assert_int_eq(pumit_dataset_classes(dataset), 0);
    pumit_dataset_release(dataset);
    dataset = open_with("a.npz", "{\"split\": \"train\"}");
    ck_assert_int_eq(pumit_dataset_count(dataset), 2);
    ck_assert_int_eq(pumit_dataset_classes(dataset), 2);
    pumit_dataset_release(dataset);
}
END_TEST

START_TEST(solid_arrays_keep_their_axes)
{
    for (int i = 0; i < 48; i++) bytes[i] = (uint8_t)i;
    const npz_member images =
        member("test_images", "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 2, 3, 4), }",
               bytes, 48);
    npz_write("a.npz", &images, 1, false);
    pumit_dataset *dataset = open_with("a.npz", "{\"split\": \"test\"}");
    double spacing[3];
    check_shape(dataset, 1, 2, 3, 4, 1);
    pumit_volume_spacing(pumit_dataset_volume(dataset, 1), spacing);
    ck_assert(spacing[0] == 1 && spacing[1] == 1 && spacing[2] == 1);
    for (int i = 0; i < 24; i++)
        ck_assert_float_eq(pumit_volume_voxels(pumit_dataset_volume(dataset, 1))[i],
                           (float)(24 + i));
    pumit_dataset_release(dataset);
}
END_TEST

/* Element n of (2, 2, 3) in C order is n; each type, byte order and order of axes. */
START_TEST(every_array_type_is_read)
{
    static const char *const types[] = {"|u1", "|i1", "<u2", ">u2", "<i2", ">i2", "<i4", ">i4",
                                        "<i8", ">i8", "<f2", ">f2", "<f4", ">f4", "<f8", ">f8"};
    const char *type = types[_i >> 1];
    const int width = type[2] - '0';
    const bool fortran = _i & 1, big = type[0] == '>';
    uint8_t data[12 * 8];
    for (int n = 0; n < 12; n++) {
        const int place = fortran ? n / 6 + n / 3 % 2 * 2 + n % 3 * 4 : n;
        static const uint16_t halves[12] = {0,      0x3c00, 0x4000, 0x4200, 0x4400, 0x4500,
                                            0x4600, 0x4700, 0x4800, 0x4880, 0x4900, 0x4980};
        const float narrow = (float)n;
        const double wide = n;
        uint64_t bits = (uint64_t)n;
        if (type[1] == 'f' && width == 2) bits = halves[n];
        if (type[1] == 'f' && width == 4) bits = 0, memcpy(&bits, &narrow, 4);
        if (type[1] == 'f' && width == 8) memcpy(&bits, &wide, 8);
        for (int b = 0; b < width; b++)
            data[place * width + (big ? width - 1 - b : b)] = (uint8_t)(bits >> (8 * b));
    }
    char dictionary[128];
    snprintf(dictionary, sizeof dictionary,
             "{'descr': '%s', 'fortran_order': %s, 'shape': (2, 2, 3), }", type,
             fortran ? "True" : "False");
    const npz_member images = member("train_images", dictionary, data, (size_t)(12 * width));
    npz_write("a.npz", &images, 1, false);
    pumit_dataset *dataset = open_with("a.npz", "{}");
    for (int n = 0; n < 12; n++)
        ck_assert_float_eq(pumit_volume_voxels(pumit_dataset_volume(dataset, n / 6))[n % 6],
                           (float)n);
    pumit_dataset_release(dataset);
}
END_TEST

static const char *const bad_heads[] = {
    "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 2, 4), }", /* more than there is */
    "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 2, 2), }", /* less */
    "{'descr': '|u1', 'fortran_order': False, 'shape': (12,), }",     /* no images */
    "{'descr': '|u1', 'fortran_order': False, 'shape': (0, 2, 3), }",
    "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 2, 3) ", /* no end */
    "{'descr': '|u1', 'shape': (2, 2, 3), }",
    "{'descr': '|O', 'fortran_order': False, 'shape': (2, 2, 3), }",
    "{'descr': '<c8', 'fortran_order': False, 'shape': (2, 2, 3), }",
    "{'descr': '|f4', 'fortran_order': False, 'shape': (1, 1, 3), }", /* no byte order */
    "{'descr': '|u1', 'fortran_order': 1, 'shape': (2, 2, 3), }",
    "{'descr': '|u1', 'fortran_order': False, 'shape': (-2, 2, 3), }",
    "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 2, 3), 'x': 1}",
    "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 2, 3), } x",
    "{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999999999999, 2, 3), }",
    "{'descr': '|u1', 'fortran_order': False, 'shape': (4294967296, 4294967296, 4294967296), }",
    "{'descr': '|u1', 'fortran_order': False, 'shape': (1, 1, 1, 1, 1, 12), }",
    ""};

START_TEST(bad_arrays_are_refused)
{
    const npz_member images = member("train_images", bad_heads[_i], bytes, 12);
    npz_write("a.npz", &images, 1, false);
    const pumit_status status = fail_with("a.npz", "{}");
    ck_assert_int_ne(status, PUMIT_ERROR_NOT_FOUND);
    files_check_failed(status, status, "a.npz", "train");
}
END_TEST

START_TEST(bad_archives_are_refused)
{
    const npz_member members[] = {
        member("train_images", "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 2, 3), }",
               bytes, 12),
        member("train_labels", "{'descr': '|u1', 'fortran_order': False, 'shape': (3,), }", bytes,
               3),
        member("val_images", "{'descr': '|u1', 'fortran_order': False, 'shape': (1, 2, 3), }",
               bytes, 6),
        member("val_labels", "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }",
               "\0\0\0\x3f", 4)};
    size_t size;
    npz_write("a.npz", members, 4, false);
    files_check_failed(fail_with("a.npz", "{\"split\": \"train\"}"), PUMIT_ERROR_UNSUPPORTED,
                       "a.npz", "one label an image");
    files_check_failed(fail_with("a.npz", "{\"split\": \"val\"}"), PUMIT_ERROR_FORMAT, "a.npz",
                       "label 0 is 0.5");
    files_check_failed(fail_with("a.npz", "{\"split\": \"test\"}"), PUMIT_ERROR_NOT_FOUND, "a.npz",
                       "test_images");
    npz_write("b.npz", members, 1, false);
    uint8_t *content = files_read("b.npz", &size);
    for (size_t n = 1; n < size; n += 7) {
        files_write("cut.npz", content, n);
        files_check_failed(fail_with("cut.npz", "{}"), PUMIT_ERROR_FORMAT, "cut.npz", "");
    }
    free(content);
    npz_write("c.npz", members, 1, true);
    content = files_read("c.npz", &size);
    content[30 + 16 + 128 + 5] ^= 1; /* behind the entry's head, name and numpy head */
    files_write("c.npz", content, size);
    files_check_failed(fail_with("c.npz", "{}"), PUMIT_ERROR_FORMAT, "c.npz", "CRC");
    free(content);
}
END_TEST

Suite *suite_dataset(void);
Suite *suite_dataset(void)
{
    Suite *suite = suite_create("dataset");
    TCase *tcase = tcase_create("dataset");
    tcase_add_checked_fixture(tcase, files_setup, files_teardown);
    tcase_add_test(tcase, folders_are_searched_in_order);
    tcase_add_test(tcase, folders_can_be_labels);
    tcase_add_test(tcase, nothing_to_read_is_one_message);
    tcase_add_test(tcase, memory_is_limited);
    tcase_add_test(tcase, many_small_images_are_limited);
    tcase_add_test(tcase, text_lists_are_read);
    tcase_add_test(tcase, csv_lists_have_labels_and_splits);
    tcase_add_test(tcase, weights_follow_rules);
    tcase_add_test(tcase, bad_csv_lists_name_the_line);
    tcase_add_test(tcase, archives_have_splits_and_labels);
    tcase_add_test(tcase, solid_arrays_keep_their_axes);
    tcase_add_loop_test(tcase, every_array_type_is_read, 0, 32);
    tcase_add_loop_test(tcase, bad_arrays_are_refused, 0,
                        (int)(sizeof bad_heads / sizeof *bad_heads));
    tcase_add_test(tcase, bad_archives_are_refused);
    suite_add_tcase(suite, tcase);
    return suite;
}
