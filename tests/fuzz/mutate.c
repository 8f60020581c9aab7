/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/mutate.h"

#include "lib/base/base.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>

#define MOST_BYTES (8 << 20) /* of a seed */

static const struct {
    const char *name, *endings;
    fuzz_target run;
} targets[] = {
#define FUZZ(name, endings) {#name, endings, fuzz_##name},
#include "tests/fuzz/targets.inc"
#undef FUZZ
};

/* ---------------------------------------------------------------------------------------------- seeds */

static void add(seeds *list, int target, const char *path, char *data, int64_t bytes)
{
    list->items = realloc(list->items, (size_t)(list->count + 1) * sizeof *list->items);
    fuzz_require(list->items != NULL, "memory");
    const char *slash = strrchr(path, '/');
    list->items[list->count++] = (seed){.target = targets[target].name,
                                        .run = targets[target].run,
                                        .name = pumit__strdup(slash ? slash + 1 : path),
                                        .data = (uint8_t *)data,
                                        .bytes = (size_t)bytes};
}

static void add_file(seeds *list, int target, const char *path)
{
    char *data;
    int64_t bytes;
    if (pumit__read_file(&data, &bytes, path, MOST_BYTES) != PUMIT_OK) return;
    const bool gzip = bytes > 2 && memcmp(data, "\x1f\x8b", 2) == 0;
    add(list, target, path, data, bytes);
    if (!gzip) return;
    /* What is inside, too: a checksum finds nearly all that is done from outside. */
    gzFile stream = gzopen(path, "rb");
    char *inside = malloc(MOST_BYTES);
    fuzz_require(stream && inside, "memory");
    const int got = gzread(stream, inside, MOST_BYTES);
    gzclose(stream);
    if (got > 0)
        add(list, target, path, inside, got);
    else
        free(inside);
}

static bool fits(const char *path, const char *endings)
{
    char words[64], *rest = NULL;
    snprintf(words, sizeof words, "%s", endings);
    for (char *word = strtok_r(words, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
        if (pumit__ends_with(path, word)) return true;
    return false;
}

/* nftw() hands nothing on. */
static seeds *visited;
static int only_target;

static int visit(const char *path, const struct stat *info, int kind, struct FTW *place)
{
    (void)info;
    (void)place;
    if (kind != FTW_F) return 0;
    int chosen = only_target;
    for (int t = 0; t < PUMIT__COUNT(targets) && only_target < 0; t++)
        if (fits(path, targets[t].endings) &&
            (chosen < 0 || strlen(targets[t].endings) > strlen(targets[chosen].endings)))
            chosen = t; /* "dataset.json" before ".json" */
    if (chosen >= 0) add_file(visited, chosen, path);
    return 0;
}

static int by_name(const void *a, const void *b)
{
    const seed *x = a, *y = b;
    const int order = strcmp(x->target, y->target), names = strcmp(x->name, y->name);
    return order ? order : names ? names : (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

static void add_tree(seeds *list, const char *folder, int target)
{
    visited = list;
    only_target = target;
    fuzz_require(nftw(folder, visit, 16, FTW_PHYS) == 0, folder);
    /* Folders have no order of their own, and the mutants are told by numbers. */
    if (list->count > 0) qsort(list->items, (size_t)list->count, sizeof *list->items, by_name);
}

void seeds_add_corpus(seeds *list, const char *source)
{
    for (int t = 0; t < PUMIT__COUNT(targets); t++) {
        char folder[1024];
        snprintf(folder, sizeof folder, "%s/tests/fuzz/corpus/%s", source, targets[t].name);
        add_tree(list, folder, t);
    }
}

void seeds_add_folder(seeds *list, const char *folder)
{
    add_tree(list, folder, -1);
}

void seeds_free(seeds *list)
{
    for (int i = 0; i < list->count; i++) {
        free(list->items[i].name);
        free(list->items[i].data);
    }
    free(list->items);
    *list = (seeds){0};
}

/* --------------------------------------------------------------------------------------------- mutants */

/* The draws of one mutant. */
typedef struct {
    uint64_t number, draws;
} dice;

static size_t below(dice *d, size_t n)
{
    return (size_t)pumit__random_below(7, d->number, d->draws++, (int64_t)n);
}

static void turn_bits(uint8_t *data, size_t bytes, dice *d)
{
    for (size_t i = 1 + below(d, 8); i > 0; i--)
        data[below(d, bytes)] ^= (uint8_t)(1u << below(d, 8));
}

/* Values that sizes, counts and offsets go wrong with, as 1, 2, 4 or 8 bytes of either order. */
static void put_number(uint8_t *data, size_t bytes, dice *d)
{
    static const uint64_t values[] = {
        0,      1,          2,          0x7f,       0x80,      0xff,       0x7fff,     0x8000,
        0xffff, 0x7fffffff, 0x80000000, 0xffffffff, INT64_MAX, UINT64_MAX, 0x7fc00000, 0x7f800000};
    const size_t width = (size_t)1 << below(d, 4), at = below(d, bytes);
    const uint64_t value = values[below(d, sizeof values / sizeof *values)];
    const bool big = below(d, 2);
    for (size_t i = 0; i < width && at + i < bytes; i++)
        data[at + i] = (uint8_t)(value >> (8 * (big ? width - 1 - i : i)));
}

/* Where formats have their sizes. */
static size_t header_of(size_t bytes)
{
    return bytes < 352 ? bytes : 352;
}

static void edit_header(uint8_t *data, size_t bytes, dice *d)
{
    for (size_t i = 1 + below(d, 3); i > 0; i--) put_number(data, header_of(bytes), d);
}

/* Bytes of one place at another one. */
static void move(uint8_t *data, size_t bytes, dice *d)
{
    const size_t from = below(d, bytes), to = below(d, bytes);
    const size_t most = bytes - (from > to ? from : to), count = 1 + below(d, most);
    memmove(data + to, data + from, count < 4096 ? count : 4096);
}

/* The one file up to some byte, the other one from there or elsewhere. */
static size_t splice(uint8_t *data, size_t bytes, const seed *other, dice *d)
{
    const size_t at = below(d, bytes);
    const size_t from = below(d, 2) && at < other->bytes ? at : below(d, other->bytes);
    const size_t left = other->bytes - from;
    memcpy(data + at, other->data + from, left);
    return at + left;
}

/* Seed k of the targets that have any: each target in turn, and of it each file. */
static const seed *seed_at(const seeds *list, int64_t k, int64_t step)
{
    int64_t groups = 0, first = 0, size = 0;
    for (int i = 0; i < list->count; i++)
        groups += i == 0 || list->items[i].run != list->items[i - 1].run;
    int64_t group = k % groups;
    for (int i = 1; i < list->count && group > 0; i++)
        if (list->items[i].run != list->items[i - 1].run) {
            group--;
            first = i;
        }
    while (first + size < list->count && list->items[first + size].run == list->items[first].run)
        size++;
    return &list->items[first + (k / groups * step + step - 1) % size];
}

const seed *mutant_of(const seeds *list, int64_t n)
{
    return seed_at(list, n, 1);
}

uint8_t *mutant(size_t *bytes, const seeds *list, int64_t n)
{
    const seed *const from = mutant_of(list, n), *const other = seed_at(list, n, 7);
    dice d = {(uint64_t)n, 0};
    uint8_t *data = malloc(from->bytes + other->bytes + 1);
    fuzz_require(data != NULL, "memory");
    if (from->bytes > 0) memcpy(data, from->data, from->bytes);
    *bytes = from->bytes;
    for (size_t rounds = 1 + below(&d, 2); rounds > 0 && *bytes > 0; rounds--) {
        switch (below(&d, 6)) {
        case 0:
            turn_bits(data, *bytes, &d);
            break;
        case 1:
            put_number(data, *bytes, &d);
            break;
        case 2:
            edit_header(data, *bytes, &d);
            break;
        case 3:
            move(data, *bytes, &d);
            break;
        case 4:
            *bytes = below(&d, *bytes); /* cut */
            break;
        default:
            if (rounds == 1 && other->bytes > 0 && *bytes <= from->bytes)
                *bytes = splice(data, *bytes, other, &d);
        }
    }
    return data;
}
