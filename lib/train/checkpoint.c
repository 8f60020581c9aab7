/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/train/checkpoint.h"
#include "lib/data/dataset.h"
#include "lib/nn/optimizer.h"
#include "lib/tensor/context.h"
#include "lib/train/copies.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

/* ----------------------------------------------------------------------------------------- the list */

#define CHECKSUM "pumit.checksum" /* key of the metadata: of all values in the file's order */

/* What a file holds: the entries, their names, and copies of what does not lie packed in host memory. */
typedef struct {
    pumit__safetensors_entry *entries;
    void **names, **copies;
    int64_t count, capacity;
} list;

static pumit_status list_create(list *l, int64_t capacity)
{
    *l = (list){.capacity = capacity};
    l->entries = pumit__calloc(capacity, (int64_t)sizeof *l->entries);
    l->names = pumit__calloc(capacity, (int64_t)sizeof *l->names);
    l->copies = pumit__calloc(capacity, (int64_t)sizeof *l->copies);
    if (l->entries && l->names && l->copies) return PUMIT_OK;
    return pumit__fail_memory(capacity * (int64_t)sizeof *l->entries, "a checkpoint");
}

static void list_free(list *l)
{
    for (int64_t i = 0; i < l->count; i++) {
        free(l->names[i]);
        free(l->copies[i]);
    }
    free(l->entries);
    free(l->names);
    free(l->copies);
}

static pumit_status list_tensor(list *l, const char *prefix, const char *name, pumit_tensor *tensor)
{
    const int64_t i = l->count++;
    pumit__safetensors_entry *const entry = &l->entries[i];
    entry->name = l->names[i] = pumit__format("%s.%s", prefix, name);
    if (!entry->name) return pumit__fail_memory((int64_t)strlen(name), "a name");
    entry->dtype = pumit_tensor_dtype(tensor);
    entry->ndim = pumit_tensor_ndim(tensor);
    memcpy(entry->shape, pumit_tensor_shape(tensor), (size_t)entry->ndim * sizeof *entry->shape);
    entry->bytes = pumit_tensor_count(tensor) * pumit_dtype_size(entry->dtype);
    void *data;
    const pumit_status status = pumit_tensor_data(&data, tensor);
    entry->data = data;
    if (status != PUMIT_ERROR_UNSUPPORTED) return status;
    entry->data = l->copies[i] = pumit__calloc(entry->bytes, 1);
    if (!entry->data) return pumit__fail_memory(entry->bytes, name);
    return pumit_tensor_read(tensor, entry->dtype, l->copies[i], entry->bytes);
}

static void list_numbers(list *l, const char *name, const double *numbers, int64_t count)
{
    pumit__safetensors_entry *const entry = &l->entries[l->count++];
    *entry = (pumit__safetensors_entry){.name = name, .dtype = PUMIT_F64, .ndim = 1};
    entry->shape[0] = count;
    entry->data = numbers;
    entry->bytes = count * (int64_t)sizeof *numbers;
}

static pumit_status list_part(list *l, const pumit__part *part)
{
    for (int64_t i = 0; i < pumit_module_parameter_count(part->module); i++)
        PUMIT__TRY(list_tensor(l, part->name, pumit_module_parameter_name(part->module, i),
                               pumit_module_parameter(part->module, i)));
    for (int64_t i = 0; i < pumit__optimizer_state_count(part->optimizer); i++) {
        const char *name;
        pumit_tensor *tensor;
        pumit__optimizer_state(part->optimizer, i, &name, &tensor);
        PUMIT__TRY(list_tensor(l, part->name, name, tensor));
    }
    return PUMIT_OK;
}

static pumit_status list_copies(list *l, const char *prefix, pumit_tensor **copies,
                                const pumit_trainer *t)
{
    for (int64_t i = 0; copies && i < pumit_module_parameter_count(t->model); i++)
        PUMIT__TRY(list_tensor(l, prefix, pumit_module_parameter_name(t->model, i), copies[i]));
    return PUMIT_OK;
}

static pumit_status list_all(list *l, const pumit_trainer *t)
{
    int64_t entries = 2 * pumit_module_parameter_count(t->model) + 2;
    for (int32_t i = 0; i < t->part_count; i++)
        entries += pumit_module_parameter_count(t->parts[i].module) +
                   pumit__optimizer_state_count(t->parts[i].optimizer);
    PUMIT__TRY(list_create(l, entries));
    for (int32_t i = 0; i < t->part_count; i++) PUMIT__TRY(list_part(l, &t->parts[i]));
    PUMIT__TRY(list_copies(l, "best", t->best, t));
    PUMIT__TRY(list_copies(l, "ema", t->average, t));
    list_numbers(l, "losses", t->losses, t->step);
    list_numbers(l, "recipe", t->numbers, PUMIT__RECIPE_NUMBERS);
    return PUMIT_OK;
}

/* ----------------------------------------------------------------------------------------- counters */

/* "PART.steps": those of its optimiser. */
static pumit_status set_steps(cJSON *state, const pumit__part *part)
{
    char key[64];
    snprintf(key, sizeof key, "%s.steps", part->name);
    return pumit__json_set(state, key,
                           cJSON_CreateNumber((double)pumit_optimizer_steps(part->optimizer)));
}

/* Of the images that the run learns from; 64 bits are more than a JSON number holds. */
typedef struct {
    char text[24];
} digest;

static digest images_of(const pumit_trainer *t)
{
    digest made;
    snprintf(made.text, sizeof made.text, "%016llx",
             (unsigned long long)pumit__dataset_digest(t->train));
    return made;
}

static pumit_status state_json(cJSON **out, const pumit_trainer *t)
{
    const struct {
        const char *name;
        double value;
    } numbers[] = {{"step", (double)t->step},
                   {"skipped", (double)t->skipped},
                   {"skipped_in_row", (double)t->skipped_in_row},
                   {"seconds", t->seconds},
                   {"averaged", (double)t->averaged},
                   {"best_step", (double)t->best_step},
                   {"improved_step", (double)t->improved_step},
                   {"best_value", t->best_value}};
    *out = cJSON_CreateObject();
    if (!*out) return pumit__fail_memory((int64_t)sizeof **out, "a checkpoint");
    for (int64_t i = 0; i < PUMIT__COUNT(numbers); i++)
        PUMIT__TRY(pumit__json_set(*out, numbers[i].name, cJSON_CreateNumber(numbers[i].value)));
    for (int32_t i = 0; i < t->part_count; i++) PUMIT__TRY(set_steps(*out, &t->parts[i]));
    PUMIT__TRY(pumit__json_set(*out, "images", cJSON_CreateString(images_of(t).text)));
    if (!t->validation) return PUMIT_OK;
    cJSON *copy;
    PUMIT__TRY(pumit__json_copy(&copy, t->validation));
    return pumit__json_set(*out, "validation", copy);
}

static pumit_status set_text(cJSON *metadata, const char *key, const cJSON *value)
{
    char *text;
    PUMIT__TRY(pumit__json_print(&text, value, false));
    const pumit_status status = pumit__json_set(metadata, key, cJSON_CreateString(text));
    free(text);
    return status;
}

/* ----------------------------------------------------------------------------------------- checksum */

#define PIECE (INT64_C(1) << 30) /* zlib counts bytes in 32 bits */

static uint32_t add_entry(uint32_t crc, const pumit__safetensors_entry *entry)
{
    const unsigned char *const data = entry->data;
    uLong sum = crc;
    for (int64_t i = 0; i < entry->bytes; i += PIECE)
        sum = crc32(sum, data + i, (uInt)(entry->bytes - i < PIECE ? entry->bytes - i : PIECE));
    return (uint32_t)sum;
}

static pumit_status set_checksum(cJSON *metadata, const list *l)
{
    char text[32];
    uint32_t crc = 0;
    for (int64_t i = 0; i < l->count; i++) crc = add_entry(crc, &l->entries[i]);
    snprintf(text, sizeof text, "crc32:%08x", (unsigned)crc);
    return pumit__json_set(metadata, CHECKSUM, cJSON_CreateString(text));
}

/* A disk may keep a file's length and lose what is in it. */
static pumit_status verify(const pumit__safetensors *file, const char *path)
{
    char text[32];
    uint32_t crc = 0;
    const char *const said = pumit__safetensors_metadata(file, CHECKSUM);
    for (int64_t i = 0; i < pumit__safetensors_count(file); i++)
        crc = add_entry(crc, pumit__safetensors_entry_at(file, i));
    snprintf(text, sizeof text, "crc32:%08x", (unsigned)crc);
    if (said && strcmp(said, text) == 0) return PUMIT_OK;
    return pumit__fail(PUMIT_ERROR_FORMAT,
                       "%s: its values are not those that were written: %s, not %s", path, text,
                       said ? said : "a checkpoint's");
}

/* ------------------------------------------------------------------------------------------ writing */

static pumit_status metadata_json(cJSON *metadata, const pumit_trainer *t)
{
    cJSON *state = NULL;
    pumit_status status = state_json(&state, t);
    if (status == PUMIT_OK) status = set_text(metadata, "pumit.state", state);
    if (status == PUMIT_OK) status = set_text(metadata, "pumit.config", t->config->root);
    if (status == PUMIT_OK)
        status = pumit__json_set(metadata, "pumit.model", cJSON_CreateString("checkpoint"));
    cJSON_Delete(state);
    return status;
}

pumit_status pumit__checkpoint_write(const pumit_trainer *t, const char *path)
{
    list l = {0};
    cJSON *metadata = cJSON_CreateObject();
    pumit_status status = metadata ? metadata_json(metadata, t)
                                   : pumit__fail_memory((int64_t)sizeof *metadata, "a checkpoint");
    if (status == PUMIT_OK) status = list_all(&l, t);
    if (status == PUMIT_OK) status = set_checksum(metadata, &l);
    if (status == PUMIT_OK) status = pumit__safetensors_write(path, l.entries, l.count, metadata);
    list_free(&l);
    cJSON_Delete(metadata);
    return status;
}

/* ------------------------------------------------------------------------------------------ loading */

static pumit_status parse_text(cJSON **out, const pumit__safetensors *file, const char *key,
                               const char *path)
{
    const char *const text = pumit__safetensors_metadata(file, key);
    *out = NULL;
    if (text) PUMIT__TRY(pumit__json_parse(out, text, (int64_t)strlen(text), path));
    if (cJSON_IsObject(*out)) return PUMIT_OK;
    cJSON_Delete(*out);
    *out = NULL;
    return pumit__fail(PUMIT_ERROR_FORMAT, "%s: is not a checkpoint: it lacks '%s'", path, key);
}

pumit_status pumit__checkpoint_open(pumit__safetensors **out, const char *path)
{
    PUMIT__TRY(pumit__safetensors_open(out, path));
    cJSON *state;
    pumit_status status = parse_text(&state, *out, "pumit.state", path);
    cJSON_Delete(state);
    if (status == PUMIT_OK) status = verify(*out, path);
    if (status == PUMIT_OK) return PUMIT_OK;
    pumit__safetensors_close(*out);
    *out = NULL;
    return status;
}

pumit_status pumit__checkpoint_config(pumit_config **out, const pumit__safetensors *file,
                                      const char *path)
{
    cJSON *tree;
    PUMIT__TRY(parse_text(&tree, file, "pumit.config", path));
    const pumit_status status = pumit__config_from_json(out, tree);
    cJSON_Delete(tree);
    return status;
}

static pumit_status load_tensor(pumit_tensor *tensor, const pumit__safetensors *file,
                                const char *prefix, const char *name, const char *path)
{
    char *full = pumit__format("%s.%s", prefix, name);
    if (!full) return pumit__fail_memory((int64_t)strlen(name), "a name");
    const pumit__safetensors_entry *const entry = pumit__safetensors_find(file, full);
    free(full);
    if (!entry)
        return pumit__fail(PUMIT_ERROR_NOT_FOUND, "%s: holds no '%s.%s'", path, prefix, name);
    const int32_t ndim = pumit_tensor_ndim(tensor);
    if (entry->ndim != ndim || entry->dtype != pumit_tensor_dtype(tensor) ||
        memcmp(entry->shape, pumit_tensor_shape(tensor), (size_t)ndim * sizeof *entry->shape) != 0)
        return pumit__fail(PUMIT_ERROR_SHAPE,
                           "%s: '%s.%s' has another shape or type than the model: a run goes on "
                           "with the configuration that its model was made of",
                           path, prefix, name);
    PUMIT__TRY(pumit_tensor_write(tensor, entry->dtype, entry->data, entry->bytes));
    pumit_tensor_touch(tensor);
    return PUMIT_OK;
}

pumit_status pumit__checkpoint_weights(pumit_module *module, const char *part,
                                       const pumit__safetensors *file, const char *path)
{
    for (int64_t i = 0; i < pumit_module_parameter_count(module); i++)
        PUMIT__TRY(load_tensor(pumit_module_parameter(module, i), file, part,
                               pumit_module_parameter_name(module, i), path));
    return PUMIT_OK;
}

static pumit_status load_part(const pumit__part *part, const pumit__safetensors *file,
                              const char *path)
{
    PUMIT__TRY(pumit__checkpoint_weights(part->module, part->name, file, path));
    for (int64_t i = 0; i < pumit__optimizer_state_count(part->optimizer); i++) {
        const char *name;
        pumit_tensor *tensor;
        pumit__optimizer_state(part->optimizer, i, &name, &tensor);
        PUMIT__TRY(load_tensor(tensor, file, part->name, name, path));
    }
    return PUMIT_OK;
}

static pumit_status load_copies(pumit_tensor ***copies, const pumit_trainer *t,
                                const pumit__safetensors *file, const char *prefix,
                                const char *path)
{
    PUMIT__TRY(pumit__copies_keep(copies, t));
    for (int64_t i = 0; i < pumit_module_parameter_count(t->model); i++)
        PUMIT__TRY(load_tensor((*copies)[i], file, prefix, pumit_module_parameter_name(t->model, i),
                               path));
    return PUMIT_OK;
}

/* A run whose average was not kept so far begins one at the weights that it has now. */
static pumit_status load_tensors(pumit_trainer *t, const pumit__safetensors *file, const char *path)
{
    for (int32_t i = 0; i < t->part_count; i++) PUMIT__TRY(load_part(&t->parts[i], file, path));
    if (t->best_step > 0) PUMIT__TRY(load_copies(&t->best, t, file, "best", path));
    if (t->options.ema <= 0) t->averaged = 0;
    return t->averaged > 0 ? load_copies(&t->average, t, file, "ema", path) : PUMIT_OK;
}

static pumit_status find_numbers(const pumit__safetensors_entry **out, int64_t count,
                                 const pumit__safetensors *file, const char *name, const char *path)
{
    const pumit__safetensors_entry *const entry = pumit__safetensors_find(file, name);
    if (!entry || entry->dtype != PUMIT_F64 || entry->ndim != 1 || entry->shape[0] != count)
        return pumit__fail(PUMIT_ERROR_FORMAT, "%s: '%s' does not match the run's step", path,
                           name);
    *out = entry;
    return PUMIT_OK;
}

static pumit_status load_losses(pumit_trainer *t, const pumit__safetensors *file, const char *path)
{
    const pumit__safetensors_entry *losses = NULL, *numbers = NULL;
    PUMIT__TRY(find_numbers(&losses, t->step, file, "losses", path));
    PUMIT__TRY(find_numbers(&numbers, PUMIT__RECIPE_NUMBERS, file, "recipe", path));
    if (!pumit__grow(&t->losses, &t->loss_capacity, t->step, (int64_t)sizeof *t->losses))
        return pumit__fail_memory(losses->bytes, "losses");
    memcpy(t->losses, losses->data, (size_t)losses->bytes);
    memcpy(t->numbers, numbers->data, (size_t)numbers->bytes);
    return PUMIT_OK;
}

static pumit_status whole_number(int64_t *out, const cJSON *state, const char *key,
                                 const char *path)
{
    if (pumit__json_int(out, cJSON_GetObjectItemCaseSensitive(state, key)) && *out >= 0)
        return PUMIT_OK;
    return pumit__fail(PUMIT_ERROR_FORMAT, "%s: lacks the counter '%s'", path, key);
}

/* A run may go on with more images, but then not to the losses that it would have had. */
static void compare_images(const pumit_trainer *t, const cJSON *state)
{
    const char *before = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(state, "images"));
    if (!before || strcmp(before, images_of(t).text) == 0) return;
    pumit__log(t->ctx, PUMIT_LOG_WARNING,
               "%s: the images are not those that the run had so far (other files, names or "
               "weights): it goes on with other batches than it would have had",
               t->output);
}

static pumit_status load_state(pumit_trainer *t, const cJSON *state, const char *path)
{
    compare_images(t, state);
    PUMIT__TRY(whole_number(&t->step, state, "step", path));
    t->saved_step = t->step;
    PUMIT__TRY(whole_number(&t->skipped, state, "skipped", path));
    PUMIT__TRY(whole_number(&t->skipped_in_row, state, "skipped_in_row", path));
    PUMIT__TRY(whole_number(&t->best_step, state, "best_step", path));
    PUMIT__TRY(whole_number(&t->improved_step, state, "improved_step", path));
    PUMIT__TRY(whole_number(&t->averaged, state, "averaged", path));
    for (int32_t i = 0; i < t->part_count; i++) {
        char key[64];
        int64_t steps;
        snprintf(key, sizeof key, "%s.steps", t->parts[i].name);
        if (!cJSON_GetObjectItemCaseSensitive(state, key))
            return pumit__fail(PUMIT_ERROR_STATE,
                               "%s: the run has no %s, and none can join it: resume without its "
                               "options, or begin a new run with this one as 'init'",
                               path, t->parts[i].name);
        PUMIT__TRY(whole_number(&steps, state, key, path));
        pumit__optimizer_set_steps(t->parts[i].optimizer, steps);
    }
    const double best = cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(state, "best_value"));
    const double seconds = cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(state, "seconds"));
    t->best_value = isfinite(best) ? best : 0;
    t->seconds = isfinite(seconds) ? seconds : 0;
    const cJSON *validation = cJSON_GetObjectItemCaseSensitive(state, "validation");
    return validation ? pumit__json_copy(&t->validation, validation) : PUMIT_OK;
}

pumit_status pumit__checkpoint_load(pumit_trainer *t, const pumit__safetensors *file,
                                    const char *path)
{
    cJSON *state;
    PUMIT__TRY(parse_text(&state, file, "pumit.state", path));
    pumit_status status = load_state(t, state, path);
    cJSON_Delete(state);
    if (status == PUMIT_OK) status = load_losses(t, file, path);
    return status == PUMIT_OK ? load_tensors(t, file, path) : status;
}
