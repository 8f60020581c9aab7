/* SPDX-License-Identifier: Apache-2.0 */
/* Segmentation by windows: a network that gives back what it sees shows where everything lies, without training. */
#include "lib/models/segment.h"
#include "lib/tensor/context.h"
#include "tests/image_files.h"

#include <pumit/segment.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { U8 = 2, I16 = 4, F32 = 16 }; /* NIfTI's numbers */
enum { CLASSES = 4 };

/* -------------------------------------------------------------------------------------- networks */

static int asked;         /* times */
static float least_seen;  /* over all windows */
static double edge_total; /* of the outermost slice of the last window */

static double square(double x)
{
    return x * x;
}

/* Class c where the intensity is c / (CLASSES - 1), nearest; `user`: how sure, a double. */
static pumit_status same(pumit_tensor **logits, void *user, pumit_tensor *window)
{
    const double sure = user ? *(double *)user : 20;
    const int64_t *n = pumit_tensor_shape(window);
    const int64_t shape[5] = {1, n[1], n[2], n[3], CLASSES}, count = n[1] * n[2] * n[3];
    float *in = malloc((size_t)count * sizeof *in);
    float *out = malloc((size_t)(count * CLASSES) * sizeof *out);
    ck_assert(in && out && n[4] == 1);
    CHECK_OK(pumit_tensor_read(window, PUMIT_F32, in, count * (int64_t)sizeof *in));
    edge_total = 0;
    for (int64_t i = 0; i < count; i++) {
        least_seen = fminf(least_seen, in[i]);
        if (i < n[2] * n[3]) edge_total += in[i];
        for (int64_t c = 0; c < CLASSES; c++)
            out[i * CLASSES + c] = (float)(-sure * square(in[i] * (CLASSES - 1) - (double)c));
    }
    asked++;
    const pumit_status status =
        pumit_tensor_from_data(logits, files_context, PUMIT_F32, 5, shape, out);
    free(in);
    free(out);
    return status;
}

/* Two classes: 0, and the voxel's number along W within its window. */
static pumit_status where(pumit_tensor **logits, void *user, pumit_tensor *window)
{
    (void)user;
    const int64_t *n = pumit_tensor_shape(window);
    const int64_t shape[5] = {1, n[1], n[2], n[3], 2}, count = n[1] * n[2] * n[3];
    float *out = malloc((size_t)(count * 2) * sizeof *out);
    ck_assert_ptr_nonnull(out);
    for (int64_t i = 0; i < count; i++) out[2 * i] = 0, out[2 * i + 1] = (float)(i % n[3]);
    asked++;
    const pumit_status status =
        pumit_tensor_from_data(logits, files_context, PUMIT_F32, 5, shape, out);
    free(out);
    return status;
}

static pumit__segmentation job_of(pumit__segment_network network, int64_t d, int64_t h, int64_t w)
{
    asked = 0;
    least_seen = INFINITY;
    return (pumit__segmentation){.ctx = files_context,
                                 .network = network,
                                 .channels = 1,
                                 .classes = CLASSES,
                                 .step = {1, 1, 1},
                                 .window = {d, h, w},
                                 .overlap = 0.5,
                                 .gaussian = true,
                                 .memory = INT64_C(1) << 30};
}

/* ---------------------------------------------------------------------------------- one labelled case */

/* In world axes: right, anterior, superior; no symmetry of any kind. */
static const int64_t SIZE[3] = {14, 20, 9};
static const double SPACING[3] = {1, 1.25, 3};

static int class_at(const int64_t at[3])
{
    const int64_t x = at[0], y = at[1], z = at[2];
    if (x == 0 && y == 0 && z == 0) return 0;
    if (x > 8 && y > 11 && z > 2) return 3;
    if (y < 3 + z / 2 && x > 2) return 1;
    return (x * 7 + y * 3 + z * 5) % 11 == 0 ? 2 : 0;
}

/* Axis a of a stored case is axis order[a] of the world, turned round where bit a of `turned` is set. */
typedef struct {
    int order[3];
    int turned;
} storing;

static storing storing_of(int i)
{
    static const int orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
                                     {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    storing s = {.turned = i % 8};
    memcpy(s.order, orders[i / 8], sizeof s.order);
    return s;
}

static int64_t stored_voxels(uint8_t *dst, const storing *s)
{
    int64_t count = 0, n[3], ijk[3], at[3];
    for (int a = 0; a < 3; a++) n[a] = SIZE[s->order[a]];
    for (ijk[2] = 0; ijk[2] < n[2]; ijk[2]++)
        for (ijk[1] = 0; ijk[1] < n[1]; ijk[1]++)
            for (ijk[0] = 0; ijk[0] < n[0]; ijk[0]++) {
                for (int a = 0; a < 3; a++)
                    at[s->order[a]] = s->turned >> a & 1 ? n[a] - 1 - ijk[a] : ijk[a];
                dst[count++] = (uint8_t)class_at(at);
            }
    return count;
}

/* `turn`: of the whole scan, a rotation (3x3). */
static nifti_file stored_file(const storing *s, const double turn[9])
{
    nifti_file file = nifti_plain(I16, 16, SIZE[s->order[0]], SIZE[s->order[1]], SIZE[s->order[2]]);
    file.sform = 1;
    file.units = 2;
    for (int r = 0; r < 3; r++) {
        file.rows[4 * r + 3] = 7.5 - 20 * r;
        for (int a = 0; a < 3; a++) {
            const int world = s->order[a];
            const double step = turn[3 * r + world] * SPACING[world];
            file.rows[4 * r + a] = s->turned >> a & 1 ? -step : step;
            if (s->turned >> a & 1) file.rows[4 * r + 3] += step * (double)(SIZE[world] - 1);
        }
    }
    for (int a = 0; a < 3; a++) file.pixdim[a + 1] = SPACING[s->order[a]];
    return file;
}

/* The image of class c is c + 1, and one voxel is 0, so that percentiles make c / (CLASSES - 1) of it. */
static int64_t write_case(const char *name, const nifti_file *file, const storing *s,
                          uint8_t *classes)
{
    static int16_t image[2520];
    const int64_t count = stored_voxels(classes, s);
    bool zero = false;
    for (int64_t i = 0; i < count; i++) {
        image[i] = (int16_t)(classes[i] == 0 && !zero ? 0 : classes[i] + 1);
        zero = zero || image[i] == 0;
    }
    nifti_write(name, file, image, (size_t)count, 2);
    return count;
}

/* Same numbers at the same places of both headers: sizes, spacings, units, codes, transforms. */
static void check_header(const uint8_t *got, const uint8_t *source)
{
    ck_assert(memcmp(got, source, 4) == 0);
    ck_assert(memcmp(got + 40, source + 40, 8) == 0);
    ck_assert(memcmp(got + 76, source + 76, 16) == 0);
    ck_assert_int_eq(got[123], source[123]);
    ck_assert(memcmp(got + 252, source + 252, 76) == 0);
    int16_t datatype, intent;
    memcpy(&datatype, got + 70, 2);
    memcpy(&intent, got + 68, 2);
    ck_assert_int_eq(datatype, U8);
    ck_assert_int_eq(intent, 1002);
}

/* Segments "scan.nii", and finds `classes` in the file that is written, at the source's places. */
static void check_case(pumit__segmentation *job, const uint8_t *classes, int64_t count)
{
    pumit_volume *volume;
    pumit_label_map *map;
    size_t bytes, source_bytes;
    CHECK_OK(pumit_volume_read(&volume, files_context, files_path("scan.nii"), 0));
    CHECK_OK(pumit__segment_to_labels(&map, job, volume, NULL, NULL));
    CHECK_OK(pumit_label_map_write(map, files_path("labels.nii"), NULL));
    uint8_t *source = files_read("scan.nii", &source_bytes);
    uint8_t *got = files_read("labels.nii", &bytes);
    ck_assert_uint_eq(bytes, (size_t)(352 + count));
    check_header(got, source);
    for (int64_t i = 0; i < count; i++)
        ck_assert_msg(got[352 + i] == classes[i], "voxel %lld is %d, not %d", (long long)i,
                      got[352 + i], classes[i]);
    free(source);
    free(got);
    pumit_label_map_release(map);
    pumit_volume_release(volume);
}

static const double STRAIGHT[9] = {1, 0, 0, 0, 1, 0, 0, 0, 1};

START_TEST(any_order_and_direction)
{
    uint8_t classes[2520];
    const storing s = storing_of(_i);
    const nifti_file file = stored_file(&s, STRAIGHT);
    const int64_t count = write_case("scan.nii", &file, &s, classes);
    pumit__segmentation job = job_of(same, 4, 8, 6);
    check_case(&job, classes, count);
    ck_assert_int_eq(asked, 4 * 4 * 4);
}
END_TEST

START_TEST(an_oblique_scan)
{
    uint8_t classes[2520];
    const storing s = storing_of(_i);
    const double a = 0.3, b = -0.4, ca = cos(a), sa = sin(a), cb = cos(b), sb = sin(b);
    const double turn[9] = {cb, -sb * ca, sb * sa, sb, cb * ca, -cb * sa, 0, sa, ca};
    nifti_file file = stored_file(&s, turn);
    file.qform = 1; /* another place than the sform's: both are kept */
    file.quatern[1] = 0.6, file.quatern[2] = -0.1;
    file.origin[0] = 3, file.origin[1] = 1.0 / 3;
    file.sform = 2;
    file.pixdim[0] = -1;
    const int64_t count = write_case("scan.nii", &file, &s, classes);
    pumit__segmentation job = job_of(same, 4, 8, 6);
    check_case(&job, classes, count);
}
END_TEST

/* A ball through networks of finer voxels, which lose nothing, and of coarser ones, which lose what is smaller than their voxels. */
START_TEST(other_spacings)
{
    enum { SIDE = 36, DEPTH = 18 };
    static const double steps[4][3] = {
        {1.5, 1.5, 1.5}, {0.5, 0.7, 0.7}, {1, 1.3, 0.8}, {0.4, 2, 2}};
    static int16_t image[DEPTH * SIDE * SIDE];
    const double affine[16] = {0, 0, 1, 0, 0, 1, 0, 0, 2, 0, 0, 0, 0, 0, 0, 1};
    const int64_t size[3] = {DEPTH, SIDE, SIDE};
    int64_t both = 0, either = 0, i = 0;
    for (int d = 0; d < DEPTH; d++)
        for (int h = 0; h < SIDE; h++)
            for (int w = 0; w < SIDE; w++, i++)
                image[i] = hypot(hypot(2 * (d - 8.3), h - 17.2), w - 18.1) < 14 ? 4 : 1;
    image[0] = 0;
    pumit_volume *volume;
    pumit_label_map *map;
    float values[DEPTH * SIDE * SIDE];
    for (i = 0; i < DEPTH * SIDE * SIDE; i++) values[i] = image[i];
    CHECK_OK(pumit_volume_create(&volume, files_context, PUMIT_F32, size, 1, values, affine));
    pumit__segmentation job = job_of(same, 16, 24, 24);
    double sure = 1;
    job.network_user = &sure;
    memcpy(job.step, steps[_i], sizeof job.step);
    CHECK_OK(pumit__segment_to_labels(&map, &job, volume, NULL, NULL));
    const uint8_t *labels = pumit_label_map_labels(map);
    for (i = 0; i < DEPTH * SIDE * SIDE; i++) {
        both += image[i] == 4 && labels[i] >= 2;
        either += (image[i] == 4) + (labels[i] >= 2);
    }
    const double dice = 2 * (double)both / (double)either;
    ck_assert_msg(dice >= (_i == 3 || _i == 0 ? 0.995 : 0.9999), "Dice %g", dice);
    pumit_label_map_release(map);
    pumit_volume_release(volume);
}
END_TEST

/* ------------------------------------------------------------------------------------------- memory */

static int16_t noise[10 * 40 * 30];

static pumit_volume *noisy(void)
{
    const int64_t size[3] = {10, 40, 30};
    const double affine[16] = {0, 0, 1, 0, 0, 1, 0, 0, 2, 0, 0, 0, 0, 0, 0, 1};
    pumit_volume *volume;
    static float values[10 * 40 * 30];
    for (int64_t i = 0; i < 10 * 40 * 30; i++) {
        noise[i] = (int16_t)pumit__random_below(1, 2, (uint64_t)i, CLASSES);
        values[i] = (float)(i ? noise[i] + 1 : 0);
    }
    noise[0] = 0;
    CHECK_OK(pumit_volume_create(&volume, files_context, PUMIT_F32, size, 1, values, affine));
    return volume;
}

START_TEST(bands_give_the_same)
{
    pumit_volume *volume = noisy();
    pumit_label_map *map;
    pumit__segmentation job = job_of(same, 4, 16, 16);
    job.step[1] = 1.25;
    CHECK_OK(pumit__segment_to_labels(&map, &job, volume, NULL, NULL));
    const int whole = asked;
    uint8_t *labels = malloc(sizeof noise / sizeof *noise);
    ck_assert_ptr_nonnull(labels);
    memcpy(labels, pumit_label_map_labels(map), sizeof noise / sizeof *noise);
    pumit_label_map_release(map);
    asked = 0;
    job.memory = 1;
    map = (pumit_label_map *)&job;
    ck_assert_int_eq(pumit__segment_to_labels(&map, &job, volume, NULL, NULL), PUMIT_ERROR_LIMIT);
    ck_assert_ptr_null(map);
    const char *const needs = strstr(pumit_last_error(), "needs ");
    ck_assert_ptr_nonnull(needs);
    job.memory = strtoll(needs + 6, NULL, 10) << 20; /* what the message asks for is enough */
    CHECK_OK(pumit__segment_to_labels(&map, &job, volume, NULL, NULL));
    ck_assert_int_gt(asked, whole);
    ck_assert(memcmp(labels, pumit_label_map_labels(map), sizeof noise / sizeof *noise) == 0);
    free(labels);
    pumit_label_map_release(map);
    pumit_volume_release(volume);
}
END_TEST

/* ------------------------------------------------------------------------------------------ blending */

typedef struct {
    float *values; /* (40, 2) */
    int64_t seen;
} row;

static pumit_status keep(void *user, const int64_t low[3], const int64_t high[3], float *logits)
{
    row *r = user;
    ck_assert(low[0] == 0 && high[0] == 1 && low[1] == 0 && high[1] == 1 && low[2] == 0);
    memcpy(r->values, logits, (size_t)(2 * high[2]) * sizeof *logits);
    r->seen += high[2];
    return PUMIT_OK;
}

/* Five windows of 12 on a row of 40, against the definition. */
START_TEST(windows_are_blended)
{
    float values[80], zeros[40] = {0, 1};
    row r = {.values = values};
    pumit_volume *volume;
    const int64_t size[3] = {1, 1, 40};
    CHECK_OK(pumit_volume_create(&volume, files_context, PUMIT_F32, size, 1, zeros, NULL));
    pumit__segmentation job = job_of(where, 1, 1, 12);
    job.classes = 2;
    job.gaussian = _i;
    job.take = keep;
    job.take_user = &r;
    CHECK_OK(pumit__segment(&job, volume));
    ck_assert_int_eq(r.seen, 40);
    ck_assert_int_eq(asked, 6);
    static const int first[6] = {0, 6, 11, 17, 22, 28};
    for (int x = 0; x < 40; x++) {
        double sum = 0, weights = 0;
        for (int k = 0; k < 6; k++) {
            const int at = x - first[k];
            if (at < 0 || at >= 12) continue;
            const double weight = _i ? exp(-square((at - 5.5) / 1.5) / 2) : 1;
            sum += weight * at;
            weights += weight;
        }
        ck_assert(values[2 * x] == 0);
        ck_assert_msg(fabs(values[2 * x + 1] - sum / weights) <= 1e-5, "voxel %d: %g, not %g", x,
                      values[2 * x + 1], sum / weights);
    }
    pumit_volume_release(volume);
}
END_TEST

START_TEST(mirrored_inputs_are_averaged)
{
    float values[80], zeros[40] = {0, 1};
    row r = {.values = values};
    pumit_volume *volume;
    const int64_t size[3] = {1, 1, 40};
    CHECK_OK(pumit_volume_create(&volume, files_context, PUMIT_F32, size, 1, zeros, NULL));
    pumit__segmentation job = job_of(where, 1, 1, 40);
    job.classes = 2;
    job.flips = true;
    job.take = keep;
    job.take_user = &r;
    CHECK_OK(pumit__segment(&job, volume));
    ck_assert_int_eq(asked, 4); /* one slice is not mirrored along D */
    for (int x = 0; x < 40; x++) ck_assert(fabs(values[2 * x + 1] - 19.5) <= 1e-5);
    pumit_volume_release(volume);
    volume = noisy();
    job = job_of(same, 4, 24, 20);
    job.flips = true;
    pumit_label_map *map;
    CHECK_OK(pumit__segment_to_labels(&map, &job, volume, NULL, NULL));
    ck_assert_int_eq(asked, 8 * 4 * 3 * 2);
    for (int64_t i = 0; i < 10 * 40 * 30; i++)
        ck_assert_int_eq(pumit_label_map_labels(map)[i], noise[i]);
    pumit_label_map_release(map);
    pumit_volume_release(volume);
}
END_TEST

/* An image smaller than its window lies in the middle of zeros. */
START_TEST(small_images_are_padded)
{
    float values[8] = {0, 1, 2, 3, 4, 4, 4, 4};
    const int64_t size[3] = {2, 2, 2};
    const double affine[16] = {0, 0, 1, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1};
    pumit_volume *volume;
    pumit_label_map *map;
    CHECK_OK(pumit_volume_create(&volume, files_context, PUMIT_F32, size, 1, values, affine));
    pumit__segmentation job = job_of(same, 4, 8, 16);
    CHECK_OK(pumit__segment_to_labels(&map, &job, volume, NULL, NULL));
    ck_assert_int_eq(asked, 1);
    ck_assert(edge_total == 0);
    const uint8_t *labels = pumit_label_map_labels(map);
    ck_assert_int_eq(labels[7], 3);
    ck_assert_int_eq(labels[0], 0);
    pumit_label_map_release(map);
    pumit_volume_release(volume);
}
END_TEST

/* -------------------------------------------------------------------------------------------- results */

START_TEST(probabilities_lie_on_the_source)
{
    uint8_t classes[2520];
    const storing s = storing_of(_i * 5 % 48);
    const nifti_file file = stored_file(&s, STRAIGHT);
    const int64_t count = write_case("scan.nii", &file, &s, classes);
    pumit__segmentation job = job_of(same, 4, 8, 6);
    double sure = 0.5;
    job.network_user = &sure;
    pumit_volume *volume;
    pumit_label_map *map;
    size_t bytes;
    CHECK_OK(pumit_volume_read(&volume, files_context, files_path("scan.nii"), 0));
    CHECK_OK(pumit__segment_to_labels(&map, &job, volume, files_path("p.nii"), NULL));
    uint8_t *got = files_read("p.nii", &bytes);
    ck_assert_uint_eq(bytes, (size_t)(352 + 4 * CLASSES * count));
    for (int64_t i = 0; i < count; i++) {
        double sum = 0;
        for (int c = 0; c < CLASSES; c++) sum += exp(-sure * square(classes[i] - c));
        for (int c = 0; c < CLASSES; c++) {
            float p;
            memcpy(&p, got + 352 + 4 * (c * count + i), 4);
            ck_assert(fabs(p - exp(-sure * square(classes[i] - c)) / sum) <= 1e-5);
        }
    }
    free(got);
    pumit_label_map_release(map);
    int64_t volumes;
    CHECK_OK(pumit_volume_file_count(&volumes, files_context, files_path("p.nii")));
    ck_assert_int_eq(volumes, CLASSES);
    files_check_failed(pumit__segment_to_labels(&map, &job, volume, files_path("p.nii.gz"), NULL),
                       PUMIT_ERROR_INVALID_ARGUMENT, "p.nii.gz", "name it .nii");
    pumit_volume_release(volume);
}
END_TEST

static int32_t stop_at_three(void *user, int64_t done, int64_t total)
{
    *(int64_t *)user = total;
    return done == 3;
}

START_TEST(work_can_be_stopped)
{
    pumit_volume *volume = noisy();
    pumit_label_map *map = (pumit_label_map *)&volume;
    pumit__segmentation job = job_of(same, 4, 16, 16);
    int64_t total = 0;
    job.progress = stop_at_three;
    job.progress_user = &total;
    ck_assert_int_eq(pumit__segment_to_labels(&map, &job, volume, files_path("p.nii"), NULL),
                     PUMIT_ERROR_CANCELLED);
    ck_assert_ptr_null(map);
    ck_assert_int_eq(asked, 3);
    ck_assert_int_eq(total, 4 * 4 * 3);
    ck_assert_int_ne(access(files_path("p.nii"), F_OK), 0);
    pumit_volume_release(volume);
}
END_TEST

/* Logits that are no numbers are no background. */
START_TEST(broken_networks_are_told)
{
    pumit_volume *volume = noisy();
    pumit_label_map *map = (pumit_label_map *)&volume;
    double sure = NAN;
    pumit__segmentation job = job_of(same, 4, 16, 16);
    job.network_user = &sure;
    files_check_failed(pumit__segment_to_labels(&map, &job, volume, NULL, NULL),
                       PUMIT_ERROR_INVALID_ARGUMENT, "segment", "weights");
    ck_assert_ptr_null(map);
    pumit_volume_release(volume);
}
END_TEST

/* ------------------------------------------------------------------------------------------- segmenters */

static pumit_segmenter *small_segmenter(const char *more)
{
    char json[512];
    pumit_config *config;
    pumit_segmenter *segmenter;
    snprintf(json, sizeof json,
             "{\"in_channels\": 1, \"dim\": 24, \"depth\": 4, \"heads\": 2, \"classes\": 3, "
             "\"channels\": [8, 8, 8, 8], \"full_res_channels\": [8], %s}",
             more);
    CHECK_OK(pumit_config_parse(&config, json));
    CHECK_OK(pumit_segmenter_create(&segmenter, files_context, config));
    pumit_config_release(config);
    return segmenter;
}

START_TEST(a_segmenter_segments)
{
    static const char *const kinds[] = {
        "\"patch\": [4,4,4], \"adaptive\": true, \"window\": [4,4,4], \"spacing\": [0,1.5,1.5]",
        "\"patch\": [2,4,4], \"spacing\": [null, 0, 0]", "\"patch\": [4,4,4], \"adaptive\": true"};
    pumit_segmenter *segmenter = small_segmenter(kinds[_i]);
    pumit_volume *volume = noisy();
    pumit_label_map *map, *again;
    pumit_config *options;
    CHECK_OK(pumit_config_parse(&options, "{\"flips\": false, \"overlap\": 0.25}"));
    CHECK_OK(pumit_segmenter_segment(&map, segmenter, volume, options, NULL, NULL));
    CHECK_OK(pumit_segmenter_segment(&again, segmenter, volume, options, NULL, NULL));
    int64_t shape[3], found[3] = {0};
    pumit_label_map_shape(map, shape);
    ck_assert(shape[0] == 10 && shape[1] == 40 && shape[2] == 30);
    for (int64_t i = 0; i < 10 * 40 * 30; i++) {
        ck_assert_int_lt(pumit_label_map_labels(map)[i], 3);
        found[pumit_label_map_labels(map)[i]]++;
    }
    ck_assert_int_gt(found[0] * found[1] + found[1] * found[2] + found[2] * found[0], 0);
    ck_assert(memcmp(pumit_label_map_labels(map), pumit_label_map_labels(again), 10 * 40 * 30) ==
              0);
    pumit_config_release(options);
    pumit_label_map_release(map);
    pumit_label_map_release(again);
    pumit_volume_release(volume);
    pumit_segmenter_release(segmenter);
}
END_TEST

START_TEST(odd_images_are_segmented_or_refused)
{
    pumit_segmenter *segmenter =
        small_segmenter("\"patch\": [4,4,4], \"adaptive\": true, \"window\": [4,4,4]");
    pumit_volume *volume;
    pumit_label_map *map;
    uint8_t pixels[30 * 20 * 3];
    for (int i = 0; i < 1800; i++) pixels[i] = (uint8_t)(i * i);
    static const int64_t sizes[3][4] = {{1, 30, 20, 1}, {1, 30, 20, 3}, {1, 2, 3, 1}};
    for (int i = 0; i < 3; i++) {
        CHECK_OK(pumit_volume_create(&volume, files_context, PUMIT_U8, sizes[i], sizes[i][3],
                                     pixels, NULL));
        CHECK_OK(pumit_segmenter_segment(&map, segmenter, volume, NULL, NULL, NULL));
        CHECK_OK(pumit_label_map_write(map, files_path("p.png"), NULL));
        CHECK_OK(pumit_label_map_write(map, files_path("p.nii.gz"), NULL));
        pumit_volume_release(volume);
        pumit_label_map *png, *nifti;
        CHECK_OK(pumit_label_map_read(&png, files_context, files_path("p.png"), NULL));
        CHECK_OK(pumit_label_map_read(&nifti, files_context, files_path("p.nii.gz"), NULL));
        const size_t count = (size_t)(sizes[i][1] * sizes[i][2]);
        ck_assert(memcmp(pumit_label_map_labels(map), pumit_label_map_labels(png), count) == 0);
        pumit_label_map_release(png);
        pumit_label_map_release(nifti);
        pumit_label_map_release(map);
    }
    pumit_segmenter_release(segmenter);
}
END_TEST

START_TEST(wrong_options_are_refused)
{
    static const char *const wrong[][2] = {
        {"{\"overlap\": 1}", "overlap"},
        {"{\"overlap\": -0.1}", "overlap"},
        {"{\"memory\": 0}", "memory"},
        {"{\"memory\": 1000}", "MiB"},
        {"{\"spacing\": [1, 2]}", "spacing"},
        {"{\"spacing\": [1, -2, 1]}", "spacing"},
        {"{\"spacing\": [1, 1e7, 1]}", "spacing"},
        {"{\"spacing\": [1, 1, 1e300]}", "spacing"},
        {"{\"window\": [1, 2]}", "window"},
        {"{\"window\": [0, 2, 2]}", "window"},
        {"{\"spacing\": [1e-9, 1, 1]}", "axis"},
        {"{\"flips\": 3}", "flips"},
        {"{\"class_names\": 3, \"probabilities\": \"/nowhere/p.nii\"}", "class_names"},
        {"{\"probabilities\": \"/nowhere/p.nii\"}", "/nowhere/p.nii"}};
    pumit_segmenter *segmenter =
        small_segmenter("\"patch\": [4,4,4], \"adaptive\": true, \"window\": [2,2,2]");
    pumit_volume *volume = noisy();
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        pumit_config *options;
        pumit_label_map *map = (pumit_label_map *)&options;
        CHECK_OK(pumit_config_parse(&options, wrong[i][0]));
        ck_assert_int_ne(pumit_segmenter_segment(&map, segmenter, volume, options, NULL, NULL),
                         PUMIT_OK);
        ck_assert_ptr_null(map);
        ck_assert_msg(strstr(pumit_last_error(), wrong[i][1]) != NULL, "%s: %s", wrong[i][0],
                      pumit_last_error());
        pumit_config_release(options);
    }
    pumit_volume_release(volume);
    pumit_segmenter_release(segmenter);
}
END_TEST

Suite *suite_segment(void);
Suite *suite_segment(void)
{
    Suite *suite = suite_create("segment");
    TCase *tcase = tcase_create("segment");
    tcase_add_checked_fixture(tcase, files_setup, files_teardown);
    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, any_order_and_direction, 0, 48);
    tcase_add_loop_test(tcase, an_oblique_scan, 0, 48);
    tcase_add_loop_test(tcase, other_spacings, 0, 4);
    tcase_add_test(tcase, bands_give_the_same);
    tcase_add_loop_test(tcase, windows_are_blended, 0, 2);
    tcase_add_test(tcase, mirrored_inputs_are_averaged);
    tcase_add_test(tcase, broken_networks_are_told);
    tcase_add_test(tcase, small_images_are_padded);
    tcase_add_loop_test(tcase, probabilities_lie_on_the_source, 0, 10);
    tcase_add_test(tcase, work_can_be_stopped);
    tcase_add_loop_test(tcase, a_segmenter_segments, 0, 3);
    tcase_add_test(tcase, odd_images_are_segmented_or_refused);
    tcase_add_test(tcase, wrong_options_are_refused);
    suite_add_tcase(suite, tcase);
    return suite;
}
