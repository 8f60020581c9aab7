/* SPDX-License-Identifier: Apache-2.0 */
/* Functions of one element, and their gradients: diff_src = diff_dst f'(src). */
#include "kernels/cpu/isa/isa.h"
#include "kernels/cpu/isa/math.h"

#include <float.h>

/** exp(-x^2 / 2) */
static inline float bell(float x)
{
    return fast_exp(-0.5f * x * x);
}

static inline float xlogx(float x)
{
    const float y = x > FLT_MIN ? x : FLT_MIN;
    return x > 0 ? x * fast_log(y) : (x <= 0 ? 0.0f : x);
}

static inline float xlogx_slope(float x)
{
    return fast_log(x > FLT_MIN ? x : FLT_MIN) + 1.0f;
}

static inline float gelu(float x)
{
    return x * normal_cdf(x, bell(x));
}

static inline float gelu_slope(float x)
{
    const float e = bell(x);
    return multiply_add(x, 0.398942280f * e, normal_cdf(x, e));
}

static inline float silu(float x)
{
    return x * fast_sigmoid(x);
}

static inline float silu_slope(float x)
{
    const float s = fast_sigmoid(x);
    return s * multiply_add(x, 1.0f - s, 1.0f);
}

static inline float sqrt_slope(float x)
{
    return x == 0 ? 0.0f : 0.5f / __builtin_sqrtf(x);
}

static inline float abs_slope(float x)
{
    return x > 0 ? 1.0f : (x < 0 ? -1.0f : 0.0f);
}

/** dst[i] = `expression` of x = src[i], with alpha and beta, over one piece. */
#define FORWARD(name, expression)                                                                  \
    static void name(const float *src, float *dst, int64_t n, float alpha, float beta)             \
    {                                                                                              \
        (void)alpha, (void)beta;                                                                   \
        _Pragma("omp simd") for (int64_t i = 0; i < n; i++)                                        \
        {                                                                                          \
            const float x = src[i];                                                                \
            dst[i] = expression;                                                                   \
        }                                                                                          \
    }

#define BACKWARD(name, expression)                                                                 \
    static void name(const float *restrict src, const float *restrict diff_dst,                    \
                     float *restrict diff_src, int64_t n, float alpha)                             \
    {                                                                                              \
        (void)alpha, (void)src;                                                                    \
        _Pragma("omp simd") for (int64_t i = 0; i < n; i++)                                        \
        {                                                                                          \
            const float x = src[i];                                                                \
            (void)x;                                                                               \
            diff_src[i] = diff_dst[i] * (expression);                                              \
        }                                                                                          \
    }

FORWARD(affine_forward, alpha *x + beta)
FORWARD(gelu_forward, gelu(x))
FORWARD(leaky_relu_forward, x > 0 ? x : alpha * x)
FORWARD(abs_forward, __builtin_fabsf(x))
FORWARD(xlogx_forward, xlogx(x))
FORWARD(silu_forward, silu(x))
FORWARD(sqrt_forward, __builtin_sqrtf(x))

BACKWARD(gelu_backward, gelu_slope(x))
BACKWARD(leaky_relu_backward, x > 0 ? 1.0f : alpha)
BACKWARD(abs_backward, abs_slope(x))
BACKWARD(xlogx_backward, xlogx_slope(x))
BACKWARD(silu_backward, silu_slope(x))
BACKWARD(sqrt_backward, sqrt_slope(x))

/** Affine's gradient does not read src, which may be absent. */
static void affine_backward(const float *restrict src, const float *restrict diff_dst,
                            float *restrict diff_src, int64_t n, float alpha)
{
    (void)src;
#pragma omp simd
    for (int64_t i = 0; i < n; i++) diff_src[i] = diff_dst[i] * alpha;
}

typedef void (*forward_fn)(const float *, float *, int64_t, float, float);
typedef void (*backward_fn)(const float *restrict, const float *restrict, float *restrict, int64_t,
                            float);

static const struct {
    forward_fn forward;
    backward_fn backward;
    int64_t cost;
} kinds[] = {
    [PUMIT_UNARY_AFFINE] = {affine_forward, affine_backward, 1},
    [PUMIT_UNARY_GELU] = {gelu_forward, gelu_backward, 8},
    [PUMIT_UNARY_LEAKY_RELU] = {leaky_relu_forward, leaky_relu_backward, 1},
    [PUMIT_UNARY_ABS] = {abs_forward, abs_backward, 1},
    [PUMIT_UNARY_XLOGX] = {xlogx_forward, xlogx_backward, 4},
    [PUMIT_UNARY_SILU] = {silu_forward, silu_backward, 8},
    [PUMIT_UNARY_SQRT] = {sqrt_forward, sqrt_backward, 2},
};

#define KINDS ((int32_t)(sizeof kinds / sizeof *kinds))

pumit_status PUMIT__CPU_KERNEL(unary_forward)(pumit__cpu_device *device,
                                              const pumit_unary_args *args)
{
    (void)device;
    if (args->kind < 1 || args->kind >= KINDS) return PUMIT_DECLINED;
    const forward_fn run = kinds[args->kind].forward;
    const int64_t n = args->n, cost = kinds[args->kind].cost;
    const float *src = args->src, alpha = (float)args->alpha, beta = (float)args->beta;
    float *dst = args->dst;
#pragma omp parallel for schedule(static) if (n * cost >= PUMIT__CPU_SERIAL)
    for (int64_t i = 0; i < n; i += PUMIT__CPU_PIECE)
        run(src + i, dst + i, least(PUMIT__CPU_PIECE, n - i), alpha, beta);
    return PUMIT_OK;
}

pumit_status PUMIT__CPU_KERNEL(unary_backward)(pumit__cpu_device *device,
                                               const pumit_unary_args *args)
{
    (void)device;
    if (args->kind < 1 || args->kind >= KINDS) return PUMIT_DECLINED;
    const backward_fn run = kinds[args->kind].backward;
    const int64_t n = args->n, cost = kinds[args->kind].cost;
    const float *src = args->src, *diff_dst = args->diff_dst, alpha = (float)args->alpha;
    float *diff_src = args->diff_src;
#pragma omp parallel for schedule(static) if (n * cost >= PUMIT__CPU_SERIAL)
    for (int64_t i = 0; i < n; i += PUMIT__CPU_PIECE)
        run(src ? src + i : NULL, diff_dst + i, diff_src + i, least(PUMIT__CPU_PIECE, n - i),
            alpha);
    return PUMIT_OK;
}
