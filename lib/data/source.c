/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/data/source.h"

#include "lib/data/prepared.h"

#include <errno.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static void free_source(pumit__source *s)
{
    free(s->path);
    free(s->collection);
    free(s->label_map);
    free(s->reason);
}

void pumit__sources_free(pumit__sources *sources)
{
    for (int64_t i = 0; i < sources->count; i++) free_source(&sources->items[i]);
    free(sources->items);
    pumit__class_free(&sources->classes);
    *sources = (pumit__sources){0};
}

char *pumit__source_beside(const char *list, const char *entry)
{
    const char *const slash = strrchr(list, '/');
    if (entry[0] == '/' || !slash) return pumit__strdup(entry);
    return pumit__format("%.*s/%s", (int)(slash - list), list, entry);
}

pumit_status pumit__sources_push(pumit__sources *sources, const char *path,
                                 const pumit__source_tags *tags, pumit_status status)
{
    if (sources->count == PUMIT__MOST_FILES)
        return pumit__fail(PUMIT_ERROR_LIMIT, "%s: is one file more than the %d of a dataset", path,
                           PUMIT__MOST_FILES);
    pumit__source s = {.path = pumit__strdup(path),
                       .collection = pumit__strdup(sources->collection),
                       .label_map = tags->label_map ? pumit__strdup(tags->label_map) : NULL,
                       .label = tags->label,
                       .weight = tags->weight,
                       .status = status,
                       .reason = status == PUMIT_OK ? NULL : pumit__strdup(pumit_last_error())};
    if (!s.path || !s.collection || (tags->label_map && !s.label_map) ||
        (status != PUMIT_OK && !s.reason) ||
        !pumit__grow(&sources->items, &sources->capacity, sources->count + 1,
                     sizeof *sources->items)) {
        free_source(&s);
        return pumit__fail_memory((int64_t)strlen(path), "a list of files");
    }
    snprintf(s.split, sizeof s.split, "%s", tags->split);
    snprintf(s.modality, sizeof s.modality, "%s", tags->modality);
    s.prepared = status == PUMIT_OK && pumit__prepared_is(path);
    sources->items[sources->count++] = s;
    return PUMIT_OK;
}

/* The last part of a path; links and dots are followed first, so that "." has a name. */
static char *name_of(const char *path)
{
    char *whole = realpath(path, NULL);
    if (!whole) return NULL;
    const char *slash = strrchr(whole, '/');
    char *name = pumit__strdup(slash && slash[1] ? slash + 1 : "root");
    free(whole);
    return name;
}

static bool is_list(const char *path)
{
    return pumit__ends_with(path, ".txt") || pumit__ends_with(path, ".csv");
}

/* An image by itself belongs to its folder, like those beside it; everything else is a collection of its own. */
static char *collection_of(const char *path, bool folder)
{
    if (folder || is_list(path) || pumit__ends_with(path, ".npz")) return name_of(path);
    const char *slash = strrchr(path, '/');
    char *above = slash ? pumit__format("%.*s", (int)(slash - path) + 1, path) : pumit__strdup(".");
    char *name = above ? name_of(above) : NULL;
    free(above);
    return name;
}

static pumit_status add_existing(pumit__sources *sources, const char *path, bool folder)
{
    const pumit__source_tags none = PUMIT__NO_TAGS;
    if (pumit__prepared_is(path)) {
        char *table = pumit__prepared_folder(path);
        if (!table) return pumit__fail_memory((int64_t)strlen(path), "a path");
        const pumit_status status = pumit__sources_push(sources, table, &none, PUMIT_OK);
        free(table);
        return status;
    }
    if (folder) return pumit__sources_add_folder(sources, path, &none);
    if (is_list(path)) return pumit__sources_add_list(sources, path);
    return pumit__sources_push(sources, path, &none, PUMIT_OK);
}

static pumit_status add_one(pumit__sources *sources, const char *path, const struct stat *info)
{
    const bool folder = S_ISDIR(info->st_mode);
    char *collection = collection_of(path, folder);
    if (!collection) return pumit__fail_memory((int64_t)strlen(path), "a path");
    sources->collection = collection;
    const pumit_status status = add_existing(sources, path, folder);
    sources->collection = NULL;
    free(collection);
    return status;
}

static pumit_status fail_missing(const char *path, int code)
{
    return pumit__fail(pumit__status_of_errno(code), "%s: cannot read: %s", path, strerror(code));
}

/* Every match counts as if it had been given itself. */
static pumit_status add_pattern(pumit__sources *sources, const char *pattern)
{
    glob_t found;
    struct stat info;
    const int code = glob(pattern, 0, NULL, &found);
    if (code == GLOB_NOSPACE) return pumit__fail_memory(0, pattern);
    if (code != 0) return pumit__fail(PUMIT_ERROR_NOT_FOUND, "%s: matches no file", pattern);
    pumit_status status = PUMIT_OK;
    for (size_t i = 0; status == PUMIT_OK && i < found.gl_pathc; i++)
        status = stat(found.gl_pathv[i], &info) == 0 ? add_one(sources, found.gl_pathv[i], &info)
                                                     : fail_missing(found.gl_pathv[i], errno);
    globfree(&found);
    return status;
}

pumit_status pumit__sources_add(pumit__sources *sources, const char *path)
{
    struct stat info;
    PUMIT__REQUIRE(path, "a path is NULL");
    if (stat(path, &info) == 0) return add_one(sources, path, &info);
    if (errno == ENOENT && strpbrk(path, "*?[")) return add_pattern(sources, path);
    return fail_missing(path, errno);
}
