/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Times every kernel on realistic shapes: calls that fit into a time budget, on the cpu backend and,
 * for comparison, the reference. Rates are those of the median; "share" is that of the roofline: the time that the kernel's products
 * take at the rate of the faster sgemm, or its bytes at the bandwidth of a triad if that is longer, both measured in this process.
 * Arrays that stay in a cache can be faster than that.
 *
 *     kernels [--backend NAME] [--budget SECONDS] [--threads N] [--lines yes] [KERNEL ...]
 *
 * With --lines, a JSON object a line, which pumit-bench reads: pumit-bench --compare BEFORE AFTER.
 */
#include "examples/bench/machine.h"
#include "kernels/backends.h"
#include "tests/kernel_cases.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const pumit_backend *const backends[] = {&pumit__cpu, &pumit__reference};

typedef struct {
    const char *backend;
    double budget;
    int threads;
    int lines;
    double sgemm, triad; /* FLOP/s, bytes/s */
    char **kernels;
    int kernel_count;
} options;

static int wanted(const options *o, const char *kernel)
{
    for (int i = 0; i < o->kernel_count; i++) {
        if (strcmp(o->kernels[i], kernel) == 0) return 1;
    }
    return o->kernel_count == 0;
}

static void print_row(const options *o, const kernel_case *c, const pumit_backend *backend,
                      kernel_time time)
{
    const double bytes = kernel_case_bytes(c, backend);
    const double share = fmax(c->flops / o->sgemm, bytes / o->triad) / time.median;
    printf("%-23s %-10s ", kernel_entries[c->kernel].name, backend->name);
    if (time.best < 0) {
        printf("%10s %10s %10s %8s %6s  %s\n", "declined", "", "", "", "", c->shape);
        return;
    }
    printf("%10.3f %10.3f %10.1f %8.1f %5.0f%%  %s\n", 1e3 * time.median, 1e3 * time.best,
           1e-9 * c->flops / time.median, 1e-9 * bytes / time.median, 100 * share, c->shape);
}

/* Shapes hold neither quotes nor backslashes. */
static void print_line(const options *o, const kernel_case *c, const pumit_backend *backend,
                       kernel_time time)
{
    if (time.best < 0) return;
    printf("{\"case\": \"%s %s\", \"by\": \"%s\", \"threads\": %d, \"seconds\": %.9f, "
           "\"best\": %.9f, \"gflop\": %.9f, \"gbyte\": %.9f, \"sgemm_gflops\": %.3f, "
           "\"triad_gbs\": %.3f}\n",
           kernel_entries[c->kernel].name, c->shape,
           backend == &pumit__cpu ? "libpumit" : backend->name, o->threads, time.median, time.best,
           1e-9 * c->flops, 1e-9 * kernel_case_bytes(c, backend), 1e-9 * o->sgemm, 1e-9 * o->triad);
}

static void time_kernel(const options *o, int kernel, const pumit_backend *backend, void *device)
{
    for (int large = 1; large <= KERNEL_LARGE; large++) {
        kernel_case c;
        kernel_case_make(&c, kernel, 0, 1, large);
        const kernel_time time = kernel_case_time(&c, backend, device, o->budget);
        (o->lines ? print_line : print_row)(o, &c, backend, time);
        fflush(stdout);
        kernel_case_free(&c);
    }
}

static int time_backend(const options *o, const pumit_backend *backend)
{
    void *device;
    if (backend->open(&device, 0, o->threads) != PUMIT_OK) return EXIT_FAILURE;
    for (int kernel = 0; kernel < KERNEL_COUNT; kernel++) {
        if (wanted(o, kernel_entries[kernel].name)) time_kernel(o, kernel, backend, device);
    }
    backend->close(device);
    return EXIT_SUCCESS;
}

static int usage(void)
{
    fputs("usage: kernels [--backend NAME] [--budget SECONDS] [--threads N] [--lines yes] "
          "[KERNEL ...]\n",
          stderr);
    return 2;
}

int main(int argc, char **argv)
{
    options o = {.budget = 0.5, .threads = omp_get_max_threads()};
    int i = 1;
    for (; i < argc && strncmp(argv[i], "--", 2) == 0; i += 2) {
        if (i + 1 == argc) return usage();
        if (strcmp(argv[i], "--backend") == 0) {
            o.backend = argv[i + 1];
        } else if (strcmp(argv[i], "--budget") == 0) {
            o.budget = strtod(argv[i + 1], NULL);
        } else if (strcmp(argv[i], "--threads") == 0) {
            o.threads = (int)strtol(argv[i + 1], NULL, 10);
        } else if (strcmp(argv[i], "--lines") == 0) {
            o.lines = strcmp(argv[i + 1], "yes") == 0;
        } else {
            return usage();
        }
    }
    o.sgemm = machine_sgemm_rate(o.threads);
    o.triad = machine_triad_rate(o.threads);
    o.kernels = argv + i;
    o.kernel_count = argc - i;
    int result = EXIT_SUCCESS;
    if (!o.lines)
        printf("sgemm %.1f GFLOP/s, triad %.1f GB/s, %d threads\n"
               "%-23s %-10s %10s %10s %10s %8s %6s  shape\n",
               1e-9 * o.sgemm, 1e-9 * o.triad, o.threads, "kernel", "backend", "median ms",
               "best ms", "GFLOP/s", "GB/s", "share");
    for (size_t b = 0; b < sizeof backends / sizeof backends[0]; b++) {
        if (o.backend != NULL && strcmp(o.backend, backends[b]->name) != 0) continue;
        if (time_backend(&o, backends[b]) != EXIT_SUCCESS) result = EXIT_FAILURE;
    }
    return result;
}
