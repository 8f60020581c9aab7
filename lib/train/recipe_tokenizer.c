/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pre-training of the tokenizer: crops, the loss of tokenizer_loss.h, a discriminator behind its gate, reconstructions to look at.
 *
 * The prior's mean token is that of the whole effective batch: with "train.accumulate" its crops are encoded once more, ahead of the
 * first loss.
 */
#include "lib/train/adversary.h"
#include "lib/train/init.h"
#include "lib/train/tally.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define LEAST_LPIPS_SIDE 16 /* VGG-16 halves four times */

/* A micro-batch of the current step. */
typedef struct {
    pumit_tensor *crops; /* (N, D, H, W, C) in [0, 1], until its loss was taken */
    int32_t da;
    int64_t tokens;
    pumit__adversary_pair pair; /* kept for the discriminator's turn */
} micro_batch;

/* t->own */
typedef struct {
    micro_batch *micro; /* "train.accumulate" of them */
    int64_t micro_count;
    double *mean; /* (codes): the mean token of the step */
    double token_count;
    pumit__tally tally; /* of the step */
} tokenizer_run;

static void defaults(pumit__train_options *options)
{
    options->learning_rate = 1e-3;
    options->weight_decay = 1e-3;
}

/* ----------------------------------------------------------------------------------------- creation */

static pumit_status create_tokenizer(pumit_trainer *t)
{
    pumit__init init;
    pumit_config *section = NULL;
    PUMIT__TRY(pumit__init_open(&init, t, "tokenizer"));
    pumit_status status = PUMIT_OK;
    if (init.kind == PUMIT__INIT_MODEL)
        status = pumit_tokenizer_load(&t->tokenizer, t->ctx, init.path);
    else if (!init.section)
        status = pumit__model_section(&section, t, "tokenizer");
    if (status == PUMIT_OK && !t->tokenizer)
        status =
            pumit_tokenizer_create(&t->tokenizer, t->ctx, init.section ? init.section : section);
    if (status == PUMIT_OK)
        status = pumit__init_fill(&init, t, pumit_tokenizer_module(t->tokenizer));
    pumit_config_release(section);
    pumit__init_close(&init);
    return status;
}

static pumit_status create_lpips(pumit_trainer *t)
{
    const char *const path = t->options.lpips;
    const int64_t channels = pumit_tokenizer_channels(t->tokenizer);
    if (!path || !*path) {
        pumit__log(t->ctx, PUMIT_LOG_INFO,
                   "the perceptual term is off: 'train.lpips' names no file of weights");
        return PUMIT_OK;
    }
    PUMIT__REQUIRE(channels == 3 || channels == 1,
                   "config key 'train.lpips': the perceptual term takes images of 3 channels or 1, "
                   "the tokenizer's have %lld: leave the key out",
                   (long long)channels);
    return pumit__fail_in(pumit_lpips_load(&t->lpips, t->ctx, path), "config key 'train.lpips'");
}

static pumit_status create_run(pumit_trainer *t)
{
    const int64_t codes = pumit_tokenizer_codes(t->tokenizer);
    tokenizer_run *const run = t->own = pumit__calloc(1, (int64_t)sizeof *run);
    if (!run) return pumit__fail_memory((int64_t)sizeof *run, "a run");
    run->micro_count = t->options.accumulate;
    run->micro = pumit__calloc(run->micro_count, (int64_t)sizeof *run->micro);
    run->mean = pumit__calloc(codes, (int64_t)sizeof *run->mean);
    if (!run->micro || !run->mean)
        return pumit__fail_memory(run->micro_count * (int64_t)sizeof *run->micro, "a run");
    return pumit__tally_create(&run->tally, codes);
}

static pumit_status create(pumit_trainer *t)
{
    PUMIT__TRY(create_tokenizer(t));
    t->model = pumit_tokenizer_module(t->tokenizer);
    PUMIT__TRY(pumit__add_part(t, "model", t->model));
    PUMIT__TRY(pumit__keep_section(t, "tokenizer", t->model));
    PUMIT__TRY(create_lpips(t));
    PUMIT__TRY(pumit__adversary_create(t, pumit_tokenizer_channels(t->tokenizer)));
    return create_run(t);
}

static void release_micro(micro_batch *m)
{
    pumit_tensor_release(m->crops);
    pumit_tensor_release(m->pair.real);
    pumit_tensor_release(m->pair.fake);
    *m = (micro_batch){0};
}

static void release_batch(tokenizer_run *run)
{
    for (int64_t i = 0; run->micro && i < run->micro_count; i++) release_micro(&run->micro[i]);
}

static void destroy(pumit_trainer *t)
{
    tokenizer_run *const run = t->own;
    if (!run) return;
    release_batch(run);
    pumit__tally_free(&run->tally);
    free(run->micro);
    free(run->mean);
    free(run);
    t->own = NULL;
}

/* Networks that look at crops need some voxels in the plane. */
static pumit_status check_crops(const pumit_trainer *t, int64_t least, const char *who,
                                const char *remedy)
{
    const int64_t *const tokens = t->options.tokens;
    const int64_t patch = pumit_tokenizer_patch(t->tokenizer)[1];
    const int64_t side = (tokens[1] < tokens[2] ? tokens[1] : tokens[2]) * patch;
    PUMIT__REQUIRE(side >= least,
                   "crops of 'train.tokens' [%lld, %lld, %lld] are %lld voxels wide, and %s needs "
                   "%lld: raise 'train.tokens', or %s",
                   (long long)tokens[0], (long long)tokens[1], (long long)tokens[2],
                   (long long)side, who, (long long)least, remedy);
    return PUMIT_OK;
}

static pumit_status open_data(pumit_trainer *t)
{
    if (t->lpips)
        PUMIT__TRY(
            check_crops(t, LEAST_LPIPS_SIDE, "the perceptual term", "leave 'train.lpips' out"));
    if (t->discriminator)
        PUMIT__TRY(check_crops(t, pumit__discriminator_least_side(t->discriminator),
                               "the discriminator",
                               "give 'discriminator.channels' fewer, or set 'train.gan_weight' to "
                               "0"));
    return pumit__open_samplers(t, pumit_tokenizer_channels(t->tokenizer),
                                pumit_tokenizer_patch(t->tokenizer), false);
}

/* ------------------------------------------------------------------------------------------ one step */

static pumit_status draw_batch(pumit_trainer *t, tokenizer_run *run, int64_t first)
{
    for (int64_t i = 0; i < run->micro_count; i++) {
        double spacing[3];
        PUMIT__TRY(pumit__loader_take(&run->micro[i].crops, spacing, NULL, t->loader, first + i));
        PUMIT__TRY(pumit_degree_of_anisotropy(&run->micro[i].da, spacing));
    }
    return PUMIT_OK;
}

/* The mean token of all micro-batches, without recording. */
static pumit_status find_mean(pumit_trainer *t, tokenizer_run *run)
{
    const int64_t codes = run->tally.codes;
    memset(run->mean, 0, (size_t)codes * sizeof *run->mean);
    run->token_count = 0;
    for (int64_t i = 0; i < run->micro_count; i++) {
        micro_batch *const m = &run->micro[i];
        PUMIT__TRY(
            pumit__tokenizer_add_tokens(run->mean, &m->tokens, t->tokenizer, m->crops, m->da));
        run->token_count += (double)m->tokens;
    }
    for (int64_t v = 0; v < codes; v++) run->mean[v] /= run->token_count;
    return PUMIT_OK;
}

static bool has_parts(const pumit_trainer *t, const tokenizer_run *run)
{
    return run->micro_count > 1 && pumit__tokenizer_spreads(t->tokenizer);
}

static pumit_status begin_step(pumit_trainer *t, tokenizer_run *run, int64_t first)
{
    release_batch(run); /* of a step that failed half-way */
    pumit__tally_clear(&run->tally);
    PUMIT__TRY(pumit_tokenizer_set_step(t->tokenizer, t->step, t->options.steps));
    PUMIT__TRY(draw_batch(t, run, first));
    return has_parts(t, run) ? find_mean(t, run) : PUMIT_OK;
}

/* ln of the mean token, times the micro-batch's share of all tokens, times their number, by which the loop divides; the scope's. */
static pumit_tensor *log_mean_of(const pumit_trainer *t, const tokenizer_run *run,
                                 const micro_batch *m)
{
    const int64_t codes = run->tally.codes;
    double *values = pumit__calloc(codes, (int64_t)sizeof *values);
    if (!values) {
        pumit__fail_memory(codes * (int64_t)sizeof *values, "a mean token");
        return NULL;
    }
    const double weight = (double)run->micro_count * (double)m->tokens / run->token_count;
    for (int64_t v = 0; v < codes; v++) values[v] = weight * log(fmax(run->mean[v], FLT_MIN));
    pumit_tensor *tensor = pumit__from_host(t->ctx, PUMIT_F64, values, 0, 1, &codes);
    free(values);
    return tensor;
}

static pumit__tokenizer_goal goal_of(const pumit_trainer *t, int64_t draw)
{
    const pumit__train_options *const o = &t->options;
    const uint64_t seed = (uint64_t)o->seed;
    return (pumit__tokenizer_goal){
        .quant_weight = o->quant_weight,
        .entropy_weight = o->entropy_weight,
        .lpips = t->lpips,
        .perceptual_weight = o->perceptual_weight,
        .perceptual_slices = o->perceptual_slices,
        .seed = seed,
        .stream = pumit__random(seed, pumit__random_stream("train.perceptual"), (uint64_t)draw),
        .discriminator = pumit__adversary_is_open(t) ? t->discriminator : NULL,
        .gan_weight = o->gan_weight};
}

static pumit_status take_loss(pumit_tensor **out, pumit__tokenizer_outcome *outcome,
                              pumit_trainer *t, const micro_batch *m, int64_t draw)
{
    const tokenizer_run *const run = t->own;
    pumit__tokenizer_goal goal = goal_of(t, draw);
    const int64_t mark = pumit__scope_begin(t->ctx);
    pumit_status status = PUMIT_OK;
    if (has_parts(t, run)) {
        goal.log_mean = log_mean_of(t, run, m);
        if (!goal.log_mean) status = pumit__last_status();
    }
    if (status == PUMIT_OK)
        status = pumit__tokenizer_train(out, outcome, t->tokenizer, m->crops, m->da, &goal);
    pumit__scope_end(t->ctx, mark, NULL);
    return status;
}

static void add_terms(pumit__figures *terms, const pumit_trainer *t,
                      const pumit__tokenizer_outcome *outcome, int32_t da)
{
    const double share = 1.0 / (double)t->options.accumulate, *const term = outcome->term;
    pumit__figures_add(terms, "l1", share * term[PUMIT_TERM_L1]);
    pumit__figures_add(terms, "prior", share * term[PUMIT_TERM_PRIOR]);
    pumit__figures_add(terms, "entropy", share * term[PUMIT_TERM_ENTROPY]);
    if (t->lpips) pumit__figures_add(terms, "perceptual", share * outcome->perceptual);
    if (pumit__adversary_is_open(t))
        pumit__figures_add(terms, "generator", share * outcome->generator);
    pumit__figures_add(terms, "psnr", share * pumit__psnr(term[PUMIT_TERM_MSE]));
    pumit__figures_add(terms, "da", share * da);
}

/* The middle slices (N, 1, H, W, C) of x, in [0, 1]. */
static pumit_tensor *middle(pumit_tensor *x)
{
    return pumit__affine(pumit__slice(x, 1, pumit_tensor_shape(x)[1] / 2, 1), 0.5, 0.5);
}

static pumit_status add_to_tally(pumit__tally *tally, pumit_context *ctx,
                                 const pumit__tokenizer_outcome *outcome)
{
    const int64_t mark = pumit__scope_begin(ctx);
    pumit_tensor *image = middle(outcome->image), *decoded = middle(outcome->reconstruction);
    pumit_status status =
        image && decoded ? pumit__tally_images(tally, image, decoded) : pumit__last_status();
    pumit__scope_end(ctx, mark, NULL);
    return status == PUMIT_OK ? pumit__tally_tokens(tally, outcome->tokens, false) : status;
}

static pumit_status loss(pumit_tensor **out, pumit__figures *terms, pumit_trainer *t, int64_t draw)
{
    tokenizer_run *const run = t->own;
    const int64_t i = draw % run->micro_count;
    pumit__tokenizer_outcome outcome = {0};
    if (i == 0) PUMIT__TRY(begin_step(t, run, draw));
    micro_batch *const m = &run->micro[i];
    pumit_status status = take_loss(out, &outcome, t, m, draw);
    if (status == PUMIT_OK) status = add_to_tally(&run->tally, t->ctx, &outcome);
    if (status == PUMIT_OK) add_terms(terms, t, &outcome, m->da);
    const int32_t da = m->da;
    release_micro(m);
    if (status == PUMIT_OK && t->discriminator)
        m->pair = (pumit__adversary_pair){pumit_tensor_retain(outcome.image),
                                          pumit_tensor_retain(outcome.reconstruction), da};
    pumit__tokenizer_outcome_release(&outcome);
    return status;
}

static pumit_status teach_discriminator(pumit__figures *figures, pumit_trainer *t, double rate)
{
    const tokenizer_run *const run = t->own;
    pumit__adversary_pair *pairs = pumit__calloc(run->micro_count, (int64_t)sizeof *pairs);
    if (!pairs) return pumit__fail_memory(run->micro_count * (int64_t)sizeof *pairs, "a step");
    for (int64_t i = 0; i < run->micro_count; i++) pairs[i] = run->micro[i].pair;
    const pumit_status status = pumit__adversary_step(figures, t, rate, pairs, run->micro_count);
    free(pairs);
    return status;
}

/* After the tokenizer's step: figures of the whole batch, and the discriminator's turn on the same images. */
static pumit_status step(pumit__figures *figures, pumit_trainer *t, double rate, bool skipped)
{
    tokenizer_run *const run = t->own;
    pumit_status status = PUMIT_OK;
    if (!skipped) {
        pumit__figures_add(figures, "ssim", pumit__tally_ssim(&run->tally));
        pumit__figures_add(figures, "perplexity", pumit__tally_perplexity(&run->tally));
        pumit__figures_add(figures, "codes_used", pumit__tally_used(&run->tally));
        if (pumit__tokenizer_samples(t->tokenizer))
            pumit__figures_add(figures, "temperature", pumit_tokenizer_temperature(t->tokenizer));
        if (t->discriminator) status = teach_discriminator(figures, t, rate);
    }
    release_batch(run);
    return status;
}

/* --------------------------------------------------------------------------------------- validation */

static pumit_status judge(pumit__tally *tally, pumit_trainer *t, int64_t draw)
{
    pumit_tensor *image = NULL, *tokens = NULL, *decoded = NULL;
    double spacing[3];
    pumit_status status;
    PUMIT__GO(pumit__sampler_batch(&image, spacing, NULL, t->judge_sampler, draw));
    PUMIT__GO(pumit_tokenizer_encode(&tokens, t->tokenizer, image, spacing));
    PUMIT__GO(pumit_tokenizer_decode(&decoded, t->tokenizer, tokens, spacing));
    PUMIT__GO(pumit__tally_tokens(tally, tokens, true));
    status = pumit__tally_images(tally, image, decoded);
out:
    pumit_tensor_release(decoded);
    pumit_tensor_release(tokens);
    pumit_tensor_release(image);
    return status;
}

static pumit_status validate(pumit__figures *figures, pumit_trainer *t)
{
    pumit__tally sums;
    PUMIT__TRY(pumit__tally_create(&sums, pumit_tokenizer_codes(t->tokenizer)));
    pumit_status status = PUMIT_OK;
    for (int64_t i = 0; i < t->options.validate_batches && status == PUMIT_OK; i++)
        status = judge(&sums, t, i);
    pumit__figures_add(figures, "psnr", pumit__psnr(sums.squares / sums.voxels));
    pumit__figures_add(figures, "ssim", pumit__tally_ssim(&sums));
    pumit__figures_add(figures, "l1",
                       2 * sums.absolute / sums.voxels); /* of [-1, 1], as the term */
    pumit__figures_add(figures, "perplexity", pumit__tally_perplexity(&sums));
    pumit__figures_add(figures, "codes_used", pumit__tally_used(&sums));
    pumit__figures_add(figures, "codes", (double)sums.codes);
    pumit__figures_add(figures, "entropy", sums.entropy / sums.tokens);
    pumit__tally_free(&sums);
    return status;
}

static pumit_status draw_sheet(pumit_trainer *t, pumit_tensor *image, const double spacing[3],
                               const char *path)
{
    pumit_tensor *decoded;
    PUMIT__TRY(pumit_tokenizer_reconstruct(&decoded, t->tokenizer, image, spacing));
    pumit_tensor *const rows[] = {image, decoded};
    const pumit_status status = pumit__sheet_write(path, 2, rows);
    pumit_tensor_release(decoded);
    return status;
}

static pumit_status sheet(pumit_trainer *t)
{
    return pumit__sheet_each(t, draw_sheet);
}

const pumit__recipe pumit__recipe_tokenizer = {.name = "tokenizer",
                                               .defaults = defaults,
                                               .create = create,
                                               .open = open_data,
                                               .loss = loss,
                                               .step = step,
                                               .validate = validate,
                                               .sheet = sheet,
                                               .destroy = destroy};
