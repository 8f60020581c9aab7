/* SPDX-License-Identifier: Apache-2.0 */
#include "examples/bench/flops.h"

#include <string.h>

static double value(const pumit_config *config, const char *key, int64_t fallback)
{
    int64_t number = fallback;
    if (pumit_config_get_int(&number, config, key, fallback) != PUMIT_OK) return (double)fallback;
    return (double)number;
}

/* As many numbers as `fallback` has, or what the key has, of at most 4; gives how many. */
static int values(double *out, const pumit_config *config, const char *key, int count,
                  const int64_t *fallback)
{
    int64_t numbers[4] = {0};
    int32_t found = 0;
    if (pumit_config_get_ints(numbers, 4, &found, config, key) != PUMIT_OK) found = 0;
    for (int i = 0; i < (found ? found : count); i++)
        out[i] = (double)(found ? numbers[i] : fallback[i]);
    return found ? found : count;
}

double flops_of_step(flop_count forward)
{
    return 3 * forward.all - forward.first;
}

/* ------------------------------------------------------------------------- spatially adaptive layers */

/* A feature map, as the laws of SAC see it: sizes, the image's degree of anisotropy, in-plane halvings so far. */
typedef struct {
    double size[3];
    int da, down;
} map;

static map image_map(const int64_t size[3], int da)
{
    return (map){{(double)size[0], (double)size[1], (double)size[2]}, da, 0};
}

static double voxels(const map *m)
{
    return m->size[0] * m->size[1] * m->size[2];
}

/* A convolution with a cube of a kernel, padded unless kernel and stride are the same; `m` becomes the map that it gives. */
static double conv(map *m, double in, double out, int kernel, int stride)
{
    const int thick = m->da > m->down ? m->da - m->down : 0;
    const int deep = stride >> thick > 1 ? stride >> thick : 1;
    const int kernel_depth = thick ? deep : kernel;
    m->size[0] /= deep;
    m->size[1] /= stride;
    m->size[2] /= stride;
    for (int s = stride; s > 1; s /= 2) m->down++;
    return 2 * voxels(m) * kernel_depth * kernel * kernel * in * out;
}

/* A transposed convolution, kernel and stride the same: each voxel that it gives has one to come from. */
static double grow(map *m, double in, double out, int stride)
{
    const int halved = m->down > m->da ? m->down - m->da : 0;
    const int deep = 1 << halved < stride ? 1 << halved : stride;
    m->size[0] *= deep;
    m->size[1] *= stride;
    m->size[2] *= stride;
    for (int s = stride; s > 1; s /= 2) m->down--;
    return 2 * voxels(m) * in * out;
}

/* --------------------------------------------------------------------------------------- transformer */

static double embed_patches(map *m, const pumit_config *vit)
{
    static const int64_t cube[] = {16, 16, 16};
    double patch[4];
    values(patch, vit, "patch", 3, cube);
    return conv(m, value(vit, "in_channels", 3), value(vit, "dim", 768), (int)patch[1],
                (int)patch[1]);
}

static double blocks(const pumit_config *vit, double rows)
{
    const double dim = value(vit, "dim", 768), hidden = value(vit, "hidden", 2048);
    return value(vit, "depth", 12) *
           (2 * rows * (4 * dim * dim + 3 * dim * hidden) + 4 * rows * rows * dim);
}

static flop_count count_vit(double *tokens, const pumit_config *config, const int64_t size[3],
                            int da)
{
    map m = image_map(size, da);
    flop_count count;
    count.first = embed_patches(&m, config);
    *tokens = voxels(&m);
    count.all = count.first + blocks(config, *tokens + 1);
    return count;
}

static pumit_config *section(const pumit_config *config, const char *name)
{
    pumit_config *part = NULL;
    return pumit_config_get_section(&part, config, name) == PUMIT_OK ? part : NULL;
}

flop_count flops_of_vit(const pumit_config *config, const int64_t size[3], int da)
{
    double tokens;
    pumit_config *vit = section(config, "vit");
    const flop_count count = count_vit(&tokens, vit, size, da);
    pumit_config_release(vit);
    return count;
}

double flops_of_mim_step(const pumit_config *config, const int64_t size[3], int da, int64_t visible)
{
    double tokens;
    pumit_config *vit = section(config, "vit");
    flop_count count = count_vit(&tokens, vit, size, da);
    const double dim = value(vit, "dim", 768), codes = value(vit, "codes", 1024);
    count.all += 2 * (tokens - (double)visible) * (dim * dim + dim * codes);
    pumit_config_release(vit);
    return flops_of_step(count) + flops_of_encode(config, size, da).all;
}

/* ----------------------------------------------------------------------------------------- tokenizer */

typedef struct {
    double image, codes, dim, channels[4];
    int levels, start;
} tokenizer_sizes;

static tokenizer_sizes sizes_of(const pumit_config *config)
{
    static const int64_t usual[] = {128, 256, 512};
    pumit_config *part = section(config, "tokenizer");
    tokenizer_sizes t = {.image = value(part, "in_channels", 3),
                         .codes = value(part, "codes", 1024),
                         .dim = value(part, "code_dim", 512),
                         .start = (int)value(part, "start_stride", 4)};
    t.levels = values(t.channels, part, "channels", 3, usual);
    pumit_config_release(part);
    return t;
}

/* Up to the logits of the tokens. */
static flop_count encode(map *m, const tokenizer_sizes *t)
{
    const double top = t->channels[t->levels - 1];
    flop_count count = {0};
    count.all = count.first = conv(m, t->image, t->channels[0], t->start, t->start);
    for (int i = 1; i < t->levels; i++)
        count.all += conv(m, t->channels[i - 1], t->channels[i], 2, 2);
    count.all += conv(m, top, top, 3, 1) + conv(m, top, t->dim, 3, 1);
    count.all += 2 * voxels(m) * t->dim * t->codes;
    return count;
}

static double decode(map *m, const tokenizer_sizes *t)
{
    const double top = t->channels[t->levels - 1];
    double all = 2 * voxels(m) * t->dim * t->codes;
    all += conv(m, t->dim, top, 3, 1) + conv(m, top, top, 3, 1);
    for (int i = t->levels - 2; i >= 0; i--) {
        all += grow(m, t->channels[i + 1], t->channels[i], 2);
        all += conv(m, t->channels[i], t->channels[i], 3, 1);
    }
    return all + grow(m, t->channels[0], t->image, t->start);
}

flop_count flops_of_encode(const pumit_config *config, const int64_t size[3], int da)
{
    const tokenizer_sizes t = sizes_of(config);
    map m = image_map(size, da);
    return encode(&m, &t);
}

flop_count flops_of_tokenizer(const pumit_config *config, const int64_t size[3], int da)
{
    const tokenizer_sizes t = sizes_of(config);
    map m = image_map(size, da);
    flop_count count = encode(&m, &t);
    count.all += decode(&m, &t);
    return count;
}

/* ----------------------------------------------------------------------------------------- segmenter */

#define MAPS        4 /* of the pyramid */
#define MOST_STAGES 2 /* at full resolution */

typedef struct {
    double dim, image, classes, inner[MAPS], full[MOST_STAGES + 2];
    int stages; /* log2 of the patch, less 2 */
} segmenter_sizes;

static segmenter_sizes segmenter_of(const pumit_config *config)
{
    static const int64_t cube[] = {16, 16, 16}, inner[] = {128, 256, 512, 512},
                         full[] = {32, 64, 128};
    double patch[4];
    segmenter_sizes s = {.dim = value(config, "dim", 768),
                         .image = value(config, "in_channels", 3),
                         .classes = value(config, "classes", 2),
                         .stages = -2};
    values(patch, config, "patch", 3, cube);
    for (int side = (int)patch[1]; side > 1; side /= 2) s.stages++;
    values(s.inner, config, "channels", MAPS, inner);
    values(s.full, config, "full_res_channels", s.stages + 1, full + MOST_STAGES - s.stages);
    return s;
}

static double feature_channels(const segmenter_sizes *s, int i)
{
    return i < s->stages ? s->full[i] : s->inner[i - s->stages];
}

/* The pyramid's maps and a 1x1x1 convolution on each: maps[i], finest first, from the tokens' map. */
static double pyramid(map maps[MAPS], const map *tokens, const segmenter_sizes *s)
{
    double all = 0;
    for (int i = 0; i < MAPS; i++) {
        maps[i] = *tokens;
        for (int k = i; k < 2; k++) all += grow(&maps[i], s->dim, s->dim, 2);
        if (i == 3) (void)conv(&maps[i], 1, 1, 2, 2); /* a pooling */
        all += conv(&maps[i], s->dim, s->inner[i], 1, 1);
    }
    return all;
}

/* From a map to the next finer one of `out` channels. */
static double merge(map *m, double in, double out)
{
    return grow(m, in, out, 2) + conv(m, 2 * out, out, 3, 1) + conv(m, out, out, 3, 1);
}

flop_count flops_of_segmenter(const pumit_config *config, const int64_t size[3], int da, int heads)
{
    const segmenter_sizes s = segmenter_of(config);
    double tokens, at[MOST_STAGES + MAPS] = {0};
    map maps[MAPS], grid = image_map(size, da), m = grid;
    flop_count count = count_vit(&tokens, config, size, da);
    (void)embed_patches(&grid, config);
    count.all += pyramid(maps, &grid, &s);
    for (int i = 0; i < s.stages; i++) {
        const double first = conv(&m, i ? s.full[i - 1] : s.image, s.full[i], 3, i ? 2 : 1);
        if (i == 0) count.first += first;
        count.all += first + conv(&m, s.full[i], s.full[i], 3, 1);
    }
    m = maps[MAPS - 1];
    for (int i = s.stages + MAPS - 2; i >= 0; i--) {
        count.all += merge(&m, feature_channels(&s, i + 1), feature_channels(&s, i));
        at[i] = voxels(&m);
    }
    for (int i = 0; i < heads && i < s.stages + MAPS - 1; i++)
        count.all += 2 * at[i] * feature_channels(&s, i) * s.classes;
    return count;
}
