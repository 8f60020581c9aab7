/* SPDX-License-Identifier: Apache-2.0 */
/*
 * With p the softmax of the logits and t the target, sums over positions, for each image and each class, background too:
 *   dice = 1 - (2 sum p t + s) / (sum p + sum t + s), s = 1e-5        (Milletari et al. 2016)
 *   loss = mean dice + mean over positions of -sum_classes t ln p
 * Deep supervision: resolution i counts 2^-i, the weights sum to one; coarse logits are grown trilinearly.
 */
#include "lib/models/segmentation_loss.h"

#include <math.h>
#include <string.h>

#define SMOOTH    1e-5
#define POSITIONS UINT32_C(14) /* axes D, H, W */

/* As I64, the type of an index. */
static pumit_tensor *as_index(pumit_tensor *labels)
{
    if (labels->dtype == PUMIT_I64) return labels;
    pumit_tensor *index = pumit__empty(labels->ctx, PUMIT_I64, labels->ndim, labels->shape);
    if (!index) return NULL;
    pumit_copy_args args = {.src = pumit__data(labels),
                            .dst = pumit__data(index),
                            .src_dtype = labels->dtype,
                            .dst_dtype = PUMIT_I64,
                            .ndim = labels->ndim};
    memcpy(args.shape, labels->shape, sizeof args.shape);
    memcpy(args.src_stride, labels->stride, sizeof args.src_stride);
    memcpy(args.dst_stride, index->stride, sizeof args.dst_stride);
    return pumit__kernel_copy(labels->ctx, &args) == PUMIT_OK ? index : NULL;
}

pumit_tensor *pumit__label_target(pumit_tensor *labels, int64_t classes)
{
    if (!labels) return NULL;
    const pumit_dtype type = labels->dtype;
    if (labels->ndim != 4 ||
        !(type == PUMIT_U8 || type == PUMIT_I16 || type == PUMIT_I32 || type == PUMIT_I64)) {
        pumit__fail(PUMIT_ERROR_SHAPE, "labels %s: they must be integers, (N, D, H, W)",
                    pumit__shape_string(labels->ndim, labels->shape).text);
        return NULL;
    }
    pumit_tensor *index = as_index(labels);
    pumit_tensor *target = index ? pumit__one_hot(index, classes) : NULL;
    if (!target) pumit__fail_in(pumit__last_status(), "labels");
    return target;
}

static pumit_tensor *dice_loss(pumit_tensor *logits, pumit_tensor *target)
{
    pumit_tensor *p = pumit__softmax(logits);
    pumit_tensor *both = pumit__sum(pumit__mul(p, target), POSITIONS, 1.0);
    pumit_tensor *total =
        pumit__add(pumit__sum(p, POSITIONS, 1.0), pumit__sum(target, POSITIONS, 1.0));
    pumit_tensor *overlap =
        pumit__div(pumit__affine(both, 2.0, SMOOTH), pumit__affine(total, 1.0, SMOOTH));
    return pumit__affine(pumit__mean(overlap), -1.0, 1.0);
}

pumit_tensor *pumit__dice_ce_loss(pumit_tensor *logits, pumit_tensor *target)
{
    return pumit__add(dice_loss(logits, target), pumit__mean(pumit__cross_entropy(logits, target)));
}

pumit_tensor *pumit__deep_supervision_loss(pumit_tensor *const *logits, int32_t count,
                                           pumit_tensor *target)
{
    if (!target) return NULL;
    const double all = 2.0 - ldexp(1.0, 1 - count);
    pumit_tensor *sum = NULL;
    for (int32_t i = 0; i < count; i++) {
        pumit_tensor *grown =
            i == 0 ? logits[0]
                   : pumit__resample(logits[i], target->shape + 1, PUMIT_RESAMPLE_TRILINEAR);
        pumit_tensor *term =
            pumit__affine(pumit__dice_ce_loss(grown, target), ldexp(1.0 / all, -i), 0.0);
        sum = i == 0 ? term : pumit__add(sum, term);
    }
    return sum;
}
