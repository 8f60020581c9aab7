/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/tensor/registry.h"

#include "kernels/backends.h"

#include <pthread.h>
#include <string.h>

#define MOST 16

/* Backends that were added, and those built in, which every host device falls back on. */
static struct {
    pthread_mutex_t lock;
    const pumit_backend *added[MOST];
    int32_t count;
} registry = {.lock = PTHREAD_MUTEX_INITIALIZER};

static const pumit_backend *const built_in[] = {&pumit__cpu, &pumit__reference,
                                                &pumit__reference64};

/* Under the lock. */
static const pumit_backend *find(const char *name)
{
    for (int64_t i = 0; i < PUMIT__COUNT(built_in); i++)
        if (strcmp(built_in[i]->name, name) == 0) return built_in[i];
    for (int32_t i = 0; i < registry.count; i++)
        if (strcmp(registry.added[i]->name, name) == 0) return registry.added[i];
    return NULL;
}

static pumit_status add(const pumit_backend *backend)
{
    if (find(backend->name))
        return pumit__fail(PUMIT_ERROR_STATE, "backend '%s': there is one of that name already",
                           backend->name);
    if (registry.count == MOST)
        return pumit__fail(PUMIT_ERROR_LIMIT, "backend '%s': there are %d already", backend->name,
                           MOST);
    registry.added[registry.count++] = backend;
    return PUMIT_OK;
}

pumit_status pumit__registry_add(const pumit_backend *backend)
{
    PUMIT__REQUIRE(backend && backend->struct_size >= offsetof(pumit_backend, copy),
                   "a backend's table is too short");
    if (backend->abi_version != PUMIT_ABI_VERSION) /* what follows may have another place in it */
        return pumit__fail(PUMIT_ERROR_UNSUPPORTED,
                           "a backend was built for ABI %d, this library has %d: build it anew",
                           (int)backend->abi_version, PUMIT_ABI_VERSION);
    PUMIT__REQUIRE(backend->name && backend->open && backend->close,
                   "a backend's table lacks name, open or close");
    if (!backend->host_memory)
        return pumit__fail(PUMIT_ERROR_UNSUPPORTED,
                           "backend '%s': memory of its own is not supported yet", backend->name);
    pthread_mutex_lock(&registry.lock);
    const pumit_status status = add(backend);
    pthread_mutex_unlock(&registry.lock);
    return status;
}

/* "cpu, reference, reference64, ..." */
static void list_names(char *text, size_t size)
{
    size_t used = 0;
    for (int32_t i = 0; i < (int32_t)PUMIT__COUNT(built_in) + registry.count && used < size; i++) {
        const int32_t k = i - (int32_t)PUMIT__COUNT(built_in);
        used += (size_t)snprintf(text + used, size - used, "%s%s", i ? ", " : "",
                                 k < 0 ? built_in[i]->name : registry.added[k]->name);
    }
}

pumit_status pumit__registry_find(const pumit_backend *order[PUMIT__MOST_BACKENDS], int32_t *count,
                                  const char *name)
{
    char names[256];
    pthread_mutex_lock(&registry.lock);
    const pumit_backend *device = find(name);
    list_names(names, sizeof names);
    pthread_mutex_unlock(&registry.lock);
    if (!device)
        return pumit__fail(PUMIT_ERROR_NOT_FOUND, "no device '%s': there are %s", name, names);
    order[0] = device;
    *count = 1;
    bool after = true; /* an added backend comes before all built in */
    for (int64_t i = 0; i < PUMIT__COUNT(built_in); i++)
        if (built_in[i] == device) after = false;
    for (int64_t i = 0; i < PUMIT__COUNT(built_in) && *count < PUMIT__MOST_BACKENDS; i++) {
        const pumit_backend *b = built_in[i];
        if (after && b->real_dtype == device->real_dtype && b->host_memory && device->host_memory)
            order[(*count)++] = b;
        if (b == device) after = true;
    }
    return PUMIT_OK;
}
