/* SPDX-License-Identifier: Apache-2.0 */
/* Draws are a hash of (seed, stream, counter): SplitMix64's finaliser (Steele, Lea & Flood 2014) over each word. */
#include "lib/base/base.h"

#include <math.h>

static uint64_t mix(uint64_t x)
{
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

uint64_t pumit__random(uint64_t seed, uint64_t stream, uint64_t counter)
{
    return mix(mix(mix(seed) ^ stream) ^ counter);
}

double pumit__random_uniform(uint64_t seed, uint64_t stream, uint64_t counter)
{
    return (double)(pumit__random(seed, stream, counter) >> 11) * 0x1p-53;
}

double pumit__random_normal(uint64_t seed, uint64_t stream, uint64_t counter)
{
    const double u = 1.0 - pumit__random_uniform(seed, stream, 2 * counter); /* (0, 1] */
    const double v = pumit__random_uniform(seed, stream, 2 * counter + 1);
    return sqrt(-2.0 * log(u)) * cos(2.0 * 3.14159265358979323846 * v);
}

int64_t pumit__random_below(uint64_t seed, uint64_t stream, uint64_t counter, int64_t n)
{
    return (int64_t)(((unsigned __int128)pumit__random(seed, stream, counter) * (uint64_t)n) >> 64);
}

uint64_t pumit__random_stream(const char *name)
{
    uint64_t hash = 0;
    for (; *name; name++) hash = mix(hash ^ (unsigned char)*name);
    return hash;
}

void pumit__random_permutation(int64_t *order, int64_t n, uint64_t seed, uint64_t stream)
{
    for (int64_t i = 0; i < n; i++) {
        const int64_t j = pumit__random_below(seed, stream, (uint64_t)i, i + 1);
        order[i] = order[j];
        order[j] = i;
    }
}
