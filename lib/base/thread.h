/* SPDX-License-Identifier: Apache-2.0 */
/* Threads of the library's own, and what becomes of threads in a child of fork(). */
#ifndef PUMIT_LIB_BASE_THREAD_H
#define PUMIT_LIB_BASE_THREAD_H

#include "lib/base/base.h"

#include <pthread.h>

/* pthread_create() with all signals blocked, which a thread inherits: one that stops the work reaches the caller's thread. */
int pumit__thread_create(pthread_t *out, void *(*run)(void *), void *argument);

/* From here on, pumit__generation() is another number in a child of fork(). It is 0 in a process that is none. */
pumit_status pumit__watch_forks(void);
uint32_t pumit__generation(void);

#endif
