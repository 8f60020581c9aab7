/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Convolution and its gradient by the source through oneDNN. src and dst stay as they are (channels
 * last); oneDNN chooses the layout of the weights, and they are reordered into scratch memory at each
 * call, because their values may have changed.
 */
#include "kernels/cpu/conv.h"
#include "kernels/cpu/dnnl.h"

#include <string.h>

typedef pumit__dnnl_view view;

/** What a primitive is made for. */
typedef struct {
    int32_t backward, bias, spatial, reserved; /* spatial: 2 or 3 axes */
    int64_t n, in_channels, out_channels;
    int64_t src_size[3], dst_size[3], kernel[3], stride[3], padding[3];
} conv_key;

_Static_assert(sizeof(conv_key) <= PUMIT__DNNL_KEY, "the cache's keys hold a convolution's");

enum { SRC, DST, WEIGHTS, PLAIN, BIAS, SCRATCH };

/* ------------------------------------------------------------------------- the two interfaces */

/** The descriptors of one convolution in oneDNN's terms. */
typedef struct {
    dnnl_memory_desc_t src, dst, weights, plain, bias;
    dnnl_dims_t stride, dilation, padding, padding_end;
} conv_descs;

static dnnl_status_t make_desc(dnnl_memory_desc_t *out, int ndims, const dnnl_dims_t dims,
                               dnnl_format_tag_t tag)
{
#if DNNL_VERSION_MAJOR >= 3
    return dnnl_memory_desc_create_with_tag(out, ndims, dims, dnnl_f32, tag);
#else
    return dnnl_memory_desc_init_by_tag(out, ndims, dims, dnnl_f32, tag);
#endif
}

static void free_descs(conv_descs *descs)
{
#if DNNL_VERSION_MAJOR >= 3
    dnnl_memory_desc_t all[] = {descs->src, descs->dst, descs->weights, descs->plain, descs->bias};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i]) dnnl_memory_desc_destroy(all[i]);
#else
    (void)descs;
#endif
}

static dnnl_status_t make_forward(dnnl_primitive_desc_t *out, const pumit__cpu_dnnl *dnnl,
                                  const conv_descs *d, int with_bias)
{
    const view bias = with_bias ? pumit__dnnl_view_of(&d->bias) : NULL;
#if DNNL_VERSION_MAJOR >= 3
    return dnnl_convolution_forward_primitive_desc_create(
        out, dnnl->engine, dnnl_forward_training, dnnl_convolution_direct, d->src, d->weights, bias,
        d->dst, d->stride, d->dilation, d->padding, d->padding_end, dnnl->attributes);
#else
    dnnl_convolution_desc_t desc;
    const dnnl_status_t status = dnnl_dilated_convolution_forward_desc_init(
        &desc, dnnl_forward_training, dnnl_convolution_direct, &d->src, &d->weights, bias, &d->dst,
        d->stride, d->dilation, d->padding, d->padding_end);
    if (status != dnnl_success) return status;
    return dnnl_primitive_desc_create(out, &desc, dnnl->attributes, dnnl->engine, NULL);
#endif
}

static dnnl_status_t make_backward(dnnl_primitive_desc_t *out, const pumit__cpu_dnnl *dnnl,
                                   const conv_descs *d, const_dnnl_primitive_desc_t forward)
{
#if DNNL_VERSION_MAJOR >= 3
    return dnnl_convolution_backward_data_primitive_desc_create(
        out, dnnl->engine, dnnl_convolution_direct, d->src, d->weights, d->dst, d->stride,
        d->dilation, d->padding, d->padding_end, forward, dnnl->attributes);
#else
    dnnl_convolution_desc_t desc;
    const dnnl_status_t status = dnnl_dilated_convolution_backward_data_desc_init(
        &desc, dnnl_convolution_direct, &d->src, &d->weights, &d->dst, d->stride, d->dilation,
        d->padding, d->padding_end);
    if (status != dnnl_success) return status;
    return dnnl_primitive_desc_create(out, &desc, dnnl->attributes, dnnl->engine, forward);
#endif
}

/* ------------------------------------------------------------------------------ making entries */

/** Kernels of depth 1 that step through depth one by one are 2D convolutions of n x depth images. */
static conv_key make_key(const pumit_conv_args *args, int backward)
{
    conv_key key;
    memset(&key, 0, sizeof key);
    const int flat = args->kernel[0] == 1 && args->stride[0] == 1 && args->padding[0] == 0;
    key.backward = backward;
    key.bias = !backward && args->bias;
    key.spatial = flat ? 2 : 3;
    key.n = args->n * (flat ? args->src_size[0] : 1);
    key.in_channels = args->in_channels;
    key.out_channels = args->out_channels;
    for (int i = 0; i < key.spatial; i++) {
        const int d = i + flat;
        key.src_size[i] = args->src_size[d];
        key.dst_size[i] = args->dst_size[d];
        key.kernel[i] = args->kernel[d];
        key.stride[i] = args->stride[d];
        key.padding[i] = args->padding[d];
    }
    return key;
}

static dnnl_status_t make_descs(conv_descs *out, const conv_key *key)
{
    const int ndims = key->spatial + 2, flat = key->spatial == 2;
    dnnl_dims_t src = {key->n, key->in_channels}, dst = {key->n, key->out_channels};
    dnnl_dims_t weights = {key->out_channels, key->in_channels}, bias = {key->out_channels};
    for (int i = 0; i < key->spatial; i++) {
        src[i + 2] = key->src_size[i];
        dst[i + 2] = key->dst_size[i];
        weights[i + 2] = key->kernel[i];
        out->stride[i] = key->stride[i];
        out->padding[i] = key->padding[i];
        /* What the last kernel does not reach counts as negative padding. */
        out->padding_end[i] = (key->dst_size[i] - 1) * key->stride[i] + key->kernel[i] -
                              key->src_size[i] - key->padding[i];
    }
    const dnnl_format_tag_t image = flat ? dnnl_nhwc : dnnl_ndhwc;
    dnnl_status_t status = make_desc(&out->src, ndims, src, image);
    if (status == dnnl_success) status = make_desc(&out->dst, ndims, dst, image);
    if (status == dnnl_success)
        status = make_desc(&out->weights, ndims, weights, dnnl_format_tag_any);
    if (status == dnnl_success)
        status = make_desc(&out->plain, ndims, weights, flat ? dnnl_acdb : dnnl_acdeb);
    if (status == dnnl_success) status = make_desc(&out->bias, 1, bias, dnnl_x);
    return status;
}

static dnnl_status_t make_reorder(pumit__dnnl_entry *entry, const pumit__cpu_dnnl *dnnl, view plain,
                                  view weights)
{
    if (dnnl_memory_desc_equal(plain, weights)) return dnnl_success;
    dnnl_primitive_desc_t desc = NULL;
    dnnl_status_t status =
        dnnl_reorder_primitive_desc_create(&desc, plain, dnnl->engine, weights, dnnl->engine, NULL);
    if (status == dnnl_success) status = dnnl_primitive_create(&entry->reorder, desc);
    if (desc) dnnl_primitive_desc_destroy(desc);
    return status;
}

/** Primitive, reorder and memory objects from the chosen implementation. */
static dnnl_status_t fill_entry(pumit__dnnl_entry *entry, const pumit__cpu_dnnl *dnnl,
                                const conv_descs *descs, const_dnnl_primitive_desc_t chosen)
{
    const view weights = dnnl_primitive_desc_query_md(chosen, dnnl_query_weights_md, 0);
    const view scratch = dnnl_primitive_desc_query_md(chosen, dnnl_query_scratchpad_md, 0);
    const view all[PUMIT__DNNL_MEMORIES] = {[SRC] = pumit__dnnl_view_of(&descs->src),
                                            [DST] = pumit__dnnl_view_of(&descs->dst),
                                            [WEIGHTS] = weights,
                                            [PLAIN] = pumit__dnnl_view_of(&descs->plain),
                                            [BIAS] = pumit__dnnl_view_of(&descs->bias),
                                            [SCRATCH] = scratch};
    entry->weights_bytes = dnnl_memory_desc_get_size(weights);
    entry->scratch_bytes = dnnl_memory_desc_get_size(scratch);
    dnnl_status_t status = dnnl_primitive_create(&entry->primitive, chosen);
    if (status == dnnl_success) status = make_reorder(entry, dnnl, all[PLAIN], weights);
    for (int i = 0; i < PUMIT__DNNL_MEMORIES && status == dnnl_success; i++)
        status = dnnl_memory_create(&entry->memory[i], all[i], dnnl->engine, DNNL_MEMORY_NONE);
    return status;
}

static dnnl_status_t make_entry(pumit__dnnl_entry *entry, const pumit__cpu_dnnl *dnnl,
                                const void *data)
{
    const conv_key *key = data;
    conv_descs descs;
    memset(&descs, 0, sizeof descs);
    dnnl_primitive_desc_t forward = NULL, backward = NULL;
    dnnl_status_t status = make_descs(&descs, key);
    if (status == dnnl_success) status = make_forward(&forward, dnnl, &descs, key->bias);
    if (status == dnnl_success && key->backward)
        status = make_backward(&backward, dnnl, &descs, forward);
    if (status == dnnl_success)
        status = fill_entry(entry, dnnl, &descs, key->backward ? backward : forward);
    if (forward) dnnl_primitive_desc_destroy(forward);
    if (backward) dnnl_primitive_desc_destroy(backward);
    free_descs(&descs);
    return status;
}

/* ------------------------------------------------------------------------------------- running */

/** Places the weights, reordered when they have to be, and the working memory. */
static dnnl_status_t place_weights(pumit__dnnl_entry *entry, const pumit__cpu_dnnl *dnnl,
                                   char *scratch, const float *weights)
{
    dnnl_memory_t *memory = entry->memory;
    void *plain = pumit__dnnl_input(weights), *target = entry->reorder ? (void *)scratch : plain;
    dnnl_status_t status = dnnl_memory_set_data_handle(memory[WEIGHTS], target);
    if (status == dnnl_success)
        status = dnnl_memory_set_data_handle(memory[SCRATCH],
                                             scratch + pumit__dnnl_padded(entry->weights_bytes));
    if (status != dnnl_success || !entry->reorder) return status;
    status = dnnl_memory_set_data_handle(memory[PLAIN], plain);
    const dnnl_exec_arg_t exec[] = {{DNNL_ARG_FROM, memory[PLAIN]}, {DNNL_ARG_TO, memory[WEIGHTS]}};
    if (status == dnnl_success)
        status = dnnl_primitive_execute(entry->reorder, dnnl->stream, 2, exec);
    return status;
}

static dnnl_status_t execute(pumit__dnnl_entry *entry, const pumit__cpu_dnnl *dnnl,
                             const pumit_conv_args *args)
{
    dnnl_memory_t *memory = entry->memory;
    conv_key key;
    memcpy(&key, entry->key, sizeof key);
    const int backward = key.backward;
    void *src = backward ? args->diff_src : pumit__dnnl_input(args->src);
    void *dst = backward ? pumit__dnnl_input(args->diff_dst) : args->dst;
    dnnl_status_t status = dnnl_memory_set_data_handle(memory[SRC], src);
    if (status == dnnl_success) status = dnnl_memory_set_data_handle(memory[DST], dst);
    if (status == dnnl_success && key.bias)
        status = dnnl_memory_set_data_handle(memory[BIAS], pumit__dnnl_input(args->bias));
    if (status != dnnl_success) return status;
    const dnnl_exec_arg_t exec[] = {{backward ? DNNL_ARG_DIFF_SRC : DNNL_ARG_SRC, memory[SRC]},
                                    {backward ? DNNL_ARG_DIFF_DST : DNNL_ARG_DST, memory[DST]},
                                    {DNNL_ARG_WEIGHTS, memory[WEIGHTS]},
                                    {DNNL_ARG_SCRATCHPAD, memory[SCRATCH]},
                                    {DNNL_ARG_BIAS, memory[BIAS]}};
    return dnnl_primitive_execute(entry->primitive, dnnl->stream, key.bias ? 5 : 4, exec);
}

/** Runs the primitive with `scratch` for the reordered weights and the working memory. */
static pumit_status run(pumit__cpu_device *device, const pumit_conv_args *args,
                        pumit__dnnl_entry *entry, char *scratch)
{
    const pumit__cpu_dnnl *dnnl = device->dnnl;
    dnnl_status_t status = place_weights(entry, dnnl, scratch, args->weights);
    if (status == dnnl_success) status = execute(entry, dnnl, args);
    if (status == dnnl_success) status = dnnl_stream_wait(dnnl->stream);
    return pumit__dnnl_status(status);
}

static pumit_status entry_for(pumit__dnnl_entry **out, pumit__cpu_device *device,
                              const pumit_conv_args *args, int backward)
{
    const conv_key key = make_key(args, backward);
    return pumit__dnnl_find(out, device, make_entry, &key, sizeof key);
}

/** Scratch memory for an entry behind `before` bytes. */
static char *scratch_for(pumit__cpu_device *device, const pumit__dnnl_entry *entry, size_t before)
{
    return pumit__cpu_scratch(device, (int64_t)(pumit__dnnl_padded(before) +
                                                pumit__dnnl_padded(entry->weights_bytes) +
                                                pumit__dnnl_padded(entry->scratch_bytes)));
}

pumit_status pumit__cpu_dnnl_forward(pumit__cpu_device *device, const pumit_conv_args *args)
{
    pumit__dnnl_entry *entry = NULL;
    const pumit_status found = entry_for(&entry, device, args, 0);
    if (found != PUMIT_OK) return found;
    char *scratch = scratch_for(device, entry, 0);
    return scratch ? run(device, args, entry, scratch) : PUMIT_ERROR_OUT_OF_MEMORY;
}

/** With stride 1 the gradient is a forward convolution of diff_dst; 0 when the padding forbids it. */
static int as_forward(const pumit_conv_args *args, pumit_conv_args *forward)
{
    *forward = (pumit_conv_args){.src = args->diff_dst,
                                 .dst = args->diff_src,
                                 .n = args->n,
                                 .in_channels = args->out_channels,
                                 .out_channels = args->in_channels};
    for (int d = 0; d < 3; d++) {
        if (args->stride[d] != 1 || args->padding[d] >= args->kernel[d]) return 0;
        forward->src_size[d] = args->dst_size[d];
        forward->dst_size[d] = args->src_size[d];
        forward->kernel[d] = args->kernel[d];
        forward->stride[d] = 1;
        forward->padding[d] = args->kernel[d] - 1 - args->padding[d];
    }
    return 1;
}

/** flipped (I, taps, O) = weights (O, taps, I) with the taps in reverse. */
static pumit_status flip_weights(pumit__cpu_device *device, const pumit_conv_args *args,
                                 float *flipped)
{
    const int64_t ins = args->in_channels, outs = args->out_channels;
    const int64_t taps = args->kernel[0] * args->kernel[1] * args->kernel[2];
    const pumit_copy_args copy = {.src = (const float *)args->weights + (taps - 1) * ins,
                                  .dst = flipped,
                                  .src_dtype = PUMIT_F32,
                                  .dst_dtype = PUMIT_F32,
                                  .ndim = 3,
                                  .shape = {ins, taps, outs},
                                  .src_stride = {1, -ins, taps * ins},
                                  .dst_stride = {taps * outs, outs, 1}};
    return pumit__cpu_chosen()->copy(device, &copy);
}

/** oneDNN's own backward reaches 90 to 290 GFLOP/s where its forward reaches 180 to 440, so that the
 * weights' reordering pays. */
pumit_status pumit__cpu_dnnl_backward_data(pumit__cpu_device *device, const pumit_conv_args *args)
{
    pumit_conv_args forward;
    const int flips = as_forward(args, &forward);
    pumit__dnnl_entry *entry = NULL;
    const pumit_status found = entry_for(&entry, device, flips ? &forward : args, !flips);
    if (found != PUMIT_OK) return found;
    const int64_t weights = args->out_channels * args->in_channels * args->kernel[0] *
                            args->kernel[1] * args->kernel[2];
    const size_t before = flips ? (size_t)weights * sizeof(float) : 0;
    char *scratch = scratch_for(device, entry, before);
    if (!scratch) return PUMIT_ERROR_OUT_OF_MEMORY;
    if (!flips) return run(device, args, entry, scratch);
    const pumit_status status = flip_weights(device, args, (float *)(void *)scratch);
    forward.weights = scratch;
    return status ? status : run(device, &forward, entry, scratch + pumit__dnnl_padded(before));
}
