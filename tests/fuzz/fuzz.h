/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Targets for libFuzzer (`make fuzz`), one a file, which the suites fuzz_replay and mutations call, too.
 * Each takes any bytes and gives 0; what it must not do is crash, hang or leak. An error has to be one that says something,
 * a result has to be valid: anything else ends the process.
 */
#ifndef PUMIT_TESTS_FUZZ_H
#define PUMIT_TESTS_FUZZ_H

#include <pumit/pumit.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef int (*fuzz_target)(const uint8_t *data, size_t bytes);

#define FUZZ(name, endings) int fuzz_##name(const uint8_t *data, size_t bytes);
#include "tests/fuzz/targets.inc"
#undef FUZZ

/* Compiled with PUMIT_FUZZ, a target is a program of its own. */
#ifdef PUMIT_FUZZ
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);
#define FUZZ_TARGET(target)                                                                        \
    int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)                                  \
    {                                                                                              \
        return target(data, bytes);                                                                \
    }
#else
#define FUZZ_TARGET(target)
#endif

/* True for PUMIT_OK; ends the process for an error without a reason, or one that no file may lead to. */
bool fuzz_answered(pumit_status status);
/* The same of a call that takes the file itself, and counts. */
bool fuzz_took(pumit_status status);
/* Files taken so far in this process. */
extern int64_t fuzz_taken;

/* Ends the process, saying what does not hold, unless it does. */
void fuzz_require(bool holds, const char *what);

/* The context of the process: device "reference", one thread, low limits. */
pumit_context *fuzz_context(void);
/* From JSON that must be right. */
pumit_config *fuzz_config(const char *json);

/* Path of a name in this process's folder, which goes when it ends; one of eight static buffers. */
const char *fuzz_path(const char *name);
/* Writes the file; its path. */
const char *fuzz_file(const char *name, const void *data, size_t bytes);
const char *fuzz_file_gzip(const char *name, const void *data, size_t bytes);
/* Removes a folder and what is in it; nothing if it is not there. */
void fuzz_remove(const char *path);
/* The bytes as a text: NUL-terminated, '/' as '_', so that its paths stay in the folder. free() it. */
char *fuzz_text(const uint8_t *data, size_t bytes);

/* An .npy file of up to 256 bytes: a type of one byte, or '<f2'; `shape` as in Python. free() it. */
uint8_t *fuzz_array(size_t *out_bytes, const char *type, const char *shape, const void *data,
                    size_t bytes);
/* A picture of 2 x 2, which is a label map, too. */
const char *fuzz_picture(const char *name);

typedef struct {
    const char *name;
    const void *data;
    size_t bytes;
} fuzz_member;
/* A zip archive of stored files. */
const char *fuzz_zip(const char *name, const fuzz_member *members, int count);

/* The images of a file: counted, read, looked at. */
void fuzz_volumes(const char *path);
/* And as networks take them, as a label map, which is written and read again, and as a dataset. */
void fuzz_image(const char *path);
/* A weights file: opened, every array read, taken into a small transformer. */
void fuzz_weights(const char *path);

/* A safetensors file from the text of its header: zeros for as many bytes as its arrays end at, and a right checksum where it has one. free() it;
 * NULL if that is no JSON, or wants more than 64 KiB. */
uint8_t *fuzz_from_header(size_t *out_bytes, const uint8_t *header, size_t bytes);

#endif
