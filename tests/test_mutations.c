/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Real files, broken in many ways: each gives an error or a valid result, within two seconds of computing and bounded memory. PUMIT_MUTANTS says how
 * many, PUMIT_MUTATE names a folder of files to take beside the corpus (`make mutate`); the mutants of a number are the same each time.
 */
#include "tests/fuzz/mutate.h"

#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

Suite *suite_mutations(void);

#define SECONDS 2

/* What a process that may be killed tells of itself. */
typedef struct {
    int64_t next; /* mutant; those before it are done */
    int64_t valid, refused;
    double slowest; /* seconds of computing */
} progress;

static double computing(void)
{
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static int multiplier(void)
{
    const char *text = getenv("CK_TIMEOUT_MULTIPLIER");
    return text && atof(text) > 1 ? (int)atof(text) : 1;
}

static void run_one(const seeds *list, int64_t n, progress *p)
{
    const struct itimerval limit = {.it_value = {.tv_sec = SECONDS * multiplier()}};
    const int64_t taken = fuzz_taken;
    size_t bytes;
    uint8_t *data = mutant(&bytes, list, n);
    data = realloc(data, bytes + !bytes); /* so that a sanitizer sees the end */
    const double before = computing();
    setitimer(ITIMER_PROF, &limit, NULL);
    mutant_of(list, n)->run(data, bytes);
    const double seconds = computing() - before;
    if (seconds > p->slowest) p->slowest = seconds;
    p->valid += fuzz_taken > taken;
    p->refused += fuzz_taken == taken;
    free(data);
}

/* In a process of its own: what it prints into `printed`, crashes and takes is known from outside. */
static int run_from(const seeds *list, int64_t count, progress *p, int printed)
{
    int status = 0;
    fflush(NULL);
    const pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        signal(SIGPROF, SIG_DFL);
        dup2(printed, 1);
        dup2(printed, 2);
        for (; p->next < count; p->next++) run_one(list, p->next, p);
        exit(0);
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    return status;
}

/* Keeps what broke it. */
static void report(const seeds *list, int64_t n, int status)
{
    const seed *from = mutant_of(list, n);
    size_t bytes;
    uint8_t *data = mutant(&bytes, list, n);
    char path[1024];
    const char *build = getenv("PUMIT_BUILD");
    snprintf(path, sizeof path, "%s/mutant-%s-%lld", build ? build : "/tmp", from->target,
             (long long)n);
    FILE *file = fopen(path, "wb");
    if (file) {
        fwrite(data, 1, bytes, file);
        fclose(file);
    }
    free(data);
    printf("mutant %lld (%s: %s) ended with status %d: %s\n", (long long)n, from->target,
           from->name, status, path);
}

/* Libraries below the library print, too, if they are let. */
static void check_silence(int printed)
{
    char text[4000] = "";
    const ssize_t got = pread(printed, text, sizeof text - 1, 0);
    ck_assert_msg(got == 0, "printed: %s", text);
    close(printed);
}

static int64_t number_of(const char *name, int64_t fallback)
{
    const char *text = getenv(name);
    return text && *text ? atoll(text) : fallback;
}

START_TEST(broken_files)
{
    seeds list = {0};
    int broken = 0;
    const char *source = getenv("PUMIT_SOURCE"), *folder = getenv("PUMIT_MUTATE");
    const int64_t count = number_of("PUMIT_MUTANTS", 400);
    const int printed = memfd_create("printed", MFD_CLOEXEC);
    struct rusage usage;
    progress *p = mmap(NULL, sizeof *p, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(p, MAP_FAILED);
    seeds_add_corpus(&list, source ? source : ".");
    if (folder && *folder) seeds_add_folder(&list, folder);
    ck_assert_int_gt(list.count, 10);
    while (p->next < count) {
        const int status = run_from(&list, count, p, printed);
        if (status == 0) break;
        report(&list, p->next, status);
        broken++;
        p->next++;
    }
    getrusage(RUSAGE_CHILDREN, &usage);
    printf("%lld mutants of %d files: %lld with a valid result, %lld refused, %d broken; slowest "
           "%.2f s, peak memory %ld MiB\n",
           (long long)count, list.count, (long long)p->valid, (long long)p->refused, broken,
           p->slowest, usage.ru_maxrss / 1024);
    fflush(stdout);
    check_silence(printed);
    ck_assert_int_eq(broken, 0);
    ck_assert_int_eq(p->valid + p->refused, count);
    ck_assert_msg(p->valid > count / 50 && p->refused > count / 50, "few mutants are of use");
    seeds_free(&list);
    munmap(p, sizeof *p);
}
END_TEST

Suite *suite_mutations(void)
{
    Suite *suite = suite_create("mutations");
    TCase *core = tcase_create("core");
    tcase_set_timeout(core, 600);
    tcase_add_test(core, broken_files);
    suite_add_tcase(suite, core);
    return suite;
}
