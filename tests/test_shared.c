/* SPDX-License-Identifier: Apache-2.0 */
/* One model's weights in several contexts and threads. */
#include "lib/nn/module.h"
#include "tests/shared_models.h"

#include <check.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

Suite *suite_shared(void);

#define CHECK_OK(call) ck_assert_msg((call) == PUMIT_OK, "%s", pumit_last_error())
#define CHECK_FAILS(status, call)                                                                  \
    ck_assert_str_eq(pumit_status_name(call), pumit_status_name(status))
#define CHECK(done) ck_assert_msg(done, "%s", pumit_last_error())

#define THREADS 4

static int64_t in_use(const pumit_context *ctx)
{
    int64_t bytes;
    CHECK_OK(pumit_context_memory(ctx, &bytes, NULL, NULL));
    return bytes;
}

/* The same numbers, no memory, no gradients; and the owner goes first. */
START_TEST(a_shared_model_is_the_same_model)
{
    pumit_context *first = shared_context(1), *second = shared_context(1);
    shared_model owner, other;
    CHECK(shared_create(&owner, first, _i));
    const uint64_t wanted = shared_result(&owner, first);
    const int64_t before = in_use(first);
    ck_assert_int_ge(before, 4 * pumit_module_element_count(shared_module(&owner)));
    CHECK(shared_join(&other, second, &owner));
    ck_assert_int_eq(in_use(second), 0);
    ck_assert_int_eq(in_use(first), before);
    const pumit_module *a = shared_module(&owner), *b = shared_module(&other);
    ck_assert_int_eq(a->count, b->count);
    for (int64_t i = 0; i < a->count; i++) {
        ck_assert_str_eq(a->parameters[i].name, b->parameters[i].name);
        ck_assert_ptr_eq(pumit__data(a->parameters[i].tensor),
                         pumit__data(b->parameters[i].tensor));
        ck_assert_ptr_null(b->parameters[i].tensor->slot);
    }
    ck_assert_uint_ne(wanted, 0);
    ck_assert_uint_eq(shared_result(&other, second), wanted);
    shared_release(&owner);
    ck_assert_int_eq(in_use(first), 0);
    pumit_context_release(first);
    ck_assert_uint_eq(shared_result(&other, second), wanted);
    shared_release(&other);
    ck_assert_int_eq(in_use(second), 0);
    pumit_context_release(second);
}
END_TEST

typedef struct {
    const shared_model *owner;
    pthread_barrier_t *joined;
    uint64_t wanted;
    int good; /* results */
} job;

/* Joins while the owner computes, and computes while the owner goes. */
static void *join_and_compute(void *argument)
{
    job *const j = argument;
    pumit_context *ctx = shared_context(1);
    shared_model model = {0};
    const bool done = ctx && shared_join(&model, ctx, j->owner);
    pthread_barrier_wait(j->joined);
    for (int i = 0; done && i < 4; i++) j->good += shared_result(&model, ctx) == j->wanted;
    if (done) shared_release(&model);
    pumit_context_release(ctx);
    return NULL;
}

START_TEST(four_threads_read_one_model)
{
    pumit_context *ctx = shared_context(1);
    pthread_barrier_t joined;
    pthread_t threads[THREADS];
    shared_model owner;
    CHECK(shared_create(&owner, ctx, _i));
    job jobs[THREADS];
    const uint64_t wanted = shared_result(&owner, ctx);
    pthread_barrier_init(&joined, NULL, THREADS + 1);
    for (int i = 0; i < THREADS; i++) {
        jobs[i] = (job){&owner, &joined, wanted, 0};
        ck_assert_int_eq(pthread_create(&threads[i], NULL, join_and_compute, &jobs[i]), 0);
    }
    const uint64_t meanwhile = shared_result(&owner, ctx);
    pthread_barrier_wait(&joined);
    shared_release(&owner);
    pumit_context_release(ctx);
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&joined);
    ck_assert_uint_eq(meanwhile, wanted);
    for (int i = 0; i < THREADS; i++) ck_assert_int_eq(jobs[i].good, 4);
}
END_TEST

static void check_write(const shared_model *model, pumit_status status)
{
    pumit_tensor *norm;
    const float values[24] = {1};
    CHECK_OK(pumit_module_find(&norm, shared_module(model), "norm.bias"));
    CHECK_FAILS(status, pumit_tensor_write(norm, PUMIT_F32, values, sizeof values));
    if (status) ck_assert_ptr_nonnull(strstr(pumit_last_error(), "release them"));
}

static void check_no_load(const shared_model *model, const char *path)
{
    CHECK_FAILS(PUMIT_ERROR_STATE,
                pumit_module_load_weights(shared_module(model), path, NULL, 1, NULL));
    ck_assert_ptr_nonnull(strstr(pumit_last_error(), "release them"));
    CHECK_FAILS(PUMIT_ERROR_STATE, pumit_module_import(shared_module(model), path, NULL));
}

/* Whoever is left alone may. */
START_TEST(nobody_writes_what_others_read)
{
    char path[] = "/tmp/pumit-test-shared-XXXXXX";
    pumit_context *first = shared_context(1), *second = shared_context(1);
    shared_model owner, other;
    pumit_optimizer *optimizer, *none;
    const int file = mkstemp(path);
    ck_assert_int_ge(file, 0);
    close(file);
    CHECK(shared_create(&owner, first, KIND_VIT));
    CHECK_OK(pumit_module_save(shared_module(&owner), path, NULL));
    CHECK_OK(pumit_optimizer_create(&optimizer, shared_module(&owner), NULL));
    check_write(&owner, PUMIT_OK);
    CHECK(shared_join(&other, second, &owner));
    const uint64_t before = shared_result(&other, second);
    const shared_model *both[2] = {&owner, &other};
    for (int i = 0; i < 2; i++) {
        check_write(both[i], PUMIT_ERROR_STATE);
        check_no_load(both[i], path);
        CHECK_FAILS(PUMIT_ERROR_STATE, pumit_optimizer_create(&none, shared_module(both[i]), NULL));
        ck_assert_ptr_null(none);
    }
    CHECK_FAILS(PUMIT_ERROR_STATE, pumit_optimizer_step(optimizer, 0.1, 1, NULL));
    ck_assert_int_eq(pumit_optimizer_steps(optimizer), 0);
    ck_assert_uint_eq(shared_result(&other, second), before);
    shared_release(&other);
    check_write(&owner, PUMIT_OK);
    CHECK_OK(pumit_optimizer_step(optimizer, 0.1, 1, NULL));
    pumit_optimizer_release(optimizer);
    CHECK(shared_join(&other, second, &owner));
    shared_release(&owner);
    check_write(&other, PUMIT_OK);
    CHECK_OK(pumit_module_load_weights(shared_module(&other), path, NULL, 1, NULL));
    shared_release(&other);
    pumit_context_release(first);
    pumit_context_release(second);
    unlink(path);
}
END_TEST

static pumit_context *open_context(const char *options)
{
    pumit_config *config;
    pumit_context *ctx;
    CHECK_OK(pumit_config_parse(&config, options));
    CHECK_OK(pumit_context_create(&ctx, config));
    pumit_config_release(config);
    return ctx;
}

/* A model shared from a shared one is its equal; of 16-bit weights the type goes with the memory. */
START_TEST(contexts_may_differ)
{
    char path[] = "/tmp/pumit-test-shared-XXXXXX";
    pumit_context *narrow = open_context("{\"threads\": 1, \"weight_type\": \"bf16\"}");
    pumit_context *wide = open_context("{\"threads\": 2}"), *third = shared_context(1);
    pumit_context *exact = open_context("{\"device\": \"reference64\"}");
    pumit_context *plain = open_context("{\"device\": \"reference\"}");
    shared_model model, loaded, joined, again, slow;
    const int file = mkstemp(path);
    ck_assert_int_ge(file, 0);
    close(file);
    CHECK(shared_create(&model, wide, KIND_VIT));
    CHECK_OK(pumit_module_save(shared_module(&model), path, NULL));
    CHECK(shared_load(&loaded, narrow, KIND_VIT, path));
    const uint64_t wanted = shared_result(&loaded, narrow);
    CHECK(shared_join(&joined, wide, &loaded));
    shared_release(&loaded);
    CHECK(shared_join(&again, third, &joined));
    shared_release(&joined);
    ck_assert_uint_eq(shared_result(&again, third), wanted);
    ck_assert_uint_ne(shared_result(&model, wide), wanted);
    ck_assert(!shared_join(&slow, exact, &model));
    ck_assert_ptr_nonnull(strstr(pumit_last_error(), "reference64"));
    CHECK(shared_join(&slow, plain, &model));
    ck_assert_uint_ne(shared_result(&slow, plain), 0);
    shared_release(&slow);
    shared_release(&again);
    shared_release(&model);
    pumit_context *all[] = {narrow, wide, third, exact, plain};
    for (int i = 0; i < 5; i++) pumit_context_release(all[i]);
    unlink(path);
}
END_TEST

Suite *suite_shared(void)
{
    Suite *suite = suite_create("shared");
    TCase *all = tcase_create("all");
    tcase_add_loop_test(all, a_shared_model_is_the_same_model, 0, KINDS);
    tcase_add_loop_test(all, four_threads_read_one_model, 0, KINDS);
    tcase_add_test(all, nobody_writes_what_others_read);
    tcase_add_test(all, contexts_may_differ);
    suite_add_tcase(suite, all);
    return suite;
}
