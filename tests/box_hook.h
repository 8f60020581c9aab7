/* SPDX-License-Identifier: Apache-2.0 */
/* The linker puts a hook of the tests before pumit__volume_box(): which voxels are read, and what if that fails. */
#ifndef PUMIT_TESTS_BOX_HOOK_H
#define PUMIT_TESTS_BOX_HOOK_H

#include "lib/data/volume.h"

/* The last box that this thread read. */
extern _Thread_local int64_t box_low[3], box_high[3];

/* True for volumes that cannot be read; NULL: all can. Set it while nobody reads. */
extern bool (*box_breaks)(const pumit_volume *volume);

#endif
