/* SPDX-License-Identifier: Apache-2.0 */
#include "examples/bench/machine.h"

#include <cblas.h>
#include <dnnl.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MATRIX  ((size_t)MACHINE_SGEMM * MACHINE_SGEMM)
#define ARRAY   (4 * MATRIX) /* of the triad: 64 MiB, beyond any cache's share of two cores */
#define SECONDS 0.15         /* of each measurement; at least three calls */

const char *const machine_libraries[MACHINE_LIBRARIES] = {"openblas", "onednn"};

struct machine {
    int threads;
    float *a, *b, *c;
};

machine *machine_create(int threads)
{
    machine *m = calloc(1, sizeof *m);
    if (!m) return NULL;
    m->threads = threads;
    m->a = malloc(ARRAY * sizeof *m->a);
    m->b = malloc(ARRAY * sizeof *m->b);
    m->c = malloc(ARRAY * sizeof *m->c);
    if (!m->a || !m->b || !m->c) {
        machine_free(m);
        return NULL;
    }
    for (size_t i = 0; i < ARRAY; i++) {
        m->a[i] = 0;
        m->b[i] = (float)(i % 7) - 3;
        m->c[i] = (float)(i % 5) - 2;
    }
    return m;
}

void machine_free(machine *m)
{
    if (!m) return;
    free(m->a);
    free(m->b);
    free(m->c);
    free(m);
}

void machine_sgemm(machine *m, int library)
{
    enum { N = MACHINE_SGEMM };
    omp_set_num_threads(m->threads);
    if (library == 0)
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, N, N, N, 1, m->b, N, m->c, N, 0,
                    m->a, N);
    else
        dnnl_sgemm('N', 'N', N, N, N, 1, m->b, N, m->c, N, 0, m->a, N);
}

void machine_triad(machine *m)
{
    float *const a = m->a;
    const float *const b = m->b, *const c = m->c;
#pragma omp parallel for simd num_threads(m->threads)
    for (size_t i = 0; i < ARRAY; i++) a[i] = b[i] + 3 * c[i];
}

/* Seconds of the fastest call; library -1: the triad. */
static double fastest(machine *m, int library)
{
    double best = 1e9, spent = 0;
    for (int i = 0; i < 3 || spent < SECONDS; i++) {
        const double start = machine_now();
        if (library >= 0)
            machine_sgemm(m, library);
        else
            machine_triad(m);
        const double seconds = machine_now() - start;
        spent += seconds;
        if (seconds < best) best = seconds;
    }
    return best;
}

double machine_sgemm_rate(int threads)
{
    double best = 0;
    machine *m = machine_create(threads);
    for (int i = 0; m && i < MACHINE_LIBRARIES; i++) {
        const double rate = MACHINE_SGEMM_FLOP / fastest(m, i);
        if (rate > best) best = rate;
    }
    machine_free(m);
    return best;
}

double machine_triad_rate(int threads)
{
    machine *m = machine_create(threads);
    const double rate = m ? MACHINE_TRIAD_BYTES / fastest(m, -1) : 0;
    machine_free(m);
    return rate;
}

/* Copies what follows "key" and a colon in a file of such lines. */
static void read_line(char *text, int bytes, const char *path, const char *key)
{
    char line[256];
    FILE *file = fopen(path, "re");
    *text = '\0';
    while (file && *text == '\0' && fgets(line, sizeof line, file)) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, key, strlen(key)) != 0 || !colon) continue;
        while (*++colon == ' ' || *colon == '\t') continue;
        snprintf(text, (size_t)bytes, "%.*s", (int)strcspn(colon, "\n"), colon);
    }
    if (file) fclose(file);
}

void machine_name(char *text, int bytes)
{
    read_line(text, bytes, "/proc/cpuinfo", "model name");
}

double machine_now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* Not getrusage(): its peak outlives exec(), so a process would begin with its parent's. */
double machine_peak_mib(void)
{
    char text[64];
    read_line(text, sizeof text, "/proc/self/status", "VmHWM");
    return strtod(text, NULL) / 1024;
}

void machine_forget_peak(void)
{
    FILE *file = fopen("/proc/self/clear_refs", "we");
    if (!file) return;
    fputs("5", file);
    fclose(file);
}
