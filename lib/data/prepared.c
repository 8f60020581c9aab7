/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/data/prepared.h"

#include "lib/data/dataset.h"
#include "lib/data/source.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#define MOST_BYTES (INT64_C(1) << 31)
/* Bytes before the voxels of a .npy: numpy fills them up to a multiple of 64, and this one does not fit into 64. */
#define LEAST_HEAD 128
#define MOST_HEAD  65536

static const char *const NAMES[] = {
#define X(name, text) text,
    PUMIT__PREPARED_COLUMNS(X)
#undef X
};

/* ------------------------------------------------------------------------------------------- table */

static bool is_table(const char *path)
{
    const char *slash = strrchr(path, '/');
    return strcmp(slash ? slash + 1 : path, PUMIT__PREPARED_TABLE) == 0;
}

char *pumit__prepared_folder(const char *path)
{
    if (!is_table(path)) return pumit__strdup(path);
    const char *slash = strrchr(path, '/');
    return slash ? pumit__format("%.*s", (int)(slash - path) + (slash == path), path)
                 : pumit__strdup(".");
}

/* Takes no memory: a set that passed for none for want of it would be cleaned of its images. */
bool pumit__prepared_is(const char *path)
{
    char table[PATH_MAX];
    struct stat info;
    if (is_table(path)) return true;
    const int length = snprintf(table, sizeof table, "%s/%s", path, PUMIT__PREPARED_TABLE);
    return length < (int)sizeof table && stat(table, &info) == 0 && S_ISREG(info.st_mode);
}

void pumit__prepared_header(pumit__csv_text *out)
{
    for (int i = 0; i < PUMIT__COLUMN_COUNT; i++)
        pumit__csv_print(out, "%s%s", i ? "," : "", NAMES[i]);
}

/* places[i]: which field of a line is column i; -1: none. */
static pumit_status find_columns(int places[PUMIT__COLUMN_COUNT], char *line, const char *path)
{
    char *fields[PUMIT__CSV_COLUMNS];
    const int count = line ? pumit__csv_fields(fields, line) : 0;
    for (int c = 0; c < PUMIT__COLUMN_COUNT; c++) {
        places[c] = -1;
        for (int i = count - 1; i >= 0; i--)
            if (strcmp(fields[i], NAMES[c]) == 0) places[c] = i;
        if (c <= PUMIT__COLUMN_SPACE_2 && c != PUMIT__COLUMN_MODALITY && places[c] < 0)
            return pumit__fail(PUMIT_ERROR_FORMAT,
                               "%s: its first line names no column \"%s\": not the table of a "
                               "prepared set",
                               path, NAMES[c]);
    }
    return PUMIT_OK;
}

static pumit_status push_row(pumit__prepared_table *table, char *record,
                             const int places[PUMIT__COLUMN_COUNT])
{
    char *fields[PUMIT__CSV_COLUMNS];
    const int count = pumit__csv_fields(fields, record);
    if (table->count == PUMIT__MOST_FILES)
        return pumit__fail(PUMIT_ERROR_LIMIT, "%s: has more than %d rows", PUMIT__PREPARED_TABLE,
                           PUMIT__MOST_FILES);
    if (!pumit__grow(&table->rows, &table->capacity, table->count + 1, sizeof *table->rows))
        return pumit__fail_memory((int64_t)sizeof *table->rows, "a table of images");
    pumit__prepared_row *row = &table->rows[table->count++];
    for (int c = 0; c < PUMIT__COLUMN_COUNT; c++)
        row->fields[c] = places[c] >= 0 && places[c] < count ? fields[places[c]] : "";
    return PUMIT_OK;
}

static int compare_keys(const void *a, const void *b)
{
    const pumit__prepared_row *x = *(pumit__prepared_row *const *)a,
                              *y = *(pumit__prepared_row *const *)b;
    const int order = strcmp(x->fields[PUMIT__COLUMN_KEY], y->fields[PUMIT__COLUMN_KEY]);
    return order ? order : (x > y) - (x < y);
}

/* A source that was prepared again has its new rows behind the old ones. */
static pumit_status drop_replaced(pumit__prepared_table *table)
{
    pumit__prepared_row **order = pumit__calloc(table->count, sizeof *order);
    if (!order) return pumit__fail_memory(table->count * (int64_t)sizeof *order, "a table");
    for (int64_t i = 0; i < table->count; i++) order[i] = &table->rows[i];
    if (table->count > 0) qsort(order, (size_t)table->count, sizeof *order, compare_keys);
    for (int64_t i = 0; i + 1 < table->count; i++)
        if (strcmp(order[i]->fields[PUMIT__COLUMN_KEY], order[i + 1]->fields[PUMIT__COLUMN_KEY]) ==
            0)
            order[i]->fields[PUMIT__COLUMN_KEY] = NULL;
    free(order);
    int64_t kept = 0;
    for (int64_t i = 0; i < table->count; i++)
        if (table->rows[i].fields[PUMIT__COLUMN_KEY]) table->rows[kept++] = table->rows[i];
    table->count = kept;
    return PUMIT_OK;
}

static pumit_status read_rows(pumit__prepared_table *table, const char *path)
{
    int places[PUMIT__COLUMN_COUNT];
    char *cursor = table->text;
    PUMIT__TRY(find_columns(places, pumit__csv_record(&cursor), path));
    for (char *record; (record = pumit__csv_record(&cursor)) != NULL;)
        PUMIT__TRY(push_row(table, record, places));
    return drop_replaced(table);
}

pumit_status pumit__prepared_read(pumit__prepared_table *out, const char *folder)
{
    *out = (pumit__prepared_table){0};
    char *path = pumit__format("%s/%s", folder, PUMIT__PREPARED_TABLE);
    if (!path) return pumit__fail_memory(0, folder);
    pumit_status status = pumit__read_file(&out->text, NULL, path, MOST_BYTES);
    if (status == PUMIT_OK) status = read_rows(out, path);
    free(path);
    if (status != PUMIT_OK) pumit__prepared_free(out);
    return status;
}

void pumit__prepared_free(pumit__prepared_table *table)
{
    free(table->rows);
    free(table->text);
    *table = (pumit__prepared_table){0};
}

/* -------------------------------------------------------------------------------------- one image */

static bool parse_size(int64_t *out, const char *text)
{
    char *end;
    errno = 0;
    *out = strtoll(text, &end, 10);
    return errno == 0 && end != text && *end == '\0';
}

static bool parse_double(double *out, const char *text)
{
    char *end;
    *out = strtod(text, &end);
    return end != text && *end == '\0';
}

/* mm, within what pumit__affine_is_good() takes; infinite between the slices of a `flat` image. */
static bool parse_spacing(double *out, const char *text, bool flat)
{
    return parse_double(out, text) &&
           ((*out > 1e-9 && *out < 1e9) || (flat && isinf(*out) && *out > 0));
}

/* 16 numbers between blanks, the last four 0 0 0 1; without any, axes along z, y, x. */
static bool parse_affine(double affine[16], const char *text, const double spacing[3])
{
    const double depth = isfinite(spacing[0]) ? spacing[0] : 1;
    const double plain[16] = {0, 0, spacing[2], 0, 0, spacing[1], 0, 0, depth, 0, 0, 0, 0, 0, 0, 1};
    if (!*text) {
        memcpy(affine, plain, sizeof plain);
        return true;
    }
    for (int i = 0; i < 16; i++) {
        char *end;
        affine[i] = strtod(text, &end);
        if (end == text || (*end != ' ' && *end != '\0')) return false;
        text = end;
    }
    return *text == '\0' && memcmp(affine + 12, plain + 12, 4 * sizeof *plain) == 0 &&
           pumit__affine_is_good(affine);
}

static pumit_status fail_field(const char *folder, const pumit__prepared_row *row,
                               pumit__prepared_column c)
{
    return pumit__fail(PUMIT_ERROR_FORMAT, "%s/%s: %s: %s \"%s\" is not what it should be", folder,
                       PUMIT__PREPARED_TABLE, row->fields[PUMIT__COLUMN_KEY], NAMES[c],
                       row->fields[c]);
}

/* Sizes D H W C and their product. */
static pumit_status parse_shape(int64_t shape[4], int64_t *voxels, const char *folder,
                                const pumit__prepared_row *row)
{
    *voxels = 1;
    for (int i = 0; i < 4; i++) {
        const pumit__prepared_column c =
            i < 3 ? PUMIT__COLUMN_SHAPE_0 + (pumit__prepared_column)i : PUMIT__COLUMN_CHANNELS;
        const char *text = i == 3 && !*row->fields[c] ? "1" : row->fields[c];
        if (!parse_size(&shape[i], text) || shape[i] < 1 ||
            !pumit__multiply(voxels, *voxels, shape[i]) || *voxels > INT64_MAX / 8)
            return fail_field(folder, row, c);
    }
    return PUMIT_OK;
}

pumit_status pumit__prepared_file(char **path, int64_t *offset, const char *folder,
                                  const pumit__prepared_row *row)
{
    int64_t shape[4], voxels;
    struct stat info;
    const char *key = row->fields[PUMIT__COLUMN_KEY];
    *path = NULL;
    PUMIT__TRY(parse_shape(shape, &voxels, folder, row));
    if (!*key || strchr(key, '/')) return fail_field(folder, row, PUMIT__COLUMN_KEY);
    char *file = pumit__format("%s/%s/%s.npy", folder, PUMIT__PREPARED_DATA, key);
    if (!file) return pumit__fail_memory(0, folder);
    pumit_status status = PUMIT_OK;
    if (stat(file, &info) != 0)
        status = pumit__fail(errno == ENOENT ? PUMIT_ERROR_NOT_FOUND : PUMIT_ERROR_IO,
                             "%s: cannot read: %s", file, strerror(errno));
    else if (!S_ISREG(info.st_mode))
        status = pumit__fail(PUMIT_ERROR_FORMAT, "%s: is no regular file; prepare it again", file);
    else if (info.st_size - 2 * voxels < LEAST_HEAD || info.st_size - 2 * voxels > MOST_HEAD ||
             info.st_size % 2)
        status = pumit__fail(PUMIT_ERROR_FORMAT,
                             "%s: its %lld bytes are not those of the %lld x %lld x %lld voxels "
                             "that %s tells; prepare it again",
                             file, (long long)info.st_size, (long long)shape[0],
                             (long long)shape[1], (long long)shape[2], PUMIT__PREPARED_TABLE);
    if (status != PUMIT_OK) {
        free(file);
        return status;
    }
    *offset = info.st_size - 2 * voxels;
    *path = file;
    return PUMIT_OK;
}

/* ----------------------------------------------------------------------------------------- dataset */

static pumit_status fill_volume(pumit_volume *volume, const char *folder,
                                const pumit__prepared_row *row)
{
    int64_t voxels;
    PUMIT__TRY(parse_shape(volume->shape, &voxels, folder, row));
    for (int i = 0; i < 3; i++) {
        const pumit__prepared_column c = PUMIT__COLUMN_SPACE_0 + (pumit__prepared_column)i;
        if (!parse_spacing(&volume->spacing[i], row->fields[c], i == 0 && volume->shape[0] == 1))
            return fail_field(folder, row, c);
        volume->axes[i] = i;
    }
    if (!parse_affine(volume->affine, row->fields[PUMIT__COLUMN_AFFINE], volume->spacing))
        return fail_field(folder, row, PUMIT__COLUMN_AFFINE);
    snprintf(volume->modality, sizeof volume->modality, "%s", row->fields[PUMIT__COLUMN_MODALITY]);
    PUMIT__TRY(pumit_degree_of_anisotropy(&volume->anisotropy, volume->spacing));
    return pumit__prepared_file(&volume->file, &volume->file_offset, folder, row);
}

static pumit_status make_volume(pumit_volume **out, const char *folder,
                                const pumit__prepared_row *row)
{
    pumit_volume *volume = pumit__calloc(1, sizeof *volume);
    if (!volume) return pumit__fail_memory(sizeof *volume, "a volume");
    atomic_init(&volume->refs, 1);
    const pumit_status status = fill_volume(volume, folder, row);
    if (status != PUMIT_OK) {
        pumit_volume_release(volume);
        return status;
    }
    *out = volume;
    return PUMIT_OK;
}

/* As the image would be named if its source had been opened. */
static char *name_of(const pumit_volume *volume, const pumit__prepared_row *row)
{
    const char *origin = row->fields[PUMIT__COLUMN_ORIGIN];
    if (!*origin) return pumit__strdup(volume->file);
    if (strcmp(row->fields[PUMIT__COLUMN_VOLUMES], "1") == 0) return pumit__strdup(origin);
    return pumit__format("%s[%s]", origin, row->fields[PUMIT__COLUMN_VOLUME]);
}

static pumit_status add_row(pumit_dataset *dataset, const char *folder,
                            const pumit__prepared_row *row, pumit__label label, double weight)
{
    double own = 1;
    const char *split =
        *row->fields[PUMIT__COLUMN_SPLIT] ? row->fields[PUMIT__COLUMN_SPLIT] : "train";
    if (dataset->split && strcasecmp(split, dataset->split) != 0) return PUMIT_OK;
    if (*row->fields[PUMIT__COLUMN_LABEL]) {
        label.columns = 0;
        if (!parse_size(&label.value, row->fields[PUMIT__COLUMN_LABEL]) || label.value < 0 ||
            label.value > PUMIT__MOST_CLASS)
            return fail_field(folder, row, PUMIT__COLUMN_LABEL);
    }
    if (*row->fields[PUMIT__COLUMN_WEIGHT] &&
        (!parse_double(&own, row->fields[PUMIT__COLUMN_WEIGHT]) || !(own >= 0) || !isfinite(own)))
        return fail_field(folder, row, PUMIT__COLUMN_WEIGHT);
    pumit_volume *volume = NULL;
    PUMIT__TRY(make_volume(&volume, folder, row));
    char *name = name_of(volume, row);
    if (!name) {
        pumit_volume_release(volume);
        return pumit__fail_memory(0, folder);
    }
    const pumit_status status = pumit__dataset_push(
        dataset, &(pumit__dataset_item){
                     .volume = volume, .name = name, .label = label, .weight = own * weight});
    free(name);
    return status;
}

pumit_status pumit__dataset_add_prepared(pumit_dataset *dataset, const char *folder,
                                         pumit__label label, double weight)
{
    pumit__csv_locale locale;
    pumit__prepared_table table;
    PUMIT__TRY(pumit__prepared_read(&table, folder));
    pumit_status status = pumit__csv_locale_begin(&locale);
    if (status == PUMIT_OK) {
        for (int64_t i = 0; status == PUMIT_OK && i < table.count; i++)
            status = pumit__dataset_skip(dataset,
                                         add_row(dataset, folder, &table.rows[i], label, weight));
        pumit__csv_locale_end(&locale);
    }
    pumit__prepared_free(&table);
    return status;
}
