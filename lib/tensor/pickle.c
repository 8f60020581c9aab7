/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pickle machine. A pickle is a program for a stack: opcodes of one byte push values and gather what lies above a mark
 * into containers; a memo keeps values for later. https://docs.python.org/3/library/pickletools.html lists the opcodes.
 */
#include "lib/tensor/pickle_machine.h"

#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------------------------ stack and memo */

static pumit_status op_mark(pumit__pickle *p, int64_t unused)
{
    (void)unused;
    return pumit__pickle_mark(p);
}

static pumit_status op_pop_mark(pumit__pickle *p, int64_t unused)
{
    (void)unused;
    int64_t count;
    PUMIT__TRY(pumit__pickle_drop_mark(p, &count));
    p->stack_count -= count;
    return PUMIT_OK;
}

static pumit_status op_pop(pumit__pickle *p, int64_t unused)
{
    if (pumit__pickle_in_hand(p) == 0 && p->mark_count) return op_pop_mark(p, unused);
    if (!pumit__pickle_peek(p, 1)) return pumit__last_status();
    p->stack_count--;
    return PUMIT_OK;
}

static pumit_status op_dup(pumit__pickle *p, int64_t unused)
{
    (void)unused;
    return pumit__pickle_push(p, pumit__pickle_peek(p, 1));
}

static pumit_status op_memoize(pumit__pickle *p, int64_t unused)
{
    (void)unused;
    return pumit__pickle_memoize(p, p->memo_count);
}

/* ------------------------------------------------------------------------------------------- reading */

/* `bytes` bytes of the pickle; NULL with the error kept. */
static const unsigned char *take(pumit__pickle *p, int64_t bytes)
{
    if (bytes > p->end - p->at) {
        pumit__pickle_broken(p, "it is cut short");
        return NULL;
    }
    const unsigned char *const taken = p->at;
    p->at += bytes;
    return taken;
}

/* An unsigned number of `width` bytes. */
static pumit_status take_size(pumit__pickle *p, int64_t width, int64_t *out)
{
    const unsigned char *bytes = take(p, width);
    uint64_t size = 0;
    if (!bytes) return pumit__last_status();
    for (int64_t i = width - 1; i >= 0; i--) size = size << 8 | bytes[i];
    if (size > INT64_MAX) return pumit__pickle_broken(p, "a size is too large");
    *out = (int64_t)size;
    return PUMIT_OK;
}

static pumit_status op_put(pumit__pickle *p, int64_t width)
{
    int64_t at;
    PUMIT__TRY(take_size(p, width, &at));
    return pumit__pickle_memoize(p, at);
}

static pumit_status op_get(pumit__pickle *p, int64_t width)
{
    int64_t at;
    PUMIT__TRY(take_size(p, width, &at));
    if (at >= p->memo_count || !p->memo[at])
        return pumit__pickle_broken(p, "nothing was remembered under a number");
    return pumit__pickle_push(p, p->memo[at]);
}

static pumit_status op_constant(pumit__pickle *p, int64_t kind)
{
    return pumit__pickle_push(p, pumit__pickle_new(p, (pumit__pickle_kind)kind));
}

static pumit_status push_integer(pumit__pickle *p, pumit__pickle_kind kind, int64_t integer)
{
    value *v = pumit__pickle_new(p, kind);
    if (v) v->integer = integer;
    return pumit__pickle_push(p, v);
}

static pumit_status op_bool(pumit__pickle *p, int64_t truth)
{
    return push_integer(p, PUMIT__PICKLE_BOOL, truth);
}

static pumit_status op_size(pumit__pickle *p, int64_t width)
{
    int64_t integer;
    PUMIT__TRY(take_size(p, width, &integer));
    return push_integer(p, PUMIT__PICKLE_INT, width == 4 ? (int32_t)(uint32_t)integer : integer);
}

/* A number of any length, two's complement; one beyond 64 bits becomes a placeholder. */
static pumit_status op_long(pumit__pickle *p, int64_t width)
{
    int64_t bytes;
    PUMIT__TRY(take_size(p, width, &bytes));
    const unsigned char *digits = take(p, bytes);
    if (!digits) return pumit__last_status();
    if (bytes > 8) return op_constant(p, PUMIT__PICKLE_SKIPPED);
    uint64_t bits = bytes > 0 && digits[bytes - 1] >= 128 ? UINT64_MAX : 0;
    for (int64_t i = bytes - 1; i >= 0; i--) bits = bits << 8 | digits[i];
    int64_t integer;
    memcpy(&integer, &bits, sizeof integer);
    return push_integer(p, PUMIT__PICKLE_INT, integer);
}

static pumit_status op_float(pumit__pickle *p, int64_t width)
{
    const unsigned char *bytes = take(p, width);
    value *v = bytes ? pumit__pickle_new(p, PUMIT__PICKLE_FLOAT) : NULL;
    uint64_t bits = 0;
    for (int64_t i = 0; v && i < width; i++) bits = bits << 8 | bytes[i];
    if (v) memcpy(&v->real, &bits, sizeof v->real);
    return pumit__pickle_push(p, v);
}

static pumit_status op_text(pumit__pickle *p, int64_t width)
{
    int64_t bytes;
    PUMIT__TRY(take_size(p, width, &bytes));
    const unsigned char *text = take(p, bytes);
    return pumit__pickle_push(p, text ? pumit__pickle_text(p, text, bytes) : NULL);
}

static pumit_status op_bytes(pumit__pickle *p, int64_t width)
{
    int64_t bytes;
    PUMIT__TRY(take_size(p, width, &bytes));
    const unsigned char *text = take(p, bytes);
    value *v = text ? pumit__pickle_new(p, PUMIT__PICKLE_BYTES) : NULL;
    if (v) {
        v->text = (const char *)text;
        v->count = bytes;
    }
    return pumit__pickle_push(p, v);
}

/* ---------------------------------------------------------------------------------------- containers */

/* The uppermost `count` values, or those above the mark if that is negative, become a tuple. */
static pumit_status op_tuple(pumit__pickle *p, int64_t count)
{
    if (count < 0)
        PUMIT__TRY(pumit__pickle_drop_mark(p, &count));
    else if (count > 0 && !pumit__pickle_peek(p, count))
        return pumit__last_status();
    p->stack_count -= count;
    return pumit__pickle_push(p, pumit__pickle_tuple(p, p->stack + p->stack_count, count));
}

static pumit_status fill(pumit__pickle *p, value *container, pumit__pickle_kind kind, int64_t count)
{
    if (!container) return pumit__last_status();
    if (container->kind != kind && container->kind != PUMIT__PICKLE_SKIPPED)
        return pumit__pickle_broken(p, "items for what is no container of such");
    if (kind == PUMIT__PICKLE_DICT && count % 2 != 0)
        return pumit__pickle_broken(p, "a key without a value");
    const pumit_status status =
        pumit__pickle_append(p, container, p->stack + p->stack_count - count, count);
    p->stack_count -= count;
    return status;
}

/* What lies above the mark joins the container below it. */
static pumit_status op_fill(pumit__pickle *p, int64_t kind)
{
    int64_t count;
    PUMIT__TRY(pumit__pickle_drop_mark(p, &count));
    return fill(p, pumit__pickle_peek(p, count + 1), (pumit__pickle_kind)kind, count);
}

/* The uppermost item, or key and value, join the container below. */
static pumit_status op_add(pumit__pickle *p, int64_t kind)
{
    const int64_t count = kind == PUMIT__PICKLE_DICT ? 2 : 1;
    return fill(p, pumit__pickle_peek(p, count + 1), (pumit__pickle_kind)kind, count);
}

/* A container of what lies above the mark. */
static pumit_status op_gather(pumit__pickle *p, int64_t kind)
{
    int64_t count;
    PUMIT__TRY(pumit__pickle_drop_mark(p, &count));
    value *v = pumit__pickle_new(p, (pumit__pickle_kind)kind);
    PUMIT__TRY(fill(p, v, (pumit__pickle_kind)kind, count));
    return pumit__pickle_push(p, v);
}

/* ------------------------------------------------------------------------------------------- objects */

static const char *take_line(pumit__pickle *p, int64_t *bytes)
{
    const unsigned char *line = p->at, *end = memchr(line, '\n', (size_t)(p->end - line));
    if (!end) {
        pumit__pickle_broken(p, "it is cut short");
        return NULL;
    }
    p->at = end + 1;
    *bytes = end - line;
    return (const char *)line;
}

static pumit_status op_global(pumit__pickle *p, int64_t unused)
{
    (void)unused;
    int64_t module_bytes = 0, name_bytes = 0;
    const char *module = take_line(p, &module_bytes);
    const char *name = module ? take_line(p, &name_bytes) : NULL;
    return pumit__pickle_push(
        p, name ? pumit__pickle_named(p, module, module_bytes, name, name_bytes) : NULL);
}

static pumit_status op_stack_global(pumit__pickle *p, int64_t unused)
{
    (void)unused;
    const value *module = pumit__pickle_peek(p, 2), *name = pumit__pickle_peek(p, 1);
    if (!module || !name) return pumit__last_status();
    if (module->kind != PUMIT__PICKLE_TEXT || name->kind != PUMIT__PICKLE_TEXT)
        return pumit__pickle_broken(p, "a name that is no text");
    p->stack_count -= 2;
    return pumit__pickle_push(
        p, pumit__pickle_named(p, module->text, module->count, name->text, name->count));
}

static pumit_status op_call(pumit__pickle *p, int64_t making)
{
    const value *callable = pumit__pickle_peek(p, 2);
    if (!callable) return pumit__last_status();
    value *arguments = pumit__pickle_peek(p, 1);
    p->stack_count -= 2;
    return pumit__pickle_push(p, pumit__pickle_call(p, callable, arguments, making));
}

/* The arguments by name are dropped. */
static pumit_status op_make_with_names(pumit__pickle *p, int64_t unused)
{
    (void)unused;
    if (!pumit__pickle_peek(p, 3)) return pumit__last_status();
    p->stack_count--;
    return op_call(p, true);
}

/* The state of an object: dropped, but not however deep it is. */
static pumit_status op_build(pumit__pickle *p, int64_t unused)
{
    (void)unused;
    value *object = pumit__pickle_peek(p, 2);
    if (!object) return pumit__last_status();
    value *state = p->stack[--p->stack_count];
    if (object->kind != PUMIT__PICKLE_SKIPPED || object == state) return PUMIT_OK;
    return pumit__pickle_hold(p, object, state);
}

static pumit_status op_persistent(pumit__pickle *p, int64_t unused)
{
    (void)unused;
    const value *id = pumit__pickle_peek(p, 1);
    if (!id) return pumit__last_status();
    p->stack_count--;
    return pumit__pickle_push(p, pumit__pickle_persistent(p, id));
}

/* ------------------------------------------------------------------------------------------- running */

static pumit_status op_protocol(pumit__pickle *p, int64_t unused)
{
    (void)unused;
    const unsigned char *protocol = take(p, 1);
    if (!protocol) return pumit__last_status();
    if (*protocol >= 2 && *protocol <= 5) return PUMIT_OK;
    return pumit__fail(PUMIT_ERROR_UNSUPPORTED, "%s: its pickle is of protocol %d, not of 2 to 5",
                       p->name, *protocol);
}

/* Frames are a help for reading from pipes: their length says nothing new. */
static pumit_status op_frame(pumit__pickle *p, int64_t width)
{
    return take(p, width) ? PUMIT_OK : pumit__last_status();
}

static const struct {
    pumit_status (*run)(pumit__pickle *p, int64_t argument);
    int64_t argument;
} opcodes[256] = {
    [0x80] = {op_protocol, 0},
    [0x95] = {op_frame, 8},
    ['N'] = {op_constant, PUMIT__PICKLE_NONE},
    [0x88] = {op_bool, 1},
    [0x89] = {op_bool, 0},
    ['K'] = {op_size, 1},
    ['M'] = {op_size, 2},
    ['J'] = {op_size, 4},
    [0x8a] = {op_long, 1},
    [0x8b] = {op_long, 4},
    ['G'] = {op_float, 8},
    [0x8c] = {op_text, 1},
    ['X'] = {op_text, 4},
    [0x8d] = {op_text, 8},
    ['U'] = {op_text, 1}, /* strings of Python 2 */
    ['T'] = {op_text, 4},
    ['C'] = {op_bytes, 1},
    ['B'] = {op_bytes, 4},
    [0x8e] = {op_bytes, 8},
    [0x96] = {op_bytes, 8},
    [')'] = {op_tuple, 0},
    [0x85] = {op_tuple, 1},
    [0x86] = {op_tuple, 2},
    [0x87] = {op_tuple, 3},
    ['t'] = {op_tuple, -1},
    [']'] = {op_constant, PUMIT__PICKLE_LIST},
    ['l'] = {op_gather, PUMIT__PICKLE_LIST},
    ['a'] = {op_add, PUMIT__PICKLE_LIST},
    ['e'] = {op_fill, PUMIT__PICKLE_LIST},
    ['}'] = {op_constant, PUMIT__PICKLE_DICT},
    ['d'] = {op_gather, PUMIT__PICKLE_DICT},
    ['s'] = {op_add, PUMIT__PICKLE_DICT},
    ['u'] = {op_fill, PUMIT__PICKLE_DICT},
    [0x8f] = {op_constant, PUMIT__PICKLE_SKIPPED}, /* sets */
    [0x90] = {op_fill, PUMIT__PICKLE_SKIPPED},
    [0x91] = {op_gather, PUMIT__PICKLE_SKIPPED},
    ['('] = {op_mark, 0},
    ['0'] = {op_pop, 0},
    ['1'] = {op_pop_mark, 0},
    ['2'] = {op_dup, 0},
    ['q'] = {op_put, 1},
    ['r'] = {op_put, 4},
    [0x94] = {op_memoize, 0},
    ['h'] = {op_get, 1},
    ['j'] = {op_get, 4},
    ['c'] = {op_global, 0},
    [0x93] = {op_stack_global, 0},
    ['R'] = {op_call, false},
    [0x81] = {op_call, true},
    [0x92] = {op_make_with_names, 0},
    ['b'] = {op_build, 0},
    ['Q'] = {op_persistent, 0},
};

static pumit_status run(pumit__pickle *p)
{
    if (p->end - p->at < 2 || *p->at != 0x80)
        return pumit__pickle_broken(p, "it does not begin with its protocol");
    for (;;) {
        const unsigned char *code = take(p, 1);
        if (!code) return pumit__last_status();
        if (*code == '.') break;
        if (!opcodes[*code].run) return pumit__pickle_broken(p, "an opcode that is not read");
        PUMIT__TRY(opcodes[*code].run(p, opcodes[*code].argument));
    }
    if (p->mark_count) return pumit__pickle_broken(p, "a mark was left");
    p->root = pumit__pickle_peek(p, 1);
    return p->root ? PUMIT_OK : pumit__last_status();
}

pumit_status pumit__pickle_parse(pumit__pickle **out, const void *data, int64_t bytes,
                                 const char *name)
{
    *out = NULL;
    if (bytes > PUMIT__PICKLE_MOST_BYTES)
        return pumit__fail(PUMIT_ERROR_LIMIT,
                           "%s: its pickle has %lld bytes, at most %lld are read", name,
                           (long long)bytes, (long long)PUMIT__PICKLE_MOST_BYTES);
    pumit__pickle *p = pumit__calloc(1, sizeof *p);
    if (!p) return pumit__fail_memory((int64_t)sizeof *p, name);
    p->start = p->at = data;
    p->end = p->start + bytes;
    p->name = name;
    pumit_status status = pumit__grow(&p->stack, &p->stack_capacity, 256, sizeof *p->stack)
                              ? run(p)
                              : pumit__fail_memory(256, name);
    p->name = NULL;
    free(p->stack);
    free(p->memo);
    free(p->marks);
    p->stack = p->memo = NULL;
    p->marks = NULL;
    if (status == PUMIT_OK)
        *out = p;
    else
        pumit__pickle_free(p);
    return status;
}

const pumit__pickle_value *pumit__pickle_root(const pumit__pickle *p)
{
    return p->root;
}

const pumit__pickle_value *pumit__pickle_get(const pumit__pickle_value *dict, const char *key)
{
    if (!dict || dict->kind != PUMIT__PICKLE_DICT) return NULL;
    for (int64_t i = dict->count - 2; i >= 0; i -= 2)
        if (dict->items[i]->kind == PUMIT__PICKLE_TEXT && strcmp(dict->items[i]->text, key) == 0)
            return dict->items[i + 1];
    return NULL;
}
