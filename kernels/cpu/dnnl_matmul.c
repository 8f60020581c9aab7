/* SPDX-License-Identifier: Apache-2.0 */
/*
 * c (+)= a op(b) + bias by oneDNN's matmul primitives, which pack b in pieces that stay in a core's cache while they
 * are used, and cut the work for the threads so that none packs what another does. With b in bf16, a is
 * rounded alike, and sums are f32.
 */
#include "kernels/cpu/dnnl.h"

#include <string.h>

#define MOST_SPREAD_ROWS 256

/** What a primitive is made for. */
typedef struct {
    int32_t b_dtype, trans_b, bias, adds; /* adds: c += */
    int64_t m, n, k, lda, ldb;
} product_key;

_Static_assert(sizeof(product_key) <= PUMIT__DNNL_KEY, "the cache's keys hold a product's");

enum { A, B, C, BIAS, SCRATCH };

typedef struct {
    dnnl_memory_desc_t a, b, c, bias;
} product_descs;

/* ------------------------------------------------------------------------- the two interfaces */

/** A matrix whose element (i, j) stands at i row + j column. */
static dnnl_status_t make_desc(dnnl_memory_desc_t *out, dnnl_data_type_t type, int64_t rows,
                               int64_t columns, int64_t row, int64_t column)
{
    const dnnl_dims_t size = {rows, columns}, stride = {row, column};
#if DNNL_VERSION_MAJOR >= 3
    return dnnl_memory_desc_create_with_strides(out, 2, size, type, stride);
#else
    return dnnl_memory_desc_init_by_strides(out, 2, size, type, stride);
#endif
}

static void free_descs(product_descs *d)
{
#if DNNL_VERSION_MAJOR >= 3
    dnnl_memory_desc_t all[] = {d->a, d->b, d->c, d->bias};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i]) dnnl_memory_desc_destroy(all[i]);
#else
    (void)d;
#endif
}

/** The caller provides the working memory; c is added to where the key says so. */
static dnnl_status_t make_attributes(dnnl_primitive_attr_t *out, int adds)
{
    dnnl_post_ops_t after = NULL;
    dnnl_status_t status = dnnl_primitive_attr_create(out);
    if (status == dnnl_success)
        status = dnnl_primitive_attr_set_scratchpad_mode(*out, dnnl_scratchpad_mode_user);
    if (status != dnnl_success || !adds) return status;
    status = dnnl_post_ops_create(&after);
#if DNNL_VERSION_MAJOR >= 3
    if (status == dnnl_success)
        status = dnnl_post_ops_append_sum(after, 1.0f, 0, dnnl_data_type_undef);
#else
    if (status == dnnl_success) status = dnnl_post_ops_append_sum(after, 1.0f);
#endif
    if (status == dnnl_success) status = dnnl_primitive_attr_set_post_ops(*out, after);
    if (after) dnnl_post_ops_destroy(after);
    return status;
}

static dnnl_status_t make_product(dnnl_primitive_desc_t *out, const pumit__cpu_dnnl *dnnl,
                                  const product_descs *d, const product_key *key)
{
    const pumit__dnnl_view bias = key->bias ? pumit__dnnl_view_of(&d->bias) : NULL;
    dnnl_primitive_attr_t attributes = NULL;
    dnnl_status_t status = make_attributes(&attributes, key->adds);
#if DNNL_VERSION_MAJOR >= 3
    if (status == dnnl_success)
        status = dnnl_matmul_primitive_desc_create(out, dnnl->engine, d->a, d->b, bias, d->c,
                                                   attributes);
#else
    dnnl_matmul_desc_t desc;
    if (status == dnnl_success) status = dnnl_matmul_desc_init(&desc, &d->a, &d->b, bias, &d->c);
    if (status == dnnl_success)
        status = dnnl_primitive_desc_create(out, &desc, attributes, dnnl->engine, NULL);
#endif
    if (attributes) dnnl_primitive_attr_destroy(attributes);
    return status;
}

/* ------------------------------------------------------------------------------ making entries */

static dnnl_status_t make_descs(product_descs *out, const product_key *key)
{
    const dnnl_data_type_t type = key->b_dtype == PUMIT_BF16 ? dnnl_bf16 : dnnl_f32;
    dnnl_status_t status = make_desc(&out->a, type, key->m, key->k, key->lda, 1);
    if (status == dnnl_success)
        status = make_desc(&out->b, type, key->k, key->n, key->trans_b ? 1 : key->ldb,
                           key->trans_b ? key->ldb : 1);
    if (status == dnnl_success) status = make_desc(&out->c, dnnl_f32, key->m, key->n, key->n, 1);
    if (status == dnnl_success) status = make_desc(&out->bias, dnnl_f32, 1, key->n, key->n, 1);
    return status;
}

/** The machine has instructions for it, not code for any machine or one that emulates bf16. */
static int is_fast(const_dnnl_primitive_desc_t chosen, const product_key *key)
{
    const char *name = "";
    if (dnnl_primitive_desc_query(chosen, dnnl_query_impl_info_str, 0, &name) != dnnl_success)
        return 0;
    return strncmp(name, "brg", 3) == 0 && (key->b_dtype != PUMIT_BF16 || strstr(name, "bf16"));
}

static dnnl_status_t fill_entry(pumit__dnnl_entry *entry, const pumit__cpu_dnnl *dnnl,
                                const product_descs *d, const_dnnl_primitive_desc_t chosen)
{
    const pumit__dnnl_view scratch =
        dnnl_primitive_desc_query_md(chosen, dnnl_query_scratchpad_md, 0);
    const pumit__dnnl_view all[] = {[A] = pumit__dnnl_view_of(&d->a),
                                    [B] = pumit__dnnl_view_of(&d->b),
                                    [C] = pumit__dnnl_view_of(&d->c),
                                    [BIAS] = pumit__dnnl_view_of(&d->bias),
                                    [SCRATCH] = scratch};
    entry->scratch_bytes = dnnl_memory_desc_get_size(scratch);
    dnnl_status_t status = dnnl_primitive_create(&entry->primitive, chosen);
    for (int i = A; i <= SCRATCH && status == dnnl_success; i++)
        status = dnnl_memory_create(&entry->memory[i], all[i], dnnl->engine, DNNL_MEMORY_NONE);
    return status;
}

/** An entry without a primitive remembers that there is no fast one. */
static dnnl_status_t make_entry(pumit__dnnl_entry *entry, const pumit__cpu_dnnl *dnnl,
                                const void *data)
{
    const product_key *key = data;
    product_descs descs;
    memset(&descs, 0, sizeof descs);
    dnnl_primitive_desc_t chosen = NULL;
    dnnl_status_t status = make_descs(&descs, key);
    if (status == dnnl_success && make_product(&chosen, dnnl, &descs, key) == dnnl_success &&
        is_fast(chosen, key))
        status = fill_entry(entry, dnnl, &descs, chosen);
    if (chosen) dnnl_primitive_desc_destroy(chosen);
    free_descs(&descs);
    return status;
}

/* ------------------------------------------------------------------------------------- running */

/** a rounded to bf16 into `to`. */
static pumit_status round_a(pumit__cpu_device *device, const pumit_matmul_args *args, void *to)
{
    const pumit_copy_args copy = {.src = args->a,
                                  .dst = to,
                                  .src_dtype = PUMIT_F32,
                                  .dst_dtype = PUMIT_BF16,
                                  .ndim = 1,
                                  .shape = {args->m * args->k},
                                  .src_stride = {1},
                                  .dst_stride = {1}};
    return pumit__cpu_chosen()->copy(device, &copy);
}

static dnnl_status_t place(dnnl_memory_t memory, const void *data)
{
    return dnnl_memory_set_data_handle(memory, pumit__dnnl_input(data));
}

static dnnl_status_t execute(pumit__dnnl_entry *entry, const pumit__cpu_dnnl *dnnl,
                             const pumit_matmul_args *args, void *scratch)
{
    dnnl_memory_t *memory = entry->memory;
    dnnl_status_t status = place(memory[A], args->a);
    if (status == dnnl_success) status = place(memory[B], args->b);
    if (status == dnnl_success) status = place(memory[C], args->c);
    if (status == dnnl_success) status = place(memory[SCRATCH], scratch);
    if (status == dnnl_success && args->bias) status = place(memory[BIAS], args->bias);
    if (status != dnnl_success) return status;
    const dnnl_exec_arg_t exec[] = {{DNNL_ARG_SRC, memory[A]},
                                    {DNNL_ARG_WEIGHTS, memory[B]},
                                    {DNNL_ARG_DST, memory[C]},
                                    {DNNL_ARG_SCRATCHPAD, memory[SCRATCH]},
                                    {DNNL_ARG_BIAS, memory[BIAS]}};
    status = dnnl_primitive_execute(entry->primitive, dnnl->stream, args->bias ? 5 : 4, exec);
    return status == dnnl_success ? dnnl_stream_wait(dnnl->stream) : status;
}

/** Where a product works: behind each other in one block of scratch memory. */
typedef struct {
    size_t a, c, primitive; /* bytes: a rounded, c without gaps, the primitive's own */
} product_sizes;

/** c with gaps between its rows gets what stands in `packed`. */
static pumit_status spread(pumit__cpu_device *device, const pumit_matmul_args *args,
                           const void *packed)
{
    const pumit_copy_args copy = {.src = packed,
                                  .dst = args->c,
                                  .src_dtype = PUMIT_F32,
                                  .dst_dtype = PUMIT_F32,
                                  .ndim = 2,
                                  .accumulate = args->beta != 0,
                                  .shape = {args->m, args->n},
                                  .src_stride = {args->n, 1},
                                  .dst_stride = {args->ldc, 1}};
    return pumit__cpu_chosen()->copy(device, &copy);
}

static pumit_status entry_for(pumit__dnnl_entry **out, pumit__cpu_device *device,
                              const pumit_matmul_args *args)
{
    product_key key;
    memset(&key, 0, sizeof key);
    key.b_dtype = args->b_dtype;
    key.trans_b = args->trans_b;
    key.bias = args->bias != NULL;
    key.adds = args->beta != 0 && args->ldc == args->n;
    key.m = args->m;
    key.n = args->n;
    key.k = args->k;
    key.lda = args->lda;
    key.ldb = args->ldb;
    const pumit_status status = pumit__dnnl_find(out, device, make_entry, &key, sizeof key);
    return status == PUMIT_OK && !(*out)->primitive ? PUMIT_DECLINED : status;
}

static pumit_status run(pumit__cpu_device *device, const pumit_matmul_args *args,
                        pumit__dnnl_entry *entry, char *scratch, product_sizes sizes)
{
    pumit_matmul_args packed = *args;
    if (sizes.a) {
        const pumit_status rounded = round_a(device, args, scratch);
        if (rounded != PUMIT_OK) return rounded;
        packed.a = scratch;
    }
    if (sizes.c) packed.c = scratch + sizes.a;
    const pumit_status status =
        pumit__dnnl_status(execute(entry, device->dnnl, &packed, scratch + sizes.a + sizes.c));
    return status == PUMIT_OK && sizes.c ? spread(device, args, packed.c) : status;
}

/* oneDNN's fast implementations write to c without gaps alone. Of many rows in f32, sgemm is as fast, without a copy. */
pumit_status pumit__dnnl_matmul(pumit__cpu_device *device, const pumit_matmul_args *args)
{
    const int rounds = args->b_dtype == PUMIT_BF16;
    if (args->trans_a || args->alpha != 1 || (args->beta != 0 && args->beta != 1) || args->k == 0 ||
        args->b_dtype == PUMIT_F16 || (rounds && args->lda != args->k) ||
        (!rounds && args->ldc != args->n && args->m > MOST_SPREAD_ROWS))
        return PUMIT_DECLINED;
    pumit__dnnl_entry *entry = NULL;
    const pumit_status found = entry_for(&entry, device, args);
    if (found != PUMIT_OK) return found;
    product_sizes sizes = {.primitive = entry->scratch_bytes};
    if (rounds) sizes.a = pumit__dnnl_padded((size_t)(args->m * args->k) * sizeof(uint16_t));
    if (args->ldc != args->n)
        sizes.c = pumit__dnnl_padded((size_t)(args->m * args->n) * sizeof(float));
    char *scratch = pumit__cpu_scratch_block(device, PUMIT__CPU_PRODUCT_BLOCK,
                                             (int64_t)(sizes.a + sizes.c + sizes.primitive + 1));
    return scratch ? run(device, args, entry, scratch, sizes) : PUMIT_ERROR_OUT_OF_MEMORY;
}
