/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Contact sheets. A row of pictures stands for a tensor of the batch: of volumes, slices of one image, and a second image's rows
 * below; of 2D, the images themselves. A narrow gap parts what belongs to one image, a wide one images; small pictures are
 * enlarged so that one sees something.
 */
#include "lib/data/volume.h"
#include "lib/tensor/tensor.h"
#include "lib/train/trainer.h"

#include <stdlib.h>
#include <string.h>

#define LEAST_WIDTH   128
#define MOST_PICTURES 8 /* in a row */
#define MOST_VOLUMES  2
#define NARROW_GAP    2 /* pixels, white */
#define WIDE_GAP      10
#define TRIED_BATCHES 32 /* to meet every degree of anisotropy */

/* Picture (group, row, column) begins at pixel (group * group_step + row * row_step, column * column_step). */
typedef struct {
    int64_t D, H, W, C, zoom;
    int64_t groups, rows, columns;
    int64_t group_step, row_step, column_step;
    int64_t size[3]; /* of the sheet: H W C */
    float *slice;    /* (H, W, C) */
    uint8_t *pixels; /* (size) */
} layout;

static void lay_out(layout *l, const int64_t shape[5], int32_t rows)
{
    const bool flat = shape[1] == 1;
    const int64_t pictures = flat ? shape[0] : shape[1];
    *l = (layout){.D = shape[1], .H = shape[2], .W = shape[3], .C = shape[4], .rows = rows};
    l->zoom = l->W < LEAST_WIDTH ? (LEAST_WIDTH + l->W - 1) / l->W : 1;
    l->columns = pictures < MOST_PICTURES ? pictures : MOST_PICTURES;
    l->groups = flat ? 1 : shape[0] < MOST_VOLUMES ? shape[0] : MOST_VOLUMES;
    l->column_step = l->W * l->zoom + (flat ? WIDE_GAP : NARROW_GAP);
    l->row_step = l->H * l->zoom + NARROW_GAP;
    l->group_step = rows * l->row_step - NARROW_GAP + WIDE_GAP;
    l->size[0] = l->groups * l->group_step - WIDE_GAP;
    l->size[1] = (l->columns - 1) * l->column_step + l->W * l->zoom;
    l->size[2] = l->C;
}

/* Slice d of image n. */
static pumit_status read_slice(layout *l, pumit_tensor *image, int64_t n, int64_t d)
{
    const int64_t *const stride = image->stride;
    const int64_t shape[] = {l->H, l->W, l->C};
    const int64_t mark = pumit__scope_begin(image->ctx);
    pumit_tensor *slice = pumit__view(image, 3, shape, stride + 2, n * stride[0] + d * stride[1]);
    const pumit_status status =
        slice ? pumit_tensor_read(slice, PUMIT_F32, l->slice,
                                  l->H * l->W * l->C * (int64_t)sizeof *l->slice)
              : pumit__last_status();
    pumit__scope_end(image->ctx, mark, NULL);
    return status;
}

static void put_slice(layout *l, int64_t top, int64_t left)
{
    const int64_t C = l->C, width = l->W * l->zoom;
    for (int64_t i = 0; i < l->H * l->zoom * width; i++) {
        const int64_t y = i / width, x = i % width;
        const float *const src = l->slice + (y / l->zoom * l->W + x / l->zoom) * C;
        uint8_t *const dst = l->pixels + ((top + y) * l->size[1] + left + x) * C;
        for (int64_t c = 0; c < C; c++) dst[c] = pumit__pixel(src[c]);
    }
}

static pumit_status put_row(layout *l, pumit_tensor *image, int64_t group, int64_t row)
{
    for (int64_t i = 0; i < l->columns; i++) {
        const int64_t n = l->D == 1 ? i : group;
        const int64_t d = l->D == 1 ? 0 : (2 * i + 1) * l->D / (2 * l->columns);
        PUMIT__TRY(read_slice(l, image, n, d));
        put_slice(l, group * l->group_step + row * l->row_step, i * l->column_step);
    }
    return PUMIT_OK;
}

pumit_status pumit__sheet_write(const char *path, int32_t rows, pumit_tensor *const *row)
{
    layout l;
    lay_out(&l, pumit_tensor_shape(row[0]), rows);
    const int64_t bytes = l.size[0] * l.size[1] * l.size[2];
    l.slice = pumit__calloc(l.H * l.W * l.C, (int64_t)sizeof *l.slice);
    l.pixels = pumit__calloc(bytes, 1);
    pumit_status status = l.slice && l.pixels ? PUMIT_OK : pumit__fail_memory(bytes, "a sheet");
    if (status == PUMIT_OK) memset(l.pixels, 255, (size_t)bytes);
    for (int64_t i = 0; i < l.groups * rows && status == PUMIT_OK; i++)
        status = put_row(&l, row[i % rows], i / rows, i % rows);
    if (status == PUMIT_OK) status = pumit__png_write(path, l.pixels, l.size);
    free(l.slice);
    free(l.pixels);
    return status;
}

static pumit_status sheet_path(char **out, const pumit_trainer *t, int32_t da)
{
    char name[64];
    char *folder;
    PUMIT__TRY(pumit__run_path(&folder, t, "sheets"));
    const pumit_status status = pumit__make_folder(folder);
    free(folder);
    PUMIT__TRY(status);
    snprintf(name, sizeof name, "sheets/da%d-step-%06lld.png", (int)da, (long long)t->step);
    return pumit__run_path(out, t, name);
}

static pumit_status tell_events(pumit_trainer *t, int32_t da, const char *path)
{
    char tag[32];
    snprintf(tag, sizeof tag, "sheets/da%d", (int)da);
    return pumit__events_picture(t->events, t->step, tag, path);
}

pumit_status pumit__sheet_each(pumit_trainer *t,
                               pumit_status (*draw)(pumit_trainer *t, pumit_tensor *image,
                                                    const double spacing[3], const char *path))
{
    bool met[64] = {0};
    for (int64_t i = 0; i < TRIED_BATCHES; i++) {
        pumit_tensor *image;
        double spacing[3];
        int32_t da;
        char *path = NULL;
        PUMIT__TRY(pumit__sampler_batch(&image, spacing, NULL, t->judge_sampler, i));
        pumit_status status = pumit_degree_of_anisotropy(&da, spacing);
        if (status == PUMIT_OK && !met[da]) {
            met[da] = true;
            status = sheet_path(&path, t, da);
            if (status == PUMIT_OK) status = draw(t, image, spacing, path);
            if (status == PUMIT_OK) status = tell_events(t, da, path);
            free(path);
        }
        pumit_tensor_release(image);
        PUMIT__TRY(status);
    }
    return PUMIT_OK;
}
