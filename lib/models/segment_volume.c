/* SPDX-License-Identifier: Apache-2.0 */
/* Images through a segmenter: what its configuration and the options say, and what becomes of the logits. */
#include "lib/base/config.h"
#include "lib/data/nifti_write.h"
#include "lib/data/regrid.h"
#include "lib/models/segment.h"
#include "lib/models/segmenter.h"

#include <math.h>
#include <string.h>

#define MANY 65536 /* numbers that are worth waking threads for */

#define USUAL_WINDOW 6 /* tokens a side */

#define MOST_SPACING 1e6 /* mm, as in training */

/* ----------------------------------------------------------------------------------------- settings */

/* The options' where they say it, else the model's. */
static pumit_status merge_model(pumit_config **out, pumit_segmenter *segmenter,
                                const pumit_config *options)
{
    pumit_config *own = NULL;
    pumit_status status;
    *out = NULL;
    PUMIT__GO(pumit_module_config(&own, pumit_segmenter_module(segmenter)));
    if (options) PUMIT__GO(pumit_config_merge(own, options));
    *out = own;
    own = NULL;
out:
    pumit_config_release(own);
    return status;
}

/* null and 0: the image's own. */
static pumit_status read_spacing(double wanted[3], const pumit_config *config)
{
    const cJSON *const list =
        cJSON_GetObjectItemCaseSensitive(pumit__config_json(config), "spacing");
    memset(wanted, 0, 3 * sizeof *wanted);
    if (!list || cJSON_IsNull(list)) return PUMIT_OK;
    bool good = cJSON_IsArray(list) && cJSON_GetArraySize(list) == 3;
    for (int i = 0; i < 3 && good; i++) {
        const cJSON *const item = cJSON_GetArrayItem(list, i);
        good = cJSON_IsNull(item) || (cJSON_IsNumber(item) && item->valuedouble >= 0 &&
                                      item->valuedouble <= MOST_SPACING);
        if (good && cJSON_IsNumber(item)) wanted[i] = item->valuedouble;
    }
    PUMIT__REQUIRE(
        good, "segment: \"spacing\" is [slice, row, column] in mm, up to %g; 0: the image's own",
        MOST_SPACING);
    return PUMIT_OK;
}

/* Voxels of the image per voxel of the network's grid, as in training, and that grid's spacing. */
static void choose_steps(double step[3], double spacing[3], const pumit_volume *volume,
                         const double wanted[3])
{
    int64_t size[3];
    pumit__regrid_plan(size, step, volume, wanted);
    for (int i = 0; i < 3; i++) spacing[i] = volume->spacing[i] * step[i];
}

/* Voxels of the window of training: its tokens have as many slices as the spacing makes them. */
static pumit_status choose_window(int64_t window[3], pumit_segmenter *segmenter,
                                  const double spacing[3], const pumit_config *config)
{
    const int64_t *const patch = pumit_vit_patch(pumit_segmenter_vit(segmenter));
    int64_t tokens[3], stride[3];
    int32_t count, da;
    PUMIT__TRY(pumit__segmenter_da(&da, segmenter, spacing));
    PUMIT__TRY(pumit_segmenter_stride(stride, segmenter, spacing));
    PUMIT__TRY(pumit_config_get_ints(tokens, 3, &count, config, "window"));
    PUMIT__REQUIRE(count == 0 || count == 3, "segment: \"window\" is three numbers of tokens");
    for (int i = 0; i < 3; i++) {
        int64_t size = patch[i];
        if (i == 0 && pumit_segmenter_adaptive(segmenter)) size = size >> da > 0 ? size >> da : 1;
        if (count == 0) tokens[i] = USUAL_WINDOW;
        PUMIT__REQUIRE(tokens[i] >= 1 && tokens[i] <= 1 << 16,
                       "segment: \"window\" holds %lld tokens", (long long)tokens[i]);
        window[i] = (tokens[i] * size + stride[i] - 1) / stride[i] * stride[i];
    }
    return PUMIT_OK;
}

static pumit_status read_options(pumit__segmentation *job, const pumit_config *options)
{
    int32_t gaussian, flips;
    PUMIT__TRY(pumit_config_get_double(&job->overlap, options, "overlap", 0.5));
    PUMIT__TRY(pumit_config_get_bool(&gaussian, options, "gaussian", 1));
    PUMIT__TRY(pumit_config_get_bool(&flips, options, "flips", 0));
    PUMIT__TRY(pumit_config_get_int(&job->memory, options, "memory", INT64_C(1) << 30));
    PUMIT__REQUIRE(job->overlap >= 0 && job->overlap <= 0.9,
                   "segment: \"overlap\" is %g, it must be in 0..0.9", job->overlap);
    PUMIT__REQUIRE(job->memory > 0, "segment: \"memory\" is %lld bytes", (long long)job->memory);
    job->gaussian = gaussian;
    job->flips = flips;
    return PUMIT_OK;
}

/* ------------------------------------------------------------------------------------------ results */

typedef struct {
    pumit_label_map *map;
    int64_t classes;
    int32_t threads;
    pumit__probability_file *probabilities; /* NULL: not wanted */
} result;

/* The first of equals. */
static uint8_t largest(const float *logits, int64_t classes)
{
    int64_t best = 0;
    for (int64_t c = 1; c < classes; c++)
        if (logits[c] > logits[best]) best = c;
    return (uint8_t)best;
}

static void softmax(float *x, int64_t classes, float most)
{
    float sum = 0;
    for (int64_t c = 0; c < classes; c++) sum += x[c] = expf(x[c] - most);
    for (int64_t c = 0; c < classes; c++) x[c] /= sum;
}

static pumit_status take(void *user, const int64_t low[3], const int64_t high[3], float *logits)
{
    result *r = user;
    const int64_t *shape = r->map->shape, classes = r->classes;
    const int64_t height = high[1] - low[1], rows = (high[0] - low[0]) * height;
    const int32_t threads = r->threads;
#pragma omp parallel for num_threads(threads) if (rows * shape[2] * classes > MANY)
    for (int64_t i = 0; i < rows; i++) {
        uint8_t *const to =
            r->map->labels + ((low[0] + i / height) * shape[1] + low[1] + i % height) * shape[2];
        float *from = logits + i * shape[2] * classes;
        for (int64_t w = 0; w < shape[2]; w++, from += classes) {
            to[w] = largest(from, classes);
            if (r->probabilities) softmax(from, classes, from[to[w]]);
        }
    }
    return r->probabilities ? pumit__probability_write(r->probabilities, low, high, logits)
                            : PUMIT_OK;
}

pumit_status pumit__segment_to_labels(pumit_label_map **out, const pumit__segmentation *job,
                                      const pumit_volume *volume, const char *probabilities,
                                      const pumit_config *names)
{
    pumit__probability_file file = {0};
    result r = {.classes = job->classes, .threads = job->ctx->threads};
    pumit__segmentation own = *job;
    own.take = take;
    pumit_status status;
    *out = NULL;
    PUMIT__REQUIRE(job->classes <= PUMIT__MOST_CLASSES,
                   "segment: %lld classes; a label map has at most %d", (long long)job->classes,
                   PUMIT__MOST_CLASSES);
    PUMIT__TRY(pumit_label_map_create(&r.map, job->ctx, volume, NULL));
    if (probabilities) {
        PUMIT__GO(pumit__probability_open(&file, probabilities, r.map, job->classes, names));
        r.probabilities = &file;
    }
    own.take_user = &r;
    PUMIT__GO(pumit__segment(&own, volume));
    if (probabilities) PUMIT__GO(pumit__probability_commit(&file));
    *out = r.map;
    r.map = NULL;
out:
    pumit__probability_close(&file);
    pumit_label_map_release(r.map);
    return status;
}

/* -------------------------------------------------------------------------------------------- network */

typedef struct {
    pumit_segmenter *segmenter;
    double spacing[3]; /* of the network's grid */
} network;

static pumit_status forward(pumit_tensor **logits, void *user, pumit_tensor *window)
{
    network *n = user;
    return pumit_segmenter_forward(logits, n->segmenter, window, n->spacing);
}

static pumit_status segment(pumit_label_map **out, network *n, const pumit_volume *volume,
                            const pumit_config *config, pumit__segmentation *job,
                            const pumit_config *options)
{
    double wanted[3];
    const char *probabilities;
    PUMIT__TRY(read_options(job, options));
    PUMIT__TRY(read_spacing(wanted, config));
    choose_steps(job->step, n->spacing, volume, wanted);
    PUMIT__TRY(choose_window(job->window, n->segmenter, n->spacing, config));
    PUMIT__TRY(pumit_config_get_string(&probabilities, options, "probabilities", NULL));
    const int32_t recording = pumit_context_set_recording(job->ctx, 0);
    const pumit_status status = pumit__segment_to_labels(out, job, volume, probabilities, config);
    pumit_context_set_recording(job->ctx, recording);
    return status;
}

pumit_status pumit_segmenter_segment(pumit_label_map **out, pumit_segmenter *segmenter,
                                     const pumit_volume *volume, const pumit_config *options,
                                     pumit_segment_fn progress, void *user)
{
    PUMIT__REQUIRE(out && segmenter && volume, "pumit_segmenter_segment: an argument is NULL");
    *out = NULL;
    pumit_config *config;
    network n = {.segmenter = segmenter};
    pumit__segmentation job = {.ctx = pumit_segmenter_module(segmenter)->ctx,
                               .network = forward,
                               .network_user = &n,
                               .channels = pumit_vit_channels(pumit_segmenter_vit(segmenter)),
                               .classes = pumit_segmenter_classes(segmenter),
                               .progress = progress,
                               .progress_user = user};
    PUMIT__TRY(merge_model(&config, segmenter, options));
    const pumit_status status = segment(out, &n, volume, config, &job, options);
    pumit_config_release(config);
    return status;
}
