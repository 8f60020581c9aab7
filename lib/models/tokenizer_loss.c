/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tokenizer's training loss,
 *   L = mean |x_rec - x| + quant_weight prior + entropy_weight entropy
 *     + perceptual_weight LPIPS(x_rec, x) - gan_weight mean score(x_rec),
 * the last two where a run has the networks for them.
 */
#include "lib/models/tokenizer_loss.h"

#include "lib/models/tokenizer_internal.h"

#include <stdlib.h>

static double mean_square(const pumit_tensor *difference)
{
    const int64_t count = pumit_tensor_count(difference);
    double sum = 0.0;
    for (int64_t i = 0; i < count; i++) {
        const double d = difference->dtype == PUMIT_F32
                             ? (double)((const float *)pumit__data(difference))[i]
                             : ((const double *)pumit__data(difference))[i];
        sum += d * d;
    }
    return sum / (double)count;
}

bool pumit__tokenizer_spreads(const pumit_tokenizer *t)
{
    return t->quantizer.mode != PUMIT__QUANTIZE_NEAREST;
}

bool pumit__tokenizer_samples(const pumit_tokenizer *t)
{
    return t->quantizer.mode == PUMIT__QUANTIZE_GUMBEL;
}

/* The scalar terms of a loss; NULL where there is none. */
typedef struct {
    pumit_tensor *l1, *prior, *entropy, *perceptual, *generator;
} scalars;

static pumit_tensor *sum_of(const scalars *s, const pumit__tokenizer_goal *goal)
{
    pumit_tensor *loss = pumit__add(s->l1, pumit__affine(s->prior, goal->quant_weight, 0.0));
    const struct {
        bool on;
        pumit_tensor *term;
        double weight;
    } more[] = {{s->entropy != NULL, s->entropy, goal->entropy_weight},
                {goal->lpips != NULL, s->perceptual, goal->perceptual_weight},
                {goal->discriminator != NULL, s->generator, goal->gan_weight}};
    for (int64_t i = 0; i < PUMIT__COUNT(more); i++)
        if (more[i].on) loss = pumit__add(loss, pumit__affine(more[i].term, more[i].weight, 0.0));
    return loss;
}

/* A term that is off reads as 0. */
static pumit_status read_terms(pumit__tokenizer_outcome *outcome, const scalars *s)
{
    const struct {
        double *value;
        const pumit_tensor *term;
    } read[] = {{&outcome->term[PUMIT_TERM_L1], s->l1},
                {&outcome->term[PUMIT_TERM_PRIOR], s->prior},
                {&outcome->term[PUMIT_TERM_ENTROPY], s->entropy},
                {&outcome->perceptual, s->perceptual},
                {&outcome->generator, s->generator}};
    for (int64_t i = 0; i < PUMIT__COUNT(read); i++) {
        *read[i].value = 0.0;
        if (read[i].term) PUMIT__TRY(pumit_tensor_item(read[i].value, read[i].term));
    }
    return PUMIT_OK;
}

pumit_tensor *pumit__tokenizer_loss(pumit__tokenizer_outcome *outcome, pumit_tokenizer *t,
                                    pumit_tensor *x, int32_t da, const pumit__tokenizer_goal *goal)
{
    pumit__feature f = pumit__tokenizer_features(t, x, da);
    const pumit__quantized q = pumit__quantizer_train(&t->quantizer, f.x, goal->log_mean);
    f.x = q.codes;
    pumit_tensor *rec = pumit__tokenizer_image(t, f), *difference = pumit__sub(rec, x);
    scalars s = {.l1 = pumit__mean(pumit__absolute(difference)), .prior = q.prior};
    if (pumit__tokenizer_spreads(t)) {
        if (!q.entropy) return NULL;
        s.entropy = q.entropy;
    }
    if (goal->lpips)
        s.perceptual = pumit__lpips_distance_some(goal->lpips, rec, x, goal->perceptual_slices,
                                                  goal->seed, goal->stream);
    if (goal->discriminator)
        s.generator = pumit__affine(
            pumit__mean(pumit__discriminator_scores(goal->discriminator, rec, da)), -1.0, 0.0);
    pumit_tensor *loss = sum_of(&s, goal);
    if (!loss || !outcome) return loss;
    if (read_terms(outcome, &s) != PUMIT_OK) return NULL;
    outcome->term[PUMIT_TERM_MSE] = mean_square(difference) / 4.0; /* of images in [0, 1] */
    outcome->image = pumit__detach(x);
    outcome->reconstruction = pumit__detach(rec);
    outcome->tokens = pumit__detach(q.tokens);
    return outcome->image && outcome->reconstruction && outcome->tokens ? loss : NULL;
}

pumit_status pumit__tokenizer_train(pumit_tensor **out, pumit__tokenizer_outcome *outcome,
                                    pumit_tokenizer *t, pumit_tensor *image, int32_t da,
                                    const pumit__tokenizer_goal *goal)
{
    pumit_context *ctx = t->module.ctx;
    const int64_t mark = pumit__scope_begin(ctx);
    pumit_tensor *x = pumit__tokenizer_input(t, image, da);
    const bool recording = ctx->recording;
    ctx->recording = true;
    pumit_tensor *loss = pumit__tokenizer_loss(outcome, t, x, da, goal);
    ctx->recording = recording;
    if (loss) {
        pumit_tensor_retain(outcome->image);
        pumit_tensor_retain(outcome->reconstruction);
        pumit_tensor_retain(outcome->tokens);
    } else {
        *outcome = (pumit__tokenizer_outcome){0};
    }
    return pumit__scope_return(out, ctx, mark, loss);
}

void pumit__tokenizer_outcome_release(pumit__tokenizer_outcome *outcome)
{
    pumit_tensor_release(outcome->image);
    pumit_tensor_release(outcome->reconstruction);
    pumit_tensor_release(outcome->tokens);
    *outcome = (pumit__tokenizer_outcome){0};
}

pumit_status pumit_tokenizer_loss(pumit_tensor **out, double *terms, pumit_tokenizer *t,
                                  pumit_tensor *image, const double spacing[3], double quant_weight,
                                  double entropy_weight)
{
    int32_t da;
    PUMIT__REQUIRE(out && t && image, "pumit_tokenizer_loss: an argument is NULL");
    *out = NULL;
    PUMIT__TRY(pumit_degree_of_anisotropy(&da, spacing));
    const pumit__tokenizer_goal goal = {.quant_weight = quant_weight,
                                        .entropy_weight = entropy_weight};
    pumit__tokenizer_outcome outcome = {0};
    PUMIT__TRY(pumit__tokenizer_train(out, &outcome, t, image, da, &goal));
    for (int32_t i = 0; terms && i < PUMIT_TERM_COUNT; i++) terms[i] = outcome.term[i];
    pumit__tokenizer_outcome_release(&outcome);
    return PUMIT_OK;
}

/* ------------------------------------------------------------------------------- the larger batch */

static pumit_status add_rows(double *sums, int64_t codes, pumit_tensor *total)
{
    double *values = pumit__calloc(codes, (int64_t)sizeof *values);
    if (!values) return pumit__fail_memory(codes * (int64_t)sizeof *values, "a mean token");
    const pumit_status status =
        pumit_tensor_read(total, PUMIT_F64, values, codes * (int64_t)sizeof *values);
    for (int64_t v = 0; v < codes && status == PUMIT_OK; v++) sums[v] += values[v];
    free(values);
    return status;
}

pumit_status pumit__tokenizer_add_tokens(double *sums, int64_t *count, pumit_tokenizer *t,
                                         pumit_tensor *image, int32_t da)
{
    pumit_context *ctx = t->module.ctx;
    const int64_t mark = pumit__scope_begin(ctx), codes = t->quantizer.codes;
    const bool recording = ctx->recording;
    ctx->recording = false;
    pumit_tensor *tokens = pumit__tokenizer_target(
        t, pumit__tokenizer_features(t, pumit__tokenizer_input(t, image, da), da).x);
    pumit_tensor *total = pumit__sum(tokens, (UINT32_C(1) << 4) - 1, 1.0);
    const pumit_status status = total ? add_rows(sums, codes, total) : pumit__last_status();
    if (total) *count = pumit_tensor_count(tokens) / codes;
    ctx->recording = recording;
    pumit__scope_end(ctx, mark, NULL);
    return status;
}
