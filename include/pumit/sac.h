/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file sac.h
 * The spatially adaptive convolution (paper section 3.1), usable alone: one set of weights reads features of any voxel spacing.
 *
 * The anisotropy of a feature map is max(DA - down, 0), where DA is the image's degree of anisotropy (volume.h) and `down` counts
 * how often the in-plane axes have been halved so far. While it is positive, depth is left alone (or strided less) and the
 * kernel's depth is shrunk by summing.
 */
#ifndef PUMIT_SAC_H
#define PUMIT_SAC_H

#include <pumit/module.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Makes a layer with random weights. Keys of `config`:
 * - "in_channels", "out_channels": required.
 * - "kernel": 1..16 on all axes, "stride": a power of two, "padding": on all axes, default 0. The variants are: down-sampling
 *   (kernel == stride), 3x3x3 with padding 1 and stride 1 or 2, and 1x1x1.
 * - "transposed": true for up-sampling by `stride`; then kernel == stride.
 * - "bias": default true. "seed": default 0.
 * Parameters are named "weight" and "bias". @since 0.1
 */
PUMIT_API pumit_status pumit_sac_conv_create(pumit_sac_conv **out, pumit_context *context,
                                             const pumit_config *config);

/** NULL is fine. @since 0.1 */
PUMIT_API void pumit_sac_conv_release(pumit_sac_conv *conv);

/** The layer's parameters; borrowed. @since 0.1 */
PUMIT_API pumit_module *pumit_sac_conv_module(pumit_sac_conv *conv);

/**
 * Applies the layer to src (N, D, H, W, in_channels).
 * @param image_spacing {slice, row, column} in mm of the image that src was computed from
 * @param down in-plane halvings between that image and src
 * @param out_spacing receives the spacing of the result (infinite along D for 2D); may be NULL
 * @param out_down receives the halvings after the layer; may be NULL
 * PUMIT_ERROR_SHAPE where src does not fit. @since 0.1
 */
PUMIT_API pumit_status pumit_sac_conv_forward(pumit_tensor **out, double out_spacing[3],
                                              int32_t *out_down, pumit_sac_conv *conv,
                                              pumit_tensor *src, const double image_spacing[3],
                                              int32_t down);

/** As pumit_sac_conv_forward() for callers who know the image's degree of anisotropy, 0..5. @since 0.1 */
PUMIT_API pumit_status pumit_sac_conv_forward_da(pumit_tensor **out, int32_t *out_down,
                                                 pumit_sac_conv *conv, pumit_tensor *src,
                                                 int32_t da, int32_t down);

#ifdef __cplusplus
}
#endif
#endif
