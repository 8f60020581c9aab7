/* SPDX-License-Identifier: Apache-2.0 */
/* Comma-separated values as RFC 4180 has them: fields in quotes may hold commas, line breaks, and quotes doubled. */
#ifndef PUMIT_LIB_DATA_CSV_H
#define PUMIT_LIB_DATA_CSV_H

#include "lib/base/base.h"

#include <locale.h>

#define PUMIT__CSV_COLUMNS 128

/* Cuts a record into unquoted fields, in place; what comes after PUMIT__CSV_COLUMNS fields is left out. */
int pumit__csv_fields(char *fields[PUMIT__CSV_COLUMNS], char *record);

/* The record at *cursor, without its line break, which is overwritten. NULL when no line break ends it: nothing is
 * left, or it was not written to its end. */
char *pumit__csv_record(char **cursor);

/* A text that grows. Out of memory is kept until it is asked for. */
typedef struct {
    char *text; /* NUL-terminated once something was added; free() it */
    int64_t length, capacity;
    bool failed;
} pumit__csv_text;

void pumit__csv_bytes(pumit__csv_text *out, const char *bytes, int64_t count);
void pumit__csv_print(pumit__csv_text *out, const char *format, ...) PUMIT__PRINTF(2, 3);
/* In quotes where needed. */
void pumit__csv_string(pumit__csv_text *out, const char *field);
/* With the fewest digits that read back as the same number. */
void pumit__csv_double(pumit__csv_text *out, double value);

/* Numbers have points in this thread from here to pumit__csv_locale_end(), whatever the program's language. */
typedef struct {
    locale_t plain, before;
} pumit__csv_locale;
pumit_status pumit__csv_locale_begin(pumit__csv_locale *out);
void pumit__csv_locale_end(pumit__csv_locale *locale);

#endif
