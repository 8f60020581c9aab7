/* SPDX-License-Identifier: Apache-2.0 */
#include "examples/bench/rows.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define OURS "libpumit"

/* ------------------------------------------------------------------------------------------ gathering */

static double number(const cJSON *item, const char *key)
{
    const cJSON *const value = cJSON_GetObjectItemCaseSensitive(item, key);
    return cJSON_IsNumber(value) ? value->valuedouble : 0;
}

static const char *text(const cJSON *item, const char *key)
{
    const cJSON *const value = cJSON_GetObjectItemCaseSensitive(item, key);
    return cJSON_IsString(value) ? value->valuestring : "";
}

static row *row_of(rows *all, const cJSON *item)
{
    const char *const name = text(item, "case"), *const by = text(item, "by");
    const int threads = (int)number(item, "threads");
    for (int i = 0; i < all->count; i++) {
        row *const r = &all->row[i];
        if (r->threads == threads && strcmp(r->name, name) == 0 && strcmp(r->by, by) == 0) return r;
    }
    if (!all->row) all->row = calloc(ROWS_MOST, sizeof *all->row);
    if (!all->row || all->count == ROWS_MOST) return NULL;
    row *const r = &all->row[all->count++];
    snprintf(r->name, sizeof r->name, "%s", name);
    snprintf(r->by, sizeof r->by, "%s", by);
    r->threads = threads;
    r->batch = (int)number(item, "batch");
    return r;
}

static bool add_item(rows *all, const cJSON *item)
{
    const double seconds = number(item, "seconds"), best = number(item, "best");
    if (!*text(item, "case") || !*text(item, "by") || !(seconds > 0)) return false;
    row *const r = row_of(all, item);
    if (!r || r->runs == ROWS_MOST_RUNS) return false;
    r->seconds[r->runs] = seconds;
    r->sgemm[r->runs] = number(item, "sgemm_gflops");
    r->triad[r->runs] = number(item, "triad_gbs");
    if (r->runs == 0 || best < r->best) r->best = best;
    r->peak = fmax(r->peak, number(item, "peak_mib"));
    r->weights = number(item, "weights_mib");
    r->gradients = number(item, "gradients_mib");
    r->gflop = number(item, "gflop");
    r->gbyte = number(item, "gbyte");
    r->runs++;
    return true;
}

bool rows_add(rows *all, const char *line)
{
    cJSON *item = cJSON_Parse(line);
    const bool added = item && add_item(all, item);
    cJSON_Delete(item);
    return added;
}

void rows_free(rows *all)
{
    free(all->row);
    *all = (rows){0};
}

static int rising(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(const double *values, int count)
{
    double sorted[ROWS_MOST_RUNS];
    memcpy(sorted, values, (size_t)count * sizeof *values);
    qsort(sorted, (size_t)count, sizeof *sorted, rising);
    return (sorted[(count - 1) / 2] + sorted[count / 2]) / 2;
}

double row_seconds(const row *r)
{
    return median(r->seconds, r->runs);
}

double row_sgemm(const row *r)
{
    return median(r->sgemm, r->runs);
}

double row_share(const row *r)
{
    const double sgemm = row_sgemm(r), triad = median(r->triad, r->runs);
    const double products = sgemm > 0 ? r->gflop / sgemm : 0,
                 bytes = triad > 0 ? r->gbyte / triad : 0;
    return fmax(products, bytes) / row_seconds(r);
}

const row *rows_find(const rows *all, const row *like, const char *by)
{
    for (int i = 0; i < all->count; i++) {
        const row *const r = &all->row[i];
        if (r->threads == like->threads && strcmp(r->name, like->name) == 0 &&
            strcmp(r->by, by) == 0)
            return r;
    }
    return NULL;
}

/* ----------------------------------------------------------------------------------------------- JSON */

static void add_counted(cJSON *item, const char *key, double value)
{
    if (value > 0) cJSON_AddNumberToObject(item, key, value);
}

static cJSON *row_json(const row *r)
{
    cJSON *item = cJSON_CreateObject();
    const double seconds = row_seconds(r);
    cJSON_AddStringToObject(item, "case", r->name);
    cJSON_AddStringToObject(item, "by", r->by);
    cJSON_AddNumberToObject(item, "threads", r->threads);
    cJSON_AddNumberToObject(item, "batch", r->batch);
    cJSON_AddNumberToObject(item, "runs", r->runs);
    cJSON_AddNumberToObject(item, "seconds", seconds);
    cJSON_AddNumberToObject(item, "best", r->best);
    cJSON_AddNumberToObject(item, "peak_mib", r->peak);
    add_counted(item, "weights_mib", r->weights);
    add_counted(item, "gradients_mib", r->gradients);
    add_counted(item, "gflop", r->gflop);
    add_counted(item, "gbyte", r->gbyte);
    add_counted(item, "gflops", r->gflop / seconds);
    add_counted(item, "sgemm_gflops", row_sgemm(r));
    add_counted(item, "triad_gbs", median(r->triad, r->runs));
    add_counted(item, "share", row_share(r));
    return item;
}

cJSON *rows_json(const rows *all)
{
    cJSON *tree = cJSON_CreateObject();
    cJSON_AddStringToObject(tree, "machine", all->machine);
    cJSON_AddStringToObject(tree, "version", pumit_version());
    cJSON *list = cJSON_AddArrayToObject(tree, "rows");
    for (int i = 0; i < all->count; i++) cJSON_AddItemToArray(list, row_json(&all->row[i]));
    return tree;
}

/* The whole file with a 0 behind; NULL after a message. */
static char *read_file(const cli *c, const char *path)
{
    FILE *file = fopen(path, "re");
    char *data = NULL;
    if (file && fseek(file, 0, SEEK_END) == 0) {
        const long bytes = ftell(file);
        rewind(file);
        data = bytes >= 0 ? calloc((size_t)bytes + 1, 1) : NULL;
        if (data && fread(data, 1, (size_t)bytes, file) != (size_t)bytes) {
            free(data);
            data = NULL;
        }
    }
    if (!data) cli_say(c, "%s: cannot read: %s", path, strerror(errno));
    if (file) fclose(file);
    return data;
}

static bool add_lines(rows *out, char *data)
{
    bool good = true;
    char *rest = NULL;
    for (char *line = strtok_r(data, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
        good = good && rows_add(out, line);
    return good && out->count > 0;
}

int rows_read(rows *out, const cli *c, const char *path)
{
    char *data = read_file(c, path);
    if (!data) return CLI_FAILED;
    cJSON *tree = cJSON_Parse(data);
    const cJSON *const list = cJSON_GetObjectItemCaseSensitive(tree, "rows"), *item;
    snprintf(out->machine, sizeof out->machine, "%s", text(tree, "machine"));
    bool good = true;
    if (cJSON_IsArray(list))
        cJSON_ArrayForEach(item, list) good = good && add_item(out, item);
    else
        good = add_lines(out, data);
    cJSON_Delete(tree);
    free(data);
    return good ? CLI_DONE : cli_fail_with(c, "%s: this is no result of a benchmark", path);
}

/* ---------------------------------------------------------------------------------------------- table */

#define MOST_PEERS 8

typedef struct {
    const char *by[MOST_PEERS];
    int count;
} peers;

static peers peers_of(const rows *all)
{
    peers p = {0};
    for (int i = 0; i < all->count; i++) {
        int k = 0;
        while (k < p.count && strcmp(p.by[k], all->row[i].by) != 0) k++;
        if (k == p.count && k < MOST_PEERS && strcmp(all->row[i].by, OURS) != 0)
            p.by[p.count++] = all->row[i].by;
    }
    return p;
}

/* A number, or blanks where there is none. */
static void print_number(double value, int width, int digits, const char *unit)
{
    if (value > 0)
        printf(" %*.*f%s", width, digits, value, unit);
    else
        printf(" %*s", width + (int)strlen(unit), "");
}

static void print_head(const peers *p, const rows *before)
{
    printf("%-30s %7s %9s %9s %7s %5s %6s %6s", "case", "threads", "ms", "best", "GFLOP/s", "share",
           "MiB", "beyond");
    if (before) printf("  %9s %6s", "before ms", "faster");
    for (int k = 0; k < p->count; k++) printf("  %22.22s %6s %6s", p->by[k], "times", "MiB");
    putchar('\n');
}

static void print_row(const row *r, const rows *all, const peers *p, const rows *before)
{
    const double seconds = row_seconds(r);
    printf("%-30s %7d %9.2f %9.2f", r->name, r->threads, 1e3 * seconds, 1e3 * r->best);
    print_number(r->gflop / seconds, 7, 1, "");
    print_number(100 * row_share(r), 4, 0, "%");
    print_number(r->peak, 6, 0, "");
    print_number(r->peak - r->weights - r->gradients, 6, 0, "");
    if (before) {
        const row *const old = rows_find(before, r, OURS);
        print_number(old ? 1e3 * row_seconds(old) : 0, 10, 2, "");
        print_number(old ? row_seconds(old) / seconds : 0, 5, 2, "x");
    }
    for (int k = 0; k < p->count; k++) {
        const row *const peer = rows_find(all, r, p->by[k]);
        print_number(peer ? 1e3 * row_seconds(peer) : 0, 23, 2, "");
        print_number(peer ? row_seconds(peer) / seconds : 0, 5, 2, "x");
        print_number(peer ? peer->peak : 0, 6, 0, "");
    }
    putchar('\n');
}

/* The sgemm rates of both, over the rows that both have: times can only be compared on a machine that is as fast as it was. */
static void warn_of_machine(const rows *all, const rows *before)
{
    double now = 0, then = 0;
    for (int i = 0; i < all->count; i++) {
        const row *const old = rows_find(before, &all->row[i], OURS);
        if (!old || strcmp(all->row[i].by, OURS) != 0 || row_sgemm(old) == 0) continue;
        now += row_sgemm(&all->row[i]);
        then += row_sgemm(old);
    }
    if (*before->machine && *all->machine && strcmp(all->machine, before->machine) != 0)
        printf("\nThe earlier result is of another machine: %s\n", before->machine);
    if (then > 0 && fabs(now / then - 1) > 0.05)
        printf("\nThe machine's sgemm rate is %.2f times what it was then: compare shares, not "
               "times.\n",
               now / then);
}

void rows_print(const rows *all, const rows *before)
{
    const peers p = peers_of(all);
    if (*all->machine) printf("%s\n\n", all->machine);
    print_head(&p, before);
    for (int i = 0; i < all->count; i++)
        if (strcmp(all->row[i].by, OURS) == 0) print_row(&all->row[i], all, &p, before);
    puts("\nshare: of what the faster sgemm, or the triad's bandwidth, of the same process allow; "
         "beyond: the peak less\nweights and gradients");
    if (p.count > 0) puts("times: the peer's time by ours");
    if (before) warn_of_machine(all, before);
}

/* A cell, "-" where there is nothing to tell. */
static void print_cell(double value, int digits, const char *unit)
{
    if (value > 0)
        printf(" %.*f%s |", digits, value, unit);
    else
        printf(" - |");
}

static void print_markdown_row(const row *r, const rows *all, const peers *p)
{
    const double seconds = row_seconds(r), beyond = r->peak - r->weights - r->gradients;
    printf("| %s | %d |", r->name, r->threads);
    print_cell(1e3 * seconds, seconds < 0.1 ? 1 : 0, "");
    print_cell(100 * row_share(r), 0, "%");
    print_cell(r->peak, 0, "");
    print_cell(beyond, 0, "");
    for (int k = 0; k < p->count; k++) {
        const row *const peer = rows_find(all, r, p->by[k]);
        print_cell(peer ? row_seconds(peer) / seconds : 0, 2, "x");
        print_cell(peer ? peer->peak : 0, 0, "");
    }
    putchar('\n');
}

void rows_print_markdown(const rows *all)
{
    const peers p = peers_of(all);
    printf("| case | threads | ms | share | MiB | beyond |");
    for (int k = 0; k < p.count; k++) printf(" %s | its MiB |", p.by[k]);
    printf("\n|---|---|---|---|---|---|");
    for (int k = 0; k < p.count; k++) printf("---|---|");
    putchar('\n');
    for (int i = 0; i < all->count; i++)
        if (strcmp(all->row[i].by, OURS) == 0) print_markdown_row(&all->row[i], all, &p);
}
