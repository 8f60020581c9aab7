/* SPDX-License-Identifier: Apache-2.0 */
/* Every golden file on every device. PUMIT_GOLDEN, a list of files joined by colons, adds others. */
#include "tests/golden.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

Suite *suite_golden(void);

static const char *const devices[] = {"reference64", "reference", "cpu"};
static const char *const files[] = {
    "sac",         "tokenizer_simple", "vit_mim", "mim_curve",       "resample",
    "sac_halving", "discriminator",    "lpips",   "tokenizer_vqvae", "segmentation"};

static void check_file(const char *path, const char *device)
{
    golden g;
    const pumit_status status = golden_check(&g, path, device);
    ck_assert_msg(status == PUMIT_OK, "%s on %s: %s", path, device, pumit_last_error());
    ck_assert_msg(g.failed == 0, "%s: %lld of %lld arrays differ; %s", device, (long long)g.failed,
                  (long long)g.compared, g.message);
    ck_assert_msg(g.compared > 1, "%s: only %lld arrays were compared", path,
                  (long long)g.compared);
    if (getenv("PUMIT_GOLDEN_VERBOSE"))
        printf("%s %s: %lld arrays, worst %.2f of its bound: %s\n", device, path,
               (long long)g.compared, g.worst, g.worst_name);
}

START_TEST(golden_file)
{
    char path[1024];
    const char *source = getenv("PUMIT_SOURCE");
    snprintf(path, sizeof path, "%s/tests/golden/%s.safetensors", source ? source : ".",
             files[_i % PUMIT__COUNT(files)]);
    check_file(path, devices[_i / PUMIT__COUNT(files)]);
}
END_TEST

START_TEST(golden_others)
{
    const char *list = getenv("PUMIT_GOLDEN");
    char *paths = list ? strdup(list) : NULL, *rest = NULL;
    for (char *path = paths ? strtok_r(paths, ":", &rest) : NULL; path;
         path = strtok_r(NULL, ":", &rest))
        check_file(path, devices[_i]);
    free(paths);
}
END_TEST

Suite *suite_golden(void)
{
    Suite *suite = suite_create("golden");
    TCase *committed = tcase_create("committed"), *others = tcase_create("others");
    tcase_set_timeout(committed, 120);
    tcase_set_timeout(others, 600);
    tcase_add_loop_test(committed, golden_file, 0,
                        (int)(PUMIT__COUNT(files) * PUMIT__COUNT(devices)));
    if (getenv("PUMIT_GOLDEN"))
        tcase_add_loop_test(others, golden_others, 0, (int)PUMIT__COUNT(devices));
    suite_add_tcase(suite, committed);
    suite_add_tcase(suite, others);
    return suite;
}
