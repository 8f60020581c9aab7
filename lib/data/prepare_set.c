/* SPDX-License-Identifier: Apache-2.0 */
/* The folder of a prepared set while images are being added: its lock, its table, and what an interruption left. */
#include "lib/data/prepare.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEMPORARY  ".tmp-" /* in the names of files that pumit__atomic_open() writes */
#define MOST_TABLE (INT64_C(1) << 31)

static pumit_status fail_io(const char *action, const char *path)
{
    return pumit__fail(errno == ENOMEM ? PUMIT_ERROR_OUT_OF_MEMORY : PUMIT_ERROR_IO,
                       "%s: cannot %s: %s", path, action, strerror(errno));
}

static pumit_status take_lock(int *lock, const char *folder)
{
    char *path = pumit__format("%s/.lock", folder);
    if (!path) return pumit__fail_memory(0, folder);
    pumit_status status = PUMIT_OK;
    *lock = TEMP_FAILURE_RETRY(open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666));
    if (*lock < 0)
        status = fail_io("write", path);
    else if (flock(*lock, LOCK_EX | LOCK_NB) != 0)
        status = errno == EWOULDBLOCK
                     ? pumit__fail(PUMIT_ERROR_STATE,
                                   "%s: another process prepares images into it; wait for its end "
                                   "or choose another folder",
                                   folder)
                     : fail_io("lock", path);
    free(path);
    return status;
}

static pumit_status is_empty(bool *out, const char *folder)
{
    const struct dirent *item;
    DIR *stream = opendir(folder);
    if (!stream) return fail_io("read the folder", folder);
    *out = true;
    while (*out && (item = readdir(stream)) != NULL)
        *out = strcmp(item->d_name, ".") == 0 || strcmp(item->d_name, "..") == 0;
    closedir(stream);
    return PUMIT_OK;
}

/* The table is there before the first image is, and files without a row are removed: nobody else's folder, please. */
static pumit_status check_own(const char *folder, const char *data)
{
    if (!pumit__prepared_is(folder)) {
        bool empty = false;
        PUMIT__TRY(is_empty(&empty, data));
        if (empty) return PUMIT_OK;
        return pumit__fail(PUMIT_ERROR_STATE,
                           "%s: holds files, but %s has no %s: choose another folder", data, folder,
                           PUMIT__PREPARED_TABLE);
    }
    char *text = NULL, *path = pumit__format("%s/%s", folder, PUMIT__PREPARED_TABLE);
    pumit__csv_text header = {0};
    pumit__prepared_header(&header);
    pumit_status status = path && !header.failed ? pumit__read_file(&text, NULL, path, MOST_TABLE)
                                                 : pumit__fail_memory(0, folder);
    if (status == PUMIT_OK && strncmp(text, header.text, (size_t)header.length) != 0)
        status = pumit__fail(
            PUMIT_ERROR_STATE,
            "%s: has other columns than this version writes; choose another folder", path);
    free(header.text);
    free(path);
    free(text);
    return status;
}

pumit_status pumit__set_open(int *lock, const char *folder)
{
    *lock = -1;
    char *data = pumit__format("%s/%s", folder, PUMIT__PREPARED_DATA);
    pumit_status status = data ? pumit__make_folder(data) : pumit__fail_memory(0, folder);
    if (status == PUMIT_OK) status = take_lock(lock, folder);
    if (status == PUMIT_OK) status = check_own(folder, data);
    free(data);
    return status;
}

/* ------------------------------------------------------------------------------------------- rows */

static int compare_fields(const pumit__prepared_row *x, const pumit__prepared_row *y,
                          pumit__prepared_column c)
{
    return strcmp(x->fields[c], y->fields[c]);
}

static int by_origin(const void *a, const void *b)
{
    const pumit__prepared_row *x = *(pumit__prepared_row *const *)a,
                              *y = *(pumit__prepared_row *const *)b;
    const int order = compare_fields(x, y, PUMIT__COLUMN_ORIGIN);
    return order ? order : (x > y) - (x < y);
}

static int by_key(const void *a, const void *b)
{
    return compare_fields(a, b, PUMIT__COLUMN_KEY);
}

/* A file that cannot be looked for now is not one that is missing: what has no row is removed. */
static pumit_status has_file(bool *out, const pumit__prepared_row *row, const char *folder)
{
    char *path;
    int64_t offset;
    const pumit_status status = pumit__prepared_file(&path, &offset, folder, row);
    free(path);
    *out = status == PUMIT_OK;
    return status == PUMIT_ERROR_OUT_OF_MEMORY || status == PUMIT_ERROR_IO ? status : PUMIT_OK;
}

/* Rows that were written with the last one of their source. */
static bool same_time(const pumit__prepared_row *x, const pumit__prepared_row *y)
{
    return compare_fields(x, y, PUMIT__COLUMN_BYTES) == 0 &&
           compare_fields(x, y, PUMIT__COLUMN_MTIME) == 0 &&
           compare_fields(x, y, PUMIT__COLUMN_VOLUMES) == 0;
}

/* A source counts if all its rows are there, and their files. */
static pumit_status check_source(pumit__prepared_row **rows, int64_t count, const char *folder)
{
    const pumit__prepared_row last = *rows[count - 1];
    int64_t good = 0;
    for (int64_t i = 0; i < count; i++) {
        bool there = same_time(rows[i], &last);
        if (there) PUMIT__TRY(has_file(&there, rows[i], folder));
        if (there)
            good++;
        else
            rows[i]->fields[PUMIT__COLUMN_KEY] = "";
    }
    if (good != strtoll(last.fields[PUMIT__COLUMN_VOLUMES], NULL, 10))
        for (int64_t i = 0; i < count; i++) rows[i]->fields[PUMIT__COLUMN_KEY] = "";
    return PUMIT_OK;
}

static pumit_status check_sources(pumit__prepared_table *table, const char *folder)
{
    pumit__prepared_row **order = pumit__calloc(table->count, sizeof *order);
    if (!order) return pumit__fail_memory(table->count * (int64_t)sizeof *order, "a table");
    for (int64_t i = 0; i < table->count; i++) order[i] = &table->rows[i];
    if (table->count > 0) qsort(order, (size_t)table->count, sizeof *order, by_origin);
    pumit_status status = PUMIT_OK;
    for (int64_t first = 0, end; status == PUMIT_OK && first < table->count; first = end) {
        end = first + 1;
        while (end < table->count &&
               compare_fields(order[first], order[end], PUMIT__COLUMN_ORIGIN) == 0)
            end++;
        status = check_source(order + first, end - first, folder);
    }
    free(order);
    return status;
}

static void drop_unnamed(pumit__prepared_table *table)
{
    int64_t kept = 0;
    for (int64_t i = 0; i < table->count; i++)
        if (*table->rows[i].fields[PUMIT__COLUMN_KEY]) table->rows[kept++] = table->rows[i];
    table->count = kept;
}

pumit_status pumit__set_read(pumit__prepared_table *out, const char *folder)
{
    *out = (pumit__prepared_table){0};
    if (!pumit__prepared_is(folder)) return PUMIT_OK;
    PUMIT__TRY(pumit__prepared_read(out, folder));
    const pumit_status status = check_sources(out, folder);
    if (status != PUMIT_OK) {
        pumit__prepared_free(out);
        return status;
    }
    drop_unnamed(out);
    if (out->count > 0) qsort(out->rows, (size_t)out->count, sizeof *out->rows, by_key);
    return PUMIT_OK;
}

static void put_row(pumit__csv_text *out, const pumit__prepared_row *row)
{
    for (int c = 0; c < PUMIT__COLUMN_COUNT; c++) {
        if (c) pumit__csv_bytes(out, ",", 1);
        pumit__csv_string(out, row->fields[c]);
    }
    pumit__csv_bytes(out, "\n", 1);
}

pumit_status pumit__set_write_text(const char *folder, const char *name,
                                   const pumit__csv_text *text)
{
    char *path = pumit__format("%s/%s", folder, name);
    if (!path || text->failed) {
        free(path);
        return pumit__fail_memory(text->length, name);
    }
    pumit__atomic_file file;
    pumit_status status = pumit__atomic_open(&file, path);
    if (status == PUMIT_OK) status = pumit__atomic_write(&file, text->text, text->length);
    if (status == PUMIT_OK) status = pumit__atomic_commit(&file);
    pumit__atomic_close(&file);
    free(path);
    return status;
}

pumit_status pumit__set_write(const pumit__prepared_table *table, const char *folder)
{
    pumit__csv_text text = {0};
    pumit__prepared_header(&text);
    pumit__csv_bytes(&text, "\n", 1);
    for (int64_t i = 0; i < table->count; i++)
        if (*table->rows[i].fields[PUMIT__COLUMN_KEY]) put_row(&text, &table->rows[i]);
    const pumit_status status = pumit__set_write_text(folder, PUMIT__PREPARED_TABLE, &text);
    free(text.text);
    return status;
}

pumit_status pumit__set_append(int fd, const pumit__csv_text *rows, const char *folder)
{
    const off_t before = lseek(fd, 0, SEEK_END);
    int64_t done = 0;
    while (done < rows->length) {
        const ssize_t put =
            TEMP_FAILURE_RETRY(write(fd, rows->text + done, (size_t)(rows->length - done)));
        if (put <= 0) break;
        done += put;
    }
    if (rows->length == 0) return PUMIT_OK;
    if (done == rows->length && TEMP_FAILURE_RETRY(fsync(fd)) == 0) return PUMIT_OK;
    const pumit_status status = fail_io("write " PUMIT__PREPARED_TABLE, folder);
    if (before >= 0) (void)!ftruncate(fd, before); /* a torn line would be dropped as well */
    return status;
}

/* ------------------------------------------------------------------------------------------ files */

static bool is_named(const pumit__prepared_table *table, const char *name)
{
    char key[512];
    const size_t stem = strlen(name) - 4;
    if (stem >= sizeof key) return false;
    snprintf(key, sizeof key, "%.*s", (int)stem, name);
    const pumit__prepared_row wanted = {.fields[PUMIT__COLUMN_KEY] = key};
    return table->count > 0 &&
           bsearch(&wanted, table->rows, (size_t)table->count, sizeof wanted, by_key) != NULL;
}

/* What a kill leaves of a file of the set's own folder, where nothing but these may be removed. */
static bool is_half_written(const char *name)
{
    static const char *const names[] = {PUMIT__PREPARED_TABLE TEMPORARY,
                                        PUMIT__SKIPPED_TABLE TEMPORARY,
                                        PUMIT__SET_SETTINGS TEMPORARY};
    for (int64_t i = 0; i < PUMIT__COUNT(names); i++)
        if (strncmp(name, names[i], strlen(names[i])) == 0) return true;
    return false;
}

/* `data`: the folder of the images, else that of the set. */
static bool is_stale(const char *name, bool data, const pumit__prepared_table *table)
{
    if (!data) return is_half_written(name);
    if (strstr(name, ".npy" TEMPORARY)) return true;
    return table && pumit__ends_with(name, ".npy") && !is_named(table, name);
}

static pumit_status clean_folder(const char *path, bool data, const pumit__prepared_table *table)
{
    const struct dirent *item;
    DIR *stream = opendir(path);
    if (!stream) return fail_io("read the folder", path);
    while ((item = readdir(stream)) != NULL)
        if (is_stale(item->d_name, data, table)) (void)unlinkat(dirfd(stream), item->d_name, 0);
    closedir(stream);
    return PUMIT_OK;
}

pumit_status pumit__set_clean(const char *folder, const pumit__prepared_table *table)
{
    char *data = pumit__format("%s/%s", folder, PUMIT__PREPARED_DATA);
    if (!data) return pumit__fail_memory(0, folder);
    pumit_status status = clean_folder(folder, false, NULL);
    if (status == PUMIT_OK) status = clean_folder(data, true, table);
    free(data);
    return status;
}
