/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a case is compared. The oracle runs on the same inputs in double, and TRIALS times more with every
 * input moved by about one float's epsilon, up or down. How far an output moves then says how well it is
 * determined by inputs that are floats, and a sound float kernel may err by a few times that:
 *   |got - ref| <= eps (12 + terms / 16) |ref| + 16 moved + eps floor + 10 FLT_MIN
 * `moved` is the largest move in the array, or of the very element where the kernel is local.
 */
#include "kernel_cases.h"

#include "kernels/backends.h"

#include <float.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TRIALS 4
#define GUARD  256 /* bytes before and behind each array; 0xff, so that reading them gives NaN */

typedef struct {
    unsigned char *block, *data,
        *start; /* with guards; the elements; the elements before the call */
    void *device_block;
    int64_t total, bytes;
} bound_array;

typedef struct {
    const kernel_case *c;
    const pumit_backend *backend;
    void *device;
    kernel_args args;
    bound_array arrays[KERNEL_ARRAYS];
    pumit_status status;
} bound_case;

static double get_real(const pumit_backend *backend, const void *data, int64_t i)
{
    return backend->real_dtype == PUMIT_F64 ? ((const double *)data)[i] : ((const float *)data)[i];
}

/* How many epsilons to move by. Whole ones where an output has few inputs of its own; else of random
 * length, lest steps cancel in a mean of two. */
static double step_of(kernel_case *moves, int local)
{
    const double sign = random_below(moves, 2) ? 1 : -1;
    return local ? sign : sign * 2 * random_uniform(moves);
}

/* The array's start in the backend's type; `moves` turns on perturbation and is its random state. */
static void put_start(const bound_case *b, const kernel_array *a, void *data, kernel_case *moves)
{
    if (a->dtype) {
        memcpy(data, a->bytes, (size_t)(a->count * dtype_bytes(a->dtype)));
        return;
    }
    for (int64_t i = 0; i < a->count; i++) {
        double value = a->values[i];
        if (moves != NULL) {
            value += step_of(moves, b->c->local) * FLT_EPSILON * fmax(fabs(value), a->unit);
        }
        if (b->backend->real_dtype == PUMIT_F64) {
            ((double *)data)[i] = value;
        } else {
            ((float *)data)[i] = (float)value;
        }
    }
}

/* Arrays start at any element of a cache line: tensors may be views into larger ones. */
static void bind_array(bound_case *b, int i, kernel_case *moves)
{
    const kernel_array *a = &b->c->arrays[i];
    bound_array *m = &b->arrays[i];
    const int64_t size = dtype_bytes(a->dtype ? a->dtype : b->backend->real_dtype);
    const int64_t shift = b->c->large ? 0 : (b->c->index + i) % 5 * 3 % 16 * size;
    m->bytes = a->count * size;
    m->total = (GUARD + shift + m->bytes + GUARD + 63) / 64 * 64;
    m->block = aligned_alloc(64, (size_t)m->total);
    m->start = allocate_zeros((size_t)m->bytes);
    if (m->block == NULL) abort();
    memset(m->block, 0xff, (size_t)m->total);
    m->data = m->block + GUARD + shift;
    put_start(b, a, m->data, moves);
    memcpy(m->start, m->data, (size_t)m->bytes);
    unsigned char *seen = m->data;
    if (!b->backend->host_memory) {
        m->device_block = b->backend->allocate(b->device, m->total);
        if (m->device_block == NULL) abort();
        b->backend->upload(b->device, m->device_block, m->block, m->total);
        seen = (unsigned char *)m->device_block + (m->data - m->block);
    }
    set_pointer(&b->args, a, seen);
}

static void bind_case(bound_case *b, const kernel_case *c, const pumit_backend *backend,
                      void *device, int trial)
{
    kernel_case moves = {.random = c->seed + 77u * (uint64_t)trial};
    *b = (bound_case){.c = c, .backend = backend, .device = device, .args = c->args};
    for (int i = 0; i < c->count; i++) bind_array(b, i, trial > 0 ? &moves : NULL);
}

static void call_bound(bound_case *b)
{
    const pumit_backend *backend = b->backend;
    b->status = kernel_entries[b->c->kernel].call(backend, b->device, &b->args);
    for (int i = 0; !backend->host_memory && i < b->c->count; i++) {
        bound_array *m = &b->arrays[i];
        backend->download(b->device, m->block, m->device_block, m->total);
    }
}

static void unbind_case(bound_case *b)
{
    for (int i = 0; i < b->c->count; i++) {
        bound_array *m = &b->arrays[i];
        if (m->device_block != NULL) b->backend->deallocate(b->device, m->device_block);
        free(m->block);
        free(m->start);
    }
}

/* ---------------------------------------------------------------------------------- comparing */

static int guards_intact(const bound_array *m)
{
    for (const unsigned char *p = m->block; p < m->data; p++) {
        if (*p != 0xff) return 0;
    }
    for (const unsigned char *p = m->data + m->bytes; p < m->block + m->total; p++) {
        if (*p != 0xff) return 0;
    }
    return 1;
}

/* What is said of a failure. */
typedef struct {
    char *message;
    size_t size;
} report;

__attribute__((format(printf, 4, 5))) static int fail(const report *r, const bound_case *b, int i,
                                                      const char *format, ...)
{
    const kernel_case *c = b->c;
    static const char *const fills[] = {"normal", "large", "offset", "small",
                                        "equal",  "mixed", "zero"};
    char text[256];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    snprintf(
        r->message, r->size, "%s/%s case %d: array %d (of %lld): %s; shape %s, fill %s, seed %llu",
        b->backend->name, kernel_entries[c->kernel].name, c->index, i,
        (long long)c->arrays[i].count, text, c->shape, fills[c->fill], (unsigned long long)c->seed);
    return CASE_FAILED;
}

static int is_nan_bits(int32_t dtype, const unsigned char *p)
{
    uint16_t half;
    float single;
    double wide;
    switch (dtype) {
    case PUMIT_F32:
        memcpy(&single, p, sizeof single);
        return isnan(single);
    case PUMIT_F64:
        memcpy(&wide, p, sizeof wide);
        return isnan(wide);
    case PUMIT_F16:
        memcpy(&half, p, sizeof half);
        return (half & 0x7fff) > 0x7c00;
    case PUMIT_BF16:
        memcpy(&half, p, sizeof half);
        return (half & 0x7fff) > 0x7f80;
    default:
        return 0;
    }
}

/* Bit for bit, all NaNs being one. */
static int compare_typed(const bound_case *got, const bound_case *ref, int i, const report *r)
{
    const kernel_array *a = &ref->c->arrays[i];
    const int64_t size = dtype_bytes(a->dtype);
    for (int64_t k = 0; k < a->count; k++) {
        const unsigned char *p = got->arrays[i].data + k * size;
        const unsigned char *q = ref->arrays[i].data + k * size;
        if (memcmp(p, q, (size_t)size) == 0) continue;
        if (is_nan_bits(a->dtype, p) && is_nan_bits(a->dtype, q)) continue;
        uint64_t u = 0, v = 0;
        memcpy(&u, p, (size_t)size);
        memcpy(&v, q, (size_t)size);
        return fail(r, got, i, "element %lld is 0x%llx, not 0x%llx", (long long)k,
                    (unsigned long long)u, (unsigned long long)v);
    }
    return CASE_COMPARED;
}

/* moved[k] = how far element k of array i moves; the array's largest everywhere unless local. */
static double *moves_of(const bound_case *ref, const bound_case *moved, int i)
{
    const int64_t count = ref->c->arrays[i].count;
    const double *base = (const double *)(const void *)ref->arrays[i].data;
    double *moves = allocate_zeros((size_t)count * sizeof *moves), most = 0;
    for (int t = 0; t < TRIALS; t++) {
        const double *other = (const double *)(const void *)moved[t].arrays[i].data;
        for (int64_t k = 0; k < count; k++) {
            const double by = fabs(other[k] - base[k]);
            if (by > moves[k]) moves[k] = by;
            if (by > most) most = by;
        }
    }
    for (int64_t k = 0; !ref->c->local && k < count; k++) moves[k] = most;
    return moves;
}

/* An oracle that wrote nothing, or little but zeros, compares nothing. */
static int check_oracle(const bound_case *ref, int i, const report *r)
{
    const kernel_array *a = &ref->c->arrays[i];
    const double *value = (const double *)(const void *)ref->arrays[i].data;
    int64_t idle = 0, blank = 0;
    for (int64_t k = 0; k < a->count; k++) {
        if (isnan(value[k])) {
            blank++;
        } else if (a->role == ROLE_ADD ? value[k] == a->values[k] : value[k] == 0) {
            idle++;
        }
    }
    if (a->count > 0 && blank == a->count) return fail(r, ref, i, "the oracle wrote nothing");
    if (!ref->c->sparse && a->count >= 16 && idle > 0.8 * (double)(a->count - blank)) {
        return fail(r, ref, i, "the oracle gave mostly zeros");
    }
    return CASE_COMPARED;
}

static int compare_real(const bound_case *got, const bound_case *ref, const double *moves, int i,
                        const report *r)
{
    const kernel_case *c = ref->c;
    const double relative = FLT_EPSILON * (12 + c->terms / 16);
    const double absolute = FLT_EPSILON * (c->floor + c->arrays[i].floor) + 10 * FLT_MIN;
    double worst = 0, worst_error = 0, worst_bound = 0;
    int64_t where = -1, failures = 0;
    for (int64_t k = 0; k < c->arrays[i].count; k++) {
        const double expected = get_real(ref->backend, ref->arrays[i].data, k);
        const double value = get_real(got->backend, got->arrays[i].data, k);
        if (isnan(expected) && isnan(value)) continue; /* a gap, left alone by both */
        const double error = fabs(value - expected);
        const double bound = relative * fabs(expected) + 16 * moves[k] + absolute;
        if (error <= bound) continue;
        failures++;
        const double ratio = isnan(error) ? (double)INFINITY : error / bound;
        if (where >= 0 && !(ratio > worst)) continue;
        worst = ratio, worst_error = error, worst_bound = bound, where = k;
    }
    if (failures == 0) return CASE_COMPARED;
    return fail(r, got, i, "%lld wrong; element %lld is %.9g, not %.9g (error %.3g > %.3g)",
                (long long)failures, (long long)where,
                get_real(got->backend, got->arrays[i].data, where),
                get_real(ref->backend, ref->arrays[i].data, where), worst_error, worst_bound);
}

static int compare_array(const bound_case *got, const bound_case *ref, const bound_case *moved,
                         int i, const report *r)
{
    const kernel_array *a = &ref->c->arrays[i];
    const bound_array *m = &got->arrays[i];
    if (!guards_intact(m)) return fail(r, got, i, "bytes beside the array were overwritten");
    if (a->slot_count == 0) return CASE_COMPARED; /* the kernel does not know of it */
    if (a->role == ROLE_SRC) {
        const int same = memcmp(m->data, m->start, (size_t)m->bytes) == 0;
        return same ? CASE_COMPARED : fail(r, got, i, "an input was changed");
    }
    if (a->dtype) return compare_typed(got, ref, i, r);
    const int oracle = check_oracle(ref, i, r);
    if (oracle != CASE_COMPARED) return oracle;
    double *moves = moves_of(ref, moved, i);
    const int result = compare_real(got, ref, moves, i, r);
    free(moves);
    return result;
}

/* A kernel that declines must have written nothing. */
static int check_declined(const bound_case *got, const report *r)
{
    for (int i = 0; i < got->c->count; i++) {
        const bound_array *m = &got->arrays[i];
        if (!guards_intact(m) || memcmp(m->data, m->start, (size_t)m->bytes) != 0) {
            return fail(r, got, i, "written to by a kernel that then declined");
        }
    }
    return CASE_DECLINED;
}

static int compare_with_oracle(const kernel_case *c, const bound_case *got, const report *r)
{
    bound_case ref, moved[TRIALS];
    int result = CASE_COMPARED;
    bind_case(&ref, c, &pumit__reference64, NULL, 0);
    call_bound(&ref);
    for (int t = 0; t < TRIALS; t++) {
        bind_case(&moved[t], c, &pumit__reference64, NULL, t + 1);
        call_bound(&moved[t]);
    }
    if (ref.status != PUMIT_OK) result = fail(r, &ref, 0, "the oracle gave %d", (int)ref.status);
    for (int i = 0; result == CASE_COMPARED && i < c->count; i++) {
        result = compare_array(got, &ref, moved, i, r);
    }
    unbind_case(&ref);
    for (int t = 0; t < TRIALS; t++) unbind_case(&moved[t]);
    return result;
}

int kernel_case_compare(const kernel_case *c, const pumit_backend *backend, void *device,
                        char *message, size_t size)
{
    const report r = {message, size};
    bound_case got;
    int result;
    bind_case(&got, c, backend, device, 0);
    call_bound(&got);
    if (got.status == PUMIT_DECLINED) {
        result = check_declined(&got, &r);
    } else if (got.status != PUMIT_OK) {
        result = fail(&r, &got, 0, "the kernel gave %d", (int)got.status);
    } else {
        result = compare_with_oracle(c, &got, &r);
    }
    unbind_case(&got);
    return result;
}

/* ------------------------------------------------------------------------------------- timing */

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static int compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

kernel_time kernel_case_time(const kernel_case *c, const pumit_backend *backend, void *device,
                             double budget)
{
    double times[50];
    int count = 0;
    bound_case b;
    bind_case(&b, c, backend, device, 0);
    double start = seconds(), spent = 0;
    call_bound(&b);
    const double first =
        seconds() - start; /* warms up; counts only where one call fills the budget */
    while (b.status == PUMIT_OK && first + spent < budget && count < 50) {
        start = seconds();
        call_bound(&b);
        times[count] = seconds() - start;
        spent += times[count++];
    }
    const pumit_status status = b.status;
    unbind_case(&b);
    if (status != PUMIT_OK) return (kernel_time){-1, -1};
    if (count == 0) return (kernel_time){first, first};
    qsort(times, (size_t)count, sizeof times[0], compare_doubles);
    return (kernel_time){times[count / 2], times[0]};
}

double kernel_case_bytes(const kernel_case *c, const pumit_backend *backend)
{
    double bytes = -(double)(c->unread * dtype_bytes(backend->real_dtype));
    for (int i = 0; i < c->count; i++) {
        const kernel_array *a = &c->arrays[i];
        const double size = (double)dtype_bytes(a->dtype ? a->dtype : backend->real_dtype);
        bytes += (double)a->count * size * (a->role == ROLE_ADD ? 2 : 1);
    }
    return bytes;
}
