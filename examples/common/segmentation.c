/* SPDX-License-Identifier: Apache-2.0 */
#include "examples/common/segmentation.h"

#include "examples/common/contours.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char *const FIGURES[] = {"dice", "hausdorff95", "surface_dice"};
enum { FIGURE_COUNT = sizeof FIGURES / sizeof *FIGURES };
static const int DECIMALS[FIGURE_COUNT] = {4, 2, 4}, WIDTHS[FIGURE_COUNT] = {8, 10, 14};

/* ------------------------------------------------------------------------------------------ gathering */

static pumit_status set_names(pumit_config *options, int64_t classes,
                              const char *const *class_names)
{
    cJSON *list = cJSON_CreateArray();
    for (int64_t i = 0; i < classes; i++)
        cJSON_AddItemToArray(list, cJSON_CreateString(class_names[i] ? class_names[i] : ""));
    char *text = cJSON_PrintUnformatted(list);
    const pumit_status status =
        text ? pumit_config_set_json(options, "class_names", text) : PUMIT_ERROR_OUT_OF_MEMORY;
    free(text);
    cJSON_Delete(list);
    return status;
}

static int make_folder(const cli *c, const char *path)
{
    if (!path || mkdir(path, 0777) == 0 || errno == EEXIST) return CLI_DONE;
    return cli_fail_with(c, "%s: cannot make this folder: %s", path, strerror(errno));
}

int judging_open(judging *j, cli *c, int64_t classes, const char *const *class_names)
{
    const char *const slices = cli_value(c, "slices");
    pumit_config *options = NULL;
    *j = (judging){.c = c, .slices = slices ? (int)strtol(slices, NULL, 10) : CONTOURS_SLICES};
    if (j->slices < 1 || j->slices > 1000)
        return cli_wrong_usage(c, "--slices wants 1 to 1000, not %s", slices);
    pumit_status status = pumit_config_create(&options);
    if (status == PUMIT_OK) status = pumit_config_merge(options, c->config);
    if (status == PUMIT_OK && class_names) status = set_names(options, classes, class_names);
    if (status == PUMIT_OK) status = pumit_segmentation_report_create(&j->report, options);
    pumit_config_release(options);
    return status == PUMIT_OK ? make_folder(c, cli_value(c, "contours")) : cli_fail(c);
}

void judging_close(judging *j)
{
    pumit_segmentation_report_release(j->report);
    j->report = NULL;
}

/* FOLDER/CASE.png for the file "any/CASE.nii.gz". */
static bool picture_path(char path[4096], const char *folder, const char *name)
{
    const char *const slash = strrchr(name, '/'), *const base = slash ? slash + 1 : name;
    size_t length = strlen(base);
    if (length > 3 && strcmp(base + length - 3, ".gz") == 0) length -= 3;
    const char *const dot = memrchr(base, '.', length);
    if (dot > base) length = (size_t)(dot - base);
    return snprintf(path, 4096, "%s/%.*s.png", folder, (int)length, base) < 4096;
}

int judging_add(judging *j, const char *name, const pumit_volume *image,
                const pumit_label_map *prediction, const pumit_label_map *reference)
{
    char path[4096];
    const char *const folder = cli_value(j->c, "contours");
    if (pumit_segmentation_report_add(j->report, name, prediction, reference) != PUMIT_OK)
        return cli_fail(j->c);
    if (!folder || !image) return CLI_DONE;
    if (!picture_path(path, folder, name))
        return cli_fail_with(j->c, "%s: its name is too long for a picture", name);
    return contours_write(j->c, path, image, prediction, reference, j->slices);
}

/* --------------------------------------------------------------------------------------------- tables */

static double number_of(const cJSON *object, const char *name)
{
    return cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(object, name)); /* NaN: none */
}

static const char *name_of(const cJSON *tree, double class)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(tree, "classes"))
    {
        const char *const name =
            cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(item, "name"));
        if (number_of(item, "class") == class && name) return name;
    }
    return "";
}

static void print_number(double value, int decimals, int width)
{
    if (value == value)
        printf("%*.*f", width, decimals, value);
    else
        printf("%*s", width, "-");
}

static void print_cases(const cJSON *tree)
{
    const cJSON *of, *item;
    printf("%-36s %-24s %*s%*s%*s\n", "case", "class", WIDTHS[0], "Dice", WIDTHS[1], "HD95 mm",
           WIDTHS[2], "surface Dice");
    cJSON_ArrayForEach(of, cJSON_GetObjectItemCaseSensitive(tree, "cases"))
    {
        const char *const name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(of, "name"));
        cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(of, "classes"))
        {
            const double class = number_of(item, "class");
            printf("%-36s %3.0f %-20s ", name, class, name_of(tree, class));
            for (int f = 0; f < FIGURE_COUNT; f++)
                print_number(number_of(item, FIGURES[f]), DECIMALS[f], WIDTHS[f]);
            putchar('\n');
        }
    }
}

/* "  0.8765  0.8650 .. 0.8870" */
static void print_figure(const cJSON *row, int figure)
{
    const cJSON *const item = cJSON_GetObjectItemCaseSensitive(row, FIGURES[figure]);
    const int decimals = DECIMALS[figure];
    char text[64] = "-";
    if (cJSON_HasObjectItem(item, "low"))
        snprintf(text, sizeof text, "%.*f .. %.*f", decimals, number_of(item, "low"), decimals,
                 number_of(item, "high"));
    print_number(number_of(item, "mean"), decimals, WIDTHS[figure]);
    printf("%18s", text);
}

static void print_row(const cJSON *row, const char *label)
{
    printf("%-24s %5.0f", label,
           number_of(cJSON_GetObjectItemCaseSensitive(row, FIGURES[0]), "count"));
    for (int f = 0; f < FIGURE_COUNT; f++) print_figure(row, f);
    const double lost = number_of(cJSON_GetObjectItemCaseSensitive(row, FIGURES[1]), "infinite");
    if (lost > 0) printf("  HD95 infinite in %.0f", lost);
    putchar('\n');
}

static void print_classes(const cJSON *tree)
{
    const cJSON *row;
    char label[256], interval[32];
    snprintf(interval, sizeof interval, "%g%% interval", 100 * number_of(tree, "confidence"));
    printf("\n%-24s %5s%*s%18s%*s%18s%*s%18s\n", "class", "cases", WIDTHS[0], "Dice", interval,
           WIDTHS[1], "HD95 mm", interval, WIDTHS[2], "surface Dice", interval);
    cJSON_ArrayForEach(row, cJSON_GetObjectItemCaseSensitive(tree, "classes"))
    {
        const double class = number_of(row, "class");
        snprintf(label, sizeof label, "%3.0f %s", class, name_of(tree, class));
        print_row(row, label);
    }
    print_row(cJSON_GetObjectItemCaseSensitive(tree, "mean"), "    mean of the classes");
    printf("\nsurface Dice at %g mm; infinite HD95, of classes that one of the maps lacks, are in "
           "no mean\n",
           number_of(tree, "tolerance_mm"));
}

static int print_tables(const cli *c, const cJSON *tree)
{
    print_cases(tree);
    print_classes(tree);
    if (fflush(stdout) == 0 && !ferror(stdout)) return CLI_DONE;
    return cli_fail_with(c, "cannot write to stdout: %s", strerror(errno));
}

/* ---------------------------------------------------------------------------------------------- report */

static int write_report(const cli *c, const char *path, const char *text)
{
    FILE *file = fopen(path, "we");
    if (!file) return cli_fail_with(c, "%s: cannot write: %s", path, strerror(errno));
    const bool written = fputs(text, file) >= 0 && fputc('\n', file) != EOF;
    if (fclose(file) == 0 && written) return CLI_DONE;
    return cli_fail_with(c, "%s: cannot write: %s", path, strerror(errno));
}

int judging_finish(judging *j)
{
    const cli *const c = j->c;
    const char *const path = cli_value(c, "report");
    char *text;
    if (pumit_segmentation_report_to_json(&text, j->report) != PUMIT_OK) return cli_fail(c);
    int result = path ? write_report(c, path, text) : CLI_DONE;
    cJSON *tree = cJSON_Parse(text);
    pumit_free(text);
    if (!tree && result == CLI_DONE) result = cli_fail_with(c, "out of memory");
    if (result == CLI_DONE && c->json) return cli_print_json(c, tree);
    if (result == CLI_DONE) result = print_tables(c, tree);
    cJSON_Delete(tree);
    return result;
}
