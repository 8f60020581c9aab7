/* SPDX-License-Identifier: Apache-2.0 */
/* What the images of a prepared set were made with, so that a later call does not mix two ways in one set. */
#include "lib/base/config.h"
#include "lib/data/prepare.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* As JSON, since "foreground" is a number, false, or absent. */
static pumit_status set_all(cJSON *tree, const pumit__prepare_options *o)
{
    cJSON *const foreground = !o->crop                       ? cJSON_CreateFalse()
                              : o->threshold == o->threshold ? cJSON_CreateNumber(o->threshold)
                                                             : cJSON_CreateNull();
    PUMIT__TRY(pumit__json_set(tree, "foreground", foreground));
    PUMIT__TRY(pumit__json_set(tree, "most_side", cJSON_CreateNumber((double)o->most_side)));
    return pumit__json_set(tree, "allow_nan", cJSON_CreateBool(o->allow_nan));
}

static pumit_status fail_changed(const char *path, const cJSON *before, const cJSON *now)
{
    char *was = NULL, *is = NULL;
    pumit_status status = pumit__json_print(&was, before, false);
    if (status == PUMIT_OK) status = pumit__json_print(&is, now, false);
    if (status == PUMIT_OK)
        status =
            pumit__fail(PUMIT_ERROR_STATE,
                        "%s: the set was prepared with \"%s\" %s, not %s: use that, or another "
                        "folder",
                        path, now->string, was, is);
    free(was);
    free(is);
    return status;
}

/* null stands for the default. */
static pumit_status compare(const char *path, const cJSON *before, const cJSON *now)
{
    for (const cJSON *item = now->child; item; item = item->next) {
        const cJSON *const kept = cJSON_GetObjectItemCaseSensitive(before, item->string);
        if (kept && !cJSON_Compare(kept, item, 1)) return fail_changed(path, kept, item);
    }
    return PUMIT_OK;
}

static pumit_status write_settings(const char *path, const cJSON *tree)
{
    pumit__atomic_file file = {0};
    char *text;
    PUMIT__TRY(pumit__json_print(&text, tree, true));
    pumit_status status = pumit__atomic_open(&file, path);
    if (status == PUMIT_OK) status = pumit__atomic_write(&file, text, (int64_t)strlen(text));
    if (status == PUMIT_OK) status = pumit__atomic_write(&file, "\n", 1);
    if (status == PUMIT_OK) status = pumit__atomic_commit(&file);
    pumit__atomic_close(&file);
    free(text);
    return status;
}

static pumit_status keep(const char *path, const cJSON *tree)
{
    pumit_config *before;
    if (access(path, F_OK) != 0) return write_settings(path, tree);
    PUMIT__TRY(pumit_config_read(&before, path));
    const pumit_status status = compare(path, before->root, tree);
    pumit_config_release(before);
    return status;
}

pumit_status pumit__set_settings(const pumit__prepare_options *options)
{
    cJSON *const tree = cJSON_CreateObject();
    char *const path = pumit__format("%s/" PUMIT__SET_SETTINGS, options->output);
    pumit_status status =
        tree && path ? set_all(tree, options) : pumit__fail_memory(64, options->output);
    if (status == PUMIT_OK) status = keep(path, tree);
    cJSON_Delete(tree);
    free(path);
    return status;
}
