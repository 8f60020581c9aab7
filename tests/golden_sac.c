/* SPDX-License-Identifier: Apache-2.0 */
/* Golden files of single SAC layers. */
#include "lib/nn/sac_conv.h"
#include "lib/tensor/ops.h"
#include "tests/golden.h"

typedef struct {
    const char *name;
    int64_t stride, padding[3];
    bool transposed;
} sac_case;

/* One layer: result, and the gradients of sum(out * grad_out). */
static pumit_status check_sac_case(golden *g, const sac_case *c, int32_t da, int32_t down)
{
    char q[64];
    snprintf(q, sizeof q, "%s.da%d.down%d", c->name, da, down);
    if (!golden_has(g, "%s.in", q)) return PUMIT_OK;
    pumit_tensor *in = golden_tensor(g, "%s.in", q);
    pumit__sac sac = {.weight = golden_tensor(g, "%s.weight", q),
                      .bias = golden_tensor(g, "%s.bias", q),
                      .stride = c->stride,
                      .padding = {c->padding[0], c->padding[1], c->padding[2]},
                      .transposed = c->transposed};
    PUMIT__TRY(pumit_tensor_set_requires_grad(in, 1));
    PUMIT__TRY(pumit_tensor_set_requires_grad(sac.weight, 1));
    PUMIT__TRY(pumit_tensor_set_requires_grad(sac.bias, 1));
    pumit_context_set_recording(g->ctx, 1);
    pumit_tensor *out = pumit__sac_forward(&sac, (pumit__feature){in, da, down}).x;
    pumit_tensor *loss = pumit__mul(out, golden_tensor(g, "%s.grad_out", q));
    loss = loss ? pumit__sum(loss, (UINT32_C(1) << loss->ndim) - 1, 1.0) : NULL;
    pumit_context_set_recording(g->ctx, 0);
    const pumit_status status = loss ? pumit_tensor_backward(loss) : pumit__last_status();
    golden_compare(g, out, golden_tensor(g, "%s.out", q), GOLDEN_FORWARD, "%s.out", q);
    golden_compare(g, golden_gradient(in), golden_tensor(g, "%s.grad_in", q), GOLDEN_GRADIENT,
                   "%s.grad_in", q);
    golden_compare(g, golden_gradient(sac.weight), golden_tensor(g, "%s.grad_weight", q),
                   GOLDEN_GRADIENT, "%s.grad_weight", q);
    golden_compare(g, golden_gradient(sac.bias), golden_tensor(g, "%s.grad_bias", q),
                   GOLDEN_GRADIENT, "%s.grad_bias", q);
    pumit__sac_destroy(&sac);
    return status;
}

pumit_status golden_sac(golden *g)
{
    static const sac_case cases[] = {{"down4", 4, {0}, false},
                                     {"down2", 2, {0}, false},
                                     {"down16", 16, {0}, false},
                                     {"conv3", 1, {1, 1, 1}, false},
                                     {"conv3s2", 2, {1, 1, 1}, false},
                                     {"up2", 2, {0}, true},
                                     {"up4", 4, {0}, true},
                                     {"halve", 2, {0, 1, 1}, false},
                                     {"point", 1, {0}, false}};
    for (int64_t i = 0; i < PUMIT__COUNT(cases); i++)
        for (int32_t da = 0; da <= PUMIT__MOST_ANISOTROPY; da++)
            for (int32_t down = 0; down <= 4; down++) {
                const int64_t mark = pumit__scope_begin(g->ctx);
                const pumit_status status = check_sac_case(g, &cases[i], da, down);
                pumit__scope_end(g->ctx, mark, NULL);
                if (status != PUMIT_OK) return status;
            }
    return PUMIT_OK;
}
