/* SPDX-License-Identifier: Apache-2.0 */
/* What a file is, by its first bytes, and the reader for it. */
#include "lib/data/volume.h"

#include "lib/tensor/context.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>

static bool starts_with(const pumit__sniffed *file, int64_t at, const char *bytes, int64_t count)
{
    return file->count >= at + count && memcmp(file->head + at, bytes, (size_t)count) == 0;
}

/* The header size that opens every NIfTI and ANALYZE file: 348 or 540, in either byte order. */
static bool opens_like_nifti(const pumit__sniffed *file)
{
    return starts_with(file, 0, "\x5c\x01\0\0", 4) || starts_with(file, 0, "\0\0\x01\x5c", 4) ||
           starts_with(file, 0, "\x1c\x02\0\0", 4) || starts_with(file, 0, "\0\0\x02\x1c", 4);
}

/* A picture under a name that promises a geometry would enter as one slice without spacing: somebody's mistake. */
static pumit_status check_name(const pumit__sniffed *file)
{
    static const char *const geometric[] = {".nii", ".nii.gz", ".hdr", ".img"};
    const char *kind = file->kind == PUMIT__FILE_PNG    ? "PNG"
                       : file->kind == PUMIT__FILE_JPEG ? "JPEG"
                       : file->kind == PUMIT__FILE_TIFF ? "TIFF"
                                                        : NULL;
    if (!kind) return PUMIT_OK;
    for (int64_t i = 0; i < PUMIT__COUNT(geometric); i++)
        if (pumit__ends_with(file->path, geometric[i]))
            return pumit__fail(
                PUMIT_ERROR_FORMAT,
                "%s: is a %s picture, not NIfTI as its name says; rename it if that is meant",
                file->path, kind);
    return PUMIT_OK;
}

static pumit_status choose_kind(pumit__sniffed *file)
{
    if (opens_like_nifti(file))
        file->kind = PUMIT__FILE_NIFTI;
    else if (starts_with(file, 0, "\x89PNG\r\n\x1a\n", 8))
        file->kind = PUMIT__FILE_PNG;
    else if (starts_with(file, 0, "\xff\xd8\xff", 3))
        file->kind = PUMIT__FILE_JPEG;
    else if (starts_with(file, 0, "PK\3\4", 4) || starts_with(file, 0, "PK\5\6", 4))
        file->kind = PUMIT__FILE_ZIP;
    else if (starts_with(file, 0, "II*\0", 4) || starts_with(file, 0, "MM\0*", 4) ||
             starts_with(file, 0, "II+\0", 4) || starts_with(file, 0, "MM\0+", 4))
        file->kind = PUMIT__FILE_TIFF;
    else if (starts_with(file, 0, "\x93NUMPY", 6))
        file->kind = PUMIT__FILE_NPY;
    else if (starts_with(file, 128, "DICM", 4))
        return pumit__fail(PUMIT_ERROR_UNSUPPORTED,
                           "%s: is DICOM; convert the series to NIfTI first, with dcm2niix say",
                           file->path);
    else
        return pumit__fail(PUMIT_ERROR_FORMAT, "%s: is not a NIfTI, PNG, JPEG, TIFF or NumPy image",
                           file->path);
    if (file->gzip && file->kind != PUMIT__FILE_NIFTI)
        return pumit__fail(PUMIT_ERROR_FORMAT,
                           "%s: only NIfTI is read from gzip; decompress this one", file->path);
    return check_name(file);
}

static pumit_status read_head(pumit__sniffed *file)
{
    gzFile stream = gzopen(file->path, "rbe");
    if (!stream)
        return pumit__fail(pumit__status_of_errno(errno), "%s: cannot read: %s", file->path,
                           strerror(errno));
    const int got = gzread(stream, file->head, sizeof file->head);
    const bool damaged = got <= 0;
    file->gzip = !gzdirect(stream);
    gzclose(stream);
    if (damaged && file->gzip)
        return pumit__fail(PUMIT_ERROR_FORMAT, "%s: is damaged or truncated gzip; copy it again",
                           file->path);
    if (damaged) return pumit__fail(PUMIT_ERROR_IO, "%s: cannot read", file->path);
    file->count = got;
    return choose_kind(file);
}

/* "scan.img" and "scan.img.gz" are opened through the header beside them. */
char *pumit__header_path(const char *path)
{
    const size_t n = strlen(path);
    const size_t tail = pumit__ends_with(path, ".img") ? 4 : 7;
    if (tail == 7 && !pumit__ends_with(path, ".img.gz")) return pumit__strdup(path);
    static const char *const endings[] = {".hdr", ".hdr.gz"};
    for (int64_t i = 0; i < PUMIT__COUNT(endings); i++) {
        char *header = pumit__format("%.*s%s", (int)(n - tail), path, endings[i]);
        struct stat info;
        if (!header || stat(header, &info) == 0) return header;
        free(header);
    }
    return pumit__strdup(path);
}

pumit_status pumit__sniff(pumit__sniffed *out, const char *path)
{
    *out = (pumit__sniffed){.path = pumit__header_path(path)};
    if (!out->path) return pumit__fail_memory((int64_t)strlen(path), "a path");
    struct stat info;
    if (stat(out->path, &info) != 0)
        return pumit__fail(pumit__status_of_errno(errno), "%s: cannot read: %s", path,
                           strerror(errno));
    if (!S_ISREG(info.st_mode))
        return pumit__fail(PUMIT_ERROR_IO, "%s: is %s, not an image file", path,
                           S_ISDIR(info.st_mode) ? "a folder" : "no regular file");
    if (info.st_size == 0) return pumit__fail(PUMIT_ERROR_FORMAT, "%s: is empty", path);
    out->file_bytes = info.st_size;
    return read_head(out);
}

void pumit__sniffed_free(pumit__sniffed *sniffed)
{
    free(sniffed->path);
    sniffed->path = NULL;
}

static pumit_status refuse_archive(const pumit__sniffed *file)
{
    return pumit__fail(PUMIT_ERROR_UNSUPPORTED,
                       "%s: is a zip archive; an .npz of many images opens as a dataset",
                       file->path);
}

static pumit_status read_nifti(pumit_volume **out, const pumit_context *context,
                               const pumit__sniffed *file, int64_t index)
{
    pumit__nifti *nifti;
    PUMIT__TRY(pumit__nifti_open(&nifti, context, file));
    const pumit_status status = pumit__nifti_read(out, nifti, index);
    pumit__nifti_close(nifti);
    return status;
}

pumit_status pumit__picture_read(pumit_volume **out, const pumit_context *ctx,
                                 const pumit__sniffed *file)
{
    switch (file->kind) {
    case PUMIT__FILE_PNG:
        return pumit__png_read(out, ctx, file);
    case PUMIT__FILE_JPEG:
        return pumit__jpeg_read(out, ctx, file);
    case PUMIT__FILE_TIFF:
        return pumit__tiff_read(out, ctx, file);
    default:
        return pumit__npy_read(out, ctx, file);
    }
}

static pumit_status read_sniffed(pumit_volume **out, const pumit_context *context,
                                 const pumit__sniffed *file, int64_t index)
{
    if (file->kind == PUMIT__FILE_NIFTI) return read_nifti(out, context, file, index);
    if (file->kind == PUMIT__FILE_ZIP) return refuse_archive(file);
    PUMIT__REQUIRE(index == 0, "%s: holds one image; there is no number %lld", file->path,
                   (long long)index);
    return pumit__picture_read(out, context, file);
}

pumit_status pumit_volume_read(pumit_volume **out, pumit_context *context, const char *path,
                               int64_t index)
{
    PUMIT__REQUIRE(out && context && path, "pumit_volume_read: an argument is NULL");
    *out = NULL;
    pumit__sniffed file;
    pumit_status status = pumit__sniff(&file, path);
    if (status == PUMIT_OK) status = read_sniffed(out, context, &file, index);
    pumit__sniffed_free(&file);
    return status;
}

static pumit_status count_nifti(int64_t *out, const pumit_context *context,
                                const pumit__sniffed *file)
{
    pumit__nifti *nifti;
    PUMIT__TRY(pumit__nifti_open(&nifti, context, file));
    *out = pumit__nifti_count(nifti);
    pumit__nifti_close(nifti);
    return PUMIT_OK;
}

pumit_status pumit_volume_file_count(int64_t *out, pumit_context *context, const char *path)
{
    PUMIT__REQUIRE(out && context && path, "pumit_volume_file_count: an argument is NULL");
    *out = 0;
    pumit__sniffed file;
    pumit_status status = pumit__sniff(&file, path);
    if (status == PUMIT_OK) {
        if (file.kind == PUMIT__FILE_NIFTI)
            status = count_nifti(out, context, &file);
        else if (file.kind == PUMIT__FILE_ZIP)
            status = refuse_archive(&file);
        else
            *out = 1;
    }
    pumit__sniffed_free(&file);
    return status;
}
