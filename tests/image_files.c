/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/image_files.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <png.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <turbojpeg.h>
#include <unistd.h>
#include <zip.h>
#include <zlib.h>

pumit_context *files_context;
int files_logged;
char files_log[512];

static char folder[64];
static int watch = -1, kept_out = -1, kept_err = -1;

/* ----------------------------------------------------------------------------------------- fixture */

static void gather_log(void *user, int32_t level, const char *message)
{
    (void)user;
    (void)level;
    files_logged++;
    snprintf(files_log, sizeof files_log, "%s", message);
}

/* From here to teardown everything printed lands in a file that must stay empty. */
static void start_watch(void)
{
    fflush(NULL);
    watch = open(files_path(".printed"), O_RDWR | O_CREAT | O_TRUNC, 0600);
    ck_assert_int_ge(watch, 0);
    kept_out = dup(1);
    kept_err = dup(2);
    ck_assert(dup2(watch, 1) == 1 && dup2(watch, 2) == 2);
}

static void stop_watch(void)
{
    struct stat info;
    fflush(NULL);
    ck_assert(dup2(kept_out, 1) == 1 && dup2(kept_err, 2) == 2);
    close(kept_out);
    close(kept_err);
    ck_assert_int_eq(fstat(watch, &info), 0);
    close(watch);
    ck_assert_msg(info.st_size == 0, "the library printed %ld bytes", (long)info.st_size);
}

void files_setup(void)
{
    snprintf(folder, sizeof folder, "/tmp/pumit-test-images-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    files_logged = 0;
    files_log[0] = '\0';
    CHECK_OK(pumit_context_create(&files_context, NULL));
    pumit_context_set_log(files_context, gather_log, NULL);
    start_watch();
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *place)
{
    (void)info;
    (void)kind;
    (void)place;
    return remove(path);
}

void files_teardown(void)
{
    stop_watch();
    pumit_context_release(files_context);
    nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* ------------------------------------------------------------------------------------------- files */

const char *files_path(const char *name)
{
    static char buffers[8][256];
    static int next;
    char *buffer = buffers[next++ % 8];
    snprintf(buffer, sizeof buffers[0], "%s/%s", folder, name);
    return buffer;
}

void files_folder(const char *name)
{
    ck_assert_int_eq(mkdir(files_path(name), 0700), 0);
}

void files_write(const char *name, const void *data, size_t bytes)
{
    FILE *f = fopen(files_path(name), "wb");
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fwrite(data, 1, bytes, f), bytes);
    ck_assert_int_eq(fclose(f), 0);
}

void files_write_gzip(const char *name, const void *data, size_t bytes)
{
    gzFile f = gzopen(files_path(name), "wb");
    ck_assert_ptr_nonnull(f);
    ck_assert_int_eq(gzwrite(f, data, (unsigned)bytes), (int)bytes);
    ck_assert_int_eq(gzclose(f), Z_OK);
}

uint8_t *files_read(const char *name, size_t *bytes)
{
    FILE *f = fopen(files_path(name), "rb");
    ck_assert_ptr_nonnull(f);
    ck_assert_int_eq(fseek(f, 0, SEEK_END), 0);
    *bytes = (size_t)ftell(f);
    rewind(f);
    uint8_t *data = malloc(*bytes + 1);
    ck_assert_uint_eq(fread(data, 1, *bytes, f), *bytes);
    fclose(f);
    return data;
}

void files_check_failed(pumit_status got, pumit_status status, const char *name, const char *part)
{
    const char *message = pumit_last_error();
    ck_assert_msg(got == status, "%s: %s, not %s: %s", name, pumit_status_name(got),
                  pumit_status_name(status), message);
    ck_assert_msg(strstr(message, name) && strstr(message, part) && !strchr(message, '\n'),
                  "\"%s\" does not name %s and \"%s\"", message, name, part);
}

/* ------------------------------------------------------------------------------------------- NIfTI */

typedef struct {
    uint8_t bytes[544];
    bool big_endian;
} header;

/* `width` bytes of `value` at `at`. */
static void put(header *h, int at, uint64_t value, int width)
{
    for (int i = 0; i < width; i++)
        h->bytes[at + (h->big_endian ? width - 1 - i : i)] = (uint8_t)(value >> (8 * i));
}

static void put_real(header *h, int at, double value, int width)
{
    const float narrow = (float)value;
    uint32_t bits32;
    uint64_t bits64;
    memcpy(&bits32, &narrow, sizeof bits32);
    memcpy(&bits64, &value, sizeof bits64);
    put(h, at, width == 4 ? bits32 : bits64, width);
}

static size_t header_1(header *h, const nifti_file *f)
{
    put(h, 0, 348, 4);
    for (int i = 0; i < 8; i++) {
        put(h, 40 + 2 * i, (uint64_t)f->dim[i], 2);
        put_real(h, 76 + 4 * i, f->pixdim[i], 4);
    }
    put(h, 70, (uint64_t)f->datatype, 2);
    put(h, 72, (uint64_t)f->bitpix, 2);
    put_real(h, 108, f->offset >= 0 ? f->offset : f->pair ? 0 : 352, 4);
    put_real(h, 112, f->slope, 4);
    put_real(h, 116, f->inter, 4);
    put(h, 123, (uint64_t)f->units, 1);
    put(h, 252, (uint64_t)f->qform, 2);
    put(h, 254, (uint64_t)f->sform, 2);
    for (int i = 0; i < 3; i++) {
        put_real(h, 256 + 4 * i, f->quatern[i], 4);
        put_real(h, 268 + 4 * i, f->origin[i], 4);
    }
    for (int i = 0; i < 12; i++) put_real(h, 280 + 4 * i, f->rows[i], 4);
    if (!f->no_magic) memcpy(h->bytes + 344, f->pair ? "ni1" : "n+1", 4);
    return f->pair ? 348 : 352;
}

static size_t header_2(header *h, const nifti_file *f)
{
    put(h, 0, 540, 4);
    if (!f->no_magic) memcpy(h->bytes + 4, f->pair ? "ni2\0\r\n\032\n" : "n+2\0\r\n\032\n", 8);
    put(h, 12, (uint64_t)f->datatype, 2);
    put(h, 14, (uint64_t)f->bitpix, 2);
    for (int i = 0; i < 8; i++) {
        put(h, 16 + 8 * i, (uint64_t)f->dim[i], 8);
        put_real(h, 104 + 8 * i, f->pixdim[i], 8);
    }
    put(h, 168, (uint64_t)(f->offset >= 0 ? f->offset : f->pair ? 0 : 544), 8);
    put_real(h, 176, f->slope, 8);
    put_real(h, 184, f->inter, 8);
    put(h, 344, (uint64_t)f->qform, 4);
    put(h, 348, (uint64_t)f->sform, 4);
    for (int i = 0; i < 3; i++) {
        put_real(h, 352 + 8 * i, f->quatern[i], 8);
        put_real(h, 376 + 8 * i, f->origin[i], 8);
    }
    for (int i = 0; i < 12; i++) put_real(h, 400 + 8 * i, f->rows[i], 8);
    put(h, 500, (uint64_t)f->units, 4);
    return f->pair ? 540 : 544;
}

static void write_bytes(const char *name, const nifti_file *f, const void *data, size_t bytes)
{
    if (f->gzip)
        files_write_gzip(name, data, bytes);
    else
        files_write(name, data, bytes);
}

static void copy_voxels(uint8_t *dst, const uint8_t *src, size_t count, size_t width, bool swap)
{
    for (size_t i = 0; i < count * width; i++)
        dst[i] = src[swap ? i - i % width + width - 1 - i % width : i];
}

nifti_file nifti_plain(int datatype, int bitpix, int64_t ni, int64_t nj, int64_t nk)
{
    return (nifti_file){.version = 1,
                        .datatype = datatype,
                        .bitpix = bitpix,
                        .dim = {3, ni, nj, nk, 1, 1, 1, 1},
                        .pixdim = {1, 1, 1, 1, 1, 1, 1, 1},
                        .offset = -1};
}

void nifti_write(const char *name, const nifti_file *f, const void *data, size_t count,
                 size_t width)
{
    header h = {.big_endian = f->big_endian};
    const size_t head = f->version == 1 ? header_1(&h, f) : header_2(&h, f);
    const size_t bytes = count * width;
    uint8_t *file = malloc(head + bytes + 1);
    memcpy(file, h.bytes, head);
    const bool here_big = __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__;
    copy_voxels(file + head, data, count, width, f->big_endian != here_big);
    if (f->pair) {
        char half[128];
        snprintf(half, sizeof half, "%s.hdr%s", name, f->gzip ? ".gz" : "");
        write_bytes(half, f, file, head);
        snprintf(half, sizeof half, "%s.img%s", name, f->gzip ? ".gz" : "");
        write_bytes(half, f, file + head, bytes - f->cut);
    } else {
        write_bytes(name, f, file, head + bytes - f->cut);
    }
    free(file);
}

/* ---------------------------------------------------------------------------------------- pictures */

void png_write(const char *name, int width, int height, int depth, int colour_type, bool interlaced,
               const uint8_t *rows)
{
    static const int samples[] = {1, 0, 3, 1, 2, 0, 4};
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    FILE *f = fopen(files_path(name), "wb");
    const size_t stride = ((size_t)width * (size_t)(samples[colour_type] * depth) + 7) / 8;
    png_bytep pointers[64];
    ck_assert(f && height <= 64 && !setjmp(png_jmpbuf(png)));
    png_init_io(png, f);
    png_set_IHDR(png, info, (png_uint_32)width, (png_uint_32)height, depth, colour_type,
                 interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_BASE,
                 PNG_FILTER_TYPE_BASE);
    if (colour_type == PNG_COLOR_TYPE_PALETTE) {
        const png_color palette[4] = {{10, 20, 30}, {40, 50, 60}, {70, 80, 90}, {250, 0, 7}};
        const png_byte alpha[2] = {0, 128};
        png_set_PLTE(png, info, palette, 4);
        png_set_tRNS(png, info, alpha, 2, NULL);
    }
    for (int y = 0; y < height; y++)
        pointers[y] = (png_bytep)(uintptr_t)(rows + stride * (size_t)y);
    png_write_info(png, info);
    png_write_image(png, pointers);
    png_write_end(png, info);
    png_destroy_write_struct(&png, &info);
    fclose(f);
}

void jpeg_write(const char *name, int width, int height, int channels, const uint8_t *pixels)
{
    tjhandle encoder = tjInitCompress();
    unsigned char *file = NULL;
    unsigned long bytes = 0;
    ck_assert_int_eq(tjCompress2(encoder, pixels, width, 0, height,
                                 channels == 1 ? TJPF_GRAY : TJPF_RGB, &file, &bytes,
                                 channels == 1 ? TJSAMP_GRAY : TJSAMP_444, 100, 0),
                     0);
    files_write(name, file, bytes);
    tjFree(file);
    tjDestroy(encoder);
}

/* --------------------------------------------------------------------------------------------- npz */

static void *npy_bytes(const npz_member *member, size_t *bytes)
{
    const size_t text = strlen(member->dictionary) + 1, head = (10 + text + 63) / 64 * 64;
    uint8_t *file = malloc(head + member->bytes);
    memset(file, ' ', head);
    memcpy(file, "\x93NUMPY\1\0", 8);
    file[8] = (uint8_t)((head - 10) & 255);
    file[9] = (uint8_t)((head - 10) >> 8);
    memcpy(file + 10, member->dictionary, text - 1);
    file[head - 1] = '\n';
    if (member->bytes) memcpy(file + head, member->data, member->bytes);
    *bytes = head + member->bytes;
    return file;
}

void npz_write(const char *name, const npz_member *members, int count, bool stored)
{
    zip_t *archive = zip_open(files_path(name), ZIP_CREATE | ZIP_TRUNCATE, NULL);
    ck_assert_ptr_nonnull(archive);
    for (int i = 0; i < count; i++) {
        char member[64];
        size_t bytes;
        void *data = npy_bytes(&members[i], &bytes);
        snprintf(member, sizeof member, "%s.npy", members[i].key);
        zip_source_t *source = zip_source_buffer(archive, data, bytes, 1);
        ck_assert(source && zip_file_add(archive, member, source, 0) >= 0);
        ck_assert_int_eq(zip_set_file_compression(archive, (zip_uint64_t)i,
                                                  stored ? ZIP_CM_STORE : ZIP_CM_DEFLATE, 0),
                         0);
    }
    ck_assert_int_eq(zip_close(archive), 0);
}
