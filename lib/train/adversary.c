/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/train/adversary.h"

#include <math.h>

enum { AVERAGE, LAST, SKIPPED_IN_ROW }; /* in t->numbers */

static pumit__gan_gate gate_of(const pumit_trainer *t)
{
    pumit__gan_gate gate = pumit__gan_gate_create();
    gate.threshold = t->options.gan_threshold;
    gate.average = t->numbers[AVERAGE];
    gate.last = t->numbers[LAST];
    return gate;
}

static void keep_gate(pumit_trainer *t, const pumit__gan_gate *gate)
{
    t->numbers[AVERAGE] = gate->average;
    t->numbers[LAST] = gate->last;
}

static pumit_status make(pumit_trainer *t, int64_t channels)
{
    pumit_config *section;
    int64_t value;
    PUMIT__TRY(pumit__model_section(&section, t, "discriminator"));
    pumit_status status = pumit_config_get_int(&value, section, "in_channels", channels);
    if (status == PUMIT_OK && value != channels)
        status = pumit__fail(PUMIT_ERROR_INVALID_ARGUMENT,
                             "config key 'discriminator.in_channels' is %lld, but the tokenizer's "
                             "images have %lld: leave the key out",
                             (long long)value, (long long)channels);
    if (status == PUMIT_OK) status = pumit_config_set_int(section, "in_channels", channels);
    if (status == PUMIT_OK) status = pumit_discriminator_create(&t->discriminator, t->ctx, section);
    pumit_config_release(section);
    return status;
}

pumit_status pumit__adversary_create(pumit_trainer *t, int64_t channels)
{
    if (t->options.gan_weight <= 0) return PUMIT_OK;
    PUMIT__TRY(make(t, channels));
    const pumit__gan_gate gate = pumit__gan_gate_create();
    keep_gate(t, &gate);
    pumit_module *const module = pumit_discriminator_module(t->discriminator);
    PUMIT__TRY(pumit__add_part(t, "discriminator", module));
    return pumit__keep_section(t, "discriminator", module);
}

bool pumit__adversary_is_open(const pumit_trainer *t)
{
    if (!t->discriminator) return false;
    const pumit__gan_gate gate = gate_of(t);
    return pumit__gan_gate_is_open(&gate);
}

/* Gathers the gradients; *loss is the mean, and not finite if one of them is not. */
static pumit_status gather(double *loss, pumit_trainer *t, const pumit__adversary_pair *pairs,
                           int64_t count)
{
    *loss = 0;
    pumit_module_zero_grad(pumit_discriminator_module(t->discriminator)); /* the generator's */
    for (int64_t i = 0; i < count && isfinite(*loss); i++) {
        double value = NAN;
        const int64_t mark = pumit__scope_begin(t->ctx);
        pumit_tensor *tensor =
            pumit__discriminator_loss(t->discriminator, pairs[i].real, pairs[i].fake, pairs[i].da);
        pumit_status status = tensor ? pumit_tensor_item(&value, tensor) : pumit__last_status();
        if (status == PUMIT_OK && isfinite(value)) status = pumit_tensor_backward(tensor);
        pumit__scope_end(t->ctx, mark, NULL);
        PUMIT__TRY(status);
        *loss += value / (double)count;
    }
    return PUMIT_OK;
}

/* What is not finite moves nothing and closes the gate until the next loss. */
static pumit_status skip(pumit_trainer *t)
{
    pumit_module_zero_grad(pumit_discriminator_module(t->discriminator));
    t->numbers[LAST] = INFINITY;
    if (++t->numbers[SKIPPED_IN_ROW] < (double)t->options.most_skipped) return PUMIT_OK;
    return pumit__fail(PUMIT_ERROR_STATE,
                       "%s: the discriminator's loss or gradient was not finite in %lld steps in a "
                       "row: the run is stopped; resume with a lower "
                       "'train.discriminator_learning_rate'",
                       t->output, (long long)t->options.most_skipped);
}

static pumit_status learn(pumit__figures *figures, pumit_trainer *t, double rate,
                          const pumit__adversary_pair *pairs, int64_t count)
{
    double loss, norm = NAN;
    PUMIT__TRY(gather(&loss, t, pairs, count));
    if (isfinite(loss)) {
        const pumit_status status =
            pumit_optimizer_step(t->parts[1].optimizer, rate, (int32_t)count, &norm);
        if (status != PUMIT_ERROR_STATE || isfinite(norm)) PUMIT__TRY(status);
    }
    pumit__figures_add(figures, "discriminator", loss);
    pumit__figures_add(figures, "grad_norm_discriminator", norm);
    pumit__figures_add(figures, "learning_rate_discriminator", rate);
    if (!isfinite(norm)) return skip(t);
    pumit__gan_gate gate = gate_of(t);
    pumit__gan_gate_update(&gate, loss);
    keep_gate(t, &gate);
    t->numbers[SKIPPED_IN_ROW] = 0;
    return PUMIT_OK;
}

pumit_status pumit__adversary_step(pumit__figures *figures, pumit_trainer *t, double rate,
                                   const pumit__adversary_pair *pairs, int64_t count)
{
    const double base = t->options.learning_rate, own = t->options.discriminator_learning_rate;
    pumit__figures_add(figures, "gate", pumit__adversary_is_open(t));
    if (own > 0) rate = base > 0 ? rate / base * own : 0;
    if (t->step >= t->options.gan_start) PUMIT__TRY(learn(figures, t, rate, pairs, count));
    pumit__figures_add(figures, "gate_ema", t->numbers[AVERAGE]);
    return PUMIT_OK;
}
