/* SPDX-License-Identifier: Apache-2.0 */
/* How fast the networks are on this machine, how near to what it can do, and how much memory they take; docs/performance.md. */
#include "examples/bench/rounds.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const cli_option OPTIONS[] = {
    {"only", 0, 's', "TEXT", NULL, "measure the cases with this in their names"},
    {"full", 0, 'b', NULL, NULL, "measure batches of 4 and one thread, too"},
    {"runs", 0, 'i', "N", NULL, "rounds over all cases; 3. Figures are medians over them"},
    {"seconds", 0, 'n', "S", NULL, "let a process work this long, beyond a first call; 1"},
    {"compare", 0, 's', "FILE", NULL, "put an earlier result (of --json) beside the new one"},
    {"peer", 0, 's', "COMMAND", NULL, "run this in turn, a process a case; may be repeated"},
    {"output", 'o', 's', "FILE", NULL, "write the result as JSON there, as far as it is"},
    {"markdown", 0, 'b', NULL, NULL, "print the table as Markdown"},
    {"list", 0, 'b', NULL, NULL, "list the cases"},
    {"case", 0, 's', "NAME", NULL, "measure one in this very process: for profilers"},
    {0}};

static int list_cases(bool full)
{
    bench_case one;
    for (int i = 0; bench_case_at(&one, i); i++)
        if (full || !one.full) puts(one.name);
    return CLI_DONE;
}

static double option(const cli *c, const char *name, double fallback)
{
    const char *const value = cli_value(c, name);
    return value ? strtod(value, NULL) : fallback;
}

static int run_one(cli *c, const rounds *r)
{
    bench_case one;
    const char *const name = cli_value(c, "case");
    if (!bench_case_find(&one, name))
        return cli_wrong_usage(c, "there is no case '%s': --list has them", name);
    return bench_case_run(c, &one, r->threads[1] ? r->threads[1] : r->threads[0], r->seconds);
}

/* The threads to measure with: those asked for, or all cores, and with --full one. */
static int read_threads(rounds *r)
{
    int64_t threads;
    const long cores = sysconf(_SC_NPROCESSORS_ONLN);
    if (pumit_config_get_int(&threads, r->c->config, "threads", cores) != PUMIT_OK)
        return cli_fail(r->c);
    if (threads < 1 || threads > 1024) return cli_wrong_usage(r->c, "--threads must be in 1..1024");
    r->threads[0] = (int)threads;
    if (r->full && !cli_given(r->c, "threads") && cores > 1) {
        r->threads[0] = 1;
        r->threads[1] = (int)cores;
    }
    return CLI_DONE;
}

static int save(const cli *c, const rows *all)
{
    if (!cli_given(c, "output") || all->count == 0) return CLI_DONE;
    FILE *const file = cli_open_output(c);
    if (!file) return CLI_FAILED;
    cJSON *tree = rows_json(all);
    char *text = cJSON_Print(tree);
    if (text) fprintf(file, "%s\n", text);
    cJSON_free(text);
    cJSON_Delete(tree);
    return cli_close_output(c, file);
}

static int measure_all(cli *c, rounds *r)
{
    rows all = {0}, before = {0};
    const char *const earlier = cli_value(c, "compare");
    int result = earlier ? rows_read(&before, c, earlier) : CLI_DONE;
    machine_name(all.machine, sizeof all.machine);
    if (result == CLI_DONE && c->path_count)
        result = rows_read(&all, c, c->paths[0]);
    else if (result == CLI_DONE)
        result = rounds_run(&all, r);
    if (all.count > 0 && c->json)
        cli_print_json(c, rows_json(&all));
    else if (all.count > 0 && cli_given(c, "markdown"))
        rows_print_markdown(&all);
    else if (all.count > 0)
        rows_print(&all, earlier ? &before : NULL);
    rows_free(&all);
    rows_free(&before);
    return result;
}

static rounds started; /* argc and argv */

static int body(cli *c)
{
    rounds r = started;
    r.c = c;
    r.full = cli_given(c, "full");
    r.save = save;
    r.only = cli_given(c, "only") ? cli_value(c, "only") : "";
    r.runs = (int)option(c, "runs", 3);
    r.seconds = option(c, "seconds", 1);
    if (r.runs < 1 || r.runs > ROWS_MOST_RUNS)
        return cli_wrong_usage(c, "--runs must be in 1..%d", ROWS_MOST_RUNS);
    if (!(r.seconds >= 0)) return cli_wrong_usage(c, "--seconds must not be negative");
    if (c->path_count > 1) return cli_wrong_usage(c, "more than one result");
    if (cli_given(c, "list")) return list_cases(r.full);
    if (read_threads(&r) != CLI_DONE) return CLI_USAGE;
    return cli_given(c, "case") ? run_one(c, &r) : measure_all(c, &r);
}

int main(int argc, char **argv)
{
    cli c = {.program = "pumit-bench",
             .synopsis = "[OPTION]... [RESULT.json]",
             .summary =
                 "Measures the networks at the paper's sizes on this machine: time, share of the "
                 "machine's\nmatrix rate, peak memory, each case in a process of its own. With a "
                 "RESULT nothing is measured.",
             .options = OPTIONS};
    started = (rounds){.argv = argv, .argc = argc};
    return cli_main(&c, argc, argv, body);
}
