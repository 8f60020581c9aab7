/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Times the loader alone: crops of 5 x 10 x 10 tokens of 16, images a second on one core, with no worker and with one. Without
 * PATH, images of noise: volumes of 96 x 192 x 192, thick ones of 32 x 192 x 192, pictures of 224 x 224. PATH (files, folders, a
 * prepared set) is measured as it is, batches of one. A row is the median of `runs` equal parts.
 *
 *     loader [--runs N] [--seconds S] [PATH ...]
 */
#include "lib/data/loader.h"
#include "lib/data/dataset.h"

#include <pumit/pumit.h>

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MOST_RUNS 101
#define IMAGES    4 /* of noise, of each kind */

static struct {
    int runs;
    double seconds; /* of a run */
} options = {5, 2};

typedef struct {
    const char *name;
    int64_t size[3];
    double thickness; /* mm; the plane's voxels are 1 mm */
} kind;

static const kind kinds[] = {
    {"da0", {96, 192, 192}, 1}, {"da2", {32, 192, 192}, 5}, {"2d", {1, 224, 224}, 0}};

static void check(pumit_status status)
{
    if (status == PUMIT_OK) return;
    fprintf(stderr, "loader: %s\n", pumit_last_error());
    exit(EXIT_FAILURE);
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static int rising(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Threads made from here on share one core with the caller. */
static void stay_on_one_core(void)
{
    cpu_set_t cores;
    CPU_ZERO(&cores);
    CPU_SET(sched_getcpu(), &cores);
    sched_setaffinity(0, sizeof cores, &cores);
}

/* ------------------------------------------------------------------------------------------ images */

static float *make_noise(const kind *k, int image)
{
    const int64_t count = k->size[0] * k->size[1] * k->size[2];
    float *data = malloc((size_t)count * sizeof *data);
    if (!data) exit(EXIT_FAILURE);
    for (int64_t i = 0; i < count; i++)
        data[i] = 1000 * (float)pumit__random_uniform(1, (uint64_t)image, (uint64_t)i);
    return data;
}

static pumit_volume *make_volume(pumit_context *ctx, const kind *k, int image)
{
    pumit_volume *volume;
    float *data = make_noise(k, image);
    const double affine[16] = {0, 0, 1, 0, 0, 1, 0, 0, k->thickness, 0, 0, 0, 0, 0, 0, 1};
    check(pumit_volume_create(&volume, ctx, PUMIT_F32, k->size, 1, data,
                              k->thickness > 0 ? affine : NULL));
    free(data);
    return volume;
}

/* As if opened from files. */
static pumit_dataset *make_dataset(pumit_context *ctx, const kind *k)
{
    pumit_dataset *dataset = calloc(1, sizeof *dataset);
    if (!dataset) exit(EXIT_FAILURE);
    dataset->ctx = ctx;
    dataset->most_bytes = INT64_MAX;
    for (int i = 0; i < IMAGES; i++)
        check(
            pumit__dataset_push(dataset, &(pumit__dataset_item){.volume = make_volume(ctx, k, i),
                                                                .name = (char *)(uintptr_t)k->name,
                                                                .label = PUMIT__NO_LABEL,
                                                                .weight = 1}));
    return dataset;
}

/* ------------------------------------------------------------------------------------------- times */

static pumit__sampler *make_sampler(pumit_context *ctx, const pumit_dataset *dataset, bool augment)
{
    pumit__sampler *sampler;
    const pumit__sampler_options of = {.batch = 1,
                                       .channels = 3,
                                       .tokens = {5, 10, 10},
                                       .patch = 16,
                                       .seed = 1,
                                       .augment = augment,
                                       .scale_range = {0.85, 1.25},
                                       .scale_probability = 0.5,
                                       .slice_scale_probability = 0.3,
                                       .rotate_probability = 0.2};
    check(pumit__sampler_create(&sampler, ctx, dataset, &of));
    return sampler;
}

static double rate(pumit__loader *loader, int64_t *step, double *voxels)
{
    const double start = now();
    int64_t images = 0;
    do {
        pumit_tensor *batch;
        double spacing[3];
        check(pumit__loader_take(&batch, spacing, NULL, loader, (*step)++));
        *voxels += (double)pumit_tensor_count(batch) / 3;
        pumit_tensor_release(batch);
        images++;
    } while (now() - start < options.seconds);
    return (double)images / (now() - start);
}

static void time_loader(pumit_context *ctx, const pumit_dataset *dataset, const char *name)
{
    for (int augment = 0; augment < 2; augment++)
        for (int workers = 0; workers < 2; workers++) {
            double rates[MOST_RUNS], voxels = 0;
            int64_t step = 0;
            pumit__loader *loader;
            pumit__sampler *sampler = make_sampler(ctx, dataset, augment);
            check(pumit__loader_create(&loader, sampler, workers, 4));
            for (int i = 0; i < options.runs; i++) rates[i] = rate(loader, &step, &voxels);
            qsort(rates, (size_t)options.runs, sizeof *rates, rising);
            printf("%-12s %-9s %7d %10.1f %10.1f %10.1f %12.0f\n", name,
                   augment ? "augmented" : "plain", workers, rates[options.runs / 2], rates[0],
                   rates[options.runs - 1], voxels / (double)step);
            fflush(stdout);
            pumit__loader_release(loader);
            pumit__sampler_release(sampler);
        }
}

static int usage(void)
{
    fputs("usage: loader [--runs N] [--seconds S] [PATH ...]\n", stderr);
    return 2;
}

static void time_all(pumit_context *ctx, int count, char **paths)
{
    pumit_dataset *dataset;
    printf("%-12s %-9s %7s %10s %10s %10s %12s\n", "images", "crops", "workers", "images/s",
           "least", "most", "voxels each");
    for (int i = 0; i < count; i++) {
        const char *path = paths[i], *slash = strrchr(path, '/');
        check(pumit_dataset_open(&dataset, ctx, 1, &path, NULL));
        time_loader(ctx, dataset, slash && slash[1] ? slash + 1 : path);
        pumit_dataset_release(dataset);
    }
    for (size_t i = 0; count == 0 && i < sizeof kinds / sizeof *kinds; i++) {
        dataset = make_dataset(ctx, &kinds[i]);
        time_loader(ctx, dataset, kinds[i].name);
        pumit_dataset_release(dataset);
    }
}

int main(int argc, char **argv)
{
    pumit_context *ctx;
    int i = 1;
    for (; i < argc && strncmp(argv[i], "--", 2) == 0; i += 2) {
        if (i + 1 == argc) return usage();
        if (strcmp(argv[i], "--runs") == 0)
            options.runs = (int)strtol(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--seconds") == 0)
            options.seconds = strtod(argv[i + 1], NULL);
        else
            return usage();
    }
    if (options.runs < 1 || options.runs > MOST_RUNS || !(options.seconds > 0)) return usage();
    stay_on_one_core();
    check(pumit_context_create(&ctx, NULL));
    time_all(ctx, argc - i, argv + i);
    pumit_context_release(ctx);
    return EXIT_SUCCESS;
}
