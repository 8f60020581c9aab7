/* SPDX-License-Identifier: Apache-2.0 */
#include "examples/common/progress.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define BAR_WIDTH     16
#define BAR_INTERVAL  0.2 /* seconds */
#define LINE_INTERVAL 10.0
#define SMOOTHING     20.0

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

void progress_start(progress *p, const cli *c)
{
    *p = (progress){.c = c, .unit = "step", .previous = now(), .terminal = isatty(2) == 1};
}

/* Appends "  NAME VALUE" for a number, nothing for what is none. */
static void append(char *text, size_t bytes, const char *name, const cJSON *item)
{
    const size_t used = strlen(text);
    if (cJSON_IsNumber(item))
        snprintf(text + used, bytes - used, "  %s %.4g", name, item->valuedouble);
}

/* The step's figures and the smoothed rate. */
static void describe_step(char *text, size_t bytes, const cJSON *line, double each)
{
    static const char *const SHOWN[] = {"loss", "psnr", "accuracy"};
    const cJSON *const rate = cJSON_GetObjectItemCaseSensitive(line, "images_per_s");
    const cJSON *const seconds = cJSON_GetObjectItemCaseSensitive(line, "seconds");
    text[0] = '\0';
    for (size_t i = 0; i < sizeof SHOWN / sizeof *SHOWN; i++)
        append(text, bytes, SHOWN[i], cJSON_GetObjectItemCaseSensitive(line, SHOWN[i]));
    const size_t used = strlen(text);
    if (cJSON_IsNumber(rate) && cJSON_IsNumber(seconds) && each > 0)
        snprintf(text + used, bytes - used, "  %.1f images/s",
                 rate->valuedouble * seconds->valuedouble / each);
}

/* What a validation found stays on the screen. */
static void print_validation(progress *p, int64_t step, const cJSON *line)
{
    char text[512] = "";
    const cJSON *const validation = cJSON_GetObjectItemCaseSensitive(line, "validation");
    if (!validation) return;
    for (const cJSON *item = validation->child; item; item = item->next)
        append(text, sizeof text, item->string, item);
    progress_end(p);
    cli_say(p->c, "step %lld, validation:%s", (long long)step, text);
}

/* Cut to the terminal: a line that wraps cannot be written over. */
static void print_bar(progress *p, int64_t step, int64_t max_steps, const char *text)
{
    struct winsize size = {0};
    const int columns = ioctl(2, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
    const int room = columns - BAR_WIDTH - 4;
    char bar[BAR_WIDTH + 1];
    const int full = (int)(step * BAR_WIDTH / max_steps);
    memset(bar, '#', sizeof bar);
    memset(bar + full, '.', (size_t)(BAR_WIDTH - full));
    bar[BAR_WIDTH] = '\0';
    fprintf(stderr, "\r[%s] %.*s\033[K", bar, room > 0 ? room : 0, text);
    fflush(stderr);
    p->open = true;
}

/* Seconds a step, smoothed over the last half minute or so; several may have been done at once. */
static void smooth(progress *p, int64_t step, double time)
{
    const double last = time - p->previous;
    const double steps = p->step > 0 && step > p->step ? (double)(step - p->step) : 1;
    p->step = step;
    p->previous = time;
    p->each += (p->each > 0 ? 1 - exp(-last / SMOOTHING) : 1) * (last / steps - p->each);
}

static void print_step(progress *p, int64_t step, int64_t max_steps, const cJSON *line)
{
    char figures[256], text[400], skipped[48] = "";
    const long long left = llround(p->each * (double)(max_steps - step));
    if (strcmp(p->unit, "step") == 0)
        describe_step(figures, sizeof figures, line, p->each);
    else
        snprintf(figures, sizeof figures, "  %.1f %ss/s", p->each > 0 ? 1 / p->each : 0, p->unit);
    if (p->skipped > 0) snprintf(skipped, sizeof skipped, "  %lld skipped", (long long)p->skipped);
    snprintf(text, sizeof text, "%lld/%lld  %lld:%02lld:%02lld left%s%s", (long long)step,
             (long long)max_steps, left / 3600, left / 60 % 60, left % 60, skipped, figures);
    if (p->terminal)
        print_bar(p, step, max_steps, text);
    else
        cli_say(p->c, "%s %s", p->unit, text);
}

int32_t progress_step(void *user, int64_t step, int64_t max_steps, const char *metrics)
{
    progress *const p = user;
    const double time = now();
    smooth(p, step, time);
    if (p->c->quiet) return 0;
    p->skipped += strstr(metrics, "\"skipped\"") != NULL;
    const bool judged = strstr(metrics, "\"validation\"") != NULL;
    const bool due =
        step == max_steps || time - p->printed >= (p->terminal ? BAR_INTERVAL : LINE_INTERVAL);
    if (!due && !judged) return 0;
    cJSON *const line = cJSON_Parse(metrics);
    if (judged) print_validation(p, step, line);
    if (due) {
        p->printed = time;
        print_step(p, step, max_steps, line);
    }
    cJSON_Delete(line);
    return 0;
}

void progress_end(progress *p)
{
    if (p->open) fputc('\n', stderr);
    p->open = false;
}
