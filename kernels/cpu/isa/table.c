/* SPDX-License-Identifier: Apache-2.0 */
/* The kernels of one instruction set. */
#include "kernels/cpu/isa/isa.h"

const pumit__cpu_kernels PUMIT__CPU_KERNEL(isa) = {
    .copy = PUMIT__CPU_KERNEL(copy),
    .fill = PUMIT__CPU_KERNEL(fill),
    .unary_forward = PUMIT__CPU_KERNEL(unary_forward),
    .unary_backward = PUMIT__CPU_KERNEL(unary_backward),
    .binary = PUMIT__CPU_KERNEL(binary),
    .reduce_sum = PUMIT__CPU_KERNEL(reduce_sum),
    .layer_norm_forward = PUMIT__CPU_KERNEL(layer_norm_forward),
    .layer_norm_backward = PUMIT__CPU_KERNEL(layer_norm_backward),
    .group_norm_forward = PUMIT__CPU_KERNEL(group_norm_forward),
    .group_norm_backward = PUMIT__CPU_KERNEL(group_norm_backward),
    .softmax_forward = PUMIT__CPU_KERNEL(softmax_forward),
    .softmax_backward = PUMIT__CPU_KERNEL(softmax_backward),
    .entropy_forward = PUMIT__CPU_KERNEL(entropy_forward),
    .entropy_backward = PUMIT__CPU_KERNEL(entropy_backward),
    .cross_entropy_forward = PUMIT__CPU_KERNEL(cross_entropy_forward),
    .cross_entropy_backward = PUMIT__CPU_KERNEL(cross_entropy_backward),
    .rope = PUMIT__CPU_KERNEL(rope),
    .attention_forward = PUMIT__CPU_KERNEL(attention_forward),
    .attention_backward = PUMIT__CPU_KERNEL(attention_backward),
    .swiglu_forward = PUMIT__CPU_KERNEL(swiglu_forward),
    .swiglu_backward = PUMIT__CPU_KERNEL(swiglu_backward),
    .resample_forward = PUMIT__CPU_KERNEL(resample_forward),
    .resample_backward = PUMIT__CPU_KERNEL(resample_backward),
    .gather_rows = PUMIT__CPU_KERNEL(gather_rows),
    .scatter_rows = PUMIT__CPU_KERNEL(scatter_rows),
    .sum_squares = PUMIT__CPU_KERNEL(sum_squares),
    .adamw = PUMIT__CPU_KERNEL(adamw),
};
