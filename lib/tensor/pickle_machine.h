/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of the pickle reader: its memory and stack (pickle.c), and what objects become (pickle_objects.c). */
#ifndef PUMIT_LIB_PICKLE_MACHINE_H
#define PUMIT_LIB_PICKLE_MACHINE_H

#include "lib/tensor/pickle.h"

typedef pumit__pickle_value value;

struct pumit__pickle {
    const unsigned char *start, *at, *end;
    const char *name; /* for messages; NULL once parsed */
    void *blocks;     /* list of what pumit__pickle_memory() handed out pieces of */
    unsigned char *free_memory;
    int64_t free_bytes, used_bytes;
    value **stack, **memo;
    int64_t stack_count, stack_capacity, memo_count, memo_capacity;
    int64_t *marks; /* stack heights */
    int64_t mark_count, mark_capacity;
    const value *root;
};

pumit_status pumit__pickle_broken(const pumit__pickle *p, const char *what);

/* Zeroed memory that lives as long as the pickle; NULL with the error kept. */
void *pumit__pickle_memory(pumit__pickle *p, int64_t bytes);
/* --- values: NULL with the error kept --- */
value *pumit__pickle_text(pumit__pickle *p, const void *text, int64_t bytes);
value *pumit__pickle_named(pumit__pickle *p, const char *module, int64_t module_bytes,
                           const char *name, int64_t name_bytes);
value *pumit__pickle_tuple(pumit__pickle *p, value *const *items, int64_t count);
value *pumit__pickle_new(pumit__pickle *p, pumit__pickle_kind kind);

/* `holder` has taken `item` in: depth and number of values, within their limits. */
pumit_status pumit__pickle_hold(const pumit__pickle *p, value *holder, value *item);

/* A list's or dict's new items; placeholders drop them. */
pumit_status pumit__pickle_append(pumit__pickle *p, value *container, value *const *items,
                                  int64_t count);

/* --- stack, marks, memo --- */
/* Fails on NULL with the error kept. */
pumit_status pumit__pickle_push(pumit__pickle *p, value *v);
/* Values above the last mark. */
int64_t pumit__pickle_in_hand(const pumit__pickle *p);
/* The n-th value from the top, 1 being the uppermost; NULL with the error kept. */
value *pumit__pickle_peek(const pumit__pickle *p, int64_t n);
pumit_status pumit__pickle_mark(pumit__pickle *p);
/* Takes the last mark away: *count values above it stay on the stack. */
pumit_status pumit__pickle_drop_mark(pumit__pickle *p, int64_t *count);
/* Keeps the uppermost value for later. */
pumit_status pumit__pickle_memoize(pumit__pickle *p, int64_t at);

/* --- objects --- */
/* What calling the class or function makes of the arguments, a tuple: NULL with the error kept. `making`: an object is made,
 * nothing called. */
value *pumit__pickle_call(pumit__pickle *p, const value *callable, value *arguments, bool making);
/* What a persistent id stands for: ("storage", class, key, device, count). NULL with the error kept. */
value *pumit__pickle_persistent(pumit__pickle *p, const value *id);

#endif
