/* SPDX-License-Identifier: Apache-2.0 */
/* Golden files of LPIPS: the distance of two batches, and its gradient by the first. */
#include "lib/models/lpips.h"
#include "lib/tensor/ops.h"
#include "tests/golden.h"

/* Images (N, C, H, W) of the file as (N, 1, H, W, C). */
static pumit_tensor *images(golden *g, const char *name)
{
    static const int32_t last[4] = {0, 2, 3, 1};
    pumit_tensor *x = pumit__contiguous(pumit__permute(golden_plain(g, "%s", name), last));
    if (!x) return NULL;
    const int64_t shape[5] = {x->shape[0], 1, x->shape[1], x->shape[2], x->shape[3]};
    return pumit__reshape(x, 5, shape);
}

pumit_status golden_lpips(golden *g)
{
    pumit_lpips *lpips;
    PUMIT__TRY(pumit__lpips_load(&lpips, g->ctx, g->path, "w."));
    pumit_tensor *x = images(g, "in.x"), *distance = NULL;
    pumit_status status = x ? pumit_tensor_set_requires_grad(x, 1) : pumit__last_status();
    if (status == PUMIT_OK) {
        pumit_context_set_recording(g->ctx, 1);
        distance = pumit__lpips_distance(lpips, x, images(g, "in.y"));
        pumit_context_set_recording(g->ctx, 0);
        golden_compare_scalar(g, golden_item(distance), "out.distance");
        status = distance ? pumit_tensor_backward(distance) : pumit__last_status();
    }
    if (status == PUMIT_OK)
        golden_compare(g, golden_gradient(x), images(g, "grad.x"), GOLDEN_GRADIENT, "grad.x");
    pumit_lpips_release(lpips);
    return status;
}
