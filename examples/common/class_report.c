/* SPDX-License-Identifier: Apache-2.0 */
#include "examples/common/class_report.h"

#include <stdbool.h>
#include <string.h>

#define MOST_COLUMNS 16 /* of a confusion matrix that is still read by people */
#define CELL         13 /* characters of a number's column */

typedef struct {
    const char *key, *title;
} named;

static const named FIGURES[] = {{"auc", "AUC"},
                                {"accuracy", "accuracy"},
                                {"balanced_accuracy", "balanced accuracy"},
                                {"sensitivity", "sensitivity"},
                                {"specificity", "specificity"},
                                {"quadratic_weighted_kappa", "quadratic kappa"},
                                {"mean_absolute_error", "mean absolute error"},
                                {"brier", "Brier score"}};
static const named COLUMNS[] = {{"sensitivity", "sensitivity"},
                                {"specificity", "specificity"},
                                {"precision", "precision"},
                                {"f1", "F1"},
                                {"auc", "AUC"}};
#define COUNT(array) (sizeof(array) / sizeof *(array))

static const cJSON *get(const cJSON *object, const char *key)
{
    return cJSON_GetObjectItemCaseSensitive(object, key);
}

static double number(const cJSON *object, const char *key)
{
    return cJSON_IsNumber(get(object, key)) ? get(object, key)->valuedouble : 0;
}

/* "-" where the number is not defined. */
static void print_cell(FILE *out, const cJSON *item)
{
    if (cJSON_IsNumber(item))
        fprintf(out, "%*.4f", CELL, item->valuedouble);
    else
        fprintf(out, "%*s", CELL, "-");
}

static void print_figures(FILE *out, const cJSON *report)
{
    const bool intervals = number(report, "bootstrap") > 0;
    fprintf(out, "%-20s%*s", "", CELL, "value");
    if (intervals) fprintf(out, "     %.4g%% interval", 100 * number(report, "confidence"));
    fputc('\n', out);
    for (size_t i = 0; i < COUNT(FIGURES); i++) {
        const cJSON *const item = get(report, FIGURES[i].key);
        if (!item) continue;
        fprintf(out, "%-20s", FIGURES[i].title);
        print_cell(out, get(item, "value"));
        if (get(item, "low"))
            fprintf(out, "     %.4f .. %.4f", number(item, "low"), number(item, "high"));
        fputc('\n', out);
    }
}

/* "2 malignant", or "2" where classes have no names; padded. */
static void print_class(FILE *out, const cJSON *item, int width)
{
    const cJSON *const name = get(item, "name");
    fprintf(out, "%3d %-*s", (int)number(item, "class"), width,
            cJSON_IsString(name) ? name->valuestring : "");
}

static int name_width(const cJSON *classes)
{
    size_t width = 8;
    const cJSON *item;
    cJSON_ArrayForEach(item, classes)
    {
        const cJSON *const name = get(item, "name");
        if (cJSON_IsString(name) && strlen(name->valuestring) > width)
            width = strlen(name->valuestring);
    }
    return width < 60 ? (int)width : 60;
}

static void print_classes(FILE *out, const cJSON *classes, int width)
{
    const cJSON *item;
    fprintf(out, "\n%-*s%8s", width + 4, "class", "images");
    for (size_t i = 0; i < COUNT(COLUMNS); i++) fprintf(out, "%*s", CELL, COLUMNS[i].title);
    fputc('\n', out);
    cJSON_ArrayForEach(item, classes)
    {
        print_class(out, item, width);
        fprintf(out, "%8.0f", number(item, "count"));
        for (size_t i = 0; i < COUNT(COLUMNS); i++) print_cell(out, get(item, COLUMNS[i].key));
        fputc('\n', out);
    }
}

static void print_confusion(FILE *out, const cJSON *report, int width)
{
    const cJSON *row = get(report, "confusion")->child, *item, *cell;
    const int classes = (int)number(report, "classes");
    fprintf(out, "\n%-*s", width + 4, "truth \\ said");
    for (int c = 0; c < classes; c++) fprintf(out, "%8d", c);
    fputc('\n', out);
    cJSON_ArrayForEach(item, get(report, "per_class"))
    {
        print_class(out, item, width);
        for (cell = row->child; cell; cell = cell->next) fprintf(out, "%8.0f", cell->valuedouble);
        fputc('\n', out);
        row = row->next;
    }
}

void cli_print_class_report(FILE *out, const cJSON *report)
{
    const cJSON *const classes = get(report, "per_class");
    const cJSON *const task = get(report, "task");
    const int width = name_width(classes);
    const bool labels = cJSON_IsString(task) && strcmp(task->valuestring, "labels") == 0;
    fprintf(out, "%.0f images, %.0f %s\n\n", number(report, "count"), number(report, "classes"),
            labels ? "labels" : "classes");
    print_figures(out, report);
    print_classes(out, classes, width);
    if (!labels && number(report, "classes") <= MOST_COLUMNS) print_confusion(out, report, width);
}
