/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The report on many segmentations. Intervals are percentiles of plain bootstrap resamples of the cases (Efron & Tibshirani 1993): voxels of a
 * case depend on one another, cases do not.
 */
#include "lib/base/config.h"
#include "lib/train/segmentation_scores.h"
#include "lib/train/statistics.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MOST_RESAMPLES 1000000

/* A score of a class that is in a map. */
typedef struct {
    int class;
    pumit__class_score score;
} entry;

typedef struct {
    char *name;
    double voxel_ml; /* infinite for 2D */
    entry *entries;  /* of the classes that are in a map, rising; not the background */
    int64_t count;
} judged;

struct pumit_segmentation_report {
    double tolerance_mm, confidence;
    int64_t resamples, seed;
    cJSON *class_names; /* an array, or NULL */
    judged *cases;
    int64_t count, capacity;
};

/* ------------------------------------------------------------------------------------------ gathering */

static pumit_status read_names(pumit_segmentation_report *report, const pumit_config *options)
{
    const cJSON *const names =
        cJSON_GetObjectItemCaseSensitive(pumit__config_json(options), "class_names");
    if (!names) return PUMIT_OK;
    bool good = cJSON_IsArray(names);
    for (const cJSON *name = good ? names->child : NULL; name; name = name->next)
        good = good && cJSON_IsString(name);
    PUMIT__REQUIRE(good, "class_names: an array of strings is wanted");
    return pumit__json_copy(&report->class_names, names);
}

static pumit_status read_options(pumit_segmentation_report *report, const pumit_config *options)
{
    PUMIT__TRY(pumit_config_get_double(&report->tolerance_mm, options, "tolerance_mm", 1));
    PUMIT__REQUIRE(report->tolerance_mm >= 0 && isfinite(report->tolerance_mm),
                   "tolerance_mm: %g is not a length", report->tolerance_mm);
    PUMIT__TRY(pumit_config_get_int(&report->resamples, options, "bootstrap", 1000));
    PUMIT__REQUIRE(report->resamples >= 0 && report->resamples <= MOST_RESAMPLES,
                   "bootstrap: %lld resamples are not in 0..%d", (long long)report->resamples,
                   MOST_RESAMPLES);
    PUMIT__TRY(pumit_config_get_double(&report->confidence, options, "confidence", 0.95));
    PUMIT__REQUIRE(report->confidence > 0 && report->confidence < 1,
                   "confidence: %g is not between 0 and 1", report->confidence);
    PUMIT__TRY(pumit_config_get_int(&report->seed, options, "seed", 0));
    return read_names(report, options);
}

pumit_status pumit_segmentation_report_create(pumit_segmentation_report **out,
                                              const pumit_config *options)
{
    PUMIT__REQUIRE(out, "pumit_segmentation_report_create: out is NULL");
    *out = NULL;
    pumit_segmentation_report *report = pumit__calloc(1, sizeof *report);
    if (!report) return pumit__fail_memory(sizeof *report, "a report");
    const pumit_status status = read_options(report, options);
    if (status == PUMIT_OK)
        *out = report;
    else
        pumit_segmentation_report_release(report);
    return status;
}

void pumit_segmentation_report_release(pumit_segmentation_report *report)
{
    if (!report) return;
    for (int64_t i = 0; i < report->count; i++) {
        free(report->cases[i].name);
        free(report->cases[i].entries);
    }
    free(report->cases);
    cJSON_Delete(report->class_names);
    free(report);
}

/* What is kept of the scores of all classes. */
static bool keep(judged *kept, const pumit__class_score *scores)
{
    for (int c = 1; c < PUMIT__MOST_CLASSES; c++) kept->count += !isnan(scores[c].dice);
    entry *next = kept->entries = pumit__calloc(kept->count, sizeof *kept->entries);
    if (!next) return false;
    for (int c = 1; c < PUMIT__MOST_CLASSES; c++)
        if (!isnan(scores[c].dice)) *next++ = (entry){c, scores[c]};
    return true;
}

pumit_status pumit_segmentation_report_add(pumit_segmentation_report *report, const char *name,
                                           const pumit_label_map *prediction,
                                           const pumit_label_map *reference)
{
    pumit__class_score scores[PUMIT__MOST_CLASSES];
    PUMIT__REQUIRE(report && name, "pumit_segmentation_report_add: an argument is NULL");
    PUMIT__TRY(
        pumit__segmentation_judge(scores, prediction, reference, report->tolerance_mm, name));
    const double *const spacing = reference->spacing;
    judged kept = {.name = pumit__strdup(name),
                   .voxel_ml = spacing[0] * spacing[1] * spacing[2] / 1000};
    if (kept.name && keep(&kept, scores) &&
        pumit__grow(&report->cases, &report->capacity, report->count + 1, sizeof *report->cases)) {
        report->cases[report->count++] = kept;
        return PUMIT_OK;
    }
    free(kept.name);
    free(kept.entries);
    return pumit__fail_memory(kept.count * (int64_t)sizeof *kept.entries, "the scores of a case");
}

/* -------------------------------------------------------------------------------------------- figures */

typedef enum { DICE, HAUSDORFF, SURFACE, SCORES } score_kind;
static const char *const NAMES[SCORES] = {"dice", "hausdorff95", "surface_dice"};

static double score_of(const entry *e, score_kind kind)
{
    return kind == DICE        ? e->score.dice
           : kind == HAUSDORFF ? e->score.hausdorff95
                               : e->score.surface_dice;
}

/* Of a class; NaN where the case has it not. Class 0: the mean of all, those that are infinite left out; infinite where that are all. */
static double case_score(const judged *of, int class, score_kind kind)
{
    double sum = 0, count = 0;
    for (int64_t i = 0; i < of->count; i++) {
        const double score = score_of(&of->entries[i], kind);
        if (class > 0 && of->entries[i].class == class) return score;
        if (class > 0 || isinf(score)) continue;
        sum += score;
        count++;
    }
    if (class > 0 || of->count == 0) return NAN;
    return count > 0 ? sum / count : INFINITY;
}

static double mean_of(const double *values, int64_t count)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++) sum += values[i];
    return sum / (double)count;
}

static double deviation_of(const double *values, int64_t count)
{
    const double mean = mean_of(values, count);
    double sum = 0;
    for (int64_t i = 0; i < count; i++) sum += (values[i] - mean) * (values[i] - mean);
    return sqrt(sum / (double)(count - 1));
}

/* null where the number is not finite. */
static pumit_status put_interval(cJSON *figure, const pumit_segmentation_report *report,
                                 const double *values, int64_t count)
{
    const uint64_t stream = pumit__random_stream("bootstrap"), seed = (uint64_t)report->seed;
    double *means = pumit__calloc(report->resamples, sizeof *means);
    if (!means) return pumit__fail_memory(report->resamples * 8, "resamples");
    for (int64_t k = 0; k < report->resamples; k++) {
        double sum = 0;
        for (int64_t i = 0; i < count; i++)
            sum += values[pumit__random_below(seed, stream, (uint64_t)(k * count + i), count)];
        means[k] = sum / (double)count;
    }
    pumit__sort(means, report->resamples);
    const double low = pumit__quantile(means, report->resamples, (1 - report->confidence) / 2),
                 high = pumit__quantile(means, report->resamples, (1 + report->confidence) / 2);
    free(means);
    PUMIT__TRY(pumit__json_set(figure, "low", pumit__json_number(low)));
    return pumit__json_set(figure, "high", pumit__json_number(high));
}

/* `values`: of the cases that have one. */
static pumit_status put_figure(cJSON *figure, const pumit_segmentation_report *report,
                               const double *values, int64_t count, int64_t infinite)
{
    PUMIT__TRY(pumit__json_set(
        figure, "mean", pumit__json_number(count > 0 ? mean_of(values, count) : (double)NAN)));
    if (count > 1)
        PUMIT__TRY(pumit__json_set(figure, "sd", pumit__json_number(deviation_of(values, count))));
    if (count > 1 && report->resamples > 0) PUMIT__TRY(put_interval(figure, report, values, count));
    PUMIT__TRY(pumit__json_set(figure, "count", pumit__json_number((double)count)));
    return infinite > 0 ? pumit__json_set(figure, "infinite", pumit__json_number((double)infinite))
                        : PUMIT_OK;
}

/* The figures of a class, or of all as case_score() has them. */
static pumit_status put_figures(cJSON *object, const pumit_segmentation_report *report, int class)
{
    double *values = pumit__calloc(report->count, sizeof *values);
    if (!values) return pumit__fail_memory(report->count * 8, "a report");
    pumit_status status = PUMIT_OK;
    for (score_kind kind = 0; kind < SCORES && status == PUMIT_OK; kind++) {
        int64_t count = 0, infinite = 0;
        for (int64_t i = 0; i < report->count; i++) {
            const double value = case_score(&report->cases[i], class, kind);
            if (isfinite(value)) values[count++] = value;
            infinite += isinf(value);
        }
        status = pumit__json_set(object, NAMES[kind], cJSON_CreateObject());
        if (status == PUMIT_OK)
            status = put_figure(cJSON_GetObjectItemCaseSensitive(object, NAMES[kind]), report,
                                values, count, infinite);
    }
    free(values);
    return status;
}

/* --------------------------------------------------------------------------------------------- JSON */

/* A new object at the end of an array. */
static pumit_status put_array(cJSON **out, cJSON *object, const char *name)
{
    PUMIT__TRY(pumit__json_set(object, name, cJSON_CreateArray()));
    *out = cJSON_GetObjectItemCaseSensitive(object, name);
    return PUMIT_OK;
}

static pumit_status put_case(cJSON *object, const judged *of)
{
    cJSON *list, *item;
    PUMIT__TRY(pumit__json_set(object, "name", cJSON_CreateString(of->name)));
    PUMIT__TRY(put_array(&list, object, "classes"));
    for (int64_t i = 0; i < of->count; i++) {
        const entry *const e = &of->entries[i];
        PUMIT__TRY(pumit__json_append(&item, list, cJSON_CreateObject()));
        PUMIT__TRY(pumit__json_set(item, "class", pumit__json_number(e->class)));
        for (score_kind kind = 0; kind < SCORES; kind++)
            PUMIT__TRY(pumit__json_set(item, NAMES[kind], pumit__json_number(score_of(e, kind))));
        PUMIT__TRY(
            pumit__json_set(item, "predicted_ml",
                            pumit__json_number((double)e->score.overlap.predicted * of->voxel_ml)));
        PUMIT__TRY(
            pumit__json_set(item, "reference_ml",
                            pumit__json_number((double)e->score.overlap.reference * of->voxel_ml)));
    }
    return PUMIT_OK;
}

static pumit_status put_classes(cJSON *tree, const pumit_segmentation_report *report)
{
    bool there[PUMIT__MOST_CLASSES] = {0};
    cJSON *list, *item;
    for (int64_t i = 0; i < report->count; i++)
        for (int64_t k = 0; k < report->cases[i].count; k++)
            there[report->cases[i].entries[k].class] = true;
    PUMIT__TRY(put_array(&list, tree, "classes"));
    for (int c = 1; c < PUMIT__MOST_CLASSES; c++) {
        if (!there[c]) continue;
        const cJSON *const name = cJSON_GetArrayItem(report->class_names, c);
        PUMIT__TRY(pumit__json_append(&item, list, cJSON_CreateObject()));
        PUMIT__TRY(pumit__json_set(item, "class", pumit__json_number(c)));
        if (name) PUMIT__TRY(pumit__json_set(item, "name", cJSON_CreateString(name->valuestring)));
        PUMIT__TRY(put_figures(item, report, c));
    }
    PUMIT__TRY(pumit__json_set(tree, "mean", cJSON_CreateObject()));
    return put_figures(cJSON_GetObjectItemCaseSensitive(tree, "mean"), report, 0);
}

static pumit_status put_all(cJSON *tree, const pumit_segmentation_report *report)
{
    cJSON *list, *item;
    PUMIT__TRY(pumit__json_set(tree, "count", pumit__json_number((double)report->count)));
    PUMIT__TRY(pumit__json_set(tree, "tolerance_mm", pumit__json_number(report->tolerance_mm)));
    PUMIT__TRY(pumit__json_set(tree, "bootstrap", pumit__json_number((double)report->resamples)));
    PUMIT__TRY(pumit__json_set(tree, "confidence", pumit__json_number(report->confidence)));
    PUMIT__TRY(pumit__json_set(tree, "seed", pumit__json_number((double)report->seed)));
    PUMIT__TRY(put_classes(tree, report));
    PUMIT__TRY(put_array(&list, tree, "cases"));
    for (int64_t i = 0; i < report->count; i++) {
        PUMIT__TRY(pumit__json_append(&item, list, cJSON_CreateObject()));
        PUMIT__TRY(put_case(item, &report->cases[i]));
    }
    return PUMIT_OK;
}

pumit_status pumit_segmentation_report_to_json(char **json, const pumit_segmentation_report *report)
{
    PUMIT__REQUIRE(json && report, "pumit_segmentation_report_to_json: an argument is NULL");
    *json = NULL;
    cJSON *tree = cJSON_CreateObject();
    if (!tree) return pumit__fail_memory((int64_t)sizeof *tree, "a report");
    pumit_status status = put_all(tree, report);
    if (status == PUMIT_OK) status = pumit__json_print(json, tree, true);
    cJSON_Delete(tree);
    return status;
}
