/* SPDX-License-Identifier: Apache-2.0 */
/* Generators of copies, sums, elementwise kernels and the optimiser. */
#include "kernel_cases.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* ------------------------------------------------------------------------------- strided arrays */

static int64_t product(int32_t ndim, const int64_t *shape)
{
    int64_t count = 1;
    for (int32_t i = 0; i < ndim; i++) count *= shape[i];
    return count;
}

static void random_shape(kernel_case *c, int32_t *ndim, int64_t *shape, int64_t limit)
{
    *ndim = (int32_t)random_below(c, 6);
    int64_t left = limit;
    for (int32_t i = 0; i < *ndim; i++) {
        shape[i] = random_size(c, left < 40 ? left : 40);
        left /= shape[i];
    }
    if (*ndim > 0 && random_below(c, 3) == 0) shape[*ndim - 1] = random_size(c, left + 1);
}

/* Strides of `shape` laid out in a random order of axes, with gaps; the elements it then spans. */
static int64_t random_strides(kernel_case *c, int32_t ndim, const int64_t *shape, int64_t *stride)
{
    int32_t order[PUMIT_MAX_DIMS];
    int64_t step = c->large ? 1 : 1 + random_below(c, 2), span = 1;
    const int shuffled = maybe(c);
    for (int32_t i = 0; i < ndim; i++) order[i] = i;
    for (int32_t i = ndim - 1; i > 0 && shuffled; i--) {
        const int32_t j = (int32_t)random_below(c, i + 1), kept = order[i];
        order[i] = order[j], order[j] = kept;
    }
    for (int32_t i = ndim - 1; i >= 0; i--) {
        stride[order[i]] = step;
        span += (shape[order[i]] - 1) * step;
        step *= shape[order[i]];
        if (maybe(c)) step += random_below(c, 3);
    }
    return span;
}

static void packed_strides(int32_t ndim, const int64_t *shape, int64_t *stride)
{
    int64_t step = 1;
    for (int32_t i = ndim - 1; i >= 0; i--) {
        stride[i] = step;
        step *= shape[i];
    }
}

/* Strides of an operand that may be broadcast along any axis; the elements it spans. */
static int64_t operand_strides(kernel_case *c, int32_t ndim, const int64_t *shape, int64_t *stride)
{
    int64_t kept[PUMIT_MAX_DIMS] = {0};
    int64_t span = 1;
    for (int32_t i = 0; i < ndim; i++) kept[i] = maybe(c) && maybe(c) ? 1 : shape[i];
    random_strides(c, ndim, kept, stride);
    for (int32_t i = 0; i < ndim; i++) {
        if (kept[i] != shape[i]) stride[i] = 0;
        span += (kept[i] - 1) * stride[i];
    }
    return span;
}

/* Axes as text, for describe(). */
static const char *axes(char *text, size_t size, int32_t ndim, const int64_t *values)
{
    size_t used = 0;
    text[0] = 0;
    for (int32_t i = 0; i < ndim && used < size; i++) {
        used += (size_t)snprintf(text + used, size - used, "%s%lld", i ? "," : "",
                                 (long long)values[i]);
    }
    return text;
}

#define AXES(ndim, values) axes((char[80]){0}, 80, ndim, values)

/* ---------------------------------------------------------------------------- copies and sums */

static double special_float(kernel_case *c)
{
    static const double values[] = {
        0,    -0.0, INFINITY, -INFINITY,   NAN,   65504,   65519.9, 65520,   1e30, -1e30,
        0.5,  1.5,  2.5,      254.5,       255.5, 256.5,   -0.5,    32767.5, 1e-8, 6.2e-5,
        2049, 2051, -2049.5,  1 + 0x1p-11, 1e-40, 0x1p-25, 3e9,     -3e9,    1e19, -1e19};
    return values[random_below(c, (int64_t)(sizeof values / sizeof values[0]))];
}

static int64_t special_integer(kernel_case *c)
{
    static const int64_t values[] = {0,         -1,        255,       256,        -32768,
                                     32767,     32768,     -32769,    INT_MAX,    INT_MIN,
                                     INT64_MAX, INT64_MIN, 16777217,  -(1 << 24), 33554435,
                                     65504,     65520,     1LL << 40, -7,         100};
    return values[random_below(c, (int64_t)(sizeof values / sizeof values[0]))];
}

/* Random bytes for 16-bit floats, so that every bit pattern comes up. */
static void fill_typed(kernel_case *c, kernel_array *a)
{
    for (int64_t i = 0; i < a->count; i++) {
        const int special = random_below(c, 4) == 0;
        const double real = special ? special_float(c) : 100 * random_normal(c);
        const int64_t integer = special ? special_integer(c) : random_below(c, 1000) - 500;
        switch (a->dtype) {
        case PUMIT_F32:
            ((float *)a->bytes)[i] = (float)real;
            break;
        case PUMIT_F64:
            ((double *)a->bytes)[i] = real;
            break;
        case PUMIT_F16:
        case PUMIT_BF16:
            ((uint16_t *)a->bytes)[i] = (uint16_t)random_below(c, 65536);
            break;
        case PUMIT_U8:
            ((uint8_t *)a->bytes)[i] = (uint8_t)integer;
            break;
        case PUMIT_I16:
            ((int16_t *)a->bytes)[i] = (int16_t)integer;
            break;
        case PUMIT_I32:
            ((int32_t *)a->bytes)[i] = (int32_t)integer;
            break;
        default:
            ((int64_t *)a->bytes)[i] = integer;
            break;
        }
    }
}

/* Sums are pinned to the bit only where one rounding is all there can be. */
static void copy_dtypes(kernel_case *c, pumit_copy_args *args)
{
    static const int32_t timed[] = {PUMIT_F32, PUMIT_F16, PUMIT_F32};
    args->src_dtype = c->large ? timed[c->large - 1] : 1 + (int32_t)random_below(c, 8);
    args->dst_dtype = c->large || maybe(c) ? PUMIT_F32 : 1 + (int32_t)random_below(c, 8);
    args->accumulate = !c->large && random_below(c, 4) == 0;
    if (!args->accumulate) return;
    const int narrow = args->src_dtype == PUMIT_F16 || args->src_dtype == PUMIT_BF16;
    args->dst_dtype = narrow && maybe(c) ? PUMIT_F32 : args->src_dtype;
}

void case_copy(kernel_case *c)
{
    static const int64_t timed[KERNEL_LARGE][3] = {{1000, 64, 27}, {16, 300, 300}, {512, 512, 8}};
    pumit_copy_args *args = &c->args.copy;
    copy_dtypes(c, args);
    random_shape(c, &args->ndim, args->shape, 4000);
    int64_t src_span, dst_span;
    if (c->large) {
        args->ndim = 3;
        memcpy(args->shape, timed[c->large - 1], sizeof timed[0]);
        src_span = dst_span = product(3, args->shape);
        packed_strides(3, args->shape, args->dst_stride);
        packed_strides(3, args->shape, args->src_stride);
        if (c->large != 2) { /* the first two axes trade places */
            args->src_stride[0] = args->shape[2];
            args->src_stride[1] = args->shape[0] * args->shape[2];
        }
    } else {
        src_span = operand_strides(c, args->ndim, args->shape, args->src_stride);
        dst_span = random_strides(c, args->ndim, args->shape, args->dst_stride);
    }
    fill_typed(c, add_typed(c, AT(copy, src), SRC, args->src_dtype, src_span));
    fill_typed(c, add_typed(c, AT(copy, dst), ADD, args->dst_dtype, dst_span));
    describe(c, "[%s] strides [%s] -> [%s], types %d -> %d, accumulate %d",
             AXES(args->ndim, args->shape), AXES(args->ndim, args->src_stride),
             AXES(args->ndim, args->dst_stride), args->src_dtype, args->dst_dtype,
             args->accumulate);
}

void case_fill(kernel_case *c)
{
    pumit_fill_args *args = &c->args.fill;
    args->n = pick(c, 2000, 1000, 1000000, 10000000);
    args->value = maybe(c) ? 0 : random_normal(c);
    c->sparse = args->value == 0;
    add_array(c, AT(fill, dst), DST, args->n, c->fill);
    describe(c, "n %lld value %g", (long long)args->n, args->value);
}

void case_binary(kernel_case *c)
{
    static const int64_t timed[KERNEL_LARGE][2] = {{501, 768}, {4000, 512}, {1000, 10000}};
    pumit_binary_args *args = &c->args.binary;
    args->kind = c->large ? PUMIT_BINARY_ADD : 1 + (int32_t)random_below(c, 4);
    random_shape(c, &args->ndim, args->shape, 4000);
    if (c->large) {
        args->ndim = 2;
        memcpy(args->shape, timed[c->large - 1], sizeof timed[0]);
    }
    const int64_t a = operand_strides(c, args->ndim, args->shape, args->a_stride);
    const int64_t b = operand_strides(c, args->ndim, args->shape, args->b_stride);
    add_array(c, AT(binary, a), SRC, a, c->fill);
    kernel_array *right = add_array(c, AT(binary, b), SRC, b, maybe(c) ? FILL_NORMAL : c->fill);
    for (int64_t i = 0; args->kind == PUMIT_BINARY_DIV && i < b; i++)
        if (right->values[i] == 0) right->values[i] = 1;
    add_array(c, AT(binary, dst), DST, product(args->ndim, args->shape), c->fill);
    c->local = 1;
    c->sparse |= c->fill == FILL_EQUAL || c->fill == FILL_MIXED; /* x - x, 0 x */
    c->flops = (double)product(args->ndim, args->shape);
    describe(c, "kind %d [%s] strides [%s] [%s]", args->kind, AXES(args->ndim, args->shape),
             AXES(args->ndim, args->a_stride), AXES(args->ndim, args->b_stride));
}

void case_reduce_sum(kernel_case *c)
{
    static const int64_t timed[KERNEL_LARGE][2] = {{768, 501}, {512, 4000}, {32, 147456}};
    pumit_reduce_args *args = &c->args.reduce;
    int64_t kept[PUMIT_MAX_DIMS] = {0};
    random_shape(c, &args->ndim, args->shape, 20000);
    int64_t src = random_strides(c, args->ndim, args->shape, args->src_stride);
    if (c->large) { /* the bias gradient: kept axis fastest */
        args->ndim = 2;
        memcpy(args->shape, timed[c->large - 1], sizeof timed[0]);
        args->src_stride[0] = 1, args->src_stride[1] = args->shape[0];
        src = product(2, args->shape);
    }
    const int columns = !c->large && random_below(c, 4) == 0; /* of rows that are wider */
    if (columns) {
        args->ndim = 2;
        args->shape[0] = 1 + random_below(c, 90), args->shape[1] = 1 + random_below(c, 90);
        args->src_stride[0] = args->shape[1] + random_below(c, 90), args->src_stride[1] = 1;
        src = args->src_stride[0] * args->shape[0];
    }
    for (int32_t i = 0; i < args->ndim; i++) {
        kept[i] = (c->large ? i == 1 : columns ? i == 0 : maybe(c)) ? 1 : args->shape[i];
    }
    const int64_t dst = product(args->ndim, kept);
    packed_strides(args->ndim, kept, args->dst_stride);
    for (int32_t i = 0; i < args->ndim; i++) {
        if (kept[i] != args->shape[i]) args->dst_stride[i] = 0;
    }
    args->alpha = c->large || maybe(c) ? 1 : (float)(1 + random_uniform(c));
    args->accumulate = maybe(c);
    add_array(c, AT(reduce, src), SRC, src, c->fill);
    add_array(c, AT(reduce, dst), args->accumulate ? ADD : DST, dst, FILL_NORMAL);
    c->flops = (double)product(args->ndim, args->shape);
    c->terms = c->flops / (double)dst;
    c->sparse |= c->terms == 1 && c->fill == FILL_MIXED;
    describe(c, "[%s] strides [%s] -> [%s], alpha %g, accumulate %d", AXES(args->ndim, args->shape),
             AXES(args->ndim, args->src_stride), AXES(args->ndim, args->dst_stride), args->alpha,
             args->accumulate);
}

void case_sum_squares(kernel_case *c)
{
    pumit_sum_squares_args *args = &c->args.sum_squares;
    args->n = pick(c, 30000, 10000, 1000000, 10000000);
    add_array(c, AT(sum_squares, src), SRC, args->n, c->fill);
    add_array(c, AT(sum_squares, dst), ADD, 1, FILL_NORMAL);
    c->flops = 2 * (double)args->n;
    describe(c, "n %lld", (long long)args->n);
}

/* -------------------------------------------------------------------------------- elementwise */

static void unary_scalars(kernel_case *c)
{
    pumit_unary_args *args = &c->args.unary;
    args->kind = c->large ? PUMIT_UNARY_GELU : 1 + (int32_t)random_below(c, 7);
    args->n = pick(c, 2000, 501 * 768, 4000 * 512, 8000000);
    args->alpha = args->kind == PUMIT_UNARY_AFFINE ? (float)random_normal(c) : 0.01;
    args->beta = (float)random_normal(c);
    c->local = 1;
    c->flops = 10 * (double)args->n;
    describe(c, "kind %d n %lld alpha %g beta %g", args->kind, (long long)args->n, args->alpha,
             args->beta);
}

/* Roots of positive numbers. */
static void keep_real(const kernel_case *c, kernel_array *src)
{
    for (int64_t i = 0; c->args.unary.kind == PUMIT_UNARY_SQRT && i < src->count; i++)
        src->values[i] = fabs(src->values[i]);
}

void case_unary_forward(kernel_case *c)
{
    pumit_unary_args *args = &c->args.unary;
    unary_scalars(c);
    kernel_array *src = add_array(c, AT(unary, src), SRC, args->n, c->fill);
    keep_real(c, src);
    if (maybe(c)) {
        also_at(src, AT(unary, dst));
    } else {
        add_array(c, AT(unary, dst), DST, args->n, c->fill);
    }
    /* in place, |x| and x > 0 change nothing; x ln x is 0 for all x <= 0 */
    c->sparse |= src->role == ADD || args->kind == PUMIT_UNARY_XLOGX;
    if (args->kind == PUMIT_UNARY_SILU) c->sparse |= c->fill == FILL_LARGE || c->fill == FILL_EQUAL;
    if (args->kind ==
        PUMIT_UNARY_GELU) { /* x (1 + erf) loses the left tail: |x| eps up to x = -8 */
        c->floor = fmin(largest(src), 8);
        c->sparse |= c->fill == FILL_LARGE || c->fill == FILL_EQUAL;
    }
}

void case_unary_backward(kernel_case *c)
{
    pumit_unary_args *args = &c->args.unary;
    unary_scalars(c);
    keep_real(c, add_array(c, AT(unary, src), SRC, args->n, c->fill));
    const kernel_array *diff = add_array(c, AT(unary, diff_dst), SRC, args->n, FILL_NORMAL);
    add_array(c, AT(unary, diff_src), DST, args->n, c->fill);
    if (args->kind == PUMIT_UNARY_GELU) c->floor = 8 * largest(diff);
}

/* Gives the elements that gate, value and their gradients span. */
static int64_t swiglu_arrays(kernel_case *c)
{
    pumit_swiglu_args *args = &c->args.swiglu;
    args->n = pick(c, 2000, 501 * 2048, 2000000, 8000000);
    if (maybe(c)) {
        args->channels = random_size(c, 2100);
        args->row = pick_row(c, args->channels);
        args->n = args->channels * random_below(c, 5);
    }
    const int64_t rows = args->row ? args->n / args->channels : 1;
    const int64_t width = args->row ? args->channels : args->n;
    const int64_t span = span_of(rows, width, args->row);
    blank_gaps(add_array(c, AT(swiglu, gate), SRC, span, c->fill), width, args->row);
    blank_gaps(add_array(c, AT(swiglu, value), SRC, span, FILL_NORMAL), width, args->row);
    c->local = 1;
    c->sparse |= c->fill == FILL_LARGE;
    c->flops = 10 * (double)args->n;
    describe(c, "n %lld channels %lld row %lld", (long long)args->n, (long long)args->channels,
             (long long)args->row);
    return span;
}

void case_swiglu_forward(kernel_case *c)
{
    swiglu_arrays(c);
    add_array(c, AT(swiglu, dst), DST, c->args.swiglu.n, c->fill);
}

void case_swiglu_backward(kernel_case *c)
{
    const int64_t span = swiglu_arrays(c);
    add_array(c, AT(swiglu, diff_dst), SRC, c->args.swiglu.n, FILL_NORMAL);
    add_array(c, AT(swiglu, diff_gate), DST, span, c->fill);
    add_array(c, AT(swiglu, diff_value), DST, span, c->fill);
}

void case_adamw(kernel_case *c)
{
    pumit_adamw_args *args = &c->args.adamw;
    args->n = pick(c, 3000, 10000, 1000000, 10000000);
    args->step = 1 + random_below(c, maybe(c) ? 3 : 100000);
    args->lr = 1e-2 * random_uniform(c);
    args->beta1 = 0.9, args->beta2 = maybe(c) ? 0.95 : 0.999, args->eps = 1e-8;
    args->weight_decay = maybe(c) ? 0 : 0.05;
    args->grad_scale = maybe(c) ? 1 : random_uniform(c);
    add_array(c, AT(adamw, param), ADD, args->n, FILL_NORMAL);
    add_array(c, AT(adamw, exp_avg), ADD, args->n, FILL_NORMAL);
    kernel_array *square = add_array(c, AT(adamw, exp_avg_sq), ADD, args->n, FILL_NORMAL);
    for (int64_t i = 0; i < args->n; i++) square->values[i] = (float)pow(square->values[i], 2);
    add_array(c, AT(adamw, grad), SRC, args->n, c->fill);
    c->flops = 14 * (double)args->n;
    describe(c, "n %lld step %lld lr %g decay %g scale %g", (long long)args->n,
             (long long)args->step, args->lr, args->weight_decay, args->grad_scale);
}
