/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Images and their label maps, as segmentation data sets are laid out:
 *   FOLDER/dataset.json with "training": [{"image": ..., "label": ...}] (Medical Segmentation Decathlon);
 *   FOLDER/imagesTr and FOLDER/labelsTr, or images and labels, with files of the same name in any format, an image's with "_0000" if it likes (nnU-Net);
 *   a list with the columns "path" and "label_map".
 */
#include "lib/data/source.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MOST_BYTES (INT64_C(1) << 26) /* of a dataset.json */

static pumit_status push(pumit__sources *sources, const char *image, const char *label_map)
{
    pumit__source_tags tags = PUMIT__NO_TAGS;
    tags.label_map = label_map;
    return pumit__sources_push(sources, image, &tags, PUMIT_OK);
}

/* ---------------------------------------------------------------------------------------- dataset.json */

static pumit_status add_listed(pumit__sources *sources, const char *json, const cJSON *entry)
{
    const cJSON *const image = cJSON_GetObjectItemCaseSensitive(entry, "image");
    const cJSON *const label = cJSON_GetObjectItemCaseSensitive(entry, "label");
    if (!cJSON_IsString(image) || !cJSON_IsString(label))
        return pumit__fail(PUMIT_ERROR_FORMAT,
                           "%s: an entry of \"training\" is not {\"image\": FILE, \"label\": FILE}",
                           json);
    char *image_path = pumit__source_beside(json, image->valuestring);
    char *label_path = pumit__source_beside(json, label->valuestring);
    const pumit_status status = image_path && label_path ? push(sources, image_path, label_path)
                                                         : pumit__fail_memory(1, json);
    free(image_path);
    free(label_path);
    return status;
}

static pumit_status read_description(cJSON **out, const char *path)
{
    char *text;
    int64_t bytes;
    PUMIT__TRY(pumit__read_file(&text, &bytes, path, MOST_BYTES));
    const pumit_status status = pumit__json_parse(out, text, bytes, path);
    free(text);
    return status;
}

/* ------------------------------------------------------------------------------------------- folders */

static bool is_folder(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

/* Of images; label maps have the first ones, as JPEG would blur their classes. */
static const char *const ENDINGS[] = {".nii.gz", ".nii", ".png",  ".tiff",
                                      ".tif",    ".npy", ".jpeg", ".jpg"};
#define LABEL_MAP_ENDINGS 6

/* What of a name tells its format, one of the first `count` endings; NULL: nothing. */
static const char *one_of(int64_t count, const char *name)
{
    for (int64_t i = 0; i < count; i++)
        if (pumit__ends_with(name, ENDINGS[i])) return name + strlen(name) - strlen(ENDINGS[i]);
    return NULL;
}

/* Of a label map's name. */
static const char *ending_of(const char *name)
{
    return one_of(LABEL_MAP_ENDINGS, name);
}

/* "FOLDER/case.nii" for stem "case" with any ending, its own first. NULL: there is none, or no memory. */
static char *find_file(const char *folder, const char *stem, const char *own)
{
    for (int64_t i = -1; i < PUMIT__COUNT(ENDINGS); i++) {
        char *path = pumit__format("%s/%s%s", folder, stem, i < 0 ? own : ENDINGS[i]);
        if (!path || access(path, F_OK) == 0) return path;
        free(path);
    }
    return NULL;
}

/* The image of a label map "case.nii.gz": "case" or "case_0000" with any ending. NULL: neither is there; `several`: of several channels. */
static char *image_of(const char *folder, const char *label_name, bool *several)
{
    static const char *const BEHIND[] = {"_0001", "", "_0000"};
    const char *const ending = ending_of(label_name);
    char *found[3];
    for (int i = 0; i < 3; i++) {
        char *stem = pumit__format("%.*s%s", (int)(ending - label_name), label_name, BEHIND[i]);
        found[i] = stem ? find_file(folder, stem, ending) : NULL;
        free(stem);
    }
    *several = found[0] != NULL;
    free(found[0]);
    if (!found[1]) return found[2];
    free(found[2]);
    return found[1];
}

static pumit_status add_pair(pumit__sources *sources, const char *images, const char *labels,
                             const char *name)
{
    bool several = false;
    char *label_map = pumit__format("%s/%s", labels, name);
    char *image = image_of(images, name, &several);
    pumit_status status;
    pumit__source_tags tags = PUMIT__NO_TAGS;
    if (!label_map)
        status = pumit__fail_memory(1, name);
    else if (!image)
        status = pumit__sources_push(
            sources, label_map, &tags,
            pumit__fail(PUMIT_ERROR_NOT_FOUND, "%s: its image is not in %s", label_map, images));
    else if (several)
        status = pumit__sources_push(
            sources, image, &tags,
            pumit__fail(PUMIT_ERROR_UNSUPPORTED,
                        "%s: has further channels in files of their own (_0001): networks here "
                        "take one image a case",
                        image));
    else
        status = push(sources, image, label_map);
    free(label_map);
    free(image);
    return status;
}

/* Characters of an image's name before "_0000", the number of its channel, or before its ending. */
static int stem_of(const char *name)
{
    const int stem = (int)(one_of(PUMIT__COUNT(ENDINGS), name) - name);
    const bool numbered =
        stem > 5 && name[stem - 5] == '_' && strspn(name + stem - 4, "0123456789") == 4;
    return numbered ? stem - 5 : stem;
}

static bool has_label_map(const char *labels, const char *name, int length)
{
    char *stem = pumit__format("%.*s", length, name);
    char *path = stem ? find_file(labels, stem, ENDINGS[0]) : NULL;
    const bool there = path != NULL;
    free(stem);
    free(path);
    return there;
}

/* An image that no label map asks for. Further channels belong to the first. */
static pumit_status add_unlabelled(pumit__sources *sources, const char *images, const char *labels,
                                   const char *name)
{
    const int whole = (int)(one_of(PUMIT__COUNT(ENDINGS), name) - name);
    if (has_label_map(labels, name, whole) || has_label_map(labels, name, stem_of(name)))
        return PUMIT_OK;
    pumit__source_tags tags = PUMIT__NO_TAGS;
    char *image = pumit__format("%s/%s", images, name);
    const pumit_status status =
        image ? pumit__sources_push(sources, image, &tags,
                                    pumit__fail(PUMIT_ERROR_NOT_FOUND,
                                                "%s: its label map is not in %s", image, labels))
              : pumit__fail_memory(1, name);
    free(image);
    return status;
}

static int keep_label_maps(const struct dirent *entry)
{
    return entry->d_name[0] != '.' && ending_of(entry->d_name) != NULL;
}

static int keep_images(const struct dirent *entry)
{
    return entry->d_name[0] != '.' && one_of(PUMIT__COUNT(ENDINGS), entry->d_name) != NULL;
}

typedef int (*keep_fn)(const struct dirent *entry);
typedef pumit_status (*add_fn)(pumit__sources *sources, const char *images, const char *labels,
                               const char *name);

/* `add` for each kept file in `folder`, by name. */
static pumit_status add_each(pumit__sources *sources, const char *folder, const char *images,
                             const char *labels, keep_fn keep, add_fn add)
{
    struct dirent **names;
    const int count = scandir(folder, &names, keep, alphasort);
    if (count < 0)
        return pumit__fail(PUMIT_ERROR_IO, "%s: cannot read: %s", folder, strerror(errno));
    pumit_status status = PUMIT_OK;
    for (int i = 0; i < count; i++) {
        if (status == PUMIT_OK) status = add(sources, images, labels, names[i]->d_name);
        free(names[i]);
    }
    free(names);
    return status;
}

static pumit_status add_pairs(pumit__sources *sources, const char *images, const char *labels)
{
    PUMIT__TRY(add_each(sources, labels, images, labels, keep_label_maps, add_pair));
    return add_each(sources, images, images, labels, keep_images, add_unlabelled);
}

static pumit_status add_folder(pumit__sources *sources, const char *folder)
{
    static const char *const PAIRS[][2] = {{"imagesTr", "labelsTr"}, {"images", "labels"}};
    for (int64_t i = 0; i < PUMIT__COUNT(PAIRS); i++) {
        char *images = pumit__format("%s/%s", folder, PAIRS[i][0]);
        char *labels = pumit__format("%s/%s", folder, PAIRS[i][1]);
        const bool there = images && labels && is_folder(images) && is_folder(labels);
        pumit_status status = images && labels ? PUMIT_OK : pumit__fail_memory(1, folder);
        if (there) status = add_pairs(sources, images, labels);
        free(images);
        free(labels);
        if (there || status != PUMIT_OK) return status;
    }
    return pumit__fail(PUMIT_ERROR_NOT_FOUND,
                       "%s: has neither dataset.json nor imagesTr and labelsTr, or images and "
                       "labels: label maps cannot be told from images",
                       folder);
}

/* `json` may be missing; `folder` NULL: the description must have a list. */
static pumit_status add_described(pumit__sources *sources, cJSON **description, const char *json,
                                  const char *folder)
{
    if (access(json, F_OK) == 0) PUMIT__TRY(read_description(description, json));
    const cJSON *const training = cJSON_GetObjectItemCaseSensitive(*description, "training");
    if (!cJSON_IsArray(training)) return add_folder(sources, folder);
    for (const cJSON *entry = training->child; entry; entry = entry->next)
        PUMIT__TRY(add_listed(sources, json, entry));
    return PUMIT_OK;
}

static pumit_status add_json_or_folder(pumit__sources *sources, cJSON **description,
                                       const char *path, bool folder)
{
    const char *const slash = strrchr(path, '/');
    char *json = folder ? pumit__format("%s/dataset.json", path) : pumit__strdup(path);
    char *root = folder  ? pumit__strdup(path)
                 : slash ? pumit__format("%.*s", (int)(slash - path), path)
                         : pumit__strdup(".");
    sources->collection = root;
    const pumit_status status = json && root ? add_described(sources, description, json, root)
                                             : pumit__fail_memory(1, path);
    sources->collection = NULL;
    free(json);
    free(root);
    return status;
}

pumit_status pumit__sources_add_pairs(pumit__sources *sources, cJSON **description,
                                      const char *path)
{
    *description = NULL;
    PUMIT__REQUIRE(path, "a path is NULL");
    if (pumit__ends_with(path, ".csv")) return pumit__sources_add(sources, path);
    const bool folder = is_folder(path);
    if (!folder && access(path, F_OK) != 0)
        return pumit__fail(PUMIT_ERROR_NOT_FOUND, "%s: cannot read: %s", path, strerror(errno));
    if (folder || pumit__ends_with(path, ".json"))
        return add_json_or_folder(sources, description, path, folder);
    return pumit__fail(PUMIT_ERROR_INVALID_ARGUMENT,
                       "%s: images with label maps come as a folder, a dataset.json, or a .csv "
                       "with columns path and label_map",
                       path);
}
