/* SPDX-License-Identifier: Apache-2.0 */
#include "examples/bench/cases.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define MIB        (1024.0 * 1024.0)
#define MOST_CALLS 100
#define PAIR       2

static void make_case(bench_case *out, const work_kind *kind, int batch, const work_crop *crop)
{
    *out = (bench_case){.kind = kind, .crop = crop, .batch = kind->batches[batch]};
    out->full = batch > 0;
    snprintf(out->name, sizeof out->name, "%s%s%s", kind->name, kind->plain ? "" : "-",
             kind->plain ? "" : crop->name);
    if (!out->full) return;
    const size_t used = strlen(out->name);
    snprintf(out->name + used, sizeof out->name - used, "-batch%d", out->batch);
}

bool bench_case_at(bench_case *out, int i)
{
    for (const work_kind *kind = work_kinds; kind->name; kind++) {
        const int here = kind->plain ? 1 : WORK_CROPS;
        for (int b = 0; b < 2 && kind->batches[b]; b++, i -= here) {
            if (i >= here) continue;
            make_case(out, kind, b, &work_crops[i]);
            return true;
        }
    }
    return false;
}

bool bench_case_find(bench_case *out, const char *name)
{
    for (int i = 0; bench_case_at(out, i); i++)
        if (strcmp(out->name, name) == 0) return true;
    return false;
}

/* --------------------------------------------------------------------------------------------- calls */

/* One context, or two in threads of their own. */
typedef struct {
    work of[PAIR];
    int count;
} team;

static void *call_other(void *user)
{
    work *const w = user;
    return w->kind->call(w) == PUMIT_OK ? w : NULL;
}

static pumit_status call(team *t)
{
    pthread_t thread;
    void *done = t;
    const bool pair = t->count == PAIR;
    if (pair && pthread_create(&thread, NULL, call_other, &t->of[1]) != 0)
        return PUMIT_ERROR_INTERNAL;
    const pumit_status status = t->of[0].kind->call(&t->of[0]);
    if (pair) pthread_join(thread, &done);
    return done ? status : PUMIT_ERROR_INTERNAL;
}

static pumit_status call_timed(double *seconds, team *t)
{
    const work_kind *const kind = t->of[0].kind;
    for (int i = 0; i < t->count && kind->before; i++) {
        const pumit_status status = kind->before(&t->of[i]);
        if (status != PUMIT_OK) return status;
    }
    const double start = machine_now();
    const pumit_status status = call(t);
    *seconds = machine_now() - start;
    return status;
}

static int rising(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static pumit_status time_calls(cJSON *line, team *t, double budget)
{
    double seconds[MOST_CALLS], spent = 0;
    const bool once = t->of[0].kind->once;
    int calls = 0;
    pumit_status status = once ? PUMIT_OK : call_timed(seconds, t);
    while (status == PUMIT_OK && calls < MOST_CALLS && (calls == 0 || spent < budget)) {
        status = call_timed(&seconds[calls], t);
        spent += once ? budget : seconds[calls];
        calls++;
    }
    if (status != PUMIT_OK) return status;
    qsort(seconds, (size_t)calls, sizeof *seconds, rising);
    cJSON_AddNumberToObject(line, "seconds", seconds[calls / 2]);
    cJSON_AddNumberToObject(line, "best", seconds[0]);
    return PUMIT_OK;
}

/* ------------------------------------------------------------------------------------------ measuring */

static void add_counted(cJSON *line, const char *key, double value)
{
    if (value > 0) cJSON_AddNumberToObject(line, key, value);
}

static pumit_status measure(cJSON *line, team *t, double budget)
{
    double flop = 0, bytes = 0, parameters = 0, gradients = 0;
    pumit_status status = PUMIT_OK;
    for (int i = 0; i < t->count && status == PUMIT_OK; i++) status = work_open(&t->of[i]);
    machine_forget_peak();
    if (status == PUMIT_OK) status = time_calls(line, t, budget);
    cJSON_AddNumberToObject(line, "peak_mib", machine_peak_mib());
    for (int i = 0; i < t->count; i++) {
        flop += t->of[i].flop;
        bytes += t->of[i].bytes;
        parameters += t->of[i].parameters;
        gradients += t->of[i].gradients;
    }
    add_counted(line, "weights_mib", 4 * parameters / MIB);
    add_counted(line, "gradients_mib", 4 * gradients / MIB);
    add_counted(line, "gflop", 1e-9 * flop);
    add_counted(line, "gbyte", 1e-9 * bytes);
    return status;
}

static int print_line(const cli *c, cJSON *line)
{
    char *text = cJSON_PrintUnformatted(line);
    if (!text) return cli_fail_with(c, "out of memory");
    const bool written = puts(text) >= 0 && fflush(stdout) == 0;
    cJSON_free(text);
    return written ? CLI_DONE : cli_fail_with(c, "cannot write to stdout");
}

int bench_case_run(const cli *c, const bench_case *of, int threads, double budget)
{
    team t = {.count = of->kind->pair ? PAIR : 1};
    for (int i = 0; i < t.count; i++)
        t.of[i] = (work){.kind = of->kind,
                         .crop = of->crop,
                         .config = c->config,
                         .batch = of->batch,
                         .threads = threads / t.count > 1 ? threads / t.count : 1};
    cJSON *line = cJSON_CreateObject();
    cJSON_AddStringToObject(line, "case", of->name);
    cJSON_AddStringToObject(line, "by", "libpumit");
    cJSON_AddNumberToObject(line, "threads", threads);
    cJSON_AddNumberToObject(line, "batch", of->batch);
    const pumit_status status = measure(line, &t, budget);
    int result = status == PUMIT_OK ? CLI_DONE : CLI_FAILED;
    if (status != PUMIT_OK && !t.of[0].failed) cli_fail(c);
    if (t.of[0].failed && t.of[0].why) cli_say(c, "%s: %s", of->name, t.of[0].why);
    for (int i = 0; i < t.count; i++) work_close(&t.of[i]);
    /* Afterwards, so that its arrays are in no peak. */
    if (result == CLI_DONE && cJSON_GetObjectItemCaseSensitive(line, "gflop"))
        add_counted(line, "sgemm_gflops", 1e-9 * machine_sgemm_rate(threads));
    if (result == CLI_DONE && cJSON_GetObjectItemCaseSensitive(line, "gbyte"))
        add_counted(line, "triad_gbs", 1e-9 * machine_triad_rate(threads));
    if (result == CLI_DONE) result = print_line(c, line);
    cJSON_Delete(line);
    return result;
}
