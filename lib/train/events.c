/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An event file is a sequence of records:
 *   u64 length, u32 masked CRC of those 8 bytes, the length's bytes of data, u32 masked CRC of the data; little-endian.
 * Data is a protobuf message Event (tensorflow/core/util/event.proto), of which a few fields are written here by hand.
 */
#include "lib/train/events.h"
#include "lib/base/config.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define FILE_PREFIX "events.out.tfevents."
#define HEAD_BYTES  12
#define LENGTH_BYTES                                                                               \
    5 /* of a nested message, as a varint with leading zeros: room left before it is known */
#define MOST_PICTURE  (256ll << 20)
#define DT_STRING     7
#define SESSION_START 1

/* The record that is being put together. */
typedef struct {
    uint8_t *data;
    int64_t used, capacity;
    bool failed; /* out of memory */
} record;

struct pumit__events {
    FILE *file;
    char *path;
    record record;
};

/* Numbers of fields, by message. */
enum { EVENT_WALL_TIME = 1, EVENT_STEP, EVENT_VERSION, EVENT_SUMMARY = 5, EVENT_SESSION = 7 };
enum { SUMMARY_VALUE = 1 };
enum { VALUE_TAG = 1, VALUE_SIMPLE, VALUE_IMAGE = 4, VALUE_TENSOR = 8, VALUE_METADATA };
enum { IMAGE_HEIGHT = 1, IMAGE_WIDTH, IMAGE_CHANNELS, IMAGE_BYTES };
enum { METADATA_PLUGIN = 1, PLUGIN_NAME = 1 };
enum { TENSOR_TYPE = 1, TENSOR_SHAPE, TENSOR_STRING = 8 };
enum { SESSION_STATUS = 1 };

enum wire { VARINT, FIXED64, BYTES, FIXED32 = 5 };

/* --------------------------------------------------------------------------------------- checksums */

uint32_t pumit__crc32c(const void *data, int64_t bytes)
{
    /* Remainders of four bits; reflected polynomial 0x82f63b78. */
    static const uint32_t TABLE[16] = {0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1,
                                       0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
                                       0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
                                       0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75};
    const uint8_t *const src = data;
    uint32_t crc = UINT32_MAX;
    for (int64_t i = 0; i < bytes; i++) {
        crc ^= src[i];
        crc = TABLE[crc & 15] ^ crc >> 4;
        crc = TABLE[crc & 15] ^ crc >> 4;
    }
    return ~crc;
}

/* Files that hold checksums of checksums would otherwise be easy to mistake. */
static uint32_t masked_crc(const void *data, int64_t bytes)
{
    const uint32_t crc = pumit__crc32c(data, bytes);
    return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

/* ---------------------------------------------------------------------------------------- protobuf */

static void put_bytes(record *r, const void *src, int64_t bytes)
{
    if (!r->failed) r->failed = !pumit__grow(&r->data, &r->capacity, r->used + bytes, 1);
    if (r->failed) return;
    if (bytes > 0) memcpy(r->data + r->used, src, (size_t)bytes);
    r->used += bytes;
}

static void store_little(uint8_t *dst, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++) dst[i] = (uint8_t)(value >> 8 * i);
}

static void put_little(record *r, uint64_t value, int bytes)
{
    uint8_t little[8];
    store_little(little, value, bytes);
    put_bytes(r, little, bytes);
}

static void put_varint(record *r, uint64_t value)
{
    for (; value > 127; value >>= 7) put_little(r, value | 128, 1);
    put_little(r, value, 1);
}

static void put_key(record *r, int field, enum wire wire)
{
    put_varint(r, (uint64_t)field << 3 | wire);
}

static void put_int(record *r, int field, int64_t value)
{
    put_key(r, field, VARINT);
    put_varint(r, (uint64_t)value);
}

static void put_double(record *r, int field, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    put_key(r, field, FIXED64);
    put_little(r, bits, 8);
}

static void put_float(record *r, int field, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    put_key(r, field, FIXED32);
    put_little(r, bits, 4);
}

static void put_string(record *r, int field, const void *src, int64_t bytes)
{
    put_key(r, field, BYTES);
    put_varint(r, (uint64_t)bytes);
    put_bytes(r, src, bytes);
}

static void put_text(record *r, int field, const char *text)
{
    put_string(r, field, text, (int64_t)strlen(text));
}

/* What is put until close_message() lies inside field `field`; gives what that wants. */
static int64_t open_message(record *r, int field)
{
    static const uint8_t ROOM[LENGTH_BYTES];
    put_key(r, field, BYTES);
    put_bytes(r, ROOM, LENGTH_BYTES);
    return r->used;
}

static void close_message(record *r, int64_t start)
{
    if (r->failed) return;
    const uint64_t length = (uint64_t)(r->used - start);
    for (int i = 0; i < LENGTH_BYTES; i++)
        r->data[start - LENGTH_BYTES + i] =
            (uint8_t)((length >> 7 * i & 127) | (i + 1 < LENGTH_BYTES ? 128 : 0));
}

/* ----------------------------------------------------------------------------------------- records */

static double wall_time(void)
{
    struct timespec time;
    clock_gettime(CLOCK_REALTIME, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static record *begin_event(pumit__events *events, int64_t step)
{
    static const uint8_t HEAD[HEAD_BYTES];
    record *const r = &events->record;
    r->used = 0;
    put_bytes(r, HEAD, HEAD_BYTES);
    put_double(r, EVENT_WALL_TIME, wall_time());
    put_int(r, EVENT_STEP, step);
    return r;
}

static pumit_status write_event(pumit__events *events)
{
    record *const r = &events->record;
    const int64_t bytes = r->used - HEAD_BYTES;
    if (!r->failed) {
        store_little(r->data, (uint64_t)bytes, 8);
        store_little(r->data + 8, masked_crc(r->data, 8), 4);
        put_little(r, masked_crc(r->data + HEAD_BYTES, bytes), 4);
    }
    if (r->failed) return pumit__fail_memory(bytes, events->path);
    if (fwrite(r->data, 1, (size_t)r->used, events->file) == (size_t)r->used &&
        fflush(events->file) == 0)
        return PUMIT_OK;
    return pumit__fail(pumit__status_of_errno(errno), "%s: cannot write: %s", events->path,
                       strerror(errno));
}

pumit_status pumit__events_text(pumit__events *events, int64_t step, const char *tag,
                                const char *markdown)
{
    if (!events) return PUMIT_OK;
    record *const r = begin_event(events, step);
    const int64_t summary = open_message(r, EVENT_SUMMARY);
    const int64_t value = open_message(r, SUMMARY_VALUE);
    put_text(r, VALUE_TAG, tag);
    const int64_t tensor = open_message(r, VALUE_TENSOR);
    put_int(r, TENSOR_TYPE, DT_STRING);
    close_message(r, open_message(r, TENSOR_SHAPE)); /* of no dimensions */
    put_text(r, TENSOR_STRING, markdown);
    close_message(r, tensor);
    const int64_t metadata = open_message(r, VALUE_METADATA);
    const int64_t plugin = open_message(r, METADATA_PLUGIN);
    put_text(r, PLUGIN_NAME, "text");
    close_message(r, plugin);
    close_message(r, metadata);
    close_message(r, value);
    close_message(r, summary);
    return write_event(events);
}

static void put_number(record *r, const char *group, const char *name, int index, double number)
{
    char tag[160];
    snprintf(tag, sizeof tag, index < 0 ? "%s/%s" : "%s/%s/%d", group, name, index);
    const int64_t value = open_message(r, SUMMARY_VALUE);
    put_text(r, VALUE_TAG, tag);
    put_float(r, VALUE_SIMPLE, (float)number);
    close_message(r, value);
}

/* Numbers and arrays of them; null leaves a gap in its curve. */
static void put_figures(record *r, const char *group, const cJSON *figures)
{
    for (const cJSON *item = figures ? figures->child : NULL; item; item = item->next) {
        int index = 0;
        if (cJSON_IsNumber(item) && strcmp(item->string, "step") != 0)
            put_number(r, group, item->string, -1, item->valuedouble);
        for (const cJSON *of = cJSON_IsArray(item) ? item->child : NULL; of; of = of->next, index++)
            if (cJSON_IsNumber(of)) put_number(r, group, item->string, index, of->valuedouble);
    }
}

pumit_status pumit__events_figures(pumit__events *events, int64_t step, const char *line)
{
    if (!events) return PUMIT_OK;
    cJSON *figures;
    PUMIT__TRY(pumit__json_parse(&figures, line, (int64_t)strlen(line), events->path));
    record *const r = begin_event(events, step);
    const int64_t summary = open_message(r, EVENT_SUMMARY);
    put_figures(r, "train", figures);
    put_figures(r, "validation", cJSON_GetObjectItemCaseSensitive(figures, "validation"));
    close_message(r, summary);
    cJSON_Delete(figures);
    return write_event(events);
}

static int64_t big_endian(const char *src)
{
    const uint8_t *const b = (const uint8_t *)src;
    return (int64_t)b[0] << 24 | b[1] << 16 | b[2] << 8 | b[3];
}

pumit_status pumit__events_picture(pumit__events *events, int64_t step, const char *tag,
                                   const char *path)
{
    enum { WIDTH_AT = 16, HEIGHT_AT = 20, COLOUR_AT = 25, LEAST_BYTES = 26, RGB = 2 }; /* in IHDR */
    if (!events) return PUMIT_OK;
    char *png;
    int64_t bytes;
    PUMIT__TRY(pumit__read_file(&png, &bytes, path, MOST_PICTURE));
    if (bytes < LEAST_BYTES || memcmp(png, "\x89PNG", 4) != 0) {
        free(png);
        return pumit__fail(PUMIT_ERROR_FORMAT, "%s: is no PNG picture", path);
    }
    record *const r = begin_event(events, step);
    const int64_t summary = open_message(r, EVENT_SUMMARY);
    const int64_t value = open_message(r, SUMMARY_VALUE);
    put_text(r, VALUE_TAG, tag);
    const int64_t image = open_message(r, VALUE_IMAGE);
    put_int(r, IMAGE_HEIGHT, big_endian(png + HEIGHT_AT));
    put_int(r, IMAGE_WIDTH, big_endian(png + WIDTH_AT));
    put_int(r, IMAGE_CHANNELS, png[COLOUR_AT] == RGB ? 3 : 1);
    put_string(r, IMAGE_BYTES, png, bytes);
    close_message(r, image);
    close_message(r, value);
    close_message(r, summary);
    free(png);
    return write_event(events);
}

/* ------------------------------------------------------------------------------------------- files */

/* TensorBoard reads files in the order of their names: a second later than any other, whatever the clock says. */
static int64_t seconds_of_name(const char *folder)
{
    int64_t seconds = (int64_t)time(NULL);
    DIR *const entries = opendir(folder);
    for (const struct dirent *entry; entries && (entry = readdir(entries));) {
        if (strncmp(entry->d_name, FILE_PREFIX, strlen(FILE_PREFIX)) != 0) continue;
        const int64_t of = strtoll(entry->d_name + strlen(FILE_PREFIX), NULL, 10);
        if (of >= seconds && of < INT64_MAX) seconds = of + 1;
    }
    if (entries) closedir(entries);
    return seconds;
}

static pumit_status open_file(pumit__events *events, const char *folder)
{
    char host[256] = "localhost";
    if (gethostname(host, sizeof host) != 0) snprintf(host, sizeof host, "localhost");
    host[sizeof host - 1] = '\0';
    events->path = pumit__format("%s/" FILE_PREFIX "%lld.%s.%lld", folder,
                                 (long long)seconds_of_name(folder), host, (long long)getpid());
    if (!events->path) return pumit__fail_memory((int64_t)strlen(folder), "a path");
    events->file = fopen(events->path, "wxe");
    if (events->file) return PUMIT_OK;
    return pumit__fail(PUMIT_ERROR_IO, "%s: cannot write: %s", events->path, strerror(errno));
}

static pumit_status begin_file(pumit__events *events, int64_t step)
{
    put_text(begin_event(events, 0), EVENT_VERSION, "brain.Event:2");
    PUMIT__TRY(write_event(events));
    record *const r = begin_event(events, step + 1);
    const int64_t session = open_message(r, EVENT_SESSION);
    put_int(r, SESSION_STATUS, SESSION_START);
    close_message(r, session);
    return write_event(events);
}

pumit_status pumit__events_open(pumit__events **out, const char *folder, int64_t step)
{
    *out = NULL;
    pumit__events *events = pumit__calloc(1, (int64_t)sizeof *events);
    if (!events) return pumit__fail_memory((int64_t)sizeof *events, "events");
    pumit_status status = open_file(events, folder);
    if (status == PUMIT_OK) status = begin_file(events, step);
    if (status == PUMIT_OK)
        *out = events;
    else
        pumit__events_close(events);
    return status;
}

void pumit__events_close(pumit__events *events)
{
    if (!events) return;
    if (events->file) fclose(events->file);
    free(events->path);
    free(events->record.data);
    free(events);
}
