/* SPDX-License-Identifier: Apache-2.0 */
/* What the targets of all formats of weights do with a file. */
#include "tests/fuzz/fuzz.h"

#include "lib/base/config.h"
#include "lib/tensor/weights_file.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define SMALL                                                                                      \
    "{\"patch\":[2,2,2],\"dim\":4,\"depth\":1,\"heads\":1,\"hidden\":4,\"pos_embed_shape\":"       \
    "[1,2,2]}"
#define MOST_DATA 65536

static pumit_vit *vit;
static pumit_config *partial;

/* Once a process. */
static void prepare(void)
{
    if (vit) return;
    pumit_config *config = fuzz_config(SMALL);
    fuzz_require(pumit_vit_create(&vit, fuzz_context(), config) == PUMIT_OK, "a transformer");
    pumit_config_release(config);
    partial = fuzz_config("{\"partial\":true,\"inflation\":\"center\"}");
}

/* Every byte that an entry says is there. */
static void read_entry(pumit__weights_file *file, const pumit__weights_entry *entry)
{
    const void *data;
    volatile unsigned char sum = 0;
    if (entry->dtype == 0 || !fuzz_took(pumit__weights_file_data(&data, file, entry))) return;
    for (int64_t i = 0; i < entry->bytes; i++)
        sum = (unsigned char)(sum + ((const unsigned char *)data)[i]);
    pumit__weights_file_forget(file, entry);
}

/* As a model of this library: its configuration makes the network. */
static void load_models(const char *path)
{
    pumit_vit *own;
    pumit_tokenizer *tokenizer;
    pumit_classifier *classifier;
    pumit_segmenter *segmenter;
    pumit_discriminator *discriminator;
    if (fuzz_took(pumit_vit_load(&own, fuzz_context(), path))) pumit_vit_release(own);
    if (fuzz_took(pumit_tokenizer_load(&tokenizer, fuzz_context(), path)))
        pumit_tokenizer_release(tokenizer);
    if (fuzz_took(pumit_segmenter_load(&segmenter, fuzz_context(), path)))
        pumit_segmenter_release(segmenter);
    if (fuzz_took(pumit_classifier_load(&classifier, fuzz_context(), path)))
        pumit_classifier_release(classifier);
    if (fuzz_took(pumit_discriminator_load(&discriminator, fuzz_context(), path)))
        pumit_discriminator_release(discriminator);
}

void fuzz_weights(const char *path)
{
    pumit__weights_file *file;
    pumit_config *info;
    prepare();
    if (!fuzz_took(pumit__weights_file_open(&file, path))) return;
    const int64_t count = pumit__weights_file_count(file);
    for (int64_t i = 0; i < count; i++) {
        const pumit__weights_entry *entry = pumit__weights_file_entry(file, i);
        fuzz_require(pumit__weights_file_find(file, entry->name) == entry, "names are found");
        read_entry(file, entry);
    }
    pumit__weights_file_close(file);
    if (fuzz_took(pumit_model_file_info(&info, path))) pumit_config_release(info);
    fuzz_took(pumit_module_import(pumit_vit_module(vit), path, NULL));
    fuzz_took(pumit_module_import(pumit_vit_module(vit), path, partial));
    load_models(path);
}

/* ------------------------------------------------------------------------------------ from a header */

/* Where the last array ends; -1 if there is none that does. */
static int64_t data_bytes(const cJSON *header)
{
    int64_t most = 0, end;
    for (const cJSON *item = header->child; item; item = item->next) {
        const cJSON *place = cJSON_GetObjectItemCaseSensitive(item, "data_offsets");
        if (pumit__json_int(&end, cJSON_GetArrayItem(place, 1)) && end > most) most = end;
    }
    return most <= MOST_DATA ? most : -1;
}

static void mend_checksum(cJSON *header, const uint8_t *data, int64_t bytes)
{
    char text[32];
    cJSON *metadata = cJSON_GetObjectItemCaseSensitive(header, "__metadata__");
    if (!cJSON_GetObjectItemCaseSensitive(metadata, "pumit.checksum")) return;
    snprintf(text, sizeof text, "crc32:%08x", (unsigned)crc32(0, data, (uInt)bytes));
    cJSON_ReplaceItemInObjectCaseSensitive(metadata, "pumit.checksum", cJSON_CreateString(text));
}

uint8_t *fuzz_from_header(size_t *out_bytes, const uint8_t *header, size_t bytes)
{
    cJSON *tree = cJSON_ParseWithLength((const char *)header, bytes);
    const int64_t most = cJSON_IsObject(tree) ? data_bytes(tree) : -1;
    uint8_t *data = most >= 0 ? calloc((size_t)most + 1, 1) : NULL;
    if (data) mend_checksum(tree, data, most);
    char *text = data ? cJSON_PrintUnformatted(tree) : NULL;
    cJSON_Delete(tree);
    const size_t length = text ? strlen(text) : 0;
    uint8_t *file = text ? malloc(8 + length + (size_t)most) : NULL;
    if (file) {
        for (int i = 0; i < 8; i++) file[i] = (uint8_t)((uint64_t)length >> (8 * i));
        memcpy(file + 8, text, length);
        memcpy(file + 8 + length, data, (size_t)most);
        *out_bytes = 8 + length + (size_t)most;
    }
    free(text);
    free(data);
    return file;
}
