/* SPDX-License-Identifier: Apache-2.0 */
/* What samplers of crops and of patches draw alike. Each draw has a number of its own, so that none depends on how many came before. */
#ifndef PUMIT_LIB_DATA_CHANCE_H
#define PUMIT_LIB_DATA_CHANCE_H

#include "lib/base/base.h"

/* Of one crop. */
typedef struct {
    uint64_t seed, stream;
} pumit__dice;

/* [0, 1) */
double pumit__roll(const pumit__dice *dice, int number);

/* Even in ratio, so that twice is as frequent as half. */
double pumit__log_uniform(double least, double most, double u);

/* With this probability a factor in least..most, of draws `number` and the next; else 1. */
float pumit__draw_factor(const pumit__dice *dice, int number, double probability, double least,
                         double most);

/* Turns r further, from axis i towards axis j. */
void pumit__turn_further(double r[3][3], int i, int j, double degrees);

#endif
