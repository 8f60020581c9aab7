/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What logits say, by task. With q the shares of the classes in an image, w their weights, s the logistic function:
 *
 *   classes  p = softmax(l);                                loss -sum_c w_c q_c ln p_c
 *   labels   p_c = s(l_c);                                  loss -mean_c (w_c q_c ln p_c + (1 - q_c) ln(1 - p_c))
 *   grades   s(l_k) = P(y > k | y >= k), k = 0..classes-2;  loss -sum_c w_c q_c ln p_c
 *            p_c = (1 - s(l_c)) prod_{k<c} s(l_k), which sum to one whatever the logits are
 *
 * and the mean over images. Grades are the continuation-ratio model (Fienberg 1980, The Analysis of Cross-Classified Categorical Data), which is
 * CORN for networks (Shi, Cao, Raschka 2021): -ln p_c is a sum of binary cross-entropies, one for each grade that the image has reached.
 */
#include "lib/models/classifier.h"

#include "lib/tensor/ops.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const NAMES[] = {[PUMIT_TASK_CLASSES] = "classes",
                                    [PUMIT_TASK_LABELS] = "labels",
                                    [PUMIT_TASK_GRADES] = "grades"};

pumit_status pumit__task_from_name(pumit_task *out, const char *name)
{
    for (*out = PUMIT_TASK_CLASSES; *out <= PUMIT_TASK_GRADES; ++*out)
        if (strcmp(NAMES[*out], name) == 0) return PUMIT_OK;
    return pumit__fail(PUMIT_ERROR_INVALID_ARGUMENT,
                       "task is '%s': it must be 'classes', 'labels' or 'grades'", name);
}

const char *pumit__task_name(pumit_task task)
{
    return NAMES[task];
}

int64_t pumit__class_outputs(pumit_task task, int64_t classes)
{
    return task == PUMIT_TASK_GRADES ? classes - 1 : classes;
}

/* ------------------------------------------------------------------------------------ probabilities */

static double logistic(double x)
{
    return x >= 0 ? 1 / (1 + exp(-x)) : exp(x) / (1 + exp(x));
}

static void softmax(double *dst, const double *logits, int64_t classes)
{
    double most = logits[0], sum = 0;
    for (int64_t c = 1; c < classes; c++) most = fmax(most, logits[c]);
    for (int64_t c = 0; c < classes; c++) sum += dst[c] = exp(logits[c] - most);
    for (int64_t c = 0; c < classes; c++) dst[c] /= sum;
}

static void grades(double *dst, const double *logits, int64_t classes)
{
    double reached = 1;
    for (int64_t c = 0; c < classes - 1; c++) {
        dst[c] = reached * logistic(-logits[c]);
        reached *= logistic(logits[c]);
    }
    dst[classes - 1] = reached;
}

void pumit__class_probabilities(double *dst, pumit_task task, int64_t n, int64_t classes,
                                const double *logits)
{
    const int64_t outputs = pumit__class_outputs(task, classes);
    for (int64_t i = 0; i < n; i++, dst += classes, logits += outputs) {
        if (task == PUMIT_TASK_CLASSES) softmax(dst, logits, classes);
        if (task == PUMIT_TASK_GRADES) grades(dst, logits, classes);
        for (int64_t c = 0; task == PUMIT_TASK_LABELS && c < classes; c++)
            dst[c] = logistic(logits[c]);
    }
}

/* ------------------------------------------------------------------------------------------ targets */

pumit_status pumit__class_targets(double *targets, pumit_task task, int64_t n, int64_t classes,
                                  const int64_t *labels)
{
    const bool many = task == PUMIT_TASK_LABELS;
    const int64_t most = many ? 1 : classes - 1;
    memset(targets, 0, (size_t)(n * classes) * sizeof *targets);
    for (int64_t i = 0; i < (many ? n * classes : n); i++) {
        PUMIT__REQUIRE(labels[i] >= 0 && labels[i] <= most, "label %lld is not in 0..%lld",
                       (long long)labels[i], (long long)most);
        if (many)
            targets[i] = (double)labels[i];
        else
            targets[i * classes + labels[i]] = 1;
    }
    return PUMIT_OK;
}

/* Targets of one image, as `outputs` pairs of weights {of -ln(1 - s(l)), of -ln s(l)}. */
static void label_pairs(double *dst, const double *q, const double *weights, int64_t classes)
{
    for (int64_t c = 0; c < classes; c++) {
        dst[2 * c] = 1 - q[c];
        dst[2 * c + 1] = q[c] * (weights ? weights[c] : 1);
    }
}

static void grade_pairs(double *dst, const double *q, const double *weights, int64_t classes)
{
    double above = q[classes - 1] * (weights ? weights[classes - 1] : 1);
    for (int64_t c = classes - 2; c >= 0; c--) {
        const double here = q[c] * (weights ? weights[c] : 1);
        dst[2 * c] = here;
        dst[2 * c + 1] = above;
        above += here;
    }
}

static void class_row(double *dst, const double *q, const double *weights, int64_t classes)
{
    for (int64_t c = 0; c < classes; c++) dst[c] = q[c] * (weights ? weights[c] : 1);
}

/* What cross-entropy takes: (n, classes), or (n, outputs, 2). NULL on failure. */
static pumit_tensor *targets_of(pumit_tensor *logits, pumit_task task, int64_t classes,
                                const double *targets, const double *weights)
{
    const bool pairs = task != PUMIT_TASK_CLASSES;
    const int64_t n = logits->shape[0], outputs = logits->shape[1];
    const int64_t each = pairs ? 2 * outputs : outputs, shape[3] = {n, outputs, 2};
    double *values = pumit__calloc(n * each, (int64_t)sizeof *values);
    if (!values) {
        pumit__fail_memory(n * each * (int64_t)sizeof *values, "labels");
        return NULL;
    }
    for (int64_t i = 0; i < n; i++) {
        const double *const q = targets + i * classes;
        double *const dst = values + i * each;
        if (task == PUMIT_TASK_CLASSES) class_row(dst, q, weights, classes);
        if (task == PUMIT_TASK_LABELS) label_pairs(dst, q, weights, classes);
        if (task == PUMIT_TASK_GRADES) grade_pairs(dst, q, weights, classes);
    }
    pumit_tensor *made = pumit__from_host(logits->ctx, PUMIT_F64, values, 0, pairs ? 3 : 2, shape);
    free(values);
    return made;
}

/* s(l) is the softmax of {0, l}. */
static pumit_tensor *pairs_of(pumit_tensor *logits)
{
    const int64_t shape[3] = {logits->shape[0], logits->shape[1], 1};
    pumit_tensor *zeros = pumit__zeros(logits->ctx, 0, 3, shape);
    return pumit__concat(zeros, pumit__reshape(logits, 3, shape), 2);
}

pumit_tensor *pumit__class_loss(pumit_tensor *logits, pumit_task task, int64_t classes,
                                const double *targets, const double *weights)
{
    if (!logits) return NULL;
    pumit_tensor *target = targets_of(logits, task, classes, targets, weights);
    if (task == PUMIT_TASK_CLASSES) return pumit__mean(pumit__cross_entropy(logits, target));
    pumit_tensor *each = target ? pumit__cross_entropy(pairs_of(logits), target) : NULL;
    if (task == PUMIT_TASK_LABELS) return pumit__mean(each);
    return pumit__sum(each, 3, 1 / (double)logits->shape[0]);
}
