/* SPDX-License-Identifier: Apache-2.0 */
/* PNG files as 2D volumes. libpng leaves its functions by longjmp: everything it may interrupt lives in `job`. */
#include "lib/data/volume.h"

#include <errno.h>
#include <png.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const pumit_context *ctx;
    const char *path;
    int64_t file_bytes;
    FILE *file;
    png_structp png;
    png_infop info;
    uint8_t *bytes; /* (height, row_bytes) */
    png_bytep *rows;
    int64_t height, width, channels, depth; /* depth: bits of a sample */
    char message[200];
} job;

bool pumit__png_lacks_memory(const char *message)
{
    return strcasestr(message, "memory") != NULL;
}

static void on_error(png_structp png, png_const_charp message)
{
    job *j = png_get_error_ptr(png);
    snprintf(j->message, sizeof j->message, "%s", message);
    png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp message)
{
    (void)png;
    (void)message;
}

/* Palettes become RGB, fewer bits 8, alpha goes. */
static void choose_layout(job *j)
{
    png_set_palette_to_rgb(j->png);
    png_set_expand_gray_1_2_4_to_8(j->png);
    png_set_strip_alpha(j->png);
    png_set_interlace_handling(j->png);
    png_read_update_info(j->png, j->info);
    j->height = png_get_image_height(j->png, j->info);
    j->width = png_get_image_width(j->png, j->info);
    j->channels = png_get_channels(j->png, j->info);
    j->depth = png_get_bit_depth(j->png, j->info);
}

static pumit_status allocate_rows(job *j)
{
    const int64_t size[3] = {1, j->height, j->width};
    int64_t count;
    PUMIT__TRY(pumit__check_voxels(&count, j->ctx, size, j->channels, j->path));
    if (j->channels != 1 && j->channels != 3)
        return pumit__fail(PUMIT_ERROR_INTERNAL, "%s: %lld channels", j->path,
                           (long long)j->channels);
    /* Rows of as little as one bit a pixel, deflated by at most 1032. */
    if (j->height * ((j->width + 7) / 8) / 1100 > j->file_bytes)
        return pumit__fail(
            PUMIT_ERROR_FORMAT, "%s: is truncated: %lld x %lld pixels do not fit into %lld bytes",
            j->path, (long long)j->width, (long long)j->height, (long long)j->file_bytes);
    PUMIT__TRY(pumit__check_ratio(count, j->ctx, j->file_bytes, j->path));
    const int64_t row_bytes = j->width * j->channels * j->depth / 8;
    j->bytes = pumit__calloc(j->height, row_bytes);
    j->rows = pumit__calloc(j->height, sizeof *j->rows);
    if (!j->bytes || !j->rows) return pumit__fail_memory(j->height * row_bytes, j->path);
    for (int64_t y = 0; y < j->height; y++) j->rows[y] = j->bytes + y * row_bytes;
    return PUMIT_OK;
}

static pumit_status fail_decoding(const job *j)
{
    if (pumit__png_lacks_memory(j->message))
        return pumit__fail(PUMIT_ERROR_OUT_OF_MEMORY, "%s: out of memory", j->path);
    return pumit__fail(PUMIT_ERROR_FORMAT, "%s: is a damaged or truncated PNG (%s); copy it again",
                       j->path, j->message);
}

static pumit_status decode(job *j)
{
    j->png = png_create_read_struct(PNG_LIBPNG_VER_STRING, j, on_error, on_warning);
    j->info = j->png ? png_create_info_struct(j->png) : NULL;
    if (!j->info) return pumit__fail_memory(0, "the PNG decoder");
    if (setjmp(png_jmpbuf(j->png))) return fail_decoding(j);
    png_init_io(j->png, j->file);
    png_read_info(j->png, j->info);
    choose_layout(j);
    PUMIT__TRY(allocate_rows(j));
    png_read_image(j->png, j->rows);
    png_read_end(j->png, NULL);
    return PUMIT_OK;
}

static pumit_status make_volume(pumit_volume **out, const job *j)
{
    const int64_t count = j->height * j->width * j->channels;
    /* Colours of 16 bits go to 0..255 with the fraction kept; gray of 16 bits may be any measure. */
    const bool fine_colour = j->depth == 16 && j->channels == 3;
    pumit__image image = {.size = {1, j->height, j->width},
                          .channels = j->channels,
                          .axes = {2, 1, 0},
                          .flat = true,
                          .eight_bit = j->depth == 8 || fine_colour};
    image.voxels = pumit__calloc(count, sizeof(float));
    if (!image.voxels) return pumit__fail_memory(count * 4, j->path);
    const bool little_endian = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__;
    pumit__elements_to_float(image.voxels, j->bytes, count,
                             j->depth == 16 ? PUMIT__ELEMENT_U16 : PUMIT__ELEMENT_U8,
                             j->depth == 16 && little_endian, fine_colour ? 1.0 / 257 : 1, 0);
    const pumit_status status = pumit__volume_adopt(out, &image);
    free(image.voxels);
    return status;
}

pumit_status pumit__png_read(pumit_volume **out, const pumit_context *ctx,
                             const pumit__sniffed *file)
{
    job j = {.ctx = ctx, .path = file->path, .file_bytes = file->file_bytes};
    j.file = fopen(file->path, "rbe");
    if (!j.file)
        return pumit__fail(pumit__status_of_errno(errno), "%s: cannot read: %s", file->path,
                           strerror(errno));
    pumit_status status = decode(&j);
    if (status == PUMIT_OK) status = make_volume(out, &j);
    png_destroy_read_struct(&j.png, &j.info, NULL);
    fclose(j.file);
    free(j.rows);
    free(j.bytes);
    return status;
}
