/* SPDX-License-Identifier: Apache-2.0 */
/* Cases: random numbers, fills, arrays; the generators of each kernel are in kernel_generators.c. */
#include "kernel_cases.h"

#include "kernels/backends.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PUMIT_KERNEL(kernel, family, summary)                                                      \
    static pumit_status call_##kernel(const pumit_backend *backend, void *device,                  \
                                      const kernel_args *args)                                     \
    {                                                                                              \
        return backend->kernel == NULL ? PUMIT_DECLINED : backend->kernel(device, &args->family);  \
    }
#include <pumit/oplist.inc>
#undef PUMIT_KERNEL

#define PUMIT_KERNEL(kernel, family, summary) {#kernel, case_##kernel, call_##kernel},
const kernel_entry kernel_entries[KERNEL_COUNT] = {
#include <pumit/oplist.inc>
};
#undef PUMIT_KERNEL

void *allocate_zeros(size_t bytes)
{
    void *memory = calloc(bytes > 0 ? bytes : 1, 1);
    if (memory == NULL) abort();
    return memory;
}

static uint64_t next(kernel_case *c) /* splitmix64 */
{
    uint64_t z = c->random += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

double random_uniform(kernel_case *c)
{
    return (double)(next(c) >> 11) * 0x1p-53;
}

double random_normal(kernel_case *c)
{
    const double radius = sqrt(-2 * log(1 - random_uniform(c)));
    return (float)(radius * cos(2 * M_PI * random_uniform(c)));
}

int64_t random_below(kernel_case *c, int64_t n)
{
    return n > 0 ? (int64_t)(next(c) % (uint64_t)n) : 0;
}

int64_t random_size(kernel_case *c, int64_t limit)
{
    static const int64_t awkward[] = {1,   1,   2,   3,   4,   5,   7,   8,    9,    11,  13,
                                      15,  16,  17,  23,  31,  32,  33,  47,   48,   49,  63,
                                      64,  65,  67,  79,  80,  81,  96,  97,   127,  128, 129,
                                      191, 255, 256, 257, 509, 512, 513, 1021, 1024, 1025};
    int64_t n = 0;
    while (n < (int64_t)(sizeof awkward / sizeof awkward[0]) && awkward[n] <= limit) n++;
    return random_below(c, 3) == 0 ? 1 + random_below(c, limit) : awkward[random_below(c, n)];
}

double fill_value(kernel_case *c, kernel_fill fill, double equal)
{
    switch (fill) {
    case FILL_NORMAL:
        return random_normal(c);
    case FILL_LARGE:
        return 1000 * random_normal(c);
    case FILL_OFFSET:
        return 100 + random_normal(c);
    case FILL_SMALL:
        return 1e-6 * random_normal(c);
    case FILL_EQUAL:
        return equal;
    case FILL_MIXED:
        if (random_below(c, 5) == 0) return 0;
        return copysign(pow(10, 7 * random_uniform(c) - 4), random_normal(c));
    default:
        return 0;
    }
}

static kernel_array *new_array(kernel_case *c, size_t slot, kernel_role role, int64_t count)
{
    if (c->count == KERNEL_ARRAYS || count < 0) abort();
    kernel_array *a = &c->arrays[c->count++];
    *a = (kernel_array){.slots = {slot}, .slot_count = 1, .role = role, .count = count};
    return a;
}

kernel_array *add_array(kernel_case *c, size_t slot, kernel_role role, int64_t count,
                        kernel_fill fill)
{
    kernel_array *a = new_array(c, slot, role, count);
    const double equal = 3 * random_normal(c);
    a->values = allocate_zeros((size_t)count * sizeof *a->values);
    for (int64_t i = 0; i < count; i++) {
        a->values[i] = role == ROLE_DST ? (double)NAN : (float)fill_value(c, fill, equal);
    }
    return a;
}

int64_t dtype_bytes(int32_t dtype)
{
    static const int64_t bytes[] = {0, 4, 8, 2, 2, 1, 2, 4, 8};
    return bytes[dtype];
}

kernel_array *add_typed(kernel_case *c, size_t slot, kernel_role role, int32_t dtype, int64_t count)
{
    kernel_array *a = new_array(c, slot, role, count);
    a->dtype = dtype;
    a->bytes = allocate_zeros((size_t)(count * dtype_bytes(dtype)));
    return a;
}

void describe(kernel_case *c, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    vsnprintf(c->shape, sizeof c->shape, format, list);
    va_end(list);
}

void kernel_case_make(kernel_case *c, int kernel, int index, uint64_t seed, int large)
{
    *c = (kernel_case){.kernel = kernel, .index = index, .large = large, .seed = seed};
    c->random = seed + (uint64_t)kernel * 1000003u + (uint64_t)index * 7919u;
    c->fill = large ? FILL_NORMAL : (kernel_fill)(index % FILL_COUNT);
    c->sparse = c->fill == FILL_ZERO;
    kernel_entries[kernel].generate(c);
}

void kernel_case_free(kernel_case *c)
{
    for (int i = 0; i < c->count; i++) {
        free(c->arrays[i].values);
        free(c->arrays[i].bytes);
    }
    c->count = 0;
}

int64_t pick(kernel_case *c, int64_t limit, int64_t first, int64_t second, int64_t third)
{
    const int64_t realistic[KERNEL_LARGE] = {first, second, third};
    return c->large ? realistic[c->large - 1] : random_size(c, limit);
}

int maybe(kernel_case *c)
{
    return !c->large && random_below(c, 2) == 0;
}

double largest(const kernel_array *a)
{
    double most = 0;
    for (int64_t i = 0; i < a->count; i++) most = fmax(most, fabs(a->values[i]));
    return most;
}

void scale_values(kernel_array *a, double factor)
{
    for (int64_t i = 0; i < a->count; i++) a->values[i] = (float)(a->values[i] * factor);
}

void also_at(kernel_array *a, size_t slot)
{
    a->slots[a->slot_count++] = slot;
    a->role = ROLE_ADD;
}

int64_t pick_row(kernel_case *c, int64_t width)
{
    const int64_t rows[] = {0, width, 3 * width, width + 1 + random_below(c, 20)};
    return c->large ? 0 : rows[random_below(c, 4)];
}

int64_t span_of(int64_t rows, int64_t width, int64_t row)
{
    return row && rows > 0 ? (rows - 1) * row + width : rows * width;
}

void blank_gaps(kernel_array *a, int64_t width, int64_t row)
{
    for (int64_t i = 0; row && i < a->count; i++) {
        if (i % row >= width) a->values[i] = (double)NAN;
    }
}

void set_pointer(kernel_args *args, const kernel_array *a, void *memory)
{
    for (int s = 0; s < a->slot_count; s++) {
        memcpy((char *)args + a->slots[s], &memory, sizeof memory);
    }
}

void run_on_values(kernel_case *c, int kernel)
{
    kernel_args args = c->args;
    for (int i = 0; i < c->count; i++) {
        kernel_array *a = &c->arrays[i];
        set_pointer(&args, a, a->dtype ? a->bytes : a->values);
    }
    if (kernel_entries[kernel].call(&pumit__reference64, NULL, &args) != PUMIT_OK) abort();
    for (int i = 0; i < c->count; i++) {
        kernel_array *a = &c->arrays[i];
        for (int64_t k = 0; !a->dtype && k < a->count; k++) a->values[k] = (float)a->values[k];
    }
}
