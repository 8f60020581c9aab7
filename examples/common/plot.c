/* SPDX-License-Identifier: Apache-2.0 */
#include "examples/common/plot.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COLUMNS 3
#define WIDTH   270 /* of a panel's plot, pixels */
#define HEIGHT  140
#define LEFT    58 /* room for its labels */
#define TOP     30
#define RIGHT   16
#define BOTTOM  28
#define HEADER  26 /* a line of the legend */
#define BINS    135

/* Okabe and Ito's colours, told apart with every kind of colour vision. */
static const char *const COLOURS[] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                      "#e69f00", "#56b4e9", "#000000"};
#define COLOUR_COUNT (int)(sizeof COLOURS / sizeof *COLOURS)

/* A curve thinned to a mean and a range for each bin of steps; bins without a finite value are empty. */
typedef struct {
    double sum[BINS], count[BINS], least[BINS], most[BINS];
} bins;

typedef struct {
    FILE *file;
    double x, y; /* upper left corner of the panel's plot */
    double steps, low, high;
} panel;

/* ------------------------------------------------------------------------------------------- numbers */

static void fill_bins(bins *b, const run_curve *curve, double steps)
{
    memset(b, 0, sizeof *b);
    for (int64_t i = 0; i < curve->count; i++) {
        const double value = curve->value[i];
        int at = (int)(curve->step[i] / steps * BINS);
        if (!isfinite(value) || at < 0) continue;
        if (at >= BINS) at = BINS - 1;
        if (b->count[at] == 0 || value < b->least[at]) b->least[at] = value;
        if (b->count[at] == 0 || value > b->most[at]) b->most[at] = value;
        b->sum[at] += value;
        b->count[at]++;
    }
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Widens low..high to the bins' means, all but the most extreme fiftieth at either end: a few wild steps may leave the panel. */
static void widen(double *low, double *high, const bins *b)
{
    double means[BINS];
    int n = 0;
    for (int i = 0; i < BINS; i++)
        if (b->count[i] > 0) means[n++] = b->sum[i] / b->count[i];
    if (n == 0) return;
    qsort(means, (size_t)n, sizeof *means, ascending);
    *low = fmin(*low, means[n / 50]);
    *high = fmax(*high, means[n - 1 - n / 50]);
}

/* The distance of ticks: 1, 2 or 5 times a power of ten, about `wanted` of them. */
static double tick_distance(double range, int wanted)
{
    const double raw = range / wanted, power = pow(10, floor(log10(raw)));
    const double part = raw / power;
    return power * (part < 1.5 ? 1 : part < 3.5 ? 2 : part < 7.5 ? 5 : 10);
}

/* ------------------------------------------------------------------------------------------- drawing */

static void put_text(FILE *file, const char *text)
{
    for (; *text; text++) {
        if (*text == '&')
            fputs("&amp;", file);
        else if (*text == '<')
            fputs("&lt;", file);
        else if ((unsigned char)*text >= ' ')
            fputc(*text, file);
    }
}

static double x_of(const panel *p, double step)
{
    return p->x + step / p->steps * WIDTH;
}

static double y_of(const panel *p, double value)
{
    const double part = (value - p->low) / (p->high - p->low);
    return p->y + HEIGHT * (1 - fmin(fmax(part, 0), 1));
}

static void draw_axes(const panel *p, const char *name)
{
    const double dx = tick_distance(p->steps, 4), dy = tick_distance(p->high - p->low, 4);
    fprintf(p->file, "<text class='name' x='%.1f' y='%.1f'>", p->x, p->y - 8);
    put_text(p->file, name);
    fprintf(p->file, "</text>\n");
    for (double v = ceil(p->low / dy) * dy; v <= p->high + dy * 1e-9; v += dy) {
        const double y = y_of(p, v);
        fprintf(p->file, "<path class='grid' d='M%.1f %.1fh%d'/>", p->x, y, WIDTH);
        fprintf(p->file, "<text class='left' x='%.1f' y='%.1f'>%.4g</text>\n", p->x - 5, y + 3.5,
                fabs(v) < dy * 1e-9 ? 0 : v);
    }
    for (double v = 0; v <= p->steps * (1 + 1e-9); v += dx)
        fprintf(p->file, "<text class='below' x='%.1f' y='%.1f'>%.6g</text>\n", x_of(p, v),
                p->y + HEIGHT + 14, v);
    fprintf(p->file, "<path class='axis' d='M%.1f %.1fv%dh%d'/>\n", p->x, p->y, HEIGHT, WIDTH);
}

static double middle_of(const panel *p, int bin)
{
    return x_of(p, (bin + 0.5) / BINS * p->steps);
}

/* The range of bins first..last-1, there along the tops and back along the bottoms. */
static void draw_band(const panel *p, const bins *b, int first, int last, const char *colour)
{
    fprintf(p->file, "<path class='band' fill='%s' d='", colour);
    for (int i = first; i < last; i++)
        fprintf(p->file, "%c%.1f %.1f", i == first ? 'M' : 'L', middle_of(p, i),
                y_of(p, b->most[i]));
    for (int i = last - 1; i >= first; i--)
        fprintf(p->file, "L%.1f %.1f", middle_of(p, i), y_of(p, b->least[i]));
    fprintf(p->file, "Z'/>\n");
}

static void draw_means(const panel *p, const bins *b, int first, int last, const char *colour)
{
    fprintf(p->file, "<path class='mean' stroke='%s' d='", colour);
    for (int i = first; i < last; i++)
        fprintf(p->file, "%c%.1f %.1f", i == first ? 'M' : 'L', middle_of(p, i),
                y_of(p, b->sum[i] / b->count[i]));
    fprintf(p->file, "'/>\n");
}

/* Unbroken stretches: a bin in which every value was lost leaves a gap, one that lies between sparse steps does not. */
static void draw_curve(const panel *p, const run_curve *curve, const char *colour)
{
    bins b;
    fill_bins(&b, curve, p->steps);
    for (int first = 0; first < BINS; first++) {
        int last = first;
        while (last < BINS && b.count[last] > 0) last++;
        if (last > first) draw_band(p, &b, first, last, colour);
        if (last > first) draw_means(p, &b, first, last, colour);
        if (last > first) first = last;
    }
}

/* Few and far between: dots with a thin line. */
static void draw_dots(const panel *p, const run_curve *curve, const char *colour)
{
    bool open = false;
    fprintf(p->file, "<path class='judged' stroke='%s' d='", colour);
    for (int64_t i = 0; i < curve->count; i++) {
        const bool finite = isfinite(curve->value[i]);
        if (finite)
            fprintf(p->file, "%c%.1f %.1f", open ? 'L' : 'M', x_of(p, curve->step[i]),
                    y_of(p, curve->value[i]));
        open = finite;
    }
    fprintf(p->file, "'/>\n");
    for (int64_t i = 0; i < curve->count; i++)
        if (isfinite(curve->value[i]))
            fprintf(p->file, "<circle cx='%.1f' cy='%.1f' r='2.2' fill='%s'/>\n",
                    x_of(p, curve->step[i]), y_of(p, curve->value[i]), colour);
}

/* False if no run has a finite value of this name. */
static bool fit_range(panel *p, const char *name, const run_log *runs, int count)
{
    double low = INFINITY, high = -INFINITY;
    for (int k = 0; k < 2 * count; k++) {
        bins b;
        const run_curve *const curve = run_find(&runs[k / 2], name, k % 2 == 1);
        if (!curve) continue;
        fill_bins(&b, curve, p->steps);
        widen(&low, &high, &b);
    }
    if (!(low <= high)) return false;
    const double room = high > low ? 0.06 * (high - low) : fmax(fabs(low) * 0.1, 1e-9);
    p->low = low - room;
    p->high = high + room;
    return true;
}

static void draw_panel(panel *p, const char *name, const run_log *runs, int count)
{
    draw_axes(p, name);
    for (int k = 0; k < count; k++) {
        const char *const colour = COLOURS[k % COLOUR_COUNT];
        const run_curve *const learnt = run_find(&runs[k], name, false);
        const run_curve *const judged = run_find(&runs[k], name, true);
        if (learnt) draw_curve(p, learnt, colour);
        if (judged) draw_dots(p, judged, colour);
    }
}

/* ------------------------------------------------------------------------------------------- the whole */

/* Names of all runs in the order in which they first come, without what draws no curve. */
static int list_names(const char *names[RUN_MOST_CURVES], const run_log *runs, int count)
{
    static const char *const LEFT_OUT[] = {"seconds", "skipped", "codes", "da"};
    int n = 0;
    for (int k = 0; k < count; k++) {
        for (int i = 0; i < runs[k].count; i++) {
            const char *const name = runs[k].curves[i].name;
            bool known = false;
            for (size_t j = 0; j < sizeof LEFT_OUT / sizeof *LEFT_OUT; j++)
                known = known || strcmp(LEFT_OUT[j], name) == 0;
            for (int j = 0; j < n; j++) known = known || strcmp(names[j], name) == 0;
            if (!known && n < RUN_MOST_CURVES) names[n++] = name;
        }
    }
    return n;
}

static void draw_legend(FILE *file, const run_log *runs, int count)
{
    for (int k = 0; k < count; k++) {
        const double y = HEADER * (k + 0.7);
        fprintf(file, "<path stroke='%s' stroke-width='3' d='M%d %.1fh24'/>",
                COLOURS[k % COLOUR_COUNT], LEFT, y - 4);
        fprintf(file, "<text class='run' x='%d' y='%.1f'>", LEFT + 32, y);
        put_text(file, runs[k].path);
        fprintf(file, "</text>\n");
    }
    fprintf(file,
            "<text class='note' x='%d' y='%.1f'>line: mean, band: range of the training steps; "
            "dots: validation</text>\n",
            LEFT, HEADER * (count + 0.6));
}

static void draw(FILE *file, const run_log *runs, int count)
{
    const char *names[RUN_MOST_CURVES];
    const int n = list_names(names, runs, count);
    const int header = HEADER * (count + 1), across = LEFT + WIDTH + RIGHT,
              down = TOP + HEIGHT + BOTTOM;
    panel panels[RUN_MOST_CURVES];
    int drawn = 0;
    double steps = 1;
    for (int k = 0; k < count; k++)
        for (int i = 0; i < runs[k].count; i++)
            steps = fmax(steps, runs[k].curves[i].step[runs[k].curves[i].count - 1]);
    for (int i = 0; i < n; i++) {
        panel p = {.file = file, .steps = steps};
        p.x = drawn % COLUMNS * across + LEFT;
        p.y = header + drawn / COLUMNS * down + TOP;
        if (!fit_range(&p, names[i], runs, count)) continue;
        names[drawn] = names[i];
        panels[drawn++] = p;
    }
    const int width = COLUMNS * across,
              height = header + (drawn + COLUMNS - 1) / COLUMNS * down + BOTTOM / 2;
    fprintf(file,
            "<?xml version='1.0' encoding='UTF-8'?>\n"
            "<svg xmlns='http://www.w3.org/2000/svg' width='%d' height='%d' viewBox='0 0 %d %d' "
            "font-family='sans-serif'>\n"
            "<style>text{font-size:10px;fill:#444}.name{font-size:12px;font-weight:bold;fill:#111}"
            ".run{font-size:12px;fill:#111}.left{text-anchor:end}.below{text-anchor:middle}"
            ".grid{stroke:#e4e4e4}.axis{stroke:#888;fill:none}.band{opacity:.16}"
            ".mean{fill:none;stroke-width:1.5}.judged{fill:none;stroke-dasharray:3 2}</style>\n"
            "<rect width='100%%' height='100%%' fill='#fff'/>\n",
            width, height, width, height);
    draw_legend(file, runs, count);
    for (int i = 0; i < drawn; i++) draw_panel(&panels[i], names[i], runs, count);
    fprintf(file, "</svg>\n");
}

int plot_write(const cli *c, const char *path, const run_log *runs, int count)
{
    char temporary[4096];
    snprintf(temporary, sizeof temporary, "%s.tmp-%d", path, (int)getpid());
    FILE *file = fopen(temporary, "we");
    if (!file) return cli_fail_with(c, "%s: cannot write: %s", path, strerror(errno));
    draw(file, runs, count);
    bool written = fflush(file) == 0 && !ferror(file);
    written = fclose(file) == 0 && written;
    if (written && rename(temporary, path) == 0) return CLI_DONE;
    const int kept = errno;
    unlink(temporary);
    return cli_fail_with(c, "%s: cannot write: %s", path, strerror(kept));
}
