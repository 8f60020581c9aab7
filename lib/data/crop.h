/* SPDX-License-Identifier: Apache-2.0 */
/* A box of a volume, turned, resampled and normalised in one interpolation: computed straight from the voxels it covers. */
#ifndef PUMIT_LIB_DATA_CROP_H
#define PUMIT_LIB_DATA_CROP_H

#include "lib/data/filter.h"
#include "lib/data/volume.h"

typedef struct {
    int64_t size[3]; /* of the crop */
    double
        start[3]; /* corner, in source voxels; of a turned crop before it turns about its middle */
    double step[3]; /* source voxels per voxel of the crop */
    bool flip[3];
    bool turned;
    double turn[3][3]; /* if turned: rotation in mm, from the crop's axes to the source's */
    float gain, contrast, gamma, inverse_gamma; /* each 1 for none; see pumit__crop_render() */
} pumit__crop;

#define PUMIT__CURVE 4096

/* Memory of one thread's crops, used again and again. Starts as {0}. */
typedef struct {
    pumit__filter filter[3];
    struct {
        float *data;
        int64_t capacity;
    } buffer[3];
    float curve[PUMIT__CURVE + 2]; /* of intensities, at i / PUMIT__CURVE */
} pumit__crop_scratch;

void pumit__crop_scratch_free(pumit__crop_scratch *scratch);

/* Half the length that the crop takes along each axis of the source, in source voxels. */
void pumit__crop_reach(double reach[3], const pumit_volume *volume, const pumit__crop *crop);

/* Channels that are computed for a crop of `channels`: 1 of a gray image, which pumit__repeat_gray() completes. */
int64_t pumit__crop_channels(const pumit_volume *volume, int64_t channels);

/*
 * dst: (size..., pumit__crop_channels()). A crop that is not turned repeats the image's edges, and where the step is above 1 a
 * triangle of that half-width keeps fine detail from aliasing. A turned one is trilinear, without that filter (its steps are
 * near 1), and 0 outside of the image. Then v becomes v * gain, mean + contrast * (v - mean), v^gamma, 1 - (1 - v)^inverse_gamma, all within
 * 0..1; the powers are interpolated between PUMIT__CURVE points.
 */
pumit_status pumit__crop_render(float *dst, const pumit_volume *volume, const pumit__window *window,
                                const pumit__crop *crop, int64_t channels,
                                pumit__crop_scratch *scratch);

/* The classes at the places of the same crop's voxels, by the nearest voxel; 0 outside of the image. dst: (size...). `labels`: (D, H, W). */
void pumit__crop_labels(uint8_t *dst, const uint8_t *labels, const pumit_volume *volume,
                        const pumit__crop *crop);

/* src (count) to dst (count, channels). */
void pumit__repeat_gray(float *dst, const float *src, int64_t count, int64_t channels);

#endif
