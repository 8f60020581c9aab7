/* SPDX-License-Identifier: Apache-2.0 */
/* The operations of a transformer's block against their formulas in smaller operations, and how little they keep. */
#include "op_check.h"

#include <check.h>
#include <math.h>

Suite *suite_block(void);

enum { ROWS = 7, DIM = 12, HEADS = 3, PAIRS = DIM / HEADS / 2, WIDE = 10 };

static pumit_tensor *normal(pumit_context *ctx, uint64_t stream, int32_t ndim, const int64_t *shape)
{
    double values[1024];
    for (uint64_t i = 0; i < 1024; i++) values[i] = pumit__random_normal(11, stream, i);
    return pumit__from_host(ctx, PUMIT_F64, values, 0, ndim, shape);
}

static void same(const pumit_tensor *a, const pumit_tensor *b)
{
    double x[1024], y[1024];
    ck_assert_msg(a && b, "%s", pumit_last_error());
    ck_assert(pumit__same_shape(a, b));
    const int64_t count = pumit_tensor_count(a);
    ck_assert_int_eq(pumit_tensor_read(a, PUMIT_F64, x, 8 * count), PUMIT_OK);
    ck_assert_int_eq(pumit_tensor_read(b, PUMIT_F64, y, 8 * count), PUMIT_OK);
    for (int64_t i = 0; i < count; i++)
        ck_assert_msg(fabs(x[i] - y[i]) <= 1e-5 * (1.0 + fabs(y[i])), "element %d is %g, not %g",
                      (int)i, x[i], y[i]);
}

static void check_norm_linears(pumit_context *ctx)
{
    pumit_tensor *x = normal(ctx, 0, SHAPE(1, ROWS, DIM)), *w = normal(ctx, 1, SHAPE(DIM));
    pumit_tensor *b = normal(ctx, 2, SHAPE(DIM)), *layers[2], *biases[2] = {NULL};
    layers[0] = normal(ctx, 3, SHAPE(WIDE, DIM));
    layers[1] = normal(ctx, 4, SHAPE(DIM, DIM));
    biases[1] = normal(ctx, 5, SHAPE(DIM));
    pumit_tensor *h = pumit__layer_norm(x, w, b, 1e-3);
    same(pumit__norm_linears(x, w, b, 1e-3, 2, layers, biases),
         pumit__concat(pumit__linear(h, layers[0], NULL), pumit__linear(h, layers[1], biases[1]),
                       2));
}

static void check_gated_linear(pumit_context *ctx)
{
    pumit_tensor *base = normal(ctx, 0, SHAPE(ROWS, DIM)),
                 *x = normal(ctx, 1, SHAPE(ROWS, 2 * WIDE));
    pumit_tensor *nw = normal(ctx, 2, SHAPE(WIDE)), *nb = normal(ctx, 3, SHAPE(WIDE));
    pumit_tensor *w = normal(ctx, 4, SHAPE(DIM, WIDE)), *b = normal(ctx, 5, SHAPE(DIM));
    pumit_tensor *g =
        pumit__mul(pumit__silu(pumit__slice(x, 1, 0, WIDE)), pumit__slice(x, 1, WIDE, WIDE));
    same(pumit__gated_linear(base, x, nw, nb, 1e-3, w, b),
         pumit__add(base, pumit__linear(pumit__layer_norm(g, nw, nb, 1e-3), w, b)));
    same(pumit__add_linear(base, g, w, b), pumit__add(base, pumit__linear(g, w, b)));
}

/* Part 0 (q), 1 (k) or 2 (v) of one head: (L, head_dim), q and k turned. */
static pumit_tensor *part(pumit_tensor *x, int64_t part, int64_t head, pumit_tensor *cosine,
                          pumit_tensor *sine)
{
    const int64_t length = x->shape[0], pairs[3] = {length, PAIRS, 2}, one[3] = {length, PAIRS, 1};
    pumit_tensor *y = pumit__slice(x, 1, part * DIM + head * 2 * PAIRS, 2 * PAIRS);
    if (part == 2) return y;
    y = pumit__reshape(y, 3, pairs);
    cosine = pumit__reshape(cosine, 3, one);
    sine = pumit__reshape(sine, 3, one);
    pumit_tensor *a = pumit__slice(y, 2, 0, 1), *b = pumit__slice(y, 2, 1, 1);
    y = pumit__concat(pumit__sub(pumit__mul(a, cosine), pumit__mul(b, sine)),
                      pumit__add(pumit__mul(b, cosine), pumit__mul(a, sine)), 2);
    return pumit__reshape(y, SHAPE(length, 2 * PAIRS));
}

/* Of one sequence (L, 3 dim), head by head. */
static pumit_tensor *attention(pumit_tensor *x, pumit_tensor *cosine, pumit_tensor *sine)
{
    pumit_tensor *y = NULL;
    for (int64_t head = 0; head < HEADS; head++) {
        pumit_tensor *q = part(x, 0, head, cosine, sine), *k = part(x, 1, head, cosine, sine);
        pumit_tensor *scores = pumit__matmul(q, pumit__permute(k, (int32_t[]){1, 0}));
        pumit_tensor *one = pumit__matmul(pumit__softmax(pumit__affine(scores, 0.5, 0.0)),
                                          part(x, 2, head, cosine, sine));
        y = y ? pumit__concat(y, one, 1) : one;
    }
    return y;
}

/* With borders, each sequence is as if it were alone; without, skipped tokens are not turned. */
static void check_rope_attention(pumit_context *ctx)
{
    pumit_tensor *x = normal(ctx, 0, SHAPE(ROWS, 3 * DIM)), *expected = NULL;
    pumit_tensor *angles = normal(ctx, 1, SHAPE(2, ROWS, PAIRS));
    pumit_tensor *cosine = pumit__reshape(pumit__slice(angles, 0, 0, 1), SHAPE(ROWS, PAIRS));
    pumit_tensor *sine = pumit__reshape(pumit__slice(angles, 0, 1, 1), SHAPE(ROWS, PAIRS));
    const int64_t borders[] = {0, 2, 2, 3, ROWS}, whole[3] = {1, ROWS, 3 * DIM};
    for (int i = 0; i < 4; i++) {
        const int64_t at = borders[i], length = borders[i + 1] - at;
        if (length == 0) continue;
        pumit_tensor *one =
            attention(pumit__slice(x, 0, at, length), pumit__slice(cosine, 0, at, length),
                      pumit__slice(sine, 0, at, length));
        expected = expected ? pumit__concat(expected, one, 0) : one;
    }
    pumit_tensor *offsets = pumit__from_host(ctx, PUMIT_I64, borders, PUMIT_I64, SHAPE(5));
    pumit_tensor *packed = pumit__reshape(pumit__affine(x, 1.0, 0.0), 3, whole);
    packed = pumit__affine(packed, 1.0, 0.0);
    pumit_tensor *y = pumit__rope_attention(packed, cosine, sine, 0, HEADS, 0.5, offsets);
    same(y, pumit__reshape(expected, SHAPE(1, ROWS, DIM)));
    pumit_tensor *still[2] = {pumit__zeros(ctx, 0, 2, (int64_t[]){1, PAIRS})};
    still[1] = still[0];
    expected = attention(
        x,
        pumit__concat(pumit__affine(still[0], 1.0, 1.0), pumit__slice(cosine, 0, 1, ROWS - 1), 0),
        pumit__concat(still[1], pumit__slice(sine, 0, 1, ROWS - 1), 0));
    pumit_tensor *again = pumit__affine(pumit__reshape(x, 3, whole), 1.0, 0.0);
    y = pumit__rope_attention(again, pumit__slice(cosine, 0, 1, ROWS - 1),
                              pumit__slice(sine, 0, 1, ROWS - 1), 1, HEADS, 0.5, NULL);
    same(y, pumit__reshape(expected, SHAPE(1, ROWS, DIM)));
}

START_TEST(values_are_those_of_the_formulas)
{
    static const char *const devices[] = {"reference64", "reference", "cpu"};
    pumit_context *ctx = op_open_device(devices[_i]);
    const int64_t mark = pumit__scope_begin(ctx);
    check_norm_linears(ctx);
    check_gated_linear(ctx);
    check_rope_attention(ctx);
    pumit__scope_end(ctx, mark, NULL);
    pumit_context_release(ctx);
}
END_TEST

/* ------------------------------------------------------------------------------------------- memory */

enum { LENGTH = 512, BROAD = 64 }; /* arrays so large that the arena's rounding is known */

static pumit_tensor *wanted(pumit_context *ctx, int32_t ndim, const int64_t *shape)
{
    pumit_tensor *x = pumit__zeros(ctx, 0, ndim, shape);
    ck_assert_int_eq(pumit_tensor_set_requires_grad(x, 1), PUMIT_OK);
    return x;
}

static int64_t in_use(pumit_context *ctx)
{
    int64_t bytes;
    ck_assert_int_eq(pumit_context_memory(ctx, &bytes, NULL, NULL), PUMIT_OK);
    return bytes;
}

/* The result of a recorded operation is all that stays: nothing between it and its operands. */
START_TEST(nothing_between_is_kept)
{
    pumit_context *ctx = op_open_device("cpu");
    const int64_t mark = pumit__scope_begin(ctx), row = LENGTH * (int64_t)sizeof(float);
    pumit_context_set_recording(ctx, 1);
    pumit_tensor *x = wanted(ctx, SHAPE(LENGTH, BROAD)), *w = wanted(ctx, SHAPE(BROAD, BROAD));
    pumit_tensor *norm = wanted(ctx, SHAPE(BROAD)), *b = wanted(ctx, SHAPE(BROAD));
    int64_t before = in_use(ctx);
    pumit_tensor *y = pumit__norm_linears(x, norm, b, 1e-5, 2, (pumit_tensor *[]){w, w},
                                          (pumit_tensor *[]){NULL, b});
    ck_assert_msg(y != NULL, "%s", pumit_last_error());
    ck_assert_int_eq(in_use(ctx) - before, 2 * BROAD * row);
    before = in_use(ctx);
    y = pumit__gated_linear(x, y, norm, b, 1e-5, w, b);
    ck_assert_msg(y != NULL, "%s", pumit_last_error());
    ck_assert_int_eq(in_use(ctx) - before, BROAD * row);
    pumit_context_set_recording(ctx, 0);
    pumit__scope_end(ctx, mark, NULL);
    pumit_context_release(ctx);
}
END_TEST

/* ------------------------------------------------------------------------------------------ refusals */

static void refused(pumit_status expected, const pumit_tensor *y, const char *call)
{
    ck_assert_msg(y == NULL, "%s was not refused", call);
    ck_assert_str_eq(pumit_status_name(pumit__last_status()), pumit_status_name(expected));
}

#define REFUSED(status, call)     refused(status, call, #call)
#define ATTEND(x, heads, offsets) pumit__rope_attention(x, angles, angles, 0, heads, 1.0, offsets)

static pumit_tensor *borders(pumit_context *ctx, int64_t a, int64_t b, int64_t c)
{
    return pumit__from_host(ctx, PUMIT_I64, (int64_t[]){a, b, c}, PUMIT_I64, SHAPE(3));
}

START_TEST(operands_that_do_not_fit_are_refused)
{
    pumit_context *ctx = op_open_device("cpu");
    const int64_t mark = pumit__scope_begin(ctx);
    pumit_tensor *x = pumit__zeros(ctx, 0, SHAPE(1, 4, 12)), *held = pumit__detach(x);
    pumit_tensor *two = pumit__zeros(ctx, 0, SHAPE(2, 4, 12));
    pumit_tensor *w = pumit__zeros(ctx, 0, SHAPE(5, 12)), *v = pumit__zeros(ctx, 0, SHAPE(12));
    pumit_tensor *six = pumit__zeros(ctx, 0, SHAPE(6)), *angles = pumit__zeros(ctx, 0, SHAPE(4, 1));
    pumit_tensor *layers[2] = {w, angles}, *biases[2] = {NULL, NULL};
    REFUSED(PUMIT_ERROR_SHAPE, pumit__norm_linears(x, v, six, 1e-5, 1, layers, biases));
    REFUSED(PUMIT_ERROR_SHAPE, pumit__norm_linears(x, v, v, 1e-5, 2, layers, biases));
    REFUSED(PUMIT_ERROR_INVALID_ARGUMENT, pumit__norm_linears(x, v, v, 1e-5, 4, layers, biases));
    REFUSED(PUMIT_ERROR_SHAPE, pumit__gated_linear(x, x, v, v, 1e-5, w, v));
    REFUSED(PUMIT_ERROR_SHAPE, pumit__gated_linear(x, x, six, six, 1e-5, w, v));
    REFUSED(PUMIT_ERROR_STATE, ATTEND(x, 2, NULL));
    REFUSED(PUMIT_ERROR_STATE, ATTEND(held, 2, NULL));
    REFUSED(PUMIT_ERROR_SHAPE, ATTEND(two, 1, NULL));
    REFUSED(PUMIT_ERROR_SHAPE, ATTEND(two, 3, NULL));
    REFUSED(PUMIT_ERROR_SHAPE, ATTEND(two, 2, borders(ctx, 0, 2, 4)));
    REFUSED(PUMIT_ERROR_SHAPE, ATTEND(x, 2, borders(ctx, 1, 2, 4)));
    REFUSED(PUMIT_ERROR_SHAPE, ATTEND(x, 2, borders(ctx, 0, 2, 5)));
    REFUSED(PUMIT_ERROR_SHAPE, ATTEND(x, 2, borders(ctx, 0, 5, 4)));
    pumit_tensor *leaf = wanted(ctx, SHAPE(2, 4, 12));
    REFUSED(PUMIT_ERROR_STATE, ATTEND(leaf, 2, NULL));
    ck_assert(ATTEND(two, 2, NULL) != NULL);
    pumit__scope_end(ctx, mark, NULL);
    pumit_context_release(ctx);
}
END_TEST

Suite *suite_block(void)
{
    Suite *suite = suite_create("block");
    TCase *tcase = tcase_create("block");
    tcase_add_loop_test(tcase, values_are_those_of_the_formulas, 0, 3);
    tcase_add_test(tcase, nothing_between_is_kept);
    tcase_add_test(tcase, operands_that_do_not_fit_are_refused);
    suite_add_tcase(suite, tcase);
    return suite;
}
