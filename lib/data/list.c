/* SPDX-License-Identifier: Apache-2.0 */
/* Text lists as sources: .txt with a path a line, .csv with columns "path", "label", "split", "modality", "weight",
 * "label_map", and "label.NAME" of 0 and 1. Labels that are no numbers are names of classes, numbered in their order in the whole list. */
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
    bool named;          /* labels are names of classes */
    int columns,
        column_places
            [PUMIT__CSV_COLUMNS]; /* "label.NAME": which label the k-th is, and where it stands */
    int64_t column_bits[PUMIT__CSV_COLUMNS];
} reader;

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
    char *path = pumit__source_beside(r->path, entry);
    char *labels = *label_map ? pumit__source_beside(r->path, label_map) : NULL;
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

/* "label.NAME" */
static const char *name_of_column(const char *field)
{
    return strncasecmp(field, "label.", 6) == 0 && field[6] ? field + 6 : NULL;
}

static bool has_column(const reader *r, int64_t bit)
{
    for (int k = 0; k < r->columns; k++)
        if (r->column_bits[k] == bit) return true;
    return false;
}

/* Their names are those of the classes, or become these. */
static pumit_status read_label_columns(reader *r, char *const *fields, int count)
{
    pumit__class_names *const classes = &r->sources->classes;
    const bool named = classes->count > 0;
    for (int i = 0; i < count; i++) {
        const char *const name = name_of_column(fields[i]);
        if (!name) continue;
        if (!named) PUMIT__TRY(pumit__class_add(classes, name));
        const int64_t bit = pumit__class_find(classes, name);
        if (bit < 0 || bit >= PUMIT__MOST_LABELS)
            return pumit__fail(PUMIT_ERROR_FORMAT, "%s: \"%s\" is none of the classes%s", r->path,
                               fields[i], bit < 0 ? "" : " that have room: 62 at most");
        if (has_column(r, bit))
            return pumit__fail(PUMIT_ERROR_FORMAT, "%s: has the column \"%s\" twice", r->path,
                               fields[i]);
        r->column_bits[r->columns] = bit;
        r->column_places[r->columns++] = i;
    }
    if (r->columns > 0 && count == PUMIT__CSV_COLUMNS)
        return pumit__fail(PUMIT_ERROR_FORMAT,
                           "%s: has %d columns or more, so that labels could be missed: leave out "
                           "those that are not needed",
                           r->path, PUMIT__CSV_COLUMNS);
    if (r->columns == 0 || (r->columns == classes->count && r->places[LABEL] < 0)) return PUMIT_OK;
    return pumit__fail(PUMIT_ERROR_FORMAT,
                       "%s: has %d columns \"label.NAME\" of %lld classes, each once%s", r->path,
                       r->columns, (long long)classes->count,
                       r->places[LABEL] < 0 ? "" : ", and none of them \"label\" alone");
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
    return read_label_columns(r, fields, count);
}

static bool is_whole_number(const char *text)
{
    char *end;
    (void)strtoll(text, &end, 10);
    return *text && !*end;
}

/* The label of a line that is still to be read; NULL: none. */
static const char *peek_label(const reader *r, char *line)
{
    char *fields[PUMIT__CSV_COLUMNS];
    char *const text = trim(line);
    if (!*text || trimmed_fields(fields, text) <= r->places[LABEL]) return NULL;
    return *fields[r->places[LABEL]] ? fields[r->places[LABEL]] : NULL;
}

/* What the first label is, all are. Names are numbered by the whole list, so that its splits agree. `rest` is cut up. */
static pumit_status name_classes(reader *r, char *rest)
{
    const bool given = r->sources->classes.count > 0;
    for (char *line = rest, *next; line; line = next) {
        next = strchr(line, '\n');
        if (next) *next++ = '\0';
        const char *const label = peek_label(r, line);
        if (!label) continue;
        if (!r->named && is_whole_number(label)) return PUMIT_OK;
        r->named = true;
        if (given) return PUMIT_OK;
        PUMIT__TRY(pumit__fail_in(pumit__class_add(&r->sources->classes, label), "%s", r->path));
    }
    if (r->named) pumit__class_sort(&r->sources->classes);
    return PUMIT_OK;
}

static pumit_status look_ahead(reader *r, const char *rest)
{
    if (r->places[LABEL] < 0 || !rest) return PUMIT_OK;
    char *const copy = pumit__strdup(rest);
    if (!copy) return pumit__fail_memory((int64_t)strlen(rest), r->path);
    const pumit_status status = name_classes(r, copy);
    free(copy);
    return status;
}

static pumit_status parse_label(pumit__label *out, const reader *r, const char *text)
{
    char *end;
    *out = PUMIT__NO_LABEL;
    if (!*text) return PUMIT_OK;
    errno = 0;
    out->value = r->named ? pumit__class_find(&r->sources->classes, text) : strtoll(text, &end, 10);
    if (r->named && out->value < 0)
        return pumit__fail(PUMIT_ERROR_FORMAT, "%s: line %d: label \"%s\" is none of the classes",
                           r->path, r->line, text);
    if (!r->named && (errno || *end || out->value < 0 || out->value > PUMIT__MOST_CLASS))
        return pumit__fail(PUMIT_ERROR_FORMAT, "%s: line %d: label \"%s\" is no class number",
                           r->path, r->line, text);
    return PUMIT_OK;
}

/* Nothing in all of the columns: the image has no label. */
static pumit_status parse_columns(pumit__label *out, const reader *r, char *const *fields)
{
    int told = 0;
    *out = (pumit__label){0, r->columns};
    for (int k = 0; k < r->columns; k++) {
        const char *const text = fields[r->column_places[k]];
        told += *text != '\0';
        if (strcmp(text, "1") == 0)
            out->value |= INT64_C(1) << r->column_bits[k];
        else if (*text && strcmp(text, "0") != 0)
            return pumit__fail(PUMIT_ERROR_FORMAT, "%s: line %d: label \"%s\" is not 0 or 1",
                               r->path, r->line, text);
    }
    if (told == r->columns) return PUMIT_OK;
    *out = PUMIT__NO_LABEL;
    if (told == 0) return PUMIT_OK;
    return pumit__fail(PUMIT_ERROR_FORMAT, "%s: line %d tells only %d of %d labels", r->path,
                       r->line, told, r->columns);
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
    for (int k = 0; k < r->columns; k++)
        if (r->column_places[k] >= count)
            return pumit__fail(PUMIT_ERROR_FORMAT, "%s: line %d has too few columns", r->path,
                               r->line);
    if (r->sources->split && strcasecmp(values[SPLIT], r->sources->split) != 0) return PUMIT_OK;
    pumit__source_tags tags = {.split = values[SPLIT], .modality = values[MODALITY]};
    PUMIT__TRY(r->columns ? parse_columns(&tags.label, r, fields)
                          : parse_label(&tags.label, r, values[LABEL]));
    PUMIT__TRY(parse_weight(&tags.weight, r, values[WEIGHT]));
    PUMIT__TRY(check_word(r, SPLIT, values[SPLIT]));
    PUMIT__TRY(check_word(r, MODALITY, values[MODALITY]));
    return add_entry(r, values[PATH], values[LABEL_MAP], tags);
}

/* `rest`: what follows the line. */
static pumit_status read_line(reader *r, char *line, const char *rest, bool csv)
{
    char *text = trim(line);
    r->line++;
    if (!*text) return PUMIT_OK;
    if (csv && r->places[PATH] >= 0) return read_row(r, text);
    if (csv) {
        PUMIT__TRY(read_columns(r, text));
        return look_ahead(r, rest);
    }
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
        status = read_line(&r, line, next, csv);
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
