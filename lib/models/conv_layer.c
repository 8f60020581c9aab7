/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/models/conv_layer.h"

#include <math.h>

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

pumit__layer pumit__conv_layer(pumit_module *module, const pumit__conv_shape *s, const char *name)
{
    const int64_t *k = s->kernel, taps = s->transposed ? 1 : k[0] * k[1] * k[2];
    const int64_t shape[5] = {s->transposed ? s->in : s->out, k[0], k[1], k[2],
                              s->transposed ? s->out : s->in};
    const double deviation = 1.0 / sqrt((double)(s->in * taps));
    pumit__layer layer = {0};
    layer.weight =
        pumit__module_add(module, 5, shape, true, PUMIT__NORMAL(deviation), "%s.weight", name);
    if (s->bias)
        layer.bias =
            pumit__module_add(module, 1, &s->out, false, PUMIT__CONSTANT(0.0), "%s.bias", name);
    return layer;
}

pumit_tensor *pumit__instance_norm(pumit_tensor *x, const pumit__layer *layer)
{
    if (!x) return NULL;
    return pumit__group_norm(x, layer->weight, layer->bias, x->shape[4], EPS);
}

pumit__conv_unit pumit__conv_unit_create(pumit_module *module, int64_t in, int64_t out,
                                         const int64_t kernel[3], const char *name)
{
    const pumit__conv_shape shape = {
        .in = in, .out = out, .kernel = {kernel[0], kernel[1], kernel[2]}};
    pumit__conv_unit unit;
    unit.conv = pumit__conv_layer(module, &shape, part_of(name, "conv").text);
    unit.norm = pumit__module_norm(module, out, part_of(name, "adn.N").text);
    return unit;
}

pumit_tensor *pumit__conv_unit_forward(const pumit__conv_unit *unit, pumit_tensor *x,
                                       const int64_t stride[3])
{
    pumit_tensor *weight = unit->conv.weight;
    int64_t padding[3];
    for (int32_t i = 0; i < 3; i++) padding[i] = (weight->shape[1 + i] - 1) / 2;
    const int64_t mark = pumit__scope_begin(weight->ctx);
    x = pumit__instance_norm(pumit__conv(x, weight, NULL, stride, padding), &unit->norm);
    return pumit__scope_end(weight->ctx, mark, pumit__leaky_relu(x, SLOPE));
}
