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

Suite *suite_block(void)
{
    Suite *suite = suite_create("block");
    TCase *tcase = tcase_create("block");
    tcase_add_loop_test(tcase, values_are_those_of_the_formulas, 0, 3);
    suite_add_tcase(suite, tcase);
    return suite;
}
