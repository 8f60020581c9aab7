/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file context.h
 * A context is the device, the threads, the memory and the tape that tensors and models live in.
 *
 * Threads: a context and everything made from it belong to one thread at a time; different contexts
 * may run in parallel. Objects keep their context alive: release in any order. Weights can be shared: pumit_vit_share().
 * In a child of fork(), contexts that the parent made compute nothing (PUMIT_ERROR_STATE); a new one has one thread.
 */
#ifndef PUMIT_CONTEXT_H
#define PUMIT_CONTEXT_H

#include <pumit/config.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Makes a context. `options` may be NULL; its keys:
 * - "device": "cpu" (default; or what the environment variable PUMIT_DEVICE says), "reference" (plain C,
 *   double accumulation: slow, the oracle), "reference64" (the same in double throughout: for checking
 *   gradients).
 * - "threads": compute threads of this context; default all cores. In a child of fork() of a process that had contexts: 1, more is
 *   PUMIT_ERROR_STATE.
 * - "weight_type": "f32" (default), "bf16" or "f16". In 16 bits: transformers that are loaded from files, those inside of
 *   classifiers and segmenters too, hold the matrices of their linear layers so, in half the memory; they are
 *   for inference alone (no gradients, no training). Embeddings differ by less than 2% (bf16) or 0.5% (f16). bf16 is
 *   faster than f32 where the processor has bf16 products, both are slower elsewhere.
 * - "limits.voxels": the largest image that will be read, in voxels times channels; default 2^31.
 * - "limits.ratio": how many bytes of decoded image a byte of its file may give, where the image has more than 1 GiB; default 200.
 * - "limits.parameters": the largest model that will be made, in single numbers; default 2^31.
 * @since 0.1
 */
PUMIT_API pumit_status pumit_context_create(pumit_context **out, const pumit_config *options);

/** Gives up the caller's reference; NULL is fine. @since 0.1 */
PUMIT_API void pumit_context_release(pumit_context *context);

/** Name of the device, "cpu". Borrowed from the context. @since 0.1 */
PUMIT_API const char *pumit_context_device(const pumit_context *context);

/** Compute threads of this context. @since 0.1 */
PUMIT_API int32_t pumit_context_threads(const pumit_context *context);

/** Levels of a log message. */
#define PUMIT_LOG_INFO    0
#define PUMIT_LOG_WARNING 1

/** Receives messages that are no errors (a file skipped, an option ignored). `message` has no newline. */
typedef void (*pumit_log_fn)(void *user, int32_t level, const char *message);

/** Sends this context's messages to `log`; NULL (the default) drops them. The library never prints. @since 0.1 */
PUMIT_API void pumit_context_set_log(pumit_context *context, pumit_log_fn log, void *user);

/**
 * Turns recording for gradients on (1) or off (0, the default) and gives the earlier state. While on,
 * every operation on a tensor that requires a gradient is put on the tape. Functions named *_loss
 * record by themselves. @since 0.1
 */
PUMIT_API int32_t pumit_context_set_recording(pumit_context *context, int32_t on);

/** Counters of the memory that tensors live in, in bytes, and how often the system was asked for more. @since 0.1 */
PUMIT_API pumit_status pumit_context_memory(const pumit_context *context, int64_t *in_use,
                                            int64_t *peak, int64_t *system_allocations);

/** Gives cached, unused memory back to the system, but for what lies in one segment with memory in use (docs/architecture.md). @since 0.1 */
PUMIT_API void pumit_context_trim(pumit_context *context);

#ifdef __cplusplus
}
#endif
#endif
