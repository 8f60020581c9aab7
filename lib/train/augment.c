/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/train/augment.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MOST_SHIFT 0.08 /* of an axis */
#define GAIN       0.15
#define OFFSET     0.05

static int64_t clamp(int64_t i, int64_t n)
{
    return i < 0 ? 0 : i >= n ? n - 1 : i;
}

/* Where each axis is read from: shifted, its edges repeated, W possibly mirrored. */
typedef struct {
    int64_t shift[3];
    bool mirror;
    float gain, offset;
} change;

static change draw(const int64_t size[3], uint64_t seed, uint64_t key)
{
    const uint64_t stream = pumit__random_stream("train.augment");
    change made = {.mirror = pumit__random_uniform(seed, stream, 8 * key) < 0.5};
    for (int32_t i = 0; i < 3; i++) {
        const double u = pumit__random_uniform(seed, stream, 8 * key + 1 + (uint64_t)i);
        made.shift[i] = (int64_t)lround((2 * u - 1) * MOST_SHIFT * (double)size[i]);
    }
    made.gain = (float)(1 + GAIN * (2 * pumit__random_uniform(seed, stream, 8 * key + 4) - 1));
    made.offset = (float)(OFFSET * (2 * pumit__random_uniform(seed, stream, 8 * key + 5) - 1));
    return made;
}

static void copy_row(float *dst, const float *src, int64_t width, int64_t channels,
                     const change *made)
{
    for (int64_t w = 0; w < width; w++) {
        const int64_t from = clamp((made->mirror ? width - 1 - w : w) + made->shift[2], width);
        for (int64_t c = 0; c < channels; c++) {
            const float value = (src[from * channels + c] - 0.5f) * made->gain + 0.5f;
            dst[w * channels + c] = fminf(fmaxf(value + made->offset, 0), 1);
        }
    }
}

pumit_status pumit__augment_image(float *image, const int64_t size[3], int64_t channels,
                                  uint64_t seed, uint64_t key)
{
    const int64_t row = size[2] * channels,
                  bytes = size[0] * size[1] * row * (int64_t)sizeof *image;
    float *copy = pumit__calloc(bytes, 1);
    if (!copy) return pumit__fail_memory(bytes, "an image");
    memcpy(copy, image, (size_t)bytes);
    const change made = draw(size, seed, key);
    for (int64_t d = 0; d < size[0]; d++) {
        for (int64_t h = 0; h < size[1]; h++) {
            const int64_t from =
                clamp(d + made.shift[0], size[0]) * size[1] + clamp(h + made.shift[1], size[1]);
            copy_row(image + (d * size[1] + h) * row, copy + from * row, size[2], channels, &made);
        }
    }
    free(copy);
    return PUMIT_OK;
}
