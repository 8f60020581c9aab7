/* SPDX-License-Identifier: Apache-2.0 */
/* Label maps of images, on their own voxels. */
#include "examples/common/output_names.h"
#include "examples/common/progress.h"
#include "examples/common/segmentation.h"

#include <ctype.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const cli_option OPTIONS[] = {
    {"output", 'o', 's', "PATH", NULL, "a file (.nii.gz, .nii, .png) for one image, else a folder"},
    {"overwrite", 0, 'b', NULL, NULL, "replace label maps that are there already"},
    {"probabilities", 0, 'b', NULL, NULL, "also write NAME_probabilities.nii, a volume a class"},
    {"flips", 0, 'b', NULL, "flips", "mean over mirrored inputs; 8 times the work"},
    {"overlap", 0, 'n', "SHARE", "overlap", "of neighbouring windows, 0..0.9; default: 0.5"},
    {"memory", 0, 's', "SIZE", NULL, "bytes beside model and image, such as 512M; default: 1G"},
    {"volume", 0, 'i', "N", NULL, "of files that hold several, the one to take, from 0"},
    {"labels", 0, 'b', NULL, "label_maps", "paths are data sets with label maps: judge the result"},
    SEGMENTATION_OPTIONS,
    {"weights", 0, 's', "TYPE", "weight_type", "hold matrices as f32, bf16 or f16; default: f32"},
    {"split", 0, 's', "NAME", "split", "which split of .csv data: train, val, test"},
    {0}};

#define PROBABILITIES "_probabilities.nii" /* behind the label map's name */

typedef struct {
    cli *c;
    pumit_segmenter *model;
    pumit_config *names; /* the model's configuration, which has the classes' names */
    output_names outputs;
    progress progress; /* of the windows of a single image, else of images */
    int images;
    judging judge; /* with --labels */
    cJSON *done;   /* list of what is told as JSON */
    int failed;
} work;

/* --------------------------------------------------------------------------------------- one image */

static volatile sig_atomic_t interrupted;

/* The image that is being worked on is given up, and with it what is half-written; a second signal ends at once. */
static void on_signal(int number)
{
    interrupted = number;
    signal(number, SIG_DFL);
}

static int32_t on_window(void *user, int64_t done, int64_t total)
{
    work *const w = user;
    if (interrupted) return 1;
    return w->images == 1 ? progress_step(&w->progress, done, total, "{}") : 0;
}

static void tell_failure(work *w, const char *path, const char *reason)
{
    /* Messages about a file name it already. */
    if (strncmp(reason, path, strlen(path)) == 0)
        cli_say(w->c, "%s", reason);
    else
        cli_say(w->c, "%s: %s", path, reason);
    w->failed++;
}

static cJSON *count_voxels(const pumit_label_map *map, int64_t classes)
{
    int64_t shape[3];
    double counts[256] = {0};
    pumit_label_map_shape(map, shape);
    const uint8_t *const labels = pumit_label_map_labels(map);
    for (int64_t i = 0; i < shape[0] * shape[1] * shape[2]; i++) counts[labels[i]]++;
    return cJSON_CreateDoubleArray(counts, (int)classes);
}

static void tell_done(work *w, const char *path, const char *output, const pumit_label_map *map,
                      double seconds)
{
    if (!w->c->json) {
        printf("%s -> %s, %.1f s\n", path, output, seconds);
        fflush(stdout);
        return;
    }
    cJSON *item = cJSON_CreateObject();
    cJSON_AddStringToObject(item, "image", path);
    cJSON_AddStringToObject(item, "output", output);
    cJSON_AddItemToObject(item, "voxels", count_voxels(map, pumit_segmenter_classes(w->model)));
    cJSON_AddNumberToObject(item, "seconds", seconds);
    cJSON_AddItemToArray(w->done, item);
}

static pumit_status set_probabilities(work *w, const char *output)
{
    if (!cli_given(w->c, "probabilities")) return PUMIT_OK;
    char *path = output_beside(output, PROBABILITIES);
    if (!path) return PUMIT_ERROR_OUT_OF_MEMORY;
    const pumit_status status = pumit_config_set_string(w->c->config, "probabilities", path);
    free(path);
    return status;
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* Against the reference, if there is one. */
static pumit_status judge(work *w, const char *path, const char *reference,
                          const pumit_volume *image, const pumit_label_map *map)
{
    pumit_label_map *truth;
    if (!reference) return PUMIT_OK;
    const pumit_status status = pumit_label_map_read(&truth, w->c->ctx, reference, image);
    if (status != PUMIT_OK) return status;
    const char *const slash = strrchr(path, '/');
    if (judging_add(&w->judge, slash ? slash + 1 : path, image, map, truth) != CLI_DONE)
        w->failed++;
    pumit_label_map_release(truth);
    return PUMIT_OK;
}

static pumit_status segment(work *w, const char *path, int64_t index, const char *output,
                            const char *reference)
{
    pumit_volume *image = NULL;
    pumit_label_map *map = NULL;
    const double start = now();
    pumit_status status = pumit_volume_read(&image, w->c->ctx, path, index);
    if (status == PUMIT_OK) status = set_probabilities(w, output);
    if (status == PUMIT_OK)
        status = pumit_segmenter_segment(&map, w->model, image, w->c->config, on_window, w);
    if (status == PUMIT_OK) status = pumit_label_map_write(map, output, w->names);
    progress_end(&w->progress);
    cli_tell_warnings(w->c);
    if (status == PUMIT_OK) tell_done(w, path, output, map, now() - start);
    if (status == PUMIT_OK) status = judge(w, path, reference, image, map);
    pumit_label_map_release(map);
    pumit_volume_release(image);
    return status;
}

/* One of several volumes has to be chosen: whether they are times or kinds of images, the file does not say. */
static void work_on(work *w, const cJSON *file)
{
    const char *const path = cJSON_GetObjectItemCaseSensitive(file, "path")->valuestring;
    const cJSON *const reason = cJSON_GetObjectItemCaseSensitive(file, "reason");
    const char *const reference =
        cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(file, "label_map"));
    const char *const chosen = cli_value(w->c, "volume");
    char refusal[1024];
    int64_t volumes;
    if (reason) {
        tell_failure(w, path, reason->valuestring);
    } else if (pumit_volume_file_count(&volumes, w->c->ctx, path) != PUMIT_OK) {
        tell_failure(w, path, pumit_last_error());
    } else if (volumes > 1 && !chosen) {
        snprintf(refusal, sizeof refusal, "holds %lld volumes: choose one with --volume N",
                 (long long)volumes);
        tell_failure(w, path, refusal);
    } else {
        const int64_t index = volumes > 1 ? strtoll(chosen, NULL, 10) : 0;
        const char *output = output_name(&w->outputs, path, refusal, sizeof refusal);
        if (!output)
            tell_failure(w, path, refusal);
        else if (segment(w, path, index, output, reference) != PUMIT_OK)
            tell_failure(w, path, pumit_last_error());
    }
}

/* ---------------------------------------------------------------------------------------- all of them */

static int finish(work *w)
{
    if (w->judge.report) {
        if (judging_finish(&w->judge) != CLI_DONE) return CLI_FAILED;
    } else if (w->c->json) {
        cJSON *tree = cJSON_CreateObject();
        cJSON_AddItemToObject(tree, "images", w->done);
        cJSON_AddNumberToObject(tree, "failed", w->failed);
        w->done = NULL;
        if (cli_print_json(w->c, tree) != CLI_DONE) return CLI_FAILED;
    }
    return w->failed > 0 ? CLI_FAILED : CLI_DONE;
}

/* Opens the judging with the names of the model's classes. */
static int open_judging(work *w)
{
    const char *names[256] = {0};
    int64_t count = 0;
    char *text;
    if (!cli_given(w->c, "labels")) return CLI_DONE;
    if (pumit_config_to_json(&text, w->names) != PUMIT_OK) return cli_fail(w->c);
    cJSON *const tree = cJSON_Parse(text);
    pumit_free(text);
    const cJSON *const list = cJSON_GetObjectItemCaseSensitive(tree, "class_names");
    for (const cJSON *item = list ? list->child : NULL; item && count < 256; item = item->next)
        names[count++] = cJSON_GetStringValue(item);
    const int result = judging_open(&w->judge, w->c, count, count > 0 ? names : NULL);
    cJSON_Delete(tree);
    return result;
}

static int work_on_all(work *w, const cJSON *files)
{
    w->images = cJSON_GetArraySize(files);
    if (w->images == 0) return cli_fail_with(w->c, "%s: there is no image in it", w->c->paths[1]);
    const int started = output_start(&w->outputs, w->c, w->images,
                                     cli_given(w->c, "probabilities") ? PROBABILITIES : NULL);
    if (started != CLI_DONE) return started;
    const int opened = open_judging(w);
    if (opened != CLI_DONE) return opened;
    int64_t done = 0;
    w->done = cJSON_CreateArray();
    progress_start(&w->progress, w->c);
    w->progress.unit = w->images == 1 ? "window" : "image";
    for (const cJSON *file = files->child; file && !interrupted; file = file->next) {
        work_on(w, file);
        if (w->images > 1) progress_step(&w->progress, ++done, w->images, "{}");
    }
    progress_end(&w->progress);
    const int result =
        interrupted ? cli_fail_with(w->c, "stopped; what was told is written") : finish(w);
    cJSON_Delete(w->done);
    output_end(&w->outputs);
    return result;
}

/* ----------------------------------------------------------------------------------------------- main */

/* "1.5G" to bytes; false for what is no size. */
static bool set_memory(cli *c)
{
    static const char SUFFIXES[] = "KMGT";
    const char *const text = cli_value(c, "memory");
    char *end;
    if (!text) return true;
    double bytes = strtod(text, &end);
    const char *const suffix = *end ? strchr(SUFFIXES, toupper((unsigned char)*end)) : NULL;
    for (const char *s = SUFFIXES; suffix && s <= suffix; s++) bytes *= 1024;
    if (end == text || (*end && (!suffix || end[1])) || !(bytes >= 1 && bytes < 1e18)) return false;
    return pumit_config_set_int(c->config, "memory", (int64_t)bytes) == PUMIT_OK;
}

static pumit_status list_files(cJSON **out, const cli *c)
{
    char *text;
    const pumit_status status =
        pumit_dataset_files(&text, c->path_count - 1, c->paths + 1, c->config);
    if (status != PUMIT_OK) return status;
    *out = cJSON_Parse(text);
    pumit_free(text);
    return *out ? PUMIT_OK : PUMIT_ERROR_OUT_OF_MEMORY;
}

static int body(cli *c)
{
    work w = {.c = c};
    cJSON *files = NULL;
    if (!cli_given(c, "output")) return cli_wrong_usage(c, "--output PATH is missing");
    if ((cli_given(c, "report") || cli_given(c, "contours")) && !cli_given(c, "labels"))
        return cli_wrong_usage(c, "--report and --contours judge: --labels is missing");
    if (!set_memory(c))
        return cli_wrong_usage(c, "--memory wants a size such as 512M or 1.5G, not '%s'",
                               cli_value(c, "memory"));
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    pumit_status status = cli_open_context(c);
    if (status == PUMIT_OK) status = pumit_segmenter_load(&w.model, c->ctx, c->paths[0]);
    if (status == PUMIT_OK) status = pumit_module_config(&w.names, pumit_segmenter_module(w.model));
    if (status == PUMIT_OK) status = list_files(&files, c);
    const int result = status == PUMIT_OK ? work_on_all(&w, files) : cli_fail(c);
    judging_close(&w.judge);
    cJSON_Delete(files);
    pumit_config_release(w.names);
    pumit_segmenter_release(w.model);
    return result;
}

int main(int argc, char **argv)
{
    cli c = {.program = "pumit-segment",
             .synopsis = "[OPTION]... MODEL IMAGE|FOLDER|LIST... --output FILE|DIR",
             .summary = "Writes a label map for every image, on the voxels of its file: the class "
                        "of each one.\nImages that fail are told, the others go on.",
             .options = OPTIONS,
             .least_paths = 2};
    return cli_main(&c, argc, argv, body);
}
