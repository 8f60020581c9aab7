/* SPDX-License-Identifier: Apache-2.0 */
/* Embeddings of images of any size and spacing. */
#include "examples/common/describe.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static const cli_option OPTIONS[] = {
    {"weights", 0, 's', "TYPE", "weight_type", "hold matrices as f32, bf16 or f16; default: f32"},
    {"split", 0, 's', "NAME", "split", "which split of .npz and .csv data: train, val, test"},
    {"output", 'o', 's', "FILE", NULL, "write there instead of stdout"},
    {0}};

typedef struct {
    const char *name;
    int32_t da;
    double spacing[3];
    int64_t tokens;
    double *values; /* (dim) */
} row;

static pumit_status embed(row *r, int64_t dim, pumit_vit *model, cli *c, const pumit_volume *image)
{
    pumit_tensor *vector;
    r->da = pumit_volume_anisotropy(image);
    pumit_volume_spacing(image, r->spacing);
    pumit_status status = cli_tokens(&r->tokens, NULL, c, image, model);
    if (status != PUMIT_OK) return status;
    status = pumit_vit_embed(&vector, model, image);
    if (status != PUMIT_OK) return status;
    status = pumit_tensor_read(vector, PUMIT_F64, r->values, dim * (int64_t)sizeof *r->values);
    pumit_tensor_release(vector);
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

/* `out` NULL: everything goes into `list`. */
static int embed_all(cli *c, pumit_vit *model, const pumit_dataset *images, FILE *out, cJSON *list)
{
    const int64_t dim = pumit_vit_dim(model);
    row r = {.values = calloc((size_t)dim, sizeof *r.values)};
    pumit_status status = PUMIT_OK;
    if (!r.values) return cli_fail_with(c, "out of memory");
    if (out) print_header(out, dim);
    for (int64_t i = 0; i < pumit_dataset_count(images) && status == PUMIT_OK; i++) {
        r.name = pumit_dataset_name(images, i);
        status = embed(&r, dim, model, c, pumit_dataset_volume(images, i));
        if (status != PUMIT_OK) break;
        if (out)
            print_row(out, &r, dim);
        else
            cJSON_AddItemToArray(list, row_json(&r, dim));
    }
    free(r.values);
    return status == PUMIT_OK ? CLI_DONE : cli_fail(c);
}

static int run(cli *c, pumit_vit *model, const pumit_dataset *images)
{
    cli_tell_warnings(c);
    if (c->json) {
        cJSON *list = cJSON_CreateArray();
        const int result = embed_all(c, model, images, NULL, list);
        if (result == CLI_DONE) return cli_print_json(c, list);
        cJSON_Delete(list);
        return result;
    }
    FILE *out = cli_open_output(c);
    if (!out) return CLI_FAILED;
    const int result = embed_all(c, model, images, out, NULL);
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
