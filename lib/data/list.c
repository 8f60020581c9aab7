/* SPDX-License-Identifier: Apache-2.0 */
/* Text lists as sources of a dataset: .txt with a path a line, .csv with columns "path", "label", "split". */
#include "lib/data/dataset.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#define MOST_BYTES   (INT64_C(1) << 28)
#define MOST_COLUMNS 64

typedef struct {
    pumit_dataset *dataset;
    const char *path;
    int line;
    int path_column, label_column, split_column; /* -1: none */
} reader;

/* The path itself if it is absolute, else beside the list. */
static char *resolve(const char *list, const char *entry)
{
    const char *slash = strrchr(list, '/');
    if (entry[0] == '/' || !slash) return pumit__strdup(entry);
    return pumit__format("%.*s/%s", (int)(slash - list), list, entry);
}

static pumit_status add_existing(pumit_dataset *dataset, const char *path, int64_t label)
{
    struct stat info;
    if (stat(path, &info) == 0 && S_ISDIR(info.st_mode))
        return pumit__dataset_add_folder(dataset, path, label);
    return pumit__dataset_add_file(dataset, path, label);
}

static pumit_status add_entry(const reader *r, const char *entry, int64_t label)
{
    char *path = resolve(r->path, entry);
    if (!path) return pumit__fail_memory(0, r->path);
    const pumit_status status = add_existing(r->dataset, path, label);
    free(path);
    return status;
}

/* Cuts blanks off both ends, in place. */
static char *trim(char *text)
{
    while (*text == ' ' || *text == '\t') text++;
    size_t n = strlen(text);
    while (n && strchr(" \t\r", text[n - 1])) text[--n] = '\0';
    return text;
}

/* One field, unquoted in place; `*cursor` moves behind its comma, or to NULL at the end of the line. */
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
    return trim(field);
}

static int split_fields(char *fields[MOST_COLUMNS], char *line)
{
    int count = 0;
    for (char *cursor = line; cursor && count < MOST_COLUMNS; count++)
        fields[count] = next_field(&cursor);
    return count;
}

static pumit_status read_columns(reader *r, char *line)
{
    char *fields[MOST_COLUMNS];
    const int count = split_fields(fields, line);
    for (int i = count - 1; i >= 0; i--) {
        if (strcasecmp(fields[i], "path") == 0) r->path_column = i;
        if (strcasecmp(fields[i], "label") == 0) r->label_column = i;
        if (strcasecmp(fields[i], "split") == 0) r->split_column = i;
    }
    if (r->path_column < 0)
        return pumit__fail(PUMIT_ERROR_FORMAT, "%s: its first line names no column \"path\"",
                           r->path);
    if (r->dataset->split && r->split_column < 0)
        return pumit__fail(PUMIT_ERROR_FORMAT,
                           "%s: its first line names no column \"split\", so \"%s\" cannot be "
                           "chosen",
                           r->path, r->dataset->split);
    return PUMIT_OK;
}

static pumit_status parse_label(int64_t *out, const reader *r, const char *text)
{
    char *end;
    *out = -1;
    if (!*text) return PUMIT_OK;
    errno = 0;
    const long long value = strtoll(text, &end, 10);
    if (errno || *end || value < 0 || value > 1000000)
        return pumit__fail(PUMIT_ERROR_FORMAT, "%s: line %d: label \"%s\" is no class number",
                           r->path, r->line, text);
    *out = value;
    return PUMIT_OK;
}

static pumit_status read_row(const reader *r, char *line)
{
    char *fields[MOST_COLUMNS];
    const int count = split_fields(fields, line);
    if (r->path_column >= count || r->label_column >= count || r->split_column >= count)
        return pumit__fail(PUMIT_ERROR_FORMAT, "%s: line %d has too few columns", r->path, r->line);
    if (r->dataset->split && strcasecmp(fields[r->split_column], r->dataset->split) != 0)
        return PUMIT_OK;
    int64_t label = -1;
    if (r->label_column >= 0) PUMIT__TRY(parse_label(&label, r, fields[r->label_column]));
    return add_entry(r, fields[r->path_column], label);
}

static pumit_status read_line(reader *r, char *line, bool csv)
{
    char *text = trim(line);
    r->line++;
    if (!*text) return PUMIT_OK;
    if (csv) return r->path_column < 0 ? read_columns(r, text) : read_row(r, text);
    return *text == '#' ? PUMIT_OK : add_entry(r, text, -1);
}

pumit_status pumit__dataset_add_list(pumit_dataset *dataset, const char *path)
{
    char *content;
    PUMIT__TRY(pumit__read_file(&content, NULL, path, MOST_BYTES));
    reader r = {dataset, path, 0, -1, -1, -1};
    const bool csv = pumit__ends_with(path, ".csv");
    char *next = strncmp(content, "\xef\xbb\xbf", 3) == 0 ? content + 3 : content;
    pumit_status status = PUMIT_OK;
    while (status == PUMIT_OK && next) {
        char *line = next;
        next = strchr(line, '\n');
        if (next) *next++ = '\0';
        status = read_line(&r, line, csv);
    }
    free(content);
    return status;
}
