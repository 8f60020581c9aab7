/* SPDX-License-Identifier: Apache-2.0 */
/* Classifiers of the same classes, whose probabilities are averaged. */
#ifndef EXAMPLES_COMMON_CLASSIFIERS_H
#define EXAMPLES_COMMON_CLASSIFIERS_H

#include "examples/common/cli.h"

typedef struct {
    pumit_classifier *models[CLI_MOST_GIVEN + 1];
    int count;
    int64_t classes;
    pumit_task task;
} cli_classifiers;

/* Loads the program's first path and every --model; says what is wrong. Images that are opened with c->config then number their
 * classes as the models do, even where some class does not occur. Always to be closed. */
int cli_classifiers_open(cli_classifiers *set, cli *c);
void cli_classifiers_close(cli_classifiers *set);

/* NULL if it has none; borrowed. */
const char *cli_class_name(const cli_classifiers *set, int64_t k);

/* An array of the names; NULL if there are none. */
cJSON *cli_class_names(const cli_classifiers *set);

/* Mean probabilities of an image; `row` has room for 2 x classes, the first `classes` are the result. */
pumit_status cli_classifiers_predict(double *row, const cli_classifiers *set,
                                     const pumit_volume *image);

#endif
