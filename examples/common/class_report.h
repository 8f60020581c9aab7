/* SPDX-License-Identifier: Apache-2.0 */
/* What pumit_classification_report() tells, for people. */
#ifndef EXAMPLES_COMMON_CLASS_REPORT_H
#define EXAMPLES_COMMON_CLASS_REPORT_H

#include <cjson/cJSON.h>
#include <stdio.h>

/* Tables of figures, of classes (by their "name" where they have one), and the confusion matrix. */
void cli_print_class_report(FILE *out, const cJSON *report);

#endif
