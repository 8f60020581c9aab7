/* SPDX-License-Identifier: Apache-2.0 */
/* TIFF files as pictures, or as volumes of 1 mm cubes if they have several pages. Gray keeps its depth, everything else becomes 8-bit RGB. */
#include "lib/data/volume.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <tiffio.h>
#include <unistd.h>

#define MOST_PAGES 65536
/* Bytes of pixels for a byte of file: no compression in use does better. */
#define MOST_RATIO 4096
#define MOST_BLOCK (INT64_C(1) << 31) /* bytes that the decoder may ask for at once */

/* What all pages have in common. */
typedef struct {
    uint32_t height, width;
    uint16_t samples, bits, format, photometric, planes;
} layout;

typedef struct {
    TIFF *tiff;
    const char *path;
    layout page;
    pumit__element kind;   /* of gray that is read as it is; NONE: everything else */
    int64_t pages, pixels; /* pixels: of a page */
    char message[200];     /* the first error */
} job;

/* 1: told, so that the library's default handlers stay silent. */
static int on_error(TIFF *tiff, void *user, const char *module, const char *format, va_list list)
{
    job *j = user;
    (void)tiff;
    (void)module;
    if (!*j->message) vsnprintf(j->message, sizeof j->message, format, list);
    return 1;
}

static int on_warning(TIFF *tiff, void *user, const char *module, const char *format, va_list list)
{
    (void)tiff;
    (void)user;
    (void)module;
    (void)format;
    (void)list;
    return 1;
}

static pumit_status fail_decoding(const job *j)
{
    return pumit__fail(
        PUMIT_ERROR_FORMAT,
        "%s: is a damaged or truncated TIFF, or of a kind that libtiff does not read "
        "(%s)",
        j->path, *j->message ? j->message : "no reason is given");
}

static pumit_status open_file(job *j)
{
    const int fd = TEMP_FAILURE_RETRY(open(j->path, O_RDONLY | O_CLOEXEC));
    if (fd < 0)
        return pumit__fail(pumit__status_of_errno(errno), "%s: cannot read: %s", j->path,
                           strerror(errno));
    TIFFOpenOptions *options = TIFFOpenOptionsAlloc();
    if (options) {
        TIFFOpenOptionsSetErrorHandlerExtR(options, on_error, j);
        TIFFOpenOptionsSetWarningHandlerExtR(options, on_warning, j);
        TIFFOpenOptionsSetMaxSingleMemAlloc(options, MOST_BLOCK);
        /* m: not mapped, as a file that is cut short meanwhile would end the process */
        j->tiff = TIFFFdOpenExt(fd, j->path, "rm", options);
        TIFFOpenOptionsFree(options);
    }
    if (j->tiff) return PUMIT_OK;
    close(fd);
    return options ? fail_decoding(j) : pumit__fail_memory(0, "the TIFF decoder");
}

static layout layout_of(TIFF *tiff)
{
    layout l;
    memset(&l, 0, sizeof l); /* compared by memcmp() */
    TIFFGetField(tiff, TIFFTAG_IMAGEWIDTH, &l.width);
    TIFFGetField(tiff, TIFFTAG_IMAGELENGTH, &l.height);
    TIFFGetFieldDefaulted(tiff, TIFFTAG_SAMPLESPERPIXEL, &l.samples);
    TIFFGetFieldDefaulted(tiff, TIFFTAG_BITSPERSAMPLE, &l.bits);
    TIFFGetFieldDefaulted(tiff, TIFFTAG_SAMPLEFORMAT, &l.format);
    TIFFGetFieldDefaulted(tiff, TIFFTAG_PLANARCONFIG, &l.planes);
    TIFFGetField(tiff, TIFFTAG_PHOTOMETRIC, &l.photometric);
    return l;
}

/* Previews and masks are no pages. */
static bool is_page(TIFF *tiff)
{
    uint32_t kind = 0;
    TIFFGetField(tiff, TIFFTAG_SUBFILETYPE, &kind);
    return (kind & (FILETYPE_REDUCEDIMAGE | FILETYPE_MASK)) == 0;
}

static pumit__element kind_of(const layout *l)
{
    static const struct {
        uint16_t bits, format;
        pumit__element kind;
    } kinds[] = {
        {8, SAMPLEFORMAT_UINT, PUMIT__ELEMENT_U8},    {16, SAMPLEFORMAT_UINT, PUMIT__ELEMENT_U16},
        {16, SAMPLEFORMAT_INT, PUMIT__ELEMENT_I16},   {32, SAMPLEFORMAT_UINT, PUMIT__ELEMENT_U32},
        {32, SAMPLEFORMAT_INT, PUMIT__ELEMENT_I32},   {32, SAMPLEFORMAT_IEEEFP, PUMIT__ELEMENT_F32},
        {64, SAMPLEFORMAT_IEEEFP, PUMIT__ELEMENT_F64}};
    if (l->photometric != PHOTOMETRIC_MINISBLACK && l->photometric != PHOTOMETRIC_MINISWHITE)
        return PUMIT__ELEMENT_NONE;
    for (int64_t i = 0; i < PUMIT__COUNT(kinds); i++)
        if (kinds[i].bits == l->bits && kinds[i].format == l->format) return kinds[i].kind;
    return PUMIT__ELEMENT_NONE;
}

/* Counts the pages, all of one layout. */
static pumit_status read_pages(job *j)
{
    do {
        if (!is_page(j->tiff)) continue;
        const layout l = layout_of(j->tiff);
        if (j->pages == 0) j->page = l;
        if (memcmp(&l, &j->page, sizeof l) != 0)
            return pumit__fail(PUMIT_ERROR_UNSUPPORTED,
                               "%s: its pages differ in size or kind; save them one by one",
                               j->path);
        if (++j->pages > MOST_PAGES)
            return pumit__fail(PUMIT_ERROR_LIMIT, "%s: has more than %d pages", j->path,
                               MOST_PAGES);
    } while (TIFFReadDirectory(j->tiff));
    if (j->pages == 0 || *j->message) return fail_decoding(j);
    j->kind = kind_of(&j->page);
    return PUMIT_OK;
}

static bool is_gray(const job *j)
{
    return j->page.photometric == PHOTOMETRIC_MINISBLACK ||
           j->page.photometric == PHOTOMETRIC_MINISWHITE;
}

static pumit_status check_sizes(job *j, int64_t *count, const pumit_context *ctx,
                                const pumit__sniffed *file, pumit__image *image)
{
    *image =
        (pumit__image){.size = {j->pages, j->page.height, j->page.width},
                       .channels = is_gray(j) ? 1 : 3,
                       .axes = {2, 1, 0},
                       .flat = j->pages == 1,
                       .eight_bit = j->kind == PUMIT__ELEMENT_NONE || j->kind == PUMIT__ELEMENT_U8};
    image->affine[2] = image->affine[5] = image->affine[8] = image->affine[15] = 1;
    PUMIT__TRY(pumit__check_voxels(count, ctx, image->size, image->channels, j->path));
    j->pixels = image->size[1] * image->size[2];
    if (*count / 8 / MOST_RATIO > file->file_bytes || j->page.samples < 1)
        return pumit__fail(PUMIT_ERROR_FORMAT,
                           "%s: is truncated: %lld pages of %u x %u pixels do not fit into %lld "
                           "bytes",
                           j->path, (long long)j->pages, j->page.width, j->page.height,
                           (long long)file->file_bytes);
    return pumit__check_ratio(*count, ctx, file->file_bytes, j->path);
}

/* Strips and tiles alike: blocks of (rows, columns, stride) samples; the first sample of each pixel is the gray. */
typedef struct {
    uint32_t rows, columns;
    int64_t bytes, stride, width; /* stride: samples of a pixel; width: bytes of a sample */
    uint8_t *block;
    float *line; /* (columns, stride) */
} blocks;

static void place_block(float *dst, const job *j, const blocks *b, uint32_t y, uint32_t x)
{
    const uint32_t rows = j->page.height - y < b->rows ? j->page.height - y : b->rows;
    const uint32_t columns = j->page.width - x < b->columns ? j->page.width - x : b->columns;
    for (uint32_t r = 0; r < rows; r++) {
        float *to = dst + (int64_t)(y + r) * j->page.width + x;
        pumit__elements_to_float(b->line, b->block + (int64_t)r * b->columns * b->stride * b->width,
                                 columns * b->stride, j->kind, false, 1, 0);
        for (uint32_t c = 0; c < columns; c++) to[c] = b->line[c * b->stride];
    }
}

static bool read_block(const job *j, const blocks *b, bool tiled, uint32_t y, uint32_t x)
{
    if (tiled)
        return TIFFReadEncodedTile(j->tiff, TIFFComputeTile(j->tiff, x, y, 0, 0), b->block,
                                   b->bytes) == b->bytes;
    const uint32_t left = j->page.height - y;
    const int64_t bytes = left < b->rows ? b->bytes / b->rows * left : b->bytes;
    return TIFFReadEncodedStrip(j->tiff, TIFFComputeStrip(j->tiff, y, 0), b->block, bytes) == bytes;
}

static pumit_status read_blocks(float *dst, const job *j, blocks *b, bool tiled)
{
    const int64_t page = j->pixels * b->stride * b->width;
    int64_t samples;
    if (!b->rows || !b->columns || !pumit__multiply(&samples, b->rows, b->columns) ||
        !pumit__multiply(&samples, samples, b->stride) ||
        !pumit__multiply(&b->bytes, samples, b->width) || b->bytes > MOST_BLOCK ||
        b->bytes / 64 > page + (INT64_C(1) << 20))
        return pumit__fail(PUMIT_ERROR_FORMAT, "%s: has blocks of an absurd size", j->path);
    b->block = pumit__calloc(b->bytes, 1);
    b->line = pumit__calloc(b->columns * b->stride, sizeof *b->line);
    if (!b->block || !b->line) return pumit__fail_memory(b->bytes, j->path);
    for (uint32_t y = 0; y < j->page.height; y += b->rows) {
        for (uint32_t x = 0; x < j->page.width; x += b->columns) {
            if (!read_block(j, b, tiled, y, x)) return fail_decoding(j);
            place_block(dst, j, b, y, x);
            if (j->page.width - x <= b->columns) break;
        }
        if (j->page.height - y <= b->rows) break;
    }
    return PUMIT_OK;
}

/* White at 0 becomes black at 0, for types that have a largest value. */
static void invert(float *values, int64_t count, pumit__element kind)
{
    const float most = kind == PUMIT__ELEMENT_U8 ? 255 : kind == PUMIT__ELEMENT_U16 ? 65535 : 0;
    for (int64_t i = 0; i < count && most > 0; i++) values[i] = most - values[i];
}

static pumit_status read_gray(float *dst, const job *j)
{
    const bool tiled = TIFFIsTiled(j->tiff) != 0;
    blocks b = {.rows = j->page.height,
                .columns = j->page.width,
                .stride = j->page.planes == PLANARCONFIG_SEPARATE ? 1 : j->page.samples,
                .width = pumit__element_size(j->kind)};
    if (tiled) {
        TIFFGetField(j->tiff, TIFFTAG_TILELENGTH, &b.rows);
        TIFFGetField(j->tiff, TIFFTAG_TILEWIDTH, &b.columns);
    } else {
        TIFFGetFieldDefaulted(j->tiff, TIFFTAG_ROWSPERSTRIP, &b.rows);
        if (b.rows > j->page.height) b.rows = j->page.height;
    }
    const pumit_status status = read_blocks(dst, j, &b, tiled);
    free(b.block);
    free(b.line);
    if (status == PUMIT_OK && j->page.photometric == PHOTOMETRIC_MINISWHITE)
        invert(dst, j->pixels, j->kind);
    return status;
}

static pumit_status read_colour(float *dst, const job *j, int64_t channels)
{
    uint32_t *raster = pumit__calloc(j->pixels, sizeof *raster);
    if (!raster) return pumit__fail_memory(j->pixels * (int64_t)sizeof *raster, j->path);
    const bool read = TIFFReadRGBAImageOriented(j->tiff, j->page.width, j->page.height, raster,
                                                ORIENTATION_TOPLEFT, 1) != 0;
    for (int64_t i = 0; read && i < j->pixels; i++)
        for (int64_t c = 0; c < channels; c++)
            dst[i * channels + c] = (float)(raster[i] >> (8 * c) & 255u);
    free(raster);
    return read ? PUMIT_OK : fail_decoding(j);
}

static pumit_status read_voxels(pumit__image *image, const job *j)
{
    if (!TIFFSetDirectory(j->tiff, 0)) return fail_decoding(j);
    float *dst = image->voxels;
    int64_t page = 0;
    do {
        if (!is_page(j->tiff)) continue;
        PUMIT__TRY(j->kind != PUMIT__ELEMENT_NONE ? read_gray(dst, j)
                                                  : read_colour(dst, j, image->channels));
        dst += j->pixels * image->channels;
        page++;
    } while (page < j->pages && TIFFReadDirectory(j->tiff));
    return page == j->pages ? PUMIT_OK : fail_decoding(j);
}

pumit_status pumit__tiff_read(pumit_volume **out, const pumit_context *ctx,
                              const pumit__sniffed *file)
{
    job j = {.path = file->path};
    pumit__image image = {0};
    int64_t count;
    pumit_status status;
    PUMIT__GO(open_file(&j));
    PUMIT__GO(read_pages(&j));
    PUMIT__GO(check_sizes(&j, &count, ctx, file, &image));
    image.voxels = pumit__calloc(count, sizeof(float));
    if (!image.voxels) {
        status = pumit__fail_memory(count * (int64_t)sizeof(float), file->path);
        goto out;
    }
    PUMIT__GO(read_voxels(&image, &j));
    status = pumit__volume_adopt(out, &image);
out:
    if (j.tiff) TIFFClose(j.tiff);
    free(image.voxels);
    return status;
}
