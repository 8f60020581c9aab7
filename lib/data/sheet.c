/* SPDX-License-Identifier: Apache-2.0 */
/* Contact sheets: images side by side in one PNG, with a gap between them. */
#include "lib/data/volume.h"

#include <errno.h>
#include <math.h>
#include <png.h>
#include <stdlib.h>
#include <string.h>

#define GAP       2  /* pixels between tiles */
#define GAP_LEVEL 48 /* and their gray */

typedef struct {
    int64_t tiles, height, width, channels, columns, rows;
    int64_t sheet_height, sheet_width;
    float *values;  /* (tiles, height, width, channels) */
    uint8_t *bytes; /* (sheet_height, sheet_width, channels) */
} sheet;

static pumit_status choose_layout(sheet *s, const pumit_tensor *images, int32_t columns)
{
    const int64_t *shape = pumit_tensor_shape(images);
    const int32_t ndim = pumit_tensor_ndim(images);
    if (ndim != 4 && !(ndim == 5 && shape[0] == 1))
        return pumit__fail(PUMIT_ERROR_SHAPE,
                           "a PNG sheet needs (N, H, W, C) or (D, H, W, C), not %d dimensions",
                           (int)ndim);
    shape += ndim - 4;
    if (shape[0] < 1 || shape[1] < 1 || shape[2] < 1 || (shape[3] != 1 && shape[3] != 3))
        return pumit__fail(PUMIT_ERROR_SHAPE,
                           "a PNG sheet needs images of 1 or 3 channels, not (%lld, %lld, %lld, "
                           "%lld)",
                           (long long)shape[0], (long long)shape[1], (long long)shape[2],
                           (long long)shape[3]);
    s->tiles = shape[0], s->height = shape[1], s->width = shape[2], s->channels = shape[3];
    const double square = sqrt((double)s->tiles * (double)s->height / (double)s->width);
    const int64_t wanted = columns > 0 ? columns : (int64_t)ceil(square - 1e-9);
    s->columns = wanted < 1 ? 1 : wanted > s->tiles ? s->tiles : wanted;
    s->rows = (s->tiles + s->columns - 1) / s->columns;
    s->sheet_width = s->columns * (s->width + GAP) - GAP;
    s->sheet_height = s->rows * (s->height + GAP) - GAP;
    if (s->sheet_width > 1000000 || s->sheet_height > 1000000)
        return pumit__fail(PUMIT_ERROR_LIMIT, "a PNG sheet of %lld x %lld pixels is too large",
                           (long long)s->sheet_width, (long long)s->sheet_height);
    return PUMIT_OK;
}

uint8_t pumit__pixel(float value)
{
    return !(value > 0) ? 0 : value < 1 ? (uint8_t)lrintf(value * 255) : 255;
}

static void paste_tile(sheet *s, int64_t tile)
{
    const int64_t run = s->width * s->channels;
    const int64_t left = tile % s->columns * (s->width + GAP);
    const int64_t top = tile / s->columns * (s->height + GAP);
    for (int64_t y = 0; y < s->height; y++) {
        const float *src = s->values + (tile * s->height + y) * run;
        uint8_t *dst = s->bytes + ((top + y) * s->sheet_width + left) * s->channels;
        for (int64_t i = 0; i < run; i++) dst[i] = pumit__pixel(src[i]);
    }
}

static pumit_status compose(sheet *s, const pumit_tensor *images)
{
    const int64_t bytes = s->sheet_height * s->sheet_width * s->channels;
    const int64_t value_bytes = pumit_tensor_count(images) * (int64_t)sizeof(float);
    s->values = pumit__calloc(value_bytes, 1);
    s->bytes = pumit__calloc(bytes, 1);
    if (!s->values || !s->bytes) return pumit__fail_memory(bytes, "a PNG sheet");
    PUMIT__TRY(pumit_tensor_read(images, PUMIT_F32, s->values, value_bytes));
    memset(s->bytes, GAP_LEVEL, (size_t)bytes);
    for (int64_t tile = 0; tile < s->tiles; tile++) paste_tile(s, tile);
    return PUMIT_OK;
}

/* libpng leaves its functions by longjmp: what it may interrupt lives here. */
typedef struct {
    png_structp png;
    png_infop info;
    char message[200];
} encoder;

static void on_error(png_structp png, png_const_charp message)
{
    encoder *e = png_get_error_ptr(png);
    snprintf(e->message, sizeof e->message, "%s", message);
    png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp message)
{
    (void)png;
    (void)message;
}

/* Of a full disk the encoder says "Write Error". */
static pumit_status fail_encoding(const encoder *e, FILE *file, const char *path)
{
    const bool memory = pumit__png_lacks_memory(e->message);
    return pumit__fail(memory ? PUMIT_ERROR_OUT_OF_MEMORY : PUMIT_ERROR_IO, "%s: cannot write: %s",
                       path, ferror(file) ? strerror(errno) : e->message);
}

static pumit_status encode(encoder *e, FILE *file, const char *path, const uint8_t *pixels,
                           const int64_t size[3])
{
    e->png = png_create_write_struct(PNG_LIBPNG_VER_STRING, e, on_error, on_warning);
    e->info = e->png ? png_create_info_struct(e->png) : NULL;
    if (!e->info) return pumit__fail_memory(0, "the PNG encoder");
    if (setjmp(png_jmpbuf(e->png))) return fail_encoding(e, file, path);
    png_init_io(e->png, file);
    png_set_IHDR(e->png, e->info, (png_uint_32)size[1], (png_uint_32)size[0], 8,
                 size[2] == 3 ? PNG_COLOR_TYPE_RGB : PNG_COLOR_TYPE_GRAY, PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_write_info(e->png, e->info);
    for (int64_t y = 0; y < size[0]; y++) png_write_row(e->png, pixels + y * size[1] * size[2]);
    png_write_end(e->png, NULL);
    return PUMIT_OK;
}

pumit_status pumit__png_write(const char *path, const uint8_t *pixels, const int64_t size[3])
{
    encoder e = {0};
    pumit__atomic_file file = {0};
    pumit_status status;
    PUMIT__GO(pumit__atomic_open(&file, path));
    PUMIT__GO(encode(&e, file.file, path, pixels, size));
    PUMIT__GO(pumit__atomic_commit(&file));
out:
    png_destroy_write_struct(&e.png, &e.info);
    pumit__atomic_close(&file);
    return status;
}

pumit_status pumit_write_png_sheet(const char *path, const pumit_tensor *images, int32_t columns)
{
    PUMIT__REQUIRE(path && images, "pumit_write_png_sheet: an argument is NULL");
    PUMIT__REQUIRE(columns >= 0, "pumit_write_png_sheet: %d columns", (int)columns);
    sheet s = {0};
    pumit_status status;
    PUMIT__GO(choose_layout(&s, images, columns));
    PUMIT__GO(compose(&s, images));
    const int64_t size[] = {s.sheet_height, s.sheet_width, s.channels};
    status = pumit__png_write(path, s.bytes, size);
out:
    free(s.values);
    free(s.bytes);
    return status;
}
