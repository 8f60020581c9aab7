/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/faults.h"

#include <cjson/cJSON.h>
#include <dirent.h>
#include <dnnl.h>
#include <errno.h>
#include <png.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tiffio.h>
#include <turbojpeg.h>
#include <zip.h>
#include <zlib.h>

static bool watched;
static atomic_bool armed, rest;
static atomic_llong asked, fails_at;

void faults_here(void)
{
    errno = ENOMEM;
}

static bool fails(void)
{
    if (!armed) return false;
    const long long number = ++asked, at = fails_at;
    if (at == 0 || number < at || (number > at && !rest)) return false;
    faults_here();
    return true;
}

void faults_arm(int64_t n, bool all)
{
    asked = 0;
    fails_at = n;
    rest = all;
    armed = true;
}

int64_t faults_disarm(void)
{
    armed = false;
    return asked;
}

/* ------------------------------------------------------------------------------------------- blocks */

bool faults_fails(void)
{
    return fails();
}

bool faults_watched(void)
{
    return watched;
}

/* Open addressing; a freed block's neighbours move up, so that no place stays lost. */
enum { PLACES = 1 << 18 };

static struct {
    void *block;
    int64_t number;
    size_t bytes;
} known[PLACES];
static int64_t count, next_number;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static size_t place_of(const void *block)
{
    return (size_t)((uintptr_t)block / 16 * 0x9e3779b97f4a7c15u >> 46);
}

static void *keep(void *block, size_t bytes)
{
    if (!block || !watched) return block;
    pthread_mutex_lock(&lock);
    if (++count > PLACES / 2) abort();
    size_t i = place_of(block);
    while (known[i].block) i = (i + 1) % PLACES;
    known[i].block = block;
    known[i].bytes = bytes;
    known[i].number = next_number++;
    pthread_mutex_unlock(&lock);
    return block;
}

static void forget(const void *block)
{
    if (!block || !watched) return;
    pthread_mutex_lock(&lock);
    size_t i = place_of(block);
    while (known[i].block && known[i].block != block) i = (i + 1) % PLACES;
    if (known[i].block) {
        count--;
        for (size_t j = (i + 1) % PLACES; known[j].block; j = (j + 1) % PLACES)
            if ((j - place_of(known[j].block)) % PLACES >= (j - i) % PLACES) {
                known[i] = known[j];
                i = j;
            }
        known[i].block = NULL;
    }
    pthread_mutex_unlock(&lock);
}

void faults_watch(void)
{
    cJSON_Hooks hooks = {malloc, free};
    cJSON_InitHooks(&hooks);
    watched = true;
}

int64_t faults_live(void)
{
    return count;
}

int64_t faults_next(void)
{
    return next_number;
}

int64_t faults_oldest(int64_t after, uint64_t *bytes)
{
    int64_t oldest = -1;
    for (size_t i = 0; i < PLACES; i++)
        if (known[i].block && known[i].number >= after &&
            (oldest < 0 || known[i].number < oldest)) {
            oldest = known[i].number;
            *bytes = known[i].bytes;
        }
    return oldest;
}

/* ------------------------------------------------------------------------------------ the wrapped ones */

/* The linker takes what shared libraries refer to for these, too, and may not when they are hidden. */
#pragma GCC visibility push(default)

void *__real_malloc(size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__real_calloc(size_t n, size_t bytes);
void *__wrap_calloc(size_t n, size_t bytes);
void *__real_realloc(void *old, size_t bytes);
void *__wrap_realloc(void *old, size_t bytes);
void *__real_aligned_alloc(size_t alignment, size_t bytes);
void *__wrap_aligned_alloc(size_t alignment, size_t bytes);
int __real_posix_memalign(void **out, size_t alignment, size_t bytes);
int __wrap_posix_memalign(void **out, size_t alignment, size_t bytes);
void __real_free(void *block);
void __wrap_free(void *block);
int __wrap_vasprintf(char **out, const char *format, va_list args)
    __attribute__((format(printf, 2, 0)));
int __wrap___vasprintf_chk(char **out, int flag, const char *format, va_list args)
    __attribute__((format(printf, 3, 0)));

void *__wrap_malloc(size_t bytes)
{
    return fails() ? NULL : keep(__real_malloc(bytes), bytes);
}

void *__wrap_calloc(size_t n, size_t bytes)
{
    return fails() ? NULL : keep(__real_calloc(n, bytes), n * bytes);
}

void *__wrap_realloc(void *old, size_t bytes)
{
    if (fails()) return NULL;
    forget(old); /* before another thread can get it */
    void *moved = __real_realloc(old, bytes);
    if (!moved) abort();
    return keep(moved, bytes);
}

void *__wrap_aligned_alloc(size_t alignment, size_t bytes)
{
    return fails() ? NULL : keep(__real_aligned_alloc(alignment, bytes), bytes);
}

int __wrap_posix_memalign(void **out, size_t alignment, size_t bytes)
{
    if (fails()) return ENOMEM;
    const int code = __real_posix_memalign(out, alignment, bytes);
    if (code == 0) keep(*out, bytes);
    return code;
}

void __wrap_free(void *block)
{
    forget(block);
    __real_free(block);
}

int __wrap_vasprintf(char **out, const char *format, va_list args)
{
    va_list again;
    va_copy(again, args);
    const int length = vsnprintf(NULL, 0, format, again);
    va_end(again);
    char *text = length < 0 ? NULL : malloc((size_t)length + 1);
    if (!text) return -1;
    *out = text;
    return vsnprintf(text, (size_t)length + 1, format, args);
}

int __wrap___vasprintf_chk(char **out, int flag, const char *format, va_list args)
{
    (void)flag;
    return __wrap_vasprintf(out, format, args);
}

/* --------------------------------------------------------------------------------- other libraries */

static void *png_block(png_structp png, png_alloc_size_t bytes)
{
    (void)png;
    return malloc(bytes);
}

static void png_free_block(png_structp png, void *block)
{
    (void)png;
    free(block);
}

#define PNG_MAKER(name)                                                                            \
    png_structp __wrap_##name(png_const_charp version, void *user, png_error_ptr error,            \
                              png_error_ptr warning);                                              \
    png_structp __wrap_##name(png_const_charp version, void *user, png_error_ptr error,            \
                              png_error_ptr warning)                                               \
    {                                                                                              \
        return name##_2(version, user, error, warning, NULL, png_block, png_free_block);           \
    }
PNG_MAKER(png_create_read_struct)
PNG_MAKER(png_create_write_struct)

/* What another library needs memory for, and what it says then. */
#define POINT(type, name, failure, params, ...)                                                    \
    type __real_##name params;                                                                     \
    type __wrap_##name params;                                                                     \
    type __wrap_##name params                                                                      \
    {                                                                                              \
        return fails() ? (failure) : __real_##name(__VA_ARGS__);                                   \
    }

POINT(DIR *, opendir, NULL, (const char *path), path)
POINT(gzFile, gzopen, NULL, (const char *path, const char *mode), path, mode)
POINT(gzFile, gzdopen, NULL, (int fd, const char *mode), fd, mode)
POINT(tjhandle, tjInitDecompress, NULL, (void), )
POINT(TIFFOpenOptions *, TIFFOpenOptionsAlloc, NULL, (void), )
POINT(int, pthread_create, EAGAIN,
      (pthread_t * thread, const pthread_attr_t *attr, void *(*start)(void *), void *arg), thread,
      attr, start, arg)
POINT(dnnl_status_t, dnnl_primitive_create, dnnl_out_of_memory,
      (dnnl_primitive_t * out, const_dnnl_primitive_desc_t desc), out, desc)
POINT(dnnl_status_t, dnnl_memory_create, dnnl_out_of_memory,
      (dnnl_memory_t * out, const dnnl_memory_desc_t *desc, dnnl_engine_t engine, void *handle),
      out, desc, engine, handle)
POINT(dnnl_status_t, dnnl_stream_create, dnnl_out_of_memory,
      (dnnl_stream_t * out, dnnl_engine_t engine, unsigned flags), out, engine, flags)
POINT(dnnl_status_t, dnnl_engine_create, dnnl_out_of_memory,
      (dnnl_engine_t * out, dnnl_engine_kind_t kind, size_t index), out, kind, index)

zip_t *__real_zip_open(const char *path, int flags, int *code);
zip_t *__wrap_zip_open(const char *path, int flags, int *code);
zip_t *__wrap_zip_open(const char *path, int flags, int *code)
{
    if (!fails()) return __real_zip_open(path, flags, code);
    *code = ZIP_ER_MEMORY;
    return NULL;
}
