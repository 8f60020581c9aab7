/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file base.h
 * Statuses, messages, version: what every other header stands on.
 *
 * Threads: every function here may be called from any thread at any time. The message of the last
 * error belongs to the calling thread.
 */
#ifndef PUMIT_BASE_H
#define PUMIT_BASE_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__) && !defined(PUMIT_API)
#define PUMIT_API __attribute__((visibility("default")))
#elif !defined(PUMIT_API)
#define PUMIT_API
#endif

/** The release these headers belong to; pumit_version() is the release of the library at run time. */
#define PUMIT_VERSION_MAJOR 0
#define PUMIT_VERSION_MINOR 1
#define PUMIT_VERSION_PATCH 0

/** The binary interface: the soname's number. It changes only when a program built before would break. */
#define PUMIT_ABI_VERSION 0

/** Result of every call that can fail: PUMIT_OK or one of the negative values below, which never change. */
typedef int32_t pumit_status;

#define PUMIT_OK                     0
#define PUMIT_ERROR_INVALID_ARGUMENT (-1) /**< an argument is NULL, out of range or unknown */
#define PUMIT_ERROR_OUT_OF_MEMORY    (-2) /**< an allocation failed */
#define PUMIT_ERROR_IO               (-3) /**< the operating system refused to read or write a file */
#define PUMIT_ERROR_FORMAT           (-4) /**< a file's content is broken or of another format */
#define PUMIT_ERROR_UNSUPPORTED      (-5) /**< valid, but not something this version can do */
#define PUMIT_ERROR_SHAPE            (-6) /**< tensors whose shapes or types do not fit together */
#define PUMIT_ERROR_LIMIT            (-7) /**< a size is above a limit that can be raised by an option */
#define PUMIT_ERROR_NOT_FOUND        (-8)  /**< no such file, key, parameter or device */
#define PUMIT_ERROR_STATE            (-9)  /**< the call does not fit the object's state */
#define PUMIT_ERROR_BACKEND          (-10) /**< a backend reported a failure of its own */
#define PUMIT_ERROR_CANCELLED        (-11) /**< stopped on request */
#define PUMIT_ERROR_INTERNAL         (-12) /**< a defect of the library; please report it */

/** Name of a status, such as "PUMIT_ERROR_IO". Never NULL; static. @since 0.1 */
PUMIT_API const char *pumit_status_name(pumit_status status);

/**
 * What went wrong in the last failed call of this thread: one sentence that names the file, the value
 * and, where there is one, the remedy. Empty before the first failure. Valid until the next failure in
 * this thread. @since 0.1
 */
PUMIT_API const char *pumit_last_error(void);

/** Release of the library, "0.1.0". Static. @since 0.1 */
PUMIT_API const char *pumit_version(void);

/** PUMIT_ABI_VERSION of the library at run time, for bindings that are loaded without a linker. @since 0.1 */
PUMIT_API int32_t pumit_abi_version(void);

/** Frees a string or block that the library handed out with "free with pumit_free". NULL is fine. @since 0.1 */
PUMIT_API void pumit_free(void *memory);

/* The opaque handles; each has its own header. */
typedef struct pumit_config pumit_config;
typedef struct pumit_context pumit_context;
typedef struct pumit_tensor pumit_tensor;
typedef struct pumit_module pumit_module;
typedef struct pumit_sac_conv pumit_sac_conv;
typedef struct pumit_tokenizer pumit_tokenizer;
typedef struct pumit_vit pumit_vit;
typedef struct pumit_classifier pumit_classifier;
typedef struct pumit_segmenter pumit_segmenter;
typedef struct pumit_optimizer pumit_optimizer;
typedef struct pumit_volume pumit_volume;
typedef struct pumit_label_map pumit_label_map;
typedef struct pumit_dataset pumit_dataset;
typedef struct pumit_segmentation_report pumit_segmentation_report;
typedef struct pumit_trainer pumit_trainer;
typedef struct pumit_discriminator pumit_discriminator;
typedef struct pumit_lpips pumit_lpips;

#ifdef __cplusplus
}
#endif
#endif
