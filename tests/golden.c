/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/golden.h"

#include "lib/tensor/ops.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define NAME_FROM(name, format)                                                                    \
    char name[160];                                                                                \
    do {                                                                                           \
        va_list args_;                                                                             \
        va_start(args_, format);                                                                   \
        vsnprintf(name, sizeof name, format, args_);                                               \
        va_end(args_);                                                                             \
    } while (0)

static pumit_tensor *load(golden *g, const char *name, bool channels_last)
{
    const pumit__safetensors_entry *entry = pumit__safetensors_find(g->file, name);
    if (!entry) return NULL;
    char *aligned = malloc((size_t)entry->bytes + 1);
    if (!aligned) return NULL;
    memcpy(aligned, entry->data, (size_t)entry->bytes);
    const pumit_dtype dtype = entry->dtype == PUMIT_I64 ? PUMIT_I64 : 0;
    pumit_tensor *tensor =
        pumit__from_host(g->ctx, entry->dtype, aligned, dtype, entry->ndim, entry->shape);
    free(aligned);
    static const int32_t last[5] = {0, 2, 3, 4, 1};
    return channels_last && entry->ndim == 5 ? pumit__contiguous(pumit__permute(tensor, last))
                                             : tensor;
}

pumit_tensor *golden_tensor(golden *g, const char *format, ...)
{
    NAME_FROM(name, format);
    return load(g, name, true);
}

pumit_tensor *golden_plain(golden *g, const char *format, ...)
{
    NAME_FROM(name, format);
    return load(g, name, false);
}

bool golden_has(const golden *g, const char *format, ...)
{
    NAME_FROM(name, format);
    return pumit__safetensors_find(g->file, name) != NULL;
}

/* Keeps the worst array and the first failure; error is relative. */
static void judge(golden *g, double error, double bound, const char *name)
{
    g->compared++;
    if (!(error / bound <= g->worst)) {
        g->worst = error / bound;
        snprintf(g->worst_name, sizeof g->worst_name, "%s", name);
    }
    if (getenv("PUMIT_GOLDEN_VERBOSE") && (getenv("ALL") || !(error <= bound)))
        printf("  off by %.3g (bound %.0e): %s\n", error, bound, name);
    if (error <= bound) return;
    if (g->failed++ == 0)
        snprintf(g->message, sizeof g->message, "%s: '%s' is off by %.3g, %.0e is allowed", g->path,
                 name, error, bound);
}

static void fail(golden *g, const char *name, const char *why)
{
    g->compared++;
    if (g->failed++ == 0)
        snprintf(g->message, sizeof g->message, "%s: '%s': %s", g->path, name, why);
}

static double *values_of(const pumit_tensor *tensor)
{
    const int64_t bytes = pumit_tensor_count(tensor) * (int64_t)sizeof(double);
    double *values = malloc((size_t)bytes + 1);
    if (values && pumit_tensor_read(tensor, PUMIT_F64, values, bytes) == PUMIT_OK) return values;
    free(values);
    return NULL;
}

/* |got - expected| / (|expected| + floor); both have as many elements. */
static double relative_error(const pumit_tensor *got, const pumit_tensor *expected, double floor)
{
    double *a = values_of(got), *b = values_of(expected), difference = 0.0, norm = 0.0;
    const int64_t count = pumit_tensor_count(got);
    for (int64_t i = 0; a && b && i < count; i++) {
        difference += (a[i] - b[i]) * (a[i] - b[i]);
        norm += b[i] * b[i];
    }
    const double error = a && b ? sqrt(difference) / (sqrt(norm) + floor) : INFINITY;
    free(a);
    free(b);
    return error;
}

void golden_compare(golden *g, const pumit_tensor *got, const pumit_tensor *expected, double bound,
                    const char *format, ...)
{
    NAME_FROM(name, format);
    if (!got || !expected)
        fail(g, name, got ? "is not in the file" : pumit_last_error());
    else if (pumit_tensor_count(got) != pumit_tensor_count(expected))
        fail(g, name, "has another shape");
    else
        judge(g, relative_error(got, expected, g->noise / bound), bound, name);
}

void golden_compare_value(golden *g, double got, double expected, double bound, const char *format,
                          ...)
{
    NAME_FROM(name, format);
    judge(g, fabs(got - expected) / fabs(expected), bound, name);
}

/* ---------------------------------------------------------------------------------------- gradients */

pumit_tensor *golden_gradient(pumit_tensor *tensor)
{
    return tensor && tensor->slot ? tensor->slot->grad : NULL;
}

static double norm_of(golden *g, const char *name)
{
    pumit_tensor *tensor = golden_tensor(g, "%s", name);
    pumit_tensor *squares = tensor ? pumit__mul(tensor, tensor) : NULL;
    double sum = 0.0;
    if (squares)
        pumit_tensor_item(&sum, pumit__sum(squares, (UINT32_C(1) << squares->ndim) - 1, 1.0));
    return sqrt(sum);
}

/* Norm below which a gradient counts as zero. */
static double gradient_noise(golden *g, pumit_module *module, const char *prefix)
{
    char key[192];
    double sum = 0.0;
    for (int64_t i = 0; i < pumit_module_parameter_count(module); i++) {
        snprintf(key, sizeof key, "%s.%s", prefix, pumit_module_parameter_name(module, i));
        sum += pow(norm_of(g, key), 2.0);
    }
    return 5e-7 * sqrt(sum);
}

void golden_compare_gradients(golden *g, pumit_module *module, const char *prefix)
{
    g->noise = gradient_noise(g, module, prefix);
    for (int64_t i = 0; i < pumit_module_parameter_count(module); i++) {
        const char *name = pumit_module_parameter_name(module, i);
        if (golden_has(g, "%s.%s", prefix, name))
            golden_compare(g, golden_gradient(pumit_module_parameter(module, i)),
                           golden_tensor(g, "%s.%s", prefix, name), GOLDEN_GRADIENT, "%s.%s",
                           prefix, name);
    }
    g->noise = 0.0;
    pumit_module_zero_grad(module);
}

double golden_gradient_distance(golden *g, pumit_module *module, const char *prefix, double *worst)
{
    const double floor = gradient_noise(g, module, prefix) / GOLDEN_GRADIENT;
    double sum = 0.0;
    *worst = 0.0;
    for (int64_t i = 0; i < pumit_module_parameter_count(module); i++) {
        const char *name = pumit_module_parameter_name(module, i);
        pumit_tensor *got = golden_gradient(pumit_module_parameter(module, i)),
                     *expected = golden_tensor(g, "%s.%s", prefix, name);
        if (!got || !expected || pumit_tensor_count(got) != pumit_tensor_count(expected)) continue;
        const double error = relative_error(got, expected, floor);
        sum += error * error;
        if (!(error <= *worst)) *worst = error;
    }
    return sum;
}

double golden_item(const pumit_tensor *scalar)
{
    double value = NAN;
    return scalar && pumit_tensor_item(&value, scalar) == PUMIT_OK ? value : NAN;
}

void golden_compare_scalar(golden *g, double got, const char *name)
{
    golden_compare_value(g, got, golden_item(golden_tensor(g, "%s", name)), GOLDEN_FORWARD, "%s",
                         name);
}

/* ------------------------------------------------------------------------------------------ running */

pumit_status golden_config(pumit_config **out, const golden *g)
{
    const char *text = pumit__safetensors_metadata(g->file, "pumit.config");
    return text ? pumit_config_parse(out, text)
                : pumit__fail(PUMIT_ERROR_FORMAT, "%s: no pumit.config", g->path);
}

/* What a file is of: its metadata says; those without "pumit.model" are known by what they hold. */
static pumit_status run(golden *g)
{
    const char *kind = pumit__safetensors_metadata(g->file, "pumit.model");
    if (golden_has(g, "out.loss") && golden_has(g, "in.step0.x")) return golden_curve(g);
    if (kind && strncmp(kind, "tokenizer.", 10) == 0) return golden_tokenizer(g);
    if (kind && strcmp(kind, "vit") == 0) return golden_vit(g);
    if (kind && strcmp(kind, "segmenter") == 0) return golden_segmenter(g);
    if (golden_has(g, "down4.da0.down0.in") || golden_has(g, "halve.da0.down0.in"))
        return golden_sac(g);
    if (golden_has(g, "in.x") && golden_has(g, "in.image")) return golden_resample(g);
    if (golden_has(g, "in.da0.real")) return golden_discriminator(g);
    if (golden_has(g, "out.distance")) return golden_lpips(g);
    return pumit__fail(PUMIT_ERROR_UNSUPPORTED, "%s: is of no network that is checked here",
                       g->path);
}

pumit_status golden_check(golden *g, const char *path, const char *device)
{
    pumit__safetensors *file = NULL;
    pumit_config *options = NULL;
    *g = (golden){.path = path};
    pumit_status status = pumit_config_create(&options);
    if (status == PUMIT_OK) status = pumit_config_set_string(options, "device", device);
    if (status == PUMIT_OK) status = pumit_context_create(&g->ctx, options);
    if (status == PUMIT_OK) status = pumit__safetensors_open(&file, path);
    g->file = file;
    if (status == PUMIT_OK) {
        const int64_t mark = pumit__scope_begin(g->ctx);
        status = run(g);
        pumit__scope_end(g->ctx, mark, NULL);
    }
    pumit__safetensors_close(file);
    pumit_context_release(g->ctx);
    pumit_config_release(options);
    g->file = NULL;
    g->ctx = NULL;
    return status;
}
