/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reverse-mode differentiation. Each recorded result owns the node that made it, and a node holds its operands'
 * slots: whoever lets go of the loss lets go of the whole recording. Backward visits the nodes in
 * falling order of creation and frees what each has used as it goes.
 */
#include "lib/tensor/ops.h"

#include <stdlib.h>

static pumit__slot *slot_create(const pumit_tensor *tensor)
{
    pumit_context *ctx = tensor->ctx;
    pumit__slot *slot = pumit__pool_take(ctx, &ctx->free_slots, sizeof *slot);
    if (!slot) return NULL;
    slot->refs = 1;
    slot->ctx = pumit__context_retain(ctx);
    slot->ndim = tensor->ndim;
    for (int32_t i = 0; i < tensor->ndim; i++) slot->shape[i] = tensor->shape[i];
    return slot;
}

/* Frees a slot nobody holds; its node joins the list `more`, so that long recordings need no recursion. */
static void drop_slot(pumit__slot *slot, pumit__node **more)
{
    if (!slot || --slot->refs > 0) return;
    pumit_context *ctx = slot->ctx;
    pumit_tensor_release(slot->grad);
    if (slot->node) {
        slot->node->next = *more;
        *more = slot->node;
    }
    pumit__pool_give(&ctx->free_slots, slot);
    pumit_context_release(ctx); /* the caller holds another reference */
}

static void free_node(pumit_context *ctx, pumit__node *node, pumit__node **more)
{
    for (int32_t i = 0; i < PUMIT__NODE_INPUTS; i++) drop_slot(node->in[i], more);
    for (int32_t i = 0; i < PUMIT__NODE_SAVED; i++) pumit_tensor_release(node->saved[i]);
    if (node->stretch.release) node->stretch.release(node->stretch.model);
    pumit__pool_give(&ctx->free_nodes, node);
}

static void free_nodes(pumit_context *ctx, pumit__node *list)
{
    while (list) {
        pumit__node *node = list;
        list = node->next;
        free_node(ctx, node, &list);
    }
}

void pumit__slot_release(pumit__slot *slot)
{
    if (!slot) return;
    pumit_context *ctx = pumit__context_retain(slot->ctx);
    pumit__node *list = NULL;
    drop_slot(slot, &list);
    free_nodes(ctx, list);
    pumit_context_release(ctx);
}

/* ---------------------------------------------------------------------------------------- recording */

bool pumit__wants_grad(const pumit_tensor *a, const pumit_tensor *b, const pumit_tensor *c)
{
    if (!a || !a->ctx->recording) return false;
    return a->slot || (b && b->slot) || (c && c->slot);
}

bool pumit__any_wants_grad(pumit_tensor *const *operands, int32_t count)
{
    bool any = false;
    for (int32_t i = 0; i < count; i++) any = any || (operands[i] && operands[i]->slot);
    return any && operands[0]->ctx->recording;
}

static pumit__slot *share_slot(pumit_tensor *tensor)
{
    if (!tensor || !tensor->slot) return NULL;
    tensor->slot->refs++;
    return tensor->slot;
}

pumit__node *pumit__record_all(pumit_tensor *result, pumit__backward_fn backward,
                               pumit_tensor *const *operands, int32_t count)
{
    pumit_context *ctx = result->ctx;
    pumit__slot *slot = slot_create(result);
    pumit__node *node = slot ? pumit__pool_take(ctx, &ctx->free_nodes, sizeof *node) : NULL;
    if (!node) {
        pumit__slot_release(slot);
        return NULL;
    }
    node->backward = backward;
    node->sequence = ctx->sequence++;
    node->result = slot;
    for (int32_t i = 0; i < count; i++) node->in[i] = share_slot(operands[i]);
    slot->node = node;
    result->slot = slot;
    return node;
}

pumit__node *pumit__record(pumit_tensor *result, pumit__backward_fn backward, pumit_tensor *a,
                           pumit_tensor *b, pumit_tensor *c)
{
    return pumit__record_all(result, backward, (pumit_tensor *const[]){a, b, c}, 3);
}

static pumit_status backward_lost(pumit__node *node, pumit_tensor *diff_dst)
{
    (void)node;
    (void)diff_dst;
    return pumit__fail(PUMIT_ERROR_OUT_OF_MEMORY, "out of memory while recording");
}

void pumit__save(pumit__node *node, int32_t i, pumit_tensor *tensor)
{
    /* Without its slot: a node must not own, through what it saves, the slot that owns it. */
    pumit_tensor *value = tensor && tensor->slot ? pumit__detach(tensor) : tensor;
    if (tensor && !value) node->backward = backward_lost;
    node->saved[i] = pumit_tensor_retain(value);
}

/* --------------------------------------------------------------------------------------- gradients */

static bool is_exclusive(const pumit_tensor *tensor)
{
    return tensor->refs == 1 && tensor->storage->refs == 1 && pumit__is_packed(tensor);
}

/* dst = src, or dst += src */
static pumit_status copy_into(pumit_tensor *dst, const pumit_tensor *src, bool accumulate)
{
    pumit_copy_args args = {.src = pumit__data(src),
                            .dst = pumit__data(dst),
                            .src_dtype = src->dtype,
                            .dst_dtype = dst->dtype,
                            .ndim = dst->ndim,
                            .accumulate = accumulate};
    for (int32_t i = 0; i < dst->ndim; i++) {
        args.shape[i] = dst->shape[i];
        args.src_stride[i] = src->stride[i];
        args.dst_stride[i] = dst->stride[i];
    }
    return pumit__kernel_copy(dst->ctx, &args);
}

/* Replaces the slot's gradient by a packed tensor that nobody else sees. */
static pumit_status make_exclusive(pumit__slot *slot)
{
    if (is_exclusive(slot->grad)) return PUMIT_OK;
    pumit_tensor *own = pumit__empty(slot->ctx, slot->grad->dtype, slot->ndim, slot->shape);
    if (!own) return pumit__last_status();
    PUMIT__TRY(copy_into(own, slot->grad, false));
    /* The scope's reference becomes the slot's: it was the last one adopted. */
    slot->ctx->scope_count--;
    pumit_tensor_release(slot->grad);
    slot->grad = own;
    return PUMIT_OK;
}

pumit_status pumit__accumulate(pumit__slot *slot, pumit_tensor *grad)
{
    if (!slot) return PUMIT_OK;
    if (!grad) return pumit__last_status();
    if (!slot->grad) {
        slot->grad = pumit_tensor_retain(grad);
        return PUMIT_OK;
    }
    PUMIT__TRY(make_exclusive(slot));
    return copy_into(slot->grad, grad, true);
}

/* The slot takes over the scope's reference to the tensor adopted last. */
static pumit_tensor *hold(pumit__slot *slot, pumit_tensor *grad)
{
    if (grad) slot->ctx->scope_count--;
    return slot->grad = grad;
}

pumit_tensor *pumit__grad_buffer(pumit__slot *slot)
{
    if (slot->grad) return make_exclusive(slot) == PUMIT_OK ? slot->grad : NULL;
    return hold(slot, pumit__zeros(slot->ctx, 0, slot->ndim, slot->shape));
}

pumit_tensor *pumit__grad_target(pumit__slot *slot, double *beta)
{
    *beta = slot->grad ? 1.0 : 0.0;
    if (slot->grad) return pumit__grad_buffer(slot);
    return hold(slot, pumit__empty(slot->ctx, 0, slot->ndim, slot->shape));
}

/* ---------------------------------------------------------------------------------------- backward */

static int later_first(const void *a, const void *b)
{
    const pumit__node *const *x = a, *const *y = b;
    return (*x)->sequence < (*y)->sequence ? 1 : -1;
}

/* Puts a node on the list and holds its slot, which is all that keeps a node alive. */
static bool list_node(pumit_context *ctx, pumit__node *node)
{
    if (node->visited) return true;
    if (!pumit__grow(&ctx->work, &ctx->work_capacity, ctx->work_count + 1, sizeof *ctx->work))
        return false;
    node->visited = true;
    node->result->refs++;
    ctx->work[ctx->work_count++] = node;
    return true;
}

/* Lists the nodes that `last` depends on in ctx->work from `base` on, latest first. */
static pumit_status list_nodes(pumit_context *ctx, int64_t base, pumit__node *last)
{
    bool done = list_node(ctx, last);
    for (int64_t i = base; done && i < ctx->work_count; i++) {
        const pumit__node *node = ctx->work[i];
        for (int32_t k = 0; done && k < PUMIT__NODE_INPUTS; k++) {
            const pumit__slot *in = node->in[k];
            if (in && in->spent)
                return pumit__fail(PUMIT_ERROR_STATE,
                                   "the loss shares a part of its tape with one that was used");
            if (in && in->node) done = list_node(ctx, in->node);
        }
    }
    if (!done) return pumit__fail_memory(ctx->work_count * (int64_t)sizeof *ctx->work, "the tape");
    qsort(ctx->work + base, (size_t)(ctx->work_count - base), sizeof *ctx->work, later_first);
    return PUMIT_OK;
}

static pumit_status run_node(pumit_context *ctx, pumit__node *node)
{
    pumit_tensor *grad = node->result->grad;
    if (!grad) return PUMIT_OK; /* nothing that matters depends on it */
    const int64_t mark = pumit__scope_begin(ctx);
    node->result->grad = NULL;
    if (!pumit__scope_adopt(ctx, grad)) return pumit__last_status();
    pumit_tensor *packed = pumit__contiguous(grad);
    const pumit_status status = packed ? node->backward(node, packed) : pumit__last_status();
    pumit__scope_end(ctx, mark, NULL);
    return status;
}

/* Runs the nodes listed from `base` on and frees each, whatever happens. */
static pumit_status walk(pumit_context *ctx, int64_t base, pumit_status status)
{
    const int64_t end = ctx->work_count;
    for (int64_t i = base; i < end; i++) {
        pumit__node *node = ctx->work[i], *more = NULL;
        pumit__slot *result = node->result;
        if (status == PUMIT_OK) status = run_node(ctx, node);
        result->node = NULL;
        result->spent = true;
        free_node(ctx, node, &more);
        drop_slot(result, &more);
        free_nodes(ctx, more);
    }
    ctx->work_count = base;
    return status;
}

pumit_status pumit__backward_from(pumit_tensor *result, pumit_tensor *diff)
{
    pumit_context *ctx = result->ctx;
    PUMIT__TRY(pumit__accumulate(result->slot, diff));
    if (!result->slot->node) return PUMIT_OK;
    const bool recording = ctx->recording;
    const int64_t base = ctx->work_count;
    ctx->recording = false;
    const pumit_status status = walk(ctx, base, list_nodes(ctx, base, result->slot->node));
    ctx->recording = recording;
    return status;
}

pumit_status pumit_tensor_backward(pumit_tensor *loss)
{
    PUMIT__REQUIRE(loss, "pumit_tensor_backward: loss is NULL");
    if (pumit_tensor_count(loss) != 1)
        return pumit__fail(PUMIT_ERROR_SHAPE,
                           "backward starts at a scalar, not at a tensor of shape %s",
                           pumit__shape_string(loss->ndim, loss->shape).text);
    if (!loss->slot || !loss->slot->node)
        return pumit__fail(PUMIT_ERROR_STATE,
                           "the loss was not recorded, or its tape was already used");
    pumit_context *ctx = loss->ctx;
    const int64_t mark = pumit__scope_begin(ctx);
    pumit_tensor *one = pumit__empty_like(loss);
    pumit_status status =
        one ? pumit__kernel_fill(ctx, &(pumit_fill_args){pumit__data(one), 1, 1.0})
            : pumit__last_status();
    if (status == PUMIT_OK) status = pumit__backward_from(loss, one);
    pumit__scope_end(ctx, mark, NULL);
    return status;
}

/* ------------------------------------------------------------------------------------ public views */

pumit_status pumit_tensor_set_requires_grad(pumit_tensor *tensor, int32_t on)
{
    PUMIT__REQUIRE(tensor, "pumit_tensor_set_requires_grad: tensor is NULL");
    if (tensor->slot && tensor->slot->node)
        return pumit__fail(PUMIT_ERROR_STATE, "the tensor is the result of an operation");
    if (on && tensor->dtype != tensor->ctx->real)
        return pumit__fail(PUMIT_ERROR_SHAPE,
                           "gradients need the compute type of the context; weights in 16 bits, "
                           "as 'weight_type' loads them, have none");
    if (on && !tensor->slot) {
        tensor->slot = slot_create(tensor);
        return tensor->slot ? PUMIT_OK : pumit__last_status();
    }
    if (!on) {
        pumit__slot_release(tensor->slot);
        tensor->slot = NULL;
    }
    return PUMIT_OK;
}

pumit_status pumit_tensor_grad(pumit_tensor **out, const pumit_tensor *tensor)
{
    PUMIT__REQUIRE(out && tensor, "pumit_tensor_grad: an argument is NULL");
    *out = tensor->slot ? pumit_tensor_retain(tensor->slot->grad) : NULL;
    return *out ? PUMIT_OK : pumit__fail(PUMIT_ERROR_NOT_FOUND, "the tensor has no gradient");
}
