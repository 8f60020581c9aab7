/* SPDX-License-Identifier: Apache-2.0 */
/* oneDNN's engine and the cache of primitives. */
#include "kernels/cpu/dnnl.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

static dnnl_status_t open_dnnl(pumit__cpu_device *device)
{
    if (device->dnnl) return dnnl_success;
    pumit__cpu_dnnl *dnnl = calloc(1, sizeof *dnnl);
    if (!dnnl) return dnnl_out_of_memory;
    dnnl_status_t status = dnnl_engine_create(&dnnl->engine, dnnl_cpu, 0);
    if (status == dnnl_success)
        status = dnnl_stream_create(&dnnl->stream, dnnl->engine, dnnl_stream_default_flags);
    if (status == dnnl_success) status = dnnl_primitive_attr_create(&dnnl->attributes);
    if (status == dnnl_success)
        status =
            dnnl_primitive_attr_set_scratchpad_mode(dnnl->attributes, dnnl_scratchpad_mode_user);
    if (status == dnnl_success)
        device->dnnl = dnnl;
    else
        pumit__cpu_dnnl_close(dnnl);
    return status;
}

static void clear_entry(pumit__dnnl_entry *entry)
{
    if (entry->primitive) dnnl_primitive_destroy(entry->primitive);
    if (entry->reorder) dnnl_primitive_destroy(entry->reorder);
    for (int i = 0; i < PUMIT__DNNL_MEMORIES; i++)
        if (entry->memory[i]) dnnl_memory_destroy(entry->memory[i]);
    memset(entry, 0, sizeof *entry);
}

void pumit__cpu_dnnl_close(pumit__cpu_dnnl *dnnl)
{
    if (!dnnl) return;
    for (size_t i = 0; i < sizeof dnnl->entries / sizeof *dnnl->entries; i++)
        clear_entry(&dnnl->entries[i]);
    if (dnnl->attributes) dnnl_primitive_attr_destroy(dnnl->attributes);
    if (dnnl->stream) dnnl_stream_destroy(dnnl->stream);
    if (dnnl->engine) dnnl_engine_destroy(dnnl->engine);
    free(dnnl);
}

/** The entry with this key, or the one to put it in. */
static pumit__dnnl_entry *look_up(pumit__cpu_dnnl *dnnl, pumit__dnnl_make make, const void *key,
                                  size_t bytes)
{
    pumit__dnnl_entry *oldest = &dnnl->entries[0];
    for (size_t i = 0; i < sizeof dnnl->entries / sizeof *dnnl->entries; i++) {
        pumit__dnnl_entry *entry = &dnnl->entries[i];
        if (entry->last_use && entry->make == make && entry->threads == omp_get_max_threads() &&
            memcmp(entry->key, key, bytes) == 0)
            return entry;
        if (entry->last_use < oldest->last_use) oldest = entry;
    }
    clear_entry(oldest);
    return oldest;
}

pumit_status pumit__dnnl_find(pumit__dnnl_entry **out, pumit__cpu_device *device,
                              pumit__dnnl_make make, const void *key, size_t bytes)
{
    dnnl_status_t status = open_dnnl(device);
    pumit__dnnl_entry *entry = NULL;
    if (status == dnnl_success) entry = look_up(device->dnnl, make, key, bytes);
    if (entry && !entry->last_use) {
        status = make(entry, device->dnnl, key);
        if (status == dnnl_success) {
            entry->make = make;
            entry->threads = omp_get_max_threads();
            memcpy(entry->key, key, bytes);
        } else {
            clear_entry(entry);
        }
    }
    if (status == dnnl_out_of_memory) return PUMIT_ERROR_OUT_OF_MEMORY;
    if (status != dnnl_success) return PUMIT_DECLINED;
    entry->last_use = ++device->dnnl->clock;
    *out = entry;
    return PUMIT_OK;
}

pumit_status pumit__dnnl_status(dnnl_status_t status)
{
    if (status == dnnl_success) return PUMIT_OK;
    return status == dnnl_out_of_memory ? PUMIT_ERROR_OUT_OF_MEMORY : PUMIT_ERROR_BACKEND;
}
