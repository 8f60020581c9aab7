/* SPDX-License-Identifier: Apache-2.0 */
/* Folders as sources of a dataset: all levels, in the order of names, hidden entries left out. */
#include "lib/data/dataset.h"

#include "lib/tensor/context.h"

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
        return pumit__fail(PUMIT_ERROR_IO, "%s: cannot read the folder: %s", folder,
                           strerror(errno));
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
                                          ".img.gz", ".png",    ".jpg", ".jpeg",   ".npz"};
    for (int64_t i = 0; i < PUMIT__COUNT(endings); i++)
        if (pumit__ends_with(path, endings[i])) return true;
    return false;
}

/* The .img of a pair, which its header already stands for. */
static bool is_second_half(const char *path)
{
    char *header = pumit__header_path(path);
    const bool second = header && strcmp(header, path) != 0;
    free(header);
    return second;
}

static pumit_status walk(pumit_dataset *dataset, const char *folder, int64_t label,
                         const level *above);

static pumit_status visit(pumit_dataset *dataset, const char *path, int64_t label,
                          const level *above)
{
    struct stat info;
    if (stat(path, &info) == 0 && S_ISDIR(info.st_mode)) return walk(dataset, path, label, above);
    if (!has_image_ending(path) || is_second_half(path)) return PUMIT_OK;
    return pumit__dataset_add_file(dataset, path, label);
}

static pumit_status walk(pumit_dataset *dataset, const char *folder, int64_t label,
                         const level *above)
{
    struct stat info;
    level here = {.above = above, .depth = above ? above->depth + 1 : 0};
    if (stat(folder, &info) != 0 || here.depth == MOST_LEVELS) return PUMIT_OK;
    here.device = info.st_dev;
    here.inode = info.st_ino;
    for (const level *l = above; l; l = l->above)
        if (l->device == here.device && l->inode == here.inode) return PUMIT_OK;
    listing entries;
    const pumit_status listed = list_folder(&entries, folder);
    if (listed != PUMIT_OK) return pumit__dataset_skip(dataset, listed);
    pumit_status status = PUMIT_OK;
    for (int64_t i = 0; status == PUMIT_OK && i < entries.count; i++)
        status = visit(dataset, entries.paths[i], label, &here);
    free_listing(&entries);
    return status;
}

pumit_status pumit__dataset_add_folder(pumit_dataset *dataset, const char *path, int64_t label)
{
    return walk(dataset, path, label, NULL);
}

pumit_status pumit__dataset_add_classes(pumit_dataset *dataset, const char *path)
{
    listing entries;
    struct stat info;
    if (stat(path, &info) != 0 || !S_ISDIR(info.st_mode))
        return pumit__fail(PUMIT_ERROR_INVALID_ARGUMENT,
                           "%s: is not a folder of one folder per class (folders_are_labels)",
                           path);
    PUMIT__TRY(list_folder(&entries, path));
    pumit_status status = PUMIT_OK;
    int64_t label = 0;
    for (int64_t i = 0; status == PUMIT_OK && i < entries.count; i++) {
        if (stat(entries.paths[i], &info) == 0 && S_ISDIR(info.st_mode))
            status = pumit__dataset_add_folder(dataset, entries.paths[i], label++);
        else if (has_image_ending(entries.paths[i]))
            pumit__log(dataset->ctx, PUMIT_LOG_WARNING, "ignored: %s: is in no class's folder",
                       entries.paths[i]);
    }
    free_listing(&entries);
    return status;
}
