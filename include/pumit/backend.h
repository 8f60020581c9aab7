/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file backend.h
 * What a backend is: one table of function pointers. The only public structs of the library.
 *
 * The table is append-only. `struct_size` says how much of it a backend knows; missing and NULL slots
 * are declined. A kernel may decline any call (PUMIT_DECLINED, nothing written); the next backend
 * in the context's order is asked. `reference` never declines.
 *
 * All arrays are packed and row-major, channels last, unless strides are given, and none overlap
 * unless said. Strides and sizes count elements. "real" arrays hold the context's compute type: float,
 * and double only in `reference64`. Gradients by parameters (diff_weight, diff_bias, diff_weights) are added to what is
 * there; all other outputs are overwritten. A pointer marked "or NULL" may be absent.
 *
 * Threads: one device serves one context, so its kernels are called from one thread at a time.
 */
#ifndef PUMIT_BACKEND_H
#define PUMIT_BACKEND_H

#include <pumit/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Answer of a kernel that does not do this shape: nothing was written, ask the next backend. */
#define PUMIT_DECLINED 1

/** dst[i] = src[i], or += with `accumulate`, converting types. To a narrower float: round to nearest even. To an integer: the same,
 * then saturate; NaN becomes 0. */
typedef struct {
    const void *src;
    void *dst;
    int32_t src_dtype, dst_dtype;
    int32_t ndim, accumulate;
    int64_t shape[PUMIT_MAX_DIMS], src_stride[PUMIT_MAX_DIMS], dst_stride[PUMIT_MAX_DIMS];
} pumit_copy_args;

typedef struct {
    void *dst; /* real, n */
    int64_t n;
    double value;
} pumit_fill_args;

#define PUMIT_UNARY_AFFINE     1 /* alpha x + beta */
#define PUMIT_UNARY_GELU       2 /* x Phi(x), exact (erf) */
#define PUMIT_UNARY_LEAKY_RELU 3 /* x > 0 ? x : alpha x */
#define PUMIT_UNARY_ABS        4 /* |x|; derivative 0 at 0 */
#define PUMIT_UNARY_XLOGX      5 /* x ln x; 0 where x <= 0, derivative ln(max(x, FLT_MIN)) + 1 */
#define PUMIT_UNARY_SILU       6 /* x / (1 + exp(-x)) */
#define PUMIT_UNARY_SQRT       7 /* derivative 0 at 0 */

/** unary_forward: src -> dst (may be the same array). unary_backward: src, diff_dst -> diff_src. */
typedef struct {
    const void *src, *diff_dst; /* real, n */
    void *dst, *diff_src;       /* real, n */
    int64_t n;
    double alpha, beta;
    int32_t kind, reserved;
} pumit_unary_args;

#define PUMIT_BINARY_ADD 1
#define PUMIT_BINARY_SUB 2
#define PUMIT_BINARY_MUL 3
#define PUMIT_BINARY_DIV 4

/** dst[i] = a[i] op b[i]; stride 0 broadcasts; dst is packed. */
typedef struct {
    const void *a, *b;
    void *dst;
    int32_t kind, ndim;
    int64_t shape[PUMIT_MAX_DIMS], a_stride[PUMIT_MAX_DIMS], b_stride[PUMIT_MAX_DIMS];
} pumit_binary_args;

/** dst = alpha * sum of src, or += with `accumulate`. `shape` is src's; axes with dst_stride 0 are summed. */
typedef struct {
    const void *src;
    void *dst;
    double alpha;
    int32_t ndim, accumulate;
    int64_t shape[PUMIT_MAX_DIMS], src_stride[PUMIT_MAX_DIMS], dst_stride[PUMIT_MAX_DIMS];
} pumit_reduce_args;

/**
 * c (M x N) = alpha op(a) (M x K) op(b) (K x N) + beta c + bias, for each of `batch` matrices. op is the
 * transpose where trans_* is 1. ld* is the distance between rows of the matrix as stored. beta 0: c is
 * not read.
 */
typedef struct {
    const void *a, *b, *bias; /* bias: real, N, or NULL */
    void *c;
    int64_t batch, m, n, k, lda, ldb, ldc, a_batch_stride, b_batch_stride, c_batch_stride;
    double alpha, beta;
    int32_t trans_a, trans_b;
    /* 0: b is real. PUMIT_BF16 or PUMIT_F16: it is stored so, and a may be rounded alike; sums are real. */
    int32_t b_dtype;
    int32_t reserved;
} pumit_matmul_args;

/** Forward also writes mean and rstd = 1/sqrt(var + eps) of each row (rows), which backward reads. */
typedef struct {
    const void *src, *weight, *bias; /* (rows, channels), (channels), (channels) */
    void *dst, *mean, *rstd;         /* (rows, channels), (rows), (rows) */
    const void *diff_dst;            /* (rows, channels) */
    void *diff_src;                  /* (rows, channels), or NULL */
    void *diff_weight, *diff_bias;   /* (channels), added to, or NULL */
    int64_t rows, channels;
    double eps;
} pumit_layer_norm_args;

/** As layer norm, over `spatial` positions and channels/groups channels. mean and rstd: (n, groups). */
typedef struct {
    const void *src, *weight, *bias; /* (n, spatial, channels), (channels), (channels) */
    void *dst, *mean, *rstd;
    const void *diff_dst;
    void *diff_src;                /* or NULL */
    void *diff_weight, *diff_bias; /* (channels), added to, or NULL */
    int64_t n, spatial, channels, groups;
    double eps;
} pumit_group_norm_args;

/** softmax_backward reads dst (the probabilities) and diff_dst. */
typedef struct {
    const void *src, *diff_dst; /* (rows, channels) */
    void *dst, *diff_src;       /* (rows, channels) */
    int64_t rows, channels;
} pumit_softmax_args;

/** dst = H(softmax(src)) in nats. Backward: diff_src = -diff_dst p (ln p + H). */
typedef struct {
    const void *src, *diff_dst; /* (rows, channels), (rows) */
    void *dst, *diff_src;       /* (rows), (rows, channels) */
    int64_t rows, channels;
} pumit_entropy_args;

/** dst = -sum_v target_v log softmax(src)_v. Backward: diff_src = diff_dst (softmax(src) sum(target) - target). */
typedef struct {
    const void *src, *target, *diff_dst; /* (rows, channels), (rows, channels), (rows) */
    void *dst, *diff_src;                /* (rows), (rows, channels) */
    int64_t rows, channels;
} pumit_cross_entropy_args;

/**
 * Rotates neighbours (2i, 2i+1) of each head by angle i: (a, b) -> (a cos - b sin, b cos + a sin), or
 * by the negative angle with `inverse`. The first `skip` tokens of each sequence are copied. Sequence n
 * uses the table at n * angle_batch_stride (0: one table for all).
 */
typedef struct {
    const void *src;    /* (n, length, heads, head_dim), packed */
    const void *cosine; /* (length - skip, head_dim / 2) */
    const void *sine;   /* (length - skip, head_dim / 2) */
    void *dst;          /* as src; may be src */
    int64_t n, length, heads, head_dim, skip, angle_batch_stride;
    int32_t inverse, reserved;
    int64_t row; /* distance between tokens in src and dst; 0: packed */
} pumit_rope_args;

/**
 * All of q, k, v, dst and their gradients: (n, length, heads, head_dim). lse: (n, heads, length), the log of the
 * softmax's denominator, max included. Forward writes dst and lse; backward is given both.
 * With `offsets`, n sequences of different lengths lie end to end: sequence i is the tokens offsets[i] .. offsets[i + 1],
 * offsets[0] is 0, `length` is the longest, lse is (heads, offsets[n]).
 */
typedef struct {
    const void *q, *k, *v;
    void *dst, *lse;
    const void *diff_dst;
    void *diff_q, *diff_k, *diff_v;
    int64_t n, length, heads, head_dim;
    double scale;
    const int64_t *offsets; /* (n + 1), on the host, or NULL: all of `length` */
    int64_t
        row; /* distance between tokens in q, k, v and their gradients; 0: packed. dst and diff_dst are packed */
} pumit_attention_args;

/** dst = gate sigmoid(gate) value. With `row`, gate, value and their gradients are rows of `channels` at that distance, n of
 * them in all counting elements; dst and diff_dst are packed. */
typedef struct {
    const void *gate, *value, *diff_dst; /* n */
    void *dst, *diff_gate, *diff_value;  /* n */
    int64_t n;
    int64_t channels, row; /* row 0: packed, channels is not read */
} pumit_swiglu_args;

/**
 * Axis order of the triples: D, H, W. src: (n, src_size..., in_channels); dst: (n, dst_size...,
 * out_channels); weights: (out_channels, kernel..., in_channels); bias: (out_channels) or NULL.
 * dst_size = (src_size + 2 padding - kernel) / stride + 1, given by the caller.
 * backward_data: diff_dst, weights -> diff_src. backward_weights: src, diff_dst -> diff_weights and
 * diff_bias, both added to, the latter may be NULL.
 */
typedef struct {
    const void *src, *weights, *bias, *diff_dst;
    void *dst, *diff_src, *diff_weights, *diff_bias;
    int64_t n, in_channels, out_channels;
    int64_t src_size[3], dst_size[3], kernel[3], stride[3], padding[3];
} pumit_conv_args;

#define PUMIT_RESAMPLE_AREA                                                                        \
    1 /* mean over floor(i S/T) .. ceil((i+1) S/T), as adaptive average pooling */
#define PUMIT_RESAMPLE_TRILINEAR                                                                   \
    2 /* sample at (i + 0.5) S/T - 0.5, clamped to the edge (align_corners false) */
#define PUMIT_RESAMPLE_NEAREST_EXACT 3 /* the element that holds (i + 0.5) S/T */
#define PUMIT_RESAMPLE_BICUBIC                                                                     \
    4 /* Keys' cubic (A = -0.75) at (i + 0.5) S/T - 0.5 of H and W, edges repeated; D as it is */

/** Backward: diff_dst -> diff_src, overwritten. */
typedef struct {
    const void *src, *diff_dst; /* (n, src_size..., channels), (n, dst_size..., channels) */
    void *dst, *diff_src;
    int64_t n, channels, src_size[3], dst_size[3];
    int32_t kind, reserved;
} pumit_resample_args;

/**
 * For each sequence n: gather_rows: src (n, length, channels), dst (n, count, channels);
 * scatter_rows: src (n, count, channels), dst (n, length, channels), other rows untouched, added to with
 * `accumulate` (which gather_rows ignores). index: (n, count), 0 <= index < length, distinct within a sequence.
 */
typedef struct {
    const void *src;
    const int64_t *index;
    void *dst;
    int64_t n, length, count, channels;
    int32_t accumulate, reserved;
} pumit_rows_args;

/** dst[0] += sum of src^2, accumulated in double. */
typedef struct {
    const void *src; /* n */
    void *dst;       /* 1 */
    int64_t n;
} pumit_sum_squares_args;

/**
 * Decoupled weight decay (Loshchilov & Hutter 2019), as torch.optim.AdamW:
 * g = grad_scale grad; param -= lr weight_decay param; m = b1 m + (1-b1) g; v = b2 v + (1-b2) g^2;
 * param -= lr / (1 - b1^step) * m / (sqrt(v / (1 - b2^step)) + eps). step counts from 1.
 */
typedef struct {
    void *param, *exp_avg, *exp_avg_sq;
    const void *grad;
    int64_t n, step;
    double lr, beta1, beta2, eps, weight_decay, grad_scale;
} pumit_adamw_args;

/** dst = index of the largest of each row: the first of equals; a NaN counts as the largest. */
typedef struct {
    const void *src; /* (rows, channels), channels at least 1 */
    int64_t *dst;    /* (rows) */
    int64_t rows, channels;
} pumit_argmax_args;

/**
 * Windows side by side: dst_size = src_size / window, rounded down; what is left over is not read. Backward gives each
 * diff_dst to the first of the largest in its window and 0 to all others; a NaN counts as the largest.
 */
typedef struct {
    const void *src, *diff_dst; /* (n, src_size..., channels), (n, dst_size..., channels) */
    void *dst, *diff_src;       /* diff_src is overwritten */
    int64_t n, channels, src_size[3], dst_size[3], window[3];
} pumit_max_pool_args;

/** The table. */
typedef struct {
    uint32_t struct_size; /**< sizeof(pumit_backend) as the backend was built */
    int32_t abi_version;  /**< PUMIT_ABI_VERSION as the backend was built */
    const char *name;
    int32_t real_dtype;  /**< PUMIT_F32 */
    int32_t host_memory; /**< 1: kernels work on ordinary host memory */

    /** Opens device `index` for one context with `threads` compute threads. */
    pumit_status (*open)(void **device, int32_t index, int32_t threads);
    void (*close)(void *device);
    /** Device memory, aligned to 64 bytes; NULL when there is none. Unused where host_memory is 1. */
    void *(*allocate)(void *device, int64_t bytes);
    void (*deallocate)(void *device, void *memory);
    pumit_status (*upload)(void *device, void *dst, const void *src, int64_t bytes);
    pumit_status (*download)(void *device, void *dst, const void *src, int64_t bytes);
    pumit_status (*synchronize)(void *device);

#define PUMIT_KERNEL(kernel, family, summary)                                                      \
    pumit_status (*kernel)(void *device, const pumit_##family##_args *args);
#include <pumit/oplist.inc>
#undef PUMIT_KERNEL
} pumit_backend;

#ifdef __cplusplus
}
#endif
#endif
