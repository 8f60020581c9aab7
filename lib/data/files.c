/* SPDX-License-Identifier: Apache-2.0 */
/* The files of paths as a list, for who reads them one after the other. */
#include "lib/data/source.h"

#include <pumit/dataset.h>

static pumit_status add_text(cJSON *item, const char *name, const char *text)
{
    if (!text || cJSON_AddStringToObject(item, name, text)) return PUMIT_OK;
    return pumit__fail_memory(64, "a list of files");
}

static pumit_status describe(cJSON *list, const pumit__source *source)
{
    cJSON *const item = cJSON_CreateObject();
    if (!item || !cJSON_AddItemToArray(list, item)) {
        cJSON_Delete(item);
        return pumit__fail_memory(64, "a list of files");
    }
    PUMIT__TRY(add_text(item, "path", source->path));
    PUMIT__TRY(add_text(item, "label_map", source->label_map));
    if (source->prepared)
        return add_text(item, "reason",
                        "is a prepared set, whose images are cropped: give the files themselves");
    return add_text(item, "reason", source->reason);
}

static pumit_status gather(pumit__sources *sources, int32_t count, const char *const *paths,
                           bool pairs)
{
    for (int32_t i = 0; i < count; i++) {
        cJSON *description = NULL;
        const pumit_status status = pairs
                                        ? pumit__sources_add_pairs(sources, &description, paths[i])
                                        : pumit__sources_add(sources, paths[i]);
        cJSON_Delete(description);
        PUMIT__TRY(status);
    }
    return PUMIT_OK;
}

pumit_status pumit_dataset_files(char **out, int32_t count, const char *const *paths,
                                 const pumit_config *options)
{
    PUMIT__REQUIRE(out && paths && count > 0,
                   "pumit_dataset_files: an argument is NULL, or there is no path");
    *out = NULL;
    pumit__sources sources = {0};
    cJSON *list = cJSON_CreateArray();
    int32_t pairs;
    pumit_status status;
    PUMIT__GO(list ? PUMIT_OK : pumit__fail_memory(64, "a list of files"));
    PUMIT__GO(pumit_config_get_bool(&pairs, options, "label_maps", 0));
    PUMIT__GO(pumit_config_get_string(&sources.split, options, "split", NULL));
    PUMIT__GO(gather(&sources, count, paths, pairs));
    for (int64_t i = 0; i < sources.count; i++) PUMIT__GO(describe(list, &sources.items[i]));
    status = pumit__json_print(out, list, false);
out:
    pumit__sources_free(&sources);
    cJSON_Delete(list);
    return status;
}
