/* SPDX-License-Identifier: Apache-2.0 */
/* A simple pyramid on a plain transformer (Li et al. 2022, ViTDet), with steps that leave coarse depth alone. */
#include "lib/models/adapter.h"

pumit__step pumit__step_of(int32_t da, int32_t i)
{
    return (pumit__step){{i > da ? 2 : 1, 2, 2}};
}

static pumit__layer add_up(pumit_module *module, int64_t dim, int32_t da, int32_t i,
                           const char *name)
{
    const pumit__step step = pumit__step_of(da, i);
    const pumit__conv_shape shape = {.in = dim,
                                     .out = dim,
                                     .kernel = {step.size[0], step.size[1], step.size[2]},
                                     .transposed = true,
                                     .bias = true};
    return pumit__conv_layer(module, &shape, name);
}

void pumit__adapter_build(pumit__adapter *adapter, pumit_module *module, int64_t dim, int32_t da)
{
    adapter->da = da;
    adapter->finest_first = add_up(module, dim, da, 4, "backbone.fpn.0.0");
    adapter->finest_norm = pumit__module_norm(module, dim, "backbone.fpn.0.1");
    adapter->finest_second = add_up(module, dim, da, 3, "backbone.fpn.0.3");
    adapter->fine = add_up(module, dim, da, 4, "backbone.fpn.1");
    for (int32_t k = 0; k < PUMIT__PYRAMID_MAPS; k++) {
        char name[32];
        snprintf(name, sizeof name, "backbone.norms.%d", k);
        adapter->norms[k] = pumit__module_norm(module, dim, name);
    }
}

static pumit_tensor *up(pumit_tensor *x, const pumit__layer *layer)
{
    return pumit__conv_transpose(x, layer->weight, layer->bias);
}

static pumit_tensor *map_of(const pumit__adapter *adapter, int32_t k, pumit_tensor *x)
{
    if (k == 0) {
        x = pumit__instance_norm(up(x, &adapter->finest_first), &adapter->finest_norm);
        return up(pumit__gelu(x), &adapter->finest_second);
    }
    if (k == 1) return up(x, &adapter->fine);
    return k == 2 ? x : pumit__max_pool(x, pumit__step_of(adapter->da, 5).size);
}

pumit_status pumit__adapter_forward(pumit_tensor *maps[PUMIT__PYRAMID_MAPS],
                                    const pumit__adapter *adapter, pumit_tensor *const *states,
                                    const int64_t grid[3])
{
    for (int32_t k = 0; k < PUMIT__PYRAMID_MAPS; k++) {
        pumit_tensor *state = states[k];
        const int64_t shape[5] = {state->shape[0], grid[0], grid[1], grid[2], state->shape[2]};
        const int64_t mark = pumit__scope_begin(state->ctx);
        pumit_tensor *x = pumit__reshape(pumit__slice(state, 1, 1, state->shape[1] - 1), 5, shape);
        x = map_of(adapter, k, pumit__instance_norm(x, &adapter->norms[k]));
        maps[k] = pumit__scope_end(state->ctx, mark, x);
        if (!maps[k]) return pumit__last_status();
    }
    return PUMIT_OK;
}
