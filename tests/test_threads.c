/* SPDX-License-Identifier: Apache-2.0 */
/* Contexts beside each other in eight threads, each of which does its work as if it were alone; and long calls that another thread stops. */
#include "tests/runs.h"
#include "tests/shared_models.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

Suite *suite_threads(void);

#define THREADS 8

/* What a thread does with a context of its own, as number `number`; a number that all results went into, 0 on failure. No Check inside. */
typedef uint64_t (*work_fn)(pumit_context *ctx, int number);

static uint64_t mix(uint64_t sum, uint64_t value)
{
    return (sum ^ value) * UINT64_C(0x100000001b3) + 1;
}

static const char *saved(int kind)
{
    static const char *const names[KINDS] = {"0.model", "1.model", "2.model", "3.model", "4.model"};
    return names[kind];
}

/* files_path() has buffers that threads would share. */
static char folder[256];

static void path_of(char path[512], const char *name)
{
    snprintf(path, 512, "%s/%s", folder, name);
}

/* ---------------------------------------------------------------------------------------- the work */

static uint64_t load_and_compute(pumit_context *ctx, int number)
{
    shared_model model;
    char path[512];
    uint64_t sum = 0;
    path_of(path, saved(number % KINDS));
    for (int i = 0; i < 3; i++) {
        if (!shared_load(&model, ctx, number % KINDS, path)) return 0;
        const uint64_t result = shared_result(&model, ctx);
        sum = result ? mix(sum, result) : 0;
        shared_release(&model);
        if (!result) return 0;
    }
    return sum;
}

static uint64_t embed_file(pumit_vit *vit, pumit_context *ctx, const char *name)
{
    pumit_volume *volume = NULL;
    pumit_tensor *out = NULL;
    uint32_t bits[24];
    char path[512];
    uint64_t sum = 0;
    path_of(path, name);
    if (pumit_volume_read(&volume, ctx, path, 0) == PUMIT_OK &&
        pumit_vit_embed(&out, vit, volume) == PUMIT_OK &&
        pumit_tensor_read(out, PUMIT_F32, bits, sizeof bits) == PUMIT_OK)
        for (int i = 0; i < 24; i++) sum = mix(sum, bits[i]);
    pumit_tensor_release(out);
    pumit_volume_release(volume);
    return sum;
}

/* Also what cannot be read: messages are a thread's own. */
static uint64_t embed(pumit_context *ctx, int number)
{
    pumit_vit *vit = NULL;
    pumit_volume *none;
    char path[512], wanted[32];
    path_of(path, saved(KIND_VIT));
    if (pumit_vit_load(&vit, ctx, path) != PUMIT_OK) return 0;
    uint64_t sum = mix(embed_file(vit, ctx, "set/1.png"), embed_file(vit, ctx, "set/thick-b.nii"));
    snprintf(wanted, sizeof wanted, "absent-%d.nii", number);
    path_of(path, wanted);
    const bool failed = pumit_volume_read(&none, ctx, path, 0) != PUMIT_OK;
    if (!failed || !strstr(pumit_last_error(), wanted)) sum = 0;
    pumit_vit_release(vit);
    return sum;
}

static pumit_status open_training(pumit_trainer **out, pumit_dataset **data, pumit_context *ctx,
                                  const char *output)
{
    pumit_config *config;
    char path[512], set[512];
    const char *const paths = set;
    *out = NULL;
    path_of(path, output);
    path_of(set, "set");
    PUMIT__TRY(pumit_dataset_open(data, ctx, 1, &paths, NULL));
    PUMIT__TRY(pumit_config_parse(
        &config, "{\"recipe\": \"tokenizer\","
                 " \"tokenizer\": {\"channels\": [8, 8, 16], \"codes\": 8, \"code_dim\": 8},"
                 " \"train\": {\"steps\": 4, \"batch\": 2, \"tokens\": [2, 2, 2], \"seed\": 3,"
                 "  \"workers\": 2, \"validate_every\": 2, \"checkpoint_every\": 2}}"));
    pumit_status status = pumit_config_set_string(config, "output", path);
    if (status == PUMIT_OK) status = pumit_trainer_create(out, ctx, *data, NULL, config);
    pumit_config_release(config);
    return status;
}

static uint64_t train(pumit_context *ctx, int number)
{
    pumit_trainer *trainer = NULL;
    pumit_dataset *data = NULL;
    shared_model model;
    char output[32];
    uint64_t sum = 0;
    static atomic_int runs; /* each into a folder of its own */
    snprintf(output, sizeof output, "run-%d-%d", number, atomic_fetch_add(&runs, 1));
    if (open_training(&trainer, &data, ctx, output) == PUMIT_OK &&
        pumit_trainer_run(trainer) == PUMIT_OK &&
        shared_load(&model, ctx, KIND_SIMPLE, pumit_trainer_model_path(trainer))) {
        sum = shared_digest(shared_module(&model));
        shared_release(&model);
    }
    pumit_trainer_release(trainer);
    pumit_dataset_release(data);
    return sum;
}

/* Threads of every kind at once. */
static uint64_t mixed(pumit_context *ctx, int number)
{
    static const work_fn works[] = {load_and_compute, embed, train};
    return works[number % 3](ctx, number);
}

/* ------------------------------------------------------------------------------------ eight at once */

typedef struct {
    int number;
    work_fn work;
    pthread_barrier_t *start;
    uint64_t result;
    char message[256];
} job;

static void *run_job(void *argument)
{
    job *const j = argument;
    if (j->start) pthread_barrier_wait(j->start);
    pumit_context *ctx = shared_context(1);
    if (ctx) j->result = j->work(ctx, j->number);
    if (!j->result) snprintf(j->message, sizeof j->message, "%s", pumit_last_error());
    pumit_context_release(ctx);
    return NULL;
}

static void setup(void)
{
    shared_model model;
    runs_setup();
    snprintf(folder, sizeof folder, "%s", files_path("."));
    pumit_context *ctx = shared_context(1);
    for (int kind = 0; kind < KINDS; kind++) {
        ck_assert(shared_create(&model, ctx, kind));
        CHECK_OK(pumit_module_save(shared_module(&model), files_path(saved(kind)), NULL));
        shared_release(&model);
    }
    pumit_context_release(ctx);
}

START_TEST(eight_contexts_do_not_disturb_each_other)
{
    static const work_fn works[] = {load_and_compute, embed, train, mixed};
    job jobs[THREADS];
    uint64_t alone[THREADS];
    pthread_t threads[THREADS];
    pthread_barrier_t start;
    for (int i = 0; i < THREADS; i++) {
        jobs[i] = (job){.number = i, .work = works[_i]};
        run_job(&jobs[i]);
        ck_assert_msg(jobs[i].result, "alone, %d: %s", i, jobs[i].message);
        alone[i] = jobs[i].result;
    }
    pthread_barrier_init(&start, NULL, THREADS);
    for (int i = 0; i < THREADS; i++) {
        jobs[i] = (job){.number = i, .work = works[_i], .start = &start};
        ck_assert_int_eq(pthread_create(&threads[i], NULL, run_job, &jobs[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&start);
    for (int i = 0; i < THREADS; i++)
        ck_assert_msg(jobs[i].result == alone[i], "thread %d: %s", i, jobs[i].message);
}
END_TEST

/* ------------------------------------------------------------------------------------- cancellation */

/* A flag that another thread sets as soon as the work has begun, and what the call's progress function makes of it. */
typedef struct {
    atomic_bool begun, stop;
    int calls;
    pthread_t thread;
    pumit_trainer *trainer; /* to be stopped without a progress function's help */
} stopper;

static void *stop_when_begun(void *argument)
{
    stopper *const s = argument;
    const struct timespec moment = {0, 1000000};
    while (!atomic_load(&s->begun)) nanosleep(&moment, NULL);
    if (s->trainer) pumit_trainer_stop(s->trainer);
    atomic_store(&s->stop, true);
    return NULL;
}

static void begin(stopper *s, pumit_trainer *trainer)
{
    *s = (stopper){.trainer = trainer};
    ck_assert_int_eq(pthread_create(&s->thread, NULL, stop_when_begun, s), 0);
}

/* Waits for the flag at the second call, so that work was done and work is left. */
static int32_t look(stopper *s)
{
    const struct timespec moment = {0, 1000000};
    atomic_store(&s->begun, true);
    if (++s->calls < 2) return 0;
    while (!atomic_load(&s->stop)) nanosleep(&moment, NULL);
    return s->trainer ? 0 : 1;
}

static int32_t look_at_windows(void *user, int64_t done, int64_t total)
{
    ck_assert_int_le(done, total);
    return look(user);
}

static int32_t look_at_files(void *user, int64_t done, int64_t total, const char *path)
{
    ck_assert_int_le(done, total);
    ck_assert_ptr_nonnull(path);
    return look(user);
}

static int32_t look_at_steps(void *user, int64_t step, int64_t steps, const char *metrics)
{
    ck_assert_int_le(step, steps);
    ck_assert_ptr_nonnull(metrics);
    return look(user);
}

/* The segmenter, and its context, as if nothing had been. */
START_TEST(a_segmentation_is_stopped)
{
    static float voxels[8 * 96 * 96];
    for (int i = 0; i < 8 * 96 * 96; i++) voxels[i] = (float)(i * 7 % 255);
    const double affine[16] = {4, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1};
    pumit_context *ctx = shared_context(1);
    shared_model model;
    stopper s;
    pumit_volume *volume;
    pumit_label_map *map = NULL;
    pumit_config *options;
    int64_t before, after;
    ck_assert(shared_create(&model, ctx, KIND_SEGMENTER));
    const uint64_t wanted = shared_result(&model, ctx);
    CHECK_OK(
        pumit_volume_create(&volume, ctx, PUMIT_F32, (int64_t[3]){8, 96, 96}, 1, voxels, affine));
    CHECK_OK(pumit_config_parse(&options, "{\"window\": [2, 2, 2]}"));
    CHECK_OK(pumit_context_memory(ctx, &before, NULL, NULL));
    begin(&s, NULL);
    ck_assert_int_eq(
        pumit_segmenter_segment(&map, model.handle, volume, options, look_at_windows, &s),
        PUMIT_ERROR_CANCELLED);
    pthread_join(s.thread, NULL);
    ck_assert_ptr_null(map);
    ck_assert_int_eq(s.calls, 2);
    CHECK_OK(pumit_context_memory(ctx, &after, NULL, NULL));
    ck_assert_int_eq(after, before);
    ck_assert_uint_eq(shared_result(&model, ctx), wanted);
    CHECK_OK(pumit_segmenter_segment(&map, model.handle, volume, options, NULL, NULL));
    pumit_label_map_release(map);
    pumit_config_release(options);
    pumit_volume_release(volume);
    shared_release(&model);
    pumit_context_release(ctx);
}
END_TEST

static pumit_status prepare(char **report, pumit_context *ctx, pumit_prepare_fn progress,
                            void *user)
{
    pumit_config *options;
    char set[512], output[512];
    const char *const paths = set;
    path_of(set, "set");
    path_of(output, "prepared");
    CHECK_OK(pumit_config_parse(&options, "{\"threads\": 1}"));
    CHECK_OK(pumit_config_set_string(options, "output", output));
    const pumit_status status = pumit_prepare(report, ctx, 1, &paths, options, progress, user);
    pumit_config_release(options);
    return status;
}

/* Called again, it goes on: nothing is lost or done twice. */
START_TEST(a_preparation_is_stopped)
{
    pumit_context *ctx = shared_context(1);
    stopper s;
    char *report = NULL;
    pumit_config *told;
    int64_t images, before;
    begin(&s, NULL);
    ck_assert_int_eq(prepare(&report, ctx, look_at_files, &s), PUMIT_ERROR_CANCELLED);
    pthread_join(s.thread, NULL);
    ck_assert_ptr_null(report);
    CHECK_OK(prepare(&report, ctx, NULL, NULL));
    CHECK_OK(pumit_config_parse(&told, report));
    CHECK_OK(pumit_config_get_int(&images, told, "images", 0));
    CHECK_OK(pumit_config_get_int(&before, told, "already_there", 0));
    ck_assert_int_eq(images, 7);
    ck_assert_int_ge(before, 1);
    pumit_config_release(told);
    pumit_free(report);
    pumit_context_release(ctx);
}
END_TEST

/* By the progress function's flag (0) and by pumit_trainer_stop() of another thread (1); then on to the end, as if never stopped. */
START_TEST(a_training_is_stopped)
{
    pumit_context *ctx = shared_context(1);
    pumit_trainer *trainer;
    pumit_dataset *data;
    shared_model model;
    stopper s;
    const uint64_t wanted = train(ctx, 0);
    ck_assert_uint_ne(wanted, 0);
    CHECK_OK(open_training(&trainer, &data, ctx, "stopped"));
    begin(&s, _i ? trainer : NULL);
    pumit_trainer_set_progress(trainer, look_at_steps, &s);
    ck_assert_int_eq(pumit_trainer_run(trainer), PUMIT_ERROR_CANCELLED);
    pthread_join(s.thread, NULL);
    pumit_trainer_set_progress(trainer, NULL, NULL);
    CHECK_OK(pumit_trainer_run(trainer));
    ck_assert(shared_load(&model, ctx, KIND_SIMPLE, pumit_trainer_model_path(trainer)));
    ck_assert_uint_eq(shared_digest(shared_module(&model)), wanted);
    shared_release(&model);
    pumit_trainer_release(trainer);
    pumit_dataset_release(data);
    pumit_context_release(ctx);
}
END_TEST

Suite *suite_threads(void)
{
    Suite *suite = suite_create("threads");
    TCase *beside = tcase_create("beside"), *stopped = tcase_create("stopped");
    tcase_add_checked_fixture(beside, setup, files_teardown);
    tcase_add_loop_test(beside, eight_contexts_do_not_disturb_each_other, 0, 4);
    tcase_add_checked_fixture(stopped, setup, files_teardown);
    tcase_add_test(stopped, a_segmentation_is_stopped);
    tcase_add_test(stopped, a_preparation_is_stopped);
    tcase_add_loop_test(stopped, a_training_is_stopped, 0, 2);
    suite_add_tcase(suite, beside);
    suite_add_tcase(suite, stopped);
    return suite;
}
