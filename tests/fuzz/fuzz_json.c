/* SPDX-License-Identifier: Apache-2.0 */
/* A configuration: read, every value asked for in every type, written and read again, merged. */
#include "tests/fuzz/fuzz.h"

#include "lib/base/config.h"

#include <stdlib.h>
#include <string.h>

/* Names with dots are no keys of the top level. */
static void ask(pumit_config *config, const char *key)
{
    int64_t whole, values[4];
    double number;
    int32_t yes, count;
    const char *text;
    pumit_config *section;
    fuzz_answered(pumit_config_get_int(&whole, config, key, 1));
    fuzz_answered(pumit_config_get_double(&number, config, key, 1));
    fuzz_answered(pumit_config_get_bool(&yes, config, key, 1));
    fuzz_answered(pumit_config_get_string(&text, config, key, "x"));
    fuzz_answered(pumit_config_get_ints(values, 4, &count, config, key));
    if (fuzz_answered(pumit_config_get_section(&section, config, key)))
        pumit_config_release(section);
}

static void write_and_read(pumit_config *config)
{
    char *text, *again;
    pumit_config *copy;
    fuzz_require(pumit_config_to_json(&text, config) == PUMIT_OK, "a configuration is text");
    fuzz_require(pumit_config_parse(&copy, text) == PUMIT_OK, "which can be read");
    fuzz_require(pumit_config_to_json(&again, copy) == PUMIT_OK, "and is text");
    fuzz_require(strcmp(text, again) == 0, "the same");
    fuzz_answered(pumit_config_merge(copy, config));
    fuzz_answered(pumit_config_set_json(copy, "x.y", text));
    pumit_config_release(copy);
    pumit_free(text);
    pumit_free(again);
}

int fuzz_json(const uint8_t *data, size_t bytes)
{
    pumit_config *config;
    char *text = fuzz_text(data, bytes);
    if (fuzz_took(pumit_config_read(&config, fuzz_file("config.json", data, bytes)))) {
        for (const cJSON *item = pumit__config_json(config)->child; item; item = item->next)
            ask(config, item->string);
        write_and_read(config);
        fuzz_took(pumit_config_set_json(config, "some.key", text));
        pumit_config_release(config);
    }
    if (fuzz_took(pumit_config_parse(&config, text))) pumit_config_release(config);
    free(text);
    return 0;
}

FUZZ_TARGET(fuzz_json)
