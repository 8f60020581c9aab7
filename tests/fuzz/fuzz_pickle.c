/* SPDX-License-Identifier: Apache-2.0 */
/* A pickle by itself, and as that of an archive with the storages "0" and "1". */
#include "tests/fuzz/fuzz.h"

#include "lib/tensor/pickle.h"

/* What it holds, some levels down. */
static void walk(const pumit__pickle_value *value, int levels)
{
    fuzz_require(value->depth <= PUMIT__PICKLE_MOST_DEPTH, "nesting is bounded");
    if (value->kind == PUMIT__PICKLE_TEXT)
        fuzz_require(value->text[value->count] == '\0', "a text ends");
    if (value->kind == PUMIT__PICKLE_TENSOR && value->tensor->extent > 0)
        fuzz_require(value->tensor->offset + value->tensor->extent <= value->tensor->storage->count,
                     "a tensor lies in its storage");
    if (levels == 0 || (value->kind != PUMIT__PICKLE_TUPLE && value->kind != PUMIT__PICKLE_LIST &&
                        value->kind != PUMIT__PICKLE_DICT))
        return;
    for (int64_t i = 0; i < value->count && i < 16; i++) walk(value->items[i], levels - 1);
}

int fuzz_pickle(const uint8_t *data, size_t bytes)
{
    static const uint8_t storage[256];
    pumit__pickle *pickle;
    if (fuzz_took(pumit__pickle_parse(&pickle, data, (int64_t)bytes, "pickle"))) {
        walk(pumit__pickle_root(pickle), 4);
        pumit__pickle_free(pickle);
    }
    const fuzz_member members[] = {{"m/data.pkl", data, bytes},
                                   {"m/data/0", storage, sizeof storage},
                                   {"m/data/1", storage, sizeof storage}};
    fuzz_weights(fuzz_zip("weights.pt", members, 3));
    return 0;
}

FUZZ_TARGET(fuzz_pickle)
