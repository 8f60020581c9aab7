/* SPDX-License-Identifier: Apache-2.0 */
/* Event files for TensorBoard, read back by a parser of the test's own; and the figures that go into them. */
#include "lib/data/volume.h"
#include "lib/train/events.h"
#include "lib/train/trainer.h"
#include "tests/image_files.h"

#include <dirent.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

/* ------------------------------------------------------------------------------------------- parser */

typedef struct {
    int64_t step;
    int session; /* status, 0: none */
    char tag[64], text[8192];
    double number; /* NaN: none */
    int64_t height, width, png_bytes;
    uint8_t png_head[8];
    uint32_t png_crc;
    bool version;
} event;

static event events[256]; /* one a value, or a record without values */
static int event_count;

typedef struct {
    const uint8_t *at, *end;
} span;

static uint64_t read_varint(span *s)
{
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
        ck_assert_ptr_ne(s->at, s->end);
        const uint8_t byte = *s->at++;
        value |= (uint64_t)(byte & 127) << shift;
        if (byte < 128) return value;
    }
    ck_abort_msg("a varint of more than ten bytes");
}

static uint64_t read_little(span *s, int bytes)
{
    uint64_t value = 0;
    ck_assert_int_ge(s->end - s->at, bytes);
    for (int i = 0; i < bytes; i++) value |= (uint64_t)s->at[i] << 8 * i;
    s->at += bytes;
    return value;
}

/* The next field's number, 0 at the end; `value` of a number, `inner` of bytes. */
static int next_field(span *s, uint64_t *value, span *inner)
{
    if (s->at == s->end) return 0;
    const uint64_t key = read_varint(s);
    *inner = (span){s->at, s->at};
    if ((key & 7) == 0)
        *value = read_varint(s);
    else if ((key & 7) == 1)
        *value = read_little(s, 8);
    else if ((key & 7) == 5)
        *value = read_little(s, 4);
    else {
        ck_assert_uint_eq(key & 7, 2);
        const uint64_t bytes = read_varint(s);
        ck_assert_uint_le(bytes, (uint64_t)(s->end - s->at));
        *inner = (span){s->at, s->at + bytes};
        s->at += bytes;
    }
    return (int)(key >> 3);
}

static void copy_text(char *dst, size_t room, span text)
{
    const size_t bytes = (size_t)(text.end - text.at);
    ck_assert_uint_lt(bytes, room);
    memcpy(dst, text.at, bytes);
    dst[bytes] = '\0';
}

static void read_image(event *e, span s)
{
    uint64_t value = 0;
    span inner;
    for (int field; (field = next_field(&s, &value, &inner)) != 0;) {
        if (field == 1) e->height = (int64_t)value;
        if (field == 2) e->width = (int64_t)value;
        if (field != 4) continue;
        e->png_bytes = inner.end - inner.at;
        ck_assert_int_gt(e->png_bytes, 8);
        memcpy(e->png_head, inner.at, 8);
        e->png_crc = pumit__crc32c(inner.at, e->png_bytes);
    }
}

/* A string. */
static void read_tensor(event *e, span s)
{
    uint64_t value = 0;
    span inner;
    for (int field; (field = next_field(&s, &value, &inner)) != 0;) {
        if (field == 1) ck_assert_uint_eq(value, 7);
        if (field == 8) copy_text(e->text, sizeof e->text, inner);
    }
}

static void read_value(event *e, span s)
{
    uint64_t value = 0;
    span inner;
    for (int field; (field = next_field(&s, &value, &inner)) != 0;) {
        const uint32_t bits = (uint32_t)value;
        float number;
        memcpy(&number, &bits, sizeof number);
        if (field == 1) copy_text(e->tag, sizeof e->tag, inner);
        if (field == 2) e->number = number;
        if (field == 4) read_image(e, inner);
        if (field == 8) read_tensor(e, inner);
    }
}

static void read_event(span s)
{
    uint64_t value = 0;
    span inner, summary = {NULL, NULL};
    event e = {.number = NAN};
    for (int field; (field = next_field(&s, &value, &inner)) != 0;) {
        if (field == 2) e.step = (int64_t)value;
        if (field == 3) e.version = strncmp((const char *)inner.at, "brain.Event:2", 13) == 0;
        if (field == 5) summary = inner;
        span session = inner;
        if (field == 7 && next_field(&session, &value, &inner) == 1) e.session = (int)value;
    }
    if (!summary.at) events[event_count++] = e;
    while (next_field(&summary, &value, &inner) == 1) {
        ck_assert_int_lt(event_count, 256);
        events[event_count] = e;
        read_value(&events[event_count++], inner);
    }
}

static uint32_t unmasked(uint32_t masked)
{
    const uint32_t turned = masked - 0xa282ead8u;
    return turned >> 17 | turned << 15;
}

static void read_records(const uint8_t *data, size_t bytes)
{
    span s = {data, data + bytes};
    event_count = 0;
    while (s.at < s.end) {
        const uint8_t *const head = s.at;
        const uint64_t length = read_little(&s, 8);
        ck_assert_uint_eq(pumit__crc32c(head, 8), unmasked((uint32_t)read_little(&s, 4)));
        ck_assert_uint_le(length, (uint64_t)(s.end - s.at));
        read_event((span){s.at, s.at + length});
        const uint32_t crc = pumit__crc32c(s.at, (int64_t)length);
        s.at += length;
        ck_assert_uint_eq(crc, unmasked((uint32_t)read_little(&s, 4)));
    }
    ck_assert_int_gt(event_count, 1);
    ck_assert(events[0].version);
    ck_assert_int_eq(events[1].session, 1);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int is_events(const struct dirent *entry)
{
    return strncmp(entry->d_name, "events.out.tfevents.", 20) == 0;
}

/* Reads file number `index` of `count` of the folder, in the order of TensorBoard. */
static void read_file(const char *folder, int index, int count)
{
    struct dirent **entries;
    char name[400];
    size_t bytes;
    ck_assert_int_eq(scandir(files_path(folder), &entries, is_events, by_name), count);
    snprintf(name, sizeof name, "%s/%s", folder, entries[index]->d_name);
    for (int i = 0; i < count; i++) free(entries[i]);
    free(entries);
    uint8_t *data = files_read(name, &bytes);
    read_records(data, bytes);
    free(data);
}

static const event *find(const char *tag, int64_t step)
{
    for (int i = 0; i < event_count; i++)
        if (strcmp(events[i].tag, tag) == 0 && events[i].step == step) return &events[i];
    return NULL;
}

static double number_of(const char *tag, int64_t step)
{
    const event *const e = find(tag, step);
    ck_assert_msg(e != NULL, "no %s at step %lld", tag, (long long)step);
    return e->number;
}

/* -------------------------------------------------------------------------------------------- tests */

/* RFC 3720, B.4. */
START_TEST(checksums_are_known)
{
    uint8_t data[32] = {0};
    ck_assert_uint_eq(pumit__crc32c(data, 32), 0x8a9136aau);
    memset(data, 255, 32);
    ck_assert_uint_eq(pumit__crc32c(data, 32), 0x62a8ab43u);
    for (int i = 0; i < 32; i++) data[i] = (uint8_t)i;
    ck_assert_uint_eq(pumit__crc32c(data, 32), 0x46dd794eu);
    for (int i = 0; i < 32; i++) data[i] = (uint8_t)(31 - i);
    ck_assert_uint_eq(pumit__crc32c(data, 32), 0x113fdb5cu);
    ck_assert_uint_eq(pumit__crc32c("123456789", 9), 0xe3069283u);
    ck_assert_uint_eq(pumit__crc32c("", 0), 0);
}
END_TEST

START_TEST(records_come_back)
{
    const char line[] =
        "{\"step\":3,\"loss\":0.25,\"grad_norm\":null,\"block_norms\":[1,null,-2.5],"
        "\"validation\":{\"psnr\":20}}";
    const uint8_t pixels[5 * 7 * 3] = {1, 2, 3};
    const int64_t size[] = {5, 7, 3};
    pumit__events *e;
    CHECK_OK(pumit__events_open(&e, files_path(""), 2));
    CHECK_OK(pumit__events_text(e, 2, "config", "a *text*"));
    CHECK_OK(pumit__events_figures(e, 3, line));
    CHECK_OK(pumit__png_write(files_path("a.png"), pixels, size));
    CHECK_OK(pumit__events_picture(e, 3, "sheets/a", files_path("a.png")));
    read_file("", 0, 1); /* flushed, though not closed */
    pumit__events_close(e);
    ck_assert_int_eq(events[1].step, 3); /* what others hold of it and later ones is void */
    ck_assert_str_eq(find("config", 2)->text, "a *text*");
    ck_assert_double_eq(number_of("train/loss", 3), 0.25);
    ck_assert_double_eq(number_of("train/block_norms/0", 3), 1);
    ck_assert_double_eq(number_of("train/block_norms/2", 3), -2.5);
    ck_assert_double_eq(number_of("validation/psnr", 3), 20);
    ck_assert_ptr_null(find("train/grad_norm", 3));
    ck_assert_ptr_null(find("train/block_norms/1", 3));
    ck_assert_ptr_null(find("train/step", 3));
    size_t bytes;
    uint8_t *png = files_read("a.png", &bytes);
    const event *const image = find("sheets/a", 3);
    ck_assert_int_eq(image->height, 5);
    ck_assert_int_eq(image->width, 7);
    ck_assert_int_eq(image->png_bytes, (int64_t)bytes);
    ck_assert_uint_eq(image->png_crc, pumit__crc32c(png, (int64_t)bytes));
    free(png);
}
END_TEST

/* Files of one second, or of a clock that was set back, keep their order. */
START_TEST(later_files_sort_later)
{
    files_write("events.out.tfevents.9000000000.host.1", "", 0);
    for (int i = 0; i < 3; i++) {
        pumit__events *e;
        CHECK_OK(pumit__events_open(&e, files_path(""), 10 + i));
        pumit__events_close(e);
        read_file("", 1 + i, 2 + i);
        ck_assert_int_eq(events[1].step, 11 + i);
    }
}
END_TEST

START_TEST(full_disks_are_told)
{
    const struct rlimit limit = {2000, 2000};
    pumit__events *e;
    pumit_status status = PUMIT_OK;
    CHECK_OK(pumit__events_open(&e, files_path(""), 0));
    signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    for (int i = 0; i < 100 && status == PUMIT_OK; i++)
        status = pumit__events_figures(e, i, "{\"loss\":1}");
    files_check_failed(status, PUMIT_ERROR_IO, "events.out.tfevents.", "cannot write");
    pumit__events_close(e);
}
END_TEST

START_TEST(failures_name_the_file)
{
    pumit__events *e;
    files_check_failed(pumit__events_open(&e, files_path("absent"), 0), PUMIT_ERROR_IO,
                       "absent/events.out.tfevents.", "cannot write");
    CHECK_OK(pumit__events_open(&e, files_path(""), 0));
    files_write("text.png", "this is no picture, for all its name", 36);
    files_check_failed(pumit__events_picture(e, 1, "a", files_path("text.png")), PUMIT_ERROR_FORMAT,
                       "text.png", "no PNG");
    pumit__events_close(e);
}
END_TEST

START_TEST(no_events_is_no_error)
{
    CHECK_OK(pumit__events_figures(NULL, 1, "{}"));
    CHECK_OK(pumit__events_text(NULL, 1, "a", "b"));
    CHECK_OK(pumit__events_picture(NULL, 1, "a", files_path("absent.png")));
    pumit__events_close(NULL);
}
END_TEST

START_TEST(figures_hold_lists)
{
    const double values[] = {1, NAN, 3};
    static const double many[PUMIT__MOST_LISTED];
    pumit__figures terms = {0}, figures = {0};
    char *text;
    cJSON *tree;
    pumit__figures_list(&terms, "norms", values, 3);
    pumit__figures_add(&terms, "loss", 2);
    pumit__figures_list(&terms, "many", many, PUMIT__MOST_LISTED); /* no room any more */
    pumit__figures_append(&figures, &terms);
    pumit__figures_append(&figures, &terms);
    ck_assert_double_eq(pumit__figures_get(&figures, "loss"), 4);
    ck_assert_double_nan(pumit__figures_get(&figures, "norms"));
    CHECK_OK(pumit__figures_json(&tree, &figures));
    CHECK_OK(pumit__json_print(&text, tree, false));
    ck_assert_str_eq(text, "{\"norms\":[2,null,6],\"loss\":4}");
    free(text);
    cJSON_Delete(tree);
}
END_TEST

/* ------------------------------------------------------------------------------------------- a run */

static int32_t stop_at(void *user, int64_t step, int64_t max_steps, const char *metrics)
{
    (void)max_steps;
    (void)metrics;
    return step == *(const int64_t *)user;
}

/* Four steps over flat pictures of 16 x 16, or fewer. */
static void run_to(const char *output, int64_t stop_after, bool resume, bool keep)
{
    static const char TEXT[] =
        "{\"recipe\": \"tokenizer\", \"tokenizer\": {\"in_channels\": 1, \"channels\": [8, 8, 16], "
        "\"codes\": 8, \"code_dim\": 8}, \"train\": {\"steps\": 4, \"batch\": 3, \"tokens\": [1, "
        "1, 1], "
        "\"sheet_every\": 2, \"checkpoint_every\": 1, \"validate_batches\": 1}}";
    const char *const path = files_path("set");
    pumit_config *config;
    pumit_dataset *data;
    pumit_trainer *trainer;
    CHECK_OK(pumit_dataset_open(&data, files_context, 1, &path, NULL));
    CHECK_OK(pumit_config_parse(&config, TEXT));
    CHECK_OK(pumit_config_set_string(config, "output", files_path(output)));
    CHECK_OK(pumit_config_set_bool(config, "resume", resume));
    if (!keep) CHECK_OK(pumit_config_set_bool(config, "train.events", 0));
    CHECK_OK(pumit_trainer_create(&trainer, files_context, data, NULL, config));
    pumit_trainer_set_progress(trainer, stop_at, &stop_after);
    ck_assert_int_eq(pumit_trainer_run(trainer), stop_after < 4 ? PUMIT_ERROR_CANCELLED : PUMIT_OK);
    pumit_trainer_release(trainer);
    pumit_config_release(config);
    pumit_dataset_release(data);
}

static void write_set(void)
{
    uint8_t rows[16 * 16];
    files_folder("set");
    for (int n = 0; n < 3; n++) {
        char name[32];
        for (int i = 0; i < 256; i++) rows[i] = (uint8_t)((i % 16 * (n + 2) + i / 16 * 7) % 256);
        snprintf(name, sizeof name, "set/%d.png", n);
        png_write(name, 16, 16, 8, 0, false, rows);
    }
}

static void check_sheet(int64_t step)
{
    char name[64];
    size_t bytes;
    snprintf(name, sizeof name, "run/sheets/da5-step-%06lld.png", (long long)step);
    uint8_t *png = files_read(name, &bytes);
    const event *const e = find("sheets/da5", step);
    ck_assert_ptr_nonnull(e);
    ck_assert_int_eq(memcmp(e->png_head, "\x89PNG\r\n\x1a\n", 8), 0);
    ck_assert_uint_eq(e->png_crc, pumit__crc32c(png, (int64_t)bytes));
    ck_assert_int_eq(e->width, 3 * 128 + 2 * 10); /* images far apart */
    ck_assert_int_eq(e->height, 2 * 128 + 2);
    free(png);
}

START_TEST(runs_keep_events)
{
    write_set();
    run_to("run", 3, false, true);
    read_file("run", 0, 1);
    for (int64_t step = 1; step <= 3; step++) {
        ck_assert(isfinite(number_of("train/loss", step)));
        ck_assert(isfinite(number_of("train/learning_rate", step)));
    }
    ck_assert_ptr_null(find("train/loss", 4));
    check_sheet(2);
    const char *const text = find("config", 0)->text;
    ck_assert_int_eq(strncmp(text, "```json\n{", 9), 0);
    ck_assert_ptr_nonnull(strstr(text, "\"code_dim\":\t8"));
    run_to("run", 4, true, true);
    read_file("run", 1, 2);
    ck_assert_int_eq(events[1].step, 4);
    ck_assert(isfinite(number_of("train/loss", 4)));
    ck_assert(isfinite(number_of("validation/psnr", 4)));
    ck_assert_ptr_null(find("train/loss", 3));
    check_sheet(4);
    run_to("quiet", 4, false, false);
    struct dirent **entries;
    ck_assert_int_eq(scandir(files_path("quiet"), &entries, is_events, by_name), 0);
    free(entries);
}
END_TEST

/* ----------------------------------------------------------------------------------------- sheets */

/* Values tell image and slice: n / 2 + d / 32. */
static pumit_tensor *numbered(const int64_t shape[5])
{
    const int64_t each = shape[2] * shape[3] * shape[4], n = shape[0] * shape[1] * each;
    float *data = malloc((size_t)n * sizeof *data);
    pumit_tensor *tensor;
    ck_assert_ptr_nonnull(data);
    for (int64_t i = 0; i < n; i++)
        data[i] = (float)(i / each / shape[1]) / 2 + (float)(i / each % shape[1]) / 32;
    CHECK_OK(pumit_tensor_from_data(&tensor, files_context, PUMIT_F32, 5, shape, data));
    free(data);
    return tensor;
}

static float pixel(const pumit_volume *picture, int64_t y, int64_t x)
{
    int64_t shape[4];
    pumit_volume_shape(picture, shape);
    return pumit_volume_voxels(picture)[(y * shape[2] + x) * shape[3]];
}

START_TEST(sheets_of_volumes_show_slices)
{
    const int64_t shape[] = {3, 12, 130, 128, 1};
    int64_t size[4];
    pumit_tensor *const rows[] = {numbered(shape), numbered(shape)};
    pumit_volume *picture;
    CHECK_OK(pumit__sheet_write(files_path("sheet.png"), 2, rows));
    CHECK_OK(pumit_volume_read(&picture, files_context, files_path("sheet.png"), 0));
    pumit_volume_shape(picture, size);
    ck_assert_int_eq(size[1], 2 * (2 * 130 + 2) + 10);
    ck_assert_int_eq(size[2], 8 * 128 + 7 * 2);
    for (int i = 0; i < 8; i++) {
        const double slice = (2 * i + 1) * 12 / 16 / 32.0;
        const int64_t x = i * 130 + 5;
        ck_assert_double_eq_tol(pixel(picture, 3, x), 255 * slice, 0.51);
        ck_assert_double_eq_tol(pixel(picture, 130 + 2 + 3, x), 255 * slice, 0.51);
        ck_assert_double_eq_tol(pixel(picture, 2 * 130 + 2 + 10, x), 255 * (0.5 + slice), 0.51);
        ck_assert_double_eq(pixel(picture, 130, x), 255);
        ck_assert_double_eq(pixel(picture, 2 * 130 + 2 + 9, x), 255);
    }
    ck_assert_double_eq(pixel(picture, 3, 129), 255);
    pumit_volume_release(picture);
    pumit_tensor_release(rows[0]);
    pumit_tensor_release(rows[1]);
}
END_TEST

Suite *suite_events(void);
Suite *suite_events(void)
{
    Suite *suite = suite_create("events");
    TCase *tests = tcase_create("events");
    tcase_add_checked_fixture(tests, files_setup, files_teardown);
    tcase_set_timeout(tests, 30);
    tcase_add_test(tests, checksums_are_known);
    tcase_add_test(tests, records_come_back);
    tcase_add_test(tests, later_files_sort_later);
    tcase_add_test(tests, full_disks_are_told);
    tcase_add_test(tests, failures_name_the_file);
    tcase_add_test(tests, no_events_is_no_error);
    tcase_add_test(tests, figures_hold_lists);
    tcase_add_test(tests, runs_keep_events);
    tcase_add_test(tests, sheets_of_volumes_show_slices);
    suite_add_tcase(suite, tests);
    return suite;
}
