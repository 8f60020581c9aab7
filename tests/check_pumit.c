/* SPDX-License-Identifier: Apache-2.0 */
/* Runs every suite; CK_RUN_SUITE=name runs one. The closing line is Check's summary. */
#include <check.h>
#include <stdlib.h>

#define PUMIT_SUITE(name) Suite *suite_##name(void);
#include "suites.inc"
#undef PUMIT_SUITE

int main(void)
{
    SRunner *runner = srunner_create(NULL);
#define PUMIT_SUITE(name) srunner_add_suite(runner, suite_##name());
#include "suites.inc"
#undef PUMIT_SUITE
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
