/* SPDX-License-Identifier: Apache-2.0 */
/* Event files for TensorBoard, read back by a parser of the test's own; checksums against RFC 3720. */
#include "lib/train/events.h"
#include "tests/image_files.h"

#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ----------------------------------------------------------------------------------------- checksums */

/* Bit by bit, from the polynomial. */
static uint32_t slow_crc(const uint8_t *data, size_t bytes)
{
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < 8 * bytes; i++) {
        if (i % 8 == 0) crc ^= data[i / 8];
        crc = crc & 1 ? crc >> 1 ^ UINT32_C(0x82f63b78) : crc >> 1;
    }
    return ~crc;
}

START_TEST(checksums)
{
    uint8_t data[32] = {0};
    ck_assert_uint_eq(pumit__crc32c(data, 32), 0x8a9136aau);
    memset(data, 0xff, 32);
    ck_assert_uint_eq(pumit__crc32c(data, 32), 0x62a8ab43u);
    for (int i = 0; i < 32; i++) data[i] = (uint8_t)i;
    ck_assert_uint_eq(pumit__crc32c(data, 32), 0x46dd794eu);
    for (int i = 0; i < 32; i++) data[i] = (uint8_t)(31 - i);
    ck_assert_uint_eq(pumit__crc32c(data, 32), 0x113fdb5cu);
    ck_assert_uint_eq(pumit__crc32c("123456789", 9), 0xe3069283u);
    ck_assert_uint_eq(pumit__crc32c("", 0), 0);
}
END_TEST

/* ------------------------------------------------------------------------------------------- reading */

static uint64_t little(const uint8_t *p, int bytes)
{
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++) value |= (uint64_t)p[i] << 8 * i;
    return value;
}

static void check_sum(const uint8_t *data, size_t bytes, const uint8_t *stored)
{
    const uint32_t crc = slow_crc(data, bytes);
    ck_assert_uint_eq(little(stored, 4), (uint32_t)((crc >> 15 | crc << 17) + 0xa282ead8u));
}

/* What is left of a message. */
typedef struct {
    const uint8_t *at, *end;
} message;

typedef struct {
    int number, wire;
    uint64_t value; /* of a number */
    message part;   /* of what has a length */
} field;

static uint64_t take_varint(message *m)
{
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
        ck_assert(m->at < m->end);
        value |= (uint64_t)(*m->at & 127) << shift;
        if (*m->at++ < 128) return value;
    }
    ck_abort_msg("a varint without end");
}

static bool take_field(field *f, message *m)
{
    if (m->at == m->end) return false;
    const uint64_t key = take_varint(m);
    *f = (field){.number = (int)(key >> 3), .wire = (int)(key & 7)};
    if (f->wire == 0) {
        f->value = take_varint(m);
        return true;
    }
    const uint64_t bytes = f->wire == 1 ? 8 : f->wire == 5 ? 4 : take_varint(m);
    ck_assert(f->wire == 1 || f->wire == 5 || f->wire == 2);
    ck_assert_uint_le(bytes, (uint64_t)(m->end - m->at));
    f->part = (message){m->at, m->at + bytes};
    if (f->wire != 2) f->value = little(m->at, (int)bytes);
    m->at += bytes;
    return true;
}

/* The field of this number. */
static field want(message m, int number)
{
    field f;
    while (take_field(&f, &m))
        if (f.number == number) return f;
    ck_abort_msg("field %d is missing", number);
}

static bool holds(message m, const char *text)
{
    return memmem(m.at, (size_t)(m.end - m.at), text, strlen(text)) != NULL;
}

static bool equals(message m, const char *text)
{
    return (size_t)(m.end - m.at) == strlen(text) && memcmp(m.at, text, strlen(text)) == 0;
}

/* ---------------------------------------------------------------------------------------------- files */

#define MOST_EVENTS 32
static struct {
    uint8_t *data;
    message events[MOST_EVENTS];
    int count;
} file;

/* The only event file of a folder, its records checked. */
static void read_events(const char *folder)
{
    char name[512];
    size_t bytes, at = 0;
    int found = 0;
    DIR *const listing = opendir(files_path(folder));
    ck_assert_ptr_nonnull(listing);
    for (const struct dirent *entry; (entry = readdir(listing)) != NULL;) {
        if (!strstr(entry->d_name, "tfevents")) continue;
        snprintf(name, sizeof name, "%s/%s", folder, entry->d_name);
        found++;
    }
    closedir(listing);
    ck_assert_int_eq(found, 1);
    file.data = files_read(name, &bytes);
    for (file.count = 0; at < bytes; file.count++) {
        ck_assert_int_lt(file.count, MOST_EVENTS);
        ck_assert_uint_le(at + 12, bytes);
        const size_t length = little(file.data + at, 8);
        check_sum(file.data + at, 8, file.data + at + 8);
        ck_assert_uint_le(at + 16 + length, bytes);
        check_sum(file.data + at + 12, length, file.data + at + 12 + length);
        file.events[file.count] = (message){file.data + at + 12, file.data + at + 12 + length};
        at += 16 + length;
    }
    ck_assert_uint_eq(at, bytes);
}

/* The value with this tag of event i. */
static bool find_value(message *out, int i, const char *tag)
{
    message summary = want(file.events[i], 5).part;
    field f;
    while (take_field(&f, &summary)) {
        ck_assert_int_eq(f.number, 1);
        if (equals(want(f.part, 1).part, tag)) return *out = f.part, true;
    }
    return false;
}

static float scalar(int i, const char *tag)
{
    message value;
    float out;
    ck_assert_msg(find_value(&value, i, tag), "event %d lacks %s", i, tag);
    const uint32_t bits = (uint32_t)want(value, 2).value;
    memcpy(&out, &bits, sizeof out);
    return out;
}

static const char LINE[] =
    "{\"step\":7,\"loss\":0.25,\"lost\":null,\"norms\":[1,2.5],\"validation\":{\"psnr\":20.5}}";

START_TEST(records)
{
    pumit__events *events;
    message value;
    const uint8_t pixels[6] = {1, 2, 3, 4, 5, 6};
    files_folder("run");
    png_write("a.png", 3, 2, 8, 0, false, pixels);
    CHECK_OK(pumit__events_open(&events, files_path("run"), 6));
    CHECK_OK(pumit__events_text(events, 6, "config", "    {\"a\": 1}"));
    CHECK_OK(pumit__events_figures(events, 7, LINE));
    CHECK_OK(pumit__events_picture(events, 7, "sheet", files_path("a.png")));
    pumit__events_close(events);
    read_events("run");
    ck_assert_int_eq(file.count, 5);
    ck_assert(equals(want(file.events[0], 3).part, "brain.Event:2"));
    ck_assert_uint_eq(want(file.events[1], 2).value,
                      7); /* what an earlier file holds from here on is void */
    ck_assert_uint_eq(want(want(file.events[1], 7).part, 1).value, 1);

    ck_assert(find_value(&value, 2, "config"));
    ck_assert(holds(value, "text"));
    ck_assert(equals(want(want(value, 8).part, 8).part, "    {\"a\": 1}"));

    ck_assert_uint_eq(want(file.events[3], 2).value, 7);
    ck_assert_float_eq(scalar(3, "train/loss"), 0.25f);
    ck_assert_float_eq(scalar(3, "train/norms/0"), 1.0f);
    ck_assert_float_eq(scalar(3, "train/norms/1"), 2.5f);
    ck_assert_float_eq(scalar(3, "validation/psnr"), 20.5f);
    ck_assert(!find_value(&value, 3, "train/step"));

    size_t bytes;
    uint8_t *const png = files_read("a.png", &bytes);
    ck_assert(find_value(&value, 4, "sheet"));
    const message image = want(value, 4).part, data = want(image, 4).part;
    ck_assert_uint_eq(want(image, 1).value, 2);
    ck_assert_uint_eq(want(image, 2).value, 3);
    ck_assert_uint_eq((size_t)(data.end - data.at), bytes);
    ck_assert_int_eq(memcmp(data.at, png, bytes), 0);
    free(png);
    free(file.data);
}
END_TEST

START_TEST(failures_name_the_file)
{
    pumit__events *events;
    ck_assert_int_eq(pumit__events_open(&events, files_path("absent"), 0), PUMIT_ERROR_IO);
    ck_assert_ptr_nonnull(strstr(pumit_last_error(), "absent/events.out.tfevents."));
    files_folder("run");
    files_write("no.png", "text", 4);
    CHECK_OK(pumit__events_open(&events, files_path("run"), 0));
    ck_assert_int_ne(pumit__events_picture(events, 1, "sheet", files_path("no.png")), PUMIT_OK);
    ck_assert_ptr_nonnull(strstr(pumit_last_error(), "no.png"));
    pumit__events_close(events);
    CHECK_OK(pumit__events_figures(NULL, 1, LINE)); /* a run that keeps none */
    pumit__events_close(NULL);
}
END_TEST

Suite *suite_events(void);
Suite *suite_events(void)
{
    Suite *suite = suite_create("events");
    TCase *tests = tcase_create("events");
    tcase_add_checked_fixture(tests, files_setup, files_teardown);
    tcase_add_test(tests, checksums);
    tcase_add_test(tests, records);
    tcase_add_test(tests, failures_name_the_file);
    suite_add_tcase(suite, tests);
    return suite;
}
