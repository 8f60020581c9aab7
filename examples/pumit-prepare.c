/* SPDX-License-Identifier: Apache-2.0 */
/* Images of any kind to a prepared set. */
#include "examples/common/cli.h"
#include "examples/common/progress.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const cli_option OPTIONS[] = {
    {"output", 'o', 's', "DIR", "output", "folder of the set; going on with what is there"},
    {"modality", 'm', 's', "NAME", NULL,
     "of all images, or PATTERN=NAME for those whose path matches; may be repeated"},
    {"hold-out", 0, 'n', "SHARE", "hold_out", "share of the files for validation, 0..1"},
    {"foreground", 0, 's', "X", NULL, "crop to voxels above X; 'none': do not crop"},
    {"most-side", 0, 'i', "N", "most_side", "longest side in the plane; default: 512"},
    {"allow-nan", 0, 'b', NULL, "allow_nan", "take images with NaN or infinite voxels"},
    {"strict", 0, 'b', NULL, NULL, "exit with 1 if a file was skipped"},
    {0}};

static pumit_status set_foreground(cli *c)
{
    const char *const value = cli_value(c, "foreground");
    if (!value) return PUMIT_OK;
    return pumit_config_set_json(c->config, "foreground",
                                 strcmp(value, "none") == 0 ? "false" : value);
}

/* [[pattern, name], ...]; a name alone goes for every path. */
static pumit_status set_modality(cli *c)
{
    cJSON *rules = cJSON_CreateArray();
    for (int i = 0; i < c->given_count; i++) {
        if (strcmp(c->given[i].option->name, "modality") != 0) continue;
        const char *const value = c->given[i].value, *const equals = strrchr(value, '=');
        char pattern[1024];
        snprintf(pattern, sizeof pattern, "%.*s", equals ? (int)(equals - value) : 1,
                 equals ? value : "*");
        const char *const rule[2] = {pattern, equals ? equals + 1 : value};
        cJSON_AddItemToArray(rules, cJSON_CreateStringArray(rule, 2));
    }
    pumit_status status = PUMIT_OK;
    if (cJSON_GetArraySize(rules) > 0) {
        char *text = cJSON_PrintUnformatted(rules);
        status =
            text ? pumit_config_set_json(c->config, "modality", text) : PUMIT_ERROR_OUT_OF_MEMORY;
        free(text);
    }
    cJSON_Delete(rules);
    return status;
}

static int32_t on_progress(void *user, int64_t done, int64_t total, const char *path)
{
    (void)path;
    return progress_step(user, done, total, "{}");
}

static double number_of(const cJSON *report, const char *name)
{
    return cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(report, name));
}

static void print_report(const cJSON *report)
{
    static const char *const COUNTS[] = {"sources", "done",    "already_there",
                                         "images",  "seconds", "images_per_s"};
    const cJSON *item;
    for (size_t i = 0; i < sizeof COUNTS / sizeof *COUNTS; i++)
        printf("%-16s %.6g\n", COUNTS[i], number_of(report, COUNTS[i]));
    for (item = cJSON_GetObjectItemCaseSensitive(report, "anisotropy")->child; item;
         item = item->next)
        printf("anisotropy %-5s %.6g images\n", item->string, item->valuedouble);
    const cJSON *skipped = cJSON_GetObjectItemCaseSensitive(report, "skipped");
    printf("%-16s %d\n", "skipped", cJSON_GetArraySize(skipped));
    for (item = skipped->child; item; item = item->next)
        printf("  %s: %s\n", cJSON_GetObjectItemCaseSensitive(item, "path")->valuestring,
               cJSON_GetObjectItemCaseSensitive(item, "reason")->valuestring);
}

static int tell(const cli *c, char *text)
{
    cJSON *report = cJSON_Parse(text);
    pumit_free(text);
    if (!report) return cli_fail_with(c, "out of memory");
    const int skipped = cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(report, "skipped"));
    const bool failed = skipped > 0 && cli_given(c, "strict");
    if (c->json) {
        const int printed = cli_print_json(c, report);
        return failed ? CLI_FAILED : printed;
    }
    print_report(report);
    cJSON_Delete(report);
    return failed ? CLI_FAILED : CLI_DONE;
}

static int body(cli *c)
{
    char *report;
    progress p;
    if (!cli_given(c, "output") && !cli_given(c, "config"))
        return cli_wrong_usage(c, "--output DIR is missing");
    pumit_status status = cli_open_context(c);
    if (status == PUMIT_OK) status = set_foreground(c);
    if (status == PUMIT_OK) status = set_modality(c);
    if (status != PUMIT_OK) return cli_fail(c);
    progress_start(&p, c);
    p.unit = "file";
    status = pumit_prepare(&report, c->ctx, c->path_count, c->paths, c->config, on_progress, &p);
    progress_end(&p);
    cli_tell_warnings(c);
    return status == PUMIT_OK ? tell(c, report) : cli_fail(c);
}

int main(int argc, char **argv)
{
    cli c = {.program = "pumit-prepare",
             .synopsis = "[OPTION]... --output DIR IMAGE|FOLDER|PATTERN|ARCHIVE|LIST...",
             .summary = "Makes a prepared set, from which training reads quickly: images-meta.csv "
                        "and data/KEY.npy.\nIt may be stopped at any time; the same call goes on, "
                        "and takes what is new.",
             .options = OPTIONS,
             .least_paths = 1};
    return cli_main(&c, argc, argv, body);
}
