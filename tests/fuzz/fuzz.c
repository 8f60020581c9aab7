/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/fuzz.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zip.h>
#include <zlib.h>

int64_t fuzz_taken;

void fuzz_require(bool holds, const char *what)
{
    if (holds) return;
    fprintf(stderr, "does not hold: %s (last error: %s)\n", what, pumit_last_error());
    abort();
}

bool fuzz_answered(pumit_status status)
{
    if (status == PUMIT_OK) return true;
    fuzz_require(status < 0 && status > PUMIT_ERROR_INTERNAL, "the status is one that a file has");
    fuzz_require(*pumit_last_error() && !strchr(pumit_last_error(), '\n'), "one line says why");
    return false;
}

bool fuzz_took(pumit_status status)
{
    const bool taken = fuzz_answered(status);
    fuzz_taken += taken;
    return taken;
}

/* ------------------------------------------------------------------------------------------- context */

pumit_config *fuzz_config(const char *json)
{
    pumit_config *config;
    fuzz_require(pumit_config_parse(&config, json) == PUMIT_OK, "the configuration of a target");
    return config;
}

/* A fuzzer that waits for memory to be cleared sees few inputs; real files are larger. */
#ifdef PUMIT_FUZZ
#define LIMITS "{\"voxels\":1048576,\"parameters\":65536}"
#else
#define LIMITS "{\"voxels\":16777216,\"parameters\":65536}"
#endif

pumit_context *fuzz_context(void)
{
    static pumit_context *ctx;
    if (ctx) return ctx;
    pumit_config *options =
        fuzz_config("{\"threads\":1,\"device\":\"reference\",\"limits\":" LIMITS "}");
    fuzz_require(pumit_context_create(&ctx, options) == PUMIT_OK, "a context");
    pumit_config_release(options);
    return ctx;
}

/* --------------------------------------------------------------------------------------------- files */

static char folder[64];
static pid_t owner;

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *place)
{
    (void)info;
    (void)kind;
    (void)place;
    return remove(path);
}

void fuzz_remove(const char *path)
{
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void remove_folder(void)
{
    if (owner == getpid()) fuzz_remove(folder);
}

/* In memory where that can be. A forked process makes its own. The paths of a list can go up by "..": to nothing. */
static void make_folder(void)
{
    if (owner == getpid()) return;
    char inner[80];
    snprintf(folder, sizeof folder, "%s/pumit-fuzz-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    fuzz_require(mkdtemp(folder) != NULL, "a folder");
    snprintf(inner, sizeof inner, "%s/in", folder);
    fuzz_require(mkdir(inner, 0700) == 0, "a folder");
    owner = getpid();
    atexit(remove_folder);
}

const char *fuzz_path(const char *name)
{
    static char buffers[8][160];
    static int next;
    make_folder();
    char *buffer = buffers[next++ % 8];
    snprintf(buffer, sizeof buffers[0], "%s/in/%s", folder, name);
    return buffer;
}

const char *fuzz_file(const char *name, const void *data, size_t bytes)
{
    const char *path = fuzz_path(name);
    FILE *file = fopen(path, "wb");
    fuzz_require(file && (bytes == 0 || fwrite(data, 1, bytes, file) == bytes), "a file written");
    fuzz_require(fclose(file) == 0, "a file written");
    return path;
}

const char *fuzz_file_gzip(const char *name, const void *data, size_t bytes)
{
    const char *path = fuzz_path(name);
    gzFile file = gzopen(path, "wb1");
    fuzz_require(file && gzwrite(file, data, (unsigned)bytes) == (int)bytes, "a file written");
    fuzz_require(gzclose(file) == Z_OK, "a file written");
    return path;
}

char *fuzz_text(const uint8_t *data, size_t bytes)
{
    char *text = malloc(bytes + 1);
    fuzz_require(text != NULL, "memory");
    for (size_t i = 0; i < bytes; i++) text[i] = data[i] == '/' ? '_' : (char)data[i];
    text[bytes] = '\0';
    return text;
}

uint8_t *fuzz_array(size_t *out_bytes, const char *type, const char *shape, const void *data,
                    size_t bytes)
{
    enum { HEAD = 128 };
    uint8_t *array = malloc(HEAD + bytes);
    fuzz_require(array != NULL, "memory");
    memset(array, ' ', HEAD);
    memcpy(array, "\x93NUMPY\1\0\x76\0", 10);
    const int length =
        snprintf((char *)array + 10, HEAD - 10,
                 "{'descr': '%s', 'fortran_order': False, 'shape': %s, }", type, shape);
    fuzz_require(length > 0 && length < HEAD - 11, "a short head");
    array[10 + length] = ' ';
    array[HEAD - 1] = '\n';
    memcpy(array + HEAD, data, bytes);
    *out_bytes = HEAD + bytes;
    return array;
}

const char *fuzz_picture(const char *name)
{
    size_t bytes;
    uint8_t *array = fuzz_array(&bytes, "|u1", "(2, 2)", "\0\1\1\0", 4);
    const char *path = fuzz_file(name, array, bytes);
    free(array);
    return path;
}

const char *fuzz_zip(const char *name, const fuzz_member *members, int count)
{
    int code;
    const char *path = fuzz_path(name);
    zip_t *archive = zip_open(path, ZIP_CREATE | ZIP_TRUNCATE, &code);
    fuzz_require(archive != NULL, "an archive");
    for (int i = 0; i < count; i++) {
        zip_source_t *source = zip_source_buffer(archive, members[i].data, members[i].bytes, 0);
        const zip_int64_t index = zip_file_add(archive, members[i].name, source, ZIP_FL_OVERWRITE);
        fuzz_require(index >= 0, "a file in an archive");
        zip_set_file_compression(archive, (zip_uint64_t)index, ZIP_CM_STORE, 0);
    }
    fuzz_require(zip_close(archive) == 0, "an archive written");
    return path;
}
