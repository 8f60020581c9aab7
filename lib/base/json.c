/* SPDX-License-Identifier: Apache-2.0 */
/* cJSON made exact and honest: lines in messages, memory told from syntax, doubles that round-trip. */
#include "lib/base/config.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define EXACT 9007199254740992.0 /* 2^53 */

static pumit_status fail_memory(void)
{
    return pumit__fail_memory((int64_t)sizeof(cJSON), "JSON");
}

static pumit_status check_tree(const cJSON *item, int32_t depth, const char *name)
{
    if (cJSON_IsNumber(item) && !isfinite(item->valuedouble))
        return pumit__fail(PUMIT_ERROR_FORMAT, "%s: a number is too large", name);
    if (depth > PUMIT__JSON_DEPTH)
        return pumit__fail(PUMIT_ERROR_LIMIT, "%s: nested deeper than %d levels", name,
                           PUMIT__JSON_DEPTH);
    if (!cJSON_IsObject(item) && !cJSON_IsArray(item)) return PUMIT_OK;
    for (const cJSON *child = item->child; child; child = child->next)
        PUMIT__TRY(check_tree(child, depth + 1, name));
    return PUMIT_OK;
}

static int64_t line_at(const char *text, int64_t at)
{
    int64_t line = 1;
    for (int64_t i = 0; i < at; i++) line += text[i] == '\n';
    return line;
}

static int64_t skip_space(const char *text, int64_t bytes, int64_t at)
{
    while (at < bytes && text[at] != '\0' && strchr(" \t\r\n", text[at])) at++;
    return at;
}

/* At most: each value but the first follows a comma, a brace or a bracket; those inside of texts count, too. */
static bool has_many_values(const char *text, int64_t bytes)
{
    int64_t count = 0;
    for (int64_t i = 0; i < bytes; i++) count += text[i] == ',' || text[i] == '[' || text[i] == '{';
    return count >= PUMIT__JSON_VALUES;
}

pumit_status pumit__json_parse(cJSON **out, const char *text, int64_t bytes, const char *name)
{
    *out = NULL;
    const char *end = text;
    if (has_many_values(text, bytes))
        return pumit__fail(PUMIT_ERROR_LIMIT, "%s: has more than %d values", name,
                           PUMIT__JSON_VALUES);
    errno = 0; /* cJSON does not tell a failed allocation from broken text; malloc does */
    cJSON *tree = cJSON_ParseWithLengthOpts(text, (size_t)bytes, &end, 0);
    if (!tree && errno == ENOMEM) return fail_memory();
    /* Told no NUL ends the text, cJSON stops behind the first value or where it broke. */
    const int64_t used = skip_space(text, bytes, end ? (int64_t)(end - text) : 0);
    if (!tree || used < bytes) {
        cJSON_Delete(tree);
        return pumit__fail(PUMIT_ERROR_FORMAT, "%s: line %lld: broken JSON", name,
                           (long long)line_at(text, used));
    }
    const pumit_status status = check_tree(tree, 0, name);
    if (status != PUMIT_OK)
        cJSON_Delete(tree);
    else
        *out = tree;
    return status;
}

pumit_status pumit__json_copy(cJSON **out, const cJSON *item)
{
    *out = cJSON_Duplicate(item, 1);
    return *out ? PUMIT_OK : fail_memory();
}

pumit_status pumit__json_set(cJSON *object, const char *name, cJSON *value)
{
    if (!value) return fail_memory();
    cJSON *old = cJSON_GetObjectItemCaseSensitive(object, name);
    if (!old) {
        if (cJSON_AddItemToObject(object, name, value)) return PUMIT_OK;
        cJSON_Delete(value);
        return fail_memory();
    }
    cJSON_free(value->string);
    value->string = old->string; /* moving the name needs no memory and cannot fail */
    old->string = NULL;
    cJSON_ReplaceItemViaPointer(object, old, value);
    return PUMIT_OK;
}

cJSON *pumit__json_number(double value)
{
    return isfinite(value) ? cJSON_CreateNumber(value) : cJSON_CreateNull();
}

pumit_status pumit__json_append(cJSON **out, cJSON *array, cJSON *value)
{
    *out = value;
    if (value && cJSON_AddItemToArray(array, value)) return PUMIT_OK;
    cJSON_Delete(value);
    return fail_memory();
}

bool pumit__json_int(int64_t *out, const cJSON *item)
{
    if (!cJSON_IsNumber(item)) return false;
    const double value = item->valuedouble;
    if (!(fabs(value) <= EXACT) || value != floor(value)) return false;
    *out = (int64_t)value;
    return true;
}

/* The shortest text that reads back as the same double; cJSON's own lets the last bit go. */
static void print_number(char *text, size_t bytes, double value)
{
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, bytes, "%.*g", digits, value);
        if (strtod(text, NULL) == value) break;
    }
    for (char *c = text; *c; c++)
        if (!strchr("0123456789+-e", *c)) *c = '.'; /* whatever point the locale has */
}

/* Turns the numbers of a tree into ready text. */
static bool print_numbers(cJSON *item)
{
    if (cJSON_IsNumber(item)) {
        char *text = cJSON_malloc(40);
        if (!text) return false;
        int64_t whole;
        if (pumit__json_int(&whole, item))
            snprintf(text, 40, "%lld", (long long)whole);
        else
            print_number(text, 40, item->valuedouble);
        item->type = (item->type & ~0xFF) | cJSON_Raw;
        item->valuestring = text;
    }
    for (cJSON *child = item->child; child; child = child->next)
        if (!print_numbers(child)) return false;
    return true;
}

pumit_status pumit__json_print(char **out, const cJSON *item, bool indent)
{
    *out = NULL;
    cJSON *copy;
    PUMIT__TRY(pumit__json_copy(&copy, item));
    if (print_numbers(copy)) *out = indent ? cJSON_Print(copy) : cJSON_PrintUnformatted(copy);
    cJSON_Delete(copy);
    return *out ? PUMIT_OK : fail_memory();
}
