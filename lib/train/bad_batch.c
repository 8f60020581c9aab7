/* SPDX-License-Identifier: Apache-2.0 */
/* The images of a step whose loss or gradient was not finite, for inspection: batches are functions of the draw, so they are drawn again. */
#include "lib/tensor/context.h"
#include "lib/tensor/safetensors.h"
#include "lib/train/trainer.h"

#include <stdlib.h>

#define MOST_WRITTEN 3 /* and the one that ends the run: a folder full of them tells no more */

/* What a micro-batch consists of: tensors of so many images each. */
typedef struct {
    int64_t tensors, each;
    pumit_tensor **images;
    double *spacing;  /* (tensors, 3) */
    int64_t *indices; /* (train.batch) */
} micro_batch;

static pumit_status make_room(micro_batch *m, const pumit_trainer *t)
{
    const int64_t tensors = t->batches ? 1 : pumit__sampler_tensors(t->sampler);
    *m = (micro_batch){.tensors = tensors};
    m->images = pumit__calloc(tensors, (int64_t)sizeof(pumit_tensor *));
    m->spacing = pumit__calloc(3 * tensors, (int64_t)sizeof *m->spacing);
    m->indices = pumit__calloc(t->options.batch, (int64_t)sizeof *m->indices);
    if (m->images && m->spacing && m->indices) return PUMIT_OK;
    return pumit__fail_memory(32 * tensors + 8 * t->options.batch, "a batch");
}

static void empty(micro_batch *m)
{
    for (int64_t i = 0; i < m->tensors; i++) {
        pumit_tensor_release(m->images[i]);
        m->images[i] = NULL;
    }
}

static void free_room(micro_batch *m)
{
    free(m->images);
    free(m->spacing);
    free(m->indices);
}

static pumit_status draw_again(micro_batch *m, const pumit_trainer *t, int64_t draw)
{
    if (t->batches)
        return pumit__batches_take(m->images, m->spacing, m->indices, &m->each, t->batches, draw);
    m->each = t->options.batch / m->tensors;
    return pumit__sampler_batch(m->images, m->spacing, m->indices, t->sampler, draw);
}

static pumit_status set_text(cJSON *metadata, const char *name, int64_t i, cJSON *value)
{
    char key[64], *text = NULL;
    snprintf(key, sizeof key, "%s.%lld", name, (long long)i);
    pumit_status status =
        value ? pumit__json_print(&text, value, false) : pumit__fail_memory(64, "a batch");
    if (status == PUMIT_OK) status = pumit__json_set(metadata, key, cJSON_CreateString(text));
    free(text);
    cJSON_Delete(value);
    return status;
}

/* "spacing.I": mm a voxel, null for the slice axis of 2D images; "images.I": their names. */
static pumit_status describe(cJSON *metadata, int64_t i, const double spacing[3],
                             const int64_t *indices, int64_t count, const pumit_trainer *t)
{
    PUMIT__TRY(set_text(metadata, "spacing", i, cJSON_CreateDoubleArray(spacing, 3)));
    cJSON *names = cJSON_CreateArray();
    for (int64_t n = 0; names && n < count; n++)
        cJSON_AddItemToArray(names, cJSON_CreateString(pumit_dataset_name(t->train, indices[n])));
    return set_text(metadata, "images", i, names);
}

/* Fills an entry with a copy of the image, which entry->data owns. */
static pumit_status take(pumit__safetensors_entry *entry, char *name, int64_t i,
                         const pumit_tensor *image)
{
    const int64_t *const shape = pumit_tensor_shape(image);
    *entry = (pumit__safetensors_entry){.name = name, .dtype = PUMIT_F32, .ndim = 5};
    for (int32_t k = 0; k < 5; k++) entry->shape[k] = shape[k];
    entry->bytes = pumit_tensor_count(image) * (int64_t)sizeof(float);
    snprintf(name, 32, "image.%lld", (long long)i);
    float *const data = pumit__calloc(entry->bytes, 1);
    entry->data = data;
    if (!data) return pumit__fail_memory(entry->bytes, "a batch");
    return pumit_tensor_read(image, PUMIT_F32, data, entry->bytes);
}

/* Tensors first, first + 1, ... */
static pumit_status take_all(pumit__safetensors_entry *entries, char (*names)[32], cJSON *metadata,
                             int64_t first, const micro_batch *m, const pumit_trainer *t)
{
    for (int64_t i = 0; i < m->tensors; i++) {
        PUMIT__TRY(take(&entries[first + i], names[first + i], first + i, m->images[i]));
        PUMIT__TRY(describe(metadata, first + i, m->spacing + 3 * i, m->indices + i * m->each,
                            m->each, t));
    }
    return PUMIT_OK;
}

static pumit_status gather(pumit__safetensors_entry *entries, char (*names)[32], cJSON *metadata,
                           micro_batch *m, const pumit_trainer *t)
{
    const int64_t count = t->options.accumulate;
    pumit_status status = PUMIT_OK;
    for (int64_t i = 0; i < count && status == PUMIT_OK; i++) {
        status = draw_again(m, t, (t->step - 1) * count + i);
        if (status == PUMIT_OK) status = take_all(entries, names, metadata, i * m->tensors, m, t);
        empty(m);
    }
    return status;
}

/* *path: free with free(). */
static pumit_status write_batch(char **path, const pumit_trainer *t)
{
    micro_batch m;
    char name[64], step[32];
    snprintf(name, sizeof name, "bad-batch-step-%09lld.safetensors", (long long)t->step);
    snprintf(step, sizeof step, "%lld", (long long)t->step);
    PUMIT__TRY(pumit__run_path(path, t, name));
    pumit_status status = make_room(&m, t);
    const int64_t count = t->options.accumulate * m.tensors;
    pumit__safetensors_entry *entries = pumit__calloc(count, (int64_t)sizeof *entries);
    char(*names)[32] = pumit__calloc(count, (int64_t)sizeof *names);
    cJSON *metadata = cJSON_CreateObject();
    if (status == PUMIT_OK && !(entries && names && metadata))
        status = pumit__fail_memory(64 * count, "a batch");
    if (status == PUMIT_OK)
        status = pumit__json_set(metadata, "pumit.model", cJSON_CreateString("batch"));
    if (status == PUMIT_OK) status = pumit__json_set(metadata, "step", cJSON_CreateString(step));
    if (status == PUMIT_OK) status = gather(entries, names, metadata, &m, t);
    if (status == PUMIT_OK) status = pumit__safetensors_write(*path, entries, count, metadata);
    for (int64_t i = 0; entries && i < count; i++) free((void *)(uintptr_t)entries[i].data);
    cJSON_Delete(metadata);
    free_room(&m);
    free(names);
    free(entries);
    if (status == PUMIT_OK) return PUMIT_OK;
    free(*path);
    *path = NULL;
    return status;
}

pumit_status pumit__tell_skipped(const pumit_trainer *t)
{
    const bool last = t->skipped_in_row >= t->options.most_skipped;
    char *path;
    pumit_status status = PUMIT_OK;
    if (!last && t->skipped > MOST_WRITTEN) return PUMIT_OK;
    PUMIT__TRY(write_batch(&path, t));
    if (last)
        status =
            pumit__fail(PUMIT_ERROR_STATE,
                        "%s: loss or gradient was not finite in %lld steps in a row, up to step "
                        "%lld: the run is stopped; look at the last batch, %s, and resume with a "
                        "lower learning rate",
                        t->output, (long long)t->skipped_in_row, (long long)t->step, path);
    else
        pumit__log(t->ctx, PUMIT_LOG_WARNING,
                   "step %lld: loss or gradient is not finite, the step is skipped; its batch: %s",
                   (long long)t->step, path);
    free(path);
    return status;
}
