/* SPDX-License-Identifier: Apache-2.0 */
/* Weights of others: names are matched, arrays of other shapes adapted (adapt.h), and what does not fit is listed. */
#include "lib/nn/adapt.h"
#include "lib/nn/weights.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    const char *prefix;
    int32_t partial;
    bool center;
} import_options;

/* A parameter and what becomes of it. */
typedef struct {
    const pumit__weights_entry *entry; /* NULL: absent */
    pumit__adaptation adaptation;
    bool adapted;                      /* `adaptation` is to be applied */
    const pumit__weights_entry *added; /* class token: sequence whose row 0 is added; or NULL */
} plan;

/* Names of one kind, of which a message tells the first. */
typedef struct {
    int64_t count, told;
    size_t used;
    char text[240];
} names;

typedef struct {
    pumit_module *module;
    pumit__weights_file *file;
    const char *path;
    import_options options;
    plan *plans; /* one for each parameter */
    bool *used;  /* one for each entry */
    names missing, unexpected, misshapen;
    int64_t taken, adapted;
} import;

/* ------------------------------------------------------------------------------------------ messages */

static void add_name(names *n, const char *text)
{
    const size_t gap = n->told ? 2 : 0, length = strlen(text);
    if (n->told < n->count++ || n->used + gap + length >= sizeof n->text) return;
    memcpy(n->text + n->used, ", ", gap);
    memcpy(n->text + n->used + gap, text, length + 1);
    n->used += gap + length;
    n->told++;
}

static void tell(const import *m, int32_t level, const char *name, const char *what)
{
    pumit__log(m->module->ctx, level, "%s: %s: %s", m->path, name, what);
}

/* ---------------------------------------------------------------------------------------- names */

static bool starts_with(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

/* Parts of a transformer that no model goes without; heads and decoders are others. */
static bool of_backbone(const char *name)
{
    static const char *const parts[] = {"patch_embed.", "cls_token", "pos_embed", "blocks.",
                                        "norm."};
    if (starts_with(name, "backbone.")) name += strlen("backbone.");
    for (int64_t i = 0; i < PUMIT__COUNT(parts); i++)
        if (starts_with(name, parts[i])) return true;
    return false;
}

static bool may_miss(const import *m, const char *name)
{
    static const char *const kinds[] = {"vit", "classifier", "segmenter"};
    bool with_head = false;
    for (int64_t i = 0; i < PUMIT__COUNT(kinds); i++)
        with_head = with_head || strcmp(m->module->kind, kinds[i]) == 0;
    return m->options.partial && with_head && !of_backbone(name);
}

/* Rotary angles are computed, whatever a file says of them. */
static bool is_dropped(const char *name)
{
    const char *at = strstr(name, "rope.freqs_");
    return at && (at == name || at[-1] == '.');
}

/* The entry for a parameter; NULL if absent. */
static pumit_status find_entry(const pumit__weights_entry **out, const import *m, const char *name)
{
    char *full = pumit__format("%s%s", m->options.prefix, name);
    *out = full ? pumit__weights_file_find(m->file, full) : NULL;
    free(full);
    return full ? PUMIT_OK : pumit__fail_memory(64, "a name");
}

/* ------------------------------------------------------------------------------------------ planning */

/* "X.cls_token" takes row 0 of a sequence "X.pos_embed". */
static pumit_status plan_class_token(plan *p, const import *m, const pumit__parameter *parameter)
{
    static const char token[] = "cls_token", position[] = "pos_embed";
    const size_t length = strlen(parameter->name), end = sizeof token - 1;
    if (length < end || strcmp(parameter->name + length - end, token) != 0) return PUMIT_OK;
    const pumit__weights_entry *entry;
    char *name = pumit__format("%.*s%s", (int)(length - end), parameter->name, position);
    const pumit_status status =
        name ? find_entry(&entry, m, name) : pumit__fail_memory(64, "a name");
    free(name);
    PUMIT__TRY(status);
    if (entry && pumit__adapt_is_sequence(entry) && p->entry->ndim > 0 &&
        entry->shape[2] == p->entry->shape[p->entry->ndim - 1])
        p->added = entry;
    return PUMIT_OK;
}

static void add_misshapen(import *m, const pumit__weights_entry *entry, int32_t ndim,
                          const int64_t *shape)
{
    char text[400];
    if (entry->dtype == 0)
        snprintf(text, sizeof text, "%.100s is of a type that is not read", entry->name);
    else
        snprintf(text, sizeof text, "%.100s %.140s for %.140s", entry->name,
                 pumit__shape_string(entry->ndim, entry->shape).text,
                 pumit__shape_string(ndim, shape).text);
    add_name(&m->misshapen, text);
    tell(m, PUMIT_LOG_WARNING, text, "does not fit");
}

static pumit_status plan_parameter(import *m, int64_t i)
{
    const pumit__parameter *parameter = &m->module->parameters[i];
    const int32_t ndim = parameter->tensor->ndim;
    plan *const p = &m->plans[i];
    int64_t shape[PUMIT_MAX_DIMS], stride[PUMIT_MAX_DIMS];
    PUMIT__TRY(find_entry(&p->entry, m, parameter->name));
    if (!p->entry) {
        const bool allowed = may_miss(m, parameter->name);
        if (!allowed) add_name(&m->missing, parameter->name);
        tell(m, allowed ? PUMIT_LOG_INFO : PUMIT_LOG_WARNING, parameter->name,
             allowed ? "is not in the file, left as it is" : "is missing");
        return PUMIT_OK;
    }
    m->used[p->entry - pumit__weights_file_entry(m->file, 0)] = true;
    pumit__weights_layout(parameter->tensor, shape, stride);
    const bool same =
        p->entry->ndim == ndim && memcmp(p->entry->shape, shape, (size_t)ndim * sizeof *shape) == 0;
    p->adapted = !same;
    if (p->entry->dtype == 0 ||
        (!same && !pumit__adapt_plan(&p->adaptation, p->entry, parameter->name, ndim, shape,
                                     m->options.center)))
        add_misshapen(m, p->entry, ndim, shape);
    return plan_class_token(p, m, parameter);
}

/* What the file has and the model does not want. */
static void check_unused(import *m)
{
    int64_t outside = 0;
    const size_t skip = strlen(m->options.prefix);
    for (int64_t i = 0; i < pumit__weights_file_count(m->file); i++) {
        const char *name = pumit__weights_file_entry(m->file, i)->name;
        if (m->used[i]) continue;
        if (!starts_with(name, m->options.prefix)) {
            outside++;
        } else if (is_dropped(name + skip)) {
            tell(m, PUMIT_LOG_INFO, name, "dropped, rotary angles are computed");
        } else if (m->options.partial && !of_backbone(name + skip)) {
            tell(m, PUMIT_LOG_INFO, name, "not used");
        } else {
            add_name(&m->unexpected, name);
            tell(m, PUMIT_LOG_WARNING, name, "is not expected");
        }
    }
    if (outside)
        pumit__log(m->module->ctx, PUMIT_LOG_INFO,
                   "%s: %lld tensors outside the prefix '%s' left alone", m->path,
                   (long long)outside, m->options.prefix);
}

static pumit_status judge(const import *m)
{
    const struct {
        const char *word;
        const names *names;
    } kinds[] = {{"missing", &m->missing},
                 {"unexpected", &m->unexpected},
                 {"of another shape", &m->misshapen}};
    char text[900] = "", more[40];
    size_t used = 0;
    for (int64_t i = 0; i < PUMIT__COUNT(kinds) && used < sizeof text; i++) {
        const names *n = kinds[i].names;
        if (n->count == 0) continue;
        snprintf(more, sizeof more, ", %lld more", (long long)(n->count - n->told));
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%lld %s (%s%s)",
                                 used ? "; " : "", (long long)n->count, kinds[i].word, n->text,
                                 n->count > n->told ? more : "");
    }
    if (used == 0) return PUMIT_OK;
    return pumit__fail(m->misshapen.count ? PUMIT_ERROR_SHAPE : PUMIT_ERROR_NOT_FOUND,
                       "%s: does not fit a %s: %s", m->path, m->module->kind, text);
}

/* ------------------------------------------------------------------------------------------- taking */

/* The entry's values, packed; NULL with the error kept. */
static double *read_values(const import *m, const pumit__weights_entry *entry)
{
    int64_t count = 1, packed[PUMIT_MAX_DIMS];
    const void *data;
    for (int32_t i = 0; i < entry->ndim; i++) count *= entry->shape[i];
    if (pumit__weights_file_data(&data, m->file, entry) != PUMIT_OK) return NULL;
    double *values = pumit__calloc(count, (int64_t)sizeof *values);
    if (!values) pumit__fail_memory(count * (int64_t)sizeof *values, entry->name);
    pumit__packed_strides(packed, entry->ndim, entry->shape);
    if (values &&
        pumit__weights_copy(m->module->ctx, entry, data, values, PUMIT_F64, packed) != PUMIT_OK) {
        free(values);
        return NULL;
    }
    return values;
}

/* Row 0 of the position sequence onto the class token. */
static pumit_status add_class_position(double *token, const import *m,
                                       const pumit__weights_entry *sequence)
{
    pumit__weights_entry row = *sequence;
    row.shape[1] = 1;
    double *values = read_values(m, &row);
    if (!values) return pumit__last_status();
    for (int64_t c = 0; c < row.shape[2]; c++) token[c] += values[c];
    free(values);
    return PUMIT_OK;
}

static pumit_status take_changed(import *m, pumit_tensor *tensor, const plan *p)
{
    int64_t stride[PUMIT_MAX_DIMS];
    pumit__weights_entry entry = {.name = p->entry->name, .dtype = PUMIT_F64, .ndim = tensor->ndim};
    pumit_status status = PUMIT_OK;
    double *values = read_values(m, p->entry);
    if (!values) return pumit__last_status();
    if (p->adapted) values = pumit__adapt_apply(&p->adaptation, values);
    if (!values) return pumit__fail_memory(pumit_tensor_count(tensor) * 8, entry.name);
    if (p->added) status = add_class_position(values, m, p->added);
    pumit__weights_layout(tensor, entry.shape, stride);
    pumit__packed_strides(entry.stride, entry.ndim, entry.shape);
    entry.bytes = pumit_tensor_count(tensor) * (int64_t)sizeof *values;
    if (status == PUMIT_OK) status = pumit__weights_take(tensor, &entry, values, m->path);
    free(values);
    if (p->adapted) tell(m, PUMIT_LOG_INFO, entry.name, pumit__adapt_describe(&p->adaptation).text);
    if (p->added) tell(m, PUMIT_LOG_INFO, entry.name, "the class position was added");
    return status;
}

static pumit_status take_parameter(import *m, int64_t i)
{
    const plan *p = &m->plans[i];
    pumit_tensor *tensor = m->module->parameters[i].tensor;
    const void *data;
    if (!p->entry) return PUMIT_OK;
    m->taken++;
    if (p->adapted || p->added) {
        m->adapted++;
        return take_changed(m, tensor, p);
    }
    PUMIT__TRY(pumit__weights_file_data(&data, m->file, p->entry));
    const pumit_status status = pumit__weights_take(tensor, p->entry, data, m->path);
    pumit__weights_file_forget(m->file, p->entry);
    return status;
}

static pumit_status run(import *m)
{
    for (int64_t i = 0; i < m->module->count; i++) PUMIT__TRY(plan_parameter(m, i));
    check_unused(m);
    PUMIT__TRY(judge(m));
    for (int64_t i = 0; i < m->module->count; i++) PUMIT__TRY(take_parameter(m, i));
    pumit__log(m->module->ctx, PUMIT_LOG_INFO, "%s: %lld of %lld parameters taken, %lld adapted",
               m->path, (long long)m->taken, (long long)m->module->count, (long long)m->adapted);
    return PUMIT_OK;
}

static pumit_status read_options(import_options *out, const pumit_config *config)
{
    const char *inflation;
    PUMIT__TRY(pumit_config_get_string(&out->prefix, config, "prefix", ""));
    PUMIT__TRY(pumit_config_get_bool(&out->partial, config, "partial", 0));
    PUMIT__TRY(pumit_config_get_string(&inflation, config, "inflation", "average"));
    out->center = strcmp(inflation, "center") == 0;
    PUMIT__REQUIRE(out->center || strcmp(inflation, "average") == 0,
                   "inflation is '%s', not 'average' or 'center'", inflation);
    return PUMIT_OK;
}

pumit_status pumit_module_import(pumit_module *module, const char *path,
                                 const pumit_config *options)
{
    PUMIT__REQUIRE(module && path, "pumit_module_import: an argument is NULL");
import m = {.module = module, .path = path };
    PUMIT__TRY(read_options(&m.options, options));
    PUMIT__TRY(pumit__weights_file_open(&m.file, path));
    m.plans = pumit__calloc(module->count, (int64_t)sizeof *m.plans);
    m.used = pumit__calloc(pumit__weights_file_count(m.file), (int64_t)sizeof *m.used);
    const pumit_status status =
        m.plans && m.used ? run(&m)
                          : pumit__fail_memory(module->count * (int64_t)sizeof *m.plans, path);
    free(m.plans);
    free(m.used);
    pumit__weights_file_close(m.file);
    return status;
}
