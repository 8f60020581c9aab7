/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/fuzz.h"

#include "lib/tensor/pickle.h"
#include "lib/tensor/weights_file.h"

#include <pumit/vit.h>

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define SMALL                                                                                      \
    "{\"patch\":[2,2,2],\"dim\":4,\"depth\":1,\"heads\":1,\"hidden\":4,\"pos_embed_shape\":"       \
    "[1,2,2]}"

static pumit_context *ctx;
static pumit_vit *vit;
static pumit_config *partial;

/* Once a process. */
static void prepare(void)
{
    pumit_config *config, *options;
    if (ctx) return;
    if (pumit_config_parse(&options, "{\"threads\":1,\"device\":\"reference\"}") != PUMIT_OK ||
        pumit_context_create(&ctx, options) != PUMIT_OK ||
        pumit_config_parse(&config, SMALL) != PUMIT_OK ||
        pumit_vit_create(&vit, ctx, config) != PUMIT_OK ||
        pumit_config_parse(&partial, "{\"partial\":true,\"inflation\":\"center\"}") != PUMIT_OK)
        abort();
    pumit_config_release(config);
    pumit_config_release(options);
}

/* Every byte that an entry says is there. */
static void read_entry(pumit__weights_file *file, const pumit__weights_entry *entry)
{
    const void *data;
    volatile unsigned char sum = 0;
    if (entry->dtype == 0 || pumit__weights_file_data(&data, file, entry) != PUMIT_OK) return;
    for (int64_t i = 0; i < entry->bytes; i++)
        sum = (unsigned char)(sum + ((const unsigned char *)data)[i]);
    pumit__weights_file_forget(file, entry);
}

static void read_file(const char *path)
{
    pumit__weights_file *file;
    pumit_config *info;
    if (pumit__weights_file_open(&file, path) != PUMIT_OK) return;
    const int64_t count = pumit__weights_file_count(file);
    for (int64_t i = 0; i < count; i++) {
        const pumit__weights_entry *entry = pumit__weights_file_entry(file, i);
        if (pumit__weights_file_find(file, entry->name) != entry) abort();
        read_entry(file, entry);
    }
    pumit__weights_file_close(file);
    if (pumit_model_file_info(&info, path) == PUMIT_OK) pumit_config_release(info);
    pumit_module_import(pumit_vit_module(vit), path, NULL);
    pumit_module_import(pumit_vit_module(vit), path, partial);
}

/* A pickle by itself, which no archive has to be made for. What it holds is walked some levels down. */
static void walk(const pumit__pickle_value *value, int levels)
{
    if (value->depth > PUMIT__PICKLE_MOST_DEPTH) abort();
    if (value->kind == PUMIT__PICKLE_TEXT && value->text[value->count] != '\0') abort();
    if (value->kind == PUMIT__PICKLE_TENSOR &&
        value->tensor->offset + value->tensor->extent > value->tensor->storage->count &&
        value->tensor->extent > 0)
        abort();
    if (levels == 0 || (value->kind != PUMIT__PICKLE_TUPLE && value->kind != PUMIT__PICKLE_LIST &&
                        value->kind != PUMIT__PICKLE_DICT))
        return;
    for (int64_t i = 0; i < value->count && i < 16; i++) walk(value->items[i], levels - 1);
}

static void read_pickle(const uint8_t *data, size_t bytes)
{
    pumit__pickle *pickle;
    if (pumit__pickle_parse(&pickle, data, (int64_t)bytes, "pickle") != PUMIT_OK) return;
    walk(pumit__pickle_root(pickle), 4);
    pumit__pickle_free(pickle);
}

int fuzz_weights(const uint8_t *data, size_t bytes)
{
    char path[64];
    const int fd = memfd_create("weights", MFD_CLOEXEC);
    prepare();
    if (bytes > 0 && data[0] == 0x80) read_pickle(data, bytes);
    if (fd < 0 || write(fd, data, bytes) != (ssize_t)bytes) abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    read_file(path);
    close(fd);
    return 0;
}

FUZZ_TARGET(fuzz_weights)
