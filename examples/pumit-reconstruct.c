/* SPDX-License-Identifier: Apache-2.0 */
/* What a tokenizer keeps of an image, and what a transformer guesses of its hidden parts, as a PNG. */
#include "examples/common/cli.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_COLUMNS 4
#define LEAST_WIDTH  128

static const cli_option OPTIONS[] = {
    {"output", 'o', 's', "SHEET.png", NULL, "the picture to write; required"},
    {"vit", 0, 's', "FILE", NULL, "a transformer pre-trained with this tokenizer: adds two rows"},
    {"mask-ratio", 0, 'n', "X", NULL, "share of the tokens that is hidden; default 0.55"},
    {"seed", 0, 'i', "N", NULL, "of the mask"},
    {"max-tokens", 0, 'i', "N", NULL, "larger images are shrunk; default 2048"},
    {0}};

/* The sheet's rows: images (1, D, H, W, C). */
enum { ORIGINAL, RECONSTRUCTED, MASKED, PREDICTED, ROWS };

typedef struct {
    pumit_tensor *rows[ROWS], *tokens, *visible, *predicted;
    double spacing[3];
    int64_t size[4]; /* D H W C */
    int count;       /* rows made */
} pictures;

static float *read_floats(const pumit_tensor *tensor)
{
    const int64_t bytes = pumit_tensor_count(tensor) * (int64_t)sizeof(float);
    float *values = malloc((size_t)bytes);
    if (values && pumit_tensor_read(tensor, PUMIT_F32, values, bytes) == PUMIT_OK) return values;
    free(values);
    return NULL;
}

static double number_of(const cli *c, const char *name, double fallback)
{
    const char *const text = cli_value(c, name);
    return text ? strtod(text, NULL) : fallback;
}

/* ------------------------------------------------------------------------------------- masked pictures */

/* Grays what no visible token covers. */
static void gray_out(float *image, const pictures *p, const int64_t *grid, const bool *shown)
{
    const int64_t H = p->size[1], W = p->size[2], C = p->size[3];
    for (int64_t i = 0; i < p->size[0] * H * W; i++) {
        const int64_t d = i / (H * W) * grid[0] / p->size[0], h = i / W % H * grid[1] / H,
                      w = i % W * grid[2] / W;
        if (shown[(d * grid[1] + h) * grid[2] + w]) continue;
        for (int64_t k = 0; k < C; k++) image[i * C + k] = 0.5f;
    }
}

/* Where a token is visible its own distribution, elsewhere the predicted one. */
static void fill_in(float *predicted, const float *tokens, const bool *shown, int64_t length,
                    int64_t codes)
{
    for (int64_t i = 0; i < length; i++)
        if (shown[i])
            memcpy(predicted + i * codes, tokens + i * codes, (size_t)codes * sizeof *tokens);
}

static bool *shown_tokens(const pictures *p, int64_t length)
{
    const int64_t count = pumit_tensor_count(p->visible);
    int64_t *index = calloc((size_t)count, sizeof *index);
    bool *shown = calloc((size_t)length, sizeof *shown);
    if (index && shown &&
        pumit_tensor_read(p->visible, PUMIT_I64, index, count * (int64_t)sizeof *index) == PUMIT_OK)
        for (int64_t i = 0; i < count; i++) shown[index[i]] = true;
    free(index);
    return shown;
}

static pumit_status compose_masked(pictures *p, pumit_context *ctx, pumit_tokenizer *tokenizer)
{
    const int64_t *const shape = pumit_tensor_shape(p->tokens); /* 1 d h w codes */
    const int64_t length = shape[1] * shape[2] * shape[3];
    bool *shown = shown_tokens(p, length);
    float *image = read_floats(p->rows[ORIGINAL]), *tokens = read_floats(p->tokens),
          *predicted = read_floats(p->predicted);
    pumit_tensor *filled = NULL;
    pumit_status status = PUMIT_ERROR_OUT_OF_MEMORY;
    if (shown && image && tokens && predicted) {
        gray_out(image, p, shape + 1, shown);
        fill_in(predicted, tokens, shown, length, shape[4]);
        status = pumit_tensor_from_data(&p->rows[MASKED], ctx, PUMIT_F32, 5,
                                        pumit_tensor_shape(p->rows[ORIGINAL]), image);
        if (status == PUMIT_OK)
            status = pumit_tensor_from_data(&filled, ctx, PUMIT_F32, 5, shape, predicted);
        if (status == PUMIT_OK)
            status = pumit_tokenizer_decode(&p->rows[PREDICTED], tokenizer, filled, p->spacing);
    }
    pumit_tensor_release(filled);
    free(shown);
    free(image);
    free(tokens);
    free(predicted);
    return status;
}

static pumit_status predict(pictures *p, cli *c, pumit_tokenizer *tokenizer, pumit_vit *vit)
{
    int64_t grid[3];
    pumit_tensor *const image = p->rows[ORIGINAL];
    pumit_status status = pumit_vit_grid(grid, vit, p->size, p->spacing);
    if (status == PUMIT_OK)
        status = pumit_vit_random_visible(&p->visible, c->ctx, 1, grid[0] * grid[1] * grid[2],
                                          number_of(c, "mask-ratio", 0.55),
                                          (uint64_t)number_of(c, "seed", 0));
    if (status == PUMIT_OK)
        status = pumit_vit_predict(&p->predicted, vit, image, p->spacing, p->visible);
    if (status == PUMIT_OK) status = compose_masked(p, c->ctx, tokenizer);
    if (status == PUMIT_OK) p->count = ROWS;
    return status;
}

/* --------------------------------------------------------------------------------------------- sheet */

/* Slice `d` of an image, each pixel `zoom` times each way. */
static void put_slice(float *dst, const float *image, const pictures *p, int64_t d, int64_t zoom)
{
    const int64_t H = p->size[1], W = p->size[2], C = p->size[3];
    for (int64_t i = 0; i < H * zoom * W * zoom; i++) {
        const int64_t h = i / (W * zoom) / zoom, w = i % (W * zoom) / zoom;
        memcpy(dst + i * C, image + ((d * H + h) * W + w) * C, (size_t)C * sizeof *dst);
    }
}

static pumit_status write_sheet(const pictures *p, pumit_context *ctx, const char *path)
{
    const int64_t columns = p->size[0] < MOST_COLUMNS ? p->size[0] : MOST_COLUMNS;
    const int64_t zoom = p->size[2] < LEAST_WIDTH ? (LEAST_WIDTH + p->size[2] - 1) / p->size[2] : 1;
    const int64_t shape[] = {p->count * columns, p->size[1] * zoom, p->size[2] * zoom, p->size[3]};
    const int64_t each = shape[1] * shape[2] * shape[3];
    float *data = malloc((size_t)(shape[0] * each) * sizeof *data);
    if (!data) return PUMIT_ERROR_OUT_OF_MEMORY;
    for (int row = 0; row < p->count; row++) {
        float *const image = read_floats(p->rows[row]);
        for (int64_t k = 0; k < columns && image; k++) {
            const int64_t d = (2 * k + 1) * p->size[0] / (2 * columns);
            put_slice(data + (row * columns + k) * each, image, p, d, zoom);
        }
        free(image);
    }
    pumit_tensor *sheet;
    pumit_status status = pumit_tensor_from_data(&sheet, ctx, PUMIT_F32, 4, shape, data);
    free(data);
    if (status != PUMIT_OK) return status;
    status = pumit_write_png_sheet(path, sheet, (int32_t)columns);
    pumit_tensor_release(sheet);
    return status;
}

static double psnr_of(const pictures *p)
{
    float *a = read_floats(p->rows[ORIGINAL]), *b = read_floats(p->rows[RECONSTRUCTED]);
    const int64_t n = pumit_tensor_count(p->rows[ORIGINAL]);
    double sum = 0;
    for (int64_t i = 0; i < n && a && b; i++) sum += pow((double)a[i] - (double)b[i], 2);
    free(a);
    free(b);
    return -10 * log10(fmax(sum / (double)n, 1e-12));
}

static int report(const cli *c, const pictures *p)
{
    const char *const path = cli_value(c, "output");
    if (!c->json) {
        printf("%s: PSNR %.2f dB\n", path, psnr_of(p));
        return CLI_DONE;
    }
    cJSON *tree = cJSON_CreateObject();
    cJSON_AddStringToObject(tree, "sheet", path);
    cJSON_AddNumberToObject(tree, "psnr", psnr_of(p));
    cJSON_AddNumberToObject(
        tree, "tokens", (double)(pumit_tensor_count(p->tokens) / pumit_tensor_shape(p->tokens)[4]));
    return cli_print_json(c, tree);
}

/* ----------------------------------------------------------------------------------------------- main */

static pumit_status prepare(pictures *p, cli *c, pumit_tokenizer *tokenizer)
{
    pumit_volume *volume;
    pumit_status status = pumit_volume_read(&volume, c->ctx, c->paths[1], 0);
    if (status != PUMIT_OK) return status;
    status = pumit_volume_to_patches(
        &p->rows[ORIGINAL], p->spacing, volume, c->ctx, pumit_tokenizer_channels(tokenizer),
        pumit_tokenizer_patch(tokenizer), (int64_t)number_of(c, "max-tokens", 2048));
    pumit_volume_release(volume);
    if (status != PUMIT_OK) return status;
    memcpy(p->size, pumit_tensor_shape(p->rows[ORIGINAL]) + 1, sizeof p->size);
    status = pumit_tokenizer_encode(&p->tokens, tokenizer, p->rows[ORIGINAL], p->spacing);
    if (status == PUMIT_OK)
        status = pumit_tokenizer_decode(&p->rows[RECONSTRUCTED], tokenizer, p->tokens, p->spacing);
    p->count = 2;
    return status;
}

static pumit_status make_pictures(pictures *p, cli *c)
{
    pumit_tokenizer *tokenizer = NULL;
    pumit_vit *vit = NULL;
    pumit_status status = cli_open_context(c);
    if (status == PUMIT_OK) status = pumit_tokenizer_load(&tokenizer, c->ctx, c->paths[0]);
    if (status == PUMIT_OK) status = prepare(p, c, tokenizer);
    if (status == PUMIT_OK && cli_given(c, "vit")) {
        status = pumit_vit_load(&vit, c->ctx, cli_value(c, "vit"));
        if (status == PUMIT_OK) status = predict(p, c, tokenizer, vit);
    }
    if (status == PUMIT_OK) status = write_sheet(p, c->ctx, cli_value(c, "output"));
    pumit_vit_release(vit);
    pumit_tokenizer_release(tokenizer);
    return status;
}

static int body(cli *c)
{
    if (!cli_given(c, "output")) return cli_wrong_usage(c, "--output SHEET.png is missing");
    if (c->path_count != 2) return cli_wrong_usage(c, "one tokenizer and one image are wanted");
    pictures p = {0};
    const int result = make_pictures(&p, c) == PUMIT_OK ? report(c, &p) : cli_fail(c);
    for (int i = 0; i < ROWS; i++) pumit_tensor_release(p.rows[i]);
    pumit_tensor_release(p.tokens);
    pumit_tensor_release(p.visible);
    pumit_tensor_release(p.predicted);
    return result;
}

int main(int argc, char **argv)
{
    cli c = {.program = "pumit-reconstruct",
             .synopsis = "[OPTION]... TOKENIZER IMAGE --output SHEET.png",
             .summary = "Writes slices of an image (first row) and what the tokenizer keeps of "
                        "them (second). With "
                        "--vit also what\nis left when tokens are hidden, and what the transformer "
                        "makes of it.",
             .options = OPTIONS,
             .least_paths = 2};
    return cli_main(&c, argc, argv, body);
}
