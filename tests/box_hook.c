/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/box_hook.h"

#include <string.h>

_Thread_local int64_t box_low[3], box_high[3];
bool (*box_breaks)(const pumit_volume *volume);

pumit_status __real_pumit__volume_box(float *dst, const pumit_volume *volume,
                                      const pumit__window *window, const int64_t low[3],
                                      const int64_t high[3], int64_t channels);
pumit_status __wrap_pumit__volume_box(float *dst, const pumit_volume *volume,
                                      const pumit__window *window, const int64_t low[3],
                                      const int64_t high[3], int64_t channels);

pumit_status __wrap_pumit__volume_box(float *dst, const pumit_volume *volume,
                                      const pumit__window *window, const int64_t low[3],
                                      const int64_t high[3], int64_t channels)
{
    memcpy(box_low, low, sizeof box_low);
    memcpy(box_high, high, sizeof box_high);
    if (box_breaks && box_breaks(volume))
        return pumit__fail(PUMIT_ERROR_IO, "broken.npy: cannot read: it is a test");
    return __real_pumit__volume_box(dst, volume, window, low, high, channels);
}
