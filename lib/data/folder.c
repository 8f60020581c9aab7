/* SPDX-License-Identifier: Apache-2.0 */
/* Folders as sources: all levels, in the order of names, hidden entries left out. */
#include "lib/data/source.h"

#include "lib/data/prepared.h"
#include "lib/data/volume.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MOST_LEVELS 64

typedef struct {
    char **paths; /* folder/name, in the order of names */
    int64_t count, capacity;
} listing;

/* The folders that one is in: a link back to one of them is not followed. */
typedef struct level {
    const struct level *above;
    dev_t device;
    ino_t inode;
    int depth;
} level;

static int compare_paths(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void free_listing(listing *l)
{
    for (int64_t i = 0; i < l->count; i++) free(l->paths[i]);
    free(l->paths);
}

static pumit_status append(listing *l, const char *folder, const char *name)
{
    const size_t n = strlen(folder);
    char *path = pumit__format("%s%s%s", folder, n && folder[n - 1] == '/' ? "" : "/", name);
    if (!path || !pumit__grow(&l->paths, &l->capacity, l->count + 1, sizeof *l->paths)) {
        free(path);
        return pumit__fail_memory((int64_t)n, "a list of files");
    }
    l->paths[l->count++] = path;
    return PUMIT_OK;
}

static pumit_status list_folder(listing *out, const char *folder)
{
    *out = (listing){0};
    DIR *stream = opendir(folder);
    if (!stream)
        return pumit__fail(errno == ENOMEM ? PUMIT_ERROR_OUT_OF_MEMORY : PUMIT_ERROR_IO,
                           "%s: cannot read the folder: %s", folder, strerror(errno));
    pumit_status status = PUMIT_OK;
    const struct dirent *entry;
    while (status == PUMIT_OK && (entry = readdir(stream)) != NULL)
        if (entry->d_name[0] != '.') status = append(out, folder, entry->d_name);
    closedir(stream);
    if (status != PUMIT_OK) {
        free_listing(out);
        return status;
    }
    if (out->count > 0) qsort(out->paths, (size_t)out->count, sizeof *out->paths, compare_paths);
    return PUMIT_OK;
}

static bool has_image_ending(const char *path)
{
    static const char *const endings[] = {".nii",    ".nii.gz", ".hdr", ".hdr.gz", ".img",
                                          ".img.gz", ".png",    ".jpg", ".jpeg",   ".tif",
                                          ".tiff",   ".npy",    ".npz"};
    for (int64_t i = 0; i < PUMIT__COUNT(endings); i++)
        if (pumit__ends_with(path, endings[i])) return true;
    return false;
}

/* The .img of a pair, which its header already stands for. */
static pumit_status is_second_half(bool *out, const char *path)
{
    char *header = pumit__header_path(path);
    if (!header) return pumit__fail_memory((int64_t)strlen(path), "a path");
    *out = strcmp(header, path) != 0;
    free(header);
    return PUMIT_OK;
}

static pumit_status walk(pumit__sources *sources, const char *folder,
                         const pumit__source_tags *tags, const level *above);

/* A folder with an image's name is somebody's mistake, unless images lie in it. */
static pumit_status walk_named(pumit__sources *sources, const char *folder,
                               const pumit__source_tags *tags, const level *above)
{
    const int64_t before = sources->count;
    PUMIT__TRY(walk(sources, folder, tags, above));
    if (sources->count > before || !has_image_ending(folder)) return PUMIT_OK;
    return pumit__sources_push(
        sources, folder, tags,
        pumit__fail(PUMIT_ERROR_FORMAT, "%s: is a folder without images, not an image", folder));
}

static pumit_status visit(pumit__sources *sources, const char *path, const pumit__source_tags *tags,
                          const level *above)
{
    struct stat info;
    if (stat(path, &info) == 0 && S_ISDIR(info.st_mode))
        return walk_named(sources, path, tags, above);
    if (!has_image_ending(path)) return PUMIT_OK;
    bool second = false;
    PUMIT__TRY(is_second_half(&second, path));
    if (second) return PUMIT_OK;
    return pumit__sources_push(sources, path, tags, PUMIT_OK);
}

static pumit_status walk(pumit__sources *sources, const char *folder,
                         const pumit__source_tags *tags, const level *above)
{
    struct stat info;
    level here = {.above = above, .depth = above ? above->depth + 1 : 0};
    if (stat(folder, &info) != 0 || here.depth == MOST_LEVELS) return PUMIT_OK;
    here.device = info.st_dev;
    here.inode = info.st_ino;
    for (const level *l = above; l; l = l->above)
        if (l->device == here.device && l->inode == here.inode) return PUMIT_OK;
    if (pumit__prepared_is(folder)) return pumit__sources_push(sources, folder, tags, PUMIT_OK);
    listing entries;
    const pumit_status listed = list_folder(&entries, folder);
    if (listed == PUMIT_ERROR_OUT_OF_MEMORY) return listed;
    if (listed != PUMIT_OK) return pumit__sources_push(sources, folder, tags, listed);
    pumit_status status = PUMIT_OK;
    for (int64_t i = 0; status == PUMIT_OK && i < entries.count; i++)
        status = visit(sources, entries.paths[i], tags, &here);
    free_listing(&entries);
    return status;
}

pumit_status pumit__sources_add_folder(pumit__sources *sources, const char *path,
                                       const pumit__source_tags *tags)
{
    return walk_named(sources, path, tags, NULL);
}

static bool is_folder(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

static pumit_status add_class(pumit__sources *sources, const char *path)
{
    pumit__source_tags tags = PUMIT__NO_TAGS;
    if (is_folder(path)) {
        tags.label.value = pumit__class_find(&sources->classes, last_part(path));
        if (tags.label.value >= 0) return walk(sources, path, &tags, NULL);
        return pumit__fail(PUMIT_ERROR_FORMAT, "%s: is none of the %lld classes", path,
                           (long long)sources->classes.count);
    }
    if (has_image_ending(path) && sources->ignored) sources->ignored(sources->user, path);
    return PUMIT_OK;
}

pumit_status pumit__sources_add_classes(pumit__sources *sources, const char *path)
{
    listing entries;
    if (!is_folder(path))
        return pumit__fail(PUMIT_ERROR_INVALID_ARGUMENT,
                           "%s: is not a folder of one folder per class (folders_are_labels)",
                           path);
    PUMIT__TRY(list_folder(&entries, path));
    sources->collection = last_part(path);
    const bool named = sources->classes.count > 0;
    pumit_status status = PUMIT_OK;
    for (int64_t i = 0; status == PUMIT_OK && !named && i < entries.count; i++)
        if (is_folder(entries.paths[i]))
            status = pumit__class_add(&sources->classes, last_part(entries.paths[i]));
    for (int64_t i = 0; status == PUMIT_OK && i < entries.count; i++)
        status = add_class(sources, entries.paths[i]);
    sources->collection = NULL;
    free_listing(&entries);
    return status;
}
