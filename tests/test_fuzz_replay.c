/* SPDX-License-Identifier: Apache-2.0 */
/* What the fuzzers start from and what they found once, every file of tests/fuzz/corpus. */
#include "tests/fuzz/fuzz.h"

#include <check.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

Suite *suite_fuzz_replay(void);

static const struct {
    const char *name;
    fuzz_target run;
} targets[] = {
#define FUZZ(name, endings) {#name, fuzz_##name},
#include "tests/fuzz/targets.inc"
#undef FUZZ
};

#define TARGETS ((int)(sizeof targets / sizeof *targets))

static void replay_file(fuzz_target run, const char *path)
{
    enum { MOST = 1 << 20 };
    FILE *file = fopen(path, "rb");
    ck_assert_ptr_nonnull(file);
    uint8_t *data = malloc(MOST);
    const size_t bytes = fread(data, 1, MOST, file);
    fclose(file);
    data = realloc(data, bytes + !bytes); /* so that a sanitizer sees the end */
    ck_assert_int_eq(run(data, bytes), 0);
    free(data);
}

START_TEST(corpus)
{
    char folder[1024], path[1400];
    const char *source = getenv("PUMIT_SOURCE");
    int files = 0;
    snprintf(folder, sizeof folder, "%s/tests/fuzz/corpus/%s", source ? source : ".",
             targets[_i].name);
    DIR *list = opendir(folder);
    ck_assert_ptr_nonnull(list);
    for (const struct dirent *item; (item = readdir(list));) {
        if (item->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "%s/%s", folder, item->d_name);
        replay_file(targets[_i].run, path);
        files++;
    }
    closedir(list);
    ck_assert_int_gt(files, 2);
}
END_TEST

Suite *suite_fuzz_replay(void)
{
    Suite *suite = suite_create("fuzz_replay");
    TCase *core = tcase_create("core");
    tcase_set_timeout(core, 60);
    tcase_add_loop_test(core, corpus, 0, TARGETS);
    suite_add_tcase(suite, core);
    return suite;
}
