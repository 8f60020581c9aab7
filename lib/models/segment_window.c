/* SPDX-License-Identifier: Apache-2.0 */
/* One window of an image through the network, mirrored if wanted. */
#include "lib/data/crop.h"
#include "lib/models/segment.h"
#include "lib/tensor/tensor.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct pumit__segment_eye {
    const pumit__segmentation *job;
    const pumit_volume *volume;
    pumit__window intensities;
    pumit__crop_scratch scratch;
    float *inside;   /* the part of the window that lies in the image, before gray is repeated */
    float *window;   /* (window, channels) */
    float *mirrored; /* the same for `flips`, else NULL */
    float *logits;   /* (window, classes) */
    float *other;    /* of a mirrored window */
    int64_t network_bytes;
};

static int64_t voxels_of(const int64_t size[3])
{
    return size[0] * size[1] * size[2];
}

void pumit__segment_eye_free(pumit__segment_eye *eye)
{
    if (!eye) return;
    pumit__crop_scratch_free(&eye->scratch);
    free(eye->inside);
    free(eye->window);
    free(eye->mirrored);
    free(eye->logits);
    free(eye->other);
    free(eye);
}

static pumit_status allocate(pumit__segment_eye *eye)
{
    const pumit__segmentation *job = eye->job;
    int64_t voxels = (int64_t)sizeof(float), logits, values;
    bool fits = true;
    for (int i = 0; i < 3; i++) fits = fits && pumit__multiply(&voxels, voxels, job->window[i]);
    fits = fits && pumit__multiply(&values, voxels, job->channels) &&
           pumit__multiply(&logits, voxels, job->classes);
    if (!fits) return pumit__fail(PUMIT_ERROR_LIMIT, "segment: the window is too large");
    eye->inside = pumit__calloc(values, 1);
    eye->window = pumit__calloc(values, 1);
    eye->logits = pumit__calloc(logits, 1);
    if (job->flips) {
        eye->mirrored = pumit__calloc(values, 1);
        eye->other = pumit__calloc(logits, 1);
    }
    if (!eye->inside || !eye->window || !eye->logits ||
        (job->flips && (!eye->mirrored || !eye->other)))
        return pumit__fail_memory(logits, "a window's logits");
    return PUMIT_OK;
}

pumit_status pumit__segment_eye_create(pumit__segment_eye **out, const pumit__segmentation *job,
                                       const pumit_volume *volume)
{
    *out = NULL;
    PUMIT__TRY(pumit__check_channels(volume, job->channels));
    pumit__segment_eye *eye = pumit__calloc(1, sizeof *eye);
    if (!eye) return pumit__fail_memory(sizeof *eye, "segmentation");
    eye->job = job;
    eye->volume = volume;
    pumit_status status = pumit__window_of(&eye->intensities, volume);
    if (status == PUMIT_OK) status = allocate(eye);
    if (status == PUMIT_OK)
        *out = eye;
    else
        pumit__segment_eye_free(eye);
    return status;
}

/* The rows of a box of size `size` into the window from `at` on; gray is repeated. */
static void place(const pumit__segment_eye *eye, const int64_t at[3], const int64_t size[3])
{
    const int64_t *w = eye->job->window, channels = eye->job->channels;
    const int64_t own = pumit__crop_channels(eye->volume, channels);
    const float *from = eye->inside;
    for (int64_t d = 0; d < size[0]; d++)
        for (int64_t h = 0; h < size[1]; h++, from += size[2] * own) {
            float *to = eye->window + (((at[0] + d) * w[1] + at[1] + h) * w[2] + at[2]) * channels;
            if (own == channels)
                memcpy(to, from, (size_t)(size[2] * own) * sizeof *to);
            else
                pumit__repeat_gray(to, from, size[2], channels);
        }
}

/* Outside of the image there are zeros, as in training. */
static pumit_status read_window(pumit__segment_eye *eye, const int64_t first[3],
                                const int64_t length[3], const double start[3])
{
    const pumit__segmentation *job = eye->job;
    pumit__crop crop = {.gain = 1, .contrast = 1, .gamma = 1, .inverse_gamma = 1};
    int64_t at[3];
    for (int i = 0; i < 3; i++) {
        const int64_t low = first[i] > 0 ? first[i] : 0;
        const int64_t end = first[i] + job->window[i];
        const int64_t high = end < length[i] ? end : length[i];
        at[i] = low - first[i];
        crop.size[i] = high - low;
        crop.step[i] = job->step[i];
        crop.start[i] = start[i] + job->step[i] * (double)low;
    }
    const int64_t values = voxels_of(job->window) * job->channels;
    memset(eye->window, 0, (size_t)values * sizeof *eye->window);
    PUMIT__TRY(pumit__crop_render(eye->inside, eye->volume, &eye->intensities, &crop, job->channels,
                                  &eye->scratch));
    place(eye, at, crop.size);
    return PUMIT_OK;
}

/* dst += or = src (size, channels), mirrored along the axes whose bits are set in `axes`. */
static void mirror(float *dst, const float *src, const int64_t size[3], int64_t channels,
                   unsigned axes, bool add)
{
    for (int64_t d = 0; d < size[0]; d++)
        for (int64_t h = 0; h < size[1]; h++) {
            const int64_t e = axes & 1 ? size[0] - 1 - d : d, g = axes & 2 ? size[1] - 1 - h : h;
            const float *row = src + (e * size[1] + g) * size[2] * channels;
            for (int64_t w = 0; w < size[2]; w++) {
                const float *from = row + (axes & 4 ? size[2] - 1 - w : w) * channels;
                for (int64_t c = 0; c < channels; c++, dst++) *dst = from[c] + (add ? *dst : 0);
            }
        }
}

/* A class would be found even so: the background, without a word. */
static pumit_status check_finite(const float *logits, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        PUMIT__REQUIRE(isfinite(logits[i]),
                       "segment: the network gives %g for a class: its weights are of no use, "
                       "take an earlier checkpoint",
                       (double)logits[i]);
    return PUMIT_OK;
}

static pumit_status ask(float *logits, const pumit__segment_eye *eye, const float *window)
{
    const pumit__segmentation *job = eye->job;
    const int64_t *w = job->window;
    const int64_t shape[5] = {1, w[0], w[1], w[2], job->channels};
    const int64_t wanted[5] = {1, w[0], w[1], w[2], job->classes};
    pumit_tensor *image = NULL, *out = NULL;
    pumit_status status;
    PUMIT__GO(pumit_tensor_from_data(&image, job->ctx, PUMIT_F32, 5, shape, window));
    PUMIT__GO(job->network(&out, job->network_user, image));
    if (out->ndim != 5 || memcmp(out->shape, wanted, sizeof wanted) != 0)
        PUMIT__GO(pumit__fail(PUMIT_ERROR_SHAPE, "segment: the network gives %s for a window of %s",
                              pumit__shape_string(out->ndim, out->shape).text,
                              pumit__shape_string(5, shape).text));
    PUMIT__GO(pumit_tensor_read(out, PUMIT_F32, logits,
                                voxels_of(w) * job->classes * (int64_t)sizeof *logits));
    status = check_finite(logits, voxels_of(w) * job->classes);
out:
    pumit_tensor_release(image);
    pumit_tensor_release(out);
    return status;
}

/* The mean over all mirrorings; a window one voxel deep has none along D. */
static pumit_status ask_mirrored(pumit__segment_eye *eye)
{
    const pumit__segmentation *job = eye->job;
    const int64_t *w = job->window, count = voxels_of(w) * job->classes;
    float times = 1;
    for (unsigned axes = 1; axes < 8; axes++) {
        if (axes & 1 && w[0] == 1) continue;
        mirror(eye->mirrored, eye->window, w, job->channels, axes, false);
        PUMIT__TRY(ask(eye->other, eye, eye->mirrored));
        mirror(eye->logits, eye->other, w, job->classes, axes, true);
        times++;
    }
    for (int64_t i = 0; i < count; i++) eye->logits[i] /= times;
    return PUMIT_OK;
}

pumit_status pumit__segment_look(const float **logits, pumit__segment_eye *eye,
                                 const int64_t first[3], const int64_t length[3],
                                 const double start[3])
{
    /* The arena's peak is followed from here, and given back what it was. */
    pumit__arena *arena = &eye->job->ctx->arena;
    const int64_t peak = arena->peak, before = arena->in_use;
    arena->peak = before;
    pumit_status status = read_window(eye, first, length, start);
    if (status == PUMIT_OK) status = ask(eye->logits, eye, eye->window);
    if (status == PUMIT_OK && eye->job->flips) status = ask_mirrored(eye);
    const int64_t needed = arena->peak - before;
    if (needed > eye->network_bytes) eye->network_bytes = needed;
    if (arena->peak < peak) arena->peak = peak;
    *logits = eye->logits;
    return status;
}

int64_t pumit__segment_eye_bytes(const pumit__segment_eye *eye)
{
    const pumit__segmentation *job = eye->job;
    int64_t values = voxels_of(job->window) * (2 * job->channels + job->classes);
    if (job->flips) values += voxels_of(job->window) * (job->channels + job->classes);
    for (int i = 0; i < 3; i++) values += eye->scratch.buffer[i].capacity;
    return values * (int64_t)sizeof(float) + eye->network_bytes;
}
