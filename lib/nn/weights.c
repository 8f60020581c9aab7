/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Weights out of files, and into safetensors files. Names are the published ones. Parameters of five and four
 * dimensions (convolutions in 3D and 2D, transposed ones, the position grid) have their second axis last in memory:
 * O I D H W in the file, O D H W I here.
 */
#include "lib/nn/weights.h"

#include "lib/base/config.h"
#include "lib/tensor/safetensors.h"
#include "lib/tensor/shared.h"

#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void pumit__weights_layout(const pumit_tensor *tensor, int64_t shape[PUMIT_MAX_DIMS],
                           int64_t stride[PUMIT_MAX_DIMS])
{
    memcpy(shape, tensor->shape, sizeof tensor->shape);
    pumit__packed_strides(stride, tensor->ndim, tensor->shape);
    if (tensor->ndim != 4 && tensor->ndim != 5) return;
    int64_t packed[PUMIT_MAX_DIMS];
    memcpy(packed, stride, sizeof packed);
    for (int32_t i = 1; i < tensor->ndim; i++) {
        const int32_t memory_axis = i == 1 ? tensor->ndim - 1 : i - 1;
        shape[i] = tensor->shape[memory_axis];
        stride[i] = packed[memory_axis];
    }
}

/* ------------------------------------------------------------------------------------------- saving */

static pumit_status describe(cJSON **out, const pumit_module *module,
                             const pumit_config *provenance)
{
    char *config = NULL;
    cJSON *metadata = NULL;
    PUMIT__TRY(pumit_config_to_json(&config, module->config));
    metadata = cJSON_CreateObject();
    bool done = metadata && cJSON_AddStringToObject(metadata, "format", "pt") &&
                cJSON_AddStringToObject(metadata, "pumit.model", module->kind) &&
                cJSON_AddStringToObject(metadata, "pumit.config", config) &&
                cJSON_AddStringToObject(metadata, "pumit.version", pumit_version());
    pumit_free(config);
    const cJSON *item, *given = provenance ? pumit__config_json(provenance) : NULL;
    cJSON_ArrayForEach(item, given)
    {
        char *text =
            cJSON_IsString(item) ? pumit__strdup(item->valuestring) : cJSON_PrintUnformatted(item);
        cJSON_DeleteItemFromObjectCaseSensitive(metadata, item->string);
        done = done && text && cJSON_AddStringToObject(metadata, item->string, text);
        free(text);
    }
    *out = metadata;
    if (done) return PUMIT_OK;
    cJSON_Delete(metadata);
    *out = NULL;
    return pumit__fail_memory(1024, "a model's metadata");
}

/* The parameter's values as the file has them, in a block of its own. */
static pumit_status export_values(pumit__safetensors_entry *entry,
                                  const pumit__parameter *parameter)
{
    const pumit_tensor *tensor = parameter->tensor;
    int64_t stride[PUMIT_MAX_DIMS], packed[PUMIT_MAX_DIMS];
    *entry = (pumit__safetensors_entry){.name = parameter->name,
                                        .dtype = tensor->dtype == tensor->ctx->real ? PUMIT_F32
                                                                                    : tensor->dtype,
                                        .ndim = tensor->ndim};
    pumit__weights_layout(tensor, entry->shape, stride);
    entry->bytes = pumit_tensor_count(tensor) * pumit_dtype_size(entry->dtype);
    void *block = pumit__calloc(entry->bytes, 1);
    if (!block) return pumit__fail_memory(entry->bytes, parameter->name);
    entry->data = block;
    pumit__packed_strides(packed, tensor->ndim, entry->shape);
    pumit_copy_args args = {.src = pumit__data(tensor),
                            .dst = block,
                            .src_dtype = tensor->dtype,
                            .dst_dtype = entry->dtype,
                            .ndim = tensor->ndim};
    memcpy(args.shape, entry->shape, sizeof args.shape);
    memcpy(args.src_stride, stride, sizeof args.src_stride);
    memcpy(args.dst_stride, packed, sizeof args.dst_stride);
    return pumit__kernel_copy(tensor->ctx, &args);
}

pumit_status pumit_module_save(const pumit_module *module, const char *path,
                               const pumit_config *provenance)
{
    PUMIT__REQUIRE(module && path, "pumit_module_save: an argument is NULL");
    cJSON *metadata = NULL;
    pumit__safetensors_entry *entries = pumit__calloc(module->count, sizeof *entries);
    pumit_status status =
        entries ? PUMIT_OK : pumit__fail_memory(module->count * (int64_t)sizeof *entries, path);
    for (int64_t i = 0; i < module->count && status == PUMIT_OK; i++)
        status = export_values(&entries[i], &module->parameters[i]);
    if (status == PUMIT_OK) status = describe(&metadata, module, provenance);
    if (status == PUMIT_OK)
        status = pumit__safetensors_write(path, entries, module->count, metadata);
    for (int64_t i = 0; entries && i < module->count; i++) {
        void *block;
        memcpy(&block, &entries[i].data, sizeof block); /* ours: see export_values */
        free(block);
    }
    free(entries);
    cJSON_Delete(metadata);
    return status;
}

/* ------------------------------------------------------------------------------------------ loading */

pumit_status pumit__weights_copy(pumit_context *ctx, const pumit__weights_entry *src,
                                 const void *data, void *dst, pumit_dtype dst_dtype,
                                 const int64_t dst_stride[PUMIT_MAX_DIMS])
{
    void *aligned = NULL;
    if ((uintptr_t)data % (uintptr_t)pumit_dtype_size(src->dtype) != 0) {
        aligned = pumit__calloc(src->bytes, 1);
        if (!aligned) return pumit__fail_memory(src->bytes, src->name);
        memcpy(aligned, data, (size_t)src->bytes);
    }
    pumit_copy_args args = {.src = aligned ? aligned : data,
                            .dst = dst,
                            .src_dtype = src->dtype,
                            .dst_dtype = dst_dtype,
                            .ndim = src->ndim};
    memcpy(args.shape, src->shape, sizeof args.shape);
    memcpy(args.src_stride, src->stride, sizeof args.src_stride);
    memcpy(args.dst_stride, dst_stride, sizeof args.dst_stride);
    const pumit_status status = pumit__kernel_copy(ctx, &args);
    free(aligned);
    return status;
}

pumit_status pumit__weights_take(pumit_tensor *tensor, const pumit__weights_entry *entry,
                                 const void *data, const char *path)
{
    int64_t shape[PUMIT_MAX_DIMS], stride[PUMIT_MAX_DIMS];
    pumit__weights_layout(tensor, shape, stride);
    if (entry->dtype == 0)
        return pumit__fail(PUMIT_ERROR_UNSUPPORTED, "%s: '%s' is of a type that is not read", path,
                           entry->name);
    if (entry->ndim != tensor->ndim ||
        memcmp(shape, entry->shape, (size_t)tensor->ndim * sizeof *shape) != 0)
        return pumit__fail(PUMIT_ERROR_SHAPE, "%s: '%s' has shape %s, the model needs %s", path,
                           entry->name, pumit__shape_string(entry->ndim, entry->shape).text,
                           pumit__shape_string(tensor->ndim, shape).text);
    PUMIT__TRY(pumit__shared_check_alone(tensor, entry->name));
    const pumit_status status =
        pumit__weights_copy(tensor->ctx, entry, data, pumit__data(tensor), tensor->dtype, stride);
    pumit_tensor_touch(tensor);
    return status;
}

static pumit_status take_entry(pumit_tensor *tensor, pumit__weights_file *file,
                               const pumit__weights_entry *entry, const char *path)
{
    const void *data = NULL;
    if (entry->dtype) PUMIT__TRY(pumit__weights_file_data(&data, file, entry));
    const pumit_status status = pumit__weights_take(tensor, entry, data, path);
    pumit__weights_file_forget(file, entry);
    return status;
}

pumit_status pumit_module_load_weights(pumit_module *module, const char *path, const char *prefix,
                                       int32_t strict, int64_t *loaded)
{
    PUMIT__REQUIRE(module && path, "pumit_module_load_weights: an argument is NULL");
    pumit__weights_file *file;
    int64_t taken = 0;
    PUMIT__TRY(pumit__weights_file_open(&file, path));
    pumit_status status = PUMIT_OK;
    for (int64_t i = 0; i < module->count && status == PUMIT_OK; i++) {
        const pumit__parameter *parameter = &module->parameters[i];
        char *name = pumit__format("%s%s", prefix ? prefix : "", parameter->name);
        const pumit__weights_entry *entry = name ? pumit__weights_file_find(file, name) : NULL;
        if (!name)
            status = pumit__fail_memory(64, "a name");
        else if (entry) {
            status = take_entry(parameter->tensor, file, entry, path);
            taken++;
        } else if (strict)
            status = pumit__fail(PUMIT_ERROR_NOT_FOUND, "%s: has no '%s', which a %s needs", path,
                                 name, module->kind);
        free(name);
    }
    pumit__weights_file_close(file);
    if (loaded) *loaded = taken;
    return status;
}

/* Metadata "pumit.config" as a config. */
static pumit_status file_config(pumit_config **out, const pumit__weights_file *file,
                                const char *path)
{
    const char *text = pumit__weights_file_metadata(file, "pumit.config");
    if (!text)
        return pumit__fail(PUMIT_ERROR_FORMAT,
                           "%s: has no 'pumit.config' in its metadata: not a model of this library",
                           path);
    return pumit__fail_in(pumit_config_parse(out, text), "%s", path);
}

pumit_status pumit__module_load(pumit_module **out, pumit_context *ctx, const char *path,
                                const char *kind, pumit__build_fn build)
{
    *out = NULL;
    pumit__weights_file *file;
    pumit_config *config = NULL;
    PUMIT__TRY(pumit__weights_file_open(&file, path));
    const char *found = pumit__weights_file_metadata(file, "pumit.model");
    pumit_status status;
    if (!found)
        status = pumit__fail(PUMIT_ERROR_FORMAT,
                             "%s: does not say what it is, a '%s' is wanted; pumit-info --convert "
                             "makes a model of a checkpoint",
                             path, kind);
    else if (strcmp(found, kind) != 0)
        status = pumit__fail(PUMIT_ERROR_FORMAT, "%s: is a '%s', not a '%s'", path, found, kind);
    else
        status = file_config(&config, file, path);
    pumit__weights_file_close(file);
    if (status == PUMIT_OK)
        status = pumit__fail_in(build(out, ctx, config, PUMIT__FROM_FILE), "%s", path);
    if (status == PUMIT_OK) status = pumit_module_load_weights(*out, path, NULL, 1, NULL);
    pumit_config_release(config);
    if (status != PUMIT_OK) {
        pumit__module_release(*out);
        *out = NULL;
    }
    return status;
}

/* One entry of the metadata: a dotted name is a path, as everywhere in a config. */
static pumit_status add_metadata(pumit_config *info, const char *key, const char *value)
{
    if (strcmp(key, "pumit.config") == 0) return pumit_config_set_json(info, key, value);
    const pumit_status status = pumit_config_set_string(info, key, value);
    return status == PUMIT_ERROR_OUT_OF_MEMORY
               ? status
               : PUMIT_OK; /* names of other writers need not be paths */
}

static pumit_status describe_file(pumit_config *info, const pumit__weights_file *file)
{
    int64_t elements = 0;
    const cJSON *item, *metadata = pumit__weights_file_all_metadata(file);
    for (int64_t i = 0; i < pumit__weights_file_count(file); i++) {
        const pumit__weights_entry *entry = pumit__weights_file_entry(file, i);
        int64_t count = 1; /* that it fits was checked when the file was opened */
        for (int32_t d = 0; d < entry->ndim; d++) count *= entry->shape[d];
        if (!pumit__add_sizes(&elements, elements, count))
            return pumit__fail(PUMIT_ERROR_FORMAT, "its number of elements overflows");
    }
    PUMIT__TRY(pumit_config_set_int(info, "tensors", pumit__weights_file_count(file)));
    PUMIT__TRY(pumit_config_set_int(info, "elements", elements));
    cJSON_ArrayForEach(item, metadata)
        PUMIT__TRY(add_metadata(info, item->string, item->valuestring));
    return PUMIT_OK;
}

pumit_status pumit_model_file_info(pumit_config **out, const char *path)
{
    PUMIT__REQUIRE(out && path, "pumit_model_file_info: an argument is NULL");
    *out = NULL;
    pumit__weights_file *file;
    PUMIT__TRY(pumit__weights_file_open(&file, path));
    pumit_status status = pumit_config_create(out);
    if (status == PUMIT_OK) status = pumit__fail_in(describe_file(*out, file), "%s", path);
    pumit__weights_file_close(file);
    if (status != PUMIT_OK) {
        pumit_config_release(*out);
        *out = NULL;
    }
    return status;
}
