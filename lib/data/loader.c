/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/data/loader.h"

#include "lib/base/thread.h"

#include <stdlib.h>
#include <string.h>

/* EMPTY: anyone's to fill. BUSY: one thread's, without the lock. READY: filled, for the step or with its error. */
typedef enum { EMPTY, BUSY, READY } slot_state;

/* The batch of a step stands in slot step % ahead. */
typedef struct {
    slot_state state;
    int64_t step;
    pumit_status status;
    char message[1024];
    pumit__crops crops;
} slot;

struct pumit__loader {
    const pumit__sampler *sampler;
    slot *slots;
    int64_t ahead;
    pthread_t *threads;
    int64_t workers;             /* that run */
    pumit__crop_scratch scratch; /* of the caller's thread, where there are no workers */
    int64_t failed;
    uint32_t generation; /* of the process whose threads they are */

    pthread_mutex_t lock; /* of the following, and of the slots that are not BUSY */
    pthread_cond_t work, done;
    int64_t next; /* the step wanted next: workers fill next <= step < next + ahead */
    bool quit;
};

/* ------------------------------------------------------------------------------------------ workers */

/* The first step that nobody has begun, its slot now BUSY; NULL if there is none. With the lock. */
static slot *claim(pumit__loader *loader)
{
    for (int64_t step = loader->next; step < loader->next + loader->ahead; step++) {
        slot *const at = &loader->slots[step % loader->ahead];
        if (at->state == BUSY || (at->state == READY && at->step == step)) continue;
        at->state = BUSY;
        at->step = step;
        return at;
    }
    return NULL;
}

static void fill(slot *at, const pumit__sampler *sampler, pumit__crop_scratch *scratch)
{
    at->status = pumit__sampler_render(&at->crops, scratch, sampler, at->step);
    if (at->status != PUMIT_OK) snprintf(at->message, sizeof at->message, "%s", pumit_last_error());
}

static void *run_worker(void *argument)
{
    pumit__loader *const loader = argument;
    pumit__crop_scratch scratch = {0};
    pthread_mutex_lock(&loader->lock);
    while (!loader->quit) {
        slot *const at = claim(loader);
        if (!at) {
            pthread_cond_wait(&loader->work, &loader->lock);
            continue;
        }
        pthread_mutex_unlock(&loader->lock);
        fill(at, loader->sampler, &scratch);
        pthread_mutex_lock(&loader->lock);
        at->state = READY;
        pthread_cond_broadcast(&loader->done);
        /* Another worker may have passed this slot by while it was busy with a step that is no longer wanted. */
        pthread_cond_broadcast(&loader->work);
    }
    pthread_mutex_unlock(&loader->lock);
    pumit__crop_scratch_free(&scratch);
    return NULL;
}

static pumit_status start_workers(pumit__loader *loader, int64_t workers)
{
    int error = 0;
    while (loader->workers < workers && error == 0) {
        error = pumit__thread_create(&loader->threads[loader->workers], run_worker, loader);
        if (error == 0) loader->workers++;
    }
    if (error == 0) return PUMIT_OK;
    return pumit__fail(PUMIT_ERROR_OUT_OF_MEMORY,
                       "cannot start loader thread %lld of %lld: %s; use fewer (train.workers)",
                       (long long)loader->workers + 1, (long long)workers, strerror(error));
}

/* ------------------------------------------------------------------------------------------- making */

static pumit_status create(pumit__loader *loader, int64_t workers, int64_t ahead)
{
    loader->ahead = workers > 0 ? ahead : 1;
    loader->slots = pumit__calloc(loader->ahead, sizeof *loader->slots);
    loader->threads = pumit__calloc(workers, sizeof *loader->threads);
    if (!loader->slots || !loader->threads)
        return pumit__fail_memory(loader->ahead * (int64_t)sizeof *loader->slots, "a loader");
    return start_workers(loader, workers);
}

pumit_status pumit__loader_create(pumit__loader **out, const pumit__sampler *sampler,
                                  int64_t workers, int64_t ahead)
{
    *out = NULL;
    PUMIT__REQUIRE(workers >= 0 && ahead >= 1, "a loader of %lld threads, %lld batches ahead",
                   (long long)workers, (long long)ahead);
    pumit__loader *loader = pumit__calloc(1, sizeof *loader);
    if (!loader) return pumit__fail_memory(sizeof *loader, "a loader");
    loader->sampler = sampler;
    loader->generation = pumit__generation();
    pthread_mutex_init(&loader->lock, NULL);
    pthread_cond_init(&loader->work, NULL);
    pthread_cond_init(&loader->done, NULL);
    const pumit_status status = create(loader, workers, ahead);
    if (status == PUMIT_OK)
        *out = loader;
    else
        pumit__loader_release(loader);
    return status;
}

void pumit__loader_release(pumit__loader *loader)
{
    /* In a child of fork() the threads are gone, with the lock perhaps: what they worked on stays as it is. */
    if (!loader || loader->generation != pumit__generation()) return;
    pthread_mutex_lock(&loader->lock);
    loader->quit = true;
    pthread_cond_broadcast(&loader->work);
    pthread_mutex_unlock(&loader->lock);
    for (int64_t i = 0; i < loader->workers; i++) pthread_join(loader->threads[i], NULL);
    for (int64_t i = 0; loader->slots && i < loader->ahead; i++)
        pumit__crops_free(&loader->slots[i].crops);
    pumit__crop_scratch_free(&loader->scratch);
    pthread_cond_destroy(&loader->done);
    pthread_cond_destroy(&loader->work);
    pthread_mutex_destroy(&loader->lock);
    free(loader->slots);
    free(loader->threads);
    free(loader);
}

/* ------------------------------------------------------------------------------------------- taking */

/* The step's slot, filled and BUSY, so that no worker takes it; they go on with the steps after it. */
static slot *wait_for(pumit__loader *loader, int64_t step)
{
    slot *const at = &loader->slots[step % loader->ahead];
    if (loader->workers == 0) {
        at->step = step;
        fill(at, loader->sampler, &loader->scratch);
        return at;
    }
    pthread_mutex_lock(&loader->lock);
    if (loader->next != step) {
        loader->next = step;
        pthread_cond_broadcast(&loader->work);
    }
    while (at->state != READY || at->step != step) pthread_cond_wait(&loader->done, &loader->lock);
    at->state = BUSY;
    loader->next = step + 1;
    pthread_cond_broadcast(&loader->work);
    pthread_mutex_unlock(&loader->lock);
    return at;
}

static void give_back(pumit__loader *loader, slot *at)
{
    pthread_mutex_lock(&loader->lock);
    at->state = EMPTY;
    pthread_cond_broadcast(&loader->work);
    pthread_mutex_unlock(&loader->lock);
}

pumit_status pumit__loader_take(pumit_tensor **out, double *spacing, int64_t *indices,
                                pumit__loader *loader, int64_t step)
{
    memset(out, 0, (size_t)pumit__sampler_tensors(loader->sampler) * sizeof *out);
    PUMIT__REQUIRE(step >= 0, "the batch of step %lld", (long long)step);
    slot *const at = wait_for(loader, step);
    loader->failed += at->crops.failed;
    const pumit_status status =
        at->status == PUMIT_OK
            ? pumit__sampler_hand_over(out, spacing, indices, loader->sampler, &at->crops)
            : pumit__fail(at->status, "%s", at->message);
    give_back(loader, at);
    return status;
}

int64_t pumit__loader_failed(const pumit__loader *loader)
{
    return loader->failed;
}
