/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/train/tally.h"

#include "lib/train/ssim.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

pumit_status pumit__tally_create(pumit__tally *t, int64_t codes)
{
    *t = (pumit__tally){.codes = codes,
                        .usage = pumit__calloc(codes, (int64_t)sizeof *t->usage),
                        .chosen = pumit__calloc(codes, (int64_t)sizeof *t->chosen)};
    if (t->usage && t->chosen) return PUMIT_OK;
    pumit__tally_free(t);
    return pumit__fail_memory(codes * (int64_t)sizeof *t->usage, "figures of the codes");
}

void pumit__tally_free(pumit__tally *t)
{
    free(t->usage);
    free(t->chosen);
    *t = (pumit__tally){0};
}

void pumit__tally_clear(pumit__tally *t)
{
    double *const usage = t->usage;
    bool *const chosen = t->chosen;
    memset(usage, 0, (size_t)t->codes * sizeof *usage);
    memset(chosen, 0, (size_t)t->codes * sizeof *chosen);
    *t = (pumit__tally){.codes = t->codes, .usage = usage, .chosen = chosen};
}

static pumit_status read_floats(float **out, pumit_tensor *tensor)
{
    const int64_t bytes = pumit_tensor_count(tensor) * (int64_t)sizeof **out;
    *out = pumit__calloc(bytes, 1);
    if (!*out) return pumit__fail_memory(bytes, "figures");
    const pumit_status status = pumit_tensor_read(tensor, PUMIT_F32, *out, bytes);
    if (status == PUMIT_OK) return PUMIT_OK;
    free(*out);
    *out = NULL;
    return status;
}

/* ------------------------------------------------------------------------------------------- tokens */

static double entropy_of(const float *p, int64_t codes)
{
    double sum = 0;
    for (int64_t v = 0; v < codes; v++)
        if (p[v] > 0) sum -= p[v] * log(p[v]);
    return sum;
}

pumit_status pumit__tally_tokens(pumit__tally *t, pumit_tensor *tokens, bool entropy)
{
    float *probs;
    PUMIT__TRY(read_floats(&probs, tokens));
    const int64_t n = pumit_tensor_count(tokens) / t->codes;
    for (int64_t i = 0; i < n; i++) {
        const float *const p = probs + i * t->codes;
        int64_t top = 0;
        for (int64_t v = 0; v < t->codes; v++) {
            t->usage[v] += p[v];
            if (p[v] > p[top]) top = v;
        }
        t->chosen[top] = true;
        if (entropy) t->entropy += entropy_of(p, t->codes);
    }
    t->tokens += (double)n;
    free(probs);
    return PUMIT_OK;
}

double pumit__tally_perplexity(const pumit__tally *t)
{
    double entropy = 0;
    for (int64_t v = 0; v < t->codes; v++) {
        const double mean = t->usage[v] / t->tokens;
        entropy -= mean > 0 ? mean * log(mean) : 0;
    }
    return exp(entropy);
}

double pumit__tally_used(const pumit__tally *t)
{
    double used = 0;
    for (int64_t v = 0; v < t->codes; v++) used += t->chosen[v];
    return used;
}

/* ------------------------------------------------------------------------------------------- images */

double pumit__psnr(double mse)
{
    return -10 * log10(fmax(mse, 1e-12));
}

double pumit__tally_ssim(const pumit__tally *t)
{
    return t->similarity / t->slices;
}

static void cut(float *values, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        values[i] = values[i] < 0.0f ? 0.0f : values[i] > 1.0f ? 1.0f : values[i];
}

static void add_errors(pumit__tally *t, const float *a, const float *b, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        const double error = (double)a[i] - b[i];
        t->squares += error * error;
        t->absolute += fabs(error);
    }
    t->voxels += (double)n;
}

/* shape: N D H W C. */
static pumit_status add_similarities(pumit__tally *t, const float *a, const float *b,
                                     const int64_t *shape)
{
    const int64_t slice = shape[2] * shape[3] * shape[4];
    for (int64_t i = 0; i < shape[0] * shape[1]; i++) {
        double similarity;
        PUMIT__TRY(
            pumit__ssim(&similarity, a + i * slice, b + i * slice, shape[2], shape[3], shape[4]));
        t->similarity += similarity;
        t->slices++;
    }
    return PUMIT_OK;
}

pumit_status pumit__tally_images(pumit__tally *t, pumit_tensor *image, pumit_tensor *decoded)
{
    float *a = NULL, *b = NULL;
    const int64_t n = pumit_tensor_count(image);
    pumit_status status;
    PUMIT__GO(read_floats(&a, image));
    PUMIT__GO(read_floats(&b, decoded));
    cut(a, n);
    cut(b, n);
    add_errors(t, a, b, n);
    status = add_similarities(t, a, b, pumit_tensor_shape(image));
out:
    free(a);
    free(b);
    return status;
}
