/* SPDX-License-Identifier: Apache-2.0 */
/* What everyone may use: errors, overflow-checked memory, counter-based random numbers, files. */
#ifndef PUMIT_LIB_BASE_H
#define PUMIT_LIB_BASE_H

#include <pumit/base.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define PUMIT__PRINTF(at, args) __attribute__((format(printf, at, args)))
#define PUMIT__COUNT(array)     ((int64_t)(sizeof(array) / sizeof *(array)))

/* ------------------------------------------------------------------------------------------ errors */

/* Keeps the message for pumit_last_error() and gives `status` back: `return pumit__fail(...)`. */
pumit_status pumit__fail(pumit_status status, const char *format, ...) PUMIT__PRINTF(2, 3);

/* Puts "prefix: " in front of the kept message; gives `status` back. No-op for PUMIT_OK. */
pumit_status pumit__fail_in(pumit_status status, const char *format, ...) PUMIT__PRINTF(2, 3);

/* The status that pumit__fail() was last called with in this thread: for chains that carry NULL. */
pumit_status pumit__last_status(void);

/* Of a call of the operating system that failed with `code`: out of memory, not found, or I/O. */
pumit_status pumit__status_of_errno(int code);

/* Out of memory for `bytes` bytes of `what`. */
pumit_status pumit__fail_memory(int64_t bytes, const char *what);

#define PUMIT__TRY(call)                                                                           \
    do {                                                                                           \
        const pumit_status try_status_ = (call);                                                   \
        if (try_status_ != PUMIT_OK) return try_status_;                                           \
    } while (0)

/* For functions with an `out:` label and a `status` variable. */
#define PUMIT__GO(call)                                                                            \
    do {                                                                                           \
        status = (call);                                                                           \
        if (status != PUMIT_OK) goto out;                                                          \
    } while (0)

#define PUMIT__REQUIRE(condition, ...)                                                             \
    do {                                                                                           \
        if (!(condition)) return pumit__fail(PUMIT_ERROR_INVALID_ARGUMENT, __VA_ARGS__);           \
    } while (0)

/* ------------------------------------------------------------------------------------------ memory */

/* Overflow-checked products and sums of sizes that must be >= 0: false if the result does not fit. */
bool pumit__multiply(int64_t *out, int64_t a, int64_t b);
bool pumit__add_sizes(int64_t *out, int64_t a, int64_t b);

/* Zeroed memory for count * size bytes (count 0 gives a valid block); NULL when there is none. Free with free(). */
void *pumit__calloc(int64_t count, int64_t size);

/* Grows *block (of *capacity elements of `size` bytes) so that `needed` fit. False when out of memory. */
bool pumit__grow(void *block, int64_t *capacity, int64_t needed, int64_t size);

char *pumit__strdup(const char *text);

/* A new string; NULL when out of memory. Free with free(). */
char *pumit__format(const char *format, ...) PUMIT__PRINTF(1, 2);

/* ------------------------------------------------------------------------------------------ random */

/* Counter-based: the value depends on (seed, stream, counter) alone, so any order gives the same draws. */
uint64_t pumit__random(uint64_t seed, uint64_t stream, uint64_t counter);
double pumit__random_uniform(uint64_t seed, uint64_t stream, uint64_t counter); /* [0, 1) */
double pumit__random_normal(uint64_t seed, uint64_t stream, uint64_t counter);  /* N(0, 1) */
int64_t pumit__random_below(uint64_t seed, uint64_t stream, uint64_t counter,
                            int64_t n); /* 0..n-1 */

/* A stream number from a name, so that streams do not collide. */
uint64_t pumit__random_stream(const char *name);

/* `order` becomes a random permutation of 0..n-1. */
void pumit__random_permutation(int64_t *order, int64_t n, uint64_t seed, uint64_t stream);

/* ------------------------------------------------------------------------------------------- files */

/* A file written under a temporary name beside `path`, and renamed onto it, fsynced, on commit: readers see
 * the old file or the whole new one. */
typedef struct {
    FILE *file;
    char *path, *temporary;
} pumit__atomic_file;

pumit_status pumit__atomic_open(pumit__atomic_file *file, const char *path);
/* Writes or fails with the path in the message. */
pumit_status pumit__atomic_write(pumit__atomic_file *file, const void *data, int64_t bytes);
pumit_status pumit__atomic_commit(pumit__atomic_file *file);
/* Removes the temporary file unless committed. Always to be called. */
void pumit__atomic_close(pumit__atomic_file *file);

/* Makes a folder and those above it; an existing one is fine. */
pumit_status pumit__make_folder(const char *path);

/* The whole file as a NUL-terminated block; at most `limit` bytes. Free with free(). */
pumit_status pumit__read_file(char **out, int64_t *bytes, const char *path, int64_t limit);

/* True if `name` ends in `ending`, letters compared without case. */
bool pumit__ends_with(const char *name, const char *ending);

#endif
