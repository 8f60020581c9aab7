/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/data/fit.h"
#include "lib/tensor/ops.h"

#include <math.h>
#include <string.h>

#define LEAST_TOKENS 4 /* in the plane: fewer leave attention nothing to compare */

static int64_t whole(double count)
{
    return count < 1.5 ? 1 : (int64_t)(count + 0.5);
}

static int64_t grid_at(int64_t grid[3], const int64_t shape[4], const int64_t voxels[3],
                       double scale)
{
    for (int32_t i = 0; i < 3; i++)
        grid[i] = i == 0 && shape[0] == 1 ? 1 : whole((double)shape[i] * scale / (double)voxels[i]);
    return grid[0] * grid[1] * grid[2];
}

void pumit__fit_size(int64_t size[3], const pumit_volume *volume, const int64_t patch[3],
                     const int64_t tokens[3], int64_t max_tokens)
{
    int64_t shape[4], grid[3];
    pumit_volume_shape(volume, shape);
    const int64_t depth = patch[0] >> pumit_volume_anisotropy(volume);
    const int64_t voxels[3] = {depth > 0 ? depth : 1, patch[1], patch[2]};
    if (tokens && tokens[0] > 0 && tokens[1] > 0 && tokens[2] > 0) {
        memcpy(grid, tokens, sizeof grid);
        if (shape[0] == 1) grid[0] = 1;
    } else {
        double scale = 1;
        for (int32_t i = 1; i < 3; i++)
            scale = fmax(scale, (double)(LEAST_TOKENS * voxels[i]) / (double)shape[i]);
        while (grid_at(grid, shape, voxels, scale) > max_tokens && max_tokens > 0 &&
               grid[0] + grid[1] + grid[2] > 3)
            scale *= 0.98;
    }
    for (int32_t i = 0; i < 3; i++) size[i] = grid[i] * voxels[i];
}

pumit_status pumit__fit_volume(pumit_tensor **out, double spacing[3], const pumit_volume *volume,
                               pumit_context *ctx, int64_t channels, const int64_t size[3])
{
    *out = NULL;
    const int32_t da = pumit_volume_anisotropy(volume);
    const bool flat = isinf((pumit_volume_spacing(volume, spacing), spacing[0]));
    spacing[0] = flat ? INFINITY : (double)(1 << da);
    spacing[1] = spacing[2] = 1;
    pumit_tensor *image;
    PUMIT__TRY(pumit_volume_to_tensor(&image, volume, ctx, channels));
    const int32_t recording = pumit_context_set_recording(ctx, 0);
    const int64_t mark = pumit__scope_begin(ctx);
    const pumit_status status =
        pumit__scope_return(out, ctx, mark, pumit__resample_to(image, size));
    pumit_context_set_recording(ctx, recording);
    pumit_tensor_release(image);
    return status;
}
