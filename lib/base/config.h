/* SPDX-License-Identifier: Apache-2.0 */
/* What other library files need of a config: its JSON tree, and cJSON with honest errors. */
#ifndef PUMIT_LIB_CONFIG_H
#define PUMIT_LIB_CONFIG_H

#include "lib/base/base.h"

#include <pumit/config.h>

#include <cjson/cJSON.h>

/* Objects and arrays inside one another, the top level counted: bounds every recursion over a tree. */
#define PUMIT__JSON_DEPTH 200

/* Values of one text: cJSON keeps some 100 bytes of each. */
#define PUMIT__JSON_VALUES (1 << 21)

/* An empty config that is never NULL inside: `root` is an object with finite numbers only. */
struct pumit_config {
    cJSON *root;
};

/* The tree, borrowed; NULL for a NULL config (which the cJSON readers take as empty). */
const cJSON *pumit__config_json(const pumit_config *config);

/* A config with a copy of `object`. */
pumit_status pumit__config_from_json(pumit_config **out, const cJSON *object);

/* Parses the `bytes` bytes of `text`; `name` leads the message, which tells the line. Refuses what follows
 * the first value, numbers beyond double, nesting deeper than PUMIT__JSON_DEPTH, and more values than PUMIT__JSON_VALUES.
 * Release with cJSON_Delete(). */
pumit_status pumit__json_parse(cJSON **out, const char *text, int64_t bytes, const char *name);

/* A copy; every failure is PUMIT_ERROR_OUT_OF_MEMORY. */
pumit_status pumit__json_copy(cJSON **out, const cJSON *item);

/* Puts `value` under `name`, replacing what was there in its place; takes `value`, also on failure. */
pumit_status pumit__json_set(cJSON *object, const char *name, cJSON *value);

/* A number; null where it is not finite, which JSON cannot say. NULL when out of memory. */
cJSON *pumit__json_number(double value);

/* Puts `value` at the end of the array; takes it, also on failure. *out: the value, borrowed. */
pumit_status pumit__json_append(cJSON **out, cJSON *array, cJSON *value);

/* JSON text in which every double reads back as the same one. Free with free(). */
pumit_status pumit__json_print(char **out, const cJSON *item, bool indent);

/* True and the value if `item` is a whole number of at most 2^53 in size, so that it is exact. */
bool pumit__json_int(int64_t *out, const cJSON *item);

#endif
