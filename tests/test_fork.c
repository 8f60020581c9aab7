/* SPDX-License-Identifier: Apache-2.0 */
/* A process that forks after it computed with several threads: the child is told so, and can start anew. */
#include "tests/image_files.h"
#include "tests/runs.h"
#include "tests/shared_models.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

Suite *suite_fork(void);

/* Numbers of the first check that failed in a child; 0: none. */
#define EXPECT(condition)                                                                          \
    if (!(condition)) _exit(__LINE__ % 255 + 1)

/* The child ends by itself or by the alarm, with which a hang is a failure like others. */
static pid_t begin_child(void)
{
    const pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child > 0) return child;
    signal(SIGALRM, SIG_DFL); /* Check's own handler ends the parent, too */
    alarm(20);
    return child;
}

static void check_child(pid_t child)
{
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_msg(WIFEXITED(status), "the child ended by signal %d", WTERMSIG(status));
    ck_assert_msg(WEXITSTATUS(status) == 0, "a check of the child failed, code %d",
                  WEXITSTATUS(status));
}

static void in_child(shared_model *model, pumit_context *ctx, uint64_t wanted)
{
    pumit_config *options;
    pumit_context *own, *none;
    shared_model again;
    EXPECT(shared_result(model, ctx) == 0);
    EXPECT(strstr(pumit_last_error(), "forked"));
    EXPECT(pumit_config_parse(&options, "{\"threads\": 2}") == PUMIT_OK);
    EXPECT(pumit_context_create(&none, options) == PUMIT_ERROR_STATE && !none);
    EXPECT(strstr(pumit_last_error(), "set it to 1"));
    pumit_config_release(options);
    EXPECT(pumit_context_create(&own, NULL) == PUMIT_OK);
    EXPECT(pumit_context_threads(own) == 1);
    EXPECT(shared_create(&again, own, model->kind));
    EXPECT(shared_result(&again, own) == wanted);
    shared_release(&again);
    EXPECT(shared_join(&again, own, model)); /* its weights are there */
    EXPECT(shared_result(&again, own) == wanted);
    shared_release(&again);
    pumit_context_release(own);
    shared_release(model);
    pumit_context_release(ctx);
    exit(0); /* with what runs at the end of a process */
}

START_TEST(a_child_is_told_and_starts_anew)
{
    pumit_context *one = shared_context(1), *two = shared_context(2);
    shared_model model, alone;
    ck_assert(shared_create(&model, two, _i) && shared_create(&alone, one, _i));
    const uint64_t wanted = shared_result(&alone, one), threaded = shared_result(&model, two);
    ck_assert_uint_ne(wanted, 0);
    ck_assert_uint_ne(threaded, 0);
    const pid_t child = begin_child();
    if (child == 0) in_child(&model, two, wanted);
    check_child(child);
    ck_assert_uint_eq(shared_result(&model, two), threaded); /* the parent goes on */
    shared_release(&model);
    shared_release(&alone);
    pumit_context_release(one);
    pumit_context_release(two);
}
END_TEST

/* Releasing a loader joins its threads, which a child does not have. */
START_TEST(a_child_can_let_go_of_a_training)
{
    run r = runs_open("tokenizer", "run");
    int64_t stop = 2;
    CHECK_OK(pumit_config_set_int(r.config, "train.workers", 2));
    CHECK_OK(runs_create(&r));
    pumit_trainer_set_progress(r.trainer, runs_stop_at, &stop);
    ck_assert_int_eq(pumit_trainer_run(r.trainer), PUMIT_ERROR_CANCELLED);
    const pid_t child = begin_child();
    if (child == 0) {
        pumit_trainer_set_progress(r.trainer, NULL, NULL);
        EXPECT(pumit_trainer_run(r.trainer) == PUMIT_ERROR_STATE);
        EXPECT(strstr(pumit_last_error(), "forked"));
        pumit_trainer_release(r.trainer);
        exit(0);
    }
    check_child(child);
    runs_close(&r);
}
END_TEST

Suite *suite_fork(void)
{
    Suite *suite = suite_create("fork");
    TCase *models = tcase_create("models"), *training = tcase_create("training");
    tcase_add_loop_test(models, a_child_is_told_and_starts_anew, 0, KINDS);
    tcase_add_checked_fixture(training, runs_setup, files_teardown);
    tcase_add_test(training, a_child_can_let_go_of_a_training);
    suite_add_tcase(suite, models);
    suite_add_tcase(suite, training);
    return suite;
}
