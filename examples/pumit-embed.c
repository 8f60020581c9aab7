/* SPDX-License-Identifier: Apache-2.0 */
/* Embeddings of images of any size and spacing. */
#include "examples/common/describe.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define MOST_IMAGES 4096
#define MOST_TOKENS 2048 /* at a time, of several images: memory grows with them */

static const cli_option OPTIONS[] = {
    {"weights", 0, 's', "TYPE", "weight_type", "hold matrices as f32, bf16 or f16; default: f32"},
    {"split", 0, 's', "NAME", "split", "which split of .npz and .csv data: train, val, test"},
    {"batch", 0, 'i', "N", "batch",
     "most images at a time (16), as long as they have 2048 tokens at most"},
    {"output", 'o', 's', "FILE", NULL, "write there instead of stdout"},
    {0}};

typedef struct {
    const char *name;
    const pumit_volume *image;
    int32_t da;
    double spacing[3];
    int64_t tokens;
    const double *values; /* (dim) */
} row;

/* Images that go through the transformer together. */
typedef struct {
    int64_t dim, most, count, tokens;
    row *rows;                    /* (most) */
    const pumit_volume **volumes; /* (most) */
    double *values;               /* (most, dim) */
} batch;

static bool make_batch(batch *b, int64_t dim, int64_t most)
{
    *b = (batch){.dim = dim, .most = most};
    b->rows = calloc((size_t)most, sizeof *b->rows);
    b->volumes = calloc((size_t)most, sizeof *b->volumes);
    b->values = calloc((size_t)most, (size_t)dim * sizeof *b->values);
    return b->rows && b->volumes && b->values;
}

static void free_batch(batch *b)
{
    free(b->rows);
    free(b->volumes);
    free(b->values);
}

static pumit_status describe(row *r, cli *c, pumit_vit *model, const pumit_dataset *images,
                             int64_t i)
{
    r->name = pumit_dataset_name(images, i);
    r->image = pumit_dataset_volume(images, i);
    r->da = pumit_volume_anisotropy(r->image);
    pumit_volume_spacing(r->image, r->spacing);
    return cli_tokens(&r->tokens, NULL, c, r->image, model);
}

static pumit_status embed(batch *b, pumit_vit *model)
{
    pumit_tensor *vectors;
    for (int64_t i = 0; i < b->count; i++) {
        b->volumes[i] = b->rows[i].image;
        b->rows[i].values = b->values + i * b->dim;
    }
    pumit_status status = pumit_vit_embed_packed(&vectors, model, b->count, b->volumes);
    if (status != PUMIT_OK) return status;
    status = pumit_tensor_read(vectors, PUMIT_F64, b->values,
                               b->count * b->dim * (int64_t)sizeof *b->values);
    pumit_tensor_release(vectors);
    return status;
}

static void print_row(FILE *out, const row *r, int64_t dim)
{
    cli_print_field(out, r->name);
    fprintf(out, ",%d,%g,%g,%g,%lld", (int)r->da, r->spacing[0], r->spacing[1], r->spacing[2],
            (long long)r->tokens);
    for (int64_t i = 0; i < dim; i++) fprintf(out, ",%.7g", r->values[i]);
    fputc('\n', out);
}

static cJSON *row_json(const row *r, int64_t dim)
{
    cJSON *item = cJSON_CreateObject();
    cJSON_AddStringToObject(item, "image", r->name);
    cJSON_AddNumberToObject(item, "da", r->da);
    cJSON_AddItemToObject(item, "spacing", cli_spacing_json(r->spacing));
    cJSON_AddNumberToObject(item, "tokens", (double)r->tokens);
    cJSON_AddItemToObject(item, "embedding", cJSON_CreateDoubleArray(r->values, (int)dim));
    return item;
}

static void print_header(FILE *out, int64_t dim)
{
    fprintf(out, "image,da,spacing_d,spacing_h,spacing_w,tokens");
    for (int64_t i = 0; i < dim; i++) fprintf(out, ",e%lld", (long long)i);
    fputc('\n', out);
}

/* Embeds and prints what the batch holds; it is empty then. `out` NULL: everything goes into `list`. */
static pumit_status flush(batch *b, pumit_vit *model, FILE *out, cJSON *list)
{
    const pumit_status status = b->count > 0 ? embed(b, model) : PUMIT_OK;
    for (int64_t i = 0; i < b->count && status == PUMIT_OK; i++)
        if (out)
            print_row(out, &b->rows[i], b->dim);
        else
            cJSON_AddItemToArray(list, row_json(&b->rows[i], b->dim));
    b->count = b->tokens = 0;
    return status;
}

static pumit_status embed_each(batch *b, cli *c, pumit_vit *model, const pumit_dataset *images,
                               FILE *out, cJSON *list)
{
    pumit_status status = PUMIT_OK;
    for (int64_t i = 0; i < pumit_dataset_count(images) && status == PUMIT_OK; i++) {
        row r = {0};
        status = describe(&r, c, model, images, i);
        if (status == PUMIT_OK && (b->count == b->most || b->tokens + r.tokens > MOST_TOKENS))
            status = flush(b, model, out, list);
        if (status != PUMIT_OK) break;
        b->rows[b->count++] = r;
        b->tokens += r.tokens;
    }
    return status == PUMIT_OK ? flush(b, model, out, list) : status;
}

static int embed_all(cli *c, pumit_vit *model, const pumit_dataset *images, int64_t most, FILE *out,
                     cJSON *list)
{
    batch b;
    const bool made = make_batch(&b, pumit_vit_dim(model), most);
    if (made && out) print_header(out, b.dim);
    const pumit_status status = made ? embed_each(&b, c, model, images, out, list) : PUMIT_OK;
    free_batch(&b);
    if (!made) return cli_fail_with(c, "out of memory");
    return status == PUMIT_OK ? CLI_DONE : cli_fail(c);
}

static int run(cli *c, pumit_vit *model, const pumit_dataset *images)
{
    int64_t most;
    if (pumit_config_get_int(&most, c->config, "batch", 16) != PUMIT_OK) return cli_fail(c);
    if (most < 1 || most > MOST_IMAGES)
        return cli_wrong_usage(c, "--batch is %lld; it is 1 to %d", (long long)most, MOST_IMAGES);
    cli_tell_warnings(c);
    if (c->json) {
        cJSON *list = cJSON_CreateArray();
        const int result = embed_all(c, model, images, most, NULL, list);
        if (result == CLI_DONE) return cli_print_json(c, list);
        cJSON_Delete(list);
        return result;
    }
    FILE *out = cli_open_output(c);
    if (!out) return CLI_FAILED;
    const int result = embed_all(c, model, images, most, out, NULL);
    const int closed = cli_close_output(c, out);
    return result == CLI_DONE ? closed : result;
}

static int body(cli *c)
{
    pumit_vit *model = NULL;
    pumit_dataset *images = NULL;
    pumit_status status = cli_open_context(c);
    if (status == PUMIT_OK) status = pumit_vit_load(&model, c->ctx, c->paths[0]);
    if (status == PUMIT_OK)
        status = pumit_dataset_open(&images, c->ctx, c->path_count - 1, c->paths + 1, c->config);
    const int result = status == PUMIT_OK ? run(c, model, images) : cli_fail(c);
    pumit_dataset_release(images);
    pumit_vit_release(model);
    return result;
}

int main(int argc, char **argv)
{
    cli c = {.program = "pumit-embed",
             .synopsis = "[OPTION]... MODEL IMAGE|FOLDER|ARCHIVE|LIST...",
             .summary = "Prints one vector for every image, as CSV or JSON. MODEL is a transformer "
                        "or a classifier.",
             .options = OPTIONS,
             .least_paths = 2};
    return cli_main(&c, argc, argv, body);
}
