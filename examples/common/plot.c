/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Small multiples. In each panel: faint, what every step gave; over it a centred mean; rings for validations.
 * A curve of more points than a panel has pixels is drawn by its highest and lowest in each of BINS parts.
 */
#include "examples/common/plot.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COLUMNS     3
#define PANEL_WIDTH 336 /* with its margins, pixels */
#define PANEL_HIGH  214
#define LEFT        54 /* margins of a panel */
#define RIGHT       20
#define TOP         30
#define BOTTOM      26
#define BINS        280
#define SMOOTHED    24 /* a centred mean reaches a curve's length over this to each side */
#define LEGEND_LINE 20

/* Okabe and Ito's colours, told apart with every kind of colour vision. */
static const char *const COLOURS[] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                      "#56b4e9", "#e69f00", "#444444"};
#define COLOUR_COUNT (int)(sizeof COLOURS / sizeof *COLOURS)

/* Points of a curve, or what stands for a part of it. */
typedef struct {
    int count;
    double step[BINS], low[BINS], high[BINS], mean[BINS], smooth[BINS]; /* NaN: a gap */
} bins;

typedef struct {
    char title[sizeof((run_curve *)0)->name];
    double least, most;         /* of values */
    double from, to;            /* of steps */
    double tick;                /* between two labels */
    double x, y, width, height; /* of the plotted part, pixels */
} panel;

/* ------------------------------------------------------------------------------------------- curves */

/* Part i of n: points [i * count / n, (i + 1) * count / n). */
static void fill_bin(bins *b, int i, const run_curve *curve)
{
    const int64_t first = i * curve->count / b->count, end = (i + 1) * curve->count / b->count;
    double sum = 0, finite = 0, steps = 0;
    b->low[i] = INFINITY;
    b->high[i] = -INFINITY;
    for (int64_t k = first; k < end; k++) {
        steps += curve->step[k];
        if (!isfinite(curve->value[k])) continue;
        b->low[i] = fmin(b->low[i], curve->value[k]);
        b->high[i] = fmax(b->high[i], curve->value[k]);
        sum += curve->value[k];
        finite++;
    }
    b->step[i] = steps / (double)(end - first);
    b->mean[i] = finite > 0 ? sum / finite : NAN;
    if (finite == 0) b->low[i] = b->high[i] = NAN;
}

static void fill(bins *b, const run_curve *curve)
{
    b->count = curve->count < BINS ? (int)curve->count : BINS;
    for (int i = 0; i < b->count; i++) fill_bin(b, i, curve);
    const int reach = b->count / SMOOTHED;
    for (int i = 0; i < b->count; i++) {
        /* near the start as far to one side as to the other: curves are steep there, and the mean must not lag */
        const int left = i < reach ? i : reach;
        const int right = b->count - 1 - i < left ? b->count - 1 - i : left;
        double sum = 0, weight = 0;
        for (int k = i - left; k <= i + right; k++) {
            if (!isfinite(b->mean[k])) continue;
            sum += b->mean[k];
            weight++;
        }
        b->smooth[i] = isfinite(b->mean[i]) ? sum / weight : NAN;
    }
}

/* "block_norms" of "block_norms/3", which is one of a list. */
static size_t title_bytes(const run_curve *curve)
{
    return strcspn(curve->name, "/");
}

static bool is_listed(const run_curve *curve)
{
    return curve->name[title_bytes(curve)] != '\0';
}

static bool belongs(const run_curve *curve, const panel *p)
{
    const size_t bytes = title_bytes(curve);
    return strncmp(curve->name, p->title, bytes) == 0 && p->title[bytes] == '\0';
}

/* ------------------------------------------------------------------------------------------- panels */

/* What is wanted first; other figures follow in the order of the file, and what tells nothing is left out. */
static int rank_of(const char *title)
{
    static const char *const FIRST[] = {"loss", "psnr",     "ssim", "perplexity",
                                        "kl",   "accuracy", "auc"};
    static const char *const LAST[] = {"grad_norm", "learning_rate", "images_per_s",
                                       "tokens_per_s"};
    static const char *const NEVER[] = {"step", "seconds", "skipped", "codes", "da"};
    for (int i = 0; i < (int)(sizeof FIRST / sizeof *FIRST); i++)
        if (strcmp(title, FIRST[i]) == 0) return i;
    for (int i = 0; i < (int)(sizeof LAST / sizeof *LAST); i++)
        if (strcmp(title, LAST[i]) == 0) return 200 + i;
    for (int i = 0; i < (int)(sizeof NEVER / sizeof *NEVER); i++)
        if (strcmp(title, NEVER[i]) == 0) return -1;
    return 100;
}

static int list_panels(panel *panels, const run_log *runs, int count)
{
    int ranks[RUN_MOST_CURVES], n = 0;
    for (int r = 0; r < count; r++)
        for (int i = 0; i < runs[r].count; i++) {
            panel p = {0};
            bool known = false;
            const run_curve *const curve = &runs[r].curves[i];
            memcpy(p.title, curve->name, title_bytes(curve));
            const int rank = rank_of(p.title);
            for (int k = 0; k < n; k++) known = known || belongs(curve, &panels[k]);
            if (known || rank < 0 || n == RUN_MOST_CURVES) continue;
            int at = n++;
            for (; at > 0 && ranks[at - 1] > rank; at--) {
                ranks[at] = ranks[at - 1];
                panels[at] = panels[at - 1];
            }
            ranks[at] = rank;
            panels[at] = p;
        }
    return n;
}

static int by_value(const void *a, const void *b)
{
    const double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

/* Widens the panel to a curve; of many points the outermost hundredths may leave it. */
static bool widen(panel *p, const run_curve *curve)
{
    double *sorted = malloc((size_t)(curve->count + 1) * sizeof *sorted);
    int64_t n = 0;
    if (!sorted) return false;
    for (int64_t i = 0; i < curve->count; i++)
        if (isfinite(curve->value[i])) sorted[n++] = curve->value[i];
    qsort(sorted, (size_t)n, sizeof *sorted, by_value);
    const int64_t out = n / 100;
    if (n > 0) {
        p->least = fmin(p->least, sorted[out]);
        p->most = fmax(p->most, sorted[n - 1 - out]);
    }
    free(sorted);
    return true;
}

/* 1, 2 or 5 times a power of ten, so that at most `most` of them fit the span. */
static double round_tick(double span, int most)
{
    const double least = span / most, power = pow(10, floor(log10(least)));
    const double times = least / power;
    return power * (times <= 1 ? 1 : times <= 2 ? 2 : times <= 5 ? 5 : 10);
}

/* Panels share their steps, so that one can look down from one to the other. */
static void share_steps(panel *panels, int n, const run_log *runs, int count)
{
    double from = INFINITY, to = -INFINITY;
    for (int r = 0; r < count; r++)
        for (int i = 0; i < runs[r].count; i++) {
            const run_curve *const curve = &runs[r].curves[i];
            from = fmin(from, curve->step[0]);
            to = fmax(to, curve->step[curve->count - 1]);
        }
    for (int i = 0; i < n; i++) {
        panels[i].from = from < to ? from : from - 1;
        panels[i].to = from < to ? to : to + 1;
    }
}

static bool measure(panel *p, const run_log *runs, int count, int index, double top)
{
    p->least = INFINITY;
    p->most = -INFINITY;
    for (int r = 0; r < count; r++)
        for (int i = 0; i < runs[r].count; i++)
            if (belongs(&runs[r].curves[i], p) && !widen(p, &runs[r].curves[i])) return false;
    if (!(p->least <= p->most)) p->least = p->most = 0;
    if (p->most - p->least < 1e-9 * fmax(fabs(p->most), 1e-9)) {
        const double room = p->most == 0 ? 1 : 0.1 * fabs(p->most);
        p->least -= room;
        p->most += room;
    }
    const double room = 0.04 * (p->most - p->least);
    p->tick = round_tick(p->most - p->least, 5);
    p->least -= room;
    p->most += room;
    p->x = index % COLUMNS * PANEL_WIDTH + LEFT;
    p->y = top + index / COLUMNS * PANEL_HIGH + TOP;
    p->width = PANEL_WIDTH - LEFT - RIGHT;
    p->height = PANEL_HIGH - TOP - BOTTOM;
    return true;
}

static double x_of(const panel *p, double step)
{
    return p->x + (step - p->from) / (p->to - p->from) * p->width;
}

/* Kept near the panel, whose frame cuts off the rest: viewers dislike huge coordinates. */
static double y_of(const panel *p, double value)
{
    const double y = p->y + (p->most - value) / (p->most - p->least) * p->height;
    return fmin(fmax(y, p->y - 999), p->y + p->height + 999);
}

/* ---------------------------------------------------------------------------------------------- SVG */

/* Bytes of the character that the text begins with; 0 of one that is no UTF-8 or forbidden in XML. */
static int character_bytes(const char *text)
{
    static const uint32_t LEAST[] = {0, ' ', 0x80, 0x800, 0x10000}; /* of a code, by its bytes */
    const unsigned char c = (unsigned char)*text;
    const int bytes = c < 0x80 ? 1 : c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
    uint32_t code = bytes == 1 ? c : c & (0x7fu >> bytes);
    for (int i = 1; i < bytes; i++) {
        if ((text[i] & 0xc0) != 0x80) return 0;
        code = code << 6 | (text[i] & 0x3f);
    }
    const bool good = c != 0x7f && (c < 0x80 || (c >= 0xc2 && c <= 0xf4)) && code >= LEAST[bytes] &&
                      code <= 0x10ffff && (code < 0xd800 || code > 0xdfff) && code != 0xfffe &&
                      code != 0xffff;
    return good ? bytes : 0;
}

/* Text of the outside world: what XML reserves is escaped, what it forbids becomes '?'. */
static void put_text(FILE *file, const char *text)
{
    while (*text) {
        const int bytes = character_bytes(text);
        if (*text == '<')
            fputs("&lt;", file);
        else if (*text == '&')
            fputs("&amp;", file);
        else if (bytes == 0)
            fputc('?', file);
        else
            fwrite(text, 1, (size_t)bytes, file);
        text += bytes > 0 ? bytes : 1;
    }
}

static void put_tick_label(FILE *file, double value)
{
    if (fabs(value) >= 1e6)
        fprintf(file, "%gM", value / 1e6);
    else if (fabs(value) >= 1e4)
        fprintf(file, "%gk", value / 1e3);
    else
        fprintf(file, "%.6g", value);
}

static void draw_axes(FILE *file, const panel *p, int index)
{
    const double bottom = p->y + p->height;
    fprintf(file, "<text x=\"%.0f\" y=\"%.0f\" class=\"title\">", p->x, p->y - 9);
    put_text(file, p->title);
    fprintf(file,
            "</text>\n<clipPath id=\"panel%d\"><rect x=\"%.0f\" y=\"%.0f\" width=\"%.0f\" "
            "height=\"%.0f\"/></clipPath>\n",
            index, p->x - 4, p->y - 1, p->width + 8, p->height + 2);
    for (double k = ceil(p->least / p->tick); k * p->tick <= p->most; k++) {
        const double y = y_of(p, k * p->tick);
        fprintf(file, "<path class=\"grid\" d=\"M%.0f %.1fH%.0f\"/>", p->x, y, p->x + p->width);
        fprintf(file, "<text x=\"%.0f\" y=\"%.1f\" class=\"y\">", p->x - 6, y + 3.5);
        put_tick_label(file, k == 0 ? 0 : k * p->tick); /* not -0 */
        fprintf(file, "</text>\n");
    }
    const double step = fmax(round_tick(p->to - p->from, 5), 1);
    for (double k = ceil(p->from / step); k * step <= p->to; k++) {
        const double x = x_of(p, k * step);
        fprintf(file, "<path class=\"axis\" d=\"M%.1f %.0fv4\"/>", x, bottom);
        fprintf(file, "<text x=\"%.1f\" y=\"%.0f\" class=\"x\">", x, bottom + 16);
        put_tick_label(file, k == 0 ? 0 : k * step);
        fprintf(file, "</text>\n");
    }
    fprintf(file, "<path class=\"axis\" d=\"M%.0f %.0fV%.0fH%.0f\"/>\n", p->x, p->y, bottom,
            p->x + p->width);
}

/* A line through the values, broken where one is missing; with `other` through both of each, the nearer one first. */
static void draw_line(FILE *file, const panel *p, const bins *b, const double *values,
                      const double *other, const char *style)
{
    bool pen = false, high = false;
    fprintf(file, "<path %s d=\"", style);
    for (int i = 0; i < b->count; i++) {
        if (!isfinite(values[i])) {
            pen = false;
            continue;
        }
        const double first = other && high ? other[i] : values[i];
        const double x = x_of(p, b->step[i]);
        fprintf(file, "%s%.1f %.1f", pen ? "L" : "M", x, y_of(p, first));
        if (other && values[i] != other[i]) {
            fprintf(file, "L%.1f %.1f", x, y_of(p, high ? values[i] : other[i]));
            high = !high;
        }
        const bool alone = !pen && (i + 1 == b->count || !isfinite(values[i + 1]));
        if (alone) fprintf(file, "h0.1"); /* else it would not be seen */
        pen = true;
    }
    fprintf(file, "\"/>\n");
}

static void draw_rings(FILE *file, const panel *p, const bins *b, const char *colour)
{
    for (int i = 0; i < b->count; i++)
        if (isfinite(b->mean[i]))
            fprintf(file,
                    "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"2.6\" fill=\"#fff\" stroke=\"%s\"/>\n",
                    x_of(p, b->step[i]), y_of(p, b->mean[i]), colour);
}

static void draw_curve(FILE *file, const panel *p, bins *b, const run_curve *curve, int run)
{
    const bool validation = curve->validation, listed = is_listed(curve);
    const char *const colour = COLOURS[run % COLOUR_COUNT];
    const char *const dash = run < COLOUR_COUNT ? "" : " stroke-dasharray=\"4 2\"";
    char style[128];
    fill(b, curve);
    if (!validation && !listed) {
        snprintf(style, sizeof style, "stroke=\"%s\" stroke-width=\"0.7\" opacity=\"0.3\"", colour);
        draw_line(file, p, b, b->low, b->high, style);
    }
    const char *const width = validation ? "0.8" : listed ? "0.9" : "1.6";
    snprintf(style, sizeof style, "stroke=\"%s\" stroke-width=\"%s\" opacity=\"%s\"%s", colour,
             width, listed ? "0.6" : "1", dash);
    const bool exact = validation || strncmp(p->title, "learning_rate", 13) == 0;
    draw_line(file, p, b, exact ? b->mean : b->smooth, NULL, style);
    if (validation) draw_rings(file, p, b, colour);
}

static void draw_panel(FILE *file, const panel *p, bins *b, int index, const run_log *runs,
                       int count)
{
    draw_axes(file, p, index);
    fprintf(file,
            "<g clip-path=\"url(#panel%d)\" fill=\"none\" stroke-linejoin=\"round\" "
            "stroke-linecap=\"round\">\n",
            index);
    for (int validations = 0; validations < 2; validations++) /* on top of the others */
        for (int r = 0; r < count; r++)
            for (int i = 0; i < runs[r].count; i++) {
                const run_curve *const curve = &runs[r].curves[i];
                if (belongs(curve, p) && curve->validation == (validations == 1))
                    draw_curve(file, p, b, curve, r);
            }
    fprintf(file, "</g>\n");
}

static void draw_legend(FILE *file, const run_log *runs, int count)
{
    for (int r = 0; r < count; r++) {
        const int y = 46 + r * LEGEND_LINE;
        fprintf(file, "<path d=\"M%d %dh26\" fill=\"none\" stroke=\"%s\" stroke-width=\"2.4\"%s/>",
                LEFT, y - 4, COLOURS[r % COLOUR_COUNT],
                r < COLOUR_COUNT ? "" : " stroke-dasharray=\"4 2\"");
        fprintf(file, "<text x=\"%d\" y=\"%d\" class=\"run\">", LEFT + 34, y);
        put_text(file, runs[r].path);
        fprintf(file, "</text>\n");
    }
}

static void draw_head(FILE *file, int width, int height)
{
    fprintf(file,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
            "viewBox=\"0 0 %d %d\" font-family=\"Helvetica, Arial, sans-serif\" "
            "font-size=\"11\">\n"
            "<style>\n"
            ".title { font-size: 13px; font-weight: bold; fill: #222 }\n"
            ".run { font-size: 13px; fill: #222 }\n"
            ".note { fill: #777; font-size: 11px }\n"
            ".x { text-anchor: middle; fill: #555 }\n"
            ".y { text-anchor: end; fill: #555 }\n"
            ".grid { stroke: #e6e6e6; fill: none }\n"
            ".axis { stroke: #888; fill: none }\n"
            "</style>\n"
            "<rect width=\"%d\" height=\"%d\" fill=\"#fff\"/>\n"
            "<text x=\"%d\" y=\"22\" class=\"note\">by step; faint: each step, line: mean of its "
            "neighbours, rings: validation</text>\n",
            width, height, width, height, width, height, LEFT);
}

static bool draw(FILE *file, const run_log *runs, int count)
{
    panel *panels = calloc(RUN_MOST_CURVES, sizeof *panels);
    bins *b = malloc(sizeof *b);
    bool good = panels && b;
    const int n = good ? list_panels(panels, runs, count) : 0;
    const int top = 46 + count * LEGEND_LINE - 8, rows = (n + COLUMNS - 1) / COLUMNS;
    share_steps(panels, n, runs, count);
    for (int i = 0; i < n && good; i++) good = measure(&panels[i], runs, count, i, top);
    if (good) {
        draw_head(file, COLUMNS * PANEL_WIDTH, top + rows * PANEL_HIGH + 6);
        draw_legend(file, runs, count);
        for (int i = 0; i < n; i++) draw_panel(file, &panels[i], b, i, runs, count);
        fprintf(file, "</svg>\n");
    }
    free(b);
    free(panels);
    return good;
}

int plot_write(const cli *c, const char *path, const run_log *runs, int count)
{
    char temporary[4096];
    snprintf(temporary, sizeof temporary, "%s.tmp-%d", path, (int)getpid());
    FILE *file = fopen(temporary, "we");
    if (!file) return cli_fail_with(c, "%s: cannot write: %s", path, strerror(errno));
    const bool drawn = draw(file, runs, count);
    if (!drawn) errno = ENOMEM;
    bool written = drawn && fflush(file) == 0 && !ferror(file);
    written = fclose(file) == 0 && written;
    if (written && rename(temporary, path) == 0) return CLI_DONE;
    const int kept = errno;
    unlink(temporary);
    return cli_fail_with(c, "%s: cannot write: %s", path, strerror(kept));
}
