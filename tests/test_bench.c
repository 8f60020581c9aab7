/* SPDX-License-Identifier: Apache-2.0 */
/* pumit-bench: what it prints, never how fast it is. */
#include "tests/answer.h"
#include "tests/image_files.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

Suite *suite_bench(void);

#define TINY                                                                                       \
    "{\"vit\": {\"dim\": 48, \"depth\": 2, \"heads\": 4, \"hidden\": 32, \"codes\": 16}, "         \
    "\"tokenizer\": {\"channels\": [8, 8, 16], \"code_dim\": 8, \"codes\": 16}}"

/* A round of the cases of that name at sizes that take no time, one call each. */
static const answer *bench(const char *only, const char *more)
{
    files_write("tiny.json", TINY, strlen(TINY));
    return runf("pumit-bench --config %s --threads 1 --runs 1 --seconds 0 --only %s %s",
                files_path("tiny.json"), only, more);
}

static void write_script(const char *name, const char *text)
{
    files_write(name, text, strlen(text));
    ck_assert_int_eq(chmod(files_path(name), 0755), 0);
}

/* The only row by `by`. */
static const cJSON *row_by(const cJSON *tree, const char *by)
{
    const cJSON *row, *found = NULL;
    cJSON_ArrayForEach(row, cJSON_GetObjectItemCaseSensitive(tree, "rows"))
    {
        if (strcmp(cJSON_GetObjectItemCaseSensitive(row, "by")->valuestring, by) != 0) continue;
        ck_assert_ptr_null(found);
        found = row;
    }
    ck_assert_msg(found != NULL, "no row by %s", by);
    return found;
}

START_TEST(cases_are_listed)
{
    const answer *a = run("pumit-bench --list");
    check_done(a);
    ck_assert_ptr_nonnull(strstr(a->out, "mim-step-vit-b-da0\n"));
    ck_assert_ptr_null(strstr(a->out, "batch4"));
    a = run("pumit-bench --list --full");
    ck_assert_ptr_nonnull(strstr(a->out, "tokenizer-step-2d-batch4\n"));
    check_done(run("pumit-bench --help"));
}
END_TEST

START_TEST(results_are_json)
{
    cJSON *tree = parsed(bench("vit-b-forward-2d", "--json --quiet"));
    const cJSON *row = row_by(tree, "libpumit");
    const double rows = 101, seconds = number(row, "seconds");
    const double flop = 2 * (2 * rows * (4 * 48 * 48 + 3 * 48 * 32) + 4 * rows * rows * 48) +
                        2 * 100 * 48 * 3 * 16 * 16;
    ck_assert_str_eq(cJSON_GetObjectItemCaseSensitive(row, "case")->valuestring,
                     "vit-b-forward-2d");
    ck_assert(number(row, "threads") == 1 && number(row, "batch") == 1 && number(row, "runs") == 1);
    ck_assert(seconds > 0 && number(row, "best") > 0);
    ck_assert(fabs(number(row, "gflop") - 1e-9 * flop) <= 1e-15);
    const double share = number(row, "gflop") / seconds / number(row, "sgemm_gflops");
    ck_assert(fabs(number(row, "share") - share) <= 1e-9 * share);
    ck_assert(number(row, "peak_mib") > number(row, "weights_mib"));
    ck_assert_ptr_null(cJSON_GetObjectItemCaseSensitive(row, "gradients_mib"));
    cJSON_Delete(tree);
}
END_TEST

/* A step counts each layer three times, but the patch embedding twice and the tokenizer once. */
START_TEST(steps_are_counted)
{
    cJSON *tree = parsed(bench("mim-step-vit-b-2d", "--json --quiet"));
    const cJSON *row = row_by(tree, "libpumit");
    const double rows = 101, masked = 55, embedding = 2 * 100 * 48 * 3 * 16 * 16;
    const double blocks = 2 * (2 * rows * (4 * 48 * 48 + 3 * 48 * 32) + 4 * rows * rows * 48),
                 head = 2 * masked * (48 * 48 + 48 * 16);
    const double tokens = 100,
                 tokenizer = 2 * (1600 * 8 * 3 * 4 * 4 + 400 * 8 * 8 * 4 +
                                  tokens * (16 * 8 * 4 + 9 * 16 * 16 + 9 * 16 * 8 + 8 * 16));
    const double flop = 3 * (blocks + head) + 2 * embedding + tokenizer;
    ck_assert(fabs(number(row, "gflop") - 1e-9 * flop) <= 1e-15);
    ck_assert(number(row, "gradients_mib") > 0);
    ck_assert(number(row, "gradients_mib") < number(row, "weights_mib"));
    cJSON_Delete(tree);
}
END_TEST

/* Cases without an image, whose limit is the memory's bandwidth or none. */
START_TEST(weights_are_stepped_and_loaded)
{
    cJSON *tree = parsed(bench("optimizer-step", "--json --quiet"));
    const cJSON *row = row_by(tree, "libpumit");
    const double weights = number(row, "gradients_mib") * 1024 * 1024;
    ck_assert(fabs(number(row, "gbyte") - 7e-9 * weights) <= 1e-12);
    ck_assert(number(row, "triad_gbs") > 0 && number(row, "share") > 0);
    cJSON_Delete(tree);
    tree = parsed(bench("load-vit-b", "--json --quiet"));
    row = row_by(tree, "libpumit");
    ck_assert(number(row, "seconds") > 0 && number(row, "weights_mib") > 0);
    ck_assert_ptr_null(cJSON_GetObjectItemCaseSensitive(row, "share"));
    cJSON_Delete(tree);
}
END_TEST

/* One that prints what a peer prints, and more. */
START_TEST(peers_stand_beside)
{
    char more[256];
    write_script("peer", "#!/bin/sh\n"
                         "echo noise\n"
                         "echo '{\"case\": \"'$2'\", \"by\": \"peer\", \"threads\": '$4', "
                         "\"seconds\": 7.5, \"best\": 7, \"peak_mib\": 9}'\n");
    snprintf(more, sizeof more, "--quiet --peer %s --output %s", files_path("peer"),
             files_path("result.json"));
    const answer *a = bench("vit-b-forward-2d", more);
    check_done(a);
    ck_assert_ptr_nonnull(strstr(a->out, "7500.00"));
    cJSON *tree = parsed(runf("pumit-bench --json %s", files_path("result.json")));
    ck_assert(number(row_by(tree, "peer"), "seconds") == 7.5);
    ck_assert(number(row_by(tree, "libpumit"), "seconds") > 0);
    cJSON_Delete(tree);
    a = runf("pumit-bench --compare %s %s", files_path("result.json"), files_path("result.json"));
    check_done(a);
    ck_assert_ptr_nonnull(strstr(a->out, " 1.00x"));
    a = runf("pumit-bench --markdown %s", files_path("result.json"));
    check_done(a);
    ck_assert_ptr_nonnull(strstr(a->out, "| vit-b-forward-2d | 1 |"));
}
END_TEST

START_TEST(failures_are_told)
{
    files_write("text.json", "this is no result", 17);
    check_line(runf("pumit-bench %s", files_path("text.json")), 1, "pumit-bench", "text.json");
    check_line(runf("pumit-bench --compare %s", files_path("none")), 1, "pumit-bench", "none");
    check_line(run("pumit-bench --quiet --only nothing"), 1, "pumit-bench", "--list");
    check_line(run("pumit-bench --case nothing"), 2, "pumit-bench", "--list");
    check_line(run("pumit-bench --runs 0"), 2, "pumit-bench", "--runs");
    check_line(run("pumit-bench --threads two"), 2, "pumit-bench", "two");
    check_line(run("pumit-bench --case embed-2d --set vit.dim=7"), 1, "pumit-bench", "7");
}
END_TEST

/* What was measured is told nevertheless. */
START_TEST(peers_may_fail)
{
    write_script("peer", "#!/bin/sh\nexit 3\n");
    char more[256];
    snprintf(more, sizeof more, "--json --peer %s", files_path("peer"));
    const answer *a = bench("vit-b-forward-2d", more);
    ck_assert_int_eq(a->status, 1);
    ck_assert_ptr_nonnull(strstr(a->err, "FAILED"));
    ck_assert_ptr_nonnull(strstr(a->out, "libpumit"));
}
END_TEST

Suite *suite_bench(void)
{
    Suite *suite = suite_create("bench");
    TCase *all = tcase_create("all");
    tcase_add_checked_fixture(all, files_setup, files_teardown);
    tcase_add_test(all, cases_are_listed);
    tcase_add_test(all, results_are_json);
    tcase_add_test(all, steps_are_counted);
    tcase_add_test(all, weights_are_stepped_and_loaded);
    tcase_add_test(all, peers_stand_beside);
    tcase_add_test(all, failures_are_told);
    tcase_add_test(all, peers_may_fail);
    suite_add_tcase(suite, all);
    return suite;
}
