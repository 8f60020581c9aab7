/* SPDX-License-Identifier: Apache-2.0 */
/* PNG and JPEG files, and the contact sheets that are written. */
#include "tests/image_files.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <tiffio.h>

static pumit_volume *read_volume(const char *name)
{
    pumit_volume *volume;
    CHECK_OK(pumit_volume_read(&volume, files_context, files_path(name), 0));
    return volume;
}

static void check_sizes(const int64_t *got, int64_t a, int64_t b, int64_t c, int64_t d)
{
    ck_assert_msg(got[0] == a && got[1] == b && got[2] == c && got[3] == d,
                  "(%ld, %ld, %ld, %ld), not (%ld, %ld, %ld, %ld)", (long)got[0], (long)got[1],
                  (long)got[2], (long)got[3], (long)a, (long)b, (long)c, (long)d);
}

static void check_voxels(const pumit_volume *volume, int64_t count, const float *wanted)
{
    for (int64_t i = 0; i < count; i++)
        ck_assert_msg(pumit_volume_voxels(volume)[i] == wanted[i], "voxel %d: %g, not %g", (int)i,
                      pumit_volume_voxels(volume)[i], wanted[i]);
}

START_TEST(png_of_every_kind_is_read)
{
    static const uint8_t gray[6] = {0, 50, 100, 150, 200, 255};
    static const uint8_t alpha[12] = {0, 9, 50, 9, 100, 9, 150, 9, 200, 9, 255, 9};
    static const uint8_t bits[2] = {0xa0, 0x40},
                         deep[12] = {0, 1, 1, 0, 255, 255, 0, 2, 3, 0, 0, 0};
    static const uint8_t palette[2] = {0x1b,
                                       0xe0}; /* 0 1 2 | 3 2 0: two bits each, rows of a byte */
    static const float gray_wanted[6] = {0, 50, 100, 150, 200, 255};
    static const float bits_wanted[6] = {255, 0, 255, 0, 255, 0};
    static const float deep_wanted[6] = {1, 256, 65535, 2, 768, 0};
    static const float palette_wanted[18] = {10,  20, 30, 40, 50, 60, 70, 80, 90,
                                             250, 0,  7,  70, 80, 90, 10, 20, 30};
    static const struct {
        int depth, colour_type, channels;
        const uint8_t *rows;
        const float *wanted;
    } cases[] = {{8, 0, 1, gray, gray_wanted},
                 {8, 4, 1, alpha, gray_wanted},
                 {1, 0, 1, bits, bits_wanted},
                 {16, 0, 1, deep, deep_wanted},
                 {2, 3, 3, palette, palette_wanted}};
    for (size_t i = 0; i < 2 * sizeof cases / sizeof *cases; i++) {
        const int n = (int)(i / 2);
        int64_t shape[4];
        png_write("a.png", 3, 2, cases[n].depth, cases[n].colour_type, i % 2, cases[n].rows);
        pumit_volume *volume = read_volume("a.png");
        pumit_volume_shape(volume, shape);
        check_sizes(shape, 1, 2, 3, cases[n].channels);
        check_voxels(volume, 6 * cases[n].channels, cases[n].wanted);
        ck_assert_int_eq(pumit_volume_anisotropy(volume), 5);
        pumit_volume_release(volume);
    }
}
END_TEST

/* RGB and RGBA, 8 and 16 bits: colours lie in 0..255, a fraction of 16 bits is kept. */
START_TEST(png_colours_are_read)
{
    for (int alpha = 0; alpha < 2; alpha++)
        for (int depth = 8; depth <= 16; depth += 8) {
            uint8_t rows[6 * 4 * 2];
            const int samples = 3 + alpha, width = depth / 8;
            for (int i = 0; i < 6 * samples * width; i++) rows[i] = (uint8_t)(40 * i + 7);
            png_write("a.png", 3, 2, depth, alpha ? 6 : 2, false, rows);
            pumit_volume *volume = read_volume("a.png");
            for (int i = 0; i < 18; i++) {
                const uint8_t *p = rows + (i / 3 * samples + i % 3) * width;
                const double wanted = depth == 8 ? p[0] : (p[0] * 256 + p[1]) / 257.0;
                ck_assert_double_eq_tol(pumit_volume_voxels(volume)[i], wanted, 1e-4);
            }
            pumit_volume_release(volume);
        }
}
END_TEST

START_TEST(jpeg_is_read)
{
    for (int channels = 1; channels <= 3; channels += 2) {
        uint8_t pixels[16 * 24 * 3];
        int64_t shape[4];
        for (int i = 0; i < 16 * 24 * channels; i++)
            pixels[i] = (uint8_t)(i % channels == 1 ? 200 - i / channels / 4 : i / channels / 2);
        jpeg_write("a.jpg", 24, 16, channels, pixels);
        pumit_volume *volume = read_volume("a.jpg");
        pumit_volume_shape(volume, shape);
        check_sizes(shape, 1, 16, 24, channels);
        for (int i = 0; i < 16 * 24 * channels; i++)
            ck_assert_msg(fabsf(pumit_volume_voxels(volume)[i] - (float)pixels[i]) <= 4, "pixel %d",
                          i);
        pumit_volume_release(volume);
    }
}
END_TEST

START_TEST(truncated_pictures_are_refused)
{
    uint8_t pixels[32 * 32 * 3];
    for (int i = 0; i < 32 * 32 * 3; i++) pixels[i] = (uint8_t)(i * i / 7);
    const char *const names[] = {"whole.png", "whole.jpg"};
    png_write("whole.png", 32, 32, 8, 2, false, pixels);
    jpeg_write("whole.jpg", 32, 32, 3, pixels);
    for (int k = 0; k < 2; k++) {
        size_t bytes;
        uint8_t *content = files_read(names[k], &bytes);
        for (size_t n = 1; n < bytes; n += n + bytes / 40 + 20 < bytes ? 1 + n / 40 : 1) {
            pumit_volume *volume;
            files_write("cut", content, n);
            files_check_failed(pumit_volume_read(&volume, files_context, files_path("cut"), 0),
                               PUMIT_ERROR_FORMAT, "cut", "");
        }
        free(content);
    }
}
END_TEST

/* A TIFF of `pages` pages, tiled if `tile` > 0; element n of the file's samples is `data` + n * width. */
static void tiff_write(const char *name, int width, int height, int pages, int samples, int bits,
                       int format, int photometric, int tile, const void *data)
{
    TIFF *tiff = TIFFOpen(files_path(name), "w");
    const int row = width * samples * bits / 8;
    const uint8_t *from = data;
    ck_assert_ptr_nonnull(tiff);
    for (int page = 0; page < pages; page++, from += row * height) {
        TIFFSetField(tiff, TIFFTAG_IMAGEWIDTH, width);
        TIFFSetField(tiff, TIFFTAG_IMAGELENGTH, height);
        TIFFSetField(tiff, TIFFTAG_SAMPLESPERPIXEL, samples);
        TIFFSetField(tiff, TIFFTAG_BITSPERSAMPLE, bits);
        TIFFSetField(tiff, TIFFTAG_SAMPLEFORMAT, format);
        TIFFSetField(tiff, TIFFTAG_PHOTOMETRIC, photometric);
        TIFFSetField(tiff, TIFFTAG_PLANARCONFIG, PLANARCONFIG_CONTIG);
        TIFFSetField(tiff, TIFFTAG_COMPRESSION, COMPRESSION_ADOBE_DEFLATE);
        if (tile > 0) {
            TIFFSetField(tiff, TIFFTAG_TILEWIDTH, tile);
            TIFFSetField(tiff, TIFFTAG_TILELENGTH, tile);
            uint8_t block[16 * 16 * 4];
            for (int y = 0; y < height; y += tile)
                for (int x = 0; x < width; x += tile) {
                    memset(block, 0, sizeof block);
                    for (int r = 0; r < tile && y + r < height; r++) {
                        const int left = width - x < tile ? width - x : tile;
                        memcpy(block + r * tile * bits / 8, from + (y + r) * row + x * bits / 8,
                               (size_t)(left * bits / 8));
                    }
                    ck_assert_int_gt(TIFFWriteTile(tiff, block, (uint32_t)x, (uint32_t)y, 0, 0), 0);
                }
        } else {
            TIFFSetField(tiff, TIFFTAG_ROWSPERSTRIP, 3);
            for (int y = 0; y < height; y++)
                ck_assert_int_eq(
                    TIFFWriteScanline(tiff, (void *)(uintptr_t)(from + y * row), (uint32_t)y, 0),
                    1);
        }
        ck_assert_int_eq(TIFFWriteDirectory(tiff), 1);
    }
    TIFFClose(tiff);
}

START_TEST(tiff_is_read)
{
    static float reals[3 * 20 * 18];
    static uint16_t wide[3 * 20 * 18];
    static uint8_t bytes[3 * 20 * 18];
    int64_t shape[4];
    double spacing[3];
    for (int i = 0; i < 3 * 20 * 18; i++) {
        reals[i] = (float)i - 70.5f;
        wide[i] = (uint16_t)(i * 57);
        bytes[i] = (uint8_t)i;
    }
    const int tile = _i ? 16 : 0;
    tiff_write("a.tif", 20, 18, 3, 1, 32, SAMPLEFORMAT_IEEEFP, PHOTOMETRIC_MINISBLACK, tile, reals);
    tiff_write("b.tif", 20, 18, 1, 1, 16, SAMPLEFORMAT_UINT, PHOTOMETRIC_MINISBLACK, tile, wide);
    tiff_write("c.tif", 20, 18, 1, 1, 8, SAMPLEFORMAT_UINT, PHOTOMETRIC_MINISWHITE, tile, bytes);
    tiff_write("d.tif", 20, 18, 1, 3, 8, SAMPLEFORMAT_UINT, PHOTOMETRIC_RGB, 0, bytes);
    pumit_volume *volume = read_volume("a.tif");
    pumit_volume_shape(volume, shape);
    pumit_volume_spacing(volume, spacing);
    check_sizes(shape, 3, 18, 20, 1);
    ck_assert(spacing[0] == 1 && spacing[1] == 1 && spacing[2] == 1);
    for (int i = 0; i < 3 * 18 * 20; i++) ck_assert(pumit_volume_voxels(volume)[i] == reals[i]);
    pumit_volume_release(volume);
    volume = read_volume("b.tif");
    pumit_volume_shape(volume, shape);
    check_sizes(shape, 1, 18, 20, 1);
    for (int i = 0; i < 18 * 20; i++) ck_assert(pumit_volume_voxels(volume)[i] == wide[i]);
    pumit_volume_release(volume);
    volume = read_volume("c.tif");
    for (int i = 0; i < 18 * 20; i++)
        ck_assert(pumit_volume_voxels(volume)[i] == 255 - (float)bytes[i]);
    pumit_volume_release(volume);
    volume = read_volume("d.tif");
    pumit_volume_shape(volume, shape);
    check_sizes(shape, 1, 18, 20, 3);
    for (int i = 0; i < 3 * 18 * 20; i++) ck_assert(pumit_volume_voxels(volume)[i] == bytes[i]);
    pumit_volume_release(volume);
    size_t size;
    uint8_t *content = files_read("a.tif", &size);
    for (size_t n = 1; n < size; n += 1 + n / 20) {
        files_write("cut", content, n);
        files_check_failed(pumit_volume_read(&volume, files_context, files_path("cut"), 0),
                           PUMIT_ERROR_FORMAT, "cut", "");
    }
    free(content);
}
END_TEST

static void write_array(const char *name, const char *type, const char *shape, const void *data,
                        size_t bytes)
{
    static uint8_t file[128 + 4096];
    memset(file, ' ', 128);
    memcpy(file, "\x93NUMPY\1\0\x76\0", 10);
    const int n = snprintf((char *)file + 10, 118,
                           "{'descr': '%s', 'fortran_order': False, 'shape': %s, }", type, shape);
    file[10 + n] = ' ';
    file[127] = '\n';
    memcpy(file + 128, data, bytes);
    files_write(name, file, 128 + bytes);
}

START_TEST(arrays_are_read)
{
    static const struct {
        const char *type, *shape;
        int64_t sizes[4];
        bool flat;
    } cases[] = {
        {"|u1", "(6, 4)", {1, 6, 4, 1}, true},        {"|u1", "(2, 4, 3)", {1, 2, 4, 3}, true},
        {"|i1", "(2, 4, 3)", {2, 4, 3, 1}, false},    {"|u1", "(4, 3, 2)", {4, 3, 2, 1}, false},
        {"|u1", "(2, 2, 2, 3)", {2, 2, 2, 3}, false}, {"|u1", "(2, 2, 6, 1)", {2, 2, 6, 1}, false}};
    uint8_t data[24];
    int64_t shape[4];
    double spacing[3];
    for (int i = 0; i < 24; i++) data[i] = (uint8_t)i;
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        write_array("a.npy", cases[k].type, cases[k].shape, data, 24);
        pumit_volume *volume = read_volume("a.npy");
        pumit_volume_shape(volume, shape);
        pumit_volume_spacing(volume, spacing);
        for (int i = 0; i < 4; i++) ck_assert_int_eq(shape[i], cases[k].sizes[i]);
        ck_assert(cases[k].flat ? isinf(spacing[0]) : spacing[0] == 1);
        for (int i = 0; i < 24; i++) ck_assert(pumit_volume_voxels(volume)[i] == (float)i);
        pumit_volume_release(volume);
    }
    static const char *const bad[] = {"(24,)", "(2, 3, 4, 1, 1)", "(2, 3, 2, 2)", "(5, 5)",
                                      "(6, 3)"};
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
        pumit_volume *volume;
        write_array("a.npy", "|u1", bad[k], data, 24);
        files_check_failed(pumit_volume_read(&volume, files_context, files_path("a.npy"), 0),
                           PUMIT_ERROR_FORMAT, "a.npy", "shape");
    }
}
END_TEST

/* The content decides, not the name. */
START_TEST(content_decides)
{
    const uint8_t gray[4] = {1, 2, 3, 4};
    int64_t count;
    png_write("scan.jpg", 2, 2, 8, 0, false, gray); /* another picture's name misleads nobody */
    pumit_volume *volume = read_volume("scan.jpg");
    check_voxels(volume, 4, (const float[]){1, 2, 3, 4});
    pumit_volume_release(volume);
    CHECK_OK(pumit_volume_file_count(&count, files_context, files_path("scan.jpg")));
    ck_assert_int_eq(count, 1);
    files_check_failed(pumit_volume_read(&volume, files_context, files_path("scan.jpg"), 1),
                       PUMIT_ERROR_INVALID_ARGUMENT, "scan.jpg", "number 1");
    png_write("scan.nii", 2, 2, 8, 0, false, gray);
    files_check_failed(pumit_volume_read(&volume, files_context, files_path("scan.nii"), 0),
                       PUMIT_ERROR_FORMAT, "scan.nii", "PNG");
    files_write_gzip("scan.png.gz", "\x89PNG\r\n\x1a\n", 8);
    files_check_failed(pumit_volume_read(&volume, files_context, files_path("scan.png.gz"), 0),
                       PUMIT_ERROR_FORMAT, "scan.png.gz", "gzip");
    files_write("a.npz", "PK\3\4", 4);
    files_check_failed(pumit_volume_read(&volume, files_context, files_path("a.npz"), 0),
                       PUMIT_ERROR_UNSUPPORTED, "a.npz", "dataset");
}
END_TEST

/* ------------------------------------------------------------------------------------------ sheets */

START_TEST(sheets_show_every_tile)
{
    float values[5 * 4 * 6];
    int64_t shape[4] = {5, 4, 6, 1}, got[4];
    pumit_tensor *images;
    for (int i = 0; i < 120; i++) values[i] = (float)(i / 24 + 1) / 8;
    values[0] = NAN, values[1] = -3, values[2] = 7;
    CHECK_OK(pumit_tensor_from_data(&images, files_context, PUMIT_F32, 4, shape, values));
    CHECK_OK(pumit_write_png_sheet(files_path("sheet.png"), images, 3));
    pumit_volume *sheet = read_volume("sheet.png");
    pumit_volume_shape(sheet, got);
    check_sizes(got, 1, 2 * 4 + 2, 3 * 6 + 2 * 2, 1);
    const float *pixels = pumit_volume_voxels(sheet);
    ck_assert(pixels[0] == 0 && pixels[1] == 0 && pixels[2] == 255);
    for (int i = 0; i < 5; i++) {
        const int y = i / 3 * 6 + 3, x = i % 3 * 8 + 5; /* the last pixel of a tile */
        ck_assert_float_eq_tol(pixels[y * 22 + x], 255 * (i + 1) / 8.0, 0.51);
    }
    pumit_volume_release(sheet);
    files_check_failed(pumit_write_png_sheet(files_path("absent/sheet.png"), images, 0),
                       PUMIT_ERROR_NOT_FOUND, "absent", "");
    pumit_tensor_release(images);
    shape[3] = 2, shape[0] = 1;
    CHECK_OK(pumit_tensor_from_data(&images, files_context, PUMIT_F32, 4, shape, values));
    ck_assert_int_eq(pumit_write_png_sheet(files_path("sheet.png"), images, 0), PUMIT_ERROR_SHAPE);
    pumit_tensor_release(images);
}
END_TEST

Suite *suite_pictures(void);
Suite *suite_pictures(void)
{
    Suite *suite = suite_create("pictures");
    TCase *tcase = tcase_create("pictures");
    tcase_add_checked_fixture(tcase, files_setup, files_teardown);
    tcase_add_test(tcase, png_of_every_kind_is_read);
    tcase_add_test(tcase, png_colours_are_read);
    tcase_add_test(tcase, jpeg_is_read);
    tcase_add_test(tcase, truncated_pictures_are_refused);
    tcase_add_loop_test(tcase, tiff_is_read, 0, 2);
    tcase_add_test(tcase, arrays_are_read);
    tcase_add_test(tcase, content_decides);
    tcase_add_test(tcase, sheets_show_every_tile);
    suite_add_tcase(suite, tcase);
    return suite;
}
