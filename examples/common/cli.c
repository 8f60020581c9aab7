/* SPDX-License-Identifier: Apache-2.0 */
#include "examples/common/cli.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const cli_option SHARED[] = {
    {"config", 0, 's', "FILE", NULL, "read options from a JSON file; flags override it"},
    {"set", 0, 's', "KEY=VALUE", NULL, "set any config key, such as train.batch=4"},
    {"device", 0, 's', "NAME", "device", "where to compute: cpu, reference"},
    {"threads", 't', 'i', "N", "threads", "compute threads; default: all cores"},
    {"json", 0, 'b', NULL, NULL, "print the result as JSON on stdout"},
    {"quiet", 'q', 'b', NULL, NULL, "print no progress and no warnings"},
    {"help", 'h', 'b', NULL, NULL, "print this and exit"},
    {"version", 0, 'b', NULL, NULL, "print the version and exit"},
    {0}};

/* ----------------------------------------------------------------------------------------- messages */

static __attribute__((format(printf, 2, 0))) void say(const cli *c, const char *format,
                                                      va_list list)
{
    fprintf(stderr, "%s: ", c->program);
    vfprintf(stderr, format, list);
    fputc('\n', stderr);
}

void cli_say(const cli *c, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    say(c, format, list);
    va_end(list);
}

int cli_fail(const cli *c)
{
    cli_say(c, "%s", pumit_last_error());
    return CLI_FAILED;
}

int cli_fail_with(const cli *c, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    say(c, format, list);
    va_end(list);
    return CLI_FAILED;
}

int cli_wrong_usage(const cli *c, const char *format, ...)
{
    char text[512];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    cli_say(c, "%s; see '%s --help'", text, c->program);
    return CLI_USAGE;
}

/* ---------------------------------------------------------------------------------------- warnings */

#define MOST_WARNINGS 20
static struct {
    char text[MOST_WARNINGS][400];
    int kept, lost;
} warnings;

static void keep_warning(void *user, int32_t level, const char *message)
{
    (void)user;
    (void)level;
    if (warnings.kept == MOST_WARNINGS) {
        warnings.lost++;
        return;
    }
    snprintf(warnings.text[warnings.kept++], sizeof *warnings.text, "%s", message);
}

void cli_tell_warnings(const cli *c)
{
    for (int i = 0; i < warnings.kept && !c->quiet; i++) cli_say(c, "%s", warnings.text[i]);
    if (warnings.lost > 0 && !c->quiet) cli_say(c, "and %d more warnings", warnings.lost);
    warnings.kept = warnings.lost = 0;
}

/* ------------------------------------------------------------------------------------------ options */

static void print_option(const cli_option *option)
{
    char left[64];
    const char letter[] = {option->letter, 0};
    snprintf(left, sizeof left, "%s%s--%s%s%s", option->letter ? "-" : "  ",
             option->letter ? letter : "  ", option->name, option->argument ? " " : "",
             option->argument ? option->argument : "");
    /* "-t" and "--threads" need a comma between them */
    if (option->letter)
        snprintf(left, sizeof left, "-%c, --%s%s%s", option->letter, option->name,
                 option->argument ? " " : "", option->argument ? option->argument : "");
    printf("  %-32s %s\n", left, option->help);
}

static void print_help(const cli *c)
{
    printf("Usage: %s %s\n\n%s\n\nOptions:\n", c->program, c->synopsis, c->summary);
    for (const cli_option *o = c->options; o->name; o++) print_option(o);
    for (const cli_option *o = SHARED; o->name; o++) print_option(o);
    printf("\nExit status: 0 done, 1 failed, 2 wrong usage.\n");
}

static const cli_option *find_option(const cli *c, const char *name, int letter)
{
    const cli_option *const tables[] = {c->options, SHARED};
    for (int t = 0; t < 2; t++)
        for (const cli_option *o = tables[t]; o->name; o++)
            if (name ? strcmp(o->name, name) == 0 : o->letter == letter) return o;
    return NULL;
}

static bool is_number(const char *text, char kind)
{
    char *end;
    errno = 0;
    if (kind == 'i')
        (void)strtoll(text, &end, 10);
    else
        (void)strtod(text, &end);
    return errno == 0 && end != text && *end == '\0';
}

static int check_value(const cli *c, const cli_option *option, const char *value)
{
    if ((option->kind == 'i' || option->kind == 'n') && !is_number(value, option->kind))
        return cli_wrong_usage(c, "--%s wants a %snumber, not '%s'", option->name,
                               option->kind == 'i' ? "whole " : "", value);
    if (strcmp(option->name, "set") == 0 && (*value == '=' || !strchr(value, '=')))
        return cli_wrong_usage(c, "--set wants KEY=VALUE, not '%s'", value);
    return CLI_DONE;
}

typedef struct {
    struct option longs[64];
    char shorts[64];
} getopt_tables;

static void fill_tables(getopt_tables *tables, const cli *c)
{
    const cli_option *const sources[] = {c->options, SHARED};
    int n = 0, s = 0;
    memset(tables, 0, sizeof *tables);
    tables->shorts[s++] = ':';
    for (int t = 0; t < 2; t++) {
        for (const cli_option *o = sources[t]; o->name; o++) {
            const int wants = o->argument ? required_argument : no_argument;
            tables->longs[n++] = (struct option){o->name, wants, NULL, 0};
            if (!o->letter) continue;
            tables->shorts[s++] = o->letter;
            if (o->argument) tables->shorts[s++] = ':';
        }
    }
}

static int read_options(cli *c, int argc, char **argv)
{
    getopt_tables tables;
    int which, got;
    fill_tables(&tables, c);
    opterr = 0;
    while ((got = getopt_long(argc, argv, tables.shorts, tables.longs, &which)) != -1) {
        if (got == ':') return cli_wrong_usage(c, "%s wants an argument", argv[optind - 1]);
        if (got == '?') return cli_wrong_usage(c, "unknown option '%s'", argv[optind - 1]);
        const cli_option *const o = find_option(c, got ? NULL : tables.longs[which].name, got);
        if (o->argument && check_value(c, o, optarg) != CLI_DONE) return CLI_USAGE;
        if (c->given_count == CLI_MOST_GIVEN) return cli_wrong_usage(c, "too many options");
        c->given[c->given_count].option = o;
        c->given[c->given_count++].value = o->argument ? optarg : "true";
    }
    c->paths = (const char *const *)argv + optind;
    c->path_count = argc - optind;
    c->json = cli_given(c, "json");
    c->quiet = cli_given(c, "quiet");
    return CLI_DONE;
}

const char *cli_value(const cli *c, const char *name)
{
    const char *value = NULL;
    for (int i = 0; i < c->given_count; i++)
        if (strcmp(c->given[i].option->name, name) == 0) value = c->given[i].value;
    return value;
}

bool cli_given(const cli *c, const char *name)
{
    return cli_value(c, name) != NULL;
}

/* ------------------------------------------------------------------------------------------- config */

static pumit_status apply_set(cli *c, const char *assignment)
{
    char key[256];
    const char *const equals = strchr(assignment, '=');
    snprintf(key, sizeof key, "%.*s", (int)(equals - assignment), assignment);
    return pumit_config_set_json(c->config, key, equals + 1);
}

static pumit_status apply(cli *c, const cli_option *option, const char *value)
{
    if (strcmp(option->name, "set") == 0) return apply_set(c, value);
    if (!option->key) return PUMIT_OK;
    if (option->kind == 's') return pumit_config_set_string(c->config, option->key, value);
    return pumit_config_set_json(c->config, option->key, value);
}

static pumit_status make_config(cli *c)
{
    const char *const file = cli_value(c, "config");
    pumit_status status =
        file ? pumit_config_read(&c->config, file) : pumit_config_create(&c->config);
    for (int i = 0; i < c->given_count && status == PUMIT_OK; i++)
        status = apply(c, c->given[i].option, c->given[i].value);
    return status;
}

pumit_status cli_open_context(cli *c)
{
    const pumit_status status = pumit_context_create(&c->ctx, c->config);
    if (status == PUMIT_OK) pumit_context_set_log(c->ctx, keep_warning, NULL);
    return status;
}

int cli_main(cli *c, int argc, char **argv, int (*body)(cli *c))
{
    const int usage = read_options(c, argc, argv);
    if (usage != CLI_DONE) return usage;
    if (cli_given(c, "help")) {
        print_help(c);
        return CLI_DONE;
    }
    if (cli_given(c, "version")) {
        printf("%s %s\n", c->program, pumit_version());
        return CLI_DONE;
    }
    if (c->path_count < c->least_paths)
        return cli_wrong_usage(
            c, "%s", c->path_count == 0 ? "what to work on is missing" : "too few arguments");
    const int result = make_config(c) == PUMIT_OK ? body(c) : cli_fail(c);
    pumit_context_release(c->ctx);
    pumit_config_release(c->config);
    return result;
}

/* ------------------------------------------------------------------------------------------- output */

int cli_print_json(const cli *c, cJSON *tree)
{
    char *text = tree ? cJSON_Print(tree) : NULL;
    cJSON_Delete(tree);
    if (!text) return cli_fail_with(c, "out of memory");
    const bool written = puts(text) >= 0 && fflush(stdout) == 0;
    free(text);
    return written ? CLI_DONE : cli_fail_with(c, "cannot write to stdout: %s", strerror(errno));
}

FILE *cli_open_output(const cli *c)
{
    const char *const path = cli_value(c, "output");
    if (!path) return stdout;
    FILE *file = fopen(path, "we");
    if (!file) cli_say(c, "%s: cannot write: %s", path, strerror(errno));
    return file;
}

int cli_close_output(const cli *c, FILE *file)
{
    const bool failed = fflush(file) != 0 || ferror(file);
    const int kept = errno;
    if (file != stdout && fclose(file) != 0 && !failed)
        return cli_fail_with(c, "%s: cannot write: %s", cli_value(c, "output"), strerror(errno));
    if (!failed) return CLI_DONE;
    return cli_fail_with(c, "cannot write the result: %s", strerror(kept));
}
