/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Times the networks at the paper's size (ViT-B, tokenizer 128-256-512 with 1024 codes) on random images, and sgemm in the same
 * process, so that shares of the machine's matrix rate can be read off one run. A JSON object a line.
 *
 *     networks [--threads N] [--runs N] [--only TEXT]
 */
#include <pumit/pumit.h>

#include <cblas.h>
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define MOST_RUNS 101

typedef struct {
    pumit_context *ctx;
    pumit_tokenizer *tokenizer;
    pumit_vit *vit;
    pumit_tensor *image, *visible;
    double spacing[3];
} bench;

typedef struct {
    const char *name;
    int32_t da;
    int64_t size[3];
} crop;

static const crop crops[] = {
    {"da0", 0, {80, 160, 160}}, {"da2", 2, {20, 160, 160}}, {"2d", 5, {1, 160, 160}}};

static struct {
    int threads, runs;
    const char *only;
    double sgemm; /* FLOP/s */
} options = {2, 5, "", 0.0};

static void check(pumit_status status)
{
    if (status == PUMIT_OK) return;
    fprintf(stderr, "networks: %s\n", pumit_last_error());
    exit(EXIT_FAILURE);
}

static int rising(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median_seconds(void (*work)(bench *), bench *b)
{
    double seconds[MOST_RUNS];
    work(b);
    for (int i = 0; i < options.runs; i++) {
        const double start = omp_get_wtime();
        work(b);
        seconds[i] = omp_get_wtime() - start;
    }
    qsort(seconds, (size_t)options.runs, sizeof *seconds, rising);
    return seconds[options.runs / 2];
}

static void report(const char *name, const char *crop_name, void (*work)(bench *), bench *b,
                   double flop)
{
    char text[64];
    snprintf(text, sizeof text, "%s%s%s", name, *crop_name ? "-" : "", crop_name);
    if (!strstr(text, options.only)) return;
    const double seconds = median_seconds(work, b);
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    printf("{\"case\": \"%s\", \"seconds\": %.4f, \"threads\": %d, \"peak_rss_mib\": %ld", text,
           seconds, options.threads, usage.ru_maxrss / 1024);
    if (flop > 0.0) printf(", \"gflops\": %.1f", 1e-9 * flop / seconds);
    if (flop > 0.0 && options.sgemm > 0.0)
        printf(", \"sgemm_share\": %.3f", flop / seconds / options.sgemm);
    printf("}\n");
    fflush(stdout);
}

/* -------------------------------------------------------------------------------------------- work */

static void forward(bench *b)
{
    pumit_tensor *hidden;
    check(pumit_vit_forward(&hidden, b->vit, b->image, b->spacing));
    pumit_tensor_release(hidden);
}

static void encode(bench *b)
{
    pumit_tensor *tokens;
    check(pumit_tokenizer_encode(&tokens, b->tokenizer, b->image, b->spacing));
    pumit_tensor_release(tokens);
}

static void backward_and_forget(pumit_tensor *loss, pumit_module *module)
{
    check(pumit_tensor_backward(loss));
    pumit_tensor_release(loss);
    pumit_module_zero_grad(module);
}

static void tokenizer_step(bench *b)
{
    pumit_tensor *loss;
    check(pumit_tokenizer_loss(&loss, NULL, b->tokenizer, b->image, b->spacing, 1.0, 0.2));
    backward_and_forget(loss, pumit_tokenizer_module(b->tokenizer));
}

static void mim_step(bench *b)
{
    pumit_tensor *loss;
    check(pumit_vit_mim_loss(&loss, b->vit, b->tokenizer, b->image, b->spacing, b->visible));
    backward_and_forget(loss, pumit_vit_module(b->vit));
}

#define SGEMM_SIZE 2048

static void sgemm(bench *b)
{
    (void)b;
    static float matrices[3][SGEMM_SIZE * SGEMM_SIZE];
    omp_set_num_threads(options.threads);
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, SGEMM_SIZE, SGEMM_SIZE, SGEMM_SIZE, 1.0f,
                matrices[0], SGEMM_SIZE, matrices[1], SGEMM_SIZE, 0.0f, matrices[2], SGEMM_SIZE);
}

/* --------------------------------------------------------------------------------------------- setup */

static void make_models(bench *b)
{
    pumit_config *config;
    check(pumit_config_create(&config));
    check(pumit_config_set_int(config, "threads", options.threads));
    check(pumit_context_create(&b->ctx, config));
    check(pumit_config_set_int(config, "codes", 1024));
    check(pumit_vit_create(&b->vit, b->ctx, config));
    check(pumit_tokenizer_create(&b->tokenizer, b->ctx, config));
    pumit_config_release(config);
}

/* Gives the number of tokens. */
static int64_t make_image(bench *b, const crop *c)
{
    const int64_t shape[5] = {1, c->size[0], c->size[1], c->size[2], 3};
    int64_t grid[3];
    void *data;
    pumit_tensor_release(b->image);
    pumit_tensor_release(b->visible);
    check(pumit_tensor_create(&b->image, b->ctx, PUMIT_F32, 5, shape));
    check(pumit_tensor_data(&data, b->image));
    float *values = data;
    for (int64_t i = 0; i < pumit_tensor_count(b->image); i++)
        values[i] = (float)rand() / (float)RAND_MAX;
    b->spacing[0] = ldexp(1.0, c->da);
    b->spacing[1] = b->spacing[2] = 1.0;
    check(pumit_vit_grid(grid, b->vit, c->size, b->spacing));
    check(pumit_vit_random_visible(&b->visible, b->ctx, 1, grid[0] * grid[1] * grid[2], 0.55, 1));
    return grid[0] * grid[1] * grid[2];
}

/* Multiplications and additions of a ViT-B forward pass. */
static double forward_flop(const crop *c, int64_t tokens)
{
    const double dim = 768, hidden = 2048, depth = 12, rows = (double)(tokens + 1),
                 depth_of_patch = c->da > 3 ? 1 : 16 >> c->da;
    return 2.0 * rows * depth * (4.0 * dim * dim + 3.0 * dim * hidden) +
           4.0 * rows * rows * dim * depth +
           2.0 * (double)tokens * dim * 3.0 * 16.0 * 16.0 * depth_of_patch;
}

static int parse(int argc, char **argv)
{
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--threads") == 0)
            options.threads = (int)strtol(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--runs") == 0)
            options.runs = (int)strtol(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--only") == 0)
            options.only = argv[i + 1];
        else
            return 0;
    }
    return argc % 2 == 1 && options.threads >= 1 && options.runs >= 1 && options.runs <= MOST_RUNS;
}

int main(int argc, char **argv)
{
    if (!parse(argc, argv)) {
        fprintf(stderr, "usage: networks [--threads N] [--runs N] [--only TEXT]\n");
        return 2;
    }
    const double gemm_flop = 2.0 * SGEMM_SIZE * SGEMM_SIZE * SGEMM_SIZE;
    bench b = {0};
    options.sgemm = gemm_flop / median_seconds(sgemm, &b);
    report("sgemm", "2048", sgemm, &b, gemm_flop);
    make_models(&b);
    for (size_t i = 0; i < sizeof crops / sizeof *crops; i++) {
        const int64_t tokens = make_image(&b, &crops[i]);
        report("tokenize", crops[i].name, encode, &b, 0.0);
        report("vit-b-forward", crops[i].name, forward, &b, forward_flop(&crops[i], tokens));
        report("tokenizer-step", crops[i].name, tokenizer_step, &b, 0.0);
        report("mim-step-vit-b", crops[i].name, mim_step, &b, 0.0);
    }
    pumit_tensor_release(b.image);
    pumit_tensor_release(b.visible);
    pumit_vit_release(b.vit);
    pumit_tokenizer_release(b.tokenizer);
    pumit_context_release(b.ctx);
    return EXIT_SUCCESS;
}
