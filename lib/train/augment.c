/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/train/augment.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* At strength 1. */
#define MOST_SHIFT 0.08 /* of an axis */
#define MOST_ANGLE 0.26 /* radians: 15 degrees */
#define MOST_SCALE 0.12
#define GAIN       0.15
#define OFFSET     0.05
#define MOST_NOISE 0.03 /* standard deviation, in half of the images */

#define NEARLY_CUBES 1.5 /* spacing of slices by that of pixels, either way */
#define DRAWS        16  /* random numbers of an image */

/* Voxel x of the result is read at centre + matrix (x - centre) + shift. */
typedef struct {
    double matrix[3][3], shift[3];
    double gain, offset, noise;
} change;

/* ------------------------------------------------------------------------------------------ drawing */

typedef struct {
    uint64_t seed, stream, next;
} dice;

/* -most .. most */
static double throw(dice * d, double most)
{
    return most * (2 * pumit__random_uniform(d->seed, d->stream, d->next++) - 1);
}

/* matrix := matrix x a turn in the plane of axes a and b. */
static void turn(double matrix[3][3], int a, int b, double angle)
{
    const double c = cos(angle), s = sin(angle);
    for (int i = 0; i < 3; i++) {
        const double x = matrix[i][a], y = matrix[i][b];
        matrix[i][a] = c * x - s * y;
        matrix[i][b] = s * x + c * y;
    }
}

static change draw(const int64_t size[3], bool cubes, const pumit__augment *how, uint64_t seed,
                   uint64_t key)
{
    dice d = {seed, pumit__random_stream("train.augment"), DRAWS * key};
    const double s = how->strength;
    change made = {.matrix = {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}};
    const double turns[3] = {throw(&d, s * MOST_ANGLE), throw(&d, s * MOST_ANGLE),
                             throw(&d, s * MOST_ANGLE)};
    turn(made.matrix, 1, 2, turns[0]);
    if (cubes) {
        turn(made.matrix, 0, 1, turns[1]);
        turn(made.matrix, 0, 2, turns[2]);
    }
    const double scale = 1 + throw(&d, s * MOST_SCALE);
    for (int i = 0; i < 3; i++) {
        const bool flipped = throw(&d, 1) < 0 && how->flip[i];
        for (int k = 0; k < 3; k++) made.matrix[k][i] *= flipped ? -scale : scale;
        made.shift[i] = throw(&d, s * MOST_SHIFT) * (double)size[i];
    }
    made.gain = 1 + throw(&d, s * GAIN);
    made.offset = throw(&d, s * OFFSET);
    made.noise = fmax(0, throw(&d, s * MOST_NOISE));
    if (size[0] > 1) return made;
    for (int i = 0; i < 3; i++) made.matrix[0][i] = made.matrix[i][0] = 0; /* flat */
    made.shift[0] = 0;
    return made;
}

/* ----------------------------------------------------------------------------------------- changing */

/* The neighbours of a place along an axis, in the image, and how much of the second one. */
typedef struct {
    int64_t at[2];
    float share;
} pair;

static pair neighbours(double x, int64_t n)
{
    const double inside = x < 0 ? 0 : x > (double)(n - 1) ? (double)(n - 1) : x;
    const int64_t low = (int64_t)inside;
    return (pair){{low, low + 1 < n ? low + 1 : low}, (float)(inside - (double)low)};
}

/* dst[c]: between the eight voxels around `at`. */
static void sample(float *dst, const float *src, const int64_t size[3], int64_t channels,
                   const double at[3])
{
    const pair d = neighbours(at[0], size[0]), h = neighbours(at[1], size[1]),
               w = neighbours(at[2], size[2]);
    for (int64_t c = 0; c < channels; c++) dst[c] = 0;
    for (int corner = 0; corner < 8; corner++) {
        const int i = corner >> 2, j = corner >> 1 & 1, k = corner & 1;
        const float share =
            (i ? d.share : 1 - d.share) * (j ? h.share : 1 - h.share) * (k ? w.share : 1 - w.share);
        if (share == 0) continue;
        const float *const voxel =
            src + ((d.at[i] * size[1] + h.at[j]) * size[2] + w.at[k]) * channels;
        for (int64_t c = 0; c < channels; c++) dst[c] += share * voxel[c];
    }
}

static void resample(float *dst, const float *src, const int64_t size[3], int64_t channels,
                     const change *made)
{
    double centre[3], at[3];
    for (int i = 0; i < 3; i++) centre[i] = (double)(size[i] - 1) / 2;
    for (int64_t d = 0; d < size[0]; d++) {
        for (int64_t h = 0; h < size[1]; h++) {
            for (int64_t w = 0; w < size[2]; w++) {
                const double x[3] = {(double)d - centre[0], (double)h - centre[1],
                                     (double)w - centre[2]};
                for (int i = 0; i < 3; i++)
                    at[i] = centre[i] + made->shift[i] + made->matrix[i][0] * x[0] +
                            made->matrix[i][1] * x[1] + made->matrix[i][2] * x[2];
                sample(dst, src, size, channels, at);
                dst += channels;
            }
        }
    }
}

/* Nearly normal, of mean 0 and deviation 1: the sum of four uniform numbers, from one random one. */
static double nearly_normal(uint64_t bits)
{
    double sum = 0;
    for (int i = 0; i < 4; i++) sum += (double)(bits >> (16 * i) & 0xffff);
    return (sum / 65535 - 2) * 1.7320508075688772;
}

static void recolour(float *image, int64_t count, const change *made, uint64_t seed, uint64_t key)
{
    const uint64_t stream = pumit__random_stream("train.augment.noise") + key;
    for (int64_t i = 0; i < count; i++) {
        double value = (image[i] - 0.5) * made->gain + 0.5 + made->offset;
        if (made->noise > 0)
            value += made->noise * nearly_normal(pumit__random(seed, stream, (uint64_t)i));
        image[i] = (float)fmin(fmax(value, 0), 1);
    }
}

pumit_status pumit__augment_image(float *image, const int64_t size[3], int64_t channels,
                                  const double spacing[3], const pumit__augment *how, uint64_t seed,
                                  uint64_t key)
{
    if (how->strength == 0 && !how->flip[0] && !how->flip[1] && !how->flip[2]) return PUMIT_OK;
    const int64_t count = size[0] * size[1] * size[2] * channels;
    const int64_t bytes = count * (int64_t)sizeof *image;
    float *copy = pumit__calloc(bytes, 1);
    if (!copy) return pumit__fail_memory(bytes, "an image");
    memcpy(copy, image, (size_t)bytes);
    const double ratio = spacing[0] / spacing[1];
    const bool cubes = size[0] > 1 && ratio < NEARLY_CUBES && ratio > 1 / NEARLY_CUBES;
    const change made = draw(size, cubes, how, seed, key);
    resample(image, copy, size, channels, &made);
    if (how->strength > 0) recolour(image, count, &made, seed, key);
    free(copy);
    return PUMIT_OK;
}

/* Joehnk's method (1964); few draws for the small alphas that are of use. */
double pumit__augment_share(double alpha, uint64_t seed, uint64_t key)
{
    const uint64_t stream = pumit__random_stream("train.mixup") + key;
    for (uint64_t i = 0; i < 10000; i += 2) {
        const double x = pow(pumit__random_uniform(seed, stream, i), 1 / alpha);
        const double y = pow(pumit__random_uniform(seed, stream, i + 1), 1 / alpha);
        if (x + y > 0 && x + y <= 1) return x / (x + y);
    }
    return 1;
}
