/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Modes of quantisation. z: features, e: codebook, V: its size, sg: without gradient.
 *   soft     p = softmax(proj z), z_q = p e; prior = sum m ln m with m the mean of all p, entropy = mean H(p)
 *   gumbel   as soft, but in training z_q = s e with s = softmax((proj z + g) / t), g from the standard Gumbel distribution and t
 *            falling with the steps (Jang et al. 2017); "hard": s is one-hot of its largest element, its gradient that of the soft one
 *   nearest  z_q = e_k, k = argmin |e_k - z|^2, gradient as if z_q = z (van den Oord et al. 2017);
 *            prior = mean (sg(z_q) - z)^2 + beta mean (z_q - sg(z))^2
 */
#include "lib/models/quantizer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static pumit_status read_mode(pumit__quantizer *q, const pumit_config *config,
                              const char *default_mode)
{
    static const char *const names[] = {
        [PUMIT__QUANTIZE_SOFT] = "soft",
        [PUMIT__QUANTIZE_GUMBEL] = "gumbel",
        [PUMIT__QUANTIZE_NEAREST] = "nearest",
    };
    const char *mode;
    PUMIT__TRY(pumit_config_get_string(&mode, config, "mode", default_mode));
    for (int32_t i = 0; i < PUMIT__COUNT(names); i++) {
        q->mode = i;
        if (strcmp(mode, names[i]) == 0) return PUMIT_OK;
    }
    return pumit__fail(PUMIT_ERROR_INVALID_ARGUMENT,
                       "tokenizer: mode '%s' is not 'soft', 'gumbel' or 'nearest'", mode);
}

pumit_status pumit__quantizer_read(pumit__quantizer *q, const pumit_config *config,
                                   const char *default_mode)
{
    int32_t hard;
    PUMIT__TRY(read_mode(q, config, default_mode));
    PUMIT__TRY(pumit_config_get_int(&q->codes, config, "codes", 1024));
    PUMIT__TRY(pumit_config_get_int(&q->dim, config, "code_dim", 512));
    PUMIT__TRY(pumit_config_get_bool(&hard, config, "hard", 0));
    PUMIT__TRY(pumit_config_get_double(&q->beta, config, "beta", 0.25));
    PUMIT__TRY(pumit_config_get_double(&q->temperature_min, config, "temperature_min", 1e-6));
    PUMIT__TRY(pumit_config_get_double(&q->temperature_max, config, "temperature_max", 0.9));
    q->hard = hard;
    q->max_steps = 1;
    PUMIT__REQUIRE(q->codes >= 2 && q->codes <= 1 << 20, "tokenizer: codes %lld is not in 2..2^20",
                   (long long)q->codes);
    PUMIT__REQUIRE(q->dim >= 1 && q->dim <= 1 << 16, "tokenizer: code_dim %lld is not in 1..2^16",
                   (long long)q->dim);
    PUMIT__REQUIRE(q->beta >= 0, "tokenizer: beta %g is negative", q->beta);
    PUMIT__REQUIRE(q->temperature_min > 0 && q->temperature_min <= q->temperature_max,
                   "tokenizer: temperatures %g to %g must be positive and fall", q->temperature_max,
                   q->temperature_min);
    return PUMIT_OK;
}

void pumit__quantizer_create(pumit__quantizer *q, pumit_module *module)
{
    const int64_t shape[2] = {q->codes, q->dim};
    const bool nearest = q->mode == PUMIT__QUANTIZE_NEAREST;
    if (!nearest)
        q->projection = pumit__module_linear(module, q->dim, q->codes, true,
                                             1.0 / sqrt((double)q->dim), "quantize.proj");
    /* Codes far longer than the features would all lose against the shortest one. */
    const pumit__initial initial = PUMIT__NORMAL(nearest ? 1.0 / (double)q->codes : 1.0);
    q->codebook =
        pumit__module_add(module, 2, shape, false, initial, "%s", "quantize.embedding.weight");
    q->seed = module->seed;
}

/* --------------------------------------------------------------------------------------- evaluation */

pumit_tensor *pumit__quantizer_logits(const pumit__quantizer *q, pumit_tensor *features)
{
    return pumit__linear(features, q->projection.weight, q->projection.bias);
}

pumit_tensor *pumit__quantizer_codes_of(const pumit__quantizer *q, pumit_tensor *tokens)
{
    return pumit__matmul(tokens, q->codebook);
}

static pumit_tensor *largest(const pumit__quantizer *q, pumit_tensor *scores)
{
    return pumit__one_hot(pumit__argmax(scores), q->codes);
}

/* argmin |e - z|^2 = argmax z e - |e|^2 / 2. */
static pumit_tensor *nearest(const pumit__quantizer *q, pumit_tensor *features)
{
    pumit_tensor *e = pumit__detach(q->codebook);
    pumit_tensor *half = pumit__sum(pumit__mul(e, e), UINT32_C(1) << 1, -0.5);
    return largest(q, pumit__linear(pumit__detach(features), e, half));
}

pumit_tensor *pumit__quantizer_tokens(const pumit__quantizer *q, pumit_tensor *features)
{
    if (q->mode == PUMIT__QUANTIZE_GUMBEL && q->hard)
        return largest(q, pumit__quantizer_logits(q, features));
    return pumit__quantizer_target(q, features);
}

pumit_tensor *pumit__quantizer_target(const pumit__quantizer *q, pumit_tensor *features)
{
    return q->mode == PUMIT__QUANTIZE_NEAREST
               ? nearest(q, features)
               : pumit__softmax(pumit__quantizer_logits(q, features));
}

/* ----------------------------------------------------------------------------------------- training */

double pumit__quantizer_temperature(const pumit__quantizer *q)
{
    const double part = fmin((double)q->step / (double)q->max_steps, 1.0);
    return q->temperature_min +
           0.5 * (q->temperature_max - q->temperature_min) * (1.0 + cos(part * M_PI));
}

/* Draws from the standard Gumbel distribution, -ln(-ln u), in the shape of `like`. */
static pumit_tensor *gumbel_noise(pumit__quantizer *q, const pumit_tensor *like)
{
    const int64_t count = pumit_tensor_count(like);
    const uint64_t stream =
        pumit__random(pumit__random_stream("gumbel"), (uint64_t)q->step, (uint64_t)q->draws++);
    double *noise = pumit__calloc(count, sizeof *noise);
    if (!noise) {
        pumit__fail_memory(count * (int64_t)sizeof *noise, "noise");
        return NULL;
    }
    for (int64_t i = 0; i < count; i++) {
        const double u = pumit__random_uniform(q->seed, stream, (uint64_t)i); /* [0, 1) */
        noise[i] = -log(-log(fmax(u, 0x1p-53)));
    }
    pumit_tensor *tensor =
        pumit__from_host(like->ctx, PUMIT_F64, noise, 0, like->ndim, like->shape);
    free(noise);
    return tensor;
}

static pumit_tensor *gumbel_sample(pumit__quantizer *q, pumit_tensor *logits)
{
    if (!logits) return NULL;
    pumit_tensor *noisy = pumit__add(logits, gumbel_noise(q, logits));
    pumit_tensor *soft =
        pumit__softmax(pumit__affine(noisy, 1.0 / pumit__quantizer_temperature(q), 0.0));
    return q->hard ? pumit__straight_through(largest(q, pumit__detach(soft)), soft) : soft;
}

/* sum m ln m, m the mean of all distributions: 0 less the entropy of m. Or <log_mean, m>. */
static pumit_tensor *prior_of(pumit_tensor *probabilities, pumit_tensor *log_mean)
{
    if (!probabilities) return NULL;
    const int32_t last = probabilities->ndim - 1;
    const double tokens = (double)(pumit_tensor_count(probabilities) / probabilities->shape[last]);
    pumit_tensor *mean = pumit__sum(probabilities, (UINT32_C(1) << last) - 1, 1.0 / tokens);
    return pumit__sum(log_mean ? pumit__mul(mean, log_mean) : pumit__xlogx(mean), 1, 1.0);
}

static pumit__quantized train_distributions(pumit__quantizer *q, pumit_tensor *features,
                                            pumit_tensor *log_mean)
{
    pumit_tensor *logits = pumit__quantizer_logits(q, features),
                 *probabilities = pumit__softmax(logits);
    pumit_tensor *used =
        q->mode == PUMIT__QUANTIZE_GUMBEL ? gumbel_sample(q, logits) : probabilities;
    return (pumit__quantized){pumit__quantizer_codes_of(q, used), prior_of(probabilities, log_mean),
                              pumit__mean(pumit__entropy(logits)), probabilities};
}

static pumit_tensor *mean_square(pumit_tensor *x)
{
    return pumit__mean(pumit__mul(x, x));
}

static pumit__quantized train_nearest(pumit__quantizer *q, pumit_tensor *features)
{
    pumit_tensor *tokens = nearest(q, features), *chosen = pumit__quantizer_codes_of(q, tokens);
    pumit_tensor *commitment = mean_square(pumit__sub(pumit__detach(chosen), features)),
                 *codebook = mean_square(pumit__sub(chosen, pumit__detach(features)));
    return (pumit__quantized){pumit__straight_through(pumit__detach(chosen), features),
                              pumit__add(commitment, pumit__affine(codebook, q->beta, 0.0)), NULL,
                              tokens};
}

pumit__quantized pumit__quantizer_train(pumit__quantizer *q, pumit_tensor *features,
                                        pumit_tensor *log_mean)
{
    return q->mode == PUMIT__QUANTIZE_NEAREST ? train_nearest(q, features)
                                              : train_distributions(q, features, log_mean);
}
