/* SPDX-License-Identifier: Apache-2.0 */
/* Golden files of resampling. */
#include "lib/tensor/ops.h"
#include "tests/golden.h"

#include <stdlib.h>
#include <string.h>

/* N C H W as N 1 H W C. */
static pumit_tensor *plane_tensor(golden *g, const char *name)
{
    static const int32_t last[4] = {0, 2, 3, 1};
    pumit_tensor *x = golden_plain(g, "%s", name);
    if (!x || x->ndim != 4) return NULL;
    const int64_t shape[5] = {x->shape[0], 1, x->shape[2], x->shape[3], x->shape[1]};
    return pumit__reshape(pumit__permute(x, last), 5, shape);
}

/* "out.KIND.DxHxW" of in.x, "out.bicubic.HxW" of in.image. */
static void check_resampled(golden *g, const char *name)
{
    static const struct {
        const char *prefix;
        int32_t kind; /* 0: resample_to */
    } kinds[] = {{"out.area_then_trilinear.", 0},
                 {"out.area.", PUMIT_RESAMPLE_AREA},
                 {"out.trilinear.", PUMIT_RESAMPLE_TRILINEAR},
                 {"out.nearest_exact.", PUMIT_RESAMPLE_NEAREST_EXACT},
                 {"out.bicubic.", PUMIT_RESAMPLE_BICUBIC}};
    for (int64_t i = 0; i < PUMIT__COUNT(kinds); i++) {
        const size_t length = strlen(kinds[i].prefix);
        if (strncmp(name, kinds[i].prefix, length) != 0) continue;
        const bool flat = kinds[i].kind == PUMIT_RESAMPLE_BICUBIC;
        int64_t size[3] = {1, 0, 0};
        char *at = (char *)(uintptr_t)(name + length);
        for (int32_t k = flat ? 1 : 0; k < 3; k++) size[k] = strtoll(at + (*at == 'x'), &at, 10);
        pumit_tensor *x = flat ? plane_tensor(g, "in.image") : golden_tensor(g, "in.x");
        pumit_tensor *y =
            kinds[i].kind ? pumit__resample(x, size, kinds[i].kind) : pumit__resample_to(x, size);
        golden_compare(g, y, flat ? plane_tensor(g, name) : golden_tensor(g, "%s", name),
                       GOLDEN_FORWARD, "%s", name);
        return;
    }
    golden_compare(g, NULL, NULL, GOLDEN_FORWARD, "%s", name);
}

pumit_status golden_resample(golden *g)
{
    for (int64_t i = 0; i < pumit__safetensors_count(g->file); i++) {
        const char *name = pumit__safetensors_entry_at(g->file, i)->name;
        const int64_t mark = pumit__scope_begin(g->ctx);
        if (strncmp(name, "out.", 4) == 0) check_resampled(g, name);
        pumit__scope_end(g->ctx, mark, NULL);
    }
    return PUMIT_OK;
}
