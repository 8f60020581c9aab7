/* SPDX-License-Identifier: Apache-2.0 */
/* Intensities for networks: [0, 1] from what the type says, or from the 0.5th and 99.5th percentiles above the minimum. */
#include "lib/data/volume.h"

#include "lib/tensor/ops.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define BINS 65536

/* ------------------------------------------------------------------------------------- percentiles */

/* Floats as integers of the same order. */
static uint32_t key_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

static float value_of(uint32_t key)
{
    const uint32_t bits = key & 0x80000000u ? key & 0x7fffffffu : ~key;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* The voxels that count: finite and above the minimum. */
typedef struct {
    const float *voxels;
    int64_t all, count;
    float low, high;
    int64_t *coarse, *fine; /* histograms (BINS) of the keys' upper and lower halves */
} population;

static bool belongs(const population *p, float value)
{
    return isfinite(value) && value > p->low;
}

static void find_range(population *p)
{
    p->low = INFINITY;
    p->high = -INFINITY;
    for (int64_t i = 0; i < p->all; i++) {
        if (!isfinite(p->voxels[i])) continue;
        p->low = fminf(p->low, p->voxels[i]);
        p->high = fmaxf(p->high, p->voxels[i]);
    }
}

static void count_coarse(population *p)
{
    for (int64_t i = 0; i < p->all; i++) {
        if (!belongs(p, p->voxels[i])) continue;
        p->coarse[key_of(p->voxels[i]) >> 16]++;
        p->count++;
    }
}

/* Which bin the value of rank `*rank` is in; `*rank` becomes its rank within. */
static uint32_t find_bin(const int64_t *histogram, int64_t *rank)
{
    uint32_t bin = 0;
    while (bin + 1 < BINS && *rank >= histogram[bin]) *rank -= histogram[bin++];
    return bin;
}

/* The value of this rank, exactly: the histogram of its upper half, then of the lower half within that bin. */
static float select_rank(population *p, int64_t rank)
{
    const uint32_t upper = find_bin(p->coarse, &rank);
    memset(p->fine, 0, BINS * sizeof *p->fine);
    for (int64_t i = 0; i < p->all; i++) {
        const uint32_t key = key_of(p->voxels[i]);
        if (key >> 16 == upper && belongs(p, p->voxels[i])) p->fine[key & 0xffffu]++;
    }
    return value_of(upper << 16 | find_bin(p->fine, &rank));
}

/* Between ranks the values are interpolated. */
static double percentile(population *p, double fraction)
{
    const double place = fraction * (double)(p->count - 1), below = floor(place);
    const double lower = select_rank(p, (int64_t)below);
    if (!(place > below)) return lower;
    return lower + (place - below) * (select_rank(p, (int64_t)below + 1) - lower);
}

static pumit__window stretch(population *p)
{
    find_range(p);
    if (!(p->high > p->low)) return (pumit__window){0, 0}; /* constant: all 0 */
    count_coarse(p);
    double low = percentile(p, 0.005);
    const double high = percentile(p, 0.995);
    if (!(high > low)) low = p->low; /* one value alone above the minimum, as in a mask */
    return (pumit__window){low, 1 / (high - low)};
}

/* Pictures use the whole range by convention; 8-bit scans are some scanner's or converter's choice. */
bool pumit__window_is_fixed(const pumit_volume *volume)
{
    return volume->eight_bit && (isinf(volume->spacing[0]) || volume->shape[3] == 3);
}

pumit_status pumit__stretch_of(pumit__window *out, const pumit_volume *volume)
{
    const int64_t *s = volume->shape;
    population p = {.voxels = volume->voxels, .all = s[0] * s[1] * s[2] * s[3]};
    p.coarse = pumit__calloc(2 * BINS, sizeof *p.coarse);
    if (!p.coarse) return pumit__fail_memory(2 * BINS * (int64_t)sizeof *p.coarse, "a histogram");
    p.fine = p.coarse + BINS;
    *out = stretch(&p);
    free(p.coarse);
    return PUMIT_OK;
}

pumit_status pumit__window_of(pumit__window *out, const pumit_volume *volume)
{
    const bool done = volume->file || volume->normalised;
    *out = done ? (pumit__window){0, 1} : (pumit__window){0, 1.0 / 255};
    return done || pumit__window_is_fixed(volume) ? PUMIT_OK : pumit__stretch_of(out, volume);
}

/* ----------------------------------------------------------------------------------------- voxels */

static float normalised(float value, const pumit__window *window)
{
    const double x = isfinite(value) ? (value - window->low) * window->scale : 0;
    return !(x > 0) ? 0 : x < 1 ? (float)x : 1;
}

pumit_status pumit__check_channels(const pumit_volume *volume, int64_t channels)
{
    const int64_t own = volume->shape[3];
    if (channels >= 1 && (own == channels || own == 1 || (own == 3 && channels == 1)))
        return PUMIT_OK;
    return pumit__fail(PUMIT_ERROR_SHAPE, "an image of %lld channels cannot become one of %lld",
                       (long long)own, (long long)channels);
}

void pumit__window_row(float *dst, const pumit_volume *volume, const pumit__window *window,
                       int64_t d, int64_t h, int64_t w, int64_t count, int64_t channels)
{
    const int64_t *shape = volume->shape, own = shape[3];
    const float *src = volume->voxels + ((d * shape[1] + h) * shape[2] + w) * own;
    if (own == channels) {
        for (int64_t i = 0; i < count * own; i++) dst[i] = normalised(src[i], window);
    } else if (own == 1) {
        for (int64_t i = 0; i < count; i++) {
            const float value = normalised(src[i], window);
            for (int64_t c = 0; c < channels; c++) dst[i * channels + c] = value;
        }
    } else {
        for (int64_t i = 0; i < count; i++)
            dst[i] = 0.299f * normalised(src[3 * i], window) +
                     0.587f * normalised(src[3 * i + 1], window) +
                     0.114f * normalised(src[3 * i + 2], window);
    }
}

pumit_status pumit_volume_to_tensor(pumit_tensor **out, const pumit_volume *volume,
                                    pumit_context *context, int64_t channels)
{
    PUMIT__REQUIRE(out && volume && context, "pumit_volume_to_tensor: an argument is NULL");
    *out = NULL;
    PUMIT__TRY(pumit__check_channels(volume, channels));
    pumit__window window;
    PUMIT__TRY(pumit__window_of(&window, volume));
    const int64_t *s = volume->shape, shape[5] = {1, s[0], s[1], s[2], channels};
    pumit_tensor *tensor;
    PUMIT__TRY(pumit_tensor_create(&tensor, context, PUMIT_F32, 5, shape));
    void *data;
    pumit_status status = pumit_tensor_data(&data, tensor);
    static const int64_t start[3] = {0, 0, 0};
    if (status == PUMIT_OK) status = pumit__volume_box(data, volume, &window, start, s, channels);
    if (status != PUMIT_OK) {
        pumit_tensor_release(tensor);
        return status;
    }
    *out = tensor;
    return PUMIT_OK;
}

/* ---------------------------------------------------------------------------------------- patches */

/* Nearest whole patches of a grid shrunk by `scale`; gives their number. */
static double patches_at(int64_t tokens[3], const int64_t shape[3], const int64_t voxels[3],
                         double scale)
{
    double product = 1;
    for (int i = 0; i < 3; i++) {
        tokens[i] = (int64_t)floor((double)shape[i] * scale / (double)voxels[i] + 0.5);
        if (tokens[i] < 1) tokens[i] = 1;
        product *= (double)tokens[i];
    }
    return product;
}

/* The mildest shrinking that leaves at most `most` patches, by bisection. */
static void choose_tokens(int64_t tokens[3], const int64_t shape[3], const int64_t voxels[3],
                          int64_t most)
{
    if (patches_at(tokens, shape, voxels, 1) <= (double)most || most == 0) return;
    double fits = 0, exceeds = 1;
    for (int i = 0; i < 50; i++) {
        const double middle = (fits + exceeds) / 2;
        if (patches_at(tokens, shape, voxels, middle) <= (double)most)
            fits = middle;
        else
            exceeds = middle;
    }
    patches_at(tokens, shape, voxels, fits);
}

static pumit_status resample(pumit_tensor **out, pumit_tensor *image, pumit_context *context,
                             const int64_t size[3])
{
    const int32_t recording = pumit_context_set_recording(context, 0);
    const int64_t mark = pumit__scope_begin(context);
    const pumit_status status = pumit__scope_return(
        out, context, mark, pumit__resample_to(pumit__as_real(context, image), size));
    pumit_context_set_recording(context, recording);
    return status;
}

pumit_status pumit_volume_to_patches(pumit_tensor **out, double spacing[3],
                                     const pumit_volume *volume, pumit_context *context,
                                     int64_t channels, const int64_t patch[3], int64_t max_tokens)
{
    PUMIT__REQUIRE(out && spacing && volume && context && patch,
                   "pumit_volume_to_patches: an argument is NULL");
    *out = NULL;
    for (int i = 0; i < 3; i++)
        PUMIT__REQUIRE(patch[i] >= 1, "pumit_volume_to_patches: a patch of %lld voxels",
                       (long long)patch[i]);
    PUMIT__REQUIRE(max_tokens >= 0, "pumit_volume_to_patches: at most %lld tokens",
                   (long long)max_tokens);
    const int64_t depth = patch[0] >> volume->anisotropy;
    const int64_t voxels[3] = {depth < 1 ? 1 : depth, patch[1], patch[2]};
    int64_t tokens[3], size[3];
    choose_tokens(tokens, volume->shape, voxels, max_tokens);
    for (int i = 0; i < 3; i++) {
        size[i] = tokens[i] * voxels[i];
        spacing[i] = volume->spacing[i] * (double)volume->shape[i] / (double)size[i];
    }
    pumit__spacing_force(spacing, volume->anisotropy);
    pumit_tensor *image;
    PUMIT__TRY(pumit_volume_to_tensor(&image, volume, context, channels));
    const pumit_status status = resample(out, image, context, size);
    pumit_tensor_release(image);
    return status;
}
