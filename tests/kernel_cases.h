/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls of kernels, made up at random: used to compare a backend with the oracle `reference64`, and to
 * time it. Every kernel of oplist.inc has a generator `case_<kernel>`; one missing does not link.
 */
#ifndef PUMIT_TESTS_KERNEL_CASES_H
#define PUMIT_TESTS_KERNEL_CASES_H

#include <pumit/backend.h>

#include <stddef.h>
#include <stdint.h>

typedef union {
    pumit_copy_args copy;
    pumit_fill_args fill;
    pumit_unary_args unary;
    pumit_binary_args binary;
    pumit_reduce_args reduce;
    pumit_matmul_args matmul;
    pumit_layer_norm_args layer_norm;
    pumit_group_norm_args group_norm;
    pumit_softmax_args softmax;
    pumit_entropy_args entropy;
    pumit_cross_entropy_args cross_entropy;
    pumit_rope_args rope;
    pumit_attention_args attention;
    pumit_swiglu_args swiglu;
    pumit_conv_args conv;
    pumit_resample_args resample;
    pumit_rows_args rows;
    pumit_sum_squares_args sum_squares;
    pumit_adamw_args adamw;
    pumit_argmax_args argmax;
    pumit_max_pool_args max_pool;
} kernel_args;

/* What the main inputs look like. Parameters (weights, bias) are always normal. */
typedef enum {
    FILL_NORMAL,
    FILL_LARGE,  /* 1000 x normal */
    FILL_OFFSET, /* 100 + normal: means that swallow the digits of what matters */
    FILL_SMALL,  /* 1e-6 x normal */
    FILL_EQUAL,  /* one value */
    FILL_MIXED,  /* either sign, 1e-4 to 1e3, every fifth 0 */
    FILL_ZERO,
    FILL_COUNT
} kernel_fill;

typedef enum {
    ROLE_SRC, /* read; must come back unchanged */
    ROLE_DST, /* overwritten; NaN before the call */
    ROLE_ADD  /* read and written: an accumulator, or worked on in place */
} kernel_role;

typedef struct {
    size_t slots[2]; /* where its pointer goes in the arguments; both, if it is used in place */
    int slot_count;
    kernel_role role;
    int32_t dtype; /* 0: real, in `values`; else in `bytes`, and compared bit for bit */
    int64_t count;
    double *values; /* at the start; each is a float, so that all backends see the same */
    void *bytes;
    double unit;  /* perturbations are relative to max(|x|, unit): 1 for logits */
    double floor; /* absolute error, in units of FLT_EPSILON, that any sound formula may make */
} kernel_array;

#define KERNEL_ARRAYS 12
#define KERNEL_LARGE  3 /* realistic shapes of each kernel, for timing */

typedef struct {
    int kernel, index, large; /* large: 0, or 1 .. KERNEL_LARGE */
    uint64_t seed, random;
    kernel_fill fill;
    kernel_args args; /* pointers still NULL */
    int64_t host[8];  /* small arrays that the arguments point to */
    kernel_array arrays[KERNEL_ARRAYS];
    int count;
    char shape[240];
    int sparse;   /* outputs may be mostly zero, or mostly unchanged */
    int local;    /* each output depends on the inputs of its own index alone */
    double terms; /* how many products are summed up in one output */
    double floor; /* as the arrays' own, for all of them */
    double flops;
    int64_t unread; /* elements of inputs that are not touched */
} kernel_case;

typedef struct {
    const char *name;
    void (*generate)(kernel_case *c);
    pumit_status (*call)(const pumit_backend *backend, void *device, const kernel_args *args);
} kernel_entry;

#define PUMIT_KERNEL(kernel, family, summary) KERNEL_##kernel,
enum {
#include <pumit/oplist.inc>
    KERNEL_COUNT
};
#undef PUMIT_KERNEL

extern const kernel_entry kernel_entries[KERNEL_COUNT];

/* Makes case `index` of `kernel`, the same for the same arguments. Release with kernel_case_free(). */
void kernel_case_make(kernel_case *c, int kernel, int index, uint64_t seed, int large);
void kernel_case_free(kernel_case *c);

#define CASE_COMPARED 0
#define CASE_DECLINED 1
#define CASE_FAILED   2

/* Runs `c` on `backend` and on the oracle. `message` (of `size` bytes) says what failed. */
int kernel_case_compare(const kernel_case *c, const pumit_backend *backend, void *device,
                        char *message, size_t size);

/* Seconds of one call, from as many calls as fit into `budget` seconds; < 0 if declined. The best tells
 * more than the median where other work shares the cores. */
typedef struct {
    double median, best;
} kernel_time;

kernel_time kernel_case_time(const kernel_case *c, const pumit_backend *backend, void *device,
                             double budget);

/* Bytes that one call of `c` reads and writes, in the real type of `backend`. */
double kernel_case_bytes(const kernel_case *c, const pumit_backend *backend);

/* ------------------------------------------------------------------------------ for generators */

#define PUMIT_KERNEL(kernel, family, summary) void case_##kernel(kernel_case *c);
#include <pumit/oplist.inc>
#undef PUMIT_KERNEL

#define AT(family, field) offsetof(pumit_##family##_args, field)

#define SRC ROLE_SRC
#define DST ROLE_DST
#define ADD ROLE_ADD

double random_uniform(kernel_case *c);              /* in [0, 1) */
double random_normal(kernel_case *c);               /* standard normal, a float */
int64_t random_below(kernel_case *c, int64_t n);    /* 0 .. n - 1 */
int64_t random_size(kernel_case *c, int64_t limit); /* 1 .. limit, often near a power of two */
double fill_value(kernel_case *c, kernel_fill fill, double equal);
kernel_array *add_array(kernel_case *c, size_t slot, kernel_role role, int64_t count,
                        kernel_fill fill);
kernel_array *add_typed(kernel_case *c, size_t slot, kernel_role role, int32_t dtype,
                        int64_t count);
int64_t dtype_bytes(int32_t dtype);
void describe(kernel_case *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Small and awkward (1 .. limit), or what stands for the realistic shape being timed. */
int64_t pick(kernel_case *c, int64_t limit, int64_t first, int64_t second, int64_t third);

/* Whether to take an option: as often as not, never in timing. */
int maybe(kernel_case *c);

double largest(const kernel_array *a);             /* |value| */
void scale_values(kernel_array *a, double factor); /* the results are floats */
void also_at(kernel_array *a, size_t slot);        /* work in place */

/* calloc() that ends the test where there is no memory. */
void *allocate_zeros(size_t bytes);

/* Distances between rows of `width`, 0 meaning that they are packed, and the elements that such rows span. The
 * gaps of `a` are made NaN: who reads them is found out, and so is who writes to them. */
int64_t pick_row(kernel_case *c, int64_t width);
int64_t span_of(int64_t rows, int64_t width, int64_t row);
void blank_gaps(kernel_array *a, int64_t width, int64_t row);

/* Puts `memory` into the slots of `a` in the arguments. */
void set_pointer(kernel_args *args, const kernel_array *a, void *memory);

/* Runs `kernel` of the oracle on the values of `c` in place, then rounds its outputs to floats: fills in
 * what a backward pass expects from its forward pass. The arrays must have been added. */
void run_on_values(kernel_case *c, int kernel);

#endif
