/* SPDX-License-Identifier: Apache-2.0 */
/* A simple pyramid on a plain transformer (Li et al. 2022, ViTDet), with steps that leave coarse depth alone. */
#include "lib/models/adapter.h"

pumit__sac pumit__grow_layer(pumit_module *module, int64_t in, int64_t out, int32_t da,
                             int32_t step, const char *name)
{
    const pumit__sac_shape shape = {.in = in,
                                    .out = out,
                                    .kernel = 2,
                                    .kernel_depth = step > da ? 2 : 1,
                                    .stride = 2,
                                    .transposed = true,
                                    .bias = true};
    return pumit__sac_create(module, &shape, name);
}

void pumit__adapter_build(pumit__adapter *adapter, pumit_module *module, int64_t dim, int32_t down,
                          int32_t da)
{
    adapter->down = down;
    adapter->finest_first = pumit__grow_layer(module, dim, dim, da, down, "backbone.fpn.0.0");
    adapter->finest_norm = pumit__module_norm(module, dim, "backbone.fpn.0.1");
    adapter->finest_second = pumit__grow_layer(module, dim, dim, da, down - 1, "backbone.fpn.0.3");
    adapter->fine = pumit__grow_layer(module, dim, dim, da, down, "backbone.fpn.1");
    for (int32_t k = 0; k < PUMIT__PYRAMID_MAPS; k++) {
        char name[32];
        snprintf(name, sizeof name, "backbone.norms.%d", k);
        adapter->norms[k] = pumit__module_norm(module, dim, name);
    }
}

void pumit__adapter_destroy(pumit__adapter *adapter)
{
    pumit__sac_destroy(&adapter->finest_first);
    pumit__sac_destroy(&adapter->finest_second);
    pumit__sac_destroy(&adapter->fine);
}

/* Map k from the tokens' map. */
static pumit__feature map_of(pumit__adapter *adapter, int32_t k, pumit__feature f)
{
    if (k == 0) {
        f = pumit__sac_forward(&adapter->finest_first, f);
        f.x = pumit__gelu(pumit__instance_norm(f.x, &adapter->finest_norm));
        return pumit__sac_forward(&adapter->finest_second, f);
    }
    if (k == 1) return pumit__sac_forward(&adapter->fine, f);
    if (k == 2) return f;
    const int64_t size[3] = {f.down >= f.da ? 2 : 1, 2, 2};
    return (pumit__feature){pumit__max_pool(f.x, size), f.da, f.down + 1};
}

pumit_status pumit__adapter_forward(pumit__feature maps[PUMIT__PYRAMID_MAPS],
                                    pumit__adapter *adapter, pumit_tensor *const *states,
                                    const int64_t grid[3], int32_t da)
{
    for (int32_t k = 0; k < PUMIT__PYRAMID_MAPS; k++) {
        pumit_tensor *state = states[k];
        const int64_t shape[5] = {state->shape[0], grid[0], grid[1], grid[2], state->shape[2]};
        const int64_t mark = pumit__scope_begin(state->ctx);
        pumit_tensor *x = pumit__reshape(pumit__slice(state, 1, 1, state->shape[1] - 1), 5, shape);
        x = pumit__instance_norm(x, &adapter->norms[k]);
        maps[k] = map_of(adapter, k, (pumit__feature){x, da, adapter->down});
        maps[k].x = pumit__scope_end(state->ctx, mark, maps[k].x);
        if (!maps[k].x) return pumit__last_status();
    }
    return PUMIT_OK;
}
