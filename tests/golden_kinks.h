/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Gradients past kinks. The derivative of a LeakyReLU jumps where its argument is zero, and which side an argument of 1e-7 falls on
 * is a matter of rounding: even the program that wrote a file gives gradients some 1e-3 apart on two machines.
 * So where an argument is zero within rounding, either side's derivative is right, and the file's is looked for.
 */
#ifndef PUMIT_TESTS_GOLDEN_KINKS_H
#define PUMIT_TESTS_GOLDEN_KINKS_H

#include "tests/golden.h"

/* Computes and records the loss, the same each time. New reference. */
typedef pumit_status (*golden_loss_fn)(pumit_tensor **loss, void *user);

/* Compares the gradients of `loss` as golden_compare_gradients() does. */
pumit_status golden_check_gradients(golden *g, pumit_module *module, const char *prefix,
                                    golden_loss_fn loss, void *user);

#endif
