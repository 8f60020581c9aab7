/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/data/chance.h"

#include <math.h>

double pumit__roll(const pumit__dice *dice, int number)
{
    return pumit__random_uniform(dice->seed, dice->stream, (uint64_t)number);
}

double pumit__log_uniform(double least, double most, double u)
{
    return least * pow(most / least, u);
}

float pumit__draw_factor(const pumit__dice *dice, int number, double probability, double least,
                         double most)
{
    if (!(pumit__roll(dice, number) < probability)) return 1;
    return (float)pumit__log_uniform(least, most, pumit__roll(dice, number + 1));
}

void pumit__turn_further(double r[3][3], int i, int j, double degrees)
{
    const double angle = degrees * 3.14159265358979323846 / 180, c = cos(angle), s = sin(angle);
    for (int k = 0; k < 3; k++) {
        const double a = r[i][k], b = r[j][k];
        r[i][k] = c * a - s * b;
        r[j][k] = s * a + c * b;
    }
}
