/* SPDX-License-Identifier: Apache-2.0 */
/* What a file is: the geometry of an image, the inside of a model or of an archive; how a run goes; the devices of this machine. */
#include "examples/common/convert.h"
#include "examples/common/describe.h"
#include "examples/common/plot.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const cli_option OPTIONS[] = {
    {"plot", 0, 's', "FILE.svg", NULL, "draw the curves of the runs given"},
    {"devices", 0, 'b', NULL, NULL, "list what can be computed on"},
    {"convert", 0, 's', "MODEL", NULL, "write the weights of a checkpoint FILE as a model file"},
    {"prefix", 0, 's', "TEXT", "convert.prefix", "what the names to convert begin with, and lose"},
    {"partial", 0, 'b', NULL, "convert.partial", "take a backbone without its head"},
    {"inflation", 0, 's', "KIND", "convert.inflation", "of 2D kernels: average or center"},
    {0}};

/* ------------------------------------------------------------------------------------------- images */

static bool range_of(double range[2], const pumit_volume *image)
{
    int64_t shape[4];
    pumit_volume_shape(image, shape);
    const float *const voxels = pumit_volume_voxels(image);
    if (!voxels) return false;
    const int64_t n = shape[0] * shape[1] * shape[2] * shape[3];
    range[0] = INFINITY;
    range[1] = -INFINITY;
    for (int64_t i = 0; i < n; i++) {
        if (!isfinite(voxels[i])) continue;
        range[0] = fmin(range[0], voxels[i]);
        range[1] = fmax(range[1], voxels[i]);
    }
    return true;
}

static cJSON *whole_numbers(const int64_t *values, int count)
{
    cJSON *array = cJSON_CreateArray();
    for (int i = 0; i < count; i++)
        cJSON_AddItemToArray(array, cJSON_CreateNumber((double)values[i]));
    return array;
}

/* NULL after a failure. */
static cJSON *describe_image(cli *c, const char *name, const pumit_volume *image)
{
    int64_t shape[4], grid[3], tokens;
    double spacing[3], range[2];
    if (cli_tokens(&tokens, grid, c, image, NULL) != PUMIT_OK) return NULL;
    pumit_volume_shape(image, shape);
    pumit_volume_spacing(image, spacing);
    if (!range_of(range, image)) return NULL;
    cJSON *item = cJSON_CreateObject();
    cJSON_AddStringToObject(item, "file", name);
    cJSON_AddStringToObject(item, "kind", "image");
    cJSON_AddItemToObject(item, "shape", whole_numbers(shape, 4));
    cJSON_AddItemToObject(item, "spacing", cli_spacing_json(spacing));
    cJSON_AddNumberToObject(item, "da", pumit_volume_anisotropy(image));
    cJSON_AddItemToObject(item, "grid", whole_numbers(grid, 3));
    cJSON_AddNumberToObject(item, "tokens", (double)tokens);
    cJSON_AddStringToObject(item, "modality", pumit_volume_modality(image));
    if (range[0] <= range[1])
        cJSON_AddItemToObject(item, "range", cJSON_CreateDoubleArray(range, 2));
    return item;
}

/* All images of a file or folder, each an item of its own. */
static pumit_status describe_images(cJSON *list, cli *c, const char *path)
{
    pumit_dataset *images;
    pumit_status status = pumit_dataset_open(&images, c->ctx, 1, &path, NULL);
    if (status != PUMIT_OK) return status;
    for (int64_t i = 0; i < pumit_dataset_count(images) && status == PUMIT_OK; i++) {
        cJSON *item =
            describe_image(c, pumit_dataset_name(images, i), pumit_dataset_volume(images, i));
        if (item)
            cJSON_AddItemToArray(list, item);
        else
            status = PUMIT_ERROR_INTERNAL;
    }
    pumit_dataset_release(images);
    return status;
}

/* One file is read by itself, so that what is wrong with it is said without more words. */
static pumit_status describe_file(cJSON *list, cli *c, const char *path)
{
    int64_t count;
    pumit_status status = pumit_volume_file_count(&count, c->ctx, path);
    for (int64_t i = 0; status == PUMIT_OK && i < count; i++) {
        char name[4096];
        pumit_volume *image;
        snprintf(name, sizeof name, count > 1 ? "%s[%lld]" : "%s", path, (long long)i);
        status = pumit_volume_read(&image, c->ctx, path, i);
        if (status != PUMIT_OK) break;
        cJSON *item = describe_image(c, name, image);
        if (item)
            cJSON_AddItemToArray(list, item);
        else
            status = PUMIT_ERROR_INTERNAL;
        pumit_volume_release(image);
    }
    return status;
}

/* ------------------------------------------------------------------------------- archives and models */

static cJSON *describe_split(const pumit_dataset *images)
{
    cJSON *item = cJSON_CreateObject();
    int64_t shape[4];
    double spacing[3];
    const int64_t n = pumit_dataset_count(images), classes = pumit_dataset_classes(images);
    const pumit_volume *const first = pumit_dataset_volume(images, 0);
    pumit_volume_shape(first, shape);
    pumit_volume_spacing(first, spacing);
    cJSON_AddNumberToObject(item, "images", (double)n);
    cJSON_AddItemToObject(item, "shape", whole_numbers(shape, 4));
    cJSON_AddItemToObject(item, "spacing", cli_spacing_json(spacing));
    cJSON_AddNumberToObject(item, "da", pumit_volume_anisotropy(first));
    if (classes == 0) return item;
    cJSON *counts = cJSON_AddArrayToObject(item, "images_of_class");
    for (int64_t k = 0; k < classes; k++) {
        int64_t of = 0;
        for (int64_t i = 0; i < n; i++) of += pumit_dataset_label(images, i) == k;
        cJSON_AddItemToArray(counts, cJSON_CreateNumber((double)of));
    }
    return item;
}

static pumit_status describe_archive(cJSON *list, cli *c, const char *path)
{
    static const char *const SPLITS[] = {"train", "val", "test"};
    cJSON *item = cJSON_CreateObject(), *splits;
    cJSON_AddStringToObject(item, "file", path);
    cJSON_AddStringToObject(item, "kind", "archive");
    splits = cJSON_AddObjectToObject(item, "splits");
    pumit_status status = PUMIT_OK;
    for (int i = 0; i < 3; i++) {
        pumit_config *options;
        pumit_dataset *images = NULL;
        status = pumit_config_create(&options);
        if (status != PUMIT_OK) break;
        status = pumit_config_set_string(options, "split", SPLITS[i]);
        if (status == PUMIT_OK) status = pumit_dataset_open(&images, c->ctx, 1, &path, options);
        pumit_config_release(options);
        if (status == PUMIT_OK) cJSON_AddItemToObject(splits, SPLITS[i], describe_split(images));
        pumit_dataset_release(images);
    }
    if (splits->child) status = PUMIT_OK; /* an archive need not have all three */
    if (status == PUMIT_OK)
        cJSON_AddItemToArray(list, item);
    else
        cJSON_Delete(item);
    return status;
}

static pumit_status describe_model(cJSON *list, const char *path)
{
    pumit_config *info = NULL, *digest = NULL;
    char *text = NULL;
    pumit_status status = pumit_model_file_info(&info, path);
    if (status == PUMIT_OK) status = pumit_model_file_digest(&digest, path);
    if (status == PUMIT_OK) status = pumit_config_merge(info, digest);
    if (status == PUMIT_OK) status = pumit_config_to_json(&text, info);
    pumit_config_release(info);
    pumit_config_release(digest);
    if (status != PUMIT_OK) return status;
    cJSON *item = cJSON_CreateObject();
    cJSON_AddStringToObject(item, "file", path);
    cJSON_AddStringToObject(item, "kind", "model");
    cJSON_AddItemToObject(item, "metadata", cJSON_Parse(text));
    pumit_free(text);
    cJSON_AddItemToArray(list, item);
    return PUMIT_OK;
}

/* ---------------------------------------------------------------------------------------------- runs */

static int describe_run(cJSON *list, const cli *c, const char *path)
{
    run_log log;
    const int result = run_read(&log, c, path);
    if (result == CLI_DONE) cJSON_AddItemToArray(list, run_summary(&log));
    run_free(&log);
    return result;
}

/* All runs given into one drawing. */
static int plot_runs(cli *c, const char *path)
{
    const size_t length = strlen(path);
    if (length < 4 || strcmp(path + length - 4, ".svg") != 0)
        return cli_wrong_usage(c, "--plot %s: curves are drawn as SVG; name the file .svg", path);
    for (int i = 0; i < c->path_count; i++)
        if (!run_is(c->paths[i]))
            return cli_fail_with(c, "%s: is no run directory: it holds no metrics.jsonl",
                                 c->paths[i]);
    run_log *runs = calloc((size_t)c->path_count, sizeof *runs);
    if (!runs) return cli_fail_with(c, "out of memory");
    int result = CLI_DONE;
    for (int i = 0; i < c->path_count && result == CLI_DONE; i++)
        result = run_read(&runs[i], c, c->paths[i]);
    if (result == CLI_DONE) result = plot_write(c, path, runs, c->path_count);
    for (int i = 0; i < c->path_count; i++) run_free(&runs[i]);
    free(runs);
    return result;
}

/* ------------------------------------------------------------------------------------------ dispatch */

enum kind { IMAGE, IMAGES, ARCHIVE, MODEL };

static enum kind kind_of(const char *path)
{
    unsigned char head[9] = {0};
    struct stat info;
    if (stat(path, &info) == 0 && S_ISDIR(info.st_mode)) return IMAGES;
    FILE *file = fopen(path, "rbe");
    if (!file) return IMAGE; /* whose reader says what is wrong */
    const size_t got = fread(head, 1, sizeof head, file);
    fclose(file);
    const size_t length = strlen(path);
    if (got >= 4 && memcmp(head, "PK\3\4", 4) == 0)
        return length > 4 && strcmp(path + length - 4, ".npz") == 0 ? ARCHIVE : MODEL;
    /* eight bytes of header length, below 2^48 here, then the header's brace */
    if (got == 9 && head[8] == '{' && head[6] == 0 && head[7] == 0) return MODEL;
    const bool list = length > 4 && (strcmp(path + length - 4, ".csv") == 0 ||
                                     strcmp(path + length - 4, ".txt") == 0);
    return list ? IMAGES : IMAGE;
}

static int describe(cJSON *list, cli *c, const char *path)
{
    pumit_status status;
    if (run_is(path)) return describe_run(list, c, path);
    switch (kind_of(path)) {
    case IMAGES:
        status = describe_images(list, c, path);
        break;
    case ARCHIVE:
        status = describe_archive(list, c, path);
        break;
    case MODEL:
        status = describe_model(list, path);
        break;
    case IMAGE:
    default:
        status = describe_file(list, c, path);
        break;
    }
    return status == PUMIT_OK ? CLI_DONE : cli_fail(c);
}

/* -------------------------------------------------------------------------------------------- output */

static void format_numbers(char *text, size_t bytes, const cJSON *array, const char *between)
{
    size_t used = 0;
    text[0] = '\0';
    for (const cJSON *item = array ? array->child : NULL; item && used < bytes; item = item->next) {
        const char *const gap = item == array->child ? "" : between;
        used += (size_t)(cJSON_IsNumber(item)
                             ? snprintf(text + used, bytes - used, "%s%.4g", gap, item->valuedouble)
                             : snprintf(text + used, bytes - used, "%s-", gap));
    }
}

static double number(const cJSON *item, const char *key)
{
    return cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(item, key));
}

/* Images of one archive or 4D file that look alike: only the first of them is printed. */
static bool looks_like(const cJSON *item, const cJSON *first)
{
    static const char *const KEYS[] = {"shape", "spacing"};
    const char *const a = cJSON_GetObjectItemCaseSensitive(item, "file")->valuestring;
    const char *const b = cJSON_GetObjectItemCaseSensitive(first, "file")->valuestring;
    const size_t head = strcspn(a, "[");
    if (a[head] == '\0' || strncmp(a, b, head + 1) != 0) return false;
    for (int i = 0; i < 2; i++)
        if (!cJSON_Compare(cJSON_GetObjectItemCaseSensitive(item, KEYS[i]),
                           cJSON_GetObjectItemCaseSensitive(first, KEYS[i]), 1))
            return false;
    return true;
}

static void print_image(const cJSON *item, int width)
{
    char shape[64], spacing[64], grid[64], range[64];
    const cJSON *const modality = cJSON_GetObjectItemCaseSensitive(item, "modality");
    format_numbers(shape, sizeof shape, cJSON_GetObjectItemCaseSensitive(item, "shape"), "x");
    format_numbers(spacing, sizeof spacing, cJSON_GetObjectItemCaseSensitive(item, "spacing"),
                   " x ");
    format_numbers(grid, sizeof grid, cJSON_GetObjectItemCaseSensitive(item, "grid"), "x");
    format_numbers(range, sizeof range, cJSON_GetObjectItemCaseSensitive(item, "range"), " .. ");
    printf("%-*s %-16s %-20s %2.0f  %-10s %6.0f  %-4s %s\n", width,
           cJSON_GetObjectItemCaseSensitive(item, "file")->valuestring, shape, spacing,
           number(item, "da"), grid, number(item, "tokens"),
           cJSON_IsString(modality) && *modality->valuestring ? modality->valuestring : "-", range);
}

static void print_archive(const cJSON *item)
{
    printf("%s: archive\n", cJSON_GetObjectItemCaseSensitive(item, "file")->valuestring);
    const cJSON *split = cJSON_GetObjectItemCaseSensitive(item, "splits")->child;
    for (; split; split = split->next) {
        char shape[64], counts[256];
        format_numbers(shape, sizeof shape, cJSON_GetObjectItemCaseSensitive(split, "shape"), "x");
        format_numbers(counts, sizeof counts,
                       cJSON_GetObjectItemCaseSensitive(split, "images_of_class"), " + ");
        printf("  %-6s %6.0f images of %s, DA %.0f%s%s\n", split->string, number(split, "images"),
               shape, number(split, "da"), *counts ? ", by class: " : "", counts);
    }
}

static void print_model(const cJSON *item)
{
    const cJSON *value = cJSON_GetObjectItemCaseSensitive(item, "metadata");
    printf("%s: model\n", cJSON_GetObjectItemCaseSensitive(item, "file")->valuestring);
    for (value = value ? value->child : NULL; value; value = value->next) {
        char *text = cJSON_IsString(value) ? NULL : cJSON_PrintUnformatted(value);
        printf("  %-16s %s\n", value->string, text ? text : value->valuestring);
        cJSON_free(text);
    }
}

static void print_run(const cJSON *item)
{
    static const char *const PARTS[] = {"recent", "validation"};
    const cJSON *const recipe = cJSON_GetObjectItemCaseSensitive(item, "recipe");
    printf("%s: run%s%s, step %.0f", cJSON_GetObjectItemCaseSensitive(item, "file")->valuestring,
           recipe ? " of recipe " : "", cJSON_IsString(recipe) ? recipe->valuestring : "",
           number(item, "step"));
    if (isfinite(number(item, "of_steps"))) printf(" of %.0f", number(item, "of_steps"));
    printf(", %.0f skipped\n", number(item, "skipped"));
    for (int i = 0; i < 2; i++) {
        const cJSON *part = cJSON_GetObjectItemCaseSensitive(item, PARTS[i]);
        if (!part || !part->child) continue;
        printf("  %-10s", PARTS[i]);
        for (part = part->child; part; part = part->next)
            printf("  %s %.4g", part->string, part->valuedouble);
        putchar('\n');
    }
}

static int name_width(const cJSON *list)
{
    size_t width = 24;
    for (const cJSON *item = list->child; item; item = item->next) {
        const size_t n = strlen(cJSON_GetObjectItemCaseSensitive(item, "file")->valuestring);
        if (n > width) width = n;
    }
    return width > 80 ? 80 : (int)width;
}

/* A line for the image; gives the last of the images that it stands for. */
static const cJSON *print_alike(const cJSON *item, int width, bool header)
{
    int64_t more = 0;
    const cJSON *last = item;
    if (header)
        printf("%-*s %-16s %-20s %2s  %-10s %6s  %-4s %s\n", width, "image", "shape D H W C",
               "spacing mm", "DA", "tokens", "in all", "", "values");
    print_image(item, width);
    for (; last->next && looks_like(last->next, item); last = last->next) more++;
    if (more > 0) printf("  and %lld more like it\n", (long long)more);
    return last;
}

static void print_text(const cJSON *list)
{
    bool headed = false;
    const int width = name_width(list);
    for (const cJSON *item = list->child; item; item = item->next) {
        const char *const kind = cJSON_GetObjectItemCaseSensitive(item, "kind")->valuestring;
        if (strcmp(kind, "archive") == 0) print_archive(item);
        if (strcmp(kind, "model") == 0) print_model(item);
        if (strcmp(kind, "run") == 0) print_run(item);
        if (strcmp(kind, "image") != 0) continue;
        item = print_alike(item, width, !headed);
        headed = true;
    }
}

static int list_devices(cli *c)
{
    static const char *const NAMES[] = {"cpu", "reference", "reference64"};
    cJSON *list = cJSON_CreateArray();
    for (int i = 0; i < 3; i++) {
        pumit_config *options;
        pumit_context *ctx = NULL;
        if (pumit_config_create(&options) != PUMIT_OK) continue;
        if (pumit_config_set_string(options, "device", NAMES[i]) == PUMIT_OK &&
            pumit_context_create(&ctx, options) == PUMIT_OK) {
            cJSON *item = cJSON_CreateObject();
            cJSON_AddStringToObject(item, "device", pumit_context_device(ctx));
            cJSON_AddNumberToObject(item, "threads", pumit_context_threads(ctx));
            cJSON_AddItemToArray(list, item);
        }
        pumit_context_release(ctx);
        pumit_config_release(options);
    }
    if (c->json) return cli_print_json(c, list);
    for (const cJSON *item = list->child; item; item = item->next)
        printf("%-12s %.0f threads\n",
               cJSON_GetObjectItemCaseSensitive(item, "device")->valuestring,
               number(item, "threads"));
    cJSON_Delete(list);
    return CLI_DONE;
}

static int body(cli *c)
{
    if (cli_given(c, "devices")) return list_devices(c);
    if (c->path_count == 0) return cli_wrong_usage(c, "a file is missing");
    if (cli_value(c, "plot")) {
        const int drawn = plot_runs(c, cli_value(c, "plot"));
        if (drawn != CLI_DONE) return drawn;
    }
    if (cli_value(c, "convert")) return convert_checkpoint(c, c->paths[0], cli_value(c, "convert"));
    if (cli_open_context(c) != PUMIT_OK) return cli_fail(c);
    cJSON *list = cJSON_CreateArray();
    int result = CLI_DONE;
    for (int i = 0; i < c->path_count; i++) {
        if (describe(list, c, c->paths[i]) != CLI_DONE) result = CLI_FAILED;
    }
    if (result == CLI_DONE) cli_tell_warnings(c);
    if (c->json && list->child) {
        const int printed = cli_print_json(c, list);
        return result == CLI_DONE ? printed : result;
    }
    print_text(list);
    cJSON_Delete(list);
    return result;
}

int main(int argc, char **argv)
{
    cli c = {
        .program = "pumit-info",
        .synopsis = "[OPTION]... FILE|FOLDER|RUN...",
        .summary =
            "Tells what a file is: shape, spacing, degree of anisotropy (DA) and "
            "tokens of an image; "
            "kind,\nconfiguration and origin of a model; the splits of an archive; how a run of "
            "training goes.",
        .options = OPTIONS};
    return cli_main(&c, argc, argv, body);
}
