/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/nn/adapt.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------------------------------ planning */

static bool ends_with(const char *name, const char *ending)
{
    const size_t n = strlen(name), e = strlen(ending);
    return n >= e && strcmp(name + n - e, ending) == 0;
}

static bool is_patch_embedding(const char *name)
{
    return ends_with(name, "patch_embed.proj.weight");
}

/* The axis of image channels in a tokenizer's last layer, a convolution or a transposed one; -1 for other parameters. */
static int32_t image_axis(const char *name)
{
    static const char start[] = "decoder.";
    if (strncmp(name, start, sizeof start - 1) != 0) return -1;
    const char *rest = name + sizeof start - 1;
    if (strcmp(rest, "conv_out.weight") == 0 || strcmp(rest, "conv_out.bias") == 0) return 0;
    const char *last = rest;
    while (isdigit((unsigned char)*last)) last++;
    if (last == rest) return -1;
    return strcmp(last, ".weight") == 0 ? 1 : strcmp(last, ".bias") == 0 ? 0 : -1;
}

static void add_step(pumit__adaptation *a, pumit__adapt_kind kind, int32_t axis, int64_t from,
                     int64_t to)
{
    a->steps[a->count++] = (pumit__adapt_step){kind, axis, from, to};
}

/* Side of a square grid of `tokens`; 0 if it is none. */
static int64_t side_of(int64_t tokens)
{
    int64_t side = 0;
    while (side < 4096 && side * side < tokens) side++;
    return side * side == tokens ? side : 0;
}

bool pumit__adapt_is_sequence(const pumit__weights_entry *entry)
{
    return entry->ndim == 3 && entry->shape[0] == 1 && side_of(entry->shape[1] - 1) > 0;
}

/* A position grid (1, C, D, H, W), from another or from a sequence. */
static bool plan_positions(pumit__adaptation *a, const pumit__weights_entry *entry,
                           const int64_t *shape)
{
    if (pumit__adapt_is_sequence(entry)) {
        const int64_t side = side_of(entry->shape[1] - 1);
        a->sequence = true;
        a->ndim = 5;
        memcpy(a->shape, (const int64_t[5]){1, entry->shape[2], 1, side, side}, 5 * sizeof *shape);
    }
    if (a->ndim != 5 || a->shape[0] != shape[0] || a->shape[1] != shape[1]) return false;
    for (int32_t i = 2; i < 5; i++) {
        const int64_t from = a->shape[i], to = shape[i];
        if (from < 1) return false;
        if (a->sequence && i == 2)
            add_step(a, PUMIT__ADAPT_REPEAT, i, 1, to);
        else if (from != to)
            add_step(a, from > to ? PUMIT__ADAPT_AREA : PUMIT__ADAPT_LINEAR, i, from, to);
    }
    return true;
}

/* Channels of images, not of features. */
static bool are_images(int64_t from, int64_t to)
{
    return from >= 1 && (from <= 4 || to <= 4);
}

static void plan_channels(pumit__adaptation *a, const char *name, int32_t ndim,
                          const int64_t *shape)
{
    const int32_t image = image_axis(name);
    if (image >= 0 && image < ndim && a->shape[image] == 3 && shape[image] == 1)
        add_step(a, PUMIT__ADAPT_GRAY, image, 3, 1);
    else if (image < 0 && ndim == 5 && a->shape[1] != shape[1] && are_images(a->shape[1], shape[1]))
        add_step(a, PUMIT__ADAPT_CHANNELS, 1, a->shape[1], shape[1]);
}

/* A convolution's weight (O, I, D, H, W) from one, or from (O, I, H, W). */
static void plan_kernel(pumit__adaptation *a, const char *name, const int64_t *shape, bool center)
{
    const bool patch = is_patch_embedding(name);
    if (a->ndim == 5 && patch && a->shape[2] > shape[2] && a->shape[2] % shape[2] == 0)
        add_step(a, PUMIT__ADAPT_POOL, 2, a->shape[2], shape[2]);
    if (a->ndim != 4) return;
    a->flat = true;
    a->ndim = 5;
    memmove(a->shape + 3, a->shape + 2, 2 * sizeof *shape);
    a->shape[2] = 1;
    for (int32_t i = 3; i < 5; i++)
        if (patch && a->shape[i] != shape[i] && a->shape[i] > 0)
            add_step(a, PUMIT__ADAPT_BICUBIC, i, a->shape[i], shape[i]);
    add_step(a, center && !patch ? PUMIT__ADAPT_CENTER : PUMIT__ADAPT_AVERAGE, 2, 1, shape[2]);
}

bool pumit__adapt_plan(pumit__adaptation *out, const pumit__weights_entry *entry, const char *name,
                       int32_t ndim, const int64_t *shape, bool center)
{
    int64_t count = 1, result[PUMIT_MAX_DIMS];
    *out = (pumit__adaptation){.ndim = entry->ndim};
    memcpy(out->shape, entry->shape, sizeof out->shape);
    for (int32_t i = 0; i < entry->ndim; i++) count *= entry->shape[i]; /* checked by the reader */
    if (count < 1 || count > PUMIT__ADAPT_MOST) return false;
    if (ends_with(name, "pos_embed") && ndim == 5) {
        if (!plan_positions(out, entry, shape)) return false;
    } else {
        plan_channels(out, name, ndim, shape);
        if (ndim == 5) plan_kernel(out, name, shape, center);
    }
    memcpy(result, out->shape, sizeof result);
    for (int32_t i = 0; i < out->count; i++) result[out->steps[i].axis] = out->steps[i].to;
    return out->ndim == ndim && memcmp(result, shape, (size_t)ndim * sizeof *shape) == 0;
}

/* ------------------------------------------------------------------------------------------ applying */

/* Keys' cubic convolution at distance x (Keys 1981). */
static double cubic(double x)
{
    const double a = -0.75;
    x = fabs(x);
    if (x <= 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
    if (x < 2) return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a;
    return 0;
}

static int64_t clamp(int64_t i, int64_t count)
{
    return i < 0 ? 0 : i < count ? i : count - 1;
}

/* The sources that a result reads: [*first, *end). */
static void window_of(int64_t *first, int64_t *end, const pumit__adapt_step *step, int64_t t)
{
    const int64_t S = step->from, T = step->to;
    const double centre = ((double)t + 0.5) * (double)S / (double)T - 0.5;
    *first = 0;
    *end = S;
    switch (step->kind) {
    case PUMIT__ADAPT_BICUBIC:
        *first = clamp((int64_t)floor(centre) - 1, S);
        *end = clamp((int64_t)floor(centre) + 2, S) + 1;
        break;
    case PUMIT__ADAPT_LINEAR:
        *first = clamp((int64_t)floor(centre), S);
        *end = clamp((int64_t)floor(centre) + 1, S) + 1;
        break;
    case PUMIT__ADAPT_AREA:
    case PUMIT__ADAPT_POOL:
        *first = t * S / T;
        *end = ((t + 1) * S + T - 1) / T;
        break;
    default:
        break;
    }
}

static double bicubic_weight(double centre, int64_t s, int64_t S)
{
    const int64_t middle = (int64_t)floor(centre);
    double weight = 0;
    for (int64_t i = middle - 1; i <= middle + 2; i++)
        if (clamp(i, S) == s) weight += cubic(centre - (double)i);
    return weight;
}

static double weight_of(const pumit__adapt_step *step, int64_t t, int64_t s, int64_t window)
{
    static const double gray[3] = {0.299, 0.587, 0.114};
    const int64_t S = step->from, T = step->to;
    const double centre = ((double)t + 0.5) * (double)S / (double)T - 0.5;
    switch (step->kind) {
    case PUMIT__ADAPT_GRAY:
        return gray[s];
    case PUMIT__ADAPT_CHANNELS:
    case PUMIT__ADAPT_AVERAGE:
        return 1.0 / (double)T;
    case PUMIT__ADAPT_CENTER:
        return t == T / 2 || t == (T - 1) / 2 ? (T % 2 ? 1.0 : 0.5) : 0.0;
    case PUMIT__ADAPT_BICUBIC:
        return bicubic_weight(centre, s, S);
    case PUMIT__ADAPT_AREA:
        return 1.0 / (double)window;
    case PUMIT__ADAPT_LINEAR:
        return window == 1 ? 1.0 : 1.0 - fabs(centre - (double)s);
    default:
        return 1.0;
    }
}

static void apply_step(double *dst, const double *src, const pumit__adapt_step *step, int64_t outer,
                       int64_t inner)
{
    for (int64_t t = 0; t < step->to; t++) {
        int64_t first, end;
        window_of(&first, &end, step, t);
        for (int64_t s = first; s < end; s++) {
            const double weight = weight_of(step, t, s, end - first);
            for (int64_t o = 0; o < outer; o++) {
                const double *const from = src + (o * step->from + s) * inner;
                double *const to = dst + (o * step->to + t) * inner;
                for (int64_t i = 0; i < inner; i++) to[i] += weight * from[i];
            }
        }
    }
}

/* Takes `src`, packed of `shape`, which becomes the result's. */
static double *run_step(double *src, const pumit__adapt_step *step, int32_t ndim, int64_t *shape)
{
    int64_t outer = 1, inner = 1, count;
    for (int32_t i = 0; i < step->axis; i++) outer *= shape[i];
    for (int32_t i = step->axis + 1; i < ndim; i++) inner *= shape[i];
    double *dst = NULL;
    if (pumit__multiply(&count, outer * inner, step->to))
        dst = pumit__calloc(count, (int64_t)sizeof *dst);
    if (dst) apply_step(dst, src, step, outer, inner);
    shape[step->axis] = step->to;
    free(src);
    return dst;
}

/* Rows 1.. of (1 + L, C) as columns: (C, L). Takes `src`. */
static double *lay_out(double *src, int64_t tokens, int64_t channels)
{
    double *dst = pumit__calloc(tokens * channels, (int64_t)sizeof *dst);
    for (int64_t l = 0; dst && l < tokens; l++)
        for (int64_t c = 0; c < channels; c++) dst[c * tokens + l] = src[(1 + l) * channels + c];
    free(src);
    return dst;
}

double *pumit__adapt_apply(const pumit__adaptation *a, double *src)
{
    int64_t shape[PUMIT_MAX_DIMS];
    memcpy(shape, a->shape, sizeof shape);
    if (a->sequence) src = lay_out(src, shape[3] * shape[4], shape[1]);
    for (int32_t i = 0; i < a->count && src; i++) src = run_step(src, &a->steps[i], a->ndim, shape);
    return src;
}

pumit__adapt_text pumit__adapt_describe(const pumit__adaptation *a)
{
    static const char *const words[] = {
        [PUMIT__ADAPT_GRAY] = "RGB to gray",
        [PUMIT__ADAPT_CHANNELS] = "input channels summed and repeated",
        [PUMIT__ADAPT_BICUBIC] = "bicubic",
        [PUMIT__ADAPT_AVERAGE] = "inflated (average)",
        [PUMIT__ADAPT_CENTER] = "inflated (center)",
        [PUMIT__ADAPT_POOL] = "depth summed",
        [PUMIT__ADAPT_AREA] = "area",
        [PUMIT__ADAPT_LINEAR] = "trilinear",
        [PUMIT__ADAPT_REPEAT] = "repeated over depth",
    };
    static const char axes[] = "OIDHW";
    pumit__adapt_text out = {""};
    size_t used = 0;
    if (a->sequence)
        used = (size_t)snprintf(out.text, sizeof out.text, "class position to the class token");
    for (int32_t i = 0; i < a->count && used < sizeof out.text; i++) {
        const pumit__adapt_step *s = &a->steps[i];
        used += (size_t)snprintf(out.text + used, sizeof out.text - used, "%s%s: %c %lld to %lld",
                                 used ? ", " : "", words[s->kind], axes[s->axis],
                                 (long long)s->from, (long long)s->to);
    }
    return out;
}
