/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers as files store them: kind, width, byte order. */
#ifndef PUMIT_LIB_DATA_ELEMENT_H
#define PUMIT_LIB_DATA_ELEMENT_H

#include "lib/base/base.h"

#include <pumit/tensor.h>

typedef enum {
    PUMIT__ELEMENT_NONE,
    PUMIT__ELEMENT_U8,
    PUMIT__ELEMENT_I8,
    PUMIT__ELEMENT_U16,
    PUMIT__ELEMENT_I16,
    PUMIT__ELEMENT_U32,
    PUMIT__ELEMENT_I32,
    PUMIT__ELEMENT_U64,
    PUMIT__ELEMENT_I64,
    PUMIT__ELEMENT_F16,
    PUMIT__ELEMENT_BF16,
    PUMIT__ELEMENT_F32,
    PUMIT__ELEMENT_F64
} pumit__element;

/* Bytes of one element; 0 for PUMIT__ELEMENT_NONE. */
int64_t pumit__element_size(pumit__element kind);

/* The element kind of a tensor type; PUMIT__ELEMENT_NONE for an unknown one. */
pumit__element pumit__element_of_dtype(pumit_dtype dtype);

/* dst[i] = slope * src[i] + intercept; `src` is packed, of any alignment; `swap`: not this machine's byte order. */
void pumit__elements_to_float(float *dst, const void *src, int64_t count, pumit__element kind,
                              bool swap, double slope, double intercept);

#endif
