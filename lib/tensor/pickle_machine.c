/* SPDX-License-Identifier: Apache-2.0 */
/* Memory, stack, marks, memo and containers of the pickle machine, each within its limit. */
#include "lib/tensor/pickle_machine.h"

#include <stdlib.h>
#include <string.h>

#define BLOCK      65536
#define MOST_STACK (INT64_C(1) << 22)

/* ------------------------------------------------------------------------------------------- memory */

pumit_status pumit__pickle_broken(const pumit__pickle *p, const char *what)
{
    return pumit__fail(PUMIT_ERROR_FORMAT, "%s: broken pickle near byte %lld: %s", p->name,
                       (long long)(p->at - p->start), what);
}

static pumit_status too_much(const pumit__pickle *p, const char *what, int64_t most)
{
    return pumit__fail(PUMIT_ERROR_LIMIT, "%s: its pickle has more than %lld %s", p->name,
                       (long long)most, what);
}

void *pumit__pickle_memory(pumit__pickle *p, int64_t bytes)
{
    bytes = (bytes + 15) & ~INT64_C(15);
    if (bytes > p->free_bytes) {
        const int64_t block = 16 + (bytes > BLOCK ? bytes : BLOCK);
        if (p->used_bytes + block > PUMIT__PICKLE_MOST_BYTES) {
            too_much(p, "bytes of values", PUMIT__PICKLE_MOST_BYTES);
            return NULL;
        }
        unsigned char *memory = pumit__calloc(block, 1);
        if (!memory) {
            pumit__fail_memory(block, p->name);
            return NULL;
        }
        p->used_bytes += block;
        memcpy(memory, &p->blocks, sizeof p->blocks);
        p->blocks = memory;
        p->free_memory = memory + 16;
        p->free_bytes = block - 16;
    }
    void *const piece = p->free_memory;
    p->free_memory += bytes;
    p->free_bytes -= bytes;
    return piece;
}

value *pumit__pickle_new(pumit__pickle *p, pumit__pickle_kind kind)
{
    value *v = pumit__pickle_memory(p, sizeof *v);
    if (!v) return NULL;
    v->kind = kind;
    v->values = 1;
    return v;
}

pumit_status pumit__pickle_hold(const pumit__pickle *p, value *holder, value *item)
{
    item->held = true;
    if (holder->depth < item->depth + 1) holder->depth = item->depth + 1;
    holder->values += item->values; /* each is at most the limit */
    if (holder->depth > PUMIT__PICKLE_MOST_DEPTH)
        return too_much(p, "levels of nesting", PUMIT__PICKLE_MOST_DEPTH);
    if (holder->values > PUMIT__PICKLE_MOST_VALUES)
        return too_much(p, "values", PUMIT__PICKLE_MOST_VALUES);
    return PUMIT_OK;
}

/* ------------------------------------------------------------------------------------ stack, marks, memo */

pumit_status pumit__pickle_push(pumit__pickle *p, value *v)
{
    if (!v) return pumit__last_status();
    if (p->stack_count == MOST_STACK) return too_much(p, "values in hand", MOST_STACK);
    if (!pumit__grow(&p->stack, &p->stack_capacity, p->stack_count + 1, sizeof *p->stack))
        return pumit__fail_memory(p->stack_count * (int64_t)sizeof *p->stack, p->name);
    p->stack[p->stack_count++] = v;
    return PUMIT_OK;
}

int64_t pumit__pickle_in_hand(const pumit__pickle *p)
{
    return p->stack_count - (p->mark_count ? p->marks[p->mark_count - 1] : 0);
}

value *pumit__pickle_peek(const pumit__pickle *p, int64_t n)
{
    if (pumit__pickle_in_hand(p) >= n) return p->stack[p->stack_count - n];
    pumit__pickle_broken(p, "a value is missing");
    return NULL;
}

pumit_status pumit__pickle_mark(pumit__pickle *p)
{
    if (p->mark_count == MOST_STACK) return too_much(p, "marks", MOST_STACK);
    if (!pumit__grow(&p->marks, &p->mark_capacity, p->mark_count + 1, sizeof *p->marks))
        return pumit__fail_memory(p->mark_count * (int64_t)sizeof *p->marks, p->name);
    p->marks[p->mark_count++] = p->stack_count;
    return PUMIT_OK;
}

pumit_status pumit__pickle_drop_mark(pumit__pickle *p, int64_t *count)
{
    if (p->mark_count == 0) return pumit__pickle_broken(p, "a mark is missing");
    *count = pumit__pickle_in_hand(p);
    p->mark_count--;
    return PUMIT_OK;
}

pumit_status pumit__pickle_memoize(pumit__pickle *p, int64_t at)
{
    value *v = pumit__pickle_peek(p, 1);
    if (!v) return pumit__last_status();
    if (at >= MOST_STACK) return too_much(p, "values to remember", MOST_STACK);
    if (!pumit__grow(&p->memo, &p->memo_capacity, at + 1, sizeof *p->memo))
        return pumit__fail_memory(at * (int64_t)sizeof *p->memo, p->name);
    while (p->memo_count <= at) p->memo[p->memo_count++] = NULL;
    p->memo[at] = v;
    return PUMIT_OK;
}

/* ------------------------------------------------------------------------------------------- values */

value *pumit__pickle_text(pumit__pickle *p, const void *text, int64_t bytes)
{
    value *v = pumit__pickle_new(p, PUMIT__PICKLE_TEXT);
    char *copy = v ? pumit__pickle_memory(p, bytes + 1) : NULL;
    if (!copy) return NULL;
    memcpy(copy, text, (size_t)bytes);
    v->text = copy;
    v->count = bytes;
    return v;
}

value *pumit__pickle_named(pumit__pickle *p, const char *module, int64_t module_bytes,
                           const char *name, int64_t name_bytes)
{
    value *v = pumit__pickle_new(p, PUMIT__PICKLE_NAME);
    char *text = v ? pumit__pickle_memory(p, module_bytes + name_bytes + 2) : NULL;
    if (!text) return NULL;
    memcpy(text, module, (size_t)module_bytes);
    text[module_bytes] = '.';
    memcpy(text + module_bytes + 1, name, (size_t)name_bytes);
    v->text = text;
    v->count = module_bytes;
    return v;
}

value *pumit__pickle_tuple(pumit__pickle *p, value *const *items, int64_t count)
{
    value *v = pumit__pickle_new(p, PUMIT__PICKLE_TUPLE);
    if (!v || count == 0) return v;
    v->items = pumit__pickle_memory(p, count * (int64_t)sizeof *v->items);
    if (!v->items) return NULL;
    memcpy(v->items, items, (size_t)count * sizeof *items);
    v->count = v->capacity = count;
    for (int64_t i = 0; i < count; i++)
        if (pumit__pickle_hold(p, v, items[i]) != PUMIT_OK) return NULL;
    return v;
}

static bool reserve(pumit__pickle *p, value *container, int64_t needed)
{
    if (needed <= container->capacity) return true;
    int64_t larger = container->capacity ? 2 * container->capacity : 4;
    if (larger < needed) larger = needed;
    value **items = pumit__pickle_memory(p, larger * (int64_t)sizeof *items);
    if (!items) return false;
    if (container->count) memcpy(items, container->items, (size_t)container->count * sizeof *items);
    container->items = items;
    container->capacity = larger;
    return true;
}

pumit_status pumit__pickle_append(pumit__pickle *p, value *container, value *const *items,
                                  int64_t count)
{
    bool loop = container->held && count > 0; /* it may be growing inside itself */
    for (int64_t i = 0; i < count; i++) loop = loop || items[i] == container;
    if (loop) {
        container->kind = PUMIT__PICKLE_SKIPPED;
        container->count = 0;
        container->items = NULL;
    }
    if (container->kind == PUMIT__PICKLE_SKIPPED) return PUMIT_OK;
    if (!reserve(p, container, container->count + count)) return pumit__last_status();
    for (int64_t i = 0; i < count; i++) {
        container->items[container->count++] = items[i];
        PUMIT__TRY(pumit__pickle_hold(p, container, items[i]));
    }
    return PUMIT_OK;
}

void pumit__pickle_free(pumit__pickle *p)
{
    if (!p) return;
    for (void *block = p->blocks, *next; block; block = next) {
        memcpy(&next, block, sizeof next);
        free(block);
    }
    free(p);
}
