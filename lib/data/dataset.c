/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/data/dataset.h"

#include "lib/data/images.h"
#include "lib/data/source.h"
#include "lib/tensor/context.h"

#include <fnmatch.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool is_rule(const cJSON *rule)
{
    return cJSON_GetArraySize(rule) == 2 && cJSON_IsString(rule->child) &&
           cJSON_IsNumber(rule->child->next) && rule->child->next->valuedouble >= 0;
}

/* Of the first rule whose pattern matches; 1 if none does. */
static double factor_of(const cJSON *rules, const char *name)
{
    for (const cJSON *rule = rules ? rules->child : NULL; rule; rule = rule->next)
        if (fnmatch(rule->child->valuestring, name, 0) == 0) return rule->child->next->valuedouble;
    return 1;
}

pumit_status pumit__dataset_push(pumit_dataset *dataset, pumit_volume *volume, const char *name,
                                 int64_t label, double weight)
{
    int64_t bytes = volume->file ? 0 : (int64_t)sizeof(float);
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
    dataset->items[dataset->count++] =
        (pumit__dataset_item){volume, copy, label, weight * factor_of(dataset->weights, name)};
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

static char *name_of(const pumit__images *images, const pumit__image_tag *tag)
{
    const char *path = images->file.path;
    const long long index = tag->index;
    if (images->archive) return pumit__format("%s[%s %lld]", path, tag->split, index);
    return images->count == 1 ? pumit__strdup(path) : pumit__format("%s[%lld]", path, index);
}

static pumit_status add_images(pumit_dataset *dataset, pumit__images *images,
                               const pumit__source *source)
{
    for (;;) {
        pumit_volume *volume;
        pumit__image_tag tag;
        PUMIT__TRY(pumit__images_next(&volume, &tag, images));
        if (!volume) return PUMIT_OK;
        char *name = name_of(images, &tag);
        if (!name) {
            pumit_volume_release(volume);
            return pumit__fail_memory(0, source->path);
        }
        const pumit_status status = pumit__dataset_push(
            dataset, volume, name, tag.label < 0 ? source->label : tag.label, source->weight);
        free(name);
        PUMIT__TRY(status);
    }
}

/* What comes before the first unreadable byte of a file stays. */
static pumit_status add_source(pumit_dataset *dataset, const pumit__source *source)
{
    if (source->status != PUMIT_OK) return pumit__fail(source->status, "%s", source->reason);
    if (source->prepared)
        return pumit__dataset_add_prepared(dataset, source->path, source->label, source->weight);
    pumit__images images;
    pumit_status status = pumit__images_open(&images, dataset->ctx, source->path, dataset->split,
                                             dataset->most_bytes);
    if (status == PUMIT_OK) status = add_images(dataset, &images, source);
    pumit__images_close(&images);
    return status;
}

static void on_ignored(void *user, const char *path)
{
    const pumit_dataset *dataset = user;
    pumit__log(dataset->ctx, PUMIT_LOG_WARNING, "ignored: %s: is in no class's folder", path);
}

static pumit_status add_paths(pumit_dataset *dataset, int32_t count, const char *const *paths,
                              bool folders_are_labels)
{
    pumit__sources sources = {.split = dataset->split, .ignored = on_ignored, .user = dataset};
    pumit_status status = PUMIT_OK;
    for (int32_t i = 0; status == PUMIT_OK && i < count; i++)
        status = folders_are_labels ? pumit__sources_add_classes(&sources, paths[i])
                                    : pumit__sources_add(&sources, paths[i]);
    for (int64_t i = 0; status == PUMIT_OK && i < sources.count; i++)
        status = pumit__dataset_skip(dataset, add_source(dataset, &sources.items[i]));
    pumit__sources_free(&sources);
    return status;
}

static pumit_status read_options(pumit_dataset *dataset, int32_t *folders_are_labels,
                                 const pumit_config *options)
{
    PUMIT__TRY(pumit_config_get_string(&dataset->split, options, "split", NULL));
    const char *split = dataset->split;
    PUMIT__REQUIRE(!split || strcmp(split, "train") == 0 || strcmp(split, "val") == 0 ||
                       strcmp(split, "test") == 0,
                   "split: \"%s\" is not \"train\", \"val\" or \"test\"", split);
    dataset->weights = cJSON_GetObjectItemCaseSensitive(pumit__config_json(options), "weights");
    PUMIT__REQUIRE(!dataset->weights || cJSON_IsArray(dataset->weights),
                   "weights: is no list of rules [\"pattern\", factor]");
    for (const cJSON *rule = dataset->weights ? dataset->weights->child : NULL; rule;
         rule = rule->next)
        PUMIT__REQUIRE(is_rule(rule),
                       "weights: a rule is not [\"pattern\", factor] with a factor of 0 or more");
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
    PUMIT__GO(add_paths(dataset, count, paths, folders_are_labels != 0));
    if (dataset->count == 0) PUMIT__GO(fail_empty(dataset, count, paths[0]));
    count_classes(dataset);
    dataset->ctx = NULL;
    dataset->split = NULL;
    dataset->weights = NULL;
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

uint64_t pumit__dataset_digest(const pumit_dataset *dataset)
{
    uint64_t digest = 0;
    for (int64_t i = 0; i < dataset->count; i++) {
        uint64_t weight;
        memcpy(&weight, &dataset->items[i].weight, sizeof weight);
        digest = pumit__random(digest, pumit__random_stream(dataset->items[i].name), weight);
    }
    return digest;
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
