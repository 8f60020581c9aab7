/* SPDX-License-Identifier: Apache-2.0 */
/* The tokenizer's quantiser in each mode against sums written out; its samples and their schedule. */
#include "lib/models/quantizer.h"

#include <check.h>
#include <math.h>
#include <string.h>

Suite *suite_quantizer(void);

#define CHECK_OK(call) ck_assert_msg((call) == PUMIT_OK, "%s", pumit_last_error())
#define CHECK_NEAR(got, expected, bound)                                                           \
    ck_assert_msg(fabs((got) - (expected)) <= (bound), #got " is %.12g, not %.12g", (double)(got), \
                  (double)(expected))

#define TOKENS 6
#define CODES  5
#define DIM    3

/* A quantiser of its own, in double precision, and features to quantise. */
typedef struct {
    pumit_context *ctx;
    pumit_module *module;
    pumit__quantizer q;
    pumit_tensor *features; /* (1, 1, 2, 3, DIM) */
    double z[TOKENS][DIM], codebook[CODES][DIM], weight[CODES][DIM], bias[CODES];
    int64_t mark;
} bench;

static void set_random(pumit_tensor *tensor, double *values, uint64_t stream)
{
    const int64_t n = pumit_tensor_count(tensor);
    for (int64_t i = 0; i < n; i++) values[i] = pumit__random_normal(1, stream, (uint64_t)i);
    CHECK_OK(pumit_tensor_write(tensor, PUMIT_F64, values, n * (int64_t)sizeof *values));
}

static void read_values(const pumit_tensor *tensor, double *values, int64_t count)
{
    ck_assert_msg(tensor != NULL, "%s", pumit_last_error());
    ck_assert_int_eq(pumit_tensor_count(tensor), count);
    CHECK_OK(pumit_tensor_read(tensor, PUMIT_F64, values, count * (int64_t)sizeof *values));
}

static pumit_context *open_context(const char *device)
{
    pumit_context *ctx;
    pumit_config *options;
    CHECK_OK(pumit_config_create(&options));
    CHECK_OK(pumit_config_set_string(options, "device", device));
    CHECK_OK(pumit_config_set_int(options, "threads", 1));
    CHECK_OK(pumit_context_create(&ctx, options));
    pumit_config_release(options);
    return ctx;
}

static void open_bench(bench *b, const char *json)
{
    static const int64_t shape[5] = {1, 1, 2, 3, DIM};
    pumit_config *config;
    memset(b, 0, sizeof *b);
    b->ctx = open_context("reference64");
    CHECK_OK(pumit_config_parse(&config, json));
    CHECK_OK(pumit_config_set_int(config, "codes", CODES));
    CHECK_OK(pumit_config_set_int(config, "code_dim", DIM));
    b->module =
        pumit__module_create(sizeof *b->module, b->ctx, "quantizer", config, PUMIT__DRAWN, NULL);
    ck_assert_ptr_nonnull(b->module);
    CHECK_OK(pumit__quantizer_read(&b->q, config, "soft"));
    pumit_config_release(config);
    pumit__quantizer_create(&b->q, b->module);
    CHECK_OK(pumit__module_finish(b->module));
    b->mark = pumit__scope_begin(b->ctx);
    b->features = pumit__zeros(b->ctx, 0, 5, shape);
    ck_assert_ptr_nonnull(b->features);
    set_random(b->features, b->z[0], 1);
    set_random(b->q.codebook, b->codebook[0], 2);
    if (b->q.projection.weight) {
        set_random(b->q.projection.weight, b->weight[0], 3);
        set_random(b->q.projection.bias, b->bias, 4);
    }
    CHECK_OK(pumit_tensor_set_requires_grad(b->features, 1));
}

static void close_bench(bench *b)
{
    pumit__scope_end(b->ctx, b->mark, NULL);
    pumit__module_release(b->module);
    pumit_context_release(b->ctx);
}

/* Softmax of the projection, plainly. */
static void probabilities_of(const bench *b, double p[TOKENS][CODES])
{
    for (int i = 0; i < TOKENS; i++) {
        double sum = 0;
        for (int v = 0; v < CODES; v++) {
            double logit = b->bias[v];
            for (int c = 0; c < DIM; c++) logit += b->z[i][c] * b->weight[v][c];
            sum += p[i][v] = exp(logit);
        }
        for (int v = 0; v < CODES; v++) p[i][v] /= sum;
    }
}

static int nearest_code(const bench *b, int token)
{
    int best = 0;
    double least = INFINITY;
    for (int v = 0; v < CODES; v++) {
        double distance = 0;
        for (int c = 0; c < DIM; c++) distance += pow(b->codebook[v][c] - b->z[token][c], 2);
        if (distance < least) {
            least = distance;
            best = v;
        }
    }
    return best;
}

static void check_codes(const bench *b, const pumit_tensor *codes, double p[TOKENS][CODES])
{
    double got[TOKENS][DIM];
    read_values(codes, got[0], TOKENS * DIM);
    for (int i = 0; i < TOKENS; i++)
        for (int c = 0; c < DIM; c++) {
            double sum = 0;
            for (int v = 0; v < CODES; v++) sum += p[i][v] * b->codebook[v][c];
            CHECK_NEAR(got[i][c], sum, 1e-12);
        }
}

static pumit__quantized train(bench *b)
{
    pumit_context_set_recording(b->ctx, 1);
    const pumit__quantized out = pumit__quantizer_train(&b->q, b->features, NULL);
    pumit_context_set_recording(b->ctx, 0);
    ck_assert_msg(out.codes && out.prior, "%s", pumit_last_error());
    return out;
}

static double item(const pumit_tensor *tensor)
{
    double value;
    ck_assert_ptr_nonnull(tensor);
    CHECK_OK(pumit_tensor_item(&value, tensor));
    return value;
}

START_TEST(soft_tokens)
{
    bench b;
    double p[TOKENS][CODES], got[TOKENS][CODES], prior = 0, entropy = 0;
    open_bench(&b, "{}");
    probabilities_of(&b, p);
    read_values(pumit__quantizer_tokens(&b.q, b.features), got[0], TOKENS * CODES);
    for (int v = 0; v < CODES; v++) {
        double mean = 0;
        for (int i = 0; i < TOKENS; i++) {
            CHECK_NEAR(got[i][v], p[i][v], 1e-12);
            mean += p[i][v] / TOKENS;
            entropy -= p[i][v] * log(p[i][v]) / TOKENS;
        }
        prior += mean * log(mean);
    }
    const pumit__quantized out = train(&b);
    check_codes(&b, out.codes, p);
    CHECK_NEAR(item(out.prior), prior, 1e-12);
    CHECK_NEAR(item(out.entropy), entropy, 1e-12);
    close_bench(&b);
}
END_TEST

/* Tokens, loss and gradients of mode nearest, all by hand. */
START_TEST(nearest_tokens)
{
    bench b;
    double tokens[TOKENS][CODES], loss = 0, codes_grad[CODES][DIM] = {{0}}, got[CODES][DIM],
                                  z_grad[TOKENS][DIM];
    const double beta = 0.75, n = TOKENS * DIM;
    open_bench(&b, "{\"mode\": \"nearest\", \"beta\": 0.75}");
    read_values(pumit__quantizer_tokens(&b.q, b.features), tokens[0], TOKENS * CODES);
    for (int i = 0; i < TOKENS; i++) {
        const int k = nearest_code(&b, i);
        for (int v = 0; v < CODES; v++) ck_assert(tokens[i][v] == (v == k));
        for (int c = 0; c < DIM; c++) {
            const double step = b.codebook[k][c] - b.z[i][c];
            loss += (1 + beta) * step * step / n;
            codes_grad[k][c] += 2 * beta * step / n;
        }
    }
    const pumit__quantized out = train(&b);
    ck_assert_ptr_null(out.entropy);
    check_codes(&b, out.codes, tokens);
    CHECK_NEAR(item(out.prior), loss, 1e-12);
    CHECK_OK(pumit_tensor_backward(out.prior));
    read_values(b.q.codebook->slot->grad, got[0], CODES * DIM);
    read_values(b.features->slot->grad, z_grad[0], TOKENS * DIM);
    for (int v = 0; v < CODES; v++)
        for (int c = 0; c < DIM; c++) CHECK_NEAR(got[v][c], codes_grad[v][c], 1e-12);
    for (int i = 0; i < TOKENS; i++)
        for (int c = 0; c < DIM; c++)
            CHECK_NEAR(z_grad[i][c], 2 * (b.z[i][c] - b.codebook[nearest_code(&b, i)][c]) / n,
                       1e-12);
    close_bench(&b);
}
END_TEST

/* The sum of codes * weights that make no two elements alike, so that its gradient by the codes is known. */
static pumit_tensor *weighted(bench *b, pumit_tensor *codes, double weights[TOKENS * DIM])
{
    pumit_tensor *w = pumit__empty_like(codes);
    ck_assert_ptr_nonnull(w);
    set_random(w, weights, 9);
    pumit_context_set_recording(b->ctx, 1);
    pumit_tensor *sum = pumit__sum(pumit__mul(codes, w), 31, 1.0);
    pumit_context_set_recording(b->ctx, 0);
    return sum;
}

/* What the decoder sends back goes to the features as it is, and not to the codebook. */
START_TEST(nearest_passes_gradients_through)
{
    bench b;
    double weights[TOKENS * DIM], got[TOKENS * DIM];
    open_bench(&b, "{\"mode\": \"nearest\"}");
    CHECK_OK(pumit_tensor_backward(weighted(&b, train(&b).codes, weights)));
    read_values(b.features->slot->grad, got, TOKENS * DIM);
    for (int i = 0; i < TOKENS * DIM; i++) ck_assert(got[i] == weights[i]);
    ck_assert_ptr_null(b.q.codebook->slot->grad);
    close_bench(&b);
}
END_TEST

START_TEST(temperature_falls_as_a_cosine)
{
    bench b;
    static const struct {
        int64_t step;
        double expected;
    } cases[] = {{0, 2.0}, {25, 0.5 + 0.75 * (1 + M_SQRT1_2)}, {50, 1.25}, {100, 0.5}, {950, 0.5}};
    open_bench(&b, "{\"temperature_max\": 2, \"temperature_min\": 0.5}");
    b.q.max_steps = 100;
    for (int64_t i = 0; i < PUMIT__COUNT(cases); i++) {
        b.q.step = cases[i].step;
        CHECK_NEAR(pumit__quantizer_temperature(&b.q), cases[i].expected, 1e-12);
    }
    close_bench(&b);
    open_bench(&b, "{}");
    CHECK_NEAR(pumit__quantizer_temperature(&b.q), 0.9, 1e-12);
    b.q.step = 1;
    CHECK_NEAR(pumit__quantizer_temperature(&b.q), 1e-6, 1e-12);
    close_bench(&b);
}
END_TEST

static void sample_at(bench *b, int64_t step, int64_t draws, double codes[TOKENS * DIM])
{
    b->q.step = step;
    b->q.draws = draws;
    b->q.max_steps = 1000;
    read_values(train(b).codes, codes, TOKENS * DIM);
}

/* The same (seed, step, draw) gives the same sample, any other another one. Evaluation has no noise. */
START_TEST(gumbel_samples_follow_from_the_key)
{
    bench b;
    double first[TOKENS * DIM], again[TOKENS * DIM], p[TOKENS][CODES], got[TOKENS][CODES];
    static const int64_t keys[][3] = {{6, 3, 0}, {6, 4, 0}, {6, 3, 1}, {8, 3, 0}};
    /* A temperature that does not fall: only the noise may differ. */
    open_bench(&b, "{\"mode\": \"gumbel\", \"temperature_min\": 0.9, \"seed\": 6}");
    sample_at(&b, 3, 0, first);
    ck_assert_int_eq(b.q.draws, 1);
    for (int64_t i = 0; i < PUMIT__COUNT(keys); i++) {
        b.q.seed = (uint64_t)keys[i][0];
        sample_at(&b, keys[i][1], keys[i][2], again);
        ck_assert_int_eq(memcmp(first, again, sizeof first) == 0, i == 0);
    }
    probabilities_of(&b, p);
    read_values(pumit__quantizer_tokens(&b.q, b.features), got[0], TOKENS * CODES);
    for (int i = 0; i < TOKENS; i++)
        for (int v = 0; v < CODES; v++) CHECK_NEAR(got[i][v], p[i][v], 1e-12);
    close_bench(&b);
}
END_TEST

/* Each hard sample is one code; gradients are those of the soft sample of the same noise. */
START_TEST(hard_samples)
{
    bench hard, soft;
    double got[TOKENS][DIM], weights[TOKENS * DIM], grad[2][CODES];
    open_bench(&hard, "{\"mode\": \"gumbel\", \"hard\": true}");
    open_bench(&soft, "{\"mode\": \"gumbel\"}");
    const pumit__quantized out = train(&hard);
    read_values(out.codes, got[0], TOKENS * DIM);
    for (int i = 0; i < TOKENS; i++) {
        int same = 0;
        for (int v = 0; v < CODES; v++)
            same += memcmp(got[i], hard.codebook[v], sizeof got[i]) == 0;
        ck_assert_int_eq(same, 1);
    }
    CHECK_OK(pumit_tensor_backward(weighted(&hard, out.codes, weights)));
    CHECK_OK(pumit_tensor_backward(weighted(&soft, train(&soft).codes, weights)));
    read_values(hard.q.projection.bias->slot->grad, grad[0], CODES);
    read_values(soft.q.projection.bias->slot->grad, grad[1], CODES);
    for (int v = 0; v < CODES; v++) {
        CHECK_NEAR(grad[0][v], grad[1][v], 1e-12);
        ck_assert(fabs(grad[0][v]) > 1e-6);
    }
    close_bench(&hard);
    close_bench(&soft);
}
END_TEST

/* The largest of logits plus Gumbel noise is code v with its probability: counted over 12000 tokens, 4 deviations. */
START_TEST(samples_follow_the_probabilities)
{
    enum { draws = 2000 };
    bench b;
    double p[TOKENS][CODES], got[TOKENS][DIM], count[TOKENS][CODES] = {{0}}, tokens[TOKENS][CODES];
    open_bench(&b, "{\"mode\": \"gumbel\", \"hard\": true}");
    probabilities_of(&b, p);
    for (int draw = 0; draw < draws; draw++) {
        const int64_t mark = pumit__scope_begin(b.ctx);
        read_values(pumit__quantizer_train(&b.q, b.features, NULL).codes, got[0], TOKENS * DIM);
        pumit__scope_end(b.ctx, mark, NULL);
        for (int i = 0; i < TOKENS; i++)
            for (int v = 0; v < CODES; v++)
                count[i][v] += memcmp(got[i], b.codebook[v], sizeof got[i]) == 0;
    }
    for (int i = 0; i < TOKENS; i++)
        for (int v = 0; v < CODES; v++)
            CHECK_NEAR(count[i][v] / draws, p[i][v], 4 * sqrt(p[i][v] * (1 - p[i][v]) / draws));
    /* Evaluation takes the likeliest; a transformer should predict the probabilities. */
    read_values(pumit__quantizer_tokens(&b.q, b.features), tokens[0], TOKENS * CODES);
    for (int i = 0; i < TOKENS; i++) {
        int best = 0;
        for (int v = 1; v < CODES; v++) best = p[i][v] > p[i][best] ? v : best;
        for (int v = 0; v < CODES; v++) ck_assert(tokens[i][v] == (v == best));
    }
    read_values(pumit__quantizer_target(&b.q, b.features), tokens[0], TOKENS * CODES);
    for (int i = 0; i < TOKENS; i++)
        for (int v = 0; v < CODES; v++) CHECK_NEAR(tokens[i][v], p[i][v], 1e-12);
    close_bench(&b);
}
END_TEST

Suite *suite_quantizer(void)
{
    Suite *suite = suite_create("quantizer");
    TCase *modes = tcase_create("modes");
    tcase_add_test(modes, soft_tokens);
    tcase_add_test(modes, nearest_tokens);
    tcase_add_test(modes, nearest_passes_gradients_through);
    tcase_add_test(modes, temperature_falls_as_a_cosine);
    tcase_add_test(modes, gumbel_samples_follow_from_the_key);
    tcase_add_test(modes, hard_samples);
    tcase_add_test(modes, samples_follow_the_probabilities);
    suite_add_tcase(suite, modes);
    return suite;
}
