/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of a tensor, and the tape. */
#ifndef PUMIT_LIB_TENSOR_TENSOR_H
#define PUMIT_LIB_TENSOR_TENSOR_H

#include "lib/tensor/context.h"

struct pumit__node;

/* What a tensor is to the tape: where its gradient gathers and which node made it. Views of one value that
 * are different tensors have different slots. */
typedef struct pumit__slot {
    int64_t refs;
    pumit_context *ctx;
    pumit_tensor *grad;       /* NULL: none yet */
    struct pumit__node *node; /* owned; NULL for a leaf */
    bool spent;               /* backward has used its node: what lies behind is out of reach */
    int32_t ndim;
    int64_t shape[PUMIT_MAX_DIMS];
} pumit__slot;

struct pumit_tensor {
    int64_t refs;
    pumit_context *ctx;
    pumit__storage *storage;
    int64_t offset; /* elements */
    pumit_dtype dtype;
    int32_t ndim;
    int64_t shape[PUMIT_MAX_DIMS], stride[PUMIT_MAX_DIMS];
    pumit__slot *slot; /* NULL: no gradient wanted */
    uint64_t version;  /* counts writes: what was derived from an older version is stale */
};

/* Adds to the gradients of node->in, given the gradient of its result (packed). Runs inside a scope. */
typedef pumit_status (*pumit__backward_fn)(struct pumit__node *node, pumit_tensor *diff_dst);

#define PUMIT__NODE_INPUTS 9 /* norm_linears: x, the norm's two, three weights and biases */
#define PUMIT__NODE_SAVED  6

#define PUMIT__STRETCH_TENSORS 5

/* A stretch of a network as a function of one tensor, to be computed again in backward (recompute.h). */
typedef struct pumit__stretch {
    pumit_tensor *(*run)(const struct pumit__stretch *stretch, pumit_tensor *x);
    void *model;                                 /* what run() reads beside the tensors, or NULL */
    void (*release)(void *model);                /* gives up a reference to it */
    int64_t number;                              /* run()'s own */
    pumit_tensor *given[PUMIT__STRETCH_TENSORS]; /* without gradient; NULLs allowed */
} pumit__stretch;

typedef struct pumit__node {
    pumit__backward_fn backward;
    uint64_t sequence;
    bool visited;
    pumit__slot *result;                    /* not owned: the slot owns the node */
    pumit__slot *in[PUMIT__NODE_INPUTS];    /* owned, NULL where no gradient is wanted */
    pumit_tensor *saved[PUMIT__NODE_SAVED]; /* owned */
    int64_t integer[24];
    double real[2];
    pumit__stretch stretch;   /* of recompute.c alone; its tensors are among `saved` */
    struct pumit__node *next; /* list of nodes to free */
} pumit__node;

/* ------------------------------------------------------------------------------- tensors of a scope */

/*
 * Operations give tensors that the innermost scope owns: model code reads like formulas and releases nothing.
 *   const int64_t mark = pumit__scope_begin(ctx);
 *   ... x = pumit__gelu(pumit__linear(x, w, b)) ...
 *   x = pumit__scope_end(ctx, mark, x);     everything but x goes; x now belongs to the outer scope
 * A NULL operand gives NULL with the first error kept, so a chain is checked once, at its end.
 */
int64_t pumit__scope_begin(const pumit_context *ctx);
pumit_tensor *pumit__scope_end(pumit_context *ctx, int64_t mark, pumit_tensor *keep);
/* Ends a public call's scope: *out receives its own reference to `result`, or the kept error is returned. */
pumit_status pumit__scope_return(pumit_tensor **out, pumit_context *ctx, int64_t mark,
                                 pumit_tensor *result);
/* Hands a reference to the innermost scope; gives the tensor back, NULL (released) when out of memory. */
pumit_tensor *pumit__scope_adopt(pumit_context *ctx, pumit_tensor *tensor);

/* Uninitialised and zeroed tensors of the innermost scope; dtype 0 is the context's compute type. */
pumit_tensor *pumit__empty(pumit_context *ctx, pumit_dtype dtype, int32_t ndim,
                           const int64_t *shape);
pumit_tensor *pumit__zeros(pumit_context *ctx, pumit_dtype dtype, int32_t ndim,
                           const int64_t *shape);
pumit_tensor *pumit__empty_like(const pumit_tensor *tensor);

/* The same value without gradient; the same storage. */
pumit_tensor *pumit__detach(pumit_tensor *tensor);

/* Packed copies from and to host memory of any type. */
pumit_tensor *pumit__from_host(pumit_context *ctx, pumit_dtype src_dtype, const void *data,
                               pumit_dtype dtype, int32_t ndim, const int64_t *shape);

/* What callers hand in: the tensor, or NULL with an error if it is of another context, whose types and thread it has. */
pumit_tensor *pumit__of_context(const pumit_context *ctx, pumit_tensor *tensor);
/* The same as the compute type (the tensor itself if it is that already). */
pumit_tensor *pumit__as_real(const pumit_context *ctx, pumit_tensor *tensor);

/* A view without recording; strides in elements. */
pumit_tensor *pumit__view(pumit_tensor *base, int32_t ndim, const int64_t *shape,
                          const int64_t *stride, int64_t offset);

/* A packed tensor on memory of others, new reference; `release(user)` is called when it goes, not on failure. */
pumit_tensor *pumit__wrap_foreign(pumit_context *ctx, void *memory, pumit_dtype dtype, int32_t ndim,
                                  const int64_t *shape, void (*release)(void *), void *user);

bool pumit__is_packed(const pumit_tensor *tensor);
void pumit__packed_strides(int64_t *stride, int32_t ndim, const int64_t *shape);
bool pumit__same_shape(const pumit_tensor *a, const pumit_tensor *b);
/* Address of the first element, and of one so many elements further in memory. */
void *pumit__data(const pumit_tensor *tensor);
void *pumit__at(const pumit_tensor *tensor, int64_t elements);
/* "(2, 3, 4)" into a static-size buffer, for messages. */
typedef struct {
    char text[160];
} pumit__shape_text;
pumit__shape_text pumit__shape_string(int32_t ndim, const int64_t *shape);

/* ------------------------------------------------------------------------------------------ the tape */

/* True if an operation on these operands (NULLs allowed but for the first) has to be recorded. */
bool pumit__wants_grad(const pumit_tensor *a, const pumit_tensor *b, const pumit_tensor *c);
bool pumit__any_wants_grad(pumit_tensor *const *operands, int32_t count);

/* Makes `result` the outcome of a new node on these operands (NULLs allowed); fill saved and attributes after.
 * NULL when out of memory. */
pumit__node *pumit__record(pumit_tensor *result, pumit__backward_fn backward, pumit_tensor *a,
                           pumit_tensor *b, pumit_tensor *c);
pumit__node *pumit__record_all(pumit_tensor *result, pumit__backward_fn backward,
                               pumit_tensor *const *operands, int32_t count);
/* Keeps a value for backward. */
void pumit__save(pumit__node *node, int32_t i, pumit_tensor *tensor);

/* slot's gradient += grad (no-op for a NULL slot). Fails on NULL grad with the error kept. */
pumit_status pumit__accumulate(pumit__slot *slot, pumit_tensor *grad);
/* The packed gradient to add into (zeros at first); borrowed; NULL on failure. */
pumit_tensor *pumit__grad_buffer(pumit__slot *slot);
/* The same for a kernel that sets it to beta times itself plus what it adds: with *beta 0 nothing is there yet, and
 * the kernel has to write all of it. */
pumit_tensor *pumit__grad_target(pumit__slot *slot, double *beta);

/* Backward from any recorded tensor, given the gradient of the loss by it; also from inside a node's backward. */
pumit_status pumit__backward_from(pumit_tensor *result, pumit_tensor *diff);

/* Sums a gradient over the axes along which the slot's tensor was broadcast. */
pumit_tensor *pumit__reduce_to(pumit_tensor *grad, const pumit__slot *slot);

void pumit__slot_release(pumit__slot *slot);

#endif
