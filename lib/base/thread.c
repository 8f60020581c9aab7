/* SPDX-License-Identifier: Apache-2.0 */
/* A child of fork() has the memory of its parent, but of its threads the calling one alone: whoever waits for another one waits for ever. */
#include "lib/base/thread.h"

#include <signal.h>
#include <stdatomic.h>

int pumit__thread_create(pthread_t *out, void *(*run)(void *), void *argument)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int error = pthread_create(out, NULL, run, argument);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

/* ------------------------------------------------------------------------------------------- forks */

static atomic_uint generation; /* written by the handler alone */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool watched; /* written once */

static void count_fork(void)
{
    atomic_fetch_add_explicit(&generation, 1, memory_order_relaxed);
}

static void watch(void)
{
    watched = pthread_atfork(NULL, NULL, count_fork) == 0;
}

pumit_status pumit__watch_forks(void)
{
    pthread_once(&once, watch);
    return watched ? PUMIT_OK : pumit__fail_memory(64, "a handler of fork()");
}

uint32_t pumit__generation(void)
{
    return atomic_load_explicit(&generation, memory_order_relaxed);
}
