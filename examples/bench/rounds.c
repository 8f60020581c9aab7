/* SPDX-License-Identifier: Apache-2.0 */
#include "examples/bench/rounds.h"

#include <errno.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* Starts a program whose stdout can be read from *out. */
static bool start(pid_t *pid, FILE **out, const char *file, const char **argv)
{
    int ends[2];
    posix_spawn_file_actions_t actions;
    if (pipe(ends) != 0) return false;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addclose(&actions, ends[0]);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    posix_spawn_file_actions_addclose(&actions, ends[1]);
    const bool started = posix_spawn(pid, file, &actions, NULL, (char **)argv, environ) == 0;
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    *out = started ? fdopen(ends[0], "r") : NULL;
    if (!*out) close(ends[0]);
    return started;
}

/* Joins what a program prints to `all`; gives the number of lines that held a result, -1 if it failed. */
static int gather(rows *all, const char *file, const char **argv)
{
    pid_t pid;
    FILE *out;
    char line[4096];
    int added = 0, status = 1;
    if (!start(&pid, &out, file, argv)) return -1;
    while (out && fgets(line, sizeof line, out)) added += rows_add(all, line);
    if (out) fclose(out);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
    return status == 0 ? added : -1;
}

/* What a case's process is told beside its own options. */
typedef struct {
    char threads[16], seconds[32];
    const char *words[7];
} orders;

static void make_orders(orders *o, const rounds *r, const bench_case *c, int threads)
{
    snprintf(o->threads, sizeof o->threads, "%d", threads);
    snprintf(o->seconds, sizeof o->seconds, "%g", r->seconds);
    const char *const words[] = {"--case",    c->name,    "--threads", o->threads,
                                 "--seconds", o->seconds, NULL};
    memcpy(o->words, words, sizeof words);
}

static int run_own(rows *all, const rounds *r, const orders *o)
{
    const char **argv = calloc((size_t)r->argc + 8, sizeof *argv);
    if (!argv) return -1;
    memcpy(argv, r->argv, (size_t)r->argc * sizeof *argv);
    memcpy(argv + r->argc, o->words, sizeof o->words);
    const int added = gather(all, "/proc/self/exe", argv);
    free(argv);
    return added;
}

/* The peer's command goes through a shell, so that it may hold arguments. */
static int run_peer(rows *all, const char *command, const orders *o)
{
    char script[1024];
    const char *argv[4 + 7] = {"sh", "-c", script, "sh"};
    memcpy(argv + 4, o->words, sizeof o->words);
    snprintf(script, sizeof script, "exec %s \"$@\"", command);
    return gather(all, "/bin/sh", argv);
}

static void tell(const rounds *r, const char *name, int threads, const char *who, int added,
                 double seconds)
{
    if (r->c->quiet) return;
    cli_say(r->c, "  %-30s %d thread%s  %-10s %6.1f s%s", name, threads, threads > 1 ? "s" : "",
            who, seconds,
            added < 0    ? "  FAILED"
            : added == 0 ? "  has no such case"
                         : "");
}

/* A case by this program and by all peers. */
static int run_case(rows *all, const rounds *r, const bench_case *c, int threads)
{
    orders o;
    make_orders(&o, r, c, threads);
    double begin = machine_now();
    int result = run_own(all, r, &o) < 0 ? CLI_FAILED : CLI_DONE;
    tell(r, c->name, threads, "", result == CLI_DONE ? 1 : -1, machine_now() - begin);
    for (int i = 0, peers = 0; i < r->c->given_count; i++) {
        char who[16];
        if (strcmp(r->c->given[i].option->name, "peer") != 0) continue;
        begin = machine_now();
        const int added = run_peer(all, r->c->given[i].value, &o);
        if (added < 0) result = CLI_FAILED;
        snprintf(who, sizeof who, "peer %d", ++peers);
        tell(r, c->name, threads, who, added, machine_now() - begin);
    }
    return result;
}

static bool wanted(const rounds *r, const bench_case *c, int threads)
{
    if (c->full && !r->full) return false;
    if (c->kind->pair && threads < 2) return false;
    return threads > 0 && strstr(c->name, r->only);
}

int rounds_run(rows *all, const rounds *r)
{
    int result = CLI_DONE;
    bool any = false;
    for (int round = 0; round < r->runs; round++) {
        bench_case c;
        if (!r->c->quiet) cli_say(r->c, "round %d of %d", round + 1, r->runs);
        for (int i = 0; bench_case_at(&c, i); i++)
            for (int t = 0; t < 2; t++) {
                if (!wanted(r, &c, r->threads[t])) continue;
                any = true;
                if (run_case(all, r, &c, r->threads[t]) != CLI_DONE) result = CLI_FAILED;
                if (r->save(r->c, all) != CLI_DONE) return CLI_FAILED;
            }
    }
    if (!any) return cli_fail_with(r->c, "no case is named like '%s'; see --list", r->only);
    return result;
}
