/* SPDX-License-Identifier: Apache-2.0 */
/* Where files and parameters meet: layouts differ, values are converted on the way. */
#ifndef PUMIT_LIB_NN_WEIGHTS_H
#define PUMIT_LIB_NN_WEIGHTS_H

#include "lib/nn/module.h"
#include "lib/tensor/weights_file.h"

/* A parameter's shape in files, and where a step along each of the file's axes leads in the packed memory layout. */
void pumit__weights_layout(const pumit_tensor *tensor, int64_t shape[PUMIT_MAX_DIMS],
                           int64_t stride[PUMIT_MAX_DIMS]);

/* Overwrites the parameter; the entry must have its shape in files. */
pumit_status pumit__weights_take(pumit_tensor *tensor, const pumit__weights_entry *entry,
                                 const void *data, const char *path);

/* Copies `shape` elements of host memory, any strides and types; `src` may be unaligned, `bytes` is its extent. */
pumit_status pumit__weights_copy(pumit_context *ctx, const pumit__weights_entry *src,
                                 const void *data, void *dst, pumit_dtype dst_dtype,
                                 const int64_t dst_stride[PUMIT_MAX_DIMS]);

#endif
