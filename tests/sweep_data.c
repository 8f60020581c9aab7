/* SPDX-License-Identifier: Apache-2.0 */
/* Volumes, label maps, datasets, prepared sets, pictures. */
#include "lib/base/base.h"
#include "tests/sweep.h"

#include <stdio.h>
#include <string.h>

void sweep_data_files(void)
{
    static const char LIST[] = "path,label,split,weight\na.png,0,train,1\nb.nii,1,val,2\n";
    static const char PAIRS[] = "path,label_map\nmap.nii,map.nii\n";
    uint8_t rows[20 * 20 * 3], labels[512];
    float voxels[512];
    for (int i = 0; i < 1200; i++) rows[i] = (uint8_t)(i * 7 % 251);
    for (int i = 0; i < 512; i++) voxels[i] = (float)(i * 5 % 509), labels[i] = (uint8_t)(i / 200);
    files_folder("in");
    png_write("in/a.png", 20, 20, 8, 0, false, rows);
    png_write("in/c.png", 20, 20, 8, 2, true, rows);
    jpeg_write("in/d.jpg", 20, 20, 3, rows);
    const nifti_file plain = nifti_plain(16, 32, 8, 8, 8);
    nifti_file gzip = plain, map = nifti_plain(2, 8, 8, 8, 8);
    nifti_write("in/b.nii", &plain, voxels, 512, 4);
    gzip.gzip = true;
    nifti_write("in/b.nii.gz", &gzip, voxels, 512, 4);
    nifti_write("in/map.nii", &map, labels, 512, 1);
    files_write("in/list.csv", LIST, sizeof LIST - 1);
    files_write("in/pairs.csv", PAIRS, sizeof PAIRS - 1);
    files_folder("few");
    png_write("few/a.png", 20, 20, 8, 0, false, rows);
    nifti_write("few/b.nii", &plain, voxels, 512, 4);
    nifti_file pair = plain;
    pair.pair = true;
    nifti_write("few/p", &pair, voxels, 512, 4);
    const npz_member members[] = {
        {"train_images", "{'descr': '|u1', 'fortran_order': False, 'shape': (3, 12, 12), }", rows,
         3 * 144},
        {"train_labels", "{'descr': '|u1', 'fortran_order': False, 'shape': (3,), }",
         (const uint8_t[]){0, 1, 1}, 3}};
    npz_write("in/set.npz", members, 2, false);
    /* One page, 4 x 4, 8 bits gray, little-endian. */
    static const uint8_t TIFF[] = {
        'I', 'I', 42, 0, 24, 0, 0,  0,  1, 2, 3, 4, 5, 6, 7, 8,  9, 10, 11, 12, 13, 14, 15,
        16,  9,   0,  0, 1,  3, 0,  1,  0, 0, 0, 4, 0, 0, 0, 1,  1, 3,  0,  1,  0,  0,  0,
        4,   0,   0,  0, 2,  1, 3,  0,  1, 0, 0, 0, 8, 0, 0, 0,  3, 1,  3,  0,  1,  0,  0,
        0,   1,   0,  0, 0,  6, 1,  3,  0, 1, 0, 0, 0, 1, 0, 0,  0, 17, 1,  4,  0,  1,  0,
        0,   0,   8,  0, 0,  0, 21, 1,  3, 0, 1, 0, 0, 0, 1, 0,  0, 0,  22, 1,  3,  0,  1,
        0,   0,   0,  4, 0,  0, 0,  23, 1, 4, 0, 1, 0, 0, 0, 16, 0, 0,  0,  0,  0,  0,  0};
    files_write("in/e.tif", TIFF, sizeof TIFF);
}

#define READ(name, file)                                                                           \
    SWEEP_CALL(name, pumit_volume_read(&s->out.volume, s->in.ctx, files_path(file), 0))
READ(read_png, "in/a.png")
READ(read_color, "in/c.png")
READ(read_jpeg, "in/d.jpg")
READ(read_nifti, "in/b.nii")
READ(read_gzip, "in/b.nii.gz")
READ(read_tiff, "in/e.tif")

static pumit_status file_count(sweep_scene *s)
{
    int64_t count = 0;
    const pumit_status status = pumit_volume_file_count(&count, s->in.ctx, files_path("in/b.nii"));
    s->number[0] = (double)count;
    return status;
}

static pumit_status volume_create(sweep_scene *s)
{
    static const int64_t size[3] = {1, 3, 2};
    static const uint8_t data[6] = {1, 2, 3, 4, 5, 6};
    return pumit_volume_create(&s->out.volume, s->in.ctx, PUMIT_U8, size, 1, data, NULL);
}

static void open_volume(sweep_scene *s)
{
    sweep_context(s);
    s->in.volume = sweep_volume(s);
    s->in.config = sweep_config("{\"class_names\": [\"none\", \"some\"]}");
}

SWEEP_CALL(to_tensor, pumit_volume_to_tensor(&s->out.image, s->in.volume, s->in.ctx, 3))
SWEEP_CALL(to_patches, pumit_volume_to_patches(&s->out.image, s->number, s->in.volume, s->in.ctx, 1,
                                               (const int64_t[3]){4, 4, 4}, 20))

/* ---------------------------------------------------------------------------------------- label maps */

static void open_map(sweep_scene *s)
{
    open_volume(s);
    CHECK_OK(pumit_label_map_create(&s->in.map, s->in.ctx, s->in.volume, NULL));
}

static void open_picture_map(sweep_scene *s)
{
    sweep_context(s);
    CHECK_OK(pumit_volume_read(&s->in.volume, s->in.ctx, files_path("in/a.png"), 0));
    CHECK_OK(pumit_label_map_create(&s->in.map, s->in.ctx, s->in.volume, NULL));
}

#define WRITE(name, file)                                                                          \
    SWEEP_CALL(name, pumit_label_map_write(s->in.map, files_path(file), s->in.config))             \
    static double name##_result(sweep_scene *s)                                                    \
    {                                                                                              \
        (void)s;                                                                                   \
        const double sum = sweep_file(file);                                                       \
        ck_assert(sum > 0);                                                                        \
        return sum;                                                                                \
    }
WRITE(write_nifti, "out/map.nii")
WRITE(write_gzip, "out/map.nii.gz")
WRITE(write_png, "out/map.png")

SWEEP_CALL(map_create, pumit_label_map_create(&s->out.map, s->in.ctx, s->in.volume, NULL))
SWEEP_CALL(map_read, pumit_label_map_read(&s->out.map, s->in.ctx, files_path("in/map.nii"), NULL))

static void open_sheet(sweep_scene *s)
{
    sweep_context(s);
    s->in.image = sweep_image(s, 1, 8, 8, 1);
    const int64_t shape[4] = {2, 4, 4, 1};
    CHECK_OK(pumit_tensor_create(&s->in.image2, s->in.ctx, PUMIT_F32, 4, shape));
}

static double sheet_result(sweep_scene *s)
{
    (void)s;
    return sweep_file("out/sheet.png");
}

SWEEP_CALL(sheet, pumit_write_png_sheet(files_path("out/sheet.png"), s->in.image2, 0))

/* ------------------------------------------------------------------------------------------ datasets */

static pumit_status open_path(sweep_scene *s, const char *name)
{
    const char *path = files_path(name);
    return pumit_dataset_open(&s->out.dataset, s->in.ctx, 1, &path, s->in.config);
}
SWEEP_CALL(open_folder, open_path(s, "few"))
SWEEP_CALL(open_list, open_path(s, "in/list.csv"))
SWEEP_CALL(open_pairs, open_path(s, "in/pairs.csv"))
SWEEP_CALL(open_archive, open_path(s, "in/set.npz"))
SWEEP_CALL(open_pattern, open_path(s, "few/*"))

static void with_maps(sweep_scene *s)
{
    sweep_context(s);
    s->in.config = sweep_config("{\"label_maps\": true}");
}

static pumit_status list_files(sweep_scene *s)
{
    const char *path = files_path("few");
    return pumit_dataset_files(&s->text, 1, &path, NULL);
}

static void open_dataset(sweep_scene *s)
{
    sweep_context(s);
    const char *path = files_path("in/set.npz");
    CHECK_OK(pumit_dataset_open(&s->in.dataset, s->in.ctx, 1, &path, NULL));
    s->in.config = sweep_config("{\"folds\": 2, \"labels\": 0.7}");
}

SWEEP_CALL(subset, pumit_dataset_subset(&s->out.dataset, s->in.dataset, s->in.config))

/* ------------------------------------------------------------------------------------- prepared sets */

static pumit_status prepare_into(char **text, sweep_scene *s, const char *folder)
{
    char options[400];
    snprintf(options, sizeof options, "{\"output\": \"%s\", \"threads\": 1}", files_path(folder));
    const char *path = files_path("few");
    pumit_config *config = NULL;
    const pumit_status status = pumit_config_parse(&config, options);
    if (status != PUMIT_OK) return status;
    const pumit_status done = pumit_prepare(text, s->in.ctx, 1, &path, config, NULL, NULL);
    pumit_config_release(config);
    return done;
}

/* The report tells seconds, so it is not compared, but for how many words it has. A source that memory was out for is in it, and done
 * by the next call. */
static pumit_status prepare(sweep_scene *s)
{
    char *report = NULL;
    const pumit_status status = prepare_into(&report, s, "out");
    if (status != PUMIT_OK) s->text = report;
    s->number[0] = 0;
    if (status == PUMIT_OK)
        for (const char *c = report; *c; c++) s->number[0] += *c == '"';
    if (status != PUMIT_OK) return status;
    const bool lacks = strstr(report, "out of memory") || strstr(report, "annot allocate");
    pumit_free(report);
    return lacks ? pumit__fail_memory(0, "a source") : PUMIT_OK;
}

static double prepare_result(sweep_scene *s)
{
    (void)s;
    const double sum = sweep_file("out/images-meta.csv");
    ck_assert(sum > 0);
    return sum;
}

static void open_prepared(sweep_scene *s)
{
    sweep_context(s);
    char *report;
    if (sweep_file("prepared/images-meta.csv") > 0) return;
    CHECK_OK(prepare_into(&report, s, "prepared"));
    pumit_free(report);
}
SWEEP_CALL(open_set, open_path(s, "prepared"))

static void open_prepared_dataset(sweep_scene *s)
{
    open_prepared(s);
    const char *path = files_path("prepared");
    CHECK_OK(pumit_dataset_open(&s->in.dataset, s->in.ctx, 1, &path, NULL));
}

/* They are read when they are asked for. */
static pumit_status voxels(sweep_scene *s)
{
    const float *values = pumit_volume_voxels(pumit_dataset_volume(s->in.dataset, 0));
    if (!values) return pumit__last_status();
    for (int i = 0; i < 64; i++) s->number[i % 8] += values[i];
    return PUMIT_OK;
}

const sweep_entry sweep_data[] = {
    SWEEP_OF(pumit_volume_read, " of png", sweep_context, read_png),
    SWEEP_OF(pumit_volume_read, " of interlaced colours", sweep_context, read_color),
    SWEEP_OF(pumit_volume_read, " of jpeg", sweep_context, read_jpeg),
    SWEEP_OF(pumit_volume_read, " of nifti", sweep_context, read_nifti),
    SWEEP_OF(pumit_volume_read, " of gzip", sweep_context, read_gzip),
    SWEEP_OF(pumit_volume_read, " of tiff", sweep_context, read_tiff),
    SWEEP(pumit_volume_file_count, sweep_context, file_count),
    SWEEP(pumit_volume_create, sweep_context, volume_create),
    SWEEP(pumit_volume_to_tensor, open_volume, to_tensor),
    SWEEP(pumit_volume_to_patches, open_volume, to_patches),
    SWEEP(pumit_label_map_create, open_volume, map_create),
    SWEEP(pumit_label_map_read, sweep_context, map_read),
    SWEEP_OF(pumit_label_map_write, " of nifti", open_map, write_nifti,
             .result = write_nifti_result),
    SWEEP_OF(pumit_label_map_write, " of gzip", open_map, write_gzip, .result = write_gzip_result),
    SWEEP_OF(pumit_label_map_write, " of png", open_picture_map, write_png,
             .result = write_png_result),
    SWEEP(pumit_write_png_sheet, open_sheet, sheet, .result = sheet_result),
    SWEEP_OF(pumit_dataset_open, " of a folder", sweep_context, open_folder, .skips = true),
    SWEEP_OF(pumit_dataset_open, " of a list", sweep_context, open_list, .skips = true),
    SWEEP_OF(pumit_dataset_open, " of pairs", with_maps, open_pairs, .skips = true),
    SWEEP_OF(pumit_dataset_open, " of an archive", sweep_context, open_archive, .skips = true),
    SWEEP_OF(pumit_dataset_open, " of a pattern", sweep_context, open_pattern, .skips = true),
    SWEEP_OF(pumit_dataset_open, " of a prepared set", open_prepared, open_set, .skips = true),
    SWEEP(pumit_volume_voxels, open_prepared_dataset, voxels),
    SWEEP(pumit_dataset_files, NULL, list_files),
    SWEEP(pumit_dataset_subset, open_dataset, subset),
    SWEEP(pumit_prepare, sweep_context, prepare, .restart = true, .skips = true,
          .result = prepare_result),
};
const int sweep_data_count = sizeof sweep_data / sizeof *sweep_data;
