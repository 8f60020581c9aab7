/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Weights in and out of safetensors files. Names are the published ones. Five-dimensional parameters (convolutions, transposed
 * ones, the position grid) have their second axis last in memory: O I D H W in the file, O D H W I here.
 */
#include "lib/base/config.h"
#include "lib/nn/module.h"
#include "lib/tensor/safetensors.h"

#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Shape in the file, and where a step along each of the file's axes leads in the packed memory layout. */
static void file_layout(const pumit_tensor *tensor, int64_t shape[PUMIT_MAX_DIMS],
                        int64_t stride[PUMIT_MAX_DIMS])
{
    memcpy(shape, tensor->shape, sizeof tensor->shape);
    pumit__packed_strides(stride, tensor->ndim, tensor->shape);
    if (tensor->ndim != 5) return;
    static const int32_t memory_axis[5] = {0, 4, 1, 2, 3};
    int64_t packed[PUMIT_MAX_DIMS];
    memcpy(packed, stride, sizeof packed);
    for (int32_t i = 0; i < 5; i++) {
        shape[i] = tensor->shape[memory_axis[i]];
        stride[i] = packed[memory_axis[i]];
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
    *entry = (pumit__safetensors_entry){
        .name = parameter->name, .dtype = PUMIT_F32, .ndim = tensor->ndim};
    file_layout(tensor, entry->shape, stride);
    entry->bytes = pumit_tensor_count(tensor) * pumit_dtype_size(PUMIT_F32);
    void *block = pumit__calloc(entry->bytes, 1);
    if (!block) return pumit__fail_memory(entry->bytes, parameter->name);
    entry->data = block;
    pumit__packed_strides(packed, tensor->ndim, entry->shape);
    pumit_copy_args args = {.src = pumit__data(tensor),
                            .dst = block,
                            .src_dtype = tensor->dtype,
                            .dst_dtype = PUMIT_F32,
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

static pumit_status import_values(pumit_tensor *tensor, const pumit__safetensors_entry *entry,
                                  const char *path)
{
    int64_t shape[PUMIT_MAX_DIMS], stride[PUMIT_MAX_DIMS];
    file_layout(tensor, shape, stride);
    if (entry->ndim != tensor->ndim ||
        memcmp(shape, entry->shape, (size_t)tensor->ndim * sizeof *shape) != 0)
        return pumit__fail(PUMIT_ERROR_SHAPE, "%s: '%s' has shape %s, the model needs %s", path,
                           entry->name, pumit__shape_string(entry->ndim, entry->shape).text,
                           pumit__shape_string(tensor->ndim, shape).text);
    void *aligned =
        pumit__calloc(entry->bytes, 1); /* entries of a mapped file may lie at any address */
    if (!aligned) return pumit__fail_memory(entry->bytes, entry->name);
    memcpy(aligned, entry->data, (size_t)entry->bytes);
    pumit_copy_args args = {.src = aligned,
                            .dst = pumit__data(tensor),
                            .src_dtype = entry->dtype,
                            .dst_dtype = tensor->dtype,
                            .ndim = tensor->ndim};
    memcpy(args.shape, shape, sizeof args.shape);
    memcpy(args.dst_stride, stride, sizeof args.dst_stride);
    pumit__packed_strides(args.src_stride, tensor->ndim, shape);
    const pumit_status status = pumit__kernel_copy(tensor->ctx, &args);
    free(aligned);
    pumit_tensor_touch(tensor);
    return status;
}

pumit_status pumit_module_load_weights(pumit_module *module, const char *path, const char *prefix,
                                       int32_t strict, int64_t *loaded)
{
    PUMIT__REQUIRE(module && path, "pumit_module_load_weights: an argument is NULL");
    pumit__safetensors *file;
    int64_t taken = 0;
    PUMIT__TRY(pumit__safetensors_open(&file, path));
    pumit_status status = PUMIT_OK;
    for (int64_t i = 0; i < module->count && status == PUMIT_OK; i++) {
        const pumit__parameter *parameter = &module->parameters[i];
        char *name = pumit__format("%s%s", prefix ? prefix : "", parameter->name);
        const pumit__safetensors_entry *entry = name ? pumit__safetensors_find(file, name) : NULL;
        if (!name)
            status = pumit__fail_memory(64, "a name");
        else if (entry) {
            status = import_values(parameter->tensor, entry, path);
            taken++;
        } else if (strict)
            status = pumit__fail(PUMIT_ERROR_NOT_FOUND, "%s: has no '%s', which a %s needs", path,
                                 name, module->kind);
        free(name);
    }
    pumit__safetensors_close(file);
    if (loaded) *loaded = taken;
    return status;
}

/* Metadata "pumit.config" as a config. */
static pumit_status file_config(pumit_config **out, const pumit__safetensors *file,
                                const char *path)
{
    const char *text = pumit__safetensors_metadata(file, "pumit.config");
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
    pumit__safetensors *file;
    pumit_config *config = NULL;
    PUMIT__TRY(pumit__safetensors_open(&file, path));
    const char *found = pumit__safetensors_metadata(file, "pumit.model");
    pumit_status status;
    if (!found || strcmp(found, kind) != 0)
        status = pumit__fail(PUMIT_ERROR_FORMAT, "%s: is a '%s', not a '%s'", path,
                             found ? found : "file of unknown kind", kind);
    else
        status = file_config(&config, file, path);
    pumit__safetensors_close(file);
    if (status == PUMIT_OK) status = pumit__fail_in(build(out, ctx, config, false), "%s", path);
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

static pumit_status describe_file(pumit_config *info, const pumit__safetensors *file)
{
    int64_t elements = 0;
    const cJSON *item, *metadata = pumit__safetensors_all_metadata(file);
    for (int64_t i = 0; i < pumit__safetensors_count(file); i++) {
        const pumit__safetensors_entry *entry = pumit__safetensors_entry_at(file, i);
        elements += entry->bytes / pumit_dtype_size(entry->dtype);
    }
    PUMIT__TRY(pumit_config_set_int(info, "tensors", pumit__safetensors_count(file)));
    PUMIT__TRY(pumit_config_set_int(info, "elements", elements));
    cJSON_ArrayForEach(item, metadata)
        PUMIT__TRY(add_metadata(info, item->string, item->valuestring));
    return PUMIT_OK;
}

pumit_status pumit_model_file_info(pumit_config **out, const char *path)
{
    PUMIT__REQUIRE(out && path, "pumit_model_file_info: an argument is NULL");
    *out = NULL;
    pumit__safetensors *file;
    PUMIT__TRY(pumit__safetensors_open(&file, path));
    pumit_status status = pumit_config_create(out);
    if (status == PUMIT_OK) status = pumit__fail_in(describe_file(*out, file), "%s", path);
    pumit__safetensors_close(file);
    if (status != PUMIT_OK) {
        pumit_config_release(*out);
        *out = NULL;
    }
    return status;
}
