/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bindings and the installed library, through programs of their own: each test runs one and wants
 * exit code 0. PUMIT_BUILD and PUMIT_SOURCE say where things are; without them the runner's own place
 * is used. A program that is missing is a failure.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define SECONDS 120

static char *build, *source; /* folders */

/* What a test's process keeps to its end: it is short. */
static char *kept[256];
static int kept_count;

static char *keep(char *string)
{
    ck_assert_int_lt(kept_count, (int)(sizeof kept / sizeof *kept));
    return kept[kept_count++] = string;
}

/* A formatted string. */
__attribute__((format(printf, 1, 2))) static char *text(const char *format, ...)
{
    char *out;
    va_list list;
    va_start(list, format);
    ck_assert_int_ge(vasprintf(&out, format, list), 0);
    va_end(list);
    return keep(out);
}

/* The value of an environment variable, or what to do without. */
static char *setting(const char *name, char *fallback)
{
    char *value = getenv(name);
    return value ? value : fallback;
}

/* The runner is BUILD/tests/check_pumit, and BUILD lies in the source folder. */
static void find_folders(void)
{
    char *runner = realpath("/proc/self/exe", NULL);
    ck_assert_ptr_nonnull(keep(runner));
    build = setting("PUMIT_BUILD", dirname(dirname(runner)));
    source = setting("PUMIT_SOURCE", dirname(text("%s", build)));
    ck_assert_msg(access(text("%s/include/pumit/pumit.h", source), R_OK) == 0,
                  "no source in %s: set PUMIT_SOURCE", source);
    ck_assert_int_eq(chdir(source), 0);
}

static char *python(void)
{
    return setting("PYTHON", text("/usr/bin/python3"));
}

/* The Python package of the source with the library of the build. */
static void use_package(void)
{
    ck_assert_int_eq(setenv("PYTHONPATH", text("%s/bindings/python", source), 1), 0);
    ck_assert_int_eq(setenv("PYTHONDONTWRITEBYTECODE", "1", 1), 0);
    ck_assert_int_eq(setenv("PUMIT_LIBRARY", text("%s/libpumit.so.0", build), 1), 0);
    if (getenv("PUMIT_PRELOAD"))
        ck_assert_int_eq(setenv("LD_PRELOAD", getenv("PUMIT_PRELOAD"), 1), 0);
}

/* Becomes the program, its output in the file `log`. An interpreter's own leaks are not ours to report. */
static void become(const char *log, const char *const *arguments)
{
    const int file = open(log, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    setenv("ASAN_OPTIONS", "detect_leaks=0", 1);
    if (file < 0 || dup2(file, 1) < 0 || dup2(file, 2) < 0) _exit(126);
    execvp(arguments[0], (char *const *)arguments);
    dprintf(2, "%s: %s\n", arguments[0], strerror(errno));
    _exit(127);
}

/* The last part of a file. */
static void read_tail(const char *path, char *text, size_t size)
{
    text[0] = 0;
    FILE *file = fopen(path, "rb");
    if (!file) return;
    if (fseek(file, -(long)(size - 1), SEEK_END) != 0) rewind(file);
    text[fread(text, 1, size - 1, file)] = 0;
    fclose(file);
}

/* Runs a program and wants exit code 0; what it wrote stays in BUILD/tests/NAME.log. */
static void expect_success(const char *name, const char *const *arguments)
{
    const char *log = text("%s/tests/%s.log", build, name);
    const pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) become(log, arguments);
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    char tail[6000];
    read_tail(log, tail, sizeof tail);
    ck_assert_msg(status == 0, "%s: wait status %d; %s ends with\n%s", arguments[0], status, log,
                  tail);
}

/* A fresh folder BUILD/tests/NAME-files. */
static char *make_folder(const char *name)
{
    char *folder = text("%s/tests/%s-files", build, name);
    const char *argv[] = {"rm", "-rf", folder, NULL};
    expect_success("rm", argv);
    ck_assert_int_eq(mkdir(folder, 0755), 0);
    return folder;
}

/* As make_folder(), with scan.nii.gz and vit.safetensors in it. */
static char *make_sample(const char *name)
{
    use_package();
    char *folder = make_folder(name);
    const char *argv[] = {python(), "tests/python/make_sample.py", folder, NULL};
    expect_success("sample", argv);
    return folder;
}

START_TEST(python_tests_pass)
{
    use_package();
    const char *argv[] = {python(), "-m", "unittest", "discover", "-s", "tests/python", NULL};
    expect_success("python", argv);
}
END_TEST

START_TEST(python_example_runs)
{
    char *folder = make_sample("python-example");
    const char *scan = text("%s/scan.nii.gz", folder);
    const char *example = "bindings/python/examples/embed.py";
    const char *argv[] = {python(), example, scan, "--output", folder, NULL};
    expect_success("python-example", argv);
    ck_assert_int_eq(access(text("%s/reconstruction.png", folder), R_OK), 0);
}
END_TEST

START_TEST(cxx_tests_pass)
{
    const char *argv[] = {text("%s/tests/cxx/test_cxx", build), make_folder("cxx"), NULL};
    expect_success("cxx", argv);
}
END_TEST

START_TEST(cxx_example_runs)
{
    char *folder = make_sample("cxx-example");
    const char *argv[] = {text("%s/bindings/cxx/examples/embed", build),
                          text("%s/scan.nii.gz", folder), text("%s/vit.safetensors", folder), NULL};
    expect_success("cxx-example", argv);
}
END_TEST

START_TEST(installed_library_works)
{
    static const char *const parts[] = {"readme", "static", "uninstall"};
    const char *argv[] = {"scripts/check-installed", build, parts[_i], NULL};
    expect_success(parts[_i], argv);
}
END_TEST

/* docs/abi.md */
START_TEST(interface_is_as_promised)
{
    const char *argv[] = {"scripts/abi", "check", "include", text("%s/libpumit.so", build), NULL};
    expect_success("abi-check", argv);
}
END_TEST

START_TEST(breaks_of_the_interface_are_noticed)
{
    const char *argv[] = {"tests/abi/break", text("%s/libpumit.so", build), NULL};
    expect_success("abi-break", argv);
}
END_TEST

Suite *suite_bindings(void);
Suite *suite_bindings(void)
{
    Suite *suite = suite_create("bindings");
    TCase *tcase = tcase_create("programs");
    tcase_add_checked_fixture(tcase, find_folders, NULL);
    tcase_set_timeout(tcase, SECONDS);
    tcase_add_test(tcase, python_tests_pass);
    tcase_add_test(tcase, python_example_runs);
    tcase_add_test(tcase, cxx_tests_pass);
    tcase_add_test(tcase, cxx_example_runs);
    tcase_add_loop_test(tcase, installed_library_works, 0, 3);
    tcase_add_test(tcase, interface_is_as_promised);
    tcase_add_test(tcase, breaks_of_the_interface_are_noticed);
    suite_add_tcase(suite, tcase);
    return suite;
}
