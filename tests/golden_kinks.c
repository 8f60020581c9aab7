/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/golden_kinks.h"

#include "lib/tensor/ops.h"

#include <math.h>
#include <stdlib.h>

#define NEAR  5e-6 /* of arguments whose deviation is about 1, as norms in front of them make it */
#define MOST  24   /* kinks that are tried, nearest to zero first */
#define NODES 4096

/* One argument near zero. */
typedef struct {
    int32_t node; /* which LeakyReLU, in the order of recording */
    int64_t element;
    double value;
    bool other_side; /* its gradient is to be that of the other sign */
} kink;

typedef struct {
    golden *g;
    pumit_module *module;
    const char *prefix;
    golden_loss_fn loss;
    void *user;
    pumit__backward_fn unary; /* what the tape calls for a LeakyReLU */
    kink kinks[MOST];
    int32_t count;
    double worst; /* error of the last run's gradients */
} search;

/* ------------------------------------------------------------------------------------------ the tape */

static pumit_status find_unary(search *s)
{
    const int64_t one = 1;
    const int32_t recording = pumit_context_set_recording(s->g->ctx, 1);
    pumit_tensor *x = pumit__zeros(s->g->ctx, 0, 1, &one);
    if (x) pumit_tensor_set_requires_grad(x, 1);
    const pumit_tensor *y = pumit__leaky_relu(x, 0.5);
    if (y) s->unary = y->slot->node->backward;
    pumit_context_set_recording(s->g->ctx, recording);
    return y ? PUMIT_OK : pumit__last_status();
}

static int32_t index_of(pumit__node *const *list, int32_t count, const pumit__node *node)
{
    for (int32_t i = 0; i < count; i++)
        if (list[i] == node) return i;
    return -1;
}

static int earlier(const void *a, const void *b)
{
    const uint64_t x = (*(pumit__node *const *)a)->sequence,
                   y = (*(pumit__node *const *)b)->sequence;
    return (x > y) - (x < y);
}

/* The LeakyReLUs behind a loss, in the order of recording. */
static int32_t find_nodes(const search *s, pumit__node **list, const pumit_tensor *loss)
{
    int32_t count = 0, kept = 0;
    if (loss->slot && loss->slot->node) list[count++] = loss->slot->node;
    for (int32_t at = 0; at < count; at++)
        for (int32_t i = 0; i < PUMIT__NODE_INPUTS && count < NODES; i++) {
            pumit__slot *in = list[at]->in[i];
            if (in && in->node && index_of(list, count, in->node) < 0) list[count++] = in->node;
        }
    for (int32_t i = 0; i < count; i++)
        if (list[i]->backward == s->unary && list[i]->integer[0] == PUMIT_UNARY_LEAKY_RELU)
            list[kept++] = list[i];
    qsort(list, (size_t)kept, sizeof *list, earlier);
    return kept;
}

/* -------------------------------------------------------------------------------------------- kinks */

static double *values_of(const pumit_tensor *tensor, int64_t *bytes)
{
    *bytes = pumit_tensor_count(tensor) * (int64_t)sizeof(double);
    double *values = malloc((size_t)*bytes + 1);
    if (values && pumit_tensor_read(tensor, PUMIT_F64, values, *bytes) == PUMIT_OK) return values;
    free(values);
    return NULL;
}

/* Keeps the list in rising order of size, its largest falling off the end. */
static void add_kink(search *s, kink k)
{
    int32_t at = s->count < MOST ? s->count++ : MOST;
    while (at > 0 && fabs(s->kinks[at - 1].value) > fabs(k.value)) {
        if (at < MOST) s->kinks[at] = s->kinks[at - 1];
        at--;
    }
    if (at < MOST) s->kinks[at] = k;
}

static void find_kinks(search *s, pumit__node *const *nodes, int32_t count)
{
    for (int32_t n = 0; n < count; n++) {
        int64_t bytes;
        double *values = values_of(nodes[n]->saved[0], &bytes);
        for (int64_t i = 0; values && i < bytes / (int64_t)sizeof *values; i++)
            if (fabs(values[i]) <= NEAR)
                add_kink(s, (kink){.node = n, .element = i, .value = values[i]});
        free(values);
    }
}

static pumit_status move_across(const kink *k, pumit_tensor *argument)
{
    int64_t bytes;
    double *values = values_of(argument, &bytes);
    if (!values) return pumit__last_status();
    values[k->element] = k->value > 0.0 ? -NEAR : NEAR;
    const pumit_status status = pumit_tensor_write(argument, PUMIT_F64, values, bytes);
    free(values);
    return status;
}

/* ------------------------------------------------------------------------------------------- search */

/* Gradients with the present choice of sides; how far they are from the file's. */
static pumit_status run(search *s, double *distance, bool first)
{
    pumit__node *nodes[NODES];
    pumit_tensor *loss;
    pumit_module_zero_grad(s->module);
    PUMIT__TRY(s->loss(&loss, s->user));
    const int32_t count = find_nodes(s, nodes, loss);
    if (first) find_kinks(s, nodes, count);
    pumit_status status = PUMIT_OK;
    for (int32_t i = 0; i < s->count && status == PUMIT_OK; i++)
        if (s->kinks[i].other_side)
            status = move_across(&s->kinks[i], nodes[s->kinks[i].node]->saved[0]);
    if (status == PUMIT_OK) status = pumit_tensor_backward(loss);
    pumit_tensor_release(loss);
    const int64_t mark = pumit__scope_begin(s->g->ctx);
    *distance = golden_gradient_distance(s->g, s->module, s->prefix, &s->worst);
    pumit__scope_end(s->g->ctx, mark, NULL);
    return status;
}

/* Their effects hardly overlap, so one at a time will do. */
static pumit_status choose_sides(search *s)
{
    double best, distance;
    PUMIT__TRY(run(s, &best, true));
    for (int32_t i = 0; i < s->count && !(s->worst <= GOLDEN_GRADIENT); i++) {
        s->kinks[i].other_side = true;
        PUMIT__TRY(run(s, &distance, false));
        if (distance < best || s->worst <= GOLDEN_GRADIENT)
            best = distance;
        else
            s->kinks[i].other_side = false;
    }
    return s->worst <= GOLDEN_GRADIENT ? PUMIT_OK : run(s, &best, false);
}

pumit_status golden_check_gradients(golden *g, pumit_module *module, const char *prefix,
                                    golden_loss_fn loss, void *user)
{
    search s = {.g = g, .module = module, .prefix = prefix, .loss = loss, .user = user};
    int32_t moved = 0;
    PUMIT__TRY(find_unary(&s));
    const pumit_status status = choose_sides(&s);
    for (int32_t i = 0; i < s.count; i++) moved += s.kinks[i].other_side;
    if (getenv("PUMIT_GOLDEN_VERBOSE") && s.count > 0)
        printf("  %d of %d arguments near zero taken from the other side\n", moved, s.count);
    golden_compare_gradients(g, module, prefix);
    return status;
}
