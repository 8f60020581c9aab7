/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parts of a dataset: a fold and what is not of it, and a share of the labels. Images of one label stand side by side in a random order;
 * folds take turns along it, and a share is a prefix by the place within the label, so that smaller shares lie in larger ones.
 */
#include "lib/data/dataset.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    double labels;
    int64_t folds, fold, seed;
    int32_t held_out;
} settings;

typedef struct {
    int64_t image, label;
    uint64_t random;
    double place; /* within the label, 0: its first image, 1: past its last */
} candidate;

static pumit_status read_settings(settings *out, const pumit_config *options)
{
    PUMIT__TRY(pumit_config_get_double(&out->labels, options, "labels", 1));
    PUMIT__TRY(pumit_config_get_int(&out->folds, options, "folds", 0));
    PUMIT__TRY(pumit_config_get_int(&out->fold, options, "fold", 0));
    PUMIT__TRY(pumit_config_get_int(&out->seed, options, "seed", 0));
    PUMIT__TRY(pumit_config_get_bool(&out->held_out, options, "held_out", 0));
    PUMIT__REQUIRE(out->labels > 0 && out->labels <= 1,
                   "labels: %g is no share of the images: above 0, at most 1", out->labels);
    PUMIT__REQUIRE(out->folds == 0 || out->folds >= 2, "folds: %lld, at least two are wanted",
                   (long long)out->folds);
    PUMIT__REQUIRE(out->fold >= 0 && out->fold < (out->folds ? out->folds : 1),
                   "fold: %lld is not below folds, which is %lld; the first is 0",
                   (long long)out->fold, (long long)out->folds);
    PUMIT__REQUIRE(out->folds || !out->held_out,
                   "held_out: nothing is held out where \"folds\" is not set");
    return PUMIT_OK;
}

static int by_label(const void *a, const void *b)
{
    const candidate *const x = a, *const y = b;
    if (x->label != y->label) return x->label < y->label ? -1 : 1;
    if (x->random != y->random) return x->random < y->random ? -1 : 1;
    return (x->image > y->image) - (x->image < y->image);
}

static int by_place(const void *a, const void *b)
{
    const candidate *const x = a, *const y = b;
    if (x->place < y->place || x->place > y->place) return x->place < y->place ? -1 : 1;
    return by_label(a, b);
}

static int by_image(const void *a, const void *b)
{
    const int64_t x = ((const candidate *)a)->image, y = ((const candidate *)b)->image;
    return (x > y) - (x < y);
}

/* Keeps what is of the fold, or what is not; the others move up. */
static int64_t choose_fold(candidate *list, int64_t n, const settings *s)
{
    int64_t kept = 0;
    for (int64_t i = 0; i < n && s->folds; i++)
        if ((i % s->folds == s->fold) == (s->held_out != 0)) list[kept++] = list[i];
    return s->folds ? kept : n;
}

/* `list` by label. Every label's first image is among those of the smallest share, as far as it has room. */
static int64_t choose_share(candidate *list, int64_t n, const settings *s)
{
    if (s->labels >= 1 || s->held_out) return n;
    for (int64_t start = 0, end; start < n; start = end) {
        for (end = start; end < n && list[end].label == list[start].label;) end++;
        for (int64_t i = start; i < end; i++)
            list[i].place = (double)(i - start) / (double)(end - start);
    }
    qsort(list, (size_t)n, sizeof *list, by_place);
    return llround(s->labels * (double)n);
}

static pumit_status copy_items(pumit_dataset *dst, const pumit_dataset *src, const candidate *list,
                               int64_t count)
{
    dst->items = pumit__calloc(count, sizeof *dst->items);
    if (!dst->items) return pumit__fail_memory(count * (int64_t)sizeof *dst->items, "a subset");
    for (int64_t i = 0; i < count; i++) {
        const pumit__dataset_item *const from = &src->items[list[i].image];
        char *const name = pumit__strdup(from->name);
        if (!name) return pumit__fail_memory((int64_t)strlen(from->name), "a subset");
        dst->items[dst->count] = *from;
        dst->items[dst->count].name = name;
        pumit__volume_retain(from->volume);
        if (from->label_map) pumit__label_map_retain(from->label_map);
        dst->count++;
    }
    return PUMIT_OK;
}

static pumit_status choose(pumit_dataset *dst, const pumit_dataset *src, candidate *list,
                           const settings *s)
{
    const uint64_t stream = pumit__random_stream("dataset.subset");
    for (int64_t i = 0; i < src->count; i++)
        list[i] = (candidate){.image = i,
                              .label = src->items[i].label.value,
                              .random = pumit__random((uint64_t)s->seed, stream, (uint64_t)i)};
    qsort(list, (size_t)src->count, sizeof *list, by_label);
    const int64_t count = choose_share(list, choose_fold(list, src->count, s), s);
    PUMIT__REQUIRE(count > 0,
                   "labels, folds: of %lld images none is left; raise \"labels\" or lower "
                   "\"folds\"",
                   (long long)src->count);
    qsort(list, (size_t)count, sizeof *list, by_image);
    dst->classes = src->classes;
    dst->columns = src->columns;
    PUMIT__TRY(pumit__class_copy(&dst->names, &src->names));
    return copy_items(dst, src, list, count);
}

pumit_status pumit_dataset_subset(pumit_dataset **out, const pumit_dataset *dataset,
                                  const pumit_config *options)
{
    PUMIT__REQUIRE(out && dataset, "pumit_dataset_subset: an argument is NULL");
    *out = NULL;
    settings s;
    PUMIT__TRY(read_settings(&s, options));
    pumit_dataset *made = pumit__calloc(1, sizeof *made);
    candidate *list = pumit__calloc(dataset->count, sizeof *list);
    const pumit_status status =
        made && list
            ? choose(made, dataset, list, &s)
            : pumit__fail_memory(dataset->count * (int64_t)sizeof *list, "a subset of images");
    free(list);
    if (status == PUMIT_OK)
        *out = made;
    else
        pumit_dataset_release(made);
    return status;
}
