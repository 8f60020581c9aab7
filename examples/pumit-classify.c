/* SPDX-License-Identifier: Apache-2.0 */
/* Class probabilities of images; with labels also AUC and accuracy. */
#include "examples/common/describe.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static const cli_option OPTIONS[] = {
    {"split", 0, 's', "NAME", "split", "which split of .npz and .csv data: train, val, test"},
    {"folders-are-labels", 0, 'b', NULL, "folders_are_labels", "a folder of one folder per class"},
    {"output", 'o', 's', "FILE", NULL, "write there instead of stdout"},
    {0}};

typedef struct {
    double *probabilities; /* (count, classes) */
    int64_t *labels;
    int64_t count, classes;
    double accuracy, auc; /* NaN without labels */
} judged;

static pumit_status predict_all(judged *r, pumit_classifier *model, const pumit_dataset *images)
{
    for (int64_t i = 0; i < r->count; i++) {
        pumit_tensor *row;
        pumit_status status =
            pumit_classifier_predict(&row, model, pumit_dataset_volume(images, i));
        if (status != PUMIT_OK) return status;
        status = pumit_tensor_read(row, PUMIT_F64, r->probabilities + i * r->classes,
                                   r->classes * (int64_t)sizeof(double));
        pumit_tensor_release(row);
        if (status != PUMIT_OK) return status;
        r->labels[i] = pumit_dataset_label(images, i);
    }
    return PUMIT_OK;
}

static pumit_status score(judged *r, const pumit_dataset *images)
{
    const int64_t known = pumit_dataset_classes(images); /* 0: an image has no label */
    r->accuracy = r->auc = NAN;
    if (known == 0 || known > r->classes) return PUMIT_OK;
    return pumit_classification_scores(&r->accuracy, &r->auc, PUMIT_TASK_CLASSES, r->count,
                                       r->classes, r->probabilities, r->labels);
}

/* --------------------------------------------------------------------------------------------- output */

static int print_csv(const cli *c, const judged *r, const pumit_dataset *images)
{
    FILE *out = cli_open_output(c);
    if (!out) return CLI_FAILED;
    fprintf(out, "image,label");
    for (int64_t k = 0; k < r->classes; k++) fprintf(out, ",p%lld", (long long)k);
    fputc('\n', out);
    for (int64_t i = 0; i < r->count; i++) {
        cli_print_field(out, pumit_dataset_name(images, i));
        if (r->labels[i] >= 0)
            fprintf(out, ",%lld", (long long)r->labels[i]);
        else
            fputc(',', out);
        for (int64_t k = 0; k < r->classes; k++)
            fprintf(out, ",%.6f", r->probabilities[i * r->classes + k]);
        fputc('\n', out);
    }
    const int status = cli_close_output(c, out);
    if (status == CLI_DONE && !isnan(r->accuracy))
        cli_say(c, "AUC %.4f, accuracy %.4f on %lld images", r->auc, r->accuracy,
                (long long)r->count);
    return status;
}

static int print_json(const cli *c, const judged *r, const pumit_dataset *images)
{
    cJSON *tree = cJSON_CreateObject(), *list = cJSON_AddArrayToObject(tree, "images");
    cJSON_AddNumberToObject(tree, "count", (double)r->count);
    cJSON_AddNumberToObject(tree, "classes", (double)r->classes);
    if (!isnan(r->accuracy)) cJSON_AddNumberToObject(tree, "accuracy", r->accuracy);
    if (!isnan(r->auc)) cJSON_AddNumberToObject(tree, "auc", r->auc);
    for (int64_t i = 0; i < r->count; i++) {
        cJSON *item = cJSON_CreateObject();
        cJSON_AddStringToObject(item, "image", pumit_dataset_name(images, i));
        if (r->labels[i] >= 0) cJSON_AddNumberToObject(item, "label", (double)r->labels[i]);
        cJSON_AddItemToObject(
            item, "probabilities",
            cJSON_CreateDoubleArray(r->probabilities + i * r->classes, (int)r->classes));
        cJSON_AddItemToArray(list, item);
    }
    return cli_print_json(c, tree);
}

/* ----------------------------------------------------------------------------------------------- main */

static int classify(const cli *c, pumit_classifier *model, const pumit_dataset *images)
{
    judged r = {.count = pumit_dataset_count(images), .classes = pumit_classifier_classes(model)};
    r.probabilities = calloc((size_t)(r.count * r.classes), sizeof *r.probabilities);
    r.labels = calloc((size_t)r.count, sizeof *r.labels);
    int status;
    cli_tell_warnings(c);
    if (!r.probabilities || !r.labels)
        status = cli_fail_with(c, "out of memory");
    else if (predict_all(&r, model, images) != PUMIT_OK || score(&r, images) != PUMIT_OK)
        status = cli_fail(c);
    else
        status = c->json ? print_json(c, &r, images) : print_csv(c, &r, images);
    free(r.probabilities);
    free(r.labels);
    return status;
}

static int body(cli *c)
{
    pumit_classifier *model = NULL;
    pumit_dataset *images = NULL;
    pumit_status status = cli_open_context(c);
    if (status == PUMIT_OK) status = pumit_classifier_load(&model, c->ctx, c->paths[0]);
    if (status == PUMIT_OK)
        status = pumit_dataset_open(&images, c->ctx, c->path_count - 1, c->paths + 1, c->config);
    const int result = status == PUMIT_OK ? classify(c, model, images) : cli_fail(c);
    pumit_dataset_release(images);
    pumit_classifier_release(model);
    return result;
}

int main(int argc, char **argv)
{
    cli c = {.program = "pumit-classify",
             .synopsis = "[OPTION]... MODEL IMAGE|FOLDER|ARCHIVE|LIST...",
             .summary = "Prints the probability of each class for every image, as CSV; AUC and "
                        "accuracy too where "
                        "there are labels.",
             .options = OPTIONS,
             .least_paths = 2};
    return cli_main(&c, argc, argv, body);
}
