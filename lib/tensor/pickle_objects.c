/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the classes and functions that a pickle names become: tensors, storages and ordered dicts are built, other objects are
 * placeholders, and a call of a function that makes no object is refused. Names alone do nothing and are let pass.
 */
#include "lib/tensor/pickle_machine.h"

#include <string.h>

/* ------------------------------------------------------------------------------------------- tensors */

static const struct {
    const char *name;
    pumit_dtype dtype;
} storages[] = {{"torch.FloatStorage", PUMIT_F32}, {"torch.DoubleStorage", PUMIT_F64},
                {"torch.HalfStorage", PUMIT_F16},  {"torch.BFloat16Storage", PUMIT_BF16},
                {"torch.ByteStorage", PUMIT_U8},   {"torch.ShortStorage", PUMIT_I16},
                {"torch.IntStorage", PUMIT_I32},   {"torch.LongStorage", PUMIT_I64}};

static value *broken(const pumit__pickle *p, const char *what)
{
    pumit__pickle_broken(p, what);
    return NULL;
}

static bool is(const value *v, pumit__pickle_kind kind)
{
    return v->kind == kind;
}

value *pumit__pickle_persistent(pumit__pickle *p, const value *id)
{
    if (!is(id, PUMIT__PICKLE_TUPLE) || id->count < 5 || !is(id->items[0], PUMIT__PICKLE_TEXT) ||
        strcmp(id->items[0]->text, "storage") != 0 || !is(id->items[1], PUMIT__PICKLE_NAME) ||
        !is(id->items[2], PUMIT__PICKLE_TEXT) || !is(id->items[4], PUMIT__PICKLE_INT) ||
        id->items[4]->integer < 0)
        return broken(p, "a persistent id that is no storage");
    value *v = pumit__pickle_new(p, PUMIT__PICKLE_STORAGE);
    pumit__pickle_storage *storage = v ? pumit__pickle_memory(p, sizeof *storage) : NULL;
    if (!storage) return NULL;
    storage->key = id->items[2]->text;
    storage->count = id->items[4]->integer;
    for (int64_t i = 0; i < PUMIT__COUNT(storages); i++)
        if (strcmp(storages[i].name, id->items[1]->text) == 0) storage->dtype = storages[i].dtype;
    v->storage = storage;
    return v;
}

/* A tuple of numbers >= 0. */
static bool read_sizes(int64_t *sizes, const value *tuple)
{
    for (int64_t i = 0; i < tuple->count; i++) {
        if (!is(tuple->items[i], PUMIT__PICKLE_INT) || tuple->items[i]->integer < 0) return false;
        sizes[i] = tuple->items[i]->integer;
    }
    return true;
}

/* False if the tensor reaches beyond its storage, or has more elements or bytes than can be counted. */
static bool measure(pumit__pickle_tensor *t)
{
    int64_t bytes = 8, last = t->offset;
    bool empty = false, counted = true;
    for (int32_t i = 0; i < t->ndim && counted; i++) {
        int64_t step = 0;
        empty = empty || t->shape[i] == 0;
        if (t->shape[i] == 0) continue;
        counted = pumit__multiply(&bytes, bytes, t->shape[i]) &&
                  pumit__multiply(&step, t->shape[i] - 1, t->stride[i]) &&
                  pumit__add_sizes(&last, last, step);
    }
    if (!counted || empty) return counted;
    t->extent = last - t->offset + 1;
    return last < t->storage->count;
}

/* torch._utils._rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks) and its like */
static value *rebuild_tensor(pumit__pickle *p, value *const *items, int64_t count)
{
    if (count < 4 || !is(items[0], PUMIT__PICKLE_STORAGE) || !is(items[1], PUMIT__PICKLE_INT) ||
        !is(items[2], PUMIT__PICKLE_TUPLE) || !is(items[3], PUMIT__PICKLE_TUPLE) ||
        items[2]->count != items[3]->count)
        return broken(p, "a tensor that is not built of storage, offset, sizes and strides");
    if (items[2]->count > PUMIT_MAX_DIMS) return pumit__pickle_new(p, PUMIT__PICKLE_SKIPPED);
    value *v = pumit__pickle_new(p, PUMIT__PICKLE_TENSOR);
    pumit__pickle_tensor *t = v ? pumit__pickle_memory(p, sizeof *t) : NULL;
    if (!t) return NULL;
    t->storage = items[0]->storage;
    t->offset = items[1]->integer;
    t->ndim = (int32_t)items[2]->count;
    if (t->offset < 0 || !read_sizes(t->shape, items[2]) || !read_sizes(t->stride, items[3]))
        return broken(p, "a tensor with a size, stride or offset below 0");
    if (!measure(t)) return broken(p, "a tensor that lies outside its storage");
    v->tensor = t;
    return v;
}

static value *make_tensor(pumit__pickle *p, value *arguments)
{
    return rebuild_tensor(p, arguments->items, arguments->count);
}

/* torch._utils._rebuild_parameter(tensor, requires_grad, hooks) */
static value *make_parameter(pumit__pickle *p, value *arguments)
{
    return arguments->count > 0 ? arguments->items[0] : broken(p, "a parameter without its tensor");
}

/* torch._tensor._rebuild_from_type_v2(function, class, arguments of the function, state) */
static value *make_from_type(pumit__pickle *p, value *arguments)
{
    if (arguments->count < 3 || !is(arguments->items[0], PUMIT__PICKLE_NAME) ||
        !is(arguments->items[2], PUMIT__PICKLE_TUPLE))
        return broken(p, "a tensor of another class without its parts");
    if (strcmp(arguments->items[0]->text, "torch._utils._rebuild_tensor_v2") == 0)
        return make_tensor(p, arguments->items[2]);
    return pumit__pickle_new(p, PUMIT__PICKLE_SKIPPED);
}

/* ---------------------------------------------------------------------------------------- containers */

/* collections.OrderedDict(), or of a list of pairs */
static value *make_dict(pumit__pickle *p, value *arguments)
{
    value *dict = pumit__pickle_new(p, PUMIT__PICKLE_DICT);
    if (!dict || arguments->count == 0 || !is(arguments->items[0], PUMIT__PICKLE_LIST)) return dict;
    const value *pairs = arguments->items[0];
    for (int64_t i = 0; i < pairs->count; i++) {
        const value *pair = pairs->items[i];
        if ((!is(pair, PUMIT__PICKLE_TUPLE) && !is(pair, PUMIT__PICKLE_LIST)) || pair->count != 2)
            return broken(p, "an ordered dict that is not of pairs");
        if (pumit__pickle_append(p, dict, pair->items, 2) != PUMIT_OK) return NULL;
    }
    return dict;
}

/* collections.defaultdict(function) */
static value *make_empty_dict(pumit__pickle *p, value *arguments)
{
    (void)arguments;
    return pumit__pickle_new(p, PUMIT__PICKLE_DICT);
}

/* torch.Size(tuple) */
static value *make_size(pumit__pickle *p, value *arguments)
{
    if (arguments->count == 1 && is(arguments->items[0], PUMIT__PICKLE_TUPLE))
        return arguments->items[0];
    return broken(p, "a torch.Size that is not of a tuple");
}

static const struct {
    const char *name;
    value *(*make)(pumit__pickle *p, value *arguments);
} known[] = {
    {"torch._utils._rebuild_tensor_v2", make_tensor},
    {"torch._utils._rebuild_tensor", make_tensor},
    {"torch._utils._rebuild_parameter", make_parameter},
    {"torch._utils._rebuild_parameter_with_state", make_parameter},
    {"torch._tensor._rebuild_from_type_v2", make_from_type},
    {"collections.OrderedDict", make_dict},
    {"collections.defaultdict", make_empty_dict},
    {"torch.Size", make_size},
};

/* ------------------------------------------------------------------------------------- what may pass */

/* Modules that checkpoints have no business with, whatever they are asked for. */
static const char *const refused_modules[] = {
    "os",     "posix",   "nt",      "sys",      "subprocess",  "shutil",          "socket",
    "ctypes", "runpy",   "pty",     "code",     "codeop",      "commands",        "importlib",
    "pickle", "_pickle", "marshal", "builtins", "__builtin__", "multiprocessing", "threading",
    "signal", "pdb",     "bdb",     "asyncio",  "webbrowser"};

/* Built-in classes; the modules are called builtins, or __builtin__ in protocol 2. */
static const char *const builtin_classes[] = {"set",     "frozenset", "bytearray", "bytes",
                                              "complex", "slice",     "range",     "xrange",
                                              "object",  "list",      "dict",      "tuple"};

/* What is spelt like a function and yet makes an object. */
static const char *const harmless[] = {
    "_codecs.encode",
    "copyreg._reconstructor",
    "copyreg.__newobj__",
    "copyreg.__newobj_ex__",
    "copy_reg._reconstructor",
    "collections.deque",
    "datetime.datetime",
    "datetime.date",
    "datetime.time",
    "datetime.timedelta",
    "datetime.timezone",
    "functools.partial",
    "operator.attrgetter",
    "operator.itemgetter",
    "re._compile",
    "numpy.dtype",
    "numpy.ndarray",
    "numpy.core.multiarray._reconstruct",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray._reconstruct",
    "numpy._core.multiarray.scalar",
    "numpy.core.numeric._frombuffer",
    "numpy._core.numeric._frombuffer",
    "numpy.random._pickle.__randomstate_ctor",
    "numpy.random._pickle.__generator_ctor",
    "numpy.random._pickle.__bit_generator_ctor",
    "torch.device",
    "torch.storage._load_from_bytes",
};

static bool starts_with(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

static bool of_refused_module(const char *name)
{
    const size_t length = strcspn(name, ".");
    for (int64_t i = 0; i < PUMIT__COUNT(refused_modules); i++)
        if (strlen(refused_modules[i]) == length && strncmp(refused_modules[i], name, length) == 0)
            return true;
    return false;
}

static bool is_one_of(const char *name, const char *const *list, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        if (strcmp(list[i], name) == 0) return true;
    return false;
}

/* Classes have names that begin with a capital (PEP 8). */
static bool is_class(const char *name)
{
    const char *last = strrchr(name, '.');
    const char *first = last ? last + 1 : name;
    while (*first == '_') first++;
    return *first >= 'A' && *first <= 'Z';
}

static bool builtin_may_pass(const char *name, const value *arguments)
{
    /* A member of an enumeration, as Python 3.11 writes it: the result cannot be called. */
    if (strcmp(name, "getattr") == 0)
        return arguments->count == 2 && is(arguments->items[0], PUMIT__PICKLE_NAME) &&
               is_class(arguments->items[0]->text) && !of_refused_module(arguments->items[0]->text);
    return is_class(name) || is_one_of(name, builtin_classes, PUMIT__COUNT(builtin_classes));
}

static bool may_pass(const char *name, const value *arguments, bool making)
{
    static const char new_module[] = "builtins.", old_module[] = "__builtin__.";
    if (starts_with(name, new_module))
        return builtin_may_pass(name + strlen(new_module), arguments);
    if (starts_with(name, old_module))
        return builtin_may_pass(name + strlen(old_module), arguments);
    if (of_refused_module(name)) return false;
    return making || is_class(name) || is_one_of(name, harmless, PUMIT__COUNT(harmless)) ||
           starts_with(name, "torch._utils._rebuild_") ||
           starts_with(name, "torch._tensor._rebuild_");
}

value *pumit__pickle_call(pumit__pickle *p, const value *callable, value *arguments, bool making)
{
    if (!is(callable, PUMIT__PICKLE_NAME)) return broken(p, "an object is called");
    if (!is(arguments, PUMIT__PICKLE_TUPLE)) return broken(p, "arguments that are no tuple");
    for (int64_t i = 0; i < PUMIT__COUNT(known); i++)
        if (strcmp(known[i].name, callable->text) == 0) return known[i].make(p, arguments);
    if (!may_pass(callable->text, arguments, making)) {
        pumit__fail(PUMIT_ERROR_FORMAT,
                    "%s: its pickle calls '%.200s', which no checkpoint needs: the file may be "
                    "malicious",
                    p->name, callable->text);
        return NULL;
    }
    value *object = pumit__pickle_new(p, PUMIT__PICKLE_SKIPPED);
    return object && pumit__pickle_hold(p, object, arguments) == PUMIT_OK ? object : NULL;
}
