/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/base/config.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define EXACT        9007199254740992 /* 2^53: the last integer up to which every one is a double */
#define FILE_LIMIT   (16 << 20)
#define MOST_MEMBERS 1024 /* of one object */

/* ---------------------------------------------------------------------------------------- lifetime */

/* Takes `root`, also on failure. */
static pumit_status wrap(pumit_config **out, cJSON *root)
{
    *out = root ? pumit__calloc(1, sizeof **out) : NULL;
    if (!*out) {
        cJSON_Delete(root);
        return pumit__fail_memory((int64_t)sizeof **out, "a config");
    }
    (*out)->root = root;
    return PUMIT_OK;
}

pumit_status pumit_config_create(pumit_config **out)
{
    PUMIT__REQUIRE(out, "pumit_config_create: out is NULL");
    return wrap(out, cJSON_CreateObject());
}

pumit_status pumit__config_from_json(pumit_config **out, const cJSON *object)
{
    cJSON *root;
    *out = NULL;
    PUMIT__TRY(pumit__json_copy(&root, object));
    return wrap(out, root);
}

/* Members of an object are looked for one by one, and a merge looks for each. */
static pumit_status check_members(const cJSON *item, const char *name)
{
    const int members = cJSON_IsObject(item) ? cJSON_GetArraySize(item) : 0;
    if (members > MOST_MEMBERS)
        return pumit__fail(PUMIT_ERROR_LIMIT, "%s: an object of %d members, more than %d", name,
                           members, MOST_MEMBERS);
    for (const cJSON *child = item->child; child; child = child->next)
        PUMIT__TRY(check_members(child, name));
    return PUMIT_OK;
}

static pumit_status parse(pumit_config **out, const char *text, int64_t bytes, const char *name)
{
    cJSON *root;
    PUMIT__TRY(pumit__json_parse(&root, text, bytes, name));
    const pumit_status status = check_members(root, name);
    if (cJSON_IsObject(root) && status == PUMIT_OK) return wrap(out, root);
    cJSON_Delete(root);
    if (status != PUMIT_OK) return status;
    return pumit__fail(PUMIT_ERROR_FORMAT, "%s: the top level of a config must be an object", name);
}

pumit_status pumit_config_parse(pumit_config **out, const char *json)
{
    PUMIT__REQUIRE(out, "pumit_config_parse: out is NULL");
    *out = NULL;
    PUMIT__REQUIRE(json, "pumit_config_parse: json is NULL");
    return parse(out, json, (int64_t)strlen(json), "config");
}

pumit_status pumit_config_read(pumit_config **out, const char *path)
{
    PUMIT__REQUIRE(out, "pumit_config_read: out is NULL");
    *out = NULL;
    PUMIT__REQUIRE(path, "pumit_config_read: path is NULL");
    char *text;
    int64_t bytes;
    PUMIT__TRY(pumit__read_file(&text, &bytes, path, FILE_LIMIT));
    const pumit_status status = parse(out, text, bytes, path);
    free(text);
    return status;
}

void pumit_config_release(pumit_config *config)
{
    if (!config) return;
    cJSON_Delete(config->root);
    free(config);
}

const cJSON *pumit__config_json(const pumit_config *config)
{
    return config ? config->root : NULL;
}

/* ------------------------------------------------------------------------------------------- paths */

static pumit_status check_key(const char *key)
{
    PUMIT__REQUIRE(key, "a config key is NULL");
    int32_t parts = 1;
    for (const char *c = key; *c; c++) {
        PUMIT__REQUIRE(*c != '.' || (c != key && c[-1] != '.' && c[1] != '\0'),
                       "config key '%s' has an empty name between its dots", key);
        parts += *c == '.';
    }
    PUMIT__REQUIRE(*key, "a config key is empty");
    PUMIT__REQUIRE(parts <= PUMIT__JSON_DEPTH, "a config key has more than %d names",
                   PUMIT__JSON_DEPTH);
    return PUMIT_OK;
}

static const char *type_name(const cJSON *item)
{
    if (cJSON_IsString(item)) return "a string";
    if (cJSON_IsNumber(item)) return "a number";
    if (cJSON_IsBool(item)) return "true or false";
    if (cJSON_IsArray(item)) return "an array";
    return cJSON_IsObject(item) ? "an object" : "null";
}

static pumit_status fail_type(const char *key, size_t length, const cJSON *item, const char *wanted)
{
    return pumit__fail(PUMIT_ERROR_INVALID_ARGUMENT, "config key '%.*s' is %s, %s is wanted",
                       (int)length, key, type_name(item), wanted);
}

static cJSON *find_member(const cJSON *object, const char *name, size_t length)
{
    cJSON *child = object->child;
    while (child && (strlen(child->string) != length || memcmp(child->string, name, length) != 0))
        child = child->next;
    return child;
}

/* The item at `key`, or NULL if it or an object on its way is absent. */
static pumit_status find(const cJSON **out, const pumit_config *config, const char *key)
{
    *out = NULL;
    PUMIT__TRY(check_key(key));
    const cJSON *item = pumit__config_json(config);
    for (const char *part = key; item;) {
        if (!cJSON_IsObject(item))
            return fail_type(key, (size_t)(part - key) - 1, item, "an object");
        const size_t length = strcspn(part, ".");
        item = find_member(item, part, length);
        if (part[length] == '\0') break;
        part += length + 1;
    }
    *out = item;
    return PUMIT_OK;
}

/* The object that `key`'s last name belongs in, made if need be; `*last` is that name. */
static pumit_status make_parent(cJSON **out, const char **last, pumit_config *config,
                                const char *key)
{
    cJSON *object = config->root;
    const char *part = key;
    for (size_t length; part[length = strcspn(part, ".")] != '\0'; part += length + 1) {
        cJSON *next = find_member(object, part, length);
        if (next && !cJSON_IsObject(next))
            return fail_type(key, (size_t)(part + length - key), next, "an object");
        if (!next) {
            char *name = pumit__format("%.*s", (int)length, part);
            next = name ? cJSON_AddObjectToObject(object, name) : NULL;
            free(name);
            if (!next) return pumit__fail_memory((int64_t)length, "a config key");
        }
        object = next;
    }
    *out = object;
    *last = part;
    return PUMIT_OK;
}

/* ----------------------------------------------------------------------------------------- setters */

/* Takes `value` (NULL: memory ran out), also on failure. */
static pumit_status set(pumit_config *config, const char *key, cJSON *value)
{
    cJSON *parent = NULL;
    const char *last = NULL;
    if (!value) return pumit__fail_memory((int64_t)sizeof *value, "a config value");
    const pumit_status status = make_parent(&parent, &last, config, key);
    if (status == PUMIT_OK) return pumit__json_set(parent, last, value);
    cJSON_Delete(value);
    return status;
}

static pumit_status check_set(const pumit_config *config, const char *key)
{
    PUMIT__REQUIRE(config, "a value is set on a config that is NULL");
    return check_key(key);
}

pumit_status pumit_config_set_int(pumit_config *config, const char *key, int64_t value)
{
    PUMIT__TRY(check_set(config, key));
    PUMIT__REQUIRE(value >= -EXACT && value <= EXACT,
                   "config key '%s': %lld is beyond 2^53, where integers stop being exact", key,
                   (long long)value);
    return set(config, key, cJSON_CreateNumber((double)value));
}

pumit_status pumit_config_set_double(pumit_config *config, const char *key, double value)
{
    PUMIT__TRY(check_set(config, key));
    PUMIT__REQUIRE(isfinite(value), "config key '%s': %g is not a finite number", key, value);
    return set(config, key, cJSON_CreateNumber(value));
}

pumit_status pumit_config_set_bool(pumit_config *config, const char *key, int32_t value)
{
    PUMIT__TRY(check_set(config, key));
    return set(config, key, cJSON_CreateBool(value != 0));
}

pumit_status pumit_config_set_string(pumit_config *config, const char *key, const char *value)
{
    PUMIT__TRY(check_set(config, key));
    PUMIT__REQUIRE(value, "config key '%s': the string is NULL", key);
    return set(config, key, cJSON_CreateString(value));
}

/* "007" is no JSON number, but cJSON reads it as one. */
static bool leading_zero(const char *text)
{
    text += strspn(text, " \t\r\n");
    text += *text == '-';
    return text[0] == '0' && isdigit((unsigned char)text[1]);
}

static int32_t tree_depth(const cJSON *item)
{
    int32_t most = 0;
    for (const cJSON *child = item->child; child; child = child->next) {
        const int32_t depth = 1 + tree_depth(child);
        if (depth > most) most = depth;
    }
    return most;
}

static int32_t key_depth(const char *key)
{
    int32_t depth = 1;
    for (; *key; key++) depth += *key == '.';
    return depth;
}

pumit_status pumit_config_set_json(pumit_config *config, const char *key, const char *json)
{
    PUMIT__TRY(check_set(config, key));
    PUMIT__REQUIRE(json, "config key '%s': the JSON text is NULL", key);
    cJSON *value = NULL;
    if (!leading_zero(json)) {
        const pumit_status status = pumit__json_parse(&value, json, (int64_t)strlen(json), key);
        if (status == PUMIT_ERROR_OUT_OF_MEMORY) return status;
    }
    if (!value) value = cJSON_CreateString(json);
    const pumit_status members = value ? check_members(value, key) : PUMIT_OK;
    if (members != PUMIT_OK) {
        cJSON_Delete(value);
        return members;
    }
    if (value && key_depth(key) + tree_depth(value) > PUMIT__JSON_DEPTH) {
        cJSON_Delete(value);
        return pumit__fail(PUMIT_ERROR_LIMIT, "config key '%s': nested deeper than %d levels", key,
                           PUMIT__JSON_DEPTH);
    }
    return set(config, key, value);
}

/* ----------------------------------------------------------------------------------------- getters */

pumit_status pumit_config_get_int(int64_t *out, const pumit_config *config, const char *key,
                                  int64_t fallback)
{
    PUMIT__REQUIRE(out, "pumit_config_get_int: out is NULL");
    *out = fallback;
    const cJSON *item;
    PUMIT__TRY(find(&item, config, key));
    if (!item || pumit__json_int(out, item)) return PUMIT_OK;
    if (!cJSON_IsNumber(item)) return fail_type(key, strlen(key), item, "an integer");
    return pumit__fail(PUMIT_ERROR_INVALID_ARGUMENT,
                       "config key '%s' is %.17g, an integer up to 2^53 is wanted", key,
                       item->valuedouble);
}

pumit_status pumit_config_get_double(double *out, const pumit_config *config, const char *key,
                                     double fallback)
{
    PUMIT__REQUIRE(out, "pumit_config_get_double: out is NULL");
    *out = fallback;
    const cJSON *item;
    PUMIT__TRY(find(&item, config, key));
    if (!item) return PUMIT_OK;
    if (!cJSON_IsNumber(item)) return fail_type(key, strlen(key), item, "a number");
    *out = item->valuedouble;
    return PUMIT_OK;
}

pumit_status pumit_config_get_bool(int32_t *out, const pumit_config *config, const char *key,
                                   int32_t fallback)
{
    PUMIT__REQUIRE(out, "pumit_config_get_bool: out is NULL");
    *out = fallback;
    const cJSON *item;
    PUMIT__TRY(find(&item, config, key));
    if (!item) return PUMIT_OK;
    if (!cJSON_IsBool(item)) return fail_type(key, strlen(key), item, "true or false");
    *out = cJSON_IsTrue(item) ? 1 : 0;
    return PUMIT_OK;
}

pumit_status pumit_config_get_string(const char **out, const pumit_config *config, const char *key,
                                     const char *fallback)
{
    PUMIT__REQUIRE(out, "pumit_config_get_string: out is NULL");
    *out = fallback;
    const cJSON *item;
    PUMIT__TRY(find(&item, config, key));
    if (!item) return PUMIT_OK;
    if (!cJSON_IsString(item)) return fail_type(key, strlen(key), item, "a string");
    *out = item->valuestring;
    return PUMIT_OK;
}

pumit_status pumit_config_get_ints(int64_t *values, int32_t most, int32_t *count,
                                   const pumit_config *config, const char *key)
{
    PUMIT__REQUIRE(count, "pumit_config_get_ints: count is NULL");
    *count = 0;
    PUMIT__REQUIRE(most >= 0 && (values || most == 0), "pumit_config_get_ints: values is NULL");
    const cJSON *item;
    PUMIT__TRY(find(&item, config, key));
    if (!item) return PUMIT_OK;
    if (!cJSON_IsArray(item)) return fail_type(key, strlen(key), item, "an array of integers");
    int32_t n = 0;
    for (const cJSON *child = item->child; child; child = child->next, n++) {
        PUMIT__REQUIRE(n < most, "config key '%s' has more than %d values", key, (int)most);
        PUMIT__REQUIRE(pumit__json_int(&values[n], child),
                       "config key '%s': value %d is no integer up to 2^53", key, (int)n);
    }
    *count = n;
    return PUMIT_OK;
}

pumit_status pumit_config_get_section(pumit_config **out, const pumit_config *config,
                                      const char *key)
{
    PUMIT__REQUIRE(out, "pumit_config_get_section: out is NULL");
    *out = NULL;
    const cJSON *item;
    PUMIT__TRY(find(&item, config, key));
    if (!item) return pumit_config_create(out);
    if (!cJSON_IsObject(item)) return fail_type(key, strlen(key), item, "an object");
    return pumit__config_from_json(out, item);
}

/* ------------------------------------------------------------------------------------ whole configs */

static pumit_status merge(cJSON *into, const cJSON *over)
{
    for (const cJSON *child = over->child; child; child = child->next) {
        cJSON *old = cJSON_GetObjectItemCaseSensitive(into, child->string);
        if (cJSON_IsObject(old) && cJSON_IsObject(child)) {
            PUMIT__TRY(merge(old, child));
            continue;
        }
        cJSON *copy;
        PUMIT__TRY(pumit__json_copy(&copy, child));
        PUMIT__TRY(pumit__json_set(into, child->string, copy));
    }
    return PUMIT_OK;
}

pumit_status pumit_config_merge(pumit_config *config, const pumit_config *over)
{
    PUMIT__REQUIRE(config, "pumit_config_merge: config is NULL");
    if (!over || over == config) return PUMIT_OK;
    cJSON *merged; /* all or nothing */
    PUMIT__TRY(pumit__json_copy(&merged, config->root));
    const pumit_status status = merge(merged, over->root);
    cJSON_Delete(status == PUMIT_OK ? config->root : merged);
    if (status == PUMIT_OK) config->root = merged;
    return status;
}

pumit_status pumit_config_to_json(char **out, const pumit_config *config)
{
    PUMIT__REQUIRE(out, "pumit_config_to_json: out is NULL");
    *out = NULL;
    PUMIT__REQUIRE(config, "pumit_config_to_json: config is NULL");
    return pumit__json_print(out, config->root, true);
}
