/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/tensor/recompute.h"

static pumit_tensor *run(const pumit__stretch *stretch, pumit_tensor *x, bool recording)
{
    pumit_context *ctx = x->ctx;
    const bool before = ctx->recording;
    const int64_t mark = pumit__scope_begin(ctx);
    ctx->recording = recording;
    pumit_tensor *y = stretch->run(stretch, x);
    ctx->recording = before;
    return pumit__scope_end(ctx, mark, y);
}

/* saved: x, then the stretch's tensors */
static pumit_status recompute_backward(pumit__node *node, pumit_tensor *diff_dst)
{
    pumit__slot *const in = node->in[0];
    pumit_tensor *x = pumit__detach(node->saved[0]); /* with a slot of its own */
    if (!x) return pumit__last_status();
    if (in) PUMIT__TRY(pumit_tensor_set_requires_grad(x, 1));
    pumit_tensor *y = run(&node->stretch, x, true);
    if (!y) return pumit__last_status();
    if (!y->slot) return PUMIT_OK; /* neither x nor a parameter wants a gradient */
    PUMIT__TRY(pumit__backward_from(y, diff_dst));
    return in && x->slot->grad ? pumit__accumulate(in, x->slot->grad) : PUMIT_OK;
}

/* Hands x, the stretch's tensors and its model to a node. */
static bool record(pumit_tensor *y, const pumit__stretch *stretch, pumit_tensor *x)
{
    pumit__node *node = pumit__record(y, recompute_backward, x, NULL, NULL);
    if (!node) return false;
    node->stretch = *stretch;
    pumit__save(node, 0, x);
    for (int32_t i = 0; i < PUMIT__STRETCH_TENSORS; i++) {
        pumit__save(node, 1 + i, stretch->given[i]);
        node->stretch.given[i] = node->saved[1 + i];
    }
    return true;
}

pumit_tensor *pumit__recompute(const pumit__stretch *stretch, pumit_tensor *x)
{
    /* run() may give x itself, or a parameter: these keep their own slots. */
    pumit_tensor *y = x ? pumit__detach(run(stretch, x, false)) : NULL;
    bool kept = false;
    if (y && x->ctx->recording) {
        kept = record(y, stretch, x);
        if (!kept) y = NULL;
    }
    if (!kept && stretch->release) stretch->release(stretch->model);
    return y;
}
