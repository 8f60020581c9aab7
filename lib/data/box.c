/* SPDX-License-Identifier: Apache-2.0 */
/* A box of a volume's voxels as networks take them; nothing outside it is touched. */
#include "lib/data/volume.h"

pumit_status pumit__volume_box(float *dst, const pumit_volume *volume, const pumit__window *window,
                               const int64_t low[3], const int64_t high[3], int64_t channels)
{
    const int64_t width = high[2] - low[2];
    for (int64_t d = low[0]; d < high[0]; d++)
        for (int64_t h = low[1]; h < high[1]; h++, dst += width * channels)
            pumit__window_row(dst, volume, window, d, h, low[2], width, channels);
    return PUMIT_OK;
}
