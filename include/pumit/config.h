/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file config.h
 * Options by key. Every constructor that can be tuned takes a pumit_config, so signatures never grow.
 *
 * A key is a path of names joined by dots: "vit.dim" is member "dim" of object "vit". Setting a key
 * makes the objects on its way. A config belongs to one thread at a time.
 */
#ifndef PUMIT_CONFIG_H
#define PUMIT_CONFIG_H

#include <pumit/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/** A new empty config. Release with pumit_config_release(). @since 0.1 */
PUMIT_API pumit_status pumit_config_create(pumit_config **out);

/** A config from JSON text, whose top level must be an object. @since 0.1 */
PUMIT_API pumit_status pumit_config_parse(pumit_config **out, const char *json);

/** A config from a JSON file. Errors name the file and, for broken JSON, the line. @since 0.1 */
PUMIT_API pumit_status pumit_config_read(pumit_config **out, const char *path);

/** Releases a config; NULL is fine. @since 0.1 */
PUMIT_API void pumit_config_release(pumit_config *config);

/** Sets one value, replacing what was there. Strings are copied. @since 0.1 */
PUMIT_API pumit_status pumit_config_set_int(pumit_config *config, const char *key, int64_t value);
/** @copydoc pumit_config_set_int */
PUMIT_API pumit_status pumit_config_set_double(pumit_config *config, const char *key, double value);
/** @copydoc pumit_config_set_int */
PUMIT_API pumit_status pumit_config_set_bool(pumit_config *config, const char *key, int32_t value);
/** @copydoc pumit_config_set_int */
PUMIT_API pumit_status pumit_config_set_string(pumit_config *config, const char *key,
                                               const char *value);

/** Sets a value given as JSON text ("[16,16,16]", "true"); text that is no JSON becomes a string, so
 * that "--set key=value" of a program needs no quotes. @since 0.1 */
PUMIT_API pumit_status pumit_config_set_json(pumit_config *config, const char *key,
                                             const char *json);

/**
 * Reads one value. A key that is absent (or a NULL config) gives the fallback and PUMIT_OK; a value of
 * another type is PUMIT_ERROR_INVALID_ARGUMENT with the key in the message. @since 0.1
 */
PUMIT_API pumit_status pumit_config_get_int(int64_t *out, const pumit_config *config,
                                            const char *key, int64_t fallback);
/** @copydoc pumit_config_get_int */
PUMIT_API pumit_status pumit_config_get_double(double *out, const pumit_config *config,
                                               const char *key, double fallback);
/** @copydoc pumit_config_get_int */
PUMIT_API pumit_status pumit_config_get_bool(int32_t *out, const pumit_config *config,
                                             const char *key, int32_t fallback);
/** As pumit_config_get_int(); the string is borrowed and valid until the key is set again. @since 0.1 */
PUMIT_API pumit_status pumit_config_get_string(const char **out, const pumit_config *config,
                                               const char *key, const char *fallback);

/** Reads an array of numbers: at most `most` into `values`, their number into `count`. Absent: count 0. @since 0.1 */
PUMIT_API pumit_status pumit_config_get_ints(int64_t *values, int32_t most, int32_t *count,
                                             const pumit_config *config, const char *key);

/** A copy of the object at `key` as a config of its own (empty if absent). @since 0.1 */
PUMIT_API pumit_status pumit_config_get_section(pumit_config **out, const pumit_config *config,
                                                const char *key);

/** Every value of `over` replaces or joins those of `config`, object by object. @since 0.1 */
PUMIT_API pumit_status pumit_config_merge(pumit_config *config, const pumit_config *over);

/** The config as JSON text, indented. Free with pumit_free(). @since 0.1 */
PUMIT_API pumit_status pumit_config_to_json(char **out, const pumit_config *config);

#ifdef __cplusplus
}
#endif
#endif
