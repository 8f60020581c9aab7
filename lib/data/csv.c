/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/data/csv.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* One field, unquoted in place; `*cursor` moves behind its comma, or to NULL at the end. */
static char *next_field(char **cursor)
{
    char *src = *cursor, *dst = *cursor, *const field = *cursor;
    bool quoted = false;
    for (; *src && (quoted || *src != ','); src++) {
        if (*src != '"')
            *dst++ = *src;
        else if (quoted && src[1] == '"')
            *dst++ = *src++;
        else
            quoted = !quoted;
    }
    *cursor = *src ? src + 1 : NULL;
    *dst = '\0';
    return field;
}

int pumit__csv_fields(char *fields[PUMIT__CSV_COLUMNS], char *record)
{
    int count = 0;
    for (char *cursor = record; cursor && count < PUMIT__CSV_COLUMNS; count++)
        fields[count] = next_field(&cursor);
    return count;
}

char *pumit__csv_record(char **cursor)
{
    char *const record = *cursor;
    bool quoted = false;
    for (char *p = record; *p; p++) {
        if (*p == '"') quoted = !quoted;
        if (*p != '\n' || quoted) continue;
        *cursor = p + 1;
        *p = '\0';
        if (p > record && p[-1] == '\r') p[-1] = '\0';
        return record;
    }
    return NULL;
}

void pumit__csv_bytes(pumit__csv_text *out, const char *bytes, int64_t count)
{
    if (out->failed || !pumit__grow(&out->text, &out->capacity, out->length + count + 1, 1)) {
        out->failed = true;
        return;
    }
    memcpy(out->text + out->length, bytes, (size_t)count);
    out->length += count;
    out->text[out->length] = '\0';
}

void pumit__csv_print(pumit__csv_text *out, const char *format, ...)
{
    char *text = NULL;
    va_list list;
    va_start(list, format);
    const int length = vasprintf(&text, format, list);
    va_end(list);
    if (length < 0) {
        out->failed = true;
        return;
    }
    pumit__csv_bytes(out, text, length);
    free(text);
}

void pumit__csv_string(pumit__csv_text *out, const char *field)
{
    const size_t n = strlen(field);
    if (!strpbrk(field, ",\"\r\n") && !(n && (strchr(" \t", field[0]) || field[n - 1] == ' '))) {
        pumit__csv_bytes(out, field, (int64_t)n);
        return;
    }
    pumit__csv_bytes(out, "\"", 1);
    for (size_t i = 0; i < n; i++) {
        if (field[i] == '"') pumit__csv_bytes(out, "\"", 1);
        pumit__csv_bytes(out, field + i, 1);
    }
    pumit__csv_bytes(out, "\"", 1);
}

void pumit__csv_double(pumit__csv_text *out, double value)
{
    char digits[40];
    for (int precision = 15; precision <= 17; precision++) {
        snprintf(digits, sizeof digits, "%.*g", precision, value);
        if (strtod(digits, NULL) == value) break;
    }
    pumit__csv_bytes(out, digits, (int64_t)strlen(digits));
}

pumit_status pumit__csv_locale_begin(pumit__csv_locale *out)
{
    out->plain = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (!out->plain) return pumit__fail_memory(0, "a locale");
    out->before = uselocale(out->plain);
    return PUMIT_OK;
}

void pumit__csv_locale_end(pumit__csv_locale *locale)
{
    uselocale(locale->before);
    freelocale(locale->plain);
}
