/* SPDX-License-Identifier: Apache-2.0 */
/* Affines, spacings and what follows from them. Affines are row-major 4x4, their columns the axes' steps in mm. */
#include "lib/data/volume.h"

#include <math.h>

/* Spacings come from 32-bit headers: a ratio this close below a power of two is meant to reach it. */
#define RATIO_TOLERANCE 1e-4

static double in_plane(const double spacing[3])
{
    return sqrt(spacing[1]) * sqrt(spacing[2]);
}

pumit_status pumit_degree_of_anisotropy(int32_t *out, const double spacing[3])
{
    PUMIT__REQUIRE(out && spacing, "pumit_degree_of_anisotropy: an argument is NULL");
    for (int i = 0; i < 3; i++)
        PUMIT__REQUIRE(spacing[i] > 0 && (i == 0 || isfinite(spacing[i])),
                       "spacing %g x %g x %g mm: all three must be positive, the last two finite",
                       spacing[0], spacing[1], spacing[2]);
    const double halvings = floor(log2(spacing[0] / in_plane(spacing) * (1 + RATIO_TOLERANCE)));
    *out = !(halvings > 0)                        ? 0
           : !(halvings < PUMIT__MOST_ANISOTROPY) ? PUMIT__MOST_ANISOTROPY
                                                  : (int32_t)halvings;
    return PUMIT_OK;
}

bool pumit__nearly_cubes(const double spacing[3])
{
    return spacing[0] < 2 * in_plane(spacing);
}

void pumit__spacing_force(double spacing[3], int32_t da)
{
    const double least = ldexp(in_plane(spacing), da);
    if (da > 0 && !(spacing[0] >= least)) spacing[0] = least;
    const double most = 2 * least * (1 - 4 * RATIO_TOLERANCE);
    if (da < PUMIT__MOST_ANISOTROPY && !(spacing[0] <= most)) spacing[0] = most;
}

void pumit__affine_spacing(double spacing[3], const double affine[16])
{
    for (int i = 0; i < 3; i++) spacing[i] = hypot(hypot(affine[i], affine[4 + i]), affine[8 + i]);
}

bool pumit__affine_is_good(const double a[16])
{
    double s[3];
    pumit__affine_spacing(s, a);
    for (int i = 0; i < 3; i++)
        if (!(s[i] > 1e-9 && s[i] < 1e9 && fabs(a[4 * i + 3]) < 1e9)) return false;
    const double determinant = a[0] * (a[5] * a[10] - a[6] * a[9]) -
                               a[1] * (a[4] * a[10] - a[6] * a[8]) +
                               a[2] * (a[4] * a[9] - a[5] * a[8]);
    return fabs(determinant) > 1e-4 * s[0] * s[1] * s[2];
}

int32_t pumit__slice_axis(const double affine[16], const int64_t size[3])
{
    for (int32_t i = 0; i < 3; i++)
        if (size[i] == 1) return i;
    double s[3], ratio[3], least = INFINITY;
    pumit__affine_spacing(s, affine);
    for (int i = 0; i < 3; i++) {
        const double a = s[(i + 1) % 3], b = s[(i + 2) % 3];
        ratio[i] = a > b ? a / b : b / a;
        if (ratio[i] < least) least = ratio[i];
    }
    int32_t best = -1;
    double best_rise = 0;
    for (int32_t i = 0; i < 3; i++) {
        if (!(ratio[i] <= least * 1.001)) continue;
        const double rise = fabs(affine[8 + i]) / s[i]; /* 1: along superior-inferior */
        if (best >= 0 && !(rise > best_rise + 1e-6)) continue;
        best = i;
        best_rise = rise;
    }
    return best < 0 ? 0 : best;
}

/* How far a step along an axis goes towards right (0), anterior (1), superior (2), of its whole length. */
static double towards(const double affine[16], int axis, int world)
{
    double s[3];
    pumit__affine_spacing(s, affine);
    return affine[4 * world + axis] / s[axis];
}

static int nearest_of_world(const double affine[16], int axis)
{
    int best = 0;
    for (int world = 1; world < 3; world++)
        if (fabs(towards(affine, axis, world)) > fabs(towards(affine, axis, best)) + 1e-6)
            best = world;
    return best;
}

/* In the plane H goes along superior-inferior if that is in it, else anterior-posterior; W along what is left. */
void pumit__body_axes(int32_t order[3], bool flip[3], const double affine[16],
                      const int64_t size[3])
{
    const int32_t d = pumit__slice_axis(affine, size);
    int32_t h = d == 0 ? 1 : 0, w = d == 2 ? 1 : 2;
    const int of_d = nearest_of_world(affine, d);
    const int of_h = of_d == 2 ? 1 : 2, of_w = of_d == 0 ? 1 : 0;
    const double kept = fabs(towards(affine, h, of_h)) + fabs(towards(affine, w, of_w));
    const double swapped = fabs(towards(affine, w, of_h)) + fabs(towards(affine, h, of_w));
    if (swapped > kept + 1e-6) {
        const int32_t other = h;
        h = w;
        w = other;
    }
    const int of[3] = {of_d, of_h, of_w};
    const int32_t found[3] = {d, h, w};
    for (int i = 0; i < 3; i++) {
        order[i] = found[i];
        flip[i] = towards(affine, found[i], of[i]) < 0;
    }
}

void pumit__affine_flip(double affine[16], int axis, int64_t size)
{
    for (int row = 0; row < 3; row++) {
        affine[4 * row + 3] += affine[4 * row + axis] * (double)(size - 1);
        affine[4 * row + axis] = -affine[4 * row + axis];
    }
}

void pumit__affine_reorder(double dst[16], const double src[16], const int32_t order[3])
{
    for (int row = 0; row < 4; row++) {
        for (int i = 0; i < 3; i++) dst[4 * row + i] = src[4 * row + order[i]];
        dst[4 * row + 3] = src[4 * row + 3];
    }
}
