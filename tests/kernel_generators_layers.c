/* SPDX-License-Identifier: Apache-2.0 */
/* Generators of matrix products, normalisations, softmax and attention. */
#include "kernel_cases.h"

#include "kernels/backends.h"

#include <math.h>
#include <stdlib.h>

#define LL(x) ((long long)(x))

/* ------------------------------------------------------------------------------ matrix products */

/* One operand: `rows` x `columns` as stored, for `batch` matrices. Gives the elements spanned. */
static int64_t lay_out(kernel_case *c, int64_t batch, int64_t rows, int64_t columns, int repeats,
                       int64_t *ld, int64_t *batch_stride)
{
    const int64_t style = c->large ? 0 : random_below(c, repeats ? 4 : 3);
    if (style == 1) { /* heads side by side in a row */
        *ld = columns * batch;
        *batch_stride = columns;
    } else {
        *ld = columns + (style == 2 ? random_below(c, 5) : 0);
        *batch_stride = style == 3 ? 0 : rows * *ld + (style == 2 ? random_below(c, 7) : 0);
    }
    return (batch - 1) * *batch_stride + (rows - 1) * *ld + columns;
}

/* The oracle's rounding of `count` numbers. */
static void convert(const void *src, int32_t src_dtype, void *dst, int32_t dst_dtype, int64_t count)
{
    const pumit_copy_args args = {.src = src,
                                  .dst = dst,
                                  .src_dtype = src_dtype,
                                  .dst_dtype = dst_dtype,
                                  .ndim = 1,
                                  .shape = {count},
                                  .src_stride = {1},
                                  .dst_stride = {1}};
    if (pumit__reference64.copy(NULL, &args) != PUMIT_OK) abort();
}

/* b in 16 bits. a is made of numbers that have as few digits, so that a backend that rounds it loses nothing
 * and the bounds are those of any product. */
static void narrow_b(kernel_case *c, int32_t dtype)
{
    kernel_array *a = &c->arrays[0], *b = &c->arrays[1];
    uint16_t *half = allocate_zeros((size_t)a->count * sizeof *half);
    convert(a->values, PUMIT_F64, half, dtype, a->count);
    convert(half, dtype, a->values, PUMIT_F64, a->count);
    free(half);
    b->dtype = c->args.matmul.b_dtype = dtype;
    b->bytes = allocate_zeros((size_t)b->count * sizeof *half);
    convert(b->values, PUMIT_F64, b->bytes, dtype, b->count);
}

void case_matmul(kernel_case *c)
{
    static const int32_t dtypes[] = {0, 0, PUMIT_BF16, PUMIT_F16};
    static const double factors[] = {1, 1, 0.5, -0.75}, betas[] = {0, 0, 1, 0.25};
    pumit_matmul_args *args = &c->args.matmul;
    args->batch = c->large ? 1 : maybe(c) ? 1 : 1 + random_below(c, 4);
    const int wide = !c->large && random_below(c, 8) == 0; /* more than one block of b */
    args->m = pick(c, wide ? 9 : 70, 501, 2004, 2048);
    args->n = pick(c, wide ? 1025 : 130, 768, 2048, 2048);
    args->k = pick(c, wide ? 1025 : 200, 768, 768, 2048);
    args->trans_a = maybe(c);
    args->trans_b = c->large ? 1 : maybe(c);
    args->alpha = c->large ? 1 : factors[random_below(c, 4)];
    args->beta = c->large ? 0 : betas[random_below(c, 4)];
    const int64_t a =
        args->trans_a
            ? lay_out(c, args->batch, args->k, args->m, 1, &args->lda, &args->a_batch_stride)
            : lay_out(c, args->batch, args->m, args->k, 1, &args->lda, &args->a_batch_stride);
    const int64_t b =
        args->trans_b
            ? lay_out(c, args->batch, args->n, args->k, 1, &args->ldb, &args->b_batch_stride)
            : lay_out(c, args->batch, args->k, args->n, 1, &args->ldb, &args->b_batch_stride);
    const int64_t out =
        lay_out(c, args->batch, args->m, args->n, 0, &args->ldc, &args->c_batch_stride);
    add_array(c, AT(matmul, a), SRC, a, c->fill);
    add_array(c, AT(matmul, b), SRC, b, maybe(c) ? c->fill : FILL_NORMAL);
    const int32_t dtype = c->large ? 0 : dtypes[random_below(c, 4)];
    if (dtype) narrow_b(c, dtype);
    if (maybe(c)) add_array(c, AT(matmul, bias), SRC, args->n, FILL_NORMAL);
    add_array(c, AT(matmul, c), args->beta == 0 ? DST : ADD, out, FILL_NORMAL);
    c->terms = (double)args->k;
    c->sparse |= (c->fill == FILL_MIXED && args->k == 1) || args->ldc > 2 * args->n;
    c->flops = 2.0 * (double)(args->batch * args->m * args->n) * (double)args->k;
    describe(
        c,
        "batch %lld m %lld n %lld k %lld, ld %lld %lld %lld, trans %d %d, alpha %g beta %g, b %d%s",
        LL(args->batch), LL(args->m), LL(args->n), LL(args->k), LL(args->lda), LL(args->ldb),
        LL(args->ldc), args->trans_a, args->trans_b, args->alpha, args->beta, args->b_dtype,
        c->count == 4 ? ", bias" : "");
}

/* ------------------------------------------------------------------------------- normalisation */

/* Statistics are floats: a mean that is half an epsilon off shifts a whole row, by as much times rstd. */
static void allow_for_mean(kernel_case *c, int forward)
{
    run_on_values(c, forward);
    kernel_array *dst = &c->arrays[3];
    dst->floor = largest(dst + 1) * largest(dst + 2) * largest(&c->arrays[1]);
    for (int k = 0; k < 3; k++) {
        for (int64_t i = 0; i < dst[k].count; i++) dst[k].values[i] = (double)NAN;
    }
}

static void layer_norm_arrays(kernel_case *c)
{
    pumit_layer_norm_args *args = &c->args.layer_norm;
    args->rows = pick(c, 60, 501, 2004, 4000);
    args->channels = pick(c, 1025, 768, 2048, 512);
    args->eps = 1e-5;
    const int64_t count = args->rows * args->channels;
    add_array(c, AT(layer_norm, src), SRC, count, c->fill);
    add_array(c, AT(layer_norm, weight), SRC, args->channels, FILL_NORMAL);
    add_array(c, AT(layer_norm, bias), SRC, args->channels, FILL_NORMAL);
    add_array(c, AT(layer_norm, dst), DST, count, c->fill);
    add_array(c, AT(layer_norm, mean), DST, args->rows, c->fill);
    add_array(c, AT(layer_norm, rstd), DST, args->rows, c->fill);
    c->terms = (double)args->channels;
    c->flops = 8 * (double)count;
    describe(c, "rows %lld channels %lld", LL(args->rows), LL(args->channels));
}

void case_layer_norm_forward(kernel_case *c)
{
    layer_norm_arrays(c);
    allow_for_mean(c, KERNEL_layer_norm_forward);
}

/* After the forward arrays: mean and rstd become inputs, dst makes room for diff_src. g - mean(g) is 0 to
 * rounding in groups of one element, times rstd up to 1 / sqrt(eps). */
static void turn_backward(kernel_case *c, int forward, size_t diff_dst, size_t diff_src,
                          size_t diff_weight, size_t diff_bias, int64_t channels)
{
    run_on_values(c, forward);
    const int wants_src = !maybe(c), wants_parameters = !wants_src || !maybe(c);
    kernel_array *dst = &c->arrays[3];
    dst->role = DST;
    dst->slots[0] = diff_src;
    for (int64_t i = 0; i < dst->count; i++) dst->values[i] = (double)NAN;
    c->arrays[4].role = c->arrays[5].role = SRC;
    const kernel_array *diff = add_array(c, diff_dst, SRC, dst->count, FILL_NORMAL);
    if (wants_parameters) {
        add_array(c, diff_weight, ADD, channels, FILL_NORMAL);
        if (!maybe(c)) add_array(c, diff_bias, ADD, channels, FILL_NORMAL);
    }
    c->floor = 4 * largest(diff) * largest(&c->arrays[1]) * fmin(largest(&c->arrays[5]), 320);
    c->sparse |= c->terms == 1 || c->fill == FILL_EQUAL;
    if (!wants_src) dst->slot_count = 0; /* stays NULL */
}

void case_layer_norm_backward(kernel_case *c)
{
    layer_norm_arrays(c);
    turn_backward(c, KERNEL_layer_norm_forward, AT(layer_norm, diff_dst), AT(layer_norm, diff_src),
                  AT(layer_norm, diff_weight), AT(layer_norm, diff_bias),
                  c->args.layer_norm.channels);
}

static void group_norm_arrays(kernel_case *c)
{
    pumit_group_norm_args *args = &c->args.group_norm;
    args->n = c->large ? 1 : 1 + random_below(c, 3);
    args->spatial = pick(c, 300, 500, 4000, 147456);
    const int64_t width = pick(c, 17, 64, 16, 2);
    args->groups = c->large ? (c->large == 3 ? 16 : 8) : maybe(c) ? 1 : random_size(c, 33);
    args->channels = width * args->groups;
    args->eps = maybe(c) ? 1e-6 : 1e-5;
    const int64_t count = args->n * args->spatial * args->channels;
    add_array(c, AT(group_norm, src), SRC, count, c->fill);
    add_array(c, AT(group_norm, weight), SRC, args->channels, FILL_NORMAL);
    add_array(c, AT(group_norm, bias), SRC, args->channels, FILL_NORMAL);
    add_array(c, AT(group_norm, dst), DST, count, c->fill);
    add_array(c, AT(group_norm, mean), DST, args->n * args->groups, c->fill);
    add_array(c, AT(group_norm, rstd), DST, args->n * args->groups, c->fill);
    c->terms = (double)(args->spatial * width);
    c->flops = 8 * (double)count;
    describe(c, "n %lld spatial %lld channels %lld groups %lld eps %g", LL(args->n),
             LL(args->spatial), LL(args->channels), LL(args->groups), args->eps);
}

void case_group_norm_forward(kernel_case *c)
{
    group_norm_arrays(c);
    allow_for_mean(c, KERNEL_group_norm_forward);
}

void case_group_norm_backward(kernel_case *c)
{
    group_norm_arrays(c);
    turn_backward(c, KERNEL_group_norm_forward, AT(group_norm, diff_dst), AT(group_norm, diff_src),
                  AT(group_norm, diff_weight), AT(group_norm, diff_bias),
                  c->args.group_norm.channels);
}

/* ------------------------------------------------------------------------------------- softmax */

static void pick_logits(kernel_case *c, int64_t *rows, int64_t *channels)
{
    *rows = pick(c, 60, 500, 4000, 6012);
    /* Of rows of few channels kernels may take several at once. */
    *channels = pick(c, maybe(c) ? 20 : 1025, 1024, 8192, 501);
    c->terms = (double)*channels;
    c->flops = 10 * (double)(*rows * *channels);
    c->sparse |= c->fill == FILL_LARGE || c->fill == FILL_MIXED || *channels == 1;
    describe(c, "rows %lld channels %lld", LL(*rows), LL(*channels));
}

static void add_logits(kernel_case *c, size_t slot, int64_t count)
{
    add_array(c, slot, SRC, count, c->fill)->unit = 1;
}

void case_softmax_forward(kernel_case *c)
{
    pumit_softmax_args *args = &c->args.softmax;
    pick_logits(c, &args->rows, &args->channels);
    add_logits(c, AT(softmax, src), args->rows * args->channels);
    add_array(c, AT(softmax, dst), DST, args->rows * args->channels, c->fill);
}

void case_softmax_backward(kernel_case *c)
{
    case_softmax_forward(c);
    run_on_values(c, KERNEL_softmax_forward);
    const int64_t count = c->arrays[0].count;
    c->arrays[0].slot_count = 0; /* the gradient needs the probabilities alone */
    c->arrays[1].role = SRC;
    c->floor = largest(add_array(c, AT(softmax, diff_dst), SRC, count, FILL_NORMAL));
    add_array(c, AT(softmax, diff_src), DST, count, c->fill);
}

void case_entropy_forward(kernel_case *c)
{
    pumit_entropy_args *args = &c->args.entropy;
    pick_logits(c, &args->rows, &args->channels);
    add_logits(c, AT(entropy, src), args->rows * args->channels);
    add_array(c, AT(entropy, dst), DST, args->rows, c->fill);
    c->floor = 4;
}

void case_entropy_backward(kernel_case *c)
{
    pumit_entropy_args *args = &c->args.entropy;
    pick_logits(c, &args->rows, &args->channels);
    add_logits(c, AT(entropy, src), args->rows * args->channels);
    const kernel_array *diff = add_array(c, AT(entropy, diff_dst), SRC, args->rows, FILL_NORMAL);
    add_array(c, AT(entropy, diff_src), DST, args->rows * args->channels, c->fill);
    c->floor = 4 * largest(diff);
    c->sparse |= c->fill == FILL_EQUAL;
}

/* A distribution per row with zeros in it; now and then one-hot, or not summing to 1. */
static void add_targets(kernel_case *c, int64_t rows, int64_t channels)
{
    kernel_array *target = add_array(c, AT(cross_entropy, target), SRC, rows * channels, FILL_ZERO);
    const int one_hot = maybe(c);
    for (int64_t r = 0; r < rows; r++) {
        double *row = target->values + r * channels;
        for (int64_t i = 0; i < channels && !one_hot; i++) {
            if (random_below(c, 4) != 0) row[i] = (float)(2 * random_uniform(c) / (double)channels);
        }
        if (one_hot) row[random_below(c, channels)] = 1;
    }
}

void case_cross_entropy_forward(kernel_case *c)
{
    pumit_cross_entropy_args *args = &c->args.cross_entropy;
    pick_logits(c, &args->rows, &args->channels);
    add_logits(c, AT(cross_entropy, src), args->rows * args->channels);
    add_targets(c, args->rows, args->channels);
    add_array(c, AT(cross_entropy, dst), DST, args->rows, c->fill);
    c->floor = 4;
}

void case_cross_entropy_backward(kernel_case *c)
{
    pumit_cross_entropy_args *args = &c->args.cross_entropy;
    pick_logits(c, &args->rows, &args->channels);
    add_logits(c, AT(cross_entropy, src), args->rows * args->channels);
    add_targets(c, args->rows, args->channels);
    add_array(c, AT(cross_entropy, diff_dst), SRC, args->rows, FILL_NORMAL);
    add_array(c, AT(cross_entropy, diff_src), DST, args->rows * args->channels, c->fill);
    c->floor = 4;
}

/* ------------------------------------------------------------------------------- rope, attention */

void case_rope(kernel_case *c)
{
    pumit_rope_args *args = &c->args.rope;
    args->n = c->large ? 1 : 1 + random_below(c, 3);
    args->length = pick(c, 40, 501, 501, 2004);
    args->heads = pick(c, 7, 12, 16, 12);
    args->head_dim = 2 * pick(c, 33, 32, 32, 32);
    args->skip = c->large ? 1 : random_below(c, args->length < 3 ? args->length + 1 : 3);
    args->inverse = maybe(c);
    const int64_t angles = (args->length - args->skip) * args->head_dim / 2;
    args->angle_batch_stride = maybe(c) ? angles : 0;
    const int64_t tables = args->angle_batch_stride ? args->n * angles : angles;
    const int64_t width = args->heads * args->head_dim;
    args->row = pick_row(c, width);
    const int64_t count = span_of(args->n * args->length, width, args->row);
    kernel_array *src = add_array(c, AT(rope, src), SRC, count, c->fill);
    blank_gaps(src, width, args->row);
    const kernel_array *angle = add_array(c, AT(rope, cosine), SRC, tables, FILL_LARGE);
    kernel_array *sine = add_array(c, AT(rope, sine), SRC, tables, FILL_ZERO);
    for (int64_t i = 0; i < tables; i++) {
        const double radians = angle->values[i];
        sine->values[i] = (float)sin(radians);
        angle->values[i] = (float)cos(radians);
    }
    c->sparse |= args->length == args->skip || args->head_dim * args->heads < 8;
    if (maybe(c)) {
        also_at(src, AT(rope, dst));
        c->sparse |= args->length < 20 || c->fill == FILL_MIXED;
    } else {
        add_array(c, AT(rope, dst), DST, count, c->fill);
    }
    c->flops = 3 * (double)count;
    describe(
        c,
        "n %lld length %lld heads %lld head_dim %lld row %lld skip %lld stride %lld inverse %d%s",
        LL(args->n), LL(args->length), LL(args->heads), LL(args->head_dim), LL(args->row),
        LL(args->skip), LL(args->angle_batch_stride), args->inverse,
        c->count == 3 ? " in place" : "");
}

/* Sequences end to end, some of them empty or of one token. Gives the tokens of all. */
static int64_t pick_sequences(kernel_case *c)
{
    pumit_attention_args *args = &c->args.attention;
    if (!maybe(c)) return args->n * args->length;
    args->n = 1 + random_below(c, 6);
    args->length = 0;
    args->offsets = c->host;
    for (int64_t i = 0; i < args->n; i++) {
        const int64_t lengths[] = {0, 1, random_size(c, 20), random_size(c, 300)};
        const int64_t length = i == 0 ? lengths[3] : lengths[random_below(c, 4)];
        args->length = length > args->length ? length : args->length;
        c->host[i + 1] = c->host[i] + length;
    }
    return c->host[args->n];
}

static kernel_array *add_tokens(kernel_case *c, size_t slot, kernel_role role, int64_t tokens,
                                kernel_fill fill)
{
    const pumit_attention_args *args = &c->args.attention;
    const int64_t width = args->heads * args->head_dim;
    kernel_array *a = add_array(c, slot, role, span_of(tokens, width, args->row), fill);
    blank_gaps(a, width, args->row);
    return a;
}

/* q and k are scaled so that no fill gives scores beyond some thousands, where floats stop telling. Gives the
 * tokens of all sequences. */
static int64_t attention_arrays(kernel_case *c)
{
    pumit_attention_args *args = &c->args.attention;
    args->n = c->large ? 1 : 1 + random_below(c, 2);
    args->length = pick(c, 80, 101, 501, 2001);
    args->heads = pick(c, 4, 12, 12, 12);
    args->head_dim = pick(c, 80, 64, 64, 64);
    args->scale = maybe(c) ? 0.3 : 1 / sqrt((double)args->head_dim);
    args->row = pick_row(c, args->heads * args->head_dim);
    const int64_t tokens = pick_sequences(c), width = args->heads * args->head_dim;
    const double factor = c->fill == FILL_LARGE || c->fill == FILL_MIXED ? 0.02
                          : c->fill == FILL_OFFSET                       ? 0.1
                                                                         : 1;
    scale_values(add_tokens(c, AT(attention, q), SRC, tokens, c->fill), factor);
    scale_values(add_tokens(c, AT(attention, k), SRC, tokens, c->fill), factor);
    add_tokens(c, AT(attention, v), SRC, tokens, maybe(c) ? c->fill : FILL_NORMAL);
    add_array(c, AT(attention, dst), DST, tokens * width, c->fill);
    add_array(c, AT(attention, lse), DST, args->heads * tokens, c->fill);
    c->floor = 8;
    c->terms = (double)args->length;
    c->flops = 4.0 * (double)args->length * (double)(tokens * width);
    c->sparse |= args->length == 1;
    describe(c, "n %lld length %lld heads %lld head_dim %lld row %lld scale %g%s", LL(args->n),
             LL(args->length), LL(args->heads), LL(args->head_dim), LL(args->row), args->scale,
             args->offsets ? ", offsets" : "");
    return tokens;
}

void case_attention_forward(kernel_case *c)
{
    attention_arrays(c);
}

void case_attention_backward(kernel_case *c)
{
    const int64_t tokens = attention_arrays(c);
    run_on_values(c, KERNEL_attention_forward);
    c->arrays[3].role = c->arrays[4].role = SRC;
    c->arrays[4].unit = 1;
    add_array(c, AT(attention, diff_dst), SRC, c->arrays[3].count, FILL_NORMAL);
    add_tokens(c, AT(attention, diff_q), DST, tokens, c->fill);
    add_tokens(c, AT(attention, diff_k), DST, tokens, c->fill);
    add_tokens(c, AT(attention, diff_v), DST, tokens, c->fill);
    /* one-hot rows and equal keys have no gradient */
    c->sparse |= c->fill == FILL_EQUAL || c->fill == FILL_LARGE || c->fill == FILL_MIXED;
    c->flops *= 2.5;
}
