/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/train/batches.h"
#include "lib/data/fit.h"
#include "lib/train/augment.h"

#include <pumit/tensor.h>

#include <stdlib.h>
#include <string.h>

/* Images of one size and one degree of anisotropy. */
typedef struct {
    int64_t size[3], start, count; /* members: order[start .. start + count) */
    int32_t da;
} bucket;

/* One batch of an epoch: `count` members of `order` from `start`, of which the part behind the bucket's end wraps. */
typedef struct {
    int64_t bucket, first;
} slice;

struct pumit__batches {
    pumit_context *ctx;
    const pumit_dataset *dataset;
    pumit__batches_options options;
    bucket *buckets;
    int64_t bucket_count, bucket_capacity;
    int64_t *of, *order; /* bucket of image i; images by bucket, shuffled for `epoch` */
    slice *slices;
    int64_t slice_count, epoch;
};

static pumit_status find_bucket(int64_t *out, pumit__batches *b, const pumit_volume *volume)
{
    int64_t size[3];
    pumit__fit_size(size, volume, b->options.patch, b->options.image_tokens, b->options.max_tokens);
    const int32_t da = pumit_volume_anisotropy(volume);
    for (*out = 0; *out < b->bucket_count; ++*out) {
        const bucket *const found = &b->buckets[*out];
        if (found->da == da && memcmp(found->size, size, sizeof size) == 0) return PUMIT_OK;
    }
    if (!pumit__grow(&b->buckets, &b->bucket_capacity, b->bucket_count + 1,
                     (int64_t)sizeof *b->buckets))
        return pumit__fail_memory((int64_t)sizeof *b->buckets, "batches");
    bucket *const made = &b->buckets[b->bucket_count++];
    *made = (bucket){.da = da};
    memcpy(made->size, size, sizeof size);
    return PUMIT_OK;
}

static pumit_status sort_into_buckets(pumit__batches *b, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        PUMIT__TRY(find_bucket(&b->of[i], b, pumit_dataset_volume(b->dataset, i)));
        b->buckets[b->of[i]].count++;
    }
    int64_t start = 0;
    for (int64_t k = 0; k < b->bucket_count; k++) {
        b->buckets[k].start = start;
        start += b->buckets[k].count;
        b->slice_count += (b->buckets[k].count + b->options.batch - 1) / b->options.batch;
    }
    return PUMIT_OK;
}

/* The images of each bucket in the order of `from`. */
static void fill_order(pumit__batches *b, const int64_t *from, int64_t n)
{
    for (int64_t k = 0; k < b->bucket_count; k++) b->buckets[k].count = 0;
    for (int64_t i = 0; i < n; i++) {
        bucket *const to = &b->buckets[b->of[from[i]]];
        b->order[to->start + to->count++] = from[i];
    }
}

static pumit_status arrange(pumit__batches *b, int64_t epoch)
{
    const int64_t n = pumit_dataset_count(b->dataset);
    const int64_t most = n > b->slice_count ? n : b->slice_count;
    int64_t *permutation = pumit__calloc(most, (int64_t)sizeof *permutation);
    if (!permutation) return pumit__fail_memory(most * (int64_t)sizeof *permutation, "batches");
    const uint64_t stream = pumit__random_stream("train.batches") + 2 * (uint64_t)epoch;
    for (int64_t i = 0; i < most; i++) permutation[i] = i;
    if (b->options.shuffle) pumit__random_permutation(permutation, n, b->options.seed, stream);
    fill_order(b, permutation, n);
    for (int64_t i = 0; i < most; i++) permutation[i] = i;
    if (b->options.shuffle)
        pumit__random_permutation(permutation, b->slice_count, b->options.seed, stream + 1);
    int64_t made = 0;
    for (int64_t k = 0; k < b->bucket_count; k++)
        for (int64_t first = 0; first < b->buckets[k].count; first += b->options.batch)
            b->slices[permutation[made++]] = (slice){k, first};
    b->epoch = epoch;
    free(permutation);
    return PUMIT_OK;
}

pumit_status pumit__batches_create(pumit__batches **out, pumit_context *ctx,
                                   const pumit_dataset *dataset,
                                   const pumit__batches_options *options)
{
    *out = NULL;
    pumit__batches *b = pumit__calloc(1, (int64_t)sizeof *b);
    if (!b) return pumit__fail_memory((int64_t)sizeof *b, "batches");
    b->ctx = ctx;
    b->dataset = dataset;
    b->options = *options;
    const int64_t n = pumit_dataset_count(dataset);
    b->of = pumit__calloc(n, (int64_t)sizeof *b->of);
    b->order = pumit__calloc(n, (int64_t)sizeof *b->order);
    pumit_status status =
        b->of && b->order ? sort_into_buckets(b, n) : pumit__fail_memory(16 * n, "batches");
    if (status == PUMIT_OK) {
        b->slices = pumit__calloc(b->slice_count, (int64_t)sizeof *b->slices);
        status = b->slices ? arrange(b, 0) : pumit__fail_memory(16 * b->slice_count, "batches");
    }
    if (status == PUMIT_OK)
        *out = b;
    else
        pumit__batches_release(b);
    return status;
}

void pumit__batches_release(pumit__batches *batches)
{
    if (!batches) return;
    free(batches->buckets);
    free(batches->of);
    free(batches->order);
    free(batches->slices);
    free(batches);
}

int64_t pumit__batches_count(const pumit__batches *batches)
{
    return batches->slice_count;
}

/* Image `index` into its place of the batch. */
static pumit_status place(float *dst, double spacing[3], pumit__batches *b, const int64_t size[3],
                          int64_t index, uint64_t key)
{
    const int64_t count = size[0] * size[1] * size[2] * b->options.channels;
    const int64_t bytes = count * (int64_t)sizeof *dst;
    pumit_tensor *image;
    PUMIT__TRY(pumit__fit_volume(&image, spacing, pumit_dataset_volume(b->dataset, index), b->ctx,
                                 b->options.channels, size));
    pumit_status status = pumit_tensor_read(image, PUMIT_F32, dst, bytes);
    pumit_tensor_release(image);
    if (status == PUMIT_OK)
        status = pumit__augment_image(dst, size, b->options.channels, spacing, &b->options.augment,
                                      b->options.seed, key);
    return status;
}

double pumit__batches_share(const pumit__batches *b, int64_t draw, int64_t i)
{
    if (b->options.mixup <= 0) return 1;
    return pumit__augment_share(b->options.mixup, b->options.seed,
                                (uint64_t)(draw * b->options.batch + i));
}

/* Each image with the next one, the last with the first as it was. */
static pumit_status mix(float *images, int64_t n, int64_t each, const pumit__batches *b,
                        int64_t draw)
{
    if (b->options.mixup <= 0) return PUMIT_OK;
    float *const first = pumit__calloc(each, (int64_t)sizeof *first);
    if (!first) return pumit__fail_memory(each * (int64_t)sizeof *first, "a batch");
    memcpy(first, images, (size_t)each * sizeof *first);
    for (int64_t i = 0; i < n; i++) {
        float *const image = images + i * each;
        const float *const next = i + 1 < n ? image + each : first;
        const float share = (float)pumit__batches_share(b, draw, i);
        for (int64_t k = 0; k < each; k++) image[k] = share * image[k] + (1 - share) * next[k];
    }
    free(first);
    return PUMIT_OK;
}

pumit_status pumit__batches_take(pumit_tensor **out, double spacing[3], int64_t *indices,
                                 int64_t *count, pumit__batches *b, int64_t draw)
{
    *out = NULL;
    const int64_t epoch = b->options.shuffle ? draw / b->slice_count : 0;
    if (epoch != b->epoch) PUMIT__TRY(arrange(b, epoch));
    const slice of = b->slices[draw % b->slice_count];
    const bucket *const from = &b->buckets[of.bucket];
    const int64_t left = from->count - of.first, batch = b->options.batch;
    *count = b->options.shuffle || left > batch ? batch : left;
    const int64_t *const size = from->size;
    const int64_t shape[] = {*count, size[0], size[1], size[2], b->options.channels};
    const int64_t each = size[0] * size[1] * size[2] * b->options.channels;
    float *images = pumit__calloc(*count * each, (int64_t)sizeof *images);
    if (!images) return pumit__fail_memory(*count * each * (int64_t)sizeof *images, "a batch");
    pumit_status status = PUMIT_OK;
    for (int64_t i = 0; i < *count && status == PUMIT_OK; i++) {
        indices[i] = b->order[from->start + (of.first + i) % from->count];
        status =
            place(images + i * each, spacing, b, size, indices[i], (uint64_t)(draw * batch + i));
    }
    if (status == PUMIT_OK) status = mix(images, *count, each, b, draw);
    if (status == PUMIT_OK)
        status = pumit_tensor_from_data(out, b->ctx, PUMIT_F32, 5, shape, images);
    free(images);
    return status;
}
