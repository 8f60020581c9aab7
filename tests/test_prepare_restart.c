/* SPDX-License-Identifier: Apache-2.0 */
/* Preparing under bad conditions: killed, out of disk, broken files, changed files, two at once. The folder is always the same in the end. */
#include "lib/base/base.h"
#include "tests/image_files.h"

#include <cjson/cJSON.h>
#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <pumit/prepare.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { I16 = 4, F32 = 16 };

static pumit_status start(char **report, const char *name, const char *output, int threads,
                          pumit_prepare_fn progress, void *user)
{
    const char *path = files_path(name);
    pumit_config *options;
    CHECK_OK(pumit_config_create(&options));
    CHECK_OK(pumit_config_set_string(options, "output", files_path(output)));
    CHECK_OK(pumit_config_set_int(options, "threads", threads));
    const pumit_status status =
        pumit_prepare(report, files_context, 1, &path, options, progress, user);
    pumit_config_release(options);
    return status;
}

static cJSON *prepare(const char *name, const char *output, int threads)
{
    char *report;
    CHECK_OK(start(&report, name, output, threads, NULL, NULL));
    cJSON *tree = cJSON_Parse(report);
    pumit_free(report);
    return tree;
}

static int number(const cJSON *report, const char *name)
{
    return cJSON_GetObjectItemCaseSensitive(report, name)->valueint;
}

/* sources, done, already_there, images, skipped */
static void check_report(cJSON *report, int sources, int done, int already, int images, int skipped)
{
    ck_assert_int_eq(number(report, "sources"), sources);
    ck_assert_int_eq(number(report, "done"), done);
    ck_assert_int_eq(number(report, "already_there"), already);
    ck_assert_int_eq(number(report, "images"), images);
    ck_assert_int_eq(cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(report, "skipped")),
                     skipped);
    cJSON_Delete(report);
}

/* `count` scans in `in`, the second half of them 4D. */
static void write_scans(int first, int count)
{
    static int16_t voxels[2 * 32 * 32 * 12];
    for (int i = first; i < first + count; i++) {
        char name[32];
        nifti_file file = nifti_plain(I16, 16, 32, 32, 12);
        for (int v = 0; v < 2 * 32 * 32 * 12; v++)
            voxels[v] = (int16_t)(v * 7919 % 1009 * (i + 1) % 1021);
        file.gzip = true;
        if (i % 2) file.dim[0] = 4, file.dim[4] = 2;
        snprintf(name, sizeof name, "in/s%02d.nii.gz", i);
        nifti_write(name, &file, voxels, (i % 2 ? 2 : 1) * 32 * 32 * 12, 2);
    }
}

static int compare_names(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int is_shown(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

/* The same names with the same bytes. */
static void check_same(const char *a, const char *b, const char *sub)
{
    char first[128], second[128];
    struct dirent **x, **y;
    snprintf(first, sizeof first, "%s%s", a, sub);
    snprintf(second, sizeof second, "%s%s", b, sub);
    const int n = scandir(files_path(first), &x, is_shown, compare_names);
    const int m = scandir(files_path(second), &y, is_shown, compare_names);
    for (int i = 0; i < n && i < m; i++) ck_assert_str_eq(x[i]->d_name, y[i]->d_name);
    ck_assert_int_eq(n, m);
    ck_assert_int_gt(n, 0);
    for (int i = 0; i < n; i++) {
        size_t xs, ys;
        struct stat info;
        char name[512];
        snprintf(name, sizeof name, "%s/%s", first, x[i]->d_name);
        ck_assert_int_eq(stat(files_path(name), &info), 0);
        if (S_ISREG(info.st_mode)) {
            uint8_t *left = files_read(name, &xs);
            snprintf(name, sizeof name, "%s/%s", second, x[i]->d_name);
            uint8_t *right = files_read(name, &ys);
            ck_assert_msg(xs == ys && memcmp(left, right, xs) == 0, "%s differs", x[i]->d_name);
            free(left);
            free(right);
        }
        free(x[i]);
        free(y[i]);
    }
    free(x);
    free(y);
}

static void check_same_set(const char *a, const char *b)
{
    check_same(a, b, "");
    check_same(a, b, "/data");
}

START_TEST(the_number_of_threads_does_not_matter)
{
    files_folder("in");
    write_scans(0, 12);
    files_write("in/bad.png", "x", 1);
    check_report(prepare("in", "one", 1), 13, 12, 0, 18, 1);
    check_report(prepare("in", "four", 4), 13, 12, 0, 18, 1);
    check_same_set("one", "four");
}
END_TEST

/* A child that is killed somewhere, several times over; what it left is no worse than nothing. */
START_TEST(killed_work_goes_on)
{
    files_folder("in");
    write_scans(0, 24);
    files_write("in/bad.png", "x", 1);
    cJSON_Delete(prepare("in", "whole", 1));
    int killed = 0;
    for (int i = 0; i < 12; i++) {
        const pid_t child = fork();
        ck_assert_int_ge(child, 0);
        if (child == 0) {
            char *report;
            _exit(start(&report, "in", "set", 2, NULL, NULL) == PUMIT_OK ? 0 : 1);
        }
        int status;
        usleep(
            (useconds_t)pumit__random_below(7, pumit__random_stream("kill"), (uint64_t)i, 30000));
        kill(child, SIGKILL);
        ck_assert_int_eq(waitpid(child, &status, 0), child);
        ck_assert(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
        killed += WIFSIGNALED(status);
    }
    ck_assert_int_gt(killed, 0);
    /* And as if the power had gone while rows were written. */
    int file = open(files_path("set/images-meta.csv"), O_WRONLY | O_APPEND);
    if (file >= 0) {
        ck_assert_int_eq(write(file, "s99-torn,,1,2", 13), 13);
        close(file);
        files_write("set/data/s01-torn.npy.tmp-1", "x", 1);
        files_write("set/data/s99-without-row.npy", "x", 1);
    }
    cJSON_Delete(prepare("in", "set", 2));
    check_same_set("whole", "set");
}
END_TEST

/* Cut anywhere, between the rows of a source too: what lacks a row is done again. */
START_TEST(torn_tables_are_mended)
{
    size_t bytes;
    files_folder("in");
    write_scans(0, 4);
    cJSON_Delete(prepare("in", "whole", 1));
    cJSON_Delete(prepare("in", "set", 1));
    uint8_t *table = files_read("set/images-meta.csv", &bytes);
    int again = 0;
    for (size_t cut = 1; cut < 900; cut += 61) {
        files_write("set/images-meta.csv", table, bytes - cut);
        cJSON *report = prepare("in", "set", 1);
        ck_assert_int_eq(number(report, "done") + number(report, "already_there"), 4);
        again = number(report, "done");
        ck_assert_int_ge(again, 1);
        cJSON_Delete(report);
        check_same_set("whole", "set");
    }
    ck_assert_int_gt(again, 1);
    free(table);
}
END_TEST

static ino_t inode(const char *name)
{
    struct stat info;
    ck_assert_int_eq(stat(files_path(name), &info), 0);
    return info.st_ino;
}

START_TEST(a_rescan_takes_what_is_new_or_changed)
{
    files_folder("in");
    write_scans(0, 4);
    check_report(prepare("in", "set", 2), 4, 4, 0, 6, 0);
    struct dirent **names;
    const int n = scandir(files_path("set/data"), &names, is_shown, compare_names);
    ck_assert_int_eq(n, 6);
    char first[300];
    snprintf(first, sizeof first, "set/data/%s", names[0]->d_name);
    const ino_t before = inode(first);
    for (int i = 0; i < n; i++) free(names[i]);
    free(names);
    check_report(prepare("in", "set", 2), 4, 0, 4, 6, 0);
    write_scans(4, 2);
    check_report(prepare("in", "set", 2), 6, 2, 4, 9, 0);
    ck_assert_uint_eq(inode(first), before);
    /* A 4D file becomes one of a single volume: its second image must go. */
    const uint8_t pixels[4] = {1, 2, 3, 4};
    int16_t voxels[64];
    for (int i = 0; i < 64; i++) voxels[i] = (int16_t)i;
    nifti_file file = nifti_plain(I16, 16, 4, 4, 4);
    file.gzip = true;
    nifti_write("in/s01.nii.gz", &file, voxels, 64, 2);
    check_report(prepare("in", "set", 2), 6, 1, 5, 8, 0);
    /* What is no longer asked for stays; the set itself and a file named twice are no new sources. */
    png_write("b.png", 2, 2, 8, 0, false, pixels);
    char list[64];
    files_write("list.txt", list,
                (size_t)snprintf(list, sizeof list, "b.png\nb.png\nin/../b.png\n"));
    check_report(prepare("list.txt", "set", 2), 1, 1, 0, 9, 0);
    check_report(prepare(".", "set", 2), 7, 0, 7, 9, 0);
    cJSON *report = prepare(".", "other", 1); /* "set" is none of its images */
    check_report(report, 8, 7, 0, 9, 1);
    ck_assert_int_eq(scandir(files_path("set/data"), &names, is_shown, compare_names), 9);
    for (int i = 0; i < 9; i++) free(names[i]);
    free(names);
}
END_TEST

START_TEST(a_full_disk_stops_and_keeps)
{
    files_folder("in");
    write_scans(0, 6);
    static float voxels[64 * 64 * 20];
    nifti_file file = nifti_plain(F32, 32, 64, 64, 20);
    for (int i = 0; i < 64 * 64 * 20; i++) voxels[i] = (float)(i % 311);
    nifti_write("in/s03big.nii", &file, voxels, 64 * 64 * 20, 4);
    cJSON_Delete(prepare("in", "whole", 1));
    const pid_t child = fork();
    if (child == 0) {
        const struct rlimit most = {64 << 10, 64 << 10};
        char *report;
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &most);
        const pumit_status status = start(&report, "in", "set", 1, NULL, NULL);
        const bool told = strstr(pumit_last_error(), "s03big") &&
                          strstr(pumit_last_error(), "File too large") &&
                          strstr(pumit_last_error(), "prepare again");
        _exit(status == PUMIT_ERROR_IO && told ? 0 : 1);
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
    struct dirent **names;
    const int n = scandir(files_path("set/data"), &names, is_shown, compare_names);
    for (int i = 0; i < n; i++) {
        ck_assert_ptr_null(strstr(names[i]->d_name, ".tmp-"));
        free(names[i]);
    }
    free(names);
    cJSON *report = prepare("in", "set", 2);
    ck_assert_int_gt(number(report, "already_there"), 1);
    cJSON_Delete(report);
    check_same_set("whole", "set");
}
END_TEST

static int32_t stop_at_once(void *user, int64_t done, int64_t total, const char *path)
{
    int *calls = user;
    ck_assert(done <= total && path[0] == '/');
    return ++*calls;
}

START_TEST(work_can_be_cancelled)
{
    int calls = 0;
    char *report = (char *)&calls;
    files_folder("in");
    write_scans(0, 12);
    cJSON_Delete(prepare("in", "whole", 1));
    ck_assert_int_eq(start(&report, "in", "set", 1, stop_at_once, &calls), PUMIT_ERROR_CANCELLED);
    ck_assert_ptr_null(report);
    ck_assert_int_eq(calls, 1);
    cJSON *again = prepare("in", "set", 1);
    ck_assert_int_ge(number(again, "already_there"), 1);
    cJSON_Delete(again);
    check_same_set("whole", "set");
}
END_TEST

START_TEST(folders_are_not_shared)
{
    char *report;
    files_folder("in");
    write_scans(0, 1);
    cJSON_Delete(prepare("in", "set", 1));
    const int lock = open(files_path("set/.lock"), O_RDWR);
    ck_assert_int_eq(flock(lock, LOCK_EX), 0);
    files_check_failed(start(&report, "in", "set", 1, NULL, NULL), PUMIT_ERROR_STATE, "set",
                       "another process");
    close(lock);
    files_folder("mine");
    files_folder("mine/data");
    files_write("mine/data/precious.npy", "x", 1);
    files_check_failed(start(&report, "in", "mine", 1, NULL, NULL), PUMIT_ERROR_STATE, "mine",
                       "another folder");
    files_write("mine/images-meta.csv", "key,shape-0,shape-1,shape-2,space-0,space-1,space-2\n",
                52);
    files_check_failed(start(&report, "in", "mine", 1, NULL, NULL), PUMIT_ERROR_STATE, "mine",
                       "other columns");
    ck_assert_int_eq(access(files_path("mine/data/precious.npy"), F_OK), 0);
}
END_TEST

/* -------------------------------------------------------------------------------------- broken files */

static int broken; /* how many were written */

static void write_cut(const char *whole, const char *name, double share)
{
    size_t bytes;
    uint8_t *content = files_read(whole, &bytes);
    files_write(name, content, (size_t)((double)bytes * share));
    free(content);
    broken++;
}

static void write_nifti(const char *name, const nifti_file *file)
{
    static float voxels[512];
    for (int i = 0; i < 512; i++) voxels[i] = (float)i;
    nifti_write(name, file, voxels, 512, 4);
    broken++;
}

static void write_broken_scans(void)
{
    const nifti_file good = nifti_plain(F32, 32, 8, 8, 8);
    nifti_file file = good;
    file.pixdim[2] = 0, write_nifti("in/zero-spacing.nii", &file);
    file = good, file.sform = 1, write_nifti("in/zero-affine.nii", &file);
    file = good, file.pixdim[3] = (double)NAN, write_nifti("in/nan-spacing.nii", &file);
    file = good, file.dim[2] = -8, write_nifti("in/negative.nii", &file);
    file = good, file.dim[3] = 0, write_nifti("in/zero-size.nii", &file);
    file = good, file.dim[0] = 9, write_nifti("in/nine-dimensions.nii", &file);
    file = good, file.dim[3] = 9, write_nifti("in/claims-more.nii", &file);
    file = good, file.datatype = 77, write_nifti("in/odd-type.nii", &file);
    file = good, file.bitpix = 8, write_nifti("in/odd-bits.nii", &file);
    file = good, file.no_magic = true, write_nifti("in/no-magic.nii", &file);
    file = good, file.pair = true, write_nifti("in/lone", &file);
    ck_assert_int_eq(unlink(files_path("in/lone.img")), 0);
    static float odd[512];
    for (int i = 0; i < 512; i++) odd[i] = i == 77 ? NAN : (float)i;
    nifti_write("in/nan.nii", &good, odd, 512, 4);
    odd[77] = INFINITY;
    nifti_write("in/infinite.nii", &good, odd, 512, 4);
    for (int i = 0; i < 512; i++) odd[i] = 3;
    nifti_write("in/constant.nii.gz", &good, odd, 512, 4);
    broken += 3;
}

static void write_broken_others(void)
{
    static const uint8_t noise[600] = {0x1f, 0x8b, 8, 0, 1, 2, 3};
    write_cut("in/s00.nii.gz", "in/cut-body.nii.gz", 0.9);
    write_cut("in/s00.nii.gz", "in/cut-head.nii.gz", 0.002);
    write_cut("whole.nii", "in/cut-header.nii", 0.05);
    write_cut("whole.nii", "in/cut-voxels.nii", 0.7);
    write_cut("in/good.png", "in/cut.png", 0.6);
    write_cut("in/good.jpg", "in/cut.jpg", 0.6);
    write_cut("in/good.npz", "in/cut.npz", 0.6);
    files_write("in/empty.nii.gz", "", 0);
    files_write("in/empty.png", "", 0);
    files_write("in/text.nii", "this is no image at all", 23);
    files_write("in/noise.nii.gz", noise, sizeof noise);
    files_write("in/magic.tif", "II*\0\xff\xff\xff\x7f", 8);
    files_write("in/short.npy", "\x93NUMPY\1\0\x76\0{'descr'", 18);
    files_write("in/false.jpg", "\xff\xd8\xff\xe0", 4);
    files_folder("in/folder.nii.gz");
    const npz_member odd = {"other", "{'descr': '|u1', 'fortran_order': False, 'shape': (2,), }",
                            noise, 2};
    npz_write("in/odd.npz", &odd, 1, false);
    broken += 9;
}

START_TEST(broken_files_are_reported_and_good_ones_kept)
{
    uint8_t pixels[16 * 16 * 3];
    for (int i = 0; i < 16 * 16 * 3; i++) pixels[i] = (uint8_t)(i * i / 5);
    files_folder("in");
    write_scans(0, 4);
    png_write("in/good.png", 16, 16, 8, 2, false, pixels);
    jpeg_write("in/good.jpg", 16, 16, 3, pixels);
    const npz_member images = {"train_images",
                               "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 8, 8), }",
                               pixels, 128};
    npz_write("in/good.npz", &images, 1, false);
    nifti_file file = nifti_plain(F32, 32, 8, 8, 8);
    write_nifti("whole.nii", &file);
    files_folder("in/fine.nii.gz"); /* a folder too, but with an image in it */
    write_nifti("in/fine.nii.gz/scan.nii", &file);
    broken = 0;
    write_broken_scans();
    write_broken_others();
    ck_assert_int_ge(broken, 30);
    check_report(prepare("in", "set", 3), 8 + broken, 8, 0, 11, broken);
    size_t bytes;
    char *text = (char *)files_read("set/skipped.csv", &bytes);
    int lines = 0;
    for (size_t i = 0; i < bytes; i++) lines += text[i] == '\n';
    ck_assert_int_eq(lines, 1 + broken);
    text[bytes] = '\0';
    ck_assert(strstr(text, "folder.nii.gz") && strstr(text, "1 of 512 voxels are NaN"));
    free(text);
    check_report(prepare("in", "set", 1), 8 + broken, 0, 8, 11, broken);
}
END_TEST

Suite *suite_prepare_restart(void);
Suite *suite_prepare_restart(void)
{
    Suite *suite = suite_create("prepare_restart");
    TCase *tcase = tcase_create("prepare_restart");
    tcase_add_checked_fixture(tcase, files_setup, files_teardown);
    tcase_add_test(tcase, the_number_of_threads_does_not_matter);
    tcase_add_test(tcase, killed_work_goes_on);
    tcase_add_test(tcase, torn_tables_are_mended);
    tcase_add_test(tcase, a_rescan_takes_what_is_new_or_changed);
    tcase_add_test(tcase, a_full_disk_stops_and_keeps);
    tcase_add_test(tcase, work_can_be_cancelled);
    tcase_add_test(tcase, folders_are_not_shared);
    tcase_add_test(tcase, broken_files_are_reported_and_good_ones_kept);
    suite_add_tcase(suite, tcase);
    return suite;
}
