/* SPDX-License-Identifier: Apache-2.0 */
/* The voxels of NIfTI files, plain or gzip: one volume at a time, straight to float. */
#include "lib/data/nifti_header.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>

#define CHUNK 65536 /* voxels decoded at a time */

/* Deflate cannot shrink by more than 1032; a little more for what surrounds it. */
#define MOST_RATIO 1100

struct pumit__nifti {
    const pumit_context *ctx;
    pumit__nifti_header header;
    char *path; /* of the voxels */
    gzFile stream;
};

/* "scan.hdr" -> "scan.img"; the pair's other half may be compressed or not. */
static pumit_status find_voxels(char **out, const pumit__sniffed *file)
{
    const char *path = file->path;
    const bool gzip = pumit__ends_with(path, ".hdr.gz");
    if (!gzip && !pumit__ends_with(path, ".hdr"))
        return pumit__fail(PUMIT_ERROR_FORMAT,
                           "%s: is the header of a .hdr/.img pair but is not named .hdr", path);
    const int stem = (int)strlen(path) - (gzip ? 7 : 4);
    for (int i = 0; i < 2; i++) {
        char *image = pumit__format("%.*s.img%s", stem, path, gzip == (i == 0) ? ".gz" : "");
        struct stat info;
        if (!image) return pumit__fail_memory(stem, "a path");
        if (stat(image, &info) == 0 && S_ISREG(info.st_mode)) {
            *out = image;
            return PUMIT_OK;
        }
        free(image);
    }
    return pumit__fail(PUMIT_ERROR_NOT_FOUND, "%s: its voxels, %.*s.img, are missing", path, stem,
                       path);
}

static pumit_status fail_truncated(const pumit__nifti *nifti)
{
    const pumit__nifti_header *h = &nifti->header;
    return pumit__fail(PUMIT_ERROR_FORMAT,
                       "%s: is truncated: its header claims %lld bytes of voxels, which it does "
                       "not hold; copy it again",
                       nifti->path, (long long)(h->volumes * h->volume_bytes));
}

/* Sizes are believed only as far as the file could hold them. */
static pumit_status check_length(const pumit__nifti *nifti)
{
    struct stat info;
    if (stat(nifti->path, &info) != 0)
        return pumit__fail(PUMIT_ERROR_IO, "%s: cannot read: %s", nifti->path, strerror(errno));
    const int64_t needed =
        nifti->header.offset + nifti->header.volumes * nifti->header.volume_bytes;
    const int64_t most =
        gzdirect(nifti->stream) ? info.st_size : (int64_t)info.st_size * MOST_RATIO + 65536;
    if (needed > most) return fail_truncated(nifti);
    const int64_t values = nifti->header.voxels * nifti->header.channels;
    return pumit__check_ratio(values > needed / 4 ? values : needed / 4, nifti->ctx, info.st_size,
                              nifti->path);
}

static pumit_status open_voxels(pumit__nifti *nifti, const pumit__sniffed *file)
{
    if (nifti->header.pair) {
        PUMIT__TRY(find_voxels(&nifti->path, file));
    } else {
        nifti->path = pumit__strdup(file->path);
        if (!nifti->path) return pumit__fail_memory((int64_t)strlen(file->path), "a path");
    }
    nifti->stream = gzopen(nifti->path, "rbe");
    if (!nifti->stream)
        return pumit__fail(pumit__status_of_errno(errno), "%s: cannot read: %s", nifti->path,
                           strerror(errno));
    gzbuffer(nifti->stream, 1 << 18);
    return check_length(nifti);
}

pumit_status pumit__nifti_open(pumit__nifti **out, const pumit_context *ctx,
                               const pumit__sniffed *file)
{
    pumit__nifti *nifti = pumit__calloc(1, sizeof *nifti);
    if (!nifti) return pumit__fail_memory(sizeof *nifti, file->path);
    nifti->ctx = ctx;
    pumit_status status = pumit__nifti_header_parse(&nifti->header, ctx, file);
    if (status == PUMIT_OK) status = open_voxels(nifti, file);
    if (status != PUMIT_OK) {
        pumit__nifti_close(nifti);
        return status;
    }
    *out = nifti;
    return PUMIT_OK;
}

int64_t pumit__nifti_count(const pumit__nifti *nifti)
{
    return nifti->header.volumes;
}

void pumit__nifti_close(pumit__nifti *nifti)
{
    if (!nifti) return;
    if (nifti->stream) gzclose(nifti->stream);
    free(nifti->path);
    free(nifti);
}

static pumit_status fail_reading(const pumit__nifti *nifti)
{
    int code;
    const char *reason = gzerror(nifti->stream, &code);
    if (code == Z_ERRNO)
        return pumit__fail(PUMIT_ERROR_IO, "%s: cannot read: %s", nifti->path, strerror(errno));
    if (code == Z_OK || code == Z_BUF_ERROR || code == Z_STREAM_END) return fail_truncated(nifti);
    return pumit__fail(PUMIT_ERROR_FORMAT,
                       "%s: its compressed data are damaged (%s); copy it again", nifti->path,
                       reason);
}

/* (r, g, b, a) to (r, g, b), in place. */
static void drop_alpha(float *voxels, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        for (int c = 0; c < 3; c++) voxels[3 * i + c] = voxels[4 * i + c];
}

static pumit_status read_chunk(float *dst, pumit__nifti *nifti, uint8_t *raw, float *wide,
                               int64_t voxels)
{
    const pumit__nifti_header *h = &nifti->header;
    const int64_t numbers = voxels * h->stored;
    const int64_t bytes = numbers * pumit__element_size(h->kind);
    if (gzread(nifti->stream, raw, (unsigned)bytes) != (int)bytes) return fail_reading(nifti);
    float *const target = h->stored == h->channels ? dst : wide;
    pumit__elements_to_float(target, raw, numbers, h->kind, h->swap, h->slope, h->inter);
    if (target == wide) {
        drop_alpha(wide, voxels);
        memcpy(dst, wide, (size_t)(voxels * h->channels) * sizeof *dst);
    }
    return PUMIT_OK;
}

/* Reading on after the last voxel makes zlib compare the checksum; a missing one is told by gzerror() alone. */
static pumit_status check_end(pumit__nifti *nifti, int64_t index)
{
    char byte;
    int code;
    if (index + 1 < nifti->header.volumes) return PUMIT_OK;
    const int got = gzread(nifti->stream, &byte, 1);
    gzerror(nifti->stream, &code);
    return got < 0 || code != Z_OK ? fail_reading(nifti) : PUMIT_OK;
}

static pumit_status read_voxels(float *dst, pumit__nifti *nifti, int64_t index)
{
    const pumit__nifti_header *h = &nifti->header;
    const int64_t at = h->offset + index * h->volume_bytes;
    if (gzseek(nifti->stream, at, SEEK_SET) != at) return fail_reading(nifti);
    uint8_t *raw = malloc((size_t)(CHUNK * h->stored * pumit__element_size(h->kind)));
    float *wide = malloc((size_t)(CHUNK * h->stored) * sizeof *wide);
    pumit_status status = raw && wide ? PUMIT_OK : pumit__fail_memory(CHUNK * 8, nifti->path);
    for (int64_t done = 0; status == PUMIT_OK && done < h->voxels; done += CHUNK) {
        const int64_t left = h->voxels - done;
        status =
            read_chunk(dst + done * h->channels, nifti, raw, wide, left < CHUNK ? left : CHUNK);
    }
    free(raw);
    free(wide);
    return status == PUMIT_OK ? check_end(nifti, index) : status;
}

pumit_status pumit__nifti_read(pumit_volume **out, pumit__nifti *nifti, int64_t index)
{
    const pumit__nifti_header *h = &nifti->header;
    PUMIT__REQUIRE(index >= 0 && index < h->volumes,
                   "%s: holds %lld volumes; there is no number %lld", nifti->path,
                   (long long)h->volumes, (long long)index);
    static const int32_t slowest_first[3] = {2, 1, 0};
    pumit__image image = {.size = {h->size[2], h->size[1], h->size[0]},
                          .channels = h->channels,
                          .axes = {2, 1, 0},
                          .eight_bit = h->eight_bit,
                          .guessed = h->guessed,
                          .source = h->grid};
    pumit__affine_reorder(image.affine, h->affine, slowest_first);
    image.voxels = pumit__calloc(h->voxels, h->channels * (int64_t)sizeof(float));
    if (!image.voxels) return pumit__fail_memory(h->voxels * h->channels * 4, nifti->path);
    pumit_status status = read_voxels(image.voxels, nifti, index);
    if (status == PUMIT_OK) status = pumit__volume_adopt(out, &image);
    free(image.voxels);
    return status;
}
