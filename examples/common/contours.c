/* SPDX-License-Identifier: Apache-2.0 */
#include "examples/common/contours.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define LEAST_SIDE 300  /* pixels: tiles whose longer side is shorter are magnified */
#define MOST_SIDE  1024 /* and longer ones shrunk */
#define DASH       3    /* pixels */
#define DIM        0.8f /* of the image, so that white shows on it */
#define COLUMNS    4

enum { PREDICTION, REFERENCE, MAPS };

typedef struct {
    const float *image;        /* (H, W), in [0, 1]: the slice that is drawn */
    const uint8_t *maps[MAPS]; /* (D, H, W), or NULL */
    int64_t shape[3];          /* D H W */
    int64_t height, width;     /* of a tile */
    bool turned;               /* rows and columns run the other way on the screen */
} drawing;

/* Okabe & Ito's colours, which the colour-blind can tell apart. */
static const float COLOURS[][3] = {
    {0.90f, 0.62f, 0.00f}, {0.34f, 0.71f, 0.91f}, {0.00f, 0.62f, 0.45f}, {0.94f, 0.89f, 0.26f},
    {0.84f, 0.37f, 0.00f}, {0.80f, 0.47f, 0.65f}, {0.00f, 0.45f, 0.70f}};
#define COLOUR_COUNT (int)(sizeof COLOURS / sizeof *COLOURS)

static void choose_size(drawing *d, const double spacing[3])
{
    const double pixel = fmin(spacing[1], spacing[2]);
    const double h = (double)d->shape[1] * spacing[1] / pixel,
                 w = (double)d->shape[2] * spacing[2] / pixel, side = fmax(h, w);
    const double zoom = side > MOST_SIDE ? MOST_SIDE / side : ceil(LEAST_SIDE / side);
    d->height = (int64_t)fmax(1, round(h * zoom));
    d->width = (int64_t)fmax(1, round(w * zoom));
}

/* ---------------------------------------------------------------------------------------- which slices */

static bool has_structure(const drawing *d, int64_t slice)
{
    const int64_t area = d->shape[1] * d->shape[2];
    for (int m = 0; m < MAPS; m++)
        for (int64_t i = 0; d->maps[m] && i < area; i++)
            if (d->maps[m][slice * area + i]) return true;
    return false;
}

/* Fills `chosen` and gives how many: of all slices where none holds a structure. */
static int64_t choose_slices(int64_t *chosen, const drawing *d, int64_t most)
{
    int64_t count = 0;
    int64_t *there = malloc((size_t)d->shape[0] * sizeof *there);
    if (!there) return 0;
    for (int64_t i = 0; i < d->shape[0]; i++)
        if (has_structure(d, i)) there[count++] = i;
    if (count == 0) {
        for (int64_t i = 0; i < d->shape[0]; i++) there[i] = i;
        count = d->shape[0];
    }
    const int64_t wanted = most < count ? most : count;
    for (int64_t k = 0; k < wanted; k++) chosen[k] = there[(2 * k + 1) * count / (2 * wanted)];
    free(there);
    return wanted;
}

/* -------------------------------------------------------------------------------------------- drawing */

/* Index along an axis of `size` voxels that a tile's line of `length` pixels lies at, whole for a voxel's centre. */
static double source_of(const drawing *d, int64_t pixel, int64_t length, int64_t size)
{
    const int64_t at = d->turned ? length - 1 - pixel : pixel;
    return ((double)at + 0.5) * (double)size / (double)length - 0.5;
}

static double clamp(double value, double most)
{
    return fmin(fmax(value, 0), most);
}

/* Between the four nearest voxels. */
static float gray_at(const drawing *d, double h, double w)
{
    const int64_t H = d->shape[1], W = d->shape[2];
    const float *const src = d->image;
    const double y = clamp(h, (double)(H - 1)), x = clamp(w, (double)(W - 1));
    const int64_t top = (int64_t)y, left = (int64_t)x;
    const int64_t bottom = top + 1 < H ? top + 1 : top, right = left + 1 < W ? left + 1 : left;
    const double v = y - (double)top, u = x - (double)left;
    return (float)((1 - v) * ((1 - u) * src[top * W + left] + u * src[top * W + right]) +
                   v * ((1 - u) * src[bottom * W + left] + u * src[bottom * W + right]));
}

/* The label that a pixel shows; -1 outside of the tile. */
static int label_at(const drawing *d, int map, int64_t slice, int64_t y, int64_t x)
{
    if (y < 0 || x < 0 || y >= d->height || x >= d->width) return -1;
    const int64_t H = d->shape[1], W = d->shape[2];
    const double h = source_of(d, y, d->height, H), w = source_of(d, x, d->width, W);
    const int64_t row = (int64_t)clamp(round(h), (double)(H - 1)),
                  column = (int64_t)clamp(round(w), (double)(W - 1));
    return d->maps[map][(slice * H + row) * W + column];
}

/* The class whose outline goes through a pixel, inside of the structure; 0: none. */
static int outline_at(const drawing *d, int map, int64_t slice, int64_t y, int64_t x)
{
    const int label = d->maps[map] ? label_at(d, map, slice, y, x) : 0;
    if (label == 0) return 0;
    const bool inside =
        label_at(d, map, slice, y - 1, x) == label && label_at(d, map, slice, y + 1, x) == label &&
        label_at(d, map, slice, y, x - 1) == label && label_at(d, map, slice, y, x + 1) == label;
    return inside ? 0 : label;
}

static void draw_pixel(float rgb[3], const drawing *d, int64_t slice, int64_t y, int64_t x)
{
    const float gray = DIM * gray_at(d, source_of(d, y, d->height, d->shape[1]),
                                     source_of(d, x, d->width, d->shape[2]));
    const int predicted = outline_at(d, PREDICTION, slice, y, x);
    for (int i = 0; i < 3; i++)
        rgb[i] = predicted ? COLOURS[(predicted - 1) % COLOUR_COUNT][i] : gray;
    if ((y / DASH + x / DASH) % 2 == 0 && outline_at(d, REFERENCE, slice, y, x))
        for (int i = 0; i < 3; i++) rgb[i] = 1;
}

static pumit_status draw(pumit_tensor *sheet, drawing *d, pumit_tensor *gray, const int64_t *slices)
{
    void *data, *src;
    pumit_status status = pumit_tensor_data(&data, sheet);
    if (status == PUMIT_OK) status = pumit_tensor_data(&src, gray);
    if (status != PUMIT_OK) return status;
    float *rgb = data;
    for (int64_t tile = 0; tile < pumit_tensor_shape(sheet)[0]; tile++) {
        d->image = (const float *)src + tile * d->shape[1] * d->shape[2];
        for (int64_t y = 0; y < d->height; y++)
            for (int64_t x = 0; x < d->width; x++, rgb += 3) draw_pixel(rgb, d, slices[tile], y, x);
    }
    return PUMIT_OK;
}

/* The chosen slices in gray, in [0, 1], as a tensor (1, count, H, W, 1). They are made a volume of their own, since all of a large one would
 * take more memory than anything else here; its slices lie far apart, so that its axes stay what they are. */
static pumit_status take_slices(pumit_tensor **out, const cli *c, const pumit_volume *image,
                                const int64_t *slices, int64_t count)
{
    static const double AFFINE[16] = {0, 0, 1, 0, 0, 1, 0, 0, 1e3, 0, 0, 0, 0, 0, 0, 1};
    int64_t shape[4];
    pumit_volume *few;
    pumit_volume_shape(image, shape);
    const int64_t area = shape[1] * shape[2] * shape[3], size[] = {count, shape[1], shape[2]};
    const float *const voxels = pumit_volume_voxels(image);
    if (!voxels) return PUMIT_ERROR_IO;
    float *copy = malloc((size_t)(count * area) * sizeof *copy);
    if (!copy) return PUMIT_ERROR_OUT_OF_MEMORY;
    for (int64_t i = 0; i < count; i++)
        memcpy(copy + i * area, voxels + slices[i] * area, (size_t)area * sizeof *copy);
    pumit_status status =
        pumit_volume_create(&few, c->ctx, PUMIT_F32, size, shape[3], copy, AFFINE);
    free(copy);
    if (status != PUMIT_OK) return status;
    status = pumit_volume_to_tensor(out, few, c->ctx, 1);
    pumit_volume_release(few);
    return status;
}

static pumit_status write_sheet(const cli *c, const char *path, const pumit_volume *image,
                                drawing *d, const int64_t *slices, int64_t count)
{
    const int64_t shape[] = {count, d->height, d->width, 3};
    pumit_tensor *sheet = NULL, *gray = NULL;
    pumit_status status = take_slices(&gray, c, image, slices, count);
    if (status == PUMIT_OK) status = pumit_tensor_create(&sheet, c->ctx, PUMIT_F32, 4, shape);
    if (status == PUMIT_OK) status = draw(sheet, d, gray, slices);
    if (status == PUMIT_OK) status = pumit_write_png_sheet(path, sheet, COLUMNS);
    pumit_tensor_release(sheet);
    pumit_tensor_release(gray);
    return status;
}

static bool fits(const drawing *d, const pumit_label_map *map)
{
    int64_t shape[3];
    if (!map) return true;
    pumit_label_map_shape(map, shape);
    return memcmp(shape, d->shape, sizeof shape) == 0;
}

int contours_write(const cli *c, const char *path, const pumit_volume *image,
                   const pumit_label_map *prediction, const pumit_label_map *reference, int slices)
{
    drawing d = {.maps = {prediction ? pumit_label_map_labels(prediction) : NULL,
                          reference ? pumit_label_map_labels(reference) : NULL}};
    int64_t shape[4];
    double spacing[3];
    pumit_volume_shape(image, shape);
    pumit_volume_spacing(image, spacing);
    memcpy(d.shape, shape, sizeof d.shape);
    d.turned = isfinite(spacing[0]); /* a picture lies as it is */
    if (!fits(&d, prediction) || !fits(&d, reference))
        return cli_fail_with(c, "%s: a label map does not have its image's voxels", path);
    choose_size(&d, spacing);
    int64_t *chosen = malloc((size_t)slices * sizeof *chosen);
    const int64_t count = chosen ? choose_slices(chosen, &d, slices) : 0;
    const pumit_status status =
        count > 0 ? write_sheet(c, path, image, &d, chosen, count) : PUMIT_ERROR_OUT_OF_MEMORY;
    free(chosen);
    if (status == PUMIT_ERROR_OUT_OF_MEMORY) return cli_fail_with(c, "%s: out of memory", path);
    return status == PUMIT_OK ? CLI_DONE : cli_fail(c);
}
