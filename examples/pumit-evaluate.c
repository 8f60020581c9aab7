/* SPDX-License-Identifier: Apache-2.0 */
/* Dice, 95% Hausdorff distance and surface Dice of label maps, whoever made them. */
#include "examples/common/segmentation.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const cli_option OPTIONS[] = {
    SEGMENTATION_OPTIONS,
    {"images", 0, 's', "DIR|FILE", NULL, "the images, for --contours"},
    {"names", 0, 's', "A,B,...", NULL, "names of the classes 1, 2, ..."},
    {0}};

/* The files of one case; `image` is empty without --images. */
typedef struct {
    char prediction[4096], reference[4096], image[4096];
} case_paths;

static bool is_folder(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

/* What tells a label map's format. */
static const char *const ENDINGS[] = {".nii.gz", ".nii", ".png", ".tiff", ".tif", ".npy"};
#define ENDING_COUNT (sizeof ENDINGS / sizeof *ENDINGS)

/* Of a name; NULL: none. */
static const char *ending_of(const char *name)
{
    const size_t length = strlen(name);
    for (size_t i = 0; i < ENDING_COUNT; i++) {
        const size_t ending = strlen(ENDINGS[i]);
        if (length > ending && strcmp(name + length - ending, ENDINGS[i]) == 0)
            return name + length - ending;
    }
    return NULL;
}

/* ---------------------------------------------------------------------------------------------- a case */

static int judge(judging *j, const char *name, const case_paths *paths)
{
    pumit_context *const ctx = j->c->ctx;
    pumit_volume *grid = NULL;
    pumit_label_map *prediction = NULL, *reference = NULL;
    pumit_status status =
        pumit_volume_read(&grid, ctx, *paths->image ? paths->image : paths->reference, 0);
    if (status == PUMIT_OK) status = pumit_label_map_read(&reference, ctx, paths->reference, grid);
    if (status == PUMIT_OK)
        status = pumit_label_map_read(&prediction, ctx, paths->prediction, grid);
    const int result = status == PUMIT_OK ? judging_add(j, name, *paths->image ? grid : NULL,
                                                        prediction, reference)
                                          : cli_fail(j->c);
    pumit_label_map_release(prediction);
    pumit_label_map_release(reference);
    pumit_volume_release(grid);
    return result;
}

/* The file of the case "case.nii.gz" in another folder: "case" or, as images of one channel are often called, "case_0000", with any ending, its own
 * first. False without one; `path` is then as if it had the same name. */
static bool partner_path(char path[4096], const char *folder, const char *name)
{
    const char *const own = ending_of(name);
    const int stem = (int)(own - name);
    for (size_t i = 0; i < 2 * (ENDING_COUNT + 1); i++) {
        const char *const ending = i < 2 ? own : ENDINGS[i / 2 - 1];
        if (snprintf(path, 4096, "%s/%.*s%s%s", folder, stem, name, i % 2 ? "_0000" : "", ending) <
                4096 &&
            access(path, F_OK) == 0)
            return true;
    }
    snprintf(path, 4096, "%s/%s", folder, name);
    return false;
}

static int judge_named(judging *j, const char *name)
{
    const cli *const c = j->c;
    const char *const images = cli_value(c, "images");
    case_paths paths = {0};
    if (snprintf(paths.reference, 4096, "%s/%s", c->paths[1], name) >= 4096)
        return cli_fail_with(c, "%s: its path is too long", name);
    if (!partner_path(paths.prediction, c->paths[0], name))
        return cli_fail_with(c, "%s: there is no prediction for %s", paths.prediction,
                             paths.reference);
    if (images && !partner_path(paths.image, images, name))
        return cli_fail_with(c, "%s: there is no image for %s", paths.image, paths.reference);
    return judge(j, name, &paths);
}

/* ------------------------------------------------------------------------------------------- all cases */

static int is_label_map(const struct dirent *entry)
{
    return ending_of(entry->d_name) != NULL && entry->d_name[0] != '.';
}

static int judge_folders(judging *j)
{
    struct dirent **list;
    const char *const references = j->c->paths[1];
    const int count = scandir(references, &list, is_label_map, alphasort);
    if (count < 0)
        return cli_fail_with(j->c, "%s: cannot read this folder: %s", references, strerror(errno));
    int result = count > 0 ? CLI_DONE : cli_fail_with(j->c, "%s: holds no label maps", references);
    for (int i = 0; i < count; i++) {
        if (result == CLI_DONE) result = judge_named(j, list[i]->d_name);
        free(list[i]);
    }
    free(list);
    return result;
}

static int judge_files(judging *j)
{
    const cli *const c = j->c;
    const char *const images = cli_value(c, "images");
    case_paths paths;
    snprintf(paths.prediction, 4096, "%s", c->paths[0]);
    snprintf(paths.reference, 4096, "%s", c->paths[1]);
    snprintf(paths.image, 4096, "%s", images ? images : "");
    return judge(j, c->paths[1], &paths);
}

#define MOST_NAMES 256

/* Cuts --names, if given, in place; the background goes first. -1: too many. */
static int64_t cut_names(const char *names[MOST_NAMES], char *text)
{
    int64_t count = 1;
    names[0] = "background";
    while (text && count < MOST_NAMES) names[count++] = strsep(&text, ",");
    return text ? -1 : count;
}

static int judge_all(judging *j)
{
    int result = is_folder(j->c->paths[1]) ? judge_folders(j) : judge_files(j);
    cli_tell_warnings(j->c);
    if (result == CLI_DONE) result = judging_finish(j);
    return result;
}

static int body(cli *c)
{
    judging j;
    const char *names[MOST_NAMES];
    char text[8192];
    if (c->path_count != 2)
        return cli_wrong_usage(c, "predictions and references are wanted, not %d paths",
                               c->path_count);
    if (cli_given(c, "contours") && !cli_given(c, "images"))
        return cli_wrong_usage(c, "--contours draws over images: --images is missing");
    if (is_folder(c->paths[0]) != is_folder(c->paths[1]))
        return cli_wrong_usage(c, "two folders or two files are wanted: %s is %s", c->paths[0],
                               is_folder(c->paths[0]) ? "a folder" : "none");
    const char *const given = cli_value(c, "names");
    const int length = snprintf(text, sizeof text, "%s", given ? given : "");
    const int64_t count = length < (int)sizeof text ? cut_names(names, given ? text : NULL) : -1;
    if (count < 0)
        return cli_wrong_usage(c, "--names takes the names of %d classes at most, in %d letters",
                               MOST_NAMES - 1, (int)sizeof text - 1);
    if (cli_open_context(c) != PUMIT_OK) return cli_fail(c);
    int result = judging_open(&j, c, count, names);
    if (result == CLI_DONE) result = judge_all(&j);
    judging_close(&j);
    return result;
}

int main(int argc, char **argv)
{
    cli c = {.program = "pumit-evaluate",
             .synopsis = "[OPTION]... PREDICTIONS REFERENCES",
             .summary = "Prints Dice, 95% Hausdorff distance and surface Dice per class and case, "
                        "and their means with\nconfidence intervals. Both are label maps, or "
                        "folders of them: each reference is compared\nwith the prediction of its "
                        "name.",
             .options = OPTIONS,
             .least_paths = 2};
    return cli_main(&c, argc, argv, body);
}
