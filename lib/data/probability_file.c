/* SPDX-License-Identifier: Apache-2.0 */
/* Class probabilities on an image's grid as a float32 file that is filled box by box. It is not compressed: boxes come in the order of D, H, W,
 * and the file has a whole volume per class, in the order of its source. */
#include "lib/data/nifti_write.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

pumit_status pumit__probability_open(pumit__probability_file *file, const char *path,
                                     const pumit_label_map *map, int64_t classes,
                                     const pumit_config *options)
{
    uint8_t *head = NULL;
    pumit_status status;
    *file = (pumit__probability_file){.grid = pumit__stored_grid_of(map), .classes = classes};
    PUMIT__REQUIRE(pumit__ends_with(path, ".nii"),
                   "%s: probabilities are written slab by slab, which compression does not allow: "
                   "name it .nii",
                   path);
    PUMIT__GO(pumit__nifti_head(&head, &file->head, map, classes, options));
    PUMIT__GO(pumit__atomic_open(&file->file, path));
    PUMIT__GO(pumit__atomic_write(&file->file, head, file->head));
    if (fflush(file->file.file) != 0)
        status = pumit__fail(PUMIT_ERROR_IO, "%s: cannot write: %s", path, strerror(errno));
out:
    free(head);
    return status;
}

static pumit_status flush(pumit__probability_file *file, int64_t count, int64_t at)
{
    const char *bytes = (const char *)file->run;
    const int64_t all = count * (int64_t)sizeof *file->run;
    at = file->head + at * (int64_t)sizeof *file->run;
    for (int64_t done = 0; done < all;) {
        const ssize_t put =
            pwrite(fileno(file->file.file), bytes + done, (size_t)(all - done), (off_t)(at + done));
        if (put < 0 && errno == EINTR) continue;
        if (put <= 0)
            return pumit__fail(PUMIT_ERROR_IO, "%s: cannot write: %s", file->file.path,
                               strerror(errno));
        done += put;
    }
    return PUMIT_OK;
}

/* The box in the file's indices, and the steps through `values` along them. */
typedef struct {
    int64_t low[3], high[3], step[3], first;
} stored_box;

static stored_box box_of(const pumit__probability_file *file, const int64_t low[3],
                         const int64_t high[3])
{
    const pumit__stored_grid *g = &file->grid;
    const int64_t rows = high[2] - low[2], stride[3] = {(high[1] - low[1]) * rows * file->classes,
                                                        rows * file->classes, file->classes};
    stored_box box = {0};
    for (int a = 0; a < 3; a++) {
        const int32_t x = g->axis[a];
        const bool back = g->direction[a] < 0;
        box.low[a] = back ? g->size[a] - high[x] : low[x];
        box.high[a] = back ? g->size[a] - low[x] : high[x];
        box.step[a] = back ? -stride[x] : stride[x];
        if (back) box.first += stride[x] * (high[x] - low[x] - 1);
    }
    return box;
}

/* Rows along i that follow each other in the file are written together. */
static pumit_status write_class(pumit__probability_file *file, const stored_box *b,
                                const float *values, int64_t c)
{
    const int64_t *size = file->grid.size;
    int64_t count = 0, begin = 0;
    for (int64_t k = b->low[2]; k < b->high[2]; k++)
        for (int64_t j = b->low[1]; j < b->high[1]; j++) {
            const int64_t at = ((c * size[2] + k) * size[1] + j) * size[0] + b->low[0];
            if (at != begin + count) {
                PUMIT__TRY(flush(file, count, begin));
                count = 0;
            }
            if (count == 0) begin = at;
            const float *from =
                values + b->first + c + (k - b->low[2]) * b->step[2] + (j - b->low[1]) * b->step[1];
            for (int64_t i = b->low[0]; i < b->high[0]; i++, from += b->step[0])
                file->run[count++] = *from;
        }
    return flush(file, count, begin);
}

pumit_status pumit__probability_write(pumit__probability_file *file, const int64_t low[3],
                                      const int64_t high[3], const float *values)
{
    const stored_box box = box_of(file, low, high);
    const int64_t voxels = (high[0] - low[0]) * (high[1] - low[1]) * (high[2] - low[2]);
    if (!pumit__grow(&file->run, &file->capacity, voxels, sizeof *file->run))
        return pumit__fail_memory(voxels * (int64_t)sizeof *file->run, file->file.path);
    for (int64_t c = 0; c < file->classes; c++) PUMIT__TRY(write_class(file, &box, values, c));
    return PUMIT_OK;
}

pumit_status pumit__probability_commit(pumit__probability_file *file)
{
    return pumit__atomic_commit(&file->file);
}

void pumit__probability_close(pumit__probability_file *file)
{
    pumit__atomic_close(&file->file);
    free(file->run);
}
