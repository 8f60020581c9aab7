/* SPDX-License-Identifier: Apache-2.0 */
/* Class probabilities of images, by one classifier or the mean of several; with labels a report on how good they are. */
#include "examples/common/class_report.h"
#include "examples/common/classifiers.h"
#include "examples/common/describe.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const cli_option OPTIONS[] = {
    {"weights", 0, 's', "TYPE", "weight_type", "hold matrices as f32, bf16 or f16; default: f32"},
    {"split", 0, 's', "NAME", "split", "which split of .npz and .csv data: train, val, test"},
    {"folders-are-labels", 0, 'b', NULL, "folders_are_labels", "a folder of one folder per class"},
    {"model", 0, 's', "FILE", NULL, "one more classifier, averaged with MODEL; may be repeated"},
    {"output", 'o', 's', "FILE", NULL, "write the CSV there and the report to stdout"},
    {"report", 0, 's', "FILE", NULL, "write the report there, as JSON"},
    {"bootstrap", 0, 'i', "N", "bootstrap", "resamples for intervals; 1000; 0: no intervals"},
    {"confidence", 0, 'n', "SHARE", "confidence", "of intervals; 0.95"},
    {"seed", 0, 'i', "N", "seed", "of the resamples; 0"},
    {0}};

/* What became of the images. */
typedef struct {
    const cli_classifiers *models;
    const pumit_dataset *images;
    FILE *csv;             /* NULL: JSON alone is wanted */
    int64_t count;         /* images with probabilities */
    int64_t *image;        /* count: their numbers, rising */
    double *probabilities; /* (count, classes) */
    bool failed;           /* an image has none */
    cJSON *report;         /* NULL: no image has a label */
} outcome;

/* ----------------------------------------------------------------------------------------- predicting */

static bool all_finite(const double *row, int64_t n)
{
    for (int64_t k = 0; k < n; k++)
        if (!isfinite(row[k])) return false;
    return true;
}

static int predict_all(const cli *c, outcome *o)
{
    const int64_t n = pumit_dataset_count(o->images), classes = o->models->classes;
    o->image = calloc((size_t)n, sizeof *o->image);
    o->probabilities = calloc((size_t)(n + 1), (size_t)classes * sizeof *o->probabilities);
    if (!o->image || !o->probabilities) return cli_fail_with(c, "out of memory");
    for (int64_t i = 0; i < n; i++) {
        double *const row = o->probabilities + o->count * classes;
        const char *reason = NULL;
        if (cli_classifiers_predict(row, o->models, pumit_dataset_volume(o->images, i)) != PUMIT_OK)
            reason = pumit_last_error();
        else if (!all_finite(row, classes))
            reason = "its probabilities are not finite";
        if (reason)
            cli_say(c, "%s: cannot be classified: %s", pumit_dataset_name(o->images, i), reason);
        else
            o->image[o->count++] = i;
    }
    o->failed = o->count < n;
    return CLI_DONE;
}

/* -------------------------------------------------------------------------------------------- judging */

/* Whether images and models know the same labels, any number to an image. */
static bool several(const outcome *o)
{
    return o->models->task == PUMIT_TASK_LABELS && pumit_dataset_multilabel(o->images) &&
           pumit_dataset_classes(o->images) == o->models->classes;
}

/* The labels of an image, 1 or `classes` numbers; false if it has none that the models know. */
static bool labels_of(int64_t *labels, const outcome *o, int64_t i)
{
    if (several(o)) {
        for (int64_t k = 0; k < o->models->classes; k++)
            labels[k] = pumit_dataset_has_label(o->images, i, k);
        return true;
    }
    labels[0] = pumit_dataset_label(o->images, i);
    return o->models->task != PUMIT_TASK_LABELS && labels[0] >= 0 && labels[0] < o->models->classes;
}

/* The library's report knows numbers; names join it. */
static cJSON *with_names(const char *json, const cli_classifiers *models)
{
    cJSON *tree = cJSON_Parse(json), *item;
    int64_t k = 0;
    cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(tree, "per_class"))
    {
        const char *const name = cli_class_name(models, k++);
        if (name) cJSON_AddStringToObject(item, "name", name);
    }
    return tree;
}

static int make_report(const cli *c, outcome *o, int64_t n, const double *probabilities,
                       const int64_t *labels)
{
    char *json;
    if (pumit_classification_report(&json, o->models->task, n, o->models->classes, probabilities,
                                    labels, c->config) != PUMIT_OK)
        return cli_fail(c);
    o->report = with_names(json, o->models);
    pumit_free(json);
    return o->report ? CLI_DONE : cli_fail_with(c, "out of memory");
}

/* Of those images that have labels. */
static int judge(const cli *c, outcome *o)
{
    const int64_t classes = o->models->classes;
    const int64_t each = o->models->task == PUMIT_TASK_LABELS ? classes : 1;
    double *probabilities = calloc((size_t)(o->count + 1), (size_t)classes * sizeof(double));
    int64_t *labels = calloc((size_t)(o->count + 1), (size_t)each * sizeof(int64_t)), n = 0;
    int status = CLI_DONE;
    for (int64_t i = 0; i < o->count && probabilities && labels; i++) {
        if (!labels_of(labels + n * each, o, o->image[i])) continue;
        memcpy(probabilities + n++ * classes, o->probabilities + i * classes,
               (size_t)classes * sizeof(double));
    }
    if (!probabilities || !labels)
        status = cli_fail_with(c, "out of memory");
    else if (n > 0)
        status = make_report(c, o, n, probabilities, labels);
    if (n < o->count && (n > 0 || pumit_dataset_classes(o->images) > 0) && !c->quiet)
        cli_say(c, "%lld of %lld images have no label that the model knows, and are not judged",
                (long long)(o->count - n), (long long)o->count);
    free(probabilities);
    free(labels);
    return status;
}

/* --------------------------------------------------------------------------------------------- output */

/* ",label.NAME" and ",p.NAME"; the number where classes have no names, of probabilities as ",p2". */
static void print_heading(FILE *out, const cli_classifiers *models, bool label, int64_t k)
{
    char text[300];
    const char *const name = cli_class_name(models, k), *const word = label ? "label" : "p";
    if (name)
        snprintf(text, sizeof text, "%s.%s", word, name);
    else
        snprintf(text, sizeof text, "%s%s%lld", word, label ? "." : "", (long long)k);
    fputc(',', out);
    cli_print_field(out, text);
}

static void print_label(FILE *out, const outcome *o, int64_t i)
{
    const int64_t label = pumit_dataset_label(o->images, i);
    if (several(o)) {
        for (int64_t k = 0; k < o->models->classes; k++)
            fprintf(out, ",%d", (int)pumit_dataset_has_label(o->images, i, k));
        return;
    }
    const char *const name = label >= 0 ? cli_class_name(o->models, label) : NULL;
    fputc(',', out);
    if (name)
        cli_print_field(out, name);
    else if (label >= 0)
        fprintf(out, "%lld", (long long)label);
}

static int print_csv(const cli *c, outcome *o)
{
    const int64_t classes = o->models->classes;
    FILE *const out = o->csv;
    fputs(several(o) ? "image" : "image,label", out);
    for (int64_t k = 0; k < classes && several(o); k++) print_heading(out, o->models, true, k);
    for (int64_t k = 0; k < classes; k++) print_heading(out, o->models, false, k);
    fputc('\n', out);
    for (int64_t i = 0; i < o->count; i++) {
        cli_print_field(out, pumit_dataset_name(o->images, o->image[i]));
        print_label(out, o, o->image[i]);
        for (int64_t k = 0; k < classes; k++)
            fprintf(out, ",%.6f", o->probabilities[i * classes + k]);
        fputc('\n', out);
    }
    o->csv = NULL;
    return cli_close_output(c, out);
}

static cJSON *image_json(const outcome *o, int64_t i)
{
    const int64_t classes = o->models->classes, label = pumit_dataset_label(o->images, o->image[i]);
    cJSON *item = cJSON_CreateObject();
    cJSON_AddStringToObject(item, "image", pumit_dataset_name(o->images, o->image[i]));
    if (label >= 0) cJSON_AddNumberToObject(item, "label", (double)label);
    cJSON *const labels = several(o) ? cJSON_AddArrayToObject(item, "labels") : NULL;
    for (int64_t k = 0; k < classes && labels; k++)
        cJSON_AddItemToArray(
            labels, cJSON_CreateNumber(pumit_dataset_has_label(o->images, o->image[i], k)));
    cJSON_AddItemToObject(item, "probabilities",
                          cJSON_CreateDoubleArray(o->probabilities + i * classes, (int)classes));
    return item;
}

/* "auc" and "accuracy" stand beside the report, too, for scripts that want no more. */
static int print_json(const cli *c, const outcome *o)
{
    static const char *const HEADLINES[] = {"accuracy", "auc"};
    cJSON *tree = cJSON_CreateObject(), *list = cJSON_AddArrayToObject(tree, "images");
    for (int64_t i = 0; i < o->count; i++) cJSON_AddItemToArray(list, image_json(o, i));
    cJSON_AddNumberToObject(tree, "count", (double)o->count);
    cJSON_AddNumberToObject(tree, "classes", (double)o->models->classes);
    cJSON *const names = cli_class_names(o->models);
    if (names) cJSON_AddItemToObject(tree, "class_names", names);
    for (int i = 0; i < 2 && o->report; i++) {
        const cJSON *const item = cJSON_GetObjectItemCaseSensitive(
            cJSON_GetObjectItemCaseSensitive(o->report, HEADLINES[i]), "value");
        if (cJSON_IsNumber(item)) cJSON_AddNumberToObject(tree, HEADLINES[i], item->valuedouble);
    }
    if (o->report) cJSON_AddItemReferenceToObject(tree, "report", o->report);
    return cli_print_json(c, tree);
}

static int write_report(const cli *c, const cJSON *report)
{
    const char *const path = cli_value(c, "report");
    if (!path) return CLI_DONE;
    if (!report)
        return cli_fail_with(c, "%s: is not written: no image has a label that the model knows",
                             path);
    char *const text = cJSON_Print(report);
    FILE *const file = text ? fopen(path, "we") : NULL;
    const bool written = file && fputs(text, file) >= 0 && fputc('\n', file) != EOF;
    const bool closed = file && fclose(file) == 0;
    cJSON_free(text);
    if (written && closed) return CLI_DONE;
    return cli_fail_with(c, "%s: cannot write: %s", path, strerror(errno));
}

/* Probabilities are printed also if they cannot be judged. The CSV may have stdout to itself; the report then goes to stderr. */
static int print_all(const cli *c, outcome *o)
{
    const bool to_file = cli_given(c, "output");
    const int printed = o->csv ? print_csv(c, o) : CLI_DONE;
    int status = judge(c, o);
    if (status == CLI_DONE) status = write_report(c, o->report);
    if (c->json) {
        const int told = print_json(c, o);
        if (status == CLI_DONE) status = told;
    } else if (o->report && (to_file || !c->quiet)) {
        cli_print_class_report(to_file ? stdout : stderr, o->report);
    }
    return status == CLI_DONE ? printed : status;
}

/* ----------------------------------------------------------------------------------------------- main */

static int classify(cli *c, const cli_classifiers *models)
{
    pumit_dataset *images;
    if (pumit_dataset_open(&images, c->ctx, c->path_count - 1, c->paths + 1, c->config) != PUMIT_OK)
        return cli_fail(c);
    outcome o = {.models = models, .images = images};
    int status = CLI_DONE;
    cli_tell_warnings(c);
    /* before the work, which would be lost on a file that cannot be written */
    if ((cli_given(c, "output") || !c->json) && !(o.csv = cli_open_output(c))) status = CLI_FAILED;
    if (status == CLI_DONE) status = predict_all(c, &o);
    if (status == CLI_DONE) status = print_all(c, &o);
    if (o.failed || pumit_dataset_skipped(images) > 0) status = CLI_FAILED;
    if (c->quiet && pumit_dataset_skipped(images) > 0)
        cli_say(c, "%lld images could not be read: without --quiet each is told",
                (long long)pumit_dataset_skipped(images));
    if (o.csv) (void)cli_close_output(c, o.csv);
    cJSON_Delete(o.report);
    free(o.image);
    free(o.probabilities);
    pumit_dataset_release(images);
    return status;
}

static int body(cli *c)
{
    cli_classifiers models;
    if (cli_open_context(c) != PUMIT_OK) return cli_fail(c);
    int status = cli_classifiers_open(&models, c);
    if (status == CLI_DONE) status = classify(c, &models);
    cli_classifiers_close(&models);
    return status;
}

int main(int argc, char **argv)
{
    cli c = {.program = "pumit-classify",
             .synopsis = "[OPTION]... MODEL IMAGE|FOLDER|ARCHIVE|LIST...",
             .summary =
                 "Prints the probability of each class for every image, as CSV. Where images "
                 "have labels, a report\ntells AUC, accuracy and more, with confidence "
                 "intervals, figures by class and the confusion\nmatrix: on stderr, or on "
                 "stdout with --output or --json. Images that cannot be read or classified\n"
                 "are told and left out; the exit status is then 1.",
             .options = OPTIONS,
             .least_paths = 2};
    return cli_main(&c, argc, argv, body);
}
