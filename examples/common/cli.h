/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the programs have in common: options, messages, and how they end.
 *
 * A program is a table of options and a function. Messages go to stderr behind the program's name, results to stdout; the exit
 * status is 0 when done, 1 when it failed, 2 when it was called wrongly.
 */
#ifndef EXAMPLES_COMMON_CLI_H
#define EXAMPLES_COMMON_CLI_H

#include <pumit/pumit.h>

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdio.h>

#define CLI_DONE   0
#define CLI_FAILED 1
#define CLI_USAGE  2

typedef struct {
    const char *name; /* long option, without the dashes */
    char letter;      /* short form, 0: none */
    char
        kind; /* of its argument: 's' text, 'i' whole number, 'n' number, 'j' JSON; 'b': a switch */
    const char *argument; /* name of its argument in the help; NULL for a switch */
    const char *key;      /* the config key that it sets; NULL: the program asks for it */
    const char *help;
} cli_option;

#define CLI_MOST_GIVEN 256

typedef struct {
    const char *program, *synopsis, *summary;
    const cli_option *options; /* up to one without name */
    int least_paths;

    pumit_config *config; /* --config, then what the other options say */
    pumit_context *ctx;
    const char *const *paths;
    int path_count;
    bool json, quiet;
    struct {
        const cli_option *option;
        const char *value;
    } given[CLI_MOST_GIVEN];
    int given_count;
} cli;

/* Runs `body` between reading the options and releasing what cli holds; its result is the program's. */
int cli_main(cli *c, int argc, char **argv, int (*body)(cli *c));

/* The option's last value, NULL if it was not given. */
const char *cli_value(const cli *c, const char *name);
bool cli_given(const cli *c, const char *name);

/* Makes c->ctx from --device and --threads, with warnings of the library going to stderr. */
pumit_status cli_open_context(cli *c);

/* A line on stderr behind the program's name. */
void cli_say(const cli *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The library's last error as that line; gives CLI_FAILED. */
int cli_fail(const cli *c);
/* The same with a text of one's own. */
int cli_fail_with(const cli *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
int cli_wrong_usage(const cli *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Warnings are kept back until this is called, so that a failure is told in one line. */
void cli_tell_warnings(const cli *c);

/* Prints a tree on stdout and deletes it. */
int cli_print_json(const cli *c, cJSON *tree);

/* stdout, or the file of --output; cli_close_output() reports what could not be written. */
FILE *cli_open_output(const cli *c);
int cli_close_output(const cli *c, FILE *file);

#endif
