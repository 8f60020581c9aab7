/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/data/dataset.h"

#include "lib/data/images.h"
#include "lib/data/source.h"
#include "lib/tensor/context.h"

#include <fnmatch.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* How what a path holds is laid out. */
typedef struct {
    int32_t folders_are_labels, label_maps;
} layout;

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

/* In memory: a byte a voxel of the label map, floats, and what there is of the smallest image, as a file of a few bytes can hold millions;
 * a prepared image stays in its file. */
static int64_t bytes_of(const pumit__dataset_item *item)
{
    const int64_t *shape = item->volume->shape;
    const int64_t voxels = shape[0] * shape[1] * shape[2], labels = item->label_map ? voxels : 0;
    if (item->volume->file) return labels;
    return labels + voxels * shape[3] * (int64_t)sizeof(float) +
           (int64_t)(sizeof *item + sizeof *item->volume + strlen(item->name));
}

/* One number an image, or the same columns for all that are labelled. */
static pumit_status check_columns(pumit_dataset *dataset, const pumit__label *label,
                                  const char *name)
{
    if (label->value < 0) return PUMIT_OK;
    if (!dataset->labelled) dataset->columns = label->columns;
    dataset->labelled = true;
    if (label->columns == dataset->columns) return PUMIT_OK;
    return pumit__fail(PUMIT_ERROR_FORMAT,
                       "%s: has %d columns of labels, images before it have %d: open them apart",
                       name, (int)label->columns, (int)dataset->columns);
}

pumit_status pumit__dataset_push(pumit_dataset *dataset, const pumit__dataset_item *given)
{
    pumit__dataset_item item = *given;
    const char *const name = given->name;
    const int64_t bytes = bytes_of(&item);
    const pumit_status fits = check_columns(dataset, &item.label, name);
    if (fits != PUMIT_OK) {
        pumit_volume_release(item.volume);
        pumit_label_map_release(item.label_map);
        return fits;
    }
    if (bytes > dataset->most_bytes - dataset->bytes) {
        pumit_volume_release(item.volume);
        pumit_label_map_release(item.label_map);
        dataset->full = true;
        return pumit__fail(PUMIT_ERROR_LIMIT,
                           "%s: with it the images need more than the %lld bytes allowed; raise "
                           "\"limits.bytes\" or open fewer",
                           name, (long long)dataset->most_bytes);
    }
    item.name = pumit__strdup(name);
    if (!item.name || !pumit__grow(&dataset->items, &dataset->capacity, dataset->count + 1,
                                   sizeof *dataset->items)) {
        free(item.name);
        pumit_volume_release(item.volume);
        pumit_label_map_release(item.label_map);
        return pumit__fail_memory((int64_t)sizeof *dataset->items, "a list of images");
    }
    item.weight *= factor_of(dataset->weights, name);
    dataset->items[dataset->count++] = item;
    dataset->bytes += bytes;
    return PUMIT_OK;
}

pumit_status pumit__dataset_skip(pumit_dataset *dataset, pumit_status status)
{
    if (status == PUMIT_OK || status == PUMIT_ERROR_OUT_OF_MEMORY || dataset->full) return status;
    dataset->skipped++;
    dataset->failed = status;
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

static int64_t largest_class(const pumit_label_map *map)
{
    uint8_t most = 0;
    for (int64_t i = 0; i < map->shape[0] * map->shape[1] * map->shape[2]; i++)
        if (map->labels[i] > most) most = map->labels[i];
    return most;
}

/* A stray voxel of a class that the data set does not know would give the network a class more. */
static pumit_status read_label_map(pumit_label_map **out, const pumit_dataset *dataset,
                                   const pumit__images *images, const pumit_volume *volume,
                                   const pumit__source *source)
{
    *out = NULL;
    if (!source->label_map) return PUMIT_OK;
    if (images->archive || images->count != 1)
        return pumit__fail(PUMIT_ERROR_SHAPE,
                           "%s: holds several images: one with a label map stands by itself",
                           source->path);
    const pumit_status status = pumit_label_map_read(out, dataset->ctx, source->label_map, volume);
    if (status != PUMIT_OK) return pumit__fail_in(status, "%s", source->path);
    const int64_t largest = largest_class(*out);
    if (dataset->described == 0 || largest < dataset->described) return PUMIT_OK;
    pumit_label_map_release(*out);
    *out = NULL;
    return pumit__fail(PUMIT_ERROR_FORMAT,
                       "%s: %s: has class %lld, but the \"labels\" of dataset.json end at %lld: "
                       "correct the label map, or name the class there",
                       source->path, source->label_map, (long long)largest,
                       (long long)dataset->described - 1);
}

/* Takes `volume`. */
static pumit_status add_image(pumit_dataset *dataset, pumit__images *images, pumit_volume *volume,
                              const pumit__image_tag *tag, const pumit__source *source)
{
    pumit__dataset_item item = {.volume = volume,
                                .name = name_of(images, tag),
                                .label = tag->label.value < 0 ? source->label : tag->label,
                                .weight = source->weight};
    pumit_status status = item.name
                              ? read_label_map(&item.label_map, dataset, images, volume, source)
                              : pumit__fail_memory(0, source->path);
    if (status == PUMIT_OK)
        status = pumit__dataset_push(dataset, &item);
    else
        pumit_volume_release(volume);
    free(item.name);
    return status;
}

static pumit_status add_images(pumit_dataset *dataset, pumit__images *images,
                               const pumit__source *source)
{
    for (;;) {
        pumit_volume *volume;
        pumit__image_tag tag;
        const pumit_status status = pumit__images_next(&volume, &tag, images);
        dataset->lacking += status == PUMIT_ERROR_NOT_FOUND && images->archive;
        PUMIT__TRY(status);
        if (!volume) return PUMIT_OK;
        PUMIT__TRY(add_image(dataset, images, volume, &tag, source));
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

/* Of the last description that names any. `count`: its classes, 0 if that cannot be told from it. */
static pumit_status take_names(pumit__class_names *classes, int64_t *count,
                               const cJSON *description, const char *path)
{
    bool all = true;
    const cJSON *const labels = cJSON_GetObjectItemCaseSensitive(description, "labels");
    if (labels && !cJSON_IsObject(labels))
        return pumit__fail(PUMIT_ERROR_FORMAT,
                           "%s: \"labels\" of its dataset.json is not {\"1\": NAME, ...} or "
                           "{NAME: 1, ...}",
                           path);
    for (const cJSON *item = labels ? labels->child : NULL; item; item = item->next) {
        int64_t number;
        const char *name = item->string;
        if (cJSON_IsString(item)) { /* "1": "liver" of the Decathlon; else "liver": 1 */
            name = item->valuestring;
            number = strtoll(item->string, NULL, 10);
        } else if (!pumit__json_int(&number, item)) {
            all = false; /* regions of several numbers */
            continue;
        }
        if (number < 0 || number >= PUMIT__MOST_CLASSES) continue;
        PUMIT__TRY(pumit__class_put(classes, number, name));
    }
    *count = all && labels && labels->child ? classes->count : 0;
    return PUMIT_OK;
}

static pumit_status add_path(pumit__sources *sources, int64_t *described, const char *path,
                             const layout *kind)
{
    cJSON *description = NULL;
    if (kind->folders_are_labels) return pumit__sources_add_classes(sources, path);
    if (!kind->label_maps) return pumit__sources_add(sources, path);
    pumit_status status = pumit__sources_add_pairs(sources, &description, path);
    if (status == PUMIT_OK) status = take_names(&sources->classes, described, description, path);
    cJSON_Delete(description);
    return status;
}

static pumit_status add_paths(pumit_dataset *dataset, int32_t count, const char *const *paths,
                              const layout *kind)
{
    pumit__sources sources = {.split = dataset->split, .ignored = on_ignored, .user = dataset};
    pumit_status status = pumit__class_read(&sources.classes, dataset->given_names);
    for (int32_t i = 0; status == PUMIT_OK && i < count; i++) {
        int64_t described = 0;
        status = add_path(&sources, &described, paths[i], kind);
        /* A path that tells nothing may hold any class. */
        dataset->described = i > 0 && dataset->described == 0 ? 0 : described;
    }
    for (int64_t i = 0; status == PUMIT_OK && i < sources.count; i++)
        status = pumit__dataset_skip(dataset, add_source(dataset, &sources.items[i]));
    dataset->names = sources.classes;
    sources.classes = (pumit__class_names){0};
    pumit__sources_free(&sources);
    return status;
}

static pumit_status read_options(pumit_dataset *dataset, layout *kind, const pumit_config *options)
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
    PUMIT__TRY(pumit_config_get_bool(&kind->folders_are_labels, options, "folders_are_labels", 0));
    PUMIT__TRY(pumit_config_get_bool(&kind->label_maps, options, "label_maps", 0));
    PUMIT__REQUIRE(!kind->folders_are_labels || !kind->label_maps,
                   "folders_are_labels and label_maps: a path is laid out in one way");
    dataset->given_names =
        cJSON_GetObjectItemCaseSensitive(pumit__config_json(options), "class_names");
    PUMIT__TRY(
        pumit_config_get_int(&dataset->most_bytes, options, "limits.bytes", INT64_C(4) << 30));
    PUMIT__REQUIRE(dataset->most_bytes > 0, "limits.bytes: %lld is not positive",
                   (long long)dataset->most_bytes);
    return PUMIT_OK;
}

/* PUMIT_ERROR_NOT_FOUND is kept for what is not there, so that nobody takes damage for it. */
static pumit_status fail_empty(const pumit_dataset *dataset, int32_t count, const char *path)
{
    pumit_status status = dataset->failed;
    if (status == PUMIT_ERROR_NOT_FOUND && dataset->skipped > dataset->lacking)
        status = PUMIT_ERROR_IO;
    if (dataset->skipped > 0)
        return pumit__fail(status, "%s%s: none of %lld files could be read; the last: %s", path,
                           count > 1 ? " and the others" : "", (long long)dataset->skipped,
                           dataset->reason);
    return pumit__fail(PUMIT_ERROR_NOT_FOUND, "%s%s: there is no image%s%s in it", path,
                       count > 1 ? " and the others" : "", dataset->split ? " of the split " : "",
                       dataset->split ? dataset->split : "");
}

static int64_t largest_label(const pumit__dataset_item *item)
{
    return item->label_map ? largest_class(item->label_map) : item->label.value;
}

static void count_classes(pumit_dataset *dataset)
{
    if (!dataset->items[0].label_map)
        dataset->classes = dataset->columns ? dataset->columns : dataset->names.count;
    for (int64_t i = 0; i < dataset->count; i++) {
        const int64_t label = largest_label(&dataset->items[i]);
        if (label < 0) {
            dataset->classes = 0;
            return;
        }
        if (!dataset->columns && label >= dataset->classes) dataset->classes = label + 1;
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
    layout kind = {0};
    pumit_status status;
    PUMIT__GO(read_options(dataset, &kind, options));
    PUMIT__GO(add_paths(dataset, count, paths, &kind));
    if (dataset->count == 0) PUMIT__GO(fail_empty(dataset, count, paths[0]));
    count_classes(dataset);
    dataset->ctx = NULL;
    dataset->split = NULL;
    dataset->weights = dataset->given_names = NULL;
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
        pumit_label_map_release(dataset->items[i].label_map);
        free(dataset->items[i].name);
    }
    free(dataset->items);
    pumit__class_free(&dataset->names);
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
    return item(dataset, i) && !dataset->columns ? item(dataset, i)->label.value : -1;
}

int32_t pumit_dataset_multilabel(const pumit_dataset *dataset)
{
    return dataset->columns > 0;
}

int32_t pumit_dataset_has_label(const pumit_dataset *dataset, int64_t i, int64_t label)
{
    const int64_t value = item(dataset, i) ? item(dataset, i)->label.value : -1;
    if (value < 0 || label < 0 || (dataset->columns && label >= dataset->columns)) return -1;
    return dataset->columns ? (int32_t)(value >> label & 1) : value == label;
}

const char *pumit_dataset_class_name(const pumit_dataset *dataset, int64_t label)
{
    return label >= 0 && label < dataset->names.count ? dataset->names.names[label] : NULL;
}

const pumit_label_map *pumit_dataset_label_map(const pumit_dataset *dataset, int64_t i)
{
    return item(dataset, i) ? item(dataset, i)->label_map : NULL;
}
