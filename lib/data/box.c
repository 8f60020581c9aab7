/* SPDX-License-Identifier: Apache-2.0 */
/* A box of a volume's voxels as networks take them; nothing outside it is touched. */
#include "lib/data/half.h"
#include "lib/data/npy.h"
#include "lib/data/volume.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define MOST_HEAD 65536

/* Read, not mapped: a file that is cut short while a map of it is in use ends the process. */
static pumit_status read_at(int fd, void *dst, int64_t bytes, int64_t at, const char *path)
{
    for (int64_t done = 0; done < bytes;) {
        const ssize_t got = pread(fd, (char *)dst + done, (size_t)(bytes - done), at + done);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0)
            return pumit__fail(PUMIT_ERROR_IO, "%s: cannot read: %s", path, strerror(errno));
        if (got == 0)
            return pumit__fail(PUMIT_ERROR_FORMAT, "%s: is truncated; prepare it again", path);
        done += got;
    }
    return PUMIT_OK;
}

/* That the file is still (C, D, H, W) of float16 with its voxels where they were. */
static pumit_status check_head(int fd, const pumit_volume *v)
{
    uint8_t head[MOST_HEAD];
    pumit__array a;
    PUMIT__TRY(read_at(fd, head, v->file_offset, 0, v->file));
    const bool whole = pumit__npy_head_bytes(head) == v->file_offset;
    if (whole) PUMIT__TRY(pumit__npy_parse(&a, head, v->file_offset, v->file));
    const int64_t *s = v->shape;
    const bool little_endian = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__;
    if (whole && a.kind == PUMIT__ELEMENT_F16 && a.swap != little_endian && !a.fortran &&
        a.ndim == 4 && a.shape[0] == s[3] && a.shape[1] == s[0] && a.shape[2] == s[1] &&
        a.shape[3] == s[2])
        return PUMIT_OK;
    return pumit__fail(PUMIT_ERROR_FORMAT,
                       "%s: does not hold float16 of shape (%lld, %lld, %lld, %lld); delete it "
                       "and prepare it again",
                       v->file, (long long)s[3], (long long)s[0], (long long)s[1], (long long)s[2]);
}

/* One row of one channel. */
static void convert(float *dst, const uint16_t *src, int64_t count, int64_t step)
{
    if (step == 1) {
#pragma omp simd
        for (int64_t i = 0; i < count; i++) dst[i] = pumit__half_value(src[i]);
    } else {
        for (int64_t i = 0; i < count; i++) dst[i * step] = pumit__half_value(src[i]);
    }
}

static void repeat(float *dst, int64_t count, int64_t channels)
{
    for (int64_t i = 0; i < count; i++)
        for (int64_t c = 1; c < channels; c++) dst[i * channels + c] = dst[i * channels];
}

static void add_scaled(float *dst, const uint16_t *src, int64_t count, float weight)
{
    for (int64_t i = 0; i < count; i++) dst[i] += weight * pumit__half_value(src[i]);
}

/* Row `src` of channel c into (count, channels). */
static void place_row(float *dst, const uint16_t *src, int64_t count, int64_t c, int64_t own,
                      int64_t channels)
{
    static const float luma[3] = {0.299f, 0.587f, 0.114f};
    if (own == channels) {
        convert(dst + c, src, count, channels);
    } else if (own == 1) {
        convert(dst, src, count, channels);
        repeat(dst, count, channels);
    } else {
        if (c == 0) memset(dst, 0, (size_t)count * sizeof *dst);
        add_scaled(dst, src, count, luma[c]);
    }
}

/* The rows of a slice lie together, so one read gets all of them. */
static pumit_status read_slices(float *dst, uint16_t *rows, int fd, const pumit_volume *v,
                                const int64_t low[3], const int64_t high[3], int64_t channels)
{
    const int64_t *s = v->shape, height = high[1] - low[1], width = high[2] - low[2];
    for (int64_t c = 0; c < s[3]; c++)
        for (int64_t d = low[0]; d < high[0]; d++) {
            const int64_t at = v->file_offset + 2 * (((c * s[0] + d) * s[1] + low[1]) * s[2]);
            PUMIT__TRY(read_at(fd, rows, 2 * height * s[2], at, v->file));
            float *slice = dst + (d - low[0]) * height * width * channels;
            for (int64_t h = 0; h < height; h++)
                place_row(slice + h * width * channels, rows + h * s[2] + low[2], width, c, s[3],
                          channels);
        }
    return PUMIT_OK;
}

static pumit_status read_box(float *dst, const pumit_volume *v, const int64_t low[3],
                             const int64_t high[3], int64_t channels)
{
    const int64_t bytes = 2 * (high[1] - low[1]) * v->shape[2];
    uint16_t *rows = malloc((size_t)bytes);
    if (!rows) return pumit__fail_memory(bytes, v->file);
    const int fd = TEMP_FAILURE_RETRY(open(v->file, O_RDONLY | O_CLOEXEC));
    pumit_status status;
    if (fd < 0) {
        status = pumit__fail(errno == ENOENT ? PUMIT_ERROR_NOT_FOUND : PUMIT_ERROR_IO,
                             "%s: cannot read: %s", v->file, strerror(errno));
    } else {
        status = check_head(fd, v);
        if (status == PUMIT_OK) status = read_slices(dst, rows, fd, v, low, high, channels);
        close(fd);
    }
    free(rows);
    return status;
}

pumit_status pumit__volume_box(float *dst, const pumit_volume *volume, const pumit__window *window,
                               const int64_t low[3], const int64_t high[3], int64_t channels)
{
    if (volume->file) return read_box(dst, volume, low, high, channels);
    const int64_t width = high[2] - low[2];
    for (int64_t d = low[0]; d < high[0]; d++)
        for (int64_t h = low[1]; h < high[1]; h++, dst += width * channels)
            pumit__window_row(dst, volume, window, d, h, low[2], width, channels);
    return PUMIT_OK;
}
