/* SPDX-License-Identifier: Apache-2.0 */
/* Pre-training of the tokenizer: crops, the loss of tokenizer.h, reconstructions to look at. */
#include "lib/train/trainer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void defaults(pumit__train_options *options)
{
    options->learning_rate = 1e-3;
    options->weight_decay = 1e-3;
}

static pumit_status create(pumit_trainer *t)
{
    const char *init;
    PUMIT__TRY(pumit__init_path(&init, t));
    if (init) {
        PUMIT__TRY(pumit_tokenizer_load(&t->tokenizer, t->ctx, init));
    } else {
        pumit_config *section;
        PUMIT__TRY(pumit__model_section(&section, t, "tokenizer"));
        const pumit_status status = pumit_tokenizer_create(&t->tokenizer, t->ctx, section);
        pumit_config_release(section);
        PUMIT__TRY(status);
    }
    t->model = pumit_tokenizer_module(t->tokenizer);
    PUMIT__TRY(pumit__add_part(t, "model", t->model));
    return pumit__keep_section(t, "tokenizer", t->model);
}

static pumit_status open_data(pumit_trainer *t)
{
    return pumit__open_samplers(t, pumit_tokenizer_channels(t->tokenizer),
                                pumit_tokenizer_patch(t->tokenizer));
}

static double psnr(double mse)
{
    return -10 * log10(fmax(mse, 1e-12));
}

static pumit_status loss(pumit_tensor **out, pumit__figures *terms, pumit_trainer *t, int64_t draw)
{
    pumit_tensor *image;
    double spacing[3], term[PUMIT_TERM_COUNT];
    int32_t da;
    *out = NULL;
    if (draw % t->options.accumulate == 0)
        PUMIT__TRY(pumit_tokenizer_set_step(t->tokenizer, t->step, t->options.steps));
    PUMIT__TRY(pumit__sampler_batch(&image, spacing, NULL, t->sampler, draw));
    pumit_status status = pumit_tokenizer_loss(out, term, t->tokenizer, image, spacing,
                                               t->options.quant_weight, t->options.entropy_weight);
    pumit_tensor_release(image);
    PUMIT__TRY(status);
    status = pumit_degree_of_anisotropy(&da, spacing);
    const double share = 1.0 / (double)t->options.accumulate;
    pumit__figures_add(terms, "l1", share * term[PUMIT_TERM_L1]);
    pumit__figures_add(terms, "prior", share * term[PUMIT_TERM_PRIOR]);
    pumit__figures_add(terms, "entropy", share * term[PUMIT_TERM_ENTROPY]);
    pumit__figures_add(terms, "psnr", share * psnr(term[PUMIT_TERM_MSE]));
    pumit__figures_add(terms, "da", share * da);
    return status;
}

/* --------------------------------------------------------------------------------------- validation */

/* Sums over all tokens and voxels judged. */
typedef struct {
    double *usage; /* by code: sum of the tokens' probabilities */
    bool *chosen;  /* by code: the most likely one of some token */
    double tokens, squares, voxels, entropy;
} tally;

static pumit_status read_floats(float **out, pumit_tensor *tensor)
{
    const int64_t bytes = pumit_tensor_count(tensor) * (int64_t)sizeof **out;
    *out = pumit__calloc(bytes, 1);
    if (!*out) return pumit__fail_memory(bytes, "validation");
    const pumit_status status = pumit_tensor_read(tensor, PUMIT_F32, *out, bytes);
    if (status == PUMIT_OK) return PUMIT_OK;
    free(*out);
    *out = NULL;
    return status;
}

static pumit_status count_tokens(tally *sums, pumit_tensor *tokens, int64_t codes)
{
    float *probs;
    PUMIT__TRY(read_floats(&probs, tokens));
    const int64_t n = pumit_tensor_count(tokens) / codes;
    for (int64_t i = 0; i < n; i++) {
        const float *const p = probs + i * codes;
        int64_t top = 0;
        for (int64_t v = 0; v < codes; v++) {
            sums->usage[v] += p[v];
            if (p[v] > 0) sums->entropy -= p[v] * log(p[v]);
            if (p[v] > p[top]) top = v;
        }
        sums->chosen[top] = true;
    }
    sums->tokens += (double)n;
    free(probs);
    return PUMIT_OK;
}

static pumit_status count_errors(tally *sums, pumit_tensor *image, pumit_tensor *decoded)
{
    float *a = NULL, *b = NULL;
    pumit_status status = read_floats(&a, image);
    if (status == PUMIT_OK) status = read_floats(&b, decoded);
    const int64_t n = status == PUMIT_OK ? pumit_tensor_count(image) : 0;
    for (int64_t i = 0; i < n; i++) {
        const double error = (double)a[i] - b[i];
        sums->squares += error * error;
    }
    sums->voxels += (double)n;
    free(a);
    free(b);
    return status;
}

static pumit_status judge(tally *sums, pumit_trainer *t, int64_t draw)
{
    pumit_tensor *image = NULL, *tokens = NULL, *decoded = NULL;
    double spacing[3];
    pumit_status status;
    PUMIT__GO(pumit__sampler_batch(&image, spacing, NULL, t->judge_sampler, draw));
    PUMIT__GO(pumit_tokenizer_encode(&tokens, t->tokenizer, image, spacing));
    PUMIT__GO(pumit_tokenizer_decode(&decoded, t->tokenizer, tokens, spacing));
    PUMIT__GO(count_tokens(sums, tokens, pumit_tokenizer_codes(t->tokenizer)));
    status = count_errors(sums, image, decoded);
out:
    pumit_tensor_release(decoded);
    pumit_tensor_release(tokens);
    pumit_tensor_release(image);
    return status;
}

static pumit_status validate(pumit__figures *figures, pumit_trainer *t)
{
    const int64_t codes = pumit_tokenizer_codes(t->tokenizer);
    tally sums = {.usage = pumit__calloc(codes, (int64_t)sizeof *sums.usage),
                  .chosen = pumit__calloc(codes, (int64_t)sizeof *sums.chosen)};
    pumit_status status =
        sums.usage && sums.chosen ? PUMIT_OK : pumit__fail_memory(9 * codes, "validation");
    for (int64_t i = 0; i < t->options.validate_batches && status == PUMIT_OK; i++)
        status = judge(&sums, t, i);
    double entropy = 0, used = 0;
    for (int64_t v = 0; status == PUMIT_OK && v < codes; v++) {
        const double mean = sums.usage[v] / sums.tokens;
        entropy -= mean > 0 ? mean * log(mean) : 0;
        used += sums.chosen[v];
    }
    pumit__figures_add(figures, "psnr", psnr(sums.squares / sums.voxels));
    pumit__figures_add(figures, "perplexity", exp(entropy));
    pumit__figures_add(figures, "codes_used", used);
    pumit__figures_add(figures, "codes", (double)codes);
    pumit__figures_add(figures, "entropy", sums.entropy / sums.tokens);
    free(sums.usage);
    free(sums.chosen);
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
                                               .validate = validate,
                                               .sheet = sheet};
