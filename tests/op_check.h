/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Gradient checks of the operations of oplist.inc. Each has `check_op_<name>`, made of small graphs; one missing does not
 * link. On reference64 a graph's gradients are compared with central differences of its value, on other devices
 * value and gradients with those of reference64.
 */
#ifndef PUMIT_TESTS_OP_CHECK_H
#define PUMIT_TESTS_OP_CHECK_H

#include "lib/tensor/ops.h"

#define OP_MOST_INPUTS 9

typedef struct {
    int32_t ndim;
    int64_t shape[PUMIT_MAX_DIMS], count;
    double *values;       /* each a float, so that all devices see the same */
    pumit_tensor *tensor; /* of the graph that is being built; the scope's */
} op_input;

/* What a graph is built from. Building it again gives the same inputs in the same order. */
typedef struct {
    pumit_context *ctx;
    uint64_t seed;
    int only; /* the one input that wants a gradient; -1: all do */
    int made, constants;
    op_input inputs[OP_MOST_INPUTS];
} op_graph;

typedef struct {
    const char *name;
    pumit_tensor *(*build)(op_graph *g);
} op_variant;

#define SHAPE(...)                                                                                 \
    (int32_t)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (const int64_t[])               \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }

/* Inputs whose gradients are checked: normal but never within 0.05 of zero, where some functions have a kink. */
pumit_tensor *op_normal(op_graph *g, int32_t ndim, const int64_t *shape);
/* 0.1 to 2. */
pumit_tensor *op_positive(op_graph *g, int32_t ndim, const int64_t *shape);
/* A view that is not packed, or for one axis begins inside its storage, of an input. */
pumit_tensor *op_strided(op_graph *g, int32_t ndim, const int64_t *shape);
/* Without gradient: normal; the rows' indices, distinct in each sequence (n, count) of 0..length-1. */
pumit_tensor *op_constant(op_graph *g, int32_t ndim, const int64_t *shape);
pumit_tensor *op_index(op_graph *g, int64_t n, int64_t count, int64_t length);

/* A context of two threads; NULL with the error kept. */
pumit_context *op_open_device(const char *device);

/* The error is kept and names the operation and the graph. */
pumit_status op_check(const char *device, const char *op, const op_variant *variants,
                      int64_t count);

#define OP_VARIANT(graph)                                                                          \
    {                                                                                              \
#graph, graph                                                                              \
    }
#define OP_CHECK(op, ...)                                                                          \
    pumit_status check_op_##op(const char *device)                                                 \
    {                                                                                              \
        static const op_variant variants[] = {__VA_ARGS__};                                        \
        return op_check(device, #op, variants, PUMIT__COUNT(variants));                            \
    }

#define PUMIT_OP(name) pumit_status check_op_##name(const char *device);
#include <pumit/oplist.inc>
#undef PUMIT_OP

#endif
