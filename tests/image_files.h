/* SPDX-License-Identifier: Apache-2.0 */
/* Image files for tests, written byte by byte and not with the libraries that read them where that is easy. */
#ifndef PUMIT_TESTS_IMAGE_FILES_H
#define PUMIT_TESTS_IMAGE_FILES_H

#include <pumit/dataset.h>

#include <check.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CHECK_OK(call) ck_assert_msg((call) == PUMIT_OK, "%s", pumit_last_error())

/* Fixture: a folder of its own, a context that gathers its log, and a watch on stdout and stderr. */
void files_setup(void);
void files_teardown(void);

extern pumit_context *files_context;
extern int files_logged;    /* messages so far */
extern char files_log[512]; /* the last one */

/* Full path of a name in the test's folder; one of eight static buffers. */
const char *files_path(const char *name);
void files_folder(const char *name);
void files_write(const char *name, const void *data, size_t bytes);
void files_write_gzip(const char *name, const void *data, size_t bytes);
/* The whole file; free() it. */
uint8_t *files_read(const char *name, size_t *bytes);

/* Fails unless the call failed with `status`, in one line that names the file and holds `part`. */
void files_check_failed(pumit_status got, pumit_status status, const char *name, const char *part);

typedef struct {
    int version; /* 1 or 2 */
    bool big_endian, gzip, pair;
    int datatype, bitpix;
    int64_t dim[8];
    double pixdim[8], slope, inter, offset; /* offset < 0: the usual one */
    int qform, sform, units;
    double quatern[3], origin[3], rows[12];
    size_t cut; /* bytes to leave out at the end */
    bool no_magic;
} nifti_file;

/* A file of three dimensions, 1 mm, no transforms. */
nifti_file nifti_plain(int datatype, int bitpix, int64_t ni, int64_t nj, int64_t nk);
/* `data`: `count` elements of `width` bytes of this machine's order. A pair writes name.hdr and name.img. */
void nifti_write(const char *name, const nifti_file *file, const void *data, size_t count,
                 size_t width);

/* PNG of `depth` bits; colour_type as in the format; `rows` packed as the format wants them, big-endian. */
void png_write(const char *name, int width, int height, int depth, int colour_type, bool interlaced,
               const uint8_t *rows);
void jpeg_write(const char *name, int width, int height, int channels, const uint8_t *pixels);

/* An .npy file in memory, its dictionary as given. */
typedef struct {
    const char *key, *dictionary;
    const void *data;
    size_t bytes;
} npz_member;
/* `stored`: not compressed. */
void npz_write(const char *name, const npz_member *members, int count, bool stored);

#endif
