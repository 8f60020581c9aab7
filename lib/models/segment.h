/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From an image to the logits of its own voxels, in bounded memory.
 *
 * The image is resampled to the network's grid window by window. Windows go layer by layer along D; what they give is blended into a slab as
 * deep as one layer. Once no further window touches a slice of it, the slice is resampled to the image's slices, handed on, and
 * forgotten. Where a slab of the whole plane exceeds the memory, the plane is cut into bands along H, whose windows at the borders are computed
 * for both sides.
 */
#ifndef PUMIT_LIB_MODELS_SEGMENT_H
#define PUMIT_LIB_MODELS_SEGMENT_H

#include "lib/data/volume.h"

#include <pumit/segment.h>

/* Logits (1, d, h, w, classes), a new reference, of a window (1, d, h, w, channels) with intensities in [0, 1]. */
typedef pumit_status (*pumit__segment_network)(pumit_tensor **logits, void *user,
                                               pumit_tensor *window);

/* Logits (high - low, classes) of the voxels low <= (d, h, w) < high; may be overwritten. Each voxel comes once. */
typedef pumit_status (*pumit__segment_take)(void *user, const int64_t low[3], const int64_t high[3],
                                            float *logits);

typedef struct {
    pumit_context *ctx;
    pumit__segment_network network;
    void *network_user;
    int64_t channels, classes;
    double step[3];    /* voxels of the image per voxel of the network's grid */
    int64_t window[3]; /* in voxels of that grid */
    double overlap;    /* 0..0.9 */
    bool gaussian;
    bool flips;     /* the mean over all mirrorings */
    int64_t memory; /* bytes; what the network itself needs is found by its first window */
    pumit__segment_take take;
    void *take_user;
    pumit_segment_fn progress; /* may be NULL */
    void *progress_user;
} pumit__segmentation;

/* PUMIT_ERROR_LIMIT where `memory` is too little, with the least that would do. */
pumit_status pumit__segment(const pumit__segmentation *job, const pumit_volume *volume);

/* The same to a label map, and to a file of probabilities unless its path is NULL. `names`: see pumit__nifti_head(). job->take is not used. */
pumit_status pumit__segment_to_labels(pumit_label_map **out, const pumit__segmentation *job,
                                      const pumit_volume *volume, const char *probabilities,
                                      const pumit_config *names);

/* --------------------------------------------------------------------------------------- one window */

typedef struct pumit__segment_eye pumit__segment_eye;

/* Reads windows of `volume` and asks the network. */
pumit_status pumit__segment_eye_create(pumit__segment_eye **out, const pumit__segmentation *job,
                                       const pumit_volume *volume);
void pumit__segment_eye_free(pumit__segment_eye *eye);

/* The logits of the window that begins at `first` of a grid of `length` voxels from `start` on, (window, classes); valid until the next call. */
pumit_status pumit__segment_look(const float **logits, pumit__segment_eye *eye,
                                 const int64_t first[3], const int64_t length[3],
                                 const double start[3]);

/* Bytes that looking has needed, the network's included. */
int64_t pumit__segment_eye_bytes(const pumit__segment_eye *eye);

#endif
