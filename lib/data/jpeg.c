/* SPDX-License-Identifier: Apache-2.0 */
/* JPEG files as 2D volumes: gray stays gray, everything else becomes RGB. */
#include "lib/data/volume.h"

#include "lib/tensor/context.h"

#include <stdlib.h>
#include <string.h>
#include <turbojpeg.h>

/* A file is no larger than this, and its pixels no more than 4096 a byte: even an all-black one has fewer. */
#define MOST_BYTES           (INT64_C(1) << 30)
#define MOST_PIXELS_PER_BYTE 4096

typedef struct {
    tjhandle decoder;
    uint8_t *file, *pixels;
    int64_t file_bytes;
    int width, height, channels;
} job;

static pumit_status fail_decoding(const job *j, const char *path)
{
    return pumit__fail(PUMIT_ERROR_FORMAT, "%s: is a damaged or truncated JPEG (%s); copy it again",
                       path, tjGetErrorStr2(j->decoder));
}

static pumit_status read_header(job *j, const pumit_context *ctx, const char *path)
{
    int sampling = 0, colours = 0;
    if (tjDecompressHeader3(j->decoder, j->file, (unsigned long)j->file_bytes, &j->width,
                            &j->height, &sampling, &colours) != 0)
        return fail_decoding(j, path);
    if (j->width < 1 || j->height < 1) /* tables alone are a valid stream */
        return pumit__fail(PUMIT_ERROR_FORMAT,
                           "%s: is a damaged or truncated JPEG without an image", path);
    if (colours == TJCS_CMYK || colours == TJCS_YCCK)
        return pumit__fail(PUMIT_ERROR_UNSUPPORTED, "%s: is a CMYK JPEG; save it as RGB", path);
    j->channels = colours == TJCS_GRAY ? 1 : 3;
    const int64_t size[3] = {1, j->height, j->width};
    int64_t count;
    PUMIT__TRY(pumit__check_voxels(&count, ctx, size, j->channels, path));
    if ((int64_t)j->width * j->height / MOST_PIXELS_PER_BYTE > j->file_bytes)
        return pumit__fail(PUMIT_ERROR_FORMAT,
                           "%s: is truncated: %d x %d pixels do not fit into %lld bytes", path,
                           j->width, j->height, (long long)j->file_bytes);
    PUMIT__TRY(pumit__check_ratio(count, ctx, j->file_bytes, path));
    j->pixels = pumit__calloc(count, 1);
    return j->pixels ? PUMIT_OK : pumit__fail_memory(count, path);
}

static pumit_status decode(job *j, const pumit_context *ctx, const char *path)
{
    if (tjDecompress2(j->decoder, j->file, (unsigned long)j->file_bytes, j->pixels, j->width, 0,
                      j->height, j->channels == 1 ? TJPF_GRAY : TJPF_RGB,
                      TJFLAG_ACCURATEDCT | TJFLAG_LIMITSCANS) == 0)
        return PUMIT_OK;
    /* Bytes too many are harmless and common; every other complaint means lost pixels. */
    if (tjGetErrorCode(j->decoder) != TJERR_WARNING ||
        !strstr(tjGetErrorStr2(j->decoder), "extraneous"))
        return fail_decoding(j, path);
    pumit__log(ctx, PUMIT_LOG_WARNING, "%s: %s", path, tjGetErrorStr2(j->decoder));
    return PUMIT_OK;
}

static pumit_status make_volume(pumit_volume **out, const job *j, const char *path)
{
    const int64_t count = (int64_t)j->height * j->width * j->channels;
    pumit__image image = {.size = {1, j->height, j->width},
                          .channels = j->channels,
                          .axes = {2, 1, 0},
                          .flat = true,
                          .eight_bit = true};
    image.voxels = pumit__calloc(count, sizeof(float));
    if (!image.voxels) return pumit__fail_memory(count * 4, path);
    pumit__elements_to_float(image.voxels, j->pixels, count, PUMIT__ELEMENT_U8, false, 1, 0);
    const pumit_status status = pumit__volume_adopt(out, &image);
    free(image.voxels);
    return status;
}

pumit_status pumit__jpeg_read(pumit_volume **out, const pumit_context *ctx,
                              const pumit__sniffed *file)
{
    job j = {0};
    char *bytes = NULL;
    pumit_status status;
    PUMIT__GO(pumit__read_file(&bytes, &j.file_bytes, file->path, MOST_BYTES));
    j.file = (uint8_t *)bytes;
    j.decoder = tjInitDecompress();
    if (!j.decoder) {
        status = pumit__fail_memory(0, "the JPEG decoder");
        goto out;
    }
    PUMIT__GO(read_header(&j, ctx, file->path));
    PUMIT__GO(decode(&j, ctx, file->path));
    PUMIT__GO(make_volume(out, &j, file->path));
out:
    if (j.decoder) tjDestroy(j.decoder);
    free(j.pixels);
    free(bytes);
    return status;
}
