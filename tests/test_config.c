/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/base/config.h"

#include <check.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHECK_OK(call) ck_assert_int_eq((call), PUMIT_OK)
/* The call fails with `status` and says `words`. */
#define CHECK_FAILS(call, status, words)                                                           \
    do {                                                                                           \
        ck_assert_int_eq((call), (status));                                                        \
        ck_assert_msg(strstr(pumit_last_error(), words), "\"%s\" lacks \"%s\"",                    \
                      pumit_last_error(), words);                                                  \
    } while (0)
#define INVALID PUMIT_ERROR_INVALID_ARGUMENT

static pumit_config *parsed(const char *json)
{
    pumit_config *config;
    CHECK_OK(pumit_config_parse(&config, json));
    return config;
}

static int64_t int_of(const pumit_config *config, const char *key)
{
    int64_t value;
    CHECK_OK(pumit_config_get_int(&value, config, key, -77));
    return value;
}

/* Compares with the unindented text of the whole config. */
static void check_json(const pumit_config *config, const char *wanted)
{
    char *text;
    CHECK_OK(pumit__json_print(&text, pumit__config_json(config), false));
    ck_assert_str_eq(text, wanted);
    pumit_free(text);
}

START_TEST(values_come_back)
{
    pumit_config *config;
    CHECK_OK(pumit_config_create(&config));
    CHECK_OK(pumit_config_set_int(config, "vit.dim", 768));
    CHECK_OK(pumit_config_set_double(config, "vit.drop.rate", 0.25));
    CHECK_OK(pumit_config_set_bool(config, "vit.on", 5));
    CHECK_OK(pumit_config_set_string(config, "name", "a \"b\"\n"));
    CHECK_OK(pumit_config_set_int(config, "vit.dim", 12)); /* replaces in place */
    check_json(config, "{\"vit\":{\"dim\":12,\"drop\":{\"rate\":0.25},\"on\":true},"
                       "\"name\":\"a \\\"b\\\"\\n\"}");
    double rate;
    int32_t on;
    const char *name;
    CHECK_OK(pumit_config_get_double(&rate, config, "vit.drop.rate", 9));
    CHECK_OK(pumit_config_get_bool(&on, config, "vit.on", 0));
    CHECK_OK(pumit_config_get_string(&name, config, "name", NULL));
    ck_assert_int_eq(int_of(config, "vit.dim"), 12);
    ck_assert(rate == 0.25);
    ck_assert_int_eq(on, 1);
    ck_assert_str_eq(name, "a \"b\"\n");
    pumit_config_release(config);
}
END_TEST

START_TEST(absent_keys_and_null_configs_give_the_fallback)
{
    pumit_config *config = parsed("{\"a\":{}}");
    const pumit_config *const asked[] = {NULL, config};
    for (int i = 0; i < 2; i++) {
        double d;
        int32_t b, count = 7;
        int64_t values[2];
        const char *s;
        pumit_config *section;
        ck_assert_int_eq(int_of(asked[i], "a.b.c"), -77);
        CHECK_OK(pumit_config_get_double(&d, asked[i], "a.b", 1.5));
        CHECK_OK(pumit_config_get_bool(&b, asked[i], "b", 1));
        CHECK_OK(pumit_config_get_string(&s, asked[i], "A", "none"));
        CHECK_OK(pumit_config_get_ints(values, 2, &count, asked[i], "v"));
        CHECK_OK(pumit_config_get_section(&section, asked[i], "a"));
        ck_assert(d == 1.5 && b == 1 && count == 0);
        ck_assert_str_eq(s, "none");
        check_json(section, "{}");
        pumit_config_release(section);
    }
    pumit_config_release(config);
    pumit_config_release(NULL);
}
END_TEST

START_TEST(another_type_is_an_error_that_names_the_key)
{
    pumit_config *config = parsed("{\"vit\":{\"dim\":\"768\",\"rate\":1.5,\"on\":1,\"no\":null,"
                                  "\"v\":[1,2.5],\"w\":[1,2,3]}}");
    int64_t i, values[2];
    int32_t b, count;
    double d;
    const char *s;
    pumit_config *section;
    CHECK_FAILS(pumit_config_get_int(&i, config, "vit.dim", 0), INVALID,
                "config key 'vit.dim' is a string, an integer is wanted");
    CHECK_FAILS(pumit_config_get_int(&i, config, "vit.rate", 0), INVALID, "'vit.rate' is 1.5");
    CHECK_FAILS(pumit_config_get_int(&i, config, "vit.no", 0), INVALID, "'vit.no' is null");
    CHECK_FAILS(pumit_config_get_double(&d, config, "vit.dim", 0), INVALID, "a number is wanted");
    CHECK_FAILS(pumit_config_get_bool(&b, config, "vit.on", 0), INVALID, "'vit.on' is a number");
    CHECK_FAILS(pumit_config_get_string(&s, config, "vit.rate", ""), INVALID, "a string is wanted");
    CHECK_FAILS(pumit_config_get_int(&i, config, "vit.dim.x", 0), INVALID,
                "config key 'vit.dim' is a string, an object is wanted");
    CHECK_FAILS(pumit_config_get_section(&section, config, "vit.v"), INVALID, "'vit.v' is an arr");
    CHECK_FAILS(pumit_config_get_ints(values, 2, &count, config, "vit.rate"), INVALID, "vit.rate");
    CHECK_FAILS(pumit_config_get_ints(values, 2, &count, config, "vit.v"), INVALID, "value 1");
    CHECK_FAILS(pumit_config_get_ints(values, 2, &count, config, "vit.w"), INVALID, "more than 2");
    CHECK_FAILS(pumit_config_set_int(config, "vit.dim.x", 0), INVALID, "'vit.dim' is a string");
    pumit_config_release(config);
}
END_TEST

START_TEST(bad_keys_and_values_are_refused)
{
    static const char *const bad[] = {"", ".", "a.", ".a", "a..b"};
    pumit_config *config = parsed("{}");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int64_t value;
        ck_assert_int_eq(pumit_config_get_int(&value, NULL, bad[i], 0), INVALID);
        ck_assert_int_eq(pumit_config_set_int(config, bad[i], 1), INVALID);
    }
    CHECK_FAILS(pumit_config_set_int(config, NULL, 1), INVALID, "key");
    CHECK_FAILS(pumit_config_set_int(NULL, "a", 1), INVALID, "NULL");
    CHECK_FAILS(pumit_config_set_int(config, "a", (INT64_C(1) << 53) + 1), INVALID, "2^53");
    CHECK_FAILS(pumit_config_set_double(config, "a", NAN), INVALID, "finite");
    CHECK_FAILS(pumit_config_set_double(config, "a", -INFINITY), INVALID, "finite");
    CHECK_FAILS(pumit_config_set_string(config, "a", NULL), INVALID, "'a'");
    CHECK_FAILS(pumit_config_set_json(config, "a", NULL), INVALID, "'a'");
    check_json(config, "{}");
    pumit_config_release(config);
}
END_TEST

START_TEST(integers_and_doubles_survive_text)
{
    static const int64_t ints[] = {
        0, -1, 2147483648, -2147483649, 9007199254740991, -9007199254740992};
    static const double doubles[] = {0.1 + 0.2, 1.0 / 3, 1e-300, 5e-324, 1.7976931348623157e308};
    for (int i = 0; i < 6; i++) {
        pumit_config *config = parsed("{}"), *again;
        char *text;
        double d;
        CHECK_OK(pumit_config_set_int(config, "i", ints[i]));
        CHECK_OK(pumit_config_set_double(config, "d", doubles[i % 5]));
        CHECK_OK(pumit_config_to_json(&text, config));
        again = parsed(text);
        ck_assert_int_eq(int_of(again, "i"), ints[i]);
        CHECK_OK(pumit_config_get_double(&d, again, "d", 0));
        ck_assert_msg(d == doubles[i % 5], "%.17g", d);
        pumit_free(text);
        pumit_config_release(config);
        pumit_config_release(again);
    }
}
END_TEST

START_TEST(broken_json_is_told_with_its_line)
{
    static const struct {
        const char *text, *words;
    } cases[] = {{"{\n\"a\": 1,\n\"b\": }", "line 3"},
                 {"{\"a\":1}\n\nx", "line 3"},
                 {"", "line 1"},
                 {"{\"a\":1", "line 1"},
                 {"[1]", "must be an object"},
                 {"3", "must be"},
                 {"{\"a\":1e999}", "too large"},
                 {"{\"a\":nan}", "line 1"},
                 {"{a:1}", "line 1"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pumit_config *config = (pumit_config *)&config;
        CHECK_FAILS(pumit_config_parse(&config, cases[i].text), PUMIT_ERROR_FORMAT, cases[i].words);
        ck_assert_ptr_null(config);
    }
}
END_TEST

START_TEST(depth_is_limited)
{
    enum { DEEP = 900 };
    static char text[6 * DEEP + 8], key[2 * DEEP + 8];
    pumit_config *config;
    for (int i = 0; i < DEEP; i++) memcpy(text + 5 * i, "{\"a\":", 5);
    text[5 * DEEP] = '1';
    memset(text + 5 * DEEP + 1, '}', DEEP);
    memset(key, '.', sizeof key - 1);
    for (int i = 0; i < DEEP; i++) key[2 * i] = 'a';
    key[2 * DEEP - 1] = '\0';
    CHECK_FAILS(pumit_config_parse(&config, text), PUMIT_ERROR_LIMIT, "nested");
    config = parsed("{}");
    CHECK_FAILS(pumit_config_set_int(config, key, 1), INVALID, "200 names");
    key[2 * 150 - 1] = '\0';
    CHECK_OK(pumit_config_set_int(config, key, 1));
    memset(text, '[', 100), memset(text + 100, ']', 100), text[200] = '\0';
    CHECK_FAILS(pumit_config_set_json(config, key, text), PUMIT_ERROR_LIMIT, "nested");
    CHECK_OK(pumit_config_set_json(config, "b", text));
    pumit_config_release(config);
}
END_TEST

START_TEST(set_json_takes_text_as_string)
{
    pumit_config *config = parsed("{}");
    static const char *const values[] = {"[16,16,16]", "true",  "-2.5", "hello world", "\"quoted\"",
                                         "2024-01-05", "007",   "",     "nan",         "{\"x\":1}",
                                         "1e999",      "1 2 3", "0.5"};
    static const char *const wanted[] = {
        "[16,16,16]",     "true",      "-2.5", "\"hello world\"", "\"quoted\"",
        "\"2024-01-05\"", "\"007\"",   "\"\"", "\"nan\"",         "{\"x\":1}",
        "\"1e999\"",      "\"1 2 3\"", "0.5"};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        char expect[64];
        CHECK_OK(pumit_config_set_json(config, "k", values[i]));
        snprintf(expect, sizeof expect, "{\"k\":%s}", wanted[i]);
        check_json(config, expect);
    }
    CHECK_OK(pumit_config_set_json(config, "k", "[16, 8,4]"));
    int64_t sizes[3];
    int32_t count;
    CHECK_OK(pumit_config_get_ints(sizes, 3, &count, config, "k"));
    ck_assert(count == 3 && sizes[0] == 16 && sizes[1] == 8 && sizes[2] == 4);
    pumit_config_release(config);
}
END_TEST

START_TEST(merge_joins_objects)
{
    pumit_config *config = parsed("{\"a\":{\"x\":1,\"y\":{\"p\":1}},\"b\":[1,2],\"c\":3}");
    pumit_config *over =
        parsed("{\"a\":{\"y\":{\"q\":2},\"x\":{\"z\":0}},\"b\":[9],\"d\":{\"e\":1}}");
    CHECK_OK(pumit_config_merge(config, over));
    check_json(config, "{\"a\":{\"x\":{\"z\":0},\"y\":{\"p\":1,\"q\":2}},\"b\":[9],\"c\":3,"
                       "\"d\":{\"e\":1}}");
    CHECK_OK(pumit_config_set_int(over, "d.e", 8)); /* the merged values are copies */
    ck_assert_int_eq(int_of(config, "d.e"), 1);
    CHECK_OK(pumit_config_merge(config, NULL));
    CHECK_OK(pumit_config_merge(config, config));
    ck_assert_int_eq(int_of(config, "a.y.q"), 2);
    pumit_config *section;
    CHECK_OK(pumit_config_get_section(&section, config, "a.y"));
    check_json(section, "{\"p\":1,\"q\":2}");
    pumit_config_release(section);
    pumit_config_release(config);
    pumit_config_release(over);
}
END_TEST

START_TEST(files_are_read)
{
    char path[] = "/tmp/pumit-test-config-XXXXXX";
    const int fd = mkstemp(path);
    pumit_config *config;
    ck_assert(fd >= 0 && write(fd, "{\"a\":\n5}\n", 9) == 9);
    CHECK_OK(pumit_config_read(&config, path));
    ck_assert_int_eq(int_of(config, "a"), 5);
    pumit_config_release(config);
    ck_assert(write(fd, "{", 1) == 1);
    CHECK_FAILS(pumit_config_read(&config, path), PUMIT_ERROR_FORMAT, path);
    ck_assert_ptr_nonnull(strstr(pumit_last_error(), "line 3"));
    ck_assert(pwrite(fd, "\0", 1, 9) == 1);
    CHECK_FAILS(pumit_config_read(&config, path), PUMIT_ERROR_FORMAT, path);
    close(fd);
    unlink(path);
    CHECK_FAILS(pumit_config_read(&config, path), PUMIT_ERROR_NOT_FOUND, path);
    ck_assert_ptr_null(config);
}
END_TEST

static int allocations_left;

static void *scarce_malloc(size_t bytes)
{
    if (allocations_left-- > 0) return malloc(bytes);
    errno = ENOMEM;
    return NULL;
}

/* Everything that allocates, stopping at the first failure. */
static pumit_status work(pumit_config **config, pumit_config **over, char **text)
{
    PUMIT__TRY(pumit_config_parse(config, "{\"a\":{\"b\":[1,\"x\"]},\"c\":0.1}"));
    PUMIT__TRY(pumit_config_create(over));
    PUMIT__TRY(pumit_config_set_int(*over, "a.d.e", 1));
    PUMIT__TRY(pumit_config_set_int(*over, "a.d.e", 2));
    PUMIT__TRY(pumit_config_set_string(*over, "a.b", "s"));
    PUMIT__TRY(pumit_config_set_json(*over, "j", "[1,[2]]"));
    PUMIT__TRY(pumit_config_set_json(*over, "k", "word"));
    PUMIT__TRY(pumit_config_merge(*config, *over));
    return pumit_config_to_json(text, *config);
}

START_TEST(every_failed_allocation_is_out_of_memory)
{
    int failures = 0;
    for (int room = 0;; room++) {
        cJSON_Hooks scarce = {scarce_malloc, free};
        allocations_left = room;
        cJSON_InitHooks(&scarce);
        pumit_config *config = NULL, *over = NULL;
        char *text = NULL;
        const pumit_status status = work(&config, &over, &text);
        cJSON_InitHooks(NULL);
        if (status == PUMIT_OK)
            check_json(config, "{\"a\":{\"b\":\"s\",\"d\":{\"e\":2}},\"c\":0.1,\"j\":[1,[2]],"
                               "\"k\":\"word\"}");
        pumit_config_release(config);
        pumit_config_release(over);
        pumit_free(text);
        if (status == PUMIT_OK) break;
        ck_assert_msg(status == PUMIT_ERROR_OUT_OF_MEMORY, "room for %d: %s", room,
                      pumit_last_error());
        failures++;
    }
    ck_assert_int_gt(failures, 40);
}
END_TEST

Suite *suite_config(void);
Suite *suite_config(void)
{
    Suite *suite = suite_create("config");
    TCase *tcase = tcase_create("config");
    tcase_add_test(tcase, values_come_back);
    tcase_add_test(tcase, absent_keys_and_null_configs_give_the_fallback);
    tcase_add_test(tcase, another_type_is_an_error_that_names_the_key);
    tcase_add_test(tcase, bad_keys_and_values_are_refused);
    tcase_add_test(tcase, integers_and_doubles_survive_text);
    tcase_add_test(tcase, broken_json_is_told_with_its_line);
    tcase_add_test(tcase, depth_is_limited);
    tcase_add_test(tcase, set_json_takes_text_as_string);
    tcase_add_test(tcase, merge_joins_objects);
    tcase_add_test(tcase, files_are_read);
    tcase_add_test(tcase, every_failed_allocation_is_out_of_memory);
    suite_add_tcase(suite, tcase);
    return suite;
}
