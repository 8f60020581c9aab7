/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The system's calls as this process and its libraries see them: a program's own functions come before those of the C library.
 * Streams are read and written through a cookie, so that what fails below stdio fails as it does below a real one.
 */
#include "tests/faults.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static atomic_bool armed;
static atomic_llong asked, fails_at;
static faults_kind kind;
static const char *last = "nothing";

void faults_io_arm(faults_kind wanted, int64_t n)
{
    kind = wanted;
    asked = 0;
    fails_at = n;
    armed = true;
}

int64_t faults_io_disarm(void)
{
    armed = false;
    return asked;
}

const char *faults_io_last(void)
{
    return last;
}

static bool is_next(const char *call)
{
    if (++asked != fails_at) return false;
    last = call;
    return true;
}

/* True, with errno set, if this call fails. */
static bool fails(const char *call, bool interruptible, bool writes)
{
    if (!armed) return false;
    if (kind == FAULT_SHORT || (kind == FAULT_EINTR && !interruptible) ||
        (kind == FAULT_ENOSPC && !writes) || !is_next(call))
        return false;
    errno = kind == FAULT_EINTR ? EINTR : kind == FAULT_EIO ? EIO : ENOSPC;
    return true;
}

static size_t shortened(const char *call, size_t bytes)
{
    return armed && kind == FAULT_SHORT && bytes > 1 && is_next(call) ? bytes / 2 : bytes;
}

#pragma GCC visibility push(default)
#pragma GCC diagnostic ignored "-Wpedantic"

/* The C library's own function of that name, or the sanitizer's. */
#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* -------------------------------------------------------------------------------------- descriptors */

#define TRANSFER(name, data, writes)                                                               \
    ssize_t name(int fd, data bytes, size_t count)                                                 \
    {                                                                                              \
        static __typeof__(&name) real;                                                             \
        if (!real) real = REAL(name);                                                              \
        if (fails(#name, true, writes)) return -1;                                                 \
        return real(fd, bytes, shortened(#name, count));                                           \
    }
TRANSFER(read, void *, false)
TRANSFER(write, const void *, true)

#define TRANSFER_AT(name, data, writes)                                                            \
    ssize_t name(int fd, data bytes, size_t count, off_t at)                                       \
    {                                                                                              \
        static __typeof__(&name) real;                                                             \
        if (!real) real = REAL(name);                                                              \
        if (fails(#name, true, writes)) return -1;                                                 \
        return real(fd, bytes, shortened(#name, count), at);                                       \
    }
TRANSFER_AT(pread, void *, false)
TRANSFER_AT(pread64, void *, false)
TRANSFER_AT(pwrite, const void *, true)
TRANSFER_AT(pwrite64, const void *, true)

#define OPEN(name)                                                                                 \
    int name(const char *path, int flags, ...)                                                     \
    {                                                                                              \
        static int (*real)(const char *, int, ...);                                                \
        if (!real) real = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, #name);                \
        va_list args;                                                                              \
        va_start(args, flags);                                                                     \
        const mode_t mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;                            \
        va_end(args);                                                                              \
        return fails("open", true, flags & O_CREAT) ? -1 : real(path, flags, mode);                \
    }
OPEN(open)
OPEN(open64)

/* The sweep writes thousands of files, which need not survive a crash of the machine. */
int fsync(int fd)
{
    if (fails("fsync", true, true)) return -1;
    return faults_watched() ? 0 : REAL(fsync)(fd);
}

/* As of a network's file system: the descriptor is gone, what was written may be. */
int close(int fd)
{
    static __typeof__(&close) real;
    if (!real) real = REAL(close);
    const bool failed = fails("close", false, true);
    const int kept = errno, code = real(fd);
    if (failed) errno = kept;
    return failed ? -1 : code;
}

#define PATHS(name, params, ...)                                                                   \
    int name params                                                                                \
    {                                                                                              \
        return fails(#name, false, true) ? -1 : REAL(name)(__VA_ARGS__);                           \
    }
PATHS(rename, (const char *from, const char *to), from, to)
PATHS(mkdir, (const char *path, mode_t mode), path, mode)
PATHS(ftruncate, (int fd, off_t bytes), fd, bytes)

/* ------------------------------------------------------------------------------------------ streams */

enum { STREAMS = 64 };
static struct {
    _Atomic(FILE *) stream;
    int fd;
} streams[STREAMS];

static ssize_t cookie_read(void *cookie, char *bytes, size_t count)
{
    return read((int)(intptr_t)cookie, bytes, count);
}

static ssize_t cookie_write(void *cookie, const char *bytes, size_t count)
{
    size_t done = 0;
    while (done < count) { /* as stdio does */
        const ssize_t got = write((int)(intptr_t)cookie, bytes + done, count - done);
        if (got < 0) break;
        done += (size_t)got;
    }
    return (ssize_t)done; /* less than `count` is an error to stdio */
}

static int cookie_seek(void *cookie, off64_t *at, int whence)
{
    *at = lseek64((int)(intptr_t)cookie, *at, whence);
    return *at < 0 ? -1 : 0;
}

static int cookie_close(void *cookie)
{
    for (int i = 0; i < STREAMS; i++)
        if (streams[i].stream && streams[i].fd == (int)(intptr_t)cookie) streams[i].stream = NULL;
    return close((int)(intptr_t)cookie);
}

static int flags_of(const char *mode)
{
    const bool plus = strchr(mode, '+') != NULL;
    const int way = plus ? O_RDWR : *mode == 'r' ? O_RDONLY : O_WRONLY;
    return way |
           (*mode == 'w'   ? O_CREAT | O_TRUNC
            : *mode == 'a' ? O_CREAT | O_APPEND
                           : 0) |
           (strchr(mode, 'x') ? O_EXCL : 0) | (strchr(mode, 'e') ? O_CLOEXEC : 0);
}

static FILE *open_stream(const char *path, const char *mode)
{
    const int fd = open(path, flags_of(mode), 0666);
    if (fd < 0) return NULL;
    const cookie_io_functions_t functions = {cookie_read, cookie_write, cookie_seek, cookie_close};
    const char plain[] = {mode[0], strchr(mode, '+') ? '+' : '\0', '\0'};
    FILE *stream = fopencookie((void *)(intptr_t)fd, plain, functions);
    for (int i = 0; stream && i < STREAMS; i++) {
        FILE *none = NULL;
        if (!atomic_compare_exchange_strong(&streams[i].stream, &none, stream)) continue;
        streams[i].fd = fd;
        return stream;
    }
    abort();
}

FILE *fopen(const char *path, const char *mode)
{
    if (!faults_watched()) return REAL(fopen)(path, mode);
    return faults_fails() ? NULL : open_stream(path, mode);
}

FILE *fopen64(const char *path, const char *mode)
{
    return fopen(path, mode);
}

int fileno(FILE *stream)
{
    for (int i = 0; i < STREAMS; i++)
        if (streams[i].stream == stream) return streams[i].fd;
    return REAL(fileno)(stream);
}
