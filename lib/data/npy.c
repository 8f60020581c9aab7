/* SPDX-License-Identifier: Apache-2.0 */
/* The head of a .npy file: a Python dictionary of exactly three entries, read as strictly as numpy writes it. */
#include "lib/data/npy.h"

#include <stdlib.h>
#include <string.h>

/* What is left of the dictionary's text. */
typedef struct {
    const char *at, *end;
} text;

int64_t pumit__npy_head_bytes(const uint8_t *p)
{
    if (memcmp(p, "\x93NUMPY", 6) != 0) return 0;
    if (p[6] == 1) return 10 + (p[8] | (int64_t)p[9] << 8);
    if (p[6] != 2 && p[6] != 3) return 0;
    return 12 + (p[8] | (int64_t)p[9] << 8 | (int64_t)p[10] << 16 | (int64_t)p[11] << 24);
}

static void skip_blanks(text *t)
{
    while (t->at < t->end && (*t->at == ' ' || *t->at == '\n')) t->at++;
}

/* Takes `word` and the blanks around it. */
static bool take(text *t, const char *word)
{
    skip_blanks(t);
    const size_t n = strlen(word);
    if ((size_t)(t->end - t->at) < n || memcmp(t->at, word, n) != 0) return false;
    t->at += n;
    skip_blanks(t);
    return true;
}

static bool take_size(text *t, int64_t *out)
{
    int64_t value = 0;
    const char *const start = t->at;
    for (; t->at < t->end && *t->at >= '0' && *t->at <= '9'; t->at++)
        if (!pumit__multiply(&value, value, 10) || !pumit__add_sizes(&value, value, *t->at - '0'))
            return false;
    *out = value;
    return t->at > start;
}

/* "(", sizes with commas between and perhaps after them, ")". */
static bool take_shape(text *t, pumit__array *a)
{
    if (!take(t, "(")) return false;
    a->ndim = 0;
    while (!take(t, ")")) {
        if (a->ndim == PUMIT__NPY_DIMS || !take_size(t, &a->shape[a->ndim])) return false;
        a->ndim++;
        if (!take(t, ",")) return take(t, ")");
    }
    return true;
}

static bool take_bool(text *t, bool *out)
{
    *out = take(t, "True");
    return *out || take(t, "False");
}

/* '<f4': byte order, kind, bytes, in quotes. */
static bool take_type(text *t, pumit__array *a)
{
    static const struct {
        char name[3];
        pumit__element kind;
    } types[] = {{"u1", PUMIT__ELEMENT_U8},  {"i1", PUMIT__ELEMENT_I8},  {"u2", PUMIT__ELEMENT_U16},
                 {"i2", PUMIT__ELEMENT_I16}, {"u4", PUMIT__ELEMENT_U32}, {"i4", PUMIT__ELEMENT_I32},
                 {"u8", PUMIT__ELEMENT_U64}, {"i8", PUMIT__ELEMENT_I64}, {"f2", PUMIT__ELEMENT_F16},
                 {"f4", PUMIT__ELEMENT_F32}, {"f8", PUMIT__ELEMENT_F64}};
    if (t->end - t->at < 5 || t->at[0] != '\'' || t->at[4] != '\'') return false;
    const char order = t->at[1];
    if (order != '<' && order != '>' && order != '|') return false;
    for (int64_t i = 0; i < PUMIT__COUNT(types); i++)
        if (memcmp(t->at + 2, types[i].name, 2) == 0) a->kind = types[i].kind;
    const bool little_endian = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__;
    a->swap = order == (little_endian ? '>' : '<');
    t->at += 5;
    return a->kind != PUMIT__ELEMENT_NONE && (order != '|' || pumit__element_size(a->kind) == 1);
}

static bool take_entry(text *t, pumit__array *a, int *seen)
{
    if (take(t, "'descr'")) return *seen |= 1, take(t, ":") && take_type(t, a);
    if (take(t, "'fortran_order'")) return *seen |= 2, take(t, ":") && take_bool(t, &a->fortran);
    if (take(t, "'shape'")) return *seen |= 4, take(t, ":") && take_shape(t, a);
    return false;
}

static bool take_dictionary(text *t, pumit__array *a)
{
    int seen = 0;
    if (!take(t, "{")) return false;
    while (!take(t, "}")) {
        if (!take_entry(t, a, &seen)) return false;
        if (!take(t, ",") && !(t->at < t->end && *t->at == '}')) return false;
    }
    return seen == 7 && t->at == t->end;
}

pumit_status pumit__npy_parse(pumit__array *out, const uint8_t *head, int64_t bytes,
                              const char *name)
{
    *out = (pumit__array){0};
    const int64_t prefix = head[6] == 1 ? 10 : 12;
    text t = {(const char *)head + prefix, (const char *)head + bytes};
    if (!take_dictionary(&t, out))
        return pumit__fail(PUMIT_ERROR_FORMAT,
                           "%s: its numpy header is damaged, or of a type or number of dimensions "
                           "that images do not have",
                           name);
    out->count = 1;
    for (int64_t i = 0; i < out->ndim; i++)
        if (!pumit__multiply(&out->count, out->count, out->shape[i]))
            return pumit__fail(PUMIT_ERROR_FORMAT, "%s: claims an absurd shape", name);
    return PUMIT_OK;
}

int64_t pumit__array_item_count(const pumit__array *a)
{
    int64_t count = 1;
    for (int64_t i = 1; i < a->ndim; i++) count *= a->shape[i];
    return count;
}

/* Place of element n (slowest axis first) of entry i when the fastest axis is the first. */
static int64_t fortran_place(const pumit__array *a, int64_t i, int64_t n)
{
    int64_t place = 0;
    for (int64_t axis = a->ndim - 1; axis >= 1; axis--) {
        int64_t stride = 1;
        for (int64_t k = 0; k < axis; k++) stride *= a->shape[k];
        place += n % a->shape[axis] * stride;
        n /= a->shape[axis];
    }
    return place + i;
}

void pumit__array_item(float *dst, const pumit__array *a, int64_t i)
{
    const int64_t count = pumit__array_item_count(a), size = pumit__element_size(a->kind);
    if (!a->fortran) {
        pumit__elements_to_float(dst, a->bytes + i * count * size, count, a->kind, a->swap, 1, 0);
        return;
    }
    for (int64_t n = 0; n < count; n++)
        pumit__elements_to_float(dst + n, a->bytes + fortran_place(a, i, n) * size, 1, a->kind,
                                 a->swap, 1, 0);
}

void pumit__array_free(pumit__array *a)
{
    free(a->bytes);
    a->bytes = NULL;
}
