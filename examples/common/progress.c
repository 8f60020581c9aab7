/* SPDX-License-Identifier: Apache-2.0 */
#include "examples/common/progress.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BAR_WIDTH     24
#define BAR_INTERVAL  0.2 /* seconds */
#define LINE_INTERVAL 10.0

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

void progress_start(progress *p, const cli *c)
{
    *p = (progress){.c = c, .started = now(), .first_step = -1, .terminal = isatty(2) == 1};
}

static int append_figures(char *text, size_t bytes, const char *metrics)
{
    static const struct {
        const char *name, *format;
    } SHOWN[] = {
        {"loss", "  loss %.4f"}, {"psnr", "  psnr %.1f dB"}, {"images_per_s", "  %.1f images/s"}};
    cJSON *line = cJSON_Parse(metrics);
    size_t used = 0;
    text[0] = '\0';
    for (size_t i = 0; i < sizeof SHOWN / sizeof *SHOWN; i++) {
        const cJSON *item = cJSON_GetObjectItemCaseSensitive(line, SHOWN[i].name);
        if (!cJSON_IsNumber(item) || used >= bytes) continue;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        used += (size_t)snprintf(text + used, bytes - used, SHOWN[i].format, item->valuedouble);
#pragma GCC diagnostic pop
    }
    cJSON_Delete(line);
    return (int)used;
}

static void print_bar(progress *p, int64_t step, int64_t max_steps, const char *text, double left)
{
    char bar[BAR_WIDTH + 1];
    const int full = (int)(step * BAR_WIDTH / max_steps);
    memset(bar, '#', sizeof bar);
    memset(bar + full, '.', (size_t)(BAR_WIDTH - full));
    bar[BAR_WIDTH] = '\0';
    fprintf(stderr, "\r[%s] %lld/%lld%s  %d:%02d left\033[K", bar, (long long)step,
            (long long)max_steps, text, (int)left / 60, (int)left % 60);
    fflush(stderr);
    p->open = true;
}

int32_t progress_step(void *user, int64_t step, int64_t max_steps, const char *metrics)
{
    progress *const p = user;
    const double time = now();
    if (p->first_step < 0) p->first_step = step - 1;
    const bool last = step == max_steps;
    if (p->c->quiet || (!last && time - p->printed < (p->terminal ? BAR_INTERVAL : LINE_INTERVAL)))
        return 0;
    p->printed = time;
    char text[160];
    append_figures(text, sizeof text, metrics);
    const double each = (time - p->started) / (double)(step - p->first_step);
    const double left = each * (double)(max_steps - step);
    if (p->terminal)
        print_bar(p, step, max_steps, text, left);
    else
        cli_say(p->c, "step %lld/%lld%s  %d:%02d left", (long long)step, (long long)max_steps, text,
                (int)left / 60, (int)left % 60);
    return 0;
}

void progress_end(progress *p)
{
    if (p->open) fputc('\n', stderr);
    p->open = false;
}
