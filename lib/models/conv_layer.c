/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/models/conv_layer.h"

#define EPS   1e-5
#define SLOPE 0.01

typedef struct {
    char text[80];
} part_name;

static part_name part_of(const char *name, const char *part)
{
    part_name full;
    snprintf(full.text, sizeof full.text, "%s.%s", name, part);
    return full;
}

pumit_tensor *pumit__instance_norm(pumit_tensor *x, const pumit__layer *layer)
{
    if (!x) return NULL;
    return pumit__group_norm(x, layer->weight, layer->bias, x->shape[4], EPS);
}

pumit__conv_unit pumit__conv_unit_create(pumit_module *module, const pumit__conv_shape *s,
                                         const char *name)
{
    const pumit__sac_shape shape = {.in = s->in,
                                    .out = s->out,
                                    .kernel = s->kernel,
                                    .kernel_depth = s->depth,
                                    .stride = s->stride,
                                    .padding = (s->kernel - 1) / 2};
    pumit__conv_unit unit;
    unit.conv = pumit__sac_create(module, &shape, part_of(name, "conv").text);
    unit.norm = pumit__module_norm(module, s->out, part_of(name, "adn.N").text);
    return unit;
}

void pumit__conv_unit_destroy(pumit__conv_unit *unit)
{
    pumit__sac_destroy(&unit->conv);
}

pumit__feature pumit__conv_unit_forward(pumit__conv_unit *unit, pumit__feature f)
{
    if (!f.x) return f;
    pumit_context *ctx = f.x->ctx;
    const int64_t mark = pumit__scope_begin(ctx);
    f = pumit__sac_forward(&unit->conv, f);
    f.x = pumit__leaky_relu(pumit__instance_norm(f.x, &unit->norm), SLOPE);
    f.x = pumit__scope_end(ctx, mark, f.x);
    return f;
}
