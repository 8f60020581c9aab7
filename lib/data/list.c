/* SPDX-License-Identifier: Apache-2.0 */
/* Text lists as sources: .txt with a path a line, .csv with columns "path", "label", "split", "modality", "weight",
 * "label_map". */
#include "lib/data/source.h"

#include "lib/data/csv.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#define MOST_BYTES (INT64_C(1) << 28)

typedef enum { PATH, LABEL, SPLIT, MODALITY, WEIGHT, LABEL_MAP, COLUMNS } column;
static const char *const NAMES[COLUMNS] = {"path",     "label",  "split",
                                           "modality", "weight", "label_map"};

typedef struct {
    pumit__sources *sources;
    const char *path;
    int line;
    int places[COLUMNS]; /* of the columns; -1: none */
} reader;

/* The path itself if it is absolute, else beside the list. */
static char *resolve(const char *list, const char *entry)
{
    const char *slash = strrchr(list, '/');
    if (entry[0] == '/' || !slash) return pumit__strdup(entry);
    return pumit__format("%.*s/%s", (int)(slash - list), list, entry);
}

static pumit_status add_existing(pumit__sources *sources, const char *path,
                                 const pumit__source_tags *tags)
{
    struct stat info;
    if (stat(path, &info) == 0 && S_ISDIR(info.st_mode))
        return pumit__sources_add_folder(sources, path, tags);
    return pumit__sources_push(sources, path, tags, PUMIT_OK);
}

/* A relative path is beside the list; so is the label map's, which is empty where there is none. */
static pumit_status add_entry(const reader *r, const char *entry, const char *label_map,
                              pumit__source_tags tags)
{
    char *path = resolve(r->path, entry);
    char *labels = *label_map ? resolve(r->path, label_map) : NULL;
    pumit_status status = PUMIT_OK;
    tags.label_map = labels;
    if (!path || (*label_map && !labels))
        status = pumit__fail_memory(0, r->path);
    else
        status = add_existing(r->sources, path, &tags);
    free(path);
    free(labels);
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

static int trimmed_fields(char *fields[PUMIT__CSV_COLUMNS], char *line)
{
    const int count = pumit__csv_fields(fields, line);
    for (int i = 0; i < count; i++) fields[i] = trim(fields[i]);
    return count;
}

static pumit_status read_columns(reader *r, char *line)
{
    char *fields[PUMIT__CSV_COLUMNS];
    const int count = trimmed_fields(fields, line);
    for (int i = count - 1; i >= 0; i--)
        for (int c = 0; c < COLUMNS; c++)
            if (strcasecmp(fields[i], NAMES[c]) == 0) r->places[c] = i;
    if (r->places[PATH] < 0)
        return pumit__fail(PUMIT_ERROR_FORMAT, "%s: its first line names no column \"path\"",
                           r->path);
    if (r->sources->split && r->places[SPLIT] < 0)
        return pumit__fail(PUMIT_ERROR_FORMAT,
                           "%s: its first line names no column \"split\", so \"%s\" cannot be "
                           "chosen",
                           r->path, r->sources->split);
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

static pumit_status parse_weight(double *out, const reader *r, const char *text)
{
    char *end;
    *out = 1;
    if (!*text) return PUMIT_OK;
    *out = strtod(text, &end);
    if (*end || !(*out > 0) || !isfinite(*out))
        return pumit__fail(PUMIT_ERROR_FORMAT, "%s: line %d: weight \"%s\" is no number above 0",
                           r->path, r->line, text);
    return PUMIT_OK;
}

static pumit_status check_word(const reader *r, column c, const char *text)
{
    if (strlen(text) < PUMIT__SOURCE_WORD) return PUMIT_OK;
    return pumit__fail(PUMIT_ERROR_FORMAT, "%s: line %d: %s \"%s\" has more than %d letters",
                       r->path, r->line, NAMES[c], text, PUMIT__SOURCE_WORD - 1);
}

static pumit_status read_row(const reader *r, char *line)
{
    char *fields[PUMIT__CSV_COLUMNS], *values[COLUMNS], nothing[1] = "";
    const int count = trimmed_fields(fields, line);
    for (int c = 0; c < COLUMNS; c++) {
        if (r->places[c] >= count)
            return pumit__fail(PUMIT_ERROR_FORMAT, "%s: line %d has too few columns", r->path,
                               r->line);
        values[c] = r->places[c] < 0 ? nothing : fields[r->places[c]];
    }
    if (r->sources->split && strcasecmp(values[SPLIT], r->sources->split) != 0) return PUMIT_OK;
    pumit__source_tags tags = {.split = values[SPLIT], .modality = values[MODALITY]};
    PUMIT__TRY(parse_label(&tags.label, r, values[LABEL]));
    PUMIT__TRY(parse_weight(&tags.weight, r, values[WEIGHT]));
    PUMIT__TRY(check_word(r, SPLIT, values[SPLIT]));
    PUMIT__TRY(check_word(r, MODALITY, values[MODALITY]));
    return add_entry(r, values[PATH], values[LABEL_MAP], tags);
}

static pumit_status read_line(reader *r, char *line, bool csv)
{
    char *text = trim(line);
    r->line++;
    if (!*text) return PUMIT_OK;
    if (csv) return r->places[PATH] < 0 ? read_columns(r, text) : read_row(r, text);
    return *text == '#' ? PUMIT_OK : add_entry(r, text, "", PUMIT__NO_TAGS);
}

static pumit_status read_lines(pumit__sources *sources, char *content, const char *path)
{
    reader r = {.sources = sources, .path = path};
    for (int c = 0; c < COLUMNS; c++) r.places[c] = -1;
    const bool csv = pumit__ends_with(path, ".csv");
    char *next = strncmp(content, "\xef\xbb\xbf", 3) == 0 ? content + 3 : content;
    pumit_status status = PUMIT_OK;
    while (status == PUMIT_OK && next) {
        char *line = next;
        next = strchr(line, '\n');
        if (next) *next++ = '\0';
        status = read_line(&r, line, csv);
    }
    return status;
}

pumit_status pumit__sources_add_list(pumit__sources *sources, const char *path)
{
    char *content;
    pumit__csv_locale locale;
    PUMIT__TRY(pumit__csv_locale_begin(&locale));
    pumit_status status = pumit__read_file(&content, NULL, path, MOST_BYTES);
    if (status == PUMIT_OK) {
        status = read_lines(sources, content, path);
        free(content);
    }
    pumit__csv_locale_end(&locale);
    return status;
}
