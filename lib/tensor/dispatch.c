/* SPDX-License-Identifier: Apache-2.0 */
/* One call through the op table for each kernel of oplist.inc: the first backend that does not decline does it. */
#include "lib/tensor/context.h"

static pumit_status finish(pumit_status status, const char *kernel)
{
    if (status == PUMIT_OK) return PUMIT_OK;
    if (status == PUMIT_DECLINED)
        return pumit__fail(PUMIT_ERROR_UNSUPPORTED, "no backend does this '%s'", kernel);
    return pumit__fail(status, "kernel '%s' failed (%s)", kernel, pumit_status_name(status));
}

/* A table built before the kernel existed is shorter. */
#define HAS(backend, kernel)                                                                       \
    ((backend)->struct_size >= offsetof(pumit_backend, kernel) + sizeof((backend)->kernel) &&      \
     (backend)->kernel)

#define PUMIT_KERNEL(kernel, family, summary)                                                      \
    pumit_status pumit__kernel_##kernel(pumit_context *ctx, const pumit_##family##_args *args)     \
    {                                                                                              \
        PUMIT__TRY(pumit__context_check_process(ctx));                                             \
        pumit_status status = PUMIT_DECLINED;                                                      \
        for (int32_t i = 0; i < ctx->backend_count && status == PUMIT_DECLINED; i++)               \
            if (HAS(ctx->backends[i], kernel))                                                     \
                status = ctx->backends[i]->kernel(ctx->devices[i], args);                          \
        return finish(status, #kernel);                                                            \
    }
#include <pumit/oplist.inc>
#undef PUMIT_KERNEL
