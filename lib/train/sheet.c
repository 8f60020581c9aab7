/* SPDX-License-Identifier: Apache-2.0 */
/* Contact sheets: rows of middle slices, small ones enlarged so that one sees something. */
#include "lib/train/trainer.h"

#include <stdlib.h>

#define LEAST_WIDTH   128
#define MOST_PICTURES 8
#define TRIED_BATCHES 32 /* to meet every degree of anisotropy */

/* The middle slice of image n of `images` (D, H, W, C), each pixel `zoom` times each way. */
static void put_slice(float *dst, const float *src, const int64_t size[4], int64_t zoom)
{
    const int64_t H = size[1], W = size[2], C = size[3];
    const float *const slice = src + size[0] / 2 * H * W * C;
    for (int64_t i = 0; i < H * zoom * W * zoom; i++) {
        const int64_t h = i / (W * zoom) / zoom, w = i % (W * zoom) / zoom;
        for (int64_t c = 0; c < C; c++) dst[i * C + c] = slice[(h * W + w) * C + c];
    }
}

static pumit_status put_row(float *dst, pumit_tensor *row, int64_t pictures, int64_t zoom)
{
    const int64_t *const shape = pumit_tensor_shape(row);
    const int64_t each = shape[1] * shape[2] * shape[3] * shape[4];
    const int64_t bytes = pumit_tensor_count(row) * (int64_t)sizeof(float);
    float *data = pumit__calloc(bytes, 1);
    if (!data) return pumit__fail_memory(bytes, "a sheet");
    const pumit_status status = pumit_tensor_read(row, PUMIT_F32, data, bytes);
    const int64_t picture = shape[2] * zoom * shape[3] * zoom * shape[4];
    for (int64_t n = 0; n < pictures && status == PUMIT_OK; n++)
        put_slice(dst + n * picture, data + n * each, shape + 1, zoom);
    free(data);
    return status;
}

pumit_status pumit__sheet_write(const char *path, pumit_context *ctx, int32_t rows,
                                pumit_tensor *const *row)
{
    const int64_t *const shape = pumit_tensor_shape(row[0]);
    const int64_t pictures = shape[0] < MOST_PICTURES ? shape[0] : MOST_PICTURES;
    const int64_t zoom = shape[3] < LEAST_WIDTH ? (LEAST_WIDTH + shape[3] - 1) / shape[3] : 1;
    const int64_t sizes[] = {rows * pictures, shape[2] * zoom, shape[3] * zoom, shape[4]};
    const int64_t of_row = pictures * sizes[1] * sizes[2] * sizes[3];
    float *data = pumit__calloc(rows * of_row, (int64_t)sizeof *data);
    if (!data) return pumit__fail_memory(rows * of_row * (int64_t)sizeof *data, "a sheet");
    pumit_status status = PUMIT_OK;
    for (int32_t i = 0; i < rows && status == PUMIT_OK; i++)
        status = put_row(data + i * of_row, row[i], pictures, zoom);
    pumit_tensor *images = NULL;
    if (status == PUMIT_OK)
        status = pumit_tensor_from_data(&images, ctx, PUMIT_F32, 4, sizes, data);
    if (status == PUMIT_OK) status = pumit_write_png_sheet(path, images, (int32_t)pictures);
    pumit_tensor_release(images);
    free(data);
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
            free(path);
        }
        pumit_tensor_release(image);
        PUMIT__TRY(status);
    }
    return PUMIT_OK;
}
