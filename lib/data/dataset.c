/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/data/dataset.h"

#include "lib/tensor/context.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

pumit_status pumit__dataset_push(pumit_dataset *dataset, pumit_volume *volume, const char *name,
                                 int64_t label)
{
    int64_t bytes = (int64_t)sizeof(float);
    for (int i = 0; i < 4; i++) bytes *= volume->shape[i];
    if (bytes > dataset->most_bytes - dataset->bytes) {
        pumit_volume_release(volume);
        dataset->full = true;
        return pumit__fail(PUMIT_ERROR_LIMIT,
                           "%s: with it the images need more than the %lld bytes allowed; raise "
                           "\"limits.bytes\" or open fewer",
                           name, (long long)dataset->most_bytes);
    }
    char *copy = pumit__strdup(name);
    if (!copy || !pumit__grow(&dataset->items, &dataset->capacity, dataset->count + 1,
                              sizeof *dataset->items)) {
        free(copy);
        pumit_volume_release(volume);
        return pumit__fail_memory((int64_t)sizeof *dataset->items, "a list of images");
    }
    dataset->items[dataset->count++] = (pumit__dataset_item){volume, copy, label, 1};
    dataset->bytes += bytes;
    return PUMIT_OK;
}

pumit_status pumit__dataset_skip(pumit_dataset *dataset, pumit_status status)
{
    if (status == PUMIT_OK || status == PUMIT_ERROR_OUT_OF_MEMORY || dataset->full) return status;
    dataset->skipped++;
    snprintf(dataset->reason, sizeof dataset->reason, "%s", pumit_last_error());
    pumit__log(dataset->ctx, PUMIT_LOG_WARNING, "skipped: %s", pumit_last_error());
    return PUMIT_OK;
}

/* The volumes of a 4D file are read in one pass. */
static pumit_status add_nifti(pumit_dataset *dataset, const pumit__sniffed *file, int64_t label)
{
    pumit__nifti *nifti;
    PUMIT__TRY(pumit__nifti_open(&nifti, dataset->ctx, file));
    const int64_t count = pumit__nifti_count(nifti);
    pumit_status status = PUMIT_OK;
    for (int64_t i = 0; status == PUMIT_OK && i < count; i++) {
        pumit_volume *volume;
        char *name = count == 1 ? pumit__strdup(file->path)
                                : pumit__format("%s[%lld]", file->path, (long long)i);
        status = name ? pumit__nifti_read(&volume, nifti, i) : pumit__fail_memory(0, file->path);
        if (status == PUMIT_OK) status = pumit__dataset_push(dataset, volume, name, label);
        free(name);
    }
    pumit__nifti_close(nifti);
    return status;
}

static pumit_status add_picture(pumit_dataset *dataset, const pumit__sniffed *file, int64_t label)
{
    pumit_volume *volume;
    PUMIT__TRY(file->kind == PUMIT__FILE_PNG ? pumit__png_read(&volume, dataset->ctx, file)
                                             : pumit__jpeg_read(&volume, dataset->ctx, file));
    return pumit__dataset_push(dataset, volume, file->path, label);
}

static pumit_status add_sniffed(pumit_dataset *dataset, const pumit__sniffed *file, int64_t label)
{
    switch (file->kind) {
    case PUMIT__FILE_NIFTI:
        return add_nifti(dataset, file, label);
    case PUMIT__FILE_ZIP:
        return pumit__dataset_add_npz(dataset, file->path, label);
    default:
        return add_picture(dataset, file, label);
    }
}

pumit_status pumit__dataset_add_file(pumit_dataset *dataset, const char *path, int64_t label)
{
    pumit__sniffed file;
    pumit_status status = pumit__sniff(&file, path);
    if (status == PUMIT_OK) status = add_sniffed(dataset, &file, label);
    pumit__sniffed_free(&file);
    return pumit__dataset_skip(dataset, status);
}

static pumit_status add_path(pumit_dataset *dataset, const char *path, bool folders_are_labels)
{
    struct stat info;
    PUMIT__REQUIRE(path, "pumit_dataset_open: a path is NULL");
    if (stat(path, &info) != 0)
        return pumit__fail(errno == ENOENT || errno == ENOTDIR ? PUMIT_ERROR_NOT_FOUND
                                                               : PUMIT_ERROR_IO,
                           "%s: cannot read: %s", path, strerror(errno));
    if (folders_are_labels) return pumit__dataset_add_classes(dataset, path);
    if (S_ISDIR(info.st_mode)) return pumit__dataset_add_folder(dataset, path, -1);
    if (pumit__ends_with(path, ".txt") || pumit__ends_with(path, ".csv"))
        return pumit__dataset_add_list(dataset, path);
    return pumit__dataset_add_file(dataset, path, -1);
}

static pumit_status read_options(pumit_dataset *dataset, int32_t *folders_are_labels,
                                 const pumit_config *options)
{
    PUMIT__TRY(pumit_config_get_string(&dataset->split, options, "split", NULL));
    const char *split = dataset->split;
    PUMIT__REQUIRE(!split || strcmp(split, "train") == 0 || strcmp(split, "val") == 0 ||
                       strcmp(split, "test") == 0,
                   "split: \"%s\" is not \"train\", \"val\" or \"test\"", split);
    PUMIT__TRY(pumit_config_get_bool(folders_are_labels, options, "folders_are_labels", 0));
    PUMIT__TRY(
        pumit_config_get_int(&dataset->most_bytes, options, "limits.bytes", INT64_C(4) << 30));
    PUMIT__REQUIRE(dataset->most_bytes > 0, "limits.bytes: %lld is not positive",
                   (long long)dataset->most_bytes);
    return PUMIT_OK;
}

static pumit_status fail_empty(const pumit_dataset *dataset, int32_t count, const char *path)
{
    if (dataset->skipped > 0)
        return pumit__fail(
            PUMIT_ERROR_NOT_FOUND, "%s%s: none of %lld files could be read; the last: %s", path,
            count > 1 ? " and the others" : "", (long long)dataset->skipped, dataset->reason);
    return pumit__fail(PUMIT_ERROR_NOT_FOUND, "%s%s: there is no image%s%s in it", path,
                       count > 1 ? " and the others" : "", dataset->split ? " of the split " : "",
                       dataset->split ? dataset->split : "");
}

static void count_classes(pumit_dataset *dataset)
{
    for (int64_t i = 0; i < dataset->count; i++) {
        const int64_t label = dataset->items[i].label;
        if (label < 0) {
            dataset->classes = 0;
            return;
        }
        if (label >= dataset->classes) dataset->classes = label + 1;
    }
}

pumit_status pumit_dataset_open(pumit_dataset **out, pumit_context *context, int32_t count,
                                const char *const *paths, const pumit_config *options)
{
    PUMIT__REQUIRE(out && context && paths && count > 0,
                   "pumit_dataset_open: an argument is NULL, or there is no path");
    *out = NULL;
    pumit_dataset *dataset = pumit__calloc(1, sizeof *dataset);
    if (!dataset) return pumit__fail_memory(sizeof *dataset, "a dataset");
    dataset->ctx = context;
    int32_t folders_are_labels = 0;
    pumit_status status;
    PUMIT__GO(read_options(dataset, &folders_are_labels, options));
    for (int32_t i = 0; i < count; i++)
        PUMIT__GO(add_path(dataset, paths[i], folders_are_labels != 0));
    if (dataset->count == 0) PUMIT__GO(fail_empty(dataset, count, paths[0]));
    count_classes(dataset);
    dataset->ctx = NULL;
    dataset->split = NULL;
    *out = dataset;
    return PUMIT_OK;
out:
    pumit_dataset_release(dataset);
    return status;
}

void pumit_dataset_release(pumit_dataset *dataset)
{
    if (!dataset) return;
    for (int64_t i = 0; i < dataset->count; i++) {
        pumit_volume_release(dataset->items[i].volume);
        free(dataset->items[i].name);
    }
    free(dataset->items);
    free(dataset);
}

int64_t pumit_dataset_count(const pumit_dataset *dataset)
{
    return dataset->count;
}

int64_t pumit_dataset_skipped(const pumit_dataset *dataset)
{
    return dataset->skipped;
}

int64_t pumit_dataset_classes(const pumit_dataset *dataset)
{
    return dataset->classes;
}

static const pumit__dataset_item *item(const pumit_dataset *dataset, int64_t i)
{
    return i >= 0 && i < dataset->count ? &dataset->items[i] : NULL;
}

const pumit_volume *pumit_dataset_volume(const pumit_dataset *dataset, int64_t i)
{
    return item(dataset, i) ? item(dataset, i)->volume : NULL;
}

const char *pumit_dataset_name(const pumit_dataset *dataset, int64_t i)
{
    return item(dataset, i) ? item(dataset, i)->name : NULL;
}

int64_t pumit_dataset_label(const pumit_dataset *dataset, int64_t i)
{
    return item(dataset, i) ? item(dataset, i)->label : -1;
}
